//! The verbs of `kubectl rota` that look at and change Jobs, against a real API server. No operator runs: the statuses are
//! what one would have written.

use serde_json::{Value, json};

use crate::cluster::{Printed, Scope, plugin};
use crate::examples;

mod cancel;
mod leader;
mod lines;
mod many;
mod moves;
mod pause;
mod proxy;
mod rights;
mod runs;
mod trees;
mod version;

/// Runs a verb in the namespace.
fn rota(scope: &Scope, verb: &str, arguments: &[&str]) -> Printed {
    plugin(verb, &[&["--namespace", scope.namespace.as_str()], arguments].concat(), "")
}

/// What a verb answers as JSON.
fn document(scope: &Scope, verb: &str, arguments: &[&str]) -> Value {
    let output = rota(scope, verb, &[arguments, &["-o", "json"]].concat()).expect_success();
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// Creates an object of that name, by kubectl as a user would.
fn create(scope: &Scope, kind: &str, name: &str, spec: Value) {
    let whole =
        json!({ "apiVersion": rota::api::API_VERSION, "kind": kind, "metadata": { "name": name }, "spec": spec });
    scope.kubectl_with(&["create", "-f", "-"], &whole.to_string()).expect_success();
}

/// An object as it is now.
fn get(scope: &Scope, resource: &str, name: &str) -> Value {
    serde_json::from_str(&scope.kubectl(&["get", resource, name, "-o", "json"]).expect_success()).unwrap()
}

/// Creates the template `report`.
fn template(scope: &Scope) {
    create(scope, "JobTemplate", "report", examples::job_template()["spec"].clone());
}

/// Creates a Job that waits in the queue `reports`; it was queued that many seconds after noon.
async fn waiting(scope: &Scope, name: &str, more: Value, second: u32) {
    let mut spec = json!({ "templateRef": { "name": "report" }, "params": { "region": "eu-1" }, "queue": "reports" });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    create(scope, "Job", name, spec.clone());
    let status = json!({
        "phase": "Queued",
        "queue": "reports",
        "priority": spec["priority"].as_i64().unwrap_or(0),
        "waitingFor": "QueueLimit",
        "queuedAt": format!("2026-03-01T12:00:{second:02}.000000Z"),
        "conditions": [condition("Dispatched", "False", "QueueLimit", "first in queue reports, 1 of 1 running, as of 2026-01-01T00:00:00Z")],
    });
    scope.set_status("Job", name, &status).await;
}

/// Creates a Job that runs in the queue `reports`.
async fn running(scope: &Scope, name: &str) {
    create(
        scope,
        "Job",
        name,
        json!({ "templateRef": { "name": "report" }, "params": { "region": "eu-1" }, "queue": "reports" }),
    );
    let status = json!({
        "phase": "Running", "queue": "reports", "priority": 0, "attempts": 1,
        "queuedAt": "2026-03-01T11:00:00.000000Z", "startedAt": "2026-03-01T11:00:05.000000Z",
    });
    scope.set_status("Job", name, &status).await;
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-03-01T12:00:00Z",
    })
}

/// The names of those that wait in the queue `reports`, in order.
fn order(scope: &Scope) -> Vec<String> {
    let line = document(scope, "queue", &["reports"]);
    line["waitingJobs"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}
