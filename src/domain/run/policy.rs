//! What a batch Job's podFailurePolicy says of a pod that failed, as the Job controller reads it: the first rule that fits
//! decides. Kubernetes writes down only what came of it, and only of a rule that ends the batch Job.

use k8s_openapi::api::batch::v1::{Job as BatchJob, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::pods::phase;

/// What a failure is to Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It counts against the limits of failures.
    Counts,
    /// It counts for nothing: another pod takes the place.
    Ignored,
    /// It ends its index, whatever may be left of its limit.
    FailsIndex,
    /// It ends the batch Job.
    FailsJob,
}

/// What a failure is to Kubernetes, and the container whose exit code says so, if a rule about exit codes fits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judgement<'a> {
    pub(super) treatment: Treatment,
    pub(super) container: Option<&'a str>,
}

/// What the policy of the batch Job, if it has one, says of a pod. Its phase may be seen a little later than the end
/// of its containers.
pub(super) fn judge<'a>(batch: Option<&BatchJob>, pod: &'a Pod) -> Judgement<'a> {
    let policy = batch.and_then(|batch| batch.spec.as_ref()?.pod_failure_policy.as_ref());
    let rules = policy.iter().flat_map(|policy| &policy.rules).filter(|_| phase(pod) != "Succeeded");
    let mut fitting = rules.filter_map(|rule| Some((treatment(rule), fits(rule, pod)?)));
    let (treatment, container) = fitting.next().unwrap_or((Treatment::Counts, None));
    Judgement { treatment, container }
}

fn treatment(rule: &PodFailurePolicyRule) -> Treatment {
    match rule.action.as_str() {
        "Ignore" => Treatment::Ignored,
        "FailIndex" => Treatment::FailsIndex,
        "FailJob" => Treatment::FailsJob,
        _ => Treatment::Counts,
    }
}

/// Whether a rule fits a pod, and the container that makes it fit, if it is about exit codes.
fn fits<'a>(rule: &PodFailurePolicyRule, pod: &'a Pod) -> Option<Option<&'a str>> {
    let status = pod.status.as_ref()?;
    if let Some(codes) = &rule.on_exit_codes {
        let main = status.container_statuses.iter().flatten();
        let mut all = main.chain(status.init_container_statuses.iter().flatten());
        return all.find(|container| has_code(codes, container)).map(|container| Some(container.name.as_str()));
    }
    let mut patterns = rule.on_pod_conditions.iter().flatten();
    let fits = patterns.any(|pattern| {
        let wanted = pattern.status.as_deref().unwrap_or("True");
        let mut conditions = status.conditions.iter().flatten();
        conditions.any(|condition| condition.type_ == pattern.type_ && condition.status == wanted)
    });
    fits.then_some(None)
}

fn has_code(codes: &PodFailurePolicyOnExitCodesRequirement, container: &ContainerStatus) -> bool {
    let end = container.state.as_ref().and_then(|state| state.terminated.as_ref());
    let named = codes.container_name.as_ref().is_none_or(|name| *name == container.name);
    let listed = |code: i32| codes.values.contains(&code) == (codes.operator == "In");
    named && end.is_some_and(|end| end.exit_code != 0 && listed(end.exit_code))
}
