//! Building Kubernetes and its companions from Go modules, once per version, into the user's cache.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::command;
use crate::error::{Error, Explain, Result};
use crate::options::NodeKind;
use crate::state::{cache, create_folder, digest, lock, write_file};

/// One Go module with the programs which it names as tools.
struct Module {
    name: &'static str,
    /// Name and content of each file.
    files: &'static [(&'static str, &'static str)],
    /// What the linker is told besides leaving out debugging information: version numbers.
    linker: &'static str,
}

/// One program to be built.
struct Program {
    name: &'static str,
    module: &'static Module,
    package: &'static str,
    /// The kind of node for which it is needed, or none when every cluster needs it.
    only: Option<NodeKind>,
}

macro_rules! module {
    ($name:literal, $linker:literal, [$($file:literal),+]) => {
        Module {
            name: $name,
            linker: $linker,
            files: &[$(($file, include_str!(concat!("../programs/", $name, "/", $file)))),+],
        }
    };
}

static KUBERNETES: Module =
    module!("kubernetes", "-X k8s.io/component-base/version.gitVersion=v1.36.3", ["go.mod", "go.sum"]);
static ETCD: Module = module!("etcd", "", ["go.mod", "go.sum"]);
static CONTAINERD: Module =
    module!("containerd", "-X github.com/containerd/containerd/v2/version.Version=v2.4.2", ["go.mod", "go.sum"]);
static HELM: Module = module!("helm", "-X helm.sh/helm/v4/internal/version.version=v4.3.1", ["go.mod", "go.sum"]);
static KWOK: Module = module!("kwok", "-X sigs.k8s.io/kwok/pkg/consts.Version=v0.8.0", ["go.mod", "go.sum"]);
static PAUSE: Module = module!("pause", "", ["go.mod", "main.go"]);

const fn program(name: &'static str, module: &'static Module, package: &'static str) -> Program {
    Program { name, module, package, only: None }
}

const fn node_program(kind: NodeKind, name: &'static str, module: &'static Module, package: &'static str) -> Program {
    Program { name, module, package, only: Some(kind) }
}

/// Every program, in the order in which they are built: a control plane first.
static PROGRAMS: [Program; 13] = [
    program("kube-apiserver", &KUBERNETES, "k8s.io/kubernetes/cmd/kube-apiserver"),
    program("kube-controller-manager", &KUBERNETES, "k8s.io/kubernetes/cmd/kube-controller-manager"),
    program("kube-scheduler", &KUBERNETES, "k8s.io/kubernetes/cmd/kube-scheduler"),
    program("kubectl", &KUBERNETES, "k8s.io/kubernetes/cmd/kubectl"),
    program("etcd", &ETCD, "go.etcd.io/etcd/server/v3"),
    program("helm", &HELM, "helm.sh/helm/v4/cmd/helm"),
    node_program(NodeKind::Kwok, "kwok", &KWOK, "sigs.k8s.io/kwok/cmd/kwok"),
    node_program(NodeKind::Real, "kubelet", &KUBERNETES, "k8s.io/kubernetes/cmd/kubelet"),
    node_program(NodeKind::Real, "kube-proxy", &KUBERNETES, "k8s.io/kubernetes/cmd/kube-proxy"),
    node_program(NodeKind::Real, "containerd", &CONTAINERD, "github.com/containerd/containerd/v2/cmd/containerd"),
    node_program(NodeKind::Real, "ctr", &CONTAINERD, "github.com/containerd/containerd/v2/cmd/ctr"),
    node_program(
        NodeKind::Real,
        "containerd-shim-runc-v2",
        &CONTAINERD,
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
    ),
    node_program(NodeKind::Real, "pause", &PAUSE, "."),
];

/// What is built only where it is asked for. It has a folder of its own in the cache, so that the version of everything else
/// does not change with it.
static KUEUE: Module = module!("kueue", "-X sigs.k8s.io/kueue/pkg/version.GitVersion=v0.18.3", ["go.mod", "go.sum"]);
static KUEUE_PROGRAMS: [Program; 1] = [program("kueue", &KUEUE, "sigs.k8s.io/kueue/cmd/kueue")];

/// What says how others see the health of objects; in a folder of its own for the same reason.
static HEALTH: Module = module!("health", "", ["go.mod", "go.sum", "main.go", "argocd.go", "flux.go"]);
static HEALTH_PROGRAMS: [Program; 1] = [program("health", &HEALTH, ".")];

/// Where Kueue's module keeps the definitions of its kinds.
const KUEUE_DEFINITIONS: &str = "config/components/crd/bases";

/// The arguments of each build. No C compiler is needed, and the same sources make the same bytes.
const BUILD: [&str; 3] = ["build", "-trimpath", "-buildvcs=false"];

/// Builds those programs which clusters with these kinds of nodes need and the cache lacks, and returns the folder
/// with the programs. Progress goes to standard error, a line per program.
///
/// # Errors
/// When there is no Go, or a build fails: with what Go printed.
pub fn ensure(kinds: &[NodeKind]) -> Result<PathBuf> {
    let root = cache()?.join(format!("programs-{}", version(&PROGRAMS)));
    let needed = PROGRAMS.iter().filter(|program| program.only.is_none_or(|kind| kinds.contains(&kind)));
    build_missing(&root, &needed.collect::<Vec<_>>())?;
    Ok(root.join("bin"))
}

/// Kueue, as it lies in the cache.
pub struct Kueue {
    /// The program.
    pub program: PathBuf,
    /// The definitions of its kinds, in one YAML file.
    pub definitions: PathBuf,
}

/// Builds Kueue if the cache lacks it: about five minutes on two cores.
///
/// # Errors
/// As for [`ensure`].
pub fn ensure_kueue() -> Result<Kueue> {
    let root = cache()?.join(format!("kueue-{}", version(&KUEUE_PROGRAMS)));
    let kueue = Kueue { program: root.join("bin/kueue"), definitions: root.join("definitions.yaml") };
    build_missing(&root, &KUEUE_PROGRAMS.iter().collect::<Vec<_>>())?;
    if !kueue.definitions.exists() {
        let _lock = lock(&root.join("lock"))?;
        copy_definitions(&root, &kueue.definitions)?;
    }
    Ok(kueue)
}

/// Builds the program that says what kstatus, Argo CD and Flux think of objects if the cache lacks it, about two minutes on two
/// cores, and returns its path.
///
/// # Errors
/// As for [`ensure`].
pub fn ensure_health() -> Result<PathBuf> {
    let root = cache()?.join(format!("health-{}", version(&HEALTH_PROGRAMS)));
    build_missing(&root, &HEALTH_PROGRAMS.iter().collect::<Vec<_>>())?;
    Ok(root.join("bin/health"))
}

/// Takes the definitions from the sources of the version that was built.
fn copy_definitions(root: &Path, into: &Path) -> Result<()> {
    let mut go = Command::new("go");
    go.args(["list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kueue"]);
    go.current_dir(root.join("source").join(KUEUE.name)).env("GOWORK", "off").env_remove("GOFLAGS");
    let folder = PathBuf::from(command::output(&mut go)?.trim()).join(KUEUE_DEFINITIONS);
    let explain = || format!("reading {}", folder.display());
    let mut text = String::new();
    for entry in fs::read_dir(&folder).explain(explain)? {
        text.push_str("---\n");
        text.push_str(&fs::read_to_string(entry.explain(explain)?.path()).explain(explain)?);
    }
    let hidden = into.with_extension("hidden");
    write_file(&hidden, text)?;
    fs::rename(&hidden, into).explain(|| format!("moving {} into place", into.display()))
}

/// Builds those of the programs which the folder lacks.
fn build_missing(root: &Path, programs: &[&Program]) -> Result<()> {
    let bin = root.join("bin");
    let missing = |program: &&&Program| !bin.join(program.name).exists();
    if !programs.iter().any(|program| missing(&program)) {
        return Ok(());
    }
    create_folder(&bin)?;
    let _lock = lock(&root.join("lock"))?;
    let to_build: Vec<_> = programs.iter().filter(missing).collect();
    if !to_build.is_empty() {
        check_go()?;
        let count = to_build.len();
        let programs = if count == 1 { "program" } else { "programs" };
        eprintln!("building {count} {programs} into {}, once: this takes minutes", root.display());
    }
    for (index, program) in to_build.iter().enumerate() {
        eprint!("building {} ({} of {}) … ", program.name, index + 1, to_build.len());
        let start = Instant::now();
        build(program, root).inspect_err(|_| eprintln!("failed"))?;
        eprintln!("{} s", start.elapsed().as_secs());
    }
    Ok(())
}

/// A digest of everything which decides what these programs are once they are built.
fn version(programs: &[Program]) -> String {
    let mut parts: Vec<&[u8]> = vec![std::env::consts::OS.as_bytes(), std::env::consts::ARCH.as_bytes()];
    parts.extend(BUILD.iter().map(|argument| argument.as_bytes()));
    for program in programs {
        parts.extend([program.name, program.package, program.module.linker].map(str::as_bytes));
        parts.extend(program.module.files.iter().flat_map(|(name, content)| [name.as_bytes(), content.as_bytes()]));
    }
    digest(&parts)
}

fn check_go() -> Result<()> {
    command::output(Command::new("go").arg("version")).map(|_| ()).map_err(|error| {
        Error::new(format!(
            "Kubernetes is built from source, which needs Go 1.26.6 or newer in PATH ({error}). Install Go, or set \
             KUBECONFIG to a cluster of your own."
        ))
    })
}

fn build(program: &Program, root: &Path) -> Result<()> {
    let source = root.join("source").join(program.module.name);
    create_folder(&source)?;
    for (name, content) in program.module.files {
        write_file(&source.join(name), content)?;
    }
    let (hidden, finished) = (root.join("bin").join(format!(".{}", program.name)), root.join("bin").join(program.name));
    let mut go = Command::new("go");
    go.args(BUILD).arg("-ldflags").arg(format!("-s -w {}", program.module.linker));
    go.arg("-o").arg(&hidden).arg(program.package);
    go.current_dir(&source).env("CGO_ENABLED", "0").env("GOWORK", "off").env_remove("GOFLAGS");
    command::run(&mut go)?;
    fs::rename(&hidden, &finished).explain(|| format!("moving {} into place", finished.display()))?;
    // A user who pipes standard error elsewhere still sees each program as it is finished.
    let _ = std::io::stderr().flush();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_stable_within_a_build() {
        assert_eq!(version(&PROGRAMS), version(&PROGRAMS));
    }

    #[test]
    fn every_module_pins_its_programs() {
        let programs = PROGRAMS.iter().chain(&KUEUE_PROGRAMS);
        // Those of our own have a module each.
        for program in programs.filter(|program| program.package != ".") {
            let (_, module) = program.module.files[0];
            assert!(module.contains(program.package), "{} is no tool of {}", program.name, program.module.name);
        }
    }
}
