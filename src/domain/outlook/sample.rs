//! Sample: which past runs tell how long the Jobs of a queue take.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::template;
use crate::api::labels::{OUTCOME, TEMPLATE};
use crate::api::{Job, JobRun};
use crate::domain::estimate::History;
use crate::domain::{names, place};

/// How many past runs are looked at.
pub const SAMPLE_MAX: u32 = 500;
/// How many templates are asked about at once: each is a label's value in the address of the request.
const TEMPLATES_MAX: usize = 100;

/// The labels of the past runs that tell how long Jobs take that wait or run; absent: none waits, or none has a template.
pub fn sample_labels<'a>(jobs: impl Iterator<Item = &'a Job>) -> Option<String> {
    let mut templates = BTreeSet::new();
    let mut waits = false;
    for job in jobs {
        waits |= place::is_queued(job);
        templates.extend(template(job).map(|it| names::label_value(&it)));
    }
    let templates: Vec<String> = templates.into_iter().take(TEMPLATES_MAX).collect();
    let some = waits && !templates.is_empty();
    some.then(|| format!("{TEMPLATE} in ({}),{OUTCOME} in (Completed,Failed)", templates.join(",")))
}

/// What those runs tell.
pub fn history(runs: Vec<JobRun>) -> History {
    History::of(runs.into_iter().filter_map(|run| {
        let took = SignedDuration::from_millis(run.status.as_ref()?.duration_ms?);
        Some((run.spec.template_ref?.name, took))
    }))
}
