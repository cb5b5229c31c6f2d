//! Groups and retries: members run as their group says, and each attempt of a Job leaves a record.

use kube::ResourceExt;
use rota::api::job_group::GroupPhase;
use rota::api::{Job, JobGroup, JobRun, JobTemplate, Outcome, Reason};
use serde_json::{Value, json};

use crate::support::make::{ad_hoc, template, with};
use crate::support::{World, in_world};

/// A template that exits with the code that its parameter says.
async fn exits(world: &World) {
    let spec = with(template("exit $PARAM_CODE"), json!({ "params": [{ "name": "code", "default": "0" }] }));
    world.create::<JobTemplate>("exits", spec).await;
}

fn member(name: &str, code: &str) -> Value {
    json!({ "name": name, "templateRef": { "name": "exits" }, "params": { "code": code } })
}

async fn ended(world: &World, name: &str) -> JobGroup {
    let has_ended = |group: &JobGroup| group.status.as_ref().and_then(|it| it.phase).is_some_and(GroupPhase::is_ended);
    world.until_object(name, "has ended", has_ended).await
}

/// The records of a group's members, by member.
async fn records(world: &World, group: &JobGroup) -> Vec<(String, JobRun)> {
    let uid = group.uid().unwrap();
    let member = |run: JobRun| Some((run.spec.group_ref.clone().filter(|it| it.uid == uid)?.member, run));
    let mut records: Vec<_> = world.all::<JobRun>().await.into_iter().filter_map(member).collect();
    records.sort_by(|left, right| left.0.cmp(&right.0));
    records
}

fn ends(records: &[(String, JobRun)]) -> Vec<(&str, Outcome, Reason)> {
    let end = |run: &JobRun| run.status.as_ref().map(|status| (status.phase, status.reason)).unwrap();
    records.iter().map(|(member, run)| (member.as_str(), end(run).0, end(run).1)).collect()
}

/// One failure does not stop the others of a parallel group, and shows in its phase and counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parallel_group_with_a_failing_member_ends_partial() {
    in_world("parallel", async |world| {
        exits(world).await;
        let jobs = [member("a", "0"), member("b", "4"), member("c", "0")];
        world.create::<JobGroup>("group", json!({ "mode": "Parallel", "jobs": jobs })).await;
        let group = ended(world, "group").await;
        let status = group.status.clone().unwrap();
        let counts = status.counts.unwrap();
        assert_eq!(status.phase, Some(GroupPhase::Partial));
        assert_eq!((counts.total, counts.completed, counts.failed, counts.skipped), (3, 2, 1, 0));
        assert!(status.started_at <= status.finished_at && status.started_at.is_some());
        let records = records(world, &group).await;
        let expected = [
            ("a", Outcome::Completed, Reason::Succeeded),
            ("b", Outcome::Failed, Reason::ExitCode),
            ("c", Outcome::Completed, Reason::Succeeded),
        ];
        assert_eq!(ends(&records), expected);
    })
    .await;
}

/// A sequential group goes strictly by its list, also past a failure when it may continue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequential_group_runs_strictly_in_the_order_of_its_list() {
    in_world("sequential", async |world| {
        exits(world).await;
        let jobs = [member("c", "0"), member("a", "1"), member("b", "0")];
        world.create::<JobGroup>("group", json!({ "mode": "Sequential", "jobs": jobs })).await;
        let group = ended(world, "group").await;
        assert_eq!(group.status.as_ref().unwrap().phase, Some(GroupPhase::Partial));
        let records = records(world, &group).await;
        let of = |name: &str| records.iter().find(|(member, _)| member == name).unwrap().1.status.clone().unwrap();
        for (before, after) in [("c", "a"), ("a", "b")] {
            let (before, after) = (of(before), of(after));
            assert!(before.finished_at <= after.started_at, "{before:#?} {after:#?}");
        }
        let status = group.status.as_ref().unwrap();
        assert_eq!((&status.started_at, &status.finished_at), (&of("c").started_at, &of("b").finished_at));
    })
    .await;
}

/// With failurePolicy Stop nothing starts after a failure, and what did not run says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_stops_at_a_failure_records_the_rest_as_skipped() {
    in_world("stop", async |world| {
        exits(world).await;
        let jobs = [member("a", "0"), member("b", "1"), member("c", "0"), member("d", "0")];
        world.create::<JobGroup>("group", json!({ "mode": "Sequential", "failurePolicy": "Stop", "jobs": jobs })).await;
        let group = ended(world, "group").await;
        let counts = group.status.as_ref().unwrap().counts.unwrap();
        assert_eq!((counts.completed, counts.failed, counts.skipped), (1, 1, 2));
        let records = records(world, &group).await;
        let expected = [
            ("a", Outcome::Completed, Reason::Succeeded),
            ("b", Outcome::Failed, Reason::ExitCode),
            ("c", Outcome::Skipped, Reason::GroupStopped),
            ("d", Outcome::Skipped, Reason::GroupStopped),
        ];
        assert_eq!(ends(&records), expected);
        let error = records[2].1.status.as_ref().unwrap().error.clone().unwrap();
        assert!(error.contains("\"b\""), "{error}");
    })
    .await;
}

/// A group that is not started makes nothing, and a group of one is a group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_one_waits_until_it_is_started() {
    in_world("start", async |world| {
        exits(world).await;
        let spec = json!({ "mode": "Sequential", "started": false, "jobs": [member("only", "0")] });
        world.create::<JobGroup>("group", spec).await;
        let created = |group: &JobGroup| group.status.as_ref().and_then(|it| it.phase) == Some(GroupPhase::Created);
        world.until_object("group", "is Created", created).await;
        assert_eq!(world.all::<Job>().await.len(), 0, "a group that is not started has no Jobs");
        world.patch::<JobGroup>("group", json!({ "spec": { "started": true } })).await;
        let group = ended(world, "group").await;
        assert_eq!(group.status.as_ref().unwrap().phase, Some(GroupPhase::Completed));
        assert_eq!(records(world, &group).await.len(), 1);
    })
    .await;
}

/// Each attempt is one batch Job and one record, and the Job ends as its last attempt did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retried_job_leaves_a_batch_job_and_a_record_for_each_attempt() {
    in_world("retry", async |world| {
        let retry = json!({ "retry": { "maxAttempts": 2, "backoff": { "initialSeconds": 1 } } });
        let job = world.create::<Job>("fails-twice", with(ad_hoc("exit 5"), retry.clone())).await;
        let flaky = with(ad_hoc("exit $((2 - ROTA_ATTEMPT))"), retry);
        let recovering = world.create::<Job>("recovers", flaky).await;
        let cases = [(job, Outcome::Failed), (recovering, Outcome::Completed)];
        for (job, outcome) in cases {
            let status = world.ended(&job.name_any()).await.status.unwrap();
            assert_eq!((status.outcome, status.attempts, status.run_refs.len()), (Some(outcome), 2, 2));
            let uid = job.uid().unwrap();
            let runs = world.runs_of(&uid).await;
            let attempts: Vec<_> =
                runs.iter().map(|run| (run.spec.attempt, run.status.as_ref().unwrap().phase)).collect();
            assert_eq!(attempts, [(1, Outcome::Failed), (2, outcome)]);
            assert_eq!(world.batch_jobs_of(&uid).await.len(), 2);
            assert_eq!(world.pods_of(&uid).await.len(), 2);
        }
    })
    .await;
}
