//! Under a limit for the cluster a namespace whose Queue cannot be written takes nothing from the others, whoever leads.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use rota::api::{Job, JobRun, JobTemplate, Queue};
use serde_json::json;

use crate::cluster::{Worker, client, create, namespace, template, until};
use crate::operators::Operators;

const POLICY: &str = "load-no-queue-status";
/// How many Jobs the namespace has whose Queue cannot be written: more than may run.
const STUCK: usize = 20;
/// How many the other one has: more than may run.
const WORK: usize = 12;
const IN_ALL: u32 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_whose_queue_cannot_be_written_takes_no_place_from_others() {
    let client = client().await;
    let own = namespace(&client, "operators").await;
    let (bad, good) = (namespace(&client, "bad").await, namespace(&client, "good").await);
    for namespace in [&bad, &good] {
        create::<JobTemplate>(&client, namespace, vec![("work".into(), template(&json!({})))]).await;
        create::<Queue>(&client, namespace, vec![("default".into(), json!({}))]).await;
    }
    let mut operators = Operators::start(&client, &own, Some(IN_ALL));
    let first = operators.leader().await;
    let worker = Worker::start(&client, vec![good.clone(), bad.clone()], 2);
    let work = |name: String| (name, json!({ "templateRef": { "name": "work" } }));
    let records = async |namespace: &str| {
        let runs: Api<JobRun> = Api::namespaced(client.clone(), namespace);
        runs.list_metadata(&ListParams::default()).await.unwrap().items.len()
    };
    // Both Queues carry the epoch of this leader.
    for namespace in [&bad, &good] {
        create::<Job>(&client, namespace, vec![work("before".into())]).await;
        until("the first is recorded", async || (records(namespace).await == 1).then_some(())).await;
    }
    refuse(&client, &bad).await;
    create::<Job>(&client, &bad, (0..STUCK).map(|number| work(format!("stuck-{number}"))).collect()).await;
    create::<Job>(&client, &good, (0..WORK).map(|number| work(format!("one-{number}"))).collect()).await;
    until("the others are recorded", async || (records(&good).await == 1 + WORK).then_some(())).await;
    operators.kill(first);
    operators.mend();
    create::<Job>(&client, &good, (0..WORK).map(|number| work(format!("two-{number}"))).collect()).await;
    until("the next leader goes on with the others", async || (records(&good).await == 1 + 2 * WORK).then_some(()))
        .await;
    let batches: Api<BatchJob> = Api::namespaced(client.clone(), &bad);
    let launched = batches.list_metadata(&ListParams::default()).await.unwrap().items;
    assert!(!launched.iter().any(|it| it.name_any().starts_with("stuck")), "it was launched and is not written down");
    allow(&client).await;
    until("those that were stuck are recorded", async || (records(&bad).await == 1 + STUCK).then_some(())).await;
    drop(worker);
    drop(operators);
}

/// Refuses that the statuses of the Queues of a namespace are written.
async fn refuse(client: &Client, namespace: &str) {
    let policy = json!({
        "metadata": { "name": POLICY },
        "spec": {
            "matchConstraints": { "resourceRules": [{
                "apiGroups": ["rota.dev"], "apiVersions": ["v1alpha1"], "operations": ["UPDATE"], "resources": ["queues/status"],
            }] },
            "matchConditions": [{ "name": "which", "expression": format!("request.namespace == '{namespace}'") }],
            "validations": [{ "expression": "false", "message": "not this one" }],
        },
    });
    let binding = json!({
        "metadata": { "name": POLICY }, "spec": { "policyName": POLICY, "validationActions": ["Deny"] },
    });
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    policies.create(&PostParams::default(), &serde_json::from_value(policy).unwrap()).await.unwrap();
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let queues: Api<Queue> = Api::namespaced(client.clone(), namespace);
    let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
    let touch = Patch::Merge(json!({ "status": { "waiting": 7 } }));
    until("the policy is in force", async || {
        queues.patch_status("default", &dry_run, &touch).await.is_err().then_some(())
    })
    .await;
}

async fn allow(client: &Client) {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    bindings.delete(POLICY, &DeleteParams::default()).await.unwrap();
    policies.delete(POLICY, &DeleteParams::default()).await.unwrap();
}
