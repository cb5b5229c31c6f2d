//! Rota beside Kueue itself, on real pods: Kueue suspends and resumes the batch Jobs, and what Rota says and records of them
//! is compared with what ran.
//!
//! Run with `rota-cluster run --node real -- cargo test --test kueue -- --test-threads=3`. Kueue is built first if the cache
//! of programs lacks it.

// The lint's own exception for tests covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod quota;
#[allow(dead_code, reason = "it serves the other tests with real pods too")]
#[path = "../e2e/support/mod.rs"]
mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use rota::api::job::WaitingFor;
use rota::api::labels::{KUEUE_PRIORITY, KUEUE_QUEUE, QUEUE};
use rota::api::{Job, JobPhase, JobRun, JobTemplate, Outcome, Queue, Reason};
use rota::domain::run::{BatchState, batch_outcome};
use rota::runtime::clock::now;
use serde_json::{Value, json};

use quota::{LOCAL_QUEUE, Quota};
use support::history::{History, unfinished_by};
use support::make::{FOR_EVER, ad_hoc, of, script, with};
use support::{World, in_world, kubeconfig};

/// Runs a test in a world of its own with a LocalQueue for that many pods.
async fn beside_kueue(name: &str, pods: u32, test: impl AsyncFnOnce(&World, &Quota)) {
    in_world(name, async move |world| {
        let quota = Quota::create(world, pods).await;
        test(world, &quota).await;
        quota.delete().await;
    })
    .await;
}

/// Creates a Job without a template that asks Kueue.
async fn create(world: &World, name: &str, spec: Value, labels: Value) -> Job {
    let labels = with(json!({ KUEUE_QUEUE: LOCAL_QUEUE }), labels);
    world.create_whole(json!({ "metadata": { "name": name, "labels": labels }, "spec": spec })).await
}

/// Waits until a Job says that its batch Job is suspended, and returns it with the sentence.
async fn suspended(world: &World, name: &str) -> (Job, String) {
    let quoted = |job: &Job| {
        let waiting_for = job.status.as_ref().and_then(|status| status.waiting_for);
        waiting_for == Some(WaitingFor::Suspended) && sentence(job).contains("JobSuspended")
    };
    let job = world.until_object(name, "is suspended, and quotes its batch Job", quoted).await;
    let status = job.status.as_ref().unwrap();
    assert_eq!((status.phase, status.finished_at.as_ref()), (Some(JobPhase::Dispatched), None), "{status:#?}");
    let sentence = sentence(&job);
    (job, sentence)
}

fn sentence(job: &Job) -> String {
    let conditions = job.status.iter().flat_map(|status| &status.conditions);
    conditions.filter(|it| it.type_ == "Dispatched").map(|it| it.message.clone()).collect()
}

/// Waits until the pods of a Job are gone, as they are when its batch Job was suspended.
async fn without_pods(world: &World, job: &Job) {
    let uid = job.uid().unwrap();
    let none = async || world.pods_of(&uid).await.is_empty().then_some(());
    world.until("its pods are gone", none).await;
}

/// What the plugin answers to why a Job does not run.
fn why(world: &World, name: &str) -> String {
    let mut plugin = Command::new(env!("CARGO_BIN_EXE_kubectl-rota"));
    plugin.args(["why", name, "--namespace", &world.namespace]).env("KUBECONFIG", kubeconfig());
    String::from_utf8(plugin.output().unwrap().stdout).unwrap()
}

/// When the only container of a pod started and finished.
fn span(pod: &Pod) -> (Timestamp, Timestamp) {
    let containers = pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap();
    let end = containers[0].state.as_ref().unwrap().terminated.as_ref().unwrap();
    (end.started_at.as_ref().unwrap().0, end.finished_at.as_ref().unwrap().0)
}

/// Checks that a Job has one record, of a success with the times of its only pod, which it returns.
async fn completed_as_its_pod(world: &World, name: &str) -> (JobRun, Pod) {
    let run = world.only_run(name).await;
    let status = run.status.clone().unwrap();
    assert_eq!((status.phase, status.reason, run.spec.attempt), (Outcome::Completed, Reason::Succeeded, 1), "{run:#?}");
    let mut pods = world.pods_of(&run.spec.job_ref.as_ref().unwrap().uid).await;
    assert_eq!(pods.len(), 1, "{pods:#?}");
    let [queued, started, finished] = [&status.queued_at, &status.started_at, &status.finished_at];
    let [queued, started, finished] = [queued, started, finished].map(|time| time.as_ref().unwrap().0);
    let ran = finished - started;
    assert_eq!(status.duration_ms, Some(ran.get_seconds() * 1_000 + ran.get_milliseconds()));
    // The clock of the node counts whole seconds, so that it may say an earlier time than that at which the Job was queued.
    let (pod_started, pod_finished) = span(&pods[0]);
    assert_eq!(started, pod_started.max(queued));
    let expected = pod_finished.saturating_add(started.duration_since(pod_started)).unwrap();
    let sooner = expected.duration_since(finished);
    assert!((SignedDuration::ZERO..=SignedDuration::from_secs(1)).contains(&sooner), "{expected} {finished}");
    (run, pods.remove(0))
}

/// What Kueue has no room for waits, says so, and neither starts nor times out however long that takes; what it resumes runs
/// with the changes that Kueue makes to its pods, and is recorded once, as it ran.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kueue_has_no_room_for_waits_without_timing_out_and_then_runs() {
    beside_kueue("held", 0, async |world, quota| {
        let mut batch = script("sleep 2");
        batch["metadata"] = json!({ "labels": { KUEUE_QUEUE: LOCAL_QUEUE } });
        let limits = json!({ "pendingTimeoutSeconds": 10, "timeoutSeconds": 12 });
        let template = with(json!({ "jobType": "test", "jobTemplate": batch }), limits);
        world.create::<JobTemplate>("train", template).await;
        world.create::<Job>("waits", of("train")).await;
        let (job, sentence) = suspended(world, "waits").await;
        assert!(sentence.contains(LOCAL_QUEUE), "{sentence}");
        let launched = job.status.unwrap().dispatched_at.unwrap().0;
        let later = launched + SignedDuration::from_secs(15);
        world.until("both its timeouts would have passed", async || (now() >= later).then_some(())).await;
        suspended(world, "waits").await;
        let quoted = async || why(world, "waits").contains("insufficient quota for pods").then_some(());
        world.until("the plugin quotes Kueue", quoted).await;
        quota.set_pods(1).await;
        let (_, pod) = completed_as_its_pod(world, "waits").await;
        assert_eq!(pod.spec.unwrap().node_selector.unwrap()["kubernetes.io/os"], "linux", "the flavor's, from Kueue");
        let status = world.ended("waits").await.status.unwrap();
        assert_eq!((status.phase, status.waiting_for), (Some(JobPhase::Finished), None));
    })
    .await;
}

/// What is suspended keeps its place in Rota's limits, and Kueue's quota holds within them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_rota_and_quota_of_kueue_hold_at_once() {
    beside_kueue("both", 1, async |world, _| {
        let batches = History::<BatchJob>::start(world, unfinished_by(QUEUE));
        let unsuspended = |batch: &BatchJob| {
            let runs = batch_outcome(batch) == BatchState::Active && batch.spec.as_ref()?.suspend != Some(true);
            runs.then(|| "all".to_owned())
        };
        let resumed = History::<BatchJob>::start(world, unsuspended);
        world.create::<Queue>("line", json!({ "maxRunning": 2 })).await;
        for name in ["one", "two", "three", "four"] {
            create(world, name, with(ad_hoc("sleep 2"), json!({ "queue": "line" })), json!({})).await;
        }
        for name in ["one", "two", "three", "four"] {
            completed_as_its_pod(world, name).await;
        }
        assert_eq!((batches.most("line"), resumed.most("all")), (2, 1), "Rota lets two go, and Kueue one of them");
    })
    .await;
}

/// What Kueue drains is suspended again and loses its pods; resumed, it has its whole time again, and leaves one record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kueue_drains_waits_again_and_ends_with_one_record() {
    beside_kueue("drained", 1, async |world, quota| {
        let polite = "trap 'exit 143' TERM; sleep 6 & wait $!";
        let job = create(world, "drained", with(ad_hoc(polite), json!({ "timeoutSeconds": 12 })), json!({})).await;
        let first = world.running("drained").await.status.unwrap();
        quota.stop("HoldAndDrain").await;
        let (_, sentence) = suspended(world, "drained").await;
        assert!(sentence.contains(LOCAL_QUEUE), "{sentence}");
        without_pods(world, &job).await;
        let later = first.started_at.unwrap().0 + SignedDuration::from_secs(13);
        world.until("its timeout would have passed", async || (now() >= later).then_some(())).await;
        suspended(world, "drained").await;
        quota.stop("None").await;
        completed_as_its_pod(world, "drained").await;
    })
    .await;
}

/// A more important Job takes the quota of one that runs, which runs again afterwards; each leaves one record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kueue_preempts_runs_again_and_ends_with_one_record() {
    beside_kueue("preempted", 1, async |world, _| {
        let job = create(world, "modest", ad_hoc("sleep 5"), json!({})).await;
        world.running("modest").await;
        let urgent = json!({ KUEUE_PRIORITY: quota::URGENT });
        create(world, "urgent", ad_hoc("sleep 2"), urgent).await;
        suspended(world, "modest").await;
        without_pods(world, &job).await;
        let (_, urgent) = completed_as_its_pod(world, "urgent").await;
        let (_, modest) = completed_as_its_pod(world, "modest").await;
        assert!(span(&modest).0 >= span(&urgent).1, "there was room for one: {:?} {:?}", span(&modest), span(&urgent));
    })
    .await;
}

/// A cancel and the deadline end a Job that Kueue holds, before it ran and after, and one that runs in its quota.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_or_deadline_ends_what_kueue_holds_and_what_it_let_run() {
    beside_kueue("ended", 1, async |world, quota| {
        let cancel = json!({ "spec": { "cancel": { "reason": "wrong month" } } });
        create(world, "runs", ad_hoc(FOR_EVER), json!({})).await;
        world.running("runs").await;
        for name in ["cancelled", "too-late"] {
            let fields = if name == "too-late" { json!({ "deadlineSeconds": 10 }) } else { json!({}) };
            create(world, name, with(ad_hoc("true"), fields), json!({})).await;
        }
        suspended(world, "cancelled").await;
        world.patch::<Job>("cancelled", cancel.clone()).await;
        world.ended("too-late").await;
        world.patch::<Job>("runs", cancel.clone()).await;
        create(world, "drained", ad_hoc(FOR_EVER), json!({})).await;
        world.running("drained").await;
        quota.stop("HoldAndDrain").await;
        suspended(world, "drained").await;
        world.patch::<Job>("drained", cancel).await;
        // How its only pod ended may be known or not: Kueue has deleted it.
        let drained = world.only_run("drained").await.status.unwrap();
        assert_eq!((drained.phase, drained.reason), (Outcome::Failed, Reason::Cancelled), "{drained:#?}");
        let ends = [
            ("runs", Outcome::Failed, Reason::Cancelled, Some(143)),
            ("cancelled", Outcome::Skipped, Reason::Cancelled, None),
            ("too-late", Outcome::Skipped, Reason::TotalDeadlineExceeded, None),
        ];
        for (name, outcome, reason, code) in ends {
            let status = world.only_run(name).await.status.unwrap();
            assert_eq!((status.phase, status.reason, status.exit_code), (outcome, reason, code), "{name}: {status:#?}");
        }
        quota.unused(world).await;
    })
    .await;
}

/// Each attempt of an Indexed Job asks Kueue for all its pods at once, and the records are those of Kubernetes' indexes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_attempt_of_an_indexed_job_asks_kueue_for_all_its_pods() {
    beside_kueue("indexed", 1, async |world, quota| {
        let mut spec = with(
            ad_hoc("exit $((JOB_COMPLETION_INDEX * 3))"),
            json!({
                "retry": { "maxAttempts": 2, "backoff": { "initialSeconds": 1 } },
            }),
        );
        let indexed = json!({ "completionMode": "Indexed", "completions": 2, "parallelism": 2 });
        let batch = spec["jobTemplate"]["spec"].take();
        spec["jobTemplate"]["spec"] = with(batch, indexed);
        let job = create(world, "indexed", spec, json!({})).await;
        suspended(world, "indexed").await;
        quota.set_pods(2).await;
        world.ended("indexed").await;
        let runs = world.runs_of(&job.uid().unwrap()).await;
        let ends = runs.iter().map(|run| run.status.as_ref().unwrap()).map(|it| (it.reason, it.exit_code));
        assert_eq!(ends.collect::<Vec<_>>(), [(Reason::ExitCode, Some(3)); 2], "{runs:#?}");
        quota.unused(world).await;
    })
    .await;
}

/// The example of docs/jobs.md, in a namespace and with a ClusterQueue of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_example_runs() {
    beside_kueue("documented", 0, async |world, _| {
        let section = include_str!("../../docs/jobs.md").split("## Kueue, ").nth(1).unwrap();
        let example = section.split("```").nth(1).unwrap().trim_start_matches("yaml");
        let own = format!("{}-docs", world.namespace);
        let example = example.replace("namespace: team", &format!("namespace: {}", world.namespace));
        let example =
            example.replace("{name: team}", &format!("{{name: {own}}}")).replace("name: any", &format!("name: {own}"));
        let example = example.replace("clusterQueue: team", &format!("clusterQueue: {own}")).replace("\"60\"", "\"1\"");
        let kubectl = |verb: &str| {
            let mut kubectl = Command::new("kubectl");
            let mut child = kubectl.args([verb, "-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(example.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success(), "kubectl {verb}\n{example}");
        };
        kubectl("apply");
        completed_as_its_pod(world, "train-again").await;
        kubectl("delete");
    })
    .await;
}
