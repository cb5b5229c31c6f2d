//! `kubectl rota why`: why a Job does not run, runs, or ended as it did, and what became of a time of a schedule, in sentences.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;

use super::cluster::NamespaceArguments;
use super::leader;
use super::objects::{Connection, list};
use super::plugin::{Answer, PluginError};
use super::print::{self, Colour, Format, Style};
use super::state::State;
use super::target::{Target, TargetKind};
use crate::api::job::WaitingFor;
use crate::api::labels::{ATTEMPT, JOB, JOB_UID};
use crate::api::{Job, JobPhase, JobRun, Outcome};
use crate::domain::explanation::{self, Explanation};
use crate::domain::outlook::{phase, said};
use crate::domain::words::{ago, capital, duration, full_stop};
use crate::domain::{names, place};

pub mod schedule;

/// Which Job, record or schedule.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Of a Job that is gone, its records answer. Of a schedule, without --at: how it stands, and what became of its latest \
    time. If no operator leads, standard error says so of what is still to run, where you may read its Lease.\n\nExit codes: 0 there is an answer, whatever it is; 1 nothing of that name, or refused; 2 wrong arguments; 5 no \
    cluster.\n\nExamples:\n  kubectl rota why report-7xk2p\n  kubectl rota why schedule/nightly --at 2026-11-26T02:30:00+01:00"
)]
pub struct Arguments {
    /// Job to explain, or the name of a JobRun, or schedule/NAME.
    #[arg(value_name = "JOB|RECORD|schedule/NAME")]
    pub target: Target,
    /// Of a schedule: which of its times, RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// text for people, or json: the sentences, with the words they are made of.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Where.
    #[command(flatten)]
    pub place: NamespaceArguments,
}

/// Answers.
pub async fn run(arguments: &Arguments, now: Timestamp, style: Style) -> Result<Answer, PluginError> {
    let at = arguments.at.as_deref().map(|at| print::instant("--at", at, now)).transpose()?;
    let kind = arguments.target.kind;
    if at.is_some() && kind != Some(TargetKind::Schedule) {
        return Err(PluginError::Usage("--at is about a time of a schedule: write schedule/NAME".into()));
    }
    if let Some(kind @ (TargetKind::Group | TargetKind::Queue | TargetKind::Template)) = kind {
        let message = format!(
            "a {} is not explained: write the name of a Job or of a record, or schedule/NAME; `kubectl rota tree` shows groups, \
             `kubectl rota queue` queues",
            kind.word()
        );
        return Err(PluginError::Usage(message));
    }
    let connection = Connection::open(&arguments.place, false).await?;
    let name = &arguments.target.name;
    let find_job = matches!(kind, None | Some(TargetKind::Job));
    let job: Option<Job> = if find_job { connection.find(name).await? } else { None };
    let (explanation, colour) = match (kind, &job) {
        (_, Some(job)) => explain(&connection, job, now).await?,
        (Some(TargetKind::Record), None) => of_record(&connection.get(name).await?, now),
        (Some(TargetKind::Schedule), None) => {
            schedule::explain(&connection, &connection.get(name).await?, at, now).await?
        }
        (_, None) => gone(&connection, name, now).await?,
    };
    let is_unfinished = job.as_ref().is_some_and(|job| !phase(job).is_some_and(JobPhase::is_ended));
    let waits_for_operator = is_unfinished || kind == Some(TargetKind::Schedule);
    let remarks = if waits_for_operator { leader::remark(&connection, now).await } else { String::new() };
    let output = match arguments.output {
        Format::Text => {
            let headline = match colour {
                Some(colour) => style.paint(&explanation.headline, colour),
                None => explanation.headline,
            };
            let rest: String = explanation.sentences.iter().map(|sentence| indented(sentence)).collect();
            format!("{headline}\n{rest}")
        }
        Format::Json => print::json(&explanation.json(name, job.as_ref()))?,
    };
    Ok(Answer { output, remarks, ..Answer::default() })
}

/// A sentence below the first one, which may have several lines: none of them looks like another first one.
fn indented(sentence: &str) -> String {
    format!("  {}\n", sentence.replace('\n', "\n    "))
}

/// An answer, and the colour of its first sentence.
type Told = (Explanation, Option<Colour>);

async fn explain(connection: &Connection, job: &Job, now: Timestamp) -> Result<Told, PluginError> {
    let mut explanation = match phase(job) {
        Some(JobPhase::Finished | JobPhase::Cancelled) => return ended(connection, job, now).await,
        Some(JobPhase::Dispatched | JobPhase::Running) => launched(connection, job, now).await,
        Some(JobPhase::Queued) if place::is_queued(job) => {
            let queue = place::queue_name(job);
            let state = State::fetch(connection, Some((Some(queue), now))).await?;
            explanation::queued(&state.seen(now).outlook(queue), job, said(job), true, now)
        }
        Some(JobPhase::Pending | JobPhase::Queued) | None => explanation::pending(job, said(job), now),
    };
    explanation.say_that_it_leaves(job);
    let started = job.status.as_ref().is_some_and(|status| status.started_at.is_some());
    let runs = phase(job) == Some(JobPhase::Running) && started;
    Ok((explanation, Some(if runs { Colour::Green } else { Colour::Yellow })))
}

/// A Job that was launched, with what its pods say. Who may not look at pods still learns what the operator says.
async fn launched(connection: &Connection, job: &Job, now: Timestamp) -> Explanation {
    let mut explanation = explanation::launched(job, now);
    let status = job.status.clone().unwrap_or_default();
    if let (Some(WaitingFor::Suspended), Some(batch)) = (status.waiting_for, &status.batch_job_ref) {
        let reasons = super::kueue::reasons(connection, &batch.uid).await;
        explanation.sentences.extend(reasons.iter().map(|it| full_stop(it)));
    }
    let attempt = status.attempts.max(1);
    let selected = format!("{JOB_UID}={},{ATTEMPT}={attempt}", job.uid().unwrap_or_default());
    let pods = list(&connection.api::<Pod>(), &ListParams::default().labels(&selected)).await;
    for pod in pods.map(|(pods, _)| pods).unwrap_or_default() {
        explanation.sentences.extend(pod_sentences(&pod));
    }
    explanation
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
async fn ended(connection: &Connection, job: &Job, now: Timestamp) -> Result<Told, PluginError> {
    let status = job.status.clone().unwrap_or_default();
    let last = match status.run_refs.last() {
        Some(run) => connection.find::<JobRun>(&run.name).await?,
        None => None,
    };
    let (mut explanation, colour) = match &last {
        Some(run) => recorded(&job.name_any(), run, now),
        None => (explanation::without_record(job), None),
    };
    if status.run_refs.len() > 1 {
        explanation.sentences.push(format!("It had {} attempts; this was the last.", status.run_refs.len()));
    }
    explanation.say_that_it_leaves(job);
    Ok((explanation, colour))
}

/// A Job that is gone: what its last record says.
async fn gone(connection: &Connection, name: &str, now: Timestamp) -> Result<Told, PluginError> {
    let of_job = ListParams::default().labels(&format!("{JOB}={}", names::label_value(name)));
    let (runs, _) = list(&connection.api::<JobRun>(), &of_job).await?;
    let is_its = |run: &JobRun| run.spec.job_ref.as_ref().is_some_and(|job| job.name == name);
    let when = |run: &JobRun| (run.metadata.creation_timestamp.as_ref().map(|time| time.0), run.spec.attempt);
    let last = runs.iter().filter(|run| is_its(run)).max_by_key(|run| when(run));
    let Some(last) = last else {
        // It may be the name of a record.
        if let Some(run) = connection.find::<JobRun>(name).await? {
            return Ok(of_record(&run, now));
        }
        return Err(PluginError::Failed(format!(
            "there is no job {name:?} in the namespace {:?}, and no record of one",
            connection.namespace
        )));
    };
    let (mut explanation, colour) = recorded(name, last, now);
    explanation.sentences.push("The Job is gone; this is from its record.".into());
    Ok((explanation, colour))
}

/// What a record says, of a Job or of a time for which none was made.
fn of_record(run: &JobRun, now: Timestamp) -> Told {
    match &run.spec.job_ref {
        Some(job) => recorded(&job.name, run, now),
        None => schedule::skipped(run),
    }
}

/// What a record says.
fn recorded(name: &str, run: &JobRun, now: Timestamp) -> Told {
    let Some(status) = &run.status else {
        let headline = format!("Job {name} has a record without content.");
        return (Explanation { headline, ..Explanation::default() }, None);
    };
    let when = status.finished_at.as_ref().map(|at| format!(" {} ago", ago(at.0, now))).unwrap_or_default();
    let exit = status.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
    let mut explanation = Explanation {
        headline: format!("Job {name} {}{when}: {}{exit}.", status.phase.as_str(), status.reason.as_str()),
        queue: Some(run.spec.queue.clone()).filter(|queue| !queue.is_empty()),
        ..Explanation::default()
    };
    explanation.sentences.extend(status.error.as_deref().map(full_stop));
    explanation.sentences.extend(status.notes.iter().map(|note| full_stop(&capital(note))));
    explanation.sentences.extend(status.cancelled_by.as_deref().map(|by| format!("Cancelled by {by}.")));
    if let Some(worker) = &status.worker_id {
        let took = status.duration_ms.map(|ms| format!(" for {}", duration(SignedDuration::from_millis(ms))));
        explanation.sentences.push(format!("It ran on {worker}{}.", took.unwrap_or_default()));
    }
    explanation.sentences.push(format!("Record: kubectl get rrun {} -o yaml", run.name_any()));
    let colour = match status.phase {
        Outcome::Completed => Colour::Green,
        Outcome::Failed => Colour::Red,
        Outcome::Skipped => Colour::Yellow,
    };
    (explanation, Some(colour))
}
