//! What a record says is taken from the real thing: the container, its log and its termination message.

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::LogParams;
use rota::api::{Job, JobGroup, JobRun, JobTemplate, Outcome, Queue, Reason, Schedule};
use serde_json::{Value, json};

use crate::support::make::{ad_hoc, of, script, template, with};
use crate::support::{World, in_world};

/// How large the content of a record may be, in bytes.
const RECORD_BYTES_MAX: usize = 1_536;

/// A person must be able to act on a failure from its record alone, long after the pod is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_container_is_recorded_with_exit_code_worker_times_log_and_last_words() {
    in_world("exit-code", async |world| {
        let words = "echo reading orders; sleep 1; echo 'line 7: the price is not a number' >&2; exit 3";
        let job = world.create::<Job>("import", ad_hoc(words)).await;
        let run = world.only_run("import").await;
        let pod = world.pods_of(&job.uid().unwrap()).await.remove(0);
        let status = run.status.clone().unwrap();
        assert_eq!((status.phase, status.reason, status.exit_code), (Outcome::Failed, Reason::ExitCode, Some(3)));
        let error = status.error.unwrap();
        assert!(error.contains("line 7: the price is not a number") && error.contains('3'), "{error}");
        let node = pod.spec.as_ref().unwrap().node_name.clone().unwrap();
        assert_eq!(status.worker_id, Some(format!("{node}/{}", pod.name_any())));
        let log = format!("{}_{}_{}/main/0.log", world.namespace, pod.name_any(), pod.uid().unwrap());
        assert_eq!(status.log_path, Some(log));
        let end = pod.status.unwrap().container_statuses.unwrap().remove(0).state.unwrap().terminated.unwrap();
        let (started, finished) = (end.started_at.unwrap().0, end.finished_at.unwrap().0);
        // The kubelet tells whole seconds, which may lie before it was queued; then both are moved.
        let (queued, start) = (status.queued_at.unwrap().0, status.started_at.unwrap().0);
        assert_eq!(start, started.max(queued));
        let moved = start.duration_since(started);
        assert_eq!(status.finished_at.unwrap().0, finished.checked_add(moved).unwrap());
        assert_eq!(i128::from(status.duration_ms.unwrap()), finished.duration_since(started).as_millis());
        let ran = &status.containers[0];
        let shell = ["/bin/sh".to_owned(), "-c".to_owned(), words.to_owned()];
        assert_eq!([ran.command.clone(), ran.args.clone()].concat(), shell, "{ran:?}");
        assert!(ran.image.is_some() && ran.image_id.is_some() && status.containers.len() == 1, "{ran:?}");
        // What Kubernetes adds to every object to track who owns which field is not of our making.
        let mut run = run;
        run.metadata.managed_fields = None;
        // What the API server itself notes about who wrote which field comes on top, and cannot be had without.
        let mut own = run.clone();
        own.metadata.managed_fields = None;
        let bytes = serde_json::to_vec(&own).unwrap().len();
        assert!(bytes <= RECORD_BYTES_MAX, "the record takes {bytes} bytes: {}", serde_json::to_string(&run).unwrap());
    })
    .await;
}

/// What a run produced is in its record, without any storage set up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn artifacts_and_result_come_from_the_termination_message() {
    in_world("report", async |world| {
        let report = json!({
            "artifacts": [{ "path": "/results/words.txt", "uri": "s3://bucket/words.txt", "bytes": 12 }, { "path": "/results/b" }],
            "result": { "words": 2, "language": "en" },
        });
        world.create::<Job>("report", ad_hoc(&format!("echo '{report}' > /dev/termination-log"))).await;
        let status = world.only_run("report").await.status.unwrap();
        assert_eq!((status.phase, status.reason, status.exit_code), (Outcome::Completed, Reason::Succeeded, Some(0)));
        assert_eq!(status.error, None);
        assert_eq!(serde_json::to_value(&status.artifacts).unwrap(), report["artifacts"]);
        assert_eq!(status.result, Some(report["result"].clone()));
    })
    .await;
}

/// Each attempt that failed has an event with a sentence of its own, also where the name of the Job is as long as it may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_one_reason_keep_their_sentences_and_long_names_have_events() {
    in_world("events", async |world| {
        let name = "n".repeat(253);
        let retry = json!({ "maxAttempts": 3, "backoff": { "initialSeconds": 0 } });
        let spec = with(ad_hoc("exit 3"), json!({ "retry": retry }));
        let uid = world.create::<Job>(&name, spec).await.uid().unwrap();
        world.ended(&name).await;
        let failed = async || {
            let events = world.all::<Event>().await;
            let of_job = |event: &Event| event.regarding.as_ref().and_then(|it| it.uid.as_ref()) == Some(&uid);
            let failed = events.iter().filter(|it| of_job(it) && it.reason.as_deref() == Some("AttemptFailed"));
            let mut texts: Vec<String> = failed.filter_map(|it| it.note.clone()).collect();
            texts.sort();
            (texts.len() >= 2).then_some(texts)
        };
        let texts = world.until("both are said", failed).await;
        assert!(texts[0].starts_with("attempt 1 ended") && texts[1].starts_with("attempt 2 ended"), "{texts:?}");
    })
    .await;
}

/// What a Job asks for may be large. The cache does not hold it, and the Job is launched, retried and recorded as any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_job_is_launched_retried_and_recorded_as_it_was_written() {
    in_world("large", async |world| {
        let script = "[ ${#PARAM_LONG} = 8000 ] && [ ${#FILLER} = 60000 ] || exit 9; [ $ROTA_ATTEMPT = 2 ] || exit 5";
        let retry = json!({ "maxAttempts": 2, "backoff": { "initialSeconds": 0 } });
        let mut spec = with(ad_hoc(script), json!({ "params": { "long": "x".repeat(8_000) }, "retry": retry }));
        let filler = json!([{ "name": "FILLER", "value": "y".repeat(60_000) }]);
        spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["env"] = filler;
        let uid = world.create::<Job>("large", spec).await.uid().unwrap();
        world.ended("large").await;
        let runs = world.runs_of(&uid).await;
        let ends: Vec<_> =
            runs.iter().filter_map(|run| run.status.as_ref()).map(|it| (it.phase, it.exit_code)).collect();
        assert_eq!(ends, [(Outcome::Failed, Some(5)), (Outcome::Completed, Some(0))], "{ends:?}");
        assert!(runs.iter().all(|run| run.spec.params["long"].len() == 8_000));
    })
    .await;
}

/// Parameters reach containers in each of the promised ways, with their values as they were given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_and_identity_reach_the_container_as_environment_expansion_and_typed_file() {
    in_world("params", async |world| {
        let mut what = script(
            "echo \"$0\"; env | sort; cat /etc/rota/params.json; echo; cmp /etc/rota/params.json $ROTA_PARAMS_FILE",
        );
        what["spec"]["template"]["spec"]["containers"][0]["args"] =
            json!(["expanded $(PARAM_TEXT) and $(PARAM_COUNT)"]);
        let params = json!([
            { "name": "text", "required": true },
            { "name": "count", "type": "integer", "default": "7" },
            { "name": "ratio", "type": "number", "default": "0.5" },
            { "name": "dry", "type": "boolean", "default": "false" },
        ]);
        world
            .create::<JobTemplate>("typed", json!({ "jobType": "typing", "params": params, "jobTemplate": what }))
            .await;
        world.create::<Queue>("side", json!({})).await;
        let values = json!({ "params": { "text": "a $(HOME) $PATH \"b\"", "dry": "true" }, "queue": "side" });
        let job = world.create::<Job>("typed", with(of("typed"), values)).await;
        let run = world.only_run("typed").await;
        assert_eq!(run.status.unwrap().phase, Outcome::Completed);
        let pod = world.pods_of(&job.uid().unwrap()).await.remove(0);
        let log = world.api::<Pod>().logs(&pod.name_any(), &LogParams::default()).await.unwrap();
        let says = |line: &str| assert!(log.lines().any(|it| it == line), "the log has no line {line:?}:\n{log}");
        says("expanded a $(HOME) $PATH \"b\" and 7");
        says("PARAM_TEXT=a $(HOME) $PATH \"b\"");
        says("PARAM_COUNT=7");
        says("PARAM_RATIO=0.5");
        says("PARAM_DRY=true");
        says("ROTA_JOB=typed");
        says(&format!("ROTA_JOB_UID={}", job.uid().unwrap()));
        says("ROTA_JOB_TYPE=typing");
        says("ROTA_ATTEMPT=1");
        says(&format!("ROTA_RUN={}", run.metadata.name.unwrap()));
        says(&format!("ROTA_NAMESPACE={}", world.namespace));
        says("ROTA_QUEUE=side");
        says("ROTA_TEMPLATE=typed");
        let file = log.lines().find(|line| line.starts_with('{')).expect("the log has the parameter file");
        let file: Value = serde_json::from_str(file).unwrap();
        assert_eq!(file, json!({ "text": "a $(HOME) $PATH \"b\"", "count": 7, "ratio": 0.5, "dry": true }));
        assert_eq!(run.spec.params["count"], "7");
        assert_eq!((run.spec.queue.as_str(), run.spec.job_type.as_str()), ("side", "typing"));
    })
    .await;
}

/// A tracking label that reached a child would make the GitOps tool prune it while it runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_of_gitops_tools_never_reach_what_rota_makes() {
    in_world("gitops", async |world| {
        let tracking = json!({
            "app.kubernetes.io/instance": "shop",
            "argocd.argoproj.io/instance": "shop",
            "kustomize.toolkit.fluxcd.io/name": "shop",
            "helm.toolkit.fluxcd.io/name": "shop",
        });
        let mut spec = ad_hoc("true");
        spec["jobTemplate"]["metadata"] = json!({ "labels": with(tracking.clone(), json!({ "team": "blue" })) });
        spec["jobTemplate"]["spec"]["template"]["metadata"] = json!({ "labels": tracking });
        let annotations = json!({ "argocd.argoproj.io/tracking-id": "shop", "meta.helm.sh/release-name": "shop" });
        let metadata = json!({ "name": "tracked", "labels": tracking, "annotations": annotations });
        let job = world.create_whole::<Job>(json!({ "metadata": metadata, "spec": spec })).await;
        let run = world.only_run("tracked").await;
        let uid = job.uid().unwrap();
        let batch: BatchJob = world.batch_jobs_of(&uid).await.remove(0);
        let pod = world.pods_of(&uid).await.remove(0);
        assert_eq!(batch.labels()["team"], "blue", "labels of the user's own are kept");
        for (labels, annotations) in [(run.labels(), run.annotations()), (batch.labels(), batch.annotations())] {
            let tracked = labels.iter().chain(annotations).find(|(_, value)| *value == "shop");
            assert_eq!(tracked, None);
        }
        // A pod has an owner, so that no tool prunes it, and NetworkPolicies may select it by what its template says.
        assert_eq!(pod.labels()["app.kubernetes.io/instance"], "shop");
    })
    .await;
}

/// History outlives everything: no record has an owner, and none goes with what it tells of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_survive_the_deletion_of_template_schedule_group_and_jobs() {
    in_world("history", async |world| {
        world.create::<JobTemplate>("work", template("true")).await;
        let soon = rota::runtime::clock::now() + jiff::SignedDuration::from_secs(2);
        world.create::<Schedule>("once", with(of("work"), json!({ "at": soon.to_string() }))).await;
        let member = json!({ "name": "only", "templateRef": { "name": "work" } });
        world.create::<JobGroup>("group", json!({ "mode": "Parallel", "jobs": [member] })).await;
        world.create::<Job>("single", of("work")).await;
        let three = async || Some(world.all::<JobRun>().await).filter(|runs| runs.len() == 3);
        let before = world.until("there are three records", three).await;
        assert!(before.iter().all(|run| run.owner_references().is_empty()), "{before:#?}");
        for job in world.all::<Job>().await {
            world.ended(&job.name_any()).await;
        }
        world.delete::<Schedule>("once").await;
        world.delete::<JobGroup>("group").await;
        world.delete::<Job>("single").await;
        world.delete::<JobTemplate>("work").await;
        everything_else_is_gone(world).await;
        let after = world.all::<JobRun>().await;
        assert_eq!(before, after, "no record changed or went");
    })
    .await;
}

async fn everything_else_is_gone(world: &World) {
    let gone = async || {
        let left = world.all::<Job>().await.len()
            + world.all::<BatchJob>().await.len()
            + world.all::<Pod>().await.len()
            + world.all::<JobTemplate>().await.len()
            + world.all::<Schedule>().await.len()
            + world.all::<JobGroup>().await.len();
        (left == 0).then_some(())
    };
    world.until("Jobs, batch Jobs, pods, template, schedule and group are gone", gone).await;
}
