//! Flags in, exit code out; everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use tidewatch::cli::args::Args;
use tidewatch::{app, cli};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps freed memory for the next batch instead of giving it back to the system every few
/// milliseconds and faulting it in again: 40 % of the processor time of a replay. Memory
/// stays bounded by what was needed at once.
#[cfg(feature = "mimalloc")]
fn keep_freed_memory() {
    /// `mi_option_purge_delay` of mimalloc's `mi_option_t`; -1 means never.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: sets one integer option; called once, before any other thread exists.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, -1) };
}

fn main() -> ExitCode {
    #[cfg(feature = "mimalloc")]
    keep_freed_memory();
    // Lives as long as the process: failure points are named in FAILPOINTS.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    cli::run(&Args::parse(), &app::commands()).into()
}
