//! A barrier: due sessions end, and what was found since the last one is handed over.

use actix::Handler as _;

use super::Aggregator;
use crate::actors::children::AHEAD;
use crate::actors::messages::{Expire, ShardBarrier, ShardDone, ShardHolds};
use crate::domain::commit::SectionWriter;
use crate::domain::time::BEGINNING;

impl Aggregator {
    pub(super) fn take_barrier(&mut self, barrier: ShardBarrier) {
        let watermark = barrier.watermark;
        self.turn.watermark = watermark;
        let due = self.children.due(watermark);
        for slots in due.chunks(AHEAD) {
            slots.iter().for_each(|slot| self.children.look_at(*slot));
            for slot in slots {
                let session = &mut self.children.get(*slot).session;
                session.handle(Expire { watermark }, &mut self.turn);
                self.after_turn(*slot, barrier.drained_at);
            }
        }
        self.hand_over(barrier);
    }

    /// Takes up which groups are kept, once that is decided for good.
    pub(super) fn learn_groups(&mut self) {
        for (metric, decided) in self.parts.groups.iter().enumerate() {
            if let Some(kept) = decided.get().filter(|_| !self.fold.knows_groups(metric)) {
                self.fold.set_groups(metric, kept);
            }
        }
    }

    fn hand_over(&mut self, barrier: ShardBarrier) {
        self.write_sessions();
        self.take_changes();
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
            mailboxes: self.mailboxes.len() as u64,
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
