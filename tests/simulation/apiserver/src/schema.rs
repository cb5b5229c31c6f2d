//! Schemas: the structural schema of a CRD, by which objects are pruned, defaulted and validated.

use std::collections::BTreeMap;

use kube_cel::{CompiledSchema, Validator, compile_schema};
use regex::Regex;
use serde_json::Value;

use crate::failure::Cause;

/// A node of a structural schema.
#[derive(Debug, Default)]
pub struct Schema {
    kind: Kind,
    properties: BTreeMap<String, Schema>,
    additional: Option<Box<Schema>>,
    /// The items of an array.
    pub items: Option<Box<Schema>>,
    required: Vec<String>,
    allowed: Vec<Value>,
    pattern: Option<Regex>,
    format: String,
    bounds: Bounds,
    is_nullable: bool,
    default: Option<Value>,
    keeps_unknown: bool,
    /// How the items of an array are told apart.
    pub list: ListType,
    /// Whether the fields of an object are replaced as a whole.
    pub is_atomic_map: bool,
}

/// How the items of an array are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// They are not: the array is replaced as a whole.
    #[default]
    Atomic,
    /// Each occurs once.
    Set,
    /// By these fields.
    Map(Vec<String>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Any,
    Object,
    Array,
    Text,
    Integer,
    Number,
    Boolean,
    IntegerOrText,
}

#[derive(Debug, Default)]
struct Bounds {
    least: Option<f64>,
    most: Option<f64>,
    length: (Option<u64>, Option<u64>),
    items: (Option<u64>, Option<u64>),
    properties: (Option<u64>, Option<u64>),
}

impl Schema {
    /// Reads a schema as a CRD gives it.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        let text = |name: &str| schema.get(name).and_then(Value::as_str).unwrap_or_default();
        let is = |name: &str| schema.get(name) == Some(&Value::Bool(true));
        let words = |name: &str| -> Vec<String> {
            let list = schema.get(name).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
        };
        let one = |name: &str| schema.get(name).filter(|it| it.is_object()).map(Self::compile).transpose();
        let mut properties = BTreeMap::new();
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            properties.insert(name.clone(), Self::compile(property)?);
        }
        let pattern = Some(text("pattern")).filter(|pattern| !pattern.is_empty());
        Ok(Self {
            kind: Kind::of(text("type"), is("x-kubernetes-int-or-string")),
            properties,
            additional: one("additionalProperties")?.map(Box::new),
            items: one("items")?.map(Box::new),
            required: words("required"),
            allowed: schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            pattern: pattern.map(Regex::new).transpose().map_err(|error| error.to_string())?,
            format: text("format").into(),
            bounds: Bounds::of(schema),
            is_nullable: is("nullable"),
            default: schema.get("default").cloned(),
            keeps_unknown: is("x-kubernetes-preserve-unknown-fields"),
            list: match text("x-kubernetes-list-type") {
                "set" => ListType::Set,
                "map" => ListType::Map(words("x-kubernetes-list-map-keys")),
                _ => ListType::Atomic,
            },
            is_atomic_map: text("x-kubernetes-map-type") == "atomic",
        })
    }

    /// The schema of a field, and whether it is one of those that are listed by name.
    pub fn child(&self, name: &str) -> (Option<&Self>, bool) {
        match self.properties.get(name) {
            Some(property) => (Some(property), true),
            None => (self.additional.as_deref(), false),
        }
    }

    /// Adds what every object has to the schema of a kind.
    pub fn with_metadata(mut self) -> Self {
        let metadata = serde_json::json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "name": {}, "namespace": {}, "uid": {}, "generateName": {}, "resourceVersion": {}, "generation": {},
            "creationTimestamp": {}, "deletionTimestamp": {}, "deletionGracePeriodSeconds": {}, "selfLink": {}, "managedFields": {},
            "labels": { "type": "object", "additionalProperties": { "type": "string" } },
            "annotations": { "type": "object", "additionalProperties": { "type": "string" } },
            "finalizers": { "type": "array", "items": { "type": "string" }, "x-kubernetes-list-type": "set" },
            "ownerReferences": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"],
                "items": { "type": "object", "x-kubernetes-map-type": "atomic" },
            },
        } });
        // It is written above.
        self.properties.insert("metadata".into(), Self::compile(&metadata).unwrap_or_default());
        for name in ["apiVersion", "kind"] {
            self.properties.insert(name.into(), Self { kind: Kind::Text, ..Self::default() });
        }
        self
    }

    /// Drops the fields that the schema does not know; their paths are added to `unknown`.
    pub fn prune(&self, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if !self.keeps_unknown && self.additional.is_none() && self.kind == Kind::Object {
                    map.retain(|name, _| {
                        let is_known = self.properties.contains_key(name);
                        if !is_known {
                            unknown.push(below(path, name));
                        }
                        is_known
                    });
                }
                for (name, child) in map.iter_mut().filter(|(name, _)| !(path.is_empty() && *name == "metadata")) {
                    if let Some(schema) = self.child(name).0 {
                        schema.prune(child, &below(path, name), unknown);
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = self.items.as_deref() else { return };
                for (index, item) in items.iter_mut().enumerate() {
                    schema.prune(item, &format!("{path}[{index}]"), unknown);
                }
            }
            _ => {}
        }
    }

    /// Sets the fields that are missing and have a default.
    pub fn set_defaults(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, property) in &self.properties {
                    let is_null = map.get(name).is_some_and(Value::is_null) && !property.is_nullable;
                    if let Some(default) = property.default.as_ref().filter(|_| is_null || !map.contains_key(name)) {
                        map.insert(name.clone(), default.clone());
                    }
                }
                for (name, child) in map.iter_mut() {
                    if let Some(schema) = self.child(name).0 {
                        schema.set_defaults(child);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = self.items.as_deref() {
                    items.iter_mut().for_each(|item| schema.set_defaults(item));
                }
            }
            _ => {}
        }
    }

    /// Drops the nulls of fields that may not be null and have no default: for the API server they are not there. Those with a
    /// default get it.
    pub fn drop_nulls(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|name, child| {
                    !child.is_null()
                        || self.child(name).0.is_none_or(|schema| schema.is_nullable || schema.default.is_some())
                });
                for (name, child) in map.iter_mut() {
                    if let Some(schema) = self.child(name).0 {
                        schema.drop_nulls(child);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = self.items.as_deref() {
                    items.iter_mut().for_each(|item| schema.drop_nulls(item));
                }
            }
            _ => {}
        }
    }

    /// Adds to `causes` what is wrong with a value.
    pub fn validate(&self, value: &Value, path: &str, causes: &mut Vec<Cause>) {
        if value.is_null() && self.is_nullable {
            return;
        }
        if !self.kind.accepts(value) {
            causes.push(Cause::type_of(path, type_name(value), self.kind.word()));
            return;
        }
        if !self.allowed.is_empty() && !self.allowed.contains(value) {
            causes.push(Cause::unsupported(path, value, &self.allowed));
        }
        let mut wrong = |why: String| causes.push(Cause::value(path, value, &format!("{path} in body {why}")));
        self.bounds.check(value, &mut wrong);
        if let Value::String(text) = value {
            if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
                wrong(format!("should match '{pattern}'"));
            }
            if self.format == "date-time" && text.parse::<jiff::Timestamp>().is_err() {
                wrong(format!("must be of type date-time: {text:?}"));
            }
        }
        if let (Some(number), "int32") = (value.as_i64(), self.format.as_str())
            && i32::try_from(number).is_err()
        {
            wrong("must be of type int32".into());
        }
        self.validate_children(value, path, causes);
    }

    /// What keeps a value from being read as one of this schema: a field that is not known, a value of another type and, where
    /// `once`, an item that occurs twice, as server-side apply demands it.
    pub fn mistyped(&self, value: &Value, path: &str, once: bool) -> Option<String> {
        if value.is_null() {
            return None;
        }
        if !self.kind.accepts(value) {
            return Some(format!("{path}: expected {}, got {}", self.kind.word(), type_name(value)));
        }
        match value {
            Value::Object(map) => map.iter().find_map(|(name, child)| match self.child(name).0 {
                Some(schema) => schema.mistyped(child, &format!("{path}.{name}"), once),
                None if self.keeps_unknown || self.kind != Kind::Object => None,
                None => Some(format!("{path}.{name}: field not declared in schema")),
            }),
            Value::Array(items) => {
                let mut causes = Vec::new();
                if once {
                    self.check_duplicates(items, path, &mut causes);
                }
                let twice = causes.first().map(|cause| format!("{}: {}", cause.field, cause.message));
                let schema = self.items.as_deref();
                twice.or_else(|| items.iter().find_map(|item| schema?.mistyped(item, path, once)))
            }
            _ => None,
        }
    }

    fn validate_children(&self, value: &Value, path: &str, causes: &mut Vec<Cause>) {
        match value {
            Value::Object(map) => {
                let missing = self.required.iter().filter(|name| !map.contains_key(*name));
                causes.extend(missing.map(|name| Cause::required(&below(path, name))));
                for (name, child) in map {
                    if let Some(schema) = self.child(name).0 {
                        schema.validate(child, &below(path, name), causes);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let Some(schema) = self.items.as_deref() {
                        schema.validate(item, &format!("{path}[{index}]"), causes);
                    }
                }
                self.check_duplicates(items, path, causes);
            }
            _ => {}
        }
    }

    fn check_duplicates(&self, items: &[Value], path: &str, causes: &mut Vec<Cause>) {
        if self.list == ListType::Atomic {
            return;
        }
        let mut seen = std::collections::BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            if !seen.insert(crate::fields::element(item, Some(&self.list))) {
                let message = format!("Duplicate value: {item}");
                causes.push(Cause { field: format!("{path}[{index}]"), reason: "FieldValueDuplicate", message });
            }
        }
    }
}

impl Kind {
    fn of(name: &str, is_integer_or_text: bool) -> Self {
        match name {
            _ if is_integer_or_text => Self::IntegerOrText,
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::Text,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => Self::Any,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Object => "object",
            Self::Array => "array",
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::IntegerOrText => "integer,string",
        }
    }

    fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
            Self::Text => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|it| it.fract() == 0.0),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::IntegerOrText => value.is_i64() || value.is_u64() || value.is_string(),
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Bounds {
    fn of(schema: &Value) -> Self {
        let number = |name: &str| schema.get(name).and_then(Value::as_f64);
        let count = |name: &str| schema.get(name).and_then(Value::as_u64);
        Self {
            least: number("minimum"),
            most: number("maximum"),
            length: (count("minLength"), count("maxLength")),
            items: (count("minItems"), count("maxItems")),
            properties: (count("minProperties"), count("maxProperties")),
        }
    }

    fn check(&self, value: &Value, wrong: &mut impl FnMut(String)) {
        if let Some(number) = value.as_f64() {
            if let Some(least) = self.least.filter(|least| number < *least) {
                wrong(format!("should be greater than or equal to {least}"));
            }
            if let Some(most) = self.most.filter(|most| number > *most) {
                wrong(format!("should be less than or equal to {most}"));
            }
        }
        let (count, (least, most), what) = match value {
            Value::String(text) => (text.chars().count(), self.length, "chars long"),
            Value::Array(items) => (items.len(), self.items, "items"),
            Value::Object(map) => (map.len(), self.properties, "properties"),
            _ => return,
        };
        let count = count as u64;
        if let Some(least) = least.filter(|least| count < *least) {
            wrong(format!("should be at least {least} {what}"));
        }
        if let Some(most) = most.filter(|most| count > *most) {
            wrong(format!("should be at most {most} {what}"));
        }
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The rules of a CRD in CEL.
pub struct Rules {
    compiled: CompiledSchema,
    validator: Validator,
}

impl Rules {
    /// Compiles the rules of a schema.
    pub fn compile(schema: &Value) -> Self {
        Self { compiled: compile_schema(schema), validator: Validator::new() }
    }

    /// Adds to `causes` which rules an object breaks.
    pub fn validate(&self, object: &Value, before: Option<&Value>, causes: &mut Vec<Cause>) {
        let Err(errors) = self.validator.validate_compiled(&self.compiled, object, before) else { return };
        for error in errors.into_vec() {
            let field = error.field_path.trim_start_matches('.').to_owned();
            causes.push(Cause {
                field,
                reason: "FieldValueInvalid",
                message: format!("Invalid value: {}", error.message),
            });
        }
    }
}
