//! The rules at admission and the operator's own parsers agree: what the API server lets through is not refused later
//! for its form, and what it rejects the operator would not have understood either.

use jiff::Timestamp;
use proptest::prelude::*;
use rota::api::{JobTemplate, Schedule, ScheduleSpec};
use rota::domain::calendar::Timing;
use rota::domain::params::check_declarations;
use serde_json::Value;

use crate::rules;
use crate::schema;

fn parse(spec: &ScheduleSpec) -> Result<Timing, String> {
    Timing::parse(&spec.timing(Timestamp::UNIX_EPOCH), "some-uid").map_err(|error| error.to_string())
}

fn schedule(content: &Value) -> Schedule {
    rules::decode("Schedule", content)
}

#[test]
fn the_operator_reads_every_accepted_timing_and_none_that_is_rejected_for_its_form() {
    for rule in rules::schedule::rules().into_iter().filter(|rule| rule.path != "spec.params") {
        for case in &rule.accepted {
            let timing = parse(&schedule(&case.object).spec);
            assert!(timing.is_ok(), "{}: {:?}\n{case:?}", rule.path, timing.err());
        }
        // A field that does not go with the others is a misunderstanding, not a timing that cannot be read.
        for case in rule.rejected.iter().filter(|_| !rule.message.contains(" appl")) {
            if case.object.to_string().contains("\\n") {
                continue; // The operator forgives white space at the end.
            }
            let timing = parse(&schedule(&case.object).spec);
            assert!(timing.is_err(), "{}: {timing:?}\n{case:?}", rule.path);
        }
    }
}

#[test]
fn the_operator_can_use_every_parameter_declaration_that_is_accepted() {
    for rule in rules::job_template::rules() {
        for case in &rule.accepted {
            let template: JobTemplate = rules::decode("JobTemplate", &case.object);
            let errors = check_declarations(&template.spec.params);
            assert!(errors.is_empty(), "{}: {errors:?}\n{case:?}", rule.message);
        }
    }
}

/// The pattern within the rule of cron, as CEL reads it.
fn cron_pattern() -> regex_lite::Regex {
    let spec = schema::of("Schedule")["properties"]["spec"].clone();
    let rule =
        spec["properties"]["cron"]["x-kubernetes-validations"][0]["rule"].as_str().unwrap_or_default().to_owned();
    let quoted = rule.strip_prefix("self.matches('").and_then(|rest| rest.strip_suffix("')"));
    let pattern = quoted.expect("the rule of cron is one pattern").replace("\\\\", "\\");
    regex_lite::Regex::new(&pattern).unwrap()
}

/// Parts of fields, most of them meaningful somewhere.
fn part() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        8 => (0u32..62).prop_map(|number| number.to_string()),
        2 => (0u32..10).prop_map(|number| format!("0{number}")),
        2 => prop::sample::select(vec!["JAN", "dec", "Mon", "SUN", "sat", "L", "W", "FOO", "LW", "L-3", "15W", "5#2", "friL", "3L"]).prop_map(str::to_owned),
        3 => Just("*".to_owned()),
        2 => prop::sample::select(vec!["H", "h", "H(1-5)", "H(9-3)", "H()"]).prop_map(str::to_owned),
        1 => Just("?".to_owned()),
        1 => Just(String::new()),
    ];
    let step = prop_oneof![4 => Just(String::new()), 1 => (0u32..100).prop_map(|step| format!("/{step}"))];
    let end = prop_oneof![3 => Just(None), 1 => value.clone().prop_map(Some)];
    (value, end, step).prop_map(|(start, end, step)| match end {
        Some(end) => format!("{start}-{end}{step}"),
        None => format!("{start}{step}"),
    })
}

fn expression() -> impl Strategy<Value = String> {
    let field = prop_oneof![3 => prop::collection::vec(part(), 1..3).prop_map(|parts| parts.join(",")), 2 => Just("*".to_owned())];
    prop::collection::vec(field, 4..8).prop_map(|fields| fields.join(" "))
}

/// What a pattern cannot tell, and the operator puts into the schedule's condition.
fn needs_the_calendar(why: &str) -> bool {
    ["never matches", "runs backwards", "seconds of a minute"].iter().any(|reason| why.contains(reason))
}

#[test]
fn whatever_expression_admission_accepts_the_operator_reads_and_the_other_way_round() {
    let pattern = cron_pattern();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&expression(), |text| {
        let accepted = pattern.is_match(&text);
        let read = parse(&ScheduleSpec { cron: Some(text.clone()), ..ScheduleSpec::default() });
        match (accepted, read) {
            (true, Err(why)) => prop_assert!(needs_the_calendar(&why), "accepted, and then refused: {why}"),
            (false, Ok(_)) => prop_assert!(false, "rejected, although the operator reads it"),
            (true, Ok(_)) | (false, Err(_)) => {}
        }
        Ok(())
    });
    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
}
