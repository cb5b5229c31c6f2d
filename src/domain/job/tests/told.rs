//! Which events a change of a Job's status is worth.

use super::*;

fn reasons(decision: &Decision) -> Vec<&'static str> {
    decision.plan.notes.iter().map(|note| note.reason).collect()
}

fn limited(message: &str) -> Option<Blocker> {
    Some(Blocker { waiting_for: WaitingFor::QueueLimit, message: message.into() })
}

#[test]
fn a_job_that_waits_says_so_once_and_not_again_after_a_restart() {
    let mut case = case();
    case.memory.blocker = limited("first in queue default, 1 of 1 running");
    let decision = case.step(after(1));
    assert_eq!(reasons(&decision), ["Queued"]);
    let text = "it waits in queue default: first in queue default, 1 of 1 running";
    assert_eq!(decision.plan.notes[0].message, text);
    assert!(decision.plan.notes[0].can_be_left_out(), "while launches wait");
    case.memory = Memory::new(after(100));
    case.memory.blocker = limited("first in queue default, 2 of 2 running");
    assert_eq!(reasons(&case.decide(after(200))), [""; 0]);
    case.memory.blocker =
        Some(Blocker { waiting_for: WaitingFor::QueuePaused, message: "queue default is paused: x".into() });
    assert_eq!(reasons(&case.step(after(201))), [""; 0], "it still waits");
}

#[test]
fn a_launch_and_a_start_that_are_seen_together_are_one_event() {
    let mut together = case().queued().launched();
    together.pods =
        vec![pod("containerStatuses: [{name: main, state: {running: {startedAt: '2026-03-01T00:00:12Z'}}}]")];
    let decision = together.step(after(13));
    assert_eq!(reasons(&decision), ["Started"]);
    let name = attempt_name(&together.job, 1);
    let text = format!("launched as batch Job {name}, and started at 2026-03-01T00:00:12Z");
    assert_eq!(decision.plan.notes, [Note::normal("Started", "Launch", text)]);
    assert_eq!(reasons(&together.decide(after(14))), [""; 0]);

    let mut apart = case().queued().launched();
    assert_eq!(reasons(&apart.step(after(11))), ["Dispatched"]);
    apart.pods = together.pods.clone();
    assert_eq!(reasons(&apart.step(after(13))), ["Started"]);
    assert_eq!(reasons(&apart.decide(after(14))), [""; 0]);
}

#[test]
fn a_suspension_and_its_end_are_told() {
    let mut case = case().running();
    let name = attempt_name(&case.job, 1);
    case.batch = Some(batch(&name, "spec: {suspend: true, template: {}}"));
    let decision = case.step(after(20));
    let text = format!("batch Job {name} is suspended");
    assert_eq!(decision.plan.notes, [Note::normal("Suspended", "Suspend", text)]);
    assert_eq!(reasons(&case.decide(after(21))), [""; 0]);
    case.batch = Some(batch(&name, "spec: {suspend: false, template: {}}"));
    let decision = case.step(after(30));
    let text = format!("batch Job {name} is no longer suspended");
    assert_eq!(decision.plan.notes[0], Note::normal("Resumed", "Resume", text));
    assert!(!reasons(&case.decide(after(31))).contains(&"Resumed"));
}

#[test]
fn who_asked_for_an_end_is_told_when_it_is_acted_on() {
    let cancel = Cancel { reason: "wrong month".into(), requested_by: Some("anna".into()), ..Cancel::default() };
    let told = Note::normal("CancelRequested", "Cancel", "its end was asked for by anna: wrong month");
    let mut waits = case().queued();
    waits.job.spec.cancel = Some(cancel.clone());
    assert_eq!(waits.decide(after(5)).plan.notes, std::slice::from_ref(&told));
    let mut runs = case().running();
    runs.job.spec.cancel = Some(Cancel { force: true, ..cancel });
    let told = Note { message: "its end was asked for by anna, with force: wrong month".into(), ..told };
    assert_eq!(runs.decide(after(20)).plan.notes, [told]);
}
