//! `kubectl rota pause` and `resume`: queues, whole namespaces and everything stop starting Jobs, and go on; groups that
//! ended partly, and schedules that are held, go on too.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

mod latest;

use super::cluster::NamespaceArguments;
use super::objects::{Connection, Kind, is_code, list, refused};
use super::plugin::{Answer, OK, PluginError};
use super::print::{self, DryRun, Format, dry};
use super::target::{Target, TargetKind};
use crate::api::job_group::{GroupMember, GroupPhase};
use crate::api::labels::RESUME_ANNOTATION;
use crate::api::queue::{Pause, PauseScope};
use crate::api::{DEFAULT_QUEUE, JobGroup, JobGroupSpec, ObjectReference, Queue, QueueSpec, Schedule};
use crate::domain::names;
use crate::domain::queue::is_active;
use crate::domain::words::whole_second;

/// How much of the name of a group stands in the name of the one that resumes it, in characters.
const RESUMED_NAME_MAX: usize = 30;
/// What follows it.
const RESUMED: &str = "-resumed-";

/// What to pause, why, and until when.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "A pause starts nothing; what runs goes on. It is spec.paused of a queue: of the queue named (default: default), \
    or for --whole-namespace and --everything of the queue default, with the scope Namespace or Cluster. A later pause replaces an \
    earlier one. To turn off a schedule, set its spec.enabled to false.\n\nExit codes: 0 paused, 1 no such queue or refused, 2 \
    wrong arguments, 5 no cluster.\n\nExamples:\n  kubectl rota pause reports --reason 'database upgrade' --for 2h\n  kubectl rota pause \
    --whole-namespace --reason 'incident 4711'"
)]
pub struct PauseArguments {
    /// Queue to pause. Default: default.
    #[arg(value_name = "QUEUE")]
    pub target: Option<Target>,
    /// Why, for people; waiting Jobs show it.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// When it ends by itself: RFC 3339, or from now as +2h.
    #[arg(long, value_name = "TIME", conflicts_with = "for_")]
    pub until: Option<String>,
    /// How long it lasts, such as 2h or 90m.
    #[arg(long = "for", id = "for_", value_name = "LENGTH")]
    pub for_: Option<String>,
    /// What it covers, and how.
    #[command(flatten)]
    pub common: CommonArguments,
}

/// What to resume.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "A queue: its pause is taken off. group/NAME: a new group NAME-resumed-… is made of one that has ended, in which \
    members that succeeded are not run again; -p and -f correct the others. schedule/NAME: one that is held after failures \
    (pauseAfterFailures) goes on.\n\nExit codes: 0 resumed, or there was nothing to resume; 1 not found or refused; 2 wrong arguments; 3 \
    the group has not ended yet, or has nothing left to run; 5 no cluster.\n\nExamples:\n  kubectl rota resume reports\n  kubectl rota \
    resume --whole-namespace --latest-only\n  kubectl rota resume group/month-end -p load.region=eu\n  kubectl rota resume group/month-end -f \
    month-end.yaml"
)]
pub struct ResumeArguments {
    /// Queue, group/NAME or schedule/NAME. Default: the queue default.
    #[arg(value_name = "QUEUE|group/NAME|schedule/NAME")]
    pub target: Option<Target>,
    /// Of a group: value of a parameter of a member, over what the group says; may be repeated.
    #[arg(short, long = "param", value_name = "MEMBER.NAME=VALUE", value_parser = member_param)]
    pub params: Vec<MemberParam>,
    /// Of queues: first cancel the waiting Jobs of each schedule but the one for its latest time, so that what gathered during
    /// the pause does not all run. They are recorded as Skipped, Cancelled.
    #[arg(long)]
    pub latest_only: bool,
    /// Of a group: file with the group as it should have been; its jobs take the place of those of the group.
    #[arg(short, long, value_name = "FILE", conflicts_with = "params")]
    pub filename: Option<PathBuf>,
    /// What it covers, and how.
    #[command(flatten)]
    pub common: CommonArguments,
}

/// A value for a parameter of a member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberParam {
    member: String,
    name: String,
    value: String,
}

fn member_param(text: &str) -> Result<MemberParam, String> {
    let wrong = "write MEMBER.NAME=VALUE";
    let (path, value) = text.split_once('=').ok_or(wrong)?;
    let (member, name) =
        path.split_once('.').filter(|(member, name)| !member.is_empty() && !name.is_empty()).ok_or(wrong)?;
    Ok(MemberParam { member: member.to_owned(), name: name.to_owned(), value: value.to_owned() })
}

/// Flags of both verbs.
#[derive(Clone, Debug, clap::Args)]
pub struct CommonArguments {
    /// All queues of the namespace.
    #[arg(long, conflicts_with_all = ["target", "everything"])]
    pub whole_namespace: bool,
    /// All queues of all namespaces.
    #[arg(long, conflicts_with = "target")]
    pub everything: bool,
    /// Namespace of the operator, where a pause of everything is written.
    #[arg(long, value_name = "NAME", default_value = "rota-system")]
    pub operator_namespace: String,
    /// Only ask the API server whether it would accept it.
    #[arg(long, value_enum, value_name = "WHERE")]
    pub dry_run: Option<DryRun>,
    /// text for people, or json: the objects as they are then, as a list.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Where.
    #[command(flatten)]
    pub place: NamespaceArguments,
}

impl CommonArguments {
    async fn connection(&self) -> Result<Connection, PluginError> {
        let connection = Connection::open(&self.place, false).await?;
        let namespace = if self.everything { self.operator_namespace.clone() } else { connection.namespace };
        Ok(Connection { client: connection.client, namespace })
    }

    fn scope(&self) -> PauseScope {
        match (self.whole_namespace, self.everything) {
            (true, _) => PauseScope::Namespace,
            (_, true) => PauseScope::Cluster,
            _ => PauseScope::Queue,
        }
    }

    fn patch(&self) -> PatchParams {
        PatchParams { dry_run: self.dry_run.is_some(), ..PatchParams::default() }
    }

    fn post(&self) -> PostParams {
        PostParams { dry_run: self.dry_run.is_some(), ..PostParams::default() }
    }

    fn answer<K: serde::Serialize>(&self, objects: &[K], message: &str) -> Result<Answer, PluginError> {
        let output = match self.output {
            Format::Json => print::json(&objects)?,
            Format::Text => format!("{message}{}\n", if objects.is_empty() { "" } else { dry(self.dry_run) }),
        };
        Ok(Answer { output, remarks: String::new(), exit_code: OK })
    }
}

/// What a pause covers, in words.
fn covers(scope: PauseScope, queue: &str, namespace: &str) -> String {
    match scope {
        PauseScope::Queue => format!("queue {queue}"),
        PauseScope::Namespace => format!("every queue of the namespace {namespace}"),
        PauseScope::Cluster => format!("every queue of every namespace (queue {queue} of {namespace})"),
    }
}

/// Pauses.
pub async fn pause(arguments: &PauseArguments, now: Timestamp) -> Result<Answer, PluginError> {
    let common = &arguments.common;
    let name = queue_name(arguments.target.as_ref())?;
    let until = match (&arguments.until, &arguments.for_) {
        (Some(until), _) => Some(print::instant("--until", until, now)?),
        (None, Some(length)) => whole_second(now).checked_add(print::length("--for", length)?).ok(),
        (None, None) => None,
    };
    if arguments.reason.is_empty() {
        return Err(PluginError::Usage("--reason: say why, for those who wait".into()));
    }
    let connection = common.connection().await?;
    let scope = common.scope();
    let pause = Pause {
        reason: arguments.reason.clone(),
        until: until.map(MicroTime),
        scope: Some(scope).filter(|scope| *scope != PauseScope::Queue),
    };
    let api: Api<Queue> = connection.api();
    // Nulls take off what an earlier pause had and this one has not.
    let written = json!({ "reason": pause.reason, "until": pause.until, "scope": pause.scope });
    let patch = Patch::Merge(json!({ "spec": { "paused": written } }));
    let queue = match api.patch(name, &common.patch(), &patch).await {
        Ok(queue) => queue,
        Err(error) if is_code(&error, 404) && name == DEFAULT_QUEUE => {
            let queue = Queue::new(name, QueueSpec { paused: Some(pause.clone()), ..QueueSpec::default() });
            api.create(&common.post(), &queue).await.map_err(refused)?
        }
        Err(error) if is_code(&error, 404) => return Err(connection.missing("queue", name)),
        Err(error) => return Err(refused(error)),
    };
    let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
    let what = covers(scope, name, &connection.namespace);
    common.answer(&[queue], &format!("{what} is paused{until}: {}", pause.reason))
}

fn queue_name(target: Option<&Target>) -> Result<&str, PluginError> {
    match target {
        Some(target) if target.kind.is_some_and(|kind| kind != TargetKind::Queue) => {
            let message = "queues are paused; to turn off a schedule set its spec.enabled to false, to keep a Job waiting its spec.hold to true";
            Err(PluginError::Usage(message.into()))
        }
        target => Ok(target.map_or(DEFAULT_QUEUE, |target| target.name.as_str())),
    }
}

/// Resumes.
pub async fn resume(arguments: &ResumeArguments, now: Timestamp) -> Result<Answer, PluginError> {
    let common = &arguments.common;
    let target = arguments.target.as_ref().map(|target| (target.kind, target.name.as_str()));
    let is_group = matches!(target, Some((Some(TargetKind::Group), _)));
    if !is_group && (!arguments.params.is_empty() || arguments.filename.is_some()) {
        return Err(PluginError::Usage("-p and -f are about the members of a group: write group/NAME".into()));
    }
    let is_queue = matches!(target, None | Some((Some(TargetKind::Queue) | None, _)));
    if arguments.latest_only && !is_queue {
        return Err(PluginError::Usage("--latest-only is about the Jobs of queues: write QUEUE".into()));
    }
    match target {
        Some((Some(TargetKind::Group), name)) => resume_group(arguments, name).await,
        Some((Some(TargetKind::Schedule), name)) => resume_schedule(common, name, now).await,
        Some((Some(TargetKind::Job), name)) => Err(PluginError::Usage(format!(
            "a job is not resumed: set spec.hold of {name} to false, or run its template again (kubectl rota run)"
        ))),
        Some((Some(kind @ (TargetKind::Template | TargetKind::Record)), _)) => Err(PluginError::Usage(format!(
            "a {} is not resumed: write QUEUE, group/NAME or schedule/NAME",
            kind.word()
        ))),
        Some((Some(TargetKind::Queue) | None, name)) => resume_queue(arguments, name, now).await,
        None if common.scope() == PauseScope::Queue => resume_queue(arguments, DEFAULT_QUEUE, now).await,
        None => resume_all(arguments, now).await,
    }
}

fn dry_run() -> PatchParams {
    PatchParams { dry_run: true, ..PatchParams::default() }
}

/// Takes off a pause; under a dry run only asks whether that would be accepted.
async fn unpause(connection: &Connection, name: &str, params: &PatchParams) -> Result<Queue, PluginError> {
    let patch = Patch::Merge(json!({ "spec": { "paused": null } }));
    connection.api::<Queue>().patch(name, params, &patch).await.map_err(refused)
}

async fn resume_queue(arguments: &ResumeArguments, name: &str, now: Timestamp) -> Result<Answer, PluginError> {
    let common = &arguments.common;
    let connection = common.connection().await?;
    let queue: Queue = connection.get(name).await?;
    let Some(pause) = queue.spec.paused else {
        return common.answer::<Queue>(&[], &format!("queue {name} is not paused"));
    };
    let scope = pause.scope.unwrap_or_default();
    let what = covers(scope, name, &connection.namespace);
    let cancelled = if arguments.latest_only && is_active(&pause, now) {
        // A caller who may not resume must not cancel either.
        unpause(&connection, name, &dry_run()).await?;
        latest::cancel_earlier(&connection, scope, name, common.dry_run).await?
    } else {
        String::new()
    };
    let queue = unpause(&connection, name, &common.patch()).await?;
    common.answer(&[queue], &format!("{what} goes on; it was paused: {}{cancelled}", pause.reason))
}

/// Takes off the pauses of that scope, whichever queues have them.
async fn resume_all(arguments: &ResumeArguments, now: Timestamp) -> Result<Answer, PluginError> {
    let common = &arguments.common;
    let connection = common.connection().await?;
    let scope = common.scope();
    let what = covers(scope, DEFAULT_QUEUE, &connection.namespace);
    let (queues, _) = list(&connection.api::<Queue>(), &ListParams::default()).await?;
    let is_paused = |queue: &Queue| queue.spec.paused.as_ref().is_some_and(|pause| pause.scope == Some(scope));
    let lasts = |queue: &Queue| queue.spec.paused.as_ref().is_some_and(|pause| is_active(pause, now));
    let is_in_force = queues.iter().any(|queue| is_paused(queue) && lasts(queue));
    let paused: Vec<String> = queues.iter().filter(|queue| is_paused(queue)).map(ResourceExt::name_any).collect();
    let mut cancelled = String::new();
    if arguments.latest_only && is_in_force {
        for queue in &paused {
            unpause(&connection, queue, &dry_run()).await?;
        }
        cancelled = latest::cancel_earlier(&connection, scope, DEFAULT_QUEUE, common.dry_run).await?;
    }
    let mut resumed = Vec::new();
    for queue in paused {
        resumed.push(unpause(&connection, &queue, &common.patch()).await?);
    }
    let message = if resumed.is_empty() { format!("{what}: not paused") } else { format!("{what} goes on{cancelled}") };
    common.answer(&resumed, &message)
}

async fn resume_group(arguments: &ResumeArguments, name: &str) -> Result<Answer, PluginError> {
    let common = &arguments.common;
    let connection = common.connection().await?;
    let group: JobGroup = connection.get(name).await?;
    let phase = group.status.as_ref().and_then(|status| status.phase);
    match phase {
        Some(GroupPhase::Partial | GroupPhase::Cancelled) => {}
        Some(GroupPhase::Completed) => {
            return Err(PluginError::Late(format!("group {name} has completed: nothing is left to run")));
        }
        _ => return Err(PluginError::Late(format!("group {name} has not ended: it can be resumed when it has"))),
    }
    let mut spec = resumed_spec(&group);
    if let Some(file) = &arguments.filename {
        spec.jobs = members_of(file)?;
    }
    correct(&mut spec, &arguments.params)?;
    let mut resumed = JobGroup::new("", spec);
    resumed.metadata.name = None;
    resumed.metadata.generate_name = Some(resumed_prefix(name));
    let made = created(&connection.api(), &resumed, common).await?;
    common.answer(&[&made], &format!("group {} resumes group {name}", made.name_any()))
}

async fn created<K: Kind + serde::Serialize>(
    api: &Api<K>,
    object: &K,
    common: &CommonArguments,
) -> Result<K, PluginError> {
    api.create(&common.post(), object).await.map_err(refused)
}

/// The specification of a group that resumes another one: the same, without its cancel and its place of then.
fn resumed_spec(group: &JobGroup) -> JobGroupSpec {
    JobGroupSpec {
        started: None,
        cancel: None,
        position: None,
        resume_of: Some(ObjectReference { name: group.name_any(), uid: group.uid().unwrap_or_default() }),
        ..group.spec.clone()
    }
}

/// Puts the values that were given in the place of those of the members.
fn correct(spec: &mut JobGroupSpec, params: &[MemberParam]) -> Result<(), PluginError> {
    for MemberParam { member, name, value } in params {
        let Some(found) = spec.jobs.iter_mut().find(|it| it.name == *member) else {
            let names: Vec<&str> = spec.jobs.iter().map(|it| it.name.as_str()).collect();
            let message =
                format!("-p {member}.{name}: the group lists no member {member:?}, only {}", names.join(", "));
            return Err(PluginError::Usage(message));
        };
        found.params.insert(name.clone(), value.clone());
    }
    Ok(())
}

/// The members of the group that a file holds.
fn members_of(file: &Path) -> Result<Vec<GroupMember>, PluginError> {
    let wrong = |why: String| PluginError::Usage(format!("-f {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let group: JobGroup = serde_saphyr::from_str(&text).map_err(|error| wrong(format!("not one JobGroup: {error}")))?;
    Ok(group.spec.jobs)
}

/// How the name of a group that resumes another one begins; it does not grow when that one is resumed in turn.
fn resumed_prefix(name: &str) -> String {
    let first = name.split(RESUMED).next().unwrap_or(name);
    format!("{}{RESUMED}", names::shorten(first, RESUMED_NAME_MAX))
}

async fn resume_schedule(common: &CommonArguments, name: &str, now: Timestamp) -> Result<Answer, PluginError> {
    let connection = common.connection().await?;
    let schedule: Schedule = connection.get(name).await?;
    if schedule.spec.enabled == Some(false) {
        return Err(PluginError::Failed(format!("schedule {name} is turned off: set its spec.enabled to true")));
    }
    let Some(held) = schedule.status.as_ref().and_then(|status| status.paused.as_ref()) else {
        return common.answer::<Schedule>(&[], &format!("schedule {name} is not held"));
    };
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { RESUME_ANNOTATION: now.to_string() } } }));
    let failures = held.failures;
    let schedule = connection.api::<Schedule>().patch(name, &common.patch(), &patch).await.map_err(refused)?;
    common.answer(&[schedule], &format!("schedule {name} goes on; it was held after {failures} failures"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_group_is_the_same_without_its_cancel_and_its_name_does_not_grow() {
        let group: JobGroup = serde_json::from_value(json!({
            "apiVersion": "rota.dev/v1alpha1", "kind": "JobGroup", "metadata": { "name": "month-end", "uid": "u" },
            "spec": {
                "mode": "Sequential", "maxRunning": 2, "priority": 5, "position": 3, "started": true,
                "cancel": { "reason": "wrong month" },
                "jobs": [{ "name": "a", "templateRef": { "name": "report" } }],
            },
        }))
        .unwrap();
        let expected = json!({
            "mode": "Sequential", "maxRunning": 2, "priority": 5, "resumeOf": { "name": "month-end", "uid": "u" },
            "jobs": [{ "name": "a", "templateRef": { "name": "report" } }],
        });
        assert_eq!(serde_json::to_value(resumed_spec(&group)).unwrap(), expected);
        let mut corrected = resumed_spec(&group);
        let given = |text: &str| vec![member_param(text).unwrap()];
        correct(&mut corrected, &given("a.region=eu=1")).unwrap();
        assert_eq!(corrected.jobs[0].params["region"], "eu=1");
        let refused = correct(&mut corrected, &given("b.region=eu")).unwrap_err().to_string();
        assert_eq!(refused, "-p b.region: the group lists no member \"b\", only a");
        for wrong in ["a", "a=1", ".x=1", "a.=1"] {
            assert!(member_param(wrong).is_err(), "{wrong}");
        }
        assert_eq!(resumed_prefix("month-end"), "month-end-resumed-");
        assert_eq!(resumed_prefix("month-end-resumed-x7k2p"), "month-end-resumed-");
        assert!(resumed_prefix(&"long".repeat(50)).len() <= 45);
    }
}
