//! What the status says of the schedule's Jobs: each ending is counted once, through restarts.

use super::*;

#[test]
fn each_ending_is_counted_once_and_listed_until_its_job_is_let_go() {
    let mut case = hourly("");
    case.step("01:00");
    case.end("01:00", Outcome::Failed, "01:05");
    let decision = case.decide(at("01:06"));
    assert!(decision.urgent, "nothing else shows that it is counted");
    assert_eq!((told(&decision), decision.plan.notes.len()), (vec![], 0));
    case.step("01:06");
    assert_eq!((case.status.consecutive_failures, case.status.settled.len(), case.status.active), (1, 1, 0));
    assert_eq!(case.status.last_failure_time, Some(micro(at("01:05"))));
    assert_eq!(case.condition("LastRunSucceeded"), ("False", "Failed", "1 failure(s) since the last success"));
    assert_eq!(case.condition("Ready").0, "True", "a run that fails is no fault of the schedule");
    for _ in 0..3 {
        case.leading_since = at("01:10");
        case.assert_rests("01:10");
    }
}

#[test]
fn a_counted_job_that_is_gone_costs_no_write_and_is_forgotten_with_the_next_one() {
    for gone in [true, false] {
        let mut case = hourly("");
        case.step("01:00");
        case.end("01:00", Outcome::Completed, "01:05");
        case.step("01:06");
        if gone {
            case.jobs.clear();
        } else {
            case.jobs[0].held = false;
        }
        case.assert_rests("01:07");
        case.step("02:00");
        assert_eq!((case.status.settled.len(), case.status.consecutive_failures), (0, 0));
        case.step("02:00");
        case.assert_rests("02:01");
        assert_eq!(case.status.last_success_time, Some(micro(at("01:05"))));
    }
}

#[test]
fn endings_are_counted_in_the_order_in_which_they_came() {
    let mut case = known("interval: 5m");
    for time in ["00:05", "00:10", "00:15"] {
        case.step(time);
    }
    case.end("00:05", Outcome::Failed, "00:18");
    case.end("00:10", Outcome::Completed, "00:17");
    case.end("00:15", Outcome::Skipped, "00:16");
    case.step("00:19");
    let status = &case.status;
    assert_eq!((status.last_outcome, status.consecutive_failures), (Some(Outcome::Failed), 1));
    assert_eq!(status.last_success_time, Some(micro(at("00:17"))));
    assert_eq!(
        (status.last_skip_time.clone(), status.last_skip_reason),
        (Some(micro(at("00:16"))), Some(Reason::ExitCode))
    );
    assert_eq!(status.settled.len(), 3);
}

#[test]
fn a_success_ends_a_row_of_failures() {
    let mut case = known("interval: 5m");
    for (time, outcome, failures) in [
        ("00:05", Outcome::Failed, 1),
        ("00:10", Outcome::Failed, 2),
        ("00:15", Outcome::Skipped, 2),
        ("00:20", Outcome::Completed, 0),
        ("00:25", Outcome::Failed, 1),
    ] {
        case.step(time);
        case.end(time, outcome, time);
        case.step(time);
        assert_eq!(case.status.consecutive_failures, failures, "{time}");
    }
}

#[test]
fn a_restart_between_counting_and_writing_counts_anew_from_what_was_written() {
    let mut case = hourly("");
    case.step("01:00");
    case.end("01:00", Outcome::Failed, "01:05");
    let lost = case.decide(at("01:06")).plan.status.unwrap();
    let again = case.decide(at("01:20")).plan.status.unwrap();
    assert_eq!((lost.consecutive_failures, again.consecutive_failures), (1, 1));
    assert_eq!(lost.settled, again.settled);
}

#[test]
fn a_job_that_a_user_made_for_the_schedule_counts_as_active_and_is_counted_when_it_ends() {
    let mut case = hourly("concurrencyPolicy: Forbid");
    let by_hand = ObjectReference { name: "by-hand".into(), uid: "uid-by-hand".into() };
    case.jobs.push(OwnJob { job: by_hand, ..own(&job("uid-by-hand", None)) });
    assert_eq!(case.step("01:00"), ["skip 01:00 OverlapForbidden"]);
    assert_eq!((case.status.active, case.status.active_jobs.len()), (1, 1));
    case.jobs[0].ending = Some(ending(Outcome::Completed, "01:30"));
    case.step("01:31");
    assert_eq!((case.status.active, case.status.last_outcome), (0, Some(Outcome::Completed)));
}

#[test]
fn active_jobs_are_all_counted_and_the_first_ones_named_in_order() {
    let mut case = known("interval: 1s");
    case.step("00:00:15");
    case.step("00:00:30");
    assert_eq!((case.status.active, case.status.active_jobs.len()), (30, 15));
    case.step("00:00:30");
    assert_eq!((case.status.active, case.status.active_jobs.len()), (30, 20));
    assert!(case.status.active_jobs.is_sorted());
    case.assert_rests("00:00:30");
    case.jobs.reverse();
    let reversed = case.decide(at("00:00:30")).plan.status.unwrap();
    assert_eq!(reversed.active_jobs, case.status.active_jobs, "whatever the order in which they are seen");
}

#[test]
fn a_job_is_settled_when_its_ending_is_counted_and_its_time_accounted_for() {
    let mut status = ScheduleStatus { accounted_until: Some(micro(at("02:00"))), ..ScheduleStatus::default() };
    let job = |time: Option<&str>| job("uid-job", time);
    assert!(!has_settled(&status, &job(Some("02:00"))));
    status.settled = vec![ObjectReference { name: "job".into(), uid: "uid-job".into() }];
    for (time, expected) in [(Some("01:00"), true), (Some("02:00"), true), (Some("02:00:01"), false), (None, true)] {
        assert_eq!(has_settled(&status, &job(time)), expected, "{time:?}");
    }
    status.accounted_until = None;
    assert!(!has_settled(&status, &job(Some("01:00"))));
}

#[test]
fn a_status_that_is_not_urgent_is_written_within_a_second() {
    assert_eq!(status_due(at("01:00"), false), at("01:00:01"));
    assert_eq!(status_due(at("01:00"), true), at("01:00:06"));
}

#[test]
fn a_step_that_is_surely_not_meant_is_said_and_is_no_matter_of_health() {
    let mut case = known("cron: '*/90 * * * *'");
    let (status, reason, message) = case.condition("Warning");
    assert_eq!((status, reason), ("True", "NotAsWritten"));
    assert!(message.starts_with("spec.cron: */90 in the field of the minute goes beyond the field"), "{message}");
    assert_eq!(case.condition("Ready").0, "True");
    case.edit_at("00:10", |schedule| schedule.spec.cron = Some("*/30 * * * *".into()));
    case.step("00:11");
    assert!(case.status.conditions.iter().all(|condition| condition.type_ != "Warning"));
}

#[test]
fn only_so_many_endings_are_counted_at_once_and_the_rest_when_these_are_let_go() {
    let mut case = known("interval: 1s");
    for second in 1..=1_300 {
        case.step_at(at("00:00").saturating_add_ms(second * 1_000));
    }
    assert_eq!(case.jobs.len(), 1_300);
    for job in &mut case.jobs {
        job.ending = Some(ending(Outcome::Failed, "01:00"));
    }
    case.schedule.spec.enabled = Some(false);
    let mut writes = 0;
    while case.jobs.iter().any(|job| job.held) {
        case.step("02:00");
        assert!(case.status.settled.len() <= 500);
        let settled: Vec<String> = case.status.settled.iter().map(|job| job.uid.clone()).collect();
        case.jobs.iter_mut().filter(|job| settled.contains(&job.job.uid)).for_each(|job| job.held = false);
        writes += 1;
    }
    assert_eq!((writes, case.status.consecutive_failures), (3, 1_300));
}

#[test]
fn a_time_that_a_user_wrote_into_a_job_is_no_occurrence() {
    let ours = job("uid-1", Some("01:00"));
    assert_eq!(occurrence(&ours), Some(at("01:00")));
    let mut renamed = ours.clone();
    renamed.metadata.name = Some("copy".into());
    let mut own = ours.clone();
    own.metadata.owner_references = None;
    let mut ahead = ours.clone();
    ahead.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at("00:00")));
    let far: Timestamp = "2999-01-01T00:00:00Z".parse().unwrap();
    ahead.spec.scheduled_time = Some(micro(far));
    ahead.metadata.name = Some(names::occurrence_job("daily", "uid-daily", far));
    let settled = vec![ObjectReference { name: "any".into(), uid: "uid-1".into() }];
    let status = ScheduleStatus { settled, accounted_until: Some(micro(at("00:30"))), ..ScheduleStatus::default() };
    assert!(!has_settled(&status, &ours), "its time is not accounted for");
    for (what, forged) in [("another name", renamed), ("no owner", own), ("a time that has not come", ahead)] {
        assert_eq!(occurrence(&forged), None, "{what}");
        assert!(has_settled(&status, &forged), "{what}: it is let go of");
    }
}

#[test]
fn a_job_of_an_earlier_build_whose_time_is_within_a_second_is_an_occurrence() {
    let time = at("01:00").saturating_add_ms(250);
    let mut old = job("uid-1", Some("01:00"));
    old.spec.scheduled_time = Some(micro(time));
    assert_eq!(occurrence(&old), Some(time));
    old.metadata.name = Some(names::occurrence_job("daily", "uid-daily", time));
    assert_eq!(occurrence(&old), Some(time));
}

#[test]
fn the_latest_finished_jobs_are_kept_as_many_as_the_limits_say() {
    let table = [
        ("", vec!["00:20"]),
        ("historyLimits: {}", vec!["00:20"]),
        ("historyLimits: {succeeded: 2, failed: 0}", vec!["00:15", "00:25"]),
        ("historyLimits: {succeeded: 1, failed: 100}", vec!["00:05", "00:20", "00:25"]),
    ];
    for (limits, expected) in table {
        let mut case = known(&format!("interval: 5m, {limits}"));
        for (time, outcome, finished) in [
            ("00:05", Outcome::Failed, "00:06"),
            ("00:10", Outcome::Completed, "00:11"),
            ("00:15", Outcome::Completed, "00:16"),
            ("00:20", Outcome::Failed, "00:21"),
            ("00:25", Outcome::Completed, "00:26"),
            ("00:30", Outcome::Skipped, "00:31"),
            ("00:35", Outcome::Failed, "00:36"),
        ] {
            case.step(time);
            case.end(time, outcome, finished);
        }
        case.jobs.last_mut().unwrap().ending.as_mut().unwrap().reason = Reason::Cancelled;
        case.step("00:40");
        let name = |time: &&str| names::occurrence_job("daily", "uid-daily", at(time));
        let kept: Vec<&str> = case.status.kept_jobs.iter().map(|job| job.name.as_str()).collect();
        let mut expected: Vec<String> = expected.iter().map(name).collect();
        expected.sort();
        assert_eq!(kept, expected, "{limits}");
        case.step("00:40");
        case.assert_rests("00:41");
        let listed = |jobs: &[ObjectReference]| {
            let mut schedule = case.schedule.clone();
            schedule.status = Some(ScheduleStatus { kept_jobs: jobs.to_vec(), ..ScheduleStatus::default() });
            schedule
        };
        let (before, after) = (listed(&case.status.kept_jobs), listed(&case.status.kept_jobs[1..]));
        assert_eq!(no_longer_kept(Some(&before), Some(&after)), [&case.status.kept_jobs[0]]);
        assert_eq!(no_longer_kept(Some(&after), Some(&before)).len(), 0);
    }
}

#[test]
fn a_run_by_hand_takes_what_its_schedule_says_until_it_is_queued() {
    let template: JobTemplateSpec = yaml(
        "
jobType: t
params: [{name: region, default: us}, {name: day, default: monday}]
queue: slow
priority: 1
jobTemplate: {}
",
    );
    let case = known("interval: 5m, params: {region: eu}, priority: 7, queue: fast");
    let by_hand = |spec: &str| -> Job { yaml(&format!("{{metadata: {{name: x, uid: y}}, spec: {{{spec}}}}}")) };
    let own = by_hand("templateRef: {name: nightly}, scheduleRef: {name: daily}");
    let spec = inherited(&own, Some(&case.schedule), &template).unwrap();
    let defaults: Vec<_> = spec.params.iter().map(|param| param.default.as_deref().unwrap_or_default()).collect();
    assert_eq!((defaults, spec.priority, spec.queue.as_deref()), (vec!["eu", "monday"], Some(7), Some("fast")));
    // The schedule may change or go.
    let mut queued = own.clone();
    queued.status = Some(yaml(
        "{phase: Queued, priority: 7, queue: fast, template: {name: nightly, uid: u, revision: r, digest: d}}",
    ));
    let spec = inherited(&queued, None, &template).unwrap();
    assert_eq!((spec.priority, spec.queue.as_deref()), (Some(7), Some("fast")));
    for (what, job, schedule) in [
        ("of no schedule", by_hand("templateRef: {name: nightly}"), Some(&case.schedule)),
        ("of another template", by_hand("templateRef: {name: b}, scheduleRef: {name: daily}"), Some(&case.schedule)),
        ("of none that is there", own, None),
        ("made by it", job("u", Some("01:00")), Some(&case.schedule)),
    ] {
        assert_eq!(inherited(&job, schedule, &template), None, "{what}");
    }
}
