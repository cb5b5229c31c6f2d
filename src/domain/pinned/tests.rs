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
fn of_the_body_of_an_inline_job_what_a_record_says_of_it_is_carried_until_nobody_can_edit_it() {
    let with = |image: &str| {
        let container =
            json!({ "name": "main", "image": image, "command": ["run"], "volumeMounts": [{ "name": "all" }] });
        json!({ "jobType": "x", "jobTemplate": { "spec": { "template": { "spec": { "containers": [container] } } } } })
    };
    let mut before = job(with("worker:1"));
    let batch = launched(&before);
    let carried = containers(&batch.metadata).unwrap();
    assert_eq!((carried.len(), carried[0].image.as_deref()), (1, Some("worker:1")));
    assert!(!annotation(&before).contains("volumeMounts"));
    let after = edited(&before, with("worker:2"));
    assert!(runs_otherwise(&after, &batch) && !runs_otherwise(&before, &batch));
    before.status = serde_json::from_value(json!({ "phase": "Queued" })).unwrap();
    assert_eq!(containers(&launched(&before).metadata), None);
    let long = job(with(&"x".repeat(300)));
    assert!(fits(&long));
    let many: Vec<Value> = (0..8).map(|_| json!({ "name": "a", "args": ["y".repeat(600)], "command": ["x".repeat(600)], "image": "i".repeat(600) })).collect();
    let long = job(
        json!({ "jobType": "x", "params": { "text": "x".repeat(6_000) }, "jobTemplate": { "spec": { "template": { "spec": { "containers": many } } } } }),
    );
    assert!(!fits(&long), "together they are too long to be carried");
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
