//! cronsim, which follows Debian's cron. With the defaults Rota fires as it does.

use rota::api::schedule::{DstGap, DstOverlap};

use crate::cases::{Case, Cases, meets_awkward_change};
use crate::{Answer, TIMES, Verdict, Worker, compare, next, seed, timing};

#[test]
fn with_the_defaults_the_times_are_those_of_debians_cron() {
    let mut cases = Cases::new(seed(), true);
    compare("cronsim", Worker::cronsim(), || cases.make(), judge);
}

fn judge(case: &Case, answer: &Answer) -> Verdict {
    let timing = timing(&case.expression, &case.zone, DstGap::RunAfter, DstOverlap::First);
    let ours = timing.map(|timing| next(&timing, case.start, TIMES));
    match (&ours, answer) {
        (Ok(ours), Ok(theirs)) if ours == theirs => Verdict::Same,
        (Err(why), Err(_)) if why.contains("never matches") => Verdict::Same,
        (Ok(ours), Ok(theirs)) if is_fixed(case) && begins_again(case, ours, theirs) => {
            Verdict::Rule("begun in the second pass it starts again with the first")
        }
        (Ok(ours), Ok(theirs))
            if !is_fixed(case) && meets_awkward_change(case, ours.last().max(theirs.last()).copied()) =>
        {
            Verdict::Rule("a wildcard at an awkward change confuses it")
        }
        (Ok(ours), Err(why))
            if why == "no answer" && !is_fixed(case) && meets_awkward_change(case, ours.last().copied()) =>
        {
            Verdict::Rule("a wildcard at such a change lets it search for ever")
        }
        _ => Verdict::Bug(format!("ours {ours:?}, theirs {answer:?}")),
    }
}

fn is_fixed(case: &Case) -> bool {
    case.expression.split(' ').take(2).all(|field| !field.starts_with('*'))
}

/// Whether the other reader tells times from before the beginning, and then the same ones.
fn begins_again(case: &Case, ours: &[i64], theirs: &[i64]) -> bool {
    let ahead: Vec<i64> = theirs.iter().copied().filter(|time| *time > case.start).collect();
    ahead.len() < theirs.len() && ours.starts_with(&ahead)
}
