//! Why a mapping was refused.

use thiserror::Error;

/// Why a mapping was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MappingError {
    /// It is not TOML of the known form; the text names line and column.
    #[error("{0}")]
    Form(String),
    /// It says something that cannot be meant.
    #[error("{}{key}: {rule}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
    Rule {
        /// Line of the key, where it can be told.
        line: Option<usize>,
        /// The key.
        key: String,
        /// The rule that it breaks.
        rule: String,
    },
}

/// A key that breaks a rule.
#[derive(Debug)]
pub(super) struct Broken {
    pub key: String,
    pub rule: String,
}

impl Broken {
    pub fn new(key: impl Into<String>, rule: impl Into<String>) -> Self {
        Broken { key: key.into(), rule: rule.into() }
    }
}
