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
use crate::domain::outlook::{SAMPLE_MAX, Sample, Seen};
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
    /// Lists Jobs and queues, and groups if members wait. `history_of` says of which queue's Jobs (absent in it: of all) past
    /// runs are asked for, and what time it is; absent: of none.
    pub async fn fetch(
        connection: &Connection,
        history_of: Option<(Option<&str>, Timestamp)>,
    ) -> Result<Self, PluginError> {
        let jobs = Live::list(connection.api::<Job>(), ListParams::default().fields(UNFINISHED)).await?;
        let queues = Live::list(connection.api::<Queue>(), ListParams::default()).await?;
        let mut state =
            Self { jobs, queues, groups: Live::none(connection.api()), has_groups: false, history: History::default() };
        state.fetch_groups(connection).await?;
        if let Some((queue, now)) = history_of {
            state.history = state.past_runs(connection, queue, now).await?;
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
    async fn past_runs(
        &self,
        connection: &Connection,
        queue: Option<&str>,
        now: Timestamp,
    ) -> Result<History, PluginError> {
        let jobs = self.jobs.objects.values().filter(|job| queue.is_none_or(|queue| place::queue_name(job) == queue));
        let mut sample = Sample::of(jobs, now);
        while let Some(labels) = sample.next_labels() {
            let selected = ListParams::default().labels(&labels).limit(SAMPLE_MAX);
            let Ok(listed) = connection.api::<JobRun>().list(&selected).await else { break };
            sample.take(listed.items);
        }
        Ok(sample.history())
    }

    /// What is seen of it now.
    pub fn seen(&self, now: Timestamp) -> Seen<'_> {
        let (jobs, queues, groups) = (&self.jobs.objects, &self.queues.objects, &self.groups.objects);
        Seen::new(jobs.values(), queues.values(), groups.values(), &self.history, None, now)
    }
}
