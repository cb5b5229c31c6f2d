//! `kubectl rota version`: which version of the plugin this is, and which version of the operator leads.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::Serialize;

use super::cluster::NamespaceArguments;
use super::objects::{Connection, refused, shown};
use super::plugin::{Answer, OK, PluginError, UNREACHABLE};
use super::print::{self, Format};
use crate::api::labels::VERSION_ANNOTATION;
use crate::runtime::lease::LEASE_NAME;

/// What to show, and of which cluster.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "The operator is found by its Lease, in all namespaces, or where -n is given in that one.\n\nExit codes: 0 shown; 1 the \
    Lease may not be read; 2 wrong arguments; 5 no cluster, or no operator leads.\n\nExamples:\n  kubectl rota version\n  kubectl rota \
    version --client"
)]
pub struct Arguments {
    /// Only the version of the plugin; asks no cluster.
    #[arg(long)]
    pub client: bool,
    /// text for people, or json.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Where.
    #[command(flatten)]
    pub place: NamespaceArguments,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    /// Of the plugin.
    client: &'static str,
    /// Each operator that leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    operators: Option<Vec<Operator>>,
}

/// An operator that leads.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Operator {
    namespace: String,
    identity: String,
    /// Absent: a build that does not say.
    version: Option<String>,
}

/// Answers.
pub async fn run(arguments: &Arguments, now: Timestamp) -> Result<Answer, PluginError> {
    let client = env!("CARGO_PKG_VERSION");
    let operators = if arguments.client { None } else { Some(leaders(&arguments.place, now).await?) };
    let exit_code = if operators.as_ref().is_some_and(Vec::is_empty) { UNREACHABLE } else { OK };
    let versions = Versions { client, operators };
    let output = match arguments.output {
        Format::Json => print::json(&versions)?,
        Format::Text => text(&versions),
    };
    Ok(Answer { output, remarks: String::new(), exit_code })
}

fn text(versions: &Versions) -> String {
    let mut text = format!("kubectl rota {}\n", versions.client);
    let Some(operators) = &versions.operators else { return text };
    if operators.is_empty() {
        text += "no operator leads: no Lease of that name is held\n";
    }
    for Operator { namespace, identity, version } in operators {
        let version = version.as_deref().unwrap_or("of unknown version");
        text += &format!("operator {version} (leader {identity} in the namespace {namespace})\n");
    }
    text
}

/// The operators that hold a lease.
async fn leaders(place: &NamespaceArguments, now: Timestamp) -> Result<Vec<Operator>, PluginError> {
    let connection = Connection::open(place, false).await?;
    let api: Api<Lease> = match &place.namespace {
        Some(namespace) => Api::namespaced(connection.client, namespace),
        None => Api::all(connection.client),
    };
    let of_rota = ListParams::default().fields(&format!("metadata.name={LEASE_NAME}"));
    let found = api.list(&of_rota).await.map_err(refused)?;
    Ok(found.items.into_iter().map(shown).filter_map(|lease| operator(&lease, now)).collect())
}

/// The operator that holds a lease, unless it has run out.
fn operator(lease: &Lease, now: Timestamp) -> Option<Operator> {
    let spec = lease.spec.as_ref()?;
    let identity = spec.holder_identity.clone().filter(|identity| !identity.is_empty())?;
    let lasts = SignedDuration::from_secs(spec.lease_duration_seconds?.into());
    let until = spec.renew_time.as_ref()?.0.saturating_add(lasts).ok()?;
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
        let found = operator(&lease("rota-1", "2026-03-01T11:59:50.000000Z"), now).unwrap();
        let versions = |operators| Versions { client: "1.2.3", operators };
        let shown = text(&versions(Some(vec![found])));
        assert_eq!(shown, "kubectl rota 1.2.3\noperator 1.2.3 (leader rota-1 in the namespace rota-system)\n");
        assert_eq!(operator(&lease("rota-1", "2026-03-01T11:59:40.000000Z"), now), None);
        assert_eq!(operator(&lease("", "2026-03-01T11:59:59.000000Z"), now), None);
        assert_eq!(text(&versions(None)), "kubectl rota 1.2.3\n");
    }
}
