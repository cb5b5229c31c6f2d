//! Job: what is to be done about one Job now.
//!
//! The order of writes is: batch Job created, JobRun created, status written, finalizer taken off, Job deleted. Every
//! step is decided from what is in the cluster, so a crash after any of them is completed by the next decision. An
//! attempt ends when its batch Job does: a timeout or a cancel only asks Kubernetes to end the batch Job, and whichever
//! end came first is the one that is recorded. This module must not decide order or limits; [`super::queue`] does.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;

use super::conditions::micro;
use super::plan::{Effect, Ending, Note, ObjectIdentity, Plan};
use super::queue::{Blocker, Candidate, Limit, Occupant, Rank};
use super::resolve::{Resolved, Source, TTL_SECONDS_DEFAULT, Unresolved, resolve};
use super::run::{self, BatchState, RunInput};
use super::{group, names};
use crate::api::job::WaitingFor;
use crate::api::labels::{ARGO_IGNORE_ANNOTATION, RECORD_FINALIZER};
use crate::api::{Cancel, Job, JobPhase, JobSpec, JobStatus, LocalReference, Outcome, Position, Reason};

mod end;
mod status;

use end::{after_end, requeue};
use status::{base_status, previously_waiting_for, running_status, set_waiting, waiting_status};

/// How long a Job may go without a status before it is written, in milliseconds. Most Jobs are launched, and many
/// started, within it, which makes one write out of three.
const STATUS_DELAY_MS: i64 = 1_000;
/// The same while launches wait for the API server: the status of one Job must not keep another from being launched.
const STATUS_DELAY_BUSY_MS: i64 = 6_000;
/// How often a busy operator looks whether it still is, in milliseconds.
const BUSY_LOOK_MS: i64 = 500;
/// How long an ended batch Job's pods may take to be seen to have ended too, in milliseconds.
const PODS_DELAY_MS: i64 = 3_000;
/// The longest delay before another attempt, in seconds.
const BACKOFF_SECONDS_MAX: i64 = 3_600;
/// The delay before the second attempt unless the template or Job says otherwise, in seconds.
const BACKOFF_SECONDS_DEFAULT: u32 = 10;
/// The delay before a refused launch is tried again, in seconds.
pub const REFUSED_RETRY_SECONDS: i64 = 10;

/// What the shell remembers of a Job. It is a cache: after a restart each item is found again from the cluster, or
/// done again with the same result.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// When this process first saw it.
    pub first_seen: Timestamp,
    /// Whether it was looked at since.
    pub looked_at: bool,
    /// Whether its template had not been read then, so that nobody could tell whether it may be queued.
    pub template_unread: bool,
    /// Its pods that are gone, as they were last seen: their exit codes are still to be recorded.
    pub gone_pods: Vec<Arc<Pod>>,
    /// The places it takes in its limits, since it was admitted.
    pub place: Option<Occupant>,
    /// Since when it could be queued, if its status does not say.
    pub queueable_since: Option<Timestamp>,
    /// The attempt that was admitted and whose batch Job is being created.
    pub launching: Option<u32>,
    /// The attempt whose batch Job was created, and when.
    pub launched: Option<(u32, Timestamp)>,
    /// Why the API server refused to create the batch Job of an attempt.
    pub refusal: Option<Refusal>,
    /// The attempt whose JobRun is known to exist, and how it ended.
    pub recorded: Option<(u32, Ending)>,
    /// What it waits for in its queue.
    pub blocker: Option<Blocker>,
    /// Why its queue, which was full, did not keep it.
    pub dropped: Option<(Reason, String)>,
    /// What its queue may launch, according to the last decision; absent: nothing.
    pub candidate: Option<Candidate>,
}

impl Memory {
    /// Nothing but when it was first seen.
    pub fn new(first_seen: Timestamp) -> Self {
        Self {
            first_seen,
            looked_at: false,
            template_unread: false,
            gone_pods: Vec::new(),
            place: None,
            queueable_since: None,
            launching: None,
            launched: None,
            refusal: None,
            recorded: None,
            blocker: None,
            dropped: None,
            candidate: None,
        }
    }
}

/// Why the API server refused a batch Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which attempt.
    pub attempt: u32,
    /// Whether trying again is pointless: the batch Job is invalid.
    pub permanent: bool,
    /// What the API server said.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// All that a decision about a Job depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The Job.
    pub job: &'a Job,
    /// Where its template stands.
    pub source: Source<'a>,
    /// How many Jobs of its template may run, according to the template of today.
    pub template_max_running: Option<u32>,
    /// How many Jobs of its schedule may run, according to the schedule of today.
    pub schedule_max_running: Option<u32>,
    /// Its place in its group, if it has one.
    pub gate: Option<&'a group::Gate>,
    /// Whether its schedule, if it still exists, has its occurrence and its ending in its status.
    pub schedule_settled: bool,
    /// Whether its group, if it still exists, has its ending in its status.
    pub group_settled: bool,
    /// The batch Job of its current attempt.
    pub batch: Option<&'a BatchJob>,
    /// The pods of its current attempt.
    pub pods: &'a [Arc<Pod>],
    /// The unfinished Job with the same dedupKey that came first, if there is one.
    pub duplicate_of: Option<&'a str>,
    /// What the shell remembers of it.
    pub memory: &'a Memory,
    /// Whether launches wait for the API server, so that what can wait should.
    pub busy: bool,
}

/// What is to be done about a Job, and what its queue may launch.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Decision {
    /// Effects, status, events and the time to look again.
    pub plan: Plan<JobStatus>,
    /// What its queue may launch if limits allow.
    pub candidate: Option<Candidate>,
    /// The queue it needs and that may have to be created.
    pub queue: Option<String>,
}

impl From<Plan<JobStatus>> for Decision {
    fn from(plan: Plan<JobStatus>) -> Self {
        Self { plan, candidate: None, queue: None }
    }
}

/// The number of the current attempt, from 1: one more than the JobRuns that the status names.
pub fn current_attempt(job: &Job) -> u32 {
    let recorded = job.status.as_ref().map_or(0, |status| status.run_refs.len());
    u32::try_from(recorded).unwrap_or(u32::MAX).saturating_add(1)
}

/// How a Job ended, if it did: from its status, or from what was recorded and not written into it.
pub fn ending(job: &Job, memory: Option<&Memory>) -> Option<Ending> {
    let status = job.status.as_ref();
    if let Some(status) = status.filter(|status| status.phase.is_some_and(JobPhase::is_ended)) {
        return Some(Ending {
            outcome: status.outcome.unwrap_or(Outcome::Failed),
            reason: status.reason.unwrap_or(Reason::BatchJobFailed),
            finished_at: status.finished_at.clone().map(|time| time.0).unwrap_or_default(),
            run: status.run_refs.last().map(|run| run.name.clone()).unwrap_or_default(),
        });
    }
    let (attempt, ending) = memory?.recorded.as_ref()?;
    let last = *attempt == current_attempt(job) && is_surely_last(job, ending, *attempt);
    last.then(|| ending.clone())
}

/// Whether no attempt follows, as far as the Job alone tells. Whether its template's retry allows another one is known to
/// the decision about the Job only; until that is in its status, the Job does not count as ended.
fn is_surely_last(job: &Job, ending: &Ending, attempt: u32) -> bool {
    let own = job.spec.retry.is_some() || job.spec.template_ref.is_none();
    !may_retry(job, ending, None, attempt) && (own || !is_worth_a_retry(job, ending))
}

/// Decides about one Job.
pub fn decide(facts: &Facts<'_>, now: Timestamp) -> Decision {
    let attempt = current_attempt(facts.job);
    let resolved = resolve(facts.job, facts.source);
    let known = resolved.as_ref().ok();
    if ending(facts.job, None).is_some() {
        let plan = after_end(facts, known, None, now);
        return plan.into();
    }
    if let Some((recorded, ending)) = &facts.memory.recorded
        && *recorded == attempt
    {
        if may_retry(facts.job, ending, known, attempt) {
            return requeue(facts, known, ending, attempt, now).into();
        }
        return after_end(facts, known, Some(ending), now).into();
    }
    if !is_held(facts.job) && facts.job.metadata.deletion_timestamp.is_none() {
        let effects = vec![Effect::HoldJob(identity(&facts.job.metadata))];
        return Plan { effects, ..Plan::default() }.into();
    }
    if let Some(batch) = facts.batch {
        return with_batch(facts, known, batch, attempt, now).into();
    }
    without_batch(facts, resolved, attempt, now)
}

/// The request to end a Job: its own, its group's, or its deletion.
fn cancel_request(facts: &Facts<'_>) -> Option<(Reason, Cancel)> {
    let own = facts.job.spec.cancel.clone();
    let group = facts.gate.and_then(|gate| gate.cancel.clone());
    if let Some(cancel) = own.or(group) {
        let reason = if cancel.replaced_by.is_some() { Reason::Replaced } else { Reason::Cancelled };
        return Some((reason, cancel));
    }
    facts
        .job
        .metadata
        .deletion_timestamp
        .as_ref()
        .map(|_| (Reason::JobDeleted, Cancel { reason: "the Job was deleted".into(), ..Cancel::default() }))
}

fn with_batch(
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
    // Pods that are gone have still started.
    let said = facts.job.status.as_ref().and_then(|status| status.started_at.as_ref()).map(|time| time.0);
    let started = run::pod_started(facts.pods).or(said);
    // A batch Job that was suspended, by Kueue for one, starts anew when it is resumed.
    let created = batch.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let resumed = batch.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let since = resumed.map_or(created, |resumed| resumed.max(created));
    let suspended = batch.spec.as_ref().and_then(|spec| spec.suspend).unwrap_or(false);
    let expired = batch.spec.as_ref().and_then(|spec| spec.active_deadline_seconds) == Some(1);
    if let Some((_, cancel)) = cancel {
        if suspended {
            plan.effects.push(Effect::DeleteBatchJob(identity(&batch.metadata)));
        } else if !expired {
            plan.effects.push(Effect::ExpireBatchJob(identity(&batch.metadata)));
        }
        if cancel.force {
            plan.effects.extend(facts.pods.iter().filter_map(|pod| kill(pod)));
        }
    } else if let (Some(since), false, false) = (pending_since(facts.pods, started, since), suspended, expired) {
        let timeout = known.map_or(super::resolve::PENDING_TIMEOUT_SECONDS_DEFAULT, |it| it.pending_timeout_seconds);
        let deadline = since.saturating_add_ms(timeout.saturating_mul(1_000));
        if now >= deadline {
            plan.effects.push(Effect::ExpireBatchJob(identity(&batch.metadata)));
        } else {
            plan.wake(deadline);
        }
    }
    running_status(facts, known, batch, started, &mut plan, now);
    plan
}

/// Since when the attempt has been waiting for a container to start, if it has: from its launch on for its first one, and
/// when its init containers are done, for its main ones.
fn pending_since(pods: &[Arc<Pod>], started: Option<Timestamp>, launched: Timestamp) -> Option<Timestamp> {
    match started {
        None => Some(launched),
        // Pods that are gone wait for nothing any more.
        Some(_) if pods.is_empty() => None,
        Some(_) => run::waiting_since(pods, launched),
    }
}

/// A pod that is to be killed at once, unless that was already asked.
fn kill(pod: &Pod) -> Option<Effect> {
    let asked = pod.metadata.deletion_timestamp.is_some() && pod.metadata.deletion_grace_period_seconds == Some(0);
    let ended = matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"));
    (!asked && !ended).then(|| Effect::KillPod(identity(&pod.metadata)))
}

/// When this process launched the current attempt, if it did.
fn launched_at(facts: &Facts<'_>) -> Option<Timestamp> {
    let (attempt, at) = facts.memory.launched?;
    (attempt == current_attempt(facts.job)).then_some(at)
}

fn without_batch(
    facts: &Facts<'_>,
    resolved: Result<Resolved<'_>, Unresolved>,
    attempt: u32,
    now: Timestamp,
) -> Decision {
    let known = resolved.as_ref().ok();
    let cancel = cancel_request(facts);
    let input = RunInput { cancel: cancel.as_ref(), ..record_input(facts, known, attempt, now) };
    let launched = facts.memory.launched.is_some_and(|(launched, _)| launched == attempt)
        || facts
            .job
            .status
            .as_ref()
            .and_then(|status| status.batch_job_ref.as_ref())
            .is_some_and(|batch| batch.name == attempt_name(facts.job, attempt));
    if launched {
        return record(run::vanished_run(&input)).into();
    }
    if facts.memory.launching == Some(attempt) {
        return Decision::default();
    }
    if let Some((reason, cancel)) = &cancel {
        return record(run::skipped_run(&input, *reason, cancel_text(cancel))).into();
    }
    if let Some(other) = facts.duplicate_of {
        let text = format!("unfinished Job {other:?} has the same dedupKey");
        return record(run::skipped_run(&input, Reason::DuplicateKey, text)).into();
    }
    if let Some((reason, message)) = &facts.memory.dropped {
        return record(run::skipped_run(&input, *reason, message.clone())).into();
    }
    match &resolved {
        Err(unresolved) => unresolvable(facts, unresolved, &input, now).into(),
        Ok(resolved) => waiting(facts, resolved, &input, attempt, now),
    }
}

fn cancel_text(cancel: &Cancel) -> String {
    if cancel.reason.is_empty() { "cancelled while it waited".into() } else { format!("cancelled: {}", cancel.reason) }
}

/// A Job that cannot be queued: one that a user wrote waits to be corrected, one that Rota made is recorded.
fn unresolvable(facts: &Facts<'_>, unresolved: &Unresolved, input: &RunInput<'_>, now: Timestamp) -> Plan<JobStatus> {
    let Some(waiting_for) = unresolved.waiting_for else { return Plan::default() };
    let ours = facts.job.spec.schedule_ref.is_some() || facts.job.spec.group_ref.is_some();
    if ours || unresolved.reason == Reason::TemplateArchived {
        return record(run::skipped_run(input, unresolved.reason, unresolved.message.clone()));
    }
    let mut plan = Plan::default();
    let mut status = base_status(facts, None, now);
    status.phase = Some(JobPhase::Pending);
    let blocker = Blocker { waiting_for, message: unresolved.message.clone() };
    set_waiting(facts, &mut status, Some(&blocker), true, now);
    if previously_waiting_for(facts) != Some(waiting_for) {
        plan.notes.push(Note::warning(unresolved.reason.as_str(), "Queue", blocker.message));
    }
    plan.status = Some(status);
    plan
}

fn waiting(facts: &Facts<'_>, resolved: &Resolved<'_>, input: &RunInput<'_>, attempt: u32, now: Timestamp) -> Decision {
    if let Some(message) = facts.gate.and_then(|gate| gate.stopped.clone()) {
        return record(run::skipped_run(input, Reason::GroupStopped, message)).into();
    }
    let mut decision = Decision { queue: Some(resolved.queue.clone()), ..Decision::default() };
    if let Some(message) = facts.gate.and_then(|gate| gate.waits.clone()) {
        let blocker = Blocker { waiting_for: WaitingFor::GroupOrder, message };
        decision.plan = waiting_status(facts, resolved, JobPhase::Pending, Some(&blocker), now);
        return decision;
    }
    if let Some(refusal) = facts.memory.refusal.as_ref().filter(|refusal| refusal.attempt == attempt)
        && let Some(plan) = refused(facts, resolved, input, refusal, now)
    {
        decision.plan = plan;
        return decision;
    }
    let status = facts.job.status.as_ref();
    let blocker = if facts.job.spec.hold {
        Some(Blocker { waiting_for: WaitingFor::Hold, message: "spec.hold is true".into() })
    } else {
        let until = status.and_then(|status| status.retry_at.as_ref()).map(|time| time.0).filter(|at| *at > now);
        until.map(|at| {
            decision.plan.wake(at);
            Blocker { waiting_for: WaitingFor::Retry, message: format!("the next attempt may start at {at}") }
        })
    };
    let queued_at = queued_at(facts, now);
    if blocker.is_none() {
        decision.candidate = Some(candidate(facts, resolved, attempt, queued_at));
    }
    // A launch that is tried again after a refusal still waits for the same, unless its queue has news.
    let refused = facts.memory.refusal.as_ref().filter(|refusal| refusal.attempt == attempt).map(refusal_blocker);
    let told = blocker.as_ref().or(facts.memory.blocker.as_ref()).or(refused.as_ref());
    let wake = decision.plan.wake_at;
    // A Job that is new may be launched, and one that is new to this process was told by the last one what it waits for.
    let may_rest = status.and_then(|status| status.phase).is_none_or(|phase| phase == JobPhase::Queued);
    if let (None, true, Some(later)) = (told, may_rest, status_rests(facts, facts.memory.first_seen, now)) {
        decision.plan.wake(later);
        return decision;
    }
    decision.plan = waiting_status(facts, resolved, JobPhase::Queued, told, now);
    if let Some(wake) = wake {
        decision.plan.wake(wake);
    }
    decision
}

/// When to look again at a status that may wait a little since then; absent: it is to be written now.
fn status_rests(facts: &Facts<'_>, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let due = since.saturating_add_ms(STATUS_DELAY_MS);
    if now < due {
        return Some(due);
    }
    let busy = facts.busy && now < since.saturating_add_ms(STATUS_DELAY_BUSY_MS);
    busy.then(|| now.saturating_add_ms(BUSY_LOOK_MS))
}

/// A refused launch: recorded when it is pointless to go on, otherwise tried again later; absent when that time has come.
fn refused(
    facts: &Facts<'_>,
    resolved: &Resolved<'_>,
    input: &RunInput<'_>,
    refusal: &Refusal,
    now: Timestamp,
) -> Option<Plan<JobStatus>> {
    let status = facts.job.status.as_ref();
    let since = status.and_then(|status| status.refused_since.as_ref()).map_or(refusal.at, |time| time.0);
    let give_up = since.saturating_add_ms(resolved.pending_timeout_seconds.saturating_mul(1_000));
    if refusal.permanent || now >= give_up {
        return Some(record(run::refused_run(input, &refusal.message)));
    }
    let again = refusal.at.saturating_add_ms(REFUSED_RETRY_SECONDS * 1_000).min(give_up);
    if now >= again {
        return None;
    }
    let blocker = refusal_blocker(refusal);
    let mut plan = waiting_status(facts, resolved, JobPhase::Queued, Some(&blocker), now);
    if let Some(status) = plan.status.as_mut() {
        status.refused_since = Some(micro(since));
    }
    if previously_waiting_for(facts) != Some(WaitingFor::Admission) {
        plan.notes.push(Note::warning("LaunchRefused", "Launch", refusal.message.clone()));
    }
    plan.wake(again);
    Some(plan)
}

fn refusal_blocker(refusal: &Refusal) -> Blocker {
    Blocker { waiting_for: WaitingFor::Admission, message: refusal.message.clone() }
}

fn candidate(facts: &Facts<'_>, resolved: &Resolved<'_>, attempt: u32, queued_at: Timestamp) -> Candidate {
    Candidate {
        rank: Rank {
            priority: Reverse(resolved.priority),
            position: facts.job.spec.position.unwrap_or(Position::at(queued_at)),
            queued_at,
            name: facts.job.metadata.name.clone().unwrap_or_default(),
        },
        uid: facts.job.metadata.uid.clone().unwrap_or_default(),
        attempt,
        queue: resolved.queue.clone(),
        limits: limits(&facts.job.spec).into_iter().map(|limit| (limit.clone(), max_running(facts, &limit))).collect(),
    }
}

/// What limits a Job besides its queue.
pub fn limits(spec: &JobSpec) -> Vec<Limit> {
    let template = spec.template_ref.as_ref().map(|it| Limit::Template(it.name.clone()));
    let group = spec.group_ref.as_ref().map(|it| Limit::Group(it.uid.clone()));
    let schedule = spec.schedule_ref.as_ref().map(|it| Limit::Schedule(it.name.clone()));
    template.into_iter().chain(group).chain(schedule).collect()
}

fn max_running(facts: &Facts<'_>, limit: &Limit) -> Option<u32> {
    match limit {
        Limit::Template(_) => facts.template_max_running,
        Limit::Group(_) => facts.gate.and_then(|gate| gate.max_running),
        Limit::Schedule(_) => facts.schedule_max_running,
    }
}

/// When it was added to its queue: what its status says, else since when it could be queued. A member that its group held
/// back until now is added now.
fn queued_at(facts: &Facts<'_>, now: Timestamp) -> Timestamp {
    let said = facts.job.status.as_ref().and_then(|status| status.queued_at.as_ref()).map(|time| time.0);
    let held_back = previously_waiting_for(facts) == Some(WaitingFor::GroupOrder);
    micro(said.or(facts.memory.queueable_since.filter(|_| !held_back)).unwrap_or(now)).0
}

fn record(run: crate::api::JobRun) -> Plan<JobStatus> {
    Plan { effects: vec![Effect::CreateRun(Box::new(run))], ..Plan::default() }
}

fn record_input<'a>(facts: &Facts<'a>, known: Option<&'a Resolved<'a>>, attempt: u32, now: Timestamp) -> RunInput<'a> {
    RunInput {
        job: facts.job,
        attempt,
        resolved: known,
        queued_at: queued_at(facts, now),
        pods: facts.pods,
        cancel: None,
        now,
    }
}

/// Whether an attempt ended in a way that another one may mend.
fn is_worth_a_retry(job: &Job, ending: &Ending) -> bool {
    let pointless = matches!(
        ending.reason,
        Reason::Cancelled | Reason::Replaced | Reason::JobDeleted | Reason::LaunchRefused | Reason::BatchJobDeleted
    );
    ending.outcome == Outcome::Failed && !pointless && job.metadata.deletion_timestamp.is_none()
}

/// Whether a failed attempt is followed by another one.
fn may_retry(job: &Job, ending: &Ending, known: Option<&Resolved<'_>>, attempt: u32) -> bool {
    if !is_worth_a_retry(job, ending) {
        return false;
    }
    // Without the template's revision the Job's own field decides.
    let attempts_max =
        known.map(|known| known.retry.max_attempts).or(job.spec.retry.as_ref().map(|it| it.max_attempts));
    attempt < attempts_max.unwrap_or(1)
}

/// Whether a Job has Rota's finalizer, so that no delete loses its outcome.
pub fn is_held(job: &Job) -> bool {
    job.metadata.finalizers.iter().flatten().any(|it| it == RECORD_FINALIZER)
}

/// The name of the batch Job and of the JobRun of an attempt.
pub fn attempt_name(job: &Job, attempt: u32) -> String {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    names::attempt(name, uid, attempt)
}

/// Which object this is.
pub fn identity(metadata: &kube::core::ObjectMeta) -> ObjectIdentity {
    ObjectIdentity {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
    }
}

/// Arithmetic on instants that stays within what an instant can be.
pub(crate) trait SaturatingTime {
    /// The instant so many milliseconds later.
    fn saturating_add_ms(self, milliseconds: i64) -> Timestamp;
}

impl SaturatingTime for Timestamp {
    fn saturating_add_ms(self, milliseconds: i64) -> Timestamp {
        self.saturating_add(SignedDuration::from_millis(milliseconds)).unwrap_or(self)
    }
}

#[cfg(test)]
mod tests;
