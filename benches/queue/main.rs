//! How long it takes to decide who is next, with a thousand and with a million Jobs waiting: at most five microseconds for
//! one that ends and one that starts in its place, is the goal of the design.
//!
//! Each line is the mean of the fastest of several rounds, which is what the code takes on a machine that also does other
//! things.

// The lint's own exception for tests covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rota::api::Position;
use rota::domain::queue::{Candidate, Limit, Line, Offer, Rank, Settings};

/// How long one decision may take.
const DECISION_MAX: Duration = Duration::from_micros(5);
/// How many decisions a round has.
const DECISIONS: usize = 2_000;
/// How many rounds there are.
const ROUNDS: usize = 15;
/// How many run at once.
const RUNNING: u32 = 100;

/// How the Jobs that wait are spread.
struct Shape {
    name: &'static str,
    namespaces: usize,
    /// How many templates each namespace has, and how many of each may run.
    templates: usize,
    per_template: Option<u32>,
    ceiling: Option<u32>,
}

const SHAPES: [Shape; 5] = [
    Shape { name: "one queue", namespaces: 1, templates: 1, per_template: None, ceiling: None },
    Shape { name: "ten templates with limits", namespaces: 1, templates: 10, per_template: Some(5), ceiling: None },
    Shape {
        name: "10,000 templates, one of each",
        namespaces: 1,
        templates: 10_000,
        per_template: Some(1),
        ceiling: None,
    },
    Shape { name: "a hundred namespaces", namespaces: 100, templates: 1, per_template: None, ceiling: None },
    Shape {
        name: "the same, sharing a limit",
        namespaces: 100,
        templates: 1,
        per_template: None,
        ceiling: Some(RUNNING),
    },
];

fn offer(shape: &Shape, number: usize, now: Timestamp) -> Offer {
    let name: std::sync::Arc<str> = format!("job-{number:07}").into();
    // Neighbours differ in everything, so that nothing is in order by chance.
    let mixed = number.wrapping_mul(2_654_435_761) % 1_000_003;
    let queued_at = Timestamp::from_microsecond(now.as_microsecond() - i64::try_from(mixed).unwrap()).unwrap();
    let rank = Rank {
        priority: Reverse(i32::try_from(mixed % 5).unwrap()),
        position: Position::at(queued_at),
        place: 0,
        queued_at,
        name: name.clone(),
    };
    let template = template((number / shape.namespaces) % shape.templates);
    Offer {
        namespace: format!("namespace-{}", number % shape.namespaces).into(),
        candidate: Candidate {
            rank,
            uid: format!("uid-{name}").into(),
            attempt: 1,
            queue: "default".into(),
            limits: [template, Limit::Namespace].into(),
        },
        accepted: true,
        asks_for: None,
    }
}

fn template(number: usize) -> Limit {
    Limit::Template(format!("template-{number}"))
}

/// The mean time of a decision in the fastest round.
fn measure(shape: &Shape, waiting: usize) -> Duration {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let mut line = Line::new(shape.ceiling, 200);
    let max = RUNNING / u32::try_from(shape.namespaces).unwrap();
    for namespace in 0..shape.namespaces {
        let max_running = shape.ceiling.is_none().then_some(max);
        line.set_queue(
            &format!("namespace-{namespace}"),
            "default",
            Some(Settings { max_running, ..Settings::default() }),
        );
    }
    for number in 0..shape.templates {
        line.set_max("namespace-0", &template(number), shape.per_template);
    }
    (0..waiting).for_each(|number| line.offer(offer(shape, number, now), now));
    let mut running: VecDeque<std::sync::Arc<str>> = VecDeque::new();
    let mut next = waiting;
    let mut fastest = Duration::MAX;
    for _ in 0..=ROUNDS {
        // What ended is replaced, so that as many wait in each round.
        let mut took = Duration::ZERO;
        for _ in 0..DECISIONS {
            let ended = running.pop_front();
            let begin = Instant::now();
            if let Some(ended) = &ended {
                line.release(ended);
            }
            let round = line.admit(now);
            took += begin.elapsed();
            for (_, candidate) in round.admitted {
                line.confirm(&candidate.uid);
                line.launched(&candidate.uid);
                running.push_back(candidate.uid);
                line.offer(offer(shape, next, now), now);
                next += 1;
            }
        }
        fastest = fastest.min(took / u32::try_from(DECISIONS).unwrap());
    }
    assert!(running.len() <= RUNNING as usize, "{} run", running.len());
    fastest
}

fn main() {
    println!("{:<32} {:>12} {:>12}", "decision", "1,000 wait", "1,000,000");
    for shape in &SHAPES {
        let [few, many] = [1_000, 1_000_000].map(|waiting| measure(shape, waiting));
        println!("{:<32} {:>12} {:>12}", shape.name, format!("{few:.2?}"), format!("{many:.2?}"));
    }
    println!("\nThe goal is {DECISION_MAX:?} with a million waiting.");
}
