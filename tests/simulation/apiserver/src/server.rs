//! Server: answers one request after the other, and knows no time and no chance but what it is given.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::request::{Query, Request, Target, parse};
use crate::resources::{Resource, Resources, builtin};
use crate::selectors::Selector;
use crate::store::{Key, Store};
use crate::watch::Watch;

/// An API server in memory.
pub struct ApiServer {
    pub(crate) resources: Resources,
    pub(crate) store: Store,
    random: fastrand::Rng,
}

/// What the server answers.
#[derive(Debug)]
pub enum Answer {
    /// An object or a list, with the HTTP status code.
    Object(u16, Arc<Value>),
    /// A watch, which is to be followed.
    Watch(Watch),
}

/// A request whose URL and resource are understood.
pub(crate) struct Call {
    pub target: Target,
    pub query: Query,
    pub resource: Arc<Resource>,
    pub content_type: String,
    pub user_agent: String,
    pub now: Timestamp,
}

impl ApiServer {
    /// A server without objects but the namespace `default`. The seed decides about uids and generated names.
    pub fn new(seed: u64) -> Self {
        let mut server = Self { resources: builtin(), store: Store::default(), random: fastrand::Rng::with_seed(seed) };
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {
                "name": "default", "uid": server.uid(), "creationTimestamp": "1970-01-01T00:00:00Z",
                "labels": { "kubernetes.io/metadata.name": "default" },
            },
            "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Active" },
        });
        server.store.put(&(String::new(), "namespaces".to_owned()), namespace);
        server
    }

    /// Serves the kind of a CRD, as if it had been created.
    pub fn install(&mut self, crd: &Value) -> Result<(), String> {
        self.serve(Arc::new(Resource::from_crd(crd)?));
        Ok(())
    }

    /// Serves a kind that was read from its CRD before: that takes long, and many servers can share it.
    pub fn serve(&mut self, resource: Arc<Resource>) {
        self.resources.insert(resource.name(), resource);
    }

    /// Serves a kind no more; its objects are gone with it.
    pub fn uninstall(&mut self, group: &str, plural: &str) {
        let name = (group.to_owned(), plural.to_owned());
        for (key, _) in self.store.list(&name, None, self.store.version()) {
            self.store.delete(&name, &key, None);
        }
        self.resources.remove(&name);
    }

    /// The objects and what happened to them.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The objects, to compact or to rewind them.
    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Answers a request at that time.
    pub fn handle(&mut self, request: &Request, now: Timestamp) -> Result<Answer, Failure> {
        let (target, query) = parse(&request.uri)?;
        let name = (target.group.clone(), target.plural.clone());
        let resource = self.resources.get(&name).cloned().ok_or_else(Failure::no_such_resource)?;
        if resource.version != target.version {
            return Err(Failure::no_such_resource());
        }
        let call = Call {
            target,
            query,
            resource,
            content_type: request.content_type.clone(),
            user_agent: request.user_agent.clone(),
            now,
        };
        let method = request.method.as_str();
        match (method, call.target.name.is_some()) {
            ("GET", true) => self.get(&call),
            ("GET", false) if call.query.is("watch") => self.watch(&call),
            ("GET", false) => self.list(&call),
            ("POST", false) => self.create(&call, &request.body),
            ("PUT", true) => self.update(&call, &request.body),
            ("PATCH", true) => self.patch(&call, &request.body),
            ("DELETE", true) => self.delete(&call, &request.body),
            _ => Err(Failure::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            )),
        }
    }

    fn get(&self, call: &Call) -> Result<Answer, Failure> {
        let key = call.key()?;
        let found = self.store.get(&call.resource.name(), &key);
        let found = found.ok_or_else(|| Failure::not_found(&call.resource, &key.name))?;
        Ok(Answer::Object(200, call.shown(found)))
    }

    fn list(&self, call: &Call) -> Result<Answer, Failure> {
        let selector = call.selector()?;
        let (at, after) = match call.query.get("continue") {
            Some(token) => read_token(token).ok_or_else(|| Failure::bad_request("continue key is not valid"))?,
            None => (self.store.version(), None),
        };
        if at < self.store.compacted() || at > self.store.version() {
            return Err(Failure::expired(
                "The provided continue parameter is too old to display a consistent list result.",
            ));
        }
        let limit = usize::try_from(call.query.number("limit").unwrap_or_default()).unwrap_or(usize::MAX);
        let all = self.store.list(&call.resource.name(), call.target.namespace.as_deref(), at).into_iter();
        let rest = all.filter(|(key, _)| after.as_ref().is_none_or(|after| key > after));
        let mut selected =
            rest.map(|(key, object)| (key, call.shown(&object))).filter(|(_, object)| selector.matches(object));
        let mut items = Vec::new();
        let mut last = None;
        for (key, object) in selected.by_ref().take(if limit == 0 { usize::MAX } else { limit }) {
            items.push(listed(&call.resource, &object));
            last = Some(key);
        }
        let left = selected.count();
        let mut metadata = json!({ "resourceVersion": at.to_string() });
        if let (Some(last), true, Some(metadata)) = (last, left > 0, metadata.as_object_mut()) {
            metadata.insert("continue".into(), json!(write_token(at, &last)));
            if selector == Selector::default() {
                metadata.insert("remainingItemCount".into(), json!(left));
            }
        }
        let kind = format!("{}List", call.resource.kind);
        let list =
            json!({ "apiVersion": call.resource.api_version(), "kind": kind, "metadata": metadata, "items": items });
        Ok(Answer::Object(200, Arc::new(list)))
    }

    fn watch(&self, call: &Call) -> Result<Answer, Failure> {
        let from = call.query.get("resourceVersion").filter(|version| *version != "0");
        let from =
            from.map(|version| version.parse::<u64>().map_err(|_| Failure::bad_request("invalid resource version")));
        let from = from.transpose()?;
        if let Some(from) = from.filter(|from| *from < self.store.compacted()) {
            return Err(Failure::expired(format!("too old resource version: {from} ({})", self.store.compacted())));
        }
        Ok(Answer::Watch(Watch::new(call, call.selector()?, from)))
    }

    /// The next uid.
    pub(crate) fn uid(&mut self) -> String {
        let bits = u128::from(self.random.u64(..)) << 64 | u128::from(self.random.u64(..));
        let text = format!("{bits:032x}");
        let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
        format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
    }

    /// The end of a generated name.
    pub(crate) fn suffix(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5).map(|_| char::from(*self.random.choice(LETTERS).unwrap_or(&b'x'))).collect()
    }
}

impl Call {
    /// The object that the URL names.
    pub fn key(&self) -> Result<Key, Failure> {
        let name = self.target.name.clone().unwrap_or_default();
        match (&self.target.namespace, self.resource.is_namespaced) {
            (Some(namespace), true) => Ok(Key { namespace: namespace.clone(), name }),
            (None, false) => Ok(Key { namespace: String::new(), name }),
            _ => Err(Failure::no_such_resource()),
        }
    }

    fn selector(&self) -> Result<Selector, Failure> {
        Selector::parse(self.query.get("labelSelector"), self.query.get("fieldSelector"), &self.resource.selectable)
    }

    /// An object as it is read: the defaults of its kind are filled in, also those of fields that it was stored without.
    pub fn shown(&self, object: &Arc<Value>) -> Arc<Value> {
        shown(&self.resource, object)
    }

    /// Whether nothing is to be written.
    pub fn is_dry_run(&self) -> bool {
        self.query.get("dryRun") == Some("All")
    }
}

/// An object of a resource as it is read.
pub(crate) fn shown(resource: &Resource, object: &Arc<Value>) -> Arc<Value> {
    let Some(custom) = resource.custom() else { return object.clone() };
    let mut shown = (**object).clone();
    custom.schema.set_defaults(&mut shown);
    if shown == **object { object.clone() } else { Arc::new(shown) }
}

/// An object as a list has it: Kubernetes' own kinds leave out what kind they are.
fn listed(resource: &Resource, object: &Value) -> Value {
    let mut listed = object.clone();
    if let Some(listed) = listed.as_object_mut().filter(|_| resource.custom().is_none()) {
        listed.remove("apiVersion");
        listed.remove("kind");
    }
    listed
}

fn write_token(at: u64, last: &Key) -> String {
    format!("{at}/{}/{}", last.namespace, last.name)
}

fn read_token(token: &str) -> Option<(u64, Option<Key>)> {
    let mut parts = token.split('/');
    let at = parts.next()?.parse().ok()?;
    let (namespace, name) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    Some((at, Some(Key { namespace, name })))
}
