//! Controllers: observe, decide, apply, status. One short file a kind; what they share is here.

pub mod job;
pub mod job_group;
pub mod job_template;
pub mod refusals;
pub mod schedule;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference as EventTarget;
use kube::Resource;
use tokio::sync::mpsc;

use crate::api::{Job, JobRun, JobTemplate, JobTemplateSpec, Schedule, ScheduleStatus};
use crate::apply::{WriteError, Writer};
use crate::dispatcher::Dispatcher;
use crate::domain::job::Memory;
use crate::domain::plan::{Effect, Ending, Note};
use crate::domain::template::{self, Reading};
use crate::runtime::clock::now;
use crate::runtime::lease::Leadership;
use crate::runtime::metrics::Metrics;
use crate::runtime::store::Key;
use crate::runtime::stores::Stores;
use crate::runtime::visibility::{Act, Blind};
use crate::runtime::work::{Next, Trigger};

/// How many events may wait to be sent; more are dropped and counted.
pub const EVENTS_MAX: usize = 1_024;
/// How long to wait before trying again what could not be written because the lease had lapsed.
pub const NOT_LEADING_DELAY: Duration = Duration::from_millis(500);
/// How long to wait before deciding again about an object that somebody else changed meanwhile, unless its watch is faster.
const CHANGED_DELAY: Duration = Duration::from_millis(100);

/// Asks each controller for a run.
#[derive(Clone)]
pub struct Triggers {
    /// The JobTemplate controller.
    pub templates: Trigger,
    /// The Schedule controller.
    pub schedules: Trigger,
    /// The Job controller.
    pub jobs: Trigger,
    /// The JobGroup controller.
    pub groups: Trigger,
    /// The dispatcher; its keys are namespaces.
    pub dispatcher: Trigger,
    /// The launcher; its keys are Jobs.
    pub launcher: Trigger,
}

impl Triggers {
    /// Asks for a round of a namespace's queues.
    pub fn dispatch(&self, namespace: &str) {
        self.dispatcher.trigger(Key::new(namespace, ""));
    }
}

/// What all controllers share.
pub struct Context {
    /// What the API server last said.
    pub stores: Arc<Stores>,
    /// The only writer.
    pub writer: Writer,
    /// Who asks whom.
    pub triggers: Triggers,
    /// Whether this process leads.
    pub leadership: Leadership,
    /// Since when: up to here another process may have written something.
    pub leading_since: Timestamp,
    /// When the leader before this one last renewed the lease, by its own clock; absent: there is none known.
    pub predecessor_renewed_at: Option<Timestamp>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Who waits, who runs, and who is next.
    pub dispatcher: Dispatcher,
    /// The namespace of the operator itself: a Queue there may pause everything.
    pub own_namespace: String,
    /// The scopes that this process has taken over since it leads, by namespace. An empty name means all namespaces.
    pub taken_over: RwLock<HashSet<String>>,
    /// What is remembered of Jobs, by uid.
    pub memories: Memories,
    /// What reading objects found.
    pub readings: Readings,
    /// The last answers of the API server about templates.
    pub probes: Mutex<HashMap<Key, (job_template::Asked, template::Probe)>>,
    /// Statuses of schedules that are decided and not written yet, by uid, and since when.
    pub unwritten: Mutex<HashMap<String, (ScheduleStatus, Timestamp)>>,
    /// What is remembered of schedules.
    pub schedule_memory: schedule::Memory,
    /// Schedules that are gone and of which it is not recorded yet what they owed, as they were last seen.
    pub gone_schedules: Mutex<HashMap<Key, Vec<Arc<Schedule>>>>,
    /// When the last run of a schedule failed, so that what it wrote is not known.
    pub doubts: Mutex<HashMap<Key, Timestamp>>,
    /// Jobs that this process made for their schedules, until each is looked at.
    pub made: Mutex<HashSet<Key>>,
    /// The namespaces whose queue `default` is being created.
    pub queues_being_made: Mutex<HashSet<String>>,
    /// Revisions as specifications, by key.
    pub revisions: Mutex<HashMap<Key, Arc<JobTemplateSpec>>>,
    /// How the members of groups stand.
    pub standings: job_group::Standings,
    /// Events to be sent.
    pub events: mpsc::Sender<(EventTarget, Note)>,
}

/// What is remembered of Jobs, by uid.
#[derive(Default)]
pub struct Memories(Mutex<HashMap<String, Memory>>);

impl Memories {
    /// What is remembered of a Job, if anything is.
    pub fn get(&self, uid: &str) -> Option<Memory> {
        self.lock().get(uid).cloned()
    }

    /// Whether the launch of a Job was claimed or made by this process.
    pub fn is_begun(&self, uid: &str) -> bool {
        self.lock().get(uid).is_some_and(|memory| memory.claimed.is_some() || memory.launched.is_some())
    }

    /// Whether it is remembered that an attempt is being launched, or was.
    pub fn launches(&self, uid: &str, attempt: u32) -> bool {
        let launched = |memory: &Memory| memory.launched.is_some_and(|(launched, _)| launched == attempt);
        self.lock().get(uid).is_some_and(|memory| memory.launching == Some(attempt) || launched(memory))
    }

    /// Changes what is remembered of a Job and returns it as it is then.
    pub fn update(&self, uid: &str, change: impl FnOnce(&mut Memory)) -> Memory {
        let mut memories = self.lock();
        let memory = memories.entry(uid.to_owned()).or_insert_with(|| Memory::new(now()));
        change(memory);
        memory.clone()
    }

    /// Claims the launch of a Job in one step: not if another one of `rivals` claimed its own, or if `may` says no.
    pub fn claim(&self, uid: &str, attempt: u32, rivals: &[String], may: impl FnOnce(&Memory) -> bool) -> bool {
        let mut memories = self.lock();
        let claimed = |rival: &String| memories.get(rival).is_some_and(|memory| memory.claimed.is_some());
        if rivals.iter().any(claimed) {
            return false;
        }
        let Some(memory) = memories.get_mut(uid).filter(|memory| may(memory)) else { return false };
        memory.claimed = Some(attempt);
        true
    }

    /// Takes note that its group lets a Job come to its queue. Returns whether that is new.
    pub fn call(&self, uid: &str, at: Timestamp) -> bool {
        let mut memories = self.lock();
        let Some(memory) = memories.get_mut(uid).filter(|memory| memory.called_at.is_none()) else { return false };
        memory.called_at = Some(at);
        true
    }

    /// Takes note whether the last run for a Job failed, and returns what is remembered of it, if anything is.
    pub fn was_run(&self, uid: &str, failed: bool) -> Option<Memory> {
        let mut memories = self.lock();
        let memory = memories.get_mut(uid)?;
        (memory.is_failing != failed).then(|| memory.is_failing = failed);
        failed.then(|| memory.clone())
    }

    /// Takes note in one step that a record is being created, unless its attempt is being launched: it is one or the other.
    pub fn begin_record(&self, uid: &str, run: &JobRun) -> bool {
        let mut begun = false;
        self.update(uid, |memory| {
            begun = memory.launching != Some(run.spec.attempt);
            if begun {
                memory.recording = Some(Box::new(run.clone()));
            }
        });
        begun
    }

    /// Forgets a Job that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Memory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What reading objects found, by key: it may take a while, and is not repeated until they are edited.
#[derive(Default)]
pub struct Readings {
    /// What templates are.
    pub templates: Mutex<HashMap<Key, Arc<Reading>>>,
    /// Whether the parameters of schedules fit their templates.
    pub schedules: Mutex<HashMap<Key, schedule::Judged>>,
}

impl Context {
    /// Tells people about an object; dropped when too many events wait already, or launches do and it can be left out.
    pub fn tell<K: Resource<DynamicType = ()>>(&self, object: &K, notes: Vec<Note>) {
        let busy = self.writer.is_busy();
        for note in notes {
            let is_left_out = busy && note.can_be_left_out();
            if is_left_out || self.events.try_send((object.object_ref(&()), note)).is_err() {
                self.metrics.event_dropped();
            }
        }
    }

    /// Whether this process has taken over a namespace, and sees enough of it to act there.
    pub fn may(&self, act: Act, namespace: &str) -> Result<(), WriteError> {
        let needed = [Some(namespace), (act == Act::Dispatch).then_some(self.own_namespace.as_str())];
        if needed.into_iter().flatten().any(|it| self.taken_over(it).is_none()) {
            return Err(Blind("it was not all listed since this process leads".to_owned()).into());
        }
        Ok(self.stores.visibility.may(act, namespace)?)
    }

    /// Returns a guard if this process has taken over a namespace. No scope is taken over while somebody holds the guard.
    pub fn taken_over(&self, namespace: &str) -> Option<RwLockReadGuard<'_, HashSet<String>>> {
        let scope = self.stores.visibility.scope(namespace)?.namespace();
        let taken_over = self.taken_over.read().unwrap_or_else(PoisonError::into_inner);
        taken_over.contains(scope).then_some(taken_over)
    }

    /// Makes changes in order, stopping at the first that fails.
    pub async fn apply_all(&self, effects: Vec<Effect>) -> Result<(), WriteError> {
        for effect in effects {
            self.writer.apply(effect).await?;
        }
        Ok(())
    }

    /// What reading a template found: as before, unless it was edited since.
    pub fn reading(&self, template: &JobTemplate) -> Arc<Reading> {
        let key = Key::of(template);
        let known = || self.readings.templates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = known().get(&key).filter(|reading| reading.is_of(template)) {
            return reading.clone();
        }
        // Not under the lock: nobody else waits while this one is read.
        let reading = Arc::new(Reading::of(template));
        known().insert(key, reading.clone());
        reading
    }

    /// The specification that a revision holds.
    pub fn revision(&self, key: &Key) -> Option<Arc<JobTemplateSpec>> {
        let mut known = self.revisions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spec) = known.get(key) {
            return Some(spec.clone());
        }
        let revision = self.stores.revisions.get(key)?;
        let spec = Arc::new(template::revision_spec(&revision)?);
        known.insert(key.clone(), spec.clone());
        Some(spec)
    }

    /// Forgets a Job that was deleted while a worker handled it: the deletion event may precede what was remembered last.
    pub fn forget_if_gone(&self, key: &Key, uid: &str) {
        if self.stores.jobs.get(key).is_none_or(|job| job.metadata.uid.as_deref() != Some(uid)) {
            crate::dispatcher::forget(self, &key.namespace, uid);
            self.triggers.dispatch(&key.namespace);
        }
    }

    /// How a Job ended, if it did.
    pub fn ending(&self, job: &Job) -> Option<Ending> {
        let memories = self.memories.lock();
        let memory = job.metadata.uid.as_deref().and_then(|uid| memories.get(uid));
        crate::domain::job::ending(job, memory)
    }
}

/// What to do after a run: what the plan asked for, or again later after a failure.
pub fn outcome(
    context: &Context,
    controller: &'static str,
    key: &Key,
    result: Result<Option<Timestamp>, WriteError>,
) -> Next {
    context.metrics.reconciled(controller, result.is_ok());
    match result {
        Ok(None) => Next::Wait,
        Ok(Some(at)) => Next::After(until(at)),
        // A lease that lapsed may still be renewed, after a pause of the machine for one: nothing else asks again then. A
        // process that lost it ends.
        Err(WriteError::NotLeading) => Next::After(NOT_LEADING_DELAY),
        // It is looked at again with all others when it can be decided about.
        Err(WriteError::Blind(why)) => {
            tracing::debug!(controller, %key, %why, "not decided now");
            Next::Wait
        }
        // What somebody else wrote is in the stores, and asks for a run as any news does.
        Err(error @ WriteError::Changed { .. }) => {
            tracing::debug!(controller, %key, error = %error.text(), "deciding again");
            Next::After(CHANGED_DELAY)
        }
        Err(error) => {
            tracing::warn!(controller, %key, error = %error.text(), "failed, trying again");
            Next::Failed
        }
    }
}

/// How long it is until an instant; a little more than nothing if it has passed.
fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now())).unwrap_or(Duration::from_millis(1)).max(Duration::from_millis(1))
}
