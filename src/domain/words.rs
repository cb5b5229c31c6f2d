//! Words: durations, instants and lists as people read them.

use jiff::{SignedDuration, Timestamp};

use super::estimate::Estimate;

/// Units of a duration, in seconds, with the number of the larger one from which on the smaller is left out.
const UNITS: [(&str, i64, i64); 4] = [("d", 86_400, 8), ("h", 3_600, 8), ("m", 60, 10), ("s", 1, i64::MAX)];

/// How long something takes, in one or two units: `45s`, `3h20m`, `12d`.
pub fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    if seconds < 0 {
        return format!("-{}", self::duration(duration.abs()));
    }
    let Some(index) = UNITS.iter().position(|(_, unit, _)| seconds >= *unit) else { return "0s".into() };
    let (name, unit, alone_from) = UNITS[index];
    let (number, rest) = (seconds / unit, seconds % unit);
    match UNITS.get(index + 1) {
        Some((smaller, smaller_unit, _)) if number < alone_from && rest >= *smaller_unit => {
            format!("{number}{name}{}{smaller}", rest / smaller_unit)
        }
        _ => format!("{number}{name}"),
    }
}

/// How long ago an instant was.
pub fn ago(instant: Timestamp, now: Timestamp) -> String {
    duration(now.duration_since(instant).max(SignedDuration::ZERO))
}

/// When something will start, from now.
pub fn within(estimate: &Estimate, now: Timestamp) -> String {
    let until = |instant: Timestamp| duration(instant.duration_since(now).max(SignedDuration::ZERO));
    match estimate {
        Estimate::Between(_, last) if last.duration_since(now) <= SignedDuration::ZERO => "now".into(),
        Estimate::Between(first, last) if until(*first) == until(*last) => format!("in {}", until(*first)),
        Estimate::Between(first, last) => format!("in {} to {}", until(*first), until(*last)),
        Estimate::Unknown(_) => "unknown".into(),
    }
}

/// The second that an instant is in, for what people or programs read.
pub fn whole_second(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}

/// The text with its first letter in upper case.
pub fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// The text as a sentence that ends once.
pub fn full_stop(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?', ':']) { text.to_owned() } else { format!("{text}.") }
}

/// The text with everything in it that could move a terminal's cursor, change its colours or reorder what it shows written
/// out, such as `\\x1b`. Line feeds and tabs stay. Text of tenants is shown to other people only like this.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            '\r' => shown.push_str("\\r"),
            _ if !is_unprintable(character) => shown.push(character),
            _ if u32::from(character) < 0x100 => shown.push_str(&format!("\\x{:02x}", u32::from(character))),
            _ => shown.push_str(&format!("\\u{:04x}", u32::from(character))),
        }
    }
    shown
}

/// The text in one line, for a row of a table or of a tree.
pub fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a character acts on a terminal instead of being shown: the control characters of C0 and C1, and the marks of
/// Unicode (UAX #9) that change the direction of the text around them, with the separators of lines and paragraphs.
pub fn is_unprintable(character: char) -> bool {
    let directs =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    directs || (character.is_control() && !matches!(character, '\n' | '\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_acts_on_a_terminal() {
        let table = [
            ("plain, ümläut, 名前 🚀\n\tindented", "plain, ümläut, 名前 🚀\n\tindented"),
            ("\u{1b}[32mCompleted\u{1b}[0m", "\\x1b[32mCompleted\\x1b[0m"),
            ("title\u{1b}]0;x\u{7}", "title\\x1b]0;x\\x07"),
            ("over\rwritten\u{8}\u{7f}\u{0}", "over\\rwritten\\x08\\x7f\\x00"),
            ("c1 \u{9b}31m", "c1 \\x9b31m"),
            ("\u{202e}txt.exe \u{2066}\u{2028}", "\\u202etxt.exe \\u2066\\u2028"),
        ];
        for (text, shown) in table {
            assert_eq!(printable(text), shown);
            assert_eq!(printable(shown), shown, "it is shown once");
        }
    }

    #[test]
    fn durations_have_at_most_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (45, "45s"),
            (60, "1m"),
            (599, "9m59s"),
            (601, "10m"),
            (3_600 * 3 + 1_230, "3h20m"),
            (3_600 * 23, "23h"),
            (86_400 * 2 + 3_599, "2d"),
            (86_400 * 7 + 7_200, "7d2h"),
            (86_400 * 400, "400d"),
            (-90, "-1m30s"),
        ] {
            assert_eq!(duration(SignedDuration::from_secs(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn estimates_are_told_from_now() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let told = |first: i64, last: i64| within(&Estimate::Between(at(first), at(last)), at(100));
        assert_eq!((told(100, 100), told(130, 130)), ("now".to_owned(), "in 30s".to_owned()));
        assert_eq!((told(100, 160), told(160, 220)), ("in 0s to 1m".to_owned(), "in 1m to 2m".to_owned()));
    }

    #[test]
    fn sentences_end_once() {
        assert_eq!((full_stop("a"), full_stop("a."), capital("queue x")), ("a.".into(), "a.".into(), "Queue x".into()));
    }
}
