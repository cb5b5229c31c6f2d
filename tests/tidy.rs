//! The conventions as a test: what the compiler and clippy cannot tell about this repository.
//!
//! Each test lists every offender, so that one run tells all there is to correct.

// The lint's own exception for tests covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The longest function in src, in lines.
const FUNCTION_LINES_MAX: usize = 70;
/// The longest file in src, in lines.
const FILE_LINES_MAX: usize = 600;
/// Directories that hold nothing of ours.
const NOT_OURS: [&str; 2] = ["target", ".git"];

/// Where tests against a cluster may sleep: the file, the function, and why.
const SLEEPERS: [(&str, &str, &str); 9] = [
    ("tests/apiserver/operator.rs", "until", "looks again and again until a deadline"),
    ("tests/e2e/support/mod.rs", "within", "looks again and again until a deadline"),
    ("tests/apiserver/policies.rs", "in_force", "looks again and again until a deadline"),
    ("tests/load/cluster.rs", "within", "looks again and again until a deadline"),
    ("tests/load/cluster.rs", "start", "the time that work takes"),
    ("tests/load/faults.rs", "fault", "a pause past the lease is the fault that is injected"),
    ("tests/e2e/cancel.rs", "cancel_later", "a random moment is the fault that is injected"),
    ("tests/e2e/crash.rs", "kill_often", "a random life is the fault that is injected"),
    ("tests/e2e/crash.rs", "nothing_more_is_written", "that nothing happens for a while is what is observed"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The text files below a directory of the repository, by path from its root, in order. What is not text is left out.
fn files(directory: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect(&root().join(directory), &mut found);
    found
}

fn collect(directory: &Path, found: &mut BTreeMap<String, String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !NOT_OURS.contains(&entry.file_name().to_str().unwrap_or_default()) {
            collect(&path, found);
        }
        if let (true, Ok(text)) = (kind.is_file(), fs::read_to_string(&path)) {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            found.insert(name, text);
        }
    }
}

fn rust(directory: &str) -> BTreeMap<String, String> {
    files(directory).into_iter().filter(|(name, _)| name.ends_with(".rs")).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails with the list of offenders, if there are any.
#[track_caller]
fn none(what: &str, offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{what}:\n  {}", offenders.join("\n  "));
}

/// The lines of a file with what they are by number, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    lines.map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
}

/// Where the code of these files contains one of these texts.
fn containing(files: &BTreeMap<String, String>, texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in files {
        for (number, line) in code(text) {
            found.extend(texts.iter().filter(|it| line.contains(**it)).map(|it| format!("{name}:{number}: {it}")));
        }
    }
    found
}

/// One function of a file, by its first and last line.
struct Function {
    name: String,
    first: usize,
    last: usize,
}

/// The functions of a formatted file: each ends with a brace that stands as far to the right as its beginning.
fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", " ".repeat(indent));
        let one_line = line.ends_with(['}', ';']);
        let length = if one_line { None } else { lines.iter().skip(index).position(|line| *line == end) };
        let length = length.unwrap_or_default();
        found.push(Function { name, first: index + 1, last: index + 1 + length });
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let mut words = line.trim_start().split(' ').peekable();
    while words.next_if(|word| word.starts_with("pub") || matches!(*word, "async" | "const" | "unsafe")).is_some() {}
    words.next_if_eq(&"fn")?;
    let rest = words.next()?;
    Some(rest.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect())
}

#[test]
fn the_domain_is_pure() {
    let domain = rust("src/domain");
    let impure = [
        "async ",
        ".await",
        "tokio",
        "kube::Client",
        "Client::",
        "Api<",
        "kube::Api",
        "kube::runtime",
        "Timestamp::now",
        "Zoned::now",
        "SystemTime",
        "Instant::now",
        "std::env",
        "env::var",
        "std::fs",
        "std::io",
        "std::net",
        "File::",
        "std::thread",
        "std::process",
        "rand::",
        "getrandom",
        "crate::runtime",
        "crate::apply",
        "crate::controllers",
        "crate::dispatcher",
        "println!",
        "tracing::",
    ];
    none("src/domain decides from its arguments only", containing(&domain, &impure));
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    let mut all = rust("src");
    all.extend(rust("tests"));
    all.extend(rust("benches"));
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["to", "do!("], ["unimpl", "emented!("], ["#[ign", "ore"]];
    let marks = marks.map(|halves| halves.concat());
    let mut offenders = Vec::new();
    for (name, text) in &all {
        for (index, line) in text.lines().enumerate() {
            let found = marks.iter().filter(|mark| line.contains(mark.as_str()));
            offenders.extend(found.map(|mark| format!("{name}:{}: {mark}", index + 1)));
        }
    }
    none("unfinished", offenders);
}

#[test]
fn tests_against_a_cluster_wait_for_conditions_and_do_not_sleep() {
    let mut all = rust("tests/e2e");
    all.extend(rust("tests/apiserver"));
    all.extend(rust("tests/load"));
    let mut offenders = Vec::new();
    for (name, text) in &all {
        let functions = functions(text);
        for (number, line) in code(text).filter(|(_, line)| line.contains("sleep(")) {
            let within = functions.iter().rev().find(|it| it.first <= number && number <= it.last);
            let within = within.map(|it| it.name.as_str()).unwrap_or_default();
            if !SLEEPERS.iter().any(|(file, function, _)| file == name && *function == within) {
                offenders.push(format!("{name}:{number}: in {within}: {}", line.trim()));
            }
        }
    }
    none("sleeping in tests; wait for a condition with a deadline", offenders);
}

#[test]
fn functions_and_files_are_short() {
    let mut offenders = Vec::new();
    for (name, text) in rust("src") {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            offenders.push(format!("{name}: {lines} lines"));
        }
        let long = functions(&text).into_iter().map(|it| (it.last + 1 - it.first, it));
        let long = long.filter(|(lines, _)| *lines > FUNCTION_LINES_MAX);
        offenders.extend(long.map(|(lines, it)| format!("{name}:{}: {} has {lines} lines", it.first, it.name)));
    }
    none(&format!("functions have at most {FUNCTION_LINES_MAX} lines, files {FILE_LINES_MAX}"), offenders);
}

#[test]
fn function_lengths_are_measured_right() {
    let text = "pub(crate) async fn first(\n    one: u32,\n) -> u32 {\n    one\n}\n\nimpl X {\n    fn second(&self) {\n        if a {\n        }\n    }\n    fn third() {}\n}\n";
    let found: Vec<(String, usize, usize)> =
        functions(text).into_iter().map(|it| (it.name, it.first, it.last)).collect();
    assert_eq!(found, [("first".into(), 1, 5), ("second".into(), 8, 11), ("third".into(), 12, 12)]);
}

#[test]
fn every_source_file_begins_by_saying_what_it_is() {
    let silent = rust("src").into_iter().filter(|(_, text)| !text.starts_with("//! "));
    none("files that do not begin with //!", silent.map(|(name, _)| name).collect());
}

#[test]
fn the_definitions_are_generated_from_the_kinds() {
    let mut expected = BTreeMap::new();
    for (file, text) in rota::cli::crds::texts().unwrap() {
        expected.insert(format!("crds/{file}"), text);
    }
    let found = files("crds");
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "run `make generate`");
    let stale = expected.iter().filter(|(file, text)| found[*file] != **text).map(|(file, _)| file.clone());
    none("definitions that differ from src/api; run `make generate`", stale.collect());
}

#[test]
fn the_chart_carries_the_same_definitions() {
    let strip = |files: BTreeMap<String, String>, prefix: &str| -> BTreeMap<String, String> {
        files.into_iter().map(|(name, text)| (name.trim_start_matches(prefix).to_owned(), text)).collect()
    };
    let chart = strip(files("charts/rota/files/crds"), "charts/rota/files/crds/");
    let definitions = strip(files("crds"), "crds/");
    assert_eq!(chart.keys().collect::<Vec<_>>(), definitions.keys().collect::<Vec<_>>(), "run `make generate`");
    let stale = definitions.iter().filter(|(file, text)| chart[*file] != **text).map(|(file, _)| file.clone());
    none("definitions of the chart that differ from crds; run `make generate`", stale.collect());
}

#[test]
fn texts_carry_no_machine_paths_carriage_returns_or_trailing_blanks() {
    let homes = [["/wor", "k/"], ["/roo", "t/"], ["/home", "/"]].map(|halves| halves.concat());
    let mut offenders = Vec::new();
    for (name, text) in files("") {
        if text.contains('\r') {
            offenders.push(format!("{name}: carriage return"));
        }
        for (index, line) in text.lines().enumerate() {
            let place = format!("{name}:{}", index + 1);
            offenders.extend(
                homes.iter().filter(|home| line.contains(home.as_str())).map(|home| format!("{place}: {home}")),
            );
            if line.ends_with([' ', '\t']) {
                offenders.push(format!("{place}: trailing blank"));
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            offenders.push(format!("{name}: no newline at the end"));
        }
    }
    none("texts", offenders);
}

#[test]
fn the_chart_and_the_program_have_the_same_version() {
    let chart = read("charts/rota/Chart.yaml");
    let value = |field: &str| {
        let line = chart.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_else(|| panic!("no {field}"));
        line.trim().trim_matches('"').to_owned()
    };
    assert_eq!(value("version:"), env!("CARGO_PKG_VERSION"));
    assert_eq!(value("appVersion:"), env!("CARGO_PKG_VERSION"));
}

/// The words of an enumeration of the API, from the function that spells them.
fn words(path: &str, type_: &str) -> Vec<String> {
    let text = read(path);
    let block = text.split(&format!("impl {type_} {{")).nth(1).unwrap_or_else(|| panic!("{path}: no {type_}"));
    let block = block.split("\n}\n").next().unwrap_or_default();
    let words = block.lines().filter_map(|line| line.split("=> \"").nth(1)?.split('"').next());
    words.map(str::to_owned).collect()
}

#[test]
fn every_reason_and_everything_that_is_waited_for_is_explained_in_the_readme() {
    let readme = read("README.md");
    let mut all = words("src/api/job_run.rs", "Reason");
    let reasons = all.len();
    all.extend(words("src/api/job.rs", "WaitingFor"));
    assert!(reasons > 10 && all.len() > reasons + 5, "the words are found");
    let missing = all.into_iter().filter(|word| !readme.contains(&format!("`{word}`")));
    none("words that README.md does not explain", missing.collect());
}

#[test]
fn the_changelog_tells_what_is_new() {
    let changelog = read("CHANGELOG.md");
    let version = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(changelog.contains("## [Unreleased]") || changelog.contains(&version));
}

#[test]
fn whoever_applies_effects_names_each_of_them() {
    let text = read("src/apply.rs");
    let begins = text.lines().position(|line| line.contains("match effect {")).expect("a match on the effect");
    let indent = text.lines().nth(begins).map(|line| line.len() - line.trim_start().len()).unwrap_or_default();
    let end = format!("{}}}", " ".repeat(indent));
    let arms: Vec<&str> = text.lines().skip(begins + 1).take_while(|line| *line != end).collect();
    let plan = read("src/domain/plan.rs");
    let variants =
        plan.split("pub enum Effect {").nth(1).and_then(|rest| rest.split("\n}\n").next()).unwrap_or_default();
    let variants = variants.lines().filter(|line| line.starts_with("    ") && line.as_bytes()[4].is_ascii_uppercase());
    let names = variants.map(|line| line.trim().split(['(', ' ', ',']).next().unwrap_or_default());
    let unnamed = names.filter(|name| !arms.iter().any(|arm| arm.contains(&format!("Effect::{name}"))));
    none("effects without an arm of their own in src/apply.rs", unnamed.map(str::to_owned).collect());
    let loose = arms.iter().filter(|arm| arm.trim_start().starts_with("_ =>") || arm.contains(".. }"));
    none("arms that would swallow a new effect or field", loose.map(|arm| arm.trim().to_owned()).collect());
}
