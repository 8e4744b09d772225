//! Why a value that is there is of no use.

/// Why a value is of no use, whatever is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// An object or an array.
    Nested,
    /// A text longer than `Limits::text_bytes`.
    TooLong,
}
