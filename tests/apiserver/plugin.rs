//! `kubectl rota` against a real API server.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cluster::{Scope, in_namespace, plugin};
use crate::examples;

fn rota(scope: &Scope, verb: &str, arguments: &[&str], input: &str) -> crate::cluster::Printed {
    plugin(verb, &[&["--namespace", scope.namespace.as_str()], arguments].concat(), input)
}

/// The object as `kubectl apply` would be given it.
fn manifest(kind: &str, name: &str, content: &Value) -> String {
    let mut whole = json!({ "apiVersion": rota::api::API_VERSION, "kind": kind, "metadata": { "name": name } });
    whole["spec"] = content["spec"].clone();
    whole.to_string()
}

fn schedule(more: Value) -> Value {
    let mut spec = json!({ "templateRef": { "name": "report" }, "params": { "region": "eu-1" } });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({ "spec": spec })
}

#[tokio::test]
async fn next_counts_an_interval_from_the_creation_and_says_what_keeps_it_from_running() {
    in_namespace(|scope| async move {
        let made = scope.create("Schedule", &schedule(json!({ "interval": "1h", "enabled": false }))).await.unwrap();
        let name = made.metadata.name.clone().unwrap();
        let printed = rota(&scope, "next", &[&name, "--count", "2", "-o", "json"], "");
        assert!(
            printed.errors.contains("disabled") && printed.errors.contains("no JobTemplate \"report\""),
            "{}",
            printed.errors
        );
        let times: Vec<Timestamp> = serde_json::from_str(&printed.expect_success()).unwrap();
        let created = made.metadata.creation_timestamp.unwrap().0;
        let seconds: Vec<i64> = times.iter().map(|time| time.duration_since(created).as_secs()).collect();
        assert_eq!(seconds, [3_600, 7_200]);
    })
    .await;
}

#[tokio::test]
async fn next_of_a_schedule_that_is_not_there_fails_with_its_name() {
    in_namespace(|scope| async move {
        let errors = rota(&scope, "next", &["nowhere"], "").expect_failure();
        assert!(errors.contains("\"nowhere\"") && errors.contains(&scope.namespace), "{errors}");
    })
    .await;
}

#[tokio::test]
async fn lint_says_what_an_edit_of_a_schedule_changes_and_changes_nothing() {
    in_namespace(|scope| async move {
        let template = manifest("JobTemplate", "report", &examples::job_template());
        let before = manifest("Schedule", "nightly", &schedule(json!({ "cron": "30 2 * * *", "priority": 3 })));
        scope.kubectl_with(&["apply", "-f", "-"], &format!("{template}\n---\n{before}")).expect_success();
        let version = || {
            scope.kubectl(&["get", "rsched", "nightly", "-o", "jsonpath={.metadata.resourceVersion}"]).expect_success()
        };
        let first = version();
        let after = manifest("Schedule", "nightly", &schedule(json!({ "cron": "30 3 * * *" })));
        let output = rota(&scope, "lint", &["-f", "-", "--diff"], &after).expect_success();
        for part in [
            "-: Schedule/nightly: would be changed\n",
            "  spec.cron: \"30 2 * * *\" -> \"30 3 * * *\"\n",
            "  spec.priority: 3 -> nothing\n",
            "  timing: 30 2 * * * UTC -> 30 3 * * * UTC\n",
            "  next times after:  ",
            "fires nothing of the past",
        ] {
            assert!(output.contains(part), "no {part:?} in:\n{output}");
        }
        assert_eq!(version(), first, "it changes nothing");
        let same = rota(&scope, "lint", &["-f", "-", "--diff"], &before).expect_success();
        assert!(same.contains("Schedule/nightly: would not change"), "{same}");
    })
    .await;
}

#[tokio::test]
async fn lint_finds_what_the_api_server_would_refuse_of_an_edit_and_params_that_do_not_fit_the_cluster() {
    in_namespace(|scope| async move {
        scope
            .kubectl_with(&["apply", "-f", "-"], &manifest("JobTemplate", "report", &examples::job_template()))
            .expect_success();
        scope.kubectl_with(&["apply", "-f", "-"], &manifest("Job", "one", &examples::job())).expect_success();
        scope.set_status("Job", "one", &json!({ "phase": "Queued" })).await;
        let mut other = examples::job();
        other["spec"]["queue"] = json!("another");
        let edit = manifest("Job", "one", &other);
        let printed = rota(&scope, "lint", &["-f", "-", "--diff"], &edit);
        assert!(
            !printed.succeeded && printed.output.contains("a queued Job is immutable"),
            "{}{}",
            printed.output,
            printed.errors
        );
        let refused = scope.kubectl_with(&["apply", "-f", "-"], &edit).expect_failure();
        assert!(refused.contains("a queued Job is immutable"), "{refused}");

        let mut unfit = schedule(json!({ "cron": "0 0 * * *" }));
        unfit["spec"]["params"] = json!({ "regoin": "eu-1" });
        unfit["spec"]["queue"] = json!("nowhere");
        let printed = rota(&scope, "lint", &["-f", "-", "--diff"], &manifest("Schedule", "unfit", &unfit));
        assert!(
            !printed.succeeded
                && printed.output.contains("did you mean region?")
                && printed.output.contains("spec.queue: there is no Queue \"nowhere\""),
            "{}{}",
            printed.output,
            printed.errors
        );
    })
    .await;
}

#[tokio::test]
async fn of_the_examples_lint_says_what_applying_them_would_do() {
    in_namespace(|scope| async move {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
        let output = rota(&scope, "lint", &["-f", directory, "--diff"], "").expect_success();
        assert!(output.contains("Schedule/nightly-report: would be created\n  first time: "), "{output}");
        scope.kubectl(&["apply", "-f", directory, "--dry-run=server"]).expect_success();
    })
    .await;
}

#[tokio::test]
async fn what_kubectl_refuses_as_unknown_lint_finds() {
    in_namespace(|scope| async move {
        let manifest = manifest("Schedule", "nightly", &schedule(json!({ "cron": "0 0 * * *", "timezone": "UTC" })));
        let refused = scope.kubectl_with(&["apply", "-f", "-", "--dry-run=server"], &manifest).expect_failure();
        assert!(refused.contains("spec.timezone"), "{refused}");
        let printed = rota(&scope, "lint", &["-f", "-"], &manifest);
        assert!(printed.output.contains("spec.timezone: unknown field; did you mean timeZone?"), "{}", printed.output);
    })
    .await;
}
