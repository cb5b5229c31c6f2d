//! The actions which run a cluster in the foreground.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rota_cluster::{Cluster, Error, Options, Result, users};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How often a waiting front process looks round.
const GLANCE: Duration = Duration::from_millis(20);

/// How long a command may take to end after an interrupt from the terminal, which it receives too.
const GRACE: Duration = Duration::from_secs(10);

/// The last signal which asked this process to end, or 0.
struct Signals(Arc<AtomicUsize>);

impl Signals {
    fn catch() -> Result<Self> {
        let last = Arc::new(AtomicUsize::new(0));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register_usize(signal, Arc::clone(&last), usize::try_from(signal).unwrap_or_default())
                .map_err(|error| Error::new(format!("catching signal {signal} failed: {error}")))?;
        }
        Ok(Self(last))
    }

    fn last(&self) -> Option<i32> {
        i32::try_from(self.0.load(Ordering::Relaxed)).ok().filter(|signal| *signal != 0)
    }
}

/// Runs a cluster until a signal asks for its end.
pub fn up(options: Options) -> Result<ExitCode> {
    let signals = Signals::catch()?;
    let mut cluster = start(options, &signals)?;
    println!("{}", cluster.kubeconfig().display());
    while signals.last().is_none() {
        cluster.check()?;
        sleep(GLANCE);
    }
    cluster.stop()?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a command with a cluster.
pub fn run(options: Options, command: &[String]) -> Result<ExitCode> {
    if let Some(kubeconfig) = users::kubeconfig() {
        return run_with_users_cluster(&kubeconfig, command);
    }
    let signals = Signals::catch()?;
    let mut cluster = start(options, &signals)?;
    let mut child = prepare(command, &cluster.kubeconfig(), &cluster.node().to_string())?
        .env("ROTA_CLUSTER_DIR", cluster.directory())
        .env("KUBECACHEDIR", cluster.directory().join("kubectl-cache"))
        .env("PATH", path(cluster.programs()))
        .spawn()
        .map_err(|error| unstartable(command, &error))?;
    let status = watch(&mut child, &mut cluster, &signals)?;
    if !status.success() {
        match cluster.keep_logs() {
            Ok(kept) => eprintln!("rota-cluster: the command failed; the cluster's logs are in {}", kept.display()),
            Err(error) => eprintln!("rota-cluster: the command failed, and the cluster's logs are lost: {error}"),
        }
    }
    cluster.stop()?;
    Ok(exit_code(status))
}

fn start(options: Options, signals: &Signals) -> Result<Cluster> {
    let program = std::env::current_exe()
        .map_err(|error| Error::new(format!("finding this program's own file failed: {error}")))?;
    let mut cluster = Cluster::launch(options, &program)?;
    cluster.wait_ready(|| signals.last().is_some())?;
    Ok(cluster)
}

fn run_with_users_cluster(kubeconfig: &Path, command: &[String]) -> Result<ExitCode> {
    let status = prepare(command, kubeconfig, "user")?.status().map_err(|error| unstartable(command, &error))?;
    Ok(exit_code(status))
}

/// The command with the variables which name its cluster.
fn prepare(command: &[String], kubeconfig: &Path, node: &str) -> Result<Command> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| Error::new("There is no command to run: name one after \"--\"."))?;
    let mut prepared = Command::new(program);
    prepared.args(arguments).env("KUBECONFIG", kubeconfig).env("ROTA_TEST_KUBECONFIG", kubeconfig);
    prepared.env("ROTA_CLUSTER_NODE", node);
    Ok(prepared)
}

/// Waits for the command, passing on signals, and ends it when the cluster ends before it.
fn watch(child: &mut Child, cluster: &mut Cluster, signals: &Signals) -> Result<ExitStatus> {
    let mut asked = None;
    loop {
        let ended = child.try_wait().map_err(|error| Error::new(format!("waiting for the command failed: {error}")))?;
        if let Some(status) = ended {
            return Ok(status);
        }
        if let Err(error) = cluster.check() {
            // It may have ended just now, which is as good.
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        match (signals.last(), asked) {
            (Some(signal), None) => {
                if signal != SIGINT {
                    terminate(child, Signal::TERM);
                }
                asked = Some(Instant::now());
            }
            (Some(_), Some(since)) if since.elapsed() > GRACE => terminate(child, Signal::KILL),
            _ => {}
        }
        sleep(GLANCE);
    }
}

fn terminate(child: &Child, signal: Signal) {
    // A command which has ended meanwhile needs no signal.
    let _ = kill_process(Pid::from_child(child), signal);
}

/// The search path of the command: the cluster's programs first.
fn path(programs: &Path) -> std::ffi::OsString {
    let mut path = programs.as_os_str().to_owned();
    if let Some(inherited) = std::env::var_os("PATH") {
        path.push(":");
        path.push(inherited);
    }
    path
}

fn unstartable(command: &[String], error: &std::io::Error) -> Error {
    Error::new(format!("running \"{}\" failed: {error}", command.join(" ")))
}

/// The command's own status, or 128 and the signal's number as shells have it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
