//! Job: queue it, follow its attempt, record it, let it go.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, PoisonError};

use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job as BatchJob;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::{Context, job_group, outcome, refusals};

pub mod attempt;
mod earlier;
mod live;
mod recorded;

use attempt::Seen;
pub use earlier::begin_launch;
use earlier::{duplicate_of, look_up, superseded_by};

use crate::api::job::TemplateSnapshot;
use crate::api::labels::TEMPLATE_REVISION_ANNOTATION;
use crate::api::{
    DEFAULT_QUEUE, Job, JobPhase, JobRun, JobRunStatus, JobStatus, JobTemplate, JobTemplateSpec, Reason, Schedule,
};
use crate::apply::WriteError;
use crate::dispatcher;
use crate::domain::group::{self, Gate};
use crate::domain::job::{self, Decision, Facts, Look, Memory, Subject, Told, current_attempt};
use crate::domain::plan::{Effect, Note, Plan};
use crate::domain::resolve::{self, Judged, Resolved, Source, Unresolved};
use crate::domain::{pinned, pruned, run, schedule, template};
use crate::runtime::clock::now;
use crate::runtime::store::Key;
use crate::runtime::stores::of_uid;
use crate::runtime::visibility::{Act, Blind};
use crate::runtime::work::Next;

/// When to ask the API server again for what changed while it was asked.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// What a decision about a Job depends on besides the Job and what is remembered of it.
pub struct Observed {
    template: Option<Arc<JobTemplate>>,
    spec: Option<(Arc<JobTemplateSpec>, TemplateSnapshot)>,
    invalid: Option<String>,
    queued: bool,
    gate: Option<Gate>,
    schedule_settled: bool,
    group_settled: bool,
    seen: Seen,
    kept_batches: Vec<Arc<BatchJob>>,
    duplicate_of: Option<String>,
    superseded_by: Option<String>,
    kept_by_schedule: bool,
    /// Whether something that it runs by or that limits it is there and cannot be read, so that it cannot be launched.
    is_unreadable: bool,
    judged: Option<Arc<Judged>>,
}

impl Observed {
    /// Whether its template was not read yet.
    pub fn is_unread(&self, object: &Job) -> bool {
        matches!(source(object, self), Source::Unread)
    }

    /// Whether the Job's group is cancelled, or stopped by a member that failed.
    pub fn is_stopped(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| gate.cancel.is_some() || gate.stopped.is_some())
    }
}

/// One run for a Job.
pub async fn reconcile(context: Arc<Context>, key: Key) -> Next {
    let uid = context.stores.jobs.get(&key).and_then(|job| job.uid());
    let result = AssertUnwindSafe(run(&context, &key)).catch_unwind().await;
    if let Ok(Err(error)) = &result {
        say_refused(&context, &key, error).await;
    }
    if let Some(uid) = uid {
        context.forget_if_gone(&key, &uid);
    }
    let unfailed = |error: &WriteError| {
        matches!(error, WriteError::NotLeading | WriteError::Blind(_) | WriteError::Changed { .. })
    };
    let failed = match &result {
        Ok(Ok(_)) => false,
        Ok(Err(error)) => !unfailed(error),
        Err(_) => true,
    };
    dispatcher::was_run(&context, &key, failed);
    // A panic concerns this Job alone; the workqueue logs it and tries again.
    outcome(&context, "job", &key, result.unwrap_or_else(|panic| resume_unwind(panic)))
}

/// Says in a Job what the API server refused. Of a large one the cache lacks the parameters, which a status must not lose.
async fn say_refused(context: &Context, key: &Key, error: &WriteError) {
    let cached = context.stores.jobs.get(key).filter(|_| error.refusal().is_some());
    let Some(cached) = cached else { return };
    match whole(context, cached).await {
        Ok(object) => refusals::say(context, object.as_deref(), error).await,
        Err(error) => tracing::warn!(%key, error = %error.text(), "what was refused cannot be said in the status"),
    }
}

async fn run(context: &Context, key: &Key) -> Result<Option<Timestamp>, WriteError> {
    // Observe.
    let current = context.stores.jobs.get(key);
    let let_go = attempt::let_go(context, key, current.as_deref()).await;
    let Some(current) = current else { return let_go.map(|()| None) };
    let Some(current) = live::complete(context, current).await? else { return let_go.map(|()| None) };
    let object = as_launched(context, current.clone());
    let uid = object.uid().unwrap_or_default();
    // What it does when its group has called it is not to be decided from what was seen before.
    let called = context.memories.update(&uid, |_| ());
    let mut observed = observe_as_launched(context, &object, !Arc::ptr_eq(&object, &current));
    if job::awaits_call(&object, observed.gate.as_ref(), &called) {
        // It comes together with all others whose turn it is.
        job_group::call(context, &object);
        return Ok(None);
    }
    look_up(context, &object, &observed).await?;
    ask_events(context, &object, observed.seen.batch.as_deref(), &observed.seen.pods).await;
    let mut memory = Memory { called_at: called.called_at, ..context.memories.update(&uid, |_| ()) };
    // A launch may have ended meanwhile. What is remembered as launched is in the stores, if one looks after remembering;
    // before, it would look as if somebody had deleted it.
    observed.seen = Seen::of(context, &object);
    let now_is = now();
    if observed.seen.batch.as_ref().is_some_and(|batch| pinned::as_launched(&object, batch).is_some()) {
        // It was launched meanwhile, and edited since.
        return Ok(Some(now_is));
    }
    note_stand(context, &object, &observed, &mut memory, now_is);
    note_queueable(context, &object, &observed, &mut memory, now_is);
    memory.blocker = context.dispatcher.line().blocker_to_write(&uid, now_is);
    if memory.candidate.is_none() {
        memory.offered_at = Some(now_is);
    }
    // Decide.
    let busy = context.writer.is_busy();
    let mut decision = job::decide(&facts(&object, &observed, &memory, busy), now_is);
    if decision.look {
        observed.seen = Seen::live(context, &object).await?;
        if observed.seen.is_unsettled {
            return Ok(Some(now_is.checked_add(LOOK_AGAIN).unwrap_or(now_is)));
        }
        let known = context.memories.update(&uid, |_| ());
        memory = Memory { blocker: memory.blocker, offered_at: memory.offered_at, ..known };
        note_stand(context, &object, &observed, &mut memory, now_is);
        decision = job::decide(&facts(&object, &observed, &memory, busy), now_is);
    }
    let runs_otherwise = |batch: &Arc<BatchJob>| pinned::runs_otherwise(&current, batch);
    if !Arc::ptr_eq(&object, &current) || observed.seen.batch.as_ref().is_some_and(runs_otherwise) {
        say_edited_too_late(&mut decision);
    }
    let lacks_queue = decision.queue.as_deref() == Some(DEFAULT_QUEUE) && !has_default_queue(context, &key.namespace);
    let queue = if lacks_queue { make_default_queue(context, &key.namespace).await } else { Ok(()) };
    tell_queue(context, &object, &memory, &decision, observed.is_unread(&object));
    if !live::is_confirmed(context, &object, &memory, &decision).await? {
        return Ok(Some(now_is));
    }
    // Apply, and status.
    let is_coming = decision.is_coming;
    let written = match queue {
        Ok(()) => write(context, &object, &observed, decision.plan).await,
        Err(error) => Err(error),
    };
    if is_coming && written.is_err() {
        // It holds up nobody.
        dispatcher::looked_at(context, &key.namespace, &uid, &memory);
    }
    written.and_then(|again| let_go.map(|()| again))
}

/// That an edit came after the launch, told once, with the launch.
fn say_edited_too_late(decision: &mut Decision) {
    let launched = |note: &Note| note.action == "Launch" && matches!(note.reason, "Dispatched" | "Started");
    if decision.plan.notes.iter().any(launched) {
        let text = "it was launched before it was edited: this attempt runs what it said before";
        decision.plan.notes.push(Note::warning("EditedTooLate", "Launch", text.to_owned()));
    }
}

/// Takes note of since when it could be queued.
fn note_queueable(context: &Context, object: &Job, observed: &Observed, memory: &mut Memory, now_is: Timestamp) {
    if memory.queueable_since.is_some() || resolve(object, observed).is_err() {
        return;
    }
    // A Job that had to wait for nothing but the operator keeps the order in which it came.
    let waited = object.status.as_ref().is_some_and(|status| status.phase.is_some());
    memory.queueable_since = Some(if waited { now_is } else { memory.first_seen });
    let uid = object.uid().unwrap_or_default();
    context.memories.update(&uid, |known| known.queueable_since = memory.queueable_since);
}

/// Takes note of when the attempt was first seen to stand as it does, where time counts.
fn note_stand(context: &Context, object: &Job, observed: &Observed, memory: &mut Memory, now_is: Timestamp) {
    let before = (memory.end_seen, memory.asked_seen);
    let stand = observed.seen.stand(object, memory);
    let mut seen = Memory { end_seen: before.0, asked_seen: before.1, ..Memory::new(now_is) };
    seen.see(current_attempt(object), &stand, now_is);
    (memory.end_seen, memory.asked_seen) = (seen.end_seen, seen.asked_seen);
    if before != (memory.end_seen, memory.asked_seen) {
        let uid = object.uid().unwrap_or_default();
        context
            .memories
            .update(&uid, |known| (known.end_seen, known.asked_seen) = (memory.end_seen, memory.asked_seen));
    }
}

/// Writes what was decided. Returns when to look again.
async fn write(
    context: &Context,
    object: &Job,
    observed: &Observed,
    plan: Plan<JobStatus>,
) -> Result<Option<Timestamp>, WriteError> {
    let uid = object.uid().unwrap_or_default();
    let mut again = false;
    let mut refused = Ok(());
    for mut effect in plan.effects {
        may(context, object, &effect)?;
        if matches!(effect, Effect::AdoptBatchJob { .. } | Effect::HoldBatchJob(_)) {
            // What keeps the batch Job the Job's must not keep the rest from being done.
            refused = refused.and(context.writer.apply(effect).await.map(|_| ()));
            continue;
        }
        if matches!(effect, Effect::DeleteBatchJob { .. } | Effect::LimitBatchJob { .. }) {
            // A policy that refuses this keeps the batch Job; the Job goes on.
            match context.writer.apply(effect).await {
                Err(error) if error.is_refusal() => refused = refused.and(Err(error)),
                other => drop(other?),
            }
            continue;
        }
        // One that is being created was explained already.
        if context.memories.get(&uid).is_none_or(|memory| memory.recording.is_none()) {
            explain(context, observed, &mut effect).await;
        }
        if let Effect::CreateRun(run) = &effect {
            if dispatcher::is_to_be_taken_over(context, object, run.spec.attempt) {
                return Ok(now().checked_add(LOOK_AGAIN).ok());
            }
            if !context.memories.begin_record(&uid, run) {
                // It was admitted meanwhile; the launcher asks for another look.
                return Ok(None);
            }
        }
        let asked = if let Effect::CreateRun(run) = &effect { run.metadata.name.clone() } else { None };
        again |= matches!(effect, Effect::HoldJob(_));
        let applied = context.writer.apply(effect).await?;
        if let Some(run) = &applied.run {
            recorded::take_note(context, object, asked.as_deref(), run, applied.contradiction);
            again = true;
        }
    }
    if let Some(status) = plan.status.filter(|status| object.status.as_ref() != Some(status)) {
        // That one was launched is no news that keeps others from being launched.
        let launched = matches!(status.phase, Some(JobPhase::Dispatched | JobPhase::Running));
        let _turn = if launched { context.writer.give_way().await } else { None };
        context.writer.status(object, &status).await?;
    }
    context.tell(object, plan.notes);
    refused?;
    Ok(if again { Some(now()) } else { plan.wake_at })
}

/// Whether an effect may be applied now: what it rests on is seen, or it was begun.
fn may(context: &Context, object: &Job, effect: &Effect) -> Result<(), WriteError> {
    let memory = object.uid().and_then(|uid| context.memories.get(&uid));
    let is_begun = memory.is_some_and(|memory| memory.recording.is_some());
    let closed = |run: &JobRun| run.status.as_ref().is_some_and(|status| status.reason == Reason::GroupClosed);
    let namespace = object.namespace().unwrap_or_default();
    let cannot_read_group = || Unreadable::of(context, object, &namespace).group;
    match effect {
        Effect::CreateRun(_) if is_begun => Ok(()),
        Effect::CreateRun(run) if closed(run) && cannot_read_group() => {
            Err(Blind("its group is there and cannot be read".into()).into())
        }
        Effect::CreateRun(run) if run.status.as_ref().is_some_and(|status| status.reason.rests_on_template()) => {
            context.may(Act::Record, &namespace)?;
            context.may(Act::Revise, &namespace)
        }
        Effect::CreateRun(_)
        | Effect::ReleaseJob(_)
        | Effect::DeleteJob(_)
        | Effect::ExpireBatchJob { reason: Reason::PendingTimeout, .. } => context.may(Act::Record, &namespace),
        _ => Ok(()),
    }
}

/// Tells the queue what was decided.
fn tell_queue(context: &Context, job: &Job, memory: &Memory, decision: &Decision, template_unread: bool) {
    let namespace = job.namespace().unwrap_or_default();
    let uid = job.uid().unwrap_or_default();
    dispatcher::offer(context, job, decision.candidate.as_ref());
    if !decision.is_coming {
        dispatcher::looked_at(context, &namespace, &uid, memory);
    }
    let told = (memory.looked_at, memory.template_unread, &memory.candidate);
    if told != (true, template_unread, &decision.candidate) {
        context.memories.update(&uid, |known| {
            known.looked_at = true;
            known.template_unread = template_unread;
            known.offered_at = memory.offered_at;
            known.candidate = decision.candidate.clone();
        });
        context.triggers.dispatch(&namespace);
    }
}

/// Looks among the events for why nothing of a Job's attempt starts, if nothing else says so.
async fn ask_events(context: &Context, object: &Job, batch: Option<&BatchJob>, pods: &[Arc<Pod>]) {
    let Some(batch) = batch else { return };
    let uid = object.uid().unwrap_or_default();
    let memory = context.memories.update(&uid, |_| ());
    let Look::Now(subject) = job::look(object, &memory, batch, pods, now()) else { return };
    let Some(text) = context.writer.warning(&subject).await else { return };
    let told = Told { attempt: current_attempt(object), at: now(), text };
    context.memories.update(&uid, |memory| memory.told = Some(told));
}

/// Adds to the record of an attempt that never started in its time why, if only an event tells.
async fn explain(context: &Context, observed: &Observed, effect: &mut Effect) {
    let (Effect::CreateRun(run), Some(batch)) = (effect, &observed.seen.batch) else { return };
    let out_of_time = |reason: Reason| {
        matches!(reason, Reason::PendingTimeout | Reason::DeadlineExceeded | Reason::TotalDeadlineExceeded)
    };
    let unstarted = |status: &&mut JobRunStatus| out_of_time(status.reason) && status.started_at.is_none();
    let Some(status) = run.status.as_mut().filter(unstarted) else { return };
    let subject = match observed.seen.pods.first() {
        Some(pod) => Subject::Pod(job::identity(&pod.metadata)),
        None => Subject::BatchJob(job::identity(&batch.metadata)),
    };
    if let Some(Some(why)) = context.writer.warning(&subject).await {
        status.error = Some(run::with_reason(status.error.as_deref().unwrap_or_default(), &why));
    }
}

/// Creates the queue `default`, unless another Job's run is at it: in a burst one create is enough.
async fn make_default_queue(context: &Context, namespace: &str) -> Result<(), WriteError> {
    let begun = &context.queues_being_made;
    if !begun.lock().unwrap_or_else(PoisonError::into_inner).insert(namespace.to_owned()) {
        return Ok(());
    }
    let create = Effect::CreateDefaultQueue { namespace: namespace.to_owned() };
    let made = context.writer.apply(create).await.map(drop);
    begun.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    made
}

fn has_default_queue(context: &Context, namespace: &str) -> bool {
    context.stores.queues.get(&Key::new(namespace, DEFAULT_QUEUE)).is_some()
}

/// A cached Job with all its content, which is read from the API server if it is large; absent if the Job is gone.
pub async fn whole(context: &Context, cached: Arc<Job>) -> Result<Option<Arc<Job>>, WriteError> {
    if pruned::is_whole(&cached) {
        return Ok(Some(cached));
    }
    let found = context.writer.job(&Key::of(&*cached)).await?;
    Ok(found.filter(|found| found.metadata.uid == cached.metadata.uid).map(Arc::new))
}

/// Looks up what a decision about a Job depends on.
pub fn observe(context: &Context, object: &Job) -> Observed {
    let namespace = object.namespace().unwrap_or_default();
    let template =
        object.spec.template_ref.as_ref().and_then(|it| context.stores.templates.get(&Key::new(&namespace, &it.name)));
    let template = template.filter(|template| template.metadata.deletion_timestamp.is_none());
    let seen = Seen::of(context, object);
    let schedule = schedule_of(context, object, &namespace);
    let group =
        object.spec.group_ref.as_ref().and_then(|it| context.stores.groups.get(&Key::new(&namespace, &it.name)));
    let standing = group.as_deref().map(|group| job_group::standing(context, group));
    let snapshot = queued_with(context, object, seen.batch.as_deref());
    let is_unread = Unreadable::of(context, object, &namespace);
    let (spec, invalid) = specification(context, snapshot.clone(), template.as_deref(), &namespace);
    let memory = object.uid().and_then(|uid| context.memories.get(&uid));
    let was_launched = job::was_launched(object, memory.as_ref()) || seen.batch.is_some();
    let inherited = spec.as_ref().and_then(|(spec, _)| schedule::inherited(object, schedule.as_deref(), spec));
    let is_as_revised = inherited.is_none();
    let spec = spec.map(|(spec, snapshot)| (inherited.map_or(spec, Arc::new), snapshot));
    let mut observed = Observed {
        spec,
        invalid,
        queued: snapshot.is_some(),
        gate: group::gate(object, group.as_deref().zip(standing.as_deref())),
        schedule_settled: schedule_settled(object, schedule.as_deref()) && !(schedule.is_none() && is_unread.schedule),
        group_settled: group::is_settled(group.as_deref(), object, context.ending(object).as_ref())
            && !(group.is_none() && is_unread.group),
        seen,
        kept_batches: kept_batches(context, object),
        duplicate_of: duplicate_of(context, object, &namespace),
        superseded_by: schedule.as_deref().and_then(|schedule| superseded_by(context, object, schedule)),
        kept_by_schedule: schedule.as_deref().is_some_and(|schedule| schedule::keeps(schedule, object)),
        is_unreadable: !was_launched && (is_unread.template || is_unread.schedule || is_unread.group),
        template,
        judged: None,
    };
    if is_as_revised {
        observed.judged = judged(context, object, &observed);
    }
    observed
}

/// The same of a Job as it was launched. If it was edited since, what was found out of one is not true of the other.
fn observe_as_launched(context: &Context, object: &Job, is_edited: bool) -> Observed {
    let forget = || {
        if is_edited {
            context.memories.update(&object.uid().unwrap_or_default(), |memory| memory.judged = None);
        }
    };
    forget();
    let observed = observe(context, object);
    forget();
    observed
}

/// Whether what the Job gives fits what it runs: as it was found out before, unless one of them has changed since.
fn judged(context: &Context, object: &Job, observed: &Observed) -> Option<Arc<Judged>> {
    let uid = object.uid().unwrap_or_default();
    let source = source(object, observed);
    let before = context.memories.get(&uid).and_then(|memory| memory.judged);
    if before.as_ref().is_some_and(|judged| judged.is_about(object, source)) {
        return before;
    }
    let judged = Judged::of(object, source).map(Arc::new);
    if judged.is_some() || before.is_some() {
        context.memories.update(&uid, |memory| memory.judged.clone_from(&judged));
    }
    judged
}

/// What the Job runs, as far as it can be told.
pub fn resolve<'a>(object: &'a Job, observed: &'a Observed) -> Result<Resolved<'a>, Unresolved> {
    resolve::resolve(object, source(object, observed), observed.judged.as_deref())
}

/// A Job as it was when its current attempt was launched, according to its batch Job, also where that is gone.
fn as_launched(context: &Context, object: Arc<Job>) -> Arc<Job> {
    let (batch, _) = attempt::batch_of(context, &object, current_attempt(&object));
    let memory = object.uid().and_then(|uid| context.memories.get(&uid));
    let last = memory.as_ref().and_then(|memory| memory.last_batch_of(&object));
    let launched = batch.as_deref().or(last).and_then(|batch| pinned::as_launched(&object, batch));
    launched.map_or(object, Arc::new)
}

/// The batch Jobs of a Job that has ended or is being deleted, of all its attempts.
fn kept_batches(context: &Context, object: &Job) -> Vec<Arc<BatchJob>> {
    let uid = object.uid().unwrap_or_default();
    if job::ending(object, None).is_none() && object.metadata.deletion_timestamp.is_none() {
        return Vec::new();
    }
    let is_own = |batch: &Arc<BatchJob>| crate::domain::attempt::is_of(batch, &uid);
    context.stores.batch_jobs.find(&of_uid(&uid)).into_iter().filter(is_own).collect()
}

/// The revision that the Job was queued with, according to its status; before that is written, according to its batch
/// Job.
fn queued_with(context: &Context, object: &Job, batch: Option<&BatchJob>) -> Option<TemplateSnapshot> {
    let said = object.status.as_ref().and_then(|status| status.template.clone());
    said.or_else(|| {
        let namespace = object.namespace()?;
        let revision = batch?.annotations().get(TEMPLATE_REVISION_ANNOTATION)?;
        template::snapshot_of(context.stores.revisions.get(&Key::new(namespace, revision))?.as_ref())
    })
}

/// What the Job runs: the revision it was queued with, or the template as it is now.
fn specification(
    context: &Context,
    queued_with: Option<TemplateSnapshot>,
    template: Option<&JobTemplate>,
    namespace: &str,
) -> (Option<(Arc<JobTemplateSpec>, TemplateSnapshot)>, Option<String>) {
    if let Some(snapshot) = queued_with {
        return match context.revision(&Key::new(namespace, &snapshot.revision)) {
            Some(spec) => (Some((spec, snapshot)), None),
            None => (None, Some(format!("revision {:?} of the template is gone", snapshot.revision))),
        };
    }
    let Some(template) = template.filter(|template| template::is_read(template)) else { return (None, None) };
    if let Err(why) = template::usable(template) {
        return (None, Some(why));
    }
    let revision = template.status.as_ref().and_then(|status| status.current_revision.as_ref());
    (revision.and_then(|name| revision_as_run(context, &Key::new(namespace, name))), None)
}

/// What a revision holds, and which one it is.
fn revision_as_run(context: &Context, key: &Key) -> Option<(Arc<JobTemplateSpec>, TemplateSnapshot)> {
    let snapshot = template::snapshot_of(context.stores.revisions.get(key)?.as_ref())?;
    Some((context.revision(key)?, snapshot))
}

/// Where the Job's template stands.
pub fn source<'a>(object: &'a Job, observed: &'a Observed) -> Source<'a> {
    if observed.is_unreadable {
        return Source::Unread;
    }
    if let Some(inline) = &object.spec.job_template {
        return Source::Inline(inline);
    }
    if let Some((spec, snapshot)) = &observed.spec {
        return match &observed.template {
            Some(template) if template.spec.archived && !observed.queued => Source::Archived { name: &snapshot.name },
            _ => Source::Template { spec, snapshot },
        };
    }
    if let Some(message) = &observed.invalid {
        return Source::Invalid { message };
    }
    match (&observed.template, &object.spec.template_ref) {
        (None, Some(reference)) => Source::Missing { name: &reference.name },
        (template, _) => match template.as_deref().and_then(template::unchecked) {
            Some(message) => Source::Unchecked { message },
            None => Source::Unread,
        },
    }
}

/// The facts as the domain takes them.
fn facts<'a>(object: &'a Job, observed: &'a Observed, memory: &'a Memory, busy: bool) -> Facts<'a> {
    Facts {
        job: object,
        source: source(object, observed),
        gate: observed.gate.as_ref(),
        schedule_settled: observed.schedule_settled,
        group_settled: observed.group_settled,
        batch: observed.seen.batch.as_deref(),
        disowned: observed.seen.disowned,
        pods: &observed.seen.pods,
        pods_there: &observed.seen.there,
        looked: observed.seen.looked,
        kept_batches: &observed.kept_batches,
        duplicate_of: observed.duplicate_of.as_deref(),
        superseded_by: observed.superseded_by.as_deref(),
        kept_by_schedule: observed.kept_by_schedule,
        memory,
        busy,
    }
}

/// The schedule of a Job, if it still exists.
fn schedule_of(context: &Context, object: &Job, namespace: &str) -> Option<Arc<Schedule>> {
    let reference = object.spec.schedule_ref.as_ref()?;
    let found = context.stores.schedules.get(&Key::new(namespace, &reference.name))?;
    schedule::is_meant(reference, &found.metadata).then_some(found)
}

/// What a Job refers to that is there and cannot be read: nothing follows from its not being in the caches, neither that it is
/// gone nor that it limits nothing.
struct Unreadable {
    template: bool,
    schedule: bool,
    group: bool,
}

impl Unreadable {
    fn of(context: &Context, object: &Job, namespace: &str) -> Self {
        let (schedule, group) = (&object.spec.schedule_ref, &object.spec.group_ref);
        let stores = &context.stores;
        let template = &object.spec.template_ref;
        Self {
            template: template
                .as_ref()
                .is_some_and(|it| stores.templates.is_unreadable(&Key::new(namespace, &it.name))),
            schedule: schedule
                .as_ref()
                .is_some_and(|it| stores.schedules.is_unreadable(&Key::new(namespace, &it.name))),
            group: group.as_ref().is_some_and(|it| stores.groups.is_unreadable(&Key::new(namespace, &it.name))),
        }
    }
}

/// Whether the Job's schedule has it in its account; a schedule that is gone has nothing to say.
fn schedule_settled(object: &Job, schedule: Option<&Schedule>) -> bool {
    schedule.is_none_or(|found| {
        found.metadata.deletion_timestamp.is_some()
            || found.status.as_ref().is_some_and(|status| schedule::has_settled(status, object))
    })
}
