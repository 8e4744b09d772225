//! Anonymous visitors who turn out to be known (`session.identify`): keys are resolved in log
//! order, and where something is open of a key that stands for another from now on it moves
//! there, exactly at that place in the log.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use smol_str::SmolStr;

use super::batch::Judged;
use crate::domain::commit::{AliasKept, SectionWriter};
use crate::domain::event::{EventBatch, Span};
use crate::domain::hash::key_hash;
use crate::domain::keeper::ShardDelta;
use crate::domain::session::{AliasBounds, Aliases};
use crate::domain::time::{BEGINNING, EpochMs};

/// What is open of one key is to go on under another.
pub(super) struct Moving {
    pub(super) anonymous: SmolStr,
    pub(super) known: SmolStr,
    /// The stamp of the event that says so.
    pub(super) stamp: EpochMs,
}

/// Which anonymous keys stand for which known ones; empty where nothing tells them apart.
pub(super) struct Visitors(Option<Aliases>);

impl Visitors {
    pub(super) fn new(bounds: Option<AliasBounds>) -> Self {
        Visitors(bounds.map(Aliases::new))
    }

    /// Whether keys are resolved at all.
    pub(super) fn are_told(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, Aliases::len)
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, Aliases::bytes)
    }

    /// Takes up the aliases of a snapshot. Where there are none any more the first shard forgets
    /// them: the section that says so.
    pub(super) fn restore(
        &mut self,
        kept: &HashMap<Box<[u8]>, AliasKept, FixedState>,
        shard: u16,
    ) -> Option<Vec<u8>> {
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        if let Some(table) = &mut self.0 {
            for (anonymous, (known, used)) in kept {
                table.restore(&text(anonymous), &text(known), *used);
            }
            return None;
        }
        if shard > 0 || kept.is_empty() {
            return None;
        }
        let mut writer = SectionWriter::aliases();
        kept.keys().for_each(|anonymous| writer.alias(anonymous, &[], BEGINNING));
        Some(writer.finish())
    }

    /// What changed in the table since the last barrier.
    pub(super) fn write(&mut self, delta: &mut ShardDelta, watermark: EpochMs) {
        let Some(table) = &mut self.0 else { return };
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

    /// Learns what an event says of its visitor, and gives it the key that its own stands for.
    /// What moves now, if anything does.
    pub(super) fn identify(
        &mut self,
        batch: &mut EventBatch,
        position: usize,
        judged: Judged,
        seed: u64,
    ) -> Option<Moving> {
        let table = self.0.as_mut()?;
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
            event.key_hash = key_hash(seed, known.as_bytes());
        }
        moves.map(|(anonymous, known)| Moving { anonymous, known, stamp })
    }
}
