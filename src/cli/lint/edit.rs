//! Edit: what applying an object would change in the cluster, in the words of a person.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api::{Schedule, TimingSpec};
use crate::cli::next::depends_on_seed;
use crate::cli::preview::{Preview, Upcoming};

/// Where kubectl keeps what was applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// How many times are told.
const TIMES_TOLD: usize = 3;
/// How much of a value is told, in characters.
const TOLD_CHARACTERS_MAX: usize = 80;
/// How many changed fields are told; the rest is counted.
const FIELDS_TOLD_MAX: usize = 30;

/// What would be done about an object, in one line, and what changes, in some more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// In a word or two.
    pub verdict: &'static str,
    /// What changes.
    pub lines: Vec<String>,
}

/// The object as it would be after `kubectl apply`: what is written goes over what is there, what was written the last
/// time and is not any more goes away. Without a last time the specification is replaced.
pub fn applied(old: &Value, new: &Value) -> Value {
    let last = old["metadata"]["annotations"][LAST_APPLIED].as_str();
    let last: Option<Value> = last.and_then(|text| serde_json::from_str(text).ok());
    let mut result = old.clone();
    match &last {
        Some(last) => result["spec"] = merged(&old["spec"], &new["spec"], &last["spec"]),
        None => result["spec"] = new["spec"].clone(),
    }
    result
}

fn merged(old: &Value, new: &Value, last: &Value) -> Value {
    let (Value::Object(there), Value::Object(written)) = (old, new) else { return new.clone() };
    let empty = Map::new();
    let before = last.as_object().unwrap_or(&empty);
    let mut result = there.clone();
    result.retain(|name, _| written.contains_key(name) || !before.contains_key(name));
    for (name, value) in written {
        let below = merged(there.get(name).unwrap_or(&Value::Null), value, before.get(name).unwrap_or(&Value::Null));
        result.insert(name.clone(), below);
    }
    Value::Object(result)
}

/// What creating an object would do.
pub fn created(new: &Value, now: Timestamp) -> Edit {
    let mut lines = Vec::new();
    if let Some(schedule) = schedule(new) {
        if schedule.spec.enabled == Some(false) {
            lines.push("is disabled: it fires nothing until it is enabled".to_owned());
        } else if depends_on_seed(&schedule.spec) {
            lines.push("its first time is known when it has a uid, which chooses H and jitter".into());
        } else if let Some(preview) = preview(&schedule, now) {
            let first = times(&preview, now, 1);
            lines.push(if first.is_empty() { "no time comes".into() } else { format!("first time: {first}") });
        }
        lines.push("fires nothing of the past: its times are counted from its creation".into());
    }
    Edit { verdict: "would be created", lines }
}

/// What changing an object would do.
pub fn changed(old: &Value, new: &Value, now: Timestamp) -> Edit {
    let mut fields = Vec::new();
    differences(&old["spec"], &new["spec"], "spec", &mut fields);
    if fields.is_empty() {
        return Edit { verdict: "would not change", lines: vec![] };
    }
    let more = fields.len().saturating_sub(FIELDS_TOLD_MAX);
    fields.truncate(FIELDS_TOLD_MAX);
    if more > 0 {
        fields.push(format!("and {more} more fields"));
    }
    let mut lines = fields;
    if let (Some(before), Some(after)) = (schedule(old), schedule(new)) {
        lines.extend(timing_lines(&before, &after, now));
    }
    Edit { verdict: "would be changed", lines }
}

fn timing_lines(before: &Schedule, after: &Schedule, now: Timestamp) -> Vec<String> {
    let is_enabled = |schedule: &Schedule| schedule.spec.enabled != Some(false);
    let (was, is) = (preview(before, now), preview(after, now));
    let text = |preview: &Option<Preview>| {
        preview.as_ref().map_or_else(|| "nothing that can be read".into(), Preview::describe)
    };
    let next = |preview: &Option<Preview>, schedule: &Schedule| match preview {
        _ if !is_enabled(schedule) => "none, as it is disabled".to_owned(),
        Some(preview) => {
            Some(times(preview, now, TIMES_TOLD)).filter(|it| !it.is_empty()).unwrap_or_else(|| "none".into())
        }
        None => "none".into(),
    };
    // As the operator tells whether an edit concerns the timing.
    let same_times = timing(before, now) == timing(after, now);
    let starts_anew = !same_times || (is_enabled(after) && !is_enabled(before));
    let mut lines = Vec::new();
    if text(&was) != text(&is) {
        lines.push(format!("timing: {} -> {}", text(&was), text(&is)));
    }
    if !same_times || is_enabled(before) != is_enabled(after) {
        lines.push(format!("next times before: {}", next(&was, before)));
        lines.push(format!("next times after:  {}", next(&is, after)));
    }
    lines.push(if !is_enabled(after) {
        "fires nothing while it is disabled; Jobs that wait or run go on".into()
    } else if starts_anew {
        "fires nothing of the past: its times are counted from the edit".into()
    } else {
        "fires nothing of the past: its times stay as they are".into()
    });
    lines
}

fn schedule(object: &Value) -> Option<Schedule> {
    (object["kind"] == "Schedule").then(|| Schedule::deserialize(object).ok()).flatten()
}

/// The timing of a schedule; one that does not exist yet would be created now.
fn timing(schedule: &Schedule, now: Timestamp) -> TimingSpec {
    schedule.spec.timing(schedule.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0))
}

fn preview(schedule: &Schedule, now: Timestamp) -> Option<Preview> {
    Preview::new(&timing(schedule, now), schedule.metadata.uid.as_deref().unwrap_or_default(), None).ok()
}

fn times(preview: &Preview, now: Timestamp, count: usize) -> String {
    let from = now.checked_add(jiff::SignedDuration::from_nanos(1)).unwrap_or(now);
    let times = preview.upcoming(from, count).into_iter().filter_map(|it| match it {
        Upcoming::Run { time, .. } => Some(preview.local(time)),
        Upcoming::Skipped { .. } => None,
    });
    times.collect::<Vec<_>>().join(", ")
}

/// The fields that differ, as `field: before -> after`.
fn differences(old: &Value, new: &Value, path: &str, found: &mut Vec<String>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in before {
                differences(value, after.get(name).unwrap_or(&Value::Null), &format!("{path}.{name}"), found);
            }
            for (name, value) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
                differences(&Value::Null, value, &format!("{path}.{name}"), found);
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (old, new)) in before.iter().zip(after).enumerate() {
                differences(old, new, &format!("{path}[{index}]"), found);
            }
        }
        (old, new) => found.push(format!("{path}: {} -> {}", told(old), told(new))),
    }
}

fn told(value: &Value) -> String {
    let text = if value.is_null() { "nothing".to_owned() } else { value.to_string() };
    if text.chars().count() <= TOLD_CHARACTERS_MAX {
        return text;
    }
    format!("{}…", text.chars().take(TOLD_CHARACTERS_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2027-03-26T12:00:00.25Z".parse().unwrap()
    }

    fn nightly(spec: Value) -> Value {
        json!({
            "apiVersion": "rota.dev/v1alpha1", "kind": "Schedule",
            "metadata": { "name": "nightly", "uid": "u", "creationTimestamp": "2027-01-01T00:00:00Z" },
            "spec": spec,
        })
    }

    #[test]
    fn an_edit_of_a_schedule_says_what_changes_and_that_nothing_of_the_past_fires() {
        let template = json!({ "name": "report" });
        let old = nightly(
            json!({ "templateRef": template, "cron": "30 2 * * *", "timeZone": "Europe/London", "params": { "region": "eu", "days": "1" } }),
        );
        let new = nightly(
            json!({ "templateRef": template, "cron": "30 3 * * *", "timeZone": "Europe/London", "params": { "region": "us" } }),
        );
        let edit = changed(&old, &new, now());
        assert_eq!(edit.verdict, "would be changed");
        assert_eq!(
            edit.lines,
            [
                "spec.cron: \"30 2 * * *\" -> \"30 3 * * *\"",
                "spec.params.days: \"1\" -> nothing",
                "spec.params.region: \"eu\" -> \"us\"",
                "timing: 30 2 * * * Europe/London -> 30 3 * * * Europe/London",
                "next times before: Sat 2027-03-27 02:30:00 +00:00, Sun 2027-03-28 02:30:00 +01:00, Mon 2027-03-29 02:30:00 +01:00",
                "next times after:  Sat 2027-03-27 03:30:00 +00:00, Sun 2027-03-28 03:30:00 +01:00, Mon 2027-03-29 03:30:00 +01:00",
                "fires nothing of the past: its times are counted from the edit",
            ]
        );
    }

    #[test]
    fn turning_a_schedule_off_and_on_says_so() {
        let with =
            |enabled: bool| nightly(json!({ "templateRef": { "name": "r" }, "interval": "1h", "enabled": enabled }));
        let on = changed(&with(false), &with(true), now());
        assert!(on.lines.contains(&"next times before: none, as it is disabled".to_owned()), "{on:?}");
        assert_eq!(
            on.lines.last().map(String::as_str),
            Some("fires nothing of the past: its times are counted from the edit")
        );
        let off = changed(&with(true), &with(false), now());
        assert_eq!(
            off.lines.last().map(String::as_str),
            Some("fires nothing while it is disabled; Jobs that wait or run go on")
        );
        assert_eq!(changed(&with(true), &with(true), now()), Edit { verdict: "would not change", lines: vec![] });
    }

    #[test]
    fn an_edit_that_leaves_the_timing_alone_says_that_the_times_stay() {
        let with =
            |priority: i32| nightly(json!({ "templateRef": { "name": "r" }, "interval": "1h", "priority": priority }));
        let edit = changed(&with(1), &with(2), now());
        assert_eq!(edit.lines, ["spec.priority: 1 -> 2", "fires nothing of the past: its times stay as they are"]);
    }

    #[test]
    fn a_new_schedule_says_when_it_first_fires() {
        let mut new = nightly(json!({ "templateRef": { "name": "r" }, "cron": "0 0 * * *" }));
        new["metadata"] = json!({ "name": "nightly" });
        let lines = [
            "first time: Sat 2027-03-27 00:00:00 +00:00",
            "fires nothing of the past: its times are counted from its creation",
        ];
        assert_eq!(created(&new, now()), Edit { verdict: "would be created", lines: lines.map(str::to_owned).into() });
        new["spec"]["cron"] = json!("H 0 * * *");
        assert!(created(&new, now()).lines[0].contains("uid"));
        new["spec"] = json!({ "templateRef": { "name": "r" }, "at": "2020-01-01T00:00:00Z" });
        assert_eq!(created(&new, now()).lines[0], "no time comes");
    }

    #[test]
    fn an_object_is_merged_as_kubectl_does() {
        let last = json!({ "spec": { "a": 1, "gone": 2, "map": { "x": 1, "y": 2 } } }).to_string();
        let old = json!({
            "metadata": { "annotations": { LAST_APPLIED: last } },
            "spec": { "a": 1, "gone": 2, "others": 3, "map": { "x": 1, "y": 2, "z": 3 }, "list": [1, 2] },
        });
        let new = json!({ "spec": { "a": 5, "map": { "x": 7 }, "list": [9] } });
        assert_eq!(applied(&old, &new)["spec"], json!({ "a": 5, "others": 3, "map": { "x": 7, "z": 3 }, "list": [9] }));
        let untold = json!({ "metadata": {}, "spec": { "a": 1, "others": 3 } });
        assert_eq!(applied(&untold, &new)["spec"], new["spec"]);
    }
}
