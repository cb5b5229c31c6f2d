//! `kubectl rota next`: the next times of a Schedule in the cluster, or of an expression without one.

use clap::ValueEnum;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{Api, Client};

use super::cluster::NamespaceArguments;
use super::plugin::{Answer, OK, PluginError};
use super::preview::{Preview, Upcoming};
use super::table::table;
use crate::api::schedule::{DstGap, DstOverlap, DstPolicy};
use crate::api::{DEFAULT_QUEUE, JobTemplate, Queue, Schedule, ScheduleSpec};
use crate::domain::calendar::{TimingError, find_zone};
use crate::domain::conditions;
use crate::domain::words::duration;

/// How many times can be asked for.
const COUNT_MAX: usize = 1_000_000;
/// The smallest distance of two instants.
const TICK: SignedDuration = SignedDuration::from_nanos(1);
/// What the flags that stand for a timing are called, by the field they stand for.
const FLAGS: [(&str, &str); 6] = [
    ("spec.cron", "--cron"),
    ("spec.timeZone", "--zone"),
    ("spec.interval", "--interval"),
    ("spec.endTime", "--end-time"),
    ("spec.jitterSeconds", "--jitter-seconds"),
    ("spec", "timing"),
];

/// Whose times, and how many.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all is well (also if no time comes), 1 no such Schedule, 2 wrong arguments or a timing \
    that cannot be read, 5 no cluster.\n\nExamples:\n  kubectl rota next nightly-report --count 10\n  kubectl rota next --cron '30 2 * * *' --zone \
    Europe/London --from 2027-03-27"
)]
pub struct Arguments {
    /// Schedule in the cluster. Its own creation and uid decide on intervals, H and jitter.
    #[arg(required_unless_present = "offline", conflicts_with_all = ["offline", "zone", "anchor", "dst_gap", "dst_overlap", "jitter_seconds", "start_time", "end_time", "seed"])]
    pub schedule: Option<String>,
    /// How many times.
    #[arg(long, default_value_t = 5, value_parser = count)]
    pub count: usize,
    /// Show the times from this one on: RFC 3339, or local to the zone. Default: now.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// How to print them: a table, or json, an array of RFC 3339 times with their offset.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// What would stand in a Schedule, if there is none.
    #[command(flatten)]
    pub offline: Offline,
    /// Where the Schedule is.
    #[command(flatten)]
    pub place: NamespaceArguments,
}

/// A timing without a Schedule: its fields as flags.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Without a cluster")]
pub struct Offline {
    /// Crontab expression.
    #[arg(long, group = "offline", value_name = "EXPRESSION")]
    pub cron: Option<String>,
    /// Interval, such as 90s or 1h30m.
    #[arg(long, group = "offline", value_name = "INTERVAL")]
    pub interval: Option<String>,
    /// One instant.
    #[arg(long, group = "offline", value_name = "TIME")]
    pub at: Option<String>,
    /// Zone of the expression, and of local times in other flags. Default: UTC.
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Where the interval is counted from. Default: now.
    #[arg(long, value_name = "TIME")]
    pub anchor: Option<String>,
    /// What happens to a time that the clock jumps over. Default: run-after.
    #[arg(long, value_enum, value_name = "POLICY")]
    pub dst_gap: Option<Gap>,
    /// What happens to a time that comes twice. Default: first.
    #[arg(long, value_enum, value_name = "POLICY")]
    pub dst_overlap: Option<Overlap>,
    /// By how many seconds a run may be put off.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i32).range(0..=86_400))]
    pub jitter_seconds: Option<i32>,
    /// The first instant of which a time may be.
    #[arg(long, value_name = "TIME")]
    pub start_time: Option<String>,
    /// The instant before which the times are.
    #[arg(long, value_name = "TIME")]
    pub end_time: Option<String>,
    /// What chooses H and jitter: the uid of a Schedule.
    #[arg(long, value_name = "UID")]
    pub seed: Option<String>,
}

/// How times are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// `dst.gap` as a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Gap {
    /// It runs at the moment of the jump.
    RunAfter,
    /// It does not run.
    Skip,
}

/// `dst.overlap` as a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Overlap {
    /// It runs the first time.
    First,
    /// It runs the last time.
    Last,
    /// It runs each time.
    Both,
}

/// A Schedule in the cluster, with what decides whether its times lead to anything.
#[derive(Clone, Debug)]
pub struct Found {
    /// The Schedule.
    pub schedule: Schedule,
    /// Its template; absent if it could not be looked at.
    pub template: Option<Option<JobTemplate>>,
    /// Its Jobs' queue, if there is one and it could be looked at.
    pub queue: Option<Queue>,
}

/// Answers.
pub async fn run(arguments: &Arguments, now: Timestamp) -> Result<Answer, PluginError> {
    let Some(name) = &arguments.schedule else {
        return offline(arguments, now);
    };
    let (client, own_namespace) = arguments.place.cluster.connect().await?;
    let namespace = arguments.place.namespace.clone().unwrap_or(own_namespace);
    let found = fetch(&client, &namespace, short_name(name)).await?;
    in_cluster(&found, arguments, now)
}

/// The name in `rsched/name`.
fn short_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

async fn fetch(client: &Client, namespace: &str, name: &str) -> Result<Found, PluginError> {
    let schedules: Api<Schedule> = Api::namespaced(client.clone(), namespace);
    let failed = |error: kube::Error| PluginError::failed(&error);
    let schedule = schedules.get_opt(name).await.map_err(failed)?;
    let schedule = schedule
        .ok_or_else(|| PluginError::Failed(format!("there is no Schedule {name:?} in the namespace {namespace:?}")))?;
    // Who may not look at templates and queues still learns the times.
    let templates: Api<JobTemplate> = Api::namespaced(client.clone(), namespace);
    let template = templates.get_opt(&schedule.spec.template_ref.name).await.ok();
    let queue = template.as_ref().and_then(|found| found.as_ref()?.spec.queue.clone());
    let queues: Api<Queue> = Api::namespaced(client.clone(), namespace);
    let queue = queues.get_opt(queue.as_deref().unwrap_or(DEFAULT_QUEUE)).await.ok().flatten();
    Ok(Found { schedule, template, queue })
}

/// The times of a Schedule as it was found.
pub fn in_cluster(found: &Found, arguments: &Arguments, now: Timestamp) -> Result<Answer, PluginError> {
    let schedule = &found.schedule;
    let metadata = &schedule.metadata;
    let created = metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let spec = schedule.spec.timing(created);
    let preview = Preview::new(&spec, metadata.uid.as_deref().unwrap_or_default(), None)?;
    let zone = find_zone(spec.time_zone.as_deref())?;
    let mut answer = show(&preview, arguments, &zone, now)?;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    let mut remarks = format!("Schedule {namespace}/{name}: {}\n", preview.describe());
    for sentence in standing(found, now) {
        remarks += &format!("{sentence}\n");
    }
    answer.remarks.insert_str(0, &remarks);
    Ok(answer)
}

/// The times of the flags.
pub fn offline(arguments: &Arguments, now: Timestamp) -> Result<Answer, PluginError> {
    let flags = &arguments.offline;
    let zone = find_zone(flags.zone.as_deref()).map_err(with_flag)?;
    let spec = schedule_of(flags, &zone)?;
    let created = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let seed = flags.seed.as_deref().unwrap_or_default();
    let preview = Preview::new(&spec.timing(created), seed, flags.zone.as_deref()).map_err(with_flag)?;
    let rules = Schedule::new("offline", spec.clone()).validate_cel();
    if let Some(broken) = rules.err().and_then(|errors| errors.into_vec().into_iter().next()) {
        return Err(PluginError::Usage(broken.message));
    }
    let mut answer = show(&preview, arguments, &zone, now)?;
    if flags.seed.is_none() && depends_on_seed(&spec) {
        answer.remarks += "H and jitter differ from Schedule to Schedule: give its uid with --seed to see its own.\n";
    }
    Ok(answer)
}

/// Whether the uid of a Schedule decides about its times.
pub fn depends_on_seed(spec: &ScheduleSpec) -> bool {
    let parts =
        spec.cron.iter().flat_map(|cron| cron.split(|character: char| character == ',' || character.is_whitespace()));
    // No name of a month or of a weekday begins with this letter.
    spec.jitter_seconds.is_some_and(|seconds| seconds > 0) || parts.into_iter().any(|part| part.starts_with(['H', 'h']))
}

fn schedule_of(flags: &Offline, zone: &TimeZone) -> Result<ScheduleSpec, PluginError> {
    let instant = |flag: &str, text: &Option<String>| {
        text.as_deref().map(|text| instant(flag, text, zone).map(MicroTime)).transpose()
    };
    let gap = flags.dst_gap.map(|gap| match gap {
        Gap::RunAfter => DstGap::RunAfter,
        Gap::Skip => DstGap::Skip,
    });
    let overlap = flags.dst_overlap.map(|overlap| match overlap {
        Overlap::First => DstOverlap::First,
        Overlap::Last => DstOverlap::Last,
        Overlap::Both => DstOverlap::Both,
    });
    Ok(ScheduleSpec {
        template_ref: crate::api::LocalReference { name: "offline".into() },
        cron: flags.cron.clone(),
        interval: flags.interval.clone(),
        at: instant("--at", &flags.at)?,
        // A zone beside an interval only says how to show its times.
        time_zone: flags.zone.clone().filter(|_| flags.cron.is_some()),
        anchor: instant("--anchor", &flags.anchor)?,
        dst: (gap.is_some() || overlap.is_some()).then_some(DstPolicy { gap, overlap }),
        jitter_seconds: flags.jitter_seconds,
        start_time: instant("--start-time", &flags.start_time)?,
        end_time: instant("--end-time", &flags.end_time)?,
        ..ScheduleSpec::default()
    })
}

fn with_flag(error: TimingError) -> PluginError {
    let flag = FLAGS.iter().find(|(field, _)| *field == error.field).map_or(error.field, |(_, flag)| flag);
    PluginError::Usage(format!("{flag}: {}", error.message))
}

/// An instant as RFC 3339, or as the time on a wall of the zone: the later one if the clock jumps over it, the first if
/// it comes twice.
fn instant(flag: &str, text: &str, zone: &TimeZone) -> Result<Timestamp, PluginError> {
    let local = || zone.to_ambiguous_timestamp(text.parse::<DateTime>().ok()?).compatible().ok();
    let time = text.parse().ok().or_else(local);
    time.ok_or_else(|| {
        PluginError::Usage(format!(
            "{flag}: {text:?} is no time up to the year 9999 such as 2027-03-28T01:30:00Z or, local to the zone, 2027-03-28T01:30"
        ))
    })
}

fn count(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=COUNT_MAX).contains(number));
    number.ok_or_else(|| format!("must be a number from 1 to {COUNT_MAX}; the namespace is --namespace"))
}

/// The times, printed.
fn show(preview: &Preview, arguments: &Arguments, zone: &TimeZone, now: Timestamp) -> Result<Answer, PluginError> {
    let from = match &arguments.from {
        Some(text) => instant("--from", text, zone)?,
        None => now.checked_add(TICK).unwrap_or(now),
    };
    let upcoming = preview.upcoming(from, arguments.count);
    let output = match arguments.output {
        Output::Json => json(preview, &upcoming),
        Output::Table if upcoming.is_empty() => String::new(),
        Output::Table => print(preview, &upcoming, now),
    };
    let runs = upcoming.iter().filter(|it| matches!(it, Upcoming::Run { .. })).count();
    let remarks = match runs {
        0 => format!("No time comes from {} on.\n", arguments.from.as_deref().unwrap_or("now")),
        some if some < arguments.count => "No time comes after these.\n".into(),
        _ => String::new(),
    };
    Ok(Answer { output, remarks, exit_code: OK })
}

/// The times as an array of RFC 3339 texts.
pub fn json(preview: &Preview, upcoming: &[Upcoming]) -> String {
    let times = upcoming.iter().filter_map(|it| match it {
        Upcoming::Run { time, .. } => Some(preview.rfc3339(*time)),
        Upcoming::Skipped { .. } => None,
    });
    let list = serde_json::Value::from_iter(times);
    format!("{list:#}\n")
}

/// The times as a table.
pub fn print(preview: &Preview, upcoming: &[Upcoming], now: Timestamp) -> String {
    let mut number = 0;
    let rows: Vec<[String; 6]> = upcoming
        .iter()
        .map(|it| match it {
            Upcoming::Run { time, starts, note } => {
                number += 1;
                let put_off = if starts == time { String::new() } else { duration(starts.duration_since(*time)) };
                let within = duration(starts.duration_since(now));
                [number.to_string(), preview.local(*time), time.to_string(), put_off, within, note.clone()]
            }
            Upcoming::Skipped { wall, note, .. } => {
                let wall = wall.strftime("%a %Y-%m-%d %H:%M:%S -").to_string();
                ["-".into(), wall, "-".into(), String::new(), "-".into(), note.clone()]
            }
        })
        .collect();
    table(["#", "LOCAL TIME", "UTC", "JITTER", "IN", "DAYLIGHT SAVING"], &rows)
}

/// What keeps the times of a Schedule from leading to anything now, in sentences.
pub fn standing(found: &Found, now: Timestamp) -> Vec<String> {
    let schedule = &found.schedule;
    let mut sentences = Vec::new();
    if schedule.metadata.deletion_timestamp.is_some() {
        sentences.push("It is being deleted.".to_owned());
    }
    if schedule.spec.enabled == Some(false) {
        sentences.push("It is disabled: none of these times fires unless it is enabled before.".into());
    }
    let template = &schedule.spec.template_ref.name;
    match &found.template {
        Some(None) => sentences.push(format!(
            "There is no JobTemplate {template:?}: each of these times is recorded as Failed (TemplateNotFound) until there is."
        )),
        Some(Some(found)) if found.spec.archived => sentences.push(format!(
            "JobTemplate {template:?} is archived: each of these times is recorded as Skipped (TemplateArchived)."
        )),
        Some(Some(_)) | None => {
            let conditions = schedule.status.iter().flat_map(|status| &status.conditions);
            let not_ready = conditions.filter(|it| it.type_ == conditions::READY && it.status == "False");
            sentences.extend(not_ready.map(|condition| format!("It is not ready: {}", condition.message)));
        }
    }
    let paused = found.queue.as_ref().and_then(|queue| Some((queue, queue.spec.paused.as_ref()?)));
    if let Some((queue, paused)) = paused.filter(|(_, paused)| paused.until.as_ref().is_none_or(|until| until.0 > now))
    {
        let name = queue.metadata.name.as_deref().unwrap_or_default();
        let until = paused.until.as_ref().map(|until| format!(" until {}", until.0)).unwrap_or_default();
        let reason = if paused.reason.is_empty() { String::new() } else { format!(" ({})", paused.reason) };
        sentences.push(format!("Queue {name:?} is paused{until}{reason}: Jobs are made at these times, and wait."));
    }
    sentences
}

#[cfg(test)]
mod tests;
