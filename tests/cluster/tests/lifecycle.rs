//! Starts real clusters and checks that they work, and that nothing is left of them however they end.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use rota_cluster::{BUSYBOX, NodeKind, namespaces};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rota-cluster");

/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until the condition holds: returns what it found, or fails after the deadline.
fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "after {} s it was still not true that {what}", PATIENCE.as_secs());
        sleep(Duration::from_millis(50));
    }
}

/// The best kind of node which this machine can have.
fn best_node() -> NodeKind {
    if namespaces::available().is_ok() { NodeKind::Real } else { NodeKind::Kwok }
}

/// Builds the programs if need be, so that no deadline below counts their building.
fn build() -> PathBuf {
    rota_cluster::build_programs(&[best_node()]).unwrap()
}

/// A cluster in the foreground of a process of its own.
struct Up {
    front: Child,
    directory: PathBuf,
    programs: PathBuf,
}

impl Up {
    fn start(name: &str, node: NodeKind) -> Self {
        let programs = build();
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let mut front = Command::new(PROGRAM)
            .args(["up", "--node", &node.to_string(), "--dir"])
            .arg(&directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(front.stdout.take().unwrap());
        let (sender, lines) = channel();
        spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let line = lines.recv_timeout(PATIENCE).unwrap();
        assert_eq!(Path::new(&line), directory.join("kubeconfig"));
        Self { front, directory, programs }
    }

    fn kubectl(&self, arguments: &[&str]) -> Output {
        let mut kubectl = Command::new(self.programs.join("kubectl"));
        kubectl.arg("--kubeconfig").arg(self.directory.join("kubeconfig")).args(arguments).output().unwrap()
    }

    /// The output of a kubectl command which must succeed.
    fn ask(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn traces(&self) -> Traces {
        let plan = fs::read_to_string(self.directory.join("plan.json")).unwrap();
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
        let id = plan["id"].as_str().unwrap().to_owned();
        let address = self.ask(&["config", "view", "--output=jsonpath={.clusters[0].cluster.server}"]);
        let network = fs::read_to_string(self.directory.join("namespaces.pid"))
            .ok()
            .and_then(|pid| fs::read_link(format!("/proc/{pid}/ns/net")).ok());
        Traces { id, directory: self.directory.clone(), interface: interface(&address), network }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Only a failed test comes here with the process alive; its guard then cleans up.
        let _ = self.front.kill();
        let _ = self.front.wait();
    }
}

/// The name of the host's interface towards an API server, whose address is the one after the interface's own.
fn interface(server: &str) -> Option<String> {
    let address = server.strip_prefix("https://")?.split(':').next()?;
    let host = u32::from(address.parse::<std::net::Ipv4Addr>().ok()?) - 1;
    let listing = Command::new("ip").args(["-o", "-4", "address", "show"]).output().ok()?;
    let host = format!(" {}/30 ", std::net::Ipv4Addr::from(host));
    let listing = String::from_utf8(listing.stdout).ok()?;
    listing.lines().find(|line| line.contains(&host))?.split_whitespace().nth(1).map(str::to_owned)
}

/// Everything by which a cluster can be recognised on the machine.
struct Traces {
    id: String,
    directory: PathBuf,
    interface: Option<String>,
    network: Option<PathBuf>,
}

impl Traces {
    /// What there is of the cluster, in words.
    fn found(&self) -> Vec<String> {
        let mut found = self.processes();
        if self.directory.exists() {
            found.push(format!("directory {}", self.directory.display()));
        }
        if let Some(interface) = &self.interface
            && Path::new("/sys/class/net").join(interface).exists()
        {
            found.push(format!("interface {interface}"));
        }
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        for hierarchy in hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]) {
            let group = hierarchy.join(format!("rota-{}", self.id));
            if group.exists() {
                found.push(format!("control group {}", group.display()));
            }
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let directory = self.directory.display().to_string();
        found.extend(mounts.lines().filter(|line| line.contains(&directory)).map(|line| format!("mount {line}")));
        found
    }

    /// Processes which name the cluster's directory, or live in its network.
    fn processes(&self) -> Vec<String> {
        let listing = Command::new("ps").args(["-A", "-o", "pid=,ppid=,args="]).output().unwrap();
        let directory = self.directory.display().to_string();
        let own = std::process::id().to_string();
        String::from_utf8_lossy(&listing.stdout)
            .lines()
            .filter(|line| {
                let mut words = line.split_whitespace();
                let (pid, parent) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                // The front process is this test's child, and the test's own kubectl commands are too.
                let network = fs::read_link(format!("/proc/{pid}/ns/net")).ok();
                parent != own && (line.contains(&directory) || (network.is_some() && network == self.network))
            })
            .map(|line| format!("process {line}"))
            .collect()
    }
}

/// Runs a pod to its end and checks what it printed.
fn run_pod(cluster: &Up) {
    let command = "id -u; echo | nc -w 10 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT && echo reached";
    let overrides = serde_json::json!({ "spec": { "securityContext": { "runAsUser": 65532, "runAsNonRoot": true } } });
    let (image, overrides) = (format!("--image={BUSYBOX}"), format!("--overrides={overrides}"));
    cluster.ask(&["run", "once", &image, &overrides, "--restart=Never", "--", "sh", "-c", command]);
    let phase = eventually("the pod has ended", || {
        let phase = cluster.ask(&["get", "pod/once", "--output=jsonpath={.status.phase}"]);
        ["Succeeded", "Failed"].contains(&phase.as_str()).then_some(phase)
    });
    assert_eq!((phase.as_str(), cluster.ask(&["logs", "once"]).as_str()), ("Succeeded", "65532\nreached\n"));
}

/// Runs a Job to its end on a node where pods only pretend to run.
fn run_job(cluster: &Up) {
    cluster.ask(&["create", "job", "once", &format!("--image={BUSYBOX}"), "--", "true"]);
    cluster.ask(&["wait", "--for=condition=Complete", "job/once", "--timeout=60s"]);
}

#[test]
fn clusters_work_side_by_side_and_leave_nothing_behind() {
    let node = best_node();
    let one = spawn(move || Up::start("one", node));
    let mut two = Up::start("two", node);
    let mut one = one.join().unwrap();
    match node {
        NodeKind::Real => run_pod(&one),
        _ => run_job(&one),
    }
    assert!(!two.kubectl(&["get", "pod/once"]).status.success(), "the clusters should have nothing in common");

    let (first, second) = (one.traces(), two.traces());
    assert!(!first.found().is_empty() && !second.found().is_empty());
    one.front.kill().unwrap();
    eventually("nothing is left of the killed cluster", || {
        let found = first.found();
        (found.is_empty()).then_some(())
    });
    assert_eq!(two.ask(&["get", "--raw", "/readyz"]), "ok", "the other cluster should go on");

    let stopped = Command::new("kill").arg(two.front.id().to_string()).status().unwrap();
    assert!(stopped.success());
    assert!(two.front.wait().unwrap().success());
    assert_eq!(second.found(), Vec::<String>::new(), "a stopped cluster should be gone when its process ends");
}

#[test]
fn a_command_sees_its_cluster_and_its_status_is_passed_on() {
    build();
    let script = "kubectl get namespaces --output=name && echo $ROTA_CLUSTER_NODE $ROTA_CLUSTER_DIR && exit 7";
    let output = Command::new(PROGRAM)
        .args(["run", "--node", "none", "--", "sh", "-c", script])
        .env_remove("KUBECONFIG")
        .output();
    let output = output.unwrap();
    let (printed, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(7), "{errors}");
    assert!(printed.contains("namespace/default\n"), "{printed}");
    let directory = printed.lines().last().and_then(|line| line.strip_prefix("none ")).unwrap();
    assert!(!Path::new(directory).exists(), "{directory} should be gone");
    let kept = errors.lines().find_map(|line| line.split_once("logs are in ")).unwrap().1;
    assert!(Path::new(kept).join("kube-apiserver.log").exists(), "{errors}");

    let broken = ["run", "--node", "none", "--apiserver-arg=--no-such-flag", "--", "true"];
    let output = Command::new(PROGRAM).args(broken).env_remove("KUBECONFIG").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("kube-apiserver ended") && errors.contains("unknown flag: --no-such-flag"), "{errors}");
}
