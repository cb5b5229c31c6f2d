//! Ten thousand Jobs in one namespace: each verb lists them once, in pages, and does one write.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::{StreamExt, TryStreamExt, stream};
use kube::Client;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::json;

use super::{create, template};
use crate::cluster::{Scope, in_namespace, plugin_command};

/// How many Jobs wait.
const JOBS: usize = 10_000;
/// How many a page of a list holds.
const PAGE: usize = 500;
/// How many requests of the test are under way at once.
const AT_ONCE: usize = 32;

/// A way to the API server that counts what goes through it.
struct Counting {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Forward {
    client: Client,
    seen: Arc<Mutex<Vec<String>>>,
}

async fn forward(State(to): State<Forward>, request: Request) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    to.seen.lock().unwrap().push(line);
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut wanted = axum::http::Request::builder().method(parts.method).uri(parts.uri);
    for name in ["content-type", "accept"] {
        if let Some(value) = parts.headers.get(name) {
            wanted = wanted.header(name, value);
        }
    }
    let wanted = wanted.body(kube::client::Body::from(body.to_vec())).unwrap();
    to.client.send(wanted).await.unwrap().map(Body::new)
}

impl Counting {
    async fn start(client: Client) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let state = Forward { client, seen: seen.clone() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(forward).with_state(state)).await });
        Self { address, seen }
    }

    /// Runs a verb through it, and returns what it printed and which requests it made.
    async fn rota(&self, scope: &Scope, verb: &str, arguments: &[&str]) -> (String, Vec<String>) {
        self.seen.lock().unwrap().clear();
        let directory = env!("CARGO_TARGET_TMPDIR");
        let kubeconfig = format!("{directory}/{}.kubeconfig", scope.namespace);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "counting",
            "clusters": [{ "name": "counting", "cluster": { "server": self.address } }],
            "users": [{ "name": "counting", "user": {} }],
            "contexts": [{ "name": "counting", "context": { "cluster": "counting", "user": "counting", "namespace": scope.namespace } }],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        let mut command = plugin_command(verb, arguments);
        // The last one given counts for neither clap nor the reader: the argument is replaced.
        let rest: Vec<_> = command.get_args().skip(3).map(ToOwned::to_owned).collect();
        command = std::process::Command::new(command.get_program());
        command.arg(verb).arg("--kubeconfig").arg(&kubeconfig).args(rest);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        std::fs::remove_file(&kubeconfig).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let seen = self.seen.lock().unwrap().clone();
        (String::from_utf8(output.stdout).unwrap(), seen)
    }
}

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
        let counting = Counting::start(scope.client.clone()).await;
        let pages = JOBS / PAGE;

        let (output, requests) = counting.rota(&scope, "queue", &["reports"]).await;
        assert!(output.starts_with(&format!("queue reports: 0 of 5 running, {JOBS} waiting\n")));
        assert_eq!(count(&requests, "/jobs?"), pages, "{requests:#?}");
        assert_eq!(requests.len(), pages + 2, "one list of queues, one of past runs: {requests:#?}");

        let (output, requests) = counting.rota(&scope, "why", &["job-09999"]).await;
        assert!(output.contains(&format!("of {JOBS} in queue reports")), "{output}");
        assert_eq!(requests.len(), pages + 3, "{requests:#?}");

        let (output, requests) = counting.rota(&scope, "move", &["job/job-09999", "--to", "5000"]).await;
        assert!(output.contains("moved to place 5000 of queue reports"), "{output}");
        assert_eq!(count(&requests, "PATCH "), 1, "{requests:#?}");
        assert_eq!(requests.len(), pages + 3, "{requests:#?}");
    })
    .await;
}
