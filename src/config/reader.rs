//! Typed reading of keys, with a rule for every value.
//!
//! A [`Reader`] hands out values by key and keeps going after a mistake, so that a
//! person sees all of them at once. Whatever was not asked for by the end is an
//! unknown key. It knows no key by name: tables of keys (`domain::settings`) say what there
//! is, and `values.rs` what a value must look like.

use std::collections::BTreeMap;

use super::document::{Node, Value};
use super::problem::Problem;
use super::values::{self, HIDDEN};
use crate::domain::near;
use crate::domain::settings::{self, Rule, Section};

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
        self.need(key, example);
        self.read(key, T::default(), parse)
    }

    /// Reads all keys of a section over what they are set to already.
    pub fn section<S: Section>(&mut self, mut section: S) -> S {
        for (key, default) in settings::entries(&section).collect::<Vec<_>>() {
            if matches!(key.rule, Rule::Shape) {
                self.known.push(key.path);
                continue;
            }
            if let Some(node) = self.entries.get_mut(key.path)
                && let Some(told) = values::told(&key.rule, node)
            {
                node.shown = told;
            }
            let value = self.read(key.path, default, |node| values::read(&key.rule, node));
            if !section.set(key.path, value) {
                self.problem(key.path, "cannot be used");
            }
        }
        section
    }

    /// Notes that a key which must be written was not.
    pub fn need(&mut self, key: &str, example: &str) {
        if !self.is_set(key) {
            self.problem(key, format!("is missing: write {example}"));
        }
    }

    /// Lets no message repeat the value of `key` when it has `sign` in it.
    pub fn hide_where(&mut self, key: &str, sign: char) {
        if let Some(node) = self.entries.get_mut(key).filter(|node| node.shown.contains(sign)) {
            node.shown = HIDDEN.into();
        }
    }

    /// The tables under `[[key]]`, or `None` when there is no such key.
    pub fn tables(&mut self, key: &'static str) -> Option<Vec<Node>> {
        self.read(key, None, |node| match &node.value {
            Value::List(nodes) => Ok(Some(nodes.clone())),
            _ => Err(format!("must be written as [[{key}]], a table for each")),
        })
    }

    /// Of several sections one was read, `own`, whose name is the value of `choice`: keys of the
    /// others are a mistake.
    pub fn only_of<'a>(
        &mut self,
        choice: &str,
        own: &dyn Section,
        all: impl Iterator<Item = (&'static str, &'a dyn Section)> + Clone,
    ) {
        let has = |one: &dyn Section, path| one.keys().iter().any(|key| key.path == path);
        for path in all.clone().flat_map(|(_, one)| one.keys()).map(|key| key.path) {
            let foreign = !has(own, path) && !self.known.contains(&path) && self.is_set(path);
            if foreign && !self.is_wrong(choice) {
                let owners = all.clone().filter(|(_, one)| has(*one, path));
                let words: Vec<String> = owners.map(|(word, _)| format!("{word:?}")).collect();
                let rule = format!("only belongs to {choice} = {}", words.join(" or "));
                self.problem(path, rule);
            }
            self.known.push(path);
        }
    }

    /// Notes a mistake in `key`.
    pub fn problem(&mut self, key: &str, rule: impl Into<String>) {
        self.conflict(&[key], rule);
    }

    /// True when a mistake in `key` was noted.
    pub fn is_wrong(&self, key: &str) -> bool {
        let key = format!("{}{key}", self.prefix);
        self.problems.iter().any(|problem| problem.key == key)
    }

    /// Notes a mistake that several keys make together, at the first one that is written. What
    /// follows from a mistake that is noted already is none.
    pub fn conflict(&mut self, keys: &[&str], rule: impl Into<String>) {
        if keys.iter().any(|key| self.is_wrong(key)) {
            return;
        }
        let written = keys.iter().find_map(|key| Some((*key, self.entries.get(*key)?)));
        let first = keys.first().copied().unwrap_or("");
        let (key, place, value) = match written {
            Some((key, node)) => (key, node.place.clone(), node.shown.clone()),
            None => (first, self.place.clone(), String::new()),
        };
        let key = format!("{}{key}", self.prefix);
        self.problems.push(Problem { place, key, value, rule: rule.into() });
    }

    /// Notes a mistake in an entry of the table under `key`.
    pub fn problem_within(&mut self, key: &str, entry: &str, rule: impl Into<String>) {
        let (place, value) = match self.entries.get(key) {
            Some(Node { value: Value::Table(table), place, .. }) => match table.get(entry) {
                Some(node) => (node.place.clone(), node.shown.clone()),
                None => (place.clone(), String::new()),
            },
            Some(node) => (node.place.clone(), node.shown.clone()),
            None => (self.place.clone(), String::new()),
        };
        let key = format!("{}{key}.{entry}", self.prefix);
        self.problems.push(Problem { place, key, value, rule: rule.into() });
    }

    /// Notes a mistake in a key of the table of this name in a list.
    pub fn problem_of(&mut self, list: &str, name: &str, key: &str, rule: impl Into<String>) {
        let called = |node: &&Node| match &node.value {
            Value::Table(keys) => keys.get("name").is_some_and(|own| own.text("") == Ok(name)),
            _ => false,
        };
        let (mut place, mut value) = (self.place.clone(), String::new());
        if let Some(Node { value: Value::List(all), .. }) = self.entries.get(list)
            && let Some(Node { value: Value::Table(keys), .. }) = all.iter().find(called)
            && let Some(node) = keys.get(key)
        {
            (place, value) = (node.place.clone(), node.shown.clone());
        }
        let key = format!("{list}.{name}.{key}");
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
            let rule = self.unknown(&key);
            let place = self.entries[&key].place.clone();
            let key = format!("{}{key}", self.prefix);
            self.problems.push(Problem { place, key, value: String::new(), rule });
        }
        self.problems
    }

    /// What to say of a key that nobody knows.
    fn unknown(&self, key: &str) -> String {
        let sections = self.known.iter().filter_map(|known| Some(known.rsplit_once('.')?.0));
        if let Some(section) = sections.clone().find(|section| *section == key) {
            return format!("is a section: write [{section}], and its keys below");
        }
        let tail = format!(".{key}");
        let elsewhere = || self.known.iter().copied().find(|known| known.ends_with(&tail));
        let near = near::nearest(key, self.known.iter().copied()).or_else(elsewhere);
        if let Some(near) = near.or_else(|| near::nearest(key, sections)) {
            return format!("is not a known key; did you mean {near}?");
        }
        format!("is not a known key; known here: {}", self.neighbours(key))
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
