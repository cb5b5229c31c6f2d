//! Which operator leads, by its Lease; and what is remarked where none does.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::Serialize;

use super::objects::{Connection, shown};
use crate::api::labels::VERSION_ANNOTATION;
use crate::runtime::lease::LEASE_NAME;

/// How far the clock of the operator's node may be behind this one.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(60);
/// What is remarked where no operator leads.
const NOBODY_LEADS: &str =
    "No operator leads: nobody holds its Lease. Nothing starts, and nothing is recorded, until one does.\n";

/// An operator that leads.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Operator {
    /// Its namespace.
    pub namespace: String,
    /// Its name, as the Lease has it.
    pub identity: String,
    /// Absent: a build that does not say.
    pub version: Option<String>,
}

/// The operators that hold a Lease, in one namespace or in all.
pub async fn operators(
    connection: &Connection,
    namespace: Option<&str>,
    now: Timestamp,
) -> Result<Vec<Operator>, kube::Error> {
    let client = connection.client.clone();
    let api: Api<Lease> = namespace.map_or(Api::all(client.clone()), |namespace| Api::namespaced(client, namespace));
    let of_rota = ListParams::default().fields(&format!("metadata.name={LEASE_NAME}"));
    let found = api.list(&of_rota).await?;
    Ok(found.items.into_iter().map(shown).filter_map(|lease| operator(&lease, now)).collect())
}

/// A line for standard error if no operator leads in any namespace. Who may not read the Leases of all namespaces cannot know.
pub async fn remark(connection: &Connection, now: Timestamp) -> String {
    match operators(connection, None, now).await {
        Ok(operators) if operators.is_empty() => NOBODY_LEADS.to_owned(),
        Ok(_) | Err(_) => String::new(),
    }
}

/// The operator that holds a lease, unless it has run out.
fn operator(lease: &Lease, now: Timestamp) -> Option<Operator> {
    let spec = lease.spec.as_ref()?;
    let identity = spec.holder_identity.clone().filter(|identity| !identity.is_empty())?;
    let lasts = SignedDuration::from_secs(spec.lease_duration_seconds?.into());
    let until = spec.renew_time.as_ref()?.0.saturating_add(lasts.saturating_add(CLOCKS_DIFFER)).ok()?;
    let version = lease.annotations().get(VERSION_ANNOTATION).cloned();
    (now <= until).then(|| Operator { namespace: lease.namespace().unwrap_or_default(), identity, version })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operator_leads_for_as_long_as_its_lease_lasts() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let lease = |holder: &str, renewed: &str| -> Lease {
            serde_json::from_value(json!({
                "metadata": { "name": "rota", "namespace": "rota-system", "annotations": { "rota.dev/version": "1.2.3" } },
                "spec": { "holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15 },
            }))
            .unwrap()
        };
        let [namespace, identity, version] = ["rota-system", "rota-1", "1.2.3"].map(str::to_owned);
        let leader = Operator { namespace, identity, version: Some(version) };
        assert_eq!(operator(&lease("rota-1", "2026-03-01T11:59:50.000000Z"), now), Some(leader));
        assert_eq!(operator(&lease("rota-1", "2026-03-01T11:58:40.000000Z"), now), None);
        assert_eq!(operator(&lease("", "2026-03-01T11:59:59.000000Z"), now), None);
    }
}
