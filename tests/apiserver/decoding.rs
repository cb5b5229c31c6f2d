//! Whatever the API server accepts can be decoded: strange times and large numbers in every field that takes one.

use rota::api::{Job, JobGroup, JobRun, JobTemplate, Queue, Schedule};
use serde_json::{Value, json};

use crate::cluster::{Scope, in_namespace};
use crate::examples::{self, KINDS};
use crate::schema::{self, Node};

/// Times that some parser takes and another does not.
const TIMES: [&str; 16] = [
    "2027-01-01T06:00:00Z",
    "2027-01-01T06:00:00.123456789Z",
    "2027-01-01T06:00:00.1234567891Z",
    "2027-01-01T06:00:00,5Z",
    "2027-01-01t06:00:00z",
    "2027-01-01 06:00:00Z",
    "2027-01-01T06:00:00+00:00",
    "2027-01-01T06:00:00-23:59",
    "2027-01-01T06:00:00+24:00",
    "2027-01-01T06:00:00+14:60",
    "2027-01-01T24:00:00Z",
    "2027-01-01T23:59:60Z",
    "2027-02-29T06:00:00Z",
    "0000-01-01T00:00:00+23:00",
    "8999-12-31T23:59:59.999999999-23:59",
    "9999-12-31T23:59:59Z",
];

/// Numbers at and past the edges of the types that hold them.
fn numbers() -> [Value; 10] {
    [
        json!(-1),
        json!(i64::from(u32::MAX)),
        json!(i64::from(u32::MAX) + 1),
        json!(i64::from(i32::MAX) + 1),
        json!(i64::from(i32::MIN) - 1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1.5),
        json!(1e300),
    ]
}

/// Strange values for a node, where it holds a time or a number.
fn strange_values(node: &Node) -> Vec<Value> {
    match (node.keywords.get("type").and_then(Value::as_str), node.keywords.get("format").and_then(Value::as_str)) {
        (_, Some("date-time")) => TIMES.iter().map(|time| json!(time)).collect(),
        (Some("integer" | "number"), _) => numbers().into(),
        _ => vec![Value::Null],
    }
}

fn decodes(kind: &str, object: &impl serde::Serialize) -> Result<(), serde_json::Error> {
    let value = serde_json::to_value(object)?;
    match kind {
        "JobTemplate" => serde_json::from_value::<JobTemplate>(value).map(drop),
        "Schedule" => serde_json::from_value::<Schedule>(value).map(drop),
        "Queue" => serde_json::from_value::<Queue>(value).map(drop),
        "Job" => serde_json::from_value::<Job>(value).map(drop),
        "JobGroup" => serde_json::from_value::<JobGroup>(value).map(drop),
        "JobRun" => serde_json::from_value::<JobRun>(value).map(drop),
        other => panic!("{other} is not one of our kinds"),
    }
}

/// How many of the strange values the API server accepted; each of them must decode.
async fn check_node(scope: &Scope, kind: &str, node: &Node) -> usize {
    let mut accepted = 0;
    for example in examples::all(kind) {
        for strange in strange_values(node) {
            let mut object = example.clone();
            let Some(value) = node.path.find_mut(&mut object) else { continue };
            *value = strange.clone();
            if let Ok(made) = scope.try_create(kind, &object).await {
                accepted += 1;
                let decoded = decodes(kind, &made);
                assert!(decoded.is_ok(), "{kind} {} = {strange}: {:?}", node.path, decoded.err());
            }
        }
    }
    accepted
}

#[tokio::test]
async fn whatever_time_or_number_or_null_the_api_server_accepts_in_a_spec_decodes() {
    in_namespace(|scope| async move {
        let mut accepted = 0;
        for kind in KINDS {
            for node in schema::nodes(kind, &["spec"]) {
                accepted += check_node(&scope, kind, &node).await;
            }
        }
        for node in schema::nodes("JobRun", &["status"]) {
            accepted += check_node(&scope, "JobRun", &node).await;
        }
        assert!(accepted > 50, "only {accepted} strange values were accepted, so this says little");
    })
    .await;
}

#[test]
fn every_integer_has_bounds_or_a_format_that_the_api_server_enforces() {
    for kind in KINDS {
        for node in schema::nodes(kind, &["spec", "status"]) {
            if node.keywords.get("type").is_some_and(|kind| kind == "integer") {
                let format = node.keywords.get("format").and_then(Value::as_str);
                assert!(matches!(format, Some("int32" | "int64")), "{kind} {} has the format {format:?}", node.path);
            }
        }
    }
}
