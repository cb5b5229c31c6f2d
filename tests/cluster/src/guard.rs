//! The guard: the process between the one which wants a cluster and the cluster itself.
//!
//! It holds the cluster's entry in the list of clusters, and ends the cluster and cleans up when its standard input
//! ends: whether the front process closed it, ended or was killed.

use std::io::{BufRead, Write, stdin};
use std::net::Ipv4Addr;
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::cleanup;
use crate::error::{Error, Explain, Result};
use crate::events::Event;
use crate::namespaces::{self, wait_for_end_of_input};
use crate::network::{self, Subnet};
use crate::state::{Isolation, Plan, Registration, create_folder, write_file};
use crate::supervisor::Addresses;

/// How long a cluster may take to end before it is killed from outside.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a cluster whose plan is the first line of standard input, until that input ends.
///
/// # Errors
/// When something of the cluster could not be removed.
pub fn main() -> Result<()> {
    let mut line = String::new();
    stdin().lock().read_line(&mut line).explain(|| "reading the plan of a cluster".to_owned())?;
    let plan: Plan = serde_json::from_str(&line).explain(|| "reading the plan of a cluster".to_owned())?;
    let (sender, end) = channel();
    thread::spawn(move || {
        wait_for_end_of_input();
        // The guard may have gone ahead of its own accord.
        let _ = sender.send(());
    });
    let registration = Registration::create(plan.clone())?;
    let mut running = Running::default();
    match running.start(&plan) {
        Ok(()) => running.watch(&end),
        Err(error) => {
            Event::Failed(error.to_string()).send();
            // Only once the front process has seen the logs may they go.
            let _ = end.recv();
        }
    }
    running.stop(&plan);
    cleanup::remove(&plan)?;
    registration.remove();
    Ok(())
}

/// What runs of a cluster.
#[derive(Default)]
struct Running {
    supervisor: Option<Child>,
    subnet: Option<Subnet>,
}

impl Running {
    fn start(&mut self, plan: &Plan) -> Result<()> {
        create_folder(&plan.directory)?;
        plan.write()?;
        let mut command = namespaces::supervisor(plan)?;
        if plan.isolation == Isolation::Loopback {
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        let child = command.spawn().explain(|| "starting the cluster's supervisor".to_owned())?;
        let pid = child.id();
        let child = self.supervisor.insert(child);
        let mut addresses = Addresses { cluster: Ipv4Addr::LOCALHOST, host: Ipv4Addr::LOCALHOST };
        if plan.isolation == Isolation::Namespaces {
            namespaces::wait_for_network(pid)?;
            write_file(&plan.directory.join("namespaces.pid"), pid.to_string())?;
            let subnet = network::connect(pid, u32::from_str_radix(&plan.id, 16).unwrap_or_default())?;
            self.subnet = Some(subnet);
            addresses = Addresses { cluster: subnet.cluster(), host: subnet.host() };
        }
        let line = serde_json::to_string(&addresses).explain(|| "writing the cluster's addresses".to_owned())?;
        let pipe = child.stdin.as_mut().ok_or_else(|| Error::new("The cluster's supervisor has no input."))?;
        writeln!(pipe, "{line}").explain(|| "telling the cluster its addresses".to_owned())
    }

    /// Waits for the end of standard input. A supervisor which ends before is reported.
    fn watch(&mut self, end: &Receiver<()>) {
        let mut reported = false;
        loop {
            match end.recv_timeout(Duration::from_millis(100)) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let ended = self.supervisor.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended
                && !reported
            {
                Event::Failed(format!("The cluster's supervisor ended ({status}).")).send();
                reported = true;
            }
        }
    }

    /// Ends all processes of the cluster and waits until they are gone, then removes its link.
    fn stop(&mut self, plan: &Plan) {
        if let Some(child) = &mut self.supervisor {
            drop(child.stdin.take());
            let deadline = Instant::now() + PATIENCE;
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
            // Both fail when the processes have gone, as they should have.
            let _ = child.kill();
            let _ = child.wait();
            if plan.isolation == Isolation::Loopback {
                let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
            }
        }
        if let Some(subnet) = self.subnet {
            network::disconnect(subnet);
        }
    }
}
