//! How often, how long and when a Job is tried, and what came before it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::ResourceExt;
use rota::api::job::WaitingFor;
use rota::api::{Job, JobPhase, JobRun, Outcome, Reason};
use rota::runtime::clock::now;
use serde_json::{Value, json};

use crate::support::history::History;
use crate::support::make::{FOR_EVER, ad_hoc, with};
use crate::support::{World, in_world};

fn end(run: &JobRun) -> (Outcome, Reason, Option<i32>) {
    let status = run.status.as_ref().unwrap();
    (status.phase, status.reason, status.exit_code)
}

async fn ends(world: &World, name: &str) -> Vec<(Outcome, Reason, Option<i32>)> {
    let job = world.ended(name).await;
    world.runs_of(&job.uid().unwrap()).await.iter().map(end).collect()
}

async fn gone(world: &World, name: &str) {
    let gone = async || world.api::<Job>().get_opt(name).await.unwrap().is_none().then_some(());
    world.until(&format!("Job {name} is cleaned up"), gone).await;
}

/// The first rule that fits decides: no further attempt, none and no failure either, or the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_decide_by_exit_code_and_reason_what_becomes_of_a_failure() {
    in_world("rules", async |world| {
        let retry = json!({ "retry": { "maxAttempts": 2, "backoff": { "initialSeconds": 1 }, "rules": [
            { "exitCodes": [77], "action": "Skip" },
            { "exitCodes": [2], "reasons": ["ExitCode"], "action": "Fail" },
            { "reasons": ["BatchJobDeleted"], "action": "Retry" },
        ] } });
        for (name, script) in [("idle", "exit 77"), ("fatal", "exit 2"), ("flaky", "exit 1")] {
            world.create::<Job>(name, with(ad_hoc(script), retry.clone())).await;
        }
        let first = "[ $ROTA_ATTEMPT = 2 ] && exit 0; sleep 600 & wait $!";
        let deleted = world.create::<Job>("deleted", with(ad_hoc(first), retry)).await;
        world.running("deleted").await;
        let batch = world.batch_jobs_of(&deleted.uid().unwrap()).await.remove(0).name_any();
        world.delete::<BatchJob>(&batch).await;
        assert_eq!(ends(world, "idle").await, [(Outcome::Skipped, Reason::SkippedByRule, Some(77))]);
        assert_eq!(ends(world, "fatal").await, [(Outcome::Failed, Reason::ExitCode, Some(2))]);
        assert_eq!(ends(world, "flaky").await, [(Outcome::Failed, Reason::ExitCode, Some(1)); 2]);
        let ends = ends(world, "deleted").await;
        assert_eq!((ends.len(), ends[0].1, ends[1].1), (2, Reason::BatchJobDeleted, Reason::Succeeded), "{ends:?}");
        let idle = world.only_run("idle").await.status.unwrap();
        assert!(idle.started_at.is_some() && idle.duration_ms.is_some() && idle.worker_id.is_some(), "{idle:#?}");
        let job = world.ended("idle").await.status.unwrap();
        assert_eq!((job.phase, job.outcome), (Some(JobPhase::Finished), Some(Outcome::Skipped)));
    })
    .await;
}

/// The delay counts from the end of the failed attempt, and a restart neither shortens nor repeats it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_dies_during_a_delay_keeps_it() {
    in_world("delay", async |world| {
        let seconds = 12;
        let backoff = json!({ "initialSeconds": seconds, "jitterPercent": 50 });
        let retry = json!({ "retry": { "maxAttempts": 2, "backoff": backoff } });
        let job = world.create::<Job>("waits", with(ad_hoc("exit 1"), retry)).await;
        let waits = |job: &Job| job.status.as_ref().is_some_and(|it| it.waiting_for == Some(WaitingFor::Retry));
        let said = world.until_object("waits", "waits for its second attempt", waits).await;
        let retry_at = said.status.unwrap().retry_at.unwrap().0;
        world.operator().kill();
        world.operator().restart();
        world.ended("waits").await;
        let runs = world.runs_of(&job.uid().unwrap()).await;
        let ended = runs[0].status.as_ref().unwrap().finished_at.as_ref().unwrap().0;
        let delay = retry_at.duration_since(ended);
        assert!(delay >= SignedDuration::from_secs(seconds) && delay <= SignedDuration::from_secs(seconds * 3 / 2));
        // Kubernetes tells this one in whole seconds, rounded down.
        let started = runs[1].status.as_ref().unwrap().started_at.as_ref().unwrap().0;
        assert!(started >= retry_at - SignedDuration::from_secs(1), "{started} is before {retry_at}");
        assert_eq!(runs.len(), 2);
    })
    .await;
}

/// The time for all attempts ends what runs, what waits, and what waits between two attempts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_past_its_deadline_ends_wherever_it_is() {
    in_world("total", async |world| {
        let slow = json!({ "maxAttempts": 3, "backoff": { "initialSeconds": 600 } });
        world.create::<Job>("held", with(ad_hoc("true"), json!({ "hold": true, "deadlineSeconds": 3 }))).await;
        world.create::<Job>("runs", with(ad_hoc(FOR_EVER), json!({ "deadlineSeconds": 10, "retry": slow }))).await;
        world.create::<Job>("between", with(ad_hoc("exit 5"), json!({ "deadlineSeconds": 20, "retry": slow }))).await;
        assert_eq!(ends(world, "held").await, [(Outcome::Skipped, Reason::TotalDeadlineExceeded, None)]);
        assert_eq!(ends(world, "runs").await, [(Outcome::Failed, Reason::TotalDeadlineExceeded, Some(143))]);
        let both =
            [(Outcome::Failed, Reason::ExitCode, Some(5)), (Outcome::Skipped, Reason::TotalDeadlineExceeded, None)];
        assert_eq!(ends(world, "between").await, both);
        let job = world.ended("between").await;
        assert_eq!(job.status.unwrap().outcome, Some(Outcome::Failed), "it did fail");
        assert_eq!(world.batch_jobs_of(&job.metadata.uid.unwrap()).await.len(), 1);
    })
    .await;
}

/// A Job that is to wait for a time says so, runs then by itself, and may be told another time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_may_not_start_yet_starts_at_its_time() {
    in_world("not-before", async |world| {
        let tomorrow = now() + SignedDuration::from_hours(24);
        let spec = with(ad_hoc("true"), json!({ "notBefore": tomorrow.to_string() }));
        world.create::<Job>("later", spec).await;
        assert_eq!(world.waiting("later").await.0, WaitingFor::NotBefore);
        let soon = now() + SignedDuration::from_secs(4);
        world.patch::<Job>("later", json!({ "spec": { "notBefore": soon.to_string() } })).await;
        let run = world.only_run("later").await;
        let started = run.status.as_ref().unwrap().started_at.as_ref().unwrap().0;
        assert!(started >= soon - SignedDuration::from_secs(1), "{started} is before {soon}");
        let past = Timestamp::UNIX_EPOCH.to_string();
        world.create::<Job>("at-once", with(ad_hoc("true"), json!({ "notBefore": past }))).await;
        assert_eq!(end(&world.only_run("at-once").await).1, Reason::Succeeded);
    })
    .await;
}

/// However many ask for the same at once, one runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_jobs_with_one_key_that_come_at_once_exactly_one_runs() {
    in_world("dedup-race", async |world| {
        let batch_jobs = History::<BatchJob>::start(world, |_| None);
        let keyed = |key: &str| with(ad_hoc("sleep 3"), json!({ "dedupKey": key, "dedupWindowSeconds": 600 }));
        let names: Vec<String> = (0..12).map(|number| format!("job-{}", 100 - number)).collect();
        futures::future::join_all(names.iter().map(|name| world.create::<Job>(name, keyed("same")))).await;
        let mut ended = Vec::new();
        for name in &names {
            ended.push(end(&world.only_run(name).await).1);
        }
        ended.sort();
        let mut expected = vec![Reason::Succeeded];
        expected.extend([Reason::DuplicateKey; 11]);
        assert_eq!(ended, expected);
        assert_eq!(batch_jobs.ever().len(), 1);
    })
    .await;
}

/// Within its window a key counts also when the Job that had it is gone; the record names the other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_counts_within_its_window_when_the_first_job_is_gone() {
    in_world("window", async |world| {
        let keyed = |more: Value| with(with(ad_hoc("true"), json!({ "dedupKey": "order-17" })), more);
        let first = world.create::<Job>("first", keyed(json!({ "ttlSecondsAfterFinished": 0 }))).await;
        gone(world, "first").await;
        let original = world.runs_of(&first.uid().unwrap()).await.remove(0).name_any();
        world.create::<Job>("second", keyed(json!({ "dedupWindowSeconds": 3600 }))).await;
        let run = world.only_run("second").await;
        assert_eq!(end(&run), (Outcome::Skipped, Reason::DuplicateKey, None));
        let error = run.status.unwrap().error.unwrap();
        assert!(error.contains(&original), "{error}");
        world.create::<Job>("without-a-window", keyed(json!({}))).await;
        assert_eq!(end(&world.only_run("without-a-window").await).1, Reason::Succeeded);
    })
    .await;
}

/// What Git creates again after it was cleaned up does not run again, unless it was changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_comes_again_from_git_runs_once_for_each_content() {
    in_world("rerun", async |world| {
        let job = |script: &str| {
            json!({
                "metadata": { "name": "migrate", "labels": { "kustomize.toolkit.fluxcd.io/name": "apps" } },
                "spec": with(ad_hoc(script), json!({ "ttlSecondsAfterFinished": 0 })),
            })
        };
        let mut reasons = Vec::new();
        let mut first = String::new();
        for script in ["true", "true", "echo changed"] {
            let made = world.create_whole::<Job>(job(script)).await;
            gone(world, "migrate").await;
            let run = world.runs_of(&made.uid().unwrap()).await.remove(0);
            if let (Reason::AlreadySucceeded, Some(error)) = (end(&run).1, &run.status.as_ref().unwrap().error) {
                assert!(error.contains(&first), "{error}");
            }
            reasons.push(end(&run).1);
            first = if first.is_empty() { run.name_any() } else { first };
        }
        assert_eq!(reasons, [Reason::Succeeded, Reason::AlreadySucceeded, Reason::Succeeded]);
    })
    .await;
}
