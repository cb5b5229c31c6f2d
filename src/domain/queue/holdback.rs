//! Holdback: the API server refuses what a queue launches, so the queue tries one Job at a time until one gets through.
//!
//! A quota refuses each Job alike: the first refusal holds the queue back, with delays that grow. A policy or a webhook may
//! refuse one Job and accept the next: only several refusals in a row hold the queue back, and other Jobs are tried soon.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Blocker;
use super::line::Line;
use crate::api::Queue;
use crate::api::job::WaitingFor;
use crate::domain::conditions::LAUNCH_REFUSED;

/// The word of the condition for a quota.
pub const QUOTA: &str = "QuotaExceeded";
/// The word of the condition for any other refusal by admission.
pub const ADMISSION: &str = "AdmissionDenied";

/// How many refusals in a row hold a queue back, unless it is a quota that refuses.
const REFUSALS_IN_A_ROW: u32 = 3;
/// The longest delay between two tries under a quota, in seconds.
const QUOTA_DELAY_MAX: i64 = 30;
/// The delay between two tries that something else may refuse, in seconds.
const DELAY: i64 = 1;
/// How many such tries there are before they become rarer.
const SOON_MAX: u32 = 60;
/// The delay between them then, in seconds.
const DELAY_LATER: i64 = 10;

/// What a queue meets at the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdback {
    /// Since when nothing of the queue has got through.
    pub since: Timestamp,
    /// What the API server said last.
    pub message: String,
    /// Whether it was a quota that refused.
    pub quota: bool,
    /// How many tries were refused in a row.
    count: u32,
    /// When the last one was.
    last: Timestamp,
    /// When the next Job is tried.
    next: Timestamp,
    /// The Job that is being tried.
    probing: Option<Arc<str>>,
}

/// Whether a refusal is one of a quota.
pub fn is_quota(message: &str) -> bool {
    message.contains(" is forbidden: exceeded quota: ") || message.contains(" is forbidden: failed quota: ")
}

impl Holdback {
    /// A Job of the queue was refused.
    pub(super) fn refused(before: Option<Self>, uid: &str, message: &str, now: Timestamp) -> Self {
        let quota = is_quota(message);
        let Some(before) = before else {
            let first =
                Self { since: now, message: message.to_owned(), quota, count: 1, last: now, next: now, probing: None };
            return first.later(now);
        };
        // What was let go before the queue was held back says nothing new.
        let counts = !before.is_active() || before.probing.as_deref() == Some(uid);
        let count = before.count.saturating_add(u32::from(counts));
        // It names the Job, so it is another one each time; the first says as much.
        let message = if before.quota == quota { before.message } else { message.to_owned() };
        let after = Self { message, quota, count, ..before };
        if counts { Self { last: now, probing: None, ..after }.later(now) } else { after }
    }

    fn later(self, now: Timestamp) -> Self {
        let seconds = match (self.quota, self.count) {
            (true, count) => (1 << count.saturating_sub(1).min(10)).min(QUOTA_DELAY_MAX),
            (false, ..=SOON_MAX) => DELAY,
            (false, _) => DELAY_LATER,
        };
        Self { next: now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now), ..self }
    }

    /// What the status of a queue says: a new leader, and whoever answers questions, start from that.
    pub fn said(queue: &Queue) -> Option<Self> {
        let conditions = queue.status.iter().flat_map(|status| &status.conditions);
        let said = conditions.into_iter().find(|it| it.type_ == LAUNCH_REFUSED && it.status == "True")?;
        let since = said.last_transition_time.0;
        let quota = said.reason == QUOTA;
        let message = said.message.clone();
        Some(Self { since, message, quota, count: REFUSALS_IN_A_ROW, last: since, next: since, probing: None })
    }

    /// Whether it holds the queue back.
    pub fn is_active(&self) -> bool {
        self.quota || self.count >= REFUSALS_IN_A_ROW
    }

    /// Whether no Job may be tried now. Also when the clock was set back meanwhile.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        self.is_active() && (self.probing.is_some() || self.last <= now && now < self.next)
    }

    /// When the next Job is to be tried, if none is being tried.
    pub(super) fn next(&self) -> Option<Timestamp> {
        (self.is_active() && self.probing.is_none()).then_some(self.next)
    }

    /// That Job is tried.
    pub(super) fn probe(&mut self, uid: &Arc<str>) {
        if self.is_active() {
            self.probing = Some(uid.clone());
        }
    }

    /// The launch of that Job has ended. Returns whether the next one may be tried.
    pub(super) fn ended(&mut self, uid: &str) -> bool {
        let was_tried = self.probing.as_deref() == Some(uid);
        if was_tried {
            self.probing = None;
        }
        was_tried
    }

    /// Something that counts towards quotas has gone: it is worth a try, if the last one was not just now.
    pub(super) fn hurry(&mut self) {
        if self.quota {
            self.next = self.next.min(self.last.saturating_add(SignedDuration::from_secs(DELAY)).unwrap_or(self.last));
        }
    }

    /// What the Jobs of the queue wait for.
    pub(super) fn blocker(&self, queue: &str) -> Option<Blocker> {
        let message =
            format!("the API server refuses what queue {queue} starts; one Job at a time is tried: {}", self.message);
        self.is_active().then_some(Blocker { waiting_for: WaitingFor::Admission, message })
    }
}

impl Line {
    /// The API server refused to launch a Job of a queue. Returns since when nothing of the queue has got through, and
    /// whether that is news.
    pub fn refused(
        &mut self,
        namespace: &str,
        queue: &str,
        uid: &str,
        message: &str,
        now: Timestamp,
    ) -> (Timestamp, bool) {
        let space = self.space(&namespace.into());
        let rows = space.queues.entry(queue.into()).or_default();
        let was_active = rows.holdback.as_ref().is_some_and(Holdback::is_active);
        let holdback = Holdback::refused(rows.holdback.take(), uid, message, now);
        let (since, is_active, next) = (holdback.since, holdback.is_active(), holdback.next());
        rows.holdback = Some(holdback);
        self.probes.extend(next.map(|at| (at, namespace.into(), queue.into())));
        (since, is_active && !was_active)
    }

    /// A Job of a queue got through. Returns whether the queue was held back until now.
    pub fn got_through(&mut self, namespace: &str, queue: &str) -> bool {
        let Some(space) = self.namespaces.get_mut(namespace) else { return false };
        let Some(holdback) = space.queues.get_mut(queue).and_then(|rows| rows.holdback.take()) else { return false };
        space.restless.insert(queue.into());
        self.touch(namespace);
        holdback.is_active()
    }

    /// Something of a namespace that counts towards quotas has gone. Queues that are held back try soon.
    pub fn has_room(&mut self, namespace: &str) {
        let Some(space) = self.namespaces.get_mut(namespace) else { return };
        let held = space.queues.iter_mut().filter_map(|(name, rows)| Some((name, rows.holdback.as_mut()?)));
        for (name, holdback) in held {
            holdback.hurry();
            self.probes.extend(holdback.next().map(|at| (at, space.name.clone(), name.clone())));
        }
    }

    /// What a queue meets at the API server, if nothing is known of it: as its status says.
    pub fn meets(&mut self, namespace: &str, queue: &str, holdback: Option<Holdback>) {
        let Some(space) = self.namespaces.get_mut(namespace) else { return };
        let Some(rows) = space.queues.get_mut(queue) else { return };
        if rows.holdback.is_none() {
            rows.holdback = holdback;
        }
    }

    /// What a queue meets at the API server.
    pub fn holdback(&self, namespace: &str, queue: &str) -> Option<&Holdback> {
        self.namespaces.get(namespace)?.queues.get(queue)?.holdback.as_ref()
    }

    pub(super) fn with_holdback<T>(
        &mut self,
        namespace: &str,
        queue: &str,
        act: impl FnOnce(&mut Holdback) -> T,
    ) -> Option<T> {
        self.namespaces.get_mut(namespace)?.queues.get_mut(queue)?.holdback.as_mut().map(act)
    }

    /// Queues of which it is time to try a Job.
    pub(super) fn advance_probes(&mut self, now: Timestamp) {
        while let Some((_, namespace, queue)) = self.probes.first().filter(|(at, ..)| *at <= now).cloned() {
            self.probes.pop_first();
            if let Some(space) = self.namespaces.get_mut(&namespace).filter(|space| space.queues.contains_key(&queue)) {
                space.restless.insert(queue);
                self.touch(&namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests;
