//! Kubernetes beside its API server: the Job controller, one kubelet, the garbage collector, and the controllers of namespaces and of
//! finished Jobs. What a program does stands in the name of its image: `ok:5` ends well after five seconds, `exit-3:5` with code 3,
//! `hang:1` never by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use simulated_apiserver::{FOREGROUND, ORPHAN};
use tokio::time::Instant;

use crate::world::{World, path, seconds, text, time};

/// The longest that one of these takes to see something.
const SLOW: Duration = Duration::from_millis(800);
/// The finalizer of pods that are not counted yet.
const TRACKED: &str = "batch.kubernetes.io/job-tracking";
const MANAGER: &str = "kube-controller-manager";
const KUBELET: &str = "kubelet";

/// Goes on for ever.
pub async fn run(world: World) {
    let mut changes = world.shared.changes();
    // When each thing that is to be done will be.
    let mut due: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        changes.mark_unchanged();
        let work = Work::of(&world);
        let todo = work.all();
        due.retain(|name, _| todo.contains_key(name));
        let mut is_done = false;
        for (name, todo) in &todo {
            let at = *due.entry(name.clone()).or_insert_with(|| Instant::now() + world.up_to(SLOW));
            let at = at.max(todo.not_before(&world));
            if at <= Instant::now() {
                due.remove(name);
                todo.act(&world);
                is_done = true;
                break;
            }
        }
        if is_done {
            continue;
        }
        let next = todo.iter().filter_map(|(name, todo)| Some((*due.get(name)?).max(todo.not_before(&world)))).min();
        let next = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
        let _ = tokio::time::timeout_at(next, changes.changed()).await;
    }
}

/// Something that one of these controllers is to do.
struct Todo {
    actor: &'static str,
    /// When, if not at once.
    at: Option<Timestamp>,
    requests: Vec<(&'static str, String, Value)>,
}

impl Todo {
    fn not_before(&self, world: &World) -> Instant {
        let wait = self.at.map(|at| Duration::try_from(at.duration_since(world.now())).unwrap_or_default());
        Instant::now() + wait.unwrap_or_default()
    }

    fn act(&self, world: &World) {
        for (method, uri, body) in &self.requests {
            // What has changed meanwhile is seen again.
            let _ = world.ask(self.actor, method, uri, body);
        }
    }
}

struct Work {
    now: Timestamp,
    jobs: Vec<Arc<Value>>,
    pods: Vec<Arc<Value>>,
    namespaces: Vec<Arc<Value>>,
    /// Everything that is in namespaces, with its API version and plural.
    objects: Vec<(&'static str, &'static str, Arc<Value>)>,
}

/// The kinds that have owners or are owned.
const KINDS: [(&str, &str, &str); 10] = [
    ("batch", "batch/v1", "jobs"),
    ("", "v1", "pods"),
    ("apps", "apps/v1", "controllerrevisions"),
    ("rota.dev", "rota.dev/v1alpha1", "jobs"),
    ("rota.dev", "rota.dev/v1alpha1", "schedules"),
    ("rota.dev", "rota.dev/v1alpha1", "queues"),
    ("rota.dev", "rota.dev/v1alpha1", "jobgroups"),
    ("rota.dev", "rota.dev/v1alpha1", "jobruns"),
    ("rota.dev", "rota.dev/v1alpha1", "jobtemplates"),
    ("events.k8s.io", "events.k8s.io/v1", "events"),
];

impl Work {
    fn of(world: &World) -> Self {
        let mut objects = Vec::new();
        for (group, version, plural) in KINDS {
            objects.extend(world.list(group, plural).into_iter().map(|object| (version, plural, object)));
        }
        Self {
            now: world.now(),
            jobs: world.list("batch", "jobs"),
            pods: world.list("", "pods"),
            namespaces: world.list("", "namespaces"),
            objects,
        }
    }

    fn all(&self) -> BTreeMap<String, Todo> {
        let mut todo = BTreeMap::new();
        for job in &self.jobs {
            if let Some(it) = self.job(job) {
                todo.insert(format!("job {}", text(job, "/metadata/uid")), it);
            }
        }
        for pod in &self.pods {
            let uid = text(pod, "/metadata/uid");
            todo.extend(self.kubelet(pod).map(|it| (format!("kubelet {uid}"), it)));
        }
        let uids: std::collections::BTreeSet<&str> =
            self.objects.iter().map(|(_, _, object)| text(object, "/metadata/uid")).collect();
        for (version, plural, object) in &self.objects {
            let uid = text(object, "/metadata/uid");
            todo.extend(self.collect(version, plural, object, &uids).map(|it| (format!("collect {uid}"), it)));
        }
        for namespace in &self.namespaces {
            todo.extend(self.end(namespace).map(|it| (format!("namespace {}", text(namespace, "/metadata/name")), it)));
        }
        todo
    }

    fn pods_of(&self, job: &Value) -> Vec<&Arc<Value>> {
        let uid = text(job, "/metadata/uid");
        self.pods.iter().filter(|pod| text(pod, "/metadata/ownerReferences/0/uid") == uid).collect()
    }

    /// What the Job controller does about a Job.
    fn job(&self, job: &Value) -> Option<Todo> {
        let (namespace, name) = (text(job, "/metadata/namespace"), text(job, "/metadata/name"));
        let pods = self.pods_of(job);
        let counted = pods.iter().find(|pod| has_ended(pod) && has_finalizer(pod, TRACKED));
        if let Some(ending) = outcome(job) {
            let seconds = job.pointer("/spec/ttlSecondsAfterFinished").and_then(Value::as_i64);
            if let (Some(seconds), Some(at)) = (seconds, time(ending, "/lastTransitionTime"))
                && text(job, "/metadata/deletionTimestamp").is_empty()
            {
                let delete = json!({ "propagationPolicy": "Background", "preconditions": { "uid": text(job, "/metadata/uid") } });
                let uri = path("batch/v1", namespace, "jobs", name);
                return Some(Todo {
                    at: Some(at + SignedDuration::from_secs(seconds)),
                    ..self.manager(vec![("DELETE", uri, delete)])
                });
            }
            return counted.map(|pod| self.manager(vec![untrack(pod)]));
        }
        if !text(job, "/metadata/deletionTimestamp").is_empty() {
            return counted.map(|pod| self.manager(vec![untrack(pod)]));
        }
        self.advance(job, &pods, counted.copied())
    }

    fn advance(&self, job: &Value, pods: &[&Arc<Value>], counted: Option<&Arc<Value>>) -> Option<Todo> {
        let number = |pointer: &str| job.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
        let (mut succeeded, mut failed) = (number("/status/succeeded"), number("/status/failed"));
        let is_suspended = job.pointer("/spec/suspend") == Some(&json!(true));
        let active: Vec<_> = pods.iter().filter(|pod| !has_ended(pod)).collect();
        let mut requests = Vec::new();
        if let Some(pod) = counted {
            if text(pod, "/status/phase") == "Succeeded" {
                succeeded += 1
            } else {
                failed += 1
            }
            requests.push(untrack(pod));
        }
        let mut status = json!({
            "startTime": job.pointer("/status/startTime").cloned().unwrap_or_else(|| seconds(self.now)),
            "succeeded": succeeded, "failed": failed, "active": active.len(), "terminating": 0, "ready": 0,
        });
        let started: Timestamp = text(&status, "/startTime").parse().ok()?;
        let deadline = job.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_i64);
        let deadline = deadline.map(|seconds| started + SignedDuration::from_secs(seconds));
        let target = target(job).map(str::to_owned).or_else(|| {
            if succeeded >= number("/spec/completions").max(1) {
                Some("Complete".into())
            } else if failed > number("/spec/backoffLimit") {
                Some("BackoffLimitExceeded".into())
            } else if deadline.is_some_and(|deadline| deadline <= self.now) && !is_suspended {
                Some("DeadlineExceeded".into())
            } else {
                None
            }
        });
        if let Some(reason) = target {
            let ending = active.iter().filter(|pod| text(pod, "/metadata/deletionTimestamp").is_empty());
            requests.extend(ending.map(|pod| {
                let uri = path("v1", text(pod, "/metadata/namespace"), "pods", text(pod, "/metadata/name"));
                ("DELETE", uri, json!({ "propagationPolicy": "Background" }))
            }));
            let is_over = active.is_empty();
            status["conditions"] = conditions(&reason, is_over, self.now);
            if is_over && reason == "Complete" {
                status["completionTime"] = seconds(self.now);
            }
        } else if is_suspended {
            status["conditions"] = json!([condition("Suspended", "JobSuspended", self.now)]);
            requests.extend(active.iter().filter(|pod| text(pod, "/metadata/deletionTimestamp").is_empty()).map(
                |pod| {
                    let uri = path("v1", text(pod, "/metadata/namespace"), "pods", text(pod, "/metadata/name"));
                    ("DELETE", uri, json!({}))
                },
            ));
        } else if active.is_empty() && counted.is_none() {
            requests.push(self.new_pod(job));
        }
        let status = merged(job.get("status"), status);
        if job.get("status") != Some(&status) {
            let uri = format!(
                "{}/status",
                path("batch/v1", text(job, "/metadata/namespace"), "jobs", text(job, "/metadata/name"))
            );
            let version = text(job, "/metadata/resourceVersion");
            requests.push(("PATCH", uri, json!({ "metadata": { "resourceVersion": version }, "status": status })));
        }
        if !requests.is_empty() {
            return Some(self.manager(requests));
        }
        // Nothing but a deadline that comes.
        let version = text(job, "/metadata/resourceVersion");
        let uri = format!(
            "{}/status",
            path("batch/v1", text(job, "/metadata/namespace"), "jobs", text(job, "/metadata/name"))
        );
        let late = json!({ "metadata": { "resourceVersion": version }, "status": { "conditions": conditions("DeadlineExceeded", false, deadline?) } });
        Some(Todo { at: deadline, ..self.manager(vec![("PATCH", uri, late)]) }).filter(|_| !is_suspended)
    }

    fn new_pod(&self, job: &Value) -> (&'static str, String, Value) {
        let template = job.pointer("/spec/template").cloned().unwrap_or_default();
        let mut metadata = template.get("metadata").cloned().unwrap_or_else(|| json!({}));
        metadata["generateName"] = json!(format!("{}-", text(job, "/metadata/name")));
        metadata["finalizers"] = json!([TRACKED]);
        metadata["ownerReferences"] = json!([{
            "apiVersion": "batch/v1", "kind": "Job", "name": text(job, "/metadata/name"), "uid": text(job, "/metadata/uid"),
            "controller": true, "blockOwnerDeletion": true,
        }]);
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.get("spec") });
        ("POST", path("v1", text(job, "/metadata/namespace"), "pods", ""), pod)
    }

    fn manager(&self, requests: Vec<(&'static str, String, Value)>) -> Todo {
        Todo { actor: MANAGER, at: None, requests }
    }

    /// What the kubelet does about a pod, and the scheduler before.
    fn kubelet(&self, pod: &Value) -> Option<Todo> {
        let one = path("v1", text(pod, "/metadata/namespace"), "pods", text(pod, "/metadata/name"));
        let is_deleted = !text(pod, "/metadata/deletionTimestamp").is_empty();
        let kubelet = |at, requests| Some(Todo { actor: KUBELET, at, requests });
        if has_ended(pod) {
            let gone = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": text(pod, "/metadata/uid") } });
            let is_to_go = is_deleted && pod.pointer("/metadata/deletionGracePeriodSeconds") != Some(&json!(0));
            return if is_to_go { kubelet(None, vec![("DELETE", one, gone)]) } else { None };
        }
        if text(pod, "/spec/nodeName").is_empty() {
            return kubelet(None, vec![("PATCH", one, json!({ "spec": { "nodeName": "node-1" } }))]);
        }
        let status = format!("{one}/status");
        let begun = time(pod, "/status/containerStatuses/0/state/running/startedAt");
        let Some(begun) = begun else {
            if is_deleted {
                return kubelet(None, vec![("PATCH", status, json!({ "status": ended(pod, None, self.now, 137) }))]);
            }
            let containers = statuses(pod, &json!({ "running": { "startedAt": seconds(self.now) } }));
            let running =
                json!({ "phase": "Running", "startTime": seconds(self.now), "containerStatuses": containers });
            return kubelet(None, vec![("PATCH", status, json!({ "status": running }))]);
        };
        if is_deleted {
            return kubelet(None, vec![("PATCH", status, json!({ "status": ended(pod, Some(begun), self.now, 143) }))]);
        }
        let image = text(pod, "/spec/containers/0/image");
        let (what, lasts) = image.split_once(':')?;
        let lasts: i64 = lasts.parse().ok()?;
        let code = match what {
            "ok" => 0,
            "hang" => return None,
            other => other.strip_prefix("exit-")?.parse().ok()?,
        };
        let at = begun + SignedDuration::from_secs(lasts);
        kubelet(Some(at), vec![("PATCH", status, json!({ "status": ended(pod, Some(begun), at, code) }))])
    }

    /// What the garbage collector does about an object.
    fn collect(
        &self,
        version: &str,
        plural: &str,
        object: &Value,
        uids: &std::collections::BTreeSet<&str>,
    ) -> Option<Todo> {
        let one = path(version, text(object, "/metadata/namespace"), plural, text(object, "/metadata/name"));
        let uid = text(object, "/metadata/uid");
        let is_deleted = !text(object, "/metadata/deletionTimestamp").is_empty();
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).cloned().unwrap_or_default();
        let is_lost = !owners.is_empty() && owners.iter().all(|owner| !uids.contains(text(owner, "/uid")));
        let delete = json!({ "propagationPolicy": "Background", "preconditions": { "uid": uid } });
        if is_lost && !is_deleted {
            return Some(self.manager(vec![("DELETE", one, delete)]));
        }
        let dependents = || {
            self.objects.iter().filter(|(_, _, it)| {
                it.pointer("/metadata/ownerReferences")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .any(|owner| text(owner, "/uid") == uid)
            })
        };
        let at = |(version, plural, it): &(&str, &str, Arc<Value>)| {
            path(version, text(it, "/metadata/namespace"), plural, text(it, "/metadata/name"))
        };
        let without = |finalizer: &str| {
            let all = object.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
            let left: Vec<Value> = all.into_iter().filter(|it| it != finalizer).collect();
            ("PATCH", one.clone(), json!({ "metadata": { "uid": uid, "finalizers": left } }))
        };
        if is_deleted && has_finalizer(object, FOREGROUND) {
            let left: Vec<_> = dependents().collect();
            let to_go = left.iter().filter(|(_, _, it)| text(it, "/metadata/deletionTimestamp").is_empty());
            let mut requests: Vec<_> =
                to_go.map(|it| ("DELETE", at(it), json!({ "propagationPolicy": "Foreground" }))).collect();
            if left.is_empty() {
                requests.push(without(FOREGROUND));
            }
            return Some(self.manager(requests)).filter(|it| !it.requests.is_empty());
        }
        if is_deleted && has_finalizer(object, ORPHAN) {
            let mut requests: Vec<_> = dependents()
                .map(|it| {
                    let owners =
                        it.2.pointer("/metadata/ownerReferences")
                            .and_then(Value::as_array)
                            .cloned()
                            .unwrap_or_default();
                    let left: Vec<Value> = owners.into_iter().filter(|owner| text(owner, "/uid") != uid).collect();
                    ("PATCH", at(it), json!({ "metadata": { "ownerReferences": left } }))
                })
                .collect();
            requests.push(without(ORPHAN));
            return Some(self.manager(requests));
        }
        None
    }

    /// What the namespace controller does about a namespace.
    fn end(&self, namespace: &Value) -> Option<Todo> {
        if text(namespace, "/metadata/deletionTimestamp").is_empty() {
            return None;
        }
        let name = text(namespace, "/metadata/name");
        let content: Vec<_> =
            self.objects.iter().filter(|(_, _, it)| text(it, "/metadata/namespace") == name).collect();
        let to_go = content.iter().filter(|(_, _, it)| text(it, "/metadata/deletionTimestamp").is_empty());
        let mut requests: Vec<_> = to_go
            .map(|(version, plural, it)| {
                (
                    "DELETE",
                    path(version, name, plural, text(it, "/metadata/name")),
                    json!({ "propagationPolicy": "Background" }),
                )
            })
            .collect();
        if content.is_empty() {
            let mut last = namespace.clone();
            last["spec"]["finalizers"] = json!([]);
            requests.push(("PUT", format!("{}/finalize", path("v1", "", "namespaces", name)), last));
        }
        Some(self.manager(requests)).filter(|it| !it.requests.is_empty())
    }
}

fn has_ended(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

fn has_finalizer(object: &Value, name: &str) -> bool {
    object.pointer("/metadata/finalizers").and_then(Value::as_array).is_some_and(|all| all.iter().any(|it| it == name))
}

fn untrack(pod: &Value) -> (&'static str, String, Value) {
    let one = path("v1", text(pod, "/metadata/namespace"), "pods", text(pod, "/metadata/name"));
    let all = pod.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    let left: Vec<Value> = all.into_iter().filter(|it| it != TRACKED).collect();
    ("PATCH", one, json!({ "metadata": { "uid": text(pod, "/metadata/uid"), "finalizers": left } }))
}

/// The condition by which a Job has ended.
fn outcome(job: &Value) -> Option<&Value> {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array)?;
    conditions.iter().find(|it| matches!(text(it, "/type"), "Complete" | "Failed") && text(it, "/status") == "True")
}

/// Why a Job is going to end, if that is decided.
fn target(job: &Value) -> Option<&str> {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array)?;
    let found = conditions.iter().find(|it| matches!(text(it, "/type"), "SuccessCriteriaMet" | "FailureTarget"))?;
    Some(if text(found, "/type") == "SuccessCriteriaMet" { "Complete" } else { text(found, "/reason") })
}

fn condition(type_: &str, reason: &str, now: Timestamp) -> Value {
    json!({
        "type": type_, "status": "True", "reason": reason, "message": "", "lastTransitionTime": seconds(now), "lastProbeTime": seconds(now),
    })
}

fn conditions(reason: &str, is_over: bool, now: Timestamp) -> Value {
    let (first, last, word) = match reason {
        "Complete" => ("SuccessCriteriaMet", "Complete", "CompletionsReached"),
        other => ("FailureTarget", "Failed", other),
    };
    let mut all = vec![condition(first, word, now)];
    if is_over {
        all.push(condition(last, word, now));
    }
    Value::Array(all)
}

/// A status with the conditions that it had before, whose times stay.
fn merged(before: Option<&Value>, mut status: Value) -> Value {
    let had = before.and_then(|it| it.get("conditions")).and_then(Value::as_array).cloned().unwrap_or_default();
    let Some(new) = status.get_mut("conditions").and_then(Value::as_array_mut) else { return status };
    for condition in new.iter_mut() {
        if let Some(old) = had.iter().find(|it| it["type"] == condition["type"] && it["reason"] == condition["reason"])
        {
            *condition = old.clone();
        }
    }
    status
}

fn statuses(pod: &Value, state: &Value) -> Value {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let of = containers.map(|it| {
        json!({ "name": it["name"], "image": it["image"], "imageID": "sha256:0", "ready": false, "restartCount": 0, "state": state })
    });
    of.collect()
}

fn ended(pod: &Value, begun: Option<Timestamp>, at: Timestamp, code: i64) -> Value {
    let reason = if code == 0 { "Completed" } else { "Error" };
    let state = json!({ "terminated": {
        "exitCode": code, "reason": reason, "finishedAt": seconds(at), "startedAt": begun.map_or(Value::Null, seconds),
    } });
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    json!({ "phase": phase, "containerStatuses": statuses(pod, &state) })
}
