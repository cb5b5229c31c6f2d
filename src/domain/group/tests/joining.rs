//! Jobs that join a group, and groups that resume another one.

use super::*;
use crate::api::job_group::MEMBERS_MAX;

const GROUP: &str = "uid-release";

/// A Job that a user wrote with a groupRef, created in that second.
fn user_job(name: &str, second: i64) -> Job {
    let mut job: Job = yaml(&format!(
        "{{metadata: {{name: {name}, namespace: team, uid: uid-of-{name}}}, spec: {{groupRef: {{name: release}}}}}}"
    ));
    job.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(second)));
    job
}

/// The same, and its status says that it joined.
fn joined(name: &str, second: i64) -> Job {
    let mut job = user_job(name, second);
    job.status.get_or_insert_default().joined_group = Some(GROUP.into());
    job
}

fn with_position(mut job: Job, position: i64) -> Job {
    job.spec.position = Some(position.into());
    job
}

fn empty(mode: &str) -> Case {
    let mut case = group("started: false");
    case.group.spec.jobs.clear();
    case.group.spec.mode = if mode == "Sequential" { GroupMode::Sequential } else { GroupMode::Parallel };
    case
}

fn ending(outcome: Outcome, second: i64) -> Ending {
    Ending { outcome, reason: Reason::Cancelled, finished_at: at(second), run: "run".into() }
}

impl Case {
    fn joins(&mut self, job: &Job) {
        self.jobs.extend(member(job, &self.group, None));
    }

    fn start(&mut self, second: i64) {
        self.group.spec.started = Some(true);
        self.group.metadata.generation = self.group.metadata.generation.map(|it| it + 1);
        self.step(second);
    }

    fn gate_of(&self, job: &Job) -> Gate {
        gate(job, Some((&self.group, &standing(&self.group, &self.jobs, &|_| None)))).unwrap()
    }

    /// The names of the members as the status lists them.
    fn listed(&self) -> Vec<&str> {
        self.status().members.iter().map(|it| it.name.as_str()).collect()
    }
}

#[test]
fn a_job_waits_for_its_group_joins_it_before_the_start_and_comes_too_late_after_it() {
    let sentence = |gate: Gate| (gate.unstarted, gate.closed);
    let none = gate(&user_job("late", 1), None).unwrap();
    assert_eq!(sentence(none), (Some("there is no JobGroup \"release\" in this namespace".into()), None));
    let mut case = group("started: false");
    case.step(0);
    let gate = case.gate_of(&user_job("early", 1));
    assert_eq!((gate.group_uid.as_str(), gate.joins), (GROUP, true), "its status is to say that it joined");
    assert_eq!(sentence(gate), (Some("JobGroup \"release\" has not been started".into()), None));
    case.start(10);
    assert_eq!(case.status().queued_at, Some(micro(at(10))));
    let early = joined("early", 1);
    case.joins(&early);
    let first = Some("Jobs that JobGroup \"release\" lists go first, and are being made".into());
    assert_eq!(sentence(case.gate_of(&early)), (first, None), "it comes after them");
    assert_eq!(case.step(10), MEMBERS);
    // Whoever was there is in, also if that is seen only now, and says so before it is queued.
    let seen_late = case.gate_of(&user_job("seen-late", 10));
    assert_eq!(sentence(seen_late), (Some("it is joining JobGroup \"release\"".into()), None));
    assert_eq!(sentence(case.gate_of(&joined("early", 1))), (None, None));
    let late = case.gate_of(&user_job("late", 11));
    assert_eq!(late.closed.as_deref(), Some("JobGroup \"release\" was started before this Job was created"));
    assert_eq!(late.group_uid, "", "it takes no part in the group's limit");
}

#[test]
fn a_group_that_was_replaced_or_ended_or_is_being_deleted_is_closed() {
    let mut case = group("started: false");
    case.step(0);
    let mut other = joined("other", 1);
    other.status.as_mut().unwrap().joined_group = Some("uid-of-the-one-before".into());
    let mut given = user_job("given", 1);
    given.spec.group_ref.as_mut().unwrap().uid = "uid-of-the-one-before".into();
    for job in [&other, &given] {
        let why = case.gate_of(job).closed.unwrap();
        assert!(why.contains("is gone"), "{why}");
        assert_eq!(gate(job, None).unwrap().closed.as_deref(), Some("its JobGroup \"release\" is gone"));
        assert!(is_settled(Some(&case.group), job, None));
    }
    case.group.metadata.deletion_timestamp = Some(serde_json::from_str("\"2026-03-01T00:00:05Z\"").unwrap());
    assert_eq!(case.gate_of(&joined("a", 1)).closed.as_deref(), Some("JobGroup \"release\" is being deleted"));
    case.group.metadata.deletion_timestamp = None;
    case.group.status.as_mut().unwrap().phase = Some(GroupPhase::Completed);
    assert_eq!(case.gate_of(&user_job("a", 1)).closed.as_deref(), Some("JobGroup \"release\" has ended"));
}

#[test]
fn members_are_those_of_the_list_and_then_those_that_joined_by_position_creation_and_name() {
    let mut case = sequential("started: false");
    for job in [joined("z", 5), joined("b", 7), joined("a", 7), with_position(joined("moved-up", 9), 1)] {
        case.joins(&job);
    }
    case.start(10);
    assert_eq!(case.listed(), ["build", "check", "ship", "moved-up", "z", "a", "b"]);
    assert_eq!(case.status().counts.unwrap().total, 7);
    case.step(11);
    let place = |case: &Case, name: &str| case.gate_of(&joined(name, 1)).place;
    assert_eq!(["moved-up", "z", "a", "b"].map(|name| place(&case, name)), [3, 4, 5, 6]);
    // Moving one that waits moves it in the line, and not in the status.
    case.jobs.iter_mut().find(|it| it.member == "b").unwrap().position = Some(0.into());
    assert_eq!(place(&case, "b"), 3);
    case.step(12);
    assert_eq!(case.listed(), ["build", "check", "ship", "moved-up", "z", "a", "b"]);
}

#[test]
fn the_order_of_the_list_may_change_while_it_runs() {
    let mut case = sequential("").started();
    case.ends("build", Outcome::Completed, 5);
    case.runs("check", 6);
    case.step(7);
    case.group.spec.jobs.reverse();
    let [ship, check, _] = case.gates().try_into().unwrap();
    assert_eq!((ship.place, ship.waits), (0, None), "it goes when check has ended");
    assert_eq!(max_running(&case.group.spec), Some(1), "and never beside check");
    assert_eq!((check.place, check.waits), (1, Some("member \"ship\" of the group goes first".into())));
}

#[test]
fn of_several_jobs_with_one_member_s_name_the_list_s_is_the_member_else_the_first_to_join() {
    let mut case = group("started: false");
    let second = joined("second", 2);
    let named = |name: &str, member: &str, second: i64| {
        let mut job = joined(name, second);
        job.spec.group_ref.as_mut().unwrap().member = member.into();
        job
    };
    let jobs = [named("usurper", "build", 1), named("third", "second", 3), second.clone()];
    jobs.iter().for_each(|job| case.joins(job));
    let rejected = standing(&case.group, &case.jobs, &|_| None).rejected;
    assert_eq!(
        rejected.iter().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
        ["third", "usurper"].into()
    );
    let closed = |job: &Job| case.gate_of(job).closed;
    assert_eq!(closed(&second), None);
    let why = closed(&jobs[1]).unwrap();
    assert_eq!(why, "the member \"second\" of JobGroup \"release\" is another Job: second");
    assert!(
        closed(&jobs[0]).unwrap().starts_with("the member \"build\" of JobGroup \"release\" is another Job: release-")
    );
    case.start(10);
    case.step(11);
    assert_eq!(case.listed(), ["build", "check", "ship", "second"]);
    case.step(12);
    assert!(is_settled(Some(&case.group), &jobs[0], None) && is_settled(Some(&case.group), &jobs[1], None));
}

#[test]
fn who_ends_before_the_start_has_left_and_who_ends_after_it_is_counted() {
    let mut case = empty("Parallel");
    let (left, stayed) = (joined("left", 1), joined("stayed", 1));
    assert_eq!(member(&left, &case.group, Some(ending(Outcome::Skipped, 5))), None);
    assert!(is_settled(Some(&case.group), &left, None), "it may go at once");
    case.joins(&stayed);
    case.start(10);
    assert_eq!(member(&left, &case.group, Some(ending(Outcome::Skipped, 5))), None, "it is still there");
    assert!(is_settled(Some(&case.group), &left, Some(&ending(Outcome::Skipped, 5))), "nobody waits for it");
    assert!(!is_settled(Some(&case.group), &stayed, None));
    let whole_seconds = member(&stayed, &case.group, Some(ending(Outcome::Completed, 9)));
    assert!(whole_seconds.is_some(), "it ran, so it ended after the start, whatever its time says");
    case.ends("stayed", Outcome::Failed, 12);
    case.step(13);
    assert_eq!((case.phase(), case.status().counts.unwrap().failed), (Some(GroupPhase::Partial), 1));
    assert!(is_settled(Some(&case.group), &stayed, None));
    // Its Job may be gone now.
    case.jobs.clear();
    case.assert_rests(14);
}

#[test]
fn a_group_cancelled_before_its_start_counts_those_that_had_joined() {
    let mut case = empty("Parallel");
    case.joins(&joined("a", 1));
    case.step(2);
    case.group.spec.cancel = Some(yaml("{}"));
    assert!(case.gate_of(&joined("a", 1)).cancel.is_some());
    case.step(3);
    assert_eq!(case.phase(), Some(GroupPhase::Created), "until they have ended");
    case.ends("a", Outcome::Skipped, 4);
    case.step(5);
    assert_eq!((case.phase(), case.status().counts.unwrap().skipped), (Some(GroupPhase::Cancelled), 1));
    assert!(is_settled(Some(&case.group), &joined("a", 1), None));
}

#[test]
fn a_group_without_members_is_completed_by_its_start() {
    let mut case = empty("Sequential");
    case.step(0);
    assert_eq!(case.phase(), Some(GroupPhase::Created));
    case.start(5);
    let status = case.status();
    assert_eq!((status.phase, status.counts.unwrap().total), (Some(GroupPhase::Completed), 0));
    assert_eq!((&status.started_at, &status.finished_at), (&None, &Some(micro(at(5)))));
    case.assert_rests(6);
}

#[test]
fn a_status_lists_a_thousand_members_and_counts_all_of_them() {
    let mut case = group("started: false");
    (0..MEMBERS_MAX).for_each(|number| case.joins(&joined(&format!("m{number:04}"), 1)));
    case.start(10);
    case.step(11);
    case.step(12);
    assert_eq!((case.status().members.len(), case.status().counts.unwrap().total), (MEMBERS_MAX, 1_003));
    let (listed, unlisted) = (joined("m0000", 1), joined("m0999", 1));
    for name in ["m0000", "m0999"] {
        case.ends(name, Outcome::Completed, 20);
    }
    case.step(21);
    assert_eq!(case.status().counts.unwrap().completed, 2);
    let settled = |case: &Case| [&listed, &unlisted].map(|job| is_settled(Some(&case.group), job, None));
    assert_eq!(settled(&case), [true, false], "its Job is all that says how it ended");
    // A listed one that is gone keeps its place: nobody else would count it.
    case.jobs.retain(|job| job.member != "m0000");
    case.step(22);
    assert_eq!((case.status().members.len(), case.status().counts.unwrap().completed), (MEMBERS_MAX, 2));
    let others: Vec<String> = case.jobs.iter().map(|job| job.member.clone()).collect();
    others.iter().for_each(|name| case.ends(name, Outcome::Completed, 30));
    case.step(31);
    assert_eq!((case.phase(), case.status().counts.unwrap().completed), (Some(GroupPhase::Completed), 1_003));
    assert_eq!(settled(&case), [true, true]);
}

#[test]
fn the_jobs_of_a_long_list_are_made_in_parts_and_its_status_is_written_less_often() {
    let mut case = group("");
    let member = case.group.spec.jobs[0].clone();
    case.group.spec.jobs =
        (0..250).map(|number| GroupMember { name: format!("m{number}"), ..member.clone() }).collect();
    let before = case.group.status.clone();
    assert_eq!(case.step(0), [""; 0]);
    assert!(!may_rest(before.as_ref(), case.status()), "a change of phase is written at once");
    let made: Vec<usize> =
        (0..4).map(|_| case.decide(at(1)).effects.iter().map(made).map(|it| case.jobs.push(it)).count()).collect();
    assert_eq!(made, [100, 100, 50, 0]);
    let before = case.group.status.clone();
    case.step(2);
    assert!(may_rest(before.as_ref(), case.status()));
    assert!(!may_rest(None, case.status()));
}

/// The group before, of which build succeeded and check failed.
fn partial() -> JobGroup {
    yaml(
        "
metadata: {name: before, namespace: team, uid: uid-before}
spec: {mode: Parallel}
status:
  phase: Partial
  members:
  - {name: build, outcome: Completed, reason: Succeeded, runRef: {name: run-of-build}}
  - {name: check, outcome: Failed, reason: ExitCode, runRef: {name: run-of-check}}
",
    )
}

#[test]
fn a_group_that_resumes_another_one_runs_only_what_did_not_succeed() {
    for (resume_of, chained) in [("{name: before}", false), ("{name: before, uid: uid-before}", true)] {
        let mut case = sequential(&format!("resumeOf: {resume_of}"));
        let mut old = partial();
        if chained {
            let build = &mut old.status.as_mut().unwrap().members[0];
            (build.outcome, build.reason) = (Some(Outcome::Skipped), Some(Reason::AlreadySucceeded));
        }
        case.resumed = Some(old);
        case.step(5);
        let build = &case.status().members[0];
        assert_eq!((build.outcome, build.reason), (Some(Outcome::Skipped), Some(Reason::AlreadySucceeded)));
        assert_eq!((build.run_ref.as_ref().unwrap().name.as_str(), &build.job_ref), ("run-of-build", &None));
        assert_eq!(case.phase(), Some(GroupPhase::Queued), "none of its own members has run");
        // From now on the old one may be gone.
        case.resumed = None;
        assert_eq!(case.step(6), ["check", "ship"]);
        case.step(6);
        assert_eq!(case.counts(), [2, 0, 0, 0, 1]);
        assert_eq!(case.gates()[1].waits, None, "check goes first");
        case.assert_rests(7);
        case.ends("check", Outcome::Completed, 8);
        case.ends("ship", Outcome::Completed, 9);
        case.step(10);
        assert_eq!((case.phase(), case.counts()), (Some(GroupPhase::Completed), [0, 0, 2, 0, 1]));
    }
}

#[test]
fn a_job_that_joins_need_not_run_either_if_its_member_succeeded_before() {
    let mut case = empty("Parallel");
    case.group.spec.resume_of = Some(yaml("{name: before}"));
    case.resumed = Some(partial());
    let (build, check) = (joined("build", 1), joined("check", 1));
    [&build, &check].iter().for_each(|job| case.joins(job));
    case.start(5);
    let why = case.gate_of(&build).succeeded_before.unwrap();
    assert_eq!(why, "the member \"build\" succeeded in JobGroup \"before\", see JobRun run-of-build");
    assert_eq!(case.gate_of(&check).succeeded_before, None);
    assert!(is_settled(Some(&case.group), &build, None));
}

#[test]
fn a_group_waits_until_the_one_that_it_resumes_exists_and_has_ended() {
    let mut running = partial();
    running.status.as_mut().unwrap().phase = Some(GroupPhase::Running);
    let mut another = partial();
    another.metadata.uid = Some("uid-of-another".into());
    for (old, expected) in
        [(None, "there is no JobGroup"), (Some(another), "there is no JobGroup"), (Some(running), "has not ended")]
    {
        let mut case = group("resumeOf: {name: before, uid: uid-before}");
        case.resumed = old;
        assert_eq!(case.step(5), [""; 0]);
        let stalled = &case.status().conditions[0];
        assert_eq!(
            (case.phase(), stalled.type_.as_str(), stalled.reason.as_str()),
            (Some(GroupPhase::Created), "Stalled", "ResumeOf")
        );
        assert!(stalled.message.contains(expected), "{}", stalled.message);
        case.assert_rests(6);
        case.resumed = Some(partial());
        case.step(7);
        assert_eq!((case.phase(), case.status().conditions.len()), (Some(GroupPhase::Queued), 0));
    }
}

/// Names of the members whose Jobs are made, with those that may come to the queue before each round, until all are made.
fn rounds(case: &mut Case, joined: &[&str]) -> Vec<(Vec<String>, Vec<String>)> {
    let mut rounds: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    for second in 11..20 {
        let standing = standing(&case.group, &case.jobs, &|name| (name == "ship").then_some(4));
        let due = joined.iter().filter(|name| standing.is_due(name)).map(|name| (*name).to_owned()).collect();
        let plan = super::decide(&case.group, &case.jobs, None, &|name| (name == "ship").then_some(4), at(second));
        let made: Vec<MemberJob> = plan.effects.iter().map(made).collect();
        case.jobs.extend(made.iter().cloned());
        rounds.push((due, made.into_iter().map(|job| job.member).collect()));
        if rounds.last().is_some_and(|(_, made)| made.is_empty()) {
            break;
        }
    }
    rounds
}

#[test]
fn jobs_are_made_in_the_order_in_which_they_go_and_who_joined_comes_before_those_after_it() {
    let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let with_priority = |name: &str, priority| {
        let mut job = joined(name, 1);
        job.spec.priority = Some(priority);
        job
    };
    let start = |mode: GroupMode| {
        let mut case = group("started: false");
        case.group.spec.mode = mode;
        let jobs = [("first", 10), ("second", 6), ("third", 4), ("last", 0)];
        jobs.iter().for_each(|(name, priority)| case.joins(&with_priority(name, *priority)));
        case.joins(&with_position(joined("early", 2), 1));
        case.start(10);
        case
    };
    let names = ["first", "second", "third", "early", "last"];
    // build has 9, ship 4 by its template, check none.
    let expected = [
        (strings(&["first"]), strings(&["build"])),
        (strings(&["first", "second"]), strings(&["ship"])),
        (strings(&["first", "second", "third", "early"]), strings(&["check"])),
        (strings(&names), vec![]),
    ];
    assert_eq!(rounds(&mut start(GroupMode::Parallel), &names), expected);
    // In a Sequential group priorities decide nothing.
    let expected = [(vec![], strings(&MEMBERS)), (strings(&names), vec![])];
    assert_eq!(rounds(&mut start(GroupMode::Sequential), &names), expected);
}
