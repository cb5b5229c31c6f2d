//! The definitions as a user installs them: small enough, stable, and the same in `crds/` as in the program.

use std::path::Path;
use std::process::Command;

use kube::ResourceExt;

use crate::cluster::{client, definitions, kubectl};

/// `kubectl apply` keeps a copy of the whole object in one annotation, which may have 256 KiB with all others.
const COMPACT_BYTES_MAX: usize = 200_000;

#[test]
fn every_definition_is_small_enough_for_kubectl_apply() {
    for (file, definition) in definitions() {
        let bytes = serde_json::to_string(definition).unwrap().len();
        assert!(bytes < COMPACT_BYTES_MAX, "{file} has {bytes} bytes as compact JSON");
    }
}

#[test]
fn the_files_in_crds_are_what_the_program_prints() {
    let printed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crds");
    let status = Command::new(env!("CARGO_BIN_EXE_rota")).args(["crds", "--directory"]).arg(&printed).status().unwrap();
    assert!(status.success(), "rota crds ended with {status}");
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let mut files: Vec<_> = std::fs::read_dir(&committed)
        .expect("crds/ exists; `make generate` writes it")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut expected: Vec<_> = definitions().iter().map(|(file, _)| *file).collect();
    expected.sort_unstable();
    assert_eq!(files, expected, "crds/ has one file for each kind and nothing else");
    for file in files {
        let [committed, printed] =
            [&committed, &printed].map(|folder| std::fs::read_to_string(folder.join(&file)).unwrap());
        assert!(committed == printed, "crds/{file} is not what the program prints: run `make generate`");
    }
}

#[test]
fn the_files_in_crds_hold_the_definitions_exactly() {
    for (file, definition) in definitions() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds").join(file);
        let text = std::fs::read_to_string(path).expect("crds/ exists; `make generate` writes it");
        let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, serde_json::to_value(definition).unwrap(), "{file}");
    }
}

/// Under a group of their own, so that they are new to the API server and no other test is disturbed.
#[tokio::test]
async fn kubectl_applies_each_definition_client_side_without_a_warning_and_then_finds_it_unchanged() {
    client().await;
    for (file, definition) in definitions() {
        let mut definition = definition.clone();
        let group = "apply.rota.test";
        definition.metadata.name = Some(format!("{}.{group}", definition.spec.names.plural));
        definition.spec.group = group.to_owned();
        definition.spec.names.short_names = None;
        definition.spec.names.categories = None;
        let manifest = serde_json::to_string(&definition).unwrap();
        let created = kubectl(&["apply", "-f", "-"], &manifest);
        assert_eq!(created.errors, "", "{file}");
        assert!(created.expect_success().contains("created"), "{file}");
        let unchanged = kubectl(&["apply", "-f", "-"], &manifest).expect_success();
        assert!(unchanged.contains("unchanged"), "{file}: {unchanged}");
        kubectl(&["delete", "crd", &definition.name_any(), "--wait=false"], "").expect_success();
    }
}

#[tokio::test]
async fn kubectl_applies_the_committed_files_over_what_is_installed() {
    client().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let applied = kubectl(
        &["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", &folder.to_string_lossy()],
        "",
    );
    assert_eq!(applied.expect_success().lines().count(), definitions().len());
}
