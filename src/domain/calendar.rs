//! Calendar: at which instants a schedule's timing comes true.
//!
//! Cron is read as crontab(5) does, in a zone of the database that is built in, and daylight saving is treated as cron(8)
//! does unless the schedule says otherwise. A fixed time (neither minute nor hour begins with `*` or `H/`) runs once a
//! day: one that the clock jumps over runs at the moment of the jump, one that comes twice runs the first time. A time
//! with a wildcard follows the clock: what is jumped over does not exist, what comes twice runs twice. An interval is
//! elapsed time from an anchor. Jitter puts a run off, and never its time. Nothing here knows what is done about an
//! instant.
//!
//! `expression.rs` and `days.rs` say which times on the wall are meant, `zones.rs` which instants these are,
//! `intervals.rs` counts elapsed time, and `spread.rs` tells one schedule's `H` and jitter from another's.

mod days;
mod expression;
mod intervals;
mod spread;
pub mod steps;
mod zones;

use std::collections::VecDeque;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::api::schedule::TimingSpec;
use expression::Expression;
use intervals::{Interval, Numbers};
use zones::Clock;
pub use zones::{DaylightSaving, find_zone, zone_database_version};

/// The smallest distance of two instants.
const TICK: SignedDuration = SignedDuration::from_nanos(1);
/// The year 9000, of which objects cannot carry a time any more.
const END: Timestamp = Timestamp::constant(221_845_392_000, 0);

/// When a schedule's times are, and by how much each of its runs is put off.
#[derive(Clone, Debug)]
pub struct Timing {
    times: Times,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    jitter_ms: i64,
    seed: String,
}

/// Where the times come from.
#[derive(Clone, Debug)]
enum Times {
    /// The times of a crontab expression.
    Cron { expression: Box<Expression>, clock: Clock },
    /// Equal distances from an anchor.
    Interval(Interval),
    /// One instant.
    At(Timestamp),
}

/// What is wrong with a timing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct TimingError {
    /// The field to correct.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// The times that are due in a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The last ones, in order; none if there are more.
    pub times: Vec<Timestamp>,
    /// How many there are before those, or in this first part of the range if there are more.
    pub skipped: u64,
    /// The first one of the range, which is among the skipped if any were.
    pub first: Option<Timestamp>,
    /// The last of the skipped ones.
    pub last_skipped: Option<Timestamp>,
    /// Whether there were too many to look at: the skipped ones are only the first, and the caller comes again for those
    /// after the last of them.
    pub more: bool,
}

impl Timing {
    /// Reads the timing of the schedule with that seed, which is its uid: it chooses what `H` stands for, and the jitter.
    pub fn parse(spec: &TimingSpec, seed: &str) -> Result<Self, TimingError> {
        let instant = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>| {
            time.as_ref().map(|time| microseconds(time.0))
        };
        let times = match (&spec.cron, &spec.interval, instant(&spec.at)) {
            (Some(cron), None, None) => {
                let expression = Expression::parse(cron, seed).map_err(|why| error("spec.cron", why))?;
                let dst = spec.dst.unwrap_or_default();
                let (gap, overlap) = (dst.gap.unwrap_or_default(), dst.overlap.unwrap_or_default());
                let clock = Clock::new(spec.time_zone.as_deref(), expression.is_fixed, gap, overlap)?;
                Times::Cron { expression: Box::new(expression), clock }
            }
            (None, Some(interval), None) => {
                Times::Interval(Interval::parse(interval, instant(&spec.anchor).unwrap_or_default())?)
            }
            (None, None, Some(at)) => Times::At(at),
            _ => return Err(error("spec", "exactly one of cron, interval and at must be set")),
        };
        let (start, end) = (instant(&spec.start_time), instant(&spec.end_time));
        if let (Some(start), Some(end)) = (start, end)
            && start >= end
        {
            return Err(error("spec.endTime", "must be after startTime"));
        }
        let jitter_ms = spec.jitter_seconds.map_or(0, |seconds| i64::from(seconds.max(0)) * 1_000);
        Ok(Self { times, start, end, jitter_ms, seed: seed.to_owned() })
    }

    /// The first nominal time after `t`, from startTime on and before endTime; absent if none comes any more.
    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        let next = self.any_after(self.start.map_or(t, |start| t.max(just_before(start))))?;
        self.end.is_none_or(|end| next < end).then_some(next)
    }

    /// When a nominal time runs: put off by its jitter, in whole milliseconds, and before the next nominal time.
    pub fn fires_at(&self, nominal: Timestamp) -> Timestamp {
        if self.jitter_ms == 0 {
            return nominal;
        }
        let distance = self.any_after(nominal).map(|next| next.duration_since(nominal).as_millis());
        let distance = distance.and_then(|distance| i64::try_from(distance).ok()).unwrap_or(i64::MAX);
        let jitter = spread::jitter_ms(&self.seed, nominal, self.jitter_ms.min(distance));
        nominal.checked_add(SignedDuration::from_millis(jitter)).unwrap_or(nominal)
    }

    /// The nominal times after `after` that have run by `now`: the last `keep` of them, and how many came before. If
    /// there are more than `scan_max`, only the first half of that many is counted, and none is kept; those of an
    /// interval are counted at once, however many there are.
    pub fn due(&self, after: Timestamp, now: Timestamp, keep: usize, scan_max: u64) -> Due {
        self.due_until(after, now, now, keep, scan_max)
    }

    /// The same of the nominal times up to `until`.
    pub fn due_until(&self, after: Timestamp, until: Timestamp, now: Timestamp, keep: usize, scan_max: u64) -> Due {
        let after = self.start.map_or(after, |start| after.max(just_before(start)));
        let until = self.end.map_or(until, |end| until.min(just_before(end)));
        match &self.times {
            Times::Interval(interval) => {
                let mut numbers = interval.numbers(after, until);
                let last = interval.time(numbers.last).filter(|_| numbers.first <= numbers.last);
                if last.is_some_and(|last| !self.has_fired(last, now)) {
                    numbers.last -= 1;
                }
                due_intervals(interval, numbers, keep)
            }
            Times::Cron { .. } | Times::At(_) => self.scan(after, (until, now), keep, scan_max),
        }
    }

    /// The timing in one line, for people.
    pub fn describe(&self) -> String {
        match &self.times {
            Times::Cron { expression, clock } => format!("{} {}", expression.text, clock.name()),
            Times::Interval(interval) => format!("every {}", interval.text()),
            Times::At(instant) => format!("once at {instant}"),
        }
    }

    /// An instant as RFC 3339 with the offset of the schedule's zone.
    pub fn local(&self, t: Timestamp) -> String {
        match &self.times {
            Times::Cron { clock, .. } => clock.local(t),
            Times::Interval(_) | Times::At(_) => t.to_string(),
        }
    }

    /// What a change of the clock does to a nominal time, if it does anything.
    pub fn daylight_saving(&self, nominal: Timestamp) -> Option<DaylightSaving> {
        match &self.times {
            Times::Cron { expression, clock } => clock.effect(expression, nominal),
            Times::Interval(_) | Times::At(_) => None,
        }
    }

    /// The first nominal time after `after` that a change of the clock affects, or the moment of a change that lets one
    /// be skipped. It is looked for among the changes of about five years.
    pub fn next_affected(&self, after: Timestamp) -> Option<(Timestamp, DaylightSaving)> {
        let Times::Cron { expression, clock } = &self.times else { return None };
        let after = self.start.map_or(after, |start| after.max(just_before(start)));
        clock.next_affected(expression, after).filter(|(time, _)| self.end.is_none_or(|end| *time < end))
    }

    /// The first time after `t`, whatever startTime and endTime say.
    fn any_after(&self, t: Timestamp) -> Option<Timestamp> {
        let next = match &self.times {
            Times::Cron { expression, clock } => clock.next_after(expression, t),
            Times::Interval(interval) => interval.next_after(t),
            Times::At(instant) => (*instant > t).then_some(*instant),
        };
        next.filter(|next| *next < END)
    }

    /// Whether a time that has come has also run; only the last one may not have.
    fn has_fired(&self, nominal: Timestamp, now: Timestamp) -> bool {
        let waited = now.duration_since(nominal);
        waited >= SignedDuration::from_millis(self.jitter_ms) || self.fires_at(nominal) <= now
    }

    /// Goes through the times up to the first one of the pair, of which those count that have run at the second one.
    fn scan(&self, after: Timestamp, (until, now): (Timestamp, Timestamp), keep: usize, scan_max: u64) -> Due {
        let part = (scan_max / 2).max(1);
        let mut due = Due::default();
        let mut kept = VecDeque::new();
        let mut last_of_part = None;
        let mut count = 0;
        let mut at = after;
        while let Some(time) = self.any_after(at).filter(|time| *time <= until && self.has_fired(*time, now)) {
            count += 1;
            due.first.get_or_insert(time);
            if count == part {
                last_of_part = Some(time);
            }
            if count > scan_max.max(part) {
                return Due { first: due.first, skipped: part, last_skipped: last_of_part, times: vec![], more: true };
            }
            kept.push_back(time);
            if kept.len() > keep {
                due.last_skipped = kept.pop_front();
                due.skipped += 1;
            }
            at = time;
        }
        due.times = kept.into();
        due
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.describe())
    }
}

fn due_intervals(interval: &Interval, Numbers { first, last }: Numbers, keep: usize) -> Due {
    if last < first {
        return Due::default();
    }
    let kept = i128::try_from(keep).unwrap_or(i128::MAX).min(last - first + 1);
    let skipped = last - first + 1 - kept;
    Due {
        times: (first + skipped..=last).filter_map(|number| interval.time(number)).collect(),
        skipped: u64::try_from(skipped).unwrap_or(u64::MAX),
        first: interval.time(first),
        last_skipped: (skipped > 0).then(|| interval.time(first + skipped - 1)).flatten(),
        more: false,
    }
}

fn error(field: &'static str, message: impl Into<String>) -> TimingError {
    TimingError { field, message: message.into() }
}

fn just_before(t: Timestamp) -> Timestamp {
    t.checked_sub(TICK).unwrap_or(Timestamp::MIN)
}

/// An instant as objects carry it, so that what is written as accounted for is not due again when it is read back.
fn microseconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(instant.as_microsecond()).unwrap_or(instant)
}

#[cfg(test)]
mod tests;
