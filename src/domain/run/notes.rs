//! What is worth knowing of an attempt besides how it ended.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;

use super::pods::{self, Container};
use super::report::Report;
use crate::domain::conditions::shorten;
use crate::domain::words::printable;

/// How many notes a record has; the schema allows so many.
const NOTES_MAX: usize = 10;
/// How long a note may be, in bytes; the schema allows so many characters.
const NOTE_BYTES_MAX: usize = 500;

/// The notes of an attempt, each once.
pub(super) fn of(batch: Option<&BatchJob>, pods: &[Arc<Pod>], report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let mut known = BTreeSet::new();
    // A batch Job whose success was decided by some indexes has the pods of the others stopped.
    let stops_others = batch.is_some_and(|batch| batch.spec.as_ref().is_some_and(|spec| spec.success_policy.is_some()));
    let of_pods = pods.iter().flat_map(|pod| {
        let taken = taken(pod).filter(|_| !stops_others);
        let containers = pods::containers(pod).into_iter();
        taken.into_iter().chain(containers.filter_map(|it| said_with_0(&it)).collect::<Vec<_>>())
    });
    let restarts = pods.iter().flat_map(|pod| pods::containers(pod).into_iter().filter_map(|it| restarted(&it)));
    for note in of_pods.chain(restarts).chain(report.left_out.iter().cloned()) {
        let note = shorten(printable(&note), NOTE_BYTES_MAX);
        if known.insert(note.clone()) {
            notes.push(note);
        }
    }
    if notes.len() > NOTES_MAX {
        let more = notes.len() - (NOTES_MAX - 1);
        notes.truncate(NOTES_MAX - 1);
        notes.push(format!("and {more} more"));
    }
    notes
}

/// That a pod succeeded although somebody was taking it away: whether its work was done only its program knows.
fn taken(pod: &Pod) -> Option<String> {
    // Its phase may be seen a little later than that its containers ended.
    let containers = pods::containers(pod);
    let main = || containers.iter().filter(|it| it.is_main());
    let succeeded = main().all(|it| it.terminated().is_some_and(|end| end.exit_code == 0));
    let ended = main().filter_map(Container::finished_at).max().filter(|_| succeeded)?;
    let why = pods::taken_away(pod, Some(ended))?;
    Some(format!("pod {} {why} when it ended with exit code 0", pod.metadata.name.as_deref().unwrap_or_default()))
}

/// What Kubernetes says of a container that ended with 0 nevertheless: a child process was killed, for one.
fn said_with_0(container: &Container<'_>) -> Option<String> {
    let end = container.terminated().filter(|end| end.exit_code == 0)?;
    let reason = end.reason.as_deref().filter(|reason| !matches!(*reason, "" | "Completed"))?;
    let name = &container.status.name;
    Some(match reason {
        "OOMKilled" => format!(
            "a process of container {name} was killed for want of memory (OOMKilled), and the container ended with exit code 0"
        ),
        other => format!("container {name} ended with exit code 0 and the reason {other}"),
    })
}

/// That a container was started again in its pod. Of a sidecar that is its business.
fn restarted(container: &Container<'_>) -> Option<String> {
    let count = container.status.restart_count;
    let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
    (count > 0 && !container.is_sidecar()).then(|| format!("container {} was restarted {times}", container.status.name))
}
