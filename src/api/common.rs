//! Types that more than one kind uses.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest number of parameters a template may declare or an object may set.
pub const PARAMS_MAX: usize = 64;

/// A reference to an object of a known kind in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalReference {
    /// Name of the object, in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// A reference to one particular object: its name, and the uid that tells it from a later one of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// Name of the object, in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// Uid of the object. The operator writes it; a user may leave it out. Default: empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// A request to cancel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cancel {
    /// Why, for people; it is written into the record of the run. Default: empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// Kill running pods at once instead of giving them their grace period. Default: false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
    /// Who asks. The admission policy of the chart accepts no name but the asker's own, so a name that is there is true where
    /// that policy is installed; `kubectl rota cancel` fills it in. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub requested_by: Option<String>,
    /// The Job that runs in its place, if a schedule replaced it (concurrencyPolicy Replace). The operator writes it.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub replaced_by: Option<String>,
}

/// How a unit of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum Outcome {
    /// It ran and succeeded.
    Completed,
    /// It ran, or was to be started, and did not succeed.
    Failed,
    /// It did not run, for the reason its record states.
    Skipped,
}

impl Outcome {
    /// The word as it stands in the objects.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Skipped => "Skipped",
        }
    }
}

/// Leaves a false boolean out of the serialized object.
pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

/// The schema of a list of conditions: a map keyed by `type`, so that several writers can each own theirs.
pub(crate) fn conditions_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = <Vec<Condition> as JsonSchema>::json_schema(generator);
    schema.insert("x-kubernetes-list-type".into(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".into(), serde_json::json!(["type"]));
    schema
}

/// The schema of a list that is a map keyed by `name`, with at least `min` and at most `max` entries.
pub(crate) fn named_list_schema<T: JsonSchema>(
    generator: &mut schemars::SchemaGenerator,
    min: usize,
    max: usize,
) -> schemars::Schema {
    let mut schema = <Vec<T> as JsonSchema>::json_schema(generator);
    schema.insert("x-kubernetes-list-type".into(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".into(), serde_json::json!(["name"]));
    schema.insert("minItems".into(), min.into());
    schema.insert("maxItems".into(), max.into());
    schema
}

/// The schema of the parameter values that somebody gives: as far as the API server can tell, they fit into the annotations
/// of a pod.
pub(crate) fn given_values_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = param_values_schema(generator);
    let rule = serde_json::json!([{
        "rule": "self.map(name, size(bytes(self[name]))).sum() <= 262144",
        "message": "the values must not take more than 262144 bytes together: a pod gets them as an annotation",
    }]);
    schema.insert("x-kubernetes-validations".into(), rule);
    schema
}

/// The same for each of many members, of which the API server counts no more than characters.
pub(crate) fn member_values_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = param_values_schema(generator);
    let rule = serde_json::json!([{
        "rule": "self.map(name, size(self[name])).sum() <= 262144",
        "message": "the values must not take more than 262144 characters together: a pod gets them as an annotation",
    }]);
    schema.insert("x-kubernetes-validations".into(), rule);
    schema
}

/// The schema of parameter values: at most [`PARAMS_MAX`] strings, each of at most 8,192 characters.
pub(crate) fn param_values_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": PARAMS_MAX,
        "additionalProperties": { "type": "string", "maxLength": 8192 },
    })
}
