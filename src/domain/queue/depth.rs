//! Depth: what happens to Jobs that come to a queue in which as many wait as may.

use super::line::Line;
use super::{Dropped, Round};
use crate::api::Reason;
use crate::api::queue::OverflowPolicy;

impl Line {
    /// Takes out what is too much in each queue that has more than it may, and lets the queues keep the rest.
    pub(super) fn trim(&mut self, round: &mut Round) {
        for (namespace, queue) in std::mem::take(&mut self.overfull) {
            let unsure = self.namespaces.get(namespace.as_str()).is_some_and(|space| !space.from_start.is_empty());
            if unsure || self.blind.contains(&namespace) {
                self.overfull.insert((namespace, queue));
                continue;
            }
            while let Some(dropped) = self.too_much(&namespace, &queue) {
                self.withdraw(&dropped.uid);
                self.dropped.insert(dropped.uid.clone());
                round.dropped.push(dropped);
            }
            if let Some(rows) =
                self.namespaces.get_mut(namespace.as_str()).and_then(|space| space.queues.get_mut(queue.as_str()))
            {
                rows.arrivals.clear();
            }
        }
    }

    /// One Job that the queue does not keep, if it has more than it may.
    fn too_much(&self, namespace: &str, queue: &str) -> Option<Dropped> {
        let rows = self.namespaces.get(namespace)?.queues.get(queue)?;
        let (max, policy) = rows.settings.as_ref()?.depth?;
        if rows.order.len() <= max as usize {
            return None;
        }
        let victim = match policy {
            OverflowPolicy::DropOldest => rows.ages.first(),
            OverflowPolicy::Reject | OverflowPolicy::CoalesceSame => rows.arrivals.last(),
        };
        let (_, name, uid) = victim?;
        let full = format!("{max} wait in queue {queue} already, as many as may");
        let (reason, message) = match policy {
            OverflowPolicy::Reject => (Reason::QueueFull, full),
            OverflowPolicy::DropOldest => {
                (Reason::QueueOverflow, format!("a later Job came to queue {queue}, in which at most {max} may wait"))
            }
            OverflowPolicy::CoalesceSame => match self.same_as(namespace, queue, uid) {
                Some(other) => (Reason::Coalesced, format!("{full}, and Job {other:?} among them asks for the same")),
                None => (Reason::QueueFull, full),
            },
        };
        Some(Dropped { namespace: namespace.into(), name: name.to_string(), uid: uid.to_string(), reason, message })
    }

    /// Another Job of the queue that asks for the same.
    fn same_as(&self, namespace: &str, queue: &str, uid: &str) -> Option<String> {
        let offer = self.offer_of(uid)?;
        let rows = self.namespaces.get(namespace)?.queues.get(queue)?;
        let same = rows.same.get(offer.asks_for.as_ref()?)?;
        same.iter().find(|name| **name != offer.candidate.rank.name).map(ToString::to_string)
    }
}
