//! The order of time: whether the inputs are in it, and an index when they are not.
//!
//! Most files are nearly in order; then they are streamed as they are, because the
//! engine gives the same answers as long as no event is further behind than
//! `out_of_orderness`. The first look stops at the first event that is. Only then is an
//! index made, 16 bytes an event, sorted by (time, place in the inputs).

use super::input::Input;
use super::progress::{Phase, Progress};
use super::records::{Chunks, Place, Records};
use crate::actors::ports::SourceError;
use crate::domain::event::time_text;
use crate::domain::event::when::TimeOf;
use crate::domain::time::{EpochMs, SpanMs};

/// One event of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub at: EpochMs,
    pub place: Place,
}

/// The events in the order of time; `None` when the inputs are in order already, with
/// no event further behind the greatest time so far than `out_of_orderness`.
pub(super) fn by_time(
    inputs: &[Input],
    times: &mut TimeOf,
    out_of_orderness: SpanMs,
    progress: &Progress,
) -> Result<Option<Vec<Entry>>, SourceError> {
    let bytes = inputs.iter().map(|input| input.len).sum();
    progress.begin(Phase::Checking, bytes);
    let mut greatest = EpochMs::MIN;
    let in_order = each_time(inputs, times, progress, |entry| {
        greatest = greatest.max(entry.at);
        greatest - entry.at <= out_of_orderness
    })?;
    if in_order {
        return Ok(None);
    }
    progress.begin(Phase::Sorting, bytes);
    let mut index = Vec::new();
    each_time(inputs, times, progress, |entry| {
        index.push(entry);
        true
    })?;
    index.sort_unstable();
    Ok(Some(index))
}

/// Hands the time of every record to `each` until that returns false; false then. A
/// record without a time stands where the one before it does.
fn each_time(
    inputs: &[Input],
    times: &mut TimeOf,
    progress: &Progress,
    mut each: impl FnMut(Entry) -> bool,
) -> Result<bool, SourceError> {
    let mut chunks = Chunks::default();
    let mut last = time_text::EARLIEST;
    while let Some(chunk) = chunks.next(inputs)? {
        let mut events = 0;
        for (start, len) in Records::new(&chunk.data, chunk.separator, 0) {
            last = times.of(&chunk.data[start..start + len]).unwrap_or(last);
            let offset = chunk.place.offset() + start as u64;
            if !each(Entry { at: last, place: Place::new(chunk.place.input(), offset) }) {
                return Ok(false);
            }
            events += 1;
        }
        progress.advance(chunk.data.len() as u64, events);
    }
    Ok(true)
}
