//! Launches that the API server answers with errors, refuses, or that somebody interferes with: what runs, and what is recorded.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use rota::api::labels::{JOB_NAME_ANNOTATION, JOB_UID};
use rota::api::{Job, JobRun, Outcome, Queue, Reason};
use rota::domain::names;
use rota::runtime::lease::LEASE_NAME;
use serde_json::{Value, json};

use crate::cluster::{Scope, api, create, in_namespace};
use crate::completed::completed;
use crate::examples::pod_template;
use crate::operator::{Operator, Rights, until};
use crate::proxy::{Asked, Fate, Instead, Proxy};

fn ad_hoc(more: Value) -> Value {
    let mut spec = json!({ "jobType": "x", "jobTemplate": pod_template() });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

async fn job(scope: &Scope, name: &str) -> Job {
    api::<Job>(scope).get(name).await.unwrap()
}

async fn patch(scope: &Scope, name: &str, patch: Value) {
    api::<Job>(scope).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// The names of the Jobs that have a batch Job.
async fn launched(scope: &Scope) -> Vec<String> {
    let found = api::<BatchJob>(scope).list(&ListParams::default()).await.unwrap();
    found.items.iter().map(|batch| batch.annotations()[JOB_NAME_ANNOTATION].clone()).collect()
}

async fn records(scope: &Scope, job: &Job) -> Vec<JobRun> {
    let of_job = ListParams::default().labels(&format!("{JOB_UID}={}", job.uid().unwrap()));
    api::<JobRun>(scope).list(&of_job).await.unwrap().items
}

/// The word and the sentence of what a Job waits for.
fn waits_for(job: &Job) -> Option<(String, String)> {
    let status = job.status.as_ref()?;
    let said = status.conditions.iter().find(|it| it.type_ == "Dispatched")?;
    Some((status.waiting_for?.as_str().to_owned(), said.message.clone()))
}

fn is_launch(asked: &Asked) -> bool {
    asked.method == "POST" && asked.path.contains("/apis/batch/v1/") && asked.path.ends_with("/jobs")
}

/// What a Job controller writes when the batch Job of a Job has succeeded.
pub async fn succeed(scope: &Scope, name: &str) {
    let batches = api::<BatchJob>(scope);
    // The time of the start is immutable, and the real controller may have written it.
    until("it has started", || async { batches.get(name).await.unwrap().status?.start_time }).await;
    let mut status = completed(rota::runtime::clock::now());
    status["status"].as_object_mut().unwrap().remove("startTime");
    batches.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

/// A test with an operator behind a proxy.
async fn behind_proxy<Running>(test: impl FnOnce(Scope, Arc<Proxy>) -> Running + Send + 'static)
where
    Running: Future<Output = ()> + Send + 'static,
{
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let proxy = Arc::new(Proxy::start(rights.kubeconfig()).await);
        let operator = Operator::start_with(&scope, proxy.kubeconfig(), "one", &[]);
        operator.leads().await;
        test(scope.clone(), proxy.clone()).await;
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

/// I3: a launch that was done and answered with an error keeps its place, so that no second Job runs beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_that_was_done_and_answered_with_500_keeps_its_place_in_the_queue() {
    behind_proxy(|scope, proxy| async move {
        create(&scope, "Queue", "line", json!({ "maxRunning": 1 })).await;
        // What the watch would tell comes later than the answer.
        proxy.order(|it| it.method == "GET" && it.path.contains("/batch/v1/") && !it.is_watch(), Fate::Refuse(503));
        proxy.order(|it| it.is_watch_of("batch/jobs"), Fate::Swallow);
        proxy.order(is_launch, Fate::DoneBut(Instead::Code(500)));
        create(&scope, "Job", "first", ad_hoc(json!({ "queue": "line" }))).await;
        until("it was sent", || async { (!proxy.asked(is_launch).is_empty()).then_some(()) }).await;
        create(&scope, "Job", "second", ad_hoc(json!({ "queue": "line" }))).await;
        until("the second one says what it waits for", || async {
            let said = waits_for(&job(&scope, "second").await)?;
            (said.0 == "QueueLimit" && said.1.contains("1 of 1 running, as of ")).then_some(())
        })
        .await;
        until("the first one says what is not known", || async {
            let said = waits_for(&job(&scope, "first").await)?;
            said.1.contains("it is not known yet whether the API server created the batch Job").then_some(())
        })
        .await;
        assert_eq!(launched(&scope).await, ["first"]);
        proxy.clear();
        until("the first one is known to run", || async { job(&scope, "first").await.status?.batch_job_ref.map(drop) })
            .await;
        assert_eq!(launched(&scope).await, ["first"]);
        assert_eq!(waits_for(&job(&scope, "second").await).unwrap().0, "QueueLimit");
    })
    .await;
}

/// Of Jobs with one key exactly one runs, also if nobody knows at first which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_that_was_done_and_answered_with_502_keeps_its_key() {
    behind_proxy(|scope, proxy| async move {
        proxy.order(|it| it.is_watch_of("batch/jobs"), Fate::Swallow);
        proxy.order_times(2, is_launch, Fate::DoneBut(Instead::Code(502)));
        let spec = ad_hoc(json!({ "dedupKey": "k" }));
        create(&scope, "Job", "first", spec.clone()).await;
        until("it was sent", || async { (!proxy.asked(is_launch).is_empty()).then_some(()) }).await;
        create(&scope, "Job", "second", spec).await;
        let second = until("the second one is recorded", || async {
            let second = job(&scope, "second").await;
            (second.status.as_ref()?.reason? == Reason::DuplicateKey).then_some(second)
        })
        .await;
        assert_eq!(launched(&scope).await, ["first"]);
        assert_eq!(records(&scope, &second).await.len(), 1);
    })
    .await;
}

/// Every other create that is done and answered with an error is made once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_writes_that_were_done_and_answered_with_500_are_done_once() {
    behind_proxy(|scope, proxy| async move {
        let creates = |it: &Asked| it.method == "POST" && !it.path.ends_with("/events");
        let kinds = ["/jobruns", "/controllerrevisions", "/rota.dev/v1alpha1/"];
        for kind in kinds {
            proxy.order_times(2, move |it| creates(it) && it.path.contains(kind), Fate::DoneBut(Instead::Code(500)));
        }
        let statuses =
            |it: &Asked| it.method == "PATCH" && it.path.contains("/queues/") && it.path.ends_with("/status");
        proxy.order_times(2, statuses, Fate::DoneBut(Instead::Code(500)));
        create(&scope, "JobTemplate", "report", json!({ "jobType": "x", "jobTemplate": pod_template() })).await;
        let soon = rota::runtime::clock::now() + jiff::SignedDuration::from_secs(8);
        let soon = jiff::Timestamp::from_second(soon.as_second()).unwrap().to_string();
        create(&scope, "Schedule", "once", json!({ "templateRef": { "name": "report" }, "at": soon })).await;
        create(&scope, "Job", "one", json!({ "templateRef": { "name": "report" } })).await;
        until("it is launched", || async { job(&scope, "one").await.status?.batch_job_ref.map(drop) }).await;
        until("the schedule's Job is launched too", || async { (launched(&scope).await.len() == 2).then_some(()) })
            .await;
        let jobs = api::<Job>(&scope).list(&ListParams::default()).await.unwrap().items;
        assert_eq!(jobs.len(), 2, "{:?}", jobs.iter().map(ResourceExt::name_any).collect::<Vec<_>>());
        let batch = job(&scope, "one").await.status.unwrap().batch_job_ref.unwrap().name;
        succeed(&scope, &batch).await;
        let one = until("it has ended", || async {
            let one = job(&scope, "one").await;
            one.status.as_ref()?.outcome.map(|_| one)
        })
        .await;
        let records = records(&scope, &one).await;
        assert_eq!(records.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), [batch]);
        assert_eq!(one.status.unwrap().run_refs.len(), 1);
    })
    .await;
}

/// A refusal by a policy without a reason has the code of what is not valid, and is waited out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_policy_refuses_waits_and_runs_when_the_policy_is_gone() {
    behind_proxy(|scope, _| async move {
        let name = format!("no-batch-{}", scope.namespace);
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": name },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": ["batch"], "apiVersions": ["*"], "resources": ["jobs"], "operations": ["CREATE"],
                }]},
                "validations": [{ "expression": "false", "message": "not on Fridays" }],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": name },
            "spec": {
                "policyName": name, "validationActions": ["Deny"],
                "matchResources": { "namespaceSelector": { "matchLabels": {
                    "kubernetes.io/metadata.name": scope.namespace,
                }}},
            },
        });
        let both = format!("{policy}\n---\n{binding}");
        scope.kubectl_with(&["apply", "-f", "-"], &both).expect_success();
        let refused = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "probe" }, "spec": pod_template()["spec"],
        });
        until("the policy is in force", || async {
            let printed = scope.kubectl_with(&["create", "--dry-run=server", "-f", "-"], &refused.to_string());
            printed.errors.contains("not on Fridays").then_some(())
        })
        .await;
        create(&scope, "Job", "one", ad_hoc(json!({}))).await;
        until("it waits for admission", || async {
            let (word, sentence) = waits_for(&job(&scope, "one").await)?;
            (word == "Admission" && sentence.contains("not on Fridays")).then_some(())
        })
        .await;
        scope.kubectl_with(&["delete", "-f", "-"], &both).expect_success();
        until("it is launched", || async { job(&scope, "one").await.status?.batch_job_ref.map(drop) }).await;
    })
    .await;
}

/// Under a quota one Job at a time is tried, not each for itself; and all run when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_a_quota_holds_back_tries_one_job_at_a_time_and_says_so() {
    const JOBS: usize = 30;
    behind_proxy(|scope, proxy| async move {
        let message = "jobs.batch \"x\" is forbidden: exceeded quota: jobs, requested: count/jobs.batch=1";
        let refusal = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403,
            "message": message,
        });
        proxy.order(is_launch, Fate::Say(403, refusal));
        create(&scope, "Queue", "line", json!({ "paused": { "reason": "not yet" } })).await;
        for index in 0..JOBS {
            create(&scope, "Job", &format!("job-{index}"), ad_hoc(json!({ "queue": "line" }))).await;
        }
        let go = Patch::Merge(json!({ "spec": { "paused": null } }));
        api::<Queue>(&scope).patch("line", &PatchParams::default(), &go).await.unwrap();
        until("the queue says so", || async {
            let status = api::<Queue>(&scope).get("line").await.unwrap().status?;
            let said = status.conditions.into_iter().find(|it| it.type_ == "LaunchRefused")?;
            (said.reason == "QuotaExceeded" && said.message.contains("exceeded quota")).then_some(())
        })
        .await;
        let before = proxy.asked(is_launch).len();
        // Each Job may have been tried when it was not known yet; from then on it is one at a time, rarer and rarer.
        until("several were tried", || async { (proxy.asked(is_launch).len() >= before + 3).then_some(()) }).await;
        assert!(before < 2 * JOBS, "{before}");
        let waiting = api::<Job>(&scope).list(&ListParams::default()).await.unwrap().items;
        assert!(waiting.iter().filter_map(waits_for).any(|(word, _)| word == "Admission"));
        proxy.clear();
        until("all are launched", || async { (launched(&scope).await.len() == JOBS).then_some(()) }).await;
        until("the queue says nothing of it any more", || async {
            let status = api::<Queue>(&scope).get("line").await.unwrap().status?;
            status.conditions.iter().all(|it| it.type_ != "LaunchRefused").then_some(())
        })
        .await;
    })
    .await;
}

/// I6, I13: what was launched is not edited any more, and status and record say what ran.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_after_the_launch_and_before_the_first_status_changes_no_record() {
    behind_proxy(|scope, proxy| async move {
        let template = json!({
            "jobType": "x", "params": [{ "name": "DAY", "default": "none" }], "jobTemplate": pod_template(),
        });
        create(&scope, "JobTemplate", "report", template).await;
        until("the template is read", || async {
            let found = scope.objects("JobTemplate").get("report").await.unwrap();
            found.data["status"]["currentRevision"].is_string().then_some(())
        })
        .await;
        let of_jobs =
            |it: &Asked| it.method == "PATCH" && it.path.contains("/rota.dev/v1alpha1/") && it.path.contains("/jobs/");
        proxy.order(move |it| of_jobs(it) && it.path.ends_with("/status"), Fate::Refuse(503));
        create(&scope, "Job", "one", json!({ "templateRef": { "name": "report" }, "params": { "DAY": "old" } })).await;
        until("it is launched", || async { (launched(&scope).await == ["one"]).then_some(()) }).await;
        patch(&scope, "one", json!({ "spec": { "params": { "DAY": "new" }, "retry": { "maxAttempts": 5 } } })).await;
        proxy.clear();
        let status = until("its status is written", || async {
            job(&scope, "one").await.status.filter(|status| status.batch_job_ref.is_some())
        })
        .await;
        assert_eq!(status.params["DAY"], "old");
        let batch = status.batch_job_ref.unwrap().name;
        let body: BatchJob = api::<BatchJob>(&scope).get(&batch).await.unwrap();
        assert!(serde_json::to_string(&body.spec).unwrap().contains("old"));
        succeed(&scope, &batch).await;
        let record = until("it is recorded", || async { api::<JobRun>(&scope).get_opt(&batch).await.unwrap() }).await;
        assert_eq!(record.spec.params["DAY"], "old");
        // The same where somebody deletes the batch Job before anything is written.
        proxy.order(move |it| of_jobs(it) && it.path.ends_with("/status"), Fate::Refuse(503));
        create(&scope, "Job", "two", json!({ "templateRef": { "name": "report" }, "params": { "DAY": "old" } })).await;
        until("it is launched", || async { launched(&scope).await.contains(&"two".to_owned()).then_some(()) }).await;
        patch(&scope, "two", json!({ "spec": { "params": { "DAY": "new" } } })).await;
        let two = job(&scope, "two").await.uid().unwrap();
        let of_two = ListParams::default().labels(&format!("rota.dev/job-uid={two}"));
        let batch = api::<BatchJob>(&scope).list(&of_two).await.unwrap().items.remove(0).name_any();
        api::<BatchJob>(&scope).delete(&batch, &DeleteParams::background()).await.unwrap();
        proxy.clear();
        let record = until("it is recorded", || async { api::<JobRun>(&scope).get_opt(&batch).await.unwrap() }).await;
        assert_eq!(record.status.unwrap().reason, Reason::BatchJobDeleted);
        assert_eq!(record.spec.params["DAY"], "old");
    })
    .await;
}

/// I13: the same of what a Job without a template runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_image_of_an_ad_hoc_job_that_is_edited_after_its_launch_is_not_in_its_record() {
    behind_proxy(|scope, proxy| async move {
        proxy.order(|it| it.method == "PATCH" && it.path.ends_with("/jobs/one/status"), Fate::Refuse(503));
        create(&scope, "Job", "one", ad_hoc(json!({}))).await;
        until("it is launched", || async { (launched(&scope).await == ["one"]).then_some(()) }).await;
        let mut edited = pod_template();
        let main = &mut edited["spec"]["template"]["spec"]["containers"][0];
        let before = (main["image"].clone(), main["command"].clone());
        (main["image"], main["command"]) = (json!("other"), json!(["other"]));
        patch(&scope, "one", json!({ "spec": { "jobTemplate": edited } })).await;
        proxy.clear();
        let batch =
            until("its status is written", || async { job(&scope, "one").await.status?.batch_job_ref }).await.name;
        until("an event says that it was edited too late", || async {
            let events = api::<Event>(&scope).list(&ListParams::default()).await.unwrap().items;
            events.into_iter().find(|event| event.reason.as_deref() == Some("EditedTooLate"))
        })
        .await;
        succeed(&scope, &batch).await;
        let record = until("it is recorded", || async { api::<JobRun>(&scope).get_opt(&batch).await.unwrap() }).await;
        let ran = record.status.unwrap().containers.remove(0);
        assert_eq!((json!(ran.image), json!(ran.command)), before);
        // The same where the batch Job is gone.
        proxy.order(|it| it.method == "PATCH" && it.path.ends_with("/jobs/two/status"), Fate::Refuse(503));
        create(&scope, "Job", "two", ad_hoc(json!({}))).await;
        until("it is launched", || async { launched(&scope).await.contains(&"two".to_owned()).then_some(()) }).await;
        patch(&scope, "two", json!({ "spec": { "jobTemplate": edited } })).await;
        let batch = names::attempt("two", &job(&scope, "two").await.uid().unwrap(), 1);
        api::<BatchJob>(&scope).delete(&batch, &DeleteParams::background()).await.unwrap();
        proxy.clear();
        let record = until("it is recorded", || async { api::<JobRun>(&scope).get_opt(&batch).await.unwrap() }).await;
        let ran = record.status.unwrap().containers.remove(0);
        assert_eq!((json!(ran.image), json!(ran.command)), before);
    })
    .await;
}

/// I13: a record that somebody else put under the name that the record of an attempt will have is not believed, and nothing
/// is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_record_is_not_believed_and_the_true_one_has_another_name() {
    behind_proxy(|scope, _| async move {
        create(&scope, "Job", "one", ad_hoc(json!({}))).await;
        let one = until("it is launched", || async {
            let one = job(&scope, "one").await;
            one.status.as_ref()?.batch_job_ref.is_some().then_some(one)
        })
        .await;
        let batch = one.status.as_ref().unwrap().batch_job_ref.clone().unwrap().name;
        let forged = json!({
            "apiVersion": rota::api::API_VERSION, "kind": "JobRun",
            "metadata": { "name": batch, "annotations": { "rota.dev/seal": "0".repeat(64) } },
            "spec": {
                "jobRef": { "name": "one", "uid": one.uid() }, "jobType": "x", "attempt": 1, "priority": 0, "queue": "default",
            },
            "status": { "phase": "Failed", "reason": "ExitCode", "exitCode": 7, "finishedAt": "2026-03-01T00:00:00.000000Z" },
        });
        let forged: JobRun = serde_json::from_value(forged).unwrap();
        // What was created within the second of the Lease might be older than it.
        let lease = api::<Lease>(&scope).get(LEASE_NAME).await.unwrap();
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        until("it would be younger than the Lease", || async {
            let tried = api::<JobRun>(&scope).create(&dry, &forged).await.unwrap();
            (tried.creation_timestamp() > lease.creation_timestamp()).then_some(())
        })
        .await;
        api::<JobRun>(&scope).create(&PostParams::default(), &forged).await.unwrap();
        succeed(&scope, &batch).await;
        let one = until("it has ended", || async {
            let one = job(&scope, "one").await;
            one.status.as_ref()?.outcome.map(|_| one)
        })
        .await;
        let status = one.status.as_ref().unwrap();
        assert_eq!((status.outcome, status.reason), (Some(Outcome::Completed), Some(Reason::Succeeded)));
        let name = &status.run_refs[0].name;
        assert!(name.starts_with(&format!("{batch}-")), "{name}");
        let record: JobRun = api(&scope).get(name).await.unwrap();
        assert_eq!(record.status.unwrap().phase, Outcome::Completed);
        assert_eq!(records(&scope, &one).await.len(), 1, "the forged one has no labels");
    })
    .await;
}

/// A batch Job of somebody else's under the name of an attempt is left alone: the attempt runs under its other name, and is
/// followed and recorded under that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_whose_name_is_taken_runs_under_its_other_name() {
    in_namespace(|scope| async move {
        create(&scope, "Job", "one", ad_hoc(json!({}))).await;
        let uid = job(&scope, "one").await.uid().unwrap();
        let (own, other) = (names::attempt("one", &uid, 1), names::other_attempt("one", &uid, 1));
        let squatter = json!({ "metadata": { "name": own }, "spec": pod_template()["spec"] });
        let squatter: BatchJob = serde_json::from_value(squatter).unwrap();
        api::<BatchJob>(&scope).create(&PostParams::default(), &squatter).await.unwrap();
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        let said = until("it is followed", || async { job(&scope, "one").await.status?.batch_job_ref }).await;
        assert_eq!(said.name, other);
        succeed(&scope, &other).await;
        let status = until("it has ended", || async {
            job(&scope, "one").await.status.filter(|status| status.outcome.is_some())
        })
        .await;
        assert_eq!(status.run_refs[0].name, other);
        let left = api::<BatchJob>(&scope).get(&own).await.unwrap();
        assert!(left.owner_references().is_empty() && left.metadata.deletion_timestamp.is_none());
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}
