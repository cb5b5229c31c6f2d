//! Preview: the times of a timing as people read them, with what a change of the clock does to each.

use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneTransition};
use jiff::{SignedDuration, Timestamp};

use crate::api::TimingSpec;
use crate::domain::calendar::{DaylightSaving, Timing, TimingError, find_zone};

/// The smallest distance of two instants.
const TICK: SignedDuration = SignedDuration::from_nanos(1);

/// A timing, and the zone in which its times are shown.
#[derive(Clone, Debug)]
pub struct Preview {
    timing: Timing,
    /// The same times on a clock that never changes; absent for what is no expression.
    wall: Option<Timing>,
    zone: TimeZone,
    start: Option<Timestamp>,
    jitter: SignedDuration,
}

/// One time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upcoming {
    /// It runs.
    Run {
        /// The time itself.
        time: Timestamp,
        /// When it starts: put off by its jitter.
        starts: Timestamp,
        /// What a change of the clock does to it.
        note: String,
    },
    /// The clock jumps over it, and it does not run.
    Skipped {
        /// The moment of the jump.
        at: Timestamp,
        /// What the clock would show.
        wall: DateTime,
        /// What happens.
        note: String,
    },
}

impl Preview {
    /// Reads a timing. What is not an expression has no zone of its own and is shown in this one.
    pub fn new(spec: &TimingSpec, seed: &str, shown_in: Option<&str>) -> Result<Self, TimingError> {
        let timing = Timing::parse(spec, seed)?;
        let wall = spec.cron.as_ref().map(|cron| {
            let plain = TimingSpec { cron: Some(cron.clone()), ..TimingSpec::default() };
            Timing::parse(&plain, seed)
        });
        let zone = if spec.cron.is_some() { spec.time_zone.as_deref() } else { shown_in };
        Ok(Self {
            timing,
            wall: wall.transpose()?,
            zone: find_zone(zone)?,
            start: spec.start_time.as_ref().map(|time| time.0),
            jitter: SignedDuration::from_secs(i64::from(spec.jitter_seconds.unwrap_or_default())),
        })
    }

    /// The timing in one line.
    pub fn describe(&self) -> String {
        self.timing.describe()
    }

    /// A text that differs if and only if the times differ.
    pub fn digest(&self) -> String {
        self.timing.digest()
    }

    /// The first times that start at `from` or later, at most so many, and what is jumped over before the last of them.
    pub fn upcoming(&self, from: Timestamp, count: usize) -> Vec<Upcoming> {
        let first = earlier(from, self.jitter);
        let mut at = earlier(self.start.map_or(first, |start| first.max(start)), TICK);
        let mut changes = self.zone.following(at.max(earlier(from, TICK))).peekable();
        let mut found = Vec::new();
        let mut runs = 0;
        while runs < count
            && let Some(time) = self.timing.next_after(at)
        {
            at = time;
            let starts = self.timing.fires_at(time);
            if starts < from {
                continue;
            }
            let effect = self.timing.daylight_saving(time);
            while let Some(change) = changes.next_if(|change| change.timestamp() <= time) {
                let runs_then = change.timestamp() == time && effect == Some(DaylightSaving::Moved);
                if !runs_then {
                    found.extend(self.jumped_over(&change));
                }
            }
            found.push(Upcoming::Run { time, starts, note: self.note(time, effect) });
            runs += 1;
        }
        found
    }

    /// An instant as RFC 3339 with the zone's offset.
    pub fn rfc3339(&self, time: Timestamp) -> String {
        if self.zone == TimeZone::UTC {
            return time.to_string();
        }
        time.display_with_offset(self.zone.to_offset(time)).to_string()
    }

    /// An instant as people read it, with the weekday and the zone's offset.
    pub fn local(&self, time: Timestamp) -> String {
        time.to_zoned(self.zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S%.f %:z").to_string()
    }

    fn note(&self, time: Timestamp, effect: Option<DaylightSaving>) -> String {
        let wall = self.zone.to_datetime(time);
        match effect {
            None => String::new(),
            Some(DaylightSaving::Moved) => {
                let until = self.zone.to_offset(earlier(time, TICK)).to_datetime(time);
                let meant = self.wall_time_from(until).unwrap_or(until);
                format!("clock jumps over {}: runs at {}", clock(meant), clock(wall))
            }
            Some(DaylightSaving::Skipped) => format!("clock jumps over {}: does not run", clock(wall)),
            Some(DaylightSaving::FirstPass) => format!("first pass of {}", clock(wall)),
            Some(DaylightSaving::SecondPass) => format!("second pass of {}", clock(wall)),
        }
    }

    /// The first time that a change jumps over, if it does.
    fn jumped_over(&self, change: &TimeZoneTransition<'_>) -> Option<Upcoming> {
        let at = change.timestamp();
        let until = self.zone.to_offset(earlier(at, TICK)).to_datetime(at);
        let resumes = change.offset().to_datetime(at);
        let wall = self.wall_time_from(until).filter(|wall| *wall < resumes)?;
        Some(Upcoming::Skipped { at, wall, note: format!("clock jumps over {}: does not run", clock(wall)) })
    }

    /// The first time on the wall from this one on, if the clock never changed.
    fn wall_time_from(&self, wall: DateTime) -> Option<DateTime> {
        let as_utc = TimeZone::UTC.to_timestamp(wall).ok()?;
        Some(TimeZone::UTC.to_datetime(self.wall.as_ref()?.next_after(earlier(as_utc, TICK))?))
    }
}

/// A time on the wall without its day.
fn clock(wall: DateTime) -> String {
    let format = if wall.second() == 0 { "%H:%M" } else { "%H:%M:%S" };
    wall.strftime(format).to_string()
}

fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}
