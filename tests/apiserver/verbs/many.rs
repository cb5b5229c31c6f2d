//! Ten thousand Jobs in one namespace: each verb lists them once, in pages, and does one write.

use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::json;

use super::proxy::Proxy;
use super::{create, template};
use crate::cluster::{Scope, in_namespace};

/// How many Jobs wait.
const JOBS: usize = 10_000;
/// How many a page of a list holds.
const PAGE: usize = 500;
/// How many requests of the test are under way at once.
const AT_ONCE: usize = 32;

async fn wait_in_line(scope: &Scope, number: usize) -> kube::Result<()> {
    let name = format!("job-{number:05}");
    let whole = json!({
        "apiVersion": rota::api::API_VERSION, "kind": "Job", "metadata": { "name": name },
        "spec": { "templateRef": { "name": "report" }, "queue": "reports" },
    });
    let job: DynamicObject = serde_json::from_value(whole).unwrap();
    scope.objects("Job").create(&PostParams::default(), &job).await?;
    let queued = format!("2026-03-01T12:00:00.{number:06}Z");
    let status =
        json!({ "phase": "Queued", "queue": "reports", "priority": 0, "queuedAt": queued, "waitingFor": "QueueLimit" });
    scope
        .objects("Job")
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({ "status": status })))
        .await?;
    Ok(())
}

fn count(requests: &[String], part: &str) -> usize {
    requests.iter().filter(|it| it.contains(part)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_ten_thousand_jobs_each_verb_lists_once_and_writes_once() {
    in_namespace(|scope| async move {
        template(&scope);
        create(&scope, "Queue", "reports", json!({ "maxRunning": 5 }));
        let all = stream::iter(0..JOBS).map(|number| wait_in_line(&scope, number));
        all.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await.unwrap();
        let proxy = Proxy::start(scope.client.clone(), None).await;
        let pages = JOBS / PAGE;

        let (printed, requests) = proxy.rota(&scope, "queue", &["reports"]).await;
        let output = printed.expect_success();
        assert!(output.starts_with(&format!("queue reports: 0 of 5 running, {JOBS} waiting\n")));
        assert_eq!(count(&requests, "/jobs?"), pages, "{requests:#?}");
        // There are no past runs: those of the last days, of the last month and of all time are asked for.
        assert_eq!(count(&requests, "/jobruns?"), 3, "{requests:#?}");
        assert_eq!(requests.len(), pages + 5, "and one list of queues, and one of Leases: {requests:#?}");

        let (printed, requests) = proxy.rota(&scope, "why", &["job-09999"]).await;
        let output = printed.expect_success();
        assert!(output.contains(&format!("of {JOBS} in queue reports")), "{output}");
        assert_eq!(requests.len(), pages + 6, "{requests:#?}");

        let (printed, requests) = proxy.rota(&scope, "move", &["job/job-09999", "--to", "5000"]).await;
        let output = printed.expect_success();
        assert!(output.contains("moved to place 5000 of queue reports"), "{output}");
        assert_eq!(count(&requests, "PATCH "), 1, "{requests:#?}");
        assert_eq!(requests.len(), pages + 3, "{requests:#?}");
    })
    .await;
}
