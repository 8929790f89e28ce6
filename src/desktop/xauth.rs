//! Connecting to an X display, with the cookie of a given Xauthority file.
//!
//! x11rb finds the file through the process's environment only, which a running process cannot change safely.

use std::path::{Path, PathBuf};

use thiserror::Error;
use x11rb::reexports::x11rb_protocol::parse_display::{ConnectAddress, parse_display};
use x11rb::reexports::x11rb_protocol::xauth::Family;
use x11rb::rust_connection::{DefaultStream, RustConnection};

/// No Xauthority file in use is larger.
const MAX_FILE: u64 = 1 << 20;
const COOKIE: &[u8] = b"MIT-MAGIC-COOKIE-1";

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The display string makes no sense.
    #[error("{0:?} is no X display")]
    Display(String),
    /// Nobody listens there.
    #[error("no X server at {display}: {source}")]
    Unreachable {
        /// The display.
        display: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The Xauthority file cannot be read.
    #[error("cannot read {path}: {source}")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The X server turned us away (wrong cookie, too many clients).
    #[error("the X server at {display} refused: {source}")]
    Refused {
        /// The display.
        display: String,
        /// What x11rb said.
        source: x11rb::errors::ConnectError,
    },
}

/// Connects to `display`; returns the connection and the number of the screen.
///
/// # Errors
/// [`ConnectError`]; all but [`ConnectError::Display`] may pass with time.
pub fn connect(display: &str, xauthority: Option<&Path>) -> Result<(RustConnection, usize), ConnectError> {
    let parsed = parse_display(Some(display)).map_err(|_| ConnectError::Display(display.to_owned()))?;
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in parsed.connect_instruction() {
        let (stream, peer) = match open(&address) {
            Ok(opened) => opened,
            Err(error) => {
                last = error;
                continue;
            }
        };
        let screen = usize::from(parsed.screen);
        let (name, data) = cookie(xauthority, &peer, parsed.display)?;
        let refused = |source| ConnectError::Refused { display: display.to_owned(), source };
        let connection = RustConnection::connect_to_stream_with_auth_info(stream, screen, name, data);
        return connection.map(|c| (c, screen)).map_err(refused);
    }
    Err(ConnectError::Unreachable { display: display.to_owned(), source: last })
}

type Peer = (Family, Vec<u8>);

fn open(address: &ConnectAddress<'_>) -> std::io::Result<(DefaultStream, Peer)> {
    DefaultStream::connect(address)
}

/// Authentication name and data; empty where the file has nothing for this display.
fn cookie(file: Option<&Path>, peer: &Peer, display: u16) -> Result<(Vec<u8>, Vec<u8>), ConnectError> {
    let Some(path) = file else {
        let found = x11rb::reexports::x11rb_protocol::xauth::get_auth(peer.0, &peer.1, display);
        return Ok(found.ok().flatten().unwrap_or_default());
    };
    let read = || -> std::io::Result<Vec<u8>> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| ConnectError::Authority { path: path.to_owned(), source })?;
    Ok(entry(&bytes, peer, display).unwrap_or_default())
}

/// Finds the entry for `display`. Entries are family, address, number, name, data; all but the family are
/// preceded by their length in 16 bits, big-endian.
fn entry(mut bytes: &[u8], peer: &Peer, display: u16) -> Option<(Vec<u8>, Vec<u8>)> {
    let wanted = display.to_string();
    loop {
        let (family, rest) = bytes.split_first_chunk::<2>()?;
        bytes = rest;
        let family = Family::from(u16::from_be_bytes(*family));
        let [address, number, name, data] =
            [field(&mut bytes)?, field(&mut bytes)?, field(&mut bytes)?, field(&mut bytes)?];
        let place = family == Family::WILD || (family, address) == (peer.0, &peer.1);
        if place && (number.is_empty() || number == wanted.as_bytes()) && name == COOKIE {
            return Some((name.to_vec(), data.to_vec()));
        }
    }
}

fn field<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (field, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *bytes = rest;
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(entries: &[(u16, &[u8], &[u8], &[u8], &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (family, address, number, name, data) in entries {
            out.extend(family.to_be_bytes());
            for f in [address, number, name, data] {
                out.extend((f.len() as u16).to_be_bytes());
                out.extend(*f);
            }
        }
        out
    }

    #[test]
    fn the_entry_of_this_display_is_taken() {
        let here = (Family::LOCAL, b"host".to_vec());
        let bytes = file(&[
            (256, b"host", b"1", COOKIE, b"one"),
            (256, b"other", b"2", COOKIE, b"two"),
            (0xffff, b"", b"3", COOKIE, b"three"),
        ]);
        let data = |display| entry(&bytes, &here, display).map(|e| e.1);
        assert_eq!(data(1).as_deref(), Some(&b"one"[..]));
        assert_eq!(data(2), None);
        assert_eq!(data(3).as_deref(), Some(&b"three"[..]));
        for cut in 0..bytes.len() {
            let _ = entry(&bytes[..cut], &here, 9);
        }
    }
}
