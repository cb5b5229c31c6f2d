//! Clock: the only place where the time is read.

use jiff::Timestamp;

/// The time now, from the machine's clock.
#[allow(clippy::disallowed_methods)] // This is the one place that may.
pub fn now() -> Timestamp {
    Timestamp::now()
}
