//! Random edits, toggles, crashes and steps of the clock, against a reference that is nothing but a list of instants.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

/// The timings between which an edit chooses, as an interval in seconds from midnight; a whole number of seconds each.
const TIMINGS: [i64; 3] = [20, 30, 45];

#[derive(Clone, Debug)]
enum Event {
    /// Time passes.
    Pass(i64),
    /// The operator looks, and is gone after so many effects, if that is fewer than there are.
    Look(Option<usize>),
    /// The timing becomes another one.
    Edit(usize),
    /// It is turned on or off.
    Toggle,
    /// It is turned off by setting a field, or on by removing it, of which the API server tells no time.
    ToggleByRemoval,
    /// Something else is edited.
    EditPriority,
    /// The clock is set.
    Step(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1i64..70).prop_map(Event::Pass),
        5 => prop::option::weighted(0.3, 0usize..4).prop_map(Event::Look),
        2 => (0usize..TIMINGS.len()).prop_map(Event::Edit),
        1 => Just(Event::Toggle),
        2 => Just(Event::ToggleByRemoval),
        1 => Just(Event::EditPriority),
        1 => prop_oneof![Just(-3_600i64), Just(-30), Just(25), Just(3_600)].prop_map(Event::Step),
    ]
}

/// The reference: the instants that are owed an outcome, and how many each has.
struct World {
    case: Case,
    now: Timestamp,
    /// The timing that the operator knows, in seconds, and from when on it counts, if it is enabled. What was edited and
    /// edited again before the operator saw it was never known to it.
    known: (i64, Option<Timestamp>),
    /// When the schedule was last edited, how often since the operator has taken an edit in, and whether the API server tells
    /// the time of the last one.
    edited: Timestamp,
    edits: u32,
    timed: bool,
    /// The last time of an edit that the operator has taken in.
    stamp_seen: Timestamp,
    /// When its timing was last edited or it was last turned on or off, unless the clock was set since.
    turned: Option<Timestamp>,
    owed: BTreeSet<Timestamp>,
    /// What had come when the operator looked; after a step back of the clock it may not have come any more.
    came: BTreeSet<Timestamp>,
    outcomes: BTreeMap<Timestamp, usize>,
    runs: BTreeMap<String, JobRun>,
    /// Whether the operator was gone before it could write down what it had accounted for.
    lost: bool,
}

impl World {
    fn new(policy: &str) -> Self {
        let spec = format!("interval: {}s, anchor: '2026-03-01T00:00:00Z', catchUp: {{policy: {policy}}}", TIMINGS[0]);
        let mut world = Self {
            case: new(&spec),
            now: at("00:00"),
            known: (TIMINGS[0], Some(at("00:00"))),
            edited: at("00:00"),
            edits: 0,
            timed: true,
            stamp_seen: at("00:00"),
            turned: None,
            owed: BTreeSet::new(),
            came: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            runs: BTreeMap::new(),
            lost: false,
        };
        world.look(None);
        world
    }

    /// The timing as it is now, in seconds.
    fn every(&self) -> i64 {
        self.case.schedule.spec.interval.as_ref().unwrap().trim_end_matches('s').parse().unwrap()
    }

    fn edit(&mut self, change: impl FnOnce(&mut Schedule)) {
        self.case.edit(change);
        // Of managedFields the latest time is taken, also when the clock was set back since.
        self.timed = self.case.edits.stamped.is_none_or(|stamped| stamped < self.now);
        self.case.edits.stamped = self.case.edits.stamped.max(Some(self.now));
        self.edited = self.now;
        self.edits += 1;
    }

    /// When the last edit was made, as far as it can be told: at the latest it is now that it is seen.
    fn edited(&self) -> Timestamp {
        let is_told = self.edits == 0 || self.edits == 1 && self.timed && self.edited > self.stamp_seen;
        if is_told { self.edited } else { self.now }
    }

    /// The operator has seen an edit: what the timing that it knew owed up to then is on the list, and another one counts.
    fn seen(&mut self, dealt_with: Timestamp) {
        let enabled = is_enabled(&self.case.schedule);
        let (every, since) = self.known;
        if every == self.every() && enabled == since.is_some() {
            return;
        }
        let until = self.edited().min(self.now);
        if let Some(since) = since {
            self.owed.extend(instants(every, since, until));
        }
        self.known = (self.every(), enabled.then_some(until.max(dealt_with)));
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Pass(seconds) => self.now += SignedDuration::from_secs(*seconds),
            Event::Step(seconds) => {
                if *seconds < 0 && self.lost {
                    // Known limit (docs/time.md): a record that lies in the future of a clock that was set back is found by
                    // its first time only, which an edit meanwhile may pass over.
                    self.look(None);
                }
                self.now = (self.now + SignedDuration::from_secs(*seconds)).max(at("00:00"));
                self.turned = None;
            }
            Event::Edit(index) if TIMINGS[*index] == self.every() => {}
            Event::Edit(index) => {
                self.edit(|schedule| schedule.spec.interval = Some(format!("{}s", TIMINGS[*index])));
                self.turned = Some(self.now);
            }
            Event::Toggle => {
                self.edit(|schedule| schedule.spec.enabled = Some(!is_enabled(schedule)));
                self.turned = Some(self.now);
            }
            Event::ToggleByRemoval => {
                let off = is_enabled(&self.case.schedule).then_some(false);
                let stamped = self.case.edits.stamped;
                let by_removal = off.is_none() && self.case.schedule.spec.enabled == Some(false);
                self.edit(|schedule| schedule.spec.enabled = off);
                if by_removal {
                    self.case.edits.stamped = stamped;
                    self.timed = false;
                }
                self.turned = Some(self.now);
            }
            Event::EditPriority => {
                self.edit(|schedule| schedule.spec.priority = Some(schedule.spec.priority.unwrap_or_default() + 1));
            }
            Event::Look(crash) => self.look(*crash),
        }
    }

    /// The operator decides and acts as its shell does, until it is gone or there is nothing more to do.
    fn look(&mut self, crash: Option<usize>) {
        if let (every, Some(since)) = self.known {
            self.came.extend(instants(every, since, self.now));
        }
        if is_enabled(&self.case.schedule) {
            self.came.extend(instants(self.every(), self.edited(), self.now));
        }
        let mut left = crash.unwrap_or(usize::MAX);
        for _ in 0..20 {
            let decision = self.case.decide(self.now);
            let mut again = false;
            for effect in &decision.plan.effects {
                if left == 0 {
                    self.gone();
                    return;
                }
                left -= 1;
                if let Some(until) = self.apply(effect) {
                    self.case.status.accounted_until = Some(micro(until));
                    again = true;
                    break;
                }
            }
            if again {
                continue;
            }
            if left == 0 {
                self.gone();
                return;
            }
            let dealt_with = self.case.status.accounted_until.as_ref().map_or(self.now, |until| until.0);
            self.case.status = decision.plan.status.unwrap();
            if self.case.status.observed_generation == self.case.schedule.metadata.generation {
                self.seen(dealt_with);
                self.edits = 0;
                self.stamp_seen = self.stamp_seen.max(self.case.edits.stamped.unwrap_or(self.stamp_seen));
            }
            self.case.jobs.retain(|job| job.scheduled_time > Some(self.now));
            if decision.plan.wake_at.is_none_or(|wake| wake > self.now) {
                self.lost = false;
                break;
            }
        }
    }

    fn gone(&mut self) {
        self.case.leading_since = self.now;
        self.lost = true;
    }

    /// Makes one change as the writer does. Answers until when an earlier process accounted, if it did otherwise.
    fn apply(&mut self, effect: &Effect) -> Option<Timestamp> {
        match effect {
            Effect::CreateJob { job, unless_run, .. } => {
                if let Some(found) = unless_run.as_ref().and_then(|name| self.runs.get(name)) {
                    return recorded_until(effect, found);
                }
                let time = job.spec.scheduled_time.as_ref().unwrap().0;
                if !self.case.jobs.iter().any(|own| own.scheduled_time == Some(time)) {
                    assert!(self.turned.is_none_or(|turned| time > turned), "I7: {time} fired after {:?}", self.turned);
                    *self.outcomes.entry(time).or_default() += 1;
                    self.case.jobs.push(own(job));
                }
                None
            }
            Effect::CreateRun(run) => {
                let name = run.metadata.name.clone().unwrap();
                if let Some(found) = self.runs.get(&name) {
                    return recorded_until(effect, found);
                }
                let first = run.spec.scheduled_time.as_ref().unwrap().0;
                let status = run.status.as_ref().unwrap();
                let last = status.last_scheduled_time.as_ref().map_or(first, |last| last.0);
                let count = status.count.unwrap_or(1);
                let every = if status.reason == Reason::ScheduleEdited { self.known.0 } else { self.every() };
                let before = first.saturating_add_ms(-1);
                let covered = instants(every, before, last);
                assert_eq!(covered.len() as u64, count, "{} from {first} to {last}", status.reason.as_str());
                for time in covered {
                    *self.outcomes.entry(time).or_default() += 1;
                }
                self.runs.insert(name, (**run).clone());
                None
            }
            other => panic!("a schedule without overlap never does this: {other:?}"),
        }
    }
}

/// The instants of a timing in a range, one after the other.
fn instants(every: i64, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let mut second = at("00:00").as_second();
    let mut list = Vec::new();
    while second <= until.as_second() {
        let instant = Timestamp::from_second(second).unwrap();
        if instant > after {
            list.push(instant);
        }
        second += every;
    }
    list
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every instant on the list has exactly one outcome in the end, and nothing else has any.
    #[test]
    fn every_instant_that_was_owed_has_one_outcome(
        policy in prop_oneof![Just("None"), Just("Latest"), Just("All")],
        events in prop::collection::vec(event(), 1..40),
    ) {
        let mut world = World::new(policy);
        for event in &events {
            world.happen(event);
        }
        world.look(None);
        let accounted = world.case.status.accounted_until.as_ref().unwrap().0;
        if let (every, Some(since)) = world.known {
            world.owed.extend(instants(every, since, world.now.max(accounted)));
        }
        for (time, count) in &world.outcomes {
            prop_assert_eq!(*count, 1, "{} has more than one outcome", time);
            prop_assert!(world.owed.contains(time) || world.came.contains(time), "{} was not owed", time);
        }
        let without: Vec<_> = world.owed.iter().filter(|time| !world.outcomes.contains_key(*time)).collect();
        prop_assert!(without.is_empty(), "no outcome: {:?}", without);
    }
}
