//! A batch Job that is suspended, by Kueue for one, and resumed: what it says, and which of its pods count.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;

use super::pods::{join, pod_started};
use crate::api::labels::KUEUE_QUEUE;
use crate::domain::conditions::shorten;

/// The longest sentence about a suspended batch Job, in bytes.
const TEXT_BYTES_MAX: usize = 500;

/// Whether a batch Job is suspended: it has no pods, and Kubernetes counts no time.
pub fn is_suspended(batch: &BatchJob) -> bool {
    batch.spec.as_ref().and_then(|spec| spec.suspend).unwrap_or(false)
}

/// Whether a batch Job is to go on, and Kubernetes has not taken note: it has no start yet from which a time could count.
pub fn is_being_resumed(batch: &BatchJob) -> bool {
    let mut conditions = batch.status.iter().flat_map(|status| status.conditions.iter().flatten());
    !is_suspended(batch) && conditions.any(|it| it.type_ == "Suspended" && it.status == "True")
}

/// When a batch Job that was suspended was resumed.
pub fn resumed_at(batch: &BatchJob) -> Option<Timestamp> {
    let conditions = batch.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut resumed = conditions.filter(|it| it.type_ == "Suspended" && it.status == "False");
    resumed.next()?.last_transition_time.as_ref().map(|time| time.0)
}

/// The pods of the last start: those that were created since, or all of them if it was never suspended.
pub fn pods_since(pods: &[Arc<Pod>], resumed: Option<Timestamp>) -> Vec<Arc<Pod>> {
    let created = |pod: &Arc<Pod>| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    pods.iter()
        .filter(|pod| resumed.is_none_or(|resumed| created(pod).is_none_or(|at| at >= resumed)))
        .cloned()
        .collect()
}

/// When the last start of an attempt was: as the status of its Job says, where that is no earlier start, else its pods.
pub fn last_start(said: Option<Timestamp>, pods: &[Arc<Pod>], resumed: Option<Timestamp>) -> Option<Timestamp> {
    let said = said.filter(|said| resumed.is_none_or(|resumed| *said >= resumed));
    said.or_else(|| pod_started(&pods_since(pods, resumed)))
}

/// That a batch Job is suspended, with what its conditions say about that. Kueue says why in an object of its own only, so
/// the LocalQueue is named, where to look.
pub fn suspended_text(batch: &BatchJob) -> String {
    let name = batch.metadata.name.as_deref().unwrap_or_default();
    let queue = batch.metadata.labels.as_ref().and_then(|labels| labels.get(KUEUE_QUEUE));
    let place = queue.map(|queue| format!(" in LocalQueue {queue} of Kueue")).unwrap_or_default();
    let conditions = batch.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let said = conditions.filter(|it| it.status == "True").map(|it| {
        let reason = it.reason.as_deref().unwrap_or_default();
        join(&[&it.type_, reason, it.message.as_deref().unwrap_or_default()])
    });
    let said = said.collect::<Vec<_>>().join(", ");
    shorten(join(&[&format!("batch Job {name} is suspended{place}"), &said]), TEXT_BYTES_MAX)
}
