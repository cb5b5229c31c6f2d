//! A field of a Schedule that is removed: Kubernetes keeps no time of that, and nothing of the past fires.

use std::path::PathBuf;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use rota::api::{Job, JobRun, Schedule};
use rota::runtime::clock::now;
use serde_json::{Value, json};

use crate::cluster::{Scope, api, create, in_namespace, kubeconfig};
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

/// What people keep schedules with, which takes the same line away. These leave a time of the edit.
const TOOLS: [&str; 3] = ["applied", "applied-server-side", "helmed"];

/// Lets one of them write the schedule of its name, disabled or with that line taken away.
fn apply_with(scope: &Scope, tool: &str, is_off: bool) {
    let mut spec = spec();
    if is_off {
        spec["enabled"] = json!(false);
    }
    let manifest = json!({
        "apiVersion": rota::api::API_VERSION, "kind": "Schedule", "metadata": { "name": tool }, "spec": spec,
    })
    .to_string();
    let with_kubectl = |arguments: &[&str]| drop(scope.kubectl_with(arguments, &manifest).expect_success());
    match tool {
        "applied" => with_kubectl(&["apply", "-f", "-"]),
        "applied-server-side" => with_kubectl(&["apply", "--server-side", "-f", "-"]),
        _ => upgrade_with_helm(scope, tool, &manifest),
    }
}

fn upgrade_with_helm(scope: &Scope, release: &str, manifest: &str) {
    let chart = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(&scope.namespace);
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: schedules\nversion: 0.1.0\n").unwrap();
    std::fs::write(chart.join("templates/schedule.yaml"), manifest).unwrap();
    let mut command = Command::new("helm");
    command.args(["upgrade", "--install", release]).arg(&chart).args(["--namespace", &scope.namespace]);
    let output =
        command.arg("--kubeconfig").arg(kubeconfig()).output().expect("helm is in the PATH of the test cluster");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_dir_all(chart).unwrap();
}

fn spec() -> Value {
    json!({ "templateRef": { "name": "report" }, "interval": "4s", "catchUp": { "policy": "All" } })
}

async fn looked_at(scope: &Scope, name: &str) {
    until("it was looked at", || async {
        let found = api::<Schedule>(scope).get(name).await.unwrap();
        found.status.is_some_and(|status| status.observed_generation == Some(1)).then_some(())
    })
    .await;
}

/// Makes the schedules, and one that is replaced as a whole.
async fn make(scope: &Scope) {
    create(scope, "JobTemplate", "report", json!({ "jobType": "x", "jobTemplate": pod_template() })).await;
    create(scope, "Queue", "default", json!({ "maxRunning": 1 })).await;
    let replaced = ("replaced", json!({ "enabled": false }), vec![]);
    for (name, more, _) in cases().into_iter().chain([replaced]) {
        let mut spec = spec();
        for (field, value) in more.as_object().unwrap() {
            spec[field] = value.clone();
        }
        create(scope, "Schedule", name, spec).await;
        looked_at(scope, name).await;
    }
    for tool in TOOLS {
        apply_with(scope, tool, true);
        looked_at(scope, tool).await;
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
    TOOLS.iter().for_each(|tool| apply_with(scope, tool, false));
    for found in api::<Schedule>(scope).list(&ListParams::default()).await.unwrap() {
        assert_eq!(found.metadata.generation, Some(2));
        if TOOLS.contains(&&*found.name_any()) {
            continue;
        }
        let entries = found.metadata.managed_fields.iter().flatten().filter(|it| it.subresource.is_none());
        let created = found.metadata.creation_timestamp.as_ref().unwrap().0;
        assert!(entries.filter_map(|it| it.time.as_ref()).all(|time| time.0 <= created), "it tells no time");
    }
}

async fn passed(since: Timestamp, seconds: i64) {
    let until_then = since + SignedDuration::from_secs(seconds);
    until("time passes", || async { (now() > until_then).then_some(()) }).await;
}

/// Each fires, and only what came after that instant, or after its edit if that has a time; and nothing is recorded as skipped.
async fn fire_only_after(scope: &Scope, instant: Timestamp, edited: Timestamp) {
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
        let is_dated = TOOLS.contains(&&*job.spec.schedule_ref.as_ref().unwrap().name);
        let instant = if is_dated { edited } else { instant };
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
        fire_only_after(&scope, before, before).await;
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
        let edited = now();
        remove(&scope).await;
        // Something else that has a time: it is not that of the edit.
        let note = Patch::Merge(json!({ "metadata": { "annotations": { "example.com/note": "x" } } }));
        api::<Schedule>(&scope).patch("off-merge", &PatchParams::default(), &note).await.unwrap();
        passed(now(), 9).await;
        let before = now();
        let operator = Operator::start(&scope, &rights, "two");
        fire_only_after(&scope, before, edited).await;
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}
