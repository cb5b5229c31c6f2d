//! What is decided about a Job, branch by branch: the whole decision is compared, hence also that nothing else is done.

mod ended;
mod leaving;
mod limits;
mod running;
mod told;
mod waiting;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::api::JobTemplateSpec;
use crate::api::ObjectReference;
use crate::api::job::TemplateSnapshot;
use crate::domain::group::Gate;
use crate::domain::pruned;

/// The instant at which the Job of a case was first seen, and that many milliseconds after it.
fn after_ms(milliseconds: i64) -> Timestamp {
    let start: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    start.saturating_add_ms(milliseconds)
}

fn after(seconds: i64) -> Timestamp {
    after_ms(seconds * 1_000)
}

fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Where the template of a case stands.
#[derive(Clone, Copy)]
enum Stands {
    Usable,
    Missing,
    Unread,
    Unchecked,
    Invalid,
    Archived,
}

/// All that a decision depends on, owned; a new one is a user's Job of a usable template that Rota already holds.
#[derive(Clone)]
struct Case {
    job: Job,
    stands: Stands,
    template: JobTemplateSpec,
    snapshot: TemplateSnapshot,
    memory: Memory,
    gate: Option<Gate>,
    schedule_settled: bool,
    group_settled: bool,
    batch: Option<BatchJob>,
    disowned: bool,
    pods: Vec<Arc<Pod>>,
    kept_batches: Vec<Arc<BatchJob>>,
    /// Whether those pods are gone, and this is how they were last seen.
    pods_are_gone: bool,
    looked: bool,
    duplicate_of: Option<&'static str>,
    superseded_by: Option<&'static str>,
    kept_by_schedule: bool,
    busy: bool,
}

fn case() -> Case {
    let job = yaml(
        "
metadata:
  name: report
  namespace: team
  uid: uid-report
  generation: 1
  finalizers: [rota.dev/record]
spec:
  templateRef: {name: nightly}
  params: {day: monday}
",
    );
    let mut memory = Memory::new(after(0));
    memory.queueable_since = Some(after(0));
    Case {
        job,
        stands: Stands::Usable,
        template: template("retry: {maxAttempts: 3, backoff: {initialSeconds: 10}}"),
        snapshot: yaml("{name: nightly, uid: uid-nightly, revision: nightly-r1, digest: d1}"),
        memory,
        gate: None,
        schedule_settled: true,
        group_settled: true,
        batch: None,
        disowned: false,
        pods: Vec::new(),
        kept_batches: Vec::new(),
        pods_are_gone: false,
        looked: false,
        duplicate_of: None,
        superseded_by: None,
        kept_by_schedule: false,
        busy: false,
    }
}

fn template(more: &str) -> JobTemplateSpec {
    let text = "
jobType: report
params: [{name: day, default: sunday}]
jobTemplate: {spec: {template: {spec: {containers: [{name: main, image: busybox}]}}}}
";
    yaml(&format!("{text}{more}\n"))
}

impl Case {
    fn decide(&self, now: Timestamp) -> Decision {
        let source = match (&self.job.spec.job_template, self.stands) {
            (Some(inline), _) => Source::Inline(inline),
            (None, Stands::Usable) => Source::Template { spec: &self.template, snapshot: &self.snapshot },
            (None, Stands::Missing) => Source::Missing { name: "nightly" },
            (None, Stands::Unread) => Source::Unread,
            (None, Stands::Unchecked) => Source::Unchecked { message: "no answer" },
            (None, Stands::Invalid) => Source::Invalid { message: "no image" },
            (None, Stands::Archived) => Source::Archived { name: "nightly" },
        };
        let facts = Facts {
            job: &self.job,
            source,
            gate: self.gate.as_ref(),
            schedule_settled: self.schedule_settled,
            group_settled: self.group_settled,
            batch: self.batch.as_ref(),
            disowned: self.disowned,
            pods: &self.pods,
            kept_batches: &self.kept_batches,
            pods_there: if self.pods_are_gone { &[] } else { &self.pods },
            looked: self.looked,
            duplicate_of: self.duplicate_of,
            superseded_by: self.superseded_by,
            kept_by_schedule: self.kept_by_schedule,
            busy: self.busy,
            memory: &self.memory,
        };
        super::decide(&facts, now)
    }

    /// Decides, and has the status written as the shell does.
    fn step(&mut self, now: Timestamp) -> Decision {
        let decision = self.decide(now);
        if let Some(status) = &decision.plan.status {
            self.job.status = Some(status.clone());
        }
        decision
    }

    /// Decides, and has the status written; the rest is of no interest.
    fn write(&mut self, now: Timestamp) {
        let _ = self.step(now);
    }

    /// Decides again after a status was written: nothing more is to be said or done.
    fn assert_settled(&self, now: Timestamp) {
        let again = self.decide(now);
        assert_eq!(again.plan.effects, [], "an effect is repeated");
        assert_eq!(again.plan.notes, [], "an event is repeated");
        assert!(again.plan.status.is_none() || again.plan.status == self.job.status, "the status does not rest");
    }

    /// A Job that Rota made for a schedule.
    fn of_schedule(mut self) -> Self {
        self.job.spec.schedule_ref = Some(yaml("{name: daily, uid: uid-daily}"));
        self.job.spec.scheduled_time = Some(micro(after(0)));
        self
    }

    /// A Job that Rota made for a group.
    fn of_group(mut self, gate: Gate) -> Self {
        self.job.spec.group_ref = Some(yaml("{name: batch, uid: uid-batch, member: second}"));
        self.gate = Some(Gate { group_uid: "uid-batch".into(), ..gate });
        self
    }

    /// Waiting in its queue, and its status says so.
    fn queued(mut self) -> Self {
        self.write(after(1));
        assert_eq!(self.phase(), Some(JobPhase::Queued));
        self
    }

    /// Launched 10 s after it was first seen; the operator that did it remembers.
    fn launched(mut self) -> Self {
        let attempt = current_attempt(&self.job);
        self.memory.launched = Some((attempt, after(10)));
        self.batch = Some(batch(&attempt_name(&self.job, attempt), ""));
        self
    }

    /// Running, and its status says so.
    fn running(mut self) -> Self {
        self = self.launched();
        self.pods =
            vec![pod("containerStatuses: [{name: main, state: {running: {startedAt: '2026-03-01T00:00:12Z'}}}]")];
        self.write(after(13));
        assert_eq!(self.phase(), Some(JobPhase::Running));
        self
    }

    /// Its last attempt is recorded, as the shell remembers after it created the JobRun.
    fn recorded(mut self, outcome: Outcome, reason: Reason) -> Self {
        let attempt = current_attempt(&self.job);
        let ending = ended(&attempt_name(&self.job, attempt), outcome, reason);
        self.memory.recorded =
            Some(Recorded { attempt, exit_code: None, is_final: false, ending, contradiction: None });
        self
    }

    /// Its events told nothing, and are not looked at any more.
    fn asked(mut self) -> Self {
        let attempt = current_attempt(&self.job);
        self.memory.told = Some(Told { attempt, at: after(100_000), text: None });
        self
    }

    fn phase(&self) -> Option<JobPhase> {
        self.job.status.as_ref().and_then(|status| status.phase)
    }

    fn status(&self) -> &JobStatus {
        self.job.status.as_ref().unwrap()
    }

    fn identity(&self) -> ObjectIdentity {
        identity(&self.job.metadata)
    }

    fn deleted(mut self) -> Self {
        self.job.metadata.deletion_timestamp = Some(Time(after(15)));
        self
    }

    fn cancelled(mut self, text: &str) -> Self {
        self.job.spec.cancel = Some(yaml(text));
        self
    }
}

fn ended(run: &str, outcome: Outcome, reason: Reason) -> Ending {
    Ending { outcome, reason, finished_at: after(20), run: run.to_owned() }
}

/// A batch Job created 10 s after the Job was first seen.
fn batch(name: &str, more: &str) -> BatchJob {
    pruned::tests::batch_job(yaml(&format!(
        "
metadata: {{name: {name}, namespace: team, uid: uid-batch-job, creationTimestamp: '2026-03-01T00:00:10Z'}}
{more}
"
    )))
}

/// The same after Rota had Kubernetes end it.
fn expired(mut batch: BatchJob, reason: Reason) -> BatchJob {
    batch.spec.get_or_insert_default().active_deadline_seconds = Some(1);
    let annotation = (crate::api::labels::ENDED_FOR_ANNOTATION.to_owned(), reason.as_str().to_owned());
    batch.metadata.annotations = Some([annotation].into());
    batch
}

fn pod(status: &str) -> Arc<Pod> {
    pruned::tests::pod(yaml(&format!(
        "
metadata: {{name: report-pod, namespace: team, uid: uid-pod}}
spec: {{nodeName: node-1, containers: [{{name: main}}]}}
status: {{phase: Running, {status}}}
"
    )))
}

/// A pod whose container exited 19 s after the Job was first seen.
fn ended_pod(code: i32) -> Arc<Pod> {
    pod(&format!(
        "containerStatuses: [{{name: main, state: {{terminated: {{exitCode: {code}, startedAt: '2026-03-01T00:00:12Z', finishedAt: '2026-03-01T00:00:19Z'}}}}}}]"
    ))
}

/// The status of a batch Job that ended 20 s after the Job was first seen.
fn batch_ended(type_: &str) -> String {
    let counts = if type_ == "Complete" { "succeeded: 1" } else { "failed: 1" };
    format!(
        "status: {{{counts}, conditions: [{{type: {type_}, status: 'True', reason: BackoffLimitExceeded, lastTransitionTime: '2026-03-01T00:00:20Z'}}]}}"
    )
}

/// The one JobRun that a decision asks for, and that it asks for nothing else.
#[track_caller]
fn only_record(decision: &Decision) -> (String, Outcome, Reason) {
    let run = record_of(decision);
    let status = run.status.as_ref().unwrap();
    (run.metadata.name.clone().unwrap(), status.phase, status.reason)
}

#[track_caller]
fn record_of(decision: &Decision) -> &JobRun {
    assert_eq!(decision.candidate, None);
    let Plan { effects, status: None, notes, wake_at: None } = &decision.plan else {
        panic!("more than a record: {decision:?}");
    };
    assert!(notes.iter().all(|note| note.reason == "CancelRequested"), "{notes:?}");
    match effects.as_slice() {
        [Effect::CreateRun(run)] => run,
        other => panic!("not just a record: {other:?}"),
    }
}

#[track_caller]
fn condition(status: &JobStatus, type_: &str) -> (String, String, String) {
    let found = status.conditions.iter().find(|condition| condition.type_ == type_);
    let found = found.unwrap_or_else(|| panic!("no condition {type_}: {:?}", status.conditions));
    (found.status.clone(), found.reason.clone(), found.message.clone())
}

fn said(status: &str, reason: &str, message: &str) -> (String, String, String) {
    (status.into(), reason.into(), message.into())
}

fn types(status: &JobStatus) -> Vec<&str> {
    status.conditions.iter().map(|condition| condition.type_.as_str()).collect()
}
