//! Listeners: which key is looked at when which object changes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::ResourceExt;

use crate::api::job_group::{GroupPhase, MemberStatus};
use crate::api::queue::{Pause, PauseScope};
use crate::api::schedule::ConcurrencyPolicy;
use crate::api::{Job, JobGroup, JobPhase, Queue, Schedule};
use crate::controllers::Context;
use crate::dispatcher;
use crate::domain::attempt::{job_name, job_uid};
use crate::domain::job::{attempt_names, current_attempt, is_batch_held};
use crate::domain::queue::Limit;
use crate::domain::run::{BatchState, batch_outcome, pod_has_ended};
use crate::domain::schedule::{gives_way, newly_settled, no_longer_kept};
use crate::runtime::store::{Key, Stored};
use crate::runtime::stores::{of_group, of_resumed, of_schedule, of_template, of_uid};
use crate::runtime::work;

/// How many pods of a Job are remembered after they are gone.
const GONE_PODS_MAX: usize = 16;
/// How long a decision about a Job may wait for what happens to its pods, for each 32 of them: it looks at all of them, and
/// takes a twentieth of the time at the most.
const POD_DELAY: Duration = Duration::from_millis(4);
/// The longest such wait.
const PODS_DELAY_MAX: Duration = Duration::from_secs(5);

/// Says who has to look when something changes. What changes where this process has not taken over is looked at when it does.
pub(super) fn listen(context: &Arc<Context>) {
    let shared = context.clone();
    context.stores.templates.listen(move |change| {
        let Some(_turn) = shared.taken_over(&change.key.namespace) else { return };
        shared.triggers.templates.trigger(change.key.clone());
        let word = of_template(&change.key.namespace, &change.key.name);
        poke(&shared.stores.schedules, &word, &shared.triggers.schedules);
        for job in shared.stores.jobs.find(&word) {
            let uid = job.uid().unwrap_or_default();
            if let Some(memory) = shared.memories.get(&uid).filter(|memory| memory.template_unread) {
                // It is about to be queued, with the time at which it came.
                dispatcher::expect(&shared, &job, memory.first_seen, false);
            }
            if shared.memories.get(&job.uid().unwrap_or_default()).is_some_and(|memory| memory.launched.is_none()) {
                shared.triggers.jobs.trigger(Key::of(job.as_ref()));
            }
        }
        dispatcher::limit_changed(&shared, &change.key.namespace, &Limit::Template(change.key.name.clone()));
    });
    let shared = context.clone();
    context.stores.schedules.listen(move |change| {
        let Some(_turn) = shared.taken_over(&change.key.namespace) else { return };
        if let Some(after) = change.after {
            shared.schedule_memory.sightings.changed(change.before.map(Arc::as_ref), after);
        }
        if change.before.map(|it| &it.spec) != change.after.map(|it| &it.spec) {
            dispatcher::limit_changed(&shared, &change.key.namespace, &Limit::Schedule(change.key.name.clone()));
            let waits = |job: &Job| job.status.as_ref().and_then(|status| status.phase) == Some(JobPhase::Queued);
            let word = of_schedule(&change.key.namespace, &change.key.name);
            // One that could not be read until now has kept all from being decided.
            let is_new = change.before.is_none();
            let waiting = shared.stores.jobs.find(&word).into_iter().filter(|job| is_new || waits(job));
            waiting.for_each(|job| shared.triggers.jobs.trigger(Key::of(job.as_ref())));
        }
        let (before, after) = (change.before.map(Arc::as_ref), change.after.map(Arc::as_ref));
        for job in newly_settled(before, after).into_iter().chain(no_longer_kept(before, after)) {
            shared.triggers.jobs.trigger(Key::new(&change.key.namespace, &job.name));
        }
        // One that was made anew while the watch was away has replaced the old one.
        let is_gone =
            |before: &&Arc<Schedule>| change.after.is_none_or(|after| after.metadata.uid != before.metadata.uid);
        if let Some(gone) = change.before.filter(is_gone) {
            let mut schedules = shared.gone_schedules.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            schedules.entry(change.key.clone()).or_default().push(gone.clone());
            drop(schedules);
            let word = of_schedule(&change.key.namespace, &change.key.name);
            poke(&shared.stores.jobs, &word, &shared.triggers.jobs);
        }
        if change.before.or(change.after).is_none() {
            // Its Jobs waited until it could be read.
            poke(&shared.stores.jobs, &of_schedule(&change.key.namespace, &change.key.name), &shared.triggers.jobs);
        }
        shared.triggers.schedules.trigger(change.key.clone());
    });
    let shared = context.clone();
    context.stores.queues.listen(move |change| {
        let Some(_turn) = shared.taken_over(&change.key.namespace) else { return };
        let spec = |queue: &Arc<crate::api::Queue>| queue.spec.clone();
        if change.before.map(spec) != change.after.map(spec) {
            dispatcher::queue_changed(&shared, change.key);
            dispatcher::limit_changed(&shared, &change.key.namespace, &Limit::Namespace);
            let (before, after) = (change.before.map(Arc::as_ref), change.after.map(Arc::as_ref));
            poke_users(&shared, change.key, before, after);
        }
    });
    listen_to_jobs(context);
    listen_to_groups(context);
    listen_to_revisions(context);
}

/// A queue came, went, was paused or resumed: the schedules and templates whose Jobs wait in it say so.
fn poke_users(context: &Context, key: &Key, before: Option<&Queue>, after: Option<&Queue>) {
    let pause = |queue: Option<&Queue>| queue.and_then(|it| it.spec.paused.clone());
    let has_come_or_gone = before.is_some() != after.is_some();
    let paused = [pause(before), pause(after)];
    if !has_come_or_gone && paused[0] == paused[1] {
        return;
    }
    let is_wide = |pause: &Pause| pause.scope == Some(PauseScope::Cluster);
    let everywhere = key.namespace == context.own_namespace && paused.iter().flatten().any(is_wide);
    let concerned = |other: &Key| everywhere || other.namespace == key.namespace;
    // A pause of this queue alone concerns those that name it, or that leave it to their template.
    let is_own = |pause: &Pause| pause.scope.unwrap_or_default() == PauseScope::Queue;
    let only_own = paused.iter().flatten().all(is_own);
    let uses = |other: &Key| {
        let schedule = context.stores.schedules.get(other);
        let named = schedule.and_then(|schedule| schedule.spec.queue.clone());
        !only_own || named.is_none_or(|named| named == key.name)
    };
    let schedules = context.stores.schedules.keys().into_iter().filter(|key| concerned(key) && uses(key));
    schedules.for_each(|key| context.triggers.schedules.trigger(key));
    if has_come_or_gone {
        let templates = context.stores.templates.keys().into_iter().filter(concerned);
        templates.for_each(|key| context.triggers.templates.trigger(key));
    }
}

fn listen_to_groups(context: &Arc<Context>) {
    let shared = context.clone();
    context.stores.groups.listen(move |change| {
        let Some(_turn) = shared.taken_over(&change.key.namespace) else { return };
        shared.triggers.groups.trigger(change.key.clone());
        if change.before.map(|it| &it.spec) != change.after.map(|it| &it.spec) {
            let uid = change.after.or(change.before).and_then(|it| it.uid()).unwrap_or_default();
            dispatcher::limit_changed(&shared, &change.key.namespace, &Limit::Group(uid));
        }
        poke_members(&shared, change.key, change.before.map(Arc::as_ref), change.after.map(Arc::as_ref));
    });
}

fn listen_to_revisions(context: &Arc<Context>) {
    let shared = context.clone();
    context.stores.revisions.listen(move |change| {
        let Some(_turn) = shared.taken_over(&change.key.namespace) else { return };
        if change.after.is_none() {
            shared.revisions.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(change.key);
        }
        for revision in [change.before, change.after].into_iter().flatten() {
            for owner in revision.owner_references() {
                shared.triggers.templates.trigger(Key::new(&change.key.namespace, &owner.name));
            }
        }
    });
}

fn listen_to_jobs(context: &Arc<Context>) {
    let shared = context.clone();
    context.stores.jobs.listen(move |change| {
        let Some(_turn) = shared.taken_over(&change.key.namespace) else { return };
        // A watch that was interrupted may have missed that another one took its name.
        let is_other = change.before.map(|it| it.uid()) != change.after.map(|it| it.uid());
        if let Some(new) = change.after.filter(|_| is_other) {
            let uid = new.uid().unwrap_or_default();
            let memory = shared.memories.update(&uid, |_| ());
            dispatcher::expect(&shared, new, memory.first_seen, false);
            poke_superseded(&shared, new);
        }
        shared.triggers.jobs.trigger(change.key.clone());
        let namespace = &change.key.namespace;
        for job in [change.before, change.after].into_iter().flatten() {
            if let Some(schedule) = &job.spec.schedule_ref {
                shared.triggers.schedules.trigger(Key::new(namespace, &schedule.name));
            }
            if let Some(group) = &job.spec.group_ref {
                shared.triggers.groups.trigger(Key::new(namespace, &group.name));
            }
        }
        if let Some(gone) = change.before.filter(|_| is_other) {
            let uid = gone.uid().unwrap_or_default();
            dispatcher::forget(&shared, namespace, &uid);
            dispatcher::sync(&shared, namespace, &uid);
            if let Some(template) = &gone.spec.template_ref {
                shared.triggers.templates.trigger(Key::new(namespace, &template.name));
            }
            shared.triggers.dispatch(namespace);
        }
    });
    listen_to_attempts(context);
}

/// The Jobs whose place a new one takes while they wait have to look.
fn poke_superseded(context: &Context, new: &Job) {
    let Some(reference) = &new.spec.schedule_ref else { return };
    let namespace = new.namespace().unwrap_or_default();
    let Some(schedule) = context.stores.schedules.get(&Key::new(&namespace, &reference.name)) else { return };
    if schedule.spec.concurrency_policy == Some(ConcurrencyPolicy::QueueLatest) {
        let others = context.stores.jobs.find(&of_schedule(&namespace, &reference.name));
        let earlier = others.iter().filter(|job| gives_way(&schedule, job, new) && context.ending(job).is_none());
        earlier.for_each(|job| context.triggers.jobs.trigger(Key::of(job.as_ref())));
    }
}

/// Batch Jobs and pods: what they belong to has to look, and what is gone is remembered as it was last seen.
fn listen_to_attempts(context: &Arc<Context>) {
    let shared = context.clone();
    context.stores.batch_jobs.listen(move |change| {
        let Some(_turn) = shared.taken_over(&change.key.namespace) else { return };
        let uid = |batch: Option<&Arc<BatchJob>>| batch.and_then(|it| job_uid(&it.metadata)).map(str::to_owned);
        let is_gone = |it: &&Arc<BatchJob>| change.after.is_none_or(|after| after.metadata.uid != it.metadata.uid);
        let (before, after) = (uid(change.before), uid(change.after));
        // One of which the label is changed is news to both.
        let others = after.filter(|after| Some(after) != before.as_ref());
        for uid in before.into_iter().chain(others) {
            let jobs = shared.stores.jobs.find(&of_uid(&uid));
            // That of an earlier attempt takes nobody's place.
            let is_current = |gone: &&Arc<BatchJob>| {
                let name = gone.name_any();
                jobs.iter().any(|job| attempt_names(job, current_attempt(job)).contains(&name))
            };
            if let Some(gone) = change.before.filter(is_gone).filter(is_current) {
                shared.memories.update(&uid, |memory| memory.gone_batch = Some(gone.clone()));
            }
            jobs.iter().for_each(|job| shared.triggers.jobs.trigger(Key::of(job.as_ref())));
            dispatcher::sync(&shared, &change.key.namespace, &uid);
        }
        poke_holder(&shared, change.after);
        let ended = |batch: &Arc<BatchJob>| batch_outcome(batch) != BatchState::Active;
        if change.after.is_none_or(ended) {
            dispatcher::has_room(&shared, &change.key.namespace);
        }
    });
    let shared = context.clone();
    context.stores.pods.listen(move |change| {
        let Some(_turn) = shared.taken_over(&change.key.namespace) else { return };
        let Some(uid) = change.after.or(change.before).and_then(|pod| job_uid(&pod.metadata)) else { return };
        if let (Some(gone), None) = (change.before, change.after)
            && !shared.stores.jobs.find(&of_uid(uid)).is_empty()
        {
            shared.memories.update(uid, |memory| {
                memory.gone_pods.push(gone.clone());
                let excess = memory.gone_pods.len().saturating_sub(GONE_PODS_MAX);
                memory.gone_pods.drain(..excess);
            });
        }
        // A decision looks at all pods of a Job: of one with many it waits for what else happens to them.
        let delay =
            POD_DELAY.saturating_mul(u32::try_from(shared.stores.pods.count(&of_uid(uid))).unwrap_or(u32::MAX) / 32);
        for job in shared.stores.jobs.find(&of_uid(uid)) {
            shared.triggers.jobs.trigger_within(Key::of(job.as_ref()), delay.min(PODS_DELAY_MAX));
        }
        if change.after.is_none_or(|pod| pod_has_ended(pod)) {
            dispatcher::pod_ended(&shared, &change.key.namespace, uid);
        }
    });
}

/// A batch Job that is held for a Job: the Job's controller lets it go when nothing of it is left to be recorded, also where
/// the Job is gone.
pub(super) fn poke_holder(context: &Context, batch: Option<&Arc<BatchJob>>) {
    let held = batch.filter(|batch| is_batch_held(batch));
    if let Some((batch, name)) = held.and_then(|batch| Some((batch, job_name(&batch.metadata)?))) {
        context.triggers.jobs.trigger(Key::new(batch.namespace().unwrap_or_default(), name));
    }
}

/// A group changed: the Jobs whose gate may have opened or closed have to look, and the groups that resume it.
fn poke_members(context: &Context, key: &Key, before: Option<&JobGroup>, after: Option<&JobGroup>) {
    poke(&context.stores.groups, &of_resumed(&key.namespace, &key.name), &context.triggers.groups);
    let uid = |group: Option<&JobGroup>| group.and_then(|it| it.metadata.uid.clone());
    if let Some(gone) = uid(before).filter(|gone| Some(gone) != uid(after).as_ref()) {
        context.standings.forget(&gone);
    }
    let said = |group: Option<&JobGroup>| {
        let phase = group.and_then(|it| it.status.as_ref()).and_then(|status| status.phase);
        let started = phase.is_some_and(|phase| phase != GroupPhase::Created);
        (started, phase.is_some_and(GroupPhase::is_ended), group.map(|it| it.metadata.deletion_timestamp.clone()))
    };
    let never_read = before.or(after).is_none();
    if never_read
        || uid(before) != uid(after)
        || before.map(|it| &it.spec) != after.map(|it| &it.spec)
        || said(before) != said(after)
    {
        poke(&context.stores.jobs, &of_group(&key.namespace, &key.name), &context.triggers.jobs);
        return;
    }
    // Those whose ending is in the status now can be let go.
    let members =
        |group: Option<&JobGroup>| group.and_then(|it| it.status.clone()).map(|it| it.members).unwrap_or_default();
    let ended = |member: &MemberStatus| member.outcome.is_some();
    let known: HashSet<String> = members(before).into_iter().filter(ended).map(|member| member.name).collect();
    for member in members(after).iter().filter(|it| ended(it) && !known.contains(&it.name)) {
        if let Some(job) = &member.job_ref {
            context.triggers.jobs.trigger(Key::new(&key.namespace, &job.name));
        }
    }
}

fn poke<K: Stored>(store: &crate::runtime::store::Store<K>, word: &str, trigger: &work::Trigger) {
    for object in store.find(word) {
        trigger.trigger(Key::of(object.as_ref()));
    }
}
