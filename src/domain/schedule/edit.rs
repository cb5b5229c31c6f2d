//! When a specification was edited, which the API server does not always tell.
//!
//! It stamps the time of a request in managedFields if the request set or changed a field, and not if it only removed one:
//! a line deleted in `kubectl edit`, `null` in a merge patch, a Helm upgrade without a value. A stamp counts if it can only
//! be that of the edit. Otherwise all that is known is that the edit was made before it was seen, and nothing up to then
//! runs.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{AHEAD_HOURS_MAX, Facts, SaturatingTime, is_enabled, micro};
use crate::api::schedule::{DstPolicy, SchedulePhase, TimingSpec};
use crate::api::{Schedule, ScheduleSpec, ScheduleStatus};

/// Why a time before an edit is recorded.
const EDITED: &str = "the schedule was edited before this time could be made up for";
/// The same when it is not known which of the two was first.
const UNTIMED: &str = "the schedule was edited around this time, and it is not known whether before or after: Kubernetes does not record when a field was removed";

/// What there is to tell when a specification was edited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EditTimes {
    /// When a field of it was last set, by the clock of the API server, in whole seconds.
    pub stamped: Option<Timestamp>,
    /// The same of the version before this generation, if this process saw that one.
    pub stamped_before: Option<Timestamp>,
    /// When the operator last wrote the status, by the clock of the API server.
    pub status_written: Option<Timestamp>,
    /// Up to when an operator watched, and the generation in the status was the current one.
    pub unchanged_until: Option<Timestamp>,
    /// When this process had first seen this generation; absent: it sees it now.
    pub seen: Option<Timestamp>,
}

/// An edit that the status does not know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// When it was made, or at the latest: what lies after it is owed by the specification as it is now.
    pub until: Timestamp,
    /// Why a time up to then does not run.
    pub why: &'static str,
}

/// The edit that led to the specification as it is, if the status does not know of it. It is told in whole seconds, so that
/// a time of a whole second lies after it if and only if it lay ahead when the edit was made.
pub(super) fn unseen_edit(facts: &Facts<'_>, created: Timestamp, now: Timestamp) -> Option<Edit> {
    if facts.status.observed_generation == facts.schedule.metadata.generation && facts.status.phase.is_some() {
        return None;
    }
    let seen = facts.edits.seen.unwrap_or(now).min(now);
    let (instant, why) = match timed(facts, created) {
        Some(instant) => (instant.min(now), EDITED),
        None => (seen, UNTIMED),
    };
    Some(Edit { until: not_accounted(facts.status, instant, now), why })
}

/// How many edits the status does not know of; all but the last of them can only be guessed.
pub(super) fn edits_unseen(facts: &Facts<'_>) -> i64 {
    let generation = facts.schedule.metadata.generation.unwrap_or(1);
    generation - facts.status.observed_generation.unwrap_or(1)
}

/// The stamp to remember with the generation that it belongs to.
pub(super) fn last_stamp(facts: &Facts<'_>, created: Timestamp) -> Option<MicroTime> {
    let before = facts.status.last_edit_time.as_ref().map(|time| time.0);
    Some(micro(facts.edits.stamped.max(before).unwrap_or(created)))
}

/// That instant, or the end of the account if it is later: no time is accounted for twice.
pub(super) fn not_accounted(status: &ScheduleStatus, instant: Timestamp, now: Timestamp) -> Timestamp {
    let plausible = now.saturating_add_ms(AHEAD_HOURS_MAX * 3_600_000);
    let accounted = status.accounted_until.as_ref().map(|until| until.0).filter(|until| *until <= plausible);
    accounted.map_or(instant, |accounted| accounted.max(instant))
}

/// When the one edit was made, if the last stamp can only be its own.
fn timed(facts: &Facts<'_>, created: Timestamp) -> Option<Timestamp> {
    let (edits, status) = (&facts.edits, facts.status);
    let is_new = status.phase.is_none();
    match edits_unseen(facts) {
        // As far as is known it is as it was created.
        0 if is_new => return Some(created),
        1 => {}
        _ => return None,
    }
    if !is_new && status.timing.is_none() && edits.stamped_before.is_none() {
        // What it said before could not be read: nobody can tell what an edit has changed of it.
        return None;
    }
    let known = edits.stamped_before.or(status.last_edit_time.as_ref().map(|time| time.0)).or(edits.status_written);
    let known = if is_new { Some(created) } else { known };
    let is_later = |stamp: &Timestamp| {
        known.is_some_and(|known| known.as_second() < stamp.as_second())
            && edits.unchanged_until.is_none_or(|until| until.as_second() <= stamp.as_second())
    };
    edits.stamped.filter(is_later).filter(|_| !only_removes(facts.schedule, status, created))
}

/// Whether what is known of the specification before and of that of now differs in nothing but fields that are gone.
fn only_removes(schedule: &Schedule, status: &ScheduleStatus, created: Timestamp) -> bool {
    let Some(before) = &status.timing else { return false };
    let fields = changes(schedule, before, status, created);
    fields.contains(&Change::Removed) && !fields.contains(&Change::Set)
}

/// What became of a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Set,
    Removed,
}

/// What became of each field that says when and whether the schedule fires.
fn changes(schedule: &Schedule, before: &TimingSpec, status: &ScheduleStatus, created: Timestamp) -> [Change; 10] {
    let spec = &schedule.spec;
    let now = spec.timing(created);
    let change = |is_same: bool, is_given: bool| match (is_same, is_given) {
        (true, _) => Change::None,
        (false, true) => Change::Set,
        (false, false) => Change::Removed,
    };
    let was_enabled = status.phase == Some(SchedulePhase::Enabled);
    [
        change(was_enabled == is_enabled(schedule), spec.enabled.is_some()),
        change(before.cron == now.cron, spec.cron.is_some()),
        change(before.interval == now.interval, spec.interval.is_some()),
        change(before.anchor == now.anchor, spec.anchor.is_some()),
        change(before.at == now.at, spec.at.is_some()),
        change(before.time_zone == now.time_zone, spec.time_zone.is_some()),
        change(before.dst == now.dst, sets_dst(spec, before)),
        change(before.jitter_seconds == now.jitter_seconds, spec.jitter_seconds.is_some()),
        change(before.start_time == now.start_time, spec.start_time.is_some()),
        change(before.end_time == now.end_time, spec.end_time.is_some()),
    ]
}

/// Whether a part of `dst` that is given is another one than before.
fn sets_dst(spec: &ScheduleSpec, before: &TimingSpec) -> bool {
    let before = before.dst.unwrap_or_default();
    let differs = |now: DstPolicy| {
        now.gap.is_some_and(|gap| gap != before.gap.unwrap_or_default())
            || now.overlap.is_some_and(|overlap| overlap != before.overlap.unwrap_or_default())
    };
    spec.dst.is_some_and(differs)
}
