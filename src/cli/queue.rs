//! `kubectl rota queue`: the queues of a namespace, or one line in its order: place, what each waits for, when it will start.

use std::io::Write;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

use super::cluster::NamespaceArguments;
use super::leader;
use super::objects::Connection;
use super::plugin::{Answer, PluginError};
use super::print::{self, Format, Style};
use super::state::State;
use super::table::table;
use super::target::{Target, TargetKind};
use crate::api::Job;
use crate::domain::estimate::Estimate;
use crate::domain::outlook::{Outlook, Standing, line_json, queue_json, template};
use crate::domain::words::{ago, in_one_line, within};

/// Which queue, and how.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Places are those of the operator: by priority (raised by aging), position, and time of queueing. Jobs without a \
    place (-) are held or wait for a time. An estimate is a range: a start before it, or after it, should be rare; it comes from past \
    runs of the same templates. If no operator leads, standard error says so (not with -w), where you may read its Lease.\n\nExit codes: 0 done, 1 no such queue or refused, 2 wrong arguments, 5 no cluster.\n\nExamples:\n  \
    kubectl rota queue\n  kubectl rota queue reports -w\n  kubectl rota queue reports -o json | jq '.waitingJobs[0].name'"
)]
pub struct Arguments {
    /// Queue to show in full. Default: all queues of the namespace, a line each.
    pub queue: Option<Target>,
    /// Show it again whenever it changes.
    #[arg(short, long)]
    pub watch: bool,
    /// text for people, or json: one document, with -w one a line.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Where.
    #[command(flatten)]
    pub place: NamespaceArguments,
}

/// Answers.
pub async fn run(
    arguments: &Arguments,
    clock: fn() -> Timestamp,
    style: Style,
    output: &mut dyn Write,
) -> Result<Answer, PluginError> {
    let name = match &arguments.queue {
        Some(target) if target.kind.is_some_and(|kind| kind != TargetKind::Queue) => {
            return Err(PluginError::Usage("write the name of a queue".into()));
        }
        target => target.as_ref().map(|target| target.name.as_str()),
    };
    let connection = Connection::open(&arguments.place, arguments.watch).await?;
    let mut state = State::fetch(&connection, Some((name, clock()))).await?;
    if let Some(name) = name.filter(|name| !state.seen(clock()).queue_names().contains(*name)) {
        return Err(connection.missing("queue", name));
    }
    if arguments.watch {
        state.jobs.watch().await?;
        state.queues.watch().await?;
    }
    let mut is_first = true;
    loop {
        let text = show(&state, name, arguments, style, clock())?;
        if !arguments.watch {
            let remarks = leader::remark(&connection, clock()).await;
            return Ok(Answer { output: text, remarks, ..Answer::default() });
        }
        let on = Style { terminal: style.terminal && arguments.output == Format::Text, ..style };
        let separate = arguments.output == Format::Text && !is_first;
        if !on.redraw(output, &text, !separate) {
            return Ok(Answer::default());
        }
        is_first = false;
        tokio::select! {
            changed = state.jobs.changed() => changed?,
            changed = state.queues.changed() => changed?,
            changed = state.groups.changed(), if state.has_groups => changed?,
        }
        state.fetch_groups(&connection).await?;
    }
}

fn show(
    state: &State,
    name: Option<&str>,
    arguments: &Arguments,
    style: Style,
    now: Timestamp,
) -> Result<String, PluginError> {
    let document = |value: &Value| if arguments.watch { print::json_line(value) } else { print::json(value) };
    let seen = state.seen(now);
    match (name, arguments.output) {
        (Some(name), Format::Text) => Ok(line_text(name, &seen.outlook(name), style, now)),
        (Some(name), Format::Json) => document(&line_json(name, &seen, &seen.outlook(name), usize::MAX)),
        (None, format) => {
            let outlooks: Vec<(&str, Outlook<'_>)> =
                seen.queue_names().into_iter().map(|name| (name, seen.outlook(name))).collect();
            match format {
                Format::Text => Ok(queues_text(&outlooks, now)),
                Format::Json => document(&Value::from_iter(outlooks.iter().map(|(name, it)| queue_json(name, it)))),
            }
        }
    }
}

/// A line for each queue.
fn queues_text(outlooks: &[(&str, Outlook<'_>)], now: Timestamp) -> String {
    if outlooks.is_empty() {
        return "There is no queue here yet; the queue default comes with the first Job.\n".into();
    }
    let rows: Vec<[String; 7]> = outlooks
        .iter()
        .map(|(name, outlook)| {
            let oldest = outlook.waiting.iter().map(|it| it.rank.queued_at).min();
            [
                (*name).to_owned(),
                outlook.queue.map_or("(no such queue)".into(), |it| {
                    it.spec.max_running.map_or("-".into(), |max| max.to_string())
                }),
                outlook.running.len().to_string(),
                outlook.waiting.len().to_string(),
                oldest.map(|oldest| ago(oldest, now)).unwrap_or_default(),
                within(&outlook.next, now),
                outlook.paused.as_ref().map(|paused| paused.message.clone()).unwrap_or_default(),
            ]
        })
        .collect();
    table(["NAME", "MAX", "RUNNING", "WAITING", "OLDEST", "A NEW JOB STARTS", "PAUSED"], &rows)
}

/// The line of one queue.
pub fn line_text(name: &str, outlook: &Outlook<'_>, style: Style, now: Timestamp) -> String {
    let limit =
        outlook.queue.and_then(|queue| queue.spec.max_running).map(|max| format!(" of {max}")).unwrap_or_default();
    let mut text =
        format!("queue {name}: {}{limit} running, {} waiting\n", outlook.running.len(), outlook.waiting.len());
    if let Some(paused) = &outlook.paused {
        text += &format!("{}\n", style.paint(&in_one_line(&paused.message), print::Colour::Yellow));
    }
    let running: Vec<[String; 3]> = outlook.running.iter().map(|job| running_row(job, now)).collect();
    if !running.is_empty() {
        text += &table(["RUNNING", "TEMPLATE", "FOR"], &running);
    }
    if outlook.waiting.is_empty() {
        return text;
    }
    let rows: Vec<[String; 7]> = outlook.waiting.iter().map(|it| waiting_row(it, now)).collect();
    text + &table(["#", "WAITING", "PRIORITY", "POSITION", "FOR", "START", "WHY"], &rows)
}

fn running_row(job: &Job, now: Timestamp) -> [String; 3] {
    let started = job.status.as_ref().and_then(|status| status.started_at.as_ref());
    let ran = started.map_or("starting".into(), |started| ago(started.0, now));
    [job.name_any(), template(job).unwrap_or_default(), ran]
}

fn waiting_row(standing: &Standing<'_>, now: Timestamp) -> [String; 7] {
    let job = standing.job;
    let own = standing.rank.priority.0 - standing.increase;
    let priority = if standing.increase > 0 { format!("{own}+{}", standing.increase) } else { own.to_string() };
    [
        standing.place.map_or("-".into(), |place| place.to_string()),
        job.name_any(),
        priority,
        job.spec.position.map(|position| position.to_string()).unwrap_or_default(),
        ago(standing.rank.queued_at, now),
        within(&standing.estimate, now),
        why(standing),
    ]
}

fn why(standing: &Standing<'_>) -> String {
    let waits = standing.waiting_for.map(|it| it.as_str()).unwrap_or_default();
    match &standing.estimate {
        Estimate::Unknown(why) if !why.contains(waits) || waits.is_empty() => {
            format!("{waits} ({why})").trim().to_owned()
        }
        Estimate::Unknown(why) => why.clone(),
        Estimate::Between(..) => waits.to_owned(),
    }
}
