//! The GStreamer element `deskgatex264enc`: raw frames in, access units out on the same thread, one for each.

use std::sync::Mutex;
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst_video::prelude::*;
use gst_video::subclass::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use super::activity::{Activity, Picture};
use super::compose::Composed;
use super::control::Control;
use super::library::{Encoder, Library, Terms, X264Error};
use crate::frame::{Plane, Size};
use crate::media::runner::lock;

/// Factory name.
const NAME: &str = "deskgatex264enc";

/// Less than so many pixels take a second thread longer to wake than to code.
const PIXELS_OF_A_THREAD: u32 = 1_200_000;

/// Makes the element known to GStreamer, where libx264 can be had.
///
/// # Errors
/// Why it cannot; the element does not exist then.
pub fn register() -> Result<(), String> {
    Library::get().map_err(|error| error.to_string())?;
    gst::Element::register(None, NAME, gst::Rank::NONE, Element::static_type())
        .map_err(|error| error.to_string())
}

/// The element's factory name and why it does not exist, where it does not.
pub fn missing() -> Option<(&'static str, String)> {
    Library::get().err().map(|error| (NAME, error.to_string()))
}

glib::wrapper! {
    /// See the module.
    pub struct Element(ObjectSubclass<Inside>)
        @extends gst_video::VideoEncoder, gst::Element, gst::Object, @implements gst::Preset;
}

/// What the element holds.
#[derive(Default)]
pub struct Inside {
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
}

#[derive(Clone, Copy)]
struct Settings {
    kbps: u32,
    threads: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { kbps: 8_000, threads: 1 }
    }
}

/// What there is while frames come.
struct State {
    encoder: Encoder,
    control: Control,
    activity: Activity,
    composed: Composed,
    info: gst_video::VideoInfo,
    before: Option<Frame>,
}

type Frame = gst_video::VideoFrame<gst_video::video_frame::Readable>;

#[glib::object_subclass]
impl ObjectSubclass for Inside {
    const NAME: &'static str = "DeskgateX264Enc";
    type Type = Element;
    type ParentType = gst_video::VideoEncoder;
}

impl ObjectImpl for Inside {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: std::sync::OnceLock<Vec<glib::ParamSpec>> = std::sync::OnceLock::new();
        PROPERTIES.get_or_init(|| {
            let number = |name, nick, about, default| {
                glib::ParamSpecUInt::builder(name)
                    .nick(nick)
                    .blurb(about)
                    .minimum(1)
                    .default_value(default)
                    .mutable_playing()
                    .build()
            };
            let Settings { kbps, threads } = Settings::default();
            vec![
                number("bitrate", "Bitrate", "kbit/s, from the next frame on", kbps),
                number(
                    "threads",
                    "Threads",
                    "Most slices of a frame, each coded by a thread; read at the start",
                    threads,
                ),
            ]
        })
    }

    fn set_property(&self, _id: usize, value: &glib::Value, spec: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        let field = if spec.name() == "bitrate" { &mut settings.kbps } else { &mut settings.threads };
        // GObject lets no other type through.
        *field = value.get().unwrap_or(*field);
    }

    fn property(&self, _id: usize, spec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        if spec.name() == "bitrate" { settings.kbps.to_value() } else { settings.threads.to_value() }
    }
}

impl GstObjectImpl for Inside {}

impl ElementImpl for Inside {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: std::sync::OnceLock<gst::subclass::ElementMetadata> = std::sync::OnceLock::new();
        Some(METADATA.get_or_init(|| {
            gst::subclass::ElementMetadata::new(
                "H.264 encoder for desktops",
                "Codec/Encoder/Video",
                "libx264, told by what changed how finely to code",
                "Deskgate",
            )
        }))
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: std::sync::OnceLock<Vec<gst::PadTemplate>> = std::sync::OnceLock::new();
        TEMPLATES.get_or_init(|| {
            let raw = gst_video::VideoCapsBuilder::new().format(gst_video::VideoFormat::Nv12).build();
            let template = |name, direction, caps: &gst::Caps| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, caps)
            };
            [
                template("sink", gst::PadDirection::Sink, &raw),
                template("src", gst::PadDirection::Src, &coded()),
            ]
            .into_iter()
            .flatten()
            .collect()
        })
    }
}

fn coded() -> gst::Caps {
    gst::Caps::builder("video/x-h264")
        .field("stream-format", "byte-stream")
        .field("alignment", "au")
        .field("profile", "constrained-baseline")
        .build()
}

impl VideoEncoderImpl for Inside {
    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = None;
        Ok(())
    }

    fn set_format(
        &self,
        input: &gst_video::VideoCodecState<'static, gst_video::video_codec_state::Readable>,
    ) -> Result<(), gst::LoggableError> {
        *lock(&self.state) = None;
        let refused = |error: &dyn std::fmt::Display| gst::loggable_error!(gst::CAT_RUST, "{}", error);
        let state = State::new(input.info(), *lock(&self.settings)).map_err(|error| {
            gst::element_imp_error!(self, gst::StreamError::Encode, ["{error}"]);
            refused(&error)
        })?;
        *lock(&self.state) = Some(state);
        let element = self.obj();
        let output = element.set_output_state(coded(), Some(input)).map_err(|error| refused(&error))?;
        element.negotiate(output).map_err(|error| refused(&error))
    }

    fn handle_frame(
        &self,
        mut frame: gst_video::VideoCodecFrame<'_>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let key_frame = frame.flags().contains(gst_video::VideoCodecFrameFlags::FORCE_KEYFRAME);
        let kbps = lock(&self.settings).kbps;
        let unit = {
            let mut state = lock(&self.state);
            let state = state.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
            let input = frame.input_buffer_owned().ok_or(gst::FlowError::Error)?;
            state.encode(input, kbps, key_frame)
        };
        let (unit, key_frame) = unit.map_err(|error| {
            gst::element_imp_error!(self, gst::StreamError::Encode, ["{error}"]);
            gst::FlowError::Error
        })?;
        if key_frame {
            frame.set_flags(gst_video::VideoCodecFrameFlags::SYNC_POINT);
        }
        frame.set_output_buffer(unit);
        self.obj().finish_frame(frame)
    }
}

impl State {
    fn new(info: &gst_video::VideoInfo, settings: Settings) -> Result<Self, X264Error> {
        let side = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
        let size = Size { width: side(info.width()), height: side(info.height()) };
        let fps = info.fps();
        let fps = u32::try_from(fps.numer() / fps.denom().max(1)).unwrap_or(0).max(1);
        let threads = settings
            .threads
            .min((u32::from(size.width) * u32::from(size.height)).div_ceil(PIXELS_OF_A_THREAD));
        Ok(Self {
            encoder: Encoder::open(&Terms { size, fps, threads })?,
            control: Control::new(settings.kbps, fps),
            activity: Activity::default(),
            composed: Composed::default(),
            info: info.clone(),
            before: None,
        })
    }

    /// The access unit, and whether it is a key frame.
    fn encode(
        &mut self,
        input: gst::Buffer,
        kbps: u32,
        key_frame: bool,
    ) -> Result<(gst::Buffer, bool), X264Error> {
        let size = self.encoder.size();
        let frame = Frame::from_buffer_readable(input, &self.info).map_err(|_| X264Error::Picture(size))?;
        let before = self.before.take();
        let key_frame = key_frame || before.is_none();
        let picture = picture_of(&frame, size)?;
        let compared = before.as_ref().map(|before| picture_of(before, size)).transpose()?;
        self.activity.look(&picture, compared.as_ref());
        self.control.set_bitrate(kbps);
        let plan = self.control.plan(self.activity.blocks(), key_frame, Instant::now());
        let input = match self.encoder.decoded().filter(|_| plan.keeps()) {
            Some(decoded) => self.composed.compose(&picture, &decoded, &plan.kept),
            None => {
                // Needed again when something else has become still: memory of a frame's size is not kept for that.
                self.composed = Composed::default();
                picture
            }
        };
        let unit = self.encoder.encode(&input, plan.quantiser, key_frame)?;
        self.control.coded(self.activity.blocks(), unit.data.len());
        let (unit, key_frame) = (gst::Buffer::from_slice(unit.data.to_vec()), unit.key_frame);
        self.before = Some(frame);
        Ok((unit, key_frame))
    }
}

fn picture_of(frame: &Frame, size: Size) -> Result<Picture<'_>, X264Error> {
    let plane = |index: u32| {
        let data = frame.plane_data(index).map_err(|_| X264Error::Picture(size))?;
        let stride = usize::try_from(frame.plane_stride()[index as usize]);
        Ok(Plane { data, stride: stride.map_err(|_| X264Error::Picture(size))? })
    };
    Ok(Picture { size, luma: plane(0)?, chroma: plane(1)? })
}
