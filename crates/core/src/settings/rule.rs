//! What a key may be: its type and its bounds.

use super::value::Word;

/// A check of a text: the rule that it breaks, as the end of a sentence that began with it.
pub type Check = fn(&str) -> Result<(), String>;

/// The type of a key, with its bounds, both ends included.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// `true` or `false`.
    Truth,
    /// A whole number.
    Count(i64, i64),
    /// Bytes with a unit, `"64KiB"`.
    Size(i64, i64),
    /// A length of time with units, `"2h30m"`, in milliseconds.
    Span(i64, i64),
    /// The same, or `"auto"`, which is 0 here.
    SpanOrAuto(i64, i64),
    /// A number; infinite bounds are none.
    Number(f64, f64),
    /// A text that passes a check; what it is, for somebody who wrote no text.
    Text(&'static str, Check),
    /// A text that is never shown.
    Secret,
    /// An address, whose query is not shown, or where it stands (see [`is_elsewhere`]).
    ///
    /// [`is_elsewhere`]: super::is_elsewhere
    Address,
    /// As many different texts, each of which passes a check.
    Texts {
        /// Least number of them.
        least: usize,
        /// Greatest number of them.
        most: usize,
        /// Of each.
        check: Check,
        /// Whether another order says something else.
        ordered: bool,
    },
    /// So many numbers, each greater than the one before.
    Ascending(usize, usize),
    /// Names of 1 to so many attributes; a lone one needs no list around it, `"user"`.
    Attributes(usize),
    /// Texts by name, `{ code = "status" }`, at most so many.
    Pairs(usize),
    /// The same, shown only where it is said where they stand.
    SecretPairs(usize),
    /// One of a few words; each is explained in the reason.
    Word(fn() -> Vec<&'static str>),
    /// Something with a shape of its own, which the code that uses it reads.
    Shape,
}

/// `true` or `false`.
pub const fn truth() -> Rule {
    Rule::Truth
}

/// A whole number.
pub const fn count(least: i64, most: i64) -> Rule {
    Rule::Count(least, most)
}

/// Bytes.
pub const fn size(least: i64, most: i64) -> Rule {
    Rule::Size(least, most)
}

/// Milliseconds.
pub const fn span(least: i64, most: i64) -> Rule {
    Rule::Span(least, most)
}

/// Milliseconds, or 0 for `"auto"`.
pub const fn span_or_auto(least: i64, most: i64) -> Rule {
    Rule::SpanOrAuto(least, most)
}

/// A number.
pub const fn number(least: f64, most: f64) -> Rule {
    Rule::Number(least, most)
}

/// Any text.
pub const fn text() -> Rule {
    Rule::Text("text in quotes", anything)
}

/// A text that passes a check.
pub const fn checked(check: Check) -> Rule {
    Rule::Text("text in quotes", check)
}

/// A text that passes a check, `what`.
pub const fn text_that_is(what: &'static str, check: Check) -> Rule {
    Rule::Text(what, check)
}

/// A text that is never shown.
pub const fn secret() -> Rule {
    Rule::Secret
}

/// An address that may have a secret in it.
pub const fn masked_address() -> Rule {
    Rule::Address
}

/// Different names whose order says nothing.
pub const fn names(least: usize, most: usize) -> Rule {
    Rule::Texts { least, most, check: anything, ordered: false }
}

/// Different names in an order.
pub const fn names_in_order(least: usize, most: usize) -> Rule {
    Rule::Texts { least, most, check: anything, ordered: true }
}

/// At most so many different texts that each pass a check.
pub const fn each(most: usize, check: Check) -> Rule {
    Rule::Texts { least: 0, most, check, ordered: false }
}

/// Numbers in ascending order.
pub const fn ascending(least: usize, most: usize) -> Rule {
    Rule::Ascending(least, most)
}

/// The name of an attribute, or a list of at most so many.
pub const fn attributes(most: usize) -> Rule {
    Rule::Attributes(most)
}

/// Texts by name.
pub const fn pairs(most: usize) -> Rule {
    Rule::Pairs(most)
}

/// Secret texts by name.
pub const fn secret_pairs(most: usize) -> Rule {
    Rule::SecretPairs(most)
}

/// One of the words of a type.
pub const fn word<T: Word>() -> Rule {
    Rule::Word(words::<T>)
}

/// Something with a shape of its own.
pub const fn shape() -> Rule {
    Rule::Shape
}

/// Lets every text pass.
fn anything(_: &str) -> Result<(), String> {
    Ok(())
}

fn words<T: Word>() -> Vec<&'static str> {
    T::WORDS.iter().map(|(word, _)| *word).collect()
}
