//! `rota-cluster`: throw-away Kubernetes clusters for Rota's tests and benchmarks.

mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use rota_cluster::{Image, NodeKind, Options, Result};

/// Builds and runs throw-away Kubernetes clusters.
#[derive(Parser)]
#[command(name = "rota-cluster", version)]
struct CommandLine {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Builds the programs of a cluster into the user's cache, where they are not there yet.
    Build {
        /// Builds only what a cluster without real pods needs.
        #[arg(long)]
        fallback: bool,
        /// Builds Kueue too, which only its own tests and benchmarks need.
        #[arg(long)]
        kueue: bool,
        /// Builds the program that says what kstatus, Argo CD and Flux think of objects too.
        #[arg(long)]
        health: bool,
    },
    /// Runs a cluster until SIGTERM or SIGINT. Prints the path of its kubeconfig when it can be used.
    Up(ClusterArguments),
    /// Runs a command with a cluster, and ends with the command's status.
    ///
    /// The command finds KUBECONFIG, ROTA_TEST_KUBECONFIG, ROTA_CLUSTER_DIR and ROTA_CLUSTER_NODE in its environment,
    /// and kubectl and helm in its PATH. With KUBECONFIG set beforehand the user's own cluster is used, after asking.
    Run {
        #[command(flatten)]
        cluster: ClusterArguments,
        /// The command with its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Makes an image which holds one static program, and imports it into a running cluster.
    Image {
        /// Full name of the image with a tag.
        #[arg(long)]
        tag: String,
        /// The program's file.
        #[arg(long)]
        binary: PathBuf,
        /// Path of the program in the image.
        #[arg(long, default_value = "/rota")]
        entrypoint: String,
        /// Directory of the running cluster.
        #[arg(long, env = "ROTA_CLUSTER_DIR")]
        cluster: PathBuf,
    },
    /// Removes what dead clusters have left behind.
    Sweep,
    /// Stands between a front process and its cluster.
    #[command(hide = true)]
    Guard,
    /// Is the first process in a cluster's namespaces.
    #[command(hide = true)]
    Init { directory: PathBuf },
    /// Starts and looks after the components of a cluster.
    #[command(hide = true)]
    Supervise { directory: PathBuf },
}

#[derive(Args)]
struct ClusterArguments {
    /// Which kind of node runs pods: real, kwok or none.
    #[arg(long, default_value = "real")]
    node: NodeKind,
    /// Number of nodes which KWOK plays.
    #[arg(long, default_value_t = 1)]
    kwok_nodes: u32,
    /// Makes etcd wait for the disk as in production.
    #[arg(long)]
    fsync: bool,
    /// File in which the API server records each request.
    #[arg(long)]
    audit_log: Option<PathBuf>,
    /// A further argument of the kube-apiserver. May be repeated.
    #[arg(long = "apiserver-arg", allow_hyphen_values = true)]
    api_server_arguments: Vec<String>,
    /// A further argument of the kube-controller-manager. May be repeated.
    #[arg(long = "controller-manager-arg", allow_hyphen_values = true)]
    controller_manager_arguments: Vec<String>,
    /// Directory of the cluster's files, removed at the end. By default a new one under target/clusters.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl From<ClusterArguments> for Options {
    fn from(arguments: ClusterArguments) -> Self {
        Self {
            node: arguments.node,
            kwok_nodes: arguments.kwok_nodes,
            fsync: arguments.fsync,
            audit_log: arguments.audit_log,
            api_server_arguments: arguments.api_server_arguments,
            controller_manager_arguments: arguments.controller_manager_arguments,
            directory: arguments.dir,
        }
    }
}

fn main() -> ExitCode {
    match act(CommandLine::parse().action) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rota-cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

fn act(action: Action) -> Result<ExitCode> {
    match action {
        Action::Build { fallback, kueue, health } => {
            let kinds: &[NodeKind] = if fallback { &[NodeKind::Kwok] } else { &[NodeKind::Kwok, NodeKind::Real] };
            println!("{}", rota_cluster::build_programs(kinds)?.display());
            if kueue {
                println!("{}", rota_cluster::build_kueue()?.program.display());
            }
            if health {
                println!("{}", rota_cluster::build_health()?.display());
            }
        }
        Action::Up(arguments) => return run::up(arguments.into()),
        Action::Run { cluster, command } => return run::run(cluster.into(), &command),
        Action::Image { tag, binary, entrypoint, cluster } => {
            rota_cluster::import_image(&cluster, &Image::of_program(&tag, &binary, &entrypoint)?)?;
        }
        Action::Sweep => {
            for id in rota_cluster::cleanup::sweep() {
                println!("removed what the dead cluster {id} had left");
            }
        }
        Action::Guard => rota_cluster::guard::main()?,
        Action::Init { directory } => return rota_cluster::namespaces::init(&directory),
        Action::Supervise { directory } => return Ok(rota_cluster::supervisor::main(&directory)),
    }
    Ok(ExitCode::SUCCESS)
}
