//! Withheld: namespaces about which nothing is decided for now, because nobody knows what runs there or what is wanted.

use super::line::Line;

impl Line {
    /// Decides nothing about a namespace until [`Self::let_go`]. Others go on meanwhile: under a limit for the cluster, as many
    /// places are kept free as Jobs may be running there that this process does not know of.
    pub fn hold_back(&mut self, namespace: &str, unknown: usize) {
        self.held_back.insert(namespace.to_owned(), unknown);
    }

    /// It is known what runs in that namespace.
    pub fn let_go(&mut self, namespace: &str) {
        if self.held_back.remove(namespace).is_some() {
            self.wake(namespace);
        }
    }

    /// How many run, or may be running in a namespace that is held back.
    pub(super) fn counted(&self) -> usize {
        self.running + self.held_back.values().sum::<usize>()
    }

    /// Whether the namespace is held back and all that was there at the start has been looked at.
    pub fn is_to_let_go(&self, namespace: &str) -> bool {
        let looked_at = self.namespaces.get(namespace).is_none_or(|space| space.from_start.is_empty());
        self.held_back.contains_key(namespace) && looked_at
    }

    /// Whether nothing is decided about that namespace before it is known what runs there.
    pub fn is_held_back(&self, namespace: &str) -> bool {
        self.held_back.contains_key(namespace)
    }

    /// Sets whether the operator sees a namespace. The line admits and drops nothing in a namespace that the operator does not see;
    /// the Jobs that run there keep their places.
    pub fn set_seen(&mut self, namespace: &str, is_seen: bool) {
        if !is_seen {
            self.blind.insert(namespace.to_owned());
        } else if self.blind.remove(namespace) {
            self.wake(namespace);
        }
    }

    /// Whether nothing of that namespace is admitted now.
    pub(super) fn is_withheld(&self, namespace: &str) -> bool {
        self.held_back.contains_key(namespace) || self.blind.contains(namespace)
    }
}
