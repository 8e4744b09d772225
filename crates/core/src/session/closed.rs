//! A small memory of closed sessions: for each key the time up to which its sessions have
//! left, for as long as an event of theirs could still be taken for a new one.
//!
//! One entry is a hash of the key and a time. It is read when a session opens and written
//! when the last one of a key closes; while a key has open sessions its machine knows by
//! itself. Two keys with one 64-bit hash share an entry: with 4 million entries a late event
//! is refused for another key's sake with a chance of 2·10⁻¹³, others never.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::rules::Rules;
use crate::time::{BEGINNING, EpochMs, SpanMs};

/// Keys that are looked for before any of them is forgotten, so that the waits for memory overlap.
const TOGETHER: usize = 16;

/// Closed sessions of one shard.
#[derive(Debug)]
pub struct Closed {
    memory: SpanMs,
    /// Length of a slot of `order`.
    slot: SpanMs,
    max: usize,
    floors: HashMap<u64, EpochMs, foldhash::fast::RandomState>,
    /// The keys by the slot of their floor, so that the oldest are found.
    order: BTreeMap<i64, Vec<u64>>,
    /// Changes since the last call of [`Closed::take_changes`]; `BEGINNING` for gone.
    changes: Vec<(u64, EpochMs)>,
    /// Up to where floors were forgotten before their time; `BEGINNING` when none was.
    pub forgotten: EpochMs,
    /// How many were, since the last look.
    pub forgotten_early: u64,
}

impl Closed {
    /// Remembers at most about `max` keys, each as long as the rules ask for.
    pub fn new(rules: &Rules, max: usize) -> Self {
        Closed {
            memory: rules.memory(),
            slot: (rules.gap / 64).max(1_000),
            max,
            floors: HashMap::default(),
            order: BTreeMap::new(),
            changes: Vec::new(),
            forgotten: BEGINNING,
            forgotten_early: 0,
        }
    }

    /// Up to where the sessions of a key without open ones have been closed. When some were
    /// forgotten early, it might be any of those.
    pub fn floor(&self, key_hash: u64) -> EpochMs {
        self.floors.get(&key_hash).copied().unwrap_or(self.forgotten)
    }

    /// As [`Closed::floor`], of this very key, and only where an event of it could still be taken
    /// for a new session at this watermark; `BEGINNING` when nothing is known.
    pub fn known_floor(&self, key_hash: u64, watermark: EpochMs) -> EpochMs {
        let floor = self.floors.get(&key_hash).copied().unwrap_or(BEGINNING);
        if floor < watermark.saturating_sub(self.memory) { BEGINNING } else { floor }
    }

    /// Brings near where a key is looked for.
    #[inline]
    pub fn look_for(&self, key_hash: u64) {
        std::hint::black_box(self.floors.get(&key_hash));
    }

    /// Remembers that all sessions of a key are closed.
    pub fn insert(&mut self, key_hash: u64, floor: EpochMs) {
        if floor > self.forgotten && self.put(key_hash, floor) {
            self.changes.push((key_hash, floor));
        }
    }

    /// Puts back what a snapshot holds.
    pub fn restore(&mut self, key_hash: u64, floor: EpochMs) {
        self.put(key_hash, floor);
    }

    fn put(&mut self, key_hash: u64, floor: EpochMs) -> bool {
        let known = self.floors.entry(key_hash).or_insert(BEGINNING);
        let news = floor > *known;
        if news {
            *known = floor;
            self.order.entry(floor.div_euclid(self.slot)).or_default().push(key_hash);
        }
        news
    }

    /// Forgets what the watermark has passed for good, and the oldest while there are too
    /// many.
    pub fn sweep(&mut self, watermark: EpochMs) {
        while let Some(first) = self.order.first_entry() {
            let slot = *first.key();
            let passed = (slot + 1).saturating_mul(self.slot) + self.memory < watermark;
            if !passed && self.floors.len() <= self.max {
                return;
            }
            for some in first.remove().chunks(TOGETHER) {
                some.iter().for_each(|key_hash| self.look_for(*key_hash));
                some.iter().for_each(|key_hash| self.forget(*key_hash, slot, passed));
            }
        }
    }

    fn forget(&mut self, key_hash: u64, slot: i64, passed: bool) {
        let Entry::Occupied(known) = self.floors.entry(key_hash) else { return };
        // A later one may have taken its place.
        if known.get().div_euclid(self.slot) != slot {
            return;
        }
        let floor = known.remove();
        self.changes.push((key_hash, BEGINNING));
        if !passed {
            self.forgotten_early += 1;
            self.forgotten = self.forgotten.max(floor);
        }
    }

    /// What changed since the last call, in order: key and floor, `BEGINNING` for forgotten.
    pub fn take_changes(&mut self) -> Vec<(u64, EpochMs)> {
        std::mem::take(&mut self.changes)
    }

    /// Keys remembered.
    pub fn len(&self) -> usize {
        self.floors.len()
    }

    /// True when none is.
    pub fn is_empty(&self) -> bool {
        self.floors.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Schema;
    use crate::session::SessionPolicy;
    use crate::time::TimePolicy;

    fn closed(max: usize) -> Closed {
        let policy = SessionPolicy { gap: 64_000, ..SessionPolicy::default() };
        let time = TimePolicy { allowed_lateness: 0, ..TimePolicy::default() };
        Closed::new(&Rules::compile(&policy, &time, &Schema::default()), max)
    }

    #[test]
    fn a_floor_is_known_for_two_gaps_and_the_lateness() {
        let mut closed = closed(10);
        closed.insert(7, 5_000);
        closed.insert(7, 9_000);
        closed.insert(7, 8_000);
        assert_eq!(closed.floor(7), 9_000);
        closed.sweep(9_000 + 128_000);
        assert_eq!((closed.floor(7), closed.len()), (9_000, 1));
        closed.sweep(11_000 + 128_000);
        assert_eq!((closed.floor(7), closed.forgotten_early), (BEGINNING, 0));
        assert_eq!(closed.take_changes(), [(7, 5_000), (7, 9_000), (7, BEGINNING)]);
    }

    #[test]
    fn beyond_the_bound_the_oldest_leave_and_any_key_may_have_been_theirs() {
        let mut closed = closed(2);
        (0..4).for_each(|key| closed.insert(key, 1_000 * key as i64));
        closed.sweep(0);
        assert_eq!((closed.len(), closed.forgotten_early), (2, 2));
        assert_eq!(closed.forgotten, 1_000);
        assert_eq!((closed.floor(0), closed.floor(99), closed.floor(3)), (1_000, 1_000, 3_000));
        closed.insert(50, 900);
        assert_eq!(closed.len(), 2, "the floor of the forgotten ones says as much");
    }
}
