//! One decision from nothing but a snapshot, for tests.

use std::collections::HashMap;

use super::*;

/// All that a decision for a namespace depends on.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Its queues by name.
    pub queues: HashMap<String, Settings>,
    /// How many may run under each limit.
    pub limits: Vec<(Limit, u32)>,
    /// What runs.
    pub occupants: Vec<Occupant>,
    /// What waits, in any order.
    pub candidates: Vec<Candidate>,
}

/// What was decided.
pub struct Decided {
    /// What to launch, in order.
    pub admitted: Vec<Candidate>,
    /// What every other candidate waits for, by uid.
    pub blocked: HashMap<String, Blocker>,
    /// When a pause ends.
    pub wake_at: Option<Timestamp>,
}

/// Tells a new line all of it and asks once.
pub fn decide(snapshot: Snapshot, launching_max: usize, now: Timestamp) -> Decided {
    let mut line = Line::new(None, launching_max);
    for (name, settings) in snapshot.queues {
        line.set_queue("team", &name, Some(settings));
    }
    for (limit, max) in snapshot.limits {
        line.set_max("team", &limit, Some(max));
    }
    for occupant in snapshot.occupants {
        let uid = format!("runs-{}", occupant.name);
        line.occupy("team", &uid, occupant);
    }
    let uids: Vec<Arc<str>> = snapshot.candidates.iter().map(|it| it.uid.clone()).collect();
    for candidate in snapshot.candidates {
        line.offer(Offer { namespace: "team".into(), candidate, accepted: true, asks_for: None }, now);
    }
    let round = line.admit(now);
    let blocked = uids.into_iter().filter_map(|uid| line.blocker(&uid, now).map(|blocker| (uid.to_string(), blocker)));
    Decided {
        blocked: blocked.collect(),
        admitted: round.admitted.into_iter().map(|(_, candidate)| candidate).collect(),
        wake_at: round.wake_at,
    }
}
