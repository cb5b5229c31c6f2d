//! `kubectl rota tree`: what a schedule, a group or a Job led to: Jobs, attempts, records, pods, containers, exit codes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;

use super::cluster::NamespaceArguments;
use super::objects::{Connection, Kind, Live, list};
use super::plugin::{Answer, PluginError};
use super::print::{self, Format, Style};
use super::target::{Found, Target, TargetKind};
use super::why::schedule::records;
use crate::api::labels::{GROUP, JOB_UID, SCHEDULE};
use crate::api::{Job, JobGroup, JobRun, Schedule};
use crate::domain::{names, place};

mod draw;

/// How many uids one selector holds: they are part of the address of the request.
const UIDS_MAX: usize = 100;

/// Whose tree.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Of a schedule, the Jobs that are still kept are shown, and the latest records of the last month, skipped times included; \
    `kubectl get rrun -l rota.dev/schedule=NAME` has all records.\n\nExit codes: 0 done, 1 not found or refused, 2 wrong arguments, 5 no cluster.\n\nExamples:\n  kubectl rota tree nightly-report\n  \
    kubectl rota tree group/month-end -w"
)]
pub struct Arguments {
    /// Schedule, group or Job: NAME, schedule/NAME, group/NAME or job/NAME.
    #[arg(value_name = "SCHEDULE|GROUP|JOB")]
    pub target: Target,
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

/// What a tree is drawn from.
struct Observed {
    root: Live<Job>,
    schedule: Live<Schedule>,
    group: Live<JobGroup>,
    pods: Live<Pod>,
    /// Records by name. They never change.
    runs: BTreeMap<String, JobRun>,
    /// Records that were asked for: one that is not there will not come.
    asked_for: BTreeSet<String>,
    /// Whether the records of a schedule were listed.
    has_history: bool,
    /// Whether pods may not be looked at.
    blind: bool,
}

/// Answers.
pub async fn run(
    arguments: &Arguments,
    clock: fn() -> Timestamp,
    style: Style,
    output: &mut dyn Write,
) -> Result<Answer, PluginError> {
    let connection = Connection::open(&arguments.place, arguments.watch).await?;
    let kinds = [TargetKind::Job, TargetKind::Group, TargetKind::Schedule];
    let found = arguments.target.find(&connection, &kinds).await?;
    let mut observed = observe(&connection, &found).await?;
    if arguments.watch {
        observed.root.watch().await?;
    }
    let mut is_first = true;
    loop {
        observed.fetch_runs(&connection, &found, clock()).await?;
        let tree = draw::tree(&observed.seen(&found), clock());
        let text = match arguments.output {
            Format::Text => draw::text(&tree, style),
            Format::Json if arguments.watch => print::json_line(&tree)?,
            Format::Json => print::json(&tree)?,
        };
        if !arguments.watch {
            let remarks = if observed.blind { "You may not look at pods here: they are left out.\n" } else { "" };
            return Ok(Answer { output: text, remarks: remarks.into(), ..Answer::default() });
        }
        let on = Style { terminal: style.terminal && arguments.output == Format::Text, ..style };
        if !on.redraw(output, &text, is_first || arguments.output == Format::Json) {
            return Ok(Answer::default());
        }
        is_first = false;
        tokio::select! {
            changed = observed.root.changed() => changed?,
            changed = observed.pods.changed(), if !observed.blind => changed?,
            changed = observed.group.changed(), if matches!(found, Found::Group(_)) => changed?,
            changed = observed.schedule.changed(), if matches!(found, Found::Schedule(_)) => changed?,
        }
    }
}

async fn observe(connection: &Connection, found: &Found) -> Result<Observed, PluginError> {
    let labelled =
        |label: &str, name: String| ListParams::default().labels(&format!("{label}={}", names::label_value(&name)));
    let managed = ListParams::default().labels(JOB_UID);
    let (mut schedule, mut group) = (Live::none(connection.api()), Live::none(connection.api()));
    let (root, pods_selected) = match found {
        Found::Job(job) => {
            let of_job = ListParams::default().labels(&format!("{JOB_UID}={}", job.uid().unwrap_or_default()));
            (Live::of(connection.api::<Job>(), (**job).clone()), of_job)
        }
        Found::Group(it) => {
            group = Live::of(connection.api(), (**it).clone());
            let listed = |name: &String| it.spec.jobs.iter().any(|member| member.name == *name);
            let members = it.status.iter().flat_map(|status| &status.members);
            let joined = members.filter(|member| !listed(&member.name)).filter_map(|member| member.job_ref.as_ref());
            let labelled = labelled(GROUP, it.name_any());
            (jobs(connection, labelled, joined.map(|job| job.name.clone()).collect()).await?, managed)
        }
        Found::Schedule(it) => {
            schedule = Live::of(connection.api(), (**it).clone());
            let active = it.status.iter().flat_map(|status| &status.active_jobs);
            let labelled = labelled(SCHEDULE, it.name_any());
            (jobs(connection, labelled, active.map(|job| job.name.clone()).collect()).await?, managed)
        }
    };
    // Who may not look at pods still sees the rest.
    let (pods, blind) = match Live::list(connection.api::<Pod>(), pods_selected).await {
        Ok(pods) => (pods, false),
        Err(_) => (Live::none(connection.api()), true),
    };
    Ok(Observed {
        root,
        schedule,
        group,
        pods,
        runs: BTreeMap::new(),
        asked_for: BTreeSet::new(),
        has_history: false,
        blind,
    })
}

/// The Jobs that Rota made, which are labelled; all of the namespace, where some belong that people made and are not.
async fn jobs(connection: &Connection, labelled: ListParams, known: Vec<String>) -> Result<Live<Job>, PluginError> {
    let jobs = Live::list(connection.api(), labelled).await?;
    if known.iter().all(|name| jobs.objects.contains_key(name)) {
        return Ok(jobs);
    }
    Live::list(connection.api(), ListParams::default()).await
}

impl Observed {
    /// Fetches the records that Jobs name and that are not known yet: many by their Jobs at once, few one by one.
    async fn fetch_runs(&mut self, connection: &Connection, found: &Found, now: Timestamp) -> Result<(), PluginError> {
        if let Found::Schedule(schedule) = found
            && !std::mem::replace(&mut self.has_history, true)
        {
            // Also of times for which there never was a Job, and of Jobs that are gone.
            let runs = records(connection, &schedule.name_any(), None, now).await?;
            self.asked_for.extend(runs.iter().map(ResourceExt::name_any));
            self.runs.extend(runs.into_iter().map(|run| (run.name_any(), run)));
        }
        let mut missing = Vec::new();
        let is_its = |job: &&Job| match found {
            Found::Job(_) => true,
            Found::Group(group) => place::is_member(job, group),
            Found::Schedule(it) => job.spec.schedule_ref.as_ref().is_some_and(|of| of.name == it.name_any()),
        };
        for job in self.root.objects.values().filter(is_its) {
            let named = job.status.iter().flat_map(|status| &status.run_refs);
            missing.extend(
                named
                    .filter(|run| !self.asked_for.contains(&run.name))
                    .map(|run| (job.uid().unwrap_or_default(), run.name.clone())),
            );
        }
        let members = self.group.objects.values().flat_map(|group| group.status.iter().flat_map(|it| &it.members));
        let named = members.filter_map(|member| Some((member.job_ref.clone()?.uid, member.run_ref.clone()?.name)));
        missing.extend(named.filter(|(_, name)| !self.asked_for.contains(name)));
        self.asked_for.extend(missing.iter().map(|(_, name)| name.clone()));
        if let Found::Group(group) = found {
            // All records of a group are one list.
            if missing.len() > UIDS_MAX {
                let of_group = format!("{GROUP}={}", names::label_value(&group.name_any()));
                return self.list_runs(connection, &of_group).await;
            }
        }
        if missing.len() == 1 {
            let run = connection.find::<JobRun>(&missing.remove(0).1).await?;
            self.runs.extend(run.map(|run| (run.name_any(), run)));
            return Ok(());
        }
        let uids: Vec<String> = missing.into_iter().map(|(uid, _)| uid).collect::<BTreeSet<_>>().into_iter().collect();
        for some in uids.chunks(UIDS_MAX) {
            self.list_runs(connection, &format!("{JOB_UID} in ({})", some.join(","))).await?;
        }
        Ok(())
    }

    async fn list_runs(&mut self, connection: &Connection, selected: &str) -> Result<(), PluginError> {
        let (runs, _) = list(&connection.api::<JobRun>(), &ListParams::default().labels(selected)).await?;
        self.runs.extend(runs.into_iter().map(|run| (run.name_any(), run)));
        Ok(())
    }

    /// What is drawn.
    fn seen<'a>(&'a self, found: &'a Found) -> draw::Seen<'a> {
        fn now<'a, K: Kind>(live: &'a Live<K>, then: &'a K) -> &'a K {
            live.objects.get(&then.name_any()).unwrap_or(then)
        }
        let root = match found {
            Found::Job(job) => draw::Root::Job(now(&self.root, job)),
            Found::Group(group) => draw::Root::Group(now(&self.group, group)),
            Found::Schedule(schedule) => draw::Root::Schedule(now(&self.schedule, schedule)),
        };
        draw::Seen {
            root,
            jobs: self.root.objects.values().collect(),
            pods: self.pods.objects.values().collect(),
            runs: self.runs.values().collect(),
        }
    }
}
