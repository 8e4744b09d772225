//! Records read in an order that is not that of the files.

use bytes::Bytes;

use crate::actors::ports::SourceError;
use crate::domain::event::{Fault, Note, RawBatch, RawItem};
use crate::domain::time::END_OF_TIME;
use crate::source::input::{Framing, Input};
use crate::source::order::Entry;
use crate::source::records::{CHUNK, Records, read_at};

/// Bytes read at once where the next record of a batch lies near.
const WINDOW: usize = 65_536;

/// Bytes read for a record that stands alone; doubled until it fits.
const ALONE: usize = 1_024;

/// The records of `entries`, in their order. They are read in the order of their places,
/// so that neighbours share a read, whatever the order they are handed over in.
pub(super) fn gather(
    inputs: &[Input],
    entries: &[Entry],
    position: u64,
) -> Result<RawBatch, SourceError> {
    let mut by_start: Vec<u32> = (0..entries.len() as u32).collect();
    by_start.sort_unstable_by_key(|index| entries[*index as usize].start);
    let mut items: Vec<RawItem> = (1..=entries.len() as u64)
        .map(|n| RawItem { start: 0, len: 0, position: position + n })
        .collect();
    let mut data = Vec::new();
    let mut faults = Vec::new();
    let mut window = Window::default();
    for (n, index) in by_start.iter().enumerate() {
        let start = entries[*index as usize].start;
        let next = by_start.get(n + 1).map(|index| entries[*index as usize].start);
        let near = next.is_some_and(|next| {
            next.input() == start.input() && next.offset() - start.offset() < WINDOW as u64
        });
        let (record, reason) = window.record(
            &inputs[start.input()],
            start.input(),
            start.offset(),
            if near { WINDOW } else { ALONE },
        )?;
        let item = &mut items[*index as usize];
        (item.start, item.len) = (data.len() as u32, record.len() as u32);
        data.extend_from_slice(record);
        if let Some(reason) = reason {
            faults.push((*index as usize, reason));
        }
    }
    Ok(batch_of(data.into(), items, faults))
}

/// The bytes read last.
#[derive(Default)]
struct Window {
    input: usize,
    offset: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The record that begins at `offset`, read with at least `len` bytes if it is not here,
    /// and the reason why it is not an event.
    fn record(
        &mut self,
        input: &Input,
        number: usize,
        offset: u64,
        len: usize,
    ) -> Result<(&[u8], Option<Box<str>>), SourceError> {
        let mut len = len;
        loop {
            if self.input == number
                && let Some(start) = offset.checked_sub(self.offset)
                && (start as usize) < self.bytes.len()
            {
                let start = start as usize;
                let window_end = self.offset + self.bytes.len() as u64;
                let mut records = Records::new(&self.bytes, input.framing, start);
                // A line that the window cuts off looks like a record.
                let whole = records.next().filter(|_| match input.framing {
                    Framing::Lines(_) => {
                        records.at() <= self.bytes.len() || window_end == input.len
                    }
                    Framing::Framed => true,
                });
                let rest = self.bytes.len() - start;
                if let Some(record) = whole {
                    let reason = record.reason(&self.bytes).map(Box::from);
                    return Ok((&self.bytes[record.start..record.start + record.len], reason));
                }
                if rest >= CHUNK || window_end == input.len {
                    return Ok((&[], None));
                }
                len = len.max(rest * 2).min(CHUNK);
            }
            self.bytes = read_at(input, offset, len)?;
            (self.input, self.offset) = (number, offset);
        }
    }
}

/// A batch; `faults` are the rows that could not be made an event, by their index in it.
pub(super) fn batch_of(
    data: Bytes,
    items: Vec<RawItem>,
    faults: Vec<(usize, Box<str>)>,
) -> RawBatch {
    let mut notes = Vec::new();
    if !faults.is_empty() {
        notes.resize(items.len(), Note { arrived: END_OF_TIME, ..Note::default() });
        for (index, reason) in faults {
            let reason = reason.into_string();
            notes[index].fault = Some(Box::new(Fault { reason, context: Vec::new() }));
        }
    }
    RawBatch { data, items, arrived: END_OF_TIME, notes, ..RawBatch::default() }
}
