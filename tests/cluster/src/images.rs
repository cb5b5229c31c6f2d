//! Container images made from files, without a registry or a container engine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::archive::{self, Entry};
use crate::command;
use crate::error::{Error, Explain, Result};
use crate::node;
use crate::options::NodeKind;
use crate::packages;
use crate::state::{Plan, create_folder, write_file};

/// The image which holds a pod's namespaces open.
pub const PAUSE: &str = "docker.io/rota/pause:1";

/// The image with a shell and the usual small programs, for pods of tests.
pub const BUSYBOX: &str = "docker.io/library/busybox:1.36";

/// The user as which images with a single program run: nobody in particular, but not root.
const USER: &str = "65532:65532";

/// An image to be made.
#[derive(Clone, Debug)]
pub struct Image {
    /// Full name with a tag, such as `docker.io/library/rota:dev`.
    pub tag: String,
    /// What the image's only layer holds.
    pub entries: Vec<Entry>,
    /// The program which is run, with its first arguments. May be empty.
    pub entrypoint: Vec<String>,
    /// What is run, or passed to the entrypoint, when a pod says nothing else.
    pub command: Vec<String>,
    /// Numeric user and group, or empty for root.
    pub user: String,
}

impl Image {
    /// An image which holds nothing but one program and runs it as a user other than root.
    ///
    /// `entrypoint` is the program's path in the image.
    ///
    /// # Errors
    /// When the program cannot be read or needs shared libraries, which the image would lack.
    pub fn of_program(tag: &str, program: &Path, entrypoint: &str) -> Result<Self> {
        if !packages::is_static(program)? {
            return Err(Error::new(format!(
                "{} needs shared libraries, which the image would lack: build it as a static program, for instance \
                 with the target x86_64-unknown-linux-musl.",
                program.display()
            )));
        }
        let bytes = fs::read(program).explain(|| format!("reading {}", program.display()))?;
        let path = entrypoint.trim_start_matches('/');
        let mut entries: Vec<_> =
            path.match_indices('/').map(|(slash, _)| Entry::directory(&path[..=slash], 0o755)).collect();
        entries.push(Entry::directory("tmp/", 0o1777));
        entries.push(Entry::file(path, 0o755, bytes));
        Ok(Self {
            tag: tag.to_owned(),
            entries,
            entrypoint: vec![format!("/{path}")],
            command: Vec::new(),
            user: USER.to_owned(),
        })
    }

    /// Debian's busybox with a link for each of its programs.
    ///
    /// # Errors
    /// When the package busybox-static is not installed.
    pub fn busybox() -> Result<Self> {
        let program = packages::busybox()?;
        let bytes = fs::read(&program).explain(|| format!("reading {}", program.display()))?;
        let programs = command::output(Command::new(&program).arg("--list"))?;
        let mut entries: Vec<_> =
            ["bin/", "etc/", "home/", "root/", "usr/", "var/"].map(|path| Entry::directory(path, 0o755)).into();
        entries.push(Entry::directory("tmp/", 0o1777));
        entries.push(Entry::file("bin/busybox", 0o755, bytes));
        for name in programs.lines().filter(|name| *name != "busybox" && !name.is_empty()) {
            entries.push(Entry::link(&format!("bin/{name}"), "busybox"));
        }
        let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n";
        entries.push(Entry::file("etc/passwd", 0o644, users));
        entries.push(Entry::file("etc/group", 0o644, "root:x:0:\nnogroup:x:65534:\n"));
        Ok(Self {
            tag: BUSYBOX.to_owned(),
            entries,
            entrypoint: Vec::new(),
            command: vec!["sh".to_owned()],
            user: String::new(),
        })
    }

    /// The image as an archive in the form of `docker save`.
    ///
    /// # Errors
    /// When an entry's path is too long for an archive.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let explain = || format!("making the image {}", self.tag);
        let mut layer = Vec::new();
        archive::write(&self.entries, &mut layer).explain(explain)?;
        let layer_digest = hexadecimal(&layer);
        let config = self.config(&layer_digest).to_string().into_bytes();
        let (config_name, layer_name) = (format!("{}.json", hexadecimal(&config)), format!("{layer_digest}/layer.tar"));
        let manifest = json!([{ "Config": config_name, "RepoTags": [self.tag], "Layers": [layer_name] }]);
        let members = [
            Entry::file("manifest.json", 0o644, manifest.to_string()),
            Entry::file(&config_name, 0o644, config),
            Entry::directory(&format!("{layer_digest}/"), 0o755),
            Entry::file(&layer_name, 0o644, layer),
        ];
        let mut output = Vec::new();
        archive::write(&members, &mut output).explain(explain)?;
        Ok(output)
    }

    fn config(&self, layer: &str) -> serde_json::Value {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let mut config = BTreeMap::from([("Env", json!([path]))]);
        if !self.entrypoint.is_empty() {
            config.insert("Entrypoint", json!(self.entrypoint));
        }
        if !self.command.is_empty() {
            config.insert("Cmd", json!(self.command));
        }
        if !self.user.is_empty() {
            config.insert("User", json!(self.user));
        }
        json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": config,
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
            "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "rota-cluster" }],
        })
    }
}

/// Imports an image into the real node of the cluster in this directory.
///
/// # Errors
/// When no cluster runs there, its node is not real, or containerd refuses the image.
pub fn import(directory: &Path, image: &Image) -> Result<()> {
    let plan = Plan::read(directory)?;
    if plan.options.node != NodeKind::Real {
        return Err(Error::new(format!(
            "The cluster in {} runs no containers, so it has no use for an image: start it with \"--node real\".",
            directory.display()
        )));
    }
    let file = write(&plan, image)?;
    let mut command = node::enter(&plan)?;
    command.arg(plan.program("ctr")).args(import_arguments(&file));
    command::run(&mut command)?;
    fs::remove_file(&file).explain(|| format!("removing {}", file.display()))
}

/// Imports images from inside the cluster's namespaces, while it starts.
///
/// # Errors
/// When containerd refuses an image.
pub(crate) fn import_inside(plan: &Plan, images: &[Image]) -> Result<()> {
    for image in images {
        let file = write(plan, image)?;
        command::run(Command::new(plan.program("ctr")).args(import_arguments(&file)))?;
        fs::remove_file(&file).explain(|| format!("removing {}", file.display()))?;
    }
    Ok(())
}

fn import_arguments(file: &Path) -> Vec<String> {
    let words = ["--address", node::SOCKET, "--namespace", "k8s.io", "images", "import", "--local"];
    words.map(str::to_owned).into_iter().chain([file.to_string_lossy().into_owned()]).collect()
}

/// Writes the image's archive to the cluster's directory, under a name of its own.
fn write(plan: &Plan, image: &Image) -> Result<PathBuf> {
    let folder = plan.directory.join("images");
    create_folder(&folder)?;
    let file = folder.join(format!("{}.tar", crate::state::new_id()));
    write_file(&file, image.archive()?)?;
    Ok(file)
}

/// This machine's architecture in the words of images.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        Image {
            tag: "docker.io/library/test:1".to_owned(),
            entries: vec![Entry::file("run", 0o755, *b"program")],
            entrypoint: vec!["/run".to_owned()],
            command: Vec::new(),
            user: USER.to_owned(),
        }
    }

    #[test]
    fn an_archive_starts_with_a_manifest_which_names_its_other_members() {
        let archive = image().archive().unwrap();
        assert_eq!(&archive[..13], b"manifest.json");
        let text = std::str::from_utf8(&archive[512..1024]).unwrap().trim_end_matches('\0');
        let manifest: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "docker.io/library/test:1");
        let config = manifest[0]["Config"].as_str().unwrap();
        let layer = manifest[0]["Layers"][0].as_str().unwrap();
        assert_eq!(&archive[1024..1024 + config.len()], config.as_bytes());
        assert!(archive.windows(layer.len()).any(|window| window == layer.as_bytes()));
    }

    #[test]
    fn the_configuration_names_the_layer_the_user_and_the_program() {
        let config = image().config("abc");
        assert_eq!(config["rootfs"]["diff_ids"][0], "sha256:abc");
        assert_eq!(config["config"]["User"], USER);
        assert_eq!(config["config"]["Entrypoint"][0], "/run");
        assert!(config["config"].get("Cmd").is_none());
    }

    #[test]
    fn the_same_files_make_the_same_image() {
        assert_eq!(image().archive().unwrap(), image().archive().unwrap());
    }

    #[test]
    fn a_program_with_libraries_is_refused() {
        let shell = fs::canonicalize("/bin/sh").unwrap();
        assert!(Image::of_program("a:1", &shell, "/sh").unwrap_err().to_string().contains("shared libraries"));
    }
}
