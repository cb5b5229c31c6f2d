//! `kubectl rota`: arguments in, exit code out; no decisions.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use rota::cli::completion::{self, COMPLETE};
use rota::cli::plugin::{self, Arguments};
use rota::cli::print::Style;
use rota::domain::words::printable;
use rota::runtime::clock;

fn main() -> ExitCode {
    let line: Vec<OsString> = std::env::args_os().collect();
    let typed = line.split_at_checked(2).filter(|(asks, _)| asks.last().is_some_and(|word| word == COMPLETE));
    let arguments = typed.is_none().then(Arguments::parse);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kubectl rota: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Some(arguments) = arguments else {
        let offered = runtime.block_on(completion::offer(typed.map(|(_, words)| words).unwrap_or_default()));
        print!("{}", printable(&offered));
        return ExitCode::SUCCESS;
    };
    match runtime.block_on(plugin::run(arguments, clock::now, Style::detect(), &mut std::io::stdout())) {
        Ok(answer) => {
            eprint!("{}", printable(&answer.remarks));
            // Whoever reads the output may have seen enough of it, as `head` has.
            let _ = std::io::stdout().write_all(answer.output.as_bytes());
            ExitCode::from(answer.exit_code)
        }
        Err(error) => {
            eprintln!("kubectl rota: {}", printable(&error.to_string()));
            ExitCode::from(error.exit_code())
        }
    }
}
