//! The API server's audit log: who asked for what, when it came in and when it was answered.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;

/// One answered request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub verb: String,
    #[serde(rename = "requestURI")]
    pub uri: String,
    #[serde(default)]
    pub user_agent: String,
    pub user: User,
    #[serde(default)]
    pub object_ref: Object,
    #[serde(default)]
    pub response_status: Answer,
    pub request_received_timestamp: Timestamp,
    pub stage_timestamp: Timestamp,
}

#[derive(Clone, Debug, Deserialize)]
pub struct User {
    pub username: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object {
    pub api_group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Answer {
    pub code: u16,
}

impl Request {
    pub fn is_write(&self) -> bool {
        let changes = matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection");
        changes && !self.is_dry_run()
    }

    /// A question whether a write would be accepted.
    fn is_dry_run(&self) -> bool {
        self.uri.contains("dryRun=")
    }

    /// A read that is not a watch.
    pub fn is_read(&self) -> bool {
        matches!(self.verb.as_str(), "get" | "list")
    }

    pub fn is_event(&self) -> bool {
        self.object_ref.resource == "events"
    }

    /// Leader election, which goes on whatever is run.
    pub fn is_lease(&self) -> bool {
        self.object_ref.resource == "leases"
    }

    /// A batch Job that was accepted.
    pub fn is_launch(&self) -> bool {
        let object = &self.object_ref;
        let batch_job = object.api_group == "batch" && object.resource == "jobs" && object.subresource.is_empty();
        self.verb == "create" && batch_job && !self.is_dry_run() && self.response_status.code == 201
    }

    /// A change of the specification of a Queue.
    pub fn edits_queue(&self) -> bool {
        let object = &self.object_ref;
        self.verb == "patch" && object.resource == "queues" && object.subresource.is_empty() && !self.is_dry_run()
    }

    /// A change of the specification of a batch Job.
    pub fn changes_batch_job(&self, namespace: &str) -> bool {
        let object = &self.object_ref;
        let batch_job = object.api_group == "batch" && object.resource == "jobs" && object.subresource.is_empty();
        let changes = matches!(self.verb.as_str(), "update" | "patch") && self.response_status.code == 200;
        batch_job && changes && object.namespace == namespace && !self.is_dry_run()
    }

    /// The end of a batch Job, which this benchmark itself writes.
    pub fn completes(&self, namespace: &str) -> bool {
        let object = &self.object_ref;
        let status = object.api_group == "batch" && object.subresource == "status" && object.namespace == namespace;
        status && self.verb == "patch" && self.response_status.code == 200
    }

    /// A Job of the user's that was accepted.
    pub fn creates_job(&self, namespace: &str) -> bool {
        let object = &self.object_ref;
        let job = object.api_group == "rota.dev" && object.resource == "jobs" && object.namespace == namespace;
        self.verb == "create" && job && self.response_status.code == 201
    }

    /// The request in a few words, such as `patch jobs.rota.dev/status`.
    pub fn describe(&self) -> String {
        let object = &self.object_ref;
        let group = if object.api_group.is_empty() { String::new() } else { format!(".{}", object.api_group) };
        let part = if object.subresource.is_empty() { String::new() } else { format!("/{}", object.subresource) };
        let failed =
            if self.response_status.code >= 300 { format!(" ({})", self.response_status.code) } else { String::new() };
        format!("{} {}{group}{part}{failed}", self.verb, object.resource)
    }
}

/// Whose requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Rota,
    CronJobController,
}

impl Who {
    pub fn asked(self, request: &Request) -> bool {
        match self {
            Self::Rota => request.user_agent.starts_with("rota/"),
            Self::CronJobController => request.user.username == "system:serviceaccount:kube-system:cronjob-controller",
        }
    }
}

/// The log as it grows.
pub struct Log {
    path: PathBuf,
    offset: u64,
    requests: Vec<Request>,
}

impl Log {
    pub fn new(path: PathBuf) -> Self {
        Self { path, offset: 0, requests: Vec::new() }
    }

    /// Reads what has been written since. A line that is not finished yet is read the next time.
    pub fn read(&mut self) {
        let mut file = File::open(&self.path).expect("the API server writes its audit log");
        file.seek(SeekFrom::Start(self.offset)).unwrap();
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
            self.offset += line.len() as u64;
            // Panics and the like have other stages; the policy leaves only what is of no interest here.
            if line.contains("\"stage\":\"ResponseComplete\"") {
                self.requests.push(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")));
            }
            line.clear();
        }
    }

    /// Where the log ends now, to look at what comes after.
    pub fn mark(&mut self) -> usize {
        self.read();
        self.requests.len()
    }

    /// What was logged from a mark on.
    pub fn since(&self, mark: usize) -> impl Iterator<Item = &Request> {
        self.requests[mark..].iter()
    }

    /// The batch Jobs of some namespaces that were accepted, from a mark on, in order.
    pub fn launches(&self, mark: usize, of: impl Fn(&str) -> bool) -> Vec<&Request> {
        let launches = self.since(mark).filter(|request| request.is_launch() && of(&request.object_ref.namespace));
        let mut accepted: Vec<_> = launches.collect();
        accepted.sort_by_key(|request| request.stage_timestamp);
        accepted
    }

    /// How often each request that fits was made, from a mark on.
    pub fn count(&self, mark: usize, fits: impl Fn(&Request) -> bool) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in self.since(mark).filter(|request| fits(request)) {
            *counts.entry(request.describe()).or_default() += 1;
        }
        counts
    }
}
