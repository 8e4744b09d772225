//! What a session lists: the values that its entries carry, less those that were taken back.
//!
//! A value is there while more entries than removals carry it, as [`crate::session`] counts what is at
//! stake. So it is the same for any order, and two sessions that turn out to be one add up.

use smol_str::SmolStr;

use crate::hash::key_hash;
use crate::metric::Attr;
use crate::time::EpochMs;
use crate::wire::{Malformed, Reader, put_bytes, put_i64, put_u64};

/// Longest value, in bytes; what is longer is cut.
const VALUE_BYTES_MAX: usize = 200;
/// Most values beyond those that are named, which are counted by their hash.
const BEYOND_MAX: usize = 1_000;

/// A value that is named.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    /// When it came first, while it is there.
    at: EpochMs,
    text: SmolStr,
    /// Entries that carry it, less removals; never 0.
    net: i64,
}

/// The values of one list of an open session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// By time, then text.
    items: Vec<Item>,
    /// Further ones by hash, with their net; sorted.
    beyond: Vec<(u64, i64)>,
}

/// The values of a session that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Each once, those that came first first.
    pub values: Vec<SmolStr>,
    /// How many more there are; from 1,000 on, at least so many.
    pub more: u64,
}

impl Listed {
    /// An entry (`by` 1) or a removal (-1) carries a value; at most `most` are named.
    pub fn note(&mut self, at: EpochMs, value: Attr<'_>, by: i64, most: usize) {
        let text = match value {
            Attr::Missing | Attr::Unusable(_) => return,
            Attr::Text(text) => cut(&String::from_utf8_lossy(text)),
            other => cut(&other.to_string()),
        };
        if !text.is_empty() {
            self.add(Item { at, text, net: by }, most);
        }
    }

    fn add(&mut self, new: Item, most: usize) {
        let hash = key_hash(0, new.text.as_bytes());
        let known = self.items.iter().position(|item| item.text == new.text);
        if let Some(place) = known {
            let item = self.items.remove(place);
            let both = Item { at: item.at.min(new.at), net: item.net + new.net, ..item };
            return if both.net != 0 {
                self.put(both)
            };
        }
        let beyond = self.beyond.binary_search_by_key(&hash, |(hash, _)| *hash);
        if let Ok(place) = beyond {
            self.beyond[place].1 += new.net;
            if self.beyond[place].1 == 0 {
                self.beyond.remove(place);
            }
        } else if self.items.len() < most {
            self.put(new);
        } else if let Err(place) = beyond
            && self.beyond.len() < BEYOND_MAX
        {
            self.beyond.insert(place, (hash, new.net));
        }
    }

    fn put(&mut self, item: Item) {
        let place =
            self.items.partition_point(|known| (known.at, &known.text) < (item.at, &item.text));
        self.items.insert(place, item);
    }

    /// Adds what another one holds.
    pub fn merge(&mut self, other: Listed, most: usize) {
        let mine = std::mem::take(&mut self.items);
        let mut all: Vec<Item> = mine.into_iter().chain(other.items).collect();
        all.sort_by(|a, b| (a.at, &a.text).cmp(&(b.at, &b.text)));
        for (hash, net) in other.beyond {
            match self.beyond.binary_search_by_key(&hash, |(hash, _)| *hash) {
                Ok(place) => self.beyond[place].1 += net,
                Err(place) if self.beyond.len() < BEYOND_MAX => {
                    self.beyond.insert(place, (hash, net));
                }
                Err(_) => {}
            }
        }
        self.beyond.retain(|(_, net)| *net != 0);
        all.into_iter().for_each(|item| self.add(item, most));
    }

    /// What it lists.
    pub fn listing(&self) -> Listing {
        let there = self.items.iter().filter(|item| item.net > 0);
        let values = there.map(|item| item.text.clone()).collect();
        let more = self.beyond.iter().filter(|(_, net)| *net > 0).count();
        Listing { values, more: more as u64 }
    }

    /// About how many bytes it takes besides itself.
    pub fn heap_bytes(&self) -> usize {
        let texts: usize = self.items.iter().map(|item| item.text.len()).sum();
        self.items.capacity() * size_of::<Item>() + texts + self.beyond.capacity() * 16
    }

    /// Appends it to a record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.items.len() as u64);
        for item in &self.items {
            put_i64(out, item.at);
            put_bytes(out, item.text.as_bytes());
            put_i64(out, item.net);
        }
        put_u64(out, self.beyond.len() as u64);
        for (hash, net) in &self.beyond {
            out.extend_from_slice(&hash.to_le_bytes());
            put_i64(out, *net);
        }
    }

    /// Reads it from a record.
    ///
    /// # Errors
    /// When the bytes are no list: the file is damaged.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Listed, Malformed> {
        let at = reader.position();
        let mut listed = Listed::default();
        for _ in 0..reader.u64("values of a list")? {
            let time = reader.time("time of a value")?;
            let text = String::from_utf8_lossy(reader.bytes("value of a list")?).into();
            let net = reader.i64("count of a value")?;
            listed.items.push(Item { at: time, text, net });
        }
        for _ in 0..reader.u64("further values of a list")? {
            let hash = reader.take(8, "further value")?.try_into().expect("take returns 8 bytes");
            listed.beyond.push((u64::from_le_bytes(hash), reader.i64("count of a value")?));
        }
        let sorted = listed.items.is_sorted_by(|a, b| (a.at, &a.text) < (b.at, &b.text));
        if sorted && listed.beyond.is_sorted_by(|a, b| a.0 < b.0) {
            Ok(listed)
        } else {
            Err(Malformed { what: "list of a session", at })
        }
    }
}

fn cut(text: &str) -> SmolStr {
    let text = text.trim();
    if text.len() <= VALUE_BYTES_MAX {
        return text.into();
    }
    text[..text.floor_char_boundary(VALUE_BYTES_MAX)].into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Whether it is an entry, and what it carries.
    fn noted(at: i64, (entry, value): (bool, u8), listed: &mut Listed, most: usize) {
        let text = [value];
        listed.note(at, Attr::Text(&text), if entry { 1 } else { -1 }, most);
    }

    proptest! {
        /// The values are those with more entries than removals, in any order and however it is put
        /// together; the first ones are named and the others counted.
        #[test]
        fn what_more_entries_than_removals_carry_is_there(
            mut events in prop::collection::vec((any::<bool>(), b'a'..b'j'), 0..60),
            seed in any::<u64>(),
            cut in 0usize..60,
            most in 1usize..12,
        ) {
            let mut nets: BTreeMap<u8, i64> = BTreeMap::new();
            for (entry, value) in &events {
                *nets.entry(*value).or_default() += if *entry { 1 } else { -1 };
            }
            let there = nets.values().filter(|net| **net > 0).count();
            for turn in 0..2u64 {
                let (mut first, mut second) = (Listed::default(), Listed::default());
                for (at, event) in events.iter().enumerate() {
                    let half = if at < cut { &mut first } else { &mut second };
                    noted(at as i64, *event, half, most);
                }
                first.merge(second, most);
                let Listing { values, more } = first.listing();
                prop_assert_eq!(values.len() + more as usize, there);
                prop_assert!(values.len() <= most);
                let named = values.iter().all(|value| nets[&value.as_bytes()[0]] > 0);
                prop_assert!(named, "{:?} of {:?}", values, nets);
                let mut record = Vec::new();
                first.encode(&mut record);
                prop_assert_eq!(Listed::decode(&mut Reader::new(&record)).unwrap(), first);
                let len = events.len().max(1);
                events.rotate_left((seed.wrapping_add(turn) % len as u64) as usize);
                events.reverse();
            }
        }
    }

    #[test]
    fn those_that_came_first_are_named_and_long_ones_cut() {
        let mut listed = Listed::default();
        for (at, value) in [(5, b'b'), (3, b'a'), (9, b'c'), (9, b'd')] {
            noted(at, (true, value), &mut listed, 3);
        }
        noted(10, (false, b'b'), &mut listed, 3);
        assert_eq!(listed.listing(), Listing { values: vec!["a".into(), "c".into()], more: 1 });
        let long = "é".repeat(200);
        listed.note(11, Attr::Text(long.as_bytes()), 1, 9);
        assert_eq!(listed.listing().values[2].len(), VALUE_BYTES_MAX);
        listed.note(12, Attr::Missing, 1, 9);
        listed.note(12, Attr::Text(b" "), 1, 9);
        assert_eq!(listed.listing().values.len(), 3);
    }
}
