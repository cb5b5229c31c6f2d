//! The times of a record, which three clocks tell: the operator's (queuedAt, and when it is recorded), the control plane's and
//! the node's. The last two count whole seconds.

use jiff::Timestamp;

/// When an attempt started and ended, such that it started after it was queued, ended after that, and had ended when it is
/// recorded. Times of a clock that is ahead or behind, or that were rounded down, are moved together, so that the time
/// between them stays what it was.
pub(super) fn in_order(
    queued: Timestamp,
    started: Option<Timestamp>,
    ended: Timestamp,
    now: Timestamp,
) -> (Option<Timestamp>, Timestamp) {
    let now = now.max(queued);
    let Some(started) = started else { return (None, ended.clamp(queued, now)) };
    let ran = ended.duration_since(started).max(jiff::SignedDuration::ZERO);
    let latest = now.saturating_sub(ran).unwrap_or(started);
    let started = started.min(latest).max(queued);
    let ended = started.saturating_add(ran).map_or(now, |ended| ended.min(now));
    (Some(started), ended)
}

#[cfg(test)]
mod tests;
