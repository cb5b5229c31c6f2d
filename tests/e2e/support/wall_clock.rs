//! A wall clock of a process's own, which the test sets while the process runs. The monotonic clock, by which the process
//! sleeps, goes on as it does: that is what a correction of the clock looks like, and with SIGSTOP a suspended machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::SignedDuration;

const HOW_TO_INSTALL: &str =
    "/usr/lib/*/faketime/libfaketimeMT.so.1 is not there: install the Debian package libfaketime";

/// A wall clock that differs from the machine's by as much as its file says.
pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// A clock that is kept in that file, and so far ahead of the machine's, or behind it.
    pub fn new(file: PathBuf, ahead: SignedDuration) -> Self {
        let clock = Self { file };
        clock.set(ahead);
        clock
    }

    /// Sets it. Whoever reads it reads the old time or the new one.
    pub fn set(&self, ahead: SignedDuration) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{:+}\n", ahead.as_secs())).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    /// Lets a program read it that is about to be started and is linked dynamically.
    pub fn wind(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
    }

    /// Removes what the library leaves of a process that was killed.
    pub fn clean_up_after(process: u32) {
        for name in ["faketime_shm_", "sem.faketime_sem_"] {
            let _ = std::fs::remove_file(format!("/dev/shm/{name}{process}"));
        }
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// The library that stands between a program and the clock, in the version for threads.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap();
    let places = folders.map(|folder| folder.unwrap().path().join("faketime/libfaketimeMT.so.1"));
    places.into_iter().find(|place| Path::exists(place)).unwrap_or_else(|| panic!("{HOW_TO_INSTALL}"))
}
