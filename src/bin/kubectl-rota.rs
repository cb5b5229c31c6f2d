//! `kubectl rota`: arguments in, exit code out; no decisions.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use rota::cli::plugin::{self, Arguments};
use rota::cli::print::Style;
use rota::domain::words::printable;
use rota::runtime::clock;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kubectl rota: {error}");
            return ExitCode::FAILURE;
        }
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
