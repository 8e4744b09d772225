//! Timers on event time: a wheel of one-second places.

use std::collections::BTreeMap;

use crate::domain::time::EpochMs;

/// Length of a place.
const PLACE_MS: i64 = 1_000;

/// The place of what is not armed.
pub const UNARMED: i64 = i64::MAX;

/// Slots by the second in which they are to be looked at.
pub struct Wheel {
    places: BTreeMap<i64, Vec<u32>>,
    fired: i64,
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel { places: BTreeMap::new(), fired: i64::MIN }
    }
}

impl Wheel {
    /// The place of a time.
    pub fn place(at: EpochMs) -> i64 {
        at.div_euclid(PLACE_MS)
    }

    /// Arms a slot. It may be in several places: whoever takes it out knows which one holds.
    pub fn arm(&mut self, place: i64, slot: u32) {
        self.places.entry(place).or_default().push(slot);
    }

    /// Takes out all slots up to the place of the watermark, in order, each with its place.
    pub fn fire(&mut self, watermark: EpochMs) -> Vec<(i64, u32)> {
        self.fired = self.fired.max(Wheel::place(watermark));
        let later = self.places.split_off(&(Wheel::place(watermark) + 1));
        let passed = std::mem::replace(&mut self.places, later);
        let mut all = Vec::with_capacity(passed.values().map(Vec::len).sum());
        for (place, slots) in passed {
            all.extend(slots.into_iter().map(|slot| (place, slot)));
        }
        all
    }

    /// The last place that was taken out.
    pub fn fired(&self) -> i64 {
        self.fired
    }

    /// How many slots are armed, those counted twice that are in two places.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.places.values().map(Vec::len).sum()
    }
}
