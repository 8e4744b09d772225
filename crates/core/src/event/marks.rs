//! Where the quotes of a line lie, found sixty-four bytes at a time, and whether the line holds
//! a byte that only the general reader understands. For `scan`.

/// One bit for each byte of a line: set where a quote stands.
#[derive(Debug, Default)]
pub(super) struct Marks {
    words: Vec<u64>,
}

impl Marks {
    /// Marks the quotes of `line`. False when it holds a backslash or a control character,
    /// line ends and tabs included: the marks are then of no use.
    #[inline]
    pub fn set(&mut self, line: &[u8]) -> bool {
        self.words.clear();
        let (blocks, rest) = line.as_chunks::<64>();
        let mut unusual = false;
        for block in blocks {
            let found = look(block);
            unusual |= found.unusual;
            self.words.push(found.quotes);
        }
        if !rest.is_empty() {
            let mut block = [b' '; 64];
            block[..rest.len()].copy_from_slice(rest);
            let found = look(&block);
            unusual |= found.unusual;
            self.words.push(found.quotes);
        }
        !unusual
    }

    /// The places of the quotes, in order.
    #[inline]
    pub fn quotes(&self) -> Quotes<'_> {
        Quotes { words: &self.words, next: 0, word: 0 }
    }
}

/// Goes from quote to quote.
pub(super) struct Quotes<'m> {
    words: &'m [u64],
    /// Number of the word after the one at hand.
    next: usize,
    /// What is left of the word at hand.
    word: u64,
}

impl Iterator for Quotes<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.word == 0 {
            self.word = *self.words.get(self.next)?;
            self.next += 1;
        }
        let bit = self.word.trailing_zeros() as usize;
        self.word &= self.word - 1;
        Some((self.next - 1) * 64 + bit)
    }
}

/// What a block holds: a bit for each quote, and whether there is a byte that is unusual.
#[derive(Clone, Copy, Debug)]
struct Found {
    quotes: u64,
    unusual: bool,
}

/// By byte its bit among those of eight.
const BITS: [u8; 64] = {
    let mut bits = [0; 64];
    let mut at = 0;
    while at < 64 {
        bits[at] = 1 << (at % 8);
        at += 1;
    }
    bits
};

/// Two loops without a branch: the compiler makes of them sixteen bytes and more at a time,
/// whatever the processor is called.
#[inline]
fn look(block: &[u8; 64]) -> Found {
    let (mut bits, mut unusual) = ([0; 64], 0);
    for at in 0..64 {
        bits[at] = if block[at] == b'"' { BITS[at] } else { 0 };
        unusual |= u8::from(block[at] < b' ') | u8::from(block[at] == b'\\');
    }
    let mut quotes = 0;
    for (at, eight) in bits.as_chunks::<8>().0.iter().enumerate() {
        // The sum of eight bytes of different bits, in the highest byte.
        let sum = u64::from_le_bytes(*eight).wrapping_mul(u64::from_le_bytes([1; 8])) >> 56;
        quotes |= sum << (8 * at);
    }
    Found { quotes, unusual: unusual != 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the marks of a line must be, a byte at a time.
    fn plainly(line: &[u8]) -> (Vec<usize>, bool) {
        let quotes = line.iter().enumerate().filter(|(_, byte)| **byte == b'"');
        let usual = line.iter().all(|byte| *byte >= 0x20 && *byte != b'\\');
        (quotes.map(|(at, _)| at).collect(), usual)
    }

    #[test]
    fn every_byte_is_told_apart_at_every_place() {
        for byte in 0..=u8::MAX {
            for at in 0..64 {
                let mut block = [b'x'; 64];
                block[at] = byte;
                let want = u64::from(byte == b'"') << at;
                let found = look(&block);
                assert_eq!(found.quotes, want, "{byte:#x} at {at}");
                assert_eq!(found.unusual, byte < 0x20 || byte == b'\\', "{byte:#x} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn quotes_are_found_where_they_are(line in prop::collection::vec(
            prop_oneof![Just(b'"'), any::<u8>(), 0x20u8..0x80], 0..300,
        )) {
            let mut marks = Marks::default();
            let (quotes, usual) = plainly(&line);
            prop_assert_eq!(marks.set(&line), usual);
            prop_assert_eq!(marks.quotes().collect::<Vec<_>>(), quotes);
        }
    }
}
