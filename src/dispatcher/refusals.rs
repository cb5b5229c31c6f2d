//! Refusals: what the API server says to launches decides how fast a queue goes on.

use jiff::Timestamp;
use kube::ResourceExt;

use super::{place, tell_first};
use crate::api::Job;
use crate::controllers::Context;
use crate::domain::conditions::{self, Conditions, Fact};
use crate::domain::plan::Note;
use crate::domain::queue::Holdback;
use crate::domain::queue::holdback::{self, is_quota};
use crate::runtime::clock::now;
use crate::runtime::store::Key;

/// The API server refused to launch a Job: its queue may have to hold back. Returns since when nothing of the queue has got
/// through, if a quota refuses.
pub fn refused(context: &Context, job: &Job, message: &str) -> Option<Timestamp> {
    let (key, uid) = (queue_of(context, job), job.uid().unwrap_or_default());
    let mut line = context.dispatcher.line();
    let (since, is_news) = line.refused(&key.namespace, &key.name, &uid, message, now());
    if is_news {
        tell_first(context, &line, &key.namespace);
        drop(line);
        let text = format!("the API server refuses what the queue starts; one Job at a time is tried: {message}");
        if let Some(queue) = context.stores.queues.get(&key) {
            context.tell(queue.as_ref(), vec![Note::warning(conditions::LAUNCH_REFUSED, "Launch", text)]);
        }
    }
    is_quota(message).then_some(since)
}

/// A Job was launched: if its queue was held back, it goes on.
pub fn got_through(context: &Context, job: &Job) {
    let key = queue_of(context, job);
    let mut line = context.dispatcher.line();
    if line.got_through(&key.namespace, &key.name) {
        tell_first(context, &line, &key.namespace);
    }
}

/// A batch Job has ended or gone: a quota may have room again.
pub fn has_room(context: &Context, namespace: &str) {
    context.dispatcher.line().has_room(namespace);
    context.triggers.dispatch(namespace);
}

/// The queue in which a Job takes its place.
fn queue_of(context: &Context, job: &Job) -> Key {
    let memory = context.memories.update(&job.uid().unwrap_or_default(), |_| ());
    Key::new(job.namespace().unwrap_or_default(), place(job, &memory, None).queue.as_ref())
}

/// Says in the conditions of a Queue whether it is held back.
pub(super) fn say(list: &mut Conditions, holdback: Option<&Holdback>) {
    match holdback.filter(|holdback| holdback.is_active()) {
        Some(Holdback { quota, message, .. }) => {
            let reason = if *quota { holdback::QUOTA } else { holdback::ADMISSION };
            list.set(Fact { type_: conditions::LAUNCH_REFUSED, holds: true, reason, message: message.clone() });
        }
        None => list.remove(conditions::LAUNCH_REFUSED),
    }
}
