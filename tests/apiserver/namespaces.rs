//! An operator that works on some namespaces: with rights in these alone, with rights that are missing in one of them, and with a
//! watch of one of them that goes silent.

use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use rota::api::labels::JOB_NAME_ANNOTATION;
use rota::api::{Job, JobRun, Outcome, Queue};
use rota::runtime::clock::now;
use serde_json::{Value, json};

use crate::cluster::{Scope, api, create, in_namespace, kubectl};
use crate::completed::completed;
use crate::examples::pod_template;
use crate::operator::{Operator, Rights, until};
use crate::proxy::{Asked, Fate, Proxy};
use crate::sight::renewals;

/// How long a watch may bring no news: the least that there is.
const QUIET: &str = "--watch-quiet-seconds=5";
/// How many Jobs are launched elsewhere in the time in which nothing must happen.
const MEANWHILE: usize = 5;
/// How many renewals of its lease an operator has to do something that it must not.
const RENEWALS: usize = 3;
/// A namespace that does not exist.
const NO_NAMESPACE: &str = "rota-no-such-namespace";

/// A Job whose batch Job is ended by nobody but the test.
fn job() -> Value {
    let mut body = pod_template();
    body["spec"]["managedBy"] = json!("rota.dev/test");
    json!({ "jobType": "x", "queue": "line", "jobTemplate": body })
}

/// The names of the Jobs that have a batch Job.
async fn launched(scope: &Scope) -> Vec<String> {
    let found = api::<BatchJob>(scope).list(&ListParams::default()).await.unwrap().items;
    found.iter().map(|batch| batch.annotations()[JOB_NAME_ANNOTATION].clone()).collect()
}

async fn is_launched(scope: &Scope, name: &str) {
    until(&format!("{name} is launched in {}", scope.namespace), || async {
        launched(scope).await.iter().any(|it| it == name).then_some(())
    })
    .await;
}

async fn run(scope: &Scope, name: &str) {
    create(scope, "Job", name, job()).await;
    is_launched(scope, name).await;
}

/// Launches some Jobs one after the other, and ends them.
async fn run_meanwhile(scope: &Scope) {
    for number in 1..=MEANWHILE {
        let name = format!("meanwhile-{number}");
        run(scope, &name).await;
        end(scope, &name).await;
    }
}

/// Ends the batch Job of a Job.
async fn end(scope: &Scope, name: &str) {
    let batches = api::<BatchJob>(scope);
    let found = batches.list(&ListParams::default()).await.unwrap().items;
    let batch = found.iter().find(|batch| batch.annotations()[JOB_NAME_ANNOTATION] == name).unwrap().name_any();
    batches.patch_status(&batch, &PatchParams::default(), &Patch::Merge(completed(now()))).await.unwrap();
}

/// Whether no operator has looked at a Job; the API server makes a status of that generation up.
async fn is_untouched(scope: &Scope, name: &str) -> bool {
    let found = api::<Job>(scope).get(name).await.unwrap();
    found.metadata.finalizers.is_none() && found.status.is_none_or(|status| status.observed_generation == Some(-1))
}

/// The word for what a Job waits for.
async fn waits_for(scope: &Scope, name: &str) -> Option<String> {
    Some(api::<Job>(scope).get(name).await.unwrap().status?.waiting_for?.as_str().to_owned())
}

async fn is_paused(scope: &Scope, name: &str) -> bool {
    waits_for(scope, name).await.as_deref() == Some("ClusterPaused")
}

/// Sets the pause of the Queue that pauses everything.
async fn pause_everything(own: &Scope, pause: &Value) {
    let patch = Patch::Merge(json!({ "spec": { "paused": pause } }));
    api::<Queue>(own).patch("stop", &PatchParams::default(), &patch).await.unwrap();
}

async fn ready(operator: &Operator) {
    until("all is seen", || async { (operator.endpoint("/readyz").await == (200, "ok\n".into())).then_some(()) }).await;
}

/// A test with three namespaces.
async fn in_three<Running>(test: impl FnOnce(Scope, Scope, Scope) -> Running + Send + 'static)
where
    Running: Future<Output = ()> + Send + 'static,
{
    in_namespace(|first| async move {
        in_namespace(|second| async move { in_namespace(|third| test(first, second, third)).await }).await;
    })
    .await;
}

/// Of what the chart grants, all but what it grants in that namespace.
fn without(manifest: &str, scope: &Scope) -> String {
    let of_namespace = format!("namespace: \"{}\"", scope.namespace);
    let left: Vec<&str> = manifest.split("\n---\n").filter(|it| !it.contains(&of_namespace)).collect();
    left.join("\n---\n")
}

/// What the chart grants in that namespace alone.
fn only(manifest: &str, scope: &Scope) -> String {
    let of_namespace = format!("namespace: \"{}\"", scope.namespace);
    let found: Vec<&str> = manifest.split("\n---\n").filter(|it| it.contains(&of_namespace)).collect();
    assert_eq!(found.len(), 2, "a Role and a RoleBinding: {manifest}");
    found.join("\n---\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_on_the_namespaces_that_it_is_given_with_rights_in_no_other() {
    in_three(|first, second, third| async move {
        for scope in [&first, &second, &third] {
            create(scope, "Queue", "line", json!({})).await;
            create(scope, "Job", "before", job()).await;
        }
        let rights = Rights::in_namespaces(&first, &[&first, &second], false, |all| all);
        let more = format!("--namespace={}", second.namespace);
        let operator = Operator::start_with(&first, rights.kubeconfig(), "only", &[&more]);
        operator.leads().await;
        for scope in [&first, &second] {
            is_launched(scope, "before").await;
            run(scope, "after").await;
        }
        assert_eq!(operator.endpoint("/readyz").await, (200, "ok\n".into()));
        assert!(is_untouched(&third, "before").await && launched(&third).await.is_empty());
        drop(operator);
        rights.remove(&first);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_without_rights_hinders_no_other_and_is_caught_up_with_when_they_are_granted() {
    in_three(|first, second, _| async move {
        for scope in [&first, &second] {
            create(scope, "Queue", "line", json!({})).await;
            create(scope, "Job", "before", job()).await;
        }
        let rights = Rights::in_namespaces(&first, &[&first, &second], false, |all| without(&all, &second));
        let more = format!("--namespace={},{}", second.namespace, NO_NAMESPACE);
        let operator = Operator::start_with(&first, rights.kubeconfig(), "only", &[&more, QUIET]);
        operator.leads().await;
        is_launched(&first, "before").await;
        run_meanwhile(&first).await;
        assert!(is_untouched(&second, "before").await && launched(&second).await.is_empty());
        let (code, said) = operator.endpoint("/readyz").await;
        let sentence = |of: &str| format!("- queues.rota.dev in namespace {of}: queues.rota.dev is forbidden");
        assert_eq!(code, 200, "the first one is worked on: {said}");
        assert!(said.contains(&sentence(&second.namespace)) && said.contains(&sentence(NO_NAMESPACE)), "{said}");
        assert!(!said.contains(&format!("in namespace {}", first.namespace)), "{said}");
        let (_, metrics) = operator.endpoint("/metrics").await;
        assert!(metrics.contains(&format!("{{kind=\"pods\",namespace=\"{}\"}}", second.namespace)), "{metrics}");
        kubectl(&["apply", "-f", "-"], &only(rights.manifest(), &second)).expect_success();
        is_launched(&second, "before").await;
        run(&second, "after").await;
        until("all of it is seen", || async {
            let (_, said) = operator.endpoint("/readyz").await;
            (!said.contains(&second.namespace) && said.contains(NO_NAMESPACE)).then_some(())
        })
        .await;
        drop(operator);
        rights.remove(&first);
    })
    .await;
}

/// The limit for the cluster counts what was seen to run last, also where the next leader sees nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_where_rights_were_taken_away_counts_also_for_the_next_leader() {
    in_three(|first, second, _| async move {
        for scope in [&first, &second] {
            create(scope, "Queue", "line", json!({})).await;
        }
        let rights = Rights::in_namespaces(&first, &[&first, &second], false, |all| all);
        let more = format!("--namespace={}", second.namespace);
        let more = [more.as_str(), QUIET, "--max-running=1"];
        let mut left = Operator::start_with(&first, rights.kubeconfig(), "left", &more);
        left.leads().await;
        let right = Operator::start_with(&first, rights.kubeconfig(), "right", &more);
        ready(&right).await;
        run(&second, "long").await;
        let metric = format!("{{kind=\"jobs.batch\",namespace=\"{}\"}} ", second.namespace);
        kubectl(&["delete", "-f", "-"], &only(rights.manifest(), &second)).expect_success();
        until("the standby sees that no more", || async {
            let (_, metrics) = right.endpoint("/metrics").await;
            let age = metrics.lines().find_map(|line| line.split_once(&metric)).unwrap().1;
            (age.parse::<f64>().unwrap() > 12.0).then_some(())
        })
        .await;
        left.kill();
        right.leads().await;
        create(&first, "Job", "next", job()).await;
        until("it waits", || async { (waits_for(&first, "next").await? == "ClusterLimit").then_some(()) }).await;
        end(&second, "long").await;
        renewals(&first, RENEWALS).await;
        assert_eq!(waits_for(&first, "next").await.as_deref(), Some("ClusterLimit"), "nobody knows that it has ended");
        assert!(launched(&first).await.is_empty());
        kubectl(&["apply", "-f", "-"], &only(rights.manifest(), &second)).expect_success();
        is_launched(&first, "next").await;
        until("it is recorded", || async { api::<Job>(&second).get("long").await.unwrap().status?.outcome }).await;
        drop((left, right));
        rights.remove(&first);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_watch_goes_silent_nothing_is_done_until_it_is_seen_again_and_elsewhere_all_goes_on() {
    in_three(|first, second, _| async move {
        let rights = Rights::in_namespaces(&first, &[&first, &second], false, |all| all);
        let proxy = Proxy::start(rights.kubeconfig()).await;
        let more = format!("--namespace={}", second.namespace);
        let operator = Operator::start_with(&first, proxy.kubeconfig(), "only", &[&more, QUIET]);
        operator.leads().await;
        create(&first, "Queue", "line", json!({})).await;
        create(&second, "Queue", "line", json!({ "maxRunning": 1 })).await;
        run(&second, "first").await;
        create(&second, "Job", "second", job()).await;
        until("the second one waits", || waits_for(&second, "second")).await;
        let path = format!("/namespaces/{}/jobs", second.namespace);
        let is_of_jobs =
            move |it: &Asked| it.method == "GET" && it.path.starts_with("/apis/rota.dev/") && it.path.ends_with(&path);
        proxy.order(is_of_jobs, Fate::Swallow);
        let sentence = format!("- jobs.rota.dev in namespace {}: no news for", second.namespace);
        until("it says what it does not see", || async {
            let (code, said) = operator.endpoint("/readyz").await;
            assert_eq!(code, 200, "the other one is seen: {said}");
            assert!(!said.contains(&format!("in namespace {}", first.namespace)), "{said}");
            said.contains(&sentence).then_some(())
        })
        .await;
        // Of this it is not told; of the end of the first one it is.
        let cancel = Patch::Merge(json!({ "spec": { "cancel": { "reason": "no longer wanted" } } }));
        api::<Job>(&second).patch("second", &PatchParams::default(), &cancel).await.unwrap();
        end(&second, "first").await;
        run_meanwhile(&first).await;
        assert_eq!(launched(&second).await, ["first"], "nobody knows whether the second one is still wanted");
        let records = api::<JobRun>(&second).list(&ListParams::default()).await.unwrap().items;
        assert!(records.is_empty(), "nobody knows how it ended: {records:?}");
        proxy.clear();
        let outcome = |name: &'static str| {
            let second = &second;
            until("it has ended", move || async move { api::<Job>(second).get(name).await.unwrap().status?.outcome })
        };
        assert_eq!((outcome("first").await, outcome("second").await), (Outcome::Completed, Outcome::Skipped));
        ready(&operator).await;
        drop(operator);
        rights.remove(&first);
    })
    .await;
}

/// The Queues of the operator's own namespace are read, though it works on nothing there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_everything_holds_also_where_the_operators_own_namespace_is_not_worked_on() {
    in_three(|first, second, own| async move {
        let rights = Rights::in_namespaces(&own, &[&first, &second], false, |all| all);
        let more = [format!("--namespace={}", second.namespace), format!("--lease-namespace={}", own.namespace)];
        let pause = json!({ "reason": "the database is moved", "scope": "Cluster" });
        create(&own, "Queue", "stop", json!({ "paused": pause })).await;
        create(&own, "Job", "own", job()).await;
        for scope in [&first, &second] {
            create(scope, "Queue", "line", json!({})).await;
            create(scope, "Job", "before", job()).await;
        }
        let more = [more[0].as_str(), more[1].as_str()];
        let operator = Operator::start_with(&first, rights.kubeconfig(), "only", &more);
        for scope in [&first, &second] {
            until("it waits", || async { is_paused(scope, "before").await.then_some(()) }).await;
        }
        pause_everything(&own, &Value::Null).await;
        for scope in [&first, &second] {
            is_launched(scope, "before").await;
        }
        pause_everything(&own, &pause).await;
        let number = AtomicUsize::new(0);
        until("the pause is heard of", || async {
            let name = format!("after-{}", number.fetch_add(1, Ordering::Relaxed));
            create(&second, "Job", &name, job()).await;
            let is_decided = || async {
                (launched(&second).await.contains(&name) || waits_for(&second, &name).await.is_some()).then_some(())
            };
            until("it is launched or waits", is_decided).await;
            is_paused(&second, &name).await.then_some(())
        })
        .await;
        assert!(is_untouched(&own, "own").await && launched(&own).await.is_empty());
        let stop = api::<Queue>(&own).get("stop").await.unwrap();
        assert!(stop.status.is_none_or(|status| status.observed_generation == Some(-1)), "it is only read");
        drop(operator);
        rights.remove(&own);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_launched_while_nobody_knows_whether_everything_is_paused() {
    in_three(|first, _, own| async move {
        let reads = "resources: [queues]\n    verbs: [get, list, watch]";
        let rights = Rights::in_namespaces(&own, &[&first], false, |all| {
            assert!(all.contains(reads), "{all}");
            all.replace(reads, "resources: [queues]\n    verbs: [get]")
        });
        create(&first, "Queue", "line", json!({})).await;
        create(&first, "Job", "before", job()).await;
        let more = format!("--lease-namespace={}", own.namespace);
        let operator = Operator::start_with(&first, rights.kubeconfig(), "only", &[&more]);
        operator.leads().await;
        until("it waits", || async { api::<Job>(&first).get("before").await.unwrap().status?.phase }).await;
        renewals(&own, RENEWALS).await;
        let (code, said) = operator.endpoint("/readyz").await;
        let sentence = format!("- queues.rota.dev in namespace {}: queues.rota.dev is forbidden", own.namespace);
        assert!(code == 503 && said.contains(&sentence), "{said}");
        assert!(launched(&first).await.is_empty());
        kubectl(&["apply", "-f", "-"], rights.manifest()).expect_success();
        is_launched(&first, "before").await;
        ready(&operator).await;
        drop(operator);
        rights.remove(&own);
    })
    .await;
}
