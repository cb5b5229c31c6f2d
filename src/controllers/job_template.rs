//! JobTemplate: read it, keep its revisions.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::ControllerRevision;

use super::{Context, outcome, refusals};
use crate::api::DEFAULT_QUEUE;
use crate::apply::WriteError;
use crate::dispatcher;
use crate::domain::plan::Effect;
use crate::domain::template::{self, Facts, Probe};
use crate::runtime::clock::now;
use crate::runtime::store::Key;
use crate::runtime::stores::{of_revision, of_template};
use crate::runtime::visibility::Act;
use crate::runtime::work::Next;

/// About which template, as it was then, the API server was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    uid: String,
    digest: String,
}

/// When to try again to delete what is unused and was refused to be deleted.
const UNUSED_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// One run for a template.
pub async fn reconcile(context: Arc<Context>, key: Key) -> Next {
    let result = run(&context, &key).await;
    if let Err(error) = &result {
        refusals::say(&context, context.stores.templates.get(&key).as_deref(), error).await;
    }
    outcome(&context, "jobtemplate", &key, result)
}

async fn run(context: &Context, key: &Key) -> Result<Option<Timestamp>, WriteError> {
    context.may(Act::Revise, &key.namespace)?;
    // Observe.
    let revisions = revisions(context, key);
    let Some(object) = context.stores.templates.get(key) else {
        if context.stores.templates.is_unreadable(key) {
            return Ok(None);
        }
        context.readings.templates.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        probes(context).remove(key);
        context.apply_all(template::orphans(&revisions)).await?;
        return Ok(None);
    };
    let reading = context.reading(&object);
    let asked = Asked { uid: object.metadata.uid.clone().unwrap_or_default(), digest: reading.digest.clone() };
    let probe = probes(context).get(key).filter(|(known, _)| *known == asked).map(|(_, probe)| probe.clone());
    // Decide.
    let now_is = now();
    let queue = object.spec.queue.as_deref().unwrap_or(DEFAULT_QUEUE);
    let queue = dispatcher::condition(context, &key.namespace, queue, now_is);
    let facts = Facts { template: &object, reading: &reading, revisions: &revisions, queue, probe: probe.as_ref() };
    let plan = template::decide(&facts, now_is);
    // Apply.
    let mut probed = false;
    let (unused, effects): (Vec<Effect>, Vec<Effect>) =
        plan.effects.into_iter().partition(|effect| matches!(effect, Effect::DeleteRevision(_)));
    for effect in effects {
        if let Some(answer) = context.writer.apply(effect).await?.probe {
            probed = true;
            let next = Probe::next(probe.as_ref(), answer, now());
            probes(context).insert(key.clone(), (asked.clone(), next));
        }
    }
    // Status.
    if let Some(status) = plan.status.filter(|status| object.status.as_ref() != Some(status)) {
        context.writer.status(object.as_ref(), &status).await?;
    }
    context.tell(object.as_ref(), plan.notes);
    // Last, and apart: that something unused cannot be removed says nothing of the template.
    if let Err(error) = context.apply_all(unused).await {
        if !error.is_refusal() {
            return Err(error);
        }
        tracing::warn!(%key, error = %error.text(), "an unused revision cannot be deleted");
        return Ok(plan.wake_at.or(now().checked_add(UNUSED_AGAIN).ok()));
    }
    Ok(if probed { Some(now()) } else { plan.wake_at })
}

fn probes(context: &Context) -> MutexGuard<'_, HashMap<Key, (Asked, Probe)>> {
    context.probes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The revisions of the template of that name, and whether a Job refers to each.
fn revisions(context: &Context, key: &Key) -> Vec<(Arc<ControllerRevision>, bool)> {
    let found = context.stores.revisions.find(&of_template(&key.namespace, &key.name));
    let used = |revision: &ControllerRevision| {
        let name = revision.metadata.name.as_deref().unwrap_or_default();
        context.stores.jobs.has(&of_revision(&key.namespace, name))
    };
    found.into_iter().map(|revision| (revision.clone(), used(&revision))).collect()
}
