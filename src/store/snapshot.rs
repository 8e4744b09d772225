//! Folding deltas into snapshots, so that a restart has little to read and the
//! file stays small.
//!
//! The folding runs on a thread of its own with its own connection; it reads only
//! rows that nobody changes until it is done. The result is then written by the
//! store's thread in steps, a few parts between two commits, and becomes valid by
//! one change of the head. Old rows leave in steps, too, and only after the new
//! ones were read back (reliability: delete older only after newer is verified).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::Settings;
use super::sqlite::{DbFile, checksum};
use super::tables::{Head, section_at, write_head};
use crate::actors::ports::StoreError;
use crate::domain::commit::Snapshot;

/// Bytes written or deleted in one step, between two commits: about as long as a
/// large commit takes.
const STEP_BYTES: u64 = 16 << 20;

/// Rows of an old generation deleted in one step.
const STEP_ROWS: i64 = 512;

/// The life of snapshots of one state file.
pub(super) struct Snapshots {
    /// Bytes of deltas since the last snapshot.
    pub delta_bytes: u64,
    /// Bytes of the last snapshot.
    pub snapshot_bytes: u64,
    /// `delta_bytes` when folding failed last; 0 when it went well.
    failed_at: u64,
    phase: Phase,
}

enum Phase {
    Idle,
    Building(Builder),
    Installing(Installing),
    /// Rows of older generations are left.
    Clearing,
}

struct Builder {
    thread: Option<JoinHandle<Result<Option<Built>, StoreError>>>,
    cancel: Arc<AtomicBool>,
}

struct Built {
    epoch: u64,
    parts: Vec<Vec<u8>>,
}

struct Installing {
    epoch: u64,
    left: VecDeque<Vec<u8>>,
    written: u64,
    bytes: u64,
}

impl Snapshots {
    /// Measures the file. Leftovers of an interrupted installation go first.
    pub(super) fn open(conn: &Connection, db: &DbFile, head: &Head) -> Result<Self, StoreError> {
        let sum = |sql: &str, epoch: u64| {
            conn.query_row(sql, [epoch as i64], |row| row.get::<_, i64>(0))
                .map(|bytes| bytes as u64)
                .map_err(|error| db.error(error))
        };
        Ok(Snapshots {
            delta_bytes: sum(
                "SELECT coalesce(sum(length(blob)), 0) FROM deltas WHERE epoch > ?1",
                head.snapshot_epoch,
            )?,
            snapshot_bytes: sum(
                "SELECT coalesce(sum(length(blob)), 0) FROM snapshot WHERE epoch = ?1",
                head.snapshot_epoch,
            )?,
            failed_at: 0,
            phase: Phase::Clearing,
        })
    }

    /// Does the next bit of work, if there is some; tells how many bytes it wrote.
    pub(super) fn step(
        &mut self,
        conn: &Connection,
        db: &DbFile,
        head: &mut Head,
        settings: &Settings,
    ) -> Result<u64, StoreError> {
        match &mut self.phase {
            Phase::Idle => {
                let least = settings.snapshot_delta_bytes;
                let bound = least.max(2 * self.snapshot_bytes).max(self.failed_at + least);
                if self.delta_bytes > bound {
                    let part_bytes = settings.snapshot_part_bytes;
                    self.phase = Phase::Building(Builder::start(db, head.clone(), part_bytes)?);
                }
                Ok(0)
            }
            Phase::Building(builder) => {
                match builder.result(db) {
                    Ok(None) => {}
                    Ok(Some(built)) => {
                        self.failed_at = 0;
                        self.phase = Phase::Installing(Installing {
                            epoch: built.epoch,
                            left: built.parts.into(),
                            written: 0,
                            bytes: 0,
                        });
                    }
                    Err(error) => {
                        // Tried again, but not with each commit: it reads all there is.
                        (self.phase, self.failed_at) = (Phase::Idle, self.delta_bytes);
                        return Err(error);
                    }
                }
                Ok(0)
            }
            Phase::Installing(installing) => {
                let wrote = installing.step(conn, db)?;
                if installing.left.is_empty() {
                    let mut next = head.clone();
                    next.snapshot_epoch = installing.epoch;
                    next.snapshot_parts = installing.written;
                    let bytes = installing.bytes;
                    self.delta_bytes = switch(conn, &next).map_err(|error| db.error(error))?;
                    self.snapshot_bytes = bytes;
                    self.phase = Phase::Clearing;
                    *head = next;
                }
                Ok(wrote)
            }
            Phase::Clearing => {
                if clear(conn, head).map_err(|error| db.error(error))? {
                    self.phase = Phase::Idle;
                }
                Ok(0)
            }
        }
    }
}

impl Builder {
    fn start(db: &DbFile, head: Head, part_bytes: usize) -> Result<Builder, StoreError> {
        let cancel = Arc::new(AtomicBool::new(false));
        let (cancelled, at) = (cancel.clone(), db.clone());
        let thread = std::thread::Builder::new()
            .name("tidewatch-snapshot".into())
            .spawn(move || {
                let conn = at.connect()?;
                let Some(snapshot) = absorb(&conn, &at, &head, &cancelled)? else {
                    return Ok(None);
                };
                Ok(Some(Built { epoch: head.epoch, parts: snapshot.encode(part_bytes) }))
            })
            .map_err(|error| db.io(error))?;
        Ok(Builder { thread: Some(thread), cancel })
    }

    /// The result, once the thread has ended.
    fn result(&mut self, db: &DbFile) -> Result<Option<Built>, StoreError> {
        if !self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            return Ok(None);
        }
        let thread = self.thread.take().expect("it was there on the line above");
        thread.join().map_err(|_| db.io("the thread that folds deltas panicked"))?
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its result no longer matters; waiting keeps the file closed after us.
            let _ = thread.join();
        }
    }
}

impl Installing {
    /// Writes the next parts and reads them back.
    fn step(&mut self, conn: &Connection, db: &DbFile) -> Result<u64, StoreError> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < STEP_BYTES
            && let Some(part) = self.left.pop_front()
        {
            bytes += part.len() as u64;
            taken.push(part);
        }
        let first = self.written;
        match self.write(conn, first, &taken) {
            Ok(()) => {}
            Err(error) => {
                // The same parts are written again by the next call (a full disk).
                taken.into_iter().rev().for_each(|part| self.left.push_front(part));
                return Err(db.error(error));
            }
        }
        for part in 0..taken.len() as u64 {
            read_part(conn, db, self.epoch, first + part)?;
        }
        self.written += taken.len() as u64;
        self.bytes += bytes;
        Ok(bytes)
    }

    fn write(&self, conn: &Connection, first: u64, parts: &[Vec<u8>]) -> rusqlite::Result<()> {
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        for (offset, part) in parts.iter().enumerate() {
            let at = [self.epoch as i64, first as i64 + offset as i64];
            tx.prepare_cached(
                "INSERT OR REPLACE INTO snapshot(epoch, part, checksum, blob) \
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![at[0], at[1], checksum("snapshot", at, part), part])?;
        }
        tx.commit()
    }
}

/// Makes the installed snapshot the valid one; returns the bytes of deltas after it.
fn switch(conn: &Connection, next: &Head) -> rusqlite::Result<u64> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    write_head(&tx, next)?;
    let bytes: i64 = tx.query_row(
        "SELECT coalesce(sum(length(blob)), 0) FROM deltas WHERE epoch > ?1",
        [next.snapshot_epoch as i64],
        |row| row.get(0),
    )?;
    tx.commit()?;
    Ok(bytes as u64)
}

/// Deletes some rows of older generations; true when none were left.
fn clear(conn: &Connection, head: &Head) -> rusqlite::Result<bool> {
    let valid = head.snapshot_epoch as i64;
    let old = "SELECT rowid, length(blob) FROM snapshot WHERE epoch <> ?1 LIMIT ?2";
    let folded = "SELECT rowid, length(blob) FROM deltas WHERE epoch <= ?1 LIMIT ?2";
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let done = delete_some(&tx, old, "DELETE FROM snapshot WHERE rowid = ?1", valid)?
        && delete_some(&tx, folded, "DELETE FROM deltas WHERE rowid = ?1", valid)?;
    tx.commit()?;
    Ok(done)
}

fn delete_some(
    tx: &Transaction<'_>,
    select: &str,
    delete: &str,
    epoch: i64,
) -> rusqlite::Result<bool> {
    let found: Vec<(i64, i64)> = tx
        .prepare_cached(select)?
        .query_map([epoch, STEP_ROWS], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut bytes = 0;
    for (row, length) in &found {
        if bytes >= STEP_BYTES {
            return Ok(false);
        }
        bytes += *length as u64;
        tx.prepare_cached(delete)?.execute([row])?;
    }
    Ok(found.len() < STEP_ROWS as usize)
}

/// The state at `head`: the last snapshot and all deltas after it. `None` when
/// `cancel` was set meanwhile.
///
/// Reads a row at a time and holds no read transaction over the whole, so that a
/// long folding does not keep the write-ahead log from being reused. One thread reads and
/// verifies, another absorbs: a restart waits for both.
pub(super) fn absorb(
    conn: &Connection,
    db: &DbFile,
    head: &Head,
    cancel: &AtomicBool,
) -> Result<Option<Snapshot>, StoreError> {
    std::thread::scope(|scope| {
        let (sections, read) = sync_channel::<Section>(SECTIONS_AHEAD);
        let absorbing = std::thread::Builder::new()
            .name("tidewatch-absorb".into())
            .spawn_scoped(scope, move || {
                let mut snapshot = Snapshot::default();
                for Section { from, epoch, blob } in read {
                    let damaged = |error| db.damaged(format!("{from} {epoch}: {error}"));
                    snapshot.absorb(&blob).map_err(damaged)?;
                }
                Ok(snapshot)
            })
            .map_err(|error| db.io(error))?;
        let whole = read_sections(conn, db, head, cancel, &sections);
        drop(sections);
        let snapshot =
            absorbing.join().map_err(|_| db.io("the thread that absorbs deltas panicked"))?;
        // What cannot be absorbed ends the reading, too, and is what there is to say.
        Ok((snapshot?, whole?)).map(|(snapshot, whole)| whole.then_some(snapshot))
    })
}

/// Sections that were read and not absorbed yet: a few, of some MiB each.
const SECTIONS_AHEAD: usize = 4;

/// A section on its way to be absorbed.
struct Section {
    /// `snapshot` or `commit`, and its number.
    from: &'static str,
    epoch: u64,
    blob: Vec<u8>,
}

/// Reads everything in order. False when it was not all: nobody wants the rest.
fn read_sections(
    conn: &Connection,
    db: &DbFile,
    head: &Head,
    cancel: &AtomicBool,
    sections: &SyncSender<Section>,
) -> Result<bool, StoreError> {
    let give = |from, epoch, blob| {
        !cancel.load(Ordering::Relaxed) && sections.send(Section { from, epoch, blob }).is_ok()
    };
    for part in 0..head.snapshot_parts {
        let blob = read_part(conn, db, head.snapshot_epoch, part)?;
        if !give("snapshot", head.snapshot_epoch, blob) {
            return Ok(false);
        }
    }
    for epoch in head.snapshot_epoch + 1..=head.epoch {
        let (parts, first) = read_section(conn, db, epoch, 0)?;
        if parts > 0 && !give("commit", epoch, first) {
            return Ok(false);
        }
        for part in 1..parts {
            if !give("commit", epoch, read_section(conn, db, epoch, part)?.1) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The sections at `head` that begin with a byte, in the order they are absorbed in.
pub(super) fn sections_of(
    conn: &Connection,
    db: &DbFile,
    head: &Head,
    tag: u8,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let found = |sql: &str, epoch: u64| {
        conn.prepare(sql)
            .and_then(|mut query| {
                let rows = query.query_map(params![epoch as i64, [tag]], |row| {
                    Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64))
                })?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            })
            .map_err(|error| db.error(error))
    };
    let mut sections = Vec::new();
    let whole = "SELECT epoch, part FROM snapshot WHERE epoch = ?1 AND substr(blob, 1, 1) = ?2 \
                 ORDER BY part";
    for (epoch, part) in found(whole, head.snapshot_epoch)? {
        sections.push(read_part(conn, db, epoch, part)?);
    }
    let later = "SELECT epoch, part FROM deltas WHERE epoch > ?1 AND substr(blob, 1, 1) = ?2 \
                 ORDER BY epoch, part";
    for (epoch, part) in found(later, head.snapshot_epoch)? {
        sections.push(read_section(conn, db, epoch, part)?.1);
    }
    Ok(sections)
}

fn read_part(conn: &Connection, db: &DbFile, epoch: u64, part: u64) -> Result<Vec<u8>, StoreError> {
    let at = [epoch as i64, part as i64];
    let (stored, blob): (i64, Vec<u8>) = conn
        .prepare_cached("SELECT checksum, blob FROM snapshot WHERE epoch = ?1 AND part = ?2")
        .and_then(|mut query| query.query_row(at, |row| Ok((row.get(0)?, row.get(1)?))))
        .map_err(|error| missing(db, error, "snapshot", at))?;
    db.verify("snapshot", at, &blob, stored)?;
    Ok(blob)
}

/// A section of a commit, with the number of sections the commit has.
fn read_section(
    conn: &Connection,
    db: &DbFile,
    epoch: u64,
    part: u64,
) -> Result<(u64, Vec<u8>), StoreError> {
    let at = [epoch as i64, part as i64];
    let (parts, stored, blob): (i64, i64, Vec<u8>) = conn
        .prepare_cached("SELECT parts, checksum, blob FROM deltas WHERE epoch = ?1 AND part = ?2")
        .and_then(|mut query| {
            query.query_row(at, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        })
        .map_err(|error| missing(db, error, "commit", at))?;
    db.verify("deltas", section_at(epoch, part, parts as u64), &blob, stored)?;
    Ok((parts as u64, blob))
}

fn missing(db: &DbFile, error: rusqlite::Error, what: &str, at: [i64; 2]) -> StoreError {
    match error {
        rusqlite::Error::QueryReturnedNoRows => {
            db.damaged(format!("part {} of {what} {} is missing", at[1], at[0]))
        }
        other => db.error(other),
    }
}
