//! What the decoder hands over: an event that was understood, or one that was not.

use super::Unusable;
use super::time_rule::Guess;
use crate::number::Decimal;
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
    /// Index in `Schema::kinds`, or `Schema::OTHER_KIND`.
    pub kind: u16,
    /// A value for each slot of the schema.
    pub values: &'a [ParsedValue<'a>],
    /// The event as it came, without the white space around it.
    pub raw: &'a [u8],
    /// Which of its item's events it is, where a note offers it something; `None` for the only
    /// one.
    pub part: Option<u32>,
}

impl Parsed<'_> {
    /// The key that it goes by: that of the visitor while nobody knows who it is.
    pub(super) fn known(&self) -> &str {
        if self.key.is_empty() { self.anonymous } else { self.key }
    }
}

/// A decoded attribute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ParsedValue<'a> {
    /// Absent, or `null`.
    #[default]
    Missing,
    /// A number, exactly as it is written.
    Number(Decimal),
    /// Text.
    Text(&'a str),
    /// `true` or `false`.
    Bool(bool),
    /// It is there, and nothing can be made of it.
    Unusable(Unusable),
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
