//! Stores: one cache for each kind that the operator watches, and the watches that feed them.
//!
//! JobRuns are never cached: their number grows without bound, and no decision needs one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::clock::now;
use super::store::{Key, Store, Stored};
use crate::api::labels::{JOB_UID, MANAGED_BY, MANAGER};
use crate::api::{Job, JobGroup, JobTemplate, Queue, Schedule};

/// How long a watch may fail before the operator calls itself blind, in seconds.
const BLIND_SECONDS: i64 = 30;

/// The name under which failing writes are remembered, next to the names of kinds.
const WRITES: &str = "writes";

/// The kind that is written and never watched.
const RECORDS: &str = "jobruns.rota.dev";
/// What to say of a kind that the API server does not know.
const NOT_INSTALLED: &str = "its CustomResourceDefinition is not installed: kubectl apply -f crds/";
/// How long one look for a definition may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before looking again.
const LOOK_DELAY: Duration = Duration::from_secs(1);

/// One cache for each kind.
#[derive(Default)]
pub struct Stores {
    /// JobTemplates.
    pub templates: Store<JobTemplate>,
    /// Schedules.
    pub schedules: Store<Schedule>,
    /// Queues.
    pub queues: Store<Queue>,
    /// Jobs.
    pub jobs: Store<Job>,
    /// JobGroups.
    pub groups: Store<JobGroup>,
    /// The batch Jobs that Rota launched.
    pub batch_jobs: Store<BatchJob>,
    /// The pods of those, without what no decision needs.
    pub pods: Store<Pod>,
    /// Template revisions.
    pub revisions: Store<ControllerRevision>,
    troubles: Mutex<Vec<Trouble>>,
}

/// A watch that fails.
struct Trouble {
    plural: String,
    since: jiff::Timestamp,
    message: String,
}

impl Stores {
    /// Starts a watch for each kind, in one namespace or in all.
    pub fn watch(self: &Arc<Self>, client: &Client, namespace: Option<&str>) {
        let all = watcher::Config::default();
        let ours = watcher::Config::default().labels(JOB_UID);
        let managed = watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
        spawn(self, client, namespace, all.clone(), |stores| &stores.templates);
        spawn(self, client, namespace, all.clone(), |stores| &stores.schedules);
        spawn(self, client, namespace, all.clone(), |stores| &stores.queues);
        spawn(self, client, namespace, all.clone(), |stores| &stores.jobs);
        spawn(self, client, namespace, all, |stores| &stores.groups);
        spawn(self, client, namespace, ours.clone(), |stores| &stores.batch_jobs);
        spawn(self, client, namespace, ours, |stores| &stores.pods);
        spawn(self, client, namespace, managed, |stores| &stores.revisions);
    }

    /// Waits until JobRuns, which are not watched, can be written.
    pub async fn wait_for_records(&self, client: &Client) {
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        loop {
            let found = tokio::time::timeout(LOOK_TIMEOUT, definitions.get_opt(RECORDS)).await;
            match found {
                Ok(Ok(Some(_))) => break,
                Ok(Ok(None)) => self.trouble(RECORDS, Some(NOT_INSTALLED.into())),
                // Somebody who may not look at definitions finds out when the first record is written.
                Ok(Err(kube::Error::Api(status))) if status.code == 403 => break,
                Ok(Err(error)) => self.trouble(RECORDS, Some(super::lease::chain(&error))),
                Err(_) => self.trouble(RECORDS, Some("no answer in time".into())),
            }
            tokio::time::sleep(LOOK_DELAY).await;
        }
        self.trouble(RECORDS, None);
    }

    /// Waits until every cache has its first listing.
    pub async fn wait_synced(&self) {
        self.templates.wait_synced().await;
        self.schedules.wait_synced().await;
        self.queues.wait_synced().await;
        self.jobs.wait_synced().await;
        self.groups.wait_synced().await;
        self.batch_jobs.wait_synced().await;
        self.pods.wait_synced().await;
        self.revisions.wait_synced().await;
    }

    /// What keeps the operator from seeing, in sentences; nothing: it sees.
    pub fn missing(&self) -> Vec<String> {
        let synced = [
            ("jobtemplates.rota.dev", self.templates.is_synced()),
            ("schedules.rota.dev", self.schedules.is_synced()),
            ("queues.rota.dev", self.queues.is_synced()),
            ("jobs.rota.dev", self.jobs.is_synced()),
            ("jobgroups.rota.dev", self.groups.is_synced()),
            ("jobs.batch", self.batch_jobs.is_synced()),
            ("pods", self.pods.is_synced()),
            ("controllerrevisions.apps", self.revisions.is_synced()),
        ];
        let now = now();
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = |name: &str| troubles.iter().find(|it| it.plural == name);
        let mut missing = Vec::new();
        for (name, synced) in synced {
            match (synced, trouble(name)) {
                (false, None) => missing.push(format!("{name}: not listed yet")),
                (false, Some(it)) => missing.push(format!("{name}: {}", it.message)),
                (true, Some(it)) if now.duration_since(it.since).as_secs() >= BLIND_SECONDS => {
                    missing.push(format!("{name}: no news since {}: {}", it.since, it.message));
                }
                (true, _) => {}
            }
        }
        missing.extend(trouble(RECORDS).map(|it| format!("{RECORDS}: {}", it.message)));
        if let Some(it) = trouble(WRITES).filter(|it| now.duration_since(it.since).as_secs() >= BLIND_SECONDS) {
            missing.push(format!("writes fail since {}: {}", it.since, it.message));
        }
        missing
    }

    /// Takes note of whether writes go through: what keeps them from it, or nothing.
    pub fn writing(&self, trouble: Option<String>) {
        self.trouble(WRITES, trouble);
    }

    fn trouble(&self, plural: &str, message: Option<String>) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let known = troubles.iter().position(|it| it.plural == plural);
        match (message, known) {
            (None, Some(index)) => {
                troubles.swap_remove(index);
            }
            (None, None) => {}
            (Some(message), Some(index)) => {
                if let Some(it) = troubles.get_mut(index) {
                    it.message = message;
                }
            }
            (Some(message), None) => troubles.push(Trouble { plural: plural.into(), since: now(), message }),
        }
    }
}

fn spawn<K>(
    stores: &Arc<Stores>,
    client: &Client,
    namespace: Option<&str>,
    config: watcher::Config,
    select: fn(&Stores) -> &Store<K>,
) where
    K: Stored + Resource<Scope = kube::core::NamespaceResourceScope> + DeserializeOwned + std::fmt::Debug + Prune,
{
    let api: Api<DeserializeGuard<K>> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let stores = stores.clone();
    let group = K::group(&());
    let plural = if group.is_empty() { K::plural(&()).into_owned() } else { format!("{}.{group}", K::plural(&())) };
    tokio::spawn(async move {
        let mut events = watcher(api, config).default_backoff().into_stream().boxed();
        loop {
            match events.try_next().await {
                Ok(Some(event)) => {
                    stores.trouble(&plural, None);
                    take_in(select(&stores), &plural, event);
                }
                Ok(None) => return,
                Err(error) => {
                    let message = explain(&error);
                    tracing::warn!(kind = %plural, error = %message, "watch failed, trying again");
                    stores.trouble(&plural, Some(message));
                }
            }
        }
    });
}

/// What a failed watch means, for people.
fn explain(error: &watcher::Error) -> String {
    let (watcher::Error::InitialListFailed(cause) | watcher::Error::WatchStartFailed(cause)) = error else {
        return super::lease::chain(error);
    };
    match cause {
        kube::Error::Api(status) if status.code == 404 => NOT_INSTALLED.into(),
        kube::Error::Api(status) => status.message.clone(),
        other => super::lease::chain(other),
    }
}

fn take_in<K: Stored + Prune>(store: &Store<K>, plural: &str, event: Event<DeserializeGuard<K>>) {
    match event {
        Event::Init => store.begin_listing(),
        Event::InitDone => store.end_listing(),
        Event::InitApply(DeserializeGuard(object)) | Event::Apply(DeserializeGuard(object)) => match object {
            Ok(mut object) => {
                object.prune();
                store.apply(object);
            }
            // The object as it was last understood stays in force: what cannot be read decides nothing.
            Err(invalid) => tracing::error!(
                kind = plural,
                namespace = invalid.metadata.namespace.as_deref().unwrap_or_default(),
                name = invalid.metadata.name.as_deref().unwrap_or_default(),
                error = %invalid.error,
                "an object cannot be decoded and is left alone; correct or delete it"
            ),
        },
        Event::Delete(DeserializeGuard(Ok(mut object))) => {
            object.prune();
            store.remove(&object);
        }
        Event::Delete(DeserializeGuard(Err(invalid))) => {
            let metadata = invalid.metadata;
            let key = Key::new(metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default());
            store.remove_named(&key, metadata.uid.as_deref());
        }
    }
}

/// Drops what no decision needs before an object is cached.
pub trait Prune {
    /// Drops it.
    fn prune(&mut self);
}

macro_rules! prune_managed_fields {
    ($($kind:ty),* $(,)?) => {
        $(impl Prune for $kind {
            fn prune(&mut self) {
                self.metadata.managed_fields = None;
            }
        })*
    };
}

prune_managed_fields!(JobTemplate, Queue, Job, JobGroup, ControllerRevision);

/// When a schedule was edited is in its managed fields; which fields they were is not needed.
impl Prune for Schedule {
    fn prune(&mut self) {
        for entry in self.metadata.managed_fields.iter_mut().flatten() {
            entry.fields_v1 = None;
        }
    }
}

impl Prune for BatchJob {
    fn prune(&mut self) {
        self.metadata.managed_fields = None;
        if let Some(spec) = self.spec.as_mut() {
            spec.template = k8s_openapi::api::core::v1::PodTemplateSpec::default();
        }
    }
}

impl Prune for Pod {
    fn prune(&mut self) {
        self.metadata.managed_fields = None;
        self.metadata.annotations = None;
        if let Some(spec) = self.spec.as_mut() {
            let containers = spec.containers.drain(..).map(|container| k8s_openapi::api::core::v1::Container {
                name: container.name,
                ..k8s_openapi::api::core::v1::Container::default()
            });
            *spec =
                PodSpec { node_name: spec.node_name.take(), containers: containers.collect(), ..PodSpec::default() };
        }
    }
}

fn namespaced(word: &str, namespace: Option<&String>, name: &str) -> String {
    format!("{word}:{}/{name}", namespace.map(String::as_str).unwrap_or_default())
}

/// The index word of everything in a namespace.
pub fn in_namespace(namespace: &str) -> String {
    format!("namespace:{namespace}")
}

/// The index word of everything that names a template.
pub fn of_template(namespace: &str, name: &str) -> String {
    format!("template:{namespace}/{name}")
}

/// The index word of the Jobs of a schedule of that name.
pub fn of_schedule(namespace: &str, name: &str) -> String {
    format!("schedule:{namespace}/{name}")
}

/// The index word of Jobs with a dedupKey.
pub fn of_dedup_key(namespace: &str, key: &str) -> String {
    format!("dedup:{namespace}/{key}")
}

/// The index word of Jobs that run a revision.
pub fn of_revision(namespace: &str, name: &str) -> String {
    format!("revision:{namespace}/{name}")
}

/// The index word of everything that belongs to the object of that uid, and of that object.
pub fn of_uid(uid: &str) -> String {
    format!("uid:{uid}")
}

impl Stored for JobTemplate {
    fn index(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Stored for Schedule {
    fn index(&self) -> Vec<String> {
        vec![namespaced("template", self.metadata.namespace.as_ref(), &self.spec.template_ref.name)]
    }
}

impl Stored for Queue {
    fn index(&self) -> Vec<String> {
        vec![in_namespace(self.metadata.namespace.as_deref().unwrap_or_default())]
    }
}

impl Stored for JobGroup {
    fn index(&self) -> Vec<String> {
        self.metadata.uid.as_deref().map(of_uid).into_iter().collect()
    }
}

impl Stored for Job {
    fn index(&self) -> Vec<String> {
        let namespace = self.metadata.namespace.as_ref();
        let mut words = vec![in_namespace(namespace.map(String::as_str).unwrap_or_default())];
        words.extend(self.metadata.uid.as_deref().map(of_uid));
        words.extend(self.spec.schedule_ref.as_ref().map(|it| namespaced("schedule", namespace, &it.name)));
        words.extend(self.spec.group_ref.as_ref().map(|it| of_uid(&it.uid)));
        words.extend(self.spec.template_ref.as_ref().map(|it| namespaced("template", namespace, &it.name)));
        words.extend(self.spec.dedup_key.as_ref().map(|it| namespaced("dedup", namespace, it)));
        let template = self.status.as_ref().and_then(|status| status.template.as_ref());
        words.extend(template.map(|it| namespaced("revision", namespace, &it.revision)));
        words
    }
}

impl Stored for BatchJob {
    fn index(&self) -> Vec<String> {
        let mut words = vec![in_namespace(self.metadata.namespace.as_deref().unwrap_or_default())];
        words.extend(job_uid(&self.metadata).map(of_uid));
        words
    }
}

impl Stored for Pod {
    fn index(&self) -> Vec<String> {
        job_uid(&self.metadata).map(of_uid).into_iter().collect()
    }
}

impl Stored for ControllerRevision {
    fn index(&self) -> Vec<String> {
        let owner = self.metadata.owner_references.iter().flatten().find(|owner| owner.kind == "JobTemplate");
        owner.map(|owner| namespaced("template", self.metadata.namespace.as_ref(), &owner.name)).into_iter().collect()
    }
}

/// The uid of the rota Job that a batch Job or pod belongs to.
pub fn job_uid(metadata: &kube::core::ObjectMeta) -> Option<&str> {
    metadata.labels.as_ref()?.get(JOB_UID).map(String::as_str)
}
