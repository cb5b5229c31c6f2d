//! Features of batch Jobs that are passed on: indexes, failure policies, and suspension, as by Kueue.

use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::ResourceExt;
use rota::api::job::WaitingFor;
use rota::api::labels::KUEUE_QUEUE;
use rota::api::{Job, JobPhase, JobRun, Outcome, Reason};
use serde_json::{Value, json};

use crate::support::make::{ad_hoc, with};
use crate::support::{World, in_world};

/// A Job without a template whose batch Job has those fields.
fn with_fields(script: &str, fields: Value) -> Value {
    let mut spec = ad_hoc(script);
    let batch = spec["jobTemplate"]["spec"].take();
    spec["jobTemplate"]["spec"] = with(batch, fields);
    spec
}

fn end(run: &JobRun) -> (Outcome, Reason, Option<i32>, String) {
    let status = run.status.clone().unwrap();
    (status.phase, status.reason, status.exit_code, status.error.unwrap_or_default())
}

async fn only_batch(world: &World, job: &Job) -> BatchJob {
    world.batch_jobs_of(&job.uid().unwrap()).await.remove(0)
}

/// An Indexed Job is one attempt with several pods; it succeeds when all of them do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_indexed_job_that_succeeds_is_one_completed_attempt() {
    in_world("indexed", async |world| {
        let fields = json!({ "completionMode": "Indexed", "completions": 3, "parallelism": 3 });
        let job = world.create::<Job>("all", with_fields("echo $JOB_COMPLETION_INDEX", fields)).await;
        let run = world.only_run("all").await;
        assert_eq!((end(&run).0, end(&run).1), (Outcome::Completed, Reason::Succeeded), "{run:#?}");
        assert_eq!(world.pods_of(&job.uid().unwrap()).await.len(), 3);
        assert_eq!(only_batch(world, &job).await.spec.unwrap().backoff_limit, Some(0));
    })
    .await;
}

/// The record names the index that failed, also where Kubernetes retried each index by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_of_an_indexed_job_names_the_indexes_that_failed() {
    in_world("indexed-fail", async |world| {
        let script = "[ $JOB_COMPLETION_INDEX = 1 ] && exit 7; exit 0";
        let fields = json!({ "completionMode": "Indexed", "completions": 3, "parallelism": 3 });
        let alone = with(fields.clone(), json!({ "backoffLimitPerIndex": 1 }));
        world.create::<Job>("at-once", with_fields(script, fields)).await;
        let retried = world.create::<Job>("each", with_fields(script, alone)).await;
        for name in ["at-once", "each"] {
            let (outcome, reason, code, error) = end(&world.only_run(name).await);
            assert_eq!((outcome, reason, code), (Outcome::Failed, Reason::ExitCode, Some(7)), "{name}: {error}");
            assert!(error.contains("index 1 failed"), "{name}: {error}");
        }
        let pods = world.pods_of(&retried.uid().unwrap()).await.len();
        assert_eq!(pods, 4, "index 1 was tried twice, the others once");
    })
    .await;
}

/// A rule that fails the Job is quoted; one that ignores a failure lets Kubernetes start another pod in the same attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_failure_policy_is_obeyed_and_quoted() {
    in_world("failure-policy", async |world| {
        let rule = |action: &str, code: i32| {
            let codes = json!({ "containerName": "main", "operator": "In", "values": [code] });
            json!({ "action": action, "onExitCodes": codes })
        };
        let policy =
            json!({ "podFailurePolicy": { "rules": [rule("FailJob", 42), rule("Ignore", 43), rule("Count", 44)] } });
        world.create::<Job>("fails", with_fields("exit 42", policy.clone())).await;
        world.create::<Job>("counts", with_fields("exit 44", policy)).await;
        let (outcome, reason, code, error) = end(&world.only_run("fails").await);
        assert_eq!((outcome, reason, code), (Outcome::Failed, Reason::ExitCode, Some(42)));
        assert!(error.contains("matching FailJob rule at index 0"), "{error}");
        let (outcome, reason, code, _) = end(&world.only_run("counts").await);
        assert_eq!((outcome, reason, code), (Outcome::Failed, Reason::ExitCode, Some(44)));
    })
    .await;
}

/// What somebody suspends waits, keeps its place, is not given up, and runs when it is resumed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_batch_job_is_waited_for_until_it_is_resumed() {
    in_world("suspended", async |world| {
        let spec = with(
            with_fields("true", json!({ "suspend": true })),
            json!({ "pendingTimeoutSeconds": 60, "timeoutSeconds": 60 }),
        );
        let job = json!({ "metadata": { "name": "waits", "labels": { KUEUE_QUEUE: "team" } }, "spec": spec });
        let job = world.create_whole::<Job>(job).await;
        let says_why = |job: &Job| {
            let status = job.status.as_ref();
            let said = status.iter().flat_map(|it| &it.conditions).any(|it| it.message.contains("JobSuspended"));
            said && status.is_some_and(|it| it.waiting_for == Some(WaitingFor::Suspended))
        };
        let waiting = world.until_object("waits", "says that it is suspended", says_why).await;
        assert_eq!(waiting.status.unwrap().phase, Some(JobPhase::Dispatched));
        let batch = only_batch(world, &job).await;
        assert_eq!(batch.labels()[KUEUE_QUEUE], "team");
        world.patch::<BatchJob>(&batch.name_any(), json!({ "spec": { "suspend": false } })).await;
        let resumed = |job: &Job| job.status.as_ref().is_some_and(|it| it.waiting_for.is_none());
        world.until_object("waits", "waits no more", resumed).await;
        assert_eq!(end(&world.only_run("waits").await).1, Reason::Succeeded);
    })
    .await;
}

/// A suspended Job that is cancelled, or whose time is over, ends at once and leaves no batch Job behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_job_that_is_cancelled_or_too_late_never_runs() {
    in_world("suspended-end", async |world| {
        let suspended = with_fields("true", json!({ "suspend": true }));
        world.create::<Job>("cancelled", suspended.clone()).await;
        world.create::<Job>("too-late", with(suspended, json!({ "deadlineSeconds": 8 }))).await;
        let waits = |job: &Job| job.status.as_ref().is_some_and(|it| it.waiting_for == Some(WaitingFor::Suspended));
        world.until_object("cancelled", "is suspended", waits).await;
        world.patch::<Job>("cancelled", json!({ "spec": { "cancel": { "reason": "no room" } } })).await;
        for (name, expected) in [("cancelled", Reason::Cancelled), ("too-late", Reason::TotalDeadlineExceeded)] {
            let run = world.only_run(name).await;
            assert_eq!((end(&run).0, end(&run).1), (Outcome::Skipped, expected), "{run:#?}");
            let uid = run.spec.job_ref.unwrap().uid;
            let none = async || world.batch_jobs_of(&uid).await.is_empty().then_some(());
            world.until("its batch Job is gone", none).await;
        }
    })
    .await;
}

/// A rule about exit codes.
fn rule(action: &str, codes: &[i32]) -> Value {
    json!({ "action": action, "onExitCodes": { "containerName": "main", "operator": "In", "values": codes } })
}

async fn ends(world: &World, name: &str) -> Vec<(Outcome, Reason, Option<i32>)> {
    let job = world.ended(name).await;
    let runs = world.runs_of(&job.uid().unwrap()).await;
    runs.iter().map(end).map(|(outcome, reason, code, _)| (outcome, reason, code)).collect()
}

/// The failure that Kubernetes counted decides, for the record and for the rules of retry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_that_is_ignored_decides_nothing() {
    in_world("ignored", async |world| {
        let script = "[ $JOB_COMPLETION_INDEX = 0 ] && exit 42; sleep 4; exit 9";
        let policy = json!({ "podFailurePolicy": { "rules": [rule("Ignore", &[42])] } });
        let fields = json!({ "completionMode": "Indexed", "completions": 2, "parallelism": 2 });
        let spec = with_fields(script, with(policy, fields));
        let retry = json!({ "retry": { "maxAttempts": 3, "rules": [{ "exitCodes": [9], "action": "Fail" }] } });
        world.create::<Job>("job", with(spec, retry)).await;
        assert_eq!(ends(world, "job").await, [(Outcome::Failed, Reason::ExitCode, Some(9))]);
    })
    .await;
}

/// Some indexes are enough for success: another one that fails does not end them, and says nothing of the exit code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_policy_is_met_although_an_index_failed() {
    in_world("success-policy", async |world| {
        // Once all indexes have ended, Kubernetes looks at those that failed first.
        let goes_on = "trap 'exit 1' TERM; sleep 600 & wait $!";
        let script = &format!(
            "[ $JOB_COMPLETION_INDEX = 0 ] && exec sleep 4; [ $JOB_COMPLETION_INDEX = 1 ] && exit 1; {goes_on}"
        );
        let policy = json!({ "rules": [{ "succeededIndexes": "0" }] });
        let fields =
            json!({ "completionMode": "Indexed", "completions": 3, "parallelism": 3, "successPolicy": policy });
        world.create::<Job>("plain", with_fields(script, fields.clone())).await;
        world.create::<Job>("each", with_fields(script, with(fields, json!({ "backoffLimitPerIndex": 0 })))).await;
        for name in ["plain", "each"] {
            assert_eq!(ends(world, name).await, [(Outcome::Completed, Reason::Succeeded, Some(0))], "{name}");
        }
    })
    .await;
}

/// What the batch Job makes final is not tried again, unless a rule of retry says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_batch_job_makes_final_stays_final() {
    in_world("final", async |world| {
        let indexed = json!({ "completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 1 });
        let policy = |action: &str| json!({ "podFailurePolicy": { "rules": [rule(action, &[42])] } });
        let again = json!({ "exitCodes": [42], "action": "Retry" });
        let table = [
            ("fail-job", "exit 42", policy("FailJob"), json!([]), "podFailurePolicy", 1),
            ("fail-index", "exit 42", with(indexed.clone(), policy("FailIndex")), json!([]), "podFailurePolicy", 1),
            (
                "max-indexes",
                "exit 1",
                with(indexed, json!({ "maxFailedIndexes": 0, "backoffLimitPerIndex": 0 })),
                json!([]),
                "maxFailedIndexes",
                1,
            ),
            ("deadline", "sleep 600", json!({ "activeDeadlineSeconds": 5 }), json!([]), "activeDeadlineSeconds", 1),
            ("by-rule", "exit 42", policy("FailJob"), json!([again]), "podFailurePolicy", 2),
            ("not-final", "exit 1", policy("FailJob"), json!([]), "", 2),
        ];
        for (name, script, fields, rules, _, _) in &table {
            let retry = json!({ "retry": { "maxAttempts": 2, "backoff": { "initialSeconds": 0 }, "rules": rules } });
            world.create::<Job>(name, with(with_fields(script, fields.clone()), retry)).await;
        }
        for (name, _, _, _, field, attempts) in table {
            let job = world.ended(name).await;
            let runs = world.runs_of(&job.uid().unwrap()).await;
            assert_eq!(runs.len(), attempts, "{name}: {runs:#?}");
            for run in runs {
                assert_eq!(run.status.unwrap().final_by.unwrap_or_default(), field, "{name}");
            }
        }
    })
    .await;
}
