//! One JSON value as it comes, before its part in the event is known.

use std::fmt;

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
    /// A number without a fraction, and as text the same whoever writes it.
    pub fn is_whole(&self) -> bool {
        match self {
            Raw::Int(_) | Raw::Huge(_) => true,
            Raw::Float(number) => number.fract() == 0.0 && number.abs() < (1u64 << 53) as f64,
            _ => false,
        }
    }

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
