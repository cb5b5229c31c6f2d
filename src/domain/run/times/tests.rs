//! The order of the times of a record, whatever clocks tell them.

use proptest::prelude::*;

use super::*;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond((seconds * 1_000.0) as i64).unwrap()
}

#[test]
fn the_times_of_a_record_come_in_order_and_the_time_between_them_stays() {
    // Queued, started, ended, recorded; and how it is recorded.
    let table = [
        ((5.3, Some(7.0), 9.0, 9.5), (Some(7.0), 9.0)),
        // The kubelet counts whole seconds.
        ((5.3, Some(5.0), 5.0, 6.0), (Some(5.3), 5.3)),
        ((5.3, Some(5.0), 8.0, 9.0), (Some(5.3), 8.3)),
        ((5.3, None, 5.0, 6.0), (None, 5.3)),
        // A node whose clock is an hour behind, and one that is ahead.
        ((3_700.0, Some(200.0), 260.0, 3_900.0), (Some(3_700.0), 3_760.0)),
        ((100.0, Some(3_800.0), 3_860.0, 300.0), (Some(240.0), 300.0)),
        ((100.0, None, 3_860.0, 300.0), (None, 300.0)),
        // The operator's own clock was set back.
        ((500.0, Some(400.0), 410.0, 420.0), (Some(500.0), 500.0)),
    ];
    for ((queued, started, ended, now), (expected_start, expected_end)) in table {
        let found = in_order(at(queued), started.map(at), at(ended), at(now));
        assert_eq!(found, (expected_start.map(at), at(expected_end)), "{queued} {started:?} {ended} {now}");
    }
}

proptest! {
    #[test]
    fn no_clock_puts_them_out_of_order(
        queued in 0i64..100_000, started in 0i64..100_000, ended in 0i64..100_000, now in 0i64..100_000,
    ) {
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap();
        let (first, last) = in_order(at(queued), Some(at(started)), at(ended), at(now));
        let first = first.unwrap();
        prop_assert!(at(queued) <= first && first <= last && last <= at(now.max(queued)));
    }
}
