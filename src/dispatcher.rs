//! Dispatcher: admits waiting Jobs under the limits of their queues, templates, groups and schedules, and of the cluster.
//!
//! Who is next is decided by the one [`Line`] in memory, which is told of each change. What it admits takes its places at
//! once, is then written to the status of its Queue, guarded by its resourceVersion, and only after that launched: whoever
//! comes next, after a crash or a change of leader, counts and completes it. Before a leader's first admission in a
//! namespace it raises the epoch of every Queue there (with a limit for the cluster: of every Queue), so that an older
//! leader's next admission fails.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::ResourceExt;

use crate::api::queue::{InFlight, OverflowPolicy};
use crate::api::{DEFAULT_QUEUE, Job, JobPhase, Queue, QueueStatus, labels};
use crate::apply::WriteError;
use crate::controllers::job::attempt::{Seen, is_launched};
use crate::controllers::{Context, outcome};
use crate::domain::conditions::{self, Conditions, Fact, micro};
use crate::domain::job::{Memory, current_attempt, limits};
use crate::domain::queue::{Candidate, Counts, Limit, Line, Occupant, Offer, Settings, is_active};
use crate::domain::run::{BatchState, batch_outcome, pod_has_ended};
use crate::domain::{group, names, schedule};
use crate::runtime::clock::now;
use crate::runtime::store::Key;
use crate::runtime::stores::{Stores, in_namespace, of_uid};
use crate::runtime::visibility::Act;
use crate::runtime::work::Next;

/// How many Jobs of a queue are being launched at once. It bounds the size of its status and how long one write of it takes:
/// enough that launches go on while the next ones are written down, and no more.
const LAUNCHING_MAX: usize = 200;
/// How long the counts in a Queue's status may lag behind, in seconds.
const COUNTS_DELAY_SECONDS: i64 = 2;
/// How many of the first Jobs in a queue are looked at when the queue is edited, so that they say what they wait for now.
const TOLD_MAX: usize = 100;

/// What the dispatcher remembers between rounds.
pub struct Dispatcher {
    /// Every Job that waits or runs.
    line: Mutex<Line>,
    /// What was admitted and is not written down yet, by namespace.
    admitted: Mutex<HashMap<Arc<str>, Vec<Candidate>>>,
    /// Namespaces whose Queues carry this leader's epoch.
    prepared: Mutex<HashSet<String>>,
    /// Since when the counts of a Queue differ from its status.
    stale_since: Mutex<HashMap<Key, Timestamp>>,
}

impl Dispatcher {
    /// One under a limit for the whole cluster; absent: no limit.
    pub fn new(ceiling: Option<u32>) -> Self {
        Self {
            line: Mutex::new(Line::new(ceiling, LAUNCHING_MAX)),
            admitted: Mutex::default(),
            prepared: Mutex::default(),
            stale_since: Mutex::default(),
        }
    }

    /// The line. Whoever holds it may look into the stores, and nobody who holds a store may ask for it.
    pub fn line(&self) -> MutexGuard<'_, Line> {
        lock(&self.line)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One round for a namespace.
pub async fn round(context: Arc<Context>, key: Key) -> Next {
    let result = run(&context, &key.namespace).await;
    outcome(&context, "dispatcher", &key, result)
}

async fn run(context: &Context, namespace: &str) -> Result<Option<Timestamp>, WriteError> {
    context.may(Act::Dispatch)?;
    take_over(context, namespace);
    // Decide, for all namespaces: those of others are written down by rounds of their own. What an earlier round of another
    // one decided about this one is decided again, so that nothing that came since is passed over.
    let now_is = now();
    let wake_at = decide(context, namespace, now_is);
    // Apply: what is admitted is written down first, and only then launched.
    let mine = lock(&context.dispatcher.admitted).remove(namespace).unwrap_or_default();
    let mut by_queue: HashMap<&str, Vec<&Candidate>> = HashMap::new();
    for candidate in &mine {
        by_queue.entry(&candidate.queue).or_default().push(candidate);
    }
    let mut result = Ok(());
    for (queue, admitted) in &by_queue {
        let written = match prepare(context, namespace, queue).await {
            Ok(()) => admit(context, namespace, queue, admitted, now_is).await,
            Err(error) => Err(error),
        };
        if written.is_err() {
            // Whether it was written or not, nothing of it is launched; the next write tells.
            let mut line = context.dispatcher.line();
            admitted.iter().for_each(|candidate| line.put_back(&candidate.uid, now_is));
            result = written;
        }
    }
    result?;
    let counts_due = write_counts(context, namespace, now_is).await?;
    Ok(match (wake_at, counts_due) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (left, right) => left.or(right),
    })
}

/// Asks the line who is next, and hands out what it says. Returns when to ask again.
fn decide(context: &Context, own: &str, now_is: Timestamp) -> Option<Timestamp> {
    let mut line = context.dispatcher.line();
    let before = lock(&context.dispatcher.admitted).remove(own).unwrap_or_default();
    before.iter().for_each(|candidate| line.put_back(&candidate.uid, now_is));
    let round = line.admit(now_is);
    let mut namespaces = HashSet::new();
    {
        let mut admitted = lock(&context.dispatcher.admitted);
        for (namespace, candidate) in round.admitted {
            if namespace.as_ref() != own {
                namespaces.insert(namespace.clone());
            }
            admitted.entry(namespace).or_default().push(candidate);
        }
    }
    for dropped in round.dropped {
        context.memories.update(&dropped.uid, |memory| memory.dropped = Some((dropped.reason, dropped.message)));
        context.triggers.jobs.trigger(Key::new(&dropped.namespace, &dropped.name));
    }
    round.resumed.iter().for_each(|namespace| tell_first(context, &line, namespace));
    drop(line);
    namespaces.iter().for_each(|namespace| context.triggers.dispatch(namespace));
    round.wake_at
}

/// Offers a Job to the line, or takes it out, as was decided about it.
pub fn offer(context: &Context, job: &Job, candidate: Option<&Candidate>) {
    let namespace = job.namespace().unwrap_or_default();
    let uid = job.uid().unwrap_or_default();
    let mut line = context.dispatcher.line();
    let Some(candidate) = candidate else {
        line.withdraw(&uid);
        return;
    };
    let memory = context.memories.update(&uid, |_| ());
    let launched = memory.launched.is_some_and(|(attempt, _)| attempt == candidate.attempt);
    if launched || memory.launching == Some(candidate.attempt) {
        return;
    }
    let queue = context.stores.queues.get(&Key::new(&namespace, candidate.queue.as_ref()));
    let coalesces = queue.is_some_and(|queue| queue.spec.overflow_policy == Some(OverflowPolicy::CoalesceSame));
    let accepted = job.status.as_ref().is_some_and(|status| status.phase == Some(JobPhase::Queued));
    let asks_for = coalesces.then(|| names::request(&job.spec));
    let namespace = namespace.into();
    line.offer(Offer { namespace, candidate: candidate.clone(), accepted, asks_for }, now());
}

/// How many may run under a limit, as templates, groups and schedules say now.
pub fn max_running(stores: &Stores, namespace: &str, limit: &Limit) -> Option<u32> {
    match limit {
        Limit::Template(name) => stores.templates.get(&Key::new(namespace, name))?.spec.max_running,
        Limit::Schedule(name) => schedule::max_running(&stores.schedules.get(&Key::new(namespace, name))?.spec),
        Limit::Group(uid) => group::max_running(&stores.groups.find(&of_uid(uid)).first()?.spec),
    }
}

/// Tells the line all limits of templates, groups and schedules that there are.
pub fn tell_limits(context: &Context) {
    let stores = &context.stores;
    let of_groups = stores.groups.keys().into_iter().filter_map(|key| {
        let uid = stores.groups.get(&key)?.uid()?;
        Some((key.namespace, Limit::Group(uid)))
    });
    let of_templates = stores.templates.keys().into_iter().map(|key| (key.namespace, Limit::Template(key.name)));
    let of_schedules = stores.schedules.keys().into_iter().map(|key| (key.namespace, Limit::Schedule(key.name)));
    for (namespace, limit) in of_templates.chain(of_groups).chain(of_schedules) {
        context.dispatcher.line().set_max(&namespace, &limit, max_running(&context.stores, &namespace, &limit));
    }
}

/// A template, group or schedule was edited: its limit is as it says now.
pub fn limit_changed(context: &Context, namespace: &str, limit: &Limit) {
    let mut line = context.dispatcher.line();
    line.set_max(namespace, limit, max_running(&context.stores, namespace, limit));
    drop(line);
    context.triggers.dispatch(namespace);
}

/// Has the first Jobs in the queues of a namespace say what they wait for now.
fn tell_first(context: &Context, line: &Line, namespace: &str) {
    for queue in line.queues(namespace) {
        for name in line.first(namespace, queue, TOLD_MAX) {
            context.triggers.jobs.trigger(Key::new(namespace, &name));
        }
    }
}

/// A Job is there that nobody has looked at since: what comes after it waits for that, unless it is gone or cannot be looked at.
pub fn expect(context: &Context, job: &Job, since: Timestamp, from_start: bool) {
    expect_in(context, &mut context.dispatcher.line(), job, since, from_start);
}

/// The same within a larger step.
pub fn expect_in(context: &Context, line: &mut Line, job: &Job, since: Timestamp, from_start: bool) {
    let uid = job.uid().unwrap_or_default();
    // A Job leaves the stores before it is forgotten here.
    let there = context.stores.jobs.get(&Key::of(job)).and_then(|it| it.uid()).as_ref() == Some(&uid);
    if there && !context.memories.get(&uid).is_some_and(|memory| memory.is_failing) {
        line.expect(&job.namespace().unwrap_or_default(), &uid, since, from_start);
    }
}

/// A run for a Job has ended.
pub fn was_run(context: &Context, key: &Key, failed: bool) {
    let Some(uid) = context.stores.jobs.get(key).and_then(|job| job.uid()) else { return };
    let Some(memory) = context.memories.was_run(&uid, failed) else { return };
    let mut line = context.dispatcher.line();
    let times = [Some(memory.first_seen), memory.called_at];
    let waited_for = times.into_iter().flatten().filter(|at| line.passed_over(&key.namespace, &uid, *at)).count();
    drop(line);
    if waited_for > 0 {
        context.triggers.dispatch(&key.namespace);
    }
}

/// A Job was looked at, remembering that: what came after it need not wait for that any more.
pub fn looked_at(context: &Context, namespace: &str, uid: &str, memory: &Memory) {
    if is_looked_at(&mut context.dispatcher.line(), namespace, uid, memory) {
        context.triggers.dispatch(namespace);
    }
}

/// It is expected since it was first seen, and again since its group called it.
fn is_looked_at(line: &mut Line, namespace: &str, uid: &str, memory: &Memory) -> bool {
    let since_seen = line.looked_at(namespace, uid, memory.first_seen);
    let since_called = memory.called_at.is_some_and(|at| line.looked_at(namespace, uid, at));
    since_seen || since_called
}

/// A Job is gone.
pub fn forget(context: &Context, namespace: &str, uid: &str) {
    // In one step, so that its group does not call it in between.
    let mut line = context.dispatcher.line();
    if let Some(memory) = context.memories.get(uid) {
        is_looked_at(&mut line, namespace, uid, &memory);
    }
    line.forget(uid);
    context.memories.forget(uid);
}

/// A queue was edited, made or deleted. The first Jobs of its namespace, which it may pause, say what they wait for now.
pub fn queue_changed(context: &Context, key: &Key) {
    let mut line = context.dispatcher.line();
    let found = context.stores.queues.get(key);
    line.set_queue(&key.namespace, &key.name, found.map(|queue| settings(context, &queue)));
    if context.stores.queues.find(&in_namespace(&key.namespace)).is_empty() {
        lock(&context.dispatcher.prepared).remove(&key.namespace);
    }
    tell_first(context, &line, &key.namespace);
    drop(line);
    context.triggers.dispatch(&key.namespace);
}

/// What a queue is set to. Only in the operator's own namespace it can pause everything.
fn settings(context: &Context, queue: &Queue) -> Settings {
    Settings::of(&queue.spec).in_namespace(queue.namespace().as_deref() == Some(&context.own_namespace))
}

/// Brings what the line knows of a Job's places up to what the stores say: it takes them while it is being launched, and
/// until its attempt has ended. Returns whether it gave them back.
pub fn sync(context: &Context, namespace: &str, uid: &str) -> bool {
    let mut line = context.dispatcher.line();
    let occupied = line.occupies(uid);
    let holder = holder(context, uid);
    let launching = line.is_admitted(uid) || context.memories.get(uid).is_some_and(|memory| memory.launching.is_some());
    if !launching {
        line.launched(uid);
    }
    match holder {
        Some(place) => line.occupy(namespace, uid, place),
        None if launching => {}
        None => line.release(uid),
    }
    occupied && !line.occupies(uid)
}

/// A pod of a Job has ended. That matters where no batch Job tells of the attempt's end.
pub fn pod_ended(context: &Context, namespace: &str, uid: &str) {
    let batches = context.stores.batch_jobs.find(&of_uid(uid));
    let tells = |batch: &Arc<BatchJob>| batch.metadata.deletion_timestamp.is_none();
    if !batches.iter().any(tells) && context.dispatcher.line().occupies(uid) && sync(context, namespace, uid) {
        context.triggers.dispatch(namespace);
    }
}

/// The places of a Job whose attempt was launched and has not ended.
fn holder(context: &Context, uid: &str) -> Option<Occupant> {
    let batches = context.stores.batch_jobs.find(&of_uid(uid));
    let active = |batch: &&Arc<BatchJob>| batch_outcome(batch) == BatchState::Active;
    if let Some(batch) = batches.iter().filter(active).find(|it| it.metadata.deletion_timestamp.is_none()) {
        return Some(occupant(context, uid, batch));
    }
    let found = context.stores.jobs.find(&of_uid(uid));
    if let Some(job) = found.iter().find(|job| job.uid().as_deref() == Some(uid)) {
        let memory = context.memories.get(uid).unwrap_or_else(|| Memory::new(now()));
        let attempt = current_attempt(job);
        let ended = memory.recorded.as_ref().is_some_and(|it| it.attempt == attempt) || context.ending(job).is_some();
        let stand = Seen::of(context, job);
        let stand = stand.stand(job, &memory);
        return (!ended && stand.was_launched() && stand.takes_place()).then(|| place(job, &memory, None));
    }
    // The Job is gone, and what it ran may not be.
    if let Some(batch) = batches.iter().find(active) {
        return Some(occupant(context, uid, batch));
    }
    let ended = |attempt: &str| batches.iter().any(|batch| label(batch.labels(), labels::ATTEMPT) == attempt);
    let pods = context.stores.pods.find(&of_uid(uid));
    let left = pods.iter().find(|pod| !pod_has_ended(pod) && !ended(&label(pod.labels(), labels::ATTEMPT)))?;
    let name = label(left.labels(), labels::JOB);
    // Which queue it came from its pod does not say. Where that is known, it keeps its places.
    Some(Occupant { name: name.into(), queue: "".into(), limits: [].into() })
}

/// Completes what an earlier leader admitted and did not launch, once all that was there has been looked at.
fn take_over(context: &Context, namespace: &str) {
    let mut line = context.dispatcher.line();
    if !line.is_to_let_go(namespace) {
        return;
    }
    for queue in context.stores.queues.find(&in_namespace(namespace)) {
        for entry in queue.status.iter().flat_map(|status| &status.in_flight) {
            let Some(job) = context.stores.jobs.get(&Key::new(namespace, &entry.job)) else { continue };
            let memory = context.memories.get(&entry.uid).filter(|_| job.uid().as_deref() == Some(&entry.uid));
            let Some(memory) = memory.filter(|memory| is_left(context, &job, memory, entry.attempt)) else { continue };
            line.occupy(namespace, &entry.uid, place(&job, &memory, Some(&queue.name_any())));
            context.memories.update(&entry.uid, |memory| memory.launching = Some(entry.attempt));
            context.triggers.launcher.trigger(Key::of(job.as_ref()));
        }
    }
    line.let_go(namespace);
}

/// Whether an attempt that was admitted is still to be launched.
fn is_left(context: &Context, job: &Job, memory: &Memory, attempt: u32) -> bool {
    let status = job.status.as_ref();
    let launched = is_launched(context, job, memory);
    let refused = memory.refusal.as_ref().is_some_and(|refusal| refusal.attempt == attempt)
        || status.is_some_and(|status| status.refused_since.is_some());
    let ended = status.and_then(|status| status.phase).is_some_and(JobPhase::is_ended) || memory.recorded.is_some();
    attempt == current_attempt(job) && !launched && !refused && !ended && memory.launching.is_none()
}

/// The places that an unfinished batch Job takes.
fn occupant(context: &Context, uid: &str, batch: &BatchJob) -> Occupant {
    let found = context.stores.jobs.find(&of_uid(uid));
    let queue = Some(label(batch.labels(), labels::QUEUE)).filter(|it| !it.is_empty());
    match (found.iter().find(|job| job.uid().as_deref() == Some(uid)), context.memories.get(uid)) {
        (Some(job), Some(memory)) => place(job, &memory, queue.as_deref()),
        _ => Occupant {
            name: batch.name_any().into(),
            queue: queue.unwrap_or_default().into(),
            limits: [
                Some(label(batch.labels(), labels::TEMPLATE)).filter(|it| !it.is_empty()).map(Limit::Template),
                Some(label(batch.labels(), labels::SCHEDULE)).filter(|it| !it.is_empty()).map(Limit::Schedule),
            ]
            .into_iter()
            .flatten()
            .collect(),
        },
    }
}

fn label(labels: &BTreeMap<String, String>, name: &str) -> String {
    labels.get(name).cloned().unwrap_or_default()
}

/// The places that a Job takes: as it was admitted, else as its status says, else in the queue that something else says
/// (the Queue that admitted it, or the label of its batch Job), for a Job whose status is not written yet.
fn place(job: &Job, memory: &Memory, queue: Option<&str>) -> Occupant {
    if let Some(place) = &memory.place {
        return place.clone();
    }
    let said = job.status.as_ref().and_then(|status| status.queue.as_deref());
    Occupant { name: job.name_any().into(), queue: said.or(queue).unwrap_or(DEFAULT_QUEUE).into(), limits: limits(job) }
}

/// Raises the epoch of the Queues that an admission in this one depends on to this leader's, once; the admission raises its own.
async fn prepare(context: &Context, namespace: &str, admits: &str) -> Result<(), WriteError> {
    let admits = Key::new(namespace, admits);
    let namespaces: HashSet<String> = if context.dispatcher.line().has_ceiling() {
        context.stores.queues.keys().into_iter().map(|key| key.namespace).chain([namespace.to_owned()]).collect()
    } else {
        HashSet::from([namespace.to_owned()])
    };
    for namespace in namespaces {
        if lock(&context.dispatcher.prepared).contains(&namespace) {
            continue;
        }
        let epoch = context.leadership.epoch();
        let mut all = true;
        for queue in context.stores.queues.find(&in_namespace(&namespace)) {
            let mut status = queue.status.clone().unwrap_or_default();
            if status.epoch < epoch && Key::of(queue.as_ref()) != admits {
                status.epoch = epoch;
                context.writer.status(queue.as_ref(), &status, queue.resource_version().as_deref()).await?;
            }
            all &= status.epoch >= epoch;
        }
        if all {
            lock(&context.dispatcher.prepared).insert(namespace);
        }
    }
    Ok(())
}

/// Writes down what is admitted, and only then lets it be launched.
async fn admit(
    context: &Context,
    namespace: &str,
    name: &str,
    admitted: &[&Candidate],
    now_is: Timestamp,
) -> Result<(), WriteError> {
    let key = Key::new(namespace, name);
    let (counts, admitted) = {
        let line = context.dispatcher.line();
        let left: Vec<&Candidate> = admitted.iter().copied().filter(|it| line.is_admitted(&it.uid)).collect();
        (line.counts(namespace, name), left)
    };
    let Some(queue) = context.stores.queues.get(&key).filter(|_| !admitted.is_empty()) else {
        let mut line = context.dispatcher.line();
        admitted.iter().for_each(|candidate| line.put_back(&candidate.uid, now_is));
        return Ok(());
    };
    let epoch = context.leadership.epoch();
    if queue.status.as_ref().is_some_and(|status| status.epoch > epoch) {
        tracing::error!(%key, "a newer leader admits in this queue");
        return Err(WriteError::NotLeading);
    }
    let mut status = queue_status(&queue, counts, now_is);
    status.epoch = epoch;
    status.in_flight = still_in_flight(context, &queue, namespace);
    status.in_flight.extend(admitted.iter().map(|it| InFlight {
        job: it.rank.name.to_string(),
        uid: it.uid.to_string(),
        attempt: it.attempt,
    }));
    let version = queue.resource_version();
    let written = context.writer.status(queue.as_ref(), &status, version.as_deref()).await?.is_some();
    let mut line = context.dispatcher.line();
    for candidate in admitted {
        if !written {
            // The queue is gone.
            line.put_back(&candidate.uid, now_is);
        } else if line.confirm(&candidate.uid) {
            begin_launch(context, namespace, candidate);
        }
    }
    Ok(())
}

fn begin_launch(context: &Context, namespace: &str, candidate: &Candidate) {
    context.memories.update(&candidate.uid, |memory| {
        memory.launching = Some(candidate.attempt);
        memory.place = Some(candidate.places());
        memory.candidate = None;
        memory.refusal = None;
    });
    context.triggers.launcher.trigger(Key::new(namespace, candidate.rank.name.as_ref()));
}

/// The entries of a Queue's status whose launch was not seen to have happened.
fn still_in_flight(context: &Context, queue: &Queue, namespace: &str) -> Vec<InFlight> {
    let entries = queue.status.iter().flat_map(|status| &status.in_flight);
    let pending = entries.filter(|entry| {
        let launching = context.memories.get(&entry.uid).and_then(|memory| memory.launching) == Some(entry.attempt);
        launching && context.stores.jobs.get(&Key::new(namespace, &entry.job)).is_some()
    });
    pending.cloned().collect()
}

fn queue_status(queue: &Queue, counts: Counts, now_is: Timestamp) -> QueueStatus {
    let mut status = queue.status.clone().unwrap_or_default();
    status.observed_generation = queue.metadata.generation;
    status.running = u32::try_from(counts.running).unwrap_or(u32::MAX);
    status.waiting = u32::try_from(counts.waiting).unwrap_or(u32::MAX);
    status.oldest_queued_at = counts.oldest.map(micro);
    let mut list = Conditions::from(&status.conditions, queue.metadata.generation, now_is);
    let pause = queue.spec.paused.as_ref().filter(|pause| is_active(pause, now_is));
    match pause {
        Some(pause) => {
            list.set(Fact { type_: conditions::PAUSED, holds: true, reason: "Paused", message: pause.reason.clone() });
        }
        None => list.remove(conditions::PAUSED),
    }
    let message = "its Jobs are started as their turn comes".to_owned();
    list.set(Fact { type_: conditions::READY, holds: true, reason: "Ready", message });
    status.conditions = list.into_list();
    status
}

/// Brings the counts in the statuses up to date, a little late, so that a busy queue does not cost a write a Job.
async fn write_counts(context: &Context, namespace: &str, now_is: Timestamp) -> Result<Option<Timestamp>, WriteError> {
    let mut due = None;
    let queues = context.stores.queues.find(&in_namespace(namespace));
    lock(&context.dispatcher.stale_since)
        .retain(|key, _| key.namespace != namespace || queues.iter().any(|queue| queue.name_any() == key.name));
    for queue in queues {
        let key = Key::of(queue.as_ref());
        let counts = context.dispatcher.line().counts(namespace, &key.name);
        let status = queue_status(&queue, counts, now_is);
        let at = {
            let mut stale = lock(&context.dispatcher.stale_since);
            if queue.status.as_ref() == Some(&status) {
                stale.remove(&key);
                continue;
            }
            let since = *stale.entry(key.clone()).or_insert(now_is);
            let delay = SignedDuration::from_secs(COUNTS_DELAY_SECONDS);
            if queue.status.is_none() { now_is } else { since.saturating_add(delay).unwrap_or(since) }
        };
        if now_is < at {
            due = Some(due.map_or(at, |already: Timestamp| already.min(at)));
            continue;
        }
        let version = queue.resource_version();
        match context.writer.status(queue.as_ref(), &status, version.as_deref()).await {
            Ok(_) => {
                lock(&context.dispatcher.stale_since).remove(&key);
            }
            // Somebody edited it meanwhile; the watch brings the edit, and with it another round.
            Err(error) if error.code() == Some(409) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(due)
}
