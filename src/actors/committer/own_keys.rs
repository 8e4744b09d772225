//! Patterns, joins, funnels and kinds of sessions with a key of their own: where what all shards
//! have of such a key comes together.
//!
//! Events are sharded by the session key, so those of another key are with all shards, and only a
//! barrier is a place that all agree on. Here, between the shards and the keeper, what they sent
//! since the last one is taken in the order of the log, then time is let pass as far as the barrier
//! says, as a shard does; what is found becomes the part of one more shard. So whatever is found is
//! found by the barrier by which it is final, and the commit holds it with the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::actors::aggregator::{DecidedGroups, PatternRoom, PatternShard};
use crate::actors::messages::ShardHolds;
use crate::domain::at_risk::AtRisk;
use crate::domain::commit::Snapshot;
use crate::domain::keeper::ShardDelta;
use crate::domain::metric::{Fold, Metric};
use crate::domain::pattern::{Patterns, Sent};
use crate::domain::session::OpenOfKind;
use crate::domain::time::{EpochMs, SpanMs};

/// What it is made of.
pub struct OwnKeysParts {
    /// All patterns.
    pub patterns: Arc<Patterns>,
    /// The metrics.
    pub metrics: Arc<Vec<Metric>>,
    /// Which groups each metric keeps, once that is decided.
    pub groups: DecidedGroups,
    /// Allowed lateness.
    pub lateness: SpanMs,
    /// Seed of the hashes of keys.
    pub seed: u64,
    /// What its machines may take.
    pub room: PatternRoom,
    /// Of each shard, how many bytes of what it sent were not taken yet.
    pub on_the_way: Vec<Arc<AtomicUsize>>,
}

/// The machines by keys of patterns.
pub struct OwnKeys {
    machines: PatternShard,
    fold: Fold,
    groups: DecidedGroups,
    on_the_way: Vec<Arc<AtomicUsize>>,
}

impl OwnKeys {
    /// As a snapshot left them; `None` when all patterns go by the session key.
    ///
    /// # Errors
    /// When a record is malformed: names the key.
    pub fn restored(parts: OwnKeysParts, snapshot: &Snapshot) -> Result<Option<Self>, String> {
        let OwnKeysParts { patterns, metrics, groups, lateness, seed, room, on_the_way } = parts;
        let Some(mut machines) = PatternShard::new(&patterns, true, seed, room) else {
            return Ok(None);
        };
        machines.restore(snapshot, (0, 1))?;
        let mut own = OwnKeys { machines, fold: Fold::new(metrics, lateness), groups, on_the_way };
        own.learn_groups();
        Ok(Some(own))
    }

    /// Takes what all shards sent up to a barrier with this watermark, and adds what is found to
    /// theirs.
    pub fn take(&mut self, shards: &mut Vec<ShardDelta>, watermark: EpochMs) -> ShardHolds {
        let mut sent: Vec<Sent> = Vec::new();
        for (delta, on_the_way) in shards.iter_mut().zip(&self.on_the_way) {
            let bytes = delta.sent.iter().map(Sent::bytes).sum();
            on_the_way.fetch_sub(bytes, Ordering::Relaxed);
            sent.append(&mut delta.sent);
        }
        // Each shard's are in order already. What one event is to several patterns stays together.
        sent.sort_by(|a, b| a.order.cmp(&b.order));
        sent.into_iter().for_each(|one| self.machines.take_sent(one, &mut self.fold));
        self.machines.expire(watermark, &mut self.fold);
        let mut delta = ShardDelta {
            facts: self.fold.flush(),
            faults: self.fold.take_tally(),
            late_facts: self.fold.take_late(),
            // It knows no ids.
            identity_floor: EpochMs::MAX,
            ..ShardDelta::default()
        };
        self.machines.hand_over(watermark, &mut delta);
        self.learn_groups();
        shards.push(delta);
        self.machines.holds()
    }

    /// What is at risk in its kinds of sessions, by number.
    pub fn at_risk(&self, watermark: EpochMs, most: usize) -> Vec<(u16, AtRisk)> {
        self.machines.at_risk(watermark, most)
    }

    /// The open sessions of a key.
    pub fn describe(&mut self, key: &str, watermark: EpochMs) -> Vec<OpenOfKind> {
        self.machines.describe(key, watermark)
    }

    fn learn_groups(&mut self) {
        for (metric, decided) in self.groups.iter().enumerate() {
            if let Some(decision) = &*decided.load() {
                self.fold.learn(metric, decision);
            }
        }
    }
}
