//! What a group's status says of its members and of itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::members::Member;
use super::*;
use crate::api::JobPhase;
use crate::api::job_group::MEMBERS_MAX;
use crate::domain::plan::Ending;

/// An ended group changes no more; only members that ended late, after a cancel, are still written down.
pub(super) fn settle_only(
    group: &JobGroup,
    before: JobGroupStatus,
    jobs: &[MemberJob],
    now: Timestamp,
) -> Plan<JobGroupStatus> {
    let (members, _) = members::roster(group, jobs);
    let mut plan = Plan::default();
    let after = of(group, before.clone(), &members, None, now);
    let keepers = group.metadata.deletion_timestamp.as_ref().and_then(|_| conditions::keepers(&group.metadata));
    if after.members != before.members || keepers.is_some() {
        let ended = before.phase.is_some_and(GroupPhase::is_ended);
        let (phase, finished_at) =
            if ended { (before.phase, before.finished_at.clone()) } else { (after.phase, after.finished_at.clone()) };
        let mut status = JobGroupStatus { phase, finished_at, ..after };
        if let Some(keepers) = keepers {
            say_what_keeps_it(group, &mut status, &before.conditions, &keepers, now);
        }
        plan.status = Some(status);
    } else if group.metadata.deletion_timestamp.is_none() && before.observed_generation != group.metadata.generation {
        // An edit that changes nothing any more was seen all the same: a client that waits by kstatus would wait forever.
        plan.status = Some(JobGroupStatus { observed_generation: group.metadata.generation, ..before });
    }
    plan
}

/// Adds to what an ended group says, or says of one that has not ended, what keeps it though it is deleted. `before` are the
/// conditions as they were.
fn say_what_keeps_it(
    group: &JobGroup,
    status: &mut JobGroupStatus,
    before: &[Condition],
    keepers: &str,
    now: Timestamp,
) {
    let types = [conditions::COMPLETE, conditions::FAILED, conditions::CANCELLED];
    let said = types.into_iter().find(|type_| conditions::holds(&status.conditions, type_));
    let from = if said.is_some() { &status.conditions } else { before };
    let mut list = Conditions::continuing(from, group.metadata.generation, now);
    if said.is_none() {
        let message = "it starts no more members".to_owned();
        list.set(Fact { type_: conditions::STALLED, holds: true, reason: "Deleted", message });
    }
    list.say_kept(said.unwrap_or(conditions::STALLED), keepers);
    status.conditions = list.into_list();
}

/// The members, at the start, that need not run because they succeeded before.
pub(super) fn settled_before(
    group: &JobGroup,
    jobs: &[MemberJob],
    succeeded: &HashMap<String, Option<LocalReference>>,
) -> Vec<MemberStatus> {
    let (members, _) = members::roster(group, jobs);
    let settled = members.iter().filter_map(|member| {
        Some(MemberStatus {
            name: member.name.to_owned(),
            outcome: Some(Outcome::Skipped),
            reason: Some(Reason::AlreadySucceeded),
            run_ref: succeeded.get(member.name)?.clone(),
            ..MemberStatus::default()
        })
    });
    settled.take(MEMBERS_MAX).collect()
}

/// The status of a group with these members. `waits` says why it cannot be started, in a sentence.
pub(super) fn of(
    group: &JobGroup,
    mut status: JobGroupStatus,
    members: &[Member<'_>],
    waits: Option<String>,
    now: Timestamp,
) -> JobGroupStatus {
    let counts = counts(members);
    let jobs = || members.iter().filter_map(|member| member.job);
    status.observed_generation = group.metadata.generation;
    let ended = counts.completed + counts.failed + counts.skipped;
    let live = members.iter().any(|member| {
        let made = member.job.is_some() || member.known.is_some_and(|known| known.job_ref.is_some());
        made && member.outcome().is_none()
    });
    let before = status.phase;
    status.phase = Some(match (group.spec.cancel.is_some(), is_started(group)) {
        (true, _) if !live => GroupPhase::Cancelled,
        (_, false) => GroupPhase::Created,
        _ if ended == counts.total && members.iter().any(|it| it.failure().is_some()) => GroupPhase::Partial,
        _ if ended == counts.total => GroupPhase::Completed,
        _ if counts.running + counts.completed + counts.failed > 0 => GroupPhase::Running,
        _ if jobs().any(|job| job.ending.is_some()) || before == Some(GroupPhase::Running) => GroupPhase::Running,
        _ => GroupPhase::Queued,
    });
    let first = jobs().filter_map(|job| job.started_at).min();
    status.started_at = match (status.started_at.take(), first.map(micro)) {
        (Some(said), Some(seen)) => Some(said.min(seen)),
        (said, seen) => said.or(seen),
    };
    if status.phase.is_some_and(GroupPhase::is_ended) && status.finished_at.is_none() {
        let last = jobs().filter_map(|job| job.ending.as_ref().map(|ending| ending.finished_at)).max();
        status.finished_at = Some(micro(last.unwrap_or(now)));
    }
    status.conditions = group_conditions(group, &status, members, waits, now);
    status.members = listed(group, members);
    status.counts = Some(counts);
    status
}

/// The members as the status lists them: those of the list, those that it listed before, and others while there is room.
fn listed(group: &JobGroup, members: &[Member<'_>]) -> Vec<MemberStatus> {
    let (inline, joined): (Vec<&Member<'_>>, Vec<&Member<'_>>) = members.iter().partition(|it| it.inline.is_some());
    let before = group.status.iter().filter(|_| is_closed(group)).flat_map(|status| &status.members);
    let places: HashMap<&str, usize> = before.enumerate().map(|(place, it)| (it.name.as_str(), place)).collect();
    let (mut known, new): (Vec<&Member<'_>>, Vec<&Member<'_>>) =
        joined.into_iter().partition(|it| places.contains_key(it.name));
    known.sort_by_key(|it| places.get(it.name));
    inline.into_iter().chain(known).chain(new).take(MEMBERS_MAX).map(member_status).collect()
}

fn member_status(member: &Member<'_>) -> MemberStatus {
    let mut status = member.known.cloned().unwrap_or_default();
    status.name = member.name.to_owned();
    let Some(job) = member.job.filter(|_| status.outcome.is_none()) else { return status };
    status.job_ref = Some(job.job.clone());
    status.phase = job.phase.or(Some(JobPhase::Pending));
    if let Some(ending) = &job.ending {
        status.phase = Some(ended_phase(ending));
        status.outcome = Some(ending.outcome);
        status.reason = Some(ending.reason);
        status.run_ref = Some(LocalReference { name: ending.run.clone() });
    }
    status
}

fn ended_phase(ending: &Ending) -> JobPhase {
    match ending.reason {
        Reason::Cancelled | Reason::Replaced | Reason::JobDeleted => JobPhase::Cancelled,
        _ => JobPhase::Finished,
    }
}

fn group_conditions(
    group: &JobGroup,
    status: &JobGroupStatus,
    members: &[Member<'_>],
    waits: Option<String>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut list = Conditions::from(&status.conditions, group.metadata.generation, now);
    let ended = match status.phase {
        Some(GroupPhase::Completed) => Some((conditions::COMPLETE, "Completed", "all members ended, none failed")),
        Some(GroupPhase::Partial) => {
            Some((conditions::FAILED, "Partial", "all members ended, and at least one failed or was dropped"))
        }
        Some(GroupPhase::Cancelled) => Some((conditions::CANCELLED, "Cancelled", "the group was cancelled")),
        Some(GroupPhase::Created | GroupPhase::Queued | GroupPhase::Running) | None => None,
    };
    if let Some((type_, reason, message)) = ended {
        list.set(Fact { type_, holds: true, reason, message: message.into() });
    }
    let stalled = || {
        let mut stalled = members.iter().filter_map(|member| Some((member.name, member.job?.stalled.as_ref()?)));
        stalled.next().map(|(name, why)| ("MemberStalled", format!("member {name:?}: {why}")))
    };
    match waits.map(|why| ("ResumeOf", why)).or_else(stalled).filter(|_| ended.is_none()) {
        Some((reason, message)) => list.set(Fact { type_: conditions::STALLED, holds: true, reason, message }),
        None => list.remove(conditions::STALLED),
    }
    list.into_list()
}

fn counts(members: &[Member<'_>]) -> MemberCounts {
    let mut counts =
        MemberCounts { total: u32::try_from(members.len()).unwrap_or(u32::MAX), ..MemberCounts::default() };
    for member in members {
        let phase = member.job.and_then(|job| job.phase).or(member.known.and_then(|known| known.phase));
        match (member.outcome(), phase) {
            (Some(Outcome::Completed), _) => counts.completed += 1,
            (Some(Outcome::Failed), _) => counts.failed += 1,
            (Some(Outcome::Skipped), _) => counts.skipped += 1,
            (None, Some(JobPhase::Dispatched | JobPhase::Running)) => counts.running += 1,
            (None, _) => counts.waiting += 1,
        }
    }
    counts
}
