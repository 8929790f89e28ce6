//! The rig: two X servers, a browser, the products under test, and the measures.
//!
//! ```text
//! rig program ──draws──► X server A ──captured by──► product ──WebRTC──► Chromium ──presents──► X server B
//!      ▲                                                                                            │
//!      └─────────────────────── one process, one clock ◄──────────polls pixels of──────────────────┘
//! ```
//!
//! Pure: `scene`, `ssim`, `stats`, `report`. Everything else talks to X, `/proc` or processes.

pub mod canvas;
pub mod cpu;
pub mod measure;
pub mod motion;
pub mod narrow;
pub mod patch;
pub mod process;
pub mod product;
pub mod report;
pub mod scene;
pub mod ssim;
pub mod stats;
pub mod viewer;
pub mod watch;
pub mod way;
pub mod xvfb;

/// Any failure ends the bench with its message; nothing here is recovered from by kind.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Width in pixels of both displays.
pub const WIDTH: u16 = 1280;
/// Height in pixels of both displays.
pub const HEIGHT: u16 = 720;
