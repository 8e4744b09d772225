//! An event as a key keeps it: when, which conditions it meets, and what matches take of it.

use crate::metric::Attr;
use crate::number::Decimal;
use crate::time::EpochMs;
use crate::wire::{Malformed, Reader, put_bytes};

/// Values of attributes, encoded one after the other: they are compared, kept and written far more
/// often than read.
pub type Values = Box<[u8]>;

const MISSING: u8 = 0;
const NUMBER: u8 = 1;
const TEXT: u8 = 2;
const FALSE: u8 = 3;
const TRUE: u8 = 4;

/// An event that a pattern may want.
///
/// Ordered by time; those of one millisecond as the pattern names what they meet, and then by what
/// they hold: an order that says nothing of how they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Event time.
    pub at: EpochMs,
    /// A bit for each list of conditions that it meets; never 0.
    pub meets: u32,
    /// What matches may take of it.
    pub values: Values,
}

impl Held {
    fn place(&self) -> (EpochMs, u32, u32, &[u8]) {
        (self.at, self.meets.trailing_zeros(), self.meets, &self.values)
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Encodes values; those that events must have in `common` as text, so that 17 is "17".
pub fn values<'a>(
    common: impl Iterator<Item = Attr<'a>>,
    others: impl Iterator<Item = Attr<'a>>,
) -> Values {
    let mut out = Vec::new();
    for attr in common {
        match attr {
            Attr::Missing | Attr::Unusable(_) => out.push(MISSING),
            Attr::Text(text) => put_text(&mut out, text),
            attr => put_text(&mut out, attr.to_string().as_bytes()),
        }
    }
    for attr in others {
        match attr {
            Attr::Missing | Attr::Unusable(_) => out.push(MISSING),
            Attr::Number(number) => put_number(&mut out, number),
            Attr::Amount(amount) => put_number(&mut out, amount.to_decimal()),
            Attr::Text(text) => put_text(&mut out, text),
            Attr::Bool(value) => out.push(if value { TRUE } else { FALSE }),
        }
    }
    out.into()
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(TEXT);
    put_bytes(out, text);
}

/// So many values that are missing.
pub fn none(count: usize) -> Values {
    vec![MISSING; count].into()
}

/// Puts those of other values where one is missing.
pub fn fill(values: &mut Values, other: &Values, count: usize) {
    // As a rule all are there, or nothing is there to be put.
    if !values.contains(&MISSING) || **other == *none(count) {
        return;
    }
    // They were made here, or looked at when they were read.
    let (Ok(own), Ok(other)) = (attrs(values, count), attrs(other, count)) else { return };
    let filled = own.into_iter().zip(other).map(|(own, other)| match own {
        Attr::Missing => other,
        own => own,
    });
    *values = self::values(std::iter::empty(), filled);
}

/// The first `count` values, as they were written; `None` when one of them is missing.
pub fn common(values: &[u8], count: usize) -> Option<&[u8]> {
    let mut reader = Reader::new(values);
    for _ in 0..count {
        if reader.u8("value").ok()? != TEXT {
            return None;
        }
        reader.bytes("text").ok()?;
    }
    values.get(..reader.position())
}

fn put_number(out: &mut Vec<u8>, number: Decimal) {
    out.push(NUMBER);
    number.encode(out);
}

/// Decodes so many values.
///
/// # Errors
/// When they are not what [`values`] made: the file is damaged.
pub fn attrs(values: &[u8], count: usize) -> Result<Vec<Attr<'_>>, Malformed> {
    let mut reader = Reader::new(values);
    let attrs: Vec<_> = (0..count).map(|_| attr(&mut reader)).collect::<Result<_, _>>()?;
    if reader.is_empty() { Ok(attrs) } else { Err(malformed(&reader)) }
}

fn attr<'a>(reader: &mut Reader<'a>) -> Result<Attr<'a>, Malformed> {
    match reader.u8("value")? {
        MISSING => Ok(Attr::Missing),
        NUMBER => Decimal::decode(reader).map(Attr::Number),
        TEXT => reader.bytes("text").map(Attr::Text),
        FALSE => Ok(Attr::Bool(false)),
        TRUE => Ok(Attr::Bool(true)),
        _ => Err(malformed(reader)),
    }
}

fn malformed(reader: &Reader<'_>) -> Malformed {
    Malformed { what: "values of an event", at: reader.position() }
}
