//! Bad input that only the operator can judge: a condition names the field, and a neighbour runs as if nothing were.

use rota::api::job::WaitingFor;
use rota::api::{Job, JobTemplate, Outcome, Schedule};
use serde_json::{Value, json};

use crate::support::make::{of, script, template, with};
use crate::support::{World, in_world};

async fn schedule_is_not_ready(world: &World, name: &str, reason: &str, words: &str) {
    let told = |schedule: &Schedule| {
        let conditions = schedule.status.as_ref().map(|it| it.conditions.as_slice()).unwrap_or_default();
        conditions
            .iter()
            .any(|it| it.type_ == "Ready" && it.status == "False" && it.reason == reason && it.message.contains(words))
    };
    world.until_object(name, &format!("is not ready because of {reason}: {words}"), told).await;
}

async fn job_is_stalled(world: &World, name: &str, waits_for: WaitingFor, words: &str) {
    let (found, sentence) = world.waiting(name).await;
    assert_eq!(found, waits_for);
    assert!(sentence.contains(words), "{sentence:?} does not say {words:?}");
}

/// Every mistake is told where it was made, and a schedule beside them loses no occurrence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mistake_is_named_where_it_was_made_and_disturbs_nothing_else() {
    in_world("bad-input", async |world| {
        world.create::<JobTemplate>("good", template("true")).await;
        world.create::<Schedule>("neighbour", with(of("good"), json!({ "interval": "2s" }))).await;
        let params = json!([{ "name": "count", "type": "integer", "required": true }]);
        world.create::<JobTemplate>("strict", with(template("true"), json!({ "params": params }))).await;
        let mut invalid = script("true");
        invalid["spec"]["template"]["spec"]["containers"][0]["image"] = json!("");
        world.create::<JobTemplate>("invalid", json!({ "jobType": "test", "jobTemplate": invalid })).await;

        let daily = json!({ "cron": "0 9 * * *" });
        let schedules: [(&str, Value, &str, &str); 5] = [
            (
                "zone",
                with(of("good"), json!({ "cron": "0 9 * * *", "timeZone": "Mars/Olympus" })),
                "UnknownTimeZone",
                "timeZone",
            ),
            ("never", with(of("good"), json!({ "cron": "0 0 31 2 *" })), "InvalidTiming", "cron"),
            ("no-template", with(of("nowhere"), daily.clone()), "TemplateNotFound", "spec.templateRef.name"),
            ("no-param", with(of("strict"), daily.clone()), "InvalidParams", "spec.params.count"),
            ("bad-template", with(of("invalid"), daily), "TemplateInvalid", "image"),
        ];
        for (name, spec, reason, words) in schedules {
            world.create::<Schedule>(name, spec).await;
            schedule_is_not_ready(world, name, reason, words).await;
        }
        let not_ready = |template: &JobTemplate| {
            let conditions = template.status.as_ref().map(|it| it.conditions.as_slice()).unwrap_or_default();
            conditions.iter().any(|it| it.type_ == "Ready" && it.status == "False" && it.message.contains("image"))
        };
        world.until_object("invalid", "is not ready", not_ready).await;

        world.create::<Job>("unknown", of("nowhere")).await;
        job_is_stalled(world, "unknown", WaitingFor::Template, "spec.templateRef.name").await;
        world.create::<Job>("missing", of("strict")).await;
        job_is_stalled(world, "missing", WaitingFor::Correction, "spec.params.count").await;
        world.create::<Job>("wrong", with(of("strict"), json!({ "params": { "count": "many" } }))).await;
        job_is_stalled(world, "wrong", WaitingFor::Correction, "spec.params.count").await;
        world.create::<Job>("extra", with(of("good"), json!({ "params": { "nothing": "x" } }))).await;
        job_is_stalled(world, "extra", WaitingFor::Correction, "spec.params.nothing").await;

        // What was wrong can be put right, because the Job is not queued yet.
        world.patch::<Job>("wrong", json!({ "spec": { "params": { "count": "3" } } })).await;
        assert_eq!(world.only_run("wrong").await.status.unwrap().phase, Outcome::Completed);
        world.create::<JobTemplate>("nowhere", template("true")).await;
        assert_eq!(world.only_run("unknown").await.status.unwrap().phase, Outcome::Completed);

        let status = world.api::<Schedule>().get("neighbour").await.unwrap().status.unwrap();
        assert_eq!((status.consecutive_failures, status.last_outcome), (0, Some(Outcome::Completed)));
        assert!(status.last_skip_time.is_none(), "the neighbour lost an occurrence: {status:?}");
    })
    .await;
}

/// The longest names that Kubernetes allows work for every kind that a user names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_253_characters_work() {
    in_world("long-names", async |world| {
        let long = |end: &str| format!("{}{end}", "n".repeat(253 - end.len()));
        world.create::<JobTemplate>(&long("-template"), template("true")).await;
        let reference = json!({ "templateRef": { "name": long("-template") } });
        world.create::<Job>(&long("-job"), reference.clone()).await;
        world.create::<Schedule>(&long("-schedule"), with(reference.clone(), json!({ "interval": "1s" }))).await;
        let members = json!({ "mode": "Parallel", "jobs": [with(reference, json!({ "name": "m".repeat(63) }))] });
        world.create::<rota::api::JobGroup>(&long("-group"), members).await;
        assert_eq!(world.only_run(&long("-job")).await.status.unwrap().phase, Outcome::Completed);
        let succeeded =
            |it: &Schedule| it.status.as_ref().is_some_and(|it| it.last_outcome == Some(Outcome::Completed));
        world.until_object(&long("-schedule"), "has run", succeeded).await;
        let ended = |it: &rota::api::JobGroup| {
            it.status.as_ref().and_then(|it| it.phase) == Some(rota::api::job_group::GroupPhase::Completed)
        };
        world.until_object(&long("-group"), "has completed", ended).await;
    })
    .await;
}
