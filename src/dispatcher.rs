//! Dispatcher: admits waiting Jobs under the limits of their queues, templates and groups, and launches them.
//!
//! One round decides for all queues of a namespace from one snapshot. What it admits is first written to the status of
//! the Queue, guarded by its resourceVersion, and only then launched: whoever comes next, after a crash or a change of
//! leader, counts and completes it. Before a leader's first admission in a namespace it raises the epoch of every Queue
//! there, so that an older leader's next admission fails.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::ResourceExt;

use crate::api::queue::InFlight;
use crate::api::{DEFAULT_QUEUE, Job, Queue, QueueStatus, labels};
use crate::apply::WriteError;
use crate::controllers::job::{observe, source};
use crate::controllers::{Context, NOT_LEADING_DELAY, outcome};
use crate::domain::conditions::{self, Conditions, Fact, micro};
use crate::domain::job::{Memory, Refusal, attempt_name, current_attempt, limits};
use crate::domain::launch::{self, LaunchInput};
use crate::domain::queue::{self, Candidate, Limit, Occupant, QueueState, Round, Snapshot};
use crate::domain::resolve;
use crate::domain::run::{BatchState, batch_outcome};
use crate::runtime::clock::now;
use crate::runtime::store::Key;
use crate::runtime::stores::{in_namespace, job_uid, of_uid};
use crate::runtime::work::Next;

/// How many Jobs one round admits in one queue; bounds the size of the status and the time a round takes.
const ADMISSIONS_MAX: usize = 500;
/// How long the counts in a Queue's status may lag behind, in seconds.
const COUNTS_DELAY_SECONDS: i64 = 2;

/// What the dispatcher remembers between rounds.
#[derive(Default)]
pub struct Dispatcher {
    /// Namespaces whose Queues carry this leader's epoch and whose admitted launches were taken over.
    prepared: Mutex<HashSet<String>>,
    /// Since when the counts of a Queue differ from its status.
    stale_since: Mutex<HashMap<Key, Timestamp>>,
}

/// One Job of the namespace with what is remembered of it.
struct Known {
    job: Arc<Job>,
    memory: Memory,
}

/// One round for a namespace.
pub async fn round(context: Arc<Context>, dispatcher: Arc<Dispatcher>, key: Key) -> Next {
    let result = run(&context, &dispatcher, &key).await;
    outcome(&context, "dispatcher", &key, result)
}

async fn run(context: &Context, dispatcher: &Dispatcher, key: &Key) -> Result<Option<Timestamp>, WriteError> {
    let namespace = key.namespace.as_str();
    // Observe. A Job that was not looked at yet might go before others: those that came after it wait.
    let Some((known, unseen_since)) = known_jobs(context, namespace) else { return Ok(None) };
    take_over(context, dispatcher, namespace, &known);
    let mut snapshot = snapshot(context, namespace, &known);
    if let Some(since) = unseen_since {
        snapshot.candidates.retain(|candidate| candidate.rank.queued_at < since);
    }
    let occupants = snapshot.occupants.clone();
    let waiting = snapshot.candidates.clone();
    // Decide.
    let now_is = now();
    let round = queue::decide(snapshot, ADMISSIONS_MAX, now_is);
    // Apply: admissions first, then launches.
    if !round.admitted.is_empty() {
        prepare(context, dispatcher, namespace).await?;
    }
    for (name, admitted) in &round.admitted {
        admit(context, namespace, name, admitted, &occupants, &waiting, now_is).await?;
    }
    tell_blockers(context, &known, &round);
    let counts_due = write_counts(context, dispatcher, namespace, &occupants, &waiting, &round, now_is).await?;
    Ok(match (round.wake_at, counts_due) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (left, right) => left.or(right),
    })
}

/// The unfinished Jobs of a namespace that were looked at, and the instant from which others were seen that were not:
/// what was queued after it has to wait for them, or it might overtake one. Absent while a Job that was there when this
/// process began to lead was not looked at: its place in line is older than this process.
fn known_jobs(context: &Context, namespace: &str) -> Option<(HashMap<String, Known>, Option<Timestamp>)> {
    let mut known = HashMap::new();
    let mut unseen_since: Option<Timestamp> = None;
    for job in context.stores.jobs.find(&in_namespace(namespace)) {
        if job.status.as_ref().and_then(|status| status.phase).is_some_and(|phase| phase.is_ended()) {
            continue;
        }
        let uid = job.uid().unwrap_or_default();
        let memory = context.memories.get(&uid)?;
        // One whose template was read since is about to be queued, with the time at which it came.
        let looked_at = memory.looked_at && (!memory.template_unread || observe(context, &job).is_unread(&job));
        match (looked_at, memory.from_start) {
            (true, _) => {
                known.insert(uid, Known { job, memory });
            }
            (false, true) => return None,
            (false, false) => {
                unseen_since = Some(unseen_since.map_or(memory.first_seen, |since| since.min(memory.first_seen)));
            }
        }
    }
    Some((known, unseen_since))
}

/// Completes what an earlier leader admitted and did not launch.
fn take_over(context: &Context, dispatcher: &Dispatcher, namespace: &str, known: &HashMap<String, Known>) {
    let prepared = dispatcher.prepared.lock().unwrap_or_else(PoisonError::into_inner).contains(namespace);
    if prepared {
        return;
    }
    for queue in context.stores.queues.find(&in_namespace(namespace)) {
        for entry in queue.status.iter().flat_map(|status| &status.in_flight) {
            let Some(Known { job, memory }) = known.get(&entry.uid) else { continue };
            let attempt = current_attempt(job);
            let name = attempt_name(job, attempt);
            let said = job.status.as_ref().and_then(|status| status.batch_job_ref.as_ref());
            let launched = context.stores.batch_jobs.get(&Key::new(namespace, &name)).is_some()
                || said.is_some_and(|said| said.name == name)
                || memory.launched.is_some_and(|(launched, _)| launched == attempt);
            let refused = memory.refusal.as_ref().is_some_and(|refusal| refusal.attempt == attempt)
                || job.status.as_ref().is_some_and(|status| status.refused_since.is_some());
            if entry.attempt == attempt
                && !launched
                && !refused
                && memory.launching.is_none()
                && memory.recorded.is_none()
            {
                let place = place(job, memory, Some(&queue.name_any()));
                context.memories.update(&entry.uid, |memory| {
                    memory.launching = Some(attempt);
                    memory.place = Some(place);
                });
                context.triggers.launcher.trigger(Key::of(job.as_ref()));
            }
        }
    }
}

fn snapshot(context: &Context, namespace: &str, known: &HashMap<String, Known>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for queue in context.stores.queues.find(&in_namespace(namespace)) {
        let paused = queue.spec.paused.as_ref().map(|it| (it.reason.clone(), it.until.as_ref().map(|time| time.0)));
        snapshot.queues.insert(queue.name_any(), QueueState { max_running: queue.spec.max_running, paused });
    }
    let mut seen = HashSet::new();
    for batch in context.stores.batch_jobs.find(&in_namespace(namespace)) {
        if batch_outcome(&batch) != BatchState::Active {
            seen.extend(job_uid(&batch.metadata).map(str::to_owned));
            continue;
        }
        let uid = job_uid(&batch.metadata).unwrap_or_default().to_owned();
        snapshot.occupants.push(occupant(context, &uid, &batch));
        seen.insert(uid);
    }
    for (uid, Known { job, memory }) in known {
        let attempt = current_attempt(job);
        // What was being launched when the round began is either among the batch Jobs listed after that, or still to come.
        let fresh = context.memories.get(uid).unwrap_or_else(|| memory.clone());
        if memory.launching == Some(attempt) || fresh.launching == Some(attempt) {
            if !seen.contains(uid) {
                snapshot.occupants.push(place(job, &fresh, None));
            }
            continue;
        }
        let launched = memory.launched.is_some_and(|(launched, _)| launched == attempt);
        if let Some(candidate) = memory.candidate.as_ref().filter(|it| it.attempt == attempt && !launched) {
            snapshot.candidates.push(candidate.clone());
        }
    }
    snapshot
}

/// The places that an unfinished batch Job takes.
fn occupant(context: &Context, uid: &str, batch: &BatchJob) -> Occupant {
    let found = context.stores.jobs.find(&of_uid(uid));
    let queue = Some(label(batch, labels::QUEUE)).filter(|it| !it.is_empty());
    match (found.iter().find(|job| job.uid().as_deref() == Some(uid)), context.memories.get(uid)) {
        (Some(job), Some(memory)) => place(job, &memory, queue.as_deref()),
        _ => Occupant {
            name: batch.name_any(),
            queue: queue.unwrap_or_default(),
            limits: [
                Some(label(batch, labels::TEMPLATE)).filter(|it| !it.is_empty()).map(Limit::Template),
                Some(label(batch, labels::SCHEDULE)).filter(|it| !it.is_empty()).map(Limit::Schedule),
            ]
            .into_iter()
            .flatten()
            .collect(),
        },
    }
}

fn label(batch: &BatchJob, name: &str) -> String {
    batch.labels().get(name).cloned().unwrap_or_default()
}

/// The places that a Job takes: as it was admitted, else as its status says, else in the queue that something else says
/// (the Queue that admitted it, or the label of its batch Job), for a Job whose status is not written yet.
fn place(job: &Job, memory: &Memory, queue: Option<&str>) -> Occupant {
    if let Some(place) = &memory.place {
        return place.clone();
    }
    let said = job.status.as_ref().and_then(|status| status.queue.clone());
    Occupant {
        name: job.name_any(),
        queue: said.or_else(|| queue.map(str::to_owned)).unwrap_or_else(|| DEFAULT_QUEUE.to_owned()),
        limits: limits(job),
    }
}

/// Raises the epoch of every Queue of the namespace to this leader's, once.
async fn prepare(context: &Context, dispatcher: &Dispatcher, namespace: &str) -> Result<(), WriteError> {
    if dispatcher.prepared.lock().unwrap_or_else(PoisonError::into_inner).contains(namespace) {
        return Ok(());
    }
    let epoch = context.leadership.epoch();
    for queue in context.stores.queues.find(&in_namespace(namespace)) {
        let mut status = queue.status.clone().unwrap_or_default();
        if status.epoch < epoch {
            status.epoch = epoch;
            context.writer.status(queue.as_ref(), &status, queue.resource_version().as_deref()).await?;
        }
    }
    dispatcher.prepared.lock().unwrap_or_else(PoisonError::into_inner).insert(namespace.to_owned());
    Ok(())
}

/// Writes down what is admitted, and only then lets it be launched.
async fn admit(
    context: &Context,
    namespace: &str,
    name: &str,
    admitted: &[Candidate],
    occupants: &[Occupant],
    waiting: &[Candidate],
    now_is: Timestamp,
) -> Result<(), WriteError> {
    let key = Key::new(namespace, name);
    let Some(queue) = context.stores.queues.get(&key) else { return Ok(()) };
    let epoch = context.leadership.epoch();
    if queue.status.as_ref().is_some_and(|status| status.epoch > epoch) {
        tracing::error!(%key, "a newer leader admits in this queue");
        return Err(WriteError::NotLeading);
    }
    let uids: HashSet<&str> = admitted.iter().map(|it| it.uid.as_str()).collect();
    let left: Vec<&Candidate> =
        waiting.iter().filter(|it| it.queue == name && !uids.contains(it.uid.as_str())).collect();
    let running = occupants.iter().filter(|it| it.queue == name).count() + admitted.len();
    let mut status = queue_status(&queue, running, &left, now_is);
    status.epoch = epoch;
    status.in_flight = still_in_flight(context, &queue, namespace);
    status.in_flight.extend(admitted.iter().map(|it| InFlight {
        job: it.rank.name.clone(),
        uid: it.uid.clone(),
        attempt: it.attempt,
    }));
    let version = queue.resource_version();
    if context.writer.status(queue.as_ref(), &status, version.as_deref()).await?.is_none() {
        return Ok(());
    }
    for candidate in admitted {
        context.memories.update(&candidate.uid, |memory| {
            memory.launching = Some(candidate.attempt);
            memory.place = Some(Occupant {
                name: candidate.rank.name.clone(),
                queue: candidate.queue.clone(),
                limits: candidate.limits.iter().map(|(limit, _)| limit.clone()).collect(),
            });
            memory.candidate = None;
            memory.blocker = None;
            memory.refusal = None;
        });
        context.triggers.launcher.trigger(Key::new(namespace, &candidate.rank.name));
    }
    Ok(())
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

fn queue_status(queue: &Queue, running: usize, waiting: &[&Candidate], now_is: Timestamp) -> QueueStatus {
    let mut status = queue.status.clone().unwrap_or_default();
    status.observed_generation = queue.metadata.generation;
    status.running = u32::try_from(running).unwrap_or(u32::MAX);
    status.waiting = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
    status.oldest_queued_at = waiting.iter().map(|it| it.rank.queued_at).min().map(micro);
    let mut list = Conditions::from(&status.conditions, queue.metadata.generation, now_is);
    let pause = queue.spec.paused.as_ref().filter(|it| it.until.as_ref().is_none_or(|until| until.0 > now_is));
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

/// Says to each Job that waits what it waits for, if that is something new.
fn tell_blockers(context: &Context, known: &HashMap<String, Known>, round: &Round) {
    for (uid, blocker) in &round.blocked {
        let Some(Known { job, memory }) = known.get(uid) else { continue };
        let before = memory.blocker.as_ref().map(|it| it.waiting_for);
        if memory.blocker.as_ref() != Some(blocker) {
            context.memories.update(uid, |memory| memory.blocker = Some(blocker.clone()));
        }
        if before != Some(blocker.waiting_for) {
            context.triggers.jobs.trigger(Key::of(job.as_ref()));
        }
    }
}

/// Brings the counts in the statuses up to date, a little late, so that a busy queue does not cost a write a Job.
async fn write_counts(
    context: &Context,
    dispatcher: &Dispatcher,
    namespace: &str,
    occupants: &[Occupant],
    waiting: &[Candidate],
    round: &Round,
    now_is: Timestamp,
) -> Result<Option<Timestamp>, WriteError> {
    let mut due = None;
    for queue in context.stores.queues.find(&in_namespace(namespace)) {
        let name = queue.name_any();
        if round.admitted.iter().any(|(admitted, _)| *admitted == name) {
            continue;
        }
        let key = Key::of(queue.as_ref());
        let left: Vec<&Candidate> = waiting.iter().filter(|it| it.queue == name).collect();
        let running = occupants.iter().filter(|it| it.queue == name).count();
        let status = queue_status(&queue, running, &left, now_is);
        let same = queue.status.as_ref() == Some(&status);
        let at = {
            let mut stale = dispatcher.stale_since.lock().unwrap_or_else(PoisonError::into_inner);
            if same {
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
                dispatcher.stale_since.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            }
            // Somebody edited it meanwhile; the watch brings the edit, and with it another round.
            Err(error) if error.code() == Some(409) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(due)
}

/// Launches an admitted Job.
pub async fn launch(context: Arc<Context>, key: Key) -> Next {
    let result = launch_one(&context, &key).await;
    context.metrics.reconciled("launcher", result.is_ok());
    match result {
        Ok(()) => Next::Wait,
        Err(WriteError::NotLeading) => Next::After(NOT_LEADING_DELAY),
        Err(error) => {
            tracing::warn!(%key, error = %error.text(), "launch failed, trying again");
            Next::Failed
        }
    }
}

async fn launch_one(context: &Context, key: &Key) -> Result<(), WriteError> {
    let Some(job) = context.stores.jobs.get(key) else { return Ok(()) };
    let uid = job.uid().unwrap_or_default();
    let attempt = current_attempt(&job);
    if context.memories.get(&uid).and_then(|memory| memory.launching) != Some(attempt) {
        return Ok(());
    }
    let observed = observe(context, &job);
    let resolved = resolve::resolve(&job, source(&job, &observed));
    let memory = context.memories.update(&uid, |_| ());
    let stopped = job.spec.cancel.is_some() || job.metadata.deletion_timestamp.is_some() || observed.is_stopped();
    let (Ok(resolved), false) = (resolved, stopped) else {
        return end_launch(context, &job, |memory| memory.launching = None);
    };
    let input = LaunchInput {
        job: &job,
        attempt,
        job_type: &resolved.job_type,
        template_job: resolved.job_template,
        template: resolved.template.as_ref(),
        declared: resolved.declared,
        params: &resolved.params,
        queue: &resolved.queue,
        timeout_seconds: resolved.timeout_seconds,
    };
    let refuse = |message: String, permanent: bool| {
        let refusal = Refusal { attempt, permanent, message, at: now() };
        end_launch(context, &job, |memory| {
            memory.launching = None;
            memory.refusal = Some(refusal);
        })
    };
    let manifest = match launch::batch_job(&input) {
        Ok(manifest) => manifest,
        Err(error) => return refuse(error.to_string(), true),
    };
    match context.writer.launch(&manifest, &uid).await {
        Ok(()) => {
            let at = now();
            let queued = memory.queueable_since.unwrap_or(memory.first_seen);
            context.metrics.dispatched(Duration::try_from(at.duration_since(queued)).unwrap_or_default());
            end_launch(context, &job, |memory| {
                memory.launching = None;
                memory.launched = Some((attempt, at));
            })
        }
        Err(error) => match verdict(&error) {
            Verdict::TryAgain => Err(error),
            Verdict::NotNow => refuse(error.text(), false),
            Verdict::Never => refuse(error.text(), true),
        },
    }
}

/// What a failed launch means.
enum Verdict {
    /// Nothing was decided: it keeps its place and is tried again.
    TryAgain,
    /// A quota or an admission policy refuses it for now: it gives its place back and is tried again later.
    NotNow,
    /// It is invalid, or its name is taken by an object of somebody else's.
    Never,
}

fn verdict(error: &WriteError) -> Verdict {
    match error {
        WriteError::Foreign { .. } => Verdict::Never,
        WriteError::NotLeading | WriteError::Timeout => Verdict::TryAgain,
        WriteError::Api(_) => match error.code() {
            Some(400 | 422) => Verdict::Never,
            Some(401 | 409 | 429 | 503 | 504) | None => Verdict::TryAgain,
            Some(_) => Verdict::NotNow,
        },
    }
}

fn end_launch(context: &Context, job: &Job, change: impl FnOnce(&mut Memory)) -> Result<(), WriteError> {
    context.memories.update(&job.uid().unwrap_or_default(), change);
    context.triggers.jobs.trigger(Key::of(job));
    context.triggers.dispatch(&job.namespace().unwrap_or_default());
    Ok(())
}
