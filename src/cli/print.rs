//! Print: what verbs have in common in what they say: format, colour, instants and redrawing.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::plugin::PluginError;
use crate::api::Outcome;
use crate::domain::words::whole_second;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document.
    Json,
}

/// Whether a verb that writes only asks the API server what it would answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// The API server checks everything, admission policies included, and stores nothing.
    Server,
}

/// The end of a sentence about a write.
pub fn dry(dry_run: Option<DryRun>) -> &'static str {
    if dry_run.is_some() { " (server dry run)" } else { "" }
}

/// A colour of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// It went wrong.
    Red,
    /// It went well.
    Green,
    /// It waits, or something holds it.
    Yellow,
}

/// Whether colours are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether they are.
    pub colours: bool,
    /// Whether standard output is a terminal, on which one can draw again.
    pub terminal: bool,
}

impl Style {
    /// Colours are for terminals, and not where NO_COLOR is set to anything or the terminal knows none.
    pub fn detect() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|it| it == "dumb");
        Self { colours: terminal && !refused && !dumb, terminal }
    }

    /// The text in that colour.
    pub fn paint(self, text: &str, colour: Colour) -> String {
        let code = match colour {
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
        };
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The word for an outcome, in its colour.
    pub fn outcome(self, outcome: Outcome) -> String {
        let colour = match outcome {
            Outcome::Completed => Colour::Green,
            Outcome::Failed => Colour::Red,
            Outcome::Skipped => Colour::Yellow,
        };
        self.paint(outcome.as_str(), colour)
    }

    /// Shows a new state of what is watched: in place of the last one on a terminal, after it elsewhere. False when nobody
    /// reads any more.
    pub fn redraw(self, output: &mut dyn Write, text: &str, is_first: bool) -> bool {
        let between = match (self.terminal, is_first) {
            (true, _) => "\u{1b}[H\u{1b}[2J",
            (false, true) => "",
            (false, false) => "\n",
        };
        output.write_all(format!("{between}{text}").as_bytes()).and_then(|()| output.flush()).is_ok()
    }
}

/// A document, indented, with a newline at the end.
pub fn json(document: &impl Serialize) -> Result<String, PluginError> {
    let text = serde_json::to_string_pretty(document).map_err(|error| PluginError::failed(&error))?;
    Ok(format!("{text}\n"))
}

/// A document in one line, for streams of documents.
pub fn json_line(document: &impl Serialize) -> Result<String, PluginError> {
    let text = serde_json::to_string(document).map_err(|error| PluginError::failed(&error))?;
    Ok(format!("{text}\n"))
}

/// An instant: RFC 3339, or `+10m` from now.
pub fn instant(flag: &str, text: &str, now: Timestamp) -> Result<Timestamp, PluginError> {
    let wrong = || {
        let message =
            format!("{flag}: {text:?} is neither a time such as 2027-03-28T01:30:00Z nor one from now such as +10m");
        PluginError::Usage(message)
    };
    match text.strip_prefix('+') {
        Some(relative) => whole_second(now).checked_add(length(flag, relative)?).map_err(|_| wrong()),
        None => text.parse().map_err(|_| wrong()),
    }
}

/// A length of time such as `90s`, `10m` or `1h30m`.
pub fn length(flag: &str, text: &str) -> Result<SignedDuration, PluginError> {
    let parsed = text
        .parse::<SignedDuration>()
        .ok()
        .filter(|it| *it > SignedDuration::ZERO && !text.starts_with(['P', '-', '+']));
    let message = || format!("{flag}: {text:?} is not hours, minutes and seconds such as 90s, 10m or 1h30m");
    parsed.ok_or_else(|| PluginError::Usage(message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_absolute_or_from_now() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let read = |text: &str| instant("--at", text, now).map(|it| it.to_string()).map_err(|error| error.to_string());
        assert_eq!(read("+10m"), Ok("2026-03-01T12:10:00Z".into()));
        assert_eq!(read("+1h30m"), Ok("2026-03-01T13:30:00Z".into()));
        assert_eq!(read("2026-03-01T14:00:00+01:00"), Ok("2026-03-01T13:00:00Z".into()));
        for wrong in ["10m", "+", "+-1h", "tomorrow", "+0s", ""] {
            assert!(read(wrong).unwrap_err().starts_with("--at: "), "{wrong}");
        }
    }

    #[test]
    fn colours_are_left_out_where_they_are_not_wanted() {
        let plain = Style::default();
        assert_eq!(plain.outcome(Outcome::Failed), "Failed");
        let coloured = Style { colours: true, terminal: true };
        assert_eq!(coloured.outcome(Outcome::Failed), "\u{1b}[31mFailed\u{1b}[0m");
    }
}
