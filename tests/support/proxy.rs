//! A reverse proxy in front of the API server, which a test tells what becomes of each request.
//!
//! An operator (or a client) that is given [`Proxy::kubeconfig`] speaks plain HTTP to it on the loopback address; it asks
//! the API server with the credentials of the kubeconfig that it was started with. Until it is told otherwise everything
//! passes, watches included. An order says which requests it is about, by method, path, whether they are watches, and body,
//! and what becomes of them; the last one given that fits decides:
//!
//! ```ignore
//! let proxy = Proxy::start(&kubeconfig()).await;
//! // A watch of batch Jobs goes silent, one that is established too, and a new one is never answered.
//! proxy.order(|it| it.is_watch() && it.path.ends_with("/apis/batch/v1/jobs"), Fate::Swallow);
//! // The next create of a batch Job is done, and what is answered is an error.
//! proxy.order_times(1, |it| it.method == "POST" && it.path.ends_with("/jobs"), Fate::DoneBut(Instead::Code(502)));
//! // Statuses are refused without being asked for.
//! proxy.order(|it| it.method == "PATCH" && it.path.ends_with("/status"), Fate::Refuse(403));
//! proxy.clear();
//! assert_eq!(proxy.asked(|it| it.method == "POST").len(), 1);
//! ```
//!
//! What was swallowed stays silent when orders are cleared: it is a connection whose other end is gone without a word.
//! A test crate takes it in with `#[path = "../support/proxy.rs"] #[allow(dead_code)] mod proxy;`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::BodyDataStream;
use axum::http::{Request, Response, StatusCode};
use futures::{Stream, StreamExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

/// Headers that concern one connection, and are those of ours.
const OWN_HEADERS: [&str; 4] = ["host", "connection", "content-length", "transfer-encoding"];
/// How many orders an open stream may be behind.
const CONTROLS: usize = 256;

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its method, in capitals.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// Its query, as it is in the address.
    pub query: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Asked {
    /// Whether it is a watch.
    pub fn is_watch(&self) -> bool {
        self.query.split('&').any(|it| matches!(it, "watch=true" | "watch=1"))
    }

    /// Whether it lists objects of that plural, in one namespace or in all.
    pub fn is_list(&self, plural: &str) -> bool {
        self.method == "GET" && !self.is_watch() && self.is_of(plural)
    }

    /// Whether it watches objects of that plural, in one namespace or in all.
    pub fn is_watch_of(&self, plural: &str) -> bool {
        self.is_watch() && self.is_of(plural)
    }

    /// Whether it is about all objects of that plural and API group, such as `batch/jobs` or `pods`.
    fn is_of(&self, plural: &str) -> bool {
        match plural.split_once('/') {
            Some((group, plural)) => {
                self.path.starts_with(&format!("/apis/{group}/")) && self.path.ends_with(&format!("/{plural}"))
            }
            None => self.path.starts_with("/api/") && self.path.ends_with(&format!("/{plural}")),
        }
    }

    /// Its body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It is done, and its answer is told.
    Pass,
    /// It is taken and never answered; a stream that is open already goes silent.
    Swallow,
    /// It is not done, and answered with that code.
    Refuse(u16),
    /// It is not done, and answered with that code and this body.
    Say(u16, serde_json::Value),
    /// It is done, and something else than its answer is told.
    DoneBut(Instead),
    /// It is done after that long, and its answer is told.
    Late(Duration),
}

/// What is told instead of the answer.
#[derive(Clone, Copy, Debug)]
pub enum Instead {
    /// An error with that code.
    Code(u16),
    /// The connection is reset.
    Reset,
    /// Nothing, for ever.
    Silence,
}

type Which = Arc<dyn Fn(&Asked) -> bool + Send + Sync>;

struct Order {
    which: Which,
    fate: Fate,
    /// For how many more requests; absent: for all.
    left: Option<usize>,
}

/// What happens to open streams.
#[derive(Clone)]
enum Control {
    Silence(Which),
    Cut(Which),
}

struct Shared {
    client: Client,
    orders: Mutex<Vec<Order>>,
    asked: Mutex<Vec<(Asked, Fate)>>,
    controls: broadcast::Sender<Control>,
}

/// A running proxy; dropped, it and all its connections are gone.
pub struct Proxy {
    shared: Arc<Shared>,
    kubeconfig: PathBuf,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts one before the API server of that kubeconfig, with its credentials.
    pub async fn start(kubeconfig: impl AsRef<Path>) -> Self {
        let file = Kubeconfig::read_from(kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        // Whoever asks decides whether to ask again.
        config.default_retry = false;
        let shared = Arc::new(Shared {
            client: Client::try_from(config).unwrap(),
            orders: Mutex::default(),
            asked: Mutex::default(),
            controls: broadcast::channel(CONTROLS).0,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let path =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("proxy-{}-{port}.kubeconfig", std::process::id()));
        let own = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{ "name": "proxy", "cluster": { "server": format!("http://127.0.0.1:{port}") } }],
            "users": [{ "name": "proxy", "user": {} }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "proxy" } }],
        });
        std::fs::write(&path, own.to_string()).unwrap();
        Self { shared: shared.clone(), kubeconfig: path, accepting: tokio::spawn(accept(listener, shared)) }
    }

    /// The kubeconfig of those who go through it.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// From now on this becomes of requests like that.
    pub fn order(&self, which: impl Fn(&Asked) -> bool + Send + Sync + 'static, fate: Fate) {
        self.give(None, Arc::new(which), fate);
    }

    /// The same for so many requests.
    pub fn order_times(&self, times: usize, which: impl Fn(&Asked) -> bool + Send + Sync + 'static, fate: Fate) {
        self.give(Some(times), Arc::new(which), fate);
    }

    fn give(&self, left: Option<usize>, which: Which, fate: Fate) {
        let silences = matches!(fate, Fate::Swallow);
        lock(&self.shared.orders).push(Order { which: which.clone(), fate, left });
        if silences {
            self.control(Control::Silence(which));
        }
    }

    /// Takes all orders back: what comes from now on passes.
    pub fn clear(&self) {
        lock(&self.shared.orders).clear();
    }

    /// Resets the connections of open streams like that.
    pub fn cut(&self, which: impl Fn(&Asked) -> bool + Send + Sync + 'static) {
        self.control(Control::Cut(Arc::new(which)));
    }

    fn control(&self, control: Control) {
        // Nobody listens while no stream is open.
        let _ = self.shared.controls.send(control);
    }

    /// The requests like that which came, and what became of each.
    pub fn asked(&self, which: impl Fn(&Asked) -> bool) -> Vec<(Asked, Fate)> {
        lock(&self.shared.asked).iter().filter(|(asked, _)| which(asked)).cloned().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // They end with this.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        connections.spawn(async move { Connection::new(stream).serve(&shared).await });
    }
}

impl Shared {
    /// Decides about a request.
    fn judge(&self, asked: &Asked) -> Fate {
        let mut orders = lock(&self.orders);
        let found = orders.iter_mut().rev().find(|it| it.left != Some(0) && (it.which)(asked));
        let fate = found.map_or(Fate::Pass, |order| {
            order.left = order.left.map(|left| left - 1);
            order.fate.clone()
        });
        drop(orders);
        lock(&self.asked).push((asked.clone(), fate.clone()));
        fate
    }

    async fn forward(&self, asked: &Asked, headers: &[(String, String)]) -> Response<BodyDataStream> {
        let target =
            if asked.query.is_empty() { asked.path.clone() } else { format!("{}?{}", asked.path, asked.query) };
        let mut request = Request::builder().method(asked.method.as_str()).uri(target);
        for (name, value) in headers.iter().filter(|(name, _)| !OWN_HEADERS.contains(&name.as_str())) {
            request = request.header(name, value);
        }
        let request = request.body(kube::client::Body::from(asked.body.clone())).unwrap();
        let whole = |body: axum::body::Body| body.into_data_stream();
        match self.client.send(request).await {
            Ok(answer) => answer.map(|body| whole(axum::body::Body::new(body))),
            Err(error) => {
                let mut answer = Response::new(whole(axum::body::Body::from(error.to_string())));
                *answer.status_mut() = StatusCode::BAD_GATEWAY;
                answer
            }
        }
    }
}

/// What ends a connection.
struct Over;

impl<E: std::error::Error> From<E> for Over {
    fn from(_: E) -> Self {
        Self
    }
}

struct Connection {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    buffer: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        Self { read, write, buffer: Vec::new() }
    }

    async fn serve(mut self, shared: &Shared) {
        while self.serve_one(shared).await.is_ok() {}
    }

    async fn serve_one(&mut self, shared: &Shared) -> Result<(), Over> {
        let (asked, headers) = self.request().await?;
        // Before it is judged, so that no order in between is missed.
        let controls = shared.controls.subscribe();
        match shared.judge(&asked) {
            Fate::Pass => self.pass(shared, &asked, &headers, controls).await,
            Fate::Late(time) => {
                tokio::time::sleep(time).await;
                self.pass(shared, &asked, &headers, controls).await
            }
            Fate::Swallow => self.silence().await,
            Fate::Refuse(code) => self.say(code, &refusal(code)).await,
            Fate::Say(code, body) => self.say(code, &body).await,
            Fate::DoneBut(instead) => {
                let mut done = shared.forward(&asked, &headers).await.into_body();
                while done.next().await.is_some() {}
                match instead {
                    Instead::Code(code) => self.say(code, &refusal(code)).await,
                    Instead::Reset => self.reset(),
                    Instead::Silence => self.silence().await,
                }
            }
        }
    }

    /// Reads until there is more.
    async fn more(&mut self) -> Result<(), Over> {
        let mut piece = [0; 8_192];
        loop {
            self.read.readable().await?;
            match self.read.try_read(&mut piece) {
                Ok(0) => return Err(Over),
                Ok(length) => {
                    self.buffer.extend_from_slice(&piece[..length]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Err(Over),
            }
        }
    }

    async fn tell(&mut self, mut bytes: &[u8]) -> Result<(), Over> {
        while !bytes.is_empty() {
            self.write.writable().await?;
            match self.write.try_write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Err(Over),
            }
        }
        Ok(())
    }

    async fn request(&mut self) -> Result<(Asked, Vec<(String, String)>), Over> {
        let end = loop {
            match self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end,
                None => self.more().await?,
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return Err(Over) };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, length)| length.parse().unwrap());
        assert!(headers.iter().all(|(name, _)| name != "transfer-encoding"), "a body in pieces is not understood");
        while self.buffer.len() < length {
            self.more().await?;
        }
        let body = self.buffer.drain(..length).collect();
        Ok((Asked { method: method.into(), path: path.into(), query: query.into(), body }, headers))
    }

    /// Tells the answer piece by piece, until it ends, or an order ends it.
    async fn pass(
        &mut self,
        shared: &Shared,
        asked: &Asked,
        headers: &[(String, String)],
        mut controls: broadcast::Receiver<Control>,
    ) -> Result<(), Over> {
        let answer = tokio::select! {
            answer = shared.forward(asked, headers) => answer,
            over = self.is_left() => return Err(over),
        };
        let (parts, mut body) = answer.into_parts();
        let mut head = format!("HTTP/1.1 {}\r\ntransfer-encoding: chunked\r\n", parts.status);
        for (name, value) in parts.headers.iter().filter(|(name, _)| !OWN_HEADERS.contains(&name.as_str())) {
            head.push_str(&format!("{name}: {}\r\n", value.to_str()?));
        }
        self.tell(format!("{head}\r\n").as_bytes()).await?;
        loop {
            tokio::select! {
                biased;
                control = controls.recv() => match control? {
                    Control::Silence(which) if which(asked) => return self.silence().await,
                    Control::Cut(which) if which(asked) => return self.reset(),
                    Control::Silence(_) | Control::Cut(_) => {}
                },
                over = self.is_left() => return Err(over),
                piece = next(&mut body) => match piece {
                    Some(Ok(piece)) if piece.is_empty() => {}
                    Some(Ok(piece)) => {
                        let mut framed = format!("{:x}\r\n", piece.len()).into_bytes();
                        framed.extend_from_slice(&piece);
                        framed.extend_from_slice(b"\r\n");
                        self.tell(&framed).await?;
                    }
                    Some(Err(_)) => return self.reset(),
                    None => break,
                },
            }
        }
        self.tell(b"0\r\n\r\n").await?;
        Ok(())
    }

    /// Ends when the other side closes the connection.
    async fn is_left(&mut self) -> Over {
        while self.more().await.is_ok() {}
        Over
    }

    async fn silence(&mut self) -> Result<(), Over> {
        Err(self.is_left().await)
    }

    fn reset(&mut self) -> Result<(), Over> {
        self.write.as_ref().set_zero_linger()?;
        Err(Over)
    }

    async fn say(&mut self, code: u16, body: &serde_json::Value) -> Result<(), Over> {
        let body = body.to_string();
        let length = body.len();
        let head = format!("HTTP/1.1 {code} \r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        self.tell(format!("{head}{body}").as_bytes()).await?;
        Ok(())
    }
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    stream.next().await
}

/// A refusal as the API server words it.
fn refusal(code: u16) -> serde_json::Value {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        504 => "Timeout",
        _ => "InternalError",
    };
    let message = format!("the proxy of the test answers {code}");
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code })
}
