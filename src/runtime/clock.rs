//! Clock: the only place where the time is read.

use std::sync::OnceLock;

use jiff::Timestamp;

/// Where the time comes from.
type Source = fn() -> Timestamp;

static SOURCE: OnceLock<Source> = OnceLock::new();

/// The time now: from the machine's clock, unless another source was set.
#[allow(clippy::disallowed_methods)] // This is the one place that may.
pub fn now() -> Timestamp {
    SOURCE.get().map_or_else(Timestamp::now, |source| source())
}

/// Sets where this process reads the time, before it does so for the first time. A simulation has a time of its own.
pub fn set_source(source: Source) {
    // The first one counts.
    let _ = SOURCE.set(source);
}
