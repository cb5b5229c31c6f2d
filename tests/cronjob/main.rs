//! CronJobs beside their counterparts: the same work for ten minutes by the controller of Kubernetes and by Rota, with overlaps,
//! failures, deadlines and a suspension. What both did is printed as the table of docs/cronjobs.md.
//!
//! Run it with `make test-cronjob`. It takes ten minutes, because a CronJob knows no shorter time than a minute, so it is no
//! part of `make test`.

// The lint's own exception for tests covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "it serves the other tests with real pods too")]
#[path = "../e2e/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, Job as BatchJob};
use kube::ResourceExt;
use rota::api::labels::{CRONJOB_TIME_ANNOTATION, SCHEDULE};
use rota::api::{JobTemplate, Schedule};
use rota::domain::run::{BatchState, batch_outcome};
use rota::runtime::clock::now;
use serde_json::{Value, json};

use support::make::{script, with};
use support::{World, in_world};

/// How many minutes are compared.
const MINUTES: i64 = 10;
/// How much later than its time a run is said to be late, in seconds: neither starts at the very instant.
const LATE_SECONDS: i64 = 10;
/// From which minute to which the suspended ones are suspended.
const SUSPENDED: [i64; 2] = [2, 5];
/// A run that outlasts the next time.
const LONG: &str = "trap 'exit 143' TERM; sleep 90 & wait $!";

/// A CronJob and what it becomes.
struct Case {
    name: &'static str,
    what: &'static str,
    /// What runs.
    script: &'static str,
    /// Fields of the batch Job in both.
    batch: Value,
    /// Fields of the CronJob.
    cron_job: Value,
    /// Fields of the JobTemplate and of the Schedule.
    template: Value,
    schedule: Value,
    /// How the fields are called, in the table.
    fields: [&'static str; 2],
    /// Whether both do the same.
    is_same: bool,
}

fn cases() -> Vec<Case> {
    let case = |name, what, script| Case {
        name,
        what,
        script,
        batch: json!({ "backoffLimit": 0 }),
        cron_job: json!({}),
        template: json!({}),
        schedule: json!({}),
        fields: ["", ""],
        is_same: true,
    };
    vec![
        Case { fields: ["Allow", "Allow"], ..case("allow", "a run of 90 s each minute", LONG) },
        Case {
            cron_job: json!({ "concurrencyPolicy": "Forbid" }),
            schedule: json!({ "concurrencyPolicy": "QueueLatest" }),
            fields: ["Forbid", "QueueLatest"],
            ..case("forbid", "a run of 90 s each minute", LONG)
        },
        Case {
            cron_job: json!({ "concurrencyPolicy": "Forbid" }),
            schedule: json!({ "concurrencyPolicy": "Forbid" }),
            fields: ["Forbid", "Forbid"],
            is_same: false,
            ..case("strict", "a run of 90 s each minute", LONG)
        },
        Case {
            cron_job: json!({ "concurrencyPolicy": "Forbid", "startingDeadlineSeconds": 20 }),
            schedule: json!({ "concurrencyPolicy": "QueueLatest", "startDeadlineSeconds": 20 }),
            fields: ["Forbid, startingDeadlineSeconds 20", "QueueLatest, startDeadlineSeconds 20"],
            ..case("deadline", "a run of 90 s each minute", LONG)
        },
        Case {
            cron_job: json!({ "concurrencyPolicy": "Replace" }),
            schedule: json!({ "concurrencyPolicy": "Replace" }),
            fields: ["Replace", "Replace"],
            ..case("replace", "a run of 90 s each minute", LONG)
        },
        Case { fields: ["backoffLimit 0", "as pasted"], ..case("fails", "exit code 3", "exit 3") },
        Case {
            batch: json!({ "backoffLimit": 1 }),
            template: json!({ "retry": { "maxAttempts": 2 } }),
            fields: ["backoffLimit 1", "retry.maxAttempts 2"],
            ..case("retries", "exit code 3", "exit 3")
        },
        Case {
            batch: json!({ "backoffLimit": 0, "activeDeadlineSeconds": 20 }),
            fields: ["activeDeadlineSeconds 20", "as pasted"],
            ..case("timeout", "a run of 90 s each minute", LONG)
        },
        Case {
            fields: ["suspend: true, then false", "enabled: false, then true"],
            is_same: false,
            ..case("suspend", "suspended from minute 2 to 5", "true")
        },
    ]
}

/// What was seen of the batch Jobs of one side, by their uid.
#[derive(Default)]
struct Runs(BTreeMap<String, Run>);

struct Run {
    time: Timestamp,
    created: Timestamp,
    state: BatchState,
    is_gone: bool,
}

impl Runs {
    /// Takes in what is there now.
    fn see(&mut self, batches: &[&BatchJob]) {
        for batch in batches {
            let said = batch.annotations().get(CRONJOB_TIME_ANNOTATION);
            let Some(time) = said.and_then(|time| time.parse::<Timestamp>().ok()) else { continue };
            let created = batch.creation_timestamp().unwrap().0;
            let state = batch_outcome(batch);
            self.0.insert(batch.uid().unwrap(), Run { time, created, state, is_gone: false });
        }
        let there: Vec<String> = batches.iter().filter_map(|batch| batch.uid()).collect();
        self.0.iter_mut().filter(|(uid, _)| !there.contains(uid)).for_each(|(_, run)| run.is_gone = true);
    }

    /// The minutes of the times that ran, each once, and whether they were late.
    fn times(&self, begin: Timestamp, end: Timestamp) -> BTreeMap<i64, bool> {
        let mut times = BTreeMap::new();
        for run in self.0.values().filter(|run| run.time > begin && run.time <= end) {
            let minute = (run.time.as_second() - begin.as_second()) / 60;
            let late = run.created.as_second() - run.time.as_second() > LATE_SECONDS;
            // Of several attempts the first one counts.
            times.entry(minute).and_modify(|it| *it &= late).or_insert(late);
        }
        times
    }

    /// How the attempts of those times ended.
    fn ends(&self, begin: Timestamp, end: Timestamp) -> (usize, usize, usize) {
        let of_it: Vec<&Run> = self.0.values().filter(|run| run.time > begin && run.time <= end).collect();
        let completed = of_it.iter().filter(|run| run.state == BatchState::Complete).count();
        let failed = of_it.iter().filter(|run| matches!(run.state, BatchState::Failed { .. })).count();
        (completed, failed, of_it.len() - completed - failed)
    }
}

fn told(times: &BTreeMap<i64, bool>) -> String {
    let times = times.iter().map(|(minute, late)| format!("{minute}{}", if *late { " late" } else { "" }));
    times.collect::<Vec<_>>().join(", ")
}

async fn create(world: &World, case: &Case) {
    let body = {
        let mut body = script(case.script);
        let spec = body["spec"].take();
        body["spec"] = with(spec, case.batch.clone());
        body
    };
    let cron_job = json!({
        "schedule": "* * * * *", "jobTemplate": body.clone(), "successfulJobsHistoryLimit": 100, "failedJobsHistoryLimit": 100,
    });
    world.create::<CronJob>(case.name, with(cron_job, case.cron_job.clone())).await;
    let template = json!({ "jobType": "test", "jobTemplate": body });
    world.create::<JobTemplate>(case.name, with(template, case.template.clone())).await;
    let schedule = json!({ "cron": "* * * * *", "templateRef": { "name": case.name } });
    world.create::<Schedule>(case.name, with(schedule, case.schedule.clone())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cron_jobs_and_their_counterparts_do_the_same_but_for_what_the_table_says() {
    in_world("cronjob", async |world| {
        let cases = cases();
        // Early in a minute, so that all are there before the first time.
        world.until("a minute begins", async || (now().as_second() % 60 < 20).then_some(())).await;
        let begin = Timestamp::from_second(now().as_second() / 60 * 60).unwrap();
        let end = begin + SignedDuration::from_mins(MINUTES);
        for case in &cases {
            create(world, case).await;
        }
        let mut seen: BTreeMap<&str, [Runs; 2]> = BTreeMap::new();
        let mut is_suspended = false;
        // What came last is to end, too.
        let until = end + SignedDuration::from_secs(50);
        let watch = async || {
            let batches = world.all::<BatchJob>().await;
            for case in &cases {
                let runs = seen.entry(case.name).or_default();
                let of = |owner: &str| -> Vec<&BatchJob> {
                    let its = |it: &&BatchJob| match owner {
                        "CronJob" => it.owner_references().iter().any(|of| of.kind == "CronJob" && of.name == case.name),
                        _ => it.labels().get(SCHEDULE).is_some_and(|name| name == case.name),
                    };
                    batches.iter().filter(its).collect()
                };
                runs[0].see(&of("CronJob"));
                runs[1].see(&of("Schedule"));
            }
            let half = SignedDuration::from_secs(30);
            let [from, to] = SUSPENDED.map(|minute| begin + SignedDuration::from_mins(minute) + half);
            let suspend = now() > from && now() < to;
            if suspend != is_suspended {
                is_suspended = suspend;
                world.patch::<CronJob>("suspend", json!({ "spec": { "suspend": suspend } })).await;
                world.patch::<Schedule>("suspend", json!({ "spec": { "enabled": !suspend } })).await;
            }
            (now() > until).then_some(())
        };
        let patience = Duration::from_secs(u64::try_from(MINUTES * 60 + 300).unwrap());
        world.within(patience, "ten minutes have passed", watch).await;

        let mut table = String::from(
            "| Work | CronJob | Minutes that ran | Schedule | Minutes that ran | The same |\n|---|---|---|---|---|---|\n",
        );
        let mut wrong = Vec::new();
        for case in &cases {
            let [cron_job, rota] = &seen[case.name];
            let times = [cron_job, rota].map(|runs| runs.times(begin, end));
            let ends = [cron_job, rota].map(|runs| runs.ends(begin, end));
            println!("{}: {:?} {:?}", case.name, ends[0], ends[1]);
            let same = times[0] == times[1];
            let [theirs, ours] = times.each_ref().map(told);
            let [given, made] = case.fields;
            let verdict = if same { "yes" } else { "no" };
            writeln!(table, "| {} | {given} | {theirs} | {made} | {ours} | {verdict} |", case.what).unwrap();
            if same != case.is_same {
                wrong.push(case.name);
            }
        }
        println!("{table}");
        assert!(wrong.is_empty(), "not as docs/cronjobs.md says: {wrong:?}\n{table}");
    })
    .await;
}
