//! Groups and retries: members run as their group says, and each attempt of a Job leaves a record.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::ResourceExt;
use rota::api::job::WaitingFor;
use rota::api::job_group::GroupPhase;
use rota::api::labels::{GROUP, JOB_NAME_ANNOTATION};
use rota::api::{Job, JobGroup, JobRun, JobTemplate, Outcome, Reason};
use rota::domain::names;
use serde_json::{Value, json};

use crate::support::history::{History, unfinished_by};
use crate::support::make::{FOR_EVER, ad_hoc, of, template, with};
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
            // Of a Job that succeeded in the end no failed batch Job is left for alerts to find.
            let kept = if outcome == Outcome::Completed { 1 } else { 2 };
            let left = async || {
                let batches = world.batch_jobs_of(&uid).await.len();
                (batches == kept && world.pods_of(&uid).await.len() == kept).then_some(())
            };
            world.until("only the batch Jobs that are to be kept are left", left).await;
        }
    })
    .await;
}

/// The specification of a Job that joins `group`.
fn joining(code: &str) -> Value {
    json!({ "templateRef": { "name": "exits" }, "params": { "code": code }, "groupRef": { "name": "group" } })
}

/// The members in the order in which their Jobs were launched, by the clock of the operator.
async fn launched(world: &World) -> Vec<String> {
    let mut launched: BTreeMap<Timestamp, String> = BTreeMap::new();
    for job in world.all::<Job>().await {
        let member = job.spec.group_ref.clone().unwrap().member;
        let member = if member.is_empty() { job.name_any() } else { member };
        if let Some(at) = job.status.and_then(|status| status.dispatched_at) {
            launched.insert(at.0, member);
        }
    }
    launched.into_values().collect()
}

/// Jobs wait for a group that does not exist yet, join it while it is not started, and run after the members of its list.
/// Who comes after the start is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_join_a_group_until_it_is_started_and_run_after_its_list() {
    in_world("joining", async |world| {
        exits(world).await;
        let history = History::<BatchJob>::start(world, unfinished_by(GROUP));
        world.create::<Job>("early", joining("0")).await;
        let (waiting_for, sentence) = world.waiting("early").await;
        assert_eq!(waiting_for, WaitingFor::Group);
        assert!(sentence.contains("there is no JobGroup \"group\""), "{sentence}");
        let spec = json!({ "mode": "Sequential", "started": false, "jobs": [member("listed", "0")] });
        let group = world.create::<JobGroup>("group", spec).await;
        world.create::<Job>("moved-up", with(joining("0"), json!({ "position": 1 }))).await;
        let uid = group.uid().unwrap();
        for name in ["early", "moved-up"] {
            let joined = |job: &Job| job.status.as_ref().is_some_and(|it| it.joined_group.as_ref() == Some(&uid));
            world.until_object(name, "has joined", joined).await;
        }
        let total = |group: &JobGroup| group.status.as_ref().and_then(|it| it.counts).is_some_and(|it| it.total == 3);
        let group = world.until_object("group", "has three members", total).await;
        assert_eq!(group.status.unwrap().phase, Some(GroupPhase::Created));
        assert_eq!(world.all::<BatchJob>().await.len(), 0, "nothing runs before the start");
        world.patch::<JobGroup>("group", json!({ "spec": { "started": true } })).await;
        let group = ended(world, "group").await;
        let status = group.status.clone().unwrap();
        assert_eq!((status.phase, status.counts.unwrap().completed), (Some(GroupPhase::Completed), 3));
        assert!(status.queued_at.is_some() && status.started_at.is_some() && status.started_at <= status.finished_at);
        assert_eq!(launched(world).await, ["listed", "moved-up", "early"]);
        assert_eq!(history.most("group"), 1);
        // By the uid: the records of those that joined name it too.
        assert_eq!(records(world, &group).await.len(), 3);
        world.create::<Job>("late", joining("0")).await;
        let late = world.only_run("late").await.status.unwrap();
        assert_eq!((late.phase, late.reason), (Outcome::Skipped, Reason::GroupClosed));
        assert_eq!(world.api::<JobGroup>().get("group").await.unwrap().status.unwrap(), status);
    })
    .await;
}

/// The list may be put into another order while the group runs: those that have not started go in the new one, and never
/// two at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_have_not_started_go_in_the_new_order_of_the_list() {
    in_world("reorder", async |world| {
        let slow = json!({ "params": [{ "name": "seconds", "default": "0" }] });
        world.create::<JobTemplate>("sleeps", with(template("sleep $PARAM_SECONDS"), slow)).await;
        let member = |name: &str, seconds: &str| {
            json!({ "name": name, "templateRef": { "name": "sleeps" }, "params": { "seconds": seconds } })
        };
        for (name, mode) in [("line", json!({ "mode": "Sequential" })), ("pair", json!({ "mode": "Parallel", "maxRunning": 1 }))] {
            let history = History::<BatchJob>::start(world, unfinished_by(GROUP));
            let [a, b, c, d] = [member("a", "8"), member("b", "0"), member("c", "0"), member("d", "0")];
            let spec = with(mode, json!({ "jobs": [a, b, c, d] }));
            let group = world.create::<JobGroup>(name, spec).await;
            world.running(&names::member_job(name, &group.uid().unwrap(), "a")).await;
            world.patch::<JobGroup>(name, json!({ "spec": { "jobs": [d, c, a, b] } })).await;
            ended(world, name).await;
            assert_eq!(launched(world).await, ["a", "d", "c", "b"], "{name}");
            assert_eq!(history.most(name), 1, "{name}");
            world.delete::<JobGroup>(name).await;
            let gone = async || world.all::<Job>().await.is_empty().then_some(());
            world.until("the members are gone", gone).await;
        }
    })
    .await;
}

/// A failed attempt that is followed by another one is no failed member: nothing is stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_does_not_stop_while_a_failed_member_may_try_again() {
    in_world("stop-retry", async |world| {
        let retry = json!({ "retry": { "maxAttempts": 2, "backoff": { "initialSeconds": 2 } } });
        world.create::<JobTemplate>("flaky", with(template("exit $((2 - ROTA_ATTEMPT))"), retry)).await;
        let member = |name: &str| json!({ "name": name, "templateRef": { "name": "flaky" } });
        let spec = json!({ "mode": "Sequential", "failurePolicy": "Stop", "jobs": [member("a"), member("b")] });
        world.create::<JobGroup>("group", spec).await;
        let group = ended(world, "group").await;
        assert_eq!(group.status.as_ref().unwrap().counts.unwrap().completed, 2);
        let records = records(world, &group).await;
        let attempts: Vec<_> = records.iter().map(|(member, run)| (member.as_str(), run.spec.attempt)).collect();
        assert_eq!(attempts, [("a", 1), ("a", 2), ("b", 1), ("b", 2)]);
        let end = |run: &JobRun| run.status.as_ref().unwrap().finished_at.clone();
        assert!(
            end(&records[1].1) <= records[2].1.status.as_ref().unwrap().started_at,
            "b waits for the last attempt of a"
        );
    })
    .await;
}

/// A group that resumes another one waits until that one has ended, and runs only what did not succeed there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_resumes_another_one_runs_what_did_not_succeed() {
    in_world("resume", async |world| {
        exits(world).await;
        let repaired = json!({ "mode": "Sequential", "resumeOf": { "name": "first" }, "jobs": [member("a", "0"), member("b", "0")] });
        world.create::<JobGroup>("second", repaired).await;
        let stalled = |group: &JobGroup| group.status.as_ref().is_some_and(|it| it.conditions.iter().any(|it| it.type_ == "Stalled"));
        world.until_object("second", "waits", stalled).await;
        let spec = json!({ "mode": "Sequential", "jobs": [member("a", "0"), member("b", "1")] });
        let first = world.create::<JobGroup>("first", spec).await;
        let second = ended(world, "second").await;
        let status = second.status.clone().unwrap();
        let counts = status.counts.unwrap();
        assert_eq!((status.phase, counts.completed, counts.skipped), (Some(GroupPhase::Completed), 1, 1));
        let first = records(world, &first).await;
        assert_eq!(ends(&first)[1], ("b", Outcome::Failed, Reason::ExitCode));
        let a = &status.members[0];
        assert_eq!((a.outcome, a.reason), (Some(Outcome::Skipped), Some(Reason::AlreadySucceeded)));
        assert_eq!((a.run_ref.as_ref().unwrap().name.clone(), &a.job_ref), (first[0].1.name_any(), &None));
        assert_eq!(ends(&records(world, &second).await), [("b", Outcome::Completed, Reason::Succeeded)]);
    })
    .await;
}

/// A group that is cancelled before it is started takes those with it that had joined.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_cancelled_before_its_start_runs_nothing() {
    in_world("cancel-created", async |world| {
        exits(world).await;
        world
            .create::<JobGroup>(
                "group",
                json!({ "mode": "Parallel", "started": false, "jobs": [member("listed", "0")] }),
            )
            .await;
        world.create::<Job>("joined", joining("0")).await;
        let joined = |job: &Job| job.status.as_ref().is_some_and(|it| it.joined_group.is_some());
        world.until_object("joined", "has joined", joined).await;
        world.patch::<JobGroup>("group", json!({ "spec": { "cancel": { "reason": "not today" } } })).await;
        let run = world.only_run("joined").await.status.unwrap();
        assert_eq!((run.phase, run.reason), (Outcome::Skipped, Reason::Cancelled));
        assert_eq!(ended(world, "group").await.status.unwrap().phase, Some(GroupPhase::Cancelled));
        assert_eq!((world.all::<Job>().await.len(), world.all::<BatchJob>().await.len()), (1, 0));
    })
    .await;
}

/// A group that is deleted while it runs starts nothing more: what ran of its list is ended, what ran of those that joined
/// runs on, and what waited is recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_group_ends_its_list_and_starts_nothing_more() {
    in_world("delete-group", async |world| {
        let history = History::<BatchJob>::start(world, |_| None);
        world.create::<JobTemplate>("exits", with(template(FOR_EVER), json!({ "params": [{ "name": "code" }] }))).await;
        let jobs = [member("a", "0"), member("b", "0")];
        let group = world
            .create::<JobGroup>("group", json!({ "mode": "Parallel", "maxRunning": 2, "started": false, "jobs": jobs }))
            .await;
        world.create::<Job>("runs", with(joining("0"), json!({ "priority": 1 }))).await;
        world.create::<Job>("waits", joining("0")).await;
        for name in ["runs", "waits"] {
            let joined = |job: &Job| job.status.as_ref().is_some_and(|it| it.joined_group.is_some());
            world.until_object(name, "has joined", joined).await;
        }
        world.patch::<JobGroup>("group", json!({ "spec": { "started": true } })).await;
        let a = names::member_job("group", &group.uid().unwrap(), "a");
        world.running("runs").await;
        world.running(&a).await;
        world.delete::<JobGroup>("group").await;
        let run = world.only_run("waits").await.status.unwrap();
        assert_eq!((run.phase, run.reason), (Outcome::Skipped, Reason::GroupClosed));
        let of_list = async || {
            Some(records(world, &group).await)
                .filter(|it| it.iter().filter(|(member, _)| member.len() == 1).count() == 2)
        };
        let records = world.until("the list is recorded", of_list).await;
        let end = |member: &str| ends(&records).into_iter().find(|it| it.0 == member).unwrap();
        assert_eq!(end("a"), ("a", Outcome::Failed, Reason::JobDeleted));
        assert_eq!(end("b").1, Outcome::Skipped);
        assert_eq!(history.ever().len(), 2, "nothing was launched after the group was gone");
        assert_eq!(world.running("runs").await.status.unwrap().outcome, None, "somebody else's Job runs on");
        world.patch::<Job>("runs", json!({ "spec": { "cancel": {} } })).await;
        world.ended("runs").await;
    })
    .await;
}

/// Who goes first in a group of which one runs at once: the highest priority, whether the group lists the member or it
/// joined, and whichever Job came first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_member_of_the_highest_priority_goes_first_wherever_it_came_from() {
    in_world("first-of-group", async |world| {
        let params = json!({ "params": [{ "name": "code" }] });
        world.create::<JobTemplate>("exits", with(template(FOR_EVER), params.clone())).await;
        world.create::<JobTemplate>("urgent", with(with(template(FOR_EVER), params), json!({ "priority": 4 }))).await;
        let listed = |name: &str, more: Value| with(member(name, "0"), more);
        let few = ["a", "b", "c", "d", "e", "f"].map(|name| listed(name, json!({})));
        let list = |last: Value| [&few[..], &[listed("last", last)]].concat();
        let of_template = json!({ "templateRef": { "name": "urgent" } });
        // What the group lists, what joins it and with which priority, and who is expected to go first.
        let cases = [
            (list(json!({ "priority": 2 })), &[("low", 1)][..], "last"),
            (list(of_template.clone()), &[("low", 3)], "last"),
            (list(of_template), &[("low", 3), ("high", 5)], "high"),
            (list(json!({})), &[("low", 1), ("high", 5)], "high"),
            (list(json!({})), &[("same", 0)], "a"),
            (vec![], &[("x", 0), ("y", 0), ("low", 1), ("high", 2)], "high"),
        ];
        let rounds = 0..3;
        for (case, round) in (0..cases.len()).flat_map(|case| rounds.clone().map(move |round| (case, round))) {
            let (jobs, joining, _) = &cases[case];
            let group = format!("g{case}-{round}");
            let spec = json!({ "mode": "Parallel", "maxRunning": 1, "started": false, "jobs": jobs });
            world.create::<JobGroup>(&group, spec).await;
            for (name, priority) in *joining {
                let spec = with(of("exits"), json!({ "params": { "code": "0" }, "priority": priority }));
                let name = format!("{group}-{name}");
                world.create::<Job>(&name, with(spec, json!({ "groupRef": { "name": group } }))).await;
                let joined = |job: &Job| job.status.as_ref().is_some_and(|it| it.joined_group.is_some());
                world.until_object(&name, "has joined", joined).await;
            }
            world.patch::<JobGroup>(&group, json!({ "spec": { "started": true } })).await;
        }
        for (case, round) in (0..cases.len()).flat_map(|case| rounds.clone().map(move |round| (case, round))) {
            let name = format!("g{case}-{round}");
            let group = world.api::<JobGroup>().get(&name).await.unwrap();
            let first = world
                .until(&format!("a member of {name} is launched"), async || {
                    let batches = world.all::<BatchJob>().await;
                    batches.into_iter().find(|batch| batch.labels().get(GROUP) == Some(&name))
                })
                .await;
            let expected = cases[case].2;
            let expected = [format!("{name}-{expected}"), names::member_job(&name, &group.uid().unwrap(), expected)];
            let job = &first.annotations()[JOB_NAME_ANNOTATION];
            assert!(expected.contains(job), "{job} went first, not one of {expected:?}");
        }
    })
    .await;
}
