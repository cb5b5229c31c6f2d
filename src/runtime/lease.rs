//! Lease: which of several replicas acts.
//!
//! The rules are those of Kubernetes' own components: a holder that was not seen to renew for the lease's duration, by
//! the local clock, may be replaced, with the resourceVersion as the only arbiter. A lease does not exclude an old holder
//! that was paused: every write checks [`Leadership`] just before it is sent, and each Queue carries the epoch of the
//! leader that admits. The epoch is the lease's number of transitions, and at least one more than any that a Queue carries: a
//! Lease can be deleted, restored, or left behind in another namespace.
//!
//! A lease that is gone says nothing about its holder. Its holder makes it again at once; everybody else first waits for as long as
//! one that was renewed a moment before would have lasted.
//!
//! All waiting is by the monotonic clock, so it does not matter which time it is. The wall clock only ever adds caution:
//! it goes on while a machine is suspended and the monotonic one stands still, and how far ahead a predecessor's was says
//! up to when it may have recorded something.

mod election;
mod elector;
mod sealing;

pub use election::{Election, Terms};

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::clock::now;
use crate::domain::seal::Seal;

/// Name of the Lease.
pub const LEASE_NAME: &str = "rota";
/// The highest epoch that is believed. What is above it, or below 0, somebody wrote by hand: it is no leader's, and is overwritten.
const EPOCH_MAX: i64 = 1 << 30;

/// What went wrong with the lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The API server did not do as asked.
    #[error("failed to write the lease")]
    Api(#[from] kube::Error),
    /// The API server did not answer in time.
    #[error("failed to write the lease: no answer in time")]
    Timeout,
    /// The thread of the lease cannot be started.
    #[error("failed to start the thread of the lease")]
    Thread(#[from] std::io::Error),
    /// It could not be renewed for too long, or somebody else took it.
    #[error("the lease was lost: {0}")]
    Lost(String),
}

/// What leaders of before have left in the cluster, as far as it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// The highest epoch that a Queue carries.
    pub epoch: i64,
    /// Whether anything says that somebody has led.
    pub any: bool,
}

impl Traces {
    /// The same, and a Queue with that epoch.
    pub fn with_epoch(self, epoch: i64) -> Self {
        let epoch = believed(epoch);
        Self { epoch: self.epoch.max(epoch), any: self.any || epoch > 0 }
    }
}

/// An epoch that a leader may have had, else 0.
fn believed(epoch: i64) -> i64 {
    if (0..=EPOCH_MAX).contains(&epoch) { epoch } else { 0 }
}

/// Whether this process may write, checked before each write.
#[derive(Clone)]
pub struct Leadership {
    inner: Arc<Inner>,
}

struct Inner {
    started: Instant,
    /// Until when the lease holds, in milliseconds since `started`; 0: it does not.
    valid_until_ms: AtomicU64,
    /// The same by the wall clock, in milliseconds since 1970.
    wall_until_ms: AtomicI64,
    epoch: AtomicI64,
    /// How long the lease lasts without a renewal, in milliseconds.
    lasts_ms: AtomicU64,
    /// The least epoch that this leader needs, so that no Queue carries a higher one.
    wanted: AtomicI64,
    /// Tells the thread of the lease that it is higher than the one it has.
    outranked: Notify,
    seal: Mutex<Seal>,
}

impl Default for Leadership {
    fn default() -> Self {
        let inner = Inner {
            started: Instant::now(),
            valid_until_ms: AtomicU64::new(0),
            wall_until_ms: AtomicI64::new(0),
            epoch: AtomicI64::new(0),
            lasts_ms: AtomicU64::new(0),
            wanted: AtomicI64::new(0),
            outranked: Notify::new(),
            seal: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Leadership {
    /// Whether the lease holds at this moment, by the monotonic clock and by the wall clock too: when a suspended machine
    /// wakes, only that one knows. A wall clock that is set ahead pauses writes until the next renewal, one that is set
    /// back changes nothing.
    pub fn is_leader(&self) -> bool {
        self.holds_at(Instant::now(), now())
    }

    fn holds_at(&self, instant: Instant, wall: Timestamp) -> bool {
        let elapsed = instant.saturating_duration_since(self.inner.started).as_millis();
        u64::try_from(elapsed).unwrap_or(u64::MAX) < self.inner.valid_until_ms.load(Ordering::Acquire)
            && wall.as_millisecond() < self.inner.wall_until_ms.load(Ordering::Acquire)
    }

    /// The number of this leader; each new one has a higher one.
    pub fn epoch(&self) -> i64 {
        self.inner.epoch.load(Ordering::Acquire)
    }

    /// How long the lease lasts without a renewal.
    pub fn lasts(&self) -> Duration {
        Duration::from_millis(self.inner.lasts_ms.load(Ordering::Acquire))
    }

    /// Whether a Queue with that epoch was written by a leader that came after this one, as far as one can tell.
    pub fn is_outranked_by(&self, epoch: i64) -> bool {
        believed(epoch) > self.epoch()
    }

    /// Asks for an epoch above that one. It is had as soon as the lease, which only its holder can renew, says so.
    pub fn outrank(&self, epoch: i64) {
        self.want(believed(epoch) + 1);
        self.inner.outranked.notify_one();
    }

    /// Waits until a higher epoch is wanted than the lease says.
    async fn is_outranked(&self) {
        while self.wanted_epoch() <= self.epoch() {
            self.inner.outranked.notified().await;
        }
    }

    /// Makes that the least epoch that this leader has.
    fn want(&self, epoch: i64) {
        self.inner.wanted.fetch_max(epoch, Ordering::AcqRel);
    }

    /// The epoch that the lease should say.
    fn wanted_epoch(&self) -> i64 {
        self.epoch().max(self.inner.wanted.load(Ordering::Acquire))
    }

    /// What this leader seals its records with, as the leaders before it did.
    pub fn seal(&self) -> Seal {
        self.inner.seal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn seal_with(&self, seal: Seal) {
        *self.inner.seal.lock().unwrap_or_else(PoisonError::into_inner) = seal;
    }

    fn hold(&self, (from, wall): Moment, duration: Duration, epoch: i64) {
        self.inner.epoch.store(epoch, Ordering::Release);
        let lasts = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        self.inner.lasts_ms.store(lasts.unsigned_abs(), Ordering::Release);
        self.inner.wall_until_ms.store(wall.as_millisecond().saturating_add(lasts), Ordering::Release);
        let until = from.saturating_duration_since(self.inner.started) + duration;
        self.inner.valid_until_ms.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn drop_hold(&self) {
        self.inner.valid_until_ms.store(0, Ordering::Release);
    }
}

/// What is known of whoever led before, when the lease is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquired {
    /// Up to when another process may have written, by the clock of whichever of the two is ahead.
    pub may_have_written_until: Timestamp,
    /// When the previous holder last renewed the lease, by its own clock; absent: nobody is known to have held it.
    pub predecessor_renewed_at: Option<Timestamp>,
}

/// A moment by both clocks.
type Moment = (Instant, Timestamp);

fn moment() -> Moment {
    (Instant::now(), now())
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const LASTS: Duration = Duration::from_secs(15);

    #[test]
    fn the_lease_holds_until_either_clock_says_that_it_has_expired() {
        let leadership = Leadership::default();
        let (from, wall) = moment();
        assert!(!leadership.holds_at(from, wall), "nobody has taken it");
        leadership.hold((from, wall), LASTS, 1);
        let holds = |monotonic_seconds: u64, wall_seconds: i64| {
            leadership
                .holds_at(from + Duration::from_secs(monotonic_seconds), wall + SignedDuration::from_secs(wall_seconds))
        };
        assert!(holds(14, 14));
        assert!(!holds(15, 14));
        assert!(!holds(1, 8 * 3_600), "the machine was suspended");
        assert!(holds(14, -3_600), "the clock was set back");
        assert!(!holds(15, -3_600), "a clock that was set back does not make it last");
    }

    #[test]
    fn an_epoch_that_no_leader_can_have_had_outranks_nobody() {
        let leadership = Leadership::default();
        leadership.hold(moment(), LASTS, 7);
        assert!(leadership.is_outranked_by(8) && leadership.is_outranked_by(EPOCH_MAX));
        for epoch in [7, 0, -1, i64::MIN, EPOCH_MAX + 1, i64::MAX] {
            assert!(!leadership.is_outranked_by(epoch), "{epoch}");
        }
        let traces = [3, i64::MAX, -5].into_iter().fold(Traces::default(), Traces::with_epoch);
        assert_eq!(traces, Traces { epoch: 3, any: true });
        assert_eq!(Traces::default().with_epoch(0), Traces::default());
    }
}
