//! A value by the rule of its key: read from a file, written as TOML, and its bounds in words.
//! One `match` each; a new kind of rule is a line in all three.

use std::ops::RangeInclusive;

use super::document::Node;
use super::toml_text;
use super::units::{parse_size, parse_span, show_size, show_span};
use crate::domain::near;
use crate::domain::settings::{MASK, Rule, Value, is_elsewhere, without_query};
use crate::domain::time::SpanMs;

/// What a message says in place of a value that it must not repeat.
pub(super) const HIDDEN: &str = "(not shown)";

/// Reads a value.
///
/// # Errors
/// The rule that is broken.
pub(super) fn read(rule: &Rule, node: &Node) -> Result<Value, String> {
    match *rule {
        Rule::Truth => node.truth().map(Value::Truth),
        Rule::Count(least, most) => {
            within(node.integer()?, least..=most, i64::to_string).map(Value::Int)
        }
        Rule::Size(least, most) => size(node, least..=most).map(Value::Int),
        Rule::Span(least, most) => span_within(node, least..=most).map(Value::Int),
        Rule::SpanOrAuto(least, most) => match node.text("\"auto\" or a duration in quotes")? {
            "auto" => Ok(Value::Int(0)),
            _ => span_within(node, least..=most).map(Value::Int),
        },
        Rule::Number(least, most) => number(node, least, most).map(Value::Float),
        Rule::Text(wanted, check) => {
            let text = node.text(wanted)?;
            check(text).map(|()| Value::Text(text.to_owned()))
        }
        Rule::Secret | Rule::Address => Ok(Value::Text(node.text("text in quotes")?.to_owned())),
        Rule::Texts { least, most, check, .. } => {
            let texts = node.texts()?;
            if !(least..=most).contains(&texts.len()) {
                return Err(format!("must hold {least} to {most} names"));
            }
            differ(&texts)?;
            texts.iter().try_for_each(|text| check(text))?;
            Ok(Value::Texts(texts))
        }
        Rule::Ascending(least, most) => {
            let numbers = node.numbers()?;
            let grow = numbers.is_sorted_by(|a, b| a < b);
            if grow && (least..=most).contains(&numbers.len()) {
                Ok(Value::Numbers(numbers))
            } else {
                Err(format!("must be {least} to {most} numbers in ascending order"))
            }
        }
        Rule::Attributes(most) => attributes(node, most).map(Value::Texts),
        Rule::Pairs(most) | Rule::SecretPairs(most) => match node.pairs()? {
            pairs if pairs.len() > most => Err(format!("must hold at most {most} names")),
            pairs => Ok(Value::Pairs(pairs)),
        },
        Rule::Word(words) => choose(node, &words()).map(|word| Value::Text(word.into())),
        Rule::Shape => Ok(Value::None),
    }
}

/// Of what a message may repeat of a value that was written: `None` for all.
pub(super) fn told(rule: &Rule, node: &Node) -> Option<String> {
    let hidden = || Some(HIDDEN.to_owned());
    match rule {
        Rule::Secret => hidden(),
        Rule::SecretPairs(_) => match node.pairs() {
            Ok(pairs) if pairs.iter().all(|(_, text)| is_elsewhere(text)) => None,
            _ => hidden(),
        },
        Rule::Address => match node.text("") {
            Ok(address) if !address.contains('@') => match without_query(address) {
                shown if shown == address => None,
                shown => Some(toml_text::text(&shown)),
            },
            _ => hidden(),
        },
        _ => None,
    }
}

/// A value as TOML; of a secret only whether there is one.
pub(super) fn show(rule: &Rule, value: &Value) -> String {
    match (rule, value) {
        (Rule::Secret, Value::Text(secret)) => {
            let remark = if secret.is_empty() { "" } else { " # it is set, and not shown" };
            format!("\"\"{remark}")
        }
        (Rule::Address, Value::Text(address)) if !is_elsewhere(address) => {
            toml_text::text(&without_query(address))
        }
        (Rule::SecretPairs(_), Value::Pairs(pairs)) => {
            let shown = |text: &String| if is_elsewhere(text) { text } else { MASK }.to_owned();
            let pairs = pairs.iter().map(|(name, text)| (name.clone(), shown(text)));
            toml_text::pairs(&pairs.collect::<Vec<_>>())
        }
        (Rule::SpanOrAuto(..), Value::Int(0)) => toml_text::text("auto"),
        (Rule::Span(..) | Rule::SpanOrAuto(..), Value::Int(span)) => toml_text::span(*span),
        (Rule::Size(..), Value::Int(bytes)) => toml_text::size(*bytes),
        (_, Value::Int(number)) => number.to_string(),
        (Rule::Attributes(_), Value::Texts(names)) if names.len() == 1 => {
            toml_text::text(&names[0])
        }
        (_, Value::Texts(texts)) => toml_text::texts(texts),
        (_, Value::Numbers(numbers)) => format!("{numbers:?}"),
        (_, Value::Text(text)) => toml_text::text(text),
        (_, Value::Truth(truth)) => truth.to_string(),
        (_, Value::Float(number)) => number.to_string(),
        (_, Value::Pairs(pairs)) => toml_text::pairs(pairs),
        (_, Value::None) => String::new(),
    }
}

/// The bounds in words, `1 to 64`; `None` where the type says it all. Words are explained in the
/// reason of their key.
pub(super) fn bounds(rule: &Rule) -> Option<String> {
    let or_more = |least: String, most: String, open: bool| {
        if open { format!("{least} or more") } else { format!("{least} to {most}") }
    };
    match *rule {
        Rule::Count(least, most) => {
            Some(or_more(least.to_string(), most.to_string(), most == i64::MAX))
        }
        Rule::Size(least, most) => Some(or_more(show_bytes(least), show_bytes(most), false)),
        Rule::Span(least, most) | Rule::SpanOrAuto(least, most) => {
            Some(or_more(show_span(least), show_span(most), false))
        }
        Rule::Number(least, most) if least.is_finite() => {
            Some(or_more(least.to_string(), most.to_string(), most.is_infinite()))
        }
        Rule::Texts { least: 0, most, .. } | Rule::Pairs(most) | Rule::SecretPairs(most) => {
            Some(format!("At most {most}"))
        }
        Rule::Texts { least, most, .. } => Some(format!("{least} to {most} names")),
        Rule::Attributes(most) => Some(format!("1 to {most} names")),
        Rule::Ascending(least, most) => Some(format!("{least} to {most} numbers")),
        Rule::Truth
        | Rule::Number(..)
        | Rule::Text(..)
        | Rule::Secret
        | Rule::Address
        | Rule::Word(_)
        | Rule::Shape => None,
    }
}

/// A duration within bounds.
pub(super) fn span_within(node: &Node, bounds: RangeInclusive<SpanMs>) -> Result<SpanMs, String> {
    let span = parse_span(node.text("a duration in quotes such as \"30m\"")?)?;
    within(span, bounds, |span| format!("\"{}\"", show_span(*span)))
}

/// One of a few words.
fn choose<'a>(node: &Node, words: &[&'a str]) -> Result<&'a str, String> {
    let names: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    let text = node.text(&format!("one of {}", names.join(", ")))?;
    let hint = near::hint(text, words.iter().copied());
    let rule = format!("must be one of {}{hint}", names.join(", "));
    words.iter().find(|word| **word == text).copied().ok_or(rule)
}

fn size(node: &Node, bounds: RangeInclusive<i64>) -> Result<i64, String> {
    let bytes = parse_size(node.text("a size in quotes such as \"64KiB\"")?)?;
    within(i64::try_from(bytes).unwrap_or(i64::MAX), bounds, |bytes| show_bytes(*bytes))
}

fn show_bytes(bytes: i64) -> String {
    show_size(bytes.unsigned_abs())
}

fn number(node: &Node, least: f64, most: f64) -> Result<f64, String> {
    match node.number()? {
        number if (least..=most).contains(&number) => Ok(number),
        _ if most.is_infinite() => Err(format!("must be {least} or more")),
        _ => Err(format!("must be from {least} to {most}")),
    }
}

/// The attributes of the session key: one name, or a list of them.
fn attributes(node: &Node, most: usize) -> Result<Vec<String>, String> {
    let names = match node.text("") {
        Ok(name) if !name.contains(',') => vec![name.to_string()],
        _ => node.texts().map_err(|_| {
            "must be an attribute such as \"user\", or a list of some such as \
             [\"ip\", \"agent\"]"
                .to_string()
        })?,
    };
    if names.is_empty() || names.iter().any(String::is_empty) {
        return Err("must name an attribute".into());
    }
    if names.len() > most {
        return Err(format!("must name at most {most} attributes"));
    }
    differ(&names)?;
    Ok(names)
}

fn differ(names: &[String]) -> Result<(), String> {
    let twice = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
    twice.map_or(Ok(()), |(_, name)| Err(format!("must not name {name:?} twice")))
}

fn within(
    value: i64,
    bounds: RangeInclusive<i64>,
    show: impl Fn(&i64) -> String,
) -> Result<i64, String> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    match *bounds.end() {
        i64::MAX => Err(format!("must be {} or more", show(bounds.start()))),
        _ => Err(format!("must be from {} to {}", show(bounds.start()), show(bounds.end()))),
    }
}
