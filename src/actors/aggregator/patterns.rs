//! The patterns of a shard: which events they are told, what their machines find, and what a
//! commit must hold of it. What is found becomes a fact of the metrics at once, and an alert at the
//! next barrier.

use std::sync::Arc;

use super::{ShardParts, close_full};
use crate::actors::children::{AHEAD, Children};
use crate::actors::messages::ShardHolds;
use crate::domain::commit::{SectionWriter, Snapshot};
use crate::domain::facts::EventFact;
use crate::domain::hash::{key_hash, shard_of};
use crate::domain::keeper::ShardDelta;
use crate::domain::keyed::KeyedMachine as _;
use crate::domain::metric::{Facts, Fold};
use crate::domain::pattern::{
    Cohorts, FoundMatch, Machine, MatchFact, Pattern, PatternEffects, PatternEvent, Patterns,
};
use crate::domain::time::{BEGINNING, EpochMs};

/// The cohort of a key where it is written, at most.
const COHORT_BYTES: usize = 26;

/// Machines by key, and what they found since the last barrier.
pub(super) struct PatternShard {
    patterns: Arc<Patterns>,
    children: Children<Machine>,
    meanings: Box<[u64]>,
    seed: u64,
    fx: PatternEffects,
    cohorts: Cohorts,
    /// Matches that raise alerts.
    alarming: Vec<FoundMatch>,
    records: SectionWriter,
    full: Vec<Vec<u8>>,
}

impl PatternShard {
    /// Without machines; `None` when there are no patterns.
    pub(super) fn new(parts: &ShardParts) -> Option<Self> {
        let ShardParts { patterns, seed, pattern_bounds, cohort_keys_max, .. } = parts;
        (!patterns.is_empty()).then(|| PatternShard {
            children: Children::new(Arc::clone(patterns), *seed, *pattern_bounds),
            meanings: patterns.meanings(),
            fx: PatternEffects::new(patterns.list.len()),
            patterns: Arc::clone(patterns),
            seed: *seed,
            cohorts: Cohorts::new(*cohort_keys_max),
            alarming: Vec::new(),
            records: SectionWriter::patterns(),
            full: Vec::new(),
        })
    }

    /// Tells the patterns of an event. One without a key is of no sequence.
    #[inline]
    pub(super) fn take(&mut self, fact: &EventFact<'_>, fold: &mut Fold) {
        let event = fact.event;
        if event.key.len == 0 {
            return;
        }
        let hits = self.patterns.hits(fact);
        if hits.is_empty() {
            return;
        }
        let key = fact.batch.text(event.key);
        let slot = match self.children.find(key, event.key_hash, None) {
            Some(slot) if !self.children.is_full() => slot,
            None if self.children.has_room(key) => {
                self.children.open(key, event.key_hash, BEGINNING)
            }
            _ => {
                let left_out = |(pattern, _)| self.fx.tallies[usize::from(pattern)].left_out += 1;
                return hits.into_iter().for_each(left_out);
            }
        };
        let event = PatternEvent { watermark: event.watermark, hits };
        let machine = self.children.get(slot).session.machine_mut();
        let Ok(()) = machine.apply(&self.patterns, &event, &mut self.fx);
        self.after_turn(slot, fold);
    }

    /// Decides what the watermark has passed.
    pub(super) fn expire(&mut self, watermark: EpochMs, fold: &mut Fold) {
        for fired in self.children.fire(watermark).chunks(AHEAD) {
            for (slot, _) in self.children.due(fired, watermark) {
                let machine = self.children.get(slot).session.machine_mut();
                machine.expire(&self.patterns, watermark, &mut self.fx);
                self.after_turn(slot, fold);
            }
        }
    }

    fn after_turn(&mut self, slot: u32, fold: &mut Fold) {
        if !self.fx.matches.is_empty() {
            let key = &self.children.get(slot).key;
            for mut found in self.fx.matches.drain(..) {
                let number = usize::from(found.pattern);
                let pattern = &self.patterns.list[number];
                if let Some(id) = pattern.cohort_id() {
                    let of = (id, key_hash(self.seed, key.as_bytes()));
                    let known = pattern.tell_cohort(&mut found, of, &mut self.cohorts);
                    self.fx.tallies[number].sessions.without_cohort += u64::from(!known);
                }
                fold.add(Facts::Events, &MatchFact::new(&found, key, pattern), found.at);
                if pattern.alarms(&found) {
                    self.alarming.push(FoundMatch { key: key.clone(), found });
                }
            }
        }
        if self.children.after_turn(slot) {
            return;
        }
        let child = self.children.get(slot);
        if child.kept {
            self.records.record(child.key.as_bytes(), &[]);
        }
        self.children.remove(slot);
        close_full(&mut self.records, SectionWriter::patterns, &mut self.full);
    }

    /// Hands over everything since the last barrier.
    pub(super) fn hand_over(&mut self, delta: &mut ShardDelta) {
        let PatternShard { children, meanings, records, full, .. } = self;
        let mut record = Vec::new();
        children.take_changed(|child| {
            record.clear();
            child.session.machine().encode(meanings, &mut record);
            records.record(child.key.as_bytes(), &record);
            close_full(records, SectionWriter::patterns, full);
        });
        let rest = std::mem::replace(records, SectionWriter::patterns());
        delta.sections.append(full);
        delta.sections.extend((!rest.is_empty()).then(|| rest.finish()));
        let cohorts = self.cohorts.take_changes();
        let mut writer = SectionWriter::cohorts().with_room(cohorts.len() * COHORT_BYTES);
        cohorts.into_iter().for_each(|(key, start)| writer.cohort(key, start));
        delta.sections.extend((!writer.is_empty()).then(|| writer.finish()));
        delta.matches = std::mem::take(&mut self.alarming);
        delta.patterns = self.fx.take_tallies();
        self.children.may_walk();
    }

    /// Takes up this shard's part of a snapshot. What is kept of patterns that there are no more
    /// is forgotten.
    ///
    /// # Errors
    /// When a record is malformed: names the key.
    pub(super) fn restore(
        &mut self,
        snapshot: &Snapshot,
        (shard, shards): (u16, u16),
    ) -> Result<(), String> {
        for (key, record) in snapshot.patterns.iter() {
            let hash = key_hash(self.seed, key);
            if shard_of(hash, shards) != shard {
                continue;
            }
            let text = String::from_utf8_lossy(key);
            let machine = Machine::decode(record, &mut self.meanings, &self.patterns)
                .map_err(|malformed| format!("patterns of {text:?}: {malformed}"))?;
            match machine.next_deadline(&self.patterns) {
                Some(_) => self.children.restore(&text, hash, machine),
                None => self.records.record(key, &[]),
            }
        }
        let ids: Vec<u64> = self.patterns.list.iter().filter_map(Pattern::cohort_id).collect();
        let mut forgotten = SectionWriter::cohorts();
        let mine =
            snapshot.cohorts.iter().filter(|((_, hash), _)| shard_of(*hash, shards) == shard);
        for (key, start) in mine {
            match ids.contains(&key.0) {
                true => self.cohorts.restore(*key, *start),
                false => forgotten.cohort(*key, BEGINNING),
            }
        }
        self.full.extend((!forgotten.is_empty()).then(|| forgotten.finish()));
        Ok(())
    }

    /// How much it holds.
    pub(super) fn holds(&self) -> ShardHolds {
        ShardHolds {
            pattern_keys: self.children.open_keys() as u64,
            pattern_bytes: self.children.bytes() as u64,
            cohort_keys: self.cohorts.len() as u64,
            ..ShardHolds::default()
        }
    }
}

/// There are no patterns any more: sections that forget what is kept of them.
pub(super) fn forget_all(snapshot: &Snapshot) -> Vec<Vec<u8>> {
    let (mut records, mut full) = (SectionWriter::patterns(), Vec::new());
    for (key, _) in snapshot.patterns.iter() {
        records.record(key, &[]);
        close_full(&mut records, SectionWriter::patterns, &mut full);
    }
    full.extend((!records.is_empty()).then(|| records.finish()));
    let mut cohorts = SectionWriter::cohorts();
    snapshot.cohorts.keys().for_each(|key| cohorts.cohort(*key, BEGINNING));
    full.extend((!cohorts.is_empty()).then(|| cohorts.finish()));
    full
}
