//! Which pod and container decided how an attempt ended: the one that Kubernetes counted, not just any that failed.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;

use super::pods::{Container, containers, phase};
use super::policy::{Treatment, judge};
use crate::domain::pruned::DEFAULT_CONTAINER_ANNOTATION;

/// The label of a pod that says which index of an Indexed batch Job it is.
const INDEX_LABEL: &str = "batch.kubernetes.io/job-completion-index";

/// The pod, and if it got so far the container, that decided how an attempt ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deciding<'a> {
    pub(super) pod: &'a Pod,
    pub(super) container: Option<Container<'a>>,
}

impl Deciding<'_> {
    pub(super) fn pod_name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// `node/pod`, once it has a node.
    pub(super) fn worker(&self) -> Option<String> {
        let node = self.pod.spec.as_ref()?.node_name.as_deref()?;
        Some(format!("{node}/{}", self.pod_name()))
    }

    pub(super) fn exit_code(&self) -> Option<i32> {
        let container = self.container.filter(|container| !container.is_unknown())?;
        container.terminated().map(|end| end.exit_code)
    }

    /// Where the kubelet keeps the log, below its directory of pod logs: of a container that was restarted, the last one.
    pub(super) fn log_path(&self) -> Option<String> {
        let container = self.container.filter(|container| container.started_at().is_some())?;
        let metadata = &self.pod.metadata;
        let namespace = metadata.namespace.as_deref()?;
        let uid = metadata.uid.as_deref()?;
        let status = container.status;
        Some(format!("{namespace}_{}_{uid}/{}/{}.log", self.pod_name(), status.name, status.restart_count))
    }
}

/// A pod of which a container failed.
#[derive(Clone, Copy)]
struct Failure<'a> {
    deciding: Deciding<'a>,
    treatment: Treatment,
    end: Timestamp,
}

impl Failure<'_> {
    /// What is known to have failed goes before what is only supposed to have, then what failed first; what ended in the same
    /// second as it was being deleted may have been stopped because of the other.
    fn order(&self) -> (bool, Timestamp, bool, &str) {
        let is_unknown = self.deciding.container.is_some_and(|container| container.is_unknown());
        let deleted = self.deciding.pod.metadata.deletion_timestamp.is_some();
        (is_unknown, self.end, deleted, self.deciding.pod_name())
    }
}

/// The pod and container that made a batch Job fail: of the failures that counted, the one that was too many. Absent a batch
/// Job, the first one. Without a container that failed it is the first pod that did, else the main container of the pod that
/// got furthest.
pub(super) fn of_failure<'a>(batch: Option<&BatchJob>, pods: &'a [Arc<Pod>]) -> Option<Deciding<'a>> {
    let counted: Vec<_> = pods
        .iter()
        .map(|pod| (pod.as_ref(), judge(batch, pod)))
        .filter(|(_, judgement)| judgement.treatment != Treatment::Ignored)
        .collect();
    let mut failures: Vec<Failure<'_>> =
        counted.iter().filter_map(|(pod, it)| failure(pod, it.container, it.treatment)).collect();
    let failed = batch.and_then(failed_indexes);
    let is_of_failed = |pod: &Pod| failed.is_none_or(|failed| index(pod).is_some_and(|it| lists(failed, it)));
    if counted.iter().any(|(pod, _)| is_of_failed(pod)) {
        failures.retain(|failure| is_of_failed(failure.deciding.pod));
    }
    failures.sort_by(|a, b| a.order().cmp(&b.order()));
    let ending = failures.iter().find(|failure| failure.treatment == Treatment::FailsJob);
    let ending = ending.filter(|_| batch.is_some_and(|batch| end_reason(batch) == "PodFailurePolicy"));
    let per_index = batch.and_then(|batch| batch.spec.as_ref()?.backoff_limit_per_index).is_some();
    let decided = match ending {
        Some(ending) => Some(*ending),
        None if per_index => first_of_lasts(&failures),
        None => failures.get(tolerated(batch)).or(failures.last()).copied(),
    };
    if let Some(failure) = decided {
        return Some(failure.deciding);
    }
    let left = || counted.iter().map(|(pod, _)| *pod);
    if let Some(pod) = left().find(|pod| phase(pod) == "Failed") {
        return Some(Deciding { pod, container: main_container(pod).filter(|it| it.terminated().is_some()) });
    }
    furthest(left())
}

/// The main container of the pod that got furthest of those that did not fail.
pub(super) fn of_success(pods: &[Arc<Pod>]) -> Option<Deciding<'_>> {
    let has_failed = |pod: &Pod| {
        let failed = |it: &Container<'_>| it.is_main() && it.terminated().is_some_and(|end| end.exit_code != 0);
        phase(pod) == "Failed" || containers(pod).iter().any(failed)
    };
    furthest(pods.iter().map(Arc::as_ref).filter(|pod| !has_failed(pod)))
}

fn furthest<'a>(pods: impl Iterator<Item = &'a Pod>) -> Option<Deciding<'a>> {
    let progress = |pod: &Pod| match phase(pod) {
        "Succeeded" => 3,
        "Running" => 2,
        _ => u8::from(pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())),
    };
    let pod = pods.min_by_key(|pod| (Reverse(progress(pod)), pod.metadata.name.as_deref()))?;
    Some(Deciding { pod, container: main_container(pod) })
}

/// The container of a pod that failed: the one that a rule about exit codes names, else the first. A sidecar is killed when
/// the others are done, and its end says nothing.
fn failure<'a>(pod: &'a Pod, named: Option<&str>, treatment: Treatment) -> Option<Failure<'a>> {
    let end = |container: &Container<'_>| container.finished_at().unwrap_or(Timestamp::MAX);
    let failed = |container: &Container<'_>| container.terminated().is_some_and(|end| end.exit_code != 0);
    let all = || containers(pod).into_iter().filter(failed);
    let by_rule = named.and_then(|name| all().find(|container| container.status.name == name));
    let first = || all().filter(|it| !it.is_sidecar()).min_by_key(|it| (it.is_unknown(), end(it)));
    let container = by_rule.or_else(first)?;
    let deciding = Deciding { pod, container: Some(container) };
    Some(Failure { deciding, treatment, end: end(&container) })
}

/// Where each index has failures of its own: the last one of the index that failed first.
fn first_of_lasts<'a>(failures: &[Failure<'a>]) -> Option<Failure<'a>> {
    let mut last: BTreeMap<Option<u32>, Failure<'a>> = BTreeMap::new();
    for failure in failures {
        let known = last.entry(index(failure.deciding.pod)).or_insert(*failure);
        if (known.end, known.treatment == Treatment::FailsIndex)
            <= (failure.end, failure.treatment == Treatment::FailsIndex)
        {
            *known = *failure;
        }
    }
    last.into_values().min_by(|a, b| a.order().cmp(&b.order()))
}

/// How many failures a batch Job bears.
fn tolerated(batch: Option<&BatchJob>) -> usize {
    let limit = batch.and_then(|batch| batch.spec.as_ref()?.backoff_limit).unwrap_or_default();
    usize::try_from(limit).unwrap_or_default()
}

/// Kubernetes' word for why a batch Job failed, or is to fail when its pods have ended.
fn end_reason(batch: &BatchJob) -> &str {
    let mut conditions = batch.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let failed = conditions.find(|it| matches!(it.type_.as_str(), "Failed" | "FailureTarget") && it.status == "True");
    failed.and_then(|it| it.reason.as_deref()).unwrap_or_default()
}

/// Whether a rule of the policy ended an index that failed, whatever was left of its limit.
pub(super) fn has_index_ended_by_rule(batch: &BatchJob, pods: &[Arc<Pod>]) -> bool {
    let Some(failed) = failed_indexes(batch) else { return false };
    let of_failed = |pod: &Arc<Pod>| index(pod).is_some_and(|it| lists(failed, it));
    pods.iter().any(|pod| of_failed(pod) && judge(Some(batch), pod).treatment == Treatment::FailsIndex)
}

/// The indexes that failed for good, as Kubernetes lists them: it does so only if each has retries of its own.
pub(super) fn failed_indexes(batch: &BatchJob) -> Option<&str> {
    batch.status.as_ref()?.failed_indexes.as_deref().filter(|indexes| !indexes.is_empty())
}

/// Whether a list such as `1,3-5` has a number.
fn lists(indexes: &str, wanted: u32) -> bool {
    indexes.split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let bounds = first.parse().ok().zip(last.parse().ok());
        bounds.is_some_and(|(first, last): (u32, u32)| (first..=last).contains(&wanted))
    })
}

/// Which index of an Indexed batch Job a pod is.
pub(super) fn index(pod: &Pod) -> Option<u32> {
    pod.metadata.labels.as_ref()?.get(INDEX_LABEL)?.parse().ok()
}

/// The container that the pod's annotation names, else the first of its specification.
fn main_container(pod: &Pod) -> Option<Container<'_>> {
    let named = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DEFAULT_CONTAINER_ANNOTATION));
    let main: Vec<Container<'_>> = containers(pod).into_iter().filter(Container::is_main).collect();
    let by_name = named.and_then(|name| main.iter().find(|container| container.status.name == *name));
    by_name.or(main.first()).copied()
}
