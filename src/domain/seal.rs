//! Seal: how Rota tells the records that it wrote from those that somebody else put under their names.
//!
//! The name of a record follows from its Job, so whoever may create JobRuns could have one there before the attempt has
//! ended. A record is believed only with a seal that nobody can make who does not know the key. The key is the uid of the
//! Lease: random, chosen by the API server, the same for each leader, and readable by those only who may read Leases in the
//! namespace of the operator. Records of before there were seals, or of a Lease that is gone, are believed as they are.

use std::fmt::Write;

use hmac::{Hmac, Mac};
use jiff::Timestamp;
use sha2::Sha256;

use super::names;
use crate::api::JobRun;
use crate::api::job_run::JobRunStatus;
use crate::api::labels::SEAL_ANNOTATION;

/// How the keys of labels begin that Rota gives a record.
const OUR_LABELS: &str = "rota.dev/";

/// What seals records, and what is believed without a seal.
#[derive(Clone, Debug)]
pub struct Seal {
    key: String,
    since: Timestamp,
}

impl Default for Seal {
    fn default() -> Self {
        Self { key: String::new(), since: Timestamp::MIN }
    }
}

impl Seal {
    /// Seals made with that key. What was created up to then is believed without.
    pub fn new(key: &str, since: Timestamp) -> Self {
        Self { key: key.to_owned(), since }
    }

    /// Puts its seal on a record.
    pub fn put(&self, run: &mut JobRun) {
        let seal = self.of(run);
        run.metadata.annotations.get_or_insert_default().insert(SEAL_ANNOTATION.to_owned(), seal);
    }

    /// Whether Rota wrote a record, as far as one can tell.
    pub fn vouches_for(&self, run: &JobRun) -> bool {
        let created = run.metadata.creation_timestamp.as_ref();
        let is_older = created.is_some_and(|created| created.0 <= self.since);
        let said = run.metadata.annotations.as_ref().and_then(|annotations| annotations.get(SEAL_ANNOTATION));
        is_older || said.is_some_and(|said| *said == self.of(run))
    }

    /// The name of a record whose name is taken by what is none: nobody else can tell it beforehand.
    pub fn other_name(&self, name: &str, owner_uid: &str) -> String {
        names::other_run(name, &self.sign(&[name, owner_uid]))
    }

    /// The labels of ours are sealed too, for records are found and judged by them; those of others may come later.
    /// What the API server may write otherwise than it was sent, or drop because its CRD is of an earlier version, is not sealed; nobody
    /// can change it once it is there.
    fn of(&self, run: &JobRun) -> String {
        let status = run.status.clone().map(|it| JobRunStatus {
            result: None,
            artifacts: Vec::new(),
            notes: Vec::new(),
            final_by: None,
            ..it
        });
        let spec = serde_json::to_string(&run.spec).unwrap_or_default();
        let status = serde_json::to_string(&status).unwrap_or_default();
        let metadata = &run.metadata;
        let [namespace, name] = [&metadata.namespace, &metadata.name].map(|it| it.as_deref().unwrap_or_default());
        let labels = metadata.labels.iter().flatten().filter(|(key, _)| key.starts_with(OUR_LABELS));
        let labels: Vec<&str> = labels.flat_map(|(key, value)| [key.as_str(), value.as_str()]).collect();
        self.sign(&[[namespace, name, &spec, &status].as_slice(), &labels].concat())
    }

    /// HMAC-SHA256 of the parts, in hexadecimal.
    fn sign(&self, parts: &[&str]) -> String {
        // A key of any length is one.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.key.as_bytes()) else { return String::new() };
        for part in parts {
            mac.update(&part.len().to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

#[cfg(test)]
mod tests;
