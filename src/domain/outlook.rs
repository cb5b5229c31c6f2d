//! Outlook: who runs and who waits in a queue, in order, what each waits for and when it will start.
//!
//! The plugin and the operator's API say the same with this code. The plugin has the objects that its user may list, and for
//! what a Job waits it has what the operator wrote when that last changed. The operator has [`Present`] besides, which tells
//! how it is now.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::estimate::{self, Estimate, History, Running, Waiting};
use super::queue::{Blocker, Rank, is_active};
use super::{conditions, place};
use crate::api::job::WaitingFor;
use crate::api::queue::{Pause, PauseScope};
use crate::api::{Job, JobGroup, JobPhase, Queue};

mod document;
mod present;
mod sample;

pub use document::{estimate_json, line_json, queue_json};
pub use present::{Elsewhere, Present, Surroundings};
pub use sample::{SAMPLE_MAX, Sample};

/// What is seen of the queues of a namespace.
pub struct Seen<'a> {
    now: Timestamp,
    queues: BTreeMap<&'a str, &'a Queue>,
    groups: BTreeMap<&'a str, &'a JobGroup>,
    history: &'a History,
    present: Option<&'a Present>,
    /// The Jobs that run or wait, by queue.
    jobs: BTreeMap<&'a str, Vec<&'a Job>>,
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
    /// What it waits for, in a word.
    pub waiting_for: Option<WaitingFor>,
    /// When it will start.
    pub estimate: Estimate,
}

/// A queue, who runs in it, and who waits.
pub struct Outlook<'a> {
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

impl<'a> Seen<'a> {
    /// What is seen of these objects of one namespace. Of Jobs those that have ended are left out.
    pub fn new(
        jobs: impl Iterator<Item = &'a Job>,
        queues: impl Iterator<Item = &'a Queue>,
        groups: impl Iterator<Item = &'a JobGroup>,
        history: &'a History,
        present: Option<&'a Present>,
        now: Timestamp,
    ) -> Self {
        let mut by_queue: BTreeMap<&'a str, Vec<&'a Job>> = BTreeMap::new();
        for job in jobs {
            let runs_in = present.and_then(|it| it.runs_in(job));
            if runs_in.is_some() || place::is_queued(job) || present.is_none() && place::is_running(job) {
                by_queue.entry(runs_in.unwrap_or(place::queue_name(job))).or_default().push(job);
            }
        }
        let queues = queues.filter_map(|it| Some((it.metadata.name.as_deref()?, it))).collect();
        let groups = groups.filter_map(|it| Some((it.metadata.name.as_deref()?, it))).collect();
        Self { now, queues, groups, history, present, jobs: by_queue }
    }

    /// The names of the queues that exist or in which Jobs wait.
    pub fn queue_names(&self) -> BTreeSet<&'a str> {
        let waited_in = self.jobs.iter().filter(|(_, jobs)| jobs.iter().any(|job| self.waits(job)));
        self.queues.keys().copied().chain(waited_in.map(|(name, _)| *name)).collect()
    }

    /// Whether a Job takes a place in its limits.
    fn runs(&self, job: &Job) -> bool {
        self.present.map_or_else(|| place::is_running(job), |it| it.runs_in(job).is_some())
    }

    fn waits(&self, job: &Job) -> bool {
        place::is_queued(job) && !self.runs(job)
    }

    /// Who runs and who waits in a queue.
    pub fn outlook(&self, name: &str) -> Outlook<'a> {
        let now = self.now;
        let queue = self.queues.get(name).copied();
        let aging = queue.and_then(|queue| queue.spec.aging.as_ref());
        let here = self.jobs.get(name).map(Vec::as_slice).unwrap_or_default();
        let running: Vec<&'a Job> = here.iter().copied().filter(|job| self.runs(job)).collect();
        let standing = |job: &'a Job| {
            let group = self.group_of(job);
            let rank = place::rank(job, group, aging, now);
            let increase = rank.priority.0.saturating_sub(place::own_priority(job, group));
            let estimate = Estimate::Unknown(String::new());
            Standing { job, rank, increase, place: None, waiting_for: None, estimate }
        };
        let mut waiting: Vec<Standing<'a>> = here.iter().copied().filter(|job| self.waits(job)).map(standing).collect();
        waiting.sort_by(|left, right| {
            let key = |it: &Standing<'_>| !place::is_in_line(it.job, now);
            key(left).cmp(&key(right)).then_with(|| left.rank.cmp(&right.rank))
        });
        self.say_what_they_wait_for(&mut waiting);
        let paused = self.paused(name, &waiting);
        let mut outlook = Outlook { queue, paused, running, waiting, next: Estimate::Unknown(String::new()) };
        self.estimate(&mut outlook);
        outlook
    }

    /// What a waiting Job waits for, in a word and a sentence.
    pub fn blocker(&self, job: &Job) -> Option<Blocker> {
        match self.present {
            Some(present) => present.blocker(job, self.now),
            None => said(job),
        }
    }

    /// What keeps a Job from being launched, in a sentence.
    pub fn sentence(&self, job: &Job) -> Option<String> {
        match self.present {
            Some(present) => present.blocker(job, self.now).map(|it| it.message),
            None => sentence(job).map(str::to_owned),
        }
    }

    /// What stops a whole queue is asked once.
    fn say_what_they_wait_for(&self, waiting: &mut [Standing<'_>]) {
        let mut of_all = None;
        for standing in waiting {
            let own = of_all.is_none() || !place::is_in_line(standing.job, self.now) || self.present.is_none();
            if own || said(standing.job).is_some_and(|it| !is_of_the_line(it.waiting_for)) {
                standing.waiting_for = self.blocker(standing.job).map(|it| it.waiting_for);
                of_all = of_all.or(standing.waiting_for.filter(|it| stops_the_queue(*it)));
            } else {
                standing.waiting_for = of_all;
            }
        }
    }

    /// Fills in places and estimates.
    fn estimate(&self, found: &mut Outlook<'_>) {
        let now = self.now;
        let places = found.waiting.iter().filter(|it| place::is_in_line(it.job, now)).count();
        let ahead = found
            .waiting
            .iter()
            .take(places)
            .map(|it| Waiting { template: template(it.job), blocked_by: it.waiting_for.and_then(beyond_the_queue) });
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
            None => estimate::starts(max_running, &running, &in_line, self.history, now, opens_at.unwrap_or(now)),
        };
        found.next = estimates.pop().unwrap_or(Estimate::Unknown(String::new()));
        for (index, standing) in found.waiting.iter_mut().enumerate() {
            if let Some(estimate) = estimates.get(index) {
                standing.place = Some(index + 1);
                standing.estimate = estimate.clone();
            } else {
                standing.estimate = Estimate::Unknown(match place::not_before(standing.job) {
                    _ if standing.job.spec.hold => "it is held".into(),
                    Some(until) => format!("it may not start before {until}"),
                    None => "it is not in line".into(),
                });
            }
        }
    }

    /// What stops a queue: its own pause, the namespace's, or that of everything. The plugin knows of the last as far as waiting
    /// Jobs say so.
    fn paused(&self, name: &str, waiting: &[Standing<'_>]) -> Option<Paused> {
        let active = self.queues.iter().filter_map(|(name, queue)| Some((*name, queue.spec.paused.as_ref()?)));
        let active = active.filter(|(_, pause)| is_active(pause, self.now));
        let mut pauses: Vec<(&str, &Pause)> =
            active.filter(|(of, pause)| *of == name || pause.scope == Some(PauseScope::Namespace)).collect();
        // The one that lasts longest decides.
        pauses.sort_by_key(|(_, pause)| {
            (pause.until.is_some(), pause.until.as_ref().map(|until| std::cmp::Reverse(until.0)))
        });
        let told = pauses.first().map(|(of, pause)| {
            let what = match pause.scope {
                Some(PauseScope::Namespace) => format!("the namespace is paused (queue {of})"),
                Some(PauseScope::Queue | PauseScope::Cluster) | None => format!("queue {of} is paused"),
            };
            paused(&what, pause)
        });
        let everything = || {
            let waits = |it: &&Standing<'_>| it.waiting_for == Some(WaitingFor::ClusterPaused);
            let message = waiting.iter().find(waits).map(|it| sentence(it.job).unwrap_or("everything is paused"));
            message.map(|message| Paused { message: message.to_owned(), until: None })
        };
        match self.present {
            Some(present) => present.pause_of_everything(self.now).or(told),
            None => told.or_else(everything),
        }
    }

    /// The group of a Job, if it is a member.
    fn group_of(&self, job: &Job) -> Option<&'a JobGroup> {
        let group = self.groups.get(job.spec.group_ref.as_ref()?.name.as_str())?;
        place::is_member(job, group).then_some(*group)
    }
}

fn paused(what: &str, pause: &Pause) -> Paused {
    let until = pause.until.as_ref().map(|until| format!(" until {}", until.0)).unwrap_or_default();
    Paused { message: format!("{what}{until}: {}", pause.reason), until: pause.until.as_ref().map(|until| until.0) }
}

/// The template of a Job.
pub fn template(job: &Job) -> Option<String> {
    job.spec.template_ref.as_ref().map(|it| it.name.clone())
}

/// What a Job waits for, as the operator wrote.
pub fn waiting_for(job: &Job) -> Option<WaitingFor> {
    job.status.as_ref().and_then(|status| status.waiting_for)
}

/// Where a Job is in its life.
pub fn phase(job: &Job) -> Option<JobPhase> {
    job.status.as_ref().and_then(|status| status.phase)
}

/// What the operator wrote of a Job's launch, in a sentence.
pub fn sentence(job: &Job) -> Option<&str> {
    condition(job, conditions::DISPATCHED).map(|it| it.message.as_str())
}

/// What the operator wrote that a Job waits for.
pub fn said(job: &Job) -> Option<Blocker> {
    let message = sentence(job).unwrap_or_default().to_owned();
    waiting_for(job).map(|waiting_for| Blocker { waiting_for, message })
}

/// A condition of a Job.
pub fn condition<'a>(job: &'a Job, type_: &str) -> Option<&'a Condition> {
    job.status.as_ref()?.conditions.iter().find(|it| it.type_ == type_)
}

/// Whether something stops all Jobs of a queue alike.
fn stops_the_queue(waiting_for: WaitingFor) -> bool {
    matches!(
        waiting_for,
        WaitingFor::QueueLimit
            | WaitingFor::QueuePaused
            | WaitingFor::NamespacePaused
            | WaitingFor::ClusterPaused
            | WaitingFor::Queue
    )
}

/// Whether what a Job waits for shows in its queue and its own fields.
pub(super) fn told_by_the_queue(waiting_for: WaitingFor) -> bool {
    stops_the_queue(waiting_for) || matches!(waiting_for, WaitingFor::Hold | WaitingFor::NotBefore | WaitingFor::Retry)
}

/// Whether it is known from the objects that there are what a Job waits for: all but what was found out by asking or has to
/// be resolved.
fn is_of_the_line(waiting_for: WaitingFor) -> bool {
    told_by_the_queue(waiting_for)
        || matches!(
            waiting_for,
            WaitingFor::ClusterLimit
                | WaitingFor::NamespaceLimit
                | WaitingFor::TemplateLimit
                | WaitingFor::GroupLimit
                | WaitingFor::ScheduleLimit
        )
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

#[cfg(test)]
mod tests;
