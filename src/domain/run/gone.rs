//! How an attempt ended whose batch Job is gone before Kubernetes said how: its pods tell, and why it was ended.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;

use super::deciding::{self, Deciding};
use super::pods::{self, join};
use super::verdict;
use super::{RunInput, Verdict, ended_for, said_reason, succeeded};
use crate::api::{Outcome, Reason};

/// The verdict. What came first counts: the end of the pods by themselves, or that somebody had them ended.
pub(super) fn verdict(input: &RunInput<'_>, batch: Option<&BatchJob>) -> Verdict {
    let by_themselves: Vec<Arc<Pod>> = input.pods.iter().filter(|pod| ended_by_itself(pod)).cloned().collect();
    if have_succeeded(input, batch, &by_themselves) {
        return succeeded();
    }
    if let Some(failed) = failed_by_itself(input, batch, &by_themselves) {
        return failed;
    }
    if let Some(cancelled) = verdict::cancelled(input) {
        return cancelled;
    }
    if let Some(why) = batch.and_then(ended_for).or(said_reason(input.job)) {
        return verdict::brought_forward(input, batch, deciding::of_failure(batch, input.pods).as_ref(), why);
    }
    if let Some(too_late) = verdict::deleted_too_late(input) {
        return too_late;
    }
    if have_succeeded(input, batch, input.pods) {
        let note = "its batch Job was deleted while it ran, and it ended with 0 all the same";
        return Verdict { error: Some(note.into()), ..succeeded() };
    }
    let failed = deciding::of_failure(batch, input.pods).and_then(|deciding| deciding.container);
    let failed = failed.filter(|it| it.terminated().is_some_and(|end| end.exit_code != 0));
    let stuck = || verdict::stuck(input, batch).filter(|_| super::started(input).is_none());
    let what = failed.map(|container| verdict::exit_text(&container)).or_else(stuck).unwrap_or_default();
    let text = join(&["somebody deleted the batch Job before it was seen to end", &what]);
    Verdict { outcome: Outcome::Failed, reason: Reason::BatchJobDeleted, error: Some(text) }
}

/// Whether a pod had ended before it was asked to, if it was.
pub(super) fn ended_by_itself(pod: &Arc<Pod>) -> bool {
    let Some(asked) = pods::deletion_asked_at(pod) else { return super::pod_has_ended(pod) };
    pods::pod_finished(std::slice::from_ref(pod)).is_some_and(|ended| ended < asked)
}

/// Whether as many pods succeeded as the batch Job was to have.
fn have_succeeded(input: &RunInput<'_>, batch: Option<&BatchJob>, pods: &[Arc<Pod>]) -> bool {
    let spec = batch.and_then(|batch| batch.spec.as_ref());
    let template = input.resolved.map(|known| known.job_template);
    let number = |field: &str| template.and_then(|template| template.pointer(&format!("/spec/{field}"))?.as_i64());
    let completions = match spec {
        Some(spec) => spec.completions.map(i64::from),
        None => number("completions"),
    };
    let parallelism = match spec {
        Some(spec) => spec.parallelism.map(i64::from),
        None => number("parallelism"),
    };
    // Without a number of completions one success is enough, once all pods have ended.
    let wanted = completions.or(parallelism.filter(|it| *it <= 1)).unwrap_or(1).max(1);
    let succeeded = pods.iter().filter(|pod| pod_succeeded(pod));
    let which: BTreeSet<String> = succeeded
        .map(|pod| {
            deciding::index(pod).map_or_else(|| pod.metadata.uid.clone().unwrap_or_default(), |it| it.to_string())
        })
        .collect();
    let counted = batch.and_then(|batch| batch.status.as_ref()?.succeeded).map_or(0, i64::from);
    i64::try_from(which.len()).unwrap_or(i64::MAX).max(counted) >= wanted
}

fn pod_succeeded(pod: &Arc<Pod>) -> bool {
    if pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded") {
        return true;
    }
    let containers = pods::containers(pod);
    let mut main = containers.iter().filter(|container| container.is_main()).peekable();
    let ended_well = |container: &pods::Container<'_>| container.terminated().is_some_and(|end| end.exit_code == 0);
    main.peek().is_some() && main.all(ended_well)
}

/// A failure of the program's own, if one is enough for the batch Job to fail: where rules or retries of its own decide, the
/// Job controller would have to.
fn failed_by_itself(input: &RunInput<'_>, batch: Option<&BatchJob>, by_themselves: &[Arc<Pod>]) -> Option<Verdict> {
    let spec = batch.and_then(|batch| batch.spec.as_ref());
    let decides = |field: &str| {
        let template = input.resolved.map(|known| known.job_template);
        template.and_then(|template| template.pointer(&format!("/spec/{field}"))).is_some_and(|it| !it.is_null())
    };
    let counts = match spec {
        Some(spec) => spec.backoff_limit_per_index.is_none() && spec.pod_failure_policy.is_none(),
        None => !decides("backoffLimitPerIndex") && !decides("podFailurePolicy"),
    };
    let deciding: Deciding<'_> = deciding::of_failure(batch, by_themselves).filter(|_| counts)?;
    let failed = deciding.container.filter(|it| it.terminated().is_some_and(|end| end.exit_code != 0))?;
    let text = verdict::exit_text(&failed);
    Some(Verdict { outcome: Outcome::Failed, reason: Reason::ExitCode, error: Some(text) })
}
