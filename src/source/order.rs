//! The order of time: whether the inputs are in it, and an index when they are not.
//!
//! Most files are nearly in order; then they are streamed as they are, because the
//! engine gives the same answers as long as no event is further behind than
//! `out_of_orderness`. The first look stops at the first event that is. Only then is an
//! index made, 16 bytes an event, sorted by (time, place in the inputs).

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::input::Input;
use super::progress::{Phase, Progress};
use super::records::{Chunks, Place, Records};
use crate::actors::ports::SourceError;
use crate::domain::event::time_text;
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
    out_of_orderness: SpanMs,
    progress: &Progress,
) -> Result<Option<Vec<Entry>>, SourceError> {
    let bytes = inputs.iter().map(|input| input.len).sum();
    progress.begin(Phase::Checking, bytes);
    let mut greatest = EpochMs::MIN;
    let in_order = each_time(inputs, progress, |entry| {
        greatest = greatest.max(entry.at);
        greatest - entry.at <= out_of_orderness
    })?;
    if in_order {
        return Ok(None);
    }
    progress.begin(Phase::Sorting, bytes);
    let mut index = Vec::new();
    each_time(inputs, progress, |entry| {
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
    progress: &Progress,
    mut each: impl FnMut(Entry) -> bool,
) -> Result<bool, SourceError> {
    let mut chunks = Chunks::default();
    let mut last = time_text::EARLIEST;
    while let Some(chunk) = chunks.next(inputs)? {
        let mut events = 0;
        for (start, len) in Records::new(&chunk.data, chunk.separator, 0) {
            last = time_of(&chunk.data[start..start + len]).unwrap_or(last);
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

/// The time of an event, or `None` when it has none that is understood.
///
/// Looks for the first `"ts":` followed by digits. It is the event's own unless another
/// object begins before it; in that and any other doubt the event is read as JSON.
pub(super) fn time_of(event: &[u8]) -> Option<EpochMs> {
    at_first_sight(event).or_else(|| read(event)).filter(|at| {
        // The decoder refuses such an event; it must not move the order of the others.
        (time_text::EARLIEST..=time_text::LATEST).contains(at)
    })
}

fn at_first_sight(event: &[u8]) -> Option<EpochMs> {
    static TS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"ts\":"));
    let found = TS.find(event)?;
    if memchr::memchr_iter(b'{', &event[..found]).count() != 1 {
        return None;
    }
    let rest = event[found + 5..].trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // Sixteen digits cannot overflow, and the last accepted time has fifteen.
    let ends = matches!(rest.get(digits), Some(b',' | b'}' | b' '));
    if !(1..=16).contains(&digits) || !ends {
        return None;
    }
    Some(rest[..digits].iter().fold(0, |number, byte| number * 10 + i64::from(byte - b'0')))
}

/// What of an event tells its time.
#[derive(Deserialize)]
struct Stamp {
    #[serde(default)]
    ts: Option<Value>,
    #[serde(default)]
    time: Option<Value>,
    #[serde(default)]
    specversion: Option<IgnoredAny>,
}

fn read(event: &[u8]) -> Option<EpochMs> {
    let stamp: Stamp = match event.trim_ascii_start().first()? {
        b'[' => serde_json::from_slice::<Vec<Stamp>>(event).ok()?.into_iter().next()?,
        _ => serde_json::from_slice(event).ok()?,
    };
    match if stamp.specversion.is_some() { stamp.time? } else { stamp.ts? } {
        Value::String(text) => time_text::rfc3339(&text),
        Value::Number(number) => number.as_i64().or_else(|| {
            let number = number.as_f64()?;
            (number.fract() == 0.0).then_some(number as EpochMs)
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_time_that_the_decoder_would() {
        for (event, want) in [
            (r#"{"ts":12,"type":"x"}"#, Some(12)),
            (r#"{"type":"x","ts": 12}"#, Some(12)),
            (r#"{"type":"x","ts" : 12}"#, Some(12)),
            (r#"{"data":{"ts":1},"ts":2}"#, Some(2)),
            (r#"{"a":"{","ts":2}"#, Some(2)),
            (r#"{"a":"\"ts\":9","ts":2}"#, Some(2)),
            (r#"{"ts":-5}"#, Some(-5)),
            (r#"{"ts":1.2e3}"#, Some(1_200)),
            (r#"{"ts":"1970-01-01T00:00:01Z"}"#, Some(1_000)),
            (r#"{"specversion":"1.0","time":"1970-01-01T00:00:01Z","data":{"ts":7}}"#, Some(1_000)),
            (r#"[{"ts":3},{"ts":1}]"#, Some(3)),
            (r#"{"ts":9999999999999999}"#, None),
            (r#"{"ts":null}"#, None),
            ("{\"ts\":", None),
            ("not json", None),
            ("", None),
        ] {
            assert_eq!(time_of(event.as_bytes()), want, "{event}");
        }
    }
}
