//! A look at the state of a data folder that changes nothing: for `tidewatch check`.
//!
//! A server may be running: it writes on, and what is seen is one of its commits. Nothing is
//! made, locked or cleaned up.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::folder::STATE;
use super::snapshot;
use super::sqlite::{DbFile, suffixed};
use super::tables::{LAYOUT, read_head};
use crate::actors::ports::StoreError;
use crate::domain::commit::{ENTRIES, Snapshot};

/// What is seen of a data folder.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// There is no such folder.
    NoFolder,
    /// There is no state in it, or none with a commit.
    Nothing,
    /// The last commit.
    Commit {
        /// Its number.
        epoch: u64,
        /// The keeper's small state, name and JSON of each entry.
        entries: BTreeMap<String, Value>,
    },
}

/// Looks at the state of a data folder.
///
/// # Errors
/// When it is damaged, of another format, or cannot be read.
pub fn look(folder: &Path) -> Result<Seen, StoreError> {
    let db = DbFile::new(folder.join(STATE), &LAYOUT);
    if !folder.try_exists().map_err(|error| db.io(error))? {
        return Ok(Seen::NoFolder);
    }
    if !folder.join(STATE).try_exists().map_err(|error| db.io(error))? {
        return Ok(Seen::Nothing);
    }
    // Without a write-ahead log nobody uses the file. SQLite would make one to read it, unless
    // it is told that nothing changes; a server that started meanwhile has made one.
    let wal = suffixed(&folder.join(STATE), "-wal");
    let used = || fs::metadata(&wal).is_ok();
    if !used() {
        let seen = read(&db, true);
        if !used() {
            return seen;
        }
    }
    read(&db, false)
}

fn read(db: &DbFile, unchanging: bool) -> Result<Seen, StoreError> {
    let conn = db.open_to_read(unchanging)?;
    let error = |error| db.error(error);
    // All of it as of one moment: rows leave when a snapshot was made.
    let tx = conn.unchecked_transaction().map_err(error)?;
    let head = match read_head(&tx, db)? {
        Some(head) if head.epoch > 0 => head,
        _ => return Ok(Seen::Nothing),
    };
    let mut small = Snapshot::default();
    for section in snapshot::sections_of(&tx, db, &head, ENTRIES)? {
        small.absorb(&section).map_err(|error| db.damaged(error.to_string()))?;
    }
    Ok(Seen::Commit { epoch: head.epoch, entries: small.entries })
}

impl DbFile {
    /// Opens the existing file to read it, and checks that it is ours. `unchanging`: nobody
    /// writes, and there is no write-ahead log.
    fn open_to_read(&self, unchanging: bool) -> Result<Connection, StoreError> {
        self.check_length()?;
        let mut flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut name = self.name();
        if unchanging {
            flags |= OpenFlags::SQLITE_OPEN_URI;
            name = format!("file:{}?immutable=1", escaped(&name));
        }
        let conn = Connection::open_with_flags(name, flags).map_err(|error| self.error(error))?;
        conn.busy_timeout(super::sqlite::BUSY).map_err(|error| self.error(error))?;
        self.check_format(&conn)?;
        Ok(conn)
    }
}

/// A path in a URI.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => out.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
