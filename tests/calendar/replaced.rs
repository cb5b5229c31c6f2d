//! Why `cron` and `chrono-tz` are not what Rota reads expressions and zones with. A test that fails here because the crate
//! got better is a reason to look at it again.

use std::str::FromStr;

use chrono::{DateTime, Datelike, Offset, Utc, Weekday};
use chrono_tz::{America, TZ_VARIANTS};
use cron::Schedule;
use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn first(expression: &str) -> DateTime<Utc> {
    Schedule::from_str(expression).unwrap().after(&utc("2026-01-01T00:00:00Z")).next().unwrap()
}

#[test]
fn cron_reads_no_crontab_expression() {
    assert!(Schedule::from_str("*/5 * * * *").is_err(), "five fields");
    assert_eq!(first("0 0 9 * * 1").weekday(), Weekday::Sun, "1 is Monday in a crontab");
    assert!(Schedule::from_str("0 0 9 * * 0").is_err(), "0 is Sunday in a crontab");
    assert_eq!(first("0 0 9 13 * Fri"), utc("2026-02-13T09:00:00Z"), "in a crontab the first Friday, 2 January");
}

#[test]
fn cron_tells_times_out_of_order_when_the_clock_is_set_back() {
    let start = utc("2026-11-01T04:30:00Z").with_timezone(&America::New_York);
    let schedule = Schedule::from_str("0 */30 * * * *").unwrap();
    let times: Vec<i64> = schedule.after(&start).take(6).map(|time| time.timestamp()).collect();
    assert!(!times.is_sorted(), "{times:?}");
    let ours = crate::timing("*/30 * * * *", "America/New_York", Default::default(), Default::default()).unwrap();
    let ours = crate::next(&ours, start.timestamp(), 6);
    assert!(ours.is_sorted() && ours.windows(2).all(|pair| pair[1] - pair[0] == 1_800), "{ours:?}");
}

/// The zones whose offset differs in the middle of a month of 2026 to 2028.
fn outdated() -> Vec<&'static str> {
    let database = TimeZoneDatabase::bundled();
    let (from, to) = (1_767_225_600, 1_861_920_000);
    let differs = |zone: &chrono_tz::Tz| {
        let ours = database.get(zone.name()).unwrap();
        (from..to).step_by(30 * 86_400).any(|second| {
            let theirs = DateTime::from_timestamp(second, 0).unwrap().with_timezone(zone);
            theirs.offset().fix().local_minus_utc() != ours.to_offset(Timestamp::from_second(second).unwrap()).seconds()
        })
    };
    TZ_VARIANTS
        .iter()
        .filter(|zone| database.get(zone.name()).is_ok() && differs(zone))
        .map(|zone| zone.name())
        .collect()
}

#[test]
fn chrono_tz_has_zones_as_they_were() {
    let (theirs, ours) = (chrono_tz::IANA_TZDB_VERSION, rota::domain::calendar::zone_database_version());
    assert!(theirs < ours, "{theirs} is not older than {ours}");
    let outdated = outdated();
    println!("chrono-tz {theirs} is wrong about {} zones: {}", outdated.len(), outdated.join(", "));
    assert!(!outdated.is_empty());
}
