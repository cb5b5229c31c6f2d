//! Stores: one cache for each kind that the operator watches, and what keeps it from seeing and writing.
//!
//! JobRuns are never cached: their number grows without bound, and the few that decisions need are looked up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::feed::Feed;
use super::lease::Traces;
use super::store::{Store, Stored};
use super::visibility::{Scope, Visibility, Watched};
use crate::api::crds::NOT_LOOKED_AT;
use crate::api::labels::{JOB_UID, LAST_APPLIED_ANNOTATION, MANAGED_BY, MANAGER, STATUS_MANAGER};
use crate::api::{
    Job, JobGroup, JobGroupStatus, JobPhase, JobStatus, JobTemplate, JobTemplateStatus, Queue, QueueStatus, Schedule,
    ScheduleStatus,
};
use crate::domain::attempt::{job_name, job_uid};
use crate::domain::job::is_batch_held;
use crate::domain::pruned;

/// How long writes may fail before the operator says so.
const WRITES_FAIL_MAX: Duration = Duration::from_secs(30);

/// The name under which failing writes are remembered, next to the names of kinds.
const WRITES: &str = "writes";

/// The kind that is written and never watched.
const RECORDS: &str = "jobruns.rota.dev";
/// What to say of a kind that the API server does not know.
pub const NOT_INSTALLED: &str = "its CustomResourceDefinition is not installed: kubectl apply -f crds/";
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
    /// How old all that is.
    pub visibility: Visibility,
    troubles: Mutex<Vec<Trouble>>,
}

/// What else fails.
struct Trouble {
    name: &'static str,
    since: Instant,
    message: String,
}

/// What keeps the operator from working.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing {
    /// The reasons, one sentence each.
    pub sentences: Vec<String>,
    /// Whether the operator can do nothing at all. If false, the reasons concern some namespaces only.
    pub is_total: bool,
}

impl Stores {
    /// Creates empty stores.
    pub fn new(visibility: Visibility) -> Self {
        Self { visibility, ..Self::default() }
    }

    /// Starts a watch for each kind in each scope. None of them ever ends by itself.
    pub fn watch(self: &Arc<Self>, client: &Client) -> JoinSet<()> {
        let mut feeds = JoinSet::new();
        for scope in self.visibility.scopes() {
            for kind in scope.kinds() {
                self.spawn_feed(&mut feeds, client, *kind, scope);
            }
        }
        feeds
    }

    fn spawn_feed(self: &Arc<Self>, feeds: &mut JoinSet<()>, client: &Client, kind: Watched, scope: &Arc<Scope>) {
        let of = (kind, scope);
        let ours = Some(JOB_UID.to_owned());
        let managed = Some(format!("{MANAGED_BY}={MANAGER}"));
        match kind {
            Watched::Templates => feeds.spawn(Feed::new(self, |it| &it.templates, of, client, None).run()),
            Watched::Schedules => feeds.spawn(Feed::new(self, |it| &it.schedules, of, client, None).run()),
            Watched::Queues => feeds.spawn(Feed::new(self, |it| &it.queues, of, client, None).run()),
            Watched::Jobs => feeds.spawn(Feed::new(self, |it| &it.jobs, of, client, None).run()),
            Watched::Groups => feeds.spawn(Feed::new(self, |it| &it.groups, of, client, None).run()),
            Watched::BatchJobs => feeds.spawn(Feed::new(self, |it| &it.batch_jobs, of, client, ours).run()),
            Watched::Pods => feeds.spawn(Feed::new(self, |it| &it.pods, of, client, ours).run()),
            Watched::Revisions => feeds.spawn(Feed::new(self, |it| &it.revisions, of, client, managed).run()),
        };
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

    /// What earlier leaders have left in the cluster. If the operator does not see all of it, it assumes that there is something.
    pub fn traces(&self) -> Traces {
        let any = !self.visibility.missing(Instant::now()).is_empty()
            || self.schedules.any(|it| it.status.is_some())
            || self.templates.any(|it| it.status.is_some())
            || self.groups.any(|it| it.status.is_some())
            || self.jobs.any(|it| it.status.is_some());
        let queues =
            self.queues.keys().into_iter().filter_map(|key| self.queues.get(&key)?.status.as_ref().map(|it| it.epoch));
        queues.fold(Traces { epoch: 0, any }, Traces::with_epoch)
    }

    /// What keeps the operator from working.
    pub fn missing(&self) -> Missing {
        self.missing_at(Instant::now())
    }

    fn missing_at(&self, now: Instant) -> Missing {
        let troubles = self.troubles(now);
        let is_total = !troubles.is_empty() || !self.visibility.sees_enough(now);
        let sentences = self.visibility.missing(now).into_iter().chain(troubles).collect();
        Missing { sentences, is_total }
    }

    /// What keeps the operator from working on a namespace, one sentence for each reason.
    pub fn missing_for(&self, namespace: &str) -> Vec<String> {
        let now = Instant::now();
        self.visibility.missing_for(namespace, now).into_iter().chain(self.troubles(now)).collect()
    }

    /// What else fails and concerns everything, in sentences.
    fn troubles(&self, now: Instant) -> Vec<String> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = |name: &str| troubles.iter().find(|it| it.name == name);
        let lasts = |it: &Trouble| now.saturating_duration_since(it.since);
        let records = trouble(RECORDS).map(|it| format!("{RECORDS}: {}", it.message));
        let writes = trouble(WRITES).filter(|it| lasts(it) >= WRITES_FAIL_MAX);
        let writes = writes.map(|it| format!("writes have failed for {} s: {}", lasts(it).as_secs(), it.message));
        records.into_iter().chain(writes).collect()
    }

    /// How often looking at a change ended abnormally, so that something may not have been looked at.
    pub fn panics(&self) -> u64 {
        self.templates.panics()
            + self.schedules.panics()
            + self.queues.panics()
            + self.jobs.panics()
            + self.groups.panics()
            + self.batch_jobs.panics()
            + self.pods.panics()
            + self.revisions.panics()
    }

    /// Takes note of whether this process can write: what keeps it from writing at all, or nothing.
    pub fn writing(&self, trouble: Option<String>) {
        self.trouble(WRITES, trouble);
    }

    fn trouble(&self, name: &'static str, message: Option<String>) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let known = troubles.iter().position(|it| it.name == name);
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
            (Some(message), None) => troubles.push(Trouble { name, since: Instant::now(), message }),
        }
    }
}

/// Drops what no decision needs before an object is cached.
pub trait Prune {
    /// Drops it.
    fn prune(&mut self);

    /// Drops what a version in the cache lacks, to be compared with that one.
    fn prune_like(&mut self, _cached: &Self) {
        self.prune();
    }
}

macro_rules! prune_managed_fields {
    ($($kind:ty),* $(,)?) => {
        $(impl Prune for $kind {
            fn prune(&mut self) {
                self.metadata.managed_fields = None;
                empty_copy(&mut self.metadata);
            }
        })*
    };
}

prune_managed_fields!(JobTemplate, Queue, JobGroup, ControllerRevision);

impl Prune for Job {
    fn prune(&mut self) {
        self.metadata.managed_fields = None;
        empty_copy(&mut self.metadata);
        pruned::prune_job(self);
    }

    // Not by its own size: as it was launched, a Job may be smaller or larger than it is now.
    fn prune_like(&mut self, cached: &Self) {
        self.metadata.managed_fields = None;
        empty_copy(&mut self.metadata);
        if !pruned::is_whole(cached) {
            pruned::leave_out(self);
        }
    }
}

/// When a schedule was edited is in its managed fields: of who set a field of the specification the time is kept, and of the
/// operator's own statuses.
impl Prune for Schedule {
    fn prune(&mut self) {
        empty_copy(&mut self.metadata);
        let Some(entries) = self.metadata.managed_fields.as_mut() else { return };
        entries.retain(|entry| match entry.subresource.as_deref() {
            None | Some("") => entry.fields_v1.as_ref().is_none_or(|fields| fields.0.get("f:spec").is_some()),
            Some(_) => entry.manager.as_deref() == Some(STATUS_MANAGER),
        });
        entries.iter_mut().for_each(|entry| entry.fields_v1 = None);
    }
}

/// `kubectl apply` keeps a copy of the whole object in an annotation. That it does may matter, what is in it does not.
fn empty_copy(metadata: &mut kube::core::ObjectMeta) {
    if let Some(copy) = metadata.annotations.as_mut().and_then(|it| it.get_mut(LAST_APPLIED_ANNOTATION)) {
        *copy = String::new();
    }
}

impl Prune for BatchJob {
    fn prune(&mut self) {
        pruned::prune_batch_job(self);
    }
}

impl Prune for Pod {
    fn prune(&mut self) {
        pruned::prune_pod(self);
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

/// The index word of the Jobs that name a group of that name.
pub fn of_group(namespace: &str, name: &str) -> String {
    format!("group:{namespace}/{name}")
}

/// The index word of the groups that resume the group of that name.
pub fn of_resumed(namespace: &str, name: &str) -> String {
    format!("resumed:{namespace}/{name}")
}

/// The index word of Jobs with a dedupKey that have not ended.
pub fn of_dedup_key(namespace: &str, key: &str) -> String {
    format!("dedup:{namespace}/{key}")
}

/// The index word of Jobs that run a revision and have not ended.
pub fn of_revision(namespace: &str, name: &str) -> String {
    format!("revision:{namespace}/{name}")
}

/// The index word of the batch Jobs that Rota's finalizer holds for a Job of that name.
pub fn held_for(namespace: &str, name: &str) -> String {
    format!("held:{namespace}/{name}")
}

/// The index word of everything that belongs to the object of that uid, and of that object.
pub fn of_uid(uid: &str) -> String {
    format!("uid:{uid}")
}

/// Of the kinds for which the API server makes up a status: it says nothing but that nobody has looked.
macro_rules! forget_made_up_status {
    ($status:ident) => {
        fn forget_made_up_status(&mut self) {
            let made_up = $status { observed_generation: Some(NOT_LOOKED_AT), ..Default::default() };
            self.status = self.status.take().filter(|status| *status != made_up);
        }
    };
}

impl Stored for JobTemplate {
    forget_made_up_status!(JobTemplateStatus);

    fn index(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Stored for Schedule {
    forget_made_up_status!(ScheduleStatus);

    fn index(&self) -> Vec<String> {
        vec![namespaced("template", self.metadata.namespace.as_ref(), &self.spec.template_ref.name)]
    }
}

impl Stored for Queue {
    forget_made_up_status!(QueueStatus);

    fn index(&self) -> Vec<String> {
        vec![in_namespace(self.metadata.namespace.as_deref().unwrap_or_default())]
    }
}

impl Stored for JobGroup {
    forget_made_up_status!(JobGroupStatus);

    fn index(&self) -> Vec<String> {
        let resumed = self.spec.resume_of.as_ref();
        let resumed = resumed.map(|it| namespaced("resumed", self.metadata.namespace.as_ref(), &it.name));
        self.metadata.uid.as_deref().map(of_uid).into_iter().chain(resumed).collect()
    }
}

impl Stored for Job {
    forget_made_up_status!(JobStatus);

    fn index(&self) -> Vec<String> {
        let namespace = self.metadata.namespace.as_ref();
        let mut words = vec![in_namespace(namespace.map(String::as_str).unwrap_or_default())];
        words.extend(self.metadata.uid.as_deref().map(of_uid));
        words.extend(self.spec.schedule_ref.as_ref().map(|it| namespaced("schedule", namespace, &it.name)));
        words.extend(self.spec.group_ref.as_ref().map(|it| namespaced("group", namespace, &it.name)));
        words.extend(self.spec.template_ref.as_ref().map(|it| namespaced("template", namespace, &it.name)));
        // An ended one is no rival and needs no revision, and there may be thousands of them.
        let ended = self.status.as_ref().and_then(|status| status.phase).is_some_and(JobPhase::is_ended);
        let key = self.spec.dedup_key.as_ref().filter(|_| !ended);
        words.extend(key.map(|it| namespaced("dedup", namespace, it)));
        let template = self.status.as_ref().filter(|_| !ended).and_then(|status| status.template.as_ref());
        words.extend(template.map(|it| namespaced("revision", namespace, &it.revision)));
        words
    }
}

impl Stored for BatchJob {
    fn index(&self) -> Vec<String> {
        let mut words = vec![in_namespace(self.metadata.namespace.as_deref().unwrap_or_default())];
        words.extend(job_uid(&self.metadata).map(of_uid));
        let held = job_name(&self.metadata).filter(|_| is_batch_held(self));
        words.extend(held.map(|name| namespaced("held", self.metadata.namespace.as_ref(), name)));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(phase: &str) -> Job {
        let job = json!({
            "apiVersion": "rota.dev/v1alpha1", "kind": "Job",
            "metadata": {
                "name": "a", "namespace": "ns", "uid": "1",
                "annotations": { LAST_APPLIED_ANNOTATION: "a copy of it all", "example.com/other": "kept" },
            },
            "spec": { "templateRef": { "name": "t" }, "dedupKey": "order-17" },
            "status": { "phase": phase, "template": { "name": "t", "uid": "2", "revision": "t-1", "digest": "3" } },
        });
        serde_json::from_value(job).unwrap()
    }

    /// Ended Jobs are kept for a while, and there may be thousands that were duplicates of one key.
    #[test]
    fn a_job_that_has_ended_is_not_among_those_of_its_key_or_revision() {
        let store = Store::default();
        let words = [of_dedup_key("ns", "order-17"), of_revision("ns", "t-1")];
        store.apply(job("Queued"));
        assert!(words.iter().all(|word| store.has(word)));
        for phase in ["Finished", "Cancelled"] {
            store.apply(job(phase));
            assert!(words.iter().all(|word| !store.has(word)), "{phase}");
        }
        assert_eq!(store.find(&of_uid("1")).len(), 1);
    }

    /// That of some namespaces nothing is seen keeps the operator from nothing in the others.
    #[test]
    fn it_is_not_ready_if_it_sees_no_namespace_whole_or_cannot_write() {
        let namespaces = ["a", "b"].map(str::to_owned);
        let stores = Stores::new(Visibility::new(Visibility::QUIET_MAX, &namespaces, "a"));
        assert!(stores.missing().is_total && !stores.missing_for("a").is_empty());
        let of_a = stores.visibility.scope("a").unwrap();
        Watched::ALL.into_iter().for_each(|kind| of_a.listed(kind, 0));
        let missing = stores.missing();
        assert_eq!((missing.is_total, missing.sentences.len()), (false, Watched::ALL.len()));
        assert_eq!(missing.sentences[6], "pods in namespace b: not listed yet");
        assert!(stores.missing_for("a").is_empty() && !stores.missing_for("b").is_empty());
        assert!(stores.traces().any, "there may be some in the other namespace");
        stores.writing(Some("forbidden".into()));
        let missing = stores.missing_at(Instant::now() + WRITES_FAIL_MAX);
        assert!(missing.is_total && missing.sentences.iter().any(|it| it.starts_with("writes have failed for 30 s")));
    }

    #[test]
    fn of_the_copy_that_kubectl_keeps_only_its_presence_is_kept() {
        let mut job = job("Queued");
        job.prune();
        let annotations = job.metadata.annotations.unwrap();
        assert_eq!(annotations[LAST_APPLIED_ANNOTATION], "");
        assert_eq!(annotations["example.com/other"], "kept");
    }

    /// The API server fills in the defaults of the fields below a status that it makes up.
    #[test]
    fn a_status_that_the_api_server_made_up_is_none_and_one_with_content_is_one() {
        let queue = |status: serde_json::Value| {
            let content = json!({
                "apiVersion": "rota.dev/v1alpha1", "kind": "Queue", "metadata": { "name": "a" }, "spec": {}, "status": status,
            });
            let mut queue: Queue = serde_json::from_value(content).unwrap();
            queue.forget_made_up_status();
            queue.status
        };
        assert_eq!(queue(json!({ "observedGeneration": -1 })), None);
        assert_eq!(queue(json!({ "observedGeneration": -1, "running": 0, "waiting": 0, "epoch": 0 })), None);
        assert_eq!(queue(json!({ "observedGeneration": -1, "epoch": 5 })).map(|status| status.epoch), Some(5));
        assert!(queue(json!({ "observedGeneration": 1 })).is_some() && queue(json!({})).is_some());
    }
}
