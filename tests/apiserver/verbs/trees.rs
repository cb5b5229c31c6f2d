//! `kubectl rota tree`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use super::{condition, create, document, get, rota, template};
use crate::cluster::{Scope, in_namespace, kubeconfig, plugin_command};

/// A record of a Job of the group.
fn record(scope: &Scope, name: &str, job: &Value, status: Value) {
    let uid = job["metadata"]["uid"].as_str().unwrap();
    let whole = json!({
        "apiVersion": rota::api::API_VERSION, "kind": "JobRun",
        "metadata": { "name": name, "labels": { "rota.dev/job-uid": uid, "rota.dev/group": "batch" } },
        "spec": { "attempt": 1, "jobRef": { "name": job["metadata"]["name"], "uid": uid } },
        "status": status,
    });
    scope.kubectl_with(&["create", "-f", "-"], &whole.to_string()).expect_success();
}

/// A Job of the group, in this state.
async fn member(scope: &Scope, group_uid: &str, name: &str, status: Value) -> Value {
    let whole = json!({
        "apiVersion": rota::api::API_VERSION, "kind": "Job",
        "metadata": { "name": format!("batch-{name}"), "labels": { "rota.dev/group": "batch" } },
        "spec": {
            "templateRef": { "name": "report" }, "params": { "region": "eu-1" },
            "groupRef": { "name": "batch", "uid": group_uid, "member": name },
        },
    });
    scope.kubectl_with(&["create", "-f", "-"], &whole.to_string()).expect_success();
    scope.set_status("Job", &format!("batch-{name}"), &status).await;
    get(scope, "rjob", &format!("batch-{name}"))
}

#[tokio::test]
async fn a_group_shows_its_members_in_order_with_their_records() {
    in_namespace(|scope| async move {
        template(&scope);
        let reference = |name: &str| json!({ "name": name, "templateRef": { "name": "report" } });
        create(&scope, "JobGroup", "batch", json!({ "mode": "Sequential", "jobs": [reference("z"), reference("a")] }));
        let uid = get(&scope, "rgroup", "batch")["metadata"]["uid"].as_str().unwrap().to_owned();
        let failed = json!({ "phase": "Finished", "outcome": "Failed", "reason": "ExitCode", "attempts": 1, "runRefs": [{ "name": "batch-z-1" }] });
        let first = member(&scope, &uid, "z", failed).await;
        record(&scope, "batch-z-1", &first, json!({ "phase": "Failed", "reason": "ExitCode", "exitCode": 3, "durationMs": 2000 }));
        let waits = json!({ "phase": "Pending", "waitingFor": "GroupOrder", "conditions": [
            condition("Dispatched", "False", "GroupOrder", "member \"z\" of the group goes first"),
        ] });
        member(&scope, &uid, "a", waits).await;
        let counts = json!({ "total": 2, "waiting": 1, "running": 0, "completed": 0, "failed": 1, "skipped": 0 });
        scope.set_status("JobGroup", "batch", &json!({ "phase": "Running", "counts": counts })).await;
        let text = rota(&scope, "tree", &["batch"]).expect_success();
        let expected = "\
group/batch Running (Sequential, 1 of 2 ended, 1 failed)
├─ job/batch-z Failed ExitCode (member z)
│  └─ attempt/batch-z-1 Failed ExitCode exit code 3 (attempt 1, took 2s)
└─ job/batch-a Pending GroupOrder (member a, member \"z\" of the group goes first)
";
        assert_eq!(text, expected);
        let found = document(&scope, "tree", &["group/batch"]);
        assert_eq!(found["children"][0]["children"][0]["exitCode"], 3, "{found:#}");
    })
    .await;
}

#[tokio::test]
async fn a_job_that_somebody_ran_by_hand_belongs_to_its_schedule_and_a_change_is_shown() {
    in_namespace(|scope| async move {
        create(&scope, "Schedule", "nightly", json!({ "templateRef": { "name": "report" }, "cron": "0 0 * * *" }));
        let by_hand = json!({ "templateRef": { "name": "report" }, "scheduleRef": { "name": "nightly" } });
        create(&scope, "Job", "by-hand", by_hand);
        create(&scope, "Job", "other", json!({ "templateRef": { "name": "report" } }));
        let uid = get(&scope, "rjob", "by-hand")["metadata"]["uid"].clone();
        let status = json!({ "phase": "Enabled", "activeJobs": [{ "name": "by-hand", "uid": uid }] });
        scope.set_status("Schedule", "nightly", &status).await;
        let arguments = ["--namespace", scope.namespace.as_str(), "nightly", "-w", "-o", "json"];
        let mut child = plugin_command(&kubeconfig(), "tree", &arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
        let first = next();
        assert_eq!(
            (&first["children"][0]["name"], first["children"].as_array().unwrap().len()),
            (&json!("by-hand"), 1)
        );
        scope.set_status("Job", "by-hand", &json!({ "phase": "Running" })).await;
        assert_eq!(next()["children"][0]["phase"], "Running");
        child.kill().unwrap();
        child.wait().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_schedule_shows_the_jobs_that_are_kept() {
    in_namespace(|scope| async move {
        create(&scope, "Schedule", "nightly", json!({ "templateRef": { "name": "report" }, "cron": "0 0 * * *" }));
        let whole = json!({
            "apiVersion": rota::api::API_VERSION, "kind": "Job",
            "metadata": { "name": "nightly-1", "labels": { "rota.dev/schedule": "nightly" } },
            "spec": { "templateRef": { "name": "report" }, "scheduleRef": { "name": "nightly" } },
        });
        scope.kubectl_with(&["create", "-f", "-"], &whole.to_string()).expect_success();
        scope.set_status("Job", "nightly-1", &json!({ "phase": "Queued", "waitingFor": "QueueLimit" })).await;
        scope.set_status("Schedule", "nightly", &json!({ "phase": "Enabled", "when": "0 0 * * * UTC" })).await;
        let text = rota(&scope, "tree", &["nightly"]).expect_success();
        assert_eq!(text, "schedule/nightly Enabled (0 0 * * * UTC)\n└─ job/nightly-1 Queued QueueLimit\n");
    })
    .await;
}
