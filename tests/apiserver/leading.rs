//! Who leads, and what becomes of what a leader of before has left: with the Lease deleted, restored or written to by hand, and with
//! a Queue that cannot be written.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use rota::api::labels::STATUS_MANAGER;
use rota::api::labels::{DAY, JOB_NAME_ANNOTATION, OUTCOME, SCHEDULE, SCHEDULED_TIMES};
use rota::api::{Job, JobRun, Queue, Schedule};
use rota::apply::{WriteError, Writer};
use rota::domain::conditions::micro;
use rota::domain::names;
use rota::domain::run::{BatchState, batch_outcome};
use rota::runtime::clock::now;
use rota::runtime::lease::{Election, LEASE_NAME, Leadership, Terms, Traces};
use rota::runtime::metrics::Metrics;
use rota::runtime::stores::Stores;
use serde_json::{Value, json};

use crate::cluster::{Scope, api, create, in_namespace, kubeconfig};
use crate::examples::pod_template;
use crate::operator::{Operator, Rights, until};
use crate::proxy::{Asked, Fate, Proxy};

fn job_in(queue: &str) -> Value {
    json!({ "jobType": "x", "queue": queue, "jobTemplate": pod_template() })
}

/// The names of the Jobs that have a batch Job that has not ended.
async fn launched(scope: &Scope) -> Vec<String> {
    let mut found = api::<BatchJob>(scope).list(&ListParams::default()).await.unwrap().items;
    found.retain(|batch| batch_outcome(batch) == BatchState::Active);
    found.iter().map(|batch| batch.annotations()[JOB_NAME_ANNOTATION].clone()).collect()
}

/// Waits until a Job has a batch Job.
async fn is_launched(scope: &Scope, job: &str) {
    until(&format!("{job} is launched"), || async {
        launched(scope).await.iter().any(|name| name == job).then_some(())
    })
    .await;
}

async fn run(scope: &Scope, job: &str, queue: &str) {
    create(scope, "Job", job, job_in(queue)).await;
    is_launched(scope, job).await;
}

async fn epoch(scope: &Scope, queue: &str) -> i64 {
    api::<Queue>(scope).get(queue).await.unwrap().status.map_or(0, |status| status.epoch)
}

async fn lease(scope: &Scope) -> Option<LeaseSpec> {
    api::<Lease>(scope).get_opt(LEASE_NAME).await.unwrap().map(|lease| lease.spec.unwrap())
}

async fn patch_lease(scope: &Scope, spec: Value) {
    let patch = Patch::Merge(json!({ "spec": spec }));
    api::<Lease>(scope).patch(LEASE_NAME, &PatchParams::default(), &patch).await.unwrap();
}

/// Starts an operator of the same name as those before, which need not wait for their lease, and waits until it leads.
async fn led(scope: &Scope, rights: &Rights) -> Operator {
    let operator = Operator::start(scope, rights, "only");
    operator.leads().await;
    operator
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_the_lease_the_next_leader_launches_and_its_epoch_is_higher() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        create(&scope, "Queue", "line", json!({})).await;
        for number in 1..=3 {
            let _operator = led(&scope, &rights).await;
            run(&scope, &format!("before-{number}"), "line").await;
            assert_eq!(epoch(&scope, "line").await, number);
        }
        // It is deleted, and restored from a backup, while nobody leads.
        api::<Lease>(&scope).delete(LEASE_NAME, &DeleteParams::default()).await.unwrap();
        for (number, lost) in [(4, None), (5, Some(0)), (6, Some(i64::from(i32::MAX))), (7, Some(3))] {
            if let Some(transitions) = lost {
                patch_lease(&scope, json!({ "leaseTransitions": transitions })).await;
            }
            let _operator = led(&scope, &rights).await;
            run(&scope, &format!("after-{number}"), "line").await;
            assert_eq!(epoch(&scope, "line").await, number);
            assert_eq!(lease(&scope).await.unwrap().lease_transitions.map(i64::from), Some(number));
        }
        rights.remove(&scope);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_lease_is_deleted_goes_on_leading_and_its_standby_waits() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        create(&scope, "Queue", "line", json!({})).await;
        let leader = led(&scope, &rights).await;
        let standby = Operator::start(&scope, &rights, "standby");
        standby.waits().await;
        run(&scope, "before", "line").await;
        for number in 1..=3 {
            api::<Lease>(&scope).delete(LEASE_NAME, &DeleteParams::default()).await.unwrap();
            let made = until("the Lease is made again", || lease(&scope)).await;
            assert_eq!((made.holder_identity.as_deref(), made.lease_transitions), (Some("only"), Some(1)));
            run(&scope, &format!("after-{number}"), "line").await;
            assert_eq!(epoch(&scope, "line").await, 1);
        }
        assert!(!standby.has_led(), "two have led at once");
        drop(leader);
        standby.leads().await;
        run(&scope, "last", "line").await;
        assert_eq!(epoch(&scope, "line").await, 2);
        rights.remove(&scope);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_with_an_epoch_above_that_of_the_leader_says_so_and_is_served_again_while_others_are_all_the_time() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        for name in ["line", "other"] {
            create(&scope, "Queue", name, json!({})).await;
        }
        let _operator = led(&scope, &rights).await;
        run(&scope, "before", "line").await;
        scope.set_status("Queue", "line", &json!({ "epoch": 40 })).await;
        create(&scope, "Job", "after", job_in("line")).await;
        run(&scope, "beside", "other").await;
        let message = until("the Queue says so", || async {
            let status = api::<Queue>(&scope).get("line").await.unwrap().status.unwrap();
            let condition = status.conditions.into_iter().find(|it| it.reason == "NewerLeader")?;
            Some(condition.message)
        })
        .await;
        assert!(message.starts_with("status.epoch is 40, and 1 is"), "{message}");
        is_launched(&scope, "after").await;
        assert_eq!(epoch(&scope, "line").await, 41);
        assert_eq!(lease(&scope).await.unwrap().lease_transitions, Some(41));
        // No leader can have written that.
        scope.set_status("Queue", "line", &json!({ "epoch": i64::MAX })).await;
        run(&scope, "last", "line").await;
        assert_eq!(epoch(&scope, "line").await, 41);
        let status = api::<Queue>(&scope).get("line").await.unwrap().status.unwrap();
        assert!(status.conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True"), "{status:#?}");
        rights.remove(&scope);
    })
    .await;
}

async fn config_of(path: impl AsRef<Path>) -> Config {
    let file = Kubeconfig::read_from(path).unwrap();
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap()
}

/// Takes the lease of a namespace.
async fn elected(scope: &Scope, leadership: &Leadership, seconds: u64) -> Election {
    let terms = Terms {
        namespace: scope.namespace.clone(),
        identity: "test".into(),
        duration: Duration::from_secs(seconds),
        leadership: leadership.clone(),
        traces: std::sync::Arc::new(Traces::default),
    };
    let mut election = Election::start(config_of(kubeconfig()).await, terms).unwrap();
    election.acquired().await.unwrap();
    election
}

/// The test's own runtime has one thread, and this is what keeps it.
#[tokio::test]
async fn what_keeps_every_thread_of_the_operator_busy_does_not_cost_the_lease() {
    in_namespace(|scope| async move {
        const SECONDS: u64 = 10;
        let leadership = Leadership::default();
        let election = elected(&scope, &leadership, SECONDS).await;
        let began = now();
        let until = began + SignedDuration::from_secs(i64::try_from(SECONDS).unwrap()) * 2;
        loop {
            assert!(leadership.is_leader(), "the lease has lapsed");
            let renewed = scope.kubectl(&["get", "lease", LEASE_NAME, "--output=jsonpath={.spec.renewTime}"]);
            if renewed.expect_success().parse::<Timestamp>().unwrap() > until {
                break;
            }
        }
        election.release().await.unwrap();
        assert!(!leadership.is_leader());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_is_not_written_over_one_that_was_not_known_when_it_was_decided() {
    in_namespace(|scope| async move {
        let leadership = Leadership::default();
        let _election = elected(&scope, &leadership, 60).await;
        let stores = std::sync::Arc::<Stores>::default();
        let writer = Writer::new(scope.client.clone(), stores, leadership, std::sync::Arc::<Metrics>::default());
        create(&scope, "Job", "it", job_in("line")).await;
        let jobs = api::<Job>(&scope);
        let decided = jobs.get("it").await.unwrap();
        let status = |message: &str| {
            let mut status = decided.status.clone().unwrap_or_default();
            status.job_type = Some(message.into());
            // As the operator writes it: it has looked at the Job.
            status.observed_generation = decided.metadata.generation;
            status
        };
        // Metadata that others write in between are no matter, and stay.
        let label = Patch::Merge(json!({ "metadata": { "labels": { "of": "others" } } }));
        jobs.patch("it", &PatchParams::default(), &label).await.unwrap();
        let written = writer.status(&decided, &status("first")).await.unwrap().unwrap();
        assert_eq!(written.labels().get("of").map(String::as_str), Some("others"));
        // A late one, decided before that.
        let late = writer.status(&decided, &status("late")).await;
        assert!(matches!(late, Err(WriteError::Changed { .. })), "{late:?}");
        let now = jobs.get("it").await.unwrap();
        assert_eq!(now.status.as_ref().unwrap().job_type.as_deref(), Some("first"));
        // What was decided from another specification has to be decided again.
        let hold = Patch::Merge(json!({ "spec": { "hold": true } }));
        jobs.patch("it", &PatchParams::default(), &hold).await.unwrap();
        let late = writer.status(&now, &status("late")).await;
        assert!(matches!(late, Err(WriteError::Changed { .. })), "{late:?}");
        let now = jobs.get("it").await.unwrap();
        assert!(writer.status(&now, &status("last")).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_the_api_server_was_too_busy_for_is_not_sent_again_by_one_that_leads_no_more() {
    in_namespace(|scope| async move {
        let leadership = Leadership::default();
        let election = elected(&scope, &leadership, 60).await;
        let proxy = Proxy::start(kubeconfig()).await;
        let mut config = config_of(proxy.kubeconfig()).await;
        config.default_retry = false;
        let client = Client::try_from(config).unwrap();
        let writer =
            Writer::new(client, std::sync::Arc::<Stores>::default(), leadership, std::sync::Arc::<Metrics>::default());
        create(&scope, "Job", "it", job_in("line")).await;
        let job = api::<Job>(&scope).get("it").await.unwrap();
        let status = job.status.clone().unwrap_or_default();
        let is_status = |it: &Asked| it.method == "PATCH" && it.path.ends_with("/it/status");
        let code = |error: &WriteError| error.code();
        // What may have been done is left to whoever knows what to do about it.
        proxy.order_times(1, is_status, Fate::Refuse(503));
        let unknown = writer.status(&job, &status).await.unwrap_err();
        assert_eq!((code(&unknown), proxy.asked(is_status).len()), (Some(503), 1));
        // What was not looked at is sent again.
        proxy.order_times(2, is_status, Fate::Refuse(429));
        assert!(writer.status(&job, &status).await.unwrap().is_some());
        assert_eq!(proxy.asked(is_status).len(), 1 + 3);
        // But not after the lease is gone.
        let job = api::<Job>(&scope).get("it").await.unwrap();
        proxy.order(is_status, Fate::Refuse(429));
        let write = tokio::spawn(async move { writer.status(&job, &status).await });
        until("it is sent again", || async { (proxy.asked(is_status).len() > 1 + 3 + 2).then_some(()) }).await;
        election.release().await.unwrap();
        let error = write.await.unwrap().unwrap_err();
        assert!(matches!(error, WriteError::NotLeading), "{error:?}");
    })
    .await;
}

/// Refuses that the status of a Queue is written, until it is dropped.
async fn refuse(scope: &Scope, queue: &str) {
    let name = format!("{}-{queue}", scope.namespace);
    let policy = json!({
        "metadata": { "name": name },
        "spec": {
            "matchConstraints": { "resourceRules": [{
                "apiGroups": ["rota.dev"], "apiVersions": ["v1alpha1"], "operations": ["UPDATE"], "resources": ["queues/status"],
            }] },
            "matchConditions": [{
                "name": "which", "expression": format!("request.namespace == '{}' && request.name == '{queue}'", scope.namespace),
            }],
            "validations": [{ "expression": "false", "message": "not this one" }],
        },
    });
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(scope.client.clone());
    policies.create(&PostParams::default(), &serde_json::from_value(policy).unwrap()).await.unwrap();
    let binding = json!({
        "metadata": { "name": name }, "spec": { "policyName": name, "validationActions": ["Deny"] },
    });
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(scope.client.clone());
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let touch = Patch::Merge(json!({ "status": { "waiting": 7 } }));
    let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
    until("the policy is in force", || async {
        api::<Queue>(scope).patch_status(queue, &dry_run, &touch).await.is_err().then_some(())
    })
    .await;
}

async fn allow(scope: &Scope, queue: &str) {
    let name = format!("{}-{queue}", scope.namespace);
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(scope.client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(scope.client.clone());
    bindings.delete(&name, &DeleteParams::default()).await.unwrap();
    policies.delete(&name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_cannot_be_written_stops_no_other_and_says_why() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        for name in ["bad", "good"] {
            create(&scope, "Queue", name, json!({})).await;
        }
        {
            let _operator = led(&scope, &rights).await;
            run(&scope, "before-bad", "bad").await;
            run(&scope, "before-good", "good").await;
        }
        refuse(&scope, "bad").await;
        // The next leader cannot raise the epoch of one of them, under a limit that what runs in both counts for.
        let operator = Operator::start_with(&scope, rights.kubeconfig(), "only", &["--max-running", "20"]);
        operator.leads().await;
        for number in 0..3 {
            create(&scope, "Job", &format!("bad-{number}"), job_in("bad")).await;
        }
        for number in 0..2 {
            run(&scope, &format!("good-{number}"), "good").await;
        }
        until("a Job of the other says why", || async {
            let status = api::<Job>(&scope).get("bad-0").await.unwrap().status?;
            status.conditions.iter().any(|it| it.message.contains("not this one")).then_some(())
        })
        .await;
        allow(&scope, "bad").await;
        is_launched(&scope, "bad-0").await;
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

/// I3: the create that an earlier leader sent comes through after the Job was canceled under the next leader: until then the Job
/// has its place, so that no second one runs beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_leader_may_be_creating_keeps_its_place_though_nobody_wants_it_any_more() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let proxy = Proxy::start(rights.kubeconfig()).await;
        let is_launch =
            |it: &Asked| it.method == "POST" && it.path.contains("/batch/v1/") && it.path.ends_with("/jobs");
        proxy.order(is_launch, Fate::Swallow);
        create(&scope, "Queue", "line", json!({ "maxRunning": 1 })).await;
        let mut earlier = Operator::start_with(&scope, proxy.kubeconfig(), "only", &[]);
        earlier.leads().await;
        create(&scope, "Job", "first", job_in("line")).await;
        let sent = until("it is sent", || async { proxy.asked(is_launch).into_iter().next() }).await.0;
        earlier.kill();
        let cancel = Patch::Merge(json!({ "spec": { "cancel": { "reason": "enough" } } }));
        api::<Job>(&scope).patch("first", &PatchParams::default(), &cancel).await.unwrap();
        create(&scope, "Job", "second", job_in("line")).await;
        let _operator = led(&scope, &rights).await;
        until("the first one says what is not known", || async {
            assert_eq!(launched(&scope).await, [""; 0], "its place was given away");
            let status = api::<Job>(&scope).get("first").await.unwrap().status?;
            status
                .conditions
                .iter()
                .any(|it| it.message.contains("it was admitted by the previous leader"))
                .then_some(())
        })
        .await;
        let batch: BatchJob = serde_json::from_str(&sent.text()).unwrap();
        api::<BatchJob>(&scope).create(&PostParams::default(), &batch).await.unwrap();
        until("the second one is launched", || async {
            let found = launched(&scope).await;
            assert_ne!(found.len(), 2, "two run where one may: {found:?}");
            (found == ["second"]).then_some(())
        })
        .await;
        rights.remove(&scope);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_admitted_and_not_launched_is_forgotten_before_somebody_else_launches_it() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        create(&scope, "Queue", "line", json!({})).await;
        let mut held = job_in("line");
        held["hold"] = true.into();
        create(&scope, "Job", "it", held).await;
        let uid = api::<Job>(&scope).get("it").await.unwrap().uid().unwrap();
        // As a leader leaves it that ended after it admitted the Job, which was put on hold in that moment.
        let admitted = json!({
            "apiVersion": rota::api::API_VERSION, "kind": "Queue", "metadata": { "name": "line" },
            "status": { "epoch": 1, "inFlight": [{ "job": "it", "uid": uid, "attempt": 1 }] },
        });
        let params = PatchParams::apply(STATUS_MANAGER).force();
        api::<Queue>(&scope).patch_status("line", &params, &Patch::Apply(admitted)).await.unwrap();
        {
            let _operator = led(&scope, &rights).await;
            until("it is taken off the list", || async {
                let status = api::<Queue>(&scope).get("line").await.unwrap().status.unwrap();
                status.in_flight.is_empty().then_some(())
            })
            .await;
        }
        let queues = api::<Queue>(&scope);
        let pause = Patch::Merge(json!({ "spec": { "paused": { "reason": "maintenance" } } }));
        queues.patch("line", &PatchParams::default(), &pause).await.unwrap();
        let go = Patch::Merge(json!({ "spec": { "hold": false } }));
        api::<Job>(&scope).patch("it", &PatchParams::default(), &go).await.unwrap();
        let _operator = led(&scope, &rights).await;
        until("it says that its queue is paused", || async {
            let status = api::<Job>(&scope).get("it").await.unwrap().status?;
            (status.waiting_for == Some(rota::api::job::WaitingFor::QueuePaused)).then_some(())
        })
        .await;
        let batches = api::<BatchJob>(&scope).list(&ListParams::default()).await.unwrap();
        assert!(batches.items.is_empty(), "it was launched though its queue is paused");
        rights.remove(&scope);
    })
    .await;
}

/// As an older leader leaves it whose request was under way for long: before a newer one looks at it for the first time, or after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_comes_after_its_time_was_recorded_as_skipped_does_not_run() {
    comes_after_its_skip_was_recorded(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_came_after_its_time_was_recorded_as_skipped_does_not_run_under_the_next_leader() {
    comes_after_its_skip_was_recorded(false).await;
}

async fn comes_after_its_skip_was_recorded(is_led: bool) {
    in_namespace(move |scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        create(&scope, "JobTemplate", "work", json!({ "jobType": "x", "jobTemplate": pod_template() })).await;
        let timing = json!({ "templateRef": { "name": "work" }, "cron": "0 5 1 1 *", "enabled": true });
        create(&scope, "Schedule", "yearly", timing).await;
        let uid = api::<Schedule>(&scope).get("yearly").await.unwrap().uid().unwrap();
        let [first, time]: [Timestamp; 2] = ["2025-01-01T05:00:00Z", "2026-01-01T05:00:00Z"].map(|it| it.parse().unwrap());
        let of = json!({ "name": "yearly", "uid": uid });
        let record = json!({
            "apiVersion": rota::api::API_VERSION, "kind": "JobRun",
            "metadata": {
                "name": names::skipped_run("yearly", &uid, first),
                "labels": { SCHEDULE: "yearly", OUTCOME: "Skipped", DAY: names::day(now()), SCHEDULED_TIMES: "2" },
            },
            "spec": { "scheduleRef": of, "scheduledTime": micro(first), "attempt": 0, "priority": 0 },
            "status": {
                "phase": "Skipped", "reason": "MissedWindow", "count": 2, "lastScheduledTime": micro(time),
                "finishedAt": micro(now()),
            },
        });
        // One that is younger than the Lease would have to have a seal.
        scope.kubectl_with(&["create", "-f", "-"], &record.to_string()).expect_success();
        let before = if is_led { Some(led(&scope, &rights).await) } else { None };
        let name = names::occurrence_job("yearly", &uid, time);
        let late = json!({
            "apiVersion": rota::api::API_VERSION, "kind": "Job",
            "metadata": {
                "name": name, "finalizers": ["rota.dev/record"],
                "ownerReferences": [{
                    "apiVersion": rota::api::API_VERSION, "kind": "Schedule", "name": "yearly", "uid": uid, "controller": true,
                }],
            },
            "spec": { "templateRef": { "name": "work" }, "scheduleRef": of, "scheduledTime": micro(time) },
        });
        scope.kubectl_with(&["create", "-f", "-"], &late.to_string()).expect_success();
        let operator = match before {
            Some(operator) => operator,
            None => led(&scope, &rights).await,
        };
        let ended = until("it ends", || async {
            let status = api::<Job>(&scope).get(&name).await.unwrap().status?;
            status.phase.is_some_and(rota::api::JobPhase::is_ended).then_some(status)
        })
        .await;
        let runs = api::<JobRun>(&scope).list(&ListParams::default()).await.unwrap().items;
        assert_eq!(runs.len(), 1, "its time has two outcomes: {runs:#?}");
        let batches = api::<BatchJob>(&scope).list(&ListParams::default()).await.unwrap();
        assert!(batches.items.is_empty(), "it was launched: {ended:#?}");
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}
