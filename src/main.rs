//! The command line: parse, build, run.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::parse();
    cli::init_logging(cli.log_format);
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            // The one line that a person needs; it must not look like a log line.
            eprintln!("{}: {error}", cli::program());
            ExitCode::FAILURE
        }
    }
}
