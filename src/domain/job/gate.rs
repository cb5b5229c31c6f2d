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

/// Whether a Job that joined may come to its queue, and was not called yet: it comes together with all others whose turn to
/// come it is.
pub fn awaits_call(job: &Job, gate: Option<&group::Gate>, memory: &Memory) -> bool {
    let decided = memory.recording.is_some() || memory.recorded.is_some();
    !decided && memory.called_at.is_none() && gate.is_some_and(|gate| gate.calls(job))
}
