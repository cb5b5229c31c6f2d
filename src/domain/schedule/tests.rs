//! What is decided about a schedule: every effect in order, the status, and when to look again.

mod account;
mod edits;
mod firing;
mod gone;
mod overlap;
mod reference;
mod settling;

use super::*;
use crate::api::{JobSpec, Outcome};
use crate::domain::names;

/// A schedule with what it depends on. It was created at midnight, and the time is told as hours of that day.
#[derive(Clone)]
struct Case {
    schedule: Schedule,
    status: ScheduleStatus,
    edits: EditTimes,
    template: Result<(), (Reason, String)>,
    queue: QueueCondition,
    jobs: Vec<OwnJob>,
    leading_since: Timestamp,
}

/// `01:30:15`, or `01:30` for short, on the day on which the schedule was created.
fn at(time: &str) -> Timestamp {
    let seconds = if time.len() == 5 { ":00" } else { "" };
    format!("2026-03-01T{time}{seconds}Z").parse().unwrap()
}

fn clock(time: Timestamp) -> String {
    let text = time.strftime("%H:%M:%S").to_string();
    text.strip_suffix(":00").unwrap_or(&text).to_owned()
}

fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A schedule that was never decided about.
fn new(spec: &str) -> Case {
    let schedule = yaml(&format!(
        "
metadata: {{name: daily, namespace: team, uid: uid-daily, generation: 1, creationTimestamp: '2026-03-01T00:00:00Z'}}
spec: {{templateRef: {{name: nightly}}, {spec}}}
"
    ));
    Case {
        schedule,
        status: ScheduleStatus::default(),
        edits: EditTimes::default(),
        template: Ok(()),
        queue: QueueCondition::Open,
        jobs: Vec::new(),
        leading_since: at("00:00"),
    }
}

/// A schedule that was decided about when it was created.
fn known(spec: &str) -> Case {
    let mut case = new(spec);
    assert_eq!(case.step("00:00"), [""; 0]);
    case
}

fn hourly(more: &str) -> Case {
    known(&format!("cron: 0 * * * *, {more}"))
}

impl Case {
    fn decide(&self, now: Timestamp) -> Decision {
        let facts = Facts {
            schedule: &self.schedule,
            status: &self.status,
            edits: self.edits,
            template: self.template.clone(),
            queue: self.queue.clone(),
            jobs: &self.jobs,
            leading_since: self.leading_since,
        };
        super::decide(&facts, now)
    }

    /// Decides, does what was decided as the shell does, and tells the effects.
    fn step(&mut self, time: &str) -> Vec<String> {
        self.step_at(at(time))
    }

    fn step_at(&mut self, time: Timestamp) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let decision = self.decide(time);
            for effect in &decision.plan.effects {
                if let Effect::CreateJob { job, .. } = effect {
                    self.jobs.push(own(job));
                }
            }
            self.status = decision.plan.status.clone().unwrap_or_default();
            all.extend(told(&decision));
            if decision.plan.wake_at != Some(time) {
                return all;
            }
        }
    }

    /// Does what is decided up to and including that effect, and then loses everything that is not in the cluster.
    fn crash_after(&mut self, effects: usize, time: &str) -> Vec<String> {
        let decision = self.decide(at(time));
        let done = decision.plan.effects.iter().take(effects);
        self.jobs.extend(done.filter_map(|effect| match effect {
            Effect::CreateJob { job, .. } => Some(own(job)),
            _ => None,
        }));
        self.leading_since = at(time);
        told(&decision)
    }

    /// Decided again without anything having happened: nothing is done and the status stays.
    #[track_caller]
    fn assert_rests(&self, time: &str) {
        let again = self.decide(at(time));
        assert_eq!(again.plan.effects, []);
        assert_eq!(again.plan.notes, []);
        assert_eq!(again.plan.status.as_ref(), Some(&self.status));
        assert!(!again.urgent);
    }

    /// An edit by a user.
    fn edit(&mut self, change: impl FnOnce(&mut Schedule)) {
        change(&mut self.schedule);
        let generation = self.schedule.metadata.generation.unwrap_or_default();
        self.schedule.metadata.generation = Some(generation + 1);
    }

    /// An edit of which the API server says when it was made, in whole seconds.
    fn edit_at(&mut self, time: &str, change: impl FnOnce(&mut Schedule)) {
        self.edit(change);
        self.edits.stamped = Some(at(time));
    }

    fn end(&mut self, time: &str, outcome: Outcome, finished: &str) {
        let job = self.jobs.iter_mut().find(|job| job.scheduled_time == Some(at(time))).unwrap();
        job.ending = Some(ending(outcome, finished));
    }

    #[track_caller]
    fn condition(&self, type_: &str) -> (&str, &str, &str) {
        let found = self.status.conditions.iter().find(|condition| condition.type_ == type_);
        let found = found.unwrap_or_else(|| panic!("no condition {type_}"));
        (&found.status, &found.reason, &found.message)
    }
}

fn ending(outcome: Outcome, finished: &str) -> Ending {
    let reason = if outcome == Outcome::Completed { Reason::Succeeded } else { Reason::ExitCode };
    Ending { outcome, reason, finished_at: at(finished), run: "some-run".into() }
}

fn job(uid: &str, time: Option<&str>) -> Job {
    let mut job = Job::new("job", JobSpec::default());
    job.metadata.uid = Some(uid.to_owned());
    job.spec.scheduled_time = time.map(|time| micro(at(time)));
    if let Some(time) = time {
        job.metadata.name = Some(names::occurrence_job("daily", "uid-daily", at(time)));
        job.spec.schedule_ref = Some(ObjectReference { name: "daily".into(), uid: "uid-daily".into() });
        job.metadata.owner_references = Some(vec![crate::domain::group::owner("Schedule", "daily", "uid-daily")]);
    }
    job
}

fn own(job: &Job) -> OwnJob {
    let name = job.metadata.name.clone().unwrap();
    OwnJob {
        job: ObjectReference { uid: format!("uid-of-{name}"), name },
        created: None,
        scheduled_time: job.spec.scheduled_time.as_ref().map(|time| time.0),
        start_by: job.spec.start_by.as_ref().map(|time| time.0),
        started_at: None,
        waits_for: None,
        cancelled: false,
        held: true,
        ending: None,
    }
}

/// The effects in words: `run 01:00`, with a question mark if it is first asked whether that time is recorded already, and
/// `skip 01:00 Reason` or `skip 3 01:00-04:00 Reason`.
fn told(decision: &Decision) -> Vec<String> {
    let tell = |effect: &Effect| match effect {
        Effect::CreateJob { job, due, unless_run } => {
            let time = job.spec.scheduled_time.as_ref().unwrap().0;
            assert!(due.is_some_and(|due| due >= time), "it is never made before its time");
            assert_eq!(job.metadata.name.as_deref(), Some(names::occurrence_job("daily", "uid-daily", time).as_str()));
            format!("run {}{}", clock(time), if unless_run.is_some() { "?" } else { "" })
        }
        Effect::CreateRun(run) => {
            let first = run.spec.scheduled_time.as_ref().unwrap().0;
            let status = run.status.as_ref().unwrap();
            assert_eq!(run.metadata.name.as_deref(), Some(names::skipped_run("daily", "uid-daily", first).as_str()));
            assert_eq!(status.count.is_some(), status.last_scheduled_time.is_some());
            let word = if status.phase == Outcome::Failed { "fail" } else { "skip" };
            assert_eq!(status.phase == Outcome::Failed, status.reason.is_misconfiguration());
            let reason = status.reason.as_str();
            match (status.count, &status.last_scheduled_time) {
                (Some(count), Some(last)) => format!("{word} {count} {}-{} {reason}", clock(first), clock(last.0)),
                _ => format!("{word} {} {reason}", clock(first)),
            }
        }
        Effect::CancelJob { job, cancel } => {
            assert!(cancel.replaced_by.is_some());
            format!("cancel {}", job.name)
        }
        other => panic!("a schedule never does this: {other:?}"),
    };
    decision.plan.effects.iter().map(tell).collect()
}
