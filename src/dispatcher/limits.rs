//! Limits: how many may run at once of a template, a group, a schedule or a namespace, told to the line.

use kube::ResourceExt;

use crate::controllers::Context;
use crate::domain::queue::Limit;
use crate::domain::{group, schedule};
use crate::runtime::store::Key;
use crate::runtime::stores::{Stores, in_namespace, of_uid};
use crate::runtime::visibility::Scope;

/// How many may run under a limit, as templates, groups, schedules and queues say now. Of several queues that limit their
/// namespace the lowest number counts.
pub fn max_running(stores: &Stores, namespace: &str, limit: &Limit) -> Option<u32> {
    match limit {
        Limit::Template(name) => stores.templates.get(&Key::new(namespace, name))?.spec.max_running,
        Limit::Schedule(name) => schedule::max_running(&stores.schedules.get(&Key::new(namespace, name))?.spec),
        Limit::Namespace => {
            let queues = stores.queues.find(&in_namespace(namespace));
            queues.iter().filter_map(|queue| queue.spec.namespace_max_running).min()
        }
        Limit::Group(uid) => group::max_running(&stores.groups.find(&of_uid(uid)).first()?.spec),
    }
}

/// Tells the line all limits that there are in a scope.
pub fn tell_limits(context: &Context, scope: &Scope) {
    let stores = &context.stores;
    let of_groups = stores.groups.keys().into_iter().filter_map(|key| {
        let uid = stores.groups.get(&key)?.uid()?;
        Some((key.namespace, Limit::Group(uid)))
    });
    let of_templates = stores.templates.keys().into_iter().map(|key| (key.namespace, Limit::Template(key.name)));
    let of_schedules = stores.schedules.keys().into_iter().map(|key| (key.namespace, Limit::Schedule(key.name)));
    let of_namespaces = stores.queues.keys().into_iter().map(|key| (key.namespace, Limit::Namespace));
    let all = of_templates.chain(of_groups).chain(of_schedules).chain(of_namespaces);
    for (namespace, limit) in all.filter(|(namespace, _)| scope.covers(namespace)) {
        context.dispatcher.line().set_max(&namespace, &limit, max_running(&context.stores, &namespace, &limit));
    }
}

/// A template, group, schedule or queue was edited: its limit is as it says now.
pub fn limit_changed(context: &Context, namespace: &str, limit: &Limit) {
    let mut line = context.dispatcher.line();
    line.set_max(namespace, limit, max_running(&context.stores, namespace, limit));
    drop(line);
    context.triggers.dispatch(namespace);
}
