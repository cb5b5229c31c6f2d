//! What is told of a Job when its status changes: that it waits in its queue, that it is suspended or goes on, and that it has
//! started. Each follows from the status before and after, so it is told once, also after a restart.

use super::*;
use crate::api::JobStatus;
use crate::domain::plan::Pace;

/// Adds the events that a new status is worth.
pub(super) fn tell(job: &Job, plan: &mut Plan<JobStatus>) {
    let unwritten = JobStatus::default();
    let before = job.status.as_ref().unwrap_or(&unwritten);
    let Some(after) = &plan.status else { return };
    let mut notes = Vec::new();
    notes.extend(queued(before, after));
    notes.extend(suspended(before, after));
    if let Some(text) = started(before, after) {
        // One event for both: most Jobs have started when it is first said that they were launched.
        let launch = plan.notes.iter_mut().find(|note| note.reason == "Dispatched");
        match launch {
            Some(launch) => {
                let text = format!("{}, and {text}", launch.message);
                *launch = Note::normal("Started", launch.action, text);
            }
            None => notes.push(Note::normal("Started", "Start", text).at_pace(Pace::EachRun)),
        }
    }
    plan.notes.extend(notes);
}

/// That it waits in its queue, with what it waits for. One that is launched at once does not, and one that waits for its next
/// attempt, or for what the API server refuses, has an event of its own.
fn queued(before: &JobStatus, after: &JobStatus) -> Option<Note> {
    let has_own = |it: &WaitingFor| matches!(it, WaitingFor::Retry | WaitingFor::Admission);
    after.waiting_for.filter(|it| after.phase == Some(JobPhase::Queued) && !has_own(it))?;
    let waited = before.phase == Some(JobPhase::Queued) && before.waiting_for.is_some();
    let message = said(after)?;
    let queue = after.queue.as_deref().unwrap_or_default();
    let text = format!("it waits in queue {queue}: {message}");
    (!waited).then(|| Note::normal("Queued", "Queue", text).at_pace(Pace::EachRun))
}

/// That its batch Job is suspended, or is so no longer.
fn suspended(before: &JobStatus, after: &JobStatus) -> Option<Note> {
    let is_suspended = |status: &JobStatus| status.waiting_for == Some(WaitingFor::Suspended);
    let goes_on = matches!(after.phase, Some(JobPhase::Dispatched | JobPhase::Running));
    match (is_suspended(before), is_suspended(after)) {
        (false, true) => Some(Note::normal("Suspended", "Suspend", said(after)?)),
        (true, false) if goes_on => {
            let batch = after.batch_job_ref.as_ref()?;
            Some(Note::normal("Resumed", "Resume", format!("batch Job {} is no longer suspended", batch.name)))
        }
        _ => None,
    }
}

/// That its containers have started, in words.
fn started(before: &JobStatus, after: &JobStatus) -> Option<String> {
    let ran = before.phase == Some(JobPhase::Running) && before.batch_job_ref == after.batch_job_ref;
    let at = after.started_at.as_ref().filter(|_| after.phase == Some(JobPhase::Running) && !ran)?;
    Some(format!("started at {}", at.0))
}

/// What its condition says.
fn said(status: &JobStatus) -> Option<&str> {
    status.conditions.iter().find(|it| it.type_ == DISPATCHED).map(|it| it.message.as_str())
}

/// That somebody asked for its end, and who. Of one that is deleted, or whose group is to end, that is told elsewhere.
pub(super) fn cancel_note(job: &Job) -> Option<Note> {
    let cancel = job.spec.cancel.as_ref()?;
    Some(Note::normal("CancelRequested", "Cancel", requested_text(cancel)))
}

/// Who asked for an end, and why.
pub(crate) fn requested_text(cancel: &Cancel) -> String {
    let who = cancel.requested_by.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
    let force = if cancel.force { ", with force" } else { "" };
    let why = if cancel.reason.is_empty() { String::new() } else { format!(": {}", cancel.reason) };
    format!("its end was asked for{who}{force}{why}")
}
