//! What a batch Job's own features do to the record: indexes, failure policies, suspension; and the rules of retry.

use super::*;

fn indexed(index: u32, code: i32, second: u32) -> Arc<Pod> {
    let end = json!({ "exitCode": code, "startedAt": "2026-01-01T00:00:10Z", "finishedAt": format!("2026-01-01T00:00:{second}Z") });
    let state = json!({ "terminated": end });
    let mut pod = pod(
        json!({ "phase": if code == 0 { "Succeeded" } else { "Failed" }, "containerStatuses": [container("main", state)] }),
    );
    let label = ("batch.kubernetes.io/job-completion-index".to_owned(), index.to_string());
    Arc::make_mut(&mut pod).metadata.labels = Some([label].into());
    Arc::make_mut(&mut pod).metadata.name = Some(format!("pod-{index}-{second}"));
    pod
}

fn indexed_batch(reason: &str, message: &str, failed_indexes: Option<&str>) -> BatchJob {
    let mut batch = failed(reason, message, 600);
    batch.spec.as_mut().unwrap().completion_mode = Some("Indexed".into());
    batch.status.as_mut().unwrap().failed_indexes = failed_indexes.map(str::to_owned);
    batch
}

#[test]
fn the_indexes_that_failed_are_named_and_one_of_them_is_to_blame() {
    let pods = [indexed(0, 3, 11), indexed(0, 0, 13), indexed(1, 4, 14), indexed(4, 5, 12), indexed(2, 0, 12)];
    let of = |pods: &[Arc<Pod>], batch: &BatchJob| summary(&Case::new(pods).ended(batch));
    let table = [
        (
            of(&pods, &indexed_batch("FailedIndexes", "Job has failed indexes", Some("1,3-5"))),
            "Failed ExitCode 5: indexes 1,3-5 failed: container main exited with code 5",
        ),
        (
            of(&pods, &indexed_batch("FailedIndexes", "Job has failed indexes", Some("1"))),
            "Failed ExitCode 4: index 1 failed: container main exited with code 4",
        ),
        (
            of(&pods[2..], &indexed_batch("BackoffLimitExceeded", "Job has reached the limit", None)),
            "Failed ExitCode 5: index 4 failed: container main exited with code 5",
        ),
        (
            of(&[indexed(0, 0, 12)], &indexed_batch("FailedIndexes", "Job has failed indexes", Some("1"))),
            "Failed BatchJobFailed 0: index 1 failed: FailedIndexes: Job has failed indexes",
        ),
    ];
    for (is, expected) in table {
        assert_eq!(is, expected);
    }
}

#[test]
fn a_failure_policy_that_decided_is_quoted() {
    let sentence = "Container main for pod team/x failed with exit code 42 matching FailJob rule at index 0";
    let run =
        Case::new(&[ended_pod("Failed", json!({ "exitCode": 42 }))]).ended(&failed("PodFailurePolicy", sentence, 30));
    assert_eq!(summary(&run), format!("Failed ExitCode 42: container main exited with code 42: {sentence}"));
}

#[test]
fn what_ended_before_a_suspension_decides_nothing() {
    let at_second = |second: &str, end: serde_json::Value| {
        let mut pod = ended_pod("Failed", end);
        let created = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(&format!("2026-01-01T00:00:{second}Z")));
        Arc::make_mut(&mut pod).metadata.creation_timestamp = Some(created);
        pod
    };
    let preempted = at_second("05", json!({ "exitCode": 143, "finishedAt": "2026-01-01T00:00:12Z" }));
    let last = at_second("20", json!({ "exitCode": 3, "startedAt": "2026-01-01T00:00:21Z" }));
    let mut batch = backoff();
    let resumed = json!({ "type": "Suspended", "status": "False", "reason": "JobResumed", "lastTransitionTime": "2026-01-01T00:00:18Z" });
    batch.status.as_mut().unwrap().conditions.as_mut().unwrap().push(serde_json::from_value(resumed).unwrap());
    let run = Case::new(&[preempted.clone(), last]).ended(&batch);
    assert_eq!(summary(&run), "Failed ExitCode 3: container main exited with code 3");
    let status = run.status.unwrap();
    assert_eq!(
        (status.started_at, status.duration_ms),
        (time("2026-01-01T00:00:21Z"), Some(4_000)),
        "its last start counts"
    );
    let run = Case::new(&[preempted]).ended(&batch);
    assert_eq!(run.status.unwrap().exit_code, Some(143), "there is nothing else to tell");
}

#[test]
fn a_rule_that_skips_keeps_what_the_attempt_left() {
    let mut case = Case::new(&[ended_pod("Failed", json!({ "exitCode": 77, "message": "nothing to do" }))]);
    case.retry = serde_saphyr::from_str("{maxAttempts: 3, rules: [{exitCodes: [77], action: Skip}]}").unwrap();
    let run = case.ended(&backoff());
    assert_eq!(
        summary(&run),
        "Skipped SkippedByRule 77: a rule of retry says Skip: container main exited with code 77: nothing to do"
    );
    assert_eq!(run.metadata.labels.as_ref().unwrap()[OUTCOME], "Skipped");
    let status = run.status.unwrap();
    assert_eq!((status.started_at, status.finished_at), (time("2026-01-01T00:00:10Z"), time("2026-01-01T00:00:25Z")));
    assert_eq!((status.duration_ms, status.worker_id.as_deref()), (Some(15_000), Some("node-1/nightly-abcde")));
    let other = Case { pods: vec![ended_pod("Failed", json!({ "exitCode": 1 }))], ..case };
    assert_eq!(summary(&other.ended(&backoff())), "Failed ExitCode 1: container main exited with code 1");
    assert_eq!(summary(&other.ended(&complete())), "Completed Succeeded", "a success is none of its business");
}

#[test]
fn a_cancel_is_not_skipped_by_a_rule() {
    let mut case = Case::cancelled(&[running()], Reason::Cancelled, "", false);
    case.retry = serde_saphyr::from_str("{maxAttempts: 3, rules: [{action: Skip}]}").unwrap();
    assert_eq!(summary(&case.with(vanished_run)), "Failed Cancelled: cancelled while it ran");
    case.cancel = None;
    assert_eq!(
        summary(&case.with(vanished_run)),
        "Skipped SkippedByRule: a rule of retry says Skip: somebody deleted the batch Job before it was seen to end"
    );
}

#[test]
fn the_key_of_a_job_is_in_its_record_and_stands_in_a_label() {
    let mut case = Case::new(&[]);
    case.job.spec.dedup_key = Some("order 17/eu".into());
    let run = case.ended(&complete());
    assert_eq!(run.spec.dedup_key.as_deref(), Some("order 17/eu"));
    assert_eq!(run.metadata.labels.unwrap()[DEDUP], names::label_hash("order 17/eu"));
}

/// A batch Job with that policy, and pods that ended one after the other, by exit code and second.
fn with_policy(rules: Value, reason: &str, ends: &[(i32, u32)]) -> JobRun {
    let mut batch = failed(reason, "", 600);
    batch.spec.as_mut().unwrap().pod_failure_policy = Some(serde_json::from_value(json!({ "rules": rules })).unwrap());
    let pods: Vec<_> = ends.iter().map(|(code, second)| indexed(0, *code, *second)).collect();
    Case::new(&pods).ended(&batch)
}

fn rule(action: &str, codes: &[i32]) -> Value {
    json!({ "action": action, "onExitCodes": { "operator": "In", "values": codes } })
}

#[test]
fn a_failure_that_kubernetes_ignored_decides_nothing() {
    let ignores = || json!([rule("Ignore", &[42])]);
    let run = with_policy(ignores(), "BackoffLimitExceeded", &[(42, 11), (9, 13)]);
    assert_eq!(summary(&run), "Failed ExitCode 9: container main exited with code 9");
    assert_eq!(run.status.unwrap().worker_id.as_deref(), Some("node-1/pod-0-13"));
    let gone = with_policy(ignores(), "BackoffLimitExceeded", &[(42, 11)]);
    assert_eq!(
        summary(&gone),
        "Failed PodLost: its pod vanished before its end was seen",
        "not the one that was ignored"
    );
    let counts = json!([rule("Count", &[42]), rule("Ignore", &[42])]);
    let run = with_policy(counts, "BackoffLimitExceeded", &[(42, 11), (9, 13)]);
    assert_eq!(run.status.unwrap().exit_code, Some(42), "the first rule that fits");
    let fails = json!([rule("FailJob", &[7])]);
    let run = with_policy(fails, "PodFailurePolicy", &[(9, 11), (7, 13)]);
    assert_eq!(run.status.unwrap().exit_code, Some(7), "the one that ended the batch Job");
    let other =
        json!([{ "action": "Ignore", "onExitCodes": { "operator": "NotIn", "values": [9], "containerName": "main" } }]);
    assert_eq!(with_policy(other, "BackoffLimitExceeded", &[(42, 11), (9, 13)]).status.unwrap().exit_code, Some(9));
}

#[test]
fn a_disruption_that_kubernetes_ignored_decides_nothing() {
    let disrupted = pod(json!({
        "phase": "Failed",
        "conditions": [{ "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI" }],
        "containerStatuses": [terminated("main", 137)],
    }));
    let mut batch = backoff();
    let rules = json!({ "rules": [{ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] }] });
    batch.spec.as_mut().unwrap().pod_failure_policy = Some(serde_json::from_value(rules).unwrap());
    let run = Case::new(&[disrupted, indexed(0, 3, 40)]).ended(&batch);
    assert_eq!(summary(&run), "Failed ExitCode 3: container main exited with code 3");
}

#[test]
fn the_container_that_a_rule_names_is_the_one_recorded() {
    let both = pod(json!({ "phase": "Failed", "containerStatuses": [terminated("main", 1), terminated("aside", 42)] }));
    let mut batch = failed("PodFailurePolicy", "", 600);
    let codes = json!({ "operator": "In", "values": [42], "containerName": "aside" });
    let rules = json!({ "rules": [{ "action": "FailJob", "onExitCodes": codes }] });
    batch.spec.as_mut().unwrap().pod_failure_policy = Some(serde_json::from_value(rules).unwrap());
    assert_eq!(summary(&Case::new(&[both]).ended(&batch)), "Failed ExitCode 42: container aside exited with code 42");
}

#[test]
fn of_an_index_that_was_tried_again_the_last_try_decides_and_else_the_failure_that_was_too_many() {
    let mut batch = indexed_batch("FailedIndexes", "", Some("1"));
    batch.spec.as_mut().unwrap().backoff_limit_per_index = Some(1);
    let pods = [indexed(1, 5, 11), indexed(1, 7, 13), indexed(0, 0, 14)];
    assert_eq!(Case::new(&pods).ended(&batch).status.unwrap().exit_code, Some(7));
    let mut bears_one = backoff();
    bears_one.spec.as_mut().unwrap().backoff_limit = Some(1);
    let pods = [indexed(0, 3, 11), indexed(1, 4, 13), indexed(2, 5, 14)];
    assert_eq!(Case::new(&pods).ended(&bears_one).status.unwrap().exit_code, Some(4));
}

#[test]
fn a_success_has_the_exit_code_of_what_succeeded() {
    let mut batch = complete();
    batch.spec.as_mut().unwrap().completion_mode = Some("Indexed".into());
    batch.spec.as_mut().unwrap().backoff_limit_per_index = Some(0);
    batch.status.as_mut().unwrap().failed_indexes = Some("1".into());
    let pods = [indexed(1, 1, 11), indexed(0, 0, 13)];
    let run = Case::new(&pods).ended(&batch);
    assert_eq!(summary(&run), "Completed Succeeded 0");
    assert_eq!(run.status.unwrap().worker_id.as_deref(), Some("node-1/pod-0-13"));
    let status = Case::new(&pods[..1]).ended(&batch).status.unwrap();
    assert_eq!((status.exit_code, status.worker_id), (None, None), "what succeeded was not seen");
}

#[test]
fn what_the_batch_job_makes_final_is_said() {
    let final_by = |case: Case, batch: &BatchJob| case.ended(batch).status.unwrap().final_by;
    let failing = |code| Case::new(&[indexed(1, code, 11)]);
    let mut by_index = indexed_batch("FailedIndexes", "", Some("1"));
    let rules = json!({ "rules": [rule("FailIndex", &[42])] });
    by_index.spec.as_mut().unwrap().pod_failure_policy = Some(serde_json::from_value(rules).unwrap());
    by_index.spec.as_mut().unwrap().backoff_limit_per_index = Some(2);
    let late = |own: i64, timeout: Option<i64>| {
        let template = json!({ "spec": { "activeDeadlineSeconds": own } });
        final_by(Case { template, timeout, ..failing(143) }, &failed("DeadlineExceeded", "", 5))
    };
    let mut asked = failed("DeadlineExceeded", "", 1);
    asked.metadata.annotations = Some([(ENDED_FOR_ANNOTATION.to_owned(), "PendingTimeout".to_owned())].into());
    let table = [
        (final_by(failing(42), &failed("PodFailurePolicy", "", 600)), Some("podFailurePolicy")),
        (final_by(failing(42), &by_index), Some("podFailurePolicy")),
        (final_by(failing(1), &by_index), None),
        (final_by(failing(1), &indexed_batch("MaxFailedIndexesExceeded", "", Some("1"))), Some("maxFailedIndexes")),
        (final_by(failing(1), &backoff()), None),
        (late(5, None), Some("activeDeadlineSeconds")),
        (late(5, Some(5)), Some("activeDeadlineSeconds")),
        (late(30, Some(5)), None),
        (final_by(failing(1), &failed("DeadlineExceeded", "", 30)), None),
        (final_by(Case { template: json!({ "spec": { "activeDeadlineSeconds": 1 } }), ..failing(1) }, &asked), None),
    ];
    for (index, (is, expected)) in table.into_iter().enumerate() {
        assert_eq!(is.as_deref(), expected, "{index}");
    }
    let mut skips = failing(42);
    skips.retry = serde_saphyr::from_str("{maxAttempts: 3, rules: [{exitCodes: [42], action: Skip}]}").unwrap();
    assert_eq!(final_by(skips, &failed("PodFailurePolicy", "", 600)), None, "it is no failure");
}

/// The record of an attempt whose batch Job is gone, as it was last seen.
fn gone(case: &Case, batch: &BatchJob) -> JobRun {
    case.with(|input| gone_run(input, Some(batch)))
}

/// A batch Job of which Kubernetes has decided how it ends, and that waits for its pods.
fn decided(type_: &str, reason: &str, message: &str) -> BatchJob {
    let condition = json!({ "type": type_, "status": "True", "reason": reason, "message": message });
    batch(json!({ "template": {}, "completions": 3, "activeDeadlineSeconds": 30 }), json!([condition]))
}

#[test]
fn what_kubernetes_had_decided_of_a_batch_job_that_is_gone_counts() {
    let stopped = |pod: Arc<Pod>| deleted(pod, "2026-01-01T00:00:12Z", 30);
    let pods = [indexed(0, 0, 12), stopped(indexed(1, 143, 14))];
    let met = decided("SuccessCriteriaMet", "SuccessPolicy", "Matched rules at index 0");
    assert_eq!(summary(&gone(&Case::new(&pods), &met)), "Completed Succeeded 0");
    let mut unmet = met;
    unmet.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "False".into();
    assert_eq!(gone(&Case::new(&pods), &unmet).status.unwrap().reason, Reason::BatchJobDeleted);
    let sentence = "Container main for pod team/x failed with exit code 42 matching FailJob rule at index 0";
    let mut policy = decided("FailureTarget", "PodFailurePolicy", sentence);
    let rules = json!({ "rules": [rule("FailJob", &[42])] });
    policy.spec.as_mut().unwrap().pod_failure_policy = Some(serde_json::from_value(rules).unwrap());
    let pods = [indexed(0, 9, 11), indexed(1, 42, 12), stopped(indexed(2, 143, 14))];
    let run = gone(&Case::new(&pods), &policy);
    assert_eq!(summary(&run), format!("Failed ExitCode 42: container main exited with code 42: {sentence}"));
    assert_eq!(run.status.unwrap().final_by.as_deref(), Some("podFailurePolicy"));
    let template = json!({ "spec": { "activeDeadlineSeconds": 30 } });
    let late = Case { template, ..Case::new(&[stopped(indexed(0, 143, 14))]) };
    let run = gone(&late, &decided("FailureTarget", "DeadlineExceeded", "Job was active longer"));
    assert_eq!(summary(&run), "Failed DeadlineExceeded 143: ran longer than its timeout of 30 s");
    assert_eq!(run.status.unwrap().final_by.as_deref(), Some("activeDeadlineSeconds"));
}

#[test]
fn the_own_limit_of_a_batch_job_that_is_gone_makes_its_end_final() {
    let said = |reason: &str, own: Option<i64>, timeout: Option<i64>| {
        let pod = deleted(ended_pod("Failed", json!({ "exitCode": 143 })), "2026-01-01T00:00:20Z", 30);
        let template = own.map_or(json!({}), |own| json!({ "spec": { "activeDeadlineSeconds": own } }));
        let mut case = Case { template, timeout, ..Case::new(&[pod]) };
        let condition = json!({
            "type": DISPATCHED, "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:20Z",
        });
        let conditions = vec![serde_json::from_value(condition).unwrap()];
        case.job.status = Some(crate::api::JobStatus { conditions, ..Default::default() });
        let last = batch(json!({ "template": {}, "activeDeadlineSeconds": 5 }), json!([]));
        [gone(&case, &last), case.with(vanished_run)].map(|run| run.status.unwrap()).map(|it| (it.reason, it.final_by))
    };
    let own = Some("activeDeadlineSeconds".to_owned());
    let table = [
        (said("DeadlineExceeded", Some(5), Some(30)), (Reason::DeadlineExceeded, own.clone())),
        (said("DeadlineExceeded", Some(5), None), (Reason::DeadlineExceeded, own)),
        (said("DeadlineExceeded", Some(30), Some(5)), (Reason::DeadlineExceeded, None)),
        (said("DeadlineExceeded", None, Some(30)), (Reason::DeadlineExceeded, None)),
        (said("PendingTimeout", Some(5), Some(30)), (Reason::PendingTimeout, None)),
        (said("Launched", Some(5), Some(30)), (Reason::BatchJobDeleted, None)),
    ];
    for (index, (is, expected)) in table.into_iter().enumerate() {
        assert_eq!(is, [expected.clone(), expected], "{index}");
    }
}
