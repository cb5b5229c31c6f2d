//! Why an attempt failed, and the words for it.

use std::sync::Arc;

use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;

use super::deciding::{self, Deciding, failed_indexes};
use super::pods::{self, Container, Role, join};
use super::{RunInput, Verdict, report, started};
use crate::api::job::WaitingFor;
use crate::api::{Outcome, Reason};

/// How much of the end of a termination message a record quotes, in lines.
const QUOTED_LINES_MAX: usize = 10;
/// The same in bytes.
const QUOTED_BYTES_MAX: usize = 800;
/// How far the clock of a node may be behind that of the API server where the two are compared.
const CLOCKS_APART: SignedDuration = SignedDuration::from_secs(5);

/// The verdict on an attempt that somebody asked to end, if somebody did.
pub(super) fn cancelled(input: &RunInput<'_>) -> Option<Verdict> {
    let (reason, cancel) = input.cancel?;
    let ran = started(input).is_some();
    let when = if ran { "while it ran" } else { "before it started" };
    let who = cancel.requested_by.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
    let error = match (reason, cancel.reason.as_str()) {
        (Reason::JobDeleted, _) => format!("the Job was deleted {when}"),
        (_, "") => format!("cancelled{who} {when}"),
        (_, why) => format!("cancelled{who} {when}: {why}"),
    };
    // Whoever gave it up may have done so for that.
    let error = match stuck(input, None).filter(|_| !ran) {
        Some(stuck) => format!("{error}; {stuck}"),
        None => error,
    };
    let outcome = if ran { Outcome::Failed } else { Outcome::Skipped };
    Some(Verdict { outcome, reason: *reason, error: Some(error) })
}

/// The verdict on an attempt whose batch Job failed, for Kubernetes' `reason` and `message`.
pub(super) fn failed(
    input: &RunInput<'_>,
    batch: &BatchJob,
    deciding: Option<&Deciding<'_>>,
    reason: &str,
    message: &str,
) -> Verdict {
    let too_late = reason == "DeadlineExceeded";
    if let Some(why) = super::ended_for(batch)
        && (too_late || was_killed(input) || was_stopped(input))
    {
        return brought_forward(input, Some(batch), deciding, why);
    }
    if too_late {
        return late(input, Some(batch), deciding);
    }
    let indexes = indexes_text(batch, deciding).unwrap_or_default();
    let kubernetes = join(&[&indexes, reason, message]);
    let Some(deciding) = deciding else {
        return if matches!(reason, "" | "BackoffLimitExceeded") {
            failure(Reason::PodLost, "its pod vanished before its end was seen".into())
        } else {
            failure(Reason::BatchJobFailed, kubernetes)
        };
    };
    if pod_reason(deciding.pod) == "DeadlineExceeded" {
        let text =
            format!("pod {} ran longer than the activeDeadlineSeconds of its own specification", deciding.pod_name());
        return failure(Reason::DeadlineExceeded, text);
    }
    if let Some(text) = lost(deciding) {
        return failure(Reason::PodLost, text);
    }
    let container = deciding.container.filter(|container| container.terminated().is_some_and(|end| end.exit_code != 0));
    match container {
        Some(container) => {
            // Which rule of the podFailurePolicy decided is said nowhere else.
            let rule = if reason == "PodFailurePolicy" { message } else { "" };
            failure(Reason::ExitCode, join(&[&indexes, &exit_text(&container), rule]))
        }
        None => failure(Reason::BatchJobFailed, kubernetes),
    }
}

/// The pods of a batch Job's last start, if there are any, else all that there were.
pub(super) fn pods_of_last_start(batch: &BatchJob, pods: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    let last = super::pods_since(pods, super::resumed_at(batch));
    if last.is_empty() { pods.to_vec() } else { last }
}

/// Which indexes of an Indexed batch Job failed.
fn indexes_text(batch: &BatchJob, deciding: Option<&Deciding<'_>>) -> Option<String> {
    let indexed = batch.spec.as_ref()?.completion_mode.as_deref() == Some("Indexed");
    let first = || deciding.and_then(|deciding| deciding::index(deciding.pod)).map(|index| index.to_string());
    let failed = failed_indexes(batch).map(str::to_owned).or_else(first).filter(|_| indexed)?;
    let word = if failed.contains([',', '-']) { "indexes" } else { "index" };
    Some(format!("{word} {failed} failed"))
}

fn failure(reason: Reason, error: String) -> Verdict {
    Verdict { outcome: Outcome::Failed, reason, error: Some(error) }
}

/// Whether its pods were killed because a forced cancel asked for it. A killed pod may fail before the deadline is seen.
fn was_killed(input: &RunInput<'_>) -> bool {
    let forced = input.cancel.is_some_and(|(_, cancel)| cancel.force);
    let gone = input.pods.is_empty() || input.pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_some());
    forced && gone
}

/// Whether all its pods were stopped while they ran. The Job controller deletes them before it writes down that the deadline has
/// passed: if that write meets a conflict, it finds pods that failed, and says that it was the limit of retries.
fn was_stopped(input: &RunInput<'_>) -> bool {
    let was_deleted = |pod: &Arc<Pod>| pod.metadata.deletion_timestamp.is_some() && !super::gone::ended_by_itself(pod);
    !input.pods.is_empty() && input.pods.iter().all(was_deleted)
}

/// A batch Job that Kubernetes ended because Rota brought its deadline forward, and why Rota did.
pub(super) fn brought_forward(
    input: &RunInput<'_>,
    batch: Option<&BatchJob>,
    deciding: Option<&Deciding<'_>>,
    why: Reason,
) -> Verdict {
    match why {
        Reason::PendingTimeout => pending(input, batch),
        // Only where its batch Job is gone: Kubernetes minds that limit otherwise.
        Reason::DeadlineExceeded => late(input, batch, deciding),
        Reason::TotalDeadlineExceeded => {
            failure(why, join(&[&total_text(input), &stopped_text(input, batch, deciding)]))
        }
        // Its group, which asked for its end, may be gone.
        _ => cancelled(input).unwrap_or_else(|| failure(why, "cancelled".into())),
    }
}

/// How far an attempt had come that was stopped: what kept it from starting, or which containers went on, and the last that
/// the deciding one said.
fn stopped_text(input: &RunInput<'_>, batch: Option<&BatchJob>, deciding: Option<&Deciding<'_>>) -> String {
    if started(input).is_none() {
        return stuck(input, batch).or_else(|| pods::waiting_text(input.pods)).unwrap_or_default();
    }
    let outlived = pods::outlived_text(input.pods, batch.and_then(super::ended_at));
    let container = deciding.and_then(|deciding| deciding.container);
    let said = container.and_then(|it| Some((it, quote(last_words(&it)?)))).filter(|(_, said)| !said.is_empty());
    let said = said.map(|(it, said)| format!("the last that container {} said: {said}", it.status.name));
    let parts = [outlived, said].into_iter().flatten().collect::<Vec<_>>();
    parts.join("; ")
}

/// What kept an attempt from starting, if that is known: its batch Job, its pods, or what the Job's condition said.
pub(super) fn stuck(input: &RunInput<'_>, batch: Option<&BatchJob>) -> Option<String> {
    let own = batch.and_then(super::no_pods_text);
    own.or_else(|| pods::stuck_text(input.pods)).or_else(|| said_while_it_waited(input))
}

/// A batch Job that Rota deleted while it was suspended, because the time for all attempts of its Job was over.
pub(super) fn deleted_too_late(input: &RunInput<'_>) -> Option<Verdict> {
    let suspended = input.job.status.as_ref()?.waiting_for == Some(WaitingFor::Suspended);
    let too_late = suspended && input.deadline.is_some_and(|deadline| input.now >= deadline);
    let outcome = if started(input).is_some() { Outcome::Failed } else { Outcome::Skipped };
    let error = Some(format!("{}: its batch Job was suspended", total_text(input)));
    too_late.then_some(Verdict { outcome, reason: Reason::TotalDeadlineExceeded, error })
}

fn total_text(input: &RunInput<'_>) -> String {
    let seconds = input.deadline.map(|deadline| deadline.duration_since(input.queued_at).as_secs()).unwrap_or_default();
    format!("had not ended within {seconds} s of being queued (deadlineSeconds)")
}

/// An attempt of which no container started in time.
fn pending(input: &RunInput<'_>, batch: Option<&BatchJob>) -> Verdict {
    let stuck = stuck(input, batch);
    let waiting = stuck.clone().or_else(|| pods::waiting_text(input.pods)).unwrap_or_default();
    let seconds = input.resolved.map(|known| format!(" within {} s", known.pending_timeout_seconds));
    let which = if started(input).is_some() { "no main container" } else { "no container" };
    let text = format!("{which} started{}", seconds.unwrap_or_default());
    let images = if stuck.is_none() { images(input).unwrap_or_default() } else { String::new() };
    failure(Reason::PendingTimeout, join(&[&text, &waiting, &images]))
}

/// An attempt that was ended at the deadline with which it was launched.
fn late(input: &RunInput<'_>, batch: Option<&BatchJob>, deciding: Option<&Deciding<'_>>) -> Verdict {
    let own = batch.and_then(|batch| batch.spec.as_ref()?.active_deadline_seconds);
    // Where Rota brought it forward, or the batch Job is gone, what was asked for tells.
    let asked = input.resolved.and_then(|known| known.timeout_seconds);
    let deadline = if batch.and_then(super::ended_for).is_some() { asked } else { own.or(asked) };
    let seconds = deadline.map(|seconds| format!(" of {seconds} s")).unwrap_or_default();
    let ran = if started(input).is_some() { "ran longer than" } else { "did not start within" };
    let text = format!("{ran} its timeout{seconds}");
    failure(Reason::DeadlineExceeded, join(&[&text, &stopped_text(input, batch, deciding)]))
}

/// What the Job's own condition said while its containers could not start: the pods that said it may be gone.
fn said_while_it_waited(input: &RunInput<'_>) -> Option<String> {
    let conditions = &input.job.status.as_ref()?.conditions;
    let said = conditions.iter().find(|it| it.type_ == crate::domain::conditions::DISPATCHED)?;
    // With another word it is about how the attempt ends.
    let said = Some(said).filter(|said| said.reason == "Launched")?;
    said.message.split_once("; ").map(|(_, stuck)| stuck.to_owned())
}

/// The images that an attempt needs, for people to look at when nothing was said: a pull that hangs says nothing.
fn images(input: &RunInput<'_>) -> Option<String> {
    let containers = input.resolved?.job_template.pointer("/spec/template/spec/containers")?.as_array()?;
    let images: Vec<&str> = containers.iter().filter_map(|container| container.get("image")?.as_str()).collect();
    (!images.is_empty()).then(|| format!("it needs the image {}", images.join(", ")))
}

fn pod_reason(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.reason.as_deref()).unwrap_or_default()
}

/// Why the pod was taken from its work, if it was: evicted, preempted, deleted, or lost with its node.
fn lost(deciding: &Deciding<'_>) -> Option<String> {
    let pod = deciding.pod;
    let name = deciding.pod_name();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let place = node.map(|node| format!(" on node {node}")).unwrap_or_default();
    let status = pod.status.as_ref();
    let mut conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
    let said = |reason: &str, message: Option<&str>| {
        Some(join(&[&format!("pod {name}{place} was lost"), reason, message.unwrap_or_default()]))
    };
    if let Some(target) = conditions.find(|it| it.type_ == "DisruptionTarget" && it.status == "True") {
        return said(target.reason.as_deref().unwrap_or_default(), target.message.as_deref());
    }
    if !pod_reason(pod).is_empty() {
        return said(pod_reason(pod), status.and_then(|status| status.message.as_deref()));
    }
    if let Some(container) = deciding.container.filter(Container::is_unknown) {
        let end = container.terminated()?;
        return said("ContainerStatusUnknown", end.message.as_deref());
    }
    // A program that is asked to end may end with any code. What was killed did not end by itself, unless for want of memory or
    // before anybody asked, by clocks that may differ.
    let ended = deciding.container.and_then(|container| container.finished_at());
    let tolerated = ended.map(|ended| ended.checked_add(CLOCKS_APART).unwrap_or(ended));
    let is_starved = deciding.container.and_then(|it| it.terminated()?.reason.as_deref()) == Some("OOMKilled");
    let killed = matches!(deciding.exit_code(), None | Some(137 | 143))
        && !is_starved
        && pods::was_being_deleted(pod, tolerated);
    let text = || format!("pod {name}{place} was deleted while it ran");
    (killed || pods::was_being_deleted(pod, ended)).then(text)
}

/// What stands between the last line that a container wrote and those before it.
const BEFORE: &str = "Before that:";

/// How a container ended, and the last that it said.
pub(super) fn exit_text(container: &Container<'_>) -> String {
    let Some(end) = container.terminated() else { return String::new() };
    let kind = match container.role {
        Role::Init => "init container",
        Role::Sidecar => "sidecar container",
        Role::Main => "container",
    };
    let name = &container.status.name;
    let code = end.exit_code;
    let what = match end.reason.as_deref().unwrap_or_default() {
        "OOMKilled" => format!("{kind} {name} ran out of memory and was killed (OOMKilled, exit code {code})"),
        "StartError" | "ContainerCannotRun" => format!("{kind} {name} could not be started (exit code {code})"),
        _ => format!("{kind} {name} exited with code {code}{}", signal(code)),
    };
    join(&[&what, &quote(last_words(container).unwrap_or_default())])
}

/// The termination message of a container, if it is for people.
fn last_words<'a>(container: &Container<'a>) -> Option<&'a str> {
    let message = container.terminated()?.message.as_deref()?;
    (!container.written_message().is_some_and(report::is_report)).then_some(message)
}

/// The signal that an exit code stands for, where people know its name better.
fn signal(code: i32) -> &'static str {
    match code {
        134 => " (SIGABRT)",
        137 => " (SIGKILL)",
        139 => " (SIGSEGV)",
        143 => " (SIGTERM)",
        _ => "",
    }
}

/// The end of a message, the last line of it first: that is where programs say what went wrong.
fn quote(message: &str) -> String {
    let lines: Vec<&str> = message.trim().lines().collect();
    let Some((last, before)) = lines.split_last() else { return String::new() };
    let last = end_of(last, QUOTED_BYTES_MAX);
    let first = before.len().saturating_sub(QUOTED_LINES_MAX - 1);
    let earlier = before.iter().skip(first).copied().collect::<Vec<_>>().join("\n");
    let earlier = end_of(&earlier, QUOTED_BYTES_MAX.saturating_sub(last.len()));
    let cut = if first > 0 && !earlier.starts_with('…') { "…" } else { "" };
    if earlier.trim().is_empty() { last } else { format!("{last}\n{BEFORE}\n{cut}{earlier}") }
}

/// At most so many bytes of the end of a text.
fn end_of(text: &str, bytes: usize) -> String {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let end = text.get(start..).unwrap_or_default();
    if start > 0 { format!("…{end}") } else { end.to_owned() }
}
