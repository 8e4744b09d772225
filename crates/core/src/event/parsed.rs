//! What the decoder hands over: an event that was understood, or one that was not.

use super::time_rule::Guess;
use super::{Span, Value};
use crate::time::EpochMs;

/// One understood event, borrowed from the item's bytes or from the decoder's scratch.
///
/// Every text is a piece of the item, unless it was escaped there, was an integer, or
/// was made of several attributes (the id of a CloudEvent).
#[derive(Debug)]
pub struct Parsed<'a> {
    /// Event time.
    pub at: EpochMs,
    /// What was guessed for the time.
    pub guess: Option<Guess>,
    /// Its id, if it has one; never empty.
    pub id: Option<&'a str>,
    /// The session key, empty when it has none.
    pub key: &'a str,
    /// The key of the visitor before it was known, where `Schema::anonymous` names it: empty
    /// when the event has none. With an empty `key` it is the key.
    pub anonymous: &'a str,
    /// Index in `Schema::event_types`, or `Schema::OTHER_TYPE`.
    pub event_type: u16,
    /// A value for each slot of the schema.
    pub values: &'a [Value],
    /// The event as it came, without the white space around it.
    pub raw: &'a [u8],
    /// Texts of `values` are pieces of the first, which is `raw` or empty, or, with places behind
    /// its end, of the second.
    pub(super) texts: (&'a [u8], &'a [u8]),
    /// Which of its item's events it is, where a note offers it something; `None` for the only
    /// one.
    pub part: Option<u32>,
}

impl<'a> Parsed<'a> {
    /// The text of a value.
    #[inline]
    pub fn text(&self, span: Span) -> &'a [u8] {
        let (start, len) = (span.start as usize, span.len as usize);
        let (own, scratch) = self.texts;
        match start.checked_sub(own.len()) {
            None => &own[start..start + len],
            Some(start) => &scratch[start..start + len],
        }
    }

    /// The key that it goes by: that of the visitor while nobody knows who it is.
    pub(super) fn known(&self) -> &str {
        if self.key.is_empty() { self.anonymous } else { self.key }
    }
}

/// An event that was not understood.
#[derive(Debug)]
pub struct Rejected<'a> {
    /// Names the thing and the rule.
    pub reason: String,
    /// The bytes as they came (one element of an array or pack, or the whole item).
    pub raw: &'a [u8],
    /// As [`Parsed::part`].
    pub part: Option<u32>,
}
