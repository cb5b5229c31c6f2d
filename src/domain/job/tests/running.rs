//! From the launch to the end of an attempt.

use super::*;

#[test]
fn the_status_of_a_fresh_launch_waits_for_its_first_container() {
    let case = case().launched();
    let expected = Plan { wake_at: Some(after_ms(11_000)), ..Plan::default() };
    assert_eq!(case.decide(after_ms(10_050)), expected.into());
}

#[test]
fn a_launch_whose_answer_was_not_taken_in_yet_is_fresh_too() {
    let mut case = case().launched();
    case.memory.launched = None;
    case.memory.launching = Some(1);
    let decision = case.decide(after_ms(10_001));
    assert_eq!(decision, Plan { wake_at: Some(after_ms(11_001)), ..Plan::default() }.into());
}

#[test]
fn the_status_of_a_launch_waits_longer_while_others_are_being_launched() {
    let mut case = case().launched();
    case.busy = true;
    let wait = |milliseconds| Plan { wake_at: Some(after_ms(milliseconds)), ..Plan::default() }.into();
    assert_eq!(case.decide(after_ms(11_000)), wait(11_500));
    assert_eq!(case.decide(after_ms(15_999)), wait(16_499));
    assert!(case.decide(after_ms(16_000)).plan.status.is_some());
}

#[test]
fn a_launched_job_that_does_not_start_is_dispatched() {
    let mut case = case().queued().launched();
    let decision = case.step(after(11));
    let name = attempt_name(&case.job, 1);
    assert_eq!((decision.candidate, decision.plan.effects), (None, vec![]));
    assert_eq!(decision.plan.wake_at, Some(after(15)), "when events are asked why");
    case = case.asked();
    assert_eq!(case.decide(after(11)).plan.wake_at, Some(after(610)), "the default pending timeout");
    let text = format!("launched as batch Job {name}");
    assert_eq!(decision.plan.notes, [Note::normal("Dispatched", "Launch", text.clone())]);
    let status = case.status();
    assert_eq!((status.phase, status.attempts, status.waiting_for), (Some(JobPhase::Dispatched), 1, None));
    assert_eq!(status.dispatched_at, Some(micro(after(10))));
    assert_eq!(status.batch_job_ref, Some(ObjectReference { name, uid: "uid-batch-job".into() }));
    assert_eq!((condition(status, "Dispatched"), types(status)), (said("True", "Launched", &text), vec!["Dispatched"]));
    case.assert_settled(after(12));
}

#[test]
fn a_job_whose_container_started_is_running_and_says_so_in_one_write() {
    let case = case().running();
    let status = case.status();
    assert_eq!(
        (status.dispatched_at.clone(), status.started_at.clone()),
        (Some(micro(after(10))), Some(micro(after(12))))
    );
    assert_eq!(status.queued_at, Some(micro(after(0))));
    assert_eq!(status.template.as_ref().unwrap().revision, "nightly-r1");
    case.assert_settled(after(100));
}

#[test]
fn a_restart_finds_a_running_job_from_its_batch_job() {
    let mut case = case().launched();
    case.memory = Memory::new(after(300));
    case.memory.queueable_since = Some(after(300));
    case.write(after(300));
    assert_eq!(case.status().dispatched_at, Some(micro(after(10))), "the batch Job's creation");
    case.memory = Memory::new(after(400));
    case.assert_settled(after(400));
}

#[test]
fn the_second_attempt_does_not_take_over_the_launch_time_of_the_first() {
    let mut case = case().running().recorded(Outcome::Failed, Reason::ExitCode);
    case.write(after(20));
    case.pods.clear();
    case.batch = Some(batch(&attempt_name(&case.job, 2), ""));
    case.memory.launching = Some(2);
    assert_eq!(case.memory.launched, Some((1, after(10))));
    let decision = case.decide(after(40));
    assert_eq!(decision.plan.status, None, "its launch is under way");
    case.memory.launching = None;
    case.memory.launched = Some((2, after(40)));
    case.write(after(41));
    assert_eq!(case.status().dispatched_at, Some(micro(after(40))));
}

#[test]
fn a_running_job_stays_running_when_its_pod_vanishes_before_its_batch_job_ends() {
    let mut case = case().running();
    case.pods.clear();
    case.assert_settled(after(14));
    assert_eq!(case.status().started_at, Some(micro(after(12))));
    let late = case.decide(after(1_000));
    assert_eq!(late.plan.effects, [], "it started, so that no pending timeout applies");
}

#[test]
fn a_clock_that_is_ahead_of_the_api_servers_gives_a_pod_its_time_to_start() {
    let mut case = case().launched();
    for (launching, launched) in [(Some(1), None), (None, Some((1, after(3_600))))] {
        (case.memory.launching, case.memory.launched) = (launching, launched);
        assert_eq!(case.decide(after(3_601)).plan.effects, [], "launched a second ago by its own clock");
    }
    assert_eq!(case.looked().decide(after(4_200)).plan.effects.len(), 1, "ten minutes have passed");
}

#[test]
fn an_attempt_that_does_not_start_in_time_is_ended_once() {
    let mut case = case().launched();
    case.template = template("pendingTimeoutSeconds: 60");
    case.write(after(11));
    assert_eq!(case.decide(after(69)).plan.effects, []);
    let expire = Effect::ExpireBatchJob {
        batch: identity(&case.batch.as_ref().unwrap().metadata),
        reason: Reason::PendingTimeout,
    };
    // That no pod is in the cache is no evidence.
    let blind = case.decide(after(70));
    assert_eq!((blind.look, blind.plan.effects), (true, vec![]));
    let mut case = case.looked();
    assert_eq!(case.decide(after(70)).plan.effects, [expire]);
    let ready = batch(&attempt_name(&case.job, 1), "status: {ready: 1}");
    let before = case.batch.replace(ready);
    assert_eq!(case.decide(after(70)).plan.effects, [], "Kubernetes sees a pod that Rota does not");
    case.batch = before;
    case.batch = Some(expired(batch(&attempt_name(&case.job, 1), ""), Reason::PendingTimeout));
    assert_eq!(case.decide(after(71)).plan.effects, []);
}

#[test]
fn an_attempt_whose_main_container_cannot_start_after_its_init_container_is_ended_too() {
    let mut case = case().queued().launched();
    case.template = template("pendingTimeoutSeconds: 60");
    let fetched = "initContainerStatuses: [{name: fetch, state: {terminated: {exitCode: 0, startedAt: '2026-03-01T00:00:12Z', finishedAt: '2026-03-01T00:05:00Z'}}}]";
    let stuck = "containerStatuses: [{name: main, state: {waiting: {reason: ImagePullBackOff}}}]";
    case.pods = vec![pod(&format!("{fetched}, {stuck}"))];
    assert_eq!(case.step(after(301)).plan.wake_at, Some(after(360)), "counted from the end of its init container");
    assert_eq!(case.decide(after(359)).plan.effects, []);
    let batch = case.batch.as_ref().unwrap();
    assert_eq!(
        case.decide(after(360)).plan.effects,
        [Effect::ExpireBatchJob { batch: identity(&batch.metadata), reason: Reason::PendingTimeout }]
    );
}

#[test]
fn a_suspended_batch_job_is_not_ended_for_not_starting() {
    let mut case = case().launched();
    case.batch = Some(batch(&attempt_name(&case.job, 1), "spec: {suspend: true, template: {}}"));
    let decision = case.step(after(5_000));
    assert_eq!((decision.plan.effects, decision.plan.wake_at), (vec![], None));
}

#[test]
fn a_batch_job_that_was_suspended_has_its_whole_time_to_start_once_it_is_resumed() {
    let mut case = case().launched().asked();
    let resumed = "status: {startTime: '2026-03-01T02:00:00Z'}";
    case.batch = Some(batch(&attempt_name(&case.job, 1), resumed));
    let decision = case.step(after(7_201));
    assert_eq!((decision.plan.effects, decision.plan.wake_at), (vec![], Some(after(7_800))));
    assert_eq!(case.looked().decide(after(7_800)).plan.effects.len(), 1);
}

#[test]
fn cancelling_a_running_job_asks_kubernetes_to_end_it_once() {
    let table = [
        (case().running().cancelled("{reason: enough}"), Reason::Cancelled),
        (case().running().deleted(), Reason::JobDeleted),
    ];
    for (mut case, reason) in table {
        let batch_job = identity(&case.batch.as_ref().unwrap().metadata);
        let expire = Effect::ExpireBatchJob { batch: batch_job, reason };
        let decision = case.step(after(15));
        assert_eq!(decision.plan.effects, [expire]);
        assert_eq!(case.phase(), Some(JobPhase::Running), "it runs until it has ended");
        case.batch = Some(expired(batch(&attempt_name(&case.job, 1), ""), Reason::Cancelled));
        case.assert_settled(after(16));
    }
}

#[test]
fn a_cancel_of_the_group_reaches_its_running_members() {
    let mut case = case().of_group(Gate::default()).running();
    case.gate.as_mut().unwrap().cancel = Some(yaml("{}"));
    let expire =
        Effect::ExpireBatchJob { batch: identity(&case.batch.as_ref().unwrap().metadata), reason: Reason::Cancelled };
    assert_eq!(case.decide(after(15)).plan.effects, [expire]);
}

#[test]
fn a_forced_cancel_kills_each_pod_once() {
    let mut case = case().running().cancelled("{force: true}");
    let expire =
        Effect::ExpireBatchJob { batch: identity(&case.batch.as_ref().unwrap().metadata), reason: Reason::Cancelled };
    let kill = Effect::KillPod(identity(&case.pods[0].metadata));
    assert_eq!(case.decide(after(15)).plan.effects, [expire, kill]);
    case.batch = Some(expired(batch(&attempt_name(&case.job, 1), ""), Reason::Cancelled));
    let asked = Arc::make_mut(&mut case.pods[0]);
    asked.metadata.deletion_timestamp = Some(Time(after(15)));
    asked.metadata.deletion_grace_period_seconds = Some(30);
    assert_eq!(case.decide(after(16)).plan.effects.len(), 1, "its grace period is cut short");
    Arc::make_mut(&mut case.pods[0]).metadata.deletion_grace_period_seconds = Some(0);
    assert_eq!(case.decide(after(16)).plan.effects, []);
}

#[test]
fn a_forced_cancel_whose_pod_is_gone_is_still_recorded_as_having_run() {
    let mut case = case().running().cancelled("{force: true}");
    case.pods.clear();
    case.write(after(16));
    case.batch = Some(expired(batch(&attempt_name(&case.job, 1), &batch_ended("Failed")), Reason::Cancelled));
    case.memory.end_seen = Some((1, after(20)));
    let decision = case.decide(after(30));
    assert_eq!(only_record(&decision), (attempt_name(&case.job, 1), Outcome::Failed, Reason::Cancelled));
    assert_eq!(record_of(&decision).status.as_ref().unwrap().started_at, Some(micro(after(12))));
}

#[test]
fn cancelling_a_suspended_batch_job_deletes_it() {
    let mut case = case().launched().cancelled("{}");
    case.batch = Some(batch(&attempt_name(&case.job, 1), "spec: {suspend: true, template: {}}"));
    case.batch.as_mut().unwrap().metadata.resource_version = Some("7".into());
    let deleted = identity(&case.batch.as_ref().unwrap().metadata);
    let delete = Effect::DeleteBatchJob { batch: deleted, version: Some("7".into()) };
    assert_eq!(case.step(after(15)).plan.effects, [delete]);
    (case.batch, case.looked) = (None, true);
    assert_eq!(only_record(&case.decide(after(16))), (attempt_name(&case.job, 1), Outcome::Skipped, Reason::Cancelled));
}

#[test]
fn an_ended_batch_job_is_recorded_when_its_pods_have_ended_too() {
    let table =
        [("Complete", 0, Outcome::Completed, Reason::Succeeded), ("Failed", 3, Outcome::Failed, Reason::ExitCode)];
    for (type_, code, outcome, reason) in table {
        let mut case = case().running();
        case.batch = Some(batch(&attempt_name(&case.job, 1), &batch_ended(type_)));
        case.pods = vec![ended_pod(code)];
        let decision = case.decide(after(20));
        assert_eq!(only_record(&decision), (attempt_name(&case.job, 1), outcome, reason));
        let run = record_of(&decision);
        assert_eq!((run.spec.attempt, run.spec.params.clone()), (1, yaml("{day: monday}")));
        assert_eq!(run.status.as_ref().unwrap().finished_at, Some(micro(after(19))));
    }
}

#[test]
fn an_ended_batch_job_is_recorded_a_little_later_when_its_pods_do_not_say_how_they_ended() {
    let running = case().running().pods;
    for pods in [vec![], running] {
        let mut case = case().running();
        case.batch = Some(batch(&attempt_name(&case.job, 1), &batch_ended("Complete")));
        case.pods = pods;
        // However far the clock of the control plane is ahead or behind: it is counted from when the end was seen.
        case.memory.end_seen = Some((1, after(20)));
        let waits = Plan { wake_at: Some(after(23)), ..Plan::default() };
        assert_eq!(case.decide(after(20)), waits.clone().into());
        assert_eq!(case.decide(after_ms(22_999)), waits.into());
        assert_eq!(only_record(&case.decide(after(23))).1, Outcome::Completed);
    }
}

#[test]
fn no_pods_are_waited_for_where_none_were_counted() {
    let mut case = case().running();
    case.pods.clear();
    let conditions = "conditions: [{type: Complete, status: 'True', lastTransitionTime: '2026-03-01T00:00:20Z'}]";
    for (counts, waits) in [
        ("", false),
        ("active: 0, succeeded: 0, failed: 0, terminating: 0, uncountedTerminatedPods: {},", false),
        ("terminating: 1,", true),
        ("uncountedTerminatedPods: {succeeded: [uid]},", true),
        ("failed: 1,", true),
    ] {
        case.batch = Some(batch(&attempt_name(&case.job, 1), &format!("status: {{{counts} {conditions}}}")));
        case.memory.end_seen = Some((1, after(20)));
        assert_eq!(case.decide(after(20)).plan.effects.is_empty(), waits, "{counts}");
    }
}

#[test]
fn an_end_without_a_time_is_recorded_all_the_same() {
    let mut case = case().running();
    case.pods.clear();
    let ended = "status: {conditions: [{type: Complete, status: 'True'}]}";
    case.batch = Some(batch(&attempt_name(&case.job, 1), ended));
    case.memory.end_seen = Some((1, after(90)));
    assert_eq!(only_record(&case.decide(after(100))).1, Outcome::Completed);
}

#[test]
fn whichever_end_came_first_is_the_one_that_is_recorded() {
    let mut case = case().running().cancelled("{}");
    case.batch = Some(batch(&attempt_name(&case.job, 1), &batch_ended("Complete")));
    case.pods = vec![ended_pod(0)];
    assert_eq!(
        only_record(&case.decide(after(20))).1,
        Outcome::Completed,
        "it completed before the cancel had an effect"
    );
}

#[test]
fn a_batch_job_that_somebody_deleted_is_recorded_and_not_made_again() {
    let mut remembered = case().launched();
    remembered.batch = None;
    let mut said_so = case().running();
    said_so.batch = None;
    said_so.pods.clear();
    said_so.memory = Memory::new(after(30));
    for mut case in [remembered, said_so] {
        case.looked = true;
        let name = attempt_name(&case.job, 1);
        assert_eq!(only_record(&case.decide(after(30))), (name, Outcome::Failed, Reason::BatchJobDeleted));
    }
}

#[test]
fn a_batch_job_that_went_with_its_deleted_job_is_recorded_as_that() {
    let mut case = case().running().deleted();
    (case.batch, case.looked) = (None, true);
    case.pods.clear();
    assert_eq!(only_record(&case.decide(after(30))), (attempt_name(&case.job, 1), Outcome::Failed, Reason::JobDeleted));
}

const WAITS: &str = "containerStatuses: [{name: main, state: {waiting: {reason: ContainerCreating}}}]";

fn dispatched(case: &Case) -> String {
    condition(case.status(), "Dispatched").2
}

#[test]
fn events_are_asked_a_few_times_for_what_nothing_else_tells() {
    let mut case = case().queued().launched();
    let look = |case: &Case, now: Timestamp| {
        super::super::look(&case.job, &case.memory, case.batch.as_ref().unwrap(), &case.pods, now)
    };
    assert_eq!(look(&case, after(14)), Look::At(after(15)));
    assert_eq!(case.decide(after(14)).plan.wake_at, Some(after(15)));
    let batch_job = Subject::BatchJob(identity(&case.batch.as_ref().unwrap().metadata));
    assert_eq!(look(&case, after(15)), Look::Now(batch_job.clone()));
    assert_eq!(case.decide(after(15)).plan.wake_at, Some(after(16)), "others are being asked about");
    case.memory.told = Some(Told { attempt: 1, at: after(400), text: None });
    assert_eq!(look(&case, after(401)), Look::At(after(910)), "a restart does not ask for all that it missed");
    case.memory.told = Some(Told { attempt: 1, at: after(2_000), text: None });
    assert_eq!(look(&case, after(9_000)), Look::No, "often enough");
    case.memory.told = None;
    case.pods = vec![pod(WAITS)];
    assert_eq!(look(&case, after(15)), Look::Now(Subject::Pod(identity(&case.pods[0].metadata))));
    let known = [
        "containerStatuses: [{name: main, state: {waiting: {reason: ImagePullBackOff}}}]",
        "containerStatuses: [{name: main, state: {running: {startedAt: '2026-03-01T00:00:12Z'}}}]",
    ];
    for status in known {
        case.pods = vec![pod(status)];
        assert_eq!(look(&case, after(15)), Look::No, "{status}");
    }
    case.pods.clear();
    for more in ["spec: {suspend: true, template: {}}", "spec: {parallelism: 0, template: {}}", &batch_ended("Failed")]
    {
        case.batch = Some(batch(&attempt_name(&case.job, 1), more));
        assert_eq!(look(&case, after(15)), Look::No, "{more}");
    }
}

#[test]
fn what_events_told_is_in_the_condition_and_in_every_record_that_follows() {
    let mut case = case().queued().launched();
    let subject = Subject::BatchJob(identity(&case.batch.as_ref().unwrap().metadata));
    let text = subject.sentence("FailedCreate", "Error creating: pods \"x\" is forbidden: no \u{1b}[1mServiceAccount");
    case.memory.told = Some(Told { attempt: 1, at: after(15), text: Some(text) });
    case.write(after(15));
    let why = "Kubernetes cannot create its pod: Error creating: pods \"x\" is forbidden: no \\x1b[1mServiceAccount";
    assert!(dispatched(&case).ends_with(&format!("; {why}")), "{}", dispatched(&case));
    case.memory = Memory::new(after(20));
    case.assert_settled(after(20));
    let name = attempt_name(&case.job, 1);
    for reason in [None, Some(Reason::PendingTimeout), Some(Reason::Cancelled), Some(Reason::TotalDeadlineExceeded)] {
        let mut ended = batch(&name, &batch_ended("Failed").replace("BackoffLimitExceeded", "DeadlineExceeded"));
        if let Some(reason) = reason {
            ended = expired(ended, reason);
        }
        let mut case = Case { batch: Some(ended), ..case.clone() };
        case.memory.end_seen = Some((1, after(20)));
        if reason == Some(Reason::Cancelled) {
            case = case.cancelled("{}");
        }
        let error = record_of(&case.decide(after(30))).status.clone().unwrap().error.unwrap();
        assert!(error.ends_with(why), "{reason:?}: {error}");
    }
    let told = Some(Told { attempt: 2, at: after(15), text: Some("of another attempt".into()) });
    let mut other = super::case().queued().launched();
    other.memory.told = told;
    other.write(after(15));
    assert!(!dispatched(&other).contains("another"), "{}", dispatched(&other));
}

#[test]
fn that_no_node_took_a_pod_is_over_when_one_did() {
    let mut case = case().queued().launched();
    case.pods =
        vec![pod("conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: no room}]")];
    Arc::make_mut(&mut case.pods[0]).spec.as_mut().unwrap().node_name = None;
    case.write(after(15));
    assert!(dispatched(&case).ends_with("; pod report-pod cannot be scheduled: no room"), "{}", dispatched(&case));
    case.pods = vec![pod(WAITS)];
    case.write(after(16));
    assert!(!dispatched(&case).contains("room"), "{}", dispatched(&case));
}

#[test]
fn a_batch_job_that_makes_no_pods_is_said_to() {
    let mut case = case().queued().launched();
    case.batch = Some(batch(&attempt_name(&case.job, 1), "spec: {parallelism: 0, template: {}}"));
    case.write(after(15));
    let why = "its batch Job has parallelism 0, so that Kubernetes makes no pod for it";
    assert!(dispatched(&case).ends_with(&format!("; {why}")), "{}", dispatched(&case));
    let ended = batch_ended("Failed").replace("BackoffLimitExceeded", "DeadlineExceeded");
    let more = format!("spec: {{parallelism: 0, template: {{}}}}\n{ended}");
    case.batch = Some(expired(batch(&attempt_name(&case.job, 1), &more), Reason::PendingTimeout));
    case.memory.end_seen = Some((1, after(20)));
    let error = record_of(&case.decide(after(30))).status.clone().unwrap().error.unwrap();
    assert_eq!(error, format!("no container started within 600 s: {why}"));
}

#[test]
fn containers_that_outlive_the_main_one_are_named_once_that_lasts() {
    let mut case = case().queued().launched();
    let done = "{name: main, state: {terminated: {exitCode: 0, startedAt: '2026-03-01T00:00:12Z', finishedAt: '2026-03-01T00:00:14Z'}}}";
    let aside = "{name: aside, state: {running: {startedAt: '2026-03-01T00:00:12Z'}}}";
    case.pods = vec![pod(&format!("containerStatuses: [{done}, {aside}]"))];
    let decision = case.step(after(16));
    assert_eq!((decision.plan.wake_at, case.phase()), (Some(after(24)), Some(JobPhase::Running)));
    assert_eq!(dispatched(&case), format!("launched as batch Job {}", attempt_name(&case.job, 1)));
    case.write(after(24));
    assert!(
        dispatched(&case).ends_with("; ended with exit code 0: main after 2s; aside goes on"),
        "{}",
        dispatched(&case)
    );
    case.assert_settled(after(60));
}

#[test]
fn a_sidecar_does_not_keep_an_attempt_from_ending_at_its_pending_timeout() {
    let mut case = case().queued().launched();
    case.template = template("pendingTimeoutSeconds: 60");
    let text = "
metadata: {name: report-pod, namespace: team, uid: uid-pod}
spec: {nodeName: node-1, initContainers: [{name: proxy, restartPolicy: Always}], containers: [{name: main}]}
status:
  phase: Pending
  initContainerStatuses: [{name: proxy, state: {running: {startedAt: '2026-03-01T00:00:12Z'}}}]
  containerStatuses: [{name: main, state: {waiting: {reason: ImagePullBackOff, message: no such image}}}]
";
    case.pods = vec![pruned::tests::pod(yaml(text))];
    case.write(after(20));
    assert_eq!(case.phase(), Some(JobPhase::Dispatched));
    assert!(dispatched(&case).ends_with("; container main: ImagePullBackOff: no such image"), "{}", dispatched(&case));
    let expire = Effect::ExpireBatchJob {
        batch: identity(&case.batch.as_ref().unwrap().metadata),
        reason: Reason::PendingTimeout,
    };
    assert_eq!(case.decide(after(70)).plan.effects, [expire]);
}
