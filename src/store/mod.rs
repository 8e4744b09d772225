//! What must survive: the data folder with its lock, the state store, the
//! embedded log, and the records that people read.
//!
//! A data folder holds
//!
//! | file | what | written by |
//! |---|---|---|
//! | `lock` | held by the one process that uses the folder; its process id | [`folder`] |
//! | `endpoint` | URL of the running server | [`folder`] |
//! | `state.db` | commits, snapshots, outbox, incidents, late events, dead letters, roll-ups | [`state`] |
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

mod alerts;
mod ends;
mod figures;
pub mod folder;
mod incidents;
mod late;
pub mod letters;
pub mod log;
pub mod look;
pub mod marks;
mod outbox;
mod private;
pub mod records;
mod retain;
mod rollups;
mod snapshot;
mod sqlite;
pub mod state;
mod tables;

use crate::domain::settings::settings;
use crate::domain::time::SpanMs;

settings! {
    /// Bounds of the state.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Settings in "store." {
        /// A new snapshot is made once the commits since the last one hold more than this and more
        /// than twice the snapshot: smaller means quicker starts and more writing.
        pub snapshot_delta_bytes as "store.snapshot_bytes_min": u64 = 64 << 20, size(64 * KIB, 4 * GIB);
        /// Alerts, which are occurrences, kept for people to look at; the oldest leave, but only after they
        /// were delivered.
        pub alerts_max: u64 = 1_000_000, count(100, 1_000_000_000);
        /// Bytes of alerts kept: rows differ in size, the disk does not.
        pub alerts_bytes_max: u64 = 512 << 20, size(MIB, 1_024 * GIB);
        /// Incidents kept that are over; the oldest leave. Those that hold never do.
        pub incidents_max: u64 = 10_000, count(10, 10_000_000);
        /// Lines kept of the log of incidents (fired, acknowledged, resolved, ...), and notifications;
        /// the oldest leave. A notification that its channel has not taken yet is kept until there are
        /// twice as many.
        pub incident_log_max: u64 = 100_000, count(100, 10_000_000);
        /// Late events kept for people to look at; the oldest leave.
        pub late_max: u64 = 100_000, count(100, 1_000_000_000);
        /// Bytes of late events kept.
        pub late_bytes_max: u64 = 64 << 20, size(MIB, 1_024 * GIB);
        /// Dead letters kept, to look at and to send again. The oldest of the most frequent reason
        /// leave first: a flood of one kind leaves the others. What left is counted. Where they go to NATS
        /// (nats.out.dead_letters_stream), those that it has taken leave first, and the others are
        /// kept up to twice this many rows and bytes, however long it is away.
        pub dead_letters_max: u64 = 100_000, count(100, 1_000_000_000);
        /// Bytes of dead letters kept.
        pub dead_letters_bytes_max: u64 = 256 << 20, size(MIB, 1_024 * GIB);
        /// How long minute roll-ups are kept: a year and a month to compare with.
        pub rollups_keep: SpanMs = 400 * DAY, span(HOUR, 3_660 * DAY);
    } besides {
        /// Bytes of one part of a snapshot. 1 MiB to 64 MiB.
        pub snapshot_part_bytes: usize = 8 << 20;
        /// Seed of a new file's hashes; drawn when there is none.
        pub seed: Option<u64> = None;
        /// Unused bytes the file may hold before it is shrunk. Deltas come and go, so
        /// some slack saves growing again.
        pub slack_bytes: u64 = 512 << 20;
    }
}
