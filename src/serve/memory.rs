//! The C library's allocator, whose defaults are made for programs whose threads stay.

/// Left alone, glibc takes the first freed frame as a sign to put frames into its arenas from then on, and gives
/// every new encoder thread another arena: resident memory is then 20 MB more, and creeps up as encoders come and
/// go. Buffers of frames live in pools, so that mapping them costs nothing while the stream runs.
#[allow(unsafe_code)] // The allocator's own entry point; there is no safe one.
pub fn keep_compact() {
    /// Two arenas; free memory at an end goes back from 64 KiB on, which also ends the adjustment of what is mapped.
    #[cfg(target_env = "gnu")]
    const SETTINGS: [(i32, i32); 2] = [(libc::M_ARENA_MAX, 2), (libc::M_TRIM_THRESHOLD, 64 * 1024)];
    #[cfg(target_env = "gnu")]
    for (parameter, value) in SETTINGS {
        // SAFETY: takes two numbers and changes a parameter under the allocator's own lock (mallopt(3)).
        unsafe {
            libc::mallopt(parameter, value);
        }
    }
}

/// Gives free pages in the middle of arenas back to the system. Holds each arena's lock for about a millisecond, so
/// it is for moments at which nobody looks.
#[allow(unsafe_code)] // As above.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number and locks what it changes (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
