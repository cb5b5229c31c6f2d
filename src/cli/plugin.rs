//! `kubectl rota`: its verbs, what a verb answers, and what its exit codes mean.

use clap::{Parser, Subcommand};
use jiff::Timestamp;

use super::{lint, next};
use crate::domain::calendar::TimingError;
use crate::runtime::lease::chain;

/// The exit code when all is well.
pub const OK: u8 = 0;
/// The exit code when something went wrong: no cluster, not found, findings.
pub const FAILED: u8 = 1;
/// The exit code when the arguments make no sense, or what they name cannot be read.
pub const USAGE: u8 = 2;

/// Works with Rota's objects. Nothing that it does changes the cluster.
#[derive(Debug, Parser)]
#[command(name = "kubectl-rota", bin_name = "kubectl rota", version, about)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show the next times of a Schedule, or of an expression without a cluster.
    Next(Box<next::Arguments>),
    /// Check files as the API server and the operator would, without a cluster; say what applying them would change.
    Lint(Box<lint::Arguments>),
}

/// What a verb has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What was asked for, for standard output.
    pub output: String,
    /// What there is to know besides, for standard error.
    pub remarks: String,
    /// One of this module's exit codes.
    pub exit_code: u8,
}

/// Why a verb has no answer.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The arguments make no sense, or what they name cannot be read.
    #[error("{0}")]
    Usage(String),
    /// Something went wrong.
    #[error("{0}")]
    Failed(String),
}

impl PluginError {
    /// Something went wrong, for this reason.
    pub fn failed(error: &dyn std::error::Error) -> Self {
        Self::Failed(chain(error))
    }

    /// The exit code that tells it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Failed(_) => FAILED,
        }
    }
}

impl From<TimingError> for PluginError {
    fn from(error: TimingError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Does it.
pub async fn run(arguments: Arguments, now: Timestamp) -> Result<Answer, PluginError> {
    match arguments.verb {
        Verb::Next(arguments) => next::run(&arguments, now).await,
        Verb::Lint(arguments) => lint::run(&arguments, now).await,
    }
}
