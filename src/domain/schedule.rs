//! Schedule: which occurrences are due, and what becomes of each.
//!
//! Every occurrence gets a Job or a Skipped record, under a name made of the schedule's uid and the nominal time, before
//! `accountedUntil` moves past it; done again after a crash, the name is taken and nothing happens twice (I1). An edit
//! that concerns when it fires ends the account of the old timing at that edit and opens one of the new: what the old one
//! owed is recorded, and nothing of the past fires (I7).
//!
//! `due.rs` decides what becomes of each time, `standing.rs` what the status says of its runs, `gone.rs` what a deleted
//! schedule owed.

use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::calendar::Timing;
use super::conditions::{self, Conditions, Fact, micro};
use super::job::SaturatingTime;
use super::names;
use super::plan::{Effect, Ending, Note, Plan};
use super::queue::QueueCondition;
use crate::api::schedule::{ConcurrencyPolicy, SchedulePhase};
use crate::api::{Job, JobRun, JobTemplateSpec, ObjectReference, Reason, Schedule, ScheduleSpec, ScheduleStatus};

mod due;
mod edit;
mod gone;
mod skips;
mod standing;

use due::{Until, fire, replace, skip_due};
pub use edit::EditTimes;
use edit::{Edit, last_stamp, not_accounted, unseen_edit};
pub use gone::owed_when_deleted;
pub use standing::refused;
use standing::{foresee, hold, lateness, set_ready, settle, show_jobs};

/// How long a status that is not urgent may wait for what comes next, in milliseconds.
const STATUS_DELAY_MS: i64 = 1_000;
/// The same while launches wait for the API server: statuses must not keep a schedule's neighbours from being launched.
const STATUS_DELAY_BUSY_MS: i64 = 6_000;
/// How far an account may be ahead of the clock, which was set back then, and still count, in hours. One that is further
/// ahead comes from a clock that was wrong, and an edit ends it.
const AHEAD_HOURS_MAX: i64 = 24;
/// How often the times of a paused schedule are recorded, in milliseconds: several share one record.
const PAUSED_RECORD_MS: i64 = 3_600_000;

/// One Job of the schedule as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnJob {
    /// Which one.
    pub job: ObjectReference,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// The occurrence it stands for; absent for one that a user made.
    pub scheduled_time: Option<Timestamp>,
    /// When it is late if it has not started.
    pub start_by: Option<Timestamp>,
    /// When its first container started, if it has.
    pub started_at: Option<Timestamp>,
    /// What it waits for, in a sentence, while it is queued.
    pub waits_for: Option<String>,
    /// Whether it was asked to end.
    pub cancelled: bool,
    /// Whether it still has Rota's finalizer.
    pub held: bool,
    /// How it ended, if it did.
    pub ending: Option<Ending>,
}

/// All that a decision about a schedule depends on.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The schedule.
    pub schedule: &'a Schedule,
    /// The status last decided, which may not be written yet.
    pub status: &'a ScheduleStatus,
    /// What there is to tell when its specification was edited.
    pub edits: EditTimes,
    /// Whether a Job of its template and parameters could be queued now, and why not.
    pub template: Result<(), (Reason, String)>,
    /// Whether Jobs in its queue are started.
    pub queue: QueueCondition,
    /// Its Jobs.
    pub jobs: &'a [OwnJob],
    /// Since when this process leads, by its clock or by that of its predecessor, if that was ahead: earlier occurrences
    /// may have been recorded by another process.
    pub leading_since: Timestamp,
}

/// What is to be done about a schedule.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Decision {
    /// Effects, status, events and the time to look again.
    pub plan: Plan<ScheduleStatus>,
    /// Whether the status must be written at once, because later decisions depend on it and nothing else shows it.
    pub urgent: bool,
}

/// Decides about one schedule.
pub fn decide(facts: &Facts<'_>, now: Timestamp) -> Decision {
    let schedule = facts.schedule;
    if schedule.metadata.deletion_timestamp.is_some() {
        return standing::deleting(facts, now);
    }
    let created = schedule.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let mut status = facts.status.clone();
    let mut plan = Plan::default();
    let edited = unseen_edit(facts, created, now);
    let timing = Timing::parse(&schedule.spec.timing(created), seed(schedule));
    settle(facts, &mut status);
    let resumed = hold(facts, &mut status, &mut plan, now);
    let ended = account_that_ends(facts, created, edited, resumed, now);
    if let Some(ended) = &ended
        && !skip_due(facts, &ended.timing, Until::Nominal(ended.until), ended.reason, (&mut status, &mut plan), now)
    {
        // There is more to record than one decision may. The rest is taken in when all of that is accounted for.
        plan.status = Some(ScheduleStatus {
            accounted_until: status.accounted_until,
            last_trigger_time: status.last_trigger_time,
            last_skip_time: status.last_skip_time,
            last_skip_reason: status.last_skip_reason,
            missed_count: status.missed_count,
            ..facts.status.clone()
        });
        return Decision { plan, urgent: true };
    }
    if edited.is_some() {
        status.last_edit_time = last_stamp(facts, created);
    }
    status.observed_generation = schedule.metadata.generation;
    switch(facts, &mut status, &mut plan);
    match timing {
        Err(error) => {
            status.next_trigger_time = None;
            status.next_trigger_times.clear();
            status.next_clock_change = None;
            // Its correction is an edit, also one back to what it was before.
            status.timing = None;
            account_for_made(facts, None, &mut status, now);
            let reason = if error.field.contains("timeZone") { "UnknownTimeZone" } else { "InvalidTiming" };
            set_ready(facts, &mut status, Err((reason, error.to_string())), &mut plan, now);
        }
        Ok(timing) => {
            open_account(facts, created, edited, resumed, &mut status, now);
            status.when = timing.describe();
            if ended.is_some() {
                // Where the old account ended is written down before the new one makes anything: after a crash in between
                // nobody could tell.
                plan.wake(now);
            } else {
                keep_account(facts, &timing, edited, &mut status, &mut plan, now);
            }
            foresee(&timing, is_enabled(schedule), &mut status, &mut plan, now);
            let ready = facts.template.clone().map_err(|(reason, message)| (reason.as_str(), message));
            set_ready(facts, &mut status, ready, &mut plan, now);
        }
    }
    replace(facts, &mut plan);
    lateness(facts, &mut status, &mut plan, now);
    show_jobs(facts, &mut status, &plan);
    let kept = std::mem::replace(&mut status.settled, facts.status.settled.clone());
    if status != *facts.status || has_more(&kept, &status.settled) {
        // That a counted Job is gone is worth no write of its own.
        status.settled = kept;
    }
    let urgent = is_urgent(facts.status, &status);
    plan.status = Some(status);
    Decision { plan, urgent }
}

/// The reasons of a schedule that fires: whether its Jobs are started as their turn comes. Thousands of schedules say so at once
/// when a queue is paused.
const REASONS_OF_QUEUES: [&str; 3] = ["Scheduled", "QueuePaused", "QueueNotFound"];

fn is_urgent(before: &ScheduleStatus, after: &ScheduleStatus) -> bool {
    before.observed_generation != after.observed_generation
        || before.phase != after.phase
        || before.timing != after.timing
        || !conditions::same_but_for(&REASONS_OF_QUEUES, &before.conditions, &after.conditions)
        || before.paused != after.paused
        || has_more(&after.settled, &before.settled)
}

/// Whether a list has a Job that another one has not.
fn has_more(these: &[ObjectReference], those: &[ObjectReference]) -> bool {
    let known: HashSet<&str> = those.iter().map(|job| job.uid.as_str()).collect();
    these.iter().any(|job| !known.contains(job.uid.as_str()))
}

fn is_enabled(schedule: &Schedule) -> bool {
    schedule.spec.enabled.unwrap_or(true)
}

/// What tells its `H` and its jitter from another schedule's.
fn seed(schedule: &Schedule) -> &str {
    schedule.metadata.uid.as_deref().unwrap_or_default()
}

fn phase(schedule: &Schedule, before: &ScheduleStatus) -> SchedulePhase {
    match (is_enabled(schedule), before.phase) {
        (true, _) => SchedulePhase::Enabled,
        (false, None | Some(SchedulePhase::Created)) => SchedulePhase::Created,
        (false, Some(SchedulePhase::Enabled | SchedulePhase::Disabled)) => SchedulePhase::Disabled,
    }
}

/// Says whether a schedule is on, and tells when that changes. That a new one is on is no news.
fn switch(facts: &Facts<'_>, status: &mut ScheduleStatus, plan: &mut Plan<ScheduleStatus>) {
    let before = facts.status.phase;
    let after = phase(facts.schedule, facts.status);
    status.phase = Some(after);
    plan.notes.extend(match (before, after) {
        (Some(SchedulePhase::Created | SchedulePhase::Disabled), SchedulePhase::Enabled) => {
            Some(Note::normal("Enabled", "Enable", "it fires from now on"))
        }
        (Some(SchedulePhase::Enabled), SchedulePhase::Disabled) => {
            Some(Note::normal("Disabled", "Disable", "it fires nothing until it is enabled"))
        }
        _ => None,
    });
}

/// An account that ends: of which timing, when, and what becomes of the times that it still owes.
struct Ended {
    timing: Timing,
    until: Timestamp,
    reason: (Reason, &'static str),
}

/// The account that an edit or the end of a pause ends, if one does and it can still be told what it owed.
fn account_that_ends(
    facts: &Facts<'_>,
    created: Timestamp,
    edited: Option<Edit>,
    resumed: bool,
    now: Timestamp,
) -> Option<Ended> {
    let before = facts.status;
    if before.phase != Some(SchedulePhase::Enabled) || (continues(facts, created) && !resumed) {
        return None;
    }
    let timing = Timing::parse(before.timing.as_ref()?, seed(facts.schedule)).ok()?;
    let reason = match &before.paused {
        Some(_) => (Reason::SchedulePaused, "the schedule was paused after too many failures in a row"),
        None => (Reason::ScheduleEdited, edited.map(|edit| edit.why).unwrap_or_default()),
    };
    Some(Ended { timing, until: edited.map_or(now, |edit| edit.until), reason })
}

/// Whether it was enabled with this very timing, and still is.
fn continues(facts: &Facts<'_>, created: Timestamp) -> bool {
    is_enabled(facts.schedule)
        && facts.status.phase == Some(SchedulePhase::Enabled)
        && facts.status.timing.as_ref() == Some(&facts.schedule.spec.timing(created))
}

/// Starts the account anew when the timing was edited or the schedule enabled or resumed; a new schedule owes from its
/// creation.
fn open_account(
    facts: &Facts<'_>,
    created: Timestamp,
    edited: Option<Edit>,
    resumed: bool,
    status: &mut ScheduleStatus,
    now: Timestamp,
) {
    if facts.status.phase.is_none() && facts.status.accounted_until.is_none() {
        status.accounted_until = Some(micro(created));
    } else if is_enabled(facts.schedule) && (!continues(facts, created) || resumed) {
        let from = edited.map_or_else(|| not_accounted(facts.status, now, now), |edit| edit.until);
        status.accounted_until = Some(micro(from));
    }
    status.timing = Some(facts.schedule.spec.timing(created));
}

/// Accounts for what is due, as the schedule stands.
fn keep_account(
    facts: &Facts<'_>,
    timing: &Timing,
    edited: Option<Edit>,
    status: &mut ScheduleStatus,
    plan: &mut Plan<ScheduleStatus>,
    now: Timestamp,
) {
    if !is_enabled(facts.schedule) {
        account_for_made(facts, None, status, now);
        return;
    }
    let Some(pause) = status.paused.clone() else {
        fire(facts, timing, edited, status, plan, now);
        account_for_made(facts, Some(timing), status, now);
        return;
    };
    let accounted = status.accounted_until.as_ref().map_or(now, |until| until.0);
    let Some(first) = timing.next_after(accounted) else { return };
    let due = timing.fires_at(first).max(pause.since.0).saturating_add_ms(PAUSED_RECORD_MS);
    if now < due {
        plan.wake(due);
    } else {
        let why = format!("the schedule is paused since {} after {} failures in a row", pause.since.0, pause.failures);
        skip_due(facts, timing, Until::Fired(now), (Reason::SchedulePaused, &why), (status, plan), now);
        plan.wake(now.saturating_add_ms(PAUSED_RECORD_MS));
    }
}

/// Accounts for the occurrences whose Jobs were made before a crash, when nothing fires any more that would do so, because
/// the timing is another one now. Their Jobs wait for it.
fn account_for_made(facts: &Facts<'_>, timing: Option<&Timing>, status: &mut ScheduleStatus, now: Timestamp) {
    let made = facts.jobs.iter().filter_map(|job| job.scheduled_time).filter(|time| *time <= now).max();
    let until = status.accounted_until.as_ref().map(|until| until.0);
    let (Some(made), Some(from)) = (made, until) else {
        status.accounted_until = until.max(made).map(micro);
        return;
    };
    // A time in between that is still to fire keeps its place.
    let passes_over = timing.and_then(|timing| timing.next_after(from)).is_some_and(|next| next <= made);
    if !passes_over {
        status.accounted_until = Some(micro(made.max(from)));
    }
}

/// How many Jobs of a schedule may run at once.
pub fn max_running(spec: &ScheduleSpec) -> Option<u32> {
    match spec.concurrency_policy.unwrap_or_default() {
        ConcurrencyPolicy::Allow => None,
        ConcurrencyPolicy::Forbid
        | ConcurrencyPolicy::Replace
        | ConcurrencyPolicy::Queue
        | ConcurrencyPolicy::QueueLatest => Some(1),
    }
}

/// The Jobs that a newer status of a schedule lists as counted, and an older one does not.
pub fn newly_settled<'a>(before: Option<&Schedule>, after: Option<&'a Schedule>) -> Vec<&'a ObjectReference> {
    let before = before.and_then(|it| it.status.as_ref()).map(|it| it.settled.as_slice()).unwrap_or_default();
    let known: HashSet<&str> = before.iter().map(|job| job.uid.as_str()).collect();
    let after = after.and_then(|it| it.status.as_ref()).map(|it| it.settled.as_slice()).unwrap_or_default();
    after.iter().filter(|job| !known.contains(job.uid.as_str())).collect()
}

/// The finished Jobs that an older status of a schedule keeps, and a newer one does not.
pub fn no_longer_kept<'a>(before: Option<&'a Schedule>, after: Option<&Schedule>) -> Vec<&'a ObjectReference> {
    let after = after.and_then(|it| it.status.as_ref()).map(|it| it.kept_jobs.as_slice()).unwrap_or_default();
    let before = before.and_then(|it| it.status.as_ref()).map(|it| it.kept_jobs.as_slice()).unwrap_or_default();
    before.iter().filter(|job| !after.contains(job)).collect()
}

/// Whether a schedule keeps a finished Job.
pub fn keeps(schedule: &Schedule, job: &Job) -> bool {
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    schedule.status.iter().flat_map(|status| &status.kept_jobs).any(|kept| kept.uid == uid)
}

/// Whether the earlier one of two Jobs of a schedule gives way while it waits: both stand for a time.
pub fn gives_way(schedule: &Schedule, earlier: &Job, later: &Job) -> bool {
    let latest_only = schedule.spec.concurrency_policy == Some(ConcurrencyPolicy::QueueLatest);
    let (earlier, later) = (occurrence(earlier), occurrence(later));
    latest_only && earlier.is_some() && earlier < later
}

/// Whether a Job is a run of a schedule that somebody asked for by hand.
pub fn is_by_hand(job: &Job) -> bool {
    let made = |it: &ObjectReference| job.metadata.owner_references.iter().flatten().any(|owner| owner.uid == it.uid);
    job.spec.schedule_ref.as_ref().is_some_and(|it| it.uid.is_empty() || !made(it))
}

/// What a run by hand runs: what its schedule says of parameters, priority and queue stands in the place of what the template
/// says, for as long as the Job is not queued; from then on, what its status says. Absent: as the template has it.
pub fn inherited(job: &Job, schedule: Option<&Schedule>, template: &JobTemplateSpec) -> Option<JobTemplateSpec> {
    if !is_by_hand(job) {
        return None;
    }
    let mut spec = template.clone();
    if let Some(queued) = job.status.as_ref().filter(|status| status.template.is_some()) {
        spec.priority = queued.priority;
        spec.queue.clone_from(&queued.queue);
        return Some(spec);
    }
    let schedule = schedule.filter(|it| job.spec.template_ref.as_ref() == Some(&it.spec.template_ref))?;
    for param in &mut spec.params {
        if let Some(value) = schedule.spec.params.get(&param.name) {
            param.default = Some(value.clone());
        }
    }
    spec.priority = schedule.spec.priority.or(spec.priority);
    spec.queue = schedule.spec.queue.clone().or(spec.queue);
    Some(spec)
}

/// Whether a Job's reference means this schedule: a user may leave out the uid.
pub fn is_meant(reference: &ObjectReference, metadata: &kube::core::ObjectMeta) -> bool {
    metadata.name.as_ref() == Some(&reference.name)
        && (reference.uid.is_empty() || metadata.uid.as_ref() == Some(&reference.uid))
}

/// The occurrence that a Job stands for, if the operator made it. A user may write any time into a Job of a schedule, and
/// copy one; that is no occurrence.
pub fn occurrence(job: &Job) -> Option<Timestamp> {
    let time = job.spec.scheduled_time.as_ref()?.0;
    let schedule = job.spec.schedule_ref.as_ref()?;
    let owned =
        job.metadata.owner_references.iter().flatten().any(|it| it.kind == "Schedule" && it.uid == schedule.uid);
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let created = job.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let has_come = created.is_none_or(|created| time <= created.saturating_add_ms(AHEAD_HOURS_MAX * 3_600_000));
    let is_ours = owned && has_come && names::is_occurrence_job(name, &schedule.name, &schedule.uid, time);
    is_ours.then_some(time)
}

/// Whether the schedule has accounted for a Job: its occurrence, and its ending.
pub fn has_settled(status: &ScheduleStatus, job: &Job) -> bool {
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let settled = status.settled.iter().any(|settled| settled.uid == uid);
    let time = occurrence(job);
    let accounted = status.accounted_until.as_ref().map(|until| until.0);
    settled && time.is_none_or(|time| accounted.is_some_and(|until| until >= time))
}

/// Until when an earlier process accounted for the times of a schedule, if the JobRun that it wrote stands in the way of an
/// effect and is not what the effect would have made. Its status was lost in a crash: the account goes on from there.
pub fn recorded_until(effect: &Effect, found: &JobRun) -> Option<Timestamp> {
    let last = last_covered(found);
    let is_same = matches!(effect, Effect::CreateRun(run) if last_covered(run) == last);
    last.filter(|_| !is_same)
}

/// Whether a record says that the time of that Job, which its schedule owns, was skipped.
pub fn has_skipped(run: &JobRun, job: &Job) -> bool {
    let same = run.spec.schedule_ref.is_some() && run.spec.schedule_ref == job.spec.schedule_ref;
    let time = job.spec.scheduled_time.as_ref().map(|time| time.0);
    let first = run.spec.scheduled_time.as_ref().map(|time| time.0);
    same && run.spec.job_ref.is_none() && time.is_some() && first <= time && time <= last_covered(run)
}

/// Whether a record is about that time of its schedule.
pub fn covers(run: &JobRun, time: Timestamp) -> bool {
    let first = run.spec.scheduled_time.as_ref().map(|first| first.0);
    first.is_some_and(|first| first <= time) && last_covered(run).is_some_and(|last| time <= last)
}

/// The last time that a record of skipped times covers.
fn last_covered(run: &JobRun) -> Option<Timestamp> {
    let last = run.status.as_ref().and_then(|status| status.last_scheduled_time.as_ref());
    last.or(run.spec.scheduled_time.as_ref()).map(|time| time.0)
}

/// When a status that is not urgent has to be written at the latest: later while launches wait for the API server.
pub fn status_due(first_unwritten: Timestamp, busy: bool) -> Timestamp {
    first_unwritten.saturating_add_ms(if busy { STATUS_DELAY_BUSY_MS } else { STATUS_DELAY_MS })
}

#[cfg(test)]
mod tests;
