//! What is measured on one control plane, in order. Only one system works at a time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use rota::api::JobRun;
use rota::runtime::clock;
use serde::Serialize;

use crate::Wanted;
use crate::audit::{Log, Who};
use crate::cluster::{self, Bench, Setting};
use crate::completion;
use crate::drain::Drain;
use crate::flood::Flood;
use crate::kueue::KueueDrain;
use crate::numbers::{Spread, milliseconds};
use crate::operator::{Memory, Operator};
use crate::slots::Slots;
use crate::waiting::{until, until_instant, until_none, whole_minute_after, whole_second_after};
use crate::workload;

/// How often one Rota schedule alone is measured.
const SINGLES: usize = 20;
/// How often one CronJob alone is measured; it can only be due once a minute.
const CRON_JOB_SINGLES: usize = 3;
/// How long all launches may take.
pub const LAUNCHED_WITHIN: Duration = Duration::from_secs(600);
/// A system has settled when it has written nothing for so long.
const QUIET: Duration = Duration::from_secs(5);
/// How long a system may take to clean up and to settle.
pub const SETTLED_WITHIN: Duration = Duration::from_secs(600);
/// How long before they are due all schedules must exist.
const MARGIN: SignedDuration = SignedDuration::from_secs(3);
/// How many batch Jobs are created one after the other, and how many by all writers together.
const SERIAL_CREATES: usize = 50;
const FLOOD_CREATES: usize = 2000;
/// How many namespaces are many.
const MANY: usize = 100;
/// How often the operator is started again.
const RESTARTS: usize = 5;

/// Everything that was measured with one setting.
#[derive(Serialize)]
pub struct Measured {
    pub setting: Setting,
    pub series: Vec<Series>,
    pub drains: Vec<Drain>,
    pub kueue: Option<KueueDrain>,
    pub slots: Option<Slots>,
    pub flood: Option<Flood>,
    pub ceiling: Ceiling,
    /// From the start of the operator's process until it is ready, with all objects of this run, in milliseconds.
    pub start_up_ms: Spread,
    /// The operator after its largest load.
    pub memory_bytes: Memory,
}

/// So many schedules of one system, due at one instant.
#[derive(Serialize)]
pub struct Series {
    pub system: &'static str,
    pub due: usize,
    /// From the instant until the batch Job was accepted.
    pub accepted_ms: Spread,
    pub cost: Option<Cost>,
}

/// What a system asked of the API server for each completed run. Leader election is left out.
#[derive(Serialize)]
pub struct Cost {
    pub writes_per_run: f64,
    pub events_per_run: f64,
    /// Each kind of write, per run.
    pub writes: BTreeMap<String, f64>,
    /// Reads other than watches, in all.
    pub reads: BTreeMap<String, usize>,
}

/// What the API server takes at best.
#[derive(Serialize)]
pub struct Ceiling {
    pub serial_create_ms: Spread,
    pub writers: usize,
    pub creates_per_second: f64,
    /// The same spread over a hundred namespaces.
    pub creates_per_second_in_many: f64,
}

/// Measures what is wanted.
pub async fn run(bench: &Bench, wanted: &Wanted, due: &[usize]) -> Measured {
    let client = bench.client().await;
    cluster::install(&client).await;
    let binary = wanted.binary.as_path();
    let mut phases = Phases { bench, binary, client, log: Log::new(bench.audit_log.clone()), like: None };
    let mut series = Vec::new();
    let mut memory = Memory { now: 0, peak: 0 };
    if !due.is_empty() {
        series.extend(phases.singles().await);
    }
    for count in due {
        series.push(phases.cron_jobs(*count).await);
        let (measured, weighed) = phases.schedules(*count).await;
        series.push(measured);
        memory = weighed;
    }
    // What does not depend on the limits of the controller manager is measured once.
    let once = bench.setting == Setting::Lifted;
    let mut drains = Vec::new();
    for (jobs, namespaces) in wanted.drains.iter().filter(|_| once) {
        drains.push(phases.drain(*jobs, *namespaces).await);
    }
    let kueue = if once && wanted.kueue > 0 { Some(phases.kueue(wanted.kueue).await) } else { None };
    let slots = if once { Some(phases.slots().await) } else { None };
    let flood = if once && wanted.flood > 0 { Some(phases.flood(wanted.flood).await) } else { None };
    let start_up_ms = phases.start_ups().await;
    let ceiling = phases.ceiling().await;
    Measured { setting: bench.setting, series, drains, kueue, slots, flood, ceiling, start_up_ms, memory_bytes: memory }
}

/// What the phases share.
pub struct Phases<'a> {
    pub bench: &'a Bench,
    pub binary: &'a Path,
    pub client: Client,
    pub log: Log,
    /// A batch Job as the operator made it, to be created again without it.
    pub like: Option<BatchJob>,
}

impl Phases<'_> {
    /// One schedule at a time: Rota's between the minutes, the CronJob at each minute.
    async fn singles(&mut self) -> Vec<Series> {
        self.say("one schedule at a time");
        let (ours, theirs) = ("single-rota", "single-cronjob");
        for namespace in [ours, theirs] {
            workload::namespace(&self.client, namespace).await;
        }
        let mark = self.log.mark();
        workload::every_minute(&self.client, theirs).await;
        let operator = Operator::start(self.binary, self.bench, &[]).await;
        workload::template(&self.client, ours).await;
        let instants = quiet_seconds(whole_second_after(SignedDuration::from_secs(5)), SINGLES);
        workload::schedules_at(&self.client, ours, &instants).await;
        let accepted = self.launched(mark, SINGLES, |it| it == ours).await;
        let rota = instants.iter().zip(&accepted).map(|(due, at)| milliseconds(*due, *at)).collect();
        completion::complete_all(&self.client, ours).await;
        operator.stop().await;
        let accepted = self.launched(mark, CRON_JOB_SINGLES, |it| it == theirs).await;
        let cron_job = accepted.iter().map(|at| milliseconds(minute_of(*at), *at)).collect();
        workload::suspend_single(&self.client, theirs).await;
        completion::complete_all(&self.client, theirs).await;
        vec![single("cronjob", cron_job), single("rota", rota)]
    }

    /// Many CronJobs at once.
    async fn cron_jobs(&mut self, count: usize) -> Series {
        self.say(&format!("{count} CronJobs due at once"));
        let namespace = format!("cronjob-{count}");
        workload::namespace(&self.client, &namespace).await;
        let due = whole_minute_after(SignedDuration::from_secs(12));
        workload::cron_jobs(&self.client, &namespace, count, due).await;
        let (accepted_ms, mark) = self.launches_of(&namespace, count, due).await;
        completion::complete_all(&self.client, &namespace).await;
        self.cleaned_up(&namespace).await;
        let cost = self.settled(Who::CronJobController, mark, count).await;
        Series { system: "cronjob", due: count, accepted_ms, cost: Some(cost) }
    }

    /// Many Rota schedules at once, with the operator's memory afterwards.
    async fn schedules(&mut self, count: usize) -> (Series, Memory) {
        self.say(&format!("{count} Rota schedules due at once"));
        let namespace = format!("rota-{count}");
        workload::namespace(&self.client, &namespace).await;
        let operator = Operator::start(self.binary, self.bench, &[]).await;
        let due = whole_minute_after(SignedDuration::from_secs(12));
        workload::template(&self.client, &namespace).await;
        workload::schedules(&self.client, &namespace, count, due).await;
        let (accepted_ms, mark) = self.launches_of(&namespace, count, due).await;
        self.like = workload::like_one_of(&self.client, &namespace).await;
        completion::complete_all(&self.client, &namespace).await;
        self.cleaned_up(&namespace).await;
        let cost = self.settled(Who::Rota, mark, count).await;
        assert_eq!(self.recorded(&namespace).await, count, "each run leaves one record");
        let memory = operator.memory();
        operator.stop().await;
        (Series { system: "rota", due: count, accepted_ms, cost: Some(cost) }, memory)
    }

    /// Starts the operator a few times, with all that is there by now.
    async fn start_ups(&mut self) -> Spread {
        self.say("starting the operator again");
        let mut values = Vec::new();
        for _ in 0..RESTARTS {
            let operator = Operator::start(self.binary, self.bench, &[]).await;
            values.push(operator.ready_after.as_secs_f64() * 1000.0);
            operator.stop().await;
        }
        Spread::of(values)
    }

    /// What the API server takes when nothing but creates of batch Jobs is asked of it.
    async fn ceiling(&mut self) -> Ceiling {
        self.say("creating batch Jobs directly");
        let like = self.like.clone().expect("a batch Job that the operator made");
        let (serial, flood, many) = ("ceiling-serial", "ceiling-flood", "ceiling-many-");
        let mark = self.log.mark();
        let spread = (0..MANY).map(|number| format!("{many}{number}")).collect();
        for (namespaces, count, writers) in [
            (vec![serial.to_owned()], SERIAL_CREATES, 1),
            (vec![flood.to_owned()], FLOOD_CREATES, workload::WRITERS),
            (spread, FLOOD_CREATES, workload::WRITERS),
        ] {
            for namespace in &namespaces {
                workload::namespace(&self.client, namespace).await;
            }
            workload::flood(&self.client, &namespaces, &like, count, writers).await;
        }
        self.launched(mark, FLOOD_CREATES, |it| it.starts_with(many)).await;
        let of = |namespaces: &'static str| {
            self.log.since(mark).filter(move |it| it.is_launch() && it.object_ref.namespace.starts_with(namespaces))
        };
        let took = of(serial).map(|it| milliseconds(it.request_received_timestamp, it.stage_timestamp)).collect();
        let rate = |namespaces| {
            let first = of(namespaces).map(|it| it.request_received_timestamp).min().unwrap();
            let last = of(namespaces).map(|it| it.stage_timestamp).max().unwrap();
            FLOOD_CREATES as f64 / (milliseconds(first, last) / 1000.0)
        };
        Ceiling {
            serial_create_ms: Spread::of(took),
            writers: workload::WRITERS,
            creates_per_second: rate(flood),
            creates_per_second_in_many: rate(many),
        }
    }

    /// Waits for the instant and for all launches; how long each took, and where the log was just before the instant.
    async fn launches_of(&mut self, namespace: &str, count: usize, due: Timestamp) -> (Spread, usize) {
        assert!(clock::now() + MARGIN < due, "{count} objects were not created well before they are due");
        until_instant(due - SignedDuration::from_secs(1)).await;
        let mark = self.log.mark();
        let accepted = self.launched(mark, count, |it| it == namespace).await;
        assert!(accepted[0] >= due, "a Job was launched before it was due");
        (Spread::of(accepted.iter().map(|at| milliseconds(due, *at)).collect()), mark)
    }

    /// Waits until so many batch Jobs of some namespaces have been accepted. More than that would be a bug.
    pub async fn launched(&mut self, mark: usize, count: usize, of: impl Fn(&str) -> bool) -> Vec<Timestamp> {
        let log = &mut self.log;
        let mut accepted = Vec::new();
        until(&format!("{count} batch Jobs"), LAUNCHED_WITHIN, || {
            log.read();
            accepted = log.launches(mark, &of).iter().map(|request| request.stage_timestamp).collect();
            accepted.len() >= count
        })
        .await;
        assert_eq!(accepted.len(), count, "there are more batch Jobs than were due");
        accepted
    }

    /// The objects of a kind in a namespace.
    pub fn api<Kind>(&self, namespace: &str) -> Api<Kind>
    where
        Kind: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// How many records a namespace has.
    pub async fn recorded(&self, namespace: &str) -> usize {
        self.api::<JobRun>(namespace).list_metadata(&ListParams::default()).await.unwrap().items.len()
    }

    /// Waits until the completed batch Jobs are gone.
    pub async fn cleaned_up(&self, namespace: &str) {
        let jobs: Api<BatchJob> = Api::namespaced(self.client.clone(), namespace);
        until_none(&format!("the batch Jobs in {namespace}"), SETTLED_WITHIN, &jobs, "").await;
    }

    /// Waits until the system has nothing left to write, and counts what it asked for.
    pub async fn settled(&mut self, who: Who, mark: usize, runs: usize) -> Cost {
        let log = &mut self.log;
        let quiet = SignedDuration::try_from(QUIET).unwrap_or_default();
        until("the system has settled", SETTLED_WITHIN, || {
            log.read();
            let writes = log.since(mark).filter(|it| who.asked(it) && it.is_write() && !it.is_lease());
            writes.map(|it| it.stage_timestamp).max().is_some_and(|last| clock::now().duration_since(last) > quiet)
        })
        .await;
        let per_run = |total: usize| total as f64 / runs as f64;
        let writes = log.count(mark, |it| who.asked(it) && it.is_write() && !it.is_lease() && !it.is_event());
        let events = log.count(mark, |it| who.asked(it) && it.is_write() && it.is_event());
        Cost {
            writes_per_run: per_run(writes.values().sum()),
            events_per_run: per_run(events.values().sum()),
            writes: writes.into_iter().map(|(request, count)| (request, per_run(count))).collect(),
            reads: log.count(mark, |it| who.asked(it) && it.is_read() && !it.is_lease()),
        }
    }

    pub fn say(&self, what: &str) {
        eprintln!("{} limits: {what}", self.bench.setting.as_str());
    }
}

fn single(system: &'static str, milliseconds: Vec<f64>) -> Series {
    Series { system, due: 1, accepted_ms: Spread::of(milliseconds), cost: None }
}

/// So many whole seconds from this one on, but none near a whole minute, when the CronJob is due.
fn quiet_seconds(first: Timestamp, count: usize) -> Vec<Timestamp> {
    let seconds = (first.as_second()..).filter(|second| (3..57).contains(&second.rem_euclid(60)));
    seconds.take(count).map(|second| Timestamp::from_second(second).unwrap()).collect()
}

/// The whole minute at or before an instant.
fn minute_of(instant: Timestamp) -> Timestamp {
    let second = instant.as_second();
    Timestamp::from_second(second - second.rem_euclid(60)).unwrap()
}
