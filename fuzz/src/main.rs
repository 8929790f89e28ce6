//! libFuzzer around one of the targets: `FUZZ_TARGET=turn target/fuzz/.../deskgate-fuzz CORPUS...`; `make fuzz` runs
//! them all.
//!
//! A panic of our own ends the run, wherever it is. One inside a crate that the gateway shields itself from ends it
//! only where the shield is missing; behind the shield it is told once, and its input is kept in `$FUZZ_SHIELDED`.

#![no_main]

mod targets;

use std::collections::BTreeSet;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use libfuzzer_sys::fuzz_target;
use targets::Target;

static TARGET: OnceLock<Target> = OnceLock::new();
/// What is being run, for the panic hook.
static INPUT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
/// Panics that were told.
static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fuzz_target!(init: choose(), |data: &[u8]| {
    data.clone_into(&mut INPUT.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(target) = TARGET.get() {
        (target.run)(data);
    }
});

fn choose() {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let Some(target) = targets::ALL.into_iter().find(|target| target.name == wanted) else {
        let names: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
        eprintln!("FUZZ_TARGET is `{wanted}`: it must be one of {}", names.join(", "));
        std::process::exit(2);
    };
    let _ = TARGET.set(target);
    std::panic::set_hook(Box::new(told));
}

fn told(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    // Members of the workspace are compiled by paths within it, all others by whole ones.
    if !place.starts_with('/') {
        eprintln!("{panic}");
        std::process::abort();
    }
    if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone()) {
        eprintln!("shielded: {panic}");
        if let Some(folder) = std::env::var_os("FUZZ_SHIELDED") {
            // crate, file, line
            let name = place.split('/').skip_while(|part| !part.starts_with("rtc")).collect::<Vec<_>>();
            let name = if name.is_empty() { place.replace('/', "-") } else { name.join("-") };
            let input = INPUT.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = std::fs::write(Path::new(&folder).join(name), &*input) {
                eprintln!("its input could not be kept: {error}");
            }
        }
    }
}
