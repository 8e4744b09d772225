//! Values as TOML text.

use super::units::{show_size, show_span, show_span_in_hours};
use crate::domain::time::SpanMs;

pub(super) fn text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

pub(super) fn texts(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|word| text(word)).collect();
    format!("[{}]", quoted.join(", "))
}

pub(super) fn pairs(pairs: &[(String, String)]) -> String {
    let pair = |(from, to): &(String, String)| format!("{} = {}", name(from), text(to));
    table(&pairs.iter().map(pair).collect::<Vec<_>>())
}

/// An inline table of `name = value`.
pub(super) fn table(parts: &[String]) -> String {
    match parts {
        [] => "{}".into(),
        parts => format!("{{ {} }}", parts.join(", ")),
    }
}

pub(super) fn span(span: SpanMs) -> String {
    text(&show_span(span))
}

/// Without days, which are the calendar's where windows are declared.
pub(super) fn hours(span: SpanMs) -> String {
    text(&show_span_in_hours(span))
}

pub(super) fn size(bytes: i64) -> String {
    text(&show_size(bytes.unsigned_abs()))
}

/// A name on the left side of `=`, in quotes where it needs them.
fn name(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(bare) { name.into() } else { text(name) }
}
