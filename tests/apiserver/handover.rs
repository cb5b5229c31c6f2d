//! From one leader to the next with something under way: an admission that comes late, a launch that was refused, a record that has to
//! wait until it is known what was launched.

use axum::http::Request;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use rota::api::labels::JOB_NAME_ANNOTATION;
use rota::api::{Job, JobPhase, JobRun, Queue, Reason};
use rota::domain::names;
use serde_json::{Value, json};

use crate::cluster::{Scope, api, create, in_namespace};
use crate::examples::pod_template;
use crate::launching::succeed;
use crate::operator::{Operator, Rights, until};
use crate::proxy::{Asked, Fate, Proxy};

/// How long a lease lasts that the next leader need not wait long for.
const LEASE: [&str; 2] = ["--lease-duration-seconds", "5"];

/// How often something is tried before it counts as going on.
const LOOKS: usize = 3;

fn job_in(queue: &str) -> Value {
    json!({ "jobType": "x", "queue": queue, "jobTemplate": pod_template() })
}

fn is_status_of(asked: &Asked, queue: &str) -> bool {
    asked.method == "PATCH" && asked.path.ends_with(&format!("/queues/{queue}/status"))
}

fn is_launch_of(asked: &Asked, job: &str) -> bool {
    let creates = asked.method == "POST" && asked.path.contains("/apis/batch/v1/") && asked.path.ends_with("/jobs");
    creates && asked.text().contains(&format!("\"{JOB_NAME_ANNOTATION}\":\"{job}\""))
}

fn is_record(asked: &Asked) -> bool {
    asked.method == "POST" && asked.path.ends_with("/jobruns")
}

/// The names of the Jobs that have a batch Job, in order.
async fn launched(scope: &Scope) -> Vec<String> {
    let found = api::<BatchJob>(scope).list(&ListParams::default()).await.unwrap().items;
    let mut found: Vec<String> = found.iter().map(|batch| batch.annotations()[JOB_NAME_ANNOTATION].clone()).collect();
    found.sort();
    found
}

async fn is_launched(scope: &Scope, job: &str) {
    until(&format!("{job} is launched"), || async { launched(scope).await.contains(&job.to_owned()).then_some(()) })
        .await;
}

async fn queue(scope: &Scope, name: &str) -> Queue {
    api::<Queue>(scope).get(name).await.unwrap()
}

async fn patch<K>(scope: &Scope, name: &str, patch: Value)
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api::<K>(scope).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// What a Job's condition says of its launch.
async fn says(scope: &Scope, job: &str) -> Option<(String, String)> {
    let status = api::<Job>(scope).get(job).await.unwrap().status?;
    let said = status.conditions.into_iter().find(|it| it.type_ == "Dispatched")?;
    Some((said.reason, said.message))
}

/// I3: what a leader sent before it was cut off fails once the next leader admits anywhere where it counts on it, and it sends nothing
/// more itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admission_of_a_leader_that_was_cut_off_fails_after_the_next_one_has_admitted_beside_it() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let proxy = Proxy::start(rights.kubeconfig()).await;
        for name in ["line", "other"] {
            create(&scope, "Queue", name, json!({})).await;
        }
        let old = Operator::start_with(&scope, proxy.kubeconfig(), "old", &LEASE);
        old.leads().await;
        let is_admission = |it: &Asked| is_status_of(it, "line") && it.text().contains("\"job\":\"first\"");
        proxy.order(is_admission, Fate::Swallow);
        create(&scope, "Job", "first", job_in("line")).await;
        let sent = until("it is sent", || async { proxy.asked(is_admission).into_iter().next() }).await.0;
        old.pause();
        // So the next leader does not write to that Queue because it admits the same Job.
        patch::<Queue>(&scope, "line", json!({ "spec": { "paused": { "reason": "not now" } } })).await;
        let new = Operator::start_with(&scope, rights.kubeconfig(), "new", &LEASE);
        new.leads().await;
        create(&scope, "Job", "beside", job_in("other")).await;
        is_launched(&scope, "beside").await;
        let epochs = [queue(&scope, "line").await, queue(&scope, "other").await].map(|it| it.status.unwrap().epoch);
        assert_eq!(epochs, [2, 2]);
        let late = Request::patch(format!("{}?{}", sent.path, sent.query));
        let late = late.header("content-type", "application/apply-patch+yaml").body(sent.body.clone()).unwrap();
        let failed = scope.client.request::<Queue>(late).await.unwrap_err();
        assert!(matches!(&failed, kube::Error::Api(status) if status.code == 409), "{failed:?}");
        let writes = || proxy.asked(|it| it.method != "GET" && !it.path.contains("/leases")).len();
        let before = writes();
        old.resume();
        assert!(!old.ends().await, "it has lost its lease");
        assert_eq!(writes(), before, "{:#?}", proxy.asked(|it| it.method != "GET").last());
        assert_eq!(launched(&scope).await, ["beside"]);
        assert!(queue(&scope, "line").await.status.unwrap().in_flight.is_empty());
        drop(new);
        rights.remove(&scope);
    })
    .await;
}

/// A Job whose launch was refused may have been sent again when its leader died: the next one keeps its place until it is known that it
/// was not created, and sends nothing meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_before_a_failover_gives_its_place_back_and_runs_when_the_refusal_ends() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let proxy = Proxy::start(rights.kubeconfig()).await;
        let refuse = || {
            let said = "jobs.batch \"x\" is forbidden: exceeded quota: jobs, requested: count/jobs.batch=1";
            let refusal = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": said,
            });
            proxy.order(|it| is_launch_of(it, "refused"), Fate::Say(403, refusal));
        };
        create(&scope, "Queue", "line", json!({ "maxRunning": 1 })).await;
        let mut old = Operator::start_with(&scope, proxy.kubeconfig(), "only", &[]);
        old.leads().await;
        until("its Queue is looked at", || async { queue(&scope, "line").await.status?.observed_generation }).await;
        refuse();
        // That it is not being launched any more is not written down before its leader dies.
        proxy.order(
            |it| is_status_of(it, "line") && !it.text().contains("\"job\":\"refused\""),
            Fate::Refuse(503),
        );
        create(&scope, "Job", "refused", job_in("line")).await;
        until("it says that it is refused", || async {
            says(&scope, "refused").await.filter(|(reason, message)| reason == "Admission" && message.contains("quota"))
        })
        .await;
        old.kill();
        assert_eq!(queue(&scope, "line").await.status.unwrap().in_flight[0].job, "refused");
        let batch = names::attempt("refused", &api::<Job>(&scope).get("refused").await.unwrap().uid().unwrap(), 1);
        proxy.clear();
        refuse();
        create(&scope, "Job", "second", job_in("line")).await;
        let earlier = proxy.asked(|_| true).len();
        let new = Operator::start_with(&scope, proxy.kubeconfig(), "only", &[]);
        new.leads().await;
        is_launched(&scope, "second").await;
        let since = proxy.asked(|_| true).split_off(earlier);
        let is_look = |it: &Asked| it.method == "GET" && it.path.ends_with(&format!("/{batch}"));
        let looks: Vec<usize> = (0..since.len()).filter(|index| is_look(&since[*index].0)).collect();
        let first_of = |job: &str| since.iter().position(|(it, _)| is_launch_of(it, job)).unwrap_or(since.len());
        // It is asked for when the next one begins to lead, and when what the earlier one sent cannot come through any more.
        assert!(looks.len() >= 2 && looks[1] < first_of("second"), "its place was given away: {looks:?}");
        assert!(looks[1] < first_of("refused"), "it was sent again before it was known what became of the one before");
        assert_eq!(launched(&scope).await, ["second"]);
        proxy.clear();
        let second = api::<BatchJob>(&scope).list(&ListParams::default()).await.unwrap().items.remove(0).name_any();
        succeed(&scope, &second).await;
        is_launched(&scope, "refused").await;
        assert!(api::<JobRun>(&scope).list(&ListParams::default()).await.unwrap().items.len() <= 1, "it was given up");
        drop(new);
        rights.remove(&scope);
    })
    .await;
}

/// Nothing is recorded of what an earlier leader admitted before its admissions are taken over. A Queue that is deleted meanwhile takes
/// its list with it: then there is nothing left to wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_recorded_yet_because_it_was_admitted_is_recorded_when_its_queue_is_deleted() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let proxy = Proxy::start(rights.kubeconfig()).await;
        create(&scope, "Queue", "line", json!({})).await;
        patch::<Queue>(&scope, "line", json!({ "metadata": { "finalizers": ["example.com/stays"] } })).await;
        proxy.order(|it| is_launch_of(it, "first"), Fate::Swallow);
        let mut old = Operator::start_with(&scope, proxy.kubeconfig(), "only", &[]);
        old.leads().await;
        create(&scope, "Job", "first", job_in("line")).await;
        until("it is sent", || async { proxy.asked(|it| is_launch_of(it, "first")).pop() }).await;
        old.kill();
        patch::<Job>(&scope, "first", json!({ "spec": { "cancel": { "reason": "enough" } } })).await;
        api::<Queue>(&scope).delete("line", &DeleteParams::default()).await.unwrap();
        // One that cannot be looked at: until it is given up on, nobody knows what runs in the namespace.
        let large = json!({ "metadata": { "annotations": { "example.com/large": "x".repeat(20_000) } } });
        create(&scope, "Job", "large", job_in("other")).await;
        patch::<Job>(&scope, "large", large).await;
        create(&scope, "Queue", "other", json!({})).await;
        proxy.clear();
        let is_look =
            |it: &Asked| it.method == "GET" && it.path.contains("/rota.dev/") && it.path.ends_with("/jobs/large");
        proxy.order(is_look, Fate::Refuse(503));
        let new = Operator::start_with(&scope, proxy.kubeconfig(), "only", &[]);
        new.leads().await;
        until("it was tried several times", || async { (proxy.asked(is_look).len() >= LOOKS).then_some(()) }).await;
        patch::<Queue>(&scope, "line", json!({ "metadata": { "finalizers": null } })).await;
        let status = until("it has ended", || async {
            let status = api::<Job>(&scope).get("first").await.unwrap().status?;
            (status.phase == Some(JobPhase::Cancelled)).then_some(status)
        })
        .await;
        assert_eq!((status.reason, status.run_refs.len()), (Some(Reason::Cancelled), 1));
        let runs = api::<JobRun>(&scope).list(&ListParams::default()).await.unwrap().items;
        assert_eq!(runs.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), [status.run_refs[0].name.clone()]);
        let asked = proxy.asked(|it| is_look(it) || is_record(it));
        let looks = asked.iter().take_while(|(it, _)| !is_record(it)).count();
        assert!(looks >= LOOKS, "it was recorded before it was known whether it was launched");
        proxy.clear();
        create(&scope, "Job", "last", job_in("other")).await;
        for name in ["large", "last"] {
            is_launched(&scope, name).await;
        }
        assert_eq!(launched(&scope).await, ["large", "last"]);
        drop(new);
        rights.remove(&scope);
    })
    .await;
}
