//! Why a value that is there is of no use.

/// Why a value is of no use, whatever is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// An object or an array.
    Nested,
    /// A text longer than `Limits::text_bytes`.
    TooLong,
    /// Made of a text that is not a number, or not `true` or `false`, where one was needed.
    Text,
    /// Made of `true` or `false`, where something else was needed.
    Flag,
    /// Made of a number, where something else was needed.
    Number,
    /// Past all numbers.
    OutOfRange,
    /// Divided by zero.
    DividedByZero,
    /// Looked up, and the table has no such row.
    NotFound,
}
