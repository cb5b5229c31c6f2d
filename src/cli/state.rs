//! State: the queues of a namespace and who waits in them, from what the caller may list.
//!
//! Jobs that have not ended and queues are listed once. Groups are, if members wait; of past runs a sample is taken, which
//! tells how long Jobs of the waiting and running templates take.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;

use super::objects::{Connection, Live, UNFINISHED};
use super::plugin::PluginError;
use crate::api::job::WaitingFor;
use crate::api::labels::{OUTCOME, TEMPLATE};
use crate::api::queue::{Pause, PauseScope};
use crate::api::{Job, JobGroup, JobPhase, JobRun, Queue};
use crate::domain::estimate::{self, Estimate, History, Running, Waiting};
use crate::domain::queue::{Rank, is_active};
use crate::domain::{conditions, line, names};

/// How many past runs are looked at.
const SAMPLE: u32 = 500;
/// How many templates are asked about at once: each is a label's value in the address of the request.
const TEMPLATES_MAX: usize = 100;

/// What is known of the queues of a namespace.
pub struct State {
    /// Jobs that have not ended.
    pub jobs: Live<Job>,
    /// The queues.
    pub queues: Live<Queue>,
    /// The groups, as soon as a member waits.
    pub groups: Live<JobGroup>,
    /// Whether they were listed.
    pub has_groups: bool,
    /// How long Jobs take.
    history: History,
}

/// A Job that waits in a queue.
#[derive(Clone, Debug)]
pub struct Standing<'a> {
    /// The Job.
    pub job: &'a Job,
    /// What decides on its place.
    pub rank: Rank,
    /// Its place, from 1, unless it is held or waits for a time.
    pub place: Option<usize>,
    /// By how much waiting raised its priority.
    pub increase: i32,
    /// When it will start.
    pub estimate: Estimate,
}

/// A queue, who runs in it, and who waits.
pub struct Line<'a> {
    /// The queue, if it exists.
    pub queue: Option<&'a Queue>,
    /// Why it starts nothing, if so.
    pub paused: Option<Paused>,
    /// The Jobs that take its places.
    pub running: Vec<&'a Job>,
    /// The Jobs that wait, in order; those without a place come last.
    pub waiting: Vec<Standing<'a>>,
    /// When a Job that came now would start.
    pub next: Estimate,
}

/// A pause that stops a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// In a sentence.
    pub message: String,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

impl State {
    /// Lists Jobs and queues, and groups if members wait. `of` says of which queue's Jobs past runs are asked for: of one, of
    /// all (None in the option), or of none.
    pub async fn fetch(connection: &Connection, history_of: Option<Option<&str>>) -> Result<Self, PluginError> {
        let jobs = Live::list(connection.api::<Job>(), ListParams::default().fields(UNFINISHED)).await?;
        let queues = Live::list(connection.api::<Queue>(), ListParams::default()).await?;
        let mut state =
            Self { jobs, queues, groups: Live::none(connection.api()), has_groups: false, history: History::default() };
        state.fetch_groups(connection).await?;
        if let Some(queue) = history_of {
            state.history = state.past_runs(connection, queue).await?;
        }
        Ok(state)
    }

    /// The groups, if members wait and nobody asked for them yet.
    pub async fn fetch_groups(&mut self, connection: &Connection) -> Result<(), PluginError> {
        let is_member = |job: &Job| line::is_queued(job) && job.spec.group_ref.is_some();
        if !self.has_groups && self.jobs.objects.values().any(is_member) {
            self.groups = Live::list(connection.api(), ListParams::default()).await?;
            self.has_groups = true;
        }
        Ok(())
    }

    /// What past runs took of the templates of Jobs that wait or run. Who may not read records gets no estimates.
    async fn past_runs(&self, connection: &Connection, queue: Option<&str>) -> Result<History, PluginError> {
        let jobs = self.jobs.objects.values().filter(|job| queue.is_none_or(|queue| line::queue_name(job) == queue));
        let jobs: Vec<&Job> = jobs.collect();
        let templates: BTreeSet<String> =
            jobs.iter().filter_map(|job| template(job)).map(|it| names::label_value(&it)).collect();
        if templates.is_empty() || !jobs.iter().any(|job| line::is_queued(job)) {
            return Ok(History::default());
        }
        let templates = templates.into_iter().take(TEMPLATES_MAX).collect::<Vec<_>>().join(",");
        let ran = format!("{TEMPLATE} in ({templates}),{OUTCOME} in (Completed,Failed)");
        let sample = connection.api::<JobRun>().list(&ListParams::default().labels(&ran).limit(SAMPLE)).await;
        let runs = sample.map(|list| list.items).unwrap_or_default();
        Ok(History::of(runs.into_iter().filter_map(|run| {
            let took = SignedDuration::from_millis(run.status.as_ref()?.duration_ms?);
            Some((run.spec.template_ref?.name, took))
        })))
    }

    /// A queue by its name.
    pub fn queue(&self, name: &str) -> Option<&Queue> {
        self.queues.objects.get(name)
    }

    /// The names of the queues that exist or in which Jobs wait.
    pub fn queue_names(&self) -> BTreeSet<String> {
        let waited_in =
            self.jobs.objects.values().filter(|job| line::is_queued(job)).map(|job| line::queue_name(job).to_owned());
        self.queues.objects.keys().cloned().chain(waited_in).collect()
    }

    /// Who runs and who waits in a queue.
    pub fn line(&self, name: &str, now: Timestamp) -> Line<'_> {
        let queue = self.queue(name);
        let aging = queue.and_then(|queue| queue.spec.aging.as_ref());
        let here: Vec<&Job> = self.jobs.objects.values().filter(|job| line::queue_name(job) == name).collect();
        let running: Vec<&Job> = here.iter().copied().filter(|job| line::is_running(job)).collect();
        let standing = |job| {
            let group = job_group(job, &self.groups.objects);
            let rank = line::rank(job, group, aging, now);
            let increase = rank.priority.0.saturating_sub(line::own_priority(job, group));
            Standing { job, rank, increase, place: None, estimate: Estimate::Unknown(String::new()) }
        };
        let mut waiting: Vec<Standing<'_>> =
            here.into_iter().filter(|job| line::is_queued(job)).map(standing).collect();
        waiting.sort_by(|left, right| {
            let key = |it: &Standing<'_>| !line::is_in_line(it.job, now);
            key(left).cmp(&key(right)).then_with(|| left.rank.cmp(&right.rank))
        });
        let paused = self.paused(name, &waiting, now);
        let mut line = Line { queue, paused, running, waiting, next: Estimate::Unknown(String::new()) };
        self.estimate(&mut line, now);
        line
    }

    /// Fills in places and estimates.
    fn estimate(&self, found: &mut Line<'_>, now: Timestamp) {
        let places = found.waiting.iter().filter(|it| line::is_in_line(it.job, now)).count();
        let ahead = found.waiting.iter().take(places).map(|it| Waiting {
            template: template(it.job),
            blocked_by: it.job.status.as_ref().and_then(|status| status.waiting_for).and_then(beyond_the_queue),
        });
        // One more at the end, for a Job that would come now.
        let in_line: Vec<Waiting> = ahead.chain([Waiting { template: None, blocked_by: None }]).collect();
        let running: Vec<Running> = found
            .running
            .iter()
            .map(|job| Running {
                template: template(job),
                started_at: job.status.as_ref().and_then(|status| status.started_at.as_ref()).map(|time| time.0),
            })
            .collect();
        let max_running = found.queue.map_or(Some(0), |queue| queue.spec.max_running);
        let opens_at = found.paused.as_ref().map_or(Some(now), |paused| paused.until);
        let unknown = match (found.queue, opens_at) {
            (None, _) => Some("its queue does not exist"),
            (_, None) => Some("the queue is paused"),
            (Some(_), Some(_)) => None,
        };
        let mut estimates = match unknown {
            Some(why) => vec![Estimate::Unknown(why.to_owned()); in_line.len()],
            None => estimate::starts(max_running, &running, &in_line, &self.history, now, opens_at.unwrap_or(now)),
        };
        found.next = estimates.pop().unwrap_or(Estimate::Unknown(String::new()));
        for (index, standing) in found.waiting.iter_mut().enumerate() {
            if let Some(estimate) = estimates.get(index) {
                standing.place = Some(index + 1);
                standing.estimate = estimate.clone();
            } else {
                standing.estimate = Estimate::Unknown(match line::not_before(standing.job) {
                    _ if standing.job.spec.hold => "it is held".into(),
                    Some(until) => format!("it may not start before {until}"),
                    None => "it is not in line".into(),
                });
            }
        }
    }

    /// What stops a queue: its own pause, the namespace's, or, as far as waiting Jobs say so, that of everything.
    fn paused(&self, name: &str, waiting: &[Standing<'_>], now: Timestamp) -> Option<Paused> {
        let mut pauses: Vec<(&String, &Pause)> = self
            .queues
            .objects
            .iter()
            .filter_map(|(name, queue)| Some((name, queue.spec.paused.as_ref()?)))
            .filter(|(_, pause)| is_active(pause, now))
            .filter(|(of, pause)| *of == name || pause.scope == Some(PauseScope::Namespace))
            .collect();
        // The one that lasts longest decides.
        pauses.sort_by_key(|(_, pause)| {
            (pause.until.is_some(), pause.until.as_ref().map(|until| std::cmp::Reverse(until.0)))
        });
        let told = pauses.first().map(|(of, pause)| {
            let what = match pause.scope {
                Some(PauseScope::Namespace) => format!("the namespace is paused (queue {of})"),
                Some(PauseScope::Queue | PauseScope::Cluster) | None => format!("queue {of} is paused"),
            };
            let until = pause.until.as_ref().map(|until| format!(" until {}", until.0)).unwrap_or_default();
            Paused {
                message: format!("{what}{until}: {}", pause.reason),
                until: pause.until.as_ref().map(|until| until.0),
            }
        });
        let everything = || {
            let waits = |it: &&Standing<'_>| waiting_for(it.job) == Some(WaitingFor::ClusterPaused);
            let message =
                waiting.iter().find(waits).map(|it| sentence(it.job).unwrap_or("everything is paused").to_owned());
            message.map(|message| Paused { message, until: None })
        };
        told.or_else(everything)
    }
}

/// The group of a Job, if it is a member.
fn job_group<'a>(job: &Job, groups: &'a BTreeMap<String, JobGroup>) -> Option<&'a JobGroup> {
    groups.get(&job.spec.group_ref.as_ref()?.name).filter(|group| line::is_member(job, group))
}

/// The template of a Job.
pub fn template(job: &Job) -> Option<String> {
    job.spec.template_ref.as_ref().map(|it| it.name.clone())
}

/// What a Job waits for, as the operator says.
pub fn waiting_for(job: &Job) -> Option<WaitingFor> {
    job.status.as_ref().and_then(|status| status.waiting_for)
}

/// Where a Job is in its life.
pub fn phase(job: &Job) -> Option<JobPhase> {
    job.status.as_ref().and_then(|status| status.phase)
}

/// What the operator says of a Job's launch, in a sentence.
pub fn sentence(job: &Job) -> Option<&str> {
    condition(job, conditions::DISPATCHED).map(|it| it.message.as_str())
}

/// A condition of a Job.
pub fn condition<'a>(job: &'a Job, type_: &str) -> Option<&'a Condition> {
    job.status.as_ref()?.conditions.iter().find(|it| it.type_ == type_)
}

/// What keeps a Job from being launched when its turn has come, in a word.
fn beyond_the_queue(waiting_for: WaitingFor) -> Option<&'static str> {
    match waiting_for {
        WaitingFor::QueueLimit | WaitingFor::QueuePaused | WaitingFor::NamespacePaused | WaitingFor::ClusterPaused => {
            None
        }
        // What the status says of these is over, or the Job is not in line.
        WaitingFor::Hold | WaitingFor::NotBefore | WaitingFor::Retry => None,
        other => Some(other.as_str()),
    }
}
