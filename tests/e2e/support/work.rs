//! Work of every kind at once, and what has to be true of what ran and what is recorded afterwards, whatever happened to
//! the operator meanwhile.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use rota::api::{Job, JobGroup, JobRun, JobTemplate, Outcome, Queue, Schedule};
use serde_json::json;

use super::World;
use super::history::attempt_of;
use super::make::{of, template, with};

/// The interval of the schedule `every`, whose every time has to run, in seconds.
pub const EVERY_SECONDS: i64 = 2;
/// The interval of the schedule `forbid`, which forbids overlap, in seconds; its Jobs take longer.
pub const FORBID_SECONDS: i64 = 3;

/// A queue with a limit, two schedules and a Sequential group of four.
pub async fn load(world: &World) {
    world.create::<Queue>("default", json!({ "maxRunning": 12 })).await;
    world.create::<JobTemplate>("short", template("true")).await;
    world.create::<JobTemplate>("long", template("sleep 4")).await;
    let every = with(of("short"), json!({ "interval": format!("{EVERY_SECONDS}s"), "catchUp": { "policy": "All" } }));
    world.create::<Schedule>("every", every).await;
    let forbid = json!({ "interval": format!("{FORBID_SECONDS}s"), "concurrencyPolicy": "Forbid" });
    world.create::<Schedule>("forbid", with(of("long"), forbid)).await;
    let member = |name: &str| json!({ "name": name, "templateRef": { "name": "short" } });
    let group = json!({ "mode": "Sequential", "jobs": [member("a"), member("b"), member("c"), member("d")] });
    world.create::<JobGroup>("group", group).await;
}

/// Compares what ran with what is recorded: one batch Job, one pod and one record for each attempt.
pub fn one_of_each(batch_jobs: &[BatchJob], pods: &[Pod], records: &[JobRun]) {
    let ran = records.iter().filter(|run| run.status.as_ref().unwrap().phase != Outcome::Skipped);
    let recorded: Vec<_> = ran.map(attempt_of).collect();
    let unique: BTreeSet<_> = recorded.iter().cloned().collect();
    assert_eq!(recorded.len(), unique.len(), "an attempt has two records");
    let launched: Vec<_> = batch_jobs.iter().map(attempt_of).collect();
    assert_eq!(launched.len(), launched.iter().collect::<BTreeSet<_>>().len(), "an attempt had two batch Jobs");
    assert_eq!(launched.iter().cloned().collect::<BTreeSet<_>>(), unique, "batch Jobs and records do not match");
    let started: Vec<_> = pods.iter().map(attempt_of).collect();
    assert_eq!(started.len(), started.iter().collect::<BTreeSet<_>>().len(), "an attempt had two pods");
    assert_eq!(started.iter().cloned().collect::<BTreeSet<_>>(), unique, "pods and records do not match");
    println!("{} attempts, each with one batch Job, one pod and one record", unique.len());
}

/// Each Job that ever existed has its record, and each occurrence of a schedule at most one Job.
pub fn one_record_a_job(jobs: &[Job], records: &[JobRun]) {
    for job in jobs {
        let uid = job.uid().unwrap();
        let of_job = records.iter().filter(|run| run.spec.job_ref.as_ref().is_some_and(|it| it.uid == uid)).count();
        assert_eq!(of_job, 1, "Job {} has {of_job} records", job.name_any());
    }
    let occurrence = |job: &Job| Some((job.spec.schedule_ref.clone()?, job.spec.scheduled_time.clone()?.0));
    let occurrences: Vec<_> = jobs.iter().filter_map(occurrence).collect();
    let unique: BTreeSet<_> = occurrences.iter().collect();
    assert_eq!(occurrences.len(), unique.len(), "an occurrence had two Jobs");
}

/// The members of the group each have one record, and ran one after the other.
pub async fn group_ran_in_order(world: &World) {
    let mut runs = world.all::<JobRun>().await;
    runs.retain(|run| run.spec.group_ref.is_some());
    runs.sort_by_key(|run| run.spec.group_ref.as_ref().map(|it| it.member.clone()));
    assert_eq!(runs.len(), 4, "each member has one record");
    for pair in runs.windows(2) {
        let before = pair[0].status.as_ref().unwrap().finished_at.clone();
        let after = pair[1].status.as_ref().unwrap().started_at.clone();
        assert!(before <= after, "a member started before the one before it had finished: {pair:#?}");
    }
}
