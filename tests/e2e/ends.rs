//! An attempt ends when its pods have ended, whoever deletes, orphans or disowns its batch Job; and one that nothing ends is
//! ended all the same.

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use rota::api::job::WaitingFor;
use rota::api::labels::{ATTEMPT, JOB, JOB_UID};
use rota::api::{Job, JobRunStatus, JobTemplate, Outcome, Queue, Reason};
use rota::domain::run::pod_has_ended;
use serde_json::{Value, json};

use crate::support::history::History;
use crate::support::make::{ad_hoc, of, template, trapping, with};
use crate::support::{World, in_world};

/// A Job in the queue `line`, with pods that may take that long to end.
fn in_line(script: &str, grace_seconds: i64) -> Value {
    let mut spec = with(ad_hoc(script), json!({ "queue": "line" }));
    spec["jobTemplate"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(grace_seconds);
    spec
}

/// The batch Job of a Job that runs.
async fn batch_of(world: &World, name: &str) -> String {
    let uid = world.running(name).await.uid().unwrap();
    world.batch_jobs_of(&uid).await.remove(0).name_any()
}

/// The content of a Job's only record.
async fn record(world: &World, name: &str) -> JobRunStatus {
    world.only_run(name).await.status.unwrap()
}

/// The times of a record are in order, whatever clocks they come from.
fn in_order(status: &JobRunStatus) {
    let times = [&status.queued_at, &status.started_at, &status.finished_at].map(|time| time.as_ref().map(|it| it.0));
    assert!(times.iter().flatten().is_sorted(), "{status:#?}");
}

/// However its batch Job is deleted, the pods of an attempt keep its place until they have ended, and what they said counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_batch_job_keeps_its_place_until_its_pods_have_ended() {
    in_world("delete-batch", async |world| {
        let unended = |pod: &Pod| (!pod_has_ended(pod)).then(|| "line".to_owned());
        let history = History::<Pod>::start(world, unended);
        world.create::<Queue>("line", json!({ "maxRunning": 1 })).await;
        let slow = &*trapping("sleep 4; exit 9");
        let ways = [
            ("background", slow, DeleteParams::background(), Outcome::Failed, Reason::BatchJobDeleted, 9),
            ("foreground", slow, DeleteParams::foreground(), Outcome::Failed, Reason::BatchJobDeleted, 9),
            ("orphan", "echo ready; sleep 5", DeleteParams::orphan(), Outcome::Completed, Reason::Succeeded, 0),
            (
                "orphan-fails",
                "echo ready; sleep 5; exit 7",
                DeleteParams::orphan(),
                Outcome::Failed,
                Reason::ExitCode,
                7,
            ),
        ];
        for (name, script, how, outcome, reason, code) in ways {
            world.create::<Job>(name, in_line(script, 20)).await;
            world.ready(name).await;
            let batch = batch_of(world, name).await;
            let next = format!("after-{name}");
            world.create::<Job>(&next, in_line("true", 2)).await;
            world.api::<BatchJob>().delete(&batch, &how).await.unwrap();
            let status = record(world, name).await;
            assert_eq!((status.phase, status.reason, status.exit_code), (outcome, reason, Some(code)), "{status:#?}");
            in_order(&status);
            let after = record(world, &next).await;
            assert_eq!(after.phase, Outcome::Completed, "{after:#?}");
            in_order(&after);
        }
        assert_eq!(history.most("line"), 1, "two ran at once");
    })
    .await;
}

/// Another attempt does not run beside the pods of the one before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_waits_for_the_pods_of_a_deleted_batch_job() {
    in_world("delete-retry", async |world| {
        let unended = |pod: &Pod| (!pod_has_ended(pod)).then(|| "any".to_owned());
        let history = History::<Pod>::start(world, unended);
        let script = format!("[ $ROTA_ATTEMPT = 2 ] || {{ {}; }}", trapping("sleep 4; exit 1"));
        let rules = json!([{ "reasons": ["BatchJobDeleted"], "action": "Retry" }]);
        let retry = json!({ "maxAttempts": 2, "backoff": { "initialSeconds": 0 }, "rules": rules });
        let mut spec = in_line(&script, 20);
        spec["retry"] = retry;
        let uid = world.create::<Job>("again", spec).await.uid().unwrap();
        world.create::<Queue>("line", json!({})).await;
        world.ready("again").await;
        let batch = batch_of(world, "again").await;
        world.delete::<BatchJob>(&batch).await;
        world.ended("again").await;
        let runs = world.runs_of(&uid).await;
        let reasons: Vec<Reason> = runs.iter().map(|run| run.status.as_ref().unwrap().reason).collect();
        assert_eq!(reasons, [Reason::BatchJobDeleted, Reason::Succeeded]);
        assert_eq!(history.most("any"), 1, "two attempts ran at once");
    })
    .await;
}

/// What is taken off a running batch Job, so that no watch or owner tells of it, is put back, and its end is recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_job_that_is_disowned_is_adopted_again() {
    in_world("disown", async |world| {
        let no_owner = json!({ "metadata": { "ownerReferences": null } });
        let no_labels = json!({ "metadata": { "labels": { JOB_UID: null, ATTEMPT: null, JOB: null } } });
        let neither = json!({ "metadata": { "ownerReferences": null, "labels": { JOB_UID: null } } });
        for (name, patch) in [("owner", no_owner), ("labels", no_labels), ("neither", neither)] {
            let uid = world.create::<Job>(name, ad_hoc("sleep 6; exit 3")).await.uid().unwrap();
            let batch = batch_of(world, name).await;
            world.patch::<BatchJob>(&batch, patch).await;
            let is_ours = |found: &BatchJob| {
                let owned =
                    found.owner_references().iter().any(|owner| owner.uid == uid && owner.controller == Some(true));
                owned && found.labels().get(JOB_UID) == Some(&uid)
            };
            world.until_object(&batch, "is adopted again", is_ours).await;
            let status = record(world, name).await;
            assert_eq!((status.reason, status.exit_code), (Reason::ExitCode, Some(3)), "{status:#?}");
        }
    })
    .await;
}

/// A success that Kubernetes cleaned up before the operator could look is a success.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_whose_batch_job_is_gone_before_it_was_recorded_is_recorded_as_one() {
    in_world("short-lived", async |world| {
        world.create::<Job>("short", ad_hoc("sleep 3")).await;
        let batch = batch_of(world, "short").await;
        world.operator().pause();
        world.patch::<BatchJob>(&batch, json!({ "spec": { "ttlSecondsAfterFinished": 0 } })).await;
        let gone = async || world.api::<BatchJob>().get_opt(&batch).await.unwrap().is_none().then_some(());
        world.until("the batch Job is gone", gone).await;
        world.operator().resume();
        let status = record(world, "short").await;
        assert_eq!((status.phase, status.reason), (Outcome::Completed, Reason::Succeeded), "{status:#?}");
    })
    .await;
}

/// A batch Job that no controller answers for keeps its queue from nobody for longer than a minute: whether its time to start
/// is over, it is cancelled or its Job is deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_job_that_no_controller_answers_for_is_ended_and_recorded() {
    in_world("nobody", async |world| {
        world.create::<Queue>("line", json!({ "maxRunning": 3 })).await;
        let nobody = |timeout: i64| {
            let mut spec = with(in_line("true", 1), json!({ "pendingTimeoutSeconds": timeout }));
            spec["jobTemplate"]["spec"]["managedBy"] = json!("example.com/typo");
            spec
        };
        for (name, timeout) in [("pending", 2), ("cancelled", 600), ("deleted", 600)] {
            world.create::<Job>(name, nobody(timeout)).await;
            let dispatched = |job: &Job| job.status.as_ref().is_some_and(|it| it.batch_job_ref.is_some());
            world.until_object(name, "is launched", dispatched).await;
        }
        let deleted = world.api::<Job>().get("deleted").await.unwrap().uid().unwrap();
        world.patch::<Job>("cancelled", json!({ "spec": { "cancel": { "force": true } } })).await;
        world.delete::<Job>("deleted").await;
        world.create::<Job>("waits", in_line("true", 1)).await;
        let status = record(world, "pending").await;
        assert_eq!((status.phase, status.reason), (Outcome::Failed, Reason::PendingTimeout), "{status:#?}");
        let status = record(world, "cancelled").await;
        assert_eq!((status.phase, status.reason), (Outcome::Skipped, Reason::Cancelled), "{status:#?}");
        let run = async || world.runs_of(&deleted).await.pop();
        let run = world.until("the deletion is recorded", run).await;
        assert_eq!(run.status.unwrap().reason, Reason::JobDeleted);
        assert_eq!(record(world, "waits").await.phase, Outcome::Completed);
        assert_eq!(world.api::<Job>().get_opt("deleted").await.unwrap().map(|job| job.metadata.finalizers), None);
    })
    .await;
}

/// An orphaned attempt of a deleted Job ends with it, and its batch Job goes after its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_deleted_with_orphan_leaves_nothing_that_stays_for_ever() {
    in_world("orphan", async |world| {
        let spec = with(ad_hoc(&trapping("exit 143")), json!({ "ttlSecondsAfterFinished": 1 }));
        world.create::<Job>("parent", spec).await;
        let uid = world.ready("parent").await.uid().unwrap();
        let batch = batch_of(world, "parent").await;
        world.api::<Job>().delete("parent", &DeleteParams::orphan()).await.unwrap();
        let run = world.until("the deletion is recorded", async || world.runs_of(&uid).await.pop()).await;
        assert_eq!(run.status.unwrap().reason, Reason::JobDeleted);
        let gone = async || world.api::<BatchJob>().get_opt(&batch).await.unwrap().is_none().then_some(());
        world.until("the batch Job is gone", gone).await;
    })
    .await;
}

/// A Job that a foreign finalizer keeps tells how it ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_somebody_keeps_says_how_it_ended() {
    in_world("kept", async |world| {
        let metadata = json!({ "name": "hook", "finalizers": ["example.com/hook"] });
        world.create_whole::<Job>(json!({ "metadata": metadata, "spec": ad_hoc(&trapping("exit 143")) })).await;
        world.ready("hook").await;
        world.delete::<Job>("hook").await;
        let job = world.ended("hook").await;
        let conditions = job.status.unwrap().conditions;
        assert!(conditions.iter().any(|it| it.message.contains("example.com/hook")), "{conditions:#?}");
        world.patch::<Job>("hook", json!({ "metadata": { "finalizers": null } })).await;
    })
    .await;
}

/// A batch Job that a finalizer keeps until it is recorded ends as any other when somebody deletes it, and goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_batch_job_that_is_deleted_ends_its_pods_and_goes() {
    in_world("held-deleted", async |world| {
        let mut spec = ad_hoc(&trapping("exit 143"));
        spec["jobTemplate"]["spec"]["ttlSecondsAfterFinished"] = json!(86_400);
        world.create::<Job>("held", spec).await;
        world.ready("held").await;
        let batch = batch_of(world, "held").await;
        let finalizers = world.api::<BatchJob>().get(&batch).await.unwrap().metadata.finalizers.unwrap_or_default();
        assert!(finalizers.iter().any(|it| it == "rota.dev/record"), "{finalizers:?}");
        world.delete::<BatchJob>(&batch).await;
        let status = record(world, "held").await;
        assert_eq!((status.phase, status.reason), (Outcome::Failed, Reason::BatchJobDeleted), "{status:#?}");
        let gone = async || world.api::<BatchJob>().get_opt(&batch).await.unwrap().is_none().then_some(());
        world.until("the batch Job is gone", gone).await;
    })
    .await;
}

/// A template that is deleted in the foreground waits for the Jobs that run by it, takes no more, and goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_deleted_in_the_foreground_goes_when_its_jobs_have_ended() {
    in_world("foreground", async |world| {
        world.create::<JobTemplate>("report", template("sleep 8")).await;
        world.create::<Job>("runs", of("report")).await;
        world.running("runs").await;
        world.api::<JobTemplate>().delete("report", &DeleteParams::foreground()).await.unwrap();
        let says_so = |it: &JobTemplate| {
            let conditions = it.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|it| it.type_ == "Ready" && it.reason == "Deleted")
        };
        world.until_object("report", "says that it is deleted", says_so).await;
        world.create::<Job>("late", of("report")).await;
        assert_eq!(world.waiting("late").await.0, WaitingFor::Template);
        assert_eq!(record(world, "runs").await.phase, Outcome::Completed);
        // The Job that used its revision goes with its time to live.
        world.delete::<Job>("runs").await;
        let gone = async || world.api::<JobTemplate>().get_opt("report").await.unwrap().is_none().then_some(());
        world.until("the template is gone", gone).await;
    })
    .await;
}
