//! Conditions on a row: which rows are kept, and when an attribute is made of a column.

use regex::Regex;

use super::cell::Cell;
use super::document::{ConditionSpec, OneOrMore};
use super::error::Broken;

/// A condition on one column. All of what it names must hold.
#[derive(Clone, Debug)]
pub(in crate::source) struct Condition {
    column: usize,
    is: Option<Vec<String>>,
    not: Vec<String>,
    pattern: Option<Regex>,
    present: Option<bool>,
    min: Option<f64>,
    max: Option<f64>,
}

impl Condition {
    pub(super) fn checked(
        key: &str,
        spec: ConditionSpec,
        column: &mut dyn FnMut(String) -> usize,
    ) -> Result<Self, Broken> {
        let empty = spec.is.is_none()
            && spec.not.is_none()
            && spec.pattern.is_none()
            && spec.present.is_none()
            && spec.min.is_none()
            && spec.max.is_none();
        if empty {
            return Err(Broken::new(
                key,
                "says nothing of the column: write is, not, match, present, min or max",
            ));
        }
        Ok(Condition {
            column: column(spec.column),
            is: spec.is.map(|is| texts(key, is)).transpose()?,
            not: spec.not.map(|not| texts(key, not)).transpose()?.unwrap_or_default(),
            pattern: spec.pattern.map(|text| pattern(key, &text)).transpose()?,
            present: spec.present,
            min: spec.min,
            max: spec.max,
        })
    }

    /// Whether it holds for a row. An absent cell is nothing, so it is not a listed text.
    pub fn holds(&self, cells: &[Option<Cell<'_>>]) -> bool {
        let text = cells[self.column].as_ref().map(Cell::text).filter(|text| !text.is_empty());
        if self.present.is_some_and(|present| present != text.is_some()) {
            return false;
        }
        if let Some(is) = &self.is
            && !text.is_some_and(|text| is.iter().any(|one| one == text))
        {
            return false;
        }
        if text.is_some_and(|text| self.not.iter().any(|one| one == text)) {
            return false;
        }
        if let Some(pattern) = &self.pattern
            && !text.is_some_and(|text| pattern.is_match(text))
        {
            return false;
        }
        let number = || text.and_then(|text| text.trim().parse::<f64>().ok());
        self.min.is_none_or(|min| number().is_some_and(|number| number >= min))
            && self.max.is_none_or(|max| number().is_some_and(|number| number <= max))
    }
}

/// A regular expression of a map.
pub(super) fn pattern(key: &str, text: &str) -> Result<Regex, Broken> {
    Regex::new(text).map_err(|error| {
        let error = error.to_string();
        let last = error.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
        Broken::new(key, format!("match = {text:?} is not a regular expression: {last}"))
    })
}

fn texts(key: &str, values: OneOrMore<toml::Value>) -> Result<Vec<String>, Broken> {
    let text = |value: toml::Value| match value {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(flag) => Ok(flag.to_string()),
        _ => Err(Broken::new(key, "is and not take a text or a number, or a list of these")),
    };
    values.0.into_iter().map(text).collect()
}
