//! Resolve: what exactly a Job runs, from its template and its own fields (I6).
//!
//! A Job that is queued carries the name of a template revision and its resolved parameters in its status, and those
//! win over whatever the template says today. A Job that is not queued yet is resolved from the template as it is.

use serde_json::Value;

use super::{params, pasted, sizes};
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

/// Whether what a Job gives fits what it runs. To find that out may take a while, so it is remembered for as long as neither
/// changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Of which specification of the Job.
    generation: i64,
    /// With which revision of its template; empty without one.
    revision: String,
    verdict: Result<(), Unresolved>,
}

impl Judged {
    /// What is to be remembered of a Job, if there is anything to judge. What was queued is not judged again.
    pub fn of(job: &Job, source: Source<'_>) -> Option<Self> {
        let generation = job.metadata.generation?;
        let revision = revision(source)?.to_owned();
        let verdict = judge(job, source)?;
        Some(Self { generation, revision, verdict })
    }

    /// Whether it is still about the Job and what it runs.
    pub fn is_about(&self, job: &Job, source: Source<'_>) -> bool {
        Some(self.generation) == job.metadata.generation && revision(source) == Some(&self.revision)
    }
}

/// The revision that a Job would run; empty for one without a template.
fn revision(source: Source<'_>) -> Option<&str> {
    match source {
        Source::Inline(_) => Some(""),
        Source::Template { snapshot, .. } => Some(&snapshot.revision),
        Source::Missing { .. }
        | Source::Unread
        | Source::Unchecked { .. }
        | Source::Invalid { .. }
        | Source::Archived { .. } => None,
    }
}

fn judge(job: &Job, source: Source<'_>) -> Option<Result<(), Unresolved>> {
    let status = job.status.as_ref();
    let checked = match source {
        Source::Inline(template) if status.is_none_or(|status| status.queued_at.is_none()) => {
            let params = params::resolve_undeclared(&job.spec.params);
            params.map(|params| sizes::check(job, template, &[], &params))
        }
        Source::Inline(_) => params::resolve_undeclared(&job.spec.params).map(|_| Ok(())),
        Source::Template { spec, .. } if status.is_none_or(|status| status.template.is_none()) => {
            let params = params::resolve(&spec.params, &[&job.spec.params]);
            params.map(|params| sizes::check(job, &spec.job_template, &spec.params, &params))
        }
        _ => return None,
    };
    Some(match checked {
        Ok(Ok(())) => Ok(()),
        Ok(Err(message)) => Err(correction(message)),
        Err(errors) => Err(correction(listed(&errors))),
    })
}

/// Resolves a Job. What was found out about it before is not found out again.
pub fn resolve<'a>(job: &Job, source: Source<'a>, judged: Option<&Judged>) -> Result<Resolved<'a>, Unresolved> {
    let known = judged.filter(|judged| judged.is_about(job, source)).map(|judged| judged.verdict.clone());
    known.or_else(|| judge(job, source)).unwrap_or(Ok(()))?;
    match source {
        Source::Inline(template) => Ok(inline(job, template)),
        Source::Template { spec, snapshot } => Ok(from_template(job, spec, snapshot)),
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

fn inline<'a>(job: &Job, template: &'a Value) -> Resolved<'a> {
    Resolved {
        template: None,
        job_template: template,
        declared: &[],
        params: job.spec.params.clone(),
        job_type: job.spec.job_type.clone().unwrap_or_default(),
        queue: job.spec.queue.clone().unwrap_or_else(|| DEFAULT_QUEUE.to_owned()),
        priority: job.spec.priority.unwrap_or_default(),
        retry: job.spec.retry.clone().unwrap_or(Retry { max_attempts: 1, ..Retry::default() }),
        timeout_seconds: job.spec.timeout_seconds,
        pending_timeout_seconds: job.spec.pending_timeout_seconds.unwrap_or(PENDING_TIMEOUT_SECONDS_DEFAULT),
        deadline_seconds: job.spec.deadline_seconds,
        ttl_seconds: job.spec.ttl_seconds_after_finished.or_else(|| pasted::ttl_seconds(template)),
    }
}

fn from_template<'a>(job: &Job, spec: &'a JobTemplateSpec, snapshot: &TemplateSnapshot) -> Resolved<'a> {
    let queued_with = job.status.as_ref().filter(|status| status.template.is_some());
    let params = match queued_with {
        Some(status) => status.params.clone(),
        None => params::in_force(&spec.params, &[&job.spec.params]),
    };
    let own = &job.spec;
    let queue = own.queue.clone().or_else(|| spec.queue.clone());
    Resolved {
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
    }
}

/// What is wrong with parameters, in one text.
pub fn listed(errors: &[params::ParamError]) -> String {
    errors.iter().map(|error| format!("spec.{error}")).collect::<Vec<_>>().join("; ")
}

fn correction(message: String) -> Unresolved {
    Unresolved { waiting_for: Some(WaitingFor::Correction), reason: Reason::InvalidParams, message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(generation: i64, value: &str) -> Job {
        let job = json!({
            "apiVersion": "rota.dev/v1alpha1", "kind": "Job",
            "metadata": { "name": "a", "uid": "uid-a", "generation": generation },
            "spec": { "templateRef": { "name": "t" }, "params": { "code": value } },
        });
        serde_json::from_value(job).unwrap()
    }

    fn spec() -> JobTemplateSpec {
        let container = json!({ "name": "main", "image": "busybox" });
        let spec = json!({
            "jobType": "test",
            "params": [{ "name": "code", "pattern": "[a-z]+" }, { "name": "other", "default": "x" }],
            "jobTemplate": { "spec": { "template": { "spec": { "containers": [container] } } } },
        });
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn what_was_found_out_about_a_job_is_not_found_out_again_until_one_of_them_changes() {
        let (spec, snapshot) = (spec(), TemplateSnapshot { revision: "t-1".into(), ..TemplateSnapshot::default() });
        let source = Source::Template { spec: &spec, snapshot: &snapshot };
        let good = Judged::of(&job(1, "abc"), source).unwrap();
        let params = resolve(&job(1, "abc"), source, Some(&good)).unwrap().params;
        assert_eq!(
            params.into_iter().collect::<Vec<_>>(),
            [("code".into(), "abc".into()), ("other".into(), "x".into())]
        );
        // Were it judged again, this value would be refused: an edit has another generation.
        assert!(resolve(&job(1, "1"), source, Some(&good)).is_ok());
        assert!(resolve(&job(2, "1"), source, Some(&good)).is_err());
        let bad = Judged::of(&job(2, "1"), source).unwrap();
        let refused = resolve(&job(2, "abc"), source, Some(&bad)).unwrap_err();
        assert_eq!(refused.message, "spec.params.code: must match the pattern \"[a-z]+\", got \"1\"");
        let edited = TemplateSnapshot { revision: "t-2".into(), ..snapshot.clone() };
        assert!(resolve(&job(2, "abc"), Source::Template { spec: &spec, snapshot: &edited }, Some(&bad)).is_ok());
        assert_eq!(Judged::of(&job(1, "abc"), Source::Unread), None);
    }

    #[test]
    fn what_was_queued_is_not_judged_again() {
        let (spec, snapshot) = (spec(), TemplateSnapshot { revision: "t-1".into(), ..TemplateSnapshot::default() });
        let source = Source::Template { spec: &spec, snapshot: &snapshot };
        let mut job = job(1, "1");
        let params: ParamValues = [("code".to_owned(), "1".to_owned())].into();
        job.status = Some(crate::api::JobStatus {
            template: Some(snapshot.clone()),
            params: params.clone(),
            ..crate::api::JobStatus::default()
        });
        assert_eq!(Judged::of(&job, source), None);
        assert_eq!(resolve(&job, source, None).unwrap().params, params);
    }
}
