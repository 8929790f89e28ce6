//! The pure parts of the bench rig: their unit tests run here, for a bench has no test harness.

#![allow(dead_code, reason = "the rig is used by the bench; only its own tests run here")]

#[path = "../../benches/glass/rig/mod.rs"]
mod rig;
