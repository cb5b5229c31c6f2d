//! The admission policies of the chart on the API server, confined to the namespace of the test.

use std::process::Command;
use std::time::Duration;

use rota::api::{JobSpec, JobTemplateSpec};
use rota::domain::pasted::{Body, FIELDS, sentences};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{Printed, Scope, in_namespace};
use crate::examples::{ad_hoc_job, pod_template};
use crate::operator::until;

/// How long the API server may take to enforce a policy that it has stored.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// The policies as the chart renders them for one namespace.
fn rendered(namespace: &str) -> String {
    rendered_with(namespace, "policies.warn=true")
}

fn rendered_with(namespace: &str, value: &str) -> String {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/rota");
    let only = format!("watchNamespaces={{{namespace}}},{value}");
    let arguments = ["template", "rota", chart, "--show-only", "templates/policies.yaml", "--set", &only];
    let output = Command::new("helm").args(arguments).output().expect("helm is in the PATH that rota-cluster gives");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn warnings_can_be_turned_off_alone() {
    let warned = |value: &str| rendered_with("team", value).contains("rota-team-warnings");
    assert!(warned("policies.install=true") && !warned("policies.warn=false"));
    assert!(rendered_with("team", "policies.warn=false").contains("rota-team-history"));
}

fn manifest(kind: &str, name: &str, spec: &Value) -> String {
    json!({ "apiVersion": rota::api::API_VERSION, "kind": kind, "metadata": { "name": name }, "spec": spec })
        .to_string()
}

/// What somebody with all rights does to an object.
fn as_user(scope: &Scope, who: &str, arguments: &[&str], manifest: &str) -> Printed {
    let who = ["--as", who, "--as-group", "system:masters"];
    scope.kubectl_with(&[&who[..], arguments].concat(), manifest)
}

/// Waits until something is refused for that reason.
async fn in_force(refused: impl Fn() -> Printed, reason: &str) {
    let deadline = Instant::now() + IN_FORCE_WITHIN;
    loop {
        let printed = refused();
        if !printed.succeeded {
            assert!(printed.errors.contains(reason), "{}", printed.errors);
            return;
        }
        assert!(Instant::now() < deadline, "not in force: {reason}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[tokio::test]
async fn a_cancel_names_nobody_but_who_asks_for_it() {
    in_namespace(|scope| async move {
        let policies = rendered(&scope.namespace);
        scope.kubectl_with(&["apply", "-f", "-"], &policies).expect_success();
        let by = |who: Option<&str>| match who {
            Some(who) => json!({ "spec": { "cancel": { "reason": "x", "requestedBy": who } } }).to_string(),
            None => json!({ "spec": { "cancel": { "reason": "y" } } }).to_string(),
        };
        let reason = "spec.cancel.requestedBy: must be the name of who asks, alice, or be left out";
        let mut forged = ad_hoc_job()["spec"].clone();
        forged["cancel"] = json!({ "requestedBy": "bob" });
        let forged = manifest("Job", "forged", &forged);
        in_force(|| as_user(&scope, "alice", &["create", "--dry-run=server", "-f", "-"], &forged), reason).await;
        as_user(&scope, "bob", &["create", "-f", "-"], &forged).expect_success();

        let job = json!({ "jobType": "x", "jobTemplate": pod_template() });
        let member = json!({ "name": "a", "templateRef": { "name": "x" } });
        let group = json!({ "mode": "Parallel", "jobs": [member] });
        for (kind, name, spec) in
            [("jobs.rota.dev", "one", ("Job", job)), ("jobgroups.rota.dev", "two", ("JobGroup", group))]
        {
            scope.kubectl_with(&["create", "-f", "-"], &manifest(spec.0, name, &spec.1)).expect_success();
            let patch = |who: &str, patch: &str| {
                as_user(&scope, who, &["patch", kind, name, "--type", "merge", "-p", patch], "")
            };
            let refused = patch("alice", &by(Some("bob"))).expect_failure();
            assert!(refused.contains(reason), "{refused}");
            patch("alice", &by(Some("alice"))).expect_success();
            // What is there stays there, whoever edits something else, and is not given to somebody else.
            patch("bob", &by(None)).expect_success();
            patch("bob", r#"{"metadata": {"labels": {"a": "b"}}}"#).expect_success();
            patch("bob", &by(Some("carol"))).expect_failure();
        }
        let nameless = json!({ "jobType": "x", "jobTemplate": pod_template(), "cancel": { "reason": "x" } });
        as_user(&scope, "alice", &["create", "-f", "-"], &manifest("Job", "nameless", &nameless)).expect_success();
        scope.kubectl_with(&["delete", "-f", "-"], &policies).expect_success();
    })
    .await;
}

/// Pasted bodies, and what stands beside them: each is warned about, or all of it is used.
fn pasted() -> Vec<Value> {
    let batch = |fields: Value| json!({ "jobTemplate": { "spec": fields } });
    let with = |own: Value, fields: Value| {
        let mut whole = batch(fields);
        merge(&mut whole, &own);
        whole
    };
    let containers = |containers: Value| batch(json!({ "template": { "spec": { "containers": containers } } }));
    vec![
        json!({}),
        batch(json!({ "backoffLimit": 6 })),
        batch(json!({ "backoffLimit": 0 })),
        with(json!({ "retry": { "maxAttempts": 4 } }), json!({ "backoffLimit": 3 })),
        with(json!({ "retry": { "maxAttempts": 2 } }), json!({ "backoffLimit": 3 })),
        batch(json!({ "backoffLimit": 3, "backoffLimitPerIndex": 1, "completionMode": "Indexed", "completions": 2 })),
        batch(json!({
            "backoffLimit": 3, "completionMode": "Indexed", "completions": 2,
            "successPolicy": { "rules": [{ "succeededCount": 1 }] },
        })),
        batch(json!({ "template": { "spec": { "restartPolicy": "OnFailure" } } })),
        batch(json!({ "backoffLimit": 2, "template": { "spec": { "restartPolicy": "Always" } } })),
        containers(json!([{ "name": "a", "image": "x", "command": ["sh", "-c", "echo $(PARAM_A)"] }])),
        containers(
            json!([{ "name": "b", "image": "x" }, { "name": "a", "image": "x", "args": ["-euc", "run $(PARAM_A)"] }]),
        ),
        containers(json!([{ "name": "a", "image": "x", "command": ["sh", "-c", "echo \"$PARAM_A\""] }])),
        containers(json!([{ "name": "a", "image": "x", "command": ["report", "--region", "$(PARAM_A)"] }])),
        with(json!({ "timeoutSeconds": 60 }), json!({ "activeDeadlineSeconds": 600 })),
        with(json!({ "timeoutSeconds": 600 }), json!({ "activeDeadlineSeconds": 60 })),
        with(json!({ "ttlSecondsAfterFinished": 60 }), json!({ "ttlSecondsAfterFinished": 600 })),
        batch(json!({ "ttlSecondsAfterFinished": 600 })),
        batch(json!({ "suspend": true, "parallelism": 0, "managedBy": "a.example/b", "manualSelector": true })),
        batch(json!({ "suspend": false, "parallelism": 2, "managedBy": "kubernetes.io/job-controller" })),
        with(
            json!({ "jobTemplate": { "metadata": { "labels": { "kueue.x-k8s.io/queue-name": "team" } } } }),
            json!({ "suspend": true }),
        ),
        json!({ "jobTemplate": { "metadata": {
            "labels": { "app.kubernetes.io/instance": "x", "app": "y" },
            "annotations": { "argocd.argoproj.io/tracking-id": "x" },
        } } }),
        json!({ "jobTemplate": { "metadata": { "labels": { "app": "y" }, "annotations": { "note": "x" } } } }),
        json!({ "jobTemplate": { "spec": { "template": { "metadata": {
            "labels": { "app.kubernetes.io/instance": "x" } } } } } }),
    ]
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from.clone(),
    }
}

/// What the API server warned of, without its own words around it.
fn warned(printed: &Printed, policy: &str) -> Vec<String> {
    let begin =
        format!("Warning: Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{policy}': ");
    printed.errors.lines().filter_map(|line| line.strip_prefix(&begin)).map(str::to_owned).collect()
}

/// kubectl prints, of each body, the sentences that the condition and lint have too, and no others.
#[tokio::test]
async fn what_is_not_used_as_it_is_written_is_warned_about_at_apply() {
    in_namespace(|scope| async move {
        let policies = rendered(&scope.namespace);
        scope.kubectl_with(&["apply", "-f", "-"], &policies).expect_success();
        let policy = format!("rota-{}-warnings", scope.namespace);
        let apply = |kind: &str, spec: &Value, arguments: &[&str]| {
            let printed =
                scope.kubectl_with(&[&["create", "-f", "-"], arguments].concat(), &manifest(kind, "one", spec));
            assert!(printed.succeeded, "a warning refuses nothing: {}", printed.errors);
            warned(&printed, &policy)
        };
        let whole = |fields: &Value| {
            let mut spec = json!({ "jobType": "x", "jobTemplate": pod_template() });
            merge(&mut spec, fields);
            spec
        };
        let warns =
            || async { (!apply("JobTemplate", &whole(&pasted()[1]), &["--dry-run=server"]).is_empty()).then_some(()) };
        until("the policy is in force", warns).await;
        let mut fields: Vec<String> = Vec::new();
        for case in pasted() {
            let spec = whole(&case);
            let template: JobTemplateSpec = serde_json::from_value(spec.clone()).unwrap();
            let mut expected = sentences(&Body::of_template(&template));
            fields.extend(expected.iter().map(|it| it.split(": ").next().unwrap().to_owned()));
            expected.sort();
            let job: JobSpec = serde_json::from_value(spec.clone()).unwrap();
            assert_eq!(sentences(&Body::of_job(&job).unwrap()).len(), expected.len());
            for kind in ["JobTemplate", "Job"] {
                let mut found = apply(kind, &spec, &["--dry-run=server"]);
                found.sort();
                assert_eq!(found, expected, "{kind} {case}");
            }
        }
        for field in FIELDS.iter().filter(|field| field.has_warning()) {
            let field = format!("spec.jobTemplate.{}", field.path);
            assert!(fields.contains(&field), "no case of {field}");
        }
        steps_that_are_surely_not_meant_are_warned_about(|spec| apply("Schedule", spec, &["--dry-run=server"]));
        an_edit_of_something_else_is_not_warned_about(&scope, &policy, &whole(&pasted()[1]));
        scope.kubectl_with(&["delete", "-f", "-"], &policies).expect_success();
    })
    .await;
}

fn steps_that_are_surely_not_meant_are_warned_about(apply: impl Fn(&Value) -> Vec<String>) {
    for cron in [
        "*/90 * * * *",
        "0 */36 * * *",
        "*/45 * * * *",
        "*/90 */90 * * * *",
        "0 0 */31 * *",
        "0 0 1 */12 *",
        "0 0 * * */7",
        "0,10-20/15 * * * *",
        "5,H/75 * * * *",
        "*/5 */2 * * *",
        "10-40/30 9 * * MON-FRI/2",
        "H(0-29)/10 * * * *",
        "0 0 L * *",
        "@daily",
    ] {
        let expected = rota::domain::calendar::steps::warnings(cron);
        let expected = (!expected.is_empty()).then(|| format!("spec.cron: {}", expected.join(". ")));
        let spec = json!({ "templateRef": { "name": "x" }, "cron": cron });
        assert_eq!(apply(&spec), expected.into_iter().collect::<Vec<_>>(), "{cron}");
    }
    let interval = json!({ "templateRef": { "name": "x" }, "interval": "90m" });
    assert_eq!(apply(&interval), Vec::<String>::new());
}

fn an_edit_of_something_else_is_not_warned_about(scope: &Scope, policy: &str, spec: &Value) {
    let create = |manifest: &str| scope.kubectl_with(&["create", "-f", "-"], manifest);
    assert_eq!(warned(&create(&manifest("JobTemplate", "kept", spec)), policy).len(), 1);
    let label = scope.kubectl(&["label", "rtmpl", "kept", "team=a"]);
    assert_eq!(warned(&label, policy), Vec::<String>::new());
    let edit = scope.kubectl(&["patch", "rtmpl", "kept", "--type=merge", "-p", r#"{"spec": {"priority": 1}}"#]);
    assert_eq!(warned(&edit, policy).len(), 1);
    // A hook that Helm does not wait for.
    let mut hook: Value =
        serde_json::from_str(&manifest("Job", "hook", &json!({ "templateRef": { "name": "x" } }))).unwrap();
    hook["metadata"]["annotations"] = json!({ "helm.sh/hook": "pre-upgrade" });
    let found = warned(&create(&hook.to_string()), policy);
    let said = rota::cli::lint::warnings::of(&hook);
    assert_eq!(found, said.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(found.len(), 1);
}

/// Nobody but the operator writes what is taken for the record of a run.
#[tokio::test]
async fn records_are_created_by_the_operator_only_and_keep_their_seal() {
    in_namespace(|scope| async move {
        let policies = rendered(&scope.namespace);
        scope.kubectl_with(&["apply", "-f", "-"], &policies).expect_success();
        // Somebody with all rights in the namespace, but in none of the groups that are exempt.
        let all = ["create", "rolebinding", "all", "--clusterrole", "cluster-admin"];
        let operator = "system:serviceaccount:default:rota";
        scope.kubectl(&[&all[..], &["--user", "mallory", "--user", operator]].concat()).expect_success();
        let by = |who: &str, arguments: &[&str], manifest: &str| {
            scope.kubectl_with(&[&["--as", who], arguments].concat(), manifest)
        };
        let record = |name: &str| {
            let spec = json!({ "jobType": "x", "attempt": 1, "priority": 0, "queue": "default" });
            let status = json!({ "phase": "Completed", "reason": "Succeeded" });
            let metadata = json!({ "name": name, "annotations": { "rota.dev/seal": "s", "note": "n" } });
            json!({
                "apiVersion": rota::api::API_VERSION, "kind": "JobRun", "metadata": metadata, "spec": spec, "status": status,
            })
            .to_string()
        };
        let reason = "mallory may not create a JobRun: the records of runs are written by the operator";
        let forge = || by("mallory", &["create", "--dry-run=server", "-f", "-"], &record("forged"));
        in_force(forge, reason).await;
        by(operator, &["create", "-f", "-"], &record("true")).expect_success();
        let changed = by("mallory", &["annotate", "rrun", "true", "rota.dev/seal=t", "--overwrite"], "");
        assert!(changed.expect_failure().contains("owner references and seal cannot be changed"));
        by("mallory", &["annotate", "rrun", "true", "note=m", "--overwrite"], "").expect_success();
        // Who restores a backup is in a group that is exempt.
        as_user(&scope, "admin", &["create", "-f", "-"], &record("restored")).expect_success();
        scope.kubectl_with(&["delete", "-f", "-"], &policies).expect_success();
    })
    .await;
}

/// What the chart says of somebody's rights, for one namespace.
fn rendered_roles(namespace: &str) -> String {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/rota");
    let only = format!("watchNamespaces={namespace}");
    let arguments = ["template", "rota", chart, "--show-only", "templates/user-roles.yaml", "--set", &only];
    let output = Command::new("helm").args(arguments).output().expect("helm is in the PATH that rota-cluster gives");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn who_may_run_templates_only_says_no_more_than_they_allow() {
    in_namespace(|scope| async move {
        let namespace = scope.namespace.clone();
        let (policies, roles) = (rendered(&namespace), rendered_roles(&namespace));
        // Not those that extend the roles of Kubernetes: other tests use these.
        let is_own = |document: &&str| document.contains("-runner\n");
        let role: String = roles.split("---\n").filter(is_own).collect();
        let name = role.lines().find_map(|line| line.trim().strip_prefix("name: ")).unwrap().to_owned();
        scope.kubectl_with(&["apply", "-f", "-"], &policies).expect_success();
        scope.kubectl_with(&["apply", "-f", "-"], &role).expect_success();
        let binding = ["create", "rolebinding", "ci", "--clusterrole", &name, "--user", "ci"];
        scope.kubectl_with(&binding, "").expect_success();
        let template =
            |overrides: Value| json!({ "jobType": "x", "jobTemplate": pod_template(), "overrides": overrides });
        let bounds = json!({
            "priority": { "minimum": 0, "maximum": 5 }, "maxAttempts": 2, "maxTimeoutSeconds": 60, "queues": ["ci"],
        });
        for (name, spec) in [("open", template(bounds)), ("closed", template(json!({})))] {
            scope.kubectl_with(&["create", "-f", "-"], &manifest("JobTemplate", name, &spec)).expect_success();
        }
        let schedule = json!({ "interval": "1h", "templateRef": { "name": "open" }, "enabled": false });
        scope.kubectl_with(&["create", "-f", "-"], &manifest("Schedule", "daily", &schedule)).expect_success();
        let job = |template: &str, more: &Value| {
            let mut spec = json!({ "templateRef": { "name": template }, "params": {} });
            merge(&mut spec, more);
            manifest("Job", "job", &spec)
        };
        let create = |who: &[&str], job: &str| {
            scope.kubectl_with(&[who, &["create", "--dry-run=server", "-f", "-"][..]].concat(), job)
        };
        let ci = ["--as", "ci"];
        let high = job("closed", &json!({ "priority": 1000 }));
        in_force(|| create(&ci, &high), "spec.priority: may not be set (spec.overrides of JobTemplate closed;").await;
        let cases = [
            (json!({}), "", ""),
            (json!({ "dedupKey": "k", "hold": true, "notBefore": "2027-01-01T00:00:00Z" }), "", ""),
            (json!({ "priority": 5 }), "", "spec.priority: may not be set"),
            (json!({ "priority": 6 }), "spec.priority: must be from 0 to 5", "spec.priority: may not be set"),
            (json!({ "retry": { "maxAttempts": 2 } }), "", "spec.retry: may not be set"),
            (json!({ "retry": { "maxAttempts": 50 } }), "maxAttempts must be at most 2", "spec.retry: may not be set"),
            (json!({ "timeoutSeconds": 60 }), "", "spec.timeoutSeconds and spec.pendingTimeoutSeconds: may not be set"),
            (json!({ "pendingTimeoutSeconds": 61 }), "must be at most 60", "may not be set"),
            (json!({ "queue": "ci" }), "", "spec.queue: may not be set"),
            (json!({ "queue": "other" }), "spec.queue: must be one of ci", "spec.queue: may not be set"),
            (json!({ "position": 1 }), "spec.position: may not be set", "spec.position: may not be set"),
            (json!({ "jobType": "y" }), "spec.jobType: may not be set", "spec.jobType: may not be set"),
            (json!({ "scheduleRef": { "name": "daily" } }), "", ""),
        ];
        for (more, open, closed) in &cases {
            for (template, refusal) in [("open", open), ("closed", closed)] {
                let printed = create(&ci, &job(template, more));
                assert_eq!(printed.succeeded, refusal.is_empty(), "{template} {more}: {}", printed.errors);
                assert!(printed.errors.contains(refusal), "{template} {more}: {}", printed.errors);
                create(&["--as", "alice", "--as-group", "system:masters"], &job(template, more)).expect_success();
            }
        }
        // Nor by an edit, and what somebody else wrote may stay.
        let made =
            manifest("Job", "made", &json!({ "templateRef": { "name": "closed" }, "priority": 7, "hold": true }));
        scope.kubectl_with(&["create", "-f", "-"], &made).expect_success();
        let patch = |spec: Value| {
            let patch = json!({ "spec": spec }).to_string();
            scope.kubectl_with(
                &[&ci[..], &["patch", "jobs.rota.dev", "made", "--type", "merge", "-p", &patch]].concat(),
                "",
            )
        };
        patch(json!({ "hold": false })).expect_success();
        let refused = patch(json!({ "priority": 8 })).expect_failure();
        assert!(refused.contains("spec.priority: may not be set"), "{refused}");
        patch(json!({ "cancel": { "reason": "not needed" } })).expect_success();
        // It runs templates, and nothing of its own; and no schedule without the verb.
        let own = manifest("Job", "own", &json!({ "jobType": "x", "jobTemplate": pod_template() }));
        let refused = create(&ci, &own).expect_failure();
        assert!(refused.contains("may not create jobs.batch"), "{refused}");
        let no_runner = ["create", "role", "bare", "--verb=create", "--resource=jobs.rota.dev"];
        scope.kubectl_with(&no_runner, "").expect_success();
        scope.kubectl_with(&["create", "rolebinding", "bare", "--role", "bare", "--user", "bare"], "").expect_success();
        let refused =
            create(&["--as", "bare"], &job("open", &json!({ "scheduleRef": { "name": "daily" } }))).expect_failure();
        assert!(refused.contains("bare may not run Schedule daily"), "{refused}");
        for document in [&policies, &role] {
            scope.kubectl_with(&["delete", "-f", "-"], document).expect_success();
        }
    })
    .await;
}

#[tokio::test]
async fn the_operator_may_touch_only_what_it_made() {
    in_namespace(|scope| async move {
        let policies = rendered(&scope.namespace);
        scope.kubectl_with(&["apply", "-f", "-"], &policies).expect_success();
        let mut accounts = policies.lines().filter_map(|line| line.trim().strip_prefix("'system:serviceaccount:"));
        let account = accounts.find(|account| !account.starts_with("kube-system:"));
        let account = format!("system:serviceaccount:{}", account.unwrap().trim_end_matches(['\'', ')']));
        let binding = ["create", "rolebinding", "all", "--clusterrole", "cluster-admin", "--user", &account];
        scope.kubectl_with(&binding, "").expect_success();
        let pod = |name: &str, labels: Value| {
            let containers = json!([{ "name": "main", "image": "busybox" }]);
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": labels },
                "spec": { "containers": containers, "automountServiceAccountToken": false } })
        };
        let batch = |name: &str, labels: Value| {
            let mut spec = pod_template();
            spec["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
            json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name, "labels": labels }, "spec": spec["spec"] })
        };
        let (ours, theirs) = (json!({ "rota.dev/job-uid": "u" }), json!({ "app": "x" }));
        for object in [pod("ours", ours.clone()), pod("theirs", theirs.clone()), batch("ours", ours), batch("theirs", theirs)] {
            scope.kubectl_with(&["create", "-f", "-"], &object.to_string()).expect_success();
        }
        let act = |arguments: &[&str]| scope.kubectl_with(&[&["--as", account.as_str()], arguments].concat(), "");
        let delete = |kind: &str, name: &str| act(&["delete", kind, name, "--dry-run=server"]);
        in_force(|| delete("pod", "theirs"), "may change and delete only what it made, and not pods theirs").await;
        delete("pod", "ours").expect_success();
        delete("jobs.batch", "theirs").expect_failure();
        delete("jobs.batch", "ours").expect_success();
        let patch = |name: &str| {
            act(&["patch", "jobs.batch", name, "--type", "merge", "-p", "{\"spec\": {\"activeDeadlineSeconds\": 1}}"])
        };
        patch("theirs").expect_failure();
        patch("ours").expect_success();
        scope.kubectl(&["delete", "pod", "theirs", "--dry-run=server"]).expect_success();
        scope.kubectl_with(&["delete", "-f", "-"], &policies).expect_success();
    })
    .await;
}
