//! Who may take the lease when, and with which epoch.

use std::sync::Arc;

use super::super::Leadership;
use super::*;

const DURATION: Duration = Duration::from_secs(15);

/// The terms of a replica of the name `right`.
fn terms() -> Terms {
    Terms {
        namespace: "rota-system".into(),
        identity: "right".into(),
        duration: DURATION,
        leadership: Leadership::default(),
        traces: Arc::new(Traces::default),
    }
}

fn held_by(holder: &str, transitions: i32) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(holder.into()),
        lease_duration_seconds: Some(15),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    }
}

fn led(epoch: i64) -> Traces {
    Traces::default().with_epoch(epoch)
}

#[test]
fn the_epoch_is_above_that_of_the_lease_and_of_every_queue_whatever_somebody_wrote_there() {
    let terms = terms();
    let epoch =
        |transitions: i32, traces: Traces| terms.taking(&held_by("left", transitions), traces).lease_transitions;
    assert_eq!(epoch(4, led(4)), Some(5));
    assert_eq!(epoch(0, led(7)), Some(8), "the Lease was made again");
    assert_eq!(epoch(2, led(7)), Some(8), "an older Lease was restored");
    assert_eq!(epoch(7, led(2)), Some(8), "no Queue is left");
    assert_eq!(epoch(i32::MAX, led(7)), Some(8), "no leader has ever written that");
    assert_eq!(epoch(i32::MIN, led(i64::MAX)), Some(1));
    assert_eq!(terms.taking(&LeaseSpec::default(), Traces::default()).lease_transitions, Some(1));
}

#[test]
fn a_lease_that_is_gone_is_waited_for_as_if_it_had_been_renewed_just_before() {
    let terms = terms();
    let start = Instant::now();
    let gone = |last: Option<&LeaseSpec>, traces: Traces, seconds: u64| {
        terms.wait_while_gone(last, traces, start, start + Duration::from_secs(seconds)).as_secs()
    };
    let held = held_by("left", 3);
    assert_eq!(gone(Some(&held), led(3), 0), 15);
    assert_eq!(gone(Some(&held), Traces::default(), 14), 1, "its holder need not have done anything yet");
    assert_eq!(gone(Some(&held), led(3), 15), 0);
    let longer = LeaseSpec { lease_duration_seconds: Some(60), ..held.clone() };
    assert_eq!(gone(Some(&longer), led(3), 0), 60, "its holder was set to another duration");
    assert_eq!(gone(Some(&held_by("", 3)), led(3), 0), 0, "it was given up");
    assert_eq!(gone(Some(&held_by("right", 3)), led(3), 0), 0, "this process has replaced its holder");
    assert_eq!(gone(None, led(3), 0), 15, "somebody has led, and may still");
    assert_eq!(gone(None, Traces { epoch: 0, any: true }, 0), 15);
    assert_eq!(gone(None, Traces::default(), 0), 0, "nobody has ever led");
}

#[test]
fn a_lease_is_held_since_it_was_first_seen_to_be_for_as_long_as_one_can_be_set_to_last() {
    let terms = terms();
    let start = Instant::now();
    let mut seen = Seen::default();
    let lease = |version: &str, seconds: i32| {
        let spec = LeaseSpec { lease_duration_seconds: Some(seconds), ..held_by("left", 1) };
        let mut lease = Lease { spec: Some(spec), ..Lease::default() };
        lease.metadata.resource_version = Some(version.into());
        lease
    };
    let mut wait = |lease: &Lease, seconds: u64| {
        let at = start + Duration::from_secs(seconds);
        let since = seen.look(Some(lease), at);
        terms.wait_while_held(lease.spec.as_ref().unwrap(), since, at).as_secs()
    };
    assert_eq!(wait(&lease("1", 15), 0), 15);
    assert_eq!(wait(&lease("1", 15), 10), 5);
    assert_eq!(wait(&lease("2", 15), 12), 15, "it was renewed");
    assert_eq!(wait(&lease("2", 15), 27), 0);
    assert_eq!(wait(&lease("3", i32::MAX), 30), 300);
    assert_eq!(wait(&lease("4", -1), 31), 0);
}

#[test]
fn what_a_predecessor_whose_clock_was_ahead_wrote_is_taken_for_possible() {
    let renewed: Timestamp = "2026-03-01T12:05:00Z".parse().unwrap();
    let spec =
        LeaseSpec { renew_time: Some(MicroTime(renewed)), lease_duration_seconds: Some(15), ..LeaseSpec::default() };
    assert_eq!(may_have_written_until(&spec).to_string(), "2026-03-01T12:05:15Z");
    assert_eq!(may_have_written_until(&LeaseSpec::default()), Timestamp::MIN);
}
