//! The schema of an embedded batch Job template.
//!
//! The value itself is kept as JSON, so that a pod field newer than this build is passed on and a
//! template can never fail to decode; the schema is Kubernetes' own, without its descriptions, which
//! would push a CRD past the 256 KiB that `kubectl apply` can annotate. Only the fields of [`pod_fields`] have one.

use k8s_openapi::api::batch::v1::JobTemplateSpec;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::pod_fields;

/// The schema of `spec.jobTemplate`: the same shape as a CronJob's.
pub(crate) fn job_template_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut value = JobTemplateSpec::json_schema(generator).to_value();
    simplify(&mut value);
    pod_fields::describe(&mut value);
    Schema::try_from(value).unwrap_or_default()
}

/// The fields that are one quantity each: their own description stands where a map's values have the quantity's.
const QUANTITY_FIELDS: [&str; 2] = ["sizeLimit", "divisor"];

/// A quantity: a string, or a number such as 1 or 0.5, as Kubernetes reads it in a CronJob. A structural schema has no
/// type for that (int-or-string refuses 0.5), so any type passes, and the limits refuse what is no quantity.
fn quantity() -> Value {
    serde_json::json!({
        "x-kubernetes-preserve-unknown-fields": true,
        "pattern": r"^[-+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?$",
        "maxItems": 0,
        "maxProperties": 0,
    })
}

/// Drops descriptions, and replaces the schema of each quantity.
fn simplify(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let description = object.get("description").and_then(Value::as_str).unwrap_or_default();
            if description.starts_with("Quantity is a fixed-point") {
                *value = quantity();
                return;
            }
            if object.get("description").is_some_and(Value::is_string) {
                object.remove("description");
            }
            for (name, part) in object {
                if QUANTITY_FIELDS.contains(&name.as_str()) && part.is_object() {
                    *part = quantity();
                }
                simplify(part);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
