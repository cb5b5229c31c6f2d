//! Resolve: what exactly a Job runs, from its template and its own fields (I6).
//!
//! A Job that is queued carries the name of a template revision and its resolved parameters in its status, and those
//! win over whatever the template says today. A Job that is not queued yet is resolved from the template as it is.

use serde_json::Value;

use super::{params, pasted};
use crate::api::job::{TemplateSnapshot, WaitingFor};
use crate::api::job_template::{Param, ParamValues, Retry};
use crate::api::{DEFAULT_QUEUE, Job, JobTemplateSpec, Reason};

/// How long a launched attempt may wait for its first container, in seconds, unless its template or Job says otherwise.
pub const PENDING_TIMEOUT_SECONDS_DEFAULT: i64 = 600;
/// How long a finished Job is kept, in seconds, unless its template or Job says otherwise.
pub const TTL_SECONDS_DEFAULT: i64 = 600;

/// Where a Job's template stands.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// The Job carries what it runs.
    Inline(&'a Value),
    /// The template, or the revision of it that the Job was queued with.
    Template {
        /// Its specification.
        spec: &'a JobTemplateSpec,
        /// Which one it is.
        snapshot: &'a TemplateSnapshot,
    },
    /// It does not exist.
    Missing {
        /// The name that the Job gives.
        name: &'a str,
    },
    /// It exists, and the operator has not looked at its latest edit yet.
    Unread,
    /// The API server could not say yet whether it can be used, and is asked again.
    Unchecked {
        /// Why.
        message: &'a str,
    },
    /// It exists, and cannot be used as it is written.
    Invalid {
        /// Why.
        message: &'a str,
    },
    /// It is retired.
    Archived {
        /// The name that the Job gives.
        name: &'a str,
    },
}

/// What a Job runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved<'a> {
    /// The template, if it has one.
    pub template: Option<TemplateSnapshot>,
    /// The batch Job template.
    pub job_template: &'a Value,
    /// The parameters that the template declares.
    pub declared: &'a [Param],
    /// The parameters in force.
    pub params: ParamValues,
    /// Type of work.
    pub job_type: String,
    /// The queue.
    pub queue: String,
    /// The priority.
    pub priority: i32,
    /// What to do when an attempt fails.
    pub retry: Retry,
    /// How long one attempt may run, in seconds.
    pub timeout_seconds: Option<i64>,
    /// How long one attempt may wait for its first container, in seconds.
    pub pending_timeout_seconds: i64,
    /// How long it may take from being queued to its end, in seconds.
    pub deadline_seconds: Option<i64>,
    /// How long it is kept after it finished, in seconds, if something says so.
    pub ttl_seconds: Option<i64>,
}

/// Why a Job cannot be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// What it waits for, if it may wait; absent: nothing to say yet, the operator is about to look.
    pub waiting_for: Option<WaitingFor>,
    /// The reason for its record, if it may not.
    pub reason: Reason,
    /// In a sentence, naming the field.
    pub message: String,
}

/// Resolves a Job.
pub fn resolve<'a>(job: &Job, source: Source<'a>) -> Result<Resolved<'a>, Unresolved> {
    match source {
        Source::Inline(template) => inline(job, template),
        Source::Template { spec, snapshot } => from_template(job, spec, snapshot),
        Source::Missing { name } => Err(Unresolved {
            waiting_for: Some(WaitingFor::Template),
            reason: Reason::TemplateNotFound,
            message: format!("spec.templateRef.name: there is no JobTemplate {name:?} in this namespace"),
        }),
        Source::Unread => Err(Unresolved {
            waiting_for: None,
            reason: Reason::TemplateInvalid,
            message: "the template was edited and has not been read yet".into(),
        }),
        Source::Unchecked { message } => Err(Unresolved {
            waiting_for: Some(WaitingFor::Template),
            reason: Reason::TemplateInvalid,
            message: format!("the template has not been checked yet: {message}"),
        }),
        Source::Invalid { message } => Err(Unresolved {
            waiting_for: Some(WaitingFor::Template),
            reason: Reason::TemplateInvalid,
            message: format!("the template cannot be used as it is written: {message}"),
        }),
        Source::Archived { name } => Err(Unresolved {
            waiting_for: Some(WaitingFor::Template),
            reason: Reason::TemplateArchived,
            message: format!("JobTemplate {name:?} is archived"),
        }),
    }
}

fn inline<'a>(job: &Job, template: &'a Value) -> Result<Resolved<'a>, Unresolved> {
    let params = params::resolve_undeclared(&job.spec.params).map_err(|errors| correction(&errors))?;
    Ok(Resolved {
        template: None,
        job_template: template,
        declared: &[],
        params,
        job_type: job.spec.job_type.clone().unwrap_or_default(),
        queue: job.spec.queue.clone().unwrap_or_else(|| DEFAULT_QUEUE.to_owned()),
        priority: job.spec.priority.unwrap_or_default(),
        retry: job.spec.retry.clone().unwrap_or(Retry { max_attempts: 1, ..Retry::default() }),
        timeout_seconds: job.spec.timeout_seconds,
        pending_timeout_seconds: job.spec.pending_timeout_seconds.unwrap_or(PENDING_TIMEOUT_SECONDS_DEFAULT),
        deadline_seconds: job.spec.deadline_seconds,
        ttl_seconds: job.spec.ttl_seconds_after_finished.or_else(|| pasted::ttl_seconds(template)),
    })
}

fn from_template<'a>(
    job: &Job,
    spec: &'a JobTemplateSpec,
    snapshot: &TemplateSnapshot,
) -> Result<Resolved<'a>, Unresolved> {
    let queued_with = job.status.as_ref().filter(|status| status.template.is_some());
    let params = match queued_with {
        Some(status) => status.params.clone(),
        None => params::resolve(&spec.params, &[&job.spec.params]).map_err(|errors| correction(&errors))?,
    };
    let own = &job.spec;
    let queue = own.queue.clone().or_else(|| spec.queue.clone());
    Ok(Resolved {
        template: Some(snapshot.clone()),
        job_template: &spec.job_template,
        declared: &spec.params,
        params,
        job_type: own.job_type.clone().unwrap_or_else(|| spec.job_type.clone()),
        queue: queue.unwrap_or_else(|| DEFAULT_QUEUE.to_owned()),
        priority: own.priority.or(spec.priority).unwrap_or_default(),
        retry: own
            .retry
            .clone()
            .or_else(|| spec.retry.clone())
            .unwrap_or(Retry { max_attempts: 1, ..Retry::default() }),
        timeout_seconds: own.timeout_seconds.or(spec.timeout_seconds),
        pending_timeout_seconds: own
            .pending_timeout_seconds
            .or(spec.pending_timeout_seconds)
            .unwrap_or(PENDING_TIMEOUT_SECONDS_DEFAULT),
        deadline_seconds: own.deadline_seconds.or(spec.deadline_seconds),
        ttl_seconds: own
            .ttl_seconds_after_finished
            .or(spec.ttl_seconds_after_finished)
            .or_else(|| pasted::ttl_seconds(&spec.job_template)),
    })
}

fn correction(errors: &[params::ParamError]) -> Unresolved {
    let message = errors.iter().map(|error| format!("spec.{error}")).collect::<Vec<_>>().join("; ");
    Unresolved { waiting_for: Some(WaitingFor::Correction), reason: Reason::InvalidParams, message }
}
