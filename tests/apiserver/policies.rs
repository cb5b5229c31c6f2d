//! The admission policies of the chart on the API server, confined to the namespace of the test.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{Printed, Scope, in_namespace};
use crate::examples::{ad_hoc_job, pod_template};

/// How long the API server may take to enforce a policy that it has stored.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// The policies as the chart renders them for one namespace.
fn rendered(namespace: &str) -> String {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/rota");
    let only = format!("watchNamespace={namespace}");
    let arguments = ["template", "rota", chart, "--show-only", "templates/policies.yaml", "--set", &only];
    let output = Command::new("helm").args(arguments).output().expect("helm is in the PATH that rota-cluster gives");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn manifest(kind: &str, name: &str, spec: &Value) -> String {
    json!({ "apiVersion": rota::api::API_VERSION, "kind": kind, "metadata": { "name": name }, "spec": spec })
        .to_string()
}

/// What somebody with all rights does to an object.
fn as_user(scope: &Scope, who: &str, arguments: &[&str], manifest: &str) -> Printed {
    let who = ["--as", who, "--as-group", "system:masters"];
    scope.kubectl_with(&[&who[..], arguments].concat(), manifest)
}

/// Waits until something is refused for that reason.
async fn in_force(refused: impl Fn() -> Printed, reason: &str) {
    let deadline = Instant::now() + IN_FORCE_WITHIN;
    loop {
        let printed = refused();
        if !printed.succeeded {
            assert!(printed.errors.contains(reason), "{}", printed.errors);
            return;
        }
        assert!(Instant::now() < deadline, "not in force: {reason}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[tokio::test]
async fn a_cancel_names_nobody_but_who_asks_for_it() {
    in_namespace(|scope| async move {
        let policies = rendered(&scope.namespace);
        scope.kubectl_with(&["apply", "-f", "-"], &policies).expect_success();
        let by = |who: Option<&str>| match who {
            Some(who) => json!({ "spec": { "cancel": { "reason": "x", "requestedBy": who } } }).to_string(),
            None => json!({ "spec": { "cancel": { "reason": "y" } } }).to_string(),
        };
        let reason = "spec.cancel.requestedBy: must be the name of who asks, alice, or be left out";
        let mut forged = ad_hoc_job()["spec"].clone();
        forged["cancel"] = json!({ "requestedBy": "bob" });
        let forged = manifest("Job", "forged", &forged);
        in_force(|| as_user(&scope, "alice", &["create", "--dry-run=server", "-f", "-"], &forged), reason).await;
        as_user(&scope, "bob", &["create", "-f", "-"], &forged).expect_success();

        let job = json!({ "jobType": "x", "jobTemplate": pod_template() });
        let member = json!({ "name": "a", "templateRef": { "name": "x" } });
        let group = json!({ "mode": "Parallel", "jobs": [member] });
        for (kind, name, spec) in
            [("jobs.rota.dev", "one", ("Job", job)), ("jobgroups.rota.dev", "two", ("JobGroup", group))]
        {
            scope.kubectl_with(&["create", "-f", "-"], &manifest(spec.0, name, &spec.1)).expect_success();
            let patch = |who: &str, patch: &str| {
                as_user(&scope, who, &["patch", kind, name, "--type", "merge", "-p", patch], "")
            };
            let refused = patch("alice", &by(Some("bob"))).expect_failure();
            assert!(refused.contains(reason), "{refused}");
            patch("alice", &by(Some("alice"))).expect_success();
            // What is there stays there, whoever edits something else, and is not given to somebody else.
            patch("bob", &by(None)).expect_success();
            patch("bob", r#"{"metadata": {"labels": {"a": "b"}}}"#).expect_success();
            patch("bob", &by(Some("carol"))).expect_failure();
        }
        let nameless = json!({ "jobType": "x", "jobTemplate": pod_template(), "cancel": { "reason": "x" } });
        as_user(&scope, "alice", &["create", "-f", "-"], &manifest("Job", "nameless", &nameless)).expect_success();
        scope.kubectl_with(&["delete", "-f", "-"], &policies).expect_success();
    })
    .await;
}
