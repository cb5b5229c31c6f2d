//! A cluster as the process sees it which wants one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use crate::cleanup;
use crate::error::{Error, Explain, Result};
use crate::events::Event;
use crate::namespaces;
use crate::options::{NodeKind, Options};
use crate::packages;
use crate::programs;
use crate::state::{Isolation, Plan, clusters, create_folder, new_id};

/// How often a waiting process looks whether it should stop waiting.
const GLANCE: Duration = Duration::from_millis(50);

/// A running throw-away cluster. It ends when this value is dropped, and when this process ends in whatever way.
pub struct Cluster {
    plan: Plan,
    guard: Child,
    input: Option<ChildStdin>,
    events: Receiver<Event>,
}

impl Cluster {
    /// Starts a cluster and waits until it can be used. What is built or installed first is told on standard error.
    ///
    /// `program` is the file of the program `rota-cluster`, whose further processes run the cluster.
    ///
    /// # Errors
    /// When a program cannot be built, a package is missing, or a component does not start.
    pub fn start(options: Options, program: &Path) -> Result<Self> {
        let mut cluster = Self::launch(options, program)?;
        cluster.wait_ready(|| false)?;
        Ok(cluster)
    }

    /// Starts a cluster without waiting for it.
    ///
    /// # Errors
    /// When a program cannot be built, a package is missing, or the directory is in use.
    pub fn launch(options: Options, program: &Path) -> Result<Self> {
        let plan = plan(options)?;
        for id in cleanup::sweep() {
            eprintln!("rota-cluster: removed what the dead cluster {id} had left");
        }
        let mut guard = Command::new(program)
            .arg("guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .explain(|| format!("starting {}", program.display()))?;
        let (input, output) = (guard.stdin.take(), guard.stdout.take());
        let (sender, events) = channel();
        thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()).map_while(Result::ok) {
                if sender.send(Event::parse(&line)).is_err() {
                    break;
                }
            }
        });
        let mut cluster = Self { plan, guard, input, events };
        cluster.send_plan()?;
        Ok(cluster)
    }

    /// Waits until the cluster can be used, or until `stop` says that nobody wants it any more.
    ///
    /// # Errors
    /// When the cluster does not start, or was stopped: then it is removed, and its logs are kept.
    pub fn wait_ready(&mut self, stop: impl Fn() -> bool) -> Result<()> {
        loop {
            if stop() {
                return Err(Error::new("The cluster was stopped while it was starting."));
            }
            match self.events.recv_timeout(GLANCE) {
                Ok(Event::Ready) => return Ok(()),
                Ok(Event::Note(note)) => eprintln!("rota-cluster: {note}"),
                Ok(Event::Failed(reason)) => return Err(self.failed(&reason)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.failed("The cluster's guard ended."));
                }
            }
        }
    }

    /// Looks whether the cluster still runs, and prints what it has to say to standard error.
    ///
    /// # Errors
    /// When it has ended of its own accord.
    pub fn check(&mut self) -> Result<()> {
        loop {
            match self.events.try_recv() {
                Ok(Event::Ready) => {}
                Ok(Event::Note(note)) => eprintln!("rota-cluster: {note}"),
                Ok(Event::Failed(reason)) => return Err(self.failed(&reason)),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => {
                    return Err(self.failed("The cluster's guard ended."));
                }
            }
        }
    }

    /// The kubeconfig of the cluster's administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.plan.kubeconfig()
    }

    /// The cluster's directory.
    pub fn directory(&self) -> &Path {
        &self.plan.directory
    }

    /// The folder of the programs: kubectl, helm and the cluster's own.
    pub fn programs(&self) -> &Path {
        &self.plan.programs
    }

    /// The kind of node which the cluster really has: where real pods are impossible, KWOK plays one.
    pub fn node(&self) -> NodeKind {
        self.plan.options.node
    }

    /// Copies the components' logs to `target/clusters/last-failure`, in place of those of an earlier failure, and
    /// returns that folder.
    ///
    /// # Errors
    /// When they cannot be copied.
    pub fn keep_logs(&self) -> Result<PathBuf> {
        let kept = clusters()?.join("last-failure");
        if kept.exists() {
            fs::remove_dir_all(&kept).explain(|| format!("removing {}", kept.display()))?;
        }
        copy(&self.plan.logs(), &kept)?;
        Ok(kept)
    }

    /// Stops the cluster and waits until nothing of it is left.
    ///
    /// # Errors
    /// When something could not be removed; the reason is on standard error.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        drop(self.input.take());
        let status = self.guard.wait().explain(|| "waiting for the end of a cluster".to_owned())?;
        // A guard which was killed has cleaned nothing up, so this process does.
        if status.success() || cleanup::sweep().contains(&self.plan.id) {
            return Ok(());
        }
        Err(Error::new(format!("The cluster {} left something behind: run \"rota-cluster sweep\".", self.plan.id)))
    }

    fn send_plan(&mut self) -> Result<()> {
        let explain = || "passing the plan of a cluster to its guard".to_owned();
        let line = serde_json::to_string(&self.plan).explain(explain)?;
        let pipe = self.input.as_mut().ok_or_else(|| Error::new("The cluster's guard has no input."))?;
        writeln!(pipe, "{line}").explain(explain)
    }

    fn failed(&self, reason: &str) -> Error {
        match self.keep_logs() {
            Ok(kept) => Error::new(format!("{reason}\nThe logs are kept in {}.", kept.display())),
            Err(_) => Error::new(reason),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.input.is_some()
            && let Err(error) = self.end()
        {
            eprintln!("rota-cluster: {error}");
        }
    }
}

/// Decides how the cluster can run on this machine, and gets what it needs.
fn plan(mut options: Options) -> Result<Plan> {
    let isolation = match namespaces::available() {
        Ok(()) => Isolation::Namespaces,
        Err(reason) => {
            if options.node == NodeKind::Real {
                eprintln!("rota-cluster: {reason} KWOK plays the node instead: no pod really runs.");
                options.node = NodeKind::Kwok;
            }
            Isolation::Loopback
        }
    };
    if isolation == Isolation::Namespaces {
        packages::ensure(options.node)?;
    }
    let programs = programs::ensure(&[options.node])?;
    let id = new_id();
    let directory = match &options.directory {
        Some(directory) => absolute(directory)?,
        None => clusters()?.join(&id),
    };
    if fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_some()) {
        let directory = directory.display();
        return Err(Error::new(format!("{directory} is not empty: name a directory which does not exist yet.")));
    }
    options.audit_log = options.audit_log.as_deref().map(absolute).transpose()?;
    Ok(Plan { id, directory, programs, isolation, options })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).explain(|| format!("finding {}", path.display()))
}

/// Copies a folder with all files in it. Other things, such as links, are left out.
fn copy(from: &Path, to: &Path) -> Result<()> {
    create_folder(to)?;
    for entry in fs::read_dir(from).explain(|| format!("reading {}", from.display()))?.flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => copy(&source, &target)?,
            Ok(kind) if kind.is_file() => {
                fs::copy(&source, &target).explain(|| format!("copying {}", source.display()))?;
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}
