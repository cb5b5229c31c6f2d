//! `kubectl rota`: its verbs, what a verb answers, and what its exit codes mean.

use std::io::Write;

use clap::{Parser, Subcommand};
use jiff::Timestamp;

use super::cluster::{NamespaceArguments, Unreachable};
use super::print::Style;
use super::{cancel, completion, lint, r#move, next, pause, queue, run, tree, version, why};
use crate::domain::calendar::TimingError;
use crate::runtime::lease::chain;

/// The exit code when all is well.
pub const OK: u8 = 0;
/// The exit code when something went wrong: not found, refused, findings, a Job that failed.
pub const FAILED: u8 = 1;
/// The exit code when the arguments make no sense, or what they name cannot be read.
pub const USAGE: u8 = 2;
/// The exit code when it is too late: it does not wait any more, has ended, or was skipped.
pub const LATE: u8 = 3;
/// The exit code when the Job that was waited for was cancelled.
pub const CANCELLED: u8 = 4;
/// The exit code when the API server cannot be reached, or no operator takes up the Job that is waited for.
pub const UNREACHABLE: u8 = 5;
/// The exit code when the Job that was waited for had not ended within --timeout.
pub const TIMED_OUT: u8 = 6;

/// Works with Rota's objects, with your own rights.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-rota",
    bin_name = "kubectl rota",
    version,
    about,
    after_help = "Exit codes: 0 done; 1 not found, refused, findings, or the Job failed; 2 wrong arguments; 3 too late: it does not wait any \
    more, has ended, or was skipped; 4 the Job that was waited for was cancelled; 5 no cluster, or no operator; 6 --timeout passed. Colours \
    are left out where NO_COLOR is set."
)]
pub struct Arguments {
    /// Where; may be given before the verb or after it.
    #[command(flatten)]
    pub place: NamespaceArguments,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a template now, or at a time; wait for it, and show its log.
    Run(Box<run::Arguments>),
    /// Show the queues, or one line in its order: place, what each waits for, when it will start.
    Queue(Box<queue::Arguments>),
    /// Say why a Job does not run, or ended as it did.
    Why(Box<why::Arguments>),
    /// Put a waiting Job or group elsewhere in its queue.
    Move(Box<r#move::Arguments>),
    /// Cancel a Job or a group.
    Cancel(Box<cancel::Arguments>),
    /// Stop starting Jobs: of a queue, a namespace, or all.
    Pause(Box<pause::PauseArguments>),
    /// Go on with a paused queue, a group that ended partly, or a held schedule.
    Resume(Box<pause::ResumeArguments>),
    /// Show what a schedule, a group or a Job led to, down to pods and exit codes.
    Tree(Box<tree::Arguments>),
    /// Show the next times of a Schedule, or of an expression without a cluster.
    Next(Box<next::Arguments>),
    /// Show which version of the plugin this is, and which version of the operator leads.
    Version(Box<version::Arguments>),
    /// Print the program that completes what is typed after `kubectl rota`.
    Completion(completion::Arguments),
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
    /// It is too late for that.
    #[error("{0}")]
    Late(String),
    /// The API server cannot be reached, or no operator does what is asked.
    #[error("{0}")]
    Unreachable(String),
    /// It takes longer than --timeout.
    #[error("{0}")]
    TimedOut(String),
}

impl PluginError {
    /// Something went wrong, for this reason.
    pub fn failed(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(unreachable) = error.downcast_ref::<Unreachable>() {
                return Self::Unreachable(unreachable.to_string());
            }
            cause = error.source();
        }
        Self::Failed(chain(error))
    }

    /// The exit code that tells it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Failed(_) => FAILED,
            Self::Late(_) => LATE,
            Self::Unreachable(_) => UNREACHABLE,
            Self::TimedOut(_) => TIMED_OUT,
        }
    }
}

impl From<TimingError> for PluginError {
    fn from(error: TimingError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Does it. `output` is for verbs that tell things as they come.
pub async fn run(
    arguments: Arguments,
    clock: fn() -> Timestamp,
    style: Style,
    output: &mut dyn Write,
) -> Result<Answer, PluginError> {
    match arguments.verb {
        Verb::Run(arguments) => run::run(&arguments, clock(), style, output).await,
        Verb::Queue(arguments) => queue::run(&arguments, clock, style, output).await,
        Verb::Why(arguments) => why::run(&arguments, clock(), style).await,
        Verb::Move(arguments) => r#move::run(&arguments, clock).await,
        Verb::Cancel(arguments) => cancel::run(&arguments).await,
        Verb::Pause(arguments) => pause::pause(&arguments, clock()).await,
        Verb::Resume(arguments) => pause::resume(&arguments, clock()).await,
        Verb::Tree(arguments) => tree::run(&arguments, clock, style, output).await,
        Verb::Next(arguments) => next::run(&arguments, clock()).await,
        Verb::Version(arguments) => version::run(&arguments, clock()).await,
        Verb::Completion(_) => Ok(completion::program()),
        Verb::Lint(arguments) => lint::run(&arguments, clock()).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_of_every_verb_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_flags_of_kubectl_go_before_the_verb_or_after_it() {
        let namespace = |line: &str| {
            let arguments =
                Arguments::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
            match arguments.verb {
                Verb::Why(why) => (why.place.namespace, why.place.cluster.context),
                other => panic!("{other:?}"),
            }
        };
        let wanted = (Some("team".to_owned()), Some("prod".to_owned()));
        for line in [
            "kubectl-rota -n team --context prod why x",
            "kubectl-rota why -n team --context prod x",
            "kubectl-rota --namespace=team why x --context=prod",
            "kubectl-rota --context prod why x -n team",
        ] {
            assert_eq!(namespace(line), wanted, "{line}");
        }
        assert_eq!(namespace("kubectl-rota why x"), (None, None));
        for verb in [
            "run t",
            "queue",
            "move x --first",
            "cancel x",
            "pause q --reason r",
            "resume q",
            "tree x",
            "next x",
            "lint -f x",
        ] {
            let line = format!("kubectl-rota -n team --kubeconfig file {verb}");
            let parsed = Arguments::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
            let text = format!("{:?}", parsed.verb);
            assert_eq!(text.matches("team").count(), 1, "{text}");
            assert_eq!(text.matches("\"file\"").count(), 1, "{text}");
        }
    }
}
