//! Doubt: when a create is sent again, and when it certainly did not happen.

use super::*;

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH.saturating_add_ms(milliseconds)
}

fn sent(milliseconds: i64) -> Doubt {
    Doubt::sent(None, "etcdserver: request timed out".into(), at(milliseconds))
}

#[test]
fn it_is_sent_again_with_growing_delays_and_then_only_asked_for() {
    let mut doubt = sent(0);
    let mut now = 0;
    let mut delays = Vec::new();
    while let Next::Look(until) = doubt.after_absence(true, at(now)) {
        if delays.len() as u32 >= SENT_MAX - 1 {
            break;
        }
        assert_eq!(doubt.after_absence(true, until), Next::Send);
        delays.push(until.as_millisecond() - now);
        now = until.as_millisecond();
        doubt = Doubt::sent(Some(&doubt), "again".into(), at(now));
    }
    assert_eq!(delays, [500, 1_000, 2_000, 4_000, 8_000]);
    assert!(
        matches!(doubt.after_absence(true, at(now + UNDER_WAY_MS - 1)), Next::Look(_)),
        "a request may be under way"
    );
    assert_eq!(doubt.after_absence(true, at(now + UNDER_WAY_MS)), Next::NotCreated("again".into(), false));
}

#[test]
fn a_refusal_of_a_second_request_says_nothing_of_the_first() {
    // The first may have been applied, and have used up the quota that the second one meets.
    let doubt = sent(0).judged(Finality::ForNow, "exceeded quota".into());
    assert_eq!(doubt.after_absence(true, at(5_000)), Next::Look(at(15_000)));
    assert_eq!(doubt.after_absence(true, at(UNDER_WAY_MS)), Next::NotCreated("exceeded quota".into(), false));
    let doubt = sent(0).judged(Finality::ForGood, "invalid".into());
    assert_eq!(doubt.after_absence(true, at(UNDER_WAY_MS)), Next::NotCreated("invalid".into(), true));
}

#[test]
fn what_is_not_wanted_any_more_is_asked_for_and_not_sent() {
    assert_eq!(sent(0).after_absence(false, at(2_000)), Next::Look(at(12_000)));
    assert!(matches!(sent(0).after_absence(false, at(UNDER_WAY_MS)), Next::NotCreated(..)));
}

#[test]
fn what_an_earlier_leader_may_have_created_is_created_if_it_is_absent() {
    let doubt = Doubt::inherited(at(0));
    assert!([0, 500, UNDER_WAY_MS].iter().all(|now| doubt.after_absence(true, at(*now)) == Next::Send));
}

#[test]
fn what_an_earlier_leader_may_be_creating_and_nobody_wants_any_more_keeps_its_place_until_no_request_can_be_under_way()
{
    let doubt = Doubt::inherited(at(0));
    assert_eq!(doubt.after_absence(false, at(2_000)), Next::Look(at(12_000)));
    assert!(matches!(doubt.after_absence(false, at(UNDER_WAY_MS)), Next::NotCreated(..)));
    // A quota that is full may have been filled by that very request.
    let judged = doubt.judged(Finality::ForNow, "exceeded quota".into());
    assert!(matches!(judged.after_absence(true, at(2_000)), Next::Look(_)));
    assert_eq!(judged.after_absence(true, at(UNDER_WAY_MS)), Next::NotCreated("exceeded quota".into(), false));
}

#[test]
fn a_clock_that_was_set_back_puts_nothing_off() {
    assert_eq!(sent(3_600_000).after_absence(true, at(0)), Next::Send);
}

#[test]
fn a_clock_that_was_set_back_prolongs_it_by_its_own_time_at_the_most() {
    let hour = 3_600_000;
    let doubt = Doubt::inherited(at(hour)).not_after(at(0));
    assert!(matches!(doubt.after_absence(false, at(UNDER_WAY_MS - 1)), Next::Look(_)));
    assert!(matches!(doubt.after_absence(false, at(UNDER_WAY_MS)), Next::NotCreated(..)));
    assert_eq!(sent(5).not_after(at(10)), sent(5));
}
