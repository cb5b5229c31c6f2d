//! Pasted: what becomes of the body of a batch Job that somebody wrote for Kubernetes, field by field.
//!
//! Almost all of it is passed on. What is not, or what means something else here, is in one list: from it come the
//! sentences of the condition `Warning` and of `kubectl rota lint`, and the table of docs/jobs.md. The chart's admission
//! policy says the same sentences at apply; a test on a real API server compares them.

use serde_json::Value;

use super::launch::{self, BATCH_TTL_SECONDS_MIN};
use crate::api::job_template::Retry;
use crate::api::labels::KUEUE_QUEUE;
use crate::api::{JobSpec, JobTemplateSpec};

/// Where the body stands in a JobTemplate and in a Job.
const ROOT: &str = "spec.jobTemplate";
/// How often Kubernetes tries a batch Job that does not say how often: its backoffLimit is 6 then.
const TRIES_OF_KUBERNETES: i64 = 7;
/// The controller that Kubernetes itself brings for batch Jobs.
const JOB_CONTROLLER: &str = "kubernetes.io/job-controller";

/// A body, and what stands beside it.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    template: &'a Value,
    retry: Option<&'a Retry>,
    timeout_seconds: Option<i64>,
    ttl_seconds: Option<i64>,
}

/// What is not used as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The field.
    pub field: String,
    /// What becomes of it, in one sentence.
    pub message: String,
}

/// One field of the body, or some that belong together.
pub struct Field {
    /// Its path below the body.
    pub path: &'static str,
    /// What becomes of it, for docs/jobs.md.
    pub meaning: &'static str,
    warn: Option<fn(&Body<'_>) -> Option<String>>,
}

/// What is not passed on as it is, or means something else than to Kubernetes.
pub const FIELDS: [Field; 13] = [
    Field {
        path: "spec.backoffLimit",
        meaning: "0, so that each try is an attempt with a record of its own; `retry.maxAttempts` says how many there are. \
                  Left as it is beside `backoffLimitPerIndex` or `successPolicy`.",
        warn: Some(backoff_limit),
    },
    Field {
        path: "spec.template.spec.restartPolicy",
        meaning: "Never: what fails is tried again in a pod of its own, as often as `retry.maxAttempts` says. A batch Job \
                  that says nothing is tried seven times, an attempt of Rota's once.",
        warn: Some(restart_policy),
    },
    Field {
        path: "spec.activeDeadlineSeconds",
        meaning: "Counts for each attempt, as `timeoutSeconds` does; the shorter one of both. `deadlineSeconds` bounds all \
                  attempts together.",
        warn: Some(active_deadline),
    },
    Field {
        path: "spec.template.spec.containers.terminationMessagePolicy",
        meaning: "FallbackToLogsOnError, so that a record quotes the end of the log. `File` stays, unless \
                  `terminationMessagePath: /dev/termination-log` stands beside it: these two are what the API server writes into \
                  what it stores.",
        warn: None,
    },
    Field {
        path: "spec.template.spec.containers",
        meaning: "Passed on. Kubernetes replaces `$(PARAM_NAME)` in `command` and `args` before the program reads them: within \
                  a script for `sh -c` a value can then run as code, with the ServiceAccount of the pod. Write \
                  `\"$PARAM_NAME\"` in scripts.",
        warn: Some(scripts),
    },
    Field {
        path: "spec.ttlSecondsAfterFinished",
        meaning: "How long the Job is kept with its batch Job and pods, unless `ttlSecondsAfterFinished` of the template or \
                  the Job says so. The batch Job itself has it too, but never less than 3,600, and a finalizer keeps it \
                  until the attempt is recorded.",
        warn: Some(time_to_live),
    },
    Field {
        path: "spec.suspend",
        meaning: "Passed on. A user or controller that sets `suspend: false` on the batch Job, such as Kueue, starts it. Rota \
                  does not.",
        warn: Some(suspend),
    },
    Field {
        path: "spec.managedBy",
        meaning: "Passed on: the batch Job runs and ends only if that controller is there.",
        warn: Some(managed_by),
    },
    Field {
        path: "spec.parallelism",
        meaning: "Passed on. With 0 no pod is started, and the attempt waits until `pendingTimeoutSeconds`.",
        warn: Some(parallelism),
    },
    Field {
        path: "spec.manualSelector",
        meaning: "Not passed on, nor is `selector`: Kubernetes makes one for each batch Job.",
        warn: Some(manual_selector),
    },
    Field {
        path: "metadata.labels",
        meaning: "Passed on to the batch Job, but for those by which Argo CD, Flux and Helm tell what is theirs, and would \
                  prune it. Those of pods stay; Rota adds its own, and says on batch Jobs that it manages \
                  them.",
        warn: Some(labels),
    },
    Field { path: "metadata.annotations", meaning: "The same.", warn: Some(annotations) },
    Field { path: "metadata.name, finalizers, ownerReferences", meaning: "Not used, as by a CronJob.", warn: None },
];

impl Field {
    /// Whether there is a warning about it: what is always so, as for a CronJob, is only documented.
    pub fn has_warning(&self) -> bool {
        self.warn.is_some()
    }
}

impl<'a> Body<'a> {
    /// The body of a template.
    pub fn of_template(spec: &'a JobTemplateSpec) -> Self {
        Self {
            template: &spec.job_template,
            retry: spec.retry.as_ref(),
            timeout_seconds: spec.timeout_seconds,
            ttl_seconds: spec.ttl_seconds_after_finished,
        }
    }

    /// The body of a Job, if it carries one.
    pub fn of_job(spec: &'a JobSpec) -> Option<Self> {
        Some(Self {
            template: spec.job_template.as_ref()?,
            retry: spec.retry.as_ref(),
            timeout_seconds: spec.timeout_seconds,
            ttl_seconds: spec.ttl_seconds_after_finished,
        })
    }

    /// A field that is there and not null.
    fn at(&self, path: &str) -> Option<&'a Value> {
        self.template.pointer(path).filter(|value| !value.is_null())
    }

    fn number(&self, path: &str) -> Option<i64> {
        self.at(path)?.as_i64()
    }

    fn text(&self, path: &str) -> Option<&'a str> {
        self.at(path)?.as_str()
    }

    fn is_true(&self, path: &str) -> bool {
        self.at(path).and_then(Value::as_bool) == Some(true)
    }
}

/// What of a body is not used as it is written, as sentences.
pub fn sentences(body: &Body<'_>) -> Vec<String> {
    warnings(body).iter().map(ToString::to_string).collect()
}

/// What of a body is not used as it is written.
pub fn warnings(body: &Body<'_>) -> Vec<Warning> {
    let warning =
        |field: &Field| Some(Warning { field: format!("{ROOT}.{}", field.path), message: (field.warn?)(body)? });
    FIELDS.iter().filter_map(warning).collect()
}

impl std::fmt::Display for Warning {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.field, self.message)
    }
}

/// How long a body says that its Job is to be kept.
pub fn ttl_seconds(template: &Value) -> Option<i64> {
    template.pointer("/spec/ttlSecondsAfterFinished").and_then(Value::as_i64).filter(|seconds| *seconds >= 0)
}

fn backoff_limit(body: &Body<'_>) -> Option<String> {
    let limit = body.number("/spec/backoffLimit").filter(|limit| *limit > 0)?;
    let tries = limit.saturating_add(1);
    let same = body.retry.is_some_and(|retry| i64::from(retry.max_attempts) == tries);
    let kept = body.at("/spec").and_then(Value::as_object).is_some_and(launch::counts_failures_itself);
    (!same && !kept).then(|| {
        format!(
            "{limit} is not used; spec.retry.maxAttempts says how many attempts there are, 1 unless it is set, and {tries} \
             would be as many"
        )
    })
}

fn restart_policy(body: &Body<'_>) -> Option<String> {
    let policy = body.text("/spec/template/spec/restartPolicy").filter(|policy| *policy != "Never")?;
    Some(format!(
        "{policy} is not used; what fails is tried again in a pod of its own, as often as spec.retry.maxAttempts says: 1 \
         unless it is set, where a batch Job without backoffLimit is tried {TRIES_OF_KUBERNETES} times"
    ))
}

/// A parameter that becomes part of a script: whoever may create Jobs could run what they like.
fn scripts(body: &Body<'_>) -> Option<String> {
    let is_flag = |word: &str| {
        let letters = word.strip_prefix('-').and_then(|word| word.strip_suffix('c'));
        letters.is_some_and(|letters| letters.bytes().all(|letter| letter.is_ascii_lowercase()))
    };
    let is_open = |container: &Value| {
        let words = ["command", "args"].into_iter().filter_map(|field| container.get(field)?.as_array());
        let words: Vec<&str> = words.flatten().filter_map(Value::as_str).collect();
        words.iter().any(|word| is_flag(word)) && words.iter().any(|word| word.contains("$(PARAM_"))
    };
    let containers = body.at("/spec/template/spec/containers")?.as_array()?;
    containers.iter().any(is_open).then(|| {
        "$(PARAM_...) in a script is replaced before the shell reads it, so that a value can run as code; write \
         \"$PARAM_...\" instead"
            .to_owned()
    })
}

fn active_deadline(body: &Body<'_>) -> Option<String> {
    let own = body.number("/spec/activeDeadlineSeconds")?;
    let timeout = body.timeout_seconds.filter(|timeout| *timeout < own)?;
    Some(format!("{own} is not used, because spec.timeoutSeconds is {timeout}, which is shorter"))
}

fn time_to_live(body: &Body<'_>) -> Option<String> {
    let own = body.number("/spec/ttlSecondsAfterFinished")?;
    let other = body.ttl_seconds.filter(|other| *other != own)?;
    Some(format!(
        "{own} is used for the batch Job only, and not below {BATCH_TTL_SECONDS_MIN}; the Job goes, and with it the batch \
         Job, {other} seconds after it finished, as spec.ttlSecondsAfterFinished says"
    ))
}

fn suspend(body: &Body<'_>) -> Option<String> {
    let kueue = body.at("/metadata/labels").is_some_and(|labels| labels.get(KUEUE_QUEUE).is_some());
    (body.is_true("/spec/suspend") && !kueue).then(|| {
        "true is passed on: each attempt waits until somebody resumes its batch Job, which Rota does not; to hold a Job \
         back set spec.hold of the Job"
            .to_owned()
    })
}

fn managed_by(body: &Body<'_>) -> Option<String> {
    let who = body.text("/spec/managedBy").filter(|who| *who != JOB_CONTROLLER)?;
    Some(format!("{who} is passed on: an attempt starts and ends only if that controller is there"))
}

fn parallelism(body: &Body<'_>) -> Option<String> {
    (body.number("/spec/parallelism") == Some(0)).then(|| {
        "0 is passed on: no pod is started, and each attempt ends as PendingTimeout; 1 or more would start some"
            .to_owned()
    })
}

fn manual_selector(body: &Body<'_>) -> Option<String> {
    body.is_true("/spec/manualSelector")
        .then(|| "true is not used; Kubernetes makes a selector for each batch Job".to_owned())
}

fn labels(body: &Body<'_>) -> Option<String> {
    tracked(body, "/metadata/labels")
}

fn annotations(body: &Body<'_>) -> Option<String> {
    tracked(body, "/metadata/annotations")
}

fn tracked(body: &Body<'_>, path: &str) -> Option<String> {
    let map = body.at(path)?.as_object()?;
    map.keys().any(|key| launch::tracks(key)).then(|| {
        "those by which Argo CD, Flux, Helm and kubectl tell what is theirs are not used for batch Jobs, which they would \
         prune; those of pods stay"
            .to_owned()
    })
}

#[cfg(test)]
mod tests;
