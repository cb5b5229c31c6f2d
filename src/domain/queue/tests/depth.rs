//! Queues in which only so many may wait.

use super::*;

/// A queue that is full, so that all wait, in which two may.
fn line(policy: OverflowPolicy) -> Line {
    let mut line = Line::new(None, usize::MAX);
    let settings = Settings { max_running: Some(1), depth: Some((2, policy)), ..Settings::default() };
    line.set_queue("team", "default", Some(settings));
    line.occupy("team", "runs", occupant("runs"));
    line
}

fn arrives(line: &mut Line, name: &str, queued: i64, asks_for: Option<&str>) {
    let candidate = candidate(name, 0, queued, queued);
    let asks_for = asks_for.map(str::to_owned);
    line.offer(Offer { namespace: "team".into(), candidate, accepted: false, asks_for }, now());
}

fn dropped(line: &mut Line) -> Vec<(String, Reason, String)> {
    let round = line.admit(now());
    round.dropped.into_iter().map(|it| (it.name, it.reason, it.message)).collect()
}

fn waiting(line: &Line) -> Vec<String> {
    line.first("team", "default", 100)
}

#[test]
fn a_full_queue_refuses_who_comes_last_and_says_so_once() {
    let mut line = line(OverflowPolicy::Reject);
    for (name, queued) in [("c", 3), ("a", 1), ("b", 2)] {
        arrives(&mut line, name, queued, None);
    }
    let full = "2 wait in queue default already, as many as may".to_owned();
    assert_eq!(dropped(&mut line), [("c".to_owned(), Reason::QueueFull, full)]);
    assert_eq!(waiting(&line), ["a", "b"]);
    arrives(&mut line, "c", 3, None);
    assert_eq!(dropped(&mut line), [], "what was not kept is recorded, not offered again");
    assert_eq!(waiting(&line), ["a", "b"]);
}

#[test]
fn nobody_is_refused_while_the_namespace_is_not_seen() {
    let mut line = line(OverflowPolicy::Reject);
    (1..=3).for_each(|number| arrives(&mut line, &number.to_string(), number, None));
    line.set_seen("team", false);
    assert_eq!(dropped(&mut line), []);
    line.set_seen("team", true);
    assert_eq!(dropped(&mut line).len(), 1);
}

#[test]
fn whoever_can_start_at_once_does_not_count() {
    let mut line = line(OverflowPolicy::Reject);
    line.release("runs");
    for (name, queued) in [("a", 1), ("b", 2), ("c", 3)] {
        arrives(&mut line, name, queued, None);
    }
    assert_eq!(dropped(&mut line), []);
    assert_eq!(waiting(&line), ["b", "c"]);
}

#[test]
fn whom_the_queue_has_taken_is_not_refused_when_less_may_wait_or_when_another_process_begins() {
    let mut line = line(OverflowPolicy::Reject);
    arrives(&mut line, "a", 1, None);
    arrives(&mut line, "b", 2, None);
    assert_eq!(dropped(&mut line), []);
    let settings = Settings { max_running: Some(1), depth: Some((1, OverflowPolicy::Reject)), ..Settings::default() };
    line.set_queue("team", "default", Some(settings.clone()));
    assert_eq!(dropped(&mut line), []);
    let mut next = Line::new(None, usize::MAX);
    next.set_queue("team", "default", Some(Settings { max_running: Some(0), ..settings }));
    for (name, queued) in [("b", 2), ("a", 1)] {
        let candidate = candidate(name, 0, queued, queued);
        next.offer(Offer { namespace: "team".into(), candidate, accepted: true, asks_for: None }, now());
    }
    assert_eq!(dropped(&mut next), []);
    assert_eq!(waiting(&next), ["a", "b"]);
}

#[test]
fn nothing_is_refused_while_somebody_who_was_there_before_was_not_looked_at() {
    let mut line = line(OverflowPolicy::Reject);
    line.expect("team", "uid-a", now(), true);
    for (name, queued) in [("b", 2), ("c", 3), ("d", 4)] {
        arrives(&mut line, name, queued, None);
    }
    assert_eq!(dropped(&mut line), []);
    arrives(&mut line, "a", 1, None);
    line.looked_at("team", "uid-a", now());
    assert_eq!(dropped(&mut line).into_iter().map(|it| it.0).collect::<Vec<_>>(), ["d", "c"]);
}

#[test]
fn the_oldest_makes_room_if_that_is_the_policy() {
    let mut line = line(OverflowPolicy::DropOldest);
    for (name, queued) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        arrives(&mut line, name, queued, None);
    }
    let names: Vec<(String, Reason)> = dropped(&mut line).into_iter().map(|it| (it.0, it.1)).collect();
    assert_eq!(names, [("a".into(), Reason::QueueOverflow), ("b".into(), Reason::QueueOverflow)]);
    assert_eq!(waiting(&line), ["c", "d"]);
}

#[test]
fn who_asks_for_the_same_as_one_that_waits_joins_it_and_others_are_refused() {
    let mut line = line(OverflowPolicy::CoalesceSame);
    for (name, queued, asks_for) in [("a", 1, "x"), ("b", 2, "y"), ("c", 3, "y"), ("d", 4, "z")] {
        arrives(&mut line, name, queued, Some(asks_for));
    }
    let full = "2 wait in queue default already, as many as may".to_owned();
    let same = format!("{full}, and Job \"b\" among them asks for the same");
    assert_eq!(dropped(&mut line), [("d".into(), Reason::QueueFull, full), ("c".into(), Reason::Coalesced, same)]);
}

#[test]
fn a_queue_that_gets_a_depth_keeps_who_waits_already() {
    let mut line = Line::new(None, usize::MAX);
    line.set_queue("team", "default", Some(Settings { max_running: Some(0), ..Settings::default() }));
    for (name, queued) in [("a", 1), ("b", 2), ("c", 3)] {
        arrives(&mut line, name, queued, None);
    }
    let depth = Some((1, OverflowPolicy::Reject));
    line.set_queue("team", "default", Some(Settings { max_running: Some(0), depth, ..Settings::default() }));
    assert_eq!(dropped(&mut line), []);
    arrives(&mut line, "d", 4, None);
    assert_eq!(dropped(&mut line).len(), 1);
}

#[test]
fn what_a_queue_has_taken_it_keeps_when_it_could_not_be_written_down() {
    let mut line = line(OverflowPolicy::Reject);
    for (name, queued) in [("a", 1), ("x", 8), ("y", 9)] {
        arrives(&mut line, name, queued, None);
    }
    assert_eq!(dropped(&mut line).len(), 1);
    line.release("runs");
    assert_eq!(line.admit(now()).admitted.len(), 1, "a is to be written down");
    for (name, queued) in [("e", 0), ("f", 3)] {
        arrives(&mut line, name, queued, None);
    }
    assert_eq!(dropped(&mut line).len(), 1);
    line.put_back("uid-a", now());
    line.occupy("team", "other", occupant("other"));
    assert_eq!(dropped(&mut line), [], "it was there before the others came");
}
