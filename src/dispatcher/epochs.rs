//! Epochs: how the admissions of an older leader are kept out of Queues.
//!
//! Each Queue carries the epoch of the leader that last admitted in it, and an admission is guarded by the Queue's
//! resourceVersion: so once a Queue carries the epoch of a new leader, what an older one still sends fails. Before its first
//! admission in a namespace a leader raises the epoch of the other Queues in which something waits: it counts on what is admitted
//! there. Under a limit for the cluster these are those of all namespaces. It tries once, for two seconds in all: a Queue that
//! cannot be written holds up nobody, and is counted with what is known of it. Queues that were not tried in this time are left to the
//! next admission, which does not try the others again.
//!
//! A Queue that carries a higher epoch than this leader's was written by a newer one, which this one then hears of as it loses the
//! lease; or by hand, or by an operator with another lease. So after the time for which a lease lasts, and with the lease still held,
//! this leader gets an epoch above that one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio::time::{Instant, timeout_at};

use super::lock;
use crate::api::Queue;
use crate::controllers::Context;
use crate::domain::plan::Note;
use crate::domain::queue::{Candidate, Trust};
use crate::runtime::store::Key;
use crate::runtime::stores::in_namespace;

/// The reason of a Queue that is not ready because of its epoch.
pub const NEWER_LEADER: &str = "NewerLeader";
/// How long raising the epochs of Queues may keep an admission waiting.
const RAISE_TIMEOUT: Duration = Duration::from_secs(2);
/// How many Queues are raised at once.
const AT_ONCE: usize = 32;
/// How long to wait for an epoch that was asked for.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// What is known of the epochs of Queues.
#[derive(Default)]
pub struct Epochs {
    /// Namespaces whose Queues were raised to this leader's, as far as they could be.
    fenced: Mutex<HashSet<String>>,
    /// Held while Queues are raised, so that no two rounds write the same: the Queues of namespaces not yet fenced that were tried.
    fencing: tokio::sync::Mutex<HashSet<Key>>,
    /// Queues that carry a higher epoch, which, and since when.
    outranking: Mutex<HashMap<Key, (i64, Timestamp)>>,
}

impl Epochs {
    /// A queue is gone.
    pub fn forget(&self, key: &Key) {
        lock(&self.outranking).remove(key);
    }

    /// The last queue of a namespace is gone.
    pub fn forget_namespace(&self, namespace: &str) {
        lock(&self.fenced).remove(namespace);
    }
}

/// The epoch that a Queue carries.
pub fn of(queue: &Queue) -> i64 {
    queue.status.as_ref().map_or(0, |status| status.epoch)
}

/// What to say of a Queue that carries a higher epoch than this leader's.
pub fn outranked(context: &Context, queue: &Queue) -> Option<String> {
    let (theirs, own) = (of(queue), context.leadership.epoch());
    context.leadership.is_outranked_by(theirs).then(|| {
        let seconds = context.leadership.lasts().as_secs();
        format!(
            "status.epoch is {theirs}, and {own} is allowed, the epoch of the leader: somebody else admits Jobs here, or the \
            Lease was lost; after {seconds} s with the lease this leader goes on above it"
        )
    })
}

/// Looks at the epochs of the Queues of a namespace. Returns when to look again.
pub fn look(context: &Context, namespace: &str, now_is: Timestamp) -> Option<Timestamp> {
    let mut wake_at: Option<Timestamp> = None;
    for queue in context.stores.queues.find(&in_namespace(namespace)) {
        let key = Key::of(queue.as_ref());
        let Some(message) = outranked(context, &queue) else {
            if lock(&context.dispatcher.epochs.outranking).remove(&key).is_some() {
                context.dispatcher.line().set_trust(namespace, &key.name, Trust::Full);
            }
            continue;
        };
        let epoch = of(&queue);
        let known = lock(&context.dispatcher.epochs.outranking).get(&key).copied();
        let since = known.filter(|(seen, since)| *seen == epoch && *since <= now_is).map_or(now_is, |(_, since)| since);
        lock(&context.dispatcher.epochs.outranking).insert(key.clone(), (epoch, since));
        context.dispatcher.line().set_trust(namespace, &key.name, Trust::None(message.clone()));
        if known.is_none() {
            tracing::error!(%key, epoch, own = context.leadership.epoch(), "a Queue carries a higher epoch");
            context.tell(queue.as_ref(), vec![Note::warning(NEWER_LEADER, "Admit", message)]);
        }
        let lasts = SignedDuration::try_from(context.leadership.lasts()).unwrap_or_default();
        let mut at = since.saturating_add(lasts).unwrap_or(since);
        if at <= now_is {
            context.leadership.outrank(epoch);
            at = now_is.saturating_add(LOOK_AGAIN).unwrap_or(now_is);
        }
        wake_at = Some(wake_at.map_or(at, |already| already.min(at)));
    }
    wake_at
}

/// Raises the epoch of the Queues that admissions in these depend on, once; those in which something is admitted get it with that.
pub async fn fence(context: &Context, namespace: &str, admits: &HashMap<String, Vec<Candidate>>) {
    if admits.values().all(Vec::is_empty) {
        return;
    }
    let epochs = &context.dispatcher.epochs;
    let namespaces: Vec<String> = if context.dispatcher.line().has_ceiling() {
        let others = context.stores.queues.keys().into_iter().map(|key| key.namespace);
        others.chain([namespace.to_owned()]).collect::<HashSet<String>>().into_iter().collect()
    } else {
        vec![namespace.to_owned()]
    };
    let is_fenced = |namespace: &String| lock(&epochs.fenced).contains(namespace);
    if namespaces.iter().all(is_fenced) {
        return;
    }
    let mut tried = epochs.fencing.lock().await;
    let mut due: Vec<String> = namespaces.into_iter().filter(|it| !is_fenced(it)).collect();
    // Its own goes first.
    due.sort_by_key(|it| it != namespace);
    let is_admitting = |queue: &Arc<Queue>| admits.get(&queue.name_any()).is_some_and(|admitted| !admitted.is_empty());
    let mut queues = Vec::new();
    for of in &due {
        let found = context.stores.queues.find(&in_namespace(of));
        let is_due =
            |queue: &Arc<Queue>| (of != namespace || !is_admitting(queue)) && !tried.contains(&Key::of(queue.as_ref()));
        queues.extend(found.into_iter().filter(is_due));
    }
    let deadline = Instant::now() + RAISE_TIMEOUT;
    let tries = queues.into_iter().map(|queue| async move {
        let key = Key::of(queue.as_ref());
        let in_time = Instant::now() < deadline;
        if in_time {
            raise(context, queue, deadline).await;
        }
        (key, in_time)
    });
    let looked_at: Vec<(Key, bool)> = futures::stream::iter(tries).buffer_unordered(AT_ONCE).collect().await;
    let left: HashSet<String> =
        looked_at.iter().filter(|(_, in_time)| !in_time).map(|(key, _)| key.namespace.clone()).collect();
    tried.extend(looked_at.into_iter().filter(|(_, in_time)| *in_time).map(|(key, _)| key));
    tried.retain(|key| left.contains(&key.namespace));
    lock(&epochs.fenced).extend(due.into_iter().filter(|namespace| !left.contains(namespace)));
}

async fn raise(context: &Context, queue: Arc<Queue>, deadline: Instant) {
    let key = Key::of(queue.as_ref());
    let epoch = context.leadership.epoch();
    let carried = of(&queue);
    let is_used = context.dispatcher.line().is_used(&key.namespace, &key.name);
    if !is_used || carried == epoch || context.leadership.is_outranked_by(carried) {
        return;
    }
    let mut status = queue.status.clone().unwrap_or_default();
    status.epoch = epoch;
    match timeout_at(deadline, context.writer.status(queue.as_ref(), &status)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(%key, error = %error.text(), "the epoch of a Queue could not be raised"),
        Err(_) => tracing::warn!(%key, "the epoch of a Queue could not be raised in time"),
    }
}
