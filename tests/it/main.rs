//! The one integration binary: one link, many modules.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail like tests do.

mod capture;
mod demo;
mod desktop;
mod fuzz;
mod glass;
mod golden;
mod licences;
mod media;
mod settings;
mod tidy;
mod transport;
mod wire;
mod x264;
mod xvfb;
