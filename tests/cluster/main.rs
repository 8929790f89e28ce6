//! Tests against a real Kubernetes API server, started by themselves (`rig`).
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail like tests do.

mod admission;
mod built;
mod faults;
mod mutations;
mod operator;
mod policies;
#[allow(dead_code, reason = "the bench of the operator uses the rest")]
mod rig;
mod session_cli;
mod smoke;
