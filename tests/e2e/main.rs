//! The operator on a real cluster with real pods: what is recorded is compared with what ran.
//!
//! Run with `rota-cluster run --node real -- cargo test --test e2e -- --test-threads=3`; see tests/cluster.

// The lint's own exception for tests covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_input;
mod batch;
mod cancel;
mod clocks;
mod containers;
mod crash;
mod ends;
mod groups;
mod outcomes;
mod pasted;
mod places;
mod plugin;
mod queues;
mod recorded;
mod retries;
mod schedules;
#[allow(dead_code, reason = "it serves the test of upgrades too")]
mod support;
