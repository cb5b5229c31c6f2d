//! What came before a Job: other Jobs with its key, and records, which are looked up once for a Job that needs it.

use kube::ResourceExt;

use super::attempt::is_launched;
use super::{Observed, source};
use crate::api::queue::OverflowPolicy;
use crate::api::{DEFAULT_QUEUE, Job, JobPhase};
use crate::apply::WriteError;
use crate::controllers::Context;
use crate::domain::job::{self, Memory, Recorded, attempt_name, current_attempt};
use crate::domain::resolve::{self, Resolved};
use crate::runtime::clock::now;
use crate::runtime::store::Key;
use crate::runtime::stores::of_dedup_key;

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
        if let Some(run) = context.writer.record(&namespace, &attempt_name(object, attempt)).await? {
            let recorded = Recorded::of(&run, now());
            context.memories.update(&uid, |memory| memory.recorded = Some(recorded));
            return Ok(());
        }
        context.memories.update(&uid, |memory| memory.unrecorded = true);
    }
    if attempt > 1 {
        return Ok(());
    }
    let question = job::question(object);
    if question.as_ref() == memory.earlier.as_ref().map(|(asked, _)| asked) {
        return Ok(());
    }
    let Some(question) = question else {
        context.memories.update(&uid, |memory| memory.earlier = None);
        return Ok(());
    };
    let mut found = observed.duplicate_of.as_ref().and_then(|other| question.answer_of_job(other));
    if found.is_none() {
        let mut records = Vec::new();
        for selector in question.selectors(object) {
            records.extend(context.writer.records(&object.namespace().unwrap_or_default(), &selector).await?);
        }
        found = question.answer(object, &records);
    }
    context.memories.update(&uid, |memory| memory.earlier = Some((question, found)));
    Ok(())
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
    let could_be_queued = !is_queued && !unstarted && resolve::resolve(object, source(object, observed)).is_ok();
    object.spec.dedup_key.is_some() || could_be_queued || (is_queued && drops_who_waits())
}

/// The unfinished Job with the same dedupKey that goes first, if it is not this one: one that was launched, else the one
/// that was created first.
pub fn duplicate_of(context: &Context, object: &Job, namespace: &str) -> Option<String> {
    let key = object.spec.dedup_key.as_deref()?;
    let order = |job: &Job| {
        let memory = job.uid().and_then(|uid| context.memories.get(&uid));
        let launched = memory.is_some_and(|memory| memory.claimed.is_some() || was_launched(context, job, &memory));
        (!launched, job.metadata.creation_timestamp.as_ref().map(|time| time.0), job.name_any())
    };
    let same = context.stores.jobs.find(&of_dedup_key(namespace, key));
    let first = same.iter().filter(|job| context.ending(job).is_none()).min_by_key(|job| order(job))?;
    (first.uid() != object.uid()).then(|| first.name_any())
}

/// Whether an attempt of the Job was launched.
fn was_launched(context: &Context, job: &Job, memory: &Memory) -> bool {
    let said = job.status.as_ref().is_some_and(|status| status.batch_job_ref.is_some());
    said || memory.launched.is_some() || is_launched(context, job, memory)
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
        context.memories.update(&uid, |memory| memory.earlier = None);
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
