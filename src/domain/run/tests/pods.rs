//! What is read from pods.

use serde_json::{Value, json};

use super::super::ERROR_BYTES_MAX;
use super::*;

#[test]
fn what_pods_say_of_their_progress() {
    let init = |state: Value| {
        let waiting = container("main", json!({ "waiting": { "reason": "PodInitializing" } }));
        pod(
            json!({ "phase": "Pending", "initContainerStatuses": [container("fetch", state)], "containerStatuses": [waiting] }),
        )
    };
    let (began, done) = ("2026-01-01T00:00:10Z", "2026-01-01T00:05:00Z");
    let fetching = init(json!({ "running": { "startedAt": began } }));
    let fetched = init(json!({ "terminated": { "exitCode": 0, "startedAt": began, "finishedAt": done } }));
    let message = "0/3 nodes are available";
    let unscheduled = pod(
        json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message }] }),
    );
    let creating = pod(
        json!({ "phase": "Pending", "containerStatuses": [container("main", json!({ "waiting": { "reason": "ContainerCreating" } }))] }),
    );
    let succeeded = ended_pod("Succeeded", json!({ "exitCode": 0 }));
    let half = pod(json!({ "phase": "Failed", "containerStatuses": [
        container("main", json!({ "terminated": { "exitCode": 1 } })), container("aside", json!({ "running": {} })),
    ] }));
    let evicted = pod(json!({ "phase": "Failed", "reason": "Evicted" }));
    let created = "2026-01-01T00:00:05Z";
    let image = "container main: ImagePullBackOff: Back-off pulling image \"x\"";
    let table = [
        ("no pod yet", vec![], None, true, Some(created), None),
        (
            "no node takes it",
            vec![unscheduled],
            None,
            false,
            Some(created),
            Some("pod nightly-abcde cannot be scheduled: 0/3 nodes are available"),
        ),
        ("its image cannot be pulled", vec![creating.clone(), pulling()], None, false, Some(created), Some(image)),
        ("it is being created", vec![creating], None, false, Some(created), Some("container main: ContainerCreating")),
        ("its init container runs", vec![fetching], Some(began), false, None, Some("container main: PodInitializing")),
        (
            "its init container is done",
            vec![fetched],
            Some(began),
            false,
            Some(done),
            Some("container main: PodInitializing"),
        ),
        ("it runs", vec![running()], Some(began), false, None, None),
        ("one of two runs", vec![running(), succeeded.clone()], Some(began), false, None, None),
        ("it ended", vec![succeeded], Some(began), true, None, None),
        ("one of its containers still runs", vec![half], None, false, None, None),
        ("it was evicted before it started", vec![evicted], None, true, None, None),
    ];
    for (what, pods, started, settled, since, text) in table {
        assert_eq!(pod_started(&pods), started.map(at), "{what}: started");
        assert_eq!(pods_settled(&pods), settled, "{what}: settled");
        assert_eq!(waiting_since(&pods, at(created)), since.map(at), "{what}: waiting since");
        assert_eq!(waiting_text(&pods).as_deref(), text, "{what}: waiting for");
    }
}

#[test]
fn reports_are_read_within_the_limits_of_a_record() {
    let report = |message: &str| {
        let run = Case::new(&[ended_pod("Succeeded", json!({ "exitCode": 0, "message": message }))]).ended(&complete());
        let status = run.status.unwrap();
        (status.artifacts.len(), status.result)
    };
    let many: Vec<Value> = (0..150).map(|number| json!({ "path": format!("{number}") })).collect();
    let left_out = |message: &str| {
        let run = Case::new(&[ended_pod("Succeeded", json!({ "exitCode": 0, "message": message }))]).ended(&complete());
        run.status.unwrap().notes
    };
    let table = [
        ("text", "all went well".to_owned(), (0, None)),
        ("another JSON", "{\"level\":\"info\"}".to_owned(), (0, None)),
        ("a list", "[1]".to_owned(), (0, None)),
        ("a result that is a word", "{\"result\":\"ok\"}\n".to_owned(), (0, Some(json!("ok")))),
        ("a result of nothing", "{\"result\":null}".to_owned(), (0, None)),
        ("a result too long", json!({ "result": "x".repeat(2_048) }).to_string(), (0, None)),
        ("a result that no database holds", json!({ "result": "a\0" }).to_string(), (0, None)),
        ("artifacts of the wrong shape", json!({ "artifacts": { "path": "x" } }).to_string(), (0, None)),
        (
            "wrong ones among them",
            json!({ "artifacts": [1, {}, { "path": "" }, { "path": "x".repeat(1_025) }, { "path": "x" }] }).to_string(),
            (1, None),
        ),
        ("too many", json!({ "artifacts": many.clone() }).to_string(), (100, None)),
    ];
    for (what, message, expected) in table {
        assert_eq!(report(&message), expected, "{what}");
    }
    let said = [
        ("{\"level\":\"info\"}".to_owned(), vec![]),
        (
            json!({ "result": "x".repeat(2_500) }).to_string(),
            vec!["the result of container main is left out: it has 2502 bytes as JSON, at most 2048 are kept"],
        ),
        (
            json!({ "result": "a\0" }).to_string(),
            vec!["the result of container main is left out: it contains the character U+0000"],
        ),
        (
            json!({ "artifacts": many }).to_string(),
            vec!["50 of 150 artifacts of container main are left out: a record lists at most 100"],
        ),
        (
            json!({ "artifacts": [1, { "path": "x", "bytes": -1 }] }).to_string(),
            vec![
                "1 of 2 artifacts of container main are left out: each needs a path of 1 to 1024 bytes",
                "fields of 1 artifacts of container main are left out: uri has at most 2048 bytes, sha256 at most 64, and bytes is a whole number from 0",
            ],
        ),
        (
            json!({ "result": "x".repeat(5_000) }).to_string()[..4_096].to_owned(),
            vec![
                "the report of container main is no valid JSON (4096 bytes; Kubernetes cuts a termination message at 4096 bytes, and all those of a pod at 12288)",
            ],
        ),
    ];
    for (message, expected) in said {
        assert_eq!(left_out(&message), expected, "{message:.40}");
    }
    let odd = json!({ "artifacts": [{ "path": "x", "uri": "u".repeat(2_049), "sha256": 5, "bytes": -1 }] }).to_string();
    let run = Case::new(&[ended_pod("Succeeded", json!({ "exitCode": 0, "message": odd }))]).ended(&complete());
    assert_eq!(
        run.status.unwrap().artifacts,
        [crate::api::job_run::Artifact { path: "x".into(), ..Default::default() }]
    );
}

#[test]
fn a_long_error_keeps_its_end_and_whole_characters() {
    let message = format!("{}the end", "ä☃".repeat(1_500));
    let run = Case::new(&[ended_pod("Failed", json!({ "exitCode": 1, "message": message }))]).ended(&failed(
        "BackoffLimitExceeded",
        "",
        30,
    ));
    let error = run.status.unwrap().error.unwrap();
    assert!(
        error.len() <= ERROR_BYTES_MAX
            && error.starts_with("container main exited with code 1: …")
            && error.ends_with("the end"),
        "{error}"
    );
    let lines = (0..40).map(|number| number.to_string()).collect::<Vec<_>>().join("\n");
    let run = Case::new(&[ended_pod("Failed", json!({ "exitCode": 1, "message": lines }))]).ended(&failed(
        "BackoffLimitExceeded",
        "",
        30,
    ));
    assert_eq!(
        run.status.unwrap().error.unwrap(),
        "container main exited with code 1: 39\nBefore that:\n…30\n31\n32\n33\n34\n35\n36\n37\n38"
    );
    let refused = Case::new(&[]).with(|input| refused_run(input, &"☃".repeat(5_000)));
    assert!(refused.status.unwrap().error.unwrap().len() <= ERROR_BYTES_MAX);
}

#[test]
fn without_container_times_the_end_is_when_the_batch_job_ended() {
    let mut case = Case::new(&[]);
    case.job.status = Some(crate::api::JobStatus { started_at: time("2026-01-01T00:00:10Z"), ..Default::default() });
    let status = case.ended(&failed("DeadlineExceeded", "", 30)).status.unwrap();
    assert_eq!((status.finished_at, status.duration_ms), (time("2026-01-01T00:00:27Z"), Some(17_000)));
    let never = Case::new(&[pulling()]).ended(&failed("DeadlineExceeded", "", 1)).status.unwrap();
    assert_eq!((never.started_at, never.duration_ms), (None, None));
    assert_eq!(never.finished_at, time("2026-01-01T00:00:27Z"));
    assert_eq!((never.worker_id.as_deref(), never.log_path), (Some("node-1/nightly-abcde"), None));
}

#[test]
fn the_log_of_a_container_that_failed_is_no_report_unless_it_asked_for_its_file_only() {
    let line = "{\"level\":\"error\",\"result\":\"timeout\"}";
    let failed_with = |policy: &str| {
        let mut value = serde_json::to_value(&*ended_pod("Failed", json!({ "exitCode": 1, "message": line }))).unwrap();
        value["spec"]["containers"] = json!([{ "name": "main", "terminationMessagePolicy": policy }]);
        Case::new(&[pruned::tests::pod(value)]).ended(&backoff())
    };
    let run = failed_with("FallbackToLogsOnError");
    assert_eq!(summary(&run), format!("Failed ExitCode 1: container main exited with code 1: {line}"));
    assert_eq!(run.status.unwrap().result, None);
    let run = failed_with("File");
    assert_eq!(summary(&run), "Failed ExitCode 1: container main exited with code 1");
    assert_eq!(run.status.unwrap().result, Some(json!("timeout")));
}
