//! From text to the parser's tree, with the parser's complaints in plain words.

use cel::Env;
use cel::common::ast::{IdedExpr, SourceInfo};
use cel::parser::ParseError;

use super::{DEPTH_MAX, ExprError, TEXT_BYTES_MAX};

/// Parses a text.
///
/// # Errors
/// The first complaint.
pub(super) fn parse(text: &str) -> Result<(IdedExpr, SourceInfo), ExprError> {
    let at_start = |reason: String| ExprError { line: 1, column: 1, reason };
    if text.len() > TEXT_BYTES_MAX {
        return Err(at_start(format!(
            "{} bytes are more than the {TEXT_BYTES_MAX} of an expression: give a part of it a name \
             in [events.derived]",
            text.len()
        )));
    }
    if text.trim().is_empty() {
        return Err(at_start("there is no expression".into()));
    }
    // Without macros: `has(a)` stays a call.
    let parser = Env::default().with_optional_support(false).parser();
    let parsed = parser.max_recursion_depth(DEPTH_MAX).parse_with_source_info(text);
    parsed.map_err(|errors| {
        // In the order of the text; the first one is what the others follow from.
        let first = errors.errors.first();
        first.map_or_else(|| at_start("is no expression".into()), |error| explain(text, error))
    })
}

fn explain(text: &str, error: &ParseError) -> ExprError {
    let message = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
    let line = usize::try_from(error.pos.0).unwrap_or(0).max(1);
    let column = usize::try_from(error.pos.1).unwrap_or(0).max(1);
    let here = text.lines().nth(line - 1).unwrap_or("");
    let (before, rest) =
        here.split_at(here.char_indices().nth(column - 1).map_or(here.len(), |c| c.0));
    ExprError { line, column, reason: in_words(message, before, rest) }
}

/// Words of other languages, and what they are here.
const WORDS: [(&str, &str); 7] = [
    ("and", "&&"),
    ("or", "||"),
    ("not", "!"),
    ("is", "=="),
    ("eq", "=="),
    ("like", ".contains() or .matches()"),
    ("between", "a >= 1 && a <= 2"),
];

/// What is wrong, by the parser's message and the text on both sides of its place.
fn in_words(message: &str, before: &str, rest: &str) -> String {
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let written = |word: &str| {
        let found = WORDS.iter().find(|(other, _)| word.eq_ignore_ascii_case(other));
        found.map(|(other, ours)| format!("write {ours} for {other:?}"))
    };
    let last = before.trim_end().rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
    if message.contains("Recursion limit") {
        return format!(
            "brackets, calls and choices lie more than {DEPTH_MAX} deep: give a part of it a name in \
             [events.derived]"
        );
    }
    if let Some(name) = message.strip_prefix("reserved identifier: ") {
        return format!(
            "{name:?} is a word of the language: give the attribute another name in events.aliases"
        );
    }
    match message {
        "invalid int literal" | "invalid uint literal" | "invalid double literal" => {
            return "this number is too great".into();
        }
        _ if message.starts_with("Incomplete `ExprContext` for `_?_:_`") => {
            return "a ? needs a : with what it is otherwise".into();
        }
        _ => {}
    }
    let first = rest.chars().next();
    match first {
        Some('=') if !rest.starts_with("==") => {
            return match rest.chars().nth(1) {
                Some(sign @ ('<' | '>')) => format!("write {sign}= for ={sign}"),
                _ => "write == to compare".into(),
            };
        }
        Some('>') if before.ends_with('<') => return "write != for <>".into(),
        Some('&') if !rest.starts_with("&&") => return "write && for \"and\"".into(),
        Some('|') if !rest.starts_with("||") => return "write || for \"or\"".into(),
        Some('"' | '\'') if message.starts_with("token recognition") => {
            return "this text does not end on its line, or holds a \\ that means nothing: write \\\\".into();
        }
        Some(quote @ ('“' | '”' | '‘' | '’' | '„')) => {
            return format!("write a plain \" for {quote}");
        }
        Some(c) if !c.is_ascii() && c.is_alphabetic() => {
            return format!(
                "{c:?} is no letter of a name: give the attribute another name in events.aliases"
            );
        }
        Some('`') => {
            return "a name is not quoted: give the attribute another name in events.aliases"
                .into();
        }
        _ => {}
    }
    if let Some(reason) = written(&word(rest)).or_else(|| written(last)) {
        return reason;
    }
    if message.starts_with("missing ')'") {
        return "a ) is missing".into();
    }
    match first {
        None => "something is missing at the end".into(),
        Some(c) if message.starts_with("token recognition") => format!("{c:?} has no meaning here"),
        Some(c) => match &*word(rest) {
            "" => format!("{c:?} is not expected here"),
            word => format!("{word:?} is not expected here"),
        },
    }
}
