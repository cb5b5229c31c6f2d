//! `kubectl rota version`, and what is completed.

use serde_json::json;

use super::{create, document, rota};
use crate::cluster::in_namespace;
use crate::operator::{Operator, Rights};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_version_of_the_operator_that_leads_is_shown() {
    in_namespace(|scope| async move {
        let own = env!("CARGO_PKG_VERSION");
        assert_eq!(rota(&scope, "version", &["--client"]).expect_success(), format!("kubectl rota {own}\n"));
        let printed = rota(&scope, "version", &[]);
        assert_eq!(
            (printed.succeeded, printed.output.contains("no operator leads")),
            (false, true),
            "{}",
            printed.output
        );
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "only");
        operator.leads().await;
        let leader = json!({ "namespace": scope.namespace, "identity": "only", "version": own });
        assert_eq!(document(&scope, "version", &[]), json!({ "client": own, "operators": [leader] }));
        drop(operator);
        rights.remove(&scope);
    })
    .await;
}

#[tokio::test]
async fn names_of_the_cluster_are_completed() {
    in_namespace(|scope| async move {
        create(&scope, "Schedule", "often", json!({ "templateRef": { "name": "report" }, "interval": "1m" }));
        create(&scope, "Queue", "reports", json!({}));
        super::template(&scope);
        // As kubectl asks: the place is typed before what is completed.
        let offered = |words: &[&str]| {
            let line = [&["-n", scope.namespace.as_str()], words].concat();
            let printed = crate::cluster::plugin("__complete", &line, "").expect_success();
            printed.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(offered(&["run", "rep"]), ["report", ":4"]);
        assert_eq!(offered(&["run", "schedule/"]), ["schedule/often", ":4"]);
        assert_eq!(offered(&["queue", ""]).first().map(String::as_str), Some("reports"));
        assert_eq!(offered(&["next", "of"]), ["often", ":4"]);
        assert_eq!(offered(&["why", "nothing-of-that-name"]), [":4"]);
    })
    .await;
}
