//! JobGroup: make its members' Jobs and say how it stands.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Context, outcome};
use crate::apply::WriteError;
use crate::domain::conditions;
use crate::domain::group::{self, MemberJob};
use crate::runtime::clock::now;
use crate::runtime::store::Key;
use crate::runtime::stores::of_uid;
use crate::runtime::work::Next;

/// One run for a group.
pub async fn reconcile(context: Arc<Context>, key: Key) -> Next {
    let result = run(&context, &key).await;
    outcome(&context, "jobgroup", &key, result)
}

async fn run(context: &Context, key: &Key) -> Result<Option<Timestamp>, WriteError> {
    // Observe.
    let Some(object) = context.stores.groups.get(key) else { return Ok(None) };
    let jobs = jobs(context, object.metadata.uid.as_deref().unwrap_or_default());
    // Decide.
    let plan = group::decide(&object, &jobs, now());
    // Apply; a group that just got members says so when they are there.
    let made = !plan.effects.is_empty();
    context.apply_all(plan.effects).await?;
    // Status.
    if let Some(status) = plan.status.filter(|status| object.status.as_ref() != Some(status)) {
        context.writer.status(object.as_ref(), &status, None).await?;
    }
    context.tell(object.as_ref(), plan.notes);
    Ok(if made { Some(now()) } else { plan.wake_at })
}

fn jobs(context: &Context, uid: &str) -> Vec<MemberJob> {
    let found = context.stores.jobs.find(&of_uid(uid));
    let members = found.into_iter().filter_map(|job| {
        let member = job.spec.group_ref.as_ref()?.member.clone();
        let status = job.status.as_ref();
        let stalled = status.and_then(|status| {
            let stalled = |it: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
                it.type_ == conditions::STALLED && it.status == "True"
            };
            status.conditions.iter().find(stalled).map(|it| it.message.clone())
        });
        Some(MemberJob {
            member,
            job: crate::api::ObjectReference {
                name: job.metadata.name.clone().unwrap_or_default(),
                uid: job.metadata.uid.clone().unwrap_or_default(),
            },
            phase: status.and_then(|status| status.phase),
            started_at: status.and_then(|status| status.started_at.as_ref()).map(|time| time.0),
            stalled,
            ending: context.ending(&job),
        })
    });
    members.collect()
}
