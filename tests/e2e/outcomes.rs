//! Outcomes without a pod, or with one that was lost: each leaves a record with its reason, in words.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::ResourceExt;
use kube::api::DeleteParams;
use rota::api::job::WaitingFor;
use rota::api::{Job, JobRun, JobRunStatus, JobTemplate, Outcome, Queue, Reason, Schedule};
use serde_json::json;

use crate::support::make::{FOR_EVER, ad_hoc, of, template, trapping, with};
use crate::support::{World, in_world};

fn check(run: &JobRun, outcome: Outcome, reason: Reason, says: &str) -> JobRunStatus {
    let status = run.status.clone().unwrap();
    assert_eq!((status.phase, status.reason), (outcome, reason), "{status:#?}");
    let error = status.error.as_deref().unwrap_or_default();
    assert!(error.contains(says), "the record does not say {says:?}: {error:?}");
    status
}

fn never_ran(status: &JobRunStatus) {
    let none = (None, None, None, None);
    assert_eq!(
        (&status.started_at, &status.duration_ms, &status.exit_code, &status.log_path),
        (&none.0, &none.1, &none.2, &none.3)
    );
}

/// What the API server will never accept is recorded at once, with the field to correct.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_refused_for_good_is_recorded_with_the_field() {
    in_world("refused", async |world| {
        let mut spec = ad_hoc("true");
        spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["name"] = json!("Not_A_Name");
        let job = world.create::<Job>("refused", spec).await;
        let run = world.only_run("refused").await;
        let status = check(&run, Outcome::Failed, Reason::LaunchRefused, "spec.template.spec.containers[0].name");
        never_ran(&status);
        assert_eq!(world.batch_jobs_of(&job.uid().unwrap()).await.len(), 0);
    })
    .await;
}

/// A quota is not an error of the Job: it waits, says for what, and runs as soon as it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exhausted_quota_makes_a_job_wait_for_admission_until_there_is_room() {
    in_world("quota", async |world| {
        quota(world, BATCH_JOBS, 0).await;
        world.create::<Job>("waits", ad_hoc("true")).await;
        let (waiting_for, sentence) = world.waiting("waits").await;
        assert_eq!(waiting_for, WaitingFor::Admission);
        assert!(sentence.contains("exceeded quota"), "{sentence}");
        quota(world, BATCH_JOBS, 5).await;
        check(&world.only_run("waits").await, Outcome::Completed, Reason::Succeeded, "");
    })
    .await;
}

/// A Job may not wait for ever for a quota that nobody raises.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_that_stays_exhausted_past_the_pending_timeout_is_recorded() {
    in_world("quota-end", async |world| {
        quota(world, BATCH_JOBS, 0).await;
        world.create::<Job>("gives-up", with(ad_hoc("true"), json!({ "pendingTimeoutSeconds": 4 }))).await;
        let run = world.only_run("gives-up").await;
        never_ran(&check(&run, Outcome::Failed, Reason::LaunchRefused, "exceeded quota"));
    })
    .await;
}

/// Also when what waits for it has a deadline, which is written before the Job comes to the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_cannot_be_made_holds_up_nobody_in_another_one() {
    in_world("no-queue", async |world| {
        world.create::<Queue>("line", json!({})).await;
        quota(world, "count/queues.rota.dev", 1).await;
        world.create::<Job>("stuck", with(ad_hoc("true"), json!({ "deadlineSeconds": 3600 }))).await;
        world.until_object("stuck", "is held", |job: &Job| !job.finalizers().is_empty()).await;
        world.create::<Job>("runs", with(ad_hoc("true"), json!({ "queue": "line" }))).await;
        assert_eq!(world.ended("runs").await.status.unwrap().outcome, Some(Outcome::Completed));
        assert_eq!(world.api::<Job>().get("stuck").await.unwrap().status.and_then(|it| it.outcome), None);
        world.patch::<ResourceQuota>("quota", json!({ "spec": { "hard": { "count/queues.rota.dev": "2" } } })).await;
        assert_eq!(world.ended("stuck").await.status.unwrap().outcome, Some(Outcome::Completed));
    })
    .await;
}

const BATCH_JOBS: &str = "count/jobs.batch";

async fn quota(world: &World, resource: &str, most: u32) {
    let spec = json!({ "hard": { resource: most.to_string() } });
    if world.api::<ResourceQuota>().get_opt("quota").await.unwrap().is_some() {
        world.patch::<ResourceQuota>("quota", json!({ "spec": spec })).await;
    } else {
        world.create::<ResourceQuota>("quota", spec).await;
    }
    let in_force = |quota: &ResourceQuota| {
        let hard = quota.status.as_ref().and_then(|status| status.hard.as_ref());
        hard.and_then(|hard| hard.get(resource)).is_some_and(|it| it.0 == most.to_string())
    };
    world.until_object("quota", "is in force", in_force).await;
}

/// An image with a typing error must not keep its place in the queue for ever, and the record names it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_cannot_be_pulled_ends_at_the_pending_timeout_and_is_named() {
    in_world("image", async |world| {
        let mut spec = with(ad_hoc("true"), json!({ "pendingTimeoutSeconds": 8 }));
        spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"] =
            json!("docker.io/library/busibox:1.36");
        world.create::<Job>("no-image", spec).await;
        let run = world.only_run("no-image").await;
        let status = check(&run, Outcome::Failed, Reason::PendingTimeout, "docker.io/library/busibox:1.36");
        assert_eq!((status.started_at, status.duration_ms), (None, None));
        assert!(status.error.unwrap().contains("within 8 s"));
    })
    .await;
}

/// A pod that vanishes with its node, here deleted without grace, is a failure with a reason and not a mystery.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_lost_while_it_runs_is_recorded_as_lost() {
    in_world("pod-lost", async |world| {
        let job = world.create::<Job>("loses-pod", ad_hoc("sleep 600")).await;
        world.running("loses-pod").await;
        let pod = world.pods_of(&job.uid().unwrap()).await.remove(0).name_any();
        world.api::<Pod>().delete(&pod, &DeleteParams::default().grace_period(0)).await.unwrap();
        let status = check(&world.only_run("loses-pod").await, Outcome::Failed, Reason::PodLost, "pod");
        assert!(status.started_at.is_some(), "it did run: {status:#?}");
    })
    .await;
}

/// Somebody who deletes the batch Job by hand gets a record that says so, and no second run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_job_deleted_by_hand_is_recorded_and_not_launched_again() {
    in_world("deleted", async |world| {
        let job = world.create::<Job>("loses-batch-job", ad_hoc(FOR_EVER)).await;
        world.running("loses-batch-job").await;
        let uid = job.uid().unwrap();
        let batch = world.batch_jobs_of(&uid).await.remove(0).name_any();
        world.delete::<BatchJob>(&batch).await;
        let run = world.only_run("loses-batch-job").await;
        check(&run, Outcome::Failed, Reason::BatchJobDeleted, "deleted the batch Job");
        let none = async || world.pods_of(&uid).await.is_empty().then_some(());
        world.until("its pod is gone", none).await;
        assert_eq!(world.batch_jobs_of(&uid).await.len(), 0);
    })
    .await;
}

/// Forbid means that an overlap is skipped, and that the skip is on record for its nominal time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overlap_under_forbid_is_recorded_as_skipped() {
    in_world("forbid", async |world| {
        world.create::<JobTemplate>("slow", template("sleep 5")).await;
        let timing = json!({ "interval": "2s", "concurrencyPolicy": "Forbid" });
        let schedule = world.create::<Schedule>("forbid", with(of("slow"), timing)).await;
        let run = skipped(world).await;
        never_ran(&check(&run, Outcome::Skipped, Reason::OverlapForbidden, "concurrencyPolicy is Forbid"));
        assert_eq!(run.spec.schedule_ref.as_ref().unwrap().uid, schedule.uid().unwrap());
        assert!(run.spec.scheduled_time.is_some() && run.spec.job_ref.is_none() && run.spec.attempt == 0);
    })
    .await;
}

/// The first record that says Skipped.
async fn skipped(world: &World) -> JobRun {
    let look = async || {
        let runs = world.all::<JobRun>().await;
        runs.into_iter().find(|run| run.status.as_ref().is_some_and(|it| it.phase == Outcome::Skipped))
    };
    world.until("something is recorded as skipped", look).await
}

/// The second of two equal requests does not run, and its record names the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_of_an_unfinished_job_is_recorded_as_skipped() {
    in_world("duplicate", async |world| {
        let keyed = |script: &str| with(ad_hoc(script), json!({ "dedupKey": "order-17" }));
        world.create::<Job>("first", keyed(FOR_EVER)).await;
        world.running("first").await;
        world.create::<Job>("second", keyed("true")).await;
        let run = world.only_run("second").await;
        never_ran(&check(&run, Outcome::Skipped, Reason::DuplicateKey, "\"first\""));
        world.patch::<Job>("first", json!({ "spec": { "cancel": {} } })).await;
        world.ended("first").await;
        world.create::<Job>("third", keyed("true")).await;
        check(&world.only_run("third").await, Outcome::Completed, Reason::Succeeded, "");
    })
    .await;
}

/// A retired template makes no new Jobs, and whoever asks for one gets an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archived_template_runs_nothing_and_says_so() {
    in_world("archived", async |world| {
        world.create::<JobTemplate>("old", with(template("true"), json!({ "archived": true }))).await;
        world.create::<Job>("asks", of("old")).await;
        never_ran(&check(&world.only_run("asks").await, Outcome::Skipped, Reason::TemplateArchived, "archived"));
        world.create::<Schedule>("asks", with(of("old"), json!({ "interval": "1s" }))).await;
        let by_schedule = async || {
            let runs = world.all::<JobRun>().await;
            runs.into_iter().find(|run| run.spec.schedule_ref.is_some())
        };
        let run = world.until("the schedule's time is recorded", by_schedule).await;
        never_ran(&check(&run, Outcome::Skipped, Reason::TemplateArchived, "archived"));
    })
    .await;
}

/// What runs too long is stopped, with the chance to clean up, and recorded as late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_past_its_timeout_is_stopped_and_recorded_with_its_exit_code() {
    in_world("deadline", async |world| {
        let polite = trapping("echo stopping; exit 9");
        let spec = with(ad_hoc(&polite), json!({ "timeoutSeconds": 15 }));
        world.create::<Job>("late", spec).await;
        let status = check(&world.only_run("late").await, Outcome::Failed, Reason::DeadlineExceeded, "15 s");
        assert_eq!(status.exit_code, Some(9), "{status:#?}");
        let ran = Duration::from_millis(status.duration_ms.unwrap().unsigned_abs());
        assert!(ran < Duration::from_secs(300), "{status:#?}");
    })
    .await;
}
