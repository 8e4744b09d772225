//! Keys and values as written, each with the place it was written at, and typed
//! reading with a rule for every value.
//!
//! A [`Reader`] hands out values by key and keeps going after a mistake, so that a
//! person sees all of them at once. Whatever was not asked for by the end is an
//! unknown key. It knows no setting by name: `mod.rs` and `metrics.rs` do.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use toml::de::{DeTable, DeValue};

use crate::config::units;
use crate::domain::time::SpanMs;

/// Longest piece of a value repeated in a message, in characters.
const SHOWN_CHARS_MAX: usize = 60;

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

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// `file:line:column` of the key, the environment variable, or the flag.
    pub place: String,
    /// The value as written, cut to [`SHOWN_CHARS_MAX`].
    pub shown: String,
    pub value: Value,
}

/// What a value can be.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// Text from the environment or a flag: it is whatever the key needs.
    Bare(String),
    /// Dates and numbers out of range: no key takes them.
    Other(&'static str),
}

impl Node {
    /// A value from the environment or from a flag.
    pub fn bare(place: &str, text: &str) -> Node {
        let shown = cut(&format!("{text:?}"));
        Node { place: place.into(), shown, value: Value::Bare(text.into()) }
    }

    /// What kind of value this is, for messages.
    fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) | Value::Bare(_) => "text",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a decimal number",
            Value::Bool(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(kind) => kind,
        }
    }

    fn wrong<T>(&self, wanted: &str) -> Result<T, String> {
        Err(format!("must be {wanted}, this is {}", self.kind()))
    }

    pub fn text(&self, wanted: &str) -> Result<&str, String> {
        match &self.value {
            Value::Text(text) | Value::Bare(text) => Ok(text),
            _ => self.wrong(wanted),
        }
    }

    pub fn integer(&self) -> Result<i64, String> {
        let wanted = "a whole number";
        match &self.value {
            Value::Integer(number) => Ok(*number),
            Value::Bare(text) => text.trim().parse().or_else(|_| self.wrong(wanted)),
            _ => self.wrong(wanted),
        }
    }

    pub fn number(&self) -> Result<f64, String> {
        let wanted = "a number";
        let number = match &self.value {
            Value::Integer(number) => *number as f64,
            Value::Float(number) => *number,
            Value::Bare(text) => text.trim().parse().or_else(|_| self.wrong(wanted))?,
            _ => return self.wrong(wanted),
        };
        if number.is_finite() { Ok(number) } else { Err("must be a finite number".into()) }
    }

    pub fn truth(&self) -> Result<bool, String> {
        let wanted = "true or false";
        match &self.value {
            Value::Bool(truth) => Ok(*truth),
            Value::Bare(text) => text.trim().parse().or_else(|_| self.wrong(wanted)),
            _ => self.wrong(wanted),
        }
    }

    /// A list of texts; in the environment separated by commas.
    pub fn texts(&self) -> Result<Vec<String>, String> {
        let wanted = "a list of texts such as [\"a\", \"b\"]";
        let texts: Vec<String> = match &self.value {
            Value::List(nodes) => {
                let texts = nodes.iter().map(|node| node.text(wanted).map(String::from));
                texts.collect::<Result<_, _>>()?
            }
            Value::Bare(text) if text.trim().is_empty() => Vec::new(),
            Value::Bare(text) => text.split(',').map(|part| part.trim().to_string()).collect(),
            _ => return self.wrong(wanted),
        };
        match texts.iter().any(String::is_empty) {
            true => Err("must not hold an empty text".into()),
            false => Ok(texts),
        }
    }

    /// A table of texts; in the environment `name=value` separated by commas.
    fn pairs(&self) -> Result<Vec<(String, String)>, String> {
        let wanted = "a table of texts such as { code = \"status\" }";
        match &self.value {
            Value::Table(table) => table
                .iter()
                .map(|(key, node)| Ok((key.clone(), node.text(wanted)?.to_string())))
                .collect(),
            Value::Bare(text) if text.trim().is_empty() => Ok(Vec::new()),
            Value::Bare(text) => text
                .split(',')
                .map(|part| match part.split_once('=') {
                    Some((key, value)) => Ok((key.trim().into(), value.trim().into())),
                    None => Err("must be name=value pairs separated by commas".to_string()),
                })
                .collect(),
            _ => self.wrong(wanted),
        }
    }
}

/// Parses a file into a table of nodes.
pub(super) fn parse(file: &str, text: &str) -> Result<BTreeMap<String, Node>, Problem> {
    let source = Source { file, text };
    let table = DeTable::parse(text).map_err(|error| Problem {
        place: source.place(error.span().map_or(0, |span| span.start)),
        key: String::new(),
        value: String::new(),
        rule: format!("not valid TOML: {}", error.message()),
    })?;
    Ok(source.table(table.get_ref()))
}

/// The text a node comes from, to turn offsets into lines.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    /// `file:line:column`, both counted from 1, the column in characters.
    fn place(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        format!("{}:{line}:{column}", self.file)
    }

    fn table(&self, table: &DeTable<'_>) -> BTreeMap<String, Node> {
        let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
            let name: &std::borrow::Cow<'_, str> = key.get_ref();
            (name.to_string(), self.node(key.span().start, value))
        };
        table.iter().map(entry).collect()
    }

    fn node(&self, offset: usize, value: &toml::Spanned<DeValue<'_>>) -> Node {
        let shown = cut(self.text.get(value.span()).unwrap_or(""));
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("a number too great"), Value::Integer),
            DeValue::Float(number) => {
                number.as_str().parse().map_or(Value::Other("a number too great"), Value::Float)
            }
            DeValue::Boolean(truth) => Value::Bool(*truth),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => {
                let nodes = items.iter().map(|item| self.node(item.span().start, item));
                Value::List(nodes.collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { place: self.place(offset), shown, value }
    }
}

fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

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

    pub fn span(
        &mut self,
        key: &'static str,
        default: SpanMs,
        bounds: RangeInclusive<SpanMs>,
    ) -> SpanMs {
        self.read(key, default, |node| span_within(node, bounds))
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

    /// Ends the reading: whatever nobody asked for is unknown.
    pub fn finish(mut self) -> Vec<Problem> {
        let unknown = self.entries.keys().filter(|key| !self.known.contains(&key.as_str()));
        for key in unknown.cloned().collect::<Vec<_>>() {
            let rule = format!("is not a known key; known here: {}", self.neighbours(&key));
            let place = self.entries[&key].place.clone();
            let key = format!("{}{key}", self.prefix);
            self.problems.push(Problem { place, key, value: String::new(), rule });
        }
        self.problems
    }

    /// The known keys of the same section, or the sections when there is none.
    fn neighbours(&self, key: &str) -> String {
        let section = key.split_once('.').map(|(section, _)| section);
        let name_within = |known: &&'static str| match (section, known.split_once('.')) {
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
    let rule = format!("must be one of {}", names.join(", "));
    let text = node.text(&format!("one of {}", names.join(", ")))?;
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
