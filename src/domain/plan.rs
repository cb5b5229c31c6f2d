//! Plan: what a decision asks the shell to do, as data.
//!
//! Effects are ordered, and each is idempotent alone: a plan may be cut after any of them, by a crash or a failure, and
//! the next decision, made from what is then in the cluster, completes it. The status comes last.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;

use super::words::printable;
use crate::api::{Cancel, Job, JobRun, Reason};

/// One change to the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Create a Job under its deterministic name. Already there with the same owner: done.
    CreateJob {
        /// The Job.
        job: Box<Job>,
        /// When it was to be created, for a Job that has a time: its lateness is measured from here.
        due: Option<Timestamp>,
        /// A JobRun that, if it exists, says that another process already accounted for it.
        unless_run: Option<String>,
    },
    /// Create a JobRun under its deterministic name. Already there for the same attempt: done.
    CreateRun(Box<JobRun>),
    /// Create a template revision under its deterministic name.
    CreateRevision(Box<ControllerRevision>),
    /// Ask the API server, without effect, whether it would accept this batch Job.
    ProbeTemplate(Box<serde_json::Value>),
    /// Delete a template revision that nothing refers to, letting go of its finalizer first.
    DeleteRevision(ObjectIdentity),
    /// Let Kubernetes end a batch Job: its pods get their grace period, it keeps its pods and fails with DeadlineExceeded.
    ExpireBatchJob {
        /// Which one.
        batch: ObjectIdentity,
        /// Why: written to it in the same request, so that its record can tell.
        reason: Reason,
    },
    /// Delete a batch Job that has no pods (it is suspended), or whose failure is recorded and was made up for, unless
    /// somebody has written to it since, as to resume it; or one that nothing ends.
    DeleteBatchJob {
        /// Which one.
        batch: ObjectIdentity,
        /// The version that it has to have; absent: any.
        version: Option<String>,
    },
    /// Make a batch Job the Job's again, from which somebody took the owner reference or the labels.
    AdoptBatchJob {
        /// Which one.
        batch: ObjectIdentity,
        /// The Job.
        job: ObjectIdentity,
        /// Which attempt of it this is.
        attempt: u32,
    },
    /// Put Rota's finalizer on a batch Job that Kubernetes would delete before its end is recorded.
    HoldBatchJob(ObjectIdentity),
    /// Take Rota's finalizer off a batch Job whose end is recorded.
    ReleaseBatchJob(ObjectIdentity),
    /// Have Kubernetes delete a batch Job that has ended and that nobody owns, so many seconds after its end.
    LimitBatchJob {
        /// Which one.
        batch: ObjectIdentity,
        /// How long it stays.
        seconds: i64,
    },
    /// Delete a pod with its grace period.
    EndPod(ObjectIdentity),
    /// Kill a pod without a grace period.
    KillPod(ObjectIdentity),
    /// Ask a Job to end.
    CancelJob {
        /// Which one.
        job: ObjectIdentity,
        /// Why.
        cancel: Cancel,
    },
    /// Put Rota's finalizer on a Job that a user made, before anything else is done about it.
    HoldJob(ObjectIdentity),
    /// Take Rota's finalizer off a Job whose outcome is recorded.
    ReleaseJob(ObjectIdentity),
    /// Delete a Job whose outcome is recorded.
    DeleteJob(ObjectIdentity),
    /// Create the queue `default` of a namespace.
    CreateDefaultQueue {
        /// The namespace.
        namespace: String,
    },
}

/// One particular object: a delete or patch of another one of the same name has no effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectIdentity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// How often something of its kind is told about one object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// Now and then: it is told whatever goes on.
    #[default]
    Rare,
    /// With most runs: what went as it should is left out while launches wait for the API server.
    EachRun,
    /// Every few seconds, it may be: as with each run, and further ones of its reason go together in one event.
    Flood,
}

/// Something to tell people about an object, as a Kubernetes event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether it is a warning.
    pub warning: bool,
    /// A word in PascalCase.
    pub reason: &'static str,
    /// What was done, a word in PascalCase.
    pub action: &'static str,
    /// A sentence for people.
    pub message: String,
    /// How often the like is told.
    pub pace: Pace,
}

impl Note {
    /// Something that went as it should.
    pub fn normal(reason: &'static str, action: &'static str, message: impl Into<String>) -> Self {
        Self { warning: false, reason, action, message: printable(&message.into()), pace: Pace::Rare }
    }

    /// Something that somebody should look at.
    pub fn warning(reason: &'static str, action: &'static str, message: impl Into<String>) -> Self {
        Self { warning: true, reason, action, message: printable(&message.into()), pace: Pace::Rare }
    }

    /// The same, told that often.
    pub fn at_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// Whether it may be left out while launches wait for the API server.
    pub fn can_be_left_out(&self) -> bool {
        self.pace != Pace::Rare && !self.warning
    }
}

/// What is to be done about one object, and what its status is to say.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Plan<S> {
    /// The changes to make, in order.
    pub effects: Vec<Effect>,
    /// The status that the object should have; absent: leave it as it is.
    pub status: Option<S>,
    /// Events, one for each transition; told after the status is written.
    pub notes: Vec<Note>,
    /// When to look again, if nothing happens before.
    pub wake_at: Option<Timestamp>,
}

impl<S> Default for Plan<S> {
    fn default() -> Self {
        Self { effects: Vec::new(), status: None, notes: Vec::new(), wake_at: None }
    }
}

impl<S> Plan<S> {
    /// Looks again at `when`, or earlier if that was already planned.
    pub fn wake(&mut self, when: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(when, |already| already.min(when)));
    }
}

/// How a Job ended: the one fact that its schedule, its group and its own status need of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How its last attempt ended.
    pub outcome: crate::api::Outcome,
    /// Why.
    pub reason: Reason,
    /// When.
    pub finished_at: Timestamp,
    /// Name of its last JobRun.
    pub run: String,
}
