//! Place: the place of a waiting Job in line, and the position that puts it elsewhere.
//!
//! The order is the dispatcher's (I4): priority in force descending, position, for members of one group the order of its
//! list, time of queueing, name. A Job that was not moved has the position of its group, else of the instant at which it, or
//! its group, was queued.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::queue::{Rank, aged};
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
    let rank = Rank {
        priority: Reverse(own_priority(job, group)),
        position: position(job, group, queued_at),
        place: group.map_or(0, |group| member_place(job, group)),
        queued_at,
        name: job.metadata.name.as_deref().unwrap_or_default().into(),
    };
    aged(&rank, aging, now).0
}

/// Whether a Job names this group as the one that it is a member of.
pub fn is_member(job: &Job, group: &JobGroup) -> bool {
    let reference = job.spec.group_ref.as_ref().filter(|it| Some(&it.name) == group.metadata.name.as_ref());
    reference.is_some_and(|it| it.uid.is_empty() || Some(&it.uid) == group.metadata.uid.as_ref())
}

/// The name of a Job as a member of its group.
pub fn member_name(job: &Job) -> &str {
    let given = job.spec.group_ref.as_ref().map(|it| it.member.as_str()).filter(|member| !member.is_empty());
    given.or(job.metadata.name.as_deref()).unwrap_or_default()
}

/// The place of a member: in the list, else, for one that joined, among all members.
fn member_place(job: &Job, group: &JobGroup) -> u32 {
    let name = member_name(job);
    let joined = || group.status.as_ref()?.members.iter().position(|member| member.name == name);
    let place = group.spec.jobs.iter().position(|member| member.name == name).or_else(joined);
    place.and_then(|place| u32::try_from(place).ok()).unwrap_or(u32::MAX)
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

/// What puts a Job, or the members of a group that move with it, between the Job before them and the Job after them; absent
/// when there is no room between the two. `own` are their ranks in order, of which those with the priority of the first count;
/// `increase` is what waiting added to that. The priority changes only where it must, and then as little as it can.
pub fn between(own: &[Rank], increase: i32, before: Option<&Rank>, after: Option<&Rank>) -> Option<Move> {
    let first = own.first()?;
    let alike = || own.iter().filter(|rank| rank.priority == first.priority);
    let fits = |rank: &Rank| before.is_none_or(|it| it < rank) && after.is_none_or(|it| rank < it);
    if alike().all(fits) {
        return Some(Move::default());
    }
    let Reverse(mut priority) = first.priority;
    priority = before.map_or(priority, |it| priority.min(it.priority.0));
    priority = after.map_or(priority, |it| priority.max(it.priority.0));
    let at = |position| move |rank: &Rank| Rank { priority: Reverse(priority), position, ..rank.clone() };
    let all_fit = |position: &Position| alike().map(at(*position)).all(|rank| fits(&rank));
    let beside = |rank: Option<&Rank>| rank.filter(|it| it.priority.0 == priority).map(|it| it.position);
    let candidates = match (beside(before), beside(after)) {
        // Where two have the same position, the time of queueing decides, and may do so here too.
        (Some(lower), Some(upper)) => [Position::between(lower, upper), Some(lower), Some(upper)],
        (Some(lower), None) => [Some(lower.after()), None, None],
        (None, Some(upper)) => [Some(upper.before()), None, None],
        (None, None) => [Some(first.position), None, None],
    };
    let position = candidates.into_iter().flatten().find(all_fit)?;
    let written = priority.saturating_sub(increase);
    PRIORITIES.contains(&written).then_some(Move {
        position: (position != first.position).then_some(position),
        priority: (priority != first.priority.0).then_some(written),
    })
}

#[cfg(test)]
mod tests;
