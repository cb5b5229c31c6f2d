//! Feed: brings one kind, of all namespaces or of one, from the API server into its store, by a listing and then a watch, for ever.
//!
//! Every request has a timeout. What the API server tells is news, and so is a bookmark; that a request was sent is none.
//! A listing is made at the start, when the API server no longer knows the version from which the watch should go on or knows none
//! that is as new, when a watch stays open and silent after its time, when one breaks again and again, and when somebody asks for
//! one. Where nothing ever happens the API server may send no bookmarks either: a watch that ended in its time and told nothing is
//! news if the API server says when asked that its version is not older.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::api::{ListParams, WatchParams};
use kube::core::{DeserializeGuard, NamespaceResourceScope, ObjectList, WatchEvent};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use super::store::{Key, Store, Stored, is_older};
use super::stores::{NOT_INSTALLED, Prune, Stores};
use super::visibility::{Scope, Watched};

/// How many objects one request lists.
const PAGE: u32 = 500;
/// How long such a request may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take until a watch is open.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How much before its time a watch may end that told nothing.
const EARLY_MAX: Duration = Duration::from_secs(1);
/// The delay after the first failure.
const BACKOFF_MIN: Duration = Duration::from_millis(800);
/// The longest delay after failures.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// How often in a row a watch may break before a listing is made.
const BREAKS_MAX: u32 = 3;

/// An object that may be one that cannot be decoded.
pub type Guarded<K> = DeserializeGuard<K>;
/// What a watch tells, as it comes.
pub type Events<K> = BoxStream<'static, kube::Result<WatchEvent<Guarded<K>>>>;

/// Where objects come from.
pub trait Source<K: Resource + Clone>: Send + Sync + 'static {
    /// One page of a listing: the first, or the one after.
    fn list(&self, after: Option<String>) -> impl Future<Output = kube::Result<ObjectList<Guarded<K>>>> + Send;
    /// Up to which version the API server knows of everything.
    fn version(&self) -> impl Future<Output = kube::Result<String>> + Send;
    /// What changes after that version, for that long.
    fn watch(&self, version: &str, lasts: Duration) -> impl Future<Output = kube::Result<Events<K>>> + Send;
}

/// The API server as a source of one kind.
pub struct Cluster<K: Resource> {
    /// The objects, in one namespace or in all.
    pub api: Api<Guarded<K>>,
    /// Only those with these labels.
    pub labels: Option<String>,
}

impl<K> Source<K> for Cluster<K>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    async fn list(&self, after: Option<String>) -> kube::Result<ObjectList<Guarded<K>>> {
        let all = ListParams { label_selector: self.labels.clone(), ..ListParams::default() };
        self.api.list(&ListParams { continue_token: after, ..all.limit(PAGE) }).await
    }

    async fn version(&self) -> kube::Result<String> {
        Ok(self.api.list(&ListParams::default().limit(1)).await?.metadata.resource_version.unwrap_or_default())
    }

    async fn watch(&self, version: &str, lasts: Duration) -> kube::Result<Events<K>> {
        let all = WatchParams { label_selector: self.labels.clone(), ..WatchParams::default() };
        let lasts = u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX);
        Ok(self.api.watch(&all.timeout(lasts), version).await?.boxed())
    }
}

/// Brings one kind, of all namespaces or of one, into its store.
pub struct Feed<K: 'static, S> {
    /// The stores.
    pub stores: Arc<Stores>,
    /// Which of them it is.
    pub select: fn(&Stores) -> &Store<K>,
    /// Which kind it is.
    pub kind: Watched,
    /// The namespace, or all namespaces.
    pub scope: Arc<Scope>,
    /// Where the objects come from.
    pub source: S,
    /// The delay after the first failure.
    pub backoff_min: Duration,
}

/// How a watch ended.
enum Ended {
    /// Another one goes on where it was.
    Resume,
    /// The same, and it told nothing in its time.
    Quiet,
    /// A listing is needed.
    List,
    /// It broke.
    Broken(String),
}

impl<K> Feed<K, Cluster<K>>
where
    K: Stored + Prune + Resource<Scope = NamespaceResourceScope> + std::fmt::Debug + DeserializeOwned,
{
    /// Creates a feed from the API server. With a label selector it brings only the objects that match.
    pub fn new(
        stores: &Arc<Stores>,
        select: fn(&Stores) -> &Store<K>,
        (kind, scope): (Watched, &Arc<Scope>),
        client: &Client,
        labels: Option<String>,
    ) -> Self {
        let api = match scope.namespace() {
            "" => Api::all(client.clone()),
            namespace => Api::namespaced(client.clone(), namespace),
        };
        let (stores, scope, source) = (stores.clone(), scope.clone(), Cluster { api, labels });
        Self { stores, select, kind, scope, source, backoff_min: BACKOFF_MIN }
    }
}

impl<K: Stored + Prune, S: Source<K>> Feed<K, S> {
    /// Goes on for ever.
    pub async fn run(self) {
        loop {
            let (version, asked) = self.list().await;
            self.follow(version, asked).await;
        }
    }

    fn store(&self) -> &Store<K> {
        (self.select)(&self.stores)
    }

    fn seen(&self) -> &Scope {
        &self.scope
    }

    /// Lists until that succeeds. Returns the version of the listing, and how many had been asked for when it was begun.
    async fn list(&self) -> (String, u64) {
        loop {
            let asked = self.seen().asked(self.kind);
            match self.list_once().await {
                Ok(version) => {
                    self.seen().listed(self.kind, asked);
                    return (version, asked);
                }
                Err(why) => self.wait_after(why, asked).await,
            }
        }
    }

    async fn list_once(&self) -> Result<String, String> {
        // What is written from here on counts as listed.
        self.store().begin_listing(self.scope.namespace());
        let mut after = None;
        loop {
            let is_first = after.is_none();
            let page = in_time(LIST_TIMEOUT, self.source.list(after)).await?;
            let version = page.metadata.resource_version.unwrap_or_default();
            if is_first {
                self.store().listing_is_of(self.scope.namespace(), &version);
            }
            page.items.into_iter().for_each(|object| self.take_in(object));
            after = page.metadata.continue_.filter(|token| !token.is_empty());
            if after.is_none() {
                self.store().end_listing(self.scope.namespace());
                return if version.is_empty() { Err("the listing has no version".into()) } else { Ok(version) };
            }
        }
    }

    /// Watches until a listing is needed.
    async fn follow(&self, mut version: String, asked: u64) {
        let mut breaks = 0;
        while self.seen().asked(self.kind) == asked {
            let lasts = self.seen().watch_lasts(self.kind, Instant::now());
            let opened = tokio::select! {
                biased;
                opened = timeout(START_TIMEOUT, self.source.watch(&version, lasts)) => opened,
                () = self.seen().is_asked(self.kind, asked) => return,
            };
            let events = match opened {
                Ok(Ok(events)) => events,
                Ok(Err(kube::Error::Api(status))) if status.code == 410 => return,
                Ok(Err(error)) => {
                    self.wait_after(explain(&error), asked).await;
                    continue;
                }
                Err(_) => {
                    self.wait_after(no_answer(START_TIMEOUT), asked).await;
                    continue;
                }
            };
            let before = version.clone();
            match self.hear(events, &mut version, lasts, asked).await {
                Ended::Resume => {}
                Ended::List => return,
                Ended::Quiet => match in_time(START_TIMEOUT, self.source.version()).await {
                    // From a version that it does not know yet a watch tells nothing.
                    Ok(known) if is_older(&known, &version) => return,
                    Ok(_) => self.seen().heard(self.kind),
                    Err(why) => self.wait_after(why, asked).await,
                },
                Ended::Broken(why) => {
                    breaks = if version == before { breaks + 1 } else { 1 };
                    self.wait_after(why, asked).await;
                    if breaks >= BREAKS_MAX {
                        return;
                    }
                }
            }
        }
    }

    /// Takes in what a watch tells.
    async fn hear(&self, mut events: Events<K>, version: &mut String, lasts: Duration, asked: u64) -> Ended {
        let begun = Instant::now();
        let mut heard = false;
        loop {
            let next = tokio::select! {
                biased;
                next = timeout(lasts + self.seen().margin(), events.next()) => next,
                () = self.seen().is_asked(self.kind, asked) => return Ended::List,
            };
            let event = match next {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return Ended::Broken(explain(&error)),
                Ok(None) if heard => return Ended::Resume,
                Ok(None) if begun.elapsed() + EARLY_MAX >= lasts => return Ended::Quiet,
                Ok(None) => return Ended::Broken("the watch was closed before it told anything".into()),
                Err(_) => {
                    tracing::warn!(
                        kind = self.kind.name(),
                        of = self.scope.namespace(),
                        "the watch is silent, listing anew"
                    );
                    return Ended::List;
                }
            };
            let now_at = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let at = object.resource_version();
                    self.take_in(object);
                    at
                }
                WatchEvent::Deleted(object) => {
                    let at = object.resource_version();
                    self.take_out(object);
                    at
                }
                WatchEvent::Bookmark(bookmark) if is_older(&bookmark.metadata.resource_version, version) => {
                    return Ended::List;
                }
                WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
                WatchEvent::Error(status) if status.code == 410 => return Ended::List,
                WatchEvent::Error(status) => return Ended::Broken(status.message),
            };
            heard = true;
            self.seen().heard(self.kind);
            if let Some(at) = now_at {
                *version = at;
            }
        }
    }

    fn take_in(&self, object: Guarded<K>) {
        match object.0 {
            Ok(mut object) => {
                object.prune();
                self.store().apply(object);
            }
            // The object as it was last understood stays in force: what cannot be read decides nothing.
            Err(invalid) => {
                let metadata = invalid.metadata;
                let uid = metadata.uid.as_deref();
                let key = Key::new(metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default());
                tracing::error!(
                    kind = self.kind.name(),
                    namespace = key.namespace,
                    name = key.name,
                    error = %invalid.error,
                    "an object cannot be decoded and is left alone; correct or delete it"
                );
                self.store().cannot_read(&key, uid);
            }
        }
    }

    fn take_out(&self, object: Guarded<K>) {
        match object.0 {
            Ok(mut object) => {
                object.prune();
                self.store().remove(&object);
            }
            Err(invalid) => {
                let metadata = invalid.metadata;
                let key = Key::new(metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default());
                self.store().remove_named(&key, metadata.uid.as_deref());
            }
        }
    }

    /// Says what failed, and waits the longer the more often it did; a listing that is asked for is made at once.
    async fn wait_after(&self, why: String, asked: u64) {
        let times = self.seen().failed(self.kind, why.clone());
        let of = self.scope.namespace();
        tracing::warn!(kind = self.kind.name(), of, times, error = %why, "watch failed, trying again");
        let delay = spread(backoff(self.backoff_min, times), self.kind);
        let _ = timeout(delay, self.seen().is_asked(self.kind, asked)).await;
    }
}

/// The delay after so many failures.
fn backoff(least: Duration, times: u32) -> Duration {
    least.saturating_mul(1u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX)).min(BACKOFF_MAX)
}

/// That long or up to twice as long, so that not all kinds ask at the same moment.
fn spread(delay: Duration, kind: Watched) -> Duration {
    let kinds = u32::try_from(Watched::ALL.len()).unwrap_or(u32::MAX);
    delay + delay * (kind as u32) / kinds
}

async fn in_time<T>(time: Duration, request: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match timeout(time, request).await {
        Ok(answer) => answer.map_err(|error| explain(&error)),
        Err(_) => Err(no_answer(time)),
    }
}

fn no_answer(time: Duration) -> String {
    format!("no answer within {} s", time.as_secs())
}

/// What a failed request means, for people.
fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 404 => NOT_INSTALLED.into(),
        kube::Error::Api(status) => status.message.clone(),
        other => super::lease::chain(other),
    }
}

#[cfg(test)]
mod tests;
