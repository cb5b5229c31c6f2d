//! What only an event tells: why nothing of an attempt starts, where neither its batch Job nor its pods say so.
//!
//! A pod that may not be created (no ServiceAccount, a quota, Pod Security) and one whose volume cannot be mounted have that in
//! events only. They are asked for a few seconds after the launch, and a few times more, of this one object.

use super::attempt::pending;
use super::status::said_of;
use super::*;

/// How long after nothing of an attempt went on its events are looked at, in seconds, and looked at again if they told nothing.
const LOOKS_SECONDS: [i64; 6] = [5, 15, 45, 120, 300, 900];
/// How soon to come back if another look is under way, in milliseconds.
const BUSY_MS: i64 = 1_000;

/// What was found among the events of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which attempt.
    pub attempt: u32,
    /// When was looked last.
    pub at: Timestamp,
    /// What the last warning says.
    pub text: Option<String>,
}

/// Whose events would tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A pod's: why it does not start.
    Pod(ObjectIdentity),
    /// The batch Job's: why it has no pod.
    BatchJob(ObjectIdentity),
}

impl Subject {
    /// Which object.
    pub fn object(&self) -> &ObjectIdentity {
        let (Self::Pod(object) | Self::BatchJob(object)) = self;
        object
    }

    /// What a warning about it says of the attempt.
    pub fn sentence(&self, reason: &str, message: &str) -> String {
        let what = match self {
            Self::Pod(pod) => format!("pod {}: {reason}", pod.name),
            Self::BatchJob(_) => "Kubernetes cannot create its pod".to_owned(),
        };
        run::sentence(&what, message)
    }
}

/// Whether events are to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// No: something runs, or it is known why nothing does.
    No,
    /// Then, unless something happens before.
    At(Timestamp),
    /// Now.
    Now(Subject),
}

/// Whether events are to be looked at for why nothing of a Job's current attempt starts.
pub fn look(job: &Job, memory: &Memory, batch: &BatchJob, pods: &[Arc<Pod>], now: Timestamp) -> Look {
    let attempt = current_attempt(job);
    let launched = launched_of(job, memory, now);
    let pods = &run::pods_since(pods, run::resumed_at(batch));
    let ends = run::batch_outcome(batch) != run::BatchState::Active || run::ended_for(batch).is_some();
    if ends || run::is_suspended(batch) || run::is_being_resumed(batch) {
        return Look::No;
    }
    let Some(since) = pending(job, batch, pods, launched, now) else { return Look::No };
    let told = memory.told.as_ref().filter(|told| told.attempt == attempt);
    let is_known = run::no_pods_text(batch).is_some()
        || run::stuck_text(pods).is_some()
        || told.is_some_and(|told| told.text.is_some())
        || said_of(job, batch, pods).is_some();
    let mut looks = LOOKS_SECONDS.iter().map(|seconds| since.saturating_add_ms(seconds * 1_000));
    let next = looks.find(|due| told.is_none_or(|told| told.at < *due));
    let Some(due) = next.filter(|_| !is_known) else { return Look::No };
    if now < due {
        return Look::At(due);
    }
    Look::Now(match pods.first() {
        Some(pod) => Subject::Pod(identity(&pod.metadata)),
        None => Subject::BatchJob(identity(&batch.metadata)),
    })
}

/// When to look again at an attempt about which events were to be asked.
pub(super) fn wake(facts: &Facts<'_>, batch: &BatchJob, plan: &mut Plan<JobStatus>, now: Timestamp) {
    match look(facts.job, facts.memory, batch, facts.pods, now) {
        Look::No => {}
        Look::At(due) => plan.wake(due),
        Look::Now(_) => plan.wake(now.saturating_add_ms(BUSY_MS)),
    }
}
