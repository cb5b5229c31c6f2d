//! State: the queues of a namespace and who waits in them, from what the caller may list.
//!
//! Jobs that have not ended and queues are listed once. Groups are, if members wait; of past runs a sample is taken, which
//! tells how long Jobs of the waiting and running templates take.

use jiff::Timestamp;
use kube::api::ListParams;

use super::objects::{Connection, Live, UNFINISHED};
use super::plugin::PluginError;
use crate::api::{Job, JobGroup, JobRun, Queue};
use crate::domain::estimate::History;
use crate::domain::outlook::{SAMPLE_MAX, Seen, history, sample_labels};
use crate::domain::place;

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
        let is_member = |job: &Job| place::is_queued(job) && job.spec.group_ref.is_some();
        if !self.has_groups && self.jobs.objects.values().any(is_member) {
            self.groups = Live::list(connection.api(), ListParams::default()).await?;
            self.has_groups = true;
        }
        Ok(())
    }

    /// What past runs took of the templates of Jobs that wait or run. Who may not read records gets no estimates.
    async fn past_runs(&self, connection: &Connection, queue: Option<&str>) -> Result<History, PluginError> {
        let jobs = self.jobs.objects.values().filter(|job| queue.is_none_or(|queue| place::queue_name(job) == queue));
        let Some(labels) = sample_labels(jobs) else { return Ok(History::default()) };
        let sample = connection.api::<JobRun>().list(&ListParams::default().labels(&labels).limit(SAMPLE_MAX)).await;
        Ok(history(sample.map(|list| list.items).unwrap_or_default()))
    }

    /// What is seen of it now.
    pub fn seen(&self, now: Timestamp) -> Seen<'_> {
        let (jobs, queues, groups) = (&self.jobs.objects, &self.queues.objects, &self.groups.objects);
        Seen::new(jobs.values(), queues.values(), groups.values(), &self.history, None, now)
    }
}
