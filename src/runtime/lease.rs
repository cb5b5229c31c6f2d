//! Lease: which of several replicas acts.
//!
//! The rules are those of Kubernetes' own components: a holder that was not seen to renew for the lease's duration, by
//! the local clock, may be replaced, with the resourceVersion as the only arbiter. A lease does not exclude an old holder
//! that was paused: every write checks [`Leadership`] just before it is sent, and each Queue carries the epoch of the
//! leader that admits, which this module hands out from the lease's number of transitions.
//!
//! All waiting is by the monotonic clock, so it does not matter which time it is. The wall clock only ever adds caution:
//! it goes on while a machine is suspended and the monotonic one stands still, and how far ahead a predecessor's was says
//! up to when it may have recorded something.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::time::{Instant, timeout};

use super::clock::now;

/// Name of the Lease.
pub const LEASE_NAME: &str = "rota";
/// How long one request about the lease may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before trying again to take a lease after an error.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// What went wrong with the lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The API server did not do as asked.
    #[error("failed to write the lease")]
    Api(#[from] kube::Error),
    /// The API server did not answer in time.
    #[error("failed to write the lease: no answer in time")]
    Timeout,
    /// It could not be renewed for too long, or somebody else took it.
    #[error("the lease was lost: {0}")]
    Lost(String),
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
}

impl Default for Leadership {
    fn default() -> Self {
        let inner = Inner {
            started: Instant::now(),
            valid_until_ms: AtomicU64::new(0),
            wall_until_ms: AtomicI64::new(0),
            epoch: AtomicI64::new(0),
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

    fn hold(&self, (from, wall): Moment, duration: Duration, epoch: i64) {
        self.inner.epoch.store(epoch, Ordering::Release);
        let lasts = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
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

/// One replica's hand on the lease.
pub struct Elector {
    api: Api<Lease>,
    identity: String,
    duration: Duration,
    leadership: Leadership,
}

impl Elector {
    /// An elector for the lease in `namespace`. `identity` must be unique among live processes.
    pub fn new(client: Client, namespace: &str, identity: String, duration: Duration, leadership: Leadership) -> Self {
        Self { api: Api::namespaced(client, namespace), identity, duration, leadership }
    }

    /// Waits until this replica holds the lease.
    pub async fn acquire(&self) -> Acquired {
        let mut changes =
            watcher(self.api.clone(), watcher::Config::default().fields(&format!("metadata.name={LEASE_NAME}")))
                .default_backoff()
                .boxed();
        let mut seen: Option<(Option<String>, Instant)> = None;
        loop {
            let wait = match self.try_acquire(&mut seen).await {
                Ok(Attempt::Taken(acquired)) => {
                    let until = acquired.may_have_written_until.max(now());
                    return Acquired { may_have_written_until: until, ..acquired };
                }
                Ok(Attempt::Wait(wait)) => wait,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "cannot take the lease, trying again");
                    RETRY_DELAY
                }
            };
            // A change of the lease, such as its release, is looked at right away; an error of the watch only by time.
            let changed = async { while !matches!(changes.try_next().await, Ok(Some(_))) {} };
            let _ = timeout(wait, changed).await;
        }
    }

    /// Takes the lease if it is free.
    async fn try_acquire(&self, seen: &mut Option<(Option<String>, Instant)>) -> Result<Attempt, LeaseError> {
        let moment = moment();
        let before = moment.0;
        let current = answer(self.api.get_opt(LEASE_NAME)).await?;
        let Some(mut lease) = current else {
            let mut lease = Lease::default();
            lease.metadata.name = Some(LEASE_NAME.into());
            lease.spec = Some(self.spec(&LeaseSpec::default(), true));
            let made = answer(self.api.create(&PostParams::default(), &lease)).await?;
            self.taken(&made, moment);
            return Ok(Attempt::Taken(Acquired { may_have_written_until: moment.1, predecessor_renewed_at: None }));
        };
        let version = lease.metadata.resource_version.clone();
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if seen.as_ref().is_none_or(|(known, _)| *known != version) {
            *seen = Some((version, before));
        }
        let lasts =
            Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default());
        let expires = seen.as_ref().map_or(before, |(_, at)| *at + lasts);
        if !holder.is_empty() && holder != self.identity && before < expires {
            return Ok(Attempt::Wait(expires - before));
        }
        lease.spec = Some(self.spec(&spec, true));
        let written = answer(self.api.replace(LEASE_NAME, &PostParams::default(), &lease)).await?;
        self.taken(&written, moment);
        Ok(Attempt::Taken(Acquired {
            may_have_written_until: may_have_written_until(&spec),
            predecessor_renewed_at: spec.renew_time.map(|time| time.0),
        }))
    }

    fn taken(&self, lease: &Lease, from: Moment) {
        let epoch = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
        self.leadership.hold(from, self.duration, i64::from(epoch));
    }

    fn spec(&self, before: &LeaseSpec, taking: bool) -> LeaseSpec {
        // Each taking counts, also by the same identity: the number is the epoch of the leader.
        let transitions = before.lease_transitions.unwrap_or_default() + i32::from(taking);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.duration.as_secs()).unwrap_or(15)),
            acquire_time: if taking { Some(MicroTime(now())) } else { before.acquire_time.clone() },
            renew_time: Some(MicroTime(now())),
            lease_transitions: Some(transitions),
            ..before.clone()
        }
    }

    /// Renews the lease until it is lost. Only ever returns an error.
    pub async fn keep(&self) -> LeaseError {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.duration / 5).await;
            let before = Instant::now();
            match self.renew().await {
                Ok(()) => renewed = before,
                Err(LeaseError::Lost(why)) => {
                    self.leadership.drop_hold();
                    return LeaseError::Lost(why);
                }
                Err(error) => tracing::warn!(error = %chain(&error), "cannot renew the lease, trying again"),
            }
            if renewed.elapsed() > self.duration * 2 / 3 {
                self.leadership.drop_hold();
                return LeaseError::Lost("it could not be renewed in time".into());
            }
        }
    }

    async fn renew(&self) -> Result<(), LeaseError> {
        let before = moment();
        let mut lease = answer(self.api.get(LEASE_NAME)).await?;
        let spec = lease.spec.clone().unwrap_or_default();
        let ours = spec.holder_identity.as_deref() == Some(self.identity.as_str())
            && spec.lease_transitions.map(i64::from) == Some(self.leadership.epoch());
        if !ours {
            return Err(LeaseError::Lost(format!("held by {:?}", spec.holder_identity.unwrap_or_default())));
        }
        lease.spec = Some(self.spec(&spec, false));
        let written = answer(self.api.replace(LEASE_NAME, &PostParams::default(), &lease)).await?;
        self.taken(&written, before);
        Ok(())
    }

    /// Gives the lease up, so that another replica need not wait for it to expire.
    pub async fn release(&self) -> Result<(), LeaseError> {
        if !self.leadership.is_leader() {
            return Ok(());
        }
        self.leadership.drop_hold();
        let mut lease = answer(self.api.get(LEASE_NAME)).await?;
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return Ok(());
        }
        lease.spec = Some(LeaseSpec { holder_identity: Some(String::new()), ..spec });
        answer(self.api.replace(LEASE_NAME, &PostParams::default(), &lease)).await?;
        Ok(())
    }
}

/// What came of trying to take the lease.
enum Attempt {
    /// It is held now.
    Taken(Acquired),
    /// Somebody else holds it: how long to wait at the most.
    Wait(Duration),
}

/// Up to when the holder of that lease may have written, by its own clock.
fn may_have_written_until(spec: &LeaseSpec) -> Timestamp {
    let renewed = spec.renew_time.as_ref().map_or(Timestamp::MIN, |time| time.0);
    let lasts = SignedDuration::from_secs(i64::from(spec.lease_duration_seconds.unwrap_or_default()));
    renewed.saturating_add(lasts).unwrap_or(renewed)
}

async fn answer<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, LeaseError> {
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(LeaseError::Timeout),
    }
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
    fn what_a_predecessor_whose_clock_was_ahead_wrote_is_taken_for_possible() {
        let renewed: Timestamp = "2026-03-01T12:05:00Z".parse().unwrap();
        let spec = LeaseSpec {
            renew_time: Some(MicroTime(renewed)),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        assert_eq!(may_have_written_until(&spec).to_string(), "2026-03-01T12:05:15Z");
        assert_eq!(may_have_written_until(&LeaseSpec::default()), Timestamp::MIN);
    }
}
