//! Where things are kept: the cache of programs, and the files of one cluster.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Explain, Result};
use crate::options::Options;

/// The cache folder of this project: `$XDG_CACHE_HOME/rota`, else `$HOME/.cache/rota`.
///
/// # Errors
/// When neither variable is set to an absolute path.
pub fn cache() -> Result<PathBuf> {
    let from = |variable: &str, below: &str| {
        std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute()).map(|path| path.join(below))
    };
    from("XDG_CACHE_HOME", "rota")
        .or_else(|| from("HOME", ".cache/rota"))
        .ok_or_else(|| Error::new("There is no place for the programs: set HOME or XDG_CACHE_HOME to a folder."))
}

/// Creates a folder and those above it.
///
/// # Errors
/// When it cannot be created.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).explain(|| format!("creating {}", path.display()))
}

/// Writes a whole file.
///
/// # Errors
/// When it cannot be written.
pub fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    fs::write(path, content).explain(|| format!("writing {}", path.display()))
}

/// Waits until no other process holds this lock, and keeps others out until the file is dropped.
///
/// # Errors
/// When the lock's file cannot be written.
pub fn lock(path: &Path) -> Result<File> {
    let explain = || format!("locking {}", path.display());
    let file = File::create(path).explain(explain)?;
    if file.try_lock().is_err() {
        eprintln!("waiting for another process which has locked {}", path.display());
        file.lock().explain(explain)?;
    }
    Ok(file)
}

/// The first digits of the SHA-256 of these parts, in hexadecimal.
pub fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// A name for a new cluster which no other has: eight random hexadecimal digits.
pub fn new_id() -> String {
    let random = RandomState::new().build_hasher().finish();
    format!("{:08x}", random >> 32)
}

/// The folder in which clusters keep their files by default: `target/clusters` of the checkout in which the current
/// directory lies, or of the current directory itself.
///
/// # Errors
/// When the current directory is gone.
pub fn clusters() -> Result<PathBuf> {
    let current = std::env::current_dir().explain(|| "finding the current directory".to_owned())?;
    let checkout = current.ancestors().find(|folder| folder.join(".git").exists());
    Ok(checkout.unwrap_or(&current).join("target/clusters"))
}

/// How the processes of a cluster are kept apart from the rest of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// Process, mount and network namespaces of its own.
    Namespaces,
    /// Ordinary processes which listen on free ports of 127.0.0.1.
    Loopback,
}

/// Everything which the processes of one cluster must know. Written to the cluster's directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The cluster's name: eight hexadecimal digits.
    pub id: String,
    /// The cluster's directory, absolute.
    pub directory: PathBuf,
    /// Folder of the cached programs.
    pub programs: PathBuf,
    /// How the cluster is kept apart.
    pub isolation: Isolation,
    /// What the caller chose.
    pub options: Options,
}

impl Plan {
    /// Reads the plan of the cluster in this directory.
    ///
    /// # Errors
    /// When there is no cluster, with words for the person who named the directory.
    pub fn read(directory: &Path) -> Result<Self> {
        let text = fs::read(directory.join("plan.json")).map_err(|error| {
            let directory = directory.display();
            Error::new(format!(
                "There is no running cluster in {directory} ({error}): start one with \"up\" or \"run\"."
            ))
        })?;
        serde_json::from_slice(&text).explain(|| format!("reading the plan of the cluster in {}", directory.display()))
    }

    /// Writes the plan to the cluster's directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).explain(|| "writing the cluster's plan".to_owned())?;
        write_file(&self.directory.join("plan.json"), text)
    }

    /// The kubeconfig with which a person or test administers the cluster.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// Folder of the components' logs.
    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    /// Name of the cluster's control group in each hierarchy.
    pub fn control_group(&self) -> String {
        format!("rota-{}", self.id)
    }

    /// A program of the cache.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }
}

/// The entry of a cluster in the list of clusters which may have left something behind.
///
/// The entry's file is locked for as long as the process lives which will clean up. An entry which nobody has locked
/// belongs to a dead cluster.
pub struct Registration {
    file: File,
    path: PathBuf,
    /// The plan of the cluster.
    pub plan: Plan,
}

impl Registration {
    /// Lists a new cluster.
    ///
    /// # Errors
    /// When the entry cannot be written.
    pub fn create(plan: Plan) -> Result<Self> {
        let folder = cache()?.join("clusters");
        create_folder(&folder)?;
        let path = folder.join(format!("{}.json", plan.id));
        let explain = || format!("writing {}", path.display());
        let text = serde_json::to_vec(&plan).explain(explain)?;
        let hidden = folder.join(format!(".{}", plan.id));
        let mut file = File::create(&hidden).explain(explain)?;
        file.try_lock().explain(explain)?;
        file.write_all(&text).explain(explain)?;
        fs::rename(&hidden, &path).explain(explain)?;
        Ok(Self { file, path, plan })
    }

    /// The entries of all dead clusters. From then on they are locked by this process.
    pub fn dead() -> Vec<Self> {
        let Some(entries) = cache().ok().and_then(|cache| fs::read_dir(cache.join("clusters")).ok()) else {
            return Vec::new();
        };
        entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .filter_map(Self::take_over)
            .collect()
    }

    fn take_over(path: PathBuf) -> Option<Self> {
        let file = File::open(&path).ok()?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
        }
        let plan = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        Some(Self { file, path, plan })
    }

    /// Takes the cluster off the list: nothing of it is left.
    pub fn remove(self) {
        // Should this fail, the next sweep does it.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::NodeKind;

    #[test]
    fn a_digest_tells_parts_apart() {
        assert_eq!(digest(&[b"ab", b"c"]).len(), 12);
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    }

    #[test]
    fn two_clusters_have_different_names() {
        assert_ne!(new_id(), new_id());
        assert_eq!(new_id().len(), 8);
    }

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let directory = std::env::temp_dir().join(format!("rota-plan-{}", new_id()));
        create_folder(&directory).unwrap();
        let plan = Plan {
            id: new_id(),
            directory: directory.clone(),
            programs: PathBuf::from("/programs"),
            isolation: Isolation::Loopback,
            options: Options::new(NodeKind::Kwok),
        };
        plan.write().unwrap();
        let read = Plan::read(&directory).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!((read.id, read.options.node), (plan.id, NodeKind::Kwok));
        assert!(Plan::read(&directory).unwrap_err().to_string().contains("no running cluster"));
    }
}
