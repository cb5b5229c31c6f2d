//! Waiting: for an instant, or until something is seen, with a deadline.

use std::fmt::Debug;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::ListParams;
use rota::runtime::clock;
use serde::de::DeserializeOwned;

/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// Waits for an instant.
pub async fn until_instant(instant: Timestamp) {
    let left = instant.duration_since(clock::now());
    if let Ok(left) = Duration::try_from(left) {
        tokio::time::sleep(left).await;
    }
}

/// Looks until the condition holds. Ends the benchmark when it does not hold in time.
pub async fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(GLANCE).await;
        }
    };
    tokio::time::timeout(within, waited).await.unwrap_or_else(|_| panic!("after {within:?} still not seen: {what}"));
}

/// Looks until no object is left that a field selector (empty: any) selects. Ends the benchmark when one is left after that time.
pub async fn until_none<Kind>(what: &str, within: Duration, objects: &Api<Kind>, fields: &str)
where
    Kind: Clone + DeserializeOwned + Debug,
{
    let one = ListParams::default().limit(1).fields(fields);
    let waited = async {
        while !objects.list_metadata(&one).await.unwrap().items.is_empty() {
            tokio::time::sleep(GLANCE).await;
        }
    };
    tokio::time::timeout(within, waited).await.unwrap_or_else(|_| panic!("after {within:?} still there: {what}"));
}

/// The first whole minute that is at least so far away.
pub fn whole_minute_after(at_least: SignedDuration) -> Timestamp {
    let earliest = clock::now() + at_least;
    let seconds = earliest.as_second() + 59;
    Timestamp::from_second(seconds - seconds.rem_euclid(60)).unwrap()
}

/// The first whole second that is at least so far away.
pub fn whole_second_after(at_least: SignedDuration) -> Timestamp {
    let earliest = clock::now() + at_least;
    Timestamp::from_second(earliest.as_second() + 1).unwrap()
}
