//! Pruned: what decisions need of the objects that are cached in large numbers, and nothing else of them.
//!
//! What is kept stands here, beside the decisions and not beside the cache, and the tests of decisions about pods make
//! theirs with [`tests::pod`]: they see what the operator sees in production.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodTemplateSpec};

/// The annotation of a pod that names its main container.
pub const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";

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

    use serde_json::Value;

    use super::*;

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
