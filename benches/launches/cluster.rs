//! The control plane under measurement: etcd with fsync, the API server with an audit log, no nodes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config, ResourceExt};
use rota_cluster::{Cluster, NodeKind, Options};
use serde::Serialize;

/// How long the API server may take to serve a definition.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(30);

/// The client limits of the kube-controller-manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Setting {
    /// As it comes: 20 requests a second, 5 workers.
    Default,
    /// As high as they make a difference: 5,000 requests a second, 50 workers.
    Lifted,
}

impl Setting {
    pub fn named(name: &str) -> Self {
        match name {
            "default" => Self::Default,
            "lifted" => Self::Lifted,
            other => panic!("{other} is no setting: use default or lifted"),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Lifted => "lifted",
        }
    }

    /// The throw-away cluster has limits of its own, so the defaults are said as well.
    fn arguments(self) -> Vec<String> {
        let (qps, burst, workers) = match self {
            Self::Default => (20, 30, 5),
            Self::Lifted => (5000, 5000, 50),
        };
        vec![
            format!("--kube-api-qps={qps}"),
            format!("--kube-api-burst={burst}"),
            format!("--concurrent-cron-job-syncs={workers}"),
            format!("--concurrent-job-syncs={workers}"),
        ]
    }
}

/// A running control plane.
pub struct Bench {
    cluster: Cluster,
    pub setting: Setting,
    pub audit_log: PathBuf,
    pub output: PathBuf,
}

impl Bench {
    pub fn start(setting: Setting, program: &Path, output: &Path) -> Self {
        let audit_log = output.join(format!("audit-{}.log", setting.as_str()));
        // An old log would be appended to.
        let _ = std::fs::remove_file(&audit_log);
        let options = Options {
            fsync: true,
            audit_log: Some(audit_log.clone()),
            controller_manager_arguments: setting.arguments(),
            ..Options::new(NodeKind::None)
        };
        let cluster = Cluster::start(options, program).unwrap_or_else(|error| panic!("{error}"));
        Self { cluster, setting, audit_log, output: output.to_path_buf() }
    }

    /// Where the state of the cluster is.
    pub fn directory(&self) -> PathBuf {
        self.cluster.directory().to_path_buf()
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.cluster.kubeconfig()
    }

    /// A client of the benchmark itself, without limits.
    pub async fn client(&self) -> Client {
        let file = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }

    pub fn stop(self) {
        self.cluster.stop().unwrap_or_else(|error| eprintln!("{error}"));
    }
}

/// Installs the kinds.
pub async fn install(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for (_, definition) in rota::api::crds::all() {
        let name = definition.name_any();
        api.patch(&name, &PatchParams::apply("rota-bench"), &Patch::Apply(&definition)).await.unwrap();
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(ESTABLISHED_WITHIN, established).await.expect("the kinds are served").unwrap();
    }
}
