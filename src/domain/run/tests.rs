//! Records: every field from what was seen.

mod containers;
mod deadlines;
mod kubernetes;

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use serde_json::{Value, json};

use super::*;
use crate::api::ScheduleSpec;
use crate::api::job::{GroupReference, TemplateSnapshot};
use crate::api::job_template::Retry;
use crate::domain::pruned;

const UID: &str = "6f1e1d2c-9d3b-4a6e-8f7a-0b1c2d3e4f50";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn time(text: &str) -> Option<MicroTime> {
    Some(MicroTime(at(text)))
}

fn job() -> Job {
    let mut job = Job::new("nightly-8wtkh-1767225600", crate::api::JobSpec::default());
    job.metadata.namespace = Some("team".into());
    job.metadata.uid = Some(UID.into());
    job.spec.template_ref = Some(crate::api::LocalReference { name: "report".into() });
    job.spec.schedule_ref = Some(ObjectReference { name: "nightly".into(), uid: UID.into() });
    job.spec.scheduled_time = time("2026-01-01T00:00:00Z");
    job.spec.group_ref = Some(GroupReference { name: "batch".into(), uid: UID.into(), member: "first".into() });
    job
}

fn resolved(job_template: &Value) -> Resolved<'_> {
    Resolved {
        template: Some(TemplateSnapshot {
            name: "report".into(),
            uid: UID.into(),
            revision: "report-8wtkh-2s7z57fql9".into(),
            digest: "0f".repeat(32),
        }),
        job_template,
        declared: &[],
        params: [("region".to_owned(), "eu".to_owned())].into(),
        job_type: "report".into(),
        queue: "default".into(),
        priority: 5,
        retry: Retry { max_attempts: 1, ..Retry::default() },
        timeout_seconds: Some(30),
        pending_timeout_seconds: 600,
        deadline_seconds: None,
        ttl_seconds: None,
    }
}

fn pod(status: Value) -> Arc<Pod> {
    let value = json!({
        "metadata": { "name": "nightly-abcde", "namespace": "team", "uid": "0000-1111" },
        "spec": {
            "nodeName": "node-1",
            "initContainers": [{ "name": "fetch" }, { "name": "proxy", "restartPolicy": "Always" }],
            "containers": [{ "name": "main" }, { "name": "aside" }],
        },
        "status": status,
    });
    pruned::tests::pod(value)
}

/// A pod with one container that has ended.
fn ended_pod(phase: &str, terminated: Value) -> Arc<Pod> {
    let mut end = json!({ "startedAt": "2026-01-01T00:00:10Z", "finishedAt": "2026-01-01T00:00:25Z" });
    end.as_object_mut().unwrap().extend(terminated.as_object().unwrap().clone());
    pod(json!({ "phase": phase, "containerStatuses": [container("main", json!({ "terminated": end }))] }))
}

/// A pod that somebody asked to end then, with so many seconds of grace.
fn deleted(mut pod: Arc<Pod>, asked: &str, grace: i64) -> Arc<Pod> {
    let metadata = &mut Arc::make_mut(&mut pod).metadata;
    metadata.deletion_timestamp = Some(Time(at(asked) + jiff::SignedDuration::from_secs(grace)));
    metadata.deletion_grace_period_seconds = Some(grace);
    pod
}

fn container(name: &str, state: Value) -> Value {
    json!({ "name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state })
}

fn batch(spec: Value, conditions: Value) -> BatchJob {
    pruned::tests::batch_job(json!({ "spec": spec, "status": { "conditions": conditions } }))
}

fn complete() -> BatchJob {
    let when = "2026-01-01T00:00:27Z";
    batch(json!({ "template": {} }), json!([{ "type": "Complete", "status": "True", "lastTransitionTime": when }]))
}

fn failed(reason: &str, message: &str, deadline: i64) -> BatchJob {
    let condition = json!({
        "type": "Failed", "status": "True", "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:27Z",
    });
    batch(json!({ "template": {}, "activeDeadlineSeconds": deadline }), json!([condition]))
}

/// What may differ from one attempt to another.
struct Case {
    job: Job,
    template: Value,
    timeout: Option<i64>,
    pods: Vec<Arc<Pod>>,
    cancel: Option<(Reason, Cancel)>,
    retry: Retry,
    deadline: Option<Timestamp>,
    resolved: bool,
}

impl Case {
    fn new(pods: &[Arc<Pod>]) -> Self {
        Self {
            job: job(),
            template: json!({}),
            timeout: Some(30),
            pods: pods.to_vec(),
            cancel: None,
            retry: Retry { max_attempts: 1, ..Retry::default() },
            deadline: None,
            resolved: true,
        }
    }

    fn cancelled(pods: &[Arc<Pod>], reason: Reason, why: &str, force: bool) -> Self {
        Self { cancel: Some((reason, Cancel { reason: why.into(), force, ..Cancel::default() })), ..Self::new(pods) }
    }

    fn with<T>(&self, act: impl FnOnce(&RunInput<'_>) -> T) -> T {
        let resolved =
            Resolved { timeout_seconds: self.timeout, retry: self.retry.clone(), ..resolved(&self.template) };
        act(&RunInput {
            batch: None,
            job: &self.job,
            attempt: 2,
            resolved: self.resolved.then_some(&resolved),
            queued_at: at("2026-01-01T00:00:01Z"),
            pods: &self.pods,
            cancel: self.cancel.as_ref(),
            deadline: self.deadline,
            now: at("2026-01-01T00:00:30Z"),
        })
    }

    fn ended(&self, batch: &BatchJob) -> JobRun {
        self.with(|input| ended_run(input, batch, &batch_outcome(batch)))
    }
}

/// The record of an attempt of which no batch Job is left, nor remembered.
fn vanished_run(input: &RunInput<'_>) -> JobRun {
    gone_run(input, None)
}

/// Outcome, reason, exit code and error of a record, in one line.
fn summary(run: &JobRun) -> String {
    let status = run.status.as_ref().unwrap();
    let code = status.exit_code.map(|code| format!(" {code}")).unwrap_or_default();
    let error = status.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    format!("{} {}{code}{error}", status.phase.as_str(), status.reason.as_str())
}

#[test]
fn a_batch_job_has_ended_when_a_terminal_condition_holds() {
    let ended = |type_: &str, status: &str| {
        batch_outcome(&batch(
            json!({ "template": {} }),
            json!([{ "type": type_, "status": status, "reason": "R", "message": "M" }]),
        ))
    };
    let table = [
        (ended("Complete", "True"), BatchState::Complete),
        (ended("Failed", "True"), BatchState::Failed { reason: "R".into(), message: "M".into() }),
        (ended("Failed", "False"), BatchState::Active),
        (ended("FailureTarget", "True"), BatchState::Active),
        (ended("SuccessCriteriaMet", "True"), BatchState::Active),
        (ended("Suspended", "True"), BatchState::Active),
        (batch_outcome(&BatchJob::default()), BatchState::Active),
    ];
    for (is, expected) in table {
        assert_eq!(is, expected);
    }
}

#[test]
fn the_whole_record_of_an_attempt_that_succeeded() {
    let message = json!({ "artifacts": [{ "path": "out.csv", "bytes": 7 }], "result": { "rows": 3 } }).to_string();
    let run = Case::new(&[ended_pod("Succeeded", json!({ "exitCode": 0, "message": message }))]).ended(&complete());
    let expected = json!({
        "apiVersion": "rota.dev/v1alpha1",
        "kind": "JobRun",
        "metadata": {
            "name": "nightly-8wtkh-1767225600-8wtkh-2",
            "namespace": "team",
            "labels": {
                "app.kubernetes.io/managed-by": "rota",
                "rota.dev/job": "nightly-8wtkh-1767225600",
                "rota.dev/job-uid": UID,
                "rota.dev/attempt": "2",
                "rota.dev/template": "report",
                "rota.dev/schedule": "nightly",
                "rota.dev/group": "batch",
                "rota.dev/queue": "default",
                "rota.dev/content": content_label(&job()).unwrap(),
                "rota.dev/outcome": "Completed",
                "rota.dev/day": "2026-01-01",
            },
        },
        "spec": {
            "jobRef": { "name": "nightly-8wtkh-1767225600", "uid": UID },
            "templateRef": { "name": "report", "uid": UID, "revision": "report-8wtkh-2s7z57fql9", "digest": "0f".repeat(32) },
            "scheduleRef": { "name": "nightly", "uid": UID },
            "scheduledTime": "2026-01-01T00:00:00.000000Z",
            "groupRef": { "name": "batch", "uid": UID, "member": "first" },
            "jobType": "report",
            "attempt": 2,
            "params": { "region": "eu" },
            "priority": 5,
            "queue": "default",
        },
        "status": {
            "phase": "Completed",
            "reason": "Succeeded",
            "queuedAt": "2026-01-01T00:00:01.000000Z",
            "startedAt": "2026-01-01T00:00:10.000000Z",
            "finishedAt": "2026-01-01T00:00:25.000000Z",
            "durationMs": 15_000,
            "startDelayMs": 10_000,
            "workerId": "node-1/nightly-abcde",
            "containers": [{ "name": "main" }],
            "exitCode": 0,
            "artifacts": [{ "path": "out.csv", "bytes": 7 }],
            "result": { "rows": 3 },
            "logPath": "team_nightly-abcde_0000-1111/main/0.log",
        },
    });
    assert_eq!(serde_json::to_value(&run).unwrap(), expected);
}

#[test]
fn a_typical_record_is_small() {
    let message = json!({ "artifacts": [{ "path": "out.csv", "bytes": 7 }], "result": { "rows": 3 } }).to_string();
    let run = Case::new(&[ended_pod("Succeeded", json!({ "exitCode": 0, "message": message }))]).ended(&complete());
    let bytes = serde_json::to_string(&run).unwrap().len();
    assert!(bytes <= 1_536, "{bytes}");
}

fn backoff() -> BatchJob {
    failed("BackoffLimitExceeded", "Job has reached the specified backoff limit", 30)
}

fn exited(end: Value) -> JobRun {
    Case::new(&[ended_pod("Failed", end)]).ended(&backoff())
}

fn with_status(status: Value) -> JobRun {
    Case::new(&[pod(status)]).ended(&backoff())
}

fn terminated(name: &str, code: i32) -> Value {
    let end = json!({ "exitCode": code, "startedAt": "2026-01-01T00:00:10Z", "finishedAt": "2026-01-01T00:00:25Z" });
    container(name, json!({ "terminated": end }))
}

#[test]
fn a_container_that_failed_says_how_in_words() {
    let table = [
        (
            "with the last lines that it wrote",
            exited(json!({ "exitCode": 3, "reason": "Error", "message": "one\ntwo\n" })),
            "Failed ExitCode 3: container main exited with code 3: two\nBefore that:\none",
        ),
        (
            "with nothing to quote",
            exited(json!({ "exitCode": 1 })),
            "Failed ExitCode 1: container main exited with code 1",
        ),
        (
            "with a report, which is no text",
            exited(json!({ "exitCode": 1, "message": "{\"result\": 1}" })),
            "Failed ExitCode 1: container main exited with code 1",
        ),
        (
            "killed",
            exited(json!({ "exitCode": 137, "reason": "Error" })),
            "Failed ExitCode 137: container main exited with code 137 (SIGKILL)",
        ),
        (
            "out of memory",
            exited(json!({ "exitCode": 137, "reason": "OOMKilled" })),
            "Failed ExitCode 137: container main ran out of memory and was killed (OOMKilled, exit code 137)",
        ),
        (
            "no such program",
            exited(
                json!({ "exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z", "message": "exec: \"foo\": not found" }),
            ),
            "Failed ExitCode 128: container main could not be started (exit code 128): exec: \"foo\": not found",
        ),
        (
            "an init container",
            with_status(
                json!({ "phase": "Failed", "initContainerStatuses": [terminated("fetch", 2)], "containerStatuses": [container("main", json!({ "waiting": { "reason": "PodInitializing" } }))] }),
            ),
            "Failed ExitCode 2: init container fetch exited with code 2",
        ),
        (
            "the other container, although a sidecar was killed after",
            with_status(
                json!({ "phase": "Failed", "initContainerStatuses": [terminated("proxy", 137)], "containerStatuses": [terminated("aside", 4), terminated("main", 0)] }),
            ),
            "Failed ExitCode 4: container aside exited with code 4",
        ),
    ];
    for (what, run, expected) in table {
        assert_eq!(summary(&run), expected, "{what}");
    }
}

#[test]
fn what_kubernetes_did_to_an_attempt_is_told_from_what_its_containers_did() {
    let policy = || failed("PodFailurePolicy", "Pod team/x has condition Y matching FailJob rule", 30);
    let disrupted = json!({
        "phase": "Failed",
        "conditions": [{ "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting" }],
        "containerStatuses": [terminated("main", 143)],
    });
    let table = [
        (
            "by Kubernetes' own judgement",
            Case::new(&[ended_pod("Succeeded", json!({ "exitCode": 0 }))]).ended(&policy()),
            "Failed BatchJobFailed 0: PodFailurePolicy: Pod team/x has condition Y matching FailJob rule",
        ),
        (
            "by Kubernetes' own judgement, without a pod",
            Case::new(&[]).ended(&policy()),
            "Failed BatchJobFailed: PodFailurePolicy: Pod team/x has condition Y matching FailJob rule",
        ),
        (
            "its pod is gone",
            Case::new(&[]).ended(&backoff()),
            "Failed PodLost: its pod vanished before its end was seen",
        ),
        (
            "evicted by the API",
            with_status(disrupted),
            "Failed PodLost 143: pod nightly-abcde on node node-1 was lost: EvictionByEvictionAPI: Eviction API: evicting",
        ),
        (
            "evicted by the node before it started",
            with_status(
                json!({ "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory." }),
            ),
            "Failed PodLost: pod nightly-abcde on node node-1 was lost: Evicted: The node was low on resource: memory.",
        ),
        (
            "lost with its node, with an exit code made up",
            exited(
                json!({ "exitCode": 137, "reason": "ContainerStatusUnknown", "message": "The container could not be located" }),
            ),
            "Failed PodLost: pod nightly-abcde on node node-1 was lost: ContainerStatusUnknown: The container could not be located",
        ),
        (
            "over its pod's own deadline",
            with_status(json!({ "phase": "Failed", "reason": "DeadlineExceeded" })),
            "Failed DeadlineExceeded: pod nightly-abcde ran longer than the activeDeadlineSeconds of its own specification",
        ),
    ];
    for (what, run, expected) in table {
        assert_eq!(summary(&run), expected, "{what}");
    }
}

#[test]
fn a_pod_that_somebody_deleted_is_lost() {
    let deleted = |code: i32| {
        let mut pod = (*ended_pod("Failed", json!({ "exitCode": code }))).clone();
        pod.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at("2026-01-01T00:00:20Z")));
        Case::new(&[Arc::new(pod)]).ended(&failed("BackoffLimitExceeded", "", 30))
    };
    for code in [143, 3, 1] {
        let text = "pod nightly-abcde on node node-1 was deleted while it ran";
        assert_eq!(
            summary(&deleted(code)),
            format!("Failed PodLost {code}: {text}"),
            "a program may answer with any code"
        );
    }
}

#[test]
fn a_pod_that_was_killed_before_somebody_deleted_it_was_not_lost() {
    let deleted_at = |time: &str, end: Value| {
        let mut pod = (*ended_pod("Failed", end)).clone();
        pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(time)));
        summary(&Case::new(&[Arc::new(pod)]).ended(&failed("BackoffLimitExceeded", "", 30)))
    };
    let starved = json!({ "exitCode": 137, "reason": "OOMKilled" });
    assert!(
        deleted_at("2026-01-01T00:00:40Z", starved)
            .starts_with("Failed ExitCode 137: container main ran out of memory")
    );
    assert!(deleted_at("2026-01-01T00:00:40Z", json!({ "exitCode": 137 })).starts_with("Failed ExitCode 137"));
    // The clock of its node may be behind.
    assert!(deleted_at("2026-01-01T00:00:28Z", json!({ "exitCode": 137 })).starts_with("Failed PodLost 137"));
}

/// The API server writes over when the deletion was asked for, once the kubelet removes the pod.
#[test]
fn a_pod_that_the_kubelet_has_removed_since_is_lost_if_the_kubelet_knew_of_the_deletion_at_its_end() {
    let removed = |observed: i64| {
        let mut pod = (*ended_pod("Failed", json!({ "exitCode": 1 }))).clone();
        pod.metadata.generation = Some(2);
        pod.metadata.deletion_grace_period_seconds = Some(0);
        pod.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at("2026-01-01T00:00:27Z")));
        pod.status.get_or_insert_default().observed_generation = Some(observed);
        summary(&Case::new(&[Arc::new(pod)]).ended(&failed("BackoffLimitExceeded", "", 30)))
    };
    assert!(removed(2).starts_with("Failed PodLost 1"), "{}", removed(2));
    assert!(removed(1).starts_with("Failed ExitCode 1"), "it had ended before: {}", removed(1));
}

/// Somebody deletes a batch Job while its last pods end.
#[test]
fn what_kubernetes_had_decided_stands_when_the_batch_job_is_gone() {
    let deciding = |type_: &str, reason: &str| {
        let when = "2026-01-01T00:00:27Z";
        let condition = json!({ "type": type_, "status": "True", "reason": reason, "lastTransitionTime": when });
        batch(json!({ "template": {}, "completions": 3, "parallelism": 3 }), json!([condition]))
    };
    let pods = [ended_pod("Succeeded", json!({ "exitCode": 0 })), ended_pod("Failed", json!({ "exitCode": 143 }))];
    let gone = |batch: &BatchJob| Case::new(&pods).with(|input| gone_run(input, Some(batch)));
    assert!(summary(&gone(&deciding("SuccessCriteriaMet", "SuccessPolicy"))).starts_with("Completed Succeeded 0"));
    let failed = gone(&deciding("FailureTarget", "PodFailurePolicy"));
    assert_eq!(failed.status.unwrap().final_by.as_deref(), Some("podFailurePolicy"));
}

/// The limit that the body itself sets is final also where Rota has to see to it, because the batch Job is gone.
#[test]
fn the_deadline_of_a_body_is_final_also_when_its_batch_job_is_gone() {
    let mut pod = (*ended_pod("Failed", json!({ "exitCode": 143 }))).clone();
    pod.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at("2026-01-01T00:00:20Z")));
    let mut case = Case::new(&[Arc::new(pod)]);
    case.template = json!({ "spec": { "activeDeadlineSeconds": 20 } });
    let said = json!([{
        "type": "Dispatched", "status": "True", "reason": "DeadlineExceeded", "message": "", "lastTransitionTime": "2026-01-01T00:00:20Z",
    }]);
    case.job.status = Some(serde_json::from_value(json!({ "conditions": said })).unwrap());
    let run = case.with(|input| gone_run(input, None));
    let status = run.status.unwrap();
    let said = (status.reason, status.final_by.as_deref());
    assert_eq!(said, (Reason::DeadlineExceeded, Some("activeDeadlineSeconds")));
    case.timeout = Some(10);
    assert_eq!(
        case.with(|input| gone_run(input, None)).status.unwrap().final_by,
        None,
        "a timeout of ours came before"
    );
}

#[test]
fn the_first_pod_that_failed_is_to_blame() {
    let at_second = |name: &str, second: &str, code: i32| {
        let end = json!({ "exitCode": code, "finishedAt": format!("2026-01-01T00:00:{second}Z") });
        let mut pod = (*ended_pod("Failed", end)).clone();
        pod.metadata.name = Some(name.into());
        Arc::new(pod)
    };
    let pods = [at_second("late", "25", 1), at_second("early", "20", 2), at_second("fine", "11", 0)];
    let run = Case::new(&pods).ended(&failed("BackoffLimitExceeded", "", 30));
    let status = run.status.unwrap();
    assert_eq!((status.exit_code, status.worker_id.as_deref()), (Some(2), Some("node-1/early")));
    assert_eq!(status.finished_at, time("2026-01-01T00:00:25Z"));
}

fn running() -> Arc<Pod> {
    let state = json!({ "running": { "startedAt": "2026-01-01T00:00:10Z" } });
    pod(json!({ "phase": "Running", "containerStatuses": [container("main", state)] }))
}

fn pulling() -> Arc<Pod> {
    let state = json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image \"x\"" } });
    pod(json!({ "phase": "Pending", "containerStatuses": [container("main", state)] }))
}

#[test]
fn records_of_what_did_not_end_by_itself() {
    let vanished = |case: Case| case.with(vanished_run);
    let table = [
        (
            vanished(Case::new(&[running()])),
            "Failed BatchJobDeleted: somebody deleted the batch Job before it was seen to end",
        ),
        (
            vanished(Case::new(&[pulling()])),
            "Failed BatchJobDeleted: somebody deleted the batch Job before it was seen to end: container main: ImagePullBackOff: Back-off pulling image \"x\"",
        ),
        (
            vanished(Case::cancelled(&[], Reason::Cancelled, "", false)),
            "Skipped Cancelled: cancelled before it started",
        ),
        (
            Case::new(&[]).with(|input| refused_run(input, "pods \"x\" is forbidden: exceeded quota")),
            "Failed LaunchRefused: the API server refused to create the batch Job: pods \"x\" is forbidden: exceeded quota",
        ),
        (
            Case::new(&[]).with(|input| skipped_run(input, Reason::DuplicateKey, "because")),
            "Skipped DuplicateKey: because",
        ),
    ];
    for (run, expected) in table {
        assert_eq!(summary(&run), expected);
    }
    let skipped = Case::new(&[running()]).with(|input| skipped_run(input, Reason::Cancelled, "x")).status.unwrap();
    assert_eq!((skipped.started_at, skipped.duration_ms, skipped.worker_id), (None, None, None));
    assert_eq!(skipped.finished_at, time("2026-01-01T00:00:30Z"));
}

#[test]
fn without_its_template_a_record_says_what_the_job_said_when_it_was_queued() {
    let mut case = Case::new(&[]);
    case.resolved = false;
    let bare = case.with(|input| skipped_run(input, Reason::TemplateNotFound, "x"));
    assert_eq!((bare.spec.queue.as_str(), bare.spec.template_ref), ("", None));
    assert_eq!(bare.metadata.labels.unwrap().get(TEMPLATE).map(String::as_str), Some("report"));
    case.job.status = Some(crate::api::JobStatus {
        queue: Some("fast".into()),
        priority: Some(9),
        job_type: Some("report".into()),
        params: [("a".to_owned(), "b".to_owned())].into(),
        template: Some(TemplateSnapshot { name: "report".into(), ..Default::default() }),
        ..Default::default()
    });
    let spec = case.with(vanished_run).spec;
    assert_eq!((spec.queue.as_str(), spec.priority, spec.job_type.as_str()), ("fast", 9, "report"));
    assert_eq!((spec.params.len(), spec.template_ref.unwrap().name.as_str()), (1, "report"));
}

#[test]
fn skipped_occurrences_share_a_record() {
    let spec = ScheduleSpec {
        template_ref: crate::api::LocalReference { name: "report".into() },
        priority: Some(3),
        ..Default::default()
    };
    let mut schedule = Schedule::new("nightly", spec);
    schedule.metadata.namespace = Some("team".into());
    schedule.metadata.uid = Some(UID.into());
    let mut skipped = SkippedOccurrences {
        first: at("2026-01-01T00:00:00Z"),
        last: at("2026-01-01T05:00:00Z"),
        count: 6,
        reason: Reason::MissedWindow,
        why: "the operator was not running".into(),
    };
    let run = skipped_occurrences(&schedule, &skipped, at("2026-01-01T06:00:00Z"));
    let expected = json!({
        "apiVersion": "rota.dev/v1alpha1",
        "kind": "JobRun",
        "metadata": {
            "name": "nightly-8wtkh-1767225600-skipped",
            "namespace": "team",
            "labels": {
                "app.kubernetes.io/managed-by": "rota", "rota.dev/schedule": "nightly", "rota.dev/template": "report",
                "rota.dev/outcome": "Skipped", "rota.dev/day": "2026-01-01", "rota.dev/scheduled-times": "6",
            },
        },
        "spec": {
            "scheduleRef": { "name": "nightly", "uid": UID }, "scheduledTime": "2026-01-01T00:00:00.000000Z", "attempt": 0, "priority": 3,
        },
        "status": {
            "phase": "Skipped", "reason": "MissedWindow", "finishedAt": "2026-01-01T06:00:00.000000Z",
            "error": "the operator was not running", "count": 6, "lastScheduledTime": "2026-01-01T05:00:00.000000Z",
        },
    });
    assert_eq!(serde_json::to_value(&run).unwrap(), expected);
    skipped.count = 1;
    let single = skipped_occurrences(&schedule, &skipped, at("2026-01-01T06:00:00Z")).status.unwrap();
    assert_eq!((single.count, single.last_scheduled_time), (None, None));
}

mod pods;
