//! `rota`: arguments in, exit code out; no decisions.

use std::process::ExitCode;

use clap::Parser;
use rota::cli::{Arguments, Verb, crds, operator};
use rota::runtime::lease::chain;

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Operator(arguments) => run_operator(arguments),
        Verb::Crds(arguments) => crds::run(&arguments).map_err(|error| chain(&error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rota: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_operator(arguments: operator::Arguments) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| chain(&error))?;
    let result = runtime.block_on(operator::run(arguments)).map_err(|error| chain(&error));
    runtime.shutdown_background();
    result
}
