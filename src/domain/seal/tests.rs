//! Seals: who can make them, and what is believed without.

use serde_json::json;

use super::*;

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn record(changes: &[(&str, serde_json::Value)]) -> JobRun {
    let mut run = json!({
        "apiVersion": "rota.dev/v1alpha1", "kind": "JobRun",
        "metadata": {
            "name": "report-1", "namespace": "team", "creationTimestamp": "2026-03-01T12:00:00Z",
            "labels": { "rota.dev/outcome": "Completed", "example.com/cost": "team-a" },
        },
        "spec": { "jobRef": { "name": "report", "uid": "u" }, "jobType": "x", "attempt": 1, "priority": 0, "queue": "default" },
        "status": { "phase": "Completed", "reason": "Succeeded", "exitCode": 0, "finishedAt": "2026-03-01T12:00:00.000000Z" },
    });
    for (pointer, value) in changes {
        *run.pointer_mut(pointer).unwrap() = value.clone();
    }
    serde_json::from_value(run).unwrap()
}

fn seal() -> Seal {
    Seal::new("1d8f7b8e-4a6c-4f0e-9d4e-0a1b2c3d4e5f", at("2026-03-01T00:00:00Z"))
}

#[test]
fn a_record_is_believed_with_its_own_seal_only() {
    let mut run = record(&[]);
    assert!(!seal().vouches_for(&run), "it has none");
    seal().put(&mut run);
    assert!(seal().vouches_for(&run));
    assert!(!Seal::new("another", at("2026-03-01T00:00:00Z")).vouches_for(&run));
    for change in [
        ("/metadata/name", json!("report-2")),
        ("/metadata/namespace", json!("others")),
        ("/metadata/labels/rota.dev~1outcome", json!("Failed")),
        ("/metadata/labels", json!({})),
        ("/spec/jobRef/uid", json!("v")),
        ("/spec/attempt", json!(2)),
        ("/status/phase", json!("Failed")),
        ("/status/exitCode", json!(7)),
    ] {
        let mut forged = record(std::slice::from_ref(&change));
        forged.metadata.annotations = run.metadata.annotations.clone();
        assert!(!seal().vouches_for(&forged), "{change:?}");
    }
}

#[test]
fn labels_of_others_are_not_sealed() {
    let mut run = record(&[]);
    seal().put(&mut run);
    run.metadata.labels.get_or_insert_default().insert("example.com/cost".into(), "team-b".into());
    assert!(seal().vouches_for(&run));
}

#[test]
fn a_record_from_before_there_were_seals_is_believed() {
    let old = record(&[("/metadata/creationTimestamp", json!("2026-02-28T23:59:59Z"))]);
    assert!(seal().vouches_for(&old));
}

#[test]
fn another_name_is_the_same_each_time_and_known_to_nobody_else() {
    let name = seal().other_name("report-bcdfg-1", "uid");
    assert_eq!(name, seal().other_name("report-bcdfg-1", "uid"));
    assert_ne!(name, Seal::new("another", Timestamp::MIN).other_name("report-bcdfg-1", "uid"));
    assert_ne!(name, seal().other_name("report-bcdfg-1", "other uid"));
    assert!(name.starts_with("report-bcdfg-1-") && name.len() <= names::NAME_MAX, "{name}");
    let long = seal().other_name(&"a".repeat(63), "uid");
    assert_eq!(long.len(), names::NAME_MAX);
    assert_ne!(long, seal().other_name(&"b".repeat(63), "uid"));
}
