//! Event sources that are not the embedded log: files, for replays.
//!
//! A replay reads NDJSON, CSV and web server logs, plain or gzipped, from files or
//! from standard input, and hands the events over in the order of their time. What is
//! not native NDJSON is translated to it first, row by row, by a mapping, so that
//! there is one decoder and one place where an event is refused.
//!
//! - [`mod@file`]: the source itself: positions, pace, batches
//! - [`input`]: opening, unpacking, finding out the format
//! - [`mapping`] and `translate`: columns to attributes
//! - [`order`]: the order of time
//! - `records`: large reads, cut into records
//! - [`progress`]: how far it is, for a bar on the terminal
//!
//! Memory is bounded: one read of 4 MiB, plus what the engine holds, plus 16 bytes an
//! event when the file has to be sorted (160 MB for ten million events). Unpacked and
//! translated events lie in temporary files without a name, which vanish with the process.

pub mod file;
pub mod input;
pub mod mapping;
pub mod order;
pub mod progress;
mod records;
mod translate;
