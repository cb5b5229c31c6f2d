//! Histories that the judge must reject, each for the right reason, and sound ones that it must not.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Change, History, judge};

/// A history that is written by hand.
struct Told(History);

fn at(seconds: i64) -> Timestamp {
    "2030-03-05T10:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

impl Told {
    fn new() -> Self {
        Self(History::default())
    }

    fn change(
        mut self,
        seconds: i64,
        actor: &str,
        resource: &str,
        before: Option<Value>,
        after: Option<Value>,
    ) -> Self {
        self.0.changes.push(Change {
            at: at(seconds),
            actor: actor.into(),
            resource: resource.into(),
            before: before.map(Arc::new),
            after: after.map(Arc::new),
        });
        self
    }

    fn made(self, seconds: i64, actor: &str, resource: &str, object: Value) -> Self {
        self.change(seconds, actor, resource, None, Some(object))
    }

    fn gone(self, seconds: i64, actor: &str, resource: &str, object: Value) -> Self {
        self.change(seconds, actor, resource, Some(object), None)
    }

    /// Runs for one time of a schedule of every minute: the Job, its batch Job, its pod and its record.
    fn ran(self, seconds: i64, uid: &str) -> Self {
        self.made(seconds, "rota-1", "jobs.rota.dev", job(uid, seconds, "Finished"))
            .made(seconds + 1, "rota-1", "jobs.batch", batch_job(&format!("b-{uid}"), uid, "1"))
            .made(seconds + 2, "kubelet", "pods.", pod(&format!("p-{uid}"), uid, 0))
            .change(
                seconds + 3,
                "manager",
                "jobs.batch",
                Some(batch_job(&format!("b-{uid}"), uid, "1")),
                Some(complete(uid)),
            )
            .made(
                seconds + 4,
                "rota-1",
                "jobruns.rota.dev",
                record(&format!("r-{uid}"), uid, 1, "Completed", "Succeeded"),
            )
    }

    fn ends(mut self, seconds: i64) -> Self {
        self.0.ended = Some(at(seconds));
        self
    }

    fn calm(mut self, seconds: i64) -> Self {
        self.0.calm_since = Some(at(seconds));
        self
    }

    #[track_caller]
    fn must_be_sound(self) {
        assert_eq!(judge(&self.0), []);
    }

    #[track_caller]
    fn breaks(self, invariant: &str, story: &str) {
        let found = judge(&self.0);
        assert!(found.iter().any(|it| it.invariant == invariant && it.story.contains(story)), "{found:#?}");
        assert!(found.iter().all(|it| it.invariant == invariant), "for another reason too: {found:#?}");
    }
}

fn schedule(enabled: bool) -> Value {
    json!({ "metadata": { "uid": "s", "name": "s", "namespace": "n" }, "spec": { "cron": "*/1 * * * *", "enabled": enabled } })
}

fn job(uid: &str, seconds: i64, phase: &str) -> Value {
    json!({
        "metadata": { "uid": uid, "name": uid, "namespace": "n", "creationTimestamp": at(seconds).to_string() },
        "spec": { "scheduleRef": { "name": "s", "uid": "s" }, "scheduledTime": at(seconds).to_string() },
        "status": { "phase": phase },
    })
}

fn by_hand(uid: &str, seconds: i64, phase: &str) -> Value {
    let mut job = job(uid, seconds, phase);
    job["spec"] = json!({});
    job
}

fn labels(job: &str, attempt: &str) -> Value {
    json!({ "rota.dev/job-uid": job, "rota.dev/attempt": attempt, "rota.dev/queue": "q" })
}

fn batch_job(uid: &str, job: &str, attempt: &str) -> Value {
    json!({ "metadata": { "uid": uid, "name": uid, "namespace": "n", "labels": labels(job, attempt) } })
}

fn complete(job: &str) -> Value {
    let mut batch = batch_job(&format!("b-{job}"), job, "1");
    batch["status"] = json!({ "conditions": [{ "type": "Complete", "status": "True" }] });
    batch
}

fn pod(uid: &str, job: &str, code: i64) -> Value {
    json!({
        "metadata": { "uid": uid, "name": uid, "namespace": "n", "labels": labels(job, "1"), "ownerReferences": [{ "uid": format!("b-{job}") }] },
        "status": { "phase": if code == 0 { "Succeeded" } else { "Failed" }, "containerStatuses": [{ "state": { "terminated": { "exitCode": code } } }] },
    })
}

fn record(uid: &str, job: &str, attempt: i64, phase: &str, reason: &str) -> Value {
    json!({
        "metadata": { "uid": uid, "name": uid, "namespace": "n" },
        "spec": { "jobRef": { "name": job, "uid": job }, "attempt": attempt },
        "status": { "phase": phase, "reason": reason },
    })
}

fn skip(uid: &str, from: i64, to: i64) -> Value {
    json!({
        "metadata": { "uid": uid, "name": uid, "namespace": "n" },
        "spec": { "scheduleRef": { "name": "s", "uid": "s" }, "attempt": 0, "scheduledTime": at(from).to_string() },
        "status": { "phase": "Skipped", "reason": "Missed", "lastScheduledTime": at(to).to_string() },
    })
}

fn queue(max: i64) -> Value {
    json!({ "metadata": { "uid": "q", "name": "q", "namespace": "n" }, "spec": { "maxRunning": max } })
}

fn every_minute() -> Told {
    Told::new().made(-30, "kubectl", "schedules.rota.dev", schedule(true))
}

#[test]
fn a_history_in_which_all_is_well_must_be_sound() {
    every_minute()
        .ran(0, "a")
        .ran(60, "b")
        .made(125, "rota-1", "jobruns.rota.dev", skip("k", 120, 120))
        .ends(250)
        .must_be_sound();
}

#[test]
fn two_jobs_of_one_time() {
    every_minute().ran(0, "a").made(5, "rota-2", "jobs.rota.dev", job("b", 0, "Queued")).breaks("I1", "has two Jobs");
}

#[test]
fn a_time_without_an_outcome() {
    every_minute().ran(0, "a").ends(230).breaks("I1", "has no outcome");
}

#[test]
fn a_time_that_ran_and_was_skipped() {
    every_minute()
        .ran(0, "a")
        .made(9, "rota-1", "jobruns.rota.dev", skip("k", 0, 0))
        .breaks("I1", "that it was skipped");
}

#[test]
fn a_time_that_ran_within_several_that_were_skipped() {
    every_minute()
        .ran(60, "a")
        .made(190, "rota-2", "jobruns.rota.dev", skip("k", 0, 120))
        .breaks("I1", "that it was skipped");
}

#[test]
fn a_job_of_a_time_that_is_gone_without_a_record() {
    let told = every_minute().made(0, "rota-1", "jobs.rota.dev", job("a", 0, "")).gone(
        9,
        "kubectl",
        "jobs.rota.dev",
        job("a", 0, ""),
    );
    told.ends(100).breaks("I1", "is gone without a record");
}

#[test]
fn a_time_of_before_the_schedule() {
    every_minute().made(1, "rota-1", "jobs.rota.dev", job("a", -60, "Queued")).breaks("I7", "had no such time");
}

#[test]
fn a_time_at_which_the_schedule_was_off() {
    every_minute()
        .change(10, "kubectl", "schedules.rota.dev", Some(schedule(true)), Some(schedule(false)))
        .change(400, "kubectl", "schedules.rota.dev", Some(schedule(false)), Some(schedule(true)))
        .made(401, "rota-1", "jobs.rota.dev", job("a", 180, "Queued"))
        .breaks("I7", "had no such time");
}

#[test]
fn a_time_that_is_none_of_the_schedule() {
    every_minute().made(31, "rota-1", "jobs.rota.dev", job("a", 30, "Queued")).breaks("I7", "had no such time");
}

#[test]
fn a_time_after_the_schedule_was_deleted() {
    every_minute()
        .gone(10, "kubectl", "schedules.rota.dev", schedule(true))
        .made(181, "rota-1", "jobs.rota.dev", job("a", 180, "Queued"))
        .breaks("I7", "had no such time");
}

#[test]
fn an_attempt_with_two_batch_jobs() {
    every_minute()
        .ran(0, "a")
        .made(9, "rota-2", "jobs.batch", batch_job("other", "a", "1"))
        .breaks("I2", "has two batch Jobs");
}

#[test]
fn an_attempt_with_two_records() {
    every_minute()
        .ran(0, "a")
        .made(9, "rota-2", "jobruns.rota.dev", record("other", "a", 1, "Completed", "Succeeded"))
        .breaks("I2", "has two records");
}

#[test]
fn a_job_by_hand_that_is_gone_without_a_record() {
    Told::new()
        .made(0, "kubectl", "jobs.rota.dev", by_hand("a", 0, "Queued"))
        .gone(9, "rota-1", "jobs.rota.dev", by_hand("a", 0, "Queued"))
        .breaks("I2", "has no record");
}

#[test]
fn more_than_the_limit_of_a_queue() {
    Told::new()
        .made(0, "kubectl", "queues.rota.dev", queue(1))
        .made(1, "rota-1", "jobs.batch", batch_job("b-1", "a", "1"))
        .made(2, "rota-2", "jobs.batch", batch_job("b-2", "b", "1"))
        .breaks("I3", "2 run in queue");
}

#[test]
fn a_place_is_free_when_a_batch_job_has_ended() {
    Told::new()
        .made(0, "kubectl", "queues.rota.dev", queue(1))
        .made(1, "rota-1", "jobs.batch", batch_job("b-a", "a", "1"))
        .change(2, "manager", "jobs.batch", Some(batch_job("b-a", "a", "1")), Some(complete("a")))
        .made(3, "rota-1", "jobs.batch", batch_job("b-b", "b", "1"))
        .must_be_sound();
}

#[test]
fn a_place_is_not_free_while_the_pod_of_a_deleted_batch_job_runs() {
    let running = json!({ "metadata": { "uid": "p", "ownerReferences": [{ "uid": "b-a" }], "labels": labels("a", "1") }, "status": { "phase": "Running" } });
    Told::new()
        .made(0, "kubectl", "queues.rota.dev", queue(1))
        .made(1, "rota-1", "jobs.batch", batch_job("b-a", "a", "1"))
        .made(2, "kubelet", "pods.", running)
        .gone(3, "kubectl", "jobs.batch", batch_job("b-a", "a", "1"))
        .made(4, "rota-1", "jobs.batch", batch_job("b-b", "b", "1"))
        .breaks("I3", "2 run in queue");
}

#[test]
fn a_record_that_was_changed() {
    every_minute()
        .ran(0, "a")
        .change(
            9,
            "kubectl",
            "jobruns.rota.dev",
            Some(record("r-a", "a", 1, "Completed", "Succeeded")),
            Some(record("r-a", "a", 1, "Failed", "ExitCode")),
        )
        .breaks("I5", "was changed by kubectl");
}

#[test]
fn a_record_that_was_deleted() {
    every_minute()
        .ran(0, "a")
        .gone(9, "rota-1", "jobruns.rota.dev", record("r-a", "a", 1, "Completed", "Succeeded"))
        .breaks("I5", "was deleted by rota-1");
}

#[test]
fn a_record_that_goes_with_its_namespace() {
    let ending = json!({ "metadata": { "name": "n", "deletionTimestamp": at(8).to_string() } });
    every_minute()
        .ran(0, "a")
        .change(8, "kubectl", "namespaces.", Some(json!({ "metadata": { "name": "n" } })), Some(ending))
        .gone(9, "manager", "jobruns.rota.dev", record("r-a", "a", 1, "Completed", "Succeeded"))
        .must_be_sound();
}

#[test]
fn a_record_of_success_of_what_failed() {
    Told::new()
        .made(1, "rota-1", "jobs.batch", batch_job("b-a", "a", "1"))
        .made(2, "kubelet", "pods.", pod("p", "a", 3))
        .made(3, "rota-1", "jobruns.rota.dev", record("r", "a", 1, "Completed", "Succeeded"))
        .breaks("I13", "no pod ended with 0");
}

#[test]
fn a_record_with_another_exit_code() {
    let mut failed = record("r", "a", 1, "Failed", "ExitCode");
    failed["status"]["exitCode"] = json!(4);
    Told::new()
        .made(1, "rota-1", "jobs.batch", batch_job("b-a", "a", "1"))
        .made(2, "kubelet", "pods.", pod("p", "a", 3))
        .made(3, "rota-1", "jobruns.rota.dev", failed)
        .breaks("I13", "ended with 4, and no pod did");
}

#[test]
fn a_record_that_says_that_what_ran_was_skipped() {
    Told::new()
        .made(1, "rota-1", "jobs.batch", batch_job("b-a", "a", "1"))
        .made(2, "kubelet", "pods.", pod("p", "a", 0))
        .made(3, "rota-1", "jobruns.rota.dev", record("r", "a", 1, "Skipped", "Cancelled"))
        .breaks("I13", "and its pod ran");
}

#[test]
fn a_job_that_never_ends_though_all_is_calm() {
    Told::new()
        .made(0, "kubectl", "jobs.rota.dev", by_hand("a", 0, "Queued"))
        .calm(60)
        .ends(60 + 20 * 60)
        .breaks("I11", "is still \"Queued\"");
}

#[test]
fn a_job_that_is_held_may_wait() {
    let mut held = by_hand("a", 0, "Queued");
    held["spec"]["hold"] = json!({ "reason": "mine" });
    Told::new().made(0, "kubectl", "jobs.rota.dev", held).calm(60).ends(60 + 20 * 60).must_be_sound();
}

#[test]
fn an_object_that_is_written_again_and_again() {
    let told = (0..50).fold(Told::new().calm(0), |told, count| {
        told.change(1_000 + count, "rota-1", "queues.rota.dev", Some(queue(count)), Some(queue(count + 1)))
    });
    told.ends(1_300).breaks("I11", "was written 50 times");
}
