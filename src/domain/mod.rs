//! The decisions: pure functions from what was observed, and the time, to what is to be done.
//!
//! Nothing here is async, talks to the cluster, or reads a clock, a random source, the environment or a file. One file
//! answers one question.

pub mod attempt;
pub mod calendar;
pub mod conditions;
pub mod estimate;
pub mod explanation;
pub mod group;
pub mod job;
pub mod launch;
pub mod names;
pub mod outlook;
pub mod params;
pub mod pasted;
pub mod pinned;
pub mod place;
pub mod plan;
pub mod pruned;
pub mod queue;
pub mod resolve;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod seal;
pub mod sizes;
pub mod template;
pub mod words;

#[cfg(test)]
mod model_tests;
