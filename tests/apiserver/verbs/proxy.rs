//! A way to the API server that tells what went through it, lets somebody else write just before, and keeps the operators of other
//! tests out of sight.

use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http;
use axum::response::Response;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::{Printed, Scope, plugin_command, run};

/// A merge patch that somebody else sends: the path of the object, and the patch.
pub type Meddling = (String, Value);

/// A way to the API server.
pub struct Proxy {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Forward {
    client: Client,
    seen: Arc<Mutex<Vec<String>>>,
    meddling: Arc<Mutex<Option<Meddling>>>,
    leases_of: Option<String>,
}

async fn forward(State(to): State<Forward>, request: Request) -> Response {
    to.seen.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
    let (parts, body) = request.into_parts();
    let meddling = if parts.method == http::Method::PATCH { to.meddling.lock().unwrap().take() } else { None };
    if let Some((path, patch)) = meddling {
        let request = http::Request::patch(path).header("content-type", "application/merge-patch+json");
        let request = request.body(patch.to_string().into_bytes()).unwrap();
        to.client.request::<Value>(request).await.unwrap();
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let uri = match &to.leases_of {
        Some(namespace) => parts.uri.to_string().replace("/v1/leases", &format!("/v1/namespaces/{namespace}/leases")),
        None => parts.uri.to_string(),
    };
    let mut wanted = http::Request::builder().method(parts.method).uri(uri);
    for name in ["content-type", "accept"] {
        if let Some(value) = parts.headers.get(name) {
            wanted = wanted.header(name, value);
        }
    }
    let wanted = wanted.body(kube::client::Body::from(body.to_vec())).unwrap();
    to.client.send(wanted).await.unwrap().map(Body::new)
}

impl Proxy {
    /// Starts one. Before the first patch that goes through it, somebody else's is sent.
    pub async fn start(client: Client, meddling: Option<Meddling>) -> Self {
        Self::serve(client, meddling, None).await
    }

    /// Starts one through which the Leases of all namespaces are those of this one.
    pub async fn with_leases_of(scope: &Scope) -> Self {
        Self::serve(scope.client.clone(), None, Some(scope.namespace.clone())).await
    }

    async fn serve(client: Client, meddling: Option<Meddling>, leases_of: Option<String>) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let state = Forward { client, seen: seen.clone(), meddling: Arc::new(Mutex::new(meddling)), leases_of };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(forward).with_state(state)).await });
        Self { address, seen }
    }

    /// Runs a verb through it, and returns what it printed and which requests it made.
    pub async fn rota(&self, scope: &Scope, verb: &str, arguments: &[&str]) -> (Printed, Vec<String>) {
        self.seen.lock().unwrap().clear();
        let kubeconfig = format!("{}/{}.kubeconfig", env!("CARGO_TARGET_TMPDIR"), scope.namespace);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{ "name": "proxy", "cluster": { "server": self.address } }],
            "users": [{ "name": "proxy", "user": {} }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "proxy", "namespace": scope.namespace } }],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        let command: Command = plugin_command(&kubeconfig, verb, arguments);
        let printed = tokio::task::spawn_blocking(move || run(command, "")).await.unwrap();
        std::fs::remove_file(&kubeconfig).unwrap();
        (printed, self.seen.lock().unwrap().clone())
    }
}
