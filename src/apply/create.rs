//! Creates: plain creates under deterministic names, so that the API server lets one through. An object that is there
//! already is taken for ours only if it says so itself; its name proves nothing.

use std::fmt::Debug;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::api::PostParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{CREATE_MANAGER, WriteError, Writer, text};
use crate::api::{DEFAULT_QUEUE, Job, JobRun, Queue, QueueSpec};
use crate::domain::{attempt, names, run};
use crate::runtime::clock::now;
use crate::runtime::store::Key;

/// What came of a create.
enum Created<K> {
    /// It was created by this request.
    New(K),
    /// One of that name was there.
    Found(K),
}

impl Writer {
    /// Creates a batch Job under its deterministic name. Already there and of the same owner: done.
    pub async fn launch(&self, manifest: &Value, owner_uid: &str) -> Result<(), WriteError> {
        match self.post_strict(manifest, false).await {
            Ok(batch) => {
                self.take_in(batch);
                Ok(())
            }
            Err(error) if error.already_exists() => {
                let (namespace, name) = (text(manifest, "/metadata/namespace"), text(manifest, "/metadata/name"));
                let found = self.find_launched(namespace, name, owner_uid).await?;
                // Gone meanwhile: created again by the next try.
                found.then_some(()).ok_or(WriteError::Changed { kind: "batch Job".into(), name: name.into() })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the batch Job of that name exists, as the API server itself knows, and is of that owner: then it is taken in.
    pub async fn find_launched(&self, namespace: &str, name: &str, owner_uid: &str) -> Result<bool, WriteError> {
        let api: Api<BatchJob> = self.api(namespace);
        let Some(existing) = self.send::<BatchJob, _, _>("get", || api.get_opt(name)).await? else { return Ok(false) };
        if !attempt::is_of(&existing, owner_uid) {
            return Err(WriteError::Foreign { kind: "batch Job".into(), name: name.into() });
        }
        self.take_in(existing);
        Ok(true)
    }

    /// Creates a Job, unless a record says that it was accounted for: then that record.
    pub(super) async fn create_job(
        &self,
        job: Job,
        due: Option<Timestamp>,
        unless_run: Option<String>,
    ) -> Result<Option<JobRun>, WriteError> {
        let namespace = job.namespace().unwrap_or_default();
        let owner = job.owner_references().first().map(|owner| owner.uid.clone()).unwrap_or_default();
        if let Some(run) = unless_run
            && let Some(found) = self.record(&namespace, &run, &owner).await?
        {
            return Ok(Some(found));
        }
        match self.create(&job).await {
            Ok(Created::New(job)) => {
                if let Some(due) = due {
                    self.metrics.fired(Duration::try_from(now().duration_since(due)).unwrap_or_default());
                }
                self.take_in(job);
                Ok(None)
            }
            Ok(Created::Found(existing)) => {
                let same = same_owners(&existing, &job);
                self.take_in(existing);
                if same { Ok(None) } else { Err(foreign(&job)) }
            }
            Err(error) if error.is_terminating() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a record, under another name if its own is taken by something that Rota did not write. One that Rota wrote before
    /// stands; returned with it is what it says otherwise of an attempt that ran.
    pub(super) async fn create_run(&self, mut run: JobRun) -> Result<(JobRun, Option<String>), WriteError> {
        let seal = self.leadership.seal();
        let name = run.name_any();
        for name in [name.clone(), seal.other_name(&name, owner_of(&run))] {
            run.metadata.name = Some(name);
            seal.put(&mut run);
            match self.create(&run).await {
                Ok(Created::New(run)) => {
                    self.metrics.recorded(&run);
                    return Ok((run, None));
                }
                Ok(Created::Found(existing)) => {
                    let same = existing.spec.job_ref == run.spec.job_ref
                        && existing.spec.schedule_ref == run.spec.schedule_ref
                        && existing.spec.attempt == run.spec.attempt;
                    if same && seal.vouches_for(&existing) {
                        let contradiction = run::contradiction(&existing, &run);
                        return Ok((existing, contradiction));
                    }
                    tracing::warn!(record = %Key::of(&run), "another JobRun has the name of a record, which gets another one");
                }
                // Nothing can be created in a namespace that is being deleted, and its history goes with it.
                Err(error) if error.is_terminating() => return Ok((run, None)),
                Err(error) => return Err(error),
            }
        }
        Err(foreign(&run))
    }

    /// The record of that name of that Job or schedule, if Rota wrote one.
    pub async fn record(&self, namespace: &str, name: &str, owner_uid: &str) -> Result<Option<JobRun>, WriteError> {
        let api: Api<JobRun> = self.api(namespace);
        let seal = self.leadership.seal();
        for name in [name.to_owned(), seal.other_name(name, owner_uid)] {
            let Some(found) = self.send::<JobRun, _, _>("get", || api.get_opt(&name)).await? else { return Ok(None) };
            if owner_of(&found) == owner_uid && seal.vouches_for(&found) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    pub(super) async fn create_revision(&self, revision: ControllerRevision) -> Result<(), WriteError> {
        match self.create(&revision).await? {
            Created::New(created) => drop(self.take_in(created)),
            Created::Found(existing) if same_owners(&existing, &revision) && existing.data == revision.data => {
                self.take_in_read(&existing);
                self.label_revision(&existing).await?;
            }
            Created::Found(_) => return Err(foreign(&revision)),
        }
        Ok(())
    }

    pub(super) async fn create_default_queue(&self, namespace: &str) -> Result<(), WriteError> {
        let mut queue = Queue::new(DEFAULT_QUEUE, QueueSpec::default());
        queue.metadata.namespace = Some(namespace.into());
        queue.metadata.labels = Some(names::recommended_labels(DEFAULT_QUEUE));
        // One that a user made meanwhile is as good.
        let (Created::New(queue) | Created::Found(queue)) = self.create(&queue).await?;
        self.take_in(queue);
        Ok(())
    }

    /// Creates an object, or finds the one that has its name.
    async fn create<K>(&self, object: &K) -> Result<Created<K>, WriteError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Serialize + DeserializeOwned + Debug,
    {
        let (api, name): (Api<K>, _) = (self.api(&object.namespace().unwrap_or_default()), object.name_any());
        let params = PostParams { dry_run: false, field_manager: Some(CREATE_MANAGER.into()) };
        match self.send::<K, _, _>("create", || api.create(&params, object)).await {
            Ok(created) => Ok(Created::New(created)),
            Err(error) if error.already_exists() => {
                let found = self.send::<K, _, _>("get", || api.get_opt(&name)).await?;
                // Gone meanwhile: the next try creates it.
                found.map(Created::Found).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }
}

/// The uid of the Job that a record is about, or of the schedule, if there was no Job.
fn owner_of(run: &JobRun) -> &str {
    run.spec.job_ref.as_ref().or(run.spec.schedule_ref.as_ref()).map_or("", |owner| owner.uid.as_str())
}

fn same_owners<K: Resource>(left: &K, right: &K) -> bool {
    let uids = |object: &K| object.owner_references().iter().map(|owner| owner.uid.clone()).collect::<Vec<_>>();
    uids(left) == uids(right)
}

fn foreign<K: Resource<DynamicType = ()>>(object: &K) -> WriteError {
    WriteError::Foreign { kind: K::kind(&()).into_owned(), name: object.name_any() }
}
