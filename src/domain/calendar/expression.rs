//! Expression: which times on the wall a crontab expression names. It knows no zone.
//!
//! Five fields are read as crontab(5) says, to which come seconds in front, `L`, `W`, `#` and `H`. When both day fields
//! are restricted, either may match; a field that begins with `*` counts as not restricted, also with a step, as in
//! cron(8), so that `*/2` and a weekday must both match. `H` is a number of the schedule's own within the field's range.

use jiff::civil::{Date, DateTime};

use super::days::Days;
use super::spread;

/// The longest expression that is read, in bytes; the schema allows no longer one.
const EXPRESSION_BYTES_MAX: usize = 256;
/// How many seconds of a minute an expression may name.
const SECONDS_NAMED_MAX: u32 = 12;
/// The largest step.
const STEP_MAX: u32 = 99;
/// How many months are searched for the next day. 29 February falls on a given weekday at least once in 40 years.
const MONTHS_SEARCHED_MAX: usize = 12 * 41;

/// One field: what it is called, its numbers, and up to which of them `H` may choose.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    hash_max: u32,
    words: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const SECOND: Field = Field { name: "second", min: 0, max: 59, hash_max: 59, words: &[] };
const MINUTE: Field = Field { name: "minute", min: 0, max: 59, hash_max: 59, words: &[] };
const HOUR: Field = Field { name: "hour", min: 0, max: 23, hash_max: 23, words: &[] };
const DAY: Field = Field { name: "day of month", min: 1, max: 31, hash_max: 28, words: &[] };
const MONTH: Field = Field { name: "month", min: 1, max: 12, hash_max: 12, words: &MONTHS };
/// Sunday is 0 or 7; a `*` and a step without end stop at Saturday.
const WEEKDAY: Field = Field { name: "day of week", min: 0, max: 7, hash_max: 6, words: &WEEKDAYS };

/// What is said of a zone in an expression, of `@reboot` and of `@every`, here and at admission.
const ZONE_INSIDE: &str = "the zone belongs into spec.timeZone";
const REBOOT: &str = "@reboot has no meaning in a cluster, which does not start; create a Job instead";
const EVERY: &str = "@every is not a time of the calendar; use spec.interval, for example interval: 90m";

/// What the nicknames stand for.
const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// A crontab expression. In each mask the bit of a number stands for the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expression {
    /// As it was written, with single spaces.
    pub text: String,
    /// Whether neither minute nor hour begins with a wildcard.
    pub is_fixed: bool,
    seconds: u64,
    minutes: u64,
    hours: u64,
    months: u64,
    days: Days,
}

impl Expression {
    /// Reads an expression for the schedule with that seed. The error says what is wrong and in which field.
    pub fn parse(text: &str, seed: &str) -> Result<Self, String> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("must be at most {EXPRESSION_BYTES_MAX} characters"));
        }
        let text = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let meaning = expand(&text)?;
        let mut words: Vec<&str> = meaning.split(' ').collect();
        if words.len() == 5 {
            words.insert(0, "0");
        }
        let [second, minute, hour, day, month, weekday] = words[..] else {
            let found = if meaning.is_empty() { 0 } else { words.len() };
            return Err(format!(
                "must be five fields, minute, hour, day of month, month and day of week, for example \"0 9 * * 1-5\", or six with seconds first; found {found}"
            ));
        };
        let read = |field: &Field, word| read_plain(field, word, seed);
        let is_wildcard = |word: &str| word.starts_with('*') || word.get(..2).is_some_and(is_hash_step);
        let expression = Self {
            is_fixed: !is_wildcard(minute) && !is_wildcard(hour),
            seconds: read(&SECOND, second)?,
            minutes: read(&MINUTE, minute)?,
            hours: read(&HOUR, hour)?,
            months: read(&MONTH, month)?,
            days: read_days(day, weekday, seed)?,
            text: text.clone(),
        };
        let named = expression.seconds.count_ones();
        if named > SECONDS_NAMED_MAX {
            return Err(format!(
                "second {second:?}: names {named} seconds of a minute, and at most {SECONDS_NAMED_MAX} are allowed, one each five seconds; use interval for more"
            ));
        }
        if !expression.days.exist_in(expression.months) {
            return Err(format!("never matches: no month of {text:?} has such a day"));
        }
        Ok(expression)
    }

    /// The first time that is named, from `from` on, which is a whole second.
    pub fn next(&self, from: DateTime) -> Option<DateTime> {
        let today = from.date();
        if self.days_of(today) >> bit(today.day()) & 1 == 1
            && let Some(found) = self.time_from(from)
        {
            return Some(found);
        }
        let day = self.day_after(today)?;
        self.time_from(day.at(0, 0, 0, 0))
    }

    /// The first time of that day that is named, from `from` on.
    fn time_from(&self, from: DateTime) -> Option<DateTime> {
        let (hour, minute, second) = (bit(from.hour()), bit(from.minute()), bit(from.second()));
        let (first_minute, first_second) = (next_one(self.minutes, 0)?, next_one(self.seconds, 0)?);
        let (hour, minute, second) = if self.hours >> hour & 1 == 0 {
            (next_one(self.hours, hour)?, first_minute, first_second)
        } else if let Some(second) = next_one(self.seconds, second).filter(|_| self.minutes >> minute & 1 == 1) {
            (hour, minute, second)
        } else if let Some(minute) = next_one(self.minutes, minute + 1) {
            (hour, minute, first_second)
        } else {
            (next_one(self.hours, hour + 1)?, first_minute, first_second)
        };
        let small = |number: u32| i8::try_from(number).ok();
        Some(from.date().at(small(hour)?, small(minute)?, small(second)?, 0))
    }

    /// The first day after that one that is named.
    fn day_after(&self, day: Date) -> Option<Date> {
        let mut first = day.first_of_month();
        let mut days = self.days_of(first) & u32::MAX.checked_shl(bit(day.day()) + 1).unwrap_or_default();
        for _ in 0..MONTHS_SEARCHED_MAX {
            if days != 0 {
                return Date::new(first.year(), first.month(), i8::try_from(days.trailing_zeros()).ok()?).ok();
            }
            let (year, month) =
                if first.month() == 12 { (first.year() + 1, 1) } else { (first.year(), first.month() + 1) };
            first = Date::new(year, month, 1).ok()?;
            days = self.days_of(first);
        }
        None
    }

    /// The days of a day's month that are named.
    fn days_of(&self, day: Date) -> u32 {
        if self.months >> bit(day.month()) & 1 == 0 {
            return 0;
        }
        let first = bit(day.first_of_month().weekday().to_sunday_zero_offset());
        self.days.of_month(first, bit(day.days_in_month()))
    }
}

/// A number of the clock or the calendar, which is never negative.
fn bit(number: i8) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

/// The first number of a mask from `from` on.
fn next_one(mask: u64, from: u32) -> Option<u32> {
    let rest = mask.checked_shr(from).unwrap_or_default();
    (rest != 0).then(|| from + rest.trailing_zeros())
}

/// The fields that a nickname stands for, and any other text as it is.
fn expand(text: &str) -> Result<&str, String> {
    if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        return Err(ZONE_INSIDE.into());
    }
    if !text.starts_with('@') {
        return Ok(text);
    }
    let name = text.split(' ').next().unwrap_or_default();
    let known = NICKNAMES.iter().find(|(nickname, _)| nickname.eq_ignore_ascii_case(text));
    match known {
        Some((_, fields)) => Ok(fields),
        None if name.eq_ignore_ascii_case("@reboot") => Err(REBOOT.into()),
        None if name.eq_ignore_ascii_case("@every") => Err(EVERY.into()),
        None => {
            let names: Vec<&str> = NICKNAMES.iter().map(|(nickname, _)| *nickname).collect();
            Err(format!("{text:?} is not one of {}", names.join(", ")))
        }
    }
}

// Fields.

fn read_plain(field: &Field, word: &str, seed: &str) -> Result<u64, String> {
    read_field(field, word, seed, |part| read_part(field, part, seed))
}

/// Reads each part of a field.
fn read_field(
    field: &Field,
    word: &str,
    seed: &str,
    mut read: impl FnMut(&str) -> Result<u64, String>,
) -> Result<u64, String> {
    let said = |why: String| format!("{} {word:?}: {why}", field.name);
    let is_day = matches!(field.name, "day of month" | "day of week");
    if word == "*" || (word == "?" && is_day) {
        return read_part(field, "*/1", seed).map_err(said);
    }
    let mut mask = 0;
    for part in word.split(',') {
        mask |= read(part).map_err(said)?;
    }
    Ok(mask)
}

fn read_days(day: &str, weekday: &str, seed: &str) -> Result<Days, String> {
    let mut days = Days::default();
    let numbers = read_field(&DAY, day, seed, |part| read_day(&mut days, part, seed))?;
    let weekdays = read_field(&WEEKDAY, weekday, seed, |part| read_weekday(&mut days, part, seed))?;
    days.numbers = narrow(numbers);
    days.weekdays = week(weekdays);
    days.both = [day, weekday].iter().any(|word| word.starts_with(['*', '?']));
    Ok(days)
}

/// Reads a part of the day of month: `L`, `L-3`, `LW`, `15W`, or what any field knows.
fn read_day(days: &mut Days, part: &str, seed: &str) -> Result<u64, String> {
    let part = part.to_ascii_uppercase();
    if part == "L" {
        days.before_last |= 1;
    } else if part == "LW" {
        days.last_working = true;
    } else if let Some(back) = part.strip_prefix("L-") {
        let before = Field { name: "", min: 1, max: 30, hash_max: 30, words: &[] };
        days.before_last |= 1 << read_value(&before, back)?;
    } else if let Some(near) = part.strip_suffix('W') {
        days.nearest |= 1 << read_value(&DAY, near)?;
    } else {
        return read_part(&DAY, &part, seed);
    }
    Ok(0)
}

/// Reads a part of the day of week: `5#2`, `5L`, or what any field knows.
fn read_weekday(days: &mut Days, part: &str, seed: &str) -> Result<u64, String> {
    if let Some((weekday, turn)) = part.split_once('#') {
        let weekday = week(1 << read_value(&WEEKDAY, weekday)?);
        let turn = Some(turn).filter(|turn| turn.len() == 1).and_then(|turn| turn.parse::<usize>().ok());
        let turn = turn.and_then(|turn| days.turns.get_mut(turn.wrapping_sub(1)));
        *turn.ok_or("# counts a weekday of the month from 1 to 5, for example 5#2")? |= weekday;
    } else if let Some(weekday) = part.strip_suffix(['L', 'l']).filter(|weekday| !weekday.is_empty()) {
        days.last_weekdays |= week(1 << read_value(&WEEKDAY, weekday)?);
    } else {
        return read_part(&WEEKDAY, part, seed);
    }
    Ok(0)
}

/// Reads a part that any field knows: a wildcard with a step, a value or a range with or without one, or `H`.
fn read_part(field: &Field, part: &str, seed: &str) -> Result<u64, String> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(read_step(step)?)),
        None => (part, None),
    };
    if range.starts_with(['H', 'h']) {
        return read_hash(field, range, step, seed);
    }
    let open_end = if field.name == WEEKDAY.name { 6 } else { field.max };
    let (from, to) = match range.split_once('-') {
        _ if range == "*" && step.is_some() => (field.min, open_end),
        Some(ends) => read_range(field, ends)?,
        None => {
            let value = read_value(field, range)?;
            (value, if step.is_some() { open_end.max(value) } else { value })
        }
    };
    Ok(every(from, to, step.unwrap_or(1)))
}

/// `H` is one value of the range, and with a step one of the first ones and each step from there.
fn read_hash(field: &Field, text: &str, step: Option<u32>, seed: &str) -> Result<u64, String> {
    let range = text.get(1..).unwrap_or_default();
    let (from, to) = if range.is_empty() {
        (field.min, field.hash_max)
    } else {
        let inner = range.strip_prefix('(').and_then(|range| range.strip_suffix(')'));
        let ends = inner.and_then(|inner| inner.split_once('-'));
        read_range(field, ends.ok_or_else(|| format!("{text:?} must be H, or H and a range such as H(0-29)"))?)?
    };
    let size = step.unwrap_or(u32::MAX).min(to - from + 1);
    let number = spread::field_number(seed, field.name) % u64::from(size);
    let start = from + u32::try_from(number).unwrap_or_default();
    Ok(every(start, step.map_or(start, |_| to), step.unwrap_or(1)))
}

fn read_range(field: &Field, (from, to): (&str, &str)) -> Result<(u32, u32), String> {
    let start = read_value(field, from)?;
    let is_sunday = field.name == WEEKDAY.name && to.eq_ignore_ascii_case("SUN") && start > 0;
    let end = if is_sunday { 7 } else { read_value(field, to)? };
    if start > end {
        return Err(format!("\"{from}-{to}\" runs backwards; write two ranges with a comma between them"));
    }
    Ok((start, end))
}

fn read_value(field: &Field, text: &str) -> Result<u32, String> {
    let Field { min, max, .. } = *field;
    if let Some(index) = field.words.iter().position(|word| word.eq_ignore_ascii_case(text)) {
        return Ok(min + u32::try_from(index).unwrap_or_default());
    }
    if text.is_empty() {
        return Err("must be *, values, ranges or lists of them, each with an optional /step".into());
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let kind = if field.words.is_empty() { "number".into() } else { format!("name of a {}", field.name) };
        return Err(format!("{text:?} is not a {kind}"));
    }
    let number = if text.len() > 2 { None } else { text.parse().ok() };
    number.filter(|number| (min..=max).contains(number)).ok_or_else(|| format!("{text} is not within {min}-{max}"))
}

fn read_step(text: &str) -> Result<u32, String> {
    let is_number = !text.starts_with('0') && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let step = if is_number { text.parse().ok() } else { None };
    step.ok_or_else(|| format!("a step must be a number within 1-{STEP_MAX}, not {text:?}"))
}

fn is_hash_step(word: &str) -> bool {
    word.eq_ignore_ascii_case("H/")
}

/// Each `step`th number of a range.
fn every(from: u32, to: u32, step: u32) -> u64 {
    (from..=to).step_by(usize::try_from(step).unwrap_or(1)).fold(0, |mask, number| mask | 1 << number)
}

/// Weekdays of which Sunday may be 0 or 7, with Sunday as 0.
fn week(weekdays: u64) -> u32 {
    narrow((weekdays | weekdays >> 7) & 0b111_1111)
}

fn narrow(mask: u64) -> u32 {
    u32::try_from(mask).unwrap_or_default()
}
