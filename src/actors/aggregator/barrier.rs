//! A barrier: due sessions end, due patterns are decided, and what was found since the last one is handed over.

use actix::Handler as _;

use super::Aggregator;
use crate::actors::children::AHEAD;
use crate::actors::messages::{Expire, ShardBarrier, ShardDone, ShardHolds};
use crate::domain::commit::{SectionWriter, Unwritten};
use crate::domain::time::BEGINNING;

impl Aggregator {
    pub(super) fn take_barrier(&mut self, barrier: ShardBarrier) {
        let watermark = barrier.watermark;
        self.turn.watermark = watermark;
        for fired in self.children.fire(watermark).chunks(AHEAD) {
            let due = self.children.due(fired, watermark);
            due.iter().for_each(|(_, key_hash)| self.closed.look_for(*key_hash));
            for (slot, _) in due {
                let session = &mut self.children.get(slot).session;
                session.handle(Expire { watermark }, &mut self.turn);
                self.after_turn(slot, barrier.drained_at);
            }
        }
        if let Some(patterns) = &mut self.patterns {
            patterns.expire(watermark, &mut self.fold);
        }
        self.hand_over(barrier);
    }

    /// Takes up which groups are kept, once that is decided.
    pub(super) fn learn_groups(&mut self) {
        for (metric, decided) in self.parts.groups.iter().enumerate() {
            if let Some(decision) = &*decided.load() {
                self.fold.learn(metric, decision);
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
        self.delta.ended.reserve(delta.ended.len());
        delta.identity_floor = floor;
        delta.forgotten_early = std::mem::take(&mut self.seen.forgotten_early);
        let forgotten = self.seen.forgotten_until(barrier.watermark);
        delta.dedup_short_until = forgotten.map(|until| until.saturating_add(self.seen.horizon()));
        delta.facts = self.fold.flush();
        delta.faults = self.fold.take_tally();
        let mut of_patterns = ShardHolds::default();
        if let Some(patterns) = &mut self.patterns {
            patterns.hand_over(barrier.watermark, &mut delta);
            of_patterns = patterns.holds();
        }
        self.learn_groups();
        delta.late_facts = self.fold.take_late();
        self.write_aliases(&mut delta, barrier.watermark);
        delta.closed_forgotten_early = std::mem::take(&mut self.closed.forgotten_early);
        delta.closed_forgotten = Some(self.closed.forgotten).filter(|at| *at > BEGINNING);
        let (identities, closed) = (self.seen.take_fresh(), self.closed.take_changes());
        delta.unwritten = Unwritten { identities, closed };
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
            ..of_patterns
        };
        let done = ShardDone { number: barrier.number, shard: self.parts.shard, delta, holds };
        if self.parts.committer.try_send(done).is_err() {
            self.parts.watch.fail("the committer does not take this shard's results");
        }
    }
}
