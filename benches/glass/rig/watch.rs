//! Reads pixels back from an X server: a few quickly, or the whole screen through shared memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use x11rb::connection::Connection;
use x11rb::protocol::shm::{ConnectionExt as _, Seg};
use x11rb::protocol::xproto::{ConnectionExt as _, ImageFormat, Window};
use x11rb::rust_connection::RustConnection;

use super::scene::{BARS_STRIP, PATCH, Rect, read_bars};
use super::ssim::Luma;
use super::xvfb::Xvfb;
use super::{HEIGHT, Result, WIDTH};

/// Pause between two looks at the patch; with the request itself a look costs about 0.6 ms.
const POLL_PAUSE: Duration = Duration::from_micros(400);
const ALL_PLANES: u32 = !0;

/// A reader of one display.
pub struct Watch {
    conn: RustConnection,
    root: Window,
    segment: Seg,
    memory: File,
}

impl Watch {
    /// Connects and shares a screen-sized piece of memory with the server.
    pub fn open(server: &Xvfb) -> Result<Self> {
        let (conn, root) = server.connect()?;
        // The server writes into the memory file and it is read as a file: no mapping, no `unsafe`.
        let memory = File::from(memfd_create("glass", MemfdFlags::CLOEXEC)?);
        memory.set_len(u64::from(WIDTH) * u64::from(HEIGHT) * 4)?;
        let segment = conn.generate_id()?;
        conn.shm_query_version()?.reply()?;
        conn.shm_attach_fd(segment, memory.try_clone()?, false)?.check()?;
        Ok(Self { conn, root, segment, memory })
    }

    /// The luma of the whole screen.
    pub fn screen(&self) -> Result<Luma> {
        let format = u8::from(ImageFormat::Z_PIXMAP);
        let request =
            self.conn.shm_get_image(self.root, 0, 0, WIDTH, HEIGHT, ALL_PLANES, format, self.segment, 0)?;
        request.reply()?;
        let (width, height) = (usize::from(WIDTH), usize::from(HEIGHT));
        let mut pixels = vec![0; width * height * 4];
        self.memory.read_exact_at(&mut pixels, 0)?;
        Ok(Luma::from_bgrx(&pixels, width, height))
    }

    /// The luma of a small rectangle.
    pub fn area(&self, rect: Rect) -> Result<Luma> {
        let format = ImageFormat::Z_PIXMAP;
        let request =
            self.conn.get_image(format, self.root, rect.x, rect.y, rect.width, rect.height, ALL_PLANES)?;
        let pixels = request.reply()?.data;
        Ok(Luma::from_bgrx(&pixels, usize::from(rect.width), usize::from(rect.height)))
    }

    /// The frame number that the display shows, if its bar code can be read.
    pub fn frame_number(&self) -> Result<Option<u32>> {
        Ok(read_bars(&self.area(BARS_STRIP)?))
    }

    /// Which of its two colours the patch shows.
    pub fn patch(&self) -> Result<usize> {
        let middle = Rect { x: PATCH.x + 28, y: PATCH.y + 28, width: 8, height: 8 };
        Ok(usize::from(self.area(middle)?.mean() > 127.5))
    }

    /// Looks until the patch shows colour `wanted`; the answer is when it did, and after how many looks.
    pub fn wait_for_patch(&self, wanted: usize, limit: Duration) -> Result<Option<(Instant, u32)>> {
        let deadline = Instant::now() + limit;
        for looks in 1.. {
            let shown = self.patch()?;
            let now = Instant::now();
            if shown == wanted {
                return Ok(Some((now, looks)));
            }
            if now > deadline {
                break;
            }
            std::thread::sleep(POLL_PAUSE);
        }
        Ok(None)
    }
}
