//! What the caches do not have, or may have too old, is read from the API server before anything immutable follows from it.

use std::sync::Arc;

use kube::ResourceExt;

use super::{attempt, whole};
use crate::api::labels::TEMPLATE_REVISION_ANNOTATION;
use crate::api::{Job, JobGroup, JobPhase, JobTemplate, Reason, Schedule};
use crate::apply::WriteError;
use crate::controllers::Context;
use crate::domain::job::{self, Decision, Memory};
use crate::domain::plan::Effect;
use crate::domain::schedule;
use crate::runtime::store::Key;

/// A cached Job with all that a decision about it needs; absent if the Job is gone.
///
/// What it refers to and the caches lack is read: the revision that it was queued with, which the watch does not show any more if
/// somebody took off its labels, and the schedule of a run by hand, which may have been created together with it.
pub async fn complete(context: &Context, cached: Arc<Job>) -> Result<Option<Arc<Job>>, WriteError> {
    let Some(object) = whole(context, cached).await? else { return Ok(None) };
    let namespace = object.namespace().unwrap_or_default();
    if let (None, Some(template)) = (job::ending(&object, None), &object.spec.template_ref)
        && let Some(revision) = revision_of(context, &object).map(|name| Key::new(&namespace, name))
        && context.stores.revisions.get(&revision).is_none()
    {
        context.writer.find_revision(&revision, &template.name).await?;
    }
    let is_queued = object.status.as_ref().is_some_and(|status| status.phase.is_some());
    let reference = object.spec.schedule_ref.as_ref().filter(|_| !is_queued && schedule::is_by_hand(&object));
    if let Some(reference) = reference {
        let key = Key::new(&namespace, &reference.name);
        if context.stores.schedules.get(&key).is_none() && !context.stores.schedules.is_unreadable(&key) {
            context.writer.refresh::<Schedule>(&key).await?;
        }
    }
    Ok(Some(object))
}

/// The name of the revision that a Job was queued with, according to its status or to its batch Job.
fn revision_of(context: &Context, object: &Job) -> Option<String> {
    let said = object.status.as_ref().and_then(|status| status.template.as_ref()).map(|it| it.revision.clone());
    said.or_else(|| {
        let (batch, _) = attempt::batch_of(context, object, job::current_attempt(object));
        batch?.annotations().get(TEMPLATE_REVISION_ANNOTATION).cloned()
    })
}

/// Whether the API server confirms the reason for which a Job is about to be recorded without an attempt. If not, what was read is in
/// the caches, and the Job is to be decided anew.
pub async fn is_confirmed(
    context: &Context,
    object: &Job,
    memory: &Memory,
    decision: &Decision,
) -> Result<bool, WriteError> {
    let Some(reason) = begins_to_record(memory, decision) else { return Ok(true) };
    let namespace = object.namespace().unwrap_or_default();
    let is_queued = object.status.as_ref().is_some_and(|status| status.phase == Some(JobPhase::Queued));
    let spec = &object.spec;
    match (reason, &spec.template_ref, &spec.group_ref) {
        // A queued Job runs the revision that it was queued with.
        (_, Some(template), _) if reason.rests_on_template() && !is_queued => {
            context.writer.refresh::<JobTemplate>(&Key::new(namespace, &template.name)).await.map(|changed| !changed)
        }
        (Reason::GroupClosed, _, Some(group)) => {
            let key = Key::new(namespace, &group.name);
            // That a group is being deleted, or that another Job is its member, stays true.
            let is_absent = context.stores.groups.get(&key).is_none();
            Ok(!is_absent || !context.writer.refresh::<JobGroup>(&key).await?)
        }
        _ => Ok(true),
    }
}

/// The reason of the record that a decision begins, if it begins one.
fn begins_to_record(memory: &Memory, decision: &Decision) -> Option<Reason> {
    let reason = |effect: &Effect| match effect {
        Effect::CreateRun(run) => run.status.as_ref().map(|status| status.reason),
        _ => None,
    };
    decision.plan.effects.iter().find_map(reason).filter(|_| memory.recording.is_none())
}
