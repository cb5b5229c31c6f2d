//! How often, how long and when a Job may be tried: rules of retry, deadlines, notBefore, and what came before it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::*;
use crate::api::labels::ENDED_FOR_ANNOTATION;

fn exited(mut case: Case, code: i32) -> Case {
    case = case.recorded(Outcome::Failed, Reason::ExitCode);
    case.memory.recorded.as_mut().unwrap().exit_code = Some(code);
    case
}

#[test]
fn a_rule_of_the_template_or_of_the_job_decides_whether_an_attempt_follows() {
    let rules = "rules: [{exitCodes: [2], action: Fail}, {reasons: [BatchJobDeleted, LaunchRefused], action: Retry}]";
    let retry = format!("{{maxAttempts: 3, {rules}}}");
    let mut of_template = case().queued();
    of_template.template = template(&format!("retry: {retry}"));
    let mut own = case().queued();
    own.job.spec.retry = Some(yaml(&retry));
    for case in [of_template, own] {
        let after_code = |code| {
            let mut case = exited(case.clone(), code);
            case.write(after(21));
            case.phase()
        };
        assert_eq!(after_code(1), Some(JobPhase::Queued));
        assert_eq!(after_code(2), Some(JobPhase::Finished));
        for reason in [Reason::BatchJobDeleted, Reason::LaunchRefused] {
            let mut case = case.clone().recorded(Outcome::Failed, reason);
            assert_eq!(ending(&case.job, Some(&case.memory)), None, "another attempt follows");
            case.write(after(21));
            assert_eq!(
                (case.phase(), case.status().refused_since.clone()),
                (Some(JobPhase::Queued), None),
                "{reason:?}"
            );
        }
    }
}

#[test]
fn an_attempt_that_a_rule_skips_ends_the_job_without_a_failure() {
    let mut case = case().running().recorded(Outcome::Skipped, Reason::SkippedByRule);
    assert_eq!(ending(&case.job, Some(&case.memory)).unwrap().outcome, Outcome::Skipped);
    case.write(after(21));
    assert_eq!((case.phase(), case.status().outcome), (Some(JobPhase::Finished), Some(Outcome::Skipped)));
    assert_eq!(types(case.status()), ["Dispatched", "Skipped"]);
}

#[test]
fn the_delay_counts_from_the_end_of_the_attempt_also_across_a_restart() {
    let mut case = case().running().recorded(Outcome::Failed, Reason::ExitCode);
    let before = case.decide(after(21)).plan.status.unwrap().retry_at;
    case.memory.first_seen = after(500);
    case.memory.queueable_since = Some(after(500));
    assert_eq!(
        case.decide(after(501)).plan.status.unwrap().retry_at,
        before,
        "a restart before the status was written"
    );
    case.write(after(21));
    case.memory = Memory::new(after(25));
    case.batch = None;
    case.pods.clear();
    assert_eq!(case.decide(after(29)).candidate, None, "a restart after it");
    assert!(case.decide(after(30)).candidate.is_some());
}

fn in_a_minute() -> Case {
    let mut case = case();
    case.template = template("deadlineSeconds: 60\nretry: {maxAttempts: 3, backoff: {initialSeconds: 5}}");
    case
}

#[test]
fn what_waits_at_its_deadline_is_recorded_as_skipped_whatever_it_waits_for() {
    let mut held = in_a_minute();
    held.job.spec.hold = true;
    let mut later = in_a_minute();
    later.job.spec.not_before = Some(MicroTime(after(3_600)));
    let mut refused = in_a_minute();
    refused.memory.refusal =
        Some(Refusal { attempt: 1, permanent: false, message: "quota".into(), blocked_since: None, at: after(55) });
    let blocker = Some(Blocker { waiting_for: WaitingFor::QueueLimit, message: "1 of 1 running".into() });
    let mut blocked = in_a_minute();
    blocked.memory.blocker = blocker;
    let mut own = case();
    own.job.spec.deadline_seconds = Some(60);
    for mut case in [held, later, refused, blocked, own, in_a_minute()] {
        case.write(after(1));
        let waits = case.step(after(59));
        assert!(waits.plan.wake_at.is_some_and(|wake| wake <= after(60)), "{waits:?}");
        assert_eq!(waits.plan.effects, []);
        let decision = case.decide(after(60));
        assert_eq!(
            only_record(&decision),
            (attempt_name(&case.job, 1), Outcome::Skipped, Reason::TotalDeadlineExceeded)
        );
        let error = record_of(&decision).status.as_ref().unwrap().error.clone();
        assert_eq!(error.as_deref(), Some("had not ended within 60 s of being queued (deadlineSeconds)"));
    }
}

/// Found by the model: recorded as too late, and launched by the next process, for which its time began anew.
#[test]
fn a_deadline_counts_from_what_is_written_down() {
    let mut case = in_a_minute();
    let decision = case.step(after_ms(5));
    assert!(decision.is_coming, "who came later waits for that write");
    assert_eq!((decision.candidate, decision.plan.wake_at), (None, Some(after(60))));
    assert_eq!((case.phase(), case.status().queued_at.clone()), (Some(JobPhase::Queued), Some(micro(after(0)))));
    assert!(case.decide(after_ms(10)).candidate.is_some(), "once that is written");
    let late = in_a_minute().decide(after(70));
    assert_eq!(late.plan.effects, [], "it is not recorded before that is written either");
}

#[test]
fn the_deadline_of_a_member_counts_from_when_it_was_queued() {
    let mut case = in_a_minute().of_group(Gate { waits: Some("first goes first".into()), ..Gate::default() });
    case.write(after(1));
    case.assert_settled(after(5_000));
    case.gate = Some(Gate { group_uid: "uid-batch".into(), ..Gate::default() });
    case.write(after(5_000));
    assert!(case.decide(after(5_059)).candidate.is_some());
    assert_eq!(only_record(&case.decide(after(5_060))).2, Reason::TotalDeadlineExceeded);
}

#[test]
fn what_runs_at_its_deadline_is_ended_once_unless_somebody_cancelled_it() {
    let mut case = in_a_minute().running();
    let batch_job = identity(&case.batch.as_ref().unwrap().metadata);
    let waits = case.decide(after(59));
    assert_eq!((waits.plan.effects, waits.plan.wake_at), (vec![], Some(after(60))));
    let expire = |reason| Effect::ExpireBatchJob { batch: batch_job.clone(), reason };
    assert_eq!(case.decide(after(60)).plan.effects, [expire(Reason::TotalDeadlineExceeded)]);
    let cancelled = case.clone().cancelled("{}");
    assert_eq!(cancelled.decide(after(60)).plan.effects, [expire(Reason::Cancelled)]);
    case.batch = Some(expired(case.batch.unwrap(), Reason::TotalDeadlineExceeded));
    assert_eq!(case.decide(after(61)).plan.effects, []);
    // A cancel that comes later changes nothing.
    let mut late = case.cancelled("{}");
    assert_eq!(late.decide(after(62)).plan.effects, []);
    let mut ended =
        batch(&attempt_name(&late.job, 1), &batch_ended("Failed").replace("BackoffLimitExceeded", "DeadlineExceeded"));
    ended.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].last_transition_time = Some(Time(after(62)));
    late.batch = Some(expired(ended, Reason::TotalDeadlineExceeded));
    late.pods = vec![ended_pod(143)];
    assert_eq!(only_record(&late.decide(after(63))).2, Reason::TotalDeadlineExceeded);
}

#[test]
fn no_attempt_follows_one_that_ended_at_or_after_the_deadline() {
    for (end, phase) in [(59, JobPhase::Queued), (60, JobPhase::Finished), (70, JobPhase::Finished)] {
        let mut case = in_a_minute().running().recorded(Outcome::Failed, Reason::ExitCode);
        case.memory.recorded.as_mut().unwrap().ending.finished_at = after(end);
        case.write(after(71));
        assert_eq!(case.phase(), Some(phase), "it ended after {end} s");
    }
    let case = in_a_minute().running().recorded(Outcome::Failed, Reason::TotalDeadlineExceeded);
    assert!(ending(&case.job, Some(&case.memory)).is_some());
}

#[test]
fn a_job_whose_time_is_over_between_attempts_has_failed_though_the_last_one_was_skipped() {
    let mut case = in_a_minute().running().recorded(Outcome::Failed, Reason::ExitCode);
    case.write(after(21));
    case.batch = None;
    case.pods.clear();
    case.memory.recorded = None;
    assert_eq!(case.decide(after(24)).plan.wake_at, Some(after(25)), "first comes the delay");
    let decision = case.decide(after(60));
    assert_eq!(only_record(&decision), (attempt_name(&case.job, 2), Outcome::Skipped, Reason::TotalDeadlineExceeded));
    case.memory.recorded = Some(Recorded::of(record_of(&decision), after(60)));
    case.write(after(60));
    assert_eq!(case.status().outcome, Some(Outcome::Failed));
    assert_eq!((case.status().reason, case.status().run_refs.len()), (Some(Reason::TotalDeadlineExceeded), 2));
}

#[test]
fn nothing_is_launched_that_was_decided_otherwise_meanwhile() {
    let case = in_a_minute();
    let source = Source::Template { spec: &case.template, snapshot: &case.snapshot };
    let known = resolve(&case.job, source, None).unwrap();
    let may = |case: &Case, now| may_launch(&case.job, &case.memory, &known, now);
    assert!(may(&case, after(59)));
    assert!(!may(&case, after(60)), "its time is over");
    let mut held = case.clone();
    held.job.spec.hold = true;
    assert!(!may(&held, after(1)));
    assert!(!may(&case.clone().recorded(Outcome::Skipped, Reason::DuplicateKey), after(1)));
    let mut recording = case.clone();
    recording.job.spec.cancel = Some(yaml("{}"));
    let run = record_of(&recording.decide(after(1))).clone();
    recording.memory.recording = Some(Box::new(run.clone()));
    assert!(!may(&recording, after(1)));
    recording.job.spec.cancel = None;
    assert_eq!(*record_of(&recording.decide(after(2))), run, "it is decided once");
}

#[test]
fn a_job_waits_for_the_time_that_it_is_given_and_no_longer() {
    let mut case = case();
    case.job.spec.not_before = Some(MicroTime(after(100)));
    let decision = case.step(after_ms(5));
    assert_eq!((decision.candidate, decision.plan.wake_at), (None, Some(after(100))));
    assert_eq!((case.phase(), case.status().waiting_for), (Some(JobPhase::Queued), Some(WaitingFor::NotBefore)));
    let said_then = said("False", "NotBefore", "spec.notBefore is 2026-03-01T00:01:40Z");
    assert_eq!(condition(case.status(), "Dispatched"), said_then);
    case.assert_settled(after(99));
    assert_eq!(case.decide(after(100)).candidate.unwrap().rank.queued_at, after(0), "it keeps its place");
    case.job.spec.not_before = Some(MicroTime(after(200)));
    case.job.metadata.generation = Some(2);
    assert_eq!(case.step(after(150)).plan.wake_at, Some(after(200)));
    assert_eq!(condition(case.status(), "Dispatched").2, "spec.notBefore is 2026-03-01T00:03:20Z");
    case.job.spec.not_before = Some(MicroTime(after(-100)));
    assert!(case.decide(after(151)).candidate.is_some(), "what has passed is no obstacle");
}

fn record(uid: &str, reason: Reason, outcome: Outcome, queued_at: i64, more: &str) -> JobRun {
    let (reason, outcome, queued_at) = (reason.as_str(), outcome.as_str(), after(queued_at));
    yaml(&format!(
        "
apiVersion: rota.dev/v1alpha1
kind: JobRun
metadata: {{name: {uid}-run}}
spec: {{jobRef: {{name: report, uid: {uid}}}, attempt: 1, {more}}}
status: {{phase: {outcome}, reason: {reason}, queuedAt: '{queued_at}'}}
"
    ))
}

fn keyed(window: i64) -> Case {
    let mut case = case();
    case.job.spec.dedup_key = Some("order-17".into());
    case.job.spec.dedup_window_seconds = Some(window);
    case
}

fn asked(mut case: Case, records: &[JobRun]) -> Case {
    let question = question(&case.job).unwrap();
    let mut search = question.search(&case.job);
    records.iter().for_each(|record| search.see(record));
    let answer = search.into_found();
    case.memory.earlier = Some((question, answer));
    case
}

#[test]
fn records_are_selected_by_the_days_of_the_window_and_not_those_of_duplicates() {
    let mut case = keyed(90_000);
    let question = question(&case.job).unwrap();
    let now: Timestamp = "2026-03-05T12:00:00Z".parse().unwrap();
    let [by] = &question.selectors(&case.job, now)[..] else { panic!("one question, one selector") };
    let days = "2026-03-06,2026-03-05,2026-03-04,2026-03-03,2026-03-02";
    let key = crate::domain::names::label_hash("order-17");
    assert_eq!(by.labels, format!("rota.dev/dedup={key},rota.dev/day in ({days})"));
    assert_eq!(by.fields.as_deref(), Some("status.reason!=DuplicateKey"));
    case.job.spec.dedup_window_seconds = Some(i64::MAX);
    assert!(question.selectors(&case.job, now)[0].labels.len() < 5_000, "no window asks for more than a year");
}

#[test]
fn a_search_ends_with_the_first_record_that_settles_it() {
    let run = |queued_at| record("other", Reason::ExitCode, Outcome::Failed, queued_at, "dedupKey: order-17");
    let case = keyed(600);
    let question = question(&case.job).unwrap();
    let over = |records: &[JobRun]| {
        let mut search = question.search(&case.job);
        records.iter().for_each(|record| search.see(record));
        search.is_over(after(0))
    };
    assert!(over(&[run(-100)]), "far within the window");
    assert!(!over(&[run(-599)]), "about to leave it: a later one may be there");
    assert!(!over(&[run(-601)]), "outside");
    assert!(!over(&[]));
    let git = from_git();
    let question = super::question(&git.job).unwrap();
    let mut search = question.search(&git.job);
    search.see(&success(&git));
    assert!(search.is_over(after(0)), "one success is enough");
}

#[test]
fn what_was_asked_is_known_from_the_generation_without_a_digest_of_the_job() {
    let mut case = from_git();
    case.job.metadata.generation = Some(3);
    assert_eq!(case.decide(after(1)), Decision::default(), "nothing was asked");
    case.memory.asked_of = asked_of(&case.job);
    assert!(case.decide(after(1)).candidate.is_some());
    case.job.metadata.generation = Some(4);
    assert_eq!(case.decide(after(1)), Decision::default(), "it was edited");
    case.memory.asked_of = asked_of(&case.job);
    case.job.spec.rerun_policy = Some(crate::api::job::RerunPolicy::Always);
    assert!(case.decide(after(1)).candidate.is_some(), "there is nothing to ask any more");
}

#[test]
fn a_job_with_a_window_is_decided_once_the_records_were_asked() {
    assert_eq!(keyed(60).decide(after(1)), Decision::default());
    assert!(asked(keyed(60), &[]).decide(after(1)).candidate.is_some());
}

#[test]
fn a_key_that_was_queued_within_the_window_makes_a_duplicate_also_of_what_is_gone() {
    let run = |queued_at, reason, outcome| record("other", reason, outcome, queued_at, "dedupKey: order-17");
    let failed = |queued_at| run(queued_at, Reason::ExitCode, Outcome::Failed);
    let table = [
        ("within", 60, vec![failed(-59)], true),
        ("not any more", 60, vec![failed(-60)], false),
        ("the latest counts", 60, vec![failed(-500), failed(-10), failed(-90)], true),
        ("a duplicate is no original", 60, vec![run(-1, Reason::DuplicateKey, Outcome::Skipped)], false),
        (
            "of another key with the same label",
            60,
            vec![record("other", Reason::ExitCode, Outcome::Failed, -1, "dedupKey: order-18")],
            false,
        ),
        ("its own", 60, vec![record("uid-report", Reason::ExitCode, Outcome::Failed, -1, "dedupKey: order-17")], false),
    ];
    for (what, window, records, duplicate) in table {
        let case = asked(keyed(window), &records);
        let decision = case.decide(after(1));
        assert_eq!(decision.candidate.is_none(), duplicate, "{what}");
        if duplicate {
            assert_eq!(only_record(&decision).2, Reason::DuplicateKey, "{what}");
            let error = record_of(&decision).status.as_ref().unwrap().error.clone().unwrap();
            assert!(error.starts_with("JobRun \"other-run\" has the same dedupKey and was queued at"), "{error}");
        }
    }
}

#[test]
fn a_job_that_came_while_another_one_was_unfinished_stays_its_duplicate() {
    let mut case = keyed(60);
    let question = question(&case.job).unwrap();
    let answer = question.answer_of_job("report-0");
    case.memory.earlier = Some((question, answer));
    let decision = case.decide(after(1_000));
    assert_eq!(only_record(&decision).2, Reason::DuplicateKey);
}

fn from_git() -> Case {
    let mut case = case();
    case.job.metadata.labels = Some([("kustomize.toolkit.fluxcd.io/name".to_owned(), "apps".to_owned())].into());
    case
}

fn success(case: &Case) -> JobRun {
    let mut run = record("earlier", Reason::Succeeded, Outcome::Completed, -500, "");
    let label = (crate::api::labels::CONTENT.to_owned(), content_label(&case.job).unwrap());
    run.metadata.labels = Some([label].into());
    run
}

#[test]
fn a_job_from_git_that_succeeded_before_does_not_run_again() {
    let case = from_git();
    let records = [success(&case)];
    let decision = asked(case.clone(), &records).decide(after(1));
    assert_eq!(only_record(&decision), (attempt_name(&case.job, 1), Outcome::Skipped, Reason::AlreadySucceeded));
    let error = record_of(&decision).status.as_ref().unwrap().error.clone().unwrap();
    assert!(error.starts_with("JobRun \"earlier-run\""), "{error}");
    let mut changed = from_git();
    changed.job.spec.params = yaml("{day: tuesday}");
    assert!(asked(changed, &records).decide(after(1)).candidate.is_some(), "changed content runs");
    let mut waiting = from_git();
    (waiting.job.spec.priority, waiting.job.spec.position) = (Some(7), Some(1.into()));
    assert!(asked(waiting, &records).decide(after(1)).candidate.is_none(), "its place in line is no content");
    let mut failed = success(&case);
    failed.status.as_mut().unwrap().phase = Outcome::Failed;
    assert!(asked(case, &[failed]).decide(after(1)).candidate.is_some());
}

#[test]
fn who_runs_again_is_told_by_the_policy_else_by_who_tracks_the_job() {
    let policy = |mut case: Case, policy: &str| {
        case.job.spec.rerun_policy = Some(yaml(policy));
        case
    };
    let annotated = |key: &str| {
        let mut case = from_git();
        case.job.metadata.annotations = Some([(key.to_owned(), "x".to_owned())].into());
        case
    };
    let mut applied = case();
    let kept = crate::api::labels::LAST_APPLIED_ANNOTATION.to_owned();
    applied.job.metadata.annotations = Some([(kept, String::new())].into());
    let mut made = from_git().of_schedule();
    made.job.metadata.owner_references = Some(vec![crate::domain::group::owner("Schedule", "daily", "uid-daily")]);
    let table = [
        ("by hand", case(), false),
        ("by hand, and asked for", policy(case(), "IfNotSucceeded"), true),
        ("tracked", from_git(), true),
        ("tracked, and not wanted", policy(from_git(), "Always"), false),
        ("a hook of Argo CD", annotated("argocd.argoproj.io/hook"), false),
        ("a hook of Helm", annotated("helm.sh/hook"), false),
        ("tracked by Argo CD", annotated("argocd.argoproj.io/tracking-id"), true),
        ("made by Rota", made, false),
        ("applied by kubectl", applied, true),
    ];
    for (what, case, expected) in table {
        assert_eq!(question(&case.job).is_some(), expected, "{what}");
    }
}

#[test]
fn a_suspended_batch_job_is_waited_for_and_no_time_runs_but_the_deadline_of_the_job() {
    let mut case = case().queued().launched().asked();
    case.template = template("pendingTimeoutSeconds: 60\ndeadlineSeconds: 3600");
    let name = attempt_name(&case.job, 1);
    let suspended = "
spec: {suspend: true, template: {}}
status: {conditions: [{type: Suspended, status: 'True', reason: JobSuspended, message: Job suspended}]}";
    case.batch = Some(batch(&name, suspended));
    let decision = case.step(after(11));
    assert_eq!((decision.plan.effects, decision.candidate), (vec![], None));
    let status = case.status();
    assert_eq!((status.phase, status.waiting_for), (Some(JobPhase::Dispatched), Some(WaitingFor::Suspended)));
    let text = format!("batch Job {name} is suspended: Suspended: JobSuspended: Job suspended");
    assert_eq!(condition(status, "Dispatched"), said("True", "Suspended", &text));
    case.assert_settled(after(3_599));
    let mut between = case.clone();
    between.batch = Some(batch(&name, &suspended.replace("true", "false")));
    let decision = between.step(after(301));
    assert_eq!(
        (decision.plan.effects, decision.plan.wake_at),
        (vec![], Some(after(3_600))),
        "its time to start does not count before Kubernetes has taken note that it is resumed"
    );
    let resumed = "
spec: {suspend: false, template: {}}
status: {startTime: '2026-03-01T00:05:00Z', conditions: [{type: Suspended, status: 'False', reason: JobResumed, lastTransitionTime: '2026-03-01T00:05:00Z'}]}";
    let mut later = case.clone();
    later.batch = Some(batch(&name, resumed));
    let decision = later.step(after(301));
    assert_eq!(
        (later.status().waiting_for, decision.plan.wake_at),
        (None, Some(after(360))),
        "its time to start is whole"
    );
    assert_eq!(
        condition(later.status(), "Dispatched"),
        said("True", "Launched", &format!("launched as batch Job {name}"))
    );
    case.batch.as_mut().unwrap().metadata.resource_version = Some("7".into());
    let deleted = identity(&case.batch.as_ref().unwrap().metadata);
    let delete = Effect::DeleteBatchJob { batch: deleted, version: Some("7".into()) };
    assert_eq!(case.decide(after(3_600)).plan.effects, [delete]);
    (case.batch, case.looked) = (None, true);
    let decision = case.decide(after(3_601));
    assert_eq!(only_record(&decision), (name.clone(), Outcome::Skipped, Reason::TotalDeadlineExceeded));
    case.memory.recorded = Some(Recorded::of(record_of(&decision), after(3_601)));
    case.write(after(3_601));
    assert_eq!(
        condition(case.status(), "Dispatched"),
        said("True", "Launched", &format!("launched as batch Job {name}"))
    );
}

#[test]
fn one_that_was_to_end_and_is_suspended_then_is_deleted_when_its_status_says_why() {
    let mut case = case().queued().launched().asked();
    let name = attempt_name(&case.job, 1);
    let mut asked = batch(&name, "spec: {suspend: true, activeDeadlineSeconds: 1, template: {}}");
    asked.metadata.annotations = Some([(ENDED_FOR_ANNOTATION.to_owned(), "PendingTimeout".to_owned())].into());
    case.batch = Some(asked);
    let deletes = |decision: &Decision| {
        decision.plan.effects.iter().any(|effect| matches!(effect, Effect::DeleteBatchJob { .. }))
    };
    let decision = case.step(after(60));
    assert!(!deletes(&decision), "why is written down first");
    assert_eq!(run::said_reason(&case.job), Some(Reason::PendingTimeout));
    assert!(deletes(&case.step(after(61))));
}

#[test]
fn a_run_that_is_suspended_waits_again_and_has_started_all_the_same() {
    let mut case = case().running().asked();
    let name = attempt_name(&case.job, 1);
    case.batch = Some(batch(&name, "spec: {suspend: true, template: {}}"));
    case.pods.clear();
    case.write(after(20));
    assert_eq!((case.phase(), case.status().waiting_for), (Some(JobPhase::Dispatched), Some(WaitingFor::Suspended)));
    assert_eq!(case.status().started_at, Some(micro(after(12))));
    let resumed = "status: {startTime: '2026-03-01T00:05:00Z', conditions: [{type: Suspended, status: 'False', lastTransitionTime: '2026-03-01T00:05:00Z'}]}";
    case.batch = Some(batch(&name, resumed));
    let decision = case.step(after(301));
    assert_eq!((case.phase(), case.status().waiting_for), (Some(JobPhase::Dispatched), None));
    assert_eq!(decision.plan.wake_at, Some(after(900)), "a pod that never starts again is given up");
    assert_eq!(case.status().started_at, Some(micro(after(12))));
    let running = "containerStatuses: [{name: main, image: '', imageID: '', ready: true, restartCount: 0, state: {running: {startedAt: '2026-03-01T00:05:03Z'}}}]";
    case.pods = vec![pod(running)];
    let _ = case.step(after(304));
    assert_eq!(
        (case.phase(), case.status().started_at.clone()),
        (Some(JobPhase::Running), Some(micro(after(303)))),
        "it has started anew"
    );
}

#[test]
fn what_has_not_started_by_its_start_deadline_is_skipped_whatever_it_waits_for() {
    let late = |mut case: Case| {
        case.job.spec.start_deadline = Some(MicroTime(after(100)));
        case
    };
    let mut held = late(case());
    held.job.spec.hold = true;
    let mut missing = late(case());
    missing.stands = Stands::Missing;
    for (what, mut case) in [("queued", late(case())), ("held", held), ("without a template", missing)] {
        assert_eq!(case.step(after(99)).plan.wake_at, Some(after(100)), "{what}");
        assert_eq!(only_record(&case.decide(after(100))).2, Reason::StartDeadlineExceeded, "{what}");
    }
    let mut retried = late(case().running().recorded(Outcome::Failed, Reason::ExitCode));
    retried.write(after(21));
    retried.batch = None;
    retried.pods.clear();
    assert!(retried.decide(after(101)).candidate.is_some(), "a later attempt is no start");
}

#[test]
fn a_waiting_job_whose_place_a_later_time_takes_is_replaced_and_one_that_runs_goes_on() {
    let mut case = case();
    case.superseded_by = Some("daily-2");
    let decision = case.decide(after(1));
    assert_eq!(only_record(&decision).2, Reason::Replaced);
    let error = record_of(&decision).status.as_ref().unwrap().error.clone().unwrap();
    assert!(error.starts_with("replaced by Job daily-2 before it started"), "{error}");
    let mut running = super::case().running();
    running.superseded_by = Some("daily-2");
    assert_eq!(running.decide(after(21)).plan.effects, []);
}
