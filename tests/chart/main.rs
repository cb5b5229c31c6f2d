//! The chart as a user installs it: the operator in pods of its own image, under the restricted Pod Security profile and
//! with no more rights than the chart grants, running the examples on real pods.
//!
//! One test, because the operator looks at all namespaces: started by `make test` on a cluster of its own.

// The lint's own exception for tests covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use cluster::{Cluster, Namespace};
use serde_json::{Value, json};

const IMAGE: &str = "docker.io/library/rota";
const TAG: &str = "test";
const SYSTEM: &str = "rota-system";
const OPERATOR: &str = "system:serviceaccount:rota-system:rota";

/// From `helm install` over the examples, a killed leader, a hanging webhook and an exhausted quota, to `helm uninstall`.
#[test]
fn the_chart_runs_the_examples_survives_its_leader_and_keeps_the_history() {
    let cluster = Cluster::from_environment();
    cluster.import_operator_image(&format!("{IMAGE}:{TAG}"));
    let system = cluster.namespace(SYSTEM, true);
    install(&cluster);
    rights_are_least(&cluster);
    let examples = cluster.namespace("examples", true);
    the_examples_end_as_they_say(&examples);
    applying_the_examples_again_changes_nothing(&examples);
    a_killed_leader_is_replaced(&system, &examples);
    a_hanging_webhook_and_an_exhausted_quota_delay_nobody_else(&cluster, &examples);
    the_api_is_reached_through_a_port_forward(&cluster, &examples);
    upgrade_and_uninstall_keep_the_history(&cluster, &examples);
}

fn helm(cluster: &Cluster, verb: &str) {
    helm_with(cluster, verb, "api.enabled=false");
}

fn helm_with(cluster: &Cluster, verb: &str, values: &str) {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/rota");
    cluster.helm(&[
        verb,
        "rota",
        chart,
        "--namespace",
        SYSTEM,
        "--set",
        &format!("image.repository={IMAGE},image.tag={TAG},leaderElection.leaseDurationSeconds=5,{values}"),
        "--wait",
        "--timeout",
        "180s",
    ]);
}

fn install(cluster: &Cluster) {
    helm(cluster, "install");
    let pods = cluster.get(Some(SYSTEM), &["pods", "-l", "app.kubernetes.io/name=rota"]);
    let pods = pods["items"].as_array().unwrap().clone();
    assert_eq!(pods.len(), 2, "two replicas run");
    for pod in &pods {
        let user = &pod["spec"]["containers"][0]["securityContext"];
        assert_eq!(user["readOnlyRootFilesystem"], json!(true));
        assert_eq!(user["allowPrivilegeEscalation"], json!(false));
    }
}

/// I10: what the operator may not do, the API server refuses it.
fn rights_are_least(cluster: &Cluster) {
    for (verb, resource) in [
        ("create", "pods"),
        ("get", "secrets"),
        ("list", "secrets"),
        ("delete", "jobruns.rota.dev"),
        ("update", "jobruns.rota.dev"),
        ("watch", "jobruns.rota.dev"),
        ("create", "serviceaccounts/token"),
        ("create", "tokenreviews.authentication.k8s.io"),
        ("create", "subjectaccessreviews.authorization.k8s.io"),
        ("create", "rolebindings.rbac.authorization.k8s.io"),
        ("patch", "namespaces"),
        ("*", "*"),
    ] {
        assert!(!cluster.may(OPERATOR, verb, resource), "the operator may {verb} {resource}");
    }
    for (verb, resource) in
        [("create", "jobs.batch"), ("create", "jobruns.rota.dev"), ("patch", "queues.rota.dev/status")]
    {
        assert!(cluster.may(OPERATOR, verb, resource), "the operator may not {verb} {resource}");
    }
}

fn the_examples_end_as_they_say(examples: &Namespace<'_>) {
    examples.kubectl(&["apply", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/examples")]);
    examples.wait("jsonpath={.status.phase}=Running", "rjob/long-export");
    let cancel = json!({ "spec": { "cancel": { "reason": "wrong month" } } });
    examples.kubectl(&["patch", "rjob", "long-export", "--type", "merge", "-p", &cancel.to_string()]);
    for (condition, object) in [
        ("condition=Complete", "rjob/greet-the-world"),
        ("condition=Failed", "rjob/import-orders"),
        ("condition=Cancelled", "rjob/long-export"),
        ("condition=Complete", "rjob/flaky-download"),
        ("condition=Complete", "rjob/word-count"),
        ("condition=Complete", "rjob/sync-flaky"),
        ("condition=Failed", "rjob/sync-wrong"),
        ("condition=Skipped", "rjob/sync-idle"),
        ("condition=Complete", "rgroup/warehouse-load"),
        ("condition=Failed", "rgroup/thumbnails"),
        ("condition=Failed", "rgroup/catalogue"),
        ("condition=Complete", "rgroup/catalogue-again"),
        ("condition=Complete", "rjob/printing-last"),
        ("condition=LastRunSucceeded", "rsched/heartbeat"),
        ("condition=Ready", "rsched/nightly-report"),
        ("condition=Ready", "rsched/clean-up"),
    ] {
        examples.wait(condition, object);
    }
    let failed = examples.only_run_of("import-orders");
    assert_eq!((&failed["status"]["reason"], &failed["status"]["exitCode"]), (&json!("ExitCode"), &json!(3)));
    assert!(failed["status"]["workerId"].as_str().unwrap().contains("/import-orders-"));
    let cancelled = examples.only_run_of("long-export");
    assert_eq!((&cancelled["status"]["reason"], &cancelled["status"]["exitCode"]), (&json!("Cancelled"), &json!(143)));
    assert_eq!(examples.runs_of("flaky-download").len(), 3, "one record an attempt");
    assert_eq!(examples.runs_of("sync-flaky").len(), 3, "one record an attempt");
    assert_eq!(examples.only_run_of("sync-wrong")["status"]["exitCode"], json!(64));
    assert_eq!(examples.only_run_of("sync-idle")["status"]["reason"], json!("SkippedByRule"));
    let counted = examples.only_run_of("word-count");
    assert!(!counted["status"]["artifacts"].as_array().unwrap().is_empty());
    assert!(!counted["status"]["result"].is_null());
    printing_never_overlaps(examples);
}

/// I3 and I4 as the records tell them: one at a time, the urgent one before those that waited with it.
fn printing_never_overlaps(examples: &Namespace<'_>) {
    let names = ["printing-first", "printing-second", "printing-last", "printing-moved-up", "printing-urgent"];
    let mut spans: Vec<(String, String, &str)> = Vec::new();
    for name in names {
        examples.wait("condition=Complete", &format!("rjob/{name}"));
        let run = examples.only_run_of(name);
        let text = |field: &str| run["status"][field].as_str().unwrap().to_owned();
        spans.push((text("startedAt"), text("finishedAt"), name));
    }
    spans.sort();
    for pair in spans.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "{} and {} ran at once: {spans:?}", pair[0].2, pair[1].2);
    }
    let place = |wanted: &str| spans.iter().position(|(_, _, name)| *name == wanted).unwrap();
    assert!(place("printing-urgent") < place("printing-last"), "{spans:?}");
    assert!(place("printing-second") < place("printing-last"), "who came first goes first: {spans:?}");
}

fn applying_the_examples_again_changes_nothing(examples: &Namespace<'_>) {
    let said = examples.kubectl(&["apply", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/examples")]);
    let changed: Vec<&str> = said.lines().filter(|line| !line.ends_with("unchanged")).collect();
    assert!(changed.is_empty(), "the second apply changed: {changed:?}");
}

fn a_killed_leader_is_replaced(system: &Namespace<'_>, examples: &Namespace<'_>) {
    let holder = |lease: &Value| lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
    let before = holder(&system.get(&["lease", "rota"]));
    system.kubectl(&["delete", "pod", &before, "--force", "--grace-period=0"]);
    system.until("another replica leads", || {
        let now = holder(&system.get(&["lease", "rota"]));
        !now.is_empty() && now != before
    });
    let last = |schedule: Value| schedule["status"]["lastTriggerTime"].as_str().unwrap_or_default().to_owned();
    let seen = last(examples.get(&["rsched", "heartbeat"]));
    examples.until("the schedule goes on", || last(examples.get(&["rsched", "heartbeat"])) > seen);
}

/// I9: one namespace's webhook never answers, another's quota is used up; a third one runs as if nothing were.
fn a_hanging_webhook_and_an_exhausted_quota_delay_nobody_else(cluster: &Cluster, examples: &Namespace<'_>) {
    let hanging = cluster.namespace("hanging", false);
    let full = cluster.namespace("full", false);
    let listener = TcpListener::bind((cluster_facing_address(cluster), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    // Connections are taken by the kernel and never answered.
    cluster.apply(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "never-answers" },
        "webhooks": [{
            "name": "never.answers.example", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 9,
            "failurePolicy": "Fail", "clientConfig": { "url": format!("https://{address}/") },
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "hanging" } },
            "rules": [{ "apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"], "operations": ["CREATE"] }],
        }],
    }));
    full.apply(&json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" },
        "spec": { "hard": { "count/jobs.batch": "0" } },
    }));
    for index in 0..40 {
        hanging.apply(&quick_job(&format!("stuck-{index}")));
    }
    full.apply(&quick_job("refused"));
    full.wait("jsonpath={.status.waitingFor}=Admission", "rjob/refused");
    let refused = full.get(&["rjob", "refused"]).to_string();
    assert!(refused.contains("exceeded quota"), "{refused}");
    // While all of those wait, new work elsewhere runs to its end.
    for index in 0..5 {
        let name = format!("unharmed-{index}");
        examples.apply(&quick_job(&name));
        examples.wait("condition=Complete", &format!("rjob/{name}"));
    }
    assert!(
        hanging.get(&["jobs.batch"])["items"].as_array().unwrap().is_empty(),
        "the webhook let a batch Job through"
    );
    full.kubectl(&["delete", "resourcequota", "none"]);
    full.wait("condition=Complete", "rjob/refused");
    cluster.kubectl(&["delete", "validatingwebhookconfiguration", "never-answers"]);
    hanging.wait("condition=Complete", "rjob/stuck-39");
    drop(listener);
}

/// The address of this machine as the cluster reaches it.
fn cluster_facing_address(cluster: &Cluster) -> IpAddr {
    let stream = TcpStream::connect(cluster.server()).unwrap();
    stream.local_addr().unwrap().ip()
}

fn quick_job(name: &str) -> Value {
    json!({
        "apiVersion": "rota.dev/v1alpha1", "kind": "Job", "metadata": { "name": name },
        "spec": { "jobType": "test", "jobTemplate": { "spec": { "template": { "spec": {
            "securityContext": { "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "main", "image": "docker.io/library/busybox:1.36", "imagePullPolicy": "IfNotPresent",
                "command": ["true"],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        }}}}},
    })
}

/// As docs/api.md shows: the API listens in its pod only, and takes a token that is good for nothing else.
fn the_api_is_reached_through_a_port_forward(cluster: &Cluster, examples: &Namespace<'_>) {
    helm_with(cluster, "upgrade", "api.enabled=true");
    examples.kubectl(&["create", "serviceaccount", "dashboard"]);
    let account = "--serviceaccount=examples:dashboard";
    examples.kubectl(&["create", "rolebinding", "dashboard", "--clusterrole=view", account]);
    let token = examples.kubectl(&["create", "token", "dashboard", "--audience", "rota.dev"]);
    let (mut forward, port) = port_forward();
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let headers = format!("Host: rota\r\nConnection: close\r\nAuthorization: Bearer {}\r\n", token.trim());
        stream.write_all(format!("GET {path} HTTP/1.1\r\n{headers}\r\n").as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let queues = ask("/v1/namespaces/examples/queues");
    assert!(queues.starts_with("HTTP/1.1 200 ") && queues.contains("\"queue\":\"printer\""), "{queues}");
    let why = ask("/v1/namespaces/examples/jobs/unharmed-4/why");
    assert!(why.contains("Job unharmed-4 Completed: Succeeded."), "{why}");
    assert!(ask("/v1/namespaces/rota-system/queues").starts_with("HTTP/1.1 403 "));
    forward.kill().unwrap();
    forward.wait().unwrap();
}

/// A port of this machine that leads to the API in one of the operator's pods.
fn port_forward() -> (Child, u16) {
    let mut command = Command::new("kubectl");
    command.args(["--namespace", SYSTEM, "port-forward", "deployment/rota", ":8081"]).stdout(Stdio::piped());
    let mut forward = command.spawn().unwrap();
    let mut first = String::new();
    BufReader::new(forward.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    // Forwarding from 127.0.0.1:39481 -> 8081
    let port = first.split(" -> ").next().and_then(|it| it.rsplit(':').next()).and_then(|it| it.parse().ok());
    let port = port.unwrap_or_else(|| panic!("kubectl port-forward said {first:?}"));
    (forward, port)
}

fn upgrade_and_uninstall_keep_the_history(cluster: &Cluster, examples: &Namespace<'_>) {
    helm(cluster, "upgrade");
    let before = examples.get(&["rrun"])["items"].as_array().unwrap().len();
    cluster.helm(&["uninstall", "rota", "--namespace", SYSTEM, "--wait"]);
    let after = examples.get(&["rrun"])["items"].as_array().unwrap().len();
    assert!(after >= before && before > 0, "{before} records before, {after} after");
    let names = cluster.get(None, &["crd"]).to_string();
    assert!(names.contains("jobruns.rota.dev"), "the definitions went with the chart");
}
