//! `kubectl rota move`.

use serde_json::{Value, json};

use super::proxy::Proxy;
use super::{create, get, order, rota, running, template, waiting};
use crate::cluster::{Scope, in_namespace};

/// Three of the same priority, and one that goes before them all.
async fn line(scope: &Scope) {
    template(scope);
    create(scope, "Queue", "reports", json!({ "maxRunning": 1 }));
    for (second, name) in ["a", "b", "c"].into_iter().enumerate() {
        waiting(scope, name, json!({}), u32::try_from(second).unwrap()).await;
    }
    waiting(scope, "urgent", json!({ "priority": 5 }), 9).await;
}

fn version(scope: &Scope, resource: &str, name: &str) -> Value {
    get(scope, resource, name)["metadata"]["resourceVersion"].clone()
}

#[tokio::test]
async fn a_job_goes_where_it_is_told_and_only_it_is_written() {
    in_namespace(|scope| async move {
        line(&scope).await;
        let untouched = version(&scope, "rjob", "a");
        assert_eq!(order(&scope), ["urgent", "a", "b", "c"]);
        for (arguments, expected) in [
            (&["c", "--before", "b"][..], ["urgent", "a", "c", "b"]),
            (&["c", "--after", "b"], ["urgent", "a", "b", "c"]),
            (&["c", "--to", "2"], ["urgent", "c", "a", "b"]),
            (&["b", "--first"], ["b", "urgent", "c", "a"]),
            (&["b", "--last"], ["urgent", "c", "a", "b"]),
            (&["urgent", "--to", "3"], ["c", "a", "urgent", "b"]),
            (&["job/urgent", "--before", "job/c"], ["urgent", "c", "a", "b"]),
        ] {
            let printed = rota(&scope, "move", arguments).expect_success();
            assert!(printed.contains("moved to place"), "{printed}");
            assert_eq!(order(&scope), expected, "{arguments:?}");
        }
        assert_eq!(version(&scope, "rjob", "a"), untouched, "those that were passed are not written");
        assert_eq!(get(&scope, "rjob", "urgent")["spec"]["priority"], 0, "only as far as it had to");
    })
    .await;
}

#[tokio::test]
async fn a_job_that_is_there_already_and_a_dry_run_write_nothing() {
    in_namespace(|scope| async move {
        line(&scope).await;
        let before = version(&scope, "rjob", "c");
        let printed = rota(&scope, "move", &["c", "--last"]).expect_success();
        assert!(printed.contains("at place 4 of queue reports already"), "{printed}");
        let printed = rota(&scope, "move", &["c", "--first", "--dry-run=server"]).expect_success();
        assert!(printed.contains("place 1 of queue reports") && printed.contains("(server dry run)"), "{printed}");
        assert_eq!(version(&scope, "rjob", "c"), before);
    })
    .await;
}

#[tokio::test]
async fn one_that_runs_is_too_late_and_one_that_is_not_there_is_told() {
    in_namespace(|scope| async move {
        line(&scope).await;
        running(&scope, "busy").await;
        let printed = rota(&scope, "move", &["busy", "--first"]);
        assert_eq!(printed.code, Some(3));
        assert!(printed.errors.contains("job busy does not wait in a queue: it is Running"), "{}", printed.errors);
        let printed = rota(&scope, "move", &["nowhere", "--first"]);
        assert_eq!(printed.code, Some(1));
        assert!(printed.errors.contains("there is no job or group \"nowhere\""), "{}", printed.errors);
        let printed = rota(&scope, "move", &["a", "--before", "busy"]);
        assert_eq!(printed.code, Some(1));
        assert!(printed.errors.contains("no other job \"busy\" has a place in queue reports"), "{}", printed.errors);
        assert_eq!(rota(&scope, "move", &["a"]).code, Some(2));
        assert_eq!(rota(&scope, "move", &["a", "--first", "--last"]).code, Some(2));
        assert_eq!(rota(&scope, "move", &["schedule/a", "--first"]).code, Some(2));
    })
    .await;
}

#[tokio::test]
async fn where_there_is_no_room_nothing_is_written() {
    in_namespace(|scope| async move {
        line(&scope).await;
        for (name, position) in [("a", "1.000000000000000001"), ("b", "1.000000000000000002")] {
            let patch = json!({ "spec": { "position": position } }).to_string();
            scope.kubectl(&["patch", "rjob", name, "--type=merge", "-p", &patch]).expect_success();
        }
        // Queued after the first one, it may share its position.
        rota(&scope, "move", &["c", "--after", "a"]).expect_success();
        assert_eq!(order(&scope), ["urgent", "a", "c", "b"]);
        // Queued after both of these, another one cannot be put between them.
        let before = version(&scope, "rjob", "urgent");
        let printed = rota(&scope, "move", &["urgent", "--to", "2"]);
        assert_eq!(printed.code, Some(1), "{}", printed.output);
        assert!(printed.errors.contains("no room for job urgent between a and c"), "{}", printed.errors);
        assert_eq!(version(&scope, "rjob", "urgent"), before);
    })
    .await;
}

/// A group of that mode with members a, b, c and d in spec, whose Jobs wait.
async fn group(scope: &Scope, mode: &str) {
    let member =
        |name: &str| json!({ "name": name, "templateRef": { "name": "report" }, "params": { "region": "eu-1" } });
    let members = ["a", "b", "c"].map(member);
    create(scope, "JobGroup", "batch", json!({ "mode": mode, "jobs": members }));
    let uid = get(scope, "rgroup", "batch")["metadata"]["uid"].clone();
    for (second, name) in ["a", "b", "c"].into_iter().enumerate() {
        let reference = json!({ "groupRef": { "name": "batch", "uid": uid, "member": name } });
        waiting(scope, &format!("batch-{name}"), reference, u32::try_from(second + 20).unwrap()).await;
    }
    let status = json!({ "phase": "Queued", "queuedAt": "2026-03-01T12:00:20.000000Z", "members": [] });
    scope.set_status("JobGroup", "batch", &status).await;
}

#[tokio::test]
async fn a_group_moves_with_all_its_members_by_one_write() {
    in_namespace(|scope| async move {
        line(&scope).await;
        group(&scope, "Parallel").await;
        assert_eq!(order(&scope), ["urgent", "a", "b", "c", "batch-a", "batch-b", "batch-c"]);
        let untouched = version(&scope, "rjob", "batch-b");
        rota(&scope, "move", &["group/batch", "--after", "a"]).expect_success();
        assert_eq!(order(&scope), ["urgent", "a", "batch-a", "batch-b", "batch-c", "b", "c"]);
        rota(&scope, "move", &["batch", "--last"]).expect_success();
        assert_eq!(order(&scope), ["urgent", "a", "b", "c", "batch-a", "batch-b", "batch-c"]);
        assert_eq!(version(&scope, "rjob", "batch-b"), untouched);
    })
    .await;
}

#[tokio::test]
async fn a_member_of_a_sequential_group_moves_within_it() {
    in_namespace(|scope| async move {
        template(&scope);
        create(&scope, "Queue", "reports", json!({ "maxRunning": 1 }));
        group(&scope, "Sequential").await;
        let members = || {
            let group = get(&scope, "rgroup", "batch");
            let jobs = group["spec"]["jobs"].as_array().unwrap().clone();
            jobs.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect::<String>()
        };
        rota(&scope, "move", &["batch-c", "--first"]).expect_success();
        assert_eq!(members(), "cab");
        rota(&scope, "move", &["batch-c", "--after", "batch-a"]).expect_success();
        assert_eq!(members(), "acb");
        let printed = rota(&scope, "move", &["batch-c", "--to", "2"]).expect_success();
        assert!(printed.contains("is there already"), "{printed}");
    })
    .await;
}

#[tokio::test]
async fn a_name_that_a_job_and_a_group_have_is_refused_with_both() {
    in_namespace(|scope| async move {
        line(&scope).await;
        create(&scope, "JobGroup", "a", json!({ "mode": "Parallel", "started": false }));
        let printed = rota(&scope, "move", &["a", "--last"]);
        assert_eq!(printed.code, Some(2));
        assert!(printed.errors.contains("write job/a or group/a"), "{}", printed.errors);
    })
    .await;
}

/// The path of a Job for the API server.
fn path(scope: &Scope, name: &str) -> String {
    format!("/apis/rota.dev/v1alpha1/namespaces/{}/jobs/{name}", scope.namespace)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_was_overtaken_by_another_write_is_computed_anew() {
    in_namespace(|scope| async move {
        line(&scope).await;
        let faster = json!({ "spec": { "position": 1 } });
        let proxy = Proxy::start(scope.client.clone(), Some((path(&scope, "c"), faster))).await;
        let (printed, requests) = proxy.rota(&scope, "move", &["job/c", "--before", "b"]).await;
        printed.expect_success();
        assert_eq!(requests.iter().filter(|it| it.starts_with("PATCH ")).count(), 2, "{requests:#?}");
        assert_eq!(order(&scope), ["urgent", "a", "c", "b"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_launched_while_it_is_moved_stays_where_it_is() {
    in_namespace(|scope| async move {
        line(&scope).await;
        let launched = json!({ "status": { "phase": "Dispatched", "waitingFor": null } });
        let proxy = Proxy::start(scope.client.clone(), Some((format!("{}/status", path(&scope, "c")), launched))).await;
        let (printed, _) = proxy.rota(&scope, "move", &["job/c", "--first"]).await;
        assert_eq!(printed.code, Some(3), "{}", printed.errors);
        assert!(printed.errors.contains("it is Dispatched"), "{}", printed.errors);
        assert!(get(&scope, "rjob", "c")["spec"].get("position").is_none());
    })
    .await;
}
