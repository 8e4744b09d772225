//! The order of time: whether the inputs are in it, and an index when they are not.
//!
//! Most files are nearly in order; then they are streamed as they are, because the
//! engine gives the same answers as long as no event is further behind than
//! `out_of_orderness`. The first look stops at the first event that is. Only then is an
//! index made, 16 bytes an event, sorted by (time, where it starts).

use super::input::Input;
use super::progress::{Phase, Progress};
use super::records::{Chunks, RecordStart, Records};
use crate::actors::ports::SourceError;
use crate::domain::event::time_text;
use crate::domain::event::when::TimeOf;
use crate::domain::time::{EpochMs, SpanMs};

/// One event of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub at: EpochMs,
    pub start: RecordStart,
}

/// First and last event time.
pub(super) type Span = Option<(EpochMs, EpochMs)>;

/// The events in the order of time; `None` when the inputs are in order already, with
/// no event further behind the greatest time so far than `out_of_orderness`. With the first
/// and the last time.
pub(super) fn by_time(
    inputs: &[Input],
    times: &mut TimeOf,
    out_of_orderness: SpanMs,
    progress: &Progress,
) -> Result<(Option<Vec<Entry>>, Span), SourceError> {
    let bytes = inputs.iter().map(|input| input.len).sum();
    progress.begin(Phase::Checking, bytes);
    let mut span: Span = None;
    let see = |span: &mut Span, at: Option<EpochMs>| {
        if let Some(at) = at {
            let (first, last) = span.get_or_insert((at, at));
            (*first, *last) = ((*first).min(at), (*last).max(at));
        }
    };
    let mut greatest = EpochMs::MIN;
    let in_order = each_time(inputs, times, progress, |entry, at| {
        see(&mut span, at);
        greatest = greatest.max(entry.at);
        greatest - entry.at <= out_of_orderness
    })?;
    if in_order {
        return Ok((None, span));
    }
    span = None;
    progress.begin(Phase::Sorting, bytes);
    let mut index = Vec::new();
    each_time(inputs, times, progress, |entry, at| {
        see(&mut span, at);
        index.push(entry);
        true
    })?;
    index.sort_unstable();
    Ok((Some(index), span))
}

/// Hands the place of every record in time to `each`, and its own time, until that returns
/// false; false then. A record without a time stands where the one before it does.
fn each_time(
    inputs: &[Input],
    times: &mut TimeOf,
    progress: &Progress,
    mut each: impl FnMut(Entry, Option<EpochMs>) -> bool,
) -> Result<bool, SourceError> {
    let mut chunks = Chunks::default();
    let mut last = time_text::EARLIEST;
    while let Some(chunk) = chunks.next(inputs)? {
        let mut events = 0;
        for record in Records::new(&chunk.data, chunk.framing, 0) {
            let at = times.of(&chunk.data[record.start..record.start + record.len]);
            last = at.unwrap_or(last);
            let offset = chunk.start.offset() + record.begin as u64;
            if !each(Entry { at: last, start: RecordStart::new(chunk.start.input(), offset) }, at) {
                return Ok(false);
            }
            events += 1;
        }
        progress.advance(chunk.data.len() as u64, events);
    }
    Ok(true)
}
