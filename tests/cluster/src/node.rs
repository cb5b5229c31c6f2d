//! The node: containerd, kubelet and kube-proxy, or KWOK in their place.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::certificates::write_secret;
use crate::cleanup::hierarchies;
use crate::command;
use crate::component::{Components, listens};
use crate::control_plane::ControlPlane;
use crate::error::{Error, Explain, Result};
use crate::images::{self, Image};
use crate::network::{API_SERVICE, POD_RANGE};
use crate::packages;
use crate::state::{Plan, create_folder, write_file};

/// The name of the real node.
pub const NODE: &str = "rota-node";

/// The address by which pods see their node.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);

/// containerd's socket, in the cluster's own view of the file system.
pub const SOCKET: &str = "/run/containerd/containerd.sock";

/// Folder of the pod network's configuration, in the cluster's own view of the file system.
const NETWORK_FOLDER: &str = "/run/rota/cni";

/// The annotation of nodes which KWOK plays.
const PLAYED: &str = "kwok.x-k8s.io/node";

/// How long a node may take to become ready. A loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts containerd, without waiting for it.
///
/// # Errors
/// When a file cannot be written or containerd cannot be started.
pub fn start_containerd(plan: &Plan, components: &mut Components<'_>) -> Result<()> {
    let plugins = packages::plugins().ok_or_else(|| Error::new("The network plugin ptp is not installed."))?;
    create_folder(Path::new(NETWORK_FOLDER))?;
    write_file(&Path::new(NETWORK_FOLDER).join("10-rota.conflist"), pod_network().to_string())?;
    let config = plan.directory.join("containerd.toml");
    write_file(&config, containerd_config(&plugins))?;
    components.start("containerd", vec![format!("--config={}", config.display())])
}

/// Imports the images which every cluster has, once containerd answers.
///
/// # Errors
/// When containerd takes too long or refuses an image.
pub fn import_images(plan: &Plan, components: &mut Components<'_>) -> Result<()> {
    components.wait("containerd listens", PATIENCE, || UnixStream::connect(SOCKET).is_ok())?;
    let pause = Image::of_program(images::PAUSE, &plan.program("pause"), "/pause")?;
    images::import_inside(plan, &[pause, Image::busybox()?])
}

/// Starts the kubelet and kube-proxy, and waits until pods can run and reach the API server.
///
/// # Errors
/// When something ends or takes too long.
pub fn start_real(plan: &Plan, control_plane: &ControlPlane<'_>, components: &mut Components<'_>) -> Result<()> {
    for hierarchy in hierarchies() {
        create_folder(&hierarchy.join(plan.control_group()))?;
    }
    components.start("kubelet", kubelet(plan, control_plane)?)?;
    components.wait_for_success("the kubelet has registered its node", PATIENCE, || {
        control_plane.kubectl(&["wait", "--for=create", &format!("node/{NODE}"), "--timeout=60s"])
    })?;
    components.start("kube-proxy", kube_proxy(plan, control_plane)?)?;
    components.wait_for_success("the node is ready", PATIENCE, || {
        control_plane.kubectl(&["wait", "--for=condition=Ready", &format!("node/{NODE}"), "--timeout=60s"])
    })?;
    let service = SocketAddr::from((API_SERVICE, 443));
    components.wait("the service of the API server answers", PATIENCE, || listens(service))
}

/// Makes nodes which KWOK plays, and waits until they are ready.
///
/// # Errors
/// When something ends or takes too long.
pub fn start_kwok(plan: &Plan, control_plane: &ControlPlane<'_>, components: &mut Components<'_>) -> Result<()> {
    let nodes: Vec<_> = (0..plan.options.kwok_nodes.max(1)).map(played_node).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": nodes });
    command::run_with_input(&mut control_plane.kubectl(&["create", "--filename=-"]), list.to_string().as_bytes())?;
    let stages = plan.directory.join("stages.yaml");
    write_file(&stages, include_str!("stages.yaml"))?;
    let arguments = vec![
        format!("--config={}", stages.display()),
        format!("--kubeconfig={}", plan.kubeconfig().display()),
        format!("--manage-nodes-with-annotation-selector={PLAYED}=fake"),
        format!("--cidr={POD_RANGE}"),
        "--node-lease-duration-seconds=40".to_owned(),
    ];
    components.start("kwok", arguments)?;
    components.wait_for_success("the nodes which KWOK plays are ready", PATIENCE, || {
        control_plane.kubectl(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=60s"])
    })
}

/// A command which runs another program in the cluster's view of files and network: add its path and arguments.
///
/// # Errors
/// When the cluster does not run in namespaces of its own.
pub fn enter(plan: &Plan) -> Result<Command> {
    let path = plan.directory.join("namespaces.pid");
    let process = fs::read_to_string(&path).explain(|| format!("reading {}", path.display()))?;
    let mut command = Command::new("nsenter");
    command.args(["--target", process.trim(), "--mount", "--net", "--"]);
    Ok(command)
}

fn played_node(number: u32) -> Value {
    let name = format!("kwok-{number}");
    let capacity = json!({ "cpu": "1000", "memory": "1Ti", "pods": "100000" });
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": { PLAYED: "fake" },
            "labels": { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "type": "kwok" },
        },
        "status": { "allocatable": capacity, "capacity": capacity },
    })
}

/// Pods are linked to the node one by one, so that their traffic to services passes its rules without a bridge.
fn pod_network() -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "rota",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "ranges": [[{ "subnet": POD_RANGE, "gateway": GATEWAY.to_string() }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
}

fn containerd_config(plugins: &Path) -> String {
    format!(
        r#"version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
address = "{SOCKET}"

[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{pause}"

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{plugins}"]
conf_dir = "{NETWORK_FOLDER}"
use_internal_loopback = true
"#,
        pause = images::PAUSE,
        plugins = plugins.display(),
    )
}

fn kubelet(plan: &Plan, control_plane: &ControlPlane<'_>) -> Result<Vec<String>> {
    let identity = control_plane.server_identity(NODE)?;
    let (certificate, key) = (control_plane.secret("kubelet.crt"), control_plane.secret("kubelet.key"));
    write_secret(&certificate, &identity.certificate)?;
    write_secret(&key, &identity.key)?;
    let mut config = kubelet_config(plan);
    config["tlsCertFile"] = json!(certificate);
    config["tlsPrivateKeyFile"] = json!(key);
    config["authentication"]["x509"]["clientCAFile"] = json!(control_plane.secret("authority.crt"));
    let path = plan.directory.join("kubelet.json");
    write_file(&path, config.to_string())?;
    let kubeconfig = control_plane.user(&format!("system:node:{NODE}"), Some("system:nodes"))?;
    Ok(vec![
        format!("--config={}", path.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={}", control_plane.address),
    ])
}

/// The kubelet's settings. Those which differ from the defaults make pods start fast, keep images which no registry
/// has, and let the kubelet run beside other clusters on a machine which is no node.
fn kubelet_config(plan: &Plan) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": { "anonymous": { "enabled": false }, "webhook": { "enabled": true }, "x509": {} },
        "authorization": { "mode": "Webhook" },
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", plan.control_group()),
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "eventRecordQPS": 0,
        "evictionHard": { "memory.available": "50Mi" },
        "failCgroupV1": false,
        "failSwapOn": false,
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "24h",
        "kubeAPIBurst": 500,
        "kubeAPIQPS": 250,
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        "maxPods": 250,
        "nodeStatusUpdateFrequency": "2s",
        "podLogsDir": plan.logs().join("pods"),
        "registryPullQPS": 0,
        "serializeImagePulls": false,
        "syncFrequency": "10s",
    })
}

fn kube_proxy(plan: &Plan, control_plane: &ControlPlane<'_>) -> Result<Vec<String>> {
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": { "kubeconfig": control_plane.secret("system-kube-proxy.kubeconfig") },
        "clusterCIDR": POD_RANGE,
        "conntrack": { "maxPerCore": 0, "min": 0 },
        "healthzBindAddress": "127.0.0.1:10256",
        "hostnameOverride": NODE,
        "metricsBindAddress": "127.0.0.1:10249",
        "nftables": { "minSyncPeriod": "100ms" },
    });
    let path = plan.directory.join("kube-proxy.json");
    write_file(&path, config.to_string())?;
    Ok(vec![format!("--config={}", path.display())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn played_nodes_have_names_of_their_own() {
        assert_eq!(played_node(3)["metadata"]["name"], "kwok-3");
        assert_eq!(played_node(3)["metadata"]["annotations"][PLAYED], "fake");
    }

    #[test]
    fn the_runtime_uses_the_pause_image_and_the_plugins_found() {
        let config = containerd_config(Path::new("/plugins"));
        assert!(config.contains("sandbox = \"docker.io/rota/pause:1\""));
        assert!(config.contains("bin_dirs = [\"/plugins\"]"));
    }
}
