//! Changes of the clock: named cases, and every zone through every change.

use std::collections::BTreeSet;

use jiff::tz::{AmbiguousOffset, Offset};

use super::*;

const MODES: [(DstGap, DstOverlap); 6] = [
    (DstGap::RunAfter, DstOverlap::First),
    (DstGap::RunAfter, DstOverlap::Last),
    (DstGap::RunAfter, DstOverlap::Both),
    (DstGap::Skip, DstOverlap::First),
    (DstGap::Skip, DstOverlap::Last),
    (DstGap::Skip, DstOverlap::Both),
];

#[test]
fn a_fixed_time_runs_once_on_the_day_the_clock_changes() {
    let new_york = (
        "America/New_York",
        ("2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"),
        ("2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"),
    );
    let lord_howe = (
        "Australia/Lord_Howe",
        ("2026-10-03T13:30:00Z", "2026-10-04T13:00:00Z"),
        ("2026-04-04T13:00:00Z", "2026-04-05T13:30:00Z"),
    );
    let table = [
        (
            "02:30 is jumped over: at the jump",
            "30 2 * * *",
            new_york,
            "2026-03-08T03:00:00-04:00",
            "2026-11-01T02:30:00-05:00",
        ),
        (
            "01:30 comes twice: the first time",
            "30 1 * * *",
            new_york,
            "2026-03-08T01:30:00-05:00",
            "2026-11-01T01:30:00-04:00",
        ),
        (
            "two times jumped over are one run",
            "0,30 2 * * *",
            new_york,
            "2026-03-08T03:00:00-04:00",
            "2026-11-01T02:00:00-05:00 2026-11-01T02:30:00-05:00",
        ),
        (
            "of a list only what is jumped over moves",
            "15 2,14 * * *",
            new_york,
            "2026-03-08T03:00:00-04:00 2026-03-08T14:15:00-04:00",
            "2026-11-01T02:15:00-05:00 2026-11-01T14:15:00-05:00",
        ),
        (
            "a run at the jump itself is not doubled",
            "0 2,3 * * *",
            new_york,
            "2026-03-08T03:00:00-04:00",
            "2026-11-01T02:00:00-05:00 2026-11-01T03:00:00-05:00",
        ),
        (
            "half an hour is jumped over",
            "15 2 * * *",
            lord_howe,
            "2026-10-04T02:30:00+11:00",
            "2026-04-05T02:15:00+10:30",
        ),
        ("half an hour comes twice", "45 1 * * *", lord_howe, "2026-10-04T01:45:00+10:30", "2026-04-05T01:45:00+11:00"),
    ];
    for (what, expression, (zone, spring, autumn), in_spring, in_autumn) in table {
        let timing = cron(expression, zone);
        assert_eq!(local_times(&timing, spring.0, spring.1).join(" "), in_spring, "{what}, in spring");
        assert_eq!(local_times(&timing, autumn.0, autumn.1).join(" "), in_autumn, "{what}, in autumn");
    }
}

#[test]
fn a_wildcard_follows_the_clock_when_it_changes() {
    let half_hours = cron("*/30 * * * *", "America/New_York");
    assert_eq!(
        local_times(&half_hours, "2026-03-08T06:00:00Z", "2026-03-08T07:30:00Z"),
        ["2026-03-08T01:30:00-05:00", "2026-03-08T03:00:00-04:00", "2026-03-08T03:30:00-04:00"]
    );
    assert_eq!(
        local_times(&half_hours, "2026-11-01T04:30:00Z", "2026-11-01T07:00:00Z"),
        [
            "2026-11-01T01:00:00-04:00",
            "2026-11-01T01:30:00-04:00",
            "2026-11-01T01:00:00-05:00",
            "2026-11-01T01:30:00-05:00",
            "2026-11-01T02:00:00-05:00",
        ]
    );
    let hourly = cron("0 * * * *", "Australia/Lord_Howe");
    assert_eq!(
        local_times(&hourly, "2026-04-04T14:00:00Z", "2026-04-04T16:30:00Z"),
        ["2026-04-05T02:00:00+10:30", "2026-04-05T03:00:00+10:30"]
    );
}

#[test]
fn a_day_that_a_zone_left_out_runs_at_its_jump() {
    let apia = cron("0 9 * * *", "Pacific/Apia");
    assert_eq!(
        local_times(&apia, "2011-12-29T20:00:00Z", "2011-12-31T00:00:00Z"),
        ["2011-12-31T00:00:00+14:00", "2011-12-31T09:00:00+14:00"]
    );
}

#[test]
fn a_policy_says_what_happens_to_a_time_that_is_jumped_over_or_comes_twice() {
    use DstGap::{RunAfter, Skip};
    use DstOverlap::{Both, First, Last};
    let twice = ["2026-11-01T01:30:00-04:00", "2026-11-01T01:30:00-05:00"];
    let table: [(_, _, &[&str], &[&str]); 4] = [
        (RunAfter, First, &["2026-03-08T03:00:00-04:00"], &twice[..1]),
        (RunAfter, Last, &["2026-03-08T03:00:00-04:00"], &twice[1..]),
        (Skip, Both, &[], &twice),
        (Skip, First, &[], &twice[..1]),
    ];
    for (gap, overlap, in_spring, in_autumn) in table {
        let spring = cron_with("30 2 * * *", "America/New_York", gap, overlap);
        assert_eq!(local_times(&spring, "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"), in_spring, "{gap:?}");
        let autumn = cron_with("30 1 * * *", "America/New_York", gap, overlap);
        assert_eq!(local_times(&autumn, "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"), in_autumn, "{overlap:?}");
    }
    let several = cron_with("0,30 1 * * *", "America/New_York", RunAfter, Both);
    assert_eq!(
        local_times(&several, "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"),
        [
            "2026-11-01T01:00:00-04:00",
            "2026-11-01T01:30:00-04:00",
            "2026-11-01T01:00:00-05:00",
            "2026-11-01T01:30:00-05:00"
        ],
        "in the order in which they come"
    );
}

/// Zones that do not do what most do: what, where, the expression, from when to when, and the times.
const STRANGE: [(&str, &str, &str, &str, &str, &str); 11] = [
    (
        "Troll goes two hours ahead",
        "Antarctica/Troll",
        "30 1 * * *",
        "2026-03-29T00:00:00Z",
        "2026-03-29T20:00:00Z",
        "2026-03-29T03:00:00+02:00",
    ),
    (
        "Troll goes two hours back",
        "Antarctica/Troll",
        "30 1 * * *",
        "2026-10-24T22:00:00Z",
        "2026-10-25T20:00:00Z",
        "2026-10-25T01:30:00+02:00",
    ),
    (
        "Dublin calls the winter its saving",
        "Europe/Dublin",
        "30 1 * * *",
        "2026-03-29T00:00:00Z",
        "2026-03-29T20:00:00Z",
        "2026-03-29T02:00:00+01:00",
    ),
    (
        "Dublin in autumn",
        "Europe/Dublin",
        "30 1 * * *",
        "2026-10-24T22:00:00Z",
        "2026-10-25T20:00:00Z",
        "2026-10-25T01:30:00+01:00",
    ),
    (
        "Lord Howe goes half an hour back",
        "Australia/Lord_Howe",
        "45 1 * * *",
        "2026-04-04T13:00:00Z",
        "2026-04-05T13:00:00Z",
        "2026-04-05T01:45:00+11:00",
    ),
    (
        "midnight is missing in Sao Paulo",
        "America/Sao_Paulo",
        "0 0 * * *",
        "2017-10-14T12:00:00Z",
        "2017-10-15T12:00:00Z",
        "2017-10-15T01:00:00-02:00",
    ),
    (
        "midnight is missing in Cairo",
        "Africa/Cairo",
        "0 0 * * *",
        "2024-04-25T12:00:00Z",
        "2024-04-26T12:00:00Z",
        "2024-04-26T01:00:00+03:00",
    ),
    (
        "midnight is missing in Beirut",
        "Asia/Beirut",
        "15 0 * * *",
        "2024-03-30T12:00:00Z",
        "2024-03-31T12:00:00Z",
        "2024-03-31T01:00:00+03:00",
    ),
    (
        "the evening before comes twice in Beirut",
        "Asia/Beirut",
        "30 23 * * *",
        "2024-10-26T12:00:00Z",
        "2024-10-27T12:00:00Z",
        "2024-10-26T23:30:00+03:00",
    ),
    (
        "Casablanca ends its Ramadan",
        "Africa/Casablanca",
        "30 2 * * *",
        "2026-03-22T00:00:00Z",
        "2026-03-22T12:00:00Z",
        "2026-03-22T03:00:00+01:00",
    ),
    (
        "Apia has no 30 December 2011",
        "Pacific/Apia",
        "0 9 30 12 *",
        "2011-12-29T20:00:00Z",
        "2012-01-31T00:00:00Z",
        "2011-12-31T00:00:00+14:00",
    ),
];

#[test]
fn strange_zones_are_treated_like_any_other() {
    for (what, zone, expression, from, to, expected) in STRANGE {
        assert_eq!(local_times(&cron(expression, zone), from, to).join(" "), expected, "{what}");
    }
}

#[test]
fn what_a_change_does_to_a_time_is_told() {
    use DaylightSaving::{FirstPass, Moved, SecondPass, Skipped};
    use DstGap::{RunAfter, Skip};
    use DstOverlap::{Both, First, Last};
    let zone = "America/New_York";
    let table = [
        ("moved", cron("30 2 * * *", zone), "2026-01-01T00:00:00Z", "2026-03-08T03:00:00-04:00", Moved),
        (
            "skipped",
            cron_with("30 2 * * *", zone, Skip, First),
            "2026-01-01T00:00:00Z",
            "2026-03-08T03:00:00-04:00",
            Skipped,
        ),
        ("the first pass", cron("30 1 * * *", zone), "2026-01-01T00:00:00Z", "2026-11-01T01:30:00-04:00", FirstPass),
        (
            "the last pass",
            cron_with("30 1 * * *", zone, RunAfter, Last),
            "2026-01-01T00:00:00Z",
            "2026-11-01T01:30:00-05:00",
            SecondPass,
        ),
        (
            "both",
            cron_with("30 1 * * *", zone, RunAfter, Both),
            "2026-11-01T05:30:00Z",
            "2026-11-01T01:30:00-05:00",
            SecondPass,
        ),
        ("a wildcard", cron("*/20 1 * * *", zone), "2026-11-01T05:40:00Z", "2026-11-01T01:00:00-05:00", SecondPass),
        (
            "a wildcard that is jumped over",
            cron("*/20 2 * * *", zone),
            "2026-01-01T00:00:00Z",
            "2026-03-08T03:00:00-04:00",
            Skipped,
        ),
    ];
    for (what, timing, after, time, effect) in table {
        let expected = time.parse::<Timestamp>().unwrap();
        assert_eq!(timing.next_affected(at(after)), Some((expected, effect)), "{what}");
        if effect != Skipped {
            assert_eq!(timing.daylight_saving(expected), Some(effect), "{what}");
        }
    }
    let untouched = [
        cron("30 5 * * *", zone),
        cron("30 2 * * *", "UTC"),
        cron("30 2 * * *", "Asia/Kolkata"),
        cron("0 2 1 1 *", zone),
        every("1h", "2026-01-01T00:00:00Z"),
        once("2026-03-08T07:00:00Z"),
    ];
    for timing in untouched {
        assert_eq!(timing.next_affected(at("2026-01-01T00:00:00Z")), None, "{timing}");
        assert_eq!(timing.daylight_saving(at("2026-03-08T07:00:00Z")), None, "{timing}");
    }
    let limited = ScheduleSpec { end_time: micro("2026-03-08T07:00:00Z"), ..spec("30 2 * * *", zone) };
    assert_eq!(timing_of(&limited).next_affected(at("2026-01-01T00:00:00Z")), None, "the end excludes the jump");
}

/// A change of a clock, by the zone that makes it.
fn changes() -> Vec<(TimeZone, Timestamp, Offset, Offset)> {
    let (from, to) = (at("1970-01-01T00:00:00Z"), at("2038-01-01T00:00:00Z"));
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for name in ZONES.available() {
        let zone = ZONES.get(name.as_str()).unwrap();
        let mut before = zone.to_offset(from);
        for change in zone.following(from).take_while(|change| change.timestamp() < to) {
            let (at, after) = (change.timestamp(), change.offset());
            if before != after && seen.insert((at, before.seconds(), after.seconds())) {
                found.push((zone.clone(), at, before, after));
            }
            before = after;
        }
    }
    found
}

/// The instants of a time on the wall, found without going along the clock.
fn instants(zone: &TimeZone, wall: jiff::civil::DateTime, (gap, overlap): (DstGap, DstOverlap)) -> Vec<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(wall);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => vec![offset.to_timestamp(wall).unwrap()],
        AmbiguousOffset::Gap { .. } if gap == DstGap::Skip => vec![],
        AmbiguousOffset::Gap { after, .. } => {
            // Read with the offset of after, the time lies before the jump.
            let jumped = after.to_timestamp(wall).unwrap() - SignedDuration::from_nanos(1);
            vec![zone.following(jumped).next().unwrap().timestamp()]
        }
        AmbiguousOffset::Fold { before, after } => {
            let passes = [before, after].map(|offset| offset.to_timestamp(wall).unwrap());
            match overlap {
                DstOverlap::First => passes[..1].to_vec(),
                DstOverlap::Last => passes[1..].to_vec(),
                DstOverlap::Both => passes.to_vec(),
            }
        }
    }
}

/// In order, never two for one time under First and Last, never none under RunAfter: the list says all of it.
#[test]
fn every_change_of_every_zone_in_every_mode_gives_each_time_what_the_mode_says() {
    let changes = changes();
    assert!(changes.len() > 3_000, "{}", changes.len());
    for (zone, at, before, after) in &changes {
        let name = zone.iana_name().unwrap();
        let shift = SignedDuration::from_secs(i64::from((after.seconds() - before.seconds()).abs()));
        let margin = shift + SignedDuration::from_mins(70);
        let (from, to) = (*at - margin, *at + margin);
        let (first, last) = (before.to_datetime(from) - shift, after.to_datetime(to) + shift);
        let minutes = (0..).map(|minute| first + SignedDuration::from_mins(minute)).take_while(|wall| *wall <= last);
        let walls: Vec<_> = minutes.filter(|wall| wall.second() == 0 && matches!(wall.minute(), 7 | 37)).collect();
        for mode in MODES {
            let expected: BTreeSet<Timestamp> =
                walls.iter().flat_map(|wall| instants(zone, *wall, mode)).filter(|t| *t > from && *t <= to).collect();
            let timing = cron_with("7,37 0-23 * * *", name, mode.0, mode.1);
            let found = timing.due(from, to, 10_000, 10_000).times;
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{name} at {at} in {mode:?}");
        }
        let both: BTreeSet<Timestamp> = walls
            .iter()
            .flat_map(|wall| instants(zone, *wall, (DstGap::Skip, DstOverlap::Both)))
            .filter(|t| *t > from && *t <= to)
            .collect();
        let found = cron("7,37 * * * *", name).due(from, to, 10_000, 10_000).times;
        assert_eq!(found, both.into_iter().collect::<Vec<_>>(), "{name} at {at}, following the clock");
    }
}
