//! What becomes of each time that is due: it runs, or is skipped for a reason that its record states.

use jiff::{SignedDuration, Timestamp};

use super::skips::Skips;
use super::{EDITED, Facts, OwnJob, edits_unseen};
use crate::api::labels::{
    ARGO_IGNORE_ANNOTATION, MANAGED_BY, MANAGER, RECORD_FINALIZER, SCHEDULE, SCHEDULED_TIME_ANNOTATION,
};
use crate::api::schedule::{CatchUpPolicy, ConcurrencyPolicy};
use crate::api::{Cancel, Job, JobSpec, ObjectReference, Reason, ScheduleStatus};
use crate::domain::calendar::{Due, Timing};
use crate::domain::conditions::micro;
use crate::domain::group::owner;
use crate::domain::job::SaturatingTime;
use crate::domain::names;
use crate::domain::plan::{Effect, ObjectIdentity, Plan};

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
/// How many Jobs of a schedule may wait under concurrencyPolicy Queue.
const WAITING_MAX: usize = 100;

/// Accounts for every occurrence that is due.
pub(super) fn fire(
    facts: &Facts<'_>,
    timing: &Timing,
    edited: Option<Timestamp>,
    status: &mut ScheduleStatus,
    plan: &mut Plan<ScheduleStatus>,
    now: Timestamp,
) {
    let Some(after) = status.accounted_until.as_ref().map(|time| time.0) else { return };
    let due = timing.due(after, now, OCCURRENCES_MAX, SCAN_MAX);
    let missed = missed(facts, timing, &due, edited, now);
    let mut unfinished = facts.jobs.iter().filter(|job| job.ending.is_none()).count();
    let refused = |time: Timestamp, index: usize| {
        if facts.jobs.iter().any(|job| job.scheduled_time == Some(time)) {
            return Verdict::HasJob;
        }
        match missed.get(index).cloned().flatten().or_else(|| refusal(facts, unfinished)) {
            Some((reason, why)) => Verdict::Skipped(reason, why),
            None => {
                unfinished += 1;
                Verdict::Runs(Box::new(create(facts, timing, time)))
            }
        }
    };
    let rest = (Reason::CatchUpLimit, "more times were missed than catchUp looks at");
    account(facts, timing, &due, rest, refused, (status, plan), now);
}

/// Records every occurrence that was due by `until` as skipped for one reason. Says whether that was all.
pub(super) fn skip_due(
    facts: &Facts<'_>,
    timing: &Timing,
    until: Timestamp,
    reason: (Reason, &str),
    status: &mut ScheduleStatus,
    plan: &mut Plan<ScheduleStatus>,
    now: Timestamp,
) -> bool {
    let Some(after) = status.accounted_until.as_ref().map(|time| time.0) else { return true };
    let due = timing.due(after, until, OCCURRENCES_MAX, SCAN_MAX);
    let skip = |time: Timestamp, _| {
        let has_job = facts.jobs.iter().any(|job| job.scheduled_time == Some(time));
        if has_job { Verdict::HasJob } else { Verdict::Skipped(reason.0, reason.1.to_owned()) }
    };
    account(facts, timing, &due, reason, skip, (status, plan), now);
    !due.more
}

/// What becomes of one occurrence.
enum Verdict {
    /// An earlier decision made its Job.
    HasJob,
    Skipped(Reason, String),
    Runs(Box<Effect>),
}

/// Makes the Jobs and records of what is due, in the order of the times, and moves the account past them.
fn account(
    facts: &Facts<'_>,
    timing: &Timing,
    due: &Due,
    rest: (Reason, &str),
    mut verdict: impl FnMut(Timestamp, usize) -> Verdict,
    (status, plan): (&mut ScheduleStatus, &mut Plan<ScheduleStatus>),
    now: Timestamp,
) {
    let Some(last) = due.times.last().copied().or(due.last_skipped) else { return };
    let mut skips = Skips::default();
    for part in counted_without_jobs(facts, timing, due, now) {
        // No record may reach over a time that has a Job.
        plan.effects.extend(skips.take(facts, now));
        if let (Some(first), Some(last_skipped)) = (part.first, part.last_skipped) {
            skips.push_many((first, last_skipped), part.skipped, rest.0, rest.1);
        }
    }
    for (index, time) in due.times.iter().copied().enumerate() {
        match verdict(time, index) {
            Verdict::HasJob => plan.effects.extend(skips.take(facts, now)),
            Verdict::Skipped(reason, why) => skips.push(time, reason, &why),
            Verdict::Runs(create) => {
                plan.effects.extend(skips.take(facts, now));
                plan.effects.push(*create);
            }
        }
    }
    plan.effects.extend(skips.take(facts, now));
    plan.notes.extend(skips.notes());
    if let Some((time, reason)) = skips.last() {
        status.last_skip_time = Some(micro(time));
        status.last_skip_reason = Some(reason);
    }
    status.missed_count = status.missed_count.saturating_add(skips.missed());
    status.accounted_until = Some(micro(last));
    status.last_trigger_time = Some(micro(last));
    if due.more {
        // The rest is looked at in the next decision, from where this one ends.
        plan.wake(now);
    }
}

/// What was counted only, in parts between the times that have a Job of an earlier process already.
fn counted_without_jobs(facts: &Facts<'_>, timing: &Timing, due: &Due, now: Timestamp) -> Vec<Due> {
    let (Some(first), Some(last)) = (due.first, due.last_skipped) else { return Vec::new() };
    let mut made: Vec<Timestamp> = facts.jobs.iter().filter_map(|job| job.scheduled_time).collect();
    made.retain(|time| (first..=last).contains(time));
    if made.is_empty() {
        return vec![Due { times: Vec::new(), ..due.clone() }];
    }
    made.sort();
    let before = |time: Timestamp| time.saturating_add_ms(-1);
    let begins = std::iter::once(before(first)).chain(made.iter().copied());
    let ends = made.iter().map(|time| before(*time)).chain(std::iter::once(last));
    begins.zip(ends).map(|(after, until)| timing.due_until(after, until, now, 0, SCAN_MAX)).collect()
}

/// For each due time: why it is not made up for, if it was missed.
fn missed(
    facts: &Facts<'_>,
    timing: &Timing,
    due: &Due,
    edited: Option<Timestamp>,
    now: Timestamp,
) -> Vec<Option<(Reason, String)>> {
    let catch_up = facts.schedule.spec.catch_up.as_ref();
    let policy = catch_up.map_or(CatchUpPolicy::Latest, |it| it.policy);
    let window = catch_up.and_then(|it| it.window_seconds).unwrap_or(WINDOW_SECONDS_DEFAULT);
    let max_runs = catch_up.and_then(|it| it.max_runs).unwrap_or(MAX_RUNS_DEFAULT) as usize;
    let lateness = |time: Timestamp| now.duration_since(timing.fires_at(time));
    let late = |time: Timestamp| lateness(time) > SignedDuration::from_millis(ON_TIME_MS);
    let missed = due.times.iter().filter(|time| late(**time)).count();
    let on_time = due.times.len() - missed;
    let why = |index: usize, time: Timestamp| {
        let later_missed = missed - index - 1;
        match policy {
            _ if lateness(time) > SignedDuration::from_secs(window) => Some((
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
    };
    // After one edit a time that has just come still runs; after several it may have been turned off in between.
    let several = edits_unseen(facts) > 1;
    let times = due.times.iter().enumerate();
    let verdicts = times.map(|(index, time)| {
        let before = edited.is_some_and(|edited| timing.fires_at(*time) <= edited);
        if before && (several || late(*time)) {
            return Some((Reason::ScheduleEdited, EDITED.to_owned()));
        }
        late(*time).then(|| why(index, *time)).flatten()
    });
    verdicts.collect()
}

/// Why an occurrence that could run is skipped, if it is.
fn refusal(facts: &Facts<'_>, unfinished: usize) -> Option<(Reason, String)> {
    if let Err(unusable) = &facts.template {
        return Some(unusable.clone());
    }
    match facts.schedule.spec.concurrency_policy.unwrap_or_default() {
        ConcurrencyPolicy::Forbid if unfinished > 0 => Some((
            Reason::OverlapForbidden,
            "an earlier Job of the schedule has not finished, and concurrencyPolicy is Forbid".into(),
        )),
        // One of the unfinished runs.
        ConcurrencyPolicy::Queue if unfinished > WAITING_MAX => Some((
            Reason::QueueFull,
            format!("{WAITING_MAX} Jobs of the schedule wait already, and concurrencyPolicy is Queue"),
        )),
        _ => None,
    }
}

/// Cancels the Jobs of the schedule in whose place a later one is to run. The later one waits until they have ended.
pub(super) fn replace(facts: &Facts<'_>, plan: &mut Plan<ScheduleStatus>) {
    if facts.schedule.spec.concurrency_policy != Some(ConcurrencyPolicy::Replace) {
        return;
    }
    let unfinished = || facts.jobs.iter().filter(|job| job.ending.is_none() && !job.cancelled);
    let Some(newest) = unfinished().filter(|job| job.scheduled_time.is_some()).max_by_key(|job| job.scheduled_time)
    else {
        return;
    };
    let is_older = |job: &&OwnJob| match job.scheduled_time {
        Some(time) => Some(time) < newest.scheduled_time,
        None => job.created < newest.created,
    };
    let namespace = facts.schedule.metadata.namespace.clone().unwrap_or_default();
    plan.effects.extend(unfinished().filter(is_older).map(|job| Effect::CancelJob {
        job: ObjectIdentity { namespace: namespace.clone(), name: job.job.name.clone(), uid: job.job.uid.clone() },
        cancel: Cancel {
            reason: format!("replaced by Job {}: concurrencyPolicy is Replace", newest.job.name),
            replaced_by: Some(newest.job.name.clone()),
            ..Cancel::default()
        },
    }));
}

fn create(facts: &Facts<'_>, timing: &Timing, time: Timestamp) -> Effect {
    let schedule = facts.schedule;
    let name = schedule.metadata.name.clone().unwrap_or_default();
    let uid = schedule.metadata.uid.clone().unwrap_or_default();
    let start_within = schedule.spec.start_within_seconds;
    let start_by = start_within.map(|seconds| timing.fires_at(time).saturating_add_ms(seconds.saturating_mul(1_000)));
    let spec = JobSpec {
        template_ref: Some(schedule.spec.template_ref.clone()),
        params: schedule.spec.params.clone(),
        priority: schedule.spec.priority,
        schedule_ref: Some(ObjectReference { name: name.clone(), uid: uid.clone() }),
        scheduled_time: Some(micro(time)),
        start_by: start_by.map(micro),
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
    Effect::CreateJob { job: Box::new(job), due: Some(timing.fires_at(time)), unless_run }
}
