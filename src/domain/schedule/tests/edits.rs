//! Edits that are seen late, at every offset around a time that is due: exactly one outcome for each time, and nothing of
//! the past fires.

use super::*;

/// What runs, and what is recorded instead.
fn outcomes(told: &[String]) -> (Vec<String>, Vec<String>) {
    told.iter().cloned().partition(|word| word.starts_with("run"))
}

#[test]
fn a_timing_edited_while_the_operator_was_away_leaves_a_record_of_what_the_old_one_owed() {
    let mut case = hourly("catchUp: {policy: All, windowSeconds: 86400}");
    case.step("01:00");
    case.edit_at("03:30", |schedule| schedule.spec.cron = Some("15 * * * *".into()));
    assert_eq!(case.step("05:20"), ["skip 2 02:00-03:00 ScheduleEdited", "run 04:15", "run 05:15"]);
    assert_eq!(case.status.missed_count, 2);
    case.step("05:20:01");
    case.assert_rests("05:20:10");
}

#[test]
fn a_schedule_turned_off_or_toggled_while_the_operator_was_away_fires_nothing_of_before() {
    let mut off = hourly("catchUp: {policy: All, windowSeconds: 86400}");
    off.edit_at("02:30", |schedule| schedule.spec.enabled = Some(false));
    assert_eq!(off.step("05:10"), ["skip 2 01:00-02:00 ScheduleEdited"]);
    off.assert_rests("09:00");
    let mut toggled = hourly("catchUp: {policy: All, windowSeconds: 86400}");
    toggled.edit(|schedule| schedule.spec.enabled = Some(false));
    toggled.edit_at("02:30", |schedule| schedule.spec.enabled = Some(true));
    assert_eq!(
        toggled.step("04:10"),
        ["skip 4 01:00-04:00 ScheduleEdited"],
        "of two edits it is not known which one has that time"
    );
    assert_eq!(toggled.step("05:00"), ["run 05:00"]);
}

/// What was removed, as `kubectl edit`, a merge patch with null, a JSON patch or a Helm upgrade do it.
type Removal = (&'static str, fn(&mut ScheduleSpec));

const REMOVALS: [Removal; 7] = [
    ("enabled: false, cron: 0 * * * *", |spec| spec.enabled = None),
    ("endTime: '2026-03-01T00:30:00Z', cron: 0 * * * *", |spec| spec.end_time = None),
    ("startTime: '2026-03-01T09:00:00Z', cron: 0 * * * *", |spec| spec.start_time = None),
    ("jitterSeconds: 60, cron: 0 * * * *", |spec| spec.jitter_seconds = None),
    ("dst: {gap: Skip}, cron: 0 * * * *", |spec| spec.dst = None),
    ("timeZone: Asia/Kolkata, cron: 0 * * * *", |spec| spec.time_zone = None),
    ("anchor: '2026-03-01T00:20:00Z', interval: 1h", |spec| spec.anchor = None),
];

#[test]
fn a_field_that_is_removed_fires_nothing_of_the_past() {
    for stamp in [None, Some("00:00"), Some("01:10")] {
        for (spec, remove) in REMOVALS.into_iter().chain([
            ("timeZone: Asia/Kolkatta, cron: 0 * * * *", (|spec| spec.time_zone = None) as fn(&mut ScheduleSpec)),
            ("timeZone: Asia/Kolkatta, cron: 0 * * * *", |spec| {
                *spec = yaml("{templateRef: {name: x}, cron: 0 * * * *}")
            }),
        ]) {
            let mut case = known(&format!("{spec}, catchUp: {{policy: All, windowSeconds: 86400}}"));
            case.step("01:15");
            case.step("04:15");
            case.edit(|schedule| remove(&mut schedule.spec));
            case.edits.stamped = stamp.map(at);
            case.edits.seen = Some(at("04:16"));
            case.edits.stamped_before = stamp.map(at);
            // It is looked at only later.
            let told = case.step("05:05");
            let (runs, skips) = outcomes(&told);
            assert!(runs.iter().all(|run| run.as_str() > "run 04:16"), "{spec}, stamp {stamp:?}: {told:?}");
            assert_eq!(skips, [""; 0], "{spec}: nothing was owed that had not run");
            assert_eq!(case.step("05:06"), [""; 0], "{spec}");
        }
    }
}

#[test]
fn a_field_that_is_removed_while_the_operator_is_away_fires_nothing_of_the_past() {
    for (spec, remove) in REMOVALS {
        for stamp in ["00:00", "02:10"] {
            let mut case = known(&format!("{spec}, catchUp: {{policy: All, windowSeconds: 86400}}"));
            case.step("01:30");
            case.edit(|schedule| remove(&mut schedule.spec));
            // One that is later than the last look is that of something else, such as an annotation.
            case.edits.stamped = Some(at(stamp));
            case.leading_since = at("05:10");
            let (runs, skips) = outcomes(&case.step("05:10"));
            assert_eq!(runs, [""; 0], "{spec}, stamp {stamp}");
            assert!(skips.iter().all(|skip| skip.ends_with("ScheduleEdited")), "{skips:?}");
            assert_eq!(skips.is_empty(), spec.contains("enabled") || spec.contains("Time:"), "{spec}: {skips:?}");
        }
    }
}

#[test]
fn what_is_not_known_of_an_edit_is_said() {
    let mut case = hourly("jitterSeconds: 1");
    case.step("01:30");
    case.edit(|schedule| schedule.spec.jitter_seconds = None);
    let decision = case.decide(at("02:10"));
    let Some(Effect::CreateRun(run)) = decision.plan.effects.first() else { panic!("{decision:?}") };
    let error = run.status.as_ref().unwrap().error.clone().unwrap();
    assert!(error.contains("not known whether before or after"), "{error}");
}

#[test]
fn a_field_that_is_set_beside_one_that_is_removed_tells_the_time() {
    let mut case = hourly("jitterSeconds: 60, catchUp: {policy: All, windowSeconds: 86400}");
    case.step("01:30");
    case.edit_at("02:30", |schedule| {
        schedule.spec.jitter_seconds = None;
        schedule.spec.cron = Some("15 * * * *".into());
    });
    assert_eq!(case.step("04:20"), ["skip 02:00 ScheduleEdited", "run 03:15", "run 04:15"]);
}

#[test]
fn a_time_of_an_edit_that_an_earlier_one_has_had_is_none() {
    let mut case = hourly("enabled: false, catchUp: {policy: All, windowSeconds: 86400}");
    case.edit_at("01:30", |schedule| schedule.spec.catch_up = Some(yaml("{policy: All, windowSeconds: 80000}")));
    case.step("01:30:01");
    case.edit(|schedule| schedule.spec.enabled = None);
    assert_eq!(case.step("04:10"), [""; 0]);
    assert_eq!(case.step("05:00"), ["run 05:00"]);
}

#[test]
fn a_status_of_an_earlier_build_does_not_know_the_last_time_of_an_edit() {
    let case = || {
        let mut case = hourly("catchUp: {policy: None}");
        case.step("01:00");
        case.status.last_edit_time = None;
        case.edits.status_written = Some(at("01:00"));
        case
    };
    let all = |schedule: &mut Schedule| schedule.spec.catch_up = Some(yaml("{policy: All, windowSeconds: 86400}"));
    let mut later = case();
    later.edit_at("02:30", all);
    assert_eq!(later.step("03:10"), ["skip 02:00 ScheduleEdited", "run 03:00"]);
    let mut before = case();
    before.edit_at("00:30", all);
    assert_eq!(
        before.step("03:10"),
        ["skip 2 02:00-03:00 ScheduleEdited"],
        "that time is of an edit that was taken in"
    );
}

#[test]
fn an_edit_while_a_run_is_put_off_leaves_a_record_of_it() {
    for change in [
        (|spec| spec.jitter_seconds = Some(1_000)) as fn(&mut ScheduleSpec),
        |spec| spec.time_zone = Some("Europe/Berlin".into()),
        |spec| spec.enabled = Some(false),
        |spec| spec.jitter_seconds = None,
    ] {
        let mut case = hourly("jitterSeconds: 3000");
        let Some(put_off) = (1..24).map(|hour| at(&format!("{hour:02}:00"))).find(|time| {
            let timing = Timing::parse(case.status.timing.as_ref().unwrap(), "uid-daily").unwrap();
            timing.fires_at(*time) > time.saturating_add_ms(600_000)
        }) else {
            panic!("one in a day is put off by ten minutes")
        };
        case.step_at(put_off.saturating_add_ms(-1_000));
        assert_eq!(case.step_at(put_off.saturating_add_ms(300_000)), [""; 0]);
        case.edit(|schedule| change(&mut schedule.spec));
        case.edits.stamped = Some(put_off.saturating_add_ms(400_000));
        let told = case.step_at(put_off.saturating_add_ms(401_000));
        assert_eq!(told, [format!("skip {} ScheduleEdited", clock(put_off))]);
    }
}

#[test]
fn an_edit_of_a_policy_while_a_run_is_put_off_lets_it_run() {
    let mut case = hourly("jitterSeconds: 3000");
    case.edit_at("01:00:01", |schedule| schedule.spec.priority = Some(1));
    let mut told = case.step("01:00:01");
    told.extend(case.step("01:59"));
    assert_eq!(told, ["run 01:00"]);
}

#[test]
fn an_edit_of_a_policy_while_the_operator_was_away_fires_nothing_of_before() {
    let mut case = hourly("catchUp: {policy: None}");
    case.edit_at("02:30", |schedule| {
        schedule.spec.catch_up = Some(yaml("{policy: All, windowSeconds: 86400}"));
    });
    assert_eq!(case.step("04:10"), ["skip 2 01:00-02:00 ScheduleEdited", "run 03:00", "run 04:00"]);
}

#[test]
fn a_new_schedule_that_was_edited_before_it_was_seen_fires_nothing_of_before_the_edit() {
    let mut case = new("cron: 0 * * * *, catchUp: {policy: All, windowSeconds: 86400}");
    case.edit_at("02:30", |schedule| schedule.spec.priority = Some(1));
    assert_eq!(case.step("03:30"), ["skip 2 01:00-02:00 ScheduleEdited", "run 03:00"]);
}

#[test]
fn a_new_schedule_that_was_enabled_before_it_was_seen_fires_nothing_of_before_that() {
    let mut case = new("cron: 0 * * * *, enabled: false, catchUp: {policy: All, windowSeconds: 86400}");
    case.edit_at("03:00:03", |schedule| schedule.spec.enabled = None);
    let done = case.step("03:00:05");
    assert!(done.iter().all(|it| !it.starts_with("run")), "{done:?}");
    assert_eq!(case.step("04:00"), ["run 04:00"]);
}

#[test]
fn an_edit_of_a_policy_loses_no_time_that_has_just_come() {
    let mut case = hourly("");
    case.edit_at("01:00:01", |schedule| schedule.spec.priority = Some(5));
    assert_eq!(case.step("01:00:02"), ["run 01:00"], "it is on time");
}

/// The timing changes from the hour to the hour and its half, and whether it fires changes, at every offset around 05:00,
/// seen at every later offset: 05:00 has exactly one outcome if it was owed by either, and nothing before the edit runs
/// because of it.
#[test]
fn whenever_an_edit_is_made_and_seen_a_time_has_one_outcome() {
    let offsets = [-61_000, -1_000, -1, 0, 1, 400, 999, 1_000, 14_000, 61_000];
    for made in offsets {
        for seen in offsets.into_iter().filter(|seen| *seen >= made) {
            for live in [false, true] {
                let mut case = hourly("catchUp: {policy: All, windowSeconds: 86400}");
                case.step("04:00");
                let (made_at, seen_at) = (at("05:00").saturating_add_ms(made), at("05:00").saturating_add_ms(seen));
                let mut all = Vec::new();
                let fires_before = live && seen > 0;
                if fires_before {
                    all.extend(case.step("05:00"));
                }
                case.edit(|schedule| schedule.spec.cron = Some("0,30 * * * *".into()));
                // The API server tells whole seconds.
                case.edits.stamped = Some(Timestamp::from_second(made_at.as_second()).unwrap());
                all.extend(case.step_at(seen_at));
                all.extend(case.step("05:02"));
                let (runs, skips) = outcomes(&all);
                let of_five = runs.iter().chain(&skips).filter(|word| word.contains("05:00")).count();
                assert_eq!(of_five, 1, "made at {made} ms, seen at {seen} ms, live {live}: {all:?}");
                let ran_late = runs.len() == 1 && !fires_before && made >= 1_000;
                assert!(!ran_late, "made at {made} ms, seen at {seen} ms: the past fired: {all:?}");
            }
        }
    }
}

#[test]
fn enabling_at_any_offset_fires_only_what_was_ahead_then() {
    for made in [-61_000, -1_000, 0, 1, 999, 1_000, 61_000] {
        for seen in [0, 1, 5_000, 61_000].into_iter().filter(|seen| *seen >= made) {
            let mut case = hourly("enabled: false, catchUp: {policy: All, windowSeconds: 86400}");
            let (made_at, seen_at) = (at("05:00").saturating_add_ms(made), at("05:00").saturating_add_ms(seen));
            case.edit(|schedule| schedule.spec.enabled = Some(true));
            case.edits.stamped = Some(Timestamp::from_second(made_at.as_second()).unwrap());
            let told = case.step_at(seen_at);
            let expected: &[&str] = if made < 0 { &["run 05:00"] } else { &[] };
            assert_eq!(told, expected, "made at {made} ms, seen at {seen} ms");
        }
    }
}

#[test]
fn a_clock_that_steps_back_repeats_nothing_also_through_an_edit() {
    let mut case = hourly("catchUp: {policy: All, windowSeconds: 86400}");
    assert_eq!(case.step("04:30"), ["run 01:00", "run 02:00", "run 03:00", "run 04:00"]);
    case.edit_at("03:35", |schedule| schedule.spec.cron = Some("0,30 * * * *".into()));
    assert_eq!(case.step("03:35"), [""; 0], "the clock was set back by an hour");
    assert_eq!(case.step("04:10"), [""; 0]);
    assert_eq!(case.step("04:30"), ["run 04:30"]);
}

#[test]
fn an_account_of_a_clock_that_was_years_ahead_is_ended_by_an_edit() {
    let mut case = hourly("");
    case.status.accounted_until = Some(micro("2036-03-01T00:00:00Z".parse().unwrap()));
    assert_eq!(case.step("03:00"), [""; 0]);
    case.edit_at("03:10", |schedule| schedule.spec.cron = Some("0,30 * * * *".into()));
    assert_eq!(case.step("03:10"), [""; 0]);
    assert_eq!(case.step("03:30"), ["run 03:30"]);
}

#[test]
fn more_than_one_decision_can_count_is_recorded_in_parts_before_an_edit_takes_effect() {
    let mut case = known("cron: '*/5 * * * * *'");
    case.edit(|schedule| schedule.spec.cron = Some("0 * * * *".into()));
    let later: Timestamp = "2026-06-01T00:30:00Z".parse().unwrap();
    case.edits.stamped = Some(later);
    let mut counted = 0;
    let mut records = 0;
    while case.status.observed_generation != Some(2) {
        let decision = case.decide(later);
        for effect in &decision.plan.effects {
            let Effect::CreateRun(run) = effect else { panic!("nothing runs: {effect:?}") };
            counted += run.status.as_ref().unwrap().count.unwrap_or(1);
            records += 1;
        }
        case.status = decision.plan.status.unwrap();
        assert!(records < 100, "a bounded number of writes");
    }
    assert_eq!(counted, (92 * 86_400 + 1_800) / 5, "every time is counted once");
    assert_eq!(case.status.missed_count, counted);
}
