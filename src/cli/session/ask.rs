//! A question before something is lost.

use std::io::stdin;

use clap::Args;
use deskgate::kubectl::error::Error;

/// Answers it beforehand.
#[derive(Args)]
pub struct Yes {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Yes {
    /// Asks. Only the whole word is a yes: a key pressed out of habit deletes nothing.
    pub fn confirm(&self, question: &str) -> Result<(), Box<dyn std::error::Error>> {
        if self.yes {
            return Ok(());
        }
        eprint!("{question}\nType yes to go on: ");
        let mut answer = String::new();
        stdin().read_line(&mut answer)?;
        if answer.trim() == "yes" { Ok(()) } else { Err(Error::NotConfirmed.into()) }
    }
}
