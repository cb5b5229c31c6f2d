//! Times of expressions, intervals and instants, against tables and brute force.

use jiff::tz::TimeZone;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn spec(cron: &str, zone: &str) -> ScheduleSpec {
    ScheduleSpec { cron: Some(cron.into()), time_zone: Some(zone.into()), ..ScheduleSpec::default() }
}

fn cron(cron: &str, zone: &str) -> Timing {
    Timing::parse(&spec(cron, zone), Timestamp::UNIX_EPOCH).unwrap()
}

fn every(interval: &str, created: &str) -> Timing {
    let spec = ScheduleSpec { interval: Some(interval.into()), ..ScheduleSpec::default() };
    Timing::parse(&spec, at(created)).unwrap()
}

fn once(when: &str) -> Timing {
    let spec = ScheduleSpec { at: Some(MicroTime(at(when))), ..ScheduleSpec::default() };
    Timing::parse(&spec, Timestamp::UNIX_EPOCH).unwrap()
}

/// The times after `from` up to and including `to`, as the schedule's own clock shows them.
fn local_times(timing: &Timing, from: &str, to: &str) -> Vec<String> {
    let due = timing.latest_and_count(at(from), at(to), 1_000, 1_000);
    assert_eq!(due.skipped, 0);
    due.times.into_iter().map(|time| timing.local(time)).collect()
}

fn refused(spec: &ScheduleSpec) -> String {
    Timing::parse(spec, Timestamp::UNIX_EPOCH).unwrap_err().to_string()
}

#[test]
fn cron_is_read_as_crontab_does() {
    let table = [
        ("five past each hour", "5 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"),
        ("Sunday is 0", "0 9 * * 0", "2026-01-01T00:00:00Z", "2026-01-04T09:00:00Z"),
        ("Sunday is 7", "0 9 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T09:00:00Z"),
        ("Monday is 1", "0 9 * * 1", "2026-01-01T00:00:00Z", "2026-01-05T09:00:00Z"),
        ("names in any case", "0 9 * jAn mOn", "2026-01-01T00:00:00Z", "2026-01-05T09:00:00Z"),
        ("a range to Sunday", "0 9 * * sat-sun", "2026-01-03T10:00:00Z", "2026-01-04T09:00:00Z"),
        ("either day field matches: the Friday", "0 9 13 * 5", "2026-01-01T10:00:00Z", "2026-01-02T09:00:00Z"),
        ("either day field matches: the 13th", "0 9 13 * 5", "2026-01-09T10:00:00Z", "2026-01-13T09:00:00Z"),
        ("a question mark is any day", "0 9 ? * 5", "2026-01-02T10:00:00Z", "2026-01-09T09:00:00Z"),
        ("a stepped day of month counts as restricted", "0 0 */10 * 1", "2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z"),
        ("a step from a value goes to the end", "10/20 * * * *", "2026-01-01T00:30:00Z", "2026-01-01T00:50:00Z"),
        ("a step of a range", "0 8-18/5 * * *", "2026-01-01T13:00:00Z", "2026-01-01T18:00:00Z"),
        ("a leap day years ahead", "0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("spaces and tabs between", " 0\t9  * * * ", "2026-01-01T00:00:00Z", "2026-01-01T09:00:00Z"),
        ("strictly after", "0 9 * * *", "2026-01-01T09:00:00Z", "2026-01-02T09:00:00Z"),
        ("within a second before", "0 9 * * *", "2026-01-01T08:59:59.999999Z", "2026-01-01T09:00:00Z"),
        ("within a second after", "0 9 * * *", "2026-01-01T09:00:00.000001Z", "2026-01-02T09:00:00Z"),
    ];
    for (what, expression, after, expected) in table {
        assert_eq!(cron(expression, "UTC").next_after(at(after)), Some(at(expected)), "{what}");
    }
}

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
fn an_interval_is_counted_from_the_creation() {
    let timing = every("1h30m", "2026-03-08T00:10:00Z");
    let table = [
        ("nothing at the creation itself", "2026-03-08T00:00:00Z", "2026-03-08T01:40:00Z"),
        ("strictly after", "2026-03-08T01:40:00Z", "2026-03-08T03:10:00Z"),
        ("between two", "2026-03-08T02:00:00.5Z", "2026-03-08T03:10:00Z"),
        ("no drift over years", "2036-03-08T00:00:00Z", "2036-03-08T00:10:00Z"),
    ];
    for (what, after, expected) in table {
        assert_eq!(timing.next_after(at(after)), Some(at(expected)), "{what}");
    }
    assert_eq!(every("999999h", "2026-01-01T00:00:00Z").next_after(Timestamp::MAX), None);
}

#[test]
fn an_instant_comes_once() {
    let timing = once("2027-01-01T06:00:00Z");
    assert_eq!(timing.next_after(at("2026-12-31T00:00:00Z")), Some(at("2027-01-01T06:00:00Z")));
    assert_eq!(timing.next_after(at("2027-01-01T06:00:00Z")), None);
    let due = timing.latest_and_count(at("2026-01-01T00:00:00Z"), at("2027-01-01T06:00:00Z"), 5, 5);
    assert_eq!((due.times, due.skipped), (vec![at("2027-01-01T06:00:00Z")], 0));
    let early = timing.latest_and_count(at("2026-01-01T00:00:00Z"), at("2027-01-01T05:59:59Z"), 5, 5);
    assert_eq!(early, Due::default());
}

/// Otherwise the time accounted for, as it is written, would lie before the time itself, which would be due again.
#[test]
fn times_are_not_finer_than_what_objects_carry() {
    let timing = once("2027-01-01T06:00:00.123456789Z");
    assert_eq!(timing.next_after(at("2026-12-31T00:00:00Z")), Some(at("2027-01-01T06:00:00.123456Z")));
    let spec = ScheduleSpec { interval: Some("1s".into()), ..ScheduleSpec::default() };
    let timing = Timing::parse(&spec, at("2026-01-01T00:00:00.9999999Z")).unwrap();
    assert_eq!(timing.next_after(at("2026-01-01T00:00:00Z")), Some(at("2026-01-01T00:00:01.999999Z")));
}

#[test]
fn a_refusal_says_what_is_wrong_and_where() {
    let with_cron = |text: &str| refused(&spec(text, "UTC"));
    let with_interval = |text: &str| refused(&ScheduleSpec { interval: Some(text.into()), ..ScheduleSpec::default() });
    let with_zone = |text: &str| refused(&spec("0 9 * * *", text));
    let table = [
        ("no timing", refused(&ScheduleSpec::default()), "spec: exactly one of cron, interval and at must be set"),
        (
            "four fields",
            with_cron("0 9 * *"),
            "spec.cron: must be five fields, minute, hour, day of month, month and day of week, for example \"0 9 * * 1-5\"; found 4",
        ),
        ("six fields", with_cron("0 0 9 * * *"), "found 6"),
        ("a nickname", with_cron("@daily"), "found 1"),
        (
            "a day that never comes",
            with_cron("0 0 31 2 *"),
            "spec.cron: never matches: no month of \"0 0 31 2 *\" has such a day",
        ),
        ("days that never come", with_cron("0 0 31 4,6,9,11 ?"), "never matches"),
        ("a minute too large", with_cron("60 9 * * *"), "spec.cron: minute \"60\": "),
        ("an hour too large", with_cron("0 24 * * *"), "spec.cron: hour \"24\": "),
        ("a day too small", with_cron("0 9 0 * *"), "spec.cron: day of month \"0\": "),
        ("a month too large", with_cron("0 9 * 13 *"), "spec.cron: month \"13\": "),
        ("a weekday too large", with_cron("0 9 * * 8"), "spec.cron: day of week \"8\": "),
        ("a range backwards", with_cron("0 9 * * 5-1"), "spec.cron: day of week \"5-1\": "),
        ("a step of nothing", with_cron("*/0 9 * * *"), "spec.cron: minute \"*/0\": "),
        ("the last day", with_cron("0 9 L * *"), "spec.cron: day of month \"L\": 'L' has no meaning here"),
        ("the second Friday", with_cron("0 9 * * 5#2"), "spec.cron: day of week \"5#2\": '#' has no meaning here"),
        ("both day fields", with_cron("0 9 1 * +5"), "'+' has no meaning here"),
        ("a name of no month", with_cron("0 9 * foo *"), "spec.cron: month \"foo\": \"foo\" is not a name of a month"),
        ("a day where a month belongs", with_cron("0 9 * mon *"), "\"mon\" is not a name of a month"),
        ("the last Friday", with_cron("0 9 * * friL"), "\"friL\" is not a name of a day"),
        ("an empty part", with_cron("0,,5 9 * * *"), "spec.cron: minute \"0,,5\": must be *, values, ranges or lists"),
        ("a step of nothing at all", with_cron("/5 9 * * *"), "spec.cron: minute \"/5\": must be *"),
        ("other scripts", with_cron("０ 9 * * *"), "'０' has no meaning here"),
        (
            "an unknown zone",
            with_zone("Europe/Lundon"),
            "spec.timeZone: \"Europe/Lundon\" is not a time zone of the IANA database; did you mean Europe/London?",
        ),
        ("a city alone", with_zone("london"), "did you mean Europe/London?"),
        ("a city in the wrong place", with_zone("America/Berlin"), "did you mean Europe/Berlin?"),
        (
            "no zone at all",
            with_zone("Middle-earth/Shire"),
            "spec.timeZone: \"Middle-earth/Shire\" is not a time zone of the IANA database",
        ),
        ("not known by design", with_zone("Etc/Unknown"), "spec.timeZone: \"Etc/Unknown\" is not a time zone"),
        ("no interval", with_interval("0s"), "spec.interval: \"0s\" must be at least one second"),
        (
            "no unit",
            with_interval("90"),
            "spec.interval: \"90\" must be hours, minutes and seconds, for example 90s, 15m or 1h30m",
        ),
        ("wrong order", with_interval("1s1h"), "must be hours, minutes and seconds"),
        ("fractions", with_interval("1.5h"), "must be hours, minutes and seconds"),
        ("negative", with_interval("-1h"), "must be hours, minutes and seconds"),
        ("empty", with_interval(""), "must be hours, minutes and seconds"),
        ("too many digits", with_interval("1234567h"), "must be hours, minutes and seconds"),
    ];
    for (what, is, expected) in table {
        assert!(is.contains(expected), "{what}: {is}");
    }
}

#[test]
fn every_zone_of_the_database_can_be_used() {
    let mut count = 0;
    for zone in ZONES.available() {
        if zone.as_str() != "Etc/Unknown" {
            assert!(
                Timing::parse(&spec("0 9 * * *", zone.as_str()), Timestamp::UNIX_EPOCH).is_ok(),
                "{}",
                zone.as_str()
            );
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
    assert_eq!(Timing::parse(&without_zone, Timestamp::UNIX_EPOCH).unwrap().describe(), "0 9 * * * UTC");
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
fn the_digest_tells_an_edit_of_the_timing_from_other_edits() {
    let timing = cron("0 9 * * mon", "Europe/London");
    assert_eq!(timing.digest(), cron("0  9 * * MON", "Europe/London").digest(), "the same in other letters");
    let others = [
        cron("0 9 * * tue", "Europe/London"),
        cron("0 9 * * mon", "Europe/Berlin"),
        every("1h", "2026-01-01T00:00:00Z"),
        every("2h", "2026-01-01T00:00:00Z"),
        once("2027-01-01T06:00:00Z"),
        once("2027-01-01T06:00:01Z"),
    ];
    let mut digests: Vec<String> = others.iter().map(Timing::digest).chain([timing.digest()]).collect();
    assert_eq!(timing.digest(), "e629d5d71f08ccf6", "a new digest would make every schedule start its account anew");
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), others.len() + 1);
    assert_eq!(every("60m", "2026-01-01T00:00:00Z").digest(), every("1h", "2026-01-02T00:00:00Z").digest());
}

#[test]
fn a_range_too_long_to_count_still_ends_with_its_last_times() {
    let minutes = cron("* * * * *", "UTC");
    let due = minutes.latest_and_count(at("2020-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"), 3, 50);
    let expected = ["2025-12-31T23:58:00Z", "2025-12-31T23:59:00Z", "2026-01-01T00:00:00Z"].map(at).to_vec();
    assert_eq!(due.times, expected);
    assert_eq!(due.first, Some(at("2020-01-01T00:01:00Z")));
    assert_eq!(due.last_skipped, Some(at("2025-12-31T23:57:00Z")));
    assert_eq!(due.skipped, 47, "a lower bound: what was counted, without those that may be among the last");
    let rare = cron("0 0 29 2 *", "UTC");
    let due = rare.latest_and_count(at("1980-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"), 2, 3);
    assert_eq!(due.times, ["2020-02-29T00:00:00Z", "2024-02-29T00:00:00Z"].map(at).to_vec());
    assert_eq!(due.last_skipped, Some(at("2016-02-29T00:00:00Z")));
}

#[test]
fn a_century_of_seconds_is_counted_at_once() {
    let seconds = every("1s", "1926-01-01T00:00:00Z");
    let due = seconds.latest_and_count(at("1926-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"), 2, 1);
    assert_eq!(due.skipped, 3_155_760_000 - 2);
    assert_eq!(due.times, ["2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"].map(at).to_vec());
}

/// An expression, read and matched minute by minute without the code under test.
struct Oracle {
    fields: Vec<Vec<bool>>,
    any_day: (bool, bool),
    fixed: bool,
    zone: TimeZone,
}

impl Oracle {
    fn new(expression: &str, zone: &str) -> Self {
        let words: Vec<&str> = expression.split(' ').collect();
        let limits = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)];
        let mut fields: Vec<Vec<bool>> =
            words.iter().zip(limits).map(|(word, limits)| Self::field(word, limits)).collect();
        fields[4][0] |= fields[4][7];
        Self {
            fields,
            any_day: (words[2] == "*", words[4] == "*"),
            fixed: !words[..2].iter().any(|word| word.contains('*')),
            zone: ZONES.get(zone).unwrap(),
        }
    }

    fn field(word: &str, (low, high): (usize, usize)) -> Vec<bool> {
        let mut set = vec![false; 60];
        for part in word.split(',') {
            let (range, step) = part.split_once('/').unwrap_or((part, "0"));
            let step: usize = step.parse().unwrap();
            let (from, to) = match range.split_once('-') {
                Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
                None if range == "*" => (low, high),
                None if step > 0 => (range.parse().unwrap(), high),
                None => (range.parse().unwrap(), range.parse().unwrap()),
            };
            (from..=to).step_by(step.max(1)).for_each(|value| set[value] = true);
        }
        set
    }

    fn matches(&self, wall: DateTime) -> bool {
        let month_day = self.fields[2][wall.day() as usize];
        let week_day = self.fields[4][wall.weekday().to_sunday_zero_offset() as usize];
        let day = match self.any_day {
            (true, _) => week_day,
            (_, true) => month_day,
            (false, false) => month_day || week_day,
        };
        day && self.fields[0][wall.minute() as usize]
            && self.fields[1][wall.hour() as usize]
            && self.fields[3][wall.month() as usize]
    }

    /// Goes through the minutes, three hours ahead of the range, so that what comes a second time is known as such.
    fn times(&self, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
        let minute = SignedDuration::from_mins(1);
        let mut times = Vec::new();
        let mut t = from - SignedDuration::from_hours(3);
        let mut furthest = self.zone.to_datetime(t);
        while t < to {
            t += minute;
            let wall = self.zone.to_datetime(t);
            let comes_true = if self.fixed {
                let mut new = furthest + minute;
                let mut any = false;
                while new <= wall {
                    any |= self.matches(new);
                    new += minute;
                }
                any
            } else {
                self.matches(wall)
            };
            furthest = furthest.max(wall);
            times.extend((comes_true && t > from).then_some(t));
        }
        times
    }
}

fn expression() -> impl Strategy<Value = String> {
    let minute = prop::sample::select(vec!["*", "*/7", "*/30", "0", "30", "0,30", "15-45/10", "5/20", "0-59", "59"]);
    let hour = prop::sample::select(vec!["*", "*/2", "0", "1", "2", "3", "1,2,3", "0-23", "23", "2,14", "0,23"]);
    let day = prop::sample::select(vec!["*", "*", "*/2", "1-15", "8", "1,29,31"]);
    let month = prop::sample::select(vec!["*", "*", "3-4,10-11", "*/2"]);
    let week_day = prop::sample::select(vec!["*", "*", "0", "7", "1-5", "5-7", "*/3"]);
    (minute, hour, day, month, week_day).prop_map(|(m, h, d, mo, w)| format!("{m} {h} {d} {mo} {w}"))
}

fn zone() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "UTC",
        "America/New_York",
        "Australia/Lord_Howe",
        "Europe/London",
        "America/Santiago",
        "Africa/Casablanca",
        "Asia/Beirut",
        "Asia/Kolkata",
        "Pacific/Chatham",
        "America/St_Johns",
        "Africa/Cairo",
    ])
}

/// Three days, around a change of the clock if the zone has one ahead.
fn days(zone: &str, second: i64) -> (Timestamp, Timestamp) {
    let any = Timestamp::from_second(second - second.rem_euclid(60)).unwrap();
    let zone = ZONES.get(zone).unwrap();
    let middle = zone.following(any).next().map_or(any, |change| change.timestamp());
    (middle - SignedDuration::from_hours(30), middle + SignedDuration::from_hours(42))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn cron_agrees_with_looking_at_every_minute(
        expression in expression(), zone in zone(), second in 1_735_689_600i64..1_798_761_600,
    ) {
        let (from, to) = days(zone, second);
        let expected = Oracle::new(&expression, zone).times(from, to);
        let due = cron(&expression, zone).latest_and_count(from, to, 10_000, 10_000);
        prop_assert_eq!(due.times, expected, "{} {}", expression, zone);
    }

    #[test]
    fn keeping_and_counting_agree_with_the_whole_list(
        expression in expression(), zone in zone(), second in 1_735_689_600i64..1_798_761_600, keep in 0usize..40,
    ) {
        let (from, to) = days(zone, second);
        let timing = cron(&expression, zone);
        let all = timing.latest_and_count(from, to, 10_000, 10_000).times;
        let due = timing.latest_and_count(from, to, keep, 10_000);
        let split = all.len().saturating_sub(keep);
        prop_assert_eq!(&due.times, &all[split..]);
        prop_assert_eq!(due.skipped, split as u64);
        prop_assert_eq!(due.first, all.first().copied());
        prop_assert_eq!(due.last_skipped, all[..split].last().copied());
        let short = timing.latest_and_count(from, to, keep, 20);
        prop_assert_eq!(&short.times, &due.times);
        prop_assert_eq!((short.first, short.last_skipped), (due.first, due.last_skipped));
        prop_assert!(short.skipped <= due.skipped && (short.skipped > 0) == (due.skipped > 0));
    }

    #[test]
    fn intervals_agree_with_adding_them_up(
        seconds in 1i64..5_000, created in -100_000i64..100_000, from in -200_000i64..200_000, length in 0i64..20_000,
        keep in 0usize..20,
    ) {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let spec = ScheduleSpec { interval: Some(format!("{seconds}s")), ..ScheduleSpec::default() };
        let timing = Timing::parse(&spec, at(created)).unwrap();
        let sums = (1..).map(|number| created + number * seconds);
        let all: Vec<Timestamp> =
            sums.skip_while(|time| *time <= from).take_while(|time| *time <= from + length).map(at).collect();
        let due = timing.latest_and_count(at(from), at(from + length), keep, 1);
        let split = all.len().saturating_sub(keep);
        prop_assert_eq!(&due.times, &all[split..]);
        prop_assert_eq!(due.skipped, split as u64);
        prop_assert_eq!(due.first, all.first().copied());
        prop_assert_eq!(due.last_skipped, all[..split].last().copied());
        prop_assert!(timing.next_after(at(from)).is_some_and(|next| next > at(from)));
    }

    #[test]
    fn nothing_that_is_written_makes_it_panic(cron in ".{0,40}", interval in ".{0,12}", zone in ".{0,20}", t: i64) {
        let t = Timestamp::from_microsecond(t).unwrap_or(Timestamp::MAX);
        let specs = [
            spec(&cron, &zone),
            spec(&cron, "UTC"),
            spec("*/5 0-3 * * *", &zone),
            ScheduleSpec { interval: Some(interval), ..ScheduleSpec::default() },
        ];
        for spec in specs {
            if let Ok(timing) = Timing::parse(&spec, t) {
                timing.next_after(t);
                timing.next_after(Timestamp::MIN);
                timing.next_after(Timestamp::MAX);
            }
        }
    }

    #[test]
    fn what_looks_like_cron_is_read_or_refused(
        fields in prop::collection::vec("[0-9*,/?A-Z-]{1,6}", 5), second in 0i64..4_000_000_000,
    ) {
        let t = Timestamp::from_second(second).unwrap();
        if let Ok(timing) = Timing::parse(&spec(&fields.join(" "), "America/New_York"), t) {
            prop_assert!(timing.next_after(t).is_some_and(|next| next > t));
        }
    }
}
