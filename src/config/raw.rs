//! Typed reading of keys, with a rule for every value.
//!
//! A [`Reader`] hands out values by key and keeps going after a mistake, so that a
//! person sees all of them at once. Whatever was not asked for by the end is an
//! unknown key. It knows no setting by name: `mod.rs` and `metrics.rs` do.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use super::document::{Node, Value};
use super::near;
use super::units;
use crate::domain::time::SpanMs;

/// One mistake in the configuration: where, what, and the rule it breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `file:line:column`, the environment variable, or the flag.
    pub place: String,
    /// The key with its section, `session.gap`; empty when the file is no TOML.
    pub key: String,
    /// The value as written; empty when there is none.
    pub value: String,
    /// What is wrong with it, and what would be right.
    pub rule: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.as_str(), self.value.as_str()) {
            ("", _) => write!(out, "{}: {}", self.place, self.rule),
            (key, "") => write!(out, "{}: {key}: {}", self.place, self.rule),
            (key, value) => write!(out, "{}: {key} = {value}: {}", self.place, self.rule),
        }
    }
}

/// What stands in a message for a value that must not be seen.
const HIDDEN: &str = "(not shown)";

/// Typed reading of one set of keys.
#[derive(Debug)]
pub(super) struct Reader {
    /// Put before a key in messages: `metric.revenue.`.
    prefix: String,
    /// Where the set itself stands, for keys that are missing.
    place: String,
    entries: BTreeMap<String, Node>,
    /// Keys asked for so far.
    pub known: Vec<&'static str>,
    pub problems: Vec<Problem>,
}

impl Reader {
    pub fn new(prefix: String, place: String, entries: BTreeMap<String, Node>) -> Self {
        Reader { prefix, place, entries, known: Vec::new(), problems: Vec::new() }
    }

    /// Puts a value above whatever was there: the environment over the file, a flag over both.
    pub fn overlay(&mut self, key: &str, node: Node) {
        self.entries.insert(key.into(), node);
    }

    /// True when `key` was written somewhere.
    pub fn is_set(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Reads one value through `parse`; on a mistake notes it and goes on with `default`.
    pub fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> T {
        self.known.push(key);
        match self.entries.get(key).map(parse) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(rule)) => {
                self.problem(key, rule);
                default
            }
        }
    }

    /// A value that must be there.
    pub fn required<T: Default>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> T {
        if !self.is_set(key) {
            self.problem(key, format!("is missing: write {example}"));
        }
        self.read(key, T::default(), parse)
    }

    pub fn text(&mut self, key: &'static str, default: &str) -> String {
        self.read(key, default.to_string(), |node| Ok(node.text("text in quotes")?.to_string()))
    }

    /// A text that no message repeats.
    pub fn secret(&mut self, key: &'static str) -> String {
        if let Some(node) = self.entries.get_mut(key) {
            node.shown = HIDDEN.into();
        }
        self.text(key, "")
    }

    /// Lets no message repeat the value of `key` when it has `sign` in it.
    pub fn hide_where(&mut self, key: &str, sign: char) {
        if let Some(node) = self.entries.get_mut(key).filter(|node| node.shown.contains(sign)) {
            node.shown = HIDDEN.into();
        }
    }

    pub fn span(
        &mut self,
        key: &'static str,
        default: SpanMs,
        bounds: RangeInclusive<SpanMs>,
    ) -> SpanMs {
        self.read(key, default, |node| span_within(node, bounds))
    }

    /// A duration, or `"auto"`, which is `None`.
    pub fn span_or_auto(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<SpanMs>,
    ) -> Option<SpanMs> {
        self.read(key, None, |node| match node.text("\"auto\" or a duration in quotes")? {
            "auto" => Ok(None),
            _ => span_within(node, bounds).map(Some),
        })
    }

    pub fn size(
        &mut self,
        key: &'static str,
        default: usize,
        bounds: RangeInclusive<u64>,
    ) -> usize {
        self.read(key, default, |node| {
            let bytes = units::parse_size(node.text("a size in quotes such as \"64KiB\"")?)?;
            within(bytes, &bounds, |bytes| units::show_size(*bytes)).map(|bytes| bytes as usize)
        })
    }

    pub fn count(
        &mut self,
        key: &'static str,
        default: usize,
        bounds: RangeInclusive<i64>,
    ) -> usize {
        self.read(key, default, |node| {
            within(node.integer()?, &bounds, i64::to_string).map(|count| count as usize)
        })
    }

    pub fn truth(&mut self, key: &'static str, default: bool) -> bool {
        self.read(key, default, Node::truth)
    }

    pub fn texts(&mut self, key: &'static str, default: &[String]) -> Vec<String> {
        self.read(key, default.to_vec(), Node::texts)
    }

    pub fn pairs(
        &mut self,
        key: &'static str,
        default: &[(String, String)],
    ) -> Vec<(String, String)> {
        self.read(key, default.to_vec(), Node::pairs)
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        self.read(key, default, |node| choose(node, words))
    }

    /// The tables under `[[key]]`, or `None` when there is no such key.
    pub fn tables(&mut self, key: &'static str) -> Option<Vec<Node>> {
        self.read(key, None, |node| match &node.value {
            Value::List(nodes) => Ok(Some(nodes.clone())),
            _ => Err(format!("must be written as [[{key}]], once for each {key}")),
        })
    }

    /// Notes a mistake in `key`.
    pub fn problem(&mut self, key: &str, rule: impl Into<String>) {
        self.conflict(&[key], rule);
    }

    /// Notes a mistake that several keys make together, at the first one that is written.
    pub fn conflict(&mut self, keys: &[&str], rule: impl Into<String>) {
        let written = keys.iter().find_map(|key| Some((*key, self.entries.get(*key)?)));
        let first = keys.first().copied().unwrap_or("");
        let (key, place, value) = match written {
            Some((key, node)) => (key, node.place.clone(), node.shown.clone()),
            None => (first, self.place.clone(), String::new()),
        };
        let key = format!("{}{key}", self.prefix);
        self.problems.push(Problem { place, key, value, rule: rule.into() });
    }

    /// A key that there was once: whoever still sets it hears why it is gone.
    pub fn gone(&mut self, key: &str, why: &str) {
        if let Some(node) = self.entries.remove(key) {
            let key = format!("{}{key}", self.prefix);
            let rule = format!("is not a key any more: {why}");
            self.problems.push(Problem { place: node.place, key, value: node.shown, rule });
        }
    }

    /// Ends the reading: whatever nobody asked for is unknown.
    pub fn finish(mut self) -> Vec<Problem> {
        let unknown = self.entries.keys().filter(|key| !self.known.contains(&key.as_str()));
        for key in unknown.cloned().collect::<Vec<_>>() {
            let known = self.known.iter().copied();
            let hint = near::nearest(&key, known)
                .map_or_else(String::new, |near| format!("; did you mean {near}?"));
            let rule = format!("is not a known key; known here: {}{hint}", self.neighbours(&key));
            let place = self.entries[&key].place.clone();
            let key = format!("{}{key}", self.prefix);
            self.problems.push(Problem { place, key, value: String::new(), rule });
        }
        self.problems
    }

    /// The known keys of the same section, or the sections when there is none.
    fn neighbours(&self, key: &str) -> String {
        let section = key.rsplit_once('.').map(|(section, _)| section);
        let name_within = |known: &&'static str| match (section, known.rsplit_once('.')) {
            (Some(section), Some((same, name))) if same == section => Some(name),
            _ => None,
        };
        let outermost = |known: &&'static str| known.split('.').next();
        let mut names: Vec<&str> = self.known.iter().filter_map(name_within).collect();
        if names.is_empty() {
            names = self.known.iter().filter_map(outermost).collect();
        }
        let mut seen = Vec::new();
        names.retain(|name| {
            !seen.contains(name) && {
                seen.push(*name);
                true
            }
        });
        names.join(", ")
    }
}

/// A duration within bounds.
pub(super) fn span_within(node: &Node, bounds: RangeInclusive<SpanMs>) -> Result<SpanMs, String> {
    let span = units::parse_span(node.text("a duration in quotes such as \"30m\"")?)?;
    within(span, &bounds, |span| format!("\"{}\"", units::show_span(*span)))
}

/// One of a few words.
pub(super) fn choose<T: Copy>(node: &Node, words: &[(&str, T)]) -> Result<T, String> {
    let names: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    let text = node.text(&format!("one of {}", names.join(", ")))?;
    let hint = near::hint(text, words.iter().map(|(word, _)| *word));
    let rule = format!("must be one of {}{hint}", names.join(", "));
    words.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice).ok_or(rule)
}

fn within<T: PartialOrd>(
    value: T,
    bounds: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Result<T, String> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    Err(format!("must be from {} to {}", show(bounds.start()), show(bounds.end())))
}
