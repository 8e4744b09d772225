//! One JSON value as it comes, before its part in the event is known.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Text of the event: where it lies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Text<'de> {
    /// There is none.
    #[default]
    None,
    /// In the event's own bytes.
    Borrowed(&'de str),
    /// In the scratch space, because it had to be unescaped: start and length.
    Copied(usize, usize),
}

impl<'de> Text<'de> {
    /// The text itself; empty when there is none.
    pub fn get<'a>(self, scratch: &'a str) -> &'a str
    where
        'de: 'a,
    {
        match self {
            Text::None => "",
            Text::Borrowed(text) => text,
            Text::Copied(start, len) => &scratch[start..start + len],
        }
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        match self {
            Text::None => 0,
            Text::Borrowed(text) => text.len(),
            Text::Copied(_, len) => len,
        }
    }

    /// Appends `text` to the scratch space.
    pub fn copy(scratch: &mut String, text: &str) -> Self {
        let start = scratch.len();
        scratch.push_str(text);
        Text::Copied(start, text.len())
    }
}

/// A JSON value. Objects and arrays are passed over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Raw<'de> {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer past `i64`.
    Huge(u64),
    Float(f64),
    Text(Text<'de>),
    Nested,
}

impl Raw<'_> {
    /// What it is, for a reason of rejection.
    pub fn name(&self) -> &'static str {
        match self {
            Raw::Null => "null",
            Raw::Bool(_) => "true or false",
            Raw::Int(_) | Raw::Huge(_) | Raw::Float(_) => "a number",
            Raw::Text(_) => "text",
            Raw::Nested => "an object or an array",
        }
    }
}

/// A number as it is quoted in a reason: short even when it is enormous.
impl fmt::Display for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Int(number) => write!(f, "{number}"),
            Raw::Huge(number) => write!(f, "{number}"),
            Raw::Float(number) if number.abs() >= 1e16 => write!(f, "{number:e}"),
            Raw::Float(number) => write!(f, "{number}"),
            other => f.write_str(other.name()),
        }
    }
}

/// Reads one value; unescaped text goes to `scratch`.
pub(super) struct RawSeed<'w> {
    pub scratch: &'w mut String,
}

impl<'de> DeserializeSeed<'de> for RawSeed<'_> {
    type Value = Raw<'de>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RawSeed<'_> {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    #[inline]
    fn visit_unit<E>(self) -> Result<Raw<'de>, E> {
        Ok(Raw::Null)
    }

    #[inline]
    fn visit_bool<E>(self, value: bool) -> Result<Raw<'de>, E> {
        Ok(Raw::Bool(value))
    }

    #[inline]
    fn visit_i64<E>(self, value: i64) -> Result<Raw<'de>, E> {
        Ok(Raw::Int(value))
    }

    #[inline]
    fn visit_u64<E>(self, value: u64) -> Result<Raw<'de>, E> {
        Ok(i64::try_from(value).map_or(Raw::Huge(value), Raw::Int))
    }

    #[inline]
    fn visit_f64<E>(self, value: f64) -> Result<Raw<'de>, E> {
        Ok(Raw::Float(value))
    }

    #[inline]
    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Raw<'de>, E> {
        Ok(Raw::Text(Text::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw<'de>, E> {
        Ok(Raw::Text(Text::copy(self.scratch, value)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Raw::Nested)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Raw::Nested)
    }
}
