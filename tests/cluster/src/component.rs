//! The long-running programs of a cluster, each with a log file, and waiting for what they do.

use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::{Error, Explain, Result};
use crate::state::Plan;

/// How often a condition is looked at while waiting for it.
const GLANCE: Duration = Duration::from_millis(25);

/// How many lines of a component's log an error shows.
const TAIL: usize = 15;

/// How often a component which ends is started again over the life of a cluster.
const RESTARTS: u32 = 50;

/// Whether the cluster has been asked to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Asks the thread which looks after the components to end them.
pub fn end() {
    ENDING.store(true, Ordering::Relaxed);
}

/// Whether the cluster has been asked to end.
///
/// # Errors
/// When it has.
fn check_end() -> Result<()> {
    if ENDING.load(Ordering::Relaxed) {
        return Err(Error::new("The cluster was asked to end."));
    }
    Ok(())
}

/// One running program.
struct Component {
    name: &'static str,
    arguments: Vec<String>,
    log: PathBuf,
    child: Child,
    restarts: u32,
}

/// All running programs of one cluster. They are killed when this value is dropped.
pub struct Components<'a> {
    plan: &'a Plan,
    running: Vec<Component>,
}

impl<'a> Components<'a> {
    /// No programs yet.
    pub fn new(plan: &'a Plan) -> Self {
        Self { plan, running: Vec::new() }
    }

    /// Starts a program of the cache. What it prints goes to a log file of its name.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self, name: &'static str, arguments: Vec<String>) -> Result<()> {
        let log = self.plan.logs().join(format!("{name}.log"));
        let child = spawn(self.plan, name, &arguments, &log)?;
        self.running.push(Component { name, arguments, log, child, restarts: 0 });
        Ok(())
    }

    /// Checks that every program still runs.
    ///
    /// # Errors
    /// When one has ended: its name, its status and the end of its log. Or when the cluster was asked to end.
    pub fn check(&mut self) -> Result<()> {
        check_end()?;
        for component in &mut self.running {
            if let Some(status) = component.ended()? {
                return Err(Error::new(format!(
                    "{} ended while the cluster was starting ({status}). The end of its log:\n{}",
                    component.name,
                    component.tail()
                )));
            }
        }
        Ok(())
    }

    /// Starts programs again which have ended, as a real cluster would, and returns a sentence about each.
    ///
    /// # Errors
    /// When one has ended too often, or the cluster was asked to end.
    pub fn revive(&mut self) -> Result<Vec<String>> {
        check_end()?;
        let mut notes = Vec::new();
        for component in &mut self.running {
            let Some(status) = component.ended()? else {
                continue;
            };
            if component.restarts == RESTARTS {
                let (name, tail) = (component.name, component.tail());
                return Err(Error::new(format!("{name} ended {RESTARTS} times. The end of its log:\n{tail}")));
            }
            component.restarts += 1;
            component.child = spawn(self.plan, component.name, &component.arguments, &component.log)?;
            notes.push(format!("{} ended ({status}); it is started again", component.name));
        }
        Ok(notes)
    }

    /// Waits until a condition holds.
    ///
    /// # Errors
    /// When it does not hold after `patience`, or a program ends meanwhile. `what` completes the sentence "The cluster
    /// did not start: after 60 s …".
    pub fn wait(&mut self, what: &str, patience: Duration, condition: impl FnMut() -> bool) -> Result<()> {
        self.wait_since(Instant::now(), what, patience, condition)
    }

    fn wait_since(
        &mut self,
        start: Instant,
        what: &str,
        patience: Duration,
        mut condition: impl FnMut() -> bool,
    ) -> Result<()> {
        while !condition() {
            self.check()?;
            if start.elapsed() > patience {
                return Err(self.too_late(what, patience));
            }
            sleep(GLANCE);
        }
        Ok(())
    }

    /// Waits until a program which was started for this purpose has succeeded. It is started again while it fails.
    ///
    /// # Errors
    /// As for [`Components::wait`].
    pub fn wait_for_success(
        &mut self,
        what: &str,
        patience: Duration,
        mut command: impl FnMut() -> Command,
    ) -> Result<()> {
        let explain = || format!("waiting until {what}");
        let start = Instant::now();
        loop {
            let mut command = command();
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = Killed(command.spawn().explain(explain)?);
            let mut status = None;
            self.wait_since(start, what, patience, || {
                status = child.0.try_wait().ok().flatten();
                status.is_some()
            })?;
            if status.is_some_and(|status| status.success()) {
                return Ok(());
            }
        }
    }

    fn too_late(&self, what: &str, patience: Duration) -> Error {
        let tails: Vec<_> =
            self.running.iter().map(|component| format!("--- {}\n{}", component.name, component.tail())).collect();
        Error::new(format!(
            "The cluster did not start: after {} s it still was not true that {what}. The ends of the logs:\n{}",
            patience.as_secs(),
            tails.join("\n")
        ))
    }
}

impl Drop for Components<'_> {
    fn drop(&mut self) {
        for component in &mut self.running {
            // It may have ended already, which is as good.
            let _ = component.child.kill();
        }
        for component in &mut self.running {
            let _ = component.child.wait();
        }
    }
}

/// A process which is killed when it is no longer waited for.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It has usually ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Component {
    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().explain(|| format!("looking after {}", self.name))
    }

    /// The last lines of the log.
    fn tail(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

fn spawn(plan: &Plan, name: &str, arguments: &[String], log: &PathBuf) -> Result<Child> {
    let explain = || format!("starting {name}");
    let output = OpenOptions::new().create(true).append(true).open(log).explain(explain)?;
    let errors = output.try_clone().explain(explain)?;
    Command::new(plan.program(name))
        .args(arguments)
        .env("PATH", path(plan))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .explain(explain)
}

/// The search path for programs: the cache first, and the folders of system programs last.
pub fn path(plan: &Plan) -> String {
    let inherited = std::env::var("PATH").unwrap_or_default();
    format!("{}:{inherited}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin", plan.programs.display())
}

/// Whether something listens at this address.
pub fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}
