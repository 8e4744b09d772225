//! Anonymous visitors who turn out to be known (`session.identify`): keys are resolved in log
//! order, and where something is open of a key that stands for another from now on it moves
//! there, exactly at that place in the log.

use std::collections::HashMap;

use actix::{Handler as _, MessageResult};
use smol_str::SmolStr;

use super::Aggregator;
use super::batch::Judged;
use crate::actors::messages::{GiveUp, TakeOver};
use crate::domain::commit::{AliasKept, SectionWriter};
use crate::domain::event::{EventBatch, Span};
use crate::domain::hash::key_hash;
use crate::domain::keeper::ShardDelta;
use crate::domain::keyed::KeyedMachine as _;
use crate::domain::session::Machine;
use crate::domain::time::{BEGINNING, EpochMs};

/// What is open of one key is to go on under another.
struct Moving {
    anonymous: SmolStr,
    known: SmolStr,
    /// The stamp of the event that says so.
    stamp: EpochMs,
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

    /// A batch in which keys are resolved: what moves does so before the event that says it.
    pub(super) fn take_identified(&mut self, batch: &mut EventBatch) {
        for position in 0..batch.events.len() {
            let judged = self.judge(&batch.events[position]);
            if let Some(moving) = self.identify(batch, position, judged) {
                self.go_on_as(moving);
            }
            self.take_event(batch, position, judged, None);
        }
    }

    /// Learns what an event says of its visitor, and gives it the key that its own stands for.
    /// What moves now, if anything does.
    fn identify(
        &mut self,
        batch: &mut EventBatch,
        position: usize,
        judged: Judged,
    ) -> Option<Moving> {
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
        if judged == Judged::New && !anonymous.is_empty() && *anonymous != *key {
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
        moves.map(|(anonymous, known)| Moving { anonymous, known, stamp })
    }

    /// What is open of the anonymous key goes on under the known one, and where its sessions were
    /// closed an event is late for the known one as well.
    fn go_on_as(&mut self, Moving { anonymous, known, stamp }: Moving) {
        if let Some(patterns) = &mut self.patterns {
            patterns.go_on_as((&anonymous, &known), None, stamp, &mut self.fold);
        }
        let hash = key_hash(self.parts.seed, anonymous.as_bytes());
        let given = match self.children.find(anonymous.as_bytes(), hash, None) {
            Some(slot) => {
                let session = &mut self.children.get(slot).session;
                let MessageResult(given) =
                    session.handle(GiveUp { watermark: stamp }, &mut self.turn);
                self.after_turn(slot, None);
                given
            }
            None => Machine::after(self.closed.known_floor(hash, stamp)),
        };
        if given.is_empty() && given.floor() <= BEGINNING {
            return;
        }
        let hash = key_hash(self.parts.seed, known.as_bytes());
        let slot = match self.children.find(known.as_bytes(), hash, None) {
            Some(slot) => slot,
            None if given.is_empty() => return self.closed.insert(hash, given.floor()),
            None => {
                let floor = self.closed.known_floor(hash, stamp).max(self.closed.forgotten);
                self.children.open(known.as_bytes(), hash, floor)
            }
        };
        let message = TakeOver { given, watermark: stamp };
        self.children.get(slot).session.handle(message, &mut self.turn);
        self.after_turn(slot, None);
    }
}
