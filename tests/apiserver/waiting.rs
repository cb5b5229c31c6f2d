//! What schedules and templates say of the queue in which their Jobs wait, and what it is that Forbid waits for.

use kube::api::{Patch, PatchParams};
use rota::api::{JobRun, JobTemplate, Queue, Schedule};
use serde_json::{Value, json};

use crate::cluster::{Scope, api, create, in_namespace};
use crate::examples::pod_template;
use crate::operator::{Operator, Rights, until};

/// The reason and the sentence of a condition Ready.
fn ready(
    conditions: Option<Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>>,
) -> Option<(String, String)> {
    let found = conditions?.into_iter().find(|it| it.type_ == "Ready" && it.status == "True")?;
    Some((found.reason, found.message))
}

async fn schedule_says(scope: &Scope, name: &str, reason: &str, part: &str) {
    until(&format!("schedule {name} says {reason}"), || async {
        let said = ready(api::<Schedule>(scope).get(name).await.unwrap().status.map(|status| status.conditions))?;
        (said.0 == reason && said.1.contains(part)).then_some(())
    })
    .await;
}

async fn template_says(scope: &Scope, name: &str, reason: &str) {
    until(&format!("template {name} says {reason}"), || async {
        let said = ready(api::<JobTemplate>(scope).get(name).await.unwrap().status.map(|status| status.conditions))?;
        (said.0 == reason).then_some(())
    })
    .await;
}

async fn pause(scope: &Scope, queue: &str, pause: Value) {
    let patch = Patch::Merge(json!({ "spec": { "paused": pause } }));
    api::<Queue>(scope).patch(queue, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_does_not_exist_or_is_paused_is_said_by_the_schedules_and_templates_that_use_it() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "only");
        operator.leads().await;
        let template = json!({ "jobType": "x", "queue": "slow", "jobTemplate": pod_template() });
        create(&scope, "JobTemplate", "report", template).await;
        create(
            &scope,
            "Schedule",
            "own",
            json!({ "templateRef": { "name": "report" }, "queue": "fast", "interval": "9h" }),
        )
        .await;
        create(&scope, "Schedule", "inherits", json!({ "templateRef": { "name": "report" }, "interval": "9h" })).await;
        template_says(&scope, "report", "QueueNotFound").await;
        schedule_says(&scope, "own", "QueueNotFound", "there is no Queue \"fast\"").await;
        schedule_says(&scope, "inherits", "QueueNotFound", "there is no Queue \"slow\"").await;
        create(&scope, "Queue", "slow", json!({})).await;
        create(&scope, "Queue", "fast", json!({})).await;
        template_says(&scope, "report", "Valid").await;
        schedule_says(&scope, "own", "Scheduled", "").await;
        schedule_says(&scope, "inherits", "Scheduled", "").await;
        pause(&scope, "fast", json!({ "reason": "upgrade" })).await;
        schedule_says(&scope, "own", "QueuePaused", "queue fast is paused: upgrade").await;
        schedule_says(&scope, "inherits", "Scheduled", "").await;
        pause(&scope, "fast", json!({ "reason": "incident", "scope": "Namespace" })).await;
        schedule_says(&scope, "inherits", "QueuePaused", "the namespace is paused by queue fast: incident").await;
        let soon = rota::runtime::clock::now() + jiff::SignedDuration::from_secs(3);
        pause(&scope, "fast", json!({ "until": soon.to_string() })).await;
        // Nothing changes then but the time.
        schedule_says(&scope, "inherits", "Scheduled", "").await;
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_skipped_under_forbid_names_the_job_and_what_it_waits_for() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "only");
        operator.leads().await;
        create(&scope, "Queue", "slow", json!({ "paused": { "reason": "upgrade" } })).await;
        create(&scope, "JobTemplate", "report", json!({ "jobType": "x", "jobTemplate": pod_template() })).await;
        let spec = json!({
            "templateRef": { "name": "report" }, "queue": "slow", "interval": "2s", "concurrencyPolicy": "Forbid",
        });
        create(&scope, "Schedule", "often", spec).await;
        let told = until("a skipped time names what it waits for", || async {
            let runs = api::<JobRun>(&scope).list(&Default::default()).await.unwrap();
            let errors = runs.items.into_iter().filter_map(|run| run.status?.error);
            errors.into_iter().find(|error| error.contains("queue slow is paused: upgrade"))
        })
        .await;
        assert!(told.starts_with("Job often-") && told.contains("has not started"), "{told}");
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}
