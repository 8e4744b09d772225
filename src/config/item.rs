//! What `[[metric]]`, `[[rule]]` and `[[pattern]]` have in common: a table of a list, with a name of its own.

use std::collections::BTreeMap;

use super::attributes::Attributes;
use super::conditions::{CONDITIONS_MAX, conditions};
use super::document::{Node, Value};
use super::reader::Reader;
use super::windows::Days;
use crate::domain::keeper::OWN_TOPICS;
use crate::domain::metric::{Condition, Facts};
use crate::domain::pattern::PatternSpec;
use crate::domain::settings::Derived;

/// Longest name of a metric or rule, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What the tables of one list have in common.
pub(super) struct Items<'a> {
    pub reader: &'a mut Reader,
    /// Names that are taken, with the places of their tables.
    pub names: &'a mut Vec<(String, String)>,
    pub days: Days<'a>,
    pub attributes: &'a Attributes<'a>,
    pub steps: &'a [String],
    pub patterns: &'a [PatternSpec],
}

/// One `[[metric]]`, `[[rule]]` or `[[pattern]]` on its way.
pub(super) struct Item<'a> {
    pub reader: Reader,
    pub name: String,
    pub days: Days<'a>,
    pub attributes: &'a Attributes<'a>,
    pub steps: &'a [String],
    pub patterns: &'a [PatternSpec],
}

impl<'a> Items<'a> {
    /// Reads each table with `read`, which gets the item and its number.
    pub fn each<'n, T>(
        &mut self,
        list: &'static str,
        nodes: impl IntoIterator<Item = (usize, &'n Node)>,
        read: impl Fn(&mut Item<'a>, usize) -> T,
    ) -> Vec<T> {
        let mut found = Vec::new();
        for (index, node) in nodes {
            let Value::Table(table) = &node.value else {
                self.reader.problem(list, format!("must be written as [[{list}]]"));
                continue;
            };
            let mut item = self.item(list, index, node, table.clone());
            found.push(read(&mut item, index));
            self.reader.problems.extend(item.reader.finish());
        }
        found
    }

    fn item(
        &mut self,
        list: &str,
        index: usize,
        node: &Node,
        table: BTreeMap<String, Node>,
    ) -> Item<'a> {
        let label = match table.get("name").map(|name| &name.value) {
            Some(Value::Text(name)) => name.clone(),
            _ => (index + 1).to_string(),
        };
        let mut reader = Reader::new(format!("{list}.{label}."), node.place.clone(), table);
        let name = reader
            .required("name", "name = \"...\"", |node| checked_name(node.text("text in quotes")?));
        if !name.is_empty() {
            if let Some((_, place)) = self.names.iter().find(|(taken, _)| *taken == name) {
                reader.problem("name", format!("is taken by the {place}"));
            }
            self.names.push((name.clone(), format!("{list} at {}", node.place)));
        }
        let Items { days, attributes, steps, patterns, .. } = *self;
        Item { reader, name, days, attributes, steps, patterns }
    }
}

fn checked_name(name: &str) -> Result<String, String> {
    let first = name.starts_with(|first: char| first.is_ascii_lowercase());
    let rest = |other: char| other.is_ascii_lowercase() || other.is_ascii_digit() || other == '_';
    if !first || !name.chars().all(rest) || name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "must be a lower-case letter, then letters, digits or _, at most {NAME_BYTES_MAX}"
        ));
    }
    if OWN_TOPICS.contains(&name) {
        Err("is the name of a built-in topic".into())
    } else {
        Ok(name.to_string())
    }
}

impl Item<'_> {
    /// Its title; by default made from its name.
    pub fn title(&self, written: Derived<String>) -> String {
        written.0.unwrap_or_else(|| {
            let mut title = self.name.replace('_', " ");
            if let Some(first) = title.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            title
        })
    }

    /// The conditions under `key`.
    pub fn conditions(&mut self, key: &'static str, of: Facts) -> Vec<Condition> {
        let attributes = self.attributes;
        let conditions = self.reader.read(key, Vec::new(), |node| conditions(node, of, attributes));
        if conditions.len() > CONDITIONS_MAX {
            let rule = format!("must hold at most {CONDITIONS_MAX} conditions");
            self.reader.problem(key, rule);
        }
        conditions
    }
}
