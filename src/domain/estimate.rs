//! Estimate: when each waiting Job of a queue will probably start, as a range.
//!
//! The line is played through twice over the places of the queue: once with the durations that one in ten past runs of the
//! same template stayed below, once with those that one in ten exceeded. Where nothing is known of a duration it may be
//! anything, so that the later end of the range is open for all that may have to wait for it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use jiff::{SignedDuration, Timestamp};

/// What past runs of a template took, by the name of the template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    ranges: BTreeMap<String, (SignedDuration, SignedDuration)>,
}

impl History {
    /// Learns from past runs.
    pub fn of(runs: impl IntoIterator<Item = (String, SignedDuration)>) -> Self {
        let mut all: BTreeMap<String, Vec<SignedDuration>> = BTreeMap::new();
        for (template, took) in runs {
            all.entry(template).or_default().push(took.max(SignedDuration::ZERO));
        }
        let range = |mut took: Vec<SignedDuration>| {
            took.sort();
            // The nearest rank: the smallest value that at least so many tenths of all do not exceed.
            let rank = |tenths: usize| (took.len() * tenths).div_ceil(10).max(1) - 1;
            let value = |tenths: usize| took.get(rank(tenths)).copied().unwrap_or_default();
            (value(1), value(9))
        };
        Self { ranges: all.into_iter().map(|(template, took)| (template, range(took))).collect() }
    }

    /// What one in ten runs stayed below, and what one in ten exceeded.
    pub fn range(&self, template: Option<&str>) -> Option<(SignedDuration, SignedDuration)> {
        self.ranges.get(template?).copied()
    }
}

/// A Job that takes a place now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its template, if it has one.
    pub template: Option<String>,
    /// Since when it runs; absent if it is only about to start.
    pub started_at: Option<Timestamp>,
}

/// A Job that waits in line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its template, if it has one.
    pub template: Option<String>,
    /// What it waits for besides its turn, in a word; others may go before it then.
    pub blocked_by: Option<&'static str>,
}

/// When a Job will start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Estimate {
    /// Between these two instants.
    Between(Timestamp, Timestamp),
    /// That cannot be said, for this reason.
    Unknown(String),
}

/// When each of the Jobs in line will start. `opens_at` is when the queue starts anything: now, or the end of its pause.
pub fn starts(
    max_running: Option<u32>,
    running: &[Running],
    line: &[Waiting],
    history: &History,
    now: Timestamp,
    opens_at: Timestamp,
) -> Vec<Estimate> {
    if max_running == Some(0) {
        return vec![Estimate::Unknown("the queue may run none (maxRunning is 0)".into()); line.len()];
    }
    let remaining = |job: &Running| {
        let ran = job.started_at.map_or(SignedDuration::ZERO, |started| now.duration_since(started));
        let left = |took: SignedDuration| later(now, (took - ran).max(SignedDuration::ZERO));
        history.range(job.template.as_deref()).map(|(short, long)| (left(short), left(long)))
    };
    let ends: Vec<_> = running.iter().map(remaining).collect();
    let mut earliest = Places::new(max_running, ends.iter().map(|end| Some(end.map_or(now, |(short, _)| short))), now);
    let mut latest = Places::new(max_running, ends.iter().map(|end| end.map(|(_, long)| long)), now);
    let mut unknown =
        running.iter().find(|job| history.range(job.template.as_deref()).is_none()).map(|it| &it.template);
    line.iter()
        .map(|job| {
            let range = history.range(job.template.as_deref());
            let first =
                if job.blocked_by.is_some() { None } else { earliest.take(opens_at, range.map(|it| it.0), true) };
            let last = latest.take(opens_at, range.map(|it| it.1), false);
            let blamed = unknown;
            if range.is_none() {
                unknown = unknown.or(Some(&job.template));
            }
            match (job.blocked_by, first, last) {
                (Some(other), ..) => Estimate::Unknown(format!("it waits for more than its turn ({other})")),
                (None, Some(first), Some(last)) => Estimate::Between(first, last.max(first)),
                (None, ..) => Estimate::Unknown(no_history(blamed.and_then(Option::as_deref))),
            }
        })
        .collect()
}

fn no_history(template: Option<&str>) -> String {
    match template {
        Some(template) => format!("no past run of template {template} tells how long it takes"),
        None => "a Job without a template goes before, and nothing tells how long it takes".into(),
    }
}

/// The instant so much later, within what an instant can be.
fn later(instant: Timestamp, by: SignedDuration) -> Timestamp {
    instant.saturating_add(by).unwrap_or(instant)
}

/// The places of a queue by the instant at which each becomes free; one that is never known to become free is left out.
struct Places {
    /// Absent: any number.
    free: Option<BinaryHeap<Reverse<Timestamp>>>,
}

impl Places {
    fn new(max_running: Option<u32>, ends: impl Iterator<Item = Option<Timestamp>>, now: Timestamp) -> Self {
        let Some(max) = max_running.map(|max| max as usize) else { return Self { free: None } };
        // More may run than places there are: the first ones to end then leave none.
        let mut ends: Vec<Option<Timestamp>> = ends.collect();
        ends.sort_by_key(|end| (end.is_none(), *end));
        let excess = ends.len().saturating_sub(max);
        let vacant = max.saturating_sub(ends.len());
        let free = ends.into_iter().skip(excess).flatten().map(Reverse);
        Self { free: Some(free.chain(std::iter::repeat_n(Reverse(now), vacant)).collect()) }
    }

    /// Takes the place that is free first, from `opens_at` on. Of a Job of unknown duration the place is free again at once
    /// in the best case, and never in the worst.
    fn take(&mut self, opens_at: Timestamp, took: Option<SignedDuration>, best_case: bool) -> Option<Timestamp> {
        let Some(free) = &mut self.free else { return Some(opens_at) };
        let Reverse(at) = free.pop()?;
        let start = at.max(opens_at);
        match took {
            Some(took) => free.push(Reverse(later(start, took))),
            None if best_case => free.push(Reverse(start)),
            None => {}
        }
        Some(start)
    }
}

#[cfg(test)]
mod tests;
