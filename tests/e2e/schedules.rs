//! What becomes of times that overlap, start late, or fail again and again; limits are read from a watch of the test's own.

use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::ResourceExt;
use rota::api::job::WaitingFor;
use rota::api::labels::SCHEDULE;
use rota::api::{Job, JobRun, JobTemplate, Outcome, Queue, Reason, Schedule};
use serde_json::json;

use crate::support::history::{History, unfinished_by};
use crate::support::make::{FOR_EVER, of, template, with};
use crate::support::{World, in_world};

/// The first record with that reason.
async fn recorded(world: &World, reason: Reason) -> JobRun {
    let look = async || {
        let runs = world.all::<JobRun>().await;
        runs.into_iter().find(|run| run.status.as_ref().is_some_and(|it| it.reason == reason))
    };
    world.until(&format!("{reason:?} is recorded"), look).await
}

/// Whether a condition of the schedule holds.
fn holds(schedule: &Schedule, type_: &str) -> bool {
    let conditions = schedule.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|it| it.type_ == type_ && it.status == "True")
}

/// The old run ends before the new one begins, and its record says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_time_replaces_the_run_of_an_earlier_one() {
    in_world("replace", async |world| {
        let history = History::<BatchJob>::start(world, unfinished_by(SCHEDULE));
        world.create::<JobTemplate>("endless", template(FOR_EVER)).await;
        let timing = json!({ "interval": "6s", "concurrencyPolicy": "Replace" });
        world.create::<Schedule>("latest", with(of("endless"), timing)).await;
        let status = recorded(world, Reason::Replaced).await.status.unwrap();
        assert_eq!((status.phase, status.exit_code), (Outcome::Failed, Some(143)), "{status:#?}");
        let error = status.error.unwrap();
        assert!(error.contains("replaced by Job latest-"), "{error}");
        world
            .until_object::<Schedule>("latest", "the next one runs", |it| {
                it.status.as_ref().is_some_and(|it| it.active == 1)
            })
            .await;
        assert_eq!(history.most("latest"), 1, "two ran at once");
    })
    .await;
}

/// Times that come meanwhile wait, also for a run by hand, and run in their order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_wait_for_each_other_and_for_a_run_by_hand() {
    in_world("overlap-queue", async |world| {
        let history = History::<BatchJob>::start(world, unfinished_by(SCHEDULE));
        world.create::<JobTemplate>("slow", template("sleep 3")).await;
        let timing = json!({ "interval": "2s", "concurrencyPolicy": "Queue" });
        world.create::<Schedule>("line", with(of("slow"), timing)).await;
        let by_hand = with(of("slow"), json!({ "scheduleRef": { "name": "line" } }));
        let waits =
            |job: &Job| job.status.as_ref().is_some_and(|status| status.waiting_for == Some(WaitingFor::ScheduleLimit));
        world
            .until("a Job waits for another one of its schedule", async || {
                world.all::<Job>().await.into_iter().find(waits)
            })
            .await;
        world.create::<Job>("by-hand", by_hand).await;
        world.until_object::<Job>("by-hand", "it waits too", waits).await;
        world.patch::<Schedule>("line", json!({ "spec": { "enabled": false } })).await;
        let job = world.ended("by-hand").await;
        assert_eq!(job.status.unwrap().outcome, Some(Outcome::Completed));
        let mut runs = world.all::<JobRun>().await;
        runs.retain(|run| run.spec.scheduled_time.is_some() && run.spec.job_ref.is_some());
        runs.sort_by_key(|run| run.spec.scheduled_time.as_ref().map(|time| time.0));
        let starts: Vec<_> =
            runs.iter().map(|run| run.status.as_ref().unwrap().started_at.as_ref().unwrap().0).collect();
        assert!(starts.len() > 1 && starts.is_sorted(), "{starts:?}");
        assert_eq!(history.most("line"), 1, "two ran at once");
    })
    .await;
}

/// A run that cannot start in time is said to be late at once, and its record says so for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_starts_late_is_told_and_recorded() {
    in_world("late", async |world| {
        world.create::<Queue>("shut", json!({ "paused": { "reason": "backup" } })).await;
        world.create::<JobTemplate>("quick", with(template("true"), json!({ "queue": "shut" }))).await;
        let at = rota::runtime::clock::now() + jiff::SignedDuration::from_secs(2);
        let timing = json!({ "at": at.to_string(), "startWithinSeconds": 1 });
        world.create::<Schedule>("once", with(of("quick"), timing)).await;
        let late = world.until_object::<Schedule>("once", "late", |it| holds(it, "Late")).await;
        assert_eq!(late.status.as_ref().unwrap().late_count, 1);
        // Pods tell their times in whole seconds: only a second later does the record surely say the same.
        let passed = at + jiff::SignedDuration::from_secs(3);
        world.until("a second passes", async || (rota::runtime::clock::now() > passed).then_some(())).await;
        world.patch::<Queue>("shut", json!({ "spec": { "paused": null } })).await;
        let run = recorded(world, Reason::Succeeded).await.status.unwrap();
        assert!(run.late && run.start_delay_ms.is_some_and(|delay| delay > 1_000), "{run:#?}");
        let over = |it: &Schedule| !holds(it, "Late") && holds(it, "LastRunSucceeded");
        let over = world.until_object::<Schedule>("once", "not late any more", over).await;
        assert_eq!(over.status.unwrap().late_count, 1, "counted once");
    })
    .await;
}

/// Failures in a row hold the schedule in its status, and nothing in its specification; a new annotation lets it go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_fails_again_and_again_is_held_until_somebody_acts() {
    in_world("held", async |world| {
        world.create::<JobTemplate>("broken", template("exit 4")).await;
        let timing = json!({ "interval": "2s", "pauseAfterFailures": 2, "concurrencyPolicy": "Forbid" });
        world.create::<Schedule>("held", with(of("broken"), timing)).await;
        let is_held = |it: &Schedule| it.status.as_ref().is_some_and(|status| status.paused.is_some());
        let held = world.until_object::<Schedule>("held", "held", is_held).await;
        assert!(holds(&held, "Paused") && holds(&held, "Ready"), "{:#?}", held.status);
        assert_eq!((held.spec.enabled, held.metadata.generation), (None, Some(1)), "the specification is the user's");
        let since = held.status.as_ref().unwrap().paused.as_ref().unwrap().since.0;
        let passed = since + jiff::SignedDuration::from_secs(3);
        world.until("a time passes", async || (rota::runtime::clock::now() > passed).then_some(())).await;
        world.patch::<Schedule>("held", json!({ "metadata": { "annotations": { "rota.dev/resume": "1" } } })).await;
        world.until_object::<Schedule>("held", "going on", |it| !is_held(it)).await;
        let again = world.until_object::<Schedule>("held", "held again", is_held).await;
        assert_eq!(again.status.unwrap().paused.unwrap().resume.as_deref(), Some("1"));
        assert!(world.all::<Job>().await.iter().all(|job| job.name_any().starts_with("held-")));
        recorded(world, Reason::SchedulePaused).await;
    })
    .await;
}

/// The times of a held schedule are recorded once an hour, so most of them are still owed when it is deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_held_schedule_owes_is_recorded_when_it_is_deleted() {
    in_world("deleted", async |world| {
        let every = jiff::SignedDuration::from_secs(2);
        world.create::<JobTemplate>("broken", template("exit 4")).await;
        let timing = json!({ "interval": "2s", "pauseAfterFailures": 1, "concurrencyPolicy": "Forbid" });
        world.create::<Schedule>("held", with(of("broken"), timing)).await;
        let is_held = |it: &Schedule| it.status.as_ref().is_some_and(|status| status.paused.is_some());
        let held = world.until_object::<Schedule>("held", "held", is_held).await;
        let since = held.status.as_ref().unwrap().paused.as_ref().unwrap().since.0;
        world.until("a few times pass", async || (rota::runtime::clock::now() > since + 3 * every).then_some(())).await;
        let held = world.api::<Schedule>().get("held").await.unwrap();
        let accounted = held.status.unwrap().accounted_until.unwrap().0;
        assert!(accounted <= since, "they are not recorded yet");
        world.delete::<Schedule>("held").await;
        let deleted = rota::runtime::clock::now();
        let run = recorded(world, Reason::SchedulePaused).await;
        let status = run.status.unwrap();
        let (first, last) = (run.spec.scheduled_time.unwrap().0, status.last_scheduled_time.unwrap().0);
        assert_eq!(first, accounted + every, "from where its account ended");
        assert!(last + every > deleted - every && last <= deleted + every, "{last}, deleted at {deleted}");
        let times = (last.as_second() - first.as_second()) / 2 + 1;
        assert_eq!(status.count, Some(times.unsigned_abs()));
    })
    .await;
}
