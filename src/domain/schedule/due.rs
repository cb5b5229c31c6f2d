//! What becomes of each time that is due: it runs, or is skipped for a reason that its record states.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::edit::{Edit, edits_unseen};
use super::skips::Skips;
use super::{Facts, OwnJob};
use crate::api::labels::{ARGO_IGNORE_ANNOTATION, RECORD_FINALIZER, SCHEDULE, SCHEDULED_TIME_ANNOTATION};
use crate::api::schedule::{CatchUpPolicy, ConcurrencyPolicy};
use crate::api::{Cancel, Job, JobSpec, ObjectReference, Outcome, Reason, ScheduleStatus};
use crate::domain::calendar::{Due, Timing};
use crate::domain::conditions::{self, micro, shorten};
use crate::domain::group::owner;
use crate::domain::job::SaturatingTime;
use crate::domain::names;
use crate::domain::plan::{Effect, Note, ObjectIdentity, Pace, Plan};

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
/// How much later than a time its refusal may be said, in milliseconds.
const REFUSED_SLACK_MS: i64 = 60_000;
/// How much of the sentence of a refusal a record has, in bytes.
const REFUSED_BYTES_MAX: usize = 500;
/// How many Jobs of a schedule may wait or run under concurrencyPolicy Allow: a schedule whose Jobs do not get on must not
/// fill the cluster and the operator's memory.
const UNFINISHED_MAX: usize = 2_000;
/// How many Jobs of a schedule may wait under concurrencyPolicy Queue.
const WAITING_MAX: usize = 100;

/// Accounts for every occurrence that is due.
pub(super) fn fire(
    facts: &Facts<'_>,
    timing: &Timing,
    edited: Option<Edit>,
    status: &mut ScheduleStatus,
    plan: &mut Plan<ScheduleStatus>,
    now: Timestamp,
) {
    let Some(after) = status.accounted_until.as_ref().map(|time| time.0) else { return };
    let due = timing.due(after, now, OCCURRENCES_MAX, SCAN_MAX);
    let missed = missed(facts, timing, &due, edited, now);
    let mut unfinished = facts.jobs.iter().filter(|job| job.ending.is_none()).count();
    let made = made(facts, &due);
    let refused = |time: Timestamp, index: usize| {
        if made.contains(&time) {
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

/// Up to when times are recorded.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// Those that have run by then: one that its jitter puts off is left out.
    Fired(Timestamp),
    /// Those that have come by then, whether their jitter has passed or not: nothing runs them later.
    Nominal(Timestamp),
}

/// Records every occurrence that was due by `until` as skipped for one reason. Says whether that was all.
pub(super) fn skip_due(
    facts: &Facts<'_>,
    timing: &Timing,
    until: Until,
    reason: (Reason, &str),
    (status, plan): (&mut ScheduleStatus, &mut Plan<ScheduleStatus>),
    now: Timestamp,
) -> bool {
    let Some(after) = status.accounted_until.as_ref().map(|time| time.0) else { return true };
    let due = match until {
        Until::Fired(until) => timing.due(after, until, OCCURRENCES_MAX, SCAN_MAX),
        Until::Nominal(until) => timing.due_until(after, until, Timestamp::MAX, OCCURRENCES_MAX, SCAN_MAX),
    };
    let made = made(facts, &due);
    let skip = |time: Timestamp, _| {
        if made.contains(&time) { Verdict::HasJob } else { Verdict::Skipped(reason.0, reason.1.to_owned()) }
    };
    account(facts, timing, &due, reason, skip, (status, plan), now);
    !due.more
}

/// Which of the times that are due have a Job.
fn made(facts: &Facts<'_>, due: &Due) -> HashSet<Timestamp> {
    let (Some(first), Some(last)) = (due.times.first(), due.times.last()) else { return HashSet::new() };
    let times = facts.jobs.iter().filter_map(|job| job.scheduled_time);
    times.filter(|time| (first..=last).contains(&time)).collect()
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
    let mut ran = None;
    let mut fired = Fired::default();
    for part in counted_without_jobs(facts, timing, due) {
        // No record may reach over a time that has a Job.
        plan.effects.extend(skips.take(facts, now));
        if let (Some(first), Some(last_skipped)) = (part.first, part.last_skipped) {
            skips.push_many((first, last_skipped), part.skipped, rest.0, rest.1);
        }
    }
    for (index, time) in due.times.iter().copied().enumerate() {
        match verdict(time, index) {
            Verdict::HasJob => {
                plan.effects.extend(skips.take(facts, now));
                ran = Some(time);
            }
            Verdict::Skipped(reason, why) => skips.push(time, reason, &why),
            Verdict::Runs(create) => {
                plan.effects.extend(skips.take(facts, now));
                fired.push(time, &create);
                plan.effects.push(*create);
                ran = Some(time);
            }
        }
    }
    plan.effects.extend(skips.take(facts, now));
    plan.notes.extend(skips.notes());
    plan.notes.extend(fired.note());
    if let Some((time, reason)) = skips.last() {
        status.last_skip_time = Some(micro(time));
        status.last_skip_reason = Some(reason);
    }
    if skips.failed() > 0 {
        status.last_outcome = Some(Outcome::Failed);
        status.last_failure_time = Some(micro(now));
        let failed = u32::try_from(skips.failed()).unwrap_or(u32::MAX);
        status.consecutive_failures = status.consecutive_failures.saturating_add(failed);
        if facts.schedule.spec.pause_after_failures.is_some() {
            // That may be enough to hold it.
            plan.wake(now);
        }
    }
    status.missed_count = status.missed_count.saturating_add(skips.missed());
    status.accounted_until = Some(micro(last));
    status.last_trigger_time = ran.map(micro).or(status.last_trigger_time.take());
    if due.more {
        // The rest is looked at in the next decision, from where this one ends.
        plan.wake(now);
    }
}

/// The Jobs that one decision makes.
#[derive(Default)]
struct Fired {
    count: usize,
    first: Option<Timestamp>,
    last: Option<(Timestamp, String)>,
}

impl Fired {
    fn push(&mut self, time: Timestamp, effect: &Effect) {
        let Effect::CreateJob { job, .. } = effect else { return };
        self.count += 1;
        self.first.get_or_insert(time);
        self.last = Some((time, job.metadata.name.clone().unwrap_or_default()));
    }

    /// One event for all of them.
    fn note(self) -> Option<Note> {
        let (last, job) = self.last?;
        let text = match self.first.filter(|_| self.count > 1) {
            Some(first) => format!("{} Jobs for the times from {first} to {last}; the last is Job {job}", self.count),
            None => format!("Job {job} for {last}"),
        };
        Some(Note::normal("Fired", "Fire", text).at_pace(Pace::Flood))
    }
}

/// What was counted only, in parts between the times that have a Job of an earlier process already.
fn counted_without_jobs(facts: &Facts<'_>, timing: &Timing, due: &Due) -> Vec<Due> {
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
    // All of them were due when they were counted.
    begins.zip(ends).map(|(after, until)| timing.due_until(after, until, Timestamp::MAX, 0, SCAN_MAX)).collect()
}

/// For each due time: why it is not made up for, if it was missed.
fn missed(
    facts: &Facts<'_>,
    timing: &Timing,
    due: &Due,
    edited: Option<Edit>,
    now: Timestamp,
) -> Vec<Option<(Reason, String)>> {
    let catch_up = facts.schedule.spec.catch_up.as_ref();
    let policy = catch_up.map_or(CatchUpPolicy::Latest, |it| it.policy);
    let window = catch_up.and_then(|it| it.window_seconds).unwrap_or(WINDOW_SECONDS_DEFAULT);
    // The shorter of the two.
    let start_deadline = facts.schedule.spec.start_deadline_seconds;
    let (window, of) = match start_deadline.filter(|seconds| *seconds < window) {
        Some(seconds) => (seconds, " (startDeadlineSeconds)"),
        None => (window, ""),
    };
    let max_runs = catch_up.and_then(|it| it.max_runs).unwrap_or(MAX_RUNS_DEFAULT) as usize;
    let refused = conditions::refused(&facts.status.conditions);
    let refusal = |time: Timestamp| {
        let (since, why) = refused?;
        let is_later = timing.fires_at(time) >= since.saturating_add_ms(-REFUSED_SLACK_MS);
        is_later.then(|| format!("its Job was refused: {}", shorten(why.to_owned(), REFUSED_BYTES_MAX)))
    };
    let cause = |time: Timestamp| refusal(time).unwrap_or_else(|| "the operator was not running".to_owned());
    let limited = |time: Timestamp, text: String| match refusal(time) {
        Some(refusal) => format!("{text}; {refusal}"),
        None => text,
    };
    let lateness = |time: Timestamp| now.duration_since(timing.fires_at(time));
    let late = |time: Timestamp| lateness(time) > SignedDuration::from_millis(ON_TIME_MS);
    let missed = due.times.iter().filter(|time| late(**time)).count();
    let on_time = due.times.len() - missed;
    let why = |index: usize, time: Timestamp| {
        let later_missed = missed - index - 1;
        match policy {
            CatchUpPolicy::None => Some((Reason::MissedWindow, format!("{}, and catchUp is None", cause(time)))),
            _ if lateness(time) > SignedDuration::from_secs(window) => {
                Some((Reason::MissedWindow, format!("it was due more than {window} s ago{of}, when {}", cause(time))))
            }
            CatchUpPolicy::Latest if later_missed > 0 || on_time > 0 => {
                let text = "a later time runs instead, and catchUp is Latest".to_owned();
                Some((Reason::CatchUpLimit, limited(time, text)))
            }
            CatchUpPolicy::All if later_missed >= max_runs => {
                Some((Reason::CatchUpLimit, limited(time, format!("catchUp runs the latest {max_runs} missed times"))))
            }
            CatchUpPolicy::Latest | CatchUpPolicy::All => None,
        }
    };
    // After one edit a time that has just come still runs; after several it may have been turned off in between.
    // Of a schedule that nobody has seen yet nothing is known but how it is now: each of its edits may have enabled it.
    let several = edits_unseen(facts) > i64::from(facts.status.phase.is_some());
    let times = due.times.iter().enumerate();
    let verdicts = times.map(|(index, time)| {
        let before = edited.filter(|edit| timing.fires_at(*time) <= edit.until);
        if let Some(edit) = before.filter(|_| several || late(*time)) {
            return Some((Reason::ScheduleEdited, edit.why.to_owned()));
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
        ConcurrencyPolicy::Forbid if unfinished > 0 => {
            Some((Reason::OverlapForbidden, format!("{}, and concurrencyPolicy is Forbid", earlier(facts, unfinished))))
        }
        // One of the unfinished runs.
        ConcurrencyPolicy::Allow if unfinished >= UNFINISHED_MAX => Some((
            Reason::QueueFull,
            format!(
                "{UNFINISHED_MAX} Jobs of the schedule have not finished, which is the most under concurrencyPolicy Allow"
            ),
        )),
        // Those that wait end as Replaced; they may take a moment for it.
        ConcurrencyPolicy::Queue | ConcurrencyPolicy::QueueLatest if unfinished > WAITING_MAX => {
            Some((Reason::QueueFull, format!("{WAITING_MAX} Jobs of the schedule wait already, which is the most")))
        }
        _ => None,
    }
}

/// That earlier Jobs of the schedule have not finished, with the first of them and what it waits for.
fn earlier(facts: &Facts<'_>, unfinished: usize) -> String {
    let known = facts.jobs.iter().filter(|job| job.ending.is_none());
    let Some(first) = known.min_by_key(|job| job.scheduled_time.or(job.created)) else {
        return "an earlier Job of the schedule has not finished".to_owned();
    };
    let others = match unfinished.saturating_sub(1) {
        0 => String::new(),
        1 => " and another one".to_owned(),
        more => format!(" and {more} others"),
    };
    let name = &first.job.name;
    match first.waits_for.clone() {
        Some(why) if first.started_at.is_none() => {
            let why = shorten(why, REFUSED_BYTES_MAX);
            format!("Job {name}{others} of the schedule has not started ({why})")
        }
        _ => format!("Job {name}{others} of the schedule has not finished"),
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
    let after = |seconds: i64| timing.fires_at(time).saturating_add_ms(seconds.saturating_mul(1_000));
    let spec = JobSpec {
        template_ref: Some(schedule.spec.template_ref.clone()),
        params: schedule.spec.params.clone(),
        priority: schedule.spec.priority,
        schedule_ref: Some(ObjectReference { name: name.clone(), uid: uid.clone() }),
        scheduled_time: Some(micro(time)),
        queue: schedule.spec.queue.clone(),
        start_by: start_within.map(after).map(micro),
        start_deadline: schedule.spec.start_deadline_seconds.map(after).map(micro),
        ..JobSpec::default()
    };
    let mut job = Job::new(&names::occurrence_job(&name, &uid, time), spec);
    job.metadata.namespace = schedule.metadata.namespace.clone();
    job.metadata.finalizers = Some(vec![RECORD_FINALIZER.into()]);
    let mut labels = names::recommended_labels(&schedule.spec.template_ref.name);
    labels.insert(SCHEDULE.to_owned(), names::label_value(&name));
    job.metadata.labels = Some(labels);
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
