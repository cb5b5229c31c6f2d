//! Every limit of every schema: the first value past it is refused at its field, and the value on it is not.

use kube::core::Status;
use serde_json::{Value, json};

use crate::cluster::{Scope, in_namespace};
use crate::examples::{self, KINDS};
use crate::schema::{self, Node};

/// One limit: the values on either side of it, and how the API server speaks of it.
struct Limit {
    within: Option<Value>,
    beyond: Value,
    complaint: &'static str,
}

/// Keywords that set no limit of their own on a value.
const NO_LIMITS: [&str; 12] = [
    "description",
    "type",
    "format",
    "properties",
    "items",
    "additionalProperties",
    "nullable",
    "default",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
    // Tested rule by rule in `rules`.
    "x-kubernetes-validations",
    // Tested field by field below.
    "required",
];

/// What the limit of this keyword means for the value that an example has at the node.
fn limit(node: &Node, keyword: &str, example: &Value) -> Option<Limit> {
    let bound = &node.keywords[keyword];
    let number = || bound.as_f64().unwrap();
    let length = || bound.as_u64().unwrap() as usize;
    let text = |length: usize| json!("a".repeat(length));
    let made = |within, beyond, complaint| Some(Limit { within, beyond, complaint });
    match keyword {
        name if NO_LIMITS.contains(&name) => None,
        "minimum" => made(Some(whole(number())), whole(number() - 1.0), "should be greater than or equal to"),
        "maximum" => made(Some(whole(number())), whole(number() + 1.0), "should be less than or equal to"),
        "minLength" if length() == 0 => None,
        "minLength" => made(Some(text(length())), text(length() - 1), "should be at least"),
        "maxLength" => made(Some(text(length())), text(length() + 1), "Too long"),
        "pattern" => made(None, misfit(node), "should match"),
        "enum" => made(None, json!("Nonsense"), "Unsupported value"),
        // A number past 64 bits is neither of both.
        "x-kubernetes-int-or-string" => made(Some(json!(i64::MAX)), json!(u64::MAX), "must be of type integer,string"),
        "minItems" if length() == 0 => None,
        "minItems" => made(Some(items(example, length())), items(example, length() - 1), "should have at least"),
        "maxItems" => made(Some(items(example, length())), items(example, length() + 1), "Too many"),
        "maxProperties" => made(Some(entries(length())), entries(length() + 1), "Too many"),
        "x-kubernetes-list-type" if bound == "map" => made(None, twice_the_first(example), "Duplicate value"),
        "x-kubernetes-list-type" => None,
        other => panic!("{} has the limit {other}, which no test knows how to reach", node.path),
    }
}

/// A bound as JSON writes it: without a fraction where it has none.
fn whole(number: f64) -> Value {
    json!(number as i64)
}

/// A text which only the pattern of the node refuses.
fn misfit(node: &Node) -> Value {
    let is_time = node.keywords.get("format").is_some_and(|format| format == "date-time");
    json!(if is_time { "2027-01-01T06:00:00,5Z" } else { "!" })
}

/// As many items like the first one as wanted, told apart by their names.
fn items(example: &Value, count: usize) -> Value {
    let first = &example[0];
    let item = |position: usize| match first {
        Value::Object(_) if first.get("name").is_some() => {
            let mut item = first.clone();
            item["name"] = json!(format!("n{position}"));
            item
        }
        Value::Object(_) => first.clone(),
        _ => json!(format!("v{position}")),
    };
    Value::Array((0..count).map(item).collect())
}

fn twice_the_first(example: &Value) -> Value {
    json!([example[0], example[0]])
}

fn entries(count: usize) -> Value {
    Value::Object((0..count).map(|position| (format!("p{position}"), json!("v"))).collect())
}

/// Whether the API server refused this field, in these words.
fn refuses(answer: &Result<impl Sized, Status>, path: &str, complaint: &str) -> bool {
    let causes =
        answer.as_ref().err().and_then(|status| status.details.as_ref()).map(|details| details.causes.as_slice());
    causes
        .unwrap_or_default()
        .iter()
        .any(|cause| generalised(&cause.field) == path && cause.message.contains(complaint))
}

/// `spec.params[3].name` as `spec.params[].name`, to compare it with the path of a node.
fn generalised(field: &str) -> String {
    let mut path = String::new();
    let mut within_brackets = false;
    for character in field.chars() {
        within_brackets = (within_brackets || character == '[') && character != ']';
        if !within_brackets || character == '[' {
            path.push(character);
        }
    }
    path
}

/// The path of a node as the API server writes it for the example, in which each map has one entry, `region`.
fn reported(node: &Node) -> String {
    node.path.to_string().replace("{}", ".region")
}

/// Everything the examples of the kind could say about the limits of one node.
async fn check_node(scope: &Scope, kind: &str, node: &Node) {
    let whole = examples::all(kind).into_iter().find(|example| node.path.find(example).is_some());
    let whole = whole.unwrap_or_else(|| panic!("no example of {kind} sets {}", node.path));
    let value = node.path.find(&whole).cloned().unwrap_or_default();
    let with = |new: Value| {
        let mut changed = whole.clone();
        *node.path.find_mut(&mut changed).expect("the example sets it") = new;
        changed
    };
    for keyword in node.keywords.keys() {
        let Some(limit) = limit(node, keyword, &value) else { continue };
        let path = match limit.complaint {
            "Duplicate value" => format!("{}[]", reported(node)),
            _ => reported(node),
        };
        let answer = scope.try_create(kind, &with(limit.beyond)).await;
        assert!(refuses(&answer, &path, limit.complaint), "{kind} {path} {keyword}: {answer:?}");
        if let Some(within) = limit.within {
            let answer = scope.try_create(kind, &with(within)).await;
            assert!(!refuses(&answer, &path, limit.complaint), "{kind} {path} {keyword}: {answer:?}");
        }
    }
    for required in node.keywords.get("required").and_then(Value::as_array).into_iter().flatten() {
        let name = required.as_str().unwrap_or_default();
        let mut without = value.clone();
        without.as_object_mut().expect("an object").remove(name);
        let answer = scope.try_create(kind, &with(without)).await;
        let path = format!("{}.{name}", reported(node));
        assert!(refuses(&answer, &path, "Required value"), "{kind} without {path}: {answer:?}");
    }
}

#[tokio::test]
async fn the_first_value_past_each_limit_is_refused_at_its_field_and_the_limit_itself_is_not() {
    in_namespace(|scope| async move {
        for kind in KINDS {
            for node in schema::nodes(kind, &["spec"]) {
                check_node(&scope, kind, &node).await;
            }
        }
        for node in schema::nodes("JobRun", &["status"]) {
            check_node(&scope, "JobRun", &node).await;
        }
    })
    .await;
}
