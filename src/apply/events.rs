//! Events of others: what the Job controller, the scheduler and kubelets say of one object, where nothing else tells.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use tokio::time::timeout;

use super::Writer;
use crate::domain::job::Subject;

/// How many looks are under way at once: the API server reads all events of a namespace for each.
pub(super) const LOOKS: usize = 4;
/// How long one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);
/// How many warnings about one object are read.
const WARNINGS_MAX: u32 = 50;
/// Warnings that explain nothing if there is another one: the pull is tried without the secret.
const BESIDE_THE_POINT: [&str; 2] = ["FailedToRetrieveImagePullSecret", "DNSConfigForming"];

impl Writer {
    /// What the last warning about an object says, if there is one and an answer in time. Absent: it was not asked, because
    /// others are being asked about, or this process does not lead.
    pub async fn warning(&self, subject: &Subject) -> Option<Option<String>> {
        let _turn = self.looks.try_acquire().ok()?;
        if !self.leadership.is_leader() {
            return None;
        }
        let object = subject.object();
        let api: Api<Event> = Api::namespaced(self.client.clone(), &object.namespace);
        let selector = format!("involvedObject.uid={},type=Warning", object.uid);
        let params = ListParams::default().fields(&selector).limit(WARNINGS_MAX);
        let answer = timeout(LOOK_TIMEOUT, api.list(&params)).await;
        self.metrics.request("list", "Event", if matches!(answer, Ok(Ok(_))) { "ok" } else { "failed" });
        let events = answer.ok().and_then(Result::ok).map(|list| list.items).unwrap_or_default();
        let warning = events.into_iter().max_by_key(|event| {
            let reason = event.reason.as_deref().unwrap_or_default();
            let last = event.event_time.as_ref().map(|time| time.0);
            // After the sentence that explains it, a kubelet often sends one that only names the error.
            let explains = !event.message.as_deref().unwrap_or_default().starts_with("Error: ");
            (!BESIDE_THE_POINT.contains(&reason), explains, event.last_timestamp.as_ref().map(|time| time.0).max(last))
        });
        Some(
            warning
                .map(|event| subject.sentence(&event.reason.unwrap_or_default(), &event.message.unwrap_or_default())),
        )
    }
}
