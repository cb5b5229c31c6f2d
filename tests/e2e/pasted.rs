//! Bodies of batch Jobs as people have them, on real pods: what they say stays, or is made up for.

use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::ResourceExt;
use kube::api::{DynamicObject, GroupVersionKind, PostParams};
use kube::core::ApiResource;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client};
use rota::api::{Job, JobTemplate, Outcome, Reason};
use rota::domain::launch::BATCH_TTL_SECONDS_MIN;
use serde_json::{Value, json};

use crate::support::make::{ad_hoc, of, template, with};
use crate::support::{World, in_world};

/// Objects of the admission API, which are in no namespace.
fn admission(client: &Client, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    Api::all_with(client.clone(), &ApiResource::from_gvk(&kind))
}

/// A policy about the batch Jobs of one namespace, in force while the test runs.
struct Policy {
    name: String,
    client: Client,
}

impl Policy {
    async fn start(world: &World, expression: &str, message: &str) -> Self {
        let name = format!("{}-batch-jobs", world.namespace);
        let rules =
            json!([{ "apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"] }]);
        let here = json!({ "matchLabels": { "kubernetes.io/metadata.name": world.namespace } });
        let policy = json!({
            "failurePolicy": "Fail", "matchConstraints": { "resourceRules": rules },
            "validations": [{ "expression": expression, "message": message }],
        });
        let binding = json!({
            "policyName": name, "validationActions": ["Deny"], "matchResources": { "namespaceSelector": here },
        });
        for (kind, spec) in [("ValidatingAdmissionPolicy", policy), ("ValidatingAdmissionPolicyBinding", binding)] {
            let object = json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": { "name": name }, "spec": spec,
            });
            let object = serde_json::from_value(object).unwrap();
            admission(&world.client, kind).create(&PostParams::default(), &object).await.unwrap();
        }
        let policy = Self { name, client: world.client.clone() };
        policy.in_force(world, message).await;
        policy
    }

    /// Waits until a batch Job that says nothing is refused.
    async fn in_force(&self, world: &World, message: &str) {
        let spec = ad_hoc("true")["jobTemplate"]["spec"].clone();
        let batch: BatchJob = serde_json::from_value(json!({ "metadata": { "name": "asks" }, "spec": spec })).unwrap();
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let refused = async || {
            let answer = world.api::<BatchJob>().create(&dry_run, &batch).await;
            answer.is_err_and(|error| error.to_string().contains(message)).then_some(())
        };
        world.until("the policy is in force", refused).await;
    }

    async fn end(self) {
        for kind in ["ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"] {
            let api = admission(&self.client, kind);
            api.delete(&self.name, &kube::api::DeleteParams::default()).await.unwrap();
        }
    }
}

/// The body with those fields of a batch Job.
fn with_fields(script: &str, fields: Value) -> Value {
    let mut spec = template(script);
    let batch = spec["jobTemplate"]["spec"].take();
    spec["jobTemplate"]["spec"] = with(batch, fields);
    spec
}

/// A policy that asks for a field of batch Jobs is satisfied by a body that has it, and the record is not lost though the
/// operator is away when the batch Job ends, and for longer than Kubernetes keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_asks_for_a_time_to_live_is_satisfied_and_no_record_is_lost() {
    in_world("pasted-ttl", async |world| {
        let message = "must set ttlSecondsAfterFinished";
        let policy = Policy::start(world, "has(object.spec.ttlSecondsAfterFinished)", message).await;
        world.create::<JobTemplate>("cleans", with_fields("sleep 3", json!({ "ttlSecondsAfterFinished": 1 }))).await;
        let job = world.create::<Job>("cleans", of("cleans")).await;
        world.running("cleans").await;
        world.operator().kill();
        let uid = job.uid().unwrap();
        let batch = world.batch_jobs_of(&uid).await.remove(0);
        let name = batch.name_any();
        assert_eq!(batch.spec.unwrap().ttl_seconds_after_finished, i32::try_from(BATCH_TTL_SECONDS_MIN).ok());
        let complete = await_condition(world.api::<BatchJob>(), &name, conditions::is_job_completed());
        tokio::time::timeout(crate::support::PATIENCE, complete).await.unwrap().unwrap();
        // Its time to live is over now.
        world.patch::<BatchJob>(&name, json!({ "spec": { "ttlSecondsAfterFinished": 0 } })).await;
        let no_pods = async || world.pods_of(&uid).await.is_empty().then_some(());
        world.until("Kubernetes has deleted the pods", no_pods).await;
        world.operator().restart();
        // What the body says of how long it is to be kept is said to the Job, which goes when it is recorded.
        let gone = async || world.api::<Job>().get_opt("cleans").await.unwrap().is_none().then_some(());
        world.until("the Job is gone", gone).await;
        let runs = world.runs_of(&uid).await;
        let status = runs[0].status.clone().unwrap();
        assert_eq!((status.phase, status.reason, runs.len()), (Outcome::Completed, Reason::Succeeded, 1));
        policy.end().await;
    })
    .await;
}

/// By the labels of pods NetworkPolicies and affinity select them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_labels_of_a_pod_template_are_those_of_the_pods() {
    in_world("pasted-labels", async |world| {
        let labels =
            json!({ "app.kubernetes.io/instance": "shop", "app.kubernetes.io/managed-by": "Helm", "app": "shop" });
        let mut spec = ad_hoc("true");
        spec["jobTemplate"]["metadata"] = json!({ "labels": labels });
        spec["jobTemplate"]["spec"]["template"]["metadata"] = json!({ "labels": labels });
        let job = world.create::<Job>("labelled", spec).await;
        assert_eq!(world.only_run("labelled").await.status.unwrap().reason, Reason::Succeeded);
        let uid = job.uid().unwrap();
        let pod = world.pods_of(&uid).await.remove(0);
        for (key, value) in labels.as_object().unwrap() {
            assert_eq!(pod.labels().get(key).map(String::as_str), value.as_str(), "{key}");
        }
        let batch = world.batch_jobs_of(&uid).await.remove(0);
        assert!(!batch.labels().contains_key("app.kubernetes.io/instance"), "a GitOps tool would prune it");
        let said = world.ended("labelled").await.status.unwrap().conditions;
        assert!(said.iter().any(|it| it.type_ == "Warning" && it.message.contains("metadata.labels")), "{said:?}");
    })
    .await;
}

/// Alert rules about failed batch Jobs are content once the Job has succeeded, though it is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_batch_job_of_a_failed_attempt_goes_when_a_later_one_succeeds() {
    in_world("pasted-failed", async |world| {
        let retry = json!({ "retry": { "maxAttempts": 2, "backoff": { "initialSeconds": 1 } } });
        let flaky = world.create::<Job>("flaky", with(ad_hoc("[ $ROTA_ATTEMPT = 2 ]"), retry.clone())).await;
        let failing = world.create::<Job>("failing", with(ad_hoc("exit 3"), retry)).await;
        let flaky = flaky.uid().unwrap();
        let left = async || {
            let left = world.batch_jobs_of(&flaky).await;
            (left.len() == 1 && left[0].status.as_ref()?.succeeded == Some(1)).then_some(())
        };
        world.until("only the batch Job that succeeded is left", left).await;
        assert_eq!(world.ended("flaky").await.status.unwrap().outcome, Some(Outcome::Completed));
        assert_eq!(world.runs_of(&flaky).await.len(), 2, "the records stay");
        world.ended("failing").await;
        assert_eq!(world.batch_jobs_of(&failing.uid().unwrap()).await.len(), 2, "of a Job that failed both stay");
    })
    .await;
}

/// Kubernetes makes the hostnames of an Indexed batch Job of its name and of the index: a long name of a Job, or of its template,
/// is no reason to refuse one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_indexed_job_runs_whatever_the_length_of_its_name() {
    in_world("pasted-indexed", async |world| {
        let indexed = json!({ "completionMode": "Indexed", "completions": 3, "parallelism": 3 });
        let template = "t".repeat(63);
        world.create::<JobTemplate>(&template, with_fields("hostname", indexed)).await;
        for length in [5, 58, 200] {
            let name = "j".repeat(length);
            let job = world.create::<Job>(&name, of(&template)).await;
            let status = world.only_run(&name).await.status.unwrap();
            assert_eq!((status.phase, status.reason), (Outcome::Completed, Reason::Succeeded), "{length}: {status:#?}");
            assert_eq!(world.pods_of(&job.uid().unwrap()).await.len(), 3);
        }
    })
    .await;
}
