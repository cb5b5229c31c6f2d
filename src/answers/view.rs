//! View: a namespace as the caches have it, and what there is to say of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use serde_json::Value;

use super::question::{About, Question, Refusal};
use crate::api::job::WaitingFor;
use crate::api::{Job, JobGroup, JobPhase, Queue};
use crate::controllers::job_group::priorities;
use crate::dispatcher;
use crate::domain::estimate::History;
use crate::domain::explanation::{self, Explanation};
use crate::domain::outlook::{Elsewhere, Present, Sample, Seen, Surroundings, line_json, phase, queue_json, said};
use crate::domain::queue::{Blocker, Limit};
use crate::domain::run::{BatchState, batch_outcome};
use crate::domain::{group, job, place};
use crate::runtime::store::Key;
use crate::runtime::stores::{Stores, in_namespace, of_group};

/// How many queues are told of, the first by name.
const QUEUES_MAX: usize = 1_000;

/// Where the operator stands.
#[derive(Clone)]
pub struct Place {
    /// The namespaces that the operator works on. An empty list means all.
    pub only: Vec<String>,
    /// Its own namespace.
    pub own: String,
    /// How many may run in the cluster; absent: any number.
    pub ceiling: Option<u32>,
}

/// The caches, and where the operator stands.
pub struct View {
    /// The caches.
    pub stores: Arc<Stores>,
    /// Where the operator stands.
    pub place: Place,
}

/// What the caches have of a namespace.
struct Found {
    jobs: Vec<Arc<Job>>,
    queues: Vec<Arc<Queue>>,
    groups: Vec<Arc<JobGroup>>,
    present: Present,
}

impl Found {
    fn seen<'a>(&'a self, history: &'a History, now: Timestamp) -> Seen<'a> {
        let groups = self.groups.iter().map(Arc::as_ref);
        let jobs = self.jobs.iter().map(Arc::as_ref);
        Seen::new(jobs, self.queues.iter().map(Arc::as_ref), groups, history, Some(&self.present), now)
    }
}

impl View {
    /// Answers. Other Jobs are named only to whoever may list them.
    pub fn answer(
        &self,
        question: &Question,
        history: &History,
        names_others: bool,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        let namespace = question.namespace.as_str();
        let only = &self.place.only;
        if !only.is_empty() && !only.iter().any(|it| it == namespace) {
            return Err(Refusal::new(
                404,
                format!("this operator looks at these namespaces only: {}", only.join(", ")),
            ));
        }
        let missing = |kind: &str, name: &str| {
            Refusal::new(404, format!("there is no {kind} {name:?} in the namespace {namespace:?}"))
        };
        match &question.about {
            About::Why { job: name } => {
                let found = self.stores.jobs.get(&Key::new(namespace, name)).ok_or_else(|| missing("Job", name))?;
                let mut explanation = self.explain(&found, namespace, history, names_others, now);
                explanation.say_that_it_leaves(&found);
                Ok(explanation.json(name, Some(&found)))
            }
            About::Queues => {
                let found = self.find(namespace, now);
                let seen = found.seen(history, now);
                let names = seen.queue_names().into_iter().take(QUEUES_MAX);
                Ok(Value::from_iter(names.map(|name| queue_json(name, &seen.outlook(name)))))
            }
            About::Queue { queue, limit } => {
                let found = self.find(namespace, now);
                let seen = found.seen(history, now);
                if !seen.queue_names().contains(queue.as_str()) {
                    return Err(missing("queue", queue));
                }
                Ok(line_json(queue, &seen, &seen.outlook(queue), *limit))
            }
        }
    }

    /// The sample of past runs that tells how long the Jobs of a queue, or of all, take; it is still to be taken.
    pub fn sample(&self, namespace: &str, queue: Option<&str>, now: Timestamp) -> Sample {
        let jobs = self.stores.jobs.find(&in_namespace(namespace));
        let is_there = |job: &&Job| {
            let ended = phase(job).is_some_and(JobPhase::is_ended);
            !ended && queue.is_none_or(|queue| place::queue_name(job) == queue)
        };
        Sample::of(jobs.iter().map(Arc::as_ref).filter(is_there), now)
    }

    fn explain(
        &self,
        job: &Job,
        namespace: &str,
        history: &History,
        names_others: bool,
        now: Timestamp,
    ) -> Explanation {
        match phase(job) {
            Some(JobPhase::Finished | JobPhase::Cancelled) => return explanation::ended(job),
            Some(JobPhase::Dispatched | JobPhase::Running) => return explanation::launched(job, now),
            Some(JobPhase::Pending | JobPhase::Queued) | None => {}
        }
        if let Some(blocker) = self.of_its_group(job, namespace) {
            return explanation::pending(job, Some(blocker), now);
        }
        let found = self.find(namespace, now);
        if found.present.runs_in(job).is_some() {
            return explanation::launched(job, now);
        }
        if !place::is_queued(job) {
            return explanation::pending(job, said(job), now);
        }
        let seen = found.seen(history, now);
        // In its sentence a full queue names who runs.
        let may_be_told = |it: &Blocker| names_others || it.waiting_for != WaitingFor::QueueLimit;
        let blocker = seen.blocker(job).map(|it| match may_be_told(&it) {
            true => it,
            false => Blocker { message: String::new(), ..it },
        });
        explanation::queued(&seen.outlook(place::queue_name(job)), job, blocker, names_others, now)
    }

    /// What a Job that waits for its group, or within it, waits for now: the sentence in its status is that of when it began.
    fn of_its_group(&self, job: &Job, namespace: &str) -> Option<Blocker> {
        let said = said(job).filter(|it| matches!(it.waiting_for, WaitingFor::Group | WaitingFor::GroupOrder))?;
        let group = self.stores.groups.get(&Key::new(namespace, &job.spec.group_ref.as_ref()?.name));
        let standing = group.as_deref().map(|group| {
            let named = self.stores.jobs.find(&of_group(namespace, group.metadata.name.as_deref().unwrap_or_default()));
            let members: Vec<_> =
                named.iter().filter_map(|it| group::member(it, group, job::ending(it, None))).collect();
            group::standing(group, &members, &priorities(&self.stores, group))
        });
        let gate = group::gate(job, group.as_deref().zip(standing.as_ref()))?;
        let unstarted = gate.unstarted.map(|message| Blocker { waiting_for: WaitingFor::Group, message });
        let waits = gate.waits.map(|message| Blocker { waiting_for: WaitingFor::GroupOrder, message });
        // Where the group holds it back no longer, that is about to be written.
        Some(unstarted.or(waits).unwrap_or(said))
    }

    /// Looks up what there is in a namespace.
    fn find(&self, namespace: &str, now: Timestamp) -> Found {
        let stores = &self.stores;
        let jobs = stores.jobs.find(&in_namespace(namespace));
        let named: BTreeSet<&str> =
            jobs.iter().filter_map(|job| Some(job.spec.group_ref.as_ref()?.name.as_str())).collect();
        let groups: Vec<Arc<JobGroup>> =
            named.into_iter().filter_map(|name| stores.groups.get(&Key::new(namespace, name))).collect();
        let queues = stores.queues.find(&in_namespace(namespace));
        let own_queues = stores.queues.find(&in_namespace(&self.place.own));
        let batches: Vec<Arc<BatchJob>> = stores.batch_jobs.find(&in_namespace(namespace));
        let max_running = |limit: &Limit| dispatcher::max_running(stores, namespace, limit);
        let elsewhere = Elsewhere {
            ceiling: self.place.ceiling,
            running: self.running_elsewhere(namespace),
            own_namespace: &self.place.own,
            own_queues: &own_queues,
        };
        let surroundings = Surroundings {
            namespace,
            jobs: &jobs,
            queues: &queues,
            groups: &groups,
            batches: &batches,
            max_running: &max_running,
            elsewhere,
        };
        let present = Present::of(&surroundings, now);
        Found { jobs, queues, groups, present }
    }

    /// How many Jobs run in other namespaces, if that matters.
    fn running_elsewhere(&self, namespace: &str) -> usize {
        if self.place.ceiling.is_none() {
            return 0;
        }
        let others = self.stores.batch_jobs.keys().into_iter().filter(|key| key.namespace != namespace);
        // A Job has one batch Job that has not ended.
        let batches = others.filter_map(|key| self.stores.batch_jobs.get(&key));
        batches.filter(|batch| batch_outcome(batch) == BatchState::Active).count()
    }
}
