//! Present: what waiting Jobs wait for now, from what any replica of the operator has stored.
//!
//! The leader's line is in its memory, and what it says is written to a Job only when the word changes. Here a line is made
//! anew from the same objects and asked the same question, so that every replica answers, and as things are now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job as BatchJob;

use super::{Paused, is_of_the_line, paused, phase, said};
use crate::api::labels::{JOB_UID, QUEUE};
use crate::api::queue::InFlight;
use crate::api::{Job, JobGroup, JobPhase, Queue};
use crate::domain::job::{attempt_name, attempt_names, current_attempt, limits, own_blocker, was_launched};
use crate::domain::place;
use crate::domain::queue::{Blocker, Candidate, Holdback, Limit, Limits, Line, Occupant, Offer, Settings};
use crate::domain::run::{BatchState, batch_outcome};

/// What decides on who runs and waits in a namespace.
pub struct Surroundings<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// Its Jobs.
    pub jobs: &'a [Arc<Job>],
    /// Its queues.
    pub queues: &'a [Arc<Queue>],
    /// Its groups that a Job names.
    pub groups: &'a [Arc<JobGroup>],
    /// The batch Jobs in it that Rota launched.
    pub batches: &'a [Arc<BatchJob>],
    /// How many may run under a limit of it.
    pub max_running: &'a dyn Fn(&Limit) -> Option<u32>,
    /// The rest of the cluster.
    pub elsewhere: Elsewhere<'a>,
}

/// What the rest of the cluster does to a namespace.
pub struct Elsewhere<'a> {
    /// How many may run in the cluster; absent: any number.
    pub ceiling: Option<u32>,
    /// How many run in other namespaces.
    pub running: usize,
    /// The namespace of the operator.
    pub own_namespace: &'a str,
    /// The queues in it, which may pause everything.
    pub own_queues: &'a [Arc<Queue>],
}

/// Who runs in a namespace, and what the others wait for.
#[derive(Debug)]
pub struct Present {
    line: Line,
    /// The queue of each Job that takes a place, by its uid.
    running: HashMap<String, String>,
}

impl Present {
    /// How it is now.
    pub fn of(surroundings: &Surroundings<'_>, now: Timestamp) -> Self {
        let mut present = Self { line: Line::new(surroundings.elsewhere.ceiling, usize::MAX), running: HashMap::new() };
        present.set_queues(surroundings);
        present.take_places(surroundings);
        present.offer(surroundings, now);
        present
    }

    /// The queue in which a Job takes a place, if it does.
    pub fn runs_in(&self, job: &Job) -> Option<&str> {
        self.running.get(job.metadata.uid.as_deref()?).map(String::as_str)
    }

    /// What a Job waits for; absent if it does not wait, or is about to be launched.
    pub fn blocker(&self, job: &Job, now: Timestamp) -> Option<Blocker> {
        if let Some((blocker, _)) = own_blocker(job, now) {
            return Some(blocker);
        }
        if let Some(blocker) = said(job).filter(|it| !is_of_the_line(it.waiting_for)) {
            return Some(blocker);
        }
        self.line.blocker(job.metadata.uid.as_deref()?, now)
    }

    /// The pause of everything that is in force.
    pub fn pause_of_everything(&self, now: Timestamp) -> Option<Paused> {
        let (queue, pause) = self.line.pause_of_cluster(now)?;
        Some(paused(&format!("everything is paused (queue {queue})"), pause))
    }

    fn set_queues(&mut self, surroundings: &Surroundings<'_>) {
        let own = surroundings.elsewhere.own_namespace;
        let theirs = surroundings.elsewhere.own_queues.iter().map(|queue| (own, queue));
        let here = surroundings.queues.iter().map(|queue| (surroundings.namespace, queue));
        for (namespace, queue) in theirs.chain(here) {
            let name = queue.metadata.name.as_deref().unwrap_or_default();
            self.line.set_queue(namespace, name, Some(Settings::of(&queue.spec).in_namespace(namespace == own)));
            self.line.meets(namespace, name, Holdback::said(queue));
        }
    }

    /// Those with a batch Job that has not ended run, and those that were admitted and have none yet.
    fn take_places(&mut self, surroundings: &Surroundings<'_>) {
        for index in 0..surroundings.elsewhere.running {
            let somebody = Occupant { name: "".into(), queue: "".into(), limits: [].into() };
            // No namespace has an empty name.
            self.line.occupy("", &format!("elsewhere-{index}"), somebody);
        }
        let uid = |job: &Job| job.metadata.uid.clone().unwrap_or_default();
        let by_uid: HashMap<String, &Job> = surroundings.jobs.iter().map(|job| (uid(job), job.as_ref())).collect();
        for batch in surroundings.batches.iter().filter(|batch| batch_outcome(batch) == BatchState::Active) {
            let label = |name: &str| batch.metadata.labels.as_ref().and_then(|labels| labels.get(name)).cloned();
            let Some(uid) = label(JOB_UID) else { continue };
            let job = by_uid.get(&uid).copied();
            if batch.metadata.deletion_timestamp.is_some() && job.is_some_and(has_ended) {
                continue;
            }
            let said = job.and_then(|job| job.status.as_ref()?.queue.clone());
            let name = job.map_or(&batch.metadata.name, |job| &job.metadata.name).clone().unwrap_or_default();
            let queue = said.or_else(|| label(QUEUE)).unwrap_or_default();
            self.occupy(surroundings.namespace, uid, name, queue, job.map_or_else(|| [].into(), limits));
        }
        self.keep_places(surroundings);
        let launched: HashSet<&str> =
            surroundings.batches.iter().filter_map(|batch| batch.metadata.name.as_deref()).collect();
        for queue in surroundings.queues {
            for entry in queue.status.iter().flat_map(|status| &status.in_flight) {
                let job = by_uid.get(&entry.uid).copied().filter(|job| is_left(job, entry));
                let Some(job) = job
                    .filter(|job| !attempt_names(job, entry.attempt).iter().any(|it| launched.contains(it.as_str())))
                else {
                    continue;
                };
                let queue = queue.metadata.name.clone().unwrap_or_default();
                self.occupy(surroundings.namespace, entry.uid.clone(), entry.job.clone(), queue, limits(job));
            }
        }
    }

    /// A Job of which a batch Job was launched takes its place until Kubernetes says that it ended, or until it is recorded:
    /// the batch Job may be gone before its pods have ended.
    fn keep_places(&mut self, surroundings: &Surroundings<'_>) {
        let is_ended = |batch: &&Arc<BatchJob>| batch_outcome(batch) != BatchState::Active;
        let ended: HashSet<&str> =
            surroundings.batches.iter().filter(is_ended).filter_map(|batch| batch.metadata.name.as_deref()).collect();
        for job in surroundings.jobs.iter().filter(|job| was_launched(job, None) && !has_ended(job)) {
            let uid = job.metadata.uid.clone().unwrap_or_default();
            if self.running.contains_key(&uid) || ended.contains(attempt_name(job, current_attempt(job)).as_str()) {
                continue;
            }
            let name = job.metadata.name.clone().unwrap_or_default();
            self.occupy(surroundings.namespace, uid, name, place::queue_name(job).to_owned(), limits(job));
        }
    }

    fn occupy(&mut self, namespace: &str, uid: String, name: String, queue: String, limits: Limits) {
        self.line.occupy(namespace, &uid, Occupant { name: name.into(), queue: queue.as_str().into(), limits });
        self.running.insert(uid, queue);
    }

    /// Those that wait for their turn stand in line.
    fn offer(&mut self, surroundings: &Surroundings<'_>, now: Timestamp) {
        let name = |group: &JobGroup| group.metadata.name.clone().unwrap_or_default();
        let groups: HashMap<String, &JobGroup> =
            surroundings.groups.iter().map(|group| (name(group), group.as_ref())).collect();
        let namespace: Arc<str> = surroundings.namespace.into();
        let mut limited: HashSet<Limit> = HashSet::new();
        for job in surroundings.jobs.iter().filter(|job| place::is_in_line(job, now)) {
            if self.runs_in(job).is_some() || said(job).is_some_and(|it| !is_of_the_line(it.waiting_for)) {
                continue;
            }
            let group = job.spec.group_ref.as_ref().and_then(|it| groups.get(&it.name).copied());
            let group = group.filter(|group| place::is_member(job, group));
            let limits = limits(job);
            for limit in limits.iter().filter(|limit| !limited.contains(*limit)).cloned().collect::<Vec<_>>() {
                let max = (surroundings.max_running)(&limit);
                self.line.set_max(surroundings.namespace, &limit, max);
                limited.insert(limit);
            }
            let candidate = Candidate {
                rank: place::rank(job, group, None, now),
                uid: job.metadata.uid.as_deref().unwrap_or_default().into(),
                attempt: current_attempt(job),
                queue: place::queue_name(job).into(),
                limits,
            };
            let namespace = namespace.clone();
            self.line.offer(Offer { namespace, candidate, accepted: true, asks_for: None }, now);
        }
    }
}

fn has_ended(job: &Job) -> bool {
    phase(job).is_some_and(JobPhase::is_ended)
}

/// Whether an attempt that was admitted is still to be launched, as far as the Job says. The list of a queue is brought up to
/// date with its next admission only.
fn is_left(job: &Job, entry: &InFlight) -> bool {
    let status = job.status.as_ref();
    let name = attempt_name(job, entry.attempt);
    let launched = status.and_then(|it| it.batch_job_ref.as_ref()).is_some_and(|it| it.name == name);
    let refused = status.is_some_and(|it| it.refused_since.is_some());
    let waits = matches!(phase(job), None | Some(JobPhase::Pending | JobPhase::Queued));
    entry.attempt == current_attempt(job) && waits && !launched && !refused
}
