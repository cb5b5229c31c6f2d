//! Answers: the HTTP API that says why a Job waits and how the queues stand, on demand.
//!
//! Every replica answers, from its caches, and writes nothing. Who asks, and what they may know, the API server says; an answer
//! is worked out on a thread of its own, so that decisions do not wait for it. Nobody learns what they could not list themselves
//! (I10).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::api::JobRun;
use crate::domain::estimate::History;
use crate::domain::outlook::SAMPLE_MAX;
use crate::domain::place;
use crate::runtime::clock::now;
use crate::runtime::store::Key;
use crate::runtime::stores::Stores;

mod memory;
mod question;
mod reviews;
mod view;

use memory::Memory;
use question::{About, Question, Refusal};
use reviews::{Caller, Reviews, Right};
use view::{Place, View};

/// How many answers are worked out at once.
const WORKED_OUT_AT_ONCE: usize = 2;
/// How many requests may be under way; more are refused.
const UNDER_WAY_MAX: usize = 32;
/// How long what past runs took is remembered.
const HISTORY_KEPT: Duration = Duration::from_secs(30);
/// Of how many queues.
const HISTORIES_MAX: usize = 256;
/// How long the list of past runs may take; without it there is no estimate.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// What the answers are made of.
pub struct Answers {
    stores: Arc<Stores>,
    client: Client,
    place: Place,
    reviews: Reviews,
    under_way: Semaphore,
    worked_out: Arc<Semaphore>,
    /// What past runs took, by namespace and queue.
    histories: Memory<(String, Option<String>), Arc<History>>,
}

impl Answers {
    /// From these caches. `only` are the namespaces that the operator looks at, if it does not look at all; `own` is that of
    /// its lease, and `ceiling` how many may run in the cluster.
    pub fn new(client: Client, stores: Arc<Stores>, only: Vec<String>, own: String, ceiling: Option<u32>) -> Self {
        Self {
            stores,
            reviews: Reviews::new(client.clone()),
            client,
            place: Place { only, own, ceiling },
            under_way: Semaphore::new(UNDER_WAY_MAX),
            worked_out: Arc::new(Semaphore::new(WORKED_OUT_AT_ONCE)),
            histories: Memory::new(HISTORY_KEPT, HISTORIES_MAX),
        }
    }

    /// Answers until the program ends.
    pub async fn serve(self, listener: tokio::net::TcpListener) -> std::io::Result<()> {
        let router = Router::new().fallback(respond).with_state(Arc::new(self));
        axum::serve(listener, router).await
    }

    async fn answer(&self, method: &Method, address: &Uri, headers: &HeaderMap) -> Result<Value, Refusal> {
        let question = question::read(method.as_str(), address.path(), address.query())?;
        let busy = |_| Refusal::new(429, format!("{UNDER_WAY_MAX} requests are under way, ask again"));
        let _under_way = self.under_way.try_acquire().map_err(busy)?;
        let caller = match token(headers) {
            Some(token) => self.reviews.caller(token).await?,
            None => None,
        };
        let caller = caller.ok_or_else(|| {
            Refusal::new(401, "write Authorization: Bearer and a token that the Kubernetes API knows, such as of `kubectl create token`")
        })?;
        match &question.about {
            About::Why { job } => self.demand(&caller, &question, "get", "jobs", job).await?,
            About::Queues | About::Queue { .. } => {
                self.demand(&caller, &question, "list", "jobs", "").await?;
                self.demand(&caller, &question, "list", "queues", "").await?;
            }
        }
        let missing = self.stores.missing_for(&question.namespace);
        if !missing.is_empty() {
            let message = format!("the operator does not see how things are now: {}", missing.join("; "));
            return Err(Refusal::new(503, message));
        }
        let names_others = self.may(&caller, &question, "list", "jobs", "").await?;
        let history = if self.may(&caller, &question, "list", "jobruns", "").await? {
            self.history(&question).await?
        } else {
            Arc::default()
        };
        self.work_out(move |view| view.answer(&question, &history, names_others, now())).await?
    }

    async fn may(
        &self,
        caller: &Caller,
        question: &Question,
        verb: &'static str,
        resource: &'static str,
        name: &str,
    ) -> Result<bool, Refusal> {
        let right = Right { verb, resource, namespace: question.namespace.clone(), name: name.to_owned() };
        self.reviews.may(caller, right).await
    }

    /// Refuses whoever may not do that.
    async fn demand(
        &self,
        caller: &Caller,
        question: &Question,
        verb: &'static str,
        resource: &'static str,
        name: &str,
    ) -> Result<(), Refusal> {
        if self.may(caller, question, verb, resource, name).await? {
            return Ok(());
        }
        let which = if name.is_empty() { String::new() } else { format!(" {name:?}") };
        let namespace = &question.namespace;
        Err(Refusal::new(403, format!("you may not {verb} {resource}.rota.dev{which} in the namespace {namespace:?}")))
    }

    /// Works something out on a thread of its own; decisions go on meanwhile.
    async fn work_out<T: Send + 'static>(&self, work: impl FnOnce(View) -> T + Send + 'static) -> Result<T, Refusal> {
        // It is never closed.
        let permit = self.worked_out.clone().acquire_owned().await;
        let view = View { stores: self.stores.clone(), place: self.place.clone() };
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(view)
        });
        done.await.map_err(|_| Refusal::new(500, "the answer could not be worked out"))
    }

    /// What past runs took of the templates of a queue's Jobs, or of all. Records are never cached: a sample is listed, and what
    /// it tells is remembered for a while.
    async fn history(&self, question: &Question) -> Result<Arc<History>, Refusal> {
        let queue = match &question.about {
            About::Queues => None,
            About::Queue { queue, .. } => Some(queue.clone()),
            About::Why { job } => {
                let job = self.stores.jobs.get(&Key::new(&question.namespace, job));
                let Some(job) = job.filter(|job| place::is_queued(job)) else { return Ok(Arc::default()) };
                Some(place::queue_name(&job).to_owned())
            }
        };
        let key = (question.namespace.clone(), queue);
        if let Some(known) = self.histories.get(&key, Instant::now()) {
            return Ok(known);
        }
        let (namespace, queue) = key.clone();
        let mut sample = self.work_out(move |view| view.sample(&namespace, queue.as_deref(), now())).await?;
        let runs: Api<JobRun> = Api::namespaced(self.client.clone(), &question.namespace);
        while let Some(labels) = sample.next_labels() {
            let selected = ListParams::default().labels(&labels).limit(SAMPLE_MAX);
            let Ok(Ok(listed)) = tokio::time::timeout(HISTORY_TIMEOUT, runs.list(&selected)).await else {
                tracing::debug!("past runs could not be listed, so that nothing is estimated");
                return Ok(Arc::default());
            };
            sample.take(listed.items);
        }
        let found = Arc::new(sample.history());
        self.histories.put(key, found.clone(), Instant::now());
        Ok(found)
    }
}

/// The token of a request.
fn token(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    let fits = !token.is_empty() && token.len() <= TOKEN_BYTES_MAX && !token.contains(char::is_whitespace);
    (scheme.eq_ignore_ascii_case("bearer") && fits).then_some(token)
}

async fn respond(State(answers): State<Arc<Answers>>, method: Method, address: Uri, headers: HeaderMap) -> Response {
    let (code, body) = match answers.answer(&method, &address, &headers).await {
        Ok(body) => (200, body),
        Err(refusal) => (refusal.code, json!({ "code": refusal.code, "message": refusal.message })),
    };
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (code, format!("{body}\n")).into_response();
    let mut set = |name, value| response.headers_mut().insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, "application/json");
    set(header::CACHE_CONTROL, "no-store");
    match code.as_u16() {
        401 => drop(set(header::WWW_AUTHENTICATE, "Bearer")),
        405 => drop(set(header::ALLOW, "GET")),
        429 => drop(set(header::RETRY_AFTER, "1")),
        503 => drop(set(header::RETRY_AFTER, "5")),
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_after_bearer() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            token(&headers).map(str::to_owned)
        };
        assert_eq!(read(&["Bearer abc.d-e"]), Some("abc.d-e".into()));
        assert_eq!(read(&["bearer  abc "]), Some("abc".into()));
        let long = format!("Bearer {}", "a".repeat(TOKEN_BYTES_MAX + 1));
        for wrong in
            [&[][..], &["abc"], &["Basic abc"], &["Bearer "], &["Bearer a b"], &["Bearer a", "Bearer b"], &[&long]]
        {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
