//! Skipped occurrences on their way into records: neighbours with the same reason share one.

use jiff::Timestamp;

use super::Facts;
use crate::api::Reason;
use crate::domain::plan::{Effect, Note, Pace};
use crate::domain::run::{SkippedOccurrences, skipped_occurrences};

/// What was skipped in one decision.
#[derive(Default)]
pub(super) struct Skips {
    pending: Vec<SkippedOccurrences>,
    told: Vec<(Reason, String, u64)>,
    last: Option<(Timestamp, Reason)>,
}

impl Skips {
    pub(super) fn push(&mut self, time: Timestamp, reason: Reason, why: &str) {
        self.skipped_last(time, reason);
        self.tell(reason, why, 1);
        match self.pending.last_mut() {
            Some(run) if run.reason == reason && run.why == why => {
                run.last = time;
                run.count += 1;
            }
            _ => self.pending.push(SkippedOccurrences { first: time, last: time, count: 1, reason, why: why.into() }),
        }
    }

    pub(super) fn push_many(&mut self, (first, last): (Timestamp, Timestamp), count: u64, reason: Reason, why: &str) {
        self.skipped_last(last, reason);
        self.tell(reason, why, count);
        self.pending.push(SkippedOccurrences { first, last, count, reason, why: why.into() });
    }

    fn skipped_last(&mut self, time: Timestamp, reason: Reason) {
        if !reason.is_misconfiguration() {
            self.last = Some((time, reason));
        }
    }

    fn tell(&mut self, reason: Reason, why: &str, count: u64) {
        match self.told.iter_mut().find(|(told, said, _)| *told == reason && said == why) {
            Some((_, _, told)) => *told += count,
            None => self.told.push((reason, why.to_owned(), count)),
        }
    }

    /// The records of what was skipped since this was last asked.
    pub(super) fn take(&mut self, facts: &Facts<'_>, now: Timestamp) -> Vec<Effect> {
        let record = |skipped| Effect::CreateRun(Box::new(skipped_occurrences(facts.schedule, &skipped, now)));
        self.pending.drain(..).map(record).collect()
    }

    /// The last time that was skipped, and why.
    pub(super) fn last(&self) -> Option<(Timestamp, Reason)> {
        self.last
    }

    /// How many times the operator missed.
    pub(super) fn missed(&self) -> u64 {
        let missed = |reason| matches!(reason, Reason::MissedWindow | Reason::CatchUpLimit | Reason::ScheduleEdited);
        self.told.iter().filter(|(reason, _, _)| missed(*reason)).map(|(_, _, count)| count).sum()
    }

    /// How many failed because something is written wrongly.
    pub(super) fn failed(&self) -> u64 {
        self.told.iter().filter(|(reason, _, _)| reason.is_misconfiguration()).map(|(_, _, count)| count).sum()
    }

    /// An event for each reason and sentence.
    pub(super) fn notes(&self) -> Vec<Note> {
        let note = |(reason, why, count): &(Reason, String, u64)| {
            let what = if reason.is_misconfiguration() { "failed" } else { "skipped" };
            let text = format!("{what} {count} occurrence(s): {why}");
            Note::warning(reason.as_str(), "Skip", text).at_pace(Pace::Flood)
        };
        self.told.iter().map(note).collect()
    }
}
