//! The result: as JSON for programs, as a table for people.

use std::fmt::Write;

use serde::Serialize;

use crate::cluster::Setting;
use crate::phases::{Measured, Series};

/// Everything that was measured.
#[derive(Serialize)]
pub struct Report {
    pub binary_bytes: u64,
    pub seconds: f64,
    pub measured: Vec<Measured>,
}

const MEBIBYTE: f64 = 1_048_576.0;

/// The whole result for people.
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    launches(&mut text, report);
    waiting(&mut text, report);
    costs(&mut text, report);
    goals(&mut text, report);
    let _ = writeln!(text, "\nThe run took {:.0} s. Times vary by machine; ratios are what counts.", report.seconds);
    text
}

fn all(report: &Report) -> impl Iterator<Item = (&Measured, &Series)> {
    report.measured.iter().flat_map(|measured| measured.series.iter().map(move |series| (measured, series)))
}

/// The series of the other system under the same conditions.
fn counterpart<'a>(measured: &'a Measured, series: &Series) -> Option<&'a Series> {
    measured.series.iter().find(|other| other.due == series.due && other.system != series.system)
}

fn launches(text: &mut String, report: &Report) {
    let _ =
        writeln!(text, "\nFrom the instant at which schedules are due until their batch Jobs are accepted, in ms:\n");
    let _ = writeln!(
        text,
        "{:<8} {:>5} {:<8} {:>8} {:>8} {:>8} {:>8}   Rota/CronJob (p50, last)",
        "limits", "due", "system", "first", "p50", "p99", "last"
    );
    for (measured, series) in all(report) {
        let times = &series.accepted_ms;
        let ratio = match counterpart(measured, series) {
            Some(other) if series.system == "rota" => {
                format!("{:.3}, {:.3}", times.p50 / other.accepted_ms.p50, times.last / other.accepted_ms.last)
            }
            _ => String::new(),
        };
        let repeated = if series.due == 1 { format!("  ({} times)", times.count) } else { String::new() };
        let _ = writeln!(
            text,
            "{:<8} {:>5} {:<8} {:>8.1} {:>8.1} {:>8.1} {:>8.1}   {ratio}{repeated}",
            measured.setting.as_str(),
            series.due,
            series.system,
            times.first,
            times.p50,
            times.p99,
            times.last,
        );
    }
}

/// What became of Jobs that waited.
fn waiting(text: &mut String, report: &Report) {
    for measured in report.measured.iter().filter(|measured| !measured.drains.is_empty()) {
        let _ = writeln!(
            text,
            "\nFrom the request that lets waiting Jobs go until their batch Jobs are accepted, in ms:\n"
        );
        let _ = writeln!(
            text,
            "{:>6} {:>10} {:>8} {:>8} {:>8} {:>8} {:>10}   writes a launch until the last",
            "Jobs", "namespaces", "first", "p50", "p99", "last", "launches/s"
        );
        for drain in &measured.drains {
            let times = &drain.accepted_ms;
            let writes: Vec<String> =
                drain.writes_until_last.iter().map(|(request, count)| format!("{count:.3} {request}")).collect();
            let _ = writeln!(
                text,
                "{:>6} {:>10} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>10.0}   {}",
                drain.jobs,
                drain.namespaces,
                times.first,
                times.p50,
                times.p99,
                times.last,
                drain.launches_per_second,
                writes.join(", ")
            );
        }
    }
}

fn costs(text: &mut String, report: &Report) {
    let _ = writeln!(text, "\nRequests for each completed run, leader election left out:\n");
    for (measured, series) in all(report) {
        let Some(cost) = &series.cost else { continue };
        let _ = writeln!(
            text,
            "{:<8} {:>5} {:<8} {:>5.2} writes + {:.2} events; {} reads in all",
            measured.setting.as_str(),
            series.due,
            series.system,
            cost.writes_per_run,
            cost.events_per_run,
            cost.reads.values().sum::<usize>(),
        );
        for (request, count) in &cost.writes {
            let _ = writeln!(text, "{:>32.3} {request}", count);
        }
        for (request, count) in &cost.reads {
            let _ = writeln!(text, "{count:>32} {request} in all");
        }
    }
}

fn goals(text: &mut String, report: &Report) {
    let _ = writeln!(text, "\nGoals of the design:\n");
    for measured in &report.measured {
        let _ = writeln!(
            text,
            "{} limits: the API server takes {:.0} creates/s from {} writers (W; {:.0} in 100 namespaces), and {:.1} ms for one at a time (p50)",
            measured.setting.as_str(),
            measured.ceiling.creates_per_second,
            measured.ceiling.writers,
            measured.ceiling.creates_per_second_in_many,
            measured.ceiling.serial_create_ms.p50,
        );
        for series in measured.series.iter().filter(|series| series.system == "rota") {
            series_goals(text, measured, series);
        }
        waiting_goals(text, measured);
        let _ = writeln!(
            text,
            "  P12 start-up to ready {:.0} ms (p50 of {}, with all objects; goal 300)",
            measured.start_up_ms.p50, measured.start_up_ms.count
        );
        let _ = writeln!(
            text,
            "      memory {:.1} MiB, at its peak {:.1} MiB",
            measured.memory_bytes.now as f64 / MEBIBYTE,
            measured.memory_bytes.peak as f64 / MEBIBYTE
        );
    }
    let _ =
        writeln!(text, "P12 binary, which is the whole image: {:.1} MB (goal 20)", report.binary_bytes as f64 / 1e6);
}

fn waiting_goals(text: &mut String, measured: &Measured) {
    for drain in &measured.drains {
        let rate = drain.launches_per_second;
        // The status of the Queue and the batch Job: what a launch needs.
        let needed: f64 = drain
            .writes_until_last
            .iter()
            .filter(|(request, _)| ["create jobs.batch", "patch queues.rota.dev/status"].contains(&request.as_str()))
            .map(|(_, count)| count)
            .sum();
        let ceiling = &measured.ceiling;
        let most = if drain.namespaces > 1 { ceiling.creates_per_second_in_many } else { ceiling.creates_per_second };
        let of_ceiling = rate * needed / most;
        let alone = measured.drains.iter().find(|other| other.jobs == drain.jobs && other.namespaces == 1);
        let alone = alone.filter(|_| drain.namespaces > 1).map_or_else(String::new, |alone| {
            format!("; {:.2} of the time in one namespace (goal 1.1)", drain.accepted_ms.last / alone.accepted_ms.last)
        });
        let _ = writeln!(
            text,
            "  P3  {} waiting Jobs in {}: {rate:.0} launches/s = {of_ceiling:.2} of W / {needed:.3} writes before launch (goal 0.8){alone}; {:.2} writes a run, {} reads",
            drain.jobs,
            drain.namespaces,
            drain.cost.writes_per_run,
            drain.cost.reads.values().sum::<usize>(),
        );
    }
    if let Some(kueue) = &measured.kueue {
        let alone = measured.drains.iter().find(|drain| drain.jobs == kueue.jobs && drain.namespaces == 1);
        let ratio = alone.map_or_else(String::new, |drain| {
            format!("; Rota {:.1} times that (goal 4)", drain.launches_per_second / kueue.launches_per_second)
        });
        let _ = writeln!(
            text,
            "      Kueue, {} waiting batch Jobs, its client limits lifted: {:.0} launches/s, {:.2} writes each, last after {:.0} ms{ratio}",
            kueue.jobs, kueue.launches_per_second, kueue.writes_per_job, kueue.accepted_ms.last
        );
    }
    if let Some(slots) = &measured.slots {
        let times = &slots.refilled_ms;
        let _ = writeln!(
            text,
            "  P13 a free place is taken after p50 {:.1} ms (goal 20), p99 {:.1} ms (goal 100), last {:.1} ms; {} of {} out of order (goal 0)",
            times.p50, times.p99, times.last, slots.out_of_order, times.count
        );
    }
    if let Some(flood) = &measured.flood {
        let _ = writeln!(
            text,
            "      a tenant's Job is launched after p50 {:.1} ms, p99 {:.1} ms alone; beside {} of another's p50 {:.1} ms, p99 {:.1} ms (its create {:.1} and {:.1} ms)",
            flood.alone_ms.p50,
            flood.alone_ms.p99,
            flood.jobs,
            flood.beside_ms.p50,
            flood.beside_ms.p99,
            flood.create_alone_ms.p50,
            flood.create_beside_ms.p50,
        );
    }
}

fn series_goals(text: &mut String, measured: &Measured, series: &Series) {
    let times = &series.accepted_ms;
    let Some(other) = counterpart(measured, series) else { return };
    if series.due == 1 {
        let serial = times.p50 / measured.ceiling.serial_create_ms.p50;
        let ratio = times.p50 / other.accepted_ms.p50;
        let _ = writeln!(
            text,
            "  P1  one schedule: p50 {:.1} ms = {serial:.1} serial creates (goal 3), p99 {:.1} ms (goal 30), {ratio:.3} of CronJob's p50 (goal 0.1)",
            times.p50, times.p99
        );
        return;
    }
    let goal = if measured.setting == Setting::Lifted { " (goal 0.7)" } else { "" };
    let rate = series.due as f64 / (times.last / 1000.0);
    let _ = writeln!(
        text,
        "  P2  {} at once: last after {:.0} ms, {:.3} of CronJob's{goal}; {rate:.0} launches/s = {:.2} of W",
        series.due,
        times.last,
        times.last / other.accepted_ms.last,
        rate / measured.ceiling.creates_per_second,
    );
    if let Some(cost) = &series.cost {
        let _ = writeln!(
            text,
            "  P4  {:.2} writes a run (goal 7, stretch 5), {} reads (goal 0)",
            cost.writes_per_run,
            cost.reads.values().sum::<usize>()
        );
    }
}
