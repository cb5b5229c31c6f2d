//! JobGroup: start it, make its members' Jobs, and say how it stands.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{Context, outcome};
use crate::api::{Job, JobGroup, JobPhase};
use crate::apply::WriteError;
use crate::domain::conditions::micro;
use crate::domain::group::{self, Belonging, Gate, MemberJob, Standing};
use crate::domain::job::Memory;
use crate::runtime::clock::now;
use crate::runtime::store::Key;
use crate::runtime::stores::{Stores, of_group};
use crate::runtime::work::Next;

/// How long a group is left alone after it was looked at, in microseconds for each member: events of members that come in
/// between are looked at together, so that a large group takes a bounded part of the time.
const REST_MICROS_PER_MEMBER: i64 = 20;
/// How long the status of a large group may wait for what else happens, in milliseconds.
const STATUS_DELAY_MS: i64 = 1_000;

/// How the members of groups stand, by the uid of the group. It is a cache: each is worked out again from the objects.
#[derive(Default)]
pub struct Standings(Mutex<HashMap<String, Seen>>);

/// A group as it was last looked at.
#[derive(Clone, Default)]
struct Seen {
    standing: Arc<Standing>,
    /// When it may be looked at again.
    rests_until: Option<Timestamp>,
    /// When its status was last written.
    written_at: Option<Timestamp>,
}

impl Standings {
    /// Forgets a group that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn get(&self, group: &JobGroup) -> Option<Seen> {
        let seen = self.lock().get(group.metadata.uid.as_deref()?).cloned()?;
        (seen.standing.generation == group.metadata.generation).then_some(seen)
    }

    fn update(&self, group: &JobGroup, change: impl FnOnce(&mut Seen)) {
        change(self.lock().entry(group.uid().unwrap_or_default()).or_default());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the members of a group stand: as they were when it was last looked at, unless it was edited since.
pub fn standing(context: &Context, group: &JobGroup) -> Arc<Standing> {
    if let Some(seen) = context.standings.get(group) {
        return seen.standing;
    }
    let standing = Arc::new(group::standing(group, &members(context, group), &priorities(&context.stores, group)));
    context.standings.update(group, |seen| seen.standing = standing.clone());
    standing
}

/// One run for a group.
pub async fn reconcile(context: Arc<Context>, key: Key) -> Next {
    let result = run(&context, &key).await;
    outcome(&context, "jobgroup", &key, result)
}

async fn run(context: &Context, key: &Key) -> Result<Option<Timestamp>, WriteError> {
    // Observe.
    let Some(object) = context.stores.groups.get(key) else { return Ok(None) };
    let now_is = now();
    let before = context.standings.get(&object);
    if let Some(later) = before.as_ref().and_then(|seen| seen.rests_until).filter(|until| *until > now_is) {
        return Ok(Some(later));
    }
    let members = members(context, &object);
    let resumed = object.spec.resume_of.as_ref();
    let resumed = resumed.and_then(|it| context.stores.groups.get(&Key::new(&key.namespace, &it.name)));
    let priorities = priorities(&context.stores, &object);
    let standing = Arc::new(group::standing(&object, &members, &priorities));
    let rest = i64::try_from(members.len()).unwrap_or(i64::MAX).saturating_mul(REST_MICROS_PER_MEMBER);
    context.standings.update(&object, |seen| {
        seen.standing = standing.clone();
        seen.rests_until = now_is.checked_add(SignedDuration::from_micros(rest)).ok();
    });
    if let Some(before) = &before {
        tell_members(context, key, &members, &before.standing, &standing);
    }
    call(context, &object, &members, &standing);
    // Decide.
    let plan = group::decide(&object, &members, resumed.as_deref(), &priorities, now_is);
    // Apply, in the order of the list: a member must not be launched before the one ahead of it is there. A group that just
    // got members says so when they are there.
    let mut next = (!plan.effects.is_empty()).then_some(now_is);
    context.apply_all(plan.effects).await?;
    // Status.
    if let Some(status) = plan.status.filter(|status| object.status.as_ref() != Some(status)) {
        let written =
            before.and_then(|seen| seen.written_at).filter(|_| group::may_rest(object.status.as_ref(), &status));
        let due = written.and_then(|at| at.checked_add(SignedDuration::from_millis(STATUS_DELAY_MS)).ok());
        match due.filter(|due| *due > now_is) {
            Some(due) => next = next.or(Some(due)),
            None => {
                context.writer.status(object.as_ref(), &status, None).await?;
                context.standings.update(&object, |seen| seen.written_at = Some(now_is));
                context.tell(object.as_ref(), plan.notes);
            }
        }
    }
    Ok(next.or(plan.wake_at))
}

/// Asks the members to look for whom something is different.
fn tell_members(context: &Context, key: &Key, members: &[MemberJob], before: &Standing, after: &Standing) {
    let ask = |name: &str| context.triggers.jobs.trigger(Key::new(&key.namespace, name));
    let failed = before.failed.is_none() && after.failed.is_some();
    let is_due = |it: &&MemberJob| after.is_due(&it.member) && !before.is_due(&it.member);
    let members = members.iter().filter(|it| it.ending.is_none() && (failed || is_due(it)));
    members.for_each(|it| ask(&it.job.name));
    if let Some((_, next)) = after.next.as_ref().filter(|_| before.next != after.next) {
        ask(next);
    }
    after.rejected.iter().filter(|name| !before.rejected.contains(name)).for_each(|name| ask(name));
}

/// Lets those that joined come to the queue, all whose turn to come it is in one step: none is launched before the others
/// have come, and neither is what the group makes or anybody queues after this.
fn call(context: &Context, group: &JobGroup, members: &[MemberJob], standing: &Standing) {
    let namespace = group.namespace().unwrap_or_default();
    let waits = |it: &&MemberJob| it.belonging == Belonging::Joined && it.ending.is_none() && is_pending(it.phase);
    let due = members.iter().filter(|it| waits(it) && standing.is_due(&it.member));
    let mut line = context.dispatcher.line();
    let called_at = micro(now()).0;
    for member in due.filter(|_| group::is_started(group)) {
        if context.memories.call(&member.job.uid, called_at) {
            line.expect(&namespace, &member.job.uid, called_at, false);
            context.triggers.jobs.trigger(Key::new(&namespace, &member.job.name));
        }
    }
}

/// Whether a Job that joined comes to its queue when its group calls it, which it was not yet.
pub fn awaits_call(job: &Job, gate: Option<&Gate>, memory: &Memory) -> bool {
    let phase = job.status.as_ref().and_then(|status| status.phase);
    memory.called_at.is_none() && is_pending(phase) && gate.is_some_and(Gate::lets_in_who_joined)
}

fn is_pending(phase: Option<JobPhase>) -> bool {
    phase.is_none_or(|phase| phase == JobPhase::Pending)
}

/// The priorities that the templates in the namespace of a group give.
pub fn priorities<'a>(stores: &'a Stores, group: &'a JobGroup) -> impl Fn(&str) -> Option<i32> + 'a {
    let namespace = group.namespace().unwrap_or_default();
    move |template| stores.templates.get(&Key::new(&namespace, template))?.spec.priority
}

fn members(context: &Context, group: &JobGroup) -> Vec<MemberJob> {
    let named = context.stores.jobs.find(&of_group(&group.namespace().unwrap_or_default(), &group.name_any()));
    let member = |job: Arc<Job>| group::member(&job, group, context.ending(&job));
    named.into_iter().filter_map(member).collect()
}
