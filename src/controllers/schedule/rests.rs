//! How long a schedule with many Jobs is left alone after it was looked at.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// How long, in microseconds for each of its Jobs: what happens to them in between is looked at together, so that a schedule
/// with many takes a bounded part of the time.
const MICROS_PER_JOB: i64 = 20;
/// Up to how many Jobs a schedule is looked at whenever something happens.
const JOBS_MIN: usize = 100;

/// When schedules were looked at, and when they may be again, by their uid.
#[derive(Default)]
pub struct Rests(Mutex<HashMap<String, (Timestamp, Timestamp)>>);

impl Rests {
    /// Until when a schedule rests, if it does. A clock that was set back makes nothing wait.
    pub fn until(&self, uid: &str, now: Timestamp) -> Option<Timestamp> {
        let (since, until) = self.lock().get(uid).copied()?;
        (since <= now && now < until).then_some(until)
    }

    /// A schedule with so many Jobs is being looked at.
    pub fn begin(&self, uid: &str, jobs: usize, now: Timestamp) {
        if jobs < JOBS_MIN {
            self.forget(uid);
            return;
        }
        let micros = i64::try_from(jobs).unwrap_or(i64::MAX).saturating_mul(MICROS_PER_JOB);
        if let Ok(until) = now.checked_add(SignedDuration::from_micros(micros)) {
            self.lock().insert(uid.to_owned(), (now, until));
        }
    }

    /// Forgets a schedule that is gone, or has few Jobs.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Timestamp, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_schedule_with_many_jobs_rests_and_in_proportion() {
        let now = Timestamp::from_second(1_000).unwrap();
        let rests = Rests::default();
        rests.begin("few", 99, now);
        assert_eq!(rests.until("few", now), None);
        rests.begin("many", 50_000, now);
        let until = now + SignedDuration::from_secs(1);
        assert_eq!(rests.until("many", now), Some(until));
        assert_eq!(rests.until("many", until), None);
        assert_eq!(rests.until("many", now - SignedDuration::from_secs(1)), None, "the clock was set back");
        rests.begin("many", 10, until);
        assert_eq!(rests.until("many", now), None);
    }
}
