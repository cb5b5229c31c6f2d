//! What containers report in their termination message: artifacts, and a short result; and what of it could not be kept.
//!
//! A report is what a container wrote into the file of its termination message. Of a container that failed, Kubernetes puts the
//! end of its log there instead, if the file is empty; since the two cannot be told apart, the message of such a container is
//! text for people, unless its `terminationMessagePolicy` is `File`.

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::pods::{self, Container};
use crate::api::job_run::Artifact;
use crate::domain::words::printable;

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
    /// What was reported and is not kept, in sentences.
    pub(super) left_out: Vec<String>,
}

/// Reads the reports of all containers; the result is that of the first that has one.
pub(super) fn read<'a>(pods: impl Iterator<Item = &'a Pod>) -> Report {
    let mut report = Report::default();
    for container in pods.flat_map(pods::containers) {
        match container.written_message().map(parse) {
            Some(Message::Report(value)) => report.add(&value, &container),
            Some(Message::Broken(bytes)) => report.left_out.push(format!(
                "the report of container {} is no valid JSON ({bytes} bytes; Kubernetes cuts a termination message at 4096 bytes, \
                 and all those of a pod at 12288)",
                container.status.name
            )),
            Some(Message::Text) | None => {}
        }
    }
    report
}

impl Report {
    fn add(&mut self, value: &Value, container: &Container<'_>) {
        let name = &container.status.name;
        match value.get("artifacts") {
            None | Some(Value::Null) => {}
            Some(Value::Array(listed)) => self.add_artifacts(listed, name),
            Some(_) => self.left_out.push(format!("artifacts of container {name} are left out: they must be a list")),
        }
        match value.get("result").filter(|result| !result.is_null()) {
            None => {}
            Some(_) if self.result.is_some() => self
                .left_out
                .push(format!("the result of container {name} is left out: that of another container came first")),
            Some(result) => match unfit(result) {
                None => self.result = Some(result.clone()),
                Some(why) => self.left_out.push(format!("the result of container {name} is left out: {why}")),
            },
        }
    }

    fn add_artifacts(&mut self, listed: &[Value], container: &str) {
        let mut say = |count: usize, why: &str| {
            if count > 0 {
                let of = listed.len();
                self.left_out.push(format!("{count} of {of} artifacts of container {container} are left out: {why}"));
            }
        };
        let known: Vec<(Artifact, bool)> = listed.iter().filter_map(artifact).collect();
        let room = ARTIFACTS_MAX.saturating_sub(self.artifacts.len());
        say(listed.len() - known.len(), &format!("each needs a path of 1 to {PATH_BYTES_MAX} bytes"));
        say(known.len().saturating_sub(room), &format!("a record lists at most {ARTIFACTS_MAX}"));
        let odd = known.iter().take(room).filter(|(_, whole)| !whole).count();
        if odd > 0 {
            self.left_out.push(format!(
                "fields of {odd} artifacts of container {container} are left out: uri has at most {URI_BYTES_MAX} bytes, sha256 at \
                 most {SHA256_BYTES_MAX}, and bytes is a whole number from 0"
            ));
        }
        self.artifacts.extend(known.into_iter().take(room).map(|(artifact, _)| artifact));
    }
}

/// What a termination message is.
enum Message {
    Report(Value),
    /// It begins as a report, and is none: most likely it was cut.
    Broken(usize),
    Text,
}

/// Whether a message is a report rather than text for people.
pub(super) fn is_report(message: &str) -> bool {
    matches!(parse(message), Message::Report(_))
}

fn parse(message: &str) -> Message {
    let text = message.trim();
    let named = |text: &str| text.contains("\"artifacts\"") || text.contains("\"result\"");
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) if object.contains_key("artifacts") || object.contains_key("result") => {
            Message::Report(Value::Object(object))
        }
        Err(_) if text.starts_with('{') && named(text) => Message::Broken(message.len()),
        _ => Message::Text,
    }
}

/// An artifact, and whether nothing of it was left out.
fn artifact(value: &Value) -> Option<(Artifact, bool)> {
    let given = |field: &str| value.get(field).filter(|value| !value.is_null());
    let text = |field: &str, bytes_max: usize| {
        let text = printable(given(field)?.as_str()?);
        (!text.is_empty() && text.len() <= bytes_max).then_some(text)
    };
    let artifact = Artifact {
        path: text("path", PATH_BYTES_MAX)?,
        uri: text("uri", URI_BYTES_MAX),
        sha256: text("sha256", SHA256_BYTES_MAX),
        bytes: given("bytes").and_then(Value::as_i64).filter(|bytes| *bytes >= 0),
    };
    let kept = [artifact.uri.is_some(), artifact.sha256.is_some(), artifact.bytes.is_some()];
    let whole = ["uri", "sha256", "bytes"].iter().zip(kept).all(|(field, kept)| kept || given(field).is_none());
    Some((artifact, whole))
}

/// Why a result cannot be kept: it is too long, or has the one character that PostgreSQL cannot hold.
fn unfit(result: &Value) -> Option<String> {
    let text = result.to_string();
    if text.len() > RESULT_BYTES_MAX {
        return Some(format!("it has {} bytes as JSON, at most {RESULT_BYTES_MAX} are kept", text.len()));
    }
    text.contains("\\u0000").then(|| "it contains the character U+0000".to_owned())
}
