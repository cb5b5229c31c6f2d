//! The operator is upgraded and downgraded under load: what runs meanwhile ends with the right record, nothing is lost, and
//! nothing runs twice.
//!
//! Run with `make test-upgrade`, which builds the earlier operator from the history of this repository. ROTA_UPGRADE_BINARY
//! names its program, and ROTA_UPGRADE_CRDS the folder of its CRDs.

// The lint's own exception for tests covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "it serves the other tests with real pods too")]
#[path = "../e2e/support/mod.rs"]
mod support;

use std::path::PathBuf;

use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use rota::api::{Job, JobRun, Outcome, Reason};
use serde_json::json;

use support::history::History;
use support::make::{ad_hoc, of, with};
use support::occurrences::{caught_up, disable, every_time_has_one_outcome, settle};
use support::work::{EVERY_SECONDS, FORBID_SECONDS, group_ran_in_order, load, one_of_each, one_record_a_job};
use support::{World, in_world_of, install_kinds};

/// The names of the Jobs that are retried begin with this: they have a record for each attempt.
const RETRIED: &str = "retried-";

/// The path that a variable names.
fn path(variable: &str) -> PathBuf {
    let found = std::env::var_os(variable);
    PathBuf::from(found.unwrap_or_else(|| panic!("{variable} is not set: run this test with `make test-upgrade`")))
}

/// The CRDs of the earlier build.
fn earlier_kinds() -> Vec<CustomResourceDefinition> {
    let files = std::fs::read_dir(path("ROTA_UPGRADE_CRDS")).unwrap().map(|entry| entry.unwrap().path());
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    files.map(read).collect()
}

/// Starts work that is under way when the operator is replaced: a Job that runs, one that is retried, one that waits for a
/// user, two with one dedupKey.
async fn start_work(world: &World, round: &str) {
    let retry = json!({ "retry": { "maxAttempts": 2, "backoff": { "initialSeconds": 1, "factor": 1 } } });
    world.create::<Job>(&format!("running-{round}"), ad_hoc("sleep 12; exit 7")).await;
    world.create::<Job>(&format!("{RETRIED}{round}"), with(ad_hoc("sleep 6; exit 3"), retry)).await;
    world.create::<Job>(&format!("held-{round}"), with(of("short"), json!({ "hold": true }))).await;
    let keyed = with(ad_hoc("sleep 10"), json!({ "dedupKey": round }));
    world.create::<Job>(&format!("keyed-{round}"), keyed.clone()).await;
    world.running(&format!("keyed-{round}")).await;
    world.create::<Job>(&format!("duplicate-{round}"), keyed).await;
    world.running(&format!("running-{round}")).await;
    world.running(&format!("{RETRIED}{round}")).await;
}

/// Lets the Job go that waits for a user, and compares how the others ended with what they did.
async fn finish_work(world: &World, round: &str) {
    world.patch::<Job>(&format!("held-{round}"), json!({ "spec": { "hold": false } })).await;
    let only = async |name: &str| {
        let status = world.only_run(&format!("{name}-{round}")).await.status.unwrap();
        (status.phase, status.reason, status.exit_code)
    };
    assert_eq!(only("running").await, (Outcome::Failed, Reason::ExitCode, Some(7)), "{round}");
    assert_eq!(only("held").await, (Outcome::Completed, Reason::Succeeded, Some(0)), "{round}");
    assert_eq!(only("keyed").await, (Outcome::Completed, Reason::Succeeded, Some(0)), "{round}");
    assert_eq!(only("duplicate").await, (Outcome::Skipped, Reason::DuplicateKey, None), "{round}");
    let retried = world.ended(&format!("{RETRIED}{round}")).await;
    let codes: Vec<_> =
        world.runs_of(&retried.uid().unwrap()).await.into_iter().map(|run| run.status.unwrap().exit_code).collect();
    assert_eq!(codes, [Some(3), Some(3)], "{round}");
}

/// I1, I2 and I8 across builds: an upgrade, a downgrade, and an upgrade after a crash, each under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_and_a_downgrade_under_load_lose_nothing_and_run_nothing_twice() {
    let earlier = path("ROTA_UPGRADE_BINARY");
    in_world_of("upgrade", earlier.clone(), async |world| {
        install_kinds(world.client.clone(), Some(earlier_kinds())).await;
        let pods = History::<Pod>::start(world, |_| None);
        let batch_jobs = History::<BatchJob>::start(world, |_| None);
        let jobs = History::<Job>::start(world, |_| None);
        load(world).await;
        start_work(world, "upgrade").await;
        install_kinds(world.client.clone(), None).await;
        world.operator().terminate();
        world.operator().restart_as(None);
        caught_up(world, "every", SignedDuration::ZERO).await;
        finish_work(world, "upgrade").await;
        start_work(world, "downgrade").await;
        // The CRDs of the later build stay: an earlier operator ignores fields that it does not know.
        world.operator().terminate();
        world.operator().restart_as(Some(earlier));
        caught_up(world, "every", SignedDuration::ZERO).await;
        finish_work(world, "downgrade").await;
        start_work(world, "crash").await;
        world.operator().restart_as(None);
        caught_up(world, "every", SignedDuration::ZERO).await;
        finish_work(world, "crash").await;
        for name in ["every", "forbid"] {
            disable(world, name).await;
        }
        settle(world).await;
        every_time_has_one_outcome(world, "every", EVERY_SECONDS, &[]).await;
        every_time_has_one_outcome(world, "forbid", FORBID_SECONDS, &[Reason::OverlapForbidden]).await;
        let records = world.all::<JobRun>().await;
        one_of_each(&batch_jobs.ever(), &pods.ever(), &records);
        let mut jobs = jobs.ever();
        jobs.retain(|job| !job.name_any().starts_with(RETRIED));
        one_record_a_job(&jobs, &records);
        group_ran_in_order(world).await;
    })
    .await;
}
