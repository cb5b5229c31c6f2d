//! Launcher: creates the batch Job of an admitted Job.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::Job;
use crate::apply::{Meaning, WriteError};
use crate::controllers::job::attempt::is_launched;
use crate::controllers::job::{begin_launch, observe, resolve, whole};
use crate::controllers::{Context, NOT_LEADING_DELAY};
use crate::dispatcher;
use crate::domain::job::{AfterAbsence, Doubt, Finality, Memory, Refusal, attempt_names, current_attempt, limits};
use crate::domain::launch::{self, LaunchInput};
use crate::domain::resolve::Resolved;
use crate::runtime::clock::now;
use crate::runtime::store::Key;
use crate::runtime::visibility::Act;
use crate::runtime::work::Next;

/// How soon a create of unknown outcome is looked into.
const DOUBT_DELAY: Duration = Duration::from_millis(500);

/// Launches an admitted Job.
pub async fn launch(context: Arc<Context>, key: Key) -> Next {
    let result = launch_one(&context, &key).await;
    context.metrics.reconciled("launcher", result.is_ok());
    match result {
        Ok(next) => next,
        Err(WriteError::NotLeading | WriteError::Blind(_)) => Next::After(NOT_LEADING_DELAY),
        Err(error) => {
            tracing::warn!(%key, error = %error.text(), "launch failed, trying again");
            Next::Failed
        }
    }
}

async fn launch_one(context: &Context, key: &Key) -> Result<Next, WriteError> {
    let Some(job) = context.stores.jobs.get(key) else { return Ok(Next::Wait) };
    let uid = job.uid().unwrap_or_default();
    let attempt = current_attempt(&job);
    let memory = context.memories.update(&uid, |memory| {
        memory.doubt = memory.doubt.take().map(|doubt| doubt.not_after(now()));
    });
    if memory.launching != Some(attempt) {
        return Ok(Next::Wait);
    }
    let doubt = memory.doubt.as_ref();
    if doubt.is_some() && (is_launched(context, &job, &memory) || is_there(context, &job, attempt).await?) {
        return Ok(launched(context, &job, attempt, &memory));
    }
    let Some(job) = whole(context, job.clone()).await? else { return Ok(give_back(context, &job)) };
    let observed = observe(context, &job);
    let stopped = job.spec.cancel.is_some() || job.metadata.deletion_timestamp.is_some() || observed.is_stopped();
    let resolved = resolve(&job, &observed).ok().filter(|_| !stopped);
    // What was sent and may have happened is not decided again. What an earlier leader admitted is: somebody may have paused its
    // queue meanwhile, or edited it.
    let sent = doubt.is_some_and(|doubt| !doubt.is_inherited());
    let is_held_up = || doubt.is_some() && context.dispatcher.line().is_held_up(&uid, now());
    let wanted = resolved.filter(|resolved| sent || (is_as_admitted(&job, resolved, &memory) && !is_held_up()));
    match doubt.map(|doubt| doubt.after_absence(wanted.is_some(), now())) {
        Some(AfterAbsence::Look(at)) => return Ok(Next::After(until(at))),
        Some(AfterAbsence::NotCreated(said, permanent)) if wanted.is_some() => {
            return Ok(refuse(context, &job, attempt, said, permanent));
        }
        Some(AfterAbsence::NotCreated(..)) => return Ok(give_back(context, &job)),
        Some(AfterAbsence::Send) | None => {}
    }
    let Some(resolved) = wanted else { return Ok(give_back(context, &job)) };
    if !sent {
        context.may(Act::Dispatch, &key.namespace)?;
        if !begin_launch(context, &job, &resolved) {
            return Ok(match doubt.map(|doubt| doubt.after_absence(false, now())) {
                Some(AfterAbsence::Look(at)) => Next::After(until(at)),
                _ => give_back(context, &job),
            });
        }
    }
    let input = input(&job, attempt, &resolved);
    let mut is_taken = false;
    let answer = loop {
        let manifest = match launch::batch_job(&input, is_taken) {
            Ok(manifest) => manifest,
            Err(error) => return Ok(judged(context, &job, attempt, doubt, error.to_string(), true)),
        };
        match context.writer.launch(&manifest, &uid).await {
            Err(WriteError::Foreign { .. }) if !is_taken => is_taken = true,
            answer => break answer,
        }
    };
    match answer {
        Ok(()) => Ok(launched(context, &job, attempt, &memory)),
        Err(error) => match error.meaning() {
            // It keeps its place, and is sent again.
            Meaning::NotTried => Err(error),
            Meaning::Unknown => {
                tracing::warn!(%key, error = %error.text(), "it is not known whether a launch happened");
                let doubt = Doubt::sent(doubt, error.text(), now());
                context.memories.update(&uid, |memory| memory.doubt = Some(doubt));
                context.triggers.jobs.trigger(key.clone());
                Ok(Next::After(DOUBT_DELAY))
            }
            Meaning::Denied => Ok(judged(context, &job, attempt, doubt, error.text(), false)),
            Meaning::Never => Ok(judged(context, &job, attempt, doubt, error.text(), true)),
        },
    }
}

/// Whether the batch Job of an attempt, whose creation is in doubt, is there.
async fn is_there(context: &Context, job: &Job, attempt: u32) -> Result<bool, WriteError> {
    for name in attempt_names(job, attempt) {
        match context
            .writer
            .find_launched(&job.namespace().unwrap_or_default(), &name, &job.uid().unwrap_or_default())
            .await
        {
            Ok(true) => return Ok(true),
            // Somebody else's of that name is none of ours.
            Ok(false) | Err(WriteError::Foreign { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether what would be launched takes the places with which it was admitted: an edit since may have changed them.
fn is_as_admitted(job: &Job, resolved: &Resolved<'_>, memory: &Memory) -> bool {
    memory.place.as_ref().is_none_or(|place| *place.queue == *resolved.queue && place.limits == limits(job))
}

fn input<'a>(job: &'a Job, attempt: u32, resolved: &'a Resolved<'a>) -> LaunchInput<'a> {
    LaunchInput {
        job,
        attempt,
        job_type: &resolved.job_type,
        template_job: resolved.job_template,
        template: resolved.template.as_ref(),
        declared: resolved.declared,
        params: &resolved.params,
        queue: &resolved.queue,
        timeout_seconds: resolved.timeout_seconds,
    }
}

fn launched(context: &Context, job: &Job, attempt: u32, memory: &Memory) -> Next {
    let at = now();
    let queued = memory.queueable_since.unwrap_or(memory.first_seen);
    context.metrics.dispatched(Duration::try_from(at.duration_since(queued)).unwrap_or_default());
    dispatcher::got_through(context, job);
    end_launch(context, job, |memory| memory.launched = Some((attempt, at)))
}

/// The API server has judged the batch Job. If an earlier create may have happened, that says nothing of it.
fn judged(context: &Context, job: &Job, attempt: u32, doubt: Option<&Doubt>, message: String, permanent: bool) -> Next {
    let Some(doubt) = doubt else { return refuse(context, job, attempt, message, permanent) };
    let verdict = if permanent { Finality::ForGood } else { Finality::ForNow };
    let doubt = doubt.judged(verdict, message);
    context.memories.update(&job.uid().unwrap_or_default(), |memory| memory.doubt = Some(doubt));
    Next::After(DOUBT_DELAY)
}

/// It is not there, and will not be for now: it gives its place back.
fn refuse(context: &Context, job: &Job, attempt: u32, message: String, permanent: bool) -> Next {
    let blocked_since = if permanent { None } else { dispatcher::refused(context, job, &message) };
    let refusal = Refusal { attempt, permanent, message, blocked_since, at: now() };
    end_launch(context, job, |memory| (memory.claimed, memory.refusal) = (None, Some(refusal)))
}

/// It is not to be launched, or not now.
fn give_back(context: &Context, job: &Job) -> Next {
    end_launch(context, job, |memory| memory.claimed = None)
}

fn end_launch(context: &Context, job: &Job, change: impl FnOnce(&mut Memory)) -> Next {
    let (namespace, uid) = (job.namespace().unwrap_or_default(), job.uid().unwrap_or_default());
    context.memories.update(&uid, |memory| {
        (memory.launching, memory.doubt) = (None, None);
        change(memory);
    });
    context.forget_if_gone(&Key::of(job), &uid);
    context.triggers.jobs.trigger(Key::of(job));
    dispatcher::sync(context, &namespace, &uid);
    context.triggers.dispatch(&namespace);
    Next::Wait
}

fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now())).unwrap_or_default()
}
