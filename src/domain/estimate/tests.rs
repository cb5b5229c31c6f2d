//! Tests of estimates.

use proptest::prelude::*;

use super::*;

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

fn history(runs: &[(&str, i64)]) -> History {
    History::of(runs.iter().map(|(template, took)| ((*template).to_owned(), seconds(*took))))
}

fn waiting(template: &str) -> Waiting {
    Waiting { template: Some(template.into()), blocked_by: None }
}

fn running(template: &str, since: i64) -> Running {
    Running { template: Some(template.into()), started_at: Some(second(since)) }
}

#[test]
fn the_range_is_from_the_tenth_to_the_ninetieth_percentile() {
    let runs: Vec<(&str, i64)> = (1..=20).map(|took| ("report", took)).collect();
    assert_eq!(history(&runs).range(Some("report")), Some((seconds(2), seconds(18))));
    assert_eq!(history(&[("report", 7)]).range(Some("report")), Some((seconds(7), seconds(7))));
    assert_eq!(history(&[("report", 7)]).range(Some("other")), None);
    assert_eq!(history(&[]).range(None), None);
}

#[test]
fn the_first_in_line_starts_when_the_first_place_becomes_free() {
    let known = history(&[("quick", 10), ("slow", 60)]);
    let running = [running("slow", 80), running("quick", 95)];
    let line = [waiting("quick"), waiting("quick"), waiting("slow")];
    let found = starts(Some(2), &running, &line, &known, second(100), second(100));
    let exactly = |at: i64| Estimate::Between(second(at), second(at));
    assert_eq!(found, [exactly(105), exactly(115), exactly(125)]);
}

#[test]
fn a_job_that_runs_longer_than_most_is_about_to_end_and_a_lowered_limit_is_waited_for() {
    let known = history(&[("quick", 10)]);
    let found = starts(Some(1), &[running("quick", 0)], &[waiting("quick")], &known, second(100), second(100));
    assert_eq!(found, [Estimate::Between(second(100), second(100))]);
    let two = [running("quick", 95), running("quick", 98)];
    let found = starts(Some(1), &two, &[waiting("quick")], &known, second(100), second(100));
    assert_eq!(found, [Estimate::Between(second(108), second(108))]);
}

#[test]
fn without_history_it_says_of_what() {
    let known = history(&[("quick", 10)]);
    let line = [waiting("new"), waiting("quick")];
    let found = starts(Some(1), &[], &line, &known, second(0), second(0));
    assert_eq!(found[0], Estimate::Between(second(0), second(0)), "the place is free");
    assert_eq!(found[1], Estimate::Unknown("no past run of template new tells how long it takes".into()));
    let found = starts(Some(2), &[running("new", 0)], &line[1..], &known, second(0), second(0));
    assert_eq!(found, [Estimate::Between(second(0), second(0))], "the other place is free");
}

#[test]
fn a_pause_with_an_end_puts_everything_off_until_then() {
    let known = history(&[("quick", 10)]);
    let line = [waiting("quick"), waiting("quick")];
    let found = starts(Some(1), &[], &line, &known, second(0), second(60));
    assert_eq!(found, [Estimate::Between(second(60), second(60)), Estimate::Between(second(70), second(70))]);
    let found = starts(None, &[], &line, &known, second(0), second(60));
    assert_eq!(found, vec![Estimate::Between(second(60), second(60)); 2], "no limit");
}

#[test]
fn one_that_waits_for_more_than_its_turn_may_be_overtaken() {
    let known = history(&[("quick", 10)]);
    let blocked = Waiting { template: Some("quick".into()), blocked_by: Some("TemplateLimit") };
    let found = starts(Some(1), &[], &[blocked, waiting("quick")], &known, second(0), second(0));
    assert_eq!(found[0], Estimate::Unknown("it waits for more than its turn (TemplateLimit)".into()));
    assert_eq!(found[1], Estimate::Between(second(0), second(10)));
}

/// The same question answered by counting: each Job starts at the first instant at which fewer than `max` run.
fn by_counting(max: usize, running_ends: &[i64], durations: &[i64]) -> Vec<i64> {
    let mut ends = running_ends.to_vec();
    let mut from = 0;
    durations
        .iter()
        .map(|took| {
            let start = (from..).find(|at| ends.iter().filter(|end| **end > *at).count() < max).unwrap();
            from = start;
            ends.push(start + took);
            start
        })
        .collect()
}

proptest! {
    #[test]
    fn it_agrees_with_counting_second_by_second(
        max in 1_u32..4,
        running_for in prop::collection::vec((1_i64..9, 1_i64..9), 0..6),
        line in prop::collection::vec(1_i64..9, 0..8),
    ) {
        let names: Vec<String> = (1..9).map(|took: i64| took.to_string()).collect();
        let known = History::of(names.iter().map(|name| (name.clone(), seconds(name.parse().unwrap()))));
        let now = 100;
        let running: Vec<Running> = running_for.iter().map(|(took, ran)| running(&took.to_string(), now - ran)).collect();
        let waiting: Vec<Waiting> = line.iter().map(|took| waiting(&took.to_string())).collect();
        let found = starts(Some(max), &running, &waiting, &known, second(now), second(now));
        let ends: Vec<i64> = running_for.iter().map(|(took, ran)| (took - ran).max(0)).collect();
        let expected: Vec<Estimate> = by_counting(max as usize, &ends, &line)
            .into_iter()
            .map(|at| Estimate::Between(second(now + at), second(now + at)))
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn ranges_are_in_order_and_nobody_in_line_starts_before_the_one_ahead(
        max in 1_u32..4,
        runs in prop::collection::vec((0_usize..3, 0_i64..50), 1..30),
        running_now in prop::collection::vec((0_usize..4, 0_i64..60), 0..5),
        line in prop::collection::vec(0_usize..4, 0..10),
    ) {
        let name = |index: usize| format!("template-{index}");
        let known = History::of(runs.iter().map(|(index, took)| (name(*index), seconds(*took))));
        let running: Vec<Running> = running_now.iter().map(|(index, ran)| running(&name(*index), 100 - ran)).collect();
        let waiting: Vec<Waiting> = line.iter().map(|index| waiting(&name(*index))).collect();
        let found = starts(Some(max), &running, &waiting, &known, second(100), second(100));
        let mut before = (second(0), second(0));
        let mut is_open = false;
        for estimate in found {
            match estimate {
                Estimate::Between(first, last) => {
                    prop_assert!(!is_open, "known behind one that is not");
                    prop_assert!(first <= last && before.0 <= first && before.1 <= last);
                    before = (first, last);
                }
                Estimate::Unknown(_) => is_open = true,
            }
        }
    }
}
