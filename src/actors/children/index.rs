//! From the hash of a key to its slot: one word for each, eight of them in a cache line.

/// Open addressing with linear probing. An entry is 32 bits of the hash and the slot plus one; 0
/// is a free place.
#[derive(Default)]
pub struct Index {
    /// A power of two, or none at all.
    places: Vec<u64>,
    len: usize,
}

/// Places of the smallest table.
const SMALLEST: usize = 64;

impl Index {
    /// Entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The slot of this hash that `same` recognises. 32 bits of the hash are compared before.
    #[inline]
    pub fn find(&self, hash: u64, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.places.is_empty() {
            return None;
        }
        let mut place = self.home(hash);
        loop {
            let entry = self.places[place];
            if entry == 0 {
                return None;
            }
            if tag(entry) == tag_of(hash) && same(slot(entry)) {
                return Some(slot(entry));
            }
            place = self.after(place);
        }
    }

    /// Notes the slot of a hash. It must not be there already.
    pub fn insert(&mut self, hash: u64, slot: u32) {
        // Three quarters full at most, so that probes stay within a line or two.
        if (self.len + 1) * 4 > self.places.len() * 3 {
            self.grow((self.places.len() * 2).max(SMALLEST));
        }
        self.put(u64::from(tag_of(hash)) << 32 | u64::from(slot + 1));
        self.len += 1;
    }

    /// Forgets the slot of a hash; false when it is not there.
    pub fn remove(&mut self, hash: u64, wanted: u32) -> bool {
        if self.places.is_empty() {
            return false;
        }
        let mut hole = self.home(hash);
        loop {
            match self.places[hole] {
                0 => return false,
                entry if slot(entry) == wanted && tag(entry) == tag_of(hash) => break,
                _ => hole = self.after(hole),
            }
        }
        self.len -= 1;
        // What was pushed on by the entry moves back, so that there are no marks of the dead.
        let mut place = hole;
        loop {
            place = self.after(place);
            let entry = self.places[place];
            if entry == 0 {
                self.places[hole] = 0;
                return true;
            }
            let mask = self.places.len() - 1;
            let from_home = place.wrapping_sub(self.home(entry >> 32)) & mask;
            if from_home >= place.wrapping_sub(hole) & mask {
                self.places[hole] = entry;
                hole = place;
            }
        }
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize) {
        let places = ((self.len + more).div_ceil(3) * 4).next_power_of_two();
        if places > self.places.len().max(SMALLEST) {
            self.grow(places);
        }
    }

    /// Reads the line of memory that a hash is looked for in first.
    pub fn touch(&self, hash: u64) {
        if !self.places.is_empty() {
            std::hint::black_box(self.places[self.home(hash)]);
        }
    }

    fn grow(&mut self, places: usize) {
        let places = vec![0; places];
        let former = std::mem::replace(&mut self.places, places);
        former.into_iter().filter(|entry| *entry != 0).for_each(|entry| self.put(entry));
    }

    fn put(&mut self, entry: u64) {
        let mut place = self.home(entry >> 32);
        while self.places[place] != 0 {
            place = self.after(place);
        }
        self.places[place] = entry;
    }

    /// Where an entry of this hash (or tag) begins to be looked for: the upper bits of the tag.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash & 0xffff_ffff) * self.places.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }
}

/// The lower half of a hash: its upper bits are the same for all keys of a shard.
#[inline]
fn tag_of(hash: u64) -> u32 {
    hash as u32
}

#[inline]
fn tag(entry: u64) -> u32 {
    (entry >> 32) as u32
}

#[inline]
fn slot(entry: u64) -> u32 {
    entry as u32 - 1
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few hashes with the same upper bits, so that entries push each other on and around
        /// the end of the table.
        #[test]
        fn it_is_a_map(
            steps in prop::collection::vec((0u32..300, any::<bool>()), 1..600),
            (reserve, more) in (0usize..600, 0usize..500),
        ) {
            let hash = |key: u32| u64::from(key % 7) << 29 | u64::from(key % 3) << 40;
            let (mut index, mut model) = (Index::default(), HashMap::new());
            let last = steps.len() - 1;
            for (step, (key, insert)) in steps.into_iter().enumerate() {
                if step == reserve {
                    index.reserve(more);
                }
                if insert && !model.contains_key(&key) {
                    index.insert(hash(key), key);
                    model.insert(key, ());
                } else if !insert {
                    prop_assert_eq!(index.remove(hash(key), key), model.remove(&key).is_some());
                }
                prop_assert_eq!(index.len(), model.len());
                if step % 50 == last % 50 {
                    let found = |key: u32| index.find(hash(key), |slot| slot == key).is_some();
                    prop_assert!((0..300).all(|key| found(key) == model.contains_key(&key)));
                }
            }
        }
    }
}
