//! Tests of places in line and of the positions that change them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-03-01T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn job(name: &str, spec: Value, status: Value) -> Job {
    let mut status = status;
    status["phase"] = "Queued".into();
    serde_json::from_value(json!({
        "apiVersion": "rota.dev/v1alpha1", "kind": "Job", "metadata": { "name": name }, "spec": spec, "status": status,
    }))
    .unwrap()
}

fn at(time: &str) -> Value {
    json!({ "queuedAt": format!("2026-03-01T{time}.000000Z"), "priority": 0 })
}

#[test]
fn waiting_raises_a_priority_step_by_step_up_to_the_maximum() {
    let aging = Aging { interval_seconds: 60, maximum_increase: 5 };
    for (queued, expected) in [("12:00:00", 0), ("11:59:01", 0), ("11:59:00", 1), ("11:56:30", 3), ("01:00:00", 5)] {
        let job = job("a", json!({}), at(queued));
        assert_eq!(rank(&job, None, Some(&aging), now()).priority, Reverse(expected), "{queued}");
        assert_eq!(rank(&job, None, None, now()).priority, Reverse(0), "without aging");
    }
}

#[test]
fn a_member_stands_where_its_group_does_unless_it_was_moved_itself() {
    let group: JobGroup = serde_json::from_value(json!({
        "apiVersion": "rota.dev/v1alpha1", "kind": "JobGroup", "metadata": { "name": "g", "uid": "u" },
        "spec": { "mode": "Parallel", "jobs": [{ "name": "late", "templateRef": { "name": "t" } }] }, "status": { "queuedAt": "2026-03-01T11:00:00.000000Z", "members": [{ "name": "late" }, { "name": "own" }] },
    }))
    .unwrap();
    let late = job("late", json!({}), at("11:30:00"));
    assert_eq!(rank(&late, Some(&group), None, now()).position, Position::at("2026-03-01T11:00:00Z".parse().unwrap()));
    let mut moved = group.clone();
    moved.spec.position = Some(Position::from(7));
    moved.spec.priority = Some(3);
    let place = rank(&late, Some(&moved), None, now());
    assert_eq!((place.position, place.priority), (Position::from(7), Reverse(3)));
    let own = job("own", json!({ "position": 9, "priority": 1 }), at("11:30:00"));
    let place = rank(&own, Some(&moved), None, now());
    assert_eq!((place.position, place.priority), (Position::from(9), Reverse(1)));
}

#[test]
fn members_go_in_the_order_of_the_list_and_those_that_joined_after_them() {
    let listed = ["z", "a"].map(|name| json!({ "name": name, "templateRef": { "name": "t" } }));
    let group: JobGroup = serde_json::from_value(json!({
        "apiVersion": "rota.dev/v1alpha1", "kind": "JobGroup", "metadata": { "name": "g", "uid": "u" },
        "spec": { "mode": "Parallel", "jobs": listed },
        "status": { "queuedAt": "2026-03-01T11:00:00.000000Z", "members": [{ "name": "z" }, { "name": "a" }, { "name": "guest" }] },
    }))
    .unwrap();
    let named = |name: &str, member: Value| job(name, json!({ "groupRef": member }), at("11:30:00"));
    let jobs = [
        named("guest", json!({ "name": "g" })),
        named("g-a", json!({ "name": "g", "uid": "u", "member": "a" })),
        named("g-z", json!({ "name": "g", "uid": "u", "member": "z" })),
    ];
    assert!(jobs.iter().all(|job| is_member(job, &group)));
    assert!(!is_member(&named("other", json!({ "name": "g", "uid": "another" })), &group));
    let mut ranks: Vec<Rank> = jobs.iter().map(|job| rank(job, Some(&group), None, now())).collect();
    ranks.sort();
    assert_eq!(ranks.iter().map(|rank| rank.name.as_ref()).collect::<Vec<_>>(), ["g-z", "g-a", "guest"]);
    // A group goes between two others as a whole, or not at all.
    let beside = |position: &str, queued: &str| {
        rank(&job("other", json!({ "position": position }), at(queued)), None, None, now())
    };
    let (before, after) = (beside("1", "10:00:00"), beside("2", "12:00:00"));
    assert_eq!(between(&ranks, 0, Some(&before), Some(&after)).and_then(|it| it.position), "1.5".parse().ok());
    let after = beside("1", "12:00:00");
    assert_eq!(
        between(&ranks[..1], 0, Some(&before), Some(&after)).and_then(|it| it.position),
        Some(Position::from(1))
    );
    assert_eq!(between(&ranks, 0, Some(&before), Some(&after)), None, "the second member would come after it");
}

#[test]
fn a_job_that_is_held_or_waits_for_a_time_is_queued_and_not_in_line() {
    let in_line = |spec: Value, status: Value| {
        let job = job("a", spec, status);
        (is_queued(&job), is_in_line(&job, now()))
    };
    assert_eq!(in_line(json!({}), json!({})), (true, true));
    assert_eq!(in_line(json!({ "hold": true }), json!({})), (true, false));
    assert_eq!(in_line(json!({ "notBefore": "2026-03-01T12:00:01.000000Z" }), json!({})), (true, false));
    assert_eq!(in_line(json!({ "notBefore": "2026-03-01T12:00:00.000000Z" }), json!({})), (true, true));
    assert_eq!(in_line(json!({}), json!({ "retryAt": "2026-03-01T12:01:00.000000Z" })), (true, false));
    assert_eq!(in_line(json!({ "cancel": {} }), json!({})), (false, false));
}

fn ranks() -> impl Strategy<Value = Vec<Rank>> {
    let one = (-2_i32..3, 0_i64..6, 0_i64..4);
    prop::collection::vec(one, 1..8).prop_map(|all| {
        let mut ranks: Vec<Rank> = all
            .into_iter()
            .enumerate()
            .map(|(index, (priority, position, queued))| Rank {
                priority: Reverse(priority),
                position: Position::from(position),
                place: 0,
                queued_at: Timestamp::from_second(queued).unwrap(),
                name: format!("job-{index}").into(),
            })
            .collect();
        ranks.sort();
        ranks
    })
}

proptest! {
    /// Whatever is written puts the Job where it was to go, and the priority changes only between those of its neighbours.
    #[test]
    fn a_move_leads_to_the_place_that_was_asked_for(ranks in ranks(), from in 0_usize..8, to in 0_usize..8, increase in 0_i32..3) {
        let mut others = ranks.clone();
        let own = others.remove(from % ranks.len());
        let to = to % (others.len() + 1);
        let before = to.checked_sub(1).map(|index| &others[index]);
        let after = others.get(to);
        let Some(found) = between(std::slice::from_ref(&own), increase, before, after) else {
            let (before, after) = (before.expect("room at the front"), after.expect("room at the end"));
            prop_assert_eq!((before.priority, before.position), (after.priority, after.position), "there was room");
            return Ok(());
        };
        let moved = Rank {
            priority: Reverse(found.priority.map_or(own.priority.0, |priority| priority + increase)),
            position: found.position.unwrap_or(own.position),
            ..own.clone()
        };
        let mut line = others.clone();
        line.push(moved.clone());
        line.sort();
        prop_assert_eq!(line.iter().position(|it| *it == moved), Some(to));
        if ranks.iter().all(|it| it.priority == own.priority) {
            prop_assert_eq!(found.priority, None, "all have the same");
        }
    }
}
