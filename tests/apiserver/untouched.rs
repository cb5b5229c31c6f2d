//! Objects that no operator has looked at: tools that wait for objects must not take them for done.

use serde_json::{Value, json};

use crate::cluster::{Scope, create, in_namespace};
use crate::examples::pod_template;
use crate::operator::{Operator, Rights, until};

/// Each kind whose status the operator writes, with a name and a specification.
fn kinds() -> [(&'static str, &'static str, Value); 5] {
    let of = json!({ "name": "report" });
    [
        ("JobTemplate", "report", json!({ "jobType": "x", "jobTemplate": pod_template() })),
        ("Schedule", "daily", json!({ "templateRef": of, "interval": "24h" })),
        ("Queue", "slow", json!({ "maxRunning": 1 })),
        ("Job", "once", json!({ "templateRef": of, "hold": true })),
        ("JobGroup", "batch", json!({ "mode": "Parallel", "started": false })),
    ]
}

async fn observed(scope: &Scope, kind: &str, name: &str) -> (Value, Option<i64>) {
    let found = scope.objects(kind).get(name).await.unwrap();
    (found.data.get("status").cloned().unwrap_or_default(), found.metadata.generation)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_operator_has_looked_at_says_so_from_the_first_second() {
    in_namespace(|scope| async move {
        for (kind, name, spec) in kinds() {
            create(&scope, kind, name, spec).await;
            let (status, generation) = observed(&scope, kind, name).await;
            assert_eq!((status["observedGeneration"].as_i64(), generation), (Some(-1), Some(1)), "{kind}");
            assert!(status.get("phase").is_none() && status.get("conditions").is_none(), "{kind}: {status}");
        }
        let rights = Rights::of_the_chart(&scope, false);
        let operator = Operator::start(&scope, &rights, "one");
        operator.leads().await;
        for (kind, name, _) in kinds() {
            until("it was looked at", || async {
                let (status, generation) = observed(&scope, kind, name).await;
                (status["observedGeneration"].as_i64() == generation).then_some(())
            })
            .await;
        }
        rights.remove(&scope);
    })
    .await;
}
