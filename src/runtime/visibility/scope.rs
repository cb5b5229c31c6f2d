//! Scope: how old the news of each kind is, of one namespace, or of all namespaces together.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Watched;
use crate::runtime::clock::now;

/// How long a kind may fail before it is not seen any more.
const FAILING_MAX: Duration = Duration::from_secs(30);
/// How long a watch that is silent may be open after the API server should have closed it, and how long a listing then has to
/// bring news.
const MARGIN: Duration = Duration::from_secs(5);
/// From which age on a new leader lists a kind anew.
const TAKE_OVER_AGE: Duration = Duration::from_secs(5);
/// After how many failures in a row nobody waits for a kind any longer.
const GIVEN_UP_AFTER: u32 = 3;

/// What is known of one kind.
struct Sight {
    /// When there was news last.
    heard: Option<Instant>,
    /// The same by the wall clock.
    heard_wall: Timestamp,
    /// Since when it has failed without news in between, how often, and with what.
    failing: Option<(Instant, u32, String)>,
    /// How often a listing was asked for.
    asked: u64,
    /// Up to which of these it has been listed.
    listed: u64,
}

impl Sight {
    const NONE: Self = Self { heard: None, heard_wall: Timestamp::MIN, failing: None, asked: 0, listed: 0 };

    fn is_fresh(&self) -> bool {
        self.heard.is_some() && self.asked <= self.listed
    }
}

/// What the operator watches together: one namespace, or all of them. It knows how old the news of each kind is.
pub struct Scope {
    /// The namespace; empty: all of them.
    namespace: String,
    /// What is watched there.
    kinds: &'static [Watched],
    /// How long a watch may bring no news.
    quiet_max: Duration,
    started: Instant,
    sights: Mutex<Vec<Sight>>,
    /// Changes with each listing that is asked for or complete, and with each failure.
    changes: watch::Sender<()>,
}

impl Scope {
    /// Creates the scope of a namespace, or of all namespaces if the name is empty. The operator watches these kinds there.
    pub(super) fn new(namespace: &str, kinds: &'static [Watched], quiet_max: Duration) -> Self {
        Self {
            namespace: namespace.to_owned(),
            kinds,
            quiet_max,
            started: Instant::now(),
            sights: Mutex::new(Watched::ALL.into_iter().map(|_| Sight::NONE).collect()),
            changes: watch::Sender::new(()),
        }
    }

    /// The name of the namespace. An empty name means all namespaces.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether the scope contains a namespace.
    pub fn covers(&self, namespace: &str) -> bool {
        self.namespace.is_empty() || self.namespace == namespace
    }

    /// The kinds that the operator watches in the scope.
    pub fn kinds(&self) -> &'static [Watched] {
        self.kinds
    }

    /// Whether the operator works on the objects in the scope. If it does not, it reads the pauses of Queues and nothing else.
    pub fn is_worked_on(&self) -> bool {
        self.kinds.len() == Watched::ALL.len()
    }

    /// How long a watch of a kind is to last that is begun now: such that its last bookmark comes in time.
    pub fn watch_lasts(&self, kind: Watched, now: Instant) -> Duration {
        self.quiet_max.saturating_sub(self.age(kind, now)).max(self.margin())
    }

    /// How long a watch that is silent may be open after the API server should have closed it.
    pub fn margin(&self) -> Duration {
        MARGIN.min(self.quiet_max)
    }

    /// There is news of a kind.
    pub fn heard(&self, kind: Watched) {
        let (at, wall) = (Instant::now(), now());
        self.of(kind, |sight| (sight.heard, sight.heard_wall, sight.failing) = (Some(at), wall, None));
    }

    /// A listing of a kind is complete that was begun when so many had been asked for.
    pub fn listed(&self, kind: Watched, asked: u64) {
        self.heard(kind);
        self.of(kind, |sight| sight.listed = sight.listed.max(asked));
        self.changes.send_replace(());
    }

    /// A request for a kind failed. Returns how often that happened in a row, without news in between.
    pub fn failed(&self, kind: Watched, message: String) -> u32 {
        let times = self.of(kind, |sight| {
            let (since, times) =
                sight.failing.as_ref().map_or((Instant::now(), 0), |(since, times, _)| (*since, *times));
            sight.failing = Some((since, times.saturating_add(1), message));
            times.saturating_add(1)
        });
        self.changes.send_replace(());
        times
    }

    /// How many listings of a kind were asked for.
    pub fn asked(&self, kind: Watched) -> u64 {
        self.of(kind, |sight| sight.asked)
    }

    /// Waits until more listings of a kind are asked for than those.
    pub async fn is_asked(&self, kind: Watched, before: u64) {
        let mut changes = self.changes.subscribe();
        while self.asked(kind) <= before {
            // The sender lives as long as this.
            let _ = changes.changed().await;
        }
    }

    /// Whether the first listing of each kind is complete.
    pub(super) fn is_listed(&self) -> bool {
        self.all(|sight| sight.heard.is_some())
    }

    /// Whether the listings that were asked for are complete, and each kind has been listed at least once.
    pub fn is_fresh(&self) -> bool {
        self.all(Sight::is_fresh)
    }

    /// Whether a kind has failed so often that others are not to wait for it.
    pub(super) fn is_given_up(&self) -> bool {
        !self.all(|sight| sight.failing.as_ref().is_none_or(|(_, times, _)| *times < GIVEN_UP_AFTER))
    }

    /// Waits until the listings that were asked for are complete, and each kind has been listed at least once.
    pub async fn wait_fresh(&self) {
        self.wait_until(Self::is_fresh).await;
    }

    /// Asks for a listing of every kind of which there was no news for some seconds.
    pub(super) fn ask_for_old(&self) {
        let (at, wall) = (Instant::now(), now());
        self.ask(|sight| {
            let age = sight.heard.map_or(Duration::MAX, |heard| at.saturating_duration_since(heard));
            let age_by_wall = Duration::try_from(wall.duration_since(sight.heard_wall)).unwrap_or_default();
            age.max(age_by_wall) > TAKE_OVER_AGE
        });
    }

    /// Asks for a listing of every kind.
    pub(super) fn ask_for_all(&self) {
        self.ask(|_| true);
    }

    fn ask(&self, which: impl Fn(&Sight) -> bool) {
        let asked = |sight: &mut Sight| {
            if which(sight) {
                sight.asked += 1;
            }
        };
        self.kinds.iter().for_each(|kind| self.of(*kind, asked));
        self.changes.send_replace(());
    }

    pub(super) async fn wait_until(&self, is_so: impl Fn(&Self) -> bool) {
        let mut changes = self.changes.subscribe();
        while !is_so(self) {
            // The sender lives as long as this.
            let _ = changes.changed().await;
        }
    }

    /// The kinds that are not seen at that moment, each with why.
    pub fn missing(&self, now: Instant) -> Vec<String> {
        self.kinds.iter().filter_map(|kind| self.blind(*kind, now)).collect()
    }

    /// How long there has been no news of a kind: since the start, if there has been none.
    pub fn age(&self, kind: Watched, now: Instant) -> Duration {
        self.of(kind, |sight| now.saturating_duration_since(sight.heard.unwrap_or(self.started)))
    }

    /// Why a kind is not seen at that moment; absent: it is, or it is not watched.
    pub(super) fn blind(&self, kind: Watched, now: Instant) -> Option<String> {
        if !self.kinds.contains(&kind) {
            return None;
        }
        let too_old = self.quiet_max + 2 * self.margin();
        let why = self.of(kind, |sight| {
            let failing = sight.failing.as_ref();
            let message = failing.map(|(_, _, message)| format!(": {message}")).unwrap_or_default();
            let Some(heard) = sight.heard else {
                return Some(failing.map_or("not listed yet".to_owned(), |(_, _, message)| message.clone()));
            };
            if sight.asked > sight.listed {
                return Some(format!("being listed anew{message}"));
            }
            let age = now.saturating_duration_since(heard);
            let fails = failing.is_some_and(|(since, ..)| now.saturating_duration_since(*since) >= FAILING_MAX);
            (fails || age >= too_old).then(|| format!("no news for {} s{message}", age.as_secs()))
        });
        let place = if self.namespace.is_empty() { String::new() } else { format!(" in namespace {}", self.namespace) };
        why.map(|why| format!("{}{place}: {why}", kind.name()))
    }

    fn all(&self, is_so: impl Fn(&Sight) -> bool) -> bool {
        self.kinds.iter().all(|kind| self.of(*kind, |sight| is_so(sight)))
    }

    fn of<T>(&self, kind: Watched, ask: impl FnOnce(&mut Sight) -> T) -> T {
        // There is one for each, in that order.
        let mut sights = lock(&self.sights);
        ask(sights.get_mut(kind as usize).unwrap_or(&mut { Sight::NONE }))
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::Watched::{BatchJobs, Jobs, Pods, Queues};
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn all_listed() -> Scope {
        let scope = Scope::new("", &Watched::ALL, seconds(60));
        Watched::ALL.into_iter().for_each(|kind| scope.listed(kind, 0));
        scope
    }

    #[test]
    fn what_brings_a_bookmark_a_minute_is_seen_and_what_is_silent_for_longer_is_not() {
        let seen = all_listed();
        let now = Instant::now();
        assert_eq!(seen.missing(now + seconds(66)), Vec::<String>::new());
        let late = seen.missing(now + seconds(71));
        assert_eq!(late.len(), Watched::ALL.len());
        assert_eq!(late[3], "jobs.rota.dev: no news for 71 s");
    }

    #[test]
    fn what_fails_for_half_a_minute_is_not_seen_whatever_its_age_and_news_mends_it() {
        let seen = all_listed();
        assert_eq!(seen.failed(Jobs, "jobs.rota.dev is forbidden".into()), 1);
        assert_eq!(seen.failed(Jobs, "jobs.rota.dev is forbidden".into()), 2);
        let now = Instant::now();
        assert!(seen.missing(now + seconds(29)).is_empty());
        assert_eq!(seen.missing(now + seconds(31)), ["jobs.rota.dev: no news for 31 s: jobs.rota.dev is forbidden"]);
        seen.heard(Jobs);
        assert!(seen.missing(now + seconds(31)).is_empty());
        assert_eq!(seen.failed(Jobs, "again".into()), 1);
    }

    #[test]
    fn what_was_never_listed_is_not_seen_and_the_namespace_is_named() {
        let seen = Scope::new("team-a", &Watched::ALL, seconds(60));
        seen.failed(Pods, "forbidden".into());
        let missing = seen.missing(Instant::now());
        assert_eq!(
            missing[5..7],
            ["jobs.batch in namespace team-a: not listed yet", "pods in namespace team-a: forbidden"]
        );
        assert!(seen.covers("team-a") && !seen.covers("team-b") && all_listed().covers("team-b"));
    }

    #[test]
    fn what_is_not_watched_is_not_missing() {
        let seen = Scope::new("rota-system", &[Queues], seconds(60));
        assert_eq!(seen.missing(Instant::now()), ["queues.rota.dev in namespace rota-system: not listed yet"]);
        seen.ask_for_all();
        assert_eq!((seen.asked(Queues), seen.asked(Jobs)), (1, 0));
        seen.listed(Queues, 1);
        assert!(seen.is_fresh() && seen.missing(Instant::now()).is_empty());
    }

    #[test]
    fn a_watch_that_follows_an_old_one_is_shorter_so_that_its_bookmark_comes_in_time() {
        let seen = all_listed();
        let now = Instant::now();
        let lasts = |age| seen.watch_lasts(Jobs, now + seconds(age)).as_secs_f64().round() as u64;
        assert_eq!((lasts(0), lasts(20), lasts(58), lasts(300)), (60, 40, 5, 5));
    }

    #[test]
    fn a_new_leader_asks_for_a_listing_of_what_it_has_not_heard_of_and_of_nothing_else() {
        let seen = all_listed();
        let asked = |scope: &Scope| {
            let due = |kind: &Watched| scope.of(*kind, |sight| sight.asked > sight.listed);
            Watched::ALL.into_iter().filter(due).collect::<Vec<_>>()
        };
        seen.ask_for_old();
        assert!(seen.is_fresh() && asked(&seen).is_empty());
        seen.of(BatchJobs, |sight| sight.heard = sight.heard.map(|heard| heard - seconds(6)));
        seen.ask_for_old();
        assert_eq!(asked(&seen), [BatchJobs]);
        // One that was begun before does not count.
        seen.listed(BatchJobs, 0);
        assert!(!seen.is_fresh());
        seen.listed(BatchJobs, 1);
        assert!(seen.is_fresh());
        // While the machine was suspended the monotonic clock stood still.
        seen.of(Pods, |sight| sight.heard_wall -= SignedDuration::from_hours(8));
        seen.ask_for_old();
        assert_eq!(asked(&seen), [Pods]);
    }
}
