//! What must survive: the data folder with its lock, the state store, the
//! embedded log, and the records that people read.
//!
//! A data folder holds
//!
//! | file | what | written by |
//! |---|---|---|
//! | `lock` | held by the one process that uses the folder; its process id | [`folder`] |
//! | `endpoint` | URL of the running server | [`folder`] |
//! | `state.db` | commits, snapshots, outbox, late events, dead letters, roll-ups | [`state`] |
//! | `marks` | how far both go, to notice what was lost at their ends | [`marks`] |
//! | `log.db` | events not yet committed (and some after), delivered alerts | [`log`] |
//!
//! Both databases are SQLite files in WAL mode with `synchronous=FULL`: what was
//! answered is on the disk. They hold blobs of many small things (the sections of
//! a commit, a group of events, a block of alerts), each with a checksum that also
//! covers its place, because a row an event would cost a hundred times more.
//!
//! Invariants kept here:
//! - I1 (one atomic unit): state, outbox, positions and watermark of a commit are
//!   one transaction.
//! - I5 (outputs leave after durability): alerts leave from the outbox only.
//! - I6 (conditional commit): a commit names its parent and its owner.
//! - I7 (identity of the log): the log has an incarnation, and positions never come back.
//! - I9 (bounded everything): every table has a bound, and what is dropped is counted.
//!
//! Nothing here decides what the bytes mean: sections are opaque, `domain` makes
//! and absorbs them.

pub mod folder;
pub mod letters;
pub mod log;
pub mod look;
pub mod marks;
mod outbox;
mod private;
pub mod records;
mod retain;
mod snapshot;
mod sqlite;
pub mod state;
mod tables;

use crate::domain::time::SpanMs;

/// Bounds of the state store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A new snapshot is made when the deltas since the last one hold more bytes
    /// than this and than four times the snapshot. Bounds the work of a restart.
    pub snapshot_delta_bytes: u64,
    /// Bytes of one part of a snapshot. 1 MiB to 64 MiB.
    pub snapshot_part_bytes: usize,
    /// Most alerts kept in the feed after delivery; older ones are dropped.
    pub alerts_max: u64,
    /// Most bytes of them.
    pub alerts_bytes_max: u64,
    /// Most late events kept; older ones are dropped.
    pub late_max: u64,
    /// Most bytes of them.
    pub late_bytes_max: u64,
    /// Most dead letters kept; older ones are dropped.
    pub dead_letters_max: u64,
    /// Most bytes of them.
    pub dead_letters_bytes_max: u64,
    /// How far minute roll-ups reach back from the newest minute.
    pub rollups_keep: SpanMs,
    /// Seed of a new file's hashes; drawn when there is none.
    pub seed: Option<u64>,
    /// Unused bytes the file may hold before it is shrunk. Deltas come and go, so
    /// some slack saves growing again.
    pub slack_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            snapshot_delta_bytes: 64 << 20,
            snapshot_part_bytes: 8 << 20,
            alerts_max: 1_000_000,
            alerts_bytes_max: 512 << 20,
            late_max: 100_000,
            late_bytes_max: 64 << 20,
            dead_letters_max: 100_000,
            dead_letters_bytes_max: 256 << 20,
            rollups_keep: 400 * 24 * 60 * 60 * 1000,
            seed: None,
            slack_bytes: 512 << 20,
        }
    }
}
