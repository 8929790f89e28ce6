//! Fetching pixels: through a sealed memfd, System V shared memory, or the socket.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use x11rb::connection::Connection;
use x11rb::protocol::shm::ConnectionExt as _;
use x11rb::protocol::xproto::{ConnectionExt as _, ImageFormat, Window};

use super::ScreenError;
use crate::capture::ShmMode;
use crate::capture::convert::BYTES_PER_PIXEL;
use crate::display::XConnection;
use crate::frame::{Rect, Size};

const ALL_PLANES: u32 = u32::MAX;

/// Fetches rectangles of a window, many with one round trip.
pub(super) struct Grabber {
    backing: Backing,
    mode: ShmMode,
    /// Where each fetched rectangle lies in shared memory.
    pieces: Vec<Range<usize>>,
}

enum Backing {
    Shared { segment: u32, memory: Memory },
    Socket(Vec<Vec<u8>>),
}

impl Grabber {
    /// The best way that works (or only `wanted`), for screens of up to `size`.
    pub fn open(
        connection: &XConnection,
        local: bool,
        wanted: Option<ShmMode>,
        size: Size,
    ) -> Result<Self, ScreenError> {
        let bytes = bytes_of(size.width.into(), size.height.into());
        for mode in ShmMode::ALL.into_iter().filter(|mode| wanted.is_none_or(|wanted| wanted == *mode)) {
            let backing = match mode {
                ShmMode::GetImage => Backing::Socket(Vec::new()),
                // A server on another machine could attach to somebody else's memory of the same id.
                _ if !local => continue,
                _ => match attach(connection, mode, bytes) {
                    Ok(backing) => backing,
                    Err(error) => {
                        tracing::info!(?mode, %error, "no shared memory with the X server this way");
                        continue;
                    }
                },
            };
            return Ok(Grabber { backing, mode, pieces: Vec::new() });
        }
        Err(ScreenError::Unsupported(format!("{wanted:?} does not work with this X server")))
    }

    /// How pixels are fetched.
    pub fn mode(&self) -> ShmMode {
        self.mode
    }

    /// Makes room for a screen of `size`; keeps the way of fetching.
    pub fn fit(&mut self, connection: &XConnection, size: Size) -> Result<(), ScreenError> {
        let bytes = bytes_of(size.width.into(), size.height.into());
        if let Backing::Shared { segment, memory } = &self.backing
            && memory.bytes().len() < bytes
        {
            connection.shm_detach(*segment)?;
            self.backing = attach(connection, self.mode, bytes)?;
        }
        Ok(())
    }

    /// Fetches `rects`, which together must not be larger than the screen that was made room for.
    pub fn fetch(
        &mut self,
        connection: &XConnection,
        window: Window,
        rects: &[Rect],
    ) -> Result<(), ScreenError> {
        self.pieces.clear();
        match &mut self.backing {
            Backing::Shared { segment, memory } => {
                let mut end = 0;
                for rect in rects {
                    let start = end;
                    end += bytes_of(rect.width.into(), rect.height.into());
                    self.pieces.push(start..end);
                }
                if end > memory.bytes().len() {
                    return Err(ScreenError::Unsupported("more pixels asked for than there is room".into()));
                }
                fetch_shared(connection, window, *segment, rects, &self.pieces)
            }
            Backing::Socket(images) => fetch_socket(connection, window, rects, images),
        }
    }

    /// The pixels of the `index`th rectangle of the last fetch: rows without gaps. Empty if there is none.
    pub fn pixels(&self, index: usize) -> &[u8] {
        match &self.backing {
            Backing::Shared { memory, .. } => {
                self.pieces.get(index).and_then(|piece| memory.bytes().get(piece.clone())).unwrap_or_default()
            }
            Backing::Socket(images) => images.get(index).map(Vec::as_slice).unwrap_or_default(),
        }
    }
}

fn bytes_of(width: usize, height: usize) -> usize {
    width * height * BYTES_PER_PIXEL
}

fn fetch_shared(
    connection: &XConnection,
    window: Window,
    segment: u32,
    rects: &[Rect],
    pieces: &[Range<usize>],
) -> Result<(), ScreenError> {
    let format = u8::from(ImageFormat::Z_PIXMAP);
    let mut replies = Vec::with_capacity(rects.len());
    for (rect, piece) in rects.iter().zip(pieces) {
        let (x, y) = (rect.x as i16, rect.y as i16);
        let offset = piece.start as u32;
        replies.push(connection.shm_get_image(
            window,
            x,
            y,
            rect.width,
            rect.height,
            ALL_PLANES,
            format,
            segment,
            offset,
        )?);
    }
    for reply in replies {
        reply.reply()?;
    }
    Ok(())
}

fn fetch_socket(
    connection: &XConnection,
    window: Window,
    rects: &[Rect],
    images: &mut Vec<Vec<u8>>,
) -> Result<(), ScreenError> {
    let mut replies = Vec::with_capacity(rects.len());
    for rect in rects {
        let (x, y) = (rect.x as i16, rect.y as i16);
        replies.push(connection.get_image(
            ImageFormat::Z_PIXMAP,
            window,
            x,
            y,
            rect.width,
            rect.height,
            ALL_PLANES,
        )?);
    }
    images.clear();
    for reply in replies {
        images.push(reply.reply()?.data);
    }
    Ok(())
}

fn attach(connection: &XConnection, mode: ShmMode, bytes: usize) -> Result<Backing, ScreenError> {
    let version = connection.shm_query_version()?.reply()?;
    let unusable = |error: std::io::Error| ScreenError::Unsupported(format!("shared memory: {error}"));
    let segment = connection.generate_id()?;
    let memory = if mode == ShmMode::Memfd {
        if (version.major_version, version.minor_version) < (1, 2) {
            return Err(ScreenError::Unsupported("the X server's MIT-SHM is older than 1.2".into()));
        }
        let (memory, fd) = Memory::memfd(bytes).map_err(unusable)?;
        connection.shm_attach_fd(segment, fd, false)?.check()?;
        memory
    } else {
        let (memory, id) = Memory::sysv(bytes).map_err(unusable)?;
        connection.shm_attach(segment, id.number(), false)?.check()?;
        memory
    };
    Ok(Backing::Shared { segment, memory })
}

/// Memory that the X server writes to.
struct Memory {
    start: NonNull<u8>,
    length: usize,
    sysv: bool,
}

/// Removes a System V segment's name, so that the memory ends with its last user.
struct SysVId(i32);

impl Memory {
    fn memfd(length: usize) -> std::io::Result<(Self, OwnedFd)> {
        let fd = memfd_create("deskgate-capture", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, length as u64)?;
        // Without the seals the server could be killed by a file that shrinks under its mapping, and so could we.
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        #[allow(unsafe_code)] // Mapping memory cannot be said in safe Rust.
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, &fd, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok((Memory { start, length, sysv: false }, fd))
    }

    fn sysv(length: usize) -> std::io::Result<(Self, SysVId)> {
        #[allow(unsafe_code)] // rustix has no System V shared memory.
        // SAFETY: no pointer is passed.
        let id = unsafe { libc::shmget(libc::IPC_PRIVATE, length, libc::IPC_CREAT | 0o600) };
        if id < 0 {
            return Err(std::io::Error::last_os_error());
        }
        let id = SysVId(id);
        #[allow(unsafe_code)] // As above.
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { libc::shmat(id.0, std::ptr::null(), libc::SHM_RDONLY) };
        let failed = start as isize == -1;
        match NonNull::new(start.cast()).filter(|_| !failed) {
            Some(start) => Ok((Memory { start, length, sysv: true }, id)),
            None => Err(std::io::Error::last_os_error()),
        }
    }

    #[allow(unsafe_code)] // The mapping as a slice.
    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is `length` readable bytes and lives as long as `self`. The X server writes only
        // between a request of ours and its reply, and both happen inside `Grabber::fetch`, which holds the
        // grabber mutably: no slice is alive then.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Memory {
    #[allow(unsafe_code)] // Gives back what `memfd` or `sysv` mapped.
    fn drop(&mut self) {
        let start = self.start.as_ptr().cast();
        if self.sysv {
            // SAFETY: `start` came from `shmat`, and no slice outlives `self`.
            unsafe { libc::shmdt(start) };
        } else {
            // SAFETY: `start` and `length` are those of the mapping, and no slice outlives `self`.
            let _ = unsafe { munmap(start, self.length) };
        }
    }
}

impl SysVId {
    fn number(&self) -> u32 {
        self.0 as u32
    }
}

impl Drop for SysVId {
    #[allow(unsafe_code)] // rustix has no System V shared memory.
    fn drop(&mut self) {
        // SAFETY: removing the id touches no memory; mappings stay valid.
        unsafe { libc::shmctl(self.0, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}
