//! Conditions: merging what is true now into what was said before.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::core::ObjectMeta;

use super::words::printable;
use crate::api::labels::RECORD_FINALIZER;

/// Ready: the object works as it is written.
pub const READY: &str = "Ready";
/// Stalled: somebody has to change something before it can go on (kstatus reads it as a failure).
pub const STALLED: &str = "Stalled";
/// Dispatched: the Job's current attempt was launched.
pub const DISPATCHED: &str = "Dispatched";
/// Complete: it ended, and succeeded.
pub const COMPLETE: &str = "Complete";
/// Failed: it ended, and did not succeed.
pub const FAILED: &str = "Failed";
/// Cancelled: it ended because somebody cancelled it.
pub const CANCELLED: &str = "Cancelled";
/// Skipped: it ended without having run.
pub const SKIPPED: &str = "Skipped";
/// Late: a run of the schedule was to have started by now and has not.
pub const LATE: &str = "Late";
/// Paused: the queue starts nothing, or the schedule is held after failures.
pub const PAUSED: &str = "Paused";
/// AdmissionRefused: an admission policy, a webhook or a quota refuses batch Jobs of the template now; never part of its
/// health.
pub const ADMISSION_REFUSED: &str = "AdmissionRefused";
/// Warning: something is not used as it is written; never part of the object's health.
pub const WARNING: &str = "Warning";
/// LaunchRefused: the API server refuses what the queue launches, by a quota or an admission policy.
pub const LAUNCH_REFUSED: &str = "LaunchRefused";
/// LastRunSucceeded: how the schedule's last run ended; never part of its health.
pub const LAST_RUN_SUCCEEDED: &str = "LastRunSucceeded";

/// The reason of Ready and Stalled when the API server refuses what is to be written for an object: a quota, an admission
/// policy, a name that is taken.
pub const WRITE_REFUSED: &str = "WriteRefused";

/// The finalizer by which the garbage collector of Kubernetes knows that an object has dependents to orphan.
pub const ORPHAN_FINALIZER: &str = "orphan";
/// The finalizer by which it knows that dependents have to go first.
pub const FOREGROUND_FINALIZER: &str = "foregroundDeletion";

/// The longest message of a condition, in bytes; the API server allows 32 KiB.
const MESSAGE_BYTES_MAX: usize = 1024;

/// One condition as it is now.
#[derive(Clone, Debug)]
pub struct Fact<'a> {
    /// Its type.
    pub type_: &'a str,
    /// Whether it holds.
    pub holds: bool,
    /// A word in PascalCase.
    pub reason: &'a str,
    /// A sentence for people.
    pub message: String,
}

/// Sets conditions, keeping the transition time of those whose status did not change.
#[derive(Clone, Debug)]
pub struct Conditions {
    list: Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
}

impl Conditions {
    /// Starts from what was said before. That something was refused is over when there is something new to say.
    pub fn from(previous: &[Condition], generation: Option<i64>, now: Timestamp) -> Self {
        let mut conditions = Self::continuing(previous, generation, now);
        conditions.list.retain(|it| it.type_ != STALLED || it.reason != WRITE_REFUSED);
        conditions
    }

    /// Starts from what was said before, all of it.
    pub fn continuing(previous: &[Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { list: previous.to_vec(), generation, now }
    }

    /// Says that a condition holds or does not.
    pub fn set(&mut self, fact: Fact<'_>) {
        let status = if fact.holds { "True" } else { "False" };
        let message = shorten(printable(&fact.message), MESSAGE_BYTES_MAX);
        let previous = self.list.iter().position(|condition| condition.type_ == fact.type_);
        let mut condition = Condition {
            type_: fact.type_.to_owned(),
            status: status.to_owned(),
            reason: fact.reason.to_owned(),
            message,
            observed_generation: self.generation,
            last_transition_time: Time(seconds(self.now)),
        };
        match previous.and_then(|index| self.list.get_mut(index)) {
            Some(old) => {
                if old.status == condition.status {
                    condition.last_transition_time = old.last_transition_time.clone();
                }
                *old = condition;
            }
            None => self.list.push(condition),
        }
    }

    /// Says what is not used as it is written, if anything is.
    pub fn warn(&mut self, sentences: &[String]) {
        if sentences.is_empty() {
            self.remove(WARNING);
        } else {
            self.set(Fact { type_: WARNING, holds: true, reason: "NotAsWritten", message: sentences.join(". ") });
        }
    }

    /// Adds to what a condition says that its object is deleted, and what keeps it all the same.
    pub fn say_kept(&mut self, type_: &str, keepers: &str) {
        const DELETED: &str = "; it is being deleted, ";
        let Some(said) = self.list.iter_mut().find(|it| it.type_ == type_) else { return };
        let (own, _) = said.message.split_once(DELETED).unwrap_or((&said.message, ""));
        let own = shorten(own.to_owned(), MESSAGE_BYTES_MAX / 2);
        let message = format!("{own}{DELETED}and stays until somebody takes off its {keepers}");
        said.message = shorten(printable(&message), MESSAGE_BYTES_MAX);
    }

    /// Takes a condition away that no longer says anything.
    pub fn remove(&mut self, type_: &str) {
        self.list.retain(|condition| condition.type_ != type_);
    }

    /// The list, as it goes into a status.
    pub fn into_list(self) -> Vec<Condition> {
        self.list
    }
}

/// The finalizers of others that keep an object, in words, if there are any. Those of Kubernetes' own garbage collector are
/// none.
pub fn keepers(metadata: &ObjectMeta) -> Option<String> {
    let usual = [RECORD_FINALIZER, ORPHAN_FINALIZER, FOREGROUND_FINALIZER];
    let others = metadata.finalizers.iter().flatten().filter(|it| !usual.contains(&it.as_str()));
    let others: Vec<String> = others.map(|it| format!("{it:?}")).collect();
    let word = if others.len() > 1 { "finalizers" } else { "finalizer" };
    (!others.is_empty()).then(|| format!("{word} {}", others.join(", ")))
}

/// Says that the API server refused what was to be written, in its own sentence.
pub fn refuse(conditions: &mut Conditions, has_ready: bool, why: &str) {
    let fact = |type_, holds| Fact { type_, holds, reason: WRITE_REFUSED, message: why.to_owned() };
    if has_ready {
        conditions.set(fact(READY, false));
    }
    conditions.set(fact(STALLED, true));
}

/// Since when and in which words the API server refuses what is to be written, if it does.
pub fn refused(list: &[Condition]) -> Option<(Timestamp, &str)> {
    let found = list.iter().find(|it| it.type_ == STALLED && it.status == "True" && it.reason == WRITE_REFUSED)?;
    Some((found.last_transition_time.0, &found.message))
}

/// Whether a condition of that type holds.
pub fn holds(list: &[Condition], type_: &str) -> bool {
    list.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// An instant as objects carry it, in microseconds, so that what is written equals what is read back.
pub fn micro(instant: Timestamp) -> MicroTime {
    MicroTime(Timestamp::from_microsecond(instant.as_microsecond()).unwrap_or(instant))
}

/// An instant in whole seconds, as conditions carry it.
fn seconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}

/// Whether two lists say the same, but for which of these reasons the condition Ready has and in which words.
pub fn same_but_for(reasons: &[&str], before: &[Condition], after: &[Condition]) -> bool {
    let is_said = |it: &&Condition| it.type_ == READY && reasons.contains(&it.reason.as_str());
    let rest = |list: &[Condition]| list.iter().filter(|it| !is_said(it)).cloned().collect::<Vec<_>>();
    rest(before) == rest(after) && before.iter().any(|it| is_said(&it)) == after.iter().any(|it| is_said(&it))
}

/// Cuts a text at a character boundary, marking the cut.
pub fn shorten(mut text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push('…');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn fact(holds: bool, reason: &'static str) -> Fact<'static> {
        Fact { type_: READY, holds, reason, message: String::new() }
    }

    #[test]
    fn the_transition_time_moves_only_when_the_status_changes() {
        let mut conditions = Conditions::from(&[], Some(1), at(10));
        conditions.set(fact(true, "A"));
        let mut conditions = Conditions::from(&conditions.into_list(), Some(2), at(20));
        conditions.set(fact(true, "B"));
        let list = conditions.into_list();
        assert_eq!(list[0].last_transition_time.0, at(10));
        assert_eq!((list[0].reason.as_str(), list[0].observed_generation), ("B", Some(2)));
        let mut conditions = Conditions::from(&list, Some(2), at(30));
        conditions.set(fact(false, "C"));
        assert_eq!(conditions.into_list()[0].last_transition_time.0, at(30));
    }

    #[test]
    fn what_was_refused_is_said_until_there_is_something_new_to_say() {
        let mut conditions = Conditions::from(&[], Some(1), at(10));
        refuse(&mut conditions, true, "no quota");
        let list = conditions.into_list();
        assert_eq!(refused(&list), Some((at(10), "no quota")));
        let mut again = Conditions::continuing(&list, Some(1), at(20));
        refuse(&mut again, true, "no quota");
        assert_eq!(again.into_list(), list, "nothing to write");
        let next = Conditions::from(&list, Some(1), at(30)).into_list();
        assert!(refused(&next).is_none() && !holds(&next, STALLED));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character_boundary() {
        let text = shorten("é".repeat(1000), 101);
        assert!(text.len() <= 101 && text.ends_with('…'));
        assert_eq!(shorten("short".into(), 100), "short");
    }
}
