//! The CustomResourceDefinitions of all kinds, as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use super::{Job, JobGroup, JobRun, JobTemplate, Queue, Schedule};

/// All kinds, in the order in which a reader meets them, with the name of their file in `crds/`.
pub fn all() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![
        ("jobtemplates.yaml", JobTemplate::crd()),
        ("schedules.yaml", Schedule::crd()),
        ("queues.yaml", Queue::crd()),
        ("jobs.yaml", Job::crd()),
        ("jobgroups.yaml", JobGroup::crd()),
        ("jobruns.yaml", without_status_subresource(JobRun::crd())),
    ]
}

/// A JobRun is created complete, in one write. With a status subresource the API server would drop its status.
fn without_status_subresource(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        version.subresources = None;
    }
    definition
}

/// The names of the definitions that must be installed and established before the operator can work.
pub fn names() -> Vec<String> {
    all().into_iter().filter_map(|(_, definition)| definition.metadata.name).collect()
}
