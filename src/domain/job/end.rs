//! What is to be done after an attempt ended: another one, or the clean-up.

use jiff::Timestamp;

use super::attempt::delete;
use super::status::{base_status, ended_note, ended_status, set_waiting};
use super::*;
use crate::api::job_template::RetryAction;
use crate::api::labels::ATTEMPT;
use crate::domain::conditions::{self, Conditions, ORPHAN_FINALIZER};
use crate::domain::pinned;

/// An ended Job: its status says so, and once its schedule and group know, it is let go and cleaned up.
pub(super) fn after_end(
    facts: &Facts<'_>,
    known: Option<&Resolved<'_>>,
    just_recorded: Option<&Ending>,
    now: Timestamp,
) -> Plan<JobStatus> {
    let mut plan = Plan::default();
    let identity = identity(&facts.job.metadata);
    let held = is_held(facts.job);
    let deleting = facts.job.metadata.deletion_timestamp.is_some();
    let ttl = time_to_live(facts, known);
    // A schedule lists a counted Job until it is let go, so one that is let go needs not be listed any more.
    let settled = (facts.schedule_settled || !held) && facts.group_settled;
    // A Job that is not kept needs no last status, unless its schedule or group cannot tell without it that it ended.
    let told = settled || self::ending(facts.job, Some(facts.memory)).is_some();
    let keepers = deleting.then(|| conditions::keepers(&facts.job.metadata)).flatten();
    let keep = keepers.is_some() || (!deleting && (ttl != Some(0) || !told));
    if let Some(ending) = just_recorded {
        plan.status = keep.then(|| ended_status(facts, known, ending, now));
        // Of one that ran it was told that it was deleted.
        let is_new = keep || (settled && held && ending.outcome == Outcome::Skipped);
        plan.notes.extend(is_new.then(|| ended_note(ending)));
    }
    if let Some(keepers) = &keepers {
        say_what_keeps_it(facts, keepers, &mut plan, now);
    }
    if settled && held {
        plan.effects.extend(limits_of_orphans(facts, ttl));
        plan.effects.push(Effect::ReleaseJob(identity.clone()));
    }
    if just_recorded.is_none() && !deleting {
        clear_failures(facts, &mut plan, now);
    }
    let finished_at = just_recorded.map(|ending| ending.finished_at).or_else(|| finished_at(facts.job));
    if let (Some(ttl), Some(finished_at), true, false) = (ttl, finished_at, settled, deleting) {
        let due = finished_at.saturating_add_ms(ttl.saturating_mul(1_000));
        if now >= due {
            plan.effects.push(Effect::DeleteJob(identity));
            return plan;
        }
        plan.wake(due);
    }
    if just_recorded.is_none() && !deleting {
        plan.status = seen(facts.job);
    }
    plan
}

/// An edit changes nothing of what has ended, a cancel that comes too late for one. That it was seen is said all the same:
/// a client that waits by kstatus would wait forever.
fn seen(job: &Job) -> Option<JobStatus> {
    let status = job.status.clone().filter(|status| status.observed_generation != job.metadata.generation)?;
    Some(JobStatus { observed_generation: job.metadata.generation, ..status })
}

/// Of a Job that did not fail no failed batch Job is to be left for long: whoever watches those, as the usual alert rules do,
/// would be told of a failure that is none. Those of earlier attempts go at once; that of a last one that failed because
/// somebody wanted its end, or of which a rule says Skip, when its logs were there as long as those of others.
fn clear_failures(facts: &Facts<'_>, plan: &mut Plan<JobStatus>, now: Timestamp) {
    let wanted = |ending: &Ending| matches!(ending.reason, Reason::Cancelled | Reason::Replaced);
    let no_failure = |ending: &Ending| ending.outcome != Outcome::Failed || wanted(ending);
    let Some(ending) = ending(facts.job, None).filter(no_failure) else { return };
    let last = facts.job.status.as_ref().map_or(0, |status| status.run_refs.len()).to_string();
    let failed = |batch: &&Arc<BatchJob>| matches!(run::batch_outcome(batch), run::BatchState::Failed { .. });
    for batch in facts.kept_batches.iter().filter(failed).filter(|batch| batch.metadata.deletion_timestamp.is_none()) {
        let is_last = batch.metadata.labels.as_ref().and_then(|labels| labels.get(ATTEMPT)) == Some(&last);
        let due = ending.finished_at.saturating_add_ms(TTL_SECONDS_DEFAULT * 1_000);
        if is_last && now < due {
            plan.wake(due);
        } else {
            plan.effects.push(delete(batch, batch.metadata.resource_version.clone()));
        }
    }
}

/// When a Job ended, as its status says. The clock of a node may have told that: not after it was written.
fn finished_at(job: &Job) -> Option<Timestamp> {
    let status = job.status.as_ref()?;
    let types = [conditions::COMPLETE, conditions::FAILED, conditions::SKIPPED, conditions::CANCELLED];
    let written = status.conditions.iter().find(|it| it.status == "True" && types.contains(&it.type_.as_str()));
    // Conditions count whole seconds.
    let written = written.map(|it| it.last_transition_time.0.saturating_add_ms(1_000));
    status.finished_at.as_ref().map(|time| written.map_or(time.0, |written| time.0.min(written)))
}

/// Adds to the condition of an ended Job what keeps it, though it is deleted.
fn say_what_keeps_it(facts: &Facts<'_>, keepers: &str, plan: &mut Plan<JobStatus>, now: Timestamp) {
    let Some(mut status) = plan.status.take().or_else(|| facts.job.status.clone()) else { return };
    let mut list = Conditions::from(&status.conditions, facts.job.metadata.generation, now);
    for type_ in [conditions::COMPLETE, conditions::FAILED, conditions::SKIPPED, conditions::CANCELLED] {
        if conditions::holds(&status.conditions, type_) {
            list.say_kept(type_, keepers);
        }
    }
    status.conditions = list.into_list();
    plan.status = Some(status);
}

/// The batch Jobs that were orphaned with the deletion of their Job, or are about to be, would stay for ever.
fn limits_of_orphans<'a>(facts: &'a Facts<'_>, ttl: Option<i64>) -> impl Iterator<Item = Effect> + 'a {
    let is_to_be = facts.job.metadata.finalizers.iter().flatten().any(|it| it == ORPHAN_FINALIZER);
    let seconds = ttl.unwrap_or(TTL_SECONDS_DEFAULT);
    let deleting = facts.job.metadata.deletion_timestamp.is_some();
    let current =
        facts.batch.filter(|batch| !facts.kept_batches.iter().any(|it| it.metadata.uid == batch.metadata.uid));
    let all = facts.kept_batches.iter().map(Arc::as_ref).chain(current);
    let orphaned = all.filter(move |batch| {
        let is_owned = batch.metadata.owner_references.iter().flatten().any(|it| it.controller == Some(true));
        let has_limit = batch.spec.as_ref().is_some_and(|spec| spec.ttl_seconds_after_finished.is_some());
        deleting && (is_to_be || (facts.disowned && !is_owned)) && !has_limit
    });
    orphaned.map(move |batch| Effect::LimitBatchJob { batch: identity(&batch.metadata), seconds })
}

/// One attempt failed and another may follow: back into the queue, with the record of this one.
pub(super) fn requeue(
    facts: &Facts<'_>,
    known: Option<&Resolved<'_>>,
    recorded: &Recorded,
    now: Timestamp,
) -> Plan<JobStatus> {
    let Recorded { attempt, ending, .. } = recorded;
    let retry = known.map(|known| &known.retry).or(facts.job.spec.retry.as_ref()).cloned().unwrap_or_default();
    let uid = facts.job.metadata.uid.as_deref().unwrap_or_default();
    let retry_at = ending.finished_at.saturating_add_ms(retry::delay_ms(&retry, uid, *attempt));
    let mut status = base_status(facts, known, now);
    status.phase = Some(JobPhase::Queued);
    status.run_refs.push(LocalReference { name: ending.run.clone() });
    status.attempts = *attempt;
    status.retry_at = Some(micro(retry_at));
    status.refused_since = None;
    status.dispatched_at = None;
    status.started_at = None;
    let message = format!("attempt {attempt} ended with {}; the next may start at {retry_at}", ending.reason.as_str());
    let blocker = Blocker { waiting_for: WaitingFor::Retry, message: message.clone() };
    set_waiting(facts, &mut status, Some(&blocker), false, now);
    let notes = vec![Note::warning("AttemptFailed", "Retry", message)];
    let mut plan = Plan { status: Some(status), notes, ..Plan::default() };
    plan.wake(retry_at);
    plan
}

/// Whether no attempt follows, as far as the Job alone tells. What its template's retry says is known to the decision
/// about the Job only; until that is in its status, the Job does not count as ended.
pub(super) fn is_surely_last(job: &Job, recorded: &Recorded) -> bool {
    // Until its status says that it is queued, the Job can be edited, and what it says need not be what was launched.
    let is_frozen = pinned::is_frozen(job);
    let own = is_frozen && (job.spec.retry.is_some() || job.spec.template_ref.is_none());
    is_final(job, &recorded.ending) || (own && !may_retry(job, recorded, None))
}

/// Whether an attempt ended in a way that no retry can follow.
fn is_final(job: &Job, ending: &Ending) -> bool {
    let ended = ending.outcome != Outcome::Failed || retry::is_final(ending.reason);
    ended || job.metadata.deletion_timestamp.is_some()
}

/// Whether a failed attempt is followed by another one.
pub(super) fn may_retry(job: &Job, recorded: &Recorded, known: Option<&Resolved<'_>>) -> bool {
    // Without the template's revision the Job's own field decides.
    let Some(retry) = known.map(|known| &known.retry).or(job.spec.retry.as_ref()) else { return false };
    let Recorded { attempt, exit_code, is_final, ending, .. } = recorded;
    let failure = retry::Failure { reason: ending.reason, exit_code: *exit_code, is_final: *is_final };
    let again = || retry::action(retry, failure) == RetryAction::Retry;
    !self::is_final(job, ending) && *attempt < retry.max_attempts && again()
}

/// How long a finished Job is kept; absent: until somebody deletes it.
fn time_to_live(facts: &Facts<'_>, known: Option<&Resolved<'_>>) -> Option<i64> {
    let own = facts.job.spec.ttl_seconds_after_finished;
    if own.is_some() || is_tracked(facts.job) {
        return own;
    }
    let written = known.and_then(|known| known.ttl_seconds);
    written.or((!facts.kept_by_schedule).then_some(TTL_SECONDS_DEFAULT))
}

/// Whether Argo CD, Flux or Helm tracks a Job: deleting it would make them create it again.
pub(super) fn is_tracked(job: &Job) -> bool {
    const PREFIXES: [&str; 4] =
        ["argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/", "meta.helm.sh/"];
    let labels = job.metadata.labels.iter().flatten();
    let annotations = job.metadata.annotations.iter().flatten();
    // This one Rota puts on what it makes itself.
    let mut keys = labels.chain(annotations).map(|(key, _)| key.as_str()).filter(|key| *key != ARGO_IGNORE_ANNOTATION);
    keys.any(|key| PREFIXES.iter().any(|prefix| key.starts_with(prefix)) || key == "app.kubernetes.io/instance")
}

/// Whether a Job is a hook of Argo CD or Helm: those are deleted and created again in order to run again.
pub(super) fn is_hook(job: &Job) -> bool {
    let mut annotations = job.metadata.annotations.iter().flatten();
    annotations.any(|(key, _)| key == "argocd.argoproj.io/hook" || key == "helm.sh/hook")
}
