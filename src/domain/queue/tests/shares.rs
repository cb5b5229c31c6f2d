//! A limit for the whole cluster, and how namespaces share it; what is not decided before all is known; aging; places.

use super::super::line::{ADMITTED_MAX, RANKED_ANEW_MAX};
use super::*;

fn offer(line: &mut Line, namespace: &str, name: &str, priority: i32, queued: i64) {
    let mut candidate = candidate(&format!("{namespace}-{name}"), priority, queued, queued);
    candidate.uid = format!("uid-{namespace}-{name}").into();
    line.offer(Offer { namespace: namespace.into(), candidate, accepted: true, asks_for: None }, now());
}

fn names(round: &Round) -> Vec<&str> {
    round.admitted.iter().map(|(_, candidate)| candidate.rank.name.as_ref()).collect()
}

fn line(ceiling: Option<u32>, namespaces: &[&str]) -> Line {
    let mut line = Line::new(ceiling, usize::MAX);
    namespaces.iter().for_each(|namespace| line.set_queue(namespace, "default", Some(Settings::default())));
    line
}

#[test]
fn a_flood_of_one_namespace_does_not_keep_the_first_of_another_waiting() {
    let mut line = line(Some(4), &["flood", "small"]);
    for number in 0..50_000 {
        offer(&mut line, "flood", &format!("{number:05}"), 9, number);
    }
    let round = line.admit(now());
    assert_eq!(names(&round), ["flood-00000", "flood-00001", "flood-00002", "flood-00003"]);
    offer(&mut line, "small", "a", 0, 90_000);
    offer(&mut line, "small", "b", 0, 90_001);
    assert_eq!(names(&line.admit(now())), [""; 0]);
    let blocker = line.blocker("uid-small-a", now()).unwrap();
    assert_eq!(blocker.waiting_for, WaitingFor::ClusterLimit);
    let text = "first in queue default; the operator runs 4 of 4 in the cluster, 0 of them in this namespace";
    assert_eq!(blocker.message, text);
    let written = line.blocker_to_write("uid-small-a", now()).unwrap().message;
    assert_eq!(written, format!("{text}, as of {}", now()));
    line.release("uid-flood-00000");
    line.release("uid-flood-00001");
    assert_eq!(names(&line.admit(now())), ["small-a", "small-b"]);
    line.release("uid-small-a");
    assert_eq!(names(&line.admit(now())), ["flood-00004"], "two run of either by now");
}

#[test]
fn namespaces_fill_the_cluster_in_turn() {
    let mut line = line(Some(5), &["a", "b", "c"]);
    for namespace in ["a", "b", "c"] {
        (0..9).for_each(|number| offer(&mut line, namespace, &number.to_string(), 0, number));
    }
    assert_eq!(names(&line.admit(now())), ["a-0", "b-0", "c-0", "a-1", "b-1"]);
}

#[test]
fn a_namespace_of_which_it_is_not_known_what_runs_there_keeps_no_other_waiting() {
    for ceiling in [Some(9), None] {
        let mut line = line(ceiling, &["a", "b"]);
        line.hold_back("a", 2);
        offer(&mut line, "a", "x", 0, 1);
        offer(&mut line, "b", "x", 0, 1);
        assert_eq!(names(&line.admit(now())), ["b-x"]);
        line.expect("a", "uid-late", now(), true);
        assert!(!line.is_to_let_go("a"));
        line.looked_at("a", "uid-late", now());
        assert!(line.is_to_let_go("a"));
        line.let_go("a");
        assert!(names(&line.admit(now())).contains(&"a-x"));
    }
}

#[test]
fn what_may_be_running_where_nobody_has_looked_yet_counts_under_the_limit_for_the_cluster() {
    let mut line = line(Some(5), &["a", "b"]);
    line.hold_back("a", 3);
    (0..9).for_each(|number| offer(&mut line, "b", &number.to_string(), 0, number));
    assert_eq!(names(&line.admit(now())), ["b-0", "b-1"]);
    let blocker = line.blocker("uid-b-2", now()).unwrap();
    assert!(blocker.message.contains("the operator runs 5 of 5 in the cluster"), "{}", blocker.message);
    // Two of the three were running.
    line.occupy("a", "uid-a-1", occupant("one"));
    line.occupy("a", "uid-a-2", occupant("two"));
    line.let_go("a");
    assert_eq!(names(&line.admit(now())), ["b-2"]);
}

#[test]
fn nothing_of_a_namespace_that_is_not_seen_is_admitted_and_what_runs_there_counts() {
    let mut line = line(Some(3), &["a", "b"]);
    line.occupy("a", "uid-a-runs", occupant("runs"));
    (0..3).for_each(|number| offer(&mut line, "a", &number.to_string(), 0, number));
    (0..9).for_each(|number| offer(&mut line, "b", &number.to_string(), 0, number));
    line.set_seen("a", false);
    assert_eq!(names(&line.admit(now())), ["b-0", "b-1"]);
    ["uid-b-0", "uid-b-1"].into_iter().for_each(|uid| line.release(uid));
    line.set_seen("b", false);
    line.set_seen("a", true);
    assert_eq!(names(&line.admit(now())), ["a-0", "a-1"]);
}

#[test]
fn nobody_overtakes_who_came_and_was_not_looked_at() {
    let mut line = line(None, &["a"]);
    line.expect("a", "uid-a-first", Timestamp::from_second(5).unwrap(), false);
    offer(&mut line, "a", "before", 0, 4);
    offer(&mut line, "a", "after", 0, 6);
    assert_eq!(names(&line.admit(now())), ["a-before"]);
    offer(&mut line, "a", "first", 0, 5);
    let looked = Timestamp::from_second(5).unwrap();
    assert!(line.looked_at("a", "uid-a-first", looked), "somebody has to ask who is next");
    assert!(!line.looked_at("a", "uid-a-first", looked));
    assert_eq!(names(&line.admit(now())), ["a-first", "a-after"]);
}

#[test]
fn who_cannot_be_looked_at_is_passed_over_but_not_before_it_is_known_what_runs() {
    let mut line = line(None, &["a"]);
    let came = Timestamp::from_second(5).unwrap();
    line.hold_back("a", 0);
    for (uid, from_start) in [("uid-a-old", true), ("uid-a-new", false), ("uid-a-old", false)] {
        line.expect("a", uid, came, from_start);
    }
    offer(&mut line, "a", "after", 0, 6);
    assert!(line.passed_over("a", "uid-a-new", came, false));
    assert!(line.passed_over("a", "uid-a-old", came, false));
    assert!(!line.passed_over("a", "uid-a-old", came, false));
    assert!(!line.is_to_let_go("a") && line.admit(now()).admitted.is_empty(), "it may be running");
    assert!(line.passed_over("a", "uid-a-old", came, true), "after a while it is left out");
    assert!(line.is_to_let_go("a"));
    line.let_go("a");
    assert_eq!(names(&line.admit(now())), ["a-after"]);
}

#[test]
fn one_round_admits_a_bounded_number_and_asks_for_the_next_at_once() {
    let mut line = Line::new(None, usize::MAX);
    line.set_queue("a", "default", Some(Settings::default()));
    (0..1_100).for_each(|number| offer(&mut line, "a", &format!("{number:04}"), 0, number));
    let rounds: Vec<_> = (0..4).map(|_| line.admit(now())).map(|round| (round.admitted.len(), round.wake_at)).collect();
    assert_eq!(rounds, [(ADMITTED_MAX, Some(now())), (ADMITTED_MAX, Some(now())), (100, None), (0, None)]);
}

#[test]
fn waiting_costs_a_bounded_number_of_new_ranks_in_a_second() {
    let mut line = Line::new(None, usize::MAX);
    let aging = Some(Aging { interval_seconds: 1, maximum_increase: 2_000_000 });
    line.set_queue("a", "default", Some(Settings { max_running: Some(0), aging, ..Settings::default() }));
    let jobs = 3 * RANKED_ANEW_MAX;
    (0..jobs).for_each(|number| offer(&mut line, "a", &format!("{number:05}"), 0, 0));
    let at = |milliseconds: i64| now() + SignedDuration::from_millis(milliseconds);
    let due = |line: &Line, at: Timestamp| line.aging.iter().filter(|(when, _)| *when <= at).count();
    for second in 1..=3 {
        let later = at(second * 1_000);
        assert_eq!(due(&line, later), jobs, "each changes every second");
        for round in [0, 10, 500] {
            let asked_again = line.admit(at(second * 1_000 + round)).wake_at;
            assert_eq!(due(&line, later), jobs - RANKED_ANEW_MAX, "{second} s and {round} ms");
            assert_eq!(asked_again, Some(at((second + 1) * 1_000)));
        }
    }
}

#[test]
fn the_end_of_a_pause_is_forgotten_with_the_pause() {
    let mut line = Line::new(None, usize::MAX);
    for year in 3_000..3_100 {
        let until = format!("{year}-01-01T00:00:00Z").parse().unwrap();
        let paused = Some(pause(Some(until)));
        line.set_queue("a", "default", Some(Settings { paused, ..Settings::default() }));
        assert_eq!(line.endings.len(), 1, "an edit replaces the one before");
    }
    line.set_queue("a", "default", Some(Settings::default()));
    assert!(line.endings.is_empty());
}

#[test]
fn waiting_raises_the_priority_step_by_step_up_to_the_most() {
    let aging = Aging { interval_seconds: 10, maximum_increase: 3 };
    let rank = candidate("a", 5, 0, 100).rank;
    let at = |seconds: i64| {
        let (rank, next) = aged(&rank, Some(&aging), Timestamp::from_second(seconds).unwrap());
        (rank.priority.0, next.map(Timestamp::as_second))
    };
    assert_eq!(at(90), (5, Some(110)));
    assert_eq!(at(109), (5, Some(110)));
    assert_eq!(at(110), (6, Some(120)));
    assert_eq!(at(129), (7, Some(130)));
    assert_eq!(at(130), (8, None));
    assert_eq!(at(9_999), (8, None));
}

#[test]
fn with_aging_nobody_waits_for_ever_behind_more_important_ones() {
    let mut line = Line::new(None, usize::MAX);
    let aging = Some(Aging { interval_seconds: 60, maximum_increase: 100 });
    line.set_queue("a", "default", Some(Settings { max_running: Some(1), aging, ..Settings::default() }));
    offer(&mut line, "a", "humble", 0, 1_000);
    line.occupy("a", "runs", occupant("runs"));
    let mut running: Arc<str> = "runs".into();
    for round in 0..100_i64 {
        let at = Timestamp::from_second(1_000 + round * 60).unwrap();
        let candidate = candidate(&format!("important-{round}"), 10, 0, at.as_second());
        line.offer(Offer { namespace: "a".into(), candidate, accepted: true, asks_for: None }, at);
        line.release(&running);
        let admitted = line.admit(at).admitted;
        let [(_, next)] = admitted.as_slice() else { panic!("one at a time: {admitted:?}") };
        running = next.uid.clone();
        if next.rank.name.as_ref() == "a-humble" {
            assert_eq!(round, 11, "its priority was above 10 after eleven minutes");
            return;
        }
    }
    panic!("it never started");
}

#[test]
fn places_are_told_in_words_and_then_in_numbers() {
    let mut line = line(None, &[]);
    line.set_queue("a", "default", Some(Settings { max_running: Some(0), ..Settings::default() }));
    (0..1_200).for_each(|number| offer(&mut line, "a", &format!("{number:04}"), 0, number));
    let told = |number: usize| {
        let message = line.blocker(&format!("uid-a-{number:04}"), now()).unwrap().message;
        message.split(" in queue").next().unwrap().to_owned()
    };
    assert_eq!(told(0), "first");
    assert_eq!(told(9), "tenth");
    assert_eq!((told(10), told(20), told(99)), ("11th".into(), "21st".into(), "100th".into()));
    assert_eq!(told(1_100), "behind more than 100 others");
}
