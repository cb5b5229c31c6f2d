//! For each kind, objects that are accepted and between them set every field of its spec.

use serde_json::{Value, json};

use crate::cluster::in_namespace;
use crate::schema;

/// The kinds, as they are called in manifests.
pub const KINDS: [&str; 6] = ["JobTemplate", "Schedule", "Queue", "Job", "JobGroup", "JobRun"];

/// Accepted objects of a kind, as spec (and status, where the user's write carries one).
pub fn all(kind: &str) -> Vec<Value> {
    match kind {
        "JobTemplate" => vec![job_template()],
        "Schedule" => schedules(),
        "Queue" => vec![queue()],
        "Job" => vec![job(), ad_hoc_job()],
        "JobGroup" => vec![job_group()],
        "JobRun" => vec![job_run()],
        other => panic!("{other} is not one of our kinds"),
    }
}

/// A pod that would say hello.
pub fn pod_template() -> Value {
    json!({ "spec": { "template": { "spec": {
        "restartPolicy": "Never",
        "containers": [{ "name": "main", "image": "busybox", "command": ["echo", "hello $(PARAM_REGION)"] }],
    } } } })
}

pub fn job_template() -> Value {
    json!({ "spec": {
        "jobType": "report",
        "description": "The nightly report.",
        "archived": false,
        "params": [
            { "name": "region", "type": "string", "required": true, "pattern": "[a-z]+-[0-9]+", "description": "Where." },
            { "name": "depth", "type": "integer", "default": "3", "minimum": 1, "maximum": 9 },
            { "name": "format", "default": "pdf", "enum": ["pdf", "html"] },
        ],
        "queue": "reports",
        "priority": 10,
        "maxRunning": 4,
        "retry": {
            "maxAttempts": 3,
            "backoff": { "initialSeconds": 30, "factor": 3, "maximumSeconds": 600, "jitterPercent": 20 },
            "rules": [{ "exitCodes": [77], "reasons": ["ExitCode"], "action": "Skip" }],
        },
        "deadlineSeconds": 3600,
        "timeoutSeconds": 3600,
        "pendingTimeoutSeconds": 300,
        "ttlSecondsAfterFinished": 600,
        "overrides": {
            "priority": { "minimum": -1, "maximum": 20 }, "maxAttempts": 5, "maxTimeoutSeconds": 7200, "queues": ["reports"],
        },
        "jobTemplate": pod_template(),
    } })
}

fn schedules() -> Vec<Value> {
    let cron = json!({ "spec": {
        "templateRef": { "name": "report" },
        "cron": "0 9 * * 1-5",
        "timeZone": "Europe/London",
        "enabled": true,
        "params": { "region": "eu-1" },
        "priority": 5,
        "dst": { "gap": "Skip", "overlap": "Last" },
        "jitterSeconds": 300,
        "startTime": "2027-01-01T06:00:00Z",
        "endTime": "2028-01-01T06:00:00Z",
        "concurrencyPolicy": "Forbid",
        "catchUp": { "policy": "All", "windowSeconds": 7200, "maxRuns": 3 },
        "startWithinSeconds": 300,
        "startDeadlineSeconds": 600,
        "queue": "reports",
        "historyLimits": { "succeeded": 3, "failed": 1 },
        "pauseAfterFailures": 5,
    } });
    let interval = json!({ "spec": { "templateRef": { "name": "report" }, "interval": "1h30m", "anchor": "2027-01-01T06:00:00Z" } });
    let once = json!({ "spec": { "templateRef": { "name": "report" }, "at": "2027-01-01T06:00:00Z" } });
    vec![cron, interval, once]
}

fn queue() -> Value {
    json!({ "spec": {
        "maxRunning": 10,
        "namespaceMaxRunning": 20,
        "paused": { "reason": "maintenance", "until": "2027-01-01T06:00:00Z", "scope": "Namespace" },
        "aging": { "intervalSeconds": 60, "maximumIncrease": 100 },
        "maxDepth": 1000,
        "overflowPolicy": "DropOldest",
    } })
}

/// A Job of a template, with every field that such a Job can have.
pub fn job() -> Value {
    json!({ "spec": {
        "templateRef": { "name": "report" },
        "jobType": "report",
        "params": { "region": "eu-1" },
        "queue": "reports",
        "priority": 5,
        "position": 7,
        "scheduleRef": { "name": "nightly", "uid": "6f8c8c2e-0f4a-4f0e-9a58-5a7d0c6a2f11" },
        "scheduledTime": "2027-01-01T06:00:00.000000Z",
        "startDeadline": "2027-01-01T06:10:00.000000Z",
        "startBy": "2027-01-01T06:05:00.000000Z",
        "groupRef": { "name": "batch", "uid": "0b1c5a36-7a5b-47a7-8a8b-2e5a2b1d9c22", "member": "first" },
        "dedupKey": "report-eu-1",
        "hold": true,
        "cancel": { "reason": "no longer needed", "force": true, "replacedBy": "nightly-2", "requestedBy": "system:admin" },
        "retry": {
            "maxAttempts": 2,
            "backoff": { "initialSeconds": 10, "factor": 1, "maximumSeconds": 60, "jitterPercent": 10 },
            "rules": [{ "exitCodes": [2], "reasons": ["ExitCode"], "action": "Fail" }],
        },
        "deadlineSeconds": 3600,
        "dedupWindowSeconds": 600,
        "rerunPolicy": "IfNotSucceeded",
        "notBefore": "2027-01-01T07:00:00Z",
        "timeoutSeconds": 60,
        "pendingTimeoutSeconds": 60,
        "ttlSecondsAfterFinished": 0,
    } })
}

/// A Job without a template.
pub fn ad_hoc_job() -> Value {
    json!({ "spec": { "jobType": "report", "jobTemplate": pod_template() } })
}

/// A group with every field.
pub fn job_group() -> Value {
    json!({ "spec": {
        "mode": "Sequential",
        "jobs": [
            { "name": "extract", "templateRef": { "name": "extract" }, "params": { "region": "eu-1" }, "priority": 1 },
            { "name": "load", "templateRef": { "name": "load" } },
        ],
        "started": true,
        "failurePolicy": "Stop",
        "maxRunning": 2,
        "priority": 3,
        "position": "1795512345.5",
        "resumeOf": { "name": "batch-1", "uid": "0b1c5a36-7a5b-47a7-8a8b-2e5a2b1d9c22" },
        "cancel": { "reason": "no longer needed", "force": false, "replacedBy": "batch-2", "requestedBy": "system:admin" },
    } })
}

/// A record with every field.
pub fn job_run() -> Value {
    json!({
        "spec": {
            "jobRef": { "name": "report-1", "uid": "6f8c8c2e-0f4a-4f0e-9a58-5a7d0c6a2f11" },
            "templateRef": { "name": "report", "uid": "a1", "revision": "report-5d8f", "digest": "9c1185a5c5e9fc54" },
            "scheduleRef": { "name": "nightly", "uid": "b2" },
            "scheduledTime": "2026-01-01T06:00:00.000000Z",
            "groupRef": { "name": "batch", "uid": "c3", "member": "first" },
            "jobType": "report",
            "attempt": 1,
            "params": { "region": "eu-1" },
            "dedupKey": "report-eu-1",
            "priority": 5,
            "queue": "reports",
        },
        "status": {
            "phase": "Failed",
            "reason": "ExitCode",
            "queuedAt": "2026-01-01T06:00:00.100000Z",
            "startedAt": "2026-01-01T06:00:01.000000Z",
            "finishedAt": "2026-01-01T06:00:02.500000Z",
            "durationMs": 1500,
            "workerId": "node-1/report-1-1-abcde",
            "containers": [{
                "name": "main", "image": "report:1", "imageId": "report@sha256:00ff", "command": ["sh"], "args": ["-c", "exit 3"],
            }],
            "exitCode": 3,
            "cancelledBy": "system:admin",
            "error": "container main ended with exit code 3",
            "notes": ["the result was left out: it has more than 2,048 bytes"],
            "finalBy": "podFailurePolicy",
            "artifacts": [{ "path": "/out/report.pdf", "uri": "s3://reports/1.pdf", "sha256": "00ff", "bytes": 4096 }],
            "result": { "rows": 12, "nested": { "list": [1, "two", null] } },
            "logPath": "/var/log/pods/reports_report-1-1-abcde",
            "startDelayMs": 1000,
            "late": true,
            "count": 2,
            "lastScheduledTime": "2026-01-01T07:00:00.000000Z",
        },
    })
}

#[test]
fn the_examples_of_a_kind_set_every_field_of_its_spec() {
    for kind in KINDS {
        let examples = all(kind);
        for node in schema::nodes(kind, &["spec"]) {
            let set = examples.iter().any(|example| node.path.find(example).is_some());
            assert!(set, "no example of {kind} sets {}", node.path);
        }
    }
}

#[tokio::test]
async fn the_api_server_accepts_every_example() {
    in_namespace(|scope| async move {
        for kind in KINDS {
            for example in all(kind) {
                let answer = scope.create(kind, &example).await;
                assert!(answer.is_ok(), "{kind}: {:?}\n{example}", answer.err());
            }
        }
    })
    .await;
}
