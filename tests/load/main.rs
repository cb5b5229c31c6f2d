//! Two operators on a real API server under load and faults. What they did is read afterwards, revision by revision, from a
//! watch that is not theirs.
//!
//! Run with `rota-cluster run --node none -- cargo test --test load -- --test-threads=1`: the operators see the whole
//! cluster. There are no nodes: the batch Jobs carry `spec.managedBy`, so that Kubernetes leaves them alone and the test ends
//! them. `ROTA_TEST_SEED` chooses what happens (it is printed), `ROTA_LOAD_JOBS` how many Jobs there are.

// The lint's own exception for tests covers `#[test]` functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
#[path = "../support/completed.rs"]
mod completed;
mod faults;
mod operators;
mod replay;
mod shares;
mod tenants;
