//! Work: runs a function for each key that asks for attention, one run a key at a time.
//!
//! A failure is tried again after a delay that doubles for that key alone. No namespace takes more than half of the places that
//! are free, and a run that takes long gives its place back and goes on beside the others, so that namespaces whose requests
//! hang delay no other one for longer than [`SLOW_AFTER`] (I9). How many such runs there are is bounded, for each namespace too.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::store::Key;

/// The delay after the first failure.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest delay after failures.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// From when on a run does not count among those under way: it waits for an answer that may never come.
const SLOW_AFTER: Duration = Duration::from_secs(1);
/// How many times as many slow runs there may be as places; a quarter of the places is what one namespace may have of them.
const SLOW_FACTOR: usize = 8;

/// What a run asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until something happens.
    Wait,
    /// Another run after a delay, or earlier if something happens.
    After(Duration),
    /// Another run after a delay that grows with each failure in a row.
    Failed,
}

/// Asks for runs. Cheap to clone.
#[derive(Clone)]
pub struct Trigger {
    sender: mpsc::UnboundedSender<Ask>,
}

/// The receiving end of a [`Trigger`].
pub struct Triggers {
    receiver: mpsc::UnboundedReceiver<Ask>,
}

/// A key, and from when on it may be run.
struct Ask {
    key: Key,
    from: Option<Instant>,
}

/// A trigger and its receiving end. The channel is unbounded because it is drained without waiting, into a set.
pub fn channel() -> (Trigger, Triggers) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Trigger { sender }, Triggers { receiver })
}

impl Trigger {
    /// Asks for a run of that key, as soon as there is a place.
    pub fn trigger(&self, key: Key) {
        // Nobody listens any more only while the program ends.
        let _ = self.sender.send(Ask { key, from: None });
    }

    /// Asks for a run of that key within a time, so that what happens often has one run for all that came meanwhile.
    pub fn trigger_within(&self, key: Key, delay: Duration) {
        let from = (!delay.is_zero()).then(|| Instant::now() + delay);
        let _ = self.sender.send(Ask { key, from });
    }
}

/// Runs `work` for every key asked for, at most `places` at once, until told to halt; then waits for what is under way.
pub async fn run<F, R>(mut triggers: Triggers, places: usize, mut halt: watch::Receiver<bool>, work: F)
where
    F: Fn(Key) -> R,
    R: Future<Output = Next> + Send + 'static,
{
    let mut state = State::new(places);
    let mut running: JoinSet<(Key, Next)> = JoinSet::new();
    let mut tasks: HashMap<tokio::task::Id, Key> = HashMap::new();
    loop {
        // Neither what has ended nor what is asked for waits for the other, however much there is of it.
        while let Some(ended) = running.try_join_next_with_id() {
            take_end(ended, &mut tasks, &mut state);
        }
        while let Some(key) = state.start(Instant::now()) {
            let run = work(key.clone());
            let name = key.clone();
            let handle = running.spawn(async move { (name, run.await) });
            tasks.insert(handle.id(), key);
        }
        let timer = [state.next_timer(), state.next_slow()].into_iter().flatten().min();
        tokio::select! {
            biased;
            _ = halt.wait_for(|halt| *halt) => break,
            received = triggers.receiver.recv() => match received {
                Some(ask) => {
                    state.take(ask);
                    while let Ok(ask) = triggers.receiver.try_recv() {
                        state.take(ask);
                    }
                }
                None => break,
            },
            Some(ended) = running.join_next_with_id() => take_end(ended, &mut tasks, &mut state),
            () = sleep_until(timer) => state.fire(Instant::now()),
        }
    }
    while running.join_next().await.is_some() {}
}

/// Takes note that a run has ended.
fn take_end(
    ended: Result<(tokio::task::Id, (Key, Next)), tokio::task::JoinError>,
    tasks: &mut HashMap<tokio::task::Id, Key>,
    state: &mut State,
) {
    match ended {
        Ok((id, (key, next))) => {
            tasks.remove(&id);
            state.ended(key, next, Instant::now());
        }
        Err(error) => {
            // A panic concerns one object: it is logged and tried again, slower each time.
            if let Some(key) = tasks.remove(&error.id()) {
                tracing::error!(%key, %error, "work ended abnormally");
                state.ended(key, Next::Failed, Instant::now());
            }
        }
    }
}

async fn sleep_until(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A run that is under way.
struct Run {
    /// Whether it was asked for again meanwhile.
    again: bool,
    /// When it began, if it still takes a place.
    place: Option<(Instant, u64)>,
}

/// The runs of a namespace.
#[derive(Clone, Copy, Default)]
struct Running {
    placed: usize,
    slow: usize,
}

struct State {
    places: usize,
    ready: HashMap<String, VecDeque<Key>>,
    turn: VecDeque<String>,
    queued: HashSet<Key>,
    /// Running keys.
    running: HashMap<Key, Run>,
    /// Those of them that take a place, by when they began.
    placed: BTreeMap<(Instant, u64), Key>,
    /// Running keys that are to run again at that time.
    later: HashMap<Key, Instant>,
    /// How many of a namespace take a place, and how many are slow.
    running_in: HashMap<String, Running>,
    timers: BTreeMap<(Instant, u64), Key>,
    timer_of: HashMap<Key, (Instant, u64)>,
    sequence: u64,
    failures: HashMap<Key, u32>,
}

impl State {
    fn new(places: usize) -> Self {
        Self {
            places,
            ready: HashMap::new(),
            turn: VecDeque::new(),
            queued: HashSet::new(),
            running: HashMap::new(),
            placed: BTreeMap::new(),
            later: HashMap::new(),
            running_in: HashMap::new(),
            timers: BTreeMap::new(),
            timer_of: HashMap::new(),
            sequence: 0,
            failures: HashMap::new(),
        }
    }

    fn take(&mut self, ask: Ask) {
        match ask.from {
            None => self.ask(ask.key),
            Some(from) => self.ask_later(ask.key, from),
        }
    }

    /// Has a key run at that time, unless it runs or is to run before.
    fn ask_later(&mut self, key: Key, from: Instant) {
        if let Some(run) = self.running.get(&key) {
            // It may not have seen what happened.
            if !run.again {
                self.later.entry(key).or_insert(from);
            }
            return;
        }
        if self.failures.contains_key(&key) && self.timer_of.contains_key(&key) {
            return;
        }
        let sooner = self.timer_of.get(&key).is_some_and(|(at, _)| *at <= from);
        if !sooner && !self.queued.contains(&key) {
            self.set_timer(key, from);
        }
    }

    fn ask(&mut self, key: Key) {
        if let Some(run) = self.running.get_mut(&key) {
            run.again = true;
            return;
        }
        if self.failures.contains_key(&key) && self.timer_of.contains_key(&key) {
            // It failed and waits for its delay: what happens meanwhile does not shorten it.
            return;
        }
        self.cancel_timer(&key);
        if self.queued.insert(key.clone()) {
            let namespace = key.namespace.clone();
            let ready = self.ready.entry(namespace.clone()).or_default();
            if ready.is_empty() {
                self.turn.push_back(namespace);
            }
            ready.push_back(key);
        }
    }

    /// The next key to run: namespaces take turns, and none takes more than half of the free places.
    fn start(&mut self, now: Instant) -> Option<Key> {
        self.slow_down(now);
        let free = self.places.saturating_sub(self.placed.len());
        let slow = self.running.len() - self.placed.len();
        if free == 0 || slow >= self.places * SLOW_FACTOR {
            return None;
        }
        // A namespace that is passed over has runs of its own under way, so there are few of them.
        for _ in 0..self.turn.len() {
            let namespace = self.turn.pop_front()?;
            let used = self.running_in.get(&namespace).copied().unwrap_or_default();
            let may = used.placed < free && used.slow < self.places.div_ceil(4);
            let taken = may.then(|| self.ready.get_mut(&namespace)?.pop_front()).flatten();
            if self.ready.get(&namespace).is_some_and(|ready| !ready.is_empty()) {
                self.turn.push_back(namespace.clone());
            } else {
                self.ready.remove(&namespace);
            }
            if let Some(key) = taken {
                self.queued.remove(&key);
                self.sequence += 1;
                let place = (now, self.sequence);
                self.placed.insert(place, key.clone());
                self.running.insert(key.clone(), Run { again: false, place: Some(place) });
                self.running_in.entry(namespace).or_default().placed += 1;
                return Some(key);
            }
        }
        None
    }

    /// Takes their places from runs that have taken long.
    fn slow_down(&mut self, now: Instant) {
        while let Some((&place, _)) = self.placed.first_key_value().filter(|((began, _), _)| *began + SLOW_AFTER <= now)
        {
            let Some(key) = self.placed.remove(&place) else { return };
            let running = self.running_in.entry(key.namespace.clone()).or_default();
            running.placed = running.placed.saturating_sub(1);
            running.slow += 1;
            if let Some(run) = self.running.get_mut(&key) {
                run.place = None;
            }
        }
    }

    /// When the next run gives its place back, if somebody waits for one.
    fn next_slow(&self) -> Option<Instant> {
        let began = self.placed.first_key_value().map(|((began, _), _)| *began)?;
        (!self.turn.is_empty()).then_some(began + SLOW_AFTER)
    }

    fn ended(&mut self, key: Key, next: Next, now: Instant) {
        let run = self.running.remove(&key);
        let again = run.as_ref().is_some_and(|run| run.again);
        let later = self.later.remove(&key);
        let place = run.and_then(|run| run.place);
        if let Some(place) = place {
            self.placed.remove(&place);
        }
        if let Some(running) = self.running_in.get_mut(&key.namespace) {
            let count = if place.is_some() { &mut running.placed } else { &mut running.slow };
            *count = count.saturating_sub(1);
            if running.placed + running.slow == 0 {
                self.running_in.remove(&key.namespace);
            }
        }
        match next {
            Next::Failed => {
                let failures = self.failures.entry(key.clone()).or_default();
                *failures = failures.saturating_add(1);
                let delay =
                    BACKOFF_MIN.saturating_mul(1u32.checked_shl(*failures - 1).unwrap_or(u32::MAX)).min(BACKOFF_MAX);
                self.set_timer(key, now + delay);
                return;
            }
            Next::After(delay) if !again => self.set_timer(key.clone(), now + delay),
            Next::After(_) | Next::Wait => {}
        }
        self.failures.remove(&key);
        match later {
            _ if again => self.ask(key),
            Some(from) => self.ask_later(key, from),
            None => {}
        }
    }

    fn fire(&mut self, now: Instant) {
        while let Some((&(at, sequence), _)) = self.timers.first_key_value() {
            if at > now {
                return;
            }
            if let Some(key) = self.timers.remove(&(at, sequence)) {
                self.timer_of.remove(&key);
                self.ask(key);
            }
        }
    }

    fn next_timer(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    fn set_timer(&mut self, key: Key, at: Instant) {
        self.cancel_timer(&key);
        self.sequence += 1;
        self.timers.insert((at, self.sequence), key.clone());
        self.timer_of.insert(key, (at, self.sequence));
    }

    fn cancel_timer(&mut self, key: &Key) {
        if let Some(timer) = self.timer_of.remove(key) {
            self.timers.remove(&timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, index: usize) -> Key {
        Key::new(namespace, format!("job-{index}"))
    }

    #[test]
    fn a_namespace_that_hangs_leaves_places_for_others() {
        let mut state = State::new(8);
        (0..100).for_each(|index| state.ask(key("hanging", index)));
        let mut started = 0;
        while state.start(Instant::now()).is_some() {
            started += 1;
        }
        assert!(started <= 4, "{started} of 8 places were taken");
        state.ask(key("healthy", 0));
        assert_eq!(state.start(Instant::now()), Some(key("healthy", 0)));
    }

    #[test]
    fn namespaces_that_hang_give_their_places_back_and_delay_nobody_for_longer() {
        let (places, begin) = (64, Instant::now());
        let mut state = State::new(places);
        let mut now = begin;
        // One after the other takes half of what is free: seven take all.
        for namespace in 0..7 {
            (0..1_000).for_each(|index| state.ask(key(&format!("hanging-{namespace}"), index)));
            while state.start(now).is_some() {}
        }
        assert_eq!(state.placed.len(), places);
        state.ask(key("healthy", 0));
        assert_eq!(state.start(now), None);
        assert_eq!(state.next_slow(), Some(begin + SLOW_AFTER), "it waits no longer than that");
        now += SLOW_AFTER;
        let started: Vec<Key> = std::iter::from_fn(|| state.start(now)).collect();
        assert!(started.contains(&key("healthy", 0)), "{} were started", started.len());
        state.ended(key("healthy", 0), Next::Wait, now);
        // However long it goes on, the runs are bounded, of each namespace too.
        for _ in 0..100 {
            now += SLOW_AFTER;
            while state.start(now).is_some() {}
        }
        let most = places.div_ceil(4) + places;
        assert!(state.running_in.values().all(|it| it.slow + it.placed <= most && it.slow < places / 4 + places));
        assert!(state.running.len() <= places * (SLOW_FACTOR + 1), "{} run", state.running.len());
    }

    #[test]
    fn with_all_places_taken_nothing_is_looked_through() {
        let mut state = State::new(1);
        (0..10).for_each(|namespace| state.ask(key(&format!("ns-{namespace}"), 0)));
        let now = Instant::now();
        assert_eq!(state.start(now), Some(key("ns-0", 0)));
        let turn = state.turn.clone();
        assert_eq!(state.start(now), None);
        assert_eq!(state.turn, turn, "the round was not turned");
        state.ended(key("ns-0", 0), Next::Wait, now);
        assert_eq!(state.start(now), Some(key("ns-1", 0)), "it goes on where it was");
    }

    #[test]
    fn a_key_runs_once_at_a_time_and_again_if_asked_meanwhile() {
        let mut state = State::new(8);
        state.ask(key("ns", 0));
        state.ask(key("ns", 0));
        assert_eq!(state.start(Instant::now()), Some(key("ns", 0)));
        assert_eq!(state.start(Instant::now()), None);
        state.ask(key("ns", 0));
        assert_eq!(state.start(Instant::now()), None);
        state.ended(key("ns", 0), Next::Wait, Instant::now());
        assert_eq!(state.start(Instant::now()), Some(key("ns", 0)));
        state.ended(key("ns", 0), Next::Wait, Instant::now());
        assert_eq!(state.start(Instant::now()), None);
    }

    #[test]
    fn what_may_wait_runs_once_for_all_that_came_meanwhile() {
        let mut state = State::new(8);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        (1..100).for_each(|seconds| state.ask_later(key("ns", 0), at(seconds)));
        assert_eq!((state.start(start), state.next_timer()), (None, Some(at(1))), "the first asked sets the time");
        state.fire(at(1));
        assert_eq!(state.start(start), Some(key("ns", 0)));
        state.ask_later(key("ns", 0), at(2));
        state.ask_later(key("ns", 0), at(3));
        state.ended(key("ns", 0), Next::After(Duration::from_secs(60)), at(1));
        assert_eq!((state.start(start), state.next_timer()), (None, Some(at(2))), "what came while it ran");
        state.ask(key("ns", 0));
        assert_eq!((state.start(start), state.next_timer()), (Some(key("ns", 0)), None), "what may not wait does not");
        state.ended(key("ns", 0), Next::Wait, at(2));
        assert_eq!((state.start(start), state.next_timer()), (None, None), "and it saw all that came before");
        state.ask(key("ns", 0));
        state.ask_later(key("ns", 0), at(4));
        assert_eq!((state.start(start), state.next_timer()), (Some(key("ns", 0)), None));
    }

    #[test]
    fn failures_in_a_row_wait_longer_each_and_what_happens_meanwhile_does_not_shorten_it() {
        let mut state = State::new(8);
        let mut now = Instant::now();
        let mut delays = Vec::new();
        for _ in 0..12 {
            state.ask(key("ns", 0));
            assert_eq!(state.start(Instant::now()), Some(key("ns", 0)));
            state.ended(key("ns", 0), Next::Failed, now);
            state.ask(key("ns", 0));
            assert_eq!(state.start(Instant::now()), None);
            let due = state.next_timer().unwrap();
            delays.push((due - now).as_millis());
            now = due;
            state.fire(now);
            state.queued.clear();
            state.ready.clear();
            state.turn.clear();
        }
        assert_eq!(&delays[..4], &[100, 200, 400, 800]);
        assert_eq!(delays.last(), Some(&60_000));
    }

    #[tokio::test]
    async fn a_panic_in_one_run_concerns_that_key_alone() {
        let (trigger, triggers) = channel();
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let (_halt, halted) = watch::channel(false);
        let runner = tokio::spawn(run(triggers, 4, halted, move |key| {
            let sender = sender.clone();
            async move {
                assert_ne!(key.name, "job-0", "this one panics on purpose");
                let _ = sender.send(key);
                Next::Wait
            }
        }));
        trigger.trigger(key("ns", 0));
        trigger.trigger(key("ns", 1));
        assert_eq!(receiver.recv().await, Some(key("ns", 1)));
        trigger.trigger(key("ns", 2));
        assert_eq!(receiver.recv().await, Some(key("ns", 2)));
        runner.abort();
    }
}
