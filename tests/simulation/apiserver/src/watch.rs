//! Watches: what a client is told of changes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::resources::Resource;
use crate::selectors::Selector;
use crate::server::{ApiServer, Call, shown};

/// How long a watch lasts that names no time.
const LASTS: Duration = Duration::from_secs(1_800);

/// A watch that is open: how far it has told.
#[derive(Clone)]
pub struct Watch {
    resource: Arc<Resource>,
    namespace: Option<String>,
    selector: Selector,
    /// Up to which version it has told; absent: it begins with what there is.
    told: Option<u64>,
    /// Whether it has bookmarks.
    pub has_bookmarks: bool,
    /// How long it lasts.
    pub lasts: Duration,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "a watch of {} after {:?}", self.resource.qualified(), self.told)
    }
}

/// One thing that a watch tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The version of the change.
    pub version: u64,
    /// What is sent.
    pub content: Value,
}

impl Watch {
    pub(crate) fn new(call: &Call, selector: Selector, told: Option<u64>) -> Self {
        let seconds = call.query.number("timeoutSeconds").map(Duration::from_secs);
        Self {
            resource: call.resource.clone(),
            namespace: call.target.namespace.clone(),
            selector,
            told,
            has_bookmarks: call.query.is("allowWatchBookmarks"),
            lasts: seconds.unwrap_or(LASTS),
        }
    }

    /// The resource that is watched, as messages say it.
    pub fn resource(&self) -> String {
        self.resource.qualified()
    }

    /// What is to be told next of what the server knows up to a version. Nothing: there is nothing new. An `Err` is the last thing
    /// that the watch tells.
    pub fn next(&mut self, server: &ApiServer, up_to: u64) -> Result<Vec<Event>, Value> {
        let name = self.resource.name();
        let Some(told) = self.told else {
            self.told = Some(server.store.version());
            let there = server.store.list(&name, self.namespace.as_deref(), server.store.version());
            let there = there.into_iter().map(|(_, object)| shown(&self.resource, &object));
            let there = there.filter(|object| self.selector.matches(object));
            let version = server.store.version();
            return Ok(there.map(|object| event(version, "ADDED", &object)).collect());
        };
        if told < server.store.compacted() {
            let message = format!("too old resource version: {told} ({})", server.store.compacted());
            let status = crate::failure::Failure::expired(message).status();
            return Err(json!({ "type": "ERROR", "object": status }));
        }
        let up_to = up_to.min(server.store.version());
        let changes = server.store.changes(&name, told).take_while(|change| change.version <= up_to);
        let events = changes.filter_map(|change| self.tell(change)).collect();
        self.told = Some(told.max(up_to));
        Ok(events)
    }

    /// What one change is for this watch: an object that no longer is selected is deleted for it.
    fn tell(&self, change: &crate::store::Change) -> Option<Event> {
        let within = |object: &Value| {
            let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
            self.namespace.as_deref().is_none_or(|it| it == namespace) && self.selector.matches(object)
        };
        let after = shown(&self.resource, &change.after);
        let before = change.before.as_ref().map(|before| shown(&self.resource, before));
        let was = before.as_ref().is_some_and(|before| within(before));
        let is = !change.is_deleted && within(&after);
        match (was, is) {
            (false, false) => None,
            (false, true) => Some(event(change.version, "ADDED", &after)),
            (true, true) => Some(event(change.version, "MODIFIED", &after)),
            (true, false) if change.is_deleted => Some(event(change.version, "DELETED", &after)),
            // It is told as it was when it was still selected, with the version of the change.
            (true, false) => {
                let mut last = before.map(|before| (*before).clone()).unwrap_or_default();
                if let Some(metadata) = last.pointer_mut("/metadata").and_then(Value::as_object_mut) {
                    metadata.insert("resourceVersion".into(), json!(change.version.to_string()));
                }
                Some(event(change.version, "DELETED", &last))
            }
        }
    }

    /// A bookmark: everything up to that version has been told. Absent: nothing has been told yet.
    pub fn bookmark(&self) -> Option<Value> {
        let object = json!({
            "apiVersion": self.resource.api_version(), "kind": self.resource.kind,
            "metadata": { "resourceVersion": self.told?.to_string(), "creationTimestamp": null },
        });
        Some(json!({ "type": "BOOKMARK", "object": object }))
    }
}

fn event(version: u64, word: &str, object: &Value) -> Event {
    Event { version, content: json!({ "type": word, "object": object }) }
}
