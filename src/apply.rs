//! Apply: the only writer to the cluster.
//!
//! Every request has a timeout, is counted, and is sent only while this process leads. What the API server answers goes
//! into the stores before the caller goes on, so the next decision sees it.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::{NamespaceResourceScope, object::HasStatus};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

mod create;
mod error;

pub use error::{Meaning, WriteError};

use crate::api::labels::{
    ENDED_AT_ANNOTATION, ENDED_FOR_ANNOTATION, MANAGED_BY, MANAGER, RECORD_FINALIZER, REVISION_FINALIZER,
    STATUS_MANAGER,
};
use crate::api::{Job, JobRun, Queue, Reason};
use crate::domain::job::{Selector, identity};
use crate::domain::launch;
use crate::domain::plan::{Effect, ObjectIdentity};
use crate::domain::template::{Answer, snapshot_of};
use crate::runtime::clock::now;
use crate::runtime::lease::Leadership;
use crate::runtime::metrics::Metrics;
use crate::runtime::store::{Key, Stored};
use crate::runtime::stores::{Prune, Stores};

mod events;

/// How long one request may take. The API server is to give up on a write after the same time ([`crate::runtime::connection`]).
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// From how many creates under way on the writer is busy: more than a handful of schedules due at once.
const BUSY_CREATES: usize = 16;

/// How long to wait before a request is sent again that the API server was too busy for; twice as long each time.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(20);
/// How often one status is sent while others keep changing the metadata of its object.
const STATUS_TRIES: usize = 5;

/// How many writes give way at once while the writer is busy: creates go before them, and they still get on.
const TURNS: usize = 8;
/// How long such a write waits for its turn, so that requests that hang in one namespace hold up no other for longer.
const TURN_TIMEOUT: Duration = Duration::from_secs(1);

/// How many JobRuns one request lists: so few that a page of the largest ones, of 1.5 MiB each, is no danger.
const RECORDS_A_PAGE: u32 = 25;
/// How many pods one request lists.
const PODS_A_PAGE: u32 = 500;
/// The number of such pages after which a search logs a warning. It reads on: it cannot say "none" before it has read all.
const RECORD_PAGES_MANY: u32 = 400;

/// The field manager of what Rota creates.
pub const CREATE_MANAGER: &str = "rota";

/// What an effect brought to light that the caller has to know.
#[derive(Debug, Default)]
pub struct Applied {
    /// The JobRun that now exists under the name asked for, or that stands in the way of a Job.
    pub run: Option<JobRun>,
    /// What that JobRun says otherwise than the one that was to be created, if it was there before and the attempt ran.
    pub contradiction: Option<String>,
    /// What the API server said of a template.
    pub probe: Option<Answer>,
}

/// The only writer to the cluster.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    stores: Arc<Stores>,
    leadership: Leadership,
    metrics: Arc<Metrics>,
    /// How many creates are under way.
    creating: Arc<AtomicUsize>,
    /// The turns of writes that give way.
    turns: Arc<Semaphore>,
    /// The looks at events that may be under way.
    looks: Arc<Semaphore>,
}

impl Writer {
    /// A writer that feeds those stores.
    pub fn new(client: Client, stores: Arc<Stores>, leadership: Leadership, metrics: Arc<Metrics>) -> Self {
        let (turns, looks) = (Arc::new(Semaphore::new(TURNS)), Arc::new(Semaphore::new(events::LOOKS)));
        Self { client, stores, leadership, metrics, creating: Arc::default(), turns, looks }
    }

    /// Whether so many creates wait for the API server that what can wait should.
    pub fn is_busy(&self) -> bool {
        self.creating.load(Ordering::Relaxed) >= BUSY_CREATES
    }

    /// Lets creates go first while there are many of them. What it returns is to be held during a write that can wait.
    pub async fn give_way(&self) -> Option<SemaphorePermit<'_>> {
        if !self.is_busy() {
            return None;
        }
        timeout(TURN_TIMEOUT, self.turns.acquire()).await.ok()?.ok()
    }

    /// Makes one change. Done again, it changes nothing more.
    pub async fn apply(&self, effect: Effect) -> Result<Applied, WriteError> {
        let mut applied = Applied::default();
        match effect {
            Effect::CreateJob { job, due, unless_run } => applied.run = self.create_job(*job, due, unless_run).await?,
            Effect::CreateRun(run) => {
                let (run, contradiction) = self.create_run(*run).await?;
                (applied.run, applied.contradiction) = (Some(run), contradiction);
            }
            Effect::CreateRevision(revision) => self.create_revision(*revision).await?,
            Effect::ProbeTemplate(job) => applied.probe = Some(self.probe(*job).await?),
            Effect::DeleteRevision(identity) => self.delete_revision(&identity).await?,
            Effect::ExpireBatchJob { batch, reason } => self.expire(&batch, reason).await?,
            Effect::DeleteBatchJob { batch, version } => {
                let as_it_was = Preconditions { resource_version: version, ..Preconditions::default() };
                let params = DeleteParams { preconditions: Some(as_it_was), ..DeleteParams::background() };
                self.delete::<BatchJob>(&batch, &params).await?;
            }
            Effect::AdoptBatchJob { batch, job, attempt } => self.adopt(&batch, &job, attempt).await?,
            Effect::LimitBatchJob { batch, seconds } => {
                let limit = json!({ "metadata": { "uid": batch.uid }, "spec": { "ttlSecondsAfterFinished": seconds } });
                self.merge::<BatchJob>(&batch, &limit).await?;
            }
            Effect::EndPod(identity) => self.delete::<Pod>(&identity, &DeleteParams::default()).await?,
            Effect::KillPod(identity) => {
                self.delete::<Pod>(&identity, &DeleteParams::default().grace_period(0)).await?;
            }
            Effect::CancelJob { job, cancel } => {
                let patch = json!({ "metadata": { "uid": job.uid }, "spec": { "cancel": cancel } });
                self.merge::<Job>(&job, &patch).await?;
            }
            Effect::HoldJob(identity) => self.set_hold::<Job>(&identity, true).await?,
            Effect::HoldBatchJob(identity) => self.set_hold::<BatchJob>(&identity, true).await?,
            Effect::ReleaseBatchJob(identity) => self.set_hold::<BatchJob>(&identity, false).await?,
            Effect::ReleaseJob(identity) => self.set_hold::<Job>(&identity, false).await?,
            Effect::DeleteJob(identity) => self.delete::<Job>(&identity, &DeleteParams::background()).await?,
            Effect::CreateDefaultQueue { namespace } => self.create_default_queue(&namespace).await?,
        }
        Ok(applied)
    }

    /// Writes the status that was decided about `object`, by server-side apply, to that very object. Absent: it is gone.
    ///
    /// It is written only if the status and the specification are still those that were decided about: a request that comes late,
    /// from this process or from an earlier leader, sets nothing back. Changes of other metadata do not matter.
    pub async fn status<K>(&self, object: &K, status: &K::Status) -> Result<Option<K>, WriteError>
    where
        K: Stored
            + Resource<Scope = NamespaceResourceScope>
            + HasStatus<Status: PartialEq + Serialize>
            + DeserializeOwned
            + Debug
            + StoreOf
            + Prune,
    {
        let key = Key::of(object);
        let changed = || WriteError::Changed { kind: K::kind(&()).into_owned(), name: key.name.clone() };
        let same = |other: &K| other.meta().uid == object.meta().uid;
        let undecided = |other: &K, object: &K| {
            let is_same = other.status() == object.status() || {
                // One that the API server made up, and that caches leave out, is none.
                let [mut other, mut object] = [other, object].map(K::clone);
                other.forget_made_up_status();
                object.forget_made_up_status();
                other.status() == object.status()
            };
            !is_same || other.meta().generation != object.meta().generation
        };
        let mut version = object.resource_version();
        // Effects of the same decision, such as a finalizer, may have given it another version.
        if let Some(known) = K::store(&self.stores).get(&key).filter(|known| same(known)) {
            // Of a large object the cache has less than what was decided about.
            let mut cached = object.clone();
            cached.prune_like(&known);
            if undecided(&known, &cached) {
                return Err(changed());
            }
            version = known.resource_version();
        }
        let api: Api<K> = self.api(&key.namespace);
        let params = PatchParams::apply(STATUS_MANAGER).force();
        for _ in 0..STATUS_TRIES {
            let patch = Patch::Apply(json!({
                "apiVersion": K::api_version(&()),
                "kind": K::kind(&()),
                "metadata": {
                    "name": key.name, "namespace": key.namespace, "uid": object.uid(), "resourceVersion": version,
                },
                "status": status,
            }));
            match self.send::<K, _, _>("patch", || api.patch_status(&key.name, &params, &patch)).await {
                Ok(object) => return Ok(Some(self.take_in(object))),
                Err(error) if error.is(404) => return Ok(None),
                // A webhook may deny with any code; only a version that has changed is worth another try.
                Err(error) if error.is(409) && matches!(error.meaning(), Meaning::NotTried) => {}
                Err(error) => return Err(error),
            }
            let Some(found) = self.send::<K, _, _>("get", || api.get_opt(&key.name)).await? else { return Ok(None) };
            let found = self.take_in(found);
            if !same(&found) {
                return Ok(None);
            }
            if undecided(&found, object) {
                return Err(changed());
            }
            version = found.resource_version();
        }
        Err(changed())
    }

    /// The Job of that name as the API server has it now, if there is one.
    pub async fn job(&self, key: &Key) -> Result<Option<Job>, WriteError> {
        let api: Api<Job> = self.api(&key.namespace);
        self.send::<Job, _, _>("get", || api.get_opt(&key.name)).await
    }

    /// Reads the object of that name, which goes into the cache. Returns whether that changed the cache.
    pub async fn refresh<K>(&self, key: &Key) -> Result<bool, WriteError>
    where
        K: Stored + Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Debug + StoreOf + Prune,
    {
        let api: Api<K> = self.api(&key.namespace);
        let Some(found) = self.send::<K, _, _>("get", || api.get_opt(&key.name)).await? else { return Ok(false) };
        let version = || K::store(&self.stores).get(key).map(|known| (known.uid(), known.resource_version()));
        let before = version();
        self.take_in_read(&found);
        Ok(version() != before)
    }

    /// Looks for a revision of a template. If somebody removed the label that the watch selects by, it is added again.
    pub async fn find_revision(&self, key: &Key, template: &str) -> Result<(), WriteError> {
        self.refresh::<ControllerRevision>(key).await?;
        match self.stores.revisions.get(key) {
            Some(found) if snapshot_of(&found).is_some_and(|it| it.name == template) => {
                self.label_revision(&found).await
            }
            _ => Ok(()),
        }
    }

    /// Labels a revision as Rota's, if somebody took that off.
    async fn label_revision(&self, revision: &ControllerRevision) -> Result<(), WriteError> {
        if revision.labels().get(MANAGED_BY).is_some_and(|by| by == MANAGER) {
            return Ok(());
        }
        let labels = json!({ "metadata": { "uid": revision.uid(), "labels": { MANAGED_BY: MANAGER } } });
        self.merge::<ControllerRevision>(&identity(&revision.metadata), &labels).await
    }

    /// The batch Job of that name as the API server has it now, if there is one. It goes into the cache.
    pub async fn batch_job(&self, namespace: &str, name: &str) -> Result<Option<BatchJob>, WriteError> {
        let api: Api<BatchJob> = self.api(namespace);
        let found = self.send::<BatchJob, _, _>("get", || api.get_opt(name)).await?;
        found.iter().for_each(|found| self.take_in_read(found));
        Ok(found)
    }

    /// The pods with these labels as the API server has them now, a page at a time.
    pub async fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<Pod>, WriteError> {
        let api: Api<Pod> = self.api(namespace);
        let mut params = ListParams::default().labels(selector).limit(PODS_A_PAGE);
        let mut found = Vec::new();
        loop {
            let page = self.send::<Pod, _, _>("list", || api.list(&params)).await?;
            found.extend(page.items.into_iter().map(|mut pod| {
                pod.prune();
                pod
            }));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(found),
            }
        }
    }

    /// Searches the JobRuns of a namespace that Rota wrote, a page at a time, until `see` says that no further one is of interest.
    /// No more than a page is in memory.
    pub async fn search(
        &self,
        namespace: &str,
        by: &Selector,
        see: &mut (dyn FnMut(&JobRun) -> bool + Send),
    ) -> Result<(), WriteError> {
        let api: Api<JobRun> = self.api(namespace);
        let mut params = ListParams::default().labels(&by.labels).limit(RECORDS_A_PAGE);
        params.field_selector.clone_from(&by.fields);
        let seal = self.leadership.seal();
        for pages in 1_u32.. {
            let page = self.send::<JobRun, _, _>("list", || api.list(&params)).await?;
            let is_over =
                page.items.iter().filter(|run| seal.vouches_for(run)).map(&mut *see).filter(|over| *over).count() > 0;
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) if !is_over => params = params.continue_token(&token),
                _ => break,
            }
            if pages == RECORD_PAGES_MANY {
                tracing::warn!(
                    namespace,
                    by = by.labels,
                    "a search among the records takes long: many have these labels"
                );
            }
        }
        Ok(())
    }

    /// Asks whether a batch Job would be accepted.
    async fn probe(&self, manifest: Value) -> Result<Answer, WriteError> {
        match self.post_strict(&manifest, true).await {
            Ok(_) => Ok(Answer::Accepted),
            Err(WriteError::NotLeading) => Err(WriteError::NotLeading),
            Err(error) => Ok(match error.meaning() {
                Meaning::Never => Answer::Invalid(error.text()),
                Meaning::Denied => Answer::Refused(error.text()),
                Meaning::NotTried | Meaning::Unknown => Answer::Unknown(error.text()),
            }),
        }
    }

    /// Creates a batch Job with unknown fields refused rather than dropped.
    async fn post_strict(&self, manifest: &Value, dry_run: bool) -> Result<BatchJob, WriteError> {
        let namespace = text(manifest, "/metadata/namespace");
        let url = BatchJob::url_path(&(), Some(namespace));
        let params = PostParams { dry_run, field_manager: Some(CREATE_MANAGER.into()) };
        let body = serde_json::to_vec(manifest).map_err(kube::Error::SerdeError)?;
        let mut request = kube::core::Request::new(url).create(&params, body).map_err(kube::Error::BuildRequest)?;
        let strict = format!("{}&fieldValidation=Strict", request.uri());
        if let Ok(uri) = strict.parse() {
            *request.uri_mut() = uri;
        }
        let verb = if dry_run { "dry_run" } else { "create" };
        self.send::<BatchJob, _, _>(verb, || self.client.request::<BatchJob>(request.clone())).await
    }

    async fn delete_revision(&self, identity: &ObjectIdentity) -> Result<(), WriteError> {
        let key = Key::new(&identity.namespace, &identity.name);
        let known = self.stores.revisions.get(&key).filter(|it| it.metadata.uid.as_deref() == Some(&identity.uid));
        let Some(revision) = known else { return Ok(()) };
        // Those of others are theirs to take off.
        let others: Vec<&String> = revision.finalizers().iter().filter(|it| *it != REVISION_FINALIZER).collect();
        if others.len() < revision.finalizers().len() {
            let free = json!({ "metadata": {
                "uid": identity.uid,
                "resourceVersion": revision.resource_version(),
                "finalizers": others,
            }});
            self.merge::<ControllerRevision>(identity, &free).await?;
        }
        if revision.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        self.delete::<ControllerRevision>(identity, &DeleteParams::background()).await
    }

    /// A deadline of one second: the Job controller ends the pods gracefully, and the batch Job stays.
    async fn expire(&self, identity: &ObjectIdentity, reason: Reason) -> Result<(), WriteError> {
        let expired = json!({
            "metadata": { "uid": identity.uid, "annotations": {
                ENDED_FOR_ANNOTATION: reason.as_str(),
                ENDED_AT_ANNOTATION: now().to_string(),
            }},
            "spec": { "activeDeadlineSeconds": 1 },
        });
        self.merge::<BatchJob>(identity, &expired).await
    }

    /// Makes a batch Job a Job's again, as it was launched. Other owners and labels stay.
    async fn adopt(&self, batch: &ObjectIdentity, job: &ObjectIdentity, attempt: u32) -> Result<(), WriteError> {
        let key = Key::new(&batch.namespace, &batch.name);
        let Some(known) = self.stores.batch_jobs.get(&key).filter(|it| it.uid().as_deref() == Some(&batch.uid)) else {
            return Ok(());
        };
        let mut owners: Vec<Value> = Vec::new();
        for owner in known.owner_references().iter().filter(|owner| owner.uid != job.uid) {
            owners.push(serde_json::to_value(owner).map_err(kube::Error::SerdeError)?);
        }
        owners.push(launch::owner(&job.name, &job.uid));
        let patch = json!({ "metadata": {
            "uid": batch.uid,
            "resourceVersion": known.resource_version(),
            "ownerReferences": owners,
            "labels": launch::identity_labels(&job.name, &job.uid, attempt),
        }});
        tracing::info!(%key, job = %job.name, "a batch Job that was disowned is adopted again");
        match self.merge::<BatchJob>(batch, &patch).await {
            // Somebody wrote to it meanwhile; that brings another look.
            Err(error) if error.is(409) => Ok(()),
            other => other,
        }
    }

    /// Puts Rota's finalizer on an object or takes it off, leaving those of others.
    async fn set_hold<K>(&self, identity: &ObjectIdentity, hold: bool) -> Result<(), WriteError>
    where
        K: Stored + Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Debug + StoreOf + Prune,
    {
        let key = Key::new(&identity.namespace, &identity.name);
        let known = K::store(&self.stores).get(&key);
        let Some(object) = known.filter(|object| object.meta().uid.as_deref() == Some(&identity.uid)) else {
            return Ok(());
        };
        let mut finalizers: Vec<&str> =
            object.finalizers().iter().map(String::as_str).filter(|it| *it != RECORD_FINALIZER).collect();
        if hold {
            finalizers.push(RECORD_FINALIZER);
        }
        let patch = json!({ "metadata": {
            "uid": identity.uid,
            "resourceVersion": object.resource_version(),
            "finalizers": finalizers,
        }});
        self.merge::<K>(identity, &patch).await
    }

    async fn merge<K>(&self, identity: &ObjectIdentity, patch: &Value) -> Result<(), WriteError>
    where
        K: Stored + Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Debug + StoreOf + Prune,
    {
        let api: Api<K> = self.api(&identity.namespace);
        let params = PatchParams { field_manager: Some(CREATE_MANAGER.into()), ..PatchParams::default() };
        let patch = Patch::Merge(patch);
        match self.send::<K, _, _>("patch", || api.patch(&identity.name, &params, &patch)).await {
            Ok(object) => {
                self.take_in(object);
                Ok(())
            }
            Err(error) if error.is(404) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn delete<K>(&self, identity: &ObjectIdentity, params: &DeleteParams) -> Result<(), WriteError>
    where
        K: Stored + Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Debug + StoreOf + Prune,
    {
        let api: Api<K> = self.api(&identity.namespace);
        let asked = params.preconditions.clone().unwrap_or_default();
        let preconditions = Preconditions { uid: Some(identity.uid.clone()), ..asked };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            propagation_policy: params.propagation_policy.clone().or(Some(PropagationPolicy::Background)),
            ..params.clone()
        };
        match self.send::<K, _, _>("delete", || api.delete(&identity.name, &params)).await {
            Ok(answer) => {
                match answer.left() {
                    Some(object) => drop(self.take_in(object)),
                    // It is gone; without this it would be deleted again until the watch says so.
                    None => {
                        let key = Key::new(&identity.namespace, &identity.name);
                        K::store(&self.stores).remove_named(&key, Some(&identity.uid));
                    }
                }
                Ok(())
            }
            Err(error) if error.is(404) || error.is(409) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends a request, counts it, and gives up on it in time. That this process leads is checked just before it is sent, and
    /// again before it is sent once more because the API server was too busy to look at it. Nothing else sends a request twice.
    async fn send<K: Resource<DynamicType = ()>, R: Future<Output = Result<T, kube::Error>>, T>(
        &self,
        verb: &'static str,
        request: impl Fn() -> R,
    ) -> Result<T, WriteError> {
        let under_way = (verb == "create").then(|| UnderWay::one_of(&self.creating));
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let mut delay = RETRY_DELAY_MIN;
        let answer = loop {
            if !self.leadership.is_leader() {
                return Err(WriteError::NotLeading);
            }
            let answer = match timeout_at(deadline, request()).await {
                Ok(answer) => answer.map_err(WriteError::from),
                Err(_) => Err(WriteError::Timeout),
            };
            let again =
                answer.as_ref().err().and_then(WriteError::is_busy).map(|asked| Instant::now() + asked.max(delay));
            match again.filter(|at| *at < deadline) {
                Some(at) => tokio::time::sleep_until(at).await,
                None => break answer,
            }
            delay *= 2;
        };
        drop(under_way);
        match &answer {
            // Whether it was answered at all is a matter of that object too: webhooks are asked about it.
            Err(WriteError::Timeout) => {}
            other => self.stores.writing(other.as_ref().err().filter(|error| error.is_outage()).map(WriteError::text)),
        }
        let outcome = match &answer {
            Ok(_) => "ok",
            Err(error) => match error.code() {
                Some(404) => "not_found",
                Some(409) => "conflict",
                Some(400..=499) => "refused",
                _ => "failed",
            },
        };
        self.metrics.request(verb, &K::kind(&()), outcome);
        answer
    }

    /// Takes in an object as it was read just now, also if the watch no longer shows it.
    fn take_in_read<K: Stored + StoreOf + Prune>(&self, found: &K) {
        let mut cached = found.clone();
        cached.prune();
        K::store(&self.stores).apply_read(cached);
    }

    fn take_in<K: Stored + StoreOf + Prune>(&self, object: K) -> K {
        let mut cached = object.clone();
        cached.prune();
        let gone = cached.meta().deletion_timestamp.is_some()
            && cached.finalizers().is_empty()
            && cached.meta().deletion_grace_period_seconds.unwrap_or_default() == 0;
        if gone {
            K::store(&self.stores).remove_for_good(&cached);
        } else {
            K::store(&self.stores).apply(cached);
        }
        object
    }

    fn api<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Counts a request while it is under way, also when it is given up.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn one_of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Which store holds a kind.
pub trait StoreOf: Sized {
    /// The store of this kind.
    fn store(stores: &Stores) -> &crate::runtime::store::Store<Self>;
}

macro_rules! store_of {
    ($($kind:ty => $field:ident),* $(,)?) => {
        $(impl StoreOf for $kind {
            fn store(stores: &Stores) -> &crate::runtime::store::Store<Self> {
                &stores.$field
            }
        })*
    };
}

store_of!(
    crate::api::JobTemplate => templates,
    crate::api::Schedule => schedules,
    Queue => queues,
    Job => jobs,
    crate::api::JobGroup => groups,
    BatchJob => batch_jobs,
    Pod => pods,
    ControllerRevision => revisions,
);
