//! I1 and I7: each time of a schedule has one Job at most and one outcome, and only times at which the schedule was in force count.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Change, History, Violation, number, text, time};

/// Around a change of a schedule it is open which side a time falls on: changes are timed in whole seconds.
const EDGE: SignedDuration = SignedDuration::from_secs(16);
/// How old what an operator sees may be.
const VIEW: SignedDuration = SignedDuration::from_secs(130);
/// How long before the end a time may still be without an outcome.
const SETTLES: SignedDuration = SignedDuration::from_secs(120);

/// A schedule as it was for some time.
#[derive(Clone, Debug)]
struct Period {
    from: Timestamp,
    /// Whether the edit that began it only removed fields: it has no time then, and counts from when an operator sees it.
    is_untimed: bool,
    to: Option<Timestamp>,
    spec: Value,
}

/// Adds what was broken.
pub fn judge(history: &History, found: &mut Vec<Violation>) {
    let periods = periods(history);
    let jobs = jobs(history, found);
    let skips = skips(history);
    let recorded: BTreeSet<&str> =
        history.of("jobruns.rota.dev").map(|change| text(change.object(), "/spec/jobRef/uid")).collect();
    for ((schedule, at), job) in &jobs {
        let seen = |period: &Period| period.was_seen_at(*at);
        let in_force = periods.get(schedule).into_iter().flatten().any(seen);
        if !in_force {
            found.push(Violation {
                invariant: "I7",
                story: format!(
                    "Job {} was made for {at}, when its schedule had no such time",
                    text(job, "/metadata/name")
                ),
            });
        }
        if let Some(skip) = skips
            .get(schedule)
            .into_iter()
            .flatten()
            .find(|skip| skip.covers(*at) && periods[schedule].iter().any(|it| it.has(*at, SignedDuration::ZERO)))
        {
            found.push(Violation {
                invariant: "I1",
                story: format!(
                    "{at} has Job {} and the record {} that it was skipped",
                    text(job, "/metadata/name"),
                    skip.name
                ),
            });
        }
    }
    let Some(ended) = history.ended else { return };
    for (schedule, periods) in &periods {
        for at in periods.iter().flat_map(|period| period.owed(ended - SETTLES)) {
            let has_job = jobs.get(&(schedule.clone(), at));
            let is_skipped = skips.get(schedule).into_iter().flatten().any(|skip| skip.covers(at));
            if has_job.is_none() && !is_skipped {
                found.push(Violation { invariant: "I1", story: format!("{at} of schedule {schedule} has no outcome") });
            }
        }
    }
    let left = history.at_the_end("jobs.rota.dev");
    for ((_, at), job) in &jobs {
        let uid = text(job, "/metadata/uid");
        if !left.contains_key(uid) && !recorded.contains(uid) {
            found.push(Violation {
                invariant: "I1",
                story: format!("Job {} of {at} is gone without a record", text(job, "/metadata/name")),
            });
        }
    }
}

/// How each schedule was, by uid.
fn periods(history: &History) -> BTreeMap<String, Vec<Period>> {
    let mut found: BTreeMap<String, Vec<Period>> = BTreeMap::new();
    for change in history.of("schedules.rota.dev") {
        let object = change.object();
        let periods = found.entry(text(object, "/metadata/uid").into()).or_default();
        let is_going = object.pointer("/metadata/deletionTimestamp").is_some();
        let spec = object.pointer("/spec").cloned().unwrap_or_default();
        let before = change.before.as_ref().and_then(|before| before.get("spec")).and_then(Value::as_object);
        let is_untimed = before.is_some_and(|before| {
            spec.as_object().is_some_and(|after| after.iter().all(|(field, value)| before.get(field) == Some(value)))
        });
        let is_same = periods.last().is_some_and(|last| last.to.is_none() && timing(&last.spec) == timing(&spec));
        if is_same && !change.is_deleted() && !is_going {
            continue;
        }
        if let Some(last) = periods.last_mut().filter(|last| last.to.is_none()) {
            last.to = Some(change.at);
        }
        if !change.is_deleted() && !is_going {
            periods.push(Period { from: change.at, is_untimed, to: None, spec });
        }
    }
    found
}

/// What decides which times a schedule has.
fn timing(spec: &Value) -> [Option<&Value>; 6] {
    ["cron", "interval", "anchor", "at", "enabled", "timeZone"].map(|field| spec.get(field))
}

impl Period {
    fn is_enabled(&self) -> bool {
        self.spec.get("enabled") != Some(&Value::Bool(false))
    }

    /// Whether that is one of its times, and an operator may have taken it to be in force then: it never is before it began, and
    /// an operator sees its end late.
    fn was_seen_at(&self, at: Timestamp) -> bool {
        self.is_enabled()
            && at >= self.from - SignedDuration::from_secs(1)
            && self.to.is_none_or(|to| at <= to + VIEW)
            && self.times(at, at).contains(&at)
    }

    /// Whether that is one of its times, and it was in force then.
    fn has(&self, at: Timestamp, edge: SignedDuration) -> bool {
        self.is_enabled()
            && at >= self.from - edge
            && self.to.is_none_or(|to| at <= to + edge)
            && self.times(at, at).contains(&at)
    }

    /// Its times that surely are owed, up to a moment.
    fn owed(&self, until: Timestamp) -> Vec<Timestamp> {
        if !self.is_enabled() {
            return Vec::new();
        }
        let to = self.to.map_or(until, |to| (to - EDGE).min(until));
        let from = self.from + if self.is_untimed { VIEW } else { EDGE };
        self.times(from, to)
    }

    /// Its times from one moment to another, both included: of an interval with an anchor in whole seconds, and of `*/N * * * *`.
    fn times(&self, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
        let (first, step) = if let Some(interval) = self.spec.get("interval").and_then(Value::as_str) {
            let seconds: i64 = interval.trim_end_matches('s').parse().unwrap_or_default();
            (time(&self.spec, "/anchor").unwrap_or(self.from), seconds)
        } else {
            let minutes = text(&self.spec, "/cron")
                .strip_prefix("*/")
                .and_then(|rest| rest.split(' ').next()?.parse::<i64>().ok());
            // Only divisors of an hour are used, so that hours need not be told apart.
            (Timestamp::UNIX_EPOCH, minutes.unwrap_or_default() * 60)
        };
        if step <= 0 {
            return Vec::new();
        }
        let since = from.as_nanosecond() - first.as_nanosecond();
        let steps = since.div_euclid(i128::from(step) * 1_000_000_000)
            + i128::from(since.rem_euclid(i128::from(step) * 1_000_000_000) > 0);
        let begin = first + SignedDuration::from_secs(step * i64::try_from(steps.max(0)).unwrap_or_default());
        let all = std::iter::successors(Some(begin), |at| Some(*at + SignedDuration::from_secs(step)));
        all.take_while(|at| *at <= to).filter(|at| *at >= from).collect()
    }
}

/// The Jobs that were made for times of schedules; two for one time are a violation.
fn jobs<'a>(history: &'a History, found: &mut Vec<Violation>) -> BTreeMap<(String, Timestamp), &'a Value> {
    let mut jobs: BTreeMap<(String, Timestamp), &Value> = BTreeMap::new();
    for change in history.of("jobs.rota.dev").filter(|change| change.is_created() && is_of_operator(change)) {
        let job = change.object();
        let (Some(at), schedule) = (time(job, "/spec/scheduledTime"), text(job, "/spec/scheduleRef/uid")) else {
            continue;
        };
        if let Some(other) = jobs.insert((schedule.into(), at), job) {
            let names = [other, job].map(|job| text(job, "/metadata/name").to_owned());
            found.push(Violation {
                invariant: "I1",
                story: format!("{at} of schedule {schedule} has two Jobs: {names:?}"),
            });
        }
    }
    jobs
}

fn is_of_operator(change: &Change) -> bool {
    change.actor.starts_with("rota-")
}

/// A record of times that were skipped before a Job was made.
struct Skip {
    name: String,
    from: Timestamp,
    to: Timestamp,
}

impl Skip {
    fn covers(&self, at: Timestamp) -> bool {
        self.from <= at && at <= self.to
    }
}

fn skips(history: &History) -> BTreeMap<String, Vec<Skip>> {
    let mut found: BTreeMap<String, Vec<Skip>> = BTreeMap::new();
    for change in history.of("jobruns.rota.dev").filter(|change| change.is_created()) {
        let record = change.object();
        if number(record, "/spec/attempt") != Some(0) {
            continue;
        }
        let Some(from) = time(record, "/spec/scheduledTime") else { continue };
        let to = time(record, "/status/lastScheduledTime").unwrap_or(from);
        let skip = Skip { name: text(record, "/metadata/name").into(), from, to };
        found.entry(text(record, "/spec/scheduleRef/uid").into()).or_default().push(skip);
    }
    found
}
