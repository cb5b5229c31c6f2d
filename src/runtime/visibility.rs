//! Visibility: how old what the operator sees is, by kind.
//!
//! There is news of a kind when a listing is complete, when its watch tells a change, and when its watch brings a bookmark,
//! which the API server sends also when nothing happens. A request that was sent, and a connection that stands, are none.
//! Whoever admits, launches, fires, or concludes something from what is not there asks here first, readiness asks here too,
//! and so does a new leader. All ages are by the monotonic clock; the wall clock, which alone goes on while a machine is suspended,
//! only has a new leader list what it need not.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::clock::now;

/// How long a kind may fail before it is not seen any more.
const FAILING_MAX: Duration = Duration::from_secs(30);
/// How long a watch that is silent may be open after the API server should have closed it, and how long a listing then has to
/// bring news.
const MARGIN: Duration = Duration::from_secs(5);
/// From which age on a new leader lists a kind anew.
const TAKE_OVER_AGE: Duration = Duration::from_secs(5);

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// JobTemplates.
    Templates,
    /// Schedules.
    Schedules,
    /// Queues.
    Queues,
    /// Jobs.
    Jobs,
    /// JobGroups.
    Groups,
    /// The batch Jobs that Rota launched.
    BatchJobs,
    /// Their pods.
    Pods,
    /// Template revisions.
    Revisions,
}

use Watched::{BatchJobs, Groups, Jobs, Pods, Queues, Revisions, Schedules, Templates};

impl Watched {
    /// All of them.
    pub const ALL: [Self; 8] = [Templates, Schedules, Queues, Jobs, Groups, BatchJobs, Pods, Revisions];

    /// How people call it.
    pub fn name(self) -> &'static str {
        match self {
            Templates => "jobtemplates.rota.dev",
            Schedules => "schedules.rota.dev",
            Queues => "queues.rota.dev",
            Jobs => "jobs.rota.dev",
            Groups => "jobgroups.rota.dev",
            BatchJobs => "jobs.batch",
            Pods => "pods",
            Revisions => "controllerrevisions.apps",
        }
    }
}

/// What is about to be done, which rests on what is seen, or not seen, of several kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Admitting and launching Jobs.
    Dispatch,
    /// Making the Jobs and records of schedules.
    Fire,
    /// Recording how a Job ended, and letting it go.
    Record,
    /// Making the Jobs of a group, and saying how it stands.
    Group,
    /// Making and deleting the revisions of templates.
    Revise,
}

impl Act {
    /// The kinds that it rests on.
    fn rests_on(self) -> &'static [Watched] {
        match self {
            Self::Dispatch => &[Templates, Schedules, Queues, Jobs, Groups, BatchJobs, Revisions],
            Self::Fire => &[Templates, Schedules, Jobs],
            Self::Record => &[Schedules, Jobs, Groups, BatchJobs, Pods],
            Self::Group => &[Jobs, Groups],
            Self::Revise => &[Templates, Jobs, Revisions],
        }
    }
}

/// Why something is not done now: what is not seen, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Blind(pub String);

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

/// How old what the operator sees is, by kind.
pub struct Visibility {
    /// How long a watch may bring no news.
    quiet_max: Duration,
    started: Instant,
    sights: Mutex<Vec<Sight>>,
    /// Told of each listing that is asked for or complete.
    listings: watch::Sender<()>,
    /// What was not done, and is to be made up for.
    denied: Mutex<Vec<Act>>,
}

impl Default for Visibility {
    fn default() -> Self {
        Self::new(Self::QUIET_MAX)
    }
}

impl Visibility {
    /// How long a watch may bring no news: the API server sends a bookmark at least this often.
    pub const QUIET_MAX: Duration = Duration::from_secs(60);

    /// One under which a watch may bring no news for that long.
    pub fn new(quiet_max: Duration) -> Self {
        let sight = |_| Sight { heard: None, heard_wall: Timestamp::MIN, failing: None, asked: 0, listed: 0 };
        Self {
            quiet_max,
            started: Instant::now(),
            sights: Mutex::new(Watched::ALL.into_iter().map(sight).collect()),
            listings: watch::Sender::new(()),
            denied: Mutex::default(),
        }
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
        self.listings.send_replace(());
    }

    /// A request for a kind failed. Returns how often that happened in a row, without news in between.
    pub fn failed(&self, kind: Watched, message: String) -> u32 {
        self.of(kind, |sight| {
            let (since, times) =
                sight.failing.as_ref().map_or((Instant::now(), 0), |(since, times, _)| (*since, *times));
            sight.failing = Some((since, times.saturating_add(1), message));
            times.saturating_add(1)
        })
    }

    /// How many listings of a kind were asked for.
    pub fn asked(&self, kind: Watched) -> u64 {
        self.of(kind, |sight| sight.asked)
    }

    /// Waits until more listings of a kind are asked for than those.
    pub async fn is_asked(&self, kind: Watched, before: u64) {
        let mut listings = self.listings.subscribe();
        while self.asked(kind) <= before {
            // The sender lives as long as this.
            let _ = listings.changed().await;
        }
    }

    /// Waits until the first listing of each kind is complete.
    pub async fn wait_listed(&self) {
        self.wait_until(|sight| sight.heard.is_some()).await;
    }

    /// Has every kind listed anew of which there was no news for some seconds, and waits until that is done. A new leader may
    /// have been told by a connection that died since, and must not decide from it.
    pub async fn take_over(&self) {
        let (at, wall) = (Instant::now(), now());
        self.ask(|sight| {
            let age = sight.heard.map_or(Duration::MAX, |heard| at.saturating_duration_since(heard));
            let age_by_wall = Duration::try_from(wall.duration_since(sight.heard_wall)).unwrap_or_default();
            age.max(age_by_wall) > TAKE_OVER_AGE
        });
        self.wait_until(|sight| sight.asked <= sight.listed).await;
    }

    /// Has every kind listed anew: nothing rests on what is known of it until that is done.
    pub fn doubt(&self) {
        self.ask(|_| true);
    }

    fn ask(&self, which: impl Fn(&Sight) -> bool) {
        lock(&self.sights).iter_mut().filter(|sight| which(sight)).for_each(|sight| sight.asked += 1);
        self.listings.send_replace(());
    }

    async fn wait_until(&self, is_so: impl Fn(&Sight) -> bool) {
        let mut listings = self.listings.subscribe();
        while !lock(&self.sights).iter().all(&is_so) {
            // The sender lives as long as this.
            let _ = listings.changed().await;
        }
    }

    /// Whether something may be done that rests on what is seen.
    pub fn may(&self, act: Act) -> Result<(), Blind> {
        let Some(why) = self.why_not(act) else { return Ok(()) };
        let mut denied = lock(&self.denied);
        if !denied.contains(&act) {
            denied.push(act);
        }
        Err(Blind(why))
    }

    fn why_not(&self, act: Act) -> Option<String> {
        let now = Instant::now();
        act.rests_on().iter().find_map(|kind| self.blind(*kind, now))
    }

    /// Whether something that was not done can be done now. The next call says no.
    pub fn is_to_be_made_up_for(&self) -> bool {
        let mut denied = lock(&self.denied);
        let before = denied.len();
        denied.retain(|act| self.why_not(*act).is_some());
        denied.len() < before
    }

    /// The kinds that are not seen at that moment, each with why.
    pub fn missing(&self, now: Instant) -> Vec<String> {
        Watched::ALL.into_iter().filter_map(|kind| self.blind(kind, now)).collect()
    }

    /// How long there has been no news of a kind: since the start, if there has been none.
    pub fn age(&self, kind: Watched, now: Instant) -> Duration {
        self.of(kind, |sight| now.saturating_duration_since(sight.heard.unwrap_or(self.started)))
    }

    /// Why a kind is not seen at that moment; absent: it is.
    fn blind(&self, kind: Watched, now: Instant) -> Option<String> {
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
        why.map(|why| format!("{}: {why}", kind.name()))
    }

    fn of<T>(&self, kind: Watched, ask: impl FnOnce(&mut Sight) -> T) -> T {
        // There is one for each, in that order.
        let mut sights = lock(&self.sights);
        let mut none = Sight { heard: None, heard_wall: Timestamp::MIN, failing: None, asked: 0, listed: 0 };
        ask(sights.get_mut(kind as usize).unwrap_or(&mut none))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn all_listed() -> Visibility {
        let seen = Visibility::default();
        Watched::ALL.into_iter().for_each(|kind| seen.listed(kind, 0));
        seen
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
    fn what_was_never_listed_is_not_seen() {
        let seen = Visibility::default();
        seen.failed(Pods, "forbidden".into());
        assert_eq!(seen.missing(Instant::now())[5..7], ["jobs.batch: not listed yet", "pods: forbidden"]);
        assert_eq!(seen.may(Act::Fire), Err(Blind("jobtemplates.rota.dev: not listed yet".into())));
    }

    #[test]
    fn only_what_rests_on_a_kind_waits_for_it_and_is_made_up_for_once() {
        let seen = all_listed();
        assert!(!seen.is_to_be_made_up_for());
        seen.of(Pods, |sight| sight.asked += 1);
        assert_eq!(seen.may(Act::Dispatch), Ok(()));
        assert_eq!(seen.may(Act::Record), Err(Blind("pods: being listed anew".into())));
        assert!(!seen.is_to_be_made_up_for(), "it is not seen yet");
        seen.listed(Pods, seen.asked(Pods));
        assert_eq!((seen.is_to_be_made_up_for(), seen.is_to_be_made_up_for()), (true, false));
    }

    #[test]
    fn a_watch_that_follows_an_old_one_is_shorter_so_that_its_bookmark_comes_in_time() {
        let seen = all_listed();
        let now = Instant::now();
        let lasts = |age| seen.watch_lasts(Jobs, now + seconds(age)).as_secs_f64().round() as u64;
        assert_eq!((lasts(0), lasts(20), lasts(58), lasts(300)), (60, 40, 5, 5));
    }

    #[tokio::test]
    async fn a_new_leader_waits_for_a_listing_of_what_it_has_not_heard_of_and_of_nothing_else() {
        let seen = all_listed();
        seen.take_over().await;
        seen.of(BatchJobs, |sight| sight.heard = sight.heard.map(|heard| heard - seconds(6)));
        let taken = seen.take_over();
        tokio::pin!(taken);
        assert!(futures::poll!(&mut taken).is_pending());
        assert!(Watched::ALL.iter().all(|kind| (seen.asked(*kind) > 0) == (*kind == BatchJobs)));
        // One that was begun before does not count.
        seen.listed(BatchJobs, 0);
        assert!(futures::poll!(&mut taken).is_pending());
        seen.listed(BatchJobs, 1);
        taken.await;
        // While the machine was suspended the monotonic clock stood still.
        seen.of(Pods, |sight| sight.heard_wall -= SignedDuration::from_hours(8));
        assert!(futures::poll!(std::pin::pin!(seen.take_over())).is_pending());
        assert!(
            Watched::ALL.iter().all(|kind| (seen.asked(*kind) > seen.of(*kind, |it| it.listed)) == (*kind == Pods))
        );
    }
}
