//! What a mapping makes attributes of.

use std::borrow::Cow;

/// A cell of a row.
#[derive(Clone, Debug)]
pub(in crate::source) enum Cell<'a> {
    Text(Cow<'a, str>),
    /// A JSON value that is not text.
    Json(Cow<'a, str>),
}

impl Cell<'_> {
    pub fn text(&self) -> &str {
        match self {
            Cell::Text(text) | Cell::Json(text) => text,
        }
    }
}
