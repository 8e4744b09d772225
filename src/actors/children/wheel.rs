//! Timers on event time: a wheel of one-second places.

use std::collections::BTreeMap;

use crate::domain::time::EpochMs;

/// Length of a place.
const PLACE_MS: i64 = 1_000;

/// The place of what is not armed.
pub const UNARMED: i64 = i64::MAX;

/// Slots by the second in which they are to be looked at.
#[derive(Default)]
pub struct Wheel(BTreeMap<i64, Vec<u32>>);

impl Wheel {
    /// The place of a time.
    pub fn place(at: EpochMs) -> i64 {
        at.div_euclid(PLACE_MS)
    }

    /// Arms a slot. It may be in several places: whoever takes it out knows which one holds.
    pub fn arm(&mut self, place: i64, slot: u32) {
        self.0.entry(place).or_default().push(slot);
    }

    /// Takes out all places up to that of the watermark, in order.
    pub fn fire(&mut self, watermark: EpochMs) -> impl Iterator<Item = (i64, Vec<u32>)> + use<> {
        let later = self.0.split_off(&(Wheel::place(watermark) + 1));
        std::mem::replace(&mut self.0, later).into_iter()
    }
}
