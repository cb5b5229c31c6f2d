//! Failures: what the API server answers when it does not do as asked, as `metav1.Status`.

use serde_json::{Value, json};

use crate::resources::Resource;

/// An answer other than success.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason, such as `NotFound`; empty: there is none.
    pub reason: &'static str,
    /// The sentence for people.
    pub message: String,
    /// The details: name, group, kind, causes.
    pub details: Value,
}

impl Failure {
    /// One with these parts and no details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: json!({}) }
    }

    fn about(resource: &Resource, name: &str, code: u16, reason: &'static str, message: String) -> Self {
        Self {
            code,
            reason,
            message,
            details: json!({ "name": name, "group": resource.group, "kind": resource.plural }),
        }
    }

    /// There is no object of that name.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.qualified());
        Self::about(resource, name, 404, "NotFound", message)
    }

    /// The server does not serve that path.
    pub fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// An object of that name exists already.
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Self::about(resource, name, 409, "AlreadyExists", message)
    }

    /// The object is not what the request says it is.
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", resource.qualified());
        Self::about(resource, name, 409, "Conflict", message)
    }

    /// The object was changed since it was read.
    pub fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// The fields of the object are wrong: the causes in sentences that begin with the field.
    pub fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        let sentences: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let said = match sentences.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} {name:?} is invalid: {said}", resource.qualified_kind());
        let causes: Vec<Value> = causes
            .iter()
            .map(|cause| json!({ "reason": cause.reason, "message": cause.message, "field": cause.field }))
            .collect();
        let details = json!({ "name": name, "group": resource.group, "kind": resource.kind, "causes": causes });
        Self { code: 422, reason: "Invalid", message, details }
    }

    /// The request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// Something that is asked before a write is against it.
    pub fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", resource.qualified());
        Self::about(resource, name, 403, "Forbidden", message)
    }

    /// The version from which a watch or a listing should go on is not known any more.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// The answer as it is sent.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "details": self.details,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        status
    }
}

/// Why one field is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The path of the field, such as `spec.cron`.
    pub field: String,
    /// The machine-readable reason, such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// The sentence, without the field.
    pub message: String,
}

impl Cause {
    /// A required field is missing.
    pub fn required(field: &str) -> Self {
        Self { field: field.into(), reason: "FieldValueRequired", message: "Required value".into() }
    }

    /// The value is not allowed.
    pub fn value(field: &str, value: &Value, why: &str) -> Self {
        Self { field: field.into(), reason: "FieldValueInvalid", message: format!("Invalid value: {value}: {why}") }
    }

    /// The value has the wrong type.
    pub fn type_of(field: &str, found: &str, wanted: &str) -> Self {
        let message = format!("Invalid value: {found:?}: {field} in body must be of type {wanted}: {found:?}");
        Self { field: field.into(), reason: "FieldValueTypeInvalid", message }
    }

    /// The value is none of those that are allowed.
    pub fn unsupported(field: &str, value: &Value, allowed: &[Value]) -> Self {
        let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", allowed.join(", "));
        Self { field: field.into(), reason: "FieldValueNotSupported", message }
    }
}
