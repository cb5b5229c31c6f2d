//! Tables compared literally.

use clap::Parser;
use kube::core::ObjectMeta;
use serde_json::json;

use super::*;
use crate::cli::plugin::{self, Verb};

const UID: &str = "6f8c8c2e-0f4a-4f0e-9a58-5a7d0c6a2f11";

fn now() -> Timestamp {
    "2027-03-26T12:00:00.25Z".parse().unwrap()
}

/// The arguments of a line, in which what is between quotes is one of them.
fn parse(line: &str) -> Result<Arguments, clap::Error> {
    let words = line.split('\'').enumerate().flat_map(|(index, part)| {
        if index % 2 == 1 { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() }
    });
    let line = ["kubectl-rota".to_owned(), "next".to_owned()].into_iter().chain(words);
    let Verb::Next(arguments) = plugin::Arguments::try_parse_from(line)?.verb else { panic!("another verb") };
    Ok(*arguments)
}

fn answer(line: &str) -> Answer {
    offline(&parse(line).unwrap(), now()).unwrap()
}

fn error(line: &str) -> String {
    let error = offline(&parse(line).unwrap(), now()).unwrap_err();
    assert_eq!(error.exit_code(), plugin::USAGE);
    error.to_string()
}

#[test]
fn a_time_that_the_clock_jumps_over_is_shown_where_it_runs() {
    let expected = "\
#   LOCAL TIME                       UTC                    IN      DAYLIGHT SAVING
1   Sat 2027-03-27 01:30:00 +00:00   2027-03-27T01:30:00Z   13h
2   Sun 2027-03-28 02:00:00 +01:00   2027-03-28T01:00:00Z   1d12h   clock jumps over 01:30: runs at 02:00
3   Mon 2027-03-29 01:30:00 +01:00   2027-03-29T00:30:00Z   2d12h
";
    let found = answer("--cron '30 1 * * *' --zone Europe/London --count 3");
    assert_eq!(found, Answer { output: expected.into(), ..Answer::default() });
}

#[test]
fn a_time_that_the_clock_jumps_over_and_that_does_not_run_is_shown_without_a_number() {
    let expected = "\
#   LOCAL TIME                       UTC                    IN      DAYLIGHT SAVING
1   Sat 2027-03-27 01:30:00 +00:00   2027-03-27T01:30:00Z   13h
-   Sun 2027-03-28 01:30:00 -        -                      -       clock jumps over 01:30: does not run
2   Mon 2027-03-29 01:30:00 +01:00   2027-03-29T00:30:00Z   2d12h
";
    assert_eq!(answer("--cron '30 1 * * *' --zone Europe/London --dst-gap skip --count 2").output, expected);
}

#[test]
fn what_is_jumped_over_before_start_time_or_after_the_last_time_is_not_shown() {
    let line = "--cron '30 1 * * *' --zone Europe/London --dst-gap skip --count 1 --start-time 2027-03-29";
    assert!(!answer(line).output.contains("jumps"));
    assert!(!answer("--cron '30 1 * * *' --zone Europe/London --dst-gap skip --count 1").output.contains("jumps"));
}

#[test]
fn a_time_that_comes_twice_says_which_pass_it_is() {
    let both = "\
#   LOCAL TIME                       UTC                    IN     DAYLIGHT SAVING
1   Sun 2027-10-31 01:30:00 +01:00   2027-10-31T00:30:00Z   218d   first pass of 01:30
2   Sun 2027-10-31 01:30:00 +00:00   2027-10-31T01:30:00Z   218d   second pass of 01:30
";
    let line = "--cron '30 1 * * *' --zone Europe/London --from 2027-10-31T00:00 --count 2 --dst-overlap";
    assert_eq!(answer(&format!("{line} both")).output, both);
    let last = "\
#   LOCAL TIME                       UTC                    IN     DAYLIGHT SAVING
1   Sun 2027-10-31 01:30:00 +00:00   2027-10-31T01:30:00Z   218d   second pass of 01:30
2   Mon 2027-11-01 01:30:00 +00:00   2027-11-01T01:30:00Z   219d
";
    assert_eq!(answer(&format!("{line} last")).output, last);
}

#[test]
fn json_is_an_array_of_times_with_their_offset_and_nothing_else() {
    let found = answer("--cron '30 1 * * *' --zone Europe/London --dst-gap skip --count 2 -o json");
    assert_eq!(found.output, "[\n  \"2027-03-27T01:30:00+00:00\",\n  \"2027-03-29T01:30:00+01:00\"\n]\n");
    assert_eq!(answer("--at 2020-01-01T00:00:00Z -o json").output, "[]\n");
}

#[test]
fn an_interval_is_counted_from_now_or_from_its_anchor_and_shown_in_the_zone() {
    let expected = "\
#   LOCAL TIME                       UTC                    IN
1   Fri 2027-03-26 19:00:00 +05:30   2027-03-26T13:30:00Z   1h29m
";
    assert_eq!(answer("--interval 1h30m --zone Asia/Kolkata --count 1").output, expected);
    let anchored = answer("--interval 1h --anchor 2027-03-26T00:15 --from 2027-03-26T13:15 --count 1 -o json");
    assert_eq!(anchored.output, "[\n  \"2027-03-26T13:15:00Z\"\n]\n", "the time that is asked from is shown");
}

#[test]
fn jitter_is_shown_beside_the_time_and_a_run_that_is_put_off_past_now_is_still_to_come() {
    let line = format!("--cron '0 12 * * *' --jitter-seconds 3600 --seed {UID} --count 2");
    let found = answer(&line);
    let lines: Vec<&str> = found.output.lines().collect();
    assert_eq!(lines[0], "#   LOCAL TIME                       UTC                    JITTER   IN");
    assert!(
        lines[1].starts_with("1   Fri 2027-03-26 12:00:00 +00:00   2027-03-26T12:00:00Z   45m      4"),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].starts_with("2   Sat 2027-03-27 12:00:00 +00:00   2027-03-27T12:00:00Z   40m      1d"),
        "{}",
        lines[2]
    );
    assert_eq!(found.remarks, "");
}

#[test]
fn without_a_seed_it_is_said_that_h_and_jitter_differ() {
    assert!(answer("--cron 'H 3 * * *'").remarks.contains("--seed"));
    assert!(answer("--interval 1h --jitter-seconds 5").remarks.contains("--seed"));
    assert_eq!(answer("--cron '0 3 * MAR THU'").remarks, "");
}

#[test]
fn when_no_more_times_come_it_is_said() {
    let past = answer("--at 2020-01-01T00:00:00Z");
    assert_eq!((past.output.as_str(), past.remarks.as_str()), ("", "No time comes from now on.\n"));
    assert_eq!(past.exit_code, plugin::OK);
    let ended = answer("--cron '0 0 * * *' --end-time 2027-03-28 --count 5");
    assert_eq!((ended.output.lines().count(), ended.remarks.as_str()), (2, "No time comes after these.\n"));
    let late = answer("--cron '0 0 * * *' --from 8999-12-29T00:00:00Z");
    assert_eq!((late.output.lines().count(), late.remarks.as_str()), (4, "No time comes after these.\n"));
}

#[test]
fn an_error_names_the_flag_and_says_what_is_wrong_with_it() {
    for (line, message) in [
        ("--cron '0 0 30 2 *'", "--cron: never matches: no month of \"0 0 30 2 *\" has such a day"),
        ("--cron '* 25 * * *'", "--cron: hour \"25\": 25 is not a number from 0 to 23"),
        (
            "--cron '0 0 * * *' --zone Europe/Lodon",
            "--zone: \"Europe/Lodon\" is not a time zone of the IANA database; did you mean Europe/London?",
        ),
        ("--interval 1x", "--interval: \"1x\" must be hours, minutes and seconds, for example 90s, 15m or 1h30m"),
        ("--interval 5m --dst-gap skip", "dst applies to cron only: interval is elapsed time, and at is one instant"),
        ("--cron '0 0 * * *' --start-time 2027-01-02 --end-time 2027-01-01", "--end-time: must be after startTime"),
    ] {
        let found = error(line);
        assert!(found.starts_with(message.split(": ").next().unwrap()), "{found}");
        if !line.contains("25") {
            assert_eq!(found, message);
        }
    }
    assert!(error("--cron '0 0 * * *' --from tomorrow").starts_with("--from: \"tomorrow\" is no time"));
    assert!(error("--cron '0 0 * * *' --from 9999-12-31T00:00:00Z").starts_with("--from: "));
}

#[test]
fn arguments_that_contradict_each_other_are_refused() {
    for line in [
        "",
        "--cron '0 0 * * *' --interval 5m",
        "nightly --cron '0 0 * * *'",
        "nightly --zone UTC",
        "nightly --count 0",
        "nightly --count 1000001",
        "nightly -n 'not a namespace'",
        "--cron '0 0 * * *' --jitter-seconds 86401",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
    assert_eq!(parse("nightly --count 1000000").unwrap().count, 1_000_000);
    assert_eq!(parse("nightly -n team-a").unwrap().place.namespace.as_deref(), Some("team-a"));
}

fn found(spec: serde_json::Value) -> Found {
    let mut schedule = Schedule::new("nightly", serde_json::from_value(spec).unwrap());
    schedule.metadata = ObjectMeta {
        namespace: Some("team-a".into()),
        uid: Some(UID.into()),
        creation_timestamp: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            "2027-03-01T00:00:07Z".parse().unwrap(),
        )),
        ..schedule.metadata
    };
    Found { schedule, template: None, queue: None }
}

#[test]
fn a_schedule_counts_its_interval_from_its_creation() {
    let found = found(json!({ "templateRef": { "name": "report" }, "interval": "1h" }));
    let answer = in_cluster(&found, &parse("nightly --count 1").unwrap(), now()).unwrap();
    let expected = "\
#   LOCAL TIME                       UTC                    IN
1   Fri 2027-03-26 12:00:07 +00:00   2027-03-26T12:00:07Z   6s
";
    assert_eq!((answer.output.as_str(), answer.remarks.as_str()), (expected, "Schedule team-a/nightly: every 1h\n"));
}

#[test]
fn what_keeps_a_schedule_from_running_is_said() {
    let mut found = found(json!({ "templateRef": { "name": "report" }, "cron": "0 0 * * *", "enabled": false }));
    found.template = Some(None);
    found.queue = serde_json::from_value(json!({
        "apiVersion": "rota.dev/v1alpha1", "kind": "Queue", "metadata": { "name": "default" },
        "spec": { "paused": { "reason": "upgrade", "until": "2027-04-01T00:00:00Z" } },
    }))
    .ok();
    let expected = [
        "It is disabled: none of these times fires unless it is enabled before.",
        "There is no JobTemplate \"report\": each of these times is recorded as Failed (TemplateNotFound) until there is.",
        "Queue \"default\" is paused until 2027-04-01T00:00:00Z (upgrade): Jobs are made at these times, and wait.",
    ];
    assert_eq!(standing(&found, now()), expected);
    let later = "2027-04-01T00:00:00Z".parse().unwrap();
    assert_eq!(standing(&found, later).len(), 2, "a pause ends by itself");
}

#[test]
fn a_schedule_whose_timing_cannot_be_read_names_the_field() {
    let found = found(json!({ "templateRef": { "name": "report" }, "cron": "0 0 30 2 *" }));
    let error = in_cluster(&found, &parse("nightly").unwrap(), now()).unwrap_err();
    assert!(error.to_string().starts_with("spec.cron: never matches"), "{error}");
}
