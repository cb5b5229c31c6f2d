//! The plugin may do what its caller may, and no more.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{create, get, rota, template, waiting};
use crate::cluster::{Scope, in_namespace};

/// How long the API server may take to know of a role.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);
/// Somebody who may only look.
const READER: &str = "reader@example.com";

/// Lets the reader look at Rota's objects.
fn allow_to_read(scope: &Scope) {
    let role = [
        "create",
        "role",
        "reader",
        "--verb=get,list,watch",
        "--resource=jobs.rota.dev,jobgroups.rota.dev,jobruns.rota.dev,queues.rota.dev,schedules.rota.dev,jobtemplates.rota.dev",
    ];
    scope.kubectl(&role).expect_success();
    scope.kubectl(&["create", "rolebinding", "reader", "--role=reader", &format!("--user={READER}")]).expect_success();
    let deadline = Instant::now() + KNOWN_WITHIN;
    while !scope.kubectl(&["auth", "can-i", "list", "queues.rota.dev", "--as", READER]).succeeded {
        assert!(Instant::now() < deadline, "the API server does not know the role after {KNOWN_WITHIN:?}");
    }
}

#[tokio::test]
async fn who_may_only_read_sees_everything_and_is_refused_by_the_api_server_when_writing() {
    in_namespace(|scope| async move {
        template(&scope);
        create(&scope, "Queue", "reports", json!({ "maxRunning": 1 }));
        waiting(&scope, "a", json!({}), 1).await;
        waiting(&scope, "b", json!({}), 2).await;
        let before = get(&scope, "rjob", "b");
        allow_to_read(&scope);
        let as_reader = |verb: &str, arguments: &[&str]| rota(&scope, verb, &[arguments, &["--as", READER]].concat());
        for (verb, arguments) in [("queue", &["reports"][..]), ("queue", &[]), ("why", &["b"]), ("tree", &["job/b"])] {
            let printed = as_reader(verb, arguments);
            assert!(printed.succeeded, "{verb}: {}", printed.errors);
            // Who may not read Leases is told nothing about who leads.
            assert!(!printed.errors.contains("operator"), "{verb}: {}", printed.errors);
        }
        for (verb, arguments) in [
            ("run", &["report", "-p", "region=eu-1"][..]),
            ("move", &["b", "--first"]),
            ("cancel", &["b"]),
            ("pause", &["reports", "--reason", "x"]),
            ("pause", &["--whole-namespace", "--reason", "x"]),
        ] {
            let printed = as_reader(verb, arguments);
            assert_eq!(printed.code, Some(1), "{verb}: {}{}", printed.output, printed.errors);
            assert!(printed.errors.contains(READER) && printed.errors.contains("cannot"), "{verb}: {}", printed.errors);
        }
        assert_eq!(get(&scope, "rjob", "b"), before);
    })
    .await;
}

#[tokio::test]
async fn who_may_nothing_is_told_so() {
    in_namespace(|scope| async move {
        for (verb, arguments) in [("queue", &[][..]), ("why", &["b"]), ("tree", &["job/b"]), ("cancel", &["job/b"])] {
            let printed = rota(&scope, verb, &[arguments, &["--as", "stranger@example.com"]].concat());
            assert_eq!(printed.code, Some(1), "{verb}");
            assert!(
                printed.errors.contains("stranger@example.com") && printed.errors.contains("can-i"),
                "{}",
                printed.errors
            );
        }
    })
    .await;
}
