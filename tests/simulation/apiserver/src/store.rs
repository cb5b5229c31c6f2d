//! Store: the objects, in one line of versions, and what changed when.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use crate::resources::ResourceName;

/// Which object it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its namespace; empty: it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What happened to an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The version that this made.
    pub version: u64,
    /// The object before; absent: there was none.
    pub before: Option<Arc<Value>>,
    /// The object after, with its new version; of one that was deleted, as it was last.
    pub after: Arc<Value>,
    /// Whether it was deleted.
    pub is_deleted: bool,
}

/// The objects of one resource.
#[derive(Default)]
struct Table {
    objects: BTreeMap<Key, Arc<Value>>,
    log: VecDeque<Change>,
}

/// All objects.
#[derive(Default)]
pub struct Store {
    tables: BTreeMap<ResourceName, Table>,
    version: u64,
    /// Changes up to this version are forgotten.
    compacted: u64,
}

impl Store {
    /// The version of the latest change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Up to which version changes are forgotten.
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    /// An object.
    pub fn get(&self, resource: &ResourceName, key: &Key) -> Option<&Arc<Value>> {
        self.tables.get(resource)?.objects.get(key)
    }

    /// The objects of a resource as they were at a version that is not forgotten, in order; of one namespace or of all.
    pub fn list(&self, resource: &ResourceName, namespace: Option<&str>, at: u64) -> Vec<(Key, Arc<Value>)> {
        let Some(table) = self.tables.get(resource) else { return Vec::new() };
        let within = |key: &Key| namespace.is_none_or(|namespace| key.namespace == namespace);
        let now =
            table.objects.iter().filter(|(key, _)| within(key)).map(|(key, object)| (key.clone(), object.clone()));
        if table.log.back().is_none_or(|change| change.version <= at) {
            return now.collect();
        }
        let mut then: BTreeMap<Key, Arc<Value>> = now.collect();
        for change in table.log.iter().rev().take_while(|change| change.version > at) {
            let key = key_of(&change.after);
            match change.before.clone() {
                Some(before) if within(&key) => drop(then.insert(key, before)),
                _ => drop(then.remove(&key)),
            }
        }
        then.into_iter().collect()
    }

    /// What happened to objects of a resource after a version, in order.
    pub fn changes(&self, resource: &ResourceName, after: u64) -> impl Iterator<Item = &Change> {
        let log = self.tables.get(resource).map(|table| &table.log);
        let from = log.map_or(0, |log| log.partition_point(|change| change.version <= after));
        log.into_iter().flat_map(move |log| log.range(from..))
    }

    /// Writes an object, which gets the next version.
    pub fn put(&mut self, resource: &ResourceName, mut object: Value) -> Arc<Value> {
        self.version += 1;
        stamp(&mut object, self.version);
        let (key, after) = (key_of(&object), Arc::new(object));
        let table = self.tables.entry(resource.clone()).or_default();
        let before = table.objects.insert(key, after.clone());
        table.log.push_back(Change { version: self.version, before, after: after.clone(), is_deleted: false });
        after
    }

    /// Deletes an object. Returns it as it was last, with the version of its deletion.
    pub fn delete(&mut self, resource: &ResourceName, key: &Key, last: Option<Value>) -> Option<Arc<Value>> {
        let table = self.tables.get_mut(resource)?;
        let before = table.objects.remove(key)?;
        self.version += 1;
        let mut last = last.unwrap_or_else(|| (*before).clone());
        stamp(&mut last, self.version);
        let after = Arc::new(last);
        let change = Change { version: self.version, before: Some(before), after: after.clone(), is_deleted: true };
        table.log.push_back(change);
        Some(after)
    }

    /// Forgets the changes up to a version, as etcd does after some minutes.
    pub fn compact(&mut self, up_to: u64) {
        self.compacted = self.compacted.max(up_to.min(self.version));
        for table in self.tables.values_mut() {
            let old = table.log.partition_point(|change| change.version <= self.compacted);
            table.log.drain(..old);
        }
    }

    /// Goes back to a version that is not forgotten, as after a restore of etcd from a snapshot. Versions are given anew from there.
    pub fn rewind(&mut self, to: u64) {
        let to = to.max(self.compacted).min(self.version);
        let resources: Vec<ResourceName> = self.tables.keys().cloned().collect();
        for resource in resources {
            let objects = self.list(&resource, None, to).into_iter().collect();
            if let Some(table) = self.tables.get_mut(&resource) {
                table.objects = objects;
                let kept = table.log.partition_point(|change| change.version <= to);
                table.log.truncate(kept);
            }
        }
        self.version = to;
    }

    /// The resources that have or had objects.
    pub fn resources(&self) -> impl Iterator<Item = &ResourceName> {
        self.tables.keys()
    }

    /// What happened to anything after a version, in order.
    pub fn all_changes(&self, after: u64) -> Vec<(&ResourceName, &Change)> {
        let mut all: Vec<_> =
            self.tables.keys().flat_map(|name| self.changes(name, after).map(move |it| (name, it))).collect();
        all.sort_by_key(|(_, change)| change.version);
        all
    }
}

/// Which object it is, by what it says.
pub fn key_of(object: &Value) -> Key {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    Key { namespace: text("/metadata/namespace"), name: text("/metadata/name") }
}

fn stamp(object: &mut Value, version: u64) {
    if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), Value::String(version.to_string()));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn object(name: &str, x: u64) -> Value {
        json!({ "metadata": { "namespace": "n", "name": name }, "x": x })
    }

    #[test]
    fn a_listing_at_an_older_version_is_as_it_was_then() {
        let (mut store, resource) = (Store::default(), ("".to_owned(), "things".to_owned()));
        let key = |name: &str| Key { namespace: "n".into(), name: name.into() };
        store.put(&resource, object("a", 1));
        store.put(&resource, object("b", 1));
        store.put(&resource, object("a", 2));
        store.delete(&resource, &key("b"), None);
        let at = |store: &Store, version| -> Vec<(String, u64)> {
            let found = store.list(&resource, Some("n"), version);
            found.into_iter().map(|(key, it)| (key.name, it["x"].as_u64().unwrap())).collect()
        };
        assert_eq!(at(&store, 4), [("a".to_owned(), 2)]);
        assert_eq!(at(&store, 2), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
        assert_eq!(at(&store, 1), [("a".to_owned(), 1)]);
        let told: Vec<(u64, bool)> = store.changes(&resource, 2).map(|it| (it.version, it.is_deleted)).collect();
        assert_eq!(told, [(3, false), (4, true)]);
        store.rewind(2);
        assert_eq!((at(&store, 2).len(), store.version(), store.changes(&resource, 2).count()), (2, 2, 0));
        store.compact(1);
        assert_eq!((store.compacted(), store.changes(&resource, 0).count()), (1, 1));
    }
}
