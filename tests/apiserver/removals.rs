//! A field of a Schedule that is removed: Kubernetes keeps no time of that, and nothing of the past fires.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use rota::api::{Job, JobRun, Schedule};
use rota::runtime::clock::now;
use serde_json::{Value, json};

use crate::cluster::{Scope, api, create, in_namespace};
use crate::examples::pod_template;
use crate::operator::{Operator, Rights, until};

/// What each schedule has beside `interval`, which keeps it from firing, and the ways to take that away.
fn cases() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let off = json!({ "enabled": false });
    let ended = json!({ "endTime": "2001-01-01T00:00:00Z" });
    let ahead = json!({ "startTime": "2999-01-01T00:00:00Z" });
    vec![
        ("off-merge", off.clone(), vec!["--type", "merge", "-p", r#"{"spec":{"enabled":null}}"#]),
        ("off-json", off, vec!["--type", "json", "-p", r#"[{"op":"remove","path":"/spec/enabled"}]"#]),
        ("ended", ended, vec!["--type", "merge", "-p", r#"{"spec":{"endTime":null}}"#]),
        ("ahead", ahead, vec!["--type", "json", "-p", r#"[{"op":"remove","path":"/spec/startTime"}]"#]),
    ]
}

/// Makes the schedules, and one that is replaced as a whole.
async fn make(scope: &Scope) {
    create(scope, "JobTemplate", "report", json!({ "jobType": "x", "jobTemplate": pod_template() })).await;
    create(scope, "Queue", "default", json!({ "maxRunning": 1 })).await;
    let replaced = ("replaced", json!({ "enabled": false }), vec![]);
    for (name, more, _) in cases().into_iter().chain([replaced]) {
        let mut spec = json!({ "templateRef": { "name": "report" }, "interval": "4s", "catchUp": { "policy": "All" } });
        for (field, value) in more.as_object().unwrap() {
            spec[field] = value.clone();
        }
        create(scope, "Schedule", name, spec).await;
        until("it was looked at", || async {
            let found = api::<Schedule>(scope).get(name).await.unwrap();
            found.status.is_some_and(|status| status.observed_generation == Some(1)).then_some(())
        })
        .await;
    }
}

/// Takes away what keeps them from firing.
async fn remove(scope: &Scope) {
    for (name, _, patch) in cases() {
        scope.kubectl(&[&["patch", "rsched", name], patch.as_slice()].concat()).expect_success();
    }
    let mut found = api::<Schedule>(scope).get("replaced").await.unwrap();
    found.spec.enabled = None;
    api::<Schedule>(scope).replace("replaced", &PostParams::default(), &found).await.unwrap();
    for found in api::<Schedule>(scope).list(&ListParams::default()).await.unwrap() {
        let entries = found.metadata.managed_fields.iter().flatten().filter(|it| it.subresource.is_none());
        let created = found.metadata.creation_timestamp.as_ref().unwrap().0;
        assert!(entries.filter_map(|it| it.time.as_ref()).all(|time| time.0 <= created), "it tells no time");
        assert_eq!(found.metadata.generation, Some(2));
    }
}

async fn passed(since: Timestamp, seconds: i64) {
    let until_then = since + SignedDuration::from_secs(seconds);
    until("time passes", || async { (now() > until_then).then_some(()) }).await;
}

/// Each fires, and only what came after that instant; and nothing is recorded as skipped.
async fn fire_only_after(scope: &Scope, instant: Timestamp) {
    for found in api::<Schedule>(scope).list(&ListParams::default()).await.unwrap() {
        let name = found.name_any();
        until("it fires", || async {
            let jobs = api::<Job>(scope).list(&ListParams::default()).await.unwrap();
            jobs.iter().any(|job| job.spec.schedule_ref.as_ref().is_some_and(|it| it.name == name)).then_some(())
        })
        .await;
    }
    for job in api::<Job>(scope).list(&ListParams::default()).await.unwrap() {
        let time = job.spec.scheduled_time.as_ref().unwrap().0;
        assert!(time > instant, "{} of {time}, which is not after {instant}", job.name_any());
    }
    let runs = api::<JobRun>(scope).list(&ListParams::default()).await.unwrap();
    assert_eq!(runs.items, [], "none of these times was owed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_the_past_fires_while_the_operator_watches() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        make(&scope).await;
        passed(now(), 9).await;
        let before = now();
        remove(&scope).await;
        fire_only_after(&scope, before).await;
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_the_past_fires_when_the_operator_comes_back() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        make(&scope).await;
        passed(now(), 5).await;
        drop(operator);
        remove(&scope).await;
        // Something else that has a time: it is not that of the edit.
        let note = Patch::Merge(json!({ "metadata": { "annotations": { "example.com/note": "x" } } }));
        api::<Schedule>(&scope).patch("off-merge", &PatchParams::default(), &note).await.unwrap();
        passed(now(), 9).await;
        let before = now();
        let operator = Operator::start(&scope, &rights, "two");
        fire_only_after(&scope, before).await;
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}
