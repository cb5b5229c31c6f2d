//! Flood: how long a tenant's Job waits to be launched while another tenant's Jobs come by the thousand, under a limit for
//! the whole cluster.

use std::time::Duration;

use serde::Serialize;

use crate::completion::Completer;
use crate::numbers::{Spread, milliseconds};
use crate::operator::Operator;
use crate::phases::Phases;
use crate::workload;

/// How many Jobs run in the cluster at once.
const PLACES: u32 = 50;
/// How many Jobs of the small tenant are measured.
const PROBES: usize = 40;
/// How long between two of them.
const BETWEEN: Duration = Duration::from_millis(500);

/// How long the Jobs of the small tenant waited.
#[derive(Serialize)]
pub struct Flood {
    /// How many Jobs of the large tenant were there at the end.
    pub jobs: usize,
    /// From the acceptance of a Job until its batch Job was accepted, with nobody else there.
    pub alone_ms: Spread,
    /// The same while the other tenant's Jobs came and ran.
    pub beside_ms: Spread,
    /// What one create took meanwhile, for the Jobs of the small tenant: the API server is busy too.
    pub create_alone_ms: Spread,
    pub create_beside_ms: Spread,
}

impl Phases<'_> {
    /// The small tenant alone, then beside the large one.
    pub async fn flood(&mut self, jobs: usize) -> Flood {
        self.say(&format!("a tenant beside another's {jobs} Jobs"));
        let (small, large) = ("tenant-small", "tenant-large");
        for namespace in [small, large] {
            workload::namespace(&self.client, namespace).await;
            workload::template(&self.client, namespace).await;
        }
        let limit = format!("--max-running={PLACES}");
        let operator = Operator::start(self.binary, self.bench, &[&limit]).await;
        let completer = Completer::at_once(&self.client, 2 * PROBES + jobs);
        let (alone_ms, create_alone_ms) = self.probes(small, "alone").await;
        let flood = {
            let client = self.client.clone();
            tokio::spawn(async move { workload::jobs(&client, large, jobs).await })
        };
        let (beside_ms, create_beside_ms) = self.probes(small, "beside").await;
        flood.await.unwrap();
        completer.finish().await;
        for namespace in [small, large] {
            self.cleaned_up(namespace).await;
        }
        operator.stop().await;
        Flood { jobs, alone_ms, beside_ms, create_alone_ms, create_beside_ms }
    }

    /// Jobs one after the other: how long until each was launched, and how long its create took.
    async fn probes(&mut self, namespace: &'static str, name: &str) -> (Spread, Spread) {
        let mark = self.log.mark();
        for number in 0..PROBES {
            workload::job(&self.client, namespace, &format!("{name}-{number:02}")).await;
            tokio::time::sleep(BETWEEN).await;
        }
        self.launched(mark, PROBES, |it| it == namespace).await;
        let launches = self.log.launches(mark, |it| it == namespace);
        let created: Vec<_> = self.log.since(mark).filter(|it| it.creates_job(namespace)).collect();
        let waited = created.iter().map(|job| {
            let batch = launches.iter().find(|it| it.object_ref.name.starts_with(&format!("{}-", job.object_ref.name)));
            milliseconds(job.stage_timestamp, batch.expect("each is launched").stage_timestamp)
        });
        let took = created.iter().map(|it| milliseconds(it.request_received_timestamp, it.stage_timestamp));
        (Spread::of(waited.collect()), Spread::of(took.collect()))
    }
}
