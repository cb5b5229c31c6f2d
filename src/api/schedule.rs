//! Schedule: when work is requested.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{LocalReference, ObjectReference, Outcome};
use super::job_run::Reason;
use super::job_template::ParamValues;

/// One field of a crontab expression: a wildcard alone, or a list of values, ranges, wildcards with a step, H, and what
/// else only this field knows.
macro_rules! cron_field {
    ($alone:literal, $value:literal, $more:expr) => {
        concat!("(", $alone, "|", cron_field!(part $value, $more), "(,", cron_field!(part $value, $more), ")*)")
    };
    (part $value:literal, $more:expr) => {
        concat!(
            "([*]/[1-9][0-9]?|H([(]", $value, "-", $value, "[)])?(/[1-9][0-9]?)?|",
            $value, "(-", $value, ")?(/[1-9][0-9]?)?", $more, ")"
        )
    };
}

/// Five crontab fields, or six with seconds in front; months and week days may be names; or a nickname. What is known to be
/// of another reader of cron has a rule, and so a sentence, of its own. What only the calendar can tell (a day that never comes, a range that runs backwards) is left to the operator.
const CRON_RULE: &str = concat!(
    "self.matches('^(?i:[ \\\\t\\\\r\\\\n]*(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|@(every|reboot).*|(CRON_)?TZ=.*|(",
    cron_field!("[*]", "[0-5]?[0-9]", ""),
    "[ \\\\t\\\\r\\\\n]+)?",
    cron_field!("[*]", "[0-5]?[0-9]", ""),
    "[ \\\\t\\\\r\\\\n]+",
    cron_field!("[*]", "([01]?[0-9]|2[0-3])", ""),
    "[ \\\\t\\\\r\\\\n]+",
    cron_field!("[*?]", "(0?[1-9]|[12][0-9]|3[01])", "|L|LW|L-(0?[1-9]|[12][0-9]|30)|(0?[1-9]|[12][0-9]|3[01])W"),
    "[ \\\\t\\\\r\\\\n]+",
    cron_field!("[*]", "(0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)", ""),
    "[ \\\\t\\\\r\\\\n]+",
    cron_field!("[*?]", "(0?[0-7]|sun|mon|tue|wed|thu|fri|sat)", "|(0?[0-7]|sun|mon|tue|wed|thu|fri|sat)(L|#[1-5])"),
    ")[ \\\\t\\\\r\\\\n]*)$')",
);

/// When a JobTemplate is executed: at the times of a crontab expression, at a fixed interval, or once.
///
/// Creating, editing or enabling a schedule never fires a time that has passed. Every time it owed while enabled ends in
/// exactly one JobRun: it ran, failed, or was skipped for a stated reason.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "rota.dev",
    version = "v1alpha1",
    kind = "Schedule",
    plural = "schedules",
    singular = "schedule",
    shortname = "rsched",
    category = "rota",
    namespaced,
    cel,
    status = "ScheduleStatus",
    derive = "PartialEq",
    doc = "When a JobTemplate is executed.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "When", type_ = "string", json_path = ".status.when"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextTriggerTime"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastTriggerTime"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.lastOutcome"),
    printcolumn(name = "Active", type_ = "integer", json_path = ".status.active"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".spec.timeZone", priority = 1),
    printcolumn(name = "Template", type_ = "string", json_path = ".spec.templateRef.name", priority = 1),
    printcolumn(name = "Success", type_ = "date", json_path = ".status.lastSuccessTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    cel,
    validation = Rule::new("(has(self.cron) ? 1 : 0) + (has(self.interval) ? 1 : 0) + (has(self.at) ? 1 : 0) == 1").message("exactly one of cron, interval and at must be set"),
    validation = Rule::new("!has(self.timeZone) || has(self.cron)").message("timeZone applies to cron only: interval is elapsed time, and at carries its own offset").field_path(".timeZone"),
    validation = Rule::new("!has(self.dst) || has(self.cron)").message("dst applies to cron only: interval is elapsed time, and at is one instant").field_path(".dst"),
    validation = Rule::new("!has(self.anchor) || has(self.interval)").message("anchor applies to interval only: it is where the interval is counted from").field_path(".anchor"),
    validation = Rule::new("!has(self.jitterSeconds) || !has(self.at)").message("jitterSeconds does not apply to at, which is one instant").field_path(".jitterSeconds"),
    validation = Rule::new("(!has(self.startTime) && !has(self.endTime)) || !has(self.at)").message("startTime and endTime do not apply to at, which is one instant").field_path(".at"),
    validation = Rule::new("!has(self.startTime) || !has(self.endTime) || self.startTime < self.endTime").message("endTime must be after startTime").field_path(".endTime"),
)]
pub struct ScheduleSpec {
    /// The JobTemplate to execute, in the same namespace.
    pub template_ref: LocalReference,
    /// Crontab expression: minute, hour, day of month, month, day of week, or six fields with seconds (at most 12 of a
    /// minute) in front. Also `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly` and `@annually`. Day of
    /// month knows `L` (the last day), `L-3` (three days before it), `15W` (the working day nearest to the 15th) and `LW`
    /// (the last working day); day of week knows `5#2` (the second Friday) and `5L` (the last Friday). `H` is a number
    /// that is the schedule's own, so that many schedules do not start at once: `H 3 * * *`, `H/15 * * * *`,
    /// `H(0-29) * * * *`. When both day fields are restricted, either may match; one that begins with `*` is not
    /// restricted, also as `*/2`. All as in cron(8). Example: `0 9 * * 1-5`. Exactly one of cron,
    /// interval and at must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = Rule::new(CRON_RULE).message("cron must be five fields, minute (0-59), hour (0-23), day of month (1-31), month (1-12 or JAN-DEC), day of week (0-7 or SUN-SAT), or six with seconds in front, each a list of *, values, ranges or H with an optional /step, with L and W for days of the month, and L and # for days of the week; or one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly; for example 0 9 * * 1-5"))]
    #[x_kube(validation = Rule::new("!self.matches('^(?i:[ \\\\t\\\\r\\\\n]*@every)')").message("@every is not a time of the calendar; use spec.interval, for example interval: 90m"))]
    #[x_kube(validation = Rule::new("!self.matches('^(?i:[ \\\\t\\\\r\\\\n]*@reboot)')").message("@reboot has no meaning in a cluster, which does not start; create a Job instead"))]
    #[x_kube(validation = Rule::new("!self.matches('^(?i:[ \\\\t\\\\r\\\\n]*(CRON_)?TZ=)')").message("the zone belongs into spec.timeZone, for example timeZone: Asia/Tokyo"))]
    pub cron: Option<String>,
    /// Elapsed time between two executions, from one second, in hours, minutes and seconds. It is counted from anchor,
    /// knows no daylight saving, and does not drift. Example: `1h30m`. Exactly one of cron, interval and at must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^[ \\\\t\\\\r\\\\n]*([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?[ \\\\t\\\\r\\\\n]*$') && self.matches('[1-9]')").message("interval must be hours, minutes and seconds of at least one second in all, for example 90s, 15m or 1h30m"))]
    pub interval: Option<String>,
    /// The first time of an interval, RFC 3339; the others are whole intervals after it. Default: the creation of the
    /// schedule, at which nothing runs yet: the first run is one interval later. Example: `2027-01-01T06:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<MicroTime>,
    /// One instant, RFC 3339. Example: `2027-01-01T06:00:00Z`. Exactly one of cron, interval and at must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<MicroTime>,
    /// IANA name of the zone in which cron is read, from the database that Rota carries. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[ \\\\t\\\\r\\\\n]*[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*[ \\\\t\\\\r\\\\n]*$') && !self.matches('^[ \\\\t\\\\r\\\\n]*(?i:local|localtime|factory|posixrules|leapseconds)[ \\\\t\\\\r\\\\n]*$')").message("timeZone must be an IANA name such as Europe/London or UTC"))]
    pub time_zone: Option<String>,
    /// What happens to a cron time that the clock jumps over, or that comes twice, when daylight saving begins or ends.
    /// It applies to fixed times; one whose minute or hour begins with `*` or `H/` follows the clock: what is jumped over
    /// does not run, what comes twice runs twice. Default: a fixed time runs exactly once, as in cron(8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dst: Option<DstPolicy>,
    /// Puts each run off by up to this many seconds, by an amount that is fixed for the schedule and the time, so that
    /// many schedules do not start at once. A run is never put off up to the next time. scheduledTime stays the time
    /// itself. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86400))]
    pub jitter_seconds: Option<i32>,
    /// The first instant of which a time may be, RFC 3339; a time at this instant runs. Default: the creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<MicroTime>,
    /// The instant before which its times are, RFC 3339; a time at this instant does not run any more. Jitter may put a
    /// run off past it. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<MicroTime>,
    /// Whether it fires. Turning it off owes nothing; turning it on fires nothing of the past. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Parameter values for this schedule's Jobs; they override the template's defaults. Write numbers and booleans in quotes.
    /// Default: none.
    #[serde(default, skip_serializing_if = "ParamValues::is_empty")]
    #[schemars(schema_with = "super::common::given_values_schema")]
    pub params: ParamValues,
    /// Priority of this schedule's Jobs; higher goes first. Default: the template's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1000000, max = 1000000))]
    pub priority: Option<i32>,
    /// The queue in which this schedule's Jobs wait, in the same namespace. Default: the template's, else `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub queue: Option<String>,
    /// What happens when a time comes while an earlier Job of the schedule still waits or runs. Except under Allow no two
    /// of its Jobs ever run at once, those that a user made with a scheduleRef included. Default: Allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_policy: Option<ConcurrencyPolicy>,
    /// What happens with times that passed while the operator was not running. Default: the latest within one hour runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<CatchUp>,
    /// How long after it was due a run may start and count as on time, in seconds. A later one still runs: the condition
    /// Late, an event, a metric and its JobRun say so. Default: no run is late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31536000))]
    pub start_within_seconds: Option<i64>,
    /// How long after it was due a run may still start, in seconds. One that has not started by then is recorded as
    /// Skipped/StartDeadlineExceeded. It is the startingDeadlineSeconds of a CronJob. Default: no limit while it waits; a time
    /// that was missed while the operator was not running is made up for within catchUp.windowSeconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31536000))]
    pub start_deadline_seconds: Option<i64>,
    /// How many of its finished Jobs stay, with batch Job, pods and logs, for longer than 600 seconds. Jobs for which
    /// ttlSecondsAfterFinished is written go when that is over. Default: no succeeded one, and the last failed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_limits: Option<HistoryLimits>,
    /// After so many failures in a row the schedule is paused: its times are recorded as Skipped, and status.paused says
    /// why. It goes on, and counts anew, when its specification is edited, when a run of it by hand succeeds, or when its
    /// annotation `rota.dev/resume` changes. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub pause_after_failures: Option<u32>,
}

/// What happens to fixed cron times when daylight saving begins or ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DstPolicy {
    /// What happens to a time that the clock jumps over. Default: RunAfter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<DstGap>,
    /// What happens to a time that comes twice. Default: First.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<DstOverlap>,
}

/// What happens to a time that the clock jumps over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum DstGap {
    /// It runs at the moment of the jump; once, if the clock jumps over several times.
    #[default]
    RunAfter,
    /// It does not run.
    Skip,
}

/// What happens to a time that comes twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum DstOverlap {
    /// It runs the first time.
    #[default]
    First,
    /// It runs the last time.
    Last,
    /// It runs each time.
    Both,
}

/// The part of a schedule that says when, with every default filled in: two that are equal have the same times.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimingSpec {
    /// The crontab expression, with single spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Where the interval is counted from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<MicroTime>,
    /// The one instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<MicroTime>,
    /// The zone of the expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What happens when daylight saving begins or ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dst: Option<DstPolicy>,
    /// By how many seconds a run may be put off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_seconds: Option<i32>,
    /// The first instant of which a time may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<MicroTime>,
    /// The instant before which its times are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<MicroTime>,
}

impl ScheduleSpec {
    /// What says when, of a schedule that was created at that instant. Instants are as fine as objects carry them, so that
    /// what is written to a status equals what it is compared with later.
    pub fn timing(&self, created: Timestamp) -> TimingSpec {
        let micro = |time: Timestamp| MicroTime(Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time));
        let given = |time: &Option<MicroTime>| time.as_ref().map(|time| micro(time.0));
        let dst = self.dst.unwrap_or_default();
        let dst = DstPolicy { gap: Some(dst.gap.unwrap_or_default()), overlap: Some(dst.overlap.unwrap_or_default()) };
        let is_cron = self.cron.is_some();
        TimingSpec {
            cron: self.cron.as_deref().map(single_spaced),
            interval: self.interval.as_deref().map(|it| it.trim().to_owned()),
            anchor: self.interval.as_ref().map(|_| given(&self.anchor).unwrap_or_else(|| micro(created))),
            at: given(&self.at),
            time_zone: is_cron.then(|| self.time_zone.as_deref().map_or("UTC", str::trim).to_owned()),
            dst: is_cron.then_some(dst),
            jitter_seconds: self.jitter_seconds.filter(|seconds| *seconds != 0),
            start_time: given(&self.start_time),
            end_time: given(&self.end_time),
        }
    }
}

fn single_spaced(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// What happens when a time comes while an earlier Job of the schedule is not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// Rota starts another one as well. While 2,000 have not finished, a time that comes is recorded as Skipped/QueueFull.
    #[default]
    Allow,
    /// Rota records the new time as Skipped, with the reason OverlapForbidden.
    Forbid,
    /// Rota cancels the earlier one, whose record says Replaced, and starts the new one when the earlier one has ended.
    Replace,
    /// The new one waits until the earlier ones have ended. At most 100 wait; a time that comes then is recorded as Skipped/QueueFull.
    Queue,
    /// The new one waits until the one that runs has ended. One that still waits when a later time comes is recorded as
    /// Skipped/Replaced. It is what a CronJob does under Forbid.
    QueueLatest,
}

/// How many finished Jobs of a schedule stay. JobRuns always stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryLimits {
    /// How many that succeeded, the latest ones. It is the successfulJobsHistoryLimit of a CronJob. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub succeeded: Option<u32>,
    /// How many that failed, the latest ones. It is the failedJobsHistoryLimit of a CronJob. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub failed: Option<u32>,
}

/// What happens with times that passed while the operator was not running.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CatchUp {
    /// Which missed times run. The others are recorded as Skipped.
    pub policy: CatchUpPolicy,
    /// How long ago a missed time may be and still run, in seconds. Default: 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31536000))]
    pub window_seconds: Option<i64>,
    /// How many missed times run at the most under All, the latest ones. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_runs: Option<u32>,
}

/// Which missed times run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum CatchUpPolicy {
    /// No missed time runs.
    None,
    /// The latest missed time runs, if it lies within windowSeconds.
    Latest,
    /// Every missed time within windowSeconds runs, the latest maxRuns of them at the most.
    All,
}

/// What the operator knows of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    /// The generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the schedule is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<SchedulePhase>,
    /// The timing in one line: the expression, the interval or the instant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub when: String,
    /// Every time up to this one is accounted for: its Job was made, or its Skipped record written. Durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounted_until: Option<MicroTime>,
    /// The timing that `accountedUntil` belongs to; an edit of the timing starts it anew. Durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing: Option<TimingSpec>,
    /// When a field of the specification was last set, according to metadata.managedFields, in whole seconds. A later edit
    /// that sets a field has a later time; one that only removes a field has none. Durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_edit_time: Option<MicroTime>,
    /// The last time for which a Job was made. It is the lastScheduleTime of a CronJob; lastSkipTime has the last one that was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_trigger_time: Option<MicroTime>,
    /// The next time that is due; absent while disabled, not ready, or when none will come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_trigger_time: Option<MicroTime>,
    /// The next few times, in the schedule's zone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_trigger_times: Vec<String>,
    /// The next time that a change of the clock (daylight saving) affects, within five years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_clock_change: Option<ClockChange>,
    /// The release of the zone database by which cron is read, for example 2026f.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_database: Option<String>,
    /// How many of its Jobs wait or run.
    #[serde(default)]
    pub active: u32,
    /// Its Jobs that wait or run (the first 20).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub active_jobs: Vec<ObjectReference>,
    /// Its finished Jobs that historyLimits keeps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_jobs: Vec<ObjectReference>,
    /// How its last finished run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_outcome: Option<Outcome>,
    /// When a run of it last succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_time: Option<MicroTime>,
    /// When a run of it last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<MicroTime>,
    /// Failures since the last success. Durable.
    #[serde(default)]
    pub consecutive_failures: u32,
    /// How many times were missed and not made up for: the operator was not running. Durable.
    #[serde(default)]
    pub missed_count: u64,
    /// How many runs did not start within startWithinSeconds. Durable.
    #[serde(default)]
    pub late_count: u64,
    /// The last time whose run was late. Durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_late_time: Option<MicroTime>,
    /// Why the operator holds the schedule: pauseAfterFailures. Absent: it does not. Durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<SchedulePause>,
    /// When a time was last skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_skip_time: Option<MicroTime>,
    /// Why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_skip_reason: Option<Reason>,
    /// Finished Jobs whose outcome is counted above and that still hold their finalizer; kept so that a restart does
    /// not count one twice. Durable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settled: Vec<ObjectReference>,
    /// Ready: it fires as written. Stalled: somebody has to change it first. A run that fails changes neither. Late: a run
    /// did not start in time. Paused: it is held after failures. LastRunSucceeded: how its last run ended.
    /// Warning: what is surely not meant as it is written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// A time that a change of the clock affects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClockChange {
    /// When, with the offset of the zone.
    pub time: String,
    /// Moved: jumped over, and it runs at the moment of the jump. Skipped: jumped over, and it does not run. FirstPass and
    /// SecondPass: it comes twice, and this is the one or the other.
    pub effect: String,
}

/// Why the operator holds a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchedulePause {
    /// Since when.
    pub since: MicroTime,
    /// How many runs had failed in a row.
    pub failures: u32,
    /// The generation of the schedule then: an edit since ends the pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// The annotation `rota.dev/resume` as it was then: another value ends the pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
}

/// Where a schedule is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum SchedulePhase {
    /// Defined, and never enabled yet.
    Created,
    /// It creates Jobs at its times.
    Enabled,
    /// It was enabled once, and creates no Jobs now.
    Disabled,
}
