//! Sizes: whether what users write fits into what has to be made of it.
//!
//! Each limit of a field is far below what Kubernetes stores of one object, but many together are not. What would not fit is
//! refused before it is queued, with the sum, instead of being refused by the API server when it is launched or recorded.

use kube::core::ObjectMeta;
use serde::Serialize;
use serde_json::Value;

use super::launch;
use crate::api::job_group::MEMBERS_MAX;
use crate::api::job_template::{Param, ParamValues};
use crate::api::labels::LAST_APPLIED_ANNOTATION;
use crate::api::{Job, JobGroup};

/// How many bytes of annotations Kubernetes allows a pod, keys and values together.
pub const ANNOTATION_BYTES_MAX: usize = 256 * 1024;
/// How large an object may be, in bytes: etcd's limit for a request, 1.5 MiB, less what the API server adds.
pub const OBJECT_BYTES_MAX: usize = 1536 * 1024 - 32 * 1024;
/// What the status of a Job takes at most besides its parameters, in bytes.
const JOB_STATUS_BYTES: usize = 16 * 1024;
/// What the status of a group takes at most for each member that it lists itself, in bytes.
const MEMBER_STATUS_BYTES: usize = 400;
/// The same for each Job that joined, whose names may be longer.
const JOINED_STATUS_BYTES: usize = 900;
/// How large the values in a record may be together, in bytes.
pub const RECORD_PARAMS_BYTES_MAX: usize = 1024 * 1024;
/// How much is kept of each value in a record that would be too large, in bytes.
pub const RECORD_VALUE_BYTES_CUT: usize = 256;

/// Whether everything that is made of a Job fits, and what does not.
pub fn check(job: &Job, template_job: &Value, declared: &[Param], params: &ParamValues) -> Result<(), String> {
    check_launch(template_job, declared, params)?;
    let spec = written_bytes(&job.spec, &job.metadata);
    let status = stored_bytes(params) + JOB_STATUS_BYTES;
    if spec + status > OBJECT_BYTES_MAX {
        return Err(format!(
            "spec: with annotations it takes {spec} bytes and its status up to {status}, at most {OBJECT_BYTES_MAX} \
             together can be stored; put large texts into a ConfigMap"
        ));
    }
    Ok(())
}

/// Whether the batch Job and the pods of a launch fit, and what does not.
pub fn check_launch(template_job: &Value, declared: &[Param], params: &ParamValues) -> Result<(), String> {
    let annotations = launch::pod_annotation_bytes(template_job, declared, params);
    if annotations > ANNOTATION_BYTES_MAX {
        return Err(format!(
            "spec.params: as the annotation from which containers get them, with the other annotations of the pod, they \
             take {annotations} bytes, and Kubernetes allows {ANNOTATION_BYTES_MAX}; shorten the values"
        ));
    }
    let containers = launch::container_count(template_job);
    let environment = params.iter().map(|(name, value)| name.len().saturating_add(value.len())).sum();
    let batch = stored_bytes(template_job).saturating_add(containers.saturating_mul(environment)) + annotations;
    if batch > OBJECT_BYTES_MAX {
        return Err(format!(
            "spec.params: the values take {environment} bytes in the environment of each of {containers} containers, \
             which makes the batch Job {batch} bytes, at most {OBJECT_BYTES_MAX} can be stored; shorten the values"
        ));
    }
    Ok(())
}

/// Whether the status of a group fits beside its specification when all members have ended, and what does not.
pub fn check_group(group: &JobGroup, joined: usize) -> Result<(), String> {
    let spec = written_bytes(&group.spec, &group.metadata);
    let listed = group.spec.jobs.len();
    let joined = joined.min(MEMBERS_MAX.saturating_sub(listed));
    let members = listed + joined;
    let status = listed * MEMBER_STATUS_BYTES + joined * JOINED_STATUS_BYTES + JOB_STATUS_BYTES;
    if spec + status > OBJECT_BYTES_MAX {
        return Err(format!(
            "spec.jobs: with annotations the group takes {spec} bytes and its status up to {status} for {members} \
             members, at most {OBJECT_BYTES_MAX} together can be stored; use fewer members or shorter params"
        ));
    }
    Ok(())
}

/// The values as a record holds them: as they are, or each cut where all together could not be stored. Whether one was cut.
pub fn for_record(params: ParamValues) -> (ParamValues, bool) {
    if stored_bytes(&params) <= RECORD_PARAMS_BYTES_MAX {
        return (params, false);
    }
    let cut = |text: &str| {
        super::conditions::shorten(text.chars().take(RECORD_VALUE_BYTES_CUT).collect(), RECORD_VALUE_BYTES_CUT)
    };
    (params.iter().map(|(name, value)| (cut(name), cut(value))).collect(), true)
}

/// How many bytes a user's own part of an object takes. Of the copy that `kubectl apply` keeps in an annotation no more than its
/// presence is known here.
fn written_bytes(spec: &impl Serialize, metadata: &ObjectMeta) -> usize {
    let spec = stored_bytes(spec);
    let annotations = metadata.annotations.as_ref();
    let copied = annotations.is_some_and(|it| it.get(LAST_APPLIED_ANNOTATION).is_some_and(String::is_empty));
    let copy = if copied { spec.min(ANNOTATION_BYTES_MAX) } else { 0 };
    spec + copy + stored_bytes(&annotations) + stored_bytes(&metadata.labels)
}

/// How many bytes the API server stores of something: its JSON, in which it escapes what HTML would not take.
pub fn stored_bytes(object: &impl Serialize) -> usize {
    let Ok(text) = serde_json::to_vec(object) else { return usize::MAX / 4 };
    let escaped = text.iter().filter(|byte| matches!(byte, b'<' | b'>' | b'&')).count();
    text.len() + 5 * escaped
}

#[cfg(test)]
mod tests;
