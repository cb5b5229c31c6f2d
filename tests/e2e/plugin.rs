//! `kubectl rota` beside a running operator: what it is told happens to real pods.

use std::process::{Command, Stdio};

use kube::ResourceExt;
use rota::api::{Job, JobGroup, JobPhase, JobRun, JobTemplate, Outcome, Queue, Reason, Schedule};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::support::make::{FOR_EVER, ad_hoc, of, template, with};
use crate::support::{World, in_world, kubeconfig};

/// What a verb printed on standard output and standard error, and its exit code.
struct Printed {
    output: String,
    errors: String,
    code: Option<i32>,
}

fn command(world: &World, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-rota"));
    command.args(arguments).arg("--kubeconfig").arg(kubeconfig()).args(["--namespace", &world.namespace]);
    command.stdin(Stdio::null());
    command
}

/// Runs a verb to its end, while the test's own tasks go on.
async fn rota(world: &World, arguments: &[&str]) -> Printed {
    let mut command = command(world, arguments);
    let output = spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Printed { output: text(output.stdout), errors: text(output.stderr), code: output.status.code() }
}

/// A Job's place among those launched: when it was.
async fn dispatched_at(world: &World, name: &str) -> jiff::Timestamp {
    world.ended(name).await.status.unwrap().dispatched_at.unwrap().0
}

/// The log comes whole, in order, from every attempt, and the exit code is the Job's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_follows_the_log_of_each_attempt_and_ends_as_the_job_does() {
    in_world("plugin-run", async |world| {
        let script =
            "i=0; while [ $i -lt 300 ]; do echo $PARAM_WORD $i; i=$((i+1)); done; sleep 1; echo end; exit $PARAM_CODE";
        let params = json!([{ "name": "word" }, { "name": "code", "type": "integer", "default": "0" }]);
        world.create::<JobTemplate>("talks", with(template(script), json!({ "params": params }))).await;
        let expected: String = (0..300).map(|number| format!("hello {number}\n")).chain(["end\n".to_owned()]).collect();
        let printed = rota(world, &["run", "talks", "-p", "word=hello", "--follow"]).await;
        assert_eq!((printed.output.as_str(), printed.code), (expected.as_str(), Some(0)), "{}", printed.errors);
        assert!(printed.errors.contains("Completed (Succeeded)"), "{}", printed.errors);

        let retry = json!({ "maxAttempts": 2, "backoff": { "initialSeconds": 1 } });
        world.patch::<JobTemplate>("talks", json!({ "spec": { "retry": retry } })).await;
        let printed = rota(world, &["run", "talks", "-p", "word=hello", "-p", "code=3", "--follow"]).await;
        assert_eq!((printed.output, printed.code), (format!("{expected}{expected}"), Some(1)), "{}", printed.errors);
        assert!(
            printed.errors.contains("attempt 2:") && printed.errors.contains("Failed (ExitCode)"),
            "{}",
            printed.errors
        );
    })
    .await;
}

/// The order that the plugin shows is the one in which they run, before and after a move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moved_jobs_run_in_the_order_that_queue_shows() {
    in_world("plugin-move", async |world| {
        world.create::<Queue>("line", json!({ "maxRunning": 1 })).await;
        world.create::<JobTemplate>("quick", with(template("true"), json!({ "queue": "line" }))).await;
        let printed = rota(world, &["pause", "line", "--reason", "collecting"]).await;
        assert_eq!(printed.code, Some(0), "{}", printed.errors);
        for name in ["a", "b", "c", "d"] {
            world.create::<Job>(name, of("quick")).await;
            world.waiting(name).await;
        }
        for arguments in [&["move", "d", "--first"][..], &["move", "a", "--after", "b"], &["move", "c", "--to", "1"]] {
            let printed = rota(world, arguments).await;
            assert_eq!(printed.code, Some(0), "{arguments:?}: {}", printed.errors);
        }
        let shown = rota(world, &["queue", "line", "-o", "json"]).await;
        let shown: Value = serde_json::from_str(&shown.output).unwrap();
        let shown: Vec<&str> =
            shown["waitingJobs"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(shown, ["c", "d", "b", "a"]);
        let printed = rota(world, &["resume", "line"]).await;
        assert_eq!(printed.code, Some(0), "{}", printed.errors);
        let mut launched = Vec::new();
        for name in shown {
            launched.push((dispatched_at(world, name).await, name));
        }
        assert!(launched.is_sorted(), "not in the order that was shown: {launched:?}");
        let late = rota(world, &["move", "a", "--first"]).await;
        assert_eq!(late.code, Some(3), "{}", late.errors);
    })
    .await;
}

/// A cancel ends a running pod, is waited for, and its record says who asked and why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_ends_what_runs_and_waits_for_it() {
    in_world("plugin-cancel", async |world| {
        let job = world.create::<Job>("endless", ad_hoc(FOR_EVER)).await;
        world.running("endless").await;
        let printed = rota(world, &["cancel", "endless", "--reason", "wrong month", "--wait"]).await;
        assert_eq!(
            (printed.output.as_str(), printed.code),
            ("job/endless is cancelled and has ended: Failed, Cancelled\n", Some(0)),
            "{}",
            printed.errors
        );
        let runs = world.runs_of(&job.uid().unwrap()).await;
        let status = runs[0].status.clone().unwrap();
        assert_eq!((status.phase, status.reason), (Outcome::Failed, Reason::Cancelled));
        assert!(status.error.is_some_and(|error| error.contains("wrong month")));
        let why = rota(world, &["why", "endless"]).await.output;
        assert!(why.contains("Cancelled") && why.contains("wrong month"), "{why}");
    })
    .await;
}

/// A tree goes down to the exit codes of containers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tree_shows_members_attempts_pods_and_exit_codes() {
    in_world("plugin-tree", async |world| {
        let params = json!([{ "name": "code", "default": "0" }]);
        world.create::<JobTemplate>("exits", with(template("exit $PARAM_CODE"), json!({ "params": params }))).await;
        let member = |name: &str, code: &str| json!({ "name": name, "templateRef": { "name": "exits" }, "params": { "code": code } });
        world.create::<JobGroup>("batch", json!({ "mode": "Parallel", "jobs": [member("good", "0"), member("bad", "4")] })).await;
        let has_ended = |group: &JobGroup| group.status.as_ref().and_then(|it| it.phase).is_some_and(|it| it.is_ended());
        world.until_object::<JobGroup>("batch", "has ended", has_ended).await;
        let ended = async || world.all::<Job>().await.iter().all(|job| job.status.as_ref().and_then(|it| it.phase) == Some(JobPhase::Finished)).then_some(());
        world.until("both Jobs say so", ended).await;
        let printed = rota(world, &["tree", "batch", "-o", "json"]).await;
        let tree: Value = serde_json::from_str(&printed.output).unwrap_or_else(|_| panic!("{}", printed.errors));
        for (index, outcome, code) in [(0, "Completed", 0), (1, "Failed", 4)] {
            let job = &tree["children"][index];
            let container = &job["children"][0]["children"][0]["children"][0];
            assert_eq!((&job["outcome"], &container["exitCode"]), (&json!(outcome), &json!(code)), "{tree:#}");
        }
        let text = rota(world, &["tree", "batch"]).await.output;
        assert!(text.contains("container/main Terminated Error exit code 4"), "{text}");
    })
    .await;
}

/// A run of a schedule by hand takes its parameters; a timeout ends the waiting, and the Job if asked to; a failure is told with
/// its exit code and the last line of what the program wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_waits_for_as_long_as_it_is_told_and_says_how_it_failed() {
    in_world("plugin-timeout", async |world| {
        let script = "echo transform; echo \"$PARAM_WORD: no such table\"; sleep $PARAM_SECONDS; exit 3";
        let params = json!([{ "name": "word", "default": "x" }, { "name": "seconds", "default": "0" }]);
        world.create::<JobTemplate>("talks", with(template(script), json!({ "params": params }))).await;
        let says = json!({ "interval": "1000h", "params": { "word": "orders" } });
        world.create::<Schedule>("nightly", with(of("talks"), says)).await;
        let failed = rota(world, &["run", "schedule/nightly", "--wait"]).await;
        assert_eq!(failed.code, Some(1), "{}", failed.errors);
        let line = "exit code 3: container main exited with code 3: orders: no such table\n";
        assert!(failed.errors.ends_with(line), "{}", failed.errors);
        let ended =
            rota(world, &["run", "talks", "-p", "seconds=600", "--name", "long", "--wait", "--timeout", "2s"]).await;
        assert_eq!(ended.code, Some(6), "{}", ended.errors);
        assert!(ended.errors.contains("job long had not ended after 2s"), "{}", ended.errors);
        assert!(world.api::<Job>().get("long").await.unwrap().spec.cancel.is_none());
        let cancelling = [
            "run",
            "talks",
            "-p",
            "seconds=600",
            "--name",
            "ended",
            "--wait",
            "--timeout",
            "2s",
            "--cancel-on-timeout",
        ];
        let cancelled = rota(world, &cancelling).await;
        assert_eq!(cancelled.code, Some(6), "{}", cancelled.errors);
        assert_eq!(world.ended("ended").await.status.unwrap().reason, Some(Reason::Cancelled));
        let alone = rota(world, &["run", "talks", "--timeout", "2s"]).await;
        assert_eq!(alone.code, Some(2), "{}", alone.errors);
        let nobody = rota(world, &["run", "schedule/none"]).await;
        assert_eq!(nobody.code, Some(1), "{}", nobody.errors);
        world.operator().kill();
        let missed = rota(world, &["run", "talks", "--wait", "--timeout", "2s"]).await;
        assert_eq!(missed.code, Some(5), "{}", missed.errors);
        assert!(missed.errors.contains("no operator has taken it up"), "{}", missed.errors);
        world.operator().restart();
    })
    .await;
}

/// What became of each time of a schedule is told from the records when its Jobs are gone, skipped times included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_and_tree_tell_of_a_schedule_from_its_records() {
    in_world("plugin-history", async |world| {
        let gone = json!({ "ttlSecondsAfterFinished": 0 });
        world.create::<JobTemplate>("brief", with(template("echo first; echo the cause; sleep 3; exit 2"), gone)).await;
        let timing = json!({ "interval": "2s", "concurrencyPolicy": "Forbid" });
        world.create::<Schedule>("often", with(of("brief"), timing)).await;
        let enough = async || {
            let runs = world.all::<JobRun>().await;
            let ran = runs.iter().find(|run| run.spec.job_ref.is_some()).cloned();
            let skipped = runs.iter().find(|run| run.spec.job_ref.is_none()).cloned();
            ran.zip(skipped)
        };
        let (ran, skipped) = world.until("one ran and one was skipped", enough).await;
        world.patch::<Schedule>("often", json!({ "spec": { "enabled": false } })).await;
        let none = async || world.all::<Job>().await.is_empty().then_some(());
        world.until("its Jobs are gone", none).await;
        let time = |run: &JobRun| run.spec.scheduled_time.as_ref().unwrap().0.to_string();
        let why = rota(world, &["why", "schedule/often", "--at", &time(&ran)]).await;
        assert!(
            why.output.contains("Failed") && why.output.contains("exit code 2: ") || why.output.contains("the cause"),
            "{}{}",
            why.output,
            why.errors
        );
        let why = rota(world, &["why", "schedule/often", "--at", &time(&skipped)]).await;
        assert!(why.output.contains("did not run: Skipped (OverlapForbidden)"), "{}{}", why.output, why.errors);
        let why = rota(world, &["why", "schedule/often", "--at", "2020-01-01T00:00:00Z"]).await;
        assert!(why.output.contains("fires no time before that"), "{}{}", why.output, why.errors);
        let why = rota(world, &["why", &skipped.name_any()]).await;
        assert!(why.output.contains("did not run"), "the name of a record: {}{}", why.output, why.errors);
        let why = rota(world, &["why", &format!("record/{}", ran.name_any())]).await;
        assert!(why.output.contains("the cause"), "{}{}", why.output, why.errors);
        let why = rota(world, &["why", "schedule/often"]).await;
        assert!(
            why.output.contains("it is disabled") && why.output.contains(&time(&ran)),
            "{}{}",
            why.output,
            why.errors
        );
        let tree = rota(world, &["tree", "schedule/often"]).await;
        assert!(
            tree.output.contains(&time(&ran)) && tree.output.contains(&time(&skipped)),
            "{}{}",
            tree.output,
            tree.errors
        );
        for word in ["record/", "Failed ExitCode", "Skipped OverlapForbidden"] {
            assert!(tree.output.contains(word), "{word}: {}", tree.output);
        }
    })
    .await;
}

/// A group that ended partly goes on with what was wrong put right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_resumed_with_corrected_parameters() {
    in_world("plugin-resume", async |world| {
        let params = json!([{ "name": "code", "default": "0" }]);
        world.create::<JobTemplate>("exits", with(template("exit $PARAM_CODE"), json!({ "params": params }))).await;
        let member = |name: &str, code: &str| json!({ "name": name, "templateRef": { "name": "exits" }, "params": { "code": code } });
        world.create::<JobGroup>("batch", json!({ "mode": "Sequential", "jobs": [member("good", "0"), member("bad", "4")] })).await;
        let has_ended = |group: &JobGroup| group.status.as_ref().and_then(|it| it.phase).is_some_and(|it| it.is_ended());
        world.until_object::<JobGroup>("batch", "has ended", has_ended).await;
        let wrong = rota(world, &["resume", "group/batch", "-p", "other.code=0"]).await;
        assert_eq!(wrong.code, Some(2), "{}", wrong.errors);
        let resumed = rota(world, &["resume", "group/batch", "-p", "bad.code=0", "-o", "json"]).await;
        let made: Value = serde_json::from_str(&resumed.output).unwrap_or_else(|_| panic!("{}", resumed.errors));
        let name = made[0]["metadata"]["name"].as_str().unwrap();
        let group = world.until_object::<JobGroup>(name, "has ended", has_ended).await;
        let counts = group.status.unwrap().counts.unwrap();
        assert_eq!((counts.failed, counts.completed + counts.skipped), (0, 2));
    })
    .await;
}
