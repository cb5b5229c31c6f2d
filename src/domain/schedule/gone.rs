//! What a schedule owed when it was deleted.

use jiff::Timestamp;

use super::due::skip_due;
use super::*;

/// What to record of a schedule that is gone: each time that had come and has neither a Job nor a record. Most schedules
/// owe nothing; one that was held has not had its times recorded since the last hour.
pub fn owed_when_deleted(facts: &Facts<'_>, now: Timestamp) -> Vec<Effect> {
    let metadata = &facts.schedule.metadata;
    let created = metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    // One that waited for a finalizer of somebody else's had ended before.
    let deleted = metadata.deletion_timestamp.as_ref().map_or(now, |time| time.0.min(now));
    let edited = unseen_edit(facts, created, now);
    let mut status = facts.status.clone();
    let mut plan = Plan::default();
    let mut skip = |timing: &Timing, until: Until, reason: (Reason, &str), status: &mut ScheduleStatus| {
        while !skip_due(facts, timing, until, reason, (status, &mut plan), now) {}
    };
    if let Some(ended) = account_that_ends(facts, created, edited, false, now) {
        skip(&ended.timing, Until::Nominal(ended.until), ended.reason, &mut status);
    }
    open_account(facts, created, edited, false, &mut status, now);
    let timing = Timing::parse(&facts.schedule.spec.timing(created), seed(facts.schedule));
    if let (Ok(timing), true) = (timing, is_enabled(facts.schedule)) {
        let reason = match &status.paused {
            Some(_) => {
                (Reason::SchedulePaused, "the schedule was paused after too many failures in a row, and deleted")
            }
            None => (Reason::ScheduleDeleted, "the schedule was deleted when this time had just come"),
        };
        skip(&timing, Until::Fired(deleted), reason, &mut status);
    }
    plan.effects
}
