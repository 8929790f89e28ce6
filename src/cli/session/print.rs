//! What goes to standard output.

use std::error::Error;
use std::io::{self, Write, stdout};

use clap::ValueEnum;
use deskgate::crd::VDISession;
use serde::Serialize;
use serde_json::json;

/// Objects as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// As the API has it.
    Json,
    /// As manifests have it.
    Yaml,
}

/// Writes to standard output. Unlike `print!`, a reader that went away is no panic.
pub fn out(text: &str) -> io::Result<()> {
    write(text.as_bytes())
}

/// Writes what need not be text.
pub fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Whether whoever read our output has gone, as `head` does: nothing is wrong then.
pub fn is_closed(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// One session, without the bookkeeping of field managers.
pub fn object(session: &VDISession, format: Format) -> Result<(), Box<dyn Error>> {
    let mut session = session.clone();
    session.metadata.managed_fields = None;
    data(&session, format)
}

/// Many, as kubectl lists them.
pub fn objects(sessions: Vec<VDISession>, format: Format) -> Result<(), Box<dyn Error>> {
    let bare = |mut s: VDISession| {
        s.metadata.managed_fields = None;
        s
    };
    let items: Vec<VDISession> = sessions.into_iter().map(bare).collect();
    data(&json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items }), format)
}

fn data(value: &impl Serialize, format: Format) -> Result<(), Box<dyn Error>> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(value)? + "\n",
        Format::Yaml => serde_saphyr::to_string(value)?,
    };
    Ok(out(&text)?)
}
