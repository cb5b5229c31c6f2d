//! Rows: the waiting Jobs of one namespace, such that the next that may be launched is found without a look at the others.
//!
//! Jobs of a queue that have the same limits stand in one row, in order. A row whose first Job meets a limit that is
//! reached is set aside at that limit. Where a limit has room, the best of the rows that were set aside at it is back
//! among the open ones, so that the first of the open rows is the first Job of all that may be launched.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::blockers::is_active;
use super::{Holdback, Limit, Limits, Occupant, Rank, Settings};
use crate::api::queue::Pause;

/// A waiting Job in order: its rank now, and its uid.
pub(super) type Place = (Arc<Rank>, Arc<str>);
/// Since when a Job is queued, its name and its uid.
pub(super) type Age = (Timestamp, Arc<str>, Arc<str>);
/// The first of a row, and which row it is.
type Head = (Place, Limits);

/// A namespace.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    /// Its name.
    pub name: Arc<str>,
    /// How many of its Jobs run.
    pub running: usize,
    /// Its queues by name.
    pub queues: HashMap<Arc<str>, QueueRows>,
    /// How its templates, groups and schedules are used.
    pub limits: HashMap<Limit, Usage>,
    /// Queues whose first Job that may be launched may be another one than when it was last looked for, and an earlier one.
    pub restless: BTreeSet<Arc<str>>,
    /// The first Job of each other queue that may be launched, as it was when it was last looked for.
    pub heads: Heads,
    /// Queues whose next Job came after one that nobody looked at yet.
    pub gated: BTreeSet<Arc<str>>,
    /// What was there when this process began to lead and nobody looked at yet: all of it may go first.
    pub from_start: HashSet<String>,
    /// What came since and nobody looked at yet: it may go before what came later.
    pub unseen: BTreeSet<(Timestamp, String)>,
    /// The pauses of all of it, by the queue that says so.
    pub pauses: BTreeMap<String, Pause>,
    /// How many ran when it was last listed among those that may have something to launch.
    pub listed: Option<usize>,
}

/// The first Job of each queue that may be launched, in order.
#[derive(Debug, Default)]
pub(super) struct Heads {
    order: BTreeSet<(Place, Arc<str>)>,
    of_queue: HashMap<Arc<str>, Place>,
}

impl Heads {
    /// The first of a queue is that one; absent: none.
    pub fn set(&mut self, queue: &Arc<str>, first: Option<Place>) {
        if self.of_queue.get(queue) == first.as_ref() {
            return;
        }
        let before = match first.clone() {
            Some(first) => self.of_queue.insert(queue.clone(), first),
            None => self.of_queue.remove(queue),
        };
        if let Some(before) = before {
            self.order.remove(&(before, queue.clone()));
        }
        self.order.extend(first.map(|first| (first, queue.clone())));
    }

    /// The best of them, and its queue.
    pub fn best(&self) -> Option<(Place, Arc<str>)> {
        self.order.first().cloned()
    }

    /// Forgets all. Returns their queues.
    pub fn clear(&mut self) -> Vec<Arc<str>> {
        self.order.clear();
        self.of_queue.drain().map(|(queue, _)| queue).collect()
    }
}

/// Whether what is admitted in a queue can be written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// As far as is known.
    #[default]
    Full,
    /// The last time it could not: one Job is admitted, to see.
    OnTrial,
    /// It cannot, for that reason, and nothing is admitted until it is tried again.
    None(String),
}

/// A queue.
#[derive(Debug, Default)]
pub(super) struct QueueRows {
    /// Whether what is admitted in it can be written down.
    pub trust: Trust,
    /// What it is set to; absent: it does not exist.
    pub settings: Option<Settings>,
    /// What it meets at the API server.
    pub holdback: Option<Holdback>,
    /// How many of those who run were admitted, and their launch has not ended.
    pub launching: usize,
    /// Who runs: name and uid.
    pub running: BTreeSet<(Arc<str>, Arc<str>)>,
    /// Who waits, in order.
    pub order: BTreeSet<Place>,
    /// Who waits, longest first.
    pub ages: BTreeSet<Age>,
    /// Those of them that the queue has not taken yet: they may be refused for want of room.
    pub arrivals: BTreeSet<Age>,
    /// Names of those that ask for the same.
    pub same: HashMap<String, BTreeSet<Arc<str>>>,
    rows: HashMap<Limits, Row>,
    open: BTreeSet<Head>,
}

#[derive(Debug, Default)]
struct Row {
    jobs: BTreeSet<Place>,
    /// The limit at which the row is set aside.
    aside: Option<Limit>,
}

/// How a limit is used.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// How many may run; absent: any number.
    pub max: Option<u32>,
    /// How many do.
    pub used: u32,
    /// How many rows have it.
    rows: usize,
    /// The rows that are set aside at it, by queue.
    aside: HashMap<Arc<str>, BTreeSet<Head>>,
}

impl Usage {
    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.max.is_some_and(|max| self.used >= max)
    }

    /// Whether more run than may.
    pub fn is_overrun(&self) -> bool {
        self.max.is_some_and(|max| self.used > max)
    }
}

impl Namespace {
    /// One of which nothing is known but its name.
    pub fn new(name: &Arc<str>) -> Self {
        Self { name: name.clone(), ..Self::default() }
    }

    /// The pause of the whole namespace that is in force, and the queue that says so.
    pub fn pause(&self, now: Timestamp) -> Option<(&str, &Pause)> {
        let mut pauses = self.pauses.iter().filter(|(_, pause)| is_active(pause, now));
        pauses.next().map(|(name, pause)| (name.as_str(), pause))
    }

    /// Puts a Job into its row.
    pub fn insert(&mut self, queue: &Arc<str>, limits: &Limits, place: Place) {
        let rows = self.queues.entry(queue.clone()).or_default();
        rows.order.insert(place.clone());
        if !rows.rows.contains_key(limits) {
            limits.iter().for_each(|limit| self.limits.entry(limit.clone()).or_default().rows += 1);
        }
        let row = rows.rows.entry(limits.clone()).or_default();
        let before = row.jobs.first().cloned();
        row.jobs.insert(place.clone());
        if before.as_ref().is_none_or(|before| place < *before) {
            self.close(queue, limits, before);
            self.open(queue, limits);
        }
    }

    /// Takes a Job out of its row.
    pub fn remove(&mut self, queue: &Arc<str>, limits: &Limits, place: &Place) {
        let Some(rows) = self.queues.get_mut(queue) else { return };
        rows.order.remove(place);
        let Some(row) = rows.rows.get_mut(limits) else { return };
        let was_first = row.jobs.first() == Some(place);
        row.jobs.remove(place);
        if was_first {
            self.close(queue, limits, Some(place.clone()));
            self.open(queue, limits);
            limits.iter().for_each(|limit| self.refill(limit));
        }
    }

    /// Takes a row from where it is listed under that first Job.
    fn close(&mut self, queue: &Arc<str>, limits: &Limits, first: Option<Place>) {
        let (Some(first), Some(rows)) = (first, self.queues.get_mut(queue)) else { return };
        let Some(row) = rows.rows.get_mut(limits) else { return };
        let head = (first, limits.clone());
        match row.aside.take() {
            None => {
                rows.open.remove(&head);
            }
            Some(limit) => {
                if let Some(usage) = self.limits.get_mut(&limit)
                    && let Some(aside) = usage.aside.get_mut(queue)
                {
                    aside.remove(&head);
                    if aside.is_empty() {
                        usage.aside.remove(queue);
                    }
                }
            }
        }
    }

    /// Lists a row among the open ones, if it has any Job.
    fn open(&mut self, queue: &Arc<str>, limits: &Limits) {
        let Some(rows) = self.queues.get_mut(queue) else { return };
        match rows.rows.get(limits).and_then(|row| row.jobs.first().cloned()) {
            Some(first) => {
                rows.open.insert((first, limits.clone()));
                self.restless.insert(queue.clone());
            }
            None => {
                rows.rows.remove(limits);
                for limit in limits.iter() {
                    if let Some(usage) = self.limits.get_mut(limit) {
                        usage.rows = usage.rows.saturating_sub(1);
                    }
                    self.drop_unused(limit);
                }
            }
        }
    }

    /// Forgets a limit that is none, and that nobody waits or runs under.
    fn drop_unused(&mut self, limit: &Limit) {
        if self.limits.get(limit).is_some_and(|usage| usage.max.is_none() && usage.used == 0 && usage.rows == 0) {
            self.limits.remove(limit);
        }
    }

    /// Forgets a queue that does not exist, and in which nobody waits or runs.
    pub fn drop_unused_queue(&mut self, queue: &str) {
        let is_unused = |rows: &QueueRows| rows.settings.is_none() && rows.order.is_empty() && rows.running.is_empty();
        if self.queues.get(queue).is_some_and(is_unused) {
            self.queues.remove(queue);
            self.restless.remove(queue);
            self.gated.remove(queue);
        }
    }

    /// If a limit has room, the best row of each queue that is set aside at it is open again.
    pub fn refill(&mut self, limit: &Limit) {
        let Some(usage) = self.limits.get_mut(limit).filter(|usage| !usage.is_full()) else { return };
        let mut back = Vec::new();
        usage.aside.retain(|queue, heads| {
            back.extend(heads.pop_first().map(|head| (queue.clone(), head)));
            !heads.is_empty()
        });
        for (queue, head) in back {
            if let Some(rows) = self.queues.get_mut(&queue) {
                if let Some(row) = rows.rows.get_mut(&head.1) {
                    row.aside = None;
                }
                rows.open.insert(head);
            }
            self.restless.insert(queue);
        }
    }

    /// The first Job of a queue that its limits would let run. It is a matter of the queue's own limit whether it may.
    pub fn first(&mut self, queue: &Arc<str>) -> Option<Place> {
        loop {
            let rows = self.queues.get_mut(queue)?;
            let (place, limits) = rows.open.first()?.clone();
            let limit = limits.iter().find(|limit| self.limits.get(limit).is_some_and(Usage::is_full)).cloned();
            let Some(limit) = limit else { return Some(place) };
            rows.open.pop_first();
            if let Some(row) = rows.rows.get_mut(&limits) {
                row.aside = Some(limit.clone());
            }
            if let Some(usage) = self.limits.get_mut(&limit) {
                usage.aside.entry(queue.clone()).or_default().insert((place, limits.clone()));
            }
            limits.iter().for_each(|other| self.refill(other));
        }
    }

    /// A Job takes its places.
    pub fn occupy(&mut self, uid: &Arc<str>, place: &Occupant, is_launching: bool) {
        self.running += 1;
        let rows = self.queues.entry(place.queue.clone()).or_default();
        rows.launching += usize::from(is_launching);
        rows.running.insert((place.name.clone(), uid.clone()));
        for limit in place.limits.iter() {
            self.limits.entry(limit.clone()).or_default().used += 1;
        }
    }

    /// A launch in a queue has ended. Returns how many have not.
    pub fn launched(&mut self, queue: &str) -> usize {
        let Some(rows) = self.queues.get_mut(queue) else { return 0 };
        rows.launching = rows.launching.saturating_sub(1);
        rows.launching
    }

    /// A Job gives its places back.
    pub fn release(&mut self, uid: &Arc<str>, place: &Occupant) {
        self.running = self.running.saturating_sub(1);
        if let Some(rows) = self.queues.get_mut(&place.queue) {
            rows.running.remove(&(place.name.clone(), uid.clone()));
        }
        self.restless.insert(place.queue.clone());
        self.drop_unused_queue(&place.queue);
        for limit in place.limits.iter() {
            if let Some(usage) = self.limits.get_mut(limit) {
                usage.used = usage.used.saturating_sub(1);
            }
            self.refill(limit);
            self.drop_unused(limit);
        }
    }

    /// How many may run under a limit; absent: any number.
    pub fn set_max(&mut self, limit: &Limit, max: Option<u32>) {
        if self.limits.get(limit).and_then(|usage| usage.max) != max {
            self.limits.entry(limit.clone()).or_default().max = max;
            self.refill(limit);
            self.drop_unused(limit);
        }
    }

    /// Whether it may have something to launch.
    pub fn may_have_next(&self) -> bool {
        !self.restless.is_empty() || self.heads.best().is_some()
    }

    /// Every queue in which something waits has to be looked at.
    pub fn wake(&mut self) {
        let waiting = self.queues.iter().filter(|(_, rows)| !rows.order.is_empty()).map(|(name, _)| name.clone());
        self.restless.extend(waiting);
    }

    /// Whether nothing is known of it any more.
    pub fn is_empty(&self) -> bool {
        self.running == 0
            && self.limits.is_empty()
            && self.from_start.is_empty()
            && self.unseen.is_empty()
            && self.queues.is_empty()
    }
}
