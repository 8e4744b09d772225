//! The data folder: where its files are, who may use it, and where its server listens.
//!
//! Opened first by everything that writes state; the command line reads `endpoint`
//! to find a running server.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::marks::{MARKS, Marks};
use super::private;
use super::sqlite::{DbFile, Layout};
use crate::actors::ports::StoreError;

/// Name of the state database.
pub const STATE: &str = "state.db";
/// Name of the log's database.
pub const LOG: &str = "log.db";
/// Name of the lock file; it holds the owner's process id.
pub const LOCK: &str = "lock";
/// Name of the file with the running server's URL.
pub const ENDPOINT: &str = "endpoint";

/// A data folder that this process owns until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// The lock ends with the file descriptor, however the process ends.
    _lock: Arc<File>,
    marks: Marks,
    /// Device and number of each file that is open, by name.
    open: Arc<Mutex<BTreeMap<&'static str, (u64, u64)>>>,
    /// What others may do with the folder.
    others: u32,
    scratch: bool,
}

/// The files that are open as long as the folder is ours. A write-ahead log comes with the
/// first write.
const OPEN: [&str; 6] = [LOCK, MARKS, STATE, "state.db-wal", LOG, "log.db-wal"];

impl Folder {
    /// Makes the folder if there is none, for its owner alone, and takes its lock. Files of
    /// ours that others may read are made private; a folder that was there stays as it is
    /// (see [`Folder::open_to_others`]).
    ///
    /// # Errors
    /// `Locked` when another process (or another opening in this one) owns it, `Io`
    /// when it cannot be made or written.
    pub fn open(path: &Path) -> Result<Folder, StoreError> {
        let others = private::folder(path).map_err(|error| system(path, error))?;
        let file = path.join(LOCK);
        let mut lock = private::options()
            .read(true)
            .write(true)
            .create(true)
            .open(&file)
            .map_err(|error| system(&file, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path: name(path), pid: read_pid(&mut lock) });
            }
            Err(TryLockError::Error(error)) => return Err(system(&file, error)),
        }
        write_pid(&mut lock).map_err(|error| system(&file, error))?;
        for file in OPEN.iter().chain(&["state.db-shm", "log.db-shm", ENDPOINT]) {
            private::tighten(&path.join(file));
        }
        let marks = Marks::open(path).map_err(|error| system(&path.join(MARKS), error))?;
        let folder = Folder {
            path: path.to_owned(),
            _lock: Arc::new(lock),
            marks,
            open: Arc::default(),
            others,
            scratch: false,
        };
        folder.look([LOCK, MARKS])?;
        Ok(folder)
    }

    /// A folder that nobody will start from once this process has ended, because it is removed
    /// then. Its files are written as always, and not synced once they are made: only a crash of
    /// the machine could tell the difference.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn open_scratch(path: &Path) -> Result<Folder, StoreError> {
        Ok(Folder { scratch: true, ..Folder::open(path)? })
    }

    /// A database of the folder.
    pub(super) fn db(&self, file: &str, layout: &'static Layout) -> DbFile {
        DbFile::new(self.path.join(file), layout).scratch(self.scratch)
    }

    /// What both databases say of each other's end.
    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Notes which files these are, now that they are open.
    pub(super) fn look<const N: usize>(&self, names: [&'static str; N]) -> Result<(), StoreError> {
        for name in names {
            let path = self.path.join(name);
            let found = fs::metadata(&path).map_err(|error| system(&path, error))?;
            let mut open = self.open.lock();
            open.insert(name, (found.dev(), found.ino()));
            // A database that is opened again has another write-ahead log.
            open.remove(format!("{name}-wal").as_str());
        }
        Ok(())
    }

    /// That the files are still the ones that were opened: what is written to a file that was
    /// removed or replaced is lost with the process. Looks at a few names, some microseconds.
    ///
    /// # Errors
    /// `Damaged`, with the file.
    pub fn check(&self) -> Result<(), StoreError> {
        let mut open = self.open.lock();
        for file in OPEN {
            let path = self.path.join(file);
            let found = fs::metadata(&path).ok().map(|found| (found.dev(), found.ino()));
            let known = open.get(file).copied();
            // A database that was not opened has no write-ahead log of ours either.
            let database = file.strip_suffix("-wal").unwrap_or(file);
            match (known, found) {
                (None, Some(found)) if open.contains_key(database) => {
                    open.insert(file, found);
                }
                (Some(known), found) if found != Some(known) => {
                    return Err(StoreError::Damaged {
                        path: name(&path),
                        what: "it was removed or replaced while it was in use".into(),
                        remedy: "what is written now would be lost: stop tidewatch, and put the \
                                 file back, or a copy of the whole folder"
                            .into(),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A sentence when others than the owner may enter or read the folder.
    pub fn open_to_others(&self) -> Option<String> {
        (self.others != 0).then(|| {
            let path = name(&self.path);
            format!("others may enter or read the data folder {path}: chmod 700 {path}")
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells the command line where the server of this folder listens.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_endpoint(&self, url: &str) -> Result<(), StoreError> {
        // Renamed into place, so that a reader never sees half an address.
        let fresh = self.path.join("endpoint.new");
        let file = self.path.join(ENDPOINT);
        private::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&fresh)
            .and_then(|mut made| writeln!(made, "{url}"))
            .and_then(|()| fs::rename(&fresh, &file))
            .map_err(|error| system(&file, error))
    }

    /// Takes the address away again, at a clean stop.
    pub fn remove_endpoint(&self) {
        // A leftover names a server that does not answer, which readers must expect anyway.
        let _ = fs::remove_file(self.path.join(ENDPOINT));
    }
}

/// The address that a server of the folder wrote, if there is one. It is a hint: a
/// killed server leaves it behind.
pub fn read_endpoint(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path.join(ENDPOINT)).ok()?;
    let url = text.trim();
    (!url.is_empty()).then(|| url.to_owned())
}

fn read_pid(lock: &mut File) -> u32 {
    let mut text = String::new();
    match lock.take(20).read_to_string(&mut text) {
        Ok(_) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    }
}

fn write_pid(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

fn system(path: &Path, error: std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull => StoreError::DiskFull { path: name(path) },
        _ => StoreError::Io { path: name(path), cause: error.to_string() },
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opening_is_refused_and_names_the_owner() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let refused = Folder::open(dir.path()).unwrap_err();
        assert_eq!(refused, StoreError::Locked { path: name(dir.path()), pid: std::process::id() });
        drop(folder);
        Folder::open(dir.path()).unwrap();
    }

    /// 0 is `OFF`, 2 is `FULL`: what was answered is on the disk, unless nobody will read it.
    #[test]
    fn only_a_scratch_folder_is_not_synced() {
        for scratch in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let folder = if scratch {
                Folder::open_scratch(dir.path()).unwrap()
            } else {
                Folder::open(dir.path()).unwrap()
            };
            let db = folder.db(STATE, &crate::store::tables::LAYOUT);
            let conn = db.open_or_create(Vec::new).unwrap();
            let pragma = |name: &str| {
                let read = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
                conn.query_row(&format!("PRAGMA {name}"), [], read).unwrap()
            };
            assert_eq!(pragma("synchronous"), if scratch { 0 } else { 2 });
            assert_eq!(pragma("wal_autocheckpoint"), if scratch { 131_072 } else { 16_384 });
        }
    }

    #[test]
    fn the_endpoint_can_be_read_by_others_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert_eq!(read_endpoint(dir.path()), None);
        folder.write_endpoint("http://127.0.0.1:8080").unwrap();
        assert_eq!(read_endpoint(dir.path()).as_deref(), Some("http://127.0.0.1:8080"));
        folder.remove_endpoint();
        assert_eq!(read_endpoint(dir.path()), None);
    }
}
