//! The rules of JobGroup.

use serde_json::{Value, json};

use super::{Case, Rule};

pub fn rules() -> Vec<Rule> {
    vec![frozen(), started(), cancelled(), with_members(), values()]
}

/// A group that has not started.
fn group() -> Value {
    json!({ "spec": {
        "mode": "Parallel",
        "jobs": [
            { "name": "one", "templateRef": { "name": "report" } },
            { "name": "two", "templateRef": { "name": "report" } },
        ],
    } })
}

/// What becomes of the group in this phase when some fields of its spec are written.
fn change(group: &Value, phase: &str, fields: Value) -> Case {
    let mut before = group.clone();
    before["status"] = json!({ "phase": phase });
    let mut after = before.clone();
    let spec = after["spec"].as_object_mut().expect("spec is a JSON object");
    for (key, value) in fields.as_object().expect("fields are a JSON object") {
        match value {
            Value::Null => spec.remove(key),
            value => spec.insert(key.clone(), value.clone()),
        };
    }
    Case::changed(before, after)
}

fn values() -> Rule {
    let with = |count: usize| {
        let params = super::job::params(count, &"a".repeat(8_192));
        let member = json!({ "name": "one", "templateRef": { "name": "report" }, "params": params });
        Case::created(json!({ "spec": { "mode": "Parallel", "jobs": [member] } }))
    };
    Rule {
        kind: "JobGroup",
        path: "spec.jobs[].params",
        message: "the values must not take more than 262144 characters together: a pod gets them as an annotation",
        accepted: vec![with(32)],
        rejected: vec![with(33)],
    }
}

fn frozen() -> Rule {
    let fewer = json!([{ "name": "one", "templateRef": { "name": "report" } }]);
    let other_order = json!([group()["spec"]["jobs"][1], group()["spec"]["jobs"][0]]);
    let other_params = json!([
        { "name": "one", "templateRef": { "name": "report" }, "params": { "region": "eu-1" } },
        { "name": "two", "templateRef": { "name": "report" } },
    ]);
    Rule {
        kind: "JobGroup",
        path: "",
        message: "mode and jobs of a group cannot change once it has started, only the order of jobs; create a new group instead, with spec.resumeOf to leave out what succeeded (kubectl rota resume group/NAME)",
        accepted: vec![
            change(&group(), "Created", json!({ "mode": "Sequential", "jobs": fewer })),
            change(&group(), "Running", json!({ "jobs": other_order })),
            change(&group(), "Running", json!({ "maxRunning": 1, "priority": 2, "failurePolicy": "Stop" })),
        ],
        rejected: vec![
            change(&group(), "Queued", json!({ "mode": "Sequential" })),
            change(&group(), "Running", json!({ "jobs": fewer })),
            change(&group(), "Running", json!({ "jobs": other_params })),
            change(&group(), "Completed", json!({ "mode": "Sequential" })),
        ],
    }
}

fn started() -> Rule {
    Rule {
        kind: "JobGroup",
        path: "",
        message: "a group that has started cannot be unstarted; cancel it instead",
        accepted: vec![
            change(&group(), "Created", json!({ "started": false })),
            change(&group(), "Running", json!({ "started": true })),
        ],
        rejected: vec![
            change(&group(), "Queued", json!({ "started": false })),
            change(&group(), "Running", json!({ "started": false })),
        ],
    }
}

fn cancelled() -> Rule {
    let mut cancelled = group();
    cancelled["spec"]["cancel"] = json!({});
    Rule {
        kind: "JobGroup",
        path: "",
        message: "a cancel cannot be taken back; create a new group instead",
        accepted: vec![
            change(&group(), "Running", json!({ "cancel": { "reason": "wrong input" } })),
            change(&cancelled, "Running", json!({ "cancel": { "force": true } })),
        ],
        rejected: vec![
            change(&cancelled, "Running", json!({ "cancel": null })),
            change(&cancelled, "Created", json!({ "cancel": null })),
        ],
    }
}

fn with_members() -> Rule {
    let group = |spec: Value| Case::created(json!({ "spec": spec }));
    let member = json!({ "name": "one", "templateRef": { "name": "report" } });
    let waits = json!({ "spec": { "mode": "Parallel", "started": false } });
    Rule {
        kind: "JobGroup",
        path: "spec",
        message: "a group without jobs must say whether it is started: create it with started: false, let Jobs join it, then start it",
        accepted: vec![
            group(json!({ "mode": "Parallel", "jobs": [member] })),
            group(json!({ "mode": "Parallel", "started": false })),
            group(json!({ "mode": "Parallel", "started": true, "jobs": [] })),
            change(&waits, "Created", json!({ "started": true })),
        ],
        rejected: vec![
            group(json!({ "mode": "Parallel" })),
            group(json!({ "mode": "Sequential", "jobs": [] })),
            change(&waits, "Created", json!({ "started": null })),
        ],
    }
}
