//! Telling programs how dense the screen is: the X resource that Xft, Qt, GTK without a settings daemon and most
//! others read when they start.

use x11rb::connection::Connection;
use x11rb::protocol::xproto::{AtomEnum, ConnectionExt as _, PropMode, Window};
use x11rb::wrapper::ConnectionExt as _;

use super::ScreenError;
use crate::display::XConnection;
use crate::frame::STANDARD_DPI;

const NAME: &str = "Xft.dpi";
/// Words of four bytes that are read of the resources: nobody's are longer.
const MAX_WORDS: u32 = 64 * 1024;

/// Writes the density into the resources of `root`, which `xrdb` writes too; all other lines stay as they are.
pub(super) fn announce(connection: &XConnection, root: Window, dpi: u16) -> Result<(), ScreenError> {
    let (name, kind) = (AtomEnum::RESOURCE_MANAGER, AtomEnum::STRING);
    let held = connection.get_property(false, root, name, kind, 0, MAX_WORDS)?.reply()?;
    if let Some(resources) = with_dpi(&held.value, dpi) {
        connection.change_property8(PropMode::REPLACE, root, name, kind, &resources)?;
        connection.flush()?;
    }
    Ok(())
}

/// The resources with this density; nothing if they say so already, or need not say it.
fn with_dpi(resources: &[u8], dpi: u16) -> Option<Vec<u8>> {
    let is_dpi = |line: &&[u8]| {
        line.strip_prefix(NAME.as_bytes()).is_some_and(|rest| rest.trim_ascii_start().starts_with(b":"))
    };
    let lines = || resources.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let wanted = format!("{NAME}:\t{dpi}");
    let said: Vec<&[u8]> = lines().filter(is_dpi).collect();
    if said == [wanted.as_bytes()] || (said.is_empty() && dpi == STANDARD_DPI) {
        return None;
    }
    let others = lines().filter(|line| !is_dpi(line));
    let mut all: Vec<u8> = others.chain([wanted.as_bytes()]).collect::<Vec<_>>().join(&b'\n');
    all.push(b'\n');
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_replaced_and_the_others_stay() {
        let before = b"XTerm*font:\tfixed\nXft.dpi:\t96\nXft.dpiScale:\t1\n";
        let after = with_dpi(before, 192).map(|r| String::from_utf8(r).unwrap());
        assert_eq!(after.as_deref(), Some("XTerm*font:\tfixed\nXft.dpiScale:\t1\nXft.dpi:\t192\n"));
    }

    #[test]
    fn nothing_is_written_that_says_nothing_new() {
        assert_eq!(with_dpi(b"", STANDARD_DPI), None);
        assert_eq!(with_dpi(b"Xft.dpi:\t192\n", 192), None);
        assert_eq!(with_dpi(b"Xft.dpi: 192\n", 96).as_deref(), Some(&b"Xft.dpi:\t96\n"[..]));
        assert_eq!(with_dpi(b"", 120).as_deref(), Some(&b"Xft.dpi:\t120\n"[..]));
    }
}
