//! Rota beside the in-tree CronJob controller, on one control plane, in one run, from the API server's audit log.
//!
//! Measured is from the instant at which schedules are due until the API server has accepted their batch Jobs, for one
//! schedule and for many due at once, and what each system writes for a completed run. There are no nodes: the Jobs
//! carry `spec.managedBy`, so that the Job controller leaves them alone and the benchmark completes them itself, the
//! same way for both systems. Nothing is asserted about time: the table states ratios and how they stand to the goals
//! of the design.
//!
//! The rest is about Jobs that wait: how fast they are launched once nothing holds them, how long a place stays empty, and
//! what a tenant notices of another's flood.
//!
//! `make bench` runs it. `ROTA_BENCH_DUE=300,1000` chooses how many schedules are due at once (`0`: none),
//! `ROTA_BENCH_DRAINS=1000x1,10000x1,10000x100` how many Jobs wait in how many namespaces, `ROTA_BENCH_KUEUE=1000` how many wait for
//! Kueue (`0`: it is not started), `ROTA_BENCH_FLOOD=10000` how many
//! Jobs another tenant has, `ROTA_BENCH_SETTINGS=default,lifted` the client limits of the controller manager,
//! `ROTA_BENCH_BINARY` the operator, `ROTA_BENCH_CLUSTER` the program `rota-cluster`. The result is also written to
//! `target/bench/launches.json`.

// A benchmark that cannot go on ends with the reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod audit;
mod cluster;
#[path = "../../tests/support/completed.rs"]
mod completed;
mod completion;
mod drain;
mod flood;
mod kueue;
mod numbers;
mod operator;
mod phases;
mod report;
mod slots;
mod waiting;
mod workload;

use std::path::{Path, PathBuf};

use phases::Measured;

/// How many schedules are due at one instant, where nothing else is asked for: at default limits 1,000 CronJobs would
/// take the whole time.
fn due_by_default(setting: cluster::Setting) -> Vec<usize> {
    match setting {
        cluster::Setting::Default => vec![300],
        cluster::Setting::Lifted => vec![1000],
    }
}

/// How many Jobs wait and in how many namespaces, where nothing else is asked for.
const DRAINS: [(usize, usize); 3] = [(1_000, 1), (10_000, 1), (10_000, 100)];
/// How many batch Jobs wait for Kueue, where nothing else is asked for.
const KUEUE: usize = 1_000;
/// How many Jobs the large tenant has, where nothing else is asked for.
const FLOOD: usize = 10_000;

/// What is asked for.
pub struct Wanted {
    due: Option<Vec<usize>>,
    /// How many Jobs wait, and in how many namespaces.
    pub drains: Vec<(usize, usize)>,
    /// How many batch Jobs wait for Kueue.
    pub kueue: usize,
    /// How many Jobs another tenant has.
    pub flood: usize,
    settings: Vec<cluster::Setting>,
    /// The operator.
    pub binary: PathBuf,
    cluster_program: PathBuf,
    output: PathBuf,
}

fn main() {
    // `cargo test --benches` runs this too; there is nothing to test.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let wanted = wanted();
    std::fs::create_dir_all(&wanted.output).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let started = rota::runtime::clock::now();
    let mut measured = Vec::new();
    for setting in &wanted.settings {
        measured.push(measure(&runtime, &wanted, *setting));
    }
    let binary_bytes = std::fs::metadata(&wanted.binary).unwrap().len();
    let seconds = (rota::runtime::clock::now().as_millisecond() - started.as_millisecond()) as f64 / 1000.0;
    let report = report::Report { binary_bytes, seconds, measured };
    let path = wanted.output.join("launches.json");
    std::fs::write(&path, serde_json::to_string_pretty(&report).unwrap()).unwrap();
    println!("{}", report::table(&report));
    println!("Written to {}.", path.strip_prefix(root()).unwrap_or(&path).display());
}

/// Everything that is measured with one setting, on a control plane of its own.
fn measure(runtime: &tokio::runtime::Runtime, wanted: &Wanted, setting: cluster::Setting) -> Measured {
    let cluster = cluster::Bench::start(setting, &wanted.cluster_program, &wanted.output);
    let due = wanted.due.clone().unwrap_or_else(|| due_by_default(setting));
    let measured = runtime.block_on(phases::run(&cluster, wanted, &due));
    cluster.stop();
    measured
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `1000x10`: a thousand Jobs, in ten namespaces.
fn drain(word: &str) -> (usize, usize) {
    let (jobs, namespaces) = word.split_once('x').expect("JOBSxNAMESPACES");
    (jobs.parse().expect("a number of Jobs"), namespaces.parse().expect("a number of namespaces"))
}

fn wanted() -> Wanted {
    let list = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.split(',').map(|word| word.trim().to_owned()).collect::<Vec<_>>())
    };
    let numbers = |words: Vec<String>| words.iter().map(|word| word.parse().expect("a list of numbers")).collect();
    let settings = list("ROTA_BENCH_SETTINGS").map_or_else(
        || vec![cluster::Setting::Default, cluster::Setting::Lifted],
        |words| words.iter().map(|word| cluster::Setting::named(word)).collect(),
    );
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    Wanted {
        due: list("ROTA_BENCH_DUE").map(numbers).map(|due: Vec<usize>| due.into_iter().filter(|it| *it > 0).collect()),
        drains: list("ROTA_BENCH_DRAINS")
            .map_or_else(|| DRAINS.to_vec(), |words| words.iter().map(|it| drain(it)).collect()),
        kueue: list("ROTA_BENCH_KUEUE").map(numbers).map_or(KUEUE, |all: Vec<usize>| all.into_iter().sum()),
        flood: list("ROTA_BENCH_FLOOD").map(numbers).map_or(FLOOD, |all: Vec<usize>| all.into_iter().sum()),
        settings,
        binary: path("ROTA_BENCH_BINARY").unwrap_or_else(operator_binary),
        cluster_program: path("ROTA_BENCH_CLUSTER").unwrap_or_else(|| root().join("target/debug/rota-cluster")),
        output: root().join("target/bench"),
    }
}

/// The static binary that goes into the image, where it was built; else the one that was built for this benchmark.
fn operator_binary() -> PathBuf {
    let folder = format!("target/{}-unknown-linux-gnu/release/rota", std::env::consts::ARCH);
    let of_the_image = root().join(folder);
    if of_the_image.is_file() { of_the_image } else { env!("CARGO_BIN_EXE_rota").into() }
}
