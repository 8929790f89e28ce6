//! From RTP to pictures: GStreamer, its picture handed to [`Sight`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks, AppSrc};
use gstreamer_video::{VideoFrameExt, VideoFrameRef, VideoInfo};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::picture::{Luma, Sight};
use crate::frame::{Codec, Size};

/// Decoders, in order of preference: ffmpeg's first, for it conceals least.
const H264: [&str; 3] = ["avdec_h264", "openh264dec", "vah264dec"];
const VP8: [&str; 2] = ["vp8dec", "avdec_vp8"];

/// What a viewer has seen, as it is filled in from GStreamer's threads.
#[derive(Debug)]
pub struct Seen {
    /// Zero of all times.
    pub start: Instant,
    /// Pictures.
    pub sight: Sight,
    /// The first packet of video.
    pub first_packet: Option<Duration>,
    /// The first picture.
    pub first_frame: Option<Duration>,
    /// As in SDP.
    pub codec: Option<Codec>,
    /// The element that decodes.
    pub decoder: Option<&'static str>,
    /// Told of the first picture.
    pub arrived: Arc<Notify>,
}

impl Seen {
    /// Nothing yet.
    pub fn new(start: Instant) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            start,
            sight: Sight::default(),
            first_packet: None,
            first_frame: None,
            codec: None,
            decoder: None,
            arrived: Arc::default(),
        }))
    }

    /// A packet came just now.
    pub fn packet(&mut self) {
        let at = self.start.elapsed();
        self.first_packet.get_or_insert(at);
    }

    fn picture(&mut self, luma: Luma<'_>) {
        let at = self.start.elapsed();
        self.sight.see(at, luma);
        if self.first_frame.replace(self.first_frame.unwrap_or(at)).is_none() {
            self.arrived.notify_one();
        }
    }
}

/// Locks, whatever happened to another thread.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first decoder that is installed.
///
/// # Errors
/// What to install; for people.
pub fn decoder(codec: Codec) -> Result<&'static str, String> {
    let names: &[&'static str] = match codec {
        Codec::H264 => &H264,
        Codec::Vp8 => &VP8,
    };
    names.iter().copied().find(|name| gst::ElementFactory::find(name).is_some()).ok_or_else(|| {
        format!(
            "no decoder for {} is installed: one of {} (Debian: gstreamer1.0-libav, gstreamer1.0-plugins-bad, \
             gstreamer1.0-plugins-good)",
            codec.name(),
            names.join(", ")
        )
    })
}

/// Elements from RTP of a codec to its decoder.
fn depayloader(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => "rtph264depay request-keyframe=true ! h264parse",
        Codec::Vp8 => "rtpvp8depay request-keyframe=true",
    }
}

/// A bin that takes RTP of `codec` and fills `seen`.
///
/// # Errors
/// For people.
pub fn bin(codec: Codec, seen: &Arc<Mutex<Seen>>) -> Result<gst::Bin, String> {
    build(depayloader(codec), codec, seen, true)
}

fn build(front: &str, codec: Codec, seen: &Arc<Mutex<Seen>>, open: bool) -> Result<gst::Bin, String> {
    let name = decoder(codec)?;
    let text = format!(
        "{front} ! queue max-size-buffers=100 max-size-bytes=0 max-size-time=0 ! {name} ! \
         appsink name=sink sync=false max-buffers=4 drop=false caps=\"video/x-raw,format=(string){{I420,YV12,NV12}}\""
    );
    let bin = gst::parse::bin_from_description(&text, open).map_err(|e| format!("{name}: {e}"))?;
    let sink = bin.by_name("sink").and_downcast::<AppSink>().ok_or("no sink")?;
    let pictures = seen.clone();
    sink.set_callbacks(
        AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                take(&sample, &pictures);
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    let mut seen = lock(seen);
    seen.codec = Some(codec);
    seen.decoder = Some(name);
    drop(seen);
    Ok(bin)
}

/// Decodes what is pushed into it. Ends when dropped.
pub struct Feed {
    pipeline: gst::Pipeline,
    source: AppSrc,
    seen: Arc<Mutex<Seen>>,
}

impl Feed {
    /// For RTP packets.
    ///
    /// # Errors
    /// For people.
    pub fn rtp(codec: Codec, payload_type: u8, seen: &Arc<Mutex<Seen>>) -> Result<Self, String> {
        let name = codec.name();
        let caps = format!(
            "application/x-rtp,media=video,encoding-name={name},payload={payload_type},clock-rate=90000"
        );
        Self::start(&caps, depayloader(codec), codec, seen)
    }

    /// For access units, as they come over the WebSocket.
    ///
    /// # Errors
    /// For people.
    pub fn units(codec: Codec, seen: &Arc<Mutex<Seen>>) -> Result<Self, String> {
        match codec {
            Codec::H264 => {
                Self::start("video/x-h264,stream-format=byte-stream,alignment=au", "h264parse", codec, seen)
            }
            Codec::Vp8 => Self::start("video/x-vp8", "identity", codec, seen),
        }
    }

    fn start(caps: &str, front: &str, codec: Codec, seen: &Arc<Mutex<Seen>>) -> Result<Self, String> {
        gst::init().map_err(|e| e.to_string())?;
        let front = format!(
            "appsrc name=source is-live=true format=time do-timestamp=true caps=\"{caps}\" ! {front}"
        );
        let bin = build(&front, codec, seen, false)?;
        let source = bin.by_name("source").and_downcast::<AppSrc>().ok_or("no source")?;
        let pipeline = gst::Pipeline::new();
        pipeline.add(&bin).map_err(|e| e.to_string())?;
        pipeline.set_state(gst::State::Playing).map_err(|e| format!("the decoder does not start: {e}"))?;
        Ok(Self { pipeline, source, seen: seen.clone() })
    }

    /// One packet, or one access unit.
    pub fn push(&self, bytes: impl AsRef<[u8]> + Send + 'static) {
        lock(&self.seen).packet();
        // A decoder that broke shows by what it does not decode.
        let _ = self.source.push_buffer(gst::Buffer::from_slice(bytes));
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn take(sample: &gst::Sample, seen: &Mutex<Seen>) {
    let Some((info, buffer)) =
        sample.caps().and_then(|caps| VideoInfo::from_caps(caps).ok()).zip(sample.buffer())
    else {
        return;
    };
    let Ok(frame) = VideoFrameRef::from_buffer_ref_readable(buffer, &info) else { return };
    let edge = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX);
    let size = Size { width: edge(frame.width()), height: edge(frame.height()) };
    let stride = frame.plane_stride().first().and_then(|s| usize::try_from(*s).ok());
    if let (Ok(bytes), Some(stride)) = (frame.plane_data(0), stride) {
        lock(seen).picture(Luma { bytes, stride, size });
    }
}
