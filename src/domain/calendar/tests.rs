//! Times of expressions, intervals and instants, against tables and brute force.

mod due;
mod grammar;
mod oracle;
mod zones;

use jiff::tz::TimeZone;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use proptest::prelude::*;

use super::zones::ZONES;
use super::*;
use crate::api::ScheduleSpec;
use crate::api::schedule::DstPolicy;
use crate::api::schedule::{DstGap, DstOverlap};

/// The uid of the schedule in these tests.
const SEED: &str = "5e0d7e2c-0000-4000-8000-000000000001";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn micro(text: &str) -> Option<MicroTime> {
    Some(MicroTime(at(text)))
}

fn spec(cron: &str, zone: &str) -> ScheduleSpec {
    ScheduleSpec { cron: Some(cron.into()), time_zone: Some(zone.into()), ..ScheduleSpec::default() }
}

/// The timing of a schedule that was created at the epoch.
fn timing_of(spec: &ScheduleSpec) -> Timing {
    read(spec).unwrap_or_else(|error| panic!("{error}"))
}

fn read(spec: &ScheduleSpec) -> Result<Timing, TimingError> {
    Timing::parse(&spec.timing(Timestamp::UNIX_EPOCH), SEED)
}

fn cron(cron: &str, zone: &str) -> Timing {
    timing_of(&spec(cron, zone))
}

fn cron_with(expression: &str, zone: &str, gap: DstGap, overlap: DstOverlap) -> Timing {
    timing_of(&ScheduleSpec {
        dst: Some(DstPolicy { gap: Some(gap), overlap: Some(overlap) }),
        ..spec(expression, zone)
    })
}

fn every(interval: &str, created: &str) -> Timing {
    let spec = ScheduleSpec { interval: Some(interval.into()), ..ScheduleSpec::default() };
    Timing::parse(&spec.timing(at(created)), SEED).unwrap()
}

fn once(when: &str) -> Timing {
    timing_of(&ScheduleSpec { at: micro(when), ..ScheduleSpec::default() })
}

/// The times after `from` up to and including `to`, as the schedule's own clock shows them.
fn local_times(timing: &Timing, from: &str, to: &str) -> Vec<String> {
    let due = timing.due(at(from), at(to), 1_000, 1_000);
    assert_eq!((due.skipped, due.more), (0, false));
    due.times.into_iter().map(|time| timing.local(time)).collect()
}

fn refused(spec: &ScheduleSpec) -> String {
    read(spec).unwrap_err().to_string()
}

#[test]
fn an_instant_comes_once() {
    let timing = once("2027-01-01T06:00:00Z");
    assert_eq!(timing.next_after(at("2026-12-31T00:00:00Z")), Some(at("2027-01-01T06:00:00Z")));
    assert_eq!(timing.next_after(at("2027-01-01T06:00:00Z")), None);
    let due = timing.due(at("2026-01-01T00:00:00Z"), at("2027-01-01T06:00:00Z"), 5, 5);
    assert_eq!((due.times, due.skipped), (vec![at("2027-01-01T06:00:00Z")], 0));
    let early = timing.due(at("2026-01-01T00:00:00Z"), at("2027-01-01T05:59:59Z"), 5, 5);
    assert_eq!(early, Due::default());
}

#[test]
fn every_zone_of_the_database_can_be_used() {
    let mut count = 0;
    for zone in ZONES.available() {
        // These two of the database are no zones: one says that none is known, the other that none was set.
        if !matches!(zone.as_str(), "Etc/Unknown" | "Factory") {
            assert!(read(&spec("0 9 * * *", zone.as_str())).is_ok(), "{}", zone.as_str());
            count += 1;
        }
    }
    assert!(count > 400, "{count}");
}

#[test]
fn the_description_is_one_line_for_people() {
    let table = [
        (cron(" 0  9 * * 1-5", "Europe/London"), "0 9 * * 1-5 Europe/London"),
        (cron("0 9 * * *", "UTC"), "0 9 * * * UTC"),
        (every("90m", "2026-01-01T00:00:00Z"), "every 1h30m"),
        (every("86400s", "2026-01-01T00:00:00Z"), "every 24h"),
        (every("1h1s", "2026-01-01T00:00:00Z"), "every 1h1s"),
        (once("2027-01-01T06:00:00Z"), "once at 2027-01-01T06:00:00Z"),
    ];
    for (timing, expected) in table {
        assert_eq!(timing.describe(), expected);
        assert_eq!(timing.to_string(), expected);
    }
    let without_zone = ScheduleSpec { cron: Some("0 9 * * *".into()), ..ScheduleSpec::default() };
    assert_eq!(timing_of(&without_zone).describe(), "0 9 * * * UTC");
}

#[test]
fn times_are_shown_on_the_clock_of_the_schedule() {
    let table = [
        (cron("0 9 * * *", "America/New_York"), "2026-07-01T05:00:00-04:00"),
        (cron("0 9 * * *", "Asia/Kolkata"), "2026-07-01T14:30:00+05:30"),
        (cron("0 9 * * *", "UTC"), "2026-07-01T09:00:00Z"),
        (every("1h", "2026-01-01T00:00:00Z"), "2026-07-01T09:00:00Z"),
    ];
    for (timing, expected) in table {
        assert_eq!(timing.local(at("2026-07-01T09:00:00Z")), expected);
    }
}

#[test]
fn an_interval_is_counted_from_its_anchor() {
    let created = every("1h30m", "2026-03-08T00:10:00Z");
    let table = [
        ("the creation is the first time, which is owed to nobody", "2026-03-08T00:00:00Z", "2026-03-08T00:10:00Z"),
        ("then one interval later", "2026-03-08T00:10:00Z", "2026-03-08T01:40:00Z"),
        ("strictly after", "2026-03-08T01:40:00Z", "2026-03-08T03:10:00Z"),
        ("between two", "2026-03-08T02:00:00.5Z", "2026-03-08T03:10:00Z"),
        ("no drift over years", "2036-03-08T00:00:00Z", "2036-03-08T00:10:00Z"),
    ];
    for (what, after, expected) in table {
        assert_eq!(created.next_after(at(after)), Some(at(expected)), "{what}");
    }
    assert_eq!(every("999999h", "2026-01-01T00:00:00Z").next_after(Timestamp::MAX), None);
    let anchored = |anchor: &str| {
        timing_of(&ScheduleSpec { interval: Some("6h".into()), anchor: micro(anchor), ..ScheduleSpec::default() })
    };
    let future = anchored("2027-01-01T06:00:00Z");
    assert_eq!(future.next_after(at("2026-01-01T00:00:00Z")), Some(at("2027-01-01T06:00:00Z")), "the anchor itself");
    assert_eq!(future.next_after(at("2027-01-01T06:00:00Z")), Some(at("2027-01-01T12:00:00Z")));
    let past = anchored("2020-02-29T01:00:00.5Z");
    assert_eq!(past.next_after(at("2026-01-01T00:00:00Z")), Some(at("2026-01-01T01:00:00.5Z")));
}

/// Otherwise the time accounted for, as it is written, would lie before the time itself, which would be due again.
#[test]
fn times_are_not_finer_than_what_objects_carry() {
    let timing = once("2027-01-01T06:00:00.123456789Z");
    assert_eq!(timing.next_after(at("2026-12-31T00:00:00Z")), Some(at("2027-01-01T06:00:00.123456Z")));
    let spec = ScheduleSpec { interval: Some("1s".into()), ..ScheduleSpec::default() };
    let timing = Timing::parse(&spec.timing(at("2026-01-01T00:00:00.9999999Z")), SEED).unwrap();
    assert_eq!(timing.next_after(at("2026-01-01T00:00:01Z")), Some(at("2026-01-01T00:00:01.999999Z")));
}

#[test]
fn the_specification_of_a_timing_fills_in_the_defaults() {
    let created = at("2026-01-01T00:00:00.123456789Z");
    let plain = ScheduleSpec { cron: Some(" 0  9 * * * ".into()), ..ScheduleSpec::default() };
    let explicit = ScheduleSpec {
        dst: Some(DstPolicy { gap: Some(DstGap::RunAfter), overlap: None }),
        jitter_seconds: Some(0),
        ..spec("0 9 * * *", "UTC")
    };
    assert_eq!(plain.timing(created), explicit.timing(at("2026-02-01T00:00:00Z")), "the same in other words");
    let interval = ScheduleSpec { interval: Some("1h".into()), ..ScheduleSpec::default() };
    let anchored = ScheduleSpec { anchor: micro("2026-01-01T00:00:00.123456Z"), ..interval.clone() };
    assert_eq!(interval.timing(created), anchored.timing(at("2026-02-01T00:00:00Z")));
    let written: TimingSpec = serde_json::from_value(serde_json::to_value(interval.timing(created)).unwrap()).unwrap();
    assert_eq!(written, interval.timing(created), "read back from a status it is no edit");
}

#[test]
fn the_release_of_the_zone_database_is_known() {
    let version = zone_database_version();
    let (year, letter) = version.split_at(4);
    assert!(year.parse::<u32>().is_ok_and(|year| year >= 2026) && letter.len() == 1, "{version}");
}

fn expression(text: &str) -> TimingSpec {
    TimingSpec { cron: Some(text.into()), ..TimingSpec::default() }
}

#[test]
fn names_that_stand_for_no_zone_are_refused() {
    for name in ["Factory", "factory", "localtime", "posixrules", "leapseconds", "right/UTC", "posix/UTC"] {
        let why = find_zone(Some(name)).unwrap_err();
        assert_eq!(why.field, "spec.timeZone", "{name}");
    }
    assert!(find_zone(Some("Etc/UTC")).is_ok());
}

#[test]
fn no_time_is_later_than_objects_can_carry() {
    let yearly = Timing::parse(&expression("0 0 1 1 *"), "seed").unwrap();
    let late: Timestamp = "8999-06-01T00:00:00Z".parse().unwrap();
    assert_eq!(yearly.next_after(late), None);
    let early: Timestamp = "8998-06-01T00:00:00Z".parse().unwrap();
    assert_eq!(yearly.next_after(early), Some("8999-01-01T00:00:00Z".parse().unwrap()));
    let interval =
        TimingSpec { interval: Some("9999h".into()), anchor: Some(MicroTime(early)), ..TimingSpec::default() };
    let interval = Timing::parse(&interval, "seed").unwrap();
    let last = std::iter::successors(interval.next_after(early), |time| interval.next_after(*time)).last();
    assert!(last.is_some_and(|last| last < "9000-01-01T00:00:00Z".parse().unwrap()));
}

#[test]
fn white_space_around_a_timing_is_none_of_it() {
    let created: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let spec = |cron: &str, zone: &str, interval: &str| crate::api::ScheduleSpec {
        cron: Some(cron.to_owned()).filter(|it| !it.is_empty()),
        time_zone: Some(zone.to_owned()).filter(|it| !it.is_empty()),
        interval: Some(interval.to_owned()).filter(|it| !it.is_empty()),
        ..crate::api::ScheduleSpec::default()
    };
    let same = |one: crate::api::ScheduleSpec, other: crate::api::ScheduleSpec| {
        assert!(Timing::parse(&one.timing(created), "seed").is_ok());
        assert_eq!(one.timing(created), other.timing(created));
    };
    same(spec(" 0 9 * * *\n", "\tEurope/Berlin \n", ""), spec("0 9 * * *", "Europe/Berlin", ""));
    same(spec("", "", " 1h30m\n"), spec("", "", "1h30m"));
}
