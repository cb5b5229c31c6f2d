//! The operator as a process: started, asked whether it is ready, weighed, and stopped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cluster::Bench;
use crate::workload::OWN_NAMESPACE;

/// How long the operator may take until it is ready, and to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked whether it is ready: often enough to measure its start.
const GLANCE: Duration = Duration::from_millis(2);

/// A running operator. It is killed when this value is dropped.
pub struct Operator {
    child: Child,
    /// From the start of the process to its first answer that it is ready.
    pub ready_after: Duration,
}

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    pub now: u64,
    pub peak: u64,
}

impl Operator {
    /// Starts it and waits until it is ready. It keeps the limits that it comes with, but for those that are given.
    pub async fn start(binary: &Path, bench: &Bench, limits: &[&str]) -> Self {
        let address = free_address();
        let log = bench.output.join(format!("operator-{}.log", bench.setting.as_str()));
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(binary);
        command.args(["operator", "--log-format=plain", "--identity=bench"]);
        command
            .arg(format!("--lease-namespace={OWN_NAMESPACE}"))
            .args(limits)
            .arg(format!("--http-address={address}"))
            .env("KUBECONFIG", bench.kubeconfig());
        let output = log.try_clone().unwrap();
        let started = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(output).stderr(log).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        while !is_ready(address) {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "the operator ended before it was ready: {ended:?}");
            assert!(started.elapsed() < PATIENCE, "the operator is not ready after {PATIENCE:?}");
            tokio::time::sleep(GLANCE).await;
        }
        Self { child, ready_after: started.elapsed() }
    }

    /// What it weighs. Linux only; zero elsewhere.
    pub fn memory(&self) -> Memory {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() * 1024
        };
        Memory { now: field("VmRSS:"), peak: field("VmHWM:") }
    }

    /// Ends it as a cluster would, so that it gives its lease back.
    pub async fn stop(mut self) {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(asked.is_ok_and(|status| status.success()), "the operator cannot be stopped");
        let since = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(since.elapsed() < PATIENCE, "the operator has not ended after {PATIENCE:?}");
            tokio::time::sleep(GLANCE).await;
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It has ended already when it was stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}
