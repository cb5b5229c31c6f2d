//! A launched attempt: followed until its batch Job ended, and then recorded.

use k8s_openapi::api::batch::v1::Job as BatchJob;

use super::status::running_status;
use super::*;
use crate::domain::resolve::PENDING_TIMEOUT_SECONDS_DEFAULT;

pub(super) fn with_batch(
    facts: &Facts<'_>,
    known: Option<&Resolved<'_>>,
    batch: &BatchJob,
    attempt: u32,
    now: Timestamp,
) -> Plan<JobStatus> {
    let cancel = cancel_request(facts);
    match run::batch_outcome(batch) {
        BatchState::Active => active(facts, known, batch, cancel.as_ref(), now),
        ended => {
            let created = batch.metadata.creation_timestamp.as_ref().map(|time| time.0);
            let deadline = ended_at(batch).or(created).unwrap_or(now).saturating_add_ms(PODS_DELAY_MS);
            let settled = !facts.pods.is_empty() && run::pods_settled(facts.pods);
            if !settled && now < deadline {
                let mut plan = Plan::default();
                plan.wake(deadline);
                return plan;
            }
            let input = RunInput { cancel: cancel.as_ref(), ..record_input(facts, known, attempt, now) };
            record(run::ended_run(&input, batch, &ended))
        }
    }
}

/// When a batch Job's terminal condition was set.
fn ended_at(batch: &BatchJob) -> Option<Timestamp> {
    let conditions = batch.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .filter(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True")
        .filter_map(|condition| condition.last_transition_time.as_ref().map(|time| time.0))
        .max()
}

fn active(
    facts: &Facts<'_>,
    known: Option<&Resolved<'_>>,
    batch: &BatchJob,
    cancel: Option<&(Reason, Cancel)>,
    now: Timestamp,
) -> Plan<JobStatus> {
    let mut plan = Plan::default();
    let resumed = run::resumed_at(batch);
    let pods = run::pods_since(facts.pods, resumed);
    // Pods that are gone have still started; those of before a suspension have not started again.
    let said = facts.job.status.as_ref().and_then(|status| status.started_at.as_ref()).map(|time| time.0);
    let started = run::last_start(said, facts.pods, resumed);
    let deadline = total_deadline(facts.job, facts.memory, known, now);
    let too_late = deadline.filter(|deadline| now >= *deadline).map(|_| Reason::TotalDeadlineExceeded);
    let ends = cancel.map(|(reason, _)| *reason).or(too_late);
    let suspended = run::is_suspended(batch);
    match ends {
        Some(_) if suspended => plan.effects.push(delete(batch)),
        Some(reason) if run::ended_for(batch).is_none() => plan.effects.push(expire(batch, reason)),
        Some(_) => {}
        None => {
            deadline.iter().for_each(|deadline| plan.wake(*deadline));
            if !suspended && !run::is_being_resumed(batch) && run::ended_for(batch).is_none() {
                give_up_on_pending(facts, known, batch, &pods, started, &mut plan, now);
                silent::wake(facts, batch, &mut plan, now);
            }
        }
    }
    if cancel.is_some_and(|(_, cancel)| cancel.force) {
        plan.effects.extend(facts.pods.iter().filter_map(|pod| kill(pod)));
    }
    running_status(facts, known, batch, started, &mut plan, now);
    plan
}

pub(super) fn delete(batch: &BatchJob) -> Effect {
    let version = batch.metadata.resource_version.clone().unwrap_or_default();
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
fn kill(pod: &Pod) -> Option<Effect> {
    let asked = pod.metadata.deletion_timestamp.is_some() && pod.metadata.deletion_grace_period_seconds == Some(0);
    let ended = matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"));
    (!asked && !ended).then(|| Effect::KillPod(identity(&pod.metadata)))
}
