//! The grammar: what is read, as what, and what is refused in which words.

use super::*;

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
        (
            "a stepped star and a weekday must both match",
            "0 0 */10 * 1",
            "2026-01-01T00:00:00Z",
            "2026-05-11T00:00:00Z",
        ),
        ("also the other way round", "0 0 13 * */5", "2026-01-01T00:00:00Z", "2026-02-13T00:00:00Z"),
        ("also at the head of a list", "0 0 */31,2 * 1", "2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"),
        ("but not behind one", "0 0 2,*/31 * 1", "2026-01-02T00:00:00Z", "2026-01-05T00:00:00Z"),
        ("a step from a value goes to the end", "10/20 * * * *", "2026-01-01T00:30:00Z", "2026-01-01T00:50:00Z"),
        ("a step of a range", "0 8-18/5 * * *", "2026-01-01T13:00:00Z", "2026-01-01T18:00:00Z"),
        ("a leap day years ahead", "0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("a leap day on a Sunday, beyond 2100", "0 0 29 2 */7", "2088-03-01T00:00:00Z", "2128-02-29T00:00:00Z"),
        ("a century without a leap day", "0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
        ("the 31st of a short month is skipped", "0 0 31 * *", "2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"),
        ("seconds in front", "30 0 9 * * *", "2026-01-01T00:00:00Z", "2026-01-01T09:00:30Z"),
        ("each five seconds", "*/5 * * * * *", "2026-01-01T00:00:01Z", "2026-01-01T00:00:05Z"),
        ("the last day", "0 0 L * *", "2026-02-01T00:00:00Z", "2026-02-28T00:00:00Z"),
        ("three days before the last", "0 0 L-3 2 *", "2028-02-01T00:00:00Z", "2028-02-26T00:00:00Z"),
        ("a list with the last day", "0 0 15,L * *", "2026-04-15T00:00:00Z", "2026-04-30T00:00:00Z"),
        ("the last working day", "0 0 LW * *", "2026-05-01T00:00:00Z", "2026-05-29T00:00:00Z"),
        ("near a Saturday", "0 0 15W * *", "2026-08-01T00:00:00Z", "2026-08-14T00:00:00Z"),
        ("near a Sunday", "0 0 15W * *", "2026-11-01T00:00:00Z", "2026-11-16T00:00:00Z"),
        ("near the first, a Saturday, within the month", "0 0 1W * *", "2026-07-31T12:00:00Z", "2026-08-03T00:00:00Z"),
        ("near the last, a Sunday, within the month", "0 0 31W * *", "2026-05-01T00:00:00Z", "2026-05-29T00:00:00Z"),
        ("near a day that the month does not have", "0 0 31W * *", "2026-06-01T00:00:00Z", "2026-07-31T00:00:00Z"),
        ("the second Friday", "0 0 * * 5#2", "2026-01-01T00:00:00Z", "2026-01-09T00:00:00Z"),
        ("a fifth Friday", "0 0 * * fri#5", "2026-02-01T00:00:00Z", "2026-05-29T00:00:00Z"),
        ("the last Sunday, as 7", "0 0 * * 7L", "2026-02-01T00:00:00Z", "2026-02-22T00:00:00Z"),
        ("the last Friday by name", "0 0 * * FriL", "2026-02-01T00:00:00Z", "2026-02-27T00:00:00Z"),
        ("a whole week from Sunday to Sunday", "0 0 * * 0-7", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("a step of weekdays stops at Saturday", "0 0 * * 1/2", "2026-01-02T00:00:00Z", "2026-01-05T00:00:00Z"),
        ("hourly", "@hourly", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
        ("daily", "@daily", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("midnight", "@Midnight", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("weekly", "@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("monthly", "@monthly", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("yearly", "@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("annually", " @annually ", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("spaces and tabs between", " 0\t9  * * * ", "2026-01-01T00:00:00Z", "2026-01-01T09:00:00Z"),
        ("strictly after", "0 9 * * *", "2026-01-01T09:00:00Z", "2026-01-02T09:00:00Z"),
        ("within a second before", "0 9 * * *", "2026-01-01T08:59:59.999999Z", "2026-01-01T09:00:00Z"),
        ("within a second after", "0 9 * * *", "2026-01-01T09:00:00.000001Z", "2026-01-02T09:00:00Z"),
    ];
    for (what, expression, after, expected) in table {
        assert_eq!(cron(expression, "UTC").next_after(at(after)), Some(at(expected)), "{what}");
    }
}

/// Checks that each refusal contains what is expected.
#[track_caller]
fn contains(table: &[(&str, String, &str)]) {
    for (what, is, expected) in table {
        assert!(is.contains(expected), "{what}: {is}");
    }
}

fn with_cron(text: &str) -> String {
    refused(&spec(text, "UTC"))
}

#[test]
fn an_expression_that_means_nothing_is_refused_with_what_is_wrong() {
    contains(&[
        ("no timing", refused(&ScheduleSpec::default()), "spec: exactly one of cron, interval and at must be set"),
        (
            "four fields",
            with_cron("0 9 * *"),
            "spec.cron: must be five fields, minute, hour, day of month, month and day of week, for example \"0 9 * * 1-5\", or six with seconds first; found 4",
        ),
        ("seven fields", with_cron("0 0 9 * * * 2027"), "found 7"),
        ("nothing", with_cron(" "), "found 0"),
        ("at the start", with_cron("@reboot"), "spec.cron: @reboot has no meaning in a cluster"),
        ("elapsed time", with_cron("@every 5m"), "use spec.interval"),
        ("no nickname", with_cron("@fortnightly"), "spec.cron: \"@fortnightly\" is not one of @hourly, @daily"),
        ("a zone within", with_cron("CRON_TZ=UTC 0 9 * * *"), "spec.cron: the zone belongs into spec.timeZone"),
        (
            "too dense",
            with_cron("* * * * * *"),
            "second \"*\": names 60 seconds of a minute, and at most 12 are allowed",
        ),
        ("a little too dense", with_cron("*/5,1 * * * * *"), "names 13 seconds"),
        (
            "a day that never comes",
            with_cron("0 0 31 2 *"),
            "spec.cron: never matches: no month of \"0 0 31 2 *\" has such a day",
        ),
        ("days that never come", with_cron("0 0 31 4,6,9,11 ?"), "never matches"),
        ("31 April", with_cron("0 0 31 4 *"), "never matches"),
        ("30 February", with_cron("0 0 30 2 *"), "never matches"),
        ("31 February and April", with_cron("0 0 31 2,4 *"), "never matches"),
        ("near a day that never comes", with_cron("0 0 31W 4 *"), "never matches"),
        ("before the first", with_cron("0 0 L-30 4 *"), "never matches"),
        ("the first day as the last Monday", with_cron("0 0 */31 2 1L"), "never matches"),
    ]);
}

#[test]
fn a_field_that_means_nothing_is_refused_by_its_name() {
    contains(&[
        (
            "a sixth Monday",
            with_cron("0 0 * * 1#6"),
            "day of week \"1#6\": # counts a weekday of the month from 1 to 5",
        ),
        ("a zeroth Monday", with_cron("0 0 * * 1#0"), "from 1 to 5"),
        ("a minute too large", with_cron("60 9 * * *"), "spec.cron: minute \"60\": 60 is not within 0-59"),
        ("a second too large", with_cron("60 0 9 * * *"), "spec.cron: second \"60\": 60 is not within 0-59"),
        ("an hour too large", with_cron("0 24 * * *"), "spec.cron: hour \"24\": "),
        ("a day too small", with_cron("0 9 0 * *"), "spec.cron: day of month \"0\": "),
        ("a month too large", with_cron("0 9 * 13 *"), "spec.cron: month \"13\": "),
        ("a weekday too large", with_cron("0 9 * * 8"), "spec.cron: day of week \"8\": "),
        ("more digits than there are numbers", with_cron("007 9 * * *"), "007 is not within 0-59"),
        (
            "a range backwards",
            with_cron("0 9 * * 5-1"),
            "day of week \"5-1\": \"5-1\" runs backwards; write two ranges",
        ),
        (
            "a step of nothing",
            with_cron("*/0 9 * * *"),
            "minute \"*/0\": a step must be a number within 1-99, not \"0\"",
        ),
        ("a signed step", with_cron("*/+5 9 * * *"), "a step must be a number"),
        ("a step without a number", with_cron("*/ 9 * * *"), "a step must be a number"),
        ("two steps", with_cron("0-30/5/2 9 * * *"), "a step must be a number"),
        ("both day fields", with_cron("0 9 1 * +5"), "\"+5\" is not a name of a day of week"),
        ("the last minute", with_cron("L 9 * * *"), "minute \"L\": \"L\" is not a number"),
        ("the last weekday of nothing", with_cron("0 9 * * L"), "\"L\" is not a name of a day of week"),
        ("near nothing", with_cron("0 9 W * *"), "day of month \"W\": must be *, values"),
        ("thirty-one before the last", with_cron("0 9 L-31 * *"), "31 is not within 1-30"),
        ("a name of no month", with_cron("0 9 * foo *"), "spec.cron: month \"foo\": \"foo\" is not a name of a month"),
        ("a day where a month belongs", with_cron("0 9 * mon *"), "\"mon\" is not a name of a month"),
        ("a long name", with_cron("0 9 * * friday"), "\"friday\" is not a name of a day of week"),
        ("an empty part", with_cron("0,,5 9 * * *"), "spec.cron: minute \"0,,5\": must be *, values, ranges or lists"),
        ("a step of nothing at all", with_cron("/5 9 * * *"), "spec.cron: minute \"/5\": must be *"),
        ("a question mark for an hour", with_cron("0 ? * * *"), "hour \"?\": \"?\" is not a number"),
        ("a star in a list", with_cron("0 *,5 * * *"), "\"*\" is not a number"),
        ("a hash of nothing", with_cron("H() 9 * * *"), "\"H()\" must be H, or H and a range such as H(0-29)"),
        ("a hash backwards", with_cron("H(9-5) 9 * * *"), "runs backwards"),
        ("a hash too far", with_cron("H(0-60) 9 * * *"), "60 is not within 0-59"),
        ("other scripts", with_cron("０ 9 * * *"), "\"０\" is not a number"),
        ("too long", with_cron(&"0,".repeat(200)), "must be at most 256 characters"),
    ]);
}

#[test]
fn a_zone_or_interval_that_means_nothing_is_refused_with_a_hint() {
    let with_interval = |text: &str| refused(&ScheduleSpec { interval: Some(text.into()), ..ScheduleSpec::default() });
    let with_zone = |text: &str| refused(&spec("0 9 * * *", text));
    contains(&[
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
    ]);
}

#[test]
fn times_that_end_before_they_begin_are_refused() {
    let window = |start: &str, end: &str| ScheduleSpec {
        start_time: micro(start),
        end_time: micro(end),
        ..spec("0 9 * * *", "UTC")
    };
    let same = refused(&window("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"));
    assert_eq!(same, "spec.endTime: must be after startTime");
    assert!(read(&window("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z")).is_ok());
}

fn with_seed(expression: &str, seed: &str) -> Timing {
    Timing::parse(&spec(expression, "UTC").timing(Timestamp::UNIX_EPOCH), seed).unwrap()
}

/// The minutes and hours of the times of one day.
fn clock_times(timing: &Timing) -> Vec<(i8, i8)> {
    let due = timing.due(at("2026-01-01T23:59:59Z"), at("2026-01-02T23:59:59Z"), 2_000, 2_000);
    let walls = due.times.into_iter().map(|time| TimeZone::UTC.to_datetime(time));
    walls.map(|wall| (wall.hour(), wall.minute())).collect()
}

#[test]
fn a_hash_is_a_number_of_the_schedule_within_its_range() {
    assert_eq!(clock_times(&with_seed("H H * * *", SEED)), [(10, 57)], "a new hash would move every schedule's times");
    let mut minutes = std::collections::BTreeSet::new();
    for number in 0..500 {
        let seed = format!("uid-{number}");
        let daily = clock_times(&with_seed("H H(1-3) * * *", &seed));
        assert!(matches!(daily[..], [(1..=3, minute)] if minutes.insert(minute) || minute < 60), "{daily:?}");
        let quarters = clock_times(&with_seed("H/15 2 * * *", &seed));
        assert!(quarters.len() == 4 && quarters[0].1 < 15, "{quarters:?}");
        assert!(quarters.windows(2).all(|pair| pair[1].1 - pair[0].1 == 15), "{quarters:?}");
        let some = clock_times(&with_seed("H(30-50)/10 2 * * *", &seed));
        assert!((2..=3).contains(&some.len()) && (30..40).contains(&some[0].1) && some[some.len() - 1].1 <= 50);
        let monthly = with_seed("0 0 H * *", &seed);
        let year =
            monthly.due(at("2026-01-01T00:00:00Z").checked_sub(TICK).unwrap(), at("2026-12-31T00:00:00Z"), 50, 50);
        assert_eq!(year.times.len(), 12, "a hash is a day that every month has");
        assert_eq!(
            with_seed("0 0 * * H", &seed).due(at("2026-01-04T00:00:01Z"), at("2026-01-11T00:00:01Z"), 9, 9).times.len(),
            1
        );
    }
    assert_eq!(minutes.len(), 60, "they are spread over the hour");
}

#[test]
fn a_hash_with_a_step_follows_the_clock_as_a_star_with_a_step_does() {
    let zone = "America/New_York";
    let passes =
        |expression: &str| cron(expression, zone).due(at("2026-11-01T04:59:59Z"), at("2026-11-01T06:59:59Z"), 99, 99);
    assert_eq!(passes("H/30 1 * * *").times.len(), 4);
    assert_eq!(passes("H 1 * * *").times.len(), 1);
    assert_eq!(passes("H(0-29)/30 1 * * *").times.len(), 1);
}

/// The longest searches there are: rare days, in zones with many changes. How long they take is the benchmark's question.
#[test]
fn the_next_time_of_a_rare_pattern_is_found() {
    let rare = [
        ("0 0 29 2 */7", "Africa/Casablanca"),
        ("0 0 29W 2 *", "Europe/London"),
        ("59 59 23 29 2 ?", "America/St_Johns"),
        ("0 0 * 2 1#5", "Africa/El_Aaiun"),
        ("0 0 */28,L 2 3#5", "Europe/Dublin"),
        ("*/5 59 23 L-30 12 *", "Australia/Lord_Howe"),
        ("0 0 1 1 *", "Pacific/Apia"),
    ];
    for (expression, zone) in rare {
        for (gap, overlap) in [(DstGap::Skip, DstOverlap::Last), (DstGap::RunAfter, DstOverlap::First)] {
            let timing = cron_with(expression, zone, gap, overlap);
            for year in [1904, 1972, 2028, 2072, 2096, 2400] {
                let t = at(&format!("{year}-02-29T23:59:59Z"));
                assert!(timing.next_after(t).is_some_and(|next| next > t), "{expression} {zone} {year}");
            }
        }
    }
}
