//! Every message between the actors, in the order of the pipeline.

use std::sync::Arc;

use actix::dev::MessageResponse;
use actix::{Addr, Message};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::session::Session;
use crate::domain::at_risk::AtRisk;
use crate::domain::event::EventBatch;
use crate::domain::incident::{Command, Refused};
use crate::domain::keeper::{Barrier, Gauges, ShardDelta};
use crate::domain::nudge::{self, NudgeView};
use crate::domain::session::{Late, Machine, OpenOfKind, SessionEvent, SessionView};
use crate::domain::time::EpochMs;

/// Ingestor → aggregator: the shard's events of one batch.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ShardBatch {
    /// The events.
    pub batch: EventBatch,
    /// A permit of the shard's queue, free again when the batch is done.
    pub permit: OwnedSemaphorePermit,
}

/// Ingestor → aggregator: everything before this belongs to barrier `number`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct ShardBarrier {
    /// Number of the barrier, growing by 1.
    pub number: u64,
    /// The watermark there.
    pub watermark: EpochMs,
    /// Greatest event time when a replay is being drained.
    pub drained_at: Option<EpochMs>,
}

/// Ingestor → committer: what barrier `number` says.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct BarrierNote {
    /// Number of the barrier.
    pub number: u64,
    /// What it says.
    pub barrier: Barrier,
    /// This is the last one: report when it is durable.
    pub last: bool,
    /// Who put events aside that are in it, and hears when it is durable.
    pub refused: Vec<oneshot::Sender<()>>,
}

/// Aggregator → session: apply one event. The answer says why it came too late, if it did.
#[derive(Clone, Copy, Debug)]
pub struct Apply<'a> {
    /// The event.
    pub event: &'a SessionEvent,
}

impl Message for Apply<'_> {
    type Result = Result<(), Late>;
}

/// Aggregator → session: your deadline may have passed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Expire {
    /// Event time.
    pub watermark: EpochMs,
}

/// Aggregator → session: end what is open, there is no room for it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Displace {
    /// Event time.
    pub watermark: EpochMs,
}

/// Aggregator → session: give everything that is open, for another key's session.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Machine")]
pub struct GiveUp {
    /// Event time.
    pub watermark: EpochMs,
}

/// Aggregator → session: this is yours from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct TakeOver {
    /// What another session gave up.
    pub given: Machine,
    /// Event time.
    pub watermark: EpochMs,
}

/// Web → aggregator: who is this key's session? `None` when nothing of it is open.
#[derive(Message)]
#[rtype(result = "Option<Addr<Session>>")]
pub struct Find {
    /// The key.
    pub key: String,
    /// The asker's permit: given back when this was taken in, also when the asker has gone.
    pub permit: AskPermit,
}

/// Web → aggregator: which of these keys have an open session?
#[derive(Message)]
#[rtype(result = "Vec<String>")]
pub struct AreOpen {
    /// The keys.
    pub keys: Vec<String>,
    /// As in [`Find`].
    pub permit: AskPermit,
}

/// Web → aggregator: what is at risk in your sessions?
#[derive(Message)]
#[rtype(result = "AtRisk")]
pub struct LookAtRisk {
    /// Sessions in each list, at most.
    pub most: usize,
    /// As in [`Find`].
    pub permit: AskPermit,
}

/// Web → aggregator, and committer for kinds with a key of their own: what is at risk in your sessions
/// of each kind? Answered by the number of the kind.
#[derive(Message)]
#[rtype(result = "Vec<(u16, AtRisk)>")]
pub struct LookAtKinds {
    /// Sessions in each list, at most.
    pub most: usize,
    /// As in [`Find`].
    pub permit: AskPermit,
}

/// Web → aggregator, and committer for kinds with a key of their own: what is open of this key, in
/// kinds? Answered with the watermark.
#[derive(Message)]
#[rtype(result = "(EpochMs, Vec<OpenOfKind>)")]
pub struct DescribeKinds {
    /// The key.
    pub key: String,
    /// As in [`Find`].
    pub permit: AskPermit,
}

/// A permit of those who ask at once. An aggregator's mailbox has room for all of them.
pub type AskPermit = Arc<OwnedSemaphorePermit>;

/// Web → session: describe yourself.
#[derive(Message)]
#[rtype(result = "Option<SessionView>")]
pub struct Describe {
    /// The key that is asked for.
    pub key: String,
}

/// Aggregator → committer: everything of this shard up to a barrier.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ShardDone {
    /// Number of the barrier.
    pub number: u64,
    /// The shard.
    pub shard: u16,
    /// What it found.
    pub delta: ShardDelta,
    /// What it holds.
    pub holds: ShardHolds,
}

/// What one shard holds in memory, at a barrier.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShardHolds {
    /// Event identities it remembers.
    pub identities: u64,
    /// Sessions that somebody has the address of.
    pub mailboxes: u64,
    /// Keys whose closed sessions it remembers.
    pub closed: u64,
    /// About how many bytes its open sessions take.
    pub session_bytes: u64,
    /// Keys with something open in a pattern.
    pub pattern_keys: u64,
    /// About how many bytes that takes.
    pub pattern_bytes: u64,
    /// Bytes of what it sent to other keys that barriers still hold.
    pub pattern_sent_bytes: u64,
    /// Keys whose cohort it remembers.
    pub cohort_keys: u64,
    /// Anonymous keys whose visitor it knows.
    pub aliases: u64,
    /// Most of them; 0 where `session.identify` is not set.
    pub aliases_max: u64,
    /// About how many bytes they take.
    pub alias_bytes: u64,
    /// Most bytes of them.
    pub alias_bytes_max: u64,
}

/// Pipeline → committer, before the first barrier: what is open in the sessions that the
/// shards have taken up.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct OpenRestored(pub Gauges);

/// Web → committer: somebody acknowledges an incident, or silences some. Answered with what tells
/// when it is durable, or why it cannot be done.
#[derive(Debug, Message)]
#[rtype(result = "Result<oneshot::Receiver<()>, Refused>")]
pub struct Attend(pub Command);

/// Web → committer: somebody wants to hear nothing. Answered with how many addresses are new and what
/// tells when it is durable, or why it cannot be done.
#[derive(Debug, Message)]
#[rtype(result = "Result<(usize, oneshot::Receiver<()>), nudge::Refused>")]
pub struct Suppress(pub nudge::Command);

/// Web → committer: how nudges stand.
#[derive(Debug, Message)]
#[rtype(result = "NudgesStand")]
pub struct LookNudges;

/// How nudges stand.
#[derive(Clone, Debug, MessageResponse, Serialize)]
pub struct NudgesStand {
    /// Each of them.
    pub nudges: Vec<NudgeView>,
    /// Addresses that are suppressed.
    pub suppressed: usize,
    /// Most of them.
    pub suppressed_max: usize,
}

/// Store thread → committer: a commit is durable, or the store failed for good.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Stored {
    /// Number of the barrier.
    pub number: u64,
    /// Events in it: their credits are free again.
    pub events: u64,
    /// Position of each source that is durable now.
    pub positions: Vec<u64>,
    /// Number of the commit.
    pub epoch: u64,
    /// How long writing took, in milliseconds.
    pub took_ms: i64,
    /// Why the store failed for good, if it did.
    pub failure: Option<crate::actors::ports::StoreError>,
}
