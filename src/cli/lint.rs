//! `kubectl rota lint`: what is wrong with objects in files, and what applying them would change in the cluster.

pub mod check;
pub mod documents;
pub mod edit;
pub mod references;
pub mod schema;
pub mod warnings;

#[cfg(test)]
mod replaced;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::ValueEnum;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cluster::NamespaceArguments;
use super::plugin::{Answer, FAILED, OK, PluginError};
use crate::api::{API_VERSION, Job, JobGroup, JobRun, JobTemplate, Queue, Schedule};
use check::{Fault, Linter, Source};
use documents::Document;
use edit::Edit;
use references::{Queues, Templates};

/// How many objects are asked for at once.
const REQUESTS_MAX: usize = 16;
/// Where objects are that name no namespace, as long as no cluster says otherwise.
const DEFAULT_NAMESPACE: &str = "default";

/// Which files, and what to say of them.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(
    after_help = "Documents of other API groups are counted and not checked.\n\nExit codes: 0 nothing to find fault with (there may be warnings), 1 \
    findings, 2 wrong arguments or a file that cannot be read, 5 no cluster (--diff).\n\nExamples:\n  kubectl rota lint -f \
    deploy/\n  kustomize build . | kubectl rota lint -f -\n  kubectl rota lint -f schedule.yaml --diff"
)]
pub struct Arguments {
    /// File, directory, or - for standard input: YAML or JSON, with one object or many. Can be given several times.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Look into the directories of directories too.
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Look into the cluster: say what applying the files would change there, and what would be refused. Changes nothing.
    #[arg(long)]
    pub diff: bool,
    /// How to print: text, or json, a list of findings (with --diff an object of findings and changes).
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Which cluster, and the namespace of objects that name none. Default: the context's with --diff, else `default`.
    #[command(flatten)]
    pub place: NamespaceArguments,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// One fault, and of which object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The file, as it was named.
    pub file: String,
    /// The line where the document begins, from 1.
    pub line: usize,
    /// The object's kind; empty if it has none.
    pub kind: String,
    /// The object's namespace; empty if it has no kind.
    pub namespace: String,
    /// The object's name; empty if it has none.
    pub name: String,
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// What found it.
    pub source: Source,
}

impl Finding {
    /// Whether the object works all the same.
    fn is_warning(&self) -> bool {
        self.source == Source::Warning
    }
}

/// What applying one object would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The file, as it was named.
    pub file: String,
    /// The object's kind.
    pub kind: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// In a word or two.
    pub verdict: String,
    /// What changes.
    pub changes: Vec<String>,
}

/// An object of Rota's that was found in a file.
struct Object {
    file: String,
    line: usize,
    namespace: String,
    content: Value,
}

impl Object {
    fn kind(&self) -> &str {
        self.content["kind"].as_str().unwrap_or_default()
    }

    /// Its name, or where the API server would begin to make one up.
    fn name(&self) -> String {
        let metadata = &self.content["metadata"];
        let prefix = || metadata["generateName"].as_str().map(|prefix| format!("{prefix}*"));
        metadata["name"].as_str().map(str::to_owned).or_else(prefix).unwrap_or_default()
    }

    fn finding(&self, fault: Fault) -> Finding {
        Finding {
            file: self.file.clone(),
            line: self.line,
            kind: self.kind().to_owned(),
            namespace: self.namespace.clone(),
            name: self.name(),
            field: fault.field,
            message: fault.message,
            source: fault.source,
        }
    }
}

/// What was found, in files and in the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What applying would change, if the cluster was looked at.
    pub changes: Vec<Change>,
    /// How many objects were checked.
    pub checked: usize,
    /// How many documents are not Rota's.
    pub skipped: usize,
}

/// Objects of a cluster by kind, namespace and name.
type Existing = BTreeMap<(String, String, String), Value>;

/// Checks, and answers.
pub async fn run(arguments: &Arguments, now: Timestamp) -> Result<Answer, PluginError> {
    let sources = documents::read(&arguments.files, arguments.recursive).map_err(PluginError::Usage)?;
    let documents = sources.iter().flat_map(|(file, text)| documents::split(file, text)).collect();
    let namespace = arguments.place.namespace.clone();
    if !arguments.diff {
        let report = offline(documents, namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE));
        return Ok(print(&report, arguments.output, false));
    }
    let (client, own_namespace) = arguments.place.cluster.connect().await?;
    let namespace = namespace.unwrap_or(own_namespace);
    let (objects, mut report) = sort(documents, &namespace);
    let existing = fetch(&client, &wanted(&objects)).await?;
    judge(objects, Some(&existing), now, &mut report);
    Ok(print(&report, arguments.output, true))
}

/// Checks documents without a cluster.
pub fn offline(documents: Vec<Document>, namespace: &str) -> Report {
    let (objects, mut report) = sort(documents, namespace);
    judge(objects, None, Timestamp::UNIX_EPOCH, &mut report);
    report
}

/// Parts Rota's objects from other documents, and from what is none.
fn sort(documents: Vec<Document>, namespace: &str) -> (Vec<Object>, Report) {
    let mut report = Report::default();
    let mut objects = Vec::new();
    for Document { file, line, content } in documents {
        let verdict = content.map_err(|error| Fault::new(Source::Document, "", format!("cannot be read: {error}")));
        let verdict = verdict.and_then(|content| Linter::belongs(&content).map(|belongs| (belongs, content)));
        match verdict {
            Ok((true, content)) => {
                let namespace = content["metadata"]["namespace"].as_str().unwrap_or(namespace).to_owned();
                objects.push(Object { file, line, namespace, content });
            }
            Ok((false, _)) => report.skipped += 1,
            Err(fault) => {
                let object = Object { file, line, namespace: String::new(), content: Value::Null };
                report.findings.push(object.finding(fault));
            }
        }
    }
    report.checked = objects.len();
    (objects, report)
}

/// Checks objects: each for itself, over what is in the cluster, and against the templates.
fn judge(mut objects: Vec<Object>, existing: Option<&Existing>, now: Timestamp, report: &mut Report) {
    let linter = Linter::new();
    let mut seen = BTreeSet::new();
    for object in &mut objects {
        let key = (object.kind().to_owned(), object.namespace.clone(), object.name());
        let old = existing.and_then(|existing| existing.get(&key));
        let mut faults = linter.check(&mut object.content, None);
        if faults.is_empty() && !object.name().ends_with('*') && !seen.insert(key.clone()) {
            faults.push(Fault::new(Source::Reference, "metadata.name", "is used by another object before this one"));
        }
        if let Some(old) = old.filter(|_| faults.is_empty()) {
            let mut new = edit::applied(old, &object.content);
            faults = linter.check(&mut new, Some(old));
            if faults.is_empty() {
                object.content = new;
            }
        }
        if existing.is_some() && faults.is_empty() {
            let Edit { verdict, lines } = match old {
                Some(old) => edit::changed(old, &object.content, now),
                None => edit::created(&object.content, now),
            };
            let (kind, namespace, name) = key;
            let file = object.file.clone();
            report.changes.push(Change { file, kind, namespace, name, verdict: verdict.into(), changes: lines });
        }
        if faults.is_empty() {
            faults = warnings::of(&object.content);
        }
        report.findings.extend(faults.into_iter().map(|fault| object.finding(fault)));
    }
    let templates = templates(&objects, existing);
    let queues = queues(&objects, existing);
    for object in &objects {
        let mut faults = references::check(&object.namespace, &object.content, &templates);
        faults.extend(references::check_queue(&object.namespace, &object.content, &queues));
        report.findings.extend(faults.into_iter().map(|fault| object.finding(fault)));
    }
}

/// The templates of the files and, where the cluster was looked at, of the cluster.
fn templates(objects: &[Object], existing: Option<&Existing>) -> Templates {
    let mut known = Templates::new();
    if let Some(existing) = existing {
        let absent = wanted(objects).into_iter().filter(|(kind, _, _)| kind == "JobTemplate");
        known.extend(absent.map(|(_, namespace, name)| ((namespace, name), None)));
        for ((kind, namespace, name), content) in existing {
            if kind == "JobTemplate" {
                known.insert((namespace.clone(), name.clone()), JobTemplate::deserialize(content).ok());
            }
        }
    }
    for object in objects.iter().filter(|object| object.kind() == "JobTemplate") {
        // One that cannot be read is there all the same: what is wrong with it was said.
        let key = (object.namespace.clone(), object.name());
        match JobTemplate::deserialize(&object.content) {
            Ok(template) => known.insert(key, Some(template)),
            Err(_) => known.remove(&key),
        };
    }
    known
}

/// Which of the named queues exist, in the files or, if it was looked at, in the cluster.
fn queues(objects: &[Object], existing: Option<&Existing>) -> Queues {
    let is_queue = |(kind, _, _): &(String, String, String)| kind == "Queue";
    let looked_up = existing.map(|_| wanted(objects)).unwrap_or_default();
    let there = |key: &(String, String, String)| existing.is_some_and(|existing| existing.contains_key(key));
    let mut known: Queues = looked_up
        .into_iter()
        .filter(is_queue)
        .map(|key| {
            let exists = there(&key);
            ((key.1, key.2), exists)
        })
        .collect();
    let written = objects.iter().filter(|object| object.kind() == "Queue");
    known.extend(written.map(|object| ((object.namespace.clone(), object.name()), true)));
    known
}

/// What must be looked up in the cluster: the objects themselves, and the templates and queues that they name.
fn wanted(objects: &[Object]) -> BTreeSet<(String, String, String)> {
    let mut wanted = BTreeSet::new();
    for object in objects {
        let name = object.name();
        if !name.is_empty() && !name.ends_with('*') {
            wanted.insert((object.kind().to_owned(), object.namespace.clone(), name));
        }
        if let Some((_, queue)) = references::queue(&object.content) {
            wanted.insert(("Queue".to_owned(), object.namespace.clone(), queue));
        }
        for one in references::uses(&object.content) {
            wanted.insert(("JobTemplate".to_owned(), object.namespace.clone(), one.template));
        }
    }
    wanted
}

fn resource(kind: &str) -> Option<ApiResource> {
    Some(match kind {
        "JobTemplate" => ApiResource::erase::<JobTemplate>(&()),
        "Schedule" => ApiResource::erase::<Schedule>(&()),
        "Queue" => ApiResource::erase::<Queue>(&()),
        "Job" => ApiResource::erase::<Job>(&()),
        "JobGroup" => ApiResource::erase::<JobGroup>(&()),
        "JobRun" => ApiResource::erase::<JobRun>(&()),
        _ => return None,
    })
}

async fn fetch(client: &Client, wanted: &BTreeSet<(String, String, String)>) -> Result<Existing, PluginError> {
    // Without the CRDs every object would look as if it were new.
    client.list_api_group_resources(API_VERSION).await.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 404 => {
            PluginError::Failed("the cluster does not have Rota's CRDs: kubectl apply -f crds/".into())
        }
        error => PluginError::failed(&error),
    })?;
    let get = |key: &(String, String, String)| {
        let (client, key) = (client.clone(), key.clone());
        async move {
            let Some(resource) = resource(&key.0) else { return Ok(None) };
            let api: Api<DynamicObject> = Api::namespaced_with(client, &key.1, &resource);
            let found = api.get_opt(&key.2).await.map_err(|error| PluginError::failed(&error))?;
            let found = found.map(serde_json::to_value).transpose().map_err(|error| PluginError::failed(&error))?;
            Ok::<_, PluginError>(found.map(|found| (key, found)))
        }
    };
    stream::iter(wanted.iter().map(get))
        .buffer_unordered(REQUESTS_MAX)
        .try_filter_map(|it| async { Ok(it) })
        .try_collect()
        .await
}

/// The report, printed.
pub fn print(report: &Report, output: Output, with_changes: bool) -> Answer {
    let exit_code = if report.findings.iter().all(Finding::is_warning) { OK } else { FAILED };
    let summary = summary(report);
    match output {
        Output::Json => {
            let value = match with_changes {
                true => json!({ "findings": report.findings, "changes": report.changes }),
                false => json!(report.findings),
            };
            Answer { output: format!("{value:#}\n"), remarks: summary, exit_code }
        }
        Output::Text => {
            let mut text = String::new();
            for finding in &report.findings {
                let warning = if finding.is_warning() { "warning: " } else { "" };
                text += &format!("{}: {warning}{}\n", finding.file, line(finding));
            }
            for Change { file, kind, name, verdict, changes, .. } in &report.changes {
                text += &format!("{file}: {kind}/{name}: {verdict}\n");
                text.extend(changes.iter().map(|change| format!("  {change}\n")));
            }
            Answer { output: text + &summary, remarks: String::new(), exit_code }
        }
    }
}

fn line(finding: &Finding) -> String {
    let Finding { kind, name, field, message, .. } = finding;
    let fault = Fault::new(finding.source, field.clone(), message.clone());
    match (kind.as_str(), name.as_str()) {
        ("", _) => format!("document at line {}: {fault}", finding.line),
        (kind, "") => format!("{kind} at line {}: {fault}", finding.line),
        (kind, name) => format!("{kind}/{name}: {fault}"),
    }
}

fn summary(report: &Report) -> String {
    let count = |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    let warnings = report.findings.iter().filter(|finding| finding.is_warning()).count();
    let mut text = format!(
        "{} checked, {}",
        count(report.checked, "object", "objects"),
        count(report.findings.len() - warnings, "finding", "findings")
    );
    if warnings > 0 {
        text += &format!(", {}", count(warnings, "warning", "warnings"));
    }
    if report.skipped > 0 {
        text += &format!(
            "; {} skipped",
            count(report.skipped, "document that is not Rota's", "documents that are not Rota's")
        );
    }
    text + ".\n"
}

#[cfg(test)]
mod tests;
