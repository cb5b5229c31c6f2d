//! What a cluster's processes tell the process which started it: lines of JSON on standard output.

use std::io::Write;

use serde::{Deserialize, Serialize};

/// One message about a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Something worth a line on the terminal.
    Note(String),
    /// The cluster can be used.
    Ready,
    /// The cluster did not start, or has ended, for this reason.
    Failed(String),
}

impl Event {
    /// Sends the message. A front process which has died does not read it, and need not.
    pub fn send(&self) {
        if let Ok(line) = serde_json::to_string(self) {
            let mut output = std::io::stdout().lock();
            let _ = writeln!(output, "{line}").and_then(|()| output.flush());
        }
    }

    /// Reads a message. A line which is none counts as a note.
    pub fn parse(line: &str) -> Self {
        serde_json::from_str(line).unwrap_or_else(|_| Self::Note(line.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_their_way() {
        for event in [Event::Ready, Event::Failed("two\nlines".to_owned()), Event::Note("word".to_owned())] {
            let line = serde_json::to_string(&event).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(Event::parse(&line), event);
        }
        assert_eq!(Event::parse("plain"), Event::Note("plain".to_owned()));
    }
}
