//! robfig/cron, which Kubernetes' CronJobs are read with. With dst.gap Skip and dst.overlap Both, Rota fires as it does.

use rota::api::schedule::{DstGap, DstOverlap};

use crate::cases::{Case, Cases, meets_awkward_change};
use crate::{Answer, TIMES, Verdict, Worker, compare, next, seed, timing, worker};

#[test]
fn with_gaps_skipped_and_overlaps_run_twice_the_times_are_those_of_a_cron_job() {
    let mut cases = Cases::new(seed(), false);
    // It searches a day that a zone left out for ever.
    compare("robfig/cron", Worker::robfig(), || cases.make_without_lost_days(), judge);
}

#[test]
fn the_other_readers_have_the_same_zones() {
    assert_eq!(worker::zone_release(), rota::domain::calendar::zone_database_version());
}

fn judge(case: &Case, answer: &Answer) -> Verdict {
    let times = |expression: &str| {
        timing(expression, &case.zone, DstGap::Skip, DstOverlap::Both).map(|timing| next(&timing, case.start, TIMES))
    };
    let ours = times(&case.expression);
    match (&ours, answer) {
        (Ok(ours), Ok(theirs)) if ours == theirs => Verdict::Same,
        (Err(why), Ok(theirs)) if why.contains("never matches") && theirs.is_empty() => Verdict::Same,
        (_, Ok(theirs)) if times(&without_star(&case.expression)).as_ref() == Ok(theirs) => {
            Verdict::Rule("a star with a step restricts")
        }
        (Ok(ours), Ok(theirs)) if meets_awkward_change(case, ours.last().max(theirs.last()).copied()) => {
            Verdict::Rule("an awkward change confuses it")
        }
        (Err(_), Ok(theirs))
            if without_star(&case.expression) != case.expression
                && meets_awkward_change(case, theirs.last().copied()) =>
        {
            Verdict::Rule("a star with a step restricts, and an awkward change confuses it")
        }
        _ => Verdict::Bug(format!("ours {ours:?}, theirs {answer:?}")),
    }
}

/// The expression with a stepped star written as a range, which restricts its day field.
fn without_star(expression: &str) -> String {
    let mut fields: Vec<String> = expression.split(' ').map(str::to_owned).collect();
    for (index, range) in [(2, "1-31"), (4, "0-6")] {
        if fields[index].starts_with("*/") && !fields[index].starts_with("*/1,") && fields[index] != "*/1" {
            fields[index] = fields[index].replacen('*', range, 1);
        }
    }
    fields.join(" ")
}
