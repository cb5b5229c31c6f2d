//! Kueue beside the same control plane: how fast it lets the Jobs go that wait for it, once it has room for all of them.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::Api;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use rota::runtime::clock;
use rota_cluster::{ClientLimits, Kueue};
use serde::Serialize;
use serde_json::{Value, json};

use crate::audit::Request;
use crate::numbers::{Spread, milliseconds};
use crate::phases::{LAUNCHED_WITHIN, Phases, SETTLED_WITHIN};
use crate::waiting::{until, until_none};
use crate::workload;

/// The namespace of its Jobs, and the name of its LocalQueue and its ClusterQueue.
const NAME: &str = "kueue";
/// It is at rest when it has written nothing for so long.
const AT_REST: SignedDuration = SignedDuration::from_secs(3);

/// So many batch Jobs that waited in one LocalQueue.
#[derive(Serialize)]
pub struct KueueDrain {
    pub jobs: usize,
    /// From the request that lets the queue go until a batch Job was let go, with Kueue's client limits lifted.
    pub accepted_ms: Spread,
    pub launches_per_second: f64,
    /// Its writes for each Job, events among them, from the request on.
    pub writes_per_job: f64,
}

impl Phases<'_> {
    /// Lets batch Jobs come while a ClusterQueue is held, and measures what happens when it is not any more.
    pub async fn kueue(&mut self, jobs: usize) -> KueueDrain {
        self.say(&format!("{jobs} batch Jobs that wait for Kueue"));
        let directory = self.bench.directory();
        let started = tokio::task::spawn_blocking(move || Kueue::start(&directory, ClientLimits::LIFTED));
        let kueue = started.await.unwrap().unwrap_or_else(|error| panic!("{error}"));
        workload::namespace(&self.client, NAME).await;
        self.queues(jobs).await;
        workload::batch_jobs_for_kueue(&self.client, NAME, NAME, jobs).await;
        let log = &mut self.log;
        until("Kueue is at rest", SETTLED_WITHIN, || {
            log.read();
            let last = log
                .since(0)
                .filter(|it| is_kueue(it) && it.is_write() && !it.is_lease())
                .map(|it| it.stage_timestamp)
                .max();
            last.is_some_and(|last| clock::now().duration_since(last) > AT_REST)
        })
        .await;
        let mark = self.log.mark();
        let open = json!({ "spec": { "stopPolicy": "None" } });
        self.cluster_queues().patch(NAME, &PatchParams::default(), &Patch::Merge(&open)).await.unwrap();
        let log = &mut self.log;
        let mut let_go: Vec<Timestamp> = Vec::new();
        until("Kueue let all batch Jobs go", LAUNCHED_WITHIN, || {
            log.read();
            let writes = log.since(mark).filter(|it| is_kueue(it) && it.changes_batch_job(NAME));
            let_go = writes.map(|it| it.stage_timestamp).collect();
            let_go.len() >= jobs
        })
        .await;
        let opened = self.log.since(mark).find(|it| it.object_ref.resource == "clusterqueues").expect("the request");
        let opened = opened.request_received_timestamp;
        let all: Api<BatchJob> = self.api(NAME);
        let open = all.list(&ListParams::default()).await.unwrap().items;
        let held = open.iter().filter(|job| job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true)).count();
        assert_eq!((let_go.len(), held), (jobs, 0), "each batch Job was let go by one write");
        let last = *let_go.iter().max().expect("at least one");
        let before = |it: &Request| is_kueue(it) && it.is_write() && !it.is_lease() && it.stage_timestamp <= last;
        let writes: usize = self.log.count(mark, before).values().sum();
        crate::completion::complete_all(&self.client, NAME).await;
        self.remove(&all).await;
        drop(kueue);
        KueueDrain {
            jobs,
            accepted_ms: Spread::of(let_go.iter().map(|at| milliseconds(opened, *at)).collect()),
            launches_per_second: jobs as f64 / (milliseconds(opened, last) / 1000.0),
            writes_per_job: writes as f64 / jobs as f64,
        }
    }

    /// A quota for all of them, which is held.
    async fn queues(&self, jobs: usize) {
        self.apply_kueue("ResourceFlavor", None, json!({})).await;
        // All that the pods of these batch Jobs ask for.
        let quota = json!([
            { "name": "cpu", "nominalQuota": jobs },
            { "name": "memory", "nominalQuota": format!("{jobs}Gi") },
            { "name": "pods", "nominalQuota": jobs },
        ]);
        let spec = json!({
            "namespaceSelector": {},
            "stopPolicy": "Hold",
            "resourceGroups": [{ "coveredResources": ["cpu", "memory", "pods"], "flavors": [{ "name": NAME, "resources": quota }] }],
        });
        self.apply_kueue("ClusterQueue", None, json!({ "spec": spec })).await;
        self.apply_kueue("LocalQueue", Some(NAME), json!({ "spec": { "clusterQueue": NAME } })).await;
    }

    fn cluster_queues(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource("ClusterQueue"))
    }

    async fn apply_kueue(&self, kind: &str, namespace: Option<&str>, content: Value) {
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource(kind)),
            None => Api::all_with(self.client.clone(), &resource(kind)),
        };
        let mut object = json!({ "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": { "name": NAME } });
        object.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
        api.patch(NAME, &PatchParams::apply("rota-bench").force(), &Patch::Apply(&object)).await.unwrap();
    }

    /// Removes its batch Jobs, so that nothing of it disturbs what is measured next.
    async fn remove(&self, jobs: &Api<BatchJob>) {
        jobs.delete_collection(&kube::api::DeleteParams::background(), &ListParams::default()).await.unwrap();
        until_none("a batch Job of Kueue's", SETTLED_WITHIN, jobs, "").await;
    }
}

fn resource(kind: &str) -> ApiResource {
    let plural = format!("{}s", kind.to_lowercase());
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("kueue.x-k8s.io", "v1beta2", kind), &plural)
}

fn is_kueue(request: &Request) -> bool {
    request.user_agent.starts_with("kueue/")
}
