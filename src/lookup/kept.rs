//! The copy of a table that was taken, in the data folder: a start goes on by it, whether its source
//! answers or not.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidewatch_outside::file::replace;

use super::Read;
use crate::domain::event::Table;
use crate::domain::hash::fingerprint;

/// Where in the data folder.
const FOLDER: &str = "lookups";

#[derive(Serialize, Deserialize)]
struct Copy<Rows> {
    /// What it was read of, and what was wanted of it.
    of: String,
    version: String,
    rows: Rows,
}

fn path(data: &Path, name: &str) -> PathBuf {
    data.join(FOLDER).join(format!("{name}.json"))
}

/// What was taken of `of`, if that is what the copy is of; `None` where there is none, and for one that is
/// damaged: it is read from its source again then.
pub fn load(data: &Path, name: &str, of: &str) -> Option<Read> {
    let bytes = fs::read(path(data, name)).ok()?;
    let (sum, text) = bytes.split_at_checked(17)?;
    if sum != format!("{:016x}\n", fingerprint(text)).as_bytes() {
        return None;
    }
    let copy: Copy<Vec<(String, Vec<String>)>> = serde_json::from_slice(text).ok()?;
    let mut table = Table::default();
    for (key, cells) in &copy.rows {
        table.insert(key, cells.iter().map(String::as_str));
    }
    (copy.of == of).then_some(Read { version: copy.version, table })
}

/// Writes a copy, durably: after a loss of power it is this one or the one before.
///
/// # Errors
/// When it cannot be written.
pub fn store(data: &Path, name: &str, of: &str, version: &str, table: &Table) -> io::Result<()> {
    let rows: Vec<(&str, Vec<&str>)> =
        table.rows().map(|(key, cells)| (key, cells.collect())).collect();
    let text = serde_json::to_vec(&Copy { of: of.into(), version: version.into(), rows })?;
    let path = path(data, name);
    let folder = data.join(FOLDER);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let sum = format!("{:016x}\n", fingerprint(&text));
    replace(&path, &[sum.as_bytes(), &text].concat())
}

/// Removes the copies of all tables but these.
///
/// # Errors
/// When one cannot be removed.
pub fn retain(data: &Path, names: &[&str]) -> io::Result<()> {
    let Ok(found) = fs::read_dir(data.join(FOLDER)) else { return Ok(()) };
    let kept: Vec<PathBuf> = names.iter().map(|name| path(data, name)).collect();
    for file in found {
        let file = file?.path();
        if !kept.contains(&file) {
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_what_was_stored_or_none() {
        let data = tempfile::tempdir().unwrap();
        let mut table = Table::default();
        table.insert("a", ["x", "\"\n"].into_iter());
        table.insert("", ["", "y"].into_iter());
        assert!(load(data.path(), "t", "of").is_none());
        store(data.path(), "t", "of", "v1", &table).unwrap();
        let read = load(data.path(), "t", "of").unwrap();
        assert!(read.table == table && read.version == "v1");
        assert!(load(data.path(), "t", "of another").is_none());
        let file = path(data.path(), "t");
        let bytes = fs::read(&file).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            fs::write(&file, &damaged).unwrap();
            assert!(load(data.path(), "t", "of").is_none(), "{at}");
            fs::write(&file, &bytes[..at]).unwrap();
            assert!(load(data.path(), "t", "of").is_none(), "{at}");
        }
        store(data.path(), "t", "of", "v2", &table).unwrap();
        store(data.path(), "u", "of", "v2", &table).unwrap();
        retain(data.path(), &["u"]).unwrap();
        assert!(load(data.path(), "t", "of").is_none() && load(data.path(), "u", "of").is_some());
    }
}
