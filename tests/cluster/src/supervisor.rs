//! The supervisor: starts the components of one cluster in order, and looks after them until it is told to end.

use std::io::{BufRead, stdin};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::component::{self, Components};
use crate::control_plane::ControlPlane;
use crate::error::{Explain, Result};
use crate::events::Event;
use crate::namespaces::{hide_folders, wait_for_end_of_input};
use crate::network::configure_inside;
use crate::node;
use crate::options::NodeKind;
use crate::state::{Isolation, Plan, create_folder};

/// How often the components are looked at while the cluster runs.
const ROUND: Duration = Duration::from_millis(200);

/// How long the components may take to end after they were killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The addresses of a cluster, told to its supervisor in the first line of standard input.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// Where the API server is reached.
    pub cluster: Ipv4Addr,
    /// The host's end of the link, or the same when there is no link.
    pub host: Ipv4Addr,
}

/// Runs the cluster in this directory until standard input ends.
///
/// # Errors
/// When the cluster does not start, or a component keeps ending.
pub fn supervise(directory: &Path) -> Result<()> {
    let plan = Plan::read(directory)?;
    let mut line = String::new();
    stdin().lock().read_line(&mut line).explain(|| "reading the cluster's addresses".to_owned())?;
    let addresses = serde_json::from_str(&line).explain(|| "reading the cluster's addresses".to_owned())?;
    let isolation = plan.isolation;
    thread::spawn(move || {
        wait_for_end_of_input();
        end(isolation);
    });
    let mut components = Components::new(&plan);
    start(&plan, addresses, &mut components)?;
    Event::Ready.send();
    loop {
        for note in components.revive()? {
            Event::Note(note).send();
        }
        thread::sleep(ROUND);
    }
}

fn start(plan: &Plan, addresses: Addresses, components: &mut Components<'_>) -> Result<()> {
    let begin = Instant::now();
    let real = plan.options.node == NodeKind::Real;
    create_folder(&plan.logs())?;
    if plan.isolation == Isolation::Namespaces {
        configure_inside(addresses.cluster, addresses.host, real)?;
    }
    if real {
        hide_folders(plan)?;
        node::start_containerd(plan, components)?;
    }
    let control_plane = ControlPlane::prepare(plan, addresses.cluster)?;
    control_plane.start(components)?;
    if real {
        node::import_images(plan, components)?;
    }
    control_plane.finish(components)?;
    let control_plane_after = begin.elapsed();
    match plan.options.node {
        NodeKind::Real => node::start_real(plan, &control_plane, components)?,
        NodeKind::Kwok => node::start_kwok(plan, &control_plane, components)?,
        NodeKind::None => {}
    }
    control_plane.wait_for_accounts(components)?;
    let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
    Event::Note(format!(
        "the control plane was ready after {} and the cluster after {}",
        seconds(control_plane_after),
        seconds(begin.elapsed())
    ))
    .send();
    Ok(())
}

/// Ends this process and all components. In namespaces, they end with the first process, which ends with this one.
fn end(isolation: Isolation) {
    if isolation == Isolation::Loopback {
        component::end();
        thread::sleep(PATIENCE);
        // The guard made this process the leader of a process group which holds the components and nothing else.
        let _ = rustix::process::kill_current_process_group(rustix::process::Signal::KILL);
    }
    std::process::exit(0);
}

/// Runs the supervisor and reports a failure to the front process, which prints it.
pub fn main(directory: &Path) -> ExitCode {
    let Err(error) = supervise(directory) else {
        return ExitCode::SUCCESS;
    };
    Event::Failed(error.to_string()).send();
    ExitCode::FAILURE
}
