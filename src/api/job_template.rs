//! JobTemplate: what runs.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Reason;
use super::common::{PARAMS_MAX, is_false, named_list_schema};

/// A reusable specification of work: what runs and with which parameters, not when or how often.
///
/// Queued and running Jobs are never changed by an edit: each runs what was resolved when it was queued.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "rota.dev",
    version = "v1alpha1",
    kind = "JobTemplate",
    plural = "jobtemplates",
    singular = "jobtemplate",
    shortname = "rtmpl",
    category = "rota",
    namespaced,
    cel,
    status = "JobTemplateStatus",
    derive = "PartialEq",
    doc = "What runs: a reusable specification of work with typed parameters.",
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.jobType"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.currentRevision", priority = 1),
    printcolumn(name = "Description", type_ = "string", json_path = ".spec.description", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct JobTemplateSpec {
    /// Type of work, a word of your own to tell kinds of work apart. Example: `report`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"))]
    pub job_type: String,
    /// What this is for, for people. Default: empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 4096))]
    pub description: String,
    /// Retired: no new Jobs are made of it; queued and running ones go on. Default: false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub archived: bool,
    /// Parameters that Jobs of this template take. Names must differ by more than case. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "params_schema")]
    #[x_kube(validation = Rule::new("self.all(p, self.exists_one(q, q.name.upperAscii() == p.name.upperAscii()))").message("parameter names must differ by more than upper and lower case, because each becomes the environment variable PARAM_<NAME>"),
        validation = Rule::new("self.map(p, has(p.default) ? size(bytes(p.default)) : 0).sum() <= 262144").message("the defaults must not take more than 262144 bytes together: a pod gets them as an annotation"))]
    pub params: Vec<Param>,
    /// Queue of its Jobs, in the same namespace. Default: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub queue: Option<String>,
    /// Priority of its Jobs; higher goes first. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1000000, max = 1000000))]
    pub priority: Option<i32>,
    /// How many Jobs of this template may run at once, over all queues. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub max_running: Option<u32>,
    /// What to do when an attempt fails. Default: one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How long one attempt may run, in seconds, before it is stopped and recorded as DeadlineExceeded. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 315360000))]
    pub timeout_seconds: Option<i64>,
    /// How long a launched attempt may wait for its first container to start, in seconds, before it is given up and
    /// recorded as PendingTimeout (an image that cannot be pulled, a node that never fits). Default: 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 315360000))]
    pub pending_timeout_seconds: Option<i64>,
    /// How long a Job may take from being queued to its end, in seconds, over all attempts and the waiting before and between
    /// them. What waits then is recorded as Skipped/TotalDeadlineExceeded, what runs is stopped and recorded as Failed.
    /// Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 315360000))]
    pub deadline_seconds: Option<i64>,
    /// How long a finished Job is kept with its batch Job, pods and logs, in seconds. Its JobRun stays. Default: what
    /// jobTemplate.spec.ttlSecondsAfterFinished says, else 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 315360000))]
    pub ttl_seconds_after_finished: Option<i64>,
    /// What a Job may say otherwise than this template, besides parameters, if who writes it may not write JobTemplates. It is
    /// enforced by an admission policy of the chart. Default: nothing. Who may update JobTemplates in the namespace is not
    /// limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Overrides>,
    /// What runs: the same shape as a CronJob's jobTemplate, so that the body of a CronJob can be pasted. Fields that Rota
    /// drops, overrides or treats in its own way say so in their description. Every other field means what it means to
    /// Kubernetes: `kubectl explain cronjob.spec.jobTemplate`.
    #[schemars(schema_with = "super::pod_template::job_template_schema")]
    pub job_template: Value,
}

/// What a Job may say otherwise than its template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overrides {
    /// Between which bounds its priority may be. Default: it may not be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<PriorityBounds>,
    /// How many attempts its retry may ask for. Default: retry may not be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_attempts: Option<u32>,
    /// How long its timeoutSeconds and its pendingTimeoutSeconds may be, in seconds. Default: they may not be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 315360000))]
    pub max_timeout_seconds: Option<i64>,
    /// The queues that it may name. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)))]
    pub queues: Vec<String>,
}

/// Between which bounds a priority may be, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct PriorityBounds {
    /// The lowest.
    #[schemars(range(min = -1000000, max = 1000000))]
    pub minimum: i32,
    /// The highest.
    #[schemars(range(min = -1000000, max = 1000000))]
    pub maximum: i32,
}

/// What to do when an attempt fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How many attempts there may be in all, the first included. Each leaves a JobRun of its own.
    #[schemars(range(min = 1, max = 100))]
    pub max_attempts: u32,
    /// How long to wait before another attempt. Default: 10 seconds before the second one, twice as long before each
    /// further one, at most an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// What to do about particular failures; the first rule that fits decides. Where none fits, the attempt is retried,
    /// unless its launch was refused, somebody deleted its batch Job, or the batch Job itself says that the failure is final
    /// (podFailurePolicy, maxFailedIndexes, activeDeadlineSeconds). No rule is asked about what was cancelled. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub rules: Vec<RetryRule>,
}

/// How long to wait before another attempt: initialSeconds × factor^(attempts so far − 1), at most maximumSeconds, counted
/// from the end of the failed one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// How long to wait before the second attempt, in seconds. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86400))]
    pub initial_seconds: Option<u32>,
    /// By how much each further wait is longer than the one before; 1 keeps them equal. Default: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub factor: Option<u32>,
    /// The longest wait, in seconds. Default: 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86400))]
    pub maximum_seconds: Option<u32>,
    /// By up to how many percent a wait is made longer, also beyond maximumSeconds, so that what failed together is not
    /// retried together. How much it is depends on the Job and the attempt only. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub jitter_percent: Option<u32>,
}

/// What to do about an attempt that failed in a particular way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryRule {
    /// Exit codes that the rule is about. Default: any, and none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub exit_codes: Vec<i32>,
    /// Reasons of records that the rule is about, such as PodLost or DeadlineExceeded. Default: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 30))]
    pub reasons: Vec<Reason>,
    /// What to do about the attempt.
    pub action: RetryAction,
}

/// What to do about a failed attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RetryAction {
    /// Rota tries again, if there may be more attempts.
    #[default]
    Retry,
    /// There is no further attempt.
    Fail,
    /// There is no further attempt, and the record says Skipped/SkippedByRule, as for a program that found nothing to do.
    Skip,
}

/// The type of a parameter. Values are written as strings, as environment variables are; the type says what the string must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ParamType {
    /// Any text.
    #[default]
    String,
    /// A whole number, such as `-3`.
    Integer,
    /// A number, such as `2.5`.
    Number,
    /// `true` or `false`.
    Boolean,
}

/// One parameter of a template.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(cel,
    validation = Rule::new("!(has(self.required) && self.required && has(self.default))").message("a required parameter cannot have a default").field_path(".default"),
    validation = Rule::new("!has(self.pattern) || !has(self.type) || self.type == 'string'").message("pattern applies to parameters of type string only").field_path(".pattern"),
    validation = Rule::new("!(has(self.minimum) || has(self.maximum)) || (has(self.type) && self.type in ['integer', 'number'])").message("minimum and maximum apply to parameters of type integer and number only").field_path(".type"),
    validation = Rule::new("!(has(self.minimum) && has(self.maximum)) || double(self.minimum) <= double(self.maximum)").message("minimum must not be greater than maximum").field_path(".minimum"),
    validation = Rule::new("!has(self.enum) || !has(self.default) || self.default in self.enum").message("default must be one of enum").field_path(".default"),
    validation = Rule::new("!has(self.default) || !has(self.type) || self.type != 'integer' || self.default.matches('^[-+]?[0-9]{1,18}$')").message("default must be a whole number, as the type says").field_path(".default"),
    validation = Rule::new("!has(self.default) || !has(self.type) || self.type != 'number' || self.default.matches('^[-+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][-+]?[0-9]{1,3})?$')").message("default must be a number, as the type says").field_path(".default"),
    validation = Rule::new("!has(self.default) || !has(self.type) || self.type != 'boolean' || self.default in ['true', 'false']").message("default must be true or false, as the type says").field_path(".default"),
    validation = Rule::new("!has(self.enum) || !has(self.type) || self.type != 'integer' || self.enum.all(e, e.matches('^[-+]?[0-9]{1,18}$'))").message("each value of enum must be a whole number, as the type says").field_path(".enum"),
    validation = Rule::new("!has(self.enum) || !has(self.type) || self.type != 'number' || self.enum.all(e, e.matches('^[-+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][-+]?[0-9]{1,3})?$'))").message("each value of enum must be a number, as the type says").field_path(".enum"),
    validation = Rule::new("!has(self.enum) || !has(self.type) || self.type != 'boolean'").message("a boolean parameter needs no enum").field_path(".enum"),
    validation = Rule::new("!has(self.minimum) || !has(self.default) || !self.default.matches('^[-+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][-+]?[0-9]{1,3})?$') || double(self.default) >= double(self.minimum)").message("default must not be less than minimum").field_path(".default"),
    validation = Rule::new("!has(self.maximum) || !has(self.default) || !self.default.matches('^[-+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][-+]?[0-9]{1,3})?$') || double(self.default) <= double(self.maximum)").message("default must not be greater than maximum").field_path(".default"),
)]
pub struct Param {
    /// Name of the parameter. It reaches containers as the environment variable `PARAM_<NAME>`, in upper case.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// What the value must hold. Default: string.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ParamType>,
    /// What this is for, for people. Default: empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub description: String,
    /// The value when none is given. Write numbers and booleans in quotes. Default: none; containers then get no variable for
    /// the parameter if no value is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub default: Option<String>,
    /// Whether a Job must give a value. Default: false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
    /// The only values allowed. Default: any value of the type.
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 256)))]
    pub enum_: Vec<String>,
    /// A regular expression that the whole value must match; strings only. The syntax is that of the Rust crate regex-lite: as
    /// in RE2, without look-around and backreferences, and \d, \s, \w and [[:alpha:]] are ASCII. It may take 64 KiB when
    /// compiled; that times the characters of the value, over all parameters, at most 64 Mi. Default: any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub pattern: Option<String>,
    /// The smallest value allowed; integers and numbers only. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// The largest value allowed; integers and numbers only. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
}

/// Parameter values by name.
pub type ParamValues = BTreeMap<String, String>;

fn params_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    named_list_schema::<Param>(generator, 0, PARAMS_MAX)
}

/// What the operator found out about a template.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobTemplateStatus {
    /// The generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the template is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<JobTemplatePhase>,
    /// Name of the ControllerRevision that new Jobs run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<String>,
    /// When the specification last changed, as far as the operator saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<MicroTime>,
    /// Ready: new Jobs can be made of it. Stalled: somebody has to change it first. AdmissionRefused: a policy, a webhook or a
    /// quota refuses its batch Jobs at the moment. Warning: what of its jobTemplate is not used as it is written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// Where a template is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum JobTemplatePhase {
    /// It exists, and its specification is not, or not yet, usable.
    Created,
    /// Jobs can be made of it.
    Active,
    /// It is retired: no new Jobs are made of it.
    Archived,
}
