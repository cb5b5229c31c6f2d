//! Attempts that do not end as usual: their batch Job is deleted, orphaned or disowned, or nothing acts on it.

use super::*;

const TEXT_OF_POD: &str = "pod report-pod on node node-1";

impl Case {
    /// Running, and its batch Job is not in the cache.
    fn without_batch(mut self) -> Self {
        self.batch = None;
        self
    }

    /// Its batch Job was seen to go.
    fn with_last(mut self, batch: BatchJob) -> Self {
        self.memory.gone_batch = Some(Arc::new(batch));
        self.batch = None;
        self
    }

    /// The API server was asked, and has no more than is seen.
    pub(super) fn looked(mut self) -> Self {
        self.looked = true;
        self
    }

    fn with_gone(mut self, pod: Arc<Pod>) -> Self {
        self.pods = vec![pod];
        self.pods_are_gone = true;
        self
    }
}

fn name(case: &Case) -> String {
    attempt_name(&case.job, 1)
}

/// A pod that was asked to end, with ten seconds of grace from 15 s on.
fn asked(pod: &Arc<Pod>) -> Arc<Pod> {
    let mut pod = pod.as_ref().clone();
    pod.metadata.deletion_timestamp = Some(Time(after(25)));
    pod.metadata.deletion_grace_period_seconds = Some(10);
    Arc::new(pod)
}

#[test]
fn what_the_cache_does_not_have_is_asked_for_before_anything_follows() {
    let mut unseen = case().running().without_batch();
    unseen.pods.clear();
    unseen.memory = Memory { from_start: true, ..Memory::new(after(30)) };
    let ended = case().running().without_batch().with_gone(ended_pod(0));
    let running = case().running().without_batch();
    for case in [unseen, ended, running] {
        let expected = Decision { look: true, ..Decision::default() };
        assert_eq!(case.decide(after(30)), expected, "neither a record nor a status");
    }
}

#[test]
fn a_batch_job_that_is_gone_is_recorded_when_its_pods_have_ended_and_not_before() {
    let mut case = case().running().without_batch().looked();
    let decision = case.step(after(14));
    assert_eq!((decision.plan.effects, decision.plan.wake_at), (vec![], Some(after(44))));
    assert_eq!(case.phase(), Some(JobPhase::Running));
    let text = format!(
        "batch Job {} was deleted before it ended; the attempt ends when its pods have ended: {TEXT_OF_POD}",
        name(&case)
    );
    assert_eq!(condition(case.status(), "Dispatched"), said("True", "PodsEnding", &text));
    case.memory.absent = Some(1);
    case.looked = false;
    case.assert_settled(after(15));
    let ended = case.clone().with_gone(ended_pod(7)).looked();
    assert_eq!(only_record(&ended.decide(after(20))), (name(&case), Outcome::Failed, Reason::ExitCode));
}

#[test]
fn what_the_pods_said_counts_when_the_batch_job_is_gone() {
    let own = |code| ended_pod(code);
    let table = [
        (own(0), Outcome::Completed, Reason::Succeeded, Some(0)),
        (own(7), Outcome::Failed, Reason::ExitCode, Some(7)),
        // It ended at 19 s, and was asked to at 15 s.
        (asked(&own(143)), Outcome::Failed, Reason::BatchJobDeleted, Some(143)),
        (asked(&own(1)), Outcome::Failed, Reason::BatchJobDeleted, Some(1)),
        (asked(&own(0)), Outcome::Completed, Reason::Succeeded, Some(0)),
    ];
    for (pod, outcome, reason, code) in table {
        let case = case().running().without_batch().looked().with_gone(pod.clone());
        let decision = case.decide(after(30));
        assert_eq!(only_record(&decision), (name(&case), outcome, reason), "{pod:?}");
        assert_eq!(record_of(&decision).status.as_ref().unwrap().exit_code, code);
    }
}

#[test]
fn one_success_of_three_is_none() {
    let mut case = case().running().looked().with_gone(ended_pod(0));
    let mut last = case.batch.take().unwrap();
    last.spec = Some(yaml("{completions: 3, template: {}}"));
    let case = case.with_last(last);
    assert_eq!(only_record(&case.decide(after(30))).2, Reason::BatchJobDeleted);
}

#[test]
fn a_batch_job_that_ended_and_is_gone_before_it_was_recorded_is_recorded_as_it_ended() {
    let table =
        [("Complete", 0, Outcome::Completed, Reason::Succeeded), ("Failed", 3, Outcome::Failed, Reason::ExitCode)];
    for (type_, code, outcome, reason) in table {
        let case = case().running();
        let last = batch(&name(&case), &batch_ended(type_));
        let case = case.with_gone(ended_pod(code)).with_last(last);
        assert_eq!(only_record(&case.decide(after(30))), (name(&case), outcome, reason));
    }
}

#[test]
fn the_last_state_of_another_attempt_tells_nothing() {
    let mut case = case().running().with_last(batch("report-other-1", &batch_ended("Complete"))).looked();
    case.pods.clear();
    assert_eq!(only_record(&case.decide(after(30))).2, Reason::BatchJobDeleted);
}

#[test]
fn a_batch_job_that_is_being_deleted_waits_for_its_pods_too() {
    let mut case = case().running();
    case.batch.as_mut().unwrap().metadata.deletion_timestamp = Some(Time(after(15)));
    case.pods = vec![asked(&case.pods[0])];
    let decision = case.step(after(16));
    assert_eq!((decision.look, decision.plan.effects), (false, vec![]));
    assert_eq!(condition(case.status(), "Dispatched").1, "PodsEnding");
    // A finalizer of somebody else's may keep it for ever.
    let case = case.with_gone(asked(&ended_pod(143)));
    assert!(case.decide(after(26)).look);
    assert_eq!(only_record(&case.looked().decide(after(26))).2, Reason::BatchJobDeleted);
}

#[test]
fn a_pod_on_a_lost_node_is_named_and_a_forced_cancel_ends_it() {
    let mut case = case().running().without_batch().looked();
    case.pods = vec![asked(&case.pods[0])];
    case.write(after(30));
    let decision = case.step(after(85));
    assert_eq!(decision.plan.effects, []);
    let text = condition(case.status(), "Dispatched").2;
    assert!(text.contains(TEXT_OF_POD) && text.contains("cancel the Job with force"), "{text}");
    case.assert_settled(after(90));
    let case = case.cancelled("{force: true}");
    assert_eq!(case.decide(after(91)).plan.effects, [Effect::KillPod(identity(&case.pods[0].metadata))]);
}

#[test]
fn pods_without_a_batch_job_keep_to_the_limits_of_their_time() {
    let table = [
        (case().running(), after(16), None, None),
        (case().running().cancelled("{}"), after(16), None, Some("Cancelled")),
        (case().running().deleted(), after(16), None, Some("JobDeleted")),
        (case().running(), after(70), Some("timeoutSeconds: 60"), Some("DeadlineExceeded")),
        (case().running(), after(60), Some("deadlineSeconds: 60"), Some("TotalDeadlineExceeded")),
    ];
    for (case, at, limit, expected) in table {
        let mut case = case.without_batch().looked();
        if let Some(limit) = limit {
            case.template = template(limit);
        }
        let end = Effect::EndPod(identity(&case.pods[0].metadata));
        let decision = case.step(at);
        assert_eq!(decision.plan.effects, expected.map(|_| end).into_iter().collect::<Vec<_>>(), "{limit:?}");
        let word = condition(case.status(), "Dispatched").1;
        assert_eq!(word, expected.unwrap_or("PodsEnding"));
        let Some(expected) = expected else { continue };
        // Another process finds why in the status.
        case.memory = Memory::new(at);
        let case = case.with_gone(asked(&ended_pod(143)));
        assert_eq!(only_record(&case.decide(after(80))).2.as_str(), expected);
    }
}

#[test]
fn a_batch_job_that_nothing_ends_is_deleted_after_a_while_and_recorded_for_what_it_was_ended_for() {
    for reason in [Reason::Cancelled, Reason::PendingTimeout, Reason::TotalDeadlineExceeded] {
        let mut case = case().launched();
        case.write(after(12));
        let mut batch = expired(case.batch.take().unwrap(), reason);
        batch.spec.as_mut().unwrap().managed_by = Some("example.com/typo".into());
        case.batch = Some(batch.clone());
        case.memory.asked_seen = Some((1, after(20)));
        let early = case.step(after(109));
        assert_eq!((early.plan.effects, early.plan.wake_at), (vec![], Some(after(110))), "30 s of grace and 60 s");
        let told = case.step(after(110));
        assert_eq!(told.plan.effects, [], "why is written down first");
        let (_, word, text) = condition(case.status(), "Dispatched");
        assert!(word == reason.as_str() && text.contains("example.com/typo"), "{word}: {text}");
        let delete = Effect::DeleteBatchJob { batch: identity(&batch.metadata), version: None };
        assert_eq!(case.decide(after(110)).plan.effects, [delete]);
        // Whether this process remembers the batch Job or another one finds the status.
        let remembers = case.clone().with_last(batch).looked();
        case.memory = Memory::new(after(111));
        for case in [remembers, case.without_batch().looked()] {
            assert_eq!(only_record(&case.decide(after(111))).2, reason);
        }
    }
}

#[test]
fn the_time_at_which_it_was_asked_to_end_outlives_a_restart() {
    let mut case = case().running().cancelled("{}");
    let batch = case.batch.as_mut().unwrap();
    *batch = expired(batch.clone(), Reason::Cancelled);
    let since = (crate::api::labels::ENDED_AT_ANNOTATION.to_owned(), after(20).to_string());
    batch.metadata.annotations.as_mut().unwrap().extend([since]);
    case.memory.asked_seen = Some((1, after(100)));
    case.write(after(110));
    assert_eq!(condition(case.status(), "Dispatched").1, "Cancelled");
}

#[test]
fn a_controller_that_ends_the_pods_is_given_the_time_that_they_need() {
    let mut case = case().running().cancelled("{}");
    let ending = "status: {conditions: [{type: FailureTarget, status: 'True', reason: DeadlineExceeded}]}";
    case.batch = Some(expired(batch(&name(&case), ending), Reason::Cancelled));
    case.pods = vec![asked(&case.pods[0])];
    case.memory.asked_seen = Some((1, after(15)));
    let decision = case.step(after(300));
    assert_eq!(decision.plan.effects, [], "its pods are asked already");
    assert!(condition(case.status(), "Dispatched").2.contains("if its node is lost"));
}

#[test]
fn a_batch_job_that_was_disowned_is_adopted_again_unless_its_job_goes() {
    let mut case = case().running();
    case.disowned = true;
    let adopt = Effect::AdoptBatchJob {
        batch: identity(&case.batch.as_ref().unwrap().metadata),
        job: case.identity(),
        attempt: 1,
    };
    assert_eq!(case.decide(after(15)).plan.effects, std::slice::from_ref(&adopt));
    case.batch = Some(batch(&name(&case), &batch_ended("Complete")));
    case.pods = vec![ended_pod(0)];
    let effects = case.decide(after(20)).plan.effects;
    assert!(matches!(effects.as_slice(), [first, Effect::CreateRun(_)] if *first == adopt), "{effects:?}");
    let case = case.deleted();
    assert!(matches!(case.decide(after(20)).plan.effects.as_slice(), [Effect::CreateRun(_)]));
}

#[test]
fn an_orphan_of_a_deleted_job_does_not_stay_for_ever() {
    let mut case = case().running();
    case.batch = Some(batch(&name(&case), &batch_ended("Failed")));
    case.disowned = true;
    let case = case.recorded(Outcome::Failed, Reason::JobDeleted).deleted();
    let limit = Effect::LimitBatchJob { batch: identity(&case.batch.as_ref().unwrap().metadata), seconds: 600 };
    assert_eq!(case.decide(after(30)).plan.effects, [limit.clone(), Effect::ReleaseJob(case.identity())]);
    // The garbage collector has not come to it yet.
    let mut early = Case { disowned: false, ..case };
    early.job.metadata.finalizers.as_mut().unwrap().push("orphan".into());
    assert!(early.decide(after(30)).plan.effects.contains(&limit));
}

#[test]
fn a_job_that_is_deleted_while_it_runs_tells_that_once() {
    let mut case = case().running().deleted();
    let notes = case.step(after(15)).plan.notes;
    assert_eq!(notes.iter().map(|note| note.reason).collect::<Vec<_>>(), ["JobDeleted"]);
    case.batch = Some(expired(case.batch.take().unwrap(), Reason::JobDeleted));
    case.assert_settled(after(16));
}

#[test]
fn a_deleted_job_that_somebody_keeps_says_how_it_ended_and_what_keeps_it() {
    let mut case = case().running().deleted().recorded(Outcome::Failed, Reason::JobDeleted);
    case.job.metadata.finalizers.as_mut().unwrap().push("example.com/hook".into());
    let decision = case.step(after(21));
    assert_eq!(decision.plan.effects, [Effect::ReleaseJob(case.identity())]);
    assert_eq!(case.phase(), Some(JobPhase::Cancelled));
    let text = format!(
        "see JobRun {}; it is being deleted, and stays until somebody takes off its finalizer \"example.com/hook\"",
        name(&case)
    );
    assert_eq!(condition(case.status(), "Cancelled"), said("True", "JobDeleted", &text));
    case.job.metadata.finalizers = Some(vec!["example.com/hook".into()]);
    case.assert_settled(after(22));
}

#[test]
fn one_that_had_ended_before_it_was_deleted_says_so_too() {
    let mut case = case().running().recorded(Outcome::Completed, Reason::Succeeded);
    case.write(after(21));
    case.job.metadata.finalizers = Some(vec!["example.com/hook".into()]);
    let mut case = case.deleted();
    case.write(after(30));
    let (_, reason, text) = condition(case.status(), "Complete");
    assert!(reason == "Succeeded" && text.contains("example.com/hook"), "{text}");
    case.assert_settled(after(31));
}

#[test]
fn a_batch_job_that_kubernetes_would_delete_by_itself_is_held_until_it_is_recorded() {
    for seconds in [0, 3_600, 604_800] {
        let mut case = case().running();
        let limit = format!("spec: {{ttlSecondsAfterFinished: {seconds}, template: {{}}}}");
        case.batch = Some(batch(&name(&case), &limit));
        let hold = Effect::HoldBatchJob(identity(&case.batch.as_ref().unwrap().metadata));
        assert_eq!(case.decide(after(15)).plan.effects, [hold], "{seconds}");
        case.batch.as_mut().unwrap().metadata.finalizers = Some(vec![RECORD_FINALIZER.into()]);
        assert_eq!(case.decide(after(15)).plan.effects, [], "{seconds}");
    }
}

/// Kubernetes collects the pods of a deleted batch Job when that is gone, and Rota's finalizer keeps it until they have ended.
#[test]
fn the_pods_of_a_held_batch_job_that_somebody_deleted_are_ended_unless_they_were_orphaned() {
    let deleted = |finalizers: &[&str], is_owned: bool| {
        let mut case = case().running();
        let metadata = &mut case.batch.as_mut().unwrap().metadata;
        metadata.deletion_timestamp = Some(Time(after(15)));
        metadata.finalizers = Some(finalizers.iter().map(|it| (*it).to_owned()).collect());
        let uid = metadata.uid.clone().unwrap();
        let mut pod = case.pods[0].as_ref().clone();
        let owner = yaml(&format!("{{apiVersion: batch/v1, kind: Job, name: x, uid: {uid}, controller: true}}"));
        pod.metadata.owner_references = is_owned.then(|| vec![owner]);
        case.pods = vec![Arc::new(pod)];
        case
    };
    let held = deleted(&[RECORD_FINALIZER], true);
    let first = held.decide(after(16));
    assert_eq!((first.look, first.plan.effects), (true, vec![]), "they may have been orphaned since");
    let end = Effect::EndPod(identity(&held.pods[0].metadata));
    let cancelled = held.clone().looked().cancelled("{}");
    assert_eq!(held.looked().decide(after(16)).plan.effects, std::slice::from_ref(&end));
    assert_eq!(cancelled.decide(after(16)).plan.effects, [end], "once");
    for (what, finalizers, is_owned) in [
        ("orphaned", &[RECORD_FINALIZER][..], false),
        ("being orphaned", &[RECORD_FINALIZER, "orphan"], true),
        ("in the foreground", &[RECORD_FINALIZER, "foregroundDeletion"], true),
        ("kept by somebody else", &["example.com/x"], true),
    ] {
        let decision = deleted(finalizers, is_owned).decide(after(16));
        assert_eq!((decision.look, decision.plan.effects), (false, vec![]), "{what}");
    }
}
