//! Since when a schedule owes its times: creating, editing, enabling and resuming never fire the past (I7).

use super::*;

#[test]
fn a_new_schedule_owes_its_times_from_its_creation() {
    let mut prompt = new("cron: 0 * * * *");
    assert_eq!(prompt.step("00:00"), [""; 0]);
    assert_eq!(prompt.status.accounted_until, Some(micro(at("00:00"))));
    let mut late = new("cron: 0 * * * *");
    late.leading_since = at("01:00:10");
    assert_eq!(late.step("01:00:10"), ["run 01:00?"], "the operator was away when it was created");
}

#[test]
fn the_first_status_says_everything() {
    let mut case = new("cron: 0 9 * * *, timeZone: Europe/Berlin");
    let decision = case.decide(at("00:00"));
    assert!(decision.urgent);
    assert_eq!((decision.plan.effects, decision.plan.notes), (vec![], vec![]));
    case.step("00:00");
    let expected: ScheduleStatus = yaml(
        "
observedGeneration: 1
phase: Enabled
when: 0 9 * * * Europe/Berlin
accountedUntil: '2026-03-01T00:00:00.000000Z'
timing: {cron: 0 9 * * *, timeZone: Europe/Berlin, dst: {gap: RunAfter, overlap: First}}
lastEditTime: '2026-03-01T00:00:00.000000Z'
nextTriggerTime: '2026-03-01T08:00:00.000000Z'
nextTriggerTimes: ['2026-03-01T09:00:00+01:00', '2026-03-02T09:00:00+01:00', '2026-03-03T09:00:00+01:00']
zoneDatabase: '2026f'
active: 0
consecutiveFailures: 0
missedCount: 0
lateCount: 0
conditions:
- {type: Ready, status: 'True', reason: Scheduled, message: it fires as written, observedGeneration: 1, lastTransitionTime: '2026-03-01T00:00:00Z'}
",
    );
    assert_eq!(case.status, expected);
    case.assert_rests("00:00:01");
    case.assert_rests("07:59:59");
}

#[test]
fn phases_follow_enabled_and_remember_whether_it_ever_was() {
    let mut never = new("cron: 0 * * * *, enabled: false");
    let table = [
        (false, SchedulePhase::Created),
        (true, SchedulePhase::Enabled),
        (false, SchedulePhase::Disabled),
        (true, SchedulePhase::Enabled),
    ];
    for (enabled, phase) in table {
        never.edit(|schedule| schedule.spec.enabled = Some(enabled));
        let decision = never.decide(at("00:10"));
        assert!(decision.urgent, "a phase is written at once");
        never.step("00:10");
        assert_eq!(never.status.phase, Some(phase));
        assert_eq!(never.status.next_trigger_time.is_some(), enabled);
        never.assert_rests("00:11");
    }
}

#[test]
fn a_disabled_schedule_does_nothing_and_is_not_woken() {
    let case = hourly("enabled: false");
    assert_eq!(case.decide(at("05:00")).plan.wake_at, None);
    case.assert_rests("05:00");
}

/// Milliseconds around a time at which something happens.
const AROUND: [i64; 7] = [-3_600_000, -1_000, -1, 0, 1, 1_000, 1_800_000];

#[test]
fn enabling_fires_nothing_of_the_past_at_whatever_moment() {
    for offset in AROUND {
        let mut case = hourly("enabled: false");
        let now = at("05:00").saturating_add_ms(offset);
        case.edit(|schedule| schedule.spec.enabled = Some(true));
        let decision = case.decide(now);
        assert_eq!(told(&decision), [""; 0], "{offset} ms from the hour");
        case.status = decision.plan.status.unwrap();
        assert!(decision.urgent);
        let next = if offset < 0 { at("05:00") } else { at("06:00") };
        assert_eq!(decision.plan.wake_at, Some(next), "{offset} ms from the hour");
        let fired = told(&case.decide(next));
        assert_eq!(fired, [format!("run {}", clock(next))], "{offset} ms from the hour");
    }
}

#[test]
fn editing_the_timing_fires_nothing_of_the_past_at_whatever_moment() {
    for offset in AROUND {
        let mut case = known("cron: 0 0 1 1 *");
        let now = at("05:00").saturating_add_ms(offset);
        case.edit(|schedule| schedule.spec.cron = Some("0 * * * *".into()));
        let decision = case.decide(now);
        assert_eq!(told(&decision), [""; 0], "{offset} ms from the hour");
        case.status = decision.plan.status.unwrap();
        assert_eq!(case.status.accounted_until, Some(micro(now)));
        let next = if offset < 0 { at("05:00") } else { at("06:00") };
        assert_eq!(told(&case.decide(next)), [format!("run {}", clock(next))], "{offset} ms from the hour");
    }
}

#[test]
fn an_edit_around_a_time_leaves_exactly_the_old_or_the_new_outcome() {
    for offset in [-1_000, -1, 1, 1_000] {
        let mut case = hourly("");
        let edited = at("05:00").saturating_add_ms(offset);
        case.step("04:30");
        let mut fired: Vec<String> = Vec::new();
        if offset > 0 {
            fired.extend(case.step("05:00"));
        }
        case.edit(|schedule| schedule.spec.cron = Some("0,30 * * * *".into()));
        let decision = case.decide(edited);
        fired.extend(told(&decision));
        case.status = decision.plan.status.unwrap();
        fired.extend(case.step("05:10"));
        assert_eq!(fired, ["run 05:00"], "{offset} ms from the hour");
    }
}

#[test]
fn an_edit_of_anything_but_the_timing_loses_no_time() {
    let mut case = hourly("");
    case.edit_at("00:30", |schedule| schedule.spec.priority = Some(3));
    case.edit_at("00:31", |schedule| schedule.spec.cron = Some("0  *  * * *".into()));
    case.edits.seen = Some(at("00:31"));
    assert_eq!(case.step("01:00:05"), ["run 01:00"]);
    assert_eq!(case.status.observed_generation, Some(3));
}

#[test]
fn disabling_owes_nothing_and_resuming_starts_anew() {
    let mut case = hourly("");
    case.step("01:00");
    case.edit_at("01:30", |schedule| schedule.spec.enabled = Some(false));
    assert_eq!(case.step("03:30"), [""; 0]);
    case.edit_at("04:30", |schedule| schedule.spec.enabled = Some(true));
    assert_eq!(case.step("04:30"), [""; 0]);
    assert_eq!(case.status.accounted_until, Some(micro(at("04:30"))));
    assert_eq!(case.step("05:00"), ["run 05:00"]);
}

#[test]
fn what_is_wrong_with_a_timing_is_told_with_its_field_and_nothing_fires() {
    let table = [
        ("cron: 0 25 * * *", "InvalidTiming", "spec.cron: hour"),
        ("cron: 0 0 31 2 *", "InvalidTiming", "spec.cron: never matches"),
        ("interval: 0s", "InvalidTiming", "spec.interval: "),
        ("cron: 0 * * * *, timeZone: Europe/Berln", "UnknownTimeZone", "spec.timeZone: \"Europe/Berln\""),
        ("cron: 0 * * * *, interval: 5s", "InvalidTiming", "spec: exactly one of"),
    ];
    for (spec, reason, message) in table {
        let mut case = new(spec);
        let decision = case.decide(at("05:00"));
        assert!(decision.urgent);
        assert_eq!((told(&decision), decision.plan.wake_at), (vec![], None));
        assert_eq!(decision.plan.notes.len(), 1);
        case.step("05:00");
        for (type_, status) in [("Ready", "False"), ("Stalled", "True")] {
            let found = case.condition(type_);
            assert_eq!((found.0, found.1), (status, reason), "{spec}");
            assert!(found.2.starts_with(message), "{spec}: {}", found.2);
        }
        assert_eq!((case.status.next_trigger_time.clone(), case.status.next_trigger_times.len()), (None, 0));
        case.assert_rests("06:00");
    }
}

#[test]
fn correcting_a_timing_fires_nothing_of_the_past_even_when_it_is_as_it_was_before() {
    let mut case = hourly("");
    case.edit(|schedule| schedule.spec.time_zone = Some("Nowhere/Nothing".into()));
    assert_eq!(case.step("00:50"), [""; 0]);
    case.edit(|schedule| schedule.spec.time_zone = None);
    assert_eq!(case.step("01:10"), [""; 0]);
    assert_eq!(case.step("02:00"), ["run 02:00"]);
}

#[test]
fn a_crash_after_a_job_was_made_is_accounted_for_also_when_the_schedule_is_turned_off_meanwhile() {
    let broken = |schedule: &mut Schedule| schedule.spec.time_zone = Some("Nowhere/Nothing".into());
    let off = |schedule: &mut Schedule| schedule.spec.enabled = Some(false);
    let edits: [&dyn Fn(&mut Schedule); 2] = [&off, &broken];
    for edit in edits {
        for mut case in [hourly(""), new("cron: 0 * * * *")] {
            case.crash_after(1, "01:00");
            case.end("01:00", Outcome::Completed, "01:05");
            case.edit(edit);
            assert_eq!(case.step("01:10"), [""; 0]);
            let job = job(&case.jobs[0].job.uid, Some("01:00"));
            assert!(has_settled(&case.status, &job), "its Job is never let go otherwise");
        }
    }
}

#[test]
fn a_schedule_that_is_being_deleted_fires_no_more_and_says_so_with_what_keeps_it() {
    let mut case = hourly("");
    case.step("00:20");
    assert_eq!(case.status.next_trigger_times.len(), 3);
    case.schedule.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at("00:30")));
    for (finalizers, said) in [
        (vec!["foregroundDeletion"], "it fires no more"),
        (
            vec!["example.com/hook"],
            "it fires no more; it is being deleted, and stays until somebody takes off its finalizer \"example.com/hook\"",
        ),
    ] {
        case.schedule.metadata.finalizers = Some(finalizers.into_iter().map(str::to_owned).collect());
        assert_eq!(case.step("05:00"), [""; 0]);
        let ready = case.status.conditions.iter().find(|it| it.type_ == "Ready").unwrap();
        assert_eq!((ready.reason.as_str(), ready.message.as_str()), ("Deleted", said));
        assert!(case.status.next_trigger_times.is_empty() && case.status.next_trigger_time.is_none());
        assert_eq!(case.decide(at("06:00")).plan.status.as_ref(), Some(&case.status));
    }
}
