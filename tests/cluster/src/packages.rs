//! The Debian packages which a cluster needs, installed where this is possible.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{self, find};
use crate::error::{Error, Explain, Result};
use crate::options::NodeKind;
use crate::state::{cache, create_folder, lock};

/// Where the plugins which connect pods to the network are kept: by Debian, and by most other systems.
const PLUGIN_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// A package with the test for what it brings.
struct Package {
    name: &'static str,
    brings: &'static str,
    present: fn() -> bool,
}

/// What every cluster in namespaces of its own needs.
static NAMESPACES: [Package; 2] = [
    Package {
        name: "util-linux",
        brings: "unshare, nsenter and setpriv",
        present: || ["unshare", "nsenter", "setpriv", "mount"].iter().all(|program| find(program).is_some()),
    },
    Package { name: "iproute2", brings: "ip", present: || find("ip").is_some() },
];

/// What a real node needs besides.
static NODE: [Package; 4] = [
    Package { name: "runc", brings: "runc", present: || find("runc").is_some() },
    Package {
        name: "containernetworking-plugins",
        brings: "the network plugins ptp and host-local",
        present: || plugins().is_some(),
    },
    Package { name: "nftables", brings: "nft", present: || find("nft").is_some() },
    Package { name: "busybox-static", brings: "a busybox without libraries", present: || busybox().is_ok() },
];

/// The folder of the plugins which connect pods to the network.
pub fn plugins() -> Option<PathBuf> {
    PLUGIN_FOLDERS.iter().map(PathBuf::from).find(|folder| folder.join("ptp").exists())
}

/// The path of a busybox which needs no library.
///
/// # Errors
/// When there is none.
pub fn busybox() -> Result<PathBuf> {
    let path = find("busybox").ok_or_else(|| Error::new("There is no busybox: install the package busybox-static."))?;
    if is_static(&path)? {
        return Ok(path);
    }
    Err(Error::new(format!("{} needs libraries: install the package busybox-static.", path.display())))
}

/// Whether a program can run in an image which holds nothing else, so names no loader of shared libraries.
///
/// # Errors
/// When the file cannot be read.
pub fn is_static(program: &Path) -> Result<bool> {
    let bytes = fs::read(program).explain(|| format!("reading {}", program.display()))?;
    Ok(![b"/ld-linux".as_slice(), b"/ld-musl"].iter().any(|loader| {
        let head = &bytes[..bytes.len().min(8192)];
        head.windows(loader.len()).any(|window| window == *loader)
    }))
}

/// Installs the packages which a cluster in namespaces of its own with this kind of node needs and this machine
/// lacks. Prints what it installs to standard error.
///
/// # Errors
/// When a package is missing and cannot be installed: with the names of all that are missing.
pub fn ensure(kind: NodeKind) -> Result<()> {
    if missing(kind).is_empty() {
        return Ok(());
    }
    let cache = cache()?;
    create_folder(&cache)?;
    let _lock = lock(&cache.join("packages.lock"))?;
    let missing = missing(kind);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    if find("apt-get").is_none() || !rustix::process::geteuid().is_root() {
        return Err(lacking(&missing));
    }
    eprintln!("installing Debian packages: {}", names.join(", "));
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
        apt
    };
    command::run(apt().arg("update"))?;
    command::run(apt().args(["install", "--yes", "--no-install-recommends"]).args(&names))?;
    let still = self::missing(kind);
    if still.is_empty() { Ok(()) } else { Err(lacking(&still)) }
}

fn missing(kind: NodeKind) -> Vec<&'static Package> {
    let node: &[Package] = if kind == NodeKind::Real { &NODE } else { &[] };
    NAMESPACES.iter().chain(node).filter(|package| !(package.present)()).collect()
}

fn lacking(missing: &[&Package]) -> Error {
    let list: Vec<_> = missing.iter().map(|package| format!("{} (Debian: {})", package.brings, package.name)).collect();
    Error::new(format!(
        "This machine lacks what a cluster needs: {}. Install it, or set KUBECONFIG to a cluster of your own.",
        list.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_needs_no_libraries_and_the_shell_does() {
        assert!(!is_static(&fs::canonicalize("/bin/sh").unwrap()).unwrap());
        assert!(is_static(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))).unwrap());
    }

    #[test]
    fn an_error_names_what_is_missing_and_its_package() {
        let text = lacking(&[&NODE[0], &NODE[2]]).to_string();
        assert!(text.contains("runc (Debian: runc); nft (Debian: nftables)"), "{text}");
    }
}
