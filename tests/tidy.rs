//! The conventions of this project, as a test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 640;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder with that ending, with their text, without what is built.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn rust() -> Vec<(String, String)> {
    ["src", "tests", "benches"].iter().flat_map(|folder| files(folder, ".rs")).collect()
}

fn none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

/// Lines that say one of those words, except in this file.
fn saying(files: &[(String, String)], words: &[&str]) -> Vec<String> {
    let lines = files.iter().filter(|(name, _)| name != "tests/tidy.rs").flat_map(|(name, text)| {
        text.lines().enumerate().map(move |(index, line)| (format!("{name}:{}: {line}", index + 1), line))
    });
    lines.filter(|(_, line)| words.iter().any(|word| line.contains(word))).map(|(place, _)| place).collect()
}

/// A decision that waits, asks the cluster or reads a clock cannot be tested at any date, nor crashed between two writes.
#[test]
fn the_domain_is_pure() {
    let impure = [
        "async ",
        ".await",
        "kube::Client",
        "Api<",
        "Timestamp::now",
        "Zoned::now",
        "SystemTime",
        "Instant::now",
        "std::env",
        "std::fs",
        "std::net",
        "tokio::",
        "rand::",
        "TimeZone::system",
        "tracing::",
    ];
    none(saying(&files("src/domain", ".rs"), &impure), "src/domain must not do this");
}

#[test]
fn nothing_is_left_open() {
    let open = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!(", "#[ignore", "allow(dead_code", "allow(unused"];
    none(saying(&rust(), &open), "finish it, or say in the documentation what is missing and why");
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    let everything: Vec<_> = ["src", "tests", "benches", "charts", "examples", "gitops", "scripts", ".ci"]
        .iter()
        .flat_map(|folder| files(folder, ""))
        .collect();
    none(saying(&everything, &["/root/", "/work/main", "/home/"]), "a path of one machine");
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent = files("src", ".rs").into_iter().filter(|(name, _)| !name.ends_with("/tests.rs"));
    let silent = silent.filter(|(_, text)| !text.starts_with("//!")).map(|(name, _)| name);
    none(silent.collect(), "begin the file with //!");
}

#[test]
fn files_and_functions_are_short_enough_to_read() {
    let mut long = Vec::new();
    for (name, text) in files("src", ".rs") {
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            long.push(format!("{name}: {} lines", lines.len()));
        }
        let mut begun: Option<(usize, usize)> = None;
        for (index, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let code = line.trim_start().trim_start_matches("pub(super) ").trim_start_matches("pub(crate) ");
            let code = code.trim_start_matches("pub ").trim_start_matches("async ").trim_start_matches("const ");
            if code.starts_with("fn ") && begun.is_none() {
                begun = (!line.ends_with(['}', ';'])).then_some((index, indent));
            } else if let Some((first, depth)) = begun
                && indent == depth
                && line.trim_start().starts_with('}')
            {
                if index - first + 1 > FUNCTION_LINES_MAX {
                    long.push(format!("{name}:{}: {} lines", first + 1, index - first + 1));
                }
                begun = None;
            }
        }
    }
    none(long, "split it");
}

#[test]
fn the_writer_names_every_effect() {
    let text = fs::read_to_string(root().join("src/apply.rs")).unwrap();
    let matching = text.split("match effect {").nth(1).unwrap().split("Ok(applied)").next().unwrap();
    assert!(!matching.contains("_ =>"), "a new effect must not be skipped silently");
}

#[test]
fn what_is_generated_is_what_is_committed() {
    for (file, text) in rota::cli::crds::texts().unwrap() {
        for folder in ["crds", "charts/rota/files/crds"] {
            let committed = fs::read_to_string(root().join(folder).join(file)).unwrap_or_default();
            assert!(committed == text, "{folder}/{file} is not what `make generate` prints");
        }
    }
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = fs::read_to_string(root().join("charts/rota/Chart.yaml")).unwrap();
    for field in ["version", "appVersion"] {
        let line = chart.lines().find(|line| line.starts_with(&format!("{field}:"))).unwrap();
        assert!(line.contains(env!("CARGO_PKG_VERSION")), "{line}");
    }
}

/// Whoever meets one of these words in an object finds it in the README.
#[test]
fn the_readme_explains_every_reason_and_everything_a_job_waits_for() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for (file, name) in [("src/api/job_run.rs", "pub enum Reason {"), ("src/api/job.rs", "pub enum WaitingFor {")] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let variants = text.split(name).nth(1).unwrap().split("\n}").next().unwrap();
        for variant in variants.lines().map(str::trim).filter(|line| !line.starts_with("///") && !line.is_empty()) {
            let word = variant.trim_end_matches(',');
            assert!(readme.contains(&format!("`{word}`")), "README.md does not explain `{word}`");
        }
    }
}

#[test]
fn the_argo_cd_settings_carry_the_health_checks_as_they_are() {
    let settings = fs::read_to_string(root().join("gitops/argocd/argocd-cm.yaml")).unwrap();
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let settings = squeeze(&settings);
    let checks = files("gitops/argocd", "health.lua");
    assert!(!checks.is_empty());
    for (name, check) in checks {
        assert!(settings.contains(&squeeze(&check)), "gitops/argocd/argocd-cm.yaml does not carry {name}");
    }
}

/// Every file that a page of ours points to is there.
#[test]
fn links_between_documents_lead_somewhere() {
    for page in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                assert!(Path::new(&root()).join(file).exists(), "{page} points to {file}, which is not there");
            }
        }
    }
}
