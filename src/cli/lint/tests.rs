//! Whole files, and what is printed of them.

use std::fs;
use std::path::Path;

use super::*;

const FILE: &str = r#"
apiVersion: rota.dev/v1alpha1
kind: JobTemplate
metadata: {name: report}
spec:
  jobType: report
  params: [{name: region, enum: [eu, us], required: true}]
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: busybox}]}}}}
---
apiVersion: rota.dev/v1alpha1
kind: Schedule
metadata: {name: nightly}
spec: {templateRef: {name: report}, cron: "0 3 * * *", timezone: UTC, params: {region: asia}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
---
kind: [
"#;

fn report(text: &str) -> Report {
    offline(documents::split("f.yaml", text), DEFAULT_NAMESPACE)
}

#[test]
fn findings_are_printed_a_line_each_and_counted() {
    let answer = print(&report(FILE), Output::Text, false);
    let lines: Vec<&str> = answer.output.lines().collect();
    assert!(lines[0].starts_with("f.yaml: document at line 19: cannot be read: "), "{}", answer.output);
    assert_eq!(
        lines[1..],
        [
            "f.yaml: Schedule/nightly: spec.timezone: unknown field; did you mean timeZone?",
            "f.yaml: Schedule/nightly: spec.params.region: must be one of \"eu\", \"us\", got \"asia\" (JobTemplate report)",
            "2 objects checked, 3 findings; 1 document that is not Rota's skipped.",
        ]
    );
    assert_eq!((answer.exit_code, answer.remarks.as_str()), (FAILED, ""));
}

/// A warning is printed and counted, but does not fail a pipeline.
#[test]
fn what_is_not_used_as_it_is_written_is_a_warning() {
    let pasted = FILE.replace("restartPolicy: Never", "restartPolicy: OnFailure");
    let pasted = pasted.split("---").next().unwrap();
    let answer = print(&report(pasted), Output::Text, false);
    let lines: Vec<&str> = answer.output.lines().collect();
    let expected = "f.yaml: warning: JobTemplate/report: spec.jobTemplate.spec.template.spec.restartPolicy: OnFailure is not used; ";
    assert!(lines[0].starts_with(expected) && lines[0].contains("spec.retry.maxAttempts"), "{}", answer.output);
    assert_eq!(lines[1..], ["1 object checked, 0 findings, 1 warning."]);
    assert_eq!(answer.exit_code, OK);
}

#[test]
fn an_unknown_field_hides_no_other_fault() {
    let found = report(&FILE.replace("0 3 * * *", "0 0 30 2 *"));
    let fields: Vec<_> = found.findings.iter().map(|finding| finding.field.as_str()).collect();
    assert_eq!(fields, ["", "spec.timezone", "spec.cron", "spec.params.region"]);
}

#[test]
fn json_is_a_list_of_findings() {
    let answer = print(&report(FILE), Output::Json, false);
    let list: Value = serde_json::from_str(&answer.output).unwrap();
    let expected = json!({
        "file": "f.yaml", "line": 10, "kind": "Schedule", "namespace": "default", "name": "nightly",
        "field": "spec.timezone", "message": "unknown field; did you mean timeZone?", "source": "schema",
    });
    assert_eq!(list[1], expected);
    assert_eq!(print(&report(""), Output::Json, false).output, "[]\n");
}

#[test]
fn the_same_object_twice_is_a_finding_and_another_namespace_is_another_object() {
    let queue = |namespace: &str| {
        format!(
            "---\napiVersion: rota.dev/v1alpha1\nkind: Queue\nmetadata: {{name: q, namespace: {namespace}}}\nspec: {{}}\n"
        )
    };
    assert_eq!(report(&(queue("a") + &queue("b"))).findings, []);
    assert_eq!(report(&(queue("a") + &queue("a"))).findings.len(), 1);
}

fn existing(content: Value) -> Existing {
    let name = |field: &str| content["metadata"][field].as_str().unwrap().to_owned();
    [((content["kind"].as_str().unwrap().to_owned(), name("namespace"), name("name")), content)].into()
}

fn against(text: &str, existing: &Existing) -> Report {
    let (objects, mut report) = sort(documents::split("f.yaml", text), "team-a");
    judge(objects, Some(existing), "2027-03-26T12:00:00Z".parse().unwrap(), &mut report);
    report
}

const JOB: &str =
    "apiVersion: rota.dev/v1alpha1\nkind: Job\nmetadata: {name: one}\nspec: {templateRef: {name: report}, queue: b}\n";

#[test]
fn an_edit_that_the_api_server_would_refuse_is_a_finding() {
    let existing = existing(json!({
        "apiVersion": "rota.dev/v1alpha1", "kind": "Job", "metadata": { "namespace": "team-a", "name": "one" },
        "spec": { "templateRef": { "name": "report" }, "queue": "a" }, "status": { "phase": "Queued" },
    }));
    let found = against(JOB, &existing);
    let messages: Vec<_> = found.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "a queued Job is immutable except for priority, position, notBefore, hold and cancel; create a new Job instead",
            "there is no JobTemplate \"report\" in the namespace \"team-a\"",
            "there is no Queue \"b\" in the namespace \"team-a\": its Jobs would wait until there is one",
        ]
    );
    assert_eq!(found.changes, []);
}

#[test]
fn changes_are_printed_below_their_object() {
    let answer = print(&against(&JOB.replace("queue: b", "queue: default"), &Existing::new()), Output::Text, true);
    assert_eq!(
        answer.output,
        "f.yaml: Job/one: spec.templateRef.name: there is no JobTemplate \"report\" in the namespace \"team-a\"\n\
         f.yaml: Job/one: would be created\n1 object checked, 1 finding.\n"
    );
}

#[test]
fn the_examples_have_no_findings() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let sources = documents::read(&[directory], false).unwrap();
    assert!(sources.len() > 5);
    let found =
        offline(sources.iter().flat_map(|(file, text)| documents::split(file, text)).collect(), DEFAULT_NAMESPACE);
    assert_eq!(found.findings, []);
    assert!(found.checked > sources.len());
}

#[test]
fn a_file_that_is_not_there_and_a_directory_without_objects_are_wrong_arguments() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in [directory.join("nowhere.yaml"), directory] {
        assert!(documents::read(&[path], false).is_err());
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    assert_eq!(
        documents::read(std::slice::from_ref(&file), false).unwrap(),
        [(file.display().to_string(), fs::read_to_string(&file).unwrap())]
    );
}
