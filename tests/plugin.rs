//! `kubectl rota` as a program, without a cluster: what it prints where, and its exit codes.

// The lint's own exception for tests covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::process::{Command, Stdio};

/// Standard output, standard error and exit code.
type Printed = (String, String, Option<i32>);

/// Runs the plugin with this text on its standard input, and no cluster in reach.
fn rota(arguments: &[&str], input: &str) -> Printed {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-rota"));
    command
        .args(arguments)
        .env("KUBECONFIG", "/nonexistent")
        .env("HOME", "/nonexistent")
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // A program that refuses its arguments does not read what it is given.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
    (text(output.stdout), text(output.stderr), output.status.code())
}

const NEXT: [&str; 7] = ["next", "--cron", "30 1 * * *", "--zone", "Europe/London", "--from", "2027-03-27"];

#[test]
fn next_prints_times_and_nothing_else_as_json() {
    let (output, errors, code) = rota(&[&NEXT[..], &["--count", "3", "-o", "json"]].concat(), "");
    let expected =
        "[\n  \"2027-03-27T01:30:00+00:00\",\n  \"2027-03-28T02:00:00+01:00\",\n  \"2027-03-29T01:30:00+01:00\"\n]\n";
    assert_eq!((output.as_str(), errors.as_str(), code), (expected, "", Some(0)));
}

#[test]
fn next_flags_what_a_change_of_clocks_does() {
    let (output, errors, code) = rota(&NEXT, "");
    assert_eq!((errors.as_str(), code), ("", Some(0)));
    let line = output.lines().find(|line| line.contains("2027-03-28")).expect("the day is listed");
    assert!(line.ends_with("clock jumps over 01:30: runs at 02:00"), "{output}");
}

#[test]
fn next_ends_with_2_for_wrong_arguments_and_5_without_a_cluster() {
    for arguments in [
        &["next"][..],
        &["next", "--cron", "0 0 * * *", "--count", "0"],
        &["next", "nightly", "-n", "team a"],
        &["next", "--cron", "0 0 30 2 *"],
        &["next", "--cron", "0 0 * * *", "--zone", "Europe/Lodon"],
        &["next", "--cron", "0 0 * * *", "--from", "tomorrow"],
        &["nxt"],
        &[],
    ] {
        let (output, errors, code) = rota(arguments, "");
        assert_eq!((output.as_str(), code), ("", Some(2)), "{arguments:?}: {errors}");
        assert!(!errors.is_empty());
    }
    let (_, errors, code) = rota(&["next", "nightly"], "");
    assert_eq!(code, Some(5), "{errors}");
}

#[test]
fn help_tells_the_exit_codes() {
    for verb in ["run", "queue", "why", "move", "cancel", "pause", "resume", "tree", "next", "lint"] {
        let (output, _, code) = rota(&[verb, "--help"], "");
        assert_eq!(code, Some(0));
        assert!(output.contains("Exit codes: 0 "), "{output}");
    }
}

#[test]
fn verbs_end_with_2_for_wrong_arguments_and_5_without_a_cluster() {
    for arguments in [
        &["run"][..],
        &["run", "report", "-p", "region"],
        &["run", "report", "--follow", "-o", "json"],
        &["run", "report", "--wait", "--dry-run=server"],
        &["run", "report", "--at", "soon"],
        &["run", "report", "--timeout", "30m"],
        &["run", "report", "--wait", "--timeout", "soon"],
        &["run", "report", "--wait", "--cancel-on-timeout"],
        &["run", "pod/report"],
        &["why", "a", "--at", "2026-11-26T02:30:00Z"],
        &["why", "schedule/a", "--at", "02:30"],
        &["resume", "reports", "-p", "a.b=c"],
        &["resume", "group/a", "-p", "b=c"],
        &["run", "report", "--dry-run=client"],
        &["queue", "pod/reports"],
        &["why"],
        &["why", "group/a"],
        &["move", "a"],
        &["move", "a", "--to", "0"],
        &["move", "a", "--first", "--to", "1"],
        &["cancel"],
        &["pause", "reports"],
        &["pause", "--everything", "--whole-namespace", "--reason", "x"],
        &["resume", "reports", "--everything"],
        &["resume", "job/a"],
        &["tree", "job/"],
    ] {
        let (output, errors, code) = rota(arguments, "");
        assert_eq!((output.as_str(), code), ("", Some(2)), "{arguments:?}: {errors}");
        assert!(!errors.is_empty());
    }
    for arguments in [
        &["run", "report"][..],
        &["queue"],
        &["why", "a"],
        &["move", "a", "--first"],
        &["cancel", "a"],
        &["pause", "--reason", "x"],
        &["resume"],
        &["tree", "a"],
    ] {
        let (output, errors, code) = rota(arguments, "");
        assert_eq!((output.as_str(), code), ("", Some(5)), "{arguments:?}: {errors}");
    }
}

/// Runs a verb with a kubeconfig that names this server.
fn rota_at(server: &str, arguments: &[&str]) -> Printed {
    let file =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.yaml", server.replace([':', '/'], "-")));
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\nusers: [{{name: u, \
        user: {{token: t}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
    );
    std::fs::write(&file, text).unwrap();
    rota(&[&["--kubeconfig", file.to_str().unwrap()], arguments].concat(), "")
}

#[test]
fn a_cluster_that_does_not_answer_is_named_with_what_to_do() {
    // Nobody listens on a port that was just given back.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // This one takes connections and never says anything.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|address| (address, silent)).unwrap();
    for (server, why) in [
        (format!("http://{closed}"), "the connection was refused"),
        (format!("https://{closed}"), "the connection was refused"),
        (format!("http://{}", silent.0), "it did not answer in time"),
        (format!("https://{}", silent.0), "it did not answer in time"),
    ] {
        for verb in
            [&["why", "x"][..], &["queue"], &["lint", "-f", "examples", "--diff"], &["next", "x"], &["cancel", "x"]]
        {
            let (_, errors, code) = rota_at(&server, &[&["--request-timeout", "1"], verb].concat());
            let expected = format!("cannot reach the API server at {server}: {why}; check that the cluster runs");
            assert!(errors.contains(&expected), "{verb:?}: {errors}");
            assert_eq!(code, Some(5), "{verb:?}");
        }
    }
}

#[test]
fn without_a_kubeconfig_it_is_said_where_one_was_looked_for() {
    let (_, errors, code) = rota(&["why", "x"], "");
    assert!(
        errors.contains("$KUBECONFIG (/nonexistent) cannot be read") && errors.contains("--kubeconfig FILE"),
        "{errors}"
    );
    assert_eq!(code, Some(5));
}

#[test]
fn a_namespace_that_is_none_is_refused_before_anything_is_asked() {
    for arguments in [&["-n", "bad ns", "why", "x"][..], &["why", "x", "--namespace", "Team"], &["queue", "-n", ""]] {
        let (_, errors, code) = rota(arguments, "");
        assert!(errors.contains("lower-case letters, digits and -"), "{errors}");
        assert_eq!(code, Some(2), "{arguments:?}");
    }
}

#[test]
fn lint_finds_nothing_in_the_examples() {
    let (output, errors, code) = rota(&["lint", "-f", "examples"], "");
    assert_eq!((errors.as_str(), code), ("", Some(0)), "{output}");
    assert!(output.ends_with(" checked, 0 findings.\n"), "{output}");
    assert_eq!(rota(&["lint", "-f", "examples", "-o", "json"], "").0, "[]\n");
}

const WRONG: &str = "apiVersion: rota.dev/v1alpha1\nkind: Schedule\nmetadata: {name: nightly}\nspec: {templateRef: {name: report}, cron: \"0 0 30 2 *\"}\n";

#[test]
fn lint_reads_standard_input_and_ends_with_1_for_findings() {
    let (output, errors, code) = rota(&["lint", "-f", "-"], WRONG);
    let expected = "-: Schedule/nightly: spec.cron: never matches: no month of \"0 0 30 2 *\" has such a day\n1 object checked, 1 finding.\n";
    assert_eq!((output.as_str(), errors.as_str(), code), (expected, "", Some(1)));
}

#[test]
fn lint_ends_with_2_for_wrong_arguments_and_files_that_cannot_be_read() {
    for arguments in [
        &["lint"][..],
        &["lint", "-f", "nowhere.yaml"],
        &["lint", "-f", "src"],
        &["lint", "-f", "examples", "-o", "xml"],
    ] {
        let (output, errors, code) = rota(arguments, "");
        assert_eq!((output.as_str(), code), ("", Some(2)), "{arguments:?}: {errors}");
    }
    assert_eq!(rota(&["lint", "-f", "examples", "--diff"], "").2, Some(5), "there is no cluster");
}
