//! How the rows of a file become events: a small TOML file, documented in `docs/mapping.md`.
//!
//! - `document`: what can be written, as it stands
//! - `field`: one attribute of an event, checked, and how it is made of cells
//! - `condition`: which rows, and which of them for an attribute
//!
//! Nothing here reads files.

mod cell;
mod condition;
mod document;
mod error;
mod field;

use encoding_rs::Encoding;

pub(super) use cell::Cell;
pub(super) use condition::Condition;
pub(super) use document::Format;
use error::Broken;
pub use error::MappingError;
pub(super) use field::{Field, Made, quoted};

use crate::domain::time::EpochMs;

/// A mapping, checked.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// As it was written: part of the identity of what is read by it.
    text: String,
    pub(super) format: Format,
    /// What the bytes are where the file itself does not say it by a mark.
    pub(super) encoding: Option<&'static Encoding>,
    /// Lines that begin with this are comments.
    pub(super) comment: Option<String>,
    /// Lines that stand before the first row or the names of the columns.
    pub(super) skip_lines: u64,
    pub(super) drop_ts_below: Option<EpochMs>,
    /// All of them must hold, or the row is left out.
    pub(super) keep: Vec<Condition>,
    /// None of them may hold, or the row is left out.
    pub(super) drop: Vec<Condition>,
    /// Columns that are used, each once.
    pub(super) wanted: Vec<String>,
    /// For each of `wanted`: true when the map does without it.
    pub(super) spare: Vec<bool>,
    /// In the order in which they are written: time and type first.
    pub(super) fields: Vec<Field>,
}

impl Mapping {
    /// Reads a mapping.
    ///
    /// # Errors
    /// When a key is unknown, a required one is missing, or two do not go together.
    pub fn parse(text: &str) -> Result<Self, MappingError> {
        let document = document::read(text)?;
        Mapping::checked(text, document).map_err(|broken| {
            let line = line_of(text, &broken.key);
            MappingError::Rule { line, key: broken.key, rule: broken.rule }
        })
    }

    fn checked(text: &str, document: document::Document) -> Result<Self, Broken> {
        let mut mapping = Mapping {
            text: text.to_owned(),
            format: document.format()?,
            encoding: document.encoding()?,
            comment: document.comment.clone().filter(|comment| !comment.is_empty()),
            skip_lines: document.skip_lines.unwrap_or(0),
            drop_ts_below: document.drop_ts_below_ms,
            keep: Vec::new(),
            drop: Vec::new(),
            wanted: Vec::new(),
            spare: Vec::new(),
            fields: Vec::new(),
        };
        for required in ["ts", "type"] {
            if !document.fields.contains_key(required) {
                let near = super::tally::nearest(
                    required,
                    document.fields.keys().map(String::as_str).filter(|key| {
                        ["timestamp", "time", "date", "event", "kind", "ts", "type"]
                            .contains(&key.to_ascii_lowercase().as_str())
                    }),
                );
                let hint = near.map_or(String::new(), |near| format!("; {near:?} is another one"));
                let key = format!("fields.{required}");
                return Err(Broken { key, rule: format!("every event needs it{hint}") });
            }
        }
        let absent = document.absent.clone();
        for (key, conditions, list) in
            [("keep", document.keep, true), ("drop", document.drop, false)]
        {
            for condition in conditions.0 {
                let condition = Condition::checked(key, condition, &mut |c| mapping.column(c))?;
                if list { &mut mapping.keep } else { &mut mapping.drop }.push(condition);
            }
        }
        for (attribute, choices) in document.fields {
            let field = Field::checked(attribute, choices.0, absent.as_deref(), &mut |c| {
                mapping.column(c)
            })?;
            mapping.fields.push(field);
        }
        mapping.fields.sort_by_key(|field| match field.attribute.as_str() {
            "ts" => 0,
            "type" => 1,
            _ => 2,
        });
        mapping.spare = vec![false; mapping.wanted.len()];
        for field in mapping.fields.iter().filter(|field| field.choices.len() > 1) {
            for column in field.choices.iter().flat_map(|choice| &choice.columns) {
                let elsewhere = mapping.fields.iter().filter(|field| field.choices.len() == 1);
                let mut others = elsewhere.flat_map(|field| &field.choices[0].columns);
                mapping.spare[*column] = !others.any(|other| other == column);
            }
        }
        Ok(mapping)
    }

    /// The mapping for lines of a web server's log, common or combined form: `user` is
    /// the host, `type` is `http_request`, with `method`, `path`, `status` and `bytes`.
    pub fn combined() -> Self {
        Mapping::parse(include_str!("../maps/combined.toml")).expect("a test parses this constant")
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Index of a column in `wanted`.
    fn column(&mut self, name: String) -> usize {
        self.wanted.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.wanted.push(name);
            self.wanted.len() - 1
        })
    }
}

/// The line on which a key stands: the first that sets its last part.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let leaf = key.rsplit('.').next().unwrap_or(key);
    let sets = |line: &str| {
        let name = line.split(['=', '.']).map(|part| part.trim().trim_matches(['"', '\'']));
        line.contains('=') && name.take(2).any(|name| name == leaf)
    };
    text.lines().position(sets).map(|line| line + 1)
}

#[cfg(test)]
mod tests;
