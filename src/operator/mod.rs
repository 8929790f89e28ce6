//! The operator: a `VDISession` becomes a running desktop behind a URL.
//!
//! A reconcile is a row of steps, a file each: fetch, validate, build, apply, status.

pub mod effective;
pub mod names;
pub mod reason;
pub mod settings;
