//! Templates while something refuses batch Jobs: that is no verdict about them, is said, and is over when it is gone.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use rota::api::labels::MANAGED_BY;
use rota::api::{Job, JobTemplate, Queue};
use rota::runtime::clock::now;
use serde_json::{Value, json};

use crate::cluster::{Scope, api, create as create_object, in_namespace};
use crate::completed::completed;
use crate::examples::pod_template;
use crate::operator::{Operator, Rights, until};

async fn template(scope: &Scope, name: &str) -> JobTemplate {
    api::<JobTemplate>(scope).get(name).await.unwrap()
}

async fn create(scope: &Scope, name: &str, job_template: Value) {
    create_object(scope, "JobTemplate", name, json!({ "jobType": "x", "jobTemplate": job_template })).await;
}

async fn current_revision(scope: &Scope, name: &str) -> Option<String> {
    template(scope, name).await.status?.current_revision
}

/// A condition of a template as it is now: status, reason and message.
async fn condition(scope: &Scope, name: &str, type_: &str) -> Option<(String, String, String)> {
    let status = template(scope, name).await.status?;
    let found = status.conditions.into_iter().find(|it| it.type_ == type_)?;
    Some((found.status, found.reason, found.message))
}

/// A policy that refuses an operation on batch Jobs in one namespace, without a reason as most are written, so that the answer is
/// a 422.
fn policy(namespace: &str, operation: &str) -> Value {
    let name = format!("no-batch-jobs-{namespace}");
    let only = json!({ "matchLabels": { "kubernetes.io/metadata.name": namespace } });
    let rules =
        json!([{ "apiGroups": ["batch"], "apiVersions": ["v1"], "operations": [operation], "resources": ["jobs"] }]);
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": name },
            "spec": {
                "failurePolicy": "Fail", "matchConstraints": { "resourceRules": rules },
                "validations": [{ "expression": "false", "message": "no batch Jobs today" }],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": name },
            "spec": {
                "policyName": name, "validationActions": ["Deny"], "matchResources": { "namespaceSelector": only },
            },
        },
    ] })
}

/// A webhook that nobody can reach.
fn webhook(namespace: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": format!("unreachable-{namespace}") },
        "webhooks": [{
            "name": "unreachable.rota.example", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
            "failurePolicy": "Fail", "clientConfig": { "url": "https://127.0.0.1:9/" },
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
            "rules": [{ "apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"] }],
        }],
    })
}

/// A quota that is used up.
fn quota() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" },
        "spec": { "hard": { "count/jobs.batch": "0" } },
    })
}

/// Waits until batch Jobs are refused in the namespace.
async fn in_force(scope: &Scope, word: &str) {
    let batch = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "asks" }, "spec": pod_template()["spec"],
    });
    let refused = || async {
        let printed = scope.kubectl_with(&["create", "--dry-run=server", "-f", "-"], &batch.to_string());
        printed.errors.contains(word).then_some(())
    };
    until("batch Jobs are refused", refused).await;
}

/// A template that is applied while batch Jobs are refused is used when they are not any more, by itself.
#[tokio::test]
async fn a_refusal_by_admission_is_said_and_forgotten_when_it_is_over() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        for (refusing, word) in [
            (policy(&scope.namespace, "CREATE"), "no batch Jobs today"),
            (webhook(&scope.namespace), "webhook"),
            (quota(), "exceeded quota"),
        ] {
            scope.kubectl_with(&["create", "-f", "-"], &refusing.to_string()).expect_success();
            in_force(&scope, word).await;
            create(&scope, "refused", pod_template()).await;
            let said = || async {
                let refused = condition(&scope, "refused", "AdmissionRefused").await;
                refused.or(condition(&scope, "refused", "Ready").await.filter(|(_, reason, _)| reason == "Unchecked"))
            };
            let (_, _, message) = until("it is said", said).await;
            assert!(message.contains(word), "{message}");
            assert_eq!(condition(&scope, "refused", "Stalled").await, None, "nobody has to change the template");
            scope.kubectl_with(&["delete", "-f", "-"], &refusing.to_string()).expect_success();
            let over = || async {
                let ready = condition(&scope, "refused", "Ready").await.is_some_and(|(status, _, _)| status == "True");
                (ready && condition(&scope, "refused", "AdmissionRefused").await.is_none()).then_some(())
            };
            until("it is over", over).await;
            scope.kubectl(&["delete", "rtmpl", "refused"]).expect_success();
        }
        // What Kubernetes itself finds wrong is somebody's to change.
        let mut wrong = pod_template();
        wrong["spec"]["template"]["spec"]["containers"][0]["name"] = json!("Not A Name");
        create(&scope, "wrong", wrong).await;
        let stalled = || condition(&scope, "wrong", "Stalled");
        let (status, reason, message) = until("it is told to be wrong", stalled).await;
        assert_eq!((status.as_str(), reason.as_str()), ("True", "InvalidPodTemplate"), "{message}");
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

/// The watch shows a revision no more whose label somebody took off. It is there all the same.
#[tokio::test]
async fn a_revision_that_loses_its_label_gets_it_back_and_jobs_run_it() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        create(&scope, "report", pod_template()).await;
        let named = || current_revision(&scope, "report");
        let revision = until("it has a revision", named).await;
        let paused = json!({ "paused": { "reason": "maintenance" } });
        create_object(&scope, "Queue", "line", paused).await;
        let queued = json!({ "templateRef": { "name": "report" }, "queue": "line" });
        create_object(&scope, "Job", "queued", queued).await;
        let job = |name: &'static str| {
            let scope = &scope;
            async move { api::<Job>(scope).get(name).await.unwrap().status }
        };
        until("it is queued", || async { job("queued").await?.template }).await;
        let revisions: Api<ControllerRevision> = api(&scope);
        let unlabel = || async {
            let patch = Patch::Merge(json!({ "metadata": { "labels": { MANAGED_BY: null } } }));
            revisions.patch(&revision, &PatchParams::default(), &patch).await.unwrap();
        };
        let labelled =
            || async { revisions.get(&revision).await.unwrap().labels().contains_key(MANAGED_BY).then_some(()) };
        // The current one.
        unlabel().await;
        until("it is labelled again", labelled).await;
        create_object(&scope, "Job", "new", json!({ "templateRef": { "name": "report" } })).await;
        until("a new Job is launched", || async { job("new").await?.batch_job_ref }).await;
        // One that only a queued Job needs.
        let edit = Patch::Merge(json!({ "spec": { "timeoutSeconds": 77 } }));
        api::<JobTemplate>(&scope).patch("report", &PatchParams::default(), &edit).await.unwrap();
        let other = || async { named().await.filter(|name| *name != revision) };
        until("it has another revision", other).await;
        unlabel().await;
        let resume = Patch::Merge(json!({ "spec": { "paused": null } }));
        api::<Queue>(&scope).patch("line", &PatchParams::default(), &resume).await.unwrap();
        let status = until("it is launched", || async { job("queued").await.filter(|it| it.batch_job_ref.is_some()) });
        assert_eq!(status.await.template.map(|it| it.revision), Some(revision.clone()));
        labelled().await.expect("it is labelled again");
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

/// A policy that keeps batch Jobs from being deleted keeps those, and not the Jobs that they are of.
#[tokio::test]
async fn a_job_goes_whose_batch_jobs_must_not_be_deleted() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        let policy = policy(&scope.namespace, "DELETE").to_string();
        scope.kubectl_with(&["apply", "-f", "-"], &policy).expect_success();
        let batches: Api<BatchJob> = api(&scope);
        let mut other = run_by_nobody();
        other["metadata"] = json!({ "generateName": "other-" });
        let other = serde_json::from_value(other).unwrap();
        let is_refused = || async {
            let found = batches.create(&PostParams::default(), &other).await.unwrap();
            batches.delete(&found.name_any(), &DeleteParams::background()).await.is_err().then_some(())
        };
        until("the policy is in force", is_refused).await;
        let body = run_by_nobody();
        let retry = json!({ "maxAttempts": 2, "backoff": { "initialSeconds": 1 } });
        let spec = json!({ "jobType": "x", "jobTemplate": body, "retry": retry, "ttlSecondsAfterFinished": 1 });
        create_object(&scope, "Job", "twice", spec).await;
        let launched = |attempt: u32| {
            let scope = &scope;
            until("an attempt is launched", move || async move {
                let status = api::<Job>(scope).get("twice").await.unwrap().status?;
                status.batch_job_ref.map(|it| it.name).filter(|_| status.attempts == attempt)
            })
        };
        let end = |name: String, status: Value| {
            let batches = &batches;
            async move { batches.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap() }
        };
        end(launched(1).await, failed()).await;
        let second = launched(2).await;
        end(second.clone(), completed(now())).await;
        let gone = || async { api::<Job>(&scope).get_opt("twice").await.unwrap().is_none().then_some(()) };
        until("the Job is gone", gone).await;
        assert!(batches.get_opt(&second).await.unwrap().is_some(), "nothing may delete it");
        scope.kubectl_with(&["delete", "-f", "-"], &policy).expect_success();
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

/// The body of a batch Job whose status nobody writes but the test.
pub fn run_by_nobody() -> Value {
    let mut body = pod_template();
    body["spec"]["managedBy"] = json!("rota.dev/test");
    body
}

/// What the Job controller writes about a batch Job that has failed.
pub fn failed() -> Value {
    let mut failed = completed(now());
    failed["status"]["completionTime"] = Value::Null;
    for (index, type_) in ["FailureTarget", "Failed"].into_iter().enumerate() {
        let condition = &mut failed["status"]["conditions"][index];
        (condition["type"], condition["reason"]) = (json!(type_), json!("BackoffLimitExceeded"));
    }
    failed
}

/// What others hold is theirs to let go.
#[tokio::test]
async fn the_finalizers_of_others_on_a_revision_stay() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        create(&scope, "report", pod_template()).await;
        let named = || current_revision(&scope, "report");
        let revision = until("it has a revision", named).await;
        let api: Api<ControllerRevision> = Api::namespaced(scope.client.clone(), &scope.namespace);
        let ours = api.get(&revision).await.unwrap().finalizers().to_vec();
        let both = [ours.clone(), vec!["example.com/archive".to_owned()]].concat();
        let patch = json!({ "metadata": { "finalizers": both } });
        api.patch(&revision, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        scope.kubectl(&["delete", "rtmpl", "report"]).expect_success();
        let let_go = || async {
            let found = api.get_opt(&revision).await.unwrap().expect("somebody else holds it");
            (found.finalizers() == ["example.com/archive"] && found.metadata.deletion_timestamp.is_some()).then_some(())
        };
        until("Rota lets go of it", let_go).await;
        let free = json!({ "metadata": { "finalizers": null } });
        api.patch(&revision, &PatchParams::default(), &Patch::Merge(free)).await.unwrap();
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}
