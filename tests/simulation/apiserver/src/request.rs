//! Requests: what a method and a URL ask for.

use std::collections::BTreeMap;

use crate::failure::Failure;

/// A request as it arrives.
#[derive(Clone, Debug)]
pub struct Request {
    /// The HTTP method.
    pub method: http::Method,
    /// The path with the query.
    pub uri: String,
    /// The content type of the body.
    pub content_type: String,
    /// The client's own name, which is the field manager of writes that name none.
    pub user_agent: String,
    /// The body.
    pub body: Vec<u8>,
}

/// What a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The API group; empty: the core group.
    pub group: String,
    /// The version of the group.
    pub version: String,
    /// The namespace; absent: all of them, or none for what has no namespace.
    pub namespace: Option<String>,
    /// The plural name of the resource.
    pub plural: String,
    /// The name of the object; absent: the collection.
    pub name: Option<String>,
    /// The subresource, such as `status`.
    pub subresource: Option<String>,
}

/// The query of a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// The value of a parameter that is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a parameter says yes.
    pub fn is(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1"))
    }

    /// A parameter as a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }
}

/// Reads a URL.
pub fn parse(uri: &str) -> Result<(Target, Query), Failure> {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let query =
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(name, value)| (decode(name), decode(value)));
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let target = match parts.as_slice() {
        ["api", version, rest @ ..] => target("", version, rest),
        ["apis", group, version, rest @ ..] => target(group, version, rest),
        _ => None,
    };
    Ok((target.ok_or_else(Failure::no_such_resource)?, Query(query.collect())))
}

fn target(group: &str, version: &str, rest: &[&str]) -> Option<Target> {
    let (namespace, rest) = match rest {
        // The namespace itself, or one of its own subresources.
        ["namespaces"] | ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, rest @ ..] => (Some(*namespace), rest),
        rest => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(*name), None),
        [plural, name, subresource] => (plural, Some(*name), Some(*subresource)),
        _ => return None,
    };
    Some(Target {
        group: group.into(),
        version: version.into(),
        namespace: namespace.map(Into::into),
        plural: (*plural).into(),
        name: name.map(decode),
        subresource: subresource.map(Into::into),
    })
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => break,
            [b'+', rest @ ..] => {
                bytes.push(b' ');
                rest
            }
            [b'%', high, low, rest @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                bytes.push(digit(high).unwrap_or_default() * 16 + digit(low).unwrap_or_default());
                rest
            }
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn urls_are_read_as_the_api_server_reads_them() {
        let read = |uri: &str| {
            let (it, _) = parse(uri).unwrap();
            format!("{}|{}|{:?}|{}|{:?}|{:?}", it.group, it.version, it.namespace, it.plural, it.name, it.subresource)
        };
        assert_eq!(read("/api/v1/namespaces"), "|v1|None|namespaces|None|None");
        assert_eq!(read("/api/v1/namespaces/a"), "|v1|None|namespaces|Some(\"a\")|None");
        assert_eq!(read("/api/v1/namespaces/a/pods"), "|v1|Some(\"a\")|pods|None|None");
        let status = "/apis/batch/v1/namespaces/a/jobs/b/status?fieldManager=x";
        assert_eq!(read(status), "batch|v1|Some(\"a\")|jobs|Some(\"b\")|Some(\"status\")");
        assert_eq!(read("/apis/batch/v1/jobs"), "batch|v1|None|jobs|None|None");
        assert!(parse("/metrics").is_err());
        let (_, query) = parse("/api/v1/pods?labelSelector=a%3Db%2Cc+in+%28d%29&watch=true&limit=5&continue=").unwrap();
        assert_eq!(query.get("labelSelector"), Some("a=b,c in (d)"));
        assert_eq!((query.is("watch"), query.number("limit"), query.get("continue")), (true, Some(5), None));
    }
}
