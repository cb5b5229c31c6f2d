//! A cancel or a delete ends a Job at any moment of its life, and leaves a record.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use rota::api::job_group::GroupPhase;
use rota::api::labels::JOB_UID;
use rota::api::{Job, JobGroup, JobPhase, JobRun, JobTemplate, Outcome, Queue, Reason};
use serde_json::json;

use crate::crash::Dice;
use crate::support::history::History;
use crate::support::make::{FOR_EVER, ad_hoc, template, trapping, with};
use crate::support::{World, in_world};

async fn cancel(world: &World, name: &str, force: bool) {
    world.patch::<Job>(name, json!({ "spec": { "cancel": { "reason": "wrong month", "force": force } } })).await;
}

async fn check(world: &World, name: &str, outcome: Outcome) -> JobRun {
    let run = world.only_run(name).await;
    let status = run.status.as_ref().unwrap();
    assert_eq!((status.phase, status.reason), (outcome, Reason::Cancelled), "{status:#?}");
    assert!(status.error.as_deref().unwrap_or_default().contains("wrong month"), "{status:#?}");
    let job = world.ended(name).await.status.unwrap();
    assert_eq!((job.phase, job.outcome), (Some(JobPhase::Cancelled), Some(outcome)));
    assert!(job.conditions.iter().any(|it| it.type_ == "Cancelled" && it.status == "True"), "{:#?}", job.conditions);
    run
}

/// A Job that waits never runs once it is cancelled, whatever it waits for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_that_waits_is_recorded_as_skipped_and_never_launched() {
    in_world("cancel-wait", async |world| {
        world.create::<Queue>("full", json!({ "maxRunning": 0 })).await;
        world.create::<Job>("held", with(ad_hoc("true"), json!({ "hold": true }))).await;
        world.create::<Job>("queued", with(ad_hoc("true"), json!({ "queue": "full" }))).await;
        for name in ["held", "queued"] {
            world.waiting(name).await;
            cancel(world, name, false).await;
            let run = check(world, name, Outcome::Skipped).await;
            assert_eq!(run.status.unwrap().started_at, None);
            let uid = run.spec.job_ref.unwrap().uid;
            assert_eq!(world.batch_jobs_of(&uid).await.len(), 0);
        }
    })
    .await;
}

/// A cancelled Job that runs may finish what it must, and the record has what it said at its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_that_runs_gets_its_grace_period_and_its_exit_code_is_recorded() {
    in_world("cancel-run", async |world| {
        let mut spec = ad_hoc(&trapping("sleep 1; echo rolled back; exit 7"));
        spec["jobTemplate"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(30);
        world.create::<Job>("graceful", spec).await;
        world.ready("graceful").await;
        cancel(world, "graceful", false).await;
        let run = check(world, "graceful", Outcome::Failed).await;
        assert_eq!(run.status.as_ref().unwrap().exit_code, Some(7), "{run:#?}");
    })
    .await;
}

/// A forced cancel does not wait for a process that ignores SIGTERM.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_cancel_kills_what_does_not_listen() {
    in_world("cancel-force", async |world| {
        let mut spec = ad_hoc("trap '' TERM; sleep 600");
        spec["jobTemplate"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(300);
        world.create::<Job>("stubborn", spec).await;
        world.running("stubborn").await;
        cancel(world, "stubborn", true).await;
        let run = check(world, "stubborn", Outcome::Failed).await;
        let ran = run.status.unwrap().duration_ms.unwrap();
        assert!(ran < 300_000, "it was given its grace period of 300 s: {ran} ms");
    })
    .await;
}

/// kubectl delete of a Job is a cancel too: the pod ends, the record stays, and the Job goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_job_ends_and_leaves_a_record_whether_it_ran_or_waited() {
    in_world("delete", async |world| {
        let running = world.create::<Job>("running", ad_hoc(FOR_EVER)).await;
        let held = world.create::<Job>("held", with(ad_hoc("true"), json!({ "hold": true }))).await;
        world.running("running").await;
        world.waiting("held").await;
        for (job, outcome) in [(running, Outcome::Failed), (held, Outcome::Skipped)] {
            let name = job.name_any();
            world.delete::<Job>(&name).await;
            let gone = async || world.api::<Job>().get_opt(&name).await.unwrap().is_none().then_some(());
            world.until(&format!("Job {name} is gone"), gone).await;
            let runs = world.runs_of(&job.uid().unwrap()).await;
            let ends: Vec<_> =
                runs.iter().filter_map(|run| run.status.as_ref()).map(|it| (it.phase, it.reason)).collect();
            assert_eq!(ends, [(outcome, Reason::JobDeleted)], "{runs:#?}");
        }
    })
    .await;
}

/// A cancelled group ends as a whole: what ran failed, what waited is skipped, and nothing starts after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_group_ends_all_its_members_with_a_record_each() {
    in_world("cancel-group", async |world| {
        world.create::<JobTemplate>("endless", template(FOR_EVER)).await;
        let member = |name: &str| json!({ "name": name, "templateRef": { "name": "endless" } });
        let members = [member("a"), member("b"), member("c")];
        world.create::<JobGroup>("group", json!({ "mode": "Parallel", "maxRunning": 1, "jobs": members })).await;
        let one_runs = async || {
            let jobs = world.all::<Job>().await;
            let phases: Vec<_> = jobs.iter().filter_map(|job| job.status.as_ref()?.phase).collect();
            (phases.len() == 3 && phases.contains(&JobPhase::Running)).then_some(())
        };
        world.until("one member runs and two wait", one_runs).await;
        world.patch::<JobGroup>("group", json!({ "spec": { "cancel": { "reason": "wrong month" } } })).await;
        let ended = |group: &JobGroup| {
            let status = group.status.as_ref();
            status.is_some_and(|it| {
                it.phase == Some(GroupPhase::Cancelled) && it.members.iter().all(|it| it.outcome.is_some())
            })
        };
        let group = world.until_object("group", "is cancelled with all its members", ended).await;
        let counts = group.status.unwrap().counts.unwrap();
        assert_eq!((counts.total, counts.failed, counts.skipped), (3, 1, 2), "{counts:?}");
        for job in world.all::<Job>().await {
            let outcome = job.status.as_ref().and_then(|it| it.outcome);
            check(world, &job.name_any(), outcome.unwrap_or(Outcome::Completed)).await;
        }
    })
    .await;
}

/// How many Jobs are cancelled at random moments.
const RACES: usize = 16;
/// How many milliseconds after it was created a Job is cancelled: before, during and after its launch.
const AFTER_CREATION_MS: std::ops::Range<u64> = 0..4_000;
/// The same after its start, for a Job of up to two seconds: before, during and after its end, which Kubernetes tells a few
/// seconds late.
const AFTER_START_MS: std::ops::Range<u64> = 0..8_000;

/// Whenever a cancel comes, it wins or loses, and the Job has one outcome, on which the status, the record, the batch Job
/// and the pod agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_at_any_moment_leaves_exactly_one_outcome() {
    let mut dice = Dice::new();
    in_world("cancel-race", async |world| {
        let batch_jobs = History::<BatchJob>::start(world, |_| None);
        let pods = History::<Pod>::start(world, |_| None);
        let range = |number: usize| if number.is_multiple_of(2) { AFTER_CREATION_MS } else { AFTER_START_MS };
        let moments: Vec<u64> = (0..RACES).map(|number| dice.roll(range(number))).collect();
        join_all(moments.iter().enumerate().map(|(number, after_ms)| cancel_later(world, number, *after_ms))).await;
        let mut outcomes = Vec::new();
        for number in 0..RACES {
            let run = world.only_run(&format!("race-{number}")).await;
            let uid = run.spec.job_ref.clone().unwrap().uid;
            let launched = batch_jobs.ever().into_iter().filter(|it| it.labels()[JOB_UID] == uid).count();
            let started = pods.ever().iter().any(|pod| pod.labels()[JOB_UID] == uid && has_started(pod));
            outcomes.push(one_outcome(&run, launched, started));
            let job = world.ended(&format!("race-{number}")).await.status.unwrap();
            let status = run.status.unwrap();
            assert_eq!((job.outcome, job.reason), (Some(status.phase), Some(status.reason)));
            assert!(job.attempts == 1 && job.run_refs.len() == 1, "{job:#?}");
        }
        println!("cancelled after {moments:?} ms: {outcomes:?}");
    })
    .await;
}

async fn cancel_later(world: &World, number: usize, after_ms: u64) {
    let name = format!("race-{number}");
    let script = format!("trap 'exit 143' TERM; sleep {} & wait $!", number % 3);
    world.create::<Job>(&name, ad_hoc(&script)).await;
    if !number.is_multiple_of(2) {
        let started = |job: &Job| job.status.as_ref().is_some_and(|status| status.started_at.is_some());
        world.until_object(&name, "has started", started).await;
    }
    tokio::time::sleep(Duration::from_millis(after_ms)).await;
    cancel(world, &name, number.is_multiple_of(4)).await;
}

fn has_started(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let mut states = statuses.filter_map(|it| it.state.as_ref());
    states.any(|it| it.running.is_some() || it.terminated.as_ref().is_some_and(|end| end.container_id.is_some()))
}

/// What a record says, having checked that it is true.
fn one_outcome(run: &JobRun, launched: usize, started: bool) -> (Outcome, Reason) {
    let status = run.status.as_ref().unwrap();
    assert!(launched <= 1, "{launched} batch Jobs: {run:#?}");
    match (status.phase, status.reason) {
        (Outcome::Completed, Reason::Succeeded) => assert_eq!(status.exit_code, Some(0), "{run:#?}"),
        (Outcome::Failed, Reason::Cancelled) => assert!(launched == 1 && status.started_at.is_some(), "{run:#?}"),
        (Outcome::Skipped, Reason::Cancelled) => assert!(!started, "it did run: {run:#?}"),
        _ => panic!("neither completed nor cancelled: {run:#?}"),
    }
    (status.phase, status.reason)
}
