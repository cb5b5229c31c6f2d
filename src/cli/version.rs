//! `kubectl rota version`: which version of the plugin this is, and which version of the operator leads.

use jiff::Timestamp;
use serde::Serialize;

use super::cluster::NamespaceArguments;
use super::leader::{self, Operator};
use super::objects::{Connection, is_code, refused};
use super::plugin::{Answer, OK, PluginError, UNREACHABLE};
use super::print::{self, Format};

/// Where the operator is looked for if Leases may not be listed everywhere.
const USUAL_NAMESPACE: &str = "rota-system";

/// What to show, and of which cluster.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "The operator is found by its Lease: in the namespace of -n, else in all, else in rota-system.\n\nExit codes: 0 shown; 1 the \
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
        text += "no operator leads: no Lease named rota is held\n";
    }
    for Operator { namespace, identity, version } in operators {
        let version = version.as_deref().unwrap_or("of unknown version");
        text += &format!("operator {version} (leader {identity} in the namespace {namespace})\n");
    }
    text
}

/// The operators that lead, in the namespace that is given or in all.
async fn leaders(place: &NamespaceArguments, now: Timestamp) -> Result<Vec<Operator>, PluginError> {
    let connection = Connection::open(place, false).await?;
    let found = match leader::operators(&connection, place.namespace.as_deref(), now).await {
        Err(error) if is_code(&error, 403) && place.namespace.is_none() => {
            leader::operators(&connection, Some(USUAL_NAMESPACE), now).await
        }
        found => found,
    };
    found.map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_that_leads_is_shown_with_its_version() {
        let versions = |operators| Versions { client: "1.2.3", operators };
        let [namespace, identity, version] = ["rota-system", "rota-1", "1.2.3"].map(str::to_owned);
        let found = Operator { namespace, identity, version: Some(version) };
        let shown = text(&versions(Some(vec![found])));
        assert_eq!(shown, "kubectl rota 1.2.3\noperator 1.2.3 (leader rota-1 in the namespace rota-system)\n");
        assert_eq!(text(&versions(None)), "kubectl rota 1.2.3\n");
    }
}
