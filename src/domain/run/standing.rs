//! Standing: a record that was there before that of an attempt was to be written, and what it says otherwise.
//!
//! A record cannot be changed, and an attempt has one. A process that was cut off may have decided that a Job is not run; its
//! request comes through after the next leader has launched the Job. Then the record stands, and people have to know that it is
//! not what happened.

use crate::api::JobRun;
use crate::api::job_run::JobRunStatus;

/// What a record that stands says otherwise than `ended`, which was to be written; absent: nothing that matters, or the attempt of
/// `ended` did not run either. Two processes may well see an end in different detail; that is no contradiction.
pub fn contradiction(standing: &JobRun, ended: &JobRun) -> Option<String> {
    let (said, is) = (standing.status.as_ref()?, ended.status.as_ref()?);
    let denies = !ran(said) && said.reason != is.reason;
    let differs = ran(is) && (said.phase != is.phase || denies);
    differs.then(|| {
        let name = standing.metadata.name.as_deref().unwrap_or_default();
        format!(
            "JobRun {name} was there before the attempt ended, and stands: it says {}, and the attempt ended as {}",
            words(said),
            words(is)
        )
    })
}

/// Whether a record is of an attempt that was launched.
fn ran(status: &JobRunStatus) -> bool {
    status.started_at.is_some() || !status.containers.is_empty()
}

fn words(status: &JobRunStatus) -> String {
    format!("{} ({})", status.phase.as_str(), status.reason.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(phase: &str, reason: &str, more: Value) -> JobRun {
        let mut run = json!({
            "metadata": { "name": "nightly-1" },
            "spec": { "attempt": 1, "priority": 0 },
            "status": { "phase": phase, "reason": reason },
        });
        for (field, value) in more.as_object().unwrap() {
            run["status"][field] = value.clone();
        }
        serde_json::from_value(run).unwrap()
    }

    #[test]
    fn a_record_that_says_that_what_ran_did_not_or_ended_otherwise_is_a_contradiction() {
        let launched = || json!({ "containers": [{ "name": "main" }] });
        let completed = record("Completed", "Succeeded", launched());
        let failed = record("Failed", "ExitCode", launched());
        let lost = record("Failed", "BatchJobDeleted", launched());
        let skipped = record("Skipped", "DuplicateKey", json!({}));
        let misconfigured = record("Failed", "TemplateNotFound", json!({}));
        let table = [
            (&skipped, &completed, true),
            (&skipped, &failed, true),
            (&misconfigured, &failed, true),
            (&failed, &completed, true),
            (&failed, &failed, false),
            // The same end, of which one process has seen more.
            (&failed, &lost, false),
            // It did not run, so the one that is there knows better.
            (&completed, &skipped, false),
            (&misconfigured, &skipped, false),
        ];
        for (standing, ended, expected) in table {
            let found = contradiction(standing, ended);
            assert_eq!(found.is_some(), expected, "{standing:?} {ended:?}");
        }
        assert_eq!(
            contradiction(&skipped, &completed).unwrap(),
            "JobRun nightly-1 was there before the attempt ended, and stands: it says Skipped (DuplicateKey), and the attempt \
             ended as Completed (Succeeded)"
        );
    }
}
