//! The one fast test binary.
