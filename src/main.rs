//! The command line: parse, build, run.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    cli::init_logging(cli.log_format);
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            // The one line that a person needs; it must not look like a log line.
            eprintln!("deskgate: {error}");
            ExitCode::FAILURE
        }
    }
}
