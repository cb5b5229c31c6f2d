//! Intervals: equal distances of elapsed time from an anchor. No zone and no change of a clock has a part in them.

use jiff::{SignedDuration, Timestamp};

use super::{TimingError, error};

/// The shortest interval, in seconds.
const INTERVAL_SECONDS_MIN: i64 = 1;

/// The times at an anchor and at each whole distance after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    /// The distance; at least a second.
    every: SignedDuration,
    /// The first time.
    anchor: Timestamp,
}

/// Times of an interval that follow one another, by number: the anchor is number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// The first one.
    pub first: i128,
    /// The last one; before the first one if there is none.
    pub last: i128,
}

impl Interval {
    /// Reads hours, minutes and seconds, in this order, such as `1h30m`.
    pub fn parse(text: &str, anchor: Timestamp) -> Result<Self, TimingError> {
        let wrong = || {
            let message = format!("{text:?} must be hours, minutes and seconds, for example 90s, 15m or 1h30m");
            error("spec.interval", message)
        };
        let mut rest = text;
        let mut seconds = 0;
        for (unit, unit_seconds, digits_max) in [('h', 3_600, 6), ('m', 60, 6), ('s', 1, 8)] {
            let Some((number, after)) = rest.split_once(unit) else { continue };
            if number.is_empty() || number.len() > digits_max || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(wrong());
            }
            seconds += number.parse::<i64>().map_err(|_| wrong())? * unit_seconds;
            rest = after;
        }
        if text.is_empty() || !rest.is_empty() {
            return Err(wrong());
        }
        if seconds < INTERVAL_SECONDS_MIN {
            return Err(error("spec.interval", format!("{text:?} must be at least one second")));
        }
        Ok(Self { every: SignedDuration::from_secs(seconds), anchor })
    }

    /// The first time after `t`.
    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        self.time(self.number_until(t) + 1)
    }

    /// The times after `after` up to and including `until`.
    pub fn numbers(&self, after: Timestamp, until: Timestamp) -> Numbers {
        Numbers { first: self.number_until(after) + 1, last: self.number_until(until) }
    }

    /// The time of that number.
    pub fn time(&self, number: i128) -> Option<Timestamp> {
        Timestamp::from_nanosecond(self.anchor.as_nanosecond() + self.every.as_nanos() * number).ok()
    }

    /// The distance as people write it.
    pub fn text(&self) -> String {
        let seconds = self.every.as_secs();
        let parts = [(seconds / 3_600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect()
    }

    /// The number of the last time up to and including `t`; -1 before the anchor.
    fn number_until(&self, t: Timestamp) -> i128 {
        let elapsed = t.as_nanosecond() - self.anchor.as_nanosecond();
        if elapsed < 0 { -1 } else { elapsed / self.every.as_nanos().max(1) }
    }
}
