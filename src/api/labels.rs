//! Labels, annotations, finalizers and environment names that Rota puts on what it creates.
//!
//! Children get these and nothing else of their parents': a tracking label of Argo CD, Flux or Helm
//! that reached a child would make the GitOps tool prune it.

/// Finalizer on a Job until its outcome is recorded, so that no delete loses it; and on a batch Job that Kubernetes would
/// delete too soon after its end.
pub const RECORD_FINALIZER: &str = "rota.dev/record";
/// Finalizer on a template revision while a Job refers to it.
pub const REVISION_FINALIZER: &str = "rota.dev/revision-in-use";

/// Says who manages an object; always [`MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGER: &str = "rota";

/// What runs: the name of the JobTemplate, else the type of work. One of the labels that Kubernetes recommends; where a user sets
/// it on a batch Job or a pod, the user's stays.
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// What it belongs to: always [`MANAGER`], unless a user sets it on a batch Job or a pod.
pub const APP_PART_OF: &str = "app.kubernetes.io/part-of";

/// Name of the rota Job (shortened to 63 characters) on batch Jobs and pods.
pub const JOB: &str = "rota.dev/job";
/// Uid of the rota Job, on batch Jobs, pods and JobRuns.
pub const JOB_UID: &str = "rota.dev/job-uid";
/// Which attempt of the Job this is, from 1, on batch Jobs, pods and JobRuns.
pub const ATTEMPT: &str = "rota.dev/attempt";
/// Name of the JobTemplate (shortened to 63 characters).
pub const TEMPLATE: &str = "rota.dev/template";
/// Name of the Schedule (shortened to 63 characters).
pub const SCHEDULE: &str = "rota.dev/schedule";
/// Name of the JobGroup (shortened to 63 characters).
pub const GROUP: &str = "rota.dev/group";
/// Name of the queue (shortened to 63 characters).
pub const QUEUE: &str = "rota.dev/queue";
/// How a run ended, on JobRuns: Completed, Failed or Skipped.
pub const OUTCOME: &str = "rota.dev/outcome";
/// The day on which a run ended, in UTC, such as 2026-11-24, on JobRuns: so that the recent ones can be listed among many.
pub const DAY: &str = "rota.dev/day";
/// How many scheduled times a record stands for, on JobRuns that stand for more than one.
pub const SCHEDULED_TIMES: &str = "rota.dev/scheduled-times";

/// What stands for the dedupKey of the Job, on JobRuns; the key itself is in `spec.dedupKey`.
pub const DEDUP: &str = "rota.dev/dedup";
/// What stands for the content of a Job that a user wrote, on JobRuns: its specification without what may change while it
/// waits.
pub const CONTENT: &str = "rota.dev/content";

/// The resolved parameters as JSON, on pods; what the parameter file shows.
pub const PARAMS_ANNOTATION: &str = "rota.dev/params";
/// The nominal time of the occurrence, RFC 3339, on Jobs and batch Jobs.
pub const SCHEDULED_TIME_ANNOTATION: &str = "rota.dev/scheduled-time";
/// The same under the name that the CronJob controller uses since Kubernetes 1.32, so that tools find it.
pub const CRONJOB_TIME_ANNOTATION: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Name of the ControllerRevision of the template that a batch Job was made of, on batch Jobs: so that a record names the
/// right one also when the operator ended before it was in the status of the Job.
pub const TEMPLATE_REVISION_ANNOTATION: &str = "rota.dev/template-revision";
/// What the Job said when it was launched, as JSON, on batch Jobs: an edit before the first status does not change what runs.
pub const LAUNCHED_ANNOTATION: &str = "rota.dev/launched";
/// Full name of the rota Job, on batch Jobs (the label may be shortened).
pub const JOB_NAME_ANNOTATION: &str = "rota.dev/job-name";
/// What tells a record that Rota wrote from one that somebody else did, on JobRuns.
pub const SEAL_ANNOTATION: &str = "rota.dev/seal";
/// On the Lease: the number of the last leader that sealed its records, and since when all leaders have.
pub const SEALED_SINCE_ANNOTATION: &str = "rota.dev/sealed-since";
/// On the Lease: the version of the operator that holds it.
pub const VERSION_ANNOTATION: &str = "rota.dev/version";
/// Why Rota had Kubernetes end a batch Job, on batch Jobs: written together with the deadline that ends it.
pub const ENDED_FOR_ANNOTATION: &str = "rota.dev/ended-for";
/// When that was, RFC 3339, by the clock of the operator, on batch Jobs.
pub const ENDED_AT_ANNOTATION: &str = "rota.dev/ended-for-since";
/// The local queue of Kueue, on a rota Job and on the template of a batch Job; passed on to the batch Job.
pub const KUEUE_QUEUE: &str = "kueue.x-k8s.io/queue-name";
/// The priority within Kueue, on a rota Job and on the template of a batch Job; passed on to the batch Job.
pub const KUEUE_PRIORITY: &str = "kueue.x-k8s.io/priority-class";
/// Asks Argo CD not to refresh an application for each change of a child.
pub const ARGO_IGNORE_ANNOTATION: &str = "argocd.argoproj.io/ignore-resource-updates";

/// Set by users on a Schedule that is paused after failures, to any new value: it goes on.
pub const RESUME_ANNOTATION: &str = "rota.dev/resume";

/// Prefix of the environment variables that carry parameters.
pub const PARAM_ENV_PREFIX: &str = "PARAM_";
/// Where the parameter file is in each container.
pub const PARAMS_FILE: &str = "/etc/rota/params.json";

/// The annotation in which `kubectl apply` keeps a copy of what was applied, and by which it tells what it may prune.
pub const LAST_APPLIED_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The field manager of statuses; each kind's status is written from one place only.
pub const STATUS_MANAGER: &str = "rota/status";
