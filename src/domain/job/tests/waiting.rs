//! Before the launch: held, resolved, queued, held back, refused, or never run at all.

use super::*;
use crate::api::JobRunSpec;

fn blocked(waiting_for: WaitingFor, message: &str) -> Blocker {
    Blocker { waiting_for, message: message.into() }
}

fn the_candidate(queued_at: Timestamp) -> Candidate {
    Candidate {
        rank: Rank {
            priority: Reverse(0),
            position: Position::at(queued_at),
            place: 0,
            queued_at,
            name: "report".into(),
        },
        uid: "uid-report".into(),
        attempt: 1,
        queue: "default".into(),
        limits: [Limit::Template("nightly".into()), Limit::Namespace].into(),
    }
}

#[test]
fn a_users_job_is_held_before_anything_else_is_done_about_it() {
    for stands in [Stands::Usable, Stands::Missing, Stands::Archived] {
        let mut case = case();
        case.stands = stands;
        case.job.metadata.finalizers = Some(vec!["example.com/other".into()]);
        let effects = vec![Effect::HoldJob(case.identity())];
        let plan = Plan { effects, ..Plan::default() };
        assert_eq!(case.decide(after(0)), Decision { plan, is_coming: true, ..Decision::default() });
    }
}

#[test]
fn a_new_job_may_be_launched_at_once_and_its_status_comes_later() {
    let case = case();
    let expected = Decision {
        plan: Plan { wake_at: Some(after_ms(1_000)), ..Plan::default() },
        candidate: Some(the_candidate(after(0))),
        queue: Some("default".into()),
        is_coming: false,
        look: false,
    };
    assert_eq!(case.decide(after_ms(5)), expected);
    assert_eq!(case.decide(after_ms(999)), expected);
}

#[test]
fn the_status_of_a_new_job_waits_longer_while_others_are_being_launched() {
    let mut case = case();
    case.busy = true;
    assert_eq!(case.decide(after_ms(1_000)).plan, Plan { wake_at: Some(after_ms(1_500)), ..Plan::default() });
    assert!(case.decide(after_ms(6_000)).plan.status.is_some());
    case.memory.blocker = Some(blocked(WaitingFor::QueueLimit, "queue default: 1 of 1 running"));
    assert!(case.decide(after_ms(1_000)).plan.status.is_some(), "what it waits for is news");
}

#[test]
fn a_job_that_still_waits_after_a_moment_says_so() {
    let mut case = case();
    let decision = case.step(after_ms(1_000));
    let status = yaml(
        "
observedGeneration: 1
phase: Queued
queue: default
priority: 0
jobType: report
params: {day: monday}
template: {name: nightly, uid: uid-nightly, revision: nightly-r1, digest: d1}
queuedAt: '2026-03-01T00:00:00.000000Z'
attempts: 0
conditions:
- {type: Dispatched, status: 'False', reason: Queued, message: waiting for its turn, observedGeneration: 1, lastTransitionTime: '2026-03-01T00:00:01Z'}
",
    );
    let expected = Decision {
        plan: Plan { status: Some(status), ..Plan::default() },
        candidate: Some(the_candidate(after(0))),
        queue: Some("default".into()),
        is_coming: false,
        look: false,
    };
    assert_eq!(decision, expected);
    case.assert_settled(after(3_600));
}

#[test]
fn what_the_queue_says_is_told_at_once_and_rewritten_only_when_the_word_changes() {
    let mut case = case();
    case.memory.blocker = Some(blocked(WaitingFor::QueueLimit, "queue default: 1 of 1 running: a"));
    case.write(after_ms(5));
    assert_eq!(case.status().waiting_for, Some(WaitingFor::QueueLimit));
    let told = said("False", "QueueLimit", "queue default: 1 of 1 running: a");
    assert_eq!(condition(case.status(), "Dispatched"), told);
    case.memory.blocker = Some(blocked(WaitingFor::QueueLimit, "queue default: 1 of 1 running: b"));
    case.assert_settled(after(1));
    assert_eq!(condition(case.decide(after(1)).plan.status.as_ref().unwrap(), "Dispatched"), told);
    case.memory.blocker = Some(blocked(WaitingFor::QueuePaused, "queue default is paused: x"));
    case.write(after(2));
    assert_eq!(condition(case.status(), "Dispatched"), said("False", "QueuePaused", "queue default is paused: x"));
    assert_eq!(types(case.status()), ["Dispatched"]);
}

#[test]
fn a_restart_writes_nothing_about_a_job_that_its_queue_holds_back() {
    let mut case = case();
    case.memory.blocker = Some(blocked(WaitingFor::QueueLimit, "queue default: 1 of 1 running: a"));
    case.write(after(1));
    // The next process has seen the Job, and its queue has not had a round yet.
    case.memory = Memory::new(after(100));
    case.memory.queueable_since = Some(after(100));
    let decision = case.decide(after(100));
    assert_eq!(decision.plan, Plan { wake_at: Some(after_ms(101_000)), ..Plan::default() });
    assert_eq!(decision.candidate, Some(the_candidate(after(0))));
    case.memory.blocker = Some(blocked(WaitingFor::QueueLimit, "queue default: 1 of 1 running: a"));
    case.assert_settled(after(101));
}

#[test]
fn the_time_it_was_queued_is_kept_through_restarts_and_edits() {
    let mut case = case().queued();
    case.memory = Memory::new(after(500));
    case.memory.queueable_since = Some(after(500));
    case.job.spec.priority = Some(7);
    case.job.metadata.generation = Some(2);
    let decision = case.step(after(600));
    let rank = decision.candidate.unwrap().rank;
    assert_eq!((rank.priority, rank.queued_at), (Reverse(7), after(0)));
    assert_eq!(case.status().queued_at, Some(micro(after(0))));
    assert_eq!((case.status().priority, case.status().observed_generation), (Some(7), Some(2)));
}

#[test]
fn position_priority_queue_and_limits_reach_the_queue() {
    let mut case = case().of_group(Gate::default());
    case.template = template("queue: heavy\npriority: 3");
    case.job.spec.position = Some((-1).into());
    let candidate = case.decide(after(1)).candidate.unwrap();
    let rank =
        Rank { priority: Reverse(3), position: (-1).into(), place: 0, queued_at: after(0), name: "report".into() };
    assert_eq!(candidate.rank, rank);
    assert_eq!(candidate.queue.as_ref(), "heavy");
    assert_eq!(
        *candidate.limits,
        [Limit::Template("nightly".into()), Limit::Group("uid-batch".into()), Limit::Namespace]
    );
}

#[test]
fn an_edit_of_the_template_changes_nothing_for_a_queued_job() {
    let mut case = case().queued();
    // The Job keeps the revision it was queued with; what the edit made of its parameters does not reach it.
    case.template = template("");
    case.template.params = yaml("[{name: day, default: friday}, {name: size, default: large}]");
    case.assert_settled(after(5));
    let decision = case.decide(after(5));
    assert_eq!(decision.plan.status.unwrap().params, yaml("{day: monday}"));
}

#[test]
fn a_template_that_was_not_read_yet_is_waited_for_without_a_word() {
    let mut case = case();
    case.stands = Stands::Unread;
    assert_eq!(case.decide(after(60)), Decision::default());
}

/// Nobody can say yet whether the template can be used: that is told, and is no reason to give up a Job, whoever made it.
#[test]
fn a_template_that_could_not_be_checked_is_waited_for_and_that_is_said() {
    for mut case in [case(), case().of_schedule(), case().of_group(Gate::default())] {
        case.stands = Stands::Unchecked;
        let decision = case.step(after(0));
        assert_eq!((decision.plan.effects, decision.plan.notes, decision.candidate), (vec![], vec![], None));
        let status = case.status();
        assert_eq!((status.phase, status.waiting_for), (Some(JobPhase::Pending), Some(WaitingFor::Template)));
        let message = "the template has not been checked yet: no answer";
        assert_eq!(condition(status, "Dispatched"), said("False", "Template", message));
        assert!(!types(status).contains(&"Stalled"), "nobody has to change anything");
        case.assert_settled(after(60));
        case.stands = Stands::Usable;
        case.memory.queueable_since = Some(after(61));
        case.write(after(61));
        assert_eq!(case.status().phase, Some(JobPhase::Queued));
    }
}

#[test]
fn a_users_job_waits_for_its_template_and_says_what_is_missing() {
    let table = [
        (
            Stands::Missing,
            "TemplateNotFound",
            "spec.templateRef.name: there is no JobTemplate \"nightly\" in this namespace",
        ),
        (Stands::Invalid, "TemplateInvalid", "the template cannot be used as it is written: no image"),
    ];
    for (stands, reason, message) in table {
        let mut case = case();
        case.stands = stands;
        let decision = case.step(after(0));
        let notes = vec![Note::warning(reason, "Queue", message)];
        let expected = Plan { status: case.job.status.clone(), notes, ..Plan::default() };
        assert_eq!(decision, expected.into());
        let status = case.status();
        assert_eq!((status.phase, status.waiting_for), (Some(JobPhase::Pending), Some(WaitingFor::Template)));
        assert_eq!(status.queued_at, None);
        assert_eq!(condition(status, "Stalled"), said("True", "Template", message));
        assert_eq!(condition(status, "Dispatched"), said("False", "Template", message));
        case.assert_settled(after(60));
    }
}

#[test]
fn a_users_job_with_wrong_parameters_waits_for_its_correction() {
    let mut case = case();
    case.job.spec.params = yaml("{days: monday}");
    let decision = case.step(after(0));
    assert_eq!(decision.plan.effects, []);
    let message = "spec.params.days: is not a parameter of the template; did you mean day?";
    assert_eq!(case.status().waiting_for, Some(WaitingFor::Correction));
    assert_eq!(condition(case.status(), "Stalled"), said("True", "Correction", message));
    assert_eq!(decision.plan.notes, [Note::warning("InvalidParams", "Queue", message)]);
    case.assert_settled(after(60));
    case.job.spec.params = yaml("{day: tuesday}");
    case.job.metadata.generation = Some(2);
    case.memory.queueable_since = Some(after(61));
    case.write(after(61));
    let status = case.status();
    assert_eq!((status.phase, status.waiting_for), (Some(JobPhase::Queued), None));
    assert_eq!((status.queued_at.clone(), types(status)), (Some(micro(after(61))), vec!["Dispatched"]));
}

#[test]
fn a_job_of_a_retired_template_is_recorded_whoever_made_it() {
    let cases = [case(), case().of_schedule(), case().of_group(Gate::default())];
    for mut case in cases {
        case.stands = Stands::Archived;
        let name = attempt_name(&case.job, 1);
        assert_eq!(only_record(&case.decide(after(0))), (name, Outcome::Skipped, Reason::TemplateArchived));
    }
}

#[test]
fn a_job_that_rota_made_is_recorded_when_it_cannot_be_queued() {
    let table = [
        (Stands::Missing, "{day: monday}", Reason::TemplateNotFound),
        (Stands::Invalid, "{day: monday}", Reason::TemplateInvalid),
        (Stands::Usable, "{dya: monday}", Reason::InvalidParams),
    ];
    for (stands, params, reason) in table {
        for mut case in [case().of_schedule(), case().of_group(Gate::default())] {
            case.stands = stands;
            case.job.spec.params = yaml(params);
            let name = attempt_name(&case.job, 1);
            case.job.spec.retry = Some(yaml("{maxAttempts: 3, rules: [{action: Skip}]}"));
            assert_eq!(only_record(&case.decide(after(0))), (name, Outcome::Failed, reason), "no rule speaks of it");
        }
    }
}

#[test]
fn a_member_that_is_written_wrongly_is_judged_in_its_turn() {
    let gate = |waits: Option<&str>, stopped: Option<&str>| Gate {
        waits: waits.map(str::to_owned),
        stopped: stopped.map(str::to_owned),
        ..Gate::default()
    };
    let mut later = case().of_group(gate(Some("member \"extract\" of the group goes first"), None));
    later.stands = Stands::Missing;
    let decision = later.step(after_ms(5));
    assert_eq!((decision.plan.effects, decision.plan.notes), (vec![], vec![]));
    let status = later.status();
    assert_eq!((status.phase, status.waiting_for), (Some(JobPhase::Pending), Some(WaitingFor::GroupOrder)));
    let mut stopped = case().of_group(gate(None, Some("member \"extract\" of the group failed")));
    stopped.stands = Stands::Missing;
    let name = attempt_name(&stopped.job, 1);
    assert_eq!(only_record(&stopped.decide(after(0))), (name, Outcome::Skipped, Reason::GroupStopped));
}

#[test]
fn a_job_without_a_template_runs_what_it_carries() {
    let mut case = case();
    case.job.spec = yaml("{jobType: adhoc, jobTemplate: {spec: {}}, queue: fast, priority: 2}");
    let candidate = case.decide(after(0)).candidate.unwrap();
    assert_eq!((candidate.queue.as_ref(), candidate.limits.as_ref()), ("fast", [Limit::Namespace].as_slice()));
    case.write(after(1));
    assert_eq!((case.status().job_type.as_deref(), &case.status().template), (Some("adhoc"), &None));
}

#[test]
fn a_member_waits_for_those_before_it_and_is_not_queued_yet() {
    let gate = Gate { waits: Some("member \"first\" of the group goes first".into()), ..Gate::default() };
    let mut case = case().of_group(gate);
    let decision = case.step(after_ms(5));
    assert_eq!(decision.candidate, None);
    assert_eq!((decision.plan.effects, decision.plan.notes, decision.plan.wake_at), (vec![], vec![], None));
    let status = case.status();
    assert_eq!((status.phase, status.waiting_for), (Some(JobPhase::Pending), Some(WaitingFor::GroupOrder)));
    assert_eq!((status.queued_at.clone(), status.template.clone(), status.params.len()), (None, None, 0));
    let told = said("False", "GroupOrder", "member \"first\" of the group goes first");
    assert_eq!((condition(status, "Dispatched"), types(status)), (told, vec!["Dispatched"]));
    case.assert_settled(after(60));
}

#[test]
fn a_member_is_queued_when_those_before_it_have_ended() {
    let mut case = case().of_group(Gate { waits: Some("first goes first".into()), ..Gate::default() });
    case.write(after(1));
    case.gate = Some(Gate { group_uid: "uid-batch".into(), ..Gate::default() });
    let decision = case.step(after(60));
    assert_eq!(decision.candidate.unwrap().rank.queued_at, after(60), "it has waited in its queue since now");
    assert_eq!((case.phase(), case.status().queued_at.clone()), (Some(JobPhase::Queued), Some(micro(after(60)))));
    case.assert_settled(after(61));
}

#[test]
fn a_member_of_a_stopped_group_is_recorded() {
    let gate = Gate { stopped: Some("member \"first\" of the group failed".into()), ..Gate::default() };
    for case in [case().of_group(gate.clone()), case().of_group(gate).queued_before_the_stop()] {
        let name = attempt_name(&case.job, 1);
        assert_eq!(only_record(&case.decide(after(5))), (name, Outcome::Skipped, Reason::GroupStopped));
    }
}

impl Case {
    fn queued_before_the_stop(mut self) -> Self {
        let gate = self.gate.replace(Gate::default());
        self = self.queued();
        self.gate = gate;
        self
    }
}

#[test]
fn a_held_job_waits_and_is_no_candidate() {
    let mut case = case();
    case.job.spec.hold = true;
    let decision = case.step(after_ms(5));
    assert_eq!(decision.candidate, None);
    assert_eq!((case.phase(), case.status().waiting_for), (Some(JobPhase::Queued), Some(WaitingFor::Hold)));
    assert_eq!(condition(case.status(), "Dispatched"), said("False", "Hold", "spec.hold is true"));
    case.assert_settled(after(60));
    case.job.spec.hold = false;
    assert_eq!(case.decide(after(61)).candidate.unwrap().rank.queued_at, after(0), "it keeps its place");
}

#[test]
fn nothing_is_decided_while_a_launch_is_under_way() {
    for case in [case(), case().queued(), case().queued().cancelled("{}"), case().deleted()] {
        let mut case = case;
        case.memory.launching = Some(1);
        assert_eq!(case.decide(after(5)), Decision::default());
    }
}

#[test]
fn a_waiting_job_that_is_cancelled_or_deleted_is_recorded_as_skipped() {
    let group = Gate { cancel: Some(yaml("{reason: maintenance}")), ..Gate::default() };
    let table = [
        (case().cancelled("{}"), Reason::Cancelled, "cancelled while it waited"),
        (case().queued().cancelled("{reason: not needed}"), Reason::Cancelled, "cancelled: not needed"),
        (case().of_group(group), Reason::Cancelled, "cancelled: maintenance"),
        (case().queued().deleted(), Reason::JobDeleted, "cancelled: the Job was deleted"),
    ];
    for (case, reason, text) in table {
        let decision = case.decide(after(30));
        assert_eq!(only_record(&decision), (attempt_name(&case.job, 1), Outcome::Skipped, reason));
        assert_eq!(record_of(&decision).status.as_ref().unwrap().error.as_deref(), Some(text));
    }
}

#[test]
fn a_cancel_comes_before_everything_else_that_a_waiting_job_could_say() {
    let mut case = case().of_group(Gate { stopped: Some("stopped".into()), ..Gate::default() }).cancelled("{}");
    case.stands = Stands::Missing;
    case.duplicate_of = Some("other");
    case.job.spec.hold = true;
    assert_eq!(only_record(&case.decide(after(1))).2, Reason::Cancelled);
}

#[test]
fn a_job_that_somebody_deleted_before_it_was_held_still_leaves_a_record() {
    let mut case = case().deleted();
    case.job.metadata.finalizers = Some(vec!["example.com/other".into()]);
    assert_eq!(only_record(&case.decide(after(30))).2, Reason::JobDeleted);
}

#[test]
fn a_duplicate_is_recorded_and_names_the_other() {
    let mut case = case();
    case.duplicate_of = Some("report-0");
    let decision = case.decide(after(0));
    assert_eq!(only_record(&decision), (attempt_name(&case.job, 1), Outcome::Skipped, Reason::DuplicateKey));
    let error = record_of(&decision).status.as_ref().unwrap().error.clone();
    assert_eq!(error.as_deref(), Some("unfinished Job \"report-0\" has the same dedupKey"));
}

fn refused(permanent: bool, seconds: i64) -> Option<Refusal> {
    Some(Refusal { attempt: 1, permanent, message: "exceeded quota".into(), blocked_since: None, at: after(seconds) })
}

#[test]
fn a_launch_refused_for_now_is_tried_again_and_the_job_says_what_it_waits_for() {
    let mut case = case();
    case.memory.refusal = refused(false, 2);
    let decision = case.step(after(2));
    assert_eq!((decision.candidate, decision.plan.effects), (None, vec![]));
    assert_eq!(decision.plan.wake_at, Some(after(12)));
    assert_eq!(decision.plan.notes, [Note::warning("LaunchRefused", "Launch", "exceeded quota")]);
    let status = case.status();
    assert_eq!((status.phase, status.waiting_for), (Some(JobPhase::Queued), Some(WaitingFor::Admission)));
    assert_eq!(status.refused_since, Some(micro(after(2))));
    assert_eq!(condition(status, "Dispatched"), said("False", "Admission", "exceeded quota"));
    case.assert_settled(after(11));
    let again = case.decide(after(12));
    assert_eq!(again.candidate, Some(the_candidate(after(0))), "it is tried again");
}

#[test]
fn a_launch_that_is_refused_again_and_again_costs_one_write_and_one_event() {
    let mut case = case();
    case.memory.refusal = refused(false, 2);
    case.write(after(2));
    let status = case.status().clone();
    for round in 1..20 {
        let again = case.step(after(2 + round * REFUSED_RETRY_SECONDS));
        assert!(again.candidate.is_some());
        assert_eq!(again.plan.notes, []);
        case.memory.refusal = refused(false, 2 + round * REFUSED_RETRY_SECONDS);
        let refused = case.step(after(2 + round * REFUSED_RETRY_SECONDS));
        assert_eq!((refused.plan.notes, refused.candidate), (vec![], None));
        assert_eq!(*case.status(), status, "the status does not change with each try");
    }
}

#[test]
fn a_launch_refused_for_good_is_recorded_at_once() {
    let mut case = case().queued();
    case.memory.refusal = refused(true, 2);
    let decision = case.decide(after(2));
    assert_eq!(only_record(&decision), (attempt_name(&case.job, 1), Outcome::Failed, Reason::LaunchRefused));
}

#[test]
fn a_launch_refused_past_the_pending_timeout_is_recorded_also_across_a_restart() {
    let mut case = case();
    case.template = template("pendingTimeoutSeconds: 60");
    case.memory.refusal = refused(false, 2);
    case.write(after(2));
    case.memory = Memory::new(after(30));
    case.memory.refusal = refused(false, 55);
    let waits = case.decide(after(56));
    assert_eq!(waits.plan.wake_at, Some(after(62)), "it looks again when the timeout is over");
    let decision = case.decide(after(62));
    assert_eq!(only_record(&decision), (attempt_name(&case.job, 1), Outcome::Failed, Reason::LaunchRefused));
}

#[test]
fn a_launch_refused_by_a_quota_is_not_given_up_while_others_of_its_queue_get_through() {
    let mut case = case();
    case.template = template("pendingTimeoutSeconds: 60");
    case.memory.refusal = refused(false, 2);
    case.write(after(2));
    case.memory.refusal = Some(Refusal { blocked_since: Some(after(57)), ..refused(false, 62).unwrap() });
    assert_eq!(case.decide(after(63)).plan.effects, [], "one got through 6 s ago");
    let decision = case.decide(after(117));
    assert_eq!(only_record(&decision), (attempt_name(&case.job, 1), Outcome::Failed, Reason::LaunchRefused));
}

#[test]
fn an_attempt_of_which_it_is_not_known_whether_it_was_launched_says_so_after_a_while() {
    let mut case = case();
    case.memory.launching = Some(1);
    assert_eq!(case.decide(after(1)), Decision::default());
    case.memory.doubt = Some(Doubt::sent(None, "etcdserver: request timed out".into(), after(2)));
    assert_eq!(case.decide(after(3)).plan, Plan { wake_at: Some(after(7)), ..Plan::default() });
    let told = case.step(after(7));
    assert_eq!(told.candidate, None, "it keeps its place");
    assert_eq!(case.status().waiting_for, Some(WaitingFor::Admission));
    assert_eq!(case.status().template, None, "what it was launched with is not known");
    assert_eq!(told.plan.notes.len(), 1);
    case.assert_settled(after(8));
    // A cancel does not record it either.
    let case = case.cancelled("{reason: enough}");
    assert_eq!(case.decide(after(9)).plan.effects, []);
}

#[test]
fn a_refusal_of_an_earlier_attempt_is_forgotten() {
    let mut case = case();
    case.memory.refusal =
        Some(Refusal { attempt: 2, permanent: true, message: String::new(), blocked_since: None, at: after(0) });
    assert!(case.decide(after(0)).candidate.is_some());
}

#[test]
fn a_job_waits_for_the_start_of_its_group_whatever_its_template_says_and_says_that_it_joined() {
    let gate =
        Gate { joins: true, unstarted: Some("JobGroup \"batch\" has not been started".into()), ..Gate::default() };
    let mut case = case().of_group(gate);
    case.stands = Stands::Missing;
    let decision = case.decide(after(0));
    assert_eq!((decision.candidate, decision.plan.effects), (None, vec![]));
    let status = decision.plan.status.unwrap();
    assert_eq!((status.phase, status.waiting_for), (Some(JobPhase::Pending), Some(WaitingFor::Group)));
    assert_eq!((status.joined_group.as_deref(), status.queued_at), (Some("uid-batch"), None));
    assert!(!decision.is_coming, "nobody waits for what waits for a start");
    // The group is started: it is queued then, and not when it came.
    case.stands = Stands::Usable;
    case.write(after(0));
    let gate = case.gate.as_mut().unwrap();
    (gate.unstarted, gate.place, gate.position, gate.priority) = (None, 7, Some(5.into()), Some(4));
    let decision = case.decide(after(60));
    let rank = decision.candidate.unwrap().rank;
    assert_eq!((rank.priority, rank.position, rank.place, rank.queued_at), (Reverse(4), 5.into(), 7, after(60)));
    assert_eq!(decision.plan.status.unwrap().priority, Some(4));
    // Its own go before the group's.
    (case.job.spec.priority, case.job.spec.position) = (Some(1), Some(2.into()));
    let rank = case.decide(after(60)).candidate.unwrap().rank;
    assert_eq!((rank.priority, rank.position), (Reverse(1), 2.into()));
}

#[test]
fn a_job_that_joins_when_its_group_starts_is_waited_for_and_called() {
    let joining = Some("it is joining JobGroup \"batch\"".to_owned());
    let gate = Gate { joins: true, is_joining: true, unstarted: joining, ..Gate::default() };
    let mut case = case().of_group(gate);
    let awaits = |case: &Case| awaits_call(&case.job, case.gate.as_ref(), &case.memory);
    assert!(case.decide(after(0)).is_coming && !awaits(&case));
    case.write(after(0));
    let gate = case.gate.as_mut().unwrap();
    (gate.is_joining, gate.unstarted) = (false, None);
    assert!(awaits(&case));
    // Whoever left before the start, or is not let in, is not called, and neither is who was.
    assert!(!awaits(&case.clone().recorded(Outcome::Skipped, Reason::Cancelled)));
    let changes: [fn(&mut Case); 5] = [
        |case| case.memory.recording = Some(Box::new(JobRun::new("run", JobRunSpec::default()))),
        |case| case.gate.as_mut().unwrap().cancel = Some(Cancel::default()),
        |case| case.gate.as_mut().unwrap().closed = Some("it is gone".into()),
        |case| case.memory.called_at = Some(after(1)),
        |case| case.job.status.as_mut().unwrap().phase = Some(JobPhase::Queued),
    ];
    for change in changes {
        let mut other = case.clone();
        change(&mut other);
        assert!(!awaits(&other));
    }
}

#[test]
fn a_job_that_comes_too_late_or_succeeded_before_is_recorded() {
    for (gate, reason) in [
        (Gate { closed: Some("it has ended".into()), ..Gate::default() }, Reason::GroupClosed),
        (Gate { succeeded_before: Some("it did".into()), ..Gate::default() }, Reason::AlreadySucceeded),
    ] {
        let case = case().of_group(gate);
        let name = attempt_name(&case.job, 1);
        assert_eq!(only_record(&case.decide(after(0))), (name, Outcome::Skipped, reason));
    }
}
