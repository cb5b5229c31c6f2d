//! `kubectl rota run`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{document, get, rota, template};
use crate::cluster::{Scope, in_namespace, kubeconfig, plugin_command};

#[tokio::test]
async fn a_job_of_the_template_is_made_with_what_was_said() {
    in_namespace(|scope| async move {
        template(&scope);
        let made = document(&scope, "run", &["report", "-p", "region=eu-1", "-p", "depth=4", "--queue", "nightly", "--priority", "-3", "--dedup-key", "k", "--at", "2099-01-01T01:00:00+01:00"]);
        let name = made["metadata"]["name"].as_str().unwrap();
        assert!(name.starts_with("report-"), "{name}");
        let expected = json!({
            "templateRef": { "name": "report" }, "params": { "region": "eu-1", "depth": "4" }, "queue": "nightly", "priority": -3,
            "dedupKey": "k", "notBefore": "2099-01-01T00:00:00.000000Z",
        });
        assert_eq!(get(&scope, "rjob", name)["spec"], expected);
        let printed = rota(&scope, "run", &["report", "-p", "region=eu-1", "--name", "mine"]).expect_success();
        assert_eq!(printed, "job mine created\n");
    })
    .await;
}

#[tokio::test]
async fn parameters_are_checked_before_anything_is_sent() {
    in_namespace(|scope| async move {
        template(&scope);
        for (arguments, code, message) in [
            (&["report"][..], 2, "params.region: is required"),
            (&["report", "-p", "region=EU"], 2, "must match the pattern"),
            (&["report", "-p", "region=eu-1", "-p", "dept=4"], 2, "did you mean depth?"),
            (&["report", "-p", "region=eu-1", "-p", "region=eu-2"], 2, "given twice"),
            (&["report", "-p", "region"], 2, "NAME=VALUE"),
            (&["report", "-p", "region=eu-1", "--at", "soon"], 2, "--at"),
            (&["nowhere"], 1, "there is no JobTemplate \"nowhere\""),
        ] {
            let printed = rota(&scope, "run", arguments);
            assert_eq!(printed.code, Some(code), "{arguments:?}: {}", printed.errors);
            assert!(printed.errors.contains(message), "{arguments:?}: {}", printed.errors);
        }
        rota(&scope, "run", &["report", "-p", "region=eu-1", "--dry-run=server"]).expect_success();
        scope
            .kubectl(&["patch", "rtmpl", "report", "--type=merge", "-p", r#"{"spec":{"archived":true}}"#])
            .expect_success();
        assert_eq!(rota(&scope, "run", &["report", "-p", "region=eu-1"]).code, Some(1));
        assert_eq!(scope.kubectl(&["get", "rjob", "-o", "name"]).expect_success(), "", "nothing was made");
    })
    .await;
}

/// Runs `report` with --wait, ends its Job with that status, and returns the exit code and what was said.
async fn ended(scope: &Scope, name: &str, status: Value) -> (Option<i32>, String) {
    let arguments = ["--namespace", scope.namespace.as_str(), "report", "-p", "region=eu-1", "--name", name, "--wait"];
    let mut command: Command = plugin_command(&kubeconfig(), "run", &arguments);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(errors.next().unwrap().unwrap(), format!("job {name} created"));
    scope.set_status("Job", name, &status).await;
    let rest: Vec<String> = errors.map(Result::unwrap).collect();
    (child.wait().unwrap().code(), rest.join("\n"))
}

#[tokio::test]
async fn waited_for_the_exit_code_tells_how_it_ended() {
    in_namespace(|scope| async move {
        template(&scope);
        let failed = json!({ "phase": "Finished", "outcome": "Failed", "reason": "ExitCode", "conditions": [
            super::condition("Failed", "True", "ExitCode", "container main exited with code 3"),
        ] });
        for (name, status, code, said) in [
            (
                "good",
                json!({ "phase": "Finished", "outcome": "Completed", "reason": "Succeeded" }),
                0,
                "job good Completed (Succeeded)",
            ),
            ("bad", failed, 1, "job bad Failed (ExitCode): container main exited with code 3"),
            (
                "skipped",
                json!({ "phase": "Finished", "outcome": "Skipped", "reason": "DuplicateKey" }),
                3,
                "job skipped Skipped (DuplicateKey)",
            ),
            (
                "cancelled",
                json!({ "phase": "Cancelled", "outcome": "Skipped", "reason": "Cancelled" }),
                4,
                "job cancelled cancelled, Skipped (Cancelled)",
            ),
        ] {
            assert_eq!(ended(&scope, name, status).await, (Some(code), said.to_owned()));
        }
    })
    .await;
}
