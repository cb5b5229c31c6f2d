//! Expressions and intervals against brute force.

use jiff::civil::DateTime;

use super::*;

/// An expression, read and matched minute by minute without the code under test.
struct Oracle {
    fields: Vec<Vec<bool>>,
    star: bool,
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
            star: words[2].starts_with('*') || words[4].starts_with('*'),
            fixed: !words[..2].iter().any(|word| word.starts_with('*')),
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
        let day = if self.star { month_day && week_day } else { month_day || week_day };
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
    let day = prop::sample::select(vec!["*", "*", "*/2", "1-15", "8", "1,29,31", "*/9,30"]);
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
        let due = cron(&expression, zone).due(from, to, 10_000, 10_000);
        prop_assert_eq!(due.times, expected, "{} {}", expression, zone);
    }

    #[test]
    fn keeping_and_counting_agree_with_the_whole_list(
        expression in expression(), zone in zone(), second in 1_735_689_600i64..1_798_761_600, keep in 0usize..40,
    ) {
        let (from, to) = days(zone, second);
        let timing = cron(&expression, zone);
        let all = timing.due(from, to, 10_000, 10_000).times;
        let due = timing.due(from, to, keep, 10_000);
        let split = all.len().saturating_sub(keep);
        prop_assert_eq!(&due.times, &all[split..]);
        prop_assert_eq!(due.skipped, split as u64);
        prop_assert_eq!(due.first, all.first().copied());
        prop_assert_eq!(due.last_skipped, all[..split].last().copied());
        // Coming again for the rest, as often as there is more, loses and repeats nothing.
        let (mut after, mut counted) = (from, 0);
        let mut rest = timing.due(after, to, keep.min(10), 20);
        while rest.more {
            prop_assert_eq!((rest.skipped, &rest.times), (10, &vec![]));
            prop_assert_eq!(rest.first, timing.next_after(after));
            counted += rest.skipped;
            after = rest.last_skipped.unwrap();
            rest = timing.due(after, to, keep.min(10), 20);
        }
        prop_assert_eq!(counted + rest.skipped + rest.times.len() as u64, all.len() as u64);
        prop_assert!(rest.times.len() >= keep.min(10).min(all.len()));
    }

    #[test]
    fn intervals_agree_with_adding_them_up(
        seconds in 1i64..5_000, created in -100_000i64..100_000, from in -200_000i64..200_000, length in 0i64..20_000,
        keep in 0usize..20,
    ) {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let spec = ScheduleSpec { interval: Some(format!("{seconds}s")), ..ScheduleSpec::default() };
        let timing = Timing::parse(&spec.timing(at(created)), SEED).unwrap();
        let sums = (0..).map(|number| created + number * seconds);
        let all: Vec<Timestamp> =
            sums.skip_while(|time| *time <= from).take_while(|time| *time <= from + length).map(at).collect();
        let due = timing.due(at(from), at(from + length), keep, 1);
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
            if let Ok(timing) = Timing::parse(&spec.timing(t), SEED) {
                timing.next_after(t);
                timing.next_after(Timestamp::MIN);
                timing.next_after(Timestamp::MAX);
            }
        }
    }

    #[test]
    fn what_looks_like_cron_is_read_or_refused(
        fields in prop::collection::vec("[0-9*,/?A-Z#()-]{1,6}", 5..7), second in 0i64..4_000_000_000,
    ) {
        let t = Timestamp::from_second(second).unwrap();
        if let Ok(timing) = read(&spec(&fields.join(" "), "America/New_York")) {
            prop_assert!(timing.next_after(t).is_some_and(|next| next > t));
        }
    }
}

/// What croner, another reader of cron, says of days in UTC. It counts a day of the month with a step as restricted.
fn croner_next(expression: &str, t: Timestamp) -> Timestamp {
    let parser = croner::parser::CronParser::builder().sloppy_ranges(true).build();
    let pattern = parser.parse(expression).unwrap();
    pattern.find_next_occurrence(&t.to_zoned(TimeZone::UTC), false).unwrap().timestamp()
}

fn days_of_months() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        (1u32..32).prop_map(|day| day.to_string()),
        (1u32..29).prop_map(|day| format!("{day}W")),
        prop::sample::select(vec!["L", "LW", "1-9/4", "20/3"]).prop_map(str::to_owned),
    ];
    prop_oneof![2 => Just("*".to_owned()), 3 => prop::collection::vec(part, 1..3).prop_map(|parts| parts.join(","))]
}

fn days_of_weeks() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        (0u32..8).prop_map(|day| day.to_string()),
        (0u32..7, 1u32..6).prop_map(|(day, turn)| format!("{day}#{turn}")),
        (0u32..7).prop_map(|day| format!("{day}L")),
        prop::sample::select(vec!["mon-fri", "sat-sun", "Tue"]).prop_map(str::to_owned),
    ];
    prop_oneof![2 => Just("*".to_owned()), 3 => prop::collection::vec(part, 1..3).prop_map(|parts| parts.join(","))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn days_agree_with_another_reader_of_cron(
        day in days_of_months(), month in prop::sample::select(vec!["*", "2", "4,6", "*/5"]), week_day in days_of_weeks(),
        second in 0i64..4_000_000_000,
    ) {
        // With LW or both an L and a W in one field, croner drops the L.
        prop_assume!(!(day.contains('L') && day.contains('W') && day != "LW"));
        let expression = format!("13 45 17 {day} {month} {week_day}");
        let mut t = Timestamp::from_second(second).unwrap();
        if let Ok(timing) = read(&spec(&expression, "UTC")) {
            for _ in 0..3 {
                let next = timing.next_after(t).unwrap();
                prop_assert_eq!(next, croner_next(&expression, t), "{}", expression);
                t = next;
            }
        }
    }
}
