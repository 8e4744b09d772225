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
//! credits, permits and the number of barriers under way.
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
mod figures;
pub mod flow;
pub mod ingestor;
pub mod messages;
pub mod pipeline;
pub mod pool;
pub mod ports;
pub mod quiet;
pub mod redrive;
pub mod reload;
pub mod session;
mod standing;
pub mod status;
pub mod store_thread;
pub mod supervision;
pub mod turn;

use crate::domain::settings::{Word, settings};
use crate::domain::time::SpanMs;

/// Most batches that may wait for one shard.
pub const SHARD_QUEUE_MAX: i64 = 16;

settings! {
    /// Bounds and beats of the running pipeline.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Settings in "pipeline." {
        /// What time does while the source is caught up and silent: "follow" the clock, so that the
        /// last session of the night closes on time, or "hold", for back-fills over HTTP.
        pub idle as "time.idle": Idle = Idle::Follow, word::<Idle>();
        /// Aggregators, each with its sessions on a thread of its own: one for each processor that
        /// may be busy with events. It may change between two starts.
        pub shards: u16 = 2, count(1, 64);
        /// Most events decoded at once. Batches grow to it with the lag and stay small while there
        /// is none; much larger ones no longer fit the processors' caches.
        pub batch_max: usize = 65_536, count(1, 1_000_000);
        /// Events between the source and a durable commit; the bound on memory in flight (1048576 x
        /// 200 bytes = 200 MB). At least twice batch_max, so that one batch is read while the one
        /// before it is on its way.
        pub credits: usize = 1_048_576, count(2, 100_000_000);
        /// Longest time between two commits while there is something to commit (the tick, where
        /// that is shorter): part of the delay of an alert, and the work repeated after a crash.
        pub commit_interval: SpanMs = 500, span(10, MINUTE);
        /// Commit at the latest after this many events, so that credits come back in time when much
        /// comes at once. Not more than credits. Twice as many while the sources are further behind
        /// than this, and then once a tick instead of each commit_interval.
        pub commit_events: usize = 262_144, count(1, 10_000_000);
        /// The same in bytes of events as they came: late and rejected events are kept whole, so
        /// this bounds one commit, and about six of them are the bytes in flight. Twice as many while
        /// the sources are far behind.
        pub commit_bytes: usize = 64 << 20, size(64 * KIB, GIB);
        /// Distance between two boards sent to browsers: a person reads about one a second.
        pub tick: SpanMs = SECOND, span(100, MINUTE);
        /// How long event ids are remembered, in event time. "auto" is as long as an event may be
        /// behind and still count: two gaps + allowed_lateness, or the longest window (up to a day) +
        /// allowed_lateness. An event with an id that is older than that is late, never counted
        /// twice. Never less than two gaps + allowed_lateness.
        pub dedup_horizon: Option<SpanMs> = None, span_or_auto(SECOND, 366 * DAY);
        /// Event ids remembered, over all shards, 24 to 28 bytes each: 16 of an id (of 10^12
        /// different ids of one key two are taken for the same with a chance of 1 to 10^10), and
        /// what finds it. The default is enough for 2100 events/s over "auto" without long windows.
        /// Beyond it the oldest leave, which is said, and an event as old as they were is late. Ids
        /// younger than a sixteenth of the horizon stay until there are twice as many: a flood does
        /// not push out what is seconds old.
        pub dedup_ids_max: usize = 8_000_000, count(1_000, 1_000_000_000);
        /// Keys with an open session, over all shards, about 256 bytes each. Each shard has its part
        /// of it; beyond that an event that would open another session ends in the dead letters, and
        /// the sessions that are open go on.
        pub sessions_max: usize = 4_000_000, count(100, 100_000_000);
        /// Bytes of open sessions, over all shards: 256 for each, long keys and carts. The same holds
        /// as for sessions_max, whichever is reached first.
        pub session_bytes_max: usize = 4 << 30, size(MIB, 1_024 * GIB);
        /// What happens to an event that would open another session then: "refuse" (dead letters)
        /// or "displace": it takes the place of the session without an entry that was silent
        /// longest. That one ends at once, counted as closed and as displaced; its next event opens
        /// another.
        pub sessions_full: SessionsFull = SessionsFull::Refuse, word::<SessionsFull>();
        /// Keys whose closed sessions are remembered, over all shards, some 50 bytes each, for
        /// twice gap and allowed_lateness: so that a late event is not taken for a new session.
        /// Beyond it the oldest leave early, and every event that old is late then.
        pub closed_sessions_max: usize = 8_000_000, count(100, 1_000_000_000);
        /// Keys with something open in a pattern or a join, over all shards, about 256 bytes each
        /// and what they hold. Beyond it they are not told of events of further keys, which is
        /// counted (tidewatch_pattern_left_out_total) and said.
        pub pattern_keys_max: usize = 1_000_000, count(100, 100_000_000);
        /// Bytes of them, over all shards. Beyond it they are told of no events at all, until some
        /// have been decided; that is counted and said in the same way. Events on their way to
        /// definitions with a key of their own may take half as much besides.
        pub pattern_bytes_max: usize = 1 << 30, size(MIB, 1_024 * GIB);
        /// Events and attempts that one key holds for one pattern or join. Beyond it the oldest
        /// events are looked at early, and what lies before them is late; then the oldest attempt,
        /// or event that waits for the other side, is given up.
        /// Both are counted and said. People do not reach it, programs do.
        pub pattern_held_max: usize = 1_024, count(2, 1_000_000);
        /// Keys whose cohort is remembered (cohort of [[sessions]]), over all shards and kinds, some 50
        /// bytes each, for good. Sessions of further keys are of no cohort, which is counted
        /// (tidewatch_kind_sessions_without_cohort_total) and said.
        pub cohort_keys_max: usize = 1_000_000, count(100, 1_000_000_000);
        /// Batches that may wait for one shard: enough that it never waits for the reader, few
        /// enough that they stay in the processor's cache.
        pub shard_queue: usize = 2, count(1, SHARD_QUEUE_MAX);
        /// Questions to sessions (GET /v1/sessions/{key}) under way at once, over all shards: the
        /// session has a mailbox meanwhile, of about 1 KB, and is asked between two batches.
        /// Whoever comes later waits, for some seconds at most.
        pub session_mailboxes_max: usize = 256, count(1, 10_000);
        /// Restarts from the last commit within restart_window before giving up: a fault that
        /// comes back at once needs a person.
        pub restarts_max: usize = 5, count(0, 100);
        /// How long a restart counts towards restarts_max.
        pub restart_window: SpanMs = MINUTE, span(SECOND, DAY);
        /// Longest wait for the last commit when the process stops, after web.drain_timeout. Then
        /// it ends without that commit, with code 1 and a sentence: nothing is lost, because the
        /// next start goes on from the commit before. Less than what the service manager waits
        /// until it kills.
        pub stop_timeout: SpanMs = 15 * SECOND, span(SECOND, 10 * MINUTE);
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

impl Word for SessionsFull {
    const WORDS: &'static [(&'static str, Self)] =
        &[("refuse", SessionsFull::Refuse), ("displace", SessionsFull::Displace)];
}

/// What the watermark does while the source is caught up and nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// It goes on with the clock, so that the last session of the night closes on time.
    Follow,
    /// It stays: only events move time (back-fills of old events over HTTP).
    Hold,
}

impl Word for Idle {
    const WORDS: &'static [(&'static str, Self)] =
        &[("follow", Idle::Follow), ("hold", Idle::Hold)];
}
