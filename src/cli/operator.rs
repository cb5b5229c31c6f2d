//! `rota operator`: the arguments, and the signals that end it.

use std::net::SocketAddr;
use std::time::Duration;

use kube::Config;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::cluster::namespace;
use crate::operator::{self, OperatorError, Settings};
use crate::runtime::telemetry::{self, LogFormat};
use crate::runtime::visibility::Visibility;

/// How the operator runs. Each argument can be given as an environment variable too.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Work on this namespace only; several are separated by commas, or the flag is given several times. Default: all.
    #[arg(long = "namespace", env = "ROTA_NAMESPACE", value_name = "NAMES")]
    pub namespaces: Vec<String>,
    /// Namespace of the lease that decides which replica acts, and of the queues that can pause everything. Default: the first
    /// namespace that is worked on, else the client's own.
    #[arg(long, env = "ROTA_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// This replica's name, unique among live ones. Default: the host's name and the process's number.
    #[arg(long, env = "ROTA_IDENTITY")]
    pub identity: Option<String>,
    /// How long a leader that crashed keeps the lease, in seconds.
    #[arg(long, env = "ROTA_LEASE_DURATION_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=300))]
    pub lease_duration_seconds: u64,
    /// How many Jobs may run in the cluster at once. Namespaces share it: the one that runs least goes first. Default: no
    /// limit.
    #[arg(long, env = "ROTA_MAX_RUNNING", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_running: Option<u32>,
    /// Where /livez, /readyz and /metrics listen.
    #[arg(long, env = "ROTA_HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,
    /// Where the API that says why a Job waits listens, such as 127.0.0.1:8081. It speaks plain HTTP, and takes tokens: docs/api.md
    /// tells who may reach it. Default: nowhere.
    #[arg(long, env = "ROTA_API_ADDRESS")]
    pub api_address: Option<SocketAddr>,
    /// How long a watch may bring no news, in seconds: the API server is asked to send some this often, and a watch that is silent
    /// for longer is doubted. From ten seconds later on nothing is decided that rests on it.
    #[arg(long, env = "ROTA_WATCH_QUIET_SECONDS", default_value_t = Visibility::QUIET_MAX.as_secs(), value_parser = clap::value_parser!(u64).range(5..=60))]
    pub watch_quiet_seconds: u64,
    /// How log lines look.
    #[arg(long, env = "ROTA_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Which log lines are written, as target=level pairs.
    #[arg(long, env = "ROTA_LOG_FILTER", default_value = "info")]
    pub log_filter: String,
}

/// Why the operator could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An argument makes no sense.
    #[error("{0}")]
    Argument(String),
    /// There is no cluster to talk to.
    #[error("failed to find the cluster: set KUBECONFIG, or run in a pod")]
    Config(#[from] kube::config::InferConfigError),
    /// Signals cannot be received.
    #[error("failed to receive signals")]
    Signal(#[from] std::io::Error),
    /// It ended.
    #[error(transparent)]
    Operator(#[from] OperatorError),
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(arguments: Arguments) -> Result<(), RunError> {
    let namespaces = listed(&arguments.namespaces).map_err(RunError::Argument)?;
    telemetry::start(arguments.log_format, &arguments.log_filter).map_err(RunError::Argument)?;
    let mut config = Config::infer().await?;
    if let Ok(agent) = format!("rota/{}", env!("CARGO_PKG_VERSION")).parse() {
        config.headers.push((axum::http::header::USER_AGENT, agent));
    }
    // A write is sent again by its writer alone, which asks each time whether it still leads.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    let own_namespace = config.default_namespace.clone();
    let settings = Settings {
        lease_namespace: arguments.lease_namespace.or_else(|| namespaces.first().cloned()).unwrap_or(own_namespace),
        namespaces,
        identity: arguments.identity.unwrap_or_else(default_identity),
        lease_duration: Duration::from_secs(arguments.lease_duration_seconds),
        max_running: arguments.max_running,
        http_address: arguments.http_address,
        api_address: arguments.api_address,
        watch_quiet_max: Duration::from_secs(arguments.watch_quiet_seconds),
    };
    let zone_database = crate::domain::calendar::zone_database_version();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), zone_database, ?settings, "starting");
    let (stop, stopping) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        // Nobody listens any more only while the program ends anyway.
        let _ = stop.send(true);
        // Keep the sender: dropping it would look like another signal.
        std::future::pending::<()>().await;
    });
    operator::run(config, settings, stopping).await?;
    Ok(())
}

/// The namespaces that a flag lists, each once.
fn listed(given: &[String]) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::new();
    for list in given {
        for name in list.split(',').map(str::trim) {
            if name.is_empty() {
                return Err(format!(
                    "--namespace (ROTA_NAMESPACE): {list:?} has an empty entry; write names of namespaces, with one comma between two"
                ));
            }
            namespace(name)
                .map_err(|allowed| format!("--namespace (ROTA_NAMESPACE): {name:?} is no namespace; {allowed}"))?;
            if names.iter().any(|it| it == name) {
                return Err(format!(
                    "--namespace (ROTA_NAMESPACE): {name:?} is listed twice; list each namespace once"
                ));
            }
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn default_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "rota".into());
    format!("{}-{}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &[&str]) -> Result<Vec<String>, String> {
        listed(&given.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn namespaces_are_separated_by_commas_or_given_by_several_flags() {
        assert_eq!(of(&[]), Ok(vec![]));
        assert_eq!(of(&["b, a", "c"]).unwrap(), ["b", "a", "c"]);
    }

    #[test]
    fn what_is_no_list_of_namespaces_is_refused_with_what_was_found_and_what_is_allowed() {
        for empty in ["", "a,,b", "a,"] {
            let said = of(&[empty]).unwrap_err();
            let begin =
                format!("--namespace (ROTA_NAMESPACE): {empty:?} has an empty entry; write names of namespaces");
            assert!(said.starts_with(&begin), "{said}");
        }
        let said = of(&["a,Team B"]).unwrap_err();
        assert!(
            said.starts_with(
                "--namespace (ROTA_NAMESPACE): \"Team B\" is no namespace; a namespace is named by at most 63"
            ),
            "{said}"
        );
        let said = of(&["a,b", "a"]).unwrap_err();
        assert_eq!(said, "--namespace (ROTA_NAMESPACE): \"a\" is listed twice; list each namespace once");
    }
}
