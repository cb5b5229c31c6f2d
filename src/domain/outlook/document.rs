//! Document: queues and their lines as JSON, as docs/plugin.md describes it.

use serde_json::{Value, json};

use super::{Outlook, Seen, template};
use crate::api::Job;
use crate::domain::estimate::Estimate;
use crate::domain::words::whole_second;

/// A queue, and how many run and wait in it.
pub fn queue_json(name: &str, outlook: &Outlook<'_>) -> Value {
    json!({
        "queue": name,
        "exists": outlook.queue.is_some(),
        "maxRunning": outlook.queue.and_then(|queue| queue.spec.max_running),
        "running": outlook.running.len(),
        "waiting": outlook.waiting.len(),
        "oldestQueuedAt": outlook.waiting.iter().map(|it| it.rank.queued_at).min(),
        "paused": outlook.paused.as_ref().map(|paused| json!({ "message": paused.message, "until": paused.until })),
        "nextStart": estimate_json(&outlook.next),
    })
}

/// The same, and who runs and waits: the first `limit` of each.
pub fn line_json(name: &str, seen: &Seen<'_>, outlook: &Outlook<'_>, limit: usize) -> Value {
    let job_name = |job: &Job| job.metadata.name.clone().unwrap_or_default();
    let mut document = queue_json(name, outlook);
    document["runningJobs"] = Value::from_iter(outlook.running.iter().take(limit).map(|job| {
        let started = job.status.as_ref().and_then(|status| status.started_at.clone());
        json!({ "name": job_name(job), "template": template(job), "startedAt": started })
    }));
    document["waitingJobs"] = Value::from_iter(outlook.waiting.iter().take(limit).map(|standing| {
        json!({
            "place": standing.place,
            "name": job_name(standing.job),
            "template": template(standing.job),
            "priority": standing.rank.priority.0,
            "increase": standing.increase,
            "position": standing.job.spec.position,
            "queuedAt": standing.rank.queued_at,
            "waitingFor": standing.waiting_for,
            "message": seen.sentence(standing.job),
            "start": estimate_json(&standing.estimate),
        })
    }));
    document
}

/// An estimate: either both ends, or why there is none.
pub fn estimate_json(estimate: &Estimate) -> Value {
    match estimate {
        Estimate::Between(earliest, latest) => {
            json!({ "earliest": whole_second(*earliest), "latest": whole_second(*latest) })
        }
        Estimate::Unknown(why) => json!({ "unknown": why }),
    }
}
