//! HTTP: what Kubernetes and Prometheus ask the operator.
//!
//! `/livez` says that the process answers. `/readyz` says that it can see and, if it leads, write, and otherwise names
//! what is missing; what is not seen of some namespaces alone is named too, and does not make it unready. `/metrics` is OpenMetrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::metrics::Metrics;
use super::stores::Stores;

/// What the endpoints show.
#[derive(Clone)]
pub struct Endpoints {
    /// What the operator sees, and what keeps it from seeing and writing.
    pub stores: Arc<Stores>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

/// Serves the endpoints until the program ends.
pub async fn serve(listener: tokio::net::TcpListener, endpoints: Endpoints) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(endpoints);
    axum::serve(listener, router).await
}

async fn ready(State(endpoints): State<Endpoints>) -> Response {
    let missing = endpoints.stores.missing();
    let list = missing.sentences.join("\n- ");
    match missing.is_total {
        true => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready:\n- {list}\n")).into_response(),
        false if list.is_empty() => "ok\n".into_response(),
        false => format!("ok, except for:\n- {list}\n").into_response(),
    }
}

async fn metrics(State(endpoints): State<Endpoints>) -> Response {
    endpoints.metrics.seen(&endpoints.stores.visibility);
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    (kind, endpoints.metrics.text()).into_response()
}
