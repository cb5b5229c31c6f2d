//! What is told of a Queue when it is paused, and when its pause is over.

use super::Settings;
use crate::api::QueueStatus;
use crate::api::queue::PauseScope;
use crate::domain::conditions::PAUSED;
use crate::domain::plan::Note;

/// The event that a new status of a Queue is worth, if its pause began, has another reason, or is over.
pub fn pause_note(before: Option<&QueueStatus>, after: &QueueStatus, settings: &Settings) -> Option<Note> {
    let said = |status: &QueueStatus| {
        let paused = status.conditions.iter().find(|it| it.type_ == PAUSED && it.status == "True");
        paused.map(|it| it.message.clone())
    };
    let (before, after) = (before.and_then(said), said(after));
    if before == after {
        return None;
    }
    let Some(why) = after else { return Some(Note::normal("Resumed", "Resume", "its pause is over")) };
    let pause = settings.paused.as_ref()?;
    let what = match pause.scope.unwrap_or_default() {
        PauseScope::Queue => "it starts nothing",
        PauseScope::Namespace => "it pauses all queues of its namespace",
        PauseScope::Cluster => "it pauses all queues of all namespaces",
    };
    let until = pause.until.as_ref().map(|until| format!(" until {}", until.0)).unwrap_or_default();
    Some(Note::normal("Paused", "Pause", format!("{what}{until}: {why}")))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::api::queue::Pause;
    use crate::domain::conditions::{Conditions, Fact, micro};

    fn status(reason: Option<&str>) -> QueueStatus {
        let mut list = Conditions::from(&[], Some(1), Timestamp::UNIX_EPOCH);
        if let Some(reason) = reason {
            list.set(Fact { type_: PAUSED, holds: true, reason: "Paused", message: reason.into() });
        }
        QueueStatus { conditions: list.into_list(), ..QueueStatus::default() }
    }

    #[test]
    fn a_pause_is_told_when_it_begins_when_its_reason_changes_and_when_it_is_over() {
        let until = Some(micro(Timestamp::from_second(60).unwrap()));
        let pause = Pause { reason: "upgrade".into(), until, scope: Some(PauseScope::Namespace) };
        let settings = Settings { paused: Some(pause), ..Settings::default() };
        let (open, paused, other) = (status(None), status(Some("upgrade")), status(Some("incident")));
        let text = "it pauses all queues of its namespace until 1970-01-01T00:01:00Z: upgrade";
        let begins = Some(Note::normal("Paused", "Pause", text));
        assert_eq!(pause_note(None, &paused, &settings), begins);
        assert_eq!(pause_note(Some(&open), &paused, &settings), begins);
        assert_eq!(pause_note(Some(&paused), &paused, &settings), None);
        assert!(pause_note(Some(&paused), &other, &settings).unwrap().message.ends_with(": incident"));
        let over = Some(Note::normal("Resumed", "Resume", "its pause is over"));
        assert_eq!(pause_note(Some(&paused), &open, &Settings::default()), over);
        assert_eq!(pause_note(None, &open, &Settings::default()), None);
    }
}
