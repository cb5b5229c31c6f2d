//! The schema of an embedded batch Job template.
//!
//! The value itself is kept as JSON, so that a pod field newer than this build is passed on and a
//! template can never fail to decode; the schema is Kubernetes' own, without its descriptions, which
//! would push a CRD past the 256 KiB that `kubectl apply` can annotate.

use k8s_openapi::api::batch::v1::JobTemplateSpec;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

/// The schema of `spec.jobTemplate`: the same shape as a CronJob's.
pub(crate) fn job_template_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut value = JobTemplateSpec::json_schema(generator).to_value();
    simplify(&mut value);
    if let Value::Object(object) = &mut value {
        object.insert(
            "description".into(),
            "What runs: the same shape as a CronJob's jobTemplate, so the body of a CronJob pastes in. \
             backoffLimit is forced to 0 and restartPolicy to Never: retries are Rota's, one batch Job an attempt."
                .into(),
        );
    }
    Schema::try_from(value).unwrap_or_default()
}

/// Drops descriptions, and lets a quantity be a number as well as a string, as Kubernetes does.
fn simplify(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let description = object.get("description").and_then(Value::as_str).unwrap_or_default();
            if description.starts_with("Quantity is a fixed-point") {
                *value = serde_json::json!({
                    "anyOf": [{ "type": "integer" }, { "type": "string" }],
                    "x-kubernetes-int-or-string": true,
                });
                return;
            }
            if object.get("description").is_some_and(Value::is_string) {
                object.remove("description");
            }
            object.values_mut().for_each(simplify);
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
