//! Queues on real pods: limits hold at each revision that a watch sees, and places are taken in order.

use rota::api::job::WaitingFor;
use rota::api::{Job, JobRun, JobTemplate, Queue, labels};
use serde_json::json;

use crate::support::history::{History, unfinished_by};
use crate::support::make::{FOR_EVER, ad_hoc, of, template, with};
use crate::support::{World, in_world};

async fn starts(world: &World) -> Vec<String> {
    let mut runs = world.all::<JobRun>().await;
    runs.sort_by_key(|run| run.status.as_ref().unwrap().started_at.clone());
    runs.into_iter().map(|run| run.spec.job_ref.unwrap().name).collect()
}

/// One place, five Jobs: never two at once, urgent before moved before first come. The queue comes from the template,
/// so that a Job being launched is not yet marked with its queue anywhere but in the Queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_place_is_taken_by_priority_then_position_then_arrival() {
    in_world("order", async |world| {
        let paused = json!({ "maxRunning": 1, "paused": { "reason": "setting up" } });
        world.create::<Queue>("narrow", paused).await;
        world.create::<JobTemplate>("short", with(template("sleep 1"), json!({ "queue": "narrow" }))).await;
        for (name, fields) in [
            ("first", json!({})),
            ("second", json!({})),
            ("moved", json!({ "position": -5 })),
            ("urgent", json!({ "priority": 10 })),
            ("another", json!({})),
        ] {
            world.create::<Job>(name, with(of("short"), fields)).await;
            let (waits_for, sentence) = world.waiting(name).await;
            assert_eq!((waits_for, sentence.as_str()), (WaitingFor::QueuePaused, "queue narrow is paused: setting up"));
        }
        let history = History::start(world, unfinished_by(labels::QUEUE));
        world.patch::<Queue>("narrow", json!({ "spec": { "paused": null } })).await;
        for name in ["first", "second", "moved", "urgent", "another"] {
            world.ended(name).await;
        }
        assert_eq!(history.most("narrow"), 1);
        assert_eq!(starts(world).await, ["urgent", "moved", "first", "second", "another"]);
    })
    .await;
}

/// The limit of a template counts over all queues.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_runs_no_more_than_its_limit_over_two_queues() {
    in_world("template-limit", async |world| {
        world.create::<Queue>("left", json!({})).await;
        world.create::<Queue>("right", json!({})).await;
        world.create::<JobTemplate>("few", with(template("sleep 1"), json!({ "maxRunning": 2 }))).await;
        let history = History::start(world, unfinished_by(labels::TEMPLATE));
        for index in 0..6 {
            let queue = if index % 2 == 0 { "left" } else { "right" };
            world.create::<Job>(&format!("job-{index}"), with(of("few"), json!({ "queue": queue }))).await;
        }
        for index in 0..6 {
            world.ended(&format!("job-{index}")).await;
        }
        assert_eq!(history.most("few"), 2);
    })
    .await;
}

/// Who waits is told who holds the place; lowering a limit stops nothing; a queue that does not exist is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_job_names_its_blocker_and_a_lowered_limit_stops_nothing() {
    in_world("blocker", async |world| {
        world.create::<Queue>("two", json!({ "maxRunning": 2 })).await;
        let queue = json!({ "queue": "two" });
        for name in ["a", "b"] {
            world.create::<Job>(name, with(ad_hoc(FOR_EVER), queue.clone())).await;
            world.running(name).await;
        }
        world.create::<Job>("c", with(ad_hoc("true"), queue)).await;
        let (waits_for, sentence) = world.waiting("c").await;
        assert_eq!((waits_for, sentence.as_str()), (WaitingFor::QueueLimit, "queue two: 2 of 2 running: a, b"));
        world.patch::<Queue>("two", json!({ "spec": { "maxRunning": 1 } })).await;
        world.patch::<Job>("a", json!({ "spec": { "cancel": {} } })).await;
        world.ended("a").await;
        world.create::<Job>("lost", with(ad_hoc("true"), json!({ "queue": "nowhere" }))).await;
        assert_eq!(world.waiting("lost").await.0, WaitingFor::Queue);
        let running = |job: &Job| job.status.as_ref().unwrap().phase == Some(rota::api::JobPhase::Running);
        assert!(running(&world.api::<Job>().get("b").await.unwrap()), "the lowered limit stopped what ran");
        assert_eq!(world.waiting("c").await.0, WaitingFor::QueueLimit);
        world.patch::<Job>("b", json!({ "spec": { "cancel": {} } })).await;
        world.ended("c").await;
    })
    .await;
}
