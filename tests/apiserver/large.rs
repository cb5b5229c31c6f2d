//! Jobs of which the operator caches no more than a part, because they are large: nothing gets lost, and nothing stands still.

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use rota::api::{Job, JobRun, JobTemplate, Outcome, Queue};
use serde_json::{Value, json};

use crate::cluster::{Scope, api, create, in_namespace};
use crate::examples::pod_template;
use crate::launching::succeed;
use crate::operator::{Operator, Rights, until};
use crate::proxy::{Asked, Fate, Proxy};

/// How long each of two texts is that together make a Job large with its annotation, and not too large to be launched before its
/// status is written.
const LONG: usize = 7_500;

/// A template with a parameter for a long text, ready to be used.
async fn template(scope: &Scope) {
    let spec = json!({ "jobType": "x", "params": [{ "name": "TEXT", "default": "none" }, { "name": "MORE", "default": "none" }], "jobTemplate": pod_template() });
    create(scope, "JobTemplate", "report", spec).await;
    until("the template is read", || async {
        api::<JobTemplate>(scope).get("report").await.unwrap().status?.current_revision
    })
    .await;
}

/// What makes a Job with so long a text, and with so long an annotation.
fn version(text: usize, annotation: usize) -> Value {
    json!({
        "metadata": { "annotations": { "example.com/note": "n".repeat(annotation) } },
        "spec": { "params": { "TEXT": "t".repeat(text), "MORE": "m".repeat(text) } },
    })
}

async fn job(scope: &Scope) -> Job {
    api::<Job>(scope).get("one").await.unwrap()
}

async fn make(scope: &Scope, version: &Value) {
    let mut job = version.clone();
    job["metadata"]["name"] = json!("one");
    job["spec"]["templateRef"] = json!({ "name": "report" });
    job["apiVersion"] = json!(rota::api::API_VERSION);
    job["kind"] = json!("Job");
    scope.kubectl_with(&["create", "-f", "-"], &job.to_string()).expect_success();
}

/// A Job that is launched as that and edited before its first status is written.
async fn runs_to_its_end(before: (usize, usize), after: (usize, usize)) {
    in_namespace(move |scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let proxy = Proxy::start(rights.kubeconfig()).await;
        let operator = Operator::start_with(&scope, proxy.kubeconfig(), "one", &[]);
        operator.leads().await;
        template(&scope).await;
        let is_status = |it: &Asked| it.method == "PATCH" && it.path.ends_with("/jobs/one/status");
        proxy.order(is_status, Fate::Refuse(503));
        make(&scope, &version(before.0, before.1)).await;
        let batch = until("it is launched", || async {
            api::<BatchJob>(&scope).list(&ListParams::default()).await.unwrap().items.pop()
        })
        .await
        .name_any();
        let edit = Patch::Merge(version(after.0, after.1));
        api::<Job>(&scope).patch("one", &PatchParams::default(), &edit).await.unwrap();
        proxy.clear();
        until("its status says so", || async { job(&scope).await.status?.batch_job_ref }).await;
        succeed(&scope, &batch).await;
        let status = until("it has ended", || async {
            job(&scope).await.status.filter(|status| status.outcome == Some(Outcome::Completed))
        })
        .await;
        let record = api::<JobRun>(&scope).get(&batch).await.unwrap();
        let texts = [&status.params, &record.spec.params].map(|params| params["TEXT"].len());
        assert_eq!(texts, [before.0, before.0], "what was launched is what counts");
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_job_that_is_edited_into_a_large_one_after_its_launch_runs_to_its_end() {
    runs_to_its_end((10, 10), (LONG, 5_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_job_that_is_edited_into_a_small_one_after_its_launch_runs_to_its_end() {
    runs_to_its_end((LONG, 5_000), (10, 10)).await;
}

/// Its parameters as they were when it was queued stand in its status alone, and what is said there beside them leaves them alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_job_of_which_something_is_refused_keeps_the_parameters_that_it_was_queued_with() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        template(&scope).await;
        create(&scope, "Queue", "default", json!({ "paused": { "reason": "not now" } })).await;
        make(&scope, &version(LONG, 5_000)).await;
        until("it is queued", || async { job(&scope).await.status?.queued_at }).await;
        let hard = json!({ "count/queues.rota.dev": "0" });
        let quota = json!({ "metadata": { "name": "none" }, "spec": { "hard": hard } });
        let quotas = api::<ResourceQuota>(&scope);
        quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
        let counted = Patch::Merge(json!({ "status": { "hard": hard, "used": hard } }));
        quotas.patch_status("none", &PatchParams::default(), &counted).await.unwrap();
        until("the quota is in force", || async { scope.try_create("Queue", &json!({ "spec": {} })).await.err() })
            .await;
        // It is made again when it is needed.
        api::<Queue>(&scope).delete("default", &DeleteParams::default()).await.unwrap();
        let status = until("it says what is refused", || async {
            let status = job(&scope).await.status?;
            status.conditions.iter().any(|it| it.type_ == "Stalled" && it.reason == "WriteRefused").then_some(status)
        })
        .await;
        assert_eq!(status.params["TEXT"].len(), LONG);
        quotas.delete("none", &DeleteParams::default()).await.unwrap();
        let touched = Patch::Merge(json!({ "metadata": { "annotations": { "example.com/look": "again" } } }));
        api::<Job>(&scope).patch("one", &PatchParams::default(), &touched).await.unwrap();
        let batch = until("it is launched", || async { job(&scope).await.status?.batch_job_ref }).await;
        let batch = api::<BatchJob>(&scope).get(&batch.name).await.unwrap();
        let text = serde_json::to_string(&batch.spec).unwrap();
        assert!(text.contains(&"t".repeat(LONG)), "it was launched without its text");
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}
