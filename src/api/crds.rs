//! The CustomResourceDefinitions of all kinds, as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

use super::enums;
use super::{Job, JobGroup, JobRun, JobTemplate, Queue, Schedule};

/// The generation that the status of an object names that no operator has looked at.
pub const NOT_LOOKED_AT: i64 = -1;
/// A time that decodes: RFC 3339 as far as the API server and this program agree on it. Unlike the API server's own
/// `date-time` it has no comma, at most nine digits of a second, a zone offset that exists and a year within range.
const TIME_PATTERN: &str =
    "^[1-8][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";

/// All kinds, in the order in which a reader meets them, with the name of their file in `crds/`.
pub fn all() -> Vec<(&'static str, CustomResourceDefinition)> {
    let mut definitions = vec![
        ("jobtemplates.yaml", enums::explained::<JobTemplate>()),
        ("schedules.yaml", enums::explained::<Schedule>()),
        ("queues.yaml", enums::explained::<Queue>()),
        ("jobs.yaml", enums::explained::<Job>()),
        ("jobgroups.yaml", enums::explained::<JobGroup>()),
        ("jobruns.yaml", without_status_subresource(enums::explained::<JobRun>())),
    ];
    for (_, definition) in &mut definitions {
        for version in &mut definition.spec.versions {
            let has_status = version.subresources.is_some();
            for schema in version.schema.iter_mut().filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
                only_decodable(schema);
                if has_status {
                    not_looked_at(schema);
                }
            }
        }
    }
    definitions
}

/// Gives an object that the operator has not looked at a status that says so: tools that wait for objects (kstatus, in Flux
/// and in `helm --wait`) take one without a status for done.
fn not_looked_at(schema: &mut JSONSchemaProps) {
    if let Some(status) = schema.properties.as_mut().and_then(|properties| properties.get_mut("status")) {
        status.default = Some(JSON(serde_json::json!({ "observedGeneration": NOT_LOOKED_AT })));
    }
}

/// Narrows a schema so that whatever the API server accepts can be decoded: bounds and a known format for unsigned
/// integers, a pattern for times. What a jobTemplate holds is passed on as it is, and stays.
fn only_decodable(schema: &mut JSONSchemaProps) {
    match schema.format.as_deref() {
        Some("uint32") => {
            schema.format = Some("int64".into());
            schema.maximum = Some(schema.maximum.unwrap_or(f64::from(u32::MAX)));
        }
        Some("uint64") => schema.format = Some("int64".into()),
        Some("date-time") => schema.pattern = Some(TIME_PATTERN.into()),
        _ => {}
    }
    let properties = schema.properties.iter_mut().flatten();
    properties.filter(|(name, _)| *name != "jobTemplate").for_each(|(_, property)| only_decodable(property));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        only_decodable(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        only_decodable(values);
    }
}

/// A JobRun is created complete, in one write. With a status subresource the API server would drop its status.
fn without_status_subresource(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        version.subresources = None;
    }
    definition
}

/// The names of the definitions that must be installed and established before the operator can work.
pub fn names() -> Vec<String> {
    all().into_iter().filter_map(|(_, definition)| definition.metadata.name).collect()
}
