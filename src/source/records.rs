//! Large reads, cut into records: the lines of a file that is read as it stands, or the
//! framed records of a translation.

use std::borrow::Cow;
use std::os::unix::fs::FileExt;

use bytes::{Bytes, BytesMut};

use super::input::{Framing, Input};
use super::rows::ROW_MAX;
use crate::actors::ports::SourceError;

/// Bytes of one read: they stay in the processor's own cache until they are decoded.
pub(super) const USUAL: usize = 512 << 10;

/// Bytes of a read for a record that is longer. A line that does not fit is not a record of a
/// file that is read as it stands: such a file is translated, see `input`.
pub(super) const CHUNK: usize = 4 << 20;

/// Longest payload of a framed record, so that one always fits a read.
pub(super) const PAYLOAD_MAX: usize = (4 << 20) - (8 << 10);
const _: () = assert!(ROW_MAX < PAYLOAD_MAX && PAYLOAD_MAX < CHUNK, "a row goes into a chunk");

/// Longest reason of a framed record.
const REASON_MAX: usize = 4_096;

/// Bytes before a framed record: its length, that of its reason, the line it began on.
const HEADER: usize = 16;

/// Appends a framed record that began on `line`. With a `reason` it is a row that could not be
/// made an event, kept as it came.
///
/// The payload must not be longer than [`PAYLOAD_MAX`].
pub(super) fn put_framed(out: &mut Vec<u8>, line: u64, payload: &[u8], reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(REASON_MAX)];
    assert!(payload.len() <= PAYLOAD_MAX, "a record of {} bytes", payload.len());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&(reason.len() as u32).to_le_bytes());
    out.extend_from_slice(&line.to_le_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(reason.as_bytes());
}

/// Where a record begins: the number of its input in the upper bits, then its offset.
/// They grow in the order in which the inputs were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RecordStart(u64);

impl RecordStart {
    const OFFSET_BITS: u32 = 48;
    /// Inputs that can be told apart.
    pub const INPUTS_MAX: usize = 1 << (64 - Self::OFFSET_BITS);

    pub fn new(input: usize, offset: u64) -> Self {
        RecordStart(((input as u64) << Self::OFFSET_BITS) | offset)
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
    pub start: RecordStart,
    pub framing: Framing,
}

/// Buffers that were read into, to be used again once nobody holds a piece of them: fresh memory
/// for every read would cost a page fault for each of its pages.
#[derive(Clone, Debug, Default)]
struct Buffers(Vec<Bytes>);

/// Most buffers that are kept: 32 MiB.
const BUFFERS_MAX: usize = 8;

impl Buffers {
    /// A buffer of `len` bytes, whatever they are.
    fn take(&mut self, len: usize) -> BytesMut {
        let free = self.0.iter().position(Bytes::is_unique);
        let free = free.and_then(|at| self.0.swap_remove(at).try_into_mut().ok());
        let mut buffer = free.unwrap_or_else(|| BytesMut::zeroed(len));
        buffer.resize(len, 0);
        buffer
    }

    /// Notes a buffer that was filled, unless there are enough.
    fn keep(&mut self, filled: &Bytes) {
        if self.0.len() < BUFFERS_MAX {
            self.0.push(filled.clone());
        }
    }
}

/// Reads inputs from the first to the last.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunks {
    input: usize,
    /// From the input's beginning on.
    offset: u64,
    buffers: Buffers,
}

impl Chunks {
    /// The next records; `None` after the last.
    pub fn next(&mut self, inputs: &[Input]) -> Result<Option<Chunk>, SourceError> {
        while let Some(input) = inputs.get(self.input) {
            if let Some(chunk) = self.next_of(input, input.framing)? {
                return Ok(Some(chunk));
            }
            (self.input, self.offset) = (self.input + 1, 0);
        }
        Ok(None)
    }

    /// The next records of one input, cut by `framing`; `None` after the last.
    pub fn next_of(
        &mut self,
        input: &Input,
        framing: Framing,
    ) -> Result<Option<Chunk>, SourceError> {
        let offset = self.offset.max(input.start);
        if offset >= input.len {
            return Ok(None);
        }
        let mut data = self.read(input, offset, USUAL)?;
        if offset + (data.len() as u64) < input.len {
            let whole = match whole_records(&data, framing) {
                Some(whole) => whole,
                None => {
                    data = self.read(input, offset, CHUNK)?;
                    whole_records(&data, framing).unwrap_or(data.len())
                }
            };
            data.truncate(whole);
        }
        let start = RecordStart::new(self.input, offset);
        self.offset = offset + data.len() as u64;
        Ok(Some(Chunk { data, start, framing }))
    }

    /// Up to `len` bytes from `offset` on.
    fn read(&mut self, input: &Input, offset: u64, len: usize) -> Result<Bytes, SourceError> {
        let mut buffer = self.buffers.take(left(input, offset, len));
        input.file.read_exact_at(&mut buffer, offset).map_err(|error| input.failed(&error))?;
        let read = buffer.freeze();
        self.buffers.keep(&read);
        Ok(read)
    }
}

/// Bytes that there are from `offset` on, at most `len`.
fn left(input: &Input, offset: u64, len: usize) -> usize {
    input.len.saturating_sub(offset).min(len as u64) as usize
}

/// Bytes of `data` up to the end of its last whole record; `None` when there is none.
fn whole_records(data: &[u8], framing: Framing) -> Option<usize> {
    match framing {
        Framing::Lines(end) => memchr::memrchr(end, data).map(|last| last + 1),
        Framing::Framed => {
            let mut records = Records::new(data, framing, 0);
            records.by_ref().for_each(drop);
            Some(records.at()).filter(|at| *at > 0)
        }
    }
}

/// Up to `len` bytes from `offset` on, fewer only at the end. Leaves alone the place at
/// which others read the file.
pub(super) fn read_at(input: &Input, offset: u64, len: usize) -> Result<Vec<u8>, SourceError> {
    let mut bytes = vec![0; left(input, offset, len)];
    input.file.read_exact_at(&mut bytes, offset).map_err(|error| input.failed(&error))?;
    Ok(bytes)
}

/// Where a record lies in what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// First byte of the record, header included: where [`Records`] can begin.
    pub begin: usize,
    /// First byte of what it holds.
    pub start: usize,
    /// Bytes of it, without the line end.
    pub len: usize,
    /// Bytes of the reason behind it; 0 for an event.
    reason: usize,
    /// The line it began on; 0 where that is not written down.
    pub line: u64,
}

impl Record {
    /// Why the row could not be made an event; `None` for an event.
    pub fn reason<'a>(&self, data: &'a [u8]) -> Option<Cow<'a, str>> {
        let end = self.start + self.len;
        (self.reason > 0).then(|| String::from_utf8_lossy(&data[end..end + self.reason]))
    }

    /// First byte after the record, its line end aside.
    pub fn end(&self) -> usize {
        self.start + self.len + self.reason
    }
}

/// The records of `data` that are not blank.
#[derive(Clone, Debug)]
pub(super) struct Records<'a> {
    data: &'a [u8],
    framing: Framing,
    at: usize,
}

impl<'a> Records<'a> {
    /// The records from byte `at` on.
    pub fn new(data: &'a [u8], framing: Framing, at: usize) -> Self {
        Records { data, framing, at }
    }

    /// Where the next record begins.
    pub fn at(&self) -> usize {
        self.at
    }

    fn next_line(&mut self, end: u8) -> Option<Record> {
        while self.at < self.data.len() {
            let start = self.at;
            let rest = &self.data[start..];
            let len = memchr::memchr(end, rest).unwrap_or(rest.len());
            self.at = start + len + 1;
            let len = rest[..len].trim_ascii_end().len();
            if len > 0 {
                return Some(Record { begin: start, start, len, reason: 0, line: 0 });
            }
        }
        None
    }

    fn next_framed(&mut self) -> Option<Record> {
        let begin = self.at;
        let header = self.data.get(begin..begin + HEADER)?;
        let (lengths, line) = header.split_at(8);
        let (len, reason) = lengths.split_at(4);
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("4 bytes")) as usize;
        let (len, reason) = (number(len), number(reason));
        let line = u64::from_le_bytes(line.try_into().expect("8 bytes"));
        let record = Record { begin, start: begin + HEADER, len, reason, line };
        if record.end() > self.data.len() {
            return None;
        }
        self.at = record.end();
        Some(record)
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    #[inline]
    fn next(&mut self) -> Option<Record> {
        match self.framing {
            Framing::Lines(end) => self.next_line(end),
            Framing::Framed => self.next_framed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_are_no_records_and_the_last_needs_no_end() {
        let data = b"a\r\n\n  \nbb\nc";
        let records: Vec<&[u8]> = Records::new(data, Framing::Lines(b'\n'), 0)
            .map(|record| &data[record.start..record.start + record.len])
            .collect();
        assert_eq!(records, [&b"a"[..], b"bb", b"c"]);
    }

    #[test]
    fn a_framed_record_holds_any_byte_and_says_its_line() {
        let mut data = Vec::new();
        put_framed(&mut data, 7, b"a\n\x1e\0", "");
        put_framed(&mut data, 9, b"", "why \u{e9}");
        let whole = data.len();
        put_framed(&mut data, 10, b"cut", "");
        data.pop();
        assert_eq!(whole_records(&data, Framing::Framed), Some(whole));
        let records: Vec<Record> = Records::new(&data, Framing::Framed, 0).collect();
        let found: Vec<_> = records
            .iter()
            .map(|r| (&data[r.start..r.start + r.len], r.reason(&data), r.line))
            .collect();
        let why = Some(Cow::Borrowed("why \u{e9}"));
        assert_eq!(found, [(&b"a\n\x1e\0"[..], None, 7), (b"", why, 9)]);
        assert_eq!(Records::new(&data, Framing::Framed, records[1].begin).next(), Some(records[1]));
    }

    #[test]
    fn a_buffer_is_used_again_once_nobody_holds_a_piece_of_it() {
        let mut buffers = Buffers::default();
        let mut fill = |byte: u8, len: usize| {
            let mut buffer = buffers.take(len);
            assert_eq!(buffer.len(), len);
            buffer.fill(byte);
            let filled = buffer.freeze();
            buffers.keep(&filled);
            filled
        };
        let first = fill(1, 4_096);
        let (place, piece) = (first.as_ptr(), first.slice(7..9));
        drop(first);
        let second = fill(2, 4_096);
        assert_ne!(second.as_ptr(), place, "a piece of the first is held");
        assert_eq!(piece, [1, 1][..]);
        drop(piece);
        for len in [4_096, 100, 2_000] {
            assert_eq!(fill(3, len).as_ptr(), place, "{len} bytes");
        }
        let held: Vec<Bytes> = (0..2 * BUFFERS_MAX).map(|_| fill(4, 10)).collect();
        assert!(held.iter().all(|held| *held == [4; 10][..]));
        assert_eq!(buffers.0.len(), BUFFERS_MAX);
        assert_eq!(second, [2; 4_096][..]);
    }

    #[test]
    fn starts_sort_by_input_then_offset() {
        let start = RecordStart::new(3, 77);
        assert_eq!((start.input(), start.offset()), (3, 77));
        assert!(RecordStart::new(0, 1 << 40) < RecordStart::new(1, 0));
    }
}
