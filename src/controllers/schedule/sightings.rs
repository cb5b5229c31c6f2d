//! When this process first saw each edit of a schedule: an edit that only removes a field has no other time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::api::Schedule;
use crate::domain::schedule::EditTimes;
use crate::runtime::clock::now;

/// How long a leader may take to see an edit and to say so in the status.
const UNSEEN_MAX: SignedDuration = SignedDuration::from_secs(10);

/// When edits were first seen, by the uid of the schedule. The status of a schedule says which edits it knows of, so only
/// the last one of each is kept.
#[derive(Default)]
pub struct Sightings(Mutex<HashMap<String, Sighting>>);

/// A generation, and what is known of when it came to be.
struct Sighting {
    generation: Option<i64>,
    at: Timestamp,
    stamped_before: Option<Timestamp>,
}

impl Sightings {
    /// Takes note of a schedule that was there before changes were told.
    pub fn found(&self, schedule: &Schedule) {
        let metadata = &schedule.metadata;
        let seen = Sighting { generation: metadata.generation, at: now(), stamped_before: None };
        self.lock().entry(metadata.uid.clone().unwrap_or_default()).or_insert(seen);
    }

    /// Takes note of a change.
    pub fn changed(&self, before: Option<&Schedule>, after: &Schedule) {
        let (old, new) = (before.map(|it| &it.metadata), &after.metadata);
        let same = old.filter(|old| old.uid == new.uid);
        if same.is_some_and(|old| old.generation == new.generation) {
            return;
        }
        let stamped_before = before.filter(|_| same.is_some()).and_then(stamped);
        let seen = Sighting { generation: new.generation, at: now(), stamped_before };
        self.lock().insert(new.uid.clone().unwrap_or_default(), seen);
    }

    /// Forgets a schedule that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// What there is to tell when a schedule was edited. `renewed` says when the leader before this process was last known to
    /// watch.
    pub fn edits(&self, schedule: &Schedule, renewed: Option<Timestamp>) -> EditTimes {
        let metadata = &schedule.metadata;
        let known = self.lock();
        let seen = metadata.uid.as_ref().and_then(|uid| known.get(uid));
        let seen = seen.filter(|seen| seen.generation == metadata.generation);
        EditTimes {
            stamped: stamped(schedule),
            stamped_before: seen.and_then(|seen| seen.stamped_before),
            status_written: last_time(schedule, false),
            // An edit that came before would be in the status.
            unchanged_until: renewed.map(|at| at.saturating_sub(UNSEEN_MAX).unwrap_or(at)),
            seen: seen.map(|seen| seen.at),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Sighting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When somebody last set a field of the specification, according to the API server.
fn stamped(schedule: &Schedule) -> Option<Timestamp> {
    last_time(schedule, true)
}

/// When somebody last wrote to the schedule itself, or the operator to its status: only these are kept in the cache.
fn last_time(schedule: &Schedule, itself: bool) -> Option<Timestamp> {
    let entries = schedule.metadata.managed_fields.iter().flatten();
    let entries = entries.filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty() == itself);
    entries.filter_map(|entry| entry.time.as_ref()).map(|time| time.0).max()
}
