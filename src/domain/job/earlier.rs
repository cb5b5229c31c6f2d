//! Earlier: whether a Job asks for what another one did before it, of which only records may be left.
//!
//! Records are not cached, so the shell looks among them once for a Job that needs it, and remembers what it found.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::end::{is_hook, is_tracked};
use super::{Facts, SaturatingTime, queued_at};
use crate::api::job::RerunPolicy;
use crate::api::labels::{CONTENT, DAY, DEDUP, JOB, LAST_APPLIED_ANNOTATION, OUTCOME};
use crate::api::{API_VERSION, Job, JobRun, JobSpec, Outcome, Reason};
use crate::domain::names;

/// A day, in seconds.
const DAY_SECONDS: i64 = 86_400;
/// The longest window, in seconds, as the schema has it.
const WINDOW_SECONDS_MAX: i64 = 31_536_000;
/// How much longer a record must be within the window for the search to end with it, in milliseconds.
const SURELY_WITHIN_MS: i64 = 60_000;

/// What has to be looked up among the records before a Job may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whether the same content succeeded under the same name; what stands for the content.
    content: Option<String>,
    /// Whether the key was used within the window.
    key: Option<String>,
}

/// What makes a Job needless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// The reason for its record.
    pub reason: Reason,
    /// The other one: its kind and name.
    pub other: String,
    /// When that one was queued, from which the window counts; absent: it was unfinished when this one came.
    pub queued_at: Option<Timestamp>,
}

/// Which records may answer a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// By their labels.
    pub labels: String,
    /// By their fields.
    pub fields: Option<String>,
}

/// What the records that were seen so far say: they are looked at one after the other, and none is kept.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    question: &'a Question,
    job: &'a Job,
    found: Option<Earlier>,
}

impl Search<'_> {
    /// Looks at one. What a Job itself left is no answer, and neither is what a duplicate left.
    pub fn see(&mut self, run: &JobRun) {
        let (Some(job), Some(status)) = (&run.spec.job_ref, &run.status) else { return };
        let succeeded = matches!(&self.found, Some(found) if found.reason == Reason::AlreadySucceeded);
        if succeeded || Some(&job.uid) == self.job.metadata.uid.as_ref() {
            return;
        }
        let same = self.question.content.as_deref().is_some_and(|content| label(run, CONTENT) == Some(content));
        if same && Some(&job.name) == self.job.metadata.name.as_ref() && status.phase == Outcome::Completed {
            self.found = Some(Earlier { reason: Reason::AlreadySucceeded, other: named(run), queued_at: None });
            return;
        }
        let has_key = self.question.key.is_some() && run.spec.dedup_key == self.question.key;
        let queued_at = status.queued_at.as_ref().map(|time| time.0);
        let newest = self.found.as_ref().and_then(|found| found.queued_at);
        if has_key && status.reason != Reason::DuplicateKey && queued_at.is_some() && queued_at >= newest {
            self.found = Some(Earlier { reason: Reason::DuplicateKey, other: named(run), queued_at });
        }
    }

    /// Whether no further record could change what becomes of the Job.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let Some(found) = &self.found else { return false };
        let window = self.job.spec.dedup_window_seconds.unwrap_or_default();
        let until = found.queued_at.map(|at| at.saturating_add_ms(window.saturating_mul(1_000)));
        // Not one that is about to leave the window: a later one may be within it for longer.
        until.is_none_or(|until| now.saturating_add_ms(SURELY_WITHIN_MS) < until)
    }

    /// What was found.
    pub fn into_found(self) -> Option<Earlier> {
        self.found
    }
}

impl Question {
    /// The selectors of the records that answer it. The days are those on which the Jobs ended that were queued within the
    /// window, with one before and after for clocks that differ.
    pub fn selectors(&self, job: &Job, now: Timestamp) -> Vec<Selector> {
        let name = names::label_value(job.metadata.name.as_deref().unwrap_or_default());
        let completed = Outcome::Completed.as_str();
        let content = self
            .content
            .as_ref()
            .map(|it| Selector { labels: format!("{JOB}={name},{CONTENT}={it},{OUTCOME}={completed}"), fields: None });
        let days = job.spec.dedup_window_seconds.unwrap_or_default().clamp(0, WINDOW_SECONDS_MAX) / DAY_SECONDS + 2;
        let days: Vec<String> =
            (-1..=days).map(|day| names::day(now.saturating_add_ms(-day * DAY_SECONDS * 1_000))).collect();
        let key = self.key.as_ref().map(|key| Selector {
            labels: format!("{DEDUP}={},{DAY} in ({})", names::label_hash(key), days.join(",")),
            fields: Some(format!("status.reason!={}", Reason::DuplicateKey.as_str())),
        });
        content.into_iter().chain(key).collect()
    }

    /// A search among the records.
    pub fn search<'a>(&'a self, job: &'a Job) -> Search<'a> {
        Search { question: self, job, found: None }
    }

    /// The answer that an unfinished Job with the same key gives, if keys are asked for.
    pub fn answer_of_job(&self, other: &str) -> Option<Earlier> {
        self.key.as_ref()?;
        Some(Earlier { reason: Reason::DuplicateKey, other: format!("Job {other:?}"), queued_at: None })
    }
}

fn named(run: &JobRun) -> String {
    format!("JobRun {:?}", run.metadata.name.as_deref().unwrap_or_default())
}

fn label<'a>(run: &'a JobRun, name: &str) -> Option<&'a str> {
    run.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

/// What the question of a Job depends on besides what never changes, if that can be told from its generation: while it is the
/// same, so is the question, whose digest takes time in proportion to the size of the Job.
pub fn asked_of(job: &Job) -> Option<(i64, RerunPolicy)> {
    Some((job.metadata.generation?, rerun_policy(job)))
}

/// What has to be looked up among the records before a Job may run, if anything has.
pub fn question(job: &Job) -> Option<Question> {
    let content = (rerun_policy(job) == RerunPolicy::IfNotSucceeded).then(|| content_label(job)).flatten();
    let key = job.spec.dedup_key.clone().filter(|_| job.spec.dedup_window_seconds.is_some());
    (content.is_some() || key.is_some()).then_some(Question { content, key })
}

/// A Job that a GitOps tool tracks may come again because it was cleaned up, and so may one that `kubectl apply` wrote, when the
/// same files are applied again; a hook comes again to run again.
fn rerun_policy(job: &Job) -> RerunPolicy {
    let is_applied = || job.metadata.annotations.as_ref().is_some_and(|it| it.contains_key(LAST_APPLIED_ANNOTATION));
    let tracked = (is_tracked(job) || is_applied()) && !is_hook(job);
    job.spec.rerun_policy.unwrap_or(if tracked { RerunPolicy::IfNotSucceeded } else { RerunPolicy::Always })
}

/// What stands for the content of a Job: all of its specification that cannot change once it is queued, but for what is
/// not about what it does. Absent for a Job that Rota made, whose name says already what it stands for.
pub fn content_label(job: &Job) -> Option<String> {
    let ours = job.metadata.owner_references.iter().flatten().any(|owner| owner.api_version == API_VERSION);
    if ours {
        return None;
    }
    let mut spec = JobSpec {
        priority: None,
        position: None,
        not_before: None,
        hold: false,
        cancel: None,
        rerun_policy: None,
        ..job.spec.clone()
    };
    // Filled in by the operator.
    spec.schedule_ref.iter_mut().for_each(|schedule| schedule.uid.clear());
    spec.group_ref.iter_mut().for_each(|group| group.uid.clear());
    // Maps of JSON are sorted, so equal contents have equal texts.
    let text = serde_json::to_vec(&serde_json::to_value(&spec).ok()?).ok()?;
    let digest: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(names::label_hash(&digest))
}

/// What to record of a Job that is needless.
pub(super) fn needless(facts: &Facts<'_>, now: Timestamp) -> Option<(Reason, String)> {
    let (_, found) = facts.memory.earlier.as_ref()?;
    let Earlier { reason, other, queued_at: before } = found.as_ref()?;
    if *reason == Reason::AlreadySucceeded {
        return Some((
            *reason,
            format!("{other} says that the same Job succeeded before, and rerunPolicy is IfNotSucceeded"),
        ));
    }
    let window = facts.job.spec.dedup_window_seconds.unwrap_or_default();
    match before {
        None => Some((*reason, format!("{other} has the same dedupKey and was unfinished when this one came"))),
        Some(before) => {
            let over = before.saturating_add_ms(window.saturating_mul(1_000));
            let text = format!("{other} has the same dedupKey and was queued at {before}, within {window} s before");
            (queued_at(facts, now) < over).then_some((*reason, text))
        }
    }
}

/// Whether the records were asked what has to be known before the Job may run.
pub(super) fn is_asked(facts: &Facts<'_>) -> bool {
    if facts.memory.asked_of.is_some() && facts.memory.asked_of == asked_of(facts.job) {
        return true;
    }
    let asked = facts.memory.earlier.as_ref().map(|(question, _)| question);
    question(facts.job).as_ref() == asked
}
