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
    /// Starts nothing while set; what runs goes on. Remove it to resume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
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
