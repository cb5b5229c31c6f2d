//! What the pods of an attempt say: whether they started, ended or wait.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::domain::conditions::shorten;
use crate::domain::words;

/// The longest sentence about a wait, in bytes.
pub(super) const WAITING_BYTES_MAX: usize = 500;

/// That no node takes a pod.
const UNSCHEDULED: &str = " cannot be scheduled";

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// It has to end before the next one starts.
    Init,
    /// It starts before the main ones, and is killed when they have ended.
    Sidecar,
    /// The pod ends when these have ended.
    Main,
}

/// A container of a pod, with what its pod's specification says about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Container<'a> {
    pub(super) status: &'a ContainerStatus,
    pub(super) role: Role,
    has_log_tail: bool,
}

impl<'a> Container<'a> {
    pub(super) fn terminated(&self) -> Option<&'a ContainerStateTerminated> {
        self.status.state.as_ref()?.terminated.as_ref()
    }

    pub(super) fn is_main(&self) -> bool {
        self.role == Role::Main
    }

    pub(super) fn is_sidecar(&self) -> bool {
        self.role == Role::Sidecar
    }

    pub(super) fn is_running(&self) -> bool {
        self.status.state.as_ref().is_some_and(|state| state.running.is_some())
    }

    /// When it started first, as far as its status tells: of those that were restarted it has the last two only.
    pub(super) fn started_at(&self) -> Option<Timestamp> {
        let before = self.status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let before = before.and_then(|end| real(end.started_at.as_ref()));
        before.into_iter().chain(self.last_started_at()).min()
    }

    /// When it started last.
    fn last_started_at(&self) -> Option<Timestamp> {
        let state = self.status.state.as_ref()?;
        let running = state.running.as_ref().and_then(|running| real(running.started_at.as_ref()));
        running.or_else(|| real(self.terminated()?.started_at.as_ref()))
    }

    pub(super) fn finished_at(&self) -> Option<Timestamp> {
        real(self.terminated()?.finished_at.as_ref())
    }

    /// Whether it has run, also if it waits now for being started again.
    fn has_started(&self) -> bool {
        self.started_at().is_some() || self.terminated().is_some() || self.status.restart_count > 0
    }

    /// Whether its end is made up by the kubelet, which does not know any more what became of it.
    pub(super) fn is_unknown(&self) -> bool {
        self.terminated().is_some_and(|end| end.reason.as_deref() == Some("ContainerStatusUnknown"))
    }

    /// Its termination message, if it is what the container wrote into its file, and cannot be the end of its log, which
    /// Kubernetes puts there for one that failed.
    pub(super) fn written_message(&self) -> Option<&'a str> {
        let end = self.terminated()?;
        end.message.as_deref().filter(|_| end.exit_code == 0 || !self.has_log_tail)
    }
}

/// A container that could not start is said to have started in 1970.
fn real(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0).filter(|time| *time > Timestamp::UNIX_EPOCH)
}

/// The containers of a pod: those of its initialization first, each kind in the order of its specification.
pub(super) fn containers(pod: &Pod) -> Vec<Container<'_>> {
    let Some(status) = &pod.status else { return Vec::new() };
    let spec = pod.spec.as_ref();
    let init = spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let specified: Vec<_> = init.chain(spec.iter().flat_map(|spec| spec.containers.iter())).collect();
    let initial = status.init_container_statuses.iter().flatten().map(|it| (it, true));
    let main = status.container_statuses.iter().flatten().map(|it| (it, false));
    let mut all: Vec<(usize, Container<'_>)> = initial
        .chain(main)
        .map(|(status, init)| {
            let place = specified.iter().position(|it| it.name == status.name);
            let own = place.and_then(|place| specified.get(place));
            let restarts = own.is_some_and(|own| own.restart_policy.as_deref() == Some("Always"));
            let role = match (init, restarts) {
                (true, true) => Role::Sidecar,
                (true, false) => Role::Init,
                (false, _) => Role::Main,
            };
            let policy = own.and_then(|own| own.termination_message_policy.as_deref());
            let has_log_tail = policy == Some("FallbackToLogsOnError");
            (place.unwrap_or(usize::MAX), Container { status, role, has_log_tail })
        })
        .collect();
    all.sort_by_key(|(place, container)| (container.is_main(), *place));
    all.into_iter().map(|(_, container)| container).collect()
}

pub(super) fn all(pods: &[Arc<Pod>]) -> impl Iterator<Item = (&Pod, Container<'_>)> {
    pods.iter().flat_map(|pod| containers(pod).into_iter().map(move |container| (pod.as_ref(), container)))
}

pub(super) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether a pod has ended: the kubelet says so, or none of its containers runs and all main ones have.
pub fn pod_has_ended(pod: &Pod) -> bool {
    has_ended(pod) || is_settled(pod)
}

/// Which pod, and where it is.
pub fn pod_text(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.map_or_else(|| format!("pod {name}"), |node| format!("pod {name} on node {node}"))
}

/// When the first container of the pods started, an init container included and one that has ended too. A sidecar does
/// nothing of what was asked for.
pub fn pod_started(pods: &[Arc<Pod>]) -> Option<Timestamp> {
    all(pods).filter(|(_, container)| !container.is_sidecar()).filter_map(|(_, container)| container.started_at()).min()
}

/// When the last container of the pods ended.
pub(super) fn pod_finished(pods: &[Arc<Pod>]) -> Option<Timestamp> {
    all(pods).filter_map(|(_, container)| container.finished_at()).max()
}

/// Whether all pods have ended and say how, so that a record misses nothing by being written now.
pub fn pods_settled(pods: &[Arc<Pod>]) -> bool {
    pods.iter().all(|pod| is_settled(pod))
}

/// Whether the status of a batch Job counts a pod in any way. What ended and counts none never had one: a body that asks for
/// no pods, or pods that admission refused until the time was over.
pub fn counts_pods(batch: &BatchJob) -> bool {
    let Some(status) = batch.status.as_ref() else { return false };
    let counted = [status.active, status.succeeded, status.failed, status.terminating].into_iter().flatten();
    let uncounted = status.uncounted_terminated_pods.iter().flat_map(|it| [&it.succeeded, &it.failed]).flatten();
    counted.into_iter().any(|count| count > 0) || uncounted.into_iter().any(|pods| !pods.is_empty())
}

fn is_settled(pod: &Pod) -> bool {
    let containers = containers(pod);
    let mut main = containers.iter().filter(|container| container.is_main()).peekable();
    let all_terminated = main.peek().is_some() && main.all(|container| container.terminated().is_some());
    let none_runs = !containers.iter().any(Container::is_running);
    none_runs && (all_terminated || has_ended(pod))
}

/// Since when the pods have been waiting without anything of them running, or absent if something runs, or did and has
/// ended. A pod whose init containers are done waits again, now for its main ones; `created` is when the attempt was.
pub fn waiting_since(pods: &[Arc<Pod>], created: Timestamp) -> Option<Timestamp> {
    let mut latest = None;
    for (_, it) in all(pods) {
        let init_goes_on = || it.is_running() || (it.terminated().is_none() && it.has_started());
        let goes_on = match it.role {
            Role::Main => it.has_started(),
            Role::Init => init_goes_on() || it.terminated().is_some_and(|end| end.exit_code != 0),
            Role::Sidecar => false,
        };
        if goes_on {
            return None;
        }
        if it.role == Role::Init {
            latest = latest.max(it.finished_at().or_else(|| it.started_at()));
        }
    }
    if pods.iter().any(|pod| has_ended(pod)) {
        return None;
    }
    Some(latest.map_or(created, |latest| latest.max(created)))
}

/// Why a pod, one of whose containers ended then, was being taken away at that time, if it was. Kubernetes counts in whole
/// seconds: what happened in the same second may have been the cause.
pub(super) fn taken_away(pod: &Pod, ended: Option<Timestamp>) -> Option<String> {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    if let Some(target) = conditions.find(|it| it.type_ == "DisruptionTarget" && it.status == "True") {
        return Some(format!("was being taken away ({})", target.reason.as_deref().unwrap_or("DisruptionTarget")));
    }
    was_being_deleted(pod, ended).then(|| "was being deleted".to_owned())
}

/// Whether somebody had asked for a pod's deletion when one of its containers ended.
pub(super) fn was_being_deleted(pod: &Pod, ended: Option<Timestamp>) -> bool {
    deletion_asked_at(pod).is_some_and(|asked| ended.is_none_or(|ended| ended >= asked))
}

/// When somebody asked for a pod's deletion: the API server notes when the grace period that began then is over.
///
/// When the kubelet removes a pod that has ended, the API server writes that moment over it. That the kubelet had seen the
/// deletion before it reported the end (`observedGeneration`) is then all that tells: it was asked at the end at the latest.
pub(super) fn deletion_asked_at(pod: &Pod) -> Option<Timestamp> {
    let due = pod.metadata.deletion_timestamp.as_ref()?.0;
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
    let observed = pod.status.as_ref().and_then(|status| status.observed_generation);
    if grace == 0 && observed.is_some() && observed >= pod.metadata.generation {
        let ended = containers(pod).iter().filter_map(Container::finished_at).max();
        return Some(ended.map_or(due, |ended| ended.min(due)));
    }
    Some(due.saturating_sub(SignedDuration::from_secs(grace)).unwrap_or(due))
}

/// That some main containers of a pod ended and others go on, or went on until the pod was stopped: such an attempt
/// ends only at its timeout. `stopped` is when its batch Job was ended.
pub fn outlived_text(pods: &[Arc<Pod>], stopped: Option<Timestamp>) -> Option<String> {
    pods.iter().find_map(|pod| {
        let stopped = deletion_asked_at(pod).or(stopped);
        let containers = containers(pod);
        let mut done: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        let mut others = Vec::new();
        for container in containers.iter().filter(|container| container.is_main()) {
            let in_time = |ended: Timestamp| stopped.is_none_or(|stopped| ended < stopped);
            let name = &container.status.name;
            match (container.terminated(), container.finished_at()) {
                (Some(end), Some(at)) if in_time(at) => {
                    let took = container.started_at().map(|began| words::duration(at.duration_since(began)));
                    let ended = format!("{name} after {}", took.unwrap_or_default());
                    done.entry(end.exit_code).or_default().push(ended);
                }
                _ => others.push(name.as_str()),
            }
        }
        let goes_on = if others.len() == 1 { "goes on" } else { "go on" };
        let went_on = if stopped.is_some() { "went on" } else { goes_on };
        let ends = done.iter().map(|(code, ended)| format!("ended with exit code {code}: {}", ended.join(", ")));
        let ends: Vec<String> = ends.collect();
        let text = format!("{}; {} {went_on}", ends.join("; "), others.join(", "));
        (!done.is_empty() && !others.is_empty()).then(|| shorten(text, WAITING_BYTES_MAX))
    })
}

/// When the last main container ended of a pod in which others go on.
pub fn outlived_since(pods: &[Arc<Pod>]) -> Option<Timestamp> {
    let ends = |pod: &Arc<Pod>| {
        let containers = containers(pod);
        let main = || containers.iter().filter(|container| container.is_main());
        let goes_on = main().any(|it| it.terminated().is_none() && it.is_running());
        main().filter_map(Container::finished_at).max().filter(|_| goes_on)
    };
    pods.iter().filter_map(ends).min()
}

/// What the pods wait for, for people: a container that cannot be started, or a pod that no node takes.
pub fn waiting_text(pods: &[Arc<Pod>]) -> Option<String> {
    waits(pods).into_iter().next().map(|(_, text)| shorten(text, WAITING_BYTES_MAX))
}

/// The same, unless it is only how every pod begins.
pub fn stuck_text(pods: &[Arc<Pod>]) -> Option<String> {
    waits(pods).into_iter().find(|(usual, _)| !usual).map(|(_, text)| shorten(text, WAITING_BYTES_MAX))
}

/// Whether a sentence tells that no node takes a pod, and all pods have one by now.
pub fn is_over(said: &str, pods: &[Arc<Pod>]) -> bool {
    let has_node = |pod: &Arc<Pod>| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    said.contains(UNSCHEDULED) && !pods.is_empty() && pods.iter().all(has_node)
}

/// What the pods wait for, what is unusual first, each with whether it is how every pod begins.
fn waits(pods: &[Arc<Pod>]) -> Vec<(bool, String)> {
    let containers = all(pods).filter_map(|(_, container)| {
        let waiting = container.status.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let text = join(&[
            &format!("container {}", container.status.name),
            reason,
            waiting.message.as_deref().unwrap_or_default(),
        ]);
        // These two are how every pod begins; they explain nothing unless something is said about them.
        let usual = matches!(reason, "" | "PodInitializing" | "ContainerCreating") && waiting.message.is_none();
        Some((usual, text))
    });
    let mut told: Vec<(bool, String)> = pods.iter().filter_map(|pod| unscheduled(pod)).map(|it| (false, it)).collect();
    told.extend(containers);
    told.sort_by_key(|(usual, _)| *usual);
    told
}

fn unscheduled(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|it| it.type_ == "PodScheduled" && it.status == "False")?;
    let why = condition.message.as_deref().or(condition.reason.as_deref()).unwrap_or("no reason given");
    Some(format!("pod {}{UNSCHEDULED}: {why}", pod.metadata.name.as_deref().unwrap_or_default()))
}

/// The parts that say something, with colons between.
pub(super) fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}
