//! `kubectl rota move`: puts a waiting Job, or the waiting members of a group, elsewhere in their queue, by one write.
//!
//! The place is computed from one list and written as an absolute position, guarded by the version of the object that was
//! listed: whoever is first wins, and the other one computes anew.

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::cluster::NamespaceArguments;
use super::objects::{Connection, Kind, is_code, refused};
use super::plugin::{Answer, PluginError};
use super::print::{self, DryRun, Format, dry};
use super::state::State;
use super::target::{Found, Target, TargetKind};
use crate::api::job_group::{GroupMember, GroupMode};
use crate::api::{Job, JobGroup};
use crate::domain::outlook::{Standing, phase};
use crate::domain::place::{self, Move};
use crate::domain::queue::Rank;

/// How often the place is computed anew after somebody else's write came first.
const CONFLICTS_MAX: usize = 5;

/// What to move, and where to.
#[derive(Clone, Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("to_where").required(true),
    after_help = "One write moves it: spec.position, and spec.priority as well where the place is among Jobs of another priority, unless \
    --keep-priority says that it goes no further than among Jobs of its own. \
    A group moves with all its waiting members. A member of a Sequential group, or one that is put before or after another member of \
    its group, is moved within the group (spec.jobs). Places count as in `kubectl rota queue NAME`.\n\nExit codes: 0 moved, or it was \
    there already; 1 not found, refused or no room; 2 wrong arguments; 3 it does not wait any more; 5 no cluster.\n\nExamples:\n  kubectl \
    rota move report-7xk2p --first\n  kubectl rota move group/month-end --after report-7xk2p"
)]
pub struct Arguments {
    /// Job or group: NAME, job/NAME or group/NAME.
    #[arg(value_name = "JOB|GROUP")]
    pub target: Target,
    /// Before all others.
    #[arg(long, group = "to_where")]
    pub first: bool,
    /// Behind all others.
    #[arg(long, group = "to_where")]
    pub last: bool,
    /// Right before that Job.
    #[arg(long, group = "to_where", value_name = "JOB")]
    pub before: Option<Target>,
    /// Right behind that Job.
    #[arg(long, group = "to_where", value_name = "JOB")]
    pub after: Option<Target>,
    /// To that place, from 1.
    #[arg(long, group = "to_where", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub to: Option<u32>,
    /// Do not change the priority: the place is the nearest one among Jobs of the same priority.
    #[arg(long)]
    pub keep_priority: bool,
    /// Only ask the API server whether it would accept it.
    #[arg(long, value_enum, value_name = "WHERE")]
    pub dry_run: Option<DryRun>,
    /// text for people, or json: what was written.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Where.
    #[command(flatten)]
    pub place: NamespaceArguments,
}

/// A change of one object that makes the move.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    kind: TargetKind,
    name: String,
    version: Option<String>,
    /// The change of its spec.
    spec: Value,
    /// What it does, in a sentence.
    message: String,
}

/// What is to be done.
enum Decision {
    Write(Change),
    /// Nothing, and why.
    Already(String),
}

/// Answers.
pub async fn run(arguments: &Arguments, clock: fn() -> Timestamp) -> Result<Answer, PluginError> {
    let connection = Connection::open(&arguments.place, false).await?;
    for _ in 0..CONFLICTS_MAX {
        let found = arguments.target.find(&connection, &[TargetKind::Job, TargetKind::Group]).await?;
        let decision = match &found {
            Found::Job(job) => decide_job(arguments, &connection, job, clock()).await?,
            Found::Group(group) => decide_group(arguments, &connection, group, clock()).await?,
            Found::Schedule(_) => return Err(PluginError::Usage("a schedule has no place in a queue".into())),
        };
        let change = match decision {
            Decision::Write(change) => change,
            Decision::Already(message) => return answer(arguments, &json!({}), &message),
        };
        let written = match change.kind {
            TargetKind::Job => write(&connection.api::<Job>(), &change, arguments).await?,
            _ => write(&connection.api::<JobGroup>(), &change, arguments).await?,
        };
        if written {
            return answer(arguments, &change.spec, &format!("{}{}", change.message, dry(arguments.dry_run)));
        }
    }
    Err(PluginError::Failed(format!("{:?} is changed by others all the time; try again", arguments.target.name)))
}

fn answer(arguments: &Arguments, spec: &Value, message: &str) -> Result<Answer, PluginError> {
    let output = match arguments.output {
        Format::Json => print::json(&json!({ "message": message, "spec": spec, "changed": *spec != json!({}) }))?,
        Format::Text => format!("{message}\n"),
    };
    Ok(Answer { output, ..Answer::default() })
}

/// Writes, unless somebody else has written since.
async fn write<K: Kind>(api: &Api<K>, change: &Change, arguments: &Arguments) -> Result<bool, PluginError> {
    let patch = json!({ "metadata": { "resourceVersion": change.version }, "spec": change.spec });
    let parameters = PatchParams { dry_run: arguments.dry_run.is_some(), ..PatchParams::default() };
    match api.patch(&change.name, &parameters, &Patch::Merge(&patch)).await {
        Ok(_) => Ok(true),
        Err(error) if is_code(&error, 409) => Ok(false),
        Err(error) => Err(refused(error)),
    }
}

fn late(what: &str, job: &Job) -> PluginError {
    let phase = phase(job).map_or("is not queued yet".to_owned(), |phase| format!("is {phase:?}"));
    let cancelled = if job.spec.cancel.is_some() { " and is cancelled" } else { "" };
    PluginError::Late(format!("{what} does not wait in a queue: it {phase}{cancelled}"))
}

async fn decide_job(
    arguments: &Arguments,
    connection: &Connection,
    job: &Job,
    now: Timestamp,
) -> Result<Decision, PluginError> {
    let name = job.name_any();
    if !place::is_waiting(job) {
        return Err(late(&format!("job {name}"), job));
    }
    if let Some(member) = &job.spec.group_ref {
        let group: Option<JobGroup> = connection.find(&member.name).await?;
        if let Some(group) = group.filter(|group| place::is_member(job, group))
            && let Some(decision) = within_group(arguments, connection, &group, place::member_name(job), &name).await?
        {
            return Ok(decision);
        }
    }
    let state = State::fetch(connection, None).await?;
    let listed = state.jobs.objects.get(&name).filter(|it| it.uid() == job.uid());
    let Some(listed) = listed.filter(|job| place::is_queued(job)) else {
        return Err(late(&format!("job {name}"), listed.unwrap_or(job)));
    };
    let queue = place::queue_name(listed).to_owned();
    let line = state.seen(now).outlook(&queue);
    let Some(own) = line.waiting.iter().find(|it| it.job.name_any() == name) else {
        return Err(late(&format!("job {name}"), listed));
    };
    let others: Vec<&Standing<'_>> =
        line.waiting.iter().filter(|it| it.place.is_some() && it.job.name_any() != name).collect();
    let index = nearest(arguments, &own.rank, &others, index(arguments, &others, &queue)?);
    let what = format!("job {name}");
    let Some(found) = place(std::slice::from_ref(&own.rank), own.increase, &others, index) else {
        return Err(no_room(&what, &others, index));
    };
    let before = own.rank.priority.0.saturating_sub(own.increase);
    decide(TargetKind::Job, &what, listed.name_any(), listed.resource_version(), (found, before), index, &queue)
}

async fn decide_group(
    arguments: &Arguments,
    connection: &Connection,
    group: &JobGroup,
    now: Timestamp,
) -> Result<Decision, PluginError> {
    let what = format!("group {}", group.name_any());
    let state = State::fetch(connection, None).await?;
    let is_member = |job: &Job| place::is_member(job, group);
    let waiting = state.jobs.objects.values().filter(|job| is_member(job) && place::is_queued(job));
    let mut queues: Vec<String> = waiting.map(|job| place::queue_name(job).to_owned()).collect();
    queues.sort();
    queues.dedup();
    let queue = match queues.as_slice() {
        [] => return Err(PluginError::Late(format!("no member of {what} waits in a queue"))),
        [queue] => queue,
        several => {
            let several = several.join(", ");
            return Err(PluginError::Failed(format!(
                "members of {what} wait in several queues ({several}): move them one by one"
            )));
        }
    };
    let line = state.seen(now).outlook(queue);
    let follows = |it: &&Standing<'_>| is_member(it.job) && it.job.spec.position.is_none();
    let own: Vec<Rank> = line.waiting.iter().filter(follows).map(|it| it.rank.clone()).collect();
    let Some(first) = line.waiting.iter().find(follows) else {
        return Err(PluginError::Failed(format!(
            "each waiting member of {what} has a position of its own: move them one by one"
        )));
    };
    let others: Vec<&Standing<'_>> = line.waiting.iter().filter(|it| it.place.is_some() && !follows(it)).collect();
    let index = nearest(arguments, &first.rank, &others, index(arguments, &others, queue)?);
    let Some(found) = place(&own, first.increase, &others, index) else {
        return Err(no_room(&what, &others, index));
    };
    let before = first.rank.priority.0.saturating_sub(first.increase);
    decide(TargetKind::Group, &what, group.name_any(), group.resource_version(), (found, before), index, queue)
}

/// Where among the others it shall stand: the number of those before it.
fn index(arguments: &Arguments, others: &[&Standing<'_>], queue: &str) -> Result<usize, PluginError> {
    let at = |target: &Target| {
        let found = others.iter().position(|it| it.job.name_any() == target.name);
        found.ok_or_else(|| {
            let message = format!(
                "no other job {:?} has a place in queue {queue}; `kubectl rota queue {queue}` shows the line",
                target.name
            );
            PluginError::Failed(message)
        })
    };
    match (&arguments.before, &arguments.after, arguments.to) {
        (Some(target), ..) => at(target),
        (_, Some(target), _) => Ok(at(target)? + 1),
        (_, _, Some(to)) => Ok((to as usize - 1).min(others.len())),
        _ if arguments.last => Ok(others.len()),
        _ => Ok(0),
    }
}

/// The place that is nearest to the one asked for, where the priority is not to change.
fn nearest(arguments: &Arguments, own: &Rank, others: &[&Standing<'_>], index: usize) -> usize {
    if !arguments.keep_priority {
        return index;
    }
    // A higher priority is a lower rank.
    let first = others.iter().filter(|it| it.rank.priority < own.priority).count();
    let last = others.iter().filter(|it| it.rank.priority <= own.priority).count();
    index.clamp(first, last)
}

fn place(own: &[Rank], increase: i32, others: &[&Standing<'_>], index: usize) -> Option<Move> {
    let before = index.checked_sub(1).and_then(|index| others.get(index)).map(|it| &it.rank);
    place::between(own, increase, before, others.get(index).map(|it| &it.rank))
}

fn no_room(what: &str, others: &[&Standing<'_>], index: usize) -> PluginError {
    let name = |index: Option<usize>| {
        index.and_then(|index| others.get(index)).map(|it| it.job.name_any()).unwrap_or_default()
    };
    let (before, after) = (name(index.checked_sub(1)), name(Some(index)));
    PluginError::Failed(format!(
        "there is no room for {what} between {before} and {after}: move one of these two away first"
    ))
}

fn decide(
    kind: TargetKind,
    what: &str,
    name: String,
    version: Option<String>,
    (found, before): (Move, i32),
    index: usize,
    queue: &str,
) -> Result<Decision, PluginError> {
    let place = index + 1;
    if found.is_nothing() {
        return Ok(Decision::Already(format!("{what} is at place {place} of queue {queue} already")));
    }
    let mut spec = json!({});
    let mut written = Vec::new();
    if let Some(position) = found.position {
        spec["position"] = json!(position);
        written.push(format!("position {position}"));
    }
    if let Some(priority) = found.priority {
        spec["priority"] = priority.into();
        written.push(format!("priority {priority} instead of {before}, which stays so until somebody changes it"));
    }
    let message = format!("{what} moved to place {place} of queue {queue}: {}", written.join(", "));
    Ok(Decision::Write(Change { kind, name, version, spec, message }))
}

/// The move of a member within its group; absent if it is to be moved in the queue.
async fn within_group(
    arguments: &Arguments,
    connection: &Connection,
    group: &JobGroup,
    member: &str,
    job: &str,
) -> Result<Option<Decision>, PluginError> {
    let neighbour = match arguments.before.as_ref().or(arguments.after.as_ref()) {
        Some(target) => {
            let other: Option<Job> = connection.find(&target.name).await?;
            other.filter(|other| place::is_member(other, group)).map(|other| place::member_name(&other).to_owned())
        }
        None => None,
    };
    let is_sequential = group.spec.mode == GroupMode::Sequential;
    if !is_sequential && neighbour.is_none() {
        return Ok(None);
    }
    let what = format!("member {member} (job {job}) of group {}", group.name_any());
    if is_sequential && neighbour.is_none() && (arguments.before.is_some() || arguments.after.is_some()) {
        let message =
            format!("{what} waits for the members before it, and no Job of another group counts: name a member's Job");
        return Err(PluginError::Failed(message));
    }
    let waits = |name: &str| {
        let status = group.status.iter().flat_map(|status| &status.members).find(|it| it.name == name);
        status.is_none_or(|it| it.outcome.is_none() && it.phase.is_none_or(is_before_launch))
    };
    let Some(order) = reordered(&group.spec.jobs, member, neighbour.as_deref(), arguments, waits) else {
        return Err(PluginError::Failed(format!(
            "{what} is not in spec.jobs of the group, whose order is what can be changed"
        )));
    };
    if order == group.spec.jobs {
        return Ok(Some(Decision::Already(format!("{what} is there already"))));
    }
    let place = order.iter().filter(|it| waits(&it.name)).position(|it| it.name == member).unwrap_or_default() + 1;
    let message = format!("{what} moved to place {place} of those that wait: the order of spec.jobs of the group");
    let change = Change {
        kind: TargetKind::Group,
        name: group.name_any(),
        version: group.resource_version(),
        spec: json!({ "jobs": order }),
        message,
    };
    Ok(Some(Decision::Write(change)))
}

fn is_before_launch(phase: crate::api::JobPhase) -> bool {
    matches!(phase, crate::api::JobPhase::Pending | crate::api::JobPhase::Queued)
}

/// The members in the new order; absent if the member, or the one beside which it shall stand, is not among them.
fn reordered(
    jobs: &[GroupMember],
    member: &str,
    neighbour: Option<&str>,
    arguments: &Arguments,
    waits: impl Fn(&str) -> bool,
) -> Option<Vec<GroupMember>> {
    let mut order = jobs.to_vec();
    let own = order.remove(order.iter().position(|it| it.name == member)?);
    let waiting: Vec<usize> =
        order.iter().enumerate().filter(|(_, it)| waits(&it.name)).map(|(index, _)| index).collect();
    let index = match (neighbour, arguments.to) {
        (Some(neighbour), _) => {
            order.iter().position(|it| it.name == neighbour)? + usize::from(arguments.after.is_some())
        }
        (None, Some(to)) => waiting.get(to as usize - 1).copied().unwrap_or(order.len()),
        (None, None) if arguments.last => order.len(),
        (None, None) => waiting.first().copied().unwrap_or(order.len()),
    };
    order.insert(index, own);
    Some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &[&str]) -> Arguments {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        <Line as clap::Parser>::parse_from([&["move", "x"], text].concat()).arguments
    }

    /// The names in their order after a member was moved; `done` have been launched or have ended.
    fn order(member: &str, neighbour: Option<&str>, done: &[&str], text: &[&str]) -> Option<String> {
        let named = |name: &str| GroupMember { name: name.into(), ..GroupMember::default() };
        let jobs = ["a", "b", "c", "d"].map(named);
        let found = reordered(&jobs, member, neighbour, &arguments(text), |name| !done.contains(&name))?;
        Some(found.into_iter().map(|it| it.name).collect())
    }

    #[test]
    fn members_are_put_before_those_that_wait_and_not_before_those_that_were() {
        assert_eq!(order("d", None, &[], &["--first"]).as_deref(), Some("dabc"));
        assert_eq!(order("d", None, &["a", "b"], &["--first"]).as_deref(), Some("abdc"));
        assert_eq!(order("b", None, &["a"], &["--last"]).as_deref(), Some("acdb"));
        assert_eq!(order("d", None, &["a"], &["--to", "2"]).as_deref(), Some("abdc"));
        assert_eq!(order("b", None, &["a"], &["--to", "9"]).as_deref(), Some("acdb"));
        assert_eq!(order("d", Some("b"), &[], &["--before", "job-b"]).as_deref(), Some("adbc"));
        assert_eq!(order("a", Some("b"), &[], &["--after", "job-b"]).as_deref(), Some("bacd"));
        assert_eq!(order("x", None, &[], &["--first"]), None, "it joined by its groupRef");
    }
}
