//! An attempt that does not end as usual: its batch Job is gone or going before it ended, nothing acts on the request to end
//! it, or somebody disowned it.

use k8s_openapi::api::batch::v1::Job as BatchJob;

use super::attempt::{delete, kill};
use super::status::leaving_status;
use super::*;
use crate::domain::attempt::Leaving;
use crate::domain::conditions::{FOREGROUND_FINALIZER, ORPHAN_FINALIZER};
use crate::domain::resolve::PENDING_TIMEOUT_SECONDS_DEFAULT;

/// How long past their grace period the end of a batch Job and of its pods may take before something is done or said about
/// it, in seconds.
const OVERDUE_SECONDS: i64 = 60;
/// The grace period of pods that do not say one, in seconds.
const GRACE_SECONDS_DEFAULT: i64 = 30;
/// How often pods are looked at that no watch need tell of, in milliseconds.
const LOOK_MS: i64 = 30_000;

/// What a sentence about pods says that have not ended when they should have.
pub(super) const OVERDUE: &str = "should have ended at";

/// What the condition of a Job says while its attempt ends otherwise than usual: a word and a sentence.
pub(super) type Said = (&'static str, String);

/// What keeps a batch Job the Job's: it is adopted again where somebody disowned it, and held where Kubernetes would delete it
/// by itself after its end, until that is recorded. It is launched so where its body has a time to live; a policy of the
/// cluster may have set one since.
pub(super) fn kept(facts: &Facts<'_>, stand: &Stand<'_>) -> Option<Effect> {
    let batch = facts.batch.filter(|batch| batch.metadata.deletion_timestamp.is_none())?;
    let has_ttl = batch.spec.as_ref().is_some_and(|spec| spec.ttl_seconds_after_finished.is_some());
    let batch_job = identity(&batch.metadata);
    if facts.disowned && facts.job.metadata.deletion_timestamp.is_none() {
        let attempt = current_attempt(facts.job);
        return Some(Effect::AdoptBatchJob { batch: batch_job, job: identity(&facts.job.metadata), attempt });
    }
    let holds = has_ttl && matches!(stand, Stand::Running(_)) && !is_batch_held(batch);
    holds.then_some(Effect::HoldBatchJob(batch_job))
}

/// Whether a batch Job has Rota's finalizer.
pub fn is_batch_held(batch: &BatchJob) -> bool {
    batch.metadata.finalizers.iter().flatten().any(|it| it == RECORD_FINALIZER)
}

/// A batch Job that was asked to end. Where nothing does as it is asked, because no controller answers for it, it is deleted
/// after a while, and its pods decide. Returns what is to be said of that.
pub(super) fn being_ended(
    facts: &Facts<'_>,
    batch: &BatchJob,
    reason: Reason,
    plan: &mut Plan<JobStatus>,
    now: Timestamp,
) -> Option<Said> {
    if run::is_ending(batch) {
        return overdue(facts.pods_there, plan, now).map(|text| (reason.as_str(), text));
    }
    let attempt = current_attempt(facts.job);
    let seen = facts.memory.asked_seen.filter(|(of, _)| *of == attempt).map_or(now, |(_, at)| at);
    let since = run::ended_for_since(batch).map_or(seen, |at| at.min(seen));
    let spec = batch.spec.as_ref();
    let pod = spec.and_then(|spec| spec.template.spec.as_ref());
    let grace = pod.and_then(|pod| pod.termination_grace_period_seconds).unwrap_or(GRACE_SECONDS_DEFAULT);
    let due = since.saturating_add_ms(grace.saturating_add(OVERDUE_SECONDS).saturating_mul(1_000));
    if now < due {
        plan.wake(due);
        return None;
    }
    // Why is written down first: the batch Job, which says it too, is about to go.
    if run::said_reason(facts.job) == Some(reason) {
        plan.effects.push(delete(batch, None));
    }
    let managed_by = spec.and_then(|spec| spec.managed_by.as_deref());
    let whose = managed_by.map(|by| format!(" (its spec.managedBy is {by:?})")).unwrap_or_default();
    let name = batch.metadata.name.as_deref().unwrap_or_default();
    let text =
        format!("batch Job {name} was asked to end at {since}, and no controller acted on it{whose}: it is deleted");
    Some((reason.as_str(), text))
}

/// The batch Job is gone or going, and pods have not ended: they keep the places of the Job until they have.
pub(super) fn pods_ending(
    facts: &Facts<'_>,
    known: Option<&Resolved<'_>>,
    leaving: Leaving<'_>,
    pods: &[&Pod],
    now: Timestamp,
) -> Decision {
    let attempt = current_attempt(facts.job);
    if matches!(leaving, Leaving::Deleted(_)) && facts.memory.absent != Some(attempt) && !facts.looked {
        return Decision { look: true, ..Decision::default() };
    }
    let uncollected = uncollected(leaving, pods);
    if !uncollected.is_empty() && !facts.looked {
        // They may have been orphaned since.
        return Decision { look: true, ..Decision::default() };
    }
    let mut plan = Plan::default();
    plan.effects.extend(uncollected.iter().map(|pod| Effect::EndPod(identity(&pod.metadata))));
    plan.wake(now.saturating_add_ms(LOOK_MS));
    let cancel = cancel_request(facts);
    let reason = reason_to_end(facts, known, leaving, now, &mut plan);
    if reason.is_some() {
        let asked = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()).count();
        if asked == 0 && reason == Some(Reason::JobDeleted) {
            plan.notes.push(Note::normal("JobDeleted", "End", "it was deleted: its pods are ended"));
        }
        let is_asked = |pod: &&&Pod| uncollected.iter().any(|it| it.metadata.uid == pod.metadata.uid);
        let left = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none() && !is_asked(pod));
        plan.effects.extend(left.map(|pod| Effect::EndPod(identity(&pod.metadata))));
    }
    if cancel.is_some_and(|(_, cancel)| cancel.force) {
        plan.effects.extend(pods.iter().filter_map(|pod| kill(pod)));
    }
    let late = overdue(facts.pods_there, &mut plan, now);
    let word = reason.map_or("PodsEnding", Reason::as_str);
    let text = late.unwrap_or_else(|| waiting_text(facts, leaving, pods));
    leaving_status(facts, known, leaving.batch(), (word, text), &mut plan, now);
    plan.into()
}

/// The pods of a batch Job that somebody deleted, and that nobody ends: Kubernetes collects them when it is gone, and Rota's
/// finalizer keeps it until they have ended. Those that were orphaned belong to nobody any more, and go on.
fn uncollected<'a>(leaving: Leaving<'_>, pods: &[&'a Pod]) -> Vec<&'a Pod> {
    let Leaving::Deleting(batch) = leaving else { return Vec::new() };
    let others = [ORPHAN_FINALIZER, FOREGROUND_FINALIZER];
    let has_other = batch.metadata.finalizers.iter().flatten().any(|it| others.contains(&it.as_str()));
    if has_other || !is_batch_held(batch) {
        return Vec::new();
    }
    let its = |pod: &&&Pod| {
        let mut owners = pod.metadata.owner_references.iter().flatten();
        pod.metadata.deletion_timestamp.is_none() && owners.any(|owner| Some(&owner.uid) == batch.metadata.uid.as_ref())
    };
    pods.iter().filter(its).copied().collect()
}

/// No pod is seen that has not ended: that is recorded, if the API server says the same.
pub(super) fn gone(facts: &Facts<'_>, known: Option<&Resolved<'_>>, leaving: Leaving<'_>, now: Timestamp) -> Decision {
    if !facts.looked {
        return Decision { look: true, ..Decision::default() };
    }
    let cancel = cancel_request(facts);
    let attempt = current_attempt(facts.job);
    let input = RunInput { cancel: cancel.as_ref(), ..record_input(facts, known, attempt, now) };
    record(run::gone_run(&input, leaving.batch())).into()
}

/// Why pods without a batch Job are to be ended, if they are: nobody else minds the limits of their time now.
fn reason_to_end(
    facts: &Facts<'_>,
    known: Option<&Resolved<'_>>,
    leaving: Leaving<'_>,
    now: Timestamp,
    plan: &mut Plan<JobStatus>,
) -> Option<Reason> {
    if let Some((reason, _)) = cancel_request(facts) {
        return Some(reason);
    }
    if let Some(reason) = leaving.batch().and_then(run::ended_for).or(run::said_reason(facts.job)) {
        return Some(reason);
    }
    let status = facts.job.status.as_ref();
    let begun = leaving.batch().and_then(|batch| batch.status.as_ref()?.start_time.as_ref()).map(|time| time.0);
    let begun = begun.or_else(|| status?.dispatched_at.as_ref().map(|time| time.0)).unwrap_or(now);
    let own = leaving.batch().and_then(|batch| batch.spec.as_ref()?.active_deadline_seconds);
    let timeout = own.or(known.and_then(|known| known.timeout_seconds));
    let after = |seconds: i64| begun.saturating_add_ms(seconds.saturating_mul(1_000));
    let said = status.and_then(|status| status.started_at.as_ref()).map(|time| time.0);
    let has_started = run::last_start(said, facts.pods, None).is_some();
    let pending = known.map_or(PENDING_TIMEOUT_SECONDS_DEFAULT, |it| it.pending_timeout_seconds);
    let limits = [
        (total_deadline(facts.job, facts.memory, known, now), Reason::TotalDeadlineExceeded),
        (timeout.map(after), Reason::DeadlineExceeded),
        ((!has_started).then(|| after(pending)), Reason::PendingTimeout),
    ];
    let due = limits.into_iter().filter_map(|(at, reason)| Some((at?, reason))).min_by_key(|(at, _)| *at);
    let (at, reason) = due?;
    if now >= at {
        return Some(reason);
    }
    plan.wake(at);
    None
}

/// That a pod has not ended when it should have, if that is so.
fn overdue(pods: &[Arc<Pod>], plan: &mut Plan<JobStatus>, now: Timestamp) -> Option<String> {
    let left = pods.iter().filter(|pod| !run::pod_has_ended(pod));
    let ends = left.filter_map(|pod| Some((pod.metadata.deletion_timestamp.as_ref()?.0, pod)));
    let (ends, pod) = ends.min_by_key(|(ends, _)| *ends)?;
    let due = ends.saturating_add_ms(OVERDUE_SECONDS * 1_000);
    if now < due {
        plan.wake(due);
        return None;
    }
    let name = run::pod_text(pod);
    Some(format!("{name} {OVERDUE} {ends} and has not: if its node is lost, cancel the Job with force"))
}

fn waiting_text(facts: &Facts<'_>, leaving: Leaving<'_>, pods: &[&Pod]) -> String {
    let said = facts.job.status.as_ref().and_then(|status| status.batch_job_ref.as_ref());
    let name = leaving.batch().and_then(|batch| batch.metadata.name.as_deref()).or(said.map(|said| said.name.as_str()));
    let name = name.unwrap_or_default();
    let what = match leaving {
        Leaving::Deleting(_) => format!("batch Job {name} is being deleted"),
        Leaving::Deleted(_) => format!("batch Job {name} was deleted before it ended"),
    };
    let first = pods.iter().map(|pod| run::pod_text(pod)).min().unwrap_or_default();
    let more = match pods.len() {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    format!("{what}; the attempt ends when its pods have ended: {first}{more}")
}
