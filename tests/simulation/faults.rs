//! Faults: what lies between an operator and the API server.
//!
//! A request may be delayed, lost, answered with an error although it was done, answered with an error because it was not, or never
//! answered. What a watch tells may come late, by kind, and a watch may break or be silent. Each is counted.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use simulated_apiserver::service::{Body, Seen, at_once, read, response};
use simulated_apiserver::{Answer, Failure, Request};
use tokio::time::{Instant, sleep};

use crate::world::World;

/// How often things go wrong, in a thousand requests.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    pub lost: u32,
    pub done_and_failed: u32,
    pub refused_for_now: u32,
    pub busy: u32,
    pub hangs: u32,
    pub late: u32,
    /// How often a watch is late, in a thousand that are opened.
    pub stale_watch: u32,
    pub silent_watch: u32,
}

impl Rates {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        lost: 0,
        done_and_failed: 0,
        refused_for_now: 0,
        busy: 0,
        hangs: 0,
        late: 0,
        stale_watch: 0,
        silent_watch: 0,
    };

    /// Bad days, of several kinds.
    pub fn of(random: &mut fastrand::Rng) -> Self {
        let rate = |random: &mut fastrand::Rng, most: u32| if random.u8(..3) == 0 { random.u32(1..=most) } else { 0 };
        Self {
            lost: rate(random, 60),
            done_and_failed: rate(random, 80),
            refused_for_now: rate(random, 40),
            busy: rate(random, 40),
            hangs: rate(random, 10),
            late: rate(random, 100),
            stale_watch: rate(random, 300),
            silent_watch: rate(random, 100),
        }
    }
}

/// An operator's way to the API server.
#[derive(Clone)]
pub struct Way {
    world: World,
    actor: Arc<str>,
    inner: Arc<Inner>,
}

struct Inner {
    /// Whether the operator's process is alive: of one that is not, no request arrives.
    is_alive: AtomicBool,
    rates: Mutex<Rates>,
    /// Until when the views of each kind are older than they should be, and by how much.
    stale: Mutex<BTreeMap<String, (Instant, Duration)>>,
}

/// How a request fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    Lost,
    DoneAndFailed,
    RefusedForNow,
    Busy,
    HangsUndone,
    HangsDone,
}

impl Way {
    pub fn new(world: World, actor: &str, rates: Rates) -> Self {
        let inner = Inner { is_alive: AtomicBool::new(true), rates: Mutex::new(rates), stale: Mutex::default() };
        Self { world, actor: actor.into(), inner: Arc::new(inner) }
    }

    /// From here on no request of this operator arrives: it was killed.
    pub fn cut(&self) {
        self.inner.is_alive.store(false, Ordering::SeqCst);
    }

    /// From here on this often goes wrong.
    pub fn set(&self, rates: Rates) {
        *self.inner.rates.lock().unwrap() = rates;
        if rates.stale_watch == 0 {
            self.inner.stale.lock().unwrap().clear();
            self.world.shared.wake();
        }
    }

    fn fate(&self, is_write: bool) -> Fate {
        let rates = *self.inner.rates.lock().unwrap();
        let happens = |rate| self.world.happens(rate);
        let fate = if happens(rates.lost) {
            Fate::Lost
        } else if is_write && happens(rates.done_and_failed) {
            Fate::DoneAndFailed
        } else if happens(rates.refused_for_now) {
            Fate::RefusedForNow
        } else if happens(rates.busy) {
            Fate::Busy
        } else if happens(rates.hangs) {
            if is_write && happens(500) { Fate::HangsDone } else { Fate::HangsUndone }
        } else {
            Fate::Answered
        };
        if fate != Fate::Answered {
            self.world.fault(match fate {
                Fate::Answered | Fate::Lost => "request lost",
                Fate::DoneAndFailed => "done and answered with an error",
                Fate::RefusedForNow => "answered with 500, not done",
                Fate::Busy => "429",
                Fate::HangsUndone => "hangs, not done",
                Fate::HangsDone => "hangs, done",
            });
        }
        fate
    }

    fn latency(&self) -> Duration {
        let rates = *self.inner.rates.lock().unwrap();
        if self.world.happens(rates.late) {
            self.world.fault("slow request");
            return self.world.up_to(Duration::from_secs(12));
        }
        self.world.up_to(Duration::from_millis(20))
    }

    async fn carry(self, request: Request) -> Result<http::Response<Body>, std::io::Error> {
        let is_write = request.method != http::Method::GET;
        let fate = self.fate(is_write);
        sleep(self.latency()).await;
        if !self.inner.is_alive.load(Ordering::SeqCst) {
            return Err(reset());
        }
        let failed = |code, reason, message: &str| Err(Failure::new(code, reason, message));
        let answer = match fate {
            Fate::Lost => return Err(reset()),
            Fate::RefusedForNow => failed(500, "InternalError", "Internal error occurred: etcdserver: leader changed"),
            Fate::Busy => failed(
                429,
                "TooManyRequests",
                "the server has received too many requests and has asked us to try again later",
            ),
            Fate::HangsUndone => std::future::pending().await,
            Fate::Answered | Fate::DoneAndFailed | Fate::HangsDone => self.world.send(&self.actor, &request),
        };
        match fate {
            Fate::HangsDone => std::future::pending().await,
            Fate::DoneAndFailed => {
                let how = self.world.random().u8(..4);
                return match how {
                    0 => Err(reset()),
                    1 => std::future::pending().await,
                    2 => Ok(response(
                        &self.world.shared,
                        failed(500, "InternalError", "Internal error occurred: etcdserver: request timed out"),
                        at_once(),
                    )),
                    _ => Ok(response(
                        &self.world.shared,
                        failed(504, "Timeout", "Timeout: request did not complete within the allotted timeout"),
                        at_once(),
                    )),
                };
            }
            _ => {}
        }
        sleep(self.latency()).await;
        let seen = match &answer {
            Ok(Answer::Watch(watch)) => self.seen(&watch.resource()),
            _ => at_once(),
        };
        Ok(response(&self.world.shared, answer, seen))
    }

    /// How late a watch that is opened now tells what it has to.
    fn seen(&self, resource: &str) -> Seen {
        let rates = *self.inner.rates.lock().unwrap();
        if self.world.happens(rates.silent_watch) {
            self.world.fault("silent watch");
            let until = Instant::now() + self.world.up_to(Duration::from_secs(300));
            self.inner.stale.lock().unwrap().insert(resource.into(), (until, Duration::from_secs(3_600)));
        } else if self.world.happens(rates.stale_watch) {
            self.world.fault("stale watch");
            let (until, by) = (self.world.up_to(Duration::from_secs(600)), self.world.up_to(Duration::from_secs(60)));
            self.inner.stale.lock().unwrap().insert(resource.into(), (Instant::now() + until, by));
        }
        let (inner, resource) = (self.inner.clone(), resource.to_owned());
        // When each version was first seen by this watch.
        let versions: Mutex<Vec<(Instant, u64)>> = Mutex::default();
        Arc::new(move |version| {
            let now = Instant::now();
            let mut versions = versions.lock().unwrap();
            if versions.last().is_none_or(|(_, last)| *last != version) {
                versions.push((now, version));
            }
            let late = inner.stale.lock().unwrap().get(&resource).copied();
            match late.filter(|(until, _)| *until > now) {
                Some((until, by)) => {
                    let seen = versions.iter().rev().find(|(at, _)| *at + by <= now).map_or(0, |(_, version)| *version);
                    let next = versions.iter().map(|(at, _)| *at + by).find(|at| *at > now).unwrap_or(until).min(until);
                    (seen, Some(next - now))
                }
                None => (version, None),
            }
        })
    }
}

fn reset() -> std::io::Error {
    std::io::Error::from(std::io::ErrorKind::ConnectionReset)
}

impl tower::Service<http::Request<kube::client::Body>> for Way {
    type Response = http::Response<Body>;
    type Error = tower::BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<kube::client::Body>) -> Self::Future {
        let way = self.clone();
        Box::pin(async move {
            let request = read(request).await?;
            Ok(way.carry(request).await?)
        })
    }
}
