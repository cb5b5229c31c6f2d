//! Expressions, intervals and zones, whatever somebody writes: they are read or refused, and what is read has its next
//! times in order, within its bounds and before the time after.

#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use rota::api::schedule::{DstGap, DstOverlap, DstPolicy, TimingSpec};
use rota::domain::calendar::Timing;

/// How many times are looked at.
const TIMES: usize = 20;

fuzz_target!(|input: (bool, u8, u16, i64, &str)| {
    let (cron, policy, jitter, second, text) = input;
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let dst = DstPolicy {
        gap: Some(if policy & 1 == 0 { DstGap::RunAfter } else { DstGap::Skip }),
        overlap: Some([DstOverlap::First, DstOverlap::Last, DstOverlap::Both][usize::from(policy) % 3]),
    };
    let spec = TimingSpec {
        cron: cron.then(|| first.to_owned()),
        interval: (!cron).then(|| first.to_owned()),
        time_zone: (cron && !rest.is_empty()).then(|| rest.to_owned()),
        dst: cron.then_some(dst),
        jitter_seconds: Some(i32::from(jitter)),
        ..TimingSpec::default()
    };
    let Ok(timing) = Timing::parse(&spec, "seed") else { return };
    let _ = timing.describe();
    let Ok(mut at) = Timestamp::from_second(second) else { return };
    for _ in 0..TIMES {
        let Some(next) = timing.next_after(at) else { return };
        assert!(next > at, "{spec:?}: {next} after {at}");
        let fires = timing.fires_at(next);
        assert!(
            fires >= next && timing.next_after(next).is_none_or(|later| fires < later || later == next),
            "{spec:?}"
        );
        let _ = (timing.daylight_saving(next), timing.local(next));
        at = next;
    }
    let _ = timing.next_affected(at);
    let due = timing.due(at, timing.fires_at(at).max(at), 3, 100);
    assert!(due.times.is_empty(), "{spec:?}: {at} is due again");
});
