//! The rules of Schedule.

use serde_json::{Value, json};

use super::{Case, Rule};

const CRON: &str = "cron must be five fields, minute (0-59), hour (0-23), day of month (1-31), month (1-12 or JAN-DEC), \
    day of week (0-7 or SUN-SAT), or six with seconds in front, each a list of *, values, ranges or H with an optional \
    /step, with L and W for days of the month, and L and # for days of the week; or one of @hourly, @daily, @midnight, \
    @weekly, @monthly, @yearly; for example 0 9 * * 1-5";
const INTERVAL: &str =
    "interval must be hours, minutes and seconds of at least one second in all, for example 90s, 15m or 1h30m";

pub fn rules() -> Vec<Rule> {
    vec![
        timing(),
        zone_for_cron(),
        dst_for_cron(),
        anchor_for_interval(),
        jitter_not_for_at(),
        window_not_for_at(),
        window(),
        cron(),
        of_another_cron(
            "@every is not a time of the calendar; use spec.interval, for example interval: 90m",
            &["@every 90m", "@every", " @Every 1h30m\n"],
        ),
        of_another_cron(
            "@reboot has no meaning in a cluster, which does not start; create a Job instead",
            &["@reboot", " @REBOOT"],
        ),
        of_another_cron(
            "the zone belongs into spec.timeZone, for example timeZone: Asia/Tokyo",
            &["TZ=Asia/Tokyo 0 5 * * *", "CRON_TZ=UTC 0 9 * * *"],
        ),
        interval(),
        zone(),
        values(),
    ]
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

fn dst_for_cron() -> Rule {
    Rule {
        kind: "Schedule",
        path: "spec",
        message: "dst applies to cron only: interval is elapsed time, and at is one instant",
        accepted: vec![
            with(json!({ "cron": "0 9 * * *", "dst": { "gap": "Skip", "overlap": "Both" } })),
            with(json!({ "cron": "0 9 * * *", "timeZone": "Europe/London", "dst": { "overlap": "Last" } })),
        ],
        rejected: vec![
            with(json!({ "interval": "1h", "dst": { "gap": "Skip" } })),
            with(json!({ "at": "2027-01-01T06:00:00Z", "dst": {} })),
        ],
    }
}

fn anchor_for_interval() -> Rule {
    Rule {
        kind: "Schedule",
        path: "spec",
        message: "anchor applies to interval only: it is where the interval is counted from",
        accepted: vec![with(json!({ "interval": "6h", "anchor": "2027-01-01T06:00:00+02:00" }))],
        rejected: vec![
            with(json!({ "cron": "0 9 * * *", "anchor": "2027-01-01T06:00:00Z" })),
            with(json!({ "at": "2027-01-01T06:00:00Z", "anchor": "2027-01-01T06:00:00Z" })),
        ],
    }
}

fn jitter_not_for_at() -> Rule {
    Rule {
        kind: "Schedule",
        path: "spec",
        message: "jitterSeconds does not apply to at, which is one instant",
        accepted: vec![
            with(json!({ "cron": "0 9 * * *", "jitterSeconds": 600 })),
            with(json!({ "interval": "1h", "jitterSeconds": 0 })),
            with(json!({ "interval": "1h", "jitterSeconds": 86400 })),
        ],
        rejected: vec![with(json!({ "at": "2027-01-01T06:00:00Z", "jitterSeconds": 60 }))],
    }
}

fn window_not_for_at() -> Rule {
    Rule {
        kind: "Schedule",
        path: "spec",
        message: "startTime and endTime do not apply to at, which is one instant",
        accepted: vec![
            with(json!({ "cron": "0 9 * * *", "startTime": "2027-01-01T06:00:00Z" })),
            with(json!({ "interval": "1h", "endTime": "2027-01-01T06:00:00Z" })),
        ],
        rejected: vec![
            with(json!({ "at": "2027-01-01T06:00:00Z", "startTime": "2026-01-01T06:00:00Z" })),
            with(json!({ "at": "2027-01-01T06:00:00Z", "endTime": "2028-01-01T06:00:00Z" })),
        ],
    }
}

fn window() -> Rule {
    let between = |start: &str, end: &str| with(json!({ "cron": "0 9 * * *", "startTime": start, "endTime": end }));
    Rule {
        kind: "Schedule",
        path: "spec",
        message: "endTime must be after startTime",
        accepted: vec![
            between("2027-01-01T06:00:00Z", "2027-01-01T06:00:01Z"),
            between("2027-01-01T06:00:00+02:00", "2027-01-01T05:00:00Z"),
        ],
        rejected: vec![
            between("2027-01-01T06:00:00Z", "2027-01-01T06:00:00Z"),
            between("2027-01-01T06:00:00Z", "2027-01-01T07:00:00+02:00"),
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
            "0 0 9 * * 1",
            "*/6,1-2 0 9 * * *",
            "0 0 L * *",
            "0 0 L-3,LW * *",
            "0 0 1W,15w,31W * *",
            "0 0 * * 5#2,friL",
            "0 0 * * 7L",
            "H H * * *",
            "H H H H H",
            "H/15 h(1-5) H/3 * H(1-5)",
            "H(0-29)/10 0 * * *",
            "@daily",
            "@Hourly",
            " @annually ",
            "0 9 * * *\n",
            "\r\n 0 9\n* * * \n",
        ]),
        rejected: cases(&[
            "",
            "* * * *",
            "0 0 9 * * 1 2027",
            "60 * * * *",
            "* 24 * * *",
            "0 0 32 * *",
            "0 0 0 * *",
            "0 0 1 13 *",
            "0 0 1 0 *",
            "0 0 * * 8",
            "@daily 5",
            "a b c d e",
            "*/0 * * * *",
            "-5 * * * *",
            "1- * * * *",
            "1,,2 * * * *",
            "*,5 * * * *",
            "0 9 * * MONDAY",
            "0 9 * FOO *",
            "L 9 * * *",
            "0 9 L-31 * *",
            "0 9 L-0 * *",
            "0 9 LL * *",
            "0 9 W * *",
            "0 9 32W * *",
            "0 9 * * L",
            "0 9 * * 5#6",
            "0 9 * * 5#",
            "0 9 * * 8L",
            "0 9 1 * +5",
            "H() 9 * * *",
            "H(0-60) 9 * * *",
            "H5 9 * * *",
            "HH 9 * * *",
        ]),
    }
}

/// What other readers of cron know has a sentence of its own.
fn of_another_cron(message: &'static str, rejected: &[&str]) -> Rule {
    let cases = |texts: &[&str]| texts.iter().map(|text| with(json!({ "cron": text }))).collect();
    Rule {
        kind: "Schedule",
        path: "spec.cron",
        message,
        accepted: cases(&["0 5 * * *", "@daily"]),
        rejected: cases(rejected),
    }
}

fn interval() -> Rule {
    let cases = |texts: &[&str]| texts.iter().map(|text| with(json!({ "interval": text }))).collect();
    Rule {
        kind: "Schedule",
        path: "spec.interval",
        message: INTERVAL,
        accepted: cases(&["1s", "90s", "15m", "24h", "1h30m", "1h30m15s", "999999h999999m99999999s", " 1h\n", "0h10s"]),
        rejected: cases(&["", " ", "0s", "0h0m0s", "1.5h", "5", "500ms", "1d", "30m1h", "-1h", "1h 30m", "PT1H"]),
    }
}

fn zone() -> Rule {
    let cases =
        |names: &[&str]| names.iter().map(|name| with(json!({ "cron": "0 9 * * *", "timeZone": name }))).collect();
    Rule {
        kind: "Schedule",
        path: "spec.timeZone",
        message: "timeZone must be an IANA name such as Europe/London or UTC",
        accepted: cases(&["UTC", "Europe/London", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "GMT0", " UTC\n"]),
        rejected: cases(&[
            "",
            "Local",
            "Europe/",
            "/Europe",
            "Europe//London",
            "+01:00",
            "../etc/passwd",
            "Factory",
            "factory\n",
            "localtime",
            "posixrules",
            "Zone One",
        ]),
    }
}

fn values() -> Rule {
    let with = |count: usize| {
        let params = super::job::params(count, &"a".repeat(8_192));
        Case::created(json!({ "spec": { "templateRef": { "name": "report" }, "interval": "1h", "params": params } }))
    };
    Rule {
        kind: "Schedule",
        path: "spec.params",
        message: "the values must not take more than 262144 bytes together: a pod gets them as an annotation",
        accepted: vec![with(32)],
        rejected: vec![with(33)],
    }
}
