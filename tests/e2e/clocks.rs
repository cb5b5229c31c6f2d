//! Clocks that are wrong: set ahead, set back, asleep, and different in each replica. Each time of a schedule still has
//! exactly one outcome. Most Jobs here wait in a paused queue: when a time has its Job is what counts.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use rota::api::{Job, JobRun, JobTemplate, Queue, Reason, Schedule};
use rota::runtime::clock::now;
use serde_json::{Value, json};

use crate::support::history::History;
use crate::support::make::{ad_hoc, of, template, with};
use crate::support::occurrences::{caught_up, disable, every_time_has_one_outcome, jobs_of, last_time, records_of};
use crate::support::operator::Operator;
use crate::support::{World, in_world_with_clock};

const RIGHT: SignedDuration = SignedDuration::ZERO;
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const FIVE_MINUTES: SignedDuration = SignedDuration::from_mins(5);
const EIGHT_HOURS: SignedDuration = SignedDuration::from_hours(8);

/// The interval of the schedules, in seconds.
const EVERY_SECONDS: i64 = 3;
/// How late a time may be and still count as on time.
const ON_TIME: SignedDuration = SignedDuration::from_secs(15);
/// How many records may stand for all the times that were missed at once.
const RECORDS_MAX: usize = 3;

/// Why a time may be skipped that came while nobody looked.
const MISSED: [Reason; 2] = [Reason::MissedWindow, Reason::CatchUpLimit];

/// A schedule whose Jobs wait.
async fn every(world: &World, name: &str, fields: Value) {
    if world.all::<JobTemplate>().await.is_empty() {
        world.create::<Queue>("shut", json!({ "paused": { "reason": "only the times matter" } })).await;
        world.create::<JobTemplate>("waits", with(template("true"), json!({ "queue": "shut" }))).await;
    }
    let timing = with(json!({ "interval": format!("{EVERY_SECONDS}s") }), fields);
    world.create::<Schedule>(name, with(of("waits"), timing)).await;
}

/// Waits until two times have Jobs that are later than any that the schedule has dealt with so far.
async fn fires_twice(world: &World, name: &str) {
    let last = last_time(&world.api::<Schedule>().get(name).await.unwrap());
    let fired = async || {
        let mut jobs = jobs_of(world, name).await;
        jobs.retain(|job| job.spec.scheduled_time.as_ref().map(|time| time.0) > last);
        (jobs.len() >= 2).then_some(())
    };
    world.until(&format!("Schedule {name} has fired twice after {last:?}"), fired).await;
}

/// Sets the clock of the world's operator, and waits until it has noticed.
async fn set_clock(world: &World, ahead: SignedDuration) {
    let seen = world.operator().clock_steps_seen();
    world.operator().set_clock(ahead);
    let noticed = async || (world.operator().clock_steps_seen() > seen).then_some(());
    world.until("the operator notices that its clock was set", noticed).await;
}

/// Waits until a few times would have come, and returns the Jobs and records that were made meanwhile.
async fn made_meanwhile(world: &World, name: &str) -> Vec<String> {
    let names = async || {
        let jobs = jobs_of(world, name).await.into_iter().map(|job| job.name_any());
        jobs.chain(records_of(world, name).await.into_iter().map(|run| run.name_any())).collect::<BTreeSet<_>>()
    };
    let before = names().await;
    let passed = now() + SignedDuration::from_secs(4 * EVERY_SECONDS);
    world.until("a few times pass", async || (now() > passed).then_some(())).await;
    names().await.difference(&before).cloned().collect()
}

async fn leads(world: &World, replica: &Operator, times: usize) {
    world.until("the other replica leads", async || (replica.times_led() >= times).then_some(())).await;
}

/// Lets the world's own operator lead again, which has to clean up.
async fn hand_back(world: &World, mut replica: Operator) {
    replica.terminate();
    replica.remove_log();
    let led = world.operator().times_led();
    world.operator().restart();
    world.until("the world's operator leads", async || (world.operator().times_led() > led).then_some(())).await;
}

/// Waits until a time has its Job or record, and the status that follows does not yet say so.
async fn status_lags(world: &World, name: &str) -> Timestamp {
    let lags = async || {
        let jobs = jobs_of(world, name).await.into_iter().filter_map(|job| job.spec.scheduled_time);
        let runs = records_of(world, name).await.into_iter().filter_map(|run| run.spec.scheduled_time);
        let newest = jobs.chain(runs).map(|time| time.0).max()?;
        let schedule = world.api::<Schedule>().get(name).await.unwrap();
        (last_time(&schedule)? < newest).then_some(newest)
    };
    world.until("a time is dealt with before the status says so", lags).await
}

/// Times that the clock jumped over are missed times, and when it is set back they have been dealt with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_ahead_by_an_hour_and_back_neither_loses_nor_repeats() {
    in_world_with_clock("ahead", RIGHT, async |world| {
        every(world, "every", json!({ "catchUp": { "policy": "All", "maxRuns": 2 } })).await;
        fires_twice(world, "every").await;
        set_clock(world, HOUR).await;
        caught_up(world, "every", HOUR).await;
        fires_twice(world, "every").await;
        set_clock(world, RIGHT).await;
        assert_eq!(made_meanwhile(world, "every").await, [""; 0], "the account is an hour ahead");
        set_clock(world, HOUR).await;
        caught_up(world, "every", HOUR).await;
        fires_twice(world, "every").await;
        disable(world, "every").await;
        every_time_has_one_outcome(world, "every", EVERY_SECONDS, &MISSED).await;
    })
    .await;
}

/// Nothing runs until the clock reaches the account again, and what was to be written is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_by_an_hour_neither_loses_nor_repeats() {
    in_world_with_clock("back", RIGHT, async |world| {
        every(world, "every", json!({ "catchUp": { "policy": "All" } })).await;
        fires_twice(world, "every").await;
        let newest = status_lags(world, "every").await;
        set_clock(world, -HOUR).await;
        let told = |schedule: &Schedule| last_time(schedule) >= Some(newest);
        world.until_object("every", "tells its last time", told).await;
        assert_eq!(made_meanwhile(world, "every").await, [""; 0], "these times have been dealt with");
        set_clock(world, RIGHT).await;
        caught_up(world, "every", RIGHT).await;
        fires_twice(world, "every").await;
        disable(world, "every").await;
        every_time_has_one_outcome(world, "every", EVERY_SECONDS, &[]).await;
    })
    .await;
}

/// Thousands of missed times are a handful of writes, and as many runs as catchUp says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_night_in_suspend_is_made_up_for_as_catch_up_says_with_few_writes() {
    in_world_with_clock("suspend", RIGHT, async |world| {
        for (name, catch_up) in [
            ("none", json!({ "policy": "None" })),
            ("latest", json!({ "policy": "Latest" })),
            ("all", json!({ "policy": "All", "maxRuns": 4 })),
        ] {
            every(world, name, json!({ "catchUp": catch_up })).await;
        }
        fires_twice(world, "all").await;
        world.operator().pause();
        let asleep = now();
        world.operator().set_clock(EIGHT_HOURS);
        let awake = now() + EIGHT_HOURS;
        world.operator().resume();
        for (name, made_up) in [("none", 0), ("latest", 0), ("all", 4)] {
            caught_up(world, name, EIGHT_HOURS).await;
            fires_twice(world, name).await;
            disable(world, name).await;
            every_time_has_one_outcome(world, name, EVERY_SECONDS, &MISSED).await;
            let records = records_of(world, name).await;
            assert!(!records.is_empty() && records.len() <= RECORDS_MAX, "{name}: {records:#?}");
            // The operator decided when it wrote the records, which on a busy machine is some seconds after it was resumed. Those
            // of the last seconds before that were not late and ran, and so Latest made up for none.
            let of_sleep = records.iter().filter(|run| run.spec.scheduled_time.as_ref().unwrap().0 < awake);
            let decided =
                of_sleep.map(|run| run.status.as_ref().unwrap().finished_at.as_ref().unwrap().0).max().unwrap();
            let slept = |job: &Job| {
                let time = job.spec.scheduled_time.as_ref().unwrap().0;
                asleep + ON_TIME < time && time < decided - ON_TIME
            };
            let run = jobs_of(world, name).await.iter().filter(|job| slept(job)).count();
            assert_eq!(run, made_up, "{name}: how many of the times that were missed have run");
        }
    })
    .await;
}

/// A leader whose clock is ahead dies, one whose clock is behind takes over and has nothing to do yet, then the first one
/// is back, and at last the clock of the second one is put right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_whose_clocks_are_ten_minutes_apart_neither_lose_nor_repeat() {
    in_world_with_clock("replicas", FIVE_MINUTES, async |world| {
        every(world, "every", json!({ "catchUp": { "policy": "All" } })).await;
        caught_up(world, "every", FIVE_MINUTES).await;
        fires_twice(world, "every").await;
        let mut behind = world.replica("behind", -FIVE_MINUTES);
        world.operator().kill();
        leads(world, &behind, 1).await;
        assert_eq!(made_meanwhile(world, "every").await, [""; 0], "the account is ten minutes ahead");
        behind.kill();
        world.operator().restart();
        caught_up(world, "every", FIVE_MINUTES).await;
        fires_twice(world, "every").await;
        behind.restart();
        world.operator().kill();
        leads(world, &behind, 2).await;
        assert_eq!(made_meanwhile(world, "every").await, [""; 0], "the account is ten minutes ahead");
        behind.set_clock(FIVE_MINUTES);
        caught_up(world, "every", FIVE_MINUTES).await;
        fires_twice(world, "every").await;
        disable(world, "every").await;
        every_time_has_one_outcome(world, "every", EVERY_SECONDS, &MISSED).await;
        hand_back(world, behind).await;
    })
    .await;
}

/// What a leader recorded just before it died is found, also if its clock was ahead, so that it lies in the future.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_that_was_skipped_by_a_leader_whose_clock_was_ahead_does_not_run_later() {
    in_world_with_clock("skipped", FIVE_MINUTES, async |world| {
        every(world, "forbid", json!({ "concurrencyPolicy": "Forbid", "catchUp": { "policy": "All" } })).await;
        world.until("a time has its Job", async || jobs_of(world, "forbid").await.pop()).await;
        // Its status follows a second later, and is lost.
        status_lags(world, "forbid").await;
        world.operator().kill();
        let behind = world.replica("behind", -FIVE_MINUTES);
        leads(world, &behind, 1).await;
        let job = jobs_of(world, "forbid").await.remove(0).name_any();
        world.patch::<Job>(&job, json!({ "spec": { "cancel": { "reason": "to make room" } } })).await;
        world.ended(&job).await;
        behind.set_clock(FIVE_MINUTES);
        caught_up(world, "forbid", FIVE_MINUTES).await;
        disable(world, "forbid").await;
        let reasons = [Reason::OverlapForbidden, Reason::Cancelled];
        every_time_has_one_outcome(world, "forbid", EVERY_SECONDS, &reasons).await;
        hand_back(world, behind).await;
    })
    .await;
}

/// A suspended machine's monotonic clock stands still: by it, a lease that another replica took long ago still holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_wakes_from_suspend_writes_nothing_under_a_lease_that_another_one_took() {
    in_world_with_clock("woken", RIGHT, async |world| {
        let names: Vec<String> = (0..8).map(|number| format!("every-{number}")).collect();
        for name in &names {
            every(world, name, json!({ "catchUp": { "policy": "None" } })).await;
        }
        fires_twice(world, names.last().unwrap()).await;
        world.operator().pause();
        // All of them want to write when it wakes, before it has asked for its lease.
        let due = now() + SignedDuration::from_secs(EVERY_SECONDS);
        world.until("all are due", async || (now() > due).then_some(())).await;
        let other = json!({ "spec": { "holderIdentity": "other", "leaseDurationSeconds": 1 } });
        world.patch::<Lease>("rota", other).await;
        world.operator().set_clock(EIGHT_HOURS);
        world.operator().resume();
        let ended = async || (!world.operator().is_running()).then_some(());
        world.until("it notices that it does not lead any more", ended).await;
        let of_tonight = |run: &JobRun| run.spec.job_ref.is_none();
        let written: Vec<_> = world.all::<JobRun>().await.into_iter().filter(of_tonight).collect();
        assert_eq!(written, [], "it wrote without a lease");
        world.operator().restart();
        for name in &names {
            caught_up(world, name, EIGHT_HOURS).await;
            disable(world, name).await;
            every_time_has_one_outcome(world, name, EVERY_SECONDS, &MISSED).await;
        }
    })
    .await;
}

/// Timers run by the monotonic clock: a Job that waits for a time has to look again as well when the clock is set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_waits_for_a_time_goes_on_when_the_clock_jumps_over_it() {
    in_world_with_clock("retry", RIGHT, async |world| {
        let retry = json!({ "retry": { "maxAttempts": 2, "backoffSeconds": 1800 } });
        let jobs = History::<Job>::start(world, |_| None);
        world.create::<Job>("fails", with(ad_hoc("exit 3"), retry)).await;
        let waits = |job: &Job| job.status.as_ref().is_some_and(|status| status.retry_at.is_some());
        world.until_object("fails", "waits for its next attempt", waits).await;
        set_clock(world, HOUR).await;
        let job = jobs.ever().remove(0).uid().unwrap();
        let both = async || Some(world.runs_of(&job).await).filter(|runs| runs.len() == 2);
        let runs = world.until("the second attempt is recorded", both).await;
        assert!(runs.iter().all(|run| run.status.as_ref().unwrap().reason == Reason::ExitCode), "{runs:#?}");
    })
    .await;
}

/// The API server says when a pod was asked for: a clock that is ahead of it has not waited for that long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_ahead_gives_pods_their_time_to_start() {
    in_world_with_clock("pods", HOUR, async |world| {
        let jobs = History::<Job>::start(world, |_| None);
        world.create::<Job>("runs", ad_hoc("sleep 3")).await;
        let ended = async || {
            let job = jobs.ever().pop()?;
            world.runs_of(&job.uid()?).await.pop()
        };
        let status = world.until("it is recorded", ended).await.status.unwrap();
        assert_eq!((status.reason, status.exit_code), (Reason::Succeeded, Some(0)), "{status:#?}");
    })
    .await;
}
