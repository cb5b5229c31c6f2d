//! Limits hold at every moment, order is what was promised, and whoever waits says for what.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::ResourceExt;
use rota::api::job::WaitingFor;
use rota::api::labels::{QUEUE, TEMPLATE};
use rota::api::{Job, JobTemplate, Outcome, Queue, Reason};
use rota::runtime::clock::now;
use serde_json::json;

use crate::support::history::{History, unfinished_by};
use crate::support::make::{ad_hoc, of, template, with};
use crate::support::{World, in_world};

/// When a Job's only attempt started and finished; it must have completed.
async fn span(world: &World, name: &str) -> (Timestamp, Timestamp) {
    let status = world.only_run(name).await.status.unwrap();
    assert_eq!(status.phase, Outcome::Completed, "{name}: {status:#?}");
    (status.started_at.unwrap().0, status.finished_at.unwrap().0)
}

/// When a Job was launched, by the clock of the operator: pods tell their times in whole seconds only.
async fn dispatched_at(world: &World, name: &str) -> Timestamp {
    world.ended(name).await.status.unwrap().dispatched_at.unwrap().0
}

async fn resume(world: &World, queue: &str) {
    world.patch::<Queue>(queue, json!({ "spec": { "paused": null } })).await;
}

/// I3 and I4: one at a time at every revision of the cluster, by priority, then position, then the time of queueing. The
/// queue comes from the template, so that a Job being launched is marked with its queue nowhere but in the Queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_runs_one_at_a_time_by_priority_position_and_time() {
    in_world("order", async |world| {
        let history = History::<BatchJob>::start(world, unfinished_by(QUEUE));
        world.create::<Queue>("line", json!({ "maxRunning": 1, "paused": { "reason": "collecting" } })).await;
        world.create::<JobTemplate>("quick", with(template("true"), json!({ "queue": "line" }))).await;
        let jobs = [
            ("first-come", json!({})),
            ("second-come", json!({})),
            ("moved-back", json!({ "position": 4_000_000_000_i64 })),
            ("moved-up", json!({ "position": -1 })),
            ("urgent", json!({ "priority": 10, "position": 4_000_000_000_i64 })),
        ];
        for (name, fields) in jobs {
            world.create::<Job>(name, with(of("quick"), fields)).await;
            let (waiting_for, sentence) = world.waiting(name).await;
            assert_eq!(waiting_for, WaitingFor::QueuePaused);
            assert!(sentence.contains("line") && sentence.contains("collecting"), "{sentence}");
        }
        resume(world, "line").await;
        let mut spans = Vec::new();
        for name in ["urgent", "moved-up", "first-come", "second-come", "moved-back"] {
            spans.push((name, span(world, name).await, dispatched_at(world, name).await));
        }
        for pair in spans.windows(2) {
            assert!(pair[0].2 < pair[1].2, "not in order: {pair:?}");
            assert!(pair[0].1.1 <= pair[1].1.0, "two ran at once: {pair:?}");
        }
        assert_eq!(history.most("line"), 1, "more than one batch Job was unfinished at once");
    })
    .await;
}

/// I4 from the first moment: Jobs that were there before the operator go in the order in which they came, although it reads
/// their template only after it has seen them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_came_before_the_operator_are_launched_in_order() {
    in_world("early", async |world| {
        world.operator().kill();
        world.create::<Queue>("line", json!({ "maxRunning": 1 })).await;
        world.create::<JobTemplate>("quick", with(template("true"), json!({ "queue": "line" }))).await;
        let names = ["a", "b", "c", "d", "e", "f"];
        for name in names {
            world.create::<Job>(name, of("quick")).await;
        }
        world.operator().restart();
        let mut launched = Vec::new();
        for name in names {
            launched.push((dispatched_at(world, name).await, name));
        }
        assert!(launched.is_sorted(), "not in order: {launched:?}");
    })
    .await;
}

/// I3 across queues: a template's limit holds although its Jobs wait in two lines.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_a_template_holds_over_two_queues() {
    in_world("template-limit", async |world| {
        let history = History::<BatchJob>::start(world, unfinished_by(TEMPLATE));
        world.create::<JobTemplate>("licensed", with(template("sleep 1"), json!({ "maxRunning": 2 }))).await;
        for queue in ["left", "right"] {
            world.create::<Queue>(queue, json!({})).await;
        }
        let names: Vec<String> = (0..6).map(|number| format!("job-{number}")).collect();
        for (number, name) in names.iter().enumerate() {
            let queue = if number % 2 == 0 { "left" } else { "right" };
            world.create::<Job>(name, with(of("licensed"), json!({ "queue": queue }))).await;
        }
        let (waiting_for, sentence) = world.waiting("job-5").await;
        assert_eq!(waiting_for, WaitingFor::TemplateLimit);
        assert!(sentence.contains("licensed") && sentence.contains("2 of 2"), "{sentence}");
        for name in &names {
            span(world, name).await;
        }
        assert_eq!(history.most("licensed"), 2, "as many as allowed ran at once, and not more");
    })
    .await;
}

/// A pause with an end needs nobody to end it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_paused_until_a_time_goes_on_by_itself() {
    in_world("pause", async |world| {
        let until = now() + SignedDuration::from_secs(6);
        let paused = json!({ "paused": { "reason": "backup", "until": until.to_string() } });
        world.create::<Queue>("line", paused).await;
        world.create::<Job>("waits", with(ad_hoc("true"), json!({ "queue": "line" }))).await;
        assert_eq!(world.waiting("waits").await.0, WaitingFor::QueuePaused);
        span(world, "waits").await;
        let at = dispatched_at(world, "waits").await;
        assert!(at >= until && at < until + SignedDuration::from_secs(5), "paused until {until}, launched at {at}");
    })
    .await;
}

/// Whoever waits at a full queue says who holds the places; and lowering the limit stops nothing that runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_job_names_its_blocker_and_a_lowered_limit_stops_nothing() {
    in_world("lowered", async |world| {
        world.create::<Queue>("line", json!({ "maxRunning": 2 })).await;
        let in_line = |script: &str| with(ad_hoc(script), json!({ "queue": "line" }));
        world.create::<Job>("short", in_line("sleep 4")).await;
        world.create::<Job>("long", in_line("sleep 8")).await;
        world.running("short").await;
        world.running("long").await;
        world.create::<Job>("third", in_line("true")).await;
        let (waiting_for, sentence) = world.waiting("third").await;
        assert_eq!(waiting_for, WaitingFor::QueueLimit);
        assert!(sentence.starts_with("first in queue line, 2 of 2 running, as of "), "{sentence}");
        world.patch::<Queue>("line", json!({ "spec": { "maxRunning": 1 } })).await;
        span(world, "short").await;
        let (_, long_finished) = span(world, "long").await;
        let (third_started, _) = span(world, "third").await;
        assert!(third_started >= long_finished, "{third_started} is before {long_finished}");
    })
    .await;
}

/// A Job whose queue does not exist waits for it, and goes as soon as it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_waits_for_its_queue_to_be_made() {
    in_world("no-queue", async |world| {
        let job = world.create::<Job>("early", with(ad_hoc("true"), json!({ "queue": "later" }))).await;
        let (waiting_for, sentence) = world.waiting(&job.name_any()).await;
        assert_eq!(waiting_for, WaitingFor::Queue);
        assert!(sentence.contains("later"), "{sentence}");
        world.create::<Queue>("later", json!({})).await;
        span(world, "early").await;
    })
    .await;
}

/// What comes to a full queue leaves a record that says so, and what the queue has taken runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_records_what_it_does_not_keep() {
    in_world("depth", async |world| {
        let depth = json!({ "maxRunning": 1, "maxDepth": 1, "overflowPolicy": "CoalesceSame" });
        world.create::<Queue>("line", depth).await;
        let declared = json!({ "queue": "line", "params": [{ "name": "shop", "default": "north" }] });
        world.create::<JobTemplate>("build", with(template("sleep 3"), declared)).await;
        let of_shop = |shop: &str| with(of("build"), json!({ "params": { "shop": shop } }));
        world.create::<Job>("first", of_shop("north")).await;
        world.running("first").await;
        world.create::<Job>("second", of_shop("south")).await;
        assert_eq!(world.waiting("second").await.0, WaitingFor::QueueLimit);
        for (name, shop, reason) in [("same", "south", Reason::Coalesced), ("other", "east", Reason::QueueFull)] {
            world.create::<Job>(name, of_shop(shop)).await;
            let status = world.only_run(name).await.status.unwrap();
            assert_eq!((status.phase, status.reason), (Outcome::Skipped, reason), "{name}");
            assert_eq!(status.error.unwrap().contains("second"), name == "same", "the record names the other one");
        }
        span(world, "first").await;
        span(world, "second").await;
    })
    .await;
}

/// A pause of the namespace, and of everything, is one field of one queue: it stops all queues, names itself, and ends with
/// its time or when it is taken away. What runs goes on, and what is paused on its own stays so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_queue_can_pause_the_namespace_and_in_the_operators_own_everything() {
    in_world("wide-pause", async |world| {
        let line = |name: &'static str, script: &str| with(ad_hoc(script), json!({ "queue": name }));
        for name in ["left", "right"] {
            world.create::<Queue>(name, json!({})).await;
        }
        world.create::<Job>("runs", line("left", "sleep 6")).await;
        world.running("runs").await;
        for (scope, word, job) in
            [("Namespace", WaitingFor::NamespacePaused, "one"), ("Cluster", WaitingFor::ClusterPaused, "two")]
        {
            let paused = json!({ "spec": { "paused": { "reason": "stocktaking", "scope": scope } } });
            world.patch::<Queue>("right", paused).await;
            world.create::<Job>(job, line("left", "true")).await;
            let (waiting_for, sentence) = world.waiting(job).await;
            assert_eq!(waiting_for, word);
            assert!(sentence.contains("stocktaking") && sentence.contains("right"), "{sentence}");
            resume(world, "right").await;
            span(world, job).await;
        }
        world.patch::<Queue>("right", json!({ "spec": { "paused": { "reason": "its own" } } })).await;
        let until = now() + SignedDuration::from_secs(4);
        let paused = json!({ "paused": { "reason": "for a while", "scope": "Namespace", "until": until.to_string() } });
        world.patch::<Queue>("left", json!({ "spec": paused })).await;
        world.create::<Job>("three", line("left", "true")).await;
        world.create::<Job>("four", line("right", "true")).await;
        span(world, "three").await;
        assert!(dispatched_at(world, "three").await >= until, "it started before the pause was over");
        let of_its_own = |job: &Job| {
            let status = job.status.as_ref();
            status.and_then(|status| status.waiting_for) == Some(WaitingFor::QueuePaused)
        };
        world.until_object("four", "waits for its own queue", of_its_own).await;
        resume(world, "right").await;
        span(world, "four").await;
        span(world, "runs").await;
    })
    .await;
}
