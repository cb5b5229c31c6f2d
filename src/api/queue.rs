//! Queue: the ordered collection of Jobs awaiting execution, and its limit.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where Jobs wait for their turn: by priority, then position, then the time they were queued, then name.
///
/// The queue `default` of a namespace is created when a Job first needs it.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "rota.dev",
    version = "v1alpha1",
    kind = "Queue",
    plural = "queues",
    singular = "queue",
    shortname = "rq",
    category = "rota",
    namespaced,
    cel,
    status = "QueueStatus",
    derive = "PartialEq",
    doc = "Where Jobs wait for their turn, and how many of them may run at once.",
    printcolumn(name = "Max", type_ = "integer", json_path = ".spec.maxRunning"),
    printcolumn(name = "Running", type_ = "integer", json_path = ".status.running"),
    printcolumn(name = "Waiting", type_ = "integer", json_path = ".status.waiting"),
    printcolumn(name = "Paused", type_ = "string", json_path = ".spec.paused.reason"),
    printcolumn(name = "Oldest", type_ = "date", json_path = ".status.oldestQueuedAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct QueueSpec {
    /// How many Jobs of this queue may run at once. Lowering it stops nothing that runs. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub max_running: Option<u32>,
    /// How many Jobs of the whole namespace may run at once, of all its queues together. If several queues say it, the lowest
    /// number counts. Lowering it stops nothing that runs. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub namespace_max_running: Option<u32>,
    /// Starts nothing while set; what runs goes on. Remove it to resume. Default: not paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// Raises the priority of Jobs while they wait, so that none waits for ever behind more important ones. Default: no aging.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aging: Option<Aging>,
    /// How many Jobs of this queue may wait. Jobs that are held, wait for a time or for another attempt do not count.
    /// Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub max_depth: Option<u32>,
    /// What happens to a Job that comes when maxDepth wait. Default: Reject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overflow_policy: Option<OverflowPolicy>,
}

/// How waiting raises a priority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Aging {
    /// The priority of a Job counts as one higher for each time that it has waited so many seconds.
    #[schemars(range(min = 1, max = 31536000))]
    pub interval_seconds: i64,
    /// By how much at the most.
    #[schemars(range(min = 1, max = 2000000))]
    pub maximum_increase: u32,
}

/// What happens to a Job that comes to a full queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum OverflowPolicy {
    /// It is recorded as Skipped/QueueFull.
    #[default]
    Reject,
    /// It waits, and the one that has waited longest is recorded as Skipped/QueueOverflow.
    DropOldest,
    /// It is recorded as Skipped/Coalesced if one of the same template and parameters waits, else as
    /// Skipped/QueueFull.
    CoalesceSame,
}

/// How much a pause stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum PauseScope {
    /// It stops this queue.
    #[default]
    Queue,
    /// It stops all queues of the namespace.
    Namespace,
    /// It stops all queues of all namespaces, if this queue is in the operator's own namespace; elsewhere it stops this queue
    /// alone.
    Cluster,
}

/// Why and until when a queue starts nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// Why, for people; waiting Jobs show it.
    #[schemars(length(min = 1, max = 256))]
    pub reason: String,
    /// When the pause ends by itself, RFC 3339. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<MicroTime>,
    /// How much it stops. Default: Queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<PauseScope>,
}

/// What the operator knows of a queue.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// The generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Jobs of this queue that run, or are being launched.
    #[serde(default)]
    pub running: u32,
    /// Jobs of this queue that wait.
    #[serde(default)]
    pub waiting: u32,
    /// Since when the Job that has waited longest is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_queued_at: Option<MicroTime>,
    /// Which leader may admit: a number that each new leader raises before its first dispatch, so that an older
    /// leader's next admission fails. Durable: it is not derived from anything else.
    #[serde(default)]
    pub epoch: i64,
    /// Names of the batch Jobs that were admitted and whose launch was not yet seen to have happened when this was
    /// written. Durable: written before the launch, so that whoever comes next counts and completes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "in_flight_schema")]
    pub in_flight: Vec<InFlight>,
    /// Ready: Jobs of this queue are started as their turn comes. Paused: they are not, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// One admitted launch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InFlight {
    /// Name of the rota Job.
    pub job: String,
    /// Uid of the rota Job.
    pub uid: String,
    /// Which attempt of it, from 1.
    pub attempt: u32,
}

fn in_flight_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = <Vec<InFlight> as JsonSchema>::json_schema(generator);
    schema.insert("x-kubernetes-list-type".into(), "atomic".into());
    schema
}
