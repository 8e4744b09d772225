//! Flags in, exit code out; everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use tidewatch::cli::args::Args;
use tidewatch::{app, cli};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps freed memory for the next batches for some seconds, instead of giving it back to the
/// system every few milliseconds and faulting it in again: that costs up to 40 % of the
/// processor time of a replay.
#[cfg(feature = "mimalloc")]
fn keep_freed_memory() {
    /// `mi_option_purge_delay` of mimalloc's `mi_option_t`.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    const PURGE_DELAY_MS: std::ffi::c_long = 10_000;
    // SAFETY: sets one integer option; called once, before any other thread exists.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) };
}

fn main() -> ExitCode {
    #[cfg(feature = "mimalloc")]
    keep_freed_memory();
    // Lives as long as the process: failure points are named in FAILPOINTS.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    cli::run(&Args::parse(), &app::commands()).into()
}
