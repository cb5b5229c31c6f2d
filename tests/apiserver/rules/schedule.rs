//! The rules of Schedule.

use serde_json::{Value, json};

use super::{Case, Rule};

const CRON: &str = "cron must be five fields, minute (0-59), hour (0-23), day of month (1-31), month (1-12 or JAN-DEC), \
    day of week (0-7 or SUN-SAT), each a list of *, values or ranges with an optional /step; for example 0 9 * * 1-5";
const INTERVAL: &str =
    "interval must be hours, minutes and seconds of at least one second in all, for example 90s, 15m or 1h30m";

pub fn rules() -> Vec<Rule> {
    vec![timing(), zone_for_cron(), cron(), interval(), zone()]
}

/// A schedule with this timing.
fn with(timing: Value) -> Case {
    let mut spec = json!({ "templateRef": { "name": "report" } });
    for (key, value) in timing.as_object().expect("timing is a JSON object") {
        spec[key] = value.clone();
    }
    Case::created(json!({ "spec": spec }))
}

fn timing() -> Rule {
    Rule {
        kind: "Schedule",
        path: "spec",
        message: "exactly one of cron, interval and at must be set",
        accepted: vec![
            with(json!({ "cron": "0 9 * * *" })),
            with(json!({ "interval": "1h" })),
            with(json!({ "at": "2027-01-01T06:00:00Z" })),
        ],
        rejected: vec![
            with(json!({})),
            with(json!({ "cron": "0 9 * * *", "interval": "1h" })),
            with(json!({ "cron": "0 9 * * *", "at": "2027-01-01T06:00:00Z" })),
            with(json!({ "interval": "1h", "at": "2027-01-01T06:00:00Z" })),
            with(json!({ "cron": "0 9 * * *", "interval": "1h", "at": "2027-01-01T06:00:00Z" })),
        ],
    }
}

fn zone_for_cron() -> Rule {
    Rule {
        kind: "Schedule",
        path: "spec",
        message: "timeZone applies to cron only: interval is elapsed time, and at carries its own offset",
        accepted: vec![with(json!({ "cron": "0 9 * * *", "timeZone": "Europe/London" }))],
        rejected: vec![
            with(json!({ "interval": "1h", "timeZone": "Europe/London" })),
            with(json!({ "at": "2027-01-01T06:00:00+01:00", "timeZone": "Europe/London" })),
        ],
    }
}

fn cron() -> Rule {
    let cases = |texts: &[&str]| texts.iter().map(|text| with(json!({ "cron": text }))).collect();
    Rule {
        kind: "Schedule",
        path: "spec.cron",
        message: CRON,
        accepted: cases(&[
            "* * * * *",
            "*/5 * * * *",
            "0 9 * * 1-5",
            "0 0 1,15 * MON",
            "0 9 * * 7",
            "0 9 * * 0",
            "59 23 31 12 sun",
            "0-30/10,45 0,6-18/2 1-7 jan-mar,OCT mon-fri",
            "05 09 01 02 *",
            "0 0 ? * 1",
            "0 0 1 * ?",
            "*/20,5 * * * 05",
            "  0\t9 *  * *  ",
        ]),
        rejected: cases(&[
            "",
            "* * * *",
            "0 0 9 * * 1",
            "60 * * * *",
            "* 24 * * *",
            "0 0 32 * *",
            "0 0 0 * *",
            "0 0 1 13 *",
            "0 0 1 0 *",
            "0 0 * * 8",
            "@daily",
            "a b c d e",
            "*/0 * * * *",
            "-5 * * * *",
            "1- * * * *",
            "1,,2 * * * *",
            "*,5 * * * *",
            "0 9 * * MONDAY",
            "0 9 * FOO *",
            "0 9 L * *",
            "TZ=Europe/London 0 9 * * *",
            "CRON_TZ=UTC 0 9 * * *",
            "0 9 * * *\n",
        ]),
    }
}

fn interval() -> Rule {
    let cases = |texts: &[&str]| texts.iter().map(|text| with(json!({ "interval": text }))).collect();
    Rule {
        kind: "Schedule",
        path: "spec.interval",
        message: INTERVAL,
        accepted: cases(&["1s", "90s", "15m", "24h", "1h30m", "1h30m15s", "999999h999999m99999999s"]),
        rejected: cases(&["", "0s", "0h0m0s", "1.5h", "5", "500ms", "1d", "30m1h", "-1h", "1h 30m", "PT1H", "1h\n"]),
    }
}

fn zone() -> Rule {
    let cases =
        |names: &[&str]| names.iter().map(|name| with(json!({ "cron": "0 9 * * *", "timeZone": name }))).collect();
    Rule {
        kind: "Schedule",
        path: "spec.timeZone",
        message: "timeZone must be an IANA name such as Europe/London or UTC",
        accepted: cases(&["UTC", "Europe/London", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "GMT0"]),
        rejected: cases(&[
            "",
            "Local",
            "Europe/",
            "/Europe",
            "Europe//London",
            "+01:00",
            "../etc/passwd",
            "UTC\n",
            "Zone One",
        ]),
    }
}
