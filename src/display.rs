//! How to reach an X server: its name, its cookie, and a connection that cannot hang.
//!
//! Shared by the modules that speak X11 (`capture`, `desktop`), which do not know each other.

use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use x11rb::reexports::x11rb_protocol::parse_display::{ConnectAddress, parse_display};
use x11rb::reexports::x11rb_protocol::xauth::Family;
use x11rb::rust_connection::{DefaultStream, PollMode, RustConnection, Stream};
use x11rb::utils::RawFdContainer;

/// A server that leaves a request unanswered for this long counts as gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// No cookie file is larger than this.
const MAX_COOKIE_FILE_BYTES: u64 = 1 << 20;
const COOKIE_KIND: &[u8] = b"MIT-MAGIC-COOKIE-1";

/// A well-formed X display name, such as `:0`, `:1.0` or `host:2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplayName(String);

/// The text is no display name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an X display name (expected something like `:0` or `host:0.0`)")]
pub struct BadDisplayName(pub String);

impl FromStr for DisplayName {
    type Err = BadDisplayName;

    fn from_str(name: &str) -> Result<Self, BadDisplayName> {
        let bad = || BadDisplayName(name.to_owned());
        let parsed = parse_display(Some(name)).map_err(|_| bad())?;
        // The TCP port is 6000 + display; the protocol's parser lets the sum overflow. It also takes all but the
        // last number for a host's name, which has colons only in an IPv6 literal.
        let host = name.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.rsplit_once('/').map_or(host, |(_, host)| host);
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<Ipv6Addr>().is_ok();
        let plausible = literal || !host.contains(':');
        (plausible && parsed.display <= u16::MAX - 6000).then(|| DisplayName(name.to_owned())).ok_or_else(bad)
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A connection whose waits end.
pub type XConnection = RustConnection<ImpatientStream>;

/// An open connection to an X server.
pub struct Connected {
    /// The connection.
    pub connection: XConnection,
    /// Index of the screen that the name asks for.
    pub screen: usize,
    /// Over a Unix socket: file descriptors can be passed, shared memory can work.
    pub local: bool,
}

/// Why an X server could not be reached; all of these may pass with time.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFailure {
    /// Nobody listens, or the socket is missing.
    #[error("no X server at {display}: {cause}")]
    Unreachable {
        /// Which display.
        display: DisplayName,
        /// What the system said.
        cause: io::Error,
    },
    /// The server answered and refused, most often for want of a cookie.
    #[error("the X server at {display} refused: {cause}")]
    Refused {
        /// Which display.
        display: DisplayName,
        /// What the server said.
        cause: x11rb::errors::ConnectError,
    },
}

/// Connects to `display` with the cookie from `xauthority`, else from `$XAUTHORITY` or `~/.Xauthority`.
///
/// # Errors
/// When no address of the display can be reached or the server refuses.
pub fn connect(display: &DisplayName, xauthority: Option<&Path>) -> Result<Connected, ConnectFailure> {
    let unreachable = |cause| ConnectFailure::Unreachable { display: display.clone(), cause };
    let parsed = parse_display(Some(&display.0)).map_err(|error| unreachable(io::Error::other(error)))?;
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in parsed.connect_instruction() {
        let (stream, (family, host)) = match DefaultStream::connect(&address) {
            Ok(reached) => reached,
            // The first address is the likeliest, and its error the most telling.
            Err(error) if failure.kind() == io::ErrorKind::NotFound => {
                failure = error;
                continue;
            }
            Err(_) => continue,
        };
        let screen = usize::from(parsed.screen);
        let (name, data) = match cookie(xauthority, family, &host, parsed.display) {
            Some(data) => (COOKIE_KIND.to_vec(), data),
            None => (Vec::new(), Vec::new()),
        };
        let connection =
            XConnection::connect_to_stream_with_auth_info(ImpatientStream(stream), screen, name, data)
                .map_err(|cause| ConnectFailure::Refused { display: display.clone(), cause })?;
        return Ok(Connected { connection, screen, local: matches!(address, ConnectAddress::Socket(_)) });
    }
    Err(unreachable(failure))
}

fn cookie(path: Option<&Path>, family: Family, address: &[u8], display: u16) -> Option<Vec<u8>> {
    let path = path.map(Path::to_path_buf).or_else(default_cookie_file)?;
    let size = std::fs::metadata(&path).ok()?.len();
    let file = (size <= MAX_COOKIE_FILE_BYTES).then(|| std::fs::read(&path).ok())??;
    find_cookie(&file, family, address, display).map(<[u8]>::to_vec)
}

fn default_cookie_file() -> Option<PathBuf> {
    let named = std::env::var_os("XAUTHORITY").map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".Xauthority")))
}

/// The cookie for this address; failing that, for this display number under another host name.
///
/// The second case is a cookie file written in another container, whose host name is not ours.
fn find_cookie<'a>(file: &'a [u8], family: Family, address: &[u8], display: u16) -> Option<&'a [u8]> {
    let number = display.to_string();
    let mut other_host = None;
    for entry in Entries(file) {
        if entry.kind != COOKIE_KIND || !(entry.number.is_empty() || entry.number == number.as_bytes()) {
            continue;
        }
        if entry.family == Family::WILD || (entry.family == family && entry.address == address) {
            return Some(entry.data);
        }
        if family == Family::LOCAL && entry.family == Family::LOCAL {
            other_host = other_host.or(Some(entry.data));
        }
    }
    other_host
}

struct Entry<'a> {
    family: Family,
    address: &'a [u8],
    number: &'a [u8],
    kind: &'a [u8],
    data: &'a [u8],
}

/// Entries of an Xauthority file; ends at the first incomplete one.
struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    fn number(&mut self) -> Option<u16> {
        let (number, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*number))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.number()?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        Some(Entry {
            family: self.number()?.into(),
            address: self.text()?,
            number: self.text()?,
            kind: self.text()?,
            data: self.text()?,
        })
    }
}

/// A stream on which waiting ends with an error after [`ANSWER_WITHIN`]: a stopped server must not stop us.
#[derive(Debug)]
pub struct ImpatientStream(DefaultStream);

impl AsFd for ImpatientStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Stream for ImpatientStream {
    fn poll(&self, mode: PollMode) -> io::Result<()> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, mode.readable());
        flags.set(PollFlags::OUT, mode.writable());
        let patience = Timespec { tv_sec: ANSWER_WITHIN.as_secs() as i64, tv_nsec: 0 };
        loop {
            match poll(&mut [PollFd::new(&self.0, flags)], Some(&patience)) {
                Err(Errno::INTR) => {}
                Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the X server does not answer")),
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read(&self, buffer: &mut [u8], fds: &mut Vec<RawFdContainer>) -> io::Result<usize> {
        self.0.read(buffer, fds)
    }

    fn write(&self, buffer: &[u8], fds: &mut Vec<RawFdContainer>) -> io::Result<usize> {
        self.0.write(buffer, fds)
    }

    fn write_vectored(
        &self,
        buffers: &[io::IoSlice<'_>],
        fds: &mut Vec<RawFdContainer>,
    ) -> io::Result<usize> {
        self.0.write_vectored(buffers, fds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_when_parsed() {
        for good in [":0", ":99.0", "host:1", "unix/:3", "tcp/host:4.1", "[::1]:2", "tcp/::1:2"] {
            assert_eq!(good.parse::<DisplayName>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "0", ":", ":x", "host", ":65000", ":-1", ":0.x", ":1:2:3", "host:1:2"] {
            assert_eq!(bad.parse::<DisplayName>(), Err(BadDisplayName(bad.to_owned())), "{bad}");
        }
    }

    const LOCAL: u16 = 256;
    const WILD: u16 = 65_535;

    fn entry(family: u16, address: &str, number: &str, kind: &[u8], data: &[u8]) -> Vec<u8> {
        let mut out = family.to_be_bytes().to_vec();
        for text in [address.as_bytes(), number.as_bytes(), kind, data] {
            out.extend((text.len() as u16).to_be_bytes());
            out.extend(text);
        }
        out
    }

    #[test]
    fn the_nearest_cookie_is_taken() {
        let other_host = entry(LOCAL, "elsewhere", "5", COOKIE_KIND, b"other host");
        let ours = entry(LOCAL, "here", "5", COOKIE_KIND, b"ours");
        let wild = entry(WILD, "", "", COOKIE_KIND, b"wild");
        let foreign_kind = entry(LOCAL, "here", "5", b"XDM-AUTHORIZATION-1", b"no");
        let find = |file: &[u8]| find_cookie(file, Family::LOCAL, b"here", 5).map(<[u8]>::to_vec);
        assert_eq!(find(&[foreign_kind.clone(), other_host.clone(), ours].concat()), Some(b"ours".to_vec()));
        assert_eq!(find(&[other_host.clone(), wild].concat()), Some(b"wild".to_vec()));
        assert_eq!(find(&other_host), Some(b"other host".to_vec()));
        assert_eq!(find(&foreign_kind), None);
        assert_eq!(find_cookie(&other_host, Family::LOCAL, b"elsewhere", 6), None);
    }

    #[test]
    fn truncated_files_are_read_as_far_as_they_go() {
        let file = entry(LOCAL, "here", "5", COOKIE_KIND, b"ours");
        for length in 0..file.len() {
            assert_eq!(find_cookie(&file[..length], Family::LOCAL, b"here", 5), None);
        }
    }
}
