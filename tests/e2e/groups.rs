//! Groups and retries on real pods.

use kube::ResourceExt;
use rota::api::job_group::GroupPhase;
use rota::api::{Job, JobGroup, JobTemplate, Outcome, Reason};
use serde_json::{Value, json};

use crate::support::make::{ad_hoc, template, with};
use crate::support::{World, in_world};

fn member(name: &str, code: &str) -> Value {
    json!({ "name": name, "templateRef": { "name": "step" }, "params": { "code": code } })
}

async fn step(world: &World) {
    let params = json!([{ "name": "code", "type": "integer", "default": "0" }]);
    world.create::<JobTemplate>("step", with(template("sleep 1; exit $PARAM_CODE"), json!({ "params": params }))).await;
}

async fn ended(world: &World, name: &str) -> rota::api::JobGroupStatus {
    let has_ended = |group: &JobGroup| group.status.as_ref().and_then(|it| it.phase).is_some_and(GroupPhase::is_ended);
    world.until_object(name, "has ended", has_ended).await.status.unwrap()
}

/// Members of a sequential group never overlap, in the order of the list, and a failure stops nothing by default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequential_group_runs_in_order_and_goes_on_after_a_failure() {
    in_world("sequential", async |world| {
        step(world).await;
        let jobs = [member("one", "0"), member("two", "1"), member("three", "0")];
        world.create::<JobGroup>("chain", json!({ "mode": "Sequential", "jobs": jobs })).await;
        let status = ended(world, "chain").await;
        assert_eq!(status.phase, Some(GroupPhase::Partial));
        let mut spans = Vec::new();
        for member in &status.members {
            let run = world.api::<rota::api::JobRun>().get(&member.run_ref.as_ref().unwrap().name).await.unwrap();
            let run = run.status.unwrap();
            spans.push((run.started_at.unwrap(), run.finished_at.unwrap()));
        }
        assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{spans:?}");
        assert_eq!(status.started_at.unwrap(), spans[0].0);
        assert_eq!(status.finished_at.unwrap(), spans[2].1);
    })
    .await;
}

/// Stop: members that had not started are recorded as skipped, with the reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_stops_at_a_failure_records_the_rest_as_skipped() {
    in_world("stop", async |world| {
        step(world).await;
        let jobs = [member("one", "4"), member("two", "0"), member("three", "0")];
        let spec = json!({ "mode": "Sequential", "failurePolicy": "Stop", "jobs": jobs });
        world.create::<JobGroup>("stops", spec).await;
        let status = ended(world, "stops").await;
        assert_eq!(status.phase, Some(GroupPhase::Partial));
        let outcomes: Vec<_> = status.members.iter().map(|it| (it.outcome.unwrap(), it.reason.unwrap())).collect();
        let skipped = (Outcome::Skipped, Reason::GroupStopped);
        assert_eq!(outcomes, [(Outcome::Failed, Reason::ExitCode), skipped, skipped]);
    })
    .await;
}

/// A group that is not started makes nothing; started, it runs all members at once and completes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parallel_group_waits_to_be_started_and_completes() {
    in_world("parallel", async |world| {
        step(world).await;
        let spec = json!({ "mode": "Parallel", "started": false, "jobs": [member("a", "0"), member("b", "0")] });
        world.create::<JobGroup>("later", spec).await;
        let created = |group: &JobGroup| group.status.as_ref().and_then(|it| it.phase) == Some(GroupPhase::Created);
        world.until_object("later", "is created", created).await;
        assert!(world.all::<Job>().await.is_empty());
        world.patch::<JobGroup>("later", json!({ "spec": { "started": true } })).await;
        let status = ended(world, "later").await;
        assert_eq!((status.phase, status.counts.unwrap().completed), (Some(GroupPhase::Completed), 2));
    })
    .await;
}

/// Each attempt is a batch Job and a JobRun of its own, and the Job ends as its last attempt did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retried_job_leaves_a_record_and_a_batch_job_for_each_attempt() {
    in_world("retry", async |world| {
        let retry = json!({ "retry": { "maxAttempts": 3, "backoffSeconds": 1 } });
        let job = world.create::<Job>("flaky", with(ad_hoc("test $ROTA_ATTEMPT -ge 2"), retry)).await;
        let ended = world.ended("flaky").await.status.unwrap();
        assert_eq!((ended.outcome, ended.attempts), (Some(Outcome::Completed), 2));
        let uid = job.uid().unwrap();
        let runs = world.runs_of(&uid).await;
        let outcomes: Vec<_> = runs.iter().map(|run| run.status.as_ref().unwrap().phase).collect();
        assert_eq!(outcomes, [Outcome::Failed, Outcome::Completed]);
        let mut batch_jobs: Vec<String> = world.batch_jobs_of(&uid).await.iter().map(ResourceExt::name_any).collect();
        batch_jobs.sort();
        assert_eq!(batch_jobs, runs.iter().map(ResourceExt::name_any).collect::<Vec<_>>());
    })
    .await;
}
