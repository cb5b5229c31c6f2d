//! A launched attempt: followed until its batch Job ended, and then recorded.

use k8s_openapi::api::batch::v1::Job as BatchJob;

use super::leaving::being_ended;
use super::status::running_status;
use super::transitions::cancel_note;
use super::*;
use crate::domain::resolve::PENDING_TIMEOUT_SECONDS_DEFAULT;

/// An attempt that has ended, as Kubernetes said of its batch Job: recorded when its pods are seen to have ended too. They
/// are waited for a little, by the operator's own clock since it saw the end, unless there were none.
pub(super) fn ended(
    facts: &Facts<'_>,
    known: Option<&Resolved<'_>>,
    batch: &BatchJob,
    attempt: u32,
    now: Timestamp,
) -> Plan<JobStatus> {
    let seen = facts.memory.end_seen.filter(|(ended, _)| *ended == attempt).map_or(now, |(_, at)| at.min(now));
    let deadline = seen.saturating_add_ms(PODS_DELAY_MS);
    let settled = if facts.pods.is_empty() { !run::counts_pods(batch) } else { run::pods_settled(facts.pods) };
    if !settled && now < deadline {
        let mut plan = Plan::default();
        plan.wake(deadline);
        return plan;
    }
    let cancel = cancel_request(facts);
    let input = RunInput { cancel: cancel.as_ref(), ..record_input(facts, known, attempt, now) };
    record(run::ended_run(&input, batch, &run::batch_outcome(batch)))
}

/// An attempt whose batch Job is there and has not ended.
pub(super) fn running(
    facts: &Facts<'_>,
    known: Option<&Resolved<'_>>,
    batch: &BatchJob,
    now: Timestamp,
) -> Plan<JobStatus> {
    let cancel = cancel_request(facts);
    let mut plan = Plan::default();
    let resumed = run::resumed_at(batch);
    let pods = run::pods_since(facts.pods, resumed);
    // Pods that are gone have still started; those of before a suspension have not started again.
    let said = facts.job.status.as_ref().and_then(|status| status.started_at.as_ref()).map(|time| time.0);
    let started = run::last_start(said, facts.pods, resumed);
    let deadline = total_deadline(facts.job, facts.memory, known, now);
    let too_late = deadline.filter(|deadline| now >= *deadline).map(|_| Reason::TotalDeadlineExceeded);
    let ends = cancel.as_ref().map(|(reason, _)| *reason).or(too_late);
    let suspended = run::is_suspended(batch);
    let mut said = None;
    match (ends, run::ended_for(batch)) {
        (Some(_), _) if suspended => {
            plan.effects.push(delete(batch, batch.metadata.resource_version.clone()));
            plan.notes.extend(cancel_note(facts.job));
        }
        (Some(reason), None) => {
            plan.effects.push(expire(batch, reason));
            plan.notes.extend(cancel_note(facts.job));
            plan.notes.extend(deleted_note(batch, reason));
        }
        (_, Some(reason)) if !suspended => said = being_ended(facts, batch, reason, &mut plan, now),
        (_, Some(reason)) => {
            deadline.iter().for_each(|deadline| plan.wake(*deadline));
            // Its deadline does not pass while it is suspended. Why is written down first, as in [`being_ended`].
            let text = format!("it is suspended, and was to end for {}: the batch Job is deleted", reason.as_str());
            said = Some((reason.as_str(), text));
            if run::said_reason(facts.job) == Some(reason) {
                plan.effects.push(delete(batch, batch.metadata.resource_version.clone()));
            }
        }
        (None, None) => {
            deadline.iter().for_each(|deadline| plan.wake(*deadline));
            if !suspended && !run::is_being_resumed(batch) {
                give_up_on_pending(facts, known, batch, &pods, started, &mut plan, now);
                silent::wake(facts, batch, &mut plan, now);
            }
        }
    }
    if cancel.is_some_and(|(_, cancel)| cancel.force) {
        plan.effects.extend(facts.pods.iter().filter_map(|pod| kill(pod)));
    }
    running_status(facts, known, batch, started, said, &mut plan, now);
    plan
}

/// That a Job was deleted while it ran, for those who watch its events: its status goes with it.
fn deleted_note(batch: &BatchJob, reason: Reason) -> Option<Note> {
    let name = batch.metadata.name.as_deref().unwrap_or_default();
    let text = format!("it was deleted: batch Job {name} is ended, and the Job goes when that is recorded");
    (reason == Reason::JobDeleted).then(|| Note::normal("JobDeleted", "End", text))
}

pub(super) fn delete(batch: &BatchJob, version: Option<String>) -> Effect {
    Effect::DeleteBatchJob { batch: identity(&batch.metadata), version }
}

fn expire(batch: &BatchJob, reason: Reason) -> Effect {
    Effect::ExpireBatchJob { batch: identity(&batch.metadata), reason }
}

/// Ends an attempt that has been waiting for a container for too long.
fn give_up_on_pending(
    facts: &Facts<'_>,
    known: Option<&Resolved<'_>>,
    batch: &BatchJob,
    pods: &[Arc<Pod>],
    started: Option<Timestamp>,
    plan: &mut Plan<JobStatus>,
    now: Timestamp,
) {
    // Kubernetes sees more of them than Rota does: somebody may have taken off their labels.
    if batch.status.as_ref().and_then(|status| status.ready).is_some_and(|ready| ready > 0) {
        return;
    }
    let Some(since) = pending_from(batch, pods, started, launch_time(facts, now), now) else { return };
    let timeout = known.map_or(PENDING_TIMEOUT_SECONDS_DEFAULT, |it| it.pending_timeout_seconds);
    let deadline = since.saturating_add_ms(timeout.saturating_mul(1_000));
    if now >= deadline {
        plan.effects.push(expire(batch, Reason::PendingTimeout));
    } else {
        plan.wake(deadline);
    }
}

/// Since when the attempt of a Job has been waiting for a container to start, if it has.
pub(super) fn pending(
    job: &Job,
    batch: &BatchJob,
    pods: &[Arc<Pod>],
    launched: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let said = job.status.as_ref().and_then(|status| status.started_at.as_ref()).map(|time| time.0);
    pending_from(batch, pods, run::last_start(said, pods, run::resumed_at(batch)), launched, now)
}

/// The same: from its launch on for its first container, and when its init containers are done, for its main ones.
fn pending_from(
    batch: &BatchJob,
    pods: &[Arc<Pod>],
    started: Option<Timestamp>,
    launched: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    // A batch Job that was suspended, by Kueue for one, starts anew when it is resumed.
    let created = batch.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let begun = batch.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    // A clock that is ahead of the API server's has not made it wait.
    let launched = launched.map_or(created, |launched| launched.max(created));
    let begun = begun.map_or(launched, |begun| begun.max(launched));
    match started {
        None => Some(begun),
        // Pods that are gone wait for nothing any more.
        Some(_) if pods.is_empty() => None,
        Some(_) => run::waiting_since(pods, begun),
    }
}

/// A pod that is to be killed at once, unless that was already asked.
pub(super) fn kill(pod: &Pod) -> Option<Effect> {
    let asked = pod.metadata.deletion_timestamp.is_some() && pod.metadata.deletion_grace_period_seconds == Some(0);
    let ended = matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"));
    (!asked && !ended).then(|| Effect::KillPod(identity(&pod.metadata)))
}
