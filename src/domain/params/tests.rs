//! Parameters: what is accepted, what is refused, and in which words.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn values(pairs: &[(&str, &str)]) -> ParamValues {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn param(value: serde_json::Value) -> Param {
    serde_json::from_value(value).unwrap()
}

/// The errors, as people see them, of one declaration and one value.
fn verdict(declaration: serde_json::Value, value: &str) -> String {
    let param = param(declaration);
    let given = values(&[(param.name.as_str(), value)]);
    match resolve(std::slice::from_ref(&param), &[&given]) {
        Ok(resolved) => {
            assert_eq!(resolved, given);
            String::new()
        }
        Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    }
}

#[test]
fn later_layers_win_over_earlier_ones_and_over_defaults() {
    let declared = [
        param(json!({ "name": "a", "default": "default" })),
        param(json!({ "name": "b", "default": "default" })),
        param(json!({ "name": "c", "default": "default" })),
        param(json!({ "name": "optional" })),
    ];
    let schedule = values(&[("b", "schedule"), ("c", "schedule")]);
    let own = values(&[("c", "")]);
    let resolved = resolve(&declared, &[&schedule, &own]).unwrap();
    assert_eq!(resolved, values(&[("a", "default"), ("b", "schedule"), ("c", "")]));
}

#[test]
fn a_value_must_fit_its_declaration() {
    let integer = json!({ "name": "count", "type": "integer", "minimum": 1, "maximum": 10 });
    let number = json!({ "name": "ratio", "type": "number", "minimum": 0.5, "maximum": 1.5 });
    let boolean = json!({ "name": "dry", "type": "boolean" });
    let choice = json!({ "name": "size", "enum": ["small", "large"] });
    let code = json!({ "name": "code", "pattern": "a|ab" });
    let large = json!({ "name": "n", "type": "integer", "minimum": 9007199254740993i64 });
    let table = [
        (integer.clone(), "7", ""),
        (integer.clone(), "+7", ""),
        (integer.clone(), "abc", "params.count: must be a whole number, got \"abc\""),
        (integer.clone(), "", "params.count: must be a whole number, got \"\""),
        (integer.clone(), "7.0", "params.count: must be a whole number, got \"7.0\""),
        (integer.clone(), " 7", "params.count: must be a whole number, got \" 7\""),
        (integer.clone(), "٣", "params.count: must be a whole number, got \"٣\""),
        (integer.clone(), "1234567890123456789", "params.count: must be a whole number, got \"1234567890123456789\""),
        (integer.clone(), "0", "params.count: must be at least 1, got \"0\""),
        (integer, "11", "params.count: must be at most 10, got \"11\""),
        (large.clone(), "9007199254740991", "params.n: must be at least 9007199254740992, got \"9007199254740991\""),
        (large, "9007199254740993", ""),
        (number.clone(), "0.5", ""),
        (number.clone(), "1e0", ""),
        (number.clone(), "0.49", "params.ratio: must be at least 0.5, got \"0.49\""),
        (number.clone(), "1.51", "params.ratio: must be at most 1.5, got \"1.51\""),
        (number.clone(), "nan", "params.ratio: must be a number, got \"nan\""),
        (number.clone(), "1e999", "params.ratio: must be a number, got \"1e999\""),
        (number, "0x1", "params.ratio: must be a number, got \"0x1\""),
        (boolean.clone(), "true", ""),
        (boolean.clone(), "false", ""),
        (boolean, "True", "params.dry: must be true or false, got \"True\""),
        (choice.clone(), "large", ""),
        (choice, "huge", "params.size: must be one of \"small\", \"large\", got \"huge\""),
        (code.clone(), "ab", ""),
        (code, "abc", "params.code: must match the pattern \"a|ab\", got \"abc\""),
        (
            json!({ "name": "line", "pattern": ".*" }),
            "a\nb",
            "params.line: must match the pattern \".*\", got \"a\\nb\"",
        ),
        (json!({ "name": "text" }), "any thing\n$(X) ☃", ""),
        (json!({ "name": "text" }), "a\0b", "params.text: must not contain the character NUL"),
    ];
    for (declaration, value, expected) in table {
        assert_eq!(verdict(declaration.clone(), value), expected, "{declaration} {value:?}");
    }
    let long = "x".repeat(8_193);
    assert_eq!(verdict(json!({ "name": "text" }), &long), "params.text: must be at most 8192 characters");
    assert_eq!(verdict(json!({ "name": "text" }), &"☃".repeat(8_192)), "");
}

#[test]
fn what_is_missing_or_unknown_is_named() {
    let declared =
        [param(json!({ "name": "region", "required": true })), param(json!({ "name": "dryRun", "default": "x" }))];
    let errors = |given: &[(&str, &str)], declared: &[Param]| {
        let errors = resolve(declared, &[&values(given)]).unwrap_err();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let table = [
        (errors(&[], &declared), vec!["params.region: is required and was not given"]),
        (
            errors(&[("regoin", "eu")], &declared),
            vec![
                "params.regoin: is not a parameter of the template; did you mean region?",
                "params.region: is required and was not given",
            ],
        ),
        (
            errors(&[("region", "eu"), ("DRYRUN", "x")], &declared),
            vec!["params.DRYRUN: is not a parameter of the template; did you mean dryRun?"],
        ),
        (
            errors(&[("region", "eu"), ("verbosity", "x")], &declared),
            vec!["params.verbosity: is not a parameter of the template, which takes region, dryRun"],
        ),
        (errors(&[("x", "y")], &[]), vec!["params.x: is not a parameter of the template, which takes none"]),
    ];
    for (is, expected) in table {
        assert_eq!(is, expected);
    }
}

#[test]
fn errors_are_bounded_in_number_and_length() {
    let given: ParamValues = (0..64).map(|number| (format!("{number}{}", "n".repeat(500)), "v".into())).collect();
    for errors in [resolve(&[], &[&given]).unwrap_err(), resolve_undeclared(&given).unwrap_err()] {
        assert_eq!(errors.len(), ERRORS_MAX + 1);
        assert_eq!(errors.last().unwrap().to_string(), "params: and 44 more errors");
        assert!(errors.iter().all(|error| error.to_string().len() < 300));
    }
    let huge = verdict(json!({ "name": "n", "type": "integer" }), &"9".repeat(5_000));
    assert!(huge.len() < 150, "{huge}");
}

#[test]
fn without_a_template_any_variable_name_is_taken() {
    let good = values(&[("_a", "1"), ("B2", "two")]);
    assert_eq!(resolve_undeclared(&good), Ok(good));
    let table = [
        (
            "2b",
            "params.2b: the name must be letters, digits and underscores, not start with a digit, and be at most 63 characters",
        ),
        ("a-b", "params.a-b: the name must be"),
        ("ä", "params.ä: the name must be"),
        ("", "params: the name must be"),
    ];
    for (name, expected) in table {
        let errors = resolve_undeclared(&values(&[(name, "v")])).unwrap_err();
        assert!(errors[0].to_string().starts_with(expected), "{}", errors[0]);
    }
    let same = resolve_undeclared(&values(&[("Size", "1"), ("size", "2")])).unwrap_err();
    assert_eq!(same[0].to_string(), "params.size: differs from \"Size\" by case only, and both would be PARAM_SIZE");
}

#[test]
fn declarations_are_checked_where_the_schema_cannot() {
    let table = [
        (json!([{ "name": "a", "pattern": "[a-z]{1,63}", "default": "abc", "enum": ["abc", "d"] }]), ""),
        (json!([{ "name": "a", "pattern": "(" }]), "params.a: the pattern \"(\" cannot be used: "),
        (json!([{ "name": "a", "pattern": "a)(b" }]), "params.a: the pattern \"a)(b\" cannot be used: "),
        (
            json!([{ "name": "a", "pattern": "((a{100}){100}){100}" }]),
            "params.a: the pattern \"((a{100}){100}){100}\" cannot be used: ",
        ),
        (
            json!([{ "name": "a", "pattern": "[a-z]+", "default": "1" }]),
            "params.a: default must match the pattern \"[a-z]+\", got \"1\"",
        ),
        (
            json!([{ "name": "a", "pattern": "[a-z]+", "enum": ["a", "1"] }]),
            "params.a: enum must match the pattern \"[a-z]+\", got \"1\"",
        ),
        (
            json!([{ "name": "a", "type": "integer", "pattern": "1" }]),
            "params.a: pattern applies to parameters of type string only",
        ),
        (
            json!([{ "name": "a", "type": "integer", "minimum": 2, "maximum": 1 }]),
            "params.a: minimum 2 is greater than maximum 1",
        ),
        (
            json!([{ "name": "a", "type": "integer", "minimum": 2, "default": "1" }]),
            "params.a: default must be at least 2, got \"1\"",
        ),
        (json!([{ "name": "a" }, { "name": "A" }]), "params.A: is declared twice, or differs from \"a\" by case only"),
        (json!([{ "name": "a b" }]), "params.a b: the name must be"),
    ];
    for (declared, expected) in table {
        let declared: Vec<Param> = serde_json::from_value(declared).unwrap();
        let errors = check_declarations(&declared);
        let text = errors.first().map(ToString::to_string).unwrap_or_default();
        assert!(text.starts_with(expected) && text.is_empty() == expected.is_empty(), "{text}");
    }
}

/// A pattern is a program that a user writes: what it costs is counted, and the most that a template may ask for is a stated
/// number, however many parameters, enums and values it is spread over.
#[test]
fn whatever_a_template_asks_for_costs_no_more_than_the_budget() {
    let hostile = [
        json!({ "pattern": "(?:a*){900}", "default": "a".repeat(VALUE_CHARACTERS_MAX) }),
        json!({ "pattern": "(.*.*.*=.*){20}", "default": "x".repeat(VALUE_CHARACTERS_MAX) }),
        json!({ "pattern": "(a|a|a|a|b){1,300}", "default": "a".repeat(300) }),
        json!({ "pattern": "[a-y]{0,1000}", "enum": vec!["z".repeat(256); 64] }),
        json!({ "pattern": "((a{100}){100}){100}", "default": "a" }),
        json!({ "pattern": "[a-z]*", "default": "☃".repeat(VALUE_CHARACTERS_MAX) }),
    ];
    for declaration in hostile {
        let declared: Vec<Param> = (0..64)
            .map(|number| {
                let mut declaration = declaration.clone();
                declaration["name"] = json!(format!("p{number}"));
                param(declaration)
            })
            .collect();
        let mut budget = Budget::default();
        assert!(!check_declarations_within(&mut budget, &declared).is_empty(), "{}", declaration["pattern"]);
        assert!(budget.spent().0 <= patterns::COMPILED_BYTES_MAX_TOGETHER, "{:?}", budget.spent());
        assert!(budget.spent().1 <= patterns::MATCH_COST_MAX, "{:?}", budget.spent());
        let mut budget = Budget::default();
        let long: ParamValues =
            declared.iter().map(|param| (param.name.clone(), "a".repeat(VALUE_CHARACTERS_MAX))).collect();
        let _ = resolve_within(&mut budget, &declared, &[&long]);
        assert!(budget.spent().1 <= patterns::MATCH_COST_MAX, "{:?}", budget.spent());
    }
    let slow = verdict(json!({ "name": "a", "pattern": "(?:a*){900}" }), &"a".repeat(VALUE_CHARACTERS_MAX));
    let expected = "params.a: is too long for its pattern: 8193 characters times 65536 bytes of the compiled pattern are \
                    536936448, 67108864 are left of the 67108864 of all parameters";
    assert_eq!(slow, expected);
}

#[test]
fn what_people_write_stays_far_below_the_budget() {
    let usual = ["[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", r"\d{4}-\d{2}-\d{2}", "[A-Za-z0-9+/]*={0,2}", "https?://[^ ]+"];
    let declared: Vec<Param> = usual
        .iter()
        .cycle()
        .take(64)
        .enumerate()
        .map(|(number, pattern)| param(json!({ "name": format!("p{number}"), "pattern": pattern })))
        .collect();
    let good = ["eu-central-1", "2026-03-01", "aGVsbG8=", "https://example.com/a?b=c"];
    let given = declared.iter().zip(good.iter().cycle());
    let given: ParamValues = given.map(|(param, value)| (param.name.clone(), (*value).to_owned())).collect();
    let mut budget = Budget::default();
    assert_eq!(resolve_within(&mut budget, &declared, &[&given]), Ok(given));
    assert!(budget.spent().0 < patterns::COMPILED_BYTES_MAX_TOGETHER / 2, "{:?}", budget.spent());
    assert!(budget.spent().1 < patterns::MATCH_COST_MAX / 4, "{:?}", budget.spent());
    assert_eq!(verdict(json!({ "name": "a", "pattern": usual[2] }), &"A".repeat(VALUE_CHARACTERS_MAX)), "");
}

/// Names are compared for a hint with those that are declared, which takes time in proportion to both lengths.
#[test]
fn a_name_of_a_megabyte_is_compared_with_nothing() {
    let declared: Vec<Param> =
        (0..64).map(|number| param(json!({ "name": format!("p{number}{}", "n".repeat(50)) }))).collect();
    let long = format!("{}\u{1b}[31m", "n".repeat(1_000_000));
    let errors = resolve(&declared, &[&values(&[(&long, "v")])]).unwrap_err();
    let text = errors[0].to_string();
    assert!(text.contains("is not a parameter of the template, which takes p0"), "{text}");
    let coloured = resolve(&[], &[&values(&[("\u{1b}[31mred", "v")])]).unwrap_err();
    assert_eq!(coloured[0].to_string(), "params.\\u{1b}[31mred: is not a parameter of the template, which takes none");
}

#[test]
fn containers_see_values_as_variables_and_as_typed_json() {
    let declared = [
        param(json!({ "name": "count", "type": "integer" })),
        param(json!({ "name": "ratio", "type": "number" })),
        param(json!({ "name": "whole", "type": "number" })),
        param(json!({ "name": "dryRun", "type": "boolean" })),
        param(json!({ "name": "text" })),
        param(json!({ "name": "broken", "type": "integer" })),
    ];
    let given = values(&[
        ("count", "+007"),
        ("ratio", "2.50"),
        ("whole", "3"),
        ("dryRun", "true"),
        ("text", "1"),
        ("broken", "x"),
        ("other", "2"),
    ]);
    assert_eq!(
        json(&declared, &given).to_string(),
        r#"{"broken":"x","count":7,"dryRun":true,"other":"2","ratio":2.5,"text":"1","whole":3}"#
    );
    let expected = [("PARAM_DRYRUN", "true"), ("PARAM_TEXT", "1")].map(|(name, value)| (name.into(), value.into()));
    assert_eq!(environment(&values(&[("text", "1"), ("dryRun", "true")])), expected);
}

#[test]
fn the_edit_distance_counts_changes() {
    for (one, other, expected) in
        [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2), ("ä", "a", 1)]
    {
        assert_eq!(edit_distance(one, other), expected, "{one} {other}");
    }
}

proptest! {
    #[test]
    fn nothing_that_is_written_makes_it_panic(
        name in ".{0,10}", value in ".{0,30}", pattern in ".{0,20}", bound: f64, kind in 0..4usize,
    ) {
        let type_ = [ParamType::String, ParamType::Integer, ParamType::Number, ParamType::Boolean][kind];
        let declared = [Param {
            name: name.clone(), type_: Some(type_), pattern: Some(pattern), minimum: Some(bound), maximum: Some(-bound),
            ..Param::default()
        }];
        let given = values(&[(&name, &value)]);
        let _ = resolve(&declared, &[&given]);
        let _ = resolve_undeclared(&given);
        let _ = check_declarations(&declared);
        let _ = json(&declared, &given);
    }

    #[test]
    fn numbers_that_fit_reach_containers_as_the_same_numbers(number in -999_999_999_999_999_999i64..=999_999_999_999_999_999) {
        let declared = [param(json!({ "name": "n", "type": "integer" }))];
        let given = values(&[("n", &number.to_string())]);
        prop_assert_eq!(resolve(&declared, &[&given]).unwrap(), given.clone());
        prop_assert_eq!(json(&declared, &given), json!({ "n": number }));
    }
}
