//! Cluster: the API server as a source of one kind, in all namespaces or in some.
//!
//! Of several namespaces each is listed and watched by itself. All listings count as of the version of the first one: what changed
//! in another one before that was listed is told by its watch once more, and the store knows which is newer. Each watch goes on from
//! where it was itself, however far the others are. When one of them ends, all are opened again, so that none is silent unnoticed.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{once, select_all};
use futures::{StreamExt, TryFutureExt};
use kube::api::{ListParams, WatchParams};
use kube::core::{NamespaceResourceScope, ObjectList, Status, WatchEvent};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::{Events, Guarded, Source};
use crate::runtime::store::is_older;

/// How many objects one request lists.
const PAGE: u32 = 500;

/// The API server as a source of one kind.
pub struct Cluster<K: Resource> {
    /// The objects: of all namespaces, or of each of some.
    apis: Vec<Api<Guarded<K>>>,
    /// Only those with these labels.
    labels: Option<String>,
    /// How far the watch of each has come.
    positions: Arc<Mutex<Vec<String>>>,
}

/// Which page of which listing is next, and the version as of which all listings count.
#[derive(Debug, PartialEq, Eq)]
struct Next {
    version: String,
    index: usize,
    token: String,
}

impl Next {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let (version, index, token) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
        Some(Self { version: version.to_owned(), index, token: token.to_owned() })
    }

    fn text(&self) -> String {
        format!("{} {} {}", self.version, self.index, self.token)
    }
}

impl<K: Resource<Scope = NamespaceResourceScope>> Cluster<K>
where
    Guarded<K>: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    /// The objects of those namespaces; none: of all. Only those with these labels.
    pub fn new(client: &Client, namespaces: &[String], labels: Option<String>) -> Self {
        let apis = match namespaces {
            [] => vec![Api::all(client.clone())],
            some => some.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect(),
        };
        Self { apis, labels, positions: Arc::default() }
    }
}

impl<K> Source<K> for Cluster<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    async fn list(&self, after: Option<String>) -> kube::Result<ObjectList<Guarded<K>>> {
        let next = after.as_deref().and_then(Next::parse);
        let (index, token) = next.as_ref().map_or((0, ""), |next| (next.index, next.token.as_str()));
        let Some(api) = self.apis.get(index) else { return Err(expired()) };
        let all = ListParams { label_selector: self.labels.clone(), ..ListParams::default() }.limit(PAGE);
        let token = Some(token).filter(|token| !token.is_empty()).map(str::to_owned);
        let mut page = api.list(&ListParams { continue_token: token, ..all }).await?;
        let version = next.map(|next| next.version).or(page.metadata.resource_version.take()).unwrap_or_default();
        let more = page.metadata.continue_.take().filter(|token| !token.is_empty());
        let next = match more {
            Some(token) => Some(Next { version: version.clone(), index, token }),
            None if index + 1 < self.apis.len() => {
                Some(Next { version: version.clone(), index: index + 1, token: String::new() })
            }
            None => None,
        };
        if next.is_none() {
            *lock(&self.positions) = vec![version.clone(); self.apis.len()];
        }
        page.metadata.continue_ = next.map(|next| next.text());
        page.metadata.resource_version = Some(version);
        Ok(page)
    }

    async fn version(&self) -> kube::Result<String> {
        let Some(api) = self.apis.first() else { return Err(expired()) };
        Ok(api.list(&ListParams::default().limit(1)).await?.metadata.resource_version.unwrap_or_default())
    }

    async fn watch(&self, version: &str, lasts: Duration) -> kube::Result<Events<K>> {
        let all = WatchParams { label_selector: self.labels.clone(), ..WatchParams::default() };
        let all = all.timeout(u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX));
        let positions = lock(&self.positions).clone();
        let opened = self.apis.iter().enumerate().map(|(index, api)| {
            let from = positions.get(index).cloned().unwrap_or_else(|| version.to_owned());
            let params = all.clone();
            async move { api.watch(&params, &from).map_ok(|events| (index, events.boxed())).await }
        });
        let opened = futures::future::try_join_all(opened).await?;
        let streams = opened.into_iter().map(|(index, events)| {
            let positions = self.positions.clone();
            let events = events.map(move |event| Some(event.map(|event| noted(event, index, &positions))));
            events.chain(once(async { None })).boxed()
        });
        // The first that ends is the end of all.
        let all = select_all(streams).take_while(|event| std::future::ready(event.is_some()));
        Ok(all.filter_map(std::future::ready).boxed())
    }
}

/// Takes note of how far a watch has come. A bookmark says up to where all of them have been heard at the most.
fn noted<K>(event: WatchEvent<Guarded<K>>, index: usize, positions: &Mutex<Vec<String>>) -> WatchEvent<Guarded<K>>
where
    K: Resource + Clone + Debug + DeserializeOwned,
    Guarded<K>: ResourceExt,
{
    let mut positions = lock(positions);
    let Some(position) = positions.get_mut(index) else { return event };
    match event {
        WatchEvent::Added(ref object) | WatchEvent::Modified(ref object) | WatchEvent::Deleted(ref object) => {
            if let Some(version) = object.resource_version() {
                *position = version;
            }
            event
        }
        WatchEvent::Bookmark(bookmark) if is_older(&bookmark.metadata.resource_version, position) => WatchEvent::Error(
            Box::new(Status::failure("a bookmark is older than what was told", "Expired").with_code(410)),
        ),
        WatchEvent::Bookmark(mut bookmark) => {
            position.clone_from(&bookmark.metadata.resource_version);
            let newest = positions.iter().fold(None, |newest: Option<&String>, version| match newest {
                Some(newest) if is_older(version, newest) => Some(newest),
                _ => Some(version),
            });
            if let Some(newest) = newest {
                bookmark.metadata.resource_version.clone_from(newest);
            }
            WatchEvent::Bookmark(bookmark)
        }
        WatchEvent::Error(_) => event,
    }
}

fn lock(positions: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    positions.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place in a listing that there is not.
fn expired() -> kube::Error {
    kube::Error::Api(Box::new(Status::failure("the listing cannot go on from there", "Expired").with_code(410)))
}

#[cfg(test)]
mod tests {
    use kube::core::watch::Bookmark;
    use serde_json::json;

    use super::*;
    use crate::api::Queue;

    fn bookmark(version: &str) -> WatchEvent<Guarded<Queue>> {
        let bookmark =
            json!({ "kind": "Queue", "apiVersion": "rota.dev/v1alpha1", "metadata": { "resourceVersion": version } });
        WatchEvent::Bookmark(serde_json::from_value::<Bookmark>(bookmark).unwrap())
    }

    fn told(event: WatchEvent<Guarded<Queue>>) -> String {
        match event {
            WatchEvent::Bookmark(bookmark) => bookmark.metadata.resource_version,
            WatchEvent::Error(status) => status.code.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_watch_goes_on_from_where_it_was_and_no_bookmark_goes_back() {
        let positions = Mutex::new(vec!["100".to_owned(), "100".to_owned()]);
        assert_eq!(told(noted(bookmark("200"), 0, &positions)), "200");
        assert_eq!(told(noted(bookmark("150"), 1, &positions)), "200", "the other one has told more");
        assert_eq!(*lock(&positions), ["200", "150"]);
        assert_eq!(told(noted(bookmark("140"), 1, &positions)), "410", "the cluster was set back");
        let queue = json!({ "metadata": { "name": "a", "resourceVersion": "160" }, "spec": {} });
        let queue: Guarded<Queue> = serde_json::from_value(queue).unwrap();
        let _ = noted(WatchEvent::Deleted(queue), 1, &positions);
        assert_eq!(*lock(&positions), ["200", "160"]);
    }

    #[test]
    fn where_a_listing_goes_on_can_be_told_from_its_text() {
        let next = Next { version: "12".into(), index: 3, token: "a b c".into() };
        assert_eq!(Next::parse(&next.text()), Some(next));
        assert_eq!(Next::parse("12 3 "), Some(Next { version: "12".into(), index: 3, token: String::new() }));
        assert_eq!(Next::parse("12"), None);
    }
}
