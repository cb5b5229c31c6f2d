//! What a watch of the test's own saw: every object that ever existed, in the order in which they came, and how many were
//! unfinished at each revision.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::core::NamespaceResourceScope;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource, ResourceExt};
use rota::api::labels::{ATTEMPT, JOB_NAME_ANNOTATION, JOB_UID};
use rota::domain::run::{BatchState, batch_outcome};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use super::World;

/// Watches a kind from the beginning of a test to its end.
pub struct History<K> {
    seen: Arc<Mutex<Seen<K>>>,
    task: JoinHandle<()>,
}

struct Seen<K> {
    /// Each object that ever existed, as it was last seen, by uid.
    ever: BTreeMap<String, K>,
    /// The uids of these objects, in the order in which they came, each with how many others of its class counted then.
    came: Vec<(String, usize)>,
    /// How many counted objects of each class existed at once, at the most.
    most: BTreeMap<String, usize>,
    /// The class of each counted object that exists now, by uid.
    counted: HashMap<String, String>,
}

impl<K> History<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + 'static,
{
    /// Starts to watch; `class` says for an object whether it counts now, and as what.
    pub fn start(world: &World, class: impl Fn(&K) -> Option<String> + Send + 'static) -> Self {
        Self::of(world.api(), class)
    }

    /// The same for the objects of that interface, which may be those of all namespaces.
    pub fn of(api: Api<K>, class: impl Fn(&K) -> Option<String> + Send + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = seen.clone();
        let mut changes = watcher::watcher(api, watcher::Config::default()).boxed();
        let task = tokio::spawn(async move {
            while let Some(change) = changes.next().await {
                let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                match change {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => seen.take_in(&object, class(&object)),
                    Ok(Event::Delete(object)) => seen.take_in(&object, None),
                    Ok(Event::Init | Event::InitDone) => {}
                    Err(error) => println!("the test's own watch was interrupted: {error}"),
                }
            }
        });
        Self { seen, task }
    }

    /// Every object that ever existed, as it was last seen.
    pub fn ever(&self) -> Vec<K> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).ever.values().cloned().collect()
    }

    /// The objects in the order in which they came, each with how many others of its class counted at that revision.
    pub fn came(&self) -> Vec<(K, usize)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.came.iter().map(|(uid, others)| (seen.ever[uid].clone(), *others)).collect()
    }

    /// How many objects of a class counted at once, at the most.
    pub fn most(&self, class: &str) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).most.get(class).copied().unwrap_or_default()
    }
}

impl<K> Default for Seen<K> {
    fn default() -> Self {
        Self { ever: BTreeMap::new(), came: Vec::new(), most: BTreeMap::new(), counted: HashMap::new() }
    }
}

impl<K: Resource + Clone> Seen<K> {
    fn take_in(&mut self, object: &K, class: Option<String>) {
        let uid = object.uid().unwrap_or_default();
        if self.ever.insert(uid.clone(), object.clone()).is_none() {
            let others = self.counted.values().filter(|other| Some(*other) == class.as_ref()).count();
            self.came.push((uid.clone(), others));
        }
        match class {
            Some(class) => {
                self.counted.insert(uid, class.clone());
                let now = self.counted.values().filter(|other| **other == class).count();
                let most = self.most.entry(class).or_default();
                *most = now.max(*most);
            }
            None => {
                self.counted.remove(&uid);
            }
        }
    }
}

impl<K> Drop for History<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts the unfinished batch Jobs for each value of a label.
pub fn unfinished_by(label: &'static str) -> impl Fn(&BatchJob) -> Option<String> + Send + 'static {
    move |batch| {
        (batch_outcome(batch) == BatchState::Active).then(|| batch.labels().get(label).cloned().unwrap_or_default())
    }
}

/// The name of the Job that a batch Job is an attempt of.
pub fn job_of(batch: &BatchJob) -> String {
    batch.annotations().get(JOB_NAME_ANNOTATION).cloned().unwrap_or_default()
}

/// The Job and the attempt that an object belongs to.
pub fn attempt_of(object: &impl ResourceExt) -> (String, u32) {
    let label = |name: &str| object.labels().get(name).cloned().unwrap_or_default();
    (label(JOB_UID), label(ATTEMPT).parse().unwrap_or_default())
}
