//! What containers report in their termination message: artifacts, and a short result.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::pods;
use crate::api::job_run::Artifact;

/// How many artifacts a record lists.
const ARTIFACTS_MAX: usize = 100;
/// How large a result may be, as JSON, in bytes.
const RESULT_BYTES_MAX: usize = 2 * 1024;
/// The longest path, URI and checksum that the schema allows, in characters; compared in bytes.
const PATH_BYTES_MAX: usize = 1024;
const URI_BYTES_MAX: usize = 2048;
const SHA256_BYTES_MAX: usize = 64;

/// What was reported, within the limits of a record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Report {
    pub(super) artifacts: Vec<Artifact>,
    pub(super) result: Option<Value>,
}

/// Reads the reports of all containers. What is not a report, or is not as it should be, is left out.
pub(super) fn read(pods: &[Arc<Pod>]) -> Report {
    let mut report = Report::default();
    for container in pods.iter().flat_map(|pod| pods::containers(pod)) {
        let message = container.terminated().and_then(|end| end.message.as_deref());
        let Some(value) = message.and_then(parse) else { continue };
        let listed = value.get("artifacts").and_then(Value::as_array);
        let room = ARTIFACTS_MAX.saturating_sub(report.artifacts.len());
        report.artifacts.extend(listed.into_iter().flatten().filter_map(artifact).take(room));
        let result = value.get("result").filter(|result| !result.is_null());
        report.result = report.result.or_else(|| result.filter(|result| fits(result)).cloned());
    }
    report
}

/// Whether a termination message is a report rather than text for people.
pub(super) fn is_report(message: &str) -> bool {
    parse(message).is_some()
}

fn parse(message: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(message.trim()).ok()?;
    let object = value.as_object()?;
    (object.contains_key("artifacts") || object.contains_key("result")).then_some(value)
}

fn artifact(value: &Value) -> Option<Artifact> {
    let text = |field: &str, bytes_max: usize| {
        let text = value.get(field)?.as_str()?;
        (!text.is_empty() && text.len() <= bytes_max && !text.contains('\0')).then(|| text.to_owned())
    };
    Some(Artifact {
        path: text("path", PATH_BYTES_MAX)?,
        uri: text("uri", URI_BYTES_MAX),
        sha256: text("sha256", SHA256_BYTES_MAX),
        bytes: value.get("bytes").and_then(Value::as_i64).filter(|bytes| *bytes >= 0),
    })
}

/// Whether a result is short, and free of the one character that PostgreSQL cannot hold.
fn fits(result: &Value) -> bool {
    let text = result.to_string();
    text.len() <= RESULT_BYTES_MAX && !text.contains("\\u0000")
}
