//! The queue's order and limits, as tables and against a plain model.

use std::collections::HashMap;

use proptest::prelude::*;

use super::snapshot::{Decided, Snapshot, decide};
use super::*;

mod depth;
mod history;
mod shares;

fn now() -> Timestamp {
    Timestamp::from_second(1_000).unwrap()
}

fn candidate(name: &str, priority: i32, position: i64, queued: i64) -> Candidate {
    Candidate {
        rank: Rank {
            priority: Reverse(priority),
            position: position.into(),
            place: 0,
            queued_at: Timestamp::from_second(queued).unwrap(),
            name: name.into(),
        },
        uid: format!("uid-{name}").into(),
        attempt: 1,
        queue: "default".into(),
        limits: Limits::default(),
    }
}

fn occupant(name: &str) -> Occupant {
    Occupant { name: name.into(), queue: "default".into(), limits: Limits::default() }
}

fn queue(max_running: Option<u32>) -> HashMap<String, Settings> {
    HashMap::from([("default".to_owned(), Settings { max_running, ..Settings::default() })])
}

fn pause(until: Option<Timestamp>) -> Pause {
    Pause { reason: "maintenance".into(), until: until.map(crate::domain::conditions::micro), scope: None }
}

/// The limit of a template.
fn report() -> Limit {
    Limit::Template("report".into())
}

fn admitted(round: &Decided) -> Vec<&str> {
    round.admitted.iter().map(|one| one.rank.name.as_ref()).collect()
}

#[test]
fn of_a_queue_that_does_not_exist_nothing_is_kept_when_nobody_waits_or_runs_in_it() {
    let mut line = Line::new(None, 200);
    let namespace: std::sync::Arc<str> = "ns".into();
    let offer = |name: &str, queue: &str| Offer {
        namespace: namespace.clone(),
        candidate: Candidate { queue: queue.into(), ..candidate(name, 0, 0, 10) },
        accepted: false,
        asks_for: None,
    };
    line.set_queue("ns", "default", Some(Settings::default()));
    for round in 0..3 {
        let queue = format!("misspelt-{round}");
        line.offer(offer("waits", &queue), now());
        assert!(line.admit(now()).admitted.is_empty());
        assert_eq!(line.queues("ns").len(), 2);
        line.withdraw("uid-waits");
        line.occupy("ns", "uid-runs", Occupant { queue: queue.as_str().into(), ..occupant("runs") });
        assert_eq!(line.counts("ns", &queue).running, 1);
        line.release("uid-runs");
        assert_eq!(line.queues("ns"), ["default"]);
    }
    line.set_queue("ns", "default", None);
    assert!(line.queues("ns").is_empty() && line.namespaces.is_empty());
}

#[test]
fn order_is_priority_then_position_then_queued_time_then_name() {
    let candidates = vec![
        candidate("late", 0, 0, 20),
        candidate("b", 0, 0, 10),
        candidate("a", 0, 0, 10),
        candidate("moved-first", 0, -1, 30),
        candidate("urgent", 5, 9, 40),
    ];
    let round = decide(Snapshot { queues: queue(None), candidates, ..Snapshot::default() }, 100, now());
    assert_eq!(admitted(&round), ["urgent", "moved-first", "a", "b", "late"]);
    assert!(round.blocked.is_empty());
}

#[test]
fn a_full_queue_names_who_runs() {
    let snapshot = Snapshot {
        queues: queue(Some(2)),
        occupants: vec![occupant("x"), occupant("y")],
        candidates: vec![candidate("a", 0, 0, 1)],
        ..Snapshot::default()
    };
    let round = decide(snapshot, 100, now());
    assert!(admitted(&round).is_empty());
    assert_eq!(
        round.blocked["uid-a"],
        Blocker { waiting_for: WaitingFor::QueueLimit, message: "first in queue default, 2 of 2 running: x, y".into() }
    );
}

#[test]
fn what_goes_into_a_status_names_nobody_who_may_have_ended_since_and_says_when_it_was_true() {
    let mut line = Line::new(None, 200);
    line.set_queue("team", "default", Some(Settings { max_running: Some(1), ..Settings::default() }));
    let offer = |name: &str, queued| Offer {
        namespace: "team".into(),
        candidate: candidate(name, 0, 0, queued),
        accepted: true,
        asks_for: None,
    };
    line.offer(offer("a", 1), now());
    line.offer(offer("b", 2), now());
    assert_eq!(line.admit(now()).admitted.len(), 1);
    let asked = line.blocker("uid-b", now()).unwrap();
    assert_eq!(asked.message, "first in queue default, 1 of 1 running: a");
    let written = line.blocker_to_write("uid-b", now()).unwrap();
    assert_eq!(written.waiting_for, asked.waiting_for);
    assert_eq!(written.message, format!("first in queue default, 1 of 1 running, as of {}", now()));
}

#[test]
fn a_job_held_back_by_its_template_lets_others_of_the_queue_pass() {
    let mut held = candidate("held", 9, 0, 1);
    held.limits = [report()].into();
    let mut running = occupant("x");
    running.limits = [report()].into();
    let snapshot = Snapshot {
        queues: queue(None),
        limits: vec![(report(), 1)],
        occupants: vec![running],
        candidates: vec![held, candidate("free", 0, 0, 2)],
    };
    let round = decide(snapshot, 100, now());
    assert_eq!(admitted(&round), ["free"]);
    assert_eq!(round.blocked["uid-held"].waiting_for, WaitingFor::TemplateLimit);
}

#[test]
fn a_template_limit_spans_queues() {
    let mut queues = queue(None);
    queues.insert("other".into(), Settings::default());
    let mut first = candidate("first", 1, 0, 1);
    first.limits = [report()].into();
    let mut second = candidate("second", 0, 0, 1);
    second.limits = [report()].into();
    second.queue = "other".into();
    let round = decide(
        Snapshot { queues, limits: vec![(report(), 1)], candidates: vec![second, first], ..Snapshot::default() },
        100,
        now(),
    );
    assert_eq!(admitted(&round), ["first"]);
}

#[test]
fn each_limit_is_told_in_its_own_words() {
    let told = |limit: Limit| {
        let mut one = candidate("a", 0, 0, 1);
        one.limits = [limit.clone()].into();
        let running = Occupant { limits: [limit.clone()].into(), ..occupant("x") };
        let snapshot =
            Snapshot { queues: queue(None), limits: vec![(limit, 1)], occupants: vec![running], candidates: vec![one] };
        let blocker = decide(snapshot, 100, now()).blocked.remove("uid-a").unwrap();
        (blocker.waiting_for, blocker.message)
    };
    assert_eq!(
        told(Limit::Template("report".into())),
        (WaitingFor::TemplateLimit, "template report: 1 of 1 running".into())
    );
    assert_eq!(told(Limit::Group("uid".into())), (WaitingFor::GroupLimit, "its group: 1 of 1 running".into()));
    assert_eq!(told(Limit::Namespace), (WaitingFor::NamespaceLimit, "the namespace: 1 of 1 running".into()));
    assert_eq!(
        told(Limit::Schedule("nightly".into())),
        (WaitingFor::ScheduleLimit, "schedule nightly: 1 of 1 running".into())
    );
}

#[test]
fn a_paused_queue_starts_nothing_until_its_pause_ends() {
    let until = Timestamp::from_second(2_000).unwrap();
    let mut queues = queue(None);
    queues.get_mut("default").unwrap().paused = Some(pause(Some(until)));
    let snapshot = Snapshot { queues, candidates: vec![candidate("a", 0, 0, 1)], ..Snapshot::default() };
    let round = decide(snapshot.clone(), 100, now());
    assert_eq!(round.blocked["uid-a"].waiting_for, WaitingFor::QueuePaused);
    assert_eq!(round.wake_at, Some(until));
    assert_eq!(admitted(&decide(snapshot, 100, until)), ["a"]);
}

#[test]
fn a_job_of_a_queue_that_does_not_exist_waits_and_says_so() {
    let snapshot = Snapshot { candidates: vec![candidate("a", 0, 0, 1)], ..Snapshot::default() };
    assert_eq!(decide(snapshot, 100, now()).blocked["uid-a"].waiting_for, WaitingFor::Queue);
}

#[test]
fn a_round_is_bounded_and_nothing_overtakes_what_it_leaves() {
    let candidates = (0..10).map(|index| candidate(&format!("job-{index}"), 0, 0, index)).collect();
    let round = decide(Snapshot { queues: queue(None), candidates, ..Snapshot::default() }, 3, now());
    assert_eq!(admitted(&round), ["job-0", "job-1", "job-2"]);
}

/// One of several limits, of each kind.
fn numbered(number: usize) -> Limit {
    let name = format!("limit-{number}");
    match number % 3 {
        0 => Limit::Template(name),
        1 => Limit::Group(name),
        _ => Limit::Schedule(name),
    }
}

proptest! {
    /// The reference model is a sorted list from which the first admissible one is taken, one at a time.
    #[test]
    fn a_round_equals_taking_the_first_admissible_job_again_and_again(
        jobs in prop::collection::vec((-2i32..3, -1i64..2, 0i64..5, 0usize..2, prop::collection::btree_set(0usize..7, 0..4)), 0..40),
        queue_limits in prop::collection::vec(prop::option::of(0u32..6), 2),
        limits in prop::collection::vec(prop::option::of(1u32..4), 7),
    ) {
        let queues: HashMap<String, Settings> = queue_limits.iter().enumerate()
            .map(|(index, max)| (format!("q{index}"), Settings { max_running: *max, ..Settings::default() })).collect();
        let candidates: Vec<Candidate> = jobs.iter().enumerate().map(|(index, job)| {
            let mut one = candidate(&format!("j{index}"), job.0, job.1, job.2);
            one.queue = format!("q{}", job.3).into();
            one.limits = job.4.iter().map(|number| numbered(*number)).collect();
            one
        }).collect();
        let maxima: Vec<(Limit, u32)> =
            limits.iter().enumerate().filter_map(|(number, max)| Some((numbered(number), (*max)?))).collect();
        let mut model: Vec<Candidate> = candidates.clone();
        model.sort_by(|left, right| left.rank.cmp(&right.rank));
        let mut taken: Vec<Candidate> = Vec::new();
        loop {
            let fits = |one: &Candidate| {
                let count = |same: &dyn Fn(&Candidate) -> bool| taken.iter().filter(|other| same(other)).count() as u32;
                queues[one.queue.as_ref()].max_running.is_none_or(|max| count(&|other| other.queue == one.queue) < max)
                    && one.limits.iter().all(|limit| {
                        let max = maxima.iter().find(|(other, _)| other == limit).map(|(_, max)| *max);
                        max.is_none_or(|max| count(&|other| other.limits.contains(limit)) < max)
                    })
            };
            let Some(index) = model.iter().position(fits) else { break };
            taken.push(model.remove(index));
        }
        let round = decide(Snapshot { queues, limits: maxima, occupants: vec![], candidates }, usize::MAX, now());
        let got: Vec<Arc<str>> = round.admitted.iter().map(|one| one.uid.clone()).collect();
        let want: Vec<Arc<str>> = taken.iter().map(|one| one.uid.clone()).collect();
        prop_assert_eq!(got, want);
        prop_assert_eq!(round.blocked.len(), model.len());
    }
}

#[test]
fn so_many_of_a_queue_are_launched_at_once_and_the_rest_goes_on_when_half_of_them_are() {
    let mut line = Line::new(None, 4);
    for queue in ["default", "other"] {
        line.set_queue("team", queue, Some(Settings::default()));
    }
    let offer = |line: &mut Line, candidate: Candidate| {
        line.offer(Offer { namespace: "team".into(), candidate, accepted: true, asks_for: None }, now());
    };
    (0..20).for_each(|number| offer(&mut line, candidate(&format!("j{number:02}"), 0, 0, number)));
    let admitted = |line: &mut Line| {
        let round = line.admit(now());
        round.admitted.iter().for_each(|(_, one)| assert!(line.confirm(&one.uid)));
        round.admitted.into_iter().map(|(_, one)| one.rank.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(admitted(&mut line), ["j00", "j01", "j02", "j03"]);
    line.launched("uid-j00");
    assert_eq!(admitted(&mut line), [""; 0], "a write is worth it for two");
    // One of another queue is not kept waiting by them, and what ends without a launch counts as well.
    offer(&mut line, Candidate { queue: "other".into(), ..candidate("elsewhere", 0, 0, 30) });
    assert_eq!(admitted(&mut line), ["elsewhere"]);
    line.release("uid-j01");
    assert_eq!(admitted(&mut line), ["j04", "j05"]);
    // What is told twice is counted once.
    (0..3).for_each(|_| line.launched("uid-j02"));
    assert_eq!(admitted(&mut line), [""; 0]);
    line.launched("uid-j03");
    assert_eq!(admitted(&mut line), ["j06", "j07"]);
}

#[test]
fn a_queue_that_cannot_be_written_takes_no_place_and_then_one_at_a_time() {
    let mut line = Line::new(Some(3), 200);
    let offer = |namespace: &str, name: &str| Offer {
        namespace: namespace.into(),
        candidate: candidate(&format!("{namespace}-{name}"), 0, 0, 10),
        accepted: true,
        asks_for: None,
    };
    for namespace in ["bad", "good"] {
        line.set_queue(namespace, "default", Some(Settings::default()));
        ["a", "b", "c"].iter().for_each(|name| line.offer(offer(namespace, name), now()));
    }
    line.set_trust("bad", "default", Trust::None("it cannot be written".into()));
    let names = |round: Round| round.admitted.iter().map(|(_, it)| it.rank.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(line.admit(now())), ["good-a", "good-b", "good-c"]);
    assert_eq!(line.blocker("uid-bad-a", now()).unwrap().message, "it cannot be written");
    for name in ["a", "b", "c"] {
        line.confirm(&format!("uid-good-{name}"));
        line.release(&format!("uid-good-{name}"));
    }
    line.set_trust("bad", "default", Trust::OnTrial);
    assert_eq!(names(line.admit(now())), ["bad-a"]);
    assert!(line.is_used("bad", "default"));
    line.put_back("uid-bad-a", now());
    line.set_trust("bad", "default", Trust::Full);
    assert_eq!(names(line.admit(now())), ["bad-a", "bad-b", "bad-c"]);
}

#[test]
fn a_queue_that_is_made_again_is_trusted_again() {
    let mut line = Line::new(None, usize::MAX);
    line.set_queue("team", "default", Some(Settings::default()));
    line.set_trust("team", "default", Trust::None("it cannot be written".into()));
    line.offer(
        Offer { namespace: "team".into(), candidate: candidate("a", 0, 0, 1), accepted: true, asks_for: None },
        now(),
    );
    assert!(line.admit(now()).admitted.is_empty());
    line.set_queue("team", "default", None);
    line.set_queue("team", "default", Some(Settings::default()));
    assert_eq!(line.admit(now()).admitted.len(), 1);
}

/// What an earlier leader admitted takes its places, and is asked about before it is launched.
#[test]
fn what_was_admitted_is_held_up_by_a_pause_and_by_a_limit_that_was_lowered() {
    let mut line = Line::new(None, 200);
    let settings =
        |max_running: Option<u32>, paused: Option<Pause>| Settings { max_running, paused, ..Settings::default() };
    let held_up = |line: &Line| line.is_held_up("uid-x", now());
    for name in ["x", "y"] {
        let mut place = occupant(name);
        place.limits = [report()].into();
        line.occupy("team", &format!("uid-{name}"), place);
    }
    line.set_queue("team", "default", Some(settings(Some(2), None)));
    assert!(!held_up(&line) && !line.is_held_up("uid-nobody", now()));
    line.set_queue("team", "default", Some(settings(Some(1), None)));
    assert!(held_up(&line), "the limit was lowered");
    line.set_queue("team", "default", Some(settings(None, Some(pause(None)))));
    assert!(held_up(&line), "the queue is paused");
    line.set_queue("team", "default", Some(settings(None, None)));
    assert!(!held_up(&line));
    let of_namespace = Pause { scope: Some(PauseScope::Namespace), ..pause(None) };
    line.set_queue("team", "other", Some(settings(None, Some(of_namespace))));
    assert!(held_up(&line), "the namespace is paused");
    line.set_queue("team", "other", None);
    line.set_max("team", &report(), Some(1));
    assert!(held_up(&line), "the template runs more than it may");
    line.set_max("team", &report(), Some(2));
    assert!(!held_up(&line));
}
