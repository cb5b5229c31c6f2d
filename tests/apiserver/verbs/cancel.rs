//! `kubectl rota cancel`.

use std::process::Stdio;

use serde_json::json;

use super::{create, document, get, rota, running, template};
use crate::cluster::{in_namespace, kubeconfig, plugin_command};

#[tokio::test]
async fn a_cancel_says_who_and_why_and_is_written_once() {
    in_namespace(|scope| async move {
        template(&scope);
        running(&scope, "busy").await;
        let printed = rota(&scope, "cancel", &["busy", "--reason", "wrong month", "--dry-run=server"]).expect_success();
        assert_eq!(printed, "job/busy is cancelled (server dry run)\n");
        assert!(get(&scope, "rjob", "busy")["spec"].get("cancel").is_none());
        let printed = rota(&scope, "cancel", &["busy", "--reason", "wrong month"]).expect_success();
        assert_eq!(printed, "job/busy is cancelled\n");
        let who = scope.kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]).expect_success();
        let expected = json!({ "reason": "wrong month", "requestedBy": who });
        assert_eq!(get(&scope, "rjob", "busy")["spec"]["cancel"], expected);
        let printed = rota(&scope, "cancel", &["busy", "--reason", "another"]).expect_success();
        assert!(printed.contains("was cancelled already") && printed.contains("wrong month"), "{printed}");
        let printed = rota(&scope, "cancel", &["busy", "--force"]).expect_success();
        assert!(printed.contains("by force"), "{printed}");
        let why = rota(&scope, "why", &["busy"]).expect_success();
        assert!(why.contains(&format!("It was cancelled by {who}: wrong month.")), "{why}");
        let expected = json!({ "reason": "wrong month", "requestedBy": who, "force": true });
        assert_eq!(get(&scope, "rjob", "busy")["spec"]["cancel"], expected);
    })
    .await;
}

#[tokio::test]
async fn of_what_has_ended_nothing_is_left_to_cancel() {
    in_namespace(|scope| async move {
        template(&scope);
        running(&scope, "done").await;
        scope
            .set_status("Job", "done", &json!({ "phase": "Finished", "outcome": "Completed", "reason": "Succeeded" }))
            .await;
        let printed = rota(&scope, "cancel", &["done"]);
        assert_eq!(printed.code, Some(3));
        assert!(printed.errors.contains("job/done has ended already: Completed, Succeeded"), "{}", printed.errors);
    })
    .await;
}

#[tokio::test]
async fn a_group_is_cancelled_as_a_whole_and_waited_for() {
    in_namespace(|scope| async move {
        create(&scope, "JobGroup", "batch", json!({ "mode": "Parallel", "started": false }));
        let arguments = ["--namespace", scope.namespace.as_str(), "group/batch", "--wait"];
        let child = plugin_command(&kubeconfig(), "cancel", &arguments).stdout(Stdio::piped()).spawn().unwrap();
        scope
            .kubectl(&["wait", "rgroup/batch", "--for=jsonpath={.spec.cancel.requestedBy}", "--timeout=30s"])
            .expect_success();
        scope.set_status("JobGroup", "batch", &json!({ "phase": "Cancelled" })).await;
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            (text.as_str(), output.status.code()),
            ("group/batch is cancelled and has ended: Cancelled\n", Some(0))
        );
        let printed = rota(&scope, "cancel", &["batch"]);
        assert_eq!(printed.code, Some(3), "{}", printed.errors);
    })
    .await;
}

#[tokio::test]
async fn as_json_it_answers_with_the_object() {
    in_namespace(|scope| async move {
        template(&scope);
        running(&scope, "busy").await;
        let found = document(&scope, "cancel", &["busy", "--force"]);
        assert_eq!((&found["kind"], &found["spec"]["cancel"]["force"]), (&json!("Job"), &json!(true)));
    })
    .await;
}
