//! Kueue beside a running cluster: the manager as a process of the host, with its kinds and webhooks in the cluster.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::certificates::{Authority, write_secret};
use crate::command;
use crate::error::{Error, Explain, Result};
use crate::programs;
use crate::state::{Isolation, Plan, create_folder, write_file};

/// How long Kueue may take to become ready. A loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked whether it is ready.
const GLANCE: Duration = Duration::from_millis(100);
/// How long one answer about its readiness may take.
const ANSWER: Duration = Duration::from_secs(2);

/// Kueue's own namespace.
const NAMESPACE: &str = "kueue-system";
/// The name of both of its webhook configurations.
const WEBHOOKS: &str = "rota-cluster-kueue";
/// Where Kueue looks for the certificate of its metrics, which it does even if it serves none.
const METRICS_CERTIFICATE: &str = "kueue/metrics/certs";
/// The label by which a batch Job names its LocalQueue.
const QUEUE_LABEL: &str = "kueue.x-k8s.io/queue-name";

/// Gives the program an `/etc` of its own, and ends it when standard input ends: however the process ends which wants it.
const SCRIPT: &str = "mount --bind \"$1\" /etc || exit
exec 3<&0
\"$2\" --config \"$3\" 3<&- &
child=$!
(cat <&3 >/dev/null; kill -9 $child) &
wait $child";

/// How many requests Kueue may send to the API server.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// Requests a second, in the long run.
    pub requests_per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

impl ClientLimits {
    /// Those of the configuration which Kueue's own manifests install.
    pub const USUAL: Self = Self { requests_per_second: 50, burst: 100 };
    /// More than one API server can answer, so that the limits do not matter.
    pub const LIFTED: Self = Self { requests_per_second: 10_000, burst: 10_000 };
}

/// A running Kueue with the integration of batch Jobs. It ends, and its webhooks are taken away, when this value is dropped;
/// the process ends with this one in whatever way. Its kinds stay.
pub struct Kueue {
    plan: Plan,
    child: Child,
}

impl Kueue {
    /// Starts Kueue beside the running cluster in this directory, and waits until it can be used. It is built first if the
    /// cache lacks it. Only batch Jobs that name a LocalQueue come to it.
    ///
    /// # Errors
    /// When it cannot be built or started here (it needs Linux), or does not become ready.
    pub fn start(directory: &Path, limits: ClientLimits) -> Result<Self> {
        let plan = Plan::read(directory)?;
        let built = programs::ensure_kueue()?;
        let host = host(&plan)?;
        let ports = free_ports(host)?;
        let files = Files::write(&plan, host, ports, limits)?;
        let definitions = built.definitions.to_string_lossy().into_owned();
        kubectl(&plan, &["apply", "--server-side", "--force-conflicts", "-f", &definitions])?;
        wait_established(&plan, &definitions)?;
        kubectl(&plan, &["apply", "-f", &files.namespace.to_string_lossy()])?;
        let child = spawn(&plan, &built.program, &files)?;
        let mut kueue = Self { plan, child };
        kueue.wait_ready(SocketAddr::from((host, ports.health)))?;
        kubectl(&kueue.plan, &["apply", "-f", &files.webhooks.to_string_lossy()])?;
        Ok(kueue)
    }

    /// The file with what it says. It is among the cluster's logs, which are kept when a test fails.
    pub fn log(&self) -> PathBuf {
        log(&self.plan)
    }

    fn wait_ready(&mut self, address: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_ready(address) {
            let ended = self.child.try_wait().explain(|| "waiting for Kueue".to_owned())?;
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let end = lines[lines.len().saturating_sub(15)..].join("\n");
                return Err(Error::new(format!("Kueue did not become ready. The end of its log:\n{end}")));
            }
            sleep(GLANCE);
        }
        Ok(())
    }
}

impl Drop for Kueue {
    fn drop(&mut self) {
        // The cluster may have ended before, with everything in it.
        let kinds = "mutatingwebhookconfiguration,validatingwebhookconfiguration";
        let _ = kubectl(&self.plan, &["delete", "--ignore-not-found", kinds, WEBHOOKS]);
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Waits until the kinds are served. kubectl gives up on a definition that has no condition yet, so it is asked again.
fn wait_established(plan: &Plan, definitions: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let established = ["wait", "--for=condition=Established", "--timeout=10s", "-f", definitions];
        match kubectl(plan, &established) {
            Err(_) if Instant::now() < deadline => sleep(GLANCE),
            ended => return ended,
        }
    }
}

/// The ports on which Kueue listens.
#[derive(Clone, Copy)]
struct Ports {
    webhook: u16,
    health: u16,
}

/// The files of one Kueue, in the cluster's directory.
struct Files {
    /// What it sees as `/etc`.
    etc: PathBuf,
    configuration: PathBuf,
    namespace: PathBuf,
    webhooks: PathBuf,
}

impl Files {
    fn write(plan: &Plan, host: Ipv4Addr, ports: Ports, limits: ClientLimits) -> Result<Self> {
        let folder = plan.directory.join("kueue");
        let file = |name: &str| folder.join(name);
        let files = Self {
            etc: file("etc"),
            configuration: file("configuration.json"),
            namespace: file("namespace.json"),
            webhooks: file("webhooks.json"),
        };
        let certificates = files.etc.join(METRICS_CERTIFICATE);
        create_folder(&certificates)?;
        let authority = Authority::new()?;
        let server = authority.server("kueue", &[host.into()], &[])?;
        write_secret(&certificates.join("tls.crt"), &server.certificate)?;
        write_secret(&certificates.join("tls.key"), &server.key)?;
        write_file(&files.configuration, configuration(&certificates, host, ports, limits).to_string())?;
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
        write_file(&files.namespace, namespace.to_string())?;
        let address = format!("https://{host}:{}", ports.webhook);
        write_file(&files.webhooks, webhooks(&address, &authority.identity().certificate).to_string())?;
        Ok(files)
    }
}

fn configuration(certificates: &Path, host: Ipv4Addr, ports: Ports, limits: ClientLimits) -> Value {
    json!({
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": NAMESPACE,
        "health": { "healthProbeBindAddress": format!("{host}:{}", ports.health) },
        "metrics": { "bindAddress": "0" },
        "webhook": { "host": host, "port": ports.webhook, "certDir": certificates },
        "internalCertManagement": { "enable": false },
        "leaderElection": { "leaderElect": false },
        "clientConnection": { "qps": limits.requests_per_second, "burst": limits.burst },
        "controller": { "groupKindConcurrency": { "Job.batch": 5, "Workload.kueue.x-k8s.io": 5 } },
        "integrations": { "frameworks": ["batch/job"] },
        "featureGates": { "VisibilityOnDemand": false },
    })
}

/// The webhooks of batch Jobs that name a LocalQueue, and those of Kueue's own kinds.
fn webhooks(address: &str, authority: &str) -> Value {
    let authority = STANDARD.encode(authority);
    let own = ("kueue.x-k8s.io", "v1beta2", "kueue-x-k8s-io-v1beta2");
    let batch = ("batch", "v1", "batch-v1");
    let webhook = |verb: &str, (group, version, path): (&str, &str, &str), kind: &str, more: &[&str]| {
        let resources: Vec<String> = [""].iter().chain(more).map(|part| format!("{kind}s{part}")).collect();
        let operations: &[&str] = if verb == "mutate" { &["CREATE"] } else { &["CREATE", "UPDATE"] };
        let of_queues = json!({ "matchExpressions": [{ "key": QUEUE_LABEL, "operator": "Exists" }] });
        json!({
            "name": format!("{verb}-{kind}.kueue.rota.example"),
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "clientConfig": { "url": format!("{address}/{verb}-{path}-{kind}"), "caBundle": authority },
            "objectSelector": if group == batch.0 { of_queues } else { json!({}) },
            "rules": [{
                "apiGroups": [group], "apiVersions": [version], "operations": operations, "resources": resources,
            }],
        })
    };
    let mutating = [
        webhook("mutate", own, "clusterqueue", &[]),
        webhook("mutate", own, "resourceflavor", &[]),
        webhook("mutate", own, "workload", &[]),
        webhook("mutate", batch, "job", &[]),
    ];
    let validating = [
        webhook("validate", own, "clusterqueue", &[]),
        webhook("validate", own, "cohort", &[]),
        webhook("validate", own, "resourceflavor", &[]),
        webhook("validate", own, "workload", &["/status"]),
        webhook("validate", batch, "job", &[]),
    ];
    let configuration = |kind: &str, webhooks: &[Value]| {
        let version = "admissionregistration.k8s.io/v1";
        json!({ "apiVersion": version, "kind": kind, "metadata": { "name": WEBHOOKS }, "webhooks": webhooks })
    };
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        configuration("MutatingWebhookConfiguration", &mutating),
        configuration("ValidatingWebhookConfiguration", &validating),
    ]})
}

fn spawn(plan: &Plan, program: &Path, files: &Files) -> Result<Child> {
    let explain = || "starting Kueue".to_owned();
    let log = File::create(log(plan)).explain(explain)?;
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--", "sh", "-c", SCRIPT, "sh"]).arg(&files.etc).arg(program).arg(&files.configuration);
    command.env("KUBECONFIG", plan.kubeconfig()).stdin(Stdio::piped());
    command.stdout(log.try_clone().explain(explain)?).stderr(log);
    command.spawn().explain(explain)
}

fn log(plan: &Plan) -> PathBuf {
    plan.logs().join("kueue.log")
}

/// The address of the host at which the API server reaches it.
fn host(plan: &Plan) -> Result<Ipv4Addr> {
    if plan.isolation == Isolation::Loopback {
        return Ok(Ipv4Addr::LOCALHOST);
    }
    let path = plan.kubeconfig();
    let explain = || format!("reading {}", path.display());
    let text = std::fs::read_to_string(&path).explain(explain)?;
    let file: Value = serde_json::from_str(&text).explain(explain)?;
    let server = file.pointer("/clusters/0/cluster/server").and_then(Value::as_str).unwrap_or_default();
    let address = server.trim_start_matches("https://").split(':').next().unwrap_or_default();
    let cluster: Ipv4Addr = address.parse().explain(explain)?;
    // The host's end of the link is the address before.
    Ok(Ipv4Addr::from(u32::from(cluster) - 1))
}

fn free_ports(host: Ipv4Addr) -> Result<Ports> {
    let explain = || format!("finding a free port of {host}");
    let listen = || TcpListener::bind((host, 0)).and_then(|it| Ok((it.local_addr()?.port(), it))).explain(explain);
    // Both at once, so that they differ.
    let ((webhook, _first), (health, _second)) = (listen()?, listen()?);
    Ok(Ports { webhook, health })
}

fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, ANSWER) else { return false };
    let mut answer = String::new();
    stream.set_read_timeout(Some(ANSWER)).is_ok()
        && stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.split_whitespace().nth(1) == Some("200")
}

fn kubectl(plan: &Plan, arguments: &[&str]) -> Result<()> {
    let mut kubectl = Command::new(plan.program("kubectl"));
    kubectl.arg("--kubeconfig").arg(plan.kubeconfig()).args(arguments).env_remove("KUBECONFIG");
    command::run(kubectl.env("KUBECACHEDIR", plan.directory.join("kubectl-cache")))
}
