//! Slots: how long until a place that becomes free is taken, by whose turn it is.

use jiff::Timestamp;
use serde::Serialize;

use crate::audit::Request;
use crate::completion::Completer;
use crate::numbers::{Spread, milliseconds};
use crate::operator::Operator;
use crate::phases::{Phases, SETTLED_WITHIN};
use crate::waiting::until_none;
use crate::workload;
use rota::api::Job;

/// How many Jobs run at once.
const PLACES: u32 = 10;
/// How many wait at first.
const JOBS: usize = 300;

/// What was seen of places that became free one after the other.
#[derive(Serialize)]
pub struct Slots {
    /// From the completion of a batch Job until the next batch Job was accepted.
    pub refilled_ms: Spread,
    /// How many Jobs were launched while one that ranks before them waited.
    pub out_of_order: usize,
}

impl Phases<'_> {
    /// One place at a time becomes free while many Jobs of different priorities wait.
    pub async fn slots(&mut self) -> Slots {
        self.say("places that become free");
        let namespace = "slots";
        workload::namespace(&self.client, namespace).await;
        workload::template(&self.client, namespace).await;
        workload::queue(&self.client, namespace, &serde_json::json!({ "maxRunning": 0 })).await;
        let operator = Operator::start(self.binary, self.bench, &[]).await;
        workload::jobs(&self.client, namespace, JOBS).await;
        let jobs = self.api::<Job>(namespace);
        until_none("a Job that is not queued", SETTLED_WITHIN, &jobs, "status.phase!=Queued").await;
        self.at_rest().await;
        let mark = self.log.mark();
        // As they are listed now they are to be launched.
        let expected = workload::in_order(&self.client, namespace).await;
        workload::edit_queue(&self.client, namespace, &serde_json::json!({ "maxRunning": PLACES })).await;
        Completer::one_at_a_time(&self.client, namespace, PLACES as usize, JOBS).finish().await;
        self.cleaned_up(namespace).await;
        operator.stop().await;
        self.log.read();
        let completed: Vec<Timestamp> =
            self.log.since(mark).filter(|it| it.completes(namespace)).map(|it| it.stage_timestamp).collect();
        let launches = self.log.launches(mark, |it| it == namespace);
        let refills = launches.iter().skip(PLACES as usize).zip(&completed);
        let refilled_ms = Spread::of(refills.map(|(it, freed)| milliseconds(*freed, it.stage_timestamp)).collect());
        // The first ones are launched together; whose request is answered first is no matter of order.
        let groups = std::iter::once(0..PLACES as usize).chain((PLACES as usize..JOBS).map(|index| index..index + 1));
        let is_of = |launch: &Request, job: &String| launch.object_ref.name.starts_with(&format!("{job}-"));
        let out_of_order = groups.map(|group| {
            launches[group.clone()]
                .iter()
                .filter(|launch| !expected[group.clone()].iter().any(|job| is_of(launch, job)))
                .count()
        });
        Slots { refilled_ms, out_of_order: out_of_order.sum() }
    }
}
