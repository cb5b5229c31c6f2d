//! Group: the members of a JobGroup, when each may be queued, and how the group ended.
//!
//! Members are made at once when the group starts, under deterministic names; in a sequential group each waits for the
//! one before it. A cancel or a stop is read by the members from the group, so either costs no write for each of them.

use jiff::Timestamp;

use super::conditions::{self, Conditions, Fact, micro};
use super::names;
use super::plan::{Effect, Ending, Note, Plan};
use crate::api::job::GroupReference;
use crate::api::job_group::{FailurePolicy, GroupMember, GroupMode, GroupPhase, MemberCounts, MemberStatus};
use crate::api::labels::{MANAGED_BY, MANAGER, RECORD_FINALIZER};
use crate::api::{
    API_VERSION, Cancel, Job, JobGroup, JobGroupStatus, JobPhase, JobSpec, LocalReference, ObjectReference, Outcome,
};

/// What a group says to one of its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// Uid of the group.
    pub group_uid: String,
    /// How many members may run at once.
    pub max_running: Option<u32>,
    /// What the member waits for within the group, in a sentence.
    pub waits: Option<String>,
    /// Why the member will not run any more, in a sentence.
    pub stopped: Option<String>,
    /// The cancel of the whole group.
    pub cancel: Option<Cancel>,
}

/// A member's Job as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberJob {
    /// Name of the member.
    pub member: String,
    /// Its Job.
    pub job: ObjectReference,
    /// Where the Job is in its life.
    pub phase: Option<JobPhase>,
    /// When its first container started.
    pub started_at: Option<Timestamp>,
    /// What stands in its way until somebody changes it, in a sentence.
    pub stalled: Option<String>,
    /// How it ended.
    pub ending: Option<Ending>,
}

/// What the group says to the member of that name. `outcome` tells how a member ended, if it did.
pub fn gate(group: &JobGroup, member: &str, outcome: impl Fn(&str) -> Option<Outcome>) -> Gate {
    let spec = &group.spec;
    let mut gate = Gate {
        group_uid: group.metadata.uid.clone().unwrap_or_default(),
        max_running: spec.max_running,
        cancel: spec.cancel.clone(),
        ..Gate::default()
    };
    if spec.failure_policy == Some(FailurePolicy::Stop) {
        let failed = spec.jobs.iter().find(|other| outcome(&other.name) == Some(Outcome::Failed));
        gate.stopped = failed.map(|failed| format!("member {:?} of the group failed", failed.name));
    }
    if spec.mode == GroupMode::Sequential {
        let before = spec.jobs.iter().take_while(|other| other.name != member);
        gate.waits = before
            .filter(|other| outcome(&other.name).is_none())
            .map(|other| format!("member {:?} of the group goes first", other.name))
            .next();
    }
    gate
}

/// How many members of a group may run at once: one after the other means one.
pub fn max_running(spec: &crate::api::JobGroupSpec) -> Option<u32> {
    if spec.mode == GroupMode::Sequential { Some(1) } else { spec.max_running }
}

/// Decides about one group.
pub fn decide(group: &JobGroup, jobs: &[MemberJob], now: Timestamp) -> Plan<JobGroupStatus> {
    let before = group.status.clone().unwrap_or_default();
    if before.phase.is_some_and(GroupPhase::is_ended) || group.metadata.deletion_timestamp.is_some() {
        return settle_only(group, &before, jobs, now);
    }
    let started = group.spec.started.unwrap_or(true);
    let mut plan = Plan::default();
    let members = members(group, &before, jobs);
    if started && group.spec.cancel.is_none() {
        let missing = group.spec.jobs.iter().zip(&members).filter(|(_, status)| status.job_ref.is_none());
        plan.effects.extend(
            missing.map(|(member, _)| Effect::CreateJob { job: Box::new(member_job(group, member)), unless_run: None }),
        );
    }
    let status = status(group, before, members, jobs, now);
    let ended = status.phase.filter(|phase| phase.is_ended());
    if let Some(phase) = ended {
        plan.notes.push(ended_note(phase, status.counts.unwrap_or_default()));
    }
    plan.status = Some(status);
    plan
}

/// An ended group changes no more; only members that ended late, after a cancel, are still written down.
fn settle_only(group: &JobGroup, before: &JobGroupStatus, jobs: &[MemberJob], now: Timestamp) -> Plan<JobGroupStatus> {
    let members = members(group, before, jobs);
    let mut plan = Plan::default();
    if members != before.members {
        let mut status = status(group, before.clone(), members, jobs, now);
        if before.phase.is_some_and(GroupPhase::is_ended) {
            status.phase = before.phase;
            status.finished_at = before.finished_at.clone();
        }
        plan.status = Some(status);
    }
    plan
}

fn members(group: &JobGroup, before: &JobGroupStatus, jobs: &[MemberJob]) -> Vec<MemberStatus> {
    let known: std::collections::HashMap<&str, &MemberStatus> =
        before.members.iter().map(|member| (member.name.as_str(), member)).collect();
    let live: std::collections::HashMap<&str, &MemberJob> = jobs.iter().map(|job| (job.member.as_str(), job)).collect();
    group
        .spec
        .jobs
        .iter()
        .map(|member| {
            let mut status = known.get(member.name.as_str()).map(|known| (*known).clone()).unwrap_or_default();
            status.name = member.name.clone();
            if let Some(job) = live.get(member.name.as_str()).filter(|_| status.outcome.is_none()) {
                status.job_ref = Some(job.job.clone());
                status.phase = job.phase.or(Some(JobPhase::Pending));
                if let Some(ending) = &job.ending {
                    status.phase = Some(ended_phase(ending));
                    status.outcome = Some(ending.outcome);
                    status.reason = Some(ending.reason);
                    status.run_ref = Some(LocalReference { name: ending.run.clone() });
                }
            }
            status
        })
        .collect()
}

fn ended_phase(ending: &Ending) -> JobPhase {
    match ending.reason {
        crate::api::Reason::Cancelled | crate::api::Reason::Replaced | crate::api::Reason::JobDeleted => {
            JobPhase::Cancelled
        }
        _ => JobPhase::Finished,
    }
}

fn status(
    group: &JobGroup,
    mut status: JobGroupStatus,
    members: Vec<MemberStatus>,
    jobs: &[MemberJob],
    now: Timestamp,
) -> JobGroupStatus {
    let counts = counts(&members);
    status.observed_generation = group.metadata.generation;
    let ended = counts.completed + counts.failed + counts.skipped;
    let live = members.iter().any(|member| member.job_ref.is_some() && member.outcome.is_none());
    let cancelled = group.spec.cancel.is_some();
    let before = status.phase;
    status.phase = Some(match (cancelled, group.spec.started.unwrap_or(true)) {
        (true, _) if !live => GroupPhase::Cancelled,
        (_, false) if before.is_none_or(|phase| phase == GroupPhase::Created) => GroupPhase::Created,
        _ if ended == counts.total && counts.failed > 0 => GroupPhase::Partial,
        _ if ended == counts.total => GroupPhase::Completed,
        _ if counts.running > 0 || ended > 0 || before == Some(GroupPhase::Running) => GroupPhase::Running,
        _ => GroupPhase::Queued,
    });
    let first = jobs.iter().filter_map(|job| job.started_at).min();
    status.started_at = match (status.started_at.take(), first.map(micro)) {
        (Some(said), Some(seen)) => Some(said.min(seen)),
        (said, seen) => said.or(seen),
    };
    if status.phase.is_some_and(GroupPhase::is_ended) && status.finished_at.is_none() {
        let last = jobs.iter().filter_map(|job| job.ending.as_ref().map(|ending| ending.finished_at)).max();
        status.finished_at = Some(micro(last.unwrap_or(now)));
    }
    status.conditions = group_conditions(group, &status, jobs, now);
    status.members = members;
    status.counts = Some(counts);
    status
}

fn group_conditions(
    group: &JobGroup,
    status: &JobGroupStatus,
    jobs: &[MemberJob],
    now: Timestamp,
) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    let mut list = Conditions::from(&status.conditions, group.metadata.generation, now);
    let ended = match status.phase {
        Some(GroupPhase::Completed) => Some((conditions::COMPLETE, "Completed", "all members ended, none failed")),
        Some(GroupPhase::Partial) => {
            Some((conditions::FAILED, "Partial", "all members ended, and at least one failed"))
        }
        Some(GroupPhase::Cancelled) => Some((conditions::CANCELLED, "Cancelled", "the group was cancelled")),
        Some(GroupPhase::Created | GroupPhase::Queued | GroupPhase::Running) | None => None,
    };
    if let Some((type_, reason, message)) = ended {
        list.set(Fact { type_, holds: true, reason, message: message.into() });
    }
    match jobs.iter().find_map(|job| job.stalled.as_ref().map(|why| (job, why))).filter(|_| ended.is_none()) {
        Some((job, why)) => list.set(Fact {
            type_: conditions::STALLED,
            holds: true,
            reason: "MemberStalled",
            message: format!("member {:?}: {why}", job.member),
        }),
        None => list.remove(conditions::STALLED),
    }
    list.into_list()
}

fn counts(members: &[MemberStatus]) -> MemberCounts {
    let mut counts =
        MemberCounts { total: u32::try_from(members.len()).unwrap_or(u32::MAX), ..MemberCounts::default() };
    for member in members {
        match (member.outcome, member.phase) {
            (Some(Outcome::Completed), _) => counts.completed += 1,
            (Some(Outcome::Failed), _) => counts.failed += 1,
            (Some(Outcome::Skipped), _) => counts.skipped += 1,
            (None, Some(JobPhase::Dispatched | JobPhase::Running)) => counts.running += 1,
            (None, _) => counts.waiting += 1,
        }
    }
    counts
}

fn ended_note(phase: GroupPhase, counts: MemberCounts) -> Note {
    let message = format!("{} completed, {} failed, {} skipped", counts.completed, counts.failed, counts.skipped);
    match phase {
        GroupPhase::Partial => Note::warning("Partial", "Finish", message),
        GroupPhase::Cancelled => Note::normal("Cancelled", "Finish", message),
        GroupPhase::Completed | GroupPhase::Created | GroupPhase::Queued | GroupPhase::Running => {
            Note::normal("Completed", "Finish", message)
        }
    }
}

/// The Job of a member.
fn member_job(group: &JobGroup, member: &GroupMember) -> Job {
    let name = group.metadata.name.clone().unwrap_or_default();
    let uid = group.metadata.uid.clone().unwrap_or_default();
    let spec = JobSpec {
        template_ref: Some(member.template_ref.clone()),
        params: member.params.clone(),
        priority: member.priority.or(group.spec.priority),
        group_ref: Some(GroupReference { name: name.clone(), uid: uid.clone(), member: member.name.clone() }),
        ..JobSpec::default()
    };
    let mut job = Job::new(&names::member_job(&name, &uid, &member.name), spec);
    job.metadata.namespace = group.metadata.namespace.clone();
    job.metadata.finalizers = Some(vec![RECORD_FINALIZER.into()]);
    job.metadata.labels = Some(
        [
            (MANAGED_BY.to_owned(), MANAGER.to_owned()),
            (crate::api::labels::GROUP.to_owned(), names::label_value(&name)),
        ]
        .into(),
    );
    job.metadata.owner_references = Some(vec![owner("JobGroup", &name, &uid)]);
    job
}

/// The owner reference of a Job that Rota made for a schedule or group.
pub(crate) fn owner(
    kind: &str,
    name: &str,
    uid: &str,
) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
        api_version: API_VERSION.into(),
        kind: kind.into(),
        name: name.into(),
        uid: uid.into(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[cfg(test)]
mod tests;
