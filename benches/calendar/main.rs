//! How long the calendar takes for the next time: at most a microsecond for usual expressions, at most a millisecond for
//! any that is accepted. It fails when that is not so.
//!
//! Each line is the fastest of several rounds, which is what the code takes on a machine that also does other things, and
//! the slowest single call of them, from a fresh start in the zone each.

// The lint's own exception for tests covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rota::api::ScheduleSpec;
use rota::api::schedule::{DstGap, DstOverlap, DstPolicy};
use rota::domain::calendar::Timing;

/// How long the next time of a usual expression may take.
const USUAL_MAX: Duration = Duration::from_micros(1);
/// How long the next time of any expression may take.
const ANY_MAX: Duration = Duration::from_millis(1);
/// How many calls a round has.
const CALLS: u32 = 2_000;
/// How many rounds there are.
const ROUNDS: usize = 15;

/// What people write.
const USUAL: [(&str, &str); 8] = [
    ("*/5 * * * *", "UTC"),
    ("0 * * * *", "Europe/Berlin"),
    ("30 2 * * *", "America/New_York"),
    ("0 9 * * 1-5", "Europe/London"),
    ("@daily", "Asia/Kolkata"),
    ("0 0 1 * *", "Asia/Tokyo"),
    ("H/15 * * * *", "America/Sao_Paulo"),
    ("*/10 * * * * *", "Australia/Lord_Howe"),
];

/// What takes the longest: days that are decades apart, in zones whose clocks change often.
const HOSTILE: [(&str, &str); 10] = [
    ("0 0 29 2 */7", "Africa/Casablanca"),
    ("0 0 29 2 */7", "America/St_Johns"),
    ("0 0 29 2 */7", "Europe/Dublin"),
    ("59 59 23 29 2 *", "Antarctica/Troll"),
    ("0 0 */28,L 2 3#5", "America/Havana"),
    ("0 0 */31,29W 2 1L", "Africa/El_Aaiun"),
    ("5,4,3,2,1,0 0 0 L-30,LW,31W 12 0L,1#5,2#5", "Australia/Lord_Howe"),
    ("0-59 0-23 1-31 1-12 0-7", "Africa/Casablanca"),
    ("0 0 1 1 *", "Pacific/Apia"),
    ("0 0 30W */11 *", "Asia/Gaza"),
];

fn timing(expression: &str, zone: &str, gap: DstGap, overlap: DstOverlap, jitter: Option<i32>) -> Timing {
    let spec = ScheduleSpec {
        cron: Some(expression.to_owned()),
        time_zone: Some(zone.to_owned()),
        dst: Some(DstPolicy { gap: Some(gap), overlap: Some(overlap) }),
        jitter_seconds: jitter,
        ..ScheduleSpec::default()
    };
    Timing::parse(&spec.timing(Timestamp::UNIX_EPOCH), "some-uid").unwrap_or_else(|error| panic!("{error}"))
}

/// The mean of the fastest round, and the slowest place: for each start the fastest of the rounds, and of these the slowest.
fn measure<Answer>(call: impl Fn(Timestamp) -> Answer) -> (Duration, Duration) {
    let first: Timestamp = "1972-03-01T00:00:00Z".parse().unwrap();
    // Starts through 130 years, at no particular time of the day.
    let step = SignedDuration::from_secs(130 * 365 * 86_400 / i64::from(CALLS) + 12_347);
    let starts: Vec<Timestamp> = (0..CALLS.cast_signed()).map(|index| first + step * index).collect();
    let mut each = vec![Duration::MAX; starts.len()];
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for start in &starts {
            black_box(call(*start));
        }
        fastest = fastest.min(began.elapsed() / CALLS);
        for (start, best) in starts.iter().zip(&mut each) {
            let began = Instant::now();
            black_box(call(*start));
            *best = (*best).min(began.elapsed());
        }
    }
    (fastest, each.into_iter().max().unwrap_or_default())
}

fn main() {
    let mut too_slow = Vec::new();
    let mut check = |what: String, (mean, slowest): (Duration, Duration), mean_max: Duration| {
        println!("{what:<62} mean {:>9.3} µs   slowest {:>9.3} µs", micros(mean), micros(slowest));
        if mean > mean_max || slowest > ANY_MAX {
            too_slow.push(what);
        }
    };
    for (expression, zone) in USUAL {
        let usual = timing(expression, zone, DstGap::RunAfter, DstOverlap::First, None);
        let next = measure(|start| usual.next_after(black_box(start)));
        check(format!("next  {expression} {zone}"), next, USUAL_MAX);
    }
    for (expression, zone) in HOSTILE {
        for (gap, overlap) in [(DstGap::RunAfter, DstOverlap::First), (DstGap::Skip, DstOverlap::Last)] {
            let hostile = timing(expression, zone, gap, overlap, None);
            let next = measure(|start| hostile.next_after(black_box(start)));
            check(format!("next  {expression} {zone} {gap:?} {overlap:?}"), next, ANY_MAX);
        }
        let jittered = timing(expression, zone, DstGap::RunAfter, DstOverlap::First, Some(86_400));
        let fires = measure(|start| jittered.fires_at(black_box(start)));
        check(format!("fires {expression} {zone}"), fires, ANY_MAX);
        let affected = measure(|start| jittered.next_affected(black_box(start)));
        check(format!("affected {expression} {zone}"), affected, ANY_MAX);
    }
    let parse = measure(|_| timing("0 9 * * 1-5", "Europe/London", DstGap::Skip, DstOverlap::Both, None));
    check("parse 0 9 * * 1-5 Europe/London".to_owned(), parse, ANY_MAX);
    // For comparison only: the same leap days on a Sunday by croner, which spells it differently.
    let croner = croner::parser::CronParser::builder().build().parse("0 0 29 2 +0").unwrap();
    let zone = jiff::tz::TimeZoneDatabase::bundled().get("America/St_Johns").unwrap();
    let (mean, slowest) = measure(|start| croner.find_next_occurrence(&black_box(start).to_zoned(zone.clone()), false));
    println!(
        "{:<62} mean {:>9.3} µs   slowest {:>9.3} µs",
        "croner 0 0 29 2 +0 America/St_Johns",
        micros(mean),
        micros(slowest)
    );
    assert!(too_slow.is_empty(), "too slow: {too_slow:#?}");
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
