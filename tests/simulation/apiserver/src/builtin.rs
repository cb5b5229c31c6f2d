//! Kubernetes' own kinds: what the API server fills in, refuses and freezes of them, as far as controllers see it.

use k8s_openapi::api::batch::v1::Job;
use serde_json::{Map, Value, json};

use crate::failure::Cause;

/// Which of Kubernetes' own kinds it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// A Job of `batch/v1`.
    BatchJob,
    /// A Pod.
    Pod,
    /// Anything else: it is kept as it is.
    Plain,
}

impl Builtin {
    /// The fields that can be selected by.
    pub fn selectable(self) -> Vec<String> {
        let names: &[&str] = match self {
            Self::BatchJob => &["status.successful"],
            Self::Pod => &["spec.nodeName", "status.phase", "spec.restartPolicy"],
            Self::Plain => &["involvedObject.uid", "involvedObject.kind", "involvedObject.name", "type", "reason"],
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Whether objects of it have a generation.
    pub fn has_generation(self) -> bool {
        matches!(self, Self::BatchJob | Self::Pod)
    }

    /// Drops the fields that the kind does not have, and returns their paths. An error: it cannot be decoded.
    pub fn decode(self, object: &mut Value) -> Result<Vec<String>, String> {
        if self != Self::BatchJob {
            return Ok(Vec::new());
        }
        let known: Job = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
        let mut known = serde_json::to_value(known).map_err(|error| error.to_string())?;
        // Their times are kept as they were sent.
        if let (Some(metadata), Some(known)) = (object.get("metadata"), known.get_mut("metadata")) {
            *known = metadata.clone();
        }
        let mut unknown = Vec::new();
        missing_in(&known, object, "", &mut unknown);
        *object = known;
        Ok(unknown)
    }

    /// Fills in what a new object does not say.
    pub fn set_defaults(self, object: &mut Value) {
        if self == Self::BatchJob {
            complete_batch_job(object);
        }
    }

    /// What is wrong with an object.
    pub fn validate(self, object: &Value, before: Option<&Value>) -> Vec<Cause> {
        match self {
            Self::BatchJob => validate_batch_job(object, before),
            Self::Pod | Self::Plain => Vec::new(),
        }
    }
}

/// Adds to `paths` what the second one has and the first one has not.
fn missing_in(known: &Value, sent: &Value, path: &str, paths: &mut Vec<String>) {
    match (known, sent) {
        (Value::Object(known), Value::Object(sent)) => {
            for (name, value) in sent {
                let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match known.get(name) {
                    Some(known) => missing_in(known, value, &at, paths),
                    None if value.is_null() || value.as_object().is_some_and(Map::is_empty) => {}
                    None if value.as_array().is_some_and(Vec::is_empty) => {}
                    None => paths.push(at),
                }
            }
        }
        (Value::Array(known), Value::Array(sent)) => {
            for (index, (known, sent)) in known.iter().zip(sent).enumerate() {
                missing_in(known, sent, &format!("{path}[{index}]"), paths);
            }
        }
        _ => {}
    }
}

fn complete_batch_job(object: &mut Value) {
    let text =
        |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, uid) = (text(object, "/metadata/name"), text(object, "/metadata/uid"));
    let is_manual = object.pointer("/spec/manualSelector") == Some(&Value::Bool(true));
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let is_indexed = spec.get("completionMode").is_some_and(|mode| mode == "Indexed");
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        spec.insert("completions".into(), json!(1));
    }
    let per_index = spec.contains_key("backoffLimitPerIndex");
    let fails_by_policy = spec.contains_key("podFailurePolicy");
    for (field, value) in [
        ("parallelism", json!(1)),
        ("backoffLimit", if per_index { json!(i32::MAX) } else { json!(6) }),
        ("completionMode", if is_indexed { json!("Indexed") } else { json!("NonIndexed") }),
        ("suspend", json!(false)),
        ("manualSelector", json!(false)),
        ("podReplacementPolicy", if fails_by_policy { json!("Failed") } else { json!("TerminatingOrFailed") }),
    ] {
        spec.entry(field).or_insert(value);
    }
    if is_manual {
        copy_labels(object);
        return;
    }
    let controller = "batch.kubernetes.io/controller-uid";
    spec.entry("selector").or_insert(json!({ "matchLabels": { controller: uid } }));
    let Some(template) = spec.get_mut("template").and_then(Value::as_object_mut) else { return };
    if let Some(metadata) = template.entry("metadata").or_insert(json!({})).as_object_mut()
        && let Some(labels) = metadata.entry("labels").or_insert(json!({})).as_object_mut()
    {
        for (label, value) in
            [(controller, &uid), ("batch.kubernetes.io/job-name", &name), ("controller-uid", &uid), ("job-name", &name)]
        {
            labels.insert(label.into(), json!(value));
        }
    }
    if let Some(pod) = template.get_mut("spec").and_then(Value::as_object_mut) {
        complete_pod(pod);
    }
    copy_labels(object);
}

fn complete_pod(pod: &mut Map<String, Value>) {
    for (field, value) in [
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
        ("terminationGracePeriodSeconds", json!(30)),
    ] {
        pod.entry(field).or_insert(value);
    }
    for list in ["initContainers", "containers"] {
        for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
            let is_latest =
                image.ends_with(":latest") || !image.rsplit('/').next().unwrap_or_default().contains([':', '@']);
            for (field, value) in [
                ("imagePullPolicy", json!(if is_latest { "Always" } else { "IfNotPresent" })),
                ("resources", json!({})),
                ("terminationMessagePath", json!("/dev/termination-log")),
                ("terminationMessagePolicy", json!("File")),
            ] {
                container.entry(field).or_insert(value);
            }
        }
    }
}

/// A Job without labels has those of its pods.
fn copy_labels(object: &mut Value) {
    let has_own =
        object.pointer("/metadata/labels").and_then(Value::as_object).is_some_and(|labels| !labels.is_empty());
    let Some(labels) = object.pointer("/spec/template/metadata/labels").cloned().filter(|_| !has_own) else { return };
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("labels".into(), labels);
    }
}

fn validate_batch_job(object: &Value, before: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let at = |pointer: &str| object.pointer(pointer).unwrap_or(&Value::Null);
    let pod = at("/spec/template/spec");
    match pod.get("containers").and_then(Value::as_array) {
        Some(containers) if !containers.is_empty() => {
            for (index, container) in containers.iter().enumerate() {
                for field in ["name", "image"] {
                    if container.get(field).and_then(Value::as_str).unwrap_or_default().is_empty() {
                        causes.push(Cause::required(&format!("spec.template.spec.containers[{index}].{field}")));
                    }
                }
            }
        }
        _ => causes.push(Cause::required("spec.template.spec.containers")),
    }
    let restart = pod.get("restartPolicy").unwrap_or(&Value::Null);
    let allowed = [json!("OnFailure"), json!("Never")];
    match restart {
        Value::Null => causes.push(Cause {
            message: "Required value: valid values: \"OnFailure\", \"Never\"".into(),
            ..Cause::required("spec.template.spec.restartPolicy")
        }),
        restart if !allowed.contains(restart) => {
            causes.push(Cause::unsupported("spec.template.spec.restartPolicy", restart, &allowed));
        }
        _ => {}
    }
    for field in ["parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"] {
        let number = at(&format!("/spec/{field}"));
        if number.as_i64().is_some_and(|number| number < 0) {
            causes.push(Cause::value(&format!("spec.{field}"), number, "must be greater than or equal to 0"));
        }
    }
    if let Some(before) = before {
        freeze_batch_job(object, before, &mut causes);
    }
    causes
}

/// What cannot be changed of a Job.
fn freeze_batch_job(object: &Value, before: &Value, causes: &mut Vec<Cause>) {
    let differs = |pointer: &str| object.pointer(pointer) != before.pointer(pointer);
    let is_suspended = before.pointer("/spec/suspend") == Some(&Value::Bool(true));
    let has_started = before.pointer("/status/startTime").is_some();
    let is_indexed = object.pointer("/spec/completionMode").is_some_and(|mode| mode == "Indexed");
    let mut frozen =
        vec!["selector", "completionMode", "backoffLimitPerIndex", "podFailurePolicy", "managedBy", "successPolicy"];
    if !is_indexed {
        frozen.push("completions");
    }
    if !is_suspended || has_started {
        frozen.push("template");
    }
    for field in frozen {
        let pointer = format!("/spec/{field}");
        if differs(&pointer) {
            let value = object.pointer(&pointer).unwrap_or(&Value::Null);
            causes.push(Cause::value(&format!("spec.{field}"), value, "field is immutable"));
        }
    }
}
