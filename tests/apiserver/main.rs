//! The kinds against a real API server: that their definitions install, what they refuse and with which sentence, and
//! what kubectl shows of them. The same rules are also evaluated without a server, which is how the command line
//! checks a manifest.
//!
//! Run with `rota-cluster run --node none -- cargo test --test apiserver`; see tests/cluster.

// The lint's own exception for tests covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agreement;
mod answers;
mod bounds;
mod chart;
mod cluster;
#[path = "../support/completed.rs"]
mod completed;
mod decoding;
mod events;
mod examples;
mod explained;
mod groups;
mod handover;
mod health;
mod hooks;
mod immutability;
mod installation;
mod kept;
mod kubectl;
mod large;
mod launching;
mod leading;
mod limits;
mod lint;
mod namespaces;
mod operator;
mod plugin;
mod policies;
mod probes;
mod proxied;
#[path = "../support/proxy.rs"]
#[allow(dead_code, reason = "it serves the tests with real pods too")]
mod proxy;
mod records;
mod refusals;
mod removals;
mod rules;
mod schema;
mod sight;
mod templates;
mod untouched;
mod verbs;
mod waiting;
mod writes;
