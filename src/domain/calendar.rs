//! Calendar: at which instants a schedule's timing comes true.
//!
//! Cron is read as crontab(5) does, in a zone of the database that is built in, and daylight saving is treated as cron(8)
//! does. A fixed time (neither minute nor hour is `*` or `*/n`) runs once a day: one that the clock jumps over runs at the
//! moment of the jump, one that comes twice runs the first time. A time with a wildcard follows the clock: what is jumped
//! over does not exist, what comes twice runs twice. An interval is elapsed time from the creation of the schedule.
//! Nothing here knows what is done about an instant.

use std::collections::VecDeque;
use std::fmt;
use std::sync::LazyLock;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::api::ScheduleSpec;

/// The longest expression that is read, in bytes; the schema allows no longer one.
const CRON_BYTES_MAX: usize = 256;
/// How many hexadecimal digits a digest of a timing has.
const DIGEST_LENGTH: usize = 16;
/// The shortest interval, in seconds.
const INTERVAL_SECONDS_MIN: i64 = 1;
/// How far back from its end a range is first searched for its last times of an expression, in seconds. It doubles
/// until enough are found.
const TAIL_SECONDS: i64 = 86_400;
/// How many times of an expression are passed over in search of the next one: those that a change of the clock maps to
/// instants that have passed. It is more than the minutes of the longest change.
const PASSED_MAX: usize = 3_000;

/// The zones that Rota carries. The system's database may be years old, and differs from node to node.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// When a schedule's times are.
#[derive(Clone, Debug)]
pub enum Timing {
    /// At the times of a crontab expression.
    Cron {
        /// The expression, with single spaces.
        expression: String,
        /// What it matches.
        pattern: Box<Cron>,
        /// Whether neither minute nor hour is a wildcard.
        fixed: bool,
        /// The zone in which it is read.
        zone: TimeZone,
    },
    /// At equal distances from an anchor.
    Interval {
        /// The distance; at least a second.
        every: SignedDuration,
        /// The instant from which it is counted; the first time is one distance later.
        anchor: Timestamp,
    },
    /// Once.
    At {
        /// When.
        instant: Timestamp,
    },
}

/// What is wrong with a timing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct TimingError {
    /// The field to correct.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// The times that are due in a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The last ones, in order.
    pub times: Vec<Timestamp>,
    /// How many there are before those. At the limit of the count of an expression it is a lower bound.
    pub skipped: u64,
    /// The first one of the range, which is among the skipped if any were.
    pub first: Option<Timestamp>,
    /// The last of the skipped ones.
    pub last_skipped: Option<Timestamp>,
}

impl Timing {
    /// Reads the timing of a schedule that was created at that instant.
    pub fn parse(spec: &ScheduleSpec, created: Timestamp) -> Result<Self, TimingError> {
        match (&spec.cron, &spec.interval, &spec.at) {
            (Some(cron), None, None) => parse_cron(cron, spec.time_zone.as_deref()),
            (None, Some(interval), None) => {
                Ok(Self::Interval { every: parse_interval(interval)?, anchor: microseconds(created) })
            }
            (None, None, Some(at)) => Ok(Self::At { instant: microseconds(at.0) }),
            _ => Err(error("spec", "exactly one of cron, interval and at must be set")),
        }
    }

    /// The first time after `t`; absent if none comes any more.
    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { pattern, fixed: true, zone, .. } => next_fixed(pattern, zone, t),
            Self::Cron { pattern, fixed: false, zone, .. } => next_wildcard(pattern, zone, t),
            Self::Interval { every, anchor } => interval_time(*every, *anchor, intervals(*every, *anchor, t) + 1),
            Self::At { instant } => (*instant > t).then_some(*instant),
        }
    }

    /// The times after `after` up to and including `until_inclusive`: the last `keep` of them, and how many came before.
    /// No more than about `scan_max` times of an expression are counted.
    pub fn latest_and_count(&self, after: Timestamp, until_inclusive: Timestamp, keep: usize, scan_max: u64) -> Due {
        match self {
            Self::Cron { .. } => self.scan(after, until_inclusive, keep, scan_max),
            Self::Interval { every, anchor } => due_intervals(*every, *anchor, (after, until_inclusive), keep),
            Self::At { instant } => {
                let due = (*instant > after && *instant <= until_inclusive).then_some(*instant);
                let kept = due.filter(|_| keep > 0);
                let skipped = due.filter(|_| keep == 0);
                Due {
                    times: kept.into_iter().collect(),
                    skipped: u64::from(skipped.is_some()),
                    first: due,
                    last_skipped: skipped,
                }
            }
        }
    }

    /// The timing in one line, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Cron { expression, zone, .. } => format!("{expression} {}", zone_name(zone)),
            Self::Interval { every, .. } => format!("every {}", interval_text(*every)),
            Self::At { instant } => format!("once at {instant}"),
        }
    }

    /// A short text that differs if and only if the timing differs.
    pub fn digest(&self) -> String {
        let text = match self {
            Self::Cron { expression, zone, .. } => {
                format!("cron {} {}", expression.to_ascii_uppercase(), zone_name(zone))
            }
            Self::Interval { every, .. } => format!("interval {}", every.as_secs()),
            Self::At { instant } => format!("at {instant}"),
        };
        let digest: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        digest.chars().take(DIGEST_LENGTH).collect()
    }

    /// An instant as RFC 3339 with the offset of the schedule's zone.
    pub fn local(&self, t: Timestamp) -> String {
        match self {
            Self::Cron { zone, .. } if *zone != TimeZone::UTC => t.display_with_offset(zone.to_offset(t)).to_string(),
            _ => t.to_string(),
        }
    }

    /// Goes through the times of an expression, and when there are too many to count starts again near the end.
    fn scan(&self, after: Timestamp, until: Timestamp, keep: usize, scan_max: u64) -> Due {
        let mut due = Due::default();
        let mut kept = VecDeque::new();
        let mut at = after;
        let mut scanned = 0;
        while let Some(time) = self.next_after(at).filter(|time| *time <= until) {
            if scanned == scan_max {
                return self.tail(due, after, until, keep);
            }
            due.first.get_or_insert(time);
            kept.push_back(time);
            if kept.len() > keep {
                due.last_skipped = kept.pop_front();
                due.skipped += 1;
            }
            at = time;
            scanned += 1;
        }
        due.times = kept.into();
        due
    }

    /// The last times of a range too long to go through; what was counted of the others is a lower bound.
    fn tail(&self, mut due: Due, after: Timestamp, until: Timestamp, keep: usize) -> Due {
        let mut width = SignedDuration::from_secs(TAIL_SECONDS);
        loop {
            let start = until.checked_sub(width).unwrap_or(Timestamp::MIN).max(after);
            let mut kept = VecDeque::new();
            let mut at = start;
            while let Some(time) = self.next_after(at).filter(|time| *time <= until) {
                kept.push_back(time);
                if kept.len() > keep + 1 {
                    kept.pop_front();
                }
                at = time;
            }
            if kept.len() > keep || start == after {
                due.skipped = due.skipped.max(u64::from(kept.len() > keep));
                if kept.len() > keep {
                    due.last_skipped = kept.pop_front();
                }
                due.times = kept.into();
                return due;
            }
            width = width.saturating_mul(2);
        }
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.describe())
    }
}

fn error(field: &'static str, message: impl Into<String>) -> TimingError {
    TimingError { field, message: message.into() }
}

/// An instant as objects carry it, so that what is written as accounted for is not due again when it is read back.
fn microseconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(instant.as_microsecond()).unwrap_or(instant)
}

// Cron.

/// The fields of an expression, as people call them.
const FIELDS: [&str; 5] = ["minute", "hour", "day of month", "month", "day of week"];
/// The length of each month in the longest year, in days.
const MONTH_DAYS: [u16; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

fn parse_cron(text: &str, zone: Option<&str>) -> Result<Timing, TimingError> {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    if text.len() > CRON_BYTES_MAX {
        return Err(error("spec.cron", format!("must be at most {CRON_BYTES_MAX} characters")));
    }
    if fields.len() != FIELDS.len() {
        let found = fields.len();
        return Err(error(
            "spec.cron",
            format!(
                "must be five fields, minute, hour, day of month, month and day of week, for example \"0 9 * * 1-5\"; found {found}"
            ),
        ));
    }
    for (index, (field, name)) in fields.iter().zip(FIELDS).enumerate() {
        check_field(index, field).map_err(|why| error("spec.cron", format!("{name} {field:?}: {why}")))?;
    }
    let expression = fields.join(" ");
    let pattern = parser().parse(&expression).map_err(|why| error("spec.cron", reason(&why)))?;
    if matches!(fields.last(), Some(&("*" | "?"))) && never_matches(&pattern) {
        return Err(error("spec.cron", format!("never matches: no month of {expression:?} has such a day")));
    }
    let fixed = fields.iter().take(2).all(|field| !field.split(',').any(|part| part.starts_with('*')));
    Ok(Timing::Cron { expression, pattern: Box::new(pattern), fixed, zone: find_zone(zone)? })
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).sloppy_ranges(true).build()
}

/// Checks one field alone, so that the message can name it, and refuses what crontab does not know.
fn check_field(index: usize, field: &str) -> Result<(), String> {
    let parts_ok = field.split(',').all(|part| !part.is_empty() && !part.starts_with(['/', '-']));
    let days = matches!(index, 2 | 4);
    let names = matches!(index, 3 | 4);
    let strange = field.chars().find(|character| match character {
        '0'..='9' | '*' | ',' | '-' | '/' => false,
        '?' => !days,
        character => !(names && character.is_ascii_alphabetic()),
    });
    if let Some(character) = strange {
        return Err(format!("{character:?} has no meaning here"));
    }
    let is_word = |word: &&str| word.chars().any(|character| character.is_ascii_alphabetic());
    if let Some(word) = field.split([',', '-', '/', '*', '?']).filter(is_word).find(|word| !is_name(index, word)) {
        return Err(format!("{word:?} is not a name of a {}", if index == 3 { "month" } else { "day" }));
    }
    if !parts_ok {
        return Err("must be *, values, ranges or lists of them, each with an optional /step".into());
    }
    let alone: Vec<&str> = (0..FIELDS.len()).map(|other| if other == index { field } else { "*" }).collect();
    parser().parse(&alone.join(" ")).map(|_| ()).map_err(|why| reason(&why))
}

fn is_name(index: usize, word: &str) -> bool {
    const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    let names: &[&str] = if index == 3 { &MONTHS } else { &DAYS };
    names.iter().any(|name| name.eq_ignore_ascii_case(word))
}

/// The parser's words, without its own prefix and full stop.
fn reason(why: &croner::errors::CronError) -> String {
    let text = why.to_string();
    let text =
        text.strip_prefix("Component error: ").or_else(|| text.strip_prefix("Invalid pattern: ")).unwrap_or(&text);
    let text = text.trim_end_matches('.');
    let mut characters = text.chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

/// Whether no month that the pattern names has a day that it names. It is asked for patterns of any day of the week only:
/// where days of the week are named, one of them or a named day of the month is enough.
fn never_matches(cron: &Cron) -> bool {
    let pattern = &cron.pattern;
    let earliest = pattern.days.values().into_iter().min().unwrap_or_default();
    let mut months = pattern.months.values().into_iter();
    !months.any(|month| MONTH_DAYS.get(usize::from(month).wrapping_sub(1)).is_some_and(|days| earliest <= *days))
}

/// The next time of a pattern with a wildcard: it follows the clock on the wall.
fn next_wildcard(pattern: &Cron, zone: &TimeZone, t: Timestamp) -> Option<Timestamp> {
    let found = pattern.find_next_occurrence(&t.to_zoned(zone.clone()), false).ok()?;
    Some(found.timestamp()).filter(|found| *found > t)
}

/// The next time of a fixed pattern. Each time on the wall stands for one instant, and later times never for earlier
/// instants, so the first one that lies ahead is the next.
fn next_fixed(pattern: &Cron, zone: &TimeZone, t: Timestamp) -> Option<Timestamp> {
    let mut wall = zone.to_datetime(t);
    for _ in 0..PASSED_MAX {
        wall = pattern.find_next_occurrence(&wall, false).ok()?;
        let instant = fixed_instant(zone, wall)?;
        if instant > t {
            return Some(instant);
        }
    }
    None
}

/// The one instant of a time on the wall: the first of two, and the moment of the jump for a time that is jumped over.
fn fixed_instant(zone: &TimeZone, wall: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(wall);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
        AmbiguousOffset::Gap { .. } => {
            // Read with the offset of before, the time lies after the jump.
            let after = ambiguous.later().ok()?;
            zone.preceding(after.checked_add(SignedDuration::from_nanos(1)).ok()?).next().map(|jump| jump.timestamp())
        }
    }
}

// Zones.

fn find_zone(name: Option<&str>) -> Result<TimeZone, TimingError> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    match ZONES.get(name) {
        Ok(zone) if zone.iana_name().is_some() => Ok(zone),
        _ => {
            let hint = closest_zone(name).map(|zone| format!("; did you mean {zone}?")).unwrap_or_default();
            Err(error("spec.timeZone", format!("{name:?} is not a time zone of the IANA database{hint}")))
        }
    }
}

fn zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}

/// The zone whose name, or whose name's last part, is the most like the given one.
fn closest_zone(name: &str) -> Option<String> {
    let wanted = name.to_ascii_lowercase().replace(' ', "_");
    let distance = |zone: &str| {
        let zone = zone.to_ascii_lowercase();
        let last = zone.rsplit('/').next().unwrap_or_default();
        let wanted_last = wanted.rsplit('/').next().unwrap_or_default();
        super::params::edit_distance(&zone, &wanted).min(super::params::edit_distance(last, wanted_last) + 1)
    };
    let allowed = 1 + wanted.len() / 5;
    ZONES
        .available()
        .map(|zone| (distance(zone.as_str()), zone.as_str().to_owned()))
        .filter(|(distance, zone)| *distance <= allowed && zone.contains('/'))
        .min()
        .map(|(_, zone)| zone)
}

// Intervals.

/// Reads hours, minutes and seconds, in this order, such as `1h30m`.
fn parse_interval(text: &str) -> Result<SignedDuration, TimingError> {
    let wrong = || {
        let message = format!("{text:?} must be hours, minutes and seconds, for example 90s, 15m or 1h30m");
        error("spec.interval", message)
    };
    let mut rest = text;
    let mut seconds = 0;
    for (unit, unit_seconds, digits_max) in [('h', 3_600, 6), ('m', 60, 6), ('s', 1, 8)] {
        let Some((number, after)) = rest.split_once(unit) else { continue };
        if number.is_empty() || number.len() > digits_max || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        seconds += number.parse::<i64>().map_err(|_| wrong())? * unit_seconds;
        rest = after;
    }
    if text.is_empty() || !rest.is_empty() {
        return Err(wrong());
    }
    if seconds < INTERVAL_SECONDS_MIN {
        return Err(error("spec.interval", format!("{text:?} must be at least one second")));
    }
    Ok(SignedDuration::from_secs(seconds))
}

fn interval_text(every: SignedDuration) -> String {
    let seconds = every.as_secs();
    let parts = [(seconds / 3_600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    parts.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect()
}

/// The number of the last time of an interval up to and including `t`; 0 if there is none.
fn intervals(every: SignedDuration, anchor: Timestamp, t: Timestamp) -> i128 {
    let elapsed = t.as_nanosecond() - anchor.as_nanosecond();
    elapsed.max(0) / every.as_nanos().max(1)
}

fn interval_time(every: SignedDuration, anchor: Timestamp, number: i128) -> Option<Timestamp> {
    Timestamp::from_nanosecond(anchor.as_nanosecond() + every.as_nanos() * number).ok()
}

fn due_intervals(every: SignedDuration, anchor: Timestamp, range: (Timestamp, Timestamp), keep: usize) -> Due {
    let first = intervals(every, anchor, range.0) + 1;
    let last = intervals(every, anchor, range.1);
    if last < first {
        return Due::default();
    }
    let kept = i128::try_from(keep).unwrap_or(i128::MAX).min(last - first + 1);
    let skipped = last - first + 1 - kept;
    Due {
        times: (first + skipped..=last).filter_map(|number| interval_time(every, anchor, number)).collect(),
        skipped: u64::try_from(skipped).unwrap_or(u64::MAX),
        first: interval_time(every, anchor, first),
        last_skipped: (skipped > 0).then(|| interval_time(every, anchor, first + skipped - 1)).flatten(),
    }
}

#[cfg(test)]
mod tests;
