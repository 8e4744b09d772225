//! `tidewatch map`: a map for a file on standard output, and on standard error the first
//! events that it makes.

use std::io::Write;

use super::serving::complain;
use crate::cli::Exit;
use crate::cli::args::MapArgs;
use crate::clock::SystemClock;
use crate::source::propose::{Settings, propose};
use crate::source::tally::shortened;

/// Bytes that the file may unpack to, in a temporary file.
const UNPACKED_MAX: u64 = 64 << 30;

/// Runs the command.
pub fn run(args: &MapArgs) -> Exit {
    let settings = Settings {
        file: args.file.clone(),
        encoding: args.encoding.clone(),
        rows: args.rows as usize,
        unpacked_max: UNPACKED_MAX,
    };
    let proposal = match propose(&settings, &SystemClock::shared()) {
        Ok(proposal) => proposal,
        Err(error) => return complain(&error, Exit::Failed),
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(proposal.map.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Exit::Failed,
        _ => {}
    }
    eprintln!("The first events that this map makes of {}:", args.file.display());
    for event in &proposal.events {
        eprintln!("  {}", shortened(event));
    }
    if proposal.events.is_empty() {
        eprintln!("  none: the map must be mended");
        return Exit::Refused;
    }
    Exit::Ok
}
