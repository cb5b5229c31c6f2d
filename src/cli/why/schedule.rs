//! What became of a time of a schedule, from its Jobs and records, also when the Jobs are gone.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::ListParams;

use super::Told;
use crate::api::labels::{DAY, SCHEDULE};
use crate::api::schedule::SchedulePhase;
use crate::api::{Job, JobRun, Outcome, Queue, Schedule};
use crate::cli::objects::{Connection, list};
use crate::cli::plugin::PluginError;
use crate::cli::print::Colour;
use crate::domain::calendar::Timing;
use crate::domain::conditions::READY;
use crate::domain::explanation::Explanation;
use crate::domain::names;
use crate::domain::schedule::covers;
use crate::domain::words::{ago, full_stop};

/// Over how many days records are looked for: each day is a label, so that not the whole history is listed.
const DAYS_LISTED: i64 = 31;
/// How many of the latest records are told of where no time is asked for.
const RECORDS_SHOWN: usize = 5;

/// How a schedule stands and what became of its latest times, or what became of one time.
pub(super) async fn explain(
    connection: &Connection,
    schedule: &Schedule,
    at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Told, PluginError> {
    let runs = records(connection, &schedule.name_any(), at, now).await?;
    match at {
        Some(at) => of_time(connection, schedule, &runs, at, now).await,
        None => Ok(standing(connection, schedule, &runs, now).await),
    }
}

/// The records of a schedule by their times: of what ended within a month from that time, or within the last month.
pub async fn records(
    connection: &Connection,
    schedule: &str,
    at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Vec<JobRun>, PluginError> {
    let first = at.map_or(-DAYS_LISTED, |_| -1);
    let days: Vec<String> = (first..=first + DAYS_LISTED + 1)
        .filter_map(|day| at.unwrap_or(now).checked_add(SignedDuration::from_hours(24 * day)).ok())
        .map(names::day)
        .collect();
    let labelled = format!("{SCHEDULE}={},{DAY} in ({})", names::label_value(schedule), days.join(","));
    let (mut runs, _) = list(&connection.api::<JobRun>(), &ListParams::default().labels(&labelled)).await?;
    runs.retain(|run| run.spec.schedule_ref.as_ref().is_some_and(|it| it.name == schedule));
    runs.sort_by_key(|run| (run.spec.scheduled_time.as_ref().map(|time| time.0), run.spec.attempt));
    Ok(runs)
}

/// What became of one time.
async fn of_time(
    connection: &Connection,
    schedule: &Schedule,
    runs: &[JobRun],
    at: Timestamp,
    now: Timestamp,
) -> Result<Told, PluginError> {
    let name = schedule.name_any();
    let of_it: Vec<&JobRun> = runs.iter().filter(|run| covers(run, at)).collect();
    if let Some(last) = of_it.last() {
        let (mut explanation, colour) = super::of_record(last, now);
        if let Some(job) = &last.spec.job_ref {
            let before = format!("The run of {at} of schedule {name} is Job {}.", job.name);
            explanation.sentences.insert(0, before);
        }
        if of_it.len() > 1 {
            explanation.sentences.push(format!("It had {} attempts; this was the last.", of_it.len()));
        }
        return Ok((explanation, colour));
    }
    let uid = schedule.uid().unwrap_or_default();
    if let Some(job) = connection.find::<Job>(&names::occurrence_job(&name, &uid, at)).await? {
        return super::explain(connection, &job, now).await;
    }
    let headline =
        format!("Schedule {name} has no record of a run of {at}, at least of none that ended within a month.");
    let mut explanation = Explanation { headline, ..Explanation::default() };
    explanation.sentences.extend(no_record(schedule, at, now));
    let nearest = runs
        .iter()
        .filter_map(|run| run.spec.scheduled_time.as_ref())
        .min_by_key(|time| time.0.duration_since(at).abs());
    explanation.sentences.extend(nearest.map(|time| format!("The nearest time with a record is {}.", time.0)));
    Ok((explanation, Some(Colour::Yellow)))
}

/// Why there is no record of a time, as far as the schedule as it is now tells.
fn no_record(schedule: &Schedule, at: Timestamp, now: Timestamp) -> Option<String> {
    let created = schedule.creation_timestamp()?.0;
    if at > now {
        return Some("That time is still to come.".into());
    }
    if at <= created {
        return Some(format!("The schedule was created at {created}, and fires no time before that."));
    }
    let timing = Timing::parse(&schedule.spec.timing(created), schedule.uid().as_deref().unwrap_or_default()).ok()?;
    let just_before = at.checked_sub(SignedDuration::from_nanos(1)).ok()?;
    if timing.next_after(just_before) != Some(at) {
        let next = timing.next_after(at).map(|next| format!("; the next one after it is {next}")).unwrap_or_default();
        return Some(format!("As it is written now ({}), that is none of its times{next}.", timing.describe()));
    }
    let accounted = schedule.status.as_ref().and_then(|status| status.accounted_until.as_ref()).map(|time| time.0);
    Some(match accounted {
        Some(until) if until < at => {
            format!("The operator has accounted for its times up to {until} only: does it run?")
        }
        _ => "It was disabled, or was written otherwise, when that time came.".into(),
    })
}

/// How it stands now.
async fn standing(connection: &Connection, schedule: &Schedule, runs: &[JobRun], now: Timestamp) -> Told {
    let name = schedule.name_any();
    let status = schedule.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|it| it.type_ == READY);
    let word = ready.map_or("has not been looked at by an operator yet", |it| it.message.as_str());
    let is_well = ready.is_some_and(|it| it.status == "True") && status.paused.is_none();
    let mut explanation =
        Explanation { headline: full_stop(&format!("Schedule {name}: {word}")), ..Explanation::default() };
    let say = &mut explanation.sentences;
    let next = status.next_trigger_time.as_ref().filter(|_| status.phase == Some(SchedulePhase::Enabled));
    say.extend(next.map(|next| format!("Its next time is {}.", next.0)));
    say.extend(paused_queue(connection, schedule).await);
    if status.active > 0 {
        let names: Vec<&str> = status.active_jobs.iter().map(|job| job.name.as_str()).collect();
        say.push(format!("{} of its Jobs wait or run: {}.", status.active, names.join(", ")));
    }
    for run in runs.iter().rev().take(RECORDS_SHOWN) {
        say.push(line(run, now));
    }
    if runs.is_empty() {
        say.push("It has no record yet.".into());
    }
    (explanation, Some(if is_well { Colour::Green } else { Colour::Yellow }))
}

/// That the queue of its Jobs is paused, if that can be told.
async fn paused_queue(connection: &Connection, schedule: &Schedule) -> Option<String> {
    let (queues, _) = list(&connection.api::<Queue>(), &ListParams::default()).await.ok()?;
    let own = schedule.spec.queue.as_deref();
    let found = queues.iter().find(|queue| {
        let pause = queue.spec.paused.as_ref();
        let is_wide = pause.is_some_and(|pause| pause.scope.is_some());
        pause.is_some() && (is_wide || own.is_some_and(|own| own == queue.name_any()))
    })?;
    let pause = found.spec.paused.as_ref()?;
    Some(full_stop(&format!("Queue {} is paused, so that its Jobs wait: {}", found.name_any(), pause.reason)))
}

/// A record in one line.
fn line(run: &JobRun, now: Timestamp) -> String {
    let Some(status) = &run.status else { return full_stop(&run.name_any()) };
    let time = run.spec.scheduled_time.as_ref().map_or_else(|| "By hand".to_owned(), |time| time.0.to_string());
    let more = status.count.map(|count| format!(" and {} more", count.saturating_sub(1))).unwrap_or_default();
    let when = status.finished_at.as_ref().map(|at| format!(" {} ago", ago(at.0, now))).unwrap_or_default();
    let error = status.error.as_deref().and_then(|error| error.lines().next());
    let error = error.map(|error| format!(": {error}")).unwrap_or_default();
    full_stop(&format!("{time}{more}: {} ({}){when}{error}", status.phase.as_str(), status.reason.as_str()))
}

/// What the record of a time says for which no Job was made.
pub(super) fn skipped(run: &JobRun) -> Told {
    let status = run.status.clone();
    let reason = status.as_ref().map_or("", |status| status.reason.as_str());
    let outcome = status.as_ref().map_or(Outcome::Skipped, |status| status.phase);
    let name = run.spec.schedule_ref.as_ref().map(|it| it.name.clone()).unwrap_or_default();
    let time = run.spec.scheduled_time.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
    let last = status.as_ref().and_then(|status| Some((status.count?, status.last_scheduled_time.clone()?.0)));
    let times = last.map_or(format!("time {time}"), |(count, last)| format!("{count} times from {time} to {last}"));
    let headline = format!("Of schedule {name} the {times} did not run: {} ({reason}).", outcome.as_str());
    let mut explanation = Explanation { headline, ..Explanation::default() };
    explanation.sentences.extend(status.and_then(|status| status.error).as_deref().map(full_stop));
    explanation.sentences.push(format!("Record: kubectl get rrun {} -o yaml", run.name_any()));
    (explanation, Some(Colour::Yellow))
}
