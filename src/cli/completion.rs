//! `kubectl rota completion`: what a shell offers after `kubectl rota`. Since Kubernetes 1.26 kubectl asks a program
//! `kubectl_complete-rota` for it, one line a word, and a last line that says what else the shell may offer.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use kube::ResourceExt;
use kube::api::ListParams;

use super::cluster::NamespaceArguments;
use super::objects::{Connection, Kind};
use super::plugin::{Answer, Arguments as Plugin, OK};
use crate::api::{Job, JobGroup, JobTemplate, Queue, Schedule};

/// The first word by which `kubectl_complete-rota` asks. What follows is not parsed: it may be any beginning of a line.
pub const COMPLETE: &str = "__complete";
/// The program that kubectl asks.
const PROGRAM: &str = "#!/bin/sh\nexec kubectl-rota __complete \"$@\"\n";
/// How long the cluster may take to say which objects there are.
const NAMES_TIMEOUT: Duration = Duration::from_secs(2);
/// How many objects of a kind are offered.
const NAMES_MAX: u32 = 200;
/// The last line: the shell offers no files besides.
const NO_FILES: &str = ":4";
/// The same: it offers files, as nothing of ours fits.
const FILES: &str = ":0";

/// Nothing to say.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "kubectl asks the program kubectl_complete-rota in your PATH, in every shell for which its own completion is set up.\n\n\
    Example:\n  kubectl rota completion > ~/.local/bin/kubectl_complete-rota && chmod +x ~/.local/bin/kubectl_complete-rota"
)]
pub struct Arguments {}

/// Answers with the program.
pub fn program() -> Answer {
    Answer { output: PROGRAM.to_owned(), remarks: String::new(), exit_code: OK }
}

/// What fits after those words, the last of which is being typed.
pub async fn offer(words: &[OsString]) -> String {
    let mut all: Vec<OsString> = vec!["kubectl-rota".into()];
    all.extend_from_slice(words);
    let last = all.len().saturating_sub(1);
    let found = clap_complete::engine::complete(&mut Plugin::command(), all, last, None).unwrap_or_default();
    let mut lines = BTreeSet::new();
    // As kubectl does: flags are offered when a dash is typed.
    let is_flag = words.last().is_some_and(|typed| typed.to_string_lossy().starts_with('-'));
    for candidate in found.iter().filter(|it| !it.is_hide_set()) {
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.lines().next().unwrap_or_default();
        let value = candidate.get_value().to_string_lossy();
        if value.starts_with('-') && !is_flag {
            continue;
        }
        lines.insert(if help.is_empty() { value.into_owned() } else { format!("{value}\t{help}") });
    }
    let typed: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let names = tokio::time::timeout(NAMES_TIMEOUT, names(&typed)).await.unwrap_or_default();
    lines.extend(names);
    let before = typed.split_last().map(|(_, before)| before).unwrap_or_default();
    let takes_names = place(before).is_some_and(|(verb, _)| !kinds(&verb).is_empty());
    let rest = if lines.is_empty() && !takes_names { FILES } else { NO_FILES };
    lines.into_iter().chain([rest.to_owned()]).map(|line| line + "\n").collect()
}

/// Which kinds a verb names, and with which words before the name.
fn kinds(verb: &str) -> &'static [(&'static str, Names)] {
    match verb {
        "run" => &[("", Names::Templates), ("schedule/", Names::Schedules)],
        "queue" | "pause" => &[("", Names::Queues)],
        "resume" => &[("", Names::Queues), ("group/", Names::Groups), ("schedule/", Names::Schedules)],
        "next" => &[("", Names::Schedules)],
        "move" | "cancel" => &[("", Names::Jobs), ("group/", Names::Groups)],
        "why" => &[("", Names::Jobs), ("schedule/", Names::Schedules)],
        "tree" => &[("", Names::Jobs), ("group/", Names::Groups), ("schedule/", Names::Schedules)],
        _ => &[],
    }
}

/// The objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Templates,
    Schedules,
    Queues,
    Jobs,
    Groups,
}

/// The names of objects that fit as the first argument of a verb, as the cluster has them.
async fn names(words: &[String]) -> Vec<String> {
    let Some((typed, before)) = words.split_last() else { return Vec::new() };
    let Some((verb, place)) = place(before).filter(|_| !typed.starts_with('-')) else { return Vec::new() };
    let kinds = kinds(&verb);
    if kinds.is_empty() {
        return Vec::new();
    }
    let Ok(connection) = Connection::open(&place, false).await else { return Vec::new() };
    let mut found = Vec::new();
    for (prefix, kind) in kinds {
        let names = match kind {
            Names::Templates => of_kind::<JobTemplate>(&connection).await,
            Names::Schedules => of_kind::<Schedule>(&connection).await,
            Names::Queues => of_kind::<Queue>(&connection).await,
            Names::Jobs => of_kind::<Job>(&connection).await,
            Names::Groups => of_kind::<JobGroup>(&connection).await,
        };
        found.extend(names.into_iter().map(|name| format!("{prefix}{name}")).filter(|name| name.starts_with(typed)));
    }
    found
}

async fn of_kind<K: Kind>(connection: &Connection) -> Vec<String> {
    let listed = connection.api::<K>().list_metadata(&ListParams::default().limit(NAMES_MAX)).await;
    listed.map(|listed| listed.items.iter().map(ResourceExt::name_any).collect()).unwrap_or_default()
}

/// The flags that say where, which may stand anywhere.
#[derive(Debug, Parser)]
#[command(disable_help_flag = true)]
struct Typed {
    #[command(flatten)]
    place: NamespaceArguments,
    words: Vec<String>,
}

/// The verb and the place that are typed already, if what comes next is the first argument of the verb.
fn place(before: &[String]) -> Option<(String, NamespaceArguments)> {
    let line = [&["kubectl-rota".to_owned()], before].concat();
    let typed = Typed::try_parse_from(line).ok()?;
    let [verb] = typed.words.as_slice() else { return None };
    Some((verb.clone(), typed.place))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn offered(line: &str) -> Vec<String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        offer(&words).await.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
    }

    #[tokio::test]
    async fn verbs_flags_and_values_are_offered_and_no_files_besides() {
        let verbs = offered("").await;
        assert!(
            ["run", "why", "queue", "version", ":4"].iter().all(|it| verbs.contains(&(*it).to_owned())),
            "{verbs:?}"
        );
        assert_eq!(offered("res").await, [":4", "resume"].map(str::to_owned).into_iter().rev().collect::<Vec<_>>());
        assert_eq!(offered("resume --latest").await, ["--latest-only", ":4"]);
        assert_eq!(offered("queue -o js").await.last().map(String::as_str), Some(":4"));
    }

    #[test]
    fn names_are_offered_for_the_first_argument_of_a_verb_where_the_flags_say() {
        let typed = |line: &str| place(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let (verb, at) = typed("-n team why --context prod").unwrap();
        assert_eq!(
            (verb.as_str(), at.namespace.as_deref(), at.cluster.context.as_deref()),
            ("why", Some("team"), Some("prod"))
        );
        assert!(typed("why job-1").is_none(), "it has its argument");
        assert!(typed("move --after").is_none(), "it is the value of a flag");
        assert_eq!(kinds("next"), [("", Names::Schedules)]);
    }
}
