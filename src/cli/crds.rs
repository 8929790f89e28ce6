//! `crds`.

use std::error::Error;
use std::process::ExitCode;

use clap::Args;
use deskgate::crd;

/// Flags of `deskgate crds`.
#[derive(Args)]
pub struct Crds {}

impl Crds {
    #[expect(clippy::print_stdout, reason = "the YAML is what was asked for")]
    pub fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let texts: Vec<String> = crd::definition_texts()?.into_iter().map(|(_, text)| text).collect();
        print!("{}", texts.join("---\n"));
        Ok(ExitCode::SUCCESS)
    }
}
