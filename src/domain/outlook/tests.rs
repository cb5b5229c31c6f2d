//! Outlooks, and that what they say is what the dispatcher would say and do.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job as BatchJob;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::JobTemplateSpec;
use crate::api::job::TemplateSnapshot;
use crate::domain::group;
use crate::domain::job::{self, Facts, Memory, attempt_name, limits};
use crate::domain::queue::{Limit, Line, Occupant, Offer, Settings};
use crate::domain::resolve::Source;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn queued(name: &str, more: Value) -> Job {
    let mut job = json!({
        "apiVersion": "rota.dev/v1alpha1", "kind": "Job",
        "metadata": { "name": name, "namespace": "team", "uid": format!("uid-{name}"), "finalizers": ["rota.dev/record"] },
        "spec": { "templateRef": { "name": "t" }, "queue": "line" },
        "status": { "phase": "Queued", "queue": "line", "queuedAt": "2026-03-01T11:00:00.000000Z", "priority": 0 },
    });
    for part in ["metadata", "spec", "status"] {
        for (key, value) in more[part].as_object().into_iter().flatten() {
            job[part][key] = value.clone();
        }
    }
    read(job)
}

fn queue(name: &str, spec: Value) -> Arc<Queue> {
    let metadata = json!({ "name": name, "namespace": "team" });
    Arc::new(read(json!({ "apiVersion": "rota.dev/v1alpha1", "kind": "Queue", "metadata": metadata, "spec": spec })))
}

/// The batch Job of a Job's current attempt.
fn batch(job: &Job, conditions: Value) -> Arc<BatchJob> {
    let uid = job.metadata.uid.clone();
    Arc::new(read(json!({
        "metadata": { "name": attempt_name(job, 1), "namespace": "team", "labels": { "rota.dev/job-uid": uid, "rota.dev/queue": "line" } },
        "status": { "conditions": conditions },
    })))
}

/// A namespace.
#[derive(Debug, Default)]
struct World {
    jobs: Vec<Arc<Job>>,
    queues: Vec<Arc<Queue>>,
    groups: Vec<Arc<JobGroup>>,
    batches: Vec<Arc<BatchJob>>,
    own_queues: Vec<Arc<Queue>>,
    template_max: Option<u32>,
    ceiling: Option<u32>,
    running_elsewhere: usize,
}

impl World {
    fn max_running(&self, limit: &Limit) -> Option<u32> {
        match limit {
            Limit::Template(_) => self.template_max,
            Limit::Group(_) => self.groups.first().and_then(|group| group::max_running(&group.spec)),
            Limit::Schedule(_) => None,
            Limit::Namespace => self.queues.iter().filter_map(|queue| queue.spec.namespace_max_running).min(),
        }
    }

    fn present(&self) -> Present {
        let max = |limit: &Limit| self.max_running(limit);
        let elsewhere = Elsewhere {
            ceiling: self.ceiling,
            running: self.running_elsewhere,
            own_namespace: "rota",
            own_queues: &self.own_queues,
        };
        let surroundings = Surroundings {
            namespace: "team",
            jobs: &self.jobs,
            queues: &self.queues,
            groups: &self.groups,
            batches: &self.batches,
            max_running: &max,
            elsewhere,
        };
        Present::of(&surroundings, now())
    }

    fn seen<'a>(&'a self, history: &'a History, present: Option<&'a Present>) -> Seen<'a> {
        let jobs = self.jobs.iter().map(Arc::as_ref);
        let queues = self.queues.iter().map(Arc::as_ref);
        Seen::new(jobs, queues, self.groups.iter().map(Arc::as_ref), history, present, now())
    }

    /// What the dispatcher is told, by the decision about each Job.
    fn line(&self) -> Line {
        let mut line = Line::new(self.ceiling, usize::MAX);
        for queue in &self.queues {
            line.set_queue("team", queue.metadata.name.as_deref().unwrap(), Some(Settings::of(&queue.spec)));
        }
        for batch in &self.batches {
            let uid = batch.metadata.labels.as_ref().unwrap()["rota.dev/job-uid"].clone();
            let job = self.jobs.iter().find(|job| job.metadata.uid.as_ref() == Some(&uid)).unwrap();
            let name = job.metadata.name.clone().unwrap();
            line.occupy("team", &uid, Occupant { name: name.into(), queue: "line".into(), limits: limits(job) });
        }
        let template: JobTemplateSpec = read(json!({
            "jobType": "x", "jobTemplate": { "spec": { "template": { "spec": { "containers": [] } } } },
        }));
        let snapshot: TemplateSnapshot = read(json!({ "name": "t", "uid": "u", "revision": "r", "digest": "d" }));
        for job in &self.jobs {
            limits(job).iter().for_each(|limit| line.set_max("team", limit, self.max_running(limit)));
            let group = self.groups.first().filter(|_| job.spec.group_ref.is_some());
            let member = |job: &Arc<Job>, group: &JobGroup| group::member(job, group, None);
            let standing = group.map(|group| {
                let members: Vec<_> = self.jobs.iter().filter_map(|job| member(job, group)).collect();
                group::standing(group, &members, &|_| None)
            });
            let gate = group::gate(job, group.map(Arc::as_ref).zip(standing.as_ref()));
            let facts = Facts {
                job,
                source: Source::Template { spec: &template, snapshot: &snapshot },
                gate: gate.as_ref(),
                schedule_settled: true,
                group_settled: true,
                batch: None,
                disowned: false,
                pods: &[],
                kept_batches: &[],
                pods_there: &[],
                looked: false,
                duplicate_of: None,
                superseded_by: None,
                kept_by_schedule: false,
                memory: &Memory { unrecorded: true, ..Memory::new(now()) },
                busy: false,
            };
            if let Some(candidate) = job::decide(&facts, now()).candidate {
                line.offer(Offer { namespace: "team".into(), candidate, accepted: true, asks_for: None }, now());
            }
        }
        line
    }
}

fn a_job() -> impl Strategy<Value = Value> {
    let priority = prop_oneof![Just(None), (-2..3i32).prop_map(Some)];
    let position = prop_oneof![3 => Just(None), 1 => (1..4i64).prop_map(Some)];
    (priority, position, 0..5u32, prop::bool::weighted(0.1), prop::bool::weighted(0.2), any::<bool>()).prop_map(
        |(priority, position, minute, hold, runs, is_member)| {
            let mut spec = json!({ "hold": hold });
            if let Some(priority) = priority {
                spec["priority"] = json!(priority);
            }
            if let Some(position) = position {
                spec["position"] = json!(position);
            }
            if is_member {
                spec["groupRef"] = json!({ "name": "g", "uid": "uid-g", "member": "filled in" });
            }
            let status =
                json!({ "priority": priority.unwrap_or(0), "queuedAt": format!("2026-03-01T11:5{minute}:00.000000Z") });
            json!({ "runs": runs, "spec": spec, "status": status })
        },
    )
}

fn a_world() -> impl Strategy<Value = World> {
    let optional = || prop_oneof![Just(None), (0..4u32).prop_map(Some)];
    (prop::collection::vec(a_job(), 0..12), optional(), optional(), optional(), any::<bool>(), any::<bool>()).prop_map(
        |(jobs, max_running, template_max, ceiling, ages, paused)| {
            let mut spec = json!({});
            if let Some(max) = max_running {
                spec["maxRunning"] = json!(max);
            }
            if ages {
                spec["aging"] = json!({ "intervalSeconds": 120, "maximumIncrease": 2 });
            }
            if paused {
                spec["paused"] = json!({ "reason": "maintenance" });
            }
            let mut world = World { template_max, ceiling, queues: vec![queue("line", spec)], ..World::default() };
            let mut members = Vec::new();
            for (index, mut content) in jobs.into_iter().enumerate() {
                let name = format!("j{}", (index * 7) % 12);
                if content["spec"].get("groupRef").is_some() {
                    content["spec"]["groupRef"]["member"] = json!(name);
                    content["status"]["priority"] = content["spec"].get("priority").cloned().unwrap_or(json!(1));
                    content["metadata"] = json!({ "ownerReferences": [{
                        "apiVersion": "rota.dev/v1alpha1", "kind": "JobGroup", "name": "g", "uid": "uid-g",
                    }] });
                    members.push(json!({ "name": name, "templateRef": { "name": "t" } }));
                }
                let job = Arc::new(queued(&name, content.clone()));
                if content["runs"] == json!(true) {
                    world.batches.push(batch(&job, json!([])));
                }
                world.jobs.push(job);
            }
            let names: Vec<String> = members.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect();
            world.groups.push(Arc::new(read(json!({
                "apiVersion": "rota.dev/v1alpha1", "kind": "JobGroup",
                "metadata": { "name": "g", "namespace": "team", "uid": "uid-g", "generation": 1 },
                "spec": { "mode": "Parallel", "maxRunning": 2, "priority": 1, "jobs": members },
                "status": { "phase": "Running", "queuedAt": "2026-03-01T11:52:30.000000Z" },
            }))));
            for job in &mut world.jobs {
                let mut changed = job.as_ref().clone();
                if let Some(reference) = &changed.spec.group_ref {
                    // The Job that the group makes has a name that tells which member it is.
                    assert!(names.contains(&reference.member));
                    let name = crate::domain::names::member_job("g", "uid-g", &reference.member);
                    changed.metadata.name = Some(name);
                    *job = Arc::new(changed);
                }
            }
            world
        },
    )
}

proptest! {
    #[test]
    fn places_and_blockers_are_those_of_the_dispatcher(world in a_world()) {
        let (present, mut line, history) = (world.present(), world.line(), History::default());
        let seen = world.seen(&history, Some(&present));
        let outlook = seen.outlook("line");
        let shown: Vec<String> = outlook.waiting.iter().filter(|it| it.place.is_some()).map(|it| it.rank.name.to_string()).collect();
        prop_assert_eq!(&shown, &line.first("team", "line", usize::MAX));
        prop_assert_eq!(outlook.running.len(), world.batches.len());
        for standing in &outlook.waiting {
            let own = job::own_blocker(standing.job, now()).map(|(blocker, _)| blocker);
            let expected = own.or(line.blocker(standing.job.metadata.uid.as_deref().unwrap(), now()));
            prop_assert_eq!(seen.blocker(standing.job), expected.clone());
            prop_assert_eq!(standing.waiting_for, expected.map(|it| it.waiting_for));
        }
        // And in this order they go.
        let round = line.admit(now());
        let admitted: Vec<String> = round.admitted.into_iter().map(|(_, candidate)| candidate.rank.name.to_string()).collect();
        prop_assert!(admitted.iter().all(|name| shown.contains(name)));
        let blocked = |name: &&String| outlook.waiting.iter().any(|it| *it.rank.name == ***name && it.waiting_for.is_some());
        if let Some(first) = admitted.first() {
            prop_assert_eq!(Some(first), shown.iter().find(|name| !blocked(name)));
        }
    }
}

/// Two that wait behind one that runs in a queue for one.
fn a_line() -> World {
    let first = Arc::new(queued("first", json!({ "status": { "phase": "Running" } })));
    let said = json!({
        "status": {
            "waitingFor": "QueueLimit",
            "conditions": [{
                "type": "Dispatched", "status": "False", "reason": "QueueLimit", "lastTransitionTime": "2026-03-01T11:00:00Z",
                "message": "ninth in queue line, 1 of 1 running: somebody-before",
            }],
        },
    });
    let jobs = vec![first.clone(), Arc::new(queued("second", said.clone())), Arc::new(queued("third", said))];
    let batches = vec![batch(&first, json!([]))];
    World { jobs, batches, queues: vec![queue("line", json!({ "maxRunning": 1 }))], ..World::default() }
}

fn message(world: &World, name: &str) -> Option<(WaitingFor, String)> {
    let (present, history) = (world.present(), History::default());
    let job = world.jobs.iter().find(|job| job.metadata.name.as_deref() == Some(name)).unwrap();
    world.seen(&history, Some(&present)).blocker(job).map(|it| (it.waiting_for, it.message))
}

#[test]
fn the_sentence_is_that_of_now_and_not_the_one_that_was_written() {
    let mut world = a_line();
    let expected = |text: &str| Some((WaitingFor::QueueLimit, text.to_owned()));
    assert_eq!(message(&world, "third"), expected("second in queue line, 1 of 1 running: first"));
    // The plugin has only what was written.
    let history = History::default();
    let said = world.seen(&history, None).blocker(&world.jobs[2]).unwrap();
    assert_eq!(said.message, "ninth in queue line, 1 of 1 running: somebody-before");
    // The first one ends; who was admitted since takes its place before it has a batch Job.
    world.batches = vec![batch(&world.jobs[0], json!([{ "type": "Complete", "status": "True" }]))];
    assert_eq!(message(&world, "third"), None, "it may be launched");
    let mut admitting = world.queues[0].as_ref().clone();
    admitting.status = Some(read(json!({
        "epoch": 1, "running": 0, "waiting": 2, "inFlight": [{ "job": "second", "uid": "uid-second", "attempt": 1 }],
    })));
    world.queues = vec![Arc::new(admitting)];
    assert_eq!(message(&world, "third"), expected("first in queue line, 1 of 1 running: second"));
    assert_eq!(message(&world, "second"), None, "it is being launched");
    // An attempt that was launched, or refused, does not count by that entry.
    for said in [json!({ "refusedSince": "2026-03-01T11:59:00.000000Z" }), json!({ "phase": "Dispatched" })] {
        world.jobs[1] = Arc::new(queued("second", json!({ "status": said })));
        assert_eq!(message(&world, "third"), None);
    }
}

#[test]
fn what_was_found_out_by_asking_is_told_as_it_was_written() {
    let mut world = a_line();
    let refused = json!({ "status": { "waitingFor": "Admission", "conditions": [{
        "type": "Dispatched", "status": "False", "reason": "Admission", "lastTransitionTime": "2026-03-01T11:00:00Z",
        "message": "exceeded quota",
    }] } });
    world.jobs[1] = Arc::new(queued("second", refused));
    world.batches.clear();
    world.jobs.remove(0);
    assert_eq!(message(&world, "second"), Some((WaitingFor::Admission, "exceeded quota".into())));
    assert_eq!(message(&world, "third"), None, "a Job that is refused holds up nobody");
}

#[test]
fn the_cluster_limits_and_pauses_a_namespace() {
    let mut world = a_line();
    world.queues = vec![queue("line", json!({}))];
    (world.ceiling, world.running_elsewhere) = (Some(4), 3);
    let full = "second in queue line; the operator runs 4 of 4 in the cluster, 1 of them in this namespace";
    assert_eq!(message(&world, "third"), Some((WaitingFor::ClusterLimit, full.into())));
    world.running_elsewhere = 2;
    assert_eq!(message(&world, "third"), None);
    let everything =
        json!({ "paused": { "reason": "upgrade", "scope": "Cluster", "until": "2026-03-01T13:00:00.000000Z" } });
    // In a namespace that is not the operator's it pauses its own queue only.
    world.queues = vec![queue("line", json!({})), queue("other", everything.clone())];
    assert_eq!(message(&world, "third"), None);
    world.own_queues = vec![queue("all", everything)];
    let paused = "everything is paused by queue rota/all until 2026-03-01T13:00:00Z: upgrade";
    assert_eq!(message(&world, "third"), Some((WaitingFor::ClusterPaused, paused.into())));
    let (present, history) = (world.present(), History::default());
    let outlook = world.seen(&history, Some(&present)).outlook("line");
    let told = Paused {
        message: "everything is paused (queue rota/all) until 2026-03-01T13:00:00Z: upgrade".into(),
        until: "2026-03-01T13:00:00Z".parse().ok(),
    };
    assert_eq!(outlook.paused, Some(told));
}

#[test]
fn a_document_names_as_many_as_asked_for_and_counts_all() {
    let mut world = a_line();
    world.jobs.extend((0..50).map(|index| Arc::new(queued(&format!("x{index:02}"), json!({})))));
    let (present, history) = (world.present(), History::default());
    let seen = world.seen(&history, Some(&present));
    let document = line_json("line", &seen, &seen.outlook("line"), 3);
    let names: Vec<&str> =
        document["waitingJobs"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!((document["waiting"].as_u64(), names), (Some(52), vec!["second", "third", "x00"]));
    assert_eq!(document["waitingJobs"][2]["message"], json!("third in queue line, 1 of 1 running: first"));
}
