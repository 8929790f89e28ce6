//! The rig's full-screen window on X server A and the pictures kept in that server's memory.

use std::time::Instant;

use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    ChangeGCAux, ConnectionExt, CreateGCAux, CreateWindowAux, Font, Gcontext, ImageFormat, Pixmap, Rectangle,
    Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;

use super::scene::{self, Colour, Rect};
use super::{HEIGHT, Result, WIDTH};

const DEPTH: u8 = 24;
const PAGES: u16 = 3;
/// Height in pixels of the text picture: three full pages, one below the other.
pub const TEXT_HEIGHT: u16 = HEIGHT * PAGES;
const LINE_PITCH: u16 = 15;

/// Draws on X server A. Every visible change is one copy from a finished picture, so that no
/// capture can see half of it.
pub struct Canvas {
    conn: RustConnection,
    window: Window,
    gc: Gcontext,
    back: Pixmap,
    texture: Pixmap,
    text: Pixmap,
}

impl Canvas {
    /// Opens the window under `root`, uploads the texture and writes the text pages.
    pub fn open(conn: RustConnection, root: Window) -> Result<Self> {
        let window = conn.generate_id()?;
        let aux = CreateWindowAux::new().override_redirect(1).background_pixel(0);
        let (depth, class) = (x11rb::COPY_DEPTH_FROM_PARENT, WindowClass::INPUT_OUTPUT);
        conn.create_window(depth, window, root, 0, 0, WIDTH, HEIGHT, 0, class, 0, &aux)?;
        conn.map_window(window)?;
        let gc = conn.generate_id()?;
        conn.create_gc(gc, window, &CreateGCAux::new().graphics_exposures(0))?;
        let pixmap = |width, height| -> Result<Pixmap> {
            let id = conn.generate_id()?;
            conn.create_pixmap(DEPTH, id, window, width, height)?;
            Ok(id)
        };
        let back = pixmap(WIDTH, HEIGHT)?;
        let texture = pixmap(scene::TEXTURE_WIDTH, scene::TEXTURE_HEIGHT)?;
        let text = pixmap(WIDTH, TEXT_HEIGHT)?;
        let canvas = Self { conn, window, gc, back, texture, text };
        canvas.upload_texture()?;
        canvas.write_text()?;
        canvas.sync()?;
        Ok(canvas)
    }

    /// Shows a frame of the motion; the answer is the time just before it was sent.
    pub fn show_frame(&self, frame: scene::Frame) -> Result<Instant> {
        let (x, y) = (frame.texture_x, frame.texture_y);
        self.conn.copy_area(self.texture, self.back, self.gc, x, y, 0, 0, WIDTH, HEIGHT)?;
        for (colour, rects) in frame.paint {
            self.paint(self.back, colour, &rects)?;
        }
        self.present(self.back, 0)
    }

    /// Shows the text from row `top` on; the answer is the time just before it was sent.
    pub fn show_text(&self, top: u16) -> Result<Instant> {
        self.present(self.text, top)
    }

    /// Shows a still desktop: a page of text with a picture, the patch and the corner marks on it.
    pub fn show_desktop(&self, patch: usize) -> Result<Instant> {
        self.conn.copy_area(self.text, self.back, self.gc, 0, 0, 0, 0, WIDTH, HEIGHT)?;
        self.conn.copy_area(self.texture, self.back, self.gc, 0, 0, 560, 160, 640, 400)?;
        for (colour, rects) in scene::corner_marks() {
            self.paint(self.back, colour, &rects)?;
        }
        self.paint(self.back, scene::PATCH_COLOURS[patch % 2], &[scene::PATCH])?;
        self.present(self.back, 0)
    }

    /// Paints rectangles straight on the window; the answer is the time just before it was sent.
    pub fn paint_now(&self, colour: Colour, rects: &[Rect]) -> Result<Instant> {
        self.paint(self.window, colour, rects)?;
        let sent = Instant::now();
        self.conn.flush()?;
        Ok(sent)
    }

    /// Waits until the server has done everything asked for.
    pub fn sync(&self) -> Result<()> {
        self.conn.get_input_focus()?.reply()?;
        Ok(())
    }

    fn present(&self, picture: Pixmap, top: u16) -> Result<Instant> {
        self.conn.copy_area(picture, self.window, self.gc, 0, top as i16, 0, 0, WIDTH, HEIGHT)?;
        let sent = Instant::now();
        self.conn.flush()?;
        Ok(sent)
    }

    fn paint(&self, target: u32, colour: Colour, rects: &[Rect]) -> Result<()> {
        let rects: Vec<Rectangle> =
            rects.iter().map(|r| Rectangle { x: r.x, y: r.y, width: r.width, height: r.height }).collect();
        self.conn.change_gc(self.gc, &ChangeGCAux::new().foreground(colour))?;
        self.conn.poly_fill_rectangle(target, self.gc, &rects)?;
        Ok(())
    }

    fn upload_texture(&self) -> Result<()> {
        let pixels = scene::texture_bgrx();
        let row = usize::from(scene::TEXTURE_WIDTH) * 4;
        const ROWS: usize = 16;
        for (strip, data) in pixels.chunks(row * ROWS).enumerate() {
            let (width, height) = (scene::TEXTURE_WIDTH, (data.len() / row) as u16);
            let (top, format) = ((strip * ROWS) as i16, ImageFormat::Z_PIXMAP);
            self.conn.put_image(format, self.texture, self.gc, width, height, 0, top, 0, DEPTH, data)?;
        }
        Ok(())
    }

    fn write_text(&self) -> Result<()> {
        let all = Rect { x: 0, y: 0, width: WIDTH, height: TEXT_HEIGHT };
        self.paint(self.text, 0xffffff, &[all])?;
        let font: Font = self.conn.generate_id()?;
        self.conn.open_font(font, b"fixed")?.check()?;
        let ink = ChangeGCAux::new().font(font).foreground(0x1c1c1c).background(0xffffff);
        self.conn.change_gc(self.gc, &ink)?;
        for line in 0..TEXT_HEIGHT / LINE_PITCH {
            let baseline = (line * LINE_PITCH + 12) as i16;
            let words = scene::text_line(u32::from(line));
            self.conn.image_text8(self.text, self.gc, 12, baseline, words.as_bytes())?.check()?;
        }
        self.conn.close_font(font)?;
        Ok(())
    }
}
