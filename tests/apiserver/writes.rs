//! Requests that write: the API server gives up on each of them in time, and what comes late all the same and cannot be changed any
//! more is said.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use rota::api::{Job, JobRun, JobTemplate, Reason};
use rota::runtime::connection;
use serde_json::{Value, json};

use crate::answers::asked::{get, token};
use crate::cluster::{Scope, api, create, in_namespace, kubeconfig};
use crate::examples::pod_template;
use crate::launching::succeed;
use crate::operator::{Operator, Rights, until};
use crate::proxy::{Asked, Fate, Proxy};

/// How long the webhook of these tests may take, in seconds, unless the request has less time.
const WEBHOOK_SECONDS: u32 = 20;

/// A client whose writes the API server gives up on after that time.
async fn limited(limit: Duration) -> Client {
    let file = Kubeconfig::read_from(kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    connection::client(config, limit).unwrap()
}

fn config_map(name: &str, data: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name }, "data": { "it": data } })).unwrap()
}

/// A webhook that cannot be reached, asked before any ConfigMap of the namespace is written. The API server says how long it might
/// have taken: no longer than there is time for the request.
async fn webhook(scope: &Scope) {
    let webhook = json!({
        "metadata": { "name": scope.namespace },
        "webhooks": [{
            "name": "gone.rota.dev",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": WEBHOOK_SECONDS,
            "clientConfig": { "url": "https://127.0.0.1:1/" },
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": scope.namespace } },
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"],
            }],
        }],
    });
    let all: Api<ValidatingWebhookConfiguration> = Api::all(scope.client.clone());
    all.create(&PostParams::default(), &serde_json::from_value(webhook).unwrap()).await.unwrap();
}

#[tokio::test]
async fn the_api_server_gives_a_write_of_any_verb_no_more_time_than_its_limit() {
    in_namespace(|scope| async move {
        let plain = api::<ConfigMap>(&scope);
        plain.create(&PostParams::default(), &config_map("it", "before")).await.unwrap();
        webhook(&scope).await;
        let limited: Api<ConfigMap> = Api::namespaced(limited(Duration::from_secs(1)).await, &scope.namespace);
        let (params, patch) = (PostParams::default(), Patch::Merge(json!({ "data": { "it": "after" } })));
        let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
        until("the webhook is asked", || async { limited.patch("it", &dry_run, &patch).await.err() }).await;
        let apply = Patch::Apply(json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "it": "after" } }));
        let answers = [
            ("POST", limited.create(&params, &config_map("other", "after")).await.map(drop)),
            ("PUT", limited.replace("it", &params, &config_map("it", "after")).await.map(drop)),
            ("PATCH", limited.patch("it", &PatchParams::default(), &patch).await.map(drop)),
            ("apply", limited.patch("it", &PatchParams::apply("test").force(), &apply).await.map(drop)),
            ("DELETE", limited.delete("it", &DeleteParams::default()).await.map(drop)),
        ];
        for (verb, answer) in answers {
            // Its time may be over before the webhook is asked. Without a limit that has 20 s.
            let kube::Error::Api(status) = answer.expect_err(verb) else { panic!("{verb} was not answered") };
            let ended = status.code == 504 || status.message.contains("/?timeout=1s");
            assert!(ended, "{verb}: {status:?}");
        }
        let found = limited.list(&ListParams::default()).await.unwrap().items;
        let found = found.iter().filter(|it| it.name_any() != "kube-root-ca.crt");
        let found: Vec<_> = found.map(|it| (it.name_any(), it.data.as_ref().unwrap()["it"].clone())).collect();
        assert_eq!(found, [("it".to_owned(), "before".to_owned())]);
        let all: Api<ValidatingWebhookConfiguration> = Api::all(scope.client.clone());
        all.delete(&scope.namespace, &DeleteParams::default()).await.unwrap();
    })
    .await;
}

/// The options of a delete stand in its body: what stands in its address leaves them as they are.
#[tokio::test]
async fn a_limit_changes_nothing_of_what_a_write_asks_for() {
    in_namespace(|scope| async move {
        let limited: Api<ConfigMap> = Api::namespaced(limited(Duration::from_secs(60)).await, &scope.namespace);
        let made = limited.create(&PostParams::default(), &config_map("it", "before")).await.unwrap();
        let apply = Patch::Apply(json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "it": "applied" } }));
        let conflict = limited.patch("it", &PatchParams::apply("test"), &apply).await.unwrap_err();
        assert!(matches!(&conflict, kube::Error::Api(status) if status.code == 409), "{conflict:?}");
        let applied = limited.patch("it", &PatchParams::apply("test").force(), &apply).await.unwrap();
        assert_eq!(applied.data.unwrap()["it"], "applied");
        let stale = limited.replace("it", &PostParams::default(), &made).await.unwrap_err();
        assert!(matches!(&stale, kube::Error::Api(status) if status.code == 409), "{stale:?}");
        let delete = |uid: &str| DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), ..Preconditions::default() }),
            propagation_policy: Some(PropagationPolicy::Orphan),
            ..DeleteParams::default()
        };
        let other = limited.delete("it", &delete("another")).await.unwrap_err();
        assert!(matches!(&other, kube::Error::Api(status) if status.code == 409), "{other:?}");
        let left = limited.delete("it", &delete(&made.uid().unwrap())).await.unwrap().left().unwrap();
        assert_eq!(left.finalizers(), ["orphan"]);
        let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        limited.patch("it", &PatchParams::default(), &free).await.unwrap();
    })
    .await;
}

fn job(more: Value) -> Value {
    let mut spec = json!({ "jobType": "x", "jobTemplate": pod_template() });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

async fn batch_of(scope: &Scope, name: &str) -> String {
    let told = || async { Some(api::<Job>(scope).get(name).await.unwrap().status?.batch_job_ref?.name) };
    until("it is launched", told).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_operator_writes_has_a_limit_and_what_it_reads_has_none() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, true);
        let proxy = Proxy::start(rights.kubeconfig()).await;
        let operator = Operator::start_with(&scope, proxy.kubeconfig(), "only", &[]);
        operator.leads().await;
        create(&scope, "JobTemplate", "report", json!({ "jobType": "x", "jobTemplate": pod_template() })).await;
        create(&scope, "Schedule", "often", json!({ "templateRef": { "name": "report" }, "interval": "1s" })).await;
        create(&scope, "Job", "short", job(json!({ "ttlSecondsAfterFinished": 0 }))).await;
        create(&scope, "Job", "cancelled", job(json!({}))).await;
        succeed(&scope, &batch_of(&scope, "short").await).await;
        batch_of(&scope, "cancelled").await;
        let cancel = Patch::Merge(json!({ "spec": { "cancel": { "reason": "enough" } } }));
        api::<Job>(&scope).patch("cancelled", &PatchParams::default(), &cancel).await.unwrap();
        let reader = token(&scope, "reader", &[("get,list", "jobs.rota.dev,queues.rota.dev", "")]);
        let path = format!("/v1/namespaces/{}/queues", scope.namespace);
        assert_eq!(get(operator.port().await, &path, &reader).await.code, 200);
        let wanted = [
            ("POST", "/jobs"),
            ("POST", "/jobruns"),
            ("POST", "/events"),
            ("POST", "/controllerrevisions"),
            ("POST", "/tokenreviews"),
            ("POST", "/subjectaccessreviews"),
            ("POST", "/leases"),
            ("PUT", "/leases/rota"),
            ("PATCH", "/status"),
            ("PATCH", "/cancelled"),
            ("PATCH", "/short"),
            ("DELETE", "/short"),
        ];
        until("it has written all that it writes", || async {
            let is_sent = |(method, end): &(&str, &str)| {
                !proxy.asked(|it| it.method == *method && it.path.ends_with(end)).is_empty()
            };
            let left: Vec<_> = wanted.iter().filter(|it| !is_sent(it)).collect();
            left.is_empty().then_some(())
        })
        .await;
        for (asked, _) in proxy.asked(|_| true) {
            let expected = match asked.method.as_str() {
                "GET" => None,
                _ if asked.path.contains("/leases") => Some("timeout=5s"),
                _ => Some("timeout=10s"),
            };
            let limits: Vec<&str> = asked.query.split('&').filter(|it| it.starts_with("timeout=")).collect();
            assert_eq!(limits, expected.into_iter().collect::<Vec<_>>(), "{} {}", asked.method, asked.path);
        }
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

/// What an earlier leader sent comes through after the next one has launched what it says was not run: that cannot be undone, so it
/// is said wherever people look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_came_too_late_stands_and_it_is_said_that_it_is_not_what_happened() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let proxy = Proxy::start(rights.kubeconfig()).await;
        let is_record = |it: &Asked| it.method == "POST" && it.path.ends_with("/jobruns");
        proxy.order(is_record, Fate::Swallow);
        let report = json!({ "jobType": "x", "archived": true, "jobTemplate": pod_template() });
        create(&scope, "JobTemplate", "report", report).await;
        let mut earlier = Operator::start_with(&scope, proxy.kubeconfig(), "only", &[]);
        earlier.leads().await;
        create(&scope, "Job", "one", json!({ "templateRef": { "name": "report" } })).await;
        let sent = until("it is sent", || async { proxy.asked(is_record).into_iter().next() }).await.0;
        earlier.kill();
        let restored = Patch::Merge(json!({ "spec": { "archived": false } }));
        api::<JobTemplate>(&scope).patch("report", &PatchParams::default(), &restored).await.unwrap();
        let operator = Operator::start(&scope, &rights, "only");
        let batch = batch_of(&scope, "one").await;
        let late: JobRun = serde_json::from_str(&sent.text()).unwrap();
        let (outcome, reason) = late.status.as_ref().map(|status| (status.phase, status.reason)).unwrap();
        assert_eq!((late.name_any(), reason), (batch.clone(), Reason::TemplateArchived));
        api::<JobRun>(&scope).create(&PostParams::default(), &late).await.unwrap();
        succeed(&scope, &batch).await;
        let status = until("it has ended", || async {
            api::<Job>(&scope).get("one").await.unwrap().status.filter(|status| status.outcome.is_some())
        })
        .await;
        // The record is what counts, here as in everything that is made from it.
        assert_eq!((status.outcome, status.reason), (Some(outcome), Some(reason)));
        let said = format!(
            "JobRun {batch} was there before the attempt ended, and stands: it says {} (TemplateArchived), and the attempt ended \
             as Completed (Succeeded)",
            outcome.as_str()
        );
        let condition = status.conditions.iter().find(|it| it.reason == "TemplateArchived" && it.status == "True").unwrap();
        assert_eq!(condition.message, said);
        until("an event says it", || async {
            let events = api::<Event>(&scope).list(&ListParams::default()).await.unwrap().items;
            let is_it = |event: &Event| event.reason.as_deref() == Some("RecordDiffers");
            events.into_iter().find(is_it).filter(|event| event.note.as_ref() == Some(&said))
        })
        .await;
        let (_, metrics) = operator.endpoint("/metrics").await;
        assert!(metrics.contains("rota_contradicted_records_total 1\n"), "{metrics}");
        let runs = api::<JobRun>(&scope).list(&ListParams::default()).await.unwrap().items;
        assert_eq!(runs.len(), 1, "{runs:#?}");
        assert!(api::<BatchJob>(&scope).get_opt(&batch).await.unwrap().is_some(), "it says how it ended");
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}
