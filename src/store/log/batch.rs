//! A stored batch: some events as length-prefixed bytes, and where each one lies.
//!
//! The same form in the file and in memory; a reader hands the buffer on without
//! copying it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::Connection;
use xxhash_rust::xxh3::xxh3_64;

use crate::actors::ports::StoreError;
use crate::domain::event::RawItem;
use crate::domain::time::EpochMs;
use crate::domain::wire::{Malformed, Reader, put_bytes};
use crate::store::sqlite::DbFile;

/// Events that arrived together. Never empty.
#[derive(Debug)]
pub(super) struct Batch {
    pub arrived: EpochMs,
    /// Hash over this batch and all before it; 0 in a log of the first format.
    pub chain: i64,
    pub data: Bytes,
    pub items: Vec<RawItem>,
}

impl Batch {
    /// Position of the first event.
    pub(super) fn first(&self) -> u64 {
        self.items[0].position
    }

    /// Position of the last event.
    pub(super) fn last(&self) -> u64 {
        self.items[self.items.len() - 1].position
    }

    /// The bytes of the event at `position`, which must be in the batch.
    pub(super) fn event(&self, position: u64) -> &[u8] {
        let item = &self.items[(position - self.first()) as usize];
        &self.data[item.start as usize..(item.start + item.len) as usize]
    }

    /// Memory it takes.
    pub(super) fn size(&self) -> usize {
        self.data.len() + self.items.len() * size_of::<RawItem>()
    }

    /// Understands a blob of `count` events from `first` on.
    pub(super) fn parse(
        first: u64,
        count: u64,
        arrived: EpochMs,
        data: Bytes,
    ) -> Result<Batch, Malformed> {
        let mut reader = Reader::new(&data);
        let mut items = Vec::with_capacity(count.min(1 << 20) as usize);
        for position in first..first.saturating_add(count) {
            let len = reader.bytes("event")?.len();
            let start = (reader.position() - len) as u32;
            items.push(RawItem { start, len: len as u32, position });
        }
        if reader.is_empty() && !items.is_empty() {
            Ok(Batch { arrived, chain: 0, data, items })
        } else {
            Err(Malformed { what: "batch", at: reader.position() })
        }
    }

    /// Reads the batch that holds `position`, if the file has it. `before` is the end of the
    /// batch read before and its chain: when this one follows it, they must fit.
    pub(super) fn read(
        conn: &Connection,
        db: &DbFile,
        position: u64,
        before: Option<(u64, i64)>,
    ) -> Result<Option<Batch>, StoreError> {
        let error = |error| db.error(error);
        let mut query = conn
            .prepare_cached(
                "SELECT first, count, arrived, checksum, chain, blob FROM batches WHERE first <= ?1 \
                 ORDER BY first DESC LIMIT 1",
            )
            .map_err(error)?;
        let mut rows = query.query([position as i64]).map_err(error)?;
        let Some(row) = rows.next().map_err(error)? else { return Ok(None) };
        let column = |index| row.get::<_, i64>(index).map_err(error);
        let (first, count, arrived, stored) = (column(0)?, column(1)?, column(2)?, column(3)?);
        if first as u64 + count as u64 <= position {
            return Ok(None);
        }
        let chain = column(4)?;
        let blob: Vec<u8> = row.get(5).map_err(error)?;
        db.verify("batches", seal(first as u64, count as u64, arrived), &blob, stored)?;
        if let Some((_, before)) = before.filter(|(last, _)| last + 1 == first as u64)
            && chain != 0
            && chain != link(before, stored)
        {
            let what = format!("the events from {first} on do not follow those before them");
            return Err(db.damaged(what));
        }
        Batch::parse(first as u64, count as u64, arrived, blob.into())
            .map(|batch| Some(Batch { chain, ..batch }))
            .map_err(|error| db.damaged(format!("batch {first}: {error}")))
    }
}

/// The chain at a batch: over that of the batch before it and its own checksum. Never 0.
pub(super) fn link(before: i64, checksum: i64) -> i64 {
    let mut both = [0; 16];
    both[..8].copy_from_slice(&before.to_le_bytes());
    both[8..].copy_from_slice(&checksum.to_le_bytes());
    xxh3_64(&both) as i64 | 1
}

/// What a batch's checksum covers besides its blob.
pub(super) fn seal(first: u64, count: u64, arrived: EpochMs) -> [i64; 2] {
    [first as i64, arrived.wrapping_mul(1 << 20).wrapping_add(count as i64)]
}

/// Collects events into blobs of bounded size.
#[derive(Debug)]
pub(super) struct Packer {
    pub batches: Vec<Packed>,
    bytes_max: usize,
    events_max: usize,
}

/// A blob ready to be stored.
#[derive(Debug)]
pub(super) struct Packed {
    pub first: u64,
    pub count: u64,
    pub blob: Vec<u8>,
}

impl Packer {
    pub(super) fn new(bytes_max: usize, events_max: usize) -> Self {
        Packer { batches: Vec::new(), bytes_max, events_max }
    }

    /// Adds the event at `position`.
    pub(super) fn push(&mut self, position: u64, event: &[u8]) {
        let full = self.batches.last().is_none_or(|batch| {
            batch.count as usize >= self.events_max
                || batch.blob.len() + event.len() > self.bytes_max
        });
        if full {
            self.batches.push(Packed { first: position, count: 0, blob: Vec::new() });
        }
        let batch = self.batches.last_mut().expect("a batch was pushed above if there was none");
        put_bytes(&mut batch.blob, event);
        batch.count += 1;
    }
}

/// The newest batches in memory, within a bound of bytes. They follow one another
/// without a hole, up to the log's end.
#[derive(Debug)]
pub(super) struct Recent {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    bytes_max: usize,
}

impl Recent {
    pub(super) fn new(bytes_max: usize) -> Self {
        Recent { batches: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Adds the newest batch; the oldest leave for it.
    pub(super) fn push(&mut self, batch: Arc<Batch>) {
        self.bytes += batch.size();
        self.batches.push_back(batch);
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.batches.pop_front()
        {
            self.bytes -= oldest.size();
        }
    }

    /// The batch that holds `position`.
    pub(super) fn find(&self, position: u64) -> Option<Arc<Batch>> {
        let index = self.batches.partition_point(|batch| batch.last() < position);
        self.batches.get(index).filter(|batch| batch.first() <= position).cloned()
    }

    /// Forgets what is committed: it will not be read again.
    pub(super) fn forget(&mut self, acked: u64) {
        while self.batches.front().is_some_and(|batch| batch.last() < acked)
            && let Some(oldest) = self.batches.pop_front()
        {
            self.bytes -= oldest.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batches(events: &[Vec<u8>], bytes_max: usize, events_max: usize) -> Vec<Batch> {
        let mut packer = Packer::new(bytes_max, events_max);
        for (index, event) in events.iter().enumerate() {
            packer.push(index as u64 + 1, event);
        }
        let parse = |packed: Packed| {
            Batch::parse(packed.first, packed.count, 7, packed.blob.into()).unwrap()
        };
        packer.batches.into_iter().map(parse).collect()
    }

    proptest! {
        #[test]
        fn what_is_packed_is_read_back(
            events in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..50),
            bytes_max in 1usize..200,
            events_max in 1usize..20,
        ) {
            let batches = batches(&events, bytes_max, events_max);
            let mut next = 1;
            for batch in &batches {
                prop_assert_eq!(batch.first(), next);
                prop_assert!(batch.items.len() <= events_max);
                for item in &batch.items {
                    prop_assert_eq!(batch.event(item.position), &events[item.position as usize - 1]);
                }
                next = batch.last() + 1;
            }
            prop_assert_eq!(next as usize, events.len() + 1);
        }

        #[test]
        fn any_blob_is_understood_or_refused(blob: Vec<u8>, count in 0u64..20) {
            let _ = Batch::parse(1, count, 0, blob.into());
        }

        #[test]
        fn recent_batches_are_found_and_bounded(
            events in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..50),
            bytes_max in 1usize..4000,
            acked in 0u64..50,
        ) {
            let mut recent = Recent::new(bytes_max);
            for batch in batches(&events, 100, 5) {
                recent.push(Arc::new(batch));
                prop_assert!(recent.bytes <= bytes_max);
            }
            recent.forget(acked);
            for position in 1..=events.len() as u64 {
                if let Some(batch) = recent.find(position) {
                    prop_assert_eq!(batch.event(position), &events[position as usize - 1]);
                }
            }
            prop_assert!(recent.find(events.len() as u64 + 1).is_none());
        }
    }
}
