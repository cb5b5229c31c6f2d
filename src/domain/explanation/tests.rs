//! Explanations as people read them.

use serde_json::json;

use super::*;
use crate::api::Queue;
use crate::domain::estimate::History;
use crate::domain::outlook::Seen;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn job(name: &str, status: Value) -> Job {
    let metadata = json!({ "name": name, "uid": name, "creationTimestamp": "2026-03-01T11:59:00Z" });
    let object = json!({
        "apiVersion": "rota.dev/v1alpha1", "kind": "Job", "metadata": metadata, "spec": { "jobType": "x" }, "status": status,
    });
    serde_json::from_value(object).unwrap()
}

fn waits(name: &str) -> Job {
    job(name, json!({ "phase": "Queued", "queue": "line", "queuedAt": "2026-03-01T11:00:00.000000Z" }))
}

#[test]
fn other_jobs_are_named_or_counted() {
    let runs = job("running-one", json!({ "phase": "Running", "queue": "line" }));
    let jobs = [runs, waits("aa"), waits("bb"), waits("cc")];
    let queue: Queue = serde_json::from_value(json!({
        "apiVersion": "rota.dev/v1alpha1", "kind": "Queue", "metadata": { "name": "line" }, "spec": { "maxRunning": 1 },
    }))
    .unwrap();
    let history = History::default();
    let outlook = Seen::new(jobs.iter(), [&queue].into_iter(), [].into_iter(), &history, None, now()).outlook("line");
    let told = |index: usize, names_others: bool| {
        let explanation = queued(&outlook, &jobs[index], None, names_others, now());
        assert_eq!(explanation.place, Some(index));
        explanation.json("x", Some(&jobs[index]))["sentences"].to_string()
    };
    let named = told(3, true);
    assert!(named.contains("1 of 1 running: running-one.") && named.contains("Before it: aa, bb."), "{named}");
    assert!(named.contains("Job cc is third of 3 in queue line."), "{named}");
    let counted = told(3, false);
    assert!(counted.contains("1 of 1 running.") && counted.contains("Before it: 2 Jobs."), "{counted}");
    for name in ["running-one", "aa", "bb"] {
        assert!(!counted.contains(name), "{counted}");
    }
    assert!(told(2, false).contains("Before it: 1 Job."));
    assert!(!told(1, false).contains("Before it"));
}

#[test]
fn each_state_of_a_job_has_a_first_sentence() {
    let ended = json!({ "phase": "Finished", "outcome": "Failed", "reason": "ExitCode", "runRefs": [{ "name": "r" }] });
    for (job, explain, expected) in [
        (job("a", json!({})), None, "Job a is new."),
        (
            job("a", json!({ "phase": "Pending" })),
            Some((WaitingFor::Template, "there is no template")),
            "Job a is not queued yet: it waits for its template.",
        ),
        (job("a", ended), None, "Job a Failed: ExitCode."),
        (job("a", json!({ "phase": "Cancelled" })), None, "Job a has ended; it has no record."),
        (
            job("a", json!({ "phase": "Running", "startedAt": "2026-03-01T11:58:30.000000Z" })),
            None,
            "Job a is running for 1m30s.",
        ),
        (job("a", json!({ "phase": "Dispatched" })), None, "Job a was launched, and no container has started."),
    ] {
        let blocker =
            explain.map(|(waiting_for, message): (_, &str)| Blocker { waiting_for, message: message.to_owned() });
        let explanation = match phase(&job) {
            Some(JobPhase::Finished | JobPhase::Cancelled) => super::ended(&job),
            Some(JobPhase::Running | JobPhase::Dispatched) => launched(&job, now()),
            _ => pending(&job, blocker, now()),
        };
        assert_eq!(explanation.headline, expected);
    }
}

#[test]
fn a_job_that_leaves_says_so_first() {
    let mut job = waits("a");
    job.spec.cancel = Some(crate::api::Cancel {
        reason: "wrong month".into(),
        requested_by: Some("alice".into()),
        ..crate::api::Cancel::default()
    });
    let mut explanation = pending(&job, None, now());
    explanation.say_that_it_leaves(&job);
    assert_eq!(explanation.headline, "Job a is about to end.");
    assert_eq!(explanation.sentences, ["It was cancelled by alice: wrong month."]);
}
