//! Field sets: which fields of an object there are, as structured merge diff names them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::schema::{ListType, Schema};

/// One step on the way to a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A field of an object, or a key of a map.
    Field(String),
    /// An item of a list of type map: its keys, as JSON.
    Key(String),
    /// An item of a list of type set: the item, as JSON.
    Item(String),
}

/// The way to a field.
pub type Path = Vec<Element>;
/// Some fields.
pub type Set = BTreeSet<Path>;

/// What there is in an object, by path.
pub type Fields<'a> = BTreeMap<Path, Node<'a>>;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node<'a> {
    /// A scalar, or what is replaced as a whole.
    Leaf(&'a Value),
    /// Something with fields or items that a set names itself: an item of a list, a key of a map, an empty object.
    Named,
    /// Something with fields or items that a set names only if it comes or goes.
    Inner,
}

/// All that there is in an object.
pub fn fields_of<'a>(object: &'a Value, schema: Option<&Schema>) -> Fields<'a> {
    let mut found = Fields::new();
    walk(object, schema, &mut Vec::new(), &mut found);
    found
}

/// The fields of an object that a client has who applies it.
pub fn set_of(object: &Value, schema: Option<&Schema>) -> Set {
    let all = fields_of(object, schema).into_iter();
    all.filter(|(_, node)| !matches!(node, Node::Inner)).map(|(path, _)| path).collect()
}

fn walk<'a>(value: &'a Value, schema: Option<&Schema>, path: &mut Path, found: &mut Fields<'a>) {
    match value {
        Value::Object(map) if !schema.is_some_and(|schema| schema.is_atomic_map) => {
            for (name, child) in map {
                let (of_child, is_field) = schema.map_or((None, false), |schema| schema.child(name));
                path.push(Element::Field(name.clone()));
                walk(child, of_child, path, found);
                let is_empty = child.is_null() || child.as_object().is_some_and(Map::is_empty);
                let node = if is_empty || !is_field { Node::Named } else { Node::Inner };
                found.entry(path.clone()).or_insert(node);
                path.pop();
            }
        }
        Value::Array(items) if schema.is_some_and(|schema| schema.list != ListType::Atomic) => {
            let list = schema.map(|schema| &schema.list);
            for item in items {
                path.push(element(item, list));
                if item.is_object() {
                    walk(item, schema.and_then(|schema| schema.items.as_deref()), path, found);
                }
                found.entry(path.clone()).or_insert(Node::Named);
                path.pop();
            }
        }
        Value::Null => {}
        leaf => drop(found.insert(path.clone(), Node::Leaf(leaf))),
    }
}

/// How an item of a list is named.
pub fn element(item: &Value, list: Option<&ListType>) -> Element {
    match list {
        Some(ListType::Map(keys)) => {
            let named = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
            Element::Key(Value::Object(named.collect()).to_string())
        }
        _ => Element::Item(item.to_string()),
    }
}

/// What differs between two versions of an object.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Fields that only the second one has.
    pub added: Set,
    /// Fields that both have, with another value.
    pub modified: Set,
    /// Fields that only the first one has.
    pub removed: Set,
}

impl Difference {
    /// Compares two versions.
    pub fn between(before: &Fields<'_>, after: &Fields<'_>) -> Self {
        let mut difference = Self::default();
        for (path, node) in after {
            match (before.get(path), node) {
                (None, _) => drop(difference.added.insert(path.clone())),
                (Some(Node::Leaf(old)), Node::Leaf(new)) if old == new => {}
                (Some(Node::Leaf(_)), _) | (_, Node::Leaf(_)) => drop(difference.modified.insert(path.clone())),
                (Some(_), _) => {}
            }
        }
        difference.removed = before.keys().filter(|path| !after.contains_key(*path)).cloned().collect();
        difference
    }

    /// Whether nothing differs.
    pub fn is_none(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }
}

/// A set as `fieldsV1` says it.
pub fn to_json(set: &Set) -> Value {
    let mut root = Map::new();
    for path in set {
        let mut node = &mut root;
        for (index, step) in path.iter().enumerate() {
            let is_last = index + 1 == path.len();
            let next = node.entry(word(step)).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(next) = next else { break };
            if is_last && has_below(set, path) {
                next.insert(".".into(), Value::Object(Map::new()));
            }
            node = next;
        }
    }
    Value::Object(root)
}

fn has_below(set: &Set, path: &Path) -> bool {
    set.range(path.clone()..).nth(1).is_some_and(|next| next.starts_with(path))
}

/// The set that `fieldsV1` says.
pub fn from_json(fields: &Value) -> Set {
    let mut set = Set::new();
    read(fields, &mut Vec::new(), &mut set);
    set
}

fn read(node: &Value, path: &mut Path, set: &mut Set) {
    let Value::Object(children) = node else { return };
    if !path.is_empty() && (children.is_empty() || children.contains_key(".")) {
        set.insert(path.clone());
    }
    for (name, child) in children {
        let step = match name.split_once(':') {
            Some(("f", name)) => Element::Field(name.into()),
            Some(("k", keys)) => Element::Key(keys.into()),
            Some(("v", item)) => Element::Item(item.into()),
            _ => continue,
        };
        path.push(step);
        read(child, path, set);
        path.pop();
    }
}

fn word(step: &Element) -> String {
    match step {
        Element::Field(name) => format!("f:{name}"),
        Element::Key(keys) => format!("k:{keys}"),
        Element::Item(item) => format!("v:{item}"),
    }
}

/// What is at a path, if there is anything.
pub fn get<'a>(object: &'a Value, schema: Option<&Schema>, path: &[Element]) -> Option<&'a Value> {
    let Some((step, rest)) = path.split_first() else { return Some(object) };
    match (object, step) {
        (Value::Object(map), Element::Field(name)) => {
            get(map.get(name)?, schema.and_then(|schema| schema.child(name).0), rest)
        }
        (Value::Array(items), step) => {
            let list = schema.map(|schema| &schema.list);
            let item = items.iter().find(|item| element(item, list) == *step)?;
            get(item, schema.and_then(|schema| schema.items.as_deref()), rest)
        }
        _ => None,
    }
}

/// Removes what is at a path, if it is there.
pub fn remove(object: &mut Value, schema: Option<&Schema>, path: &[Element]) {
    let Some((step, rest)) = path.split_first() else { return };
    match (object, step) {
        (Value::Object(map), Element::Field(name)) => {
            if rest.is_empty() {
                map.remove(name);
            } else if let Some(child) = map.get_mut(name) {
                let of_child = schema.and_then(|schema| schema.child(name).0);
                remove(child, of_child, rest);
            }
        }
        (Value::Array(items), step) => {
            let list = schema.map(|schema| &schema.list);
            let Some(index) = items.iter().position(|item| element(item, list) == *step) else { return };
            if rest.is_empty() {
                items.remove(index);
            } else if let Some(item) = items.get_mut(index) {
                remove(item, schema.and_then(|schema| schema.items.as_deref()), rest);
            }
        }
        _ => {}
    }
}

/// Merges what a client applies into an object.
pub fn merge(live: &mut Value, applied: &Value, schema: Option<&Schema>) {
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) if !schema.is_some_and(|schema| schema.is_atomic_map) => {
            for (name, value) in applied {
                let of_child = schema.and_then(|schema| schema.child(name).0);
                match live.get_mut(name) {
                    Some(there) => merge(there, value, of_child),
                    None => drop(live.insert(name.clone(), value.clone())),
                }
            }
        }
        (Value::Array(live), Value::Array(applied)) if schema.is_some_and(|schema| schema.list != ListType::Atomic) => {
            let list = schema.map(|schema| &schema.list);
            for item in applied {
                let name = element(item, list);
                match live.iter_mut().find(|there| element(there, list) == name) {
                    Some(there) => merge(there, item, schema.and_then(|schema| schema.items.as_deref())),
                    None => live.push(item.clone()),
                }
            }
        }
        (live, applied) => *live = applied.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        let schema = json!({ "type": "object", "properties": {
            "spec": { "type": "object", "properties": {
                "a": { "type": "string" },
                "map": { "type": "object", "additionalProperties": { "type": "string" } },
                "atomic": { "type": "array", "items": { "type": "string" } },
                "list": { "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                    "items": { "type": "object", "properties": { "type": { "type": "string" }, "x": { "type": "string" } } } },
            } },
        } });
        Schema::compile(&schema).unwrap()
    }

    #[test]
    fn a_set_is_written_and_read_as_kubernetes_does() {
        let object = json!({ "spec": { "a": "1", "map": { "k": "v" }, "atomic": ["x", "y"], "list": [{ "type": "T", "x": "1" }] } });
        let schema = schema();
        let set = set_of(&object, Some(&schema));
        let said = to_json(&set);
        let expected = json!({ "f:spec": {
            "f:a": {}, "f:atomic": {}, "f:map": { "f:k": {} },
            "f:list": { "k:{\"type\":\"T\"}": { ".": {}, "f:type": {}, "f:x": {} } },
        } });
        assert_eq!(said, expected);
        assert_eq!(from_json(&said), set);
    }

    #[test]
    fn what_differs_is_told_by_field() {
        let schema = schema();
        let before = json!({ "spec": { "a": "1", "map": { "k": "v" } } });
        let after = json!({ "spec": { "a": "2", "atomic": ["x"] } });
        let difference = Difference::between(&fields_of(&before, Some(&schema)), &fields_of(&after, Some(&schema)));
        assert_eq!(to_json(&difference.added), json!({ "f:spec": { "f:atomic": {} } }));
        assert_eq!(to_json(&difference.modified), json!({ "f:spec": { "f:a": {} } }));
        assert_eq!(to_json(&difference.removed), json!({ "f:spec": { "f:map": { ".": {}, "f:k": {} } } }));
        assert!(!difference.is_none());
    }

    #[test]
    fn items_are_merged_by_their_keys_and_can_be_removed() {
        let schema = schema();
        let mut live = json!({ "spec": { "list": [{ "type": "T", "x": "1" }], "atomic": ["x"] } });
        merge(
            &mut live,
            &json!({ "spec": { "list": [{ "type": "T", "x": "2" }, { "type": "U" }], "atomic": ["y"] } }),
            Some(&schema),
        );
        assert_eq!(live, json!({ "spec": { "list": [{ "type": "T", "x": "2" }, { "type": "U" }], "atomic": ["y"] } }));
        let path =
            [Element::Field("spec".into()), Element::Field("list".into()), Element::Key("{\"type\":\"T\"}".into())];
        remove(&mut live, Some(&schema), &path);
        assert_eq!(live["spec"]["list"], json!([{ "type": "U" }]));
    }
}
