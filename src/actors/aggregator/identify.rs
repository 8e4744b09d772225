//! Anonymous visitors who turn out to be known (`session.identify`): keys are resolved in log
//! order, and where something is open of a key that stands for another from now on it moves
//! there between two legs of the batch, exactly at its place in the log.

use std::collections::HashMap;
use std::sync::Arc;

use actix::{AsyncContext as _, Context};
use smol_str::SmolStr;

use super::super::messages::{GiveUp, TakeOver};
use super::super::ticket::Ticket;
use super::batch::{BatchWork, Fate};
use super::{Aggregator, Busy};
use crate::domain::commit::{AliasKept, SectionWriter};
use crate::domain::event::{EventBatch, Span};
use crate::domain::hash::key_hash;
use crate::domain::keeper::ShardDelta;
use crate::domain::session::Machine;
use crate::domain::time::{BEGINNING, EpochMs};

/// What is open of one key is to go on under another.
pub(super) struct Moving {
    anonymous: SmolStr,
    known: SmolStr,
    /// The stamp of the event that says so.
    stamp: EpochMs,
    /// Up to where sessions of the anonymous key were closed.
    floor: EpochMs,
    stage: Stage,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// What came before it in the log is under way.
    Waits,
    /// The anonymous key's session was asked for what it has.
    Asked,
    /// The known key's session was told.
    Told,
}

impl Aggregator {
    /// Takes up the aliases of a snapshot, or forgets them when there are none any more.
    pub fn restore_aliases(
        &mut self,
        kept: &HashMap<Box<[u8]>, AliasKept, foldhash::fast::FixedState>,
    ) {
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        match &mut self.aliases {
            Some(table) => {
                for (anonymous, (known, used)) in kept {
                    table.restore(&text(anonymous), &text(known), *used);
                }
            }
            None if self.parts.shard == 0 && !kept.is_empty() => {
                let mut writer = SectionWriter::aliases();
                kept.keys().for_each(|anonymous| writer.alias(anonymous, &[], BEGINNING));
                self.delta.sections.push(writer.finish());
            }
            None => {}
        }
    }

    /// What changed in the table since the last barrier.
    pub(super) fn write_aliases(&mut self, delta: &mut ShardDelta, watermark: EpochMs) {
        let Some(table) = &mut self.aliases else { return };
        table.sweep(watermark);
        delta.aliases_forgotten_early = std::mem::take(&mut table.forgotten_early);
        let mut writer = SectionWriter::aliases();
        for (anonymous, entry) in table.take_changes() {
            let (known, used) = entry.unwrap_or((SmolStr::default(), BEGINNING));
            writer.alias(anonymous.as_bytes(), known.as_bytes(), used);
        }
        if !writer.is_empty() {
            delta.sections.push(writer.finish());
        }
    }

    /// Judges events and finds their sessions until one makes something move: its own session
    /// is found in the next leg.
    pub(super) fn judge_identified(&mut self, work: &mut BatchWork, turns: &mut Vec<u32>) {
        while work.next < work.batch.events.len() {
            let position = work.next;
            let fate = match work.judged.take() {
                Some(fate) => fate,
                None => {
                    let event = &work.batch.events[position];
                    let fate = self.judge(event, position, &mut work.late);
                    if let Some(moving) = self.identify(&mut work.batch, position, fate) {
                        (work.judged, work.moving) = (Some(fate), Some(moving));
                        return;
                    }
                    fate
                }
            };
            self.seat(work, position, None, fate, turns);
            work.next += 1;
        }
    }

    /// Learns what an event says of its visitor, and gives it the key that its own stands for.
    /// What moves now, if anything does.
    fn identify(&mut self, batch: &mut EventBatch, position: usize, fate: Fate) -> Option<Moving> {
        let table = self.aliases.as_mut()?;
        let event = batch.events[position];
        if event.key.len == 0 {
            return None;
        }
        let (at, stamp) = (event.at, event.watermark);
        // The decoder took both from valid text.
        let key = String::from_utf8_lossy(batch.text(event.key)).into_owned();
        let anonymous = String::from_utf8_lossy(batch.text(batch.anonymous[position]));
        let mut moves = None;
        // A repeat would undo what was said since.
        if fate == Fate::Applied && !anonymous.is_empty() && *anonymous != *key {
            // What stood for another before has nothing of its own.
            let own = table.resolve(&anonymous, at, stamp).is_none();
            let known = table.make(&anonymous, &key, at, stamp);
            moves = known.filter(|_| own).map(|known| (SmolStr::new(&anonymous), known));
        }
        if let Some(known) = table.resolve(&key, at, stamp) {
            let start = (batch.data.len() + batch.extra.len()) as u32;
            batch.extra.extend_from_slice(known.as_bytes());
            let event = &mut batch.events[position];
            event.key = Span { start, len: known.len() as u32 };
            event.key_hash = key_hash(self.parts.seed, known.as_bytes());
        }
        let (anonymous, known) = moves?;
        let hash = key_hash(self.parts.seed, anonymous.as_bytes());
        let floor = self.closed.known_floor(hash, stamp);
        let open = self.children.find(anonymous.as_bytes(), hash).is_some();
        let stage = Stage::Waits;
        (open || floor > BEGINNING).then_some(Moving { anonymous, known, stamp, floor, stage })
    }

    /// The next step of a move, or the next leg of the batch when it is done.
    pub(super) fn go_on_moving(
        &mut self,
        mut work: Box<BatchWork>,
        mut moving: Moving,
        given: Option<Box<Machine>>,
        ctx: &mut Context<Self>,
    ) {
        let stamp = moving.stamp;
        match moving.stage {
            Stage::Waits => {
                let hash = key_hash(self.parts.seed, moving.anonymous.as_bytes());
                if let Some(slot) = self.children.find(moving.anonymous.as_bytes(), hash) {
                    moving.stage = Stage::Asked;
                    let ticket = self.ticket_for_one(ctx);
                    let message = GiveUp { ticket, slot, watermark: stamp };
                    self.children.get(slot).tell(message);
                    work.moving = Some(moving);
                    self.busy = Some(Busy::Batch(work));
                    return;
                }
                // It may have ended since, in this very batch.
                let floor = moving.floor.max(self.closed.known_floor(hash, stamp));
                self.take_over(work, moving, Box::new(Machine::after(floor)), ctx);
            }
            Stage::Asked => {
                let given = given.unwrap_or_default();
                self.take_over(work, moving, given, ctx);
            }
            Stage::Told => self.start_leg(work, ctx),
        }
    }

    fn take_over(
        &mut self,
        mut work: Box<BatchWork>,
        mut moving: Moving,
        given: Box<Machine>,
        ctx: &mut Context<Self>,
    ) {
        let (key, stamp) = (moving.known.as_bytes(), moving.stamp);
        let hash = key_hash(self.parts.seed, key);
        let slot = match self.children.find(key, hash) {
            Some(slot) => slot,
            None if given.is_empty() => {
                self.closed.insert(hash, given.floor());
                return self.start_leg(work, ctx);
            }
            None => {
                let floor = self.closed.known_floor(hash, stamp).max(self.closed.forgotten);
                self.children.open(key, hash, floor)
            }
        };
        moving.stage = Stage::Told;
        let ticket = self.ticket_for_one(ctx);
        let message = TakeOver { ticket, slot, watermark: stamp, given };
        self.children.get(slot).tell(message);
        work.moving = Some(moving);
        self.busy = Some(Busy::Batch(work));
    }

    fn ticket_for_one(&mut self, ctx: &mut Context<Self>) -> Arc<Ticket> {
        let spare = std::mem::take(&mut self.spare.answers);
        self.dispatched = 1;
        Ticket::new(Arc::default(), self.context.watermark.get(), spare, ctx.address())
    }
}
