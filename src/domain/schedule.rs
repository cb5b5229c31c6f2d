//! Schedule: which occurrences are due, and what becomes of each.
//!
//! Every occurrence gets a Job or a Skipped record, under a name made of the schedule's uid and the nominal time, before
//! `accountedUntil` moves past it; done again after a crash, the name is taken and nothing happens twice (I1). An edit of
//! the timing, or enabling, starts the account at that moment, so that nothing of the past fires (I7).

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::calendar::{Due, Timing};
use super::conditions::{self, Conditions, Fact, micro};
use super::group::owner;
use super::job::SaturatingTime;
use super::names;
use super::plan::{Effect, Ending, Note, Plan};
use super::run::{SkippedOccurrences, skipped_occurrences};
use crate::api::labels::{
    ARGO_IGNORE_ANNOTATION, MANAGED_BY, MANAGER, RECORD_FINALIZER, SCHEDULE, SCHEDULED_TIME_ANNOTATION,
};
use crate::api::schedule::{CatchUpPolicy, ConcurrencyPolicy, SchedulePhase};
use crate::api::{Job, JobRun, JobSpec, ObjectReference, Outcome, Reason, Schedule, ScheduleStatus};

/// How late an occurrence may be and still count as on time, in milliseconds: a restart or failover of the operator.
const ON_TIME_MS: i64 = 15_000;
/// The window of catchUp unless the schedule says otherwise, in seconds.
const WINDOW_SECONDS_DEFAULT: i64 = 3_600;
/// How many missed times run under All unless the schedule says otherwise.
const MAX_RUNS_DEFAULT: u32 = 100;
/// How many occurrences are looked at one by one in one decision; the rest is counted only.
const OCCURRENCES_MAX: usize = 1_100;
/// How many occurrences of an expression are counted in one decision at the most; a year of every minute fits.
const SCAN_MAX: u64 = 600_000;
/// How many next times the status shows.
const NEXT_TIMES_SHOWN: usize = 3;
/// How long a status that is not urgent may wait for what comes next, in milliseconds.
const STATUS_DELAY_MS: i64 = 1_000;
/// The same while launches wait for the API server: statuses must not keep a schedule's neighbours from being launched.
const STATUS_DELAY_BUSY_MS: i64 = 6_000;
/// How many active Jobs the status names.
const ACTIVE_SHOWN_MAX: usize = 20;

/// One Job of the schedule as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnJob {
    /// Which one.
    pub job: ObjectReference,
    /// The occurrence it stands for; absent for one that a user made.
    pub scheduled_time: Option<Timestamp>,
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
    /// Whether a Job of its template and parameters could be queued now, and why not.
    pub template: Result<(), (Reason, String)>,
    /// Its Jobs.
    pub jobs: &'a [OwnJob],
    /// Since when this process leads: earlier occurrences may have been recorded by another one.
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
        return Decision::default();
    }
    let created = schedule.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let mut status = facts.status.clone();
    status.observed_generation = schedule.metadata.generation;
    let mut decision = Decision::default();
    settle(facts, &mut status);
    let seed = schedule.metadata.uid.as_deref().unwrap_or_default();
    match Timing::parse(&schedule.spec.timing(created), seed) {
        Err(error) => {
            status.next_trigger_time = None;
            status.next_trigger_times.clear();
            status.phase = Some(phase(schedule, facts.status));
            // Its correction is an edit, also one back to what it was before.
            status.timing_digest.clear();
            account_for_made(facts, &mut status, now);
            let reason = if error.field.contains("timeZone") { "UnknownTimeZone" } else { "InvalidTiming" };
            set_ready(facts, &mut status, Err((reason, error.to_string())), &mut decision.plan, now);
        }
        Ok(timing) => {
            open_account(facts, &timing, created, &mut status, now);
            let enabled = schedule.spec.enabled.unwrap_or(true);
            if enabled {
                fire(facts, &timing, &mut status, &mut decision.plan, now);
            } else {
                account_for_made(facts, &mut status, now);
            }
            foresee(&timing, enabled, &mut status, &mut decision.plan, now);
            let ready = facts.template.clone().map_err(|(reason, message)| (reason.as_str(), message));
            set_ready(facts, &mut status, ready, &mut decision.plan, now);
        }
    }
    show_active(facts, &mut status, &decision.plan);
    let kept = std::mem::replace(&mut status.settled, facts.status.settled.clone());
    if status != *facts.status || kept.iter().any(|job| !status.settled.contains(job)) {
        // That a counted Job is gone is worth no write of its own.
        status.settled = kept;
    }
    decision.urgent = is_urgent(facts.status, &status);
    decision.plan.status = Some(status);
    decision
}

fn is_urgent(before: &ScheduleStatus, after: &ScheduleStatus) -> bool {
    before.observed_generation != after.observed_generation
        || before.phase != after.phase
        || before.timing_digest != after.timing_digest
        || before.conditions != after.conditions
        || after.settled.iter().any(|job| !before.settled.contains(job))
}

fn phase(schedule: &Schedule, before: &ScheduleStatus) -> SchedulePhase {
    match (schedule.spec.enabled.unwrap_or(true), before.phase) {
        (true, _) => SchedulePhase::Enabled,
        (false, None | Some(SchedulePhase::Created)) => SchedulePhase::Created,
        (false, Some(SchedulePhase::Enabled | SchedulePhase::Disabled)) => SchedulePhase::Disabled,
    }
}

/// Starts the account anew when the timing was edited or the schedule enabled; a new schedule owes from its creation.
fn open_account(facts: &Facts<'_>, timing: &Timing, created: Timestamp, status: &mut ScheduleStatus, now: Timestamp) {
    let digest = timing.digest();
    let phase = phase(facts.schedule, facts.status);
    let first = facts.status.phase.is_none();
    let edited = facts.status.timing_digest != digest;
    let enabled_now = phase == SchedulePhase::Enabled && facts.status.phase != Some(SchedulePhase::Enabled);
    if first {
        status.accounted_until = Some(micro(created));
    } else if edited || enabled_now || status.accounted_until.is_none() {
        status.accounted_until = Some(micro(now));
    }
    status.timing_digest = digest;
    status.when = timing.describe();
    status.phase = Some(phase);
}

/// Accounts for the occurrences whose Jobs were made before a crash, when nothing fires any more that would do so. Their
/// Jobs wait for it.
fn account_for_made(facts: &Facts<'_>, status: &mut ScheduleStatus, now: Timestamp) {
    let made = facts.jobs.iter().filter_map(|job| job.scheduled_time).filter(|time| *time <= now).max();
    let until = status.accounted_until.as_ref().map(|until| until.0);
    status.accounted_until = until.max(made).map(micro);
}

/// Accounts for every occurrence that is due.
fn fire(
    facts: &Facts<'_>,
    timing: &Timing,
    status: &mut ScheduleStatus,
    plan: &mut Plan<ScheduleStatus>,
    now: Timestamp,
) {
    let Some(after) = status.accounted_until.as_ref().map(|time| time.0) else { return };
    let due = timing.due(after, now, OCCURRENCES_MAX, SCAN_MAX);
    let Some(last) = due.times.last().copied().or(due.last_skipped) else { return };
    if due.more {
        // The rest is looked at in the next decision, from where this one ends.
        plan.wake(now);
    }
    let mut skips = Skips::default();
    if let (Some(first), Some(last_skipped)) = (due.first, due.last_skipped) {
        skips.push_many(
            first,
            last_skipped,
            due.skipped,
            Reason::CatchUpLimit,
            "more times were missed than catchUp looks at",
        );
    }
    let runnable = runnable(facts, timing, &due, now);
    let mut active = facts.jobs.iter().any(|job| job.ending.is_none());
    for (time, missed) in due.times.iter().copied().zip(runnable) {
        if facts.jobs.iter().any(|job| job.scheduled_time == Some(time)) {
            // No record may reach over a time that has a Job.
            plan.effects.extend(skips.take(facts, now));
            continue;
        }
        match missed.map_or_else(|| refusal(facts, active), Some) {
            Some((reason, why)) => skips.push(time, reason, why),
            None => {
                plan.effects.extend(skips.take(facts, now));
                plan.effects.push(create(facts, time));
                active = true;
            }
        }
    }
    if let Some((reason, _)) = skips.last_reason() {
        status.last_skip_time = Some(micro(skips.last_time().unwrap_or(last)));
        status.last_skip_reason = Some(reason);
    }
    for (reason, why, count) in skips.summary() {
        plan.notes.push(Note::warning(reason.as_str(), "Skip", format!("skipped {count} occurrence(s): {why}")));
    }
    plan.effects.extend(skips.take(facts, now));
    status.accounted_until = Some(micro(last));
    status.last_trigger_time = Some(micro(last));
}

/// For each due time: why it is not made up for, if it was missed.
fn runnable(facts: &Facts<'_>, timing: &Timing, due: &Due, now: Timestamp) -> Vec<Option<(Reason, String)>> {
    let catch_up = facts.schedule.spec.catch_up.as_ref();
    let policy = catch_up.map_or(CatchUpPolicy::Latest, |it| it.policy);
    let window = catch_up.and_then(|it| it.window_seconds).unwrap_or(WINDOW_SECONDS_DEFAULT);
    let max_runs = catch_up.and_then(|it| it.max_runs).unwrap_or(MAX_RUNS_DEFAULT) as usize;
    let lateness = |time: Timestamp| now.duration_since(timing.fires_at(time));
    let late = |time: Timestamp| lateness(time) > SignedDuration::from_millis(ON_TIME_MS);
    let missed = due.times.iter().filter(|time| late(**time)).count();
    let on_time = due.times.len() - missed;
    due.times
        .iter()
        .enumerate()
        .map(|(index, time)| {
            if !late(*time) {
                return None;
            }
            let later_missed = missed - index - 1;
            match policy {
                _ if lateness(*time) > SignedDuration::from_secs(window) => Some((
                    Reason::MissedWindow,
                    format!("it was due more than {window} s ago, when the operator was not running"),
                )),
                CatchUpPolicy::None => {
                    Some((Reason::MissedWindow, "the operator was not running, and catchUp is None".into()))
                }
                CatchUpPolicy::Latest if later_missed > 0 || on_time > 0 => {
                    Some((Reason::CatchUpLimit, "a later time runs instead, and catchUp is Latest".into()))
                }
                CatchUpPolicy::All if later_missed >= max_runs => {
                    Some((Reason::CatchUpLimit, format!("catchUp runs the latest {max_runs} missed times")))
                }
                CatchUpPolicy::Latest | CatchUpPolicy::All => None,
            }
        })
        .collect()
}

/// Why an occurrence that could run is skipped, if it is.
fn refusal(facts: &Facts<'_>, active: bool) -> Option<(Reason, String)> {
    if let Err(unusable) = &facts.template {
        return Some(unusable.clone());
    }
    let forbid = facts.schedule.spec.concurrency_policy == Some(ConcurrencyPolicy::Forbid);
    (forbid && active).then(|| {
        (
            Reason::OverlapForbidden,
            "an earlier Job of the schedule has not finished, and concurrencyPolicy is Forbid".into(),
        )
    })
}

fn create(facts: &Facts<'_>, time: Timestamp) -> Effect {
    let schedule = facts.schedule;
    let name = schedule.metadata.name.clone().unwrap_or_default();
    let uid = schedule.metadata.uid.clone().unwrap_or_default();
    let spec = JobSpec {
        template_ref: Some(schedule.spec.template_ref.clone()),
        params: schedule.spec.params.clone(),
        priority: schedule.spec.priority,
        schedule_ref: Some(ObjectReference { name: name.clone(), uid: uid.clone() }),
        scheduled_time: Some(micro(time)),
        ..JobSpec::default()
    };
    let mut job = Job::new(&names::occurrence_job(&name, &uid, time), spec);
    job.metadata.namespace = schedule.metadata.namespace.clone();
    job.metadata.finalizers = Some(vec![RECORD_FINALIZER.into()]);
    job.metadata.labels =
        Some([(MANAGED_BY.to_owned(), MANAGER.to_owned()), (SCHEDULE.to_owned(), names::label_value(&name))].into());
    job.metadata.annotations = Some(
        [
            (SCHEDULED_TIME_ANNOTATION.to_owned(), time.to_string()),
            (ARGO_IGNORE_ANNOTATION.to_owned(), "true".to_owned()),
        ]
        .into(),
    );
    job.metadata.owner_references = Some(vec![owner("Schedule", &name, &uid)]);
    let unless_run = (time <= facts.leading_since).then(|| names::skipped_run(&name, &uid, time));
    Effect::CreateJob { job: Box::new(job), unless_run }
}

/// Skipped occurrences on their way into records: neighbours with the same reason share one.
#[derive(Default)]
struct Skips {
    pending: Vec<SkippedOccurrences>,
    told: Vec<(Reason, String, u64)>,
    last: Option<(Timestamp, Reason)>,
}

impl Skips {
    fn push(&mut self, time: Timestamp, reason: Reason, why: String) {
        self.last = Some((time, reason));
        self.tell(reason, &why, 1);
        match self.pending.last_mut() {
            Some(run) if run.reason == reason => {
                run.last = time;
                run.count += 1;
            }
            _ => self.pending.push(SkippedOccurrences { first: time, last: time, count: 1, reason, why }),
        }
    }

    fn push_many(&mut self, first: Timestamp, last: Timestamp, count: u64, reason: Reason, why: &str) {
        self.last = Some((last, reason));
        self.tell(reason, why, count);
        self.pending.push(SkippedOccurrences { first, last, count, reason, why: why.into() });
    }

    fn tell(&mut self, reason: Reason, why: &str, count: u64) {
        match self.told.iter_mut().find(|(told, _, _)| *told == reason) {
            Some((_, _, told)) => *told += count,
            None => self.told.push((reason, why.to_owned(), count)),
        }
    }

    fn take(&mut self, facts: &Facts<'_>, now: Timestamp) -> Vec<Effect> {
        let record = |skipped: SkippedOccurrences| -> JobRun { skipped_occurrences(facts.schedule, &skipped, now) };
        self.pending.drain(..).map(|skipped| Effect::CreateRun(Box::new(record(skipped)))).collect()
    }

    fn summary(&self) -> Vec<(Reason, String, u64)> {
        self.told.clone()
    }

    fn last_reason(&self) -> Option<(Reason, Timestamp)> {
        self.last.map(|(time, reason)| (reason, time))
    }

    fn last_time(&self) -> Option<Timestamp> {
        self.last.map(|(time, _)| time)
    }
}

/// Says when the next times are, and wakes at the first of them.
fn foresee(
    timing: &Timing,
    enabled: bool,
    status: &mut ScheduleStatus,
    plan: &mut Plan<ScheduleStatus>,
    now: Timestamp,
) {
    status.next_trigger_time = None;
    status.next_trigger_times.clear();
    if !enabled {
        return;
    }
    // A time that has come may still wait for its jitter.
    let accounted = status.accounted_until.as_ref().map_or(now, |time| time.0);
    let waits = timing.next_after(accounted).is_some_and(|next| timing.fires_at(next) > now);
    let mut after = if waits { accounted } else { accounted.max(now) };
    for _ in 0..NEXT_TIMES_SHOWN {
        let Some(next) = timing.next_after(after) else { break };
        status.next_trigger_time.get_or_insert_with(|| micro(next));
        status.next_trigger_times.push(timing.local(next));
        after = next;
    }
    if let Some(MicroTime(next)) = status.next_trigger_time {
        plan.wake(timing.fires_at(next));
    }
}

/// Counts each ended Job once: those counted are listed until they let go of their finalizer.
fn settle(facts: &Facts<'_>, status: &mut ScheduleStatus) {
    status.settled.retain(|settled| facts.jobs.iter().any(|job| job.job.uid == settled.uid && job.held));
    let mut ended: Vec<(&OwnJob, &Ending)> = facts
        .jobs
        .iter()
        .filter(|job| job.held && !status.settled.iter().any(|settled| settled.uid == job.job.uid))
        .filter_map(|job| job.ending.as_ref().map(|ending| (job, ending)))
        .collect();
    ended.sort_by_key(|(_, ending)| ending.finished_at);
    for (job, ending) in ended {
        status.settled.push(job.job.clone());
        status.last_outcome = Some(ending.outcome);
        match ending.outcome {
            Outcome::Completed => {
                status.last_success_time = Some(micro(ending.finished_at));
                status.consecutive_failures = 0;
            }
            Outcome::Failed => {
                status.last_failure_time = Some(micro(ending.finished_at));
                status.consecutive_failures = status.consecutive_failures.saturating_add(1);
            }
            Outcome::Skipped => {
                status.last_skip_time = Some(micro(ending.finished_at));
                status.last_skip_reason = Some(ending.reason);
            }
        }
    }
}

fn show_active(facts: &Facts<'_>, status: &mut ScheduleStatus, plan: &Plan<ScheduleStatus>) {
    let made = plan.effects.iter().filter(|effect| matches!(effect, Effect::CreateJob { .. })).count();
    let live: Vec<&OwnJob> = facts.jobs.iter().filter(|job| job.ending.is_none()).collect();
    status.active = u32::try_from(live.len() + made).unwrap_or(u32::MAX);
    status.active_jobs = live.iter().map(|job| job.job.clone()).collect();
    status.active_jobs.sort();
    status.active_jobs.truncate(ACTIVE_SHOWN_MAX);
}

fn set_ready(
    facts: &Facts<'_>,
    status: &mut ScheduleStatus,
    ready: Result<(), (&str, String)>,
    plan: &mut Plan<ScheduleStatus>,
    now: Timestamp,
) {
    let mut list = Conditions::from(&status.conditions, facts.schedule.metadata.generation, now);
    let was_stalled = conditions::holds(&status.conditions, conditions::STALLED);
    match ready {
        Ok(()) => {
            let message = "it fires as written".to_owned();
            list.set(Fact { type_: conditions::READY, holds: true, reason: "Scheduled", message });
            list.remove(conditions::STALLED);
        }
        Err((reason, message)) => {
            if !was_stalled {
                plan.notes.push(Note::warning("NotReady", "Validate", message.clone()));
            }
            list.set(Fact { type_: conditions::READY, holds: false, reason, message: message.clone() });
            list.set(Fact { type_: conditions::STALLED, holds: true, reason, message });
        }
    }
    if let Some(outcome) = status.last_outcome {
        let message = format!("{} failure(s) since the last success", status.consecutive_failures);
        let holds = outcome == Outcome::Completed;
        list.set(Fact { type_: conditions::LAST_RUN_SUCCEEDED, holds, reason: outcome.as_str(), message });
    }
    status.conditions = list.into_list();
}

/// Whether the schedule has accounted for a Job: its occurrence, and its ending.
pub fn has_settled(status: &ScheduleStatus, job: &Job) -> bool {
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let settled = status.settled.iter().any(|settled| settled.uid == uid);
    let time = job.spec.scheduled_time.as_ref().map(|time| time.0);
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
