//! Draining: how fast the Jobs that wait are launched once nothing holds them, in one namespace and in a hundred.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use rota::api::Job;
use rota::runtime::clock;
use serde::Serialize;

use crate::audit::{Request, Who};
use crate::completion;
use crate::numbers::{Spread, milliseconds};
use crate::operator::Operator;
use crate::phases::{Cost, Phases, SETTLED_WITHIN};
use crate::waiting::{until, until_none};
use crate::workload;

/// A queue has come to rest when nothing was written about it for so long.
const AT_REST: Duration = Duration::from_secs(3);

/// So many Jobs that waited in so many namespaces, one queue each.
#[derive(Serialize)]
pub struct Drain {
    pub jobs: usize,
    pub namespaces: usize,
    /// From the request that opens the queues until the batch Job was accepted.
    pub accepted_ms: Spread,
    pub launches_per_second: f64,
    /// What the operator wrote until the last batch Job was accepted, for each launch.
    pub writes_until_last: BTreeMap<String, f64>,
    pub cost: Cost,
}

impl Phases<'_> {
    /// Lets Jobs come while everything is paused, and measures what happens when it is not any more.
    pub async fn drain(&mut self, jobs: usize, namespaces: usize) -> Drain {
        self.say(&format!("{jobs} waiting Jobs in {namespaces} namespace(s)"));
        let prefix = format!("drain-{jobs}-{namespaces}-");
        let names: Vec<String> = (0..namespaces).map(|number| format!("{prefix}{number}")).collect();
        workload::pause_everything(&self.client).await;
        let operator = Operator::start(self.binary, self.bench, &[]).await;
        for namespace in &names {
            workload::namespace(&self.client, namespace).await;
            workload::template(&self.client, namespace).await;
            workload::jobs(&self.client, namespace, jobs / namespaces).await;
        }
        for namespace in &names {
            let not_queued = self.api::<Job>(namespace);
            until_none("a Job that is not queued", SETTLED_WITHIN, &not_queued, "status.phase!=Queued").await;
        }
        self.at_rest().await;
        let mark = self.log.mark();
        workload::resume_everything(&self.client).await;
        let accepted = self.launched(mark, jobs, |namespace| namespace.starts_with(&prefix)).await;
        self.like = workload::like_one_of(&self.client, &names[0]).await;
        let opened = self.log.since(mark).find(|request| request.edits_queue()).expect("the request that opens");
        let opened = opened.request_received_timestamp;
        let last = *accepted.last().expect("at least one Job");
        let before = |request: &Request| {
            Who::Rota.asked(request) && request.is_write() && !request.is_lease() && request.stage_timestamp <= last
        };
        let writes = self.log.count(mark, before);
        let per_launch = |count: usize| count as f64 / jobs as f64;
        for namespace in &names {
            completion::complete_all(&self.client, namespace).await;
        }
        for namespace in &names {
            self.cleaned_up(namespace).await;
        }
        let cost = self.settled(Who::Rota, mark, jobs).await;
        for namespace in &names {
            assert_eq!(self.recorded(namespace).await, jobs / namespaces, "each run leaves one record in {namespace}");
        }
        operator.stop().await;
        Drain {
            jobs,
            namespaces,
            accepted_ms: Spread::of(accepted.iter().map(|at| milliseconds(opened, *at)).collect()),
            launches_per_second: jobs as f64 / (milliseconds(opened, last) / 1000.0),
            writes_until_last: writes.into_iter().map(|(request, count)| (request, per_launch(count))).collect(),
            cost,
        }
    }

    /// Waits until the operator has written nothing for a while.
    pub async fn at_rest(&mut self) {
        let log = &mut self.log;
        let since = clock::now();
        let rest = SignedDuration::try_from(AT_REST).unwrap_or_default();
        until("the operator is at rest", SETTLED_WITHIN, || {
            log.read();
            let writes = log.since(0).filter(|it| Who::Rota.asked(it) && it.is_write() && !it.is_lease());
            let last = writes.map(|it| it.stage_timestamp).max().unwrap_or(since).max(since);
            clock::now().duration_since(last) > rest
        })
        .await;
    }
}
