//! `kubectl rota queue` and `why`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use super::{condition, create, document, order, rota, running, template, waiting};
use crate::cluster::{Scope, in_namespace, kubeconfig, plugin_command};

/// A queue of one place, with one that runs and four that wait.
async fn line(scope: &Scope) {
    template(scope);
    create(scope, "Queue", "reports", json!({ "maxRunning": 1 }));
    running(scope, "busy").await;
    waiting(scope, "second", json!({}), 2).await;
    waiting(scope, "first", json!({}), 1).await;
    waiting(scope, "urgent", json!({ "priority": 5 }), 9).await;
    waiting(scope, "held", json!({ "hold": true, "priority": 9 }), 3).await;
}

/// The record of a run of `report` that took so many seconds.
async fn past_run(scope: &Scope, name: &str, seconds: u32) {
    let record = json!({
        "apiVersion": rota::api::API_VERSION, "kind": "JobRun",
        "metadata": { "name": name, "labels": { "rota.dev/template": "report", "rota.dev/outcome": "Completed", "rota.dev/job": "old" } },
        "spec": {
            "attempt": 1, "jobType": "report", "queue": "reports", "jobRef": { "name": "old", "uid": "old" },
            "templateRef": { "name": "report", "uid": "u", "revision": "r", "digest": "d" },
        },
        "status": { "phase": "Completed", "reason": "Succeeded", "durationMs": seconds * 1000, "exitCode": 0 },
    });
    scope.kubectl_with(&["create", "-f", "-"], &record.to_string()).expect_success();
}

#[tokio::test]
async fn queue_shows_the_line_in_order_and_why_there_is_no_estimate() {
    in_namespace(|scope| async move {
        line(&scope).await;
        let found = document(&scope, "queue", &["reports"]);
        let places: Vec<(Option<u64>, &str)> = found["waitingJobs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (it["place"].as_u64(), it["name"].as_str().unwrap()))
            .collect();
        assert_eq!(places, [(Some(1), "urgent"), (Some(2), "first"), (Some(3), "second"), (None, "held")]);
        assert_eq!((&found["maxRunning"], &found["runningJobs"][0]["name"]), (&json!(1), &json!("busy")));
        assert_eq!(
            found["waitingJobs"][0]["start"]["unknown"],
            "no past run of template report tells how long it takes"
        );
        assert_eq!(found["waitingJobs"][3]["start"]["unknown"], "it is held");
        let text = rota(&scope, "queue", &["reports"]).expect_success();
        assert!(text.starts_with("queue reports: 1 of 1 running, 4 waiting\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "no colours where nobody sees them");
    })
    .await;
}

#[tokio::test]
async fn with_past_runs_queue_says_when_each_will_start() {
    in_namespace(|scope| async move {
        line(&scope).await;
        past_run(&scope, "short", 60).await;
        past_run(&scope, "long", 600).await;
        let found = document(&scope, "queue", &["reports"]);
        let start = |index: usize, end: &str| -> jiff::Timestamp {
            serde_json::from_value(found["waitingJobs"][index]["start"][end].clone())
                .unwrap_or_else(|_| panic!("{found:#}"))
        };
        // What runs does so for longer than any did before: its place is about to be free.
        let gap = |end: &str| start(1, end).duration_since(start(0, end)).as_secs();
        assert_eq!((gap("earliest"), gap("latest")), (60, 600));
        let overview = document(&scope, "queue", &[]);
        assert_eq!((&overview[0]["queue"], &overview[0]["waiting"]), (&json!("reports"), &json!(4)));
        assert!(overview[0]["nextStart"]["latest"].is_string(), "{overview:#}");
    })
    .await;
}

#[tokio::test]
async fn aging_lifts_those_that_have_waited_long() {
    in_namespace(|scope| async move {
        template(&scope);
        let aging = json!({ "intervalSeconds": 60, "maximumIncrease": 3 });
        create(&scope, "Queue", "reports", json!({ "maxRunning": 0, "aging": aging }));
        waiting(&scope, "old", json!({}), 1).await;
        waiting(&scope, "new", json!({ "priority": 2 }), 1).await;
        let status = json!({ "queuedAt": jiff_now() });
        scope.set_status("Job", "new", &status).await;
        assert_eq!(order(&scope), ["old", "new"]);
        let found = document(&scope, "queue", &["reports"]);
        assert_eq!(
            (&found["waitingJobs"][0]["priority"], &found["waitingJobs"][0]["increase"]),
            (&json!(3), &json!(3))
        );
    })
    .await;
}

fn jiff_now() -> String {
    rota::runtime::clock::now().strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string()
}

#[tokio::test]
async fn a_pause_of_the_namespace_stops_every_queue_and_is_told() {
    in_namespace(|scope| async move {
        line(&scope).await;
        create(&scope, "Queue", "default", json!({ "paused": { "reason": "incident", "scope": "Namespace" } }));
        let found = document(&scope, "queue", &["reports"]);
        assert_eq!(found["paused"]["message"], "the namespace is paused (queue default): incident");
        assert_eq!(found["waitingJobs"][0]["start"]["unknown"], "the queue is paused");
        let why = rota(&scope, "why", &["first"]).expect_success();
        assert!(why.contains("The namespace is paused (queue default): incident."), "{why}");
    })
    .await;
}

#[tokio::test]
async fn queue_watched_starts_from_the_list_and_tells_what_changed() {
    in_namespace(|scope| async move {
        line(&scope).await;
        let arguments = ["--namespace", scope.namespace.as_str(), "reports", "-w", "-o", "json"];
        let mut child = plugin_command(&kubeconfig(), "queue", &arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
        assert_eq!(next()["waiting"], 4);
        scope.kubectl(&["patch", "rjob", "first", "--type=merge", "-p", r#"{"spec":{"priority":7}}"#]).expect_success();
        assert_eq!(next()["waitingJobs"][0]["name"], "first");
        scope.kubectl(&["delete", "rjob", "second", "--wait=false"]).expect_success();
        assert_eq!(next()["waiting"], 3);
        child.kill().unwrap();
        child.wait().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_queue_that_is_not_there_fails_with_its_name() {
    in_namespace(|scope| async move {
        let printed = rota(&scope, "queue", &["nowhere"]);
        assert_eq!(printed.code, Some(1));
        assert!(printed.errors.contains("there is no queue \"nowhere\""), "{}", printed.errors);
        assert_eq!(rota(&scope, "queue", &["job/nowhere"]).code, Some(2));
    })
    .await;
}

#[tokio::test]
async fn why_tells_place_blocker_and_estimate_of_one_that_waits() {
    in_namespace(|scope| async move {
        line(&scope).await;
        past_run(&scope, "past", 60).await;
        let text = rota(&scope, "why", &["second"]).expect_success();
        for part in [
            "Job second is third of 3 in queue reports.",
            "1 of 1 running: busy.",
            "Before it: urgent, first.",
            "It will probably start in 2m",
        ] {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
        let text = rota(&scope, "why", &["held"]).expect_success();
        assert!(text.contains("not in line") && text.contains("spec.hold is true"), "{text}");
        let found = document(&scope, "why", &["job/second"]);
        assert_eq!((&found["place"], &found["waitingFor"]), (&json!(3), &json!("QueueLimit")));
    })
    .await;
}

#[tokio::test]
async fn why_tells_what_keeps_one_from_the_queue() {
    in_namespace(|scope| async move {
        create(&scope, "Job", "stray", json!({ "templateRef": { "name": "nowhere" } }));
        let text = rota(&scope, "why", &["stray"]).expect_success();
        assert!(text.contains("Job stray is new."), "{text}");
        let message = "spec.templateRef.name: there is no JobTemplate \"nowhere\" in this namespace";
        let waits = [condition("Dispatched", "False", "Template", message)];
        scope
            .set_status("Job", "stray", &json!({ "phase": "Pending", "waitingFor": "Template", "conditions": waits }))
            .await;
        let text = rota(&scope, "why", &["stray"]).expect_success();
        assert!(text.contains("waits for its template") && text.contains(message), "{text}");
    })
    .await;
}

#[tokio::test]
async fn why_tells_the_end_from_the_record_also_when_the_job_is_gone() {
    in_namespace(|scope| async move {
        past_run(&scope, "old-1", 61).await;
        let text = rota(&scope, "why", &["old"]).expect_success();
        assert!(
            text.contains("Job old Completed: Succeeded, exit code 0.") && text.contains("The Job is gone"),
            "{text}"
        );
        let printed = rota(&scope, "why", &["never"]);
        assert_eq!(printed.code, Some(1));
        assert!(
            printed.errors.contains("no job \"never\"") && printed.errors.contains("no record"),
            "{}",
            printed.errors
        );
    })
    .await;
}
