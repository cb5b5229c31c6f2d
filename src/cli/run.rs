//! `kubectl rota run`: a Job from a template or of a schedule, now or later; waits for its end and shows its log if asked to.

use std::io::Write;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::cancel;
use super::cluster::NamespaceArguments;
use super::follow::Follower;
use super::objects::{Connection, Live, refused, shown};
use super::plugin::{Answer, CANCELLED, FAILED, LATE, OK, PluginError};
use super::print::{self, DryRun, Format, Style, dry};
use super::target::{Target, TargetKind};
use crate::api::job::WaitingFor;
use crate::api::job_template::ParamValues;
use crate::api::{Job, JobPhase, JobRun, JobSpec, JobTemplate, LocalReference, ObjectReference, Outcome, Schedule};
use crate::domain::outlook::{phase, sentence, waiting_for};
use crate::domain::{names, params};

/// How much of the name of a template stands in the name of a Job of it, in characters.
const NAME_MAX: usize = 40;

/// How long a new Job may be without a status before the operator is missed.
const OPERATOR_MISSED: Duration = Duration::from_secs(20);
/// How often it is looked whether time has passed.
const TICK: Duration = Duration::from_secs(1);

/// What to run, with what, and when.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "schedule/NAME runs the template of a Schedule with its parameters, its priority and its queue, unless flags say otherwise. The \
    run counts as one of the Schedule: its concurrencyPolicy holds for it. Parameters are checked against the template before anything is \
    sent. --follow shows the log of each attempt's first container (or of the pod's default container) from the start.\n\nExit codes: 0 \
    created, with --wait or --follow: Completed; 1 not found, refused, or Failed; 2 wrong arguments or parameters; 3 Skipped; 4 cancelled; 5 no \
    cluster, or no operator took it up within --timeout; 6 it had not ended within --timeout.\n\nExamples:\n  kubectl rota run report -p \
    region=eu -p month=2026-10 --follow\n  kubectl rota run report --at +10m --priority 5\n  kubectl rota run schedule/nightly --wait \
    --timeout 30m --cancel-on-timeout"
)]
pub struct Arguments {
    /// JobTemplate to run, or schedule/NAME.
    #[arg(value_name = "TEMPLATE|schedule/NAME")]
    pub target: Target,
    /// Value of a parameter; may be repeated.
    #[arg(short, long = "param", value_name = "NAME=VALUE", value_parser = param)]
    pub params: Vec<(String, String)>,
    /// Name of the Job. Default: the template's with a suffix.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Not before that time: RFC 3339, or from now as +10m.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Priority; higher goes first. Default: the template's.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub priority: Option<i32>,
    /// Queue to wait in. Default: the template's.
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// While an unfinished Job has the same key, this one is skipped.
    #[arg(long, value_name = "KEY")]
    pub dedup_key: Option<String>,
    /// Wait until it has ended.
    #[arg(long)]
    pub wait: bool,
    /// Show its log as it comes, and wait.
    #[arg(short, long)]
    pub follow: bool,
    /// Wait for at most so long, such as 90s or 30m. The Job goes on. Default: until it has ended.
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// Cancel the Job when --timeout has passed.
    #[arg(long, requires = "timeout")]
    pub cancel_on_timeout: bool,
    /// Only ask the API server whether it would accept it.
    #[arg(long, value_enum, value_name = "WHERE", conflicts_with_all = ["wait", "follow"])]
    pub dry_run: Option<DryRun>,
    /// text for people, or json: the Job, with --wait as it ended.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Where.
    #[command(flatten)]
    pub place: NamespaceArguments,
}

fn param(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name.is_empty() { Err("write NAME=VALUE".into()) } else { Ok((name.to_owned(), value.to_owned())) }
}

/// Answers.
pub async fn run(
    arguments: &Arguments,
    now: Timestamp,
    style: Style,
    output: &mut dyn Write,
) -> Result<Answer, PluginError> {
    if arguments.follow && arguments.output == Format::Json {
        return Err(PluginError::Usage("--follow prints the log: leave out -o json, or use --wait".into()));
    }
    let waits = arguments.wait || arguments.follow;
    let timeout = arguments.timeout.as_deref().map(|text| print::length("--timeout", text)).transpose()?;
    if timeout.is_some() && !waits {
        return Err(PluginError::Usage("--timeout says how long to wait: write --wait or --follow too".into()));
    }
    let given = given(&arguments.params)?;
    let at = arguments.at.as_deref().map(|at| print::instant("--at", at, now)).transpose()?;
    let connection = Connection::open(&arguments.place, waits).await?;
    let schedule = match arguments.target.kind {
        None | Some(TargetKind::Template) => None,
        Some(TargetKind::Schedule) => Some(connection.get::<Schedule>(&arguments.target.name).await?),
        Some(other) => {
            let message = format!("a {} is not run: write the name of a template, or schedule/NAME", other.word());
            return Err(PluginError::Usage(message));
        }
    };
    let name = schedule.as_ref().map_or(&arguments.target.name, |schedule| &schedule.spec.template_ref.name);
    let template: JobTemplate = connection.get(name).await?;
    check(&template, schedule.as_ref(), &given)?;
    let parameters = PostParams { dry_run: arguments.dry_run.is_some(), ..PostParams::default() };
    let new = job(arguments, schedule.as_ref(), name, given, at);
    let job = shown(connection.api().create(&parameters, &new).await.map_err(refused)?);
    let later = at.map(|at| format!(", to start at {at} at the earliest")).unwrap_or_default();
    let made = format!("job {} created{later}{}\n", job.name_any(), dry(arguments.dry_run));
    if !waits {
        return Ok(match arguments.output {
            Format::Json => Answer { output: print::json(&job)?, ..Answer::default() },
            Format::Text => Answer { output: made, ..Answer::default() },
        });
    }
    eprint!("{made}");
    let follower = Follower::new(connection.clone(), style.terminal);
    let ended = wait(arguments, &connection, job, follower, timeout.map(SignedDuration::unsigned_abs), output).await?;
    let (exit_code, mut remarks) = verdict(&ended);
    remarks.push_str(&failure(&connection, &ended).await);
    let output = if arguments.output == Format::Json { print::json(&ended)? } else { String::new() };
    Ok(Answer { output, remarks, exit_code })
}

fn given(params: &[(String, String)]) -> Result<ParamValues, PluginError> {
    let mut values = ParamValues::new();
    for (name, value) in params {
        if values.insert(name.clone(), value.clone()).is_some() {
            return Err(PluginError::Usage(format!("-p {name}: given twice")));
        }
    }
    Ok(values)
}

/// Whether the operator would take it, as far as the template says.
fn check(template: &JobTemplate, schedule: Option<&Schedule>, given: &ParamValues) -> Result<(), PluginError> {
    let name = template.name_any();
    if template.spec.archived {
        return Err(PluginError::Failed(format!("template {name} is archived: no new Jobs are made of it")));
    }
    let of_schedule = schedule.map(|schedule| &schedule.spec.params);
    let layers: Vec<&ParamValues> = of_schedule.into_iter().chain([given]).collect();
    params::resolve(&template.spec.params, &layers).map(|_| ()).map_err(|errors| {
        let errors = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        PluginError::Usage(format!("template {name}: {errors}"))
    })
}

/// The Job. What it takes from its schedule the operator fills in.
fn job(
    arguments: &Arguments,
    schedule: Option<&Schedule>,
    template: &str,
    params: ParamValues,
    at: Option<Timestamp>,
) -> Job {
    let of = schedule.map(|schedule| ObjectReference {
        name: schedule.name_any(),
        uid: schedule.metadata.uid.clone().unwrap_or_default(),
    });
    let spec = JobSpec {
        template_ref: Some(LocalReference { name: template.to_owned() }),
        schedule_ref: of,
        params,
        queue: arguments.queue.clone(),
        priority: arguments.priority,
        dedup_key: arguments.dedup_key.clone(),
        not_before: at.map(MicroTime),
        ..JobSpec::default()
    };
    let mut job = Job::new(arguments.name.as_deref().unwrap_or_default(), spec);
    if arguments.name.is_none() {
        job.metadata.name = None;
        job.metadata.generate_name = Some(format!("{}-", names::shorten(&arguments.target.name, NAME_MAX)));
    }
    job
}

/// Waits for the end of a Job, saying what it waits for, and showing its log if asked to.
async fn wait(
    arguments: &Arguments,
    connection: &Connection,
    job: Job,
    follower: Follower,
    timeout: Option<Duration>,
    output: &mut dyn Write,
) -> Result<Job, PluginError> {
    let name = job.name_any();
    let mut waiter = Waiter { live: Live::of(connection.api::<Job>(), job), follower, said: None, is_told: false };
    let Some(timeout) = timeout else { return waiter.wait(arguments, &name, output).await };
    if let Ok(ended) = tokio::time::timeout(timeout, waiter.wait(arguments, &name, output)).await {
        return ended;
    }
    let taken_up = waiter.live.objects.get(&name).and_then(phase).is_some();
    let mut message = format!("job {name} had not ended after {}", arguments.timeout.as_deref().unwrap_or_default());
    if arguments.cancel_on_timeout {
        let cancel = cancel::request(connection, "kubectl rota run --cancel-on-timeout").await;
        let patch = Patch::Merge(json!({ "spec": { "cancel": cancel } }));
        connection.api::<Job>().patch(&name, &PatchParams::default(), &patch).await.map_err(refused)?;
        message.push_str(", and is cancelled");
    }
    if taken_up {
        return Err(PluginError::TimedOut(message));
    }
    Err(PluginError::Unreachable(format!("{message}: {NO_OPERATOR}")))
}

/// What a Job without a status means.
const NO_OPERATOR: &str =
    "no operator has taken it up; check that Rota runs (`kubectl get pods,lease --all-namespaces | grep rota`)";

/// Who waits for a Job.
struct Waiter {
    live: Live<Job>,
    follower: Follower,
    /// What the Job waited for when that was said last.
    said: Option<WaitingFor>,
    /// Whether it was said that no operator takes it up.
    is_told: bool,
}

impl Waiter {
    async fn wait(&mut self, arguments: &Arguments, name: &str, output: &mut dyn Write) -> Result<Job, PluginError> {
        let begun = std::time::Instant::now();
        loop {
            let Some(job) = self.live.objects.get(name).cloned() else {
                return Err(PluginError::Failed(format!("job {name} was deleted")));
            };
            if waiting_for(&job) != self.said && phase(&job) != Some(JobPhase::Running) {
                self.said = waiting_for(&job);
                if let Some(why) = self.said.and(sentence(&job)) {
                    eprintln!("job {name} waits: {why}");
                }
            }
            if arguments.follow {
                self.follower.catch_up(&job, output).await?;
            }
            if phase(&job).is_some_and(JobPhase::is_ended) {
                return Ok(job);
            }
            if phase(&job).is_none() && !self.is_told {
                if begun.elapsed() > OPERATOR_MISSED {
                    self.is_told = true;
                    eprintln!("job {name} waits: {NO_OPERATOR}");
                }
                if let Ok(changed) = tokio::time::timeout(TICK, self.live.changed()).await {
                    changed?;
                }
            } else {
                self.live.changed().await?;
            }
        }
    }
}

/// How a Job that failed did so, from its record: the exit code, and the first line of the error.
async fn failure(connection: &Connection, job: &Job) -> String {
    let status = job.status.clone().unwrap_or_default();
    let Some(last) = status.run_refs.last().filter(|_| status.outcome == Some(Outcome::Failed)) else {
        return String::new();
    };
    // Who may not read records has the status.
    let Ok(Some(run)) = connection.find::<JobRun>(&last.name).await else { return String::new() };
    let Some(record) = run.status else { return String::new() };
    let code = record.exit_code.map(|code| format!("exit code {code}"));
    let error = record.error.as_deref().and_then(|error| error.lines().next()).map(str::to_owned);
    let said: Vec<String> = code.into_iter().chain(error).collect();
    if said.is_empty() { String::new() } else { format!("{}\n", said.join(": ")) }
}

/// What the end of a Job means.
fn verdict(job: &Job) -> (u8, String) {
    let status = job.status.clone().unwrap_or_default();
    let outcome = status.outcome.map_or("Cancelled", Outcome::as_str);
    let reason = status.reason.map(|reason| format!(" ({})", reason.as_str())).unwrap_or_default();
    let why = status
        .conditions
        .iter()
        .find(|it| it.status == "True" && matches!(it.type_.as_str(), "Failed" | "Skipped" | "Cancelled"))
        .map(|it| format!(": {}", it.message));
    let exit_code = match (status.phase, status.outcome) {
        (Some(JobPhase::Cancelled), _) => CANCELLED,
        (_, Some(Outcome::Completed)) => OK,
        (_, Some(Outcome::Skipped)) => LATE,
        (_, Some(Outcome::Failed) | None) => FAILED,
    };
    let cancelled = if exit_code == CANCELLED { "cancelled, " } else { "" };
    (exit_code, format!("job {} {cancelled}{outcome}{reason}{}\n", job.name_any(), why.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ended(status: Value) -> Job {
        let whole = json!({
            "apiVersion": "rota.dev/v1alpha1", "kind": "Job", "metadata": { "name": "a" }, "spec": {}, "status": status,
        });
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn the_exit_code_tells_how_it_ended() {
        for (status, code) in [
            (json!({ "phase": "Finished", "outcome": "Completed", "reason": "Succeeded" }), OK),
            (json!({ "phase": "Finished", "outcome": "Failed", "reason": "ExitCode" }), FAILED),
            (json!({ "phase": "Finished", "outcome": "Skipped", "reason": "DuplicateKey" }), LATE),
            (json!({ "phase": "Cancelled", "outcome": "Failed", "reason": "Cancelled" }), CANCELLED),
            (json!({ "phase": "Cancelled", "outcome": "Skipped", "reason": "Cancelled" }), CANCELLED),
        ] {
            assert_eq!(verdict(&ended(status.clone())).0, code, "{status}");
        }
    }

    #[test]
    fn parameters_are_split_at_the_first_equals_sign_and_given_once() {
        assert_eq!(param("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(param("a="), Ok(("a".into(), String::new())));
        assert!(param("a").is_err() && param("=b").is_err());
        let twice = [("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
        assert!(given(&twice).is_err());
    }
}
