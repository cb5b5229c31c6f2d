//! Namespaces: every process of a cluster runs in process, mount and network namespaces of the cluster's own, so that
//! the kernel ends and removes all of them together.

use std::fs;
use std::io::{BufRead, Read, Write, stdin};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, wait};

use crate::command;
use crate::error::{Error, Explain, Result};
use crate::state::{Isolation, Plan, create_folder};

/// The folders which hold the state of node programs, and which a cluster sees as empty folders of its own.
const PRIVATE_FOLDERS: [&str; 3] = ["/run", "/var/lib", "/var/log"];

/// Whether this process may make namespaces.
///
/// # Errors
/// The reason why it may not, as a sentence.
pub fn available() -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Err(Error::new("Real pods need Linux."));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Error::new("Real pods need root."));
    }
    command::run(Command::new("unshare").args(["--pid", "--net", "--mount", "--fork", "--mount-proc", "true"]))
        .map_err(|error| Error::new(format!("Real pods need namespaces, which this machine refuses: {error}.")))
}

/// The command which runs a cluster's supervisor, kept apart as planned. It reads a line with the cluster's addresses
/// from its standard input, and ends when that input ends.
///
/// # Errors
/// When this program's own file cannot be found.
pub fn supervisor(plan: &Plan) -> Result<Command> {
    let program = this_program()?;
    let mut command;
    if plan.isolation == Isolation::Namespaces {
        command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--pid", "--mount", "--net", "--fork"]);
        command.args(["--kill-child=KILL", "--mount-proc"]).arg(program).arg("init");
    } else {
        command = Command::new(program);
        command.arg("supervise");
    }
    command.arg(&plan.directory).stdin(Stdio::piped());
    Ok(command)
}

/// Waits until a process has network namespaces other than this process's.
///
/// # Errors
/// When the process ends or 20 s pass.
pub fn wait_for_network(pid: u32) -> Result<()> {
    let link = |process: &str| fs::read_link(format!("/proc/{process}/ns/net"));
    let own = link("self").explain(|| "reading this process's network namespace".to_owned())?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let theirs = link(&pid.to_string()).explain(|| "starting a process in namespaces of its own".to_owned())?;
        if theirs != own {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::new(
                "The cluster's namespaces were not made within 20 s: the machine may be overloaded.",
            ));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// The first process of a cluster's process namespace: starts the supervisor and collects ended processes which have
/// lost their parents. When the supervisor ends, or standard input does, this process ends, and with it all others.
///
/// # Errors
/// When the supervisor cannot be started.
pub fn init(directory: &Path) -> Result<ExitCode> {
    let mut line = String::new();
    stdin().lock().read_line(&mut line).explain(|| "reading the cluster's addresses".to_owned())?;
    let mut supervisor = Command::new(this_program()?)
        .arg("supervise")
        .arg(directory)
        .stdin(Stdio::piped())
        .spawn()
        .explain(|| "starting the cluster's supervisor".to_owned())?;
    let mut pipe = supervisor.stdin.take();
    if let Some(pipe) = &mut pipe {
        pipe.write_all(line.as_bytes()).explain(|| "passing on the cluster's addresses".to_owned())?;
    }
    thread::spawn(|| {
        wait_for_end_of_input();
        std::process::exit(0);
    });
    let supervisor = Pid::from_child(&supervisor);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == supervisor => {
                return Ok(if status.exit_status() == Some(0) { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                return Err(Error::new(format!("waiting for the cluster's supervisor failed: {error}")));
            }
        }
    }
}

/// Blocks until standard input ends: the process which held it open has closed it or died.
pub fn wait_for_end_of_input() {
    let mut buffer = [0; 64];
    loop {
        match stdin().lock().read(&mut buffer) {
            Ok(0) => return,
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return,
            Ok(_) | Err(_) => {}
        }
    }
}

/// Gives a cluster with a real node empty folders of its own in memory, where node programs keep their state.
///
/// # Errors
/// When a mount fails.
pub fn hide_folders(plan: &Plan) -> Result<()> {
    let audit_log = plan.options.audit_log.as_deref().and_then(Path::parent);
    let kept: Vec<&Path> =
        [Some(plan.directory.as_path()), Some(plan.programs.as_path()), audit_log].into_iter().flatten().collect();
    let workshop = plan.directory.join("mount");
    create_folder(&workshop)?;
    for folder in PRIVATE_FOLDERS {
        mount(["-t", "tmpfs", "-o", "mode=755", "rota"].map(PathBuf::from), &workshop)?;
        for path in &kept {
            if let Ok(below) = path.strip_prefix(folder) {
                let place = workshop.join(below);
                create_folder(&place)?;
                mount([PathBuf::from("--bind"), path.to_path_buf()], &place)?;
            }
        }
        mount([PathBuf::from("--move"), workshop.clone()], Path::new(folder))?;
    }
    command::run(Command::new("mount").args(["--no-mtab", "--make-rshared", "/"]))
}

fn mount<const N: usize>(words: [PathBuf; N], place: &Path) -> Result<()> {
    // Mount's own records lie in a folder which is being hidden, so it must keep none.
    command::run(Command::new("mount").arg("--no-mtab").args(words).arg(place))
}

fn this_program() -> Result<PathBuf> {
    std::env::current_exe().explain(|| "finding this program's own file".to_owned())
}
