//! Changing the screen's size with RandR, adding a mode where none fits.

use x11rb::connection::Connection;
use x11rb::protocol::randr::{
    self, ConnectionExt as _, GetCrtcInfoReply, GetScreenResourcesCurrentReply, ModeFlag, ModeInfo, SetConfig,
};
use x11rb::protocol::xproto::{ConnectionExt as _, Window};

use super::ScreenError;
use crate::display::XConnection;
use crate::frame::{ScreenMode, Size};

/// Modes that we add are called this and their size.
const MODE_PREFIX: &str = "deskgate-";

/// The one monitor of the screen.
struct Monitor {
    output: u32,
    crtc: u32,
    modes: Vec<u32>,
    config: GetCrtcInfoReply,
}

/// Whether the screen's size can be changed at all.
pub(super) fn can_resize(connection: &XConnection, root: Window) -> bool {
    let probe = || -> Result<bool, ScreenError> {
        let range = connection.randr_get_screen_size_range(root)?.reply()?;
        let resources = connection.randr_get_screen_resources_current(root)?.reply()?;
        let room = range.max_width > range.min_width && range.max_height > range.min_height;
        Ok(room && monitor(connection, &resources)?.is_some())
    };
    probe().unwrap_or(false)
}

/// Changes size and density to `wanted`, or to the nearest size that the server allows; on failure all is as before.
///
/// The new size, if it was changed, is announced by the server's own event.
pub(super) fn set_screen(
    connection: &XConnection,
    root: Window,
    ScreenMode { size: wanted, dpi }: ScreenMode,
) -> Result<(), ScreenError> {
    let range = connection.randr_get_screen_size_range(root)?.reply()?;
    let size = Size {
        width: wanted.width.clamp(range.min_width.max(1), range.max_width.max(1)),
        height: wanted.height.clamp(range.min_height.max(1), range.max_height.max(1)),
    };
    let resources = connection.randr_get_screen_resources_current(root)?.reply()?;
    let monitor = monitor(connection, &resources)?
        .ok_or_else(|| ScreenError::Unsupported("the screen has not exactly one monitor".into()))?;
    let now = connection.get_geometry(root)?.reply()?;
    let before = Size { width: now.width, height: now.height };
    let mode = find_or_add_mode(connection, root, &resources, &monitor, size)?;
    // Programs that hear of the new size look at the density then.
    super::dpi::announce(connection, root, dpi)?;
    if before == size && monitor.config.mode == mode {
        return set_screen_size(connection, root, ScreenMode { size, dpi });
    }
    let former = ScreenMode { size: before, dpi };
    // Other programs must not see, and react to, the moment without a mode.
    connection.grab_server()?;
    let outcome = apply(connection, root, &monitor, mode, ScreenMode { size, dpi }).inspect_err(|_| {
        if let Err(error) = apply(connection, root, &monitor, monitor.config.mode, former) {
            tracing::warn!(%error, "the former screen size could not be restored");
        }
    });
    connection.ungrab_server()?;
    if outcome.is_ok() {
        remove_old_modes(connection, &resources, &monitor, mode);
    }
    connection.flush()?;
    outcome
}

fn monitor(
    connection: &XConnection,
    resources: &GetScreenResourcesCurrentReply,
) -> Result<Option<Monitor>, ScreenError> {
    let mut found = None;
    for &output in &resources.outputs {
        let info = connection.randr_get_output_info(output, resources.config_timestamp)?.reply()?;
        if info.crtc == x11rb::NONE {
            continue;
        }
        if found.is_some() {
            return Ok(None);
        }
        let config = connection.randr_get_crtc_info(info.crtc, resources.config_timestamp)?.reply()?;
        found = Some(Monitor { output, crtc: info.crtc, modes: info.modes, config });
    }
    Ok(found)
}

fn find_or_add_mode(
    connection: &XConnection,
    root: Window,
    resources: &GetScreenResourcesCurrentReply,
    monitor: &Monitor,
    size: Size,
) -> Result<u32, ScreenError> {
    let fits = |mode: &&ModeInfo| (mode.width, mode.height) == (size.width, size.height);
    let mut fitting: Vec<u32> = resources.modes.iter().filter(fits).map(|mode| mode.id).collect();
    // The mode in use first, then one that the monitor has already.
    fitting.sort_by_key(|mode| (*mode != monitor.config.mode, !monitor.modes.contains(mode)));
    let mode = match fitting.first() {
        Some(&mode) => mode,
        None => {
            let name = format!("{MODE_PREFIX}{}x{}", size.width, size.height);
            connection.randr_create_mode(root, timings(size, name.len()), name.as_bytes())?.reply()?.mode
        }
    };
    if !monitor.modes.contains(&mode) {
        connection.randr_add_output_mode(monitor.output, mode)?.check()?;
    }
    Ok(mode)
}

/// Timings of reduced blanking at 60 Hz: a virtual monitor ignores them, but a driver may check them.
fn timings(size: Size, name_len: usize) -> ModeInfo {
    let (width, height) = (size.width, size.height);
    let (total_width, total_height) = (width.saturating_add(160), height.saturating_add(40));
    ModeInfo {
        id: 0,
        width,
        height,
        dot_clock: u32::from(total_width).saturating_mul(u32::from(total_height)).saturating_mul(60),
        hsync_start: width.saturating_add(48),
        hsync_end: width.saturating_add(80),
        htotal: total_width,
        hskew: 0,
        vsync_start: height.saturating_add(3),
        vsync_end: height.saturating_add(9),
        vtotal: total_height,
        name_len: name_len as u16,
        mode_flags: ModeFlag::HSYNC_POSITIVE | ModeFlag::VSYNC_NEGATIVE,
    }
}

fn apply(
    connection: &XConnection,
    root: Window,
    monitor: &Monitor,
    mode: u32,
    wanted: ScreenMode,
) -> Result<(), ScreenError> {
    // The monitor must fit into the screen at every step, so it is off while the screen changes.
    configure(connection, root, monitor, x11rb::NONE, &[])?;
    set_screen_size(connection, root, wanted)?;
    configure(connection, root, monitor, mode, &[monitor.output])
}

/// Pixels, and the millimetres that make them as dense as is wanted.
fn set_screen_size(
    connection: &XConnection,
    root: Window,
    ScreenMode { size, dpi }: ScreenMode,
) -> Result<(), ScreenError> {
    let millimetres = |pixels: u16| (u32::from(pixels) * 254 / (u32::from(dpi.max(1)) * 10)).max(1);
    connection
        .randr_set_screen_size(
            root,
            size.width,
            size.height,
            millimetres(size.width),
            millimetres(size.height),
        )?
        .check()?;
    Ok(())
}

fn configure(
    connection: &XConnection,
    root: Window,
    monitor: &Monitor,
    mode: u32,
    outputs: &[u32],
) -> Result<(), ScreenError> {
    // Adding a mode changes the configuration's time, and one that is out of date is refused.
    let time = connection.randr_get_screen_resources_current(root)?.reply()?.config_timestamp;
    let reply = connection
        .randr_set_crtc_config(
            monitor.crtc,
            x11rb::CURRENT_TIME,
            time,
            0,
            0,
            mode,
            randr::Rotation::ROTATE0,
            outputs,
        )?
        .reply()?;
    match reply.status {
        SetConfig::SUCCESS => Ok(()),
        status => Err(ScreenError::Unsupported(format!("the X server refused the mode ({status:?})"))),
    }
}

/// Windows are resized often: modes of ours that are not in use are not left behind.
fn remove_old_modes(
    connection: &XConnection,
    resources: &GetScreenResourcesCurrentReply,
    monitor: &Monitor,
    in_use: u32,
) {
    let mut names = resources.names.as_slice();
    for mode in &resources.modes {
        let Some((name, rest)) = names.split_at_checked(mode.name_len.into()) else { return };
        names = rest;
        if mode.id == in_use || !name.starts_with(MODE_PREFIX.as_bytes()) {
            continue;
        }
        let removed = connection
            .randr_delete_output_mode(monitor.output, mode.id)
            .and_then(|_| connection.randr_destroy_mode(mode.id));
        if let Err(error) = removed {
            tracing::debug!(%error, "an old mode stays");
        }
    }
}
