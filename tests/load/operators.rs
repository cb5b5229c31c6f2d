//! Two operators as processes, of which one leads, that can be stopped and killed like any.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use rota::runtime::lease::LEASE_NAME;

use crate::cluster::{kubeconfig, until};

/// How long a leader that is silent keeps the lease, in seconds: the least that there may be.
pub const LEASE_SECONDS: u64 = 3;
const NAMES: [&str; 2] = ["left", "right"];

/// Two operators that see the whole cluster.
pub struct Operators {
    client: Client,
    namespace: String,
    max_running: Option<u32>,
    children: [Child; 2],
}

impl Operators {
    /// Starts both; `namespace` is theirs.
    pub fn start(client: &Client, namespace: &str, max_running: Option<u32>) -> Self {
        let children = NAMES.map(|name| {
            drop(File::create(log(namespace, name)).unwrap());
            spawn(namespace, name, max_running)
        });
        Self { client: client.clone(), namespace: namespace.into(), max_running, children }
    }

    /// Which of them leads.
    pub async fn leader(&self) -> usize {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        until("one of the operators leads", async || {
            let lease = leases.get_opt(LEASE_NAME).await.unwrap()?;
            let holder = lease.spec?.holder_identity?;
            NAMES.iter().position(|name| *name == holder)
        })
        .await
    }

    /// Stops one in its tracks, as a suspended machine does.
    pub fn pause(&self, index: usize) {
        self.signal(index, "-STOP");
    }

    /// Lets it go on.
    pub fn resume(&self, index: usize) {
        self.signal(index, "-CONT");
    }

    /// Ends one as a crash does.
    pub fn kill(&mut self, index: usize) {
        let _ = self.children[index].kill();
        self.children[index].wait().unwrap();
    }

    /// Starts those again that have ended, by a kill or because they lost the lease.
    pub fn mend(&mut self) {
        for (index, name) in NAMES.iter().enumerate() {
            if self.children[index].try_wait().unwrap().is_some() {
                self.children[index] = spawn(&self.namespace, name, self.max_running);
            }
        }
    }

    /// Prints the ends of their logs.
    pub fn print_logs(&self) {
        for name in NAMES {
            let text = std::fs::read_to_string(log(&self.namespace, name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            println!("--- {name}");
            lines.iter().skip(lines.len().saturating_sub(60)).for_each(|line| println!("{line}"));
        }
    }

    fn signal(&self, index: usize, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.children[index].id().to_string()]).status().unwrap();
        assert!(sent.success(), "the operator has ended by itself");
    }
}

impl Drop for Operators {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn log(namespace: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{namespace}-{name}.log"))
}

fn spawn(namespace: &str, name: &str, max_running: Option<u32>) -> Child {
    let log = OpenOptions::new().append(true).open(log(namespace, name)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rota"));
    command.args(["operator", "--http-address", "127.0.0.1:0", "--log-format", "plain", "--identity", name]);
    command.args(["--lease-namespace", namespace, "--lease-duration-seconds", &LEASE_SECONDS.to_string()]);
    command.args(max_running.map(|max| format!("--max-running={max}")));
    command.env("KUBECONFIG", kubeconfig()).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}
