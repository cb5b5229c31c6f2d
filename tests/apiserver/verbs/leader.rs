//! What `queue` and `why` remark where no operator leads. They look at the Leases of all namespaces; those of other tests are kept out
//! of sight.

use rota::runtime::lease::LEASE_NAME;
use serde_json::{Value, json};

use super::proxy::Proxy;
use super::{create, running, template, waiting};
use crate::cluster::{Scope, in_namespace};

const REMARK: &str = "No operator leads";

/// A Job that waits, one that runs, one that has ended, and a schedule.
async fn objects(scope: &Scope) {
    template(scope);
    create(scope, "Queue", "reports", json!({ "maxRunning": 1 }));
    create(scope, "Schedule", "often", json!({ "templateRef": { "name": "report" }, "interval": "1h" }));
    running(scope, "busy").await;
    waiting(scope, "waits", json!({}), 1).await;
    waiting(scope, "ended", json!({}), 2).await;
    let ended = json!({ "phase": "Finished", "outcome": "Completed", "reason": "Succeeded" });
    scope.set_status("Job", "ended", &ended).await;
}

/// Writes the Lease in the namespace, as an operator that renewed it at that time and holds it for that long.
fn lease(scope: &Scope, renewed: &str, seconds: u32) {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": LEASE_NAME },
        "spec": { "holderIdentity": "somebody", "renewTime": renewed, "leaseDurationSeconds": seconds },
    });
    scope.kubectl_with(&["apply", "-f", "-"], &lease.to_string()).expect_success();
}

/// Asks each verb about what is still to run; the answers, and whether each of them remarked that nobody leads.
async fn asked(scope: &Scope, proxy: &Proxy, remarked: bool) -> Vec<String> {
    let mut answers = Vec::new();
    for (verb, arguments) in [
        ("queue", &[][..]),
        ("queue", &["reports"]),
        ("queue", &["reports", "-o", "json"]),
        ("why", &["waits"]),
        ("why", &["busy"]),
        ("why", &["waits", "-o", "json"]),
        ("why", &["schedule/often"]),
    ] {
        let (printed, _) = proxy.rota(scope, verb, arguments).await;
        assert!(printed.succeeded, "{verb} {arguments:?}: {}", printed.errors);
        assert_eq!(printed.errors.contains(REMARK), remarked, "{verb} {arguments:?}: {:?}", printed.errors);
        assert!(!printed.output.contains(REMARK), "{verb} {arguments:?}: {}", printed.output);
        if arguments.contains(&"json") {
            serde_json::from_str::<Value>(&printed.output).unwrap();
        }
        answers.push(printed.output);
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_no_operator_leads_is_remarked_beside_what_is_still_to_run() {
    in_namespace(|scope| async move {
        objects(&scope).await;
        let proxy = Proxy::with_leases_of(&scope).await;
        asked(&scope, &proxy, true).await;
        let (printed, requests) = proxy.rota(&scope, "why", &["ended"]).await;
        assert!(printed.succeeded && printed.errors.is_empty(), "{}", printed.errors);
        assert!(!requests.iter().any(|request| request.contains("leases")), "{requests:?}");
        lease(&scope, "2026-03-01T12:00:00.000000Z", 15);
        asked(&scope, &proxy, true).await;
        lease(&scope, "2026-03-01T12:00:00.000000Z", i32::MAX as u32);
        asked(&scope, &proxy, false).await;
    })
    .await;
}
