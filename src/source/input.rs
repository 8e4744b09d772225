//! An input that is open, and why one could not be opened.

use std::fs::File;
use std::io;

use thiserror::Error;

use super::tally::FileReport;
use crate::actors::ports::SourceError;

/// Why a replay cannot begin.
#[derive(Debug, Error)]
pub enum OpenError {
    /// An input cannot be read.
    #[error("cannot read {name}: {cause}")]
    Read {
        /// The input.
        name: String,
        /// The system's words.
        cause: String,
    },
    /// A temporary file cannot be written.
    #[error("cannot write a temporary file in {folder}: {cause}")]
    Temporary {
        /// Where it would lie.
        folder: String,
        /// The system's words.
        cause: String,
    },
    /// The input is of another form than what is said of it, or of none that can be read.
    #[error("{name} {what}")]
    Form {
        /// The input.
        name: String,
        /// What it is, and what to do.
        what: String,
    },
    /// The mapping names a column that is not there.
    #[error("{name} has no column {column:?}, which the mapping uses; it has {present}{hint}")]
    NoSuchColumn {
        /// The input.
        name: String,
        /// The column.
        column: String,
        /// The columns that are there.
        present: String,
        /// What may have been meant.
        hint: String,
    },
    /// The mapping makes no event of any of the first rows.
    #[error(
        "{name}: none of the first {rows} rows becomes an event: {reasons}. Mend the map \
         (`tidewatch map FILE` proposes one), or go on all the same with --keep-going"
    )]
    NothingFits {
        /// The input.
        name: String,
        /// Rows that were tried.
        rows: u64,
        /// Why, the most frequent first.
        reasons: String,
    },
    /// More inputs than can be told apart.
    #[error("{count} inputs are more than {max}")]
    TooMany {
        /// Inputs given.
        count: usize,
        /// Inputs allowed.
        max: usize,
    },
}

impl OpenError {
    pub(super) fn read(name: &str, cause: &impl ToString) -> Self {
        OpenError::Read { name: name.to_owned(), cause: cause.to_string() }
    }

    pub(super) fn temporary(cause: &impl ToString) -> Self {
        let folder = std::env::temp_dir().display().to_string();
        OpenError::Temporary { folder, cause: cause.to_string() }
    }
}

/// How records lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// A line each, ended by this byte.
    Lines(u8),
    /// Each behind a header with its length, so that it may hold any byte.
    Framed,
}

/// An input, ready to be read as native events at any place.
#[derive(Debug)]
pub struct Input {
    pub(super) name: String,
    pub(super) file: File,
    pub(super) len: u64,
    /// Where the content begins, behind a byte order mark.
    pub(super) start: u64,
    pub(super) framing: Framing,
    /// What was found in it.
    pub(super) report: FileReport,
}

impl Input {
    pub(super) fn failed(&self, error: &io::Error) -> SourceError {
        SourceError::Read { what: self.name.clone(), cause: error.to_string() }
    }
}
