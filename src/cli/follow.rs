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
use crate::domain::words::printable;

/// The annotation of a pod that names the container whose log is asked for first.
const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";
/// How much of a log is read at once, in bytes.
const PIECE: usize = 16 * 1024;

/// What was shown of a Job's logs.
pub struct Follower {
    connection: Connection,
    /// Whether the log is shown on a terminal, where nothing in it may act on that.
    on_terminal: bool,
    /// The last attempt whose log was shown to its end.
    shown: u32,
}

impl Follower {
    /// Nothing was. On a terminal, what would act on it is written out; elsewhere the log is passed on as it is.
    pub fn new(connection: Connection, on_terminal: bool) -> Self {
        Self { connection, on_terminal, shown: 0 }
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
        let mut begun = Vec::new();
        loop {
            // An interrupted log is said to be so; how the Job ended is told by its status.
            let length = match stream.read(&mut piece).await {
                Ok(length) => length,
                Err(error) => {
                    eprintln!("the log of attempt {attempt} was interrupted: {error}");
                    return Ok(());
                }
            };
            let read = piece.get(..length).unwrap_or_default();
            let written = if self.on_terminal {
                begun.extend_from_slice(read);
                output.write_all(whole_characters(&mut begun).as_bytes())
            } else {
                output.write_all(read)
            };
            if length == 0 || written.and_then(|()| output.flush()).is_err() {
                return Ok(());
            }
        }
    }
}

/// Takes all but a character that is not complete yet, as it may be shown on a terminal.
fn whole_characters(bytes: &mut Vec<u8>) -> String {
    let begun = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => bytes.split_off(error.valid_up_to()),
        _ => Vec::new(),
    };
    let text = printable(&String::from_utf8_lossy(bytes));
    *bytes = begun;
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_on_a_terminal_is_shown_whatever_is_in_it_and_wherever_it_is_cut() {
        let log = "grün\u{1b}[2J名前\n".as_bytes();
        for cut in 0..=log.len() {
            let (mut begun, mut shown) = (Vec::new(), String::new());
            for piece in [&log[..cut], &log[cut..]] {
                begun.extend_from_slice(piece);
                shown += &whole_characters(&mut begun);
            }
            assert_eq!(shown, "grün\\x1b[2J名前\n", "cut after {cut} bytes");
            assert!(begun.is_empty());
        }
        let mut wrong = b"a\xffb\xe5\x90".to_vec();
        assert_eq!((whole_characters(&mut wrong), wrong), ("a\u{fffd}b\u{fffd}".into(), vec![]));
    }
}
