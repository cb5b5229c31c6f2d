//! Selectors: which objects a listing or a watch is about, by labels and by fields.

use serde_json::Value;

use crate::failure::Failure;

/// What a request selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Requirement>,
    /// Field path, value, and whether it is to be equal.
    fields: Vec<(String, String, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selector {
    /// Reads the two parameters of a request. `selectable` says which fields of the resource can be selected by.
    pub fn parse(labels: Option<&str>, fields: Option<&str>, selectable: &[String]) -> Result<Self, Failure> {
        let labels =
            split(labels.unwrap_or_default()).iter().map(|text| requirement(text)).collect::<Result<_, _>>()?;
        let mut by_fields = Vec::new();
        for text in fields.unwrap_or_default().split(',').filter(|text| !text.is_empty()) {
            let (field, value, is_equal) = match text.split_once("!=") {
                Some((field, value)) => (field, value, false),
                None => {
                    let (field, value) = text
                        .split_once("==")
                        .or_else(|| text.split_once('='))
                        .ok_or_else(|| Failure::bad_request(format!("invalid field selector: {text:?}")))?;
                    (field, value, true)
                }
            };
            let known =
                matches!(field, "metadata.name" | "metadata.namespace") || selectable.iter().any(|it| it == field);
            if !known {
                return Err(Failure::bad_request(format!("field label not supported: {field}")));
            }
            by_fields.push((field.to_owned(), value.to_owned(), is_equal));
        }
        Ok(Self { labels, fields: by_fields })
    }

    /// Whether an object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        self.labels.iter().all(|it| it.matches(labels.and_then(|labels| labels.get(&it.key)).and_then(Value::as_str)))
            && self.fields.iter().all(|(field, value, is_equal)| (field_of(object, field) == *value) == *is_equal)
    }
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let among = |values: &[String]| value.is_some_and(|value| values.iter().any(|it| it == value));
        match &self.operator {
            Operator::Exists => value.is_some(),
            Operator::Missing => value.is_none(),
            Operator::In(values) => among(values),
            Operator::NotIn(values) => !among(values),
        }
    }
}

/// The text of a field; a field that is missing has none.
fn field_of(object: &Value, field: &str) -> String {
    match object.pointer(&format!("/{}", field.replace('.', "/"))) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Splits at commas that are not within parentheses.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn requirement(text: &str) -> Result<Requirement, Failure> {
    let list = |values: &str| -> Vec<String> {
        values
            .trim()
            .trim_start_matches('(')
            .trim_end_matches(')')
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect()
    };
    let one = |key: &str, operator| Requirement { key: key.trim().to_owned(), operator };
    let found = if let Some((key, values)) = text.split_once(" notin ") {
        one(key, Operator::NotIn(list(values)))
    } else if let Some((key, values)) = text.split_once(" in ") {
        one(key, Operator::In(list(values)))
    } else if let Some((key, value)) = text.split_once("!=") {
        one(key, Operator::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        one(key, Operator::In(vec![value.trim().to_owned()]))
    } else if let Some(key) = text.strip_prefix('!') {
        one(key, Operator::Missing)
    } else {
        one(text, Operator::Exists)
    };
    if found.key.is_empty() || found.key.contains(char::is_whitespace) {
        return Err(Failure::bad_request(format!("unable to parse requirement: {text:?}")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_fields_select() {
        let object =
            json!({ "metadata": { "name": "x", "labels": { "a": "1", "b": "2" } }, "status": { "phase": "Queued" } });
        let by = |labels: &str, fields: &str| {
            Selector::parse(Some(labels), Some(fields), &["status.phase".to_owned()]).unwrap().matches(&object)
        };
        assert!(by("a=1,b==2", "") && by("a in (1, 3),b notin (3)", "") && by("a,!c,c!=1", "metadata.name=x"));
        assert!(!by("a=2", "") && !by("c", "") && !by("!a", "") && !by("a notin (1)", ""));
        assert!(by("", "status.phase=Queued,metadata.name!=y") && !by("", "status.phase!=Queued"));
        assert!(Selector::parse(None, Some("spec.x=1"), &[]).is_err());
    }
}
