//! Cluster: the client that kubectl's usual flags ask for, and what to say when it cannot reach its cluster.

use std::path::PathBuf;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::BoxError;
use tower::util::MapErrLayer;

use super::plugin::PluginError;
use crate::runtime::lease::chain;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take, in seconds, unless the flag says otherwise.
const REQUEST_TIMEOUT_SECONDS: u64 = 60;

/// The longest name of a namespace, in characters (RFC 1123).
const NAMESPACE_MAX: usize = 63;

/// The API server did not answer a request.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot reach the API server at {server}: {why}; check that the cluster runs and can be reached from here, and that the kubeconfig \
    names the right one (`kubectl config current-context`, --kubeconfig, --context)"
)]
pub struct Unreachable {
    server: String,
    why: String,
}

impl Unreachable {
    /// In words, from what the libraries say.
    fn new(server: &str, error: &BoxError) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
        let mut why = None;
        while let Some(error) = cause {
            let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            why = match kind {
                Some(std::io::ErrorKind::ConnectionRefused) => Some("the connection was refused".to_owned()),
                Some(std::io::ErrorKind::TimedOut) => Some("it did not answer in time".to_owned()),
                Some(std::io::ErrorKind::ConnectionReset) => Some("it closed the connection".to_owned()),
                _ => why,
            };
            cause = error.source();
        }
        Self { server: server.to_owned(), why: why.unwrap_or_else(|| chain(error.as_ref())) }
    }
}

/// Which cluster, and as whom; the same flags as kubectl's.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArguments {
    /// Path of the kubeconfig file. Default: $KUBECONFIG, else the one in the home directory, else the pod's own account.
    #[arg(long, value_name = "FILE", global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use.
    #[arg(long, value_name = "NAME", global = true)]
    pub context: Option<String>,
    /// Cluster of the kubeconfig to use.
    #[arg(long, value_name = "NAME", global = true)]
    pub cluster: Option<String>,
    /// User of the kubeconfig to use.
    #[arg(long, value_name = "NAME", global = true)]
    pub user: Option<String>,
    /// How long the API server may take to answer, in seconds. Watches and logs last as long as they have to.
    #[arg(long, value_name = "SECONDS", default_value_t = REQUEST_TIMEOUT_SECONDS, global = true)]
    pub request_timeout: u64,
    /// User to act as.
    #[arg(long = "as", value_name = "NAME", global = true)]
    pub impersonate: Option<String>,
}

/// Which namespace of which cluster.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct NamespaceArguments {
    /// Namespace. Default: the context's.
    #[arg(short, long, value_name = "NAME", help_heading = "Cluster", global = true, value_parser = namespace)]
    pub namespace: Option<String>,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArguments,
}

impl ClusterArguments {
    /// A client, and the namespace that its context names.
    pub async fn connect(&self) -> Result<(Client, String), PluginError> {
        self.connect_for(Some(Duration::from_secs(self.request_timeout))).await
    }

    /// The same for answers that come in pieces, with any time between them: watches and logs.
    pub async fn connect_to_stream(&self) -> Result<(Client, String), PluginError> {
        self.connect_for(None).await
    }

    async fn connect_for(&self, read_timeout: Option<Duration>) -> Result<(Client, String), PluginError> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT.min(Duration::from_secs(self.request_timeout)));
        config.read_timeout = read_timeout;
        if self.impersonate.is_some() {
            config.auth_info.impersonate.clone_from(&self.impersonate);
        }
        let namespace = config.default_namespace.clone();
        let server = config.cluster_url.to_string();
        let unreachable = MapErrLayer::new(move |error: BoxError| {
            BoxError::from(Unreachable::new(server.trim_end_matches('/'), &error))
        });
        let client = ClientBuilder::try_from(config).map_err(|error| PluginError::failed(&error))?;
        Ok((client.with_layer(&unreachable).build(), namespace))
    }

    async fn config(&self) -> Result<Config, PluginError> {
        let options =
            KubeConfigOptions { context: self.context.clone(), cluster: self.cluster.clone(), user: self.user.clone() };
        let failed = |error: KubeconfigError| PluginError::Unreachable(chain(&error));
        if let Some(path) = &self.kubeconfig {
            let file = Kubeconfig::read_from(path).map_err(failed)?;
            return Config::from_custom_kubeconfig(file, &options).await.map_err(failed);
        }
        if self.context.is_some() || self.cluster.is_some() || self.user.is_some() {
            return Config::from_kubeconfig(&options).await.map_err(failed);
        }
        Config::infer().await.map_err(|error| {
            let file = std::env::var("KUBECONFIG").map_or("~/.kube/config".into(), |file| format!("$KUBECONFIG ({file})"));
            PluginError::Unreachable(format!(
                "there is no cluster to talk to: {file} cannot be read and this is no pod; set KUBECONFIG or write --kubeconfig FILE ({})",
                chain(&error)
            ))
        })
    }
}

/// A namespace as a flag names it.
pub fn namespace(text: &str) -> Result<String, String> {
    let is_label = !text.is_empty()
        && text.len() <= NAMESPACE_MAX
        && text.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    let message = "a namespace is named by at most 63 lower-case letters, digits and -, and begins and ends with a letter or a digit";
    is_label.then(|| text.to_owned()).ok_or_else(|| message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_checked_before_anything_is_asked() {
        for good in ["a", "team-1", "0", &"a".repeat(63)] {
            assert_eq!(namespace(good).as_deref(), Ok(good));
        }
        for bad in ["", "bad ns", "Team", "-a", "a-", "a_b", "a.b", "ä", "\u{1b}[2J", "../x", &"a".repeat(64)] {
            assert!(namespace(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_cannot_be_reached_is_said_with_its_address_and_in_words() {
        let refused = BoxError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        let text = Unreachable::new("https://10.0.0.1:6443", &refused).to_string();
        let begin = "cannot reach the API server at https://10.0.0.1:6443: the connection was refused; check";
        assert!(text.starts_with(begin), "{text}");
        let other = Unreachable::new("https://x", &BoxError::from("invalid peer certificate")).to_string();
        assert!(other.contains("https://x: invalid peer certificate; check"), "{other}");
    }
}
