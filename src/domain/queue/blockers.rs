//! Blockers: what a waiting Job waits for, in a word and in a sentence.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::line::Line;
use super::rows::{Place, QueueRows, Trust, Usage};
use super::{Blocker, Limit, QueueCondition};
use crate::api::job::WaitingFor;
use crate::api::queue::Pause;

/// How many running Jobs a message names.
const NAMES_SHOWN_MAX: usize = 3;
/// Up to which place in line Jobs before it are counted.
const PLACE_MAX: usize = 100;

/// Where a sentence goes.
#[derive(Clone, Copy)]
enum Use {
    /// To somebody who asks now.
    Answer,
    /// Into a status, to be read later.
    Status,
}

impl Use {
    /// How a sentence with numbers ends: in an answer as it is now, in a status with the time at which they were true.
    fn of(self, as_it_is: impl FnOnce() -> String, now: Timestamp) -> String {
        match self {
            Self::Answer => as_it_is(),
            Self::Status => format!(", as of {}", Timestamp::from_second(now.as_second()).unwrap_or(now)),
        }
    }
}

impl Line {
    /// What a waiting Job waits for now; absent if it does not wait here, or is about to be launched.
    pub fn blocker(&self, uid: &str, now: Timestamp) -> Option<Blocker> {
        self.blocked(uid, now, Use::Answer)
    }

    /// The same for the Job's status, where it stays as it is until the word changes: it names no running Job, and its numbers
    /// say when they were true.
    pub fn blocker_to_write(&self, uid: &str, now: Timestamp) -> Option<Blocker> {
        self.blocked(uid, now, Use::Status)
    }

    fn blocked(&self, uid: &str, now: Timestamp, to: Use) -> Option<Blocker> {
        let (namespace, candidate, place) = self.waiting(uid)?;
        let name = candidate.queue.as_ref();
        let space = self.namespaces.get(namespace)?;
        let rows = space.queues.get(name)?;
        let Some(settings) = &rows.settings else {
            return Some(Blocker { waiting_for: WaitingFor::Queue, message: missing(name) });
        };
        if let Trust::None(why) = &rows.trust {
            return Some(Blocker { waiting_for: WaitingFor::Queue, message: why.clone() });
        }
        if let Some((blocker, _)) = self.pause(namespace, name, now) {
            return Some(blocker);
        }
        if let Some(blocker) = rows.holdback.as_ref().and_then(|holdback| holdback.blocker(name)) {
            return Some(blocker);
        }
        if let Some(max) = settings.max_running.filter(|max| rows.running.len() >= *max as usize) {
            let more = to.of(|| names(&rows.running), now);
            let message =
                format!("{} in queue {name}, {} of {max} running{more}", place_in(rows, place), rows.running.len());
            return Some(Blocker { waiting_for: WaitingFor::QueueLimit, message });
        }
        let full =
            candidate.limits.iter().find_map(|limit| Some((limit, space.limits.get(limit).filter(|it| it.is_full())?)));
        if let Some((limit, usage)) = full {
            return Some(limited(limit, usage));
        }
        self.is_full().then(|| Blocker {
            waiting_for: WaitingFor::ClusterLimit,
            message: format!(
                "{} in queue {name}; the operator runs {} of {} in the cluster, {} of them in this namespace{}",
                place_in(rows, place),
                self.counted(),
                self.ceiling.unwrap_or_default(),
                space.running,
                to.of(String::new, now)
            ),
        })
    }
}

impl Line {
    /// The pause that keeps the Jobs of a queue from being started, and when it ends by itself.
    fn pause(&self, namespace: &str, name: &str, now: Timestamp) -> Option<(Blocker, Option<Timestamp>)> {
        let space = self.namespaces.get(namespace);
        let until = |pause: &Pause| pause.until.as_ref().map(|until| until.0);
        if let Some((queue, pause)) = self.pause_of_cluster(now) {
            let blocker = paused(WaitingFor::ClusterPaused, "everything is paused", Some(&queue), pause);
            return Some((blocker, until(pause)));
        }
        if let Some((queue, pause)) = space.and_then(|space| space.pause(now)) {
            let blocker = paused(WaitingFor::NamespacePaused, "the namespace is paused", Some(queue), pause);
            return Some((blocker, until(pause)));
        }
        let settings = space.and_then(|space| space.queues.get(name)?.settings.as_ref());
        let pause = settings.and_then(|settings| settings.paused.as_ref()).filter(|pause| is_active(pause, now))?;
        Some((paused(WaitingFor::QueuePaused, &format!("queue {name} is paused"), None, pause), until(pause)))
    }

    /// Whether Jobs that come to a queue are started as their turn comes; `exists`: whether there is a Queue of that name.
    pub fn condition(&self, namespace: &str, name: &str, exists: bool, now: Timestamp) -> QueueCondition {
        if !exists {
            return QueueCondition::Missing(missing(name));
        }
        match self.pause(namespace, name, now) {
            Some((blocker, until)) => QueueCondition::Paused { message: blocker.message, until },
            None => QueueCondition::Open,
        }
    }

    /// Whether a Job that takes places, and is not launched yet, must not be launched now: its queue, its namespace or everything
    /// is paused, or more take places than a limit allows since it was lowered.
    pub fn is_held_up(&self, uid: &str, now: Timestamp) -> bool {
        let Some((namespace, place)) = self.occupant(uid) else { return false };
        let Some(space) = self.namespaces.get(namespace) else { return false };
        let rows = space.queues.get(&place.queue);
        let settings = rows.and_then(|rows| rows.settings.as_ref());
        let is_paused = settings.and_then(|it| it.paused.as_ref()).is_some_and(|pause| is_active(pause, now))
            || space.pause(now).is_some()
            || self.pause_of_cluster(now).is_some();
        let max = settings.and_then(|settings| settings.max_running);
        let overrun = |limit: &Limit| space.limits.get(limit).is_some_and(Usage::is_overrun);
        let is_over = max.zip(rows).is_some_and(|(max, rows)| rows.running.len() > max as usize)
            || place.limits.iter().any(overrun)
            || self.ceiling.is_some_and(|ceiling| self.counted() > ceiling as usize);
        is_paused || is_over
    }
}

/// Whether a pause has not ended.
pub fn is_active(pause: &Pause, now: Timestamp) -> bool {
    pause.until.as_ref().is_none_or(|until| until.0 > now)
}

fn missing(name: &str) -> String {
    format!("there is no Queue {name:?} in this namespace")
}

fn paused(waiting_for: WaitingFor, what: &str, by: Option<&str>, pause: &Pause) -> Blocker {
    let until = pause.until.as_ref().map(|until| format!(" until {}", until.0)).unwrap_or_default();
    let by = by.map(|queue| format!(" by queue {queue}")).unwrap_or_default();
    Blocker { waiting_for, message: format!("{what}{by}{until}: {}", pause.reason) }
}

fn limited(limit: &Limit, usage: &Usage) -> Blocker {
    let (waiting_for, whose) = match limit {
        Limit::Template(name) => (WaitingFor::TemplateLimit, format!("template {name}")),
        Limit::Group(_) => (WaitingFor::GroupLimit, "its group".to_owned()),
        Limit::Schedule(name) => (WaitingFor::ScheduleLimit, format!("schedule {name}")),
        Limit::Namespace => (WaitingFor::NamespaceLimit, "the namespace".to_owned()),
    };
    let max = usage.max.unwrap_or_default();
    Blocker { waiting_for, message: format!("{whose}: {} of {max} running", usage.used) }
}

/// The place of a Job in its queue, in a word.
fn place_in(rows: &QueueRows, place: &Place) -> String {
    let before = rows.order.range(..place).take(PLACE_MAX).count();
    if before >= PLACE_MAX { format!("behind more than {PLACE_MAX} others") } else { ordinal(before + 1) }
}

/// A number as the place in a row.
pub fn ordinal(number: usize) -> String {
    const WORDS: [&str; 10] =
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];
    if let Some(word) = number.checked_sub(1).and_then(|index| WORDS.get(index)) {
        return (*word).to_owned();
    }
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

fn names(running: &BTreeSet<(Arc<str>, Arc<str>)>) -> String {
    if running.is_empty() {
        return String::new();
    }
    let shown = running.iter().take(NAMES_SHOWN_MAX).map(|(name, _)| name.as_ref()).collect::<Vec<_>>().join(", ");
    let more = running.len().saturating_sub(NAMES_SHOWN_MAX);
    if more == 0 { format!(": {shown}") } else { format!(": {shown} and {more} more") }
}
