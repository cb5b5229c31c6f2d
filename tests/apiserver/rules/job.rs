//! The rules of Job. What may change in which phase is tested field by field in `immutability`.

use serde_json::{Value, json};

use super::{Case, Rule};
use crate::examples::{ad_hoc_job, job, pod_template};

pub fn rules() -> Vec<Rule> {
    vec![what_runs(), job_type(), occurrence(), known_by(), queued(), dispatched(), cancelled(), values()]
}

/// A Job of a template, with this besides.
fn with(more: Value) -> Value {
    changed(&json!({ "spec": { "templateRef": { "name": "report" } } }), more)
}

/// The same Job with some fields set, or taken away where they are null.
fn changed(job: &Value, fields: Value) -> Value {
    let mut job = job.clone();
    let spec = job["spec"].as_object_mut().expect("spec is a JSON object");
    for (key, value) in fields.as_object().expect("fields are a JSON object") {
        match value {
            Value::Null => spec.remove(key),
            value => spec.insert(key.clone(), value.clone()),
        };
    }
    job
}

/// The same Job in this phase.
fn in_phase(job: &Value, phase: &str) -> Value {
    let mut job = job.clone();
    job["status"] = json!({ "phase": phase });
    job
}

/// What becomes of the Job when it is in this phase and some fields are written.
fn change(job: &Value, phase: &str, fields: Value) -> Case {
    let before = in_phase(job, phase);
    Case::changed(before.clone(), changed(&before, fields))
}

fn what_runs() -> Rule {
    Rule {
        kind: "Job",
        path: "spec",
        message: "exactly one of templateRef and jobTemplate must be set",
        accepted: vec![Case::created(with(json!({}))), Case::created(ad_hoc_job())],
        rejected: vec![
            Case::created(json!({ "spec": {} })),
            Case::created(with(json!({ "jobType": "report", "jobTemplate": pod_template() }))),
        ],
    }
}

fn job_type() -> Rule {
    Rule {
        kind: "Job",
        path: "spec",
        message: "jobType is required with jobTemplate",
        accepted: vec![Case::created(ad_hoc_job()), Case::created(with(json!({ "jobType": "other" })))],
        rejected: vec![Case::created(json!({ "spec": { "jobTemplate": pod_template() } }))],
    }
}

fn occurrence() -> Rule {
    let schedule = json!({ "name": "nightly" });
    Rule {
        kind: "Job",
        path: "spec",
        message: "scheduledTime needs a scheduleRef",
        accepted: vec![
            Case::created(with(json!({ "scheduleRef": schedule, "scheduledTime": "2027-01-01T06:00:00Z" }))),
            Case::created(with(json!({ "scheduleRef": schedule }))),
            Case::created(with(json!({}))),
        ],
        rejected: vec![Case::created(with(json!({ "scheduledTime": "2027-01-01T06:00:00Z" })))],
    }
}

fn known_by() -> Rule {
    let changed_to = |fields: Value| Case::changed(job(), changed(&job(), fields));
    Rule {
        kind: "Job",
        path: "",
        message: "scheduleRef, scheduledTime, groupRef and dedupKey cannot change; create a new Job instead",
        accepted: vec![changed_to(json!({ "dedupWindowSeconds": 60 }))],
        rejected: vec![
            changed_to(json!({ "dedupKey": "another" })),
            changed_to(json!({ "dedupKey": null })),
            changed_to(json!({ "groupRef": { "name": "another" } })),
            changed_to(json!({ "scheduleRef": null, "scheduledTime": null })),
            Case::changed(ad_hoc_job(), changed(&ad_hoc_job(), json!({ "groupRef": { "name": "month-end" } }))),
            change(&job(), "Pending", json!({ "dedupKey": "another" })),
        ],
    }
}

fn queued() -> Rule {
    Rule {
        kind: "Job",
        path: "",
        message: "a queued Job is immutable except for priority, position, notBefore, hold and cancel; create a new Job instead",
        accepted: vec![
            change(&job(), "Pending", json!({ "queue": "other", "params": { "region": "us-1" } })),
            Case::changed(job(), changed(&job(), json!({ "queue": "other" }))),
            change(&job(), "Queued", json!({ "priority": 9, "position": null, "hold": false })),
        ],
        rejected: vec![
            change(&job(), "Queued", json!({ "queue": "other" })),
            change(&job(), "Queued", json!({ "params": { "region": "us-1" } })),
            change(&ad_hoc_job(), "Running", json!({ "rerunPolicy": "Always" })),
            change(&job(), "Finished", json!({ "ttlSecondsAfterFinished": null })),
        ],
    }
}

fn dispatched() -> Rule {
    Rule {
        kind: "Job",
        path: "",
        message: "priority, position, notBefore and hold cannot change once the Job is dispatched; only cancel can",
        accepted: vec![
            change(&with(json!({})), "Dispatched", json!({ "cancel": { "reason": "wrong input" } })),
            change(&with(json!({})), "Dispatched", json!({ "hold": false })),
            change(&with(json!({ "priority": 1 })), "Queued", json!({ "priority": 2 })),
        ],
        rejected: vec![
            change(&with(json!({ "priority": 1 })), "Dispatched", json!({ "priority": 2 })),
            change(&with(json!({})), "Running", json!({ "position": -1 })),
            change(&with(json!({})), "Running", json!({ "hold": true })),
        ],
    }
}

/// Values of parameters, so many of them.
pub fn params(count: usize, value: &str) -> Value {
    Value::Object((0..count).map(|number| (format!("p{number}"), json!(value))).collect())
}

fn values() -> Rule {
    Rule {
        kind: "Job",
        path: "spec.params",
        message: "the values must not take more than 262144 bytes together: a pod gets them as an annotation",
        accepted: vec![
            Case::created(with(json!({ "params": params(32, &"a".repeat(8_192)) }))),
            Case::created(with(json!({ "params": params(8, &"😀".repeat(8_192)) }))),
        ],
        rejected: vec![
            Case::created(with(json!({ "params": params(33, &"a".repeat(8_192)) }))),
            Case::created(with(json!({ "params": params(9, &"😀".repeat(8_192)) }))),
        ],
    }
}

fn cancelled() -> Rule {
    let cancelled = with(json!({ "cancel": { "reason": "wrong input" } }));
    Rule {
        kind: "Job",
        path: "",
        message: "a cancel cannot be taken back; create a new Job instead",
        accepted: vec![change(&cancelled, "Running", json!({ "cancel": { "reason": "at once", "force": true } }))],
        rejected: vec![
            change(&cancelled, "Pending", json!({ "cancel": null })),
            change(&cancelled, "Running", json!({ "cancel": null })),
            Case::changed(cancelled.clone(), changed(&cancelled, json!({ "cancel": null }))),
        ],
    }
}
