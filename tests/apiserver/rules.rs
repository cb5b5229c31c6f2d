//! Every CEL rule of every kind, with what it accepts and what it rejects: on the real API server, and by the same
//! rules evaluated without one.

mod job;
mod job_group;
mod job_run;
pub mod job_template;
pub mod schedule;

use std::collections::{BTreeMap, BTreeSet};

use kube::core::Status;
use kube::core::cel::ValidationErrors;
use rota::api::{Job, JobGroup, JobRun, JobTemplate, Queue, Schedule};
use rota::cli::lint::schema::Node;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cluster::{Scope, in_namespace};
use crate::examples::KINDS;
use crate::schema;

/// One rule: where it stands in the schema, what it says, and cases on both sides of it.
pub struct Rule {
    pub kind: &'static str,
    pub path: &'static str,
    pub message: &'static str,
    pub accepted: Vec<Case>,
    pub rejected: Vec<Case>,
}

/// One object that is written, over an older one where the rule speaks of changes.
#[derive(Clone, Debug)]
pub struct Case {
    pub before: Option<Value>,
    pub object: Value,
}

impl Case {
    /// An object that is created.
    pub fn created(object: Value) -> Self {
        Self { before: None, object }
    }

    /// An object that replaces an older one. A status in the older one was written by the operator.
    pub fn changed(before: Value, object: Value) -> Self {
        Self { before: Some(before), object }
    }
}

/// Every rule of every kind.
pub fn all() -> Vec<Rule> {
    [job_template::rules(), schedule::rules(), job::rules(), job_group::rules(), job_run::rules()]
        .into_iter()
        .flatten()
        .collect()
}

/// Rules that the evaluation without a server cannot decide, by message, with the reason.
const SERVER_ONLY: [(&str, &str); 0] = [];

/// What the rules say without a server. The object must decode: rules are about objects that fit the schema.
fn evaluate(kind: &str, case: &Case) -> Result<(), ValidationErrors> {
    macro_rules! evaluate_as {
        ($kind:ty) => {{
            let object: $kind = decode(kind, &case.object);
            match &case.before {
                None => object.validate_cel(),
                Some(before) => {
                    // What the lint does too: the API server compares lists that are maps by key.
                    let mut before = before.clone();
                    Node::read(&schema::of(kind)).align(&mut before, &case.object);
                    object.validate_cel_update(&decode(kind, &before))
                }
            }
        }};
    }
    match kind {
        "JobTemplate" => evaluate_as!(JobTemplate),
        "Schedule" => evaluate_as!(Schedule),
        "Queue" => evaluate_as!(Queue),
        "Job" => evaluate_as!(Job),
        "JobGroup" => evaluate_as!(JobGroup),
        "JobRun" => evaluate_as!(JobRun),
        other => panic!("{other} is not one of our kinds"),
    }
}

/// A whole object as the kind's own type.
pub fn decode<Kind: DeserializeOwned>(kind: &str, content: &Value) -> Kind {
    let whole = crate::cluster::object(kind, content);
    let value = serde_json::to_value(whole).unwrap();
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{kind} does not decode: {error}\n{content}"))
}

/// What the API server says of a case, asked in a dry run.
async fn ask(scope: &Scope, kind: &str, case: &Case) -> Result<(), Status> {
    let Some(before) = &case.before else {
        return scope.try_create(kind, &case.object).await.map(drop);
    };
    let existing = scope.create(kind, before).await.unwrap_or_else(|error| panic!("{kind}: {error}\n{before}"));
    let name = existing.metadata.name.clone().unwrap_or_default();
    if kind != "JobRun" && before.get("status").is_some() {
        scope.set_status(kind, &name, &before["status"]).await;
    }
    let current = scope.objects(kind).get(&name).await.unwrap();
    scope.try_replace(kind, &current, &case.object).await.map(drop)
}

#[test]
fn every_rule_of_every_kind_is_in_the_table_with_an_accepted_and_a_rejected_case() {
    let written: BTreeSet<_> = KINDS
        .into_iter()
        .flat_map(|kind| schema::rules(kind).into_iter().map(move |(path, message)| (kind.to_owned(), path, message)))
        .collect();
    let mut tested = BTreeMap::new();
    for rule in all() {
        let key = (rule.kind.to_owned(), rule.path.to_owned(), rule.message.to_owned());
        assert!(!rule.accepted.is_empty() && !rule.rejected.is_empty(), "{key:?} needs cases on both sides");
        assert!(tested.insert(key.clone(), ()).is_none(), "{key:?} stands in the table twice");
    }
    let tested: BTreeSet<_> = tested.into_keys().collect();
    assert_eq!(written, tested, "the definitions' rules are on the left, the table's on the right");
}

#[test]
fn every_rule_has_a_message_of_its_own_in_its_kind() {
    for kind in KINDS {
        let rules = schema::rules(kind);
        let messages: BTreeSet<_> = rules.iter().map(|(_, message)| message.as_str()).collect();
        assert_eq!(messages.len(), rules.len(), "two rules of {kind} say the same");
        assert!(!messages.contains(""), "a rule of {kind} has no message");
    }
}

#[test]
fn without_a_server_the_rules_accept_and_reject_the_same_cases() {
    for rule in all() {
        if SERVER_ONLY.iter().any(|(message, _)| *message == rule.message) {
            continue;
        }
        for case in &rule.accepted {
            let answer = evaluate(rule.kind, case);
            assert!(answer.is_ok(), "{}: {}: {:?}\n{case:?}", rule.kind, rule.message, answer.err());
        }
        for case in &rule.rejected {
            let errors = evaluate(rule.kind, case).err().map(ValidationErrors::into_vec).unwrap_or_default();
            let messages: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
            assert_eq!(messages, [rule.message], "{}: {case:?}", rule.kind);
        }
    }
}

#[tokio::test]
async fn the_api_server_accepts_and_rejects_the_cases_of_every_rule_with_its_message() {
    in_namespace(|scope| async move {
        for rule in all() {
            for case in &rule.accepted {
                let answer = ask(&scope, rule.kind, case).await;
                assert!(answer.is_ok(), "{}: {}: {:?}\n{case:?}", rule.kind, rule.message, answer.err());
            }
            for case in &rule.rejected {
                let Err(status) = ask(&scope, rule.kind, case).await else {
                    panic!("{} accepts what it should not ({}): {case:?}", rule.kind, rule.message);
                };
                let causes = status.details.map(|details| details.causes).unwrap_or_default();
                let one = matches!(causes.as_slice(), [cause] if cause.message.ends_with(rule.message));
                assert!(one, "{}: {}: {causes:?}\n{case:?}", rule.kind, rule.message);
            }
        }
    })
    .await;
}
