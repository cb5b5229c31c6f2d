//! Requests as a simple client makes them, and accounts with some rights and a token.

use serde_json::{Value, json};

use crate::cluster::Scope;
use crate::operator::exchange;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    head: String,
    pub body: Value,
}

impl Answer {
    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        pairs.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Asks with these headers, each with its end of line.
pub async fn ask(port: u16, method: &str, path: &str, headers: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: rota\r\nConnection: close\r\n{headers}\r\n");
    let text = exchange(port, request).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    let answer =
        Answer { code, head: head.to_owned(), body: serde_json::from_str(body).unwrap_or_else(|_| panic!("{text}")) };
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer
}

/// Asks with a token.
pub async fn get(port: u16, path: &str, token: &str) -> Answer {
    ask(port, "GET", path, &format!("Authorization: Bearer {token}\r\n")).await
}

/// A token of a new account that may do so: verbs, kinds in the plural with their groups, and the name of the one object or
/// nothing.
pub fn token(scope: &Scope, account: &str, may: &[(&str, &str, &str)]) -> String {
    scope.kubectl(&["create", "serviceaccount", account]).expect_success();
    let rules: Vec<Value> = may
        .iter()
        .map(|(verbs, kinds, name)| {
            let plurals: Vec<&str> = kinds.split(',').map(|kind| kind.split('.').next().unwrap()).collect();
            let verbs: Vec<&str> = verbs.split(',').collect();
            let mut rule = json!({ "apiGroups": ["rota.dev"], "resources": plurals, "verbs": verbs });
            if !name.is_empty() {
                rule["resourceNames"] = json!([name]);
            }
            rule
        })
        .collect();
    let group = "rbac.authorization.k8s.io";
    let role =
        json!({ "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": { "name": account }, "rules": rules });
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": { "name": account },
        "roleRef": { "apiGroup": group, "kind": "Role", "name": account },
        "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": scope.namespace }],
    });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [role, binding] });
    scope.kubectl_with(&["apply", "-f", "-"], &list.to_string()).expect_success();
    scope.kubectl(&["create", "token", account]).expect_success().trim().to_owned()
}
