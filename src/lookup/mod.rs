//! Tables beside the stream: where their rows lie ([`Source`]), what makes a table of them (`rows`), and
//! the copy of what was taken ([`kept`]).
//!
//! A kind of source is a file here or in the part whose connection it uses: its keys, which are its
//! [`Kind`], and its reading. Its line in the list of `config/lookups.rs` is all that is besides.

mod file;
mod http;
pub mod kept;
mod rows;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_connection::LinkSettings;

use crate::domain::event::Table;
use crate::domain::settings::{Key, Section, Value};

pub use file::FileKeys;
pub use http::HttpKeys;
#[cfg(feature = "nats")]
pub use rows::{Rows, TOO_LARGE};

/// Where the rows of a table lie. Reading blocks, for a bounded time.
pub trait Source: Debug + Send + Sync {
    /// All rows as they are now; `None` while they are those of the version `since`.
    ///
    /// # Errors
    /// Why there are none; the subject of the sentence is what the source is called by.
    fn read(&self, wanted: &Wanted, since: Option<&str>) -> Result<Option<Read>, String>;

    /// Whether it may be away while all here is well. A copy of what was taken of it is kept then, and
    /// a start does not wait for it.
    fn is_far(&self) -> bool;
}

/// What is wanted of the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The attribute of events that is looked up.
    pub key: String,
    /// The column that it is looked up in; `None` for the names of rows that have some, and for the
    /// column called like `key` of those that have none.
    pub column: Option<String>,
    /// The columns whose cells are kept, in this order.
    pub cells: Vec<String>,
    /// Most bytes of all rows as they come.
    pub bytes_max: usize,
    /// Longest wait for all of them.
    pub timeout: Duration,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Read {
    /// Tells it from what is there later: a change makes another one. "" where the source does not say.
    pub version: String,
    /// The rows, with a cell for each column wanted.
    pub table: Table,
}

/// What is wrong with a key of a kind of source.
#[derive(Debug)]
pub struct Wrong {
    /// The key.
    pub key: &'static str,
    /// The rule that it breaks.
    pub rule: String,
}

impl Wrong {
    /// The rule that a key breaks.
    pub fn of(key: &'static str, rule: impl Into<String>) -> Wrong {
        Wrong { key, rule: rule.into() }
    }
}

/// The keys of a kind of source.
pub trait Kind: Section + Send + Sync {
    /// The key that a table of this kind has, and no other.
    fn choice(&self) -> &'static str;

    /// Whether that is set.
    fn is_chosen(&self) -> bool;

    /// What they say to read. Nothing is read or connected to yet. `nats`: the connection of `[nats]`.
    ///
    /// # Errors
    /// The first key that cannot be used.
    fn open(&self, nats: Option<&LinkSettings>) -> Result<Arc<dyn Source>, Wrong>;
}

impl Section for Box<dyn Kind> {
    fn keys(&self) -> &'static [Key] {
        (**self).keys()
    }

    fn values(&self) -> Vec<Value> {
        (**self).values()
    }

    fn set(&mut self, path: &str, value: Value) -> bool {
        (**self).set(path, value)
    }
}
