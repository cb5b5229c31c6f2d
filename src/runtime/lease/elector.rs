//! Elector: one replica's hand on the Lease.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::time::{Instant, timeout, timeout_at};

use super::sealing::{say_sealed, sealed_since};
use super::{Acquired, LEASE_NAME, LeaseError, Moment, Terms, Traces, believed, chain, moment, now};
use crate::api::labels::VERSION_ANNOTATION;
use crate::domain::seal::Seal;

/// How long one request about the lease may take.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before trying again to take a lease after an error.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// How long to wait before a watch of the Lease that failed is opened again.
const WATCH_DELAY: Duration = Duration::from_secs(2);
/// How far the clock of the API server may be ahead when records begin to be sealed.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(10);
/// The least time that is given to a renewal, also after a pause of the machine.
const RENEWAL_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// The longest that a lease can be set to last, so the longest that what stands in it is believed.
const DURATION_MAX: Duration = Duration::from_secs(300);

/// One replica's hand on the Lease.
pub(super) struct Elector {
    api: Api<Lease>,
    terms: Terms,
    /// The Lease as it was last written, while it is held.
    held: Lease,
}

/// The Lease as it was last seen by somebody who waits for it.
#[derive(Debug, Default)]
struct Seen {
    /// Its version, and since when it has been that; absent: it is not there.
    version: Option<Option<String>>,
    since: Option<Instant>,
    /// What it said when it was last there.
    last: Option<LeaseSpec>,
}

impl Seen {
    /// Takes a look at it into account. Returns since when it has been like that.
    fn look(&mut self, lease: Option<&Lease>, at: Instant) -> Instant {
        let version = lease.map(|lease| lease.metadata.resource_version.clone());
        if let Some(lease) = lease {
            self.last = Some(lease.spec.clone().unwrap_or_default());
        }
        match self.since.filter(|_| self.version == version) {
            Some(since) => since,
            None => {
                self.version = version;
                *self.since.insert(at)
            }
        }
    }
}

/// A watch of the Lease that fails is opened again after the same delay each time; the waits for the Lease do not depend on it.
struct Steadily;

impl Iterator for Steadily {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(WATCH_DELAY)
    }
}

impl Backoff for Steadily {
    fn reset(&mut self) {}
}

/// What came of trying to take the lease.
#[derive(Debug)]
enum Attempt {
    /// It is held now.
    Taken(Acquired),
    /// Somebody else holds it, or may: how long to wait at the most.
    Wait(Duration),
}

impl Elector {
    pub fn new(client: Client, terms: Terms) -> Self {
        let api = Api::namespaced(client, &terms.namespace);
        Self { api, terms, held: Lease::default() }
    }

    /// Waits until this replica holds the lease.
    pub async fn acquire(&mut self) -> Acquired {
        let mut changes =
            watcher(self.api.clone(), watcher::Config::default().fields(&format!("metadata.name={LEASE_NAME}")))
                .backoff(Steadily)
                .boxed();
        let mut seen = Seen::default();
        loop {
            let wait = match self.try_acquire(&mut seen).await {
                Ok(Attempt::Taken(acquired)) => return acquired,
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
    async fn try_acquire(&mut self, seen: &mut Seen) -> Result<Attempt, LeaseError> {
        let moment = moment();
        let found = answer(self.api.get_opt(LEASE_NAME)).await?;
        let since = seen.look(found.as_ref(), moment.0);
        let traces = (self.terms.traces)();
        let last = seen.last.clone().unwrap_or_default();
        let wait = match &found {
            Some(_) => self.terms.wait_while_held(&last, since, moment.0),
            None => self.terms.wait_while_gone(seen.last.as_ref(), traces, since, moment.0),
        };
        if !wait.is_zero() {
            return Ok(Attempt::Wait(wait));
        }
        let spec = self.terms.taking(&last, traces);
        self.write(found, spec, moment).await?;
        Ok(Attempt::Taken(Acquired {
            may_have_written_until: may_have_written_until(&last).max(now()),
            predecessor_renewed_at: last.renew_time.map(|time| time.0),
        }))
    }

    /// Writes the Lease, over that version of it or anew. From then on it is held.
    async fn write(&mut self, over: Option<Lease>, spec: LeaseSpec, from: Moment) -> Result<(), LeaseError> {
        let params = PostParams::default();
        // The clock of the API server, by which records are created, may be ahead of this one.
        let first = || now().checked_add(CLOCKS_DIFFER).unwrap_or_else(|_| now());
        let written = match over {
            Some(mut lease) => {
                let since = sealed_since(&lease).unwrap_or_else(first);
                lease.spec = Some(spec);
                say_sealed(&mut lease, since);
                say_version(&mut lease);
                answer(self.api.replace(LEASE_NAME, &params, &lease)).await?
            }
            None => {
                let mut lease = Lease::default();
                lease.metadata.name = Some(LEASE_NAME.into());
                lease.spec = Some(spec);
                // Since it was created, by the clock of the API server.
                say_sealed(&mut lease, Timestamp::UNIX_EPOCH);
                say_version(&mut lease);
                answer(self.api.create(&params, &lease)).await?
            }
        };
        let epoch = written.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
        let key = written.metadata.uid.clone().unwrap_or_default();
        self.terms.leadership.seal_with(Seal::new(&key, sealed_since(&written).unwrap_or_else(first)));
        self.held = written;
        self.terms.leadership.hold(from, self.terms.duration, epoch.into());
        Ok(())
    }

    /// Renews the lease until it is lost. Only ever returns an error.
    pub async fn keep(&mut self) -> LeaseError {
        let leadership = self.terms.leadership.clone();
        let duration = self.terms.duration;
        let mut renewed = Instant::now();
        loop {
            // Whether it is time, or a Queue carries a higher epoch than this leader.
            let _ = timeout(duration / 5, leadership.is_outranked()).await;
            let before = moment();
            let until = (renewed + duration * 2 / 3).max(before.0 + RENEWAL_TIMEOUT_MIN);
            match timeout_at(until, self.renew(before)).await.unwrap_or(Err(LeaseError::Timeout)) {
                Ok(()) => renewed = before.0,
                Err(LeaseError::Lost(why)) => {
                    leadership.drop_hold();
                    return LeaseError::Lost(why);
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "cannot renew the lease, trying again");
                    // A higher epoch that is wanted would have it tried again at once.
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
            if renewed.elapsed() > duration * 2 / 3 {
                leadership.drop_hold();
                return LeaseError::Lost("it could not be renewed in time".into());
            }
        }
    }

    /// Renews the lease, and raises the epoch if that is wanted. A Lease that is gone is made again.
    async fn renew(&mut self, before: Moment) -> Result<(), LeaseError> {
        let written = self.write(Some(self.held.clone()), self.renewing(), before).await;
        let found = match written {
            Err(LeaseError::Api(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                answer(self.api.get_opt(LEASE_NAME)).await?
            }
            other => return other,
        };
        match found {
            Some(found) if self.is_ours(&found) => {
                // Somebody wrote to it, or an earlier renewal came through after all.
                let epoch =
                    |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
                let seen = believed(epoch(&found).into());
                self.held = found;
                self.terms.leadership.want(seen);
                self.write(Some(self.held.clone()), self.renewing(), before).await
            }
            Some(found) => {
                let holder = found.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
                Err(LeaseError::Lost(format!("held by {holder:?}")))
            }
            None => {
                tracing::warn!("the Lease is gone, making it again");
                self.write(None, self.renewing(), before).await
            }
        }
    }

    /// What the lease says when it is renewed.
    fn renewing(&self) -> LeaseSpec {
        let held = self.held.spec.clone().unwrap_or_default();
        let epoch = self.terms.leadership.wanted_epoch();
        LeaseSpec {
            lease_duration_seconds: Some(i32::try_from(self.terms.duration.as_secs()).unwrap_or(i32::MAX)),
            renew_time: Some(micro_now()),
            lease_transitions: Some(i32::try_from(epoch).unwrap_or(i32::MAX)),
            ..held
        }
    }

    /// Whether this process has taken it: another one may have the same name, and takes it at another time.
    fn is_ours(&self, found: &Lease) -> bool {
        let taken =
            |lease: &Lease| lease.spec.as_ref().map(|spec| (spec.holder_identity.clone(), spec.acquire_time.clone()));
        taken(found) == taken(&self.held)
    }

    /// Gives the lease up.
    pub async fn release(&mut self) -> Result<(), LeaseError> {
        if !self.terms.leadership.is_leader() {
            return Ok(());
        }
        self.let_expire();
        let Some(mut lease) = answer(self.api.get_opt(LEASE_NAME)).await?.filter(|found| self.is_ours(found)) else {
            return Ok(());
        };
        let spec = lease.spec.take().unwrap_or_default();
        lease.spec = Some(LeaseSpec { holder_identity: Some(String::new()), ..spec });
        answer(self.api.replace(LEASE_NAME, &PostParams::default(), &lease)).await?;
        Ok(())
    }

    /// Leads no longer.
    pub fn let_expire(&self) {
        self.terms.leadership.drop_hold();
    }
}

/// The rules, which ask nobody.
impl Terms {
    /// How long to wait for a lease that says that; nothing: it is free. `since`: when it was first seen to.
    fn wait_while_held(&self, spec: &LeaseSpec, since: Instant, at: Instant) -> Duration {
        if self.is_held_by_another(spec) { (since + lasts(spec)).saturating_duration_since(at) } else { Duration::ZERO }
    }

    /// How long to wait for a lease that is gone. Whoever held it may have renewed it just before, and may not know yet. Where
    /// nobody has led, or whoever did gave it up, nobody has to be waited for.
    fn wait_while_gone(&self, last: Option<&LeaseSpec>, traces: Traces, since: Instant, at: Instant) -> Duration {
        let may_be_held = last.map_or(traces.any, |last| self.is_held_by_another(last));
        let lasts = last.map_or(Duration::ZERO, lasts).max(self.duration);
        if may_be_held { (since + lasts).saturating_duration_since(at) } else { Duration::ZERO }
    }

    fn is_held_by_another(&self, spec: &LeaseSpec) -> bool {
        spec.holder_identity.as_deref().is_some_and(|holder| !holder.is_empty() && holder != self.identity)
    }

    /// What the lease says when it is taken. Each taking counts, also by the same identity: the number is the epoch of the leader,
    /// and no Queue carries a higher one.
    fn taking(&self, before: &LeaseSpec, traces: Traces) -> LeaseSpec {
        let before_this = believed(before.lease_transitions.unwrap_or_default().into()).max(believed(traces.epoch));
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: Some(micro_now()),
            renew_time: Some(micro_now()),
            lease_transitions: Some(i32::try_from(before_this + 1).unwrap_or(i32::MAX)),
            ..before.clone()
        }
    }
}

/// Says which version leads, for people who look.
fn say_version(lease: &mut Lease) {
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.insert(VERSION_ANNOTATION.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
}

/// How long a lease that says that lasts.
fn lasts(spec: &LeaseSpec) -> Duration {
    let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
    Duration::from_secs(seconds).min(DURATION_MAX)
}

/// Up to when the holder of that lease may have written, by its own clock.
fn may_have_written_until(spec: &LeaseSpec) -> Timestamp {
    let renewed = spec.renew_time.as_ref().map_or(Timestamp::MIN, |time| time.0);
    let lasts = SignedDuration::try_from(lasts(spec)).unwrap_or_default();
    renewed.saturating_add(lasts).unwrap_or(renewed)
}

/// Now, as a Lease tells it: in whole microseconds.
fn micro_now() -> MicroTime {
    crate::domain::conditions::micro(now())
}

async fn answer<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, LeaseError> {
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(LeaseError::Timeout),
    }
}

#[cfg(test)]
mod tests;
