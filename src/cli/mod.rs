//! The verbs of `rota`, one file each.

pub mod crds;
pub mod operator;

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
