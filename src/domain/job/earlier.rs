//! Earlier: whether a Job asks for what another one did before it, of which only records may be left.
//!
//! Records are not cached, so the shell looks among them once for a Job that needs it, and remembers what it found.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::end::{is_hook, is_tracked};
use super::{Facts, SaturatingTime, queued_at};
use crate::api::job::RerunPolicy;
use crate::api::labels::{CONTENT, DEDUP, JOB, OUTCOME};
use crate::api::{API_VERSION, Job, JobRun, JobSpec, Outcome, Reason};
use crate::domain::names;

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

impl Question {
    /// The selectors of the records that answer it.
    pub fn selectors(&self, job: &Job) -> Vec<String> {
        let name = names::label_value(job.metadata.name.as_deref().unwrap_or_default());
        let completed = Outcome::Completed.as_str();
        let content = self.content.as_ref().map(|it| format!("{JOB}={name},{CONTENT}={it},{OUTCOME}={completed}"));
        let key = self.key.as_ref().map(|key| format!("{DEDUP}={}", names::label_hash(key)));
        content.into_iter().chain(key).collect()
    }

    /// What the records say. What a Job itself left is no answer, and neither is what a duplicate left.
    pub fn answer(&self, job: &Job, records: &[JobRun]) -> Option<Earlier> {
        let others =
            || records.iter().filter(|run| run.spec.job_ref.as_ref().map(|it| &it.uid) != job.metadata.uid.as_ref());
        let of_name = |run: &&JobRun| run.spec.job_ref.as_ref().map(|it| &it.name) == job.metadata.name.as_ref();
        let completed = |run: &&JobRun| run.status.as_ref().is_some_and(|status| status.phase == Outcome::Completed);
        let same = |run: &&JobRun| label(run, CONTENT) == self.content.as_deref();
        if self.content.is_some()
            && let Some(run) = others().filter(of_name).filter(completed).find(same)
        {
            return Some(Earlier { reason: Reason::AlreadySucceeded, other: named(run), queued_at: None });
        }
        let key = self.key.as_ref()?;
        let keyed = others().filter(|run| run.spec.dedup_key.as_ref() == Some(key)).filter_map(|run| {
            let status = run.status.as_ref().filter(|status| status.reason != Reason::DuplicateKey)?;
            Some((status.queued_at.as_ref()?.0, run))
        });
        let (queued_at, run) = keyed.max_by_key(|(queued_at, _)| *queued_at)?;
        Some(Earlier { reason: Reason::DuplicateKey, other: named(run), queued_at: Some(queued_at) })
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

/// What has to be looked up among the records before a Job may run, if anything has.
pub fn question(job: &Job) -> Option<Question> {
    let content = content_label(job).filter(|_| rerun_policy(job) == RerunPolicy::IfNotSucceeded);
    let key = job.spec.dedup_key.clone().filter(|_| job.spec.dedup_window_seconds.is_some());
    (content.is_some() || key.is_some()).then_some(Question { content, key })
}

/// A Job that a GitOps tool tracks may come again because it was cleaned up; a hook of one comes again to run again.
fn rerun_policy(job: &Job) -> RerunPolicy {
    let tracked = is_tracked(job) && !is_hook(job);
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
    let asked = facts.memory.earlier.as_ref().map(|(question, _)| question);
    question(facts.job).as_ref() == asked
}
