//! Tests that compare rates, memory and descriptors of a real gateway: nothing else may run beside them, so
//! they have a binary of their own, `cargo test --test alone -- --test-threads=1`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail like tests do.

mod gateway;
mod hostile;
mod isolation;
mod pod;
mod probe;
mod refusals;
mod relay;
mod soak;
mod tls;
mod turn;
#[path = "../it/xvfb.rs"]
#[allow(dead_code)] // Some of it only `it` uses.
mod xvfb;
