//! I2 and I3: one batch Job for each attempt, and never more at once than the limits allow.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{History, Violation, number, text};

/// Adds what was broken.
pub fn judge(history: &History, found: &mut Vec<Violation>) {
    let mut made: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut running = Running::default();
    for change in &history.changes {
        let object = change.object();
        match change.resource.as_str() {
            "jobs.batch" if !text(object, "/metadata/labels/rota.dev~1job-uid").is_empty() => {
                let uid = text(object, "/metadata/uid");
                if change.is_created() {
                    let attempt = (
                        text(object, "/metadata/labels/rota.dev~1job-uid").to_owned(),
                        text(object, "/metadata/labels/rota.dev~1attempt").to_owned(),
                    );
                    if let Some(other) = made.insert(attempt.clone(), uid.into()) {
                        let story =
                            format!("attempt {} of Job {} has two batch Jobs: {other} and {uid}", attempt.1, attempt.0);
                        found.push(Violation { invariant: "I2", story });
                    }
                    running.begin(object, found);
                } else if change.is_deleted() {
                    running.gone.insert(uid.into());
                } else if has_ended(object) {
                    running.end(uid);
                }
                running.look(uid);
            }
            "pods." => {
                let owner = text(object, "/metadata/ownerReferences/0/uid").to_owned();
                let pods = running.pods.entry(owner.clone()).or_default();
                if change.is_deleted() || matches!(text(object, "/status/phase"), "Succeeded" | "Failed") {
                    pods.remove(text(object, "/metadata/uid"));
                } else {
                    pods.insert(text(object, "/metadata/uid").into());
                }
                running.look(&owner);
            }
            "queues.rota.dev" => {
                let queue = (text(object, "/metadata/namespace").to_owned(), text(object, "/metadata/name").to_owned());
                let limit = number(object, "/spec/maxRunning").filter(|_| !change.is_deleted());
                // One that was lowered stops nothing that was admitted before, so the highest is what can be held to.
                let limits = running.limits.entry(queue).or_insert(limit);
                *limits = limits.zip(limit).map(|(one, other)| one.max(other));
            }
            _ => {}
        }
    }
}

/// What runs.
#[derive(Default)]
struct Running {
    /// Batch Jobs that have not ended, by uid, with their queue.
    batch_jobs: BTreeMap<String, (String, String)>,
    /// Those that are gone and whose pods may not have ended.
    gone: BTreeSet<String>,
    /// Pods that have not ended, by the uid of their batch Job.
    pods: BTreeMap<String, BTreeSet<String>>,
    limits: BTreeMap<(String, String), Option<i64>>,
}

impl Running {
    fn begin(&mut self, object: &Value, found: &mut Vec<Violation>) {
        let queue = (
            text(object, "/metadata/namespace").to_owned(),
            text(object, "/metadata/labels/rota.dev~1queue").to_owned(),
        );
        self.batch_jobs.insert(text(object, "/metadata/uid").into(), queue.clone());
        let runs = self.batch_jobs.values().filter(|it| **it == queue).count();
        if let Some(Some(limit)) =
            self.limits.get(&queue).filter(|limit| limit.is_some_and(|limit| runs as i64 > limit))
        {
            let name = text(object, "/metadata/name");
            let story = format!("with batch Job {name} {runs} run in queue {queue:?}, and {limit} may");
            found.push(Violation { invariant: "I3", story });
        }
    }

    fn end(&mut self, uid: &str) {
        self.batch_jobs.remove(uid);
    }

    /// A batch Job that is gone has ended when its pods have.
    fn look(&mut self, uid: &str) {
        if self.gone.contains(uid) && self.pods.get(uid).is_none_or(BTreeSet::is_empty) {
            self.end(uid);
        }
    }
}

fn has_ended(object: &Value) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|it| matches!(text(it, "/type"), "Complete" | "Failed") && text(it, "/status") == "True")
}
