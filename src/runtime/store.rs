//! Store: what the API server last said about each object of one kind.
//!
//! Two things feed it: the watch, and the answers to our own writes. An answer is in the store before the next decision
//! is made, so a decision never acts twice because the watch lags behind a write. Of two versions of an object the one
//! with the higher resourceVersion wins (they are comparable: Kubernetes KEP-5504), and a deleted object does not come back.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use kube::{Resource, ResourceExt};

/// How many deleted objects are remembered, so that a late answer does not bring one back.
const TOMBSTONES_MAX: usize = 8_192;

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The key of that namespace and name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        let metadata = object.meta();
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// A kind that a store can hold.
pub trait Stored: Resource<DynamicType = ()> + Clone + Send + Sync + 'static {
    /// The words by which the object can be found besides its name, such as the uid of its owner.
    fn index(&self) -> Vec<String>;
}

/// What changed: the object before and after.
pub struct Change<'a, K> {
    /// Which object.
    pub key: &'a Key,
    /// The object before, if it existed.
    pub before: Option<&'a Arc<K>>,
    /// The object now, if it exists.
    pub after: Option<&'a Arc<K>>,
}

type Listener<K> = Box<dyn Fn(&Change<'_, K>) + Send + Sync>;

/// What the API server last said about each object of one kind.
pub struct Store<K> {
    inner: RwLock<Inner<K>>,
    listener: OnceLock<Listener<K>>,
    synced: tokio::sync::watch::Sender<bool>,
}

struct Inner<K> {
    objects: HashMap<Key, Arc<K>>,
    index: HashMap<String, BTreeSet<Key>>,
    gone: HashSet<String>,
    gone_order: VecDeque<String>,
    listing: Option<HashSet<Key>>,
}

impl<K: Stored> Default for Store<K> {
    fn default() -> Self {
        Self {
            inner: RwLock::new(Inner {
                objects: HashMap::new(),
                index: HashMap::new(),
                gone: HashSet::new(),
                gone_order: VecDeque::new(),
                listing: None,
            }),
            listener: OnceLock::new(),
            synced: tokio::sync::watch::Sender::new(false),
        }
    }
}

impl<K: Stored> Store<K> {
    /// Sets who is told of each change. Only the first call has an effect.
    pub fn listen(&self, listener: impl Fn(&Change<'_, K>) + Send + Sync + 'static) {
        let _ = self.listener.set(Box::new(listener));
    }

    /// The object of that key.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read().objects.get(key).cloned()
    }

    /// The objects with that word in their index.
    pub fn find(&self, word: &str) -> Vec<Arc<K>> {
        let inner = self.read();
        let keys = inner.index.get(word);
        keys.into_iter().flatten().filter_map(|key| inner.objects.get(key).cloned()).collect()
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<Key> {
        self.read().objects.keys().cloned().collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the first listing was complete.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until the first listing is complete.
    pub async fn wait_synced(&self) {
        // The sender lives as long as the store, so this only ever ends with the value.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Takes in an object as the API server said it is.
    pub fn apply(&self, object: K) {
        let key = Key::of(&object);
        let object = Arc::new(object);
        let before = {
            let mut inner = self.write();
            let uid = object.uid().unwrap_or_default();
            if let Some(listing) = inner.listing.as_mut() {
                listing.insert(key.clone());
            }
            if inner.gone.contains(&uid) {
                return;
            }
            let before = inner.objects.get(&key).cloned();
            if before.as_ref().is_some_and(|before| !is_newer(before.as_ref(), object.as_ref())) {
                return;
            }
            inner.put(&key, &object, before.as_ref());
            before
        };
        self.tell(&Change { key: &key, before: before.as_ref(), after: Some(&object) });
    }

    /// Takes in that an object was deleted.
    pub fn remove(&self, object: &K) {
        let key = Key::of(object);
        let before = {
            let mut inner = self.write();
            let uid = object.uid().unwrap_or_default();
            inner.bury(&uid);
            let same = inner.objects.get(&key).is_some_and(|known| known.uid().unwrap_or_default() == uid);
            // The listener gets the last state, which a delete may bring.
            same.then(|| inner.take(&key)).flatten().map(|_| Arc::new(object.clone()))
        };
        if before.is_some() {
            self.tell(&Change { key: &key, before: before.as_ref(), after: None });
        }
    }

    /// Takes in that an object was deleted of which nothing but its name and uid is told.
    pub fn remove_named(&self, key: &Key, uid: Option<&str>) {
        if let Some(known) = self.get(key).filter(|known| known.meta().uid.as_deref() == uid) {
            self.remove(&known);
        }
    }

    /// A listing begins: objects that it does not name are gone when it ends.
    pub fn begin_listing(&self) {
        self.write().listing = Some(HashSet::new());
    }

    /// A listing ended.
    pub fn end_listing(&self) {
        let gone: Vec<(Key, Arc<K>)> = {
            let mut inner = self.write();
            let Some(listed) = inner.listing.take() else { return };
            let missing: Vec<Key> = inner.objects.keys().filter(|key| !listed.contains(*key)).cloned().collect();
            missing.into_iter().filter_map(|key| inner.take(&key).map(|object| (key, object))).collect()
        };
        for (key, object) in &gone {
            self.tell(&Change { key, before: Some(object), after: None });
        }
        self.synced.send_replace(true);
    }

    fn tell(&self, change: &Change<'_, K>) {
        if let Some(listener) = self.listener.get() {
            listener(change);
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Inner<K>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Inner<K>> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Stored> Inner<K> {
    fn put(&mut self, key: &Key, object: &Arc<K>, before: Option<&Arc<K>>) {
        if let Some(before) = before {
            self.unindex(key, before);
        }
        for word in object.index() {
            self.index.entry(word).or_default().insert(key.clone());
        }
        self.objects.insert(key.clone(), object.clone());
    }

    fn take(&mut self, key: &Key) -> Option<Arc<K>> {
        let object = self.objects.remove(key)?;
        self.unindex(key, &object);
        Some(object)
    }

    fn unindex(&mut self, key: &Key, object: &K) {
        for word in object.index() {
            if let Some(keys) = self.index.get_mut(&word) {
                keys.remove(key);
                if keys.is_empty() {
                    self.index.remove(&word);
                }
            }
        }
    }

    fn bury(&mut self, uid: &str) {
        if self.gone.insert(uid.to_owned()) {
            self.gone_order.push_back(uid.to_owned());
        }
        while self.gone_order.len() > TOMBSTONES_MAX {
            if let Some(oldest) = self.gone_order.pop_front() {
                self.gone.remove(&oldest);
            }
        }
    }
}

/// Whether `object` is a later version than `known`, or another object of the same name.
fn is_newer<K: Resource>(known: &K, object: &K) -> bool {
    if known.meta().uid != object.meta().uid {
        return true;
    }
    let version = |object: &K| object.meta().resource_version.as_ref().and_then(|it| it.parse::<u64>().ok());
    match (version(known), version(object)) {
        (Some(known), Some(object)) => object > known,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Queue, QueueSpec};

    fn queue(name: &str, uid: &str, version: u64, max_running: u32) -> Queue {
        let mut queue = Queue::new(name, QueueSpec { max_running: Some(max_running), ..QueueSpec::default() });
        queue.metadata.namespace = Some("ns".into());
        queue.metadata.uid = Some(uid.into());
        queue.metadata.resource_version = Some(version.to_string());
        queue
    }

    #[test]
    fn an_older_version_never_replaces_a_newer_one() {
        let store = Store::default();
        store.apply(queue("a", "1", 20, 2));
        store.apply(queue("a", "1", 9, 1));
        assert_eq!(store.get(&Key::new("ns", "a")).unwrap().spec.max_running, Some(2));
        assert_eq!(store.find("namespace:ns").len(), 1);
    }

    #[test]
    fn a_late_answer_does_not_bring_a_deleted_object_back_but_a_new_one_of_the_name_is_seen() {
        let store = Store::default();
        store.apply(queue("a", "1", 5, 1));
        store.remove(&queue("a", "1", 6, 1));
        store.apply(queue("a", "1", 7, 1));
        assert!(store.is_empty());
        store.apply(queue("a", "2", 8, 1));
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn a_listing_removes_what_it_does_not_name_but_not_what_was_written_meanwhile() {
        let store = Store::default();
        store.apply(queue("old", "1", 1, 1));
        store.apply(queue("kept", "2", 2, 1));
        store.begin_listing();
        store.apply(queue("kept", "2", 2, 1));
        store.apply(queue("written-meanwhile", "3", 9, 1));
        store.end_listing();
        let mut names: Vec<String> = store.keys().into_iter().map(|key| key.name).collect();
        names.sort();
        assert_eq!(names, ["kept", "written-meanwhile"]);
        assert!(store.is_synced());
    }
}
