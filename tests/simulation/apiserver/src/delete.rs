//! Deletes: at once, or when the finalizers are gone.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::builtin::Builtin;
use crate::failure::Failure;
use crate::managed::seconds;
use crate::resources::Form;
use crate::server::{Answer, ApiServer, Call};
use crate::store::Key;
use crate::write::{has_generation, metadata_of};

/// The finalizer of an object whose dependents go first.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object whose dependents stay.
pub const ORPHAN: &str = "orphan";

impl ApiServer {
    pub(crate) fn delete(&mut self, call: &Call, body: &[u8]) -> Result<Answer, Failure> {
        let key = call.key()?;
        let name = call.resource.name();
        let found = self.store.get(&name, &key).cloned();
        let before = found.ok_or_else(|| Failure::not_found(&call.resource, &key.name))?;
        let options: Value = match body {
            [] => json!({}),
            body => serde_json::from_slice(body).map_err(|error| Failure::bad_request(error.to_string()))?,
        };
        check_preconditions(call, &key, &options, &before)?;
        let mut object = (*before).clone();
        let grace = grace_period(call, &options, &before);
        let is_namespace = call.resource.plural == "namespaces";
        add_finalizers(call, &options, &mut object);
        let waits = |object: &Value, pointer: &str| {
            object.pointer(pointer).and_then(Value::as_array).is_some_and(|it| !it.is_empty())
        };
        let is_held = waits(&object, "/metadata/finalizers") || is_namespace && waits(&object, "/spec/finalizers");
        if !is_held && grace == 0 {
            if call.is_dry_run() {
                return Ok(gone(call, &before));
            }
            let last = self.store.delete(&name, &key, None).unwrap_or(before);
            // A pod is told as it was last.
            if matches!(call.resource.form, Form::Builtin(Builtin::Pod)) {
                return Ok(Answer::Object(200, call.shown(&last)));
            }
            return Ok(gone(call, &last));
        }
        mark(call, &mut object, grace, is_namespace);
        if call.is_dry_run() || object == *before {
            return Ok(Answer::Object(200, call.shown(&Arc::new(object))));
        }
        let stored = self.store.put(&name, object);
        Ok(Answer::Object(200, call.shown(&stored)))
    }
}

/// Says in an object that it is being deleted, if it does not yet.
fn mark(call: &Call, object: &mut Value, grace: i64, is_namespace: bool) {
    let has_generation = has_generation(&call.resource.form);
    let metadata = metadata_of(object);
    let before = metadata.get("deletionGracePeriodSeconds").and_then(Value::as_i64);
    if metadata.contains_key("deletionTimestamp") && before.is_none_or(|before| before <= grace) {
        return;
    }
    let at = call.now.checked_add(jiff::SignedDuration::from_secs(grace)).unwrap_or(call.now);
    let is_new = !metadata.contains_key("deletionTimestamp");
    metadata.insert("deletionTimestamp".into(), json!(seconds(at)));
    metadata.insert("deletionGracePeriodSeconds".into(), json!(grace));
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|_| has_generation && is_new) {
        metadata.insert("generation".into(), json!(generation + 1));
    }
    if is_namespace && let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.insert("phase".into(), json!("Terminating"));
    }
}

fn gone(call: &Call, object: &Value) -> Answer {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let details = json!({
        "name": text("/metadata/name"), "group": call.resource.group, "kind": call.resource.plural, "uid": text("/metadata/uid"),
    });
    let status =
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details });
    Answer::Object(200, Arc::new(status))
}

fn check_preconditions(call: &Call, key: &Key, options: &Value, before: &Value) -> Result<(), Failure> {
    for (field, what) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let wanted = options.pointer(&format!("/preconditions/{field}")).and_then(Value::as_str);
        let is = before.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).unwrap_or_default();
        if let Some(wanted) = wanted.filter(|wanted| *wanted != is) {
            let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {is}");
            return Err(Failure::conflict(&call.resource, &key.name, &why));
        }
    }
    Ok(())
}

/// How long an object may take to go: a pod that runs on a node, as long as it asks for; anything else, no time.
fn grace_period(call: &Call, options: &Value, before: &Value) -> i64 {
    if !matches!(call.resource.form, Form::Builtin(Builtin::Pod)) {
        return 0;
    }
    let has_node = before.pointer("/spec/nodeName").and_then(Value::as_str).is_some_and(|node| !node.is_empty());
    let phase = before.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    if !has_node || matches!(phase, "Succeeded" | "Failed") {
        return 0;
    }
    let asked = options.get("gracePeriodSeconds").and_then(Value::as_i64);
    let own = before.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    asked.or(own).unwrap_or(30)
}

/// Adds the finalizer that the way of deleting asks for.
fn add_finalizers(call: &Call, options: &Value, object: &mut Value) {
    let asked =
        options.get("propagationPolicy").and_then(Value::as_str).or_else(|| call.query.get("propagationPolicy"));
    let is_batch_job = matches!(call.resource.form, Form::Builtin(Builtin::BatchJob));
    let finalizer = match asked {
        Some("Foreground") => FOREGROUND,
        Some("Orphan") => ORPHAN,
        // The Jobs of `batch/v1` leave their pods to whoever deletes them without a word.
        None if is_batch_job => ORPHAN,
        _ => return,
    };
    let finalizers = metadata_of(object).entry("finalizers").or_insert(json!([]));
    if let Some(finalizers) = finalizers.as_array_mut().filter(|it| !it.contains(&json!(finalizer))) {
        finalizers.push(json!(finalizer));
    }
}
