//! Several containers in a pod, containers that are started again, and pods that are taken away.

use super::*;

fn with_sidecar(sidecar: Value, main: Value) -> Arc<Pod> {
    pod(json!({ "phase": "Failed", "initContainerStatuses": [sidecar], "containerStatuses": [main] }))
}

fn notes(run: JobRun) -> Vec<String> {
    run.status.unwrap().notes
}

#[test]
fn a_sidecar_that_ends_in_the_same_second_does_not_decide() {
    let run = Case::new(&[with_sidecar(terminated("proxy", 143), terminated("main", 77))]).ended(&backoff());
    assert_eq!(summary(&run), "Failed ExitCode 77: container main exited with code 77");
    assert_eq!(run.status.unwrap().log_path.as_deref(), Some("team_nightly-abcde_0000-1111/main/0.log"));
}

#[test]
fn a_sidecar_that_runs_is_no_start_and_does_not_end_the_wait() {
    let proxy = container("proxy", json!({ "running": { "startedAt": "2026-01-01T00:00:10Z" } }));
    let waits = |reason: &str| container("main", json!({ "waiting": { "reason": reason, "message": "image x" } }));
    let stuck = pod(
        json!({ "phase": "Pending", "initContainerStatuses": [proxy.clone()], "containerStatuses": [waits("ImagePullBackOff")] }),
    );
    let created = at("2026-01-01T00:00:05Z");
    assert_eq!(
        (pod_started(std::slice::from_ref(&stuck)), waiting_since(std::slice::from_ref(&stuck), created)),
        (None, Some(created))
    );
    assert_eq!(stuck_text(&[stuck]).as_deref(), Some("container main: ImagePullBackOff: image x"));
    let main = container("main", json!({ "running": { "startedAt": "2026-01-01T00:00:12Z" } }));
    let runs = pod(json!({ "phase": "Running", "initContainerStatuses": [proxy], "containerStatuses": [main] }));
    assert_eq!(pod_started(std::slice::from_ref(&runs)), Some(at("2026-01-01T00:00:12Z")));
    assert_eq!(waiting_since(&[runs], created), None);
}

#[test]
fn the_annotation_says_which_container_is_the_main_one() {
    let both = json!({ "phase": "Succeeded", "containerStatuses": [terminated("main", 0), terminated("aside", 0)] });
    let path = |annotations: Value| {
        let mut value = serde_json::to_value(&*pod(both.clone())).unwrap();
        value["metadata"]["annotations"] = annotations;
        Case::new(&[pruned::tests::pod(value)]).ended(&complete()).status.unwrap().log_path.unwrap()
    };
    assert!(path(json!({ "kubectl.kubernetes.io/default-container": "aside", "a": "b" })).ends_with("/aside/0.log"));
    assert!(path(json!({ "kubectl.kubernetes.io/default-container": "gone" })).ends_with("/main/0.log"));
    assert!(path(json!({})).ends_with("/main/0.log"));
}

fn restarted(state: Value) -> Arc<Pod> {
    let before = json!({ "exitCode": 42, "startedAt": "2026-01-01T00:00:12Z", "finishedAt": "2026-01-01T00:00:13Z" });
    let mut status = container("main", state);
    status["lastState"] = json!({ "terminated": before });
    status["restartCount"] = json!(2);
    pod(json!({ "phase": "Running", "containerStatuses": [status] }))
}

#[test]
fn a_container_that_is_started_again_in_its_pod_has_started() {
    let created = at("2026-01-01T00:00:05Z");
    let waits = restarted(json!({ "waiting": { "reason": "CrashLoopBackOff" } }));
    assert_eq!(
        (pod_started(std::slice::from_ref(&waits)), waiting_since(&[waits], created)),
        (Some(at("2026-01-01T00:00:12Z")), None)
    );
    let mut forgotten = (*pulling()).clone();
    forgotten.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0].restart_count = 1;
    assert_eq!(waiting_since(&[Arc::new(forgotten)], created), None, "although its kubelet forgot when");
    let end = json!({ "exitCode": 3, "startedAt": "2026-01-01T00:00:20Z", "finishedAt": "2026-01-01T00:00:25Z" });
    let mut case = Case::new(&[restarted(json!({ "terminated": end }))]);
    let record = |case: &Case| case.ended(&backoff()).status.unwrap();
    let status = record(&case);
    assert_eq!((status.started_at, status.exit_code), (time("2026-01-01T00:00:12Z"), Some(3)));
    assert_eq!(status.log_path.as_deref(), Some("team_nightly-abcde_0000-1111/main/2.log"));
    assert_eq!(status.notes, ["container main was restarted 2 times"]);
    case.job.status = Some(crate::api::JobStatus { started_at: time("2026-01-01T00:00:08Z"), ..Default::default() });
    assert_eq!(record(&case).started_at, time("2026-01-01T00:00:08Z"), "the first start, as the Job's status has it");
}

#[test]
fn a_pod_that_ended_before_somebody_deleted_it_ended_by_itself() {
    let failed = || ended_pod("Failed", json!({ "exitCode": 1 }));
    let of = |asked: &str| summary(&Case::new(&[deleted(failed(), asked, 30)]).ended(&backoff()));
    assert_eq!(of("2026-01-01T00:00:26Z"), "Failed ExitCode 1: container main exited with code 1");
    assert_eq!(
        of("2026-01-01T00:00:25Z"),
        "Failed PodLost 1: pod nightly-abcde on node node-1 was deleted while it ran"
    );
}

#[test]
fn a_success_while_the_pod_was_being_taken_away_is_noted() {
    let done = || ended_pod("Succeeded", json!({ "exitCode": 0 }));
    let of = |pod: Arc<Pod>| notes(Case::new(&[pod]).ended(&complete()));
    assert_eq!(
        of(deleted(done(), "2026-01-01T00:00:24Z", 30)),
        ["pod nightly-abcde was being deleted when it ended with exit code 0"]
    );
    assert_eq!(of(deleted(done(), "2026-01-01T00:00:26Z", 30)), Vec::<String>::new());
    let mut evicted = done();
    let condition = json!({ "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI" });
    Arc::make_mut(&mut evicted).status.as_mut().unwrap().conditions =
        Some(vec![serde_json::from_value(condition).unwrap()]);
    assert_eq!(
        of(evicted),
        ["pod nightly-abcde was being taken away (EvictionByEvictionAPI) when it ended with exit code 0"]
    );
}

#[test]
fn what_kubernetes_says_of_a_container_that_ended_with_0_is_noted() {
    let of = |reason: &str| {
        notes(Case::new(&[ended_pod("Succeeded", json!({ "exitCode": 0, "reason": reason }))]).ended(&complete()))
    };
    assert_eq!(of("Completed"), Vec::<String>::new());
    assert_eq!(
        of("OOMKilled"),
        [
            "a process of container main was killed for want of memory (OOMKilled), and the container ended with exit code 0"
        ]
    );
    assert_eq!(of("Error"), ["container main ended with exit code 0 and the reason Error"]);
}

#[test]
fn containers_that_outlive_the_main_one_are_named() {
    let done = json!({ "terminated": { "exitCode": 0, "startedAt": "2026-01-01T00:00:10Z", "finishedAt": "2026-01-01T00:00:12Z" } });
    let killed = json!({ "terminated": { "exitCode": 137, "startedAt": "2026-01-01T00:00:10Z", "finishedAt": "2026-01-01T00:00:27Z", "message": "listening\n" } });
    let running = json!({ "running": { "startedAt": "2026-01-01T00:00:10Z" } });
    let both = |phase: &str, aside: &Value| {
        pod(
            json!({ "phase": phase, "containerStatuses": [container("main", done.clone()), container("aside", aside.clone())] }),
        )
    };
    assert_eq!(outlived_since(&[both("Running", &running)]), Some(at("2026-01-01T00:00:12Z")));
    assert_eq!(
        outlived_text(&[both("Running", &running)], None).as_deref(),
        Some("ended with exit code 0: main after 2s; aside goes on")
    );
    assert_eq!(outlived_since(&[self::running(), both("Succeeded", &done)]), None);
    let broken = json!({ "terminated": { "exitCode": 3, "startedAt": "2026-01-01T00:00:10Z", "finishedAt": "2026-01-01T00:00:12Z" } });
    let fails = pod(json!({
        "phase": "Running", "containerStatuses": [container("main", broken), container("aside", running.clone())],
    }));
    assert_eq!(outlived_since(std::slice::from_ref(&fails)), Some(at("2026-01-01T00:00:12Z")));
    let said = outlived_text(&[fails], None);
    assert_eq!(said.as_deref(), Some("ended with exit code 3: main after 2s; aside goes on"));
    let late = Case::new(&[both("Failed", &killed)]).ended(&failed("DeadlineExceeded", "", 17));
    assert_eq!(
        summary(&late),
        "Failed DeadlineExceeded 137: ran longer than its timeout of 17 s: ended with exit code 0: main after 2s; aside went on; the last that container aside said: listening"
    );
}

#[test]
fn text_of_others_is_shown_escaped() {
    let run = exited(json!({ "exitCode": 3, "message": "\u{1b}[2Kfine\rCompleted\u{7}\nlast" }));
    assert_eq!(
        summary(&run),
        "Failed ExitCode 3: container main exited with code 3: last\nBefore that:\n\\x1b[2Kfine\\rCompleted\\x07"
    );
    let refused = Case::new(&[]).with(|input| refused_run(input, "\u{1b}]0;x\u{7}"));
    assert!(summary(&refused).ends_with("batch Job: \\x1b]0;x\\x07"));
}
