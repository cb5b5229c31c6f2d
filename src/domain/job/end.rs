//! What is to be done after an attempt ended: another one, or the clean-up.

use jiff::Timestamp;

use super::status::{base_status, ended_note, ended_status, set_waiting};
use super::*;

/// An ended Job: its status says so, and once its schedule and group know, it is let go and cleaned up.
pub(super) fn after_end(
    facts: &Facts<'_>,
    known: Option<&Resolved<'_>>,
    just_recorded: Option<&Ending>,
    now: Timestamp,
) -> Plan<JobStatus> {
    let mut plan = Plan::default();
    let identity = identity(&facts.job.metadata);
    let held = is_held(facts.job);
    let deleting = facts.job.metadata.deletion_timestamp.is_some();
    let ttl = time_to_live(facts.job, known);
    // A schedule lists a counted Job until it is let go, so one that is let go needs not be listed any more.
    let settled = (facts.schedule_settled || !held) && facts.group_settled;
    // A Job that is not kept needs no last status, unless its schedule or group cannot tell without it that it ended.
    let told = settled || self::ending(facts.job, Some(facts.memory)).is_some();
    let keep = !deleting && (ttl != Some(0) || !told);
    if let Some(ending) = just_recorded.filter(|_| keep) {
        plan.status = Some(ended_status(facts, known, ending, now));
        plan.notes.push(ended_note(ending));
    }
    if settled && held {
        plan.effects.push(Effect::ReleaseJob(identity.clone()));
    }
    let finished_at = just_recorded
        .map(|ending| ending.finished_at)
        .or_else(|| facts.job.status.as_ref().and_then(|status| status.finished_at.as_ref()).map(|time| time.0));
    if let (Some(ttl), Some(finished_at), true, false) = (ttl, finished_at, settled, deleting) {
        let due = finished_at.saturating_add_ms(ttl.saturating_mul(1_000));
        if now >= due {
            plan.effects.push(Effect::DeleteJob(identity));
        } else {
            plan.wake(due);
        }
    }
    plan
}

/// One attempt failed and another may follow: back into the queue, with the record of this one.
pub(super) fn requeue(
    facts: &Facts<'_>,
    known: Option<&Resolved<'_>>,
    ending: &Ending,
    attempt: u32,
    now: Timestamp,
) -> Plan<JobStatus> {
    let base = known.and_then(|known| known.retry.backoff.as_ref()?.initial_seconds).unwrap_or(BACKOFF_SECONDS_DEFAULT);
    let factor = 1i64.checked_shl(attempt.saturating_sub(1)).filter(|factor| *factor > 0).unwrap_or(i64::MAX);
    let delay = i64::from(base).saturating_mul(factor).min(BACKOFF_SECONDS_MAX);
    let retry_at = ending.finished_at.saturating_add_ms(delay.saturating_mul(1_000));
    let mut status = base_status(facts, known, now);
    status.phase = Some(JobPhase::Queued);
    status.run_refs.push(LocalReference { name: ending.run.clone() });
    status.attempts = attempt;
    status.retry_at = Some(micro(retry_at));
    status.dispatched_at = None;
    status.started_at = None;
    let message = format!("attempt {attempt} ended with {}; the next may start at {retry_at}", ending.reason.as_str());
    let blocker = Blocker { waiting_for: WaitingFor::Retry, message: message.clone() };
    set_waiting(facts, &mut status, Some(&blocker), false, now);
    let notes = vec![Note::warning("AttemptFailed", "Retry", message)];
    let mut plan = Plan { status: Some(status), notes, ..Plan::default() };
    plan.wake(retry_at);
    plan
}

/// How long a finished Job is kept; absent: until somebody deletes it.
fn time_to_live(job: &Job, known: Option<&Resolved<'_>>) -> Option<i64> {
    if job.spec.ttl_seconds_after_finished.is_some() {
        return job.spec.ttl_seconds_after_finished;
    }
    if is_tracked(job) {
        return None;
    }
    Some(known.and_then(|known| known.ttl_seconds).unwrap_or(TTL_SECONDS_DEFAULT))
}

/// Whether Argo CD, Flux or Helm tracks a Job: deleting it would make them create it again.
fn is_tracked(job: &Job) -> bool {
    const PREFIXES: [&str; 4] =
        ["argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/", "meta.helm.sh/"];
    let labels = job.metadata.labels.iter().flatten();
    let annotations = job.metadata.annotations.iter().flatten();
    // This one Rota puts on what it makes itself.
    let mut keys = labels.chain(annotations).map(|(key, _)| key.as_str()).filter(|key| *key != ARGO_IGNORE_ANNOTATION);
    keys.any(|key| PREFIXES.iter().any(|prefix| key.starts_with(prefix)) || key == "app.kubernetes.io/instance")
}
