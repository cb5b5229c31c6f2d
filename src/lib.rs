//! Rota schedules, queues, groups and records jobs on Kubernetes.
//!
//! In reading order: the kinds, the decisions, and the shell that observes and applies.

pub mod api;
pub mod domain;

pub mod answers;
pub mod apply;
pub mod controllers;
pub mod dispatcher;
pub mod launcher;
pub mod operator;
pub mod runtime;

pub mod cli;
