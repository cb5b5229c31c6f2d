//! Users: what people and their tools do to Rota's objects, at any moment.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::world::{World, path, text};

/// The namespace that everything is in.
pub const NAMESPACE: &str = "team";
const API: &str = "rota.dev/v1alpha1";
const USER: &str = "kubectl";

fn at(plural: &str, name: &str) -> String {
    path(API, NAMESPACE, plural, name)
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": API, "kind": kind, "metadata": { "name": name }, "spec": spec })
}

fn pick<T: Clone>(world: &World, from: &[T]) -> T {
    let index = world.random().usize(..from.len());
    from[index].clone()
}

fn body(image: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "main", "image": image }] } } } })
}

/// What there is at the beginning.
pub fn begin(world: &World) {
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    world.ask(USER, "POST", "/api/v1/namespaces", &namespace).unwrap();
    let system = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "rota-system" } });
    world.ask(USER, "POST", "/api/v1/namespaces", &system).unwrap();
    for (name, image) in [("quick", "ok:2"), ("slow", "ok:40"), ("fails", "exit-3:3"), ("hangs", "hang:1")] {
        let spec = json!({ "jobType": "simulated", "jobTemplate": body(image), "timeoutSeconds": 60 });
        world.ask(USER, "POST", &at("jobtemplates", ""), &object("JobTemplate", name, spec)).unwrap();
    }
    let max = world.random().u32(1..4);
    world.ask(USER, "POST", &at("queues", ""), &object("Queue", "narrow", json!({ "maxRunning": max }))).unwrap();
}

fn schedule(world: &World) -> Value {
    let template = pick(world, &["quick", "quick", "slow", "fails", "hangs"]);
    let mut spec = json!({ "templateRef": { "name": template } });
    if world.happens(500) {
        spec["interval"] = json!(pick(world, &["30s", "45s", "120s", "300s"]));
        spec["anchor"] = json!("2030-01-01T00:00:00Z");
    } else {
        spec["cron"] = json!(pick(world, &["*/1 * * * *", "*/5 * * * *", "*/10 * * * *"]));
    }
    if world.happens(500) {
        spec["queue"] = json!("narrow");
    }
    if world.happens(600) {
        spec["concurrencyPolicy"] = json!(pick(world, &["Allow", "Forbid", "Replace", "Queue"]));
    }
    spec
}

/// One thing that somebody does.
pub fn act(world: &World) {
    let name = pick(world, &["a", "b", "c"]);
    let one = at("schedules", name);
    let number = world.random().u32(..1_000_000);
    let choice = world.random().u8(..16);
    let _ = match choice {
        0 | 1 => world.ask(USER, "POST", &at("schedules", ""), &object("Schedule", name, schedule(world))),
        2 => world.ask(USER, "PATCH", &one, &json!({ "spec": { "enabled": false } })),
        // A removed field has no time.
        3 => world.ask(USER, "PATCH", &one, &json!({ "spec": { "enabled": null } })),
        4 => world.ask(
            USER,
            "PATCH",
            &one,
            &json!({ "spec": { "interval": "60s", "anchor": "2030-01-01T00:00:00Z", "cron": null } }),
        ),
        5 => world.ask(
            USER,
            "DELETE",
            &one,
            &json!({ "propagationPolicy": pick(world, &["Background", "Foreground", "Orphan"]) }),
        ),
        6..=8 => {
            let template = pick(world, &["quick", "slow", "fails", "hangs"]);
            let mut spec = json!({ "templateRef": { "name": template }, "queue": pick(world, &["narrow", "default"]) });
            if world.happens(300) {
                spec["priority"] = json!(world.random().i32(-5..5));
            }
            if world.happens(200) {
                spec["retry"] = json!({ "maxAttempts": 2, "backoff": { "initialSeconds": 5 } });
            }
            world.ask(USER, "POST", &at("jobs", ""), &object("Job", &format!("job-{number}"), spec))
        }
        9 => with_job(world, |job| {
            world.ask(USER, "PATCH", &at("jobs", job), &json!({ "spec": { "cancel": { "reason": "no longer" } } }))
        }),
        10 => with_job(world, |job| {
            let policy = pick(world, &["Background", "Foreground", "Orphan"]);
            world.ask(USER, "DELETE", &at("jobs", job), &json!({ "propagationPolicy": policy }))
        }),
        11 => world.ask(
            USER,
            "PATCH",
            &at("queues", "narrow"),
            &json!({ "spec": { "paused": { "reason": "maintenance" } } }),
        ),
        12 | 13 => world.ask(USER, "PATCH", &at("queues", "narrow"), &json!({ "spec": { "paused": null } })),
        14 => with_batch_job(world, |job| {
            let policy = pick(world, &["Background", "Foreground", "Orphan"]);
            world.ask(
                USER,
                "DELETE",
                &path("batch/v1", NAMESPACE, "jobs", job),
                &json!({ "propagationPolicy": policy }),
            )
        }),
        _ => with_job(world, |job| {
            world.ask(USER, "PATCH", &at("jobs", job), &json!({ "metadata": { "labels": { "team": "x" } } }))
        }),
    };
}

type Asked = Result<std::sync::Arc<Value>, simulated_apiserver::Failure>;

fn with_job(world: &World, act: impl Fn(&str) -> Asked) -> Asked {
    with(world, "rota.dev", act)
}

fn with_batch_job(world: &World, act: impl Fn(&str) -> Asked) -> Asked {
    with(world, "batch", act)
}

fn with(world: &World, group: &str, act: impl Fn(&str) -> Asked) -> Asked {
    let jobs = world.list(group, "jobs");
    if jobs.is_empty() {
        return Ok(std::sync::Arc::default());
    }
    let job = pick(world, &jobs);
    act(text(&job, "/metadata/name"))
}

/// Goes on for ever.
pub async fn run(world: World) {
    loop {
        sleep(world.up_to(Duration::from_secs(60))).await;
        act(&world);
    }
}

/// Leaves everything such that it can come to rest.
pub fn calm(world: &World) {
    let _ = world.ask(USER, "PATCH", &at("queues", "narrow"), &json!({ "spec": { "paused": null } }));
}
