//! Records by key, many of them, as folding and restarting need them: put in, replaced and taken
//! out by the million, then gone through once.
//!
//! Keys and records lie one behind the other in larger pieces of memory; a table says where.
//! A record that fits is written over the former one, so replacing it, which is most of the work,
//! allocates nothing. Two allocations for each of four million sessions took most of the time of
//! a restart.

use std::fmt;
use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Parts of all records: each has a table of its own, so that one that grows moves little.
const PARTS: usize = 64;
/// Bytes of a piece of memory. One longer entry has a piece of its own.
const PIECE: usize = 64 << 10;
/// Bytes in front of an entry: lengths of its key, of its record, and of the whole entry.
const HEAD: usize = 12;
/// Entries begin at multiples of this; places count in it, so that a part may have 32 GiB of
/// pieces.
const UNIT: usize = 8;
/// Stands for the length of the key of an entry that was taken out.
const DEAD: u32 = u32::MAX;
/// From so many bytes on a part is written anew when a third of it is dead.
const COMPACT_BYTES: usize = 64 << 10;
const _: () = assert!(COMPACT_BYTES >= PIECE, "less than a piece is nothing to give back");

/// Records by key.
#[derive(Clone, Default)]
pub struct Records {
    /// Empty, or `PARTS` of them.
    parts: Vec<Part>,
    hasher: FixedState,
    len: usize,
}

#[derive(Clone, Default)]
struct Part {
    /// Part of an entry's hash, and its place in units.
    table: HashTable<(u32, u32)>,
    pieces: Vec<Vec<u8>>,
    /// Bytes of all entries, and of those that were taken out.
    used: usize,
    dead: usize,
}

impl Records {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All keys with their records.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.parts.iter().flat_map(Part::iter)
    }

    /// The record of a key.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let hash = self.hasher.hash_one(key);
        let part = self.parts.get(part_of(hash))?;
        let (_, place) = part.find(short(hash), key)?;
        Some(part.entry(*place).record())
    }

    /// Replaces the record of a key, or adds it.
    pub fn insert(&mut self, key: &[u8], record: &[u8]) {
        if self.parts.is_empty() {
            self.parts.resize_with(PARTS, Part::default);
        }
        let hash = self.hasher.hash_one(key);
        let part = &mut self.parts[part_of(hash)];
        let hash = short(hash);
        let place = part.find(hash, key).map(|(_, place)| *place);
        match place {
            Some(place) if part.overwrite(place, record) => return,
            Some(place) => part.bury(hash, place),
            None => self.len += 1,
        }
        part.push(hash, key, record);
        part.compact_if_worth_it(&self.hasher);
    }

    /// Takes a key and its record out, if they are there.
    pub fn remove(&mut self, key: &[u8]) {
        let hash = self.hasher.hash_one(key);
        let Some(part) = self.parts.get_mut(part_of(hash)) else { return };
        let hash = short(hash);
        if let Some(place) = part.find(hash, key).map(|(_, place)| *place) {
            part.bury(hash, place);
            part.compact_if_worth_it(&self.hasher);
            self.len -= 1;
        }
    }

    /// Reads what lies where these keys would be, so that the memory of all of them is on its
    /// way at once; looked up one after the other each would be waited for.
    pub fn look_at<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        let mut seen = 0u8;
        for key in keys {
            let hash = self.hasher.hash_one(key);
            let Some(part) = self.parts.get(part_of(hash)) else { return };
            let short = short(hash);
            if let Some((_, place)) = part.table.find(spread(short), |(known, _)| *known == short) {
                let (piece, at) = split(*place);
                seen ^= part.pieces[piece][at];
            }
        }
        std::hint::black_box(seen);
    }
}

impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().all(|(key, record)| other.get(key) == Some(record))
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(self.iter()).finish()
    }
}

/// An entry, as it lies in its piece.
struct Entry<'a> {
    /// All of it, with the room behind its record.
    bytes: &'a [u8],
    key_len: u32,
    record_len: usize,
}

impl<'a> Entry<'a> {
    /// The entry that begins at a place of a piece.
    fn at(piece: &'a [u8], at: usize) -> Self {
        let number = |index: usize| {
            let from = at + 4 * index;
            u32::from_le_bytes(piece[from..from + 4].try_into().expect("four bytes"))
        };
        let (key_len, record_len, len) = (number(0), number(1), number(2));
        let bytes = &piece[at..at + len as usize];
        Entry { bytes, key_len, record_len: record_len as usize }
    }

    fn is_dead(&self) -> bool {
        self.key_len == DEAD
    }

    /// Of one that is not dead.
    fn key(&self) -> &'a [u8] {
        &self.bytes[HEAD..HEAD + self.key_len as usize]
    }

    /// Of one that is not dead.
    fn record(&self) -> &'a [u8] {
        let start = HEAD + self.key_len as usize;
        &self.bytes[start..start + self.record_len]
    }
}

impl Part {
    fn find(&self, hash: u32, key: &[u8]) -> Option<&(u32, u32)> {
        self.table
            .find(spread(hash), |(known, place)| *known == hash && self.entry(*place).key() == key)
    }

    fn entry(&self, place: u32) -> Entry<'_> {
        let (piece, at) = split(place);
        Entry::at(&self.pieces[piece], at)
    }

    /// Writes a record over the former one; false when there is no room, or so much that most of
    /// it would lie idle.
    fn overwrite(&mut self, place: u32, record: &[u8]) -> bool {
        let entry = self.entry(place);
        let start = HEAD + entry.key_len as usize;
        let len = start + record.len();
        if len > entry.bytes.len() || 2 * len + UNIT < entry.bytes.len() {
            return false;
        }
        let (piece, at) = split(place);
        self.pieces[piece][at + start..at + start + record.len()].copy_from_slice(record);
        self.put(place, 1, record.len() as u32);
        true
    }

    fn push(&mut self, hash: u32, key: &[u8], record: &[u8]) {
        let len = (HEAD + key.len() + record.len()).next_multiple_of(UNIT);
        match self.pieces.last() {
            Some(last) if last.len() + len <= PIECE => {}
            // The first one grows with what is in it: there may be little.
            None => self.pieces.push(Vec::new()),
            Some(_) => self.pieces.push(Vec::with_capacity(len.max(PIECE))),
        }
        let number = self.pieces.len() - 1;
        let piece = &mut self.pieces[number];
        let place = number * (PIECE / UNIT) + piece.len() / UNIT;
        for number in [key.len(), record.len(), len] {
            piece.extend_from_slice(&(number as u32).to_le_bytes());
        }
        piece.extend_from_slice(key);
        piece.extend_from_slice(record);
        piece.resize(piece.len().next_multiple_of(UNIT), 0);
        self.used += len;
        // Within 32 GiB of one part of 64: more than a machine holds.
        let place = u32::try_from(place).expect("a part has less than 32 GiB");
        self.table.insert_unique(spread(hash), (hash, place), |(hash, _)| spread(*hash));
    }

    /// Takes an entry out.
    fn bury(&mut self, hash: u32, place: u32) {
        let same = |entry: &(u32, u32)| entry.1 == place;
        if let Ok(entry) = self.table.find_entry(spread(hash), same) {
            entry.remove();
        }
        self.dead += self.entry(place).bytes.len();
        self.put(place, 0, DEAD);
    }

    fn put(&mut self, place: u32, index: usize, number: u32) {
        let (piece, at) = split(place);
        let at = at + 4 * index;
        self.pieces[piece][at..at + 4].copy_from_slice(&number.to_le_bytes());
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pieces.iter().flat_map(|piece| {
            let mut at = 0;
            std::iter::from_fn(move || {
                while at < piece.len() {
                    let entry = Entry::at(piece, at);
                    at += entry.bytes.len();
                    if !entry.is_dead() {
                        return Some((entry.key(), entry.record()));
                    }
                }
                None
            })
        })
    }

    fn compact_if_worth_it(&mut self, hasher: &FixedState) {
        if self.used < COMPACT_BYTES || self.dead < self.used / 3 {
            return;
        }
        let table = HashTable::with_capacity(self.table.len());
        let mut fresh = Part { table, ..Part::default() };
        for (key, record) in self.iter() {
            fresh.push(short(hasher.hash_one(key)), key, record);
        }
        *self = fresh;
    }
}

/// The piece of a place, and where in it.
fn split(place: u32) -> (usize, usize) {
    let units = PIECE / UNIT;
    (place as usize / units, place as usize % units * UNIT)
}

fn part_of(hash: u64) -> usize {
    hash as usize % PARTS
}

/// What a table keeps of a hash: bits that do not choose the part.
fn short(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// A hash for the table: it takes the place from the low bits and a mark from the highest.
fn spread(short: u32) -> u64 {
    u64::from(short) << 32 | u64::from(short)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_a_map(
            steps in prop::collection::vec(
                ("[a-c]{0,3}", prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..40))),
                0..200,
            ),
        ) {
            let (mut records, mut plain) = (Records::default(), BTreeMap::new());
            for (index, (key, record)) in steps.iter().enumerate() {
                // Some are longer than a piece.
                let long = |record: &Vec<u8>| record.repeat(if index % 16 == 0 { 9_000 } else { 1 });
                let record = &record.as_ref().map(long);
                records.look_at([key.as_bytes()].into_iter());
                match record {
                    Some(record) => {
                        records.insert(key.as_bytes(), record);
                        plain.insert(key.as_bytes(), record.clone());
                    }
                    None => {
                        records.remove(key.as_bytes());
                        plain.remove(key.as_bytes());
                    }
                }
                let wanted = plain.get(key.as_bytes()).map(Vec::as_slice);
                prop_assert_eq!(records.get(key.as_bytes()), wanted);
                prop_assert_eq!(records.len(), plain.len());
            }
            let all: BTreeMap<_, _> = records.iter().collect();
            let plain: BTreeMap<_, _> = plain.iter().map(|(key, r)| (*key, r.as_slice())).collect();
            prop_assert_eq!(&all, &plain);
            prop_assert_eq!(records.iter().count(), plain.len());
            let mut other = Records::default();
            plain.iter().rev().for_each(|(key, record)| other.insert(key, record));
            prop_assert_eq!(&records, &other);
            other.insert(b"more", b"");
            prop_assert_ne!(&records, &other);
        }
    }

    /// Records that grow leave their places; what is dead never outweighs what lives for long.
    #[test]
    fn memory_follows_what_is_there() {
        let mut records = Records::default();
        for round in 0..40usize {
            for user in 0..20_000u32 {
                records.insert(&user.to_le_bytes(), &vec![round as u8; 8 + 8 * round]);
            }
        }
        let held = |records: &Records| -> usize {
            let pieces = records.parts.iter().flat_map(|part| &part.pieces);
            pieces.map(Vec::capacity).sum()
        };
        let bytes = held(&records);
        let live = 20_000 * (HEAD + 4 + 8 + 8 * 39 + UNIT);
        assert!(
            2 * bytes <= 3 * live + 2 * PARTS * (COMPACT_BYTES + PIECE),
            "{bytes} bytes for {live}"
        );
        assert!(records.iter().all(|(_, record)| *record == [39; 8 + 8 * 39]));
        (0..20_000u32).for_each(|user| records.insert(&user.to_le_bytes(), &[7; 8]));
        let (bytes, live) = (held(&records), 20_000 * (HEAD + 4 + 8 + UNIT));
        assert!(
            2 * bytes <= 3 * live + 2 * PARTS * (COMPACT_BYTES + PIECE),
            "{bytes} bytes for {live} when records have shrunk"
        );
        assert!(records.iter().all(|(_, record)| *record == [7; 8]));
        (0..19_990u32).for_each(|user| records.remove(&user.to_le_bytes()));
        assert_eq!((records.len(), records.iter().count()), (10, 10));
        let bytes = held(&records);
        assert!(bytes <= PARTS * (COMPACT_BYTES + PIECE), "{bytes}");
    }
}
