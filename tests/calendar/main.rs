//! The calendar against other readers of cron and of zones, on seeded random cases. Every difference is one of the named
//! rules here, which are explained in docs/time.md, or a bug.
//!
//! `ROTA_SEED` chooses the cases (it is printed; `clock` takes cases that nobody has tried), `ROTA_CALENDAR_SECONDS` how
//! long each comparison may take.

// The lint's own exception for tests covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cases;
mod cronsim;
mod documented;
mod replaced;
mod robfig;
mod worker;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rota::api::ScheduleSpec;
use rota::api::schedule::{DstGap, DstOverlap, DstPolicy};
use rota::domain::calendar::Timing;

use cases::Case;
use worker::Worker;

/// How long a comparison takes unless told otherwise, in seconds.
const SECONDS_DEFAULT: u64 = 20;
/// The seed unless another one is given.
const SEED_DEFAULT: u64 = 20_261_124;
/// How many cases are asked at once.
const BATCH: usize = 2_000;
/// How many times of each case are compared.
const TIMES: usize = 6;

/// How a case compares with another reader.
enum Verdict {
    /// The same times.
    Same,
    /// Other times, for the reason of that rule.
    Rule(&'static str),
    /// Other times, and no rule says why.
    Bug(String),
}

fn timing(expression: &str, zone: &str, gap: DstGap, overlap: DstOverlap) -> Result<Timing, String> {
    let spec = ScheduleSpec {
        cron: Some(expression.to_owned()),
        time_zone: Some(zone.to_owned()),
        dst: Some(DstPolicy { gap: Some(gap), overlap: Some(overlap) }),
        ..ScheduleSpec::default()
    };
    Timing::parse(&spec.timing(Timestamp::UNIX_EPOCH), "some-uid").map_err(|error| error.to_string())
}

/// The next times after that second, in seconds.
fn next(timing: &Timing, after: i64, count: usize) -> Vec<i64> {
    let mut at = Timestamp::from_second(after).unwrap();
    let mut times = Vec::new();
    while times.len() < count
        && let Some(time) = timing.next_after(at)
    {
        times.push(time.as_second());
        at = time;
    }
    times
}

/// The seed of the cases: the same in each run unless something else is asked for.
fn seed() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| match std::env::var("ROTA_SEED").as_deref() {
        Ok("clock") => rota::runtime::clock::now().as_microsecond().unsigned_abs(),
        Ok(text) => text.parse().expect("ROTA_SEED is a number or the word clock"),
        Err(_) => SEED_DEFAULT,
    });
    *SEED
}

fn budget() -> Duration {
    let given = std::env::var("ROTA_CALENDAR_SECONDS").ok();
    Duration::from_secs(given.map_or(SECONDS_DEFAULT, |text| text.parse().expect("ROTA_CALENDAR_SECONDS is a number")))
}

/// Compares until the time is up, and tells how often each rule explained a difference.
fn compare(name: &str, mut worker: Worker, mut case: impl FnMut() -> Case, judge: impl Fn(&Case, &Answer) -> Verdict) {
    let began = Instant::now();
    let mut compared = 0;
    let mut rules: BTreeMap<&str, u64> = BTreeMap::new();
    let mut bugs = Vec::new();
    while began.elapsed() < budget() && bugs.len() < 20 {
        let batch: Vec<Case> = (0..BATCH).map(|_| case()).collect();
        for (case, answer) in batch.iter().zip(worker.ask(batch.iter().map(Case::line).collect())) {
            let answer = Answer::read(&answer);
            compared += answer.as_ref().map_or(1, Vec::len);
            match judge(case, &answer) {
                Verdict::Same => {}
                Verdict::Rule(rule) => *rules.entry(rule).or_default() += 1,
                Verdict::Bug(why) => bugs.push(format!("{case:?}: {why}")),
            }
        }
    }
    println!("{name}: {compared} (pattern, zone, instant) with seed {} in {:?}: {rules:?}", seed(), began.elapsed());
    assert!(bugs.is_empty(), "{name}, seed {}:\n{}", seed(), bugs.join("\n"));
}

/// Times in seconds, or why there are none.
type Answer = Result<Vec<i64>, String>;

/// Reading the line of a worker.
trait Read: Sized {
    fn read(line: &str) -> Self;
}

impl Read for Answer {
    fn read(line: &str) -> Self {
        match line.strip_prefix("error") {
            Some(why) => Err(why.trim().to_owned()),
            None => Ok(line.split_whitespace().map(|time| time.parse().unwrap()).collect()),
        }
    }
}
