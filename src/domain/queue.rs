//! Queue: which of the waiting Jobs of a namespace may be launched now, and what the others wait for.
//!
//! One call decides for all queues of a namespace from one snapshot, because templates and groups have limits that span
//! queues. It must not look at anything but the snapshot.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use crate::api::Position;
use crate::api::job::WaitingFor;

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
    pub name: String,
}

/// A Job that could be launched if limits allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its place in line.
    pub rank: Rank,
    /// Its uid.
    pub uid: String,
    /// Which attempt would be launched, from 1.
    pub attempt: u32,
    /// Its queue.
    pub queue: String,
    /// What else limits it, and how many may run under each; absent: any number.
    pub limits: Vec<(Limit, Option<u32>)>,
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
}

impl Limit {
    fn blocker(&self, used: u32, max: u32) -> Blocker {
        let (waiting_for, whose) = match self {
            Self::Template(name) => (WaitingFor::TemplateLimit, format!("template {name}")),
            Self::Group(_) => (WaitingFor::GroupLimit, "its group".to_owned()),
            Self::Schedule(name) => (WaitingFor::ScheduleLimit, format!("schedule {name}")),
        };
        Blocker { waiting_for, message: format!("{whose}: {used} of {max} running") }
    }
}

/// A Job that runs, or is being launched: it takes a place in each of its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// Its name.
    pub name: String,
    /// Its queue.
    pub queue: String,
    /// What else limits it.
    pub limits: Vec<Limit>,
}

/// A queue as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    /// How many may run; absent: no limit.
    pub max_running: Option<u32>,
    /// Why it starts nothing, and until when.
    pub paused: Option<(String, Option<Timestamp>)>,
}

/// All that a decision for a namespace depends on.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Its queues by name.
    pub queues: HashMap<String, QueueState>,
    /// What runs.
    pub occupants: Vec<Occupant>,
    /// What waits, in any order.
    pub candidates: Vec<Candidate>,
}

/// Why a Job is not launched now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// In a word.
    pub waiting_for: WaitingFor,
    /// In a sentence.
    pub message: String,
}

/// The decision for a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Round {
    /// What to launch, by queue, in order.
    pub admitted: Vec<(String, Vec<Candidate>)>,
    /// What every other candidate waits for, by uid.
    pub blocked: HashMap<String, Blocker>,
    /// When a pause ends.
    pub wake_at: Option<Timestamp>,
}

/// How many running Jobs a message names.
const NAMES_SHOWN_MAX: usize = 3;

/// Decides one round. At most `admissions_max` Jobs are admitted in one queue; the rest is for the next round.
pub fn decide(mut snapshot: Snapshot, admissions_max: usize, now: Timestamp) -> Round {
    let mut usage = Usage::of(&snapshot.occupants);
    let mut round = Round::default();
    snapshot.candidates.sort_by(|left, right| left.rank.cmp(&right.rank));
    let mut admitted: HashMap<String, Vec<Candidate>> = HashMap::new();
    for candidate in std::mem::take(&mut snapshot.candidates) {
        if usage.closed.contains(&candidate.queue) {
            continue;
        }
        match usage.blocker(&snapshot, &candidate, now) {
            Some(blocker) => {
                round.blocked.insert(candidate.uid, blocker);
            }
            None => {
                let queue = admitted.entry(candidate.queue.clone()).or_default();
                if queue.len() < admissions_max {
                    usage.occupy(&candidate);
                    queue.push(candidate);
                } else {
                    // Full for this round: nothing behind it in the queue may overtake it, so the queue is closed.
                    usage.closed.insert(candidate.queue);
                }
            }
        }
    }
    round.admitted = admitted.into_iter().collect();
    round.admitted.sort_by(|left, right| left.0.cmp(&right.0));
    round.wake_at = snapshot
        .queues
        .values()
        .filter_map(|queue| queue.paused.as_ref().and_then(|(_, until)| *until))
        .filter(|until| *until > now)
        .min();
    round
}

/// How many places are taken.
#[derive(Default)]
struct Usage {
    queues: HashMap<String, Vec<String>>,
    limits: HashMap<Limit, u32>,
    closed: HashSet<String>,
}

impl Usage {
    fn of(occupants: &[Occupant]) -> Self {
        let mut usage = Self::default();
        for occupant in occupants {
            usage.queues.entry(occupant.queue.clone()).or_default().push(occupant.name.clone());
            for limit in &occupant.limits {
                *usage.limits.entry(limit.clone()).or_default() += 1;
            }
        }
        usage
    }

    fn occupy(&mut self, candidate: &Candidate) {
        self.queues.entry(candidate.queue.clone()).or_default().push(candidate.rank.name.clone());
        for (limit, _) in &candidate.limits {
            *self.limits.entry(limit.clone()).or_default() += 1;
        }
    }

    fn blocker(&self, snapshot: &Snapshot, candidate: &Candidate, now: Timestamp) -> Option<Blocker> {
        let Some(queue) = snapshot.queues.get(&candidate.queue) else {
            return Some(Blocker {
                waiting_for: WaitingFor::Queue,
                message: format!("there is no Queue {:?} in this namespace", candidate.queue),
            });
        };
        if let Some(blocker) = paused(&candidate.queue, queue, now) {
            return Some(blocker);
        }
        self.limit_blocker(queue, candidate)
    }

    fn limit_blocker(&self, queue: &QueueState, candidate: &Candidate) -> Option<Blocker> {
        let none = Vec::new();
        let running = self.queues.get(&candidate.queue).unwrap_or(&none);
        if queue.max_running.is_some_and(|max| running.len() >= max as usize) {
            let max = queue.max_running.unwrap_or_default();
            return Some(Blocker {
                waiting_for: WaitingFor::QueueLimit,
                message: format!("queue {}: {} of {max} running{}", candidate.queue, running.len(), names(running)),
            });
        }
        candidate.limits.iter().find_map(|(limit, max)| {
            let used = self.limits.get(limit).copied().unwrap_or_default();
            max.filter(|max| used >= *max).map(|max| limit.blocker(used, max))
        })
    }
}

fn paused(name: &str, queue: &QueueState, now: Timestamp) -> Option<Blocker> {
    let (reason, until) = queue.paused.as_ref()?;
    if until.is_some_and(|until| until <= now) {
        return None;
    }
    let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
    Some(Blocker { waiting_for: WaitingFor::QueuePaused, message: format!("queue {name} is paused{until}: {reason}") })
}

fn names(running: &[String]) -> String {
    if running.is_empty() {
        return String::new();
    }
    let shown = running.iter().take(NAMES_SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    let more = running.len().saturating_sub(NAMES_SHOWN_MAX);
    if more == 0 { format!(": {shown}") } else { format!(": {shown} and {more} more") }
}

#[cfg(test)]
mod tests;
