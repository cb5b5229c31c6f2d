//! Pinned: an edit after the launch changes nothing of what was launched.

use serde_json::json;

use super::*;

fn job(spec: Value) -> Job {
    serde_json::from_value(json!({
        "apiVersion": "rota.dev/v1alpha1", "kind": "Job",
        "metadata": { "name": "report", "namespace": "team", "uid": "uid-report", "generation": 1 },
        "spec": spec,
    }))
    .unwrap()
}

/// The batch Job of a Job that is launched as it is.
fn launched(job: &Job) -> BatchJob {
    let mut batch = BatchJob::default();
    batch.metadata.annotations = Some([(LAUNCHED_ANNOTATION.to_owned(), annotation(job))].into());
    batch
}

fn edited(job: &Job, spec: Value) -> Job {
    let mut edited = self::job(spec);
    edited.metadata.generation = Some(2);
    edited.status = job.status.clone();
    edited
}

#[test]
fn an_edit_before_the_first_status_does_not_change_what_was_launched() {
    let before = job(json!({ "templateRef": { "name": "report" }, "params": { "day": "old" }, "priority": 3 }));
    let batch = launched(&before);
    assert_eq!(as_launched(&before, &batch), None, "nothing was edited");
    for edit in [
        json!({ "templateRef": { "name": "report" }, "params": { "day": "new" } }),
        json!({ "templateRef": { "name": "other" }, "queue": "fast", "retry": { "maxAttempts": 3 } }),
        json!({ "templateRef": { "name": "report" }, "dedupKey": "k", "groupRef": { "name": "g" }, "timeoutSeconds": 1 }),
        json!({ "jobTemplate": {}, "jobType": "x", "scheduleRef": { "name": "daily", "uid": "" } }),
    ] {
        let found = as_launched(&edited(&before, edit.clone()), &batch);
        assert_eq!(found.map(|it| it.spec), Some(before.spec.clone()), "{edit}");
    }
}

#[test]
fn a_cancel_is_no_such_edit() {
    let before = job(json!({ "templateRef": { "name": "report" } }));
    let cancelled = edited(&before, json!({ "templateRef": { "name": "report" }, "cancel": { "reason": "enough" } }));
    assert_eq!(as_launched(&cancelled, &launched(&before)), None);
    let both = edited(
        &before,
        json!({ "templateRef": { "name": "report" }, "params": { "day": "new" }, "cancel": { "reason": "enough" } }),
    );
    let found = as_launched(&both, &launched(&before)).unwrap();
    assert_eq!((found.spec.params.len(), found.spec.cancel), (0, cancelled.spec.cancel));
}

#[test]
fn of_a_queued_job_only_the_priority_can_have_changed() {
    let mut before = job(json!({ "templateRef": { "name": "report" }, "params": { "day": "old" }, "priority": 3 }));
    before.status = serde_json::from_value(json!({ "phase": "Queued" })).unwrap();
    assert!(!annotation(&before).contains("old"), "what cannot change is not carried");
    let raised =
        edited(&before, json!({ "templateRef": { "name": "report" }, "params": { "day": "old" }, "priority": 9 }));
    assert_eq!(as_launched(&raised, &launched(&before)).map(|it| it.spec), Some(before.spec));
}

#[test]
fn the_body_of_an_inline_job_is_not_carried_and_its_content_is() {
    let before = job(json!({ "jobType": "x", "jobTemplate": { "spec": { "a": 1 } } }));
    let after = edited(&before, json!({ "jobType": "y", "jobTemplate": { "spec": { "a": 2 } } }));
    let found = as_launched(&after, &launched(&before)).unwrap();
    assert_eq!(found.spec.job_type.as_deref(), Some("x"));
    assert!(!annotation(&before).contains("spec\":{\"a"));
    assert_ne!(content(&before), content(&after));
    assert!(content(&before).is_some());
}

#[test]
fn parameters_that_are_too_long_to_be_carried_are_frozen_before_the_launch() {
    let mut long = job(json!({ "templateRef": { "name": "report" }, "params": { "text": "x".repeat(20_000) } }));
    assert!(!fits(&long));
    long.status = serde_json::from_value(json!({ "phase": "Pending" })).unwrap();
    assert!(!fits(&long));
    long.status = serde_json::from_value(json!({ "phase": "Queued" })).unwrap();
    assert!(fits(&long));
}

#[test]
fn a_batch_job_of_an_earlier_build_carries_nothing() {
    let before = job(json!({ "templateRef": { "name": "report" } }));
    assert_eq!(as_launched(&edited(&before, json!({ "templateRef": { "name": "x" } })), &BatchJob::default()), None);
}
