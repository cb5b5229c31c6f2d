//! The world of one history: the API server, its time, and all that was asked of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use simulated_apiserver::service::Shared;
use simulated_apiserver::{Answer, ApiServer, Failure, Request, Resource};
use tokio::time::Instant;

use crate::judge::{Change, History};

/// When every history begins.
pub const BEGIN: &str = "2030-03-05T10:00:00Z";

/// The API server, the time, and chance.
#[derive(Clone)]
pub struct World {
    pub shared: Shared,
    inner: Arc<Inner>,
}

struct Inner {
    begun: Instant,
    random: Mutex<fastrand::Rng>,
    record: Mutex<Record>,
    is_loud: bool,
}

/// What is remembered of a history.
#[derive(Default)]
pub struct Record {
    /// What changed, for the judge.
    pub history: History,
    /// One line for each request and each event of the world.
    pub log: Vec<String>,
    /// How often each kind of fault was injected.
    pub faults: BTreeMap<&'static str, u64>,
    version: u64,
}

/// Rota's kinds, read once for all worlds.
pub struct Kinds {
    resources: Vec<Arc<Resource>>,
    names: Vec<String>,
}

impl Kinds {
    /// Reads their CRDs.
    pub fn read() -> Self {
        let crds: Vec<Value> =
            rota::api::crds::all().into_iter().map(|(_, crd)| serde_json::to_value(crd).unwrap()).collect();
        Self {
            resources: crds.iter().map(|crd| Arc::new(Resource::from_crd(crd).unwrap())).collect(),
            names: crds.iter().map(|crd| text(crd, "/metadata/name").to_owned()).collect(),
        }
    }
}

/// What time it is in a world that began at that moment.
fn time_since(begun: Instant) -> Timestamp {
    let elapsed = SignedDuration::try_from(begun.elapsed()).unwrap();
    BEGIN.parse::<Timestamp>().unwrap() + elapsed
}

impl World {
    /// A world without anything but the CRDs.
    pub fn new(seed: u64, kinds: &Kinds) -> Self {
        let mut server = ApiServer::new(seed);
        kinds.resources.iter().for_each(|resource| server.serve(resource.clone()));
        let begun = Instant::now();
        let shared = Shared::new(server, Arc::new(move || time_since(begun)));
        let inner = Inner {
            begun,
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            record: Mutex::default(),
            is_loud: std::env::var("SIMULATION_TRACE").is_ok(),
        };
        let world = Self { shared, inner: Arc::new(inner) };
        // That there are CRDs is all that an operator asks.
        for name in &kinds.names {
            let crd = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": name } });
            world.ask("admin", "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &crd).unwrap();
        }
        world
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        time_since(self.inner.begun)
    }

    /// Chance.
    pub fn random(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.inner.random.lock().unwrap()
    }

    /// A time of up to that long.
    pub fn up_to(&self, most: Duration) -> Duration {
        let millis = u64::try_from(most.as_millis()).unwrap();
        Duration::from_millis(self.random().u64(0..=millis))
    }

    /// Whether something happens that happens so often in a thousand.
    pub fn happens(&self, in_a_thousand: u32) -> bool {
        self.random().u32(0..1_000) < in_a_thousand
    }

    /// What is remembered.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.inner.record.lock().unwrap()
    }

    /// Remembers something that happened beside the requests.
    pub fn note(&self, what: &str) {
        let line = format!("{} {what}", self.now());
        self.record().log.push(line);
    }

    /// Whether everything is printed as it happens: `SIMULATION_TRACE` is set.
    fn is_loud(&self) -> bool {
        self.inner.is_loud
    }

    /// Counts a fault.
    pub fn fault(&self, kind: &'static str) {
        *self.record().faults.entry(kind).or_default() += 1;
    }

    /// Sends a request as somebody.
    pub fn send(&self, actor: &str, request: &Request) -> Result<Answer, Failure> {
        let answer = self.shared.handle(request);
        let code = match &answer {
            Ok(Answer::Object(code, _)) => *code,
            Ok(Answer::Watch(_)) => 200,
            Err(failure) => failure.code,
        };
        let at = self.now();
        let mut record = self.record();
        let body = String::from_utf8_lossy(&request.body);
        let why = answer.as_ref().err().map(|failure| format!(" {}", failure.message)).unwrap_or_default();
        record.log.push(format!("{at} {actor} {} {} {body} -> {code}{why}", request.method, request.uri));
        if self.is_loud() {
            println!("{}", record.log.last().unwrap());
        }
        let server = self.shared.lock();
        if server.store().version() != record.version {
            let changes = server.store().all_changes(record.version);
            let seen = changes.into_iter().map(|((group, plural), change)| Change {
                at,
                actor: actor.to_owned(),
                resource: format!("{plural}.{group}"),
                before: change.before.clone(),
                after: (!change.is_deleted).then(|| change.after.clone()),
            });
            let seen: Vec<Change> = seen.collect();
            record.version = server.store().version();
            record.history.changes.extend(seen);
        }
        answer
    }

    /// Sends a request with a body of JSON as somebody.
    pub fn ask(&self, actor: &str, method: &str, uri: &str, body: &Value) -> Result<Arc<Value>, Failure> {
        let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = Request {
            method: method.parse().unwrap(),
            uri: uri.into(),
            content_type: content_type.into(),
            user_agent: format!("{actor}/1"),
            body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
        };
        match self.send(actor, &request)? {
            Answer::Object(_, object) => Ok(object),
            Answer::Watch(_) => panic!("nobody watches here"),
        }
    }

    /// The objects of a resource now, without a request.
    pub fn list(&self, group: &str, plural: &str) -> Vec<Arc<Value>> {
        let server = self.shared.lock();
        let version = server.store().version();
        let found = server.store().list(&(group.to_owned(), plural.to_owned()), None, version);
        found.into_iter().map(|(_, object)| object).collect()
    }
}

/// The path of an object, or of those of its kind without a name.
pub fn path(api_version: &str, namespace: &str, plural: &str, name: &str) -> String {
    let root = if api_version.contains('/') { "apis" } else { "api" };
    let namespace = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    let name = if name.is_empty() { String::new() } else { format!("/{name}") };
    format!("/{root}/{api_version}{namespace}/{plural}{name}")
}

/// A field as text.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A field as a time.
pub fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer).parse().ok()
}

/// A time in whole seconds, as Kubernetes writes it.
pub fn seconds(at: Timestamp) -> Value {
    json!(Timestamp::from_second(at.as_second()).unwrap().to_string())
}
