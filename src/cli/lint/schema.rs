//! Schema: what a definition's schema says of an object, in the words of a person.
//!
//! Structural schemas use some twenty keywords and neither `oneOf` nor `$ref`. They are walked here rather than by a
//! library of JSON Schema, because the API server adds rules of its own (nulls are dropped, defaults filled in, whatever
//! the schema does not mention is unknown, lists are maps), and because a path, a suggestion and a hint are wanted.
//! `tests/apiserver` compares the verdicts with the server's.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use regex_lite::Regex;
use serde_json::{Map, Number, Value};

use crate::domain::params::edit_distance;

/// How much of a value a message shows, in characters.
const SHOWN_CHARACTERS_MAX: usize = 64;
/// How deep values are looked into; deeper ones do not occur in the schemas.
const DEPTH_MAX: usize = 64;

/// One node of a schema.
#[derive(Clone, Debug, Default)]
pub struct Node {
    type_: Type,
    properties: BTreeMap<String, Node>,
    required: Vec<String>,
    /// The schema of a map's values.
    values: Option<Box<Node>>,
    /// Whether fields that are not mentioned are kept.
    preserves: bool,
    items: Option<Box<Node>>,
    /// The fields that tell the items of a list apart.
    keys: Vec<String>,
    is_nullable: bool,
    default: Option<Value>,
    allowed: Vec<Value>,
    pattern: Option<Regex>,
    /// Rules that are one pattern, with their message.
    rules: Vec<(Regex, String)>,
    format: Option<Format>,
    characters: Range<usize>,
    entries: Range<usize>,
    count: Range<usize>,
    numbers: Range<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntegerOrString,
    #[default]
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Int32,
    Int64,
    DateTime,
}

#[derive(Clone, Copy, Debug, Default)]
struct Range<T> {
    min: Option<T>,
    max: Option<T>,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The field, such as `spec.params[0].name`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// What it says about the rest of the object.
    pub weight: Weight,
}

/// What a flaw says about the rest of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The object has not the form that rules are written for.
    Malformed,
    /// The field is only unknown: the rest can be judged without it.
    Unknown,
    /// A rule is broken, and the others can be judged.
    Rule,
}

/// The pattern of a rule that is nothing but `self.matches('…')`. Such a rule is judged here, with a pattern that is
/// compiled once; CEL would compile it for each object, which takes most of the time.
pub fn pattern_of_rule(rule: &Value) -> Option<Regex> {
    if rule.get("fieldPath").is_some() || rule.get("messageExpression").is_some() {
        return None;
    }
    let quoted = rule["rule"].as_str()?.trim().strip_prefix("self.matches('")?.strip_suffix("')")?;
    let other_escapes = quoted.replace("\\\\", "");
    if other_escapes.contains(['\\', '\'']) {
        return None;
    }
    Regex::new(&quoted.replace("\\\\", "\\")).ok()
}

impl Node {
    /// Reads a schema. A pattern that cannot be compiled is none; a test holds that there is no such.
    pub fn read(schema: &Value) -> Self {
        let texts = |list: &Value| -> Vec<String> {
            list.as_array().into_iter().flatten().filter_map(|it| it.as_str().map(str::to_owned)).collect()
        };
        let range = |what: &str| {
            let end = |end: &str| schema[format!("{end}{what}")].as_u64().and_then(|it| usize::try_from(it).ok());
            Range { min: end("min"), max: end("max") }
        };
        let node = |schema: &Value| schema.is_object().then(|| Box::new(Self::read(schema)));
        Self {
            type_: type_of(schema),
            properties: schema["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, property)| (name.clone(), Self::read(property)))
                .collect(),
            required: texts(&schema["required"]),
            values: node(&schema["additionalProperties"]),
            preserves: schema["x-kubernetes-preserve-unknown-fields"] == true,
            items: node(&schema["items"]),
            keys: texts(&schema["x-kubernetes-list-map-keys"]),
            is_nullable: schema["nullable"] == true,
            default: schema.get("default").cloned(),
            allowed: schema["enum"].as_array().cloned().unwrap_or_default(),
            pattern: schema["pattern"].as_str().and_then(|pattern| Regex::new(pattern).ok()),
            rules: schema["x-kubernetes-validations"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|rule| Some((pattern_of_rule(rule)?, rule["message"].as_str()?.to_owned())))
                .collect(),
            format: match schema["format"].as_str() {
                Some("int32") => Some(Format::Int32),
                Some("int64") => Some(Format::Int64),
                Some("date-time") => Some(Format::DateTime),
                _ => None,
            },
            characters: range("Length"),
            entries: range("Properties"),
            count: range("Items"),
            numbers: Range { min: schema["minimum"].as_f64(), max: schema["maximum"].as_f64() },
        }
    }

    /// What is wrong with a value. It becomes what the API server would store: nulls and unknown fields go, defaults come.
    pub fn check(&self, value: &mut Value) -> Vec<Flaw> {
        let mut walk = Walk { path: String::new(), flaws: Vec::new(), depth: 0 };
        walk.value(self, value);
        walk.flaws
    }

    /// Brings the lists of an older value that are maps into the order that their items have in a newer one. The API server
    /// compares such lists by key; the library that evaluates rules here compares them item by item.
    pub fn align(&self, old: &mut Value, new: &Value) {
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => {
                for (name, old) in old {
                    let node = self.properties.get(name).or(self.values.as_deref());
                    if let (Some(node), Some(new)) = (node, new.get(name)) {
                        node.align(old, new);
                    }
                }
            }
            (Value::Array(old), Value::Array(new)) if !self.keys.is_empty() => {
                let key = |item: &Value| self.keys.iter().map(|key| item[key].to_string()).collect::<Vec<_>>();
                let places: BTreeMap<_, _> = new.iter().enumerate().map(|(place, item)| (key(item), place)).collect();
                old.sort_by_key(|item| places.get(&key(item)).copied().unwrap_or(usize::MAX));
            }
            _ => {}
        }
    }

    /// The fields that an object may have here.
    pub fn properties(&self) -> impl Iterator<Item = (&String, &Self)> {
        self.properties.iter()
    }

    fn takes(&self, value: &Value) -> bool {
        match self.type_ {
            Type::Any => true,
            Type::Object => value.is_object(),
            Type::Array => value.is_array(),
            Type::String => value.is_string(),
            Type::Boolean => value.is_boolean(),
            Type::Number => value.is_number(),
            Type::Integer => is_whole(value),
            Type::IntegerOrString => value.is_string() || (is_whole(value) && fits_in_64_bits(value)),
        }
    }
}

fn type_of(schema: &Value) -> Type {
    if schema["x-kubernetes-int-or-string"] == true {
        return Type::IntegerOrString;
    }
    match schema["type"].as_str() {
        Some("object") => Type::Object,
        Some("array") => Type::Array,
        Some("string") => Type::String,
        Some("integer") => Type::Integer,
        Some("number") => Type::Number,
        Some("boolean") => Type::Boolean,
        _ => Type::Any,
    }
}

/// A number without a fraction, also if it is written as 1.0.
fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// Whether a whole number can be held in 64 bits with a sign. Where a string may stand as well, the API server takes a
/// larger one for no whole number at all.
fn fits_in_64_bits(value: &Value) -> bool {
    value.is_i64() || (value.is_f64() && value.as_f64().is_some_and(|number| number.abs() < i64::MAX as f64))
}

/// A walk through a value: where it is, and what it found.
struct Walk {
    path: String,
    flaws: Vec<Flaw>,
    depth: usize,
}

impl Walk {
    fn flaw(&mut self, message: impl Into<String>) {
        self.flaws.push(Flaw { field: self.path.clone(), message: message.into(), weight: Weight::Malformed });
    }

    /// Goes one step down.
    fn below(&mut self, step: &str, go: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if !self.path.is_empty() && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        go(self);
        self.path.truncate(length);
    }

    fn value(&mut self, node: &Node, value: &mut Value) {
        if value.is_null() && node.is_nullable {
            return;
        }
        if !node.takes(value) {
            return self.flaw(wrong_type(node.type_, value));
        }
        if self.depth >= DEPTH_MAX {
            return self.flaw(format!("is nested more than {DEPTH_MAX} levels deep"));
        }
        if !node.allowed.is_empty() && !node.allowed.contains(value) {
            self.flaw(not_allowed(&node.allowed, value));
        }
        self.depth += 1;
        match value {
            Value::Object(fields) => self.object(node, fields),
            Value::Array(items) => self.array(node, items),
            Value::String(text) => {
                self.text(node, text);
                self.rules(node, text);
            }
            Value::Number(number) => self.number(node, number),
            Value::Null | Value::Bool(_) => {}
        }
        self.depth -= 1;
    }

    fn object(&mut self, node: &Node, fields: &mut Map<String, Value>) {
        self.length(node.entries, fields.len(), "entry", "entries");
        let known = |name: &String| node.properties.get(name).or(node.values.as_deref());
        // A null is as if the field were not there, except that an enumeration has to name it where it may be null.
        fields.retain(|name, value| match known(name) {
            Some(below) if value.is_null() => {
                if below.is_nullable && !below.allowed.is_empty() && !below.allowed.contains(value) {
                    self.below(name, |walk| walk.flaw(not_allowed(&below.allowed, value)));
                }
                false
            }
            _ => true,
        });
        for (name, property) in &node.properties {
            if let Some(default) = property.default.as_ref().filter(|_| !fields.contains_key(name)) {
                fields.insert(name.clone(), default.clone());
            }
        }
        for name in node.required.iter().filter(|name| !fields.contains_key(*name)) {
            self.below(name, |walk| walk.flaw("is required"));
        }
        let mut unknown = Vec::new();
        for (name, value) in fields.iter_mut() {
            match known(name) {
                Some(below) => self.below(name, |walk| walk.value(below, value)),
                None if node.preserves || node.type_ == Type::Any => {}
                None => unknown.push(name.clone()),
            }
        }
        for name in unknown {
            fields.remove(&name);
            let message = match closest(&name, node.properties.keys()) {
                Some(meant) => format!("unknown field; did you mean {meant}?"),
                None => "unknown field".to_owned(),
            };
            self.below(&name, |walk| {
                walk.flaws.push(Flaw { field: walk.path.clone(), message, weight: Weight::Unknown });
            });
        }
    }

    fn array(&mut self, node: &Node, items: &mut [Value]) {
        self.length(node.count, items.len(), "item", "items");
        if let Some(below) = &node.items {
            for (index, item) in items.iter_mut().enumerate() {
                self.below(&format!("[{index}]"), |walk| walk.value(below, item));
            }
        }
        if node.keys.is_empty() {
            return;
        }
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let key: Vec<String> = node.keys.iter().map(|key| item[key].to_string()).collect();
            if !seen.insert(key.clone()) {
                let what = node.keys.iter().zip(&key).map(|(name, value)| format!("{name} {value}"));
                let what = what.collect::<Vec<_>>().join(", ");
                self.below(&format!("[{index}]"), |walk| {
                    walk.flaw(format!("has the same {what} as an item before it"))
                });
            }
        }
    }

    fn text(&mut self, node: &Node, text: &str) {
        self.length(node.characters, text.chars().count(), "character", "characters");
        if let Some(pattern) = node.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            let shown = shown(&Value::String(text.to_owned()));
            self.flaw(match node.format {
                Some(Format::DateTime) => {
                    format!("must be a time as RFC 3339, such as 2027-01-01T06:00:00Z, not {shown}")
                }
                _ => format!("must match {}, and {shown} does not", pattern.as_str()),
            });
        } else if node.format == Some(Format::DateTime) && !is_time(text) {
            self.flaw(format!("there is no such time as {}", shown(&Value::String(text.to_owned()))));
        }
    }

    fn rules(&mut self, node: &Node, text: &str) {
        for (_, message) in node.rules.iter().filter(|(pattern, _)| !pattern.is_match(text)) {
            self.flaws.push(Flaw { field: self.path.clone(), message: message.clone(), weight: Weight::Rule });
        }
    }

    fn number(&mut self, node: &Node, number: &mut Number) {
        let real = number.as_f64().unwrap_or_default();
        let fits = match (node.type_, node.format) {
            (Type::Integer, Some(Format::Int32)) => (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&real),
            (Type::Integer, _) => number.is_i64() || (number.is_f64() && real.abs() < i64::MAX as f64),
            _ => true,
        };
        if !fits {
            return self.flaw(format!("{number} is too large"));
        }
        // The API server stores 3.0 as 3 where a whole number stands.
        if matches!(node.type_, Type::Integer | Type::IntegerOrString) && number.is_f64() {
            *number = Number::from(real as i64);
        }
        if let Some(min) = node.numbers.min.filter(|min| real < *min) {
            self.flaw(format!("must be at least {min}, not {number}"));
        }
        if let Some(max) = node.numbers.max.filter(|max| real > *max) {
            self.flaw(format!("must be at most {max}, not {number}"));
        }
    }

    fn length(&mut self, range: Range<usize>, length: usize, one: &str, many: &str) {
        let unit = |number: usize| if number == 1 { one.to_owned() } else { many.to_owned() };
        if let Some(min) = range.min.filter(|min| length < *min) {
            self.flaw(match (min, length) {
                (1, 0) => "must not be empty".to_owned(),
                _ => format!("must have at least {min} {}, and has {length}", unit(min)),
            });
        }
        if let Some(max) = range.max.filter(|max| length > *max) {
            self.flaw(format!("must have at most {max} {}, and has {length}", unit(max)));
        }
    }
}

/// Whether a text is a time for the API server too, which knows no leap seconds.
fn is_time(text: &str) -> bool {
    text.get(17..19) != Some("60") && text.parse::<Timestamp>().is_ok()
}

fn wrong_type(wanted: Type, found: &Value) -> String {
    let name = match wanted {
        Type::Object => "an object",
        Type::Array => "a list",
        Type::String => "a string",
        Type::Integer => "a whole number",
        Type::Number => "a number",
        Type::Boolean => "true or false",
        Type::IntegerOrString => "a whole number or a string",
        Type::Any => "a value",
    };
    let hint = match (wanted, found) {
        (Type::String, Value::Number(_) | Value::Bool(_)) => "; write it in quotes",
        (Type::Integer | Type::Number | Type::Boolean, Value::String(_)) => "; write it without quotes",
        _ => "",
    };
    format!("must be {name}, not {}{hint}", shown(found))
}

fn not_allowed(allowed: &[Value], found: &Value) -> String {
    let names = || allowed.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let list = allowed.iter().filter(|it| !it.is_null()).map(|it| it.as_str().map_or(it.to_string(), str::to_owned));
    let list = list.collect::<Vec<_>>().join(", ");
    let meant = found.as_str().and_then(|found| closest(found, names().iter()).map(str::to_owned));
    let hint = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
    format!("must be one of {list}, not {}{hint}", shown(found))
}

/// A value for a message.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "a list".into(),
        other => {
            let text = other.to_string();
            if text.chars().count() <= SHOWN_CHARACTERS_MAX {
                return text;
            }
            format!("{}…", text.chars().take(SHOWN_CHARACTERS_MAX).collect::<String>())
        }
    }
}

/// The name that is probably meant, if one is near.
pub fn closest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    let wanted = name.to_ascii_lowercase();
    let allowed = 1 + name.len().min(SHOWN_CHARACTERS_MAX) / 4;
    let distance = |known: &str| edit_distance(&known.to_ascii_lowercase(), &wanted);
    if name.len() > 2 * SHOWN_CHARACTERS_MAX {
        return None;
    }
    let near = known.map(|known| (distance(known), known.as_str())).filter(|(distance, _)| *distance <= allowed);
    near.min().map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flaws(schema: Value, mut value: Value) -> Vec<String> {
        let found = Node::read(&schema).check(&mut value);
        found.into_iter().map(|flaw| format!("{}: {}", flaw.field, flaw.message)).collect()
    }

    fn person() -> Value {
        json!({
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": { "type": "string", "minLength": 1, "maxLength": 3, "pattern": "^[a-z]*$" },
                "age": { "type": "integer", "format": "int32", "minimum": 0, "maximum": 150 },
                "mood": { "type": "string", "enum": ["Happy", "Sad"] },
                "born": { "type": "string", "format": "date-time" },
                "tags": { "type": "object", "maxProperties": 1, "additionalProperties": { "type": "string" } },
                "friends": {
                    "type": "array", "maxItems": 2, "x-kubernetes-list-map-keys": ["name"],
                    "items": { "type": "object", "properties": { "name": { "type": "string" } } },
                },
                "port": { "x-kubernetes-int-or-string": true },
            },
        })
    }

    #[test]
    fn each_flaw_names_its_field_and_what_is_wrong() {
        for (value, expected) in [
            (json!({}), "name: is required"),
            (json!({ "name": null }), "name: is required"),
            (json!([]), ": must be an object, not a list"),
            (json!({ "name": 5 }), "name: must be a string, not 5; write it in quotes"),
            (json!({ "name": "" }), "name: must not be empty"),
            (json!({ "name": "abcd" }), "name: must have at most 3 characters, and has 4"),
            (json!({ "name": "A" }), "name: must match ^[a-z]*$, and \"A\" does not"),
            (json!({ "name": "a", "age": "5" }), "age: must be a whole number, not \"5\"; write it without quotes"),
            (json!({ "name": "a", "age": 1.5 }), "age: must be a whole number, not 1.5"),
            (json!({ "name": "a", "age": 151 }), "age: must be at most 150, not 151"),
            (json!({ "name": "a", "age": 4294967296_u64 }), "age: 4294967296 is too large"),
            (
                json!({ "name": "a", "mood": "happy" }),
                "mood: must be one of Happy, Sad, not \"happy\"; did you mean Happy?",
            ),
            (
                json!({ "name": "a", "born": "2027-02-30T00:00:00Z" }),
                "born: there is no such time as \"2027-02-30T00:00:00Z\"",
            ),
            (
                json!({ "name": "a", "born": "2027-01-01T23:59:60Z" }),
                "born: there is no such time as \"2027-01-01T23:59:60Z\"",
            ),
            (json!({ "name": "a", "tags": { "x": 1 } }), "tags.x: must be a string, not 1; write it in quotes"),
            (json!({ "name": "a", "tags": { "x": "1", "y": "2" } }), "tags: must have at most 1 entry, and has 2"),
            (json!({ "name": "a", "friends": [null] }), "friends[0]: must be an object, not null"),
            (
                json!({ "name": "a", "friends": [{ "name": "b" }, { "name": "b" }] }),
                "friends[1]: has the same name \"b\" as an item before it",
            ),
            (json!({ "name": "a", "port": true }), "port: must be a whole number or a string, not true"),
            (json!({ "name": "a", "moood": "Sad" }), "moood: unknown field; did you mean mood?"),
            (
                json!({ "name": "a", "friends": [{ "nmae": "b" }] }),
                "friends[0].nmae: unknown field; did you mean name?",
            ),
            (json!({ "name": "a", "zzzzzz": 1 }), "zzzzzz: unknown field"),
        ] {
            assert_eq!(flaws(person(), value.clone()), [expected], "{value}");
        }
    }

    #[test]
    fn a_checked_value_is_what_the_api_server_would_store() {
        let mut schema = person();
        schema["properties"]["age"]["default"] = json!(7);
        schema["properties"]["born"]["nullable"] = json!(true);
        let mut value = json!({ "name": "a", "age": null, "mood": null, "born": null, "port": 3.0, "more": 1 });
        let found = Node::read(&schema).check(&mut value);
        assert_eq!(found.len(), 1, "the unknown field: {found:?}");
        assert_eq!(value, json!({ "name": "a", "age": 7, "port": 3 }));
    }

    #[test]
    fn an_older_list_that_is_a_map_comes_into_the_order_of_the_newer_one() {
        let friends =
            |names: &[&str]| json!({ "friends": names.iter().map(|it| json!({ "name": it })).collect::<Vec<_>>() });
        let mut old = friends(&["gone", "b", "a", "c"]);
        Node::read(&person()).align(&mut old, &friends(&["c", "new", "a", "b"]));
        assert_eq!(old, friends(&["c", "a", "b", "gone"]));
    }

    #[test]
    fn deep_values_are_no_danger() {
        let mut value = json!({});
        for _ in 0..100 {
            value = json!({ "a": value });
        }
        let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        assert_eq!(flaws(schema, value), Vec::<String>::new());
    }
}
