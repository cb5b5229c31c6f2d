//! What the Job controller writes about a batch Job that has succeeded, for tests and benchmarks that stand in for it.

use jiff::Timestamp;
use serde_json::{Value, json};

/// The status of a batch Job that has succeeded then. No pod is counted, as there is none that could be waited for.
pub fn completed(at: Timestamp) -> Value {
    let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
    let condition = |kind: &str| {
        json!({
            "type": kind,
            "status": "True",
            "reason": "CompletionsReached",
            "message": "Reached expected number of succeeded pods",
            "lastProbeTime": at,
            "lastTransitionTime": at,
        })
    };
    json!({ "status": {
        "startTime": at,
        "completionTime": at,
        "active": 0,
        "ready": 0,
        "terminating": 0,
        "uncountedTerminatedPods": {},
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
    } })
}
