//! Setbacks: a Queue that cannot be written, as before a webhook that fails, waits for its own next try.
//!
//! Until then nothing is admitted in it, so that it takes no place from others; then one Job is, apart from everything else, to see
//! whether it can. The wait doubles each time, and is at least three times as long as the try took: so what hangs takes a place for
//! no more than a quarter of the time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{lock, tell_first, write};
use crate::apply::WriteError;
use crate::controllers::Context;
use crate::domain::conditions::shorten;
use crate::domain::plan::Note;
use crate::domain::queue::{Candidate, Trust};
use crate::runtime::clock::now;
use crate::runtime::store::Key;

/// How long a Queue rests that could not be tried.
const NOT_TRIED_DELAY: SignedDuration = SignedDuration::from_millis(500);
/// The wait after the first failure.
const WAIT_MIN: SignedDuration = SignedDuration::from_millis(100);
/// The longest wait.
const WAIT_MAX: SignedDuration = SignedDuration::from_secs(60);
/// After how many failures in a row people are told.
const TOLD_AFTER: u32 = 3;
/// The longest reason that is told, in bytes.
const REASON_MAX: usize = 500;

/// Queues whose status could not be written.
#[derive(Default)]
pub struct Setbacks(Mutex<HashMap<String, HashMap<String, Setback>>>);

#[derive(Clone, Copy, Debug)]
struct Setback {
    failures: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is tried again when that comes. The first is when the wait began.
    Waits(Timestamp, Timestamp),
    /// It is being tried since then.
    UnderWay(Timestamp),
}

impl State {
    /// Whether it may be tried. A clock that was set back makes nothing wait longer, and a try that never ended is none.
    fn is_due(self, now: Timestamp) -> bool {
        match self {
            Self::Waits(since, until) => until <= now || now < since,
            Self::UnderWay(since) => now < since || now.duration_since(since) > WAIT_MAX,
        }
    }
}

/// When a Queue may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// With all others.
    AtOnce,
    /// Now, apart from the others.
    Trial,
    /// Not now.
    Later,
}

impl Setbacks {
    /// Whether a Queue may be written.
    pub fn turn(&self, key: &Key, now: Timestamp) -> Turn {
        let all = lock(&self.0);
        match all.get(&key.namespace).and_then(|queues| queues.get(&key.name)) {
            None => Turn::AtOnce,
            Some(setback) if setback.state.is_due(now) => Turn::Trial,
            Some(_) => Turn::Later,
        }
    }

    /// It is being tried.
    fn begin(&self, key: &Key, now: Timestamp) {
        if let Some(setback) = lock(&self.0).get_mut(&key.namespace).and_then(|queues| queues.get_mut(&key.name)) {
            setback.state = State::UnderWay(now);
        }
    }

    /// The queues of a namespace that may be tried, and when the next may.
    fn due(&self, namespace: &str, now: Timestamp) -> (Vec<String>, Option<Timestamp>) {
        let all = lock(&self.0);
        let queues = || all.get(namespace).into_iter().flatten();
        let due = queues().filter(|(_, it)| it.state.is_due(now)).map(|(name, _)| name.clone()).collect();
        let next = queues().filter_map(|(_, it)| match it.state {
            State::Waits(_, until) if !it.state.is_due(now) => Some(until),
            _ => None,
        });
        (due, next.min())
    }

    /// It could not be written, which took that long. Returns how often in a row, and when to try again.
    fn failed(&self, key: &Key, now: Timestamp, took: Duration) -> (u32, Timestamp) {
        let mut all = lock(&self.0);
        let known = all.entry(key.namespace.clone()).or_default().entry(key.name.clone());
        let setback = known.or_insert(Setback { failures: 0, state: State::UnderWay(now) });
        setback.failures = setback.failures.saturating_add(1);
        let doubled = WAIT_MIN.saturating_mul(1i32.checked_shl(setback.failures.min(20) - 1).unwrap_or(i32::MAX));
        let took = SignedDuration::try_from(took).unwrap_or(WAIT_MAX);
        let until = now.saturating_add(doubled.max(took.saturating_mul(3)).min(WAIT_MAX)).unwrap_or(now);
        setback.state = State::Waits(now, until);
        (setback.failures, until)
    }

    /// It was written. Returns how often in a row it could not be before.
    fn succeeded(&self, key: &Key) -> u32 {
        let mut all = lock(&self.0);
        let Some(queues) = all.get_mut(&key.namespace) else { return 0 };
        let failures = queues.remove(&key.name).map_or(0, |setback| setback.failures);
        if queues.is_empty() {
            all.remove(&key.namespace);
        }
        failures
    }

    /// It was not tried after all.
    fn not_tried(&self, key: &Key, now: Timestamp) {
        if let Some(setback) = lock(&self.0).get_mut(&key.namespace).and_then(|queues| queues.get_mut(&key.name)) {
            // Not at once: what kept it from being tried, such as a lease that has lapsed, may go on for a while.
            let again = now.checked_add(NOT_TRIED_DELAY).unwrap_or(now);
            setback.state = State::Waits(now, again);
        }
    }

    /// It is gone.
    pub fn forget(&self, key: &Key) {
        self.succeeded(key);
    }
}

/// Lets the queues be tried again whose wait is over. Returns when the next is.
pub fn try_again(context: &Context, namespace: &str, now_is: Timestamp) -> Option<Timestamp> {
    let (due, next) = context.dispatcher.setbacks.due(namespace, now_is);
    if !due.is_empty() {
        let mut line = context.dispatcher.line();
        due.iter().for_each(|queue| line.set_trust(namespace, queue, Trust::OnTrial));
    }
    next
}

/// Tries to write a Queue, while its namespace goes on.
pub fn spawn_trial(context: &Arc<Context>, key: Key, admitted: Vec<Candidate>, now_is: Timestamp) {
    context.dispatcher.setbacks.begin(&key, now());
    let context = context.clone();
    tokio::spawn(async move {
        let namespace = key.namespace.clone();
        // A leader that lost its lease ends; what went wrong otherwise is remembered.
        let _ = write(&context, key, admitted, now_is).await;
        context.triggers.dispatch(&namespace);
    });
}

/// A Queue was written, or there was nothing to write.
pub fn ended_well(context: &Context, key: &Key, written: bool) {
    let setbacks = &context.dispatcher.setbacks;
    if !written {
        setbacks.not_tried(key, now());
        return;
    }
    let failures = setbacks.succeeded(key);
    let mut line = context.dispatcher.line();
    // Also where a trial that took long was let go meanwhile.
    line.set_trust(&key.namespace, &key.name, Trust::Full);
    if failures >= TOLD_AFTER {
        tell_first(context, &line, &key.namespace);
    }
}

/// A Queue could not be written. Returns when to try again.
pub fn ended_badly(context: &Context, key: &Key, error: &WriteError, took: Duration) -> Timestamp {
    let (failures, until) = context.dispatcher.setbacks.failed(key, now(), took);
    let why = shorten(error.text(), REASON_MAX);
    tracing::warn!(%key, error = %why, "the status of a Queue cannot be written, trying again");
    let message = format!("Jobs of queue {} cannot be started: its status cannot be written: {why}", key.name);
    let mut line = context.dispatcher.line();
    line.set_trust(&key.namespace, &key.name, Trust::None(message.clone()));
    if failures == TOLD_AFTER {
        tell_first(context, &line, &key.namespace);
        if let Some(queue) = context.stores.queues.get(key) {
            context.tell(queue.as_ref(), vec![Note::warning("StatusNotWritten", "Admit", message)]);
        }
    }
    until
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn what_hangs_takes_a_place_for_a_quarter_of_the_time_and_each_queue_waits_for_itself() {
        let setbacks = Setbacks::default();
        let (bad, good) = (Key::new("team", "bad"), Key::new("team", "good"));
        assert_eq!(setbacks.turn(&bad, at(0)), Turn::AtOnce);
        assert_eq!(setbacks.failed(&bad, at(10), Duration::from_secs(10)), (1, at(40)));
        assert_eq!(setbacks.due("team", at(11)), (Vec::new(), Some(at(40))));
        assert_eq!((setbacks.turn(&bad, at(39)), setbacks.turn(&good, at(39))), (Turn::Later, Turn::AtOnce));
        assert_eq!(setbacks.due("team", at(40)), (vec!["bad".to_owned()], None));
        assert_eq!(setbacks.turn(&bad, at(40)), Turn::Trial);
        setbacks.begin(&bad, at(40));
        assert_eq!(setbacks.turn(&bad, at(41)), Turn::Later, "one at a time");
        assert_eq!(setbacks.turn(&bad, at(102)), Turn::Trial, "a try that never ended is none");
        assert_eq!(setbacks.succeeded(&bad), 1);
        assert_eq!(setbacks.turn(&bad, at(103)), Turn::AtOnce);
    }

    #[test]
    fn the_wait_doubles_to_a_minute_and_a_clock_that_is_set_back_does_not_lengthen_it() {
        let setbacks = Setbacks::default();
        let queue = Key::new("team", "bad");
        let waits: Vec<i128> = (0..40)
            .map(|_| (setbacks.failed(&queue, at(0), Duration::ZERO).1.duration_since(at(0))).as_millis())
            .collect();
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits.last(), Some(&60_000));
        assert_eq!(setbacks.turn(&queue, at(-3_600)), Turn::Trial);
        setbacks.not_tried(&queue, at(5));
        assert_eq!((setbacks.turn(&queue, at(5)), setbacks.turn(&queue, at(6))), (Turn::Later, Turn::Trial));
    }
}
