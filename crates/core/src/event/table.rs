//! A few words in a table in which a look-up is one step: by their first and last eight bytes
//! and their length. Built once from the configuration, asked for every name in every event.

/// Words with a number each.
#[derive(Debug)]
pub(super) struct Table {
    /// A power of two of them, three quarters free. A word lies in its slot or, where that is
    /// taken, at the next free one.
    cells: Vec<Cell>,
    words: Vec<Box<[u8]>>,
    /// What spreads the words so that hardly two have the same slot.
    factor: u64,
    shift: u32,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    mark: u64,
    len: u32,
    /// The word's number; [`FREE`] for a free cell.
    number: u16,
    /// Its index in `Table::words`.
    word: u16,
}

const FREE: u16 = u16::MAX;

/// How many factors are tried.
const TRIES: u64 = 256;

impl Table {
    /// A table over words and their numbers, which are less than 65,535; the first of equal
    /// words wins.
    pub fn new<'a>(words: impl Iterator<Item = (&'a str, u16)>) -> Self {
        let mut named: Vec<(&[u8], u16)> = Vec::new();
        for (word, number) in words.filter(|(_, number)| *number != FREE) {
            if !named.iter().any(|(known, _)| *known == word.as_bytes()) {
                named.push((word.as_bytes(), number));
            }
        }
        let size = (4 * named.len()).next_power_of_two().max(8);
        let shift = u64::BITS - size.trailing_zeros();
        let crowd = |factor: u64| {
            let slot_of = |word: &[u8]| slot(mark(word, 0, word.len()), word.len(), factor, shift);
            let mut slots: Vec<usize> = named.iter().map(|(word, _)| slot_of(word)).collect();
            slots.sort_unstable();
            slots.windows(2).filter(|pair| pair[0] == pair[1]).count()
        };
        // Odd, and without a pattern.
        let factors =
            (1..=TRIES).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) | 1);
        let mut best = (usize::MAX, 1);
        for factor in factors {
            best = best.min((crowd(factor), factor));
            if best.0 == 0 {
                break;
            }
        }
        let mut table = Table {
            cells: vec![Cell { mark: 0, len: 0, number: FREE, word: 0 }; size],
            words: named.iter().map(|(word, _)| Box::from(*word)).collect(),
            factor: best.1,
            shift,
        };
        for (at, (word, number)) in named.into_iter().enumerate() {
            table.put(word, number, at as u16);
        }
        table
    }

    fn put(&mut self, bytes: &[u8], number: u16, word: u16) {
        let mark = mark(bytes, 0, bytes.len());
        let mut at = slot(mark, bytes.len(), self.factor, self.shift);
        while self.cells[at].number != FREE {
            at = (at + 1) % self.cells.len();
        }
        self.cells[at] = Cell { mark, len: bytes.len() as u32, number, word };
    }

    /// The number of the word from `start` to `end` in `line`, if it is one of ours.
    #[inline]
    pub fn find(&self, line: &[u8], start: usize, end: usize) -> Option<u16> {
        let len = end - start;
        let mark = mark(line, start, len);
        let mut at = slot(mark, len, self.factor, self.shift);
        loop {
            let cell = *self.cells.get(at)?;
            if cell.number == FREE {
                return None;
            }
            // Up to eight bytes the mark and the length say all; see `mark`.
            if cell.mark == mark
                && cell.len as usize == len
                && (len <= 8 || *self.words[usize::from(cell.word)] == line[start..end])
            {
                return Some(cell.number);
            }
            at = (at + 1) % self.cells.len();
        }
    }
}

/// The first eight bytes of a word, or all of a shorter one; of a longer one also the last
/// eight, mixed in.
#[inline]
fn mark(line: &[u8], start: usize, len: usize) -> u64 {
    match len {
        0 => 0,
        1..8 => eight(line, start) & (u64::MAX >> (64 - 8 * len)),
        8 => eight(line, start),
        _ => eight(line, start) ^ eight(line, start + len - 8).rotate_left(29),
    }
}

/// Eight bytes as a number, with zeros behind the end of the line.
#[inline]
fn eight(line: &[u8], start: usize) -> u64 {
    match line.get(start..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => few(line.get(start..).unwrap_or_default()),
    }
}

#[cold]
fn few(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[inline]
fn slot(mark: u64, len: usize, factor: u64, shift: u32) -> usize {
    ((mark ^ (len as u64).rotate_right(8)).wrapping_mul(factor) >> shift) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(table: &Table, word: &str) -> Option<u16> {
        // Alone, and with something on both sides of it.
        let alone = table.find(word.as_bytes(), 0, word.len());
        let line = format!("{{\"{word}\":\"a long text behind it\"}}");
        assert_eq!(table.find(line.as_bytes(), 2, 2 + word.len()), alone, "{word}");
        alone
    }

    #[test]
    fn names_as_people_give_them_have_a_slot_each() {
        let words = [
            "ts",
            "type",
            "id",
            "user",
            "specversion",
            "amount",
            "region",
            "status",
            "path",
            "referrer",
            "customer_id",
            "customer_no",
            "currency",
            "device",
            "session",
            "a",
        ];
        let table = Table::new(words.iter().zip(0u16..).map(|(word, at)| (*word, at)));
        let slots = words.map(|word| {
            let bytes = word.as_bytes();
            slot(mark(bytes, 0, bytes.len()), bytes.len(), table.factor, table.shift)
        });
        let different: std::collections::HashSet<_> = slots.iter().collect();
        assert_eq!(different.len(), words.len());
    }

    #[test]
    fn words_with_one_mark_are_told_apart() {
        let words = ["abcdefgh-1-ijklmnop", "abcdefgh-2-ijklmnop", "abcdefgh-3-ijklmnop"];
        let table = Table::new(words.iter().zip(5u16..).map(|(word, at)| (*word, at)));
        assert_eq!(words.map(|word| find(&table, word)), [Some(5), Some(6), Some(7)]);
        assert_eq!(find(&table, "abcdefgh-4-ijklmnop"), None);
    }

    proptest! {
        #[test]
        fn it_finds_every_word_and_nothing_else(
            words in prop::collection::vec("[a-c\u{e4}\u{0}]{0,3}|[a-b]{6,20}", 0..80),
            others in prop::collection::vec("[a-c\u{e4}\u{0}]{0,3}|[a-b]{6,20}", 0..80),
        ) {
            let table = Table::new(words.iter().zip(0u16..).map(|(word, at)| (&**word, at)));
            for word in words.iter().chain(&others) {
                let want = words.iter().position(|known| known == word).map(|at| at as u16);
                prop_assert_eq!(find(&table, word), want, "{}", word);
            }
        }
    }
}
