//! The rules of JobTemplate: parameter declarations that contradict themselves.

use serde_json::{Value, json};

use super::{Case, Rule};
use crate::examples::pod_template;

/// A template with these parameters.
fn with_params(params: Value) -> Case {
    Case::created(json!({ "spec": { "jobType": "report", "params": params, "jobTemplate": pod_template() } }))
}

/// A template with one parameter of this declaration.
fn param(declaration: Value) -> Case {
    let mut named = json!({ "name": "x" });
    for (key, value) in declaration.as_object().expect("a declaration is a JSON object") {
        named[key] = value.clone();
    }
    with_params(json!([named]))
}

fn rule(message: &'static str, accepted: Vec<Value>, rejected: Vec<Value>) -> Rule {
    Rule {
        kind: "JobTemplate",
        path: "spec.params[]",
        message,
        accepted: accepted.into_iter().map(param).collect(),
        rejected: rejected.into_iter().map(param).collect(),
    }
}

pub fn rules() -> Vec<Rule> {
    let mut rules = vec![names(), sum_of_defaults()];
    rules.extend(declarations());
    rules.extend(defaults());
    rules.extend(enums());
    rules
}

fn names() -> Rule {
    let named = |names: &[&str]| with_params(names.iter().map(|name| json!({ "name": name })).collect());
    Rule {
        kind: "JobTemplate",
        path: "spec.params",
        message: "parameter names must differ by more than upper and lower case, because each becomes the environment \
            variable PARAM_<NAME>",
        accepted: vec![named(&["region", "depth", "_x", "x"]), named(&["a", "B", "c"]), with_params(json!([]))],
        rejected: vec![named(&["region", "Region"]), named(&["a", "b", "B"])],
    }
}

fn sum_of_defaults() -> Rule {
    let with = |count: usize, value: &str| {
        let declared = (0..count).map(|number| json!({ "name": format!("p{number}"), "default": value })).collect();
        with_params(declared)
    };
    Rule {
        kind: "JobTemplate",
        path: "spec.params",
        message: "the defaults must not take more than 262144 bytes together: a pod gets them as an annotation",
        accepted: vec![with(31, &"a".repeat(8_192)), with(7, &"😀".repeat(8_192))],
        rejected: vec![with(33, &"a".repeat(8_192)), with(9, &"😀".repeat(8_192))],
    }
}

fn declarations() -> Vec<Rule> {
    vec![
        rule(
            "a required parameter cannot have a default",
            vec![json!({ "required": true }), json!({ "required": false, "default": "a" })],
            vec![json!({ "required": true, "default": "a" }), json!({ "required": true, "default": "" })],
        ),
        rule(
            "pattern applies to parameters of type string only",
            vec![json!({ "pattern": "[a-z]+" }), json!({ "type": "string", "pattern": "[a-z]+" })],
            vec![
                json!({ "type": "integer", "pattern": "[0-9]+" }),
                json!({ "type": "number", "pattern": "[0-9]+" }),
                json!({ "type": "boolean", "pattern": "true" }),
            ],
        ),
        rule(
            "minimum and maximum apply to parameters of type integer and number only",
            vec![json!({ "type": "integer", "minimum": 1 }), json!({ "type": "number", "maximum": 2.5 })],
            vec![
                json!({ "minimum": 1 }),
                json!({ "type": "string", "maximum": 1 }),
                json!({ "type": "boolean", "minimum": 0, "maximum": 1 }),
            ],
        ),
        rule(
            "minimum must not be greater than maximum",
            vec![
                json!({ "type": "integer", "minimum": 1, "maximum": 1 }),
                json!({ "type": "number", "minimum": -2.5, "maximum": 2 }),
            ],
            vec![
                json!({ "type": "integer", "minimum": 2, "maximum": 1 }),
                json!({ "type": "number", "minimum": 0.2, "maximum": 0.1 }),
            ],
        ),
    ]
}

fn defaults() -> Vec<Rule> {
    let typed = |kind: &str, defaults: &[&str]| {
        defaults.iter().map(|default| json!({ "type": kind, "default": default })).collect::<Vec<_>>()
    };
    vec![
        rule(
            "default must be one of enum",
            vec![json!({ "default": "a", "enum": ["a", "b"] }), json!({ "default": "c" })],
            vec![json!({ "default": "c", "enum": ["a", "b"] })],
        ),
        rule(
            "default must be a whole number, as the type says",
            typed("integer", &["0", "-3", "+3", "999999999999999999"]),
            typed("integer", &["", "three", "2.5", "1e3", "0x10", " 1", "1000000000000000000", "1\n"]),
        ),
        rule(
            "default must be a number, as the type says",
            typed("number", &["0", "-2.5", ".5", "5.", "1e3", "-1.5E-10"]),
            typed("number", &["", "NaN", "Infinity", "1,5", "1e", ".", "1e9999"]),
        ),
        rule(
            "default must be true or false, as the type says",
            typed("boolean", &["true", "false"]),
            typed("boolean", &["", "True", "yes", "1"]),
        ),
        rule(
            "default must not be less than minimum",
            vec![
                json!({ "type": "integer", "minimum": 1, "default": "1" }),
                json!({ "type": "number", "minimum": -0.5, "default": "-0.5" }),
            ],
            vec![
                json!({ "type": "integer", "minimum": 1, "default": "0" }),
                json!({ "type": "number", "minimum": -0.5, "default": "-0.6" }),
            ],
        ),
        rule(
            "default must not be greater than maximum",
            vec![
                json!({ "type": "integer", "maximum": 9, "default": "9" }),
                json!({ "type": "number", "maximum": 1, "default": "1e0" }),
            ],
            vec![
                json!({ "type": "integer", "maximum": 9, "default": "10" }),
                json!({ "type": "number", "maximum": 1, "default": "1e1" }),
            ],
        ),
    ]
}

fn enums() -> Vec<Rule> {
    vec![
        rule(
            "each value of enum must be a whole number, as the type says",
            vec![json!({ "type": "integer", "enum": ["1", "-2"] }), json!({ "enum": ["one"] })],
            vec![json!({ "type": "integer", "enum": ["1", "two"] }), json!({ "type": "integer", "enum": ["1.5"] })],
        ),
        rule(
            "each value of enum must be a number, as the type says",
            vec![json!({ "type": "number", "enum": ["1", "2.5"] })],
            vec![json!({ "type": "number", "enum": ["1", "two"] })],
        ),
        rule(
            "a boolean parameter needs no enum",
            vec![json!({ "type": "boolean" })],
            vec![json!({ "type": "boolean", "enum": ["true", "false"] })],
        ),
    ]
}
