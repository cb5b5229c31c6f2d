//! The control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::certificates::{Authority, Identity, signing_keys, write_secret};
use crate::component::{Components, listens};
use crate::error::{Explain, Result};
use crate::kubeconfig::{self, Access};
use crate::network::{API_SERVICE, POD_RANGE, SERVICE_RANGE};
use crate::node;
use crate::state::{Isolation, Plan, create_folder, write_file};

/// How long the API server may take to become ready. A loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// The ports of the control plane's programs.
#[derive(Clone, Copy, Debug)]
struct Ports {
    api_server: u16,
    etcd: u16,
    etcd_peer: u16,
    controller_manager: u16,
    scheduler: u16,
}

impl Ports {
    /// The usual ports in a network namespace, and free ones on a shared address.
    fn pick(isolation: Isolation) -> Result<Self> {
        if isolation == Isolation::Namespaces {
            return Ok(Self {
                api_server: 6443,
                etcd: 2379,
                etcd_peer: 2380,
                controller_manager: 10257,
                scheduler: 10259,
            });
        }
        let mut listeners = Vec::new();
        for _ in 0..5 {
            listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).explain(|| "finding a free port".to_owned())?);
        }
        let mut ports = listeners.iter().flat_map(TcpListener::local_addr).map(|address| address.port());
        let mut next = || ports.next().unwrap_or_default();
        Ok(Self { api_server: next(), etcd: next(), etcd_peer: next(), controller_manager: next(), scheduler: next() })
    }
}

/// The control plane of one cluster, with its certificates.
pub struct ControlPlane<'a> {
    plan: &'a Plan,
    /// The address at which the API server is reached from the host.
    pub address: Ipv4Addr,
    ports: Ports,
    authority: Authority,
}

impl<'a> ControlPlane<'a> {
    /// Makes keys, certificates and kubeconfig files. Nothing runs yet.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn prepare(plan: &'a Plan, address: Ipv4Addr) -> Result<Self> {
        let control_plane = Self { plan, address, ports: Ports::pick(plan.isolation)?, authority: Authority::new()? };
        create_folder(&control_plane.secrets())?;
        control_plane.write_certificates()?;
        let administrator = control_plane.authority.client("rota-administrator", Some("system:masters"))?;
        control_plane.write_kubeconfig(&plan.kubeconfig(), &administrator)?;
        for user in ["system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy"] {
            control_plane.user(user, None)?;
        }
        Ok(control_plane)
    }

    /// Starts etcd and the API server, without waiting for them.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(&self, components: &mut Components<'_>) -> Result<()> {
        components.start("etcd", self.etcd())?;
        let etcd = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.etcd));
        components.wait("etcd listens", PATIENCE, || listens(etcd))?;
        components.start("kube-apiserver", self.api_server()?)
    }

    /// Waits until the API server is ready, and starts the controllers and the scheduler.
    ///
    /// # Errors
    /// When something ends or takes too long.
    pub fn finish(&self, components: &mut Components<'_>) -> Result<()> {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.api_server));
        components.wait("the API server listens", PATIENCE, || listens(server))?;
        components
            .wait_for_success("the API server is ready", PATIENCE, || self.kubectl(&["get", "--raw", "/readyz"]))?;
        components.start("kube-controller-manager", self.controller_manager())?;
        components.start("kube-scheduler", self.scheduler())
    }

    /// Waits until pods can be made in the namespace `default`.
    ///
    /// # Errors
    /// When this takes too long.
    pub fn wait_for_accounts(&self, components: &mut Components<'_>) -> Result<()> {
        components.wait_for_success("the default service account exists", PATIENCE, || {
            self.kubectl(&["wait", "--for=create", "serviceaccount/default", "--namespace=default", "--timeout=60s"])
        })
    }

    /// A kubectl command for the cluster's administrator, which leaves nothing in the user's home.
    pub fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.plan.program("kubectl"));
        command.arg("--kubeconfig").arg(self.plan.kubeconfig()).args(arguments);
        command.env("KUBECACHEDIR", self.plan.directory.join("kubectl-cache")).env_remove("KUBECONFIG");
        command
    }

    /// Makes a user with this name and group, and returns the path of the user's kubeconfig.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn user(&self, name: &str, group: Option<&str>) -> Result<PathBuf> {
        let path = self.secret(&format!("{}.kubeconfig", name.replace(':', "-")));
        self.write_kubeconfig(&path, &self.authority.client(name, group)?)?;
        Ok(path)
    }

    /// Makes a server certificate for the kubelet.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn server_identity(&self, name: &str) -> Result<Identity> {
        self.authority.server(name, &[IpAddr::V4(self.address)], &[])
    }

    /// The path of a file in the folder of keys and certificates.
    pub fn secret(&self, name: &str) -> PathBuf {
        self.secrets().join(name)
    }

    fn secrets(&self) -> PathBuf {
        self.plan.directory.join("secrets")
    }

    fn secret_text(&self, name: &str) -> String {
        self.secret(name).to_string_lossy().into_owned()
    }

    fn write_certificates(&self) -> Result<()> {
        let names = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        let addresses = [self.address, Ipv4Addr::LOCALHOST, API_SERVICE, node::GATEWAY].map(IpAddr::V4);
        let server = self.authority.server("kube-apiserver", &addresses, &names)?;
        let kubelet = self.authority.client("rota-apiserver", Some("system:masters"))?;
        for (name, identity) in
            [("authority", self.authority.identity()), ("server", &server), ("kubelet-client", &kubelet)]
        {
            write_secret(&self.secret(&format!("{name}.crt")), &identity.certificate)?;
            write_secret(&self.secret(&format!("{name}.key")), &identity.key)?;
        }
        let (private, public) = signing_keys()?;
        write_secret(&self.secret("accounts.key"), &private)?;
        write_secret(&self.secret("accounts.pub"), &public)
    }

    fn write_kubeconfig(&self, path: &std::path::Path, identity: &Identity) -> Result<()> {
        let server = format!("https://{}:{}", self.address, self.ports.api_server);
        let text = kubeconfig::render(&Access {
            server: &server,
            authority: &self.authority.identity().certificate,
            certificate: &identity.certificate,
            key: &identity.key,
        });
        write_secret(path, &text)
    }

    fn etcd(&self) -> Vec<String> {
        let (client, peer) =
            (format!("http://127.0.0.1:{}", self.ports.etcd), format!("http://127.0.0.1:{}", self.ports.etcd_peer));
        let mut arguments = vec![
            format!("--data-dir={}", self.plan.directory.join("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--quota-backend-bytes=8589934592".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        if !self.plan.options.fsync {
            arguments.push("--unsafe-no-fsync".to_owned());
        }
        arguments
    }

    fn api_server(&self) -> Result<Vec<String>> {
        let bind = if self.plan.isolation == Isolation::Namespaces { "0.0.0.0" } else { "127.0.0.1" };
        let mut arguments = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd),
            format!("--bind-address={bind}"),
            format!("--secure-port={}", self.ports.api_server),
            format!("--advertise-address={}", self.address),
            format!("--service-cluster-ip-range={SERVICE_RANGE}"),
            format!("--client-ca-file={}", self.secret_text("authority.crt")),
            format!("--tls-cert-file={}", self.secret_text("server.crt")),
            format!("--tls-private-key-file={}", self.secret_text("server.key")),
            format!("--kubelet-certificate-authority={}", self.secret_text("authority.crt")),
            format!("--kubelet-client-certificate={}", self.secret_text("kubelet-client.crt")),
            format!("--kubelet-client-key={}", self.secret_text("kubelet-client.key")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            format!("--service-account-key-file={}", self.secret_text("accounts.pub")),
            format!("--service-account-signing-key-file={}", self.secret_text("accounts.key")),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--anonymous-auth=false".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--profiling=false".to_owned(),
        ];
        if self.plan.isolation == Isolation::Loopback {
            // A loopback address is no valid endpoint, and nothing looks for the service: no pod really runs.
            arguments.push("--endpoint-reconciler-type=none".to_owned());
        }
        arguments.extend(self.audit()?);
        arguments.extend(self.plan.options.api_server_arguments.iter().cloned());
        Ok(arguments)
    }

    /// The arguments for the audit log: the metadata of each request, once it is finished.
    fn audit(&self) -> Result<Vec<String>> {
        let Some(log) = &self.plan.options.audit_log else {
            return Ok(Vec::new());
        };
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{ "level": "Metadata" }],
        });
        let path = self.plan.directory.join("audit-policy.json");
        write_file(&path, policy.to_string())?;
        Ok(vec![
            format!("--audit-policy-file={}", path.display()),
            format!("--audit-log-path={}", log.display()),
            "--audit-log-maxsize=0".to_owned(),
        ])
    }

    fn controller_manager(&self) -> Vec<String> {
        let kubeconfig = self.secret_text("system-kube-controller-manager.kubeconfig");
        let mut arguments = vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.ports.controller_manager),
            "--leader-elect=false".to_owned(),
            "--use-service-account-credentials=true".to_owned(),
            // With the default of 20 requests a second the controllers alone take seconds to get their credentials.
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
            format!("--service-account-private-key-file={}", self.secret_text("accounts.key")),
            format!("--root-ca-file={}", self.secret_text("authority.crt")),
            format!("--cluster-signing-cert-file={}", self.secret_text("authority.crt")),
            format!("--cluster-signing-key-file={}", self.secret_text("authority.key")),
            format!("--cluster-cidr={POD_RANGE}"),
            format!("--service-cluster-ip-range={SERVICE_RANGE}"),
            "--allocate-node-cidrs=false".to_owned(),
        ];
        arguments.extend(self.plan.options.controller_manager_arguments.iter().cloned());
        arguments
    }

    fn scheduler(&self) -> Vec<String> {
        let kubeconfig = self.secret_text("system-kube-scheduler.kubeconfig");
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.ports.scheduler),
            "--leader-elect=false".to_owned(),
        ]
    }
}
