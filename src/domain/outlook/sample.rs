//! Sample: which past runs tell how long the Jobs of a queue take.
//!
//! The API server lists records by name, and the first ones by name are often the oldest. So the days are asked for that they
//! ended on: the last two, and for a template that ran little or not in these, the last thirty, then all.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::template;
use crate::api::labels::{DAY, OUTCOME, TEMPLATE};
use crate::api::{Job, JobRun};
use crate::domain::estimate::History;
use crate::domain::{names, place};

/// How many past runs are looked at in each step.
pub const SAMPLE_MAX: u32 = 500;
/// How many templates are asked about: each is a label's value in the address of the request.
const TEMPLATES_MAX: usize = 100;
/// With so many runs a template is not asked about further back.
const ENOUGH: usize = 10;
/// How many days back each step goes; the last one goes as far as there are records.
const DAYS: [i64; 2] = [2, 30];

/// A sample of the past runs of the templates of some Jobs, as it is taken.
#[derive(Debug)]
pub struct Sample {
    /// Templates as labels say them, with how many runs of each were found.
    found: BTreeMap<String, usize>,
    step: usize,
    now: Timestamp,
    runs: Vec<(String, SignedDuration)>,
    seen: HashSet<String>,
}

impl Sample {
    /// Of the templates of these Jobs, if any of them waits: else there is nothing to estimate.
    pub fn of<'a>(jobs: impl Iterator<Item = &'a Job>, now: Timestamp) -> Self {
        let mut templates = BTreeSet::new();
        let mut waits = false;
        for job in jobs {
            waits |= place::is_queued(job);
            templates.extend(template(job).map(|it| names::label_value(&it)));
        }
        let found = templates.into_iter().filter(|_| waits).take(TEMPLATES_MAX).map(|it| (it, 0)).collect();
        Self { found, step: 0, now, runs: Vec::new(), seen: HashSet::new() }
    }

    /// The labels of the records to list next, up to [`SAMPLE_MAX`] of them; absent: the sample is taken.
    pub fn next_labels(&mut self) -> Option<String> {
        let wanted: Vec<&str> =
            self.found.iter().filter(|(_, found)| **found < ENOUGH).map(|(template, _)| template.as_str()).collect();
        let step = self.step;
        self.step += 1;
        if wanted.is_empty() || step > DAYS.len() {
            return None;
        }
        let ran = format!("{TEMPLATE} in ({}),{OUTCOME} in (Completed,Failed)", wanted.join(","));
        let Some(days) = DAYS.get(step) else { return Some(ran) };
        let back = |day: i64| self.now.saturating_sub(SignedDuration::from_hours(24 * day)).unwrap_or(self.now);
        let days: Vec<String> = (0..*days).map(|day| names::day(back(day))).collect();
        Some(format!("{ran},{DAY} in ({})", days.join(",")))
    }

    /// Takes what was listed.
    pub fn take(&mut self, records: Vec<JobRun>) {
        for run in records {
            let took = run.status.as_ref().and_then(|status| status.duration_ms).map(SignedDuration::from_millis);
            let (Some(template), Some(took)) = (run.spec.template_ref, took) else { continue };
            if self.seen.insert(run.metadata.name.unwrap_or_default()) {
                *self.found.entry(names::label_value(&template.name)).or_default() += 1;
                self.runs.push((template.name, took));
            }
        }
    }

    /// What the sample tells.
    pub fn history(self) -> History {
        History::of(self.runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-03-01T00:30:00Z".parse().unwrap()
    }

    fn job(template: &str, phase: &str) -> Job {
        let spec = json!({ "templateRef": { "name": template } });
        serde_json::from_value(json!({ "metadata": { "name": "j" }, "spec": spec, "status": { "phase": phase } }))
            .unwrap()
    }

    fn runs(template: &str, numbers: std::ops::Range<i64>) -> Vec<JobRun> {
        let run = |number: i64| {
            let reference = json!({ "name": template, "uid": "t", "revision": "r", "digest": "d" });
            let spec =
                json!({ "templateRef": reference, "attempt": 1, "priority": 0, "queue": "default", "jobType": "x" });
            let status = json!({ "phase": "Completed", "reason": "Succeeded", "durationMs": number * 1_000 });
            let name = format!("{template}-{number}");
            serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec, "status": status })).unwrap()
        };
        numbers.map(run).collect()
    }

    #[test]
    fn recent_runs_are_asked_for_first_and_older_ones_of_what_ran_little() {
        let jobs = [job("often", "Queued"), job("nightly", "Running"), job("never", "Queued")];
        let mut sample = Sample::of(jobs.iter(), now());
        let ran = "rota.dev/outcome in (Completed,Failed)";
        assert_eq!(
            sample.next_labels().unwrap(),
            format!("rota.dev/template in (never,nightly,often),{ran},rota.dev/day in (2026-03-01,2026-02-28)")
        );
        sample.take(runs("often", 1..11));
        sample.take(runs("nightly", 5..6));
        let labels = sample.next_labels().unwrap();
        assert!(
            labels.starts_with(&format!("rota.dev/template in (never,nightly),{ran},rota.dev/day in (2026-03-01,"))
        );
        assert!(labels.ends_with(",2026-01-31)") && labels.matches("2026-").count() == 30, "{labels}");
        // One of them was listed before.
        sample.take(runs("nightly", 5..20));
        assert_eq!(sample.next_labels().unwrap(), format!("rota.dev/template in (never),{ran}"));
        sample.take(Vec::new());
        assert_eq!(sample.next_labels(), None);
        let history = sample.history();
        let seconds = |from: i64, to: i64| Some((SignedDuration::from_secs(from), SignedDuration::from_secs(to)));
        assert_eq!(history.range(Some("often")), seconds(1, 9));
        assert_eq!(history.range(Some("nightly")), seconds(6, 18));
        assert_eq!(history.range(Some("never")), None);
    }

    #[test]
    fn nothing_is_asked_if_none_waits_or_none_has_a_template() {
        assert_eq!(Sample::of([job("often", "Running")].iter(), now()).next_labels(), None);
        let bare: Job =
            serde_json::from_value(json!({ "metadata": {}, "spec": {}, "status": { "phase": "Queued" } })).unwrap();
        assert_eq!(Sample::of([bare].iter(), now()).next_labels(), None);
    }
}
