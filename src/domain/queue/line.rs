//! Line: every Job that waits or runs, told of each change, and asked who is next.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::blockers::is_active;
use super::rows::{Namespace, Place, QueueRows, Trust};
use super::{Candidate, Limit, Occupant, Offer, Round, Settings, aged};
use crate::api::queue::{Pause, PauseScope};

/// How many Jobs one round admits: whoever else asks for the line waits for no more than that.
pub(super) const ADMITTED_MAX: usize = 500;
/// How many waiting Jobs are ranked anew in one second because they have waited. Where more wait, each is late by as many
/// seconds as that takes.
pub(super) const RANKED_ANEW_MAX: usize = 5_000;

/// Every Job that waits or runs.
#[derive(Debug, Default)]
pub struct Line {
    pub(super) ceiling: Option<u32>,
    launching_max: usize,
    pub(super) running: usize,
    pub(super) namespaces: HashMap<Arc<str>, Namespace>,
    /// Queues in which more wait than may.
    pub(super) overfull: BTreeSet<(String, String)>,
    /// What was not kept and is to be recorded.
    pub(super) dropped: HashSet<String>,
    jobs: HashMap<Arc<str>, Entry>,
    /// Namespaces that may have something to launch; the one that runs least comes first.
    ready: BTreeSet<(usize, Arc<str>)>,
    /// Namespaces that are not to be decided about before this process knows what runs there, and how many Jobs may be
    /// running there that it does not know of.
    pub(super) held_back: HashMap<String, usize>,
    /// Namespaces that are not seen as they are now.
    pub(super) blind: HashSet<String>,
    /// When waiting changes the rank of a Job.
    pub(super) aging: BTreeSet<(Timestamp, Arc<str>)>,
    /// In which second Jobs were last ranked anew, and how many.
    ranked_anew: (i64, usize),
    /// When a pause ends, and of which queue of which namespace.
    pub(super) endings: BTreeSet<(Timestamp, String, String)>,
    /// When a queue that is held back tries the next Job.
    pub(super) probes: BTreeSet<(Timestamp, Arc<str>, Arc<str>)>,
    /// Queues that pause everything.
    everything: BTreeMap<(String, String), Pause>,
}

#[derive(Debug)]
struct Entry {
    namespace: Arc<str>,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting(Box<Waiting>),
    /// It runs, or is being launched; `offer` is there until it is written down that it may be.
    Occupying {
        place: Occupant,
        offer: Option<Box<Offer>>,
        /// Whether it was admitted here and its launch has not ended.
        is_launching: bool,
    },
}

#[derive(Debug)]
struct Waiting {
    offer: Offer,
    place: Place,
    changes_at: Option<Timestamp>,
}

impl Line {
    /// An empty line under a limit for the whole cluster (absent: no limit), which has at most so many Jobs of a queue
    /// launched at once: what is written of each admission is bounded by that.
    pub fn new(ceiling: Option<u32>, launching_max: usize) -> Self {
        Self { ceiling, launching_max, ..Self::default() }
    }

    /// Whether there is a limit for the whole cluster.
    pub fn has_ceiling(&self) -> bool {
        self.ceiling.is_some()
    }

    /// Whether what is admitted in a queue can be written down: one of which it cannot takes no place from others.
    pub fn set_trust(&mut self, namespace: &str, queue: &str, trust: Trust) {
        let Some(space) = self.namespaces.get_mut(namespace) else { return };
        let Some(rows) = space.queues.get_mut(queue).filter(|rows| rows.trust != trust) else { return };
        rows.trust = trust;
        if !rows.order.is_empty() {
            space.restless.insert(queue.into());
            self.touch(namespace);
        }
    }

    /// Whether something waits in a queue or is being launched from it.
    pub fn is_used(&self, namespace: &str, queue: &str) -> bool {
        let rows = self.namespaces.get(namespace).and_then(|space| space.queues.get(queue));
        rows.is_some_and(|rows| !rows.order.is_empty() || rows.launching > 0)
    }

    /// A Job is there that nobody has looked at: what came after it must not overtake it.
    pub fn expect(&mut self, namespace: &str, uid: &str, first_seen: Timestamp, from_start: bool) {
        let space = self.space(&namespace.into());
        if from_start {
            space.from_start.insert(uid.to_owned());
        } else {
            space.unseen.insert((first_seen, uid.to_owned()));
        }
    }

    /// It was looked at, or is gone. Returns whether others may have waited for that, so that somebody has to ask who is next.
    pub fn looked_at(&mut self, namespace: &str, uid: &str, first_seen: Timestamp) -> bool {
        self.expects_less(namespace, |space| {
            let unseen = space.unseen.remove(&(first_seen, uid.to_owned()));
            space.from_start.remove(uid) || unseen
        })
    }

    /// It could not be looked at: what came after it goes on. `from_start` says whether what is not decided before everything
    /// that was there at the start has been looked at goes on too: one that cannot be looked at for long is left out.
    pub fn passed_over(&mut self, namespace: &str, uid: &str, first_seen: Timestamp, from_start: bool) -> bool {
        self.expects_less(namespace, |space| {
            let unseen = space.unseen.remove(&(first_seen, uid.to_owned()));
            (from_start && space.from_start.remove(uid)) || unseen
        })
    }

    fn expects_less(&mut self, namespace: &str, remove: impl FnOnce(&mut Namespace) -> bool) -> bool {
        let Some(space) = self.namespaces.get_mut(namespace) else { return false };
        let removed = remove(space);
        if removed {
            let gated = std::mem::take(&mut space.gated);
            space.restless.extend(gated);
            self.touch(namespace);
        }
        removed
    }

    /// A queue is set to that; absent: it is gone.
    pub fn set_queue(&mut self, namespace: &str, queue: &str, settings: Option<Settings>) {
        let name: Arc<str> = namespace.into();
        let space = self.namespaces.entry(name.clone()).or_insert_with(|| Namespace::new(&name));
        let rows = space.queues.entry(queue.into()).or_default();
        if rows.settings == settings {
            space.drop_unused_queue(queue);
            self.touch(namespace);
            return;
        }
        let aging = |settings: &Option<Settings>| settings.as_ref().and_then(|it| it.aging.clone());
        let reranked = aging(&rows.settings) != aging(&settings);
        let pause = settings.as_ref().and_then(|it| it.paused.clone());
        let ending =
            |settings: &Option<Settings>| settings.as_ref()?.paused.as_ref()?.until.as_ref().map(|until| until.0);
        if let Some(until) = ending(&rows.settings) {
            self.endings.remove(&(until, namespace.to_owned(), queue.to_owned()));
        }
        if rows.settings.as_ref().is_none_or(|it| it.depth.is_none()) {
            rows.arrivals.clear();
        }
        if settings.is_none() {
            // What is made under its name is another Queue.
            rows.trust = Trust::Full;
        }
        rows.settings = settings;
        if rows.settings.as_ref().is_some_and(|it| it.depth.is_some()) {
            self.overfull.insert((namespace.to_owned(), queue.to_owned()));
        }
        let waiting: Vec<Arc<str>> = rows.order.iter().filter(|_| reranked).map(|(_, uid)| uid.clone()).collect();
        waiting.iter().for_each(|uid| self.rerank(uid, Timestamp::MIN));
        let key = (namespace.to_owned(), queue.to_owned());
        let of_scope = |scope| pause.as_ref().filter(|it| it.scope == Some(scope)).cloned();
        match of_scope(PauseScope::Namespace) {
            Some(pause) => drop(self.space(&name).pauses.insert(queue.to_owned(), pause)),
            None => drop(self.space(&name).pauses.remove(queue)),
        }
        self.space(&name).drop_unused_queue(queue);
        let everything = of_scope(PauseScope::Cluster);
        let before = match everything {
            Some(pause) => self.everything.insert(key, pause),
            None => self.everything.remove(&key),
        };
        if let Some(until) = pause.and_then(|pause| pause.until) {
            self.endings.insert((until.0, namespace.to_owned(), queue.to_owned()));
        }
        if before.is_some() {
            self.wake_all();
        }
        self.wake(namespace);
    }

    /// How many may run under a limit; absent: any number.
    pub fn set_max(&mut self, namespace: &str, limit: &Limit, max: Option<u32>) {
        if max.is_some() || self.namespaces.contains_key(namespace) {
            self.space(&namespace.into()).set_max(limit, max);
            self.touch(namespace);
        }
    }

    /// A Job may be launched when it is its turn. One that runs already, or was not kept, is not taken.
    pub fn offer(&mut self, offer: Offer, now: Timestamp) {
        let uid = &offer.candidate.uid;
        if self.dropped.contains(uid.as_ref()) {
            return;
        }
        match self.jobs.get(uid).map(|entry| &entry.state) {
            Some(State::Occupying { .. }) => return,
            Some(State::Waiting(waiting)) if waiting.offer.candidate == offer.candidate => return,
            Some(State::Waiting(_)) => self.withdraw(uid),
            None => {}
        }
        self.stand(offer, now);
    }

    fn stand(&mut self, offer: Offer, now: Timestamp) {
        let Offer { namespace, candidate, .. } = &offer;
        let Candidate { queue, uid, limits, .. } = candidate;
        let space = self.namespaces.entry(namespace.clone()).or_insert_with(|| Namespace::new(namespace));
        let rows = space.queues.entry(queue.clone()).or_default();
        let aging = rows.settings.as_ref().and_then(|it| it.aging.as_ref());
        let (rank, changes_at) = aged(&candidate.rank, aging, now);
        let place = (Arc::new(rank), uid.clone());
        let age = (candidate.rank.queued_at, candidate.rank.name.clone(), uid.clone());
        rows.ages.insert(age.clone());
        if !offer.accepted {
            rows.arrivals.insert(age);
        }
        if let Some(asks_for) = &offer.asks_for {
            rows.same.entry(asks_for.clone()).or_default().insert(candidate.rank.name.clone());
        }
        if rows.settings.as_ref().and_then(|it| it.depth).is_some_and(|(max, _)| rows.order.len() >= max as usize) {
            self.overfull.insert((namespace.to_string(), queue.to_string()));
        }
        space.insert(queue, limits, place.clone());
        self.aging.extend(changes_at.map(|at| (at, uid.clone())));
        let (namespace, uid) = (namespace.clone(), uid.clone());
        let state = State::Waiting(Box::new(Waiting { offer, place, changes_at }));
        self.jobs.insert(uid, Entry { namespace: namespace.clone(), state });
        self.touch(&namespace);
    }

    /// A Job must not be launched any more, or not now. One whose launch is written down goes on.
    pub fn withdraw(&mut self, uid: &str) {
        match self.jobs.get(uid).map(|entry| &entry.state) {
            Some(State::Waiting(_)) => drop(self.leave(uid)),
            Some(State::Occupying { offer: Some(_), .. }) => self.release(uid),
            Some(State::Occupying { offer: None, .. }) | None => {}
        }
    }

    /// Takes a waiting Job out of its line.
    fn leave(&mut self, uid: &str) -> Option<(Arc<str>, Box<Waiting>)> {
        let (uid, entry) = self.jobs.remove_entry(uid)?;
        let Entry { namespace, state: State::Waiting(waiting) } = entry else {
            self.jobs.insert(uid, entry);
            return None;
        };
        if let Some(at) = waiting.changes_at {
            self.aging.remove(&(at, uid));
        }
        let candidate = &waiting.offer.candidate;
        if let Some(space) = self.namespaces.get_mut(&namespace) {
            space.remove(&candidate.queue, &candidate.limits, &waiting.place);
            if let Some(rows) = space.queues.get_mut(&candidate.queue) {
                forget(rows, &waiting.offer);
            }
            space.drop_unused_queue(&candidate.queue);
        }
        self.touch(&namespace);
        Some((namespace, waiting))
    }

    /// A Job runs, or is being launched, and takes those places. One of which that is known keeps the places it has.
    pub fn occupy(&mut self, namespace: &str, uid: &str, place: Occupant) {
        if matches!(self.jobs.get(uid), Some(Entry { state: State::Occupying { .. }, .. })) {
            return;
        }
        drop(self.leave(uid));
        self.take_places(&namespace.into(), uid.into(), place, None);
    }

    fn take_places(&mut self, namespace: &Arc<str>, uid: Arc<str>, place: Occupant, offer: Option<Box<Offer>>) {
        let is_launching = offer.is_some();
        self.space(namespace).occupy(&uid, &place, is_launching);
        self.running += 1;
        let state = State::Occupying { place, offer, is_launching };
        self.jobs.insert(uid, Entry { namespace: namespace.clone(), state });
        self.touch(namespace);
    }

    /// A Job does not run any more, and gives its places back.
    pub fn release(&mut self, uid: &str) {
        let Some((key, entry)) = self.jobs.remove_entry(uid) else { return };
        let State::Occupying { place, is_launching, .. } = &entry.state else {
            self.jobs.insert(key, entry);
            return;
        };
        self.running = self.running.saturating_sub(1);
        if let Some(space) = self.namespaces.get_mut(&entry.namespace) {
            if *is_launching {
                space.launched(&place.queue);
            }
            space.release(&key, place);
        }
        let (namespace, queue) = (entry.namespace.clone(), place.queue.clone());
        let retry = self.with_holdback(&namespace, &queue, |holdback| holdback.ended(&key).then(|| holdback.next()));
        self.probes.extend(retry.flatten().flatten().map(|at| (at, namespace, queue)));
        self.touch(&entry.namespace);
    }

    /// It is written down that an admitted Job may be launched. Absent if it was withdrawn since.
    pub fn confirm(&mut self, uid: &str) -> bool {
        match self.jobs.get_mut(uid).map(|entry| &mut entry.state) {
            Some(State::Occupying { offer, .. }) => offer.take().is_some(),
            _ => false,
        }
    }

    /// The launch of an admitted Job has ended. When half of what may be launched at once is, its queue goes on.
    pub fn launched(&mut self, uid: &str) {
        let Some(Entry { namespace, state }) = self.jobs.get_mut(uid) else { return };
        let State::Occupying { place, is_launching, .. } = state else { return };
        if std::mem::take(is_launching)
            && let Some(space) = self.namespaces.get_mut(namespace)
        {
            let left = space.launched(&place.queue);
            if left <= self.launching_max / 2 {
                space.restless.insert(place.queue.clone());
            }
            let namespace = namespace.clone();
            self.touch(&namespace);
        }
    }

    /// Whether a Job was admitted, and it is not written down yet.
    pub fn is_admitted(&self, uid: &str) -> bool {
        let state = self.jobs.get(uid).map(|entry| &entry.state);
        matches!(state, Some(State::Occupying { offer: Some(_), .. }))
    }

    /// Whether a Job takes a place.
    pub fn occupies(&self, uid: &str) -> bool {
        matches!(self.jobs.get(uid), Some(Entry { state: State::Occupying { .. }, .. }))
    }

    /// It could not be written down that an admitted Job may be launched: it waits again.
    pub fn put_back(&mut self, uid: &str, now: Timestamp) {
        let Some(State::Occupying { offer, .. }) = self.jobs.get_mut(uid).map(|entry| &mut entry.state) else { return };
        let Some(offer) = offer.take() else { return };
        self.release(uid);
        self.offer(*offer, now);
    }

    /// A Job is gone.
    pub fn forget(&mut self, uid: &str) {
        self.withdraw(uid);
        self.dropped.remove(uid);
    }

    /// Decides one round, of at most [`ADMITTED_MAX`] Jobs. What it takes grows with the logarithm of how many wait, and not with
    /// how many queues there are.
    pub fn admit(&mut self, now: Timestamp) -> Round {
        let mut round = Round { resumed: self.advance(now), ..Round::default() };
        while !self.is_full() && round.admitted.len() < ADMITTED_MAX {
            let Some((_, namespace)) = self.ready.first().cloned() else { break };
            let next = self.next(&namespace, now);
            // Where it is put back its queue has taken it all the same.
            let accepted = next.as_ref().is_some_and(|uid| self.is_taken(uid));
            let Some((namespace, waiting)) = next.and_then(|uid| self.leave(&uid)) else { continue };
            let candidate = waiting.offer.candidate.clone();
            let offer = Some(Box::new(Offer { accepted, ..waiting.offer }));
            self.take_places(&namespace, candidate.uid.clone(), candidate.places(), offer);
            self.with_holdback(&namespace, &candidate.queue, |holdback| holdback.probe(&candidate.uid));
            round.admitted.push((namespace, candidate));
        }
        self.trim(&mut round);
        let times = [self.endings.first().map(|(at, _, _)| *at), self.probes.first().map(|(at, ..)| *at)];
        round.wake_at = times.into_iter().flatten().min();
        if self.aging.first().is_some_and(|(at, _)| *at <= now) {
            let next_second = Timestamp::from_second(now.as_second() + 1).unwrap_or(now);
            round.wake_at = Some(round.wake_at.map_or(next_second, |at| at.min(next_second)));
        }
        if round.admitted.len() >= ADMITTED_MAX {
            round.wake_at = Some(now);
        }
        round
    }

    /// The Job of a namespace that goes next; absent: none, and the namespace rests until something changes.
    fn next(&mut self, name: &str, now: Timestamp) -> Option<Arc<str>> {
        let everything = self.pause_of_cluster(now).is_some();
        let is_withheld = self.is_withheld(name);
        let launching_max = self.launching_max;
        let space = self.namespaces.get_mut(name)?;
        if everything || space.pause(now).is_some() {
            space.restless.clear();
            space.heads.clear();
        } else if is_withheld || !space.from_start.is_empty() {
            let waiting = std::mem::take(&mut space.restless);
            space.gated.extend(waiting);
            space.gated.extend(space.heads.clear());
        }
        let next = loop {
            while let Some(queue) = space.restless.pop_first() {
                look(space, &queue, launching_max, now);
            }
            let Some((best, queue)) = space.heads.best() else { break None };
            // What was admitted since may have taken the last place of a limit that it has: it is looked at once more.
            look(space, &queue, launching_max, now);
            if space.restless.is_empty() && space.heads.best().is_some_and(|(it, _)| it == best) {
                break Some(best.1);
            }
        };
        self.touch(name);
        next
    }

    /// What time has changed. Returns the namespaces in which a pause has ended.
    fn advance(&mut self, now: Timestamp) -> Vec<String> {
        let mut resumed = Vec::new();
        if self.ranked_anew.0 != now.as_second() {
            self.ranked_anew = (now.as_second(), 0);
        }
        while self.ranked_anew.1 < RANKED_ANEW_MAX
            && let Some((_, uid)) = self.aging.first().filter(|(at, _)| *at <= now).cloned()
        {
            self.aging.pop_first();
            self.rerank(&uid, now);
            self.ranked_anew.1 += 1;
        }
        self.advance_probes(now);
        while let Some((_, namespace, _)) = self.endings.first().filter(|(at, _, _)| *at <= now).cloned() {
            self.endings.pop_first();
            // It may have paused more than its own namespace.
            if self.everything.keys().any(|(it, _)| *it == namespace) {
                self.wake_all();
            }
            self.wake(&namespace);
            resumed.push(namespace);
        }
        resumed
    }

    fn rerank(&mut self, uid: &str, now: Timestamp) {
        let accepted = self.is_taken(uid);
        if let Some((_, waiting)) = self.leave(uid) {
            self.stand(Offer { accepted, ..waiting.offer }, now);
        }
    }

    /// Whether the queue of a waiting Job has taken it.
    fn is_taken(&self, uid: &str) -> bool {
        let Some(offer) = self.offer_of(uid) else { return false };
        let rows = self.namespaces.get(&offer.namespace).and_then(|space| space.queues.get(&offer.candidate.queue));
        let rank = &offer.candidate.rank;
        rows.is_some_and(|rows| !rows.arrivals.contains(&(rank.queued_at, rank.name.clone(), uid.into())))
    }

    /// The pause of everything that is in force, and the queue that says so.
    pub fn pause_of_cluster(&self, now: Timestamp) -> Option<(String, &Pause)> {
        let found = self.everything.iter().find(|(_, pause)| is_active(pause, now));
        found.map(|((namespace, queue), pause)| (format!("{namespace}/{queue}"), pause))
    }

    /// Whether as many run in the cluster as may.
    pub(super) fn is_full(&self) -> bool {
        self.ceiling.is_some_and(|ceiling| self.counted() >= ceiling as usize)
    }

    /// A Job that takes places: its namespace, and which.
    pub(super) fn occupant(&self, uid: &str) -> Option<(&str, &Occupant)> {
        let entry = self.jobs.get(uid)?;
        let State::Occupying { place, .. } = &entry.state else { return None };
        Some((&entry.namespace, place))
    }

    /// A waiting Job: its namespace, what would be launched, and its place.
    pub(super) fn waiting(&self, uid: &str) -> Option<(&str, &Candidate, &Place)> {
        let entry = self.jobs.get(uid)?;
        let State::Waiting(waiting) = &entry.state else { return None };
        Some((&entry.namespace, &waiting.offer.candidate, &waiting.place))
    }

    pub(super) fn offer_of(&self, uid: &str) -> Option<&Offer> {
        match &self.jobs.get(uid)?.state {
            State::Waiting(waiting) => Some(&waiting.offer),
            State::Occupying { .. } => None,
        }
    }

    pub(super) fn wake(&mut self, namespace: &str) {
        if let Some(space) = self.namespaces.get_mut(namespace) {
            space.wake();
        }
        self.touch(namespace);
    }

    fn wake_all(&mut self) {
        let all: Vec<Arc<str>> = self.namespaces.keys().cloned().collect();
        all.iter().for_each(|namespace| self.wake(namespace));
    }

    /// A namespace, known from now on.
    pub(super) fn space(&mut self, namespace: &Arc<str>) -> &mut Namespace {
        self.namespaces.entry(namespace.clone()).or_insert_with(|| Namespace::new(namespace))
    }

    /// Lists a namespace among those that may have something to launch, or not, as it is now.
    pub(super) fn touch(&mut self, namespace: &str) {
        let Some(space) = self.namespaces.get_mut(namespace) else { return };
        let wanted = space.may_have_next().then_some(space.running);
        if space.listed != wanted {
            if let Some(listed) = space.listed {
                self.ready.remove(&(listed, space.name.clone()));
            }
            space.listed = wanted;
            self.ready.extend(wanted.map(|running| (running, space.name.clone())));
        }
        if wanted.is_none() && space.is_empty() {
            self.namespaces.remove(namespace);
        }
    }
}

/// Finds the first Job of a queue that may be launched now.
fn look(space: &mut Namespace, queue: &Arc<str>, launching_max: usize, now: Timestamp) {
    let gate = space.unseen.first().map(|(at, _)| *at);
    let first = startable(space, queue, launching_max, now);
    let gated = first.as_ref().zip(gate).is_some_and(|(first, gate)| first.0.queued_at >= gate);
    if gated {
        space.gated.insert(queue.clone());
    }
    space.heads.set(queue, first.filter(|_| !gated));
}

/// The first Job of a queue that may be launched as far as queue and limits go.
fn startable(space: &mut Namespace, queue: &Arc<str>, launching_max: usize, now: Timestamp) -> Option<Place> {
    let rows = space.queues.get(queue)?;
    let settings = rows.settings.as_ref()?;
    let launching_max = match rows.trust {
        Trust::Full => launching_max,
        Trust::OnTrial => 1,
        Trust::None(_) => 0,
    };
    let full =
        settings.max_running.is_some_and(|max| rows.running.len() >= max as usize) || rows.launching >= launching_max;
    let held = rows.holdback.as_ref().is_some_and(|holdback| holdback.holds(now));
    if full || held || settings.paused.as_ref().is_some_and(|pause| is_active(pause, now)) {
        return None;
    }
    space.first(queue)
}

fn forget(rows: &mut QueueRows, offer: &Offer) {
    let name = &offer.candidate.rank.name;
    let age = (offer.candidate.rank.queued_at, name.clone(), offer.candidate.uid.clone());
    rows.ages.remove(&age);
    rows.arrivals.remove(&age);
    if let Some(asks_for) = &offer.asks_for
        && let Some(names) = rows.same.get_mut(asks_for)
    {
        names.remove(name);
        if names.is_empty() {
            rows.same.remove(asks_for);
        }
    }
}
