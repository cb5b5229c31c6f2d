//! Simulation: the real operator against a simulated API server, in virtual time, with faults at any request and any event.
//!
//! One number decides everything that happens. `SEEDS=FIRST..LAST` says which histories are lived through.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod faults;
mod judge;
mod kubernetes;
mod users;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use rota::operator::{self, Settings, Start, TakePart};
use rota::runtime::clock;
use rota::runtime::lease::Election;
use rota::runtime::stores::Stores;
use rota::runtime::visibility::Visibility;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use faults::{Rates, Way};
use judge::{History, Violation};
use world::{Kinds, World};

/// How long things go wrong in a history.
const TROUBLE: Duration = Duration::from_secs(30 * 60);
/// How long it goes on in peace.
const CALM: Duration = Duration::from_secs(25 * 60);

thread_local! {
    /// The world that this thread simulates.
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

fn simulated_now() -> Timestamp {
    WORLD.with_borrow(|world| world.as_ref().map_or(Timestamp::UNIX_EPOCH, World::now))
}

/// What came of a history.
struct Lived {
    violations: Vec<Violation>,
    log: Vec<String>,
    faults: BTreeMap<&'static str, u64>,
    requests: usize,
}

/// Lives through the history of a seed.
fn live(seed: u64, kinds: &Kinds) -> Lived {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let lived = runtime.block_on(history(seed, kinds));
    WORLD.set(None);
    lived
}

async fn history(seed: u64, kinds: &Kinds) -> Lived {
    let world = World::new(seed, kinds);
    WORLD.set(Some(world.clone()));
    users::begin(&world);
    let rates = Rates::of(&mut world.random());
    let mut tasks = JoinSet::new();
    tasks.spawn(kubernetes::run(world.clone()));
    let mut acting = JoinSet::new();
    acting.spawn(users::run(world.clone()));
    let mut fleet = Fleet::new(world.clone(), rates);
    let end = tokio::time::Instant::now() + TROUBLE;
    while tokio::time::Instant::now() < end {
        fleet.tend().await;
        let wait = world.up_to(Duration::from_secs(90));
        sleep(wait).await;
        if world.happens(150) {
            fleet.kill();
        }
    }
    drop(acting);
    users::calm(&world);
    fleet.calm();
    let calm_since = world.now();
    for _ in 0..CALM.as_secs() / 5 {
        fleet.tend().await;
        sleep(Duration::from_secs(5)).await;
    }
    let ended = world.now();
    drop(fleet);
    drop(tasks);
    let mut record = world.record();
    record.history.calm_since = Some(calm_since);
    record.history.ended = Some(ended);
    let history: History = std::mem::take(&mut record.history);
    let log = std::mem::take(&mut record.log);
    let requests = log.len();
    Lived { violations: judge::judge(&history), log, faults: std::mem::take(&mut record.faults), requests }
}

/// The operators.
struct Fleet {
    world: World,
    rates: Rates,
    count: u32,
    running: Vec<Running>,
    wanted: usize,
}

struct Running {
    name: String,
    way: Way,
    task: JoinSet<()>,
    _stop: watch::Sender<bool>,
}

impl Fleet {
    fn new(world: World, rates: Rates) -> Self {
        let wanted = world.random().usize(1..=3);
        Self { world, rates, count: 0, running: Vec::new(), wanted }
    }

    /// Starts what has ended again.
    async fn tend(&mut self) {
        self.running.retain_mut(|it| it.task.try_join_next().is_none() && !it.task.is_empty());
        while self.running.len() < self.wanted {
            self.start();
        }
    }

    fn start(&mut self) {
        self.count += 1;
        let name = format!("rota-{}", self.count);
        self.world.note(&format!("{name} starts"));
        let way = Way::new(self.world.clone(), &name, self.rates);
        let client = Client::new(way.clone(), "rota-system");
        let of_lease = Client::new(way.clone(), "rota-system");
        let settings = Settings {
            namespaces: Vec::new(),
            lease_namespace: "rota-system".into(),
            identity: name.clone(),
            lease_duration: Duration::from_secs(15),
            max_running: None,
            http_address: ([127, 0, 0, 1], 0).into(),
            api_address: None,
            watch_quiet_max: Duration::from_secs(60),
        };
        let (stop, stopping) = watch::channel(false);
        let mut task = JoinSet::new();
        let start = Start {
            stores: Arc::new(Stores::new(Visibility::new(settings.watch_quiet_max, &[], "rota-system"))),
            metrics: Arc::default(),
        };
        let (world, own) = (self.world.clone(), name.clone());
        task.spawn(async move {
            // The part in the election ends with the operator.
            let parts = Arc::new(std::sync::Mutex::new(JoinSet::new()));
            let spawned = parts.clone();
            let take_part: TakePart = Box::new(move |terms| {
                let (election, part) = Election::with(move || Ok(of_lease), terms);
                spawned.lock().unwrap().spawn(part);
                Ok(election)
            });
            let result = operator::operate(client, take_part, settings, start, stopping).await;
            world.note(&format!("{own} ends: {result:?}"));
            drop(parts);
        });
        self.running.push(Running { name, way, task, _stop: stop });
    }

    /// Kills one of them.
    fn kill(&mut self) {
        let index = self.world.random().usize(..self.running.len().max(1));
        if index < self.running.len() {
            let killed = self.running.remove(index);
            killed.way.cut();
            self.world.note(&format!("{} is killed", killed.name));
            self.world.fault("operator killed");
        }
    }

    /// From here on nothing goes wrong.
    fn calm(&mut self) {
        self.rates = Rates::NONE;
        self.running.iter().for_each(|it| it.way.set(Rates::NONE));
    }
}

fn seeds() -> std::ops::Range<u64> {
    let said = std::env::var("SEEDS").unwrap_or_else(|_| "0..40".into());
    let (first, last) = said.split_once("..").expect("SEEDS is FIRST..LAST");
    first.parse().unwrap()..last.parse().unwrap()
}

#[test]
fn no_history_breaks_what_rota_promises() {
    clock::set_source(simulated_now);
    if let Ok(filter) = std::env::var("SIMULATION_LOG") {
        let _ = tracing_subscriber::fmt().with_env_filter(filter).without_time().try_init();
    }
    let kinds = Kinds::read();
    let begun = std::time::Instant::now();
    let (mut requests, mut faults, mut broken) = (0, BTreeMap::<&str, u64>::new(), Vec::new());
    let seeds = seeds();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let began = std::time::Instant::now();
        let lived = live(seed, &kinds);
        println!("seed {seed}: {} requests in {:?}", lived.requests, began.elapsed());
        requests += lived.requests;
        lived.faults.iter().for_each(|(kind, count)| *faults.entry(kind).or_default() += count);
        if let Ok(directory) = std::env::var("SIMULATION_LOGS") {
            std::fs::write(format!("{directory}/{seed}.log"), lived.log.join("\n")).unwrap();
        }
        if !lived.violations.is_empty() {
            let said: Vec<String> = lived.violations.iter().take(10).map(ToString::to_string).collect();
            println!("seed {seed}: {} violations\n  {}", lived.violations.len(), said.join("\n  "));
            if let Ok(directory) = std::env::var("SIMULATION_LOGS") {
                std::fs::write(format!("{directory}/{seed}.log"), lived.log.join("\n")).unwrap();
            }
            broken.push(seed);
        }
    }
    println!("{count} histories, {requests} requests, {:?}, faults: {faults:?}", begun.elapsed());
    assert!(broken.is_empty(), "seeds {broken:?}");
}
