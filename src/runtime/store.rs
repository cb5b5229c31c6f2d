//! Store: what the API server last said about each object of one kind.
//!
//! Two things feed it: the watch, and the answers to our own writes. An answer is in the store before the next decision
//! is made, so a decision never acts twice because the watch lags behind a write. Of two versions of an object the one
//! with the higher resourceVersion wins (they are comparable: Kubernetes KEP-5504), and a deleted object does not come back.
//! A listing that is older than what is here says that the cluster was set back, as by restoring etcd from a snapshot: then
//! everything is as the listing says. Each namespace may be listed by itself: what its listing says concerns it alone.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
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

    /// Takes off the status that the API server makes up for an object that no operator has looked at.
    fn forget_made_up_status(&mut self) {}
}

/// What changed: the object before and after. Neither is there if one is gone that could never be read.
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
    /// How often the listener panicked.
    panics: AtomicU64,
}

struct Inner<K> {
    objects: HashMap<Key, Arc<K>>,
    index: HashMap<String, BTreeSet<Key>>,
    /// The deleted objects by uid, and of which version it is known; absent: of all.
    gone: HashMap<String, Option<u64>>,
    gone_order: VecDeque<String>,
    /// What exists and cannot be read; it may be here as it was last understood.
    unreadable: HashSet<Key>,
    /// What is listed together: each namespace by itself, or all of them under the empty name.
    parts: HashMap<String, Part>,
}

/// What is listed together.
#[derive(Default)]
struct Part {
    /// The highest version that was told.
    newest: u64,
    listing: Option<Listing>,
}

/// A listing that has begun.
#[derive(Default)]
struct Listing {
    /// What was listed, or told since it began.
    listed: HashSet<Key>,
    /// The highest version that had been told before it began.
    newest_before: u64,
    /// What it names and cannot be read.
    unreadable: HashSet<Key>,
    /// What is older than the listing says although its version is higher: the cluster was set back.
    outlived: HashSet<Key>,
}

impl<K: Stored> Default for Store<K> {
    fn default() -> Self {
        Self {
            inner: RwLock::new(Inner {
                objects: HashMap::new(),
                index: HashMap::new(),
                gone: HashMap::new(),
                gone_order: VecDeque::new(),
                unreadable: HashSet::new(),
                parts: HashMap::new(),
            }),
            listener: OnceLock::new(),
            panics: AtomicU64::new(0),
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

    /// Whether there is an object of that key that cannot be read: that it is not here, or is as it is here, proves nothing.
    pub fn is_unreadable(&self, key: &Key) -> bool {
        self.read().unreadable.contains(key)
    }

    /// Whether there are objects with that word in their index.
    pub fn has(&self, word: &str) -> bool {
        self.read().index.contains_key(word)
    }

    /// How many objects have that word in their index.
    pub fn count(&self, word: &str) -> usize {
        self.read().index.get(word).map_or(0, BTreeSet::len)
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<Key> {
        self.read().objects.keys().cloned().collect()
    }

    /// Whether one of the objects is like that.
    pub fn any(&self, is_like: impl Fn(&K) -> bool) -> bool {
        self.read().objects.values().any(|object| is_like(object))
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often the listener panicked, so that what it was told of was lost on it.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Takes in an object as the API server said it is.
    pub fn apply(&self, mut object: K) {
        object.forget_made_up_status();
        let key = Key::of(&object);
        let object = Arc::new(object);
        let before = {
            let mut inner = self.write();
            let uid = object.uid().unwrap_or_default();
            let told = version(object.as_ref());
            let mut outlives = false;
            if let Some(listing) = inner.part(&key.namespace).listing.as_mut() {
                listing.listed.insert(key.clone());
                outlives = listing.outlived.remove(&key);
            }
            // One that no longer carried the labels that are watched is told as deleted, and can carry them again.
            if inner.gone.get(&uid).is_some_and(|gone| gone.is_none() || told <= *gone) {
                return;
            }
            let before = inner.objects.get(&key).cloned();
            if before.as_ref().is_some_and(|before| !outlives && !is_newer(before.as_ref(), object.as_ref())) {
                return;
            }
            inner.told(&key.namespace, told);
            inner.unreadable.remove(&key);
            inner.put(&key, &object, before.as_ref());
            before
        };
        self.tell(&Change { key: &key, before: before.as_ref(), after: Some(&object) });
    }

    /// Takes in that an object was deleted.
    pub fn remove(&self, object: &K) {
        self.take_out(object, version(object));
    }

    fn take_out(&self, object: &K, last: Option<u64>) {
        let key = Key::of(object);
        let before = {
            let mut inner = self.write();
            let uid = object.uid().unwrap_or_default();
            inner.told(&key.namespace, last);
            inner.bury(&uid, last);
            inner.unreadable.remove(&key);
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
            self.take_out(&known, None);
        }
        if self.write().unreadable.remove(key) {
            self.tell(&Change { key, before: None, after: None });
        }
    }

    /// Takes in that an object was deleted, as the answer to its deletion says.
    pub fn remove_for_good(&self, object: &K) {
        self.take_out(object, None);
    }

    /// Takes in an object as it was read just now. One that is in the watch no more was not deleted if it is read with the
    /// version of that change or a later one: a deleted object has no such version.
    pub fn apply_read(&self, object: K) {
        {
            let mut inner = self.write();
            let uid = object.uid().unwrap_or_default();
            let last = inner.gone.get(&uid).copied().flatten();
            if last.zip(version(&object)).is_some_and(|(last, read)| read >= last) {
                inner.gone.remove(&uid);
                inner.gone_order.retain(|gone| *gone != uid);
            }
        }
        self.apply(object);
    }

    /// Begins a listing of a namespace, or of all namespaces if the name is empty. When it ends, objects of the namespace that it did
    /// not contain are removed.
    pub fn begin_listing(&self, of: &str) {
        let mut inner = self.write();
        let part = inner.parts.entry(of.to_owned()).or_default();
        part.listing = Some(Listing { newest_before: part.newest, ..Listing::default() });
    }

    /// The listing that has begun is of that version. If more had been told before it began, the cluster was set back, and
    /// what is here of it is replaced by what is listed: versions no longer say what is newer.
    pub fn listing_is_of(&self, of: &str, version: &str) {
        let mut inner = self.write();
        let Inner { objects, gone, gone_order, parts, .. } = &mut *inner;
        let Some(Part { newest, listing: Some(listing) }) = parts.get_mut(of) else { return };
        let Ok(version) = version.parse::<u64>() else { return };
        if version >= listing.newest_before {
            *newest = version.max(*newest);
            return;
        }
        tracing::error!(version, was = listing.newest_before, "the cluster was set back, as from a snapshot");
        let outlived = objects.keys().filter(|key| is_of(key, of) && !listing.listed.contains(*key));
        listing.outlived = outlived.cloned().collect();
        *newest = version;
        gone.clear();
        gone_order.clear();
    }

    /// There is an object of that key that cannot be read, as a listing says or a watch: as it was last understood it stays,
    /// unless it is another one.
    pub fn cannot_read(&self, key: &Key, uid: Option<&str>) {
        let mut inner = self.write();
        let same = inner.objects.get(key).is_some_and(|known| known.meta().uid.as_deref() == uid);
        inner.unreadable.insert(key.clone());
        if let Some(listing) = inner.part(&key.namespace).listing.as_mut() {
            listing.unreadable.insert(key.clone());
            same.then(|| listing.listed.insert(key.clone()));
        }
    }

    /// Ends the listing of a namespace, or of all namespaces if the name is empty.
    pub fn end_listing(&self, of: &str) {
        let (gone, unread): (Vec<(Key, Arc<K>)>, Vec<Key>) = {
            let mut inner = self.write();
            let Some(listing) = inner.parts.get_mut(of).and_then(|part| part.listing.take()) else { return };
            let is_read = |key: &Key| is_of(key, of) && !listing.unreadable.contains(key);
            let unread = inner.unreadable.extract_if(is_read).collect();
            inner.unreadable.extend(listing.unreadable.iter().cloned());
            let is_missing = |key: &&Key| is_of(key, of) && !listing.listed.contains(*key);
            let missing: Vec<Key> = inner.objects.keys().filter(is_missing).cloned().collect();
            let gone = missing.into_iter().filter_map(|key| inner.take(&key).map(|object| (key, object))).collect();
            (gone, unread)
        };
        for (key, object) in &gone {
            self.tell(&Change { key, before: Some(object), after: None });
        }
        unread.iter().for_each(|key| self.tell(&Change { key, before: None, after: None }));
    }

    /// A panic in there concerns that change alone: the watch goes on.
    fn tell(&self, change: &Change<'_, K>) {
        let Some(listener) = self.listener.get() else { return };
        if catch_unwind(AssertUnwindSafe(|| listener(change))).is_err() {
            self.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(key = %change.key, kind = %K::kind(&()), "looking at a change ended abnormally");
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
    /// That to which a namespace belongs.
    fn part(&mut self, namespace: &str) -> &mut Part {
        let of = if self.parts.contains_key(namespace) { namespace } else { "" };
        self.parts.entry(of.to_owned()).or_default()
    }

    /// Takes note of a version that was told of a namespace.
    fn told(&mut self, namespace: &str, version: Option<u64>) {
        let part = self.part(namespace);
        part.newest = part.newest.max(version.unwrap_or_default());
    }

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

    fn bury(&mut self, uid: &str, last: Option<u64>) {
        match self.gone.get_mut(uid) {
            Some(known) => *known = known.zip(last).map(|(known, last)| known.max(last)),
            None => {
                self.gone.insert(uid.to_owned(), last);
                self.gone_order.push_back(uid.to_owned());
            }
        }
        while self.gone_order.len() > TOMBSTONES_MAX {
            if let Some(oldest) = self.gone_order.pop_front() {
                self.gone.remove(&oldest);
            }
        }
    }
}

/// Whether a key is of a namespace; all are of the empty one.
fn is_of(key: &Key, namespace: &str) -> bool {
    namespace.is_empty() || key.namespace == namespace
}

/// Whether `object` is a later version than `known`, or another object of the same name.
fn is_newer<K: Resource>(known: &K, object: &K) -> bool {
    if known.meta().uid != object.meta().uid {
        return true;
    }
    match (version(known), version(object)) {
        (Some(known), Some(object)) => object > known,
        _ => true,
    }
}

fn version<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_ref()?.parse().ok()
}

/// Whether a version is older than another.
pub fn is_older(version: &str, than: &str) -> bool {
    matches!((version.parse::<u64>(), than.parse::<u64>()), (Ok(version), Ok(than)) if version < than)
}

#[cfg(test)]
mod tests;
