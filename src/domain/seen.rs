//! Event identities seen within the horizon: the second net against duplicates, after
//! the log's own.
//!
//! Identities are kept in generations of one horizon of event time, and a whole
//! generation is forgotten at once. The horizon is at least as long as an event may be
//! behind and still count (gap + lateness), so an identity is forgotten only when its
//! event would be late anyway: no retry, however late, counts twice.

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasherDefault;

use super::metric::distinct::Identity;
use super::time::{EpochMs, SpanMs};

type Set = HashSet<u64, BuildHasherDefault<Identity>>;

/// Identities of one shard.
#[derive(Debug)]
pub struct Seen {
    horizon: SpanMs,
    ids_max: usize,
    generations: BTreeMap<i64, Set>,
    fresh: BTreeMap<i64, Vec<u64>>,
    len: usize,
    /// Generations forgotten before their time because `ids_max` was reached.
    pub forgotten_early: u64,
    /// Until the watermark is here, an event may still count whose identity was forgotten
    /// early; `None` when none was.
    pub short_until: Option<EpochMs>,
}

impl Seen {
    /// Remembers identities for at least `horizon`, and at most about `ids_max` of them.
    pub fn new(horizon: SpanMs, ids_max: usize) -> Self {
        Seen {
            horizon: horizon.max(1),
            ids_max,
            generations: BTreeMap::new(),
            fresh: BTreeMap::new(),
            len: 0,
            forgotten_early: 0,
            short_until: None,
        }
    }

    /// True when the identity is new; it is remembered then. `at` and `watermark` are the
    /// event's own time and stamp, so the answer does not depend on when old generations
    /// were swept.
    pub fn insert(&mut self, identity: u64, at: EpochMs, watermark: EpochMs) -> bool {
        let generation = at.div_euclid(self.horizon);
        let alive = |other: i64| (other + 2).saturating_mul(self.horizon) >= watermark;
        let known = self
            .generations
            .iter()
            .any(|(other, set)| *other != generation && alive(*other) && set.contains(&identity));
        if known || !self.generations.entry(generation).or_default().insert(identity) {
            return false;
        }
        self.len += 1;
        self.fresh.entry(generation).or_default().push(identity);
        true
    }

    /// True when the identity is remembered in the generation of `at`. Events of any other are
    /// rare; [`Seen::insert`] alone says whether an event is new.
    pub fn contains(&self, identity: u64, at: EpochMs) -> bool {
        let generation = at.div_euclid(self.horizon);
        self.generations.get(&generation).is_some_and(|set| set.contains(&identity))
    }

    /// Forgets an identity that was new since the last `take_fresh`: its event did not
    /// count after all, and may come again.
    pub fn take_back(&mut self, identity: u64, at: EpochMs) {
        let generation = at.div_euclid(self.horizon);
        let known = self.generations.get_mut(&generation).is_some_and(|set| set.remove(&identity));
        self.len -= usize::from(known);
        let Some(fresh) = self.fresh.get_mut(&generation) else { return };
        // Usually the last one.
        if let Some(index) = fresh.iter().rposition(|other| *other == identity) {
            fresh.remove(index);
        }
    }

    /// Puts back an identity from a snapshot: its event was before `until`. The horizon may
    /// be another one than it was.
    pub fn restore(&mut self, until: EpochMs, identity: u64) {
        let generation = (until - 1).div_euclid(self.horizon);
        self.len += usize::from(self.generations.entry(generation).or_default().insert(identity));
    }

    /// Forgets what the watermark has passed, and the oldest generation while there are
    /// too many. Returns the time up to which everything is forgotten.
    pub fn sweep(&mut self, watermark: EpochMs) -> EpochMs {
        while let Some(first) = self.generations.first_entry() {
            let passed = (first.key() + 2).saturating_mul(self.horizon) < watermark;
            if !passed && self.len <= self.ids_max {
                break;
            }
            if !passed {
                self.forgotten_early += 1;
                let ends = (first.key() + 2).saturating_mul(self.horizon);
                self.short_until = self.short_until.max(Some(ends));
            }
            self.len -= first.remove().len();
        }
        let first = self.generations.first_key_value();
        first.map_or(EpochMs::MIN / 2, |(first, _)| first * self.horizon)
    }

    /// Identities that are new since the last call, by the end of their generation: all
    /// their events were before that time.
    pub fn take_fresh(&mut self) -> Vec<(EpochMs, Vec<u64>)> {
        let fresh = std::mem::take(&mut self.fresh).into_iter();
        fresh.map(|(generation, ids)| ((generation + 1) * self.horizon, ids)).collect()
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_within_the_horizon_is_known_even_with_another_time() {
        let mut seen = Seen::new(1_000, 100);
        assert!(seen.insert(7, 500, 0));
        assert!(!seen.insert(7, 500, 600));
        assert!(!seen.insert(7, 1_200, 1_100));
        assert!(seen.insert(8, 500, 600));
    }

    #[test]
    fn the_answer_does_not_depend_on_when_it_was_swept() {
        for sweep in [false, true] {
            let mut seen = Seen::new(1_000, 100);
            seen.insert(7, 500, 0);
            if sweep {
                seen.sweep(2_001);
            }
            assert!(seen.insert(7, 1_999, 2_001), "sweep {sweep}");
        }
    }

    #[test]
    fn the_oldest_generation_leaves_first_when_there_are_too_many() {
        let mut seen = Seen::new(1_000, 2);
        (0..4).for_each(|id| assert!(seen.insert(id + 1, id as i64 * 1_000, 0)));
        assert_eq!((seen.sweep(0), seen.len(), seen.forgotten_early), (2_000, 2, 2));
        assert_eq!(seen.short_until, Some(3_000), "the younger one of the two forgotten");
    }

    #[test]
    fn what_is_taken_back_may_come_again() {
        let mut seen = Seen::new(1_000, 100);
        assert!(seen.insert(7, 500, 0) && seen.insert(8, 600, 0));
        seen.take_back(7, 500);
        assert_eq!((seen.len(), seen.take_fresh()), (1, vec![(1_000, vec![8])]));
        assert!(seen.insert(7, 500, 0));
        assert!(!seen.insert(8, 600, 0));
    }

    #[test]
    fn a_snapshot_may_be_taken_up_with_another_horizon() {
        let mut before = Seen::new(1_000, 100);
        before.insert(7, 4_500, 4_000);
        let fresh = before.take_fresh();
        for horizon in [300, 1_000, 7_000] {
            let mut after = Seen::new(horizon, 100);
            fresh
                .iter()
                .for_each(|(until, ids)| ids.iter().for_each(|id| after.restore(*until, *id)));
            after.sweep(4_500);
            assert!(!after.insert(7, 4_500, 4_500), "horizon {horizon}");
        }
    }
}
