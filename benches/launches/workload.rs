//! What is scheduled: the same small Job by a CronJob, by a Rota Schedule, and directly.

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job as BatchJob};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use rota::api::{DEFAULT_QUEUE, Job, JobTemplate, Queue, Schedule};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The controller that the Jobs name, so that the Job controller leaves them to the benchmark.
const MANAGED_BY: &str = "rota.dev/bench";
/// The namespace of the operator's lease.
pub const OWN_NAMESPACE: &str = "default";
/// How many objects are created at the same time.
pub const WRITERS: usize = 64;
/// The JobTemplate of Rota's schedules.
const TEMPLATE: &str = "hello";

fn batch_job_spec() -> Value {
    json!({
        "managedBy": MANAGED_BY,
        "backoffLimit": 0,
        "template": { "spec": {
            "restartPolicy": "Never",
            "containers": [{
                "name": "main",
                "image": "busybox",
                "command": ["echo", "hello"],
                "resources": { "requests": { "cpu": "10m", "memory": "8Mi" } },
            }],
        } },
    })
}

/// Makes a namespace.
pub async fn namespace(client: &Client, name: &str) {
    let wanted = json!({ "metadata": { "name": name } });
    let api: Api<Namespace> = Api::all(client.clone());
    api.create(&PostParams::default(), &serde_json::from_value(wanted).unwrap()).await.unwrap();
}

/// Creates as many objects as wanted, many at a time.
async fn create<Kind>(api: &Api<Kind>, objects: impl IntoIterator<Item = Value>)
where
    Kind: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let parameters = PostParams::default();
    let requests = objects.into_iter().map(|object| {
        let parameters = &parameters;
        async move {
            let object: Kind = serde_json::from_value(object).unwrap();
            api.create(parameters, &object).await.unwrap();
        }
    });
    stream::iter(requests).buffer_unordered(WRITERS).collect::<()>().await;
}

/// Crontab expression of one minute of the year, in UTC.
fn once_at(due: Timestamp) -> String {
    let time = due.to_zoned(jiff::tz::TimeZone::UTC);
    format!("{} {} {} {} *", time.minute(), time.hour(), time.day(), time.month())
}

/// CronJobs that are due at a whole minute. Finished Jobs are cleaned up at once, which is part of what is counted.
pub async fn cron_jobs(client: &Client, namespace: &str, count: usize, due: Timestamp) {
    let object = |number| cron_job(&format!("due-{number}"), &once_at(due), 0);
    create(&Api::<CronJob>::namespaced(client.clone(), namespace), (0..count).map(object)).await;
}

/// One CronJob that is due each minute.
pub async fn every_minute(client: &Client, namespace: &str) {
    create(&Api::<CronJob>::namespaced(client.clone(), namespace), [cron_job("single", "* * * * *", 3)]).await;
}

fn cron_job(name: &str, schedule: &str, kept: u32) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "schedule": schedule,
            "timeZone": "Etc/UTC",
            "successfulJobsHistoryLimit": kept,
            "jobTemplate": { "spec": batch_job_spec() },
        },
    })
}

/// Suspends the CronJob that is due each minute.
pub async fn suspend_single(client: &Client, namespace: &str) {
    let patch = Patch::Merge(json!({ "spec": { "suspend": true } }));
    let api: Api<CronJob> = Api::namespaced(client.clone(), namespace);
    api.patch("single", &PatchParams::default(), &patch).await.unwrap();
}

/// The template of Rota's schedules. Finished Jobs are cleaned up at once, which is part of what is counted.
pub async fn template(client: &Client, namespace: &str) {
    let object = json!({
        "metadata": { "name": TEMPLATE },
        "spec": { "jobType": "hello", "ttlSecondsAfterFinished": 0, "jobTemplate": { "spec": batch_job_spec() } },
    });
    create(&Api::<JobTemplate>::namespaced(client.clone(), namespace), [object]).await;
}

/// The queue that pauses everything, in the operator's own namespace.
const GATE: &str = "gate";
/// How many priorities the Jobs of a namespace have.
const PRIORITIES: usize = 7;

/// Pauses every queue.
pub async fn pause_everything(client: &Client) {
    let api: Api<Queue> = Api::namespaced(client.clone(), OWN_NAMESPACE);
    let spec = json!({ "paused": { "reason": "nothing is to start before all wait", "scope": "Cluster" } });
    let gate =
        json!({ "apiVersion": "rota.dev/v1alpha1", "kind": "Queue", "metadata": { "name": GATE }, "spec": spec });
    api.patch(GATE, &PatchParams::apply("rota-bench"), &Patch::Apply(gate)).await.unwrap();
}

/// Lets every queue go.
pub async fn resume_everything(client: &Client) {
    let api: Api<Queue> = Api::namespaced(client.clone(), OWN_NAMESPACE);
    let patch = Patch::Merge(json!({ "spec": { "paused": null } }));
    api.patch(GATE, &PatchParams::default(), &patch).await.unwrap();
}

/// Makes the queue that Jobs are in when they name none.
pub async fn queue(client: &Client, namespace: &str, spec: &Value) {
    let object = json!({ "metadata": { "name": DEFAULT_QUEUE }, "spec": spec });
    create(&Api::<Queue>::namespaced(client.clone(), namespace), [object]).await;
}

/// Edits that queue.
pub async fn edit_queue(client: &Client, namespace: &str, spec: &Value) {
    let api: Api<Queue> = Api::namespaced(client.clone(), namespace);
    api.patch(DEFAULT_QUEUE, &PatchParams::default(), &Patch::Merge(json!({ "spec": spec }))).await.unwrap();
}

/// Jobs of several priorities.
pub async fn jobs(client: &Client, namespace: &str, count: usize) {
    let object = |number: usize| one_job(&format!("job-{number:05}"), number * 5 % PRIORITIES);
    create(&Api::<Job>::namespaced(client.clone(), namespace), (0..count).map(object)).await;
}

/// One Job.
pub async fn job(client: &Client, namespace: &str, name: &str) {
    create(&Api::<Job>::namespaced(client.clone(), namespace), [one_job(name, 0)]).await;
}

fn one_job(name: &str, priority: usize) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "templateRef": { "name": TEMPLATE }, "priority": priority } })
}

/// Batch Jobs that Kueue holds until there is room in its LocalQueue.
pub async fn batch_jobs_for_kueue(client: &Client, namespace: &str, local_queue: &str, count: usize) {
    let object = |number: usize| {
        let labels = json!({ "kueue.x-k8s.io/queue-name": local_queue });
        let mut spec = batch_job_spec();
        spec["suspend"] = true.into();
        json!({ "metadata": { "name": format!("job-{number:05}"), "labels": labels }, "spec": spec })
    };
    create(&Api::<BatchJob>::namespaced(client.clone(), namespace), (0..count).map(object)).await;
}

/// The names of the Jobs of a namespace, in the order in which they are to be launched (I4): none was moved.
pub async fn in_order(client: &Client, namespace: &str) -> Vec<String> {
    let api: Api<Job> = Api::namespaced(client.clone(), namespace);
    let mut jobs = api.list(&ListParams::default()).await.unwrap().items;
    jobs.sort_by_key(|job| {
        let queued = job.status.as_ref().and_then(|status| status.queued_at.as_ref()).map(|time| time.0);
        (std::cmp::Reverse(job.spec.priority), queued, job.name_any())
    });
    jobs.into_iter().map(|job| job.name_any()).collect()
}

/// Schedules that are due at a whole minute.
pub async fn schedules(client: &Client, namespace: &str, count: usize, due: Timestamp) {
    let object = |number| schedule(&format!("due-{number}"), &json!({ "cron": once_at(due) }));
    create(&Api::<Schedule>::namespaced(client.clone(), namespace), (0..count).map(object)).await;
}

/// Schedules that are due one after the other.
pub async fn schedules_at(client: &Client, namespace: &str, instants: &[Timestamp]) {
    let objects = instants.iter().enumerate();
    let object = |(number, due): (usize, &Timestamp)| schedule(&format!("single-{number}"), &json!({ "at": due }));
    create(&Api::<Schedule>::namespaced(client.clone(), namespace), objects.map(object)).await;
}

fn schedule(name: &str, timing: &Value) -> Value {
    let mut object = json!({ "metadata": { "name": name }, "spec": { "templateRef": { "name": TEMPLATE } } });
    for (key, value) in timing.as_object().expect("timing is a JSON object") {
        object["spec"][key] = value.clone();
    }
    object
}

/// A batch Job like one that a system has made: its labels, annotations and spec, without what the API server added.
pub async fn like_one_of(client: &Client, namespace: &str) -> Option<BatchJob> {
    let api: Api<BatchJob> = Api::namespaced(client.clone(), namespace);
    let mut job = api.list(&ListParams::default().limit(1)).await.unwrap().items.pop()?;
    let (labels, annotations) = (job.labels().clone(), job.annotations().clone());
    job.metadata = kube::api::ObjectMeta::default();
    *job.labels_mut() = labels;
    *job.annotations_mut() = annotations;
    job.status = None;
    let spec = job.spec.as_mut().expect("a Job has a spec");
    spec.selector = None;
    if let Some(labels) = spec.template.metadata.as_mut().and_then(|metadata| metadata.labels.as_mut()) {
        labels.retain(|key, _| !key.contains("controller-uid") && !key.contains("job-name"));
    }
    Some(job)
}

/// Creates copies of a batch Job, in the namespaces in turn, as fast as the API server takes them from so many writers.
pub async fn flood(client: &Client, namespaces: &[String], like: &BatchJob, count: usize, writers: usize) {
    let requests = (0..count).map(|number| {
        let api: Api<BatchJob> = Api::namespaced(client.clone(), &namespaces[number % namespaces.len()]);
        let mut job = like.clone();
        job.metadata.name = Some(format!("flood-{writers}-{number}"));
        async move { api.create(&PostParams::default(), &job).await.map(drop).unwrap() }
    });
    stream::iter(requests).buffer_unordered(writers).collect::<()>().await;
}
