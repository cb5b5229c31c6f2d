//! Takeover: what a new leader looks at first, of all namespaces together or of each that it is given.
//!
//! What a namespace holds is taken over when all of it has been listed since this process leads. Of one that cannot be listed nothing
//! is looked at until then, and what was seen to run there last counts as running.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use futures::future::join_all;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::ResourceExt;

use super::listeners::poke_holder;
use crate::api::{Job, JobPhase};
use crate::controllers::Context;
use crate::dispatcher;
use crate::domain::attempt::job_uid;
use crate::domain::job::was_launched;
use crate::domain::run::{BatchState, batch_outcome};
use crate::runtime::store::{Key, Store, Stored};
use crate::runtime::stores::in_namespace;
use crate::runtime::visibility::Scope;

/// Takes over what is in a scope. Nobody looks at a change of it meanwhile.
pub(super) fn take_over(context: &Context, scope: &Scope) {
    let mut taken_over = context.taken_over.write().unwrap_or_else(PoisonError::into_inner);
    for schedule in objects(&context.stores.schedules, scope) {
        context.schedule_memory.sightings.found(&schedule);
    }
    tell_line(context, scope);
    taken_over.insert(scope.namespace().to_owned());
}

/// Leaves what is in a scope alone until all of it is listed.
pub(super) fn put_off(context: &Context, scope: &Scope) {
    tracing::warn!(of = scope.namespace(), "it is not all seen, nothing is done there until it is");
    for namespace in namespaces(context, scope) {
        let batches = context.stores.batch_jobs.find(&in_namespace(&namespace));
        let running = batches.iter().filter(|batch| batch_outcome(batch) == BatchState::Active).count();
        dispatcher::hold_back(context, &namespace, running + admitted(context, &namespace));
    }
}

/// Takes over what is in each of these scopes when all of it is listed. Does not end.
pub(super) async fn take_over_later(context: Arc<Context>, scopes: Vec<Arc<Scope>>) {
    let each = scopes.into_iter().map(async |scope| {
        scope.wait_fresh().await;
        tracing::info!(of = scope.namespace(), "all is seen, it is looked at from now on");
        take_over(&context, &scope);
        // Others may have waited for it: the operator's own namespace says whether everything is paused.
        context.stores.visibility.scopes().for_each(|scope| look_at_all(&context, scope));
    });
    join_all(each).await;
    std::future::pending::<()>().await;
}

fn objects<K: Stored>(store: &Store<K>, scope: &Scope) -> Vec<Arc<K>> {
    keys(store, scope).iter().filter_map(|key| store.get(key)).collect()
}

fn keys<K: Stored>(store: &Store<K>, scope: &Scope) -> Vec<Key> {
    store.keys().into_iter().filter(|key| scope.covers(&key.namespace)).collect()
}

/// The namespaces of a scope in which something waits or runs, or may.
fn namespaces(context: &Context, scope: &Scope) -> HashSet<String> {
    if !scope.is_worked_on() {
        return HashSet::new();
    }
    if !scope.namespace().is_empty() {
        return HashSet::from([scope.namespace().to_owned()]);
    }
    let stores = &context.stores;
    let keys = stores.queues.keys().into_iter().chain(stores.jobs.keys()).chain(stores.batch_jobs.keys());
    keys.map(|key| key.namespace).collect()
}

/// All Jobs of a scope, such that those that came before this process are first seen in the order in which they came.
fn in_order_of_creation(context: &Context, scope: &Scope) -> Vec<Arc<Job>> {
    let mut jobs = objects(&context.stores.jobs, scope);
    jobs.sort_by_key(|job| (job.metadata.creation_timestamp.as_ref().map(|time| time.0), job.name_any()));
    jobs
}

/// How many Jobs an earlier leader admitted in a namespace that were not launched yet, as far as its Queues say.
fn admitted(context: &Context, namespace: &str) -> usize {
    let queues = context.stores.queues.find(&in_namespace(namespace));
    queues.iter().filter_map(|queue| queue.status.as_ref()).map(|status| status.in_flight.len()).sum()
}

/// Tells the line what there is. Nothing of a namespace is decided before everything in it has been looked at; until then what
/// an earlier leader admitted there counts as running.
fn tell_line(context: &Context, scope: &Scope) {
    let namespaces = namespaces(context, scope);
    // One that was put off keeps its places until the line knows who has them.
    let is_new = |namespace: &&String| !context.dispatcher.line().is_held_back(namespace);
    let new: Vec<&String> = namespaces.iter().filter(is_new).collect();
    new.into_iter().for_each(|namespace| dispatcher::hold_back(context, namespace, admitted(context, namespace)));
    keys(&context.stores.queues, scope).iter().for_each(|key| dispatcher::queue_changed(context, key));
    dispatcher::tell_limits(context, scope);
    for job in in_order_of_creation(context, scope) {
        if job.status.as_ref().and_then(|status| status.phase).is_some_and(JobPhase::is_ended) {
            continue;
        }
        let uid = job.uid().unwrap_or_default();
        let memory = context.memories.update(&uid, |memory| memory.from_start = true);
        dispatcher::expect(context, &job, memory.first_seen, true);
        if was_launched(&job, None) {
            // Its batch Job may be gone, or not have been seen yet.
            dispatcher::sync(context, &job.namespace().unwrap_or_default(), &uid);
        }
    }
    for batch in objects::<BatchJob>(&context.stores.batch_jobs, scope) {
        dispatcher::sync(context, &batch.namespace().unwrap_or_default(), job_uid(&batch.metadata).unwrap_or_default());
    }
    namespaces.iter().for_each(|namespace| dispatcher::hold_back(context, namespace, admitted(context, namespace)));
}

/// Looks at every object of a scope once, if this process has taken it over.
pub(super) fn look_at_all(context: &Context, scope: &Scope) {
    if context.taken_over(scope.namespace()).is_none() {
        return;
    }
    let (triggers, stores) = (&context.triggers, &context.stores);
    keys(&stores.templates, scope).into_iter().for_each(|key| triggers.templates.trigger(key));
    keys(&stores.schedules, scope).into_iter().for_each(|key| triggers.schedules.trigger(key));
    // Those that are gone may still owe a record, and a template that is gone may have left revisions.
    let gone = context.gone_schedules.lock().unwrap_or_else(PoisonError::into_inner);
    let gone: Vec<Key> = gone.keys().filter(|key| scope.covers(&key.namespace)).cloned().collect();
    gone.into_iter().for_each(|key| triggers.schedules.trigger(key));
    for revision in objects(&stores.revisions, scope) {
        let namespace = revision.namespace().unwrap_or_default();
        for owner in revision.owner_references() {
            triggers.templates.trigger(Key::new(&namespace, &owner.name));
        }
    }
    keys(&stores.groups, scope).into_iter().for_each(|key| triggers.groups.trigger(key));
    for job in in_order_of_creation(context, scope) {
        triggers.jobs.trigger(Key::of(job.as_ref()));
    }
    objects(&stores.batch_jobs, scope).iter().for_each(|batch| poke_holder(context, Some(batch)));
    namespaces(context, scope).iter().for_each(|namespace| triggers.dispatch(namespace));
    if !scope.is_worked_on() {
        // Everything may be paused by a Queue there.
        triggers.dispatch(scope.namespace());
    }
}
