//! Line: the place of a waiting Job among others, and the position that puts it elsewhere.
//!
//! The order is the dispatcher's (I4): priority in force descending, position, time of queueing, name. A Job that was not
//! moved has the position of its group, else of the instant at which it, or its group, was queued.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::queue::Rank;
use crate::api::queue::Aging;
use crate::api::{DEFAULT_QUEUE, Job, JobGroup, JobPhase, Position};

/// The lowest and the highest priority that an object may have.
const PRIORITIES: std::ops::RangeInclusive<i32> = -1_000_000..=1_000_000;

/// Whether a Job is in a queue and has not been launched: it has a place in line, or gets one when a hold, a time or a
/// delay is over.
pub fn is_queued(job: &Job) -> bool {
    job.status.as_ref().and_then(|status| status.phase) == Some(JobPhase::Queued) && !is_leaving(job)
}

/// Whether a Job waits in any way: for its template, its group or its turn.
pub fn is_waiting(job: &Job) -> bool {
    let phase = job.status.as_ref().and_then(|status| status.phase);
    phase.is_none_or(|phase| matches!(phase, JobPhase::Pending | JobPhase::Queued)) && !is_leaving(job)
}

/// Whether a Job was launched and has not ended.
pub fn is_running(job: &Job) -> bool {
    let phase = job.status.as_ref().and_then(|status| status.phase);
    matches!(phase, Some(JobPhase::Dispatched | JobPhase::Running))
}

/// Whether a Job is in line now: nothing but limits and pauses keeps it from being launched.
pub fn is_in_line(job: &Job, now: Timestamp) -> bool {
    is_queued(job) && !job.spec.hold && not_before(job).is_none_or(|until| until <= now)
}

/// The instant before which a Job is not launched: its own, or the end of a delay after a failed attempt.
pub fn not_before(job: &Job) -> Option<Timestamp> {
    let retry_at = job.status.as_ref().and_then(|status| status.retry_at.as_ref());
    job.spec.not_before.as_ref().max(retry_at).map(|time| time.0)
}

/// The queue that a Job is or will be in.
pub fn queue_name(job: &Job) -> &str {
    let said = job.status.as_ref().and_then(|status| status.queue.as_deref());
    said.or(job.spec.queue.as_deref()).unwrap_or(DEFAULT_QUEUE)
}

fn is_leaving(job: &Job) -> bool {
    job.spec.cancel.is_some() || job.metadata.deletion_timestamp.is_some()
}

/// The place of a Job in line. Its group is needed for members without a position of their own.
pub fn rank(job: &Job, group: Option<&JobGroup>, aging: Option<&Aging>, now: Timestamp) -> Rank {
    let queued_at = queued_at(job, now);
    let priority = own_priority(job, group).saturating_add(increase(aging, queued_at, now));
    Rank {
        priority: Reverse(priority),
        position: position(job, group, queued_at),
        queued_at,
        name: job.metadata.name.clone().unwrap_or_default(),
    }
}

/// By how much waiting has raised a priority.
pub fn increase(aging: Option<&Aging>, queued_at: Timestamp, now: Timestamp) -> i32 {
    let Some(aging) = aging.filter(|aging| aging.interval_seconds > 0) else { return 0 };
    let steps = now.duration_since(queued_at).as_secs().max(0) / aging.interval_seconds;
    i32::try_from(steps.min(i64::from(aging.maximum_increase))).unwrap_or(i32::MAX)
}

/// The priority of a Job before waiting raised it.
pub fn own_priority(job: &Job, group: Option<&JobGroup>) -> i32 {
    let said = job.status.as_ref().and_then(|status| status.priority);
    job.spec.priority.or(group.and_then(|group| group.spec.priority)).or(said).unwrap_or_default()
}

fn queued_at(job: &Job, now: Timestamp) -> Timestamp {
    job.status.as_ref().and_then(|status| status.queued_at.as_ref()).map_or(now, |time| time.0)
}

fn position(job: &Job, group: Option<&JobGroup>, queued_at: Timestamp) -> Position {
    let of_group = |group: &JobGroup| {
        let queued = group.status.as_ref().and_then(|status| status.queued_at.as_ref());
        group.spec.position.or(queued.map(|time| Position::at(time.0)))
    };
    job.spec.position.or(group.and_then(of_group)).unwrap_or(Position::at(queued_at))
}

/// What has to be written to put a Job at a place in line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Move {
    /// The new position, if it has to change.
    pub position: Option<Position>,
    /// The new priority, before waiting raises it, if it has to change.
    pub priority: Option<i32>,
}

impl Move {
    /// Whether nothing has to be written.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// What puts `own` between the Job before it and the Job after it; absent when there is no room between the two. `increase`
/// is what waiting added to its priority. The priority changes only where it must, and then as little as it can.
pub fn place(own: &Rank, increase: i32, before: Option<&Rank>, after: Option<&Rank>) -> Option<Move> {
    let fits = |rank: &Rank| before.is_none_or(|it| it < rank) && after.is_none_or(|it| rank < it);
    if fits(own) {
        return Some(Move::default());
    }
    let Reverse(mut priority) = own.priority;
    priority = before.map_or(priority, |it| priority.min(it.priority.0));
    priority = after.map_or(priority, |it| priority.max(it.priority.0));
    let beside = |rank: Option<&Rank>| rank.filter(|it| it.priority.0 == priority).map(|it| it.position);
    let position = match (beside(before), beside(after)) {
        // Where two have the same position, the time of queueing decides, and may do so here too.
        (Some(lower), Some(upper)) => [Position::between(lower, upper), Some(lower), Some(upper)]
            .into_iter()
            .flatten()
            .find(|position| fits(&Rank { priority: Reverse(priority), position: *position, ..own.clone() }))?,
        (Some(lower), None) => lower.after(),
        (None, Some(upper)) => upper.before(),
        (None, None) => own.position,
    };
    let written = priority.saturating_sub(increase);
    let moved = Rank { priority: Reverse(priority), position, ..own.clone() };
    (fits(&moved) && PRIORITIES.contains(&written)).then_some(Move {
        position: (position != own.position).then_some(position),
        priority: (priority != own.priority.0).then_some(written),
    })
}

#[cfg(test)]
mod tests;
