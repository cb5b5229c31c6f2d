//! Position: a place among Jobs of the same priority.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many digits a position has after the point.
const DIGITS: usize = 18;
/// One second, in the units that positions are counted in.
const SECOND: i128 = 1_000_000_000_000_000_000;
/// One nanosecond, in the same units.
const NANOSECOND: i128 = 1_000_000_000;

/// A place among Jobs of the same priority: a number, where lower goes first.
///
/// It lies on the same line as time, in seconds since 1970: a Job that was given none has the position of the instant at
/// which it was queued. So there is room between any two Jobs, and moving one writes to that one only. It is kept as a
/// decimal number with 18 digits after the point, which leaves room for 40 moves between two Jobs of neighbouring
/// microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(i128);

/// A text that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no position: write a number with at most 18 digits before and 18 after the point")]
pub struct PositionError(String);

impl Position {
    /// The position of a Job that was queued at that instant and never moved.
    pub fn at(instant: Timestamp) -> Self {
        Self(instant.as_nanosecond().saturating_mul(NANOSECOND))
    }

    /// A position between two others that is short to write; absent when there is no room.
    pub fn between(lower: Self, upper: Self) -> Option<Self> {
        let mut unit = SECOND;
        while unit > 0 {
            // The multiple of the unit that lies closest to the middle, if one lies strictly between.
            let middle = lower.0 + (upper.0 - lower.0) / 2;
            let candidates = [middle.div_euclid(unit) * unit, (middle.div_euclid(unit) + 1) * unit];
            if let Some(found) = candidates.into_iter().find(|it| lower.0 < *it && *it < upper.0) {
                return Some(Self(found));
            }
            unit /= 10;
        }
        None
    }

    /// The position one second before this one.
    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(SECOND))
    }

    /// The position one second after this one.
    pub fn after(self) -> Self {
        Self(self.0.saturating_add(SECOND))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let second = SECOND.unsigned_abs();
        let (whole, fraction) = (self.0.unsigned_abs() / second, self.0.unsigned_abs() % second);
        if fraction == 0 {
            return write!(formatter, "{sign}{whole}");
        }
        let digits = format!("{fraction:0DIGITS$}");
        write!(formatter, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let wrong = || PositionError(text.to_owned());
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |part: &str| (1..=DIGITS).contains(&part.len()) && part.bytes().all(|it| it.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return Err(wrong());
        }
        let whole: i128 = whole.parse().map_err(|_| wrong())?;
        let fraction: i128 = format!("{fraction:0<DIGITS$}").parse().map_err(|_| wrong())?;
        Ok(Self(sign * (whole * SECOND + fraction)))
    }
}

impl From<i64> for Position {
    fn from(seconds: i64) -> Self {
        Self(i128::from(seconds) * SECOND)
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(self.0 / SECOND) {
            Ok(whole) if self.0 % SECOND == 0 => serializer.serialize_i64(whole),
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Whole(i64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Whole(seconds) => Ok(seconds.into()),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

impl JsonSchema for Position {
    fn schema_name() -> Cow<'static, str> {
        "Position".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 38,
            "pattern": r"^-?[0-9]{1,18}(\.[0-9]{1,18})?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> Position {
        text.parse().unwrap()
    }

    #[test]
    fn whole_numbers_are_written_as_numbers_and_others_as_text() {
        for (json, text) in [("-1", "-1"), ("0", "0"), ("\"1795512345.5\"", "1795512345.5"), ("\"-0.25\"", "-0.25")] {
            let read: Position = serde_json::from_str(json).unwrap();
            assert_eq!((serde_json::to_string(&read).unwrap(), read.to_string()), (json.to_owned(), text.to_owned()));
        }
        assert_eq!(serde_json::from_str::<Position>("\"7.000\"").unwrap(), Position::from(7));
        for wrong in ["", "-", "1.", ".5", "1e3", "+1", " 1", "1234567890123456789", "0.1234567890123456789"] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_job_that_was_not_moved_stands_where_it_was_queued() {
        let queued: Timestamp = "2026-03-01T00:00:00.000001Z".parse().unwrap();
        assert_eq!(Position::at(queued).to_string(), "1772323200.000001");
        assert!(Position::from(-1) < Position::at(queued));
    }

    #[test]
    fn there_is_room_between_neighbouring_microseconds_for_many_moves_to_either_side() {
        let (first, second) = (position("1772323200.000001"), position("1772323200.000002"));
        for towards_first in [true, false] {
            let (mut lower, mut upper) = (first, second);
            let mut moves = 0;
            while let Some(middle) = Position::between(lower, upper) {
                assert!(lower < middle && middle < upper);
                assert_eq!(middle.to_string().parse(), Ok(middle));
                if towards_first {
                    upper = middle
                } else {
                    lower = middle
                }
                moves += 1;
            }
            assert!(moves >= 12, "{moves}");
        }
        assert_eq!(Position::between(position("1.2"), position("3.9")), Some(position("2")));
        assert_eq!(Position::between(first, first), None);
    }
}
