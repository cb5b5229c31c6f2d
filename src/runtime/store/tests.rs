//! What a store holds after changes, listings and a cluster that was set back.

use super::*;
use crate::api::{Queue, QueueSpec};

fn queue(name: &str, uid: &str, version: u64, max_running: u32) -> Queue {
    let mut queue = Queue::new(name, QueueSpec { max_running: Some(max_running), ..QueueSpec::default() });
    queue.metadata.namespace = Some("ns".into());
    queue.metadata.uid = Some(uid.into());
    queue.metadata.resource_version = Some(version.to_string());
    queue
}

#[test]
fn an_older_version_never_replaces_a_newer_one() {
    let store = Store::default();
    store.apply(queue("a", "1", 20, 2));
    store.apply(queue("a", "1", 9, 1));
    assert_eq!(store.get(&Key::new("ns", "a")).unwrap().spec.max_running, Some(2));
    assert_eq!(store.find("namespace:ns").len(), 1);
}

#[test]
fn a_late_answer_does_not_bring_a_deleted_object_back_but_a_new_one_of_the_name_is_seen() {
    let store = Store::default();
    store.apply(queue("a", "1", 5, 1));
    store.remove(&queue("a", "1", 7, 1));
    store.apply(queue("a", "1", 6, 1));
    assert!(store.is_empty());
    store.apply(queue("a", "2", 8, 1));
    assert_eq!(store.len(), 1);
}

#[test]
fn an_object_that_only_left_the_selection_of_the_watch_comes_back_when_it_is_read() {
    let store = Store::default();
    store.apply(queue("a", "1", 5, 1));
    store.remove(&queue("a", "1", 8, 1));
    store.apply_read(queue("a", "1", 7, 1));
    assert!(store.is_empty(), "an answer from before");
    store.apply_read(queue("a", "1", 8, 1));
    assert_eq!(store.len(), 1, "what is read with the version of the change is there");
    store.remove_for_good(&queue("a", "1", 8, 1));
    store.apply_read(queue("a", "1", 8, 1));
    assert!(store.is_empty(), "its deletion was answered");
}

#[test]
fn a_listing_removes_what_it_does_not_name_but_not_what_was_written_meanwhile() {
    let store = Store::default();
    store.apply(queue("old", "1", 1, 1));
    store.apply(queue("kept", "2", 2, 1));
    store.begin_listing("");
    store.apply(queue("kept", "2", 2, 1));
    store.apply(queue("written-meanwhile", "3", 9, 1));
    store.end_listing("");
    let mut names: Vec<String> = store.keys().into_iter().map(|key| key.name).collect();
    names.sort();
    assert_eq!(names, ["kept", "written-meanwhile"]);
}

#[test]
fn what_a_listing_cannot_read_is_not_gone_unless_it_is_another_object() {
    let store = Store::default();
    store.apply(queue("strange", "1", 1, 1));
    store.apply(queue("replaced", "2", 2, 1));
    store.begin_listing("");
    let (strange, replaced) = (Key::new("ns", "strange"), Key::new("ns", "replaced"));
    store.cannot_read(&strange, Some("1"));
    store.cannot_read(&replaced, Some("3"));
    store.end_listing("");
    assert_eq!(store.keys(), std::slice::from_ref(&strange));
    assert!(store.is_unreadable(&strange) && store.is_unreadable(&replaced));
    store.apply(queue("strange", "1", 5, 1));
    store.remove_named(&replaced, Some("3"));
    assert!(!store.is_unreadable(&strange) && !store.is_unreadable(&replaced));
    store.cannot_read(&strange, Some("1"));
    store.begin_listing("");
    store.end_listing("");
    assert!(store.is_empty() && !store.is_unreadable(&strange));
}

#[test]
fn when_the_cluster_was_set_back_everything_is_as_listed_and_later_versions_win_again() {
    let store = Store::default();
    store.apply(queue("a", "1", 90, 9));
    store.apply(queue("deleted-since", "2", 95, 9));
    store.remove(&queue("deleted-since", "2", 99, 9));
    store.apply(queue("created-since", "3", 98, 9));
    store.begin_listing("");
    // Written after the restore, before the listing was answered.
    store.apply(queue("own", "4", 61, 4));
    store.listing_is_of("", "60");
    store.apply(queue("a", "1", 50, 5));
    store.apply(queue("deleted-since", "2", 40, 4));
    store.end_listing("");
    let max = |name: &str| store.get(&Key::new("ns", name)).and_then(|it| it.spec.max_running);
    assert_eq!((max("a"), max("deleted-since"), max("created-since"), max("own")), (Some(5), Some(4), None, Some(4)));
    store.apply(queue("a", "1", 62, 6));
    store.apply(queue("a", "1", 61, 7));
    assert_eq!(max("a"), Some(6));
    // What was set back once is ordered like any other.
    store.begin_listing("");
    store.listing_is_of("", "70");
    store.apply(queue("a", "1", 61, 7));
    store.end_listing("");
    assert_eq!((max("a"), max("own")), (Some(6), None));
}

fn of(namespace: &str, name: &str, version: u64, max_running: u32) -> Queue {
    let mut queue = queue(name, &format!("{namespace}/{name}"), version, max_running);
    queue.metadata.namespace = Some(namespace.into());
    queue
}

#[test]
fn a_listing_of_one_namespace_concerns_it_alone() {
    let store = Store::<Queue>::default();
    let max = |namespace: &str, name: &str| store.get(&Key::new(namespace, name)).and_then(|it| it.spec.max_running);
    store.begin_listing("a");
    store.begin_listing("b");
    store.apply(of("a", "one", 1, 1));
    store.apply(of("b", "one", 2, 2));
    store.cannot_read(&Key::new("b", "strange"), Some("3"));
    ["a", "b"].into_iter().for_each(|namespace| store.end_listing(namespace));
    store.begin_listing("a");
    store.apply(of("b", "two", 5, 5));
    store.listing_is_of("a", "6");
    store.end_listing("a");
    assert_eq!((max("a", "one"), max("b", "one"), max("b", "two")), (None, Some(2), Some(5)));
    assert!(store.is_unreadable(&Key::new("b", "strange")));
    store.begin_listing("b");
    store.listing_is_of("b", "7");
    store.end_listing("b");
    assert!(store.is_empty() && !store.is_unreadable(&Key::new("b", "strange")));
}

/// Each namespace is listed at a time of its own: the first listing that tells does not hide it from the next.
#[test]
fn when_the_cluster_was_set_back_each_namespace_is_as_its_own_listing_says() {
    let store = Store::default();
    ["a", "b"].into_iter().for_each(|namespace| store.begin_listing(namespace));
    store.apply(of("a", "one", 90, 9));
    store.apply(of("b", "one", 95, 9));
    ["a", "b"].into_iter().for_each(|namespace| store.end_listing(namespace));
    for (namespace, version) in [("a", "60"), ("b", "61")] {
        store.begin_listing(namespace);
        store.listing_is_of(namespace, version);
        store.apply(of(namespace, "one", 50, 5));
        store.end_listing(namespace);
    }
    let max = |namespace| store.get(&Key::new(namespace, "one")).and_then(|it| it.spec.max_running);
    assert_eq!((max("a"), max("b")), (Some(5), Some(5)));
}

#[test]
fn an_object_that_left_the_watch_without_being_deleted_comes_back_with_a_later_version_only() {
    let store = Store::default();
    store.apply(queue("a", "1", 5, 1));
    store.remove(&queue("a", "1", 6, 1));
    store.apply(queue("a", "1", 6, 1));
    assert!(store.is_empty());
    store.apply(queue("a", "1", 8, 1));
    assert_eq!(store.len(), 1);
    store.remove_named(&Key::new("ns", "a"), Some("1"));
    store.apply(queue("a", "1", 9, 1));
    assert!(store.is_empty(), "that one was deleted");
}

#[test]
fn a_panic_in_the_listener_concerns_that_change_alone() {
    let store = Store::default();
    store.listen(|change| assert_ne!(change.key.name, "bad", "this one panics on purpose"));
    store.apply(queue("bad", "1", 5, 1));
    store.apply(queue("good", "2", 6, 1));
    assert_eq!((store.len(), store.panics()), (2, 1));
}
