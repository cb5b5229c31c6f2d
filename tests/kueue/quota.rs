//! What Kueue has for a test: a ClusterQueue of its own, and a LocalQueue of it in the test's namespace.

use std::path::PathBuf;
use std::sync::OnceLock;

use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use rota_cluster::{ClientLimits, Kueue};
use serde_json::{Value, json};

use crate::support::World;

/// The LocalQueue of each test.
pub const LOCAL_QUEUE: &str = "team";
/// The only WorkloadPriorityClass.
pub const URGENT: &str = "urgent";

const HOW_TO_RUN: &str = "ROTA_CLUSTER_DIR is not set. These tests start Kueue beside a throw-away cluster: run them with \
    `make test`, or with `target/debug/rota-cluster run --node real -- cargo test --test kueue -- --test-threads=3`";

/// Starts Kueue once. It ends with this process.
fn start() {
    static KUEUE: OnceLock<Kueue> = OnceLock::new();
    KUEUE.get_or_init(|| {
        let directory = PathBuf::from(std::env::var_os("ROTA_CLUSTER_DIR").unwrap_or_else(|| panic!("{HOW_TO_RUN}")));
        Kueue::start(&directory, ClientLimits::USUAL).unwrap_or_else(|error| panic!("{error}"))
    });
}

/// A ClusterQueue with a quota of pods.
pub struct Quota {
    queues: Api<DynamicObject>,
    workloads: Api<DynamicObject>,
    name: String,
}

impl Quota {
    /// Makes one for that many pods, with a LocalQueue in the namespace.
    pub async fn create(world: &World, pods: u32) -> Self {
        tokio::task::spawn_blocking(start).await.unwrap();
        let client = || world.client.clone();
        let name = world.namespace.clone();
        let quota = Self {
            queues: Api::all_with(client(), &resource("ClusterQueue")),
            workloads: Api::namespaced_with(client(), &name, &resource("Workload")),
            name: name.clone(),
        };
        // Kueue makes its pods run on nodes with these labels.
        let flavor = json!({ "spec": { "nodeLabels": { "kubernetes.io/os": "linux" } } });
        apply(&Api::all_with(client(), &resource("ResourceFlavor")), "ResourceFlavor", "any", flavor).await;
        let urgent = json!({ "value": 1000, "description": "goes before others" });
        let classes = Api::all_with(client(), &resource("WorkloadPriorityClass"));
        apply(&classes, "WorkloadPriorityClass", URGENT, urgent).await;
        let spec = json!({ "spec": {
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } },
            "preemption": { "withinClusterQueue": "LowerPriority" },
            "resourceGroups": groups(pods),
        }});
        apply(&quota.queues, "ClusterQueue", &name, spec).await;
        let local = json!({ "spec": { "clusterQueue": name } });
        let locals = Api::namespaced_with(client(), &name, &resource("LocalQueue"));
        apply(&locals, "LocalQueue", LOCAL_QUEUE, local).await;
        quota
    }

    /// Changes for how many pods there is room.
    pub async fn set_pods(&self, pods: u32) {
        self.patch(json!({ "spec": { "resourceGroups": groups(pods) } })).await;
    }

    /// Lets nothing in (`Hold`), takes the quota from what runs, too (`HoldAndDrain`), or goes on (`None`).
    pub async fn stop(&self, policy: &str) {
        self.patch(json!({ "spec": { "stopPolicy": policy } })).await;
    }

    /// Waits until Kueue counts nothing any more: whatever ended has given its quota back.
    pub async fn unused(&self, world: &World) {
        let finished = async || {
            let workloads = self.workloads.list(&ListParams::default()).await.unwrap().items;
            workloads.iter().all(|workload| holds(workload, "Finished")).then_some(())
        };
        world.until("all Workloads of Kueue are finished or gone", finished).await;
    }

    /// Deletes the ClusterQueue, which goes when nothing uses it any more.
    pub async fn delete(&self) {
        self.queues.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }

    async fn patch(&self, patch: Value) {
        self.queues.patch(&self.name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
}

fn holds(object: &DynamicObject, type_: &str) -> bool {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|it| it["type"] == type_ && it["status"] == "True")
}

fn groups(pods: u32) -> Value {
    let quota = json!([{ "name": "pods", "nominalQuota": pods }]);
    json!([{ "coveredResources": ["pods"], "flavors": [{ "name": "any", "resources": quota }] }])
}

fn resource(kind: &str) -> ApiResource {
    let plural = if kind.ends_with("Class") {
        format!("{}es", kind.to_lowercase())
    } else {
        format!("{}s", kind.to_lowercase())
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("kueue.x-k8s.io", "v1beta2", kind), &plural)
}

async fn apply(api: &Api<DynamicObject>, kind: &str, name: &str, content: Value) {
    let mut object = json!({ "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": { "name": name } });
    object.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
    let applied = api.patch(name, &PatchParams::apply("rota-test").force(), &Patch::Apply(&object)).await;
    applied.unwrap_or_else(|error| panic!("{kind} {name} was refused: {error}"));
}
