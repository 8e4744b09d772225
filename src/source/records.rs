//! Large reads, cut into records: the lines of a file, or the rows of a translation.

use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::input::Input;
use crate::actors::ports::SourceError;

/// Bytes of one read, and the longest record: a longer one is cut there, and its
/// pieces are refused for their size.
pub(super) const CHUNK: usize = 4 << 20;

/// Where a record begins: the number of its input in the upper bits, then its offset.
/// Places grow in the order in which the inputs were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

impl Place {
    const OFFSET_BITS: u32 = 48;
    /// Inputs that can be told apart.
    pub const INPUTS_MAX: usize = 1 << (64 - Self::OFFSET_BITS);

    pub fn new(input: usize, offset: u64) -> Self {
        Place(((input as u64) << Self::OFFSET_BITS) | offset)
    }

    pub fn input(self) -> usize {
        (self.0 >> Self::OFFSET_BITS) as usize
    }

    pub fn offset(self) -> u64 {
        self.0 & ((1 << Self::OFFSET_BITS) - 1)
    }
}

/// Whole records, as read.
#[derive(Debug)]
pub(super) struct Chunk {
    pub data: Bytes,
    pub place: Place,
    pub separator: u8,
}

/// Reads inputs from the first to the last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunks {
    input: usize,
    offset: u64,
}

impl Chunks {
    /// The next records; `None` after the last.
    pub fn next(&mut self, inputs: &[Input]) -> Result<Option<Chunk>, SourceError> {
        while let Some(input) = inputs.get(self.input) {
            let mut data = read_at(input, self.offset, CHUNK)?;
            if data.is_empty() {
                *self = Chunks { input: self.input + 1, offset: 0 };
                continue;
            }
            if self.offset + (data.len() as u64) < input.len
                && let Some(last) = memchr::memrchr(input.separator, &data)
            {
                data.truncate(last + 1);
            }
            let place = Place::new(self.input, self.offset);
            self.offset += data.len() as u64;
            return Ok(Some(Chunk { data: data.into(), place, separator: input.separator }));
        }
        Ok(None)
    }
}

/// Up to `len` bytes from `offset` on, fewer only at the end. Leaves alone the place at
/// which others read the file.
pub(super) fn read_at(input: &Input, offset: u64, len: usize) -> Result<Vec<u8>, SourceError> {
    let len = input.len.saturating_sub(offset).min(len as u64) as usize;
    let mut bytes = vec![0; len];
    input.file.read_exact_at(&mut bytes, offset).map_err(|error| input.failed(&error))?;
    Ok(bytes)
}

/// The records of `data` that are not blank, as (start, length), without the line end.
#[derive(Clone, Debug)]
pub(super) struct Records<'a> {
    data: &'a [u8],
    separator: u8,
    at: usize,
}

impl<'a> Records<'a> {
    /// The records from byte `at` on.
    pub fn new(data: &'a [u8], separator: u8, at: usize) -> Self {
        Records { data, separator, at }
    }

    /// Where the next record begins.
    pub fn at(&self) -> usize {
        self.at
    }
}

impl Iterator for Records<'_> {
    type Item = (usize, usize);

    #[inline]
    fn next(&mut self) -> Option<(usize, usize)> {
        while self.at < self.data.len() {
            let start = self.at;
            let rest = &self.data[start..];
            let len = memchr::memchr(self.separator, rest).unwrap_or(rest.len());
            self.at = start + len + 1;
            let len = rest[..len].trim_ascii_end().len();
            if len > 0 {
                return Some((start, len));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_are_no_records_and_the_last_needs_no_end() {
        let data = b"a\r\n\n  \nbb\nc";
        let records: Vec<&[u8]> =
            Records::new(data, b'\n', 0).map(|(start, len)| &data[start..start + len]).collect();
        assert_eq!(records, [&b"a"[..], b"bb", b"c"]);
    }

    #[test]
    fn places_sort_by_input_then_offset() {
        let place = Place::new(3, 77);
        assert_eq!((place.input(), place.offset()), (3, 77));
        assert!(Place::new(0, 1 << 40) < Place::new(1, 0));
    }
}
