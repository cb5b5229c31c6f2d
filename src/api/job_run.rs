//! JobRun: the immutable, permanent record of one attempt, or of why there was none.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::common::{ObjectReference, Outcome, is_false};
use super::job::{GroupReference, TemplateSnapshot};
use super::job_template::ParamValues;

/// What happened, once and for all: written in one piece when an attempt ended, and never changed after.
///
/// It has no owner: deleting the template, schedule, group or Job never deletes it.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "rota.dev",
    version = "v1alpha1",
    kind = "JobRun",
    plural = "jobruns",
    singular = "jobrun",
    shortname = "rrun",
    category = "rota",
    namespaced,
    cel,
    status = "JobRunStatus",
    derive = "PartialEq",
    doc = "The immutable record of one attempt, or of why there was none.",
    selectable = ".status.phase",
    selectable = ".status.reason",
    printcolumn(name = "Job", type_ = "string", json_path = ".spec.jobRef.name"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.scheduleRef.name"),
    printcolumn(name = "Scheduled", type_ = "string", json_path = ".spec.scheduledTime"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Exit", type_ = "integer", json_path = ".status.exitCode"),
    printcolumn(name = "Duration ms", type_ = "integer", json_path = ".status.durationMs"),
    printcolumn(name = "Started", type_ = "date", json_path = ".status.startedAt"),
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.groupRef.name", priority = 1),
    printcolumn(name = "Worker", type_ = "string", json_path = ".status.workerId", priority = 1),
    printcolumn(name = "Error", type_ = "string", json_path = ".status.error", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.spec == oldSelf.spec && has(self.status) == has(oldSelf.status) && (!has(self.status) || self.status == oldSelf.status)").message("a JobRun is an immutable record and cannot be changed"),
)]
#[serde(rename_all = "camelCase")]
pub struct JobRunSpec {
    /// The Job; absent when a schedule's time was skipped before a Job was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_ref: Option<ObjectReference>,
    /// The template as it was when the Job was queued; absent for a Job without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_ref: Option<TemplateSnapshot>,
    /// The Schedule that asked for it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_ref: Option<ObjectReference>,
    /// The nominal time of the occurrence; the first one if this record covers several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<MicroTime>,
    /// The JobGroup it was a member of, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_ref: Option<GroupReference>,
    /// Type of work.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub job_type: String,
    /// Which attempt of the Job this was, from 1; 0 when a schedule's time was skipped before a Job was made.
    pub attempt: u32,
    /// The parameters as resolved when the Job was queued.
    #[serde(default, skip_serializing_if = "ParamValues::is_empty")]
    #[schemars(schema_with = "super::common::param_values_schema")]
    pub params: ParamValues,
    /// The dedupKey of the Job, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub dedup_key: Option<String>,
    /// The priority it had.
    #[serde(default)]
    pub priority: i32,
    /// The queue it was in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub queue: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobRunStatus {
    /// How it ended.
    pub phase: Outcome,
    /// Why, in a word.
    pub reason: Reason,
    /// When the Job was added to its queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<MicroTime>,
    /// When the first container started; absent if none did. If its batch Job was suspended meanwhile, by Kueue for one: the
    /// last time that it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<MicroTime>,
    /// When the last container ended, or when the outcome was decided if none ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<MicroTime>,
    /// From startedAt to finishedAt, in milliseconds; absent if no container ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// Who executed it: `node/pod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub worker_id: Option<String>,
    /// What its main containers ran, in their order, as the template says: neither init containers nor sidecars, and 8 at most.
    /// Absent for what was not launched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub containers: Vec<ContainerSnapshot>,
    /// Exit code of the container that decided the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What went wrong, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub error: Option<String>,
    /// What else is worth knowing, for people: what a container reported and could not be kept, a pod that was being deleted
    /// when it succeeded, restarts within a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(max = 500)))]
    pub notes: Vec<String>,
    /// The field of the batch Job that made this failure final, such as `podFailurePolicy`: no further attempt follows unless
    /// a rule of retry says Retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub final_by: Option<String>,
    /// Who cancelled it, if somebody did and the request says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub cancelled_by: Option<String>,
    /// What the run produced, as its containers reported in their termination message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub artifacts: Vec<Artifact>,
    /// A short result, as a container reported in its termination message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_value_schema")]
    pub result: Option<Value>,
    /// Where the log is: on the node, the path below `/var/log/pods`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub log_path: Option<String>,
    /// From the scheduled time to startedAt, in milliseconds; absent without either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_delay_ms: Option<i64>,
    /// Whether it did not start within the schedule's startWithinSeconds.
    #[serde(default, skip_serializing_if = "is_false")]
    pub late: bool,
    /// How many occurrences of the schedule this record covers, if more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The nominal time of the last occurrence that this record covers, if more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scheduled_time: Option<MicroTime>,
}

/// What a main container ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSnapshot {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its image, as the template names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// The image that the node ran, with its digest; absent if no container ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image_id: Option<String>,
    /// Its command, as the template has it: `$(PARAM_NAME)` stands for a parameter. What is too long ends with `…`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(max = 512)))]
    pub command: Vec<String>,
    /// The arguments of its command, in the same way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(max = 512)))]
    pub args: Vec<String>,
}

/// One thing that a run produced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Path of the file.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
    /// Where it can be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub uri: Option<String>,
    /// SHA-256 of its content, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub sha256: Option<String>,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
}

/// Why a run ended as it did. The list is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum Reason {
    /// Completed: it ran and succeeded.
    Succeeded,
    /// Failed: a container ended with an exit code other than 0.
    ExitCode,
    /// Failed: it ran longer than timeoutSeconds.
    DeadlineExceeded,
    /// Failed if it ran, Skipped if it waited: it had not ended within deadlineSeconds of being queued.
    TotalDeadlineExceeded,
    /// Skipped: it had not started by its startDeadline.
    StartDeadlineExceeded,
    /// Skipped: it ended in a way of which a rule of its retry says so.
    SkippedByRule,
    /// Failed: no container started within pendingTimeoutSeconds.
    PendingTimeout,
    /// Failed: its pod vanished, was evicted or was lost with its node.
    PodLost,
    /// Failed: the API server refused to create its batch Job.
    LaunchRefused,
    /// Failed: somebody deleted its batch Job.
    BatchJobDeleted,
    /// Failed: the batch Job failed for a reason of Kubernetes' own; the error says which.
    BatchJobFailed,
    /// Failed if it ran, Skipped if it waited: somebody cancelled it.
    Cancelled,
    /// Failed if it ran, Skipped if it waited: somebody deleted the Job.
    JobDeleted,
    /// Failed if it ran, Skipped if it waited: a later time of its schedule came, and concurrencyPolicy is Replace, or, while
    /// it waited, QueueLatest.
    Replaced,
    /// Skipped: an earlier Job of the schedule had not finished and concurrencyPolicy is Forbid.
    OverlapForbidden,
    /// Skipped: the time passed while the operator was not running or its Job was refused, and catchUp does not run it.
    MissedWindow,
    /// Skipped: more times were missed than catchUp runs.
    CatchUpLimit,
    /// Skipped: the time was missed, and the schedule was edited or turned off before it could be made up for.
    ScheduleEdited,
    /// Skipped: the schedule was deleted when the time had come and had no Job yet.
    ScheduleDeleted,
    /// Skipped: the schedule was paused after too many failures in a row.
    SchedulePaused,
    /// Skipped: as many wait already as may: Jobs of its schedule, whose concurrencyPolicy is Queue, or Jobs in its queue.
    QueueFull,
    /// Skipped: its queue was full, a later Job came, and overflowPolicy is DropOldest.
    QueueOverflow,
    /// Skipped: its queue was full, overflowPolicy is CoalesceSame, and a Job that asks for the same waits already.
    Coalesced,
    /// Skipped: an unfinished Job has the same dedupKey, or one had it within the window.
    DuplicateKey,
    /// Skipped: the same Job, or the same member of the group that this one resumes, succeeded before.
    AlreadySucceeded,
    /// Skipped: the template is archived.
    TemplateArchived,
    /// Failed: the template does not exist.
    TemplateNotFound,
    /// Failed: the template cannot be used as it is written.
    TemplateInvalid,
    /// Failed: the parameters do not fit the template.
    InvalidParams,
    /// Skipped: another member of its group failed, and failurePolicy is Stop.
    GroupStopped,
    /// Skipped: it came when its group had been started already, or its group is gone.
    GroupClosed,
}

impl Reason {
    /// Whether something is written wrongly, so that the work cannot be done until somebody corrects it: a failure, and not
    /// a choice that somebody made.
    pub fn is_misconfiguration(self) -> bool {
        matches!(self, Self::TemplateNotFound | Self::TemplateInvalid | Self::InvalidParams)
    }

    /// Whether a Job that was not queued yet did not run because of its template. A queued Job runs the revision that it was queued
    /// with.
    pub fn rests_on_template(self) -> bool {
        self == Self::TemplateArchived || self.is_misconfiguration()
    }

    /// Whether work was dropped before it ran although nobody asked for its end: its time was over, or its queue had no room.
    pub fn is_dropped(self) -> bool {
        matches!(
            self,
            Self::TotalDeadlineExceeded | Self::StartDeadlineExceeded | Self::QueueFull | Self::QueueOverflow
        )
    }

    /// The word as it stands in the objects.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::ExitCode => "ExitCode",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::TotalDeadlineExceeded => "TotalDeadlineExceeded",
            Self::StartDeadlineExceeded => "StartDeadlineExceeded",
            Self::SkippedByRule => "SkippedByRule",
            Self::PendingTimeout => "PendingTimeout",
            Self::PodLost => "PodLost",
            Self::LaunchRefused => "LaunchRefused",
            Self::BatchJobDeleted => "BatchJobDeleted",
            Self::BatchJobFailed => "BatchJobFailed",
            Self::Cancelled => "Cancelled",
            Self::JobDeleted => "JobDeleted",
            Self::Replaced => "Replaced",
            Self::OverlapForbidden => "OverlapForbidden",
            Self::MissedWindow => "MissedWindow",
            Self::CatchUpLimit => "CatchUpLimit",
            Self::ScheduleEdited => "ScheduleEdited",
            Self::ScheduleDeleted => "ScheduleDeleted",
            Self::SchedulePaused => "SchedulePaused",
            Self::QueueFull => "QueueFull",
            Self::QueueOverflow => "QueueOverflow",
            Self::Coalesced => "Coalesced",
            Self::DuplicateKey => "DuplicateKey",
            Self::AlreadySucceeded => "AlreadySucceeded",
            Self::TemplateArchived => "TemplateArchived",
            Self::TemplateNotFound => "TemplateNotFound",
            Self::TemplateInvalid => "TemplateInvalid",
            Self::InvalidParams => "InvalidParams",
            Self::GroupStopped => "GroupStopped",
            Self::GroupClosed => "GroupClosed",
        }
    }
}

fn any_value_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}
