//! Launcher: creates the batch Job of an admitted Job.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;

use crate::api::Job;
use crate::apply::{Meaning, WriteError};
use crate::controllers::job::{begin_launch, observe, resolve};
use crate::controllers::{Context, NOT_LEADING_DELAY};
use crate::dispatcher;
use crate::domain::job::{Memory, Refusal, current_attempt};
use crate::domain::launch::{self, LaunchInput};
use crate::runtime::clock::now;
use crate::runtime::store::Key;
use crate::runtime::visibility::Act;
use crate::runtime::work::Next;

/// Launches an admitted Job.
pub async fn launch(context: Arc<Context>, key: Key) -> Next {
    let result = launch_one(&context, &key).await;
    context.metrics.reconciled("launcher", result.is_ok());
    match result {
        Ok(()) => Next::Wait,
        Err(WriteError::NotLeading | WriteError::Blind(_)) => Next::After(NOT_LEADING_DELAY),
        Err(error) => {
            tracing::warn!(%key, error = %error.text(), "launch failed, trying again");
            Next::Failed
        }
    }
}

async fn launch_one(context: &Context, key: &Key) -> Result<(), WriteError> {
    let Some(job) = context.stores.jobs.get(key) else { return Ok(()) };
    let uid = job.uid().unwrap_or_default();
    let attempt = current_attempt(&job);
    if context.memories.get(&uid).and_then(|memory| memory.launching) != Some(attempt) {
        return Ok(());
    }
    let observed = observe(context, &job);
    let resolved = resolve(&job, &observed);
    let memory = context.memories.update(&uid, |_| ());
    // A create that was not answered may have happened: it is sent again until it is, and what stops the Job ends it then.
    let in_doubt = memory.claimed == Some(attempt);
    let stopped = job.spec.cancel.is_some() || job.metadata.deletion_timestamp.is_some() || observed.is_stopped();
    let (Ok(resolved), false) = (resolved, stopped && !in_doubt) else {
        return end_launch(context, &job, |memory| (memory.launching, memory.claimed) = (None, None));
    };
    if !in_doubt {
        context.may(Act::Dispatch)?;
    }
    if !in_doubt && !begin_launch(context, &job, &resolved) {
        return end_launch(context, &job, |memory| (memory.launching, memory.claimed) = (None, None));
    }
    let input = LaunchInput {
        job: &job,
        attempt,
        job_type: &resolved.job_type,
        template_job: resolved.job_template,
        template: resolved.template.as_ref(),
        declared: resolved.declared,
        params: &resolved.params,
        queue: &resolved.queue,
        timeout_seconds: resolved.timeout_seconds,
    };
    let refuse = |message: String, permanent: bool| {
        let refusal = Refusal { attempt, permanent, message, at: now() };
        end_launch(context, &job, |memory| {
            (memory.launching, memory.claimed) = (None, None);
            memory.refusal = Some(refusal);
        })
    };
    let manifest = match launch::batch_job(&input) {
        Ok(manifest) => manifest,
        Err(error) => return refuse(error.to_string(), true),
    };
    match context.writer.launch(&manifest, &uid).await {
        Ok(()) => {
            let at = now();
            let queued = memory.queueable_since.unwrap_or(memory.first_seen);
            context.metrics.dispatched(Duration::try_from(at.duration_since(queued)).unwrap_or_default());
            end_launch(context, &job, |memory| {
                memory.launching = None;
                memory.launched = Some((attempt, at));
            })
        }
        Err(error) => match error.meaning() {
            // It keeps its place, and is sent again until there is an answer.
            Meaning::Unknown | Meaning::NotTried => Err(error),
            // It gives its place back. What a quota or a policy refuses is tried again later.
            Meaning::Denied => refuse(error.text(), false),
            Meaning::Never => refuse(error.text(), true),
        },
    }
}

fn end_launch(context: &Context, job: &Job, change: impl FnOnce(&mut Memory)) -> Result<(), WriteError> {
    context.memories.update(&job.uid().unwrap_or_default(), change);
    context.forget_if_gone(&Key::of(job), &job.uid().unwrap_or_default());
    context.triggers.jobs.trigger(Key::of(job));
    dispatcher::sync(context, &job.namespace().unwrap_or_default(), &job.uid().unwrap_or_default());
    context.triggers.dispatch(&job.namespace().unwrap_or_default());
    Ok(())
}
