//! Writes: create, update, patch.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::failure::{Cause, Failure};
use crate::managed::{Conflicts, Endpoint, Managed, Manager, Operation, Write, seconds};
use crate::resources::Form;
use crate::schema::Schema;
use crate::server::{Answer, ApiServer, Call};
use crate::store::Key;

/// The fields of metadata that only the server sets.
const OF_SERVER: [&str; 8] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
    "name",
    "namespace",
];

impl ApiServer {
    pub(crate) fn create(&mut self, call: &Call, body: &[u8]) -> Result<Answer, Failure> {
        let object = read_json(body)?;
        self.create_object(call, object, Operation::Update)
    }

    fn create_object(&mut self, call: &Call, mut object: Value, operation: Operation) -> Result<Answer, Failure> {
        let resource = call.resource.clone();
        check_type(call, &object)?;
        omit_empty(&mut object);
        let is_typed = is_typed(call, &object);
        let key = self.name_new(call, &mut object)?;
        self.check_namespace(call, &key)?;
        let metadata = metadata_of(&mut object);
        if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|version| !version.is_empty()) {
            let why = "resourceVersion should not be set on objects to be created";
            return Err(Failure::new(500, "InternalError", format!("Internal error occurred: {why}")));
        }
        for name in OF_SERVER.iter().filter(|name| !matches!(**name, "name" | "namespace")) {
            metadata.remove(*name);
        }
        for name in ["managedFields", "resourceVersion"] {
            metadata.remove(name);
        }
        metadata.insert("uid".into(), json!(self.uid()));
        metadata.insert("creationTimestamp".into(), json!(seconds(call.now)));
        if has_generation(&resource.form) {
            metadata.insert("generation".into(), json!(1));
        }
        if resource.plural == "namespaces" {
            complete_namespace(&mut object, &key.name);
        }
        let endpoint = if resource.has_status { Endpoint::Main } else { Endpoint::Whole };
        if resource.has_status
            && let Some(object) = object.as_object_mut().filter(|_| resource.plural != "namespaces")
        {
            object.remove("status");
        }
        // What a client applies it has, and not what is filled in.
        let applied = object.clone();
        let object = finish(call, object, None)?;
        if self.store.get(&resource.name(), &key).is_some() {
            return Err(Failure::already_exists(&resource, &key.name));
        }
        let object = match resource.custom() {
            Some(custom) => {
                let mut managed = Managed::default();
                let write =
                    Write { manager: manager(call, operation), endpoint, schema: &custom.schema, now: call.now };
                let mut object = object;
                if operation == Operation::Apply {
                    let conflicts = |_: Conflicts| Failure::new(409, "Conflict", "nobody has anything of a new object");
                    managed.apply(write, &json!({}), &applied, true).map_err(conflicts)?;
                } else {
                    managed.update(write, &json!({}), &object);
                }
                if is_typed {
                    managed.write(&mut object);
                }
                object
            }
            None => object,
        };
        if call.is_dry_run() {
            return Ok(Answer::Object(201, call.shown(&Arc::new(object))));
        }
        if resource.plural == "customresourcedefinitions" && object.get("spec").is_some() {
            self.install(&object).map_err(Failure::bad_request)?;
        }
        let stored = self.store.put(&resource.name(), object);
        Ok(Answer::Object(201, call.shown(&stored)))
    }

    fn name_new(&mut self, call: &Call, object: &mut Value) -> Result<Key, Failure> {
        let namespace = call.target.namespace.clone().unwrap_or_default();
        if call.resource.is_namespaced == namespace.is_empty() {
            return Err(Failure::no_such_resource());
        }
        let suffix = self.suffix();
        let metadata = metadata_of(object);
        let text = |metadata: &Map<String, Value>, name: &str| {
            metadata.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let said = text(metadata, "namespace");
        if !said.is_empty() && said != namespace {
            let why = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Failure::bad_request(why));
        }
        let (mut name, base) = (text(metadata, "name"), text(metadata, "generateName"));
        if name.is_empty() && !base.is_empty() {
            name = format!("{}{suffix}", base.chars().take(58).collect::<String>());
        }
        if name.is_empty() {
            let cause = Cause::required("metadata.name");
            let message = "Required value: name or generateName is required".into();
            return Err(Failure::invalid(&call.resource, "", &[Cause { message, ..cause }]));
        }
        metadata.insert("name".into(), json!(name));
        if !namespace.is_empty() {
            metadata.insert("namespace".into(), json!(namespace));
        }
        Ok(Key { namespace, name })
    }

    fn check_namespace(&self, call: &Call, key: &Key) -> Result<(), Failure> {
        if key.namespace.is_empty() {
            return Ok(());
        }
        let at = Key { namespace: String::new(), name: key.namespace.clone() };
        let Some(namespace) = self.store.get(&(String::new(), "namespaces".into()), &at) else {
            let mut failure = Failure::new(404, "NotFound", format!("namespaces {:?} not found", key.namespace));
            failure.details = json!({ "name": key.namespace, "kind": "namespaces" });
            return Err(failure);
        };
        if namespace.pointer("/metadata/deletionTimestamp").is_some() {
            let why =
                format!("unable to create new content in namespace {} because it is being terminated", key.namespace);
            return Err(Failure::forbidden(&call.resource, &key.name, &why));
        }
        Ok(())
    }

    pub(crate) fn update(&mut self, call: &Call, body: &[u8]) -> Result<Answer, Failure> {
        let object = read_json(body)?;
        check_type(call, &object)?;
        let key = call.key()?;
        if call.resource.plural == "leases" && self.store.get(&call.resource.name(), &key).is_none() {
            return self.create_by_update(call, &key, object);
        }
        let before = self.found(call, &key)?;
        let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        let allows_any = matches!(call.resource.form, Form::Builtin(_)) && call.resource.plural != "leases";
        if version.is_empty() && !allows_any {
            let cause = Cause::value("metadata.resourceVersion", &json!(0), "must be specified for an update");
            return Err(Failure::invalid(&call.resource, &key.name, &[cause]));
        }
        if let Some(uid) = object.pointer("/metadata/uid").and_then(Value::as_str).filter(|uid| !uid.is_empty()) {
            check_uid(call, &key, uid, &before)?;
        }
        self.write_over(call, &key, &before, object, None)
    }

    /// A Lease can be created by an update.
    fn create_by_update(&mut self, call: &Call, key: &Key, mut object: Value) -> Result<Answer, Failure> {
        let metadata = metadata_of(&mut object);
        metadata.remove("resourceVersion");
        if let Some(uid) = metadata.get("uid").and_then(Value::as_str).filter(|uid| !uid.is_empty()) {
            let why = format!(
                "StorageError: invalid object, Code: 4: Precondition failed: UID in precondition: {uid}, UID in object meta: "
            );
            return Err(Failure::conflict(&call.resource, &key.name, &why));
        }
        self.create_object(call, object, Operation::Update)
    }

    pub(crate) fn patch(&mut self, call: &Call, body: &[u8]) -> Result<Answer, Failure> {
        let key = call.key()?;
        match call.content_type.split(';').next().unwrap_or_default() {
            "application/merge-patch+json" => {
                let before = self.found(call, &key)?;
                let mut object = (*call.shown(&before)).clone();
                merge_patch(&mut object, &read_json(body)?);
                self.write_over(call, &key, &before, object, None)
            }
            "application/json-patch+json" => {
                let before = self.found(call, &key)?;
                let mut object = (*call.shown(&before)).clone();
                let patch: json_patch::Patch =
                    serde_json::from_slice(body).map_err(|error| Failure::bad_request(error.to_string()))?;
                json_patch::patch(&mut object, &patch).map_err(|error| {
                    Failure::new(422, "Invalid", format!("the server rejected our request: {error}"))
                })?;
                self.write_over(call, &key, &before, object, None)
            }
            "application/apply-patch+yaml" | "application/apply-patch+json" => self.apply(call, &key, body),
            other => Err(Failure::new(
                415,
                "UnsupportedMediaType",
                format!("the body of the request was in an unknown format - accepted media types include: {other}"),
            )),
        }
    }

    fn apply(&mut self, call: &Call, key: &Key, body: &[u8]) -> Result<Answer, Failure> {
        let applied = read_json(body)?;
        check_type(call, &applied)?;
        if call.query.get("fieldManager").is_none() {
            let cause = Cause::required("fieldManager");
            let message = "Required value: is required for apply patch".into();
            return Err(Failure::invalid(&call.resource, &key.name, &[Cause { message, ..cause }]));
        }
        if applied.pointer("/metadata/managedFields").is_some_and(|it| !it.is_null()) {
            return Err(Failure::bad_request("metadata.managedFields must be nil"));
        }
        let text = |pointer: &str| applied.pointer(pointer).and_then(Value::as_str).filter(|it| !it.is_empty());
        if text("/metadata/name").is_some_and(|name| name != key.name) {
            return Err(Failure::bad_request("the name of the object does not match the name on the URL"));
        }
        if call.target.subresource.is_some() {
            self.found(call, key)?;
        }
        if let Some(custom) = call.resource.custom()
            && let Some(wrong) = custom.schema.mistyped(&applied, "", true)
        {
            let message = format!("failed to create typed patch object ({}/{}): {wrong}", key.namespace, key.name);
            return Err(Failure::new(500, "", message));
        }
        let Some(before) = self.store.get(&call.resource.name(), key).cloned() else {
            if let Some(uid) = text("/metadata/uid") {
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(Failure::conflict(&call.resource, &key.name, &why));
            }
            let mut object = applied;
            metadata_of(&mut object).insert("name".into(), json!(key.name));
            return self.create_object(call, object, Operation::Apply);
        };
        let shown = call.shown(&before);
        let schema = Schema::default();
        let schema = call.resource.custom().map_or(&schema, |custom| &custom.schema);
        let mut managed = Managed::of(&before);
        let write = Write { manager: manager(call, Operation::Apply), endpoint: endpoint(call), schema, now: call.now };
        let object = managed
            .apply(write, &shown, &applied, call.query.is("force"))
            .map_err(|conflicts| conflict(call, &key.name, &conflicts))?;
        self.write_over(call, key, &before, object, Some(managed))
    }

    fn found(&self, call: &Call, key: &Key) -> Result<Arc<Value>, Failure> {
        let found = self.store.get(&call.resource.name(), key);
        found.cloned().ok_or_else(|| Failure::not_found(&call.resource, &key.name))
    }

    /// Writes an object over another one. `managed`: who has what then, if that is known already.
    fn write_over(
        &mut self,
        call: &Call,
        key: &Key,
        before: &Arc<Value>,
        mut object: Value,
        managed: Option<Managed>,
    ) -> Result<Answer, Failure> {
        let resource = call.resource.clone();
        omit_empty(&mut object);
        let is_typed = is_typed(call, &object);
        let version = before.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
        let said = object.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
        if said.as_str().is_some_and(|said| !said.is_empty()) && said != version {
            return Err(Failure::modified(&resource, &key.name));
        }
        keep_of_server(call, key, before, &mut object)?;
        let endpoint = endpoint(call);
        // What is filled in when an object is read is stored with the next write.
        let shown = call.shown(before);
        separate(endpoint, &shown, &mut object, call.target.subresource.as_deref());
        let mut object = finish(call, object, Some(before))?;
        check_finalizers(call, key, before, &object)?;
        let is_changed = without(before, endpoint) != without(&object, endpoint);
        if is_changed && has_generation(&resource.form) && endpoint != Endpoint::Status {
            let generation = before.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default() + 1;
            metadata_of(&mut object).insert("generation".into(), json!(generation));
        }
        metadata_of(&mut object).insert("resourceVersion".into(), version);
        let was = Managed::of(before);
        let mut managed_now = managed.unwrap_or_else(|| was.clone());
        if let Some(custom) = resource.custom()
            && managed_now == was
            && is_typed
        {
            let write =
                Write { manager: manager(call, Operation::Update), endpoint, schema: &custom.schema, now: call.now };
            if !matches!(call.content_type.as_str(), "application/apply-patch+yaml" | "application/apply-patch+json") {
                managed_now.update(write, &shown, &object);
            }
        }
        if resource.custom().is_some() {
            managed_now.write(&mut object);
        }
        self.store_over(call, key, before, object)
    }

    /// Stores an object over another one, unless nothing has changed; one that waited for its finalizers to go is gone with the last.
    fn store_over(&mut self, call: &Call, key: &Key, before: &Arc<Value>, object: Value) -> Result<Answer, Failure> {
        let resource = &call.resource;
        if call.is_dry_run() || object == **before {
            return Ok(Answer::Object(200, call.shown(&Arc::new(object))));
        }
        if resource.plural == "customresourcedefinitions" && object.get("spec").is_some() {
            self.install(&object).map_err(Failure::bad_request)?;
        }
        if is_over(&object, resource.plural == "namespaces") {
            let last = self.store.delete(&resource.name(), key, Some(object));
            return Ok(Answer::Object(200, call.shown(&last.unwrap_or_default())));
        }
        let stored = self.store.put(&resource.name(), object);
        Ok(Answer::Object(200, call.shown(&stored)))
    }
}

/// Whether an object that is being deleted has nothing left to wait for.
pub(crate) fn is_over(object: &Value, is_namespace: bool) -> bool {
    let none = |pointer: &str| object.pointer(pointer).and_then(Value::as_array).is_none_or(Vec::is_empty);
    object.pointer("/metadata/deletionTimestamp").is_some()
        && none("/metadata/finalizers")
        && object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or_default() == 0
        && (!is_namespace || none("/spec/finalizers"))
}

/// Which part a request writes.
fn endpoint(call: &Call) -> Endpoint {
    match (call.target.subresource.as_deref(), call.resource.has_status) {
        (Some("status"), _) => Endpoint::Status,
        (_, true) => Endpoint::Main,
        (_, false) => Endpoint::Whole,
    }
}

/// Leaves what the endpoint does not write as it is.
fn separate(endpoint: Endpoint, before: &Value, object: &mut Value, subresource: Option<&str>) {
    if subresource == Some("finalize") {
        let finalizers = object.pointer("/spec/finalizers").cloned().unwrap_or_else(|| json!([]));
        *object = before.clone();
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("finalizers".into(), finalizers);
        }
        return;
    }
    let status = |from: &Value| from.get("status").cloned();
    match endpoint {
        Endpoint::Whole => {}
        Endpoint::Main => set_status(object, status(before)),
        Endpoint::Status => {
            let written = status(object);
            *object = before.clone();
            set_status(object, written);
        }
    }
}

fn set_status(object: &mut Value, status: Option<Value>) {
    let Some(object) = object.as_object_mut() else { return };
    match status {
        Some(status) => drop(object.insert("status".into(), status)),
        None => drop(object.remove("status")),
    }
}

/// Leaves the fields that only the server sets as they are. A uid that is another one is refused.
fn keep_of_server(call: &Call, key: &Key, before: &Value, object: &mut Value) -> Result<(), Failure> {
    let metadata = metadata_of(object);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let uid = text(before.pointer("/metadata/uid"));
    let said = text(metadata.get("uid"));
    if !said.is_empty() && said != uid {
        let cause = Cause::value("metadata.uid", &json!(said), "field is immutable");
        return Err(Failure::invalid(&call.resource, &key.name, &[cause]));
    }
    if text(metadata.get("name")) != key.name {
        return Err(Failure::bad_request("the name of the object does not match the name on the URL"));
    }
    for name in OF_SERVER {
        match before.pointer(&format!("/metadata/{name}")) {
            Some(value) => drop(metadata.insert(name.into(), value.clone())),
            None => drop(metadata.remove(name)),
        }
    }
    Ok(())
}

fn check_uid(call: &Call, key: &Key, uid: &str, before: &Value) -> Result<(), Failure> {
    let is = before.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    if uid == is {
        return Ok(());
    }
    let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {is}");
    Err(Failure::conflict(&call.resource, &key.name, &why))
}

fn check_finalizers(call: &Call, key: &Key, before: &Value, object: &Value) -> Result<(), Failure> {
    if before.pointer("/metadata/deletionTimestamp").is_none() {
        return Ok(());
    }
    let of =
        |object: &Value| object.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    let (had, has) = (of(before), of(object));
    let new: Vec<&Value> = has.iter().filter(|it| !had.contains(it)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let message = format!(
        "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {new:?}"
    );
    let cause = Cause { field: "metadata.finalizers".into(), reason: "FieldValueForbidden", message };
    Err(Failure::invalid(&call.resource, &key.name, &[cause]))
}

/// Prunes, defaults and validates an object that is to be written.
fn finish(call: &Call, mut object: Value, before: Option<&Arc<Value>>) -> Result<Value, Failure> {
    let resource = &call.resource;
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut causes = validate_metadata(&object);
    let unknown = match &resource.form {
        Form::Custom(custom) => {
            let mut unknown = Vec::new();
            custom.schema.drop_nulls(&mut object);
            custom.schema.prune(&mut object, "", &mut unknown);
            let is_status = call.target.subresource.as_deref() == Some("status");
            let has_made_up = resource.has_status && !is_status && before.is_none();
            custom.schema.set_defaults(&mut object);
            custom.schema.validate(&object, "", &mut causes);
            if causes.is_empty() {
                let before = before.map(|before| call.shown(before));
                custom.rules.validate(&object, before.as_deref(), &mut causes);
            }
            if has_made_up {
                set_status(&mut object, None);
            }
            unknown
        }
        Form::Builtin(form) => {
            let unknown = form.decode(&mut object).map_err(Failure::bad_request)?;
            form.set_defaults(&mut object);
            causes.extend(form.validate(&object, before.map(|before| &**before)));
            unknown
        }
    };
    if let (Some(first), Some("Strict")) = (unknown.first(), call.query.get("fieldValidation")) {
        return Err(Failure::bad_request(format!("strict decoding error: unknown field {first:?}")));
    }
    if causes.is_empty() { Ok(object) } else { Err(Failure::invalid(resource, &name, &causes)) }
}

fn validate_metadata(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let is_part = |part: &str| {
        part.starts_with(is_letter)
            && part.ends_with(is_letter)
            && part.chars().all(|letter| is_letter(letter) || letter == '-')
    };
    if name.len() > 253 || !name.split('.').all(is_part) {
        causes.push(Cause::value(
            "metadata.name",
            &json!(name),
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'",
        ));
    }
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    for (label, value) in labels.into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        let is_inner = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        let is_end = |letter: char| letter.is_ascii_alphanumeric();
        let is_valid = text.is_empty()
            || text.len() <= 63 && text.starts_with(is_end) && text.ends_with(is_end) && text.chars().all(is_inner);
        if !is_valid || label.is_empty() {
            causes.push(Cause::value(
                "metadata.labels",
                value,
                "a valid label must consist of alphanumeric characters, '-', '_' or '.'",
            ));
        }
    }
    causes
}

/// Leaves out the lists and maps of metadata that are empty, as Kubernetes does when it writes metadata.
fn omit_empty(object: &mut Value) {
    metadata_of(object).retain(|name, value| {
        let is_empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
        !(is_empty && matches!(name.as_str(), "finalizers" | "labels" | "annotations" | "ownerReferences"))
    });
}

/// Whether what a client sent can be read by the schema, if only to be left out later: otherwise nobody gets a field.
fn is_typed(call: &Call, object: &Value) -> bool {
    let Some(custom) = call.resource.custom() else { return true };
    let mut pruned = object.clone();
    custom.schema.prune(&mut pruned, "", &mut Vec::new());
    custom.schema.mistyped(&pruned, "", false).is_none()
}

/// An object without what does not count for its generation.
fn without(object: &Value, endpoint: Endpoint) -> Value {
    let mut rest = object.clone();
    if let Some(rest) = rest.as_object_mut() {
        rest.remove("metadata");
        if endpoint != Endpoint::Whole {
            rest.remove("status");
        }
    }
    rest
}

pub(crate) fn has_generation(form: &Form) -> bool {
    match form {
        Form::Custom(_) => true,
        Form::Builtin(builtin) => builtin.has_generation(),
    }
}

fn manager(call: &Call, operation: Operation) -> Manager {
    let own = call.user_agent.split('/').next().unwrap_or_default();
    Manager {
        operation,
        name: call.query.get("fieldManager").unwrap_or(own).to_owned(),
        api_version: call.resource.api_version(),
        subresource: call.target.subresource.clone().unwrap_or_default(),
    }
}

fn conflict(call: &Call, name: &str, conflicts: &Conflicts) -> Failure {
    let count: usize = conflicts.0.iter().map(|(_, set)| set.len()).sum();
    let managers: Vec<String> = conflicts.0.iter().map(|(manager, _)| format!("{manager:?}")).collect();
    let message = format!("Apply failed with {count} conflicts: conflicts with {}", managers.join(", "));
    let causes = vec![json!({ "reason": "FieldManagerConflict" }); count];
    let details = json!({ "name": name, "group": call.resource.group, "kind": call.resource.plural, "causes": causes });
    Failure { code: 409, reason: "Conflict", message, details }
}

fn complete_namespace(object: &mut Value, name: &str) {
    let metadata = metadata_of(object);
    if let Some(labels) = metadata.entry("labels").or_insert(json!({})).as_object_mut() {
        labels.insert("kubernetes.io/metadata.name".into(), json!(name));
    }
    if let Some(object) = object.as_object_mut() {
        object.insert("spec".into(), json!({ "finalizers": ["kubernetes"] }));
        object.insert("status".into(), json!({ "phase": "Active" }));
    }
}

fn check_type(call: &Call, object: &Value) -> Result<(), Failure> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (call.resource.api_version(), &call.resource.kind);
    if !object.is_object() || text("apiVersion") != version || text("kind") != *kind {
        let found = format!("{}, Kind={}", text("apiVersion"), text("kind"));
        return Err(Failure::bad_request(format!(
            "the API version in the data ({found}) does not match the expected API version ({version})"
        )));
    }
    Ok(())
}

/// The metadata of an object, which has some from then on.
pub(crate) fn metadata_of(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    if !object.get("metadata").is_some_and(Value::is_object) {
        object["metadata"] = json!({});
    }
    match object.get_mut("metadata") {
        Some(Value::Object(metadata)) => metadata,
        // It is one, by the lines above.
        _ => unreachable!("metadata is an object"),
    }
}

fn read_json(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::bad_request(format!("the body is no JSON: {error}")))
}

/// RFC 7396.
fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge_patch(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
