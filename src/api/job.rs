//! Job: one queued unit of work.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::common::{Cancel, LocalReference, ObjectReference, Outcome, is_false};
use super::job_run::Reason;
use super::job_template::{ParamValues, Retry};
use super::position::Position;

/// A term that is true while none of these fields of the specification changes. It is spelled out with `has`, because the
/// API server cannot bound the cost of comparing optional values (`?.`) and refuses a definition that does.
macro_rules! unchanged {
    ($($field:literal),+) => {
        concat!("true" $(,
            " && has(self.spec.", $field, ") == has(oldSelf.spec.", $field, ")",
            " && (!has(self.spec.", $field, ") || self.spec.", $field, " == oldSelf.spec.", $field, ")"
        )+)
    };
}

/// What other objects know a Job by is the same from its creation on: they count on it before its first status is written.
const KNOWN_BY_RULE: &str = unchanged!("scheduleRef", "scheduledTime", "groupRef", "dedupKey");

/// From the queue on, a Job is what it was queued as.
const QUEUED_RULE: &str = concat!(
    "!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase == 'Pending' || (",
    unchanged!(
        "templateRef",
        "jobTemplate",
        "jobType",
        "params",
        "queue",
        "startDeadline",
        "startBy",
        "dedupWindowSeconds",
        "rerunPolicy",
        "deadlineSeconds",
        "retry",
        "timeoutSeconds",
        "pendingTimeoutSeconds",
        "ttlSecondsAfterFinished"
    ),
    ")",
);

/// From the launch on, nothing can be said about its place in line. An absent hold is the same as false.
const DISPATCHED_RULE: &str = concat!(
    "!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase in ['Pending', 'Queued'] || (",
    unchanged!("priority", "position", "notBefore"),
    " && (has(self.spec.hold) && self.spec.hold) == (has(oldSelf.spec.hold) && oldSelf.spec.hold))",
);

/// One unit of work that waits for its turn, runs, and leaves a JobRun for each attempt.
///
/// scheduleRef, scheduledTime, groupRef and dedupKey never change. Once queued only priority, position, notBefore, hold and
/// cancel may change; once dispatched only cancel.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "rota.dev",
    version = "v1alpha1",
    kind = "Job",
    plural = "jobs",
    singular = "job",
    shortname = "rjob",
    category = "rota",
    namespaced,
    cel,
    status = "JobStatus",
    derive = "PartialEq",
    doc = "One queued unit of work.",
    selectable = ".status.phase",
    selectable = ".status.outcome",
    selectable = ".status.queue",
    selectable = ".status.waitingFor",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.outcome"),
    printcolumn(name = "Waiting for", type_ = "string", json_path = ".status.waitingFor"),
    printcolumn(name = "Queue", type_ = "string", json_path = ".status.queue"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".status.priority"),
    printcolumn(name = "Attempts", type_ = "integer", json_path = ".status.attempts"),
    printcolumn(name = "Template", type_ = "string", json_path = ".spec.templateRef.name", priority = 1),
    printcolumn(name = "Position", type_ = "string", json_path = ".spec.position", priority = 1),
    printcolumn(name = "Started", type_ = "date", json_path = ".status.startedAt", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(KNOWN_BY_RULE).message("scheduleRef, scheduledTime, groupRef and dedupKey cannot change; create a new Job instead"),
    validation = Rule::new(QUEUED_RULE).message("a queued Job is immutable except for priority, position, notBefore, hold and cancel; create a new Job instead"),
    validation = Rule::new(DISPATCHED_RULE).message("priority, position, notBefore and hold cannot change once the Job is dispatched; only cancel can"),
    validation = Rule::new("!has(oldSelf.spec.cancel) || has(self.spec.cancel)").message("a cancel cannot be taken back; create a new Job instead"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    cel,
    validation = Rule::new("has(self.templateRef) != has(self.jobTemplate)").message("exactly one of templateRef and jobTemplate must be set"),
    validation = Rule::new("!has(self.jobTemplate) || has(self.jobType)").message("jobType is required with jobTemplate").field_path(".jobType"),
    validation = Rule::new("!has(self.scheduledTime) || has(self.scheduleRef)").message("scheduledTime needs a scheduleRef").field_path(".scheduledTime"),
)]
pub struct JobSpec {
    /// The JobTemplate to run, in the same namespace. Exactly one of templateRef and jobTemplate must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_ref: Option<LocalReference>,
    /// What runs, for a Job without a template: the same shape as a CronJob's jobTemplate. Exactly one of templateRef and
    /// jobTemplate must be set. Fields that Rota drops, overrides or treats in its own way say so in their description. Every
    /// other field means what it means to Kubernetes: `kubectl explain cronjob.spec.jobTemplate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::pod_template::job_template_schema")]
    pub job_template: Option<Value>,
    /// Type of work. Required with jobTemplate. Default: the template's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"))]
    pub job_type: Option<String>,
    /// Parameter values; they override the template's defaults. Write numbers and booleans in quotes. Default: none.
    #[serde(default, skip_serializing_if = "ParamValues::is_empty")]
    #[schemars(schema_with = "super::common::given_values_schema")]
    pub params: ParamValues,
    /// The queue to wait in, in the same namespace. Default: the template's, else `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub queue: Option<String>,
    /// Priority; higher goes first. Default: the template's, else 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1000000, max = 1000000))]
    pub priority: Option<i32>,
    /// Place among Jobs of the same priority, a number; lower goes first. Default: the time at which it was queued, in seconds
    /// since 1970, so that 1 goes before all that were not moved, and there is room between any two. Numbers with digits
    /// after the point are written in quotes. `kubectl rota move` finds the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The Schedule that asked for it. The operator writes it; a Job that a user writes may name one (without uid), and then
    /// counts as a run of it by hand: its concurrencyPolicy and its failures include it. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_ref: Option<ObjectReference>,
    /// The nominal time of the occurrence it stands for. The operator writes it. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<MicroTime>,
    /// Not started by then, it is recorded as Skipped/StartDeadlineExceeded, RFC 3339. The Jobs of a Schedule have it from its
    /// startDeadlineSeconds. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_deadline: Option<MicroTime>,
    /// When it is late if it has not started: the schedule's startWithinSeconds after the time was due. The operator writes
    /// it. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_by: Option<MicroTime>,
    /// The JobGroup it is a member of. The operator writes it; a Job that a user writes joins the group that it names (without
    /// uid) if the group has not been started yet, and is recorded as Skipped/GroupClosed otherwise. While there is no such
    /// group, it waits for it. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_ref: Option<GroupReference>,
    /// While an unfinished Job of the namespace has the same key, this one is recorded as Skipped/DuplicateKey instead of run.
    /// Default: none, and it is no duplicate of another Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub dedup_key: Option<String>,
    /// For how long after a Job with the same dedupKey was queued this one counts as its duplicate, in seconds, also when that
    /// one has finished and is gone; while that one is unfinished it does so in any case. Default: only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31536000))]
    pub dedup_window_seconds: Option<i64>,
    /// What happens if a Job of the same name and content succeeded before and was deleted. Default: IfNotSucceeded for a Job
    /// that Argo CD, Flux, Helm or `kubectl apply` wrote, which may create it again after it was cleaned up; else, and for their
    /// hooks, Always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_policy: Option<RerunPolicy>,
    /// Keeps it waiting until then, RFC 3339. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<MicroTime>,
    /// Keeps it waiting while true. Default: false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hold: bool,
    /// Set to cancel it, waiting or running. It cannot be taken back. Default: not cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
    /// What to do when an attempt fails. Default: the template's, else one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How long one attempt may run, in seconds. Default: the template's, else no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 315360000))]
    pub timeout_seconds: Option<i64>,
    /// How long a launched attempt may wait for its first container to start, in seconds. Default: the template's, else 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 315360000))]
    pub pending_timeout_seconds: Option<i64>,
    /// How long it may take from status.queuedAt to its end, in seconds, over all attempts and the waiting before and between
    /// them, also while it is held, suspended, or waits for notBefore. Default: the template's, else no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 315360000))]
    pub deadline_seconds: Option<i64>,
    /// How long it is kept after it finished, with its batch Job, pods and logs, in seconds. Default: the template's, else
    /// 600; a Job that Argo CD, Flux or Helm tracks is kept until they remove it unless this is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 315360000))]
    pub ttl_seconds_after_finished: Option<i64>,
}

/// The group a Job is a member of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupReference {
    /// Name of the JobGroup, in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// Uid of the JobGroup. The operator writes it; a user may leave it out. Default: empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Name of the member within the group. Default: the name of the Job.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub member: String,
}

/// What happens if the same Job succeeded before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RerunPolicy {
    /// It runs again.
    Always,
    /// It is recorded as Skipped/AlreadySucceeded.
    IfNotSucceeded,
}

/// What the operator knows of a Job.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// The generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it is in its life. How it ended is in `outcome` and its JobRuns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<JobPhase>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it ended so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What a waiting Job waits for, in a word; the condition Dispatched has the sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<WaitingFor>,
    /// Uid of the group that it joined. Absent for the members that a group lists itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_group: Option<String>,
    /// The queue it waits or waited in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The priority in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// The type of work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_type: Option<String>,
    /// The parameters as resolved when it was queued: defaults, then the schedule's or group's, then its own.
    #[serde(default, skip_serializing_if = "ParamValues::is_empty")]
    pub params: ParamValues,
    /// The template as it was when the Job was queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateSnapshot>,
    /// When it was added to its queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<MicroTime>,
    /// When its current attempt was launched as a batch Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatched_at: Option<MicroTime>,
    /// When the first container of its current attempt started; the last time, if its batch Job was suspended meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<MicroTime>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<MicroTime>,
    /// How many attempts were launched or recorded.
    #[serde(default)]
    pub attempts: u32,
    /// When the next attempt may be launched, after a failure or a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<MicroTime>,
    /// When the API server first refused to create the batch Job of the current attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_since: Option<MicroTime>,
    /// The batch Job of the current attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_job_ref: Option<ObjectReference>,
    /// The JobRuns of its attempts, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run_refs: Vec<LocalReference>,
    /// Dispatched: whether it was launched, and if not what it waits for. Complete, Failed, Cancelled: how it ended.
    /// Stalled: somebody has to change it first. Warning: what of its jobTemplate is not used as it is written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// The template that a Job runs, as it was when the Job was queued.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateSnapshot {
    /// Name of the JobTemplate.
    pub name: String,
    /// Uid of the JobTemplate.
    pub uid: String,
    /// Name of the ControllerRevision that holds its specification.
    pub revision: String,
    /// SHA-256 of that specification, in hexadecimal.
    pub digest: String,
}

/// Where a Job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum JobPhase {
    /// Created, and not queued yet: it waits for its template, its group or a correction.
    Pending,
    /// In its queue.
    Queued,
    /// Its batch Job was created; no container has started yet.
    Dispatched,
    /// A container of it has started.
    Running,
    /// It ended, and its JobRuns say how.
    Finished,
    /// It was cancelled before it completed, and its JobRun says when and why.
    Cancelled,
}

impl JobPhase {
    /// Whether the Job has ended.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled)
    }
}

/// What a waiting Job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum WaitingFor {
    /// Its JobTemplate does not exist.
    Template,
    /// Its specification does not fit its template; somebody has to change one of them.
    Correction,
    /// Its group to exist and to be started.
    Group,
    /// Its queue does not exist.
    Queue,
    /// Its turn: the queue runs as many as it may.
    QueueLimit,
    /// The queue is paused.
    QueuePaused,
    /// The namespace is paused.
    NamespacePaused,
    /// Everything is paused.
    ClusterPaused,
    /// As many Jobs of the namespace run as may: namespaceMaxRunning of a queue.
    NamespaceLimit,
    /// The operator's own limit: as many Jobs run in the cluster as may.
    ClusterLimit,
    /// The template runs as many as it may.
    TemplateLimit,
    /// The group runs as many as it may.
    GroupLimit,
    /// Another Job of its schedule runs, and concurrencyPolicy is not Allow.
    ScheduleLimit,
    /// The members of its group before it.
    GroupOrder,
    /// Somebody to take the hold off.
    Hold,
    /// The time in its notBefore.
    NotBefore,
    /// The delay after a failed attempt or a refused launch.
    Retry,
    /// The Kubernetes API to accept its batch Job: a quota or an admission policy refuses it.
    Admission,
    /// Whoever suspended its batch Job, such as Kueue, to resume it.
    Suspended,
}

impl WaitingFor {
    /// The word as it stands in the objects, also used as the reason of the condition Dispatched.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Template => "Template",
            Self::Correction => "Correction",
            Self::Group => "Group",
            Self::Queue => "Queue",
            Self::QueueLimit => "QueueLimit",
            Self::QueuePaused => "QueuePaused",
            Self::NamespacePaused => "NamespacePaused",
            Self::ClusterPaused => "ClusterPaused",
            Self::NamespaceLimit => "NamespaceLimit",
            Self::ClusterLimit => "ClusterLimit",
            Self::TemplateLimit => "TemplateLimit",
            Self::GroupLimit => "GroupLimit",
            Self::ScheduleLimit => "ScheduleLimit",
            Self::GroupOrder => "GroupOrder",
            Self::Hold => "Hold",
            Self::NotBefore => "NotBefore",
            Self::Retry => "Retry",
            Self::Admission => "Admission",
            Self::Suspended => "Suspended",
        }
    }
}
