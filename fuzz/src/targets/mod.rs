//! What is fuzzed: a function for each parser of what strangers send, which panics when something does not hold.
//!
//! The fuzzer calls them (`fuzz/src/main.rs`), and so does the test suite, on every file of `fuzz/corpus`
//! (`tests/it/fuzz.rs`).

mod annexb;
mod demux;
mod feedback;
mod framing;
mod mux;
mod offer;
mod script;
mod session;
mod stun;
mod turn;
mod wire;

/// One function, and the name of its corpus.
#[derive(Clone, Copy)]
pub struct Target {
    /// `fuzz/corpus/NAME`, `fuzz/dictionaries/NAME.dict`.
    pub name: &'static str,
    /// Panics if something does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const ALL: [Target; 9] = [
    Target { name: "turn", run: turn::run },
    Target { name: "framing", run: framing::run },
    Target { name: "demux", run: demux::run },
    Target { name: "wire", run: wire::run },
    Target { name: "offer", run: offer::run },
    Target { name: "mux", run: mux::run },
    Target { name: "session", run: session::run },
    Target { name: "feedback", run: feedback::run },
    Target { name: "annexb", run: annexb::run },
];
