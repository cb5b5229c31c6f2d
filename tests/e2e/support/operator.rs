//! The operator as a process of its own, so that it can be killed like one.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use jiff::SignedDuration;

use super::wall_clock::WallClock;

/// How much of the end of the log is printed when a test fails, in lines.
const LINES_PRINTED: usize = 150;
/// How long a crashed leader keeps the lease, in seconds, unless ROTA_TEST_LEASE_SECONDS says otherwise. A restarted one has the
/// same identity and need not wait. An API server that is starved on a busy machine has two thirds of that for a renewal.
const LEASE_SECONDS: &str = "15";

/// How an operator is started, each time.
pub struct Start {
    /// The program; absent: the one of this build, or the one that ROTA_TEST_BINARY names.
    pub program: Option<PathBuf>,
    /// How it finds its cluster.
    pub kubeconfig: PathBuf,
    /// The namespace of its lease, and the only one that it sees unless it sees the whole cluster.
    pub namespace: String,
    /// That it sees the whole cluster, and how many Jobs it may run there.
    pub in_all: Option<u32>,
    /// Its name among replicas.
    pub identity: &'static str,
    /// Where its log goes.
    pub log: PathBuf,
    /// The wall clock that it reads; absent: the machine's.
    pub clock: Option<WallClock>,
}

/// A running operator.
pub struct Operator {
    start: Start,
    child: Child,
}

impl Operator {
    /// Starts one.
    pub fn start(start: Start) -> Self {
        drop(File::create(&start.log).unwrap());
        let child = spawn(&start);
        Self { start, child }
    }

    /// Sets the wall clock that it reads, also while it runs: so far ahead of the machine's, or behind it.
    pub fn set_clock(&self, ahead: SignedDuration) {
        self.start.clock.as_ref().expect("its clock can be set").set(ahead);
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it as a crash does: with SIGKILL, at once.
    pub fn kill(&mut self) {
        if self.is_running() {
            self.child.kill().unwrap();
        }
        self.child.wait().unwrap();
        WallClock::clean_up_after(self.child.id());
    }

    /// Stops it in its tracks, as a suspended machine does.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "the operator has ended by itself");
    }

    /// Ends it as a roll-out does: with SIGTERM, waiting until it is gone.
    pub fn terminate(&mut self) {
        self.signal("-TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the operator ended with {status} on SIGTERM");
    }

    /// Starts it again, under the same identity.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.start);
    }

    /// Starts another build under the same identity; absent: this one. What still runs is killed.
    pub fn restart_as(&mut self, program: Option<PathBuf>) {
        self.start.program = program;
        self.restart();
    }

    /// How often it has found that its wall clock was set.
    pub fn clock_steps_seen(&self) -> usize {
        self.log_text().lines().filter(|line| line.contains("the clock was set")).count()
    }

    /// How often it has begun to lead.
    pub fn times_led(&self) -> usize {
        self.log_text().lines().filter(|line| line.contains(" leading")).count()
    }

    /// What it has said.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.start.log).unwrap_or_default()
    }

    /// Prints the end of what it has said.
    pub fn print_log(&self) {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        println!("--- the operator's log, its last {LINES_PRINTED} lines");
        lines.iter().skip(lines.len().saturating_sub(LINES_PRINTED)).for_each(|line| println!("{line}"));
    }

    /// Removes the log of a test that passed.
    pub fn remove_log(&self) {
        let _ = std::fs::remove_file(&self.start.log);
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        WallClock::clean_up_after(self.child.id());
    }
}

fn spawn(start: &Start) -> Child {
    let Start { program, kubeconfig, namespace, in_all, identity, log, clock } = start;
    let log = OpenOptions::new().append(true).open(log).unwrap();
    // Only a program that is linked dynamically reads another clock.
    let optimized = std::env::var_os("ROTA_TEST_BINARY").filter(|_| clock.is_none());
    let of_this_build = || optimized.unwrap_or(env!("CARGO_BIN_EXE_rota").into()).into();
    let program = program.clone().unwrap_or_else(of_this_build);
    let lease = std::env::var("ROTA_TEST_LEASE_SECONDS").unwrap_or(LEASE_SECONDS.to_owned());
    let mut command = Command::new(program);
    command
        .args(["operator", "--http-address", "127.0.0.1:0", "--log-format", "plain", "--identity", identity])
        .args(["--lease-namespace", namespace, "--lease-duration-seconds", &lease])
        .args(match in_all {
            Some(most) => ["--max-running".to_owned(), most.to_string()],
            None => ["--namespace".to_owned(), namespace.clone()],
        })
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    clock.iter().for_each(|clock| clock.wind(&mut command));
    command.spawn().unwrap()
}
