//! The cluster of the model: objects by name, creates that conflict, finalizers, and a crash after any write.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job as BatchJob, JobCondition, JobSpec as BatchSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::labels::{ENDED_FOR_ANNOTATION, RECORD_FINALIZER};
use crate::api::queue::InFlight;
use crate::api::{Job, JobGroup, JobGroupSpec, JobRun, Schedule};
use crate::domain::plan::{Effect, ObjectIdentity};

/// The operator ended before it could go on; its memory is lost.
#[derive(Debug)]
pub struct Crash;

/// What is in the cluster, and what was ever made in it.
pub struct Cluster {
    pub now: Timestamp,
    pub schedule: Schedule,
    pub group: JobGroup,
    pub queue_max: u32,
    pub in_flight: Vec<InFlight>,
    pub jobs: BTreeMap<String, Job>,
    pub runs: BTreeMap<String, JobRun>,
    pub batches: BTreeMap<String, BatchJob>,
    /// The pod of each batch Job that ended by itself or was deleted.
    pub pods: BTreeMap<String, Vec<Arc<Pod>>>,
    /// When each batch Job was created.
    pub launched: BTreeMap<String, Timestamp>,
    /// How often a Job or batch Job of each name was created.
    pub made: BTreeMap<String, u32>,
    /// Times of the schedule that got an outcome since the oracle last looked.
    pub accounted: Vec<Timestamp>,
    /// Requests that would change something, also those that turned out not to.
    pub requests: usize,
    /// After how many more requests the operator crashes.
    pub crash_after: Option<u32>,
    uids: u32,
}

impl Cluster {
    pub fn new(now: Timestamp, schedule: Schedule, group: JobGroup, queue_max: u32) -> Self {
        Self {
            now,
            schedule,
            group,
            queue_max,
            in_flight: Vec::new(),
            jobs: BTreeMap::new(),
            runs: BTreeMap::new(),
            batches: BTreeMap::new(),
            pods: BTreeMap::new(),
            launched: BTreeMap::new(),
            made: BTreeMap::new(),
            accounted: Vec::new(),
            requests: 0,
            crash_after: None,
            uids: 0,
        }
    }

    /// One request was answered, and the operator may end before it learns so.
    pub fn request(&mut self) -> Result<(), Crash> {
        self.requests += 1;
        match self.crash_after.as_mut() {
            Some(1) => {
                self.crash_after = None;
                Err(Crash)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn uid(&mut self) -> String {
        self.uids += 1;
        format!("uid-{}", self.uids)
    }

    /// Makes one change as the shell does, and returns the JobRun that there is now, or that stood in the way.
    pub fn apply(&mut self, effect: &Effect) -> Result<Option<JobRun>, Crash> {
        let mut found = None;
        match effect {
            Effect::CreateJob { job, unless_run, .. } => {
                found = unless_run.as_ref().and_then(|run| self.runs.get(run).cloned());
                if found.is_none() {
                    self.create_job(job.as_ref().clone());
                }
            }
            Effect::CreateRun(run) => found = Some(self.create_run(run)),
            Effect::HoldJob(identity) => self.hold(identity),
            Effect::ReleaseJob(identity) => self.release(identity),
            Effect::DeleteJob(identity) => self.delete_job(&identity.name),
            Effect::ExpireBatchJob { batch, reason } => {
                if let Some(batch) = self.batches.get_mut(&batch.name) {
                    let annotation = (ENDED_FOR_ANNOTATION.to_owned(), reason.as_str().to_owned());
                    batch.metadata.annotations = Some([annotation].into());
                    batch.spec.get_or_insert_with(BatchSpec::default).active_deadline_seconds = Some(1);
                }
            }
            Effect::DeleteBatchJob { batch, .. } => {
                self.delete_batch(&batch.name);
            }
            Effect::EndPod(pod) => self.ask_pod_to_end(&pod.name),
            other => panic!("the model has no such thing: {other:?}"),
        }
        self.request()?;
        Ok(found)
    }

    /// A user edits the group.
    pub fn edit_group(&mut self, change: impl FnOnce(&mut JobGroupSpec)) {
        let before = self.group.spec.clone();
        change(&mut self.group.spec);
        if self.group.spec != before {
            *self.group.metadata.generation.get_or_insert_default() += 1;
        }
    }

    pub fn create_job(&mut self, mut job: Job) {
        let name = job.metadata.name.clone().unwrap();
        if self.jobs.contains_key(&name) {
            return;
        }
        job.metadata.uid = Some(self.uid());
        job.metadata.creation_timestamp = Some(Time(self.now));
        self.accounted.extend(job.spec.scheduled_time.as_ref().map(|time| time.0));
        *self.made.entry(name.clone()).or_default() += 1;
        self.jobs.insert(name, job);
    }

    fn create_run(&mut self, run: &JobRun) -> JobRun {
        let name = run.metadata.name.clone().unwrap();
        if let Some(existing) = self.runs.get(&name) {
            assert_eq!((&existing.spec.job_ref, existing.spec.attempt), (&run.spec.job_ref, run.spec.attempt));
            return existing.clone();
        }
        if run.spec.job_ref.is_none() {
            self.accounted.extend(covered(run));
        }
        self.runs.insert(name, run.clone());
        run.clone()
    }

    pub fn launch(&mut self, job: &Job, name: &str) {
        if self.batches.contains_key(name) {
            return;
        }
        let mut batch = BatchJob::default();
        batch.metadata.name = Some(name.to_owned());
        batch.metadata.uid = Some(self.uid());
        batch.metadata.creation_timestamp = Some(Time(self.now));
        batch.metadata.labels = Some([("job".to_owned(), job.metadata.name.clone().unwrap())].into());
        *self.made.entry(name.to_owned()).or_default() += 1;
        self.launched.insert(name.to_owned(), self.now);
        self.batches.insert(name.to_owned(), batch);
    }

    /// Kubernetes ends a batch Job, whose container exited with that code unless it was at its deadline.
    pub fn end_batch(&mut self, name: &str, code: i32) {
        let now = self.now;
        let Some(batch) = self.batches.get_mut(name).filter(|batch| is_active(batch)) else { return };
        let expired = batch.spec.as_ref().and_then(|spec| spec.active_deadline_seconds).is_some();
        let (type_, reason) = match (expired, code) {
            (true, _) => ("Failed", "DeadlineExceeded"),
            (false, 0) => ("Complete", "CompletionsReached"),
            (false, _) => ("Failed", "BackoffLimitExceeded"),
        };
        if !expired {
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            let pod = super::yaml(&format!(
                "{{metadata: {{name: pod}}, spec: {{containers: [{{name: main}}]}}, status: {{phase: {phase}, containerStatuses: [
                {{name: main, image: x, imageID: x, ready: false, restartCount: 0, state: {{terminated: {{exitCode: {code}, startedAt: '{now}', finishedAt: '{now}'}}}}}}]}}}}"
            ));
            self.pods.insert(name.to_owned(), vec![as_cached(pod)]);
        }
        batch.status.get_or_insert_default().conditions = Some(vec![JobCondition {
            type_: type_.into(),
            status: "True".into(),
            reason: Some(reason.into()),
            last_transition_time: Some(Time(now)),
            ..JobCondition::default()
        }]);
    }

    /// Somebody deletes a batch Job; its pod, if it is said to run on, does so. Returns it as it was.
    pub fn delete_batch(&mut self, name: &str) -> Option<BatchJob> {
        let batch = self.batches.remove(name)?;
        if is_active(&batch) {
            let now = self.now;
            let pod = super::yaml(&format!(
                "{{metadata: {{name: {name}}}, spec: {{containers: [{{name: main}}]}}, status: {{phase: Running, containerStatuses: [
                {{name: main, image: x, imageID: x, ready: true, restartCount: 0, state: {{running: {{startedAt: '{now}'}}}}}}]}}}}"
            ));
            self.pods.insert(name.to_owned(), vec![Arc::new(pod)]);
        }
        Some(batch)
    }

    fn ask_pod_to_end(&mut self, name: &str) {
        let now = self.now;
        for pod in self.pods.get_mut(name).into_iter().flatten() {
            Arc::make_mut(pod).metadata.deletion_timestamp.get_or_insert(Time(now));
        }
    }

    /// The pods that run without a batch Job, and whether they were asked to end.
    pub fn running_pods(&self) -> Vec<(String, bool)> {
        let runs = |pod: &Arc<Pod>| pod.status.as_ref().is_some_and(|it| it.phase.as_deref() == Some("Running"));
        let running = self.pods.iter().filter(|(_, pods)| pods.iter().any(runs));
        let asked = |pods: &[Arc<Pod>]| pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_some());
        running.map(|(name, pods)| (name.clone(), asked(pods))).collect()
    }

    /// A pod that runs without a batch Job ends.
    pub fn end_pod(&mut self, name: &str, code: i32) {
        let now = self.now;
        for pod in self.pods.get_mut(name).into_iter().flatten() {
            let deletion = pod.metadata.deletion_timestamp.clone();
            let mut ended: Pod = super::yaml(&format!(
                "{{metadata: {{name: {name}}}, spec: {{containers: [{{name: main}}]}}, status: {{phase: Failed, containerStatuses: [
                {{name: main, image: x, imageID: x, ready: false, restartCount: 0, state: {{terminated: {{exitCode: {code}, startedAt: '{now}', finishedAt: '{now}'}}}}}}]}}}}"
            ));
            ended.metadata.deletion_timestamp = deletion;
            *pod = Arc::new(ended);
        }
    }

    pub fn active_batches(&self) -> Vec<String> {
        self.batches.iter().filter(|(_, batch)| is_active(batch)).map(|(name, _)| name.clone()).collect()
    }

    fn hold(&mut self, identity: &ObjectIdentity) {
        if let Some(job) = self.jobs.get_mut(&identity.name) {
            job.metadata.finalizers = Some(vec![RECORD_FINALIZER.into()]);
        }
    }

    fn release(&mut self, identity: &ObjectIdentity) {
        let Some(job) = self.jobs.get_mut(&identity.name) else { return };
        job.metadata.finalizers = None;
        if job.metadata.deletion_timestamp.is_some() {
            self.remove(&identity.name);
        }
    }

    /// A delete, by a user or by the operator: it waits for the finalizer.
    pub fn delete_job(&mut self, name: &str) {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(name) else { return };
        job.metadata.deletion_timestamp.get_or_insert(Time(now));
        if job.metadata.finalizers.is_none() {
            self.remove(name);
        }
    }

    /// The Job is gone, and Kubernetes takes its batch Jobs with it.
    fn remove(&mut self, name: &str) {
        self.jobs.remove(name);
        self.batches.retain(|_, batch| batch.metadata.labels.as_ref().is_none_or(|labels| labels["job"] != name));
    }
}

pub fn is_active(batch: &BatchJob) -> bool {
    batch.status.is_none()
}

/// The times that a record of skipped times covers; they are ten seconds apart.
pub fn covered(run: &JobRun) -> Vec<Timestamp> {
    let first = run.spec.scheduled_time.as_ref().unwrap().0;
    let status = run.status.as_ref().unwrap();
    let last = status.last_scheduled_time.as_ref().map_or(first, |last| last.0);
    let mut times = vec![first];
    while *times.last().unwrap() < last {
        times.push(*times.last().unwrap() + super::EVERY);
    }
    assert_eq!(status.count.unwrap_or(1), times.len() as u64, "the count fits the range");
    times
}

/// A pod as the operator's cache has it.
fn as_cached(mut pod: Pod) -> Arc<Pod> {
    crate::domain::pruned::prune_pod(&mut pod);
    Arc::new(pod)
}
