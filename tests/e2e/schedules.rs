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

/// Of the times that come while a run goes on only the latest one runs, after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_times_that_wait_only_the_latest_one_runs() {
    in_world("overlap-latest", async |world| {
        let history = History::<BatchJob>::start(world, unfinished_by(SCHEDULE));
        world.create::<JobTemplate>("slow", template("sleep 7")).await;
        let timing = json!({ "interval": "2s", "concurrencyPolicy": "QueueLatest" });
        world.create::<Schedule>("line", with(of("slow"), timing)).await;
        let two_ran = async || {
            let runs = world.all::<JobRun>().await;
            let ran = runs.iter().filter(|run| run.status.as_ref().is_some_and(|it| it.started_at.is_some())).count();
            (ran >= 2).then_some(runs)
        };
        let mut runs = world.until("two of them ran", two_ran).await;
        runs.sort_by_key(|run| run.spec.scheduled_time.as_ref().map(|time| time.0));
        for run in &runs {
            let status = run.status.as_ref().unwrap();
            match status.started_at {
                Some(_) => assert_eq!(status.reason, Reason::Succeeded, "what runs is not ended: {run:#?}"),
                None => assert_eq!((status.phase, status.reason), (Outcome::Skipped, Reason::Replaced), "{run:#?}"),
            }
        }
        let waited = runs.iter().filter(|run| run.status.as_ref().is_some_and(|it| it.reason == Reason::Replaced));
        assert!(waited.count() >= 1, "{runs:#?}");
        assert_eq!(history.most("line"), 1, "two ran at once");
    })
    .await;
}

/// What has not started by its start deadline is skipped, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_has_not_started_by_its_start_deadline_is_skipped() {
    in_world("start-deadline", async |world| {
        world.create::<JobTemplate>("endless", template(FOR_EVER)).await;
        let timing = json!({ "interval": "4s", "concurrencyPolicy": "Queue", "startDeadlineSeconds": 3 });
        world.create::<Schedule>("line", with(of("endless"), timing)).await;
        let run = recorded(world, Reason::StartDeadlineExceeded).await;
        let status = run.status.unwrap();
        assert_eq!((status.phase, status.started_at), (Outcome::Skipped, None));
        let deadline = run.spec.scheduled_time.unwrap().0 + jiff::SignedDuration::from_secs(3);
        assert!(status.error.unwrap().contains(&format!("had not started by {deadline}")));
    })
    .await;
}

/// The last failed Job stays with its pods, and of the others as many as the limits say; those that are kept no longer go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_latest_finished_jobs_stay_with_their_pods() {
    in_world("history-limits", async |world| {
        world.create::<JobTemplate>("broken", template("exit 4")).await;
        let timing = json!({ "interval": "2s", "concurrencyPolicy": "Forbid" });
        world.create::<Schedule>("kept", with(of("broken"), timing)).await;
        let kept = |it: &Schedule| it.status.iter().flat_map(|it| &it.kept_jobs).map(|job| job.name.clone()).collect();
        let has_one = |it: &Schedule| {
            let names: Vec<String> = kept(it);
            names.len() == 1
        };
        let first: Vec<String> = kept(&world.until_object::<Schedule>("kept", "keeps one", has_one).await);
        let other = |it: &Schedule| {
            let names: Vec<String> = kept(it);
            names.len() == 1 && names != first
        };
        let schedule = world.until_object::<Schedule>("kept", "keeps a later one", other).await;
        world.patch::<Schedule>("kept", json!({ "spec": { "enabled": false } })).await;
        let names: Vec<String> = kept(&schedule);
        let uid = world.ended(&names[0]).await.uid().unwrap();
        assert_eq!(world.pods_of(&uid).await.len(), 1);
        let limits = json!({ "spec": { "historyLimits": { "failed": 0 } } });
        world.patch::<Schedule>("kept", limits).await;
        let has_none = |it: &Schedule| {
            let names: Vec<String> = kept(it);
            names.is_empty()
        };
        world.until_object::<Schedule>("kept", "keeps none", has_none).await;
    })
    .await;
}

/// A run by hand takes parameters, priority and queue from its schedule, also when both are created at once, and keeps them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_by_hand_runs_as_its_schedule_says() {
    in_world("by-hand", async |world| {
        let params = json!([{ "name": "region", "default": "us" }, { "name": "day", "default": "monday" }]);
        world.create::<Queue>("fast", json!({})).await;
        world.create::<JobTemplate>("report", with(template("true"), json!({ "params": params }))).await;
        world
            .until_object::<JobTemplate>("report", "ready", |it| {
                it.status.as_ref().is_some_and(|it| it.current_revision.is_some())
            })
            .await;
        let own = json!({ "scheduleRef": { "name": "daily" }, "params": { "day": "friday" }, "hold": true });
        world.create::<Job>("mine", with(of("report"), own)).await;
        let says = json!({ "interval": "1000h", "params": { "region": "eu" }, "priority": 7, "queue": "fast" });
        let plain = json!({ "scheduleRef": { "name": "weekly" } });
        world.create::<Schedule>("weekly", with(of("report"), says.clone())).await;
        world.create::<Job>("plain", with(of("report"), plain)).await;
        for name in ["plain"] {
            let status = world.ended(name).await.status.unwrap();
            let params: Vec<(String, String)> = status.params.into_iter().collect();
            let expected = [("day", "monday"), ("region", "eu")].map(|(name, value)| (name.into(), value.into()));
            assert_eq!(
                (params.as_slice(), status.priority, status.queue.as_deref()),
                (&expected[..], Some(7), Some("fast"))
            );
            let run = world.only_run(name).await;
            assert_eq!(
                (run.spec.params["region"].as_str(), run.spec.priority, run.spec.queue.as_str()),
                ("eu", 7, "fast")
            );
            let uid = run.spec.job_ref.unwrap().uid;
            let batch = world.batch_jobs_of(&uid).await.remove(0);
            let env = &batch.spec.unwrap().template.spec.unwrap().containers[0].env.clone().unwrap();
            assert!(env.iter().any(|it| it.name == "PARAM_REGION" && it.value.as_deref() == Some("eu")), "{env:?}");
        }
        // One that names a schedule that is not there takes nothing; it is queued as its template says.
        let held = world
            .until_object::<Job>("mine", "is queued", |it| it.status.as_ref().is_some_and(|it| it.queue.is_some()))
            .await;
        assert_eq!(held.status.unwrap().params["region"], "us");
    })
    .await;
}

/// As many Jobs of a namespace run as a queue of it says for all, in whichever queues they wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_runs_as_many_jobs_as_it_may() {
    in_world("namespace-limit", async |world| {
        world.create::<Queue>("one", json!({ "namespaceMaxRunning": 1 })).await;
        world.create::<Queue>("two", json!({ "namespaceMaxRunning": 5 })).await;
        let in_queue = |queue: &str| with(crate::support::make::ad_hoc(FOR_EVER), json!({ "queue": queue }));
        world.create::<Job>("first", in_queue("one")).await;
        world.running("first").await;
        world.create::<Job>("second", in_queue("two")).await;
        let (waiting_for, message) = world.waiting("second").await;
        assert_eq!((waiting_for, message.as_str()), (WaitingFor::NamespaceLimit, "the namespace: 1 of 1 running"));
        world.patch::<Queue>("one", json!({ "spec": { "namespaceMaxRunning": null } })).await;
        world.running("second").await;
    })
    .await;
}
