//! Places: what a Job takes of its limits while an attempt of it has not ended, told to the line.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::ResourceExt;

use crate::api::{DEFAULT_QUEUE, Job, labels};
use crate::controllers::Context;
use crate::controllers::job::attempt::Seen;
use crate::domain::job::{Memory, current_attempt, limits};
use crate::domain::queue::{Limit, Occupant};
use crate::domain::run::{BatchState, batch_outcome, pod_has_ended};
use crate::runtime::clock::now;
use crate::runtime::stores::of_uid;

/// Brings what the line knows of a Job's places up to what the stores say: it takes them while it is being launched, and
/// until its attempt has ended. Returns whether it gave them back.
pub fn sync(context: &Context, namespace: &str, uid: &str) -> bool {
    let mut line = context.dispatcher.line();
    let occupied = line.occupies(uid);
    let holder = holder(context, uid);
    let launching = line.is_admitted(uid) || context.memories.get(uid).is_some_and(|memory| memory.launching.is_some());
    if !launching {
        line.launched(uid);
    }
    match holder {
        Some(place) => line.occupy(namespace, uid, place),
        None if launching => {}
        None => line.release(uid),
    }
    occupied && !line.occupies(uid)
}

/// A pod of a Job has ended. That matters where no batch Job tells of the attempt's end.
pub fn pod_ended(context: &Context, namespace: &str, uid: &str) {
    let batches = context.stores.batch_jobs.find(&of_uid(uid));
    let tells = |batch: &Arc<BatchJob>| batch.metadata.deletion_timestamp.is_none();
    if !batches.iter().any(tells) && context.dispatcher.line().occupies(uid) && sync(context, namespace, uid) {
        context.triggers.dispatch(namespace);
    }
}

/// The places of a Job whose attempt was launched and has not ended.
fn holder(context: &Context, uid: &str) -> Option<Occupant> {
    let batches = context.stores.batch_jobs.find(&of_uid(uid));
    let active = |batch: &&Arc<BatchJob>| batch_outcome(batch) == BatchState::Active;
    if let Some(batch) = batches.iter().filter(active).find(|it| it.metadata.deletion_timestamp.is_none()) {
        return Some(occupant(context, uid, batch));
    }
    let found = context.stores.jobs.find(&of_uid(uid));
    if let Some(job) = found.iter().find(|job| job.uid().as_deref() == Some(uid)) {
        let memory = context.memories.get(uid).unwrap_or_else(|| Memory::new(now()));
        let attempt = current_attempt(job);
        let ended = memory.recorded.as_ref().is_some_and(|it| it.attempt == attempt) || context.ending(job).is_some();
        let stand = Seen::of(context, job);
        let stand = stand.stand(job, &memory);
        return (!ended && stand.was_launched() && stand.takes_place()).then(|| place(job, &memory, None));
    }
    // The Job is gone, and what it ran may not be.
    if let Some(batch) = batches.iter().find(active) {
        return Some(occupant(context, uid, batch));
    }
    let ended = |attempt: &str| batches.iter().any(|batch| label(batch.labels(), labels::ATTEMPT) == attempt);
    let pods = context.stores.pods.find(&of_uid(uid));
    let left = pods.iter().find(|pod| !pod_has_ended(pod) && !ended(&label(pod.labels(), labels::ATTEMPT)))?;
    let name = label(left.labels(), labels::JOB);
    // Which queue it came from its pod does not say. Where that is known, it keeps its places.
    Some(Occupant { name: name.into(), queue: "".into(), limits: [Limit::Namespace].into() })
}

/// The places that an unfinished batch Job takes.
fn occupant(context: &Context, uid: &str, batch: &BatchJob) -> Occupant {
    let found = context.stores.jobs.find(&of_uid(uid));
    let queue = Some(label(batch.labels(), labels::QUEUE)).filter(|it| !it.is_empty());
    match (found.iter().find(|job| job.uid().as_deref() == Some(uid)), context.memories.get(uid)) {
        (Some(job), Some(memory)) => place(job, &memory, queue.as_deref()),
        _ => Occupant {
            name: batch.name_any().into(),
            queue: queue.unwrap_or_default().into(),
            limits: [
                Some(label(batch.labels(), labels::TEMPLATE)).filter(|it| !it.is_empty()).map(Limit::Template),
                Some(label(batch.labels(), labels::SCHEDULE)).filter(|it| !it.is_empty()).map(Limit::Schedule),
                Some(Limit::Namespace),
            ]
            .into_iter()
            .flatten()
            .collect(),
        },
    }
}

fn label(labels: &BTreeMap<String, String>, name: &str) -> String {
    labels.get(name).cloned().unwrap_or_default()
}

/// The places that a Job takes: as it was admitted, else as its status says, else in the queue that something else says
/// (the Queue that admitted it, or the label of its batch Job), for a Job whose status is not written yet.
pub(super) fn place(job: &Job, memory: &Memory, queue: Option<&str>) -> Occupant {
    if let Some(place) = &memory.place {
        return place.clone();
    }
    let said = job.status.as_ref().and_then(|status| status.queue.as_deref());
    Occupant { name: job.name_any().into(), queue: said.or(queue).unwrap_or(DEFAULT_QUEUE).into(), limits: limits(job) }
}
