//! What gathered during a pause: of each schedule only the Job for its latest time stays.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::api::queue::PauseScope;
use crate::api::{Cancel, Job};
use crate::cli::cancel;
use crate::cli::objects::{Connection, is_code, list, refused};
use crate::cli::plugin::PluginError;
use crate::cli::print::DryRun;
use crate::domain::schedule::occurrence;

/// How many are cancelled at once.
const AT_ONCE: usize = 16;
/// Why they end.
const REASON: &str = "kubectl rota resume --latest-only: a later time of the schedule waits too";

/// Cancels the waiting Jobs of each schedule but the one for its latest time: those in the queue of that name, of the namespace, or
/// all. Says how many, in words that follow a sentence. One that has been started, changed or deleted meanwhile is left alone.
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
    let cancel = cancel::request(connection, REASON).await;
    let requests = earlier(&jobs, queue).into_iter().map(|job| cancel_one(connection, job, &cancel, dry_run));
    let answers: Vec<_> = stream::iter(requests).buffer_unordered(AT_ONCE).collect().await;
    let mut cancelled = 0;
    let mut refusals = Vec::new();
    for answer in answers {
        match answer {
            Ok(done) => cancelled += usize::from(done),
            Err(error) => refusals.push(error),
        }
    }
    if let Some(first) = refusals.first() {
        let failed = refusals.len();
        return Err(PluginError::Failed(format!("{failed} Jobs could not be cancelled, {cancelled} were: {first}")));
    }
    Ok(match cancelled {
        0 => "; no schedule had more than one waiting Job".to_owned(),
        1 => "; 1 Job for an earlier time of its schedule is cancelled".to_owned(),
        more => format!("; {more} Jobs for earlier times of their schedules are cancelled"),
    })
}

/// Cancels a Job if it is still as it was listed.
async fn cancel_one(
    connection: &Connection,
    job: &Job,
    cancel: &Cancel,
    dry_run: Option<DryRun>,
) -> Result<bool, PluginError> {
    let guard = json!({ "uid": job.uid(), "resourceVersion": job.resource_version() });
    let patch = Patch::Merge(json!({ "metadata": guard, "spec": { "cancel": cancel } }));
    let parameters = PatchParams { dry_run: dry_run.is_some(), ..PatchParams::default() };
    let api: Api<Job> = Api::namespaced(connection.client.clone(), &job.namespace().unwrap_or_default());
    match api.patch(&job.name_any(), &parameters, &patch).await {
        Ok(_) => Ok(true),
        Err(error) if is_code(&error, 404) || is_code(&error, 409) => Ok(false),
        Err(error) => Err(refused(error)),
    }
}

/// The Jobs that stand for a time of a schedule for a later time of which another one waits as well. One that has run already, or
/// that something else keeps back, is none of them.
fn earlier<'a>(jobs: &'a [Job], queue: Option<&str>) -> Vec<&'a Job> {
    let waits = |job: &Job| {
        let status = job.status.as_ref();
        let said = status.and_then(|status| status.queue.as_deref());
        let has_run = status.is_some_and(|status| !status.run_refs.is_empty());
        let spec = &job.spec;
        let is_kept_back = spec.hold || spec.not_before.is_some() || spec.cancel.is_some();
        queue.is_none_or(|queue| said == Some(queue)) && !has_run && !is_kept_back
    };
    let mut of_schedule: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for job in jobs.iter().filter(|job| waits(job)) {
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
        cancelled.spec.cancel = Some(Cancel::default());
        let mut held = job("a", three, "slow");
        held.spec.hold = true;
        let jobs = [
            job("a", two, "slow"),
            job("a", one, "slow"),
            by_hand,
            cancelled,
            held,
            job("b", one, "slow"),
            job("b", two, "fast"),
        ];
        let names = |queue| earlier(&jobs, queue).iter().map(|job| job.name_any()).collect::<Vec<_>>();
        let [a, b] = [&jobs[1], &jobs[5]].map(ResourceExt::name_any);
        assert_eq!(names(Some("slow")), std::slice::from_ref(&a));
        assert_eq!(names(None), [a, b]);
    }
}
