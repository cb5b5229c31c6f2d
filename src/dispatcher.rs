//! Dispatcher: admits waiting Jobs under the limits of their queues, templates, groups and schedules, and of the cluster.
//!
//! Who is next is decided by the one [`Line`] in memory, which is told of each change. What it admits takes its places at
//! once, is then written to the status of its Queue, guarded by its resourceVersion, and only after that launched: whoever
//! comes next, after a crash or a change of leader, counts and completes it.
//!
//! A Queue that cannot be written is its own matter: it waits for its own next try (`setbacks.rs`), and meanwhile takes no place
//! from others. How an older leader's admissions are kept out is in `epochs.rs`.

mod epochs;
mod refusals;

pub use refusals::{got_through, has_room, refused};
mod limits;
mod places;
mod setbacks;

pub use limits::{limit_changed, max_running, tell_limits};
use places::place;
pub use places::{pod_ended, sync};

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::queue::{InFlight, OverflowPolicy};
use crate::api::{DEFAULT_QUEUE, Job, JobPhase, Queue, QueueStatus};
use crate::apply::WriteError;
use crate::controllers::job::attempt::is_launched;
use crate::controllers::{Context, outcome};
use crate::domain::conditions::{self, Conditions, Fact, micro};
use crate::domain::job::{Doubt, Finality, Memory, current_attempt};
use crate::domain::names;
use crate::domain::queue::{Candidate, Counts, Holdback, Line, Offer, QueueCondition, Settings, is_active, pause_note};
use crate::runtime::clock::now;
use crate::runtime::store::Key;
use crate::runtime::stores::in_namespace;
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
    /// What is known of the epochs of Queues.
    epochs: epochs::Epochs,
    /// Queues whose status could not be written.
    setbacks: setbacks::Setbacks,
    /// Since when the counts of a Queue differ from its status.
    stale_since: Mutex<HashMap<Key, Timestamp>>,
}

impl Dispatcher {
    /// One under a limit for the whole cluster; absent: no limit.
    pub fn new(ceiling: Option<u32>) -> Self {
        Self {
            line: Mutex::new(Line::new(ceiling, LAUNCHING_MAX)),
            admitted: Mutex::default(),
            epochs: epochs::Epochs::default(),
            setbacks: setbacks::Setbacks::default(),
            stale_since: Mutex::default(),
        }
    }

    /// A queue is gone.
    fn forget_queue(&self, key: &Key) {
        self.setbacks.forget(key);
        self.epochs.forget(key);
        lock(&self.stale_since).remove(key);
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

async fn run(context: &Arc<Context>, namespace: &str) -> Result<Option<Timestamp>, WriteError> {
    let now_is = now();
    if let Err(blind) = context.may(Act::Dispatch, namespace) {
        // Not under the lock of what is admitted: whoever holds the line asks for that.
        let admitted = lock(&context.dispatcher.admitted).remove(namespace).unwrap_or_default();
        put_back(context, &admitted, now_is);
        return Err(blind);
    }
    if !context.stores.visibility.is_worked_on(namespace) {
        // A Queue here may have paused everything, or does so no longer.
        return Ok(decide(context, namespace, now_is));
    }
    take_over(context, namespace);
    let mut wake_at = vec![epochs::look(context, namespace, now_is), setbacks::try_again(context, namespace, now_is)];
    // Decide, for all namespaces: those of others are written down by rounds of their own. What an earlier round of another
    // one decided about this one is decided again, so that nothing that came since is passed over.
    wake_at.push(decide(context, namespace, now_is));
    // Apply: what is admitted is written down first, and only then launched.
    let mine = lock(&context.dispatcher.admitted).remove(namespace).unwrap_or_default();
    let queues = context.stores.queues.find(&in_namespace(namespace));
    let mut by_queue: HashMap<String, Vec<Candidate>> =
        queues.iter().map(|queue| (queue.name_any(), Vec::new())).collect();
    for candidate in mine {
        by_queue.entry(candidate.queue.to_string()).or_default().push(candidate);
    }
    epochs::fence(context, namespace, &by_queue).await;
    let mut writes = Vec::new();
    for (name, admitted) in by_queue {
        let key = Key::new(namespace, name);
        match context.dispatcher.setbacks.turn(&key, now_is) {
            setbacks::Turn::AtOnce => writes.push(write(context, key, admitted, now_is)),
            setbacks::Turn::Trial => match count(context, &key, now_is) {
                Counted::Now(..) => setbacks::spawn_trial(context, key, admitted, now_is),
                _ if !admitted.is_empty() => setbacks::spawn_trial(context, key, admitted, now_is),
                Counted::Later(at) => wake_at.push(Some(at)),
                Counted::AsWritten => {}
            },
            setbacks::Turn::Later => put_back(context, &admitted, now_is),
        }
    }
    for written in futures::future::join_all(writes).await {
        wake_at.push(written?);
    }
    Ok(wake_at.into_iter().flatten().min())
}

/// Writes down what is admitted in a queue, and how it stands. Returns when to look again. What cannot be written is tried again
/// later, and concerns nobody else.
async fn write(
    context: &Context,
    key: Key,
    admitted: Vec<Candidate>,
    now_is: Timestamp,
) -> Result<Option<Timestamp>, WriteError> {
    let begun = tokio::time::Instant::now();
    let result = match admit(context, &key, &admitted, now_is).await {
        Ok(written) => write_counts(context, &key, now_is).await.map(|(more, due)| (written || more, due)),
        Err(error) => Err(error),
    };
    match result {
        Ok((written, due)) => {
            setbacks::ended_well(context, &key, written);
            Ok(due)
        }
        Err(error) => {
            // Whether it was written or not, nothing of it is launched; the next write tells.
            put_back(context, &admitted, now_is);
            if matches!(error, WriteError::NotLeading) {
                setbacks::ended_well(context, &key, false);
                return Err(error);
            }
            Ok(Some(setbacks::ended_badly(context, &key, &error, begun.elapsed())))
        }
    }
}

fn put_back(context: &Context, admitted: &[Candidate], now_is: Timestamp) {
    let mut line = context.dispatcher.line();
    admitted.iter().for_each(|candidate| line.put_back(&candidate.uid, now_is));
}

/// Asks the line who is next, and hands out what it says. Returns when to ask again.
fn decide(context: &Context, own: &str, now_is: Timestamp) -> Option<Timestamp> {
    let mut line = context.dispatcher.line();
    let before = lock(&context.dispatcher.admitted).remove(own).unwrap_or_default();
    before.iter().for_each(|candidate| line.put_back(&candidate.uid, now_is));
    context.stores.visibility.each(Act::Dispatch).for_each(|(namespace, sees)| line.set_seen(namespace, sees));
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
    // Not under the lock of the line, for which everybody waits.
    let asks_for = candidate.and_then(|candidate| asks_for(context, job, &candidate.queue));
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
    let accepted = job.status.as_ref().is_some_and(|status| status.phase == Some(JobPhase::Queued));
    let namespace = namespace.into();
    line.offer(Offer { namespace, candidate: candidate.clone(), accepted, asks_for }, now());
}

/// A word for what a Job asks for, where its queue drops who asks for the same. It takes time in proportion to the size of the
/// Job, so it is remembered for each edit.
fn asks_for(context: &Context, job: &Job, queue: &str) -> Option<String> {
    let queue = context.stores.queues.get(&Key::new(job.namespace().unwrap_or_default(), queue))?;
    if queue.spec.overflow_policy != Some(OverflowPolicy::CoalesceSame) {
        return None;
    }
    let uid = job.uid().unwrap_or_default();
    let generation = job.metadata.generation.unwrap_or_default();
    let known = context.memories.get(&uid).and_then(|memory| memory.asks_for);
    if let Some(known) = known.filter(|known| known.0 == generation && generation > 0) {
        return Some(known.1.clone());
    }
    let word = names::request(&job.spec);
    let known = Arc::new((generation, word.clone()));
    context.memories.update(&uid, |memory| memory.asks_for = Some(known));
    Some(word)
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

/// How long nothing of a namespace is decided, at the most, because a Job that was there when this process began to lead cannot
/// be looked at, in seconds.
const LEFT_OUT_AFTER_SECONDS: i64 = 30;

/// A run for a Job has ended.
pub fn was_run(context: &Context, key: &Key, failed: bool) {
    let Some(uid) = context.stores.jobs.get(key).and_then(|job| job.uid()) else { return };
    let Some(memory) = context.memories.was_run(&uid, failed) else { return };
    let mut line = context.dispatcher.line();
    let times = [Some(memory.first_seen), memory.called_at];
    let too_long = SignedDuration::from_secs(LEFT_OUT_AFTER_SECONDS);
    let from_start = now().duration_since(context.leading_since) >= too_long;
    let passed_over = |at: &Timestamp| line.passed_over(&key.namespace, &uid, *at, from_start);
    let waited_for = times.into_iter().flatten().filter(passed_over).count();
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

/// Holds a namespace back until everything in it has been looked at. `unknown` is the number of Jobs that may be running there and
/// that this process does not know yet.
pub fn hold_back(context: &Context, namespace: &str, unknown: usize) {
    context.dispatcher.line().hold_back(namespace, unknown);
    context.dispatcher.epochs.forget_namespace(namespace);
}

/// A queue was edited, made or deleted. The first Jobs of its namespace, which it may pause, say what they wait for now.
pub fn queue_changed(context: &Context, key: &Key) {
    let mut line = context.dispatcher.line();
    let found = context.stores.queues.get(key);
    if found.is_none() {
        context.dispatcher.forget_queue(key);
    }
    line.set_queue(&key.namespace, &key.name, found.as_ref().map(|queue| settings(context, queue)));
    line.meets(&key.namespace, &key.name, found.as_deref().and_then(Holdback::said));
    if context.stores.queues.find(&in_namespace(&key.namespace)).is_empty() {
        context.dispatcher.epochs.forget_namespace(&key.namespace);
    }
    tell_first(context, &line, &key.namespace);
    drop(line);
    context.triggers.dispatch(&key.namespace);
}

/// Whether Jobs that come to a queue are started as their turn comes. The queue `default` is made when it is needed.
pub fn condition(context: &Context, namespace: &str, name: &str, now: Timestamp) -> QueueCondition {
    let key = Key::new(namespace, name);
    let queues = &context.stores.queues;
    let exists = name == DEFAULT_QUEUE || queues.get(&key).is_some() || queues.is_unreadable(&key);
    context.dispatcher.line().condition(namespace, name, exists, now)
}

/// What a queue is set to. Only in the operator's own namespace it can pause everything.
fn settings(context: &Context, queue: &Queue) -> Settings {
    Settings::of(&queue.spec).in_namespace(queue.namespace().as_deref() == Some(&context.own_namespace))
}

/// Completes what an earlier leader admitted and did not launch, once all that was there has been looked at.
fn take_over(context: &Context, namespace: &str) {
    // At the latest: what the earlier one sent, it sent before.
    let leading_since = now();
    let mut line = context.dispatcher.line();
    if !line.is_to_let_go(namespace) {
        return;
    }
    for queue in context.stores.queues.find(&in_namespace(namespace)) {
        for entry in queue.status.iter().flat_map(|status| &status.in_flight) {
            let Some(job) = context.stores.jobs.get(&Key::new(namespace, &entry.job)) else { continue };
            let memory = context.memories.get(&entry.uid).filter(|_| job.uid().as_deref() == Some(&entry.uid));
            // One that cannot be looked at may be recorded already: it comes to its queue anew when it can.
            let is_open = |memory: &Memory| !memory.is_failing && is_unlaunched(context, &job, memory, entry.attempt);
            let Some(memory) = memory.filter(is_open) else { continue };
            let mut doubt = Doubt::inherited(leading_since);
            if !is_left(context, &job, &memory, entry.attempt) {
                // It was refused, and may have been sent again since.
                doubt = doubt.judged(Finality::ForNow, "it was refused before the leader changed".to_owned());
            }
            let place = place(&job, &memory, Some(&queue.name_any()));
            line.occupy(namespace, &entry.uid, place.clone());
            context.memories.update(&entry.uid, |memory| {
                memory.place = Some(place);
                // Nobody else with its key is launched before it is known whether it was.
                (memory.launching, memory.claimed) = (Some(entry.attempt), Some(entry.attempt));
                memory.doubt = Some(doubt);
            });
            context.triggers.launcher.trigger(Key::of(job.as_ref()));
        }
    }
    line.let_go(namespace);
}

/// Whether an earlier leader admitted that attempt and may be launching it, and this one has not taken it over yet. Until then
/// nothing is recorded of it: it would be recorded as never launched, and launched.
pub fn is_to_be_taken_over(context: &Context, job: &Job, attempt: u32) -> bool {
    let (namespace, uid) = (job.namespace().unwrap_or_default(), job.uid().unwrap_or_default());
    if !context.dispatcher.line().is_held_back(&namespace) {
        return false;
    }
    let queues = context.stores.queues.find(&in_namespace(&namespace));
    let mut admitted = queues.iter().filter_map(|queue| queue.status.as_ref()).flat_map(|status| &status.in_flight);
    admitted.any(|entry| entry.uid == uid && entry.attempt == attempt)
        && context.memories.get(&uid).is_none_or(|memory| is_unlaunched(context, job, &memory, attempt))
}

/// Whether an attempt that was admitted is still to be launched.
fn is_left(context: &Context, job: &Job, memory: &Memory, attempt: u32) -> bool {
    let refused = memory.refusal.as_ref().is_some_and(|refusal| refusal.attempt == attempt)
        || job.status.as_ref().is_some_and(|status| status.refused_since.is_some());
    !refused && is_unlaunched(context, job, memory, attempt)
}

/// Whether an attempt that was admitted was not launched and is not being launched.
fn is_unlaunched(context: &Context, job: &Job, memory: &Memory, attempt: u32) -> bool {
    let status = job.status.as_ref();
    let launched = is_launched(context, job, memory);
    let ended = status.and_then(|status| status.phase).is_some_and(JobPhase::is_ended) || memory.recorded.is_some();
    attempt == current_attempt(job) && !launched && !ended && memory.launching.is_none()
}

/// What the status of a Queue lists that was admitted and then not launched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stale {
    Nothing,
    /// Kubernetes refused it. It is not launched by whoever comes next, unless that is forgotten.
    Refused,
    /// It was held, withdrawn or put back. Whoever comes next would launch it, whatever holds it now.
    Aborted,
}

fn stale(context: &Context, queue: &Queue, namespace: &str) -> Stale {
    let mut found = Stale::Nothing;
    let entries = queue.status.iter().flat_map(|status| &status.in_flight);
    for entry in entries.filter(|entry| !context.memories.launches(&entry.uid, entry.attempt)) {
        let job = context.stores.jobs.get(&Key::new(namespace, &entry.job));
        let Some(job) = job.filter(|job| job.uid().as_deref() == Some(&entry.uid)) else { continue };
        let Some(memory) = context.memories.get(&entry.uid) else { continue };
        if is_left(context, &job, &memory, entry.attempt) {
            return Stale::Aborted;
        }
        if is_unlaunched(context, &job, &memory, entry.attempt) {
            found = Stale::Refused;
        }
    }
    found
}

/// Writes down what is admitted, and only then lets it be launched. Returns whether anything was written.
async fn admit(context: &Context, key: &Key, admitted: &[Candidate], now_is: Timestamp) -> Result<bool, WriteError> {
    let namespace = key.namespace.as_str();
    let (counts, holdback, admitted) = {
        let line = context.dispatcher.line();
        let left: Vec<&Candidate> = admitted.iter().filter(|it| line.is_admitted(&it.uid)).collect();
        (line.counts(namespace, &key.name), line.holdback(namespace, &key.name).cloned(), left)
    };
    if admitted.is_empty() {
        return Ok(false);
    }
    let Some(queue) = context.stores.queues.get(key) else {
        let mut line = context.dispatcher.line();
        admitted.iter().for_each(|candidate| line.put_back(&candidate.uid, now_is));
        return Ok(false);
    };
    if context.leadership.is_outranked_by(epochs::of(&queue)) {
        return Err(WriteError::Changed { kind: "Queue".into(), name: key.name.clone() });
    }
    let mut status = queue_status(context, &queue, counts, holdback.as_ref(), now_is);
    status.epoch = context.leadership.epoch();
    status.in_flight = still_in_flight(context, &queue, namespace);
    status.in_flight.extend(admitted.iter().map(|it| InFlight {
        job: it.rank.name.to_string(),
        uid: it.uid.to_string(),
        attempt: it.attempt,
    }));
    let written = write_status(context, &queue, &status).await?;
    let mut line = context.dispatcher.line();
    for candidate in admitted {
        if !written {
            // The queue is gone.
            line.put_back(&candidate.uid, now_is);
        } else if line.confirm(&candidate.uid) {
            begin_launch(context, namespace, candidate);
        }
    }
    Ok(written)
}

/// Writes the status of a Queue, and tells of a pause that begins or ends with it. Returns whether the Queue is still there.
async fn write_status(context: &Context, queue: &Queue, status: &QueueStatus) -> Result<bool, WriteError> {
    let written = context.writer.status(queue, status).await?.is_some();
    let note = pause_note(queue.status.as_ref(), status, &settings(context, queue));
    context.tell(queue, note.into_iter().filter(|_| written).collect());
    Ok(written)
}

fn begin_launch(context: &Context, namespace: &str, candidate: &Candidate) {
    context.memories.update(&candidate.uid, |memory| {
        memory.launching = Some(candidate.attempt);
        memory.place = Some(candidate.places());
        memory.candidate = None;
        (memory.doubt, memory.refusal) = (None, None);
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

fn queue_status(
    context: &Context,
    queue: &Queue,
    counts: Counts,
    holdback: Option<&Holdback>,
    now_is: Timestamp,
) -> QueueStatus {
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
    refusals::say(&mut list, holdback);
    list.set(match epochs::outranked(context, queue) {
        None => {
            let message = "its Jobs are started as their turn comes".to_owned();
            Fact { type_: conditions::READY, holds: true, reason: "Ready", message }
        }
        Some(message) => Fact { type_: conditions::READY, holds: false, reason: epochs::NEWER_LEADER, message },
    });
    status.conditions = list.into_list();
    status
}

/// What is to be written of how a Queue stands.
enum Counted {
    /// Nothing.
    AsWritten,
    /// Something, then: a little late, so that a busy queue does not cost a write a Job.
    Later(Timestamp),
    /// This status of that Queue.
    Now(Arc<Queue>, Box<QueueStatus>),
}

fn count(context: &Context, key: &Key, now_is: Timestamp) -> Counted {
    let Some(queue) = context.stores.queues.get(key) else { return Counted::AsWritten };
    let (counts, holdback, is_held_back) = {
        let line = context.dispatcher.line();
        (
            line.counts(&key.namespace, &key.name),
            line.holdback(&key.namespace, &key.name).cloned(),
            line.is_held_back(&key.namespace),
        )
    };
    let mut status = queue_status(context, &queue, counts, holdback.as_ref(), now_is);
    // What an earlier leader admitted is looked at when the namespace is taken over.
    let stale = if is_held_back { Stale::Nothing } else { stale(context, &queue, &key.namespace) };
    if stale != Stale::Nothing {
        status.in_flight = still_in_flight(context, &queue, &key.namespace);
    }
    let mut stale_since = lock(&context.dispatcher.stale_since);
    if queue.status.as_ref() == Some(&status) {
        stale_since.remove(key);
        return Counted::AsWritten;
    }
    let since = *stale_since.entry(key.clone()).or_insert(now_is);
    let at = since.saturating_add(SignedDuration::from_secs(COUNTS_DELAY_SECONDS)).unwrap_or(since);
    if now_is < at && queue.status.is_some() && stale != Stale::Aborted {
        return Counted::Later(at);
    }
    drop(stale_since);
    Counted::Now(queue, Box::new(status))
}

/// Brings the status of a Queue up to date. Returns whether it was written, and when it is to be.
async fn write_counts(
    context: &Context,
    key: &Key,
    now_is: Timestamp,
) -> Result<(bool, Option<Timestamp>), WriteError> {
    match count(context, key, now_is) {
        Counted::AsWritten => Ok((false, None)),
        Counted::Later(at) => Ok((false, Some(at))),
        Counted::Now(queue, status) => {
            let written = write_status(context, &queue, &status).await?;
            lock(&context.dispatcher.stale_since).remove(key);
            Ok((written, None))
        }
    }
}
