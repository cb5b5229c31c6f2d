//! Templates while something refuses batch Jobs: that is no verdict about them, is said, and is over when it is gone.

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use rota::api::JobTemplate;
use serde_json::{Value, json};

use crate::cluster::{Scope, in_namespace, object};
use crate::examples::pod_template;
use crate::operator::{Operator, Rights, until};

async fn template(scope: &Scope, name: &str) -> JobTemplate {
    let found = scope.objects("JobTemplate").get(name).await.unwrap();
    serde_json::from_value(serde_json::to_value(found).unwrap()).unwrap()
}

async fn create(scope: &Scope, name: &str, job_template: Value) {
    let mut wanted = object("JobTemplate", &json!({ "spec": { "jobType": "x", "jobTemplate": job_template } }));
    wanted.metadata.generate_name = None;
    wanted.metadata.name = Some(name.into());
    scope.objects("JobTemplate").create(&PostParams::default(), &wanted).await.unwrap();
}

/// A condition of a template as it is now: status, reason and message.
async fn condition(scope: &Scope, name: &str, type_: &str) -> Option<(String, String, String)> {
    let status = template(scope, name).await.status?;
    let found = status.conditions.into_iter().find(|it| it.type_ == type_)?;
    Some((found.status, found.reason, found.message))
}

/// What refuses batch Jobs in one namespace: a policy, without a reason as most are written, so that the answer is a 422.
fn policy(namespace: &str) -> Value {
    let name = format!("no-batch-jobs-{namespace}");
    let only = json!({ "matchLabels": { "kubernetes.io/metadata.name": namespace } });
    let rules =
        json!([{ "apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"] }]);
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
            (policy(&scope.namespace), "no batch Jobs today"),
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

/// What others hold is theirs to let go.
#[tokio::test]
async fn the_finalizers_of_others_on_a_revision_stay() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        create(&scope, "report", pod_template()).await;
        let named = || async { template(&scope, "report").await.status?.current_revision };
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
