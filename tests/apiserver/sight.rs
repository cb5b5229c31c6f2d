//! What an operator does that does not see: connections to the API server go silent, as when the other end dies without a word.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use rota::api::{Job, JobGroup, JobPhase, JobRun, JobTemplate, Outcome, Reason, Schedule};
use rota::runtime::clock::now;
use rota::runtime::lease::LEASE_NAME;
use serde_json::{Value, json};

use crate::cluster::{Scope, api, create, in_namespace};
use crate::completed::completed;
use crate::operator::{Operator, Rights, until};
use crate::proxy::{Asked, Fate, Proxy};

/// How long a watch may bring no news: the least that there is.
const QUIET: [&str; 2] = ["--watch-quiet-seconds", "5"];
/// How many renewals of its lease an operator has to do something that it must not.
const RENEWALS: usize = 5;
/// Into how many watches a quiet time is divided.
const WATCHES: usize = 5;

/// A template whose batch Jobs are ended by nobody but the test.
fn report() -> Value {
    let pod = json!({ "spec": { "restartPolicy": "Never", "containers": [{ "name": "main", "image": "busybox" }] } });
    json!({ "jobType": "x", "jobTemplate": { "spec": { "managedBy": "rota.dev/test", "template": pod } } })
}

/// That template, ready to be used.
async fn template(scope: &Scope) {
    create(scope, "JobTemplate", "report", report()).await;
    until("the template is ready", || async {
        let status = api::<JobTemplate>(scope).get("report").await.unwrap().status?;
        status.conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True").then_some(())
    })
    .await;
}

async fn make_job(scope: &Scope, name: &str) {
    create(scope, "Job", name, json!({ "templateRef": { "name": "report" }, "queue": "line" })).await;
}

async fn job(scope: &Scope, name: &str) -> Job {
    api::<Job>(scope).get(name).await.unwrap()
}

async fn launched(scope: &Scope, name: &str) -> String {
    let told = || async { Some(job(scope, name).await.status?.batch_job_ref?.name) };
    until("its status tells of its batch Job", told).await
}

async fn all<K>(scope: &Scope) -> Vec<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api::<K>(scope).list(&ListParams::default()).await.unwrap().items
}

/// The times for which the schedule has a Job.
async fn times_with_a_job(scope: &Scope) -> BTreeSet<Timestamp> {
    all::<Job>(scope).await.into_iter().filter_map(|job| Some(job.spec.scheduled_time?.0)).collect()
}

/// Waits until the leader has renewed its lease so often.
pub async fn renewals(scope: &Scope, times: usize) {
    let mut seen = BTreeSet::new();
    while seen.len() <= times {
        let lease = until("the lease is renewed", || async {
            let lease = api::<Lease>(scope).get(LEASE_NAME).await.unwrap();
            (!seen.contains(&lease.resource_version())).then_some(lease.resource_version())
        });
        seen.insert(lease.await);
    }
}

fn is_of_jobs(it: &Asked) -> bool {
    it.is_watch_of("rota.dev/jobs") || it.is_list("rota.dev/jobs")
}

/// How old the operator says the news of a kind is, in seconds.
async fn news_age(operator: &Operator, kind: &str, scope: &Scope) -> f64 {
    let (_, text) = operator.endpoint("/metrics").await;
    let name = format!("rota_watch_news_age_seconds{{kind=\"{kind}\",namespace=\"{}\"}} ", scope.namespace);
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_watch_goes_silent_says_so_and_decides_nothing_until_it_sees_again() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let proxy = Proxy::start(rights.kubeconfig()).await;
        let operator = Operator::start_with(&scope, proxy.kubeconfig(), "only", &QUIET);
        operator.leads().await;
        template(&scope).await;
        create(&scope, "Queue", "line", json!({ "maxRunning": 1 })).await;
        make_job(&scope, "first").await;
        let first = launched(&scope, "first").await;
        make_job(&scope, "second").await;
        until("the second waits", || async { job(&scope, "second").await.status?.waiting_for }).await;
        assert_eq!(operator.endpoint("/readyz").await.0, 200);
        proxy.order(is_of_jobs, Fate::Swallow);
        let said = until("it is not ready", || async {
            let (code, said) = operator.endpoint("/readyz").await;
            (code == 503).then_some(said)
        })
        .await;
        assert!(said.contains(&format!("- jobs.rota.dev in namespace {}: no news for", scope.namespace)), "{said}");
        assert_eq!(said.lines().count(), 2, "{said}");
        // Of this it is not told.
        let cancel = Patch::Merge(json!({ "spec": { "cancel": { "reason": "no longer wanted" } } }));
        api::<Job>(&scope).patch("second", &PatchParams::default(), &cancel).await.unwrap();
        // Of these it is.
        let ended = Patch::Merge(completed(now()));
        api::<BatchJob>(&scope).patch_status(&first, &PatchParams::default(), &ended).await.unwrap();
        create(&scope, "Schedule", "every", json!({ "interval": "1s", "templateRef": { "name": "report" } })).await;
        renewals(&scope, RENEWALS).await;
        let batches: Vec<String> = all::<BatchJob>(&scope).await.iter().map(ResourceExt::name_any).collect();
        assert_eq!(batches, [first], "it was launched although nobody knows whether it is still wanted");
        assert!(times_with_a_job(&scope).await.is_empty(), "it was fired although nobody knows what was fired already");
        assert!(all::<JobRun>(&scope).await.is_empty(), "it was recorded although nobody knows how it ended");
        proxy.clear();
        let outcome = |name: &'static str| {
            let scope = &scope;
            until("it has ended", move || async move { job(scope, name).await.status?.outcome })
        };
        assert_eq!((outcome("first").await, outcome("second").await), (Outcome::Completed, Outcome::Skipped));
        until("the schedule fires", || async { times_with_a_job(&scope).await.first().copied() }).await;
        until("it is ready", || async { (operator.endpoint("/readyz").await.0 == 200).then_some(()) }).await;
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

/// A record is for ever: what is to be recorded is not taken from a watch that lags behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_not_recorded_for_a_template_as_a_silent_watch_showed_it_last() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let proxy = Proxy::start(rights.kubeconfig()).await;
        let operator = Operator::start_with(&scope, proxy.kubeconfig(), "only", &[]);
        operator.leads().await;
        template(&scope).await;
        create(&scope, "Queue", "line", json!({})).await;
        let archived = |archived: bool| {
            let patch = Patch::Merge(json!({ "spec": { "archived": archived } }));
            let scope = &scope;
            async move { api::<JobTemplate>(scope).patch("report", &PatchParams::default(), &patch).await.unwrap() }
        };
        archived(true).await;
        make_job(&scope, "of-archived").await;
        let outcome = || async { job(&scope, "of-archived").await.status?.reason };
        assert_eq!(until("it has ended", outcome).await, Reason::TemplateArchived);
        proxy.order(|it| it.is_watch_of("rota.dev/jobtemplates") || it.is_list("rota.dev/jobtemplates"), Fate::Swallow);
        archived(false).await;
        make_job(&scope, "of-restored").await;
        launched(&scope, "of-restored").await;
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

/// The one Job that there is.
async fn only_job(scope: &Scope) -> Job {
    until("there is a Job", || async { all::<Job>(scope).await.pop() }).await
}

/// That a template is not in the cache is no proof that it is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_not_recorded_for_want_of_a_template_that_a_silent_watch_did_not_tell_of() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let proxy = Proxy::start(rights.kubeconfig()).await;
        let operator = Operator::start_with(&scope, proxy.kubeconfig(), "only", &[]);
        operator.leads().await;
        proxy.order(|it| it.is_watch_of("rota.dev/jobtemplates") || it.is_list("rota.dev/jobtemplates"), Fate::Swallow);
        create(&scope, "JobTemplate", "report", report()).await;
        // What a user makes waits for its template; what a group makes is recorded.
        let member = json!({ "name": "first", "templateRef": { "name": "report" } });
        create(&scope, "JobGroup", "batch", json!({ "mode": "Parallel", "jobs": [member] })).await;
        let name = only_job(&scope).await.name_any();
        launched(&scope, &name).await;
        let reads = proxy.asked(|it| it.method == "GET" && it.path.ends_with("/jobtemplates/report"));
        assert!(!reads.is_empty(), "it was told of the template after all");
        assert!(all::<JobRun>(&scope).await.is_empty());
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

/// The same of a group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_not_recorded_for_want_of_a_group_that_a_silent_watch_did_not_tell_of() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let proxy = Proxy::start(rights.kubeconfig()).await;
        let operator = Operator::start_with(&scope, proxy.kubeconfig(), "only", &[]);
        operator.leads().await;
        template(&scope).await;
        proxy.order(|it| it.is_watch_of("rota.dev/jobgroups") || it.is_list("rota.dev/jobgroups"), Fate::Swallow);
        create(&scope, "JobGroup", "batch", json!({ "mode": "Parallel", "started": false })).await;
        let uid = all::<JobGroup>(&scope).await.remove(0).uid().unwrap();
        let group = json!({ "name": "batch", "uid": uid, "member": "first" });
        create(&scope, "Job", "first", json!({ "templateRef": { "name": "report" }, "groupRef": group })).await;
        let joined = until("it has joined", || async { job(&scope, "first").await.status?.joined_group }).await;
        assert_eq!(joined, uid);
        let reads = proxy.asked(|it| it.method == "GET" && it.path.ends_with("/jobgroups/batch"));
        assert!(!reads.is_empty(), "it was told of the group after all");
        assert!(all::<JobRun>(&scope).await.is_empty());
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_with_nothing_to_hear_of_is_ready_and_lists_nothing_again() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let proxy = Proxy::start(rights.kubeconfig()).await;
        let operator = Operator::start_with(&scope, proxy.kubeconfig(), "only", &QUIET);
        operator.leads().await;
        let kinds =
            ["rota.dev/jobtemplates", "rota.dev/schedules", "rota.dev/queues", "rota.dev/jobs", "rota.dev/jobgroups"];
        let kinds: Vec<&str> = kinds.into_iter().chain(["batch/jobs", "pods", "apps/controllerrevisions"]).collect();
        let watches = |kind: &str| proxy.asked(|it| it.is_watch_of(kind)).len();
        until("each kind was watched several times", || async {
            assert_eq!(operator.endpoint("/readyz").await, (200, "ok\n".into()));
            kinds.iter().all(|kind| watches(kind) >= WATCHES).then_some(())
        })
        .await;
        for kind in kinds {
            let listed = proxy.asked(|it| it.is_list(kind) && it.query.contains("limit=500"));
            assert_eq!(listed.len(), 1, "{kind} was listed again");
        }
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_was_told_nothing_takes_over_and_records_nothing_false_and_fires_nothing_twice() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let mut left = Operator::start(&scope, &rights, "left");
        left.leads().await;
        template(&scope).await;
        let timing = json!({ "interval": "1s", "templateRef": { "name": "report" } });
        create(&scope, "Schedule", "every", timing).await;
        until("the schedule fires", || async { times_with_a_job(&scope).await.first().copied() }).await;
        let proxy = Proxy::start(rights.kubeconfig()).await;
        let right = Operator::start_with(&scope, proxy.kubeconfig(), "right", &[]);
        until("the standby is ready", || async { (right.endpoint("/readyz").await.0 == 200).then_some(()) }).await;
        let silent = ["batch/jobs", "rota.dev/jobs", "rota.dev/schedules"];
        until("it watches", || async {
            silent.iter().all(|kind| !proxy.asked(|it| it.is_watch_of(kind)).is_empty()).then_some(())
        })
        .await;
        proxy.order(move |it| silent.iter().any(|kind| it.is_watch_of(kind)), Fate::Swallow);
        // Those that stand stay silent.
        proxy.clear();
        create(&scope, "Job", "long", json!({ "templateRef": { "name": "report" } })).await;
        launched(&scope, "long").await;
        let ages = || async {
            let age = news_age(&right, "jobs.batch", &scope).await;
            (age > 20.0 && news_age(&right, "jobs.rota.dev", &scope).await > 20.0).then_some(())
        };
        until("it has not heard of them for a while", ages).await;
        left.kill();
        let before = times_with_a_job(&scope).await;
        right.leads().await;
        until("it fires", || async { (times_with_a_job(&scope).await.last() > before.last()).then_some(()) }).await;
        renewals(&scope, RENEWALS).await;
        for run in all::<JobRun>(&scope).await {
            assert_eq!(run.status.as_ref().unwrap().phase, Outcome::Skipped, "nothing has ended: {run:#?}");
            let time = run.spec.scheduled_time.as_ref().unwrap().0;
            assert!(Some(&time) > before.last(), "that one ran: {run:#?}");
        }
        let status = job(&scope, "long").await.status.unwrap();
        assert!(matches!(status.phase, Some(JobPhase::Dispatched | JobPhase::Running)), "{status:#?}");
        let schedule = api::<Schedule>(&scope).get("every").await.unwrap();
        assert!(schedule.status.unwrap().accounted_until.unwrap().0 >= *before.last().unwrap());
        drop(right);
        rights.remove(&scope);
    })
    .await;
}
