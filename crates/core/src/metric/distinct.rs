//! Distinct values: a set of hashes while small, then a HyperLogLog sketch.
//!
//! The switch depends on the number of different values alone, and a sketch's registers
//! do not depend on the order, so shards and batches make no difference. Relative
//! standard error of the sketch: 1.04 / sqrt(2^14) = 0.8 % (`datasketches`).

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use datasketches::hll::{HllSketch, HllType, HllUnion};

use crate::domain::wire::{Malformed, Reader, put_bytes, put_u64};

/// Logarithm of the number of registers.
const REGISTERS_LOG2: u8 = 14;

/// Relative standard error of a sketch, in percent: two estimates of three are this near.
pub const SKETCH_ERROR_PERCENT: f64 = 0.8;

/// How near 95 % of all estimates are, in percent: 1.96 standard errors.
pub const SKETCH_BOUND_PERCENT: f64 = 1.6;

/// How exact a distinct count is, for people.
pub fn accuracy_words(exact_up_to: usize) -> String {
    format!(
        "exact up to {exact_up_to} in a pane, then a standard error of {SKETCH_ERROR_PERCENT} % \
         (95 % within ± {SKETCH_BOUND_PERCENT} %)"
    )
}

/// A set of values that are hashes already.
pub type HashedSet = HashSet<u64, BuildHasherDefault<Identity>>;

/// The hasher of values that are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Different values, by their 64-bit hashes.
#[derive(Clone, Debug)]
pub struct Distinct {
    exact_up_to: usize,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    Exact(HashedSet),
    Sketch(Box<HllSketch>),
}

impl PartialEq for Distinct {
    fn eq(&self, other: &Self) -> bool {
        match (&self.values, &other.values) {
            (Values::Exact(a), Values::Exact(b)) => a == b,
            (Values::Sketch(a), Values::Sketch(b)) => a.serialize() == b.serialize(),
            _ => false,
        }
    }
}

impl Distinct {
    /// Nothing seen yet; a sketch beyond `exact_up_to` different values.
    pub fn new(exact_up_to: usize) -> Self {
        Distinct { exact_up_to, values: Values::Exact(HashedSet::default()) }
    }

    /// Adds one value by its hash.
    pub fn insert(&mut self, hash: u64) {
        match &mut self.values {
            Values::Exact(set) => {
                if set.insert(hash) && set.len() > self.exact_up_to {
                    self.values = Values::Sketch(Box::new(sketch_of(set.iter())));
                }
            }
            Values::Sketch(sketch) => sketch.update(hash),
        }
    }

    /// Adds everything another one has seen.
    pub fn merge(&mut self, other: &Distinct) {
        match &other.values {
            Values::Exact(set) => set.iter().for_each(|hash| self.insert(*hash)),
            Values::Sketch(theirs) => {
                let mut union = union_of(&self.values);
                union.update(theirs);
                self.values = Values::Sketch(Box::new(union.to_sketch(HllType::Hll8)));
            }
        }
    }

    /// How many different values, exact or estimated.
    pub fn count(&self) -> u64 {
        match &self.values {
            Values::Exact(set) => set.len() as u64,
            // The composite estimate is a function of the registers alone; the default
            // one depends on the order of updates.
            Values::Sketch(sketch) => sketch.composite_estimate().round() as u64,
        }
    }

    /// The values while they are exact.
    pub fn exact(&self) -> Option<&HashedSet> {
        match &self.values {
            Values::Exact(set) => Some(set),
            Values::Sketch(_) => None,
        }
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.exact_up_to as u64);
        match &self.values {
            Values::Exact(set) => {
                out.push(0);
                put_u64(out, set.len() as u64);
                set.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
            }
            Values::Sketch(sketch) => {
                out.push(1);
                put_bytes(out, &sketch.serialize());
            }
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the bytes are not one.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Distinct, Malformed> {
        let exact_up_to = reader.u64("limit of a distinct count")? as usize;
        let at = reader.position();
        let values = match reader.u8("kind of a distinct count")? {
            0 => {
                let num = reader.u64("number of values")? as usize;
                let bytes = reader.take(num.saturating_mul(8), "values")?;
                let hashes = bytes
                    .chunks_exact(8)
                    .map(|chunk| u64::from_le_bytes(chunk.try_into().expect("chunks of 8 bytes")));
                Values::Exact(hashes.collect())
            }
            _ => {
                let bytes = reader.bytes("sketch")?;
                let sketch =
                    HllSketch::deserialize(bytes).map_err(|_| Malformed { what: "sketch", at })?;
                Values::Sketch(Box::new(sketch))
            }
        };
        Ok(Distinct { exact_up_to, values })
    }
}

fn sketch_of<'a>(hashes: impl Iterator<Item = &'a u64>) -> HllSketch {
    let mut sketch =
        HllSketch::new(REGISTERS_LOG2, HllType::Hll8).expect("14 is a valid number of registers");
    hashes.for_each(|hash| sketch.update(hash));
    sketch
}

fn union_of(values: &Values) -> HllUnion {
    let mut union = HllUnion::new(REGISTERS_LOG2).expect("14 is a valid number of registers");
    match values {
        Values::Exact(set) => set.iter().for_each(|hash| union.update_value(hash)),
        Values::Sketch(sketch) => union.update(sketch),
    }
    union
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::hash::key_hash;

    #[test]
    fn it_is_exact_up_to_the_limit_and_near_beyond() {
        let mut distinct = Distinct::new(1_000);
        for n in 0..100_000u64 {
            distinct.insert(key_hash(1, &(n % 50_000).to_le_bytes()));
            if n == 999 {
                assert_eq!(distinct.count(), 1_000);
            }
        }
        let error = (distinct.count() as f64 - 50_000.0).abs() / 50_000.0;
        assert!(error < 4.0 * SKETCH_ERROR_PERCENT / 100.0, "error {error}");
    }

    #[test]
    fn the_estimate_does_not_depend_on_how_the_values_were_split() {
        let hash = |n: u64| key_hash(1, &n.to_le_bytes());
        let whole = (0..30_000).fold(Distinct::new(100), |mut d, n| {
            d.insert(hash(n));
            d
        });
        for parts in [2u64, 3, 7] {
            let mut merged = Distinct::new(100);
            for part in 0..parts {
                let mut one = Distinct::new(100);
                (0..30_000).filter(|n| n % parts == part).for_each(|n| one.insert(hash(n)));
                merged.merge(&one);
            }
            assert_eq!(merged.count(), whole.count());
        }
    }
}
