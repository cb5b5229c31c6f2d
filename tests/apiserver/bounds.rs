//! What is within every limit of a field and still too much: refused with the sum where people look, never left without a word.

use kube::ResourceExt;
use rota::domain::names;
use serde_json::{Value, json};

use crate::cluster::{Scope, in_namespace};
use crate::examples::pod_template;
use crate::operator::{Operator, Rights, until};

/// The status of an object, once the operator has written the one that is expected.
async fn status(scope: &Scope, kind: &str, name: &str, is_expected: impl Fn(&Value) -> bool) -> Value {
    until(&format!("{kind} {name} has the expected status"), || async {
        let object = scope.objects(kind).get(name).await.ok()?;
        object.data.get("status").filter(|status| is_expected(status)).cloned()
    })
    .await
}

/// The message of a condition.
fn message<'a>(status: &'a Value, condition: &str) -> &'a str {
    let found = status["conditions"].as_array().into_iter().flatten().find(|it| it["type"] == condition);
    found.and_then(|it| it["message"].as_str()).unwrap_or_default()
}

/// Parameters p0, p1 … with this value each.
fn params(count: usize, value: &str) -> Value {
    Value::Object((0..count).map(|number| (format!("p{number}"), json!(value))).collect())
}

fn ad_hoc(more: Value) -> Value {
    let mut job = json!({ "spec": { "jobType": "test", "jobTemplate": pod_template() } });
    for (key, value) in more.as_object().unwrap() {
        job["spec"][key] = value.clone();
    }
    job
}

async fn create(scope: &Scope, kind: &str, content: &Value) -> String {
    scope.create(kind, content).await.unwrap_or_else(|error| panic!("{kind}: {error}")).name_any()
}

#[tokio::test]
async fn what_would_not_fit_is_said_in_the_status_with_the_sum() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "bounds");
        operator.leads().await;
        let waits = |status: &Value| status["waitingFor"] == "Correction";

        // 245,760 bytes are accepted, and as JSON in the annotation they take twice that.
        let quotes = create(&scope, "Job", &ad_hoc(json!({ "params": params(30, &"\"".repeat(8_192)) }))).await;
        let said = status(&scope, "Job", &quotes, waits).await;
        let why = message(&said, "Dispatched");
        assert!(why.contains("spec.params: ") && why.contains("they take 491") && why.contains("262144"), "{why}");

        // A body that leaves no room for the resolved parameters in the status.
        let mut body = pod_template();
        body["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["x".repeat(1_200_000)]);
        let large = ad_hoc(json!({ "jobTemplate": body, "params": params(20, &"a".repeat(8_192)) }));
        let large = create(&scope, "Job", &large).await;
        let said = status(&scope, "Job", &large, waits).await;
        assert!(message(&said, "Dispatched").contains("at most 1540096 together"), "{said}");

        // Patterns that would cost minutes.
        let slow: Vec<Value> = (0..64)
            .map(|number| {
                let default = "a".repeat(4_000);
                json!({ "name": format!("p{number}"), "pattern": "(?:a*){900}", "default": default })
            })
            .collect();
        let template = json!({ "spec": { "jobType": "test", "params": slow, "jobTemplate": pod_template() } });
        let template = create(&scope, "JobTemplate", &template).await;
        let stalled = |status: &Value| !message(status, "Stalled").is_empty();
        let said = status(&scope, "JobTemplate", &template, stalled).await;
        let why = message(&said, "Ready");
        assert!(why.starts_with("spec.params.p0: default is too long for its pattern"), "{why}");

        // A script whose revision is too large, because quotes and markup grow in it.
        let mut body = pod_template();
        body["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["<\"".repeat(180_000)]);
        let template = json!({ "spec": { "jobType": "test", "jobTemplate": body } });
        let template = create(&scope, "JobTemplate", &template).await;
        let said = status(&scope, "JobTemplate", &template, stalled).await;
        assert!(message(&said, "Ready").contains("a revision of it takes"), "{said}");

        // A group whose status would not fit.
        let member = |number: usize| {
            json!({ "name": format!("m{number}"), "templateRef": { "name": "t" }, "params": { "text": "a".repeat(1_200) } })
        };
        let jobs: Vec<Value> = (0..1_000).map(member).collect();
        let group = create(&scope, "JobGroup", &json!({ "spec": { "mode": "Parallel", "jobs": jobs } })).await;
        let said = status(&scope, "JobGroup", &group, stalled).await;
        assert!(message(&said, "Stalled").contains("for 1000 members"), "{said}");
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

/// A Job that was never resolved leaves a record all the same, with no more of its parameters than can be stored.
#[tokio::test]
async fn a_record_can_always_be_written() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "recorder");
        operator.leads().await;
        let mut given = params(30, &"a".repeat(8_000));
        given["n".repeat(1_000_000)] = json!("v");
        let job = json!({ "spec": { "templateRef": { "name": "none" }, "params": given } });
        let job = create(&scope, "Job", &job).await;
        status(&scope, "Job", &job, |status| status["waitingFor"] == "Template").await;
        let cancel = json!({ "spec": { "cancel": { "reason": "too large" } } });
        let patch = kube::api::Patch::Merge(cancel);
        scope.objects("Job").patch(&job, &kube::api::PatchParams::default(), &patch).await.unwrap();
        let ended = status(&scope, "Job", &job, |status| status["outcome"] == "Skipped").await;
        let run = ended["runRefs"][0]["name"].as_str().unwrap().to_owned();
        let run = scope.objects("JobRun").get(&run).await.unwrap();
        assert_eq!(run.data["spec"]["params"].as_object().unwrap().len(), 31);
        let error = run.data["status"]["error"].as_str().unwrap();
        assert!(error.contains("too large") && error.contains("the params of this record are cut"), "{error}");
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

/// A record of a key, as this build and earlier ones leave it, queued so many hours ago.
fn keyed(key: &str, number: usize, reason: &str, hours_ago: i64) -> Value {
    let queued_at = rota::runtime::clock::now() - jiff::SignedDuration::from_hours(hours_ago);
    let outcome = if reason == "Succeeded" { "Completed" } else { "Skipped" };
    let labels = json!({
        "rota.dev/dedup": names::label_hash(key),
        "rota.dev/outcome": outcome,
        "rota.dev/day": names::day(queued_at),
    });
    json!({
        "metadata": { "generateName": "order-", "labels": labels },
        "spec": { "jobRef": { "name": format!("order-{number}"), "uid": format!("uid-{number}") }, "attempt": 1,
                  "dedupKey": key },
        "status": { "phase": outcome, "reason": reason, "queuedAt": queued_at.to_string() },
    })
}

#[tokio::test]
async fn a_window_is_judged_rightly_among_many_records_of_its_key_also_of_earlier_builds() {
    in_namespace(|scope| async move {
        for number in 0..60 {
            for key in ["free", "taken"] {
                // Before the window, and many of the same day; and duplicates within it, which count for nothing.
                create(&scope, "JobRun", &keyed(key, number, "Succeeded", 5 + number as i64 % 7)).await;
                create(&scope, "JobRun", &keyed(key, number + 100, "DuplicateKey", number as i64 % 3)).await;
            }
        }
        // One within the window, whichever page it is on.
        create(&scope, "JobRun", &keyed("taken", 500, "Succeeded", 1)).await;
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "windows");
        operator.leads().await;
        let with_key = |key: &str| ad_hoc(json!({ "dedupKey": key, "dedupWindowSeconds": 14_400 }));
        let free = create(&scope, "Job", &with_key("free")).await;
        let taken = create(&scope, "Job", &with_key("taken")).await;
        status(&scope, "Job", &free, |status| status["phase"] == "Dispatched").await;
        let ended = status(&scope, "Job", &taken, |status| status["outcome"] == "Skipped").await;
        assert_eq!(ended["reason"], "DuplicateKey");
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}
