//! I2, I3 and I4 with two live operators: one is stopped past its lease and goes on, one is killed, limits are raised and
//! lowered, and Jobs keep coming.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job as BatchJob;
use kube::api::ListParams;
use kube::{Api, Client};
use rota::api::{Job, JobRun, JobTemplate, Outcome, Queue};
use serde_json::json;

use crate::cluster::{Dice, PATIENCE, Worker, client, create, namespace, patch, template, within};
use crate::operators::{LEASE_SECONDS, Operators};
use crate::replay::{Limits, Recorder, Stops, judge};

const NAMESPACES: usize = 3;
const WAVES: usize = 8;
/// How many Jobs there are unless something else is asked for.
const JOBS: usize = 400;
/// How long a Job may take with all that goes wrong, if there are many.
const PATIENCE_PER_JOB: Duration = Duration::from_millis(200);
/// How many of one template may run in a namespace.
const OF_ONE_TEMPLATE: usize = 3;
/// How many may run in the cluster.
const IN_ALL: u32 = 9;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_operators_no_limit_is_overshot_no_order_violated_and_no_job_runs_twice() {
    let client = client().await;
    let mut dice = Dice::thrown();
    let own = namespace(&client, "operators").await;
    let recorder = Recorder::start(&client);
    let mut namespaces = Vec::new();
    for index in 0..NAMESPACES {
        let namespace = namespace(&client, &format!("team-{index}")).await;
        let queues = [("fast", 3), ("slow", 2)].map(|(name, max)| (name.to_owned(), json!({ "maxRunning": max })));
        create::<Queue>(&client, &namespace, queues.into()).await;
        let templates = [("licensed", json!({ "maxRunning": OF_ONE_TEMPLATE })), ("free", json!({}))];
        let templates = templates.map(|(name, fields)| (name.to_owned(), template(&fields)));
        create::<JobTemplate>(&client, &namespace, templates.into()).await;
        namespaces.push(namespace);
    }
    let mut operators = Operators::start(&client, &own, Some(IN_ALL));
    operators.leader().await;
    recorder.begin();
    let worker = Worker::start(&client, namespaces.clone(), 2);
    let wanted = std::env::var("ROTA_LOAD_JOBS").map_or(JOBS, |text| text.parse().expect("ROTA_LOAD_JOBS is a number"));
    let mut faults: HashMap<&str, usize> = HashMap::new();
    let mut stops = Stops::new();
    for wave in 0..WAVES {
        for namespace in &namespaces {
            jobs_come(&client, namespace, wave, wanted / WAVES / NAMESPACES, &mut dice).await;
        }
        *faults.entry(fault(&client, &mut operators, &namespaces, &mut dice, &mut stops).await).or_default() += 1;
        operators.mend();
    }
    let created = wanted / WAVES / NAMESPACES * WAVES * NAMESPACES;
    let mut done = 0;
    let patience = PATIENCE + PATIENCE_PER_JOB * u32::try_from(created).unwrap();
    within(patience, "every Job is recorded and gone", async || {
        // One that lost the lease ends, and is started again, as a cluster would.
        operators.mend();
        let mut left = 0;
        done = 0;
        for namespace in &namespaces {
            left += names::<Job>(&client, namespace).await + names::<BatchJob>(&client, namespace).await;
            done += names::<JobRun>(&client, namespace).await;
        }
        (left == 0 && done > 0).then_some(())
    })
    .await;
    drop(worker);
    drop(operators);
    assert_eq!(done, created, "each Job leaves one record");
    for namespace in &namespaces {
        each_completed_once(&client, namespace).await;
    }
    let report =
        judge(&recorder, Limits { cluster: Some(IN_ALL as usize), template: ("licensed", OF_ONE_TEMPLATE) }, stops);
    println!("{} admissions, at most {} at once, faults: {faults:?}", report.admissions, report.most);
    assert!(report.admissions >= created && report.most > IN_ALL as usize / 2, "nothing was tested: {report:#?}");
    assert!(report.overshoots.is_empty() && report.violations.is_empty(), "{report:#?}");
}

async fn jobs_come(client: &Client, namespace: &str, wave: usize, count: usize, dice: &mut Dice) {
    let jobs = (0..count).map(|number| {
        let mut spec = json!({
            "templateRef": { "name": dice.one_of(["licensed", "free"]) },
            "queue": dice.one_of(["fast", "slow"]),
            "priority": i64::try_from(dice.roll(4)).unwrap(),
        });
        if dice.roll(5) == 0 {
            spec["position"] = dice.roll(10).into();
        }
        (format!("job-{wave}-{number}"), spec)
    });
    create::<Job>(client, namespace, jobs.collect()).await;
}

/// Something goes wrong, or is changed.
async fn fault(
    client: &Client,
    operators: &mut Operators,
    namespaces: &[String],
    dice: &mut Dice,
    stops: &mut Stops,
) -> &'static str {
    let leader = operators.leader().await;
    match dice.roll(4) {
        0 => {
            let from = Instant::now();
            operators.pause(leader);
            tokio::time::sleep(Duration::from_secs(LEASE_SECONDS + 2)).await;
            operators.resume(leader);
            stops.push((from, Instant::now()));
            "stopped past its lease"
        }
        1 => {
            operators.kill(leader);
            "killed"
        }
        _ => {
            let namespace = &namespaces[usize::try_from(dice.roll(NAMESPACES as u64)).unwrap()];
            let max = 1 + dice.roll(4);
            patch::<Queue>(client, namespace, "fast", json!({ "spec": { "maxRunning": max } })).await;
            "limit changed"
        }
    }
}

async fn names<K>(client: &Client, namespace: &str) -> usize
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug,
    K: serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.list_metadata(&ListParams::default()).await.unwrap().items.len()
}

async fn each_completed_once(client: &Client, namespace: &str) {
    let runs: Api<JobRun> = Api::namespaced(client.clone(), namespace);
    let mut of_job: HashMap<String, usize> = HashMap::new();
    for run in runs.list(&ListParams::default()).await.unwrap() {
        assert_eq!(run.status.as_ref().unwrap().phase, Outcome::Completed, "{run:#?}");
        *of_job.entry(run.spec.job_ref.unwrap().uid).or_default() += 1;
    }
    assert!(of_job.values().all(|count| *count == 1), "{of_job:?}");
}
