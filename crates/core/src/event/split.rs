//! Bodies and items to single events, without a copy.
//!
//! Two callers: the decoder, for an item that holds several events, and whoever takes
//! events in, who appends every event to the log as an item of its own. Both count before
//! they take: nothing is made of an event until it is known that there are not too many.

use bytes::Bytes;
use serde::de::IgnoredAny;
use thiserror::Error;

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

/// Why a body was not taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SplitError {
    /// It holds more events than are taken at once; they were counted no further.
    #[error("it holds more than {max} events")]
    TooMany {
        /// Most events.
        max: usize,
    },
    /// An array cannot be taken apart. The whole body is then one dead letter.
    #[error("{0}")]
    Malformed(String),
}

/// The events of a body, in order, each a slice of it, at most `events_max`. Blank lines are
/// passed over; a line that is an array, and an array in an array, are taken apart as well.
/// The events themselves are not checked: that is the decoder's part.
///
/// Takes two passes over the bytes and 32 bytes for each event, none before they are counted.
///
/// # Errors
/// See [`SplitError`].
pub fn split(body: &Bytes, kind: BodyKind, events_max: usize) -> Result<Vec<Bytes>, SplitError> {
    let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let parts = match kind {
        BodyKind::Json | BodyKind::Sniff => Parts::of(text),
        BodyKind::Ndjson => Ok(Parts::lines(text)),
        BodyKind::CloudEvent => Ok(Parts::one(text.trim_ascii())),
        BodyKind::CloudEventBatch => Parts::array(text.trim_ascii()),
    };
    let parts = parts.map_err(SplitError::Malformed)?;
    let count = parts.count_up_to(events_max.saturating_add(1));
    if count > events_max {
        return Err(SplitError::TooMany { max: events_max });
    }
    let mut events = Vec::with_capacity(count);
    events.extend(parts.map(|part| body.slice_ref(part)));
    Ok(events)
}

/// The events of one item of a library's caller: itself, as a rule. One that cannot be taken
/// apart, or holds more than `events_max`, stays as it is and becomes one dead letter.
pub fn split_item(item: Bytes, events_max: usize, into: &mut Vec<Bytes>) {
    let trimmed = item.trim_ascii();
    if trimmed.first() == Some(&b'{') && memchr::memchr(b'\n', trimmed).is_none() {
        return into.push(item);
    }
    match split(&item, BodyKind::Sniff, events_max) {
        Ok(events) => into.extend(events),
        Err(_) => into.push(item),
    }
}

/// The events in an item, found one after another: the elements of an array, the lines of
/// NDJSON, or the item itself. A few words of memory, however many there are.
#[derive(Clone, Debug)]
pub(super) struct Parts<'a> {
    /// The array at hand, from the next element on. It is valid JSON.
    array: &'a [u8],
    /// What comes after it.
    rest: &'a [u8],
    /// `rest` is lines, else one event.
    lines: bool,
}

impl<'a> Parts<'a> {
    /// Looks what an item is.
    ///
    /// # Errors
    /// When it is an array and cannot be taken apart, or when there is nothing in it.
    pub(super) fn of(item: &'a [u8]) -> Result<Self, String> {
        let trimmed = item.strip_prefix(BYTE_ORDER_MARK).unwrap_or(item).trim_ascii();
        match trimmed.first() {
            None => Err("empty: an event must be a JSON object".to_owned()),
            Some(_) if holds_lines(trimmed) => Ok(Parts::lines(trimmed)),
            Some(b'[') => Parts::array(trimmed),
            Some(_) => Ok(Parts::one(trimmed)),
        }
    }

    fn one(event: &'a [u8]) -> Self {
        Parts { array: &[], rest: event, lines: false }
    }

    fn lines(text: &'a [u8]) -> Self {
        Parts { array: &[], rest: text, lines: true }
    }

    fn array(array: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(array)
            .map_err(|error| format!("not UTF-8 from byte {} on", error.valid_up_to()))?;
        if array.first() != Some(&b'[') {
            return Err("not a JSON array".to_owned());
        }
        serde_json::from_str::<IgnoredAny>(text)
            .map_err(|error| format!("not a JSON array: {error}"))?;
        Ok(Parts { array, rest: &[], lines: false })
    }

    /// How many there are, counted up to `most`.
    pub(super) fn count_up_to(&self, most: usize) -> usize {
        self.clone().take(most).count()
    }

    /// The next value in the array at hand that is not an array itself.
    fn element(&mut self) -> Option<&'a [u8]> {
        // Outside of its values a valid array has nothing but brackets, commas and space.
        let between = |byte: &u8| matches!(byte, b'[' | b']' | b',' | b' ' | b'\t' | b'\n' | b'\r');
        let start = self.array.iter().position(|byte| !between(byte))?;
        let (value, after) = self.array[start..].split_at(value_len(&self.array[start..]));
        self.array = after;
        Some(value)
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if !self.array.is_empty() {
                match self.element() {
                    Some(element) => return Some(element),
                    None => self.array = &[],
                }
            }
            if self.rest.is_empty() {
                return None;
            }
            if !self.lines {
                return Some(std::mem::take(&mut self.rest));
            }
            let end = memchr::memchr(b'\n', self.rest).unwrap_or(self.rest.len());
            let line = self.rest[..end].trim_ascii();
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if line.is_empty() {
                continue;
            }
            // An object, as a rule; or what no array is, for the decoder to say so.
            match line.first() {
                Some(b'[') if let Ok(parts) = Parts::array(line) => self.array = parts.array,
                _ => return Some(line),
            }
        }
    }
}

/// Length of the value at the beginning of valid JSON, which is no array.
fn value_len(json: &[u8]) -> usize {
    match json.first() {
        Some(b'{') => object_len(json),
        Some(b'"') => text_len(json),
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            json.iter().position(ends).unwrap_or(json.len())
        }
    }
}

fn object_len(json: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0usize);
    while at < json.len() {
        match json[at] {
            b'"' => {
                at += text_len(&json[at..]);
                continue;
            }
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of a text with its quotes.
fn text_len(json: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &json[at..]) {
        at += found + 1;
        if json[at - 1] == b'"' {
            return at;
        }
        // What is escaped is passed over; it may be a quote.
        at = (at + 1).min(json.len());
    }
    json.len()
}

/// Some editors put it in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// True for NDJSON: there are line ends, they are not merely those of one value that
/// was written over several lines, and some line is an object or an array of its own.
fn holds_lines(trimmed: &[u8]) -> bool {
    memchr::memchr(b'\n', trimmed).is_some()
        && serde_json::from_slice::<IgnoredAny>(trimmed).is_err()
        && trimmed.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).any(|line| {
            matches!(line.first(), Some(b'{' | b'['))
                && serde_json::from_slice::<IgnoredAny>(line).is_ok()
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn texts(body: &str, kind: BodyKind, events_max: usize) -> Result<Vec<String>, SplitError> {
        let events = split(&Bytes::copy_from_slice(body.as_bytes()), kind, events_max)?;
        Ok(events.iter().map(|event| String::from_utf8(event.to_vec()).unwrap()).collect())
    }

    #[test]
    fn a_line_that_is_an_array_is_as_many_events_as_are_in_it() {
        let body = "{\"a\":1}\n\n [{\"b\":2}, {\"c\":\"]\\\"}\"}] \r\n[]\n[[{\"d\":[1,2]}],3,\"x,y\"]\n[broken\n";
        for kind in [BodyKind::Ndjson, BodyKind::Sniff, BodyKind::Json] {
            assert_eq!(
                texts(body, kind, 7).unwrap(),
                [
                    "{\"a\":1}",
                    "{\"b\":2}",
                    "{\"c\":\"]\\\"}\"}",
                    "{\"d\":[1,2]}",
                    "3",
                    "\"x,y\"",
                    "[broken"
                ]
            );
            assert_eq!(texts(body, kind, 6), Err(SplitError::TooMany { max: 6 }));
        }
    }

    #[test]
    fn a_million_events_in_a_line_are_refused_before_anything_is_made_of_them() {
        let mut body = b"[".to_vec();
        body.extend(b"{},".repeat(999_999));
        body.extend(b"{}]\n");
        let body = Bytes::from(body);
        for kind in [BodyKind::Ndjson, BodyKind::Sniff, BodyKind::CloudEventBatch] {
            assert_eq!(split(&body, kind, 100_000), Err(SplitError::TooMany { max: 100_000 }));
        }
    }

    #[test]
    fn what_is_no_array_is_said() {
        let malformed = |body| match texts(body, BodyKind::Sniff, 10) {
            Err(SplitError::Malformed(reason)) => reason,
            other => panic!("{body}: {other:?}"),
        };
        assert!(malformed("[{},").starts_with("not a JSON array: EOF"));
        assert_eq!(malformed(" \n "), "empty: an event must be a JSON object");
        let kind = BodyKind::CloudEventBatch;
        assert!(matches!(texts("{}", kind, 10), Err(SplitError::Malformed(_))));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[\\[\\]{}\",\\\\ \n\té]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec(("[\"{a\\\\]{0,2}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn flat(value: &Value, into: &mut Vec<Value>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| flat(value, into)),
            value => into.push(value.clone()),
        }
    }

    proptest! {
        /// Against the plain way: read everything, and flatten the arrays.
        #[test]
        fn an_array_is_taken_apart_into_its_values(
            values in prop::collection::vec(value(), 0..6),
            pretty: bool,
        ) {
            let whole = json!(values);
            let text = if pretty { serde_json::to_string_pretty(&whole).unwrap() } else { whole.to_string() };
            let mut wanted = Vec::new();
            flat(&whole, &mut wanted);
            let found = texts(&text, BodyKind::CloudEventBatch, wanted.len()).unwrap();
            let found: Vec<Value> =
                found.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(&found, &wanted);
            if let Some(fewer) = wanted.len().checked_sub(1) {
                let refused = texts(&text, BodyKind::CloudEventBatch, fewer);
                prop_assert_eq!(refused, Err(SplitError::TooMany { max: fewer }));
            }
        }

        #[test]
        fn any_bytes_are_taken_apart_or_refused_and_nothing_of_a_line_is_lost(body: Vec<u8>) {
            let body = Bytes::from(body);
            let _ = split(&body, BodyKind::Sniff, 1_000);
            let events = split(&body, BodyKind::Ndjson, 1_000).unwrap();
            let visible = |bytes: &[u8]| bytes.iter().filter(|byte| !byte.is_ascii_whitespace()).count();
            let kept: usize = events.iter().map(|event| visible(event)).sum();
            if !body.contains(&b'[') {
                prop_assert_eq!(kept, visible(&body));
            }
        }
    }
}
