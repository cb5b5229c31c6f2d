//! Memory: answers that count for a while, and not more of them than there may be.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Answers by question.
pub struct Memory<Q, A> {
    kept: Duration,
    max: usize,
    answers: Mutex<HashMap<Q, (Instant, A)>>,
}

impl<Q: Eq + Hash, A: Clone> Memory<Q, A> {
    /// Keeps that many for that long.
    pub fn new(kept: Duration, max: usize) -> Self {
        Self { kept, max, answers: Mutex::default() }
    }

    /// The answer, if there is one that counts.
    pub fn get(&self, question: &Q, now: Instant) -> Option<A> {
        self.lock().get(question).filter(|(at, _)| self.counts(*at, now)).map(|(_, answer)| answer.clone())
    }

    /// Remembers an answer. Where there are too many that count, all are forgotten.
    pub fn put(&self, question: Q, answer: A, now: Instant) {
        let mut answers = self.lock();
        if answers.len() >= self.max {
            answers.retain(|_, (at, _)| self.counts(*at, now));
        }
        if answers.len() >= self.max {
            answers.clear();
        }
        answers.insert(question, (now, answer));
    }

    fn counts(&self, at: Instant, now: Instant) -> bool {
        now.saturating_duration_since(at) < self.kept
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Q, (Instant, A)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Duration = Duration::from_secs(10);

    #[test]
    fn answers_count_for_a_while() {
        let (memory, now) = (Memory::new(KEPT, 10), Instant::now());
        memory.put("a", true, now);
        let last = now + Duration::from_millis(9_999);
        assert_eq!((memory.get(&"a", last), memory.get(&"b", last)), (Some(true), None));
        assert_eq!(memory.get(&"a", now + KEPT), None);
        memory.put("a", false, now + KEPT);
        assert_eq!(memory.get(&"a", now + KEPT), Some(false));
    }

    #[test]
    fn not_more_is_remembered_than_may_be() {
        let (memory, now) = (Memory::new(KEPT, 10), Instant::now());
        for index in 0..35 {
            memory.put(index, (), now);
            assert_eq!(memory.get(&index, now), Some(()));
            assert!(memory.lock().len() <= 10);
        }
        let later = now + KEPT;
        (40..50).for_each(|index| memory.put(index, (), later));
        assert!((40..50).all(|index| memory.get(&index, later).is_some()), "those that count no more went first");
    }
}
