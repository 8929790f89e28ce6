//! A viewer without a browser, on another implementation of WebRTC than the gateway's: what would a viewer get?

pub mod access;
mod decoder;
pub mod path;
mod peer;
mod picture;
mod ping;
mod pipe;
pub mod report;
pub mod target;
pub mod verdict;
mod watch;

pub use watch::{Options, probe};
