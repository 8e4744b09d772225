//! The data folder: where its files are, who may use it, and where its server listens.
//!
//! Opened first by everything that writes state; the command line reads `endpoint`
//! to find a running server.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
}

impl Folder {
    /// Makes the folder if there is none, and takes its lock.
    ///
    /// # Errors
    /// `Locked` when another process (or another opening in this one) owns it, `Io`
    /// when it cannot be made or written.
    pub fn open(path: &Path) -> Result<Folder, StoreError> {
        fs::create_dir_all(path).map_err(|error| system(path, error))?;
        let file = path.join(LOCK);
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
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
        Ok(Folder { path: path.to_owned(), _lock: Arc::new(lock) })
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
        fs::write(&fresh, format!("{url}\n"))
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
