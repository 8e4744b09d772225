//! One JSON value as it comes, before its part in the event is known.

use std::fmt;

use super::Span;

/// A JSON value. Objects and arrays are passed over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Raw {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer past `i64`.
    Huge(u64),
    Float(f64),
    /// Where it lies, as in a draft.
    Text(Span),
    Nested,
}

impl Raw {
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
impl fmt::Display for Raw {
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
