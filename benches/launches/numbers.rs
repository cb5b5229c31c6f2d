//! What many measurements come to.

use jiff::Timestamp;
use serde::Serialize;

/// A distribution, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub count: usize,
    pub first: f64,
    pub p50: f64,
    pub p99: f64,
    pub last: f64,
}

impl Spread {
    /// Of at least one value, in milliseconds.
    pub fn of(mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "nothing was measured");
        values.sort_by(f64::total_cmp);
        let rank = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
        Self { count: values.len(), first: values[0], p50: rank(50), p99: rank(99), last: rank(100) }
    }
}

/// From one instant to another, in milliseconds.
pub fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    (to.as_microsecond() - from.as_microsecond()) as f64 / 1000.0
}
