//! PURE. One session's life.
pub mod action;
