//! What a Job does that its group does not let into the queue.

use super::status::{base_status, set_waiting};
use super::*;

/// A Job that its group keeps out of the queue: it waits for the start, came too late, or need not run.
pub(super) fn kept_out(facts: &Facts<'_>, input: &RunInput<'_>, now: Timestamp) -> Option<Plan<JobStatus>> {
    let gate = facts.gate?;
    if let Some(why) = &gate.closed {
        return Some(record(run::skipped_run(input, Reason::GroupClosed, why.clone())));
    }
    if let Some(why) = &gate.succeeded_before {
        return Some(record(run::skipped_run(input, Reason::AlreadySucceeded, why.clone())));
    }
    let blocker = Blocker { waiting_for: WaitingFor::Group, message: gate.unstarted.clone()? };
    let mut status = base_status(facts, None, now);
    status.phase = Some(JobPhase::Pending);
    set_waiting(facts, &mut status, Some(&blocker), false, now);
    Some(Plan { status: Some(status), ..Plan::default() })
}
