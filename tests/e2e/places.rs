//! Who gets a place that becomes free, and who gives one back: aging, the limit of the cluster and the shares of its
//! namespaces, launches that are refused or stuck, and limits and pauses that come while pods run.

use jiff::SignedDuration;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use rota::api::job::WaitingFor;
use rota::api::labels::{JOB_UID, QUEUE, TEMPLATE};
use rota::api::{Job, JobTemplate, Outcome, Queue, Reason};
use rota::domain::run::{BatchState, batch_outcome};
use rota::runtime::clock::now;
use serde_json::{Value, json};

use crate::support::history::{History, job_of, unfinished_by};
use crate::support::make::{FOR_EVER, ad_hoc, of, template, with};
use crate::support::{World, in_whole_cluster, in_world};

/// How many Jobs the operator may run in the whole cluster.
const IN_ALL: usize = 3;
/// How long a Job waits until its priority counts as one higher, in seconds.
const AGING_SECONDS: i64 = 8;

fn in_queue(queue: &str, script: &str, fields: Value) -> Value {
    with(with(ad_hoc(script), json!({ "queue": queue })), fields)
}

/// The names of the Jobs that were launched, in the order in which their batch Jobs came, each with how many others of its
/// class were unfinished then.
fn launched(history: &History<BatchJob>) -> Vec<(String, usize)> {
    history.came().iter().map(|(batch, others)| (job_of(batch), *others)).collect()
}

fn place(history: &History<BatchJob>, name: &str) -> usize {
    let launched = launched(history);
    launched.iter().position(|(job, _)| job == name).unwrap_or_else(|| panic!("{name} is not in {launched:?}"))
}

async fn says(world: &World, name: &str, word: WaitingFor) {
    let waits = |job: &Job| job.status.as_ref().is_some_and(|status| status.waiting_for == Some(word));
    world.until_object(name, &format!("waits for {word:?}"), waits).await;
}

async fn completed(world: &World, name: &str) {
    let status = world.only_run(name).await.status.unwrap();
    assert_eq!((status.phase, status.reason), (Outcome::Completed, Reason::Succeeded), "{name}: {status:#?}");
}

async fn cancel(world: &World, name: &str) {
    world.patch::<Job>(name, json!({ "spec": { "cancel": {} } })).await;
    world.ended(name).await;
}

/// A Job that has waited for the interval goes before later ones of a priority one higher, and before none of one that is
/// more than the maximum above its own, however long it has waited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_raises_a_priority_after_each_interval_up_to_the_maximum() {
    in_world("aging", async |world| {
        let history = History::<BatchJob>::start(world, unfinished_by(QUEUE));
        let aging = json!({ "intervalSeconds": AGING_SECONDS, "maximumIncrease": 1 });
        let paused = json!({ "paused": { "reason": "collecting" }, "maxRunning": 1, "aging": aging });
        for (queue, job) in [("overtakes", "old"), ("capped", "patient")] {
            world.create::<Queue>(queue, paused.clone()).await;
            world.create::<Job>(job, in_queue(queue, "true", json!({}))).await;
            says(world, job, WaitingFor::QueuePaused).await;
        }
        let queued = world.api::<Job>().get("patient").await.unwrap().status.unwrap().queued_at.unwrap().0;
        let long = queued + SignedDuration::from_secs(3 * AGING_SECONDS);
        world.until("both have waited for three intervals", async || (now() >= long).then_some(())).await;
        let later = [("capped", "above", 2), ("overtakes", "late", 0), ("overtakes", "higher", 1)];
        for (queue, job, priority) in later {
            world.create::<Job>(job, in_queue(queue, "true", json!({ "priority": priority }))).await;
            says(world, job, WaitingFor::QueuePaused).await;
        }
        for queue in ["overtakes", "capped"] {
            world.patch::<Queue>(queue, json!({ "spec": { "paused": null } })).await;
        }
        for name in ["old", "higher", "late", "above", "patient"] {
            completed(world, name).await;
        }
        let places = |names: &[&str]| names.iter().map(|name| place(&history, name)).collect::<Vec<_>>();
        assert!(places(&["old", "higher", "late"]).is_sorted(), "{:?}", launched(&history));
        assert!(places(&["above", "patient"]).is_sorted(), "{:?}", launched(&history));
    })
    .await;
}

/// The limit of the cluster holds at every revision, whatever namespaces ask for; and each free place goes to a namespace
/// that runs least, although another one has waited longer there with many Jobs of a higher priority.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_share_the_limit_of_the_cluster() {
    in_whole_cluster(["flood", "small", "late"], IN_ALL as u32, async |[flood, small, late]| {
        let unfinished = |batch: &BatchJob| (batch_outcome(batch) == BatchState::Active).then(|| "all".to_owned());
        let ours = move |batch: &BatchJob| unfinished(batch).filter(|_| batch.labels().contains_key(JOB_UID));
        let history = History::of(Api::all(flood.client.clone()), ours);
        let urgent = |script: &str| with(ad_hoc(script), json!({ "priority": 9 }));
        let holders: Vec<String> = (0..IN_ALL).map(|number| format!("holder-{number}")).collect();
        for name in &holders {
            flood.create::<Job>(name, urgent(FOR_EVER)).await;
        }
        for name in &holders {
            flood.running(name).await;
        }
        let wave: Vec<String> = (0..6).map(|number| format!("wave-{number}")).collect();
        for name in &wave {
            flood.create::<Job>(name, urgent("sleep 1")).await;
            says(flood, name, WaitingFor::ClusterLimit).await;
        }
        small.create::<Job>("small-only", ad_hoc(FOR_EVER)).await;
        says(small, "small-only", WaitingFor::ClusterLimit).await;
        cancel(flood, &holders[0]).await;
        small.running("small-only").await;
        for name in ["late-first", "late-second"] {
            late.create::<Job>(name, ad_hoc("sleep 1")).await;
            says(late, name, WaitingFor::ClusterLimit).await;
        }
        cancel(flood, &holders[1]).await;
        cancel(small, "small-only").await;
        cancel(flood, &holders[2]).await;
        for name in ["late-first", "late-second"] {
            completed(late, name).await;
        }
        for name in &wave {
            completed(flood, name).await;
        }
        let order = launched(&history);
        assert_eq!(place(&history, "small-only"), IN_ALL, "the flood was served first: {order:?}");
        assert_eq!(place(&history, "late-first"), IN_ALL + 1, "the flood was served first: {order:?}");
        assert_eq!(history.most("all"), IN_ALL, "as many as allowed ran at once, and not more: {order:?}");
        assert_eq!(order.len(), IN_ALL + 1 + 2 + wave.len());
    })
    .await;
}

/// Lets the API server refuse the batch Jobs of one queue, for as long as the policy exists.
async fn refuse(world: &World, queue: &str) -> Api<ValidatingAdmissionPolicy> {
    let name = format!("{}-{queue}", world.namespace);
    let jobs =
        json!({ "apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"] });
    let expression = format!("object.metadata.labels[?'{QUEUE}'].orValue('') != '{queue}'");
    let validation = json!({ "expression": expression, "message": "not on a weekday", "reason": "Forbidden" });
    let policy = json!({
        "metadata": { "name": name },
        "spec": { "matchConstraints": { "resourceRules": [jobs] }, "validations": [validation] },
    });
    let namespace = json!({ "matchLabels": { "kubernetes.io/metadata.name": world.namespace } });
    let binding = json!({
        "metadata": { "name": name },
        "spec": {
            "policyName": name, "validationActions": ["Deny"], "matchResources": { "namespaceSelector": namespace },
        },
    });
    let policies = Api::all(world.client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.client.clone());
    let wanted = PostParams::default();
    policies.create(&wanted, &serde_json::from_value(policy).unwrap()).await.unwrap();
    bindings.create(&wanted, &serde_json::from_value(binding).unwrap()).await.unwrap();
    let mut probe = ad_hoc("true")["jobTemplate"].take();
    probe["metadata"] = json!({ "name": "probe", "labels": { QUEUE: queue } });
    let probe: BatchJob = serde_json::from_value(probe).unwrap();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let in_force = async || world.api().create(&dry, &probe).await.is_err().then_some(());
    world.until("the policy is in force", in_force).await;
    policies
}

/// A launch that an admission policy refuses for now gives its places back: in the limit of its template, others run
/// meanwhile, one at a time, and it runs itself when it is no longer refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_launch_gives_its_place_to_those_behind_it() {
    in_world("refused-head", async |world| {
        let history = History::<BatchJob>::start(world, unfinished_by(TEMPLATE));
        let policies = refuse(world, "forbidden").await;
        for queue in ["forbidden", "line"] {
            world.create::<Queue>(queue, json!({ "maxRunning": 1 })).await;
        }
        world.create::<JobTemplate>("licensed", with(template("true"), json!({ "maxRunning": 1 }))).await;
        let first = json!({ "queue": "forbidden", "priority": 100 });
        world.create::<Job>("head", with(of("licensed"), first)).await;
        let (waiting_for, sentence) = world.waiting("head").await;
        assert_eq!(waiting_for, WaitingFor::Admission);
        assert!(sentence.contains("not on a weekday"), "{sentence}");
        for name in ["second", "third"] {
            world.create::<Job>(name, with(of("licensed"), json!({ "queue": "line" }))).await;
        }
        for name in ["second", "third"] {
            completed(world, name).await;
        }
        assert_eq!(place(&history, "third"), 1, "the head was not to be launched: {:?}", launched(&history));
        policies.delete(&format!("{}-forbidden", world.namespace), &DeleteParams::default()).await.unwrap();
        completed(world, "head").await;
        assert_eq!(history.most("licensed"), 1);
    })
    .await;
}

/// The specification of a Job that the restricted Pod Security profile lets through.
fn restricted(queue: &str, script: &str) -> Value {
    let mut spec = in_queue(queue, script, json!({ "pendingTimeoutSeconds": 60 }));
    let container = &mut spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    container["securityContext"] = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "runAsNonRoot": true,
        "runAsUser": 65532,
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    spec
}

/// What never gets a container, for want of an image or because Pod Security refuses its pods, keeps its place as long as
/// its pending timeout says, and no longer: then those behind it run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_attempt_gives_its_place_back_at_its_pending_timeout() {
    in_world("stuck-head", async |world| {
        let restrict = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
        let namespaces: Api<Namespace> = Api::all(world.client.clone());
        namespaces.patch(&world.namespace, &PatchParams::default(), &Patch::Merge(&restrict)).await.unwrap();
        let history = History::<BatchJob>::start(world, unfinished_by(QUEUE));
        let soon = json!({ "pendingTimeoutSeconds": 5 });
        let insecure = in_queue("security", "true", soon.clone());
        let mut imageless = with(restricted("image", "true"), soon);
        imageless["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"] = json!("docker.io/rota/none:1");
        for (queue, spec, says) in
            [("image", imageless, "docker.io/rota/none:1"), ("security", insecure, "PodSecurity")]
        {
            world.create::<Queue>(queue, json!({ "maxRunning": 1 })).await;
            let (stuck, behind) = (format!("stuck-{queue}"), format!("behind-{queue}"));
            world.create::<Job>(&stuck, spec).await;
            world
                .until(&format!("{stuck} is launched"), async || {
                    launched(&history).iter().any(|(job, _)| *job == stuck).then_some(())
                })
                .await;
            world.create::<Job>(&behind, restricted(queue, "true")).await;
            let status = world.only_run(&stuck).await.status.unwrap();
            let error = status.error.unwrap();
            assert_eq!((status.phase, status.reason), (Outcome::Failed, Reason::PendingTimeout), "{error}");
            assert!(error.contains(says), "{error}");
            completed(world, &behind).await;
            assert_eq!(history.most(queue), 1, "{:?}", launched(&history));
        }
    })
    .await;
}

/// A template's limit that is lowered while its pods run stops none of them, and nothing starts before they are fewer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_templates_lowered_limit_lets_its_pods_run_and_starts_nothing_beyond_it() {
    in_world("lowered-template", async |world| {
        let history = History::<BatchJob>::start(world, unfinished_by(TEMPLATE));
        let licensed = json!({ "maxRunning": 3, "params": [{ "name": "seconds", "default": "1" }] });
        world.create::<JobTemplate>("licensed", with(template("sleep $PARAM_SECONDS"), licensed)).await;
        let runs = [("short", "4"), ("middle", "7"), ("long", "10")];
        for (name, seconds) in runs {
            world.create::<Job>(name, with(of("licensed"), json!({ "params": { "seconds": seconds } }))).await;
        }
        for (name, _) in runs {
            world.running(name).await;
        }
        for name in ["next", "last"] {
            world.create::<Job>(name, of("licensed")).await;
            says(world, name, WaitingFor::TemplateLimit).await;
        }
        world.patch::<JobTemplate>("licensed", json!({ "spec": { "maxRunning": 1 } })).await;
        for name in ["short", "middle", "long", "next", "last"] {
            completed(world, name).await;
        }
        let launched = launched(&history);
        assert_eq!(launched[3..], [("next".to_owned(), 0), ("last".to_owned(), 0)], "{launched:?}");
    })
    .await;
}

/// A queue that is paused while its pods run lets them run to their end, and starts nothing in the places that they leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_paused_under_running_pods_lets_them_run_and_starts_nothing() {
    in_world("paused-under", async |world| {
        let history = History::<BatchJob>::start(world, unfinished_by(QUEUE));
        world.create::<Queue>("line", json!({ "maxRunning": 2 })).await;
        for (name, script) in [("one", "sleep 5"), ("two", "sleep 6")] {
            world.create::<Job>(name, in_queue("line", script, json!({}))).await;
        }
        world.running("one").await;
        world.running("two").await;
        world.create::<Job>("three", in_queue("line", "true", json!({}))).await;
        says(world, "three", WaitingFor::QueueLimit).await;
        world.patch::<Queue>("line", json!({ "spec": { "paused": { "reason": "the licence ends" } } })).await;
        completed(world, "one").await;
        completed(world, "two").await;
        // The operator has had time to launch when it has launched what came after the places were free.
        world.create::<Job>("elsewhere", ad_hoc("true")).await;
        completed(world, "elsewhere").await;
        let launched = launched(&history);
        assert!(!launched.iter().any(|(name, _)| name == "three"), "{launched:?}");
        says(world, "three", WaitingFor::QueuePaused).await;
        world.patch::<Queue>("line", json!({ "spec": { "paused": null } })).await;
        completed(world, "three").await;
    })
    .await;
}
