//! What is due: ranges, windows, jitter, and how much is looked at.

use super::*;

#[test]
fn a_century_of_seconds_is_counted_at_once() {
    let seconds = every("1s", "1926-01-01T00:00:00Z");
    let due = seconds.due(at("1926-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"), 2, 1);
    assert_eq!(due.skipped, 3_155_760_000 - 2);
    assert_eq!(due.times, ["2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"].map(at).to_vec());
}

#[test]
fn of_a_range_with_too_many_times_only_the_first_part_is_told_and_counted_exactly() {
    let minutes = cron("* * * * *", "UTC");
    let due = minutes.due(at("2020-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"), 3, 50);
    let expected = Due {
        times: vec![],
        skipped: 25,
        first: Some(at("2020-01-01T00:01:00Z")),
        last_skipped: Some(at("2020-01-01T00:25:00Z")),
        more: true,
    };
    assert_eq!(due, expected);
    let just_enough = minutes.due(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:50:00Z"), 3, 50);
    assert_eq!((just_enough.more, just_enough.skipped, just_enough.times.len()), (false, 47, 3));
    let smallest = minutes.due(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:50:00Z"), 3, 0);
    assert_eq!((smallest.more, smallest.skipped), (true, 1), "it always gets on");
    let rare = cron("0 0 29 2 *", "UTC").due(at("1980-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"), 2, 20);
    assert_eq!(rare.times, ["2020-02-29T00:00:00Z", "2024-02-29T00:00:00Z"].map(at).to_vec());
    assert_eq!((rare.skipped, rare.last_skipped), (10, Some(at("2016-02-29T00:00:00Z"))));
}

#[test]
fn times_lie_from_the_start_on_and_before_the_end() {
    let hours = timing_of(&ScheduleSpec {
        start_time: micro("2026-01-01T10:00:00Z"),
        end_time: micro("2026-01-01T12:00:00Z"),
        ..spec("0 * * * *", "UTC")
    });
    assert_eq!(
        local_times(&hours, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ["2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z"]
    );
    assert_eq!(hours.next_after(at("2020-01-01T00:00:00Z")), Some(at("2026-01-01T10:00:00Z")));
    assert_eq!(hours.next_after(at("2026-01-01T11:00:00Z")), None);
    let intervals = timing_of(&ScheduleSpec {
        interval: Some("1h".into()),
        start_time: micro("2026-01-01T10:00:00.000001Z"),
        end_time: micro("2026-01-01T12:00:00.000001Z"),
        ..ScheduleSpec::default()
    });
    assert_eq!(
        local_times(&intervals, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ["2026-01-01T11:00:00Z", "2026-01-01T12:00:00Z"]
    );
    let due = intervals.due(at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"), 1, 1);
    assert_eq!((due.skipped, due.first), (1, Some(at("2026-01-01T11:00:00Z"))));
}

fn jittered(seconds: i32, spec: ScheduleSpec) -> Timing {
    timing_of(&ScheduleSpec { jitter_seconds: Some(seconds), ..spec })
}

#[test]
fn a_time_is_due_when_its_jitter_has_passed() {
    let jitter = jittered(600, spec("0 * * * *", "UTC"));
    let (before, nominal) = (at("2026-01-01T09:30:00Z"), at("2026-01-01T10:00:00Z"));
    assert_eq!(jitter.next_after(before), Some(nominal), "the time itself is not moved");
    let fires = jitter.fires_at(nominal);
    assert_eq!(fires, at("2026-01-01T10:00:46.123Z"), "another hash would move every run");
    let just_before = fires.checked_sub(TICK).unwrap();
    assert_eq!(jitter.due(before, just_before, 9, 9), Due::default());
    assert_eq!(jitter.due(before, fires, 9, 9).times, [nominal]);
    let interval = jittered(600, ScheduleSpec { interval: Some("1h".into()), ..ScheduleSpec::default() });
    let fires = interval.fires_at(nominal);
    assert_eq!(interval.due(before, fires.checked_sub(TICK).unwrap(), 9, 9), Due::default());
    assert_eq!(interval.due(before, fires, 9, 9).times, [nominal]);
    assert_eq!(once("2026-01-01T10:00:00Z").fires_at(nominal), nominal);
}

#[test]
fn a_run_is_never_put_off_up_to_the_next_time() {
    let timings = [
        jittered(86_400, spec("*/7 * * * *", "America/New_York")),
        jittered(86_400, spec("*/5 * * * * *", "UTC")),
        jittered(1, spec("0 9 * * *", "UTC")),
        jittered(86_400, ScheduleSpec { interval: Some("1s".into()), ..ScheduleSpec::default() }),
        jittered(
            86_400,
            ScheduleSpec { end_time: micro("2026-11-01T06:10:00Z"), ..spec("30 1 * * *", "America/New_York") },
        ),
    ];
    for timing in timings {
        let mut nominal = at("2026-11-01T03:00:00Z");
        let mut offsets = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let Some(next) = timing.next_after(nominal) else { break };
            let fires = timing.fires_at(nominal);
            assert!(nominal <= fires && fires < next, "{timing}: {nominal} {fires} {next}");
            assert_eq!(timing.fires_at(nominal), fires, "the same each time");
            offsets.insert(fires.duration_since(nominal).as_millis());
            nominal = next;
        }
        let bounds = (offsets.first().copied(), offsets.last().copied());
        assert!(offsets.is_empty() || bounds.0 != bounds.1 || offsets.len() == 1, "{timing}: {bounds:?}");
    }
}
