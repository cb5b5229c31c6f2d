//! Group: the members of a JobGroup, when each may be queued, and how the group ended.
//!
//! A group is started by one write of its status; the Jobs of its list are made after it, under deterministic names. Jobs
//! that users write join it before. What the members have to know of each other, their order, who goes next and whether
//! one failed, is worked out from their Jobs and the status once for all of them ([`Standing`]); a cancel or a stop is
//! read by the members from the group, so either costs no write for each of them.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::conditions::{self, Conditions, Fact, micro};
use super::job::requested_text;
use super::plan::{Effect, Note, Plan};
use super::{names, sizes};
use crate::api::job::GroupReference;
use crate::api::job_group::{GroupMember, GroupMode, GroupPhase, MemberCounts, MemberStatus};
use crate::api::labels::{GROUP, RECORD_FINALIZER};
use crate::api::{API_VERSION, Job, JobGroup, JobGroupSpec, JobGroupStatus, JobSpec, LocalReference, Outcome, Reason};

mod members;
mod status;

pub use members::{Belonging, Gate, MemberJob, Priorities, Standing, gate, is_settled, member, reference, standing};

/// How many Jobs one decision makes; the rest is for the next one, so that the first members need not wait for the last.
const CREATES_MAX: usize = 100;
/// Up to how many members every change of a group is written at once; in larger ones those of a second go together.
const WRITTEN_AT_ONCE_MAX: usize = 100;

/// Whether a group has been started: its status says so.
pub fn is_started(group: &JobGroup) -> bool {
    let phase = group.status.as_ref().and_then(|status| status.phase);
    phase.is_some_and(|phase| phase != GroupPhase::Created)
}

/// When a group was started, if it was.
fn queued_at(group: &JobGroup) -> Option<Timestamp> {
    group.status.as_ref().and_then(|status| status.queued_at.as_ref()).map(|time| time.0)
}

/// Whether no Job may join any more.
fn is_closed(group: &JobGroup) -> bool {
    is_started(group) || group.spec.cancel.is_some()
}

/// How many members of a group may run at once: one after the other means one.
pub fn max_running(spec: &JobGroupSpec) -> Option<u32> {
    if spec.mode == GroupMode::Sequential { Some(1) } else { spec.max_running }
}

/// Decides about one group. `resumed` is the group that it names in `resumeOf`, if that exists; `priorities` are those of
/// templates.
pub fn decide(
    group: &JobGroup,
    jobs: &[MemberJob],
    resumed: Option<&JobGroup>,
    priorities: Priorities<'_>,
    now: Timestamp,
) -> Plan<JobGroupStatus> {
    let before = group.status.clone().unwrap_or_default();
    if before.phase.is_some_and(GroupPhase::is_ended) || group.metadata.deletion_timestamp.is_some() {
        return status::settle_only(group, before, jobs, now);
    }
    let wanted = group.spec.started.unwrap_or(true) && group.spec.cancel.is_none();
    if wanted && !is_started(group) {
        return start(group, before, jobs, resumed, now);
    }
    let mut plan = Plan::default();
    plan.notes.extend(cancel_note(group));
    let (members, _) = members::roster(group, jobs);
    if wanted {
        // In the order in which they go; who joined and goes before others of the list comes to the queue before these are made.
        let missing = members::to_come(group, &members, priorities)
            .take_while(|it| it.inline.is_some() || it.outcome().is_some())
            .filter(|it| it.is_unmade());
        plan.effects = missing
            .filter_map(|it| it.inline)
            .take(CREATES_MAX)
            .map(|it| Effect::CreateJob { job: Box::new(member_job(group, it)), unless_run: None, due: None })
            .collect();
    }
    end_with(&mut plan, status::of(group, before, &members, None, now));
    plan
}

/// The start is one write: from then on nobody joins, and the members that succeeded before are settled. Their Jobs are
/// made by the next decision, so that none exists of a group that does not say that it was started.
fn start(
    group: &JobGroup,
    mut before: JobGroupStatus,
    jobs: &[MemberJob],
    resumed: Option<&JobGroup>,
    now: Timestamp,
) -> Plan<JobGroupStatus> {
    let mut plan = Plan::default();
    let fits = sizes::check_group(group, jobs.len());
    let succeeded = match fits.and_then(|()| to_resume(group, resumed)) {
        Ok(succeeded) => succeeded,
        Err(why) => {
            let (members, _) = members::roster(group, jobs);
            plan.status = Some(status::of(group, before, &members, Some(why), now));
            return plan;
        }
    };
    // Whoever is there is in, whatever the clock of the API server says.
    let last = jobs.iter().map(|job| job.created).max();
    before.queued_at = Some(micro(last.map_or(now, |last| last.max(now))));
    before.phase = Some(GroupPhase::Queued);
    before.members = status::settled_before(group, jobs, &succeeded);
    let mut started = group.clone();
    started.status = Some(before.clone());
    let (members, _) = members::roster(&started, jobs);
    plan.notes.push(Note::normal("Started", "Start", format!("with {} member(s)", members.len())));
    end_with(&mut plan, status::of(&started, before, &members, None, now));
    plan
}

/// That somebody asked for the end of a group, and who: told when the operator sees it.
fn cancel_note(group: &JobGroup) -> Option<Note> {
    let seen = group.status.as_ref().and_then(|status| status.observed_generation);
    let cancel = group.spec.cancel.as_ref().filter(|_| seen != group.metadata.generation)?;
    Some(Note::normal("CancelRequested", "Cancel", requested_text(cancel)))
}

fn end_with(plan: &mut Plan<JobGroupStatus>, status: JobGroupStatus) {
    if let Some(phase) = status.phase.filter(|phase| phase.is_ended()) {
        plan.notes.push(ended_note(phase, status.counts.unwrap_or_default()));
    }
    plan.status = Some(status);
}

/// The records of the members that succeeded in the group that this one resumes, by member; or why it cannot be resumed
/// yet, in a sentence.
fn to_resume(group: &JobGroup, old: Option<&JobGroup>) -> Result<HashMap<String, Option<LocalReference>>, String> {
    let Some(reference) = &group.spec.resume_of else { return Ok(HashMap::new()) };
    let name = &reference.name;
    let uid = Some(&reference.uid).filter(|uid| !uid.is_empty());
    let Some(old) = old.filter(|old| uid.is_none() || uid == old.metadata.uid.as_ref()) else {
        return Err(format!("spec.resumeOf: there is no JobGroup {name:?} of that uid in this namespace"));
    };
    let Some(status) = old.status.as_ref().filter(|it| it.phase.is_some_and(GroupPhase::is_ended)) else {
        return Err(format!("spec.resumeOf: JobGroup {name:?} has not ended"));
    };
    let succeeded = status
        .members
        .iter()
        .filter(|member| member.outcome == Some(Outcome::Completed) || member.reason == Some(Reason::AlreadySucceeded));
    Ok(succeeded.map(|member| (member.name.clone(), member.run_ref.clone())).collect())
}

/// Whether a status may wait a little, together with what follows: that of a large group whose phase stays.
pub fn may_rest(before: Option<&JobGroupStatus>, after: &JobGroupStatus) -> bool {
    let same = |before: &JobGroupStatus| before.phase == after.phase && before.conditions == after.conditions;
    after.members.len() > WRITTEN_AT_ONCE_MAX && before.is_some_and(same)
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
        priority: member.priority,
        group_ref: Some(GroupReference { name: name.clone(), uid: uid.clone(), member: member.name.clone() }),
        ..JobSpec::default()
    };
    let mut job = Job::new(&names::member_job(&name, &uid, &member.name), spec);
    job.metadata.namespace = group.metadata.namespace.clone();
    job.metadata.finalizers = Some(vec![RECORD_FINALIZER.into()]);
    let mut labels = names::recommended_labels(&member.template_ref.name);
    labels.insert(GROUP.to_owned(), names::label_value(&name));
    job.metadata.labels = Some(labels);
    job.metadata.owner_references = Some(vec![owner("JobGroup", &name, &uid)]);
    job
}

/// The owner reference of a Job that Rota made for a schedule or group.
pub(crate) fn owner(kind: &str, name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
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
