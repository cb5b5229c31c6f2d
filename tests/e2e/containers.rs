//! Pods as they are in production: with sidecars, several containers, restarts in place, and somebody who deletes them.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use rota::api::{Job, JobPhase, JobRun, JobRunStatus, Outcome, Reason};
use rota::domain::run::{BatchState, batch_outcome};
use serde_json::{Value, json};

use crate::support::make::{ad_hoc, container, trapping, with};
use crate::support::{World, in_world};

/// A Job without a template whose pod has those fields.
fn with_pod(script: &str, fields: Value) -> Value {
    let mut spec = ad_hoc(script);
    let pod = spec["jobTemplate"]["spec"]["template"]["spec"].take();
    spec["jobTemplate"]["spec"]["template"]["spec"] = with(pod, fields);
    spec
}

/// A sidecar as service meshes inject it: it starts before the main container and ends with it.
fn sidecar(script: &str) -> Value {
    with(container("proxy", script), json!({ "restartPolicy": "Always" }))
}

async fn record(world: &World, name: &str) -> JobRunStatus {
    world.only_run(name).await.status.unwrap()
}

fn end(status: &JobRunStatus) -> (Outcome, Reason, Option<i32>) {
    (status.phase, status.reason, status.exit_code)
}

/// Kubelets count in whole seconds: the sidecar seems to have ended when the main container did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_is_stopped_does_not_replace_the_exit_code_of_the_main_container() {
    in_world("sidecar-code", async |world| {
        let proxy = sidecar("trap 'exit 143' TERM; sleep 600 & wait $!");
        world.create::<Job>("mesh", with_pod("sleep 1; exit 77", json!({ "initContainers": [proxy] }))).await;
        let status = record(world, "mesh").await;
        assert_eq!(end(&status), (Outcome::Failed, Reason::ExitCode, Some(77)), "{status:#?}");
        let error = status.error.unwrap();
        assert!(error.starts_with("container main exited with code 77"), "{error}");
        assert!(status.log_path.unwrap().ends_with("/main/0.log"));
    })
    .await;
}

/// A sidecar that runs is not what was asked for: the attempt has not started, and is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_runs_does_not_hide_that_the_main_container_cannot_start() {
    in_world("sidecar-wait", async |world| {
        let proxy = sidecar("trap 'exit 0' TERM; sleep 600 & wait $!");
        let mut spec = with_pod("true", json!({ "initContainers": [proxy] }));
        spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"] =
            json!("docker.io/library/busibox:1.36");
        world.create::<Job>("stuck", with(spec, json!({ "pendingTimeoutSeconds": 15 }))).await;
        let status = record(world, "stuck").await;
        assert_eq!((status.phase, status.reason, status.started_at), (Outcome::Failed, Reason::PendingTimeout, None));
        let error = status.error.unwrap();
        assert!(error.contains("within 15 s") && error.contains("busibox:1.36"), "{error}");
    })
    .await;
}

/// Deletes the pod of a running Job, with its grace period.
async fn delete_pod(world: &World, job: &Job) -> String {
    world.ready(&job.name_any()).await;
    let pod = world.pods_of(&job.uid().unwrap()).await.remove(0).name_any();
    world.api::<Pod>().delete(&pod, &DeleteParams::default()).await.unwrap();
    pod
}

/// What a program does when it is asked to end is its affair: that somebody took its pod away is what is recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_deleted_is_lost_or_noted_whatever_its_program_says() {
    in_world("pod-deleted", async |world| {
        let script = |code: i32| ad_hoc(&trapping(&format!("exit {code}")));
        let fails = world.create::<Job>("fails", script(1)).await;
        let ends = world.create::<Job>("ends", script(0)).await;
        let pod = delete_pod(world, &fails).await;
        let status = record(world, "fails").await;
        assert_eq!(end(&status), (Outcome::Failed, Reason::PodLost, Some(1)), "{status:#?}");
        assert!(status.error.as_ref().unwrap().contains(&pod), "{status:#?}");
        let pod = delete_pod(world, &ends).await;
        let status = record(world, "ends").await;
        // Which of the two the Job controller sees first, that the pod is being deleted or that it has succeeded, decides what it
        // makes of the batch Job. The record follows that.
        let batch = world.batch_jobs_of(&ends.uid().unwrap()).await.remove(0);
        let expected = match batch_outcome(&batch) {
            BatchState::Complete => (Outcome::Completed, Reason::Succeeded, Some(0)),
            _ => (Outcome::Failed, Reason::PodLost, Some(0)),
        };
        assert_eq!(end(&status), expected, "{status:#?}");
        assert_eq!(status.notes, [format!("pod {pod} was being deleted when it ended with exit code 0")]);
    })
    .await;
}

/// A container that Kubernetes starts again in its pod runs, however long it waits in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_is_started_again_in_its_pod_is_running() {
    in_world("restarts", async |world| {
        let script = "n=$(cat /data/n 2>/dev/null || echo 0); echo $((n + 1)) > /data/n; [ $n -lt 2 ] && exit 42; sleep 3; exit 3";
        let codes = json!({ "operator": "In", "values": [42] });
        let fields = json!({
            "restartPolicy": "Never",
            "restartPolicyRules": [{ "action": "Restart", "exitCodes": codes }],
            "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
        });
        let main = with(container("main", script), fields);
        let spec = with_pod(script, json!({ "containers": [main], "volumes": [{ "name": "data", "emptyDir": {} }] }));
        let job = world.create::<Job>("again", with(spec, json!({ "pendingTimeoutSeconds": 8 }))).await;
        let running = world.running("again").await;
        let status = record(world, "again").await;
        assert_eq!(end(&status), (Outcome::Failed, Reason::ExitCode, Some(3)), "{status:#?}");
        assert_eq!(status.started_at, running.status.unwrap().started_at, "its first start");
        assert_eq!(status.notes, ["container main was restarted 2 times"]);
        assert!(status.log_path.unwrap().ends_with("/main/2.log"));
        assert_eq!(world.pods_of(&job.uid().unwrap()).await.len(), 1);
    })
    .await;
}

/// An ordinary container beside the main one that never ends keeps the attempt until its timeout: it is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_outlives_the_main_one_is_named() {
    in_world("outlives", async |world| {
        let proxy = container("proxy", "echo listening; trap 'exit 1' TERM; sleep 600 & wait $!");
        let main = container("main", "sleep 2");
        let spec = with(with_pod("true", json!({ "containers": [main, proxy] })), json!({ "timeoutSeconds": 25 }));
        world.create::<Job>("two", spec).await;
        let named = |job: &Job| {
            let status = job.status.as_ref();
            status.iter().flat_map(|it| &it.conditions).any(|it| it.message.contains("proxy goes on"))
        };
        let running = world.until_object("two", "says which container goes on", named).await;
        assert_eq!(running.status.unwrap().phase, Some(JobPhase::Running));
        let status = record(world, "two").await;
        assert_eq!((status.phase, status.reason), (Outcome::Failed, Reason::DeadlineExceeded));
        let error = status.error.unwrap();
        for part in ["timeout of 25 s", "exit code 0: main after", "proxy went on"] {
            assert!(error.contains(part), "{error}");
        }
    })
    .await;
}

/// What only an event tells is said while the Job waits, and in the record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_events_tell_is_in_the_condition_and_in_the_record() {
    in_world("events", async |world| {
        let volume = json!({ "name": "config", "configMap": { "name": "not-there" } });
        let no_volume = with_pod("true", json!({ "volumes": [volume] }));
        let mounts = json!([{ "name": "config", "mountPath": "/config" }]);
        let mut no_volume = no_volume;
        no_volume["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = mounts;
        let no_account = with_pod("true", json!({ "serviceAccountName": "nobody" }));
        let mut no_pods = ad_hoc("true");
        no_pods["jobTemplate"]["spec"]["parallelism"] = json!(0);
        let table = [
            ("no-volume", with(no_volume, json!({ "pendingTimeoutSeconds": 30 })), "not-there", Reason::PendingTimeout),
            (
                "no-account",
                with(no_account, json!({ "timeoutSeconds": 25 })),
                "\"nobody\" not found",
                Reason::DeadlineExceeded,
            ),
            ("no-pods", with(no_pods, json!({ "pendingTimeoutSeconds": 20 })), "parallelism 0", Reason::PendingTimeout),
        ];
        for (name, spec, _, _) in &table {
            world.create::<Job>(name, spec.clone()).await;
        }
        for (name, _, why, _) in &table {
            let said = |job: &Job| job.status.iter().flat_map(|it| &it.conditions).any(|it| it.message.contains(why));
            world.until_object(name, "says why nothing starts", said).await;
        }
        for (name, _, why, reason) in &table {
            let status = record(world, name).await;
            assert_eq!((status.phase, status.reason), (Outcome::Failed, *reason), "{name}: {status:#?}");
            let error = status.error.unwrap();
            assert!(error.contains(why), "{name}: {error}");
        }
    })
    .await;
}

/// The end of the log is promised whatever the API server wrote into the body that was pasted, and is no report.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_pasted_live_body_is_quoted_and_never_read_as_a_report() {
    in_world("live-body", async |world| {
        let line = json!({ "level": "error", "result": "timeout" }).to_string();
        let mut spec = ad_hoc(&format!("printf '\\033[2K'; echo '{line}'; exit 3"));
        let main = &mut spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
        main["terminationMessagePath"] = json!("/dev/termination-log");
        main["terminationMessagePolicy"] = json!("File");
        world.create::<Job>("live", spec).await;
        let run: JobRun = world.only_run("live").await;
        let status = run.status.unwrap();
        assert_eq!((status.exit_code, status.result), (Some(3), None));
        let error = status.error.unwrap();
        assert!(error.contains(&line) && error.contains("\\x1b[2K"), "{error:?}");
    })
    .await;
}
