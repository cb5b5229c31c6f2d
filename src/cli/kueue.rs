//! What Kueue says of a batch Job that it holds. It says so in a Workload of its own, which the operator has no right to
//! read; whoever asks here may have it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};

use super::objects::Connection;
use crate::domain::words::printable;

/// The versions of a Workload that say this, the newest first.
const VERSIONS: [&str; 2] = ["v1beta2", "v1beta1"];
/// The label of a Workload that says which batch Job it stands for.
const BATCH_UID: &str = "kueue.x-k8s.io/job-uid";

/// Why Kueue does not let this batch Job run; nothing if it says nothing, is not there, or its Workloads may not be read.
pub async fn reasons(connection: &Connection, batch_uid: &str) -> Vec<String> {
    let of_batch = ListParams::default().labels(&format!("{BATCH_UID}={batch_uid}"));
    for version in VERSIONS {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("kueue.x-k8s.io", version, "Workload"));
        let api: Api<DynamicObject> = Api::namespaced_with(connection.client.clone(), &connection.namespace, &kind);
        if let Ok(workloads) = api.list(&of_batch).await {
            return workloads.items.iter().flat_map(held).collect();
        }
    }
    Vec::new()
}

/// What the conditions of a Workload say of why it is held: that it was put out, and that it has no quota.
fn held(workload: &DynamicObject) -> Vec<String> {
    let conditions = workload.data.pointer("/status/conditions").cloned().unwrap_or_default();
    let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap_or_default();
    let tells = |it: &&Condition| matches!((&*it.type_, &*it.status), ("Evicted", "True") | ("QuotaReserved", "False"));
    let said = conditions.iter().filter(tells).filter(|it| !it.message.is_empty());
    said.map(|it| printable(&format!("Kueue says ({}): {}", it.reason, it.message))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_holds_a_workload_is_told() {
        let condition = |type_: &str, status: &str, reason: &str, message: &str| {
            let when = "2026-01-01T00:00:00Z";
            json!({ "type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": when })
        };
        let of = |conditions: serde_json::Value| {
            let workload = json!({ "metadata": { "name": "w" }, "status": { "conditions": conditions } });
            held(&serde_json::from_value(workload).unwrap())
        };
        let pending = condition("QuotaReserved", "False", "Pending", "insufficient quota");
        let evicted = condition("Evicted", "True", "Preempted", "for another");
        assert_eq!(of(json!([pending])), ["Kueue says (Pending): insufficient quota"]);
        assert_eq!(
            of(json!([evicted, condition("PodsReady", "False", "x", "y")])),
            ["Kueue says (Preempted): for another"]
        );
        assert_eq!(of(json!([condition("QuotaReserved", "True", "QuotaReserved", "in queue")])), [""; 0]);
        assert_eq!(of(json!("nonsense")), [""; 0]);
    }
}
