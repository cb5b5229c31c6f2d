//! Job: what is to be done about one Job now.
//!
//! The order of writes is: batch Job created, JobRun created, status written, finalizer taken off, Job deleted. Every
//! step is decided from what is in the cluster, so a crash after any of them is completed by the next decision. An
//! attempt ends when its pods have ([`super::attempt`]): a timeout or a cancel only asks Kubernetes to end the batch Job, and
//! whichever end came first is the one that is recorded. This module must not decide order or limits; [`super::queue`] does.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;

use super::attempt::{Sight, Stand};
use super::conditions::{DISPATCHED, micro};
use super::plan::{Effect, Ending, Note, ObjectIdentity, Plan};
use super::queue::{Blocker, Candidate, Limit, Limits, Occupant, Rank};
use super::resolve::{Judged, Resolved, Source, TTL_SECONDS_DEFAULT, Unresolved, resolve};
use super::retry;
use super::run::{self, RunInput};
use super::{group, names, pinned};
use crate::api::job::{RerunPolicy, WaitingFor};
use crate::api::labels::{ARGO_IGNORE_ANNOTATION, RECORD_FINALIZER};
use crate::api::{Cancel, Job, JobPhase, JobRun, JobStatus, LocalReference, Outcome, Position, Reason};

mod attempt;
mod doubt;
mod earlier;
mod end;
mod gate;
mod leaving;
mod silent;
mod status;
mod transitions;
mod waiting;

pub use doubt::{Doubt, Finality, Next as AfterAbsence};
pub use earlier::{Earlier, Question, Search, Selector, asked_of, content_label, question};
use end::{after_end, is_surely_last, may_retry, requeue};
pub use gate::awaits_call;
pub use leaving::is_batch_held;
pub use silent::{Look, Subject, Told, look};
use status::previously_waiting_for;
pub(crate) use transitions::requested_text;
use waiting::not_launched;
pub use waiting::{limits, may_launch, own_blocker};

/// How long a Job may go without a status before it is written, in milliseconds. Most Jobs are launched, and many
/// started, within it, which makes one write out of three.
const STATUS_DELAY_MS: i64 = 1_000;
/// The same while launches wait for the API server: the status of one Job must not keep another from being launched.
const STATUS_DELAY_BUSY_MS: i64 = 6_000;
/// How often a busy operator looks whether it still is, in milliseconds.
const BUSY_LOOK_MS: i64 = 500;
/// How long an ended batch Job's pods may take to be seen to have ended too, in milliseconds.
const PODS_DELAY_MS: i64 = 3_000;
/// The delay before a refused launch is tried again, in seconds.
pub const REFUSED_RETRY_SECONDS: i64 = 10;

/// What the shell remembers of a Job. It is a cache: after a restart each item is found again from the cluster, or
/// done again with the same result.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// When this process first saw it.
    pub first_seen: Timestamp,
    /// Whether it was there when this process began to lead.
    pub from_start: bool,
    /// Whether it was looked at since.
    pub looked_at: bool,
    /// Whether its template had not been read then, so that nobody could tell whether it may be queued.
    pub template_unread: bool,
    /// When its group, which it joined, let it come to its queue.
    pub called_at: Option<Timestamp>,
    /// Whether the last run for it failed: until it is tried again, nobody waits for it to be looked at.
    pub is_failing: bool,
    /// Its pods that are gone, as they were last seen: their exit codes are still to be recorded.
    pub gone_pods: Vec<Arc<Pod>>,
    /// Its batch Job that is gone, as it was last seen: how it ended is still to be recorded.
    pub gone_batch: Option<Arc<BatchJob>>,
    /// The attempt whose batch Job the API server was asked for and had none.
    pub absent: Option<u32>,
    /// The attempt whose batch Job was seen to have ended, and when it first was.
    pub end_seen: Option<(u32, Timestamp)>,
    /// The attempt whose batch Job was seen to be asked to end, and when it first was.
    pub asked_seen: Option<(u32, Timestamp)>,
    /// The places it takes in its limits, since it was admitted.
    pub place: Option<Occupant>,
    /// Since when it could be queued, if its status does not say.
    pub queueable_since: Option<Timestamp>,
    /// The attempt that was admitted and whose batch Job is being created.
    pub launching: Option<u32>,
    /// The attempt whose batch Job was created, and when.
    pub launched: Option<(u32, Timestamp)>,
    /// A create of the batch Job of an attempt of which it is not known whether it happened: it keeps its place until it is.
    pub doubt: Option<Doubt>,
    /// Why the API server refused to create the batch Job of an attempt.
    pub refusal: Option<Refusal>,
    /// What was found among the events of an attempt of which nothing starts.
    pub told: Option<Told>,
    /// The JobRun that is being created. What becomes of an attempt is decided once: while this is there, it is neither
    /// decided again nor launched.
    pub recording: Option<Box<JobRun>>,
    /// The JobRun that is known to exist.
    pub recorded: Option<Recorded>,
    /// The attempt whose batch Job this process began to create, unless it was refused: no other Job with its dedupKey may
    /// be launched, and as long as there is no answer it may be there.
    pub claimed: Option<u32>,
    /// Whether it is known that no earlier process recorded its first attempt.
    pub unrecorded: bool,
    /// Whether what it gives fits what it runs.
    pub judged: Option<Arc<Judged>>,
    /// Of what the records were asked, if it is still to be told from the Job's generation.
    pub asked_of: Option<(i64, RerunPolicy)>,
    /// What it asks for, for queues that drop who asks for the same, and of which generation.
    pub asks_for: Option<Arc<(i64, String)>>,
    /// Whether this process made it for its schedule, or knows that its time was not recorded as skipped.
    pub unskipped: bool,
    /// What was looked up among the records, and what they say.
    pub earlier: Option<(Question, Option<Earlier>)>,
    /// When it was first offered to its queue.
    pub offered_at: Option<Timestamp>,
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
            from_start: false,
            looked_at: false,
            template_unread: false,
            called_at: None,
            is_failing: false,
            gone_pods: Vec::new(),
            gone_batch: None,
            absent: None,
            end_seen: None,
            asked_seen: None,
            place: None,
            queueable_since: None,
            launching: None,
            launched: None,
            doubt: None,
            refusal: None,
            told: None,
            recording: None,
            recorded: None,
            claimed: None,
            unrecorded: false,
            judged: None,
            asked_of: None,
            asks_for: None,
            unskipped: false,
            earlier: None,
            offered_at: None,
            blocker: None,
            dropped: None,
            candidate: None,
        }
    }
}

impl Memory {
    /// The batch Job of the current attempt of a Job as it was last seen, if it is gone.
    pub fn last_batch_of(&self, job: &Job) -> Option<&BatchJob> {
        let names = attempt_names(job, current_attempt(job));
        self.gone_batch.as_deref().filter(|batch| batch.metadata.name.as_ref().is_some_and(|name| names.contains(name)))
    }

    /// Takes note of when an attempt was first seen to stand where time counts.
    pub fn see(&mut self, attempt: u32, stand: &Stand<'_>, now: Timestamp) {
        let first = |seen: Option<(u32, Timestamp)>| seen.filter(|(of, _)| *of == attempt).or(Some((attempt, now)));
        match stand {
            Stand::Ended(_) => self.end_seen = first(self.end_seen),
            Stand::Running(batch) if run::ended_for(batch).is_some() => self.asked_seen = first(self.asked_seen),
            _ => {}
        }
    }
}

/// What a decision needs of the record of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Which attempt.
    pub attempt: u32,
    /// The exit code that it ended with, if it got so far.
    pub exit_code: Option<i32>,
    /// Whether its batch Job says itself that this failure is final.
    pub is_final: bool,
    /// How it ended: if it is the last one, how the Job did.
    pub ending: Ending,
    /// What became of the attempt, in a sentence, if the record says otherwise.
    pub contradiction: Option<String>,
}

impl Recorded {
    /// From the record that is there; `now` stands in for an end that it does not tell.
    pub fn of(run: &JobRun, now: Timestamp) -> Self {
        let status = run.status.as_ref();
        let reason = status.map_or(Reason::BatchJobFailed, |status| status.reason);
        // An attempt that was not made any more did not run, but the Job did, and failed.
        let failed_before = reason == Reason::TotalDeadlineExceeded && run.spec.attempt > 1;
        let outcome = status.map(|status| status.phase).filter(|_| !failed_before).unwrap_or(Outcome::Failed);
        // A node's clock that is ahead does not put off what follows.
        let finished_at = status.and_then(|status| status.finished_at.as_ref()).map_or(now, |time| time.0.min(now));
        let name = run.metadata.name.clone().unwrap_or_default();
        Self {
            attempt: run.spec.attempt,
            exit_code: status.and_then(|status| status.exit_code),
            is_final: status.is_some_and(|status| status.final_by.is_some()),
            ending: Ending { outcome, reason, finished_at, run: name },
            contradiction: None,
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
    /// Since when nothing of its queue has got through, if a quota refuses it: while others do, it only waits its turn.
    pub blocked_since: Option<Timestamp>,
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
    /// Its place in its group, if it has one.
    pub gate: Option<&'a group::Gate>,
    /// Whether its schedule, if it still exists, has its occurrence and its ending in its status.
    pub schedule_settled: bool,
    /// Whether its group, if it still exists, has its ending in its status.
    pub group_settled: bool,
    /// The batch Job of its current attempt.
    pub batch: Option<&'a BatchJob>,
    /// Whether somebody took off that batch Job's owner reference or labels.
    pub disowned: bool,
    /// The pods of its current attempt, as they were last seen.
    pub pods: &'a [Arc<Pod>],
    /// The batch Jobs of all attempts of a Job that has ended, as far as they are still there.
    pub kept_batches: &'a [Arc<BatchJob>],
    /// Those of them that are in the cluster.
    pub pods_there: &'a [Arc<Pod>],
    /// Whether the API server was asked just now for the batch Job and the pods of its current attempt.
    pub looked: bool,
    /// The unfinished Job with the same dedupKey that came first, if there is one.
    pub duplicate_of: Option<&'a str>,
    /// The Job of a later time of its schedule that takes its place while it waits: concurrencyPolicy is QueueLatest.
    pub superseded_by: Option<&'a str>,
    /// Whether its schedule keeps it after it has ended: historyLimits.
    pub kept_by_schedule: bool,
    /// What the shell remembers of it.
    pub memory: &'a Memory,
    /// Whether launches wait for the API server, so that what can wait should.
    pub busy: bool,
}

impl<'a> Facts<'a> {
    /// Where its current attempt stands.
    pub fn stand(&self) -> Stand<'a> {
        let attempt = current_attempt(self.job);
        Stand::of(&Sight {
            launching: self.memory.launching == Some(attempt),
            launched: was_launched(self.job, Some(self.memory)),
            batch: self.batch,
            last: self.memory.last_batch_of(self.job),
            pods: self.pods_there,
        })
    }
}

/// Whether the current attempt of a Job is known to have been launched, also when nothing of it is seen: by this process, or
/// as its status says.
pub fn was_launched(job: &Job, memory: Option<&Memory>) -> bool {
    let attempt = current_attempt(job);
    let said = job.status.as_ref().and_then(|status| status.batch_job_ref.as_ref());
    memory.and_then(|memory| memory.launched).is_some_and(|(launched, _)| launched == attempt)
        || said.is_some_and(|said| said.name == attempt_name(job, attempt))
}

/// What is to be done about a Job, and what its queue may launch.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Decision {
    /// Whether the API server has to be asked for the batch Job and the pods of the attempt, and then to be decided again:
    /// nothing follows from what the caches do not have.
    pub look: bool,
    /// Effects, status, events and the time to look again.
    pub plan: Plan<JobStatus>,
    /// What its queue may launch if limits allow.
    pub candidate: Option<Candidate>,
    /// The queue it needs and that may have to be created.
    pub queue: Option<String>,
    /// Whether it comes to its queue when this is written, and what came later waits for that.
    pub is_coming: bool,
}

impl From<Plan<JobStatus>> for Decision {
    fn from(plan: Plan<JobStatus>) -> Self {
        let is_coming = plan.effects.iter().any(|effect| matches!(effect, Effect::HoldJob(_)));
        Self { plan, is_coming, ..Self::default() }
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
    let recorded = memory?.recorded.as_ref()?;
    let last = recorded.attempt == current_attempt(job) && is_surely_last(job, recorded);
    last.then(|| recorded.ending.clone())
}

/// Decides about one Job.
pub fn decide(facts: &Facts<'_>, now: Timestamp) -> Decision {
    let mut decision = decide_untold(facts, now);
    transitions::tell(facts.job, &mut decision.plan);
    decision
}

/// The same without the events that follow from the status alone.
fn decide_untold(facts: &Facts<'_>, now: Timestamp) -> Decision {
    let number = current_attempt(facts.job);
    let mut resolved = resolve(facts.job, facts.source, facts.memory.judged.as_deref());
    let of_group = facts.gate.and_then(|gate| gate.priority).filter(|_| facts.job.spec.priority.is_none());
    if let (Ok(resolved), Some(priority)) = (&mut resolved, of_group) {
        resolved.priority = priority;
    }
    let known = resolved.as_ref().ok();
    if ending(facts.job, None).is_some() {
        let plan = after_end(facts, known, None, now);
        return plan.into();
    }
    if let Some(recorded) = facts.memory.recorded.as_ref().filter(|it| it.attempt == number) {
        let deadline = total_deadline(facts.job, facts.memory, known, now);
        let in_time = deadline.is_none_or(|deadline| recorded.ending.finished_at < deadline);
        if in_time && may_retry(facts.job, recorded, known) {
            return requeue(facts, known, recorded, now).into();
        }
        return after_end(facts, known, Some(&recorded.ending), now).into();
    }
    if let Some(run) = facts.memory.recording.as_ref().filter(|run| run.spec.attempt == number) {
        return record(run.as_ref().clone()).into();
    }
    if !is_held(facts.job) && facts.job.metadata.deletion_timestamp.is_none() {
        let effects = vec![Effect::HoldJob(identity(&facts.job.metadata))];
        return Plan { effects, ..Plan::default() }.into();
    }
    let stand = facts.stand();
    let mut decision = match &stand {
        Stand::NotLaunched => return not_launched(facts, resolved, number, now),
        Stand::Launching => return doubt::launching(facts, now),
        Stand::Running(batch) => attempt::running(facts, known, batch, now).into(),
        Stand::Ended(batch) => attempt::ended(facts, known, batch, number, now).into(),
        Stand::PodsEnding(leaving, pods) => leaving::pods_ending(facts, known, *leaving, pods, now),
        Stand::Gone(leaving) => leaving::gone(facts, known, *leaving, now),
    };
    // That no pod is in the cache is no evidence that none has started.
    let gives_up = |effect: &Effect| matches!(effect, Effect::ExpireBatchJob { reason: Reason::PendingTimeout, .. });
    if !facts.looked && facts.pods.is_empty() && decision.plan.effects.iter().any(gives_up) {
        return Decision { look: true, ..Decision::default() };
    }
    decision.plan.effects.splice(..0, leaving::kept(facts, &stand));
    decision
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

/// When this process launched the current attempt, or now if it is just doing so.
fn launch_time(facts: &Facts<'_>, now: Timestamp) -> Option<Timestamp> {
    launched_of(facts.job, facts.memory, now)
}

fn launched_of(job: &Job, memory: &Memory, now: Timestamp) -> Option<Timestamp> {
    let attempt = current_attempt(job);
    let launched = memory.launched.filter(|(launched, _)| *launched == attempt);
    launched.map(|(_, at)| at).or((memory.launching == Some(attempt)).then_some(now))
}

/// When this process launched the current attempt, if it did.
fn launched_at(facts: &Facts<'_>) -> Option<Timestamp> {
    let (attempt, at) = facts.memory.launched?;
    (attempt == current_attempt(facts.job)).then_some(at)
}

/// When to look again at a status that may wait a little since then; absent: it is to be written now.
fn status_rests(facts: &Facts<'_>, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    if now < since {
        // The clock was set back.
        return None;
    }
    let due = since.saturating_add_ms(STATUS_DELAY_MS);
    if now < due {
        return Some(due);
    }
    let busy = facts.busy && now < since.saturating_add_ms(STATUS_DELAY_BUSY_MS);
    busy.then(|| now.saturating_add_ms(BUSY_LOOK_MS))
}

/// When it was added to its queue: what its status says, else since when it could be queued. A member that its group held
/// back until now is added now.
fn queued_at(facts: &Facts<'_>, now: Timestamp) -> Timestamp {
    queued_since(facts.job, facts.memory, now)
}

fn queued_since(job: &Job, memory: &Memory, now: Timestamp) -> Timestamp {
    let said = job.status.as_ref().and_then(|status| status.queued_at.as_ref()).map(|time| time.0);
    let held_back = matches!(previously_waiting_for(job), Some(WaitingFor::Group | WaitingFor::GroupOrder));
    micro(said.or(memory.queueable_since.filter(|_| !held_back)).unwrap_or(now)).0
}

/// When the time for all attempts of a Job is over, if that is limited.
fn total_deadline(job: &Job, memory: &Memory, known: Option<&Resolved<'_>>, now: Timestamp) -> Option<Timestamp> {
    let seconds = known.map_or(job.spec.deadline_seconds, |known| known.deadline_seconds)?;
    Some(queued_since(job, memory, now).saturating_add_ms(seconds.saturating_mul(1_000)))
}

fn record(run: JobRun) -> Plan<JobStatus> {
    Plan { effects: vec![Effect::CreateRun(Box::new(run))], ..Plan::default() }
}

fn record_input<'a>(facts: &Facts<'a>, known: Option<&'a Resolved<'a>>, attempt: u32, now: Timestamp) -> RunInput<'a> {
    RunInput {
        job: facts.job,
        attempt,
        batch: facts.batch.map(|batch| &batch.metadata),
        resolved: known,
        queued_at: queued_at(facts, now),
        pods: facts.pods,
        cancel: None,
        deadline: total_deadline(facts.job, facts.memory, known, now),
        now,
    }
}

/// What a queued Job waits for, in a sentence.
pub fn waits_for(job: &Job) -> Option<String> {
    let status = job.status.as_ref().filter(|status| status.waiting_for.is_some())?;
    let dispatched = status.conditions.iter().find(|it| it.type_ == DISPATCHED && it.status == "False")?;
    Some(dispatched.message.clone())
}

/// Whether a Job has Rota's finalizer, so that no delete loses its outcome.
pub fn is_held(job: &Job) -> bool {
    job.metadata.finalizers.iter().flatten().any(|it| it == RECORD_FINALIZER)
}

/// The name of the batch Job and of the JobRun of an attempt: its other one, if the status says so.
pub fn attempt_name(job: &Job, attempt: u32) -> String {
    let said = job.status.as_ref().and_then(|status| status.batch_job_ref.as_ref());
    let [own, other] = attempt_names(job, attempt);
    if said.is_some_and(|said| said.name == other) { other } else { own }
}

/// The names that the batch Job and the JobRun of an attempt may have: its own, and the one that it gets where that is taken by
/// somebody else's object, or too long.
pub fn attempt_names(job: &Job, attempt: u32) -> [String; 2] {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    [names::attempt(name, uid, attempt), names::other_attempt(name, uid, attempt)]
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
