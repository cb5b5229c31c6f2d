//! The operator is killed at random moments under load, and nothing is lost and nothing runs twice.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use rota::api::labels::JOB_UID;
use rota::api::{Job, JobGroup, JobRun, JobTemplate, Outcome, Queue, Reason, Schedule};
use rota::domain::conditions::micro;
use rota::domain::names;
use rota::domain::seal::Seal;
use rota::runtime::clock::now;
use serde_json::json;
use tokio::time::sleep;

use crate::support::history::History;
use crate::support::make::{ad_hoc, of, template, with};
use crate::support::occurrences::{caught_up, disable, every_time_has_one_outcome, settle};
use crate::support::work::{EVERY_SECONDS, FORBID_SECONDS, group_ran_in_order, load, one_of_each, one_record_a_job};
use crate::support::{World, in_world};

/// How often the operator is killed.
const KILLS: u64 = 20;
/// How long it lives between two kills, in milliseconds: from before it leads to well within its work.
const LIFE_MS: std::ops::Range<u64> = 100..4_000;
/// How long nothing may be written while there is nothing to do, in seconds.
const QUIET: Duration = Duration::from_secs(5);

/// Numbers that look random, and are the same for the same seed.
pub struct Dice(u64);

impl Dice {
    /// Seeded by ROTA_TEST_SEED, else by the time; it says with what, so that a failure can be repeated.
    pub fn new() -> Self {
        let given = std::env::var("ROTA_TEST_SEED").ok().map(|seed| seed.parse().expect("ROTA_TEST_SEED is a number"));
        let seed = given.unwrap_or_else(|| now().as_millisecond().unsigned_abs());
        println!("ROTA_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number from a range.
    pub fn roll(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        range.start + (mixed ^ (mixed >> 31)) % (range.end - range.start)
    }
}

/// I1 and I2: each time that a schedule owed has exactly one outcome, and each attempt one batch Job, one pod and one
/// record, however often the operator dies between two writes. I8 and I11: afterwards the writes stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_operator_twenty_times_loses_no_occurrence_and_repeats_none() {
    let mut dice = Dice::new();
    in_world("crash", async |world| {
        let pods = History::<Pod>::start(world, |_| None);
        let batch_jobs = History::<BatchJob>::start(world, |_| None);
        let jobs = History::<Job>::start(world, |_| None);
        load(world).await;
        kill_often(world, &mut dice).await;
        for name in ["every", "forbid"] {
            caught_up(world, name, SignedDuration::ZERO).await;
            disable(world, name).await;
        }
        settle(world).await;
        every_time_has_one_outcome(world, "every", EVERY_SECONDS, &[]).await;
        every_time_has_one_outcome(world, "forbid", FORBID_SECONDS, &[Reason::OverlapForbidden]).await;
        let records = world.all::<JobRun>().await;
        one_of_each(&batch_jobs.ever(), &pods.ever(), &records);
        one_record_a_job(&jobs.ever(), &records);
        group_ran_in_order(world).await;
        nothing_more_is_written(world).await;
    })
    .await;
}

/// I2: an operator that died between a Skipped record and the status that tells of it leaves a Job that looks as if nothing
/// had been decided. Its successor does not run it, although the reason is gone by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_was_recorded_as_skipped_just_before_a_crash_does_not_run_after_it() {
    in_world("recorded", async |world| {
        let held = |lease: &Lease| lease.spec.as_ref().is_some_and(|spec| spec.renew_time.is_some());
        let lease = world.until_object::<Lease>("rota", "somebody leads", held).await;
        world.operator().kill();
        let job = world.create::<Job>("early", of("late")).await;
        let uid = job.uid().unwrap();
        let mut record: JobRun = serde_json::from_value(json!({
            "apiVersion": rota::api::API_VERSION, "kind": "JobRun",
            "metadata": {
                "name": names::attempt("early", &uid, 1), "namespace": world.namespace, "labels": { JOB_UID: uid },
            },
            "spec": { "jobRef": { "name": "early", "uid": uid }, "jobType": "", "attempt": 1, "priority": 0, "queue": "default" },
            "status": {
                "phase": "Skipped", "reason": "TemplateNotFound", "finishedAt": micro(now()), "error": "there is no JobTemplate",
            },
        }))
        .unwrap();
        Seal::new(&lease.uid().unwrap(), jiff::Timestamp::MIN).put(&mut record);
        world.create_whole::<JobRun>(serde_json::to_value(&record).unwrap()).await;
        world.create::<JobTemplate>("late", template("true")).await;
        world.create::<Job>("other", of("late")).await;
        world.operator().restart();
        assert_eq!(world.only_run("other").await.status.unwrap().phase, Outcome::Completed);
        let run = world.only_run("early").await;
        assert_eq!((run.status.as_ref().unwrap().phase, run.status.unwrap().reason), (Outcome::Skipped, Reason::TemplateNotFound));
        let status = world.ended("early").await.status.unwrap();
        assert_eq!((status.outcome, status.reason), (Some(Outcome::Skipped), Some(Reason::TemplateNotFound)));
        assert!(world.batch_jobs_of(&uid).await.is_empty());
    })
    .await;
}

/// I11: a leader that slept past its lease, as on a suspended or overloaded machine, and finds that nobody took it, goes
/// on. Its timers ran out while it could not write, and no other event may be needed to look again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_slept_past_its_lease_goes_on_with_every_schedule() {
    in_world("paused", async |world| {
        world.create::<JobTemplate>("short", template("true")).await;
        let seconds = 10;
        let timing = json!({ "interval": format!("{seconds}s"), "catchUp": { "policy": "All" } });
        world.create::<Schedule>("every", with(of("short"), timing)).await;
        let idle = |schedule: &Schedule| {
            let status = schedule.status.as_ref();
            status.is_some_and(|status| status.last_outcome.is_some() && status.active == 0)
        };
        world.until_object("every", "has run once and has nothing to do", idle).await;
        world.operator().pause();
        let due = |schedule: &Schedule| {
            let next = schedule.status.as_ref().and_then(|status| status.next_trigger_time.as_ref());
            next.is_some_and(|next| next.0 < now())
        };
        world.until_object("every", "is due", due).await;
        let lapsed = |lease: &Lease| {
            let spec = lease.spec.as_ref().unwrap();
            let lasts = SignedDuration::from_secs(i64::from(spec.lease_duration_seconds.unwrap()) + 1);
            spec.renew_time.as_ref().unwrap().0 + lasts < now()
        };
        world.until_object("rota", "has lapsed", lapsed).await;
        let resumed = now();
        world.operator().resume();
        let renewed = |lease: &Lease| lease.spec.as_ref().unwrap().renew_time.as_ref().unwrap().0 > resumed;
        let decided = async || {
            let lease = world.api::<Lease>().get("rota").await.unwrap();
            (renewed(&lease) || !world.operator().is_running()).then_some(())
        };
        world.until("the operator has its lease again or has ended", decided).await;
        // It ends if it was stopped in the middle of a renewal, which then took too long. Its pod would be restarted.
        if !world.operator().is_running() {
            world.operator().restart();
        }
        caught_up(world, "every", SignedDuration::ZERO).await;
        disable(world, "every").await;
        settle(world).await;
        every_time_has_one_outcome(world, "every", seconds, &[]).await;
    })
    .await;
}

/// Kills the operator again and again while Jobs arrive, and leaves it running.
async fn kill_often(world: &World, dice: &mut Dice) {
    for kill in 0..KILLS {
        sleep(Duration::from_millis(dice.roll(LIFE_MS))).await;
        world.operator().kill();
        if kill % 2 == 0 {
            world.create::<Job>(&format!("ad-hoc-{kill}"), ad_hoc("exit $((RANDOM % 2))")).await;
        }
        world.operator().restart();
    }
}

/// With nothing to do, a restarted operator writes nothing but its lease.
async fn nothing_more_is_written(world: &World) {
    let quiet = async || {
        let before = versions(world).await;
        sleep(QUIET).await;
        (before == versions(world).await).then_some(before)
    };
    let before = world.until("the writes stop", quiet).await;
    let led = world.operator().times_led();
    world.operator().terminate();
    world.operator().restart();
    world.until("the operator leads again", async || (world.operator().times_led() > led).then_some(())).await;
    sleep(QUIET).await;
    assert_eq!(before, versions(world).await, "a restarted operator with nothing to do has written something");
}

/// The version of every object of ours.
async fn versions(world: &World) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    let mut note = |kind: &str, object: &dyn Fn() -> Vec<(String, String)>| {
        versions.extend(object().into_iter().map(|(name, version)| (format!("{kind}/{name}"), version)));
    };
    macro_rules! note_all {
        ($($kind:ty),*) => {$({
            let all = world.all::<$kind>().await;
            note(stringify!($kind), &|| {
                all.iter().map(|it| (it.name_any(), it.resource_version().unwrap_or_default())).collect()
            });
        })*};
    }
    note_all!(JobTemplate, Schedule, Queue, Job, JobGroup, JobRun, BatchJob, Pod);
    versions
}
