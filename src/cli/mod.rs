//! The verbs of `rota` and of `kubectl rota`, one file each.

pub mod cluster;
pub mod crds;
pub mod lint;
pub mod next;
pub mod operator;
pub mod plugin;
pub mod preview;
pub mod table;

use clap::{Parser, Subcommand};

/// Schedules, queues, groups and records jobs on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "rota", version, about)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the operator until it is told to stop.
    Operator(operator::Arguments),
    /// Print the CustomResourceDefinitions, or write them to a directory, one file a kind.
    Crds(crds::Arguments),
}
