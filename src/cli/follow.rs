//! Follow: the logs of a Job's attempts, one after the other, each from its start to its end.

use std::io::Write;

use futures::AsyncReadExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt};

use super::objects::{Connection, is_code, refused};
use super::plugin::PluginError;
use crate::api::labels::{ATTEMPT, JOB_UID};
use crate::api::{Job, JobPhase};
use crate::domain::outlook::phase;

/// The annotation of a pod that names the container whose log is asked for first.
const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";
/// How much of a log is read at once, in bytes.
const PIECE: usize = 16 * 1024;

/// What was shown of a Job's logs.
pub struct Follower {
    connection: Connection,
    /// The last attempt whose log was shown to its end.
    shown: u32,
}

impl Follower {
    /// Nothing was.
    pub fn new(connection: Connection) -> Self {
        Self { connection, shown: 0 }
    }

    /// Shows the logs of the attempts that have started by now, as far as they were not shown. Returns when the last one of
    /// them has ended.
    pub async fn catch_up(&mut self, job: &Job, output: &mut dyn Write) -> Result<(), PluginError> {
        while self.shown < started(job) {
            self.shown += 1;
            self.show(job, self.shown, output).await?;
        }
        Ok(())
    }

    async fn show(&self, job: &Job, attempt: u32, output: &mut dyn Write) -> Result<(), PluginError> {
        let pods: Api<Pod> = self.connection.api();
        let of_attempt = format!("{JOB_UID}={},{ATTEMPT}={attempt}", job.uid().unwrap_or_default());
        let found = pods.list(&ListParams::default().labels(&of_attempt)).await.map_err(refused)?;
        let Some(pod) = found.items.into_iter().find(has_started) else {
            eprintln!("attempt {attempt} has no log: none of its containers started, or its pod is gone");
            return Ok(());
        };
        if attempt > 1 {
            eprintln!("attempt {attempt}:");
        }
        let log = LogParams { container: container(&pod), follow: true, ..LogParams::default() };
        let stream = match pods.log_stream(&pod.name_any(), &log).await {
            Ok(stream) => stream,
            Err(error) if is_code(&error, 404) => {
                eprintln!("the log of attempt {attempt} is gone with its pod");
                return Ok(());
            }
            Err(error) => return Err(refused(error)),
        };
        let mut stream = std::pin::pin!(stream);
        let mut piece = vec![0; PIECE];
        loop {
            // An interrupted log is said to be so; how the Job ended is told by its status.
            let length = match stream.read(&mut piece).await {
                Ok(length) => length,
                Err(error) => {
                    eprintln!("the log of attempt {attempt} was interrupted: {error}");
                    return Ok(());
                }
            };
            let text = piece.get(..length).unwrap_or_default();
            if length == 0 || output.write_all(text).and_then(|()| output.flush()).is_err() {
                return Ok(());
            }
        }
    }
}

/// How many attempts have started, or have ended without.
fn started(job: &Job) -> u32 {
    let Some(status) = job.status.as_ref() else { return 0 };
    let recorded = u32::try_from(status.run_refs.len()).unwrap_or(u32::MAX);
    let ended = phase(job).is_some_and(JobPhase::is_ended);
    match phase(job) {
        Some(JobPhase::Running) => status.attempts.max(recorded),
        // What never was launched has a record, and no pod.
        _ if ended && status.dispatched_at.is_none() => 0,
        _ => recorded,
    }
}

fn has_started(pod: &Pod) -> bool {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    containers.filter_map(|it| it.state.as_ref()).any(|state| state.running.is_some() || state.terminated.is_some())
}

/// The container whose log is shown.
fn container(pod: &Pod) -> Option<String> {
    let chosen = pod.annotations().get(DEFAULT_CONTAINER_ANNOTATION).cloned();
    chosen.or_else(|| pod.spec.as_ref()?.containers.first().map(|container| container.name.clone()))
}
