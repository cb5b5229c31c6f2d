//! I11: when nothing goes wrong any more, everything gets where it should, and nothing is written without need.

use std::collections::BTreeMap;

use super::{History, Violation, text, time};
use jiff::SignedDuration;

/// How long after the last fault everything may take.
const SETTLES: SignedDuration = SignedDuration::from_mins(15);
/// How often one object may be written by an operator in the calm of the last minutes.
const WRITES_MAX: usize = 40;

/// Adds what was broken.
pub fn judge(history: &History, found: &mut Vec<Violation>) {
    let (Some(calm), Some(ended)) = (history.calm_since, history.ended) else { return };
    if ended.duration_since(calm) < SETTLES {
        return;
    }
    for job in history.at_the_end("jobs.rota.dev").values() {
        let is_old = time(job, "/metadata/creationTimestamp").is_some_and(|at| at < ended - SETTLES);
        let is_over = matches!(text(job, "/status/phase"), "Finished" | "Cancelled");
        let waits = job.pointer("/spec/hold").is_some();
        if is_old && !is_over && !waits {
            let (name, phase) = (text(job, "/metadata/name"), text(job, "/status/phase"));
            let waiting = text(job, "/status/waitingFor");
            found.push(Violation {
                invariant: "I11",
                story: format!("Job {name} is still {phase:?}, waiting for {waiting:?}"),
            });
        }
    }
    let mut writes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for change in history
        .changes
        .iter()
        .filter(|it| it.actor.starts_with("rota-") && it.at > ended - SignedDuration::from_mins(10))
    {
        if change.resource == "leases.coordination.k8s.io" {
            continue;
        }
        *writes.entry((change.resource.as_str(), text(change.object(), "/metadata/uid"))).or_default() += 1;
    }
    for ((resource, uid), count) in writes.into_iter().filter(|(_, count)| *count > WRITES_MAX) {
        found.push(Violation {
            invariant: "I11",
            story: format!("{resource} {uid} was written {count} times in ten calm minutes"),
        });
    }
}
