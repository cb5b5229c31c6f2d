//! What a user writes wrong affects that object only: it says which field, and all others go on.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, ResourceExt};
use rota::api::job::WaitingFor;
use rota::api::{Job, JobGroup, JobRun, JobTemplate, Outcome, Schedule};
use serde_json::json;

use crate::support::make::{ad_hoc, of, template, with};
use crate::support::{World, in_world};

/// How late an unrelated schedule may fire: the test shares two cores with others.
const LATE_MAX: SignedDuration = SignedDuration::from_secs(4);
/// How often the unrelated schedule has to fire meanwhile.
const TIMES_MIN: usize = 5;

/// The sentence of a condition that is False.
fn refusal(conditions: &[Condition]) -> Option<String> {
    let ready = conditions.iter().find(|it| it.type_ == "Ready" && it.status == "False")?;
    Some(format!("{}: {}", ready.reason, ready.message))
}

/// I9: the API server takes a list where a time belongs, and no reader of times does. Such an object is left alone, and the
/// others of its kind are seen from the start and later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_cannot_be_decoded_is_left_alone_and_disturbs_nothing() {
    in_world("undecodable", async |world| {
        let kind = ApiResource::erase::<Schedule>(&());
        let schedules: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), &world.namespace, &kind);
        let spec = with(of("good"), json!({ "interval": "1s", "anchor": ["soon"] }));
        let unreadable = DynamicObject::new("unreadable", &kind).data(json!({ "spec": spec }));
        schedules.create(&PostParams::default(), &unreadable).await.unwrap();
        assert!(
            serde_json::from_value::<Schedule>(json!({ "metadata": {}, "spec": unreadable.data["spec"] })).is_err()
        );
        world.create::<JobTemplate>("good", template("true")).await;
        let timing = json!({ "interval": "2s", "concurrencyPolicy": "Forbid" });
        for restarts in 0..2 {
            let name = format!("good-{restarts}");
            world.create::<Schedule>(&name, with(of("good"), timing.clone())).await;
            world
                .until_object::<Schedule>(&name, "it has run", |it| {
                    it.status.as_ref().is_some_and(|status| status.last_success_time.is_some())
                })
                .await;
            world.operator().restart();
        }
        let left = schedules.get("unreadable").await.unwrap();
        // What the API server makes up says that nobody has looked at it.
        let status = &left.data["status"];
        assert!(status["observedGeneration"] == -1 && status.get("phase").is_none(), "it was written to: {left:?}");
        assert!(world.operator().log_text().contains("cannot be decoded"), "nobody is told");
    })
    .await;
}

/// I9: each mistake is answered in the object that has it, naming the field, while another schedule fires on time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mistake_is_told_where_it_was_made_and_disturbs_nothing_else() {
    in_world("mistakes", async |world| {
        world.create::<JobTemplate>("good", template("true")).await;
        world.create::<Schedule>("good", with(of("good"), json!({ "interval": "2s" }))).await;
        wrong_jobs(world).await;
        wrong_template(world).await;
        wrong_schedules(world).await;
        wrong_group(world).await;
        fires_on_time(world).await;
    })
    .await;
}

async fn wrong_jobs(world: &World) {
    let params = json!([{ "name": "region", "required": true }, { "name": "days", "type": "integer", "default": "1" }]);
    world.create::<JobTemplate>("report", with(template("true"), json!({ "params": params }))).await;
    let cases = [
        ("no-template", of("nowhere"), WaitingFor::Template, "spec.templateRef.name"),
        ("no-param", of("report"), WaitingFor::Correction, "spec.params"),
        (
            "wrong-type",
            with(of("report"), json!({ "params": { "region": "eu", "days": "many" } })),
            WaitingFor::Correction,
            "spec.params",
        ),
        (
            "unknown",
            with(of("report"), json!({ "params": { "region": "eu", "dyas": "2" } })),
            WaitingFor::Correction,
            "dyas",
        ),
    ];
    for (name, spec, expected, says) in cases {
        world.create::<Job>(name, spec).await;
        let (waiting_for, sentence) = world.waiting(name).await;
        assert_eq!(waiting_for, expected, "{name}");
        assert!(sentence.contains(says), "{name}: {sentence}");
    }
    world.create::<JobTemplate>("nowhere", template("true")).await;
    let run = world.only_run("no-template").await;
    assert_eq!(run.status.unwrap().phase, Outcome::Completed, "it runs once its template exists");
    world.patch::<Job>("no-param", json!({ "spec": { "params": { "region": "eu" } } })).await;
    let run = world.only_run("no-param").await;
    assert_eq!(run.status.unwrap().phase, Outcome::Completed, "it runs once it is corrected");
}

async fn wrong_schedules(world: &World) {
    let cases = [
        ("zone", json!({ "cron": "0 9 * * *", "timeZone": "Mars/Olympus" }), "UnknownTimeZone", "spec.timeZone"),
        ("never", json!({ "cron": "0 0 31 2 *" }), "InvalidTiming", "spec.cron"),
        ("template", json!({ "templateRef": { "name": "missing" } }), "TemplateNotFound", "spec.templateRef.name"),
        ("invalid", json!({ "templateRef": { "name": "invalid" } }), "TemplateInvalid", "containers[0].name"),
        ("param", json!({ "templateRef": { "name": "report" } }), "InvalidParams", "spec.params.region"),
    ];
    for (name, fields, reason, says) in cases {
        let hourly = if fields.get("cron").is_some() { json!({}) } else { json!({ "interval": "1h" }) };
        world.create::<Schedule>(name, with(with(of("good"), hourly), fields)).await;
        let told = |schedule: &Schedule| schedule.status.as_ref().and_then(|it| refusal(&it.conditions)).is_some();
        let schedule = world.until_object(name, "says what is wrong", told).await;
        let sentence = refusal(&schedule.status.unwrap().conditions).unwrap();
        assert!(sentence.starts_with(reason) && sentence.contains(says), "{name}: {sentence}");
    }
}

async fn wrong_template(world: &World) {
    let mut spec = template("true");
    spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["name"] = json!("Not_A_Name");
    world.create::<JobTemplate>("invalid", spec).await;
    let told = |template: &JobTemplate| template.status.as_ref().and_then(|it| refusal(&it.conditions)).is_some();
    let invalid = world.until_object("invalid", "says what is wrong", told).await;
    let sentence = refusal(&invalid.status.unwrap().conditions).unwrap();
    assert!(sentence.contains("containers[0].name"), "{sentence}");
    world.create::<Job>("of-invalid", of("invalid")).await;
    assert_eq!(world.waiting("of-invalid").await.0, WaitingFor::Template);
}

async fn wrong_group(world: &World) {
    let member = |name: &str, template: &str| json!({ "name": name, "templateRef": { "name": template } });
    let jobs = [member("missing", "missing"), member("good", "good")];
    world.create::<JobGroup>("half", json!({ "mode": "Parallel", "jobs": jobs })).await;
    let ended = |group: &JobGroup| group.status.as_ref().and_then(|it| it.phase).is_some_and(|it| it.is_ended());
    let group = world.until_object("half", "has ended", ended).await;
    let counts = group.status.unwrap().counts.unwrap();
    assert_eq!((counts.completed, counts.failed), (1, 1), "{counts:?}");
}

/// The schedule that did nothing wrong fired at its times.
async fn fires_on_time(world: &World) {
    let enough = async || {
        let mut runs = world.all::<JobRun>().await;
        runs.retain(|run| run.spec.schedule_ref.as_ref().is_some_and(|it| it.name == "good"));
        (runs.len() >= TIMES_MIN).then_some(runs)
    };
    for run in world.within(Duration::from_secs(60), "the good schedule fired", enough).await {
        let status = run.status.as_ref().unwrap();
        assert_eq!(status.phase, Outcome::Completed, "{run:#?}");
        let late = status.queued_at.as_ref().unwrap().0.duration_since(run.spec.scheduled_time.as_ref().unwrap().0);
        assert!(late < LATE_MAX, "{} was {late} late", run.name_any());
    }
    let status = world.api::<Schedule>().get("good").await.unwrap().status.unwrap();
    assert!(status.last_skip_time.is_none() && status.consecutive_failures == 0, "it lost a time: {status:#?}");
}

/// The longest names that Kubernetes allows work for every kind, although labels take 63 characters only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_253_characters_work_for_template_schedule_group_and_job() {
    in_world("long-names", async |world| {
        let long = |letter: &str| letter.repeat(253);
        world.create::<JobTemplate>(&long("t"), template("true")).await;
        world.create::<Job>(&long("j"), of(&long("t"))).await;
        world.create::<Job>(&long("i"), ad_hoc("true")).await;
        world.create::<Schedule>(&long("s"), with(of(&long("t")), json!({ "interval": "3s" }))).await;
        let member = json!({ "name": "m".repeat(63), "templateRef": { "name": long("t") } });
        world.create::<JobGroup>(&long("g"), json!({ "mode": "Sequential", "jobs": [member] })).await;
        for name in [long("j"), long("i")] {
            assert_eq!(world.only_run(&name).await.status.unwrap().phase, Outcome::Completed);
        }
        let of_each = async || {
            let runs = world.all::<JobRun>().await;
            let by_schedule =
                runs.iter().find(|run| run.spec.schedule_ref.as_ref().is_some_and(|it| it.name == long("s")));
            let by_group = runs.iter().find(|run| run.spec.group_ref.as_ref().is_some_and(|it| it.name == long("g")));
            Some((by_schedule?.clone(), by_group?.clone()))
        };
        let (by_schedule, by_group) = world.until("schedule and group have a record", of_each).await;
        for run in [by_schedule, by_group] {
            assert_eq!(run.status.as_ref().unwrap().phase, Outcome::Completed, "{run:#?}");
        }
    })
    .await;
}
