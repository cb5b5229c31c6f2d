//! The judge: whether a history kept what Rota promises, told from what the API server stored alone.
//!
//! It shares no code with the operator: what a Job, a record or a schedule says is read from their JSON, and which times a
//! schedule has is computed here anew. `broken.rs` has histories that it must reject.

mod account;
mod attempts;
mod broken;
mod records;
mod rest;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// Who made it.
    pub actor: String,
    /// The plural name and the group, such as `jobs.rota.dev`.
    pub resource: String,
    /// The object before; absent: it was created.
    pub before: Option<Arc<Value>>,
    /// The object after; absent: it was deleted.
    pub after: Option<Arc<Value>>,
}

/// All that happened.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In order.
    pub changes: Vec<Change>,
    /// From when on nothing went wrong any more.
    pub calm_since: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// What happened.
    pub story: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.invariant, self.story)
    }
}

/// What was broken in a history.
pub fn judge(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    account::judge(history, &mut found);
    attempts::judge(history, &mut found);
    records::judge(history, &mut found);
    rest::judge(history, &mut found);
    found
}

impl Change {
    /// The object as it is, or as it was last.
    fn object(&self) -> &Value {
        match self.after.as_ref().or(self.before.as_ref()) {
            Some(object) => object,
            None => &Value::Null,
        }
    }

    fn is_created(&self) -> bool {
        self.before.is_none()
    }

    fn is_deleted(&self) -> bool {
        self.after.is_none()
    }
}

impl History {
    fn of<'a>(&'a self, resource: &'a str) -> impl DoubleEndedIterator<Item = &'a Change> {
        self.changes.iter().filter(move |change| change.resource == resource)
    }

    /// The objects of a resource that are there at the end, by uid.
    fn at_the_end<'a>(&'a self, resource: &'a str) -> BTreeMap<String, &'a Value> {
        let mut found = BTreeMap::new();
        for change in self.of(resource) {
            let uid = text(change.object(), "/metadata/uid").to_owned();
            match &change.after {
                Some(object) => drop(found.insert(uid, object.as_ref())),
                None => drop(found.remove(&uid)),
            }
        }
        found
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer).parse().ok()
}
