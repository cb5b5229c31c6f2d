//! Pruned: what decisions need of the objects that are cached in large numbers, and nothing else of them.
//!
//! What is kept stands here, beside the decisions and not beside the cache, and the tests of decisions about pods make
//! theirs with [`tests::pod`]: they see what the operator sees in production.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodTemplateSpec};
use serde_json::Value;

use super::sizes::stored_bytes;
use crate::api::Job;

/// The annotation of a pod that names its main container.
pub const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";

/// How many bytes the annotations, the `jobTemplate` and the parameters of a Job may take together in the cache.
pub const JOB_CONTENT_BYTES_MAX: usize = 16 * 1024;
/// Stands, in the cache only, in the place of the annotations of a Job whose content was left out. A user who writes it makes
/// the operator read that Job once more for each look, and nothing else.
const LEFT_OUT_ANNOTATION: &str = "rota.dev/left-out";

/// Leaves out the annotations, the `jobTemplate` and the parameters of a Job where they are large. The operator then reads the
/// Job from the API server whenever it decides about it, so that its memory does not grow with what users put into Jobs.
pub fn prune_job(job: &mut Job) {
    let spec = (&job.metadata.annotations, &job.spec.job_template, &job.spec.params);
    let bytes = stored_bytes(&spec) + job.status.as_ref().map_or(0, |status| stored_bytes(&status.params));
    if bytes > JOB_CONTENT_BYTES_MAX {
        leave_out(job);
    }
}

/// Leaves them out whatever their size, as they are left out of a version of the Job that is large: two versions of a Job, of which only
/// one is large, compare as equal only if both lack the same.
pub fn leave_out(job: &mut Job) {
    job.metadata.annotations = Some([(LEFT_OUT_ANNOTATION.to_owned(), String::new())].into());
    job.spec.job_template = job.spec.job_template.take().map(|_| Value::Null);
    job.spec.params.clear();
    if let Some(status) = job.status.as_mut() {
        status.params.clear();
    }
}

/// Whether a cached Job has all its content.
pub fn is_whole(job: &Job) -> bool {
    job.metadata.annotations.as_ref().is_none_or(|annotations| !annotations.contains_key(LEFT_OUT_ANNOTATION))
}

/// Leaves of a pod its metadata, where it is, how it fares, and of each container the name, whether it is a sidecar, and
/// where its termination message comes from.
pub fn prune_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    let annotations: Option<BTreeMap<String, String>> = pod.metadata.annotations.take();
    let main = annotations.and_then(|mut annotations| annotations.remove_entry(DEFAULT_CONTAINER_ANNOTATION));
    pod.metadata.annotations = main.map(|main| [main].into());
    if let Some(spec) = pod.spec.as_mut() {
        let init: Option<Vec<Container>> = spec.init_containers.take().map(|all| all.into_iter().map(prune).collect());
        *spec = PodSpec {
            node_name: spec.node_name.take(),
            init_containers: init,
            containers: spec.containers.drain(..).map(prune).collect(),
            ..PodSpec::default()
        };
    }
}

/// Leaves all of a batch Job but its pod template, of which it leaves how long its pods may take to end.
pub fn prune_batch_job(batch: &mut BatchJob) {
    batch.metadata.managed_fields = None;
    if let Some(spec) = batch.spec.as_mut() {
        let grace = spec.template.spec.take().and_then(|pod| pod.termination_grace_period_seconds);
        let pod = PodSpec { termination_grace_period_seconds: grace, ..PodSpec::default() };
        spec.template = PodTemplateSpec { spec: grace.map(|_| pod), ..PodTemplateSpec::default() };
    }
}

fn prune(container: Container) -> Container {
    Container {
        name: container.name,
        restart_policy: container.restart_policy,
        termination_message_policy: container.termination_message_policy,
        ..Container::default()
    }
}

#[cfg(test)]
pub mod tests {
    //! Pods and batch Jobs for tests, as the cache has them.

    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[test]
    fn the_content_of_a_large_job_is_left_out_and_a_small_one_is_whole() {
        let of = |annotation: usize, body: usize, param: usize, status: usize| {
            let mut job: Job = serde_json::from_value(json!({
                "metadata": { "name": "a", "annotations": { "note": "x".repeat(annotation) } },
                "spec": {
                    "jobTemplate": { "spec": "x".repeat(body) }, "jobType": "a", "priority": 3,
                    "params": { "text": "x".repeat(param) },
                },
                "status": { "params": { "text": "x".repeat(status) } },
            }))
            .unwrap();
            prune_job(&mut job);
            job
        };
        let small = of(3_000, 3_000, 3_000, 3_000);
        assert!(is_whole(&small) && small.spec.params.len() == 1 && small.metadata.annotations.unwrap().len() == 1);
        for large in [of(20_000, 0, 0, 0), of(0, 20_000, 0, 0), of(0, 0, 20_000, 0), of(0, 0, 0, 20_000)] {
            assert!(!is_whole(&large));
            assert_eq!((&large.spec.job_template, large.spec.priority), (&Some(Value::Null), Some(3)));
            assert!(serde_json::to_string(&large).unwrap().len() < 1_000, "{large:?}");
            let mut again = large.clone();
            prune_job(&mut again);
            assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&large).unwrap());
        }
    }

    /// A pod as the cache has it.
    pub fn pod(value: Value) -> Arc<Pod> {
        let mut pod: Pod = serde_json::from_value(value).unwrap();
        prune_pod(&mut pod);
        Arc::new(pod)
    }

    /// A batch Job as the cache has it.
    pub fn batch_job(value: Value) -> BatchJob {
        let mut batch: BatchJob = serde_json::from_value(value).unwrap();
        prune_batch_job(&mut batch);
        batch
    }
}
