//! One connection to an X server: events, damage, grabs.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use x11rb::connection::{Connection, RequestConnection};
use x11rb::protocol::damage::{self, ConnectionExt as _, ReportLevel};
use x11rb::protocol::randr::{self, ConnectionExt as _};
use x11rb::protocol::xfixes::{ConnectionExt as _, CursorNotifyMask};
use x11rb::protocol::xproto::{
    ChangeWindowAttributesAux, ConnectionExt as _, EventMask, ImageOrder, Screen as XScreen, Setup, Window,
};
use x11rb::protocol::{Event, xfixes};

use super::cursor::CursorTracker;
use super::grab::Grabber;
use super::{ScreenError, resize};
use crate::capture::convert::BYTES_PER_PIXEL;
use crate::capture::engine::Engine;
use crate::capture::region::{grab_list, whole};
use crate::capture::watch::{DamageWatch, Switch, fingerprint};
use crate::capture::{CaptureConfig, CaptureEvent};
use crate::display::{self, DisplayName, XConnection};
use crate::frame::{Rect, ScreenMode, Size};

/// Rows that a poll compares and converts together.
const BAND_ROWS: u16 = 16;

pub(super) struct Screen {
    connection: XConnection,
    root: Window,
    size: Size,
    damage: u32,
    region: u32,
    grabber: Grabber,
    watch: DamageWatch,
    cursor: CursorTracker,
    cursor_stale: bool,
    geometry_stale: bool,
    ignore_damage: bool,
    /// Damage was reported since the last poll, and before that.
    announced: [bool; 2],
    /// Fingerprints of the bands of the last poll.
    bands: Vec<u64>,
    scratch: Vec<u8>,
}

impl Screen {
    pub fn open(
        config: &CaptureConfig,
        display: &DisplayName,
        xauthority: Option<&Path>,
    ) -> Result<Self, ScreenError> {
        let connected = display::connect(display, xauthority)?;
        let connection = connected.connection;
        let setup = connection.setup();
        let screen = setup
            .roots
            .get(connected.screen)
            .ok_or_else(|| ScreenError::Unsupported(format!("{display} has no such screen")))?;
        check_pixels(setup, screen)?;
        let root = screen.root;
        require_extensions(&connection)?;
        let (damage, region) = (connection.generate_id()?, connection.generate_id()?);
        connection.xfixes_create_region(region, &[])?.check()?;
        connection.damage_create(damage, root, ReportLevel::NON_EMPTY)?.check()?;
        connection.xfixes_select_cursor_input(root, CursorNotifyMask::DISPLAY_CURSOR)?.check()?;
        connection.randr_select_input(root, randr::NotifyMask::SCREEN_CHANGE)?.check()?;
        let structure = ChangeWindowAttributesAux::new().event_mask(EventMask::STRUCTURE_NOTIFY);
        connection.change_window_attributes(root, &structure)?.check()?;
        let size = size_of(&connection, root)?;
        let grabber = Grabber::open(&connection, connected.local, config.shm, size)?;
        Ok(Screen {
            connection,
            root,
            size,
            damage,
            region,
            grabber,
            watch: DamageWatch::new(config.force_polling, Instant::now()),
            cursor: CursorTracker::default(),
            cursor_stale: true,
            geometry_stale: false,
            ignore_damage: config.ignore_damage,
            announced: [false; 2],
            bands: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// Tells the session what was found.
    pub fn announce(&mut self, engine: &mut Engine) -> Result<(), ScreenError> {
        let can_resize = resize::can_resize(&self.connection, self.root);
        engine.cadence.set_polling(self.watch.polling(), Instant::now());
        engine.up(self.size, can_resize, Some(self.grabber.mode()));
        Ok(())
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.connection.stream().as_fd()
    }

    pub fn flush(&self) -> Result<(), ScreenError> {
        Ok(self.connection.flush()?)
    }

    pub fn next_sample(&self) -> Option<Instant> {
        self.watch.next_sample()
    }

    /// Reads what the server has sent, without waiting, and follows size and cursor.
    pub fn drain_events(&mut self, engine: &mut Engine) -> Result<(), ScreenError> {
        self.read_events(engine)?;
        if std::mem::take(&mut self.geometry_stale) {
            self.follow_size(engine)?;
        }
        if self.cursor_stale && engine.active() {
            self.cursor_stale = false;
            if let Some(image) = self.cursor.fetch(&self.connection)? {
                engine.emit(CaptureEvent::Cursor(image));
            }
        }
        Ok(())
    }

    fn read_events(&mut self, engine: &mut Engine) -> Result<(), ScreenError> {
        while let Some(event) = self.connection.poll_for_event()? {
            match event {
                Event::DamageNotify(event) if event.damage == self.damage && !self.ignore_damage => {
                    self.announced[0] = true;
                    if engine.active() && !self.watch.polling() {
                        engine.cadence.damage(Instant::now());
                    }
                }
                Event::XfixesCursorNotify(_) => self.cursor_stale = true,
                Event::RandrScreenChangeNotify(_) => self.geometry_stale = true,
                Event::ConfigureNotify(event) if event.window == self.root => self.geometry_stale = true,
                Event::Error(error) => tracing::debug!(?error, "an unchecked request failed"),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads the size; true if it is another one.
    fn follow_size(&mut self, engine: &mut Engine) -> Result<bool, ScreenError> {
        let size = size_of(&self.connection, self.root)?;
        if size == self.size {
            return Ok(false);
        }
        self.grabber.fit(&self.connection, size)?;
        self.size = size;
        self.bands.clear();
        engine.resized(size);
        Ok(true)
    }

    /// Fetches what was damaged, or everything, and sends it.
    pub fn grab(&mut self, engine: &mut Engine, full: bool, started: Instant) -> Result<(), ScreenError> {
        if self.watch.polling() {
            return self.poll(engine, true, started);
        }
        let changed_at = engine.cadence.pending_change();
        let rects = if full { self.forget_damage()? } else { self.fetch_damage()? };
        if rects.is_empty() {
            engine.cadence.nothing_grabbed();
            return Ok(());
        }
        if !self.fetch(engine, &rects)? {
            return Ok(());
        }
        for (index, rect) in rects.iter().enumerate() {
            engine.planes.update(*rect, self.grabber.pixels(index), stride_of(*rect));
        }
        engine.push_grabbed(changed_at, started);
        Ok(())
    }

    /// Fetches everything and sends it if it differs from the last poll, or in any case.
    pub fn poll(&mut self, engine: &mut Engine, send: bool, started: Instant) -> Result<(), ScreenError> {
        let rects = self.forget_damage()?;
        if !self.fetch(engine, &rects)? {
            return Ok(());
        }
        engine.shared.counters.polls.fetch_add(1, Ordering::Relaxed);
        // Events about what the reply shows came before the reply.
        self.read_events(engine)?;
        let changed = self.update_bands(engine);
        let now = Instant::now();
        if changed || send {
            engine.push_grabbed(changed.then_some(started), started);
        }
        engine.cadence.polled(now);
        // A change that comes just after one poll is announced before it and seen by the next.
        let announced = self.announced.contains(&true);
        self.announced = [false, self.announced[0]];
        if self.watch.polled(changed, announced, now) == Some(Switch::Trust) {
            tracing::info!("damage is trusted again");
            engine.cadence.set_polling(false, now);
            // What changes between this poll and the next damage must not be lost.
            engine.cadence.refresh();
            engine.emit(CaptureEvent::MissedDamage { polling: false });
        }
        Ok(())
    }

    /// Compares a few rows of the screen with the frame. A difference that damage does not explain starts polling.
    pub fn sample(&mut self, engine: &mut Engine, now: Instant) -> Result<(), ScreenError> {
        if engine.cadence.wants_grab() {
            self.watch.sampled(false, now);
            return Ok(());
        }
        let width = self.size.width;
        let rows = self.watch.sample_rows(self.size.height);
        let rects: Vec<Rect> = rows.iter().map(|&y| Rect { x: 0, y, width, height: 1 }).collect();
        let fetched = match self.grabber.fetch(&self.connection, self.root, &rects) {
            Ok(()) => true,
            Err(ScreenError::Refused(_)) => false,
            Err(error) => return Err(error),
        };
        self.read_events(engine)?;
        let conclusive = fetched && !self.geometry_stale && !engine.cadence.wants_grab();
        let scratch = &mut self.scratch;
        let differs = conclusive
            && rows
                .iter()
                .enumerate()
                .any(|(index, &row)| !engine.planes.row_equals(row, self.grabber.pixels(index), scratch));
        if self.watch.sampled(differs, now) == Some(Switch::Poll) {
            tracing::warn!("the screen changed without damage: polling it");
            engine.shared.counters.missed_damage.fetch_add(1, Ordering::Relaxed);
            self.bands.clear();
            self.announced = [false; 2];
            engine.cadence.set_polling(true, now);
            engine.emit(CaptureEvent::MissedDamage { polling: true });
        }
        Ok(())
    }

    /// Asks for another size; only a lost connection is an error.
    pub fn resize(&mut self, engine: &mut Engine, wanted: ScreenMode) -> Result<(), ScreenError> {
        match resize::set_screen(&self.connection, self.root, wanted) {
            Err(error @ (ScreenError::Connection(_) | ScreenError::Connect(_))) => Err(error),
            Err(error) => {
                engine.emit(CaptureEvent::ResizeRefused { reason: error.to_string() });
                Ok(())
            }
            Ok(()) => {
                self.geometry_stale = true;
                Ok(())
            }
        }
    }

    /// False if the screen turned out to have another size: the next grab takes all of it.
    fn fetch(&mut self, engine: &mut Engine, rects: &[Rect]) -> Result<bool, ScreenError> {
        match self.grabber.fetch(&self.connection, self.root, rects) {
            Ok(()) => {
                engine.count_grab(rects);
                Ok(true)
            }
            Err(error @ ScreenError::Refused(_)) => {
                if self.follow_size(engine)? {
                    Ok(false)
                } else {
                    Err(error)
                }
            }
            Err(error) => Err(error),
        }
    }

    fn forget_damage(&self) -> Result<Vec<Rect>, ScreenError> {
        self.connection.damage_subtract(self.damage, x11rb::NONE, x11rb::NONE)?;
        Ok(vec![whole(self.size)])
    }

    fn fetch_damage(&self) -> Result<Vec<Rect>, ScreenError> {
        self.connection.damage_subtract(self.damage, x11rb::NONE, self.region)?;
        let region = self.connection.xfixes_fetch_region(self.region)?.reply()?;
        let rects = region.rectangles.iter().map(|rect| {
            let (x, left_out) = (rect.x.max(0) as u16, rect.x.min(0).unsigned_abs());
            let (y, above) = (rect.y.max(0) as u16, rect.y.min(0).unsigned_abs());
            Rect {
                x,
                y,
                width: rect.width.saturating_sub(left_out),
                height: rect.height.saturating_sub(above),
            }
        });
        Ok(grab_list(rects, self.size))
    }

    /// Takes over the bands of a full grab that differ from the last one.
    fn update_bands(&mut self, engine: &mut Engine) -> bool {
        let all = whole(self.size);
        let stride = stride_of(all);
        let pixels = self.grabber.pixels(0);
        let mut changed = false;
        for (index, band) in pixels.chunks(stride * usize::from(BAND_ROWS)).enumerate() {
            let print = fingerprint(band);
            if self.bands.get(index) == Some(&print) {
                continue;
            }
            match self.bands.get_mut(index) {
                Some(held) => *held = print,
                None => self.bands.push(print),
            }
            let y = index as u16 * BAND_ROWS;
            engine.planes.update(Rect { y, height: (band.len() / stride) as u16, ..all }, band, stride);
            changed = true;
        }
        changed
    }
}

fn stride_of(rect: Rect) -> usize {
    usize::from(rect.width) * BYTES_PER_PIXEL
}

fn size_of(connection: &XConnection, root: Window) -> Result<Size, ScreenError> {
    let geometry = connection.get_geometry(root)?.reply()?;
    Ok(Size { width: geometry.width.max(1), height: geometry.height.max(1) })
}

/// The conversion takes one layout of pixels: the one that practically every X server has.
fn check_pixels(setup: &Setup, screen: &XScreen) -> Result<(), ScreenError> {
    let depth = screen.root_depth;
    let bits =
        setup.pixmap_formats.iter().find(|format| format.depth == depth).map(|format| format.bits_per_pixel);
    let visuals = screen.allowed_depths.iter().flat_map(|depth| &depth.visuals);
    let masks = visuals
        .filter(|visual| visual.visual_id == screen.root_visual)
        .map(|visual| (visual.red_mask, visual.green_mask, visual.blue_mask))
        .next();
    let known = bits == Some(32)
        && setup.image_byte_order == ImageOrder::LSB_FIRST
        && masks == Some((0xff_0000, 0xff00, 0xff));
    if known {
        return Ok(());
    }
    Err(ScreenError::Unsupported(format!(
        "the screen has depth {depth}; only 24-bit colour in 32-bit little-endian pixels can be captured"
    )))
}

fn require_extensions(connection: &XConnection) -> Result<(), ScreenError> {
    for name in [damage::X11_EXTENSION_NAME, xfixes::X11_EXTENSION_NAME, randr::X11_EXTENSION_NAME] {
        if connection.extension_information(name)?.is_none() {
            return Err(ScreenError::Unsupported(format!("the X server has no {name} extension")));
        }
    }
    connection.xfixes_query_version(5, 0)?.reply()?;
    connection.damage_query_version(1, 1)?.reply()?;
    connection.randr_query_version(1, 3)?.reply()?;
    Ok(())
}
