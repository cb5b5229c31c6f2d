//! Agreement: random requests, sent to this server and to a real kube-apiserver, get the same answers.
//!
//! It needs a cluster in KUBECONFIG. `SIMULATION_AGREEMENT_SECONDS` says for how long it asks, `SIMULATION_SEED` where it begins.
//! What is compared: the code and the reason of each answer, each object that is returned with its managed fields, and what a watch
//! of the namespace tells at the end. Uids, versions and times differ by nature: they are compared by which of them are the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod requests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use simulated_apiserver::{Answer, ApiServer, Request};

use requests::{Side, Step};

/// How many requests a sequence has.
const LENGTH: usize = 14;
/// How many sequences share a namespace.
const TOGETHER: u64 = 25;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Something that answers requests.
enum Server {
    Simulated(Box<ApiServer>),
    Real(kube::Client),
}

impl Server {
    async fn ask(&mut self, step: &Step) -> (u16, Value) {
        match self {
            Self::Simulated(server) => {
                let request = Request {
                    method: step.method.parse().unwrap(),
                    uri: step.uri.clone(),
                    content_type: step.content_type.into(),
                    user_agent: "agreement/1".into(),
                    body: step.body.clone(),
                };
                #[allow(clippy::disallowed_methods)] // The real one has no other clock either.
                match server.handle(&request, Timestamp::now()) {
                    Ok(Answer::Object(code, object)) => (code, (*object).clone()),
                    Ok(Answer::Watch(mut watch)) => {
                        let version = server.store().version();
                        let events = watch.next(server, version).unwrap_or_default();
                        (200, events.into_iter().map(|event| event.content).collect())
                    }
                    Err(failure) => (failure.code, failure.status()),
                }
            }
            Self::Real(client) => {
                let request = http::Request::builder()
                    .method(step.method)
                    .uri(&step.uri)
                    .header("content-type", step.content_type)
                    .header("accept", "application/json")
                    .header("user-agent", "agreement/1")
                    .body(step.body.clone().into())
                    .unwrap();
                let response = client.send(request).await.unwrap();
                let code = response.status().as_u16();
                use http_body_util::BodyExt as _;
                let bytes = response.into_body().collect().await.unwrap().to_bytes();
                let text = String::from_utf8_lossy(&bytes);
                let lines: Vec<Value> =
                    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line))).collect();
                if step.uri.contains("watch=true") && code == 200 {
                    let told = lines.into_iter().filter(|it| it["type"] != "BOOKMARK");
                    return (code, told.collect());
                }
                (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(text)))
            }
        }
    }
}

/// What differs by nature, replaced by which of them are the same.
#[derive(Default)]
struct Names {
    uids: BTreeMap<String, usize>,
    versions: BTreeMap<String, usize>,
}

impl Names {
    fn normal(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, child) in map.iter_mut() {
                    match (name.as_str(), &*child) {
                        ("uid", Value::String(uid)) => {
                            let next = self.uids.len();
                            *child = json!(format!("uid {}", self.uids.entry(uid.clone()).or_insert(next)));
                        }
                        ("resourceVersion", Value::String(version)) => {
                            let next = self.versions.len();
                            *child = json!(format!("version {}", self.versions.entry(version.clone()).or_insert(next)));
                        }
                        ("creationTimestamp" | "deletionTimestamp" | "time", Value::String(_)) => {
                            *child = json!("a time")
                        }
                        _ => self.normal(child),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.normal(item)),
            _ => {}
        }
    }
}

/// What is compared of an answer.
fn compared((code, mut answer): (u16, Value), names: &mut Names, step: &Step) -> Value {
    if code >= 300 {
        return json!({ "code": code, "reason": answer["reason"] });
    }
    if step.is_list
        && let Some(metadata) = answer["metadata"].as_object_mut()
    {
        // Anybody's writes move it.
        metadata.remove("resourceVersion");
        metadata.remove("continue");
    }
    if step.uri.contains("dryRun")
        && let Some(metadata) = answer["metadata"].as_object_mut()
    {
        // A Lease that an update would create has one.
        metadata.remove("resourceVersion");
    }
    names.normal(&mut answer);
    scrub(&mut answer);
    json!({ "code": code, "answer": answer })
}

/// Drops what the simulated server says it does not do: managed fields of Kubernetes' own kinds, and labels that are uids.
fn scrub(answer: &mut Value) {
    match answer {
        Value::Object(map) => {
            let version = map.get("apiVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
            if !version.starts_with("rota.dev/")
                && let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut)
            {
                metadata.remove("managedFields");
            }
            for (name, child) in map.iter_mut() {
                if name.ends_with("controller-uid") {
                    *child = json!("a uid");
                }
                scrub(child);
            }
            // An empty status of one of Kubernetes' own kinds is none.
            if !version.starts_with("rota.dev/") && map.get("status") == Some(&json!({})) {
                map.remove("status");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(scrub),
        _ => {}
    }
}

fn crds() -> Vec<Value> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../crds");
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn a_real_api_server_gives_the_same_answers() {
    let client = kube::Client::try_default().await.expect("KUBECONFIG names a cluster");
    let mut simulated = ApiServer::new(1);
    let mut real = Server::Real(client);
    for crd in crds() {
        simulated.install(&crd).unwrap();
        let body = serde_json::to_vec(&crd).unwrap();
        let uri = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let (code, answer) = real.ask(&Step::new("POST", uri, body)).await;
        assert!(code == 201 || code == 409, "{answer}");
    }
    let mut simulated = Server::Simulated(Box::new(simulated));
    wait_until_served(&mut real).await;
    let (first, lasts) =
        (number("SIMULATION_SEED", 0), Duration::from_secs(number("SIMULATION_AGREEMENT_SECONDS", 120)));
    let (begun, mut seed, mut requests) = (Instant::now(), first, 0);
    let run = format!("{:x}", std::process::id());
    let mut failures = Vec::new();
    while begun.elapsed() < lasts && failures.len() < 5 {
        let namespace = format!("agree-{run}-{}", seed / TOGETHER);
        if seed == first || seed % TOGETHER == 0 {
            let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
            let step = Step::new("POST", "/api/v1/namespaces", body.to_string().into_bytes());
            let codes = (real.ask(&step).await.0, simulated.ask(&step).await.0);
            assert_eq!(codes, (201, 201), "{namespace}");
        }
        match sequence(seed, &namespace, &mut real, &mut simulated).await {
            Ok(asked) => requests += asked,
            Err(story) => failures.push(story),
        }
        seed += 1;
    }
    println!("{} sequences with {requests} requests in {} s", seed - first, begun.elapsed().as_secs());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

async fn wait_until_served(real: &mut Server) {
    for plural in ["jobs", "jobruns", "jobtemplates", "queues", "schedules", "jobgroups"] {
        let step = Step::new("GET", &format!("/apis/rota.dev/v1alpha1/{plural}?limit=1"), Vec::new());
        while real.ask(&step).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// One sequence of requests. An `Err` is the story of what differed.
async fn sequence(seed: u64, namespace: &str, real: &mut Server, simulated: &mut Server) -> Result<usize, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut at_real, mut at_simulated) = (Side::default(), Side::default());
    let (mut names_real, mut names_simulated) = (Names::default(), Names::default());
    let mut story = vec![format!("seed {seed}")];
    for _ in 0..LENGTH {
        let choice = random.u64(..);
        let steps =
            (requests::step(choice, seed, namespace, &at_real), requests::step(choice, seed, namespace, &at_simulated));
        let (from_real, from_simulated) = (real.ask(&steps.0).await, simulated.ask(&steps.1).await);
        at_real.learn(&steps.0, &from_real);
        at_simulated.learn(&steps.1, &from_simulated);
        let messages = [&from_real, &from_simulated].map(|(_, answer)| answer["message"].clone());
        let wanted = compared(from_real, &mut names_real, &steps.0);
        let found = compared(from_simulated, &mut names_simulated, &steps.1);
        story.push(format!("{} -> {}", steps.0, wanted["code"]));
        if wanted != found {
            story.push(format!("the real one says {wanted}\n  {}", messages[0]));
            story.push(format!("this one says     {found}\n  {}", messages[1]));
            return Err(story.join("\n"));
        }
    }
    Ok(LENGTH)
}
