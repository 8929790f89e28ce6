//! libx264, loaded at run time: the few of its functions that the element needs.
//!
//! Its structures have no stable layout; only their beginnings are used, which are those of builds in [`BUILDS`], and
//! [`Library::load`] looks whether a value that is set by name stands where it is expected.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;

use libloading::os::unix::{Library as Loaded, Symbol};
use thiserror::Error;

use super::activity::Picture;
use crate::frame::{Plane, Size};

/// `X264_BUILD` of the libraries whose structures are known: Debian 12 and 13, Ubuntu 24.04.
const BUILDS: [u32; 1] = [164];
/// `X264_CSP_I420`, which parameters begin with.
const CSP_I420: c_int = 2;
/// `X264_CSP_NV12`.
const CSP_NV12: c_int = 4;
/// `X264_TYPE_IDR`.
const TYPE_IDR: c_int = 1;
/// More than any `x264_param_t` (1,024 bytes in build 164) or `x264_picture_t` (240) takes.
const ROOM: usize = 8_192;

/// Why an encoder cannot be had, or does not encode.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum X264Error {
    #[error("no libx264 of a known build ({BUILDS:?}): {0}")]
    Missing(String),
    #[error("libx264 has another layout than build {0} should have")]
    Layout(u32),
    #[error("libx264 does not take {0}={1}")]
    Parameter(&'static str, String),
    #[error("libx264 refused {0:?}")]
    Refused(Size),
    #[error("libx264 gave no frame back (status {0})")]
    NoFrame(c_int),
    #[error("a picture of {0:?} has too few samples")]
    Picture(Size),
}

/// The first members of `x264_param_t`.
#[repr(C)]
struct Parameters {
    cpu: u32,
    threads: c_int,
    lookahead_threads: c_int,
    sliced_threads: c_int,
    deterministic: c_int,
    cpu_independent: c_int,
    sync_lookahead: c_int,
    width: c_int,
    height: c_int,
    csp: c_int,
    bit_depth: c_int,
    level_idc: c_int,
    rest: [u64; ROOM / 8],
}

/// The first members of `x264_picture_t`, with those of `x264_image_t` inside.
#[repr(C)]
struct RawPicture {
    kind: c_int,
    /// The quantiser plus one; 0 leaves it to x264.
    quantiser: c_int,
    structure: c_int,
    keyframe: c_int,
    pts: i64,
    dts: i64,
    parameters: *mut Parameters,
    csp: c_int,
    planes: c_int,
    strides: [c_int; 4],
    plane: [*mut u8; 4],
    rest: [u64; ROOM / 8],
}

/// The first members of `x264_nal_t`; payloads of one frame lie one behind the other.
#[repr(C)]
struct Nal {
    reference: c_int,
    kind: c_int,
    long_start_code: c_int,
    first_block: c_int,
    last_block: c_int,
    length: c_int,
    payload: *const u8,
}

type Preset = unsafe extern "C" fn(*mut Parameters, *const c_char, *const c_char) -> c_int;
type Parse = unsafe extern "C" fn(*mut Parameters, *const c_char, *const c_char) -> c_int;
type Profile = unsafe extern "C" fn(*mut Parameters, *const c_char) -> c_int;
type Open = unsafe extern "C" fn(*mut Parameters) -> *mut c_void;
type Init = unsafe extern "C" fn(*mut RawPicture);
type Encode =
    unsafe extern "C" fn(*mut c_void, *mut *mut Nal, *mut c_int, *mut RawPicture, *mut RawPicture) -> c_int;
type Close = unsafe extern "C" fn(*mut c_void);

/// The library's functions.
pub(super) struct Library {
    preset: Symbol<Preset>,
    parse: Symbol<Parse>,
    profile: Symbol<Profile>,
    open: Symbol<Open>,
    init: Symbol<Init>,
    encode: Symbol<Encode>,
    close: Symbol<Close>,
    /// Keeps the code in memory.
    _loaded: Loaded,
}

/// What an encoder is opened with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub size: Size,
    pub fps: u32,
    /// Slices of a frame, each coded by a thread.
    pub threads: u32,
}

impl Library {
    /// The library, loaded once.
    pub fn get() -> Result<&'static Self, X264Error> {
        static LIBRARY: OnceLock<Result<Library, X264Error>> = OnceLock::new();
        LIBRARY.get_or_init(Self::load).as_ref().map_err(X264Error::clone)
    }

    fn load() -> Result<Self, X264Error> {
        let mut missing = String::new();
        for build in BUILDS {
            match Self::of(build) {
                Ok(library) => return library.checked(build),
                Err(error) => missing = error.to_string(),
            }
        }
        Err(X264Error::Missing(missing))
    }

    #[allow(unsafe_code)] // Loading code and naming its types cannot be said in safe Rust.
    fn of(build: u32) -> Result<Self, libloading::Error> {
        // SAFETY: the symbols have these types in x264.h, and `open`'s name holds the build that it belongs to, so that a
        // library of another build fails here. Loading runs no code of it but constructors, which it has none of.
        unsafe {
            let loaded = Loaded::new(format!("libx264.so.{build}"))?;
            Ok(Self {
                preset: loaded.get(b"x264_param_default_preset")?,
                parse: loaded.get(b"x264_param_parse")?,
                profile: loaded.get(b"x264_param_apply_profile")?,
                open: loaded.get(format!("x264_encoder_open_{build}").as_bytes())?,
                init: loaded.get(b"x264_picture_init")?,
                encode: loaded.get(b"x264_encoder_encode")?,
                close: loaded.get(b"x264_encoder_close")?,
                _loaded: loaded,
            })
        }
    }

    fn checked(self, build: u32) -> Result<Self, X264Error> {
        let mut parameters = self.defaults()?;
        self.set(&mut parameters, c"threads", "3")?;
        let as_expected = parameters.threads == 3
            && parameters.sliced_threads == 1
            && (parameters.csp, parameters.bit_depth, parameters.level_idc) == (CSP_I420, 8, -1);
        if as_expected { Ok(self) } else { Err(X264Error::Layout(build)) }
    }

    fn defaults(&self) -> Result<Box<Parameters>, X264Error> {
        let mut parameters = Box::new(Parameters {
            cpu: 0,
            threads: 0,
            lookahead_threads: 0,
            sliced_threads: 0,
            deterministic: 0,
            cpu_independent: 0,
            sync_lookahead: 0,
            width: 0,
            height: 0,
            csp: 0,
            bit_depth: 0,
            level_idc: 0,
            rest: [0; ROOM / 8],
        });
        let (preset, tune) = (c"ultrafast", c"zerolatency");
        #[allow(unsafe_code)] // A foreign function.
        // SAFETY: there is more room than the structure takes, and both names end with a zero.
        let status = unsafe { (self.preset)(&raw mut *parameters, preset.as_ptr(), tune.as_ptr()) };
        if status < 0 {
            return Err(X264Error::Parameter("preset", "ultrafast, zerolatency".to_owned()));
        }
        Ok(parameters)
    }

    fn set(&self, parameters: &mut Parameters, name: &'static CStr, value: &str) -> Result<(), X264Error> {
        let refused = || X264Error::Parameter(name.to_str().unwrap_or("?"), value.to_owned());
        let text = std::ffi::CString::new(value).map_err(|_| refused())?;
        #[allow(unsafe_code)] // A foreign function.
        // SAFETY: the parameters were made by `defaults`; name and value end with a zero and are only read.
        let status = unsafe { (self.parse)(parameters, name.as_ptr(), text.as_ptr()) };
        if status < 0 { Err(refused()) } else { Ok(()) }
    }

    fn parameters(&self, terms: &Terms) -> Result<Box<Parameters>, X264Error> {
        let mut parameters = self.defaults()?;
        let settings: [(&'static CStr, &str); 10] = [
            (c"threads", &terms.threads.to_string()),
            (c"fps", &terms.fps.to_string()),
            // No rate control: without it, x264 makes no half-size copies to look ahead in.
            (c"qp", "36"),
            // A quantiser of ours is kept within those of key frames and of B frames: 16 to 56, with these.
            (c"ipratio", "10"),
            (c"pbratio", "10"),
            (c"keyint", "infinite"),
            (c"colorprim", "smpte170m"),
            (c"transfer", "smpte170m"),
            (c"colormatrix", "smpte170m"),
            // Errors are told by status.
            (c"log", "-1"),
        ];
        for (name, value) in settings {
            self.set(&mut parameters, name, value)?;
        }
        parameters.width = c_int::from(terms.size.width);
        parameters.height = c_int::from(terms.size.height);
        parameters.csp = CSP_NV12;
        #[allow(unsafe_code)] // A foreign function.
        // SAFETY: the parameters were made by `defaults`; the name ends with a zero.
        let status = unsafe { (self.profile)(&raw mut *parameters, c"baseline".as_ptr()) };
        if status < 0 {
            return Err(X264Error::Parameter("profile", "baseline".to_owned()));
        }
        Ok(parameters)
    }
}

/// An access unit.
pub(super) struct Unit<'a> {
    /// A byte stream, with parameter sets before an IDR.
    pub data: &'a [u8],
    pub key_frame: bool,
}

/// One encoder.
pub(super) struct Encoder {
    library: &'static Library,
    handle: NonNull<c_void>,
    size: Size,
    frames: i64,
    /// The last frame as a decoder has it: where its planes begin, and their strides.
    decoded: Option<[(NonNull<u8>, usize); 2]>,
}

#[allow(unsafe_code)] // The handle is a pointer, which says nothing about threads.
// SAFETY: x264 lets any thread use an encoder, one at a time; `encode` and `drop` hold it exclusively.
unsafe impl Send for Encoder {}

impl Encoder {
    /// Opens an encoder of the library.
    pub fn open(terms: &Terms) -> Result<Self, X264Error> {
        let library = Library::get()?;
        if !terms.size.width.is_multiple_of(2)
            || !terms.size.height.is_multiple_of(2)
            || terms.size.height == 0
        {
            return Err(X264Error::Refused(terms.size));
        }
        let mut parameters = library.parameters(terms)?;
        #[allow(unsafe_code)] // A foreign function.
        // SAFETY: the parameters were made by the library, which copies them.
        let handle = unsafe { (library.open)(&raw mut *parameters) };
        let handle = NonNull::new(handle).ok_or(X264Error::Refused(terms.size))?;
        Ok(Self { library, handle, size: terms.size, frames: 0, decoded: None })
    }

    /// What it encodes.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Encodes a picture: its access unit, valid until the next one.
    pub fn encode(&mut self, picture: &Picture<'_>, quantiser: u8, idr: bool) -> Result<Unit<'_>, X264Error> {
        let (width, height) = (usize::from(self.size.width), usize::from(self.size.height));
        let enough = |plane: &Plane<'_>, rows: usize| {
            plane.stride >= width && plane.data.len() >= plane.stride * (rows - 1) + width
        };
        if picture.size != self.size || !enough(&picture.luma, height) || !enough(&picture.chroma, height / 2)
        {
            return Err(X264Error::Picture(picture.size));
        }
        let (mut input, mut output) = (self.blank(), self.blank());
        input.kind = if idr { TYPE_IDR } else { 0 };
        input.quantiser = c_int::from(quantiser) + 1;
        input.pts = self.frames;
        input.csp = CSP_NV12;
        input.planes = 2;
        for (index, plane) in [picture.luma, picture.chroma].into_iter().enumerate() {
            input.strides[index] =
                c_int::try_from(plane.stride).map_err(|_| X264Error::Picture(self.size))?;
            input.plane[index] = plane.data.as_ptr().cast_mut();
        }
        let (mut nals, mut count) = (null_mut(), 0);
        #[allow(unsafe_code)] // A foreign function.
        // SAFETY: the planes hold as many rows as the encoder's size says, and it only reads and copies them.
        let length = unsafe {
            let (input, output) = (&raw mut *input, &raw mut *output);
            (self.library.encode)(self.handle.as_ptr(), &raw mut nals, &raw mut count, input, output)
        };
        self.frames += 1;
        self.decoded = decoded(&output);
        if length <= 0 || count <= 0 || nals.is_null() {
            return Err(X264Error::NoFrame(length));
        }
        #[allow(unsafe_code)] // Memory of the library as a slice.
        // SAFETY: there is at least one NAL unit; payloads of a frame lie one behind the other, `length` bytes in all, until
        // the next call, which the borrow of `self` keeps away.
        let data = unsafe { std::slice::from_raw_parts((*nals).payload, length as usize) };
        Ok(Unit { data, key_frame: output.keyframe != 0 })
    }

    /// The last frame as a decoder has it now.
    pub fn decoded(&self) -> Option<Picture<'_>> {
        let (width, height) = (usize::from(self.size.width), usize::from(self.size.height));
        let planes = self.decoded?;
        let plane = |index: usize, rows: usize| {
            let (start, stride): (NonNull<u8>, usize) = planes[index];
            #[allow(unsafe_code)] // Memory of the library as a slice.
            // SAFETY: it is the frame that the next one will be predicted from, whole rows of `stride` bytes, which stays as it
            // is until the next call of `encode`; the borrow of `self` keeps that away. x264.h promises that of NAL units
            // only; of build 164 it was read in the sources.
            let data = unsafe { std::slice::from_raw_parts(start.as_ptr(), stride * (rows - 1) + width) };
            Plane { data, stride }
        };
        Some(Picture { size: self.size, luma: plane(0, height), chroma: plane(1, height / 2) })
    }

    fn blank(&self) -> Box<RawPicture> {
        let mut picture = Box::new(RawPicture {
            kind: 0,
            quantiser: 0,
            structure: 0,
            keyframe: 0,
            pts: 0,
            dts: 0,
            parameters: null_mut(),
            csp: 0,
            planes: 0,
            strides: [0; 4],
            plane: [null_mut(); 4],
            rest: [0; ROOM / 8],
        });
        #[allow(unsafe_code)] // A foreign function.
        // SAFETY: there is more room than the structure takes.
        unsafe {
            (self.library.init)(&raw mut *picture)
        };
        picture
    }
}

/// Where x264 keeps the frame that it has just coded.
fn decoded(output: &RawPicture) -> Option<[(NonNull<u8>, usize); 2]> {
    if output.csp != CSP_NV12 || output.planes != 2 {
        return None;
    }
    let plane = |index: usize| {
        Some((NonNull::new(output.plane[index])?, usize::try_from(output.strides[index]).ok()?))
    };
    Some([plane(0)?, plane(1)?])
}

impl Drop for Encoder {
    #[allow(unsafe_code)] // A foreign function.
    fn drop(&mut self) {
        // SAFETY: opened by `open` and closed nowhere else; no unit of it is borrowed any more.
        unsafe { (self.library.close)(self.handle.as_ptr()) };
    }
}
