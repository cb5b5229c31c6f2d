//! Connection: a client whose writes carry a limit of time, for the API server to keep.
//!
//! A client that gives up on a request takes nothing back: a proxy, or an API server that is slow, may do it much later, when
//! another leader has decided otherwise. So each request that writes has the query parameter `timeout`. The API server ends such
//! a request when that time is over, counted from when it received it, whatever the verb; the parameter changes nothing else.
//! Requests that read do not have it: watches and long listings have limits of their own.

use std::time::Duration;

use axum::http::uri::PathAndQuery;
use axum::http::{Method, Request, Uri};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::util::MapRequestLayer;

/// Makes a client whose writes the API server ends after that time, which is a whole number of seconds.
pub fn client(config: Config, limit: Duration) -> kube::Result<Client> {
    let limited = MapRequestLayer::new(move |request| limited(request, limit));
    Ok(ClientBuilder::try_from(config)?.with_layer(&limited).build())
}

fn limited(mut request: Request<Body>, limit: Duration) -> Request<Body> {
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if let Some(uri) = with_timeout(request.uri(), limit).filter(|_| writes) {
        *request.uri_mut() = uri;
    }
    request
}

fn with_timeout(uri: &Uri, limit: Duration) -> Option<Uri> {
    let before = uri.query().filter(|query| !query.is_empty()).map(|query| format!("{query}&")).unwrap_or_default();
    let target = format!("{}?{before}timeout={}s", uri.path(), limit.as_secs());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writes_has_a_limit_and_what_reads_has_none() {
        let sent = |method: &str, target: &str| {
            let request = Request::builder().method(method).uri(target).body(Body::empty()).unwrap();
            limited(request, Duration::from_secs(7)).uri().to_string()
        };
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            assert_eq!(sent(method, "/api/v1/pods"), "/api/v1/pods?timeout=7s");
            assert_eq!(sent(method, "/api/v1/pods?"), "/api/v1/pods?timeout=7s");
            assert_eq!(sent(method, "/api/v1/pods?&a=b%3D&c"), "/api/v1/pods?&a=b%3D&c&timeout=7s");
            assert_eq!(sent(method, "https://host:6443/api?a=b"), "https://host:6443/api?a=b&timeout=7s");
        }
        assert_eq!(sent("GET", "/api/v1/pods?watch=true"), "/api/v1/pods?watch=true");
    }
}
