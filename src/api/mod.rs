//! The kinds of `rota.dev/v1alpha1`: data, admission rules, printer columns and constants.
//!
//! Field documentation here is user documentation: it is what `kubectl explain` prints. Nothing in
//! this module decides anything; rules that can be judged from one object alone are CEL, checked by
//! the API server, and everything else is in [`crate::domain`].

pub mod common;
pub mod crds;
mod enums;
pub mod job;
pub mod job_group;
pub mod job_run;
pub mod job_template;
pub mod labels;
pub(crate) mod pod_fields;
pub mod pod_template;
pub mod position;
pub mod queue;
pub mod schedule;

pub use common::{Cancel, LocalReference, ObjectReference, Outcome};
pub use job::{Job, JobPhase, JobSpec, JobStatus};
pub use job_group::{JobGroup, JobGroupSpec, JobGroupStatus};
pub use job_run::{JobRun, JobRunSpec, JobRunStatus, Reason};
pub use job_template::{JobTemplate, JobTemplateSpec, JobTemplateStatus};
pub use position::Position;
pub use queue::{Queue, QueueSpec, QueueStatus};
pub use schedule::{Schedule, ScheduleSpec, ScheduleStatus, TimingSpec};

/// The API group of every kind.
pub const GROUP: &str = "rota.dev";
/// The API version of every kind.
pub const VERSION: &str = "v1alpha1";
/// `group/version`, as it stands in `apiVersion`.
pub const API_VERSION: &str = "rota.dev/v1alpha1";
/// The queue of a Job that names none; the operator creates it where it is first needed.
pub const DEFAULT_QUEUE: &str = "default";
