//! Spread: the numbers that set schedules apart from one another, the same in every build and on every machine.
//!
//! They are made of the schedule's uid, so that a thousand schedules with one expression do not start in one second, and
//! that each of them keeps its own times through restarts. Changing anything here moves the times of every schedule that
//! uses `H` or jitter; the golden tests say so.

use jiff::Timestamp;

use crate::domain::names::number;

/// What `H` stands for in a field of a schedule: a number to be taken modulo the size of the range.
pub(super) fn field_number(seed: &str, field: &str) -> u64 {
    number(&format!("{seed}/{field}"))
}

/// By how many milliseconds, below `below`, the run of a time is put off.
pub(super) fn jitter_ms(seed: &str, nominal: Timestamp, below: i64) -> i64 {
    let below = u64::try_from(below).unwrap_or_default().max(1);
    i64::try_from(number(&format!("{seed}/{}", nominal.as_microsecond())) % below).unwrap_or_default()
}
