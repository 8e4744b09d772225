//! A barrier: due sessions end, and what was found since the last one is handed over.

use std::sync::Arc;

use actix::{AsyncContext as _, Context};

use super::super::children::AHEAD;
use super::super::messages::{Expire, ShardBarrier, ShardDone, ShardHolds};
use super::super::ticket::Ticket;
use super::{Aggregator, Busy, WAVE};
use crate::domain::commit::SectionWriter;
use crate::domain::time::BEGINNING;

/// A barrier whose due sessions are being ended.
pub(super) struct BarrierWork {
    pub(super) barrier: ShardBarrier,
    pub(super) due: Vec<u32>,
    /// How many of `due` were told.
    pub(super) sent: usize,
}

impl Aggregator {
    pub(super) fn start_barrier(&mut self, barrier: ShardBarrier, ctx: &mut Context<Self>) {
        self.context.watermark.set(barrier.watermark);
        let due = self.children.due(barrier.watermark);
        self.busy = Some(Busy::Barrier(BarrierWork { barrier, due, sent: 0 }));
        self.expire_wave(ctx);
    }

    /// Tells the next due sessions the time.
    pub(super) fn expire_wave(&mut self, ctx: &mut Context<Self>) {
        let Some(Busy::Barrier(work)) = &mut self.busy else { return };
        let spare = std::mem::take(&mut self.spare.answers);
        let ticket = Ticket::new(Arc::default(), work.barrier.watermark, spare, ctx.address());
        let wave = &work.due[work.sent..(work.sent + WAVE).min(work.due.len())];
        work.sent += wave.len();
        self.dispatched = wave.len();
        for slots in wave.chunks(AHEAD) {
            self.children.look_at(slots.iter().copied());
            for slot in slots {
                let message = Expire { ticket: Arc::clone(&ticket), slot: *slot };
                self.children.get(*slot).tell(message);
            }
        }
    }

    /// Takes up which groups are kept, once that is decided for good.
    pub(super) fn learn_groups(&mut self) {
        for (metric, decided) in self.parts.groups.iter().enumerate() {
            if let Some(kept) = decided.get().filter(|_| !self.fold.knows_groups(metric)) {
                self.fold.set_groups(metric, kept);
            }
        }
    }

    pub(super) fn finish_barrier(&mut self, barrier: ShardBarrier) {
        // Ids are kept for as long as a session that is open may be reached by their events.
        let reached = self.children.oldest_first().saturating_sub(self.parts.rules.gap);
        let floor = self.seen.sweep(barrier.watermark, reached);
        self.closed.sweep(barrier.watermark);
        self.children.may_walk();
        let mut delta = std::mem::take(&mut self.delta);
        delta.identity_floor = floor;
        delta.forgotten_early = std::mem::take(&mut self.seen.forgotten_early);
        let forgotten = self.seen.forgotten_until(barrier.watermark);
        delta.dedup_short_until = forgotten.map(|until| until.saturating_add(self.seen.horizon()));
        delta.facts = self.fold.flush();
        self.learn_groups();
        delta.faults = self.fold.take_tally();
        delta.late_facts = self.fold.take_late();
        let sessions = std::mem::replace(&mut self.sessions, SectionWriter::sessions());
        if !sessions.is_empty() {
            delta.sections.push(sessions.finish());
        }
        let mut closed = SectionWriter::closed();
        let changes = self.closed.take_changes();
        changes.iter().for_each(|(key_hash, floor)| closed.floor(*key_hash, *floor));
        if !closed.is_empty() {
            delta.sections.push(closed.finish());
        }
        self.write_aliases(&mut delta, barrier.watermark);
        delta.closed_forgotten_early = std::mem::take(&mut self.closed.forgotten_early);
        delta.closed_forgotten = Some(self.closed.forgotten).filter(|at| *at > BEGINNING);
        let mut ids = SectionWriter::identities();
        self.seen.take_fresh().iter().for_each(|(until, fresh)| ids.until(*until, fresh));
        if !ids.is_empty() {
            delta.sections.push(ids.finish());
        }
        let evicted = self.seen.take_evicted();
        if !evicted.is_empty() {
            let (shard, shards) = (self.parts.shard, self.parts.shards);
            let mut writer = SectionWriter::identities_evicted(shard, shards);
            evicted.iter().for_each(|(until, count)| writer.first(*until, *count));
            delta.sections.push(writer.finish());
            delta.sections.push(SectionWriter::identities_forgotten(self.seen.forgotten()));
        }
        let holds = ShardHolds {
            identities: self.seen.len() as u64,
            idle_actors: self.children.idle() as u64,
            closed: self.closed.len() as u64,
            session_bytes: self.children.bytes() as u64,
            aliases: self.aliases.as_ref().map_or(0, |table| table.len() as u64),
            aliases_max: self.parts.identify.map_or(0, |bounds| bounds.max as u64),
            alias_bytes_max: self.parts.identify.map_or(0, |bounds| bounds.bytes_max as u64),
            alias_bytes: self.aliases.as_ref().map_or(0, |table| table.bytes() as u64),
        };
        let done = ShardDone { number: barrier.number, shard: self.parts.shard, delta, holds };
        if self.parts.committer.try_send(done).is_err() {
            self.parts.watch.fail("the committer does not take this shard's results");
        }
    }
}
