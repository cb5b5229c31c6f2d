//! What `kubectl explain` says of fields: each word of an enumeration, each default, and what Rota makes of a pasted body.

use serde_json::{Map, Value};

use crate::cluster::kubectl;
use crate::examples::KINDS;
use crate::schema;

/// Optional fields of a specification for which a default would say nothing: the kind, the field or what holds it, and why.
const WITHOUT_DEFAULT: [(&str, &str, &str); 6] = [
    ("Schedule", "spec.cron", "exactly one of cron, interval and at must be set"),
    ("Schedule", "spec.interval", "exactly one of cron, interval and at must be set"),
    ("Schedule", "spec.at", "exactly one of cron, interval and at must be set"),
    ("Job", "spec.templateRef", "exactly one of templateRef and jobTemplate must be set"),
    ("Job", "spec.jobTemplate", "exactly one of templateRef and jobTemplate must be set"),
    ("JobRun", "spec", "the operator writes it, and nobody else may"),
];

/// Each field below these of a kind, by path, with its schema and whether it may be left out.
fn fields(kind: &str, roots: &[&str]) -> Vec<(String, Map<String, Value>, bool)> {
    let mut found = Vec::new();
    for node in schema::nodes(kind, roots).into_iter().filter(|node| !node.path.to_string().ends_with("jobTemplate")) {
        let required = node.keywords.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        for (name, field) in node.keywords.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let is_optional = !required.iter().any(|it| it == name);
            found.push((node.path.field(name).to_string(), field.as_object().unwrap().clone(), is_optional));
        }
    }
    assert!(found.len() > 5, "{kind} has fields");
    found
}

fn description(field: &Map<String, Value>) -> &str {
    field.get("description").and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn each_word_of_an_enumeration_is_explained() {
    let mut offenders = Vec::new();
    let mut count = 0;
    for kind in KINDS {
        for (path, field, _) in fields(kind, &["spec", "status"]) {
            let words = field.get("enum").or_else(|| field.get("items")?.get("enum")).and_then(Value::as_array);
            for word in words.into_iter().flatten().filter(|word| !word.is_null()) {
                count += 1;
                let line = format!("\n - `{word}` ");
                let meaning = description(&field).split(&line).nth(1).and_then(|rest| rest.lines().next());
                if meaning.is_none_or(|meaning| meaning.trim().is_empty()) {
                    offenders.push(format!("{kind} {path}: {word}"));
                }
            }
        }
    }
    assert!(count > 100, "{count} words are found");
    assert!(offenders.is_empty(), "words that the description of their field does not explain: {offenders:#?}");
}

/// A field is named by its own description: an enumeration once had that of its type instead.
#[test]
fn each_optional_field_of_a_specification_says_its_default() {
    let mut offenders = Vec::new();
    let mut used = Vec::new();
    for kind in KINDS {
        for (path, field, _) in fields(kind, &["spec"]).into_iter().filter(|(_, _, is_optional)| *is_optional) {
            let says = description(&field).contains("Default: ");
            let holds =
                |place: &str| path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            match WITHOUT_DEFAULT.iter().position(|(of, place, _)| *of == kind && holds(place)) {
                Some(exception) if !says => used.push(exception),
                None if !says => offenders.push(format!("{kind} {path}: {}", description(&field))),
                _ => {}
            }
        }
    }
    assert!(offenders.is_empty(), "optional fields that do not say their default: {offenders:#?}");
    let unused: Vec<_> =
        (0..WITHOUT_DEFAULT.len()).filter(|it| !used.contains(it)).map(|it| WITHOUT_DEFAULT[it]).collect();
    assert!(unused.is_empty(), "exceptions that are none: {unused:?}");
}

/// What becomes of a pasted body, where its writer looks: the fields that somebody who knows CronJobs would ask about.
#[test]
fn each_field_of_a_body_that_rota_changes_says_so() {
    for kind in ["JobTemplate", "Job"] {
        let body = &schema::of(kind)["properties"]["spec"]["properties"]["jobTemplate"];
        for (field, word) in [
            ("metadata.name", "drops"),
            ("metadata.labels", "drops"),
            ("metadata.annotations", "drops"),
            ("metadata.finalizers", "drops"),
            ("metadata.ownerReferences", "drops"),
            ("spec.backoffLimit", "overrides"),
            ("spec.ttlSecondsAfterFinished", "at least 3600"),
            ("spec.activeDeadlineSeconds", "each attempt"),
            ("spec.parallelism", "pendingTimeoutSeconds"),
            ("spec.completions", "attempt"),
            ("spec.suspend", "waits"),
            ("spec.selector", "drops"),
            ("spec.manualSelector", "drops"),
            ("spec.podReplacementPolicy", "attempt"),
            ("spec.managedBy", "controller"),
            ("spec.template.spec.restartPolicy", "overrides"),
            ("spec.template.spec.containers.items.terminationMessagePolicy", "FallbackToLogsOnError"),
            ("spec.template.spec.initContainers.items.terminationMessagePolicy", "FallbackToLogsOnError"),
        ] {
            let found = field.split('.').fold(body, |schema: &Value, name| match name {
                "items" => &schema["items"],
                name => &schema["properties"][name],
            });
            let text = found["description"].as_str().unwrap_or_default();
            assert!(text.contains(word), "{kind} {field}: {text}");
        }
    }
}

#[tokio::test]
async fn kubectl_explains_words_defaults_and_what_is_overridden() {
    crate::cluster::client().await;
    for (field, texts) in [
        (
            "schedules.rota.dev.spec.concurrencyPolicy",
            ["Default: Allow.", "- `\"Replace\"` Rota cancels the earlier one"],
        ),
        ("queues.rota.dev.spec.overflowPolicy", ["Default: Reject.", "- `\"DropOldest\"` It waits, and the one"]),
        ("jobs.rota.dev.status.waitingFor", ["the condition Dispatched", "- `\"Hold\"` Somebody"]),
        (
            "jobtemplates.rota.dev.spec.retry.rules.reasons",
            ["Default: any.", "- `\"PodLost\"` Failed: its pod vanished"],
        ),
        ("jobtemplates.rota.dev.spec.jobTemplate.spec.backoffLimit", ["overrides it with 0", "retry.maxAttempts"]),
        ("jobs.rota.dev.spec.jobTemplate.spec.ttlSecondsAfterFinished", ["How long the Job is kept", "at least 3600"]),
        ("jobs.rota.dev.spec.jobTemplate.spec.template.spec.restartPolicy", ["overrides it with", "Never"]),
        ("jobtemplates.rota.dev.spec.jobTemplate.metadata.name", ["drops it", "its Job and attempt"]),
    ] {
        let printed = kubectl(&["explain", field], "").expect_success();
        let words = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        for text in texts {
            assert!(words.contains(text), "{field}: {printed}");
        }
    }
}
