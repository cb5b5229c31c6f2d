//! What kubectl shows of the kinds: columns, short names, the category and explanations.

use serde_json::{Value, json};

use crate::cluster::{definition, in_namespace, kubectl};
use crate::examples::{self, KINDS};

const SHORT_NAMES: [(&str, &str); 6] = [
    ("JobTemplate", "rtmpl"),
    ("Schedule", "rsched"),
    ("Queue", "rq"),
    ("Job", "rjob"),
    ("JobGroup", "rgroup"),
    ("JobRun", "rrun"),
];

#[tokio::test]
async fn each_kind_is_listed_by_its_short_name_with_all_its_columns() {
    in_namespace(|scope| async move {
        for (kind, short_name) in SHORT_NAMES {
            scope.create(kind, &examples::all(kind)[0]).await.unwrap();
            let table = scope.kubectl(&["get", short_name, "--output=wide"]).expect_success();
            let header = table.lines().next().unwrap_or_default();
            let columns = definition(kind).spec.versions[0].additional_printer_columns.clone().unwrap_or_default();
            assert!(!columns.is_empty(), "{kind} has no columns");
            for column in columns {
                assert!(header.contains(&column.name.to_uppercase()), "{kind} has no {}: {header}", column.name);
            }
            assert_eq!(table.lines().count(), 2, "{kind}: {table}");
            assert!(!table.contains("<invalid>"), "{kind}: {table}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_category_rota_lists_every_kind() {
    in_namespace(|scope| async move {
        for kind in KINDS {
            scope.create(kind, &examples::all(kind)[0]).await.unwrap();
        }
        let names = scope.kubectl(&["get", "rota", "--output=name"]).expect_success();
        for kind in KINDS {
            let resource = format!("{}.rota.dev/", kind.to_lowercase());
            assert!(names.lines().any(|name| name.starts_with(&resource)), "{kind} is missing from: {names}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_waiting_job_shows_what_it_waits_for() {
    in_namespace(|scope| async move {
        let job = json!({ "spec": { "templateRef": { "name": "report" } } });
        let name = scope.create("Job", &job).await.unwrap().metadata.name.unwrap();
        let waiting = json!({ "phase": "Queued", "waitingFor": "QueueLimit", "queue": "default", "priority": 0 });
        scope.set_status("Job", &name, &waiting).await;
        let table = scope.kubectl(&["get", "rjob", &name]).expect_success();
        assert!(table.contains("Queued") && table.contains("QueueLimit"), "{table}");
    })
    .await;
}

#[tokio::test]
async fn jobs_can_be_selected_by_phase_and_runs_by_outcome() {
    in_namespace(|scope| async move {
        scope.create("JobRun", &examples::job_run()).await.unwrap();
        let list = |selector: &str| {
            scope.kubectl(&["get", "rrun", "--output=name", "--field-selector", selector]).expect_success()
        };
        assert_eq!(list("status.phase=Failed,status.reason=ExitCode").lines().count(), 1);
        assert_eq!(list("status.phase=Completed").lines().count(), 0);
        scope.kubectl(&["get", "rjob", "--field-selector", "status.phase=Queued"]).expect_success();
    })
    .await;
}

#[tokio::test]
async fn kubectl_explains_fields_at_any_depth() {
    crate::cluster::client().await;
    for (field, words) in [
        ("schedules.rota.dev.spec.cron", "day of week"),
        ("jobtemplates.rota.dev.spec.params.pattern", "regular expression"),
        ("jobgroups.rota.dev.spec.jobs.templateRef.name", "Name of the object"),
        ("jobs.rota.dev.status.waitingFor", "waits for"),
        ("jobtemplates.rota.dev.spec.jobTemplate", "CronJob"),
    ] {
        let text = kubectl(&["explain", field], "").expect_success();
        let words_only = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words_only.contains(words), "{field}: {text}");
    }
}

#[test]
fn every_field_that_a_user_can_set_is_explained() {
    for kind in KINDS {
        for node in crate::schema::nodes(kind, &["spec", "status"]) {
            let path = node.path.to_string();
            let named = !path.ends_with("[]") && !path.ends_with("{}");
            assert!(!named || node.keywords.contains_key("description") || inherited(&path), "{kind} {path}");
        }
    }
}

/// Fields whose documentation Kubernetes owns, or that are only there as the root of others.
fn inherited(path: &str) -> bool {
    path == "spec" || path == "status" || path.contains("conditions")
}

/// As docs/jobs.md and docs/groups.md show it: one field that is there as soon as it has ended, however it did.
#[tokio::test]
async fn kubectl_waits_for_any_end_of_a_job_or_a_group() {
    in_namespace(|scope| async move {
        let wait = |resource: &str, name: &str, timeout: &str| {
            let timeout = format!("--timeout={timeout}");
            scope.kubectl(&["wait", "--for=jsonpath={.status.finishedAt}", &timeout, &format!("{resource}/{name}")])
        };
        let finished = "2026-03-01T12:00:00.000000Z";
        let job = json!({ "spec": { "templateRef": { "name": "report" } } });
        for (phase, outcome, reason) in [
            ("Finished", "Completed", "Succeeded"),
            ("Finished", "Failed", "ExitCode"),
            ("Finished", "Skipped", "DuplicateKey"),
            ("Cancelled", "Failed", "Cancelled"),
            ("Cancelled", "Skipped", "JobDeleted"),
        ] {
            let name = scope.create("Job", &job).await.unwrap().metadata.name.unwrap();
            scope.set_status("Job", &name, &json!({ "phase": "Running" })).await;
            wait("rjob", &name, "1s").expect_failure();
            let ended = json!({ "phase": phase, "outcome": outcome, "reason": reason, "finishedAt": finished });
            scope.set_status("Job", &name, &ended).await;
            wait("rjob", &name, "60s").expect_success();
        }
        let name = scope.create("JobGroup", &examples::all("JobGroup")[0]).await.unwrap().metadata.name.unwrap();
        for phase in ["Completed", "Partial", "Cancelled"] {
            scope.set_status("JobGroup", &name, &json!({ "phase": phase, "finishedAt": finished })).await;
            wait("rgroup", &name, "60s").expect_success();
        }
    })
    .await;
}

/// What a kustomization renames is renamed where Rota's kinds name it, and images are replaced in their pods.
#[test]
fn kustomize_reaches_the_names_in_rotas_kinds() {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("kustomization");
    std::fs::create_dir_all(&directory).unwrap();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/gitops/kustomizeconfig.yaml");
    std::fs::copy(config, directory.join("kustomizeconfig.yaml")).unwrap();
    let object = |kind: &str, name: &str, spec: Value| {
        json!({ "apiVersion": "rota.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec })
            .to_string()
    };
    let of = json!({ "name": "report" });
    let container =
        json!({ "name": "main", "image": "busybox", "envFrom": [{ "configMapRef": { "name": "settings" } }] });
    let pod = json!({ "restartPolicy": "Never", "containers": [container] });
    let body = json!({ "spec": { "template": { "spec": pod } } });
    let objects = [
        object("Queue", "slow", json!({ "maxRunning": 1 })),
        object("JobTemplate", "report", json!({ "jobType": "x", "queue": "slow", "jobTemplate": body })),
        object("Schedule", "nightly", json!({ "templateRef": of, "interval": "1h", "queue": "slow" })),
        object(
            "Job",
            "once",
            json!({ "templateRef": of, "scheduleRef": { "name": "nightly" }, "groupRef": { "name": "batch" } }),
        ),
        object("Job", "own", json!({ "jobType": "x", "queue": "slow", "jobTemplate": body })),
        object("JobGroup", "batch", json!({ "mode": "Parallel", "jobs": [{ "name": "a", "templateRef": of }] })),
    ];
    std::fs::write(directory.join("all.yaml"), objects.join("\n---\n")).unwrap();
    let kustomization = json!({
        "namePrefix": "eu-", "configurations": ["kustomizeconfig.yaml"], "resources": ["all.yaml"],
        "configMapGenerator": [{ "name": "settings", "literals": ["a=b"] }],
        "images": [{ "name": "busybox", "newTag": "1.36" }],
    });
    std::fs::write(directory.join("kustomization.yaml"), kustomization.to_string()).unwrap();
    let printed = std::process::Command::new("kubectl").arg("kustomize").arg(&directory).output().unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let map = text.lines().find_map(|line| line.trim().strip_prefix("name: eu-settings-")).unwrap();
    for (words, count) in [
        ("name: eu-report", 4),
        ("queue: eu-slow", 3),
        ("name: eu-nightly", 2),
        ("name: eu-batch", 2),
        (&format!("name: eu-settings-{map}"), 3),
        ("image: busybox:1.36", 2),
    ] {
        assert_eq!(text.matches(words).count(), count, "{words}\n{text}");
    }
}
