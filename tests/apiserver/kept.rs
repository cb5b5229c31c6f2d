//! Schedules and groups that were deleted and that a finalizer of somebody else keeps: they do nothing more, and say so.

use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use rota::api::Job;
use serde_json::{Value, json};

use crate::cluster::{Scope, api, create, in_namespace};
use crate::examples::pod_template;
use crate::operator::{Operator, Rights, until};

const FINALIZER: &str = "example.com/hook";

/// Deletes an object that a finalizer keeps, and waits until the condition says so.
async fn is_deleted_and_says_so(scope: &Scope, kind: &str, name: &str, type_: &str) {
    let hold = Patch::Merge(json!({ "metadata": { "finalizers": [FINALIZER] } }));
    let objects = scope.objects(kind);
    objects.patch(name, &PatchParams::default(), &hold).await.unwrap();
    objects.delete(name, &DeleteParams::default()).await.unwrap();
    until("it says what keeps it", || async {
        let found = objects.get(name).await.unwrap();
        let conditions = found.data.pointer("/status/conditions").and_then(Value::as_array)?.clone();
        let said = conditions.into_iter().find(|it| it["type"] == type_)?;
        said["message"].as_str().is_some_and(|said| said.contains(FINALIZER)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_and_is_kept_does_nothing_more_and_says_what_keeps_it() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        create(&scope, "JobTemplate", "report", json!({ "jobType": "x", "jobTemplate": pod_template() })).await;
        let jobs = || async { api::<Job>(&scope).list(&ListParams::default()).await.unwrap().items };
        create(&scope, "Schedule", "often", json!({ "templateRef": { "name": "report" }, "interval": "1s" })).await;
        until("it fires", || async { (!jobs().await.is_empty()).then_some(()) }).await;
        is_deleted_and_says_so(&scope, "Schedule", "often", "Ready").await;
        let found = scope.objects("Schedule").get("often").await.unwrap();
        assert_eq!(found.data.pointer("/status/nextTriggerTime"), None, "{:?}", found.data["status"]);
        let before = jobs().await.len();
        // Another schedule shows that time goes on.
        create(&scope, "Schedule", "other", json!({ "templateRef": { "name": "report" }, "interval": "1s" })).await;
        let of = |jobs: &[Job], name: &str| {
            let is_of = |job: &&Job| job.spec.schedule_ref.as_ref().is_some_and(|it| it.name == name);
            jobs.iter().filter(is_of).count()
        };
        until("the other one fires three times", || async { (of(&jobs().await, "other") >= 3).then_some(()) }).await;
        assert_eq!(of(&jobs().await, "often"), before);
        let members = json!([{ "name": "only", "templateRef": { "name": "report" } }]);
        create(&scope, "JobGroup", "batch", json!({ "mode": "Parallel", "jobs": members, "started": false })).await;
        until("it is seen", || async {
            scope.objects("JobGroup").get("batch").await.unwrap().data.pointer("/status/phase").map(drop)
        })
        .await;
        is_deleted_and_says_so(&scope, "JobGroup", "batch", "Stalled").await;
        for (kind, name) in [("Schedule", "often"), ("JobGroup", "batch")] {
            let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
            scope.objects(kind).patch(name, &PatchParams::default(), &free).await.unwrap();
        }
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}
