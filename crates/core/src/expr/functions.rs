//! The functions of expressions. One more is a line in [`FUNCTIONS`].

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use regex::{Regex, RegexBuilder};

use super::tree::{write_list, write_number, write_text};
use super::{Kind, Value};
use crate::number::Decimal;

/// What a function is: a name may stand for several, told apart by how many values they take.
#[derive(Debug)]
pub(crate) struct Function {
    pub name: &'static str,
    /// Written behind its first value: `path.startsWith("/api")`.
    pub method: bool,
    /// What its values must be.
    pub takes: &'static [Kind],
    /// It takes any number of values more, of the last kind.
    pub more: bool,
    /// It makes its value of what it takes of any kind.
    pub converts: bool,
    pub gives: Kind,
    pub made: Made,
}

/// How it comes to its result. None of its values is missing or unusable.
#[derive(Debug)]
pub(crate) enum Made {
    /// Of its values.
    Of(for<'a> fn(&[Value<'a>]) -> Value<'a>),
    /// Of its value and one more that is written out, which this makes ready.
    With(fn(Constant) -> Result<Prepared, String>),
}

/// A value that is written out.
pub(crate) enum Constant {
    Number(Decimal),
    Text(Box<str>),
    Numbers(Vec<Decimal>),
}

/// The last value of a function where that is written out.
#[derive(Clone, Debug)]
pub(crate) enum Prepared {
    /// It has none of that kind.
    Nothing,
    Pattern(Regex),
    Decimals(u8),
    /// The bounds of buckets, ascending.
    Bounds(Vec<Decimal>),
}

use Kind::{Any, Bool, Number, Text};

const fn method(
    name: &'static str,
    takes: &'static [Kind],
    gives: Kind,
    of: for<'a> fn(&[Value<'a>]) -> Value<'a>,
) -> Function {
    Function { name, method: true, takes, more: false, converts: false, gives, made: Made::Of(of) }
}

const fn plain(
    name: &'static str,
    takes: &'static [Kind],
    gives: Kind,
    of: for<'a> fn(&[Value<'a>]) -> Value<'a>,
) -> Function {
    Function { name, method: false, takes, more: false, converts: false, gives, made: Made::Of(of) }
}

/// All of them. `has` is none: it asks for a name, not for a value.
pub(super) static FUNCTIONS: &[Function] = &[
    method("startsWith", &[Text, Text], Bool, |of| texts(of, |a, b| Value::Bool(a.starts_with(b)))),
    method("endsWith", &[Text, Text], Bool, |of| texts(of, |a, b| Value::Bool(a.ends_with(b)))),
    method("contains", &[Text, Text], Bool, |of| texts(of, |a, b| Value::Bool(a.contains(b)))),
    Function { made: Made::With(pattern), ..method("matches", &[Text], Bool, |_| Value::Missing) },
    method("lowerAscii", &[Text], Text, |of| text(of, |a| cased(a, str::to_ascii_lowercase))),
    method("upperAscii", &[Text], Text, |of| text(of, |a| cased(a, str::to_ascii_uppercase))),
    plain("size", &[Text], Number, |of| {
        text(of, |a| Value::Number(Decimal::from_u64(a.chars().count() as u64)))
    }),
    Function {
        converts: true,
        ..plain("int", &[Number], Number, |of| number(of, |a| Value::Number(a.truncated())))
    },
    Function {
        converts: true,
        ..plain("double", &[Number], Number, |of| number(of, Value::Number))
    },
    plain("string", &[Any], Text, string),
    plain("abs", &[Number], Number, |of| number(of, |a| Value::Number(a.magnitude()))),
    plain("round", &[Number], Number, |of| number(of, |a| Value::Number(a.rounded(0)))),
    Function {
        made: Made::With(decimals),
        ..plain("round", &[Number], Number, |_| Value::Missing)
    },
    Function { more: true, ..plain("min", &[Number], Number, |of| extreme(of, Ordering::Less)) },
    Function { more: true, ..plain("max", &[Number], Number, |of| extreme(of, Ordering::Greater)) },
    Function { made: Made::With(bounds), ..plain("bucket", &[Number], Text, |_| Value::Missing) },
];

impl Function {
    /// How many values it takes with one that is written out.
    pub fn arity(&self) -> usize {
        self.takes.len() + usize::from(matches!(self.made, Made::With(_)))
    }
}

fn text<'a>(of: &[Value<'a>], result: impl FnOnce(&Cow<'a, str>) -> Value<'a>) -> Value<'a> {
    match of {
        [Value::Text(a)] => result(a),
        _ => Value::Missing,
    }
}

fn texts<'a>(of: &[Value<'a>], result: impl FnOnce(&str, &str) -> Value<'a>) -> Value<'a> {
    match of {
        [Value::Text(a), Value::Text(b)] => result(a, b),
        _ => Value::Missing,
    }
}

fn number<'a>(of: &[Value<'a>], result: impl FnOnce(Decimal) -> Value<'a>) -> Value<'a> {
    match of {
        [Value::Number(a)] => result(*a),
        _ => Value::Missing,
    }
}

/// Copied only where that changes something.
fn cased<'a>(text: &Cow<'a, str>, change: impl FnOnce(&str) -> String) -> Value<'a> {
    let changed = change(text);
    Value::Text(if changed == **text { text.clone() } else { Cow::Owned(changed) })
}

fn string<'a>(of: &[Value<'a>]) -> Value<'a> {
    match of {
        [Value::Number(number)] => Value::Text(Cow::Owned(number.to_string())),
        [Value::Bool(truth)] => Value::Text(Cow::Borrowed(if *truth { "true" } else { "false" })),
        [text] => text.clone(),
        _ => Value::Missing,
    }
}

fn extreme<'a>(of: &[Value<'a>], side: Ordering) -> Value<'a> {
    let numbers = of.iter().filter_map(|value| match value {
        Value::Number(number) => Some(*number),
        _ => None,
    });
    let found = numbers.reduce(|best, one| if one.cmp(&best) == side { one } else { best });
    found.map_or(Value::Missing, Value::Number)
}

/// Most bytes that a pattern, and what it keeps while it looks, may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

fn pattern(constant: Constant) -> Result<Prepared, String> {
    let Constant::Text(pattern) = constant else {
        return Err("matches takes a pattern that is written out, such as \"^/api/\"".into());
    };
    let built = RegexBuilder::new(&pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .build();
    built.map(Prepared::Pattern).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            format!("this pattern takes more than {PATTERN_BYTES_MAX} bytes")
        }
        // Its last line says what; those before it draw the pattern.
        other => {
            let told = other.to_string();
            let line = told.lines().last().unwrap_or_default();
            format!("no regular expression: {}", line.trim_start_matches("error: "))
        }
    })
}

fn decimals(constant: Constant) -> Result<Prepared, String> {
    let decimals = match constant {
        Constant::Number(number) => (0u8..=18).find(|n| Decimal::from_i64((*n).into()) == number),
        _ => None,
    };
    decimals.map(Prepared::Decimals).ok_or("round takes 0 to 18 decimals, written out".into())
}

fn bounds(constant: Constant) -> Result<Prepared, String> {
    match constant {
        Constant::Numbers(bounds) if bounds.is_sorted_by(|a, b| a < b) => {
            Ok(Prepared::Bounds(bounds))
        }
        _ => {
            Err("bucket takes a list of numbers in ascending order, such as [50, 100, 250]".into())
        }
    }
}

impl Prepared {
    /// The result for a value of the kind that the function takes.
    pub fn apply<'a>(&self, value: &Value<'a>) -> Value<'a> {
        match (self, value) {
            (Prepared::Pattern(pattern), Value::Text(text)) => Value::Bool(pattern.is_match(text)),
            (Prepared::Decimals(decimals), Value::Number(number)) => {
                Value::Number(number.rounded(*decimals))
            }
            (Prepared::Bounds(bounds), Value::Number(number)) => {
                Value::Text(Cow::Owned(bucket(bounds, *number)))
            }
            _ => Value::Missing,
        }
    }

    /// As it is written in the call.
    pub fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Prepared::Nothing => Ok(()),
            Prepared::Pattern(pattern) => write_text(pattern.as_str(), out),
            Prepared::Decimals(decimals) => write!(out, "{decimals}"),
            Prepared::Bounds(bounds) => write_list(bounds, |n, out| write_number(*n, out), out),
        }
    }
}

/// The name of the bucket that a number lies in. A bound is the greatest number of its bucket, as
/// in a histogram.
fn bucket(bounds: &[Decimal], number: Decimal) -> String {
    let at = bounds.partition_point(|bound| *bound < number);
    match (at.checked_sub(1).map(|below| bounds[below]), bounds.get(at)) {
        (None, Some(first)) => format!("<= {first}"),
        (Some(below), Some(bound)) => format!("{below} to {bound}"),
        (Some(last), None) => format!("> {last}"),
        (None, None) => String::new(),
    }
}
