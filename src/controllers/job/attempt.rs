//! What is seen of an attempt of a Job: its batch Job and its pods, those that are gone as they were last seen, and, where the
//! caches do not have them, what the API server says.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::api::Job;
use crate::api::labels::{ATTEMPT, JOB_UID};
use crate::apply::WriteError;
use crate::controllers::Context;
use crate::domain::attempt::{Ownership, Sight, Stand, is_of_attempt, ownership};
use crate::domain::job::{Memory, attempt_names, current_attempt, identity, was_launched};
use crate::domain::plan::Effect;
use crate::runtime::store::Key;
use crate::runtime::stores::{held_for, of_uid};

/// The label that the Job controller puts on every pod of a batch Job.
const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";

/// What is seen of an attempt.
#[derive(Default)]
pub struct Seen {
    /// Its batch Job.
    pub batch: Option<Arc<BatchJob>>,
    /// Whether somebody took off that batch Job's owner reference or labels.
    pub disowned: bool,
    /// Its pods that are in the cluster.
    pub there: Vec<Arc<Pod>>,
    /// All its pods, those that are gone as they were last seen.
    pub pods: Vec<Arc<Pod>>,
    /// Whether the API server was asked.
    pub looked: bool,
    /// Whether it had a batch Job that has been deleted meanwhile, so that it has to be asked again.
    pub is_unsettled: bool,
}

impl Seen {
    /// What the caches have of the current attempt.
    pub fn of(context: &Context, object: &Job) -> Self {
        let attempt = current_attempt(object);
        let uid = object.uid().unwrap_or_default();
        let (batch, disowned) = batch_of(context, object, attempt);
        let mut there = context.stores.pods.find(&of_uid(&uid));
        there.retain(|pod| is_of_attempt(pod, attempt));
        let pods = with_gone(context, &uid, attempt, there.clone());
        Self { batch, disowned, pods, there, ..Self::default() }
    }

    /// The same as the API server has it now. What it says of the batch Job goes into the caches.
    pub async fn live(context: &Context, object: &Job) -> Result<Self, WriteError> {
        let attempt = current_attempt(object);
        let uid = object.uid().unwrap_or_default();
        let namespace = object.namespace().unwrap_or_default();
        let names = attempt_names(object, attempt);
        let mut ours = None;
        for name in &names {
            let found = context.writer.batch_job(&namespace, name).await?;
            ours = found.filter(|batch| ownership(batch, object, attempt) != Ownership::Foreign);
            if ours.is_some() {
                break;
            }
        }
        let memory = context.memories.update(&uid, |memory| {
            memory.absent = Some(attempt).filter(|_| ours.is_none());
        });
        let said = object.status.as_ref().and_then(|status| status.batch_job_ref.as_ref());
        let said = said.filter(|said| names.contains(&said.name)).map(|said| said.uid.clone());
        let last = memory.last_batch_of(object).and_then(|batch| batch.metadata.uid.clone());
        let selector = match ours.as_ref().and_then(ResourceExt::uid).or(last).or(said) {
            Some(batch) => format!("{CONTROLLER_UID}={batch}"),
            None => format!("{JOB_UID}={uid},{ATTEMPT}={attempt}"),
        };
        let there = context.writer.pods(&namespace, &selector).await?;
        let there: Vec<Arc<Pod>> = there.into_iter().map(Arc::new).collect();
        let cached = Self::of(context, object);
        let known: HashSet<String> = there.iter().filter_map(|pod| pod.uid()).collect();
        let others = cached.pods.into_iter().filter(|pod| pod.uid().is_none_or(|uid| !known.contains(&uid)));
        let pods = there.iter().cloned().chain(others).collect();
        let is_unsettled = ours.is_some() && cached.batch.is_none();
        Ok(Self { batch: cached.batch, disowned: cached.disowned, there, pods, looked: true, is_unsettled })
    }

    /// Where the attempt stands.
    pub fn stand<'a>(&'a self, object: &Job, memory: &'a Memory) -> Stand<'a> {
        Stand::of(&Sight {
            launching: memory.launching == Some(current_attempt(object)),
            launched: was_launched(object, Some(memory)),
            batch: self.batch.as_deref(),
            last: memory.last_batch_of(object),
            pods: &self.there,
        })
    }
}

/// The batch Job of an attempt in the cache, under whichever name a build gave it, and whether somebody disowned it.
pub fn batch_of(context: &Context, object: &Job, attempt: u32) -> (Option<Arc<BatchJob>>, bool) {
    let namespace = object.namespace().unwrap_or_default();
    for name in attempt_names(object, attempt) {
        let Some(batch) = context.stores.batch_jobs.get(&Key::new(&namespace, name)) else { continue };
        match ownership(&batch, object, attempt) {
            Ownership::Owned => return (Some(batch), false),
            Ownership::Disowned => return (Some(batch), true),
            Ownership::Foreign => {}
        }
    }
    (None, false)
}

/// Those pods, and those of the attempt that are gone.
fn with_gone(context: &Context, uid: &str, attempt: u32, mut pods: Vec<Arc<Pod>>) -> Vec<Arc<Pod>> {
    let gone = context.memories.get(uid).into_iter().flat_map(|memory| memory.gone_pods);
    for gone in gone.filter(|pod| is_of_attempt(pod, attempt)) {
        if !pods.iter().any(|pod| pod.uid() == gone.uid()) {
            pods.push(gone);
        }
    }
    pods
}

/// Whether the current attempt of a Job was launched.
pub fn is_launched(context: &Context, object: &Job, memory: &Memory) -> bool {
    was_launched(object, Some(memory)) || Seen::of(context, object).stand(object, memory).was_launched()
}

/// Takes Rota's finalizer off the batch Jobs of a Job of that name of which nothing is left to be recorded: those of another
/// attempt than the current one, of one that is recorded, or of a Job that is gone.
pub async fn let_go(context: &Context, key: &Key, object: Option<&Job>) -> Result<(), WriteError> {
    if object.is_none() && context.stores.jobs.is_unreadable(key) {
        return Ok(());
    }
    for batch in context.stores.batch_jobs.find(&held_for(&key.namespace, &key.name)) {
        let current = object.filter(|job| {
            let memory = job.uid().and_then(|uid| context.memories.get(&uid));
            let attempt = current_attempt(job);
            let recorded = memory.and_then(|memory| memory.recorded).is_some_and(|it| it.attempt == attempt);
            let of_it = attempt_names(job, attempt).contains(&batch.name_any()) && context.ending(job).is_none();
            of_it && !recorded && ownership(&batch, job, attempt) != Ownership::Foreign
        });
        if current.is_none() {
            context.writer.apply(Effect::ReleaseBatchJob(identity(&batch.metadata))).await?;
        }
    }
    Ok(())
}
