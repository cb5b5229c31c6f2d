//! Attempt: where one attempt of a Job stands. There is one notion of it, for places, records, retries and duplicates: an
//! attempt ends when its pods have ended, whoever deletes, orphans or disowns its batch Job.
//!
//! Kubernetes says that a batch Job has ended only when its pods have. Where it does not come to say so, because somebody
//! deleted the batch Job before, the pods themselves decide. That something is not in a cache is never taken for its end:
//! [`Stand::Gone`] asks for a look at what the API server has.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use kube::core::ObjectMeta;

use super::run::{self, BatchState, batch_outcome};
use crate::api::Job;
use crate::api::labels::{ATTEMPT, JOB_NAME_ANNOTATION, JOB_UID};

/// The group of Rota's kinds, as owner references name it before their version.
const OUR_GROUP: &str = "rota.dev/";

/// What is seen of an attempt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sight<'a> {
    /// Whether its batch Job is being created.
    pub launching: bool,
    /// Whether its batch Job is known to have been created.
    pub launched: bool,
    /// Its batch Job.
    pub batch: Option<&'a BatchJob>,
    /// Its batch Job as it was last seen, if it is gone.
    pub last: Option<&'a BatchJob>,
    /// Its pods that are in the cluster.
    pub pods: &'a [Arc<Pod>],
}

/// Where an attempt stands.
#[derive(Clone, Debug)]
pub enum Stand<'a> {
    /// Nothing was created, as far as anybody knows.
    NotLaunched,
    /// Its batch Job is being created.
    Launching,
    /// Its batch Job is there and has not ended.
    Running(&'a BatchJob),
    /// Its batch Job is being deleted or is gone before Kubernetes said that it ended, and these pods have not ended.
    PodsEnding(Leaving<'a>, Vec<&'a Pod>),
    /// The same, and no pod is seen that has not ended: it has ended if the API server has none either.
    Gone(Leaving<'a>),
    /// Its batch Job has ended, and so have its pods; it may be gone since.
    Ended(&'a BatchJob),
}

/// The batch Job of an attempt that did not end and will not stay.
#[derive(Clone, Copy, Debug)]
pub enum Leaving<'a> {
    /// It is being deleted.
    Deleting(&'a BatchJob),
    /// It is gone. This is how it was last seen, if it was.
    Deleted(Option<&'a BatchJob>),
}

impl<'a> Leaving<'a> {
    /// The batch Job as it was last seen.
    pub fn batch(self) -> Option<&'a BatchJob> {
        match self {
            Self::Deleting(batch) => Some(batch),
            Self::Deleted(last) => last,
        }
    }
}

impl<'a> Stand<'a> {
    /// From what is seen of it.
    pub fn of(sight: &Sight<'a>) -> Self {
        let has_ended = |batch: &&BatchJob| batch_outcome(batch) != BatchState::Active;
        let leaving = match (sight.batch, sight.last) {
            (Some(batch), _) if has_ended(&batch) => return Self::Ended(batch),
            (Some(batch), _) if batch.metadata.deletion_timestamp.is_none() => return Self::Running(batch),
            (Some(batch), _) => Leaving::Deleting(batch),
            (None, Some(last)) if has_ended(&last) => return Self::Ended(last),
            (None, last) => Leaving::Deleted(last),
        };
        let was_launched = sight.launched || leaving.batch().is_some();
        if !was_launched && sight.launching {
            return Self::Launching;
        }
        let left: Vec<&Pod> = sight.pods.iter().map(Arc::as_ref).filter(|pod| !run::pod_has_ended(pod)).collect();
        if !left.is_empty() {
            Self::PodsEnding(leaving, left)
        } else if was_launched || !sight.pods.is_empty() {
            Self::Gone(leaving)
        } else {
            Self::NotLaunched
        }
    }

    /// Whether it takes the places of its Job. One that is gone does until it is recorded.
    pub fn takes_place(&self) -> bool {
        match self {
            Self::Launching | Self::Running(_) | Self::PodsEnding(..) | Self::Gone(_) => true,
            Self::NotLaunched | Self::Ended(_) => false,
        }
    }

    /// Whether its batch Job was created.
    pub fn was_launched(&self) -> bool {
        !matches!(self, Self::NotLaunched | Self::Launching)
    }
}

/// Whose a batch Job is that has the name of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The Job's, and it says so.
    Owned,
    /// The Job's, but somebody took off its owner reference or its labels: it is to be adopted again.
    Disowned,
    /// Somebody else's, which is left alone.
    Foreign,
}

/// Whose a batch Job is that has the name of an attempt of a Job. Its name alone makes it nobody's: it has to name the uid of
/// the Job, or to be the very one of which the Job's status says so.
pub fn ownership(batch: &BatchJob, job: &Job, attempt: u32) -> Ownership {
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let owners = || batch.metadata.owner_references.iter().flatten();
    let label = |name: &str| batch.metadata.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
    let is_owner = owners().any(|owner| owner.uid == uid);
    let is_labelled = label(JOB_UID) == Some(uid);
    let said = job.status.as_ref().and_then(|status| status.batch_job_ref.as_ref());
    let is_said = said.is_some_and(|said| Some(&said.uid) == batch.metadata.uid.as_ref());
    let has_other_controller = owners().any(|owner| owner.controller == Some(true) && owner.uid != uid);
    if is_owner && is_labelled && label(ATTEMPT) == Some(attempt.to_string().as_str()) {
        Ownership::Owned
    } else if is_owner || (!has_other_controller && (is_labelled || is_said)) {
        Ownership::Disowned
    } else {
        Ownership::Foreign
    }
}

/// Whether a batch Job is that of a Job with that uid, as far as it says so itself, whatever became of its owner reference.
pub fn is_of(batch: &BatchJob, uid: &str) -> bool {
    let owners = || batch.metadata.owner_references.iter().flatten();
    let is_owner = owners().any(|owner| owner.uid == uid);
    let is_labelled = batch.metadata.labels.as_ref().and_then(|labels| labels.get(JOB_UID)).is_some_and(|it| it == uid);
    is_owner || (is_labelled && !owners().any(|owner| owner.controller == Some(true)))
}

/// The uid of the Job that an object of an attempt belongs to: its owner, or for want of one what its label says.
pub fn job_uid(metadata: &ObjectMeta) -> Option<&str> {
    let mut owners = metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.kind == "Job" && owner.api_version.starts_with(OUR_GROUP));
    let label = || metadata.labels.as_ref()?.get(JOB_UID);
    owner.map(|owner| &owner.uid).or_else(label).map(String::as_str)
}

/// The name of the Job that a batch Job belongs to: its owner's, or for want of one what its annotation says.
pub fn job_name(metadata: &ObjectMeta) -> Option<&str> {
    let mut owners = metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.kind == "Job" && owner.api_version.starts_with(OUR_GROUP));
    let annotation = || metadata.annotations.as_ref()?.get(JOB_NAME_ANNOTATION);
    owner.map(|owner| &owner.name).or_else(annotation).map(String::as_str)
}

/// Whether a pod belongs to that attempt.
pub fn is_of_attempt(pod: &Pod, attempt: u32) -> bool {
    let found = pod.metadata.labels.as_ref().and_then(|labels| labels.get(ATTEMPT));
    found.and_then(|found| found.parse().ok()) == Some(attempt)
}

#[cfg(test)]
mod tests;
