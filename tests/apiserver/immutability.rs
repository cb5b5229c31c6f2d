//! Which fields of a Job may change in which phase: every field of its spec, in every phase.

use kube::ResourceExt;
use serde_json::{Value, json};

use crate::cluster::{Scope, in_namespace};
use crate::examples;
use crate::schema;

const QUEUED: &str =
    "a queued Job is immutable except for priority, position, notBefore, hold and cancel; create a new Job instead";
const KNOWN_BY: &str = "scheduleRef, scheduledTime, groupRef and dedupKey cannot change; create a new Job instead";
const DISPATCHED: &str =
    "priority, position, notBefore and hold cannot change once the Job is dispatched; only cancel can";

/// Before its first status is written, a Job has no phase.
const PHASES: [&str; 7] = ["", "Pending", "Queued", "Dispatched", "Running", "Finished", "Cancelled"];

/// What the API server says to a change of this field in this phase; nothing where it may change.
fn expected(phase: &str, field: &str) -> Option<&'static str> {
    match (phase, field) {
        (_, "scheduleRef" | "scheduledTime" | "groupRef" | "dedupKey") => Some(KNOWN_BY),
        ("" | "Pending", _) | (_, "cancel") => None,
        ("Queued", "priority" | "position" | "notBefore" | "hold") => None,
        (_, "priority" | "position" | "notBefore" | "hold") => Some(DISPATCHED),
        _ => Some(QUEUED),
    }
}

/// Another value for a field of the spec, valid as such.
fn other_value(field: &str) -> Value {
    match field {
        "templateRef" => json!({ "name": "another" }),
        "jobTemplate" => json!({ "spec": { "template": { "spec": { "activeDeadlineSeconds": 77 } } } }),
        "jobType" | "queue" | "dedupKey" => json!("another"),
        "params" => json!({ "region": "us-9" }),
        "priority" | "position" => json!(-1),
        "scheduleRef" => json!({ "name": "another" }),
        "scheduledTime" | "startDeadline" | "startBy" | "notBefore" => json!("2027-02-02T06:00:00Z"),
        "groupRef" => json!({ "member": "another" }),
        "hold" => json!(false),
        "cancel" => json!({ "reason": "another" }),
        "retry" => json!({ "maxAttempts": 9 }),
        "rerunPolicy" => json!("Always"),
        "timeoutSeconds"
        | "pendingTimeoutSeconds"
        | "ttlSecondsAfterFinished"
        | "deadlineSeconds"
        | "dedupWindowSeconds" => json!(77),
        other => panic!("{other} is a new field of Job: say here what may become of it"),
    }
}

/// A Job in this phase that has the field.
async fn job_with(scope: &Scope, field: &str, phase: &str) -> String {
    let content = if field == "jobTemplate" { examples::ad_hoc_job() } else { examples::job() };
    let name = scope.create("Job", &content).await.unwrap().name_any();
    if !phase.is_empty() {
        scope.set_status("Job", &name, &json!({ "phase": phase })).await;
    }
    name
}

#[tokio::test]
async fn in_each_phase_of_a_job_exactly_the_fields_that_may_still_change_can_be_changed() {
    in_namespace(|scope| async move {
        let spec = schema::of("Job")["properties"]["spec"]["properties"].clone();
        for phase in PHASES {
            for field in spec.as_object().unwrap().keys() {
                let name = job_with(&scope, field, phase).await;
                let patch = json!({ "spec": { (field.clone()): other_value(field) } });
                let answer = scope.try_patch("Job", &name, &patch).await;
                match expected(phase, field) {
                    None => assert!(answer.is_ok(), "{field} cannot change in {phase}: {:?}", answer.err()),
                    Some(message) => {
                        let status = answer.expect_err(&format!("{field} can change in {phase}"));
                        assert!(status.message.contains(message), "{field} in {phase}: {}", status.message);
                    }
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_field_that_a_queued_job_has_can_be_neither_removed_nor_added() {
    in_namespace(|scope| async move {
        for field in ["params", "queue", "dedupKey", "retry", "timeoutSeconds", "groupRef"] {
            let expected = expected("Queued", field).unwrap();
            let name = job_with(&scope, field, "Queued").await;
            let patch = json!({ "spec": { (field): null } });
            let status = scope.try_patch("Job", &name, &patch).await.expect_err(field);
            assert!(status.message.contains(expected), "{field}: {}", status.message);

            let bare = json!({ "spec": { "templateRef": { "name": "report" } } });
            let name = scope.create("Job", &bare).await.unwrap().name_any();
            scope.set_status("Job", &name, &json!({ "phase": "Queued" })).await;
            let patch = json!({ "spec": { (field): examples::job()["spec"][field] } });
            let status = scope.try_patch("Job", &name, &patch).await.expect_err(field);
            assert!(status.message.contains(expected), "{field}: {}", status.message);
        }
    })
    .await;
}

#[tokio::test]
async fn labels_and_annotations_of_a_job_can_change_in_every_phase_and_so_can_its_status() {
    in_namespace(|scope| async move {
        for phase in PHASES {
            let name = job_with(&scope, "queue", phase).await;
            let patch = json!({ "metadata": { "labels": { "team": "blue" }, "annotations": { "note": "seen" } } });
            let answer = scope.try_patch("Job", &name, &patch).await;
            assert!(answer.is_ok(), "{phase}: {:?}", answer.err());
            scope.set_status("Job", &name, &json!({ "phase": "Finished", "outcome": "Completed" })).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_status_written_with_the_spec_of_a_job_is_ignored_so_that_nobody_freezes_or_finishes_it_by_hand() {
    in_namespace(|scope| async move {
        let mut content = examples::job();
        content["status"] = json!({ "phase": "Finished" });
        let made = scope.create("Job", &content).await.unwrap();
        assert_eq!(made.data.pointer("/status/phase"), None, "{:?}", made.data.get("status"));
    })
    .await;
}
