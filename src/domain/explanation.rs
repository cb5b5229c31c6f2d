//! Explanation: why a Job does not run, runs, or has ended, in sentences.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::estimate::Estimate;
use super::outlook::{Outlook, Standing, condition, estimate_json, phase, said, sentence, told_by_the_queue};
use super::queue::{Blocker, ordinal};
use super::words::{ago, capital, full_stop, within};
use super::{conditions, place};
use crate::api::job::WaitingFor;
use crate::api::{Job, JobPhase};

/// How many names a sentence lists.
const NAMES_MAX: usize = 5;

/// An answer.
#[derive(Debug, Default)]
pub struct Explanation {
    /// The first sentence, by itself.
    pub headline: String,
    /// The others.
    pub sentences: Vec<String>,
    /// What it waits for, in a word and a sentence.
    pub blocker: Option<Blocker>,
    /// Its place in line, from 1.
    pub place: Option<usize>,
    /// Its queue.
    pub queue: Option<String>,
    /// When it will start.
    pub estimate: Option<Estimate>,
}

impl Explanation {
    /// As JSON. `job` is the Job, if it exists.
    pub fn json(&self, name: &str, job: Option<&Job>) -> Value {
        let sentences: Vec<&String> = [&self.headline].into_iter().chain(&self.sentences).collect();
        json!({
            "job": name,
            "exists": job.is_some(),
            "phase": job.and_then(phase),
            "outcome": job.and_then(|job| job.status.as_ref()?.outcome),
            "reason": job.and_then(|job| job.status.as_ref()?.reason),
            "waitingFor": self.blocker.as_ref().map(|it| it.waiting_for),
            "message": self.blocker.as_ref().map(|it| &it.message).filter(|it| !it.is_empty()),
            "queue": self.queue,
            "place": self.place,
            "start": self.estimate.as_ref().map(estimate_json),
            "sentences": sentences,
        })
    }

    /// Puts first what the API server refuses, that it was cancelled, or that it is being deleted; of one that has ended, what keeps
    /// it though it is deleted.
    pub fn say_that_it_leaves(&mut self, job: &Job) {
        let conditions = job.status.iter().flat_map(|status| &status.conditions).cloned().collect::<Vec<_>>();
        if let Some((since, why)) = conditions::refused(&conditions) {
            self.sentences.insert(
                0,
                full_stop(&format!("Since {since} the API server refuses what is to be written for it: {why}")),
            );
        }
        let is_deleted = job.metadata.deletion_timestamp.is_some();
        let keepers = conditions::keepers(&job.metadata).filter(|_| is_deleted);
        if phase(job).is_some_and(JobPhase::is_ended) {
            let kept = keepers.map(|by| format!("It is being deleted, and stays until somebody takes off its {by}."));
            self.sentences.extend(kept);
        } else if let Some(cancel) = &job.spec.cancel {
            let by = cancel.requested_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
            let why = if cancel.reason.is_empty() { String::new() } else { format!(": {}", cancel.reason) };
            self.sentences.insert(0, format!("It was cancelled{by}{why}."));
        } else if is_deleted {
            let by = keepers.map(|by| format!(" and somebody takes off its {by}")).unwrap_or_default();
            self.sentences.insert(0, format!("It is being deleted; it goes when its outcome is recorded{by}."));
        }
    }
}

/// A Job that is not queued, and what it waits for.
pub fn pending(job: &Job, blocker: Option<Blocker>, now: Timestamp) -> Explanation {
    let name = name(job);
    if !place::is_waiting(job) {
        return Explanation { headline: format!("Job {name} is about to end."), ..Explanation::default() };
    }
    let mut explanation = Explanation { blocker, ..Explanation::default() };
    if let Some(Blocker { waiting_for, message }) = &explanation.blocker {
        explanation.headline = format!("Job {name} is not queued yet: it waits for {}.", words(*waiting_for));
        explanation.sentences.extend(Some(full_stop(message)).filter(|_| !message.is_empty()));
        explanation.sentences.extend(advice(*waiting_for).map(str::to_owned));
    } else {
        explanation.headline = format!("Job {name} is new.");
        let age = job.metadata.creation_timestamp.as_ref().map(|time| ago(time.0, now)).unwrap_or_default();
        let hint =
            format!("The operator has said nothing of it in {age}; if that does not change, look whether it runs.");
        explanation.sentences.push(hint);
    }
    explanation
}

/// A Job in its queue, and what it waits for. Other Jobs are named if `names_others` says so, and counted otherwise.
pub fn queued(
    outlook: &Outlook<'_>,
    job: &Job,
    blocker: Option<Blocker>,
    names_others: bool,
    now: Timestamp,
) -> Explanation {
    let queue = place::queue_name(job);
    let name = name(job);
    let mut explanation = Explanation { queue: Some(queue.into()), blocker, ..Explanation::default() };
    let Some(standing) = outlook.waiting.iter().find(|it| it.job.metadata.uid == job.metadata.uid) else {
        explanation.headline = format!("Job {name} was launched or has ended just now; ask again.");
        return explanation;
    };
    explanation.place = standing.place;
    explanation.estimate = Some(standing.estimate.clone());
    explanation.headline = match standing.place {
        Some(place) => {
            let in_line = outlook.waiting.iter().filter(|it| it.place.is_some()).count();
            format!("Job {name} is {} of {in_line} in queue {queue}.", ordinal(place))
        }
        None => format!("Job {name} is in queue {queue}, and not in line."),
    };
    explanation.sentences = reasons(standing, outlook, explanation.blocker.as_ref(), names_others, now);
    explanation
}

/// What keeps a queued Job, the most important first.
fn reasons(
    standing: &Standing<'_>,
    outlook: &Outlook<'_>,
    blocker: Option<&Blocker>,
    names_others: bool,
    now: Timestamp,
) -> Vec<String> {
    let mut sentences = own_reasons(standing.job, now);
    match &outlook.paused {
        Some(paused) => sentences.push(full_stop(&capital(&paused.message))),
        None if outlook.queue.is_none() => sentences.push("Its queue does not exist: create it.".into()),
        None => {}
    }
    let listed = |jobs: Vec<&Job>| if names_others { listed(&jobs) } else { String::new() };
    if let Some(max) = outlook.queue.and_then(|queue| queue.spec.max_running) {
        let running = listed(outlook.running.clone());
        sentences.push(format!("{} of {max} running{running}.", outlook.running.len()));
    }
    let before = standing.place.unwrap_or(1) - 1;
    let jobs_before = outlook.waiting.iter().take(before).map(|it| it.job).collect();
    match before {
        0 => {}
        _ if names_others => sentences.push(format!("Before it{}.", listed(jobs_before))),
        1 => sentences.push("Before it: 1 Job.".into()),
        _ => sentences.push(format!("Before it: {before} Jobs.")),
    }
    if standing.increase > 0 {
        let own = standing.rank.priority.0 - standing.increase;
        sentences.push(format!("Its priority is {own}, and {} more for waiting.", standing.increase));
    }
    // What the queue says is counted above already.
    if let Some(Blocker { waiting_for, message }) = blocker.filter(|it| !told_by_the_queue(it.waiting_for)) {
        sentences.extend(Some(full_stop(message)).filter(|_| !message.is_empty()));
        sentences.extend(advice(*waiting_for).map(str::to_owned));
    }
    sentences.push(match &standing.estimate {
        Estimate::Between(..) => format!("It will probably start {}.", within(&standing.estimate, now)),
        Estimate::Unknown(why) => format!("When it will start cannot be said: {why}."),
    });
    sentences
}

/// What keeps a Job in its queue besides all others.
fn own_reasons(job: &Job, now: Timestamp) -> Vec<String> {
    let mut sentences = Vec::new();
    if job.spec.hold {
        sentences.push("It is held: spec.hold is true. Set it to false to let it go.".to_owned());
    }
    if let Some(until) = job.spec.not_before.as_ref().map(|time| time.0).filter(|until| *until > now) {
        sentences.push(format!("It may not start before {until} (spec.notBefore)."));
    }
    let status = job.status.clone().unwrap_or_default();
    if let Some(at) = status.retry_at.as_ref().map(|time| time.0).filter(|at| *at > now) {
        sentences.push(format!("Attempt {} failed; the next one may start at {at}.", status.run_refs.len()));
    }
    sentences
}

/// A Job that was launched, as far as it says itself.
pub fn launched(job: &Job, now: Timestamp) -> Explanation {
    let status = job.status.clone().unwrap_or_default();
    let name = name(job);
    let attempt = if status.attempts > 1 { format!(" (attempt {})", status.attempts) } else { String::new() };
    // What a status says of a queue is over when the batch Job is there.
    let tells = status.phase.is_some_and(|phase| matches!(phase, JobPhase::Dispatched | JobPhase::Running));
    let blocker = said(job).filter(|_| tells);
    let mut explanation = Explanation { queue: status.queue, blocker, ..Explanation::default() };
    if let (Some(JobPhase::Running), Some(started)) = (status.phase, &status.started_at) {
        explanation.headline = format!("Job {name} is running for {}{attempt}.", ago(started.0, now));
    } else {
        let since = status.dispatched_at.as_ref().map(|at| format!(" {} ago", ago(at.0, now))).unwrap_or_default();
        explanation.headline = format!("Job {name} was launched{since}{attempt}, and no container has started.");
    }
    if let Some(WaitingFor::Suspended) = status.waiting_for {
        explanation
            .sentences
            .push("Its batch Job is suspended: whoever suspended it, such as Kueue, has to resume it.".into());
    }
    explanation.sentences.extend(sentence(job).filter(|_| tells).map(|it| full_stop(&capital(it))));
    explanation
}

/// A Job that has ended, as far as it says itself.
pub fn ended(job: &Job) -> Explanation {
    let status = job.status.clone().unwrap_or_default();
    let (Some(outcome), Some(run)) = (status.outcome, status.run_refs.last()) else { return without_record(job) };
    let reason = status.reason.map(|reason| format!(": {}", reason.as_str())).unwrap_or_default();
    Explanation {
        headline: format!("Job {} {}{reason}.", name(job), outcome.as_str()),
        sentences: vec![format!("Record: kubectl get rrun {} -o yaml", run.name)],
        queue: status.queue,
        ..Explanation::default()
    }
}

/// A Job that has ended and whose record is gone.
pub fn without_record(job: &Job) -> Explanation {
    let said =
        [conditions::FAILED, conditions::SKIPPED, conditions::CANCELLED].iter().find_map(|it| condition(job, it));
    Explanation {
        headline: format!("Job {} has ended; it has no record.", name(job)),
        sentences: said.map(|it| full_stop(&it.message)).into_iter().collect(),
        ..Explanation::default()
    }
}

fn name(job: &Job) -> &str {
    job.metadata.name.as_deref().unwrap_or_default()
}

/// What is waited for, in words.
fn words(waiting_for: WaitingFor) -> &'static str {
    match waiting_for {
        WaitingFor::Template => "its template",
        WaitingFor::Correction => "a correction",
        WaitingFor::Group => "its group",
        WaitingFor::GroupOrder => "the members of its group before it",
        WaitingFor::Hold => "somebody to take the hold off",
        WaitingFor::NotBefore => "its time",
        other => other.as_str(),
    }
}

/// What to do about it, where the sentence of the operator does not say it.
fn advice(waiting_for: WaitingFor) -> Option<&'static str> {
    match waiting_for {
        WaitingFor::Template => Some("Create or correct the template, or cancel the Job."),
        WaitingFor::Correction => Some("Change the Job or its template so that they fit, or cancel the Job."),
        WaitingFor::Group => Some("Create or start the group, or cancel the Job."),
        WaitingFor::Admission => Some("The launch is tried again by itself; ask whoever set the quota or policy."),
        _ => None,
    }
}

/// `: a, b and 3 more`, or nothing.
fn listed(jobs: &[&Job]) -> String {
    if jobs.is_empty() {
        return String::new();
    }
    let shown = jobs.iter().take(NAMES_MAX).map(|job| name(job)).collect::<Vec<_>>().join(", ");
    let more = jobs.len().saturating_sub(NAMES_MAX);
    if more == 0 { format!(": {shown}") } else { format!(": {shown} and {more} more") }
}

#[cfg(test)]
mod tests;
