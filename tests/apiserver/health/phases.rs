//! Every kind in every phase, as the operator makes them of objects that users write.

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use rota::api::{Job, JobRun, Outcome};
use rota::runtime::clock::now;
use serde_json::{Value, json};

use super::Health::{Current, Failed, InProgress, Suspended, Terminating};
use super::{Expected, Health, assert_thought};
use crate::cluster::{Scope, api, in_namespace, object};
use crate::completed::completed;
use crate::examples::pod_template;
use crate::operator::{Operator, Rights, until};
use crate::probes::{failed, run_by_nobody};

/// A finalizer of somebody else.
const KEEPER: &str = "example.com/keep";

/// One object, and what is expected of it.
struct Row {
    kind: &'static str,
    name: &'static str,
    spec: Value,
    /// Until when it is waited for: the phase, or a condition as `TYPE=REASON`.
    said: &'static str,
    /// What is thought of it while nobody waits for its end, and while somebody does.
    health: [Health; 2],
}

impl Row {
    fn is_deleted(&self) -> bool {
        self.health == [Terminating; 2]
    }

    fn is_reached(&self, object: &Value) -> bool {
        let (status, metadata) = (&object["status"], &object["metadata"]);
        let said = match self.said.split_once('=') {
            None => status["phase"] == self.said,
            Some((type_, reason)) => {
                let mut conditions = status["conditions"].as_array().into_iter().flatten();
                conditions.any(|it| it["type"] == type_ && it["reason"] == reason)
            }
        };
        let is_seen = status["observedGeneration"] == metadata["generation"];
        said && if self.is_deleted() { metadata["deletionTimestamp"].is_string() } else { is_seen }
    }
}

fn row(kind: &'static str, name: &'static str, spec: Value, said: &'static str, health: [Health; 2]) -> Row {
    Row { kind, name, spec, said, health }
}

fn of(template: &str) -> Value {
    json!({ "templateRef": { "name": template } })
}

/// The same with these fields.
fn with(mut spec: Value, more: Value) -> Value {
    more.as_object().unwrap().iter().for_each(|(key, value)| spec[key] = value.clone());
    spec
}

/// What runs until the test says how it ended.
fn work(more: Value) -> Value {
    with(json!({ "jobType": "x", "jobTemplate": run_by_nobody() }), more)
}

fn templates() -> Vec<Row> {
    let mut no_image = pod_template();
    no_image["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("image");
    let template = |name, more, said, health| row("JobTemplate", name, work(more), said, [health; 2]);
    vec![
        template("report", json!({}), "Ready=Valid", Current),
        template("dated", json!({ "params": [{ "name": "day", "type": "integer" }] }), "Ready=Valid", Current),
        template("closed", json!({ "queue": "closed" }), "Ready=Valid", Current),
        template("retired", json!({ "archived": true }), "Ready=Archived", Current),
        template(
            "no-pattern",
            json!({ "params": [{ "name": "day", "pattern": "(" }] }),
            "Stalled=InvalidParams",
            Failed,
        ),
        template("no-image", json!({ "jobTemplate": no_image }), "Stalled=InvalidPodTemplate", Failed),
        template("kept", json!({}), "Ready=Deleted", Terminating),
    ]
}

fn schedules() -> Vec<Row> {
    let rarely = |template, more| with(with(of(template), json!({ "cron": "0 3 29 2 *" })), more);
    let often = json!({ "interval": "1s", "concurrencyPolicy": "Forbid", "pauseAfterFailures": 1 });
    let schedule = |name, spec, said, health| row("Schedule", name, spec, said, [health; 2]);
    vec![
        schedule("yearly", rarely("report", json!({})), "Ready=Scheduled", Current),
        schedule("off", rarely("report", json!({ "enabled": false })), "Ready=Disabled", Current),
        schedule("past", with(of("report"), json!({ "at": "2026-01-01T00:00:00Z" })), "Ready=NoMoreTimes", Current),
        schedule("held", with(of("report"), often), "Ready=Paused", Current),
        schedule(
            "nowhere",
            rarely("report", json!({ "timeZone": "Europe/Nowhere" })),
            "Stalled=UnknownTimeZone",
            Failed,
        ),
        schedule("no-template", rarely("missing", json!({})), "Stalled=TemplateNotFound", Failed),
        schedule("misfit", rarely("dated", json!({ "params": { "day": "one" } })), "Stalled=InvalidParams", Failed),
        schedule("kept", rarely("report", json!({})), "Ready=Deleted", Terminating),
    ]
}

fn queues() -> Vec<Row> {
    let queue = |name, spec, said, health| row("Queue", name, spec, said, [health; 2]);
    vec![
        queue("line", json!({ "maxRunning": 1 }), "Ready=Ready", Current),
        queue("closed", json!({ "paused": { "reason": "repairs" } }), "Paused=Paused", Current),
        queue("kept", json!({}), "Ready=Ready", Terminating),
    ]
}

/// Whatever a Job does after the operator accepted it, it is done for those who do not wait for its end.
fn jobs() -> Vec<Row> {
    let cancel = json!({ "hold": true, "cancel": { "reason": "not needed" } });
    let later = json!({ "retry": { "maxAttempts": 2, "backoff": { "initialSeconds": 3600 } } });
    let job = |name, spec, said, accepted, ended| row("Job", name, spec, said, [accepted, ended]);
    let running = json!({ "jobType": "x", "jobTemplate": pod_template() });
    vec![
        job("held", work(json!({ "hold": true })), "Dispatched=Hold", Current, Suspended),
        job("waiting", work(json!({ "queue": "closed" })), "Dispatched=QueuePaused", Current, InProgress),
        job("no-template", of("missing"), "Stalled=Template", Failed, Failed),
        job("misfit", with(of("dated"), json!({ "params": { "day": "one" } })), "Stalled=Correction", Failed, Failed),
        job("launched", work(json!({})), "Dispatched", Current, InProgress),
        job("suspended", work(json!({})), "Dispatched=Suspended", Current, InProgress),
        job("running", running, "Running", Current, InProgress),
        job("retrying", work(later), "Dispatched=Retry", Current, InProgress),
        job("completed", work(json!({})), "Complete=Succeeded", Current, Current),
        job("completed-and-cancelled", work(json!({})), "Complete=Succeeded", Current, Current),
        job("failed", work(json!({})), "Finished", Current, Failed),
        job("skipped", of("retired"), "Skipped=TemplateArchived", Current, Failed),
        job("cancelled", work(cancel), "Cancelled=Cancelled", Current, Failed),
        job("kept", work(json!({ "hold": true })), "Cancelled=JobDeleted", Terminating, Terminating),
    ]
}

fn groups() -> Vec<Row> {
    let of = |template: &str, more| {
        let member = json!({ "name": "a", "templateRef": { "name": template } });
        with(json!({ "mode": "Parallel", "jobs": [member] }), more)
    };
    let cancel = json!({ "cancel": { "reason": "not needed" } });
    let group = |name, spec, said, accepted, ended| row("JobGroup", name, spec, said, [accepted, ended]);
    vec![
        group("not-started", of("report", json!({ "started": false })), "Created", Current, Suspended),
        group("waiting", of("closed", json!({})), "Queued", Current, InProgress),
        group("running", of("report", json!({})), "Running", Current, InProgress),
        group("completed", of("report", json!({})), "Complete=Completed", Current, Current),
        group("completed-and-cancelled", of("report", json!({})), "Complete=Completed", Current, Current),
        group("partial", of("missing", json!({})), "Failed=Partial", Current, Failed),
        group("cancelled", of("report", cancel), "Cancelled=Cancelled", Current, Failed),
        group(
            "no-group",
            of("report", json!({ "resumeOf": { "name": "missing" } })),
            "Stalled=ResumeOf",
            Failed,
            Failed,
        ),
        group("kept", of("report", json!({ "started": false })), "Stalled=Deleted", Terminating, Terminating),
    ]
}

async fn make(scope: &Scope, row: &Row) {
    let mut made = object(row.kind, &json!({ "spec": row.spec }));
    made.metadata.generate_name = None;
    made.metadata.name = Some(row.name.into());
    if row.is_deleted() {
        made.metadata.finalizers = Some(vec![KEEPER.into()]);
    }
    scope.objects(row.kind).create(&PostParams::default(), &made).await.unwrap();
}

async fn patch(scope: &Scope, kind: &str, name: &str, patch: Value) {
    scope.objects(kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// The batch Job of a Job, once it is launched.
async fn batch_of(scope: &Scope, job: &str) -> String {
    until(&format!("{job} is launched"), || async {
        Some(api::<Job>(scope).get_opt(job).await.unwrap()?.status?.batch_job_ref?.name)
    })
    .await
}

/// Writes the status of a Job's batch Job.
async fn end(scope: &Scope, job: &str, status: Value) {
    let batch = batch_of(scope, job).await;
    api::<BatchJob>(scope).patch_status(&batch, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

/// The name of the Job that was made for that schedule, or for that group.
async fn job_of(scope: &Scope, owner: &str) -> String {
    until(&format!("{owner} has a Job"), || async {
        let jobs = api::<Job>(scope).list(&ListParams::default()).await.unwrap();
        let is_it = |job: &&Job| {
            let schedule = job.spec.schedule_ref.as_ref().map(|it| it.name.as_str());
            schedule.or(job.spec.group_ref.as_ref().map(|it| it.name.as_str())) == Some(owner)
        };
        jobs.items.iter().find(is_it).map(ResourceExt::name_any)
    })
    .await
}

/// Says of the pod of a Job that its container has started, as a kubelet would.
async fn start(scope: &Scope, job: &str) {
    let of_batch = format!("batch.kubernetes.io/job-name={}", batch_of(scope, job).await);
    let pods = api::<Pod>(scope);
    let pod = until("it has a pod", || async {
        let found = pods.list(&ListParams::default().labels(&of_batch)).await.unwrap();
        found.items.first().map(ResourceExt::name_any)
    })
    .await;
    let at = jiff::Timestamp::from_second(now().as_second()).unwrap();
    let container = json!({
        "name": "main", "image": "busybox", "imageID": "", "ready": true, "started": true, "restartCount": 0,
        "state": { "running": { "startedAt": at } },
    });
    let status = json!({ "status": { "phase": "Running", "startTime": at, "containerStatuses": [container] } });
    pods.patch_status(&pod, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

/// What the operator does not do itself.
async fn act(scope: &Scope, rows: &[Row]) {
    start(scope, "running").await;
    let suspend = Patch::Merge(json!({ "spec": { "suspend": true } }));
    let suspended = batch_of(scope, "suspended").await;
    api::<BatchJob>(scope).patch(&suspended, &PatchParams::default(), &suspend).await.unwrap();
    for job in ["completed", "completed-and-cancelled"] {
        end(scope, job, completed(now())).await;
        end(scope, &job_of(scope, job).await, completed(now())).await;
    }
    for job in ["failed", "retrying", &job_of(scope, "held").await] {
        end(scope, job, failed()).await;
    }
    for row in rows.iter().filter(|row| row.name == "completed-and-cancelled") {
        reach(scope, row).await;
        patch(scope, row.kind, row.name, json!({ "spec": { "cancel": { "reason": "too late" } } })).await;
    }
    for row in rows.iter().filter(|row| row.is_deleted()) {
        // What is deleted unseen says nothing.
        until(&format!("{} {} is seen", row.kind, row.name), || async {
            let found = scope.objects(row.kind).get(row.name).await.unwrap();
            (found.data["status"]["observedGeneration"].as_i64() == found.metadata.generation).then_some(())
        })
        .await;
        scope.objects(row.kind).delete(row.name, &DeleteParams::default()).await.unwrap();
    }
}

async fn reach(scope: &Scope, row: &Row) {
    until(&format!("{} {} says {}", row.kind, row.name, row.said), || async {
        let found = serde_json::to_value(scope.objects(row.kind).get(row.name).await.unwrap()).unwrap();
        row.is_reached(&found).then_some(())
    })
    .await;
}

/// The records of the namespace. They are done, whatever they record.
async fn records(scope: &Scope) -> Vec<Expected> {
    let found = api::<JobRun>(scope).list(&ListParams::default()).await.unwrap().items;
    for outcome in [Outcome::Completed, Outcome::Failed, Outcome::Skipped] {
        let says_so = |it: &JobRun| it.status.as_ref().is_some_and(|status| status.phase == outcome);
        assert!(found.iter().any(says_so), "no record says {}", outcome.as_str());
    }
    let expected = |it: &JobRun| Expected { kind: "JobRun", name: it.name_any(), accepted: Current, ended: Current };
    found.iter().map(expected).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kstatus_argo_cd_and_flux_agree_about_every_kind_in_every_phase() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        let rows: Vec<Row> = [templates(), schedules(), queues(), jobs(), groups()].into_iter().flatten().collect();
        for row in &rows {
            make(&scope, row).await;
        }
        act(&scope, &rows).await;
        for row in &rows {
            reach(&scope, row).await;
        }
        let of_row = |row: &Row| {
            let [accepted, ended] = row.health;
            Expected { kind: row.kind, name: row.name.into(), accepted, ended }
        };
        let mut table: Vec<Expected> = rows.iter().map(of_row).collect();
        table.extend(records(&scope).await);
        assert_thought(&scope, &table).await;
        for row in rows.iter().filter(|row| row.is_deleted()) {
            patch(&scope, row.kind, row.name, json!({ "metadata": { "finalizers": null } })).await;
        }
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}
