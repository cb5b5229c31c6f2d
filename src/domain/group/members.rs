//! Who is a member of a group, in which order, and what the group says to each.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::{is_closed, is_started, queued_at};
use crate::api::job::GroupReference;
use crate::api::job_group::{FailurePolicy, GroupMember, GroupMode, MemberStatus};
use crate::api::{Cancel, Job, JobGroup, JobPhase, ObjectReference, Outcome, Position, Reason};
use crate::domain::conditions;
use crate::domain::names;
use crate::domain::plan::Ending;

/// How a Job belongs to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Belonging {
    /// Rota made it from the group's list.
    Inline,
    /// It joined, and its status says so.
    Joined,
    /// It may join; its status does not say so yet.
    Joining,
}

/// What a group says to a Job that names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// Uid of the group; empty if it does not exist.
    pub group_uid: String,
    /// Whether the Job is a member because it joined, which its status has to say before anything else happens.
    pub joins: bool,
    /// Priority of members that have none of their own.
    pub priority: Option<i32>,
    /// Position of members that have none of their own.
    pub position: Option<Position>,
    /// Its place among the members, from 0.
    pub place: u32,
    /// What keeps it from being queued, in a sentence: the group does not exist or has not been started.
    pub unstarted: Option<String>,
    /// Whether all that keeps it from being queued is that its status does not say yet that it joined.
    pub is_joining: bool,
    /// What the member waits for within the group, in a sentence.
    pub waits: Option<String>,
    /// Why the member will not run any more, in a sentence.
    pub stopped: Option<String>,
    /// Why the Job is no member, in a sentence.
    pub closed: Option<String>,
    /// Why it need not run, in a sentence: the member succeeded in the group that this one resumes.
    pub succeeded_before: Option<String>,
    /// The cancel of the whole group.
    pub cancel: Option<Cancel>,
}

impl Gate {
    /// Whether it lets a Job that joined, and that is not queued yet, come to the queue and not be ended.
    pub fn calls(&self, job: &Job) -> bool {
        let ends = self.closed.is_some() || self.stopped.is_some() || self.succeeded_before.is_some();
        self.joins && self.unstarted.is_none() && !ends && self.cancel.is_none() && is_pending(phase(job))
    }
}

/// A member's Job as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberJob {
    /// Name of the member.
    pub member: String,
    /// Its Job.
    pub job: ObjectReference,
    /// How it came to be a member.
    pub belonging: Belonging,
    /// When the Job was created.
    pub created: Timestamp,
    /// Its own position.
    pub position: Option<Position>,
    /// Its own priority.
    pub priority: Option<i32>,
    /// The template that it names.
    pub template: Option<String>,
    /// Where the Job is in its life.
    pub phase: Option<JobPhase>,
    /// When its first container started.
    pub started_at: Option<Timestamp>,
    /// What stands in its way until somebody changes it, in a sentence.
    pub stalled: Option<String>,
    /// How it ended.
    pub ending: Option<Ending>,
}

/// How the members of a group stand, as far as they have to know it of each other. It is worked out once for all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// The generation of the group that it was worked out from.
    pub generation: Option<i64>,
    /// Where each member sits, by its name.
    seats: HashMap<String, Seat>,
    /// The first member that has not ended, and its Job.
    pub next: Option<(String, String)>,
    /// That a member failed, of the first one that did, in a sentence.
    pub failed: Option<String>,
    /// The Jobs that name a member that is another Job.
    pub rejected: Vec<String>,
}

/// Where a member sits among the others.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seat {
    /// Its place, from 0.
    place: u32,
    /// Its Job.
    job: String,
    /// Whether the Job of a member of the list that goes before it is still to be made.
    is_ahead: bool,
}

impl Standing {
    /// Whether the Jobs of the list that go before a member are all made.
    pub fn is_due(&self, member: &str) -> bool {
        self.seats.get(member).is_none_or(|seat| !seat.is_ahead)
    }
}

impl MemberJob {
    /// Whether it has not come to its queue yet, by its status.
    pub fn is_pending(&self) -> bool {
        is_pending(self.phase)
    }
}

fn is_pending(phase: Option<JobPhase>) -> bool {
    phase.is_none_or(|phase| phase == JobPhase::Pending)
}

fn phase(job: &Job) -> Option<JobPhase> {
    job.status.as_ref().and_then(|status| status.phase)
}

/// The priority that a template of that name gives to its Jobs.
pub type Priorities<'a> = &'a dyn Fn(&str) -> Option<i32>;

/// One member: what is known of it from the list, the group's status, and its Job.
pub(super) struct Member<'a> {
    pub name: &'a str,
    pub inline: Option<&'a GroupMember>,
    pub known: Option<&'a MemberStatus>,
    pub job: Option<&'a MemberJob>,
}

impl Member<'_> {
    /// Whether its Job is still to be made.
    pub fn is_unmade(&self) -> bool {
        let made = self.known.is_some_and(|known| known.job_ref.is_some());
        self.inline.is_some() && self.job.is_none() && !made && self.outcome().is_none()
    }

    /// How it ended, if it did.
    pub fn outcome(&self) -> Option<Outcome> {
        let known = self.known.and_then(|known| known.outcome);
        known.or_else(|| self.job?.ending.as_ref().map(|ending| ending.outcome))
    }

    /// That it failed, or was dropped before it ran, in a sentence. What builds on it lacks its work either way.
    pub fn failure(&self) -> Option<String> {
        let known = self.known.and_then(|known| known.reason);
        let reason = known.or_else(|| self.job?.ending.as_ref().map(|ending| ending.reason));
        let what = match (self.outcome()?, reason) {
            (Outcome::Failed, _) => "failed".to_owned(),
            (Outcome::Skipped, Some(reason)) if reason.is_dropped() => format!("did not run ({})", reason.as_str()),
            (Outcome::Skipped | Outcome::Completed, _) => return None,
        };
        Some(format!("member {:?} of the group {what}", self.name))
    }

    /// How it ranks in its queue among the members, as far as priority and position go.
    fn rank(&self, group: &JobGroup, priorities: Priorities<'_>) -> (Reverse<i32>, Option<Position>) {
        let (own, template, position) = match (self.inline, self.job) {
            (Some(inline), _) => (inline.priority, Some(&inline.template_ref.name), None),
            (None, Some(job)) => (job.priority, job.template.as_ref(), job.position),
            (None, None) => (None, None, None),
        };
        let priority = own.or(group.spec.priority).or_else(|| priorities(template?));
        let position = position.or(group.spec.position).or(queued_at(group).map(Position::at));
        (Reverse(priority.unwrap_or_default()), position)
    }
}

/// The members from the first one on whose Job is still to be made, in the order in which they go.
pub(super) fn to_come<'m, 'a>(
    group: &JobGroup,
    members: &'m [Member<'a>],
    priorities: Priorities<'_>,
) -> impl Iterator<Item = &'m Member<'a>> {
    let mut order: Vec<&Member<'_>> = Vec::new();
    if members.iter().any(Member::is_unmade) {
        order.extend(members);
        // In a Sequential group the order of the members decides alone.
        if group.spec.mode == GroupMode::Parallel {
            order.sort_by_cached_key(|it| it.rank(group, priorities));
        }
    }
    order.into_iter().skip_while(|it| !it.is_unmade())
}

/// The group that a Job names, with uid and member filled in as far as they are known.
pub fn reference(job: &Job) -> Option<GroupReference> {
    let mut reference = job.spec.group_ref.clone()?;
    if reference.member.is_empty() {
        reference.member = job.metadata.name.clone().unwrap_or_default();
    }
    if reference.uid.is_empty() {
        reference.uid = job.status.as_ref().and_then(|status| status.joined_group.clone()).unwrap_or_default();
    }
    Some(reference)
}

/// How a Job belongs to a group of the name that it gives; or why it does not, in a sentence.
fn belonging(job: &Job, group: &JobGroup) -> Result<Belonging, String> {
    let uid = group.metadata.uid.as_deref().unwrap_or_default();
    let name = group.metadata.name.as_deref().unwrap_or_default();
    let given = job.spec.group_ref.as_ref().map(|it| it.uid.as_str()).unwrap_or_default();
    let joined = job.status.as_ref().and_then(|status| status.joined_group.as_deref());
    if !given.is_empty() && given != uid || joined.is_some_and(|joined| joined != uid) {
        return Err(format!("its JobGroup {name:?} is gone; there is another one of that name"));
    }
    if is_made_by(job, uid) {
        return Ok(Belonging::Inline);
    }
    if joined.is_some() {
        return Ok(Belonging::Joined);
    }
    let status = group.status.as_ref();
    if status.and_then(|status| status.phase).is_some_and(|phase| phase.is_ended()) {
        return Err(format!("JobGroup {name:?} has ended"));
    }
    // One that was there when the group was started may be seen only now.
    if is_started(group) && queued_at(group).is_none_or(|started| created(job) > started) {
        return Err(format!("JobGroup {name:?} was started before this Job was created"));
    }
    Ok(Belonging::Joining)
}

fn is_made_by(job: &Job, group_uid: &str) -> bool {
    job.metadata.owner_references.iter().flatten().any(|owner| owner.uid == group_uid && owner.kind == "JobGroup")
}

fn created(job: &Job) -> Timestamp {
    job.metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default()
}

/// Whether a Job that joined and ended so has left the group, because that was before the start. What ran ended after it,
/// whatever its time says: Kubernetes gives whole seconds.
fn has_left(group: &JobGroup, ending: &Ending) -> bool {
    let ran = match ending.reason {
        Reason::SkippedByRule => true,
        reason => ending.outcome != Outcome::Skipped && !reason.is_misconfiguration(),
    };
    !is_closed(group) || !ran && queued_at(group).is_some_and(|started| ending.finished_at < started)
}

/// A Job as a member of the group whose name it gives, if it is one. `ending` says how it ended, if it did.
pub fn member(job: &Job, group: &JobGroup, ending: Option<Ending>) -> Option<MemberJob> {
    let belonging = belonging(job, group).ok()?;
    if belonging != Belonging::Inline && ending.as_ref().is_some_and(|ending| has_left(group, ending)) {
        return None;
    }
    let status = job.status.as_ref();
    let conditions = status.iter().flat_map(|status| &status.conditions);
    let stalled = conditions.into_iter().find(|it| it.type_ == conditions::STALLED && it.status == "True");
    Some(MemberJob {
        member: reference(job)?.member,
        job: ObjectReference {
            name: job.metadata.name.clone().unwrap_or_default(),
            uid: job.metadata.uid.clone().unwrap_or_default(),
        },
        belonging,
        created: created(job),
        position: job.spec.position,
        priority: job.spec.priority,
        template: job.spec.template_ref.as_ref().map(|it| it.name.clone()),
        phase: status.and_then(|status| status.phase),
        started_at: status.and_then(|status| status.started_at.as_ref()).map(|time| time.0),
        stalled: stalled.map(|it| it.message.clone()),
        ending,
    })
}

/// The members in order: those of the list, then those that joined by position, creation and name. Of several Jobs with one
/// member's name the first one is the member: the group's own, else the one that joined first. The others come second.
pub(super) fn roster<'a>(group: &'a JobGroup, jobs: &'a [MemberJob]) -> (Vec<Member<'a>>, Vec<&'a MemberJob>) {
    let known = group.status.iter().flat_map(|status| &status.members);
    let known: HashMap<&str, &MemberStatus> = known.map(|member| (member.name.as_str(), member)).collect();
    let inline: HashSet<&str> = group.spec.jobs.iter().map(|member| member.name.as_str()).collect();
    let age = |job: &MemberJob| (job.belonging, job.created, job.job.name.clone());
    let mut seated: HashMap<&str, &MemberJob> = HashMap::with_capacity(jobs.len());
    let mut rejected = Vec::new();
    for job in jobs {
        let name = job.member.as_str();
        let is_another = |it: &&MemberStatus| it.job_ref.as_ref().is_some_and(|it| it.uid != job.job.uid);
        let taken = known.get(name).filter(|it| it.outcome.is_some()).is_some_and(is_another);
        if taken || inline.contains(name) && job.belonging != Belonging::Inline {
            rejected.push(job);
            continue;
        }
        match seated.entry(name) {
            Entry::Vacant(seat) => drop(seat.insert(job)),
            Entry::Occupied(mut seat) if age(job) < age(seat.get()) => rejected.push(seat.insert(job)),
            Entry::Occupied(_) => rejected.push(job),
        }
    }
    let mut members: Vec<Member<'a>> = Vec::with_capacity(group.spec.jobs.len() + seated.len());
    members.extend(group.spec.jobs.iter().map(|member| Member {
        name: &member.name,
        inline: Some(member),
        known: known.get(member.name.as_str()).copied(),
        job: seated.remove(member.name.as_str()),
    }));
    if is_closed(group) {
        let gone = group.status.iter().flat_map(|status| &status.members);
        let gone = gone.filter(|it| !inline.contains(it.name.as_str()) && !seated.contains_key(it.name.as_str()));
        // One that was deleted before Rota held it, or left before a cancel, was never a member, though it may be listed.
        let gone = gone.filter(|it| it.outcome.is_some());
        members.extend(gone.map(|it| Member { name: &it.name, inline: None, known: Some(it), job: None }));
    }
    let mut joined: Vec<&MemberJob> = seated.into_values().collect();
    joined.sort_by_cached_key(|job| {
        (job.position.unwrap_or(Position::at(job.created)), job.created, job.job.name.clone())
    });
    members.extend(joined.into_iter().map(|job| Member {
        name: &job.member,
        inline: None,
        known: known.get(job.member.as_str()).copied().filter(|_| is_closed(group)),
        job: Some(job),
    }));
    (members, rejected)
}

/// How the members stand.
pub fn standing(group: &JobGroup, jobs: &[MemberJob], priorities: Priorities<'_>) -> Standing {
    let (members, rejected) = roster(group, jobs);
    let later: HashSet<&str> = to_come(group, &members, priorities).skip(1).map(|it| it.name).collect();
    let name = group.metadata.name.as_deref().unwrap_or_default();
    let uid = group.metadata.uid.as_deref().unwrap_or_default();
    let job = |member: &Member<'_>| match (member.inline, member.job) {
        (Some(inline), _) => names::member_job(name, uid, &inline.name),
        (None, job) => job.map(|it| it.job.name.clone()).unwrap_or_default(),
    };
    let seat = |member: &Member<'_>, place| Seat { place, job: job(member), is_ahead: later.contains(member.name) };
    let seats = members.iter().zip(0u32..).map(|(member, place)| (member.name.to_owned(), seat(member, place)));
    Standing {
        generation: group.metadata.generation,
        seats: seats.collect(),
        next: members.iter().find(|it| it.outcome().is_none()).map(|it| (it.name.to_owned(), job(it))),
        failed: members.iter().find_map(Member::failure),
        rejected: rejected.into_iter().map(|job| job.job.name.clone()).collect(),
    }
}

/// What the group of the name that a Job gives says to it; absent if it gives none.
pub fn gate(job: &Job, group: Option<(&JobGroup, &Standing)>) -> Option<Gate> {
    let reference = reference(job)?;
    let Some((group, standing)) = group else { return Some(without_group(&reference)) };
    let uid = group.metadata.uid.clone().unwrap_or_default();
    let belonging = match belonging(job, group) {
        Ok(belonging) => belonging,
        Err(why) => return Some(Gate { closed: Some(why), ..Gate::default() }),
    };
    let spec = &group.spec;
    let name = &reference.name;
    let seat = standing.seats.get(&reference.member);
    let mut gate = Gate {
        group_uid: uid,
        joins: belonging != Belonging::Inline,
        priority: spec.priority,
        position: spec.position.or(queued_at(group).map(Position::at)),
        place: seat.map_or(u32::MAX, |seat| seat.place),
        cancel: spec.cancel.clone(),
        ..Gate::default()
    };
    let own = job.metadata.name.as_deref();
    if let Some(seat) = seat.filter(|seat| !seat.job.is_empty() && Some(seat.job.as_str()) != own) {
        let (member, other) = (&reference.member, &seat.job);
        gate.closed = Some(format!("the member {member:?} of JobGroup {name:?} is another Job: {other}"));
    } else if group.metadata.deletion_timestamp.is_some() {
        gate.closed = Some(format!("JobGroup {name:?} is being deleted"));
    } else if !is_started(group) {
        gate.unstarted = Some(format!("JobGroup {name:?} has not been started"));
    } else if gate.joins && !standing.is_due(&reference.member) && is_pending(phase(job)) {
        // It must not go before a Job that is not there yet.
        gate.unstarted = Some(format!("Jobs that JobGroup {name:?} lists go first, and are being made"));
    } else if belonging == Belonging::Joining {
        gate.unstarted = Some(format!("it is joining JobGroup {name:?}"));
        gate.is_joining = true;
    } else {
        gate.succeeded_before = succeeded_before(group, &reference.member);
        gate.stopped = stopped(group, standing);
        gate.waits = waits(group, standing, own);
    }
    Some(gate)
}

fn without_group(reference: &GroupReference) -> Gate {
    let name = &reference.name;
    if reference.uid.is_empty() {
        let unstarted = Some(format!("there is no JobGroup {name:?} in this namespace"));
        return Gate { unstarted, ..Gate::default() };
    }
    Gate { closed: Some(format!("its JobGroup {name:?} is gone")), ..Gate::default() }
}

fn succeeded_before(group: &JobGroup, member: &str) -> Option<String> {
    let old = &group.spec.resume_of.as_ref()?.name;
    let mut members = group.status.iter().flat_map(|status| &status.members);
    let found = members.find(|it| it.name == member && it.reason == Some(Reason::AlreadySucceeded))?;
    let run = found.run_ref.as_ref().map(|run| format!(", see JobRun {}", run.name)).unwrap_or_default();
    Some(format!("the member {member:?} succeeded in JobGroup {old:?}{run}"))
}

fn stopped(group: &JobGroup, standing: &Standing) -> Option<String> {
    standing.failed.clone().filter(|_| group.spec.failure_policy == Some(FailurePolicy::Stop))
}

fn waits(group: &JobGroup, standing: &Standing, own: Option<&str>) -> Option<String> {
    let (next, job) = standing.next.as_ref().filter(|_| group.spec.mode == GroupMode::Sequential)?;
    (own != Some(job)).then(|| format!("member {next:?} of the group goes first"))
}

/// Whether the group, if it still exists, has in its status how a Job ended, or need not have it. Where the list of members is full the Job
/// itself says so until the group has ended.
pub fn is_settled(group: Option<&JobGroup>, job: &Job, ending: Option<&Ending>) -> bool {
    let (Some(reference), Some(group)) = (reference(job), group) else { return true };
    let Ok(belonging) = belonging(job, group) else { return true };
    let left = belonging != Belonging::Inline && ending.is_some_and(|ending| has_left(group, ending));
    if left || !is_closed(group) {
        return true;
    }
    let status = group.status.as_ref();
    let ended = status.and_then(|status| status.phase).is_some_and(|phase| phase.is_ended());
    let listed = status.iter().flat_map(|status| &status.members).find(|it| it.name == reference.member);
    match listed {
        Some(MemberStatus { job_ref: Some(listed), .. }) if Some(&listed.uid) != job.metadata.uid.as_ref() => true,
        Some(MemberStatus { job_ref: None, outcome: None, .. }) | None => ended,
        Some(listed) => listed.outcome.is_some(),
    }
}
