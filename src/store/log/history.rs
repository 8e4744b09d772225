//! What a log still holds, from its oldest event to its newest, for those who look back. A server
//! may be writing it meanwhile: nothing is locked, and what leaves the log before it was read
//! is a gap.

use std::future::{pending, ready};
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::watch;

use super::batch::Batch;
use super::source::{Slice, merge};
use super::{LAYOUT, NAME, read_head};
use crate::actors::ports::{BoxFuture, Opened, Pull, Resume, Source, SourceError, StoreError};
use crate::domain::time::{EpochMs, SpanMs};
use crate::store::folder::LOG;
use crate::store::sqlite::DbFile;

/// Arrival times are rounded down by less than this.
const ARRIVED_STEP_MAX: SpanMs = 1_000;

/// The events that a log held when this was opened, as a source that ends.
pub struct History {
    db: DbFile,
    conn: Connection,
    incarnation: String,
    /// Position of the last event given out.
    position: u64,
    last: u64,
    /// The batch read last, when not all of it was given out.
    current: Option<Arc<Batch>>,
}

impl History {
    /// Opens the log of a data folder.
    ///
    /// # Errors
    /// When there is none, or it is damaged or of another format.
    pub fn open(folder: &Path) -> Result<History, StoreError> {
        let db = DbFile::new(folder.join(LOG), &LAYOUT);
        if !folder.join(LOG).exists() {
            return Err(db.io("there is no such file: is this a data folder of tidewatch?"));
        }
        let conn = db.open()?;
        let incarnation = db.meta(&conn, "incarnation")?;
        let last = read_head(&conn, &db)?.last;
        let mut history = History { db, conn, incarnation, position: 0, last, current: None };
        history.position = history.oldest_after(0)?.map_or(last, |oldest| oldest - 1);
        Ok(history)
    }

    /// How many events it holds.
    pub fn len(&self) -> u64 {
        self.last - self.position
    }

    /// True when it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Passes over all but so many of the newest.
    pub fn skip_to_newest(&mut self, events: u64) {
        self.position = self.position.max(self.last.saturating_sub(events));
    }

    /// The position of the next event that it gives out.
    pub fn next_position(&self) -> u64 {
        self.position + 1
    }

    /// Passes over events that had arrived before `cut`, as far as that is sure; over none without
    /// one. Says by when all that it does not give out had arrived; `None` when it gives out all
    /// that there ever was.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn begin_at(&mut self, cut: Option<EpochMs>) -> Result<Option<EpochMs>, StoreError> {
        let before = "SELECT max(first) FROM batches WHERE arrived < ?1";
        let first: Option<i64> = match cut {
            Some(cut) => self.conn.query_row(before, [cut], |row| row.get(0)),
            None => Ok(None),
        }
        .map_err(|error| self.db.error(error))?;
        let oldest = self.oldest_after(0)?.unwrap_or(self.last + 1);
        let first = first.map_or(oldest, |first| first as u64);
        self.position = first - 1;
        // The wall clock may have been set back in between.
        let latest = "SELECT max(arrived) FROM batches WHERE first <= ?1";
        let latest =
            self.conn.query_row(latest, [first as i64], |row| row.get::<_, Option<i64>>(0));
        let latest = latest.map_err(|error| self.db.error(error))?;
        Ok(latest.filter(|_| first > 1).map(|arrived| arrived + ARRIVED_STEP_MAX))
    }

    /// The same events and those that come, up to a position that moves.
    pub fn follow(self, upto: watch::Receiver<u64>) -> Following {
        Following { history: self, upto }
    }

    /// The first position after this one that the file still has.
    fn oldest_after(&self, position: u64) -> Result<Option<u64>, StoreError> {
        let oldest = "SELECT min(first) FROM batches WHERE first > ?1";
        let oldest =
            self.conn.query_row(oldest, [position as i64], |row| row.get::<_, Option<i64>>(0));
        let oldest = oldest.map_err(|error| self.db.error(error))?;
        Ok(oldest.map(|first| first as u64).filter(|first| *first <= self.last))
    }

    fn next(&mut self, max: usize) -> Result<Pull, SourceError> {
        let next = self.position + 1;
        if next > self.last {
            return Ok(Pull::End);
        }
        let batch = match self.current.take() {
            Some(batch) => Some(batch),
            None => Batch::read(&self.conn, &self.db, next, None)?.map(Arc::new),
        };
        let Some(batch) = batch else {
            // It left the log while this was reading.
            let to = self.oldest_after(self.position)?.map_or(self.last, |oldest| oldest - 1);
            self.position = to;
            return Ok(Pull::Gap { from: next, to });
        };
        let start = (next - batch.first()) as usize;
        let left = (self.last - self.position) as usize;
        let end = batch.items.len().min(start + max.max(1).min(left));
        self.position = batch.first() + end as u64 - 1;
        self.current = (end < batch.items.len()).then(|| Arc::clone(&batch));
        Ok(Pull::Batch(merge(vec![Slice { batch, range: start..end }])))
    }
}

impl Source for History {
    fn name(&self) -> &str {
        NAME
    }

    fn open(&mut self, _: Resume) -> BoxFuture<'_, Result<Opened, SourceError>> {
        let incarnation = self.incarnation.clone();
        Box::pin(ready(Ok(Opened { incarnation, warnings: Vec::new() })))
    }

    fn pull(&mut self, max: usize) -> BoxFuture<'_, Result<Pull, SourceError>> {
        let pulled = self.next(max);
        Box::pin(ready(pulled))
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(pending())
    }

    fn ack(&mut self, _: u64) {}

    fn lag(&self) -> Option<u64> {
        Some(self.len())
    }
}

/// A log that is read while it is written, up to a position that moves.
pub struct Following {
    history: History,
    upto: watch::Receiver<u64>,
}

impl Source for Following {
    fn name(&self) -> &str {
        NAME
    }

    fn open(&mut self, resume: Resume) -> BoxFuture<'_, Result<Opened, SourceError>> {
        self.history.open(resume)
    }

    fn pull(&mut self, max: usize) -> BoxFuture<'_, Result<Pull, SourceError>> {
        self.history.last = (*self.upto.borrow_and_update()).max(self.history.position);
        let pulled = self.history.next(max).map(|pull| match pull {
            Pull::End => Pull::CaughtUp,
            other => other,
        });
        Box::pin(ready(pulled))
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if self.upto.changed().await.is_err() {
                pending::<()>().await;
            }
        })
    }

    fn ack(&mut self, _: u64) {}

    fn lag(&self) -> Option<u64> {
        Some(self.history.len())
    }
}
