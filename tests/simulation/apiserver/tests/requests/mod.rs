//! The random requests of the comparison: each follows from a number and from what was answered before.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

/// One request.
pub struct Step {
    pub method: &'static str,
    pub uri: String,
    pub content_type: &'static str,
    pub body: Vec<u8>,
    pub is_list: bool,
    /// Which object it is about.
    about: Option<About>,
}

type About = (Kind, &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Queue,
    Schedule,
    Run,
    BatchJob,
    Lease,
}

impl Step {
    pub fn new(method: &'static str, uri: &str, body: Vec<u8>) -> Self {
        Self { method, uri: uri.into(), content_type: "application/json", body, is_list: false, about: None }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {} {}", self.method, self.uri, self.content_type, String::from_utf8_lossy(&self.body))
    }
}

/// What one server has answered.
#[derive(Default)]
pub struct Side {
    seen: BTreeMap<About, Vec<Value>>,
}

impl Side {
    pub fn learn(&mut self, step: &Step, (code, answer): &(u16, Value)) {
        if let Some(about) =
            step.about.filter(|_| *code < 300 && answer["kind"] != "Status" && !step.uri.contains("dryRun"))
        {
            self.seen.entry(about).or_default().push(answer.clone());
        }
    }

    /// The object as it was answered last, or the time before.
    fn seen(&self, about: About, back: usize) -> Option<&Value> {
        let seen = self.seen.get(&about)?;
        seen.get(seen.len().checked_sub(back + 1)?)
    }
}

impl Kind {
    const ALL: [Self; 5] = [Self::Queue, Self::Schedule, Self::Run, Self::BatchJob, Self::Lease];

    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Queue => ("rota.dev/v1alpha1", "Queue", "queues"),
            Self::Schedule => ("rota.dev/v1alpha1", "Schedule", "schedules"),
            Self::Run => ("rota.dev/v1alpha1", "JobRun", "jobruns"),
            Self::BatchJob => ("batch/v1", "Job", "jobs"),
            Self::Lease => ("coordination.k8s.io/v1", "Lease", "leases"),
        }
    }

    fn has_status(self) -> bool {
        matches!(self, Self::Queue | Self::Schedule | Self::BatchJob)
    }

    fn spec(self, random: &mut fastrand::Rng) -> Value {
        match self {
            Self::Queue => pick(
                random,
                &[
                    json!({}),
                    json!({ "maxRunning": 3 }),
                    json!({ "maxRunning": -1 }),
                    json!({ "maxRunning": "3" }),
                    json!({ "paused": { "reason": "because" } }),
                    json!({ "paused": {} }),
                    json!({ "maxRunning": 1, "nonsense": 2 }),
                    json!({ "aging": { "intervalSeconds": 5, "maximumIncrease": 2 }, "overflowPolicy": "Reject" }),
                    json!({ "overflowPolicy": "Whatever" }),
                    json!({ "maxRunning": null }),
                ],
            ),
            Self::Schedule => pick(
                random,
                &[
                    json!({ "templateRef": { "name": "t" }, "cron": "5 4 * * *" }),
                    json!({ "templateRef": { "name": "t" }, "cron": "5 4 * * *", "timeZone": "Europe/London", "suspended": true }),
                    json!({ "templateRef": { "name": "t" }, "interval": "5m", "params": { "a": "1", "b": "2" } }),
                    json!({ "templateRef": { "name": "t" }, "cron": "5 4 * * *", "interval": "5m" }),
                    json!({ "templateRef": { "name": "t" }, "cron": "@reboot" }),
                    json!({ "templateRef": { "name": "t" } }),
                    json!({ "cron": "* * * * *" }),
                    json!({ "templateRef": { "name": "t" }, "at": "2031-01-01T00:00:00Z", "startTime": "2030-01-01T00:00:00Z" }),
                    json!({ "templateRef": { "name": "t" }, "at": "yesterday" }),
                ],
            ),
            Self::Run => pick(
                random,
                &[
                    json!({ "attempt": 1, "jobRef": { "name": "j", "uid": "1" } }),
                    json!({ "attempt": 2, "jobRef": { "name": "j", "uid": "1" }, "nonsense": true }),
                    json!({ "attempt": "x" }),
                    json!({}),
                ],
            ),
            Self::BatchJob => {
                let image = pick(random, &[json!("a:1"), json!("b")]);
                let restart = pick(random, &[json!("Never"), json!("Never"), json!("OnFailure"), json!("Always")]);
                let mut spec = json!({
                    "managedBy": "example.com/nobody",
                    "template": { "spec": { "restartPolicy": restart, "containers": [{ "name": "main", "image": image }] } },
                });
                let (field, value) = pick(
                    random,
                    &[
                        ("backoffLimit", json!(0)),
                        ("parallelism", json!(2)),
                        ("suspend", json!(true)),
                        ("nonsense", json!(1)),
                        ("activeDeadlineSeconds", json!(5)),
                        ("ttlSecondsAfterFinished", json!(50)),
                        ("backoffLimit", json!(-1)),
                    ],
                );
                spec[field] = value;
                spec
            }
            Self::Lease => pick(
                random,
                &[json!({}), json!({ "holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 1 })],
            ),
        }
    }

    fn status(self, random: &mut fastrand::Rng) -> Value {
        let condition = |status: &str, type_: &str| json!({ "type": type_, "status": status, "reason": "R", "message": "m", "lastTransitionTime": "2030-01-01T00:00:00Z" });
        match self {
            Self::Queue | Self::Schedule => pick(
                random,
                &[
                    json!({ "observedGeneration": 1, "conditions": [condition("True", "Ready")] }),
                    json!({ "observedGeneration": 2, "conditions": [condition("False", "Ready"), condition("True", "Paused")] }),
                    json!({ "observedGeneration": 2, "conditions": [condition("True", "Paused")] }),
                    json!({ "conditions": [condition("Nonsense", "Ready")] }),
                    json!({ "conditions": [condition("True", "Ready"), condition("True", "Ready")] }),
                    json!({}),
                    json!({ "observedGeneration": "x" }),
                ],
            ),
            _ => json!({ "ready": 0 }),
        }
    }
}

fn pick<T: Clone>(random: &mut fastrand::Rng, from: &[T]) -> T {
    from[random.usize(..from.len())].clone()
}

/// The request that a number stands for.
pub fn step(choice: u64, seed: u64, namespace: &str, side: &Side) -> Step {
    let random = &mut fastrand::Rng::with_seed(choice);
    let kind = pick(random, &Kind::ALL);
    let short = pick(random, &["a", "b"]);
    let about = (kind, short);
    let (version, word, plural) = kind.names();
    let all = format!("/apis/{version}/namespaces/{namespace}/{plural}");
    let name = format!("s{seed}-{short}");
    let one = format!("{all}/{name}");
    let last = side.seen(about, if random.u8(..4) == 0 { 1 } else { 0 });
    let dry = if random.u8(..12) == 0 { "&dryRun=All" } else { "" };
    let manager = pick(random, &["alice", "bob"]);
    let mut step = match random.u8(..14) {
        0..=3 => {
            let mut object = json!({ "apiVersion": version, "kind": word, "metadata": metadata(random, &name), "spec": kind.spec(random) });
            if random.bool() && kind != Kind::Lease && kind != Kind::BatchJob {
                object["status"] = kind.status(random);
            }
            if kind == Kind::Run {
                object["status"] = pick(
                    random,
                    &[json!({ "phase": "Completed", "reason": "Succeeded" }), json!({ "phase": "Nonsense" })],
                );
            }
            let strict = pick(random, &["", "&fieldValidation=Strict"]);
            Step::new("POST", &format!("{all}?fieldManager={manager}{dry}{strict}"), object.to_string().into_bytes())
        }
        4 => Step::new("GET", &one, Vec::new()),
        5 => {
            let query = pick(
                random,
                &["", "&labelSelector=team%3Dx", "&labelSelector=team", "&labelSelector=!team", "&limit=1"],
            );
            let mut step = Step::new("GET", &format!("{all}?fieldSelector=metadata.name%3D{name}{query}"), Vec::new());
            step.is_list = true;
            step
        }
        6..=7 => update(random, kind, &one, last, &format!("fieldManager={manager}{dry}")),
        8..=9 => merge(random, kind, &one, last, &format!("fieldManager={manager}{dry}")),
        10..=11 if matches!(kind, Kind::Queue | Kind::Schedule | Kind::Run) => {
            apply(random, kind, &one, &name, last, &format!("fieldManager={manager}{dry}"))
        }
        _ => delete(random, &one, last, dry),
    };
    step.about = Some(about).filter(|_| !step.is_list);
    step
}

fn metadata(random: &mut fastrand::Rng, name: &str) -> Value {
    let mut metadata = json!({ "name": name });
    if random.bool() {
        metadata["labels"] =
            pick(random, &[json!({ "team": "x" }), json!({ "team": "y", "b": "" }), json!({ "team": "not valid!" })]);
    }
    if random.u8(..3) == 0 {
        metadata["finalizers"] = json!(["example.com/hold"]);
    }
    if random.u8(..6) == 0 {
        metadata["annotations"] = json!({ "note": "x" });
    }
    if random.u8(..6) == 0 {
        metadata["ownerReferences"] = json!([{ "apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "00000000-0000-4000-a000-000000000000" }]);
        // Its owner does not exist: the garbage collector would delete it.
        metadata.as_object_mut().unwrap().remove("ownerReferences");
    }
    metadata
}

fn mutate(random: &mut fastrand::Rng, kind: Kind, object: &mut Value) {
    match random.u8(..6) {
        0 => object["metadata"]["labels"] = pick(random, &[json!({ "team": "z" }), json!({})]),
        1 => {
            object["metadata"]["finalizers"] =
                pick(random, &[json!([]), json!(["example.com/hold", "example.com/more"])])
        }
        2 => object["metadata"]["annotations"] = json!({ "note": pick(random, &["y", "z"]) }),
        3 if kind.has_status() && kind != Kind::BatchJob => object["status"] = kind.status(random),
        4 => {}
        _ => object["spec"] = kind.spec(random),
    }
}

fn update(random: &mut fastrand::Rng, kind: Kind, one: &str, last: Option<&Value>, query: &str) -> Step {
    let (version, word, _) = kind.names();
    let name = one.rsplit('/').next().unwrap_or_default();
    let mut object = last.cloned().unwrap_or_else(|| {
        json!({ "apiVersion": version, "kind": word, "metadata": { "name": name, "resourceVersion": "1" }, "spec": kind.spec(&mut fastrand::Rng::with_seed(1)) })
    });
    let is_status = kind.has_status() && kind != Kind::BatchJob && random.u8(..3) == 0;
    if is_status {
        object["status"] = kind.status(random);
    } else {
        mutate(random, kind, &mut object);
    }
    match random.u8(..12) {
        0 => drop(object["metadata"].as_object_mut().map(|it| it.remove("resourceVersion"))),
        1 => object["metadata"]["uid"] = json!("00000000-0000-4000-a000-000000000001"),
        _ => {}
    }
    let at = if is_status { format!("{one}/status") } else { one.to_owned() };
    Step::new("PUT", &format!("{at}?{query}"), object.to_string().into_bytes())
}

fn precondition(random: &mut fastrand::Rng, last: Option<&Value>, metadata: &mut Value) {
    let said = |field: &str| last.map(|last| last["metadata"][field].clone());
    match random.u8(..6) {
        0 => metadata["uid"] = json!("00000000-0000-4000-a000-000000000001"),
        1 | 2 => {
            if let Some(uid) = said("uid") {
                metadata["uid"] = uid;
            }
        }
        3 => {
            if let Some(version) = said("resourceVersion") {
                metadata["resourceVersion"] = version;
            }
        }
        _ => {}
    }
}

fn merge(random: &mut fastrand::Rng, kind: Kind, one: &str, last: Option<&Value>, query: &str) -> Step {
    let mut patch = json!({ "metadata": {} });
    precondition(random, last, &mut patch["metadata"]);
    let is_status = kind.has_status() && kind != Kind::BatchJob && random.u8(..3) == 0;
    if is_status {
        patch["status"] = kind.status(random);
    } else {
        mutate(random, kind, &mut patch);
        if random.u8(..4) == 0 {
            let field =
                pick(random, &["maxRunning", "paused", "timeZone", "params", "cron", "suspend", "holderIdentity"]);
            patch["spec"] = json!({ field: null });
        }
    }
    let at = if is_status { format!("{one}/status") } else { one.to_owned() };
    let mut step = Step::new("PATCH", &format!("{at}?{query}"), patch.to_string().into_bytes());
    step.content_type = "application/merge-patch+json";
    step
}

fn apply(random: &mut fastrand::Rng, kind: Kind, one: &str, name: &str, last: Option<&Value>, query: &str) -> Step {
    let (version, word, _) = kind.names();
    let mut object = json!({ "apiVersion": version, "kind": word, "metadata": { "name": name } });
    precondition(random, last, &mut object["metadata"]);
    let is_status = kind.has_status() && random.u8(..2) == 0;
    if is_status {
        object["status"] = kind.status(random);
    } else {
        if random.bool() {
            object["metadata"]["labels"] = pick(random, &[json!({ "team": "x" }), json!({ "other": "1" })]);
        }
        if random.u8(..4) == 0 {
            object["metadata"]["finalizers"] = json!(["example.com/applied"]);
        }
        if random.u8(..5) > 0 {
            object["spec"] = kind.spec(random);
        }
    }
    let force = pick(random, &["", "&force=true"]);
    let at = if is_status { format!("{one}/status") } else { one.to_owned() };
    let mut step = Step::new("PATCH", &format!("{at}?{query}{force}"), object.to_string().into_bytes());
    step.content_type = "application/apply-patch+yaml";
    step
}

fn delete(random: &mut fastrand::Rng, one: &str, last: Option<&Value>, dry: &str) -> Step {
    let mut options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background" });
    let mut preconditions = json!({});
    precondition(random, last, &mut preconditions);
    if preconditions != json!({}) {
        options["preconditions"] = preconditions;
    }
    Step::new("DELETE", &format!("{one}?x=1{dry}"), options.to_string().into_bytes())
}
