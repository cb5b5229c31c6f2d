//! `kubectl rota pause` and `resume`.

use serde_json::json;

use super::{create, document, get, rota};
use crate::cluster::{Scope, in_namespace};

#[tokio::test]
async fn a_queue_is_paused_with_a_reason_and_an_end_and_goes_on() {
    in_namespace(|scope| async move {
        create(&scope, "Queue", "reports", json!({ "maxRunning": 1 }));
        let until = "2099-01-01T00:00:00Z";
        let printed = rota(&scope, "pause", &["reports", "--reason", "upgrade", "--until", until]).expect_success();
        assert_eq!(printed, format!("queue reports is paused until {until}: upgrade\n"));
        let paused = || get(&scope, "rq", "reports")["spec"]["paused"].clone();
        assert_eq!(paused(), json!({ "reason": "upgrade", "until": "2099-01-01T00:00:00.000000Z" }));
        rota(&scope, "pause", &["queue/reports", "--reason", "longer"]).expect_success();
        assert_eq!(paused(), json!({ "reason": "longer" }), "nothing of the earlier one is left");
        let printed = rota(&scope, "resume", &["reports"]).expect_success();
        assert_eq!(printed, "queue reports goes on; it was paused: longer\n");
        let printed = rota(&scope, "resume", &["reports"]).expect_success();
        assert_eq!(printed, "queue reports is not paused\n");
    })
    .await;
}

#[tokio::test]
async fn a_whole_namespace_is_paused_by_its_default_queue_which_is_made() {
    in_namespace(|scope| async move {
        rota(&scope, "pause", &["--whole-namespace", "--reason", "incident", "--dry-run=server"]).expect_success();
        assert!(!scope.kubectl(&["get", "rq", "default"]).succeeded, "a dry run makes nothing");
        rota(&scope, "pause", &["--whole-namespace", "--reason", "incident"]).expect_success();
        assert_eq!(
            get(&scope, "rq", "default")["spec"]["paused"],
            json!({ "reason": "incident", "scope": "Namespace" })
        );
        let resumed = document(&scope, "resume", &["--whole-namespace"]);
        assert_eq!(resumed[0]["metadata"]["name"], "default");
        assert!(get(&scope, "rq", "default")["spec"].get("paused").is_none());
    })
    .await;
}

/// A Job of the schedule `often` for that second, which waits in the queue `reports`.
async fn of_schedule(scope: &Scope, uid: &str, second: i64) -> String {
    let time = jiff::Timestamp::from_second(1_772_366_400 + second).unwrap();
    let name = rota::domain::names::occurrence_job("often", uid, time);
    let job = json!({
        "apiVersion": rota::api::API_VERSION, "kind": "Job",
        "metadata": { "name": name, "ownerReferences": [
            { "apiVersion": rota::api::API_VERSION, "kind": "Schedule", "name": "often", "uid": uid },
        ]},
        "spec": {
            "templateRef": { "name": "report" }, "scheduleRef": { "name": "often", "uid": uid },
            "scheduledTime": time.to_string(), "queue": "reports",
        },
    });
    scope.kubectl_with(&["create", "-f", "-"], &job.to_string()).expect_success();
    scope.set_status("Job", &name, &json!({ "phase": "Queued", "queue": "reports" })).await;
    name
}

/// What gathered during a pause does not all run, if that is asked for.
#[tokio::test]
async fn resume_can_keep_only_the_latest_job_of_each_schedule() {
    in_namespace(|scope| async move {
        create(&scope, "Queue", "reports", json!({ "paused": { "reason": "upgrade" } }));
        create(&scope, "Schedule", "often", json!({ "templateRef": { "name": "report" }, "interval": "1m" }));
        let uid = get(&scope, "rsched", "often")["metadata"]["uid"].as_str().unwrap().to_owned();
        let mut jobs = Vec::new();
        for second in [60, 0, 120] {
            jobs.push(of_schedule(&scope, &uid, second).await);
        }
        super::waiting(&scope, "by-hand", json!({}), 1).await;
        let errors = rota(&scope, "resume", &["schedule/often", "--latest-only"]).expect_failure();
        assert!(errors.contains("--latest-only is about the Jobs of queues"), "{errors}");
        let cancelled = |name: &str| get(&scope, "rjob", name)["spec"]["cancel"].clone();
        let dry = rota(&scope, "resume", &["reports", "--latest-only", "--dry-run=server"]).expect_success();
        assert!(dry.contains("2 Jobs for earlier times of their schedules are cancelled"), "{dry}");
        assert!(jobs.iter().all(|name| cancelled(name).is_null()), "a dry run changes nothing");
        let printed = rota(&scope, "resume", &["reports", "--latest-only"]).expect_success();
        assert!(printed.contains("2 Jobs for earlier times of their schedules are cancelled"), "{printed}");
        for earlier in &jobs[..2] {
            let cancel = cancelled(earlier);
            let reason = cancel["reason"].as_str().unwrap();
            assert!(reason.contains("--latest-only") && cancel["requestedBy"].is_string(), "{cancel}");
        }
        assert!(cancelled(&jobs[2]).is_null() && cancelled("by-hand").is_null());
        assert!(get(&scope, "rq", "reports")["spec"].get("paused").is_none());
    })
    .await;
}

#[tokio::test]
async fn everything_is_paused_in_the_namespace_of_the_operator() {
    in_namespace(|scope| async move {
        let there = ["--everything", "--operator-namespace", scope.namespace.as_str()];
        rota(&scope, "pause", &[&there[..], &["--reason", "move", "--for", "2h"]].concat()).expect_success();
        let paused = get(&scope, "rq", "default")["spec"]["paused"].clone();
        assert_eq!((&paused["scope"], paused["until"].is_string()), (&json!("Cluster"), true), "{paused}");
        // A pause of another scope is not taken off with it.
        rota(&scope, "resume", &["--whole-namespace"]).expect_success();
        assert!(get(&scope, "rq", "default")["spec"]["paused"].is_object());
        rota(&scope, "resume", &there).expect_success();
        assert!(get(&scope, "rq", "default")["spec"].get("paused").is_none());
    })
    .await;
}

#[tokio::test]
async fn wrong_arguments_are_told_before_anything_is_written() {
    in_namespace(|scope| async move {
        for arguments in [
            &["reports"][..],
            &["reports", "--reason", ""],
            &["reports", "--reason", "x", "--until", "tomorrow"],
            &["reports", "--reason", "x", "--for", "2h", "--until", "2099-01-01T00:00:00Z"],
            &["reports", "--whole-namespace", "--reason", "x"],
            &["schedule/nightly", "--reason", "x"],
        ] {
            assert_eq!(rota(&scope, "pause", arguments).code, Some(2), "{arguments:?}");
        }
        let printed = rota(&scope, "pause", &["reports", "--reason", "x"]);
        assert_eq!(
            (printed.code, printed.errors.contains("no queue \"reports\"")),
            (Some(1), true),
            "{}",
            printed.errors
        );
    })
    .await;
}

#[tokio::test]
async fn a_group_is_resumed_by_another_one_when_it_has_ended() {
    in_namespace(|scope| async move {
        let member = json!({ "name": "a", "templateRef": { "name": "report" } });
        create(
            &scope,
            "JobGroup",
            "month-end",
            json!({ "mode": "Sequential", "jobs": [member], "cancel": { "reason": "stop" } }),
        );
        let printed = rota(&scope, "resume", &["group/month-end"]);
        assert_eq!(printed.code, Some(3), "{}", printed.errors);
        scope.set_status("JobGroup", "month-end", &json!({ "phase": "Cancelled" })).await;
        let made = document(&scope, "resume", &["group/month-end"])[0].clone();
        let name = made["metadata"]["name"].as_str().unwrap();
        assert!(name.starts_with("month-end-resumed-"), "{name}");
        let uid = get(&scope, "rgroup", "month-end")["metadata"]["uid"].clone();
        let spec = get(&scope, "rgroup", name)["spec"].clone();
        assert_eq!(spec["resumeOf"], json!({ "name": "month-end", "uid": uid }));
        assert_eq!((&spec["mode"], &spec["jobs"][0]["name"]), (&json!("Sequential"), &json!("a")));
        assert!(spec.get("cancel").is_none(), "{spec}");
    })
    .await;
}

#[tokio::test]
async fn a_held_schedule_goes_on_by_its_annotation() {
    in_namespace(|scope| async move {
        create(&scope, "Schedule", "nightly", json!({ "templateRef": { "name": "report" }, "cron": "0 0 * * *" }));
        let printed = rota(&scope, "resume", &["schedule/nightly"]).expect_success();
        assert_eq!(printed, "schedule nightly is not held\n");
        let held = json!({ "paused": { "since": "2026-03-01T12:00:00.000000Z", "failures": 3 } });
        scope.set_status("Schedule", "nightly", &held).await;
        let printed = rota(&scope, "resume", &["rsched/nightly"]).expect_success();
        assert_eq!(printed, "schedule nightly goes on; it was held after 3 failures\n");
        assert!(get(&scope, "rsched", "nightly")["metadata"]["annotations"]["rota.dev/resume"].is_string());
    })
    .await;
}
