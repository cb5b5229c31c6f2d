//! Service: the server behind HTTP, as a client's `tower::Service`, with watches that go on in the time of tokio.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::stream::{self, StreamExt};
use http::header::{CONTENT_TYPE, USER_AGENT};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::request::Request;
use crate::server::{Answer, ApiServer};
use crate::watch::Watch;

/// How often a watch brings a bookmark, where nothing else happens.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before its end a watch brings its last bookmark.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A server that several clients talk to.
#[derive(Clone)]
pub struct Shared {
    server: Arc<Mutex<ApiServer>>,
    clock: Clock,
    /// Told of the version of each change.
    changed: watch::Sender<u64>,
}

impl Shared {
    /// Shares a server.
    pub fn new(server: ApiServer, clock: Clock) -> Self {
        let changed = watch::Sender::new(server.store().version());
        Self { server: Arc::new(Mutex::new(server)), clock, changed }
    }

    /// The server itself.
    pub fn lock(&self) -> MutexGuard<'_, ApiServer> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request now.
    pub fn handle(&self, request: &Request) -> Result<Answer, Failure> {
        let mut server = self.lock();
        let answer = server.handle(request, (self.clock)());
        self.changed.send_replace(server.store().version());
        answer
    }

    /// The version of each change, as it comes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Wakes the watches, after the server was changed by something else than a request.
    pub fn wake(&self) {
        let version = self.lock().store().version();
        self.changed.send_replace(version);
    }

    /// What a watch tells, as lines of JSON, until its time is over. `seen` says up to which version of the server it may tell, and
    /// when to ask again; so a watch can be late.
    pub fn follow(&self, watch: Watch, seen: Seen) -> impl Stream<Item = String> + Send + use<> {
        let ends = Instant::now() + watch.lasts;
        let following = Following {
            shared: self.clone(),
            changes: self.changed.subscribe(),
            watch,
            seen,
            ends,
            bookmark_at: Instant::now() + BOOKMARK_EVERY,
            has_said_last: false,
            is_over: false,
        };
        stream::unfold(following, Following::next).flat_map(stream::iter)
    }
}

/// Up to which version a watch may tell now, and when that is to be asked again at the latest.
pub type Seen = Arc<dyn Fn(u64) -> (u64, Option<Duration>) + Send + Sync>;

/// A watch that is told everything at once.
pub fn at_once() -> Seen {
    Arc::new(|version| (version, None))
}

struct Following {
    shared: Shared,
    changes: watch::Receiver<u64>,
    watch: Watch,
    seen: Seen,
    ends: Instant,
    bookmark_at: Instant,
    has_said_last: bool,
    is_over: bool,
}

impl Following {
    async fn next(mut self) -> Option<(Vec<String>, Self)> {
        if self.is_over {
            return None;
        }
        loop {
            let version = *self.changes.borrow_and_update();
            let (up_to, again) = (self.seen)(version);
            let told = self.watch.next(&self.shared.lock(), up_to);
            match told {
                Err(error) => {
                    self.is_over = true;
                    return Some((vec![line(&error)], self));
                }
                Ok(events) if !events.is_empty() => {
                    return Some((events.iter().map(|event| line(&event.content)).collect(), self));
                }
                Ok(_) => {}
            }
            let now = Instant::now();
            let last = self.ends - LAST_BOOKMARK.min(self.watch.lasts);
            if self.watch.has_bookmarks && (now >= self.bookmark_at || now >= last && !self.has_said_last) {
                self.has_said_last |= now >= last;
                self.bookmark_at = now + BOOKMARK_EVERY;
                if let Some(bookmark) = self.watch.bookmark() {
                    return Some((vec![line(&bookmark)], self));
                }
            }
            if now >= self.ends {
                return None;
            }
            let mut until = if self.watch.has_bookmarks { self.bookmark_at.min(self.ends) } else { self.ends };
            if self.watch.has_bookmarks && !self.has_said_last {
                until = until.min(last);
            }
            if let Some(again) = again {
                until = until.min(now + again);
            }
            // The sender lives as long as the server, which this holds.
            let _ = tokio::time::timeout_at(until, self.changes.changed()).await;
        }
    }
}

fn line(content: &Value) -> String {
    format!("{content}\n")
}

/// An answer as HTTP.
pub fn response(shared: &Shared, answer: Result<Answer, Failure>, seen: Seen) -> http::Response<Body> {
    let (code, body) = match answer {
        Ok(Answer::Object(code, object)) => (code, full(&object)),
        Ok(Answer::Watch(watch)) => {
            let lines = shared.follow(watch, seen).map(|line| Ok(Frame::data(Bytes::from(line))));
            (200, StreamBody::new(lines).boxed_unsync())
        }
        Err(failure) => (failure.code, full(&failure.status())),
    };
    let mut response = http::Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

fn full(object: &Value) -> Body {
    Full::new(Bytes::from(object.to_string())).boxed_unsync()
}

/// Reads a request of an HTTP client. An error: its body could not be read.
pub async fn read<B: http_body::Body>(request: http::Request<B>) -> Result<Request, B::Error> {
    let (head, body) = request.into_parts();
    let text =
        |name| head.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).unwrap_or_default();
    let (content_type, user_agent) = (text(CONTENT_TYPE).to_owned(), text(USER_AGENT).to_owned());
    let uri = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let body = body.collect().await?.to_bytes().to_vec();
    Ok(Request { method: head.method, uri, content_type, user_agent, body })
}

impl<B> tower_service::Service<http::Request<B>> for Shared
where
    B: http_body::Body<Error: Send> + Send + 'static,
    B::Data: Send,
{
    type Response = http::Response<Body>;
    type Error = B::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let shared = self.clone();
        Box::pin(async move {
            let request = read(request).await?;
            let answer = shared.handle(&request);
            Ok(response(&shared, answer, at_once()))
        })
    }
}
