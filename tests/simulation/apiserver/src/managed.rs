//! Managed fields: who set which field, and when; and server-side apply, which rests on it.
//!
//! The rules are those of the API server: a write gives its manager the fields that it adds or changes, and takes them from the
//! others; a field that is removed is nobody's. A write that only removes gives its manager nothing, and so has no time.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fields::{Difference, Element, Path, Set, fields_of, from_json, get, merge, remove, set_of, to_json};
use crate::schema::Schema;

/// Who writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// `Apply` or `Update`, in the order in which entries are listed.
    pub operation: Operation,
    /// The name that the client gives itself.
    pub name: String,
    /// The version of the API.
    pub api_version: String,
    /// The subresource that is written; empty: the object.
    pub subresource: String,
}

/// One write.
pub struct Write<'a> {
    /// Who writes.
    pub manager: Manager,
    /// Through which endpoint.
    pub endpoint: Endpoint,
    /// The schema of what is written.
    pub schema: &'a Schema,
    /// When.
    pub now: Timestamp,
}

/// Which part of an object an endpoint writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// All of it: there is no subresource.
    Whole,
    /// All but the status.
    Main,
    /// The status.
    Status,
}

impl Endpoint {
    /// Whether a field is one that a manager can have by writing here: not what the API server itself sets, and not what the
    /// endpoint resets.
    fn manages(self, path: &Path) -> bool {
        let name = |index: usize| match path.get(index) {
            Some(Element::Field(name)) => name.as_str(),
            Some(Element::Key(_) | Element::Item(_)) | None => "",
        };
        let is_of_server = match (name(0), path.len()) {
            ("apiVersion" | "kind" | "metadata", 1) => true,
            ("metadata", _) => {
                matches!(
                    name(1),
                    "name"
                        | "namespace"
                        | "creationTimestamp"
                        | "selfLink"
                        | "uid"
                        | "generation"
                        | "managedFields"
                        | "resourceVersion"
                        | "deletionTimestamp"
                        | "deletionGracePeriodSeconds"
                )
            }
            _ => false,
        };
        let is_status = name(0) == "status";
        !is_of_server
            && match self {
                Self::Whole => true,
                Self::Main => !is_status,
                Self::Status => is_status,
            }
    }
}

/// How a manager writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Everything else.
    Update,
}

impl Operation {
    fn word(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// What one manager has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    set: Set,
    time: Option<String>,
}

/// Who has which field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed(BTreeMap<Manager, Entry>);

/// Fields that somebody else has and that an apply without force would change: the managers and the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflicts(pub Vec<(String, Set)>);

impl Managed {
    /// Reads what an object says.
    pub fn of(object: &Value) -> Self {
        let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
        let text = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let read = entries.into_iter().flatten().map(|entry| {
            let operation = if text(entry, "operation") == "Apply" { Operation::Apply } else { Operation::Update };
            let manager = Manager {
                operation,
                name: text(entry, "manager"),
                api_version: text(entry, "apiVersion"),
                subresource: text(entry, "subresource"),
            };
            let set = from_json(entry.get("fieldsV1").unwrap_or(&Value::Null));
            (manager, Entry { set, time: entry.get("time").and_then(Value::as_str).map(Into::into) })
        });
        Self(read.collect())
    }

    /// Has an object say it.
    pub fn write(&self, object: &mut Value) {
        let mut entries: Vec<(&Manager, &Entry)> = self.0.iter().collect();
        entries.sort_by_key(|(manager, entry)| (manager.operation, entry.time.clone(), (*manager).clone()));
        let entries: Vec<Value> = entries
            .into_iter()
            .map(|(manager, entry)| {
                let mut said = json!({
                    "manager": manager.name, "operation": manager.operation.word(), "apiVersion": manager.api_version,
                    "fieldsType": "FieldsV1", "fieldsV1": to_json(&entry.set),
                });
                if let Some(said) = said.as_object_mut() {
                    said.extend(entry.time.clone().map(|time| ("time".into(), Value::String(time))));
                    let subresource = Some(&manager.subresource).filter(|it| !it.is_empty());
                    said.extend(subresource.map(|it| ("subresource".into(), Value::String(it.clone()))));
                }
                said
            })
            .collect();
        let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) else { return };
        if entries.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".into(), Value::Array(entries));
        }
    }

    /// Takes note that a manager wrote an object over another one.
    pub fn update(&mut self, write: Write<'_>, before: &Value, after: &Value) {
        let Write { manager, schema, now, .. } = write;
        let difference = Difference::between(&fields_of(before, Some(schema)), &fields_of(after, Some(schema)));
        self.take_from_others(&manager, &difference);
        let gained = difference.added.union(&difference.modified).filter(|path| write.endpoint.manages(path));
        let gained: Set = gained.cloned().collect();
        let entry = self.0.entry(manager).or_insert_with(|| Entry { set: Set::new(), time: None });
        entry.set.retain(|path| !difference.removed.contains(path));
        if !gained.is_empty() {
            entry.set.extend(gained);
            entry.time = Some(seconds(now));
        }
        self.0.retain(|_, entry| !entry.set.is_empty());
    }

    fn take_from_others(&mut self, manager: &Manager, difference: &Difference) {
        for (_, entry) in self.0.iter_mut().filter(|(other, _)| *other != manager) {
            let lost = |path: &Path| {
                difference.modified.contains(path)
                    || difference.added.contains(path)
                    || difference.removed.contains(path)
            };
            entry.set.retain(|path| !lost(path));
        }
        self.0.retain(|other, entry| other == manager || !entry.set.is_empty());
    }

    /// Applies what a manager wants to an object. Returns the object as it is then.
    pub fn apply(&mut self, write: Write<'_>, live: &Value, applied: &Value, force: bool) -> Result<Value, Conflicts> {
        let Write { manager, schema, now, endpoint } = write;
        let wanted: Set = set_of(applied, Some(schema)).into_iter().filter(|path| endpoint.manages(path)).collect();
        let last = self.0.get(&manager).map(|entry| entry.set.clone()).unwrap_or_default();
        let mut merged = live.clone();
        merge(&mut merged, applied, Some(schema));
        // What the manager applied before and does not now goes, unless somebody else has it too.
        let kept = |path: &Path| {
            let others = self.0.iter().filter(|(other, _)| **other != manager);
            wanted.range(path.clone()..).next().is_some_and(|it| it.starts_with(path))
                || others
                    .map(|(_, entry)| &entry.set)
                    .any(|set| set.range(path.clone()..).next().is_some_and(|it| it.starts_with(path)))
        };
        // An item of a list goes before its keys do, by which it is found.
        for path in last.iter().filter(|path| !kept(path)) {
            remove(&mut merged, Some(schema), path);
            // What is empty then and nobody has goes as well.
            let around = (1..path.len()).rev().filter_map(|length| path.get(..length)).map(<[Element]>::to_vec);
            for path in around.take_while(|path| {
                path.len() > 1 || !matches!(path.first(), Some(Element::Field(it)) if it == "metadata")
            }) {
                let is_empty =
                    get(&merged, Some(schema), &path).and_then(Value::as_object).is_some_and(|it| it.is_empty());
                if !is_empty || kept(&path) {
                    break;
                }
                remove(&mut merged, Some(schema), &path);
            }
        }
        let difference = Difference::between(&fields_of(live, Some(schema)), &fields_of(&merged, Some(schema)));
        if !force {
            self.check(&manager, &wanted, &difference)?;
        }
        let before = self.clone();
        self.take_from_others(&manager, &difference);
        let time = self.0.get(&manager).and_then(|entry| entry.time.clone());
        self.0.insert(manager.clone(), Entry { set: wanted, time });
        self.0.retain(|_, entry| !entry.set.is_empty());
        if (*self != before || !difference.is_none())
            && let Some(entry) = self.0.get_mut(&manager)
        {
            entry.time = Some(seconds(now));
        }
        Ok(merged)
    }

    fn check(&self, manager: &Manager, wanted: &Set, difference: &Difference) -> Result<(), Conflicts> {
        let contested = |path: &&Path| {
            wanted.contains(*path) && (difference.modified.contains(*path) || difference.added.contains(*path))
        };
        let others = self.0.iter().filter(|(other, _)| *other != manager);
        let conflicts = others
            .map(|(other, entry)| (other.name.clone(), entry.set.iter().filter(contested).cloned().collect::<Set>()));
        let conflicts: Vec<_> = conflicts.filter(|(_, set)| !set.is_empty()).collect();
        if conflicts.is_empty() { Ok(()) } else { Err(Conflicts(conflicts)) }
    }
}

/// A time in whole seconds, as Kubernetes writes it.
pub fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}
