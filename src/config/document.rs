//! A file as nodes: values with the places they were written at. Knows TOML and nothing
//! of what is set. `reader.rs` reads keys from it.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// Longest piece of a value repeated in a message, in characters.
const SHOWN_CHARS_MAX: usize = 60;

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
        if texts.iter().any(String::is_empty) {
            Err("must not hold an empty text".into())
        } else {
            Ok(texts)
        }
    }

    /// A list of numbers; in the environment separated by commas.
    pub fn numbers(&self) -> Result<Vec<f64>, String> {
        match &self.value {
            Value::List(nodes) => nodes.iter().map(Node::number).collect(),
            Value::Bare(text) => {
                text.split(',').map(|part| Node::bare(&self.place, part).number()).collect()
            }
            _ => self.wrong("a list of numbers such as [1, 2.5]"),
        }
    }

    /// A table of texts; in the environment `name=value` separated by commas.
    pub fn pairs(&self) -> Result<Vec<(String, String)>, String> {
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
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        let hint = match (error.message(), text.get(span.clone())) {
            ("duplicate key", Some(key)) => format!(": {key} is set twice"),
            (message, _) if message.contains("must be quoted") => {
                ": texts, durations and sizes stand in quotes, as \"30m\" and \"64KiB\" do".into()
            }
            _ => String::new(),
        };
        let rule = format!("not valid TOML: {}{hint}", error.message());
        let (key, value) = (String::new(), String::new());
        Problem { place: source.place(span.start), key, value, rule }
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
