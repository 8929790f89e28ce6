//! The parts of a GStreamer pipeline around one encoder: caps, properties, source, pool, errors.

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::catalog::{Entry, Matrix, Terms};
use super::picture::Layout;
use super::runner::RunnerError;
use super::version::Version;
use crate::frame::PixelFormat;

/// Buffers in the pool: one waiting, one being encoded, one kept as the last frame, the rest for encoders that
/// hold on to their input.
const POOL: u32 = 8;

pub(super) fn child<T: IsA<gst::Element>>(pipeline: &gst::Pipeline, name: &str) -> Result<T, RunnerError> {
    pipeline
        .by_name(name)
        .and_then(|element| element.downcast().ok())
        .ok_or_else(|| RunnerError::Pipeline(format!("the launch line has no `{name}`")))
}

pub(super) fn raw_caps(layout: &Layout, matrix: Matrix, fps: u32) -> Result<gst::Caps, RunnerError> {
    let format = match layout.format {
        PixelFormat::Nv12 => gst_video::VideoFormat::Nv12,
        PixelFormat::I420 => gst_video::VideoFormat::I420,
    };
    use gst_video::{VideoColorMatrix, VideoColorPrimaries, VideoTransferFunction};
    let (matrix, transfer, primaries) = match matrix {
        Matrix::Bt601 => {
            (VideoColorMatrix::Bt601, VideoTransferFunction::Bt601, VideoColorPrimaries::Smpte170m)
        }
        Matrix::Bt709 => (VideoColorMatrix::Bt709, VideoTransferFunction::Bt709, VideoColorPrimaries::Bt709),
    };
    let range = gst_video::VideoColorRange::Range16_235;
    let colorimetry = gst_video::VideoColorimetry::new(range, matrix, transfer, primaries);
    let (width, height) = (u32::from(layout.size.width), u32::from(layout.size.height));
    let info = gst_video::VideoInfo::builder(format, width, height)
        .fps(gst::Fraction::new(i32::try_from(fps).unwrap_or(i32::MAX), 1))
        // Encoders that can write it into the stream.
        .colorimetry(&colorimetry)
        .build()
        .map_err(|error| RunnerError::Pipeline(format!("{width}x{height}: {error}")))?;
    if info.size() != layout.bytes {
        return Err(RunnerError::Pipeline(format!("{width}x{height} is not laid out as expected")));
    }
    info.to_caps().map_err(|error| RunnerError::Pipeline(error.to_string()))
}

/// Sets what does not change while it runs, then bitrate and buffer.
pub(super) fn apply(
    entry: &Entry,
    version: Version,
    terms: &Terms,
    encoder: &gst::Element,
) -> Result<(), RunnerError> {
    let refused = |name: &str, value: &str| {
        RunnerError::Pipeline(format!("{} does not take {name}={value}", entry.encoder_element()))
    };
    let mut settings: Vec<(String, String)> =
        entry.properties(version).into_iter().map(|(name, value)| (name, value.text(terms))).collect();
    let (kbps, fps) = (terms.bitrate_kbps, terms.fps);
    settings.extend(entry.vbv.iter().map(|vbv| (vbv.property.clone(), vbv.value(kbps, fps).to_string())));
    let bitrate = entry.bitrate_value(kbps, fps, f64::from(fps));
    settings.push((entry.bitrate.property.clone(), bitrate.to_string()));
    for (name, value) in settings {
        if !write(encoder, &name, &value) && !entry.optional.contains(&name) {
            return Err(refused(&name, &value));
        }
    }
    Ok(())
}

/// Sets a property from text; false if there is none of that name or it does not take the value.
pub(super) fn write(element: &gst::Element, name: &str, value: &str) -> bool {
    let Some(spec) = element.find_property(name) else { return false };
    let Ok(value) = gst::glib::Value::deserialize_with_pspec(value, &spec) else { return false };
    element.set_property_from_value(name, &value);
    true
}

pub(super) fn feed_from(source: &gst_app::AppSrc, caps: &gst::Caps) {
    source.set_caps(Some(caps));
    source.set_format(gst::Format::Time);
    source.set_is_live(true);
    source.set_do_timestamp(false);
    source.set_block(false);
    source.set_max_bytes(0);
    // One frame waits; a newer one takes its place, so that nothing old is ever encoded.
    source.set_max_buffers(1);
    source.set_leaky_type(gst_app::AppLeakyType::Downstream);
}

pub(super) fn classify(message: &gst::message::Error) -> RunnerError {
    let error = message.error();
    let text = match message.debug() {
        Some(debug) => format!("{error} ({})", debug.lines().last().unwrap_or("").trim()),
        None => error.to_string(),
    };
    match error.kind::<gst::ResourceError>() {
        Some(
            gst::ResourceError::NotFound
            | gst::ResourceError::OpenRead
            | gst::ResourceError::OpenWrite
            | gst::ResourceError::OpenReadWrite,
        ) => RunnerError::NoDevice(text),
        _ => RunnerError::Refused(text),
    }
}

pub(super) fn pool_of(caps: &gst::Caps, layout: &Layout) -> Result<gst::BufferPool, RunnerError> {
    let failed = |error: gst::glib::BoolError| RunnerError::Pipeline(error.to_string());
    let size = u32::try_from(layout.bytes)
        .map_err(|_| RunnerError::Pipeline("the picture is too large".to_owned()))?;
    let pool = gst::BufferPool::new();
    let mut config = pool.config();
    config.set_params(Some(caps), size, 2, POOL);
    pool.set_config(config).map_err(failed)?;
    pool.set_active(true).map_err(failed)?;
    Ok(pool)
}
