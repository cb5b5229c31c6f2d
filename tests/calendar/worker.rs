//! Another reader, as a process that is asked in lines.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Once;
use std::thread;

static PYTHON_MADE: Once = Once::new();

/// A running process. It ends with its input.
pub struct Worker {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// The Go program, built into the target directory. It reads the zones that Python has installed.
    pub fn robfig() -> Self {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("robfig");
        let mut build = Command::new("go");
        build.current_dir(here().join("robfig")).env("CGO_ENABLED", "0");
        run(build.args(["build", "-o"]).arg(&program).arg("."), "Go builds the program that asks robfig/cron");
        Self::start(Command::new(program).env("ZONEINFO", zones()))
    }

    /// The Python program, in an environment in the target directory.
    pub fn cronsim() -> Self {
        let zones = zones();
        assert!(zones.is_dir(), "{} has the zones", zones.display());
        // The system's zones may be years old.
        Self::start(Command::new(python()).arg(here().join("cronsim/main.py")).env("PYTHONTZPATH", ""))
    }

    fn start(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, input, output }
    }

    /// Asks all lines and returns the answers, one for each.
    pub fn ask(&mut self, lines: Vec<String>) -> Vec<String> {
        let mut input = self.input.take().expect("the worker runs");
        let count = lines.len();
        let writer = thread::spawn(move || {
            // A batch ends with an empty line.
            input.write_all((lines.join("\n") + "\n\n").as_bytes()).and_then(|()| input.flush()).map(|()| input)
        });
        let mut answers = Vec::with_capacity(count);
        for _ in 0..count {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the worker ended");
            answers.push(line.trim_end().to_owned());
        }
        self.input = Some(writer.join().unwrap().unwrap());
        answers
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.process.wait();
    }
}

/// The release of the zones that the workers read.
pub fn zone_release() -> String {
    let version = std::fs::read_to_string(zones().parent().unwrap().join("__init__.py")).unwrap();
    let line = version.lines().find_map(|line| line.strip_prefix("IANA_VERSION = ")).unwrap();
    line.trim_matches('"').to_owned()
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/calendar")
}

/// The interpreter with what the worker needs, installed once by name, version and hash.
fn python() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cronsim");
    let interpreter = home.join("bin/python");
    PYTHON_MADE.call_once(|| {
        let requirements = here().join("cronsim/requirements.txt");
        let wanted = std::fs::read(&requirements).unwrap();
        let installed = home.join("requirements.txt");
        if std::fs::read(&installed).is_ok_and(|found| found == wanted) {
            return;
        }
        let why = "Python makes an environment (on Debian, python3-venv is needed)";
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home), why);
        let mut install = Command::new(&interpreter);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"]);
        run(install.arg(&requirements), "pip installs cronsim");
        std::fs::write(installed, wanted).unwrap();
    });
    interpreter
}

fn zones() -> PathBuf {
    let code = "import os, tzdata; print(os.path.join(os.path.dirname(tzdata.__file__), 'zoneinfo'))";
    let output = Command::new(python()).args(["-c", code]).output().unwrap();
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn run(command: &mut Command, what: &str) {
    let status = command.status();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "{what}: {command:?}: {status:?}");
}
