//! After an attempt was recorded: another one, or the end, and the clean-up.

use super::*;

#[test]
fn a_failed_attempt_goes_back_into_the_queue_with_its_record() {
    let mut case = case().running().recorded(Outcome::Failed, Reason::ExitCode);
    let first = attempt_name(&case.job, 1);
    let decision = case.step(after(21));
    let text = "attempt 1 ended with ExitCode; the next may start at 2026-03-01T00:00:30Z";
    let expected = Plan {
        status: case.job.status.clone(),
        notes: vec![Note::warning("AttemptFailed", "Retry", text)],
        wake_at: Some(after(30)),
        ..Plan::default()
    };
    assert_eq!(decision, expected.into());
    let status = case.status();
    assert_eq!((status.phase, status.waiting_for), (Some(JobPhase::Queued), Some(WaitingFor::Retry)));
    assert_eq!((status.attempts, status.retry_at.clone()), (1, Some(micro(after(30)))));
    assert_eq!((status.started_at.clone(), status.dispatched_at.clone()), (None, None));
    assert_eq!(status.run_refs, [LocalReference { name: first }]);
    assert_eq!(condition(status, "Dispatched"), said("False", "Retry", text));
    assert_eq!(status.queued_at, Some(micro(after(0))), "it keeps its place");
    case.batch = None;
    case.pods.clear();
    case.assert_settled(after(25));
    assert_eq!(case.decide(after(25)).plan.wake_at, Some(after(30)));
    assert_eq!(case.decide(after(29)).candidate, None);
    assert_eq!(case.decide(after(30)).candidate.unwrap().attempt, 2);
}

#[test]
fn the_delay_between_attempts_doubles_up_to_an_hour() {
    let table = [
        (10, 1, 10),
        (10, 2, 20),
        (10, 3, 40),
        (10, 9, 2_560),
        (10, 10, 3_600),
        (10, 99, 3_600),
        (0, 5, 0),
        (3_600, 2, 3_600),
    ];
    for (base, attempt, seconds) in table {
        let mut case = case().queued();
        case.job.spec.retry = Some(yaml(&format!("{{maxAttempts: 100, backoff: {{initialSeconds: {base}}}}}")));
        let names = (1..attempt).map(|number| LocalReference { name: format!("run-{number}") });
        case.job.status.as_mut().unwrap().run_refs = names.collect();
        case = case.recorded(Outcome::Failed, Reason::ExitCode);
        case.write(after(21));
        assert_eq!(case.status().retry_at, Some(micro(after(20 + seconds))), "{base} s after attempt {attempt}");
    }
}

#[test]
fn the_last_attempt_and_what_a_retry_cannot_help_are_not_tried_again() {
    let mut last = case().running();
    last.template = template("retry: {maxAttempts: 1}");
    let table = [
        (last, Outcome::Failed, Reason::ExitCode),
        (case().running(), Outcome::Completed, Reason::Succeeded),
        (case().running(), Outcome::Skipped, Reason::DuplicateKey),
        (case().running(), Outcome::Failed, Reason::Cancelled),
        (case().running(), Outcome::Failed, Reason::LaunchRefused),
        (case().running(), Outcome::Failed, Reason::BatchJobDeleted),
    ];
    for (case, outcome, reason) in table {
        let mut case = case.recorded(outcome, reason);
        case.write(after(21));
        assert_eq!((case.status().outcome, case.status().reason), (Some(outcome), Some(reason)));
    }
}

#[test]
fn an_ended_job_says_how_and_is_let_go_in_one_go() {
    let table = [
        (Outcome::Completed, Reason::Succeeded, JobPhase::Finished, "Complete"),
        (Outcome::Failed, Reason::LaunchRefused, JobPhase::Finished, "Failed"),
        (Outcome::Failed, Reason::Cancelled, JobPhase::Cancelled, "Cancelled"),
        (Outcome::Skipped, Reason::Cancelled, JobPhase::Cancelled, "Cancelled"),
        (Outcome::Skipped, Reason::DuplicateKey, JobPhase::Finished, "Skipped"),
    ];
    for (outcome, reason, phase, type_) in table {
        let mut case = case().running().recorded(outcome, reason);
        let run = attempt_name(&case.job, 1);
        let decision = case.step(after(21));
        assert_eq!(decision.plan.effects, [Effect::ReleaseJob(case.identity())]);
        assert_eq!((decision.candidate, decision.plan.wake_at), (None, Some(after(620))));
        assert_eq!(decision.plan.notes.len(), 1);
        let status = case.status();
        assert_eq!((status.phase, status.outcome, status.reason), (Some(phase), Some(outcome), Some(reason)));
        assert_eq!((status.finished_at.clone(), status.attempts), (Some(micro(after(20))), 1));
        assert_eq!(status.run_refs, [LocalReference { name: run.clone() }]);
        assert_eq!(condition(status, type_), said("True", reason.as_str(), &format!("see JobRun {run}")));
        assert_eq!(types(status), ["Dispatched", type_]);
        case.job.metadata.finalizers = None;
        case.assert_settled(after(22));
    }
}

#[test]
fn a_job_that_ended_before_its_launch_was_written_down_says_that_it_was_launched() {
    let mut case = case().queued();
    case.memory.blocker = Some(Blocker { waiting_for: WaitingFor::QueueLimit, message: "1 of 1 running".into() });
    case.write(after(9));
    let mut case = case.launched().recorded(Outcome::Completed, Reason::Succeeded);
    let name = attempt_name(&case.job, 1);
    case.batch = Some(batch(&name, &batch_ended("Complete")));
    case.pods = vec![ended_pod(0)];
    case.write(after(21));
    let status = case.status();
    assert_eq!(status.batch_job_ref, Some(ObjectReference { name: name.clone(), uid: "uid-batch-job".into() }));
    assert_eq!(
        (status.dispatched_at.clone(), status.started_at.clone()),
        (Some(micro(after(10))), Some(micro(after(12))))
    );
    assert_eq!(condition(status, "Dispatched"), said("True", "Launched", &format!("launched as batch Job {name}")));
    assert_eq!(types(status), ["Dispatched", "Complete"]);
}

#[test]
fn a_job_that_was_never_launched_says_no_more_what_it_waited_for() {
    let mut case = case().queued().cancelled("{}").recorded(Outcome::Skipped, Reason::Cancelled);
    case.write(after(21));
    assert_eq!((case.status().waiting_for, types(case.status())), (None, vec!["Cancelled"]));
}

#[test]
fn an_ended_job_is_deleted_when_its_time_has_come() {
    let mut case = case().running().recorded(Outcome::Completed, Reason::Succeeded);
    case.template = template("ttlSecondsAfterFinished: 100");
    case.write(after(21));
    case.job.metadata.finalizers = None;
    assert_eq!(case.decide(after(119)), Plan { wake_at: Some(after(120)), ..Plan::default() }.into());
    let effects = vec![Effect::DeleteJob(case.identity())];
    assert_eq!(case.decide(after(120)), Plan { effects, ..Plan::default() }.into());
}

#[test]
fn a_job_that_is_not_kept_is_let_go_and_deleted_without_a_last_status() {
    let mut case = case().running();
    case.job.spec.ttl_seconds_after_finished = Some(0);
    let case = case.recorded(Outcome::Completed, Reason::Succeeded);
    let effects = vec![Effect::ReleaseJob(case.identity()), Effect::DeleteJob(case.identity())];
    assert_eq!(case.decide(after(21)), Plan { effects, ..Plan::default() }.into());
}

#[test]
fn a_job_that_is_not_kept_waits_for_its_schedule_and_group() {
    for (schedule_settled, group_settled) in [(false, true), (true, false)] {
        let mut case = case().of_schedule().running();
        case.job.spec.ttl_seconds_after_finished = Some(0);
        let mut case = case.recorded(Outcome::Completed, Reason::Succeeded);
        (case.schedule_settled, case.group_settled) = (schedule_settled, group_settled);
        assert_eq!(case.decide(after(21)), Decision::default());
    }
}

#[test]
fn a_job_that_is_not_kept_says_that_it_failed_when_nothing_else_shows_that_no_attempt_follows() {
    // Its template's retry is not known to the schedule, which reads the end of the Job from its status.
    let mut case = case().of_schedule().running();
    case.template = template("ttlSecondsAfterFinished: 0");
    case.schedule_settled = false;
    let mut case = case.recorded(Outcome::Failed, Reason::ExitCode);
    assert_eq!(ending(&case.job, Some(&case.memory)), None);
    assert_eq!(case.step(after(21)).plan.effects, []);
    assert_eq!(ending(&case.job, Some(&case.memory)).unwrap().outcome, Outcome::Failed);
    case.schedule_settled = true;
    let effects = vec![Effect::ReleaseJob(case.identity()), Effect::DeleteJob(case.identity())];
    assert_eq!(case.decide(after(22)), Plan { effects, ..Plan::default() }.into());
}

#[test]
fn a_job_that_a_gitops_tool_tracks_is_kept_unless_it_says_otherwise() {
    let marks = [
        "labels: {app.kubernetes.io/instance: shop}",
        "annotations: {argocd.argoproj.io/tracking-id: x}",
        "labels: {kustomize.toolkit.fluxcd.io/name: x}",
        "labels: {helm.toolkit.fluxcd.io/name: x}",
        "annotations: {meta.helm.sh/release-name: x}",
    ];
    for mark in marks {
        let mut case = case().running();
        case.template = template("ttlSecondsAfterFinished: 0");
        let metadata: kube::core::ObjectMeta = yaml(mark);
        (case.job.metadata.labels, case.job.metadata.annotations) = (metadata.labels, metadata.annotations);
        let mut case = case.recorded(Outcome::Completed, Reason::Succeeded);
        case.write(after(21));
        case.job.metadata.finalizers = None;
        assert_eq!(case.decide(after(1_000_000)), Decision::default(), "{mark}");
        case.job.spec.ttl_seconds_after_finished = Some(5);
        assert_eq!(case.decide(after(25)).plan.effects, [Effect::DeleteJob(case.identity())], "{mark}");
    }
}

#[test]
fn a_job_that_rota_made_for_a_schedule_is_not_taken_for_one_that_a_gitops_tool_tracks() {
    let mut case = case().of_schedule().running();
    let argo = [("argocd.argoproj.io/ignore-resource-updates".to_owned(), "true".to_owned())];
    case.job.metadata.annotations = Some(argo.into());
    let mut case = case.recorded(Outcome::Completed, Reason::Succeeded);
    case.write(after(21));
    case.job.metadata.finalizers = None;
    assert_eq!(case.decide(after(620)).plan.effects, [Effect::DeleteJob(case.identity())]);
}

#[test]
fn an_ended_job_stays_until_its_schedule_and_group_know() {
    for (schedule_settled, group_settled) in [(false, true), (true, false), (false, false)] {
        let mut case = case().of_schedule().running().recorded(Outcome::Completed, Reason::Succeeded);
        (case.schedule_settled, case.group_settled) = (schedule_settled, group_settled);
        assert_eq!(case.step(after(21)).plan.effects, []);
        assert_eq!(case.phase(), Some(JobPhase::Finished));
        assert_eq!(case.decide(after(100_000)), Decision::default());
        (case.schedule_settled, case.group_settled) = (true, true);
        let effects = vec![Effect::ReleaseJob(case.identity())];
        assert_eq!(case.decide(after(30)).plan, Plan { effects, wake_at: Some(after(620)), ..Plan::default() });
    }
}

#[test]
fn a_released_job_is_cleaned_up_though_its_schedule_has_forgotten_it() {
    // A schedule lists a counted Job until it is released, and not longer.
    let mut case = case().of_schedule().running().recorded(Outcome::Completed, Reason::Succeeded);
    case.write(after(21));
    case.job.metadata.finalizers = None;
    case.schedule_settled = false;
    assert_eq!(case.decide(after(100)).plan.wake_at, Some(after(620)));
    assert_eq!(case.decide(after(620)).plan.effects, [Effect::DeleteJob(case.identity())]);
}

#[test]
fn a_deleted_job_is_let_go_once_it_is_recorded_and_its_schedule_knows() {
    let mut case = case().of_schedule().running().deleted().recorded(Outcome::Failed, Reason::JobDeleted);
    case.schedule_settled = false;
    assert_eq!(case.decide(after(21)), Decision::default());
    case.schedule_settled = true;
    let effects = vec![Effect::ReleaseJob(case.identity())];
    assert_eq!(case.decide(after(22)), Plan { effects, ..Plan::default() }.into());
}

#[test]
fn a_deleted_job_is_not_tried_again() {
    let case = case().running().deleted().recorded(Outcome::Failed, Reason::ExitCode);
    let effects = vec![Effect::ReleaseJob(case.identity())];
    assert_eq!(case.decide(after(21)), Plan { effects, ..Plan::default() }.into());
}

#[test]
fn a_failed_attempt_does_not_end_the_job_while_another_one_may_follow() {
    let table = [
        ("the template's retry", case().running(), None),
        ("its own retry", with_own_retry(3), None),
        ("its own last attempt", with_own_retry(1), Some(Outcome::Failed)),
    ];
    for (what, case, expected) in table {
        let case = case.recorded(Outcome::Failed, Reason::ExitCode);
        let found = ending(&case.job, Some(&case.memory)).map(|ending| ending.outcome);
        assert_eq!(found, expected, "{what}");
    }
}

fn with_own_retry(attempts: u32) -> Case {
    let mut case = case();
    case.job.spec.retry = Some(yaml(&format!("{{maxAttempts: {attempts}}}")));
    case.running()
}

#[test]
fn an_end_is_known_from_the_record_before_the_status_says_so() {
    let table = [
        (Outcome::Completed, Reason::Succeeded),
        (Outcome::Skipped, Reason::Cancelled),
        (Outcome::Failed, Reason::Cancelled),
    ];
    for (outcome, reason) in table {
        let case = case().running().recorded(outcome, reason);
        assert_eq!(ending(&case.job, None), None);
        assert_eq!(ending(&case.job, Some(&case.memory)).map(|ending| ending.outcome), Some(outcome));
    }
    let mut inline: Job = yaml("{metadata: {name: x, uid: y}, spec: {jobType: adhoc, jobTemplate: {}}}");
    let mut memory = Memory::new(after(0));
    let ending_of_it = ended("x", Outcome::Failed, Reason::ExitCode);
    memory.recorded =
        Some(Recorded { attempt: 1, exit_code: None, is_final: false, ending: ending_of_it, contradiction: None });
    assert!(ending(&inline, Some(&memory)).is_none(), "until it is queued its retry can be edited");
    inline.status = Some(yaml("{phase: Queued}"));
    assert!(ending(&inline, Some(&memory)).is_some(), "a Job without template or retry has one attempt");
}

#[test]
fn a_crash_after_the_record_comes_to_the_same_end() {
    let mut case = case().running();
    case.batch = Some(batch(&attempt_name(&case.job, 1), &batch_ended("Complete")));
    case.pods = vec![ended_pod(0)];
    let record = record_of(&case.decide(after(20))).clone();
    case.memory = Memory::new(after(90));
    assert_eq!(*record_of(&case.decide(after(90))), record);
}

#[test]
fn a_crash_between_the_release_and_the_status_comes_to_the_same_end() {
    let mut case = case().running();
    case.batch = Some(batch(&attempt_name(&case.job, 1), &batch_ended("Complete")));
    case.pods = vec![ended_pod(0)];
    case.job.metadata.finalizers = None;
    case.memory = Memory::new(after(90));
    assert_eq!(case.decide(after(90)).plan.effects, [Effect::HoldJob(case.identity())]);
    case.job.metadata.finalizers = Some(vec![RECORD_FINALIZER.into()]);
    assert_eq!(only_record(&case.decide(after(90))).1, Outcome::Completed);
}

/// A batch Job that failed, of that attempt.
fn failed_batch(case: &Case, attempt: u32) -> Arc<BatchJob> {
    let mut batch = batch(&attempt_name(&case.job, attempt), &batch_ended("Failed"));
    batch.metadata.uid = Some(format!("uid-batch-{attempt}"));
    batch.metadata.labels = Some([(crate::api::labels::ATTEMPT.to_owned(), attempt.to_string())].into());
    Arc::new(batch)
}

/// Names of the batch Jobs that are deleted.
fn cleared(decision: &Decision) -> Vec<String> {
    let name = |effect: &Effect| match effect {
        Effect::DeleteBatchJob { batch, .. } => Some(batch.name.clone()),
        _ => None,
    };
    decision.plan.effects.iter().filter_map(name).collect()
}

/// Alert rules about failed batch Jobs are to be silent about a Job that succeeded in the end.
#[test]
fn failed_batch_jobs_of_earlier_attempts_go_when_the_job_succeeded() {
    for (outcome, reason, gone) in [
        (Outcome::Completed, Reason::Succeeded, true),
        (Outcome::Skipped, Reason::SkippedByRule, true),
        (Outcome::Failed, Reason::ExitCode, false),
    ] {
        let mut case = case().running().recorded(Outcome::Failed, Reason::ExitCode);
        case.write(after(21));
        let first = failed_batch(&case, 1);
        case.job.spec.retry = Some(yaml("{maxAttempts: 2}"));
        case = case.launched().recorded(outcome, reason);
        case.kept_batches = vec![first.clone()];
        case.write(after(40));
        case.memory.recorded = None;
        let decision = case.decide(after(41));
        let name = first.metadata.name.clone().unwrap();
        assert_eq!(cleared(&decision), if gone { vec![name] } else { vec![] }, "{outcome:?}");
        let mut going = (*first).clone();
        going.metadata.deletion_timestamp = Some(Time(after(41)));
        case.kept_batches = vec![Arc::new(going)];
        assert_eq!(cleared(&case.decide(after(42))), [""; 0], "it is asked once");
    }
}

/// The logs of an attempt that a rule calls no failure, or whose end somebody wanted, stay as long as others do, and then the
/// alert rules are content too.
#[test]
fn the_batch_job_of_a_run_that_failed_as_it_should_goes_after_a_while() {
    for (outcome, reason) in [
        (Outcome::Skipped, Reason::SkippedByRule),
        (Outcome::Failed, Reason::Cancelled),
        (Outcome::Failed, Reason::Replaced),
    ] {
        goes_after_a_while(outcome, reason);
    }
}

fn goes_after_a_while(outcome: Outcome, reason: Reason) {
    let mut case = case().running().recorded(outcome, reason);
    case.job.metadata.labels = Some([("kustomize.toolkit.fluxcd.io/name".into(), "apps".into())].into());
    case.kept_batches = vec![failed_batch(&case, 1)];
    case.write(after(21));
    case.memory.recorded = None;
    let decision = case.decide(after(22));
    assert_eq!((cleared(&decision), decision.plan.wake_at), (vec![], Some(after(620))));
    assert_eq!(cleared(&case.decide(after(620))).len(), 1);
}

/// Where nothing of Rota's says how long a Job is kept, what the pasted body says of its batch Job counts.
#[test]
fn a_job_is_kept_as_long_as_its_body_says_unless_something_of_rotas_does() {
    let kept = |template: &str, own: Option<i64>| {
        let mut case = case().running().recorded(Outcome::Completed, Reason::Succeeded);
        case.template = self::template(template);
        case.template.job_template["spec"]["ttlSecondsAfterFinished"] = 70.into();
        case.job.spec.ttl_seconds_after_finished = own;
        case.write(after(21));
        case.decide(after(22)).plan.wake_at.unwrap().duration_since(after(20)).as_secs()
    };
    assert_eq!(kept("", None), 70);
    assert_eq!(kept("ttlSecondsAfterFinished: 80", None), 80);
    assert_eq!(kept("ttlSecondsAfterFinished: 80", Some(90)), 90);
}

#[test]
fn what_the_batch_job_makes_final_is_not_retried_unless_a_rule_says_so() {
    let of = |retry: &str| {
        let mut case = case().running().recorded(Outcome::Failed, Reason::ExitCode);
        case.template = template(retry);
        let recorded = case.memory.recorded.as_mut().unwrap();
        (recorded.exit_code, recorded.is_final) = (Some(42), true);
        case.write(after(30));
        case.phase()
    };
    assert_eq!(of("retry: {maxAttempts: 3}"), Some(JobPhase::Finished));
    let rules = "retry: {maxAttempts: 3, rules: [{exitCodes: [42], action: Retry}]}";
    assert_eq!(of(rules), Some(JobPhase::Queued));
    let mut run = JobRun::new("x", crate::api::JobRunSpec { attempt: 1, ..Default::default() });
    run.status = Some(yaml("{phase: Failed, reason: ExitCode, finalBy: podFailurePolicy}"));
    assert!(Recorded::of(&run, after(0)).is_final);
    run.status = Some(yaml("{phase: Failed, reason: ExitCode}"));
    assert!(!Recorded::of(&run, after(0)).is_final, "as earlier versions wrote it");
}

#[test]
fn a_job_that_its_schedule_keeps_stays_unless_a_time_to_live_is_written() {
    let ended = |own: Option<i64>, template_says: &str| {
        let mut case = case().running().recorded(Outcome::Completed, Reason::Succeeded);
        case.template = template(template_says);
        case.job.spec.ttl_seconds_after_finished = own;
        case.write(after(21));
        case.memory.recorded = None;
        case.job.metadata.finalizers = None;
        case
    };
    for (what, own, template_says, goes) in [
        ("nothing", None, "", false),
        ("the Job", Some(30), "", true),
        ("the template", None, "ttlSecondsAfterFinished: 30", true),
    ] {
        let mut case = ended(own, template_says);
        case.kept_by_schedule = true;
        let effects = case.decide(after(1_000)).plan.effects;
        assert_eq!(effects.contains(&Effect::DeleteJob(case.identity())), goes, "{what}");
        case.kept_by_schedule = false;
        let effects = case.decide(after(1_000)).plan.effects;
        assert!(effects.contains(&Effect::DeleteJob(case.identity())), "{what}");
    }
}

/// A cancel that comes too late, for one: kstatus compares the generations.
#[test]
fn an_edit_after_the_end_changes_nothing_and_is_said_to_be_seen() {
    let mut case = case().running().recorded(Outcome::Completed, Reason::Succeeded);
    case.write(after(21));
    case.memory.recorded = None;
    case.job.metadata.finalizers = None;
    let ended = case.status().clone();
    case.assert_settled(after(22));
    let mut case = case.cancelled("{reason: too late}");
    case.job.metadata.generation = Some(2);
    let decision = case.step(after(23));
    assert_eq!(decision.plan.notes, []);
    assert_eq!(*case.status(), JobStatus { observed_generation: Some(2), ..ended });
    assert_eq!(case.decide(after(24)).plan.status, None, "it is said once");
}
