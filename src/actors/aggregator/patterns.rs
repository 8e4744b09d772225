//! The patterns of a shard: which events they are told, what their machines find, and what a
//! commit must hold of it. What is found becomes a fact of the metrics at once, and an alert at the
//! next barrier.

use std::sync::Arc;

use super::close_full;
use crate::actors::children::{AHEAD, Bounds, Children};
use crate::actors::messages::ShardHolds;
use crate::domain::commit::{SectionWriter, Snapshot};
use crate::domain::facts::EventFact;
use crate::domain::hash::{key_hash, shard_of};
use crate::domain::keeper::ShardDelta;
use crate::domain::keyed::KeyedMachine as _;
use crate::domain::metric::{Fact as _, Facts, Fold};
use crate::domain::pattern::{
    Cohorts, Concerns, FoundMatch, Machine, MatchFact, Pattern, PatternEffects, PatternEvent,
    Patterns, Sent,
};
use crate::domain::time::{BEGINNING, EpochMs};

/// The cohort of a key where it is written, at most.
const COHORT_BYTES: usize = 26;

/// Machines by key, and what they found since the last barrier.
///
/// Each shard has one for the patterns that go by the session key. Those with a key of their own
/// have one for all of them (`committer/own_keys.rs`), which shards send to.
pub struct PatternShard {
    patterns: Arc<Patterns>,
    /// Its machines go by keys of patterns.
    own: bool,
    children: Children<Machine>,
    meanings: Box<[u64]>,
    seed: u64,
    fx: PatternEffects,
    cohorts: Cohorts,
    /// Matches that raise alerts.
    alarming: Vec<FoundMatch>,
    /// What goes to the patterns with a key of their own, and what it may take.
    sent: Vec<Sent>,
    sent_bytes: usize,
    sent_bytes_max: usize,
    records: SectionWriter,
    full: Vec<Vec<u8>>,
}

/// What the machines of a shard may take.
#[derive(Clone, Copy, Debug)]
pub struct PatternRoom {
    /// Their keys.
    pub keys: Bounds,
    /// Keys it remembers the cohort of.
    pub cohort_keys_max: usize,
    /// Bytes of what it sends to other keys between two barriers.
    pub sent_bytes_max: usize,
}

impl PatternShard {
    /// Without machines; `own`: for the patterns with a key of their own. `None` when there is nothing
    /// for it to do.
    pub fn new(patterns: &Arc<Patterns>, own: bool, seed: u64, room: PatternRoom) -> Option<Self> {
        let any = if own { patterns.any_own() } else { !patterns.is_empty() };
        any.then(|| PatternShard {
            own,
            children: Children::new(Arc::clone(patterns), seed, room.keys),
            meanings: patterns.meanings(),
            fx: PatternEffects::new(patterns),
            patterns: Arc::clone(patterns),
            seed,
            cohorts: Cohorts::new(room.cohort_keys_max),
            alarming: Vec::new(),
            sent: Vec::new(),
            sent_bytes: 0,
            sent_bytes_max: room.sent_bytes_max,
            records: sections(own)(),
            full: Vec::new(),
        })
    }

    /// Tells the patterns of an event. One without a session key is of none that go by it.
    #[inline]
    pub(super) fn take(&mut self, fact: &EventFact<'_>, fold: &mut Fold) {
        let Concerns { hits, own } = self.patterns.concerns(fact, &mut self.fx.faults);
        for (pattern, key, held) in own {
            let key = String::from_utf8_lossy(&key).into();
            let (order, watermark) = (fact.order(), fact.event.watermark);
            let sent = Sent { order, watermark, pattern, key, held };
            self.sent_bytes += sent.bytes();
            if self.sent_bytes > self.sent_bytes_max {
                self.fx.tallies[usize::from(pattern)].left_out += 1;
            } else {
                self.sent.push(sent);
            }
        }
        if !hits.is_empty() {
            let event = PatternEvent { watermark: fact.event.watermark, hits };
            self.apply((fact.batch.text(fact.event.key), fact.event.key_hash), event, fold);
        }
    }

    /// Tells the pattern of an event of its key; in the order of the log.
    pub fn take_sent(&mut self, sent: Sent, fold: &mut Fold) {
        let Sent { watermark, pattern, key, held, .. } = sent;
        let hash = key_hash(self.seed, key.as_bytes());
        let hits = std::iter::once((pattern, held)).collect();
        self.apply((key.as_bytes(), hash), PatternEvent { watermark, hits }, fold);
    }

    fn apply(&mut self, (key, key_hash): (&[u8], u64), event: PatternEvent, fold: &mut Fold) {
        let slot = match self.children.find(key, key_hash, None) {
            Some(slot) if !self.children.is_full() => slot,
            None if self.children.has_room(key) => self.children.open(key, key_hash, BEGINNING),
            _ => {
                let left_out = |(pattern, _)| self.fx.tallies[usize::from(pattern)].left_out += 1;
                return event.hits.into_iter().for_each(left_out);
            }
        };
        let machine = self.children.get(slot).session.machine_mut();
        let Ok(()) = machine.apply(&self.patterns, &event, &mut self.fx);
        self.after_turn(slot, fold);
    }

    /// Decides what the watermark has passed.
    pub fn expire(&mut self, watermark: EpochMs, fold: &mut Fold) {
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
        close_full(&mut self.records, sections(self.own), &mut self.full);
    }

    /// Hands over everything since the last barrier.
    pub fn hand_over(&mut self, delta: &mut ShardDelta) {
        let PatternShard { children, meanings, records, full, own, .. } = self;
        let empty = sections(*own);
        let mut record = Vec::new();
        children.take_changed(|child| {
            record.clear();
            child.session.machine().encode(meanings, &mut record);
            records.record(child.key.as_bytes(), &record);
            close_full(records, empty, full);
        });
        let rest = std::mem::replace(records, empty());
        delta.sections.append(full);
        delta.sections.extend((!rest.is_empty()).then(|| rest.finish()));
        let cohorts = self.cohorts.take_changes();
        let mut writer = SectionWriter::cohorts().with_room(cohorts.len() * COHORT_BYTES);
        cohorts.into_iter().for_each(|(key, start)| writer.cohort(key, start));
        delta.sections.extend((!writer.is_empty()).then(|| writer.finish()));
        delta.matches = std::mem::take(&mut self.alarming);
        (delta.sent, self.sent_bytes) = (std::mem::take(&mut self.sent), 0);
        delta.patterns = self.fx.take_tallies();
        // Their uses come behind those of the metrics.
        delta.faults.0.append(&mut self.fx.faults.take().0);
        self.children.may_walk();
    }

    /// Takes up this shard's part of a snapshot, all of it where it is of keys of patterns. What is
    /// kept of patterns that there are no more is forgotten.
    ///
    /// # Errors
    /// When a record is malformed: names the key.
    pub fn restore(
        &mut self,
        snapshot: &Snapshot,
        (shard, shards): (u16, u16),
    ) -> Result<(), String> {
        let own = self.own;
        let is_mine = |hash| own || shard_of(hash, shards) == shard;
        let records = if own { &snapshot.own_keys } else { &snapshot.patterns };
        for (key, record) in records.iter() {
            let hash = key_hash(self.seed, key);
            if !is_mine(hash) {
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
        let kinds = self.patterns.list.iter().filter(|pattern| pattern.has_own_key() == own);
        let kinds: Vec<u64> = kinds.filter_map(Pattern::cohort_id).collect();
        for (key, start) in &snapshot.cohorts {
            if is_mine(key.1) && kinds.contains(&key.0) {
                self.cohorts.restore(*key, *start);
            }
        }
        Ok(())
    }

    /// How much it holds.
    pub fn holds(&self) -> ShardHolds {
        ShardHolds {
            pattern_keys: self.children.open_keys() as u64,
            pattern_bytes: self.children.bytes() as u64,
            cohort_keys: self.cohorts.len() as u64,
            ..ShardHolds::default()
        }
    }
}

/// Of machines by the session key, or by keys of patterns.
fn sections(own: bool) -> fn() -> SectionWriter {
    if own { SectionWriter::own_keys } else { SectionWriter::patterns }
}

/// Sections that forget what nobody takes up: machines where there are no patterns of their sort any
/// more, and cohorts of kinds that are no more.
pub(super) fn forget(snapshot: &Snapshot, patterns: &Patterns) -> Vec<Vec<u8>> {
    let mut forgotten = Vec::new();
    let none = [(patterns.is_empty(), false), (!patterns.any_own(), true)];
    for (_, own) in none.into_iter().filter(|(none, _)| *none) {
        let (mut writer, empty) = (sections(own)(), sections(own));
        let records = if own { &snapshot.own_keys } else { &snapshot.patterns };
        for (key, _) in records.iter() {
            writer.record(key, &[]);
            close_full(&mut writer, empty, &mut forgotten);
        }
        forgotten.extend((!writer.is_empty()).then(|| writer.finish()));
    }
    let kinds: Vec<u64> = patterns.list.iter().filter_map(Pattern::cohort_id).collect();
    let mut cohorts = SectionWriter::cohorts();
    let gone = snapshot.cohorts.keys().filter(|(kind, _)| !kinds.contains(kind));
    gone.for_each(|key| cohorts.cohort(*key, BEGINNING));
    forgotten.extend((!cohorts.is_empty()).then(|| cohorts.finish()));
    forgotten
}
