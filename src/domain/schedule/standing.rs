//! How a schedule stands: its next times, its runs, whether one is late, and whether it is held after failures.

use std::collections::HashSet;

use jiff::Timestamp;

use super::*;
use crate::api::Outcome;
use crate::api::labels::RESUME_ANNOTATION;
use crate::api::schedule::{ClockChange, SchedulePause};
use crate::domain::calendar::{steps, zone_database_version};
use crate::domain::plan::Pace;

/// How many next times the status shows.
const NEXT_TIMES_SHOWN: usize = 3;
/// How many ended Jobs the status lists until they are let go of.
const SETTLED_MAX: usize = 500;
/// How many Jobs that succeeded stay, unless historyLimits says it.
const SUCCEEDED_KEPT_DEFAULT: u32 = 0;
/// How many Jobs that failed stay, unless historyLimits says it: people want to see their logs.
const FAILED_KEPT_DEFAULT: u32 = 1;
/// How many active Jobs the status names.
const ACTIVE_SHOWN_MAX: usize = 20;

/// Says when the next times are, and wakes at the first of them.
pub(super) fn foresee(
    timing: &Timing,
    enabled: bool,
    status: &mut ScheduleStatus,
    plan: &mut Plan<ScheduleStatus>,
    now: Timestamp,
) {
    status.next_trigger_time = None;
    status.next_trigger_times.clear();
    let is_cron = status.timing.as_ref().is_some_and(|timing| timing.cron.is_some());
    status.zone_database = is_cron.then(|| zone_database_version().to_owned());
    if !enabled || status.paused.is_some() {
        status.next_clock_change = None;
        return;
    }
    // A time that has come may still wait for its jitter.
    let accounted = status.accounted_until.as_ref().map_or(now, |time| time.0);
    let waits = timing.next_after(accounted).is_some_and(|next| timing.fires_at(next) > now);
    let mut after = if waits { accounted } else { accounted.max(now) };
    status.next_clock_change = timing
        .next_affected(after)
        .map(|(time, effect)| ClockChange { time: timing.local(time), effect: effect.as_str().to_owned() });
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

/// Counts each ended Job once: those counted are listed until they let go of their finalizer. The rest is counted when some of
/// these have, so that a status is never too large to be written.
pub(super) fn settle(facts: &Facts<'_>, status: &mut ScheduleStatus) {
    let held: HashSet<&str> = facts.jobs.iter().filter(|job| job.held).map(|job| job.job.uid.as_str()).collect();
    status.settled.retain(|settled| held.contains(settled.uid.as_str()));
    let known: HashSet<String> = status.settled.iter().map(|settled| settled.uid.clone()).collect();
    let mut ended: Vec<(&OwnJob, &Ending)> = facts
        .jobs
        .iter()
        .filter(|job| job.held && !known.contains(&job.job.uid))
        .filter_map(|job| job.ending.as_ref().map(|ending| (job, ending)))
        .collect();
    ended.sort_by_key(|(_, ending)| ending.finished_at);
    let room = SETTLED_MAX.saturating_sub(status.settled.len());
    for (job, ending) in ended.into_iter().take(room) {
        status.settled.push(job.job.clone());
        let asked = was_asked(ending.reason);
        status.last_outcome = Some(ending.outcome);
        match ending.outcome {
            Outcome::Completed => {
                status.last_success_time = Some(micro(ending.finished_at));
                status.consecutive_failures = 0;
            }
            Outcome::Failed => {
                status.last_failure_time = Some(micro(ending.finished_at));
                let more = u32::from(!asked);
                status.consecutive_failures = status.consecutive_failures.saturating_add(more);
            }
            Outcome::Skipped => {
                status.last_skip_time = Some(micro(ending.finished_at));
                status.last_skip_reason = Some(ending.reason);
            }
        }
    }
}

/// Holds the schedule after too many failures in a row, and lets it go on when somebody has acted. Says whether it just
/// went on.
pub(super) fn hold(
    facts: &Facts<'_>,
    status: &mut ScheduleStatus,
    plan: &mut Plan<ScheduleStatus>,
    now: Timestamp,
) -> bool {
    let metadata = &facts.schedule.metadata;
    let resume = metadata.annotations.as_ref().and_then(|annotations| annotations.get(RESUME_ANNOTATION)).cloned();
    let limit = facts.schedule.spec.pause_after_failures;
    match (&status.paused, limit) {
        (Some(pause), _) => {
            let acted = pause.generation != metadata.generation || pause.resume != resume;
            if !acted && status.consecutive_failures > 0 {
                return false;
            }
            status.paused = None;
            status.consecutive_failures = 0;
            plan.notes.push(Note::normal("Resumed", "Resume", "it goes on, and failures are counted anew"));
            true
        }
        (None, Some(limit)) if status.consecutive_failures >= limit => {
            let failures = status.consecutive_failures;
            status.paused =
                Some(SchedulePause { since: micro(now), failures, generation: metadata.generation, resume });
            let message =
                format!("{}: edit the schedule, or set its annotation {RESUME_ANNOTATION}", paused_text(failures));
            plan.notes.push(Note::warning("Paused", "Pause", message));
            false
        }
        (None, _) => false,
    }
}

fn paused_text(failures: u32) -> String {
    format!("paused after {failures} failure(s) in a row")
}

/// Says whether a run of the schedule did not start in time: as a condition while it has not, as an event and a count once.
pub(super) fn lateness(
    facts: &Facts<'_>,
    status: &mut ScheduleStatus,
    plan: &mut Plan<ScheduleStatus>,
    now: Timestamp,
) {
    let mut overdue = None;
    let mut jobs: Vec<(&OwnJob, Timestamp, Timestamp)> =
        facts.jobs.iter().filter_map(|job| Some((job, job.scheduled_time?, job.start_by?))).collect();
    jobs.sort_by_key(|(_, time, _)| *time);
    for (job, time, start_by) in jobs {
        let ended = job.ending.as_ref().map(|ending| ending.finished_at);
        let waits = job.started_at.is_none() && ended.is_none();
        let is_late = start_by < job.started_at.or(ended).unwrap_or(now);
        if waits && !is_late {
            plan.wake(start_by.saturating_add_ms(1));
        }
        if !is_late {
            continue;
        }
        let message = format!("the run of {time} was to start by {start_by}");
        if status.last_late_time.as_ref().is_none_or(|last| last.0 < time) {
            status.last_late_time = Some(micro(time));
            status.late_count = status.late_count.saturating_add(1);
            plan.notes.push(Note::warning("Late", "Start", message.clone()).at_pace(Pace::Flood));
        }
        if waits {
            overdue.get_or_insert(format!("{message} and has not started: Job {}", job.job.name));
        }
    }
    let mut list = Conditions::continuing(&status.conditions, facts.schedule.metadata.generation, now);
    match (overdue, facts.schedule.spec.start_within_seconds) {
        (Some(message), _) => list.set(Fact { type_: conditions::LATE, holds: true, reason: "NotStarted", message }),
        (None, Some(seconds)) => {
            let message = format!("no run has waited for more than {seconds} s to start");
            list.set(Fact { type_: conditions::LATE, holds: false, reason: "OnTime", message });
        }
        (None, None) => list.remove(conditions::LATE),
    }
    status.conditions = list.into_list();
}

/// Lists the Jobs that wait or run, and the finished ones that stay.
pub(super) fn show_jobs(facts: &Facts<'_>, status: &mut ScheduleStatus, plan: &Plan<ScheduleStatus>) {
    let made = plan.effects.iter().filter(|effect| matches!(effect, Effect::CreateJob { .. })).count();
    let mut live: Vec<&ObjectReference> =
        facts.jobs.iter().filter(|job| job.ending.is_none()).map(|job| &job.job).collect();
    status.active = u32::try_from(live.len() + made).unwrap_or(u32::MAX);
    if live.len() > ACTIVE_SHOWN_MAX {
        live.select_nth_unstable(ACTIVE_SHOWN_MAX);
        live.truncate(ACTIVE_SHOWN_MAX);
    }
    live.sort();
    status.active_jobs = live.into_iter().cloned().collect();
    keep_history(facts, status);
}

/// Lists the finished Jobs that stay: the latest ones that succeeded and that failed, as many as historyLimits says. What
/// somebody ended is neither.
fn keep_history(facts: &Facts<'_>, status: &mut ScheduleStatus) {
    let limits = facts.schedule.spec.history_limits.unwrap_or_default();
    let kinds = [
        (Outcome::Completed, limits.succeeded.unwrap_or(SUCCEEDED_KEPT_DEFAULT)),
        (Outcome::Failed, limits.failed.unwrap_or(FAILED_KEPT_DEFAULT)),
    ];
    let mut kept: Vec<ObjectReference> = Vec::new();
    for (outcome, limit) in kinds {
        let mut ended: Vec<(&OwnJob, &Ending)> = facts
            .jobs
            .iter()
            .filter_map(|job| job.ending.as_ref().map(|ending| (job, ending)))
            .filter(|(_, ending)| ending.outcome == outcome && !was_asked(ending.reason))
            .collect();
        ended.sort_by(|(job, ending), (other, its)| {
            its.finished_at.cmp(&ending.finished_at).then_with(|| job.job.name.cmp(&other.job.name))
        });
        kept.extend(ended.into_iter().take(limit as usize).map(|(job, _)| job.job.clone()));
    }
    kept.sort();
    status.kept_jobs = kept;
}

/// Whether an end says nothing about whether the work can be done: somebody wanted it.
fn was_asked(reason: Reason) -> bool {
    matches!(reason, Reason::Cancelled | Reason::Replaced | Reason::JobDeleted)
}

/// The status of a schedule for which the API server refuses what is to be written: its account and what was edited wait for
/// it, and what has happened to its Jobs does not.
pub fn refused(facts: &Facts<'_>, why: &str, now: Timestamp) -> Plan<ScheduleStatus> {
    let mut plan = Plan::default();
    let mut status = facts.status.clone();
    settle(facts, &mut status);
    lateness(facts, &mut status, &mut plan, now);
    show_jobs(facts, &mut status, &plan);
    let was_said = conditions::refused(&facts.status.conditions).is_some();
    let mut list = Conditions::continuing(&status.conditions, facts.schedule.metadata.generation, now);
    conditions::refuse(&mut list, true, why);
    status.conditions = list.into_list();
    if !was_said {
        plan.notes.push(Note::warning(conditions::WRITE_REFUSED, "Write", why));
    }
    plan.status = Some(status);
    plan
}

/// Why no time comes any more.
fn never_again(facts: &Facts<'_>) -> &'static str {
    let created = facts.schedule.metadata.creation_timestamp.as_ref().map(|time| time.0);
    match &facts.schedule.spec.at {
        Some(at) if created.is_some_and(|created| at.0 <= created) => {
            "spec.at: it lies before the schedule was created, so that nothing will ever run"
        }
        Some(_) => "its one time has passed",
        None => "no time comes any more",
    }
}

/// A schedule that is being deleted fires no more, and what it owes is recorded when it is gone. If something keeps it, it says so.
pub(super) fn deleting(facts: &Facts<'_>, now: Timestamp) -> Decision {
    let metadata = &facts.schedule.metadata;
    let mut status = facts.status.clone();
    status.next_trigger_time = None;
    status.next_trigger_times.clear();
    status.next_clock_change = None;
    let mut list = Conditions::from(&status.conditions, metadata.generation, now);
    let message = "it fires no more".to_owned();
    list.set(Fact { type_: conditions::READY, holds: true, reason: "Deleted", message });
    list.remove(conditions::STALLED);
    if let Some(keepers) = conditions::keepers(metadata) {
        list.say_kept(conditions::READY, &keepers);
    }
    status.conditions = list.into_list();
    Decision { plan: Plan { status: Some(status), ..Plan::default() }, urgent: true }
}

pub(super) fn set_ready(
    facts: &Facts<'_>,
    status: &mut ScheduleStatus,
    ready: Result<(), (&str, String)>,
    plan: &mut Plan<ScheduleStatus>,
    now: Timestamp,
) {
    let mut list = Conditions::from(&status.conditions, facts.schedule.metadata.generation, now);
    let was_stalled = conditions::holds(&status.conditions, conditions::STALLED);
    list.warn(&steps::sentences(facts.schedule.spec.cron.as_deref()));
    match (ready, &status.paused) {
        (Ok(()), None) => {
            let (reason, message) = if !is_enabled(facts.schedule) {
                ("Disabled", "it is disabled, and fires nothing")
            } else if status.next_trigger_time.is_none() {
                ("NoMoreTimes", never_again(facts))
            } else {
                ("Scheduled", "it fires as written")
            };
            let (reason, message) = match &facts.queue {
                QueueCondition::Missing(message) if reason == "Scheduled" => {
                    ("QueueNotFound", format!("it fires, and its Jobs wait: {message}"))
                }
                QueueCondition::Paused { message, until } if reason == "Scheduled" => {
                    until.iter().for_each(|until| plan.wake(*until));
                    ("QueuePaused", format!("it fires, and its Jobs wait: {message}"))
                }
                _ => (reason, message.to_owned()),
            };
            list.set(Fact { type_: conditions::READY, holds: true, reason, message });
            list.remove(conditions::STALLED);
        }
        (Ok(()), Some(pause)) => {
            // Work that fails is not an ill schedule.
            let message = paused_text(pause.failures);
            list.set(Fact { type_: conditions::READY, holds: true, reason: "Paused", message });
            list.remove(conditions::STALLED);
        }
        (Err((reason, message)), _) => {
            if !was_stalled {
                plan.notes.push(Note::warning("NotReady", "Validate", message.clone()));
            }
            list.set(Fact { type_: conditions::READY, holds: false, reason, message: message.clone() });
            list.set(Fact { type_: conditions::STALLED, holds: true, reason, message });
        }
    }
    match &status.paused {
        Some(pause) => {
            let message = format!("{} since {}", paused_text(pause.failures), pause.since.0);
            list.set(Fact { type_: conditions::PAUSED, holds: true, reason: "ConsecutiveFailures", message });
        }
        None => list.remove(conditions::PAUSED),
    }
    if let Some(outcome) = status.last_outcome {
        let message = format!("{} failure(s) since the last success", status.consecutive_failures);
        let holds = outcome == Outcome::Completed;
        list.set(Fact { type_: conditions::LAST_RUN_SUCCEEDED, holds, reason: outcome.as_str(), message });
    }
    status.conditions = list.into_list();
}
