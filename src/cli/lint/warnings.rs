//! Warnings: what is accepted and works, and is not used as it is written, or surely not as it was meant.

use serde::Deserialize;
use serde_json::Value;

use super::check::{Fault, Source};
use crate::api::{Job, JobTemplate};
use crate::domain::calendar::steps;
use crate::domain::pasted::{self, Body};

/// The annotation of what Helm makes before or after a release.
const HELM_HOOK: &str = "helm.sh/hook";

/// What somebody should know of an object of Rota's that has no faults.
pub fn of(object: &Value) -> Vec<Fault> {
    let mut warnings = match object["kind"].as_str().unwrap_or_default() {
        "JobTemplate" => JobTemplate::deserialize(object)
            .map(|template| pasted::warnings(&Body::of_template(&template.spec)))
            .unwrap_or_default(),
        "Job" => Job::deserialize(object)
            .ok()
            .and_then(|job| Some(pasted::warnings(&Body::of_job(&job.spec)?)))
            .unwrap_or_default(),
        "Schedule" => {
            let steps = steps::warnings(object["spec"]["cron"].as_str().unwrap_or_default());
            steps.into_iter().map(|message| pasted::Warning { field: "spec.cron".into(), message }).collect()
        }
        _ => Vec::new(),
    };
    warnings.extend(helm_hook(object));
    warnings.into_iter().map(|warning| Fault::new(Source::Warning, warning.field, warning.message)).collect()
}

/// Helm waits for hooks that are batch Jobs or Pods, and takes every other kind for done when it is created.
fn helm_hook(object: &Value) -> Option<pasted::Warning> {
    let kind = object["kind"].as_str().filter(|kind| matches!(*kind, "Job" | "JobGroup"))?;
    object["metadata"]["annotations"].get(HELM_HOOK)?;
    Some(pasted::Warning {
        field: format!("metadata.annotations.{HELM_HOOK}"),
        message: format!(
            "Helm does not wait for a {kind} of Rota and counts it as done when it is created; docs/jobs.md shows a hook \
             that waits for one"
        ),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hook_of_helm_is_warned_about_and_a_schedule_of_a_release_is_not() {
        let object = |kind: &str| json!({ "kind": kind, "metadata": { "annotations": { HELM_HOOK: "post-install" } } });
        for (kind, count) in [("Job", 1), ("JobGroup", 1), ("Schedule", 0), ("JobTemplate", 0)] {
            assert_eq!(of(&object(kind)).len(), count, "{kind}");
        }
    }
}
