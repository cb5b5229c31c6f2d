//! Reading the schemas of the definitions: which nodes they have, and which rules stand at each.

use std::fmt;

use serde_json::{Map, Value};

use crate::cluster::definition;

/// One step from a value to one inside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Field(String),
    /// Any item of a list.
    Item,
    /// Any value of a map.
    Entry,
}

/// Where a node of a schema stands, such as `spec.params[].name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<Step>);

impl Path {
    pub fn then(&self, step: Step) -> Self {
        let mut longer = self.clone();
        longer.0.push(step);
        longer
    }

    /// The field of this name below it.
    pub fn field(&self, name: &str) -> Self {
        self.then(Step::Field(name.to_owned()))
    }

    /// The value at this place in an object: through the first item or entry that has it.
    pub fn find<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        find(&self.0, object)
    }

    /// The same place, to be changed.
    pub fn find_mut<'a>(&self, object: &'a mut Value) -> Option<&'a mut Value> {
        find_mut(&self.0, object)
    }
}

fn find<'a>(steps: &[Step], value: &'a Value) -> Option<&'a Value> {
    let Some((first, rest)) = steps.split_first() else {
        return Some(value);
    };
    match first {
        Step::Field(name) => find(rest, value.get(name)?),
        Step::Item => value.as_array()?.iter().find_map(|item| find(rest, item)),
        Step::Entry => value.as_object()?.values().find_map(|entry| find(rest, entry)),
    }
}

fn find_mut<'a>(steps: &[Step], value: &'a mut Value) -> Option<&'a mut Value> {
    let Some((first, rest)) = steps.split_first() else {
        return Some(value);
    };
    match first {
        Step::Field(name) => find_mut(rest, value.get_mut(name)?),
        Step::Item => value.as_array_mut()?.iter_mut().find_map(|item| find_mut(rest, item)),
        Step::Entry => value.as_object_mut()?.values_mut().find_map(|entry| find_mut(rest, entry)),
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if position == 0 => write!(formatter, "{name}")?,
                Step::Field(name) => write!(formatter, ".{name}")?,
                Step::Item => write!(formatter, "[]")?,
                Step::Entry => write!(formatter, "{{}}")?,
            }
        }
        Ok(())
    }
}

/// One node of a schema, without what is below it.
pub struct Node {
    pub path: Path,
    pub keywords: Map<String, Value>,
}

/// The schema of a kind's objects.
pub fn of(kind: &str) -> Value {
    let definition = definition(kind);
    let schema = definition.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    serde_json::to_value(schema.expect("every version has a schema")).unwrap()
}

/// The nodes below these fields of a kind's objects, the fields themselves included. What a jobTemplate holds is
/// Kubernetes' own and not looked into.
pub fn nodes(kind: &str, fields: &[&str]) -> Vec<Node> {
    let root = of(kind);
    let mut found = Vec::new();
    for field in fields {
        collect(&root["properties"][*field], Path::default().field(field), &mut found);
    }
    found
}

fn collect(schema: &Value, path: Path, found: &mut Vec<Node>) {
    let keywords = schema.as_object().unwrap_or_else(|| panic!("{path} has no schema")).clone();
    let opaque = path.to_string().ends_with("jobTemplate");
    found.push(Node { path: path.clone(), keywords });
    if opaque {
        return;
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        collect(property, path.field(name), found);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], path.then(Step::Item), found);
    }
    if schema["additionalProperties"].is_object() {
        collect(&schema["additionalProperties"], path.then(Step::Entry), found);
    }
}

/// Every CEL rule of a kind: where it stands, and its message.
pub fn rules(kind: &str) -> Vec<(String, String)> {
    let root = of(kind);
    let mut at = vec![(String::new(), root["x-kubernetes-validations"].clone())];
    for node in nodes(kind, &["spec", "status"]) {
        at.extend(node.keywords.get("x-kubernetes-validations").map(|rules| (node.path.to_string(), rules.clone())));
    }
    let each = |(path, rules): (String, Value)| {
        let rules = rules.as_array().cloned().unwrap_or_default();
        rules.into_iter().map(move |rule| (path.clone(), rule["message"].as_str().unwrap_or_default().to_owned()))
    };
    at.into_iter().flat_map(each).collect()
}
