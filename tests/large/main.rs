//! Groups as large as they may be, on an API server without nodes: the tests complete the batch Jobs themselves, and what
//! was launched, in which order and how much at once is taken from a watch of their own.
//!
//! Run with `rota-cluster run --node none -- cargo test --test large -- --test-threads=1`; see tests/cluster. ROTA_TEST_BINARY
//! names an optimized operator. ROTA_TEST_PARALLEL and ROTA_TEST_SEQUENTIAL say how many members the groups have: 10,000 and
//! 1,000 are the sizes that are meant to work; the default is what a run of all tests has time for.

// The lint's own exception for tests covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/completed.rs"]
mod completed;
mod controller;
#[allow(dead_code, reason = "it serves the tests with real pods too")]
#[path = "../e2e/support/mod.rs"]
mod support;

use std::time::Duration;

use futures::{StreamExt, stream};
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use rota::api::job_group::{GroupPhase, MEMBERS_MAX};
use rota::api::{Job, JobGroup, JobGroupStatus, JobRun, JobTemplate, Outcome};
use rota::domain::names;
use serde_json::{Value, json};
use tokio::time::Instant;

use controller::Controller;
use support::{World, in_world};

/// How long a large group may take.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// How many objects a test creates at the same time.
const CREATES_AT_ONCE: usize = 16;

/// A template whose batch Jobs are left to the test by the Job controller.
async fn template(world: &World) {
    let mut job = support::make::script("true");
    job["spec"]["managedBy"] = json!("rota.dev/test");
    let spec = json!({ "jobType": "test", "ttlSecondsAfterFinished": 0, "jobTemplate": job });
    world.create::<JobTemplate>("step", spec).await;
}

async fn ended(world: &World, name: &str) -> JobGroupStatus {
    let api = world.api::<JobGroup>();
    let status = async || {
        let status = api.get(name).await.unwrap().status?;
        status.phase.is_some_and(GroupPhase::is_ended).then_some(status)
    };
    world.within(PATIENCE, "the group has ended", status).await
}

/// How many members a group is to have.
fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |size| size.parse().unwrap())
}

/// How many objects of a kind there are.
async fn count<K>(world: &World) -> usize
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + serde::de::DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let first = world.api::<K>().list_metadata(&ListParams::default().limit(1)).await.unwrap();
    first.items.len() + usize::try_from(first.metadata.remaining_item_count.unwrap_or_default()).unwrap()
}

/// A long list: strictly one after the other in its order, also over a crash of the operator in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_sequential_group_goes_one_by_one_in_the_order_of_its_list() {
    let size = size("ROTA_TEST_SEQUENTIAL", 300);
    in_world("sequential", async |world| {
        template(world).await;
        let controller = Controller::start(world);
        // Not the order of the names.
        let names: Vec<String> = (0..size).map(|place| format!("step-{}", place * 617 % size)).collect();
        let jobs: Vec<Value> =
            names.iter().map(|name| json!({ "name": name, "templateRef": { "name": "step" } })).collect();
        let since = Instant::now();
        let group = world.create::<JobGroup>("line", json!({ "mode": "Sequential", "jobs": jobs })).await;
        let half = async || (controller.launched().len() >= size / 2).then_some(());
        world.within(PATIENCE, "half of the members were launched", half).await;
        world.operator().kill();
        world.operator().restart();
        let status = ended(world, "line").await;
        println!("a sequential group of {size} took {:.1} s", since.elapsed().as_secs_f64());
        let uid = group.uid().unwrap();
        let expected: Vec<String> = names.iter().map(|name| names::member_job("line", &uid, name)).collect();
        assert_eq!(controller.launched(), expected, "not in the order of the list, or not once each");
        assert_eq!(controller.most_at_once(), 1);
        assert_eq!((status.phase, status.counts.unwrap().completed as usize), (Some(GroupPhase::Completed), size));
        assert!(status.members.iter().all(|it| it.outcome == Some(Outcome::Completed) && it.run_ref.is_some()));
        assert_eq!(count::<JobRun>(world).await, size);
    })
    .await;
}

/// More members than a status can list: they join, run as many as allowed at once, are counted, and none stays behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parallel_group_of_thousands_that_joined_runs_and_is_counted_to_the_last() {
    let size = size("ROTA_TEST_PARALLEL", 1_200);
    in_world("parallel", async |world| {
        template(world).await;
        let controller = Controller::start(world);
        let spec = json!({ "mode": "Parallel", "maxRunning": 50, "started": false });
        world.create::<JobGroup>("crowd", spec).await;
        let since = Instant::now();
        let member = json!({ "templateRef": { "name": "step" }, "groupRef": { "name": "crowd" } });
        let jobs = (0..size)
            .map(|number| Job::new(&format!("member-{number}"), serde_json::from_value(member.clone()).unwrap()));
        let api = world.api::<Job>();
        let (api, parameters) = (&api, &PostParams::default());
        let creates = jobs.map(|job| async move { drop(api.create(parameters, &job).await.unwrap()) });
        stream::iter(creates).buffer_unordered(CREATES_AT_ONCE).collect::<()>().await;
        println!("creating {size} Jobs took {:.1} s", since.elapsed().as_secs_f64());
        world.patch::<JobGroup>("crowd", json!({ "spec": { "started": true } })).await;
        let status = ended(world, "crowd").await;
        println!("a parallel group of {size} took {:.1} s", since.elapsed().as_secs_f64());
        let counts = status.counts.unwrap();
        assert_eq!(
            (status.phase, counts.total, counts.completed),
            (Some(GroupPhase::Completed), size as u32, size as u32)
        );
        assert_eq!(status.members.len(), MEMBERS_MAX);
        assert!(controller.most_at_once() <= 50, "{} ran at once", controller.most_at_once());
        assert_eq!((controller.launched().len(), count::<JobRun>(world).await), (size, size));
        let gone = async || (count::<Job>(world).await == 0).then_some(());
        world.within(PATIENCE, "the Jobs are gone", gone).await;
        println!("and they were gone after {:.1} s", since.elapsed().as_secs_f64());
    })
    .await;
}
