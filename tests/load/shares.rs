//! Namespaces share the limit of the cluster: a flood in one does not keep the first Job of another waiting.

use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use rota::api::labels::JOB_NAME_ANNOTATION;
use rota::api::{Job, JobTemplate, Queue};
use rota::domain::run::{BatchState, batch_outcome};
use serde_json::json;

use crate::cluster::{Worker, client, create, namespace, patch, template, until};
use crate::operators::Operators;

const FLOOD: usize = 300;
const IN_ALL: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_job_of_a_small_namespace_starts_at_the_next_free_place() {
    let client = client().await;
    let own = namespace(&client, "operators").await;
    let (flood, small) = (namespace(&client, "flood").await, namespace(&client, "small").await);
    // Kept after they have ended, so that how many were launched can be counted.
    let kept = json!({ "ttlSecondsAfterFinished": 3600 });
    for namespace in [&flood, &small] {
        create::<JobTemplate>(&client, namespace, vec![("work".into(), template(&kept))]).await;
    }
    let operators = Operators::start(&client, &own, Some(IN_ALL));
    operators.leader().await;
    let work = |name: String| (name, json!({ "templateRef": { "name": "work" }, "priority": 9 }));
    create::<Job>(&client, &flood, (0..FLOOD).map(|number| work(format!("flood-{number:03}"))).collect()).await;
    let batches: Api<BatchJob> = Api::namespaced(client.clone(), &flood);
    let launched = async || batches.list_metadata(&ListParams::default()).await.unwrap().items.len();
    until("the flood fills the cluster", async || (launched().await == IN_ALL as usize).then_some(())).await;
    create::<Job>(&client, &small, vec![work("only".into())]).await;
    let jobs: Api<Job> = Api::namespaced(client.clone(), &small);
    until("the small one says what it waits for", async || {
        let status = jobs.get("only").await.unwrap().status?;
        (status.waiting_for == Some(rota::api::job::WaitingFor::ClusterLimit)).then_some(())
    })
    .await;
    // One place becomes free at a time.
    let worker = Worker::start(&client, vec![flood.clone()], 1);
    let own_batches: Api<BatchJob> = Api::namespaced(client.clone(), &small);
    let first = until("the small one is launched", async || {
        own_batches.list(&ListParams::default()).await.unwrap().items.into_iter().next()
    })
    .await;
    drop(worker);
    assert_eq!(first.annotations().get(JOB_NAME_ANNOTATION).map(String::as_str), Some("only"));
    let before = batches.list(&ListParams::default()).await.unwrap().items;
    let version = |batch: &BatchJob| batch.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let overtook = before.iter().filter(|batch| version(batch) < version(&first)).count() - IN_ALL as usize;
    assert!(overtook <= 1, "{overtook} of the flood were launched before it");
    // The operators of other tests see this namespace too: nothing of it may run or come to run any more.
    let pause = json!({ "spec": { "paused": { "reason": "the test is over" } } });
    patch::<Queue>(&client, &flood, "default", pause).await;
    let worker = Worker::start(&client, vec![flood.clone(), small.clone()], IN_ALL as usize);
    until("nothing of the flood runs", async || {
        let left = batches.list(&ListParams::default()).await.unwrap().items;
        let runs = left.iter().any(|batch| batch_outcome(batch) == BatchState::Active);
        let queues: Api<Queue> = Api::namespaced(client.clone(), &flood);
        let is_paused = queues.get("default").await.unwrap().status.is_some_and(|status| status.running == 0);
        (!runs && is_paused).then_some(())
    })
    .await;
    drop(worker);
    drop(operators);
}
