//! What a schedule owed when it was deleted is recorded.

use super::*;

fn owed(case: &Case, now: &str) -> Vec<String> {
    let facts = Facts {
        schedule: &case.schedule,
        status: &case.status,
        edits: case.edits,
        template: case.template.clone(),
        queue: QueueCondition::Open,
        jobs: &case.jobs,
        leading_since: case.leading_since,
    };
    let effects = owed_when_deleted(&facts, at(now));
    told(&Decision { plan: Plan { effects, ..Plan::default() }, urgent: false })
}

#[test]
fn one_that_has_dealt_with_its_times_owes_nothing() {
    let mut case = hourly("");
    case.step("03:00");
    assert_eq!(owed(&case, "03:59:59"), [""; 0]);
}

#[test]
fn one_that_is_turned_off_owes_nothing() {
    let mut case = hourly("enabled: false");
    case.step("01:00");
    assert_eq!(owed(&case, "09:00"), [""; 0]);
}

#[test]
fn one_that_was_held_owes_the_times_since_its_last_record() {
    let mut case = known("interval: 10m, pauseAfterFailures: 1");
    assert_eq!(case.step("00:10"), ["run 00:10"]);
    case.end("00:10", Outcome::Failed, "00:15");
    assert_eq!(case.step("00:15"), [""; 0]);
    assert_eq!(case.step("01:20"), ["skip 7 00:20-01:20 SchedulePaused"]);
    assert_eq!(case.step("01:55"), [""; 0], "an hour has not passed");
    assert_eq!(owed(&case, "01:55"), ["skip 3 01:30-01:50 SchedulePaused"]);
}

#[test]
fn times_that_came_just_before_are_recorded_unless_they_have_a_job() {
    let mut case = hourly("");
    case.crash_after(1, "01:00");
    assert_eq!(owed(&case, "01:00:01"), [""; 0], "its Job was made");
    assert_eq!(owed(&case, "02:00:01"), ["skip 02:00 ScheduleDeleted"]);
    let new = new("cron: 0 * * * *");
    assert_eq!(owed(&new, "01:00:01"), ["skip 01:00 ScheduleDeleted"], "nobody has looked at it yet");
}

#[test]
fn a_time_whose_jitter_had_not_passed_is_not_owed() {
    let case = known("cron: 0 * * * *, jitterSeconds: 600");
    let fires = Timing::parse(&case.schedule.spec.timing(at("00:00")), "uid-daily").unwrap().fires_at(at("01:00"));
    assert_eq!(owed(&case, &clock(fires.saturating_add_ms(-1_000))), [""; 0]);
    assert_eq!(owed(&case, "01:10"), ["skip 01:00 ScheduleDeleted"]);
}

#[test]
fn an_edit_that_was_not_seen_ends_the_account_of_the_old_timing() {
    let mut case = hourly("");
    case.step("01:00");
    let mut edited = case.clone();
    edited.edit_at("02:30", |schedule| schedule.spec.cron = Some("15 * * * *".into()));
    assert_eq!(owed(&edited, "03:20"), ["skip 02:00 ScheduleEdited", "skip 03:15 ScheduleDeleted"]);
    case.edit_at("02:31", |schedule| schedule.spec.enabled = Some(false));
    assert_eq!(owed(&case, "03:20"), ["skip 02:00 ScheduleEdited"]);
}

#[test]
fn one_that_waited_for_a_finalizer_owes_nothing_of_that_time() {
    let mut case = hourly("");
    case.step("01:00");
    case.schedule.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at("02:30")));
    assert_eq!(owed(&case, "09:00"), ["skip 02:00 ScheduleDeleted"]);
}

#[test]
fn however_many_they_are_they_are_recorded_at_once() {
    let case = known("cron: '*/5 * * * * *'");
    let facts = Facts {
        schedule: &case.schedule,
        status: &case.status,
        edits: EditTimes::default(),
        template: Ok(()),
        queue: QueueCondition::Open,
        jobs: &[],
        leading_since: case.leading_since,
    };
    let fifty_days = at("00:00").saturating_add_ms(50 * 86_400_000);
    let effects = owed_when_deleted(&facts, fifty_days);
    let count = |effect: &Effect| match effect {
        Effect::CreateRun(run) => run.status.as_ref().unwrap().count.unwrap_or(1),
        other => panic!("{other:?}"),
    };
    assert_eq!(effects.iter().map(count).sum::<u64>(), 50 * 86_400 / 5);
    assert!(effects.len() < 6, "{} records", effects.len());
}
