//! The tables of docs/time.md about the two Sundays, by asking.

use rota::api::schedule::{DstGap, DstOverlap};

use crate::cases::Case;
use crate::{Answer, Read, TIMES, Worker, next, timing};

const ZONE: &str = "Europe/Berlin";
const EXPRESSION: &str = "30 2 * * *";
/// The two Sundays from midnight to midnight, in seconds.
const SPRING: (i64, i64) = (1_806_188_400, 1_806_271_200);
const AUTUMN: (i64, i64) = (1_824_933_600, 1_825_023_600);

/// Those of the times that lie within a day, as the document writes them.
fn written(times: &[i64], (from, to): (i64, i64)) -> String {
    let berlin = timing(EXPRESSION, ZONE, DstGap::Skip, DstOverlap::First).unwrap();
    let within = times.iter().filter(|time| (from..to).contains(*time));
    let texts: Vec<String> = within.map(|time| berlin.local(jiff::Timestamp::from_second(*time).unwrap())).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

fn ours(gap: DstGap, overlap: DstOverlap, day: (i64, i64)) -> String {
    written(&next(&timing(EXPRESSION, ZONE, gap, overlap).unwrap(), day.0, TIMES), day)
}

fn theirs(worker: &mut Worker, day: (i64, i64)) -> String {
    let case = Case { expression: EXPRESSION.into(), zone: ZONE.into(), start: day.0 };
    written(&Answer::read(&worker.ask(vec![case.line()])[0]).unwrap(), day)
}

#[test]
fn the_document_says_what_fires_on_the_two_sundays() {
    let document = include_str!("../../docs/time.md");
    let mut rows = Vec::new();
    for (gap, note) in [(DstGap::RunAfter, " (default)"), (DstGap::Skip, "")] {
        rows.push(format!("| `{gap:?}`{note} | {} |", ours(gap, DstOverlap::First, SPRING)));
    }
    for (overlap, note) in [(DstOverlap::First, " (default)"), (DstOverlap::Last, ""), (DstOverlap::Both, "")] {
        rows.push(format!("| `{overlap:?}`{note} | {} |", ours(DstGap::RunAfter, overlap, AUTUMN)));
    }
    let mut cron = Worker::cronsim();
    let (spring, autumn) = (theirs(&mut cron, SPRING), theirs(&mut cron, AUTUMN));
    rows.push(format!("| cron(8) of Debian and cronie | {spring} | {autumn} |"));
    let mut kubernetes = Worker::robfig();
    let (spring, autumn) = (theirs(&mut kubernetes, SPRING), theirs(&mut kubernetes, AUTUMN));
    rows.push(format!("| Kubernetes CronJob | {spring} | {autumn} |"));
    for row in rows {
        assert!(document.contains(&row), "docs/time.md has no row {row}");
    }
}
