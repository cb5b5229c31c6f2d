//! The API that says why a Job waits: two operators as processes, with no more rights than the chart grants, asked over HTTP by
//! accounts with different rights.

pub mod asked;

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use rota::api::labels::{JOB_NAME_ANNOTATION, OUTCOME, TEMPLATE};
use rota::api::{Job, Queue};
use serde_json::{Value, json};

use crate::cluster::{Scope, api, create, in_namespace};
use crate::examples::{job_run, pod_template};
use crate::operator::{Operator, Rights, until};
use asked::{Answer, ask, get, token};

/// How many Jobs wait in the long line.
const MANY: usize = 1_200;
/// How many ask at once in the flood.
const FLOOD: usize = 150;
/// How many requests come while Jobs are launched, how many of them at once, and how many Jobs.
const REQUESTS: usize = 10_000;
const AT_ONCE: usize = 40;
const LAUNCHED: usize = 10;

async fn make_job(scope: &Scope, name: &str) {
    create(scope, "Job", name, json!({ "jobType": "x", "queue": "line", "jobTemplate": pod_template() })).await;
}

async fn job(scope: &Scope, name: &str) -> Job {
    api::<Job>(scope).get(name).await.unwrap()
}

/// What the operator wrote that a Job waits for.
fn written(job: &Job) -> Option<String> {
    let status = job.status.as_ref().filter(|status| status.waiting_for.is_some())?;
    status.conditions.iter().find(|it| it.type_ == "Dispatched").map(|it| it.message.clone())
}

/// Ends the run of a Job.
async fn cancel(scope: &Scope, name: &str) {
    let patch = Patch::Merge(json!({ "spec": { "cancel": { "reason": "enough" } } }));
    api::<Job>(scope).patch(name, &PatchParams::default(), &patch).await.unwrap();
}

/// `first` runs, `second` and `third` wait behind it, and both say so.
async fn a_line(scope: &Scope) {
    create(scope, "Queue", "line", json!({ "maxRunning": 1 })).await;
    for name in ["first", "second", "third"] {
        make_job(scope, name).await;
        until("it was looked at", || async {
            let found = job(scope, name).await;
            found
                .status
                .is_some_and(|status| status.batch_job_ref.is_some() || status.waiting_for.is_some())
                .then_some(())
        })
        .await;
    }
}

fn why(scope: &Scope, job: &str) -> String {
    format!("/v1/namespaces/{}/jobs/{job}/why", scope.namespace)
}

fn queues(scope: &Scope, more: &str) -> String {
    format!("/v1/namespaces/{}/queues{more}", scope.namespace)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_says_why_a_job_waits_now_to_whoever_may_know_and_writes_nothing() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, true);
        let left = Operator::start(&scope, &rights, "left");
        left.leads().await;
        a_line(&scope).await;
        let right = Operator::start(&scope, &rights, "right");
        let reader = token(&scope, "reader", &[("get,list", "jobs.rota.dev,queues.rota.dev,jobruns.rota.dev", "")]);
        let before = job(&scope, "third").await;
        let said = written(&before).unwrap();
        let expected = "second in queue line, 1 of 1 running: first";
        for operator in [&left, &right] {
            let answer = get(operator.port().await, &why(&scope, "third"), &reader).await;
            assert_eq!((answer.code, answer.body["message"].as_str()), (200, Some(expected)), "{answer:?}");
            assert_eq!((&answer.body["place"], &answer.body["waitingFor"]), (&json!(2), &json!("QueueLimit")));
            let sentences: Vec<&str> =
                answer.body["sentences"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
            assert_eq!(
                sentences[..3],
                ["Job third is second of 2 in queue line.", "1 of 1 running: first.", "Before it: second."]
            );
        }
        cancel(&scope, "first").await;
        let expected = "first in queue line, 1 of 1 running: second";
        for operator in [&left, &right] {
            let port = operator.port().await;
            until("it says what it waits for now", || async {
                let answer = get(port, &why(&scope, "third"), &reader).await;
                assert_eq!(answer.code, 200, "{answer:?}");
                (answer.body["message"].as_str() == Some(expected)).then_some(())
            })
            .await;
            let line = get(port, &queues(&scope, "/line"), &reader).await;
            let names = |field: &str| {
                line.body[field].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
            };
            assert_eq!((names("runningJobs"), names("waitingJobs")), (vec!["second".into()], vec!["third".to_owned()]));
            assert_eq!(line.body["waitingJobs"][0]["message"], json!(expected));
        }
        let after = job(&scope, "third").await;
        assert_eq!(after.resource_version(), before.resource_version(), "the waiting Job was written to");
        assert_eq!(written(&after), Some(said), "what was written is what was true then");
        // A pause of everything, which is known to the operator of this namespace.
        let pause = json!({ "spec": { "paused": { "reason": "upgrade", "scope": "Cluster" } } });
        create(&scope, "Queue", "all", json!({})).await;
        api::<Queue>(&scope).patch("all", &PatchParams::default(), &Patch::Merge(pause)).await.unwrap();
        let everything = format!("everything is paused (queue {}/all): upgrade", scope.namespace);
        for operator in [&left, &right] {
            let port = operator.port().await;
            until("the pause is told", || async {
                let all = get(port, &queues(&scope, ""), &reader).await;
                let line = all.body.as_array().unwrap().iter().find(|it| it["queue"] == json!("line")).unwrap().clone();
                (line["paused"]["message"] == json!(everything) && line["waiting"] == json!(1)).then_some(())
            })
            .await;
        }
        rights.remove(&scope);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_learns_what_they_could_not_list_and_what_is_wrong_is_said() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, true);
        let operator = Operator::start(&scope, &rights, "only");
        operator.leads().await;
        a_line(&scope).await;
        let port = operator.port().await;
        let reader = token(&scope, "reader", &[("get,list", "jobs.rota.dev,queues.rota.dev,jobruns.rota.dev", "")]);
        let one = token(&scope, "one", &[("get", "jobs.rota.dev", "third")]);
        let nobody = token(&scope, "nobody", &[]);
        let (third, second) = (why(&scope, "third"), why(&scope, "second"));
        // Without a token, or with one that nobody gave.
        for header in
            ["", "Authorization: Basic YTpi\r\n", "Authorization: Bearer \r\n", "Authorization: Bearer eyJ.e30.x\r\n"]
        {
            let answer = ask(port, "GET", &third, header).await;
            assert_eq!((answer.code, answer.header("www-authenticate")), (401, Some("Bearer")), "{header}: {answer:?}");
        }
        for (token, path, code) in [
            (&nobody, &third, 403),
            (&nobody, &queues(&scope, ""), 403),
            (&one, &third, 200),
            (&one, &second, 403),
            (&one, &why(&scope, "nowhere"), 403),
            (&one, &queues(&scope, "/line"), 403),
            (&reader, &second, 200),
            (&reader, &why(&scope, "nowhere"), 404),
            (&reader, &queues(&scope, "/nowhere"), 404),
            (&reader, &"/v1/namespaces/default/queues".to_owned(), 403),
            (&reader, &why(&scope, &"a".repeat(254)), 400),
            (&reader, &why(&scope, &"a".repeat(20_000)), 400),
            (&reader, &why(&scope, "a%2Fb"), 400),
            (&reader, &queues(&scope, "/line?limit=0"), 400),
            (&reader, &queues(&scope, "/line?limit=1001"), 400),
            (&reader, &queues(&scope, "/line?limit=a"), 400),
            (&reader, &queues(&scope, "/line?limit=1&limit=2"), 400),
            (&reader, &queues(&scope, "/line?limit=1"), 200),
            (&reader, &"/v1/namespaces".to_owned(), 404),
            (&reader, &"/metrics".to_owned(), 404),
        ] {
            let answer = get(port, path, token).await;
            assert_eq!(answer.code, code, "{path:.200}: {answer:?}");
            if code != 200 {
                let said = answer.body["message"].as_str().unwrap_or_default();
                assert!(!said.is_empty() && said.len() < 500 && answer.body["code"] == json!(code), "{answer:?}");
            }
        }
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let answer = ask(port, method, &third, &format!("Authorization: Bearer {reader}\r\n")).await;
            assert_eq!((answer.code, answer.header("allow")), (405, Some("GET")), "{method}: {answer:?}");
        }
        // Who may look at one Job learns its place, and not who the others are.
        let answer = get(port, &third, &one).await;
        assert_eq!((&answer.body["place"], &answer.body["message"]), (&json!(2), &Value::Null), "{answer:?}");
        let told = answer.body.to_string();
        assert!(told.contains("1 of 1 running.") && told.contains("Before it: 1 Job."), "{told}");
        assert!(!told.contains("first\"") && !told.contains(": first") && !told.contains(": second"), "{told}");
        // A token that is good for nothing else does.
        let bound = scope.kubectl(&["create", "token", "reader", "--audience", "rota.dev"]).expect_success();
        assert_eq!(get(port, &third, bound.trim()).await.code, 200);
        let log = operator.log();
        for token in [&reader, &one, &nobody, &bound] {
            assert!(!log.contains(token.trim()), "a token is in the log");
        }
        rights.remove(&scope);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_line_is_counted_and_told_in_part_and_a_flood_is_turned_away() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, true);
        let operator = Operator::start(&scope, &rights, "only");
        create(&scope, "Queue", "line", json!({ "paused": { "reason": "collecting" } })).await;
        let names: Vec<String> = (0..MANY).map(|index| format!("job-{index:04}")).collect();
        for some in names.chunks(100) {
            futures::future::join_all(some.iter().map(|name| make_job(&scope, name))).await;
        }
        let port = operator.port().await;
        let reader = token(&scope, "reader", &[("get,list", "jobs.rota.dev,queues.rota.dev,jobruns.rota.dev", "")]);
        let path = |limit: &str| queues(&scope, &format!("/line{limit}"));
        until("all are queued", || async {
            let answer = get(port, &path("?limit=1"), &reader).await;
            (answer.body["waiting"] == json!(MANY)).then_some(())
        })
        .await;
        let places = |answer: &Answer| -> Vec<u64> {
            answer.body["waitingJobs"].as_array().unwrap().iter().map(|it| it["place"].as_u64().unwrap()).collect()
        };
        for (limit, named) in [("", 100), ("?limit=7", 7), ("?limit=1000", 1_000)] {
            let answer = get(port, &path(limit), &reader).await;
            assert_eq!((answer.code, &answer.body["waiting"]), (200, &json!(MANY)), "{limit}");
            assert_eq!(places(&answer), (1..=named).collect::<Vec<u64>>(), "{limit}");
        }
        let last = get(port, &why(&scope, &names[MANY - 1]), &reader).await;
        assert!(last.body["place"].as_u64().is_some_and(|place| place > 1_000), "{last:?}");
        let line = path("?limit=1000");
        let flood = futures::future::join_all((0..FLOOD).map(|_| get(port, &line, &reader))).await;
        let with = |code: u16| flood.iter().filter(|it| it.code == code).collect::<Vec<_>>();
        // On a busy machine the API server may not say in time who asks.
        let (answered, refused, later) = (with(200), with(429), with(503));
        let codes = || flood.iter().map(|it| it.code).collect::<Vec<_>>();
        assert_eq!(answered.len() + refused.len() + later.len(), FLOOD, "{:?}", codes());
        assert!(later.iter().all(|it| it.header("retry-after").is_some()));
        assert!(answered.len() >= 32 && !refused.is_empty(), "{} answered", answered.len());
        assert!(refused.iter().all(|it| it.header("retry-after") == Some("1")));
        ten_thousand_requests_delay_no_job(&scope, port, &line, &reader).await;
        assert_eq!(get(port, &line, &reader).await.code, 200, "it goes on");
        rights.remove(&scope);
    })
    .await;
}

/// While many ask as often as they can, Jobs of another queue are launched as they come.
async fn ten_thousand_requests_delay_no_job(scope: &Scope, port: u16, line: &str, reader: &str) {
    let asked = AtomicUsize::new(0);
    let all_launched = AtomicBool::new(false);
    let ask_on = || async {
        // Until the last Job is launched, however long that takes, and at least so many.
        while asked.fetch_add(1, Ordering::Relaxed) < REQUESTS || !all_launched.load(Ordering::Relaxed) {
            let answer = get(port, line, reader).await;
            // On a busy machine the API server may not say in time who asks.
            let later = answer.code == 503 && answer.header("retry-after").is_some();
            assert!(matches!(answer.code, 200 | 429) || later, "{answer:?}");
        }
    };
    let launch = async {
        for index in 0..LAUNCHED {
            let name = format!("quick-{index}");
            let spec = json!({ "jobType": "x", "queue": "open", "jobTemplate": pod_template() });
            create(scope, "Job", &name, spec).await;
            until("it is launched", || async { is_launched(scope, &name).await.then_some(()) }).await;
        }
        println!("{} requests were sent when {LAUNCHED} Jobs were launched", asked.load(Ordering::Relaxed));
        all_launched.store(true, Ordering::Relaxed);
    };
    create(scope, "Queue", "open", json!({})).await;
    let flood = futures::future::join_all((0..AT_ONCE).map(|_| ask_on()));
    futures::future::join(async { drop(flood.await) }, launch).await;
}

/// Whether a Job has a batch Job.
async fn is_launched(scope: &Scope, job: &str) -> bool {
    let batches = api::<BatchJob>(scope).list(&ListParams::default()).await.unwrap();
    batches.items.iter().any(|it| it.annotations().get(JOB_NAME_ANNOTATION).map(String::as_str) == Some(job))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_ask_who_somebody_is_it_says_so_and_goes_on_dispatching() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "only");
        operator.leads().await;
        a_line(&scope).await;
        let reader = token(&scope, "reader", &[("get,list", "jobs.rota.dev", "")]);
        let answer = get(operator.port().await, &why(&scope, "third"), &reader).await;
        let said = answer.body["message"].as_str().unwrap_or_default();
        assert_eq!((answer.code, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
        assert!(said.contains("tokenreviews.authentication.k8s.io") && said.contains("api.enabled"), "{said}");
        rights.remove(&scope);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_long_as_it_does_not_see_how_things_are_it_says_so() {
    in_namespace(|scope| async move {
        let blind = |manifest: String| {
            let pods = "resources: [pods]";
            assert!(manifest.contains(pods), "{manifest}");
            manifest.replace(pods, "resources: [podtemplates]")
        };
        let rights = Rights::of_the_chart_but(&scope, true, blind);
        let operator = Operator::start(&scope, &rights, "only");
        make_job(&scope, "first").await;
        let reader = token(&scope, "reader", &[("get,list", "jobs.rota.dev,queues.rota.dev", "")]);
        let port = operator.port_at_once().await;
        until("it says what it does not see", || async {
            let answer = get(port, &why(&scope, "first"), &reader).await;
            assert_eq!((answer.code, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
            let said = answer.body["message"].as_str().unwrap();
            assert!(said.starts_with("the operator does not see how things are now: "), "{said}");
            (said.contains("pods is forbidden") && !said.contains("jobs.rota.dev")).then_some(())
        })
        .await;
        rights.remove(&scope);
    })
    .await;
}

/// Records that 20 runs of the template took a minute each.
async fn past_runs(scope: &Scope) {
    for index in 0..20 {
        let mut record = crate::cluster::object("JobRun", &job_run());
        record.metadata.generate_name = None;
        record.metadata.name = Some(format!("past-{index}"));
        record.metadata.labels =
            Some([(TEMPLATE, "report"), (OUTCOME, "Completed")].map(|(key, value)| (key.into(), value.into())).into());
        record.data["status"]["phase"] = json!("Completed");
        record.data["status"]["reason"] = json!("Succeeded");
        record.data["status"]["durationMs"] = json!(60_000);
        scope.objects("JobRun").create(&PostParams::default(), &record).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_it_will_start_is_told_to_whoever_may_list_records() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, true);
        let operator = Operator::start(&scope, &rights, "only");
        past_runs(&scope).await;
        create(&scope, "Queue", "line", json!({ "maxRunning": 1 })).await;
        create(
            &scope,
            "JobTemplate",
            "report",
            json!({ "jobType": "x", "queue": "line", "jobTemplate": pod_template() }),
        )
        .await;
        for name in ["first", "second", "third"] {
            create(&scope, "Job", name, json!({ "templateRef": { "name": "report" } })).await;
        }
        until("two wait", || async {
            let all = api::<Job>(&scope).list(&ListParams::default()).await.unwrap();
            (all.items.iter().filter(|it| written(it).is_some()).count() == 2).then_some(())
        })
        .await;
        let reader = token(&scope, "reader", &[("get,list", "jobs.rota.dev,queues.rota.dev,jobruns.rota.dev", "")]);
        let partial = token(&scope, "partial", &[("get,list", "jobs.rota.dev,queues.rota.dev", "")]);
        let port = operator.port().await;
        let answer = get(port, &queues(&scope, "/line"), &reader).await;
        let waits = answer.body["waitingJobs"][1].clone();
        let start = |field: &str| waits["start"][field].as_str().unwrap().parse::<Timestamp>().unwrap();
        // No container of the one that runs has started: a minute each for it and the one before.
        let after = start("earliest").duration_since(rota::runtime::clock::now()).as_secs();
        assert!((100..=120).contains(&after) && start("latest") == start("earliest"), "{waits}");
        let name = waits["name"].as_str().unwrap();
        let told = get(port, &why(&scope, name), &reader).await;
        assert!(told.body["sentences"].to_string().contains("It will probably start in "), "{told:?}");
        let untold = get(port, &why(&scope, name), &partial).await;
        assert!(untold.code == 200 && untold.body["start"]["unknown"].is_string(), "{untold:?}");
        rights.remove(&scope);
    })
    .await;
}

/// The chart as it is rendered with these values.
fn rendered(values: &str) -> String {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/rota");
    let arguments = ["template", "rota", chart, "--set", values, "--show-only", "templates/service.yaml"];
    let templates = ["deployment", "rbac", "networkpolicy"].map(|it| format!("--show-only=templates/{it}.yaml"));
    let output = Command::new("helm").args(arguments).args(templates).output().expect("helm is in the PATH");
    assert!(output.status.success(), "{values}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_chart_serves_it_if_told_and_to_other_pods_if_told_so() {
    let with = |values: &str| rendered(&format!("networkPolicy.enabled=true,{values}"));
    let off = with("api.enabled=false");
    assert!(!off.contains("8081") && !off.contains("reviews"), "{off}");
    let local = with("api.enabled=true");
    assert!(local.contains("- --api-address=127.0.0.1:8081\n"), "{local}");
    assert!(local.contains("[tokenreviews]") && local.contains("[subjectaccessreviews]"), "{local}");
    assert!(!local.contains("targetPort: api") && !local.contains("port: 8081\n"), "no other pod reaches it: {local}");
    for (address, argument) in [("0.0.0.0", "0.0.0.0:8081"), ("[::]", "[::]:8081")] {
        let open = with(&format!("api.enabled=true,api.listenAddress={address}"));
        assert!(open.contains(&format!("- --api-address={argument}\n")), "{open}");
        assert!(open.contains("targetPort: api"), "the Service has it: {open}");
        assert!(open.contains("    - ports:\n        - port: 8081\n"), "the policy has it: {open}");
    }
}
