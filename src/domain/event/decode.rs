//! Bytes to events: native JSON (one object, an array, NDJSON) and CloudEvents.
//!
//! Called by the ingestor for every item and by the web side for its verdicts. This is
//! the hot path: a line with one event is checked as UTF-8 once and walked once, and
//! nothing is allocated. What an item is made of beyond that is found out in `split`.

use std::sync::Arc;

use super::cloudevent;
use super::draft::{Draft, Patch, Place, Seen, patched};
use super::names::{Lookup, Names};
use super::split;
use super::{Limits, Schema};
use crate::domain::time::EpochMs;

/// One understood event, borrowed from the item's bytes or from the decoder's scratch.
///
/// Every text is a piece of the item, unless it was escaped there, was an integer, or
/// was made of several attributes (the id of a CloudEvent).
#[derive(Debug)]
pub struct Parsed<'a> {
    /// Event time.
    pub at: EpochMs,
    /// Its id, if it has one; never empty.
    pub id: Option<&'a str>,
    /// The session key, empty when it has none.
    pub key: &'a str,
    /// Index in `Schema::kinds`, or `Schema::OTHER_KIND`.
    pub kind: u16,
    /// A value for each slot of the schema.
    pub values: &'a [ParsedValue<'a>],
    /// The event as it came, without the white space around it.
    pub raw: &'a [u8],
}

/// A decoded attribute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ParsedValue<'a> {
    /// Absent, `null`, an object or an array.
    #[default]
    Missing,
    /// Millionths.
    Number(i64),
    /// Text.
    Text(&'a str),
    /// `true` or `false`.
    Bool(bool),
}

/// An event that was not understood.
#[derive(Debug)]
pub struct Rejected<'a> {
    /// Names the thing and the rule.
    pub reason: String,
    /// The bytes as they came (one element of an array or pack, or the whole item).
    pub raw: &'a [u8],
}

/// Decodes items by a schema. Keeps scratch space between calls.
#[derive(Debug)]
pub struct Decoder {
    schema: Arc<Schema>,
    names: Names,
    kinds: Lookup,
    scratch: String,
    values: Vec<ParsedValue<'static>>,
    patches: Vec<Patch>,
    seen: Seen,
}

impl Decoder {
    /// A decoder for `schema`.
    pub fn new(schema: Arc<Schema>) -> Self {
        let names = Names::new(&schema);
        Decoder {
            kinds: Lookup::new(schema.kinds.iter().map(String::as_str)),
            seen: Seen::new(names.len()),
            names,
            schema,
            scratch: String::new(),
            values: Vec::new(),
            patches: Vec::new(),
        }
    }

    /// Decodes one item and hands each of its events to `each`, in order.
    ///
    /// An item with no event in it (an empty array) hands over nothing; an item that
    /// is nothing but white space is rejected.
    pub fn decode(&mut self, item: &[u8], mut each: impl FnMut(Result<Parsed<'_>, Rejected<'_>>)) {
        let trimmed = item.trim_ascii();
        if trimmed.first() == Some(&b'{') && memchr::memchr(b'\n', trimmed).is_none() {
            return self.one(trimmed, &mut each);
        }
        match split::parts(item) {
            Ok(parts) => {
                for part in parts {
                    self.one(part, &mut each);
                }
            }
            Err(reason) => each(Err(Rejected { reason, raw: trimmed })),
        }
    }

    /// Decodes one event.
    fn one(&mut self, raw: &[u8], each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>)) {
        match admit(raw, &self.schema.limits) {
            Ok(text) => self.object(text, each),
            Err(reason) => each(Err(Rejected { reason, raw })),
        }
    }

    /// Decodes one object, as a native event or, when it says so, as a CloudEvent.
    fn object(&mut self, text: &str, each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>)) {
        let mut draft = Draft::new(
            &self.schema,
            &self.names,
            &mut self.scratch,
            &mut self.patches,
            &mut self.seen,
            recycle(std::mem::take(&mut self.values)),
        );
        let read = draft.read(text, Place::Native).and_then(|()| complete(&draft));
        if draft.is_cloudevent {
            self.values = recycle(draft.values);
            return self.cloudevent(text, each);
        }
        self.values = hand_over(draft, read, &self.kinds, text, each);
    }

    fn cloudevent(&mut self, text: &str, each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>)) {
        let unpacked = match cloudevent::unpack(text) {
            Ok(unpacked) => unpacked,
            Err(reason) => return each(Err(Rejected { reason, raw: text.as_bytes() })),
        };
        let mut draft = Draft::new(
            &self.schema,
            &self.names,
            &mut self.scratch,
            &mut self.patches,
            &mut self.seen,
            recycle(std::mem::take(&mut self.values)),
        );
        let read = cloudevent::read(&mut draft, text, unpacked.as_deref());
        self.values = hand_over(draft, read, &self.kinds, text, each);
    }
}

/// The rules that are checked before anything is read.
fn admit<'a>(raw: &'a [u8], limits: &Limits) -> Result<&'a str, String> {
    if raw.len() > limits.event_bytes {
        return Err(format!(
            "an event of {} bytes is longer than {}",
            raw.len(),
            limits.event_bytes
        ));
    }
    let text = std::str::from_utf8(raw)
        .map_err(|error| format!("not UTF-8 from byte {} on", error.valid_up_to()))?;
    if raw.first() != Some(&b'{') {
        return Err(match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => "an event must be a JSON object".to_owned(),
            Err(error) => format!("not JSON: {error}"),
        });
    }
    // Brackets inside texts are counted too, so this only says when to look closer.
    let brackets = openings(raw);
    if brackets > limits.depth {
        let depth = depth(raw);
        if depth > limits.depth {
            return Err(format!("nested {depth} deep, at most {} is allowed", limits.depth));
        }
    }
    Ok(text)
}

/// How many `{` and `[` there are. Counted in bytes, a short piece at a time, which the
/// compiler turns into a few wide additions.
fn openings(json: &[u8]) -> usize {
    let count =
        |piece: &[u8]| piece.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum::<u8>();
    json.chunks(usize::from(u8::MAX)).map(|piece| usize::from(count(piece))).sum()
}

/// How deep objects and arrays are nested in JSON.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What every native event must have.
fn complete(draft: &Draft<'_, '_>) -> Result<(), String> {
    if draft.at.is_none() {
        return Err("attribute \"ts\" is missing".to_owned());
    }
    if draft.kind.len() == 0 {
        return Err("attribute \"type\" is missing or empty".to_owned());
    }
    Ok(())
}

/// Turns a finished draft into an event, and returns the space its values lay in.
fn hand_over<'de>(
    draft: Draft<'de, '_>,
    read: Result<(), String>,
    kinds: &Lookup,
    text: &'de str,
    each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
) -> Vec<ParsedValue<'static>> {
    let Draft { values, scratch, patches, at, kind, id, key, .. } = draft;
    let mut values: Vec<ParsedValue<'_>> = values;
    let raw = text.as_bytes();
    match (read, at) {
        (Err(reason), _) => each(Err(Rejected { reason, raw })),
        (Ok(()), None) => unreachable!("an event without a time is not complete"),
        (Ok(()), Some(at)) => {
            let scratch: &str = scratch;
            patched(&mut values, patches, scratch);
            let id = id.get(scratch);
            each(Ok(Parsed {
                at,
                id: (!id.is_empty()).then_some(id),
                key: key.get(scratch),
                kind: kinds.get(kind.get(scratch)).unwrap_or(Schema::OTHER_KIND),
                values: &values,
                raw,
            }));
        }
    }
    recycle(values)
}

/// The same allocation for values of another lifetime.
fn recycle<'a>(mut values: Vec<ParsedValue<'_>>) -> Vec<ParsedValue<'a>> {
    values.clear();
    // Collecting in place keeps the allocation; there is no element to convert.
    values.into_iter().map(|_| ParsedValue::Missing).collect()
}

#[cfg(test)]
mod tests;
