//! What is said of a pasted body.

use kube::CustomResourceExt;
use serde_json::json;

use super::*;

fn spec(fields: Value) -> JobTemplateSpec {
    let mut whole =
        json!({ "jobType": "x", "jobTemplate": { "spec": { "template": { "spec": { "containers": [] } } } } });
    merge(&mut whole, &fields);
    serde_json::from_value(whole).unwrap()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from.clone(),
    }
}

fn said(fields: Value) -> Vec<String> {
    sentences(&Body::of_template(&spec(fields)))
}

fn of_batch(fields: Value) -> Value {
    json!({ "jobTemplate": { "spec": fields } })
}

/// The beginning of what is said, of one field at a time.
#[test]
fn each_field_that_is_not_used_as_written_is_named_with_its_value() {
    let policy = |policy: &str| of_batch(json!({ "template": { "spec": { "restartPolicy": policy } } }));
    let labels = |key: &str| json!({ "jobTemplate": { "metadata": { "labels": { key: "x" } } } });
    let table = [
        (of_batch(json!({ "backoffLimit": 6 })), "spec.backoffLimit: 6 is not used; spec.retry.maxAttempts"),
        (policy("OnFailure"), "spec.template.spec.restartPolicy: OnFailure is not used; "),
        (policy("Always"), "spec.template.spec.restartPolicy: Always is not used; "),
        (of_batch(json!({ "suspend": true })), "spec.suspend: true is passed on: "),
        (of_batch(json!({ "managedBy": "a.example/b" })), "spec.managedBy: a.example/b is passed on: "),
        (of_batch(json!({ "parallelism": 0 })), "spec.parallelism: 0 is passed on: "),
        (of_batch(json!({ "manualSelector": true, "selector": {} })), "spec.manualSelector: true is not used; "),
        (labels("app.kubernetes.io/instance"), "metadata.labels: those by which "),
        (labels("kustomize.toolkit.fluxcd.io/name"), "metadata.labels: those by which "),
        (
            json!({ "jobTemplate": { "metadata": { "annotations": { "meta.helm.sh/release-name": "x" } } } }),
            "metadata.annotations: those by which ",
        ),
        (
            json!({ "timeoutSeconds": 60, "jobTemplate": { "spec": { "activeDeadlineSeconds": 600 } } }),
            "spec.activeDeadlineSeconds: 600 is not used, because spec.timeoutSeconds is 60",
        ),
        (
            json!({ "ttlSecondsAfterFinished": 60, "jobTemplate": { "spec": { "ttlSecondsAfterFinished": 600 } } }),
            "spec.ttlSecondsAfterFinished: 600 is used for the batch Job only, ",
        ),
    ];
    for (fields, expected) in table {
        let found = said(fields.clone());
        assert_eq!(found.len(), 1, "{fields}: {found:?}");
        let expected = format!("spec.jobTemplate.{expected}");
        assert!(found[0].starts_with(&expected), "{fields}: {found:?}");
        assert!(!found[0].contains("  ") && !found[0].ends_with('.'), "{found:?}");
    }
}

/// What is used as it is written, or says what Rota does anyway, is not warned about.
#[test]
fn what_stays_as_it_is_needs_no_word() {
    let table = [
        of_batch(json!({})),
        of_batch(json!({ "backoffLimit": 0 })),
        of_batch(json!({ "backoffLimit": null, "suspend": null, "parallelism": null })),
        json!({ "retry": { "maxAttempts": 4 }, "jobTemplate": { "spec": { "backoffLimit": 3 } } }),
        of_batch(
            json!({ "backoffLimit": 6, "backoffLimitPerIndex": 1, "completionMode": "Indexed", "completions": 2 }),
        ),
        of_batch(json!({ "backoffLimit": 6, "successPolicy": { "rules": [{ "succeededCount": 1 }] } })),
        of_batch(json!({ "template": { "spec": { "restartPolicy": "Never" } } })),
        of_batch(json!({ "suspend": false, "parallelism": 1, "managedBy": "kubernetes.io/job-controller" })),
        of_batch(json!({ "selector": { "matchLabels": { "batch.kubernetes.io/controller-uid": "x" } } })),
        of_batch(
            json!({ "ttlSecondsAfterFinished": 60, "activeDeadlineSeconds": 60, "podReplacementPolicy": "Failed" }),
        ),
        json!({ "timeoutSeconds": 600, "jobTemplate": { "spec": { "activeDeadlineSeconds": 60 } } }),
        json!({ "jobTemplate": { "metadata": { "name": "x", "labels": { "app": "x" } } } }),
        json!({ "jobTemplate": {
            "metadata": { "labels": { "kueue.x-k8s.io/queue-name": "team" } }, "spec": { "suspend": true },
        } }),
        json!({ "jobTemplate": { "spec": { "template": { "metadata": {
            "labels": { "app.kubernetes.io/instance": "x" } } } } } }),
    ];
    for fields in table {
        assert_eq!(said(fields.clone()), Vec::<String>::new(), "{fields}");
    }
}

#[test]
fn a_job_with_a_template_of_its_own_is_told_too_and_one_of_a_template_is_not() {
    let job = |fields: Value| serde_json::from_value::<JobSpec>(fields).unwrap();
    let own = job(json!({ "jobType": "x", "jobTemplate": { "spec": { "backoffLimit": 2 } } }));
    assert_eq!(warnings(&Body::of_job(&own).unwrap()).len(), 1);
    let other = job(json!({ "templateRef": { "name": "x" } }));
    assert!(Body::of_job(&other).is_none());
}

#[test]
fn a_body_of_any_shape_is_judged() {
    for body in [
        json!(null),
        json!([]),
        json!({ "spec": 1 }),
        json!({ "metadata": { "labels": [] }, "spec": { "backoffLimit": "x" } }),
    ] {
        assert_eq!(said(json!({ "jobTemplate": body })), Vec::<String>::new());
    }
}

/// Everything that a batch Job can say reaches it, but for what the list names.
#[test]
fn what_the_list_does_not_name_is_passed_on_unchanged() {
    let batch = json!({
        "activeDeadlineSeconds": 60, "backoffLimit": 3, "completionMode": "Indexed", "completions": 3, "managedBy": "a.example/b",
        "manualSelector": true, "parallelism": 2, "podReplacementPolicy": "Failed", "selector": { "matchLabels": { "a": "b" } },
        "podFailurePolicy": { "rules": [{ "action": "FailJob", "onExitCodes": { "operator": "In", "values": [42] } }] },
        "successPolicy": { "rules": [{ "succeededCount": 1 }] }, "suspend": true, "ttlSecondsAfterFinished": 60,
        "scheduling": { "a": 1 },
        "aFieldOfTomorrow": 1,
    });
    // Kubernetes takes these two only together, and not with all of the others.
    let each = json!({ "backoffLimit": 3, "backoffLimitPerIndex": 1, "maxFailedIndexes": 2 });
    let pod = json!({
        "activeDeadlineSeconds": 5, "affinity": {}, "nodeSelector": { "a": "b" }, "restartPolicy": "OnFailure",
        "serviceAccountName": "x", "terminationGracePeriodSeconds": 1, "tolerations": [], "priorityClassName": "x",
        "aFieldOfTomorrow": 1, "containers": [{ "name": "main", "image": "x" }],
    });
    let schema = serde_json::to_value(crate::api::JobTemplate::crd()).unwrap();
    let schema = &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    let known = schema["jobTemplate"]["properties"]["spec"]["properties"].as_object().unwrap();
    let named = |field: &str| field == "spec.selector" || FIELDS.iter().any(|it| it.path == field);
    let mut seen = vec!["template".to_owned()];
    for fields in [batch, each] {
        let mut body = json!({ "spec": fields });
        body["spec"]["template"] = json!({ "spec": pod });
        let manifest = launch::dry_run_job("team", "x", &body, &[]).unwrap();
        for (field, value) in fields.as_object().unwrap() {
            let same = manifest["spec"].get(field) == Some(value);
            assert!(same || named(&format!("spec.{field}")), "{field}: {:?}", manifest["spec"].get(field));
            assert!(same || known[field]["description"].is_string(), "{field} has no description in the definition");
            seen.push(field.clone());
        }
        let made = &manifest["spec"]["template"]["spec"];
        for (field, value) in pod.as_object().unwrap().iter().filter(|(field, _)| *field != "containers") {
            let same = made.get(field) == Some(value);
            assert!(same || named(&format!("spec.template.spec.{field}")), "{field}: {:?}", made.get(field));
            let description = &known["template"]["properties"]["spec"]["properties"][field]["description"];
            assert!(same || description.is_string(), "{field} has no description in the definition");
        }
    }
    let unseen: Vec<&String> = known.keys().filter(|field| !seen.contains(field)).collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}

/// What `kubectl explain` says below jobTemplate, in both kinds that have one.
#[test]
fn the_definitions_say_what_becomes_of_each_field() {
    let definitions = [crate::api::JobTemplate::crd(), crate::api::Job::crd()];
    for definition in definitions {
        let definition = serde_json::to_value(definition).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let body = &schema["properties"]["jobTemplate"];
        let described = |path: &str| {
            let pointer: String = path.split('.').map(|name| format!("/properties/{name}")).collect();
            let pointer = pointer.replace("containers/", "containers/items/");
            let field = body.pointer(&pointer).unwrap_or_else(|| panic!("there is no {path}"));
            assert!(field["description"].is_string(), "{path} has no description");
        };
        let listed = FIELDS.iter().filter(|field| !field.path.contains(','));
        listed.for_each(|field| described(field.path));
        launch::SPEC_FIELDS_DROPPED.iter().for_each(|field| described(&format!("spec.{field}")));
        let metadata = body["properties"]["metadata"]["properties"].as_object().unwrap();
        metadata.keys().for_each(|field| described(&format!("metadata.{field}")));
        for (path, text) in crate::api::pod_fields::DESCRIPTIONS {
            let found = body.pointer(&crate::api::pod_fields::pointer(path));
            assert_eq!(found.and_then(|field| field["description"].as_str()), Some(*text), "{path}");
        }
    }
}

/// docs/jobs.md has a row for each field, with these words.
#[test]
fn the_documents_say_what_becomes_of_each_field() {
    let text = include_str!("../../../docs/jobs.md");
    for field in &FIELDS {
        let row = format!("| `{}` | {} |", field.path, field.meaning);
        assert!(text.contains(&row), "docs/jobs.md lacks the row\n{row}");
    }
}
