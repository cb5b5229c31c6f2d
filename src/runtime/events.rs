//! Events: sends what there is to tell to the API server, one after the other for each namespace.
//!
//! A namespace whose events hang, as before a webhook that does not answer, holds up those of no other one, and its own for no
//! longer than one request may take.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::ObjectReference as Target;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::clock::now;
use super::lease::Leadership;
use super::metrics::Metrics;
use crate::domain::conditions::{micro, shorten};
use crate::domain::names;
use crate::domain::plan::{Note, Pace};

/// How long one event may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How many namespaces have an event under way at once.
const AT_ONCE: usize = 16;
/// How many events of one namespace may wait; more are dropped and counted.
const WAITING_MAX: usize = 256;
/// The longest text of an event, in bytes.
const TEXT_MAX: usize = 1_000;
/// The controller that events name.
const CONTROLLER: &str = "rota.dev/operator";
/// How long a sentence that is said again about the same object is counted in the event that said it first.
const SERIES_TIME: Duration = Duration::from_secs(360);
/// How long what comes every few seconds is counted before the count is written.
const COUNT_TIME: Duration = Duration::from_secs(300);
/// How the sentence begins of an event that stands for others of its reason; Kubernetes says it so.
const COMBINED: &str = "(combined from similar events): ";
/// How many events are remembered for that.
const REMEMBERED_MAX: usize = 4_096;
/// How long the name of an object may be within the name of its event: the API server allows 253 characters in all.
const NAME_MAX: usize = 253 - 17;

/// Sends what comes in, until nothing can come any more.
pub async fn send(
    client: Client,
    identity: String,
    leadership: Leadership,
    metrics: Arc<Metrics>,
    mut incoming: mpsc::Receiver<(Target, Note)>,
) {
    let recorder = Recorder { client, identity, said: Mutex::default() };
    let mut turns = Turns::default();
    let mut under_way = FuturesUnordered::new();
    loop {
        while let Some((namespace, (target, note))) = turns.next() {
            let (recorder, leadership) = (&recorder, &leadership);
            under_way.push(async move {
                if leadership.is_leader() {
                    publish(recorder, &target, note).await;
                }
                namespace
            });
        }
        tokio::select! {
            biased;
            Some(namespace) = under_way.next() => turns.ended(&namespace),
            received = incoming.recv() => match received {
                Some((target, note)) => {
                    let namespace = target.namespace.clone().unwrap_or_default();
                    if !turns.wait(namespace, (target, note)) {
                        metrics.event_dropped();
                    }
                }
                None => return,
            },
        }
    }
}

/// Writes events. The recorder of the library joins those of one reason into a series under the sentence of the first, and gives
/// objects with long names none.
struct Recorder {
    client: Client,
    identity: String,
    said: Mutex<HashMap<Saying, Said>>,
}

/// What makes two events the same: the object, the reason and the sentence, which is left out where sentences of many times
/// would be as many events.
type Saying = (Option<String>, &'static str, Option<String>);

/// An event that was written.
#[derive(Clone)]
struct Said {
    name: String,
    count: i32,
    /// Whether it stands for others of its reason.
    is_combined: bool,
    /// When it was said last.
    at: Instant,
    /// When that was last written.
    written_at: Instant,
}

/// What becomes of something that is to be said.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is an event.
    New,
    /// It is an event that stands for what follows.
    Combine,
    /// It is counted in an event: how often that was said.
    Count(i32),
    /// It is counted here, and written later.
    Wait(i32),
}

/// What becomes of something that was said so before.
fn step(said: Option<&Said>, pace: Pace, now: Instant) -> Step {
    let Some(said) = said else { return Step::New };
    let count = said.count.saturating_add(1);
    match pace {
        Pace::Flood if !said.is_combined => Step::Combine,
        Pace::Flood if now.saturating_duration_since(said.written_at) < COUNT_TIME => Step::Wait(count),
        _ => Step::Count(count),
    }
}

impl Recorder {
    async fn publish(&self, target: &Target, note: Note) -> kube::Result<()> {
        let is_flood = note.pace == Pace::Flood;
        let saying = (target.uid.clone(), note.reason, (!is_flood).then(|| note.message.clone()));
        let api: Api<Event> = Api::namespaced(self.client.clone(), target.namespace.as_deref().unwrap_or("default"));
        let said = self.said_before(&saying);
        let at = Instant::now();
        let mut is_combined = false;
        match (step(said.as_ref(), note.pace, at), said) {
            (Step::Wait(count), Some(said)) => {
                self.remember(saying, Said { count, at, ..said });
                return Ok(());
            }
            (Step::Count(count), Some(said)) => {
                let series = json!({ "series": { "count": count, "lastObservedTime": micro(now()) } });
                match api.patch(&said.name, &PatchParams::default(), &Patch::Merge(series)).await {
                    Ok(_) => {
                        self.remember(saying, Said { count, at, written_at: at, ..said });
                        return Ok(());
                    }
                    // It is gone: said anew.
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    Err(error) => return Err(error),
                }
            }
            (step, _) => is_combined = step == Step::Combine,
        }
        let prefix = if is_combined { COMBINED } else { "" };
        let event = self.event(target, &note, shorten(format!("{prefix}{}", note.message), TEXT_MAX));
        let name = event.metadata.name.clone().unwrap_or_default();
        api.create(&PostParams::default(), &event).await?;
        self.remember(saying, Said { name, count: 1, is_combined, at, written_at: at });
        Ok(())
    }

    fn event(&self, target: &Target, note: &Note, text: String) -> Event {
        let now = now();
        let of = names::shorten(target.name.as_deref().unwrap_or_default(), NAME_MAX);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{of}.{:x}", now.as_nanosecond())),
                namespace: target.namespace.clone(),
                ..ObjectMeta::default()
            },
            event_time: Some(micro(now)),
            reporting_controller: Some(CONTROLLER.into()),
            reporting_instance: Some(self.identity.clone()),
            regarding: Some(target.clone()),
            type_: Some(if note.warning { "Warning" } else { "Normal" }.into()),
            reason: Some(note.reason.into()),
            action: Some(note.action.into()),
            note: Some(text),
            ..Event::default()
        }
    }

    fn said_before(&self, saying: &Saying) -> Option<Said> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.get(saying).filter(|said| said.at.elapsed() < SERIES_TIME).cloned()
    }

    fn remember(&self, saying: Saying, what: Said) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= REMEMBERED_MAX {
            said.retain(|_, said| said.at.elapsed() < SERIES_TIME);
        }
        if said.len() >= REMEMBERED_MAX {
            said.clear();
        }
        said.insert(saying, what);
    }
}

async fn publish(recorder: &Recorder, target: &Target, note: Note) {
    match timeout(REQUEST_TIMEOUT, recorder.publish(target, note)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an event could not be sent"),
        Err(_) => tracing::debug!("an event could not be sent: no answer in time"),
    }
}

/// What waits, by namespace, and which namespaces have something under way.
struct Turns<T> {
    waiting: HashMap<String, VecDeque<T>>,
    turn: VecDeque<String>,
    under_way: HashSet<String>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), turn: VecDeque::new(), under_way: HashSet::new() }
    }
}

impl<T> Turns<T> {
    /// Something waits in that namespace; not if too much does.
    fn wait(&mut self, namespace: String, what: T) -> bool {
        let waiting = self.waiting.entry(namespace.clone()).or_default();
        if waiting.len() >= WAITING_MAX {
            return false;
        }
        waiting.push_back(what);
        if waiting.len() == 1 && !self.under_way.contains(&namespace) {
            self.turn.push_back(namespace);
        }
        true
    }

    /// What is next, if there is room for it.
    fn next(&mut self) -> Option<(String, T)> {
        if self.under_way.len() >= AT_ONCE {
            return None;
        }
        let namespace = self.turn.pop_front()?;
        let waiting = self.waiting.get_mut(&namespace)?;
        let what = waiting.pop_front()?;
        if waiting.is_empty() {
            self.waiting.remove(&namespace);
        }
        self.under_way.insert(namespace.clone());
        Some((namespace, what))
    }

    /// What was under way in that namespace is no more.
    fn ended(&mut self, namespace: &str) {
        self.under_way.remove(namespace);
        if self.waiting.contains_key(namespace) {
            self.turn.push_back(namespace.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_every_few_seconds_is_two_events_and_a_count_every_five_minutes() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut said: Option<Said> = None;
        let (mut created, mut counted) = (0, Vec::new());
        for seconds in (0..1_200).step_by(5) {
            let at = after(seconds);
            let step = step(said.as_ref(), Pace::Flood, at);
            let known =
                said.clone().unwrap_or(Said { name: "event".into(), count: 1, is_combined: false, at, written_at: at });
            said = Some(match step {
                Step::New | Step::Combine => {
                    created += 1;
                    Said { count: 1, is_combined: step == Step::Combine, at, written_at: at, ..known }
                }
                Step::Count(count) => {
                    counted.push(count);
                    Said { count, at, written_at: at, ..known }
                }
                Step::Wait(count) => Said { count, at, ..known },
            });
        }
        assert_eq!((created, counted), (2, vec![61, 121, 181]));
        let other = Said { name: "event".into(), count: 1, is_combined: false, at: begin, written_at: begin };
        assert_eq!(
            step(Some(&other), Pace::Rare, begin),
            Step::Count(2),
            "a sentence that is said again is counted at once"
        );
        assert_eq!(step(None, Pace::Flood, begin), Step::New);
    }

    #[test]
    fn a_namespace_whose_events_hang_holds_up_no_other_and_keeps_its_order() {
        let mut turns = Turns::default();
        assert!((0..WAITING_MAX).all(|number| turns.wait("hanging".into(), number)));
        assert_eq!(turns.next(), Some(("hanging".into(), 0)));
        assert_eq!(turns.next(), None, "one after the other");
        assert!(turns.wait("hanging".into(), 1_000) && !turns.wait("hanging".into(), 1_001), "the rest is bounded");
        for number in 0..3 {
            assert!(turns.wait("healthy".into(), number));
            assert_eq!(turns.next(), Some(("healthy".into(), number)));
            turns.ended("healthy");
        }
        turns.ended("hanging");
        assert_eq!(turns.next(), Some(("hanging".into(), 1)));
    }

    #[test]
    fn not_more_than_so_many_are_under_way() {
        let mut turns = Turns::default();
        assert!((0..AT_ONCE + 1).all(|number| turns.wait(format!("team-{number}"), ())));
        assert_eq!(std::iter::from_fn(|| turns.next()).count(), AT_ONCE);
        turns.ended("team-0");
        assert_eq!(turns.next(), Some((format!("team-{AT_ONCE}"), ())));
    }
}
