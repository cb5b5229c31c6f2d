//! Feeds from an API server that the test plays.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use futures::stream;
use kube::core::Status;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::*;
use crate::api::Queue;
use crate::runtime::stores::in_namespace;
use crate::runtime::visibility::Visibility;

type Listing = kube::Result<ObjectList<Guarded<Queue>>>;
type Told = kube::Result<WatchEvent<Guarded<Queue>>>;
type Answer = Box<dyn Fn() -> Listing + Send>;

fn refused(code: u16, message: &str) -> kube::Error {
    kube::Error::Api(Status::failure(message, "Refused").with_code(code).boxed())
}

fn listing(version: &str, objects: &[Value]) -> Listing {
    let list = json!({ "metadata": { "resourceVersion": version }, "items": objects });
    Ok(serde_json::from_value(list).unwrap())
}

fn queue(name: &str, version: &str) -> Value {
    let metadata = json!({ "name": name, "namespace": "ns", "uid": name, "resourceVersion": version });
    json!({ "apiVersion": "rota.dev/v1alpha1", "kind": "Queue", "metadata": metadata, "spec": {} })
}

fn told(kind: &str, object: &Value) -> Told {
    Ok(serde_json::from_value(json!({ "type": kind, "object": object })).unwrap())
}

fn bookmark(version: &str) -> Told {
    told(
        "BOOKMARK",
        &json!({ "apiVersion": "rota.dev/v1alpha1", "kind": "Queue", "metadata": { "resourceVersion": version } }),
    )
}

/// What the test plays: listings one after the other, the last one again and again, and watches by channel.
#[derive(Clone)]
struct Played {
    listings: Arc<Mutex<VecDeque<Answer>>>,
    watches: mpsc::UnboundedSender<(String, mpsc::UnboundedSender<Told>)>,
    requests: watch::Sender<(usize, usize)>,
    version: Arc<Mutex<&'static str>>,
}

impl Source<Queue> for Played {
    async fn list(&self, _: Option<String>) -> Listing {
        self.requests.send_modify(|(listings, _)| *listings += 1);
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = listings.front().expect("a listing to answer with")();
        if listings.len() > 1 {
            listings.pop_front();
        }
        answer
    }

    async fn version(&self) -> kube::Result<String> {
        Ok((*self.version.lock().unwrap_or_else(PoisonError::into_inner)).to_owned())
    }

    async fn watch(&self, version: &str, _: Duration) -> kube::Result<Events<Queue>> {
        self.requests.send_modify(|(_, watches)| *watches += 1);
        let (sender, receiver) = mpsc::unbounded_channel();
        let _ = self.watches.send((version.to_owned(), sender));
        Ok(stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) }).boxed())
    }
}

struct Stage {
    stores: Arc<Stores>,
    played: Played,
    opened: mpsc::UnboundedReceiver<(String, mpsc::UnboundedSender<Told>)>,
    feed: tokio::task::JoinHandle<()>,
}

impl Stage {
    fn set(quiet_max: Duration, listings: Vec<Answer>) -> Self {
        let stores = Arc::new(Stores::new(Visibility::new(quiet_max, &[], "rota-system")));
        let (watches, opened) = mpsc::unbounded_channel();
        let played = Played {
            listings: Arc::new(Mutex::new(listings.into())),
            watches,
            requests: watch::Sender::new((0, 0)),
            version: Arc::new(Mutex::new("5")),
        };
        let feed = Feed {
            stores: stores.clone(),
            select: |stores: &Stores| &stores.queues,
            kind: Watched::Queues,
            scope: stores.visibility.scope("ns").unwrap().clone(),
            source: played.clone(),
            backoff_min: Duration::from_millis(1),
        };
        Self { stores, played, opened, feed: tokio::spawn(feed.run()) }
    }

    /// The next watch that is opened: from which version, and what tells it.
    async fn opened(&mut self) -> (String, mpsc::UnboundedSender<Told>) {
        self.opened.recv().await.unwrap()
    }

    fn seen(&self) -> &Scope {
        self.stores.visibility.scope("ns").unwrap()
    }

    async fn listings(&self, at_least: usize) {
        self.played.requests.subscribe().wait_for(|(listings, _)| *listings >= at_least).await.unwrap();
    }

    async fn names(&self, wanted: &[&str]) {
        loop {
            let mut names: Vec<String> =
                self.stores.queues.find(&in_namespace("ns")).iter().map(|queue| queue.name_any()).collect();
            names.sort();
            if names == wanted {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// What is said of queues so many seconds from now.
    fn missing_in(&self, seconds: u64) -> Option<String> {
        let missing = self.stores.visibility.missing(Instant::now() + Duration::from_secs(seconds));
        missing.into_iter().find(|it| it.starts_with("queues.rota.dev"))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.feed.abort();
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_listing_that_goes_on_failing_is_no_news_and_is_made_ever_less_often() {
    let forbidden = || Err(refused(403, "queues.rota.dev is forbidden"));
    let mut stage = Stage::set(MINUTE, vec![Box::new(|| listing("5", &[queue("a", "3")])), Box::new(forbidden)]);
    let (version, told_by) = stage.opened().await;
    assert_eq!(version, "5");
    stage.names(&["a"]).await;
    assert_eq!(stage.missing_in(31), None);
    let gone = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "message": "too old" });
    told_by.send(told("ERROR", &gone)).unwrap();
    stage.listings(7).await;
    assert_eq!(stage.missing_in(0), None, "a moment ago it was seen");
    let said = stage.missing_in(31).unwrap();
    assert!(said.starts_with("queues.rota.dev: no news for 31 s: queues.rota.dev is forbidden"), "{said}");
    let times = stage.seen().failed(Watched::Queues, String::new());
    assert!(times > 5, "each failure counts for the delay, and sending a request makes up for none: {times}");
    stage.names(&["a"]).await;
}

#[test]
fn the_delay_doubles_with_each_failure_up_to_half_a_minute() {
    let delays: Vec<u64> =
        [1, 2, 3, 6, 7, 40, u32::MAX].map(|times| backoff(BACKOFF_MIN, times).as_millis() as u64).into();
    assert_eq!(delays, [800, 1_600, 3_200, 25_600, 30_000, 30_000, 30_000]);
    let spread = Watched::ALL.map(|kind| spread(BACKOFF_MIN, kind));
    assert!(spread.is_sorted() && spread[0] == BACKOFF_MIN && spread[7] < 2 * BACKOFF_MIN, "{spread:?}");
}

#[tokio::test]
async fn a_watch_goes_on_from_the_last_bookmark_and_a_bookmark_is_news() {
    let mut stage = Stage::set(MINUTE, vec![Box::new(|| listing("5", &[]))]);
    let (_, told_by) = stage.opened().await;
    stage.seen().failed(Watched::Queues, "some trouble".into());
    assert!(stage.missing_in(31).is_some());
    told_by.send(told("ADDED", &queue("a", "6"))).unwrap();
    told_by.send(bookmark("9")).unwrap();
    drop(told_by);
    let (version, told_by) = stage.opened().await;
    assert_eq!(version, "9");
    assert_eq!(stage.missing_in(31), None);
    told_by.send(told("DELETED", &queue("a", "10"))).unwrap();
    stage.names(&[]).await;
    assert_eq!(*stage.played.requests.borrow(), (1, 2));
}

#[tokio::test]
async fn a_watch_that_is_silent_for_its_whole_time_is_followed_by_a_listing() {
    let mut stage = Stage::set(
        Duration::from_millis(20),
        vec![Box::new(|| listing("5", &[queue("a", "3")])), Box::new(|| listing("8", &[queue("b", "7")]))],
    );
    let (_silent, _told_by) = stage.opened().await;
    stage.names(&["a"]).await;
    stage.names(&["b"]).await;
    assert_eq!(stage.opened().await.0, "8");
}

#[tokio::test]
async fn a_watch_that_ends_in_its_time_and_told_nothing_is_news_unless_the_cluster_was_set_back() {
    let mut stage = Stage::set(
        Duration::from_millis(20),
        vec![Box::new(|| listing("5", &[queue("a", "3")])), Box::new(|| listing("4", &[queue("b", "2")]))],
    );
    let (_, told_by) = stage.opened().await;
    stage.seen().failed(Watched::Queues, "some trouble".into());
    drop(told_by);
    let (version, told_by) = stage.opened().await;
    assert_eq!((version.as_str(), *stage.played.requests.borrow()), ("5", (1, 2)));
    let said = stage.missing_in(31).unwrap();
    assert!(!said.contains("trouble"), "there was news: {said}");
    *stage.played.version.lock().unwrap() = "4";
    drop(told_by);
    assert_eq!(stage.opened().await.0, "4");
    stage.names(&["b"]).await;
}

#[tokio::test]
async fn a_cluster_that_was_set_back_is_listed_anew_and_seen_as_it_is() {
    let mut stage = Stage::set(
        MINUTE,
        vec![
            Box::new(|| listing("90", &[queue("a", "80"), queue("lost", "85")])),
            Box::new(|| listing("50", &[queue("a", "40")])),
        ],
    );
    let (_, told_by) = stage.opened().await;
    stage.names(&["a", "lost"]).await;
    told_by.send(bookmark("49")).unwrap();
    let (version, told_by) = stage.opened().await;
    assert_eq!(version, "50");
    stage.names(&["a"]).await;
    let mut edited = queue("a", "52");
    edited["spec"]["maxRunning"] = json!(7);
    told_by.send(told("MODIFIED", &edited)).unwrap();
    while stage.stores.queues.get(&Key::new("ns", "a")).unwrap().spec.max_running != Some(7) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_cannot_be_decoded_stays_as_it_was_last_understood_also_when_listed() {
    let mut strange = queue("a", "7");
    strange["spec"]["maxRunning"] = json!("many");
    let listed = strange.clone();
    let mut stage = Stage::set(
        MINUTE,
        vec![
            Box::new(|| listing("5", &[queue("a", "3"), queue("b", "4")])),
            Box::new(move || listing("8", std::slice::from_ref(&listed))),
        ],
    );
    let (_, told_by) = stage.opened().await;
    told_by.send(told("MODIFIED", &strange)).unwrap();
    stage.stores.visibility.doubt();
    stage.opened().await;
    stage.names(&["a"]).await;
}

#[tokio::test]
async fn a_listing_that_is_asked_for_does_not_wait_for_the_delay_after_failures() {
    let mut stage = Stage::set(MINUTE, vec![Box::new(|| listing("5", &[]))]);
    let (_, told_by) = stage.opened().await;
    for _ in 0..25 {
        stage.seen().failed(Watched::Queues, "a long trouble".into());
    }
    told_by.send(Err(refused(500, "broken"))).unwrap();
    told_by.closed().await;
    // The next try would be in half a minute.
    stage.stores.visibility.doubt();
    stage.listings(2).await;
    stage.opened().await;
    assert_eq!(stage.missing_in(31), None);
}
