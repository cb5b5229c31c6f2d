//! Rota schedules, queues, groups and records jobs on Kubernetes.
//!
//! In reading order: the kinds, the decisions, and the shell that observes and applies.

pub mod api;
