//! The pointer's shape as a PNG. The pointer itself is never part of a frame: the browser draws it.

use x11rb::protocol::xfixes::{ConnectionExt as _, GetCursorImageReply};

use super::ScreenError;
use crate::capture::CursorImage;
use crate::display::XConnection;
use crate::frame::Size;

/// No cursor is larger; what claims to be is not sent.
const MAX_EDGE: u16 = 512;

/// Remembers what was sent.
#[derive(Default)]
pub(super) struct CursorTracker {
    sent: Option<Option<CursorImage>>,
}

impl CursorTracker {
    /// Asks for the shape; gives it back only if it is news (inner none: the pointer is hidden).
    pub fn fetch(&mut self, connection: &XConnection) -> Result<Option<Option<CursorImage>>, ScreenError> {
        let image = image_of(&connection.xfixes_get_cursor_image()?.reply()?);
        if self.sent.as_ref() == Some(&image) {
            return Ok(None);
        }
        self.sent = Some(image.clone());
        Ok(Some(image))
    }
}

fn image_of(reply: &GetCursorImageReply) -> Option<CursorImage> {
    let size = Size { width: reply.width, height: reply.height };
    let visible = reply.cursor_image.iter().any(|argb| argb >> 24 != 0);
    if !visible || size.width > MAX_EDGE || size.height > MAX_EDGE {
        return None;
    }
    let rgba: Vec<u8> = reply.cursor_image.iter().copied().flat_map(straight_alpha).collect();
    let png = encode(size, &rgba)?;
    Some(CursorImage { png: png.into(), size, hot_x: reply.xhot, hot_y: reply.yhot })
}

/// X has colours multiplied by alpha, PNG has not.
fn straight_alpha(argb: u32) -> [u8; 4] {
    let [blue, green, red, alpha] = argb.to_le_bytes();
    let divide = |channel: u8| match u32::from(alpha) {
        0 => 0,
        alpha => ((u32::from(channel) * 255 + alpha / 2) / alpha).min(255) as u8,
    };
    [divide(red), divide(green), divide(blue), alpha]
}

fn encode(size: Size, rgba: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, size.width.into(), size.height.into());
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(rgba).ok()?;
    writer.finish().ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(width: u16, height: u16, cursor_image: Vec<u32>) -> GetCursorImageReply {
        GetCursorImageReply {
            sequence: 0,
            length: 0,
            x: 0,
            y: 0,
            width,
            height,
            xhot: 1,
            yhot: 0,
            cursor_serial: 7,
            cursor_image,
        }
    }

    #[test]
    fn colours_are_divided_by_alpha() {
        assert_eq!(straight_alpha(0x8040_2000), [128, 64, 0, 0x80]);
        assert_eq!(straight_alpha(0xff12_3456), [0x12, 0x34, 0x56, 0xff]);
        assert_eq!(straight_alpha(0x00ff_ffff), [0, 0, 0, 0]);
        assert_eq!(straight_alpha(0x10ff_ffff), [255, 255, 255, 0x10], "more colour than alpha is clamped");
    }

    #[test]
    fn the_png_holds_the_pixels() {
        let image = image_of(&reply(2, 1, vec![0xff00_00ff, 0])).unwrap();
        assert_eq!((image.size, image.hot_x), (Size { width: 2, height: 1 }, 1));
        let mut reader = png::Decoder::new(std::io::Cursor::new(&image.png[..])).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, [0, 0, 255, 255, 0, 0, 0, 0]);
    }

    #[test]
    fn transparent_and_malformed_cursors_are_hidden() {
        assert_eq!(image_of(&reply(1, 1, vec![0])), None);
        assert_eq!(image_of(&reply(2, 2, vec![0xffff_ffff])), None, "too few pixels");
        assert_eq!(image_of(&reply(0, 0, vec![])), None);
    }
}
