//! Who ended an attempt that did not end by itself, and which end came first.

use super::*;

/// The record of an attempt that Kubernetes ended at a deadline of so many seconds.
fn late(case: Case, deadline: i64) -> String {
    summary(&case.ended(&failed("DeadlineExceeded", "Job was active longer", deadline)))
}

/// The same of one whose deadline Rota had brought forward.
fn brought_forward(case: Case, why: Reason) -> String {
    summary(&case.ended(&ended_for(failed("DeadlineExceeded", "Job was active longer", 1), why)))
}

/// A batch Job that Rota had Kubernetes end.
fn ended_for(mut batch: BatchJob, why: Reason) -> BatchJob {
    batch.metadata.annotations = Some([(ENDED_FOR_ANNOTATION.to_owned(), why.as_str().to_owned())].into());
    batch
}

#[test]
fn a_deadline_is_told_from_a_timeout_of_waiting() {
    let started_earlier = || {
        let mut case = Case::new(&[]);
        case.job.status =
            Some(crate::api::JobStatus { started_at: time("2026-01-01T00:00:10Z"), ..Default::default() });
        case
    };
    let containers = json!([{ "name": "main", "image": "registry.example/report:1" }]);
    let image = json!({ "spec": { "template": { "spec": { "containers": containers } } } });
    let table = [
        (
            "it ran too long",
            late(Case::new(&[ended_pod("Failed", json!({ "exitCode": 143 }))]), 30),
            "Failed DeadlineExceeded 143: ran longer than its timeout of 30 s",
        ),
        (
            "its pods are gone, but it had started",
            late(started_earlier(), 30),
            "Failed DeadlineExceeded: ran longer than its timeout of 30 s",
        ),
        (
            "its own deadline came before it started",
            late(Case::new(&[pulling()]), 30),
            "Failed DeadlineExceeded: did not start within its timeout of 30 s: container main: ImagePullBackOff: Back-off pulling image \"x\"",
        ),
        (
            "it waited too long",
            brought_forward(Case::new(&[pulling()]), Reason::PendingTimeout),
            "Failed PendingTimeout: no container started within 600 s: container main: ImagePullBackOff: Back-off pulling image \"x\"",
        ),
        (
            "it waited too long, and its pod is gone",
            brought_forward(Case::new(&[]), Reason::PendingTimeout),
            "Failed PendingTimeout: no container started within 600 s",
        ),
        (
            "its image was being pulled all the time, about which Kubernetes says nothing",
            brought_forward(Case { template: image, ..Case::new(&[]) }, Reason::PendingTimeout),
            "Failed PendingTimeout: no container started within 600 s: it needs the image registry.example/report:1",
        ),
        (
            "a timeout of a second is no cancel",
            late(Case { timeout: Some(1), ..Case::new(&[running()]) }, 1),
            "Failed DeadlineExceeded: ran longer than its timeout of 1 s",
        ),
        (
            "neither is a deadline of a second in the template",
            late(Case { template: json!({ "spec": { "activeDeadlineSeconds": 1 } }), ..Case::new(&[running()]) }, 1),
            "Failed DeadlineExceeded: ran longer than its timeout of 1 s",
        ),
    ];
    for (what, is, expected) in table {
        assert_eq!(is, expected, "{what}");
    }
}

#[test]
fn a_cancel_is_told_from_a_deadline() {
    let cancelled = |pods: &[Arc<Pod>], why: &str| Case::cancelled(pods, Reason::Cancelled, why, false);
    let by = |who: &str| {
        let mut case = cancelled(&[running()], "not needed");
        case.cancel.as_mut().unwrap().1.requested_by = Some(who.into());
        case
    };
    let table = [
        (
            "cancelled while it ran",
            brought_forward(cancelled(&[running()], ""), Reason::Cancelled),
            "Failed Cancelled: cancelled while it ran",
        ),
        (
            "cancelled for a reason",
            brought_forward(cancelled(&[running()], "not needed"), Reason::Cancelled),
            "Failed Cancelled: cancelled while it ran: not needed",
        ),
        (
            "cancelled before it started",
            brought_forward(cancelled(&[pulling()], ""), Reason::Cancelled),
            "Skipped Cancelled: cancelled before it started; container main: ImagePullBackOff: Back-off pulling image \"x\"",
        ),
        (
            "deleted while it ran",
            brought_forward(
                Case::cancelled(&[running()], Reason::JobDeleted, "the Job was deleted", false),
                Reason::JobDeleted,
            ),
            "Failed JobDeleted: the Job was deleted while it ran",
        ),
        (
            "cancelled by somebody who says who",
            brought_forward(by("alice"), Reason::Cancelled),
            "Failed Cancelled: cancelled by alice while it ran: not needed",
        ),
        (
            "its pending timeout came before the cancel",
            brought_forward(cancelled(&[pulling()], ""), Reason::PendingTimeout),
            "Failed PendingTimeout: no container started within 600 s: container main: ImagePullBackOff: Back-off pulling image \"x\"",
        ),
        (
            "the group that was cancelled is gone",
            brought_forward(Case::new(&[running()]), Reason::Cancelled),
            "Failed Cancelled: cancelled",
        ),
        (
            "its own deadline came before the cancel was carried out",
            late(cancelled(&[running()], ""), 30),
            "Failed DeadlineExceeded: ran longer than its timeout of 30 s",
        ),
    ];
    for (what, is, expected) in table {
        assert_eq!(is, expected, "{what}");
    }
}

#[test]
fn the_end_that_came_first_is_the_one_recorded() {
    let cancel = |pods: &[Arc<Pod>], force: bool| Case::cancelled(pods, Reason::Cancelled, "", force);
    let failing = [ended_pod("Failed", json!({ "exitCode": 3 }))];
    let backoff = ended_for(failed("BackoffLimitExceeded", "", 1), Reason::Cancelled);
    let done = cancel(&[ended_pod("Succeeded", json!({ "exitCode": 0 }))], true).ended(&complete());
    assert_eq!(summary(&done), "Completed Succeeded 0");
    assert_eq!(
        summary(&cancel(&failing, false).ended(&backoff)),
        "Failed ExitCode 3: container main exited with code 3"
    );
    assert_eq!(
        summary(&cancel(&failing, true).ended(&backoff)),
        "Failed ExitCode 3: container main exited with code 3"
    );
    let mut killed = (*running()).clone();
    killed.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at("2026-01-01T00:00:20Z")));
    assert_eq!(summary(&cancel(&[Arc::new(killed)], true).ended(&backoff)), "Failed Cancelled: cancelled while it ran");
}

#[test]
fn the_time_for_all_attempts_ends_one_that_runs_and_one_that_is_suspended() {
    let late = |mut case: Case| {
        case.deadline = Some(at("2026-01-01T00:00:29Z"));
        case
    };
    let suspended = |pods: &[Arc<Pod>]| {
        let mut case = late(Case::new(pods));
        let waiting_for = Some(crate::api::job::WaitingFor::Suspended);
        case.job.status = Some(crate::api::JobStatus { waiting_for, ..Default::default() });
        case
    };
    let text = "had not ended within 28 s of being queued (deadlineSeconds)";
    let table = [
        (
            brought_forward(late(Case::new(&[running()])), Reason::TotalDeadlineExceeded),
            format!("Failed TotalDeadlineExceeded: {text}"),
        ),
        (
            brought_forward(late(Case::new(&[pulling()])), Reason::TotalDeadlineExceeded),
            format!(
                "Failed TotalDeadlineExceeded: {text}: container main: ImagePullBackOff: Back-off pulling image \"x\""
            ),
        ),
        (
            summary(&suspended(&[]).with(vanished_run)),
            format!("Skipped TotalDeadlineExceeded: {text}: its batch Job was suspended"),
        ),
        (
            summary(&suspended(&[running()]).with(vanished_run)),
            format!("Failed TotalDeadlineExceeded: {text}: its batch Job was suspended"),
        ),
        (
            summary(&late(Case::new(&[])).with(vanished_run)),
            "Failed BatchJobDeleted: somebody deleted the batch Job before it was seen to end".into(),
        ),
    ];
    for (is, expected) in table {
        assert_eq!(is, expected);
    }
}

#[test]
fn who_cancelled_is_in_the_record_if_a_cancel_ended_it() {
    let by = |who: &str, reason: Reason| {
        let mut case = Case::cancelled(&[running()], reason, "", true);
        case.cancel.as_mut().unwrap().1.requested_by = Some(who.into());
        case
    };
    let said = |run: JobRun| run.status.unwrap().cancelled_by;
    let expired = || ended_for(failed("DeadlineExceeded", "", 1), Reason::Cancelled);
    assert_eq!(said(by("alice", Reason::Cancelled).ended(&expired())).as_deref(), Some("alice"));
    assert_eq!(said(by("alice", Reason::Cancelled).with(vanished_run)).as_deref(), Some("alice"));
    let waiting = |input: &RunInput<'_>| skipped_run(input, Reason::Cancelled, "cancelled by alice while it waited");
    assert_eq!(said(by("alice", Reason::Cancelled).with(waiting)).as_deref(), Some("alice"));
    assert_eq!(said(by("alice", Reason::Cancelled).ended(&complete())), None, "it completed before");
    assert_eq!(
        said(by("alice", Reason::Cancelled).ended(&failed("DeadlineExceeded", "", 30))),
        None,
        "its timeout came before"
    );
}

/// A conflict of the Job controller's own write has it say the limit of retries instead of the deadline.
#[test]
fn pods_that_were_stopped_because_rota_asked_are_no_failure_of_their_own() {
    let asked = || {
        ended_for(failed("BackoffLimitExceeded", "Job has reached the specified backoff limit", 1), Reason::JobDeleted)
    };
    let deleted = |finished: &str| {
        let mut pod = ended_pod("Failed", json!({ "exitCode": 137, "finishedAt": finished }));
        let metadata = &mut Arc::make_mut(&mut pod).metadata;
        metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:20Z")).unwrap());
        metadata.deletion_grace_period_seconds = Some(2);
        pod
    };
    let reason = |pod| Case::new(&[pod]).ended(&asked()).status.unwrap().reason;
    assert_eq!(reason(deleted("2026-01-01T00:00:19Z")), Reason::JobDeleted);
    assert_ne!(reason(deleted("2026-01-01T00:00:12Z")), Reason::JobDeleted, "it had ended before");
}
