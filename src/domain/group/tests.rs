//! What is decided about a group: the members made, the gates, the phases and the counts.

mod joining;

use super::*;
use crate::api::job_group::GroupMode;
use crate::api::{Cancel, JobPhase, ObjectReference, Position, Reason};
use crate::domain::plan::Effect;
use crate::domain::plan::Ending;

fn at(second: i64) -> Timestamp {
    let start: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    start + jiff::SignedDuration::from_secs(second)
}

fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A group and the Jobs of its members, as they are in the cluster.
struct Case {
    group: JobGroup,
    jobs: Vec<MemberJob>,
    resumed: Option<JobGroup>,
}

fn group(more: &str) -> Case {
    let group = yaml(&format!(
        "
metadata: {{name: release, namespace: team, uid: uid-release, generation: 1}}
spec:
  mode: Parallel
  jobs:
  - {{name: build, templateRef: {{name: make}}, params: {{target: all}}, priority: 9}}
  - {{name: check, templateRef: {{name: make}}}}
  - {{name: ship, templateRef: {{name: ship}}}}
  {more}
"
    ));
    Case { group, jobs: Vec::new(), resumed: None }
}

fn sequential(more: &str) -> Case {
    let mut case = group(more);
    case.group.spec.mode = GroupMode::Sequential;
    case
}

const MEMBERS: [&str; 3] = ["build", "check", "ship"];

impl Case {
    fn decide(&self, now: Timestamp) -> Plan<JobGroupStatus> {
        super::decide(&self.group, &self.jobs, self.resumed.as_ref(), &|_| None, now)
    }

    /// Decides, makes the Jobs, writes the status, and names the members whose Jobs were made.
    fn step(&mut self, second: i64) -> Vec<String> {
        let plan = self.decide(at(second));
        assert_eq!(plan.wake_at, None);
        let made: Vec<MemberJob> = plan.effects.iter().map(made).collect();
        self.jobs.extend(made.iter().cloned());
        if plan.status.is_some() {
            self.group.status = plan.status;
        }
        made.into_iter().map(|job| job.member).collect()
    }

    /// A group that has made all its Jobs and knows it.
    fn started(mut self) -> Self {
        assert_eq!(self.step(0), [""; 0]);
        assert_eq!(self.step(0), MEMBERS);
        assert_eq!(self.step(0), [""; 0]);
        self
    }

    fn job(&mut self, member: &str) -> &mut MemberJob {
        self.jobs.iter_mut().find(|job| job.member == member).unwrap()
    }

    fn runs(&mut self, member: &str, since: i64) {
        let job = self.job(member);
        job.phase = Some(JobPhase::Running);
        job.started_at = Some(at(since));
    }

    fn ends(&mut self, member: &str, outcome: Outcome, second: i64) {
        let reason = match outcome {
            Outcome::Completed => Reason::Succeeded,
            Outcome::Failed => Reason::ExitCode,
            Outcome::Skipped => Reason::Cancelled,
        };
        self.job(member).ending =
            Some(Ending { outcome, reason, finished_at: at(second), run: format!("run-of-{member}") });
    }

    fn status(&self) -> &JobGroupStatus {
        self.group.status.as_ref().unwrap()
    }

    fn phase(&self) -> Option<GroupPhase> {
        self.status().phase
    }

    /// Waiting, running, completed, failed and skipped members.
    fn counts(&self) -> [u32; 5] {
        let counts = self.status().counts.unwrap();
        assert_eq!(counts.total, 3);
        [counts.waiting, counts.running, counts.completed, counts.failed, counts.skipped]
    }

    /// Decided again: nothing is done, and the status stays.
    #[track_caller]
    fn assert_rests(&self, second: i64) {
        let again = self.decide(at(second));
        assert_eq!((again.effects, again.notes), (vec![], vec![]));
        assert!(again.status.is_none() || again.status == self.group.status);
    }

    /// What the group says to the Job of each member.
    fn gates(&self) -> Vec<Gate> {
        let standing = standing(&self.group, &self.jobs, &|_| None);
        let job = |member: &GroupMember| member_job(&self.group, member);
        let gate = |member| gate(&job(member), Some((&self.group, &standing))).unwrap();
        self.group.spec.jobs.iter().map(gate).collect()
    }
}

fn made(effect: &Effect) -> MemberJob {
    let Effect::CreateJob { job, due: None, unless_run: None } = effect else {
        panic!("a group never does this: {effect:?}")
    };
    let name = job.metadata.name.clone().unwrap();
    let member = job.spec.group_ref.as_ref().unwrap().member.clone();
    assert_eq!(name, names::member_job("release", "uid-release", &member));
    let job_priority = job.spec.priority;
    let job = ObjectReference { uid: format!("uid-of-{name}"), name };
    MemberJob {
        member,
        job,
        belonging: Belonging::Inline,
        created: at(0),
        position: None,
        priority: job_priority,
        template: None,
        phase: None,
        started_at: None,
        stalled: None,
        ending: None,
    }
}

#[test]
fn a_group_makes_the_jobs_of_all_members_under_their_own_names() {
    let mut case = group("priority: 5");
    assert_eq!(case.step(0), [""; 0], "the start is a write of its own");
    let plan = case.decide(at(0));
    assert_eq!(plan.effects.len(), 3);
    let expected: Job = yaml(
        "
apiVersion: rota.dev/v1alpha1
kind: Job
metadata:
  name: NAME
  namespace: team
  finalizers: [rota.dev/record]
  labels: {app.kubernetes.io/managed-by: rota, app.kubernetes.io/name: make, app.kubernetes.io/part-of: rota, rota.dev/group: release}
  ownerReferences:
  - {apiVersion: rota.dev/v1alpha1, kind: JobGroup, name: release, uid: uid-release, controller: true, blockOwnerDeletion: true}
spec:
  templateRef: {name: make}
  params: {target: all}
  priority: 9
  groupRef: {name: release, uid: uid-release, member: build}
"
        .replace("NAME", &names::member_job("release", "uid-release", "build"))
        .as_str(),
    );
    assert_eq!(plan.effects[0], Effect::CreateJob { job: Box::new(expected), due: None, unless_run: None });
    let priorities = plan.effects.iter().map(|effect| match effect {
        Effect::CreateJob { job, .. } => job.spec.priority,
        _ => None,
    });
    assert_eq!(priorities.collect::<Vec<_>>(), [Some(9), None, None]);
    assert_eq!((plan.notes, plan.wake_at), (vec![], None));
}

#[test]
fn a_member_s_name_depends_on_the_group_s_uid() {
    let mut case = group("");
    case.step(0);
    let names: Vec<String> = case.decide(at(0)).effects.iter().map(|effect| made(effect).job.name).collect();
    assert_eq!(names, MEMBERS.map(|member| names::member_job("release", "uid-release", member)));
    assert_ne!(names[0], names::member_job("release", "uid-of-the-next-group", "build"));
}

#[test]
fn a_group_that_is_not_started_makes_nothing_until_it_is() {
    let mut case = group("started: false");
    assert_eq!(case.step(0), [""; 0]);
    assert_eq!((case.phase(), case.counts()), (Some(GroupPhase::Created), [3, 0, 0, 0, 0]));
    case.assert_rests(100);
    case.group.spec.started = Some(true);
    assert_eq!(case.step(200), [""; 0]);
    assert_eq!((case.phase(), case.status().queued_at.clone()), (Some(GroupPhase::Queued), Some(micro(at(200)))));
    assert_eq!(case.step(201), MEMBERS);
}

#[test]
fn a_crash_between_two_members_is_completed_without_making_one_twice() {
    let mut case = group("");
    case.step(0);
    let effects = case.decide(at(0)).effects;
    case.jobs.push(made(&effects[0]));
    assert_eq!(case.step(5), ["check", "ship"]);
    case.step(5);
    case.assert_rests(6);
}

#[test]
fn phases_and_counts_follow_the_members_to_the_end() {
    let mut case = group("").started();
    assert_eq!((case.phase(), case.counts()), (Some(GroupPhase::Queued), [3, 0, 0, 0, 0]));
    case.job("build").phase = Some(JobPhase::Dispatched);
    case.runs("check", 7);
    case.step(10);
    assert_eq!((case.phase(), case.counts()), (Some(GroupPhase::Running), [1, 2, 0, 0, 0]));
    assert_eq!(case.status().started_at, Some(micro(at(7))));
    case.runs("build", 4);
    case.ends("check", Outcome::Completed, 11);
    case.step(12);
    assert_eq!((case.phase(), case.counts()), (Some(GroupPhase::Running), [1, 1, 1, 0, 0]));
    assert_eq!(case.status().started_at, Some(micro(at(4))), "the first one to start, whenever it is seen");
    case.ends("build", Outcome::Completed, 20);
    case.ends("ship", Outcome::Skipped, 15);
    let plan = case.decide(at(21));
    assert_eq!(plan.notes, [Note::normal("Completed", "Finish", "2 completed, 0 failed, 1 skipped")]);
    case.step(21);
    let status = case.status();
    assert_eq!((status.phase, case.counts()), (Some(GroupPhase::Completed), [0, 0, 2, 0, 1]));
    assert_eq!(status.finished_at, Some(micro(at(20))), "when the last member finished");
    let member = &status.members[1];
    assert_eq!(
        (member.phase, member.outcome, member.reason),
        (Some(JobPhase::Finished), Some(Outcome::Completed), Some(Reason::Succeeded))
    );
    assert_eq!(member.run_ref.as_ref().unwrap().name, "run-of-check");
    assert_eq!(status.members[2].phase, Some(JobPhase::Cancelled));
    assert_eq!(status.conditions.iter().map(|it| it.type_.as_str()).collect::<Vec<_>>(), ["Complete"]);
    case.assert_rests(22);
}

#[test]
fn a_group_with_a_failed_member_is_partial_even_if_all_failed() {
    for failed in 1..=3 {
        let mut case = group("").started();
        for (index, member) in MEMBERS.into_iter().enumerate() {
            let outcome = if index < failed { Outcome::Failed } else { Outcome::Completed };
            case.ends(member, outcome, 10);
        }
        let plan = case.decide(at(11));
        assert!(plan.notes[0].warning);
        case.step(11);
        assert_eq!(case.phase(), Some(GroupPhase::Partial));
        assert_eq!(case.status().conditions[0].type_, "Failed");
        case.assert_rests(12);
    }
}

#[test]
fn a_group_once_running_stays_so_while_a_member_waits_for_its_next_attempt() {
    let mut case = group("").started();
    case.runs("build", 5);
    case.step(6);
    case.job("build").phase = Some(JobPhase::Queued);
    case.step(7);
    assert_eq!((case.phase(), case.counts()), (Some(GroupPhase::Running), [3, 0, 0, 0, 0]));
}

/// What a started group says to a member that may run.
fn open_gate(place: u32) -> Gate {
    let position = Some(Position::at(at(0)));
    Gate { group_uid: "uid-release".into(), position, place, ..Gate::default() }
}

#[test]
fn parallel_members_are_let_through_with_the_group_s_limit() {
    let case = group("maxRunning: 2").started();
    for gate in case.gates() {
        assert_eq!(gate, open_gate(gate.place));
    }
    assert_eq!(max_running(&case.group.spec), Some(2));
}

#[test]
fn sequential_members_go_in_the_order_of_the_list_whatever_the_outcome() {
    let waits = |case: &Case| case.gates().into_iter().map(|gate| gate.waits).collect::<Vec<_>>();
    let goes_first = |member: &str| Some(format!("member {member:?} of the group goes first"));
    let mut case = sequential("").started();
    assert_eq!(waits(&case), [None, goes_first("build"), goes_first("build")]);
    case.ends("build", Outcome::Failed, 5);
    assert_eq!(waits(&case)[1..], [None, goes_first("check")], "before the status says that build ended");
    case.step(6);
    assert_eq!(waits(&case)[1..], [None, goes_first("check")]);
    case.ends("check", Outcome::Skipped, 7);
    case.step(8);
    assert_eq!(waits(&case)[2..], [None]);
}

#[test]
fn stop_tells_the_others_when_a_member_failed_and_continue_does_not() {
    let stopped = |case: &Case| case.gates().into_iter().map(|gate| gate.stopped).collect::<Vec<_>>();
    for (policy, expected) in [("Stop", Some("member \"build\" of the group failed".to_owned())), ("Continue", None)] {
        let mut case = group(&format!("failurePolicy: {policy}")).started();
        assert_eq!(stopped(&case), [None, None, None]);
        case.ends("build", Outcome::Failed, 5);
        case.step(6);
        assert_eq!(stopped(&case)[1..], [expected.clone(), expected]);
    }
}

#[test]
fn a_skipped_member_does_not_stop_the_others() {
    let mut case = sequential("failurePolicy: Stop").started();
    case.ends("build", Outcome::Skipped, 5);
    case.step(6);
    assert_eq!(case.gates()[1], open_gate(1));
}

#[test]
fn a_member_that_was_dropped_before_it_ran_counts_as_failed() {
    for reason in [Reason::TotalDeadlineExceeded, Reason::QueueFull, Reason::QueueOverflow] {
        let mut case = sequential("failurePolicy: Stop").started();
        case.ends("build", Outcome::Skipped, 5);
        case.job("build").ending.as_mut().unwrap().reason = reason;
        case.step(6);
        let said = format!("member \"build\" of the group did not run ({})", reason.as_str());
        assert_eq!(case.gates()[1].stopped, Some(said));
        for member in ["check", "ship"] {
            case.ends(member, Outcome::Skipped, 7);
        }
        case.step(8);
        assert_eq!(case.phase(), Some(GroupPhase::Partial));
    }
}

#[test]
fn a_group_cancelled_before_its_start_makes_nothing_and_is_cancelled() {
    for more in ["cancel: {reason: no}", "cancel: {reason: no}\n  started: false"] {
        let mut case = group(more);
        let plan = case.decide(at(3));
        assert_eq!(plan.effects, []);
        let requested = Note::normal("CancelRequested", "Cancel", "its end was asked for: no");
        let cancelled = Note::normal("Cancelled", "Finish", "0 completed, 0 failed, 0 skipped");
        assert_eq!(plan.notes, [requested, cancelled]);
        case.step(3);
        assert_eq!(
            (case.phase(), case.status().finished_at.clone()),
            (Some(GroupPhase::Cancelled), Some(micro(at(3))))
        );
        assert_eq!(case.status().conditions[0].type_, "Cancelled");
        case.assert_rests(4);
    }
}

#[test]
fn a_cancelled_group_tells_its_members_and_ends_with_the_last_of_them() {
    let mut case = group("").started();
    case.runs("build", 5);
    case.step(6);
    case.group.spec.cancel = Some(yaml("{reason: no, force: true}"));
    for gate in case.gates() {
        assert_eq!(gate.cancel, Some(Cancel { reason: "no".into(), force: true, ..Cancel::default() }));
    }
    case.ends("check", Outcome::Skipped, 7);
    case.ends("ship", Outcome::Skipped, 7);
    assert_eq!(case.step(8), [""; 0]);
    assert_eq!((case.phase(), case.counts()), (Some(GroupPhase::Running), [0, 1, 0, 0, 2]));
    case.ends("build", Outcome::Failed, 9);
    case.step(10);
    assert_eq!((case.phase(), case.counts()), (Some(GroupPhase::Cancelled), [0, 0, 0, 1, 2]));
    assert_eq!(case.status().finished_at, Some(micro(at(9))));
    case.assert_rests(11);
}

#[test]
fn a_cancel_that_comes_while_the_members_are_made_still_waits_for_those_that_were() {
    let mut case = group("");
    case.step(0);
    let effects = case.decide(at(0)).effects;
    case.jobs.push(made(&effects[0]));
    case.group.spec.cancel = Some(yaml("{}"));
    assert_eq!(case.step(1), [""; 0]);
    assert_ne!(case.phase(), Some(GroupPhase::Cancelled));
    case.ends("build", Outcome::Skipped, 2);
    case.step(3);
    assert_eq!((case.phase(), case.counts()), (Some(GroupPhase::Cancelled), [2, 0, 0, 0, 1]));
}

#[test]
fn a_member_that_ends_after_the_group_is_written_down_and_changes_nothing_else() {
    let mut case = group("");
    case.step(0);
    let effects = case.decide(at(0)).effects;
    case.group.spec.cancel = Some(yaml("{}"));
    case.step(1);
    assert_eq!(case.phase(), Some(GroupPhase::Cancelled));
    // A Job that was under way when the group was cancelled comes to light.
    case.jobs.push(made(&effects[0]));
    case.step(2);
    case.ends("build", Outcome::Completed, 9);
    case.step(10);
    let status = case.status();
    assert_eq!((status.phase, case.counts()), (Some(GroupPhase::Cancelled), [2, 0, 1, 0, 0]));
    assert_eq!(status.finished_at, Some(micro(at(1))));
    assert_eq!(status.members[0].outcome, Some(Outcome::Completed), "its Job waits for this");
    case.assert_rests(11);
}

#[test]
fn members_are_not_made_again_after_their_clean_up() {
    let mut case = group("").started();
    case.ends("build", Outcome::Completed, 5);
    case.step(6);
    case.jobs.retain(|job| job.member != "build");
    case.assert_rests(700);
    assert_eq!(case.status().members[0].outcome, Some(Outcome::Completed));
    case.ends("check", Outcome::Completed, 701);
    case.ends("ship", Outcome::Completed, 702);
    case.step(703);
    case.jobs.clear();
    case.assert_rests(1_400);
    assert_eq!((case.phase(), case.counts()), (Some(GroupPhase::Completed), [0, 0, 3, 0, 0]));
}

#[test]
fn the_outcome_of_a_member_never_changes() {
    let mut case = group("").started();
    case.ends("build", Outcome::Failed, 5);
    case.step(6);
    case.ends("build", Outcome::Completed, 7);
    case.assert_rests(8);
}

#[test]
fn a_member_that_cannot_run_as_it_is_written_is_named() {
    let mut case = group("").started();
    case.job("check").stalled = Some("there is no JobTemplate \"make\"".into());
    case.step(5);
    let stalled = &case.status().conditions[0];
    assert_eq!((stalled.type_.as_str(), stalled.reason.as_str()), ("Stalled", "MemberStalled"));
    assert_eq!(stalled.message, "member \"check\": there is no JobTemplate \"make\"");
    case.assert_rests(6);
    case.job("check").stalled = None;
    case.step(7);
    assert_eq!(case.status().conditions, []);
}

#[test]
fn a_group_that_is_being_deleted_makes_nothing_and_still_writes_endings_down() {
    let mut case = group("");
    case.step(0);
    let effects = case.decide(at(0)).effects;
    case.jobs.push(made(&effects[0]));
    case.group.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
    case.ends("build", Outcome::Failed, 2);
    assert_eq!(case.step(3), [""; 0]);
    assert_eq!(case.status().members[0].outcome, Some(Outcome::Failed));
    case.assert_rests(4);
}

#[test]
fn a_deleted_group_says_what_keeps_it() {
    const KEPT: &str = "it is being deleted, and stays until somebody takes off its finalizer \"example.com/hook\"";
    let delete = |case: &mut Case| {
        case.group.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(5)));
        case.group.metadata.finalizers = Some(vec!["example.com/hook".into()]);
        case.step(6);
        case.assert_rests(7);
        let said = case.status().conditions.first().unwrap();
        (said.type_.clone(), said.message.clone())
    };
    let mut running = group("").started();
    assert_eq!(delete(&mut running), ("Stalled".into(), format!("it starts no more members; {KEPT}")));
    let mut ended = group("").started();
    for member in MEMBERS {
        ended.ends(member, Outcome::Completed, 3);
    }
    ended.step(4);
    assert_eq!(delete(&mut ended), ("Complete".into(), format!("all members ended, none failed; {KEPT}")));
}

/// A cancel that comes too late, for one: kstatus compares the generations.
#[test]
fn an_edit_after_the_end_changes_nothing_and_is_said_to_be_seen() {
    let mut case = group("").started();
    MEMBERS.into_iter().for_each(|member| case.ends(member, Outcome::Completed, 5));
    case.step(6);
    let ended = case.status().clone();
    assert_eq!(ended.phase, Some(GroupPhase::Completed));
    case.group.spec.cancel = Some(Cancel { reason: "too late".into(), ..Cancel::default() });
    case.group.metadata.generation = Some(2);
    case.step(7);
    assert_eq!(*case.status(), JobGroupStatus { observed_generation: Some(2), ..ended });
    assert_eq!(case.decide(at(8)).status, None, "it is said once");
}

#[test]
fn the_start_of_a_group_and_who_asked_for_its_end_are_told_once() {
    let case = group("");
    assert_eq!(case.decide(at(1)).notes, [Note::normal("Started", "Start", "with 3 member(s)")]);
    let mut case = case.started();
    case.step(2);
    case.runs("build", 3);
    case.step(4);
    case.group.spec.cancel = Some(yaml("{reason: wrong branch, requestedBy: anna}"));
    case.group.metadata.generation = Some(2);
    let text = "its end was asked for by anna: wrong branch";
    assert_eq!(case.decide(at(5)).notes, [Note::normal("CancelRequested", "Cancel", text)]);
    case.step(5);
    assert_eq!(case.decide(at(6)).notes, [], "the status says that it was seen");
}
