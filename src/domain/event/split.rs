//! Bodies and items to single events, without a copy.
//!
//! Two callers: the decoder, for an item that holds several events, and the web side,
//! which appends every event of a body to the log as an item of its own.

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// What a body says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// `application/json`: an object or an array of objects.
    Json,
    /// `application/x-ndjson`: an object a line.
    Ndjson,
    /// `application/cloudevents+json`: one CloudEvent.
    CloudEvent,
    /// `application/cloudevents-batch+json`: an array of CloudEvents.
    CloudEventBatch,
    /// Anything else: found out from the bytes.
    Sniff,
}

/// The events of a body, in order, each a slice of it. Blank lines are passed over.
/// The events themselves are not checked: that is the decoder's part.
///
/// # Errors
/// When an array cannot be taken apart. The whole body is then one dead letter.
pub fn split(body: &Bytes, kind: BodyKind) -> Result<Vec<Bytes>, String> {
    let parts = match kind {
        BodyKind::Json | BodyKind::Sniff => parts(body)?,
        BodyKind::Ndjson => lines(body),
        BodyKind::CloudEvent => vec![body.trim_ascii()],
        BodyKind::CloudEventBatch => elements(body.trim_ascii())?,
    };
    Ok(parts.into_iter().map(|part| body.slice_ref(part)).collect())
}

/// The events in `item`: the elements of an array, the lines of NDJSON, or the item itself.
///
/// # Errors
/// When it is an array and cannot be taken apart, or when there is nothing in it.
pub(super) fn parts(item: &[u8]) -> Result<Vec<&[u8]>, String> {
    let trimmed = item.strip_prefix(BYTE_ORDER_MARK).unwrap_or(item).trim_ascii();
    match trimmed.first() {
        None => Err("empty: an event must be a JSON object".to_owned()),
        Some(b'[') if !holds_lines(trimmed) => elements(trimmed),
        Some(_) if holds_lines(trimmed) => Ok(lines(trimmed)),
        Some(_) => Ok(vec![trimmed]),
    }
}

/// Some editors put it in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// True for NDJSON: there are line ends, they are not merely those of one value that
/// was written over several lines, and some line is an object of its own.
fn holds_lines(trimmed: &[u8]) -> bool {
    memchr::memchr(b'\n', trimmed).is_some()
        && serde_json::from_slice::<IgnoredAny>(trimmed).is_err()
        && lines(trimmed).into_iter().any(|line| {
            line.first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(line).is_ok()
        })
}

/// The lines that are not blank, without the white space around them.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty()).collect()
}

/// The elements of a JSON array.
fn elements(array: &[u8]) -> Result<Vec<&[u8]>, String> {
    let text = std::str::from_utf8(array)
        .map_err(|error| format!("not UTF-8 from byte {} on", error.valid_up_to()))?;
    let elements: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| format!("not a JSON array: {error}"))?;
    Ok(elements.into_iter().map(|element| element.get().as_bytes()).collect())
}
