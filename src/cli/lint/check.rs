//! Check: what the API server, and after it the operator, would say of one object.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::schema::{Node, Weight, closest, pattern_of_rule};
use crate::api::{API_VERSION, GROUP, Job, JobGroup, JobRun, JobTemplate, Queue, Schedule, crds};
use crate::domain::calendar::Timing;
use crate::domain::{launch, params, sizes, template};

/// The longest name of an object, in characters.
const NAME_CHARACTERS_MAX: usize = 253;
/// The longest value of a label, and the longest name of one, in characters.
const LABEL_CHARACTERS_MAX: usize = 63;

/// What found a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// The document is no object of Kubernetes.
    Document,
    /// The schema: the API server refuses it.
    Schema,
    /// A rule of the definition: the API server refuses it.
    Rule,
    /// The operator: it is accepted, and then does not work.
    Operator,
    /// It does not fit another object.
    Reference,
    /// It is accepted and works, but not everything is used as it is written.
    Warning,
}

/// One fault of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What found it.
    pub source: Source,
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl Fault {
    /// A fault.
    pub fn new(source: Source, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { source, field: field.into(), message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => formatter.write_str(&self.message),
            field => write!(formatter, "{field}: {}", self.message),
        }
    }
}

/// One kind: its schema, twice.
struct Kind {
    schema: Node,
    rules: CompiledSchema,
    has_status_subresource: bool,
}

/// The definitions, read once.
pub struct Linter {
    kinds: BTreeMap<String, Kind>,
    validator: Validator,
}

impl Default for Linter {
    fn default() -> Self {
        Self::new()
    }
}

impl Linter {
    /// Reads the definitions.
    pub fn new() -> Self {
        let kind = |definition: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
            let version = definition.spec.versions.first()?;
            let schema = version.schema.as_ref()?.open_api_v3_schema.as_ref()?;
            let mut schema = serde_json::to_value(schema).ok()?;
            schema["properties"]["metadata"] = metadata_schema();
            schema["properties"]["apiVersion"] = json!({ "type": "string" });
            schema["properties"]["kind"] = json!({ "type": "string" });
            let node = Node::read(&schema);
            without_pod_template(&mut schema);
            without_patterns(&mut schema);
            Some((
                definition.spec.names.kind.clone(),
                Kind {
                    schema: node,
                    rules: compile_schema(&schema),
                    has_status_subresource: version.subresources.is_some(),
                },
            ))
        };
        let kinds = crds::all().iter().filter_map(|(_, definition)| kind(definition)).collect();
        Self { kinds, validator: Validator::new() }
    }

    /// What is wrong with an object of Rota's group, new or over an older one. It becomes what would be stored.
    pub fn check(&self, object: &mut Value, old: Option<&Value>) -> Vec<Fault> {
        let name = object["kind"].as_str().unwrap_or_default();
        let Some(kind) = self.kinds.get(name) else {
            let hint = closest(name, self.kinds.keys()).map(|meant| format!("; did you mean {meant}?"));
            let message = format!("there is no kind {name:?} in {API_VERSION}{}", hint.unwrap_or_default());
            return vec![Fault::new(Source::Document, "kind", message)];
        };
        if object["apiVersion"] != API_VERSION {
            let message = format!("must be {API_VERSION}, not {}", object["apiVersion"]);
            return vec![Fault::new(Source::Document, "apiVersion", message)];
        }
        let mut faults = check_metadata(object);
        let kept_status = old.and_then(|old| old.get("status")).filter(|_| kind.has_status_subresource);
        if let Some(fields) = object.as_object_mut().filter(|_| kind.has_status_subresource) {
            // A status that is written with the spec is ignored, and the one that is there stays.
            fields.remove("status");
        }
        let flaws = kind.schema.check(object);
        let can_be_judged = flaws.iter().all(|flaw| flaw.weight != Weight::Malformed);
        faults.extend(flaws.into_iter().map(|flaw| {
            let source = if flaw.weight == Weight::Rule { Source::Rule } else { Source::Schema };
            Fault::new(source, flaw.field, flaw.message)
        }));
        if let Some(status) = kept_status {
            object["status"] = status.clone();
        }
        if can_be_judged {
            let mut old = old.cloned();
            old.iter_mut().for_each(|old| kind.schema.align(old, object));
            let broken = self.validator.validate_compiled(&kind.rules, object, old.as_ref()).err();
            let broken = broken.map(|errors| errors.into_vec()).unwrap_or_default();
            faults.extend(broken.into_iter().map(|error| Fault::new(Source::Rule, error.field_path, error.message)));
        }
        if can_be_judged {
            for fault in operator_faults(object) {
                if !faults.iter().any(|known| known.field == fault.field && known.message == fault.message) {
                    faults.push(fault);
                }
            }
        }
        faults
    }

    /// Whether a document is an object of Rota's, and what is wrong if it is no object of anybody's.
    pub fn belongs(document: &Value) -> Result<bool, Fault> {
        let missing = |field: &str| Fault::new(Source::Document, field, "is required");
        if !document.is_object() {
            return Err(Fault::new(Source::Document, "", "must be an object"));
        }
        let api_version = document["apiVersion"].as_str().ok_or_else(|| missing("apiVersion"))?;
        document["kind"].as_str().ok_or_else(|| missing("kind"))?;
        Ok(api_version.split('/').next() == Some(GROUP))
    }
}

/// What the operator would say of an object that the API server accepts.
fn operator_faults(object: &Value) -> Vec<Fault> {
    fn read<Kind: DeserializeOwned>(object: &Value, judge: impl FnOnce(Kind) -> Vec<Fault>) -> Vec<Fault> {
        match Kind::deserialize(object) {
            Ok(object) => judge(object),
            Err(error) => vec![Fault::new(Source::Operator, "", format!("cannot be read: {error}"))],
        }
    }
    match object["kind"].as_str().unwrap_or_default() {
        "Schedule" => read(object, |schedule: Schedule| {
            let timing = Timing::parse(&schedule.spec.timing(Timestamp::UNIX_EPOCH), "");
            timing.err().map(|error| Fault::new(Source::Operator, error.field, error.message)).into_iter().collect()
        }),
        "JobTemplate" => read(object, |template: JobTemplate| template_faults(&template)),
        "Job" => read(object, |job: Job| {
            let values = if job.spec.template_ref.is_some() { None } else { Some(&job.spec.params) };
            let errors = values.and_then(|values| params::resolve_undeclared(values).err()).unwrap_or_default();
            let body = job.spec.job_template.as_ref();
            let fits = body.map_or(Ok(()), |body| sizes::check(&job, body, &[], &job.spec.params));
            errors.iter().map(param_fault).chain(fits.err().map(size_fault)).collect()
        }),
        "JobGroup" => {
            read(object, |group: JobGroup| sizes::check_group(&group, 0).err().map(size_fault).into_iter().collect())
        }
        "JobRun" => read(object, |_: JobRun| vec![]),
        "Queue" => read(object, |_: Queue| vec![]),
        _ => vec![],
    }
}

fn template_faults(template: &JobTemplate) -> Vec<Fault> {
    let errors = params::check_declarations(&template.spec.params);
    let mut faults: Vec<Fault> = errors.iter().map(param_fault).collect();
    let name = template.metadata.name.as_deref().unwrap_or("template");
    if faults.is_empty()
        && let Err(error) = launch::dry_run_job("default", name, &template.spec.job_template, &template.spec.params)
    {
        faults.push(Fault::new(Source::Operator, "spec.jobTemplate", error.to_string()));
    }
    if faults.is_empty() {
        faults.extend(template::check_sizes(&template.spec).err().map(size_fault));
    }
    faults
}

/// What does not fit, by the field that the sentence begins with.
fn size_fault(message: String) -> Fault {
    let (field, message) = message.split_once(": ").unwrap_or(("spec", &message));
    Fault::new(Source::Operator, field, message)
}

fn param_fault(error: &params::ParamError) -> Fault {
    let dot = if error.name.is_empty() { "" } else { "." };
    Fault::new(Source::Operator, format!("spec.params{dot}{}", error.name), error.message.clone())
}

/// Pod templates have no rules, and most of the schema.
fn without_pod_template(schema: &mut Value) {
    if let Some(template) = schema.pointer_mut("/properties/spec/properties/jobTemplate") {
        *template = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    }
}

/// Rules that are one pattern are judged with the schema.
fn without_patterns(schema: &mut Value) {
    if let Some(rules) = schema.get_mut("x-kubernetes-validations").and_then(Value::as_array_mut) {
        rules.retain(|rule| pattern_of_rule(rule).is_none());
    }
    let Some(fields) = schema.as_object_mut() else { return };
    for (keyword, below) in fields {
        match (keyword.as_str(), below) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(without_patterns),
            ("items" | "additionalProperties", below) => without_patterns(below),
            _ => {}
        }
    }
}

/// What Kubernetes says of every object's metadata, without what only the API server writes.
fn metadata_schema() -> Value {
    let text = || json!({ "type": "string" });
    let texts = || json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let any = || json!({ "x-kubernetes-preserve-unknown-fields": true });
    json!({ "type": "object", "properties": {
        "name": text(), "generateName": text(), "namespace": text(), "labels": texts(), "annotations": texts(),
        "finalizers": { "type": "array", "items": text() },
        "ownerReferences": { "type": "array", "items": any() },
        "uid": text(), "resourceVersion": text(), "selfLink": text(),
        "generation": { "type": "integer", "format": "int64" },
        "creationTimestamp": any(), "deletionTimestamp": any(), "deletionGracePeriodSeconds": any(),
        "managedFields": any(),
    } })
}

fn check_metadata(object: &Value) -> Vec<Fault> {
    let metadata = &object["metadata"];
    let mut faults = Vec::new();
    let mut fault = |field: String, message: &str| faults.push(Fault::new(Source::Schema, field, message));
    match (metadata["name"].as_str(), metadata["generateName"].as_str()) {
        (None | Some(""), None | Some("")) => fault("metadata.name".into(), "name or generateName is required"),
        (None | Some(""), Some(prefix)) if !is_dns_name(&format!("{prefix}x")) => {
            fault("metadata.generateName".into(), "must begin a name of lower case letters, digits, - and .")
        }
        (Some(name), _) if !name.is_empty() && !is_dns_name(name) => fault(
            "metadata.name".into(),
            "must be lower case letters, digits, - and ., begin and end with a letter or digit, and have at most 253 characters",
        ),
        _ => {}
    }
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        let name = key.rsplit('/').next().unwrap_or_default();
        let prefix = key.strip_suffix(name).and_then(|prefix| prefix.strip_suffix('/'));
        if name.is_empty() || !is_label(name) || prefix.is_some_and(|prefix| !is_dns_name(prefix)) {
            fault(format!("metadata.labels.{key}"), "the key is no label key, such as example.com/team");
        }
        if value.as_str().is_some_and(|value| !is_label(value)) {
            fault(
                format!("metadata.labels.{key}"),
                "must be at most 63 letters, digits, -, _ and ., and begin and end with a letter or digit",
            );
        }
    }
    faults
}

fn is_dns_name(name: &str) -> bool {
    let part = |part: &str| {
        let within = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !part.is_empty() && part.bytes().all(within) && !part.starts_with('-') && !part.ends_with('-')
    };
    name.len() <= NAME_CHARACTERS_MAX && name.split('.').all(part)
}

fn is_label(text: &str) -> bool {
    let within = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= LABEL_CHARACTERS_MAX
        && bytes.iter().copied().all(within)
        && ends(bytes.first())
        && ends(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(spec: Value) -> Value {
        json!({ "apiVersion": API_VERSION, "kind": "Schedule", "metadata": { "name": "nightly" }, "spec": spec })
    }

    fn said(object: Value) -> Vec<String> {
        Linter::new().check(&mut object.clone(), None).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_schema_the_rules_and_the_calendar_each_have_their_say() {
        let template = json!({ "name": "report" });
        assert_eq!(said(schedule(json!({ "templateRef": template, "cron": "0 9 * * 1-5" }))), Vec::<String>::new());
        for (spec, expected) in [
            (
                json!({ "templateRef": template, "cron": "0 9 * * *", "timezone": "UTC" }),
                "spec.timezone: unknown field; did you mean timeZone?",
            ),
            (
                json!({ "templateRef": template, "cron": "0 0 30 2 *" }),
                "spec.cron: never matches: no month of \"0 0 30 2 *\" has such a day",
            ),
            (
                json!({ "templateRef": template, "cron": "0 0 * * *", "timeZone": "Europe/Lodon" }),
                "spec.timeZone: \"Europe/Lodon\" is not a time zone of the IANA database; did you mean Europe/London?",
            ),
            (
                json!({ "templateRef": template, "interval": "1h", "timeZone": "UTC" }),
                "spec.timeZone: timeZone applies to cron only: interval is elapsed time, and at carries its own offset",
            ),
            (
                json!({ "templateRef": template, "interval": "1h", "cron": "0 0 * * *" }),
                "spec: exactly one of cron, interval and at must be set",
            ),
            (json!({ "templateRef": template }), "spec: exactly one of cron, interval and at must be set"),
            (json!({ "cron": "0 0 * * *" }), "spec.templateRef: is required"),
        ] {
            let found = said(schedule(spec.clone()));
            assert_eq!(found.first().map(String::as_str), Some(expected), "{spec}: {found:?}");
        }
    }

    #[test]
    fn metadata_is_checked_too() {
        let spec = json!({ "templateRef": { "name": "report" }, "interval": "1h" });
        for (metadata, field) in [
            (json!({}), "metadata.name"),
            (json!({ "name": "Nightly" }), "metadata.name"),
            (json!({ "name": "nightly", "lables": {} }), "metadata.lables"),
            (json!({ "name": "nightly", "labels": { "team": 1 } }), "metadata.labels.team"),
            (json!({ "name": "nightly", "labels": { "team": "a b" } }), "metadata.labels.team"),
            (json!({ "name": "nightly", "labels": { "a/b/c": "a" } }), "metadata.labels.a/b/c"),
        ] {
            let mut object = schedule(spec.clone());
            object["metadata"] = metadata.clone();
            let found = said(object);
            assert!(found.len() == 1 && found[0].starts_with(&format!("{field}: ")), "{metadata}: {found:?}");
        }
        let mut object = schedule(spec);
        object["metadata"] =
            json!({ "generateName": "nightly-", "creationTimestamp": null, "labels": { "example.com/team": "" } });
        assert_eq!(said(object), Vec::<String>::new());
    }

    #[test]
    fn another_version_or_kind_is_named() {
        let mut object = schedule(json!({}));
        object["apiVersion"] = json!("rota.dev/v1");
        assert_eq!(said(object.clone()), ["apiVersion: must be rota.dev/v1alpha1, not \"rota.dev/v1\""]);
        object["kind"] = json!("Shedule");
        assert_eq!(said(object), ["kind: there is no kind \"Shedule\" in rota.dev/v1alpha1; did you mean Schedule?"]);
        assert_eq!(Linter::belongs(&json!({ "apiVersion": "batch/v1", "kind": "Job" })), Ok(false));
        assert!(Linter::belongs(&json!({ "kind": "Job" })).is_err() && Linter::belongs(&json!([1])).is_err());
    }

    #[test]
    fn every_rule_of_every_definition_compiles() {
        fn broken(schema: &CompiledSchema) -> bool {
            let mut below = schema
                .properties
                .values()
                .chain(schema.items.as_deref())
                .chain(schema.additional_properties.as_deref());
            schema.has_errors() || below.any(broken)
        }
        assert!(Linter::new().kinds.values().all(|kind| !broken(&kind.rules)));
    }

    #[test]
    fn every_pattern_of_every_definition_compiles() {
        fn patterns(schema: &Value, found: &mut Vec<String>) {
            match schema {
                Value::Object(fields) => {
                    found.extend(fields.get("pattern").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|below| patterns(below, found));
                }
                Value::Array(items) => items.iter().for_each(|below| patterns(below, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        crds::all().iter().for_each(|(_, definition)| patterns(&serde_json::to_value(definition).unwrap(), &mut found));
        assert!(found.len() > 20);
        for pattern in found {
            assert!(regex_lite::Regex::new(&pattern).is_ok(), "{pattern}");
        }
    }
}
