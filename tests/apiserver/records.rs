//! JobRun: a record is created complete, in one write, and no field of it ever changes.

use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::in_namespace;
use crate::examples;
use crate::schema;

const MESSAGE: &str = "a JobRun is an immutable record and cannot be changed";

#[tokio::test]
async fn a_record_keeps_the_spec_and_the_status_that_it_was_created_with() {
    in_namespace(|scope| async move {
        let name = scope.create("JobRun", &examples::job_run()).await.unwrap().name_any();
        let kept = scope.objects("JobRun").get(&name).await.unwrap();
        assert_eq!(kept.data["spec"], examples::job_run()["spec"]);
        assert_eq!(kept.data["status"], examples::job_run()["status"]);
    })
    .await;
}

#[tokio::test]
async fn no_field_of_a_record_can_be_removed_or_changed() {
    in_namespace(|scope| async move {
        let name = scope.create("JobRun", &examples::job_run()).await.unwrap().name_any();
        for section in ["spec", "status"] {
            for node in schema::nodes("JobRun", &[section]) {
                let mut run = examples::job_run();
                let Some(value) = node.path.find_mut(&mut run) else {
                    panic!("the example of JobRun does not set {}", node.path)
                };
                let Some(other) = other_value(value, &node.keywords) else { continue };
                *value = other;
                let patch = json!({ "spec": run["spec"], "status": run["status"] });
                let status = scope.try_patch("JobRun", &name, &patch).await.expect_err(&node.path.to_string());
                assert!(status.message.contains(MESSAGE), "{}: {}", node.path, status.message);
            }
            let status = scope.try_patch("JobRun", &name, &json!({ section: null })).await.expect_err(section);
            assert!(status.code == 422, "{section}: {}", status.message);
        }
    })
    .await;
}

/// Another value of the same kind; none for what is changed through its parts.
fn other_value(value: &Value, keywords: &serde_json::Map<String, Value>) -> Option<Value> {
    let choices = keywords.get("enum").and_then(Value::as_array);
    let time = keywords.get("format").is_some_and(|format| format == "date-time");
    match value {
        Value::String(text) if choices.is_some() => choices?.iter().find(|choice| *choice != text).cloned(),
        Value::String(_) if time => Some(json!("2028-08-08T08:08:08.000001Z")),
        Value::String(text) => Some(json!(format!("{text}x"))),
        Value::Bool(holds) => Some(json!(!holds)),
        Value::Number(number) => Some(json!(number.as_i64()? + 1)),
        Value::Object(object) if !keywords.contains_key("properties") => {
            let mut larger = object.clone();
            larger.insert("another".into(), json!("value"));
            Some(Value::Object(larger))
        }
        _ => None,
    }
}

#[tokio::test]
async fn a_part_deep_inside_a_records_result_cannot_change_either() {
    in_namespace(|scope| async move {
        let name = scope.create("JobRun", &examples::job_run()).await.unwrap().name_any();
        for result in [
            json!({ "nested": { "list": [1, "two", 3] } }),
            json!({ "nested": { "more": true } }),
            json!({ "rows": null }),
            json!("text"),
        ] {
            let patch = json!({ "status": { "result": result } });
            let status = scope.try_patch("JobRun", &name, &patch).await.expect_err("an immutable result");
            assert!(status.message.contains(MESSAGE), "{}", status.message);
        }
    })
    .await;
}

#[tokio::test]
async fn labels_finalizers_and_deletion_are_still_possible_on_a_record() {
    in_namespace(|scope| async move {
        let name = scope.create("JobRun", &examples::job_run()).await.unwrap().name_any();
        let runs = scope.objects("JobRun");
        let archived = json!({ "metadata": { "labels": { "rota.dev/archived": "true" } } });
        runs.patch(&name, &PatchParams::default(), &Patch::Merge(archived)).await.unwrap();
        runs.delete(&name, &DeleteParams::default()).await.unwrap();
    })
    .await;
}
