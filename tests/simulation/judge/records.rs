//! I2, I5 and I13: one record for each attempt, which never changes, and which says what happened.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{History, Violation, number, text};

/// Adds what was broken.
pub fn judge(history: &History, found: &mut Vec<Violation>) {
    let ends = ends(history);
    let launched = launched(history);
    let mut of_attempt: BTreeMap<(String, i64), String> = BTreeMap::new();
    let ending = namespaces_that_end(history);
    for change in history.of("jobruns.rota.dev") {
        let record = change.object();
        let name = text(record, "/metadata/name");
        if let (Some(before), Some(after)) = (&change.before, &change.after) {
            let content = |it: &Value| (it.get("spec").cloned(), it.get("status").cloned());
            if content(before) != content(after) {
                found.push(Violation {
                    invariant: "I5",
                    story: format!("record {name} was changed by {}", change.actor),
                });
            }
            continue;
        }
        if change.is_deleted() {
            if !ending.contains(text(record, "/metadata/namespace")) {
                found.push(Violation {
                    invariant: "I5",
                    story: format!("record {name} was deleted by {}", change.actor),
                });
            }
            continue;
        }
        let (job, attempt) =
            (text(record, "/spec/jobRef/uid").to_owned(), number(record, "/spec/attempt").unwrap_or_default());
        if job.is_empty() {
            continue;
        }
        if let Some(other) = of_attempt.insert((job.clone(), attempt), name.into()) {
            let story = format!("attempt {attempt} of Job {job} has two records: {other} and {name}");
            found.push(Violation { invariant: "I2", story });
        }
        check(record, ends.get(&(job.clone(), attempt)), launched.contains(&(job, attempt)), found);
    }
    gone_without_record(history, &of_attempt, &ending, found);
}

/// Whether a record says how its attempt ended.
fn check(record: &Value, codes: Option<&BTreeSet<i64>>, was_launched: bool, found: &mut Vec<Violation>) {
    let name = text(record, "/metadata/name");
    let ended_with = |code: i64| codes.is_some_and(|codes| codes.contains(&code));
    let mut wrong = |story: String| found.push(Violation { invariant: "I13", story });
    match (text(record, "/status/phase"), text(record, "/status/reason"), number(record, "/status/exitCode")) {
        ("Completed", _, _) if !ended_with(0) => {
            wrong(format!("record {name} says Completed, and no pod ended with 0"))
        }
        ("Failed", "ExitCode", Some(code)) if !ended_with(code) => {
            wrong(format!("record {name} says that it ended with {code}, and no pod did"));
        }
        // What was launched and never started was skipped.
        ("Skipped", reason, _)
            if was_launched
                && reason != "SkippedByRule"
                && codes.is_some_and(|codes| !codes.is_empty())
                && !ended_with(137) =>
        {
            wrong(format!("record {name} says Skipped/{reason}, and its pod ran"));
        }
        _ => {}
    }
}

/// With which codes the pods of each attempt ended.
fn ends(history: &History) -> BTreeMap<(String, i64), BTreeSet<i64>> {
    let mut found: BTreeMap<(String, i64), BTreeSet<i64>> = BTreeMap::new();
    for change in history.of("pods.") {
        let pod = change.object();
        let Some(code) = number(pod, "/status/containerStatuses/0/state/terminated/exitCode") else { continue };
        found.entry(attempt_of(pod)).or_default().insert(code);
    }
    found
}

fn launched(history: &History) -> BTreeSet<(String, i64)> {
    history.of("jobs.batch").filter(|change| change.is_created()).map(|change| attempt_of(change.object())).collect()
}

fn attempt_of(object: &Value) -> (String, i64) {
    let attempt = text(object, "/metadata/labels/rota.dev~1attempt").parse().unwrap_or_default();
    (text(object, "/metadata/labels/rota.dev~1job-uid").to_owned(), attempt)
}

fn namespaces_that_end(history: &History) -> BTreeSet<String> {
    let ending = history.of("namespaces.").filter(|it| it.object().pointer("/metadata/deletionTimestamp").is_some());
    ending.map(|change| text(change.object(), "/metadata/name").to_owned()).collect()
}

/// A Job that the operator had taken up leaves a record when it goes.
fn gone_without_record(
    history: &History,
    of_attempt: &BTreeMap<(String, i64), String>,
    ending: &BTreeSet<String>,
    found: &mut Vec<Violation>,
) {
    let recorded: BTreeSet<&str> = of_attempt.keys().map(|(job, _)| job.as_str()).collect();
    for change in history.of("jobs.rota.dev").filter(|change| change.is_deleted()) {
        let job = change.object();
        let was_taken_up = !text(job, "/status/phase").is_empty();
        if was_taken_up
            && !recorded.contains(text(job, "/metadata/uid"))
            && !ending.contains(text(job, "/metadata/namespace"))
        {
            let story = format!("Job {} is gone and has no record", text(job, "/metadata/name"));
            found.push(Violation { invariant: "I2", story });
        }
    }
}
