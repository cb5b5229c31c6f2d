//! Draw: a tree from what was observed, and how it looks.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use serde::Serialize;

use crate::api::labels::{ATTEMPT, JOB_UID};
use crate::api::{Job, JobGroup, JobPhase, JobRun, Outcome, Schedule};
use crate::cli::print::{Colour, Style};
use crate::domain::outlook::{phase, sentence, waiting_for};
use crate::domain::place;
use crate::domain::words::{ago, duration, in_one_line};

/// How many records of a schedule are shown besides those of its Jobs.
const HISTORY_SHOWN_MAX: usize = 20;

/// What a tree is drawn from.
pub struct Seen<'a> {
    /// What it is about.
    pub root: Root<'a>,
    /// Its Jobs.
    pub jobs: Vec<&'a Job>,
    /// Their pods.
    pub pods: Vec<&'a Pod>,
    /// Their records.
    pub runs: Vec<&'a JobRun>,
}

/// What a tree is about.
pub enum Root<'a> {
    /// A Job.
    Job(&'a Job),
    /// A group.
    Group(&'a JobGroup),
    /// A schedule.
    Schedule(&'a Schedule),
}

/// One node. This is also the form of `-o json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// schedule, group, job, attempt, record, pod or container.
    pub kind: &'static str,
    /// Its name; of an attempt, that of its record and batch Job.
    pub name: String,
    /// Where it is in its life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Exit code, of an attempt or a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The node that a pod is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What else there is to say, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// What is below it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Node>,
}

/// The tree.
pub fn tree(seen: &Seen<'_>, now: Timestamp) -> Node {
    match &seen.root {
        Root::Job(job) => job_node(job, seen, now),
        Root::Group(group) => group_node(group, seen, now),
        Root::Schedule(schedule) => schedule_node(schedule, seen, now),
    }
}

fn schedule_node(schedule: &Schedule, seen: &Seen<'_>, now: Timestamp) -> Node {
    let status = schedule.status.clone().unwrap_or_default();
    let is_its = |job: &&&Job| job.spec.schedule_ref.as_ref().is_some_and(|it| it.name == schedule.name_any());
    let mut jobs: Vec<&Job> = seen.jobs.iter().filter(is_its).copied().collect();
    jobs.sort_by_key(|job| (job.spec.scheduled_time.as_ref().map(|time| time.0), job.creation_timestamp()));
    let mut notes = vec![status.when.clone()];
    notes.extend(status.next_trigger_time.as_ref().map(|next| format!("next {}", next.0)));
    notes.extend(status.last_outcome.map(|last| format!("last {}", last.as_str())));
    notes.extend(status.paused.as_ref().map(|held| format!("held after {} failures", held.failures)));
    let mut children = history(schedule, &jobs, seen);
    children.extend(jobs.into_iter().map(|job| job_node(job, seen, now)));
    Node {
        kind: "schedule",
        name: schedule.name_any(),
        phase: status.phase.map(|phase| format!("{phase:?}")),
        note: notes.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(", "),
        children,
        ..Node::default()
    }
}

/// The latest records of a schedule of which there is no Job any more, or never was.
fn history(schedule: &Schedule, jobs: &[&Job], seen: &Seen<'_>) -> Vec<Node> {
    let name = schedule.name_any();
    let is_kept = |run: &JobRun| {
        let uid = run.spec.job_ref.as_ref().map(|it| it.uid.as_str());
        uid.is_some() && jobs.iter().any(|job| job.metadata.uid.as_deref() == uid)
    };
    let its = |run: &&JobRun| run.spec.schedule_ref.as_ref().is_some_and(|it| it.name == name) && !is_kept(run);
    let mut runs: Vec<&JobRun> = seen.runs.iter().copied().filter(its).collect();
    runs.sort_by_key(|run| (run.spec.scheduled_time.as_ref().map(|time| time.0), run.spec.attempt));
    let first = runs.len().saturating_sub(HISTORY_SHOWN_MAX);
    let shown = runs.into_iter().skip(first).map(|run| {
        let node = run_node(run);
        let count =
            run.status.as_ref().and_then(|status| status.count).map(|count| format!("{count} times, the first "));
        let time = run.spec.scheduled_time.as_ref();
        let time = time.map(|time| format!("{}for {}, ", count.unwrap_or_default(), time.0)).unwrap_or_default();
        Node { kind: "record", note: format!("{time}{}", node.note), ..node }
    });
    shown.collect()
}

fn group_node(group: &JobGroup, seen: &Seen<'_>, now: Timestamp) -> Node {
    let status = group.status.clone().unwrap_or_default();
    let is_its = |job: &&&Job| place::is_member(job, group);
    let mut jobs: Vec<&Job> = seen.jobs.iter().filter(is_its).copied().collect();
    let place = |member: &str| group.spec.jobs.iter().position(|it| it.name == member).unwrap_or(usize::MAX);
    jobs.sort_by_key(|job| (place(place::member_name(job)), place::member_name(job).to_owned()));
    let mut children: Vec<Node> = jobs.iter().map(|job| job_node(job, seen, now)).collect();
    // Members whose Jobs are gone are told from the group.
    for member in &status.members {
        let Some(job) = member.job_ref.as_ref().filter(|it| jobs.iter().all(|job| job.uid().as_ref() != Some(&it.uid)))
        else {
            continue;
        };
        let runs = seen.runs.iter().filter(|run| run.spec.job_ref.as_ref().is_some_and(|it| it.uid == job.uid));
        children.push(Node {
            kind: "job",
            name: job.name.clone(),
            phase: member.phase.map(|phase| format!("{phase:?}")),
            outcome: member.outcome,
            reason: member.reason.map(|reason| reason.as_str().to_owned()),
            note: "gone".into(),
            children: runs.map(|run| run_node(run)).collect(),
            ..Node::default()
        });
    }
    let counts = status.counts.unwrap_or_default();
    let ended = counts.completed + counts.failed + counts.skipped;
    Node {
        kind: "group",
        name: group.name_any(),
        phase: status.phase.map(|phase| format!("{phase:?}")),
        note: format!("{:?}, {ended} of {} ended, {} failed", group.spec.mode, counts.total, counts.failed),
        children,
        ..Node::default()
    }
}

fn job_node(job: &Job, seen: &Seen<'_>, now: Timestamp) -> Node {
    let status = job.status.clone().unwrap_or_default();
    let uid = job.uid().unwrap_or_default();
    let mut notes = Vec::new();
    if job.spec.group_ref.is_some() {
        notes.push(format!("member {}", place::member_name(job)));
    }
    if let Some(time) = &job.spec.scheduled_time {
        notes.push(format!("for {}", time.0));
    }
    if place::is_waiting(job) {
        notes.extend(waiting_for(job).and(sentence(job)).map(str::to_owned));
    } else if let (Some(JobPhase::Running), Some(started)) = (phase(job), &status.started_at) {
        notes.push(format!("for {}", ago(started.0, now)));
    }
    Node {
        kind: "job",
        name: job.name_any(),
        phase: status.phase.map(|phase| format!("{phase:?}")),
        outcome: status.outcome,
        reason: status.reason.map(|it| it.as_str()).or(status.waiting_for.map(|it| it.as_str())).map(str::to_owned),
        note: notes.join(", "),
        children: attempts(job, &uid, seen),
        ..Node::default()
    }
}

/// The attempts of a Job, from their records and pods.
fn attempts(job: &Job, uid: &str, seen: &Seen<'_>) -> Vec<Node> {
    let status = job.status.clone().unwrap_or_default();
    let recorded = u32::try_from(status.run_refs.len()).unwrap_or(u32::MAX);
    let label = |pod: &Pod, name: &str| pod.labels().get(name).cloned().unwrap_or_default();
    let pods: Vec<&Pod> = seen.pods.iter().filter(|pod| label(pod, JOB_UID) == uid).copied().collect();
    (1..=status.attempts.max(recorded))
        .map(|number| {
            let of_it = pods.iter().filter(|pod| label(pod, ATTEMPT) == number.to_string());
            let children: Vec<Node> = of_it.map(|pod| pod_node(pod)).collect();
            let its = |run: &&&JobRun| {
                run.spec.attempt == number && run.spec.job_ref.as_ref().is_some_and(|it| it.uid == uid)
            };
            match seen.runs.iter().find(its) {
                Some(run) => Node { children, ..run_node(run) },
                None => Node {
                    kind: "attempt",
                    name: line_name(job, number),
                    phase: Some(if number > recorded { "Running".into() } else { "Recorded".into() }),
                    note: format!("attempt {number}"),
                    children,
                    ..Node::default()
                },
            }
        })
        .collect()
}

fn line_name(job: &Job, attempt: u32) -> String {
    let recorded = job.status.iter().flat_map(|status| &status.run_refs);
    let said = recorded.skip(attempt.saturating_sub(1) as usize).map(|run| run.name.clone()).next();
    said.unwrap_or_else(|| crate::domain::job::attempt_name(job, attempt))
}

fn run_node(run: &JobRun) -> Node {
    let status = run.status.as_ref();
    let took = status.and_then(|status| status.duration_ms).map(|ms| duration(SignedDuration::from_millis(ms)));
    let mut notes = vec![format!("attempt {}", run.spec.attempt)];
    notes.extend(took.map(|took| format!("took {took}")));
    // The first line is enough here.
    let error = status.and_then(|status| status.error.as_deref()).and_then(|error| error.lines().next());
    notes.extend(error.map(str::to_owned));
    Node {
        kind: "attempt",
        name: run.name_any(),
        outcome: status.map(|status| status.phase),
        reason: status.map(|status| status.reason.as_str().to_owned()),
        exit_code: status.and_then(|status| status.exit_code),
        note: notes.join(", "),
        ..Node::default()
    }
}

fn pod_node(pod: &Pod) -> Node {
    let status = pod.status.clone().unwrap_or_default();
    let init = status.init_container_statuses.iter().flatten();
    let containers = init.chain(status.container_statuses.iter().flatten());
    Node {
        kind: "pod",
        name: pod.name_any(),
        phase: status.phase.clone(),
        reason: status.reason.clone(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        note: status.message.clone().unwrap_or_default(),
        children: containers.map(container_node).collect(),
        ..Node::default()
    }
}

fn container_node(container: &ContainerStatus) -> Node {
    let mut node = Node { kind: "container", name: container.name.clone(), ..Node::default() };
    let state = container.state.clone().unwrap_or_default();
    if let Some(end) = state.terminated {
        node.phase = Some("Terminated".into());
        node.exit_code = Some(end.exit_code);
        node.reason = end.reason;
    } else if let Some(waiting) = state.waiting {
        node.phase = Some("Waiting".into());
        node.reason = waiting.reason;
        node.note = waiting.message.unwrap_or_default();
    } else if state.running.is_some() {
        node.phase = Some("Running".into());
    }
    node
}

/// The tree as text.
pub fn text(tree: &Node, style: Style) -> String {
    let mut text = format!("{}\n", in_a_line(tree, style));
    branches(&tree.children, "", style, &mut text);
    text
}

fn branches(nodes: &[Node], indent: &str, style: Style, text: &mut String) {
    for (index, node) in nodes.iter().enumerate() {
        let is_last = index + 1 == nodes.len();
        let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        *text += &format!("{indent}{branch}{}\n", in_a_line(node, style));
        branches(&node.children, &format!("{indent}{below}"), style, text);
    }
}

fn in_a_line(node: &Node, style: Style) -> String {
    let mut words = vec![format!("{}/{}", node.kind, node.name)];
    let is_ended = node.outcome.is_some();
    words.extend(node.phase.as_deref().filter(|phase| !is_ended || *phase == "Cancelled").map(|phase| match phase {
        "Running" | "Succeeded" | "Completed" => style.paint(phase, Colour::Green),
        "Failed" | "Partial" => style.paint(phase, Colour::Red),
        "Pending" | "Queued" | "Waiting" => style.paint(phase, Colour::Yellow),
        other => other.to_owned(),
    }));
    words.extend(node.outcome.map(|outcome| style.outcome(outcome)));
    words.extend(node.reason.clone());
    words.extend(node.exit_code.map(|code| {
        let text = format!("exit code {code}");
        if code == 0 { text } else { style.paint(&text, Colour::Red) }
    }));
    words.extend(node.node.as_deref().map(|it| format!("on {it}")));
    words.extend(Some(in_one_line(&node.note)).filter(|note| !note.is_empty()).map(|note| format!("({note})")));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object<K: serde::de::DeserializeOwned>(api_version: &str, kind: &str, mut content: Value) -> K {
        content["apiVersion"] = api_version.into();
        content["kind"] = kind.into();
        serde_json::from_value(content).unwrap()
    }

    fn job() -> Job {
        object(
            "rota.dev/v1alpha1",
            "Job",
            json!({
                "metadata": { "name": "report", "uid": "u" }, "spec": {},
                "status": { "phase": "Finished", "outcome": "Completed", "reason": "Succeeded", "attempts": 2,
                    "runRefs": [{ "name": "report-1" }, { "name": "report-2" }] },
            }),
        )
    }

    fn run(attempt: u32, status: Value) -> JobRun {
        object(
            "rota.dev/v1alpha1",
            "JobRun",
            json!({
                "metadata": { "name": format!("report-{attempt}") },
                "spec": { "attempt": attempt, "jobRef": { "name": "report", "uid": "u" } }, "status": status,
            }),
        )
    }

    fn pod(attempt: &str, exit_code: i32) -> Pod {
        object(
            "v1",
            "Pod",
            json!({
                "metadata": { "name": format!("report-{attempt}-x"), "labels": { JOB_UID: "u", ATTEMPT: attempt } },
                "spec": { "nodeName": "node-1", "containers": [] },
                "status": { "phase": "Failed", "containerStatuses": [{
                    "name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": { "terminated": { "exitCode": exit_code, "reason": "Error" } },
                }] },
            }),
        )
    }

    #[test]
    fn attempts_have_their_records_and_pods_with_exit_codes() {
        let (job, pods) = (job(), [pod("1", 3), pod("2", 0)]);
        let runs = [
            run(
                1,
                json!({ "phase": "Failed", "reason": "ExitCode", "exitCode": 3, "durationMs": 2000, "error": "boom\nmore" }),
            ),
            run(2, json!({ "phase": "Completed", "reason": "Succeeded", "exitCode": 0, "durationMs": 61000 })),
        ];
        let seen =
            Seen { root: Root::Job(&job), jobs: vec![&job], pods: pods.iter().collect(), runs: runs.iter().collect() };
        let drawn = text(&tree(&seen, Timestamp::UNIX_EPOCH), Style::default());
        let expected = "\
job/report Completed Succeeded
├─ attempt/report-1 Failed ExitCode exit code 3 (attempt 1, took 2s, boom)
│  └─ pod/report-1-x Failed on node-1
│     └─ container/main Terminated Error exit code 3
└─ attempt/report-2 Completed Succeeded exit code 0 (attempt 2, took 1m1s)
   └─ pod/report-2-x Failed on node-1
      └─ container/main Terminated Error exit code 0
";
        assert_eq!(drawn, expected);
    }
}
