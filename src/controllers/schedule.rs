//! Schedule: make the Jobs and records of what is due, and say so.

use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use kube::core::ObjectMeta;

use super::{Context, outcome};
use crate::api::{DEFAULT_QUEUE, Job, JobRun, JobTemplate, Reason, Schedule, ScheduleStatus};
use crate::apply::{Meaning, WriteError};
use crate::dispatcher;
use crate::domain::conditions::micro;
use crate::domain::plan::{Effect, Note};
use crate::domain::queue::QueueCondition;
use crate::domain::schedule::{self, Facts, OwnJob};
use crate::domain::{job, template};
use crate::domain::{params, resolve, sizes};
use crate::runtime::clock::now;
use crate::runtime::store::Key;
use crate::runtime::stores::of_schedule;
use crate::runtime::visibility::Act;
use crate::runtime::work::Next;

mod rests;
mod sightings;

pub use rests::Rests;
pub use sightings::Sightings;

/// What is remembered of schedules.
#[derive(Default)]
pub struct Memory {
    /// Which are left alone for a moment.
    pub rests: Rests,
    /// When edits were first seen.
    pub sightings: Sightings,
}

/// One run for a schedule.
pub async fn reconcile(context: Arc<Context>, key: Key) -> Next {
    if let Err(blind) = context.may(Act::Fire, &key.namespace) {
        return outcome(&context, "schedule", &key, Err(blind));
    }
    let gone = record_gone(&context, &key).await;
    let result = gone.and(run(&context, &key).await);
    if result.is_err() {
        // A failed run is no look: its delay grows with each in a row, and nothing else makes it wait.
        if let Some(uid) = context.stores.schedules.get(&key).and_then(|schedule| schedule.metadata.uid.clone()) {
            context.schedule_memory.rests.forget(&uid);
        }
        // What of it was written is not known: the next run asks for records before it fires a time up to now.
        context.doubts.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), now());
    } else {
        settle_doubt(&context, &key);
    }
    outcome(&context, "schedule", &key, result)
}

async fn run(context: &Context, key: &Key) -> Result<Option<Timestamp>, WriteError> {
    // Observe.
    let Some(object) = context.stores.schedules.get(key) else {
        context.readings.schedules.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        return Ok(None);
    };
    let uid = object.metadata.uid.clone().unwrap_or_default();
    let unwritten = context.unwritten.lock().unwrap_or_else(PoisonError::into_inner).get(&uid).cloned();
    let written = object.status.clone().unwrap_or_default();
    let before = unwritten.as_ref().map_or(&written, |(status, _)| status);
    let now_is = now();
    if let Some(later) = context.schedule_memory.rests.until(&uid, now_is) {
        return Ok(Some(later));
    }
    let jobs = jobs(context, &object);
    context.schedule_memory.rests.begin(&uid, jobs.len(), now_is);
    let facts = Facts {
        schedule: &object,
        status: before,
        edits: context.schedule_memory.sightings.edits(&object, context.predecessor_renewed_at),
        template: usable(context, &object),
        queue: queue(context, &object, now_is),
        jobs: &jobs,
        leading_since: unsure_until(context, key),
    };
    // Decide.
    let decision = schedule::decide(&facts, now_is);
    // Apply.
    let status = decision.plan.status;
    for effect in decision.plan.effects {
        let found = match make(context, &object, &effect).await {
            Ok(found) => found,
            Err(error) => {
                say_refused(context, &facts, &error).await;
                return Err(error);
            }
        };
        if let Some(until) = found.and_then(|run| schedule::recorded_until(&effect, &run)) {
            // An earlier process accounted for more than its status says: go on from there, and from nothing else of this
            // decision, which did not know.
            let known = ScheduleStatus { accounted_until: Some(micro(until)), ..before.clone() };
            context.writer.status(object.as_ref(), &known).await?;
            context.unwritten.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
            return Ok(Some(now()));
        }
    }
    // Status: at once when later decisions depend on it, otherwise a little later, together with what comes next.
    let Some(status) = status else { return Ok(decision.plan.wake_at) };
    let late = status.late_count.saturating_sub(before.late_count);
    let mut wake_at = decision.plan.wake_at;
    if status == written {
        context.unwritten.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
    } else {
        // A clock that was set back must not put it off.
        let since = unwritten.map_or(now_is, |(_, since)| since.min(now_is));
        let due = schedule::status_due(since, context.writer.is_busy());
        if decision.urgent || now_is >= due {
            write(context, &object, &written, &status).await?;
            context.unwritten.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
        } else {
            context.unwritten.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, (status, since));
            wake_at = Some(wake_at.map_or(due, |at| at.min(due)));
        }
    }
    // Told when it is taken in, so that a write that failed is not told again.
    context.metrics.late(late);
    context.tell(object.as_ref(), decision.plan.notes);
    Ok(wake_at)
}

/// Writes the status. What is only said, such as that its queue is paused, gives way to launches.
async fn write(
    context: &Context,
    object: &Schedule,
    written: &ScheduleStatus,
    status: &ScheduleStatus,
) -> Result<(), WriteError> {
    let is_said = *status == ScheduleStatus { conditions: status.conditions.clone(), ..written.clone() };
    let _turn = if is_said { context.writer.give_way().await } else { None };
    context.writer.status(object, status).await.map(drop)
}

/// Makes one change. Returns the record that stands in its way, if one does. Which Jobs this process made is remembered: what
/// another one makes so late that its time was recorded as skipped meanwhile must not run.
async fn make(context: &Context, schedule: &Schedule, effect: &Effect) -> Result<Option<JobRun>, WriteError> {
    let made = || context.made.lock().unwrap_or_else(PoisonError::into_inner);
    let job = match effect {
        Effect::CreateJob { job, .. } => Some(Key::of(job.as_ref())),
        _ => None,
    };
    made().extend(job.clone());
    let applied = context.writer.apply(effect.clone()).await;
    if let Some(job) = job.filter(|_| applied.as_ref().map_or(true, |applied| applied.run.is_some())) {
        made().remove(&job);
    }
    match applied {
        Ok(applied) => Ok(applied.run),
        // A record cannot be made under a name that somebody has taken, and no other time must wait for that.
        Err(error @ WriteError::Foreign { .. }) if matches!(effect, Effect::CreateRun(_)) => {
            tracing::error!(schedule = %Key::of(schedule), error = %error.text(), "a record cannot be written");
            context.tell(schedule, vec![Note::warning("NotRecorded", "Record", error.text())]);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Says in a schedule what the API server refused, if that is what went wrong, with all that does not depend on it.
async fn say_refused(context: &Context, facts: &Facts<'_>, error: &WriteError) {
    let Some(why) = error.refusal() else { return };
    let plan = schedule::refused(facts, &why, now());
    let Some(status) = plan.status.filter(|status| facts.schedule.status.as_ref() != Some(status)) else { return };
    match context.writer.status(facts.schedule, &status).await {
        Ok(_) => {
            let uid = facts.schedule.metadata.uid.as_deref().unwrap_or_default();
            context.unwritten.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        }
        Err(error) => tracing::warn!(error = %error.text(), "what was refused cannot be said in the status"),
    }
    context.tell(facts.schedule, plan.notes);
}

/// Records what schedules of that name owed when they were deleted.
async fn record_gone(context: &Context, key: &Key) -> Result<(), WriteError> {
    let waiting = || context.gone_schedules.lock().unwrap_or_else(PoisonError::into_inner);
    let mut gone = waiting().remove(key).unwrap_or_default();
    while let Some(schedule) = gone.first() {
        match record_owed(context, key, schedule).await {
            Ok(()) => {}
            // What the API server will never take must not hold up a new schedule of that name.
            Err(error) if matches!(error.meaning(), Meaning::Never) => {
                tracing::error!(%key, error = %error.text(), "what a deleted schedule owed cannot be recorded");
            }
            Err(error) => {
                waiting().entry(key.clone()).or_default().splice(0..0, gone);
                return Err(error);
            }
        }
        let uid = schedule.metadata.uid.clone().unwrap_or_default();
        context.schedule_memory.sightings.forget(&uid);
        context.schedule_memory.rests.forget(&uid);
        context.unwritten.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
        context.doubts.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        gone.remove(0);
    }
    Ok(())
}

async fn record_owed(context: &Context, key: &Key, gone: &Schedule) -> Result<(), WriteError> {
    let uid = gone.metadata.uid.as_deref().unwrap_or_default();
    let unwritten = context.unwritten.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned();
    let mut status = unwritten.map_or_else(|| gone.status.clone().unwrap_or_default(), |(status, _)| status);
    let jobs = jobs(context, gone);
    'decide: loop {
        let facts = Facts {
            schedule: gone,
            status: &status,
            edits: context.schedule_memory.sightings.edits(gone, context.predecessor_renewed_at),
            template: Ok(()),
            queue: QueueCondition::Open,
            jobs: &jobs,
            leading_since: unsure_until(context, key),
        };
        for effect in schedule::owed_when_deleted(&facts, now()) {
            let found = context.writer.apply(effect.clone()).await?.run;
            if let Some(until) = found.and_then(|run| schedule::recorded_until(&effect, &run)) {
                // More had been recorded than its status said.
                status.accounted_until = Some(micro(until));
                continue 'decide;
            }
        }
        return Ok(());
    }
}

/// Up to when a time may have been recorded without this process knowing.
fn unsure_until(context: &Context, key: &Key) -> Timestamp {
    let doubts = context.doubts.lock().unwrap_or_else(PoisonError::into_inner);
    doubts.get(key).copied().unwrap_or(context.leading_since).max(context.leading_since)
}

/// Forgets that a run failed when the schedule has accounted for every time up to then, or is gone.
fn settle_doubt(context: &Context, key: &Key) {
    let mut doubts = context.doubts.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(since) = doubts.get(key).copied() else { return };
    let settled = context.stores.schedules.get(key).is_none_or(|schedule| {
        let accounted = schedule.status.as_ref().and_then(|status| status.accounted_until.as_ref());
        accounted.is_some_and(|until| until.0 >= since)
    });
    if settled {
        doubts.remove(key);
    }
}

fn jobs(context: &Context, schedule: &Schedule) -> Vec<OwnJob> {
    let key = Key::of(schedule);
    let found = context.stores.jobs.find(&of_schedule(&key.namespace, &key.name));
    let is_meant =
        |job: &Arc<Job>| job.spec.schedule_ref.as_ref().is_some_and(|it| schedule::is_meant(it, &schedule.metadata));
    let own = found.into_iter().filter(is_meant).map(|job| OwnJob {
        job: crate::api::ObjectReference {
            name: job.metadata.name.clone().unwrap_or_default(),
            uid: job.metadata.uid.clone().unwrap_or_default(),
        },
        created: job.metadata.creation_timestamp.as_ref().map(|time| time.0),
        scheduled_time: schedule::occurrence(&job),
        start_by: job.spec.start_by.as_ref().map(|time| time.0),
        started_at: job.status.as_ref().and_then(|status| status.started_at.as_ref()).map(|time| time.0),
        waits_for: job::waits_for(&job),
        cancelled: job.spec.cancel.is_some() || job.metadata.deletion_timestamp.is_some(),
        held: job::is_held(&job),
        ending: context.ending(&job),
    });
    own.collect()
}

/// Whether Jobs in the queue of the schedule are started.
fn queue(context: &Context, schedule: &Schedule, now: Timestamp) -> QueueCondition {
    let namespace = schedule.metadata.namespace.as_deref().unwrap_or_default();
    let template = context.stores.templates.get(&Key::new(namespace, &schedule.spec.template_ref.name));
    let of_template = template.and_then(|template| template.spec.queue.clone());
    let name = schedule.spec.queue.clone().or(of_template);
    dispatcher::condition(context, namespace, name.as_deref().unwrap_or(DEFAULT_QUEUE), now)
}

/// Whether a Job of the schedule could be queued now, and why not.
fn usable(context: &Context, schedule: &Schedule) -> Result<(), (Reason, String)> {
    let namespace = schedule.metadata.namespace.clone().unwrap_or_default();
    let name = &schedule.spec.template_ref.name;
    let key = Key::new(namespace, name);
    let found = context.stores.templates.get(&key);
    // One that is being deleted, and that its last Jobs may still keep, takes no more.
    let Some(found) = found.filter(|found| found.metadata.deletion_timestamp.is_none()) else {
        if context.stores.templates.is_unreadable(&key) {
            // It is there: its Jobs wait for it.
            return Ok(());
        }
        let text = format!("spec.templateRef.name: there is no JobTemplate {name:?} in this namespace");
        return Err((Reason::TemplateNotFound, text));
    };
    if found.spec.archived {
        return Err((Reason::TemplateArchived, format!("spec.templateRef.name: JobTemplate {name:?} is archived")));
    }
    if template::is_read(&found)
        && let Err(why) = template::usable(&found)
    {
        let text = format!("spec.templateRef.name: JobTemplate {name:?} cannot be used as it is written: {why}");
        return Err((Reason::TemplateInvalid, text));
    }
    judge(context, schedule, &found).map_err(|why| (Reason::InvalidParams, why))
}

/// Whether the parameters of a schedule fit its template, and of which versions of both that was found out. It may take a
/// while, so it is remembered for as long as neither changes.
pub struct Judged {
    about: [(Option<String>, Option<i64>); 2],
    verdict: Result<(), String>,
}

fn judge(context: &Context, schedule: &Schedule, template: &JobTemplate) -> Result<(), String> {
    let version = |metadata: &ObjectMeta| (metadata.uid.clone(), metadata.generation);
    let about = [version(&schedule.metadata), version(&template.metadata)];
    let key = Key::of(schedule);
    let known = || context.readings.schedules.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(judged) = known().get(&key).filter(|judged| judged.about == about) {
        return judged.verdict.clone();
    }
    let declared = &template.spec.params;
    let values = params::resolve(declared, &[&schedule.spec.params]).map_err(|errors| resolve::listed(&errors));
    let verdict = values.and_then(|values| sizes::check_launch(&template.spec.job_template, declared, &values));
    known().insert(key, Judged { about, verdict: verdict.clone() });
    verdict
}
