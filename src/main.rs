//! Flags in, exit code out; everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use tidewatch::cli::args::Args;
use tidewatch::{app, cli};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Lives as long as the process: failure points are named in FAILPOINTS.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    cli::run(&Args::parse(), &app::commands()).into()
}
