//! Counts: how a queue stands, and who is first in it.

use jiff::Timestamp;

use super::line::Line;

/// How many waiting Jobs there are in a queue, how many run, and since when the longest has waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many run or are being launched.
    pub running: usize,
    /// How many wait for their turn.
    pub waiting: usize,
    /// Since when the one that has waited longest is queued.
    pub oldest: Option<Timestamp>,
}

impl Line {
    /// How a queue stands.
    pub fn counts(&self, namespace: &str, queue: &str) -> Counts {
        let rows = self.namespaces.get(namespace).and_then(|space| space.queues.get(queue));
        rows.map_or_else(Counts::default, |rows| Counts {
            running: rows.running.len(),
            waiting: rows.order.len(),
            oldest: rows.ages.first().map(|(at, _, _)| *at),
        })
    }

    /// The names of the queues of a namespace in which something waits or that exist.
    pub fn queues(&self, namespace: &str) -> Vec<&str> {
        let space = self.namespaces.get(namespace);
        space.into_iter().flat_map(|space| space.queues.keys()).map(AsRef::as_ref).collect()
    }

    /// The names of the first Jobs that wait in a queue, in order.
    pub fn first(&self, namespace: &str, queue: &str, count: usize) -> Vec<String> {
        let rows = self.namespaces.get(namespace).and_then(|space| space.queues.get(queue));
        rows.into_iter().flat_map(|rows| rows.order.iter().take(count)).map(|(rank, _)| rank.name.to_string()).collect()
    }
}
