//! What both databases share: how a file is made, opened and checked, what an
//! SQLite error means to us, and the chores (checkpoints, giving space back).
//!
//! Not a query layer: each part writes its own SQL.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior,
    ffi, params,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::private;
use crate::actors::ports::StoreError;

/// How long a connection waits for another one's transaction. Commits hold the
/// file for a fraction of a second; a person's `sqlite3` shell may hold it longer.
pub(super) const BUSY: Duration = Duration::from_secs(10);

/// Size of the file that tells a full disk from a broken one.
const PROBE_BYTES: usize = 128 << 10;

/// Past this much since the last checkpoint, the write-ahead log is copied back.
const CHECKPOINT_BYTES: u64 = 16 << 20;

/// Past this, the copying waits for readers and cuts the file, so that a reader
/// that never ends cannot let it grow without bound.
const CHECKPOINT_FORCED_BYTES: u64 = 256 << 20;

/// The same for both in a scratch folder: most replays end before, and so write everything
/// once. Beyond, looking pages up in the log would cost more than copying them.
const SCRATCH_CHECKPOINT_BYTES: u64 = 1 << 30;

/// Unused pages given back in one go, in bytes.
const SHRINK_STEP_BYTES: u64 = 16 << 20;
const _: () = assert!(
    CHECKPOINT_BYTES < CHECKPOINT_FORCED_BYTES
        && CHECKPOINT_FORCED_BYTES < SCRATCH_CHECKPOINT_BYTES,
    "a checkpoint is tried before it is forced"
);

/// What one of the two databases is: its header and its tables.
#[derive(Debug)]
pub(super) struct Layout {
    /// `application_id` in the file's header.
    pub application: i32,
    /// Format number this version writes and reads.
    pub format: u32,
    /// Page size: large for blobs, small for little groups.
    pub page_bytes: u32,
    /// The tables, without `meta`.
    pub schema: &'static str,
    /// What to do when the file is damaged.
    pub remedy: &'static str,
    /// The earliest format that is still taken over; files before it are refused by name.
    pub oldest: u32,
    /// What makes a file of format n one of format n + 1, from `oldest` on.
    pub upgrades: &'static [&'static str],
}

/// A database file: knows how to name itself in errors.
#[derive(Clone, Debug)]
pub(super) struct DbFile {
    path: PathBuf,
    layout: &'static Layout,
    /// It is removed when the process ends: nothing of it is synced.
    scratch: bool,
}

impl DbFile {
    pub(super) fn new(path: PathBuf, layout: &'static Layout) -> Self {
        DbFile { path, layout, scratch: false }
    }

    /// That it is removed when the process ends, or not.
    pub(super) fn scratch(self, scratch: bool) -> Self {
        DbFile { scratch, ..self }
    }

    /// The path as text.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// A damaged file.
    pub(super) fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::Damaged {
            path: self.name(),
            what: what.into(),
            remedy: self.layout.remedy.into(),
        }
    }

    /// Anything the file system says.
    pub(super) fn io(&self, cause: impl ToString) -> StoreError {
        StoreError::Io { path: self.name(), cause: cause.to_string() }
    }

    /// What an SQLite error means. A failed write is asked once more of the file
    /// system, because SQLite says "disk I/O error" for some full disks.
    pub(super) fn error(&self, error: rusqlite::Error) -> StoreError {
        use rusqlite::Error as E;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::DiskFull { path: self.name() },
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if self.no_room() => {
                StoreError::DiskFull { path: self.name() }
            }
            Some(
                ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::Unknown,
            ) => self.damaged(error.to_string()),
            Some(_) => self.io(error),
            None => match error {
                E::QueryReturnedNoRows
                | E::InvalidColumnType(..)
                | E::IntegralValueOutOfRange(..)
                | E::FromSqlConversionFailure(..)
                | E::Utf8Error(..) => self.damaged(error.to_string()),
                // The SQL is constant: it fails to compile only against foreign tables.
                E::SqlInputError { .. } => self.damaged(error.to_string()),
                other => self.io(other),
            },
        }
    }

    /// What a file system error means.
    pub(super) fn system(&self, error: std::io::Error) -> StoreError {
        if is_full(&error) { StoreError::DiskFull { path: self.name() } } else { self.io(error) }
    }

    /// True when the file system has no room for a small file next to ours.
    pub(super) fn no_room(&self) -> bool {
        let probe = suffixed(&self.path, ".probe");
        let written = File::create(&probe)
            .and_then(|mut file| file.write_all(&[0; PROBE_BYTES]).and_then(|()| file.sync_all()));
        // Its only use was to be written; a leftover would be overwritten next time.
        let _ = fs::remove_file(&probe);
        written.is_err_and(|error| is_full(&error))
    }

    /// Opens the file, or makes it when there is none. `meta` is asked for the
    /// first entries of a new file.
    pub(super) fn open_or_create(
        &self,
        meta: impl FnOnce() -> Vec<(&'static str, String)>,
    ) -> Result<Connection, StoreError> {
        match fs::metadata(&self.path) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let wal = suffixed(&self.path, "-wal");
                if wal.exists() {
                    // SQLite would replay it into the new file.
                    let name = wal.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    return Err(
                        self.damaged(format!("the file is missing but its {name} is there"))
                    );
                }
                self.create(meta())?;
            }
            Err(error) => return Err(self.system(error)),
        }
        self.open()
    }

    /// Makes the file under another name first: a file under the real name is
    /// always complete, so an empty one is damage and not a fresh start.
    fn create(&self, meta: Vec<(&'static str, String)>) -> Result<(), StoreError> {
        let fresh = suffixed(&self.path, ".new");
        let beside = ["-journal", "-wal", "-shm"].map(|suffix| suffixed(&fresh, suffix));
        for leftover in beside.into_iter().chain([fresh.clone()]) {
            match fs::remove_file(leftover) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(self.system(error));
                }
                _ => {}
            }
        }
        self.fill(&fresh, meta).map_err(|error| self.error(error))?;
        let sync = |path: &Path| if self.scratch { Ok(()) } else { File::open(path)?.sync_all() };
        let synced = sync(&fresh)
            .and_then(|()| fs::rename(&fresh, &self.path))
            .and_then(|()| sync(self.path.parent().unwrap_or(Path::new("."))));
        synced.map_err(|error| self.system(error))
    }

    fn fill(&self, path: &Path, meta: Vec<(&'static str, String)>) -> rusqlite::Result<()> {
        // SQLite gives its write-ahead log the rights of the file.
        if let Err(error) = private::options().write(true).create(true).open(path) {
            let cause = Some(format!("{}: {error}", path.display()));
            let code = if is_full(&error) { ffi::SQLITE_FULL } else { ffi::SQLITE_CANTOPEN };
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), cause));
        }
        let conn = Connection::open(path)?;
        // It is synced once, before it gets its name; nothing of it counts until then.
        conn.execute_batch(&format!(
            "PRAGMA page_size={}; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA synchronous=OFF; \
             PRAGMA journal_mode=MEMORY; PRAGMA application_id={}; BEGIN; \
             CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL, \
             checksum INTEGER NOT NULL) WITHOUT ROWID; {}",
            self.layout.page_bytes, self.layout.application, self.layout.schema
        ))?;
        put_meta(&conn, "format", &self.layout.format.to_string())?;
        for (key, value) in meta {
            put_meta(&conn, key, &value)?;
        }
        // The mode is kept in the file: set here, it costs no sync when the file is opened.
        conn.execute_batch("COMMIT; PRAGMA journal_mode=WAL;")?;
        conn.close().map_err(|(_, error)| error)
    }

    /// Opens the existing file for reading and writing, and checks that it is ours.
    pub(super) fn open(&self) -> Result<Connection, StoreError> {
        self.check_length()?;
        let conn = self.connect()?;
        // Before anything is written: a damaged file stays as it is.
        let found = self.check_format(&conn)?;
        self.upgrade(&conn, found).map_err(|error| self.error(error))?;
        conn.query_row("PRAGMA journal_mode=WAL", [], |row| row.get::<_, String>(0))
            .map_err(|error| self.error(error))?;
        Ok(conn)
    }

    /// SQLite fills a last page that is cut short with zeros. Only a file with a
    /// write-ahead log may end like that: a crash while it was being copied back.
    pub(super) fn check_length(&self) -> Result<(), StoreError> {
        let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        let whole = length(&self.path).is_multiple_of(u64::from(self.layout.page_bytes));
        if whole || length(&suffixed(&self.path, "-wal")) > 0 {
            Ok(())
        } else {
            Err(self.damaged("it is cut short"))
        }
    }

    /// Another connection to a file that was opened and checked before.
    pub(super) fn connect(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn =
            Connection::open_with_flags(&self.path, flags).map_err(|error| self.error(error))?;
        self.configure(&conn).map_err(|error| self.error(error))?;
        Ok(conn)
    }

    fn configure(&self, conn: &Connection) -> rusqlite::Result<()> {
        conn.busy_timeout(BUSY)?;
        if self.scratch {
            // Nobody reads the file afterwards: what is in the log need not be copied back.
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        }
        let automatic = if self.scratch {
            2 * SCRATCH_CHECKPOINT_BYTES / u64::from(self.layout.page_bytes)
        } else {
            16_384
        };
        conn.execute_batch(&format!(
            // Checkpoints are ours to time (`Chores`), after the caller has its answer;
            // the automatic one is a net below. 8 MiB of cache is the index pages, blobs pass.
            "PRAGMA synchronous={}; PRAGMA cache_size=-8192; PRAGMA trusted_schema=OFF; \
             PRAGMA cell_size_check=ON; PRAGMA wal_autocheckpoint={automatic}; \
             PRAGMA journal_size_limit=67108864;",
            self.synchronous()
        ))
    }

    fn synchronous(&self) -> &'static str {
        if self.scratch { "OFF" } else { "FULL" }
    }

    fn checkpoint_forced(&self) -> u64 {
        if self.scratch { SCRATCH_CHECKPOINT_BYTES } else { CHECKPOINT_FORCED_BYTES }
    }

    /// The format of the file, which is ours or an earlier one.
    pub(super) fn check_format(&self, conn: &Connection) -> Result<u32, StoreError> {
        let application: i32 = conn
            .query_row("PRAGMA application_id", [], |row| row.get(0))
            .map_err(|error| self.error(error))?;
        if application != self.layout.application {
            return Err(self.damaged("it is not a file of tidewatch"));
        }
        let text = self.meta(conn, "format")?;
        let found: u32 =
            text.parse().map_err(|_| self.damaged("its format number is not a number"))?;
        if !(self.layout.oldest..=self.layout.format).contains(&found) {
            return Err(StoreError::Format {
                path: self.name(),
                found,
                known: self.layout.format,
                remedy: format!("use the version that wrote it, or {}", self.layout.remedy),
            });
        }
        Ok(found)
    }

    /// Brings a file of an earlier format up to ours, all of it or nothing.
    fn upgrade(&self, conn: &Connection, found: u32) -> rusqlite::Result<()> {
        if found == self.layout.format {
            return Ok(());
        }
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        for step in &self.layout.upgrades[(found - self.layout.oldest) as usize..] {
            tx.execute_batch(step)?;
        }
        put_meta(&tx, "format", &self.layout.format.to_string())?;
        tx.commit()
    }

    /// A `meta` entry that must be there.
    pub(super) fn meta(&self, conn: &Connection, key: &str) -> Result<String, StoreError> {
        self.meta_opt(conn, key)?.ok_or_else(|| self.damaged(format!("`{key}` is missing")))
    }

    /// A `meta` entry, if there is one.
    pub(super) fn meta_opt(
        &self,
        conn: &Connection,
        key: &str,
    ) -> Result<Option<String>, StoreError> {
        let row = conn
            .prepare_cached("SELECT value, checksum FROM meta WHERE key = ?1")
            .and_then(|mut query| {
                query.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()
            })
            .map_err(|error| self.error(error))?;
        let Some((value, checksum)): Option<(String, i64)> = row else { return Ok(None) };
        if checksum == text_checksum(key, &value) {
            Ok(Some(value))
        } else {
            Err(self.damaged(format!("checksum of `{key}`")))
        }
    }

    /// Checks a blob against the checksum that was stored with it.
    pub(super) fn verify(
        &self,
        table: &str,
        at: [i64; 2],
        blob: &[u8],
        stored: i64,
    ) -> Result<(), StoreError> {
        if checksum(table, at, blob) == stored {
            Ok(())
        } else {
            Err(self.damaged(format!("checksum of {table} {} {}", at[0], at[1])))
        }
    }
}

/// Writes a `meta` entry.
pub(super) fn put_meta(conn: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO meta(key, value, checksum) VALUES (?1, ?2, ?3)")?
        .execute(params![key, value, text_checksum(key, value)])?;
    Ok(())
}

/// Checksum of a blob and of where it belongs, so that a blob in a wrong place is
/// noticed as well as a changed one.
pub(super) fn checksum(table: &str, at: [i64; 2], blob: &[u8]) -> i64 {
    let mut label = table.as_bytes().to_vec();
    label.extend_from_slice(&at[0].to_le_bytes());
    label.extend_from_slice(&at[1].to_le_bytes());
    xxh3_64_with_seed(blob, xxh3_64(&label)) as i64
}

/// Checksum of a named text.
pub(super) fn text_checksum(key: &str, value: &str) -> i64 {
    xxh3_64_with_seed(value.as_bytes(), xxh3_64(key.as_bytes())) as i64
}

/// A number nobody else has: from the system's randomness, by way of the keys that
/// the standard library draws for its hash maps.
pub(super) fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0u64)
}

/// Keeps the write-ahead log and the file small. One for each writing connection.
#[derive(Debug)]
pub(super) struct Chores {
    written: u64,
    /// Copy the write-ahead log back from so many bytes on.
    due: u64,
    forced: u64,
}

impl Chores {
    /// Those of a database.
    pub(super) fn of(db: &DbFile) -> Self {
        let due = if db.scratch { SCRATCH_CHECKPOINT_BYTES } else { CHECKPOINT_BYTES };
        Chores { written: 0, due, forced: db.checkpoint_forced() }
    }

    /// Notes about how many bytes a transaction wrote.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.written += bytes;
    }

    /// Copies the write-ahead log back when enough was written.
    pub(super) fn checkpoint(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        if self.written < self.due {
            return Ok(());
        }
        let mode = if self.written < self.forced {
            "PRAGMA wal_checkpoint(PASSIVE)"
        } else {
            "PRAGMA wal_checkpoint(TRUNCATE)"
        };
        let (frames, copied): (i64, i64) =
            conn.query_row(mode, [], |row| Ok((row.get(1)?, row.get(2)?)))?;
        if copied >= frames {
            self.written = 0;
        }
        Ok(())
    }

    /// Gives unused pages back to the file system, a step at a time, down to `slack` bytes.
    pub(super) fn shrink(&mut self, conn: &Connection, slack: u64) -> rusqlite::Result<()> {
        let pragma = |name: &str| {
            conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
                .map(|value| value as u64)
        };
        let page = pragma("page_size")?.max(1);
        let unused = pragma("freelist_count")? * page;
        if unused <= slack {
            return Ok(());
        }
        let pages = (unused - slack).min(SHRINK_STEP_BYTES) / page;
        conn.execute_batch(&format!("PRAGMA incremental_vacuum({pages})"))?;
        self.wrote(pages * page);
        Ok(())
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

pub(super) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
