//! Operator: wires caches, controllers and dispatcher together, and runs them while this process leads.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use kube::{Client, Config};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::answers::Answers;
use crate::apply::{REQUEST_TIMEOUT, Writer};
use crate::controllers::{self, Context, Memories, Readings, Triggers};
use crate::dispatcher::Dispatcher;
use crate::runtime::clock::now;
use crate::runtime::connection;
use crate::runtime::events;
use crate::runtime::http::{self, Endpoints};
use crate::runtime::lease::{Acquired, Election, Leadership, LeaseError, Terms, chain};
use crate::runtime::metrics::Metrics;
use crate::runtime::store::Key;
use crate::runtime::stores::Stores;
use crate::runtime::visibility::Visibility;
use crate::runtime::work;
use crate::{dispatcher, launcher};

mod listeners;
mod takeover;

use listeners::listen;

/// How many decisions each controller makes at once, at the most.
const CONTROLLER_PLACES: usize = 64;
/// How many launches are under way at once, at the most.
const LAUNCHER_PLACES: usize = 128;
/// How many namespaces are decided at once, at the most.
const DISPATCHER_PLACES: usize = 32;
/// How far the wall clock may drift from the monotonic one between two looks before all timers are set anew.
const CLOCK_STEP: Duration = Duration::from_millis(500);
/// How much further the wall clock may go than the monotonic one before it is assumed that the machine was suspended.
const SUSPENDED: SignedDuration = SignedDuration::from_secs(10);
/// How often it is asked whether what was not done for want of sight can be done.
const SIGHT_LOOK: Duration = Duration::from_secs(1);
/// How often the two clocks are compared.
const CLOCK_LOOK: Duration = Duration::from_secs(2);
/// How long requests under way may take when the program ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How the operator runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespaces to work on. An empty list means all.
    pub namespaces: Vec<String>,
    /// The namespace of the lease.
    pub lease_namespace: String,
    /// This replica's name, unique among live ones.
    pub identity: String,
    /// How long a leader that does not renew keeps the lease.
    pub lease_duration: Duration,
    /// How many Jobs may run in the cluster at once; absent: any number.
    pub max_running: Option<u32>,
    /// Where the endpoints listen.
    pub http_address: std::net::SocketAddr,
    /// Where the API listens; absent: there is none.
    pub api_address: Option<std::net::SocketAddr>,
    /// How long a watch may bring no news before it is doubted.
    pub watch_quiet_max: Duration,
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The endpoints cannot listen.
    #[error("failed to listen on {address}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There can be no client.
    #[error("failed to make a client")]
    Client(#[source] kube::Error),
    /// The lease was lost; another replica goes on.
    #[error("failed to keep leading")]
    Lease(#[source] LeaseError),
    /// A part that runs for ever ended.
    #[error("failed to go on: {0} ended")]
    Ended(&'static str),
}

/// How a replica takes part in the election.
pub type TakePart = Box<dyn FnOnce(Terms) -> Result<Election, LeaseError> + Send>;

/// What an operator has from the moment it starts.
#[derive(Clone, Default)]
pub struct Start {
    /// The caches.
    pub stores: Arc<Stores>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

/// Runs until `stop` says so, then gives the lease up and returns.
pub async fn run(config: Config, settings: Settings, stop: watch::Receiver<bool>) -> Result<(), OperatorError> {
    let client = connection::client(config.clone(), REQUEST_TIMEOUT).map_err(OperatorError::Client)?;
    let visibility = Visibility::new(settings.watch_quiet_max, &settings.namespaces, &settings.lease_namespace);
    let start = Start { stores: Arc::new(Stores::new(visibility)), metrics: Arc::default() };
    let mut servers = serve(&client, &settings, &start).await?;
    let take_part: TakePart = Box::new(|terms| Election::start(config, terms));
    tokio::select! {
        biased;
        result = operate(client, take_part, settings, start, stop) => result,
        Some(_) = servers.join_next() => Err(OperatorError::Ended("the HTTP server")),
    }
}

/// Starts the endpoints, and the API if there is one.
async fn serve(
    client: &Client,
    settings: &Settings,
    start: &Start,
) -> Result<JoinSet<std::io::Result<()>>, OperatorError> {
    let mut servers = JoinSet::new();
    let listener = listen_on(settings.http_address).await?;
    tracing::info!(
        port = listener.local_addr().map_or(settings.http_address.port(), |it| it.port()),
        "the endpoints listen"
    );
    servers.spawn(http::serve(listener, Endpoints { stores: start.stores.clone(), metrics: start.metrics.clone() }));
    if let Some(address) = settings.api_address {
        let (only, own) = (settings.namespaces.clone(), settings.lease_namespace.clone());
        let answers = Answers::new(client.clone(), start.stores.clone(), only, own, settings.max_running);
        let listener = listen_on(address).await?;
        // The log names the port because 0 asks for any.
        tracing::info!(port = listener.local_addr().map_or(address.port(), |it| it.port()), "the API listens");
        servers.spawn(answers.serve(listener));
    }
    Ok(servers)
}

/// Watches, leads when it is this replica's turn, and acts while it leads.
pub async fn operate(
    client: Client,
    take_part: TakePart,
    settings: Settings,
    Start { stores, metrics }: Start,
    mut stop: watch::Receiver<bool>,
) -> Result<(), OperatorError> {
    let leadership = Leadership::default();
    let mut watches = stores.watch(&client);
    tokio::select! {
        biased;
        _ = async { tokio::join!(stores.visibility.wait_listed(), stores.wait_for_records(&client)) } => {}
        Some(_) = watches.join_next() => return Err(OperatorError::Ended("a watch")),
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    }
    tracing::info!(identity = %settings.identity, "caches are filled, waiting for the lease");
    let mut election = take_part(terms(&settings, &stores, &leadership)).map_err(OperatorError::Lease)?;
    let acquired = tokio::select! {
        biased;
        acquired = election.acquired() => acquired.map_err(OperatorError::Lease)?,
        Some(_) = watches.join_next() => return Err(OperatorError::Ended("a watch")),
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    };
    tracing::info!(epoch = leadership.epoch(), "leading");
    metrics.leader.set(1);
    let (halt, halted) = watch::channel(false);
    let mut parts = JoinSet::new();
    let act = async {
        // What it was told while it waited may have ended without a word.
        stores.visibility.take_over().await;
        parts = lead(&client, &stores, &leadership, acquired, &metrics, &settings, &halted);
        parts.join_next().await;
    };
    let result = tokio::select! {
        biased;
        error = election.lost() => Err(OperatorError::Lease(error)),
        () = act => Err(OperatorError::Ended("a controller")),
        Some(_) = watches.join_next() => Err(OperatorError::Ended("a watch")),
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    };
    metrics.leader.set(0);
    // Nothing new is begun; what is under way gets a moment, and then the lease is free for the next.
    if result.is_ok() {
        let _ = halt.send(true);
        let drained = async { while parts.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, drained).await;
        if let Err(error) = election.release().await {
            tracing::warn!(error = %chain(&error), "the lease could not be given up and will expire");
        }
        tracing::info!("stopped");
    }
    result
}

/// On what terms this replica takes part in the election.
fn terms(settings: &Settings, stores: &Arc<Stores>, leadership: &Leadership) -> Terms {
    let seen = stores.clone();
    Terms {
        namespace: settings.lease_namespace.clone(),
        identity: settings.identity.clone(),
        duration: settings.lease_duration,
        leadership: leadership.clone(),
        traces: Arc::new(move || seen.traces()),
    }
}

async fn listen_on(address: std::net::SocketAddr) -> Result<tokio::net::TcpListener, OperatorError> {
    tokio::net::TcpListener::bind(address).await.map_err(|source| OperatorError::Listen { address, source })
}

/// Starts everything that acts.
fn lead(
    client: &Client,
    stores: &Arc<Stores>,
    leadership: &Leadership,
    acquired: Acquired,
    metrics: &Arc<Metrics>,
    settings: &Settings,
    halted: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let (templates, template_work) = work::channel();
    let (schedules, schedule_work) = work::channel();
    let (jobs, job_work) = work::channel();
    let (groups, group_work) = work::channel();
    let (rounds, round_work) = work::channel();
    let (launcher, launch_work) = work::channel();
    let (told, event_queue) = mpsc::channel(controllers::EVENTS_MAX);
    let context = Arc::new(Context {
        stores: stores.clone(),
        writer: Writer::new(client.clone(), stores.clone(), leadership.clone(), metrics.clone()),
        triggers: Triggers { templates, schedules, jobs, groups, dispatcher: rounds, launcher },
        leadership: leadership.clone(),
        leading_since: acquired.may_have_written_until,
        predecessor_renewed_at: acquired.predecessor_renewed_at,
        metrics: metrics.clone(),
        dispatcher: Dispatcher::new(settings.max_running),
        own_namespace: settings.lease_namespace.clone(),
        taken_over: std::sync::RwLock::default(),
        memories: Memories::default(),
        readings: Readings::default(),
        probes: std::sync::Mutex::default(),
        unwritten: std::sync::Mutex::default(),
        schedule_memory: controllers::schedule::Memory::default(),
        gone_schedules: std::sync::Mutex::default(),
        doubts: std::sync::Mutex::default(),
        made: std::sync::Mutex::default(),
        queues_being_made: std::sync::Mutex::default(),
        revisions: std::sync::Mutex::default(),
        standings: controllers::job_group::Standings::default(),
        events: told,
    });
    listen(&context);
    let (seen, unseen): (Vec<_>, Vec<_>) = stores.visibility.scopes().cloned().partition(|scope| scope.is_fresh());
    unseen.iter().for_each(|scope| takeover::put_off(&context, scope));
    seen.iter().for_each(|scope| takeover::take_over(&context, scope));
    let mut parts = JoinSet::new();
    let mut run = Runner { parts: &mut parts, context: &context, halted };
    run.run(template_work, CONTROLLER_PLACES, controllers::job_template::reconcile);
    run.run(schedule_work, CONTROLLER_PLACES, controllers::schedule::reconcile);
    run.run(job_work, CONTROLLER_PLACES, controllers::job::reconcile);
    run.run(group_work, CONTROLLER_PLACES, controllers::job_group::reconcile);
    run.run(round_work, DISPATCHER_PLACES, dispatcher::round);
    run.run(launch_work, LAUNCHER_PLACES, launcher::launch);
    let events =
        events::send(client.clone(), settings.identity.clone(), leadership.clone(), metrics.clone(), event_queue);
    let later = takeover::take_over_later(context.clone(), unseen);
    parts.spawn(until_halted(later, halted.clone()));
    parts.spawn(until_halted(events, halted.clone()));
    parts.spawn(until_halted(watch_clock(context.clone()), halted.clone()));
    parts.spawn(until_halted(watch_sight(context.clone()), halted.clone()));
    seen.iter().for_each(|scope| takeover::look_at_all(&context, scope));
    parts
}

/// Runs what works on keys until the program is told to halt.
struct Runner<'a> {
    parts: &'a mut JoinSet<()>,
    context: &'a Arc<Context>,
    halted: &'a watch::Receiver<bool>,
}

impl Runner<'_> {
    fn run<R>(&mut self, asked: work::Triggers, places: usize, reconcile: fn(Arc<Context>, Key) -> R)
    where
        R: Future<Output = work::Next> + Send + 'static,
    {
        let context = self.context.clone();
        let work = move |key| reconcile(context.clone(), key);
        self.parts.spawn(work::run(asked, places, self.halted.clone(), work));
    }
}

/// Does what never ends by itself until the program is told to halt.
async fn until_halted(part: impl Future<Output = ()>, mut halt: watch::Receiver<bool>) {
    tokio::select! {
        biased;
        () = part => {}
        _ = halt.wait_for(|halt| *halt) => {}
    }
}

/// Timers run on the monotonic clock: when the wall clock is set, everything that waits for a time has to look again.
/// A clock that went on by much more than the monotonic one was set, or the machine was suspended: then nothing is known.
async fn watch_clock(context: Arc<Context>) {
    let mut last = (now(), tokio::time::Instant::now());
    loop {
        tokio::time::sleep(CLOCK_LOOK).await;
        let look = (now(), tokio::time::Instant::now());
        let wall = look.0.duration_since(last.0);
        let monotonic = SignedDuration::try_from(look.1 - last.1).unwrap_or_default();
        let step = (wall - monotonic).unsigned_abs();
        if step > CLOCK_STEP {
            tracing::warn!(step_ms = u64::try_from(step.as_millis()).unwrap_or(u64::MAX), "the clock was set");
            if wall - monotonic > SUSPENDED {
                context.stores.visibility.doubt();
            }
            context.stores.visibility.scopes().for_each(|scope| takeover::look_at_all(&context, scope));
        }
        last = look;
    }
}

/// Looks at everything again when what was not done for want of sight can be done, and after a panic on a change, which may
/// have kept somebody from looking.
async fn watch_sight(context: Arc<Context>) {
    let mut panics = context.stores.panics();
    loop {
        tokio::time::sleep(SIGHT_LOOK).await;
        let seen = context.stores.panics();
        let mut due = context.stores.visibility.to_be_made_up_for();
        if seen != panics {
            due = context.stores.visibility.scopes().cloned().collect();
        }
        for scope in due {
            tracing::info!(of = scope.namespace(), "what could not be looked at before is looked at now");
            takeover::look_at_all(&context, &scope);
        }
        panics = seen;
    }
}
