//! Run: the record of one attempt, from the facts that the cluster still has when it ended.
//!
//! A record is written once and read for years, so it says in words what went wrong, and every field is within the limits
//! of its schema: a record that the API server refused would hold its Job forever. This module decides why an attempt
//! ended, never that it ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use kube::core::ObjectMeta;

use super::conditions::{DISPATCHED, micro, shorten};
use super::job::{attempt_name, content_label};
use super::resolve::Resolved;
use super::words::printable;
use super::{group, names, pinned, retry, sizes};
use crate::api::job_run::{ContainerSnapshot, JobRunSpec, JobRunStatus};
use crate::api::job_template::{ParamValues, RetryAction};
use crate::api::labels::{
    ATTEMPT, CONTENT, DAY, DEDUP, ENDED_AT_ANNOTATION, ENDED_FOR_ANNOTATION, GROUP, JOB, JOB_UID, MANAGED_BY, MANAGER,
    OUTCOME, QUEUE, SCHEDULE, SCHEDULED_TIMES, TEMPLATE,
};
use crate::api::{Cancel, Job, JobRun, ObjectReference, Outcome, Reason, Schedule};

mod deciding;
mod gone;
mod notes;
mod pods;
mod policy;
mod report;
mod snapshot;
mod standing;
mod suspension;
mod times;
mod verdict;

use deciding::Deciding;
pub use pods::{
    counts_pods, is_over, outlived_since, outlived_text, pod_has_ended, pod_started, pod_text, pods_settled,
    stuck_text, waiting_since, waiting_text,
};
pub use snapshot::written;
pub use standing::contradiction;
pub use suspension::{is_being_resumed, is_suspended, last_start, pods_since, resumed_at, suspended_text};

/// The longest error text of a record, in bytes; the schema allows 4,096 characters.
const ERROR_BYTES_MAX: usize = 1_000;

/// The longest name of who cancelled; the schema allows so many characters.
const CANCELLED_BY_BYTES_MAX: usize = 1_024;

/// Where a batch Job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchState {
    /// It has not ended. That it is about to (FailureTarget, SuccessCriteriaMet) is not an end: its pods still run.
    Active,
    /// It ended, and succeeded.
    Complete,
    /// It ended, and did not succeed.
    Failed {
        /// Kubernetes' word for why.
        reason: String,
        /// Kubernetes' sentence.
        message: String,
    },
}

/// What is known of an attempt, apart from its batch Job.
#[derive(Clone, Copy, Debug)]
pub struct RunInput<'a> {
    /// The Job.
    pub job: &'a Job,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// What its batch Job is called and labelled with, if it is there.
    pub batch: Option<&'a ObjectMeta>,
    /// What it runs; absent if that cannot be told any more, when the status of the Job has to do.
    pub resolved: Option<&'a Resolved<'a>>,
    /// When it was added to its queue.
    pub queued_at: Timestamp,
    /// Its pods, as they were last seen.
    pub pods: &'a [Arc<Pod>],
    /// The request to end it, if there is one.
    pub cancel: Option<&'a (Reason, Cancel)>,
    /// When the time for all attempts of its Job is over, if that is limited.
    pub deadline: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

/// Occurrences of a schedule that are skipped for the same reason, in one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedOccurrences {
    /// The first one.
    pub first: Timestamp,
    /// The last one; the first one again if there is only one.
    pub last: Timestamp,
    /// How many there are.
    pub count: u64,
    /// Why.
    pub reason: Reason,
    /// Why, in a sentence.
    pub why: String,
}

/// What is decided about an attempt; the rest of its record is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    outcome: Outcome,
    reason: Reason,
    error: Option<String>,
}

/// Where a batch Job stands.
pub fn batch_outcome(batch: &BatchJob) -> BatchState {
    let conditions = batch.status.iter().flat_map(|status| status.conditions.iter().flatten());
    for condition in conditions.filter(|condition| condition.status == "True") {
        match condition.type_.as_str() {
            "Complete" => return BatchState::Complete,
            "Failed" => {
                return BatchState::Failed {
                    reason: condition.reason.clone().unwrap_or_default(),
                    message: condition.message.clone().unwrap_or_default(),
                };
            }
            _ => {}
        }
    }
    BatchState::Active
}

/// Why Rota had Kubernetes end a batch Job, if it did.
pub fn ended_for(batch: &BatchJob) -> Option<Reason> {
    let word = batch.metadata.annotations.as_ref()?.get(ENDED_FOR_ANNOTATION)?;
    serde_json::from_value(word.as_str().into()).ok()
}

/// When Rota had Kubernetes end a batch Job, if it did and says so.
pub fn ended_for_since(batch: &BatchJob) -> Option<Timestamp> {
    batch.metadata.annotations.as_ref()?.get(ENDED_AT_ANNOTATION)?.parse().ok()
}

/// Whether Kubernetes ends a batch Job: it decided how, and waits for the pods to end.
pub fn is_ending(batch: &BatchJob) -> bool {
    let mut conditions = batch.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|it| matches!(it.type_.as_str(), "FailureTarget" | "SuccessCriteriaMet") && it.status == "True")
}

/// Why an attempt is being ended whose batch Job may be gone, as the condition of its Job says.
pub fn said_reason(job: &Job) -> Option<Reason> {
    let said = job.status.as_ref()?.conditions.iter().find(|it| it.type_ == DISPATCHED && it.status == "True")?;
    let reason = serde_json::from_value(said.reason.as_str().into()).ok()?;
    let ends = [
        Reason::Cancelled,
        Reason::Replaced,
        Reason::JobDeleted,
        Reason::PendingTimeout,
        Reason::DeadlineExceeded,
        Reason::TotalDeadlineExceeded,
    ];
    ends.contains(&reason).then_some(reason)
}

/// The record of an attempt whose batch Job ended. What was before its last suspension is not in it.
pub fn ended_run(input: &RunInput<'_>, batch: &BatchJob, state: &BatchState) -> JobRun {
    let last = verdict::pods_of_last_start(batch, input.pods);
    let input = &RunInput { pods: &last, ..*input };
    let of_failure = || deciding::of_failure(Some(batch), &last);
    let (verdict, deciding) = match state {
        BatchState::Active | BatchState::Complete => (succeeded(), deciding::of_success(&last)),
        BatchState::Failed { reason, message } => {
            let deciding = of_failure();
            (verdict::failed(input, batch, deciding.as_ref(), reason, message), deciding)
        }
    };
    let decided = ended_at(batch).unwrap_or(input.now);
    let mut run = build_run(input, verdict, deciding.as_ref(), Some(batch), decided);
    if let (BatchState::Failed { reason, .. }, Some(status)) = (state, run.status.as_mut()) {
        status.final_by = final_by(input, batch, reason).map(str::to_owned).filter(|_| status.phase == Outcome::Failed);
    }
    run
}

/// The field of the pasted batch Job that makes its failure final, so that no retry follows but by a rule of ours.
fn final_by(input: &RunInput<'_>, batch: &BatchJob, reason: &str) -> Option<&'static str> {
    match reason {
        "PodFailurePolicy" => Some("podFailurePolicy"),
        "MaxFailedIndexesExceeded" => Some("maxFailedIndexes"),
        "FailedIndexes" => deciding::has_index_ended_by_rule(batch, input.pods).then_some("podFailurePolicy"),
        "DeadlineExceeded" if ended_for(batch).is_none() => own_deadline(input),
        _ => None,
    }
}

/// The field of the pasted batch Job that bounds an attempt, if no timeout of ours comes before it.
fn own_deadline(input: &RunInput<'_>) -> Option<&'static str> {
    let known = input.resolved?;
    let own = known.job_template.pointer("/spec/activeDeadlineSeconds")?.as_i64()?;
    known.timeout_seconds.is_none_or(|timeout| own <= timeout).then_some("activeDeadlineSeconds")
}

/// What happened, and what is said about it.
pub fn sentence(what: &str, message: &str) -> String {
    shorten(pods::join(&[what, message]), pods::WAITING_BYTES_MAX)
}

/// The error text of a record with a reason that it does not tell yet.
pub fn with_reason(error: &str, why: &str) -> String {
    let why = printable(why);
    let told = error.contains(&why);
    if told { error.to_owned() } else { shorten(pods::join(&[error, &why]), ERROR_BYTES_MAX) }
}

/// That a batch Job makes no pods, because it says so itself.
pub fn no_pods_text(batch: &BatchJob) -> Option<String> {
    let none = batch.spec.as_ref()?.parallelism == Some(0);
    none.then(|| "its batch Job has parallelism 0, so that Kubernetes makes no pod for it".to_owned())
}

/// The record of an attempt whose batch Job is gone, or is being deleted, without having been said to end; `batch` is how it
/// was last seen. Its pods have ended, and what they said counts.
pub fn gone_run(input: &RunInput<'_>, batch: Option<&BatchJob>) -> JobRun {
    if let Some((batch, state)) = batch.and_then(|batch| Some((batch, decided(batch)?))) {
        // What Kubernetes had decided stands.
        return ended_run(input, batch, &state);
    }
    let last = batch.map_or_else(|| input.pods.to_vec(), |batch| verdict::pods_of_last_start(batch, input.pods));
    let input = &RunInput { pods: &last, ..*input };
    let verdict = gone::verdict(input, batch);
    let is_late = verdict.reason == Reason::DeadlineExceeded;
    let deciding = match verdict.outcome {
        Outcome::Completed => deciding::of_success(input.pods),
        Outcome::Failed | Outcome::Skipped => deciding::of_failure(batch, input.pods),
    };
    let mut run = build_run(input, verdict, deciding.as_ref(), batch, input.now);
    if let Some(status) = run.status.as_mut().filter(|status| is_late && status.phase == Outcome::Failed) {
        let is_own = batch.is_none_or(|batch| ended_for(batch).is_none());
        status.final_by = own_deadline(input).filter(|_| is_own).map(str::to_owned);
    }
    run
}

/// What Kubernetes had decided about a batch Job whose pods had not ended yet.
fn decided(batch: &BatchJob) -> Option<BatchState> {
    let conditions = batch.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    conditions.filter(|it| it.status == "True").find_map(|it| match it.type_.as_str() {
        "SuccessCriteriaMet" => Some(BatchState::Complete),
        "FailureTarget" => Some(BatchState::Failed { reason: text(&it.reason), message: text(&it.message) }),
        _ => None,
    })
}

/// The record of an attempt whose batch Job the API server refused to create.
pub fn refused_run(input: &RunInput<'_>, message: &str) -> JobRun {
    let error = Some(format!("the API server refused to create the batch Job: {message}"));
    let verdict = Verdict { outcome: Outcome::Failed, reason: Reason::LaunchRefused, error };
    build_run(&RunInput { pods: &[], ..*input }, verdict, None, None, input.now)
}

/// The record of a Job that is not run, or not run again, for that reason.
pub fn skipped_run(input: &RunInput<'_>, reason: Reason, why: impl Into<String>) -> JobRun {
    let verdict = Verdict { outcome: without_running(reason), reason, error: Some(why.into()) };
    build_run(&RunInput { pods: &[], ..*input }, verdict, None, None, input.now)
}

/// The record of occurrences of a schedule for which no Job was made.
pub fn skipped_occurrences(schedule: &Schedule, skipped: &SkippedOccurrences, now: Timestamp) -> JobRun {
    let name = schedule.metadata.name.clone().unwrap_or_default();
    let uid = schedule.metadata.uid.clone().unwrap_or_default();
    let several = skipped.count > 1;
    let spec = JobRunSpec {
        schedule_ref: Some(ObjectReference { name: name.clone(), uid: uid.clone() }),
        scheduled_time: Some(micro(skipped.first)),
        attempt: 0,
        priority: schedule.spec.priority.unwrap_or_default(),
        ..JobRunSpec::default()
    };
    let mut run = JobRun::new(&names::skipped_run(&name, &uid, skipped.first), spec);
    run.metadata.namespace = schedule.metadata.namespace.clone();
    run.metadata.labels = Some(labels([
        (SCHEDULE, Some(name.as_str())),
        (TEMPLATE, Some(schedule.spec.template_ref.name.as_str())),
        (OUTCOME, Some(without_running(skipped.reason).as_str())),
        (DAY, Some(names::day(now).as_str())),
        (SCHEDULED_TIMES, several.then(|| skipped.count.to_string()).as_deref()),
    ]));
    run.status = Some(JobRunStatus {
        finished_at: Some(micro(now)),
        error: Some(shorten(printable(&skipped.why), ERROR_BYTES_MAX)),
        count: several.then_some(skipped.count),
        last_scheduled_time: several.then(|| micro(skipped.last)),
        ..empty_status(without_running(skipped.reason), skipped.reason)
    });
    run
}

/// The outcome of what did not run: what cannot run as it is written failed.
pub fn without_running(reason: Reason) -> Outcome {
    if reason.is_misconfiguration() { Outcome::Failed } else { Outcome::Skipped }
}

/// When a batch Job was said to have ended.
fn ended_at(batch: &BatchJob) -> Option<Timestamp> {
    let status = batch.status.as_ref()?;
    let ends = status.conditions.iter().flatten().filter(|it| matches!(it.type_.as_str(), "Complete" | "Failed"));
    let ends = ends.filter(|it| it.status == "True").filter_map(|it| it.last_transition_time.as_ref());
    ends.map(|time| time.0).max()
}

fn succeeded() -> Verdict {
    Verdict { outcome: Outcome::Completed, reason: Reason::Succeeded, error: None }
}

/// Whether any container of the attempt is known to have started, and when. When its pods are gone already, the status
/// of the Job may still tell.
fn started(input: &RunInput<'_>) -> Option<Timestamp> {
    let said = || input.job.status.as_ref().and_then(|status| status.started_at.as_ref()).map(|time| time.0);
    pod_started(input.pods).or_else(said)
}

/// When the attempt first started since it was resumed: of containers that were restarted the pods tell the last starts only,
/// and the status of the Job what it has seen before.
fn first_start(input: &RunInput<'_>, resumed: Option<Timestamp>) -> Option<Timestamp> {
    let said = input.job.status.as_ref().and_then(|status| status.started_at.as_ref()).map(|time| time.0);
    match (pod_started(input.pods), said) {
        (Some(seen), Some(said)) if said < seen && resumed.is_none_or(|resumed| said >= resumed) => Some(said),
        (seen, said) => seen.or(said),
    }
}

/// The pods, the deciding one first.
fn deciding_first<'a>(pods: &'a [Arc<Pod>], deciding: Option<&Deciding<'_>>) -> Vec<&'a Pod> {
    let is_first = |pod: &&Pod| deciding.is_some_and(|deciding| std::ptr::eq(deciding.pod, *pod));
    let (mut first, others): (Vec<&Pod>, Vec<&Pod>) = pods.iter().map(Arc::as_ref).partition(is_first);
    first.extend(others);
    first
}

fn build_run(
    input: &RunInput<'_>,
    verdict: Verdict,
    deciding: Option<&Deciding<'_>>,
    batch: Option<&BatchJob>,
    decided: Timestamp,
) -> JobRun {
    let job = input.job;
    let name = job.metadata.name.clone().unwrap_or_default();
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let mut spec = run_spec(input, &name, &uid);
    let (params, is_cut) = sizes::for_record(std::mem::take(&mut spec.params));
    spec.params = params;
    let resumed = batch.and_then(resumed_at);
    let started = (verdict.outcome != Outcome::Skipped).then(|| first_start(input, resumed)).flatten();
    let verdict = skipped_by_rule(input, verdict, deciding.and_then(Deciding::exit_code));
    let ended = started.and_then(|_| pods::pod_finished(input.pods)).unwrap_or(decided);
    // A node whose clock is behind says that it started before its batch Job was there.
    let created = input.batch.and_then(|batch| batch.creation_timestamp.as_ref()).map(|time| time.0);
    let earliest =
        created.filter(|created| *created <= input.now).map_or(input.queued_at, |it| it.max(input.queued_at));
    let (started, ended) = times::in_order(earliest, started, ended, input.now);
    let report = report::read(deciding_first(input.pods, deciding).into_iter());
    let notes = notes::of(batch, input.pods, &report);
    let attempt = input.attempt.to_string();
    let of_batch = batch.and_then(|batch| batch.metadata.name.clone());
    let batch_name = input.batch.and_then(|batch| batch.name.clone()).or(of_batch);
    let run_name = batch_name.unwrap_or_else(|| attempt_name(job, input.attempt));
    let metadata = input.batch.or(batch.map(|batch| &batch.metadata));
    let launched_with = metadata.and_then(|batch| batch.labels.as_ref()?.get(CONTENT).cloned());
    let mut run = JobRun::new(&run_name, JobRunSpec::default());
    run.metadata.namespace = job.metadata.namespace.clone();
    run.metadata.labels = Some(labels([
        (JOB, Some(name.as_str())),
        (JOB_UID, Some(uid.as_str())),
        (ATTEMPT, Some(attempt.as_str())),
        (TEMPLATE, template_name(input)),
        (SCHEDULE, spec.schedule_ref.as_ref().map(|schedule| schedule.name.as_str())),
        (GROUP, spec.group_ref.as_ref().map(|group| group.name.as_str())),
        (QUEUE, Some(spec.queue.as_str())),
        (DEDUP, spec.dedup_key.as_ref().map(|key| names::label_hash(key)).as_deref()),
        (CONTENT, launched_with.or_else(|| content_label(job)).as_deref()),
        (OUTCOME, Some(verdict.outcome.as_str())),
        (DAY, Some(names::day(ended).as_str())),
    ]));
    run.spec = spec;
    run.status = Some(JobRunStatus {
        queued_at: Some(micro(input.queued_at)),
        started_at: started.map(micro),
        finished_at: Some(micro(ended)),
        duration_ms: started.and_then(|started| milliseconds(started, ended)),
        worker_id: deciding.and_then(Deciding::worker),
        containers: ran(input, deciding, batch),
        exit_code: deciding.and_then(Deciding::exit_code),
        cancelled_by: cancelled_by(input, verdict.reason),
        error: error_text(verdict.error, is_cut),
        notes,
        artifacts: report.artifacts,
        result: report.result,
        log_path: deciding.and_then(Deciding::log_path),
        start_delay_ms: started.zip(job.spec.scheduled_time.as_ref()).and_then(|(at, due)| milliseconds(due.0, at)),
        late: job.spec.start_by.as_ref().is_some_and(|by| by.0 < started.unwrap_or(decided)),
        ..empty_status(verdict.outcome, verdict.reason)
    });
    run
}

/// What the containers of an attempt ran, if it was launched.
fn ran(input: &RunInput<'_>, deciding: Option<&Deciding<'_>>, batch: Option<&BatchJob>) -> Vec<ContainerSnapshot> {
    if batch.is_none() && input.batch.is_none() && input.pods.is_empty() {
        return Vec::new();
    }
    let pods = deciding_first(input.pods, deciding);
    let launched = input.batch.or(batch.map(|batch| &batch.metadata)).and_then(pinned::containers);
    let written = || snapshot::written(input.resolved?.job_template);
    snapshot::containers(launched.or_else(written), &pods)
}

/// A failure of which a rule of the Job's retry says that it is none: it ran, and found that there was nothing to do.
fn skipped_by_rule(input: &RunInput<'_>, verdict: Verdict, exit_code: Option<i32>) -> Verdict {
    let rules = input.resolved.map(|known| &known.retry).or(input.job.spec.retry.as_ref());
    let failure = retry::Failure { reason: verdict.reason, exit_code, is_final: false };
    let skips = rules.is_some_and(|rules| retry::action(rules, failure) == RetryAction::Skip);
    if verdict.outcome != Outcome::Failed || !skips {
        return verdict;
    }
    let why = pods::join(&["a rule of retry says Skip", verdict.error.as_deref().unwrap_or_default()]);
    Verdict { outcome: Outcome::Skipped, reason: Reason::SkippedByRule, error: Some(why) }
}

/// The error of a record, with a note if its parameters are not in it in full.
fn error_text(error: Option<String>, is_cut: bool) -> Option<String> {
    const NOTE: &str = "the params of this record are cut, because they are too large to be stored";
    let error = error.map(|error| printable(&error));
    if !is_cut {
        return error.map(|error| shorten(error, ERROR_BYTES_MAX));
    }
    let error = shorten(error.unwrap_or_default(), ERROR_BYTES_MAX.saturating_sub(NOTE.len() + 2));
    Some(pods::join(&[&error, NOTE]))
}

/// Who asked for the end of the attempt, if that is how it ended and the request says so.
fn cancelled_by(input: &RunInput<'_>, reason: Reason) -> Option<String> {
    let (_, cancel) = input.cancel.filter(|(asked, _)| *asked == reason)?;
    cancel.requested_by.as_deref().map(|who| shorten(printable(who), CANCELLED_BY_BYTES_MAX))
}

/// What was asked. What the Job's status said when it was queued stands in for what cannot be resolved any more.
fn run_spec(input: &RunInput<'_>, name: &str, uid: &str) -> JobRunSpec {
    let job = &input.job.spec;
    let said = input.job.status.clone().unwrap_or_default();
    let known = input.resolved;
    JobRunSpec {
        job_ref: Some(ObjectReference { name: name.to_owned(), uid: uid.to_owned() }),
        template_ref: known.map_or(said.template, |known| known.template.clone()),
        schedule_ref: job.schedule_ref.clone(),
        scheduled_time: job.scheduled_time.as_ref().map(|time| micro(time.0)),
        group_ref: group::reference(input.job),
        job_type: known
            .map(|known| known.job_type.clone())
            .or(said.job_type)
            .or(job.job_type.clone())
            .unwrap_or_default(),
        attempt: input.attempt,
        dedup_key: job.dedup_key.clone(),
        params: known.map_or_else(|| given(said.params, &job.params), |known| known.params.clone()),
        priority: known.map(|known| known.priority).or(said.priority).or(job.priority).unwrap_or_default(),
        queue: known.map(|known| known.queue.clone()).or(said.queue).or(job.queue.clone()).unwrap_or_default(),
    }
}

/// The parameters as they were when it was queued; those that it was given, if it never was.
fn given(resolved: ParamValues, own: &ParamValues) -> ParamValues {
    if resolved.is_empty() { own.clone() } else { resolved }
}

/// The template that the Job names, also when it could not be resolved.
fn template_name<'a>(input: &RunInput<'a>) -> Option<&'a str> {
    input.job.spec.template_ref.as_ref().map(|template| template.name.as_str())
}

fn empty_status(phase: Outcome, reason: Reason) -> JobRunStatus {
    JobRunStatus {
        phase,
        reason,
        queued_at: None,
        started_at: None,
        finished_at: None,
        duration_ms: None,
        worker_id: None,
        containers: Vec::new(),
        exit_code: None,
        error: None,
        notes: Vec::new(),
        final_by: None,
        cancelled_by: None,
        artifacts: Vec::new(),
        result: None,
        log_path: None,
        count: None,
        last_scheduled_time: None,
        start_delay_ms: None,
        late: false,
    }
}

fn labels<const N: usize>(pairs: [(&str, Option<&str>); N]) -> BTreeMap<String, String> {
    let pairs = pairs.into_iter().filter_map(|(key, value)| Some((key, value.filter(|value| !value.is_empty())?)));
    let labels = pairs.map(|(key, value)| (key.to_owned(), names::label_value(value)));
    labels.chain([(MANAGED_BY.to_owned(), MANAGER.to_owned())]).collect()
}

fn milliseconds(from: Timestamp, to: Timestamp) -> Option<i64> {
    i64::try_from(to.duration_since(from).as_millis()).ok()
}

#[cfg(test)]
mod tests;
