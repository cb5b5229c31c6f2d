//! Queue: which of the waiting Jobs may be launched now, and what the others wait for.
//!
//! [`Line`] holds every Job that waits or runs, and is told of each change. To admit the next Job takes time that grows
//! with the logarithm of how many wait: within a queue, Jobs with the same limits stand in one row, rows whose limit is
//! reached are set aside until it has room again, and among the others the first in rank is next. Under a limit for the
//! whole cluster the namespace that runs least goes first. Nothing here is remembered for longer than a process lives:
//! it is told everything anew after a restart.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::api::job::WaitingFor;
use crate::api::queue::{Aging, OverflowPolicy, Pause, PauseScope};
use crate::api::{Position, QueueSpec, Reason};

mod blockers;
mod counts;
mod depth;
pub mod holdback;
mod line;
mod pauses;
mod rows;
#[cfg(test)]
pub(crate) mod snapshot;
mod withheld;

pub use blockers::{is_active, ordinal};
pub use counts::Counts;
pub use holdback::Holdback;
pub use line::Line;
pub use pauses::pause_note;
pub use rows::Trust;

/// The place of a Job in line: priority descending, then position, then its place in its group, then the time it was queued,
/// then name (I4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Higher goes first.
    pub priority: Reverse<i32>,
    /// Lower goes first.
    pub position: Position,
    /// The order among the members of a group, which have one position; lower goes first. 0 for other Jobs.
    pub place: u32,
    /// Earlier goes first.
    pub queued_at: Timestamp,
    /// The last word among equals.
    pub name: Arc<str>,
}

/// A Job that could be launched if limits allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its place in line.
    pub rank: Rank,
    /// Its uid.
    pub uid: Arc<str>,
    /// Which attempt would be launched, from 1.
    pub attempt: u32,
    /// Its queue.
    pub queue: Arc<str>,
    /// What else limits it.
    pub limits: Limits,
}

impl Candidate {
    /// The places that it takes when it runs.
    pub fn places(&self) -> Occupant {
        Occupant { name: self.rank.name.clone(), queue: self.queue.clone(), limits: self.limits.clone() }
    }
}

/// What limits how many run at once, besides a queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Limit {
    /// The template of that name.
    Template(String),
    /// The group of that uid.
    Group(String),
    /// The schedule of that name.
    Schedule(String),
    /// The namespace.
    Namespace,
}

/// What limits a Job besides its queue.
pub type Limits = Arc<[Limit]>;

/// A Job that runs, or is being launched: it takes a place in each of its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// Its name.
    pub name: Arc<str>,
    /// Its queue.
    pub queue: Arc<str>,
    /// What else limits it.
    pub limits: Limits,
}

/// What a queue is set to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How many may run; absent: no limit.
    pub max_running: Option<u32>,
    /// Why it starts nothing, until when, and how much besides it.
    pub paused: Option<Pause>,
    /// How waiting raises the priority.
    pub aging: Option<Aging>,
    /// How many may wait, and what happens to more.
    pub depth: Option<(u32, OverflowPolicy)>,
}

/// Whether Jobs that come to a queue are started as their turn comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueueCondition {
    /// They are.
    #[default]
    Open,
    /// There is no such queue: they wait. In a sentence.
    Missing(String),
    /// They wait until the pause is over.
    Paused {
        /// What is paused, by whom and why, in a sentence.
        message: String,
        /// When it ends by itself.
        until: Option<Timestamp>,
    },
}

impl Settings {
    /// What the specification of a queue says.
    pub fn of(spec: &QueueSpec) -> Self {
        Self {
            max_running: spec.max_running,
            paused: spec.paused.clone(),
            aging: spec.aging.clone(),
            depth: spec.max_depth.map(|max| (max, spec.overflow_policy.unwrap_or_default())),
        }
    }

    /// The same for a queue of the operator's own namespace, or of another one, where it cannot pause everything.
    pub fn in_namespace(mut self, is_own: bool) -> Self {
        if let Some(pause) = self.paused.as_mut().filter(|it| it.scope == Some(PauseScope::Cluster) && !is_own) {
            pause.scope = Some(PauseScope::Queue);
        }
        self
    }
}

/// A Job that may be launched as soon as it is its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// What would be launched.
    pub candidate: Candidate,
    /// Whether its queue took it already, so that it cannot be refused for want of room.
    pub accepted: bool,
    /// What it asks for, such that two that ask for the same have the same word; absent: nobody needs to know.
    pub asks_for: Option<String>,
}

/// Why a Job is not launched now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// In a word.
    pub waiting_for: WaitingFor,
    /// In a sentence.
    pub message: String,
}

/// A Job that its full queue does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Why, in a word.
    pub reason: Reason,
    /// Why, in a sentence.
    pub message: String,
}

/// One decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Round {
    /// What to launch, with its namespace, in order.
    pub admitted: Vec<(Arc<str>, Candidate)>,
    /// What is not kept.
    pub dropped: Vec<Dropped>,
    /// The namespaces in which a pause has ended.
    pub resumed: Vec<String>,
    /// When to decide again: there is more than one round takes, or a pause ends.
    pub wake_at: Option<Timestamp>,
}

/// The rank of a Job that has waited since it was queued, and when waiting changes it next.
pub fn aged(rank: &Rank, aging: Option<&Aging>, now: Timestamp) -> (Rank, Option<Timestamp>) {
    let Some(aging) = aging else { return (rank.clone(), None) };
    let interval = aging.interval_seconds.max(1);
    let waited = now.duration_since(rank.queued_at).as_secs().max(0);
    let steps = (waited / interval).min(i64::from(aging.maximum_increase));
    let increase = i32::try_from(steps).unwrap_or(i32::MAX);
    let next = SignedDuration::from_secs((steps + 1).saturating_mul(interval));
    let changes = steps < i64::from(aging.maximum_increase);
    let rank = Rank { priority: Reverse(rank.priority.0.saturating_add(increase)), ..rank.clone() };
    let at = rank.queued_at.checked_add(next).ok().filter(|_| changes);
    (rank, at)
}

#[cfg(test)]
mod tests;
