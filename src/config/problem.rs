//! A mistake in the configuration.

use std::fmt;

/// One mistake in the configuration: where, what, and the rule it breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `file:line:column`, the environment variable, or the flag.
    pub place: String,
    /// The key with its section, `session.gap`; empty when the file is not TOML.
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
