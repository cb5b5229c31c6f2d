//! What came before a Job: other Jobs with its key, and records, which are looked up once for a Job that needs it.

use std::sync::PoisonError;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::attempt::{batch_of, is_launched};
use super::{Observed, resolve};
use crate::api::labels::{DAY, SCHEDULE, SCHEDULED_TIMES};
use crate::api::queue::OverflowPolicy;
use crate::api::schedule::ConcurrencyPolicy;
use crate::api::{DEFAULT_QUEUE, Job, JobPhase, JobRun, Schedule};
use crate::apply::WriteError;
use crate::controllers::Context;
use crate::domain::job::{self, Memory, Recorded, Selector, attempt_names, current_attempt};
use crate::domain::resolve::Resolved;
use crate::domain::{names, schedule};
use crate::runtime::clock::now;
use crate::runtime::store::Key;
use crate::runtime::stores::{of_dedup_key, of_schedule};

/// Looks among the records for what has to be known before a Job's first attempt, unless that was done.
///
/// The Jobs were looked at before: a Job that ended since has left its record by now.
pub async fn look_up(context: &Context, object: &Job, observed: &Observed) -> Result<(), WriteError> {
    let uid = object.uid().unwrap_or_default();
    let memory = context.memories.update(&uid, |_| ());
    let attempt = current_attempt(object);
    let is_recorded = memory.recorded.is_some() || memory.recording.is_some();
    if is_recorded || job::ending(object, Some(&memory)).is_some() || is_launched(context, object, &memory) {
        return Ok(());
    }
    if memory.from_start && !memory.unrecorded && may_be_recorded(context, object, observed) {
        let namespace = object.namespace().unwrap_or_default();
        let [own, other] = attempt_names(object, attempt);
        // The other name is that of few: where its own would be too long, or is taken.
        let is_taken = context.stores.batch_jobs.get(&Key::new(&namespace, own.as_str())).is_some();
        let other = Some(other).filter(|_| is_taken || own.len() > names::ATTEMPT_NAME_MAX);
        for name in [Some(own), other].into_iter().flatten() {
            if let Some(run) = context.writer.record(&namespace, &name, &uid).await? {
                let recorded = Recorded::of(&run, now());
                context.memories.update(&uid, |memory| memory.recorded = Some(recorded));
                return Ok(());
            }
        }
        context.memories.update(&uid, |memory| memory.unrecorded = true);
    }
    if attempt > 1 {
        return Ok(());
    }
    if let Some(run) = skipped(context, object, &memory).await? {
        let recorded = Recorded { attempt, ..Recorded::of(&run, now()) };
        context.memories.update(&uid, |memory| memory.recorded = Some(recorded));
        return Ok(());
    }
    let asked_of = job::asked_of(object);
    if asked_of.is_some() && asked_of == memory.asked_of {
        return Ok(());
    }
    let question = job::question(object);
    if question.as_ref() == memory.earlier.as_ref().map(|(asked, _)| asked) {
        context.memories.update(&uid, |memory| memory.asked_of = asked_of);
        return Ok(());
    }
    let Some(question) = question else {
        context.memories.update(&uid, |memory| (memory.earlier, memory.asked_of) = (None, asked_of));
        return Ok(());
    };
    let mut found = observed.duplicate_of.as_ref().and_then(|other| question.answer_of_job(other));
    if found.is_none() {
        let mut search = question.search(object);
        for selector in question.selectors(object, now()) {
            if !search.is_over(now()) {
                let mut see = |run: &JobRun| {
                    search.see(run);
                    search.is_over(now())
                };
                context.writer.search(&object.namespace().unwrap_or_default(), &selector, &mut see).await?;
            }
        }
        found = search.into_found();
    }
    context.memories.update(&uid, |memory| (memory.earlier, memory.asked_of) = (Some((question, found)), asked_of));
    Ok(())
}

/// The record that says that the time of a Job was skipped, if there is one: another process made the Job, and its request came
/// through only after that. Asked once, for a Job of a schedule that this process did not make and nobody has queued.
async fn skipped(context: &Context, object: &Job, memory: &Memory) -> Result<Option<JobRun>, WriteError> {
    let (Some(schedule), Some(time)) = (&object.spec.schedule_ref, &object.spec.scheduled_time) else {
        return Ok(None);
    };
    let made = context.made.lock().unwrap_or_else(PoisonError::into_inner).remove(&Key::of(object));
    let is_owned = object.owner_references().iter().any(|owner| owner.uid == schedule.uid);
    let is_queued = object.status.as_ref().is_some_and(|status| status.phase.is_some());
    if !is_owned || memory.unskipped || is_queued {
        return Ok(None);
    }
    let uid = object.uid().unwrap_or_default();
    let namespace = object.namespace().unwrap_or_default();
    if !made {
        let name = names::skipped_run(&schedule.name, &schedule.uid, time.0);
        let mut found = context
            .writer
            .record(&namespace, &name, &schedule.uid)
            .await?
            .filter(|run| schedule::has_skipped(run, object));
        if found.is_none() {
            // A record that stands for several times has the name of the first. It was written since the Job was asked for.
            let created = object.creation_timestamp().map_or_else(now, |time| time.0);
            let by = Selector {
                labels: format!(
                    "{SCHEDULE}={},{SCHEDULED_TIMES},{}",
                    names::label_value(&schedule.name),
                    days_around(created)
                ),
                fields: None,
            };
            let mut see = |run: &JobRun| {
                found = found.take().or_else(|| schedule::has_skipped(run, object).then(|| run.clone()));
                found.is_some()
            };
            context.writer.search(&namespace, &by, &mut see).await?;
        }
        if found.is_some() {
            return Ok(found);
        }
    }
    context.memories.update(&uid, |memory| memory.unskipped = true);
    Ok(None)
}

/// Selects the records of that day and of those beside it.
fn days_around(instant: Timestamp) -> String {
    let day = SignedDuration::from_hours(24);
    let days = [instant.saturating_sub(day), Ok(instant), instant.saturating_add(day)];
    let days: Vec<String> = days.into_iter().filter_map(|day| Some(names::day(day.ok()?))).collect();
    format!("{DAY} in ({})", days.join(","))
}

/// Whether an earlier process may have recorded a Job that could be queued or launched now, for a reason that has gone since,
/// and ended before it said so in the Job's status: as a duplicate, for want of its template, or of room in its queue.
fn may_be_recorded(context: &Context, object: &Job, observed: &Observed) -> bool {
    let status = object.status.as_ref();
    let is_queued = status.is_some_and(|status| status.phase == Some(JobPhase::Queued));
    let unstarted = observed.gate.as_ref().is_some_and(|gate| gate.unstarted.is_some());
    let drops_who_waits = || {
        let name = status.and_then(|status| status.queue.as_deref()).unwrap_or(DEFAULT_QUEUE);
        let queue = context.stores.queues.get(&Key::new(object.namespace().unwrap_or_default(), name));
        queue.is_some_and(|queue| queue.spec.overflow_policy == Some(OverflowPolicy::DropOldest))
    };
    let could_be_queued = !is_queued && !unstarted && resolve(object, observed).is_ok();
    // By another clock.
    let may_be_late = object.spec.start_deadline.is_some();
    object.spec.dedup_key.is_some() || may_be_late || could_be_queued || (is_queued && drops_who_waits())
}

/// The unfinished Job with the same dedupKey that goes first, if it is not this one: one that was launched, else the one
/// that was created first.
pub fn duplicate_of(context: &Context, object: &Job, namespace: &str) -> Option<String> {
    let key = object.spec.dedup_key.as_deref()?;
    let order = |job: &&std::sync::Arc<Job>| {
        let begun = job.metadata.uid.as_deref().is_some_and(|uid| context.memories.is_begun(uid));
        let launched = begun || is_said_or_seen(context, job);
        (!launched, job.metadata.creation_timestamp.as_ref().map(|time| time.0), job.metadata.name.clone())
    };
    let same = context.stores.jobs.find(&of_dedup_key(namespace, key));
    let first = same.iter().filter(|job| context.ending(job).is_none()).min_by_key(order)?;
    (first.uid() != object.uid()).then(|| first.name_any())
}

/// The unfinished Job of the latest time of its schedule, if that one takes the place of this one while it waits.
pub fn superseded_by(context: &Context, object: &Job, of: &Schedule) -> Option<String> {
    if of.spec.concurrency_policy != Some(ConcurrencyPolicy::QueueLatest) {
        return None;
    }
    let key = Key::of(of);
    let others = context.stores.jobs.find(&of_schedule(&key.namespace, &key.name));
    let later = others.iter().filter(|job| schedule::gives_way(of, object, job) && context.ending(job).is_none());
    later.max_by_key(|job| schedule::occurrence(job)).map(|job| job.name_any())
}

/// Whether an attempt of the Job was launched.
fn was_launched(context: &Context, job: &Job, memory: &Memory) -> bool {
    memory.launched.is_some() || is_said_or_seen(context, job) || is_launched(context, job, memory)
}

fn is_said_or_seen(context: &Context, job: &Job) -> bool {
    let said = job.status.as_ref().is_some_and(|status| status.batch_job_ref.is_some());
    said || batch_of(context, job, current_attempt(job)).0.is_some()
}

/// Whether an admitted Job may be launched, decided in one step with the claim that keeps others with its dedupKey from it.
/// The others are asked to look again.
pub fn begin_launch(context: &Context, object: &Job, known: &Resolved<'_>) -> bool {
    let uid = object.uid().unwrap_or_default();
    let rivals = rivals(context, object);
    let launched = |job: &Job| {
        let memory = context.memories.update(&job.uid().unwrap_or_default(), |_| ());
        was_launched(context, job, &memory)
    };
    // What was launched once is nobody's duplicate.
    let attempt = current_attempt(object);
    let own_is_first = attempt > 1;
    let taken = !own_is_first && rivals.iter().any(|rival| launched(rival));
    let uids: Vec<String> =
        if own_is_first { Vec::new() } else { rivals.iter().filter_map(|rival| rival.uid()).collect() };
    let may =
        !taken && context.memories.claim(&uid, attempt, &uids, |memory| job::may_launch(object, memory, known, now()));
    if may {
        rivals.iter().for_each(|rival| context.triggers.jobs.trigger(Key::of(rival.as_ref())));
    } else {
        // What was looked up before may be different now.
        context.memories.update(&uid, |memory| (memory.earlier, memory.asked_of) = (None, None));
    }
    may
}

/// The other unfinished Jobs with the same dedupKey.
fn rivals(context: &Context, object: &Job) -> Vec<std::sync::Arc<Job>> {
    let Some(key) = object.spec.dedup_key.as_deref() else { return Vec::new() };
    let mut found = context.stores.jobs.find(&of_dedup_key(&object.namespace().unwrap_or_default(), key));
    found.retain(|job| job.uid() != object.uid() && context.ending(job).is_none());
    found
}
