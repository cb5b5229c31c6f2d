//! JobGroup: several Jobs that share constraints.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Cancel, LocalReference, ObjectReference, Outcome, named_list_schema};
use super::job::JobPhase;
use super::job_run::Reason;
use super::job_template::ParamValues;
use super::position::Position;

/// How many members a group may have.
pub const MEMBERS_MAX: usize = 1000;

/// Several Jobs that run in parallel, or in order.
///
/// Mode and members cannot change once it has started. It is one-time: to run it again, create another one.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "rota.dev",
    version = "v1alpha1",
    kind = "JobGroup",
    plural = "jobgroups",
    singular = "jobgroup",
    shortname = "rgroup",
    category = "rota",
    namespaced,
    cel,
    status = "JobGroupStatus",
    derive = "PartialEq",
    doc = "Several Jobs that run in parallel, or in order.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Total", type_ = "integer", json_path = ".status.counts.total"),
    printcolumn(name = "Done", type_ = "integer", json_path = ".status.counts.completed"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.counts.failed"),
    printcolumn(name = "Waiting for", type_ = "string", json_path = r#".status.conditions[?(@.type=="Stalled")].message"#),
    printcolumn(name = "Started", type_ = "date", json_path = ".status.startedAt", priority = 1),
    printcolumn(name = "Finished", type_ = "date", json_path = ".status.finishedAt", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase == 'Created' || (has(self.spec.jobs) == has(oldSelf.spec.jobs) && (!has(self.spec.jobs) || self.spec.jobs == oldSelf.spec.jobs) && self.spec.mode == oldSelf.spec.mode)").message("mode and jobs of a group cannot change once it has started, only the order of jobs; create a new group instead, with spec.resumeOf to leave out what succeeded (kubectl rota resume group/NAME)"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase == 'Created' || !has(self.spec.started) || self.spec.started").message("a group that has started cannot be unstarted; cancel it instead"),
    validation = Rule::new("!has(oldSelf.spec.cancel) || has(self.spec.cancel)").message("a cancel cannot be taken back; create a new group instead"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    cel,
    validation = Rule::new("has(self.started) || (has(self.jobs) && size(self.jobs) > 0)").message("a group without jobs must say whether it is started: create it with started: false, let Jobs join it, then start it").field_path(".started"),
)]
pub struct JobGroupSpec {
    /// How the members run.
    pub mode: GroupMode,
    /// The members, at most 1000, in order. While the group runs nothing of them can change but their order. Jobs that name
    /// the group in their groupRef before it is started are members as well, after these. A group without any must give
    /// started. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "members_schema")]
    pub jobs: Vec<GroupMember>,
    /// Whether it may run. Create it with false to look at it or add members first. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<bool>,
    /// What happens with the other members when one fails. Default: Continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_policy: Option<FailurePolicy>,
    /// How many members may run at once; in a Sequential group it is always one. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub max_running: Option<u32>,
    /// Priority of members that have none of their own. Default: their template's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1000000, max = 1000000))]
    pub priority: Option<i32>,
    /// Place in their queue of members that have none of their own, among Jobs of the same priority, as a Job's position.
    /// Default: the time at which the group was queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The group that this one resumes: members whose name has succeeded there are not run again. This one waits until that
    /// one has ended. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_of: Option<ObjectReference>,
    /// Set to cancel all members, waiting and running. It cannot be taken back. Default: not cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
}

/// One member of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupMember {
    /// Name of the member, unique in the group.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The JobTemplate to run, in the same namespace.
    pub template_ref: LocalReference,
    /// Parameter values; they override the template's defaults. Write numbers and booleans in quotes. Default: none.
    #[serde(default, skip_serializing_if = "ParamValues::is_empty")]
    #[schemars(schema_with = "super::common::member_values_schema")]
    pub params: ParamValues,
    /// Priority; higher goes first. Default: the group's, else the template's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1000000, max = 1000000))]
    pub priority: Option<i32>,
}

/// How members run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum GroupMode {
    /// All members run at once, as far as limits allow.
    #[default]
    Parallel,
    /// One member runs after the other, in the order of the list.
    Sequential,
}

/// What happens with the other members when one fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum FailurePolicy {
    /// The other members run.
    #[default]
    Continue,
    /// Members that have not started are recorded as Skipped/GroupStopped.
    Stop,
}

fn members_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    named_list_schema::<GroupMember>(generator, 0, MEMBERS_MAX)
}

/// What the operator knows of a group.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobGroupStatus {
    /// The generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the group is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<GroupPhase>,
    /// The members in order, at most 1000 of them; counts cover all. The outcome of an ended member is durable. That of a
    /// member which is not listed is in the status of its Job, which is kept until the group has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberStatus>,
    /// How many members are in which state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<MemberCounts>,
    /// When the group was added to its queue: when it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<MicroTime>,
    /// When the first member started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<MicroTime>,
    /// When the last member finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<MicroTime>,
    /// Complete, Failed or Cancelled: how it ended. Stalled: a member cannot run as it is written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// Where a group is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum GroupPhase {
    /// Defined, and not started.
    Created,
    /// Started; no member has run yet.
    Queued,
    /// At least one member has started.
    Running,
    /// Every member ended, none of them failed.
    Completed,
    /// Every member ended, and at least one failed or was dropped before it ran.
    Partial,
    /// It was cancelled, and every member has ended.
    Cancelled,
}

impl GroupPhase {
    /// Whether the group has ended.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Partial | Self::Cancelled)
    }
}

/// What the operator knows of one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Name of the member.
    pub name: String,
    /// Its Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_ref: Option<ObjectReference>,
    /// Where its Job is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<JobPhase>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it ended so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Its last JobRun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_ref: Option<LocalReference>,
}

/// How many members are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberCounts {
    /// All members.
    pub total: u32,
    /// Members that wait.
    pub waiting: u32,
    /// Members that were launched and have not ended.
    pub running: u32,
    /// Members that succeeded.
    pub completed: u32,
    /// Members that failed.
    pub failed: u32,
    /// Members that were skipped.
    pub skipped: u32,
}
