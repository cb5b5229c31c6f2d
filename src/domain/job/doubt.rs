//! Doubt: a create of a batch Job was sent, and it is not known whether it happened.
//!
//! The attempt keeps its place and its claim until it is. The shell asks the API server for the batch Job by its name. That
//! it is there settles it. That it is absent does not, as long as a request may be under way; so it is sent again some times,
//! which settles it as a rule, and then only asked for. Once it is absent and no request can be under way any more, it was
//! not created: the place is given back, and the attempt has been refused for now. So what answers with errors for ever
//! holds a place for a bounded time.

use jiff::Timestamp;

use super::status::{base_status, set_waiting};
use super::*;

/// How often a create is sent whose outcome stays unknown.
const SENT_MAX: u32 = 6;
/// The delay before it is sent the second time, in milliseconds; it doubles each time.
const DELAY_MS: i64 = 500;
/// The longest such delay, in milliseconds.
const DELAY_MAX_MS: i64 = 10_000;
/// For how long after it was sent a request may be under way, in milliseconds: the API server ends a create of a batch Job after
/// the 10 s that it carries as its `timeout`, and etcd may apply for up to 7 s longer what it was sent (its own limit is 5 s and
/// two elections).
const UNDER_WAY_MS: i64 = 20_000;
/// How long it may be unknown before the Job says so, in milliseconds.
const TOLD_AFTER_MS: i64 = 5_000;

/// A create of which it is not known whether it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// When the first one was sent at the earliest.
    since: Timestamp,
    /// When the last one of unknown outcome was sent at the latest.
    last: Timestamp,
    /// How many this process sent; 0: an earlier leader admitted the attempt and may have sent one.
    count: u32,
    /// What was said of the last one.
    said: String,
    /// Whether the API server has judged one since, and how: it is not sent again, and this is the refusal if none of the others
    /// turns out to have happened.
    judged: Option<Finality>,
}

/// What the API server said of a create while the outcome of another one was unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finality {
    /// It may be accepted later.
    ForNow,
    /// It never will be.
    ForGood,
}

/// What is to be done about a batch Job that is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is to be created.
    Send,
    /// It may still come: look again then.
    Look(Timestamp),
    /// It was not created. What was said, and whether trying again is pointless.
    NotCreated(String, bool),
}

impl Doubt {
    /// An earlier leader admitted the attempt and may have sent a create, at the latest when this one began to lead.
    pub fn inherited(leading_since: Timestamp) -> Self {
        let said = "it was admitted by the previous leader".to_owned();
        Self { since: leading_since, last: leading_since, count: 0, said, judged: None }
    }

    /// A create was sent and its outcome is unknown.
    pub fn sent(before: Option<&Self>, said: String, now: Timestamp) -> Self {
        let (since, count) = before.map_or((now, 0), |before| (before.since, before.count));
        Self { since, last: now, count: count.saturating_add(1), said, judged: None }
    }

    /// The API server judged a create while the outcome of an earlier one is unknown.
    pub fn judged(&self, verdict: Finality, by: String) -> Self {
        Self { said: by, judged: Some(verdict), ..self.clone() }
    }

    /// Whether this process has sent none.
    pub fn is_inherited(&self) -> bool {
        self.count == 0
    }

    /// The same after the clock was set back: its time begins anew, instead of lasting until the clock has caught up.
    pub fn not_after(self, now: Timestamp) -> Self {
        Self { since: self.since.min(now), last: self.last.min(now), ..self }
    }

    /// What follows from its absence; `may_send` says whether the attempt is still wanted.
    pub fn after_absence(&self, may_send: bool, now: Timestamp) -> Next {
        let sends = may_send && self.judged.is_none() && self.count < SENT_MAX;
        if sends && self.is_inherited() {
            return Next::Send;
        }
        let settled = self.last.saturating_add_ms(UNDER_WAY_MS);
        if now >= settled {
            return Next::NotCreated(self.said.clone(), self.judged == Some(Finality::ForGood));
        }
        let doubled = DELAY_MS.saturating_mul(1 << self.count.saturating_sub(1).min(10));
        let again = self.last.saturating_add_ms(doubled.min(DELAY_MAX_MS));
        match sends {
            true if now >= again || now < self.last => Next::Send,
            true => Next::Look(again),
            false => Next::Look(settled.min(now.saturating_add_ms(DELAY_MAX_MS))),
        }
    }
}

/// An attempt that is being launched: nothing to say, unless it takes long to know whether it was.
pub(super) fn launching(facts: &Facts<'_>, now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    let Some(Doubt { since, said, .. }) = &facts.memory.doubt else { return decision };
    let due = since.saturating_add_ms(TOLD_AFTER_MS);
    if now < due && now >= *since {
        decision.plan.wake(due);
        return decision;
    }
    let message = format!("it is not known yet whether the API server created the batch Job: {said}");
    let blocker = Blocker { waiting_for: WaitingFor::Admission, message: message.clone() };
    if previously_waiting_for(facts.job) != Some(WaitingFor::Admission) {
        // What it was launched with is told when it is known.
        let mut status = base_status(facts, None, now);
        status.phase = Some(JobPhase::Queued);
        set_waiting(facts, &mut status, Some(&blocker), false, now);
        decision.plan.status = Some(status);
        decision.plan.notes.push(Note::warning("LaunchUncertain", "Launch", message));
    }
    decision
}

#[cfg(test)]
mod tests;
