//! Running other programs, with errors that say which one failed and what it printed.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::error::{Error, Explain, Result};

/// Runs a program which must succeed.
///
/// # Errors
/// When it cannot be started, or ends with another status than 0: with what it printed.
pub fn run(command: &mut Command) -> Result<()> {
    output(command).map(|_| ())
}

/// Runs a program which must succeed, and returns what it printed to its standard output.
///
/// # Errors
/// As for [`run`].
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().explain(|| describe(command))?;
    check(command, &output)
}

/// Runs a program which must succeed, with this standard input.
///
/// # Errors
/// As for [`run`].
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Result<()> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().explain(|| describe(command))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A program which ends before it has read everything is judged by its status below.
        let _ = pipe.write_all(input);
    }
    let output = child.wait_with_output().explain(|| describe(command))?;
    check(command, &output).map(|_| ())
}

fn check(command: &Command, output: &Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("{} failed ({}): {}", describe(command), output.status, printed.trim())))
}

/// The command line, shortened to what a person can read.
fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let mut line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(200) {
        line.truncate(end);
        line.push('…');
    }
    format!("running \"{line}\"")
}

/// The path of a program: from `PATH`, or from where Debian keeps system programs, which a user's `PATH` may lack.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(Into::into))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_run_and_what_it_printed() {
        let error = run(Command::new("sh").args(["-c", "echo reason >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("sh -c") && error.contains("reason") && error.contains('3'), "{error}");
    }

    #[test]
    fn input_reaches_the_program() {
        run_with_input(Command::new("grep").arg("word"), b"a word\n").unwrap();
        assert!(run_with_input(Command::new("grep").arg("word"), b"nothing\n").is_err());
    }
}
