//! What Helm makes of a Job of Rota that is a hook: docs/jobs.md says it, and lint and the chart's policy warn about it.

use std::path::Path;
use std::process::Command;

use rota::api::API_VERSION;
use serde_json::json;

use crate::cluster::{in_namespace, kubeconfig, run};
use crate::examples::pod_template;

/// There is no operator: nothing ran, and Helm is content and has removed the Job.
#[tokio::test]
async fn helm_counts_a_job_of_rota_as_done_when_it_is_created() {
    in_namespace(|scope| async move {
        let hook = json!({
            "apiVersion": API_VERSION, "kind": "Job",
            "metadata": { "name": "migrate", "annotations": {
                "helm.sh/hook": "pre-install", "helm.sh/hook-delete-policy": "hook-succeeded",
            } },
            "spec": { "jobType": "x", "jobTemplate": pod_template() },
        });
        assert_eq!(rota::cli::lint::warnings::of(&hook).len(), 1);
        let chart = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-chart", scope.namespace));
        std::fs::create_dir_all(chart.join("templates")).unwrap();
        std::fs::write(chart.join("Chart.yaml"), "{apiVersion: v2, name: shop, version: 0.1.0}").unwrap();
        std::fs::write(chart.join("templates/hook.yaml"), hook.to_string()).unwrap();
        let mut helm = Command::new("helm");
        helm.args(["install", "shop", chart.to_str().unwrap(), "--namespace", &scope.namespace]);
        helm.env("KUBECONFIG", kubeconfig());
        run(helm, "").expect_success();
        let left = scope.kubectl(&["get", "jobs.rota.dev", "--output=name"]).expect_success();
        assert_eq!(left, "", "Helm waited for it: docs/jobs.md, lint and the policy say that it does not");
        std::fs::remove_dir_all(chart).unwrap();
    })
    .await;
}
