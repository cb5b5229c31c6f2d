//! Retry: what becomes of an attempt that failed, and how long the next one has to wait.
//!
//! Both depend on recorded facts only (reason and exit code of the record, the Job's uid, the number of the attempt), so
//! that an operator that is restarted decides the same again. This module must not look at what waits or runs.

use super::names;
use crate::api::Reason;
use crate::api::job_template::{Retry, RetryAction, RetryRule};

/// The delay before the second attempt unless something else is said, in seconds.
const INITIAL_SECONDS_DEFAULT: u32 = 10;
/// By how much each further delay is longer unless something else is said.
const FACTOR_DEFAULT: u32 = 2;
/// The longest delay unless something else is said, in seconds.
const MAXIMUM_SECONDS_DEFAULT: u32 = 3_600;

/// How an attempt failed, as its record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// The exit code that it ended with, if it got so far.
    pub exit_code: Option<i32>,
    /// Whether the batch Job itself says that this failure is final: by its podFailurePolicy, for one.
    pub is_final: bool,
}

/// What is to become of an attempt that failed: the first rule that fits decides. Without one it is retried, unless the batch
/// Job says itself that its failure is final, or that is pointless: what the API server refuses it refuses again, and who
/// deleted a batch Job by hand wants it gone.
pub fn action(retry: &Retry, failure: Failure) -> RetryAction {
    let Failure { reason, exit_code, .. } = failure;
    if is_final(reason) {
        return RetryAction::Fail;
    }
    match retry.rules.iter().find(|rule| fits(rule, reason, exit_code)) {
        Some(rule) => rule.action,
        None if failure.is_final => RetryAction::Fail,
        None if matches!(reason, Reason::LaunchRefused | Reason::BatchJobDeleted) => RetryAction::Fail,
        None => RetryAction::Retry,
    }
}

/// Whether no rule can say anything about an attempt that ended for that reason: somebody wanted the end of the Job, its
/// time is over, or there was nothing to run.
pub fn is_final(reason: Reason) -> bool {
    matches!(reason, Reason::Cancelled | Reason::Replaced | Reason::JobDeleted | Reason::TotalDeadlineExceeded)
        || reason.is_misconfiguration()
}

fn fits(rule: &RetryRule, reason: Reason, exit_code: Option<i32>) -> bool {
    let code = rule.exit_codes.is_empty() || exit_code.is_some_and(|code| rule.exit_codes.contains(&code));
    code && (rule.reasons.is_empty() || rule.reasons.contains(&reason))
}

/// How long after the end of that attempt of the Job the next one may start, in milliseconds.
pub fn delay_ms(retry: &Retry, job_uid: &str, attempt: u32) -> i64 {
    let backoff = retry.backoff.clone().unwrap_or_default();
    let initial = i64::from(backoff.initial_seconds.unwrap_or(INITIAL_SECONDS_DEFAULT));
    let factor = i64::from(backoff.factor.unwrap_or(FACTOR_DEFAULT));
    let maximum = i64::from(backoff.maximum_seconds.unwrap_or(MAXIMUM_SECONDS_DEFAULT));
    let grown = factor.checked_pow(attempt.saturating_sub(1)).unwrap_or(i64::MAX);
    let delay_ms = initial.saturating_mul(grown).min(maximum).saturating_mul(1_000);
    let longer_ms = delay_ms.saturating_mul(i64::from(backoff.jitter_percent.unwrap_or_default())) / 100;
    let steps = u64::try_from(longer_ms).unwrap_or_default().saturating_add(1);
    let jitter_ms = i64::try_from(names::number(&format!("{job_uid}/{attempt}")) % steps).unwrap_or_default();
    delay_ms.saturating_add(jitter_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(text: &str) -> Retry {
        serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    fn action(retry: &Retry, reason: Reason, exit_code: Option<i32>) -> RetryAction {
        super::action(retry, Failure { reason, exit_code, is_final: false })
    }

    #[test]
    fn what_the_batch_job_makes_final_is_retried_by_a_rule_only() {
        let rules =
            retry("{maxAttempts: 3, rules: [{exitCodes: [42], action: Retry}, {exitCodes: [77], action: Skip}]}");
        let found = [42, 77, 1].map(|code| {
            let failure = Failure { reason: Reason::ExitCode, exit_code: Some(code), is_final: true };
            super::action(&rules, failure)
        });
        assert_eq!(found, [RetryAction::Retry, RetryAction::Skip, RetryAction::Fail]);
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = retry(
            "
maxAttempts: 3
rules:
  - {exitCodes: [77], action: Skip}
  - {exitCodes: [2, 64], reasons: [ExitCode], action: Fail}
  - {reasons: [BatchJobDeleted], action: Retry}
  - {reasons: [PendingTimeout], action: Fail}
  - {exitCodes: [77], action: Fail}
",
        );
        let table = [
            (Reason::ExitCode, Some(77), RetryAction::Skip),
            (Reason::ExitCode, Some(2), RetryAction::Fail),
            (Reason::ExitCode, Some(64), RetryAction::Fail),
            (Reason::ExitCode, Some(1), RetryAction::Retry),
            // A container that is stopped at its timeout may end with any code.
            (Reason::DeadlineExceeded, Some(2), RetryAction::Retry),
            (Reason::DeadlineExceeded, Some(77), RetryAction::Skip),
            (Reason::PodLost, None, RetryAction::Retry),
            (Reason::BatchJobDeleted, None, RetryAction::Retry),
            (Reason::LaunchRefused, None, RetryAction::Fail),
            (Reason::PendingTimeout, None, RetryAction::Fail),
        ];
        for (reason, code, expected) in table {
            assert_eq!(action(&rules, reason, code), expected, "{reason:?} {code:?}");
        }
    }

    #[test]
    fn without_rules_all_is_retried_but_what_a_retry_cannot_help() {
        let none = retry("{maxAttempts: 3}");
        for reason in [Reason::ExitCode, Reason::DeadlineExceeded, Reason::PendingTimeout, Reason::PodLost] {
            assert_eq!(action(&none, reason, None), RetryAction::Retry, "{reason:?}");
        }
        for reason in [Reason::LaunchRefused, Reason::BatchJobDeleted] {
            assert_eq!(action(&none, reason, None), RetryAction::Fail, "{reason:?}");
        }
    }

    #[test]
    fn no_rule_brings_back_what_was_cancelled_or_is_too_late() {
        let every = retry("{maxAttempts: 3, rules: [{action: Retry}]}");
        assert_eq!(action(&every, Reason::LaunchRefused, None), RetryAction::Retry, "a rule about everything");
        for reason in [Reason::Cancelled, Reason::Replaced, Reason::JobDeleted, Reason::TotalDeadlineExceeded] {
            assert_eq!(action(&every, reason, Some(1)), RetryAction::Fail, "{reason:?}");
        }
    }

    #[test]
    fn delays_grow_by_the_factor_up_to_the_maximum() {
        let table = [
            ("{}", [10, 20, 40, 80, 160]),
            ("{initialSeconds: 5, factor: 1}", [5, 5, 5, 5, 5]),
            ("{initialSeconds: 1, factor: 10, maximumSeconds: 500}", [1, 10, 100, 500, 500]),
            ("{initialSeconds: 90, maximumSeconds: 60}", [60, 60, 60, 60, 60]),
            ("{initialSeconds: 0}", [0, 0, 0, 0, 0]),
            ("{maximumSeconds: 0}", [0, 0, 0, 0, 0]),
        ];
        for (backoff, seconds) in table {
            let retry = retry(&format!("{{maxAttempts: 9, backoff: {backoff}}}"));
            let found: Vec<i64> = (1..6).map(|attempt| delay_ms(&retry, "uid", attempt) / 1_000).collect();
            assert_eq!(found, seconds, "{backoff}");
        }
        let longest = retry("{maxAttempts: 100, backoff: {initialSeconds: 86400, factor: 10, maximumSeconds: 86400}}");
        assert_eq!(delay_ms(&longest, "uid", 100), 86_400_000);
    }

    #[test]
    fn jitter_makes_delays_longer_and_is_the_same_again() {
        let retry = retry("{maxAttempts: 9, backoff: {initialSeconds: 100, factor: 1, jitterPercent: 30}}");
        let delays: Vec<i64> = (0..200).map(|job| delay_ms(&retry, &format!("uid-{job}"), 1)).collect();
        assert!(delays.iter().all(|delay| (100_000..=130_000).contains(delay)), "{delays:?}");
        assert!(delays.iter().min().unwrap() < &103_000 && delays.iter().max().unwrap() > &127_000, "{delays:?}");
        assert_eq!(delays, (0..200).map(|job| delay_ms(&retry, &format!("uid-{job}"), 1)).collect::<Vec<_>>());
        assert_ne!(delay_ms(&retry, "uid", 1), delay_ms(&retry, "uid", 2), "each attempt has its own");
        // Changing how it is made moves retries that are waiting while the operator is upgraded.
        assert_eq!(delay_ms(&retry, "uid", 1), 102_593);
    }
}
