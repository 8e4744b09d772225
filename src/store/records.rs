//! What people read of the store: dead letters, late events, alerts. Used by the
//! web side while a server runs, and by the command line with or without one.
//!
//! It has its own connections and never blocks the store's thread: SQLite's
//! readers and its one writer do not wait for each other.

use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};

use super::folder::{Folder, LOG, STATE};
use super::incidents;
use super::log;
use super::outbox::{ALERT_LOG, OUTBOX, unpack};
use super::sqlite::{DbFile, Layout};
use super::tables::{self, letter_checksum};
use crate::actors::ports::{
    IncidentRecords, IncidentsWanted, Records, StoreError, StoredDeadLetter,
};
use crate::domain::alert::Alert;
use crate::domain::commit::LateEvent;
use crate::domain::event::Hints;
use crate::domain::incident::{Change, Incident, Notification, Silence};
use crate::domain::time::EpochMs;

/// Idle connections kept for each file. More are opened when more readers come at
/// once (the web side bounds those), and closed afterwards.
const IDLE_MAX: usize = 4;

/// Most rows given out at once, whatever was asked for.
const LIMIT_MAX: usize = 10_000;

/// Most bytes of dead letters given out at once; at least one letter comes.
const BYTES_MAX: usize = 16 << 20;

/// A late event's number is that of its block times this, and its place in the block:
/// far more than a block holds, and small enough for JavaScript's numbers.
const LATE_PLACES: u64 = 1 << 20;

/// The records of one data folder.
pub struct StoredRecords {
    state: Pool,
    log: Pool,
}

impl StoredRecords {
    /// Opens the records of a data folder. Needs no lock: a server may be running.
    ///
    /// # Errors
    /// When there is no state in the folder, or it is damaged or of another format.
    pub fn open(folder: &Path) -> Result<StoredRecords, StoreError> {
        StoredRecords::at(folder, |name, layout| DbFile::new(folder.join(name), layout))
    }

    /// Opens the records of our own data folder.
    ///
    /// # Errors
    /// As [`StoredRecords::open`].
    pub fn of(folder: &Folder) -> Result<StoredRecords, StoreError> {
        StoredRecords::at(folder.path(), |name, layout| folder.db(name, layout))
    }

    fn at(
        folder: &Path,
        db: impl Fn(&str, &'static Layout) -> DbFile,
    ) -> Result<StoredRecords, StoreError> {
        let pool = |name: &str, layout| {
            let db = db(name, layout);
            if !folder.join(name).exists() {
                return Err(db.io("there is no such file: is this a data folder of tidewatch?"));
            }
            let first = db.open()?;
            Ok(Pool { db, idle: Mutex::new(vec![first]) })
        };
        Ok(StoredRecords { state: pool(STATE, &tables::LAYOUT)?, log: pool(LOG, &log::LAYOUT)? })
    }
}

impl Records for StoredRecords {
    fn dead_letters(&self, after: u64, limit: usize) -> Result<Vec<StoredDeadLetter>, StoreError> {
        self.state.with(|conn, db| {
            let error = |error| db.error(error);
            let mut query = conn
                .prepare_cached(&format!("{LETTERS} WHERE id > ?1 ORDER BY id LIMIT ?2"))
                .map_err(error)?;
            let limit = limit.min(LIMIT_MAX) as i64;
            let mut rows = query.query([key(after), limit]).map_err(error)?;
            let (mut letters, mut bytes) = (Vec::new(), 0);
            while bytes < BYTES_MAX
                && let Some(row) = rows.next().map_err(error)?
            {
                let letter = read_letter(row, db)?;
                bytes += letter.raw.len();
                letters.push(letter);
            }
            Ok(letters)
        })
    }

    fn dead_letter_heads(
        &self,
        after: u64,
        limit: usize,
        raw_bytes_max: usize,
    ) -> Result<Vec<(StoredDeadLetter, usize)>, StoreError> {
        self.state.with(|conn, db| {
            let error = |error| db.error(error);
            let mut query = conn
                .prepare_cached(&format!("{LETTERS} WHERE id > ?1 ORDER BY id LIMIT ?2"))
                .map_err(error)?;
            let limit = limit.min(LIMIT_MAX) as i64;
            let mut rows = query.query([key(after), limit]).map_err(error)?;
            let (mut letters, mut bytes) = (Vec::new(), 0);
            // Each is read whole, for its checksum, and cut before the next one is.
            while bytes < BYTES_MAX
                && let Some(row) = rows.next().map_err(error)?
            {
                let letter = read_letter(row, db)?.head(raw_bytes_max);
                bytes += letter.1;
                letters.push(letter);
            }
            Ok(letters)
        })
    }

    fn dead_letter(&self, id: u64) -> Result<Option<StoredDeadLetter>, StoreError> {
        self.state.with(|conn, db| {
            let error = |error| db.error(error);
            let mut query =
                conn.prepare_cached(&format!("{LETTERS} WHERE id = ?1")).map_err(error)?;
            let mut rows = query.query([key(id)]).map_err(error)?;
            rows.next().map_err(error)?.map(|row| read_letter(row, db)).transpose()
        })
    }

    fn mark_redriven(&self, ids: &[u64], at: EpochMs) -> Result<(), StoreError> {
        self.state.with(|conn, db| {
            (|| {
                let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
                let mut mark =
                    tx.prepare_cached("UPDATE dead_letters SET redriven = ?1 WHERE id = ?2")?;
                for id in ids {
                    mark.execute(params![at, key(*id)])?;
                }
                drop(mark);
                tx.commit()
            })()
            .map_err(|error| db.error(error))
        })
    }

    fn late(
        &self,
        before: Option<u64>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(u64, LateEvent)>, StoreError> {
        let before = before.unwrap_or(u64::MAX);
        self.state.with(|conn, db| {
            let error = |error| db.error(error);
            let mut query = conn
                .prepare_cached(
                    "SELECT epoch, count, checksum, blob, id FROM late WHERE id <= ?1 \
                     ORDER BY id DESC",
                )
                .map_err(error)?;
            let mut rows = query.query([key(before / LATE_PLACES)]).map_err(error)?;
            let (mut late, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next().map_err(error)? {
                let at = [row.get(0).map_err(error)?, row.get(1).map_err(error)?];
                let blob: Vec<u8> = row.get(3).map_err(error)?;
                db.verify("late", at, &blob, row.get(2).map_err(error)?)?;
                let block: Vec<LateEvent> =
                    unpack(&blob).map_err(|error| db.damaged(format!("late: {error}")))?;
                let id: i64 = row.get(4).map_err(error)?;
                for (index, event) in block.into_iter().enumerate().rev() {
                    let number = id as u64 * LATE_PLACES + (index as u64).min(LATE_PLACES - 1);
                    if number >= before {
                        continue;
                    }
                    if late.len() >= limit || bytes >= bytes_max {
                        return Ok(late);
                    }
                    bytes += event.raw.len() + event.key.len();
                    late.push((number, event));
                }
            }
            Ok(late)
        })
    }

    fn dead_letters_newest(&self) -> Result<u64, StoreError> {
        self.state.with(|conn, db| {
            let newest = "SELECT coalesce(max(id), 0) FROM dead_letters";
            let newest = conn.query_row(newest, [], |row| row.get::<_, i64>(0));
            newest.map(|id| id as u64).map_err(|error| db.error(error))
        })
    }

    fn alerts_newest(&self) -> Result<u64, StoreError> {
        self.state.with(|conn, db| OUTBOX.newest(conn).map_err(|error| db.error(error)))
    }

    fn alerts(&self, after: u64, limit: usize) -> Result<Vec<Alert>, StoreError> {
        let limit = limit.min(LIMIT_MAX);
        self.state.with(|conn, db| OUTBOX.alerts_after(conn, db, after, limit))
    }

    fn alert_log(&self, after: u64, limit: usize) -> Result<Vec<Alert>, StoreError> {
        let limit = limit.min(LIMIT_MAX);
        self.log.with(|conn, db| ALERT_LOG.alerts_after(conn, db, after, limit))
    }
}

impl IncidentRecords for StoredRecords {
    fn incidents(&self, wanted: &IncidentsWanted) -> Result<Vec<(u64, Incident)>, StoreError> {
        self.state.with(|conn, db| incidents::incidents(conn, db, wanted))
    }

    fn incident(&self, id: &str) -> Result<Option<Incident>, StoreError> {
        self.state.with(|conn, db| incidents::incident(conn, db, id))
    }

    fn incident_log(
        &self,
        after: u64,
        incident: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Change>, StoreError> {
        let limit = limit.min(LIMIT_MAX);
        self.state.with(|conn, db| incidents::changes(conn, db, after, incident, limit))
    }

    fn incident_log_newest(&self) -> Result<u64, StoreError> {
        self.state.with(incidents::changes_newest)
    }

    fn silences(&self) -> Result<Vec<Silence>, StoreError> {
        self.state.with(incidents::silences)
    }

    fn notifications(
        &self,
        after: u64,
        channel: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Notification>, StoreError> {
        let limit = limit.min(LIMIT_MAX);
        self.state.with(|conn, db| incidents::notifications(conn, db, after, channel, limit))
    }

    fn notifications_after(&self, after: u64, channel: &str) -> Result<u64, StoreError> {
        self.state.with(|conn, db| incidents::notifications_after(conn, db, after, channel))
    }

    fn notification_channels(&self) -> Result<Vec<String>, StoreError> {
        self.state.with(|conn, db| incidents::channels(conn).map_err(|error| db.error(error)))
    }
}

/// Connections to one file.
struct Pool {
    db: DbFile,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    fn with<T>(
        &self,
        work: impl FnOnce(&Connection, &DbFile) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = self.idle.lock().pop();
        let conn = match idle {
            Some(conn) => conn,
            None => self.db.connect()?,
        };
        let result = work(&conn, &self.db);
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(conn);
        }
        result
    }
}

const LETTERS: &str =
    "SELECT id, source, position, reason, at, redriven, checksum, raw, hints FROM dead_letters";

fn read_letter(row: &Row<'_>, db: &DbFile) -> Result<StoredDeadLetter, StoreError> {
    let read = || {
        let letter = StoredDeadLetter {
            id: row.get::<_, i64>(0)? as u64,
            source: row.get(1)?,
            position: row.get::<_, i64>(2)? as u64,
            reason: row.get(3)?,
            raw: row.get(7)?,
            at: row.get(4)?,
            redriven: row.get(5)?,
            hints: Hints::default(),
        };
        Ok((letter, row.get::<_, i64>(6)?, row.get::<_, String>(8)?))
    };
    let (letter, stored, hints) = read().map_err(|error| db.error(error))?;
    let at = [letter.position as i64, letter.at];
    if letter_checksum(at, &letter.raw, &hints) != stored {
        return Err(db.damaged(format!("checksum of dead letter {}", letter.id)));
    }
    let hints = serde_json::from_str(&hints)
        .map_err(|error| db.damaged(format!("hints of dead letter {}: {error}", letter.id)))?;
    Ok(StoredDeadLetter { hints, ..letter })
}

/// An id as SQLite has it; one beyond its numbers is beyond all rows.
fn key(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}
