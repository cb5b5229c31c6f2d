//! What the API server refuses to Rota's own kinds, by a quota: it is said in the object, in an event and by `why`, and is
//! over when the quota is.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Event, ResourceQuota};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use rota::api::{Job, JobRun, Reason};
use rota::runtime::clock::now;
use serde_json::{Value, json};

use crate::cluster::{Scope, api, create, in_namespace, plugin};
use crate::examples::pod_template;
use crate::operator::{Operator, Rights, until};

/// No object of that resource may be created from now on. There is no controller that counts, so the test says how many there
/// are: as many as may be.
async fn forbid(scope: &Scope, resource: &str) {
    let hard = json!({ format!("count/{resource}"): "0" });
    let quota = json!({ "metadata": { "name": "none" }, "spec": { "hard": hard } });
    let quotas: Api<ResourceQuota> = api(scope);
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    let counted = Patch::Merge(json!({ "status": { "hard": hard, "used": hard } }));
    quotas.patch_status("none", &PatchParams::default(), &counted).await.unwrap();
}

/// Waits until one is refused: the API server sees a new quota a moment later.
async fn is_refused(scope: &Scope, kind: &str, spec: Value) {
    until("the quota is in force", || async {
        let refused =
            scope.try_create(kind, &json!({ "spec": spec })).await.is_err_and(|it| it.message.contains("quota"));
        refused.then_some(())
    })
    .await;
}

async fn allow(scope: &Scope) {
    api::<ResourceQuota>(scope).delete("none", &DeleteParams::default()).await.unwrap();
}

fn condition(object: &DynamicObject, type_: &str) -> Option<Condition> {
    let conditions = object.data.pointer("/status/conditions")?.as_array()?;
    let conditions = conditions.iter().map(|it| serde_json::from_value::<Condition>(it.clone()).unwrap());
    conditions.into_iter().find(|it| it.type_ == type_)
}

/// Waits until an object says that something is refused, and an event says it too.
async fn says_so(scope: &Scope, kind: &str, name: &str) -> Condition {
    let said = until("it says what is refused", || async {
        let found = scope.objects(kind).get(name).await.unwrap();
        condition(&found, "Stalled").filter(|it| it.status == "True" && it.reason == "WriteRefused")
    })
    .await;
    assert!(said.message.contains("exceeded quota: none"), "{}", said.message);
    until("an event says it", || async {
        let events = api::<Event>(scope).list(&ListParams::default()).await.unwrap();
        let is_it = |event: &Event| {
            let regards = event.involved_object.name.as_deref() == Some(name);
            regards && event.reason.as_deref() == Some("WriteRefused")
        };
        events.items.iter().any(is_it).then_some(())
    })
    .await;
    said
}

async fn is_over(scope: &Scope, kind: &str, name: &str) {
    until("it is over", || async {
        let found = scope.objects(kind).get(name).await.unwrap();
        condition(&found, "Stalled").is_none().then_some(())
    })
    .await;
}

fn report() -> Value {
    json!({ "jobType": "x", "jobTemplate": pod_template() })
}

async fn is_ready(scope: &Scope, kind: &str, name: &str) {
    until("it is ready", || async {
        let found = scope.objects(kind).get(name).await.unwrap();
        condition(&found, "Ready").filter(|it| it.status == "True").map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_whose_job_is_refused_says_so_and_its_records_say_why() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        create(&scope, "JobTemplate", "report", report()).await;
        is_ready(&scope, "JobTemplate", "report").await;
        forbid(&scope, "jobs.rota.dev").await;
        is_refused(&scope, "Job", json!({ "templateRef": { "name": "report" } })).await;
        create(&scope, "Schedule", "often", json!({ "templateRef": { "name": "report" }, "interval": "2s" })).await;
        let said = says_so(&scope, "Schedule", "often").await;
        let ready = condition(&scope.objects("Schedule").get("often").await.unwrap(), "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "WriteRefused"));
        let late = said.last_transition_time.0 + SignedDuration::from_secs(20);
        until("the first time is late", || async { (now() > late).then_some(()) }).await;
        allow(&scope).await;
        let looked = Patch::Merge(json!({ "metadata": { "annotations": { "example.com/look": "again" } } }));
        scope.objects("Schedule").patch("often", &PatchParams::default(), &looked).await.unwrap();
        is_ready(&scope, "Schedule", "often").await;
        let skipped = until("what was refused is recorded", || async {
            let runs = api::<JobRun>(&scope).list(&ListParams::default()).await.unwrap();
            runs.items.into_iter().find(|run| run.status.as_ref().is_some_and(|it| it.reason == Reason::CatchUpLimit))
        })
        .await;
        let error = skipped.status.unwrap().error.unwrap();
        assert!(error.contains("exceeded quota: none") && !error.contains("not running"), "{error}");
        until("it fires again", || async {
            let jobs = api::<Job>(&scope).list(&ListParams::default()).await.unwrap();
            (!jobs.items.is_empty()).then_some(())
        })
        .await;
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_and_a_group_whose_objects_are_refused_say_so() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        forbid(&scope, "controllerrevisions.apps").await;
        until("the quota is in force", || async {
            create(&scope, "JobTemplate", "report", report()).await;
            let said = says_so_or_is_ready(&scope).await;
            if !said {
                scope.objects("JobTemplate").delete("report", &DeleteParams::default()).await.unwrap();
            }
            said.then_some(())
        })
        .await;
        says_so(&scope, "JobTemplate", "report").await;
        let ready = condition(&scope.objects("JobTemplate").get("report").await.unwrap(), "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "WriteRefused"));
        allow(&scope).await;
        is_ready(&scope, "JobTemplate", "report").await;
        is_over(&scope, "JobTemplate", "report").await;
        forbid(&scope, "jobs.rota.dev").await;
        is_refused(&scope, "Job", json!({ "templateRef": { "name": "report" } })).await;
        let member = json!({ "name": "one", "templateRef": { "name": "report" } });
        create(&scope, "JobGroup", "both", json!({ "mode": "Parallel", "jobs": [member] })).await;
        says_so(&scope, "JobGroup", "both").await;
        allow(&scope).await;
        until("its member is made", || async {
            let jobs = api::<Job>(&scope).list(&ListParams::default()).await.unwrap();
            (!jobs.items.is_empty()).then_some(())
        })
        .await;
        is_over(&scope, "JobGroup", "both").await;
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

/// Whether the template says that something is refused, rather than that it is ready: the quota was not seen yet then.
async fn says_so_or_is_ready(scope: &Scope) -> bool {
    until("it says either", || async {
        let found = scope.objects("JobTemplate").get("report").await.unwrap();
        let ready = condition(&found, "Ready")?;
        Some(ready.reason == "WriteRefused")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_queue_or_record_is_refused_says_so_and_so_does_why() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        forbid(&scope, "queues.rota.dev").await;
        is_refused(&scope, "Queue", json!({ "maxRunning": 1 })).await;
        create(&scope, "Job", "first", json!({ "jobType": "x", "jobTemplate": pod_template() })).await;
        says_so(&scope, "Job", "first").await;
        why(&scope, "first");
        allow(&scope).await;
        until("it is launched", || async {
            let job = api::<Job>(&scope).get("first").await.unwrap();
            job.status.is_some_and(|status| status.batch_job_ref.is_some()).then_some(())
        })
        .await;
        is_over(&scope, "Job", "first").await;
        forbid(&scope, "jobruns.rota.dev").await;
        let held = json!({ "jobType": "x", "jobTemplate": pod_template(), "hold": true });
        let run = crate::examples::job_run();
        until("the quota is in force", || async {
            scope.try_create("JobRun", &run).await.is_err_and(|it| it.message.contains("quota")).then_some(())
        })
        .await;
        create(&scope, "Job", "second", held).await;
        let cancel = Patch::Merge(json!({ "spec": { "cancel": { "reason": "enough" } } }));
        api::<Job>(&scope).patch("second", &PatchParams::default(), &cancel).await.unwrap();
        says_so(&scope, "Job", "second").await;
        why(&scope, "second");
        allow(&scope).await;
        let ended = until("it is recorded", || async {
            let job = api::<Job>(&scope).get("second").await.unwrap();
            job.status.filter(|status| status.outcome.is_some())
        })
        .await;
        assert_eq!(ended.reason, Some(Reason::Cancelled));
        assert!(
            api::<JobRun>(&scope)
                .list(&ListParams::default())
                .await
                .unwrap()
                .items
                .iter()
                .any(|run| { run.name_any().starts_with("second-") })
        );
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

fn why(scope: &Scope, job: &str) {
    let said = plugin("why", &["--namespace", &scope.namespace, job], "").expect_success();
    assert!(said.contains("the API server refuses") && said.contains("exceeded quota: none"), "{said}");
}
