//! When a time comes while an earlier Job is not finished, and when a run starts late or fails again and again.

use super::*;
use crate::domain::conditions::{LATE, PAUSED};

fn name(time: &str) -> String {
    names::occurrence_job("daily", "uid-daily", at(time))
}

#[test]
fn replace_makes_the_new_job_and_then_cancels_each_older_one_once() {
    let mut case = hourly("concurrencyPolicy: Replace");
    case.step("01:00");
    assert_eq!(case.step("02:00"), ["run 02:00"], "the lock comes first");
    assert_eq!(case.step("02:00:01"), [format!("cancel {}", name("01:00"))]);
    case.jobs[0].cancelled = true;
    case.assert_rests("02:00:02");
    case.end("01:00", Outcome::Failed, "02:00:30");
    case.jobs[0].ending.as_mut().unwrap().reason = Reason::Replaced;
    assert_eq!(case.step("02:00:31"), [""; 0]);
    assert_eq!(case.status.consecutive_failures, 0, "that it was replaced is no failure of the work");
}

#[test]
fn replace_ends_older_runs_by_hand_too_but_not_younger_ones() {
    let mut case = hourly("concurrencyPolicy: Replace");
    let by_hand = |created: &str| OwnJob { created: Some(at(created)), ..own(&job(created, None)) };
    case.jobs.extend([by_hand("00:50"), by_hand("01:30")]);
    case.step("01:00");
    case.jobs.last_mut().unwrap().created = Some(at("01:00"));
    let cancels = case.decide(at("01:00:01"));
    let Some(Effect::CancelJob { job, cancel }) = cancels.plan.effects.first() else { panic!("{cancels:?}") };
    assert_eq!((job.uid.as_str(), cancel.replaced_by.as_deref()), ("uid-of-job", Some(name("01:00").as_str())));
    assert_eq!(cancels.plan.effects.len(), 1, "the younger one waits and runs after it");
}

#[test]
fn only_allow_lets_two_run_at_once() {
    let table = [
        ("", None),
        ("concurrencyPolicy: Allow", None),
        ("concurrencyPolicy: Forbid", Some(1)),
        ("concurrencyPolicy: Replace", Some(1)),
        ("concurrencyPolicy: Queue", Some(1)),
        ("concurrencyPolicy: QueueLatest", Some(1)),
    ];
    for (spec, expected) in table {
        assert_eq!(max_running(&new(&format!("interval: 5s, {spec}")).schedule.spec), expected, "{spec}");
    }
}

#[test]
fn queue_makes_each_job_in_its_turn_up_to_a_bound() {
    let mut case = known("interval: 1m, concurrencyPolicy: Queue");
    for minute in 1..=101 {
        let time = at("00:00").saturating_add_ms(minute * 60_000);
        assert_eq!(case.step_at(time), [format!("run {}", clock(time))]);
    }
    assert_eq!(case.step("01:42"), ["skip 01:42 QueueFull"], "one runs and 100 wait");
    case.end("00:01", Outcome::Completed, "01:42:30");
    assert_eq!(case.step("01:43"), ["run 01:43"]);
}

#[test]
fn a_run_that_does_not_start_in_time_is_late_once_and_until_it_starts() {
    let mut case = hourly("startWithinSeconds: 60");
    assert_eq!(case.condition(LATE).0, "False");
    assert_eq!(case.step("01:00"), ["run 01:00"]);
    assert_eq!(case.jobs[0].start_by, Some(at("01:01")));
    let waiting = case.decide(at("01:00:05"));
    assert_eq!(waiting.plan.wake_at, Some(at("01:01").saturating_add_ms(1)));
    let late = case.decide(at("01:01").saturating_add_ms(1));
    assert_eq!(late.plan.notes.iter().map(|note| note.reason).collect::<Vec<_>>(), ["Late"]);
    case.status = late.plan.status.unwrap();
    assert_eq!((case.status.late_count, case.condition(LATE).0), (1, "True"));
    case.assert_rests("01:05");
    case.jobs[0].started_at = Some(at("01:06"));
    case.step("01:06");
    assert_eq!((case.status.late_count, case.condition(LATE).0), (1, "False"));
    case.assert_rests("01:07");
}

#[test]
fn a_run_that_is_made_up_for_after_the_operator_was_away_is_late_too() {
    let mut case = hourly("startWithinSeconds: 60");
    case.leading_since = at("01:30");
    assert_eq!(case.step("01:30"), ["run 01:00?"]);
    case.step("01:30:01");
    assert_eq!((case.status.late_count, case.status.last_late_time.clone()), (1, Some(micro(at("01:00")))));
}

#[test]
fn a_run_that_started_in_time_is_not_late_when_nobody_looked_meanwhile() {
    let mut case = hourly("startWithinSeconds: 60");
    case.step("01:00");
    case.jobs[0].started_at = Some(at("01:00:59"));
    case.step("01:50");
    assert_eq!((case.status.late_count, case.condition(LATE).0), (0, "False"));
}

fn failing() -> Case {
    let mut case = hourly("pauseAfterFailures: 2, catchUp: {policy: All}");
    for (time, end) in [("01:00", "01:10"), ("02:00", "02:10")] {
        case.step(time);
        case.end(time, Outcome::Failed, end);
        case.step(end);
    }
    case
}

#[test]
fn a_schedule_is_held_after_so_many_failures_in_a_row_and_says_why() {
    let case = failing();
    let pause = case.status.paused.as_ref().unwrap();
    assert_eq!((pause.since.0, pause.failures), (at("02:10"), 2));
    assert_eq!(
        case.condition(PAUSED),
        ("True", "ConsecutiveFailures", "paused after 2 failure(s) in a row since 2026-03-01T02:10:00Z")
    );
    assert_eq!(case.condition("Ready").0, "True", "work that fails is not an ill schedule");
    assert_eq!((case.status.phase, case.status.next_trigger_time.clone()), (Some(SchedulePhase::Enabled), None));
    case.assert_rests("02:30");
}

#[test]
fn the_times_of_a_held_schedule_are_recorded_an_hour_at_a_time() {
    let mut case = failing();
    case.schedule.spec.interval = None;
    assert_eq!(case.step("03:30"), [""; 0]);
    assert_eq!(case.decide(at("03:30")).plan.wake_at, Some(at("04:00")));
    assert_eq!(case.step("04:00"), ["skip 2 03:00-04:00 SchedulePaused"]);
    assert_eq!(case.status.missed_count, 0, "the operator missed nothing");
}

#[test]
fn a_held_schedule_goes_on_when_somebody_acts_and_fires_nothing_of_before() {
    type Act<'a> = (&'a str, &'a dyn Fn(&mut Case));
    let acts: [Act<'_>; 3] = [
        ("an edit", &|case| case.edit_at("03:30", |schedule| schedule.spec.priority = Some(1))),
        ("the annotation", &|case| {
            case.schedule.metadata.annotations = Some([("rota.dev/resume".to_owned(), "now".to_owned())].into());
        }),
        ("a success by hand", &|case| {
            case.jobs.push(OwnJob { ending: Some(ending(Outcome::Completed, "03:30")), ..own(&job("by-hand", None)) });
        }),
    ];
    for (what, act) in acts {
        let mut case = failing();
        act(&mut case);
        assert_eq!(case.step("03:30"), ["skip 03:00 SchedulePaused"], "{what}");
        assert_eq!((case.status.paused.clone(), case.status.consecutive_failures), (None, 0), "{what}");
        assert_eq!(case.step("04:00"), ["run 04:00"], "{what}");
    }
}

#[test]
fn a_run_is_put_off_by_its_jitter_and_accounted_for_by_its_time() {
    let mut case = known("cron: 0 * * * *, jitterSeconds: 600, startWithinSeconds: 30");
    let timing = Timing::parse(&case.schedule.spec.timing(at("00:00")), "uid-daily").unwrap();
    let fires = timing.fires_at(at("01:00"));
    assert!(fires > at("01:00") && fires < at("01:10"), "{fires}");
    assert_eq!(case.decide(at("01:00")).plan.wake_at, Some(fires));
    assert_eq!(case.step_at(fires.saturating_add_ms(-1)), [""; 0]);
    assert_eq!(case.status.next_trigger_time, Some(micro(at("01:00"))), "it is still to come");
    let late = case.decide(fires.saturating_add_ms(5)).plan.effects;
    let [Effect::CreateJob { due, .. }] = late.as_slice() else { panic!("{late:?}") };
    assert_eq!(*due, Some(fires), "jitter is no lateness");
    assert_eq!(case.step_at(fires), ["run 01:00"]);
    assert_eq!(case.jobs[0].start_by, Some(fires.saturating_add_ms(30_000)));
    assert_eq!(case.status.accounted_until, Some(micro(at("01:00"))));
}

#[test]
fn allow_has_a_limit_too() {
    let mut case = known("interval: 1s");
    for second in 1..=2_000 {
        assert_eq!(case.step_at(at("00:00").saturating_add_ms(second * 1_000)).len(), 1);
    }
    assert_eq!(case.step_at(at("00:00").saturating_add_ms(2_001_000)), ["skip 00:33:21 QueueFull"]);
    case.jobs[0].ending = Some(ending(Outcome::Completed, "00:33:21"));
    assert_eq!(case.step_at(at("00:00").saturating_add_ms(2_002_000)), ["run 00:33:22"]);
}

#[test]
fn of_those_that_wait_only_the_latest_one_runs_under_queue_latest() {
    let schedule = |policy: &str| new(&format!("interval: 1h, concurrencyPolicy: {policy}")).schedule;
    let (first, second, by_hand) = (job("a", Some("01:00")), job("b", Some("02:00")), job("c", None));
    let latest = schedule("QueueLatest");
    assert!(gives_way(&latest, &first, &second));
    assert!(!gives_way(&latest, &second, &first) && !gives_way(&latest, &first, &first));
    assert!(!gives_way(&latest, &by_hand, &second) && !gives_way(&latest, &first, &by_hand), "asked for by hand");
    for other in ["Allow", "Forbid", "Replace", "Queue"] {
        assert!(!gives_way(&schedule(other), &first, &second), "{other}");
    }
    let mut case = hourly("concurrencyPolicy: QueueLatest");
    assert_eq!(case.step("01:00"), ["run 01:00"]);
    assert_eq!(case.step("02:00"), ["run 02:00"], "what runs goes on, and what waits decides for itself");
    case.step("02:00");
    case.assert_rests("02:01");
}

#[test]
fn a_run_has_its_start_deadline_from_when_it_was_due() {
    let mut case = hourly("startDeadlineSeconds: 300, queue: nightly");
    let made = case.decide(at("01:00")).plan.effects;
    let [Effect::CreateJob { job, .. }] = made.as_slice() else { panic!("{made:?}") };
    assert_eq!(job.spec.start_deadline, Some(micro(at("01:05"))));
    assert_eq!(job.spec.queue.as_deref(), Some("nightly"));
    case.step("01:00");
    // The operator was away.
    case.leading_since = at("02:06");
    assert_eq!(case.step("02:06"), ["skip 02:00 MissedWindow"]);
    case.leading_since = at("03:04");
    assert_eq!(case.step("03:04"), ["run 03:00?"]);
}
