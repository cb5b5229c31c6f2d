//! The line against a plain sorted list, over random histories: arrivals, edits, moves, endings, limits raised and lowered,
//! pauses, failed writes, restarts, several namespaces under a limit for the cluster, aging.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::api::queue::PauseScope;

const NAMESPACES: usize = 3;
const QUEUES: usize = 2;
const LIMITS: usize = 4;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Happening {
    /// A Job comes, or one that waits is edited: namespace, name, queue, priority, position, limits.
    Offer(usize, usize, usize, i32, Option<i64>, BTreeSet<usize>),
    /// A waiting Job is held, cancelled or deleted, or a running one ends.
    Gone(usize),
    /// A queue gets a limit, a pause, aging, or is deleted.
    Queue(usize, usize, Option<Setting>),
    /// A template gets a limit.
    Limit(usize, usize, Option<u32>),
    /// Time passes.
    Time(i64),
    /// A round; so many of the writes of what it admits fail.
    Round(usize),
    /// Another process begins, and is told all anew.
    Restart,
}

#[derive(Clone, Debug)]
struct Setting {
    max_running: Option<u32>,
    paused: Option<(u8, Option<i64>)>,
    aging: Option<(i64, u32)>,
}

/// The same, with nothing but lists.
#[derive(Default)]
struct Model {
    now: i64,
    ceiling: Option<u32>,
    queues: BTreeMap<(usize, usize), Settings>,
    limits: BTreeMap<(usize, usize), Option<u32>>,
    waiting: Vec<(usize, Candidate)>,
    running: Vec<(usize, Candidate)>,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn limit(number: usize) -> Limit {
    Limit::Template(format!("limit-{number}"))
}

impl Model {
    fn settings(&self, namespace: usize, candidate: &Candidate) -> Option<&Settings> {
        let queue: usize = candidate.queue.trim_start_matches('q').parse().unwrap();
        self.queues.get(&(namespace, queue))
    }

    fn pauses(&self, scope: PauseScope, namespace: Option<usize>) -> bool {
        self.queues.iter().any(|((space, _), settings)| {
            let pause = settings.paused.as_ref().filter(|pause| pause.scope == Some(scope));
            namespace.is_none_or(|it| it == *space)
                && pause.is_some_and(|it| it.until.as_ref().is_none_or(|until| until.0 > at(self.now)))
        })
    }

    fn may_run(&self, namespace: usize, one: &Candidate) -> bool {
        let count = |same: &dyn Fn(usize, &Candidate) -> bool| {
            u32::try_from(self.running.iter().filter(|(space, other)| same(*space, other)).count()).unwrap()
        };
        let Some(settings) = self.settings(namespace, one) else { return false };
        let paused = settings.paused.as_ref();
        let paused = paused.is_some_and(|it| it.until.as_ref().is_none_or(|until| until.0 > at(self.now)));
        let limits = one.limits.iter().all(|limit| {
            let number: usize = (0..LIMITS).find(|number| super::history::limit(*number) == *limit).unwrap();
            self.limits
                .get(&(namespace, number))
                .copied()
                .flatten()
                .is_none_or(|max| count(&|space, other| space == namespace && other.limits.contains(limit)) < max)
        });
        !paused
            && !self.pauses(PauseScope::Cluster, None)
            && !self.pauses(PauseScope::Namespace, Some(namespace))
            && settings
                .max_running
                .is_none_or(|max| count(&|space, other| space == namespace && other.queue == one.queue) < max)
            && limits
            && self.ceiling.is_none_or(|max| count(&|_, _| true) < max)
    }

    fn rank(&self, namespace: usize, candidate: &Candidate) -> Rank {
        let aging = self.settings(namespace, candidate).and_then(|it| it.aging.as_ref());
        aged(&candidate.rank, aging, at(self.now)).0
    }

    /// The next to run: of the namespace that runs least, the first in rank that may.
    fn next(&self) -> Option<(usize, Candidate)> {
        let running = |namespace: usize| self.running.iter().filter(|(space, _)| *space == namespace).count();
        let may = self.waiting.iter().filter(|(namespace, one)| self.may_run(*namespace, one));
        may.min_by_key(|(namespace, one)| (running(*namespace), *namespace, self.rank(*namespace, one))).cloned()
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    let setting = (
        prop::option::of(0u32..4),
        prop::option::weighted(0.2, (0u8..3, prop::option::of(0i64..200))),
        prop::option::weighted(0.3, (1i64..20, 1u32..5)),
    )
        .prop_map(|(max_running, paused, aging)| Setting { max_running, paused, aging });
    let limits = prop::collection::btree_set(0..LIMITS, 0..3);
    prop_oneof![
        8 => (0..NAMESPACES, 0usize..30, 0..QUEUES, -2i32..3, prop::option::of(0i64..5), limits)
            .prop_map(|(space, name, queue, priority, position, limits)| Happening::Offer(space, name, queue, priority, position, limits)),
        5 => (0usize..40).prop_map(Happening::Gone),
        2 => (0..NAMESPACES, 0..QUEUES, prop::option::weighted(0.9, setting)).prop_map(|(space, queue, to)| Happening::Queue(space, queue, to)),
        2 => (0..NAMESPACES, 0..LIMITS, prop::option::of(0u32..3)).prop_map(|(space, number, max)| Happening::Limit(space, number, max)),
        2 => (1i64..30).prop_map(Happening::Time),
        6 => (0usize..3).prop_map(Happening::Round),
        1 => Just(Happening::Restart),
    ]
}

fn settings(setting: &Setting, now: i64) -> Settings {
    let scope = |number: u8| match number {
        0 => PauseScope::Queue,
        1 => PauseScope::Namespace,
        _ => PauseScope::Cluster,
    };
    Settings {
        max_running: setting.max_running,
        paused: setting.paused.map(|(number, until)| Pause {
            scope: Some(scope(number)),
            ..pause(until.map(|seconds| at(now + seconds)))
        }),
        aging: setting.aging.map(|(interval_seconds, maximum_increase)| Aging { interval_seconds, maximum_increase }),
        depth: None,
    }
}

/// A process with its line, beside the model.
struct Both {
    line: Line,
    model: Model,
}

impl Both {
    fn offer(&mut self, namespace: usize, candidate: Candidate) {
        let offer = Offer { namespace: format!("n{namespace}").into(), candidate, accepted: true, asks_for: None };
        self.line.offer(offer, at(self.model.now));
    }

    fn restart(&mut self) {
        self.line = Line::new(self.model.ceiling, usize::MAX);
        for ((namespace, queue), settings) in self.model.queues.clone() {
            self.line.set_queue(&format!("n{namespace}"), &format!("q{queue}"), Some(settings));
        }
        for ((namespace, number), max) in self.model.limits.clone() {
            self.line.set_max(&format!("n{namespace}"), &limit(number), max);
        }
        for (namespace, one) in self.model.running.clone() {
            self.line.occupy(&format!("n{namespace}"), &one.uid, one.places());
        }
        for (namespace, one) in self.model.waiting.clone() {
            self.offer(namespace, one);
        }
    }

    fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Offer(namespace, name, queue, priority, position, limits) => {
                let name: Arc<str> = format!("n{namespace}-j{name}").into();
                let uid: Arc<str> = format!("uid-{name}").into();
                if self.model.running.iter().any(|(_, one)| one.uid == uid) {
                    return;
                }
                let before = self.model.waiting.iter().position(|(_, one)| one.uid == uid);
                let queued_at = before.map_or(at(self.model.now), |index| self.model.waiting[index].1.rank.queued_at);
                let position = position.map_or(Position::at(queued_at), Position::from);
                let rank = Rank { priority: Reverse(*priority), position, place: 0, queued_at, name };
                let limits = limits.iter().map(|number| limit(*number)).collect();
                let one = Candidate { rank, uid, attempt: 1, queue: format!("q{queue}").into(), limits };
                self.model.waiting.extend(before.is_none().then(|| (*namespace, one.clone())));
                if let Some(index) = before {
                    self.model.waiting[index].1 = one.clone();
                }
                self.offer(*namespace, one);
            }
            Happening::Gone(number) => {
                let waiting = self.model.waiting.len();
                if *number < waiting {
                    let (_, one) = self.model.waiting.remove(*number);
                    self.line.withdraw(&one.uid);
                } else if number - waiting < self.model.running.len() {
                    let (_, one) = self.model.running.remove(number - waiting);
                    self.line.release(&one.uid);
                }
            }
            Happening::Queue(namespace, queue, setting) => {
                let to = setting.as_ref().map(|setting| settings(setting, self.model.now));
                self.line.set_queue(&format!("n{namespace}"), &format!("q{queue}"), to.clone());
                self.model.queues.remove(&(*namespace, *queue));
                self.model.queues.extend(to.map(|to| ((*namespace, *queue), to)));
            }
            Happening::Limit(namespace, number, max) => {
                self.model.limits.insert((*namespace, *number), *max);
                self.line.set_max(&format!("n{namespace}"), &limit(*number), *max);
            }
            Happening::Time(seconds) => self.model.now += seconds,
            Happening::Restart => self.restart(),
            Happening::Round(_) => {}
        }
    }

    /// A round of both. Of what is admitted the last few writes fail.
    fn round(&mut self, failed: usize) {
        let now = at(self.model.now);
        let round = self.line.admit(now);
        assert!(round.dropped.is_empty());
        for (index, (namespace, candidate)) in round.admitted.iter().enumerate() {
            let (space, next) =
                self.model.next().unwrap_or_else(|| panic!("nothing may run, and {candidate:?} is admitted"));
            assert_eq!(
                (namespace.as_ref(), candidate.uid.as_ref()),
                (format!("n{space}").as_str(), next.uid.as_ref()),
                "number {index}"
            );
            let place = self.model.waiting.iter().position(|(_, one)| one.uid == next.uid).unwrap();
            let moved = self.model.waiting.remove(place);
            self.model.running.push(moved);
        }
        assert_eq!(self.model.next(), None, "something may run, and is not admitted");
        let kept = round.admitted.len().saturating_sub(failed);
        for (index, (_, candidate)) in round.admitted.iter().enumerate() {
            if index < kept {
                assert!(self.line.confirm(&candidate.uid));
            } else {
                self.line.put_back(&candidate.uid, now);
                let place = self.model.running.iter().position(|(_, one)| one.uid == candidate.uid).unwrap();
                let moved = self.model.running.remove(place);
                self.model.waiting.push(moved);
            }
        }
    }

    /// What every waiting Job says it waits for is so.
    fn check_blockers(&self) {
        for (namespace, one) in &self.model.waiting {
            let blocker = self.line.blocker(&one.uid, at(self.model.now));
            assert_eq!(blocker.is_none(), self.model.may_run(*namespace, one), "{one:?}: {blocker:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(400), ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_next_is_the_first_of_a_sorted_list_that_may_run(
        ceiling in prop::option::of(0u32..6),
        happenings in prop::collection::vec(happening(), 1..120),
    ) {
        let mut both = Both { line: Line::new(ceiling, usize::MAX), model: Model { now: 1_000, ceiling, ..Model::default() } };
        for namespace in 0..NAMESPACES {
            for queue in 0..QUEUES {
                let setting = Setting { max_running: Some(2), paused: None, aging: None };
                both.happen(&Happening::Queue(namespace, queue, Some(setting)));
            }
        }
        for happening in &happenings {
            both.happen(happening);
            if let Happening::Round(failed) = happening {
                both.round(*failed);
                both.check_blockers();
            }
        }
        both.round(0);
    }
}
