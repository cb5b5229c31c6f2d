//! `kubectl rota why`: why a Job does not run, runs, or ended as it did, in sentences.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;

use super::cluster::NamespaceArguments;
use super::objects::{Connection, list};
use super::plugin::{Answer, PluginError};
use super::print::{self, Colour, Format, Style, ago, within};
use super::queue::estimate_json;
use super::state::{Line, Standing, State, condition, phase, sentence, waiting_for};
use super::target::{Target, TargetKind};
use crate::api::job::WaitingFor;
use crate::api::labels::{ATTEMPT, JOB, JOB_UID};
use crate::api::{Job, JobPhase, JobRun, Outcome};
use crate::domain::estimate::Estimate;
use crate::domain::queue::ordinal;
use crate::domain::{conditions, line, names};

/// How many names a sentence lists.
const NAMES_MAX: usize = 5;

/// Which Job.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Of a Job that is gone, its records answer.\n\nExit codes: 0 there is an answer, whatever it is; 1 no cluster, no such \
    Job nor record, or refused; 2 wrong arguments.\n\nExample:\n  kubectl rota why report-7xk2p"
)]
pub struct Arguments {
    /// Job to explain.
    #[arg(value_name = "JOB")]
    pub target: Target,
    /// text for people, or json: the sentences, with the words they are made of.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Where.
    #[command(flatten)]
    pub place: NamespaceArguments,
}

/// An answer in the making.
#[derive(Debug, Default)]
struct Explanation {
    /// The first sentence, by itself.
    headline: String,
    colour: Option<Colour>,
    sentences: Vec<String>,
    place: Option<usize>,
    queue: Option<String>,
    estimate: Option<Estimate>,
}

/// Answers.
pub async fn run(arguments: &Arguments, now: Timestamp, style: Style) -> Result<Answer, PluginError> {
    if arguments.target.kind.is_some_and(|kind| kind != TargetKind::Job) {
        return Err(PluginError::Usage(
            "write the name of a Job; `kubectl rota tree` shows groups and schedules".into(),
        ));
    }
    let connection = Connection::open(&arguments.place, false).await?;
    let name = &arguments.target.name;
    let job: Option<Job> = connection.find(name).await?;
    let explanation = match &job {
        Some(job) => explain(&connection, job, now).await?,
        None => gone(&connection, name, now).await?,
    };
    let output = match arguments.output {
        Format::Text => {
            let headline = match explanation.colour {
                Some(colour) => style.paint(&explanation.headline, colour),
                None => explanation.headline,
            };
            let rest: String = explanation.sentences.iter().map(|sentence| format!("  {sentence}\n")).collect();
            format!("{headline}\n{rest}")
        }
        Format::Json => {
            let sentences: Vec<&String> = [&explanation.headline].into_iter().chain(&explanation.sentences).collect();
            print::json(&json!({
                "job": name,
                "exists": job.is_some(),
                "phase": job.as_ref().and_then(phase),
                "outcome": job.as_ref().and_then(|job| job.status.as_ref()?.outcome),
                "reason": job.as_ref().and_then(|job| job.status.as_ref()?.reason),
                "waitingFor": job.as_ref().and_then(waiting_for),
                "queue": explanation.queue,
                "place": explanation.place,
                "start": explanation.estimate.as_ref().map(estimate_json),
                "sentences": sentences,
            }))?
        }
    };
    Ok(Answer { output, ..Answer::default() })
}

async fn explain(connection: &Connection, job: &Job, now: Timestamp) -> Result<Explanation, PluginError> {
    let mut explanation = match phase(job) {
        Some(JobPhase::Finished | JobPhase::Cancelled) => ended(connection, job, now).await?,
        Some(JobPhase::Dispatched | JobPhase::Running) => launched(connection, job, now).await?,
        Some(JobPhase::Queued) if line::is_queued(job) => {
            let state = State::fetch(connection, Some(Some(line::queue_name(job)))).await?;
            queued(&state, job, now)
        }
        Some(JobPhase::Pending | JobPhase::Queued) | None if line::is_waiting(job) => pending(job, now),
        Some(JobPhase::Pending | JobPhase::Queued) | None => Explanation {
            headline: format!("Job {} is about to end.", job.name_any()),
            colour: Some(Colour::Yellow),
            ..Explanation::default()
        },
    };
    if !phase(job).is_some_and(JobPhase::is_ended) {
        if let Some(cancel) = &job.spec.cancel {
            let by = cancel.requested_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
            let why = if cancel.reason.is_empty() { String::new() } else { format!(": {}", cancel.reason) };
            explanation.sentences.insert(0, format!("It was cancelled{by}{why}."));
        } else if job.metadata.deletion_timestamp.is_some() {
            explanation.sentences.insert(0, "It is being deleted; it goes when its outcome is recorded.".into());
        }
    }
    Ok(explanation)
}

/// A Job that is not queued.
fn pending(job: &Job, now: Timestamp) -> Explanation {
    let mut explanation = Explanation { colour: Some(Colour::Yellow), ..Explanation::default() };
    let name = job.name_any();
    match (waiting_for(job), sentence(job)) {
        (Some(waiting_for), why) => {
            explanation.headline = format!("Job {name} is not queued yet: it waits for {}.", words(waiting_for));
            explanation.sentences.extend(why.map(full_stop));
            explanation.sentences.extend(advice(waiting_for).map(str::to_owned));
        }
        (None, _) => {
            explanation.headline = format!("Job {name} is new.");
            let age = job.metadata.creation_timestamp.as_ref().map(|time| ago(time.0, now)).unwrap_or_default();
            let hint =
                format!("The operator has said nothing of it in {age}; if that does not change, look whether it runs.");
            explanation.sentences.push(hint);
        }
    }
    explanation
}

/// A Job in its queue.
fn queued(state: &State, job: &Job, now: Timestamp) -> Explanation {
    let queue = line::queue_name(job);
    let line = state.line(queue, now);
    let name = job.name_any();
    let mut explanation =
        Explanation { colour: Some(Colour::Yellow), queue: Some(queue.into()), ..Explanation::default() };
    let Some(standing) = line.waiting.iter().find(|it| it.job.uid() == job.uid()) else {
        explanation.headline = format!("Job {name} was launched or has ended just now; ask again.");
        return explanation;
    };
    explanation.place = standing.place;
    explanation.estimate = Some(standing.estimate.clone());
    explanation.headline = match standing.place {
        Some(place) => {
            let in_line = line.waiting.iter().filter(|it| it.place.is_some()).count();
            format!("Job {name} is {} of {in_line} in queue {queue}.", ordinal(place))
        }
        None => format!("Job {name} is in queue {queue}, and not in line."),
    };
    explanation.sentences = reasons(standing, &line, now);
    explanation
}

/// What keeps a queued Job, the most important first.
fn reasons(standing: &Standing<'_>, line: &Line<'_>, now: Timestamp) -> Vec<String> {
    let job = standing.job;
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
    match &line.paused {
        Some(paused) => sentences.push(full_stop(&capital(&paused.message))),
        None if line.queue.is_none() => sentences.push("Its queue does not exist: create it.".into()),
        None => {}
    }
    if let Some(max) = line.queue.and_then(|queue| queue.spec.max_running) {
        sentences.push(format!("{} of {max} running{}.", line.running.len(), listed(line.running.iter().copied())));
    }
    let before = line.waiting.iter().take(standing.place.unwrap_or(1) - 1).map(|it| it.job);
    if standing.place.is_some_and(|place| place > 1) {
        sentences.push(format!("Before it{}.", listed(before)));
    }
    if standing.increase > 0 {
        let own = standing.rank.priority.0 - standing.increase;
        sentences.push(format!("Its priority is {own}, and {} more for waiting.", standing.increase));
    }
    // The queue's own words were true when they were written; what is counted above is true now.
    if let Some(waiting_for) = waiting_for(job).filter(|it| !told_by_the_queue(*it)) {
        sentences.extend(sentence(job).map(full_stop));
        sentences.extend(advice(waiting_for).map(str::to_owned));
    }
    sentences.push(match &standing.estimate {
        Estimate::Between(..) => format!("It will probably start {}.", within(&standing.estimate, now)),
        Estimate::Unknown(why) => format!("When it will start cannot be said: {why}."),
    });
    sentences
}

fn told_by_the_queue(waiting_for: WaitingFor) -> bool {
    matches!(
        waiting_for,
        WaitingFor::QueueLimit
            | WaitingFor::QueuePaused
            | WaitingFor::NamespacePaused
            | WaitingFor::ClusterPaused
            | WaitingFor::Queue
            | WaitingFor::Hold
            | WaitingFor::NotBefore
            | WaitingFor::Retry
    )
}

/// A Job that was launched.
async fn launched(connection: &Connection, job: &Job, now: Timestamp) -> Result<Explanation, PluginError> {
    let status = job.status.clone().unwrap_or_default();
    let name = job.name_any();
    let attempt = if status.attempts > 1 { format!(" (attempt {})", status.attempts) } else { String::new() };
    let mut explanation = Explanation { queue: status.queue.clone(), ..Explanation::default() };
    if let (Some(JobPhase::Running), Some(started)) = (phase(job), &status.started_at) {
        explanation.headline = format!("Job {name} is running for {}{attempt}.", ago(started.0, now));
        explanation.colour = Some(Colour::Green);
    } else {
        let since = status.dispatched_at.as_ref().map(|at| format!(" {} ago", ago(at.0, now))).unwrap_or_default();
        explanation.headline = format!("Job {name} was launched{since}{attempt}, and no container has started.");
        explanation.colour = Some(Colour::Yellow);
    }
    if let Some(WaitingFor::Suspended) = status.waiting_for {
        explanation
            .sentences
            .push("Its batch Job is suspended: whoever suspended it, such as Kueue, has to resume it.".into());
    }
    explanation.sentences.extend(sentence(job).map(|it| full_stop(&capital(it))));
    if let (Some(WaitingFor::Suspended), Some(batch)) = (status.waiting_for, &status.batch_job_ref) {
        let reasons = super::kueue::reasons(connection, &batch.uid).await;
        explanation.sentences.extend(reasons.iter().map(|it| full_stop(it)));
    }
    let selected = format!("{JOB_UID}={},{ATTEMPT}={}", job.uid().unwrap_or_default(), status.attempts.max(1));
    // Who may not look at pods still learns what the operator says.
    let pods = list(&connection.api::<Pod>(), &ListParams::default().labels(&selected)).await;
    for pod in pods.map(|(pods, _)| pods).unwrap_or_default() {
        explanation.sentences.extend(pod_sentences(&pod));
    }
    Ok(explanation)
}

/// What a pod says of why it does not run; where it is if it does.
fn pod_sentences(pod: &Pod) -> Vec<String> {
    let name = pod.name_any();
    let status = pod.status.clone().unwrap_or_default();
    let mut sentences = Vec::new();
    for condition in status.conditions.iter().flatten().filter(|it| it.type_ == "PodScheduled" && it.status == "False")
    {
        let why = condition.message.as_deref().or(condition.reason.as_deref()).unwrap_or("not scheduled");
        sentences.push(format!("Pod {name} has no node: {}", full_stop(why)));
    }
    let containers = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    for container in containers {
        let Some(waiting) = container.state.as_ref().and_then(|state| state.waiting.as_ref()) else { continue };
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        let message = waiting.message.as_deref().map(|it| format!(": {it}")).unwrap_or_default();
        sentences.push(full_stop(&format!("Container {} of pod {name} waits: {reason}{message}", container.name)));
    }
    if sentences.is_empty()
        && let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref())
    {
        sentences.push(format!("Pod {name} is on node {node}."));
    }
    sentences
}

/// A Job that has ended.
async fn ended(connection: &Connection, job: &Job, now: Timestamp) -> Result<Explanation, PluginError> {
    let status = job.status.clone().unwrap_or_default();
    let last = match status.run_refs.last() {
        Some(run) => connection.find::<JobRun>(&run.name).await?,
        None => None,
    };
    let mut explanation = match &last {
        Some(run) => recorded(&job.name_any(), run, now),
        None => Explanation {
            headline: format!("Job {} has ended; it has no record.", job.name_any()),
            ..Explanation::default()
        },
    };
    let said =
        [conditions::FAILED, conditions::SKIPPED, conditions::CANCELLED].iter().find_map(|it| condition(job, it));
    if last.is_none() {
        explanation.sentences.extend(said.map(|it| full_stop(&it.message)));
    }
    if status.run_refs.len() > 1 {
        explanation.sentences.push(format!("It had {} attempts; this was the last.", status.run_refs.len()));
    }
    Ok(explanation)
}

/// A Job that is gone: what its last record says.
async fn gone(connection: &Connection, name: &str, now: Timestamp) -> Result<Explanation, PluginError> {
    let of_job = ListParams::default().labels(&format!("{JOB}={}", names::label_value(name)));
    let (runs, _) = list(&connection.api::<JobRun>(), &of_job).await?;
    let is_its = |run: &JobRun| run.spec.job_ref.as_ref().is_some_and(|job| job.name == name);
    let when = |run: &JobRun| (run.metadata.creation_timestamp.as_ref().map(|time| time.0), run.spec.attempt);
    let last = runs.iter().filter(|run| is_its(run)).max_by_key(|run| when(run));
    let Some(last) = last else {
        return Err(PluginError::Failed(format!(
            "there is no job {name:?} in the namespace {:?}, and no record of one",
            connection.namespace
        )));
    };
    let mut explanation = recorded(name, last, now);
    explanation.sentences.push("The Job is gone; this is from its record.".into());
    Ok(explanation)
}

/// What a record says.
fn recorded(name: &str, run: &JobRun, now: Timestamp) -> Explanation {
    let Some(status) = &run.status else {
        return Explanation { headline: format!("Job {name} has a record without content."), ..Explanation::default() };
    };
    let when = status.finished_at.as_ref().map(|at| format!(" {} ago", ago(at.0, now))).unwrap_or_default();
    let exit = status.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
    let mut explanation = Explanation {
        headline: format!("Job {name} {}{when}: {}{exit}.", status.phase.as_str(), status.reason.as_str()),
        colour: Some(match status.phase {
            Outcome::Completed => Colour::Green,
            Outcome::Failed => Colour::Red,
            Outcome::Skipped => Colour::Yellow,
        }),
        queue: Some(run.spec.queue.clone()).filter(|queue| !queue.is_empty()),
        ..Explanation::default()
    };
    explanation.sentences.extend(status.error.as_deref().map(full_stop));
    explanation.sentences.extend(status.cancelled_by.as_deref().map(|by| format!("Cancelled by {by}.")));
    if let Some(worker) = &status.worker_id {
        let took = status
            .duration_ms
            .map(|ms| format!(" for {}", super::table::duration(jiff::SignedDuration::from_millis(ms))));
        explanation.sentences.push(format!("It ran on {worker}{}.", took.unwrap_or_default()));
    }
    explanation.sentences.push(format!("Record: kubectl get rrun {} -o yaml", run.name_any()));
    explanation
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
fn listed<'a>(jobs: impl Iterator<Item = &'a Job>) -> String {
    let all: Vec<String> = jobs.map(ResourceExt::name_any).collect();
    if all.is_empty() {
        return String::new();
    }
    let more = all.len().saturating_sub(NAMES_MAX);
    let shown = all.into_iter().take(NAMES_MAX).collect::<Vec<_>>().join(", ");
    if more == 0 { format!(": {shown}") } else { format!(": {shown} and {more} more") }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

fn full_stop(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?', ':']) { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_once() {
        assert_eq!((full_stop("a"), full_stop("a."), capital("queue x")), ("a.".into(), "a.".into(), "Queue x".into()));
    }
}
