//! What happens to the objects of the kinds is told in events, each once, also when another operator takes over.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use rota::api::{Job, JobGroup, Queue, Schedule};
use rota::runtime::clock::now;
use serde_json::{Value, json};

use crate::cluster::{Scope, api, create, in_namespace};
use crate::examples::pod_template;
use crate::launching::succeed;
use crate::operator::{Operator, Rights, until};

/// The kind and the name of an object, and the reason of an event about it.
type Told = (String, String, String);

/// How often each was told, by the object and the reason. What is counted in an event counts as one.
async fn told(scope: &Scope) -> BTreeMap<Told, usize> {
    let mut found = BTreeMap::new();
    for event in api::<Event>(scope).list(&ListParams::default()).await.unwrap() {
        let Some(regarding) = event.regarding.filter(|it| it.api_version.as_deref() == Some(rota::api::API_VERSION))
        else {
            continue;
        };
        let told = (regarding.kind.unwrap(), regarding.name.unwrap(), event.reason.unwrap());
        *found.entry(told).or_default() += 1;
    }
    found
}

async fn is_told(scope: &Scope, kind: &str, name: &str, reason: &str, part: &str) {
    until(&format!("{kind} {name}: {reason}"), || async {
        let events = api::<Event>(scope).list(&ListParams::default()).await.unwrap();
        let is_it = |event: &Event| {
            let regards = event
                .regarding
                .as_ref()
                .is_some_and(|it| it.kind.as_deref() == Some(kind) && it.name.as_deref() == Some(name));
            regards
                && event.reason.as_deref() == Some(reason)
                && event.note.as_ref().is_some_and(|it| it.contains(part))
        };
        events.iter().any(is_it).then_some(())
    })
    .await;
}

fn ad_hoc() -> Value {
    json!({ "jobType": "x", "queue": "line", "jobTemplate": pod_template() })
}

async fn patch<K>(scope: &Scope, name: &str, patch: Value)
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + serde::de::DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    api::<K>(scope).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// The name of the batch Job of a Job.
async fn batch_of(scope: &Scope, job: &str) -> String {
    until(&format!("{job} is launched"), || async {
        Some(api::<Job>(scope).get(job).await.unwrap().status?.batch_job_ref?.name)
    })
    .await
}

/// Says of the pod of a batch Job that its container has started, as a kubelet would; also of one that takes its place.
async fn start(scope: &Scope, job: &str, batch: &str) {
    let of_batch = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={batch}"));
    until("it has started", || async {
        for pod in api::<Pod>(scope).list(&of_batch).await.unwrap().items {
            run_container(scope, &pod).await;
        }
        api::<Job>(scope).get(job).await.unwrap().status?.started_at.map(drop)
    })
    .await;
}

async fn run_container(scope: &Scope, pod: &Pod) {
    if pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running") {
        return;
    }
    let at = jiff::Timestamp::from_second(now().as_second()).unwrap();
    let container = json!({
        "name": "main", "image": "busybox", "imageID": "", "ready": true, "started": true, "restartCount": 0,
        "state": { "running": { "startedAt": at } },
    });
    let status = json!({ "status": { "phase": "Running", "startTime": at, "containerStatuses": [container] } });
    // One that is gone meanwhile has another one in its place.
    let _ = api::<Pod>(scope).patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await;
}

/// The first of two Jobs of a queue that runs one at a time, from its launch to its end, while the other one waits.
async fn run_jobs(scope: &Scope) {
    create(scope, "Queue", "line", json!({ "maxRunning": 1 })).await;
    // A Job that comes before its queue is known waits for that, and says so.
    until("the queue is known", || async {
        let generation = api::<Queue>(scope).get("line").await.unwrap().status?.observed_generation?;
        (generation > 0).then_some(())
    })
    .await;
    create(scope, "Job", "first", ad_hoc()).await;
    let batch = batch_of(scope, "first").await;
    create(scope, "Job", "second", ad_hoc()).await;
    is_told(scope, "Job", "second", "Queued", "queue line: first in queue line, 1 of 1 running").await;
    is_told(scope, "Job", "first", "Dispatched", &batch).await;
    patch::<BatchJob>(scope, &batch, json!({ "spec": { "suspend": true } })).await;
    is_told(scope, "Job", "first", "Suspended", "is suspended").await;
    until("its pod is gone", || async {
        let of_batch = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={batch}"));
        api::<Pod>(scope).list(&of_batch).await.unwrap().items.is_empty().then_some(())
    })
    .await;
    patch::<BatchJob>(scope, &batch, json!({ "spec": { "suspend": false } })).await;
    is_told(scope, "Job", "first", "Resumed", &batch).await;
    start(scope, "first", &batch).await;
    is_told(scope, "Job", "first", "Started", "started at").await;
    patch::<Job>(scope, "second", json!({ "spec": { "cancel": { "reason": "wrong month", "requestedBy": "anna" } } }))
        .await;
    is_told(scope, "Job", "second", "CancelRequested", "by anna: wrong month").await;
    is_told(scope, "Job", "second", "Skipped", "Cancelled").await;
    succeed(scope, &batch).await;
    is_told(scope, "Job", "first", "Completed", "see JobRun").await;
}

/// A queue that is paused and goes on.
async fn pause(scope: &Scope) {
    let paused = json!({ "reason": "upgrade", "until": "2100-01-01T00:00:00Z", "scope": "Namespace" });
    create(scope, "Queue", "other", json!({ "paused": paused })).await;
    is_told(scope, "Queue", "other", "Paused", "all queues of its namespace until 2100-01-01T00:00:00Z: upgrade").await;
    patch::<Queue>(scope, "other", json!({ "spec": { "paused": null } })).await;
    is_told(scope, "Queue", "other", "Resumed", "its pause is over").await;
}

/// A group that is started, and then cancelled.
async fn cancel_group(scope: &Scope) {
    create(scope, "JobTemplate", "report", json!({ "jobType": "x", "queue": "held", "jobTemplate": pod_template() }))
        .await;
    create(scope, "Queue", "held", json!({ "maxRunning": 0 })).await;
    let members = json!([{ "name": "one", "templateRef": { "name": "report" } }]);
    create(scope, "JobGroup", "release", json!({ "mode": "Parallel", "jobs": members })).await;
    is_told(scope, "JobGroup", "release", "Started", "with 1 member(s)").await;
    until("its member is there", || async {
        api::<JobGroup>(scope).get("release").await.unwrap().status?.members.first()?.job_ref.clone()
    })
    .await;
    patch::<JobGroup>(scope, "release", json!({ "spec": { "cancel": { "reason": "no longer needed" } } })).await;
    is_told(scope, "JobGroup", "release", "CancelRequested", "no longer needed").await;
    is_told(scope, "JobGroup", "release", "Cancelled", "skipped").await;
}

/// A schedule that fires, and skips, every second: of each there are two events however many there were. It is turned off and on
/// again.
async fn fire(scope: &Scope) {
    let often = json!({ "templateRef": { "name": "report" }, "interval": "1s", "concurrencyPolicy": "Forbid" });
    create(scope, "Schedule", "often", often).await;
    is_told(scope, "Schedule", "often", "Fired", "Job often-").await;
    is_told(scope, "Schedule", "often", "OverlapForbidden", "(combined from similar events)").await;
    until("it has skipped five times", || async {
        let runs = api::<rota::api::JobRun>(scope).list(&ListParams::default()).await.unwrap();
        let of_schedule = runs.iter().filter(|run| run.spec.schedule_ref.is_some());
        (of_schedule.count() >= 5).then_some(())
    })
    .await;
    patch::<Schedule>(scope, "often", json!({ "spec": { "enabled": false } })).await;
    is_told(scope, "Schedule", "often", "Disabled", "it fires nothing").await;
    patch::<Schedule>(scope, "often", json!({ "spec": { "enabled": true, "interval": "9h" } })).await;
    is_told(scope, "Schedule", "often", "Enabled", "it fires from now on").await;
}

/// Everything that is to be told, and nothing else about these objects.
fn expected(told: &BTreeMap<Told, usize>) -> BTreeSet<Told> {
    let rows = [
        ("Job", "first", vec!["Dispatched", "Suspended", "Resumed", "Started", "Completed"]),
        ("Job", "second", vec!["Queued", "CancelRequested", "Skipped"]),
        ("Queue", "other", vec!["Paused", "Resumed"]),
        ("JobGroup", "release", vec!["Started", "CancelRequested", "Cancelled"]),
        ("Schedule", "often", vec!["Fired", "OverlapForbidden", "Disabled", "Enabled"]),
    ];
    let expected: BTreeSet<Told> = rows
        .into_iter()
        .flat_map(|(kind, name, reasons)| {
            reasons.into_iter().map(move |reason| (kind.to_owned(), name.to_owned(), reason.to_owned()))
        })
        .collect();
    let named: BTreeSet<(String, String)> =
        expected.iter().map(|(kind, name, _)| (kind.clone(), name.clone())).collect();
    let of_these: BTreeSet<Told> =
        told.keys().filter(|(kind, name, _)| named.contains(&(kind.clone(), name.clone()))).cloned().collect();
    assert_eq!(of_these, expected);
    expected
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_transition_is_told_once_and_another_operator_tells_none_of_them_again() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let mut operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        run_jobs(&scope).await;
        cancel_group(&scope).await;
        fire(&scope).await;
        pause(&scope).await;
        let before = told(&scope).await;
        for told in expected(&before) {
            let floods = ["OverlapForbidden"].contains(&told.2.as_str());
            assert_eq!(before[&told], if floods { 2 } else { 1 }, "{told:?}");
        }
        operator.kill();
        let operator = Operator::start(&scope, &rights, "two");
        operator.leads().await;
        // It has looked at everything when it has taken in what came last, and told of that.
        create(&scope, "Queue", "last", json!({ "paused": { "reason": "upgrade" } })).await;
        is_told(&scope, "Queue", "last", "Paused", "upgrade").await;
        create(&scope, "Job", "third", ad_hoc()).await;
        batch_of(&scope, "third").await;
        is_told(&scope, "Job", "third", "Dispatched", "launched as").await;
        let mut after = told(&scope).await;
        after.retain(|(_, name, _), _| name != "last" && name != "third");
        assert_eq!(after, before);
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}
