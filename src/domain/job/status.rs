//! What a Job's status says while it waits, runs, and has ended.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::attempt::pending;
use super::leaving::{OVERDUE, Said};
use super::{Facts, SaturatingTime, attempt_name, current_attempt, launch_time, launched_at, queued_at, status_rests};
use crate::api::job::WaitingFor;
use crate::api::{Job, JobPhase, JobStatus, LocalReference, ObjectReference, Outcome, Reason};
use crate::domain::conditions::{self, Conditions, Fact, micro};
use crate::domain::pasted::{self, Body};
use crate::domain::plan::{Ending, Note, Plan};
use crate::domain::queue::Blocker;
use crate::domain::resolve::Resolved;
use crate::domain::run;

/// How long the containers of a pod may take to end one after the other, in milliseconds.
const OUTLIVED_MS: i64 = 10_000;

pub(super) fn running_status(
    facts: &Facts<'_>,
    known: Option<&Resolved<'_>>,
    batch: &BatchJob,
    started: Option<Timestamp>,
    ending: Option<Said>,
    plan: &mut Plan<JobStatus>,
    now: Timestamp,
) {
    // The batch Job may be seen before the answer to its creation was taken in.
    let launched = launch_time(facts, now);
    let said = facts.job.status.as_ref().and_then(|status| status.batch_job_ref.as_ref());
    let unsaid = said.is_none_or(|said| Some(&said.name) != batch.metadata.name.as_ref());
    if let (true, None, Some(at)) = (unsaid, started, launched)
        && let Some(later) = status_rests(facts, at, now)
    {
        plan.wake(later);
        return;
    }
    let mut status = base_status(facts, known, now);
    let suspended = run::is_suspended(batch);
    let runs = started.is_some() && !suspended;
    status.phase = Some(if runs { JobPhase::Running } else { JobPhase::Dispatched });
    if unsaid {
        say_launched(&mut status, batch, launched);
    }
    if unsaid {
        status.started_at = None;
    }
    // The pods may be gone by now, with a suspension for one; that they had started stays true.
    status.started_at = started.map(|at| started_at(facts, at, now)).or(status.started_at);
    status.attempts = current_attempt(facts.job);
    status.waiting_for = suspended.then_some(WaitingFor::Suspended);
    status.retry_at = None;
    status.refused_since = None;
    let mut list = Conditions::from(&status.conditions, facts.job.metadata.generation, now);
    let (reason, message) = match (suspended, started) {
        _ if ending.is_some() => said_once(facts, ending.unwrap_or_default()),
        (true, _) => (WaitingFor::Suspended.as_str(), run::suspended_text(batch)),
        (false, _) => ("Launched", launched_text(facts, batch, plan, now)),
    };
    list.set(Fact { type_: conditions::DISPATCHED, holds: true, reason, message });
    list.remove(conditions::STALLED);
    status.conditions = list.into_list();
    if unsaid {
        plan.notes.push(Note::normal("Dispatched", "Launch", dispatched_text(batch)));
    }
    plan.status = Some(status);
}

/// The status of an attempt whose batch Job is gone or going, and whose pods have not ended.
pub(super) fn leaving_status(
    facts: &Facts<'_>,
    known: Option<&Resolved<'_>>,
    batch: Option<&BatchJob>,
    said: Said,
    plan: &mut Plan<JobStatus>,
    now: Timestamp,
) {
    let mut status = base_status(facts, known, now);
    let named = status.batch_job_ref.as_ref().map(|said| said.name.clone());
    if let Some(batch) = batch.filter(|batch| batch.metadata.name != named) {
        say_launched(&mut status, batch, launch_time(facts, now));
        status.started_at = None;
    }
    let before = status.started_at.as_ref().map(|time| time.0);
    let started = run::last_start(before, facts.pods, batch.and_then(run::resumed_at));
    status.phase = Some(if started.is_some() { JobPhase::Running } else { JobPhase::Dispatched });
    status.started_at = started.map(|at| started_at(facts, at, now)).or(status.started_at);
    status.attempts = current_attempt(facts.job);
    status.waiting_for = None;
    status.retry_at = None;
    status.refused_since = None;
    let mut list = Conditions::from(&status.conditions, facts.job.metadata.generation, now);
    let (reason, message) = said_once(facts, said);
    list.set(Fact { type_: conditions::DISPATCHED, holds: true, reason, message });
    list.remove(conditions::STALLED);
    status.conditions = list.into_list();
    plan.status = Some(status);
}

/// A sentence about how an attempt ends is rewritten when its word changes, or when its pods should have ended and have not:
/// not whenever one of them has.
fn said_once(facts: &Facts<'_>, (word, text): Said) -> Said {
    let before = facts.job.status.iter().flat_map(|status| &status.conditions);
    let before = before.filter(|it| it.type_ == conditions::DISPATCHED && it.reason == word);
    let same = |said: &str| said.contains(OVERDUE) == text.contains(OVERDUE);
    let before = before.map(|it| &it.message).find(|said| same(said)).cloned();
    (word, before.unwrap_or(text))
}

/// When the attempt started, told by the clock of its node in whole seconds: not before the Job was queued.
fn started_at(facts: &Facts<'_>, at: Timestamp, now: Timestamp) -> MicroTime {
    micro(at.max(queued_at(facts, now)))
}

/// That it was launched, with what keeps its main containers from starting, or the attempt from ending.
fn launched_text(facts: &Facts<'_>, batch: &BatchJob, plan: &mut Plan<JobStatus>, now: Timestamp) -> String {
    let text = dispatched_text(batch);
    let pods = &run::pods_since(facts.pods, run::resumed_at(batch));
    let more = if pending(facts.job, batch, pods, launch_time(facts, now), now).is_some() {
        stuck_text(facts, batch, pods)
    } else {
        outlived_text(pods, plan, now)
    };
    more.map(|more| format!("{text}; {more}")).unwrap_or(text)
}

/// What keeps the main containers from starting. It is said once: the kubelet's words change back and forth, and are gone when
/// the pod is, so the record takes them from here.
fn stuck_text(facts: &Facts<'_>, batch: &BatchJob, pods: &[Arc<Pod>]) -> Option<String> {
    let told = facts.memory.told.as_ref().filter(|told| told.attempt == current_attempt(facts.job));
    said_of(facts.job, batch, pods)
        .or_else(|| run::no_pods_text(batch))
        .or_else(|| run::stuck_text(pods))
        .or_else(|| told?.text.clone())
}

/// What the Job's condition already says of what keeps that batch Job from starting.
pub(super) fn said_of(job: &Job, batch: &BatchJob, pods: &[Arc<Pod>]) -> Option<String> {
    let mut conditions = job.status.iter().flat_map(|status| &status.conditions);
    let said = &conditions.find(|it| it.type_ == conditions::DISPATCHED)?.message;
    let said = said.strip_prefix(&dispatched_text(batch))?.strip_prefix("; ")?;
    (!run::is_over(said, pods)).then(|| said.to_owned())
}

/// That a main container ended well and others go on, once that has lasted: such a pod ends only at its timeout.
fn outlived_text(pods: &[Arc<Pod>], plan: &mut Plan<JobStatus>, now: Timestamp) -> Option<String> {
    let due = run::outlived_since(pods)?.saturating_add_ms(OUTLIVED_MS);
    if now < due {
        plan.wake(due);
        return None;
    }
    run::outlived_text(pods, None)
}

/// Which batch Job the current attempt is, and since when.
pub(super) fn say_launched(status: &mut JobStatus, batch: &BatchJob, launched: Option<Timestamp>) {
    let created = batch.metadata.creation_timestamp.as_ref().map(|time| time.0);
    status.dispatched_at = launched.or(created).map(micro);
    status.batch_job_ref = Some(ObjectReference {
        name: batch.metadata.name.clone().unwrap_or_default(),
        uid: batch.metadata.uid.clone().unwrap_or_default(),
    });
}

pub(super) fn dispatched_text(batch: &BatchJob) -> String {
    format!("launched as batch Job {}", batch.metadata.name.as_deref().unwrap_or_default())
}

pub(super) fn previously_waiting_for(job: &Job) -> Option<WaitingFor> {
    job.status.as_ref().and_then(|status| status.waiting_for)
}

/// Says what a Job waits for. The sentence is rewritten only when the word changes, so that a queue's movement does not
/// cost a write for each Job in it.
pub(super) fn set_waiting(
    facts: &Facts<'_>,
    status: &mut JobStatus,
    blocker: Option<&Blocker>,
    stalled: bool,
    now: Timestamp,
) {
    let before = previously_waiting_for(facts.job);
    status.waiting_for = blocker.map(|blocker| blocker.waiting_for);
    let mut list = Conditions::from(&status.conditions, facts.job.metadata.generation, now);
    let generation_said = facts.job.status.as_ref().and_then(|status| status.observed_generation);
    let joined = facts.job.status.as_ref().and_then(|status| status.joined_group.as_ref());
    let same = before.is_some()
        && before == status.waiting_for
        && joined == status.joined_group.as_ref()
        && generation_said == facts.job.metadata.generation;
    if let Some(blocker) = blocker.filter(|_| !same) {
        let reason = blocker.waiting_for.as_str();
        let message = blocker.message.clone();
        list.set(Fact { type_: conditions::DISPATCHED, holds: false, reason, message: message.clone() });
        if stalled {
            list.set(Fact { type_: conditions::STALLED, holds: true, reason, message });
        } else {
            list.remove(conditions::STALLED);
        }
    } else if blocker.is_none() {
        let message = "waiting for its turn".to_owned();
        list.set(Fact { type_: conditions::DISPATCHED, holds: false, reason: "Queued", message });
        list.remove(conditions::STALLED);
    }
    status.conditions = list.into_list();
}

/// The status as it is, with what was resolved.
pub(super) fn base_status(facts: &Facts<'_>, known: Option<&Resolved<'_>>, now: Timestamp) -> JobStatus {
    let mut status = facts.job.status.clone().unwrap_or_default();
    status.observed_generation = facts.job.metadata.generation;
    if let Some(body) = Body::of_job(&facts.job.spec) {
        let mut list = Conditions::from(&status.conditions, facts.job.metadata.generation, now);
        list.warn(&pasted::sentences(&body));
        status.conditions = list.into_list();
    }
    if let Some(gate) = facts.gate.filter(|gate| gate.joins) {
        status.joined_group = Some(gate.group_uid.clone());
    }
    if let Some(resolved) = known {
        status.queue = Some(resolved.queue.clone());
        status.priority = Some(resolved.priority);
        status.job_type = Some(resolved.job_type.clone());
        status.params = resolved.params.clone();
        status.template = resolved.template.clone();
        status.queued_at = Some(MicroTime(queued_at(facts, now)));
    }
    status
}

pub(super) fn waiting_status(
    facts: &Facts<'_>,
    resolved: &Resolved<'_>,
    phase: JobPhase,
    blocker: Option<&Blocker>,
    now: Timestamp,
) -> Plan<JobStatus> {
    let mut status = base_status(facts, Some(resolved), now);
    status.phase = Some(phase);
    if phase == JobPhase::Pending {
        status.queued_at = None;
        status.template = None;
        status.params.clear();
    }
    set_waiting(facts, &mut status, blocker, false, now);
    Plan { status: Some(status), ..Plan::default() }
}

pub(super) fn ended_note(ending: &Ending) -> Note {
    let message = format!("{}: see JobRun {}", ending.reason.as_str(), ending.run);
    match ending.outcome {
        Outcome::Completed => Note::normal("Completed", "Record", message),
        Outcome::Failed => Note::warning("Failed", "Record", message),
        Outcome::Skipped => Note::normal("Skipped", "Record", message),
    }
}

fn is_current(job: &Job, batch: &str) -> bool {
    attempt_name(job, current_attempt(job)) == batch
}

pub(super) fn ended_status(
    facts: &Facts<'_>,
    known: Option<&Resolved<'_>>,
    ending: &Ending,
    now: Timestamp,
) -> JobStatus {
    let mut status = base_status(facts, known, now);
    let cancelled = matches!(ending.reason, Reason::Cancelled | Reason::Replaced | Reason::JobDeleted);
    status.phase = Some(if cancelled { JobPhase::Cancelled } else { JobPhase::Finished });
    status.outcome = Some(ending.outcome);
    status.reason = Some(ending.reason);
    status.finished_at = Some(micro(ending.finished_at));
    status.attempts = current_attempt(facts.job);
    status.run_refs.push(LocalReference { name: ending.run.clone() });
    status.waiting_for = None;
    status.retry_at = None;
    let said = status.started_at.as_ref().map(|time| time.0);
    let resumed = facts.batch.and_then(run::resumed_at);
    let started = run::last_start(said, facts.pods, resumed);
    status.started_at = started.map(|at| started_at(facts, at, now)).or(status.started_at);
    let type_ = match (cancelled, ending.outcome) {
        (true, _) => conditions::CANCELLED,
        (false, Outcome::Completed) => conditions::COMPLETE,
        (false, Outcome::Failed) => conditions::FAILED,
        (false, Outcome::Skipped) => conditions::SKIPPED,
    };
    let mut list = Conditions::from(&status.conditions, facts.job.metadata.generation, now);
    if let Some(batch) = facts.batch {
        if status.batch_job_ref.as_ref().map(|said| &said.name) != batch.metadata.name.as_ref() {
            say_launched(&mut status, batch, launched_at(facts));
        }
        list.set(Fact {
            type_: conditions::DISPATCHED,
            holds: true,
            reason: "Launched",
            message: dispatched_text(batch),
        });
    } else if let Some(said) = status.batch_job_ref.as_ref().filter(|said| is_current(facts.job, &said.name)) {
        // It is gone, and with it what was to be said of how it went.
        let message = format!("launched as batch Job {}", said.name);
        list.set(Fact { type_: conditions::DISPATCHED, holds: true, reason: "Launched", message });
    } else if !conditions::holds(&status.conditions, conditions::DISPATCHED) {
        list.remove(conditions::DISPATCHED);
    }
    let contradiction = facts.memory.recorded.as_ref().and_then(|recorded| recorded.contradiction.as_deref());
    let message = contradiction.map_or_else(|| format!("see JobRun {}", ending.run), str::to_owned);
    list.set(Fact { type_, holds: true, reason: ending.reason.as_str(), message });
    list.remove(conditions::STALLED);
    status.conditions = list.into_list();
    status
}
