//! Enumerations in the schemas: what `kubectl explain` says of a field that takes one of a few words.
//!
//! kube makes structural schemas, which have no place for the description of a single word, and it gives an optional field
//! the description of its type in place of its own. Here each such field gets its own description back, with a list of its
//! words in the form in which Kubernetes documents its own.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The definition of a kind, with the words of its enumerations explained.
pub(crate) fn explained<K: CustomResourceExt + JsonSchema>() -> CustomResourceDefinition {
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    let written = settings.into_generator().into_root_schema_for::<K>().to_value();
    let mut definition = K::crd();
    for version in &mut definition.spec.versions {
        for schema in version.schema.iter_mut().filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
            explain(schema, &written);
        }
    }
    definition
}

/// Explains the fields below a node, from the schema as it is written in Rust. What a jobTemplate holds is Kubernetes' own.
fn explain(schema: &mut JSONSchemaProps, written: &Value) {
    let written = present(written);
    for (name, property) in schema.properties.iter_mut().flatten().filter(|(name, _)| *name != "jobTemplate") {
        let written = &written["properties"][name.as_str()];
        if takes_words(property) {
            property.description = Some(description(written));
        }
        explain(property, written);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        explain(items, &written["items"]);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        explain(values, &written["additionalProperties"]);
    }
}

/// Whether a field is one of a few words, or a list of such.
fn takes_words(field: &JSONSchemaProps) -> bool {
    let items = match &field.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => items.enum_.is_some(),
        _ => false,
    };
    items || field.enum_.is_some()
}

/// The field's own description, and what each of its words means.
fn description(written: &Value) -> String {
    let mut text = written["description"].as_str().unwrap_or_default().to_owned();
    let one = present(written);
    let one = if one["items"].is_object() { present(&one["items"]) } else { one };
    text += "\n\nPossible enum values:";
    for word in one["oneOf"].as_array().into_iter().flatten() {
        let meaning = word["description"].as_str().unwrap_or_default().replace('\n', " ");
        text += &format!("\n - `{}` {meaning}", word["const"]);
    }
    text
}

/// The schema of what is there, of a field that may be absent.
fn present(written: &Value) -> &Value {
    let either = written["anyOf"].as_array().into_iter().flatten();
    either.into_iter().find(|schema| schema["type"] != "null").unwrap_or(written)
}
