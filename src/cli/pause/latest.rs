//! What gathered during a pause: of each schedule only the Job for its latest time stays.

use std::collections::BTreeMap;

use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::api::Job;
use crate::api::queue::PauseScope;
use crate::cli::cancel;
use crate::cli::objects::{Connection, list};
use crate::cli::plugin::PluginError;
use crate::cli::print::DryRun;
use crate::domain::schedule::occurrence;

/// Why they end.
const REASON: &str = "kubectl rota resume --latest-only: a later time of the schedule waits too";

/// Cancels the waiting Jobs of each schedule but the one for its latest time: those in the queue of that name, of the namespace, or
/// all. Says how many, in words that follow a sentence.
pub(super) async fn cancel_earlier(
    connection: &Connection,
    scope: PauseScope,
    queue: &str,
    dry_run: Option<DryRun>,
) -> Result<String, PluginError> {
    let api: Api<Job> = match scope {
        PauseScope::Queue | PauseScope::Namespace => connection.api(),
        PauseScope::Cluster => Api::all(connection.client.clone()),
    };
    let (jobs, _) = list(&api, &ListParams::default().fields("status.phase=Queued")).await?;
    let queue = Some(queue).filter(|_| scope == PauseScope::Queue);
    let earlier = earlier(&jobs, queue);
    for job in &earlier {
        cancel::request(connection, job, REASON, dry_run).await?;
    }
    Ok(match earlier.len() {
        0 => "; of no schedule more than one Job waited".to_owned(),
        1 => "; 1 Job for an earlier time of its schedule is cancelled".to_owned(),
        more => format!("; {more} Jobs for earlier times of their schedules are cancelled"),
    })
}

/// The Jobs that stand for a time of a schedule for a later time of which another one waits as well.
fn earlier<'a>(jobs: &'a [Job], queue: Option<&str>) -> Vec<&'a Job> {
    let in_queue = |job: &Job| {
        let said = job.status.as_ref().and_then(|status| status.queue.as_deref());
        queue.is_none_or(|queue| said == Some(queue))
    };
    let mut of_schedule: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for job in jobs.iter().filter(|job| job.spec.cancel.is_none() && in_queue(job)) {
        if let (Some(time), Some(schedule)) = (occurrence(job), &job.spec.schedule_ref) {
            of_schedule.entry(schedule.uid.clone()).or_default().push((time, job.name_any(), job));
        }
    }
    let mut all = Vec::new();
    for mut of_one in of_schedule.into_values() {
        of_one.sort_by(|(time, name, _), (other, its, _)| (time, name).cmp(&(other, its)));
        of_one.pop();
        all.extend(of_one.into_iter().map(|(_, _, job)| job));
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::names;

    fn job(schedule: &str, time: &str, queue: &str) -> Job {
        let instant = time.parse().unwrap();
        let uid = format!("uid-{schedule}");
        serde_json::from_value(json!({
            "apiVersion": "rota.dev/v1alpha1", "kind": "Job",
            "metadata": {
                "name": names::occurrence_job(schedule, &uid, instant),
                "ownerReferences": [{ "apiVersion": "rota.dev/v1alpha1", "kind": "Schedule", "name": schedule, "uid": uid }],
            },
            "spec": { "scheduleRef": { "name": schedule, "uid": uid }, "scheduledTime": time },
            "status": { "phase": "Queued", "queue": queue },
        }))
        .unwrap()
    }

    #[test]
    fn of_each_schedule_the_job_for_the_latest_time_stays() {
        let (one, two, three) = ("2026-03-01T01:00:00Z", "2026-03-01T02:00:00Z", "2026-03-01T03:00:00Z");
        let mut by_hand = job("a", one, "slow");
        by_hand.metadata.owner_references = None;
        let mut cancelled = job("a", three, "slow");
        cancelled.spec.cancel = Some(Default::default());
        let jobs = [
            job("a", two, "slow"),
            job("a", one, "slow"),
            by_hand,
            cancelled,
            job("b", one, "slow"),
            job("b", two, "fast"),
        ];
        let names = |queue| earlier(&jobs, queue).iter().map(|job| job.name_any()).collect::<Vec<_>>();
        let [a, b] = [&jobs[1], &jobs[4]].map(ResourceExt::name_any);
        assert_eq!(names(Some("slow")), std::slice::from_ref(&a));
        assert_eq!(names(None), [a, b]);
    }
}
