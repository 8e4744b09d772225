//! What a metric sees of a fact: its attributes, as numbers where numbers are wanted.

use std::cmp::Ordering;
use std::fmt;

use super::groups::Order;
use crate::fault::Fault;
use crate::number::text::{NumberFormat, NumberText};
use crate::number::{Amount, Countable, Decimal};
use crate::time::EpochMs;
use crate::unusable::Unusable;

/// An attribute of a fact, borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Attr<'a> {
    /// Absent.
    #[default]
    Missing,
    /// A number of an event.
    Number(Decimal),
    /// A sum of such numbers.
    Amount(Amount),
    /// Text.
    Text(&'a [u8]),
    /// `true` or `false`.
    Bool(bool),
    /// It is there, and nothing can be made of it.
    Unusable(Unusable),
}

impl<'a> Attr<'a> {
    /// As JSON; null where there is none, or none that is of use.
    pub fn to_json(self) -> serde_json::Value {
        match self {
            Attr::Missing | Attr::Unusable(_) => serde_json::Value::Null,
            Attr::Number(number) => number.to_f64().into(),
            Attr::Amount(amount) => amount.to_f64().into(),
            Attr::Text(text) => String::from_utf8_lossy(text).into(),
            Attr::Bool(value) => value.into(),
        }
    }

    /// The number that a text stands for; everything else as it is.
    #[inline]
    pub fn as_number(self, format: &NumberFormat) -> Attr<'a> {
        match self {
            Attr::Text(text) => number_of_text(text, format),
            other => other,
        }
    }

    /// Why it cannot be added up as it is; `None` when it can.
    pub fn amount_fault(self, format: &NumberFormat) -> Option<Fault> {
        match self.as_number(format) {
            Attr::Missing => Some(Fault::Absent),
            Attr::Text(_) => Some(Fault::Text),
            Attr::Bool(_) => Some(Fault::Flag),
            Attr::Unusable(why) => Some(why.into()),
            Attr::Amount(_) => None,
            Attr::Number(number) => match number.countable() {
                Countable::Exact(_) => None,
                Countable::Rounded(_) => Some(Fault::Rounded),
                Countable::OutOfRange => Some(Fault::OutOfRange),
            },
        }
    }

    /// The number as it is added up; `None` for what is none, or is out of range.
    #[inline]
    pub fn amount(self) -> Option<Amount> {
        match self {
            Attr::Number(number) => number.amount(),
            Attr::Amount(amount) => Some(amount),
            _ => None,
        }
    }

    /// The number as it is compared with others of its kind.
    #[inline]
    pub fn number(self) -> Option<Decimal> {
        match self {
            Attr::Number(number) => Some(number),
            Attr::Amount(amount) => Some(amount.to_decimal()),
            _ => None,
        }
    }

    /// Compares it with a number of the configuration; `None` for what is not a number.
    #[inline]
    pub(super) fn compare(self, bound: Decimal) -> Option<Ordering> {
        match self {
            Attr::Number(number) => Some(number.cmp(&bound)),
            Attr::Amount(amount) => Some(amount.compare(bound)),
            _ => None,
        }
    }
}

/// As a label: a number as it is written, nothing for what is missing or of no use.
impl fmt::Display for Attr<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attr::Missing | Attr::Unusable(_) => Ok(()),
            Attr::Number(value) => write!(out, "{value}"),
            Attr::Amount(value) => write!(out, "{value}"),
            Attr::Text(text) => out.write_str(&String::from_utf8_lossy(text)),
            Attr::Bool(value) => write!(out, "{value}"),
        }
    }
}

/// A text where a number is wanted: the number, nothing, or still the text.
#[cold]
fn number_of_text<'a>(text: &'a [u8], format: &NumberFormat) -> Attr<'a> {
    match std::str::from_utf8(text).map(|text| format.read(text)) {
        Ok(NumberText::Number(number)) => {
            Decimal::from_text(&number).map_or(Attr::Text(text), Attr::Number)
        }
        Ok(NumberText::Absent) => Attr::Missing,
        _ => Attr::Text(text),
    }
}

/// What a metric sees of a fact: an event, or a closed session.
pub trait Fact {
    /// Event time it counts at.
    fn at(&self) -> EpochMs;
    /// Index of the event type (events only).
    fn event_type(&self) -> u16;
    /// The session key; empty when it concerns no session.
    fn key(&self) -> &[u8];
    /// Its place in the one order of all facts of its kind.
    fn order(&self) -> Order;
    /// True when a shard's facts of this kind come in that order.
    fn in_order(&self) -> bool;
    /// The attribute in a slot.
    fn attr(&self, slot: usize) -> Attr<'_>;
}
