//! What a key is set to, between the text of a file and the field of a struct.

// An address is a value like any other: nothing is opened here.
use core::net::SocketAddr;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::number::Decimal;

/// A value that has passed its rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Not set, and without a default of its own.
    None,
    /// Of `Rule::Truth`.
    Truth(bool),
    /// Of a count, a size in bytes or a span in milliseconds.
    Int(i64),
    /// Of a number.
    Float(f64),
    /// Of a text, a secret or a word.
    Text(String),
    /// Of a list.
    Texts(Vec<String>),
    /// Of a list of numbers.
    Numbers(Vec<f64>),
    /// Of a table of texts, by name.
    Pairs(Vec<(String, String)>),
}

/// As it is told from others of its key; `config` writes TOML.
impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::None => out.write_str("auto"),
            Value::Truth(truth) => write!(out, "{truth}"),
            Value::Int(number) => write!(out, "{number}"),
            Value::Float(number) => write!(out, "{number}"),
            Value::Text(text) => write!(out, "{text:?}"),
            Value::Texts(texts) => write!(out, "{texts:?}"),
            Value::Numbers(numbers) => write!(out, "{numbers:?}"),
            Value::Pairs(pairs) => write!(out, "{pairs:?}"),
        }
    }
}

/// A type that a field with a key may have.
pub trait Field: Sized {
    /// As a value.
    fn value(&self) -> Value;

    /// From a value; `None` when it is of another kind or does not fit.
    fn of(value: Value) -> Option<Self>;
}

/// A type that is one of a few words.
pub trait Word: Copy + PartialEq + 'static {
    /// The words, in the order in which people read them.
    const WORDS: &'static [(&'static str, Self)];

    /// The word for it.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, of)| *of == self).map_or("", |(word, _)| word)
    }
}

impl<T: Word> Field for T {
    fn value(&self) -> Value {
        Value::Text(self.word().into())
    }

    fn of(value: Value) -> Option<Self> {
        let Value::Text(text) = value else { return None };
        Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, of)| *of)
    }
}

/// A whole number or a length of time of these types.
macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl Field for $type {
            fn value(&self) -> Value {
                Value::Int(i64::try_from(*self).unwrap_or(i64::MAX))
            }

            fn of(value: Value) -> Option<Self> {
                match value {
                    Value::Int(number) => number.try_into().ok(),
                    _ => None,
                }
            }
        }
    )+};
}
whole_numbers!(u16, u64, usize, i64);

/// Types that one kind of value holds as they are.
macro_rules! held {
    ($($type:ty => $kind:ident),+) => {$(
        impl Field for $type {
            fn value(&self) -> Value {
                Value::$kind(self.clone())
            }

            fn of(value: Value) -> Option<Self> {
                match value {
                    Value::$kind(held) => Some(held),
                    _ => None,
                }
            }
        }
    )+};
}
held!(bool => Truth, f64 => Float, String => Text, Vec<String> => Texts, Vec<(String, String)> => Pairs);

/// Numbers, as they are written.
impl Field for Vec<Decimal> {
    fn value(&self) -> Value {
        Value::Numbers(self.iter().map(|number| number.to_f64()).collect())
    }

    fn of(value: Value) -> Option<Self> {
        match value {
            Value::Numbers(numbers) => numbers.into_iter().map(Decimal::from_f64).collect(),
            _ => None,
        }
    }
}

impl Field for Duration {
    fn value(&self) -> Value {
        Value::Int(i64::try_from(self.as_millis()).unwrap_or(i64::MAX))
    }

    fn of(value: Value) -> Option<Self> {
        u64::of(value).map(Duration::from_millis)
    }
}

impl Field for SocketAddr {
    fn value(&self) -> Value {
        Value::Text(self.to_string())
    }

    fn of(value: Value) -> Option<Self> {
        String::of(value)?.parse().ok()
    }
}

impl Field for PathBuf {
    fn value(&self) -> Value {
        Value::Text(self.display().to_string())
    }

    fn of(value: Value) -> Option<Self> {
        String::of(value).map(PathBuf::from)
    }
}

/// A length of time, where 0 is none.
impl Field for Option<i64> {
    fn value(&self) -> Value {
        Value::Int(self.unwrap_or(0))
    }

    fn of(value: Value) -> Option<Self> {
        i64::of(value).map(|span| (span != 0).then_some(span))
    }
}

/// A name, where the empty text is none.
impl Field for Option<String> {
    fn value(&self) -> Value {
        Value::Text(self.clone().unwrap_or_default())
    }

    fn of(value: Value) -> Option<Self> {
        String::of(value).map(|name| (!name.is_empty()).then_some(name))
    }
}

/// A key whose default comes from other keys: `None` until somebody sets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Derived<T>(pub Option<T>);

impl<T: Field> Field for Derived<T> {
    fn value(&self) -> Value {
        self.0.as_ref().map_or(Value::None, Field::value)
    }

    fn of(value: Value) -> Option<Self> {
        match value {
            Value::None => Some(Derived(None)),
            value => T::of(value).map(|held| Derived(Some(held))),
        }
    }
}

/// A key that is read elsewhere, see `Rule::Shape`.
impl Field for () {
    fn value(&self) -> Value {
        Value::None
    }

    fn of(value: Value) -> Option<Self> {
        (value == Value::None).then_some(())
    }
}

/// A text that no message, print or log shows.
#[derive(Clone, Default, PartialEq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

impl Field for Secret {
    fn value(&self) -> Value {
        Value::Text(self.0.clone())
    }

    fn of(value: Value) -> Option<Self> {
        String::of(value).map(Secret)
    }
}

/// What stands for what is not shown.
pub const MASK: &str = "***";

/// Whether a text only says where a secret is: `env:NAME` or `file:PATH`.
pub fn is_elsewhere(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:")
}

/// What may be shown of an address: what stands behind its path is not.
pub fn without_query(address: &str) -> String {
    match address.find(['?', '#']) {
        Some(at) if at + 1 < address.len() => format!("{}{MASK}", &address[..=at]),
        _ => address.to_owned(),
    }
}
