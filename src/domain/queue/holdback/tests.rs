//! Holdback: when a queue that is refused tries the next Job.

use std::cmp::Reverse;

use super::*;
use crate::api::Position;
use crate::domain::queue::{Candidate, Limits, Offer, Rank, Settings};

const QUOTA_SAYS: &str = "jobs.batch \"x\" is forbidden: exceeded quota: jobs, requested: count/jobs.batch=1";
const POLICY_SAYS: &str = "jobs.batch \"x\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: no";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000 + second).unwrap()
}

fn offer(name: &str) -> Offer {
    let queued_at = at(0);
    let rank = Rank { priority: Reverse(0), position: Position::at(queued_at), place: 0, queued_at, name: name.into() };
    let candidate =
        Candidate { rank, uid: name.into(), attempt: 1, queue: "default".into(), limits: Limits::default() };
    Offer { namespace: "team".into(), candidate, accepted: true, asks_for: None }
}

/// A line with that many Jobs, `a0`, `a1`, ….
fn line(count: usize) -> Line {
    let mut line = Line::new(None, 100);
    line.set_queue("team", "default", Some(Settings::default()));
    (0..count).for_each(|index| line.offer(offer(&format!("a{index}")), at(0)));
    line
}

fn admit(line: &mut Line, now: Timestamp) -> Vec<String> {
    let admitted = line.admit(now).admitted;
    admitted.iter().for_each(|(_, candidate)| assert!(line.confirm(&candidate.uid)));
    admitted.iter().map(|(_, candidate)| candidate.uid.to_string()).collect()
}

/// A launch is refused: the Job gives its place back, and is offered again later.
fn refuse(line: &mut Line, uid: &str, message: &str, now: Timestamp) -> (Timestamp, bool) {
    let answer = line.refused("team", "default", uid, message, now);
    line.release(uid);
    answer
}

#[test]
fn under_a_quota_one_job_at_a_time_is_tried_with_growing_delays() {
    let mut line = line(3);
    assert_eq!(admit(&mut line, at(0)).len(), 3);
    assert_eq!(refuse(&mut line, "a0", QUOTA_SAYS, at(0)), (at(0), true));
    for uid in ["a1", "a2"] {
        assert_eq!(refuse(&mut line, uid, QUOTA_SAYS, at(0)), (at(0), false), "launched before it was known");
    }
    (0..9).for_each(|index| line.offer(offer(&format!("b{index}")), at(0)));
    let mut now = 0;
    let mut delays = Vec::new();
    for _ in 0..6 {
        let round = line.admit(at(now));
        assert!(round.admitted.is_empty(), "not before the delay is over");
        let next = round.wake_at.unwrap();
        delays.push(next.duration_since(at(now)).as_secs());
        now = next.duration_since(at(0)).as_secs();
        let tried = admit(&mut line, at(now));
        assert_eq!(tried.len(), 1);
        assert_eq!(admit(&mut line, at(now)).len(), 0, "one is being tried");
        refuse(&mut line, &tried[0], QUOTA_SAYS, at(now));
    }
    assert_eq!(delays, [1, 2, 4, 8, 16, 30]);
}

#[test]
fn when_one_gets_through_all_go_on() {
    let mut line = line(1);
    admit(&mut line, at(0));
    refuse(&mut line, "a0", QUOTA_SAYS, at(0));
    (0..5).for_each(|index| line.offer(offer(&format!("b{index}")), at(0)));
    let tried = admit(&mut line, at(1));
    assert_eq!(tried.len(), 1);
    assert!(line.blocker("b4", at(1)).unwrap().message.contains("exceeded quota"));
    assert!(line.got_through("team", "default"));
    assert_eq!(line.blocker("b4", at(1)), None);
    assert_eq!(admit(&mut line, at(1)).len(), 4);
}

#[test]
fn a_batch_job_that_ended_makes_the_next_try_come_soon() {
    let mut line = line(1);
    admit(&mut line, at(0));
    for second in [0, 1, 3, 7, 15] {
        line.offer(offer("a0"), at(second));
        admit(&mut line, at(second));
        refuse(&mut line, "a0", QUOTA_SAYS, at(second));
    }
    line.offer(offer("a0"), at(16));
    assert_eq!(admit(&mut line, at(17)).len(), 0);
    line.has_room("team");
    assert_eq!(admit(&mut line, at(17)).len(), 1);
}

#[test]
fn a_policy_that_refuses_one_job_holds_up_no_others() {
    let mut line = line(2);
    admit(&mut line, at(0));
    assert_eq!(refuse(&mut line, "a0", POLICY_SAYS, at(0)), (at(0), false));
    assert!(!line.got_through("team", "default"));
    line.offer(offer("b0"), at(0));
    assert_eq!(admit(&mut line, at(0)), ["b0"]);
}

#[test]
fn what_refuses_all_is_tried_once_a_second_and_then_rarer() {
    let mut line = line(3);
    admit(&mut line, at(0));
    let news: Vec<bool> = ["a0", "a1", "a2"].iter().map(|uid| refuse(&mut line, uid, POLICY_SAYS, at(0)).1).collect();
    assert_eq!(news, [false, false, true]);
    let mut tries = 0;
    for second in 1..=200 {
        line.offer(offer(&format!("b{second}")), at(second));
        for uid in admit(&mut line, at(second)) {
            tries += 1;
            refuse(&mut line, &uid, POLICY_SAYS, at(second));
        }
    }
    assert!((60..=80).contains(&tries), "{tries}");
}

#[test]
fn a_job_that_is_tried_and_not_launched_after_all_makes_room_for_the_next() {
    let mut line = line(1);
    admit(&mut line, at(0));
    refuse(&mut line, "a0", QUOTA_SAYS, at(0));
    line.offer(offer("b0"), at(0));
    line.offer(offer("b1"), at(0));
    assert_eq!(admit(&mut line, at(1)), ["b0"]);
    line.release("b0");
    assert_eq!(admit(&mut line, at(1)), ["b1"]);
}

#[test]
fn a_new_leader_starts_from_what_the_queue_says() {
    let queue: Queue = serde_json::from_value(serde_json::json!({
        "apiVersion": "rota.dev/v1alpha1", "kind": "Queue", "metadata": { "name": "default" }, "spec": {},
        "status": { "conditions": [{
            "type": LAUNCH_REFUSED, "status": "True", "reason": QUOTA, "message": QUOTA_SAYS,
            "lastTransitionTime": at(0).to_string(),
        }]},
    }))
    .unwrap();
    let mut line = line(5);
    line.meets("team", "default", Holdback::said(&queue));
    assert!(line.blocker("a4", at(9)).unwrap().message.contains("exceeded quota"));
    assert_eq!(admit(&mut line, at(9)), ["a0"]);
    assert_eq!(refuse(&mut line, "a0", QUOTA_SAYS, at(9)), (at(0), false));
}
