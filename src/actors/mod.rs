//! The shells: mailboxes, threads, supervision, commits; thin calls into `domain`.
//!
//! Nothing here decides what an event means. An actor takes a message, calls a pure machine,
//! and hands on what it returns. The outside is reached through [`ports`] only.
//!
//! # Data flow
//! ```text
//!  Source ──► ingestor ──ShardBatch─────► aggregator (one a shard)
//!             decode     ShardBarrier       │ runs the turns of its
//!             stamp          │              └ session actors, in place
//!             route          │
//!               │            │
//!    BarrierNote│            │ ShardDone
//!               ▼            ▼
//!             committer ◄────┘ ──Publish──► broadcaster ──► websocket clients
//!               │  ▲
//!       ToStore │  │ Stored: credits for the ingestor, position for the source
//!               ▼  │
//!             store thread ──► state, then outbox ──► alert log
//! ```
//! Data goes one way; what comes back are answers, credits and the durable position. No part
//! on the event path waits for another's reply. A message that finds no room is a bug or a
//! dead receiver, never a reason to drop something: the bounds are kept before sending, by
//! credits, places and the number of barriers under way.
//!
//! # Supervision
//! ```text
//!  thread "tidewatch" (actix System)
//!  ├─ broadcaster                              lives through generations
//!  └─ Pipeline::run                            hears the first word of any part
//!      └─ generation                           torn down and started again as a whole
//!          ├─ arbiter: committer
//!          ├─ arbiter per shard: aggregator ─ its session actors
//!          └─ arbiter: ingestor (a task)
//!  thread "store"                              lives through generations
//! ```
//! A part that dies ends its generation; the next one starts from the last commit, a bounded
//! number of times ([`supervision`], [`pipeline`]). A panic while one event is handled costs
//! that event only ([`session`]).
//!
//! # Mailboxes
//! actix counts a capacity for each address, so each sender keeps one address for its life.
//!
//! | queue | capacity | reason |
//! |---|---|---|
//! | aggregator ([`aggregator::MAILBOX`]) | 32 and `session_mailboxes_max` | at most `shard_queue` batches and 4 barriers from the ingestor; a place for each question that may be under way |
//! | session ([`turn`]) | 16 | there is one while somebody has its address, and each of those asks one question at a time |
//! | committer ([`committer::MAILBOX`]) | 1,024 | from the ingestor and each shard one message for every barrier under way, from the store one for every commit |
//! | store thread | 2 | one commit is written while the next is ready; further ones wait in the committer, at most one for each barrier |
//! | broadcaster | 64 | one board a tick from the committer, one message under way from each client |
//! | websocket client (`web::socket`) | 8 | a frame a tick; one that is refused is made up for by the next |
//! | failures | 16 | the first word ends the generation; later ones add nothing |

pub mod aggregator;
pub mod aside;
pub mod broadcaster;
pub mod children;
pub mod committer;
pub mod directory;
mod facts;
mod figures;
pub mod ingestor;
pub mod messages;
pub mod pipeline;
pub mod pool;
pub mod ports;
mod readers;
pub mod redrive;
pub mod session;
mod standing;
pub mod status;
pub mod store_thread;
pub mod supervision;
pub mod turn;

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
    /// Commit at the latest after this many bytes of events: bounds what late and rejected
    /// events, which are kept as they came, make of one commit.
    pub commit_bytes: usize,
    /// Distance between two boards. 100 ms to 60 s.
    pub tick: SpanMs,
    /// What the watermark does while the source is caught up.
    pub idle: Idle,
    /// How long event ids are remembered; `None`: as long as an event may be behind and still
    /// count, in its session or a window, for windows at most a day.
    pub dedup_horizon: Option<SpanMs>,
    /// Most event ids remembered, over all shards; ids that are minutes old may be twice as many.
    pub dedup_ids_max: usize,
    /// Most keys with an open session, over all shards; beyond it an event that would open
    /// another one is rejected.
    pub sessions_max: usize,
    /// Most bytes of them (256 each, long keys and carts), over all shards.
    pub session_bytes_max: usize,
    /// What happens to an event that would open a session when there is no room.
    pub sessions_full: SessionsFull,
    /// Most keys whose closed sessions are remembered, over all shards.
    pub closed_sessions_max: usize,
    /// Batches that may wait for one shard. 1 to 16.
    pub shard_queue: usize,
    /// Most questions to sessions that are under way at once. 1 to 10,000.
    pub session_mailboxes_max: usize,
    /// Restarts from the last commit within `restart_window` before giving up.
    pub restarts_max: usize,
    /// See `restarts_max`.
    pub restart_window: SpanMs,
    /// Longest wait for the last commit once it is asked to end; it ends without it then.
    pub stop_timeout: SpanMs,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            shards: 2,
            batch_max: 65_536,
            credits: 1_048_576,
            commit_interval: 500,
            commit_events: 262_144,
            commit_bytes: 64 << 20,
            tick: 1_000,
            idle: Idle::Follow,
            dedup_horizon: None,
            dedup_ids_max: 8_000_000,
            sessions_max: 4_000_000,
            session_bytes_max: 4 << 30,
            sessions_full: SessionsFull::Refuse,
            closed_sessions_max: 8_000_000,
            shard_queue: 2,
            session_mailboxes_max: 256,
            restarts_max: 5,
            restart_window: 60_000,
            stop_timeout: 15_000,
        }
    }
}

impl Settings {
    /// One shard's part of a bound that holds over all shards.
    pub fn per_shard(&self, bound: usize) -> usize {
        bound / usize::from(self.shards.max(1))
    }
}

/// What happens to an event that would open a session when there is no room for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionsFull {
    /// It ends in the dead letters.
    Refuse,
    /// It takes the place of the session worth least: without an entry, silent longest.
    Displace,
}

/// What the watermark does while the source is caught up and nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// It goes on with the clock, so that the last session of the night closes on time.
    Follow,
    /// It stays: only events move time (back-fills of old events over HTTP).
    Hold,
}
