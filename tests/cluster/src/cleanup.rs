//! Removing what a cluster leaves on the machine once its processes are gone: control groups and files. Its mounts,
//! network interfaces and rules go with its namespaces.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::state::{Plan, Registration};

/// How long removal is tried again while the kernel still lets go of the last processes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The folder in which the kernel's control groups are mounted.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// Removes the control groups and files of a cluster whose processes have been killed.
///
/// # Errors
/// When something still stands after 20 s: what, and why.
pub fn remove(plan: &Plan) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for group in control_groups(&plan.control_group()) {
        retry(deadline, &group, || remove_group(&group))?;
    }
    if plan.directory.join("plan.json").exists() {
        retry(deadline, &plan.directory, || fs::remove_dir_all(&plan.directory))?;
    }
    Ok(())
}

/// Removes what dead clusters left behind, and returns their names.
pub fn sweep() -> Vec<String> {
    let mut swept = Vec::new();
    for dead in Registration::dead() {
        match remove(&dead.plan) {
            Ok(()) => {
                swept.push(dead.plan.id.clone());
                dead.remove();
            }
            Err(error) => eprintln!("rota-cluster: the dead cluster {} could not be swept: {error}", dead.plan.id),
        }
    }
    swept
}

/// The mount points of the kernel's control-group hierarchies, one per hierarchy with version 1.
pub fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = |kind: &str| {
        mounts
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(' ').skip(1);
                let point = fields.next()?;
                (fields.next()? == kind && point.starts_with(CONTROL_GROUPS)).then(|| PathBuf::from(point))
            })
            .collect::<Vec<_>>()
    };
    let first = points("cgroup");
    if first.is_empty() { points("cgroup2") } else { first }
}

/// The existing folders of the control group with this name, in every hierarchy.
pub fn control_groups(name: &str) -> Vec<PathBuf> {
    let root = Path::new(CONTROL_GROUPS);
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    hierarchies.chain([root.to_owned()]).map(|folder| folder.join(name)).filter(|group| group.is_dir()).collect()
}

/// Removes a control group and those below it.
fn remove_group(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_group(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Tries until the path is gone or the deadline has passed.
fn retry(deadline: Instant, path: &Path, mut remove: impl FnMut() -> std::io::Result<()>) -> Result<()> {
    loop {
        let Err(error) = remove() else { return Ok(()) };
        if !path.exists() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let path = path.display();
            return Err(Error::new(format!(
                "{path} could not be removed: {error}. Find out what still uses it, then run \"rota-cluster sweep\"."
            )));
        }
        sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_is_tried_until_the_path_is_gone() {
        let folder = std::env::temp_dir().join(format!("rota-retry-{}", crate::state::new_id()));
        fs::create_dir(&folder).unwrap();
        let mut tries = 0;
        let removed = retry(Instant::now() + PATIENCE, &folder, || {
            tries += 1;
            if tries < 3 { Err(std::io::Error::other("busy")) } else { fs::remove_dir(&folder) }
        });
        assert_eq!((removed, tries), (Ok(()), 3));
    }

    #[test]
    fn a_passed_deadline_names_the_path() {
        let error = retry(Instant::now(), Path::new("/"), || {
            sleep(Duration::from_millis(1));
            Err(std::io::Error::other("busy"))
        });
        assert!(error.unwrap_err().to_string().starts_with("/ could not be removed: busy"));
    }
}
