//! Cluster: the client that kubectl's usual flags ask for.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::plugin::PluginError;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Which cluster, and as whom; the same flags as kubectl's.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArguments {
    /// Path of the kubeconfig file. Default: $KUBECONFIG, else the one in the home directory, else the pod's own account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Cluster of the kubeconfig to use.
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// User of the kubeconfig to use.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// User to act as.
    #[arg(long = "as", value_name = "NAME")]
    pub impersonate: Option<String>,
}

/// Which namespace of which cluster.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct NamespaceArguments {
    /// Namespace. Default: the context's.
    #[arg(short, long, value_name = "NAME", help_heading = "Cluster")]
    pub namespace: Option<String>,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArguments,
}

impl ClusterArguments {
    /// A client, and the namespace that its context names.
    pub async fn connect(&self) -> Result<(Client, String), PluginError> {
        self.connect_for(Some(READ_TIMEOUT)).await
    }

    /// The same for answers that come in pieces, with any time between them: watches and logs.
    pub async fn connect_to_stream(&self) -> Result<(Client, String), PluginError> {
        self.connect_for(None).await
    }

    async fn connect_for(&self, read_timeout: Option<Duration>) -> Result<(Client, String), PluginError> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = read_timeout;
        if self.impersonate.is_some() {
            config.auth_info.impersonate.clone_from(&self.impersonate);
        }
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).map_err(|error| PluginError::failed(&error))?;
        Ok((client, namespace))
    }

    async fn config(&self) -> Result<Config, PluginError> {
        let options =
            KubeConfigOptions { context: self.context.clone(), cluster: self.cluster.clone(), user: self.user.clone() };
        let failed = |error: KubeconfigError| PluginError::failed(&error);
        if let Some(path) = &self.kubeconfig {
            let file = Kubeconfig::read_from(path).map_err(failed)?;
            return Config::from_custom_kubeconfig(file, &options).await.map_err(failed);
        }
        if self.context.is_some() || self.cluster.is_some() || self.user.is_some() {
            return Config::from_kubeconfig(&options).await.map_err(failed);
        }
        Config::infer().await.map_err(|error| PluginError::failed(&error))
    }
}
