//! What others think of our objects: kstatus, by which Flux and `helm --wait` know whether something is done, the health checks
//! that are shipped for Argo CD, and the expressions that are shipped for Flux. The true libraries are asked.
//!
//! kstatus and Argo CD take a Job or a group that nobody waits for as done when the operator has accepted it. Argo CD takes one in
//! a sync wave, and Flux with the expressions any, as done when it has ended well.

mod phases;
mod shipped;

use std::path::{Path, PathBuf};
use std::process::Command;

use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::{Scope, create, in_namespace, run};
use crate::examples::{self, KINDS, pod_template};
use crate::operator::{Operator, Rights, until};

/// What an object is to those who wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    /// The operator has still to look at it, or it has still to end.
    InProgress,
    /// It has still to end, and does not go on by itself. Only Argo CD has a word for that.
    Suspended,
    /// It is done.
    Current,
    /// Somebody has to correct it, or it did not end well.
    Failed,
    /// It is being deleted.
    Terminating,
}

impl Health {
    fn for_kstatus(self) -> &'static str {
        match self {
            Self::InProgress | Self::Suspended => "InProgress",
            Self::Current => "Current",
            Self::Failed => "Failed",
            Self::Terminating => "Terminating",
        }
    }

    fn for_argocd(self) -> &'static str {
        match self {
            Self::InProgress | Self::Terminating => "Progressing",
            Self::Suspended => "Suspended",
            Self::Current => "Healthy",
            Self::Failed => "Degraded",
        }
    }

    /// Expressions have no word for what is being deleted; without them Flux goes by kstatus.
    fn for_flux(self, has_expressions: bool) -> &'static str {
        match self {
            Self::Terminating if has_expressions => "InProgress",
            other => other.for_kstatus(),
        }
    }
}

/// What is expected of one object.
struct Expected {
    kind: &'static str,
    name: String,
    /// While nobody waits for its end.
    accepted: Health,
    /// While somebody does.
    ended: Health,
}

fn gitops(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("gitops").join(path)
}

/// What is thought of these objects, in order.
fn judged(objects: &[Value]) -> Vec<Value> {
    let mut program = Command::new(rota_cluster::build_health().unwrap());
    program.arg(gitops("argocd/argocd-cm.yaml")).arg(gitops("flux/jobs.yaml"));
    let input: Vec<String> = objects.iter().map(Value::to_string).collect();
    let output = run(program, &input.join("\n")).expect_success();
    let verdicts: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(verdicts.len(), objects.len());
    verdicts
}

/// The same object, as one that a sync waits for.
fn awaited(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"] = json!("1");
    object
}

/// All objects of ours in the namespace.
async fn all(scope: &Scope) -> Vec<Value> {
    let mut found = Vec::new();
    for kind in KINDS {
        let list = scope.objects(kind).list(&ListParams::default()).await.unwrap();
        found.extend(list.items.iter().map(|it| serde_json::to_value(it).unwrap()));
    }
    found
}

/// Fails with every object of which something else is thought than expected.
async fn assert_thought(scope: &Scope, table: &[Expected]) {
    let objects = all(scope).await;
    let find = |row: &Expected| {
        let found = objects.iter().find(|it| it["kind"] == row.kind && it["metadata"]["name"] == row.name.as_str());
        found.unwrap_or_else(|| panic!("there is no {} {}", row.kind, row.name)).clone()
    };
    let objects: Vec<Value> = table.iter().map(find).collect();
    let plain = judged(&objects);
    let awaited = judged(&objects.iter().map(awaited).collect::<Vec<_>>());
    let mut wrong = Vec::new();
    for (((row, object), plain), awaited) in table.iter().zip(&objects).zip(&plain).zip(&awaited) {
        let has_expressions = !matches!(row.kind, "Queue" | "JobRun");
        let expected = [
            ("kstatus", row.accepted.for_kstatus(), &plain["kstatus"]),
            ("Argo CD", row.accepted.for_argocd(), &plain["argocd"]["status"]),
            ("Argo CD in a wave", row.ended.for_argocd(), &awaited["argocd"]["status"]),
            ("Flux", row.ended.for_flux(has_expressions), &plain["flux"]),
        ];
        for (who, expected, said) in expected.iter().filter(|(_, expected, said)| *said != expected) {
            let status = &object["status"];
            wrong.push(format!("{} {}: {who} says {said}, not {expected:?}: {status}", row.kind, row.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One object of each kind that has a status which the operator writes: its name, its specification, and an edit of it.
fn one_of_each() -> [(&'static str, &'static str, Value, Value); 5] {
    let of = json!({ "name": "report" });
    let template = json!({ "jobType": "x", "jobTemplate": pod_template() });
    let group = json!({ "mode": "Parallel", "started": false, "jobs": [{ "name": "a", "templateRef": of }] });
    let job = json!({ "jobType": "x", "jobTemplate": pod_template(), "hold": true });
    [
        ("JobTemplate", "report", template, json!({ "description": "The report." })),
        ("Schedule", "yearly", json!({ "templateRef": of, "cron": "0 3 29 2 *" }), json!({ "enabled": false })),
        ("Queue", "line", json!({ "maxRunning": 1 }), json!({ "maxRunning": 2 })),
        ("Job", "once", job, json!({ "priority": 7 })),
        ("JobGroup", "batch", group, json!({ "cancel": { "reason": "not needed" } })),
    ]
}

/// The same is thought of each of these.
fn each(health: Health) -> Vec<Expected> {
    let each = one_of_each().map(|(kind, name, _, _)| (kind, name.to_owned()));
    each.map(|(kind, name)| Expected { kind, name, accepted: health, ended: health }).into()
}

/// Waits until the operator has looked at each of them as it is.
async fn are_looked_at(scope: &Scope) {
    for (kind, name, _, _) in one_of_each() {
        until(&format!("{kind} {name} is looked at"), || async {
            let found = scope.objects(kind).get(name).await.unwrap();
            (found.data["status"]["observedGeneration"].as_i64() == found.metadata.generation).then_some(())
        })
        .await;
    }
}

/// With no operator, nothing is done: neither what is new, nor what was edited.
#[tokio::test]
async fn nothing_is_done_before_the_operator_has_looked_at_it() {
    in_namespace(|scope| async move {
        let rights = Rights::of_the_chart(&scope, false);
        for (kind, name, spec, _) in one_of_each() {
            create(&scope, kind, name, spec).await;
        }
        scope.create("JobRun", &examples::job_run()).await.unwrap();
        assert_thought(&scope, &each(Health::InProgress)).await;
        let mut operator = Operator::start(&scope, &rights, "one");
        are_looked_at(&scope).await;
        let mut waiting = each(Health::Current);
        waiting.iter_mut().filter(|it| it.kind.starts_with("Job")).for_each(|it| {
            it.ended = if it.kind == "JobTemplate" { Health::Current } else { Health::Suspended };
        });
        assert_thought(&scope, &waiting).await;
        operator.kill();
        for (kind, name, _, edit) in one_of_each() {
            let edit = Patch::Merge(json!({ "spec": edit }));
            scope.objects(kind).patch(name, &PatchParams::default(), &edit).await.unwrap();
        }
        assert_thought(&scope, &each(Health::InProgress)).await;
        let operator = Operator::start(&scope, &rights, "two");
        are_looked_at(&scope).await;
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}
