//! JobGroup: start it, make its members' Jobs, and say how it stands.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{Context, outcome, refusals};
use crate::api::{Job, JobGroup};
use crate::apply::WriteError;
use crate::dispatcher;
use crate::domain::conditions::micro;
use crate::domain::group::{self, Belonging, MemberJob, Standing};
use crate::runtime::clock::now;
use crate::runtime::store::Key;
use crate::runtime::stores::{Stores, of_group};
use crate::runtime::visibility::Act;
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
    /// When it was looked at, and when it may be again.
    rests: Option<(Timestamp, Timestamp)>,
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
    if let Err(error) = &result {
        refusals::say(&context, context.stores.groups.get(&key).as_deref(), error).await;
    }
    outcome(&context, "jobgroup", &key, result)
}

async fn run(context: &Context, key: &Key) -> Result<Option<Timestamp>, WriteError> {
    context.may(Act::Group, &key.namespace)?;
    // Observe.
    let Some(object) = context.stores.groups.get(key) else { return Ok(None) };
    let now_is = now();
    let before = context.standings.get(&object);
    // A clock that was set back makes nothing wait.
    let rests =
        before.as_ref().and_then(|seen| seen.rests).filter(|(since, until)| *since <= now_is && now_is < *until);
    if let Some((_, later)) = rests {
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
        seen.rests = now_is.checked_add(SignedDuration::from_micros(rest)).ok().map(|until| (now_is, until));
    });
    if let Some(before) = &before {
        tell_members(context, key, &members, &before.standing, &standing);
    }
    call_due(context, &object, &members, &standing);
    // Decide.
    let plan = group::decide(&object, &members, resumed.as_deref(), &priorities, now_is);
    // Apply, in the order in which they go: a member must not be launched before the one ahead of it is there. A group that just
    // got members says so when they are there.
    let mut next = (!plan.effects.is_empty()).then_some(now_is);
    if let Err(error) = context.apply_all(plan.effects).await {
        // Members that were made and have ended are still counted: else none of them could go, and a quota would never be free.
        if let Some(status) = plan.status {
            refusals::say_beside(context, object.as_ref(), status, &error).await;
        }
        return Err(error);
    }
    // Status.
    if let Some(status) = plan.status.filter(|status| object.status.as_ref() != Some(status)) {
        let written =
            before.and_then(|seen| seen.written_at).filter(|_| group::may_rest(object.status.as_ref(), &status));
        let due = written
            .filter(|at| *at <= now_is)
            .and_then(|at| at.checked_add(SignedDuration::from_millis(STATUS_DELAY_MS)).ok());
        match due.filter(|due| *due > now_is) {
            Some(due) => next = next.or(Some(due)),
            None => {
                context.writer.status(object.as_ref(), &status).await?;
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
    let known: HashSet<&String> = before.rejected.iter().collect();
    after.rejected.iter().filter(|name| !known.contains(name)).for_each(|name| ask(name));
}

/// Calls a Job for which its group opened, and with it all others that joined and whose turn to come to the queue it is.
pub fn call(context: &Context, job: &Job) {
    let namespace = job.namespace().unwrap_or_default();
    let name = job.spec.group_ref.as_ref().map(|it| it.name.as_str()).unwrap_or_default();
    let Some(group) = context.stores.groups.get(&Key::new(namespace, name)) else { return };
    call_due(context, &group, &members(context, &group), &standing(context, &group));
}

/// Calls those that joined to the queue, all whose turn to come it is in one step: none is launched before the others have
/// come, and neither is what the group makes or anybody queues after this.
fn call_due(context: &Context, group: &JobGroup, members: &[MemberJob], standing: &Standing) {
    if !group::is_started(group) {
        return;
    }
    let namespace = group.namespace().unwrap_or_default();
    let waits = |it: &&MemberJob| it.belonging == Belonging::Joined && it.ending.is_none() && it.is_pending();
    let due: Vec<&MemberJob> = members.iter().filter(|it| waits(it) && standing.is_due(&it.member)).collect();
    if due.is_empty() {
        return;
    }
    let mut line = context.dispatcher.line();
    let called_at = micro(now()).0;
    for member in due.into_iter().filter(|it| context.memories.call(&it.job.uid, called_at)) {
        let key = Key::new(&namespace, &member.job.name);
        if let Some(job) = context.stores.jobs.get(&key).filter(|it| it.uid().as_ref() == Some(&member.job.uid)) {
            dispatcher::expect_in(context, &mut line, &job, called_at, false);
        }
        context.triggers.jobs.trigger(key);
    }
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
