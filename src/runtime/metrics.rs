//! Metrics: what an operator of the operator looks at, in the OpenMetrics format.
//!
//! Labels come from closed sets only, such as the namespaces that the operator is given; names of objects are in events and logs.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use tokio::time::Instant;

use super::visibility::Visibility;
use crate::api::JobRun;
use crate::domain::calendar::zone_database_version;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    verb: String,
    kind: String,
    outcome: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReconcileLabels {
    controller: String,
    outcome: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WatchLabels {
    kind: &'static str,
    /// Empty where all are watched together.
    namespace: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RunLabels {
    outcome: String,
    reason: String,
}

/// All metrics of this process.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    reconciles: Family<ReconcileLabels, Counter>,
    runs: Family<RunLabels, Counter>,
    dispatched: Counter,
    /// From the moment at which an occurrence was to run to the creation of its Job.
    schedule_delay: Histogram,
    /// From queuedAt to the creation of the batch Job.
    queue_wait: Histogram,
    /// Runs that did not start within startWithinSeconds.
    late: Counter,
    /// Records that stand and are not what happened.
    contradicted: Counter,
    /// 1 while this process leads.
    pub leader: Gauge<i64, AtomicI64>,
    last_event_drop: Counter<u64, AtomicU64>,
    /// How long there has been no news, by kind and namespace.
    news_age: Family<WatchLabels, Gauge<f64, AtomicU64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("rota");
        let requests = Family::default();
        registry.register("api_requests", "Requests to the API server other than watches", requests.clone());
        let reconciles = Family::default();
        registry.register("reconciles", "Decisions made, by controller", reconciles.clone());
        let runs = Family::default();
        registry.register("runs", "JobRuns recorded", runs.clone());
        let dispatched = Counter::default();
        registry.register("dispatched", "Batch Jobs launched", dispatched.clone());
        let schedule_delay = Histogram::new(exponential_buckets(0.001, 2.0, 18));
        let help = "From when an occurrence was to run, after its jitter, to the creation of its Job";
        registry.register_with_unit("schedule_delay", help, Unit::Seconds, schedule_delay.clone());
        let queue_wait = Histogram::new(exponential_buckets(0.001, 3.0, 16));
        let help = "From the time a Job was queued to the creation of its batch Job";
        registry.register_with_unit("queue_wait", help, Unit::Seconds, queue_wait.clone());
        let late = Counter::default();
        registry.register("late_runs", "Runs that did not start within startWithinSeconds", late.clone());
        let contradicted = Counter::default();
        let help = "Records that were there before the attempt ended, and say otherwise than it did";
        registry.register("contradicted_records", help, contradicted.clone());
        let leader = Gauge::<i64, AtomicI64>::default();
        registry.register("leader", "1 while this process leads", leader.clone());
        let last_event_drop = Counter::default();
        registry.register(
            "events_dropped",
            "Events given up because too many waited, or because launches did",
            last_event_drop.clone(),
        );
        let news_age = Family::default();
        let help = "How long the API server has told nothing of a kind, not even that nothing happened";
        registry.register_with_unit("watch_news_age", help, Unit::Seconds, news_age.clone());
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "What is running", build);
        let zones = Info::new(vec![("version", zone_database_version())]);
        registry.register("zone_database", "The zones by which cron is read", zones);
        Self {
            registry,
            requests,
            reconciles,
            runs,
            dispatched,
            schedule_delay,
            queue_wait,
            late,
            contradicted,
            leader,
            last_event_drop,
            news_age,
        }
    }
}

impl Metrics {
    /// A request to the API server ended.
    pub fn request(&self, verb: &str, kind: &str, outcome: &str) {
        let labels = RequestLabels { verb: verb.into(), kind: kind.into(), outcome: outcome.into() };
        self.requests.get_or_create(&labels).inc();
    }

    /// A decision was made and applied, or failed.
    pub fn reconciled(&self, controller: &str, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        self.reconciles
            .get_or_create(&ReconcileLabels { controller: controller.into(), outcome: outcome.into() })
            .inc();
    }

    /// A JobRun was written.
    pub fn recorded(&self, run: &JobRun) {
        if let Some(status) = &run.status {
            let labels = RunLabels { outcome: status.phase.as_str().into(), reason: status.reason.as_str().into() };
            self.runs.get_or_create(&labels).inc_by(status.count.unwrap_or(1));
        }
    }

    /// A batch Job was launched after its Job had waited so long.
    pub fn dispatched(&self, waited: Duration) {
        self.dispatched.inc();
        self.queue_wait.observe(waited.as_secs_f64());
    }

    /// An occurrence's Job was created so late.
    pub fn fired(&self, late: Duration) {
        self.schedule_delay.observe(late.as_secs_f64());
    }

    /// So many runs were found not to have started in time.
    pub fn late(&self, runs: u64) {
        self.late.inc_by(runs);
    }

    /// A record was found that is not what happened.
    pub fn contradicted(&self) {
        self.contradicted.inc();
    }

    /// An event was given up.
    pub fn event_dropped(&self) {
        self.last_event_drop.inc();
    }

    /// How old what is seen is at this moment.
    pub fn seen(&self, visibility: &Visibility) {
        let now = Instant::now();
        for scope in visibility.scopes() {
            for kind in scope.kinds() {
                let labels = WatchLabels { kind: kind.name(), namespace: scope.namespace().to_owned() };
                self.news_age.get_or_create(&labels).set(scope.age(*kind, now).as_secs_f64());
            }
        }
    }

    /// All of them, as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
