//! The shells: mailboxes, supervision, commits; thin calls into `domain`.

pub mod aggregator;
pub mod broadcaster;
pub mod children;
pub mod committer;
pub mod directory;
pub mod ingestor;
pub mod messages;
pub mod pipeline;
pub mod pool;
pub mod ports;
pub mod session;
pub mod status;
pub mod store_thread;
pub mod supervision;
pub mod ticket;

use crate::domain::time::SpanMs;

/// Bounds and beats of the running pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Aggregators, each with its sessions on a thread of its own. 1 to 64.
    pub shards: u16,
    /// Most events decoded in one batch; batches grow to it with the lag.
    pub batch_max: usize,
    /// Events between the source and a durable commit, at most.
    pub credits: usize,
    /// Longest time between two commits while there is something to commit.
    pub commit_interval: SpanMs,
    /// Commit at the latest after this many events.
    pub commit_events: usize,
    /// Distance between two boards. 100 ms to 60 s.
    pub tick: SpanMs,
    /// What the watermark does while the source is caught up.
    pub idle: Idle,
    /// Most event ids remembered, over all shards.
    pub dedup_ids_max: usize,
    /// Most open sessions, over all shards.
    pub sessions_max: usize,
    /// Restarts from the last commit within `restart_window` before giving up.
    pub restarts_max: usize,
    /// See `restarts_max`.
    pub restart_window: SpanMs,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            shards: 2,
            batch_max: 32_768,
            credits: 1_048_576,
            commit_interval: 500,
            commit_events: 262_144,
            tick: 1_000,
            idle: Idle::Follow,
            dedup_ids_max: 8_000_000,
            sessions_max: 4_000_000,
            restarts_max: 5,
            restart_window: 60_000,
        }
    }
}

/// What the watermark does while the source is caught up and nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// It goes on with the clock, so that the last session of the night closes on time.
    Follow,
    /// It stays: only events move time (back-fills of old events over HTTP).
    Hold,
}
