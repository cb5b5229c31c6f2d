//! Visibility: how old what the operator sees is, by kind, of all namespaces together or of each that it is given.
//!
//! There is news of a kind when a listing is complete, when its watch tells a change, and when its watch brings a bookmark,
//! which the API server sends also when nothing happens. A request that was sent, and a connection that stands, are none.
//! Whoever admits, launches, fires, or concludes something from what is not there asks here first, readiness asks here too,
//! and so does a new leader. All ages are by the monotonic clock; the wall clock, which alone goes on while a machine is suspended,
//! only has a new leader list what it need not.
//!
//! What is watched together is one [`Scope`]: all namespaces, or each of those that the operator is given. What is not seen of one
//! keeps nothing in another from being done. The one thing that all depend on are the Queues of the operator's own namespace, which
//! can pause everything; they are watched also where the operator does not work on that namespace.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{join_all, select_all};
use tokio::time::{Instant, timeout};

mod scope;

pub use scope::Scope;
use scope::lock;

/// How long a start waits for the namespaces that are not listed yet when one is.
const LISTED_WITHIN: Duration = Duration::from_secs(60);
/// The same for a new leader, which has listed them before: a cache that is old still says what ran.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(10);

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

/// How old the news of each kind is, in each scope.
pub struct Visibility {
    /// By namespace; the empty one stands for all.
    scopes: BTreeMap<String, Arc<Scope>>,
    /// The operator's own namespace: a Queue there may pause everything.
    own: String,
    /// What was not done in which scope, and is to be made up for.
    denied: Mutex<Vec<(Act, String)>>,
}

impl Default for Visibility {
    fn default() -> Self {
        Self::new(Self::QUIET_MAX, &[], "")
    }
}

impl Visibility {
    /// How long a watch may bring no news: the API server sends a bookmark at least this often.
    pub const QUIET_MAX: Duration = Duration::from_secs(60);

    /// Creates the visibility of these namespaces, or of all namespaces if the list is empty. The Queues of the operator's own
    /// namespace are watched in any case. `quiet_max` is the longest time for which a watch may bring no news.
    pub fn new(quiet_max: Duration, namespaces: &[String], own: &str) -> Self {
        let scope = |namespace: &str, kinds| Arc::new(Scope::new(namespace, kinds, quiet_max));
        let mut scopes: BTreeMap<String, Arc<Scope>> =
            namespaces.iter().map(|namespace| (namespace.clone(), scope(namespace, &Watched::ALL))).collect();
        if namespaces.is_empty() {
            scopes.insert(String::new(), scope("", &Watched::ALL));
        } else {
            scopes.entry(own.to_owned()).or_insert_with(|| scope(own, &[Queues]));
        }
        Self { scopes, own: own.to_owned(), denied: Mutex::default() }
    }

    /// All scopes.
    pub fn scopes(&self) -> impl Iterator<Item = &Arc<Scope>> {
        self.scopes.values()
    }

    /// The scope that contains a namespace, or none if the operator does not watch the namespace.
    pub fn scope(&self, namespace: &str) -> Option<&Arc<Scope>> {
        self.scopes.get("").or_else(|| self.scopes.get(namespace))
    }

    /// Whether the operator works on the objects of a namespace.
    pub fn is_worked_on(&self, namespace: &str) -> bool {
        self.scope(namespace).is_some_and(|scope| scope.is_worked_on())
    }

    /// Waits until the first listing of each kind is complete in at least one scope. It does not wait for other scopes whose listings
    /// fail or take too long.
    pub async fn wait_listed(&self) {
        self.wait_for(Scope::is_listed, LISTED_WITHIN).await;
    }

    /// Asks for a new listing of every kind of which there was no news for some seconds, and waits until these listings are complete in
    /// at least one scope. A new leader needs them: the connections that brought its news may have died since.
    pub async fn take_over(&self) {
        self.scopes().for_each(|scope| scope.ask_for_old());
        self.wait_for(Scope::is_fresh, TAKEN_OVER_WITHIN).await;
    }

    async fn wait_for(&self, is_so: fn(&Scope) -> bool, patience: Duration) {
        let worked_on = self.scopes().filter(|scope| scope.is_worked_on());
        // There is one always.
        select_all(worked_on.map(|scope| Box::pin(scope.wait_until(is_so)))).await;
        let is_settled = move |scope: &Scope| is_so(scope) || scope.is_given_up();
        let settled = join_all(self.scopes().map(|scope| scope.wait_until(is_settled)));
        // Those that are left go on by themselves.
        let _ = timeout(patience, settled).await;
    }

    /// Has every kind listed anew: nothing rests on what is known of it until that is done.
    pub fn doubt(&self) {
        self.scopes().for_each(|scope| scope.ask_for_all());
    }

    /// Whether the operator sees enough of a namespace to act there.
    pub fn may(&self, act: Act, namespace: &str) -> Result<(), Blind> {
        let Some(why) = self.why_not(act, namespace) else { return Ok(()) };
        let mut denied = lock(&self.denied);
        let scope = self.scope(namespace).map(|scope| scope.namespace().to_owned());
        if let Some(entry) = scope.map(|scope| (act, scope)).filter(|entry| !denied.contains(entry)) {
            denied.push(entry);
        }
        Err(Blind(why))
    }

    fn why_not(&self, act: Act, namespace: &str) -> Option<String> {
        let now = Instant::now();
        let Some(scope) = self.scope(namespace) else { return Some(format!("namespace {namespace} is not watched")) };
        let why = act.rests_on().iter().find_map(|kind| scope.blind(*kind, now));
        why.or_else(|| self.pauses_unseen(now).filter(|_| act == Act::Dispatch))
    }

    /// Why nobody knows whether everything is paused; absent: that is seen.
    fn pauses_unseen(&self, now: Instant) -> Option<String> {
        let why = self.scope(&self.own)?.blind(Queues, now)?;
        Some(format!("{why} (a Queue there may pause everything)"))
    }

    /// The namespaces on the operator's list, each with whether the operator sees enough of it to act there.
    pub fn each(&self, act: Act) -> impl Iterator<Item = (&str, bool)> {
        let given = self.scopes().filter(|scope| scope.is_worked_on()).map(|scope| scope.namespace());
        given.filter(|namespace| !namespace.is_empty()).map(move |it| (it, self.may(act, it).is_ok()))
    }

    /// The scopes in which the operator can do now what it could not do before. The next call does not return them again.
    pub fn to_be_made_up_for(&self) -> Vec<Arc<Scope>> {
        let mut denied = lock(&self.denied);
        let is_blind = |(act, scope): &(Act, String)| self.why_not(*act, scope).is_some();
        let (blind, seen): (Vec<_>, Vec<_>) = denied.drain(..).partition(is_blind);
        *denied = blind;
        self.scopes
            .iter()
            .filter(|(name, _)| seen.iter().any(|(_, it)| it == *name))
            .map(|(_, it)| it.clone())
            .collect()
    }

    /// The kinds that the operator does not see at that moment, each with the place and the reason.
    pub fn missing(&self, now: Instant) -> Vec<String> {
        self.scopes().flat_map(|scope| scope.missing(now)).collect()
    }

    /// The kinds that the operator does not see at that moment and that it needs to answer questions about a namespace.
    pub fn missing_for(&self, namespace: &str, now: Instant) -> Vec<String> {
        let Some(scope) = self.scope(namespace) else { return Vec::new() };
        let of_own = self.scope(&self.own).filter(|own| !Arc::ptr_eq(own, scope));
        let pauses = of_own.and_then(|own| own.blind(Queues, now));
        scope.missing(now).into_iter().chain(pauses).collect()
    }

    /// Whether the operator can do anything at that moment: it sees all kinds in at least one scope, and it knows whether everything
    /// is paused.
    pub fn sees_enough(&self, now: Instant) -> bool {
        let is_whole = |scope: &Arc<Scope>| scope.is_worked_on() && scope.missing(now).is_empty();
        self.pauses_unseen(now).is_none() && self.scopes().any(is_whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn list(scope: &Scope) {
        scope.kinds().iter().for_each(|kind| scope.listed(*kind, scope.asked(*kind)));
    }

    fn fail(scope: &Scope) {
        let times = (0..3).map(|_| scope.failed(Jobs, "forbidden".into()));
        assert_eq!(times.last(), Some(3));
    }

    /// One of those namespaces, and of that own one, of which all is listed.
    fn of(namespaces: &[&str], own: &str) -> Visibility {
        let namespaces: Vec<String> = namespaces.iter().map(|it| (*it).to_owned()).collect();
        let seen = Visibility::new(Visibility::QUIET_MAX, &namespaces, own);
        seen.scopes().for_each(|scope| list(scope));
        seen
    }

    fn blind(why: &str) -> Result<(), Blind> {
        Err(Blind(why.to_owned()))
    }

    #[test]
    fn only_what_rests_on_a_kind_waits_for_it_and_is_made_up_for_once() {
        let seen = of(&[], "rota-system");
        let made_up = || seen.to_be_made_up_for().iter().map(|it| it.namespace().to_owned()).collect::<Vec<_>>();
        assert!(made_up().is_empty());
        seen.doubt();
        let all = seen.scope("any").unwrap();
        Watched::ALL.into_iter().filter(|kind| *kind != Pods).for_each(|kind| all.listed(kind, 1));
        assert_eq!(seen.may(Act::Dispatch, "a"), Ok(()));
        assert_eq!(seen.may(Act::Record, "a"), blind("pods: being listed anew"));
        assert!(made_up().is_empty(), "it is not seen yet");
        all.listed(Pods, 1);
        assert_eq!((made_up(), made_up()), (vec![String::new()], vec![]));
    }

    /// A namespace that goes silent is not hidden by another one, and hinders none.
    #[test]
    fn what_is_not_seen_of_one_namespace_keeps_nothing_in_another_from_being_done() {
        let seen = of(&["a", "b"], "a");
        let of_b = seen.scope("b").unwrap();
        of_b.ask_for_all();
        seen.scope("a").unwrap().heard(Jobs);
        let said = "jobtemplates.rota.dev in namespace b: being listed anew";
        for act in [Act::Dispatch, Act::Fire, Act::Revise] {
            assert_eq!((seen.may(act, "a"), seen.may(act, "b")), (Ok(()), blind(said)));
        }
        assert_eq!(seen.each(Act::Dispatch).collect::<Vec<_>>(), [("a", true), ("b", false)]);
        let now = Instant::now();
        assert_eq!((seen.missing(now).len(), seen.missing_for("a", now).len()), (Watched::ALL.len(), 0));
        assert!(seen.sees_enough(now), "of one all is seen");
        assert!(!seen.sees_enough(now + seconds(71)), "of none all is seen");
        assert_eq!(seen.may(Act::Fire, "c"), blind("namespace c is not watched"));
        list(of_b);
        let made_up: Vec<String> = seen.to_be_made_up_for().iter().map(|it| it.namespace().to_owned()).collect();
        assert_eq!(made_up, ["b"]);
    }

    #[test]
    fn nothing_is_dispatched_while_nobody_knows_whether_everything_is_paused() {
        let seen = of(&["a"], "rota-system");
        let own = seen.scope("rota-system").unwrap();
        assert!(!seen.is_worked_on("rota-system") && seen.is_worked_on("a") && !seen.is_worked_on("b"));
        own.ask_for_all();
        let said = "queues.rota.dev in namespace rota-system: being listed anew (a Queue there may pause everything)";
        assert_eq!(seen.may(Act::Dispatch, "a"), blind(said));
        assert_eq!((seen.may(Act::Fire, "a"), seen.may(Act::Record, "a")), (Ok(()), Ok(())));
        assert!(!seen.sees_enough(Instant::now()));
        assert_eq!(seen.missing_for("a", Instant::now()).len(), 1);
        list(own);
        assert!(seen.sees_enough(Instant::now()));
        assert_eq!(seen.to_be_made_up_for().first().map(|it| it.namespace()), Some("a"));
    }

    #[tokio::test]
    async fn a_start_waits_for_one_namespace_always_and_for_others_unless_they_fail_or_take_too_long() {
        let namespaces = ["a", "b", "c"].map(str::to_owned);
        let seen = Visibility::new(Visibility::QUIET_MAX, &namespaces, "a");
        let scope = |name| seen.scope(name).unwrap();
        let listed = seen.wait_for(Scope::is_listed, LISTED_WITHIN);
        tokio::pin!(listed);
        fail(scope("b"));
        assert!(futures::poll!(&mut listed).is_pending(), "nothing is listed");
        list(scope("a"));
        assert!(futures::poll!(&mut listed).is_pending(), "the last one may be listed soon");
        seen.wait_for(Scope::is_listed, Duration::ZERO).await;
        list(scope("c"));
        listed.await;
    }

    #[tokio::test]
    async fn a_new_leader_waits_for_new_listings_and_not_for_a_namespace_that_cannot_be_listed() {
        let seen = of(&["a", "b"], "a");
        let [a, b] = ["a", "b"].map(|name| seen.scope(name).unwrap());
        seen.take_over().await;
        seen.doubt();
        let taken = seen.take_over();
        tokio::pin!(taken);
        assert!(futures::poll!(&mut taken).is_pending());
        list(a);
        assert!(futures::poll!(&mut taken).is_pending());
        fail(b);
        taken.await;
        assert!(a.is_fresh() && !b.is_fresh());
        let fresh = b.wait_fresh();
        tokio::pin!(fresh);
        assert!(futures::poll!(&mut fresh).is_pending());
        list(b);
        fresh.await;
    }
}
