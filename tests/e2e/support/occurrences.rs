//! What became of each time of a schedule.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use rota::api::labels::RECORD_FINALIZER;
use rota::api::schedule::SchedulePhase;
use rota::api::{Job, JobGroup, JobRun, Outcome, Queue, Reason, Schedule};
use rota::runtime::clock::now;
use serde_json::json;

use super::World;

/// Waits until a schedule has dealt with a time that is later than now, by a clock that is so far ahead of the machine's.
pub async fn caught_up(world: &World, name: &str, ahead: SignedDuration) {
    let since = now() + ahead;
    let caught_up = |schedule: &Schedule| last_time(schedule).is_some_and(|time| time > since);
    world.until_object(name, "has caught up", caught_up).await;
}

/// The last time that a schedule has dealt with.
pub fn last_time(schedule: &Schedule) -> Option<Timestamp> {
    schedule.status.as_ref().and_then(|status| status.accounted_until.as_ref()).map(|time| time.0)
}

/// Turns a schedule off.
pub async fn disable(world: &World, name: &str) {
    world.patch::<Schedule>(name, json!({ "spec": { "enabled": false } })).await;
    let disabled =
        |schedule: &Schedule| schedule.status.as_ref().and_then(|status| status.phase) == Some(SchedulePhase::Disabled);
    world.until_object(name, "is disabled", disabled).await;
}

/// Waits until every Job has ended and let go of its finalizer, and the counts of the queue say so.
pub async fn settle(world: &World) {
    let settled = async || {
        let jobs = world.all::<Job>().await;
        let ended = jobs.iter().all(|job| job.status.as_ref().and_then(|it| it.phase).is_some_and(|it| it.is_ended()));
        let free = !jobs.iter().any(|job| job.finalizers().iter().any(|it| it == RECORD_FINALIZER));
        let queues = world.all::<Queue>().await;
        let idle = queues.iter().filter_map(|queue| queue.status.as_ref()).all(|it| it.running + it.waiting == 0);
        let groups = world.all::<JobGroup>().await;
        let done = groups.iter().all(|it| it.status.as_ref().and_then(|it| it.phase).is_some_and(|it| it.is_ended()));
        (ended && free && idle && done).then_some(())
    };
    world.until("every Job has ended and is let go", settled).await;
}

/// Counts for each nominal time of an interval schedule, from its first to the last that it has dealt with, its Jobs and
/// the records that stand for it. What has not succeeded has one of these reasons.
pub async fn every_time_has_one_outcome(world: &World, name: &str, every_seconds: i64, reasons: &[Reason]) {
    let schedule = world.api::<Schedule>().get(name).await.unwrap();
    let created = schedule.creation_timestamp().unwrap().0;
    let last = last_time(&schedule).unwrap();
    let every = SignedDuration::from_secs(every_seconds);
    let mut owed = BTreeMap::<Timestamp, BTreeSet<String>>::new();
    let mut time = created + every;
    while time <= last {
        owed.insert(time, BTreeSet::new());
        time += every;
    }
    for job in jobs_of(world, name).await {
        let time = job.spec.scheduled_time.as_ref().unwrap().0;
        let outcomes = owed.get_mut(&time).unwrap_or_else(|| panic!("nobody owed {}", job.name_any()));
        outcomes.insert(format!("Job {}", job.uid().unwrap()));
    }
    for run in records_of(world, name).await {
        let status = run.status.as_ref().unwrap();
        let from = run.spec.scheduled_time.as_ref().unwrap().0;
        let to = status.last_scheduled_time.as_ref().map_or(from, |time| time.0);
        assert!(owed.contains_key(&from), "{} stands for {from}, which nobody owed", run.name_any());
        let covered: Vec<_> = owed.range_mut(from..=to).map(|(_, outcomes)| outcomes).collect();
        assert_eq!(covered.len() as u64, status.count.unwrap_or(1), "{} says how many times it covers", run.name_any());
        // A Job and its record are the same outcome.
        let outcome = match &run.spec.job_ref {
            Some(job) => format!("Job {}", job.uid),
            None => format!("{} {:?}", run.name_any(), status.reason),
        };
        for outcomes in covered {
            outcomes.insert(outcome.clone());
        }
        let sound = status.phase == Outcome::Completed || reasons.contains(&status.reason);
        assert!(sound, "{}: {status:#?}", run.name_any());
    }
    let wrong: Vec<_> = owed.iter().filter(|(_, outcomes)| outcomes.len() != 1).take(20).collect();
    assert!(wrong.is_empty(), "{name}: times with more or less than one outcome: {wrong:#?}");
    println!("{name}: {} times, each with one outcome", owed.len());
}

/// The Jobs of a schedule's times that are there.
pub async fn jobs_of(world: &World, name: &str) -> Vec<Job> {
    let mut jobs = world.all::<Job>().await;
    jobs.retain(|job| job.spec.schedule_ref.as_ref().is_some_and(|it| it.name == name));
    jobs
}

/// The records of a schedule's times.
pub async fn records_of(world: &World, name: &str) -> Vec<JobRun> {
    let mut runs = world.all::<JobRun>().await;
    runs.retain(|run| run.spec.schedule_ref.as_ref().is_some_and(|it| it.name == name));
    runs
}
