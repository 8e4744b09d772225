//! Reading the log in order: the newest batches from memory, older ones from the file.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use rusqlite::Connection;
use tokio::sync::watch;

use super::Shared;
use super::batch::Batch;
use crate::actors::ports::{BoxFuture, Opened, Pull, Resume, Source, SourceError, StoreError};
use crate::domain::event::{RawBatch, RawItem};
use crate::domain::hash;

/// Batches are merged up to this many bytes.
const MERGE_BYTES: usize = 4 << 20;

/// The reader of the embedded log.
pub struct LogSource {
    shared: Arc<Shared>,
    conn: Connection,
    last: watch::Receiver<u64>,
    /// Position of the last event given out.
    position: u64,
    /// The batch read last, when not all of it was given out.
    current: Option<Arc<Batch>>,
    /// End and chain of the batch read last.
    before: Option<(u64, i64)>,
}

/// Some events of one batch.
pub(super) struct Slice {
    pub batch: Arc<Batch>,
    pub range: Range<usize>,
}

impl LogSource {
    pub(super) fn new(shared: Arc<Shared>) -> Result<LogSource, StoreError> {
        let conn = shared.db.connect()?;
        let last = shared.last.subscribe();
        Ok(LogSource { shared, conn, last, position: 0, current: None, before: None })
    }

    /// Position of the last durable event.
    pub fn last_position(&self) -> u64 {
        *self.last.borrow()
    }

    fn damaged(&self, what: String) -> SourceError {
        self.shared.db.damaged(what).into()
    }

    /// The batch that holds `position`.
    fn batch(&mut self, position: u64) -> Result<Option<Arc<Batch>>, SourceError> {
        let holds = |batch: &Arc<Batch>| (batch.first()..=batch.last()).contains(&position);
        if let Some(batch) = self.current.take().filter(holds) {
            return Ok(Some(batch));
        }
        let recent = self.shared.recent.lock().find(position);
        let batch = match recent {
            Some(batch) => Some(batch),
            None => {
                let (db, before) = (&self.shared.db, self.before);
                Batch::read(&self.conn, db, position, before)?.map(Arc::new)
            }
        };
        self.before = batch.as_ref().map(|batch| (batch.last(), batch.chain));
        Ok(batch)
    }

    fn go_on(&mut self, resume: &Resume) -> Result<Opened, SourceError> {
        let identity = self.shared.identity.clone();
        let (position, end) = (resume.position, self.last_position());
        resume.check(&identity, || {
            let batch = if position > end { None } else { self.batch(position)? };
            Ok(batch.map(|batch| hash::fingerprint(batch.event(position))))
        })?;
        if position > end {
            return Err(self.damaged(format!(
                "it ends at {end}, but {position} is committed: the log lost its tail"
            )));
        }
        let oldest = self.oldest()?.unwrap_or(1);
        if oldest > position + 1 {
            let (from, to) = (position + 1, oldest - 1);
            return Err(SourceError::Gap { source_name: identity.name, from, to });
        }
        (self.position, self.current) = (position, None);
        self.shared.acked.store(position, Ordering::Release);
        Ok(Opened { incarnation: identity.incarnation, warnings: Vec::new() })
    }

    fn next(&mut self, max: usize) -> Result<Pull, SourceError> {
        let end = self.last_position();
        let mut slices: Vec<Slice> = Vec::new();
        let (mut items, mut bytes) = (0, 0);
        while self.position < end && items < max.max(1) && bytes < MERGE_BYTES {
            let next = self.position + 1;
            let Some(batch) = self.batch(next)? else {
                return Err(self.damaged(format!("event {next} is missing, the last is {end}")));
            };
            // An event's arrival decides about it, so batches of different arrival stay apart.
            if slices.first().is_some_and(|slice| slice.batch.arrived != batch.arrived) {
                self.current = Some(batch);
                break;
            }
            let start = (next - batch.first()) as usize;
            let range = start..batch.items.len().min(start + max.max(1) - items);
            items += range.len();
            bytes += batch.data.len();
            self.position += range.len() as u64;
            self.current = (range.end < batch.items.len()).then(|| batch.clone());
            slices.push(Slice { batch, range });
        }
        Ok(match slices.len() {
            0 => Pull::CaughtUp,
            _ => Pull::Batch(merge(slices)),
        })
    }

    /// Position of the oldest event in the file, `None` in a new log.
    fn oldest(&self) -> Result<Option<u64>, SourceError> {
        self.conn
            .query_row("SELECT min(first) FROM batches", [], |row| row.get::<_, Option<i64>>(0))
            .map(|first| first.map(|first| first as u64))
            .map_err(|error| self.shared.db.error(error).into())
    }
}

impl Source for LogSource {
    fn name(&self) -> &str {
        &self.shared.identity.name
    }

    fn open(&mut self, resume: Resume) -> BoxFuture<'_, Result<Opened, SourceError>> {
        Box::pin(std::future::ready(self.go_on(&resume)))
    }

    fn pull(&mut self, max: usize) -> BoxFuture<'_, Result<Pull, SourceError>> {
        // Reading the file takes well under a millisecond a batch; it is done here
        // rather than handed to another thread.
        let pulled = self.next(max);
        Box::pin(std::future::ready(pulled))
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        let position = self.position;
        Box::pin(async move {
            if self.last.wait_for(|last| *last > position).await.is_err() {
                // The log was closed: nothing will ever come.
                std::future::pending::<()>().await;
            }
        })
    }

    fn ack(&mut self, position: u64) {
        self.shared.acked.fetch_max(position, Ordering::AcqRel);
        self.shared.recent.lock().forget(position);
        if self.shared.over.load(Ordering::Acquire) {
            self.shared.queue.tidy();
        }
    }

    fn lag(&self) -> Option<u64> {
        Some(self.last_position().saturating_sub(self.position))
    }
}

/// One batch out of slices of equal arrival; a single slice is not copied.
pub(super) fn merge(mut slices: Vec<Slice>) -> RawBatch {
    if slices.len() == 1 {
        let Slice { batch, range } = slices.remove(0);
        let (data, items) = (batch.data.clone(), batch.items[range].to_vec());
        return RawBatch { data, items, arrived: batch.arrived, ..RawBatch::default() };
    }
    let arrived = slices[0].batch.arrived;
    let mut data = BytesMut::new();
    let mut items = Vec::with_capacity(slices.iter().map(|slice| slice.range.len()).sum());
    for Slice { batch, range } in slices {
        let taken = &batch.items[range];
        let (from, to) = (taken[0].start, taken[taken.len() - 1]);
        let shift = data.len() as u32;
        data.extend_from_slice(&batch.data[from as usize..(to.start + to.len) as usize]);
        items
            .extend(taken.iter().map(|item| RawItem { start: item.start - from + shift, ..*item }));
    }
    RawBatch { data: data.freeze(), items, arrived, ..RawBatch::default() }
}
