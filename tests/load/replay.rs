//! What happened, revision by revision: recorded by a watch of the test's own, and judged when all is over.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::core::NamespaceResourceScope;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use rota::api::labels::{JOB_UID, QUEUE, TEMPLATE};
use rota::api::{Job, JobPhase, Position, Queue};
use rota::domain::run::{BatchState, batch_outcome};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

/// The place of a Job in line, as the documentation states it.
type Rank = (i32, Position, jiff::Timestamp, String);

/// How long an operator may need to see that a place under a template's limit is free, and how long a write may be under way
/// that was decided before somebody came. On a machine where compilers run beside it, the API server has taken two seconds for one.
const LAG: Duration = Duration::from_secs(3);

/// A revision, when the test saw it, and what it says.
#[derive(Clone, Debug)]
struct Seen {
    revision: u64,
    at: Instant,
    what: What,
}

/// What one revision says of one object.
#[derive(Clone, Debug)]
enum What {
    Batch { uid: String, place: Place, active: bool },
    Queue { key: (String, String), max: Option<usize>, in_flight: Vec<String> },
    Job { uid: String, key: (String, String), rank: Option<Rank>, template: String, waits: bool },
}

/// What a Job counts against.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    queue: (String, String),
    template: (String, String),
}

/// Records every revision of batch Jobs, Queues and Jobs until it is asked for them.
pub struct Recorder {
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Whether there is something to miss yet.
    begun: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Recorder {
    /// Begins.
    pub fn start(client: &Client) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let begun = Arc::new(AtomicBool::new(false));
        let tasks = vec![
            record(client, &seen, &begun, batch),
            record(client, &seen, &begun, queue),
            record(client, &seen, &begun, job),
        ];
        Self { seen, begun, tasks }
    }

    /// From now on nothing may be missed.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    /// All revisions, in order.
    fn history(&self) -> Vec<Seen> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        seen.sort_by_key(|it| it.revision);
        seen
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn record<K>(
    client: &Client,
    seen: &Arc<Mutex<Vec<Seen>>>,
    begun: &Arc<AtomicBool>,
    read: impl Fn(&K, bool) -> Option<What> + Send + 'static,
) -> JoinHandle<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + 'static,
{
    let mut changes = watcher::watcher(Api::<K>::all(client.clone()), watcher::Config::default()).boxed();
    let (seen, begun) = (seen.clone(), begun.clone());
    tokio::spawn(async move {
        while let Some(change) = changes.next().await {
            let (object, gone) = match change {
                Ok(Event::Apply(object) | Event::InitApply(object)) => (object, false),
                Ok(Event::Delete(object)) => (object, true),
                Ok(Event::Init | Event::InitDone) => continue,
                // A definition that is new may have to be listed twice.
                Err(_) if !begun.load(Ordering::SeqCst) => continue,
                Err(error) => panic!("the test's own watch was interrupted: {error}"),
            };
            let revision = object.resource_version().unwrap().parse().unwrap();
            let what = read(&object, gone);
            seen.lock().unwrap_or_else(PoisonError::into_inner).extend(what.map(|what| Seen {
                revision,
                at: Instant::now(),
                what,
            }));
        }
    })
}

fn batch(batch: &BatchJob, gone: bool) -> Option<What> {
    let namespace = batch.namespace().unwrap();
    let label = |name: &str| (namespace.clone(), batch.labels().get(name).cloned().unwrap_or_default());
    Some(What::Batch {
        uid: batch.labels().get(JOB_UID)?.clone(),
        place: Place { queue: label(QUEUE), template: label(TEMPLATE) },
        active: !gone && batch_outcome(batch) == BatchState::Active,
    })
}

fn queue(queue: &Queue, _gone: bool) -> Option<What> {
    let in_flight = queue.status.iter().flat_map(|status| &status.in_flight).map(|entry| entry.uid.clone()).collect();
    let max = queue.spec.max_running.map(|max| max as usize);
    Some(What::Queue { key: (queue.namespace()?, queue.name_any()), max, in_flight })
}

fn job(job: &Job, gone: bool) -> Option<What> {
    let status = job.status.clone().unwrap_or_default();
    let queued = status.queued_at.map(|at| at.0);
    let rank = queued.map(|at| {
        (-status.priority.unwrap_or_default(), job.spec.position.unwrap_or(Position::at(at)), at, job.name_any())
    });
    Some(What::Job {
        uid: job.uid()?,
        key: (job.namespace()?, job.spec.queue.clone()?),
        rank,
        template: job.spec.template_ref.as_ref()?.name.clone(),
        waits: !gone && status.phase == Some(JobPhase::Queued) && !job.spec.hold,
    })
}

/// The limits that are the same all the time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many may run in the cluster.
    pub cluster: Option<usize>,
    /// How many may run of the template of that name, in each namespace.
    pub template: (&'static str, usize),
}

/// From when to when a leader was stopped. It writes afterwards what it had decided before, as far as nobody else has written
/// since, and knows nothing of the time in between.
pub type Stops = Vec<(Instant, Instant)>;

/// How long an operator had to act on something, without the time in which one was stopped.
fn had(stops: &Stops, since: Instant, at: Instant) -> Duration {
    let stopped = stops.iter().map(|(from, to)| (*to).min(at).saturating_duration_since((*from).max(since)));
    at.saturating_duration_since(since).saturating_sub(stopped.sum())
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// How many admissions there were.
    pub admissions: usize,
    /// Admissions beyond a limit, in sentences.
    pub overshoots: Vec<String>,
    /// Admissions while a Job of the same queue waited that ranks before and could have run, in sentences.
    pub violations: Vec<String>,
    /// The largest number that ran at once.
    pub most: usize,
}

#[derive(Default)]
struct State {
    limits: HashMap<&'static str, usize>,
    cluster: Option<usize>,
    /// Who runs or is admitted, and what for.
    running: HashMap<String, Place>,
    launched: HashMap<String, bool>,
    in_flight: HashMap<(String, String), Vec<String>>,
    waiting: HashMap<String, (Rank, Place, Instant)>,
    /// What ended a moment ago, so that an operator may not have seen it yet.
    freed: Vec<(Instant, Place)>,
    stops: Stops,
}

impl State {
    fn count(&self, same: impl Fn(&Place) -> bool) -> usize {
        self.running.values().filter(|place| same(place)).count()
    }

    fn template_has_room(&self, place: &Place) -> bool {
        let max = self.limits.get(place.template.1.as_str());
        max.is_none_or(|max| self.count(|other| other.template == place.template) < *max)
    }

    /// Whether an operator that has seen what happened a moment ago must know that there is room.
    fn template_surely_has_room(&self, place: &Place) -> bool {
        let max = self.limits.get(place.template.1.as_str());
        let freed = self.freed.iter().filter(|(_, other)| other.template == place.template).count();
        max.is_none_or(|max| self.count(|other| other.template == place.template) + freed < *max)
    }
}

/// Judges what was recorded.
pub fn judge(recorder: &Recorder, limits: Limits, stops: Stops) -> Report {
    assert!(recorder.tasks.iter().all(|task| !task.is_finished()), "the test's own watch was interrupted");
    let history = recorder.history();
    let mut known: HashMap<String, (Option<Rank>, Place)> = HashMap::new();
    for Seen { what, .. } in &history {
        if let What::Job { uid, key, rank, template, .. } = what {
            let place = Place { queue: key.clone(), template: (key.0.clone(), template.clone()) };
            let entry = known.entry(uid.clone()).or_insert((None, place.clone()));
            if rank.is_some() {
                *entry = (rank.clone(), place);
            }
        }
    }
    let mut report = Report::default();
    let mut state = State { limits: HashMap::from([limits.template]), cluster: limits.cluster, ..State::default() };
    state.stops.clone_from(&stops);
    for Seen { revision, at, what } in history {
        state.freed.retain(|(freed, _)| had(&stops, *freed, at) < LAG);
        match what {
            What::Batch { uid, place, active } => {
                state.waiting.remove(&uid);
                if active {
                    state.launched.insert(uid.clone(), true);
                    state.running.insert(uid, place);
                } else if let Some(place) = state.running.remove(&uid) {
                    state.freed.push((at, place));
                }
            }
            What::Job { uid, key, rank, template, waits } => {
                let before = state.waiting.remove(&uid);
                if let (true, Some(rank), false) = (waits, rank, state.running.contains_key(&uid)) {
                    let place = Place { template: (key.0.clone(), template), queue: key };
                    let since = before.filter(|(before, _, _)| *before == rank).map_or(at, |(_, _, since)| since);
                    state.waiting.insert(uid, (rank, place, since));
                }
            }
            What::Queue { key, max, in_flight } => {
                let before = state.in_flight.insert(key.clone(), in_flight.clone()).unwrap_or_default();
                for uid in before.iter().filter(|uid| !in_flight.contains(uid)) {
                    // Taken back: it was not launched.
                    if !state.launched.contains_key(uid) {
                        state.running.remove(uid);
                    }
                }
                let admitted: Vec<String> = in_flight.into_iter().filter(|uid| !before.contains(uid)).collect();
                // What is admitted in one write is admitted at once.
                admitted.iter().for_each(|uid| drop(state.waiting.remove(uid)));
                for uid in &admitted {
                    let (rank, place) = known[uid].clone();
                    admission(&mut state, &mut report, (revision, at), uid, rank, &place, max);
                }
            }
        }
        report.most = report.most.max(state.running.len());
    }
    report
}

fn admission(
    state: &mut State,
    report: &mut Report,
    (revision, at): (u64, Instant),
    uid: &str,
    rank: Option<Rank>,
    place: &Place,
    max: Option<usize>,
) {
    report.admissions += 1;
    if let Some(rank) = &rank {
        for (other, other_place, since) in state.waiting.values() {
            let known = had(&state.stops, *since, at) >= LAG;
            let same_queue = other_place.queue == place.queue;
            if known && other < rank && same_queue && state.template_surely_has_room(other_place) {
                report.violations.push(format!(
                    "at {revision}: {rank:?} before {other:?} of {:?}, which waited {:?}",
                    other_place.template,
                    at.duration_since(*since)
                ));
            }
        }
    }
    let room = state.template_has_room(place);
    state.running.insert(uid.to_owned(), place.clone());
    let in_queue = state.count(|other| other.queue == place.queue);
    if max.is_some_and(|max| in_queue > max) {
        report.overshoots.push(format!("at {revision}: {in_queue} of {max:?} in {:?}", place.queue));
    }
    if !room {
        report.overshoots.push(format!("at {revision}: template {:?} had no room", place.template));
    }
    if state.cluster.is_some_and(|max| state.running.len() > max) {
        report.overshoots.push(format!("at {revision}: {} of {:?} in the cluster", state.running.len(), state.cluster));
    }
}
