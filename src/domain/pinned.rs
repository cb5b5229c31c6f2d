//! Pinned: what a Job said when an attempt of it was launched.
//!
//! A Job is launched before its first status is written, as a rule, and until then the API server lets its specification be
//! edited. What was launched is not edited with it. So the batch Job carries what the Job said, and as long as that attempt
//! is the current one, decisions, status and record follow it. A later attempt is what the Job says then.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::job::content_label;
use super::sizes::stored_bytes;
use super::{run, schedule};
use crate::api::job_run::ContainerSnapshot;
use crate::api::labels::LAUNCHED_ANNOTATION;
use crate::api::{Job, JobPhase, JobSpec};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::core::ObjectMeta;

/// How much of a Job is carried, in bytes: its parameters, and what a record says of its own jobTemplate. A Job with more has its
/// status written before it is launched.
const CARRIED_BYTES_MAX: usize = 16 * 1_024;

/// What is carried.
#[derive(Deserialize, Serialize)]
struct Launched {
    /// The generation of the Job.
    generation: i64,
    /// Whether it had an own jobTemplate. That itself is not carried: it is what the batch Job was made of.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    inline: bool,
    /// Of that jobTemplate what a record says of it, unless a status had put an end to edits of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    containers: Option<Vec<ContainerSnapshot>>,
    /// The priority, which may be edited for longer than the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    /// The rest, unless a status had put an end to edits of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spec: Option<JobSpec>,
}

/// Whether the API server refuses edits of what a Job runs: its status says that it is queued.
pub fn is_frozen(job: &Job) -> bool {
    let phase = job.status.as_ref().and_then(|status| status.phase);
    phase.is_some_and(|phase| phase != JobPhase::Pending)
}

/// Whether a Job can be launched before its status is written, so that it says afterwards what was launched.
pub fn fits(job: &Job) -> bool {
    let params: usize = job.spec.params.iter().map(|(name, value)| name.len() + value.len()).sum();
    let containers = || own_containers(job).map_or(0, |containers| stored_bytes(&containers));
    // What a run by hand takes from its schedule is in its status only.
    is_frozen(job) || (!schedule::is_by_hand(job) && params + containers() <= CARRIED_BYTES_MAX)
}

/// What the batch Job of an attempt carries of its Job.
pub fn annotation(job: &Job) -> String {
    let spec = (!is_frozen(job)).then(|| JobSpec { job_template: None, cancel: None, ..job.spec.clone() });
    let launched = Launched {
        generation: job.metadata.generation.unwrap_or_default(),
        inline: job.spec.job_template.is_some(),
        containers: own_containers(job).filter(|_| !is_frozen(job)),
        priority: job.spec.priority,
        spec,
    };
    serde_json::to_string(&launched).unwrap_or_default()
}

/// What stands for the content of a Job, if an edit could still change it: for the label of its batch Job.
pub fn content(job: &Job) -> Option<String> {
    (!is_frozen(job) && job.spec.job_template.is_some()).then(|| content_label(job)).flatten()
}

/// What the containers were launched with, of a batch Job that was made from a Job's own jobTemplate before edits of it had an end.
pub fn containers(batch: &ObjectMeta) -> Option<Vec<ContainerSnapshot>> {
    let launched: Launched = serde_json::from_str(batch.annotations.as_ref()?.get(LAUNCHED_ANNOTATION)?).ok()?;
    launched.containers
}

/// Whether a Job's own jobTemplate says otherwise by now than what its containers were launched with.
pub fn runs_otherwise(job: &Job, batch: &BatchJob) -> bool {
    containers(&batch.metadata).is_some_and(|launched| own_containers(job).is_some_and(|now| now != launched))
}

fn own_containers(job: &Job) -> Option<Vec<ContainerSnapshot>> {
    run::written(job.spec.job_template.as_ref()?)
}

/// The Job as it was when that batch Job was launched; absent if it still says the same. A cancel is the one of now.
pub fn as_launched(job: &Job, batch: &BatchJob) -> Option<Job> {
    let said = batch.metadata.annotations.as_ref()?.get(LAUNCHED_ANNOTATION)?;
    let launched: Launched = serde_json::from_str(said).ok()?;
    if Some(launched.generation) == job.metadata.generation {
        return None;
    }
    let now = &job.spec;
    let mut spec = launched.spec.unwrap_or_else(|| now.clone());
    spec.priority = launched.priority;
    spec.cancel = now.cancel.clone();
    spec.job_template = launched.inline.then(|| now.job_template.clone().unwrap_or(Value::Null));
    (spec != *now).then(|| Job { spec, ..job.clone() })
}

#[cfg(test)]
mod tests;
