//! The verbs of `rota` and of `kubectl rota`, one file each.

pub mod cancel;
pub mod cluster;
pub mod completion;
pub mod crds;
pub mod follow;
pub mod kueue;
pub mod leader;
pub mod lint;
pub mod r#move;
pub mod next;
pub mod objects;
pub mod operator;
pub mod pause;
pub mod plugin;
pub mod preview;
pub mod print;
pub mod queue;
pub mod run;
pub mod state;
pub mod table;
pub mod target;
pub mod tree;
pub mod version;
pub mod why;

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
