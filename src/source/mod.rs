//! Event sources that are not the embedded log: files, for replays.
//!
//! A replay reads JSON in every arrangement, delimited text and the logs of web servers, in
//! any encoding, plain or packed, from files or from standard input, and hands the events over
//! in the order of their time. What is not native NDJSON is translated to it first, row by
//! row, by a mapping, so that there is one decoder and one place where an event is refused.
//!
//! - [`mod@file`]: the source itself: positions, pace, batches
//! - [`input`]: what is open; `opening`: how it comes to that; `unpack`, `text`: archives and
//!   encodings
//! - `sniff`, `survey`: finding out the format, and whether a file can be read as it stands
//! - [`mapping`], `rows`, `translate` and `writer`: columns to attributes
//! - [`tally`]: every line and row by what became of it
//! - [`order`]: the order of time
//! - `records`: large reads, cut into records
//! - [`progress`]: how far it is, for a bar on the terminal
//!
//! Memory is bounded: one read of 4 MiB, one JSON document of 64 MiB that a mapping takes
//! apart, what an archive asks for (192 MiB), plus what the engine holds, plus 16 bytes an
//! event when the file has to be sorted (160 MB for ten million events). Unpacked and
//! translated events lie in temporary files without a name, which vanish with the process;
//! `--unpacked-max` bounds what an archive may unpack to.

pub mod file;
pub mod input;
pub mod mapping;
mod opening;
pub mod order;
pub mod origin;
pub mod progress;
pub mod propose;
mod records;
mod rows;
mod sniff;
mod survey;
pub mod tally;
mod text;
mod translate;
mod unpack;
mod writer;
