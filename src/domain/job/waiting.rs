//! A Job whose attempt was not launched: queued, recorded as skipped, or told what it waits for.

use super::gate::kept_out;
use super::status::{base_status, previously_waiting_for, set_waiting, waiting_status};
use super::transitions::cancel_note;
use super::*;

pub(super) fn not_launched(
    facts: &Facts<'_>,
    resolved: Result<Resolved<'_>, Unresolved>,
    attempt: u32,
    now: Timestamp,
) -> Decision {
    let mut decision = not_started(facts, resolved, attempt, now);
    // A later attempt was started.
    if let Some(deadline) = start_deadline(facts.job, attempt).filter(|deadline| *deadline > now) {
        decision.plan.wake(deadline);
    }
    decision
}

/// By when a Job has to be launched, if that is limited: its first attempt.
fn start_deadline(job: &Job, attempt: u32) -> Option<Timestamp> {
    job.spec.start_deadline.as_ref().filter(|_| attempt == 1).map(|time| time.0)
}

fn not_started(
    facts: &Facts<'_>,
    resolved: Result<Resolved<'_>, Unresolved>,
    attempt: u32,
    now: Timestamp,
) -> Decision {
    let known = resolved.as_ref().ok();
    let cancel = cancel_request(facts);
    let input = RunInput { cancel: cancel.as_ref(), ..record_input(facts, known, attempt, now) };
    if let Some((reason, cancel)) = &cancel {
        let mut plan = record(run::skipped_run(&input, *reason, cancel_text(cancel)));
        plan.notes.extend(cancel_note(facts.job));
        return plan.into();
    }
    if let Some(decision) = duplicate(facts, &input, attempt, now) {
        return decision;
    }
    if let Some(later) = facts.superseded_by.filter(|_| attempt == 1) {
        let text = format!("replaced by Job {later} before it started: concurrencyPolicy is QueueLatest");
        return record(run::skipped_run(&input, Reason::Replaced, text)).into();
    }
    if let Some(deadline) = start_deadline(facts.job, attempt).filter(|deadline| now >= *deadline) {
        let text = format!("had not started by {deadline} (startDeadline)");
        return record(run::skipped_run(&input, Reason::StartDeadlineExceeded, text)).into();
    }
    if let Some(plan) = kept_out(facts, &input, now) {
        // One that the start found joining comes to its queue in its turn.
        let is_coming = plan.status.is_some() && facts.gate.is_some_and(|gate| gate.is_joining);
        return Decision { plan, is_coming, ..Decision::default() };
    }
    if let Some((reason, message)) = &facts.memory.dropped {
        return record(run::skipped_run(&input, *reason, message.clone())).into();
    }
    match &resolved {
        Err(unresolved) => unresolvable(facts, unresolved, &input, now).into(),
        Ok(resolved) => waiting(facts, resolved, &input, attempt, now),
    }
}

/// A Job that asks for what another one does or did. That is told before the first attempt; a later one is its own.
fn duplicate(facts: &Facts<'_>, input: &RunInput<'_>, attempt: u32, now: Timestamp) -> Option<Decision> {
    if attempt == 1 {
        if !earlier::is_asked(facts) {
            return Some(Decision::default());
        }
        if let Some((reason, text)) = earlier::needless(facts, now) {
            return Some(record(run::skipped_run(input, reason, text)).into());
        }
    }
    let other = facts.duplicate_of?;
    let text = format!("unfinished Job {other:?} has the same dedupKey");
    Some(record(run::skipped_run(input, Reason::DuplicateKey, text)).into())
}

fn cancel_text(cancel: &Cancel) -> String {
    let who = cancel.requested_by.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
    match cancel.reason.as_str() {
        "" => format!("cancelled{who} while it waited"),
        why => format!("cancelled{who}: {why}"),
    }
}

/// A Job that cannot be queued: one that a user wrote waits to be corrected, one that Rota made is recorded.
fn unresolvable(facts: &Facts<'_>, unresolved: &Unresolved, input: &RunInput<'_>, now: Timestamp) -> Plan<JobStatus> {
    if let Some(message) = facts.gate.and_then(|gate| gate.stopped.clone()) {
        return record(run::skipped_run(input, Reason::GroupStopped, message));
    }
    if let Some(message) = facts.gate.and_then(|gate| gate.waits.clone()) {
        // It is judged in its turn: until then somebody may correct it, and those before it run.
        let mut status = base_status(facts, None, now);
        status.phase = Some(JobPhase::Pending);
        let blocker = Blocker { waiting_for: WaitingFor::GroupOrder, message };
        set_waiting(facts, &mut status, Some(&blocker), false, now);
        return Plan { status: Some(status), ..Plan::default() };
    }
    let Some(waiting_for) = unresolved.waiting_for else { return Plan::default() };
    let ours = facts.job.spec.schedule_ref.is_some() || facts.job.spec.group_ref.is_some();
    // What nobody can say yet is no reason to give up.
    let unchecked = matches!(facts.source, Source::Unchecked { .. });
    if !unchecked && (ours || unresolved.reason == Reason::TemplateArchived) {
        return record(run::skipped_run(input, unresolved.reason, unresolved.message.clone()));
    }
    let mut plan = Plan::default();
    let mut status = base_status(facts, None, now);
    status.phase = Some(JobPhase::Pending);
    let blocker = Blocker { waiting_for, message: unresolved.message.clone() };
    set_waiting(facts, &mut status, Some(&blocker), !unchecked, now);
    if !unchecked && previously_waiting_for(facts.job) != Some(waiting_for) {
        plan.notes.push(Note::warning(unresolved.reason.as_str(), "Queue", blocker.message));
    }
    plan.status = Some(status);
    plan
}

fn waiting(facts: &Facts<'_>, resolved: &Resolved<'_>, input: &RunInput<'_>, attempt: u32, now: Timestamp) -> Decision {
    if let Some(message) = facts.gate.and_then(|gate| gate.stopped.clone()) {
        return record(run::skipped_run(input, Reason::GroupStopped, message)).into();
    }
    let mut decision = Decision { queue: Some(resolved.queue.clone()), ..Decision::default() };
    let deadline = total_deadline(facts.job, facts.memory, Some(resolved), now);
    let said = facts.job.status.as_ref().and_then(|status| status.queued_at.as_ref());
    if said.is_some() && deadline.is_some_and(|deadline| now >= deadline) {
        let seconds = resolved.deadline_seconds.unwrap_or_default();
        let text = format!("had not ended within {seconds} s of being queued (deadlineSeconds)");
        return record(run::skipped_run(input, Reason::TotalDeadlineExceeded, text)).into();
    }
    if let Some(message) = facts.gate.and_then(|gate| gate.waits.clone()) {
        let blocker = Blocker { waiting_for: WaitingFor::GroupOrder, message };
        // One that was queued stays so when the list puts another one before it: it is what it was queued as, and its
        // deadline counts from then.
        let phase = if said.is_some() { JobPhase::Queued } else { JobPhase::Pending };
        decision.plan = waiting_status(facts, resolved, phase, Some(&blocker), now);
        deadline.filter(|_| said.is_some()).iter().for_each(|deadline| decision.plan.wake(*deadline));
        return decision;
    }
    if said.is_none() && (deadline.is_some() || !pinned::fits(facts.job)) {
        // A deadline counts from what is written down: otherwise a restart would begin it anew, and launch what an earlier
        // process has recorded as too late. And what is too long to be kept with the batch Job cannot be edited from then on.
        decision.plan = waiting_status(facts, resolved, JobPhase::Queued, None, now);
        decision.is_coming = own_blocker(facts.job, now).is_none();
    } else {
        in_line(facts, resolved, input, attempt, now, &mut decision);
    }
    deadline.iter().for_each(|deadline| decision.plan.wake(*deadline));
    decision
}

/// A Job that is in its queue, or would be but for something of its own.
fn in_line(
    facts: &Facts<'_>,
    resolved: &Resolved<'_>,
    input: &RunInput<'_>,
    attempt: u32,
    now: Timestamp,
    decision: &mut Decision,
) {
    if let Some(refusal) = facts.memory.refusal.as_ref().filter(|refusal| refusal.attempt == attempt)
        && let Some(plan) = refused(facts, resolved, input, refusal, now)
    {
        decision.plan = plan;
        return;
    }
    let status = facts.job.status.as_ref();
    let (blocker, until) = own_blocker(facts.job, now).unzip();
    let queued_at = queued_at(facts, now);
    if blocker.is_none() {
        decision.candidate = Some(candidate(facts, resolved, attempt, queued_at));
    }
    // A launch that is tried again after a refusal still waits for the same, unless its queue has news.
    let refused = facts.memory.refusal.as_ref().filter(|refusal| refusal.attempt == attempt).map(refusal_blocker);
    let told = blocker.as_ref().or(facts.memory.blocker.as_ref()).or(refused.as_ref());
    // A Job that is new may be launched, and one that is new to this process was told by the last one what it waits for. So
    // nobody sees that it waits before the launches are written down that were decided before it came.
    let offered = facts.memory.offered_at.unwrap_or(facts.memory.first_seen);
    let may_rest = status.and_then(|status| status.phase).is_none_or(|phase| phase == JobPhase::Queued);
    if let (None, true, Some(later)) = (told, may_rest, status_rests(facts, offered, now)) {
        decision.plan.wake(later);
        return;
    }
    decision.plan = waiting_status(facts, resolved, JobPhase::Queued, told, now);
    until.flatten().iter().for_each(|until| decision.plan.wake(*until));
}

/// What of its own keeps a Job from being launched, and until when if that is known.
pub fn own_blocker(job: &Job, now: Timestamp) -> Option<(Blocker, Option<Timestamp>)> {
    let blocker = |waiting_for, message: String, until| Some((Blocker { waiting_for, message }, until));
    if job.spec.hold {
        return blocker(WaitingFor::Hold, "spec.hold is true".into(), None);
    }
    if let Some(at) = job.spec.not_before.as_ref().map(|time| time.0).filter(|at| *at > now) {
        return blocker(WaitingFor::NotBefore, format!("spec.notBefore is {at}"), Some(at));
    }
    let retry_at = job.status.as_ref().and_then(|status| status.retry_at.as_ref()).map(|time| time.0);
    let at = retry_at.filter(|at| *at > now)?;
    blocker(WaitingFor::Retry, format!("the next attempt may start at {at}"), Some(at))
}

/// Whether an admitted Job may still be launched: what was decided when it became a candidate may be true no longer.
pub fn may_launch(job: &Job, memory: &Memory, known: &Resolved<'_>, now: Timestamp) -> bool {
    let attempt = current_attempt(job);
    let recorded = memory.recorded.as_ref().is_some_and(|it| it.attempt == attempt)
        || memory.recording.as_ref().is_some_and(|run| run.spec.attempt == attempt);
    let too_late = total_deadline(job, memory, Some(known), now)
        .into_iter()
        .chain(start_deadline(job, attempt))
        .any(|deadline| now >= deadline);
    !recorded && !too_late && own_blocker(job, now).is_none()
}

/// A refused launch: recorded when it is pointless to go on, otherwise tried again later; absent when that time has come.
fn refused(
    facts: &Facts<'_>,
    resolved: &Resolved<'_>,
    input: &RunInput<'_>,
    refusal: &Refusal,
    now: Timestamp,
) -> Option<Plan<JobStatus>> {
    let status = facts.job.status.as_ref();
    let since = status.and_then(|status| status.refused_since.as_ref()).map_or(refusal.at, |time| time.0);
    let counted = since.max(refusal.blocked_since.unwrap_or(since));
    let give_up = counted.saturating_add_ms(resolved.pending_timeout_seconds.saturating_mul(1_000));
    if refusal.permanent || now >= give_up {
        return Some(record(run::refused_run(input, &refusal.message)));
    }
    let again = refusal.at.saturating_add_ms(REFUSED_RETRY_SECONDS * 1_000).min(give_up);
    // Also when the clock was set back meanwhile.
    if now >= again || now < refusal.at {
        return None;
    }
    let blocker = refusal_blocker(refusal);
    let mut plan = waiting_status(facts, resolved, JobPhase::Queued, Some(&blocker), now);
    if let Some(status) = plan.status.as_mut() {
        status.refused_since = Some(micro(since));
    }
    if previously_waiting_for(facts.job) != Some(WaitingFor::Admission) {
        plan.notes.push(Note::warning("LaunchRefused", "Launch", refusal.message.clone()));
    }
    plan.wake(again);
    Some(plan)
}

fn refusal_blocker(refusal: &Refusal) -> Blocker {
    Blocker { waiting_for: WaitingFor::Admission, message: refusal.message.clone() }
}

fn candidate(facts: &Facts<'_>, resolved: &Resolved<'_>, attempt: u32, queued_at: Timestamp) -> Candidate {
    let position = facts.job.spec.position.or(facts.gate.and_then(|gate| gate.position));
    Candidate {
        rank: Rank {
            priority: Reverse(resolved.priority),
            position: position.unwrap_or(Position::at(queued_at)),
            place: facts.gate.map(|gate| gate.place).unwrap_or_default(),
            queued_at,
            name: facts.job.metadata.name.as_deref().unwrap_or_default().into(),
        },
        uid: facts.job.metadata.uid.as_deref().unwrap_or_default().into(),
        attempt,
        queue: resolved.queue.as_str().into(),
        limits: limits(facts.job),
    }
}

/// What limits a Job besides its queue.
pub fn limits(job: &Job) -> Limits {
    let spec = &job.spec;
    let template = spec.template_ref.as_ref().map(|it| Limit::Template(it.name.clone()));
    let group = group::reference(job).map(|it| Limit::Group(it.uid));
    let schedule = spec.schedule_ref.as_ref().map(|it| Limit::Schedule(it.name.clone()));
    template.into_iter().chain(group).chain(schedule).chain([Limit::Namespace]).collect()
}
