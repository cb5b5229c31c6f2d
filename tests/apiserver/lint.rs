//! `kubectl rota lint` says of an object what the API server says of it.

use kube::core::Status;
use rota::cli::lint::check::{Fault, Linter, Source};
use serde_json::{Value, json};

use crate::cluster::{Scope, in_namespace, object};
use crate::examples::{self, KINDS};
use crate::rules;
use crate::schema::{self, Node};

/// A whole object of a kind.
fn whole(kind: &str, content: &Value) -> Value {
    serde_json::to_value(object(kind, content)).unwrap()
}

/// What the API server would refuse of an object.
fn refused(linter: &Linter, kind: &str, content: &Value) -> Vec<Fault> {
    let mut object = whole(kind, content);
    let faults = linter.check(&mut object, None);
    // Unless it is asked to be strict, as kubectl asks it, it drops unknown fields.
    let refuses = |fault: &Fault| {
        matches!(fault.source, Source::Schema | Source::Rule) && !fault.message.starts_with("unknown field")
    };
    faults.into_iter().filter(refuses).collect()
}

#[test]
fn it_accepts_and_rejects_the_cases_of_every_rule_with_the_same_message() {
    let linter = Linter::new();
    for rule in rules::all() {
        let check = |case: &rules::Case| {
            let before = case.before.as_ref().map(|before| whole(rule.kind, before));
            linter.check(&mut whole(rule.kind, &case.object), before.as_ref())
        };
        for case in &rule.accepted {
            let faults = check(case);
            assert!(faults.is_empty(), "{}: {}: {faults:?}\n{case:?}", rule.kind, rule.message);
        }
        for case in &rule.rejected {
            let broken: Vec<_> = check(case)
                .into_iter()
                .filter(|fault| fault.source == Source::Rule)
                .map(|fault| fault.message)
                .collect();
            assert_eq!(broken, [rule.message], "{}: {case:?}", rule.kind);
        }
    }
}

/// Values that fit some fields and not others.
fn values() -> Vec<Value> {
    let long = "x".repeat(9_000);
    let times = [
        "2027-01-01T06:00:00Z",
        "2027-01-01T06:00:00,5Z",
        "2027-01-01 06:00:00Z",
        "2027-02-29T06:00:00Z",
        "2027-01-01T24:00:00Z",
        "2027-01-01T23:59:60Z",
        "8999-12-31T23:59:59.999999999-23:59",
        "9999-12-31T23:59:59Z",
    ];
    let mut values: Vec<Value> = times.map(Value::from).into();
    values.extend([
        json!(null),
        json!(true),
        json!(""),
        json!("a"),
        json!("A_b"),
        json!("UTC"),
        json!(long),
        json!("é\u{1F600}"),
        json!("1h"),
    ]);
    values.extend([
        json!(0),
        json!(1),
        json!(-1),
        json!(1.0),
        json!(1.5),
        json!(1e300),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(4_294_967_296_i64),
    ]);
    values.extend([
        json!([]),
        json!([null]),
        json!(["a"]),
        json!(["a", "a"]),
        json!({}),
        json!({ "name": "a" }),
        json!({ "a": "b", "c": null }),
    ]);
    values
}

async fn disagreements(scope: &Scope, linter: &Linter, kind: &str, node: &Node) -> (usize, Vec<String>) {
    let (mut refusals, mut found) = (0, Vec::new());
    for example in examples::all(kind) {
        for value in values() {
            let mut content = example.clone();
            let Some(place) = node.path.find_mut(&mut content) else { continue };
            *place = value.clone();
            if value.is_array() && node.keywords.get("format").is_some_and(|format| format == "date-time") {
                continue; // The API server takes a list for a time; see below.
            }
            let faults = refused(linter, kind, &content);
            let answer: Result<_, Status> = scope.try_create(kind, &content).await;
            refusals += usize::from(answer.is_err());
            if answer.is_ok() != faults.is_empty() {
                let shown: String = value.to_string().chars().take(60).collect();
                let server = answer.err().map(|status| status.message.chars().take(300).collect::<String>());
                found.push(format!("{kind} {} = {shown}: server {server:?}, here {faults:?}", node.path));
            }
        }
    }
    (refusals, found)
}

#[tokio::test]
async fn of_strange_values_in_every_field_it_says_what_the_api_server_says() {
    in_namespace(|scope| async move {
        let linter = Linter::new();
        let (mut refusals, mut all) = (0, Vec::new());
        for kind in KINDS {
            let fields: &[&str] = if kind == "JobRun" { &["spec", "status"] } else { &["spec"] };
            for node in schema::nodes(kind, fields) {
                let (refused, found) = disagreements(&scope, &linter, kind, &node).await;
                refusals += refused;
                all.extend(found);
            }
        }
        assert!(all.is_empty(), "{} of more than {refusals}:\n{}", all.len(), all.join("\n"));
        assert!(refusals > 1_000, "only {refusals} values were refused, so this says little");
    })
    .await;
}

#[tokio::test]
async fn a_list_where_a_time_belongs_is_found_although_the_api_server_accepts_it() {
    in_namespace(|scope| async move {
        let content = json!({ "spec": { "templateRef": { "name": "report" }, "interval": "1h", "anchor": ["soon"] } });
        assert!(scope.try_create("Schedule", &content).await.is_ok(), "it does not any more: compare it like the rest");
        let faults = refused(&Linter::new(), "Schedule", &content);
        assert_eq!(faults.len(), 1, "{faults:?}");
    })
    .await;
}

#[tokio::test]
async fn of_pod_templates_it_says_what_the_api_server_says() {
    let with = |path: &str, value: Value| {
        let mut content = examples::job_template();
        let template = content["spec"]["jobTemplate"].pointer_mut("/spec/template/spec").unwrap();
        let (parents, last) = path.rsplit_once('/').unwrap();
        template.pointer_mut(parents).unwrap_or_else(|| panic!("{path}"))[last] = value;
        content
    };
    let container = "/containers/0";
    let cases = [
        with("/containers", json!([])),
        with("/containers", json!([{ "image": "x" }])),
        with("/containers", json!([{ "name": "a" }, { "name": "a" }])),
        with(&format!("{container}/image"), json!(5)),
        with(&format!("{container}/resources"), json!({ "limits": { "cpu": 0.5, "memory": "64Mi" } })),
        with(&format!("{container}/resources"), json!({ "limits": { "cpu": "half" } })),
        with(&format!("{container}/resources"), json!({ "limits": { "cpu": [1] } })),
        with(&format!("{container}/ports"), json!([{ "containerPort": 80 }])),
        with(&format!("{container}/ports"), json!([{ "containerPort": "80" }])),
        with(&format!("{container}/readinessProbe"), json!({ "httpGet": { "port": "http" } })),
        with(&format!("{container}/readinessProbe"), json!({ "httpGet": { "port": 1.5 } })),
        with(&format!("{container}/env"), json!([{ "name": "A" }, { "name": "A" }])),
        with("/activeDeadlineSeconds", json!("60")),
        with("/volumes", json!([{ "name": "v", "emptyDir": { "sizeLimit": "1Gi" } }])),
        with("/volumes", json!([{ "name": "v", "emptyDir": null }])),
        with("/tolerations", json!([{ "operator": "Exists" }])),
    ];
    in_namespace(|scope| async move {
        let linter = Linter::new();
        for content in cases {
            let faults = refused(&linter, "JobTemplate", &content);
            let answer = scope.try_create("JobTemplate", &content).await;
            assert_eq!(
                answer.is_ok(),
                faults.is_empty(),
                "{:?}: {faults:?}\n{content}",
                answer.err().map(|status| status.message)
            );
        }
    })
    .await;
}
